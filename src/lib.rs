//! `orch` watches every coding agent in the panes of one tmux server, over one control-mode connection: it writes down
//! everything that happens, tells a person the few things that matter, and never floods them.
//!
//! # A byte's journey
//!
//! ```text
//! tmux bytes → tmux (lines → notifications, replies) → panes (who exists) → agents (what runs there)
//!   → monitor (observations → drafts) → bus → journal (accept: on disk, numbered) → state
//!                                                                                 → delivery (fingerprint → lane
//!   → queue → compose → sink) → tmux commands, over the same connection
//!
//! in from the side: api (emit), spool (what was emitted while nothing ran)
//! out to the side:  tui, the status line
//! ```
//!
//! # Layout
//!
//! Modules stand in the order of the journey. Each may import what the table says and nothing else of the crate;
//! `tests/layout.rs` reads every `crate::` path and holds the code to it.
//!
//! | module | owns | may import |
//! |---|---|---|
//! | [`when`] | times and durations as people write them | |
//! | [`paths`] | which server, which root, socket and lock | |
//! | [`tmux`] | the protocol and the one connection | |
//! | [`event`] | events, severities, receipts, outcomes; the table of types | `tmux` |
//! | [`panes`] | who is there now, and what changed | `tmux` |
//! | [`agents`] | what a program in a pane is | `panes`, `when` |
//! | [`monitor`] | observation → draft | `panes`, `agents`, `event`, `tmux` |
//! | [`journal`] | append, read, repair, verify | `event`, `tmux` |
//! | [`spool`] | what is emitted while nothing runs | `event` |
//! | [`bus`] | publish, subscribe, tap | `event`, `journal` |
//! | [`state`] | what is known now; the session files | `event`, `bus`, `agents`, `panes`, `tmux` |
//! | [`delivery`] | who is told what, when | `event`, `bus`, `panes`, `tmux` |
//! | [`api`] | the socket: JSON lines | `event`, `agents`, `state`, `panes`, `journal`, `bus`, `tmux` |
//! | [`tui`] | the live view | `api`, `event`, `tmux` |
//! | [`config`] | YAML as written → typed; composes the leaves' own | `event`, `delivery`, `monitor`, `journal`, `state` |
//! | [`app`] | composition root: tasks, channels, order of shutdown | everything above |
//! | [`cli`], [`cmd`] | the command line | anything; nobody imports `app` or `cmd` |
//!
//! # Rules of the house
//!
//! - Pure code takes the present and bytes as arguments. Clock and I/O are for `tmux::client`, `journal`, `spool`,
//!   `api`, `tui`, `paths`, `app`, `cmd` and run loops.
//! - One owner for each piece of state; others get snapshots. mpsc for work, broadcast for taps, watch for the latest
//!   snapshot, oneshot for replies, `CancellationToken` to stop. No shared `Mutex`.
//! - What tmux or a producer sends is a value, never a reason to panic; text from them is escaped wherever it goes.
//! - Accept first, decide after: an event has a number because it is on disk, and only then is looked at.

pub mod when;

pub mod paths;

pub mod tmux;

pub mod event;

pub mod panes;

pub mod agents;

pub mod monitor;

pub mod journal;

pub mod spool;

pub mod bus;

pub mod state;

pub mod delivery;

pub mod api;

pub mod tui;

pub mod config;

pub mod app;

pub mod cli;

pub mod cmd;
