//! The vocabulary in the middle: events, severities, receipts and outcomes, as they stand in the journal.
//! Knows how they are written and read, not who makes or wants them.

mod body;
mod emission;
pub mod kind;
mod line;

use chrono::{DateTime, FixedOffset};
use serde::{Deserialize, Serialize};

pub use body::{Body, stamp};
pub use emission::Emission;
pub use line::{BadLine, Line, Received};

use crate::tmux::id::{PaneId, WindowId};

/// Version of the journal's lines.
pub const VERSION: u8 = 1;
/// Longest message that is kept, in bytes.
pub const MAX_MESSAGE: usize = 4 << 10;
/// Largest data that is kept, in bytes of JSON.
pub const MAX_DATA: usize = 64 << 10;

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Chatter.
    Low,
    /// Good to know.
    Medium,
    /// Look soon.
    High,
    /// Somebody must act, or work stands still.
    Critical,
}

impl Severity {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Severity {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "low" => Ok(Self::Low),
            "medium" => Ok(Self::Medium),
            "high" => Ok(Self::High),
            "critical" => Ok(Self::Critical),
            _ => Err(format!(
                "{text:?} is not a severity: use low, medium, high or critical"
            )),
        }
    }
}

/// An accepted event: it has a `seq` because it is on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Version of the line, [`VERSION`].
    pub v: u8,
    /// Gap-free number, starting at 1.
    pub seq: u64,
    /// When it was accepted.
    pub ts: DateTime<FixedOffset>,
    /// What it is; see [`kind`].
    #[serde(rename = "type")]
    pub kind: String,
    /// How much it matters.
    pub severity: Severity,
    /// Who says so: a role, a producer's own name, `cli`, or a part of orch.
    pub source: String,
    /// Name of the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowId>,
    /// The pane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pane: Option<PaneId>,
    /// For people. Untrusted.
    pub message: String,
    /// For programs. Untrusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<serde_json::Value>,
    /// The event whose delivery caused this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<u64>,
    /// When its producer says it happened, where that is not `ts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emitted_at: Option<DateTime<FixedOffset>>,
    /// Process that asked for it over the socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_pid: Option<i32>,
    /// Message or data were longer than what is kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// An event that is not accepted yet. Written, it is an event's line without what only the journal knows; the fields
/// stand in the same order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Draft {
    /// See [`Event::kind`].
    #[serde(rename = "type")]
    pub kind: String,
    /// See [`Event::severity`].
    pub severity: Severity,
    /// See [`Event::source`].
    pub source: String,
    /// See [`Event::session`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// See [`Event::window`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowId>,
    /// See [`Event::pane`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pane: Option<PaneId>,
    /// See [`Event::message`].
    pub message: String,
    /// See [`Event::data`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<serde_json::Value>,
    /// See [`Event::cause`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<u64>,
    /// See [`Event::emitted_at`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emitted_at: Option<DateTime<FixedOffset>>,
    /// See [`Event::peer_pid`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_pid: Option<i32>,
    /// See [`Event::truncated`].
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

impl Draft {
    /// An event with the severity of its type and nothing else known.
    pub fn new(kind: &str, source: &str, message: impl Into<String>) -> Self {
        let draft = Self {
            kind: kind::canonical(kind).to_owned(),
            severity: kind::severity_of(kind::canonical(kind)),
            source: source.to_owned(),
            session: None,
            window: None,
            pane: None,
            message: message.into(),
            data: None,
            cause: None,
            emitted_at: None,
            peer_pid: None,
            truncated: false,
        };
        draft.bounded()
    }

    /// With another severity than its type's own.
    pub fn with_severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// With data for programs.
    pub fn with_data(mut self, data: serde_json::Value) -> Self {
        self.data = Some(data);
        self.bounded()
    }

    /// Cuts message and data to what is kept, at a character, and marks it.
    pub fn bounded(mut self) -> Self {
        if self.message.len() > MAX_MESSAGE {
            self.message
                .truncate(self.message.floor_char_boundary(MAX_MESSAGE));
            self.truncated = true;
        }
        let text = self
            .data
            .as_ref()
            .map(serde_json::Value::to_string)
            .unwrap_or_default();
        if text.len() > MAX_DATA {
            // Cut JSON is no JSON: it is kept as a text, half as long since quoting may double it.
            let cut = &text[..text.floor_char_boundary(MAX_DATA / 2 - 2)];
            self.data = Some(serde_json::Value::String(cut.to_owned()));
            self.truncated = true;
        }
        self
    }

    /// Becomes an event by its number and the instant of its acceptance.
    pub fn accept(self, seq: u64, ts: DateTime<FixedOffset>) -> Event {
        let Self {
            kind,
            severity,
            source,
            session,
            window,
            pane,
            message,
            data,
            ..
        } = self;
        let Self {
            cause,
            emitted_at,
            peer_pid,
            truncated,
            ..
        } = self;
        Event {
            v: VERSION,
            seq,
            ts,
            kind,
            severity,
            source,
            session,
            window,
            pane,
            message,
            data,
            cause,
            emitted_at,
            peer_pid,
            truncated,
        }
    }
}

/// The final word on an event; in the order in which they are looked at, the first that applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Caused by one of our own deliveries.
    SelfLoop,
    /// Not severe enough to be pushed.
    BelowThreshold,
    /// A mute covers it.
    Muted,
    /// Somebody has seen to it.
    Acknowledged,
    /// A larger trouble explains it.
    Inhibited,
    /// The same was told already.
    Duplicate,
    /// Its lane was spent; counted into the digest or the segment.
    RateLimited,
    /// Told together with others, or the queue was full.
    Coalesced,
    /// Its destination is no longer there.
    DestGone,
    /// Its destination was not safe to write to until we gave up.
    DestUnsafe,
    /// Dropped by `clear-queues`.
    Cleared,
    /// A destination got it.
    Delivered,
}

impl Verdict {
    /// All of them, in their order.
    pub const ALL: [Self; 12] = [
        Self::SelfLoop,
        Self::BelowThreshold,
        Self::Muted,
        Self::Acknowledged,
        Self::Inhibited,
        Self::Duplicate,
        Self::RateLimited,
        Self::Coalesced,
        Self::DestGone,
        Self::DestUnsafe,
        Self::Cleared,
        Self::Delivered,
    ];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SelfLoop => "self_loop",
            Self::BelowThreshold => "below_threshold",
            Self::Muted => "muted",
            Self::Acknowledged => "acknowledged",
            Self::Inhibited => "inhibited",
            Self::Duplicate => "duplicate",
            Self::RateLimited => "rate_limited",
            Self::Coalesced => "coalesced",
            Self::DestGone => "dest_gone",
            Self::DestUnsafe => "dest_unsafe",
            Self::Cleared => "cleared",
            Self::Delivered => "delivered",
        }
    }
}

impl std::str::FromStr for Verdict {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|v| v.as_str() == text)
            .ok_or_else(|| {
                let all = Self::ALL.map(Self::as_str).join(", ");
                format!("{text:?} is not an outcome: use one of {all}")
            })
    }
}

/// What became of an event, once and for all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The event's seq.
    pub of: u64,
    /// The verdict.
    pub result: Verdict,
    /// Which rule or state decided, for people.
    pub reason: String,
    /// How many events the delivery stood for, where more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
}

/// What one destination did with an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// The event's seq.
    pub of: u64,
    /// The destination, e.g. `message:/dev/pts/1`.
    pub dest: String,
    /// What happened there, e.g. `shown` or `failed`.
    pub result: String,
    /// Why, for people.
    pub reason: String,
}
