//! What waits for a client: repeats come in here, and everything gets its outcome when it leaves unshown.

use super::super::lane::Tick;
use super::{Action, Desk, outcome};
use crate::delivery::Waiting;
use crate::event::{Severity, Verdict};

impl Desk {
    /// Drops what waits; what is on its way to a screen goes on.
    pub fn clear(&mut self) -> Vec<Action> {
        self.resolve(|_| true, |_| (Verdict::Cleared, "dropped by clear-queues"))
    }

    /// The end of the run: what still waits gets its outcome. What was held back is kept in the memory.
    pub fn close(&mut self, now: Tick) -> Vec<Action> {
        self.waiting.extend(std::mem::take(&mut self.in_flight));
        for fingerprint in self.waiting.iter().filter_map(|w| w.fingerprint) {
            self.board.owe(fingerprint);
        }
        self.board.bound_owed();
        let reason = "orch stopped before it could be shown; counted into the next digest";
        let outcomes = self.resolve(|_| true, |_| (Verdict::Coalesced, reason));
        if !outcomes.is_empty() {
            self.digest
                .hold(Verdict::Coalesced, outcomes.len() as u64, now);
        }
        outcomes
    }

    /// Takes out of the queue what is meant, with its outcome.
    pub(super) fn resolve<'a>(
        &mut self,
        is_meant: impl Fn(&Waiting) -> bool,
        verdict: impl Fn(&Waiting) -> (Verdict, &'a str),
    ) -> Vec<Action> {
        let all = std::mem::take(&mut self.waiting).into_iter();
        let (meant, rest): (Vec<Waiting>, Vec<Waiting>) = all.partition(is_meant);
        self.waiting = rest.into();
        let mut outcomes = Vec::new();
        for waiting in meant {
            let (verdict, reason) = verdict(&waiting);
            if let Some(fingerprint) = waiting.fingerprint
                && verdict != Verdict::Delivered
            {
                // Nobody was told, so the same is news again.
                self.told.remove(&fingerprint);
            }
            if !waiting.repeat {
                outcomes.push(outcome(waiting.seq, verdict, reason, None));
            }
        }
        outcomes
    }

    /// A critical goes before an ordinary one that waits: the oldest of those is counted instead.
    pub(super) fn make_room(&mut self, now: Tick) -> Option<Action> {
        let at = self
            .waiting
            .iter()
            .position(|w| w.severity != Severity::Critical)?;
        let dropped = self.waiting.remove(at)?;
        self.digest.hold(Verdict::Coalesced, 1, now);
        Some(outcome(
            dropped.seq,
            Verdict::Coalesced,
            "a critical took its place in the queue",
            None,
        ))
    }

    /// Conditions that still hold are told again, by their timers and as far as the lane goes, once somebody may be
    /// shown something: what waits without need could lose its place in the lane to a stop.
    pub(super) fn queue_repeats(&mut self, now: Tick) {
        if !self.config.messages || self.free_clients(now).is_empty() {
            return;
        }
        let known = |seq| {
            let mut all = self.waiting.iter().chain(&self.in_flight);
            all.any(|w| w.seq == seq)
        };
        let due = self.board.due(now).into_iter();
        let due: Vec<Waiting> = due
            .filter(|open| !known(open.seq))
            .map(|open| Waiting {
                seq: open.seq,
                severity: Severity::Critical,
                fingerprint: None,
                kind: open.kind.clone(),
                session: open.session.clone(),
                pane: open.pane,
                source: open.source.clone(),
                place: open.place.clone(),
                message: open.message.clone(),
                since: now,
                repeat: true,
            })
            .collect();
        for repeat in due {
            if self.waiting.len() < self.config.queue_size && self.critical.take(now) {
                self.waiting.push_back(repeat);
            }
        }
    }
}
