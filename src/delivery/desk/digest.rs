//! What was held back, as counts, until one line says it: by a timer, not by the next event.

use std::collections::BTreeMap;

use serde_json::json;

use super::super::compose;
use super::super::lane::Tick;
use super::{Action, Desk};
use crate::delivery::Held;
use crate::event::{Draft, Event, Verdict};

/// What is held back is told at most this often, in milliseconds.
const EVERY: i64 = 60_000;
/// Ended mutes that a digest names.
const NAMED: usize = 5;

/// The counts of the next digest.
#[derive(Debug, Default)]
pub(super) struct Digest {
    pub(super) held: Held,
    /// Filters of mutes that ended, whose events are in the counts.
    pub(super) mutes: Vec<String>,
    pub(super) since: Option<Tick>,
    pub(super) said: Option<Tick>,
    /// The digest whose counts go into the next one.
    cause: Option<u64>,
    /// One is on its way here through the journal, its place in the lane taken.
    paid: bool,
}

impl Digest {
    pub(super) fn hold(&mut self, verdict: Verdict, n: u64, now: Tick) {
        *self.held.entry(verdict).or_default() += n;
        self.since.get_or_insert(now);
    }

    /// A mute ended that kept this many events from a person.
    pub(super) fn hold_muted(&mut self, filter: String, n: u64, now: Tick) {
        self.hold(Verdict::Muted, n, now);
        self.name(filter);
    }

    fn name(&mut self, filter: String) {
        if self.mutes.len() < NAMED && !self.mutes.contains(&filter) {
            self.mutes.push(filter);
        }
    }

    /// An event was stopped: whether it counts.
    pub(super) fn stopped(&mut self, event: &Event, verdict: Verdict, now: Tick) {
        use Verdict::{Coalesced, Duplicate, RateLimited};
        if !matches!(verdict, Duplicate | RateLimited | Coalesced) {
            return;
        }
        if event.kind == "digest" {
            self.hold_again(event, now);
        } else {
            self.hold(verdict, 1, now);
        }
    }

    /// Whether the digest that comes now has its place in the lane; asked once for each.
    pub(super) fn is_paid(&mut self) -> bool {
        std::mem::take(&mut self.paid)
    }

    /// A digest that nobody saw: its counts go into the next one.
    fn hold_again(&mut self, digest: &Event, now: Tick) {
        let Some(data) = &digest.data else { return };
        self.cause = Some(digest.seq);
        let held = data.get("held").and_then(|held| held.as_object());
        for (name, n) in held.into_iter().flatten() {
            if let (Ok(verdict), Some(n)) = (name.parse(), n.as_u64()) {
                self.hold(verdict, n, now);
            }
        }
        let mutes = data.get("mutes").and_then(|mutes| mutes.as_array());
        for filter in mutes.into_iter().flatten().filter_map(|m| m.as_str()) {
            self.name(filter.to_owned());
        }
    }

    fn is_due(&self, now: Tick) -> bool {
        let long = |at: Tick| now.since(at) >= EVERY;
        self.since.is_some_and(long) && self.said.is_none_or(long)
    }
}

impl Desk {
    /// The digest, when it is due, somebody is there to read it, and no other one waits.
    pub(super) fn say_digest(&mut self, now: Tick) -> Vec<Action> {
        let waits = self.waiting.iter().chain(&self.in_flight);
        let somebody = !self.config.messages || self.uncut_clients().next().is_some();
        if !self.digest.is_due(now)
            || !somebody
            || waits.into_iter().any(|w| w.kind == "digest")
            || !self.ordinary.take(now)
        {
            return Vec::new();
        }
        let Digest { held, mutes, .. } = &self.digest;
        let counts: BTreeMap<&str, u64> = held.iter().map(|(v, n)| (v.as_str(), *n)).collect();
        let draft = Draft::new("digest", "delivery", compose::digest(held, mutes))
            .with_data(json!({"held": counts, "mutes": mutes}));
        let cause = self.digest.cause.take();
        self.digest.said = Some(now);
        if self.is_end_of_chain(cause) {
            // The counts stay for one that begins a new chain.
            return self.say(draft, cause, now);
        }
        self.digest.held.clear();
        self.digest.mutes.clear();
        self.digest.since = None;
        self.digest.paid = true;
        self.say(draft, cause, now)
    }
}
