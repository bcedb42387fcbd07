//! One connection: read, let the codec work, write, and mind the clock.
//!
//! ```text
//!          ┌──────────────────────────────────────────────────────────┐
//!          ▼                                                          │
//!   codec.advance(what is there) ─► answers? write them all at once ──┤
//!          │                                                          │
//!          │ needs more                                               │
//!          ▼                                                          │
//!   wait for the socket ── data ──────────────────────────────────────┘
//!          ├── end of stream, error ──────────────────────► drop
//!          ├── deadline: Idle ────────────────────────────► drop
//!          ├── deadline: Head, Body ── 408 ───────────────► lingering close
//!          └── server stops: Idle ────────────────────────► lingering close
//!   codec says close ── its answer ───────────────────────► lingering close
//! ```

use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use egret::io::{AsyncRead, AsyncWrite};
use egret::net::TcpStream;
use egret::time::{Sleep, sleep_until, timeout};

use super::codec::{Codec, Phase};
use super::gate::Member;
use super::server::Config;

/// The read buffer of a connection at rest. A guess: several times a usual request head, and one page.
const SMALL: usize = 4 * 1024;

/// The most a connection at rest keeps allocated for its answers. A guess, as much as the codec keeps for bodies: ten thousand
/// connections that rest after a large answer hold 160 MiB between them, not 640.
const KEEP_OUTPUT: usize = 16 * 1024;

/// The read buffer while a body streams in. A guess: few system calls a megabyte, and still in the second-level cache.
const LARGE: usize = 64 * 1024;

/// Why a connection ends.
enum End {
    /// Nothing left to say.
    Silent,
    /// An answer is on its way that must not be lost.
    Lingering,
}

/// What ends a wait besides the socket.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Alarm {
    Deadline,
    Stop,
}

/// Serves one connection to its end.
pub async fn serve(stream: TcpStream, member: Member, config: Arc<Config>) {
    let mut connection = Connection {
        input: vec![0; SMALL],
        start: 0,
        end: 0,
        output: Vec::new(),
        codec: Codec::new(),
        watch: Watch::new(member, config.idle_timeout),
        stream,
        config,
    };
    // An error here is the peer's going away: there is nobody to tell, and the connection goes with it.
    if let Ok(End::Lingering) = connection.run().await {
        let _ = timeout(connection.config.linger_time, connection.linger()).await;
    }
}

struct Connection {
    stream: TcpStream,
    config: Arc<Config>,
    codec: Codec,
    /// What was read and not consumed is `input[start..end]`.
    input: Vec<u8>,
    start: usize,
    end: usize,
    output: Vec<u8>,
    watch: Watch,
}

impl Connection {
    async fn run(&mut self) -> io::Result<End> {
        let mut phase = Phase::Idle;
        loop {
            let step = self.codec.advance(&self.input[self.start..self.end], &mut self.output);
            self.start += step.consumed;
            if !self.output.is_empty() {
                if self.write_output().await?.is_none() {
                    return Ok(End::Silent);
                }
                self.watch.member.served += u64::from(step.served);
            }
            if step.close {
                return Ok(End::Lingering);
            }

            let before = std::mem::replace(&mut phase, self.codec.phase());
            match phase {
                Phase::Idle if self.watch.member.is_stopping() => return Ok(End::Lingering),
                // A head has its time from its first byte to its last, however often a byte comes.
                Phase::Head if before == Phase::Head && step.served == 0 => {}
                Phase::Head => self.watch.start(self.config.head_timeout),
                Phase::Idle | Phase::Body => self.watch.start(self.config.idle_timeout),
            }

            self.make_room(phase);
            match self.read(phase == Phase::Idle).await? {
                Ok(0) => return Ok(End::Silent),
                Ok(n) => {
                    if let Some(inspect) = self.config.inspect {
                        inspect(&self.input[self.end..self.end + n]);
                    }
                    self.end += n;
                }
                Err(Alarm::Deadline) if phase != Phase::Idle => {
                    Codec::timeout_response(&mut self.output);
                    let written = self.write_output().await?;
                    return Ok(if written.is_some() { End::Lingering } else { End::Silent });
                }
                Err(Alarm::Deadline) => return Ok(End::Silent),
                Err(Alarm::Stop) => return Ok(End::Lingering),
            }
        }
    }

    /// Sees to it that there is room to read into, and that a connection at rest holds little memory.
    fn make_room(&mut self, phase: Phase) {
        let full = self.end == self.input.len();
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if phase == Phase::Idle {
                if self.input.len() > SMALL {
                    self.input = vec![0; SMALL];
                }
                self.output.shrink_to(KEEP_OUTPUT);
            } else if full && self.input.len() < LARGE {
                // A body that fills the buffer has more to come.
                self.input = vec![0; LARGE];
            }
        } else if full && self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        } else if full {
            // One head fills it all. The codec refuses those that would never end.
            self.input.resize(self.input.len() * 2, 0);
        }
    }

    /// Waits for data, the deadline or, if `resting`, the server's stop.
    async fn read(&mut self, resting: bool) -> io::Result<Result<usize, Alarm>> {
        let Self { stream, input, end, watch, .. } = self;
        poll_fn(|cx| {
            if let Poll::Ready(outcome) = Pin::new(&mut &*stream).poll_read(cx, &mut input[*end..]) {
                return Poll::Ready(outcome.map(Ok));
            }
            watch.poll(cx, resting).map(|alarm| Ok(Err(alarm)))
        })
        .await
    }

    /// Writes everything that is to be written; `None` if the peer doesn't take it for as long as it may be idle.
    async fn write_output(&mut self) -> io::Result<Option<()>> {
        let mut written = 0;
        while written < self.output.len() {
            let Self { stream, output, watch, config, .. } = &mut *self;
            let mut waited = false;
            let outcome = poll_fn(|cx| {
                if let Poll::Ready(outcome) = Pin::new(&mut &*stream).poll_write(cx, &output[written..]) {
                    return Poll::Ready(outcome.map(Some));
                }
                if !std::mem::replace(&mut waited, true) {
                    watch.start(config.idle_timeout);
                }
                watch.poll(cx, false).map(|_| Ok(None))
            });
            match outcome.await? {
                Some(n) => written += n,
                None => return Ok(None),
            }
        }
        self.output.clear();
        Ok(Some(()))
    }

    /// Closes so that the last answer arrives: says that nothing more is coming, then reads away what the peer still
    /// sends. Closing with unread input would reset the connection, and a reset destroys what the peer has not read yet.
    async fn linger(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)?;
        let mut left = self.config.linger_bytes;
        while left > 0 {
            match self.stream.read(&mut self.input).await? {
                0 => break,
                n => left = left.saturating_sub(n),
            }
        }
        Ok(())
    }
}

/// The deadline of a connection and its ear for the server's stop, both nearly free while requests keep coming: the clock is read
/// once a wait, and the timer, once armed, is only touched again when it fires (it may fire early: then it is
/// set to what is left), when a nearer deadline comes, or when the task's waker has changed.
struct Watch {
    member: Member,
    deadline: Instant,
    /// A time that starts to run with the next wait.
    fresh: Option<Duration>,
    timer: Sleep,
    /// The waker that timer and gate know.
    known: Option<Waker>,
}

impl Watch {
    fn new(member: Member, first: Duration) -> Self {
        let deadline = Instant::now() + first;
        Self { member, deadline, fresh: None, timer: sleep_until(deadline), known: None }
    }

    /// Sets the deadline: `time` from the next wait on.
    fn start(&mut self, time: Duration) {
        self.fresh = Some(time);
    }

    fn poll(&mut self, cx: &mut Context<'_>, resting: bool) -> Poll<Alarm> {
        let now = Instant::now();
        if let Some(time) = self.fresh.take() {
            self.deadline = now + time;
        }
        let known = self.known.as_ref().is_some_and(|known| known.will_wake(cx.waker()));
        if !known {
            self.known = Some(cx.waker().clone());
            self.member.remember(cx.waker());
        }
        if resting && self.member.is_stopping() {
            return Poll::Ready(Alarm::Stop);
        }
        if self.deadline < self.timer.deadline() {
            self.timer.reset(self.deadline);
        } else if known && now < self.timer.deadline() {
            return Poll::Pending;
        }
        while Pin::new(&mut self.timer).poll(cx).is_ready() {
            if Instant::now() >= self.deadline {
                return Poll::Ready(Alarm::Deadline);
            }
            self.timer.reset(self.deadline);
        }
        Poll::Pending
    }
}
