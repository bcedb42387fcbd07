//! Delivery: from the ready list to the caller's events (the kernel's `ep_send_events`).
//!
//! Runs under the control lock. The ready list is taken whole; each item is asked *now* what holds, and what holds is
//! reported; what comes in meanwhile goes to the overflow list (contract C4, epoll facts 55 to 67). A panic in a custom
//! source's `poll` ends the scan in good order, as a fault does in the kernel (fact 68): the item goes back to the head; if
//! nothing was delivered yet the panic goes on when the locks are released, else what was is returned and the next scan
//! throws.

use super::Inner;
use super::control::{Control, forget_gone};
use super::item::{Item, Panic};
use crate::events::{Event, Events};
use crate::source::Source;
use crate::sync::Arc;
use std::panic::resume_unwind;

impl Inner {
    /// Delivers what is ready, at most `events.len()`, and wakes one more waiter if something is left.
    pub(super) fn scan(&self, events: &mut [Event], graveyard: &mut Vec<Arc<dyn Source>>) -> usize {
        let mut delivered = 0;
        let mut panic;
        let next = {
            let mut control = self.control.lock();
            let Control { interests, batch, requeue, thrown, .. } = &mut *control;
            forget_gone(interests, self.ready.begin_scan(batch));
            panic = thrown.take();
            while delivered < events.len() && panic.is_none() {
                let Some(item) = batch.pop_front() else { break };
                item.set_linked(false);
                match item.poll(graveyard) {
                    Ok(now) if now.is_empty() => {}
                    Ok(now) => {
                        item.count_delivery();
                        events[delivered] = Event { events: now, data: item.data() };
                        delivered += 1;
                        settle(item, requeue);
                    }
                    Err(payload) => {
                        item.set_linked(true);
                        batch.push_front(item);
                        panic = Some(payload);
                    }
                }
            }
            if delivered > 0 {
                *thrown = panic.take();
            }
            self.ready.end_scan(batch, requeue)
        };
        if let Some(next) = next {
            next.unpark();
        }
        if let Some(thrown) = panic {
            resume_unwind(thrown);
        }
        delivered
    }

    /// What this instance shows to one that watches it: readable if an item on its ready list is ready under its own
    /// mask. Items met on the way that are not ready any more are dropped from the list; the order stays, and
    /// edge-triggered and one-shot items are not used up (facts 38 and 39).
    pub(super) fn readiness(&self, graveyard: &mut Vec<Arc<dyn Source>>) -> Events {
        let mut found = Events::empty();
        let mut panic = None;
        let next = {
            let mut control = self.control.lock();
            let Control { interests, batch, requeue, .. } = &mut *control;
            forget_gone(interests, self.ready.begin_scan(batch));
            while let Some(item) = batch.front() {
                match item.poll(graveyard) {
                    Ok(now) if now.is_empty() => {
                        item.set_linked(false);
                        batch.pop_front();
                    }
                    Ok(_) => {
                        found = Events::IN | Events::RDNORM;
                        break;
                    }
                    Err(thrown) => {
                        panic = Some(thrown);
                        break;
                    }
                }
            }
            self.ready.end_scan(batch, requeue)
        };
        if let Some(next) = next {
            next.unpark();
        }
        // The graveyard is the outer scan's, which still holds its lock; it catches this panic in turn.
        if let Some(thrown) = panic {
            resume_unwind(thrown);
        }
        found
    }
}

/// After a delivery: a one-shot interest is disarmed, a level-triggered one comes up again, an edge-triggered one rests.
fn settle(item: Arc<Item>, requeue: &mut Vec<Arc<Item>>) {
    let mask = item.mask();
    if mask.contains(Events::ONESHOT) {
        item.disarm();
    } else if !mask.contains(Events::ET) {
        item.set_linked(true);
        requeue.push(item);
    }
}

/// Lets a caught panic go on, after the sources that the scan kept alive have been let go.
pub(super) fn rethrow(panic: Option<Panic>, graveyard: &mut Vec<Arc<dyn Source>>) {
    if let Some(thrown) = panic {
        graveyard.clear();
        resume_unwind(thrown);
    }
}
