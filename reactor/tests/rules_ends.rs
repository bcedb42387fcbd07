//! What real descriptors report, on the running kernel and on egret: their ends, their errors, and what can't be watched at
//! all. Each fixture is made twice, once for each. Named after epoll facts.
#![cfg(not(egret_loom))]

mod oracle_common;
mod rules_common;

use egret_reactor::{Event, Events, Fd};
use oracle_common::{Engine, Kernel, file};
use rules_common::*;
use std::fs::File;
use std::io::{self, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

const IN: Events = Events::IN;
const OUT: Events = Events::OUT;
const HUP: Events = Events::HUP;
const ERR: Events = Events::ERR;
const RDHUP: Events = Events::RDHUP;
const NOTHING: Events = Events::empty();

/// What an interest with this mask is told at once. `make` returns the descriptor, and what has to live as long; the kernel and
/// egret get one each, and have to agree.
fn told<K>(mask: Events, make: impl Fn() -> (OwnedFd, K)) -> Events {
    let (kernels, _kept) = make();
    let (poll, kernels) = (Kernel.instance(), file(kernels));
    Kernel.add(&poll, &kernels, 0, mask, 1).unwrap();
    let expected = Kernel.look(&poll);

    let (ours, _kept) = make();
    let (poll, ours) = (instance(), Arc::new(Fd::new(ours).unwrap()));
    poll.add(&ours, 0, mask, 1).unwrap();
    assert_eq!(look(&poll), expected, "egret, and the kernel, under {mask:?}");
    expected.first().map_or(NOTHING, |event| event.events)
}

/// Waits until the descriptor polls one of these: what crosses a network, even the machine's own, takes a moment.
fn settled(fd: impl AsFd, events: Events) {
    let mut poll = libc::pollfd { fd: fd.as_fd().as_raw_fd(), events: events.bits() as i16, revents: 0 };
    // SAFETY: one valid pollfd.
    assert_eq!(unsafe { libc::poll(&mut poll, 1, BOUND.as_millis() as i32) }, 1);
}

fn full(writer: &io::PipeWriter) {
    // SAFETY: the descriptor is open, and the command takes an integer.
    assert_eq!(unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) }, 0);
    while (&mut &*writer).write(&[0; 4096]).is_ok() {}
}

fn socket(domain: i32) -> OwnedFd {
    // SAFETY: socket takes no pointers, and what it returns is new and nobody else's.
    unsafe {
        let fd = libc::socket(domain, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        assert!(fd >= 0, "{}", io::Error::last_os_error());
        OwnedFd::from_raw_fd(fd)
    }
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}

#[test]
fn fact_104_a_pipe_whose_writer_is_gone() {
    for mask in [NOTHING, OUT, IN, IN | RDHUP] {
        let drained = || {
            let (reader, writer) = io::pipe().unwrap();
            drop(writer);
            (reader.into(), ())
        };
        assert_eq!(told(mask, drained), HUP, "no IN, and asked for or not");
    }
    let holding = || {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"x").unwrap();
        (reader.into(), ())
    };
    assert_eq!(told(IN, holding), IN | HUP);
}

#[test]
fn fact_104_a_pipe_whose_reader_is_gone() {
    let with_room = || (io::pipe().unwrap().1.into(), ());
    let without = || {
        let (_reader, writer) = io::pipe().unwrap();
        full(&writer);
        (writer.into(), ())
    };
    assert_eq!((told(OUT, with_room), told(NOTHING, with_room)), (OUT | ERR, ERR));
    assert_eq!((told(OUT, without), told(NOTHING, without)), (ERR, ERR));
}

#[test]
fn fact_104_rdhup_only_if_asked_for() {
    let half = || {
        let (near, far) = UnixStream::pair().unwrap();
        near.shutdown(Shutdown::Write).unwrap();
        (far.into(), near)
    };
    assert_eq!(told(IN, half), IN);
    assert_eq!(told(IN | RDHUP, half), IN | RDHUP);
    assert_eq!(told(NOTHING, half), NOTHING);
    assert_eq!(told(RDHUP, half), RDHUP);
    let gone = || (UnixStream::pair().unwrap().1.into(), ());
    assert_eq!(told(NOTHING, gone), HUP);
    assert_eq!(told(IN | OUT | RDHUP, gone), IN | OUT | RDHUP | HUP);
}

#[test]
fn fact_104_the_ends_of_a_tcp_stream() {
    let half = || {
        let (near, far) = tcp_pair();
        near.shutdown(Shutdown::Write).unwrap();
        settled(&far, RDHUP);
        (far.into(), near)
    };
    assert_eq!(told(IN | OUT | RDHUP, half), IN | OUT | RDHUP);
    assert_eq!(told(NOTHING, half), NOTHING);
    let both = || {
        let (near, far) = tcp_pair();
        far.shutdown(Shutdown::Write).unwrap();
        near.shutdown(Shutdown::Write).unwrap();
        settled(&far, HUP);
        (far.into(), near)
    };
    assert_eq!(told(NOTHING, both), HUP);
    let reset = || {
        let (near, mut far) = tcp_pair();
        far.write_all(b"never read").unwrap();
        settled(&near, IN);
        drop(near);
        settled(&far, ERR);
        (far.into(), ())
    };
    assert_eq!(told(NOTHING, reset), ERR | HUP);
    assert_eq!(told(IN | OUT | RDHUP, reset), IN | OUT | RDHUP | ERR | HUP);
}

#[test]
fn fact_105_a_fresh_stream_socket_is_writable_and_hung_up() {
    for domain in [libc::AF_INET, libc::AF_UNIX] {
        let fresh = || (socket(domain), ());
        assert_eq!(told(IN | OUT | RDHUP, fresh), OUT | HUP);
        assert_eq!(told(NOTHING, fresh), HUP);
    }
}

#[test]
fn fact_62_one_shot_silences_even_hup() {
    let mask = IN | Events::ONESHOT;
    let kernel = {
        let (reader, mut writer) = io::pipe().unwrap();
        let (poll, reader) = (Kernel.instance(), file(reader.into()));
        Kernel.add(&poll, &reader, 0, mask, 1).unwrap();
        writer.write_all(b"x").unwrap();
        let first = Kernel.look(&poll);
        drop(writer);
        let second = Kernel.look(&poll);
        Kernel.modify(&poll, &reader, 0, mask, 2).unwrap();
        [first, second, Kernel.look(&poll)]
    };
    let egret = {
        let (reader, mut writer) = io::pipe().unwrap();
        let (poll, reader) = (instance(), Arc::new(Fd::new(reader).unwrap()));
        poll.add(&reader, 0, mask, 1).unwrap();
        writer.write_all(b"x").unwrap();
        let first = look(&poll);
        drop(writer);
        let second = look(&poll);
        poll.modify(&reader, 0, mask, 2).unwrap();
        [first, second, look(&poll)]
    };
    assert_eq!(
        kernel,
        [vec![Event { events: IN, data: 1 }], vec![], vec![Event { events: IN | HUP, data: 2 }]]
    );
    assert_eq!(egret, kernel);
}

/// What the kernel says to watching that file, and what egret says: 0 or an errno.
fn watching(file_of: impl Fn() -> OwnedFd) -> (i32, i32) {
    let (poll, kernels) = (Kernel.instance(), file(file_of()));
    let kernel = Kernel.add(&poll, &kernels, 0, IN, 1);
    let egret = Fd::new(file_of()).and_then(|fd| instance().add(&Arc::new(fd), 0, IN, 1));
    let number = |error: io::Error| error.raw_os_error().expect("an errno");
    (kernel.err().unwrap_or(0), egret.err().map_or(0, number))
}

#[test]
fn fact_11_what_can_not_be_polled_is_refused() {
    let memory = || {
        // SAFETY: the name is a string, and the descriptor is new and nobody else's.
        unsafe { OwnedFd::from_raw_fd(libc::memfd_create(c"egret".as_ptr(), libc::MFD_CLOEXEC)) }
    };
    assert_eq!(watching(memory), (libc::EPERM, libc::EPERM));
    let paths =
        ["/", "/proc/self/exe", "/proc/self/stat", "/dev/null", "/dev/zero", "/dev/full", "/dev/urandom"];
    for path in paths {
        assert_eq!(watching(|| File::open(path).unwrap().into()), (libc::EPERM, libc::EPERM), "{path}");
    }
    for path in ["/", "/proc/self/exe"] {
        let named = || File::options().read(true).custom_flags(libc::O_PATH).open(path).unwrap().into();
        assert_eq!(watching(named), (libc::EBADF, libc::EBADF), "{path}, only its name");
    }
}

#[test]
fn fact_11_what_can_be_polled_is_accepted() {
    assert_eq!(watching(|| File::open("/dev/random").unwrap().into()), (0, 0));
    assert_eq!(watching(|| File::open("/proc/self/mounts").unwrap().into()), (0, 0));
    assert_eq!(watching(|| io::pipe().unwrap().0.into()), (0, 0));
    assert_eq!(watching(|| oracle_common::eventfd(0)), (0, 0));
    assert_eq!(watching(|| socket(libc::AF_INET)), (0, 0));
}

/// Where the two differ on purpose. For the kernel the interest is in the open file, which a dup'ed number keeps; for egret it
/// is in the source, which its owner drops.
#[test]
fn fact_92_the_kernel_goes_on_under_a_closed_number_and_egret_does_not() {
    let (reader, mut writer) = io::pipe().unwrap();
    let dup = reader.try_clone().unwrap();
    let (poll, source) = (Kernel.instance(), file(reader.into()));
    Kernel.add(&poll, &source, 0, IN, 1).unwrap();
    let reader_is = file(dup.into());
    drop(source);
    writer.write_all(b"x").unwrap();
    assert_eq!(Kernel.data(&poll), [1], "under the old number");
    assert_eq!(Kernel.remove(&poll, &reader_is, 0), Err(libc::ENOENT), "which nobody can name any more");

    let (reader, mut writer) = io::pipe().unwrap();
    let dup = reader.try_clone().unwrap();
    let (poll, source) = (instance(), Arc::new(Fd::new(reader).unwrap()));
    poll.add(&source, 0, IN, 1).unwrap();
    drop(source);
    writer.write_all(b"x").unwrap();
    assert_eq!(data(&poll), [], "the source was dropped, and its interest with it");
    let dup = Arc::new(Fd::new(dup).unwrap());
    assert_eq!(errno(poll.remove(&dup, 0)), libc::ENOENT);
    poll.add(&dup, 0, IN, 2).unwrap();
    assert_eq!(data(&poll), [2]);
}
