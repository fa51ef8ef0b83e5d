//! Proves a journal: no gap in the numbers, no damaged line, exactly one outcome for each event. Days that were
//! deleted by retention are not missed; lines that somebody took away are.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use serde::Serialize;

use super::files::{self, Day, Place, ReadError};
use crate::event::{Event, Line, Received};

/// What a check found.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whole lines of ours.
    pub lines: u64,
    /// Events among them.
    pub events: u64,
    /// Lines of the predecessor, which have no numbers to check.
    pub legacy: u64,
    /// First and last number.
    pub first_seq: u64,
    /// See `first_seq`.
    pub last_seq: u64,
    /// Events without an outcome that may still get one.
    pub pending: u64,
    /// Everything wrong, each with its place.
    pub faults: Vec<String>,
}

/// Reads the whole journal. `living`: a run is writing it now, so events without outcome are pending, not lost,
/// and an unfinished last line is being written.
///
/// # Errors
/// [`ReadError`] when the directory cannot be read; a file that cannot be is one of the faults.
pub fn verify(dir: &Path, living: bool) -> Result<Report, ReadError> {
    let mut check = Check::default();
    let days = files::days(dir)?;
    for (at, day) in days.iter().enumerate() {
        check.torn = None;
        check.day(dir, at, day);
        // Half a line is being written only where lines are written.
        if let Some(torn) = check.torn.take()
            && !(living && at + 1 == days.len())
        {
            check.report.faults.push(torn);
        }
    }
    Ok(check.finish(&days, living))
}

/// What is known while lines pass by.
#[derive(Default)]
struct Check {
    report: Report,
    /// Events still without an outcome: in which file, on which line, at which byte.
    open: BTreeMap<u64, (usize, u64, u64)>,
    closed: HashSet<u64>,
    /// Lines that a record says are lost, and the record.
    lost: Vec<(u64, u64, u64)>,
    torn: Option<String>,
}

impl Check {
    fn day(&mut self, dir: &Path, at: usize, day: &Day) {
        let mut torn = None;
        let read = files::scan_day(
            dir,
            day,
            0,
            |place, raw| match Received::parse(raw) {
                Ok(Received::Legacy(_)) => self.report.legacy += 1,
                Ok(Received::Line(line)) => self.line(at, place, &line),
                Err(error) => self.report.faults.push(format!("{place}: {error}")),
            },
            |place, raw| torn = Some(format!("{place}: unfinished line of {} bytes", raw.len())),
        );
        self.torn = torn;
        if let Err(error) = read {
            self.report.faults.push(error.to_string());
        }
    }

    fn line(&mut self, at: usize, place: &Place, line: &Line) {
        let report = &mut self.report;
        report.lines += 1;
        let seq = line.seq();
        if report.first_seq == 0 {
            report.first_seq = seq;
        } else {
            let last = report.last_seq;
            match seq.cmp(&(last + 1)) {
                Ordering::Equal => {}
                Ordering::Greater => report.faults.push(format!(
                    "{place}: seq {seq} follows {last}, {} missing",
                    seq - last - 1
                )),
                Ordering::Less => report.faults.push(format!(
                    "{place}: seq {seq} follows {last}: it stands there twice or out of order"
                )),
            }
        }
        report.last_seq = report.last_seq.max(seq);
        match line {
            Line::Event(event) => {
                report.events += 1;
                self.open.insert(seq, (at, place.line, place.offset));
                self.lost
                    .extend(lost(event).map(|(first, last)| (first, last, seq)));
            }
            Line::Outcome(outcome) => {
                let of = outcome.body.of;
                if self.open.remove(&of).is_some() {
                    self.closed.insert(of);
                } else if self.closed.contains(&of) {
                    let fault = format!("{place}: seq {seq} is a second outcome for seq {of}");
                    self.report.faults.push(fault);
                } else {
                    self.stray(place, seq, "an outcome", of);
                }
            }
            Line::Receipt(receipt) => {
                let of = receipt.body.of;
                if !self.open.contains_key(&of) && !self.closed.contains(&of) {
                    self.stray(place, seq, "a receipt", of);
                }
            }
        }
    }

    /// A line about an event that is not there, unless its day may have been deleted.
    fn stray(&mut self, place: &Place, seq: u64, what: &str, of: u64) {
        if of >= self.report.first_seq {
            let fault = format!("{place}: seq {seq} is {what} for seq {of}, which is no event");
            self.report.faults.push(fault);
        }
    }

    fn finish(mut self, days: &[Day], living: bool) -> Report {
        let mut report = self.report;
        // Numbers that are missing between others were found as such; those before all others were not.
        self.lost.retain(|(_, last, _)| *last < report.first_seq);
        for (first, last, record) in self.lost {
            report.faults.push(format!(
                "seq {first} to {last} are missing: the file that held them was hurt, see event {record}"
            ));
        }
        if living {
            report.pending = self.open.len() as u64;
        } else {
            for (seq, (at, line, offset)) in self.open {
                let path = days[at].path.clone();
                let place = Place { path, offset, line };
                report
                    .faults
                    .push(format!("{place}: event {seq} has no outcome"));
            }
        }
        report
    }
}

/// Which numbers a record of the journal says are lost.
fn lost(event: &Event) -> Option<(u64, u64)> {
    if event.kind != "log_repaired" {
        return None;
    }
    let lost = &event.data.as_ref()?["lost"];
    Some((lost["first_seq"].as_u64()?, lost["last_seq"].as_u64()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[&str], living: bool) -> Report {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("2026-11-22.jsonl"), lines.join("\n")).unwrap();
        verify(dir.path(), living).unwrap()
    }

    fn event(seq: u64) -> String {
        format!(
            r#"{{"v":1,"seq":{seq},"ts":"2026-11-22T13:24:52+01:00","type":"x","severity":"low","source":"s","message":"m"}}"#
        )
    }

    fn outcome(seq: u64, of: u64) -> String {
        format!(
            r#"{{"v":1,"seq":{seq},"ts":"2026-11-22T13:24:52+01:00","type":"outcome","of":{of},"result":"delivered","reason":""}}"#
        )
    }

    #[test]
    fn each_kind_of_fault_is_named_with_its_place() {
        let good = [event(1), outcome(2, 1), String::new()];
        let good: Vec<&str> = good.iter().map(String::as_str).collect();
        assert_eq!(check(&good, false).faults, Vec::<String>::new());
        for (lines, living, fault) in [
            (
                vec![event(1), outcome(3, 1), String::new()],
                false,
                "line 2 (byte 104): seq 3 follows 1, 1 missing",
            ),
            (
                vec![event(1), "{broken".into(), outcome(2, 1), String::new()],
                false,
                "line 2 (byte 104): not a journal line",
            ),
            (
                vec![event(1), String::new()],
                false,
                "event 1 has no outcome",
            ),
            (
                vec![event(1), outcome(2, 1), outcome(3, 1), String::new()],
                false,
                "seq 3 is a second outcome for seq 1",
            ),
            (
                vec![event(1), outcome(2, 1), "{\"v\":1".into()],
                false,
                "unfinished line of 6 bytes",
            ),
            (
                vec![event(1), outcome(2, 7), outcome(3, 1), String::new()],
                false,
                "seq 2 is an outcome for seq 7, which is no event",
            ),
        ] {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let faults = check(&lines, living).faults;
            assert!(
                faults.len() == 1 && faults[0].contains(fault),
                "{faults:?} {fault}"
            );
        }
        let pending = check(&[&event(1), "{\"v\":1"], true);
        assert_eq!((pending.pending, pending.faults.len()), (1, 0));
    }
}
