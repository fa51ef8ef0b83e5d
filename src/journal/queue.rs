//! What waits for the disk, in memory and bounded: events by their number and bytes, critical ones first. Receipts and
//! outcomes are never refused: there are few for each accepted event. Knows no file.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use super::error::AppendError;
use crate::event::{Body, Draft, Severity};

/// Where the number of an accepted event goes.
pub(super) type Accepted = oneshot::Sender<Result<u64, AppendError>>;

/// Events that wait at most.
pub(super) const MOST_EVENTS: usize = 16_384;
/// And their bytes, as lines.
pub(super) const MOST_BYTES: usize = 16 << 20;

/// An event that is not accepted yet.
pub(super) struct Waiting {
    pub(super) draft: Draft,
    pub(super) body: Body,
    /// None for what the journal says of itself: nobody asks for its number.
    pub(super) accepted: Option<Accepted>,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.draft.fmt(f)
    }
}

/// One group on its way to the disk.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) events: Vec<Waiting>,
    pub(super) notes: Vec<Body>,
}

/// What a group may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub(super) lines: usize,
    pub(super) bytes: usize,
    /// Only what orch itself has to say.
    pub(super) own: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Queue {
    own: VecDeque<Waiting>,
    critical: VecDeque<Waiting>,
    ordinary: VecDeque<Waiting>,
    notes: VecDeque<Body>,
    bytes: usize,
}

impl Queue {
    /// Producers' events that wait.
    pub(super) fn events(&self) -> usize {
        self.critical.len() + self.ordinary.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn has_own(&self) -> bool {
        !self.own.is_empty() || !self.notes.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events() == 0 && !self.has_own()
    }

    /// Events of the journal's own, receipts and outcomes that wait.
    pub(super) fn own(&self) -> usize {
        self.own.len() + self.notes.len()
    }

    /// Takes an event in, and gives one back where there are too many: a critical one drives out the youngest that
    /// is not.
    pub(super) fn push(&mut self, waiting: Waiting) -> Option<Waiting> {
        let critical = waiting.draft.severity == Severity::Critical;
        let mut refused = None;
        if self.events() >= MOST_EVENTS || self.bytes + waiting.body.len() > MOST_BYTES {
            if !critical {
                return Some(waiting);
            }
            let Some(youngest) = self.ordinary.pop_back() else {
                return Some(waiting);
            };
            self.bytes -= youngest.body.len();
            refused = Some(youngest);
        }
        self.bytes += waiting.body.len();
        let lane = if critical {
            &mut self.critical
        } else {
            &mut self.ordinary
        };
        lane.push_back(waiting);
        refused
    }

    /// What the journal says of itself goes before everything else.
    pub(super) fn push_own(&mut self, waiting: Waiting) {
        self.own.push_back(waiting);
    }

    pub(super) fn note(&mut self, note: Body) {
        self.notes.push_back(note);
    }

    /// The next group; at least one line where there is any.
    pub(super) fn take(&mut self, limit: Limit) -> Group {
        let mut group = Group::default();
        let mut bytes = 0;
        let mut lanes = vec![&mut self.own];
        if !limit.own {
            lanes.extend([&mut self.critical, &mut self.ordinary]);
        }
        let mut taken = 0;
        for (at, lane) in lanes.into_iter().enumerate() {
            while group.events.len() < limit.lines
                && (bytes < limit.bytes)
                && let Some(next) = lane.pop_front()
            {
                bytes += next.body.len();
                if at > 0 {
                    taken += next.body.len();
                }
                group.events.push(next);
            }
        }
        self.bytes -= taken;
        let mut bytes = 0;
        while group.notes.len() < limit.lines
            && bytes < limit.bytes
            && let Some(next) = self.notes.pop_front()
        {
            bytes += next.len();
            group.notes.push(next);
        }
        group
    }

    /// Puts a group back to where it was taken from.
    pub(super) fn put_back(&mut self, group: Group) {
        for note in group.notes.into_iter().rev() {
            self.notes.push_front(note);
        }
        for waiting in group.events.into_iter().rev() {
            if waiting.accepted.is_none() {
                self.own.push_front(waiting);
                continue;
            }
            self.bytes += waiting.body.len();
            if waiting.draft.severity == Severity::Critical {
                self.critical.push_front(waiting);
            } else {
                self.ordinary.push_front(waiting);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(kind: &str, message: String) -> Waiting {
        let draft = Draft::new(kind, "t", message);
        Waiting {
            body: Body::event(&draft).unwrap(),
            draft,
            accepted: Some(oneshot::channel().0),
        }
    }

    const ALL: Limit = Limit {
        lines: usize::MAX,
        bytes: usize::MAX,
        own: false,
    };

    #[test]
    fn what_waits_is_bounded_and_the_critical_finds_room() {
        let mut queue = Queue::default();
        for n in 0..MOST_EVENTS {
            assert!(queue.push(waiting("bell", n.to_string())).is_none());
        }
        let refused = queue.push(waiting("bell", "one more".into())).unwrap();
        assert_eq!(refused.draft.message, "one more");
        let refused = queue.push(waiting("system_failure", "c".into())).unwrap();
        assert_eq!(refused.draft.message, (MOST_EVENTS - 1).to_string());
        let group = queue.take(ALL);
        assert_eq!(group.events.len(), MOST_EVENTS);
        assert_eq!(group.events[0].draft.message, "c");
        assert_eq!((queue.events(), queue.bytes()), (0, 0));

        let mut many = 0;
        while queue.push(waiting("bell", "x".repeat(4096))).is_none() {
            many += 1;
        }
        assert!(queue.bytes() <= MOST_BYTES && many > 3000, "{many}");
    }

    #[test]
    fn a_group_that_is_put_back_comes_again_as_it_was() {
        let mut queue = Queue::default();
        for n in 0..10 {
            queue.push(waiting("bell", n.to_string()));
            queue.push(waiting("system_failure", n.to_string()));
        }
        let limit = Limit { lines: 15, ..ALL };
        let said = |group: &Group| {
            let of = |w: &Waiting| format!("{} {}", w.draft.kind, w.draft.message);
            group.events.iter().map(of).collect::<Vec<_>>()
        };
        let group = queue.take(limit);
        let before = said(&group);
        queue.put_back(group);
        assert_eq!(said(&queue.take(limit)), before);
        assert_eq!(queue.take(limit).events.len(), 5);
        assert!(queue.is_empty());
    }
}
