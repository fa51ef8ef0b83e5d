//! A day file with anything in it: it is read, queried, proved and followed, and never a reason to end.
#![no_main]

use std::cell::LazyCell;

use libfuzzer_sys::fuzz_target;
use orch::journal::{Query, follow, verify};
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
    });
});
