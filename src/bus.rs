//! Publishes events: on disk first, then to everybody who subscribed. Reliable subscriptions are bounded and make
//! publishers wait; followers and taps are never waited for, and learn that they missed something. Knows nothing of what
//! anybody does with an event.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{broadcast, mpsc, watch};

use crate::event::{Draft, Emission, Event, Severity, kind};
use crate::journal::{AppendError, Journal};

/// Events that a subscriber may be behind before publishing slows down.
const BEHIND: usize = 4096;
/// Events that a tap may be behind before it loses some; it is then told how many.
const TAP: usize = 1024;

/// Severities that the configuration gives to types.
pub type Severities = Arc<BTreeMap<String, Severity>>;

/// Handle for publishing and for taps.
#[derive(Debug, Clone)]
pub struct Bus {
    journal: Journal,
    severities: watch::Receiver<Severities>,
    tap: broadcast::Sender<Arc<Event>>,
}

/// The bus before it runs: everybody who must not miss an event subscribes here.
#[derive(Debug)]
pub struct Dispatcher {
    committed: mpsc::Receiver<Arc<Event>>,
    subscribers: Vec<mpsc::Sender<Arc<Event>>>,
    followers: Vec<(mpsc::Sender<Arc<Event>>, Arc<AtomicBool>)>,
    tap: broadcast::Sender<Arc<Event>>,
}

/// See [`Dispatcher::follow`].
#[derive(Debug)]
pub struct Follower {
    /// What came, without what was missed.
    pub events: mpsc::Receiver<Arc<Event>>,
    missed: Arc<AtomicBool>,
}

impl Follower {
    /// Whether anything was missed since this was asked.
    pub fn has_missed(&self) -> bool {
        self.missed.swap(false, Ordering::AcqRel)
    }
}

impl Bus {
    /// Publishes and returns the event's number once it is on disk.
    ///
    /// # Errors
    /// [`AppendError`]: the event is then not accepted.
    pub async fn publish(&self, draft: Draft) -> Result<u64, AppendError> {
        self.journal.append(self.graded(draft)).await
    }

    /// Publishes; a failure is recorded in the diagnostics, since nobody waits for the number.
    pub async fn publish_or_say(&self, draft: Draft) {
        let what = draft.kind.clone();
        if let Err(error) = self.publish(draft).await {
            tracing::error!(target: "orch::bus", "{what} was not accepted: {error}");
        }
    }

    /// The severity of a type, by the configuration or by itself.
    pub fn severity_of(&self, name: &str) -> Severity {
        self.severities
            .borrow()
            .get(name)
            .copied()
            .unwrap_or_else(|| kind::severity_of(name))
    }

    /// What a producer says as a draft, with the severity that its type has here unless it names one.
    pub fn draft(&self, emission: Emission, source: &str) -> Draft {
        let severity = self.severity_of(kind::canonical(&emission.kind));
        emission.draft(severity, source)
    }

    /// A draft that has its type's own severity gets the configured one.
    fn graded(&self, mut draft: Draft) -> Draft {
        if draft.severity == kind::severity_of(&draft.kind) {
            draft.severity = self.severity_of(&draft.kind);
        }
        draft
    }

    /// A lossy look at events from now on.
    pub fn tap(&self) -> broadcast::Receiver<Arc<Event>> {
        self.tap.subscribe()
    }

    /// The journal behind it.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }
}

impl Dispatcher {
    /// A bus over a journal; `committed` is where the journal tells of accepted events.
    pub fn new(
        journal: Journal,
        committed: mpsc::Receiver<Arc<Event>>,
        severities: watch::Receiver<Severities>,
    ) -> (Bus, Self) {
        let (tap, _) = broadcast::channel(TAP);
        (
            Bus {
                journal,
                severities,
                tap: tap.clone(),
            },
            Self {
                committed,
                subscribers: Vec::new(),
                followers: Vec::new(),
                tap,
            },
        )
    }

    /// A subscription that misses nothing from the start on.
    pub fn subscribe(&mut self) -> mpsc::Receiver<Arc<Event>> {
        let (sender, receiver) = mpsc::channel(BEHIND);
        self.subscribers.push(sender);
        receiver
    }

    /// A subscription that nobody waits for: who is too far behind misses events, and has to read the journal.
    pub fn follow(&mut self) -> Follower {
        let (sender, events) = mpsc::channel(BEHIND);
        let missed = Arc::new(AtomicBool::new(false));
        self.followers.push((sender, missed.clone()));
        Follower { events, missed }
    }

    /// Hands events on until the journal ends.
    pub async fn run(mut self) {
        while let Some(event) = self.committed.recv().await {
            // Before those who are waited for: what they have decided on, a follower has too, or knows that it has not.
            for (follower, missed) in &self.followers {
                if follower.try_send(event.clone()).is_err() {
                    missed.store(true, Ordering::Release);
                }
            }
            for subscriber in &self.subscribers {
                let _ = subscriber.send(event.clone()).await;
            }
            let _ = self.tap.send(event);
        }
    }
}
