//! Starts the keeping of session files and tells how it is. What the last run had not written is read from the
//! journal.

use std::path::PathBuf;
use std::sync::Arc;

use chrono::Local;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::Setup;
use crate::event::Event;
use crate::journal::Query;
use crate::panes::Roster;
use crate::state::{self, Cursor};

/// How the session files are.
pub(super) struct Sessions {
    enabled: bool,
    error: watch::Receiver<Option<String>>,
}

impl Sessions {
    pub(super) fn health(&self) -> &'static str {
        match (self.enabled, self.error.borrow().is_some()) {
            (false, _) => "disabled",
            (true, true) => "failing",
            (true, false) => "ok",
        }
    }

    pub(super) fn error(&self) -> Option<String> {
        self.error.borrow().clone()
    }
}

/// Without `events` nothing is kept. `last` is the number of the last event before this run.
pub(super) fn start(
    setup: &Setup,
    events: Option<mpsc::Receiver<Arc<Event>>>,
    roster: watch::Receiver<Arc<Roster>>,
    last: u64,
) -> (Sessions, JoinHandle<()>) {
    let (error, error_rx) = watch::channel(None);
    let enabled = events.is_some();
    let config = setup.config.session_state.clone();
    let (root, cursor) = (&setup.root, setup.root.sessions());
    let missed = missed(root.events(), cursor.clone(), last);
    let files = (root.projects(), cursor);
    let task = match events {
        Some(events) => tokio::spawn(state::keep(config, files, missed, events, roster, error)),
        None => tokio::spawn(async {}),
    };
    (
        Sessions {
            enabled,
            error: error_rx,
        },
        task,
    )
}

/// What was accepted up to `last` and is in no session file yet. Without a cursor that is nothing.
async fn missed(journal: PathBuf, cursor: PathBuf, last: u64) -> (Vec<Event>, Cursor) {
    let until = Cursor {
        seq: last,
        ts: Local::now().fixed_offset(),
    };
    let read = tokio::task::spawn_blocking(move || {
        let Some(cursor) = state::cursor(&cursor).filter(|cursor| cursor.seq < last) else {
            return Vec::new();
        };
        let query = Query {
            since: Some(cursor.ts),
            ..Query::default()
        };
        match query.run(&journal) {
            Ok((found, _)) => {
                let missed = found.into_iter().map(|found| found.event);
                missed
                    .filter(|event| cursor.seq < event.seq && event.seq <= last)
                    .collect()
            }
            Err(error) => {
                tracing::warn!(target: "orch::state", "what the last run left cannot be read: {error}");
                Vec::new()
            }
        }
    });
    (read.await.unwrap_or_default(), until)
}
