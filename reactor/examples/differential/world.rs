//! [`World`]: everything that one script has made, on both sides, and what one line of it does.
//!
//! | script            | kernel                             | egret                                              |
//! |-------------------|------------------------------------|----------------------------------------------------|
//! | a descriptor      | its number                         | an `Fd` over the very same descriptor              |
//! | `dup`             | another number, the same file      | an `Fd` of its own over that number                |
//! | `tag`             | another number, the same file      | the first one's `Fd`; interests use another tag    |
//! | an instance       | an epoll descriptor                | an `Eventpoll`; a second descriptor is another tag |
//! | `close`           | DEL everywhere, if the file lives on; close | `remove`, or the end of the `Fd`; close   |
//!
//! The last line is a difference on purpose: the kernel keeps an interest in a closed number while another number of its file
//! is open (fact 92), egret's ends with its source or tag.

use crate::compare::{self, Answer, Verdict};
use crate::egret::{Instance, Source};
use crate::kernel;
use crate::objects::{self, Kind, Net};
use crate::script::{Number, Op};
use egret_reactor::{Eventpoll, Lanes};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

/// What all scripts of a run share.
pub struct Setting {
    pub net: Net,
    pub lanes: Lanes,
    /// A regular file.
    pub file: std::fs::File,
    /// Edges are compared one by one, and order; else only what every feed promises.
    pub exact: bool,
}

/// A descriptor.
pub struct Handle {
    /// Index of the open file behind it.
    pub file: usize,
    pub fd: Arc<OwnedFd>,
    pub source: Source,
}

#[derive(Clone, Copy)]
pub struct Interest {
    pub mask: u32,
    pub data: u64,
    /// Feeds without exact edges: told as one-shot by egret, not yet by the kernel.
    pub spent: bool,
}

/// An open file (the kernel's `struct file`).
pub struct File {
    pub kind: Kind,
    pub peer: Option<usize>,
    /// How many `Fd`s were ever made over it.
    pub sources: usize,
    /// An instance's, by the number of the target.
    pub interests: BTreeMap<Number, Interest>,
    /// An instance that may hold something on its list which isn't ready; see [`compare`].
    pub suspect: bool,
    /// A TCP socket whose state may still change.
    ending: bool,
    /// A unix socket whose peer has read and then written, with no look at the feed in between; see [`compare`].
    pub met: bool,
}

pub struct World<'a> {
    pub setting: &'a Setting,
    pub handles: BTreeMap<Number, Handle>,
    pub files: Vec<File>,
    /// Files that were read since egret last looked at its feed.
    read: Vec<usize>,
}

impl<'a> World<'a> {
    pub fn new(setting: &'a Setting) -> Self {
        Self { setting, handles: BTreeMap::new(), files: Vec::new(), read: Vec::new() }
    }

    /// Runs one line. An error is one of the machine (no descriptors), not one of either side.
    pub fn run(&mut self, op: &Op) -> io::Result<Verdict> {
        self.note(op);
        match *op {
            Op::Pipe(a, b) => self.pair(a, b, Kind::Pipe, objects::pipe),
            Op::Unix(a, b) => self.pair(a, b, Kind::Unix, objects::unix),
            Op::Tcp(a, b) => self.pair(a, b, Kind::Tcp, || self.setting.net.tcp()),
            Op::Eventfd(a, value) => {
                if self.free(a) {
                    let file = self.file(Kind::Eventfd);
                    self.insert(a, file, kernel::eventfd(value)?)?;
                }
                Ok(Verdict::Same)
            }
            Op::Instance(a) => {
                if self.free(a) {
                    let file = self.file(Kind::Instance);
                    let source = Source::Instance(Eventpoll::with_lanes(&self.setting.lanes));
                    self.handles.insert(a, Handle { file, fd: Arc::new(kernel::epoll()?), source });
                }
                Ok(Verdict::Same)
            }
            Op::Dup(of, new) => self.second(of, new, false),
            Op::Tag(of, new) => self.second(of, new, true),
            Op::Add { instance, target, mask, data } => {
                Ok(self.control(libc::EPOLL_CTL_ADD, instance, target, mask, data))
            }
            Op::Modify { instance, target, mask, data } => {
                Ok(self.control(libc::EPOLL_CTL_MOD, instance, target, mask, data))
            }
            Op::Remove { instance, target } => Ok(self.control(libc::EPOLL_CTL_DEL, instance, target, 0, 0)),
            Op::AddFile(instance) => Ok(self.add_file(instance)),
            Op::Write(a, n) => Ok(self.transfer(a, |fd, kind| {
                objects::write(fd, kind, n);
            })),
            Op::Fill(a) => Ok(self.transfer(a, objects::fill)),
            Op::Read(a, n) => Ok(self.transfer(a, |fd, kind| {
                objects::read(fd, kind, n);
            })),
            Op::Drain(a) => Ok(self.transfer(a, objects::drain)),
            Op::Urgent(a) => Ok(self.transfer(a, |fd, _| {
                // A socket that can't is left as it was, for both sides.
                let _refused = kernel::urgent(fd);
            })),
            Op::Shutdown(a, half) => {
                let verdict = self.transfer(a, |fd, _| objects::shutdown(fd, half));
                if let Some(handle) = self.handles.get(&a) {
                    let file = handle.file;
                    let peer = self.files[file].peer;
                    self.files[file].ending = true;
                    self.suspect(file);
                    if let Some(peer) = peer {
                        self.files[peer].ending = true;
                        self.suspect(peer);
                    }
                }
                Ok(verdict)
            }
            Op::Close(a) => Ok(self.close(a, false)),
            Op::Reset(a) => Ok(self.close(a, true)),
            Op::Wait { instance, max } => Ok(compare::wait(self, instance, max)),
        }
    }

    /// Keeps `met` up to date.
    fn note(&mut self, op: &Op) {
        let file = |number| self.handles.get(&number).map(|handle: &Handle| handle.file);
        match *op {
            Op::Read(a, _) | Op::Drain(a) => self.read.extend(file(a)),
            Op::Write(a, _) | Op::Fill(a) => {
                if let Some(file) = file(a).filter(|file| self.read.contains(file))
                    && let (Kind::Unix, Some(peer)) = (self.files[file].kind, self.files[file].peer)
                {
                    self.files[peer].met = true;
                }
            }
            Op::Shutdown(..) | Op::Urgent(_) => {}
            _ => self.read.clear(),
        }
    }

    fn free(&self, number: Number) -> bool {
        !self.handles.contains_key(&number)
    }

    fn file(&mut self, kind: Kind) -> usize {
        let interests = BTreeMap::new();
        self.files.push(File {
            kind,
            peer: None,
            sources: 1,
            interests,
            suspect: false,
            ending: false,
            met: false,
        });
        self.files.len() - 1
    }

    fn insert(&mut self, number: Number, file: usize, fd: OwnedFd) -> io::Result<()> {
        let fd = Arc::new(fd);
        let source = Source::over(&fd)?;
        self.handles.insert(number, Handle { file, fd, source });
        Ok(())
    }

    fn pair(
        &mut self,
        a: Number,
        b: Number,
        kind: Kind,
        make: impl FnOnce() -> io::Result<(OwnedFd, OwnedFd)>,
    ) -> io::Result<Verdict> {
        if a != b && self.free(a) && self.free(b) {
            let (near, far) = make()?;
            let (first, second) = (self.file(kind), self.file(kind));
            self.files[first].peer = Some(second);
            self.files[second].peer = Some(first);
            self.insert(a, first, near)?;
            self.insert(b, second, far)?;
        }
        Ok(Verdict::Same)
    }

    fn second(&mut self, of: Number, new: Number, tag: bool) -> io::Result<Verdict> {
        if self.free(new)
            && let Some(handle) = self.handles.get(&of)
        {
            let fd = Arc::new(handle.fd.try_clone()?);
            let (file, source) = (handle.file, handle.source.clone());
            let source = if tag || matches!(source, Source::Instance(_)) {
                source
            } else {
                self.files[file].sources += 1;
                Source::over(&fd)?
            };
            self.handles.insert(new, Handle { file, fd, source });
        }
        Ok(Verdict::Same)
    }

    /// Both faces of an instance.
    pub fn instance(&self, number: Number) -> Option<Instance> {
        let handle = self.handles.get(&number)?;
        match &handle.source {
            Source::Instance(egret) => {
                Some(Instance { epoll: handle.fd.as_raw_fd(), egret: egret.clone(), file: handle.file })
            }
            Source::Fd(_) => None,
        }
    }

    fn control(
        &mut self,
        operation: libc::c_int,
        instance: Number,
        target: Number,
        mask: u32,
        data: u64,
    ) -> Verdict {
        let (Some(instance), Some(handle)) = (self.instance(instance), self.handles.get(&target)) else {
            return Verdict::Same;
        };
        let kernel = kernel::control(instance.epoll, operation, handle.fd.as_raw_fd(), mask, data);
        let tag = u64::from(target);
        let egret = instance.control(operation, &handle.source, tag, mask, data);
        if kernel.is_ok() && egret.is_ok() {
            let interests = &mut self.files[instance.file].interests;
            if operation == libc::EPOLL_CTL_DEL {
                interests.remove(&target);
            } else {
                interests.insert(target, Interest { mask, data, spent: false });
            }
        }
        Answer::both(kernel, egret)
    }

    fn add_file(&mut self, instance: Number) -> Verdict {
        let Some(instance) = self.instance(instance) else { return Verdict::Same };
        let file = &self.setting.file;
        let kernel = kernel::control(instance.epoll, libc::EPOLL_CTL_ADD, file.as_raw_fd(), 1, 0);
        Answer::both(kernel, crate::egret::refused(file))
    }

    fn transfer(&mut self, number: Number, work: impl FnOnce(&OwnedFd, Kind)) -> Verdict {
        let Some(handle) = self.handles.get(&number) else { return Verdict::Same };
        let file = handle.file;
        let kind = self.files[file].kind;
        if kind == Kind::Instance {
            return Verdict::Same;
        }
        work(&handle.fd, kind);
        self.settle(file)
    }

    /// Waits until a TCP pair has come to rest.
    fn settle(&mut self, file: usize) -> Verdict {
        if self.files[file].kind != Kind::Tcp {
            return Verdict::Same;
        }
        let peer = self.files[file].peer;
        let ends = [Some(file), peer].map(|file| file.and_then(|file| self.descriptor(file)));
        if let [Some(near), Some(far)] = &ends
            && !(objects::settle(near, far) && objects::settle(far, near))
        {
            return Verdict::Restless;
        }
        for file in [Some(file), peer].into_iter().flatten() {
            if self.files[file].ending {
                self.suspect(file);
            }
        }
        Verdict::Same
    }

    /// An open descriptor of a file.
    fn descriptor(&self, file: usize) -> Option<Arc<OwnedFd>> {
        self.handles.values().find(|handle| handle.file == file).map(|handle| handle.fd.clone())
    }

    fn close(&mut self, number: Number, abort: bool) -> Verdict {
        let Some(handle) = self.handles.remove(&number) else { return Verdict::Same };
        let Handle { file, fd, source } = handle;
        let lives_on = self.handles.values().any(|other| other.file == file);
        let mut others = self.handles.values().filter(|other| other.file == file);
        let keeps_source = others.any(|other| other.source.is(&source));
        let mut verdict = Verdict::Same;
        let watchers: Vec<Instance> = self
            .handles
            .values()
            .filter(|other| self.files[other.file].interests.contains_key(&number))
            .filter_map(|other| {
                let Source::Instance(egret) = &other.source else { return None };
                Some(Instance { epoll: other.fd.as_raw_fd(), egret: egret.clone(), file: other.file })
            })
            .collect();
        for watcher in watchers {
            if self.files[watcher.file].interests.remove(&number).is_none() || !lives_on {
                // An instance with two descriptors is found twice.
                continue;
            }
            let kernel = kernel::control(watcher.epoll, libc::EPOLL_CTL_DEL, fd.as_raw_fd(), 0, 0);
            if keeps_source {
                let tag = u64::from(number);
                let egret = watcher.control(libc::EPOLL_CTL_DEL, &source, tag, 0, 0);
                verdict = verdict.and(Answer::both(kernel, egret));
            }
        }
        if !lives_on && self.files[file].kind == Kind::Tcp {
            // Bytes that can't leave would keep the socket alive, and let it end at a moment of its own.
            if abort || objects::has_unsent(&fd) {
                objects::abort_on_close(&fd);
            }
        }
        // egret's side first: an arm would pin the file.
        drop(source);
        drop(fd);
        if !lives_on && self.files[file].kind == Kind::Instance {
            self.files[file].interests.clear();
        }
        let peer = self.files[file].peer.filter(|_| !lives_on && self.files[file].kind == Kind::Tcp);
        if let Some(left) = peer.and_then(|peer| self.descriptor(peer))
            && !objects::settle_closed(&left)
        {
            return Verdict::Restless;
        }
        verdict
    }

    /// The instances that watch something, by their files.
    pub fn watchers(&self, file: usize) -> Vec<usize> {
        let watches = |watcher: &usize| {
            let mut targets = self.files[*watcher].interests.keys();
            targets.any(|target| self.handles.get(target).is_some_and(|handle| handle.file == file))
        };
        (0..self.files.len()).filter(watches).collect()
    }

    /// A wake-up that names no condition has gone through this file's queue: whoever watches it without finding it ready
    /// has it on the kernel's list, and so has whoever watches that instance.
    fn suspect(&mut self, file: usize) {
        let Some(fd) = self.descriptor(file) else { return };
        let quiet = |watcher: &usize| {
            let mut interests = self.files[*watcher].interests.iter();
            interests.any(|(target, interest)| {
                self.handles.get(target).is_some_and(|handle| handle.file == file)
                    && kernel::level(&fd, interest.mask) & (interest.mask | 0x18) == 0
            })
        };
        let mut spread: Vec<usize> = self.watchers(file).into_iter().filter(quiet).collect();
        while let Some(instance) = spread.pop() {
            if !self.files[instance].suspect {
                self.files[instance].suspect = true;
                spread.extend(self.watchers(instance));
            }
        }
    }
}

impl Drop for World<'_> {
    /// Connections end with a reset, so that a million operations don't leave all ports waiting.
    fn drop(&mut self) {
        for handle in self.handles.values() {
            if self.files[handle.file].kind == Kind::Tcp {
                objects::abort_on_close(&handle.fd);
            }
        }
    }
}
