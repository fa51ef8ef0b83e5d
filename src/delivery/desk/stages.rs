//! The stages that every event passes, in the order of the verdicts; the first that stops it has the last word.
//! Adding one costs a function here and a line in the list.

use super::super::fingerprint::Fingerprint;
use super::super::lane::Tick;
use super::{Desk, REMEMBER};
use crate::event::{Event, Severity, Verdict};

/// What goes on with an event after a stage.
pub(super) enum Step {
    Pass,
    Stop(Verdict, String),
}

pub(super) type Stage = fn(&mut Desk, &Event, Fingerprint, Tick) -> Step;

/// The way of every event, in the order of the verdicts.
pub(super) const STAGES: [Stage; 8] = [
    Desk::self_loop,
    Desk::below_threshold,
    Desk::acknowledged,
    Desk::inhibited,
    Desk::duplicate,
    Desk::rate_limited,
    Desk::queue_full,
    Desk::no_destination,
];

impl Desk {
    fn self_loop(&mut self, event: &Event, _: Fingerprint, _: Tick) -> Step {
        match event.cause {
            Some(cause) => Step::Stop(
                Verdict::SelfLoop,
                format!("caused by our delivery of {cause}"),
            ),
            None => Step::Pass,
        }
    }

    fn below_threshold(&mut self, event: &Event, _: Fingerprint, _: Tick) -> Step {
        // The digest is what is pushed in place of what was not.
        if event.severity >= self.config.threshold
            || event.kind == "digest" && event.source == "delivery"
        {
            return Step::Pass;
        }
        Step::Stop(
            Verdict::BelowThreshold,
            format!(
                "{} is not pushed, {} is",
                event.severity, self.config.threshold
            ),
        )
    }

    fn acknowledged(&mut self, _: &Event, fingerprint: Fingerprint, _: Tick) -> Step {
        if self.board.is_seen_to(fingerprint) {
            return Step::Stop(
                Verdict::Acknowledged,
                "somebody has seen to it, and it still holds".to_owned(),
            );
        }
        Step::Pass
    }

    fn inhibited(&mut self, event: &Event, _: Fingerprint, _: Tick) -> Step {
        if self.is_inhibited(event) {
            return Step::Stop(
                Verdict::Inhibited,
                "tmux is lost, which explains it".to_owned(),
            );
        }
        Step::Pass
    }

    fn no_destination(&mut self, event: &Event, _: Fingerprint, _: Tick) -> Step {
        if self.config.messages || self.config.status && event.severity == Severity::Critical {
            return Step::Pass;
        }
        Step::Stop(
            Verdict::DestGone,
            "no sink is switched on that would take it".to_owned(),
        )
    }

    fn duplicate(&mut self, _: &Event, fingerprint: Fingerprint, now: Tick) -> Step {
        if self.board.is_told(fingerprint) {
            return Step::Stop(
                Verdict::Duplicate,
                "it was told and still holds; repeats go by their timer".to_owned(),
            );
        }
        match self.told.get(&fingerprint) {
            Some(at) if now.since(*at) < REMEMBER => {
                let ago = crate::delivery::ago(now.since(*at));
                Step::Stop(Verdict::Duplicate, format!("the same was told {ago} ago"))
            }
            _ => Step::Pass,
        }
    }

    fn rate_limited(&mut self, event: &Event, _: Fingerprint, now: Tick) -> Step {
        let (lane, name) = match event.severity {
            Severity::Critical => (&mut self.critical, "critical"),
            _ => (&mut self.ordinary, "ordinary"),
        };
        if lane.take(now) {
            return Step::Pass;
        }
        let (used, limit) = (lane.used(now), lane.limit());
        Step::Stop(
            Verdict::RateLimited,
            format!("the {name} lane is spent: {used} of {limit} in its window"),
        )
    }

    fn queue_full(&mut self, _: &Event, _: Fingerprint, _: Tick) -> Step {
        if self.waiting.len() < self.config.queue_size {
            return Step::Pass;
        }
        Step::Stop(
            Verdict::Coalesced,
            format!("{} notifications wait already", self.waiting.len()),
        )
    }
}
