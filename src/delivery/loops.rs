//! Whether we hear ourselves: chains of causes inside orch, and echoes of our messages from outside. Pure; knows
//! what followed what, not what was said.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fingerprint::Shape;
use super::lane::Tick;
use crate::event::Event;

/// Links of a chain of causes; a longer one is cut.
pub(crate) const DEPTH: u8 = 3;
/// An echo comes this soon after a message, in milliseconds.
const ECHO: i64 = 1_000;
/// Messages in a row that something has followed, each within [`ECHO`] and never at another time: it is our echo.
pub(crate) const ROW: u32 = 4;
/// A broken loop is told at most this often, in milliseconds.
const TELL_EVERY: i64 = 60 * 60_000;
/// Events with a cause, and followers of one message, that are remembered.
const MOST: usize = 1_000;

/// What is known of chains and echoes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Loops {
    /// Depth of the latest events that have a cause.
    depths: BTreeMap<u64, u8>,
    /// Messages so far, and when the latest was shown.
    messages: u64,
    shown: Option<Tick>,
    followers: Vec<(Shape, Follower)>,
    told: Option<Tick>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Follower {
    /// The message that it followed last.
    last: u64,
    /// Messages in a row that it followed.
    row: u32,
}

impl Loops {
    /// How many causes stand behind an event: 0 for one that nothing of ours has caused.
    pub(crate) fn depth(&mut self, event: &Event) -> u8 {
        let Some(cause) = event.cause else { return 0 };
        let depth = self.depth_of(cause).saturating_add(1);
        self.depths.insert(event.seq, depth);
        while self.depths.len() > MOST {
            self.depths.pop_first();
        }
        depth
    }

    /// Whether an event that this one causes would make the chain too long.
    pub(crate) fn is_end_of_chain(&self, cause: u64) -> bool {
        self.depth_of(cause) >= DEPTH
    }

    fn depth_of(&self, seq: u64) -> u8 {
        self.depths.get(&seq).copied().unwrap_or(0)
    }

    /// A message goes out.
    pub(crate) fn shows(&mut self, now: Tick) {
        let before = self.messages;
        self.messages += 1;
        self.shown = Some(now);
        // What did not follow the last one is no echo of each.
        self.followers
            .retain(|(_, follower)| follower.last == before);
    }

    /// Looks at an event from outside; true when it is an echo of our messages.
    pub(crate) fn is_echo(&mut self, shape: Shape, now: Tick) -> bool {
        let at = self.followers.iter().position(|(known, _)| *known == shape);
        let soon = self.shown.is_some_and(|shown| now.since(shown) <= ECHO);
        match at {
            Some(at) if !soon => {
                // It comes at other times too.
                self.followers.swap_remove(at);
                false
            }
            Some(at) => {
                let follower = &mut self.followers[at].1;
                if follower.last != self.messages {
                    follower.last = self.messages;
                    follower.row = follower.row.saturating_add(1);
                }
                follower.row >= ROW
            }
            None => {
                if soon && self.followers.len() < MOST {
                    let last = self.messages;
                    self.followers.push((shape, Follower { last, row: 1 }));
                }
                false
            }
        }
    }

    /// Whether a broken loop may be told now; it then was.
    pub(crate) fn tell(&mut self, now: Tick) -> bool {
        let due = self.told.is_none_or(|at| now.since(at) >= TELL_EVERY);
        if due {
            self.told = Some(now);
        }
        due
    }

    /// After a restart under a clock that went back.
    pub(crate) fn clamp(&mut self, now: Tick) {
        for at in [&mut self.shown, &mut self.told] {
            *at = at.map(|at| at.min(now));
        }
    }

    /// Entries that are remembered.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.depths.len() + self.followers.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fingerprint::tests::event;
    use super::*;
    use crate::event::Severity;

    fn shape(text: &str) -> Shape {
        Shape::of(&event(1, "x", Severity::Critical, text))
    }

    #[test]
    fn an_echo_is_what_follows_each_message_and_comes_at_no_other_time() {
        let mut loops = Loops::default();
        let mut echo = Vec::new();
        for n in 0..6 {
            loops.shows(Tick(n * 11_000));
            echo.push(loops.is_echo(shape(&format!("shown {n}")), Tick(n * 11_000 + 400)));
            assert!(!loops.is_echo(shape("elsewhere"), Tick(n * 11_000 + 400)));
            assert!(!loops.is_echo(shape("elsewhere"), Tick(n * 11_000 + 5_000)));
        }
        assert_eq!(echo, [false, false, false, true, true, true]);
        // One message that it does not follow, and it counts from the beginning.
        loops.shows(Tick(80_000));
        loops.shows(Tick(91_000));
        assert!(!loops.is_echo(shape("shown 9"), Tick(91_400)));
    }

    #[test]
    fn a_chain_has_a_depth() {
        let mut loops = Loops::default();
        let mut last = None;
        for (seq, expected) in (10..15).zip([0, 1, 2, 3, 4]) {
            let mut event = event(seq, "digest", Severity::Medium, "");
            event.cause = last.replace(seq);
            assert_eq!(loops.depth(&event), expected);
            assert_eq!(loops.is_end_of_chain(seq), expected >= DEPTH);
        }
        for seq in 20..5_000 {
            let mut event = event(seq, "digest", Severity::Medium, "");
            event.cause = Some(1);
            loops.depth(&event);
        }
        assert!(loops.len() <= MOST);
    }
}
