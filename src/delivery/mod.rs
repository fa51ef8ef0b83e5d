//! Who is told what, when: fingerprint → lane → queue → compose → sink. Owns the limits and every final outcome;
//! refuses to know how events come about.

mod board;
mod breaker;
mod clock;
mod compose;
mod demotion;
mod desk;
mod fingerprint;
mod lane;
mod loops;
mod mute;
mod run;
mod sinks;
mod starts;
mod store;

use std::collections::BTreeMap;

pub use compose::Status;
pub use desk::{Action, Desk, MESSAGE_GAP, MESSAGE_SHOWN, Memory};
pub use fingerprint::Fingerprint;
pub use lane::{Lane, Tick};
pub use mute::{BadMute, Filter, LONGEST_MUTE, Mute, Which};
pub use run::{Control, Delivery, Ended, MuteState, Parts, Snapshot, StatusSink, start};

use crate::event::{Severity, Verdict};
use crate::tmux::id::PaneId;

/// How delivery is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The least severity that is pushed.
    pub threshold: Severity,
    /// Ordinary notifications in one period.
    pub rate_limit: u32,
    /// The period of the ordinary lane, in milliseconds.
    pub period_ms: i64,
    /// Critical notifications in 60 s.
    pub critical_rate_limit: u32,
    /// Different things that one source may claim critical in 10 min before its claims go as high.
    pub source_critical_limit: u32,
    /// Notifications that may wait for a client.
    pub queue_size: usize,
    /// Whether messages are shown to clients.
    pub messages: bool,
    /// Whether the status variables are published.
    pub status: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            threshold: Severity::Critical,
            rate_limit: 10,
            period_ms: 60_000,
            critical_rate_limit: 10,
            source_critical_limit: 20,
            queue_size: 100,
            messages: true,
            status: true,
        }
    }
}

/// Counts of what was held back, by verdict.
pub(crate) type Held = BTreeMap<Verdict, u64>;

/// A notification on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) seq: u64,
    pub(crate) severity: Severity,
    /// For forgetting it again; a repeat has none.
    pub(crate) fingerprint: Option<Fingerprint>,
    pub(crate) kind: String,
    pub(crate) session: Option<String>,
    pub(crate) pane: Option<PaneId>,
    pub(crate) source: String,
    pub(crate) place: String,
    pub(crate) message: String,
    /// When it began to wait.
    pub(crate) since: Tick,
    /// A reminder of a condition that still holds; its event has its outcome already.
    pub(crate) repeat: bool,
}

/// A span of milliseconds for people.
pub(crate) fn ago(milliseconds: i64) -> String {
    match milliseconds / 1000 {
        s @ ..60 => format!("{s} s"),
        s @ 60..3600 => format!("{} min", s / 60),
        s => format!("{} h", s / 3600),
    }
}
