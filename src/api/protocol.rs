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
    /// See [`Request::ClearQueues`].
    Cleared(usize),
    /// See [`Request::Ack`].
    Acknowledged(bool),
    /// It is being done.
    Ok(String),
    /// See [`Request::Watch`].
    Event(Box<serde_json::Value>),
    /// See [`Request::Watch`].
    Lagged(u64),
}
