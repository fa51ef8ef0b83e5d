//! Runs of a ledger over a disk that fails at the n-th call, for every n: what was acknowledged is there, once and in
//! order, whatever the disk did; and what somebody does to the file of the day is noticed, mended and recorded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use chrono::{DateTime, FixedOffset};
use rustix::io::Errno;
use tempfile::TempDir;
use tokio::sync::oneshot::{self, error::TryRecvError};

use super::disk::faulty::{Faulty, Strikes};
use super::disk::{Disk, Real};
use super::error::AppendError;
use super::ledger::{Health, Ledger};
use super::queue::{MOST_EVENTS, Waiting};
use super::{files, repair, verify};
use crate::event::{Body, Draft, Event, Line, Outcome, Received, Severity, Verdict};

/// Events of a run.
const EVENTS: usize = 240;

/// A ledger in a directory, with a clock of its own and producers that wait for answers.
struct Run {
    dir: TempDir,
    ledger: Ledger,
    now: DateTime<FixedOffset>,
    instant: Instant,
    /// Handed over and not answered yet, by their messages.
    waiting: Vec<(String, oneshot::Receiver<Result<u64, AppendError>>)>,
    accepted: BTreeMap<u64, String>,
    refused: usize,
    handed: usize,
    ended: bool,
    /// The journal's own events, by type.
    own: Vec<Event>,
}

impl Run {
    fn on(disk: Arc<dyn Disk>) -> Self {
        // In memory where there is such a place: thousands of runs need no real disk.
        let shm = Path::new("/dev/shm");
        let dir = tempfile::tempdir_in(shm)
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        let ledger = Ledger::new(dir.path(), disk, 0, None);
        Self {
            ledger,
            dir,
            now: "2026-11-22T23:00:00+01:00".parse().unwrap(),
            instant: Instant::now(),
            waiting: Vec::new(),
            accepted: BTreeMap::new(),
            refused: 0,
            handed: 0,
            ended: false,
            own: Vec::new(),
        }
    }

    fn hand_over(&mut self, kind: &str) {
        let message = format!("event {}", self.handed);
        self.handed += 1;
        let draft = Draft::new(kind, "t", message.clone());
        let (accepted, receiver) = oneshot::channel();
        self.waiting.push((message, receiver));
        let body = Body::event(&draft).unwrap();
        let waiting = Waiting {
            draft,
            body,
            accepted: Some(accepted),
        };
        self.ledger.take(waiting, self.now);
    }

    /// A moment later: a step if one is due, its answers, and an outcome for each event.
    fn go_on(&mut self) {
        self.pass(Duration::from_millis(50));
    }

    fn pass(&mut self, time: Duration) {
        self.instant += time;
        self.now += time;
        let due = self.ledger.due(self.instant);
        if !self.ended && due.is_some_and(|due| due <= self.instant) {
            self.step();
        }
        let mut open = Vec::new();
        for (message, mut receiver) in self.waiting.drain(..) {
            match receiver.try_recv() {
                Ok(Ok(seq)) => assert!(self.accepted.insert(seq, message).is_none()),
                Ok(Err(_)) => self.refused += 1,
                Err(TryRecvError::Empty) => open.push((message, receiver)),
                Err(TryRecvError::Closed) => panic!("{message} got no answer"),
            }
        }
        self.waiting = open;
    }

    fn step(&mut self) {
        let step = self.ledger.step(self.now, self.instant);
        self.ended = step.end.is_some();
        for (event, accepted) in step.accepted {
            let outcome = Outcome {
                of: event.seq,
                result: Verdict::BelowThreshold,
                reason: String::new(),
                n: None,
            };
            self.ledger.note(Body::outcome(&outcome).unwrap());
            match accepted {
                Some(accepted) => accepted.send(Ok(event.seq)).unwrap(),
                None => self.own.push((*event).clone()),
            }
        }
    }

    /// Hands over a day's work, over midnight.
    fn work(&mut self) {
        let mut group = 0;
        while self.handed < EVENTS && !self.ended {
            if self.handed >= EVENTS / 2 {
                self.now = self.now.max("2026-11-23T00:30:00+01:00".parse().unwrap());
            }
            group = group % 11 + 1;
            for n in 0..group {
                self.hand_over(if n % 5 == 4 { "system_failure" } else { "bell" });
            }
            self.go_on();
        }
    }

    /// Goes on until nothing waits any more.
    fn settle(&mut self) {
        for _ in 0..2_000 {
            if self.ended || self.ledger.due(self.instant).is_none() {
                return;
            }
            self.go_on();
        }
        panic!("it does not settle: {:?}", self.ledger.health());
    }

    fn own(&self, kind: &str) -> Vec<&Event> {
        self.own.iter().filter(|event| event.kind == kind).collect()
    }

    /// Every acknowledged event stands there once, with its number; numbers have no gap; every line is whole.
    fn check(&self, context: &str) {
        let mut found = BTreeMap::new();
        for line in lines(self.dir.path(), context) {
            if let Line::Event(event) = line
                && event.source == "t"
            {
                assert!(
                    found.insert(event.seq, event.message).is_none(),
                    "{context}"
                );
            }
        }
        for (seq, message) in &self.accepted {
            assert_eq!(found.get(seq), Some(message), "{context}: seq {seq}");
        }
        let report = verify(self.dir.path(), !self.waiting.is_empty() || self.ended).unwrap();
        assert_eq!(report.faults, Vec::<String>::new(), "{context}");
        if !self.ended {
            assert_eq!(
                found.len(),
                self.accepted.len(),
                "{context}: more than was acknowledged"
            );
            assert_eq!((report.pending, report.first_seq), (0, 1), "{context}");
        }
        for entry in std::fs::read_dir(self.dir.path()).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(!name.ends_with(".tmp"), "{context}: {name} is left");
        }
    }

    fn today(&self) -> PathBuf {
        files::path_of(self.dir.path(), self.now.date_naive())
    }
}

fn lines(dir: &Path, context: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let each = |place: &files::Place, line: &[u8]| match Received::parse(line) {
        Ok(Received::Line(line)) => lines.push(line),
        other => panic!("{context}: {place}: {other:?}"),
    };
    files::scan(dir, None, each, |place, _| {
        panic!("{context}: {place}: torn")
    })
    .unwrap();
    lines
}

/// How many calls of a kind a run makes that nothing hinders.
fn calls(strikes: Strikes) -> usize {
    let disk = Arc::new(Faulty::sound(strikes));
    let mut run = Run::on(disk.clone());
    run.work();
    run.settle();
    run.check("a sound disk");
    assert_eq!(run.accepted.len(), run.handed);
    disk.calls.load(SeqCst)
}

/// A run whose disk fails at the n-th call and, where that lasts, is mended when all was handed over.
fn run_with(strikes: Strikes, at: usize, forever: bool, error: Errno) -> (Run, String) {
    let context = format!("{strikes:?}, call {at}, forever {forever}, {error:?}");
    let disk = Arc::new(Faulty::new(strikes, at, forever, error));
    let mut run = Run::on(disk.clone());
    run.work();
    if forever {
        // Long enough for what waits to be tried again and again.
        (0..80).for_each(|_| run.go_on());
        disk.mended.store(true, SeqCst);
    }
    run.settle();
    assert!(disk.fails.load(SeqCst) > 0, "{context}: nothing failed");
    (run, context)
}

#[test]
fn f04_wherever_the_disk_is_full_all_that_was_handed_over_is_accepted_in_the_end() {
    for error in [Errno::NOSPC, Errno::DQUOT] {
        for forever in [false, true] {
            for at in 0..calls(Strikes::Growth) {
                let (run, context) = run_with(Strikes::Growth, at, forever, error);
                run.check(&context);
                assert_eq!(run.accepted.len(), run.handed, "{context}");
                // A reserve that finds no room is no news.
                assert!(run.own("disk_full").len() <= 1, "{context}");
                assert!(run.own("gap").is_empty(), "{context}");
                if at > 1 && forever {
                    assert_eq!(run.own("disk_full").len(), 1, "{context}");
                }
            }
        }
    }
}

#[test]
fn f05_full_at_midnight_the_old_day_stays_whole_and_the_new_one_is_begun_later() {
    let disk = Arc::new(Faulty::new(Strikes::Growth, 5, true, Errno::NOSPC));
    disk.mended.store(true, SeqCst);
    let mut run = Run::on(disk.clone());
    for _ in 0..5 {
        run.hand_over("bell");
        run.go_on();
    }
    run.settle();
    let yesterday = run.today();
    let whole = std::fs::read(&yesterday).unwrap();
    // An idle orchestrator begins the new day with its first line.
    run.now = "2026-11-23T07:00:00+01:00".parse().unwrap();
    run.go_on();
    assert!(!run.today().exists());
    disk.mended.store(false, SeqCst);
    run.hand_over("bell");
    (0..50).for_each(|_| run.go_on());
    assert_eq!(
        (run.waiting.len(), std::fs::read(&yesterday).unwrap()),
        (1, whole.clone())
    );
    disk.mended.store(true, SeqCst);
    run.settle();
    assert_eq!(std::fs::read(&yesterday).unwrap(), whole);
    assert_eq!(lines(run.dir.path(), "after").len(), 16);
    assert!(run.today().exists());
    // Under a clock that goes back, the newest day goes on.
    run.now = "2026-11-20T07:00:00+01:00".parse().unwrap();
    run.hand_over("bell");
    run.settle();
    assert!(!run.today().exists());
    run.check("a full disk at midnight");
}

#[test]
fn f04_a_full_disk_is_said_at_once_in_place_of_the_reserve_and_said_once() {
    let disk = Arc::new(Faulty::new(Strikes::Growth, 8, true, Errno::NOSPC));
    let mut run = Run::on(disk.clone());
    while disk.fails.load(SeqCst) == 0 {
        run.hand_over("bell");
        run.go_on();
    }
    let reserve = run.dir.path().join(".reserve");
    assert!(!reserve.exists());
    // Others take and leave room: it works for a while, and does not again.
    for _ in 0..20 {
        disk.mended.store(true, SeqCst);
        for _ in 0..100 {
            run.hand_over("bell");
            run.go_on();
        }
        disk.mended.store(false, SeqCst);
        for _ in 0..100 {
            run.hand_over("bell");
            run.go_on();
        }
        assert!(!run.waiting.is_empty());
    }
    disk.mended.store(true, SeqCst);
    run.settle();
    assert!(reserve.exists());
    assert_eq!(run.own("disk_full").len(), 1);
    assert_eq!(run.own("disk_full")[0].severity, Severity::Critical);
    assert_eq!(run.accepted.len(), run.handed);
    assert_eq!(
        run.own("disk_freed").len(),
        1,
        "with nothing to write too, and not for each time that it worked"
    );
    assert_eq!(run.ledger.due(run.instant), None);
    // Once it has worked for a minute, the next time is news.
    disk.mended.store(false, SeqCst);
    run.hand_over("bell");
    run.go_on();
    disk.mended.store(true, SeqCst);
    run.settle();
    assert_eq!(
        (run.own("disk_full").len(), run.own("disk_freed").len()),
        (2, 2)
    );
    run.check("a disk that fills again and again");
}

#[test]
fn f04_what_cannot_wait_is_refused_counted_and_stated_as_a_gap() {
    let disk = Arc::new(Faulty::new(Strikes::Growth, 4, true, Errno::NOSPC));
    let mut run = Run::on(disk.clone());
    while disk.fails.load(SeqCst) == 0 {
        run.hand_over("bell");
        run.go_on();
    }
    let before = run.handed;
    for _ in 0..MOST_EVENTS + 100 {
        run.hand_over("bell");
    }
    run.hand_over("system_failure");
    run.go_on();
    let health = run.ledger.health();
    assert_eq!(
        (health.spilled, health.refused as usize),
        (MOST_EVENTS, run.refused)
    );
    assert!((101..=110).contains(&run.refused), "{}", run.refused);
    assert!(
        health
            .failing
            .is_some_and(|why| why.contains("No space left"))
    );
    disk.mended.store(true, SeqCst);
    run.settle();
    let gaps = run.own("gap");
    assert_eq!(gaps.len(), 1);
    assert_eq!(gaps[0].data.as_ref().unwrap()["refused"], run.refused);
    assert_eq!(
        run.ledger.health(),
        Health {
            failing: None,
            spilled: 0,
            ..run.ledger.health()
        }
    );
    assert_eq!(run.accepted.len() + run.refused, run.handed);
    // The critical one found room and went first.
    let critical = format!("event {}", run.handed - 1);
    let first = run
        .accepted
        .iter()
        .find(|(_, message)| **message == critical)
        .unwrap()
        .0;
    assert!(*first < before as u64 * 2 + 20, "{first}");
    run.check("a spill that overflows");
}

#[test]
fn f06_a_sync_that_fails_is_never_merely_tried_again() {
    for at in 0..calls(Strikes::Syncs) {
        let (run, context) = run_with(Strikes::Syncs, at, false, Errno::IO);
        run.check(&context);
        assert!(!run.ended, "{context}");
        assert_eq!(run.accepted.len(), run.handed, "{context}");
        let repaired = run.own("log_repaired");
        assert_eq!(repaired.len(), 1, "{context}");
        assert_eq!(
            repaired[0].data.as_ref().unwrap()["what"],
            "unsynced",
            "{context}"
        );

        let (run, context) = run_with(Strikes::Syncs, at, true, Errno::IO);
        assert!(run.ended, "{context}");
        run.check(&context);
    }
}

#[test]
fn f06_whatever_fails_what_was_acknowledged_is_there() {
    let calls = calls(Strikes::All);
    assert!(calls > 80, "{calls}");
    for error in [Errno::IO, Errno::NOSPC, Errno::ROFS] {
        for forever in [false, true] {
            for at in 0..calls {
                let (run, context) = run_with(Strikes::All, at, forever, error);
                if run.ended {
                    // The next run starts from what is there.
                    repair::examine(&Real, run.dir.path()).unwrap();
                }
                run.check(&context);
                assert_eq!(run.waiting.is_empty(), !run.ended, "{context}");
                assert!(run.own("disk_full").len() <= 1, "{context}");
                if error == Errno::NOSPC {
                    assert_eq!(run.refused, 0, "{context}");
                }
                if !run.ended && run.refused > 0 {
                    let mut stated = 0;
                    for gap in run.own("gap") {
                        stated += gap.data.as_ref().unwrap()["refused"].as_u64().unwrap();
                    }
                    assert_eq!(stated, run.refused as u64, "{context}");
                }
            }
        }
    }
}

/// What somebody does to the file of the day, and what must be found of it.
struct Deed {
    what: &'static str,
    does: fn(&Path),
    /// Whether lines are gone for good.
    loses: bool,
}

const DEEDS: &[Deed] = &[
    Deed {
        what: "removed",
        does: |path| std::fs::remove_file(path).unwrap(),
        loses: false,
    },
    Deed {
        what: "removed",
        does: |path| std::fs::remove_dir_all(path.parent().unwrap()).unwrap(),
        loses: false,
    },
    Deed {
        what: "renamed",
        does: |path| std::fs::rename(path, path.with_extension("old")).unwrap(),
        loses: true,
    },
    Deed {
        what: "replaced",
        does: |path| {
            // As an editor does, with what it read a while ago.
            let text = std::fs::read_to_string(path).unwrap();
            let half: Vec<&str> = text.lines().take(10).collect();
            let new = path.with_extension("new");
            std::fs::write(&new, half.join("\n") + "\n").unwrap();
            std::fs::rename(new, path).unwrap();
        },
        loses: false,
    },
    Deed {
        what: "truncated",
        does: |path| std::fs::write(path, "").unwrap(),
        loses: true,
    },
    Deed {
        what: "truncated",
        does: |path| {
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_len(file.metadata().unwrap().len() / 2 + 7)
                .unwrap();
        },
        loses: true,
    },
    Deed {
        what: "added to",
        does: |path| {
            let mut text = std::fs::read(path).unwrap();
            text.extend_from_slice(b"half a li");
            std::fs::write(path, text).unwrap();
        },
        loses: false,
    },
];

#[test]
fn f08_what_is_done_to_the_file_of_the_day_is_mended_and_recorded() {
    for (at, deed) in DEEDS.iter().enumerate() {
        let context = format!("deed {at}: {}", deed.what);
        let mut run = Run::on(Arc::new(Real));
        for _ in 0..20 {
            run.hand_over("bell");
            run.go_on();
        }
        run.settle();
        let last = run.accepted.len() as u64 * 2;
        (deed.does)(&run.today());
        for _ in 0..20 {
            run.hand_over("bell");
            run.go_on();
        }
        run.settle();
        let repaired = run.own("log_repaired");
        assert_eq!(repaired.len(), 1, "{context}");
        let data = repaired[0].data.as_ref().unwrap();
        assert_eq!(data["what"], deed.what, "{context}");
        // Half lines stay nowhere.
        let found = lines(run.dir.path(), &context);
        let seqs: Vec<u64> = found.iter().map(Line::seq).collect();
        let report = verify(run.dir.path(), false).unwrap();
        if deed.loses {
            assert_eq!(data["lost"]["last_seq"], last, "{context}");
            let first = data["lost"]["first_seq"].as_u64().unwrap();
            let kept: Vec<u64> = (1..first).chain(last + 1..=seqs[seqs.len() - 1]).collect();
            assert_eq!(seqs, kept, "{context}");
            assert!(!report.faults.is_empty(), "{context}");
        } else {
            run.check(&context);
            assert!(data["lost"].is_null(), "{context}");
        }
    }
}

#[test]
fn f08_a_file_that_is_taken_away_from_a_full_disk_makes_room() {
    // Wherever there is no room, above all for what is brought back.
    // Opening, then what is brought back does not fit.
    for at in 0..60 {
        let disk = Arc::new(Faulty::new(Strikes::Growth, at, false, Errno::NOSPC));
        let mut run = Run::on(disk.clone());
        let mut taken = false;
        while run.handed < 40 {
            run.hand_over("bell");
            run.go_on();
            if run.handed == 20 {
                run.settle();
                std::fs::remove_file(run.today()).unwrap();
                taken = true;
            }
        }
        run.settle();
        assert!(taken);
        let repaired = run.own("log_repaired");
        let lost = repaired
            .iter()
            .any(|event| !event.data.as_ref().unwrap()["lost"].is_null());
        let report = verify(run.dir.path(), false).unwrap();
        assert_eq!(
            report.faults.is_empty(),
            !lost,
            "call {at}: {:?}",
            report.faults
        );
    }
}
