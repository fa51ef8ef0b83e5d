//! Takes in what earlier runs left: a repaired journal is told, and what was emitted while nothing ran is published in
//! the order it came. Looks again while it runs: a producer may have found nobody an instant before.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::bus::Bus;
use crate::event::{Draft, Severity};
use crate::journal::{AppendError, Repair};
use crate::spool;

/// How often the spool is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Events that are handed to the journal before the first is waited for.
const BATCH: usize = 512;

/// Runs until `stop`. `taken` is cancelled once everything that waited at the start is on disk.
pub(super) async fn run(
    repair: Option<Repair>,
    directory: PathBuf,
    bus: Bus,
    taken: CancellationToken,
    stop: CancellationToken,
) {
    if let Some(repair) = repair {
        let text = format!(
            "cut an unfinished line of {} bytes off {}",
            repair.bytes,
            repair.path.display()
        );
        let data = json!({"offset": repair.offset, "bytes": repair.bytes, "copy": repair.copy});
        bus.publish_or_say(Draft::new("log_repaired", "journal", text).with_data(data))
            .await;
    }
    let mut safe = 0;
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = look.tick() => {}
            () = stop.cancelled() => return,
        }
        // Twice: what a start that died had taken, then what came since.
        while spool::waits(&directory) {
            match take(&directory, &bus, &mut safe, &stop).await {
                Ok(()) if stop.is_cancelled() => return,
                Ok(()) => {}
                Err(AppendError::Io { source, .. }) if source.kind() == ErrorKind::WouldBlock => {
                    break;
                }
                Err(error) => {
                    tracing::error!(target: "orch::spool", "{} stays for the next look: {error}", directory.display());
                    break;
                }
            }
        }
        taken.cancel();
    }
}

/// Between two batches it may be stopped; the rest is found at the next start. `safe` lines of what is being taken are
/// in the journal, whether or not that could be written down.
async fn take(
    directory: &Path,
    bus: &Bus,
    safe: &mut u64,
    stop: &CancellationToken,
) -> Result<(), AppendError> {
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
    let mut batch = Vec::new();
    let known = *safe;
    let new = found
        .emissions
        .into_iter()
        .filter(|(line, _)| *line > known);
    let mut emissions = new.peekable();
    while let Some((line, emission)) = emissions.next() {
        let draft = bus.draft(emission, "cli");
        // A critical one would overtake what came before it.
        let alone = draft.severity == Severity::Critical;
        if alone {
            settle(&mut batch).await?;
        }
        batch.push(bus.journal().submit(draft).await?);
        if alone || batch.len() >= BATCH || emissions.peek().is_none() {
            settle(&mut batch).await?;
            *safe = line;
            spool::reached(directory, line).map_err(|e| failed("write", e))?;
            if stop.is_cancelled() {
                return Ok(());
            }
        }
    }
    spool::forget(directory, !found.damaged.is_empty()).map_err(|e| failed("empty", e))?;
    *safe = 0;
    Ok(())
}

type Accepted = tokio::sync::oneshot::Receiver<Result<u64, AppendError>>;

async fn settle(batch: &mut Vec<Accepted>) -> Result<(), AppendError> {
    for accepted in batch.drain(..) {
        accepted.await.map_err(|_| AppendError::Closed)??;
    }
    Ok(())
}
