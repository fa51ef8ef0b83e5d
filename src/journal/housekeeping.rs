//! Keeps the directory small: closed days are compressed, the oldest are deleted, a checkpoint is written. On a thread
//! of its own that yields to everybody. A day is there whole at every instant, in one form or the other; the day that
//! is written is never touched.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::NaiveDate;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::disk::Disk;
use super::error::AppendError;
use super::files::{self, Day};
use super::numbers;
use super::pack::{self, Undone, failed};
use super::queue::Accepted;
use super::survey::{self, Survey};
use crate::event::Draft;

/// What is kept, and how. Zero means no limit, or never.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// Days that are kept; older ones are deleted.
    pub days: u32,
    /// Bytes on disk that all days may have; the oldest are deleted until it holds.
    pub max_bytes: u64,
    /// Days after which a closed day is compressed.
    pub compress_after_days: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            days: 90,
            max_bytes: 2048 << 20,
            compress_after_days: 7,
        }
    }
}

/// What is to be recorded before it is done; the answer comes once it is on disk.
pub(super) type Record = (Draft, Accepted);

/// A round of it that goes on.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) records: mpsc::UnboundedReceiver<Record>,
    stop: Arc<AtomicBool>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// One round.
pub(super) struct Round {
    pub(super) dir: PathBuf,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) retention: Retention,
    pub(super) today: NaiveDate,
    /// The day that is written, and up to where it is on the disk.
    pub(super) end: Option<(NaiveDate, u64)>,
}

/// Starts a round on a thread of its own, which neither a runtime nor the end of the process waits for: it may be
/// killed at any point.
pub(super) fn start(round: Round) -> io::Result<Keeper> {
    let (sender, records) = mpsc::unbounded_channel();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    std::thread::Builder::new()
        .name("housekeeping".into())
        .spawn(move || {
            // This thread alone.
            let _ = rustix::process::setpriority_process(None, 19);
            let record = |draft: Draft| {
                let (accepted, answer) = oneshot::channel::<Result<u64, AppendError>>();
                sender.send((draft, accepted)).is_ok()
                    && matches!(answer.blocking_recv(), Ok(Ok(_)))
            };
            let stopped = || stopped.load(Ordering::Relaxed);
            match round.run(&record, &stopped) {
                Ok(()) => {}
                Err(_) if stopped() => {}
                Err(error) => tracing::error!(target: "orch::journal", "{error}"),
            }
        })?;
    Ok(Keeper { records, stop })
}

/// Removes what a run that was killed left half-done.
pub(super) fn clear(disk: &dyn Disk, dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let day = name.and_then(|name| name.strip_suffix(".tmp"));
        if day.is_some_and(|day| files::named(day).is_some())
            && let Err(error) = disk.remove(&path)
        {
            tracing::warn!(target: "orch::journal", "cannot remove {}: {error}", path.display());
        }
    }
}

impl Round {
    /// All of it; what fails for one day does not keep the others from being looked after.
    pub(super) fn run(
        &self,
        record: &dyn Fn(Draft) -> bool,
        stopped: &dyn Fn() -> bool,
    ) -> Result<(), Undone> {
        let mut result = self.delete(record, stopped);
        let keep = |result: &mut Result<(), Undone>, next: Result<(), Undone>| {
            if result.is_ok() {
                *result = next;
            }
        };
        for day in self.closed()? {
            if stopped() {
                return Err(Undone::Stopped);
            }
            if !day.packed && self.is_older(day.day, self.retention.compress_after_days) {
                keep(
                    &mut result,
                    pack::pack(&*self.disk, &self.dir, &day, stopped),
                );
            }
        }
        keep(&mut result, self.checkpoint());
        result
    }

    /// Whether a day is more than so many days back; never, for zero.
    fn is_older(&self, day: NaiveDate, days: u32) -> bool {
        days > 0 && (self.today - day).num_days() > i64::from(days)
    }

    /// All days but the one that is written, or would be.
    fn closed(&self) -> Result<Vec<Day>, Undone> {
        let mut days = files::days(&self.dir)?;
        days.pop();
        days.retain(|day| self.end.is_none_or(|(open, _)| day.day < open));
        Ok(days)
    }

    fn delete(
        &self,
        record: &dyn Fn(Draft) -> bool,
        stopped: &dyn Fn() -> bool,
    ) -> Result<(), Undone> {
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |there| there.len());
        let all = files::days(&self.dir)?;
        let mut total: u64 = all.iter().map(|day| size(&day.path)).sum();
        for day in self.closed()? {
            let bytes = size(&day.path);
            let large = self.retention.max_bytes > 0 && total > self.retention.max_bytes;
            // Oldest first, and none that is younger than one that stays.
            if !large && !self.is_older(day.day, self.retention.days) {
                return Ok(());
            }
            if stopped() {
                return Err(Undone::Stopped);
            }
            let draft = self.deletion(&day, bytes)?;
            // First the record, on disk. Where there is no room for it, there is no deletion without one either.
            if !record(draft) {
                return Ok(());
            }
            for path in [
                files::path_of(&self.dir, day.day),
                files::packed_path_of(&self.dir, day.day),
            ] {
                match self.disk.remove(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(failed("delete", &path)(error));
                    }
                    _ => {}
                }
            }
            total -= bytes;
        }
        Ok(())
    }

    fn deletion(&self, day: &Day, bytes: u64) -> Result<Draft, Undone> {
        let mut numbers: Option<(u64, u64)> = None;
        let each = |_: &files::Place, line: &[u8]| {
            if let Some(head) = numbers::head(line) {
                let first = numbers.map_or(head.seq(), |(first, _)| first);
                numbers = Some((first, head.seq()));
            }
        };
        match files::scan_day(&self.dir, day, 0, each, |_, _| {}) {
            Err(error) if !day.packed => return Err(error.into()),
            _ => {}
        }
        let name = day
            .path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let data = json!({
            "op": "retention",
            "file": name,
            "bytes": bytes,
            "first_seq": numbers.map(|(first, _)| first),
            "last_seq": numbers.map(|(_, last)| last),
        });
        let text = format!("{name} is deleted: {bytes} bytes beyond what retention keeps");
        Ok(Draft::new("status_update", "journal", text).with_data(data))
    }

    /// Reads on from the last checkpoint and writes the next.
    fn checkpoint(&self) -> Result<(), Undone> {
        let days = files::days(&self.dir)?;
        let begun = survey::load(&self.dir, &days).unwrap_or_default();
        let before = begun.at;
        let survey = Survey::go_on(begun, &self.dir, &days, self.end)?;
        if survey.at == before {
            return Ok(());
        }
        survey::save(&*self.disk, &self.dir, &survey)
            .map_err(failed("write the checkpoint in", &self.dir))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::sync::atomic::Ordering::SeqCst;

    use rustix::io::Errno;

    use super::super::disk::Real;
    use super::super::disk::faulty::{Faulty, Strikes};
    use super::super::verify;
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    /// A journal of some days, all whole, the last on 2026-11-22.
    fn journal(days: i64) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let mut seq = 0;
        for back in (0..days).rev() {
            let mut text = String::new();
            for _ in 0..50 {
                seq += 2;
                text += &format!(
                    "{{\"v\":1,\"seq\":{},\"ts\":\"2026-11-20T13:00:00+01:00\",\"type\":\"x\",\"severity\":\"low\",\"source\":\"s\",\"message\":\"m\"}}\n\
                     {{\"v\":1,\"seq\":{seq},\"ts\":\"2026-11-20T13:00:00+01:00\",\"type\":\"outcome\",\"of\":{},\"result\":\"delivered\",\"reason\":\"\"}}\n",
                    seq - 1,
                    seq - 1
                );
            }
            let at = day("2026-11-22") - chrono::Duration::days(back);
            std::fs::write(files::path_of(dir.path(), at), text).unwrap();
        }
        dir
    }

    fn round(dir: &Path, disk: Arc<dyn Disk>, retention: Retention) -> Round {
        Round {
            dir: dir.to_owned(),
            disk,
            retention,
            today: day("2026-11-22"),
            end: None,
        }
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort();
        names
    }

    fn whole(dir: &Path, lines: u64, context: &str) {
        let report = verify(dir, false).unwrap();
        assert_eq!((report.lines, report.faults), (lines, vec![]), "{context}");
    }

    #[test]
    fn closed_days_are_compressed_and_read_as_before() {
        let dir = journal(12);
        std::fs::write(dir.path().join("2026-11-01.jsonl.bak"), "mine").unwrap();
        round(dir.path(), Arc::new(Real), Retention::default())
            .run(&|_| panic!("a record"), &|| false)
            .unwrap();
        let names = names(dir.path());
        let packed = names.iter().filter(|name| name.ends_with(".zst")).count();
        assert_eq!((names.len(), packed), (13, 4), "{names:?}");
        assert!(
            names.contains(&"2026-11-14.jsonl.zst".to_owned()),
            "{names:?}"
        );
        assert!(names.contains(&"2026-11-15.jsonl".to_owned()), "{names:?}");
        whole(dir.path(), 1200, "compressed");
        assert!(survey::load(dir.path(), &files::days(dir.path()).unwrap()).is_some());
        let mut lines = 0;
        super::super::follow(dir.path(), 150, false, |_| {
            lines += 1;
            true
        })
        .unwrap();
        assert_eq!(lines, 1050);
    }

    #[test]
    fn f03_killed_at_any_step_of_compression_a_day_is_there_whole() {
        let never = Arc::new(Faulty::sound(Strikes::All));
        let dir = journal(10);
        round(dir.path(), never.clone(), Retention::default())
            .run(&|_| true, &|| false)
            .unwrap();
        let calls = never.calls.load(SeqCst);
        assert!(calls > 12, "{calls}");
        for error in [Errno::IO, Errno::NOSPC] {
            for forever in [true, false] {
                for at in 0..calls {
                    let context = format!("call {at}, forever {forever}, {error:?}");
                    let dir = journal(10);
                    let disk = Arc::new(Faulty::new(Strikes::All, at, forever, error));
                    let killed = round(dir.path(), disk.clone(), Retention::default())
                        .run(&|_| true, &|| false);
                    assert_eq!(
                        disk.fails.load(SeqCst) > 0,
                        killed.is_err() || at + 1 >= calls,
                        "{context}"
                    );
                    whole(dir.path(), 1000, &context);
                    // The next run starts.
                    clear(&Real, dir.path());
                    round(dir.path(), Arc::new(Real), Retention::default())
                        .run(&|_| true, &|| false)
                        .unwrap();
                    whole(dir.path(), 1000, &context);
                    let names = names(dir.path());
                    assert_eq!(names.len(), 10, "{context}: {names:?}");
                    assert!(
                        names.iter().all(|name| !name.ends_with(".tmp")),
                        "{context}"
                    );
                }
            }
        }
    }

    #[test]
    fn of_both_forms_the_plain_one_counts() {
        let dir = journal(10);
        let packed = files::packed_path_of(dir.path(), day("2026-11-13"));
        std::fs::write(&packed, "no zstd at all").unwrap();
        whole(dir.path(), 1000, "both");
        round(dir.path(), Arc::new(Real), Retention::default())
            .run(&|_| true, &|| false)
            .unwrap();
        whole(dir.path(), 1000, "made anew");
        assert!(!files::path_of(dir.path(), day("2026-11-13")).exists());
        // A compressed day that is damaged is a fault, and hides no other day.
        std::fs::write(&packed, "no zstd at all").unwrap();
        let report = verify(dir.path(), false).unwrap();
        assert_eq!(report.lines, 900);
        assert!(
            report.faults[0].contains("2026-11-13.jsonl.zst"),
            "{report:?}"
        );
    }

    #[test]
    fn the_oldest_are_deleted_by_days_and_bytes_with_a_record_of_each_first() {
        let kept = |retention: Retention| {
            let dir = journal(10);
            std::fs::write(dir.path().join("2026-01-01.jsonl.mine"), "x").unwrap();
            let records = RefCell::new(BTreeMap::new());
            let record = |draft: Draft| {
                let data = draft.data.unwrap();
                let file = data["file"].as_str().unwrap().to_owned();
                assert!(
                    dir.path().join(&file).exists(),
                    "{file} went before its record"
                );
                assert_eq!(
                    (draft.kind.as_str(), &data["op"]),
                    ("status_update", &json!("retention"))
                );
                records
                    .borrow_mut()
                    .insert(file, (data["first_seq"].clone(), data["last_seq"].clone()));
                true
            };
            round(dir.path(), Arc::new(Real), retention)
                .run(&record, &|| false)
                .unwrap();
            let report = verify(dir.path(), false).unwrap();
            assert_eq!(report.faults, Vec::<String>::new());
            assert!(dir.path().join("2026-01-01.jsonl.mine").exists());
            (names(dir.path()).len() - 1, records.into_inner())
        };
        let retention = |days, max_bytes| Retention {
            days,
            max_bytes,
            compress_after_days: 0,
        };
        let (left, records) = kept(retention(3, 0));
        assert_eq!((left, records.len()), (4, 6));
        assert_eq!(records["2026-11-13.jsonl"], (json!(1), json!(100)));
        assert_eq!(kept(retention(0, 0)).0, 10);
        assert_eq!(kept(retention(90, 30_000)).0, 2);
        // Never the newest.
        assert_eq!(kept(retention(90, 1)).0, 1);
        let dir = journal(10);
        round(dir.path(), Arc::new(Real), retention(1, 1))
            .run(&|_| false, &|| false)
            .unwrap();
        assert_eq!(
            names(dir.path()).len(),
            10,
            "nothing goes without its record"
        );
    }
}
