//! Runs the monitors: shows each what is observed and publishes what it says. One that panics is dropped and made
//! anew; the others do not notice.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::components::{Failed, Guard, Health, Standing};
use super::panics;
use super::restarts::Policy;
use super::supervise::record;
use crate::bus::Bus;
use crate::event::Draft;
use crate::monitor::{Maker, Monitor, Observation};
use crate::panes::{Roster, Update};

/// The rows of the monitors in `orch status`.
pub(super) type Rows = Vec<(String, watch::Receiver<Standing>)>;

pub(super) struct Monitors {
    posts: Vec<Post>,
}

/// A monitor at its post, or the empty post.
struct Post {
    maker: Maker,
    guard: Guard,
    monitor: Option<Box<dyn Monitor>>,
    /// When the empty post is to be filled again.
    due: Option<Instant>,
    /// Observations that nobody at this post has seen.
    missed: u64,
}

impl Monitors {
    pub(super) fn new(makers: Vec<Maker>, policy: Policy) -> (Self, Rows) {
        let mut rows = Rows::new();
        let mut posts = Vec::new();
        for maker in makers {
            let name = format!("monitors.{}", maker.name);
            if maker.enabled {
                let (guard, standing) = Guard::new(&name, policy);
                rows.push((name, standing));
                posts.push(Post {
                    maker,
                    guard,
                    monitor: None,
                    due: None,
                    missed: 0,
                });
            } else {
                rows.push((name, watch::channel(Standing::new(Health::Disabled)).1));
            }
        }
        (Self { posts }, rows)
    }

    /// Until `stop` or the end of the updates.
    pub(super) async fn run(
        mut self,
        mut updates: mpsc::Receiver<Update>,
        roster: watch::Receiver<Arc<Roster>>,
        bus: Bus,
        stop: CancellationToken,
    ) {
        for post in &mut self.posts {
            let failed = post.fill();
            if let Some(parked) = failed {
                bus.publish_or_say(parked).await;
            }
        }
        loop {
            let due = self.posts.iter().filter_map(|post| post.due).min();
            let wake = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                update = updates.recv() => match update {
                    Some(update) => self.show(&update, &roster, &bus).await,
                    None => return,
                },
                () = wake => self.restart(&bus).await,
                () = stop.cancelled() => return,
            }
        }
    }

    async fn show(&mut self, update: &Update, roster: &watch::Receiver<Arc<Roster>>, bus: &Bus) {
        let one: Observation<'_>;
        let many: Vec<Observation<'_>>;
        let seen = match update {
            Update::Attached {
                attachment,
                new_server,
            } => {
                one = Observation::Attached {
                    version: attachment.version.as_str(),
                    server: attachment.server,
                    panes: roster.borrow().panes.len(),
                    new_server: *new_server,
                };
                std::slice::from_ref(&one)
            }
            Update::Lost(reason) => {
                one = Observation::Lost(reason);
                std::slice::from_ref(&one)
            }
            Update::Changes(changes) => {
                many = changes.iter().map(Observation::Changed).collect();
                &many
            }
        };
        for seen in seen {
            for post in &mut self.posts {
                for draft in post.show(seen) {
                    bus.publish_or_say(draft).await;
                }
            }
        }
    }

    async fn restart(&mut self, bus: &Bus) {
        for post in &mut self.posts {
            if post.due.is_some_and(|due| due <= Instant::now()) {
                post.due = None;
                let missed = std::mem::take(&mut post.missed);
                let mut told = post.guard.started(Instant::now());
                if let Some(data) = &mut told.data {
                    data["missed"] = json!(missed);
                }
                record(bus, told).await;
                if let Some(parked) = post.fill() {
                    bus.publish_or_say(parked).await;
                }
            }
        }
    }
}

impl Post {
    /// Makes the monitor. What is to be published when it is given up.
    fn fill(&mut self) -> Option<Draft> {
        match std::panic::catch_unwind(AssertUnwindSafe(|| (self.maker.make)())) {
            Ok(monitor) => {
                self.monitor = Some(monitor);
                None
            }
            Err(payload) => self.failed(&panics::caught(&*payload)),
        }
    }

    fn show(&mut self, seen: &Observation<'_>) -> Vec<Draft> {
        let Some(monitor) = &mut self.monitor else {
            self.missed += 1;
            return Vec::new();
        };
        match std::panic::catch_unwind(AssertUnwindSafe(|| monitor.observe(seen))) {
            Ok(drafts) => drafts,
            Err(payload) => {
                // What it remembers may be half changed.
                self.monitor = None;
                self.missed += 1;
                self.failed(&panics::caught(&*payload))
                    .into_iter()
                    .collect()
            }
        }
    }

    fn failed(&mut self, error: &str) -> Option<Draft> {
        let now = Instant::now();
        match self.guard.failed(error, now) {
            Failed::Again(pause) => {
                self.due = Some(now + pause);
                None
            }
            Failed::Parked(parked) => Some(*parked),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::bus::Dispatcher;
    use crate::event::Event;
    use crate::journal::{self, Retention};
    use crate::panes::Change;
    use crate::panes::roster_fixture::pane;

    /// Panics at its first `trouble` observations, counted over all its lives, then says each pane.
    struct Sick {
        trouble: u32,
        seen: Arc<AtomicU32>,
    }

    impl Monitor for Sick {
        fn observe(&mut self, _: &Observation<'_>) -> Vec<Draft> {
            let seen = self.seen.fetch_add(1, Ordering::Relaxed);
            assert!(seen >= self.trouble, "sick at {seen}");
            vec![Draft::new("status_update", "sick", "well")]
        }
    }

    struct Well;

    impl Monitor for Well {
        fn observe(&mut self, _: &Observation<'_>) -> Vec<Draft> {
            vec![Draft::new("status_update", "well", "seen")]
        }
    }

    fn makers(trouble: u32) -> Vec<Maker> {
        let seen = Arc::new(AtomicU32::new(0));
        let sick = move || -> Box<dyn Monitor> {
            let seen = seen.clone();
            Box::new(Sick { trouble, seen })
        };
        let maker = |name, make: Box<dyn Fn() -> Box<dyn Monitor> + Send>| Maker {
            name,
            enabled: true,
            make,
        };
        vec![
            maker("sick", Box::new(sick)),
            maker("well", Box::new(|| Box::new(Well))),
        ]
    }

    /// Shows an observation every few milliseconds until `done`; all events, and how the monitors stand then.
    async fn run(
        trouble: u32,
        done: impl Fn(&[Arc<Event>]) -> bool,
    ) -> (Vec<Arc<Event>>, BTreeMap<String, Standing>) {
        let dir = tempfile::tempdir().unwrap();
        let (committed, committed_rx) = mpsc::channel(64);
        let opened = journal::open(dir.path(), Retention::default(), 0, committed).unwrap();
        let (journal, writing) = (opened.journal, opened.task);
        let (_severities, severities) = watch::channel(Arc::default());
        let (bus, mut dispatcher) = Dispatcher::new(journal, committed_rx, severities);
        let mut events = dispatcher.subscribe();
        let dispatching = tokio::spawn(dispatcher.run());
        let policy = Policy {
            pause: Duration::from_millis(5),
            ..Policy::default()
        };
        let (monitors, rows) = Monitors::new(makers(trouble), policy);
        let (_roster, roster) = watch::channel(Arc::default());
        let (updates, updates_rx) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let running = tokio::spawn(monitors.run(updates_rx, roster, bus, stop.clone()));

        let mut all = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(30);
        while !done(&all) {
            assert!(Instant::now() < deadline, "{all:#?}");
            let change = Change::Appeared(pane(1, "bash"));
            let shown = updates.send(Update::Changes(vec![change]));
            shown.await.unwrap();
            let next = tokio::time::timeout(Duration::from_millis(5), events.recv()).await;
            all.extend(next.ok().flatten());
        }
        stop.cancel();
        running.await.unwrap();
        writing.await.unwrap();
        dispatching.await.unwrap();
        while let Some(event) = events.recv().await {
            all.push(event);
        }
        let standings = rows.into_iter().map(|(name, row)| {
            let standing = row.borrow().clone();
            (name, standing)
        });
        (all, standings.collect())
    }

    fn of<'a>(events: &'a [Arc<Event>], kind: &str, source: &str) -> Vec<&'a Event> {
        let wanted = |event: &&Arc<Event>| event.kind == kind && event.source == source;
        events.iter().filter(wanted).map(|event| &**event).collect()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn f31_a_monitor_that_always_panics_is_parked_and_the_others_go_on() {
        let (events, standings) = run(u32::MAX, |events| {
            let parked = events.iter().position(|e| e.kind == "component_parked");
            // And the other has seen something since.
            parked.is_some_and(|at| !of(&events[at..], "status_update", "well").is_empty())
        })
        .await;
        let restarts: Vec<_> = of(&events, "status_update", "orch")
            .iter()
            .map(|event| event.data.clone().unwrap())
            .collect();
        assert_eq!(restarts.len(), 4, "{restarts:?}");
        for (restart, n) in restarts.iter().zip(1..) {
            assert_eq!(restart["op"], "restart");
            assert_eq!(restart["component"], "monitors.sick");
            assert_eq!(restart["restarts"], n);
            assert!(restart["error"].as_str().unwrap().contains("sick at"));
            assert!(restart["missed"].as_u64().unwrap() >= 1);
        }
        let parked = of(&events, "component_parked", "orch");
        assert_eq!(parked.len(), 1);
        assert_eq!(parked[0].severity, crate::event::Severity::Critical);
        assert!(
            parked[0].message.contains("monitors.sick") && parked[0].message.contains("sick at 4")
        );
        let sick = &standings["monitors.sick"];
        assert_eq!((sick.health, sick.restarts), (Health::Parked, 4));
        let well = &standings["monitors.well"];
        assert_eq!((well.health, well.restarts), (Health::Ok, 0));
        assert!(of(&events, "status_update", "well").len() > 5);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn f31_a_monitor_that_recovers_goes_on() {
        let (events, standings) =
            run(2, |events| !of(events, "status_update", "sick").is_empty()).await;
        assert_eq!(of(&events, "status_update", "orch").len(), 2);
        assert!(of(&events, "component_parked", "orch").is_empty());
        let sick = &standings["monitors.sick"];
        assert_eq!((sick.health, sick.restarts), (Health::Ok, 2));
        assert!(sick.last_error.as_ref().unwrap().1.contains("sick at 1"));
    }
}
