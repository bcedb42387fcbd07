//! Random scripts. The generator keeps a rough idea of what is open and registered, so that most lines do something, and
//! some are wrong on purpose.

use crate::random::Random;
use crate::script::{Half, Number, Op, Script};
use egret_reactor::Events;

/// Length of a script: long enough for a list to get into any state, short enough to shrink quickly. A guess.
const SHORTEST: usize = 50;
const LONGEST: usize = 200;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Reader,
    Writer,
    Unix,
    Tcp,
    Eventfd,
    Instance,
}

#[derive(Clone, Copy)]
struct Handle {
    number: Number,
    kind: Kind,
}

struct Generator<'a> {
    random: &'a mut Random,
    ops: Vec<Op>,
    open: Vec<Handle>,
    interests: Vec<(Number, Number)>,
    next: Number,
    /// Second descriptors become a source of their own (an `Fd` over the dup'ed descriptor).
    own_dups: bool,
}

/// One random script.
pub fn script(random: &mut Random) -> Script {
    let length = SHORTEST + random.below(LONGEST - SHORTEST + 1);
    let own_dups = random.percent(20);
    let mut generator =
        Generator { random, ops: Vec::new(), open: Vec::new(), interests: Vec::new(), next: 0, own_dups };
    generator.furnish();
    while generator.ops.len() < length {
        generator.step();
    }
    Script(generator.ops)
}

impl Generator<'_> {
    fn furnish(&mut self) {
        // Now and then a tower: instances upon instances, for loops and depth.
        let tower = self.random.percent(10);
        let instances =
            if tower { 4 + self.random.below(4) } else { 1 + self.random.weighted(&[4, 3, 2, 1, 1]) };
        for _ in 0..instances {
            self.instance();
        }
        for _ in 0..1 + self.random.below(4) {
            self.objects();
        }
        for _ in 0..self.random.below(3) {
            self.second();
        }
        // Often instances watch each other from the start.
        for _ in 0..self.random.below(if tower { 24 } else { 4 }) {
            let Some(target) = self.handle(|handle| handle.kind == Kind::Instance) else { continue };
            self.add(target);
        }
    }

    fn number(&mut self) -> Number {
        self.next += 1;
        self.next - 1
    }

    fn push_handle(&mut self, kind: Kind) -> Number {
        let number = self.number();
        self.open.push(Handle { number, kind });
        number
    }

    fn instance(&mut self) {
        let number = self.push_handle(Kind::Instance);
        self.ops.push(Op::Instance(number));
    }

    fn objects(&mut self) {
        let op = match self.random.weighted(&[4, 4, 2, 4]) {
            0 => Op::Pipe(self.push_handle(Kind::Reader), self.push_handle(Kind::Writer)),
            1 => Op::Unix(self.push_handle(Kind::Unix), self.push_handle(Kind::Unix)),
            2 => Op::Tcp(self.push_handle(Kind::Tcp), self.push_handle(Kind::Tcp)),
            _ => {
                let value = self.random.below(2) as u32;
                Op::Eventfd(self.push_handle(Kind::Eventfd), value)
            }
        };
        self.ops.push(op);
    }

    /// A second descriptor of something.
    fn second(&mut self) {
        let Some(of) = self.handle(|_| true) else { return };
        let number = self.number();
        self.open.push(Handle { number, ..of });
        let own = self.own_dups && of.kind != Kind::Instance && self.random.percent(50);
        self.ops.push(if own { Op::Dup(of.number, number) } else { Op::Tag(of.number, number) });
    }

    fn handle(&mut self, fits: impl Fn(&Handle) -> bool) -> Option<Handle> {
        let fitting: Vec<Handle> = self.open.iter().filter(|handle| fits(handle)).copied().collect();
        self.random.pick(&fitting)
    }

    fn some_instance(&mut self) -> Option<Number> {
        self.handle(|handle| handle.kind == Kind::Instance).map(|handle| handle.number)
    }

    fn mask(&mut self) -> u32 {
        let random = &mut *self.random;
        let conditions = match random.weighted(&[30, 15, 20, 8, 5, 4, 8, 4]) {
            0 => Events::IN,
            1 => Events::OUT,
            2 => Events::IN | Events::OUT,
            3 => Events::IN | Events::RDHUP,
            4 => Events::IN | Events::OUT | Events::RDHUP | Events::PRI,
            5 => Events::empty(),
            6 => Events::from_bits_retain(random.next() as u32 & 0x27df),
            _ => Events::from_bits_retain(random.next() as u32 & 0x0fff_ffff),
        };
        let mode = match random.weighted(&[40, 40, 10, 10]) {
            0 => Events::empty(),
            1 => Events::ET,
            2 => Events::ONESHOT,
            _ => Events::ET | Events::ONESHOT,
        };
        let mut mask = conditions | mode;
        if random.percent(1) {
            mask |= Events::WAKEUP;
        }
        mask.bits()
    }

    /// EXCLUSIVE with what it goes with, or (rarely) with anything.
    fn mask_for_add(&mut self) -> u32 {
        let mask = self.mask();
        match self.random.weighted(&[85, 12, 3]) {
            0 => mask,
            1 => mask & 0xa000_001d | Events::EXCLUSIVE.bits(),
            _ => mask | Events::EXCLUSIVE.bits(),
        }
    }

    fn data(&mut self) -> u64 {
        self.random.next()
    }

    fn add(&mut self, target: Handle) {
        let Some(instance) = self.some_instance() else { return };
        let (mask, data) = (self.mask_for_add(), self.data());
        self.ops.push(Op::Add { instance, target: target.number, mask, data });
        if !self.interests.contains(&(instance, target.number)) {
            self.interests.push((instance, target.number));
        }
    }

    /// What is registered, or (now and then) what may not be.
    fn interest(&mut self) -> Option<(Number, Number)> {
        if !self.interests.is_empty() && self.random.percent(92) {
            let interests = std::mem::take(&mut self.interests);
            let picked = self.random.pick(&interests);
            self.interests = interests;
            return picked;
        }
        Some((self.some_instance()?, self.handle(|_| true)?.number))
    }

    fn step(&mut self) {
        match self.random.weighted(&[24, 20, 14, 10, 5, 13, 4, 4, 2, 2, 2, 1]) {
            0 => self.wait(),
            1 => self.write(),
            2 => self.read(),
            3 => {
                if let Some(target) = self.handle(|_| true) {
                    self.add(target);
                }
            }
            4 => self.wait_all(),
            5 => {
                if let Some((instance, target)) = self.interest() {
                    let mut mask = self.mask();
                    if self.random.percent(1) {
                        mask |= Events::EXCLUSIVE.bits();
                    }
                    let data = self.data();
                    self.ops.push(Op::Modify { instance, target, mask, data });
                }
            }
            6 => {
                if let Some((instance, target)) = self.interest() {
                    self.ops.push(Op::Remove { instance, target });
                    self.interests.retain(|interest| *interest != (instance, target));
                }
            }
            7 => self.fill_or_drain(),
            8 => self.end_of_something(),
            9 => self.objects(),
            10 => self.second(),
            _ => match self.random.below(8) {
                0..3 => self.instance(),
                3 => {
                    if let Some(instance) = self.some_instance() {
                        self.ops.push(Op::AddFile(instance));
                    }
                }
                4 => {
                    if let Some(instance) = self.some_instance() {
                        self.ops.push(Op::Wait { instance, max: 0 });
                    }
                }
                _ => {
                    if let Some(socket) = self.handle(|handle| matches!(handle.kind, Kind::Tcp | Kind::Unix))
                    {
                        self.ops.push(Op::Urgent(socket.number));
                    }
                }
            },
        }
    }

    fn wait(&mut self) {
        let Some(instance) = self.some_instance() else { return };
        let max = match self.random.below(4) {
            0 => 1,
            1 => 1 + self.random.below(4),
            _ => 64,
        };
        self.ops.push(Op::Wait { instance, max });
    }

    fn wait_all(&mut self) {
        if let Some(instance) = self.some_instance() {
            self.ops.push(Op::Wait { instance, max: 64 });
        }
    }

    fn write(&mut self) {
        let to = self.handle(|handle| !matches!(handle.kind, Kind::Reader | Kind::Instance));
        let Some(to) = to else { return };
        let n = if self.random.percent(80) { 1 + self.random.below(16) } else { 1 + self.random.below(2000) };
        self.ops.push(Op::Write(to.number, n));
    }

    fn read(&mut self) {
        let from = self.handle(|handle| !matches!(handle.kind, Kind::Writer | Kind::Instance));
        let Some(from) = from else { return };
        if self.random.percent(50) {
            self.ops.push(Op::Drain(from.number));
        } else {
            let n =
                if self.random.percent(80) { 1 + self.random.below(16) } else { 1 + self.random.below(4000) };
            self.ops.push(Op::Read(from.number, n));
        }
    }

    fn fill_or_drain(&mut self) {
        let Some(handle) = self.handle(|handle| handle.kind != Kind::Instance) else { return };
        let fill = match handle.kind {
            Kind::Reader => false,
            Kind::Writer => true,
            _ => self.random.percent(50),
        };
        self.ops.push(if fill { Op::Fill(handle.number) } else { Op::Drain(handle.number) });
    }

    fn end_of_something(&mut self) {
        if self.random.percent(50) {
            let socket = self.handle(|handle| matches!(handle.kind, Kind::Tcp | Kind::Unix));
            let Some(socket) = socket else { return };
            let half = self.random.pick(&[Half::Read, Half::Write, Half::Both]).unwrap_or(Half::Both);
            self.ops.push(Op::Shutdown(socket.number, half));
            return;
        }
        if self.open.len() < 3 {
            return;
        }
        let at = self.random.below(self.open.len());
        let gone = self.open.swap_remove(at);
        let reset = gone.kind == Kind::Tcp && self.random.percent(50);
        self.ops.push(if reset { Op::Reset(gone.number) } else { Op::Close(gone.number) });
        self.interests.retain(|(instance, target)| *target != gone.number && *instance != gone.number);
    }
}
