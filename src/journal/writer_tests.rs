//! The writer on a real disk, through its handle.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use chrono::Local;
use tokio::sync::mpsc;

use super::error::AppendError;
use super::files;
use super::housekeeping::Retention;
use super::writer::{Opened, open};
use crate::event::{Draft, Line, Outcome, Received, Verdict};

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
        let Opened {
            journal,
            recovered,
            task,
            ..
        } = open(dir.path(), Retention::default(), 0, committed).unwrap();
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
async fn f08_no_number_is_given_again_when_files_were_taken_away_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let (committed, mut events) = mpsc::channel(64);
    let start = |given| {
        let opened = open(dir.path(), Retention::default(), given, committed.clone()).unwrap();
        (opened.journal, opened.task)
    };
    let (journal, task) = start(0);
    for n in 0..3 {
        let draft = Draft::new("task_completed", "t", n.to_string());
        journal.append(draft).await.unwrap();
    }
    drop(journal);
    task.await.unwrap();
    for day in files::days(dir.path()).unwrap() {
        std::fs::remove_file(day.path).unwrap();
    }
    let (journal, task) = start(3);
    let draft = Draft::new("task_completed", "t", "next");
    assert_eq!(journal.append(draft).await.unwrap(), 5);
    drop(journal);
    task.await.unwrap();
    for _ in 0..3 {
        events.recv().await.unwrap();
    }
    let record = events.recv().await.unwrap();
    assert_eq!((record.seq, record.kind.as_str()), (4, "log_repaired"));
    let report = crate::journal::verify(dir.path(), true).unwrap();
    assert!(
        report.faults.iter().any(|fault| fault.contains("1 to 3")),
        "{report:?}"
    );
}

#[tokio::test]
async fn a_torn_tail_is_copied_aside_and_cut() {
    let dir = tempfile::tempdir().unwrap();
    let (committed, _events) = mpsc::channel(64);
    let Opened { journal, task, .. } =
        open(dir.path(), Retention::default(), 0, committed.clone()).unwrap();
    journal
        .append(Draft::new("task_completed", "t", "whole"))
        .await
        .unwrap();
    drop(journal);
    task.await.unwrap();
    let path = files::days(dir.path()).unwrap().remove(0).path;
    let mut torn = OpenOptions::new().append(true).open(&path).unwrap();
    torn.write_all(b"{\"v\":1,\"seq\":2,\"ty").unwrap();

    let Opened {
        journal,
        recovered,
        task,
        ..
    } = open(dir.path(), Retention::default(), 0, committed).unwrap();
    let repair = recovered.repair.unwrap();
    assert_eq!(
        std::fs::read(repair.copy.unwrap()).unwrap(),
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
    let Opened {
        journal,
        task: _task,
        mut health,
        ..
    } = open(dir.path(), Retention::default(), 0, committed).unwrap();
    std::fs::create_dir(&in_the_way).unwrap();
    let refused = journal.append(Draft::new("task_completed", "t", "x")).await;
    assert!(matches!(refused, Err(AppendError::Group(_))), "{refused:?}");
    let failing = health.wait_for(|health| health.failing.is_some());
    let failing = tokio::time::timeout(Duration::from_secs(30), failing).await;
    assert!(failing.unwrap().unwrap().refused == 1);
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
    let Opened { journal, task, .. } =
        open(dir.path(), Retention::default(), 0, committed).unwrap();
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
    let mut kinds = Vec::new();
    for line in lines(dir.path()) {
        kinds.push(match line {
            Line::Event(event) => event.kind,
            Line::Outcome(_) => "outcome".to_owned(),
            Line::Receipt(_) => "receipt".to_owned(),
        });
    }
    assert_eq!(kinds, ["task_completed", "outcome", "gap"]);
}
