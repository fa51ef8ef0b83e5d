//! What stands open: criticals that were accepted and have not ended. The segment shows it, repeats come from it.
//! Pure; knows no destination.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fingerprint::Fingerprint;
use super::lane::Tick;
use super::mute::Subject;
use crate::event::{Event, kind};
use crate::tmux::id::PaneId;

/// Minutes between repeats of a critical that still holds.
const REPEATS_MIN: [i64; 3] = [5, 15, 60];
/// A critical whose end nobody would say ends by itself after this long without being said again.
const HOLDS_MS: i64 = 60 * 60_000;
/// Conditions of orch's own that are closed without an event that ends them.
const CLOSED_OTHERWISE: [&str; 2] = ["breaker_open", "component_parked"];
/// Conditions that are kept; beyond it the oldest go, the count in the segment stays a lower bound.
const MOST: usize = 10_000;
/// Characters of its message that are kept of each.
const MESSAGE: usize = 200;
/// Conditions that make room at once when there are too many.
const ROOM: usize = 100;
/// Conditions that are told when a mute over them ends, or in the run after one that ended before it could tell them;
/// the segment counts the others.
const OWED: usize = 3;

/// One critical that holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// The event that opened it.
    pub seq: u64,
    /// Its type.
    pub kind: String,
    /// Where, as `session:window`, from orch's own knowledge.
    pub place: String,
    /// Name of its session.
    #[serde(default)]
    pub session: Option<String>,
    /// Its pane.
    pub pane: Option<PaneId>,
    /// Its source.
    pub source: String,
    /// What it said, for people; cut to what a message has room for.
    #[serde(default)]
    pub message: String,
    /// Since when.
    pub since: Tick,
    /// When it was last said.
    pub seen: Tick,
    /// When a person was last told, and how often.
    pub told: Option<(Tick, u32)>,
    /// Somebody has seen to it: it is shown no more until it ends and comes anew.
    #[serde(default)]
    pub seen_to: bool,
    /// A mute covers it: it is not shown as long as that holds.
    #[serde(default)]
    pub muted: bool,
    /// It is to be told now: a mute over it has ended, or the run that was to tell it.
    #[serde(default)]
    pub owed: bool,
    /// It ends by time also: it was emitted, or is of a type whose end no event says. So it is where that is not known.
    #[serde(default = "yes")]
    pub by_time: bool,
}

fn yes() -> bool {
    true
}

/// Whether a producer says so: orch does not know when it ends.
pub(super) fn is_claimed(event: &Event) -> bool {
    event.peer_pid.is_some() || event.emitted_at.is_some()
}

impl Open {
    fn is_shown(&self) -> bool {
        !self.seen_to && !self.muted
    }

    fn subject(&self) -> Subject<'_> {
        Subject {
            kind: &self.kind,
            session: self.session.as_deref(),
            pane: self.pane,
            source: &self.source,
        }
    }
}

/// All open conditions.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Board {
    // A list of pairs, since JSON keys are strings.
    #[serde(with = "pairs")]
    open: BTreeMap<Fingerprint, Open>,
}

mod pairs {
    use super::{BTreeMap, Fingerprint, Open};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        map: &BTreeMap<Fingerprint, Open>,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        map.iter().collect::<Vec<_>>().serialize(s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<BTreeMap<Fingerprint, Open>, D::Error> {
        Ok(Vec::<(Fingerprint, Open)>::deserialize(d)?
            .into_iter()
            .collect())
    }
}

impl Board {
    /// A critical came. True when it opens a condition, false when that stood already. A muted one stands unseen.
    pub fn raise(
        &mut self,
        fingerprint: Fingerprint,
        event: &Event,
        place: String,
        muted: bool,
        now: Tick,
    ) -> bool {
        if let Some(open) = self.open.get_mut(&fingerprint) {
            open.seen = now;
            return false;
        }
        if self.open.len() >= MOST {
            self.forget_the_oldest();
        }
        let Event {
            seq,
            kind,
            session,
            pane,
            source,
            ..
        } = event;
        let open = Open {
            seq: *seq,
            kind: kind.clone(),
            place,
            session: session.clone(),
            pane: *pane,
            source: source.clone(),
            message: event.message.chars().take(MESSAGE).collect(),
            since: now,
            seen: now,
            told: None,
            seen_to: false,
            muted,
            owed: false,
            by_time: is_claimed(event)
                || !(kind::has_end(kind) || CLOSED_OTHERWISE.contains(&kind.as_str())),
        };
        self.open.insert(fingerprint, open);
        true
    }

    /// Makes room for some more at once: looking for the oldest costs a look at all.
    fn forget_the_oldest(&mut self) {
        let mut seen: Vec<(Tick, u64)> = self.open.values().map(|o| (o.seen, o.seq)).collect();
        let (_, last, _) = seen.select_nth_unstable(ROOM - 1);
        let last = *last;
        self.open.retain(|_, open| (open.seen, open.seq) > last);
    }

    /// Ends what this event ends: conditions of its pane, or of its source where it has none. True when any ended.
    pub fn end(&mut self, event: &Event) -> bool {
        let ends = kind::find(&event.kind).map_or(&[][..], |kind| kind.ends);
        let before = self.open.len();
        if !ends.is_empty() {
            self.open.retain(|_, open| {
                let subject = match event.pane {
                    Some(pane) => open.pane == Some(pane),
                    None => open.source == event.source,
                };
                !(subject && ends.contains(&open.kind.as_str()))
            });
        }
        self.open.len() != before
    }

    /// Somebody has seen to the condition that this event opened. False when none of that number is shown.
    pub fn acknowledge(&mut self, seq: u64) -> bool {
        let open = self
            .open
            .values_mut()
            .find(|open| open.seq == seq && !open.seen_to);
        open.is_some_and(|open| {
            open.seen_to = true;
            true
        })
    }

    /// Ends the condition that this event opened.
    pub fn close(&mut self, seq: u64) {
        self.open.retain(|_, open| open.seq != seq);
    }

    /// Other mutes hold from now on. What was under one and is no more is shown again, and the newest of it is to be
    /// told. How many are shown again.
    pub(crate) fn mute(&mut self, covers: impl Fn(Subject<'_>) -> bool) -> usize {
        let mut again: Vec<&mut Open> = Vec::new();
        for open in self.open.values_mut() {
            let muted = covers(open.subject());
            let before = std::mem::replace(&mut open.muted, muted);
            open.owed &= !muted;
            if before && open.is_shown() {
                again.push(open);
            }
        }
        again.iter_mut().for_each(|open| open.owed = true);
        let again = again.len();
        self.bound_owed();
        again
    }

    /// A condition was to be told, and was not: it is to be told as soon as that goes. [`Board::bound_owed`] follows.
    pub fn owe(&mut self, fingerprint: Fingerprint) {
        if let Some(open) = self.open.get_mut(&fingerprint) {
            open.owed = true;
        }
    }

    /// Of what is owed, the newest alone is told.
    pub fn bound_owed(&mut self) {
        let mut owed: Vec<&mut Open> = self.open.values_mut().filter(|open| open.owed).collect();
        owed.sort_by_key(|open| std::cmp::Reverse((open.since, open.seq)));
        for open in owed.iter_mut().skip(OWED) {
            open.owed = false;
        }
    }

    /// Whether somebody has seen to this condition, and it still holds.
    pub fn is_seen_to(&self, fingerprint: Fingerprint) -> bool {
        self.open.get(&fingerprint).is_some_and(|open| open.seen_to)
    }

    /// Ends what was true of the last run alone: its components run again, and its journal is written.
    pub fn begin_run(&mut self) {
        let ended = ["component_parked", "disk_full"];
        self.open
            .retain(|_, open| !ended.contains(&open.kind.as_str()));
    }

    /// Ends everything about panes: their ids mean other panes from now on.
    pub fn forget_panes(&mut self) {
        self.open.retain(|_, open| open.pane.is_none());
    }

    /// Ends what nobody has said for an hour, where nobody would say its end: neither what is true of a pane that is
    /// gone has one. True when any ended.
    pub fn expire(&mut self, is_gone: impl Fn(PaneId) -> bool, now: Tick) -> bool {
        let before = self.open.len();
        self.open.retain(|_, open| {
            now.since(open.seen) < HOLDS_MS || !(open.by_time || open.pane.is_some_and(&is_gone))
        });
        self.open.len() != before
    }

    /// A person was told of it.
    pub fn told(&mut self, seq: u64, now: Tick) {
        if let Some(open) = self.open.values_mut().find(|open| open.seq == seq) {
            open.told = Some((now, open.told.map_or(1, |(_, times)| times + 1)));
            open.owed = false;
        }
    }

    /// Whether this condition is open and a person was told of it.
    pub fn is_told(&self, fingerprint: Fingerprint) -> bool {
        self.open
            .get(&fingerprint)
            .is_some_and(|open| open.told.is_some())
    }

    /// Conditions whose repeat is due, oldest first.
    pub fn due(&self, now: Tick) -> Vec<&Open> {
        let mut due: Vec<&Open> = self
            .open
            .values()
            .filter(|open| {
                let by_timer = open.told.is_some_and(|(at, times)| {
                    let step = (times as usize)
                        .saturating_sub(1)
                        .min(REPEATS_MIN.len() - 1);
                    now.since(at) >= REPEATS_MIN[step] * 60_000
                });
                open.is_shown() && (open.owed || by_timer)
            })
            .collect();
        due.sort_by_key(|open| open.since);
        due
    }

    /// Open conditions that nobody has seen to and nobody has muted, the newest first.
    pub fn newest_first(&self) -> Vec<&Open> {
        let mut open: Vec<&Open> = self.open.values().filter(|open| open.is_shown()).collect();
        open.sort_by_key(|open| std::cmp::Reverse((open.since, open.seq)));
        open
    }

    /// Whether a condition of this type is open.
    pub fn holds(&self, kind: &str) -> bool {
        self.open.values().any(|open| open.kind == kind)
    }

    /// Moves times that lie ahead of `now` back to it, after a restart under a clock that went back.
    pub fn clamp(&mut self, now: Tick) {
        for open in self.open.values_mut() {
            open.since = open.since.min(now);
            open.seen = open.seen.min(now);
            open.told = open.told.map(|(at, times)| (at.min(now), times));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fingerprint::tests::event;
    use super::*;
    use crate::event::Severity;

    fn raise(board: &mut Board, seq: u64, kind: &str, message: &str, now: i64) -> bool {
        let event = event(seq, kind, Severity::Critical, message);
        board.raise(
            Fingerprint::of(&event),
            &event,
            "a:1".into(),
            false,
            Tick(now),
        )
    }

    #[test]
    fn a_condition_opens_once_and_ends_by_its_resolving_event_or_by_time() {
        let mut board = Board::default();
        assert!(raise(&mut board, 1, "credit_exhausted", "m", 0));
        assert!(!raise(&mut board, 2, "credit_exhausted", "m", 10));
        assert!(raise(&mut board, 3, "system_failure", "m", 20));
        assert_eq!(board.newest_first()[0].seq, 3);
        assert!(board.end(&event(4, "credit_reset", Severity::Medium, "")));
        assert!(!board.holds("credit_exhausted"));
        let expire = |board: &mut Board, now| board.expire(|_| false, Tick(now));
        assert!(!expire(&mut board, 20 + HOLDS_MS - 1));
        assert!(expire(&mut board, 20 + HOLDS_MS));
        assert!(board.newest_first().is_empty());
    }

    #[test]
    fn what_has_a_state_holds_as_long_as_that_does() {
        let mut board = Board::default();
        for (seq, kind) in (1..).zip(["disk_full", "component_parked", "breaker_open", "tmux_lost"])
        {
            raise(&mut board, seq, kind, "m", 0);
        }
        let mut blocked = event(5, "agent_blocked", Severity::Critical, "m");
        blocked.pane = Some(PaneId(3));
        let open = |board: &mut Board, event: &Event| {
            board.raise(Fingerprint::of(event), event, "a:1".into(), false, Tick(0))
        };
        assert!(open(&mut board, &blocked));
        // The same by a producer, whose pane may not even be its own.
        (blocked.seq, blocked.source, blocked.peer_pid) = (6, "claims".into(), Some(7));
        assert!(open(&mut board, &blocked));
        board.expire(|_| false, Tick(100 * HOLDS_MS));
        let seqs = |board: &Board| {
            let open = board.newest_first().into_iter();
            open.map(|open| open.seq).collect::<Vec<_>>()
        };
        assert_eq!(seqs(&board), [5, 4, 3, 2, 1]);
        board.expire(|pane| pane == PaneId(3), Tick(100 * HOLDS_MS));
        assert_eq!(seqs(&board), [4, 3, 2, 1]);

        // What an older version has saved.
        let text = serde_json::to_string(&board).unwrap();
        let old = text.replace(",\"by_time\":false", "");
        assert_ne!(old, text);
        let mut old: Board = serde_json::from_str(&old).unwrap();
        assert!(old.expire(|_| false, Tick(HOLDS_MS)) && seqs(&old).is_empty());
    }

    #[test]
    fn the_oldest_make_room() {
        let mut board = Board::default();
        for seq in 0..=MOST as u64 {
            raise(
                &mut board,
                seq,
                "system_failure",
                &seq.to_string(),
                seq as i64 / 7,
            );
        }
        let open = board.newest_first();
        assert_eq!(open.len(), MOST - ROOM + 1);
        assert_eq!(
            (open[0].seq, open[open.len() - 1].seq),
            (MOST as u64, ROOM as u64)
        );
    }

    #[test]
    fn repeats_grow() {
        let mut board = Board::default();
        raise(&mut board, 1, "system_failure", "m", 0);
        assert!(
            board.due(Tick(i64::from(u32::MAX))).is_empty(),
            "nobody was told yet"
        );
        let mut now = 0;
        for minutes in [5, 15, 60, 60] {
            board.told(1, Tick(now));
            assert!(board.due(Tick(now + minutes * 60_000 - 1)).is_empty());
            now += minutes * 60_000;
            assert_eq!(board.due(Tick(now)).len(), 1, "after {minutes} minutes");
        }
    }

    #[test]
    fn under_a_mute_it_stands_unseen_and_the_newest_are_told_after_it() {
        let mut board = Board::default();
        for seq in 1..=5 {
            raise(
                &mut board,
                seq,
                "system_failure",
                &seq.to_string(),
                seq as i64,
            );
        }
        assert_eq!(board.mute(|_| true), 0);
        assert!(board.newest_first().is_empty());
        assert_eq!(board.mute(|_| false), 5);
        assert_eq!(board.newest_first().len(), 5);
        let due: Vec<u64> = board.due(Tick(10)).iter().map(|open| open.seq).collect();
        assert_eq!(due, [3, 4, 5]);
        board.told(3, Tick(10));
        board.close(4);
        assert_eq!(board.due(Tick(10)).len(), 1);
        board.mute(|_| true);
        assert!(board.due(Tick(10)).is_empty());
    }

    #[test]
    fn it_survives_being_saved() {
        let mut board = Board::default();
        raise(&mut board, 1, "system_failure", "m", 0);
        let text = serde_json::to_string(&board).unwrap();
        let back: Board = serde_json::from_str(&text).unwrap();
        assert_eq!(back.newest_first(), board.newest_first());
        assert!(board.acknowledge(1) && !board.acknowledge(1));
    }
}
