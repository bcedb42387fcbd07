//! [`Script`]: a list of operations, and the strategies that make them up.
//!
//! Sources and instances stand in numbered places; what goes away is replaced at once by a new one in the same place. The
//! first places are counters (every second one a semaphore), then come puppets, whose readiness the script sets. An
//! interest's data is the number of the step that gave it.

use egret_reactor::Events;
use proptest::prelude::*;
use std::fmt;

/// What there is.
#[derive(Clone, Copy)]
pub struct Shape {
    pub instances: usize,
    pub counters: usize,
    pub puppets: usize,
    /// Interests that one source may have in one instance.
    pub tags: u64,
}

impl Shape {
    pub fn sources(self) -> usize {
        self.counters + self.puppets
    }

    pub fn is_puppet(self, place: usize) -> bool {
        place >= self.counters
    }

    pub fn is_semaphore(self, place: usize) -> bool {
        place % 2 == 1
    }
}

/// What can be watched.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    Source(usize),
    Instance(usize),
}

/// What can be done to a source, also while an instance asks another one.
#[derive(Clone, Copy, Debug)]
pub enum Poke {
    Write {
        source: usize,
        number: u64,
    },
    Read {
        source: usize,
    },
    /// A puppet's readiness changes, silently.
    Set {
        source: usize,
        ready: Events,
    },
    /// A puppet tells of these conditions, which may or may not hold.
    Fire {
        source: usize,
        key: Events,
    },
    /// A puppet's readiness changes, and it tells of just that.
    Become {
        source: usize,
        ready: Events,
    },
    /// It is dropped.
    Replace {
        source: usize,
    },
}

impl Poke {
    pub fn source(self) -> usize {
        match self {
            Poke::Write { source, .. }
            | Poke::Read { source }
            | Poke::Set { source, .. }
            | Poke::Fire { source, .. }
            | Poke::Become { source, .. }
            | Poke::Replace { source } => source,
        }
    }
}

#[derive(Clone, Debug)]
pub enum Op {
    Add {
        instance: usize,
        target: Target,
        tag: u64,
        mask: Events,
    },
    Modify {
        instance: usize,
        target: Target,
        tag: u64,
        mask: Events,
    },
    Remove {
        instance: usize,
        target: Target,
        tag: u64,
    },
    Poke(Poke),
    /// When this puppet is asked next, these things happen meanwhile.
    Arm {
        puppet: usize,
        pokes: Vec<Poke>,
    },
    /// One pass, without blocking.
    Wait {
        instance: usize,
        room: usize,
    },
    /// A thread waits for ever.
    Park {
        instance: usize,
        room: usize,
    },
    Close {
        instance: usize,
    },
}

#[derive(Clone)]
pub struct Script {
    pub shape: Shape,
    pub ops: Vec<Op>,
}

/// How often what is done, in relation to each other.
#[derive(Clone, Copy)]
pub struct Weights {
    /// ADD, MOD and DEL of sources.
    pub interests: u32,
    /// ADD, MOD and DEL of instances.
    pub nesting: u32,
    pub pokes: u32,
    /// Pokes while a puppet is asked.
    pub arms: u32,
    pub waits: u32,
    pub closes: u32,
}

/// Scripts in which no thread sleeps.
pub fn scripts(shape: Shape, weights: Weights, longest: usize) -> BoxedStrategy<Script> {
    let weighted = [
        (weights.interests, interest(shape, source(shape), mask())),
        (weights.nesting, interest(shape, instance(shape), mask())),
        (weights.pokes, poke(shape).prop_map(Op::Poke).boxed()),
        (weights.arms, arm(shape)),
        (weights.waits, wait(shape)),
        (weights.closes, (0..shape.instances).prop_map(|instance| Op::Close { instance }).boxed()),
    ];
    let used = weighted.into_iter().filter(|(weight, _)| *weight > 0).collect();
    let ops = prop::collection::vec(proptest::strategy::Union::new_weighted(used), 1..longest);
    ops.prop_map(move |ops| Script { shape, ops }).boxed()
}

/// Scripts in which threads sleep, and in which it is certain who takes what. For that
/// * a step calls back at most one item of an instance: no nesting, no second tag,
/// * nobody is woken for nothing: a source tells only of what holds.
pub fn sleepy(shape: Shape, longest: usize) -> BoxedStrategy<Script> {
    let park = (0..shape.instances, 1..4usize).prop_map(|(instance, room)| Op::Park { instance, room });
    let op = prop_oneof![5 => park, 15 => awake(Shape { tags: 1, ..shape })];
    prop::collection::vec(op, 1..longest).prop_map(move |ops| Script { shape, ops }).boxed()
}

/// The same with several tags. An instance has one sleeper at most, and whoever wakes it is done with the walk before it looks.
pub fn lonely(shape: Shape, longest: usize) -> BoxedStrategy<Script> {
    let parks = prop::collection::vec((0..longest, 1..4usize), shape.instances);
    (prop::collection::vec(awake(shape), 1..longest), parks)
        .prop_map(move |(mut ops, parks)| {
            for (instance, (at, room)) in parks.into_iter().enumerate() {
                ops.insert(at.min(ops.len()), Op::Park { instance, room });
            }
            Script { shape, ops }
        })
        .boxed()
}

/// What those do who don't sleep.
fn awake(shape: Shape) -> BoxedStrategy<Op> {
    prop_oneof![
        6 => interest(shape, source(shape), prop_oneof![2 => exclusive(), 1 => mask()].boxed()),
        8 => honest_poke(shape).prop_map(Op::Poke),
        1 => wait(shape),
    ]
    .boxed()
}

fn honest_poke(shape: Shape) -> BoxedStrategy<Poke> {
    let known = (Events::IN | Events::OUT | Events::PRI | Events::ERR | Events::RDHUP).bits();
    let ready = prop_oneof![
        3 => Just(Events::IN),
        2 => Just(Events::OUT),
        2 => Just(Events::IN | Events::OUT),
        // No direction, and a direction beside something that everybody hears.
        2 => Just(Events::ERR),
        2 => Just(Events::OUT | Events::ERR),
        2 => prop::bits::u32::masked(known).prop_map(Events::from_bits_retain),
    ];
    let kind = prop_oneof![6 => Just(0), 2 => Just(1), 1 => Just(2)];
    (0..shape.sources(), kind, 1..3u64, ready)
        .prop_map(move |(source, kind, number, ready)| match (shape.is_puppet(source), kind) {
            (_, 2) => Poke::Replace { source },
            (false, 0) => Poke::Write { source, number },
            (false, _) => Poke::Read { source },
            (true, 0) if !ready.is_empty() => Poke::Become { source, ready },
            (true, _) => Poke::Set { source, ready },
        })
        .boxed()
}

/// An instance and a source.
fn source(shape: Shape) -> BoxedStrategy<(usize, Target)> {
    (0..shape.instances, 0..shape.sources())
        .prop_map(|(outer, source)| (outer, Target::Source(source)))
        .boxed()
}

/// An instance and another one: often the next, so that towers grow.
fn instance(shape: Shape) -> BoxedStrategy<(usize, Target)> {
    let above = prop_oneof![3 => Just(1), 2 => 0..shape.instances];
    (0..shape.instances, above)
        .prop_map(move |(outer, above)| (outer, Target::Instance((outer + above) % shape.instances)))
        .boxed()
}

fn interest(
    shape: Shape,
    pair: BoxedStrategy<(usize, Target)>,
    mask: BoxedStrategy<Events>,
) -> BoxedStrategy<Op> {
    let kind = prop_oneof![6 => Just(0), 4 => Just(1), 1 => Just(2)];
    (kind, pair, 0..shape.tags, mask)
        .prop_map(|(kind, (instance, target), tag, mask)| match kind {
            0 => Op::Add { instance, target, tag, mask },
            1 => Op::Modify { instance, target, tag, mask: without_most_exclusive(mask, tag) },
            _ => Op::Remove { instance, target, tag },
        })
        .boxed()
}

/// MOD refuses EXCLUSIVE at once: that is wanted now and then, not as often as ADD wants it.
fn without_most_exclusive(mask: Events, tag: u64) -> Events {
    if tag == 0 { mask } else { mask.difference(Events::EXCLUSIVE) }
}

fn wait(shape: Shape) -> BoxedStrategy<Op> {
    let room = prop_oneof![2 => 1..4usize, 1 => Just(8usize)];
    (0..shape.instances, room).prop_map(|(instance, room)| Op::Wait { instance, room }).boxed()
}

fn arm(shape: Shape) -> BoxedStrategy<Op> {
    if shape.puppets == 0 {
        return Just(Op::Wait { instance: 0, room: 1 }).boxed();
    }
    (shape.counters..shape.sources(), prop::collection::vec(poke(shape), 1..4))
        .prop_map(|(puppet, pokes)| Op::Arm { puppet, pokes })
        .boxed()
}

fn poke(shape: Shape) -> BoxedStrategy<Poke> {
    let place = 0..shape.sources();
    // 1 and 2 to count, 0 for an arrival of nothing, the others for the ends of the scale.
    let number =
        prop_oneof![8 => Just(1), 3 => Just(2), 1 => Just(0), 1 => Just(u64::MAX - 1), 1 => Just(u64::MAX)];
    let kind = prop_oneof![6 => Just(0), 4 => Just(1), 1 => Just(2)];
    (place, kind, number, conditions(), conditions())
        .prop_map(move |(source, kind, number, ready, key)| match (shape.is_puppet(source), kind) {
            (_, 2) => Poke::Replace { source },
            (false, 0) => Poke::Write { source, number },
            (false, _) => Poke::Read { source },
            (true, 0) => Poke::Fire { source, key },
            (true, _) => Poke::Set { source, ready },
        })
        .boxed()
}

/// How likely a mode is, in tenths.
fn mode(bit: Events, tenths: u32) -> BoxedStrategy<Events> {
    prop_oneof![10 - tenths => Just(Events::empty()), tenths => Just(bit)].boxed()
}

fn exclusive() -> BoxedStrategy<Events> {
    let directions = prop_oneof![Just(Events::IN), Just(Events::OUT), Just(Events::IN | Events::OUT)];
    let modes = (mode(Events::ET, 5), mode(Events::WAKEUP, 1));
    (directions, modes)
        .prop_map(|(conditions, (et, wakeup))| conditions | et | wakeup | Events::EXCLUSIVE)
        .boxed()
}

/// An interest's mask: any bits now and then, mostly something a program would write.
fn mask() -> BoxedStrategy<Events> {
    let usual = (conditions(), mode(Events::ET, 4), mode(Events::ONESHOT, 3), mode(Events::WAKEUP, 1))
        .prop_map(|(conditions, et, oneshot, wakeup)| conditions | et | oneshot | wakeup);
    let often_refused = usual.clone().prop_map(|mask| mask | Events::EXCLUSIVE);
    let any = any::<u32>().prop_map(Events::from_bits_retain);
    prop_oneof![16 => usual, 5 => exclusive(), 2 => often_refused, 1 => any].boxed()
}

/// Conditions: often just IN, which is what counters and instances have.
fn conditions() -> BoxedStrategy<Events> {
    let known =
        Events::IN | Events::OUT | Events::PRI | Events::ERR | Events::HUP | Events::RDNORM | Events::RDHUP;
    prop_oneof![
        6 => Just(Events::IN),
        2 => Just(Events::IN | Events::OUT),
        1 => Just(Events::OUT),
        1 => Just(Events::empty()),
        2 => prop::bits::u32::masked(known.bits()).prop_map(Events::from_bits_retain),
        1 => any::<u32>().prop_map(Events::from_bits_retain),
    ]
    .boxed()
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Source(place) => write!(f, "s{place}"),
            Target::Instance(place) => write!(f, "e{place}"),
        }
    }
}

/// `IN | ET`, or `none`.
struct Bits(Events);

impl fmt::Display for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        bitflags::parser::to_writer(&self.0, f)
    }
}

impl fmt::Display for Poke {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Poke::Write { source, number } => write!(f, "write s{source} {number}"),
            Poke::Read { source } => write!(f, "read s{source}"),
            Poke::Set { source, ready } => write!(f, "set s{source} {}", Bits(*ready)),
            Poke::Fire { source, key } => write!(f, "fire s{source} {}", Bits(*key)),
            Poke::Become { source, ready } => write!(f, "become s{source} {}", Bits(*ready)),
            Poke::Replace { source } => write!(f, "drop s{source}"),
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Add { instance, target, tag, mask } => {
                write!(f, "add e{instance} {target}#{tag} {}", Bits(*mask))
            }
            Op::Modify { instance, target, tag, mask } => {
                write!(f, "modify e{instance} {target}#{tag} {}", Bits(*mask))
            }
            Op::Remove { instance, target, tag } => write!(f, "remove e{instance} {target}#{tag}"),
            Op::Poke(poke) => poke.fmt(f),
            Op::Arm { puppet, pokes } => {
                write!(f, "while s{puppet} is asked:")?;
                pokes.iter().try_for_each(|poke| write!(f, " {poke};"))
            }
            Op::Wait { instance, room } => write!(f, "wait e{instance} room {room}"),
            Op::Park { instance, room } => write!(f, "park e{instance} room {room}"),
            Op::Close { instance } => write!(f, "close e{instance}"),
        }
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shape { instances, counters, puppets, .. } = self.shape;
        write!(f, "{instances} instances, {counters} counters, {puppets} puppets")?;
        self.ops.iter().enumerate().try_for_each(|(step, op)| write!(f, "\n{step:4}: {op}"))
    }
}
