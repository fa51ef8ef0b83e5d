//! Whose reply is this? A first-in first-out queue of commands that were sent and not yet answered.
//! Knows no I/O and no clock: times are arguments.
//!
//! ```text
//! sent ──▶ waiting ──(block with flag 1)──▶ answered
//!             │ deadline passed: the waiter is told, the slot stays
//!             ▼
//!          abandoned ──(its block comes late)──▶ dropped
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

#[derive(Debug)]
struct Slot<W> {
    waiter: Option<W>,
    sent: Instant,
    deadline: Instant,
}

/// Commands in flight, oldest first. tmux answers in order and never names the command, so a slot may
/// only go when its block comes.
#[derive(Debug)]
pub struct Pending<W> {
    slots: VecDeque<Slot<W>>,
}

impl<W> Default for Pending<W> {
    fn default() -> Self {
        Self {
            slots: VecDeque::new(),
        }
    }
}

/// What a block was for.
#[derive(Debug, PartialEq, Eq)]
pub enum Match<W> {
    /// The oldest command, and its waiter still waits.
    Waiter(W),
    /// The oldest command, but its waiter has given up.
    Abandoned,
    /// Not an answer to us: flag 0 (the attach, or a command run by a user's hook).
    Foreign,
    /// Flag 1, but nothing was asked: the queue has shifted.
    Unasked,
}

impl<W> Pending<W> {
    /// Remembers a command that was just written.
    pub fn push(&mut self, waiter: W, now: Instant, patience: Duration) {
        self.slots.push_back(Slot {
            waiter: Some(waiter),
            sent: now,
            deadline: now + patience,
        });
    }

    /// Matches a block by its flags.
    pub fn answer(&mut self, flags: u32) -> Match<W> {
        if flags & 1 == 0 {
            return Match::Foreign;
        }
        match self.slots.pop_front() {
            Some(Slot {
                waiter: Some(waiter),
                ..
            }) => Match::Waiter(waiter),
            Some(_) => Match::Abandoned,
            None => Match::Unasked,
        }
    }

    /// Waiters whose deadline has passed; their slots stay.
    pub fn expired(&mut self, now: Instant) -> Vec<W> {
        self.slots
            .iter_mut()
            .filter(|s| s.deadline <= now)
            .filter_map(|s| s.waiter.take())
            .collect()
    }

    /// How long the oldest command has been waiting for its answer.
    pub fn oldest(&self, now: Instant) -> Option<Duration> {
        self.slots
            .front()
            .map(|slot| now.saturating_duration_since(slot.sent))
    }

    /// Commands in flight.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Takes every waiter, for the end of the stream.
    pub fn drain(&mut self) -> Vec<W> {
        self.slots
            .drain(..)
            .filter_map(|slot| slot.waiter)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    #[test]
    fn answers_come_in_order_and_hooks_do_not_count() {
        let now = Instant::now();
        let mut pending = Pending::default();
        pending.push('a', now, PATIENCE);
        pending.push('b', now, PATIENCE);
        assert_eq!(pending.answer(0), Match::Foreign);
        assert_eq!(pending.answer(1), Match::Waiter('a'));
        assert_eq!(pending.answer(0), Match::Foreign);
        assert_eq!(pending.answer(1), Match::Waiter('b'));
        assert_eq!(pending.answer(1), Match::Unasked);
    }

    #[test]
    fn a_timeout_abandons_the_waiter_and_keeps_the_slot() {
        let now = Instant::now();
        let mut pending = Pending::default();
        pending.push('a', now, PATIENCE);
        pending.push('b', now + PATIENCE, PATIENCE);
        assert_eq!(pending.expired(now + PATIENCE), ['a']);
        assert_eq!(pending.expired(now + PATIENCE), []);
        assert_eq!(pending.oldest(now + 2 * PATIENCE), Some(2 * PATIENCE));
        assert_eq!(pending.answer(1), Match::Abandoned);
        assert_eq!(pending.answer(1), Match::Waiter('b'));
    }

    #[test]
    fn the_end_of_the_stream_resolves_all() {
        let now = Instant::now();
        let mut pending = Pending::default();
        for waiter in 0..3 {
            pending.push(waiter, now, PATIENCE);
        }
        assert_eq!(pending.answer(1), Match::Waiter(0));
        assert_eq!(pending.drain(), [1, 2]);
        assert!(pending.is_empty());
    }
}
