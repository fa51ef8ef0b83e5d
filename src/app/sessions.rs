//! Starts the keeping of session files and tells how it is. What the last run had not written is read from the
//! journal.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{Local, TimeDelta};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Setup;
use super::components::{Guard, Health, Standing};
use super::restarts::Policy;
use super::supervise::supervise;
use crate::bus::{Bus, Follower};
use crate::event::Event;
use crate::journal::Query;
use crate::panes::Roster;
use crate::state::{self, Cursor, Ended};

/// How long it waits before it reads from the journal what it was too slow for.
const BEHIND: Duration = Duration::from_secs(2);

/// How the session files are.
pub(super) struct Sessions {
    task: Option<watch::Receiver<Standing>>,
    error: watch::Receiver<Option<String>>,
}

impl Sessions {
    pub(super) fn standing(&self) -> Standing {
        let Some(task) = &self.task else {
            return Standing::new(Health::Disabled);
        };
        let mut standing = task.borrow().clone();
        if let (Health::Ok, Some(error)) = (standing.health, &*self.error.borrow()) {
            standing.fail(Health::Failing, error);
        }
        standing
    }
}

/// Without a `follower` nothing is kept. `last` is the number of the last event before this run.
pub(super) fn start(
    setup: &Setup,
    follower: Option<Follower>,
    roster: watch::Receiver<Arc<Roster>>,
    bus: Bus,
    last: u64,
    stop: CancellationToken,
) -> (Sessions, JoinHandle<()>) {
    let (error, error_rx) = watch::channel(None);
    let Some(mut follower) = follower else {
        let off = Sessions {
            task: None,
            error: error_rx,
        };
        return (off, tokio::spawn(async {}));
    };
    let (guard, task) = Guard::new("session_state", Policy::default());
    let config = setup.config.session_state.clone();
    let (journal, cursor) = (setup.root.events(), setup.root.sessions());
    let files = (setup.root.projects(), cursor.clone());
    // The first time, what earlier runs left; after a failure, what it has cost.
    let mut last = Some(last);
    let stopped = stop.clone();
    let make = async move || {
        loop {
            let missed = missed(journal.clone(), cursor.clone(), last.take());
            let roster = roster.clone();
            let kept = state::keep(
                &config,
                &files,
                missed,
                &mut follower,
                roster,
                &error,
                &stopped,
            );
            if kept.await == Ended::Stopped {
                return;
            }
            tracing::warn!(target: "orch::state", "the session files are behind: going on from the journal");
            tokio::select! {
                () = tokio::time::sleep(BEHIND) => {}
                // The next start goes on by the cursor.
                () = stopped.cancelled() => return,
            }
        }
    };
    let kept = tokio::spawn(supervise(guard, bus, stop, make));
    (
        Sessions {
            task: Some(task),
            error: error_rx,
        },
        kept,
    )
}

/// What is in the journal, up to `last` where that is given, and in no session file yet, and how far that reaches.
/// Without a cursor it is nothing.
async fn missed(journal: PathBuf, cursor: PathBuf, last: Option<u64>) -> (Vec<Event>, Cursor) {
    let now = Local::now().fixed_offset();
    let read = tokio::task::spawn_blocking(move || {
        let last = last.unwrap_or(u64::MAX);
        let Some(cursor) = state::cursor(&cursor).filter(|cursor| cursor.seq < last) else {
            return Vec::new();
        };
        // By number: the clock may have gone back since.
        let query = Query {
            after: cursor.seq,
            since: Some(cursor.ts - TimeDelta::days(2)),
            ..Query::default()
        };
        match query.run(&journal) {
            Ok((found, _)) => {
                let missed = found.into_iter().map(|found| found.event);
                missed.filter(|event| event.seq <= last).collect()
            }
            Err(error) => {
                tracing::warn!(target: "orch::state", "what the last run left cannot be read: {error}");
                Vec::new()
            }
        }
    });
    let events = read.await.unwrap_or_default();
    let reached = events.last().map_or(0, |event| event.seq);
    let seq = last.unwrap_or(reached).max(reached);
    (events, Cursor { seq, ts: now })
}
