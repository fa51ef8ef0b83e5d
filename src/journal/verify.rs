//! Proves a journal: no gap in the numbers, no damaged line, exactly one outcome for each event.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::files::{self, Place, ReadError};
use crate::event::{Line, Received};

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
/// [`ReadError`] names what could not be read.
pub fn verify(dir: &Path, living: bool) -> Result<Report, ReadError> {
    let mut report = Report::default();
    let mut faults = Vec::new();
    let mut torn = Vec::new();
    // Events still without an outcome; outcomes already seen are remembered by absence.
    let mut open: BTreeMap<u64, Place> = BTreeMap::new();
    let mut closed = std::collections::HashSet::new();
    files::scan(
        dir,
        None,
        |place, raw| match Received::parse(raw) {
            Ok(Received::Legacy(_)) => report.legacy += 1,
            Ok(Received::Line(line)) => {
                report.lines += 1;
                let seq = line.seq();
                if report.first_seq == 0 {
                    report.first_seq = seq;
                } else if seq != report.last_seq + 1 {
                    let last = report.last_seq;
                    faults.push(match seq.cmp(&(last + 1)) {
                        std::cmp::Ordering::Greater => {
                            format!("{place}: seq {seq} follows {last}, {} missing", seq - last - 1)
                        }
                        _ => format!("{place}: seq {seq} follows {last}: it stands there twice or out of order"),
                    });
                }
                report.last_seq = report.last_seq.max(seq);
                match line {
                    Line::Event(_) => {
                        report.events += 1;
                        open.insert(seq, place.clone());
                    }
                    Line::Outcome(outcome) => {
                        let of = outcome.body.of;
                        if open.remove(&of).is_some() {
                            closed.insert(of);
                        } else if closed.contains(&of) {
                            faults.push(format!("{place}: a second outcome for seq {of}"));
                        } else if of >= report.first_seq {
                            faults.push(format!(
                                "{place}: an outcome for seq {of}, which is no event"
                            ));
                        }
                    }
                    Line::Receipt(_) => {}
                }
            }
            Err(error) => faults.push(format!("{place}: {error}")),
        },
        |place, raw| torn.push(format!("{place}: unfinished line of {} bytes", raw.len())),
    )?;
    if living {
        report.pending = open.len() as u64;
    } else {
        faults.extend(torn);
        faults.extend(
            open.iter()
                .map(|(seq, place)| format!("{place}: event {seq} has no outcome")),
        );
    }
    report.faults = faults;
    Ok(report)
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
                "a second outcome for seq 1",
            ),
            (
                vec![event(1), outcome(2, 1), "{\"v\":1".into()],
                false,
                "unfinished line of 6 bytes",
            ),
            (
                vec![event(1), outcome(2, 7), outcome(3, 1), String::new()],
                false,
                "an outcome for seq 7, which is no event",
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
