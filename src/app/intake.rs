//! Takes in what earlier runs left: a repaired journal is told, and what was emitted while nothing ran is published in
//! the order it came. Looks again while it runs: a producer may have found nobody an instant before.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, FixedOffset, Local};
use serde_json::json;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::bus::Bus;
use crate::event::{Draft, Emission, Severity};
use crate::journal::{AppendError, Query, Repair};
use crate::spool;

/// How often the spool is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Events that are handed to the journal before the first is waited for.
const BATCH: usize = 512;

/// Takes in what was left.
pub(super) struct Intake {
    pub(super) bus: Bus,
    /// The journal's directory: what a start that died had taken in is looked up there.
    pub(super) journal: PathBuf,
    /// The spools of this server: of this root, and of those that `orch emit` takes for it while nothing runs.
    pub(super) spools: Vec<PathBuf>,
    pub(super) stop: CancellationToken,
}

impl Intake {
    /// Runs until stopped. `taken` is cancelled once everything that waited at the start is on disk.
    pub(super) async fn run(self, repair: Option<Repair>, taken: CancellationToken) {
        if let Some(repair) = repair {
            let text = format!(
                "cut an unfinished line of {} bytes off {}",
                repair.bytes,
                repair.path.display()
            );
            let data = json!({"offset": repair.offset, "bytes": repair.bytes, "copy": repair.copy});
            let draft = Draft::new("log_repaired", "journal", text).with_data(data);
            self.bus.publish_or_say(draft).await;
        }
        let mut safe = vec![0; self.spools.len()];
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = look.tick() => {}
                () = self.stop.cancelled() => return,
            }
            for (directory, safe) in self.spools.iter().zip(&mut safe) {
                // Again: what a start that died had taken comes first, alone.
                while spool::waits(directory) && !self.stop.is_cancelled() {
                    match self.take(directory, safe).await {
                        Ok(()) => {}
                        Err(AppendError::Io { source, .. })
                            if source.kind() == ErrorKind::WouldBlock =>
                        {
                            break;
                        }
                        Err(error) => {
                            tracing::error!(target: "orch::spool", "{} stays for the next look: {error}", directory.display());
                            break;
                        }
                    }
                }
            }
            taken.cancel();
        }
    }

    /// Between two batches it may be stopped; the rest is found at the next start. `safe` lines of what is being taken
    /// are in the journal, whether or not that could be written down.
    async fn take(&self, directory: &Path, safe: &mut u64) -> Result<(), AppendError> {
        let failed = |what, source| AppendError::Io {
            what,
            path: directory.to_owned(),
            source,
        };
        let place = directory.to_owned();
        let read = tokio::task::spawn_blocking(move || spool::take(&place)).await;
        let found = read
            .unwrap_or_else(|error| Err(error.into()))
            .map_err(|e| failed("read", e))?;
        for error in &found.damaged {
            tracing::warn!(target: "orch::spool", "a line is kept aside: {error}");
        }
        let mut there = HashMap::new();
        match found.begun {
            None => *safe = 0,
            Some(since) if *safe == 0 => there = self.look_up(since).await,
            Some(_) => {}
        }
        let known = *safe;
        let mut new = found.emissions.into_iter().filter(|(at, emission)| {
            *at > known
                && there
                    .get_mut(&key_of(emission))
                    .is_none_or(|times: &mut u32| {
                        let is_new = *times == 0;
                        *times = times.saturating_sub(1);
                        is_new
                    })
        });
        let mut batch = Vec::new();
        loop {
            let next = new
                .next()
                .map(|(line, emission)| (line, self.bus.draft(emission, "cli")));
            // A critical one would overtake what came before it.
            let alone = next
                .as_ref()
                .is_some_and(|(_, draft)| draft.severity == Severity::Critical);
            if (alone || next.is_none() || batch.len() >= BATCH) && !batch.is_empty() {
                self.settle(directory, &mut batch, safe).await?;
                if self.stop.is_cancelled() {
                    return Ok(());
                }
            }
            let Some((line, draft)) = next else { break };
            batch.push((line, self.bus.journal().submit(draft).await?));
            if alone {
                self.settle(directory, &mut batch, safe).await?;
            }
        }
        spool::forget(directory, !found.damaged.is_empty()).map_err(|e| failed("empty", e))?;
        *safe = 0;
        Ok(())
    }

    async fn settle(
        &self,
        directory: &Path,
        batch: &mut Vec<(u64, Accepted)>,
        safe: &mut u64,
    ) -> Result<(), AppendError> {
        for (line, accepted) in batch.drain(..) {
            accepted.await.map_err(|_| AppendError::Closed)??;
            *safe = line;
        }
        spool::reached(directory, *safe).map_err(|source| AppendError::Io {
            what: "write to",
            path: directory.to_owned(),
            source,
        })
    }

    /// How often the journal has each event that was emitted somewhere else than through the socket, since then.
    async fn look_up(&self, since: SystemTime) -> HashMap<Key, u32> {
        let journal = self.journal.clone();
        let read = tokio::task::spawn_blocking(move || {
            let query = Query {
                since: Some(DateTime::<Local>::from(since).fixed_offset()),
                ..Query::default()
            };
            query.run(&journal)
        });
        let mut there = HashMap::new();
        match read.await {
            Ok(Ok((found, _))) => {
                for event in found.into_iter().map(|found| found.event) {
                    if let (Some(at), None) = (event.emitted_at, event.peer_pid) {
                        *there.entry((at, event.kind, event.message)).or_default() += 1;
                    }
                }
            }
            Ok(Err(error)) => tracing::warn!(target: "orch::spool", "{error}"),
            Err(error) => tracing::warn!(target: "orch::spool", "{error}"),
        }
        there
    }
}

type Accepted = tokio::sync::oneshot::Receiver<Result<u64, AppendError>>;

/// What tells one spooled event from another.
type Key = (DateTime<FixedOffset>, String, String);

fn key_of(emission: &Emission) -> Key {
    let at = emission.emitted_at.unwrap_or_default();
    let draft = Draft::new(&emission.kind, "", emission.message.clone());
    (at, draft.kind, draft.message)
}
