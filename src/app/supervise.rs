//! Runs a task that may fail: isolated, started again after a pause, given up after too many failures, each time with
//! a record. For faces and helpers; what the promises hang on (connection, roster, journal, state, delivery) ends the
//! process instead, and the next start goes on from the journal.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use super::components::{Failed, Guard};
use super::panics;
use crate::bus::Bus;
use crate::event::Draft;

/// How long a record of a restart waits for the journal: what was restarted must work without it, too.
const RECORD: Duration = Duration::from_secs(1);

/// Runs what `make` makes until `stop`; then it has to end by itself.
pub(super) async fn supervise(
    mut guard: Guard,
    bus: Bus,
    stop: CancellationToken,
    mut make: impl AsyncFnMut(),
) {
    loop {
        let ended = AssertUnwindSafe(make()).catch_unwind().await;
        if stop.is_cancelled() {
            return;
        }
        let error = match ended {
            Ok(()) => "it ended".to_owned(),
            Err(payload) => panics::caught(&*payload),
        };
        match guard.failed(&error, Instant::now()) {
            Failed::Again(pause) => {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stop.cancelled() => return,
                }
                record(&bus, guard.started(Instant::now())).await;
            }
            Failed::Parked(parked) => {
                tokio::select! {
                    () = bus.publish_or_say(*parked) => {}
                    () = stop.cancelled() => return,
                }
                return stop.cancelled().await;
            }
        }
    }
}

/// Publishes what need not be waited for.
pub(super) async fn record(bus: &Bus, draft: Draft) {
    let what = draft.message.clone();
    if tokio::time::timeout(RECORD, bus.publish_or_say(draft))
        .await
        .is_err()
    {
        tracing::warn!(target: "orch::app", "not recorded in time: {what}");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::{mpsc, watch};

    use super::super::components::Health;
    use super::super::restarts::Policy;
    use super::*;
    use crate::bus::Dispatcher;
    use crate::journal::{self, Retention};

    #[tokio::test]
    async fn f31_a_face_that_ends_or_panics_is_started_again_until_it_is_parked() {
        let dir = tempfile::tempdir().unwrap();
        let (committed, committed_rx) = mpsc::channel(64);
        let opened = journal::open(dir.path(), Retention::default(), 0, committed).unwrap();
        let journal = opened.journal;
        let (_severities, severities) = watch::channel(Arc::default());
        let (bus, mut dispatcher) = Dispatcher::new(journal, committed_rx, severities);
        let mut events = dispatcher.subscribe();
        tokio::spawn(dispatcher.run());
        let policy = Policy {
            pause: Duration::from_millis(1),
            ..Policy::default()
        };
        let (guard, standing) = Guard::new("face", policy);
        let stop = CancellationToken::new();
        let lives = Arc::new(AtomicU32::new(0));
        let make = {
            let lives = lives.clone();
            move || {
                let life = lives.fetch_add(1, Ordering::Relaxed);
                async move { assert!(life.is_multiple_of(2), "life {life}") }
            }
        };
        let running = tokio::spawn(supervise(guard, bus, stop.clone(), make));
        let mut told = Vec::new();
        for _ in 0..5 {
            let next = tokio::time::timeout(Duration::from_secs(30), events.recv());
            told.push(next.await.unwrap().unwrap());
        }
        let kinds: Vec<&str> = told.iter().map(|event| event.kind.as_str()).collect();
        assert_eq!(kinds[..4], ["status_update"; 4]);
        assert_eq!(kinds[4], "component_parked");
        let error = |at: usize| told[at].data.as_ref().unwrap()["error"].to_string();
        assert!(
            error(0).contains("it ended") && error(1).contains("life 1"),
            "{told:#?}"
        );
        assert_eq!(standing.borrow().health, Health::Parked);
        stop.cancel();
        running.await.unwrap();
        assert_eq!(lives.load(Ordering::Relaxed), 5);
    }
}
