//! What is said over the socket, one JSON object a line, answered in order.

use serde::{Deserialize, Serialize};

use crate::event::Emission;

/// Longest line that is read, in bytes: an event with its data, and room for quoting.
pub const MAX_LINE: usize = 256 << 10;

/// A client's line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    /// Publish an event; answered with its `seq` once it is on disk.
    Emit {
        /// The event.
        event: Box<Emission>,
    },
    /// How everything is; answered with one object under `status`.
    Status,
    /// All panes; answered with a list under `panes`.
    Panes,
    /// Drop what waits for a client; answered with `cleared`, how many.
    ClearQueues,
    /// End the condition that this event opened; answered with `acknowledged`.
    Ack {
        /// The event's number.
        seq: u64,
    },
    /// Do not tell what a filter covers for a while; answered with `muted`.
    Mute {
        /// Its terms, each `KEY=PATTERN`.
        filter: Vec<String>,
        /// For how long.
        seconds: u64,
    },
    /// End mutes; answered with `unmuted`.
    Unmute {
        /// The number or the terms of one; every one where it is missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        which: Option<Vec<String>>,
    },
    /// The mutes that hold; answered with a list under `mutes`.
    Mutes,
    /// Read the configuration again.
    Reload,
    /// Drain and end; answered before it does.
    Stop,
    /// From now on the connection carries events, `{"event":…}`, or `{"lagged":n}` where some were lost.
    Watch,
}

/// The server's line: one field says what it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// The number of an event that is on disk.
    Seq(u64),
    /// Why it was not done.
    Error(String),
    /// See [`Request::Status`].
    Status(serde_json::Value),
    /// See [`Request::Panes`].
    Panes(serde_json::Value),
    /// It was not taken, and will not be: the orchestrator is ending.
    Ending(String),
    /// See [`Request::ClearQueues`].
    Cleared(usize),
    /// See [`Request::Ack`].
    Acknowledged(bool),
    /// See [`Request::Mute`]: `id`, `filter`, `since`, `until`, `held`.
    Muted(serde_json::Value),
    /// See [`Request::Unmute`]: `ended`, a list as of [`Request::Mutes`], and `shown_again`, a number.
    Unmuted(serde_json::Value),
    /// See [`Request::Mutes`].
    Mutes(serde_json::Value),
    /// It is being done.
    Ok(String),
    /// See [`Request::Watch`].
    Event(Box<serde_json::Value>),
    /// See [`Request::Watch`].
    Lagged(u64),
}
