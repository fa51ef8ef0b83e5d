//! A day file with anything in it: it is read, queried, proved and followed, never a reason to end, and after a repair
//! the next event goes on from it.
#![no_main]

use std::cell::LazyCell;

use libfuzzer_sys::fuzz_target;
use orch::event::Draft;
use orch::journal::{self, Query, Retention, follow, verify};
use tempfile::TempDir;

thread_local! {
    static DIRECTORY: LazyCell<TempDir> = LazyCell::new(|| tempfile::tempdir().expect("a directory"));
}

fuzz_target!(|data: &[u8]| {
    DIRECTORY.with(|directory| {
        let (first, second) = data.split_at(data.len() / 2);
        for (day, bytes) in [("2026-11-21", first), ("2026-11-22", second)] {
            std::fs::write(directory.path().join(format!("{day}.jsonl")), bytes).expect("a file");
        }
        let (found, damaged) = Query::default().run(directory.path()).expect("it can be read");
        let report = verify(directory.path(), false).expect("it can be read");
        // Whoever asks for everything is told of every line that cannot be read.
        assert!(report.faults.len() as u64 >= damaged.min(1), "{damaged} {report:?}");
        assert!(found.len() as u64 <= report.events + report.legacy);
        let mut lines = 0;
        let each = |_: &[u8]| {
            lines += 1;
            true
        };
        follow(directory.path(), 0, false, each).expect("it can be read");
        assert!(lines <= data.split(|byte| *byte == b'\n').count() + 1);
        let seq = go_on(directory.path());
        let (found, _) = Query::default().run(directory.path()).expect("it can be read");
        assert!(found.iter().all(|found| found.event.seq <= seq));
        assert!(found.iter().any(|found| found.event.seq == seq && found.event.message == "next"));
    });
});

/// Opens the journal, as a start does, and appends an event.
fn go_on(directory: &std::path::Path) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (committed, mut events) = tokio::sync::mpsc::channel(16);
        let opened = journal::open(directory, Retention::default(), 0, committed).expect("it is repaired");
        let seq = opened.journal.append(Draft::new("status_update", "fuzz", "next")).await.expect("a disk");
        drop(opened.journal);
        while events.recv().await.is_some() {}
        opened.task.await.expect("it ends");
        seq
    })
}
