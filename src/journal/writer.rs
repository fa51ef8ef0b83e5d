//! The single writer and the handle to it: takes drafts, receipts and outcomes from channels, has them written in
//! groups on a thread that may block, and only then says that they are accepted. While one group is on its way to the
//! disk, the answers of the one before are given.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, FixedOffset, Local, SubsecRound};
use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch};

use super::disk::{Disk, Real};
use super::error::AppendError;
use super::housekeeping::{self, Keeper, Retention, Round};
use super::ledger::{Health, Ledger, Step};
use super::queue::{Accepted, Waiting};
use super::repair::{self, Repair};
use super::survey;
use crate::event::{Body, Draft, Event, Outcome, Receipt, Severity};

/// Drafts that may wait for the writer.
const QUEUE: usize = 4096;
/// Lines that are worth a group of their own while the answers of the one before are given.
const OVERLAP: usize = 1024;
/// Housekeeping waits until the start is over, and comes again after each rotation and this often.
const FIRST_ROUND: Duration = Duration::from_secs(2);
const ROUNDS: Duration = Duration::from_secs(3600);

/// How long a disk that fails at the end is tried again.
const LAST_TRIES: Duration = Duration::from_secs(1);
/// Numbers above this are nobody's word.
const MOST: u64 = 1 << 60;

/// What opening found.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The last number on disk.
    pub last_seq: u64,
    /// A torn tail that was cut.
    pub repair: Option<Repair>,
    /// Events without an outcome, from runs that ended.
    pub unresolved: Vec<Event>,
}

/// A journal that runs.
#[derive(Debug)]
pub struct Opened {
    /// To write with.
    pub journal: Journal,
    /// What the last run left.
    pub recovered: Recovered,
    /// Whether it can be written, always the latest.
    pub health: watch::Receiver<Health>,
    /// The writer; it ends when all handles are gone, and by itself only when the disk cannot be trusted.
    pub task: tokio::task::JoinHandle<()>,
}

/// Handle of the writer; it ends when all handles are gone.
#[derive(Debug, Clone)]
pub struct Journal {
    critical: mpsc::Sender<Waiting>,
    ordinary: mpsc::Sender<Waiting>,
    notes: mpsc::UnboundedSender<Body>,
    settled: mpsc::UnboundedSender<oneshot::Sender<u64>>,
    retention: watch::Sender<Retention>,
}

impl Journal {
    /// Queues a draft; the receiver resolves to its number once it is on disk. Waits while the queue is full. What
    /// was queued is written even if the receiver is dropped.
    ///
    /// # Errors
    /// [`AppendError::Closed`] when the writer has ended, [`AppendError::Group`] for data that JSON cannot say.
    pub async fn submit(
        &self,
        draft: Draft,
    ) -> Result<oneshot::Receiver<Result<u64, AppendError>>, AppendError> {
        let (accepted, receiver) = oneshot::channel();
        let lane = if draft.severity == Severity::Critical {
            &self.critical
        } else {
            &self.ordinary
        };
        // Here, where producers are many, and not in the one writer.
        let body = Body::event(&draft).map_err(|e| AppendError::Group(e.to_string().into()))?;
        let waiting = Waiting {
            draft,
            body,
            accepted: Some(accepted),
        };
        lane.send(waiting).await.map_err(|_| AppendError::Closed)?;
        Ok(receiver)
    }

    /// Appends an event and waits until it is on disk.
    ///
    /// # Errors
    /// See [`AppendError`]; the event is then not accepted.
    pub async fn append(&self, draft: Draft) -> Result<u64, AppendError> {
        self.submit(draft)
            .await?
            .await
            .map_err(|_| AppendError::Closed)?
    }

    /// The number of this run's last event, 0 for none, once everything that was handed over before is on disk and
    /// on its way to `committed`, or while the disk will not take it.
    ///
    /// # Errors
    /// [`AppendError::Closed`] when the writer has ended.
    pub async fn settled(&self) -> Result<u64, AppendError> {
        let (answer, last) = oneshot::channel();
        self.settled.send(answer).map_err(|_| AppendError::Closed)?;
        last.await.map_err(|_| AppendError::Closed)
    }

    /// Records a receipt. Never waits: there are few per event, and events are bounded.
    pub fn receipt(&self, receipt: Receipt) {
        self.note(Body::receipt(&receipt));
    }

    /// Records an outcome. Never waits.
    pub fn outcome(&self, outcome: Outcome) {
        self.note(Body::outcome(&outcome));
    }

    /// What is kept from now on.
    pub fn retain(&self, retention: Retention) {
        self.retention.send_if_modified(|now| {
            let differs = *now != retention;
            *now = retention;
            differs
        });
    }

    fn note(&self, body: Result<Body, serde_json::Error>) {
        match body {
            Ok(body) => drop(self.notes.send(body)),
            Err(error) => {
                tracing::error!(target: "orch::journal", "cannot write a note: {error}");
            }
        }
    }
}

/// Opens the journal in `dir` (made if missing), repairs its tail and starts the writer. Accepted events go to
/// `committed` in the order of their numbers. No number up to `given` is given again, 0 where none is known: what others
/// remember counts where the files that had them were taken away.
///
/// # Errors
/// When the directory cannot be made, read or written in, or the tail cannot be repaired.
pub fn open(
    dir: &Path,
    retention: Retention,
    given: u64,
    committed: mpsc::Sender<Arc<Event>>,
) -> Result<Opened, AppendError> {
    let disk: Arc<dyn Disk> = Arc::new(Real);
    disk.make_directory(dir).map_err(|source| AppendError::Io {
        what: "make",
        path: dir.to_owned(),
        source,
    })?;
    writable(dir)?;
    housekeeping::clear(&*disk, dir);
    let left = repair::examine(&*disk, dir)?;
    let (critical, critical_rx) = mpsc::channel(QUEUE);
    let (ordinary, ordinary_rx) = mpsc::channel(QUEUE);
    let (notes, notes_rx) = mpsc::unbounded_channel();
    let (settled, settled_rx) = mpsc::unbounded_channel();
    let (health_tx, health) = watch::channel(Health::default());
    let (retention, retention_rx) = watch::channel(retention);
    let given = given.max(survey::said(dir)).min(MOST);
    let last_seq = left.last_seq.max(given);
    let mut ledger = Ledger::new(dir, disk.clone(), last_seq, left.newest);
    if given > left.last_seq {
        ledger.say(missing(dir, left.last_seq + 1, given), None);
    }
    let writer = Writer {
        dir: dir.to_owned(),
        disk,
        retention: retention_rx,
        keeper: None,
        keeping: Instant::now() + FIRST_ROUND,
        critical: critical_rx,
        ordinary: ordinary_rx,
        notes: notes_rx,
        settled: settled_rx,
        open: true,
        committed,
        health: health_tx,
    };
    Ok(Opened {
        journal: Journal {
            critical,
            ordinary,
            notes,
            settled,
            retention,
        },
        recovered: Recovered {
            last_seq,
            repair: left.repair,
            unresolved: left.unresolved,
        },
        health,
        task: tokio::spawn(writer.run(ledger)),
    })
}

/// The end of the journal was taken away while nothing ran.
fn missing(dir: &Path, first: u64, last: u64) -> Draft {
    let text = format!(
        "seq {first} to {last} are not in {} any more: files were taken away while nothing ran",
        dir.display()
    );
    let data =
        json!({"what": "missing", "file": dir, "lost": {"first_seq": first, "last_seq": last}});
    Draft::new("log_repaired", "journal", text).with_data(data)
}

/// A directory in which nothing can be made is found now and not at the first event; one that is merely full is not
/// refused, since room may come.
fn writable(dir: &Path) -> Result<(), AppendError> {
    match tempfile::tempfile_in(dir) {
        Err(source) if !super::disk::is_full(&source) => Err(AppendError::Unwritable {
            path: dir.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

fn now() -> DateTime<FixedOffset> {
    Local::now().fixed_offset().trunc_subsecs(6)
}

struct Writer {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    retention: watch::Receiver<Retention>,
    /// The round of housekeeping that goes on, and when the next begins.
    keeper: Option<Keeper>,
    keeping: Instant,
    critical: mpsc::Receiver<Waiting>,
    ordinary: mpsc::Receiver<Waiting>,
    notes: mpsc::UnboundedReceiver<Body>,
    settled: mpsc::UnboundedReceiver<oneshot::Sender<u64>>,
    /// Somebody is left who could hand anything over.
    open: bool,
    committed: mpsc::Sender<Arc<Event>>,
    health: watch::Sender<Health>,
}

impl Writer {
    async fn run(mut self, mut ledger: Ledger) {
        let mut told = Vec::new();
        let mut closing = None;
        loop {
            self.take_in(&mut ledger);
            let instant = Instant::now();
            let due = ledger.due(instant);
            let (events, own) = ledger.waits();
            // Few lines wait better until those who were answered have handed over more.
            let overlaps = told.is_empty() || events + own >= OVERLAP;
            if overlaps && due.is_some_and(|due| due <= instant) {
                let now = now();
                let work = tokio::task::spawn_blocking(move || {
                    let step = ledger.step(now, Instant::now());
                    (ledger, step)
                });
                self.tell(std::mem::take(&mut told)).await;
                let step: Step;
                (ledger, step) = match work.await {
                    Ok(done) => done,
                    Err(panic) => std::panic::resume_unwind(panic.into_panic()),
                };
                told = step.accepted;
                if step.rotated {
                    self.keeping = Instant::now();
                }
                self.health.send_if_modified(|health| {
                    let now = ledger.health();
                    std::mem::replace(health, now.clone()) != now
                });
                if let Some(error) = step.end {
                    tracing::error!(target: "orch::journal", "the disk cannot be trusted, giving up: {error}");
                    return self.tell(told).await;
                }
                continue;
            }
            if !told.is_empty() {
                self.tell(std::mem::take(&mut told)).await;
                continue;
            }
            if !self.open {
                let until = *closing.get_or_insert(instant + LAST_TRIES);
                if let Some(due) = due.filter(|due| *due < until) {
                    tokio::time::sleep_until(due.into()).await;
                    continue;
                }
                if events + own > 0 {
                    tracing::error!(target: "orch::journal", "{events} events, and {own} lines of orch's own, could not be written");
                }
                return;
            }
            self.wait(&mut ledger, due).await;
        }
    }

    /// What waits in the channels already, critical events first, as far as there is room.
    fn take_in(&mut self, ledger: &mut Ledger) {
        let now = now();
        while ledger.wants_more()
            && let Ok(next) = self
                .critical
                .try_recv()
                .or_else(|_| self.ordinary.try_recv())
        {
            ledger.take(next, now);
        }
        while let Ok(next) = self.notes.try_recv() {
            ledger.note(next);
        }
    }

    /// Until something comes, or is due.
    async fn wait(&mut self, ledger: &mut Ledger, due: Option<Instant>) {
        let now = now();
        let later = async {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        let idle = self.keeper.is_none();
        let keeper = self.keeper.as_mut();
        let records = async {
            match keeper {
                Some(keeper) => keeper.records.recv().await,
                None => std::future::pending().await,
            }
        };
        let mut next = None;
        tokio::select! {
            biased;
            first = self.critical.recv() => match first {
                Some(first) => ledger.take(first, now),
                // The senders of one handle go together.
                None => self.open = false,
            },
            Some(first) = self.ordinary.recv() => ledger.take(first, now),
            Some(first) = self.notes.recv() => ledger.note(first),
            // All that came before is written.
            Some(answer) = self.settled.recv() => {
                let _ = answer.send(ledger.last_event());
            }
            () = later => {}
            record = records => next = Some(record),
            Ok(()) = self.retention.changed() => self.keeping = Instant::now(),
            () = tokio::time::sleep_until(self.keeping.into()), if idle => {
                self.keep_house(ledger);
            }
        }
        match next {
            Some(Some((draft, accepted))) => ledger.say(draft, Some(accepted)),
            Some(None) => self.keeper = None,
            None => {}
        }
    }

    fn keep_house(&mut self, ledger: &Ledger) {
        self.keeping = Instant::now() + ROUNDS;
        let today = now().date_naive();
        let round = Round {
            dir: self.dir.clone(),
            disk: self.disk.clone(),
            retention: self.retention.borrow_and_update().clone(),
            today,
            end: ledger.end(),
        };
        match housekeeping::start(round) {
            Ok(keeper) => self.keeper = Some(keeper),
            Err(error) => {
                tracing::error!(target: "orch::journal", "cannot keep house: {error}");
            }
        }
    }

    /// Gives the answers of a group, and the events to whoever follows.
    async fn tell(&self, accepted: Vec<(Arc<Event>, Option<Accepted>)>) {
        for (event, accepted) in accepted {
            if let Some(accepted) = accepted {
                let _ = accepted.send(Ok(event.seq));
            }
            let _ = self.committed.send(event).await;
        }
    }
}
