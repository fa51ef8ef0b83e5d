//! What is there now: sessions, windows, panes and clients of one tmux server, and what changed between two looks.
//! Refuses to know what a screen or a change means.

mod killer;
mod listing;
mod roster;
mod watch;

#[cfg(test)]
pub(crate) use roster::tests as roster_fixture;

pub use listing::{CLIENTS, PANES, parse_clients, parse_panes, subscriptions};
pub use roster::{Change, Client, Ended, Killer, Pane, Roster};
pub use watch::{Update, run};
