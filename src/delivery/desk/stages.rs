//! The stages that every event passes, in the order of the verdicts; the first that stops it has the last word.
//! Adding one costs a function here and a line in the list.

use super::super::demotion::CLAIM_WINDOW;
use super::super::fingerprint::Fingerprint;
use super::super::lane::Tick;
use super::{Desk, REMEMBER};
use crate::delivery::ago;
use crate::event::{Event, Severity, Verdict};

/// What goes on with an event after a stage.
pub(super) enum Step {
    Pass,
    Stop(Verdict, String),
}

fn stop(verdict: Verdict, reason: impl Into<String>) -> Step {
    Step::Stop(verdict, reason.into())
}

/// An event, and what is known of it before the first stage.
pub(super) struct Case<'a> {
    pub(super) event: &'a Event,
    pub(super) fingerprint: Fingerprint,
    pub(super) now: Tick,
    /// Why it is of our own making.
    pub(super) ours: Option<String>,
    /// Its source claims too much.
    pub(super) demoted: bool,
    /// The severity that counts here.
    pub(super) weight: Severity,
    /// The mute that covers it: its number, its end, its filter.
    pub(super) mute: Option<(u64, Tick, String)>,
}

pub(super) type Stage = fn(&mut Desk, &Case<'_>) -> Step;

/// The way of every event, in the order of the verdicts. A source's own cap is a part of `rate_limited`.
pub(super) const STAGES: [Stage; 9] = [
    Desk::self_loop,
    Desk::below_threshold,
    Desk::muted,
    Desk::acknowledged,
    Desk::inhibited,
    Desk::duplicate,
    Desk::rate_limited,
    Desk::queue_full,
    Desk::no_destination,
];

pub(super) fn caused_by(cause: u64) -> String {
    format!("caused by our delivery of {cause}")
}

impl Desk {
    fn self_loop(&mut self, case: &Case<'_>) -> Step {
        match &case.ours {
            Some(why) => stop(Verdict::SelfLoop, why.as_str()),
            None => Step::Pass,
        }
    }

    fn below_threshold(&mut self, case: &Case<'_>) -> Step {
        // The digest is what is pushed in place of what was not.
        if case.event.severity >= self.config.threshold || case.event.kind == "digest" {
            return Step::Pass;
        }
        stop(Verdict::BelowThreshold, self.not_pushed(case.event))
    }

    fn muted(&mut self, case: &Case<'_>) -> Step {
        let Some((id, until, filter)) = &case.mute else {
            return Step::Pass;
        };
        self.mutes.count(*id);
        let left = chrono::TimeDelta::milliseconds(until.since(case.now));
        let until = case.event.ts + left;
        let until = until.format("%Y-%m-%d %H:%M:%S");
        stop(
            Verdict::Muted,
            format!("mute {id} ({filter}) holds until {until}"),
        )
    }

    fn acknowledged(&mut self, case: &Case<'_>) -> Step {
        if self.board.is_seen_to(case.fingerprint) {
            return stop(
                Verdict::Acknowledged,
                "somebody has seen to it, and it still holds",
            );
        }
        Step::Pass
    }

    fn inhibited(&mut self, case: &Case<'_>) -> Step {
        if self.is_inhibited(case.event) {
            return stop(Verdict::Inhibited, "tmux is lost, which explains it");
        }
        Step::Pass
    }

    fn duplicate(&mut self, case: &Case<'_>) -> Step {
        if self.board.is_told(case.fingerprint) {
            return stop(
                Verdict::Duplicate,
                "it was told and still holds; repeats go by their timer",
            );
        }
        match self.told.get(&case.fingerprint) {
            Some(at) if case.now.since(*at) < REMEMBER => stop(
                Verdict::Duplicate,
                format!("the same was told {} ago", ago(case.now.since(*at))),
            ),
            _ => Step::Pass,
        }
    }

    fn rate_limited(&mut self, case: &Case<'_>) -> Step {
        if case.event.kind == "digest" && self.digest.is_paid() {
            return Step::Pass;
        }
        let minutes = ago(CLAIM_WINDOW);
        let demoted = || {
            let (source, limit) = (&case.event.source, self.config.source_critical_limit);
            format!("{source} claimed more than {limit} things critical in {minutes}")
        };
        if case.demoted && case.weight < self.config.threshold {
            return stop(
                Verdict::RateLimited,
                format!(
                    "{}: until it claims nothing new for {minutes}, the segment alone counts them",
                    demoted()
                ),
            );
        }
        let (lane, name) = match case.weight {
            Severity::Critical => (&mut self.critical, "critical"),
            _ => (&mut self.ordinary, "ordinary"),
        };
        if lane.take(case.now) {
            return Step::Pass;
        }
        let spent = format!(
            "the {name} lane is spent: {} of {} in its window",
            lane.used(case.now),
            lane.limit()
        );
        if case.demoted {
            return stop(
                Verdict::RateLimited,
                format!("{}, so it went as high: {spent}", demoted()),
            );
        }
        stop(Verdict::RateLimited, spent)
    }

    fn queue_full(&mut self, case: &Case<'_>) -> Step {
        let is_ordinary = |severity| severity != Severity::Critical;
        let room = self.waiting.len() < self.config.queue_size
            || !is_ordinary(case.weight) && self.waiting.iter().any(|w| is_ordinary(w.severity));
        if room {
            return Step::Pass;
        }
        stop(
            Verdict::Coalesced,
            format!("{} notifications wait already", self.waiting.len()),
        )
    }

    fn no_destination(&mut self, case: &Case<'_>) -> Step {
        if self.config.messages || self.config.status && case.weight == Severity::Critical {
            return Step::Pass;
        }
        stop(
            Verdict::DestGone,
            "no sink is switched on that would take it",
        )
    }
}
