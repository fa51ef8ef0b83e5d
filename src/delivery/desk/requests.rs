//! What people ask of the desk: not to be told of something for a while, and that something is seen to.

use super::super::lane::Tick;
use super::super::mute::{BadMute, Filter, Mute, Subject, Which};
use super::{Action, Desk};
use crate::delivery::Waiting;
use crate::event::Verdict;

impl Desk {
    /// Begins a mute of so many milliseconds, or moves the end of one with the same filter. What waits under it gets
    /// its outcome.
    ///
    /// # Errors
    /// [`BadMute`]: too long, or too many of them.
    pub fn mute(
        &mut self,
        filter: Filter,
        milliseconds: i64,
        now: Tick,
    ) -> Result<(Mute, Vec<Action>), BadMute> {
        let mute = self.mutes.begin(filter, milliseconds, now)?;
        let is_covered = |waiting: &Waiting| {
            let subject = Subject {
                kind: &waiting.kind,
                session: waiting.session.as_deref(),
                pane: waiting.pane,
                source: &waiting.source,
            };
            mute.filter.covers(subject)
        };
        let reason = format!("mute {} ({}) began while it waited", mute.id, mute.filter);
        let outcomes = self.resolve(is_covered, |_| (Verdict::Muted, &reason));
        outcomes.iter().for_each(|_| self.mutes.count(mute.id));
        self.look_under_mutes();
        Ok((mute, outcomes))
    }

    /// Ends mutes: what they held is counted into the next digest. Those that ended, and how many conditions are
    /// shown again.
    pub fn unmute(&mut self, which: &Which, now: Tick) -> (Vec<Mute>, usize) {
        let ended = self.mutes.end(which);
        let again = self.unmuted(&ended, now);
        (ended, again)
    }

    /// The mutes that hold, the oldest first.
    pub fn mutes(&self) -> &[Mute] {
        self.mutes.list()
    }

    /// Somebody has seen to an event's condition; whether there was any. A client that the breaker has cut off is served
    /// again.
    pub fn acknowledge(&mut self, seq: u64) -> (bool, Vec<Action>) {
        let mut known = self.board.acknowledge(seq);
        if self.breaker.acknowledge(seq) {
            // It may come again, and is news then.
            self.board.close(seq);
            known = true;
        }
        // What was to be told of it need not be told any more.
        let is_of_it = |waiting: &Waiting| waiting.seq == seq;
        let seen_to = "somebody has seen to it before it could be shown";
        let outcomes = self.resolve(is_of_it, |_| (Verdict::Acknowledged, seen_to));
        (known, outcomes)
    }

    pub(super) fn unmuted(&mut self, ended: &[Mute], now: Tick) -> usize {
        for mute in ended.iter().filter(|mute| mute.held > 0) {
            self.digest
                .hold_muted(mute.filter.to_string(), mute.held, now);
        }
        self.look_under_mutes()
    }

    fn look_under_mutes(&mut self) -> usize {
        let mutes = &self.mutes;
        self.board.mute(|subject| mutes.cover(subject).is_some())
    }
}
