//! The single writer: takes drafts, receipts and outcomes, numbers them, writes and syncs in groups, and only then
//! says that they are accepted. Critical events go to the front of the queue.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, FixedOffset, Local, NaiveDate, SubsecRound};
use tokio::sync::{mpsc, oneshot};

use super::error::AppendError;
use super::files;
use super::repair::{self, Repair};
use crate::event::{Draft, Event, Line, Outcome, Receipt, Severity};

/// Drafts that may wait for the writer.
const QUEUE: usize = 4096;
/// Events, and receipts and outcomes, in one group at most: bounds how long a critical one waits for the disk.
const GROUP: usize = 1024;
/// How long what could not be written waits for the next try.
const RETRY: std::time::Duration = std::time::Duration::from_millis(200);

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

struct Waiting {
    draft: Draft,
    accepted: Accepted,
}

/// Where the number of an accepted event goes.
type Accepted = oneshot::Sender<Result<u64, AppendError>>;

#[derive(Debug)]
enum Note {
    Receipt(Receipt),
    Outcome(Outcome),
}

/// Handle of the writer; it ends when all handles are gone.
#[derive(Debug, Clone)]
pub struct Journal {
    critical: mpsc::Sender<Waiting>,
    ordinary: mpsc::Sender<Waiting>,
    notes: mpsc::UnboundedSender<Note>,
    settled: mpsc::UnboundedSender<oneshot::Sender<u64>>,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.draft.fmt(f)
    }
}

impl Journal {
    /// Queues a draft; the receiver resolves to its number once it is on disk. Waits while the queue is full.
    ///
    /// # Errors
    /// [`AppendError::Closed`] when the writer has ended.
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
        lane.send(Waiting { draft, accepted })
            .await
            .map_err(|_| AppendError::Closed)?;
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
    /// on its way to `committed`.
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
        let _ = self.notes.send(Note::Receipt(receipt));
    }

    /// Records an outcome. Never waits.
    pub fn outcome(&self, outcome: Outcome) {
        let _ = self.notes.send(Note::Outcome(outcome));
    }
}

/// Opens the journal in `dir` (made if missing), repairs its tail and starts the writer. Accepted events go to
/// `committed` in the order of their numbers.
///
/// # Errors
/// When the directory cannot be made or read, or the tail cannot be repaired.
pub fn open(
    dir: &Path,
    committed: mpsc::Sender<Arc<Event>>,
) -> Result<(Journal, Recovered, tokio::task::JoinHandle<()>), AppendError> {
    std::fs::create_dir_all(dir).map_err(|source| AppendError::Io {
        what: "make",
        path: dir.to_owned(),
        source,
    })?;
    let left = repair::examine(dir)?;
    let (critical, critical_rx) = mpsc::channel(QUEUE);
    let (ordinary, ordinary_rx) = mpsc::channel(QUEUE);
    let (notes, notes_rx) = mpsc::unbounded_channel();
    let (settled, settled_rx) = mpsc::unbounded_channel();
    let writer = Writer {
        files: Files {
            dir: dir.to_owned(),
            open: None,
            newest: left.newest,
            spoiled: None,
        },
        next: left.last_seq + 1,
        last_event: 0,
        critical: critical_rx,
        ordinary: ordinary_rx,
        notes: notes_rx,
        settled: settled_rx,
        retry: Vec::new(),
        committed,
    };
    let task = tokio::spawn(writer.run());
    let recovered = Recovered {
        last_seq: left.last_seq,
        repair: left.repair,
        unresolved: left.unresolved,
    };
    Ok((
        Journal {
            critical,
            ordinary,
            notes,
            settled,
        },
        recovered,
        task,
    ))
}

struct Writer {
    files: Files,
    next: u64,
    last_event: u64,
    critical: mpsc::Receiver<Waiting>,
    ordinary: mpsc::Receiver<Waiting>,
    notes: mpsc::UnboundedReceiver<Note>,
    settled: mpsc::UnboundedReceiver<oneshot::Sender<u64>>,
    /// Receipts and outcomes that could not be written yet.
    retry: Vec<Note>,
    committed: mpsc::Sender<Arc<Event>>,
}

/// One group on its way to the disk.
#[derive(Default)]
struct Group {
    bytes: Vec<u8>,
    events: Vec<(Arc<Event>, Accepted)>,
    notes: Vec<Note>,
}

impl Writer {
    async fn run(mut self) {
        loop {
            let mut waiting = Vec::new();
            let mut notes = std::mem::take(&mut self.retry);
            let again = !notes.is_empty();
            tokio::select! {
                biased;
                Some(first) = self.critical.recv() => waiting.push(first),
                Some(first) = self.ordinary.recv() => waiting.push(first),
                Some(first) = self.notes.recv() => notes.push(first),
                () = tokio::time::sleep(RETRY), if again => {}
                // Last: all that came before is written.
                Some(answer) = self.settled.recv() => {
                    let _ = answer.send(self.last_event);
                    self.retry = notes;
                    continue;
                }
                else => break,
            }
            while waiting.len() < GROUP
                && let Ok(next) = self
                    .critical
                    .try_recv()
                    .or_else(|_| self.ordinary.try_recv())
            {
                waiting.push(next);
            }
            // The first may have been an ordinary one that a critical one has overtaken meanwhile.
            waiting.sort_by_key(|w| std::cmp::Reverse(w.draft.severity == Severity::Critical));
            while notes.len() < GROUP
                && let Ok(next) = self.notes.try_recv()
            {
                notes.push(next);
            }
            self = self.commit(waiting, notes).await;
            if again && !self.retry.is_empty() && self.is_abandoned() {
                let lost = self.retry.len();
                tracing::error!(target: "orch::journal", "{lost} receipts and outcomes could not be written");
                break;
            }
        }
    }

    /// Nobody is left who could hand anything over.
    fn is_abandoned(&self) -> bool {
        self.critical.is_closed() && self.ordinary.is_closed() && self.notes.is_closed()
    }

    async fn commit(mut self, waiting: Vec<Waiting>, notes: Vec<Note>) -> Self {
        let ts = Local::now().fixed_offset().trunc_subsecs(6);
        let before = self.next;
        let mut group = self.number(waiting, notes, ts);
        let mut files = self.files;
        let bytes = std::mem::take(&mut group.bytes);
        let day = ts.date_naive();
        let written = tokio::task::spawn_blocking(move || {
            let result = files.write(day, &bytes);
            (files, result)
        });
        let result = match written.await {
            Ok((files, result)) => {
                self.files = files;
                result
            }
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        match result {
            Ok(()) => {
                for (event, accepted) in group.events {
                    self.last_event = event.seq;
                    let _ = accepted.send(Ok(event.seq));
                    let _ = self.committed.send(event).await;
                }
            }
            Err(error) => {
                tracing::error!(target: "orch::journal", "{error}");
                // Nothing of the group is on disk: its numbers are free again, its producers are told, and what
                // orch itself has to say is kept for the next group.
                self.next = before;
                let said: Arc<str> = error.to_string().into();
                for (_, accepted) in group.events {
                    let _ = accepted.send(Err(AppendError::Group(said.clone())));
                }
                self.retry = group.notes;
            }
        }
        self
    }

    fn number(
        &mut self,
        waiting: Vec<Waiting>,
        notes: Vec<Note>,
        ts: DateTime<FixedOffset>,
    ) -> Group {
        let mut group = Group::default();
        for Waiting { draft, accepted } in waiting {
            let line = Line::Event(Box::new(draft.accept(self.next, ts)));
            if let Err(error) = line.write(&mut group.bytes) {
                let _ = accepted.send(Err(AppendError::Group(error.to_string().into())));
                continue;
            }
            if let Line::Event(event) = line {
                group.events.push((event.into(), accepted));
                self.next += 1;
            }
        }
        for note in &notes {
            let line = match note {
                Note::Receipt(receipt) => Line::receipt(receipt.clone(), self.next, ts),
                Note::Outcome(outcome) => Line::outcome(outcome.clone(), self.next, ts),
            };
            match line.write(&mut group.bytes) {
                Ok(()) => self.next += 1,
                Err(error) => {
                    tracing::error!(target: "orch::journal", "cannot write a note: {error}");
                }
            }
        }
        group.notes = notes;
        group
    }
}

/// The file of the present day.
struct Files {
    dir: PathBuf,
    open: Option<(NaiveDate, PathBuf, File)>,
    newest: Option<NaiveDate>,
    /// A file that may hold a part of a group that failed, and where that begins: cut before anything else is written.
    spoiled: Option<(PathBuf, u64)>,
}

impl Files {
    /// Writes and syncs a group, or leaves the file as it was.
    fn write(&mut self, day: NaiveDate, bytes: &[u8]) -> Result<(), AppendError> {
        // Under a clock that went back, the newest file goes on: the order of files is the order of numbers.
        let day = day.max(self.newest.unwrap_or(day));
        self.newest = Some(day);
        if let Some((path, length)) = &self.spoiled {
            let cut = OpenOptions::new()
                .write(true)
                .open(path)
                .and_then(|file| file.set_len(*length));
            cut.map_err(|source| AppendError::Io {
                what: "cut a half-written group off",
                path: path.clone(),
                source,
            })?;
            self.spoiled = None;
        }
        if self.open.as_ref().is_none_or(|(open, ..)| *open != day) {
            let path = files::path_of(&self.dir, day);
            let file = OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o600)
                .open(&path)
                .map_err(|source| AppendError::Io {
                    what: "open",
                    path: path.clone(),
                    source,
                })?;
            // The name of a new file is as durable as what stands in it.
            if let Ok(directory) = File::open(&self.dir) {
                let _ = directory.sync_all();
            }
            self.open = Some((day, path, file));
        }
        let Some((_, path, file)) = &mut self.open else {
            return Err(AppendError::Closed);
        };
        let failed = |what, source| AppendError::Io {
            what,
            path: path.clone(),
            source,
        };
        let before = file
            .seek(SeekFrom::End(0))
            .map_err(|e| failed("find the end of", e))?;
        let result = file
            .write_all(bytes)
            .map_err(|e| failed("append to", e))
            .and_then(|()| file.sync_data().map_err(|e| failed("sync", e)));
        if result.is_err() {
            // A part of the group may stand there: lines must not.
            if file.set_len(before).is_err() {
                self.spoiled = Some((path.clone(), before));
            }
            self.open = None;
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Received, Verdict};

    fn lines(dir: &Path) -> Vec<Line> {
        let mut lines = Vec::new();
        let each = |_: &files::Place, line: &[u8]| match Received::parse(line) {
            Ok(Received::Line(line)) => lines.push(line),
            other => panic!("{other:?}"),
        };
        files::scan(dir, None, each, |_, _| panic!("torn")).unwrap();
        lines
    }

    #[tokio::test]
    async fn numbers_have_no_gaps_over_runs_and_critical_goes_first() {
        let dir = tempfile::tempdir().unwrap();
        for run in 0..2u64 {
            let (committed, mut events) = mpsc::channel(64);
            let (journal, recovered, task) = open(dir.path(), committed).unwrap();
            assert_eq!(recovered.last_seq, run * 8);
            let mut waiting = Vec::new();
            for n in 0..6 {
                let kind = if n == 5 {
                    "system_failure"
                } else {
                    "task_completed"
                };
                waiting.push(
                    journal
                        .submit(Draft::new(kind, "t", n.to_string()))
                        .await
                        .unwrap(),
                );
            }
            journal.outcome(Outcome {
                of: 1,
                result: Verdict::Delivered,
                reason: String::new(),
                n: None,
            });
            journal.outcome(Outcome {
                of: 2,
                result: Verdict::Delivered,
                reason: String::new(),
                n: None,
            });
            drop(journal);
            task.await.unwrap();
            assert_eq!(events.recv().await.unwrap().kind, "system_failure");
            for receiver in waiting {
                receiver.await.unwrap().unwrap();
            }
        }
        let numbers: Vec<u64> = lines(dir.path()).iter().map(Line::seq).collect();
        assert_eq!(numbers, (1..=16).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_torn_tail_is_copied_aside_and_cut() {
        let dir = tempfile::tempdir().unwrap();
        let (committed, _events) = mpsc::channel(64);
        let (journal, _, task) = open(dir.path(), committed.clone()).unwrap();
        journal
            .append(Draft::new("task_completed", "t", "whole"))
            .await
            .unwrap();
        drop(journal);
        task.await.unwrap();
        let path = files::days(dir.path()).unwrap().remove(0).1;
        let mut torn = OpenOptions::new().append(true).open(&path).unwrap();
        torn.write_all(b"{\"v\":1,\"seq\":2,\"ty").unwrap();

        let (journal, recovered, task) = open(dir.path(), committed).unwrap();
        let repair = recovered.repair.unwrap();
        assert_eq!(
            std::fs::read(&repair.copy).unwrap(),
            b"{\"v\":1,\"seq\":2,\"ty"
        );
        assert_eq!(recovered.unresolved.len(), 1);
        assert_eq!(
            journal
                .append(Draft::new("task_completed", "t", "next"))
                .await
                .unwrap(),
            2
        );
        drop(journal);
        task.await.unwrap();
        assert_eq!(lines(dir.path()).len(), 2);
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_not_accepted_and_costs_no_number() {
        let dir = tempfile::tempdir().unwrap();
        let (committed, _events) = mpsc::channel(64);
        let day = Local::now().date_naive();
        let in_the_way = files::path_of(dir.path(), day);
        let (journal, _, _task) = open(dir.path(), committed).unwrap();
        std::fs::create_dir(&in_the_way).unwrap();
        let refused = journal.append(Draft::new("task_completed", "t", "x")).await;
        assert!(matches!(refused, Err(AppendError::Group(_))), "{refused:?}");
        std::fs::remove_dir(&in_the_way).unwrap();
        assert_eq!(
            journal
                .append(Draft::new("task_completed", "t", "x"))
                .await
                .unwrap(),
            1
        );
    }

    #[tokio::test]
    async fn what_orch_itself_has_to_say_waits_for_the_disk_and_keeps_nobody_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let (committed, _events) = mpsc::channel(64);
        let in_the_way = files::path_of(dir.path(), Local::now().date_naive());
        let (journal, _, task) = open(dir.path(), committed).unwrap();
        std::fs::create_dir(&in_the_way).unwrap();
        journal.outcome(Outcome {
            of: 1,
            result: Verdict::Cleared,
            reason: String::new(),
            n: None,
        });
        for _ in 0..3 {
            let refused = journal.append(Draft::new("task_completed", "t", "x")).await;
            assert!(matches!(refused, Err(AppendError::Group(_))), "{refused:?}");
        }
        std::fs::remove_dir(&in_the_way).unwrap();
        assert!(
            journal
                .append(Draft::new("task_completed", "t", "x"))
                .await
                .is_ok()
        );
        drop(journal);
        task.await.unwrap();
        let kinds: Vec<bool> = lines(dir.path())
            .iter()
            .map(|line| matches!(line, Line::Outcome(_)))
            .collect();
        assert_eq!(kinds.iter().filter(|outcome| **outcome).count(), 1);
        assert_eq!(kinds.len(), 2);
    }
}
