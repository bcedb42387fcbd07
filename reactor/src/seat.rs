//! [`Seat`]: how the current thread takes part in `wait`: as owner of a lane, or as one of those who share one.

#[cfg(not(egret_loom))]
pub(crate) use real::*;

#[cfg(not(egret_loom))]
mod real {
    use crate::eventpoll::ready::Ready;
    use crate::lane::{LaneInner, Lanes};
    use crate::parker::Parker;
    use crate::source::Source;
    use crate::sync::Arc;
    use std::cell::{Cell, RefCell};
    use std::io;
    use std::time::Instant;

    /// A thread's lane.
    #[derive(Debug, Clone)]
    pub(crate) struct Ownership {
        lanes: Lanes,
        parker: Arc<Parker>,
    }

    thread_local! {
        static OWNED: RefCell<Option<Ownership>> = const { RefCell::new(None) };
        /// The parker of the last shared lane, so that waiting again costs no allocation.
        static SHARED: RefCell<Option<Arc<Parker>>> = const { RefCell::new(None) };
        static GRAVEYARD: Cell<Vec<Arc<dyn Source>>> = const { Cell::new(Vec::new()) };
    }

    /// Makes this thread the owner of a lane; returns what it owned before.
    pub(crate) fn enter(lanes: Lanes, lane: Arc<LaneInner>) -> Option<Ownership> {
        let parker = Arc::new(Parker::new(lane));
        OWNED.with(|owned| owned.replace(Some(Ownership { lanes, parker })))
    }

    pub(crate) fn leave(previous: Option<Ownership>) {
        // At the end of a thread there is nothing left to restore.
        let ended = OWNED.try_with(|owned| owned.replace(previous));
        drop(ended);
    }

    /// The lane that this thread owns among these.
    pub(crate) fn own_lane(lanes: &Lanes) -> Option<Arc<LaneInner>> {
        OWNED
            .try_with(|owned| {
                let owned = owned.borrow();
                let owned = owned.as_ref().filter(|owned| owned.lanes.is(lanes))?;
                Some(owned.parker.lane().clone())
            })
            .ok()
            .flatten()
    }

    /// Whether this thread owns this lane.
    pub(crate) fn owns(lane: &LaneInner) -> bool {
        OWNED
            .try_with(|owned| {
                owned.borrow().as_ref().is_some_and(|owned| std::ptr::eq(&**owned.parker.lane(), lane))
            })
            .unwrap_or(false)
    }

    pub(crate) struct Seat {
        /// Always there; an option so that the drop can put it back.
        parker: Option<Arc<Parker>>,
        owner: bool,
        /// It slept in the shared lane, or behind its leader.
        took_turns: Cell<bool>,
    }

    impl Seat {
        pub(crate) fn take(ready: &Ready) -> io::Result<Self> {
            ready.lanes().check_process()?;
            let owned = OWNED.try_with(|owned| {
                let owned = owned.borrow();
                owned.as_ref().filter(|owned| owned.lanes.is(ready.lanes())).map(|owned| owned.parker.clone())
            });
            if let Ok(Some(parker)) = owned {
                return Ok(Self { parker: Some(parker), owner: true, took_turns: Cell::new(false) });
            }
            let lane = ready.lanes().outside()?;
            let kept = SHARED
                .try_with(|shared| shared.borrow_mut().take_if(|parker| Arc::ptr_eq(parker.lane(), lane)));
            let parker = kept.ok().flatten().unwrap_or_else(|| Arc::new(Parker::new(lane.clone())));
            Ok(Self { parker: Some(parker), owner: false, took_turns: Cell::new(false) })
        }

        pub(crate) fn parker(&self) -> &Arc<Parker> {
            self.parker.as_ref().expect("a seat has its parker until it is dropped")
        }

        fn lane(&self) -> &LaneInner {
            self.parker().lane()
        }

        /// Publishes what the lane has. Threads outside a pool submit what was put off first, so that an edge that rises
        /// with the arm is not told twice; an owner leaves that to the call that blocks, unless it will not block.
        pub(crate) fn pump(&self, ready: &Ready, last_look: bool) -> io::Result<()> {
            if last_look {
                self.lane().pump_settled(Some(ready))
            } else {
                self.lane().pump(Some(ready), !self.owner)
            }
        }

        /// Whether a look can do without pumping.
        pub(crate) fn has_nothing_to_pump(&self) -> bool {
            self.lane().is_vacant()
        }

        pub(crate) fn park(&self, deadline: Option<Instant>) -> io::Result<()> {
            if self.owner {
                self.parker().park_in_lane(deadline)
            } else {
                self.took_turns.set(true);
                self.lane().take_turns(self.parker(), deadline)
            }
        }

        pub(crate) fn rests(&self) -> bool {
            self.owner && self.lane().rests()
        }

        /// Lets others run once. Completions of this thread appear as it passes through the kernel.
        pub(crate) fn rest(&self) {
            std::thread::yield_now();
        }

        /// If nobody leads, one who follows shall.
        pub(crate) fn hand_over(&self) {
            if self.took_turns.get() {
                self.lane().hand_over();
            }
        }

        pub(crate) fn take_interrupt(&self) -> bool {
            self.owner && self.lane().take_interrupt()
        }

        pub(crate) fn take_graveyard() -> Vec<Arc<dyn Source>> {
            GRAVEYARD.try_with(Cell::take).unwrap_or_default()
        }

        pub(crate) fn give_back_graveyard(graveyard: Vec<Arc<dyn Source>>) {
            // At the end of a thread it is simply not kept.
            let _kept = GRAVEYARD.try_with(|cell| cell.set(graveyard));
        }
    }

    /// However a wait ends, somebody has to block in the shared lane if somebody waits. The parker is kept for the next one.
    impl Drop for Seat {
        fn drop(&mut self) {
            if self.owner {
                return;
            }
            self.hand_over();
            // A thread's end: there is no next one.
            let replaced = SHARED.try_with(|shared| shared.replace(self.parker.take()));
            drop(replaced);
        }
    }
}

/// In a model there are no descriptors, so there is no lane: every waiter sleeps on its own condition variable.
#[cfg(egret_loom)]
pub(crate) struct Seat {
    parker: crate::sync::Arc<crate::parker::Parker>,
}

#[cfg(egret_loom)]
mod model {
    use super::Seat;
    use crate::eventpoll::ready::Ready;
    use crate::parker::Parker;
    use crate::source::Source;
    use crate::sync::Arc;
    use std::io;
    use std::time::Instant;

    impl Seat {
        pub(crate) fn take(_ready: &Ready) -> io::Result<Self> {
            Ok(Self { parker: Arc::new(Parker::new()) })
        }

        pub(crate) fn parker(&self) -> &Arc<Parker> {
            &self.parker
        }

        pub(crate) fn pump(&self, _ready: &Ready, _last_look: bool) -> io::Result<()> {
            Ok(())
        }

        pub(crate) fn has_nothing_to_pump(&self) -> bool {
            true
        }

        pub(crate) fn park(&self, deadline: Option<Instant>) -> io::Result<()> {
            self.parker.park(deadline);
            Ok(())
        }

        pub(crate) fn rests(&self) -> bool {
            false
        }

        pub(crate) fn rest(&self) {}

        pub(crate) fn hand_over(&self) {}

        pub(crate) fn take_interrupt(&self) -> bool {
            false
        }

        pub(crate) fn take_graveyard() -> Vec<Arc<dyn Source>> {
            Vec::new()
        }

        pub(crate) fn give_back_graveyard(graveyard: Vec<Arc<dyn Source>>) {
            drop(graveyard);
        }
    }
}
