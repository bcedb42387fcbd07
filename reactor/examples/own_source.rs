//! A source of one's own: a mailbox with room for one letter, filled by another thread and watched by an [`Eventpoll`].
//!
//! A source is a state, a [`WaitQueue`], and a `poll` that registers the queue and *then* looks at the state. Whoever makes a
//! condition come true changes the state and *then* wakes the queue, with no lock held.
//!
//! Run with `cargo run -p egret-reactor --example own_source`.

use egret_reactor::{Event, Eventpoll, Events, PollTable, Source, WaitQueue};
use std::sync::{Arc, Mutex};
use std::thread;

#[derive(Default)]
struct Mailbox {
    letter: Mutex<Option<String>>,
    queue: WaitQueue,
}

impl Source for Mailbox {
    fn poll(&self, table: &mut PollTable<'_>) -> Events {
        table.register(&self.queue);
        if self.letter.lock().unwrap().is_some() { Events::IN } else { Events::OUT }
    }
}

impl Mailbox {
    /// Puts a letter in, or gives it back if there is one inside.
    fn put(&self, letter: String) -> Result<(), String> {
        {
            let mut place = self.letter.lock().unwrap();
            if place.is_some() {
                return Err(letter);
            }
            *place = Some(letter);
        }
        self.queue.wake(Events::IN);
        Ok(())
    }

    fn take(&self) -> Option<String> {
        let letter = self.letter.lock().unwrap().take()?;
        self.queue.wake(Events::OUT);
        Some(letter)
    }
}

fn main() -> std::io::Result<()> {
    let mailbox = Arc::new(Mailbox::default());
    let (readers, writer) = (Eventpoll::new()?, mailbox.clone());
    readers.add(&mailbox, 0, Events::IN, 1)?;
    let postman = thread::spawn(move || writer.put("hello from another thread".into()));
    let mut events = [Event::default(); 4];
    let n = readers.wait(&mut events, None)?; // sleeps until the queue is woken
    println!("{n} event: {:?}, data {}", events[0].events, events[0].data);
    println!("letter: {:?}", mailbox.take());
    postman.join().unwrap().expect("the mailbox was empty");
    Ok(())
}
