//! Keeps the session files: applies every event, writes what is high or critical at once and the rest at its
//! interval. Owns the documents; a disk that fails makes it late, never wrong.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::Local;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::files::{self, Cursor};
use super::sessions::Sessions;
use crate::bus::Follower;
use crate::event::Event;
use crate::panes::Roster;

/// Events that are taken before anything is written.
const BATCH: usize = 256;
/// Least time between two writes, and between two tries on a disk that fails.
const GAP: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How session files are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Whether they are.
    pub enabled: bool,
    /// How long what is neither high nor critical may wait, in seconds.
    pub update_interval: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            update_interval: 300,
        }
    }
}

struct Keeper<'a> {
    sessions: Sessions,
    projects: PathBuf,
    cursor: PathBuf,
    /// The last event that was applied, and the last one that all files tell of.
    applied: Option<Cursor>,
    kept: Option<Cursor>,
    /// A file could not be read, so the cursor stays: the next start applies what it lacks.
    behind: bool,
    error: &'a watch::Sender<Option<String>>,
}

/// Why it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was stopped; all is written, or will be found by its cursor.
    Stopped,
    /// It was too slow and has missed events: they are to be read from the journal.
    Behind,
}

/// Runs until `stop`; then what has come is taken, and everything written. `missed` is what was accepted after the
/// cursor and never written, and how far that reaches. `error` tells what the disk said last, `None` while all is
/// well.
pub async fn keep(
    config: &Config,
    (projects, cursor): &(PathBuf, PathBuf),
    missed: impl Future<Output = (Vec<Event>, Cursor)>,
    follower: &mut Follower,
    mut roster: watch::Receiver<Arc<Roster>>,
    error: &watch::Sender<Option<String>>,
    stop: &CancellationToken,
) -> Ended {
    let mut keeper = Keeper {
        sessions: Sessions::default(),
        projects: projects.clone(),
        cursor: cursor.clone(),
        applied: None,
        kept: None,
        behind: false,
        error,
    };
    // What waits now is in the journal, from which the rest comes.
    if follower.has_missed() {
        while follower.events.try_recv().is_ok() {}
    }
    let (missed, until) = tokio::select! {
        missed = missed => missed,
        // What is missed is found by the cursor.
        () = stop.cancelled() => return Ended::Stopped,
    };
    let first = roster.borrow().clone();
    for event in missed {
        keeper.apply(&event, &first).await;
    }
    // From here on nothing is missed, however this run ends.
    keeper.applied = Some(until);
    keeper.write(false).await;
    let mut interval = tokio::time::interval(Duration::from_secs(config.update_interval.max(1)));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval.reset();
    let mut batch = Vec::with_capacity(BATCH);
    let mut next = Instant::now();
    let mut urgent = false;
    loop {
        let present = roster.borrow().clone();
        tokio::select! {
            read = follower.events.recv_many(&mut batch, BATCH) => {
                if read == 0 {
                    break;
                }
                // What comes after a gap waits for what is in it.
                if follower.has_missed() {
                    keeper.write(false).await;
                    return Ended::Behind;
                }
                for event in batch.drain(..) {
                    keeper.apply(&event, &present).await;
                }
                urgent |= keeper.sessions.is_urgent();
            }
            Ok(()) = roster.changed() => {
                let latest = roster.borrow_and_update().clone();
                keeper.sessions.see(&latest);
            }
            _ = interval.tick() => {
                keeper.write(false).await;
                keeper.sessions.forget_gone(&present);
            }
            () = tokio::time::sleep_until(next), if urgent => {
                urgent = !keeper.write(true).await;
                next = Instant::now() + if urgent { GAP.1 } else { GAP.0 };
            }
            () = stop.cancelled() => break,
        }
    }
    let last = roster.borrow().clone();
    while let Ok(event) = follower.events.try_recv()
        && !follower.has_missed()
    {
        keeper.apply(&event, &last).await;
    }
    keeper.write(false).await;
    Ended::Stopped
}

impl Keeper<'_> {
    async fn apply(&mut self, event: &Event, roster: &Roster) {
        if self.applied.is_some_and(|applied| event.seq <= applied.seq) {
            return;
        }
        self.applied = Some(Cursor {
            seq: event.seq,
            ts: event.ts,
        });
        let Some(session) = Sessions::session_of(event, roster) else {
            return;
        };
        if !self.sessions.knows(&session) {
            let path = files::path_of(&self.projects, &session);
            let read = tokio::task::spawn_blocking(move || files::load(&path)).await;
            let fields = match read.unwrap_or_else(|error| Err(error.into())) {
                Ok(fields) => fields,
                // It is not overwritten unread.
                Err(error) => {
                    self.behind = true;
                    return self.say(Some(format!("cannot read the state of {session}: {error}")));
                }
            };
            self.sessions
                .learn(&session, fields, &Local::now().to_rfc3339());
        }
        self.sessions.apply(&session, event, roster);
    }

    /// Writes what has changed; false when the disk did not take it.
    async fn write(&mut self, urgent: bool) -> bool {
        let changed = self.sessions.changed(urgent);
        let applied = self
            .applied
            .filter(|_| !urgent && !self.behind && self.kept != self.applied);
        if changed.is_empty() && applied.is_none() {
            return true;
        }
        let (projects, cursor) = (self.projects.clone(), self.cursor.clone());
        let written = tokio::task::spawn_blocking(move || {
            let mut done = Vec::new();
            for (session, text) in changed {
                let path = files::path_of(&projects, &session);
                if let Err(error) = files::store(&path, text.as_bytes()) {
                    return (
                        done,
                        Err(format!("cannot write {}: {error}", path.display())),
                    );
                }
                done.push((session, text));
            }
            let stored =
                applied.map(|applied| files::store(&cursor, &serde_json::to_vec(&applied)?));
            let stored = stored.transpose();
            (
                done,
                stored.map_err(|error| format!("cannot write {}: {error}", cursor.display())),
            )
        });
        let (done, result) = written
            .await
            .unwrap_or_else(|error| (Vec::new(), Err(error.to_string())));
        for (session, text) in done {
            self.sessions.written(&session, text);
        }
        if result.is_ok() && applied.is_some() {
            self.kept = applied;
        }
        let well = result.is_ok();
        if well {
            self.sessions.calm();
        }
        self.say(result.err());
        well
    }

    fn say(&self, error: Option<String>) {
        self.error.send_if_modified(|last| {
            let news = *last != error;
            if let (true, Some(error)) = (news, &error) {
                tracing::warn!(target: "orch::state", "{error}");
            }
            *last = error;
            news
        });
    }
}
