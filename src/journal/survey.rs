//! What stands in a journal, by the heads of its lines: the last number, and which events have no outcome yet. A
//! checkpoint beside the day files says it of all lines up to a place, so that a start reads only what came after; it
//! is believed only where it fits the files, and is never needed.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use super::disk::{Disk, How};
use super::files::{self, Day, ReadError};
use super::numbers::{self, Head};

/// The name of the checkpoint's file, and while it is written.
const NAME: &str = ".checkpoint";
const TEMPORARY: &str = ".checkpoint.tmp";
/// Bytes before the place of a checkpoint that must be what they were.
const WITNESS: usize = 4096;

/// See the module.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Survey {
    pub(super) last_seq: u64,
    /// Up to where lines were looked at: the day, and the offset in it.
    pub(super) at: Option<(NaiveDate, u64)>,
    /// Events without an outcome, and where they stand.
    pub(super) open: BTreeMap<u64, (NaiveDate, u64)>,
    /// Bytes of an unfinished line at that place.
    pub(super) torn: u64,
}

impl Survey {
    /// Goes on over the days that there are, to their end or to a place in the last.
    pub(super) fn go_on(
        mut self,
        dir: &Path,
        days: &[Day],
        end: Option<(NaiveDate, u64)>,
    ) -> Result<Self, ReadError> {
        for day in days {
            let from = match self.at {
                Some((at, _)) if day.day < at => continue,
                Some((at, offset)) if day.day == at => offset,
                _ => 0,
            };
            let end = match end {
                Some((last, _)) if day.day > last => break,
                Some((last, offset)) if day.day == last => offset,
                _ => u64::MAX,
            };
            let mut at = from;
            let mut torn = 0;
            let each = |place: &files::Place, line: &[u8]| {
                let after = place.offset + line.len() as u64 + 1;
                if after <= end {
                    self.line((day.day, place.offset), line);
                    at = after;
                }
            };
            match files::scan_day(dir, day, from, each, |_, line| torn = line.len() as u64) {
                Ok(_) => {}
                // A damaged compressed day is said to be damaged; it must not keep anybody from starting.
                Err(error) if day.packed => {
                    tracing::error!(target: "orch::journal", "{error}");
                }
                Err(error) => return Err(error),
            }
            self.at = Some((day.day, at));
            self.torn = torn;
        }
        Ok(self)
    }

    fn line(&mut self, place: (NaiveDate, u64), line: &[u8]) {
        let Some(head) = numbers::head(line) else {
            return;
        };
        self.last_seq = self.last_seq.max(head.seq());
        match head {
            Head::Outcome { of, .. } => drop(self.open.remove(&of)),
            Head::Receipt(_) => {}
            Head::Event(seq) => drop(self.open.insert(seq, place)),
        }
    }

    /// The lines of the open events. None where something else stands in the place of one.
    pub(super) fn open_lines(
        &self,
        dir: &Path,
        days: &[Day],
    ) -> Result<Option<Vec<Vec<u8>>>, ReadError> {
        let mut lines: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        for day in days {
            let here: BTreeMap<u64, u64> = self
                .open
                .iter()
                .filter(|(_, (at, _))| *at == day.day)
                .map(|(seq, (_, offset))| (*offset, *seq))
                .collect();
            let Some((first, _)) = here.first_key_value() else {
                continue;
            };
            let each = |place: &files::Place, line: &[u8]| {
                if let Some(seq) = here.get(&place.offset)
                    && numbers::head(line) == Some(Head::Event(*seq))
                {
                    lines.insert(*seq, line.to_vec());
                }
            };
            match files::scan_day(dir, day, *first, each, |_, _| {}) {
                Err(error) if !day.packed => return Err(error),
                _ => {}
            }
        }
        let all = lines.len() == self.open.len();
        Ok(all.then(|| lines.into_values().collect()))
    }
}

/// As it stands in its file, with the sum of its own text on the next line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Checkpoint {
    v: u8,
    last_seq: u64,
    day: NaiveDate,
    offset: u64,
    /// Sum of the bytes before the place.
    witness: u64,
    open: Vec<(u64, NaiveDate, u64)>,
}

/// The last number that the checkpoint knows of, whether it fits the files or not; 0 where it is damaged.
pub(super) fn said(dir: &Path) -> u64 {
    read(dir).map_or(0, |checkpoint| checkpoint.last_seq)
}

fn read(dir: &Path) -> Option<Checkpoint> {
    let text = std::fs::read_to_string(dir.join(NAME)).ok()?;
    let (body, sum) = text.trim_end().split_once('\n')?;
    if format!("{:016x}", fnv(body.as_bytes())) != sum {
        return None;
    }
    serde_json::from_str(body).ok()
}

/// What the checkpoint says, where it fits the files.
pub(super) fn load(dir: &Path, days: &[Day]) -> Option<Survey> {
    let checkpoint = read(dir)?;
    let day = days.iter().find(|day| day.day == checkpoint.day)?;
    if checkpoint.v != 1
        || day.packed
        || witness(&day.path, checkpoint.offset)? != checkpoint.witness
    {
        return None;
    }
    let is_there = |at: NaiveDate| days.iter().any(|day| day.day == at);
    Some(Survey {
        last_seq: checkpoint.last_seq,
        at: Some((checkpoint.day, checkpoint.offset)),
        // Those of days that were deleted are gone with them.
        open: checkpoint
            .open
            .into_iter()
            .filter(|(_, day, _)| is_there(*day))
            .map(|(seq, day, offset)| (seq, (day, offset)))
            .collect(),
        torn: 0,
    })
}

/// Writes the checkpoint anew, or leaves the old one.
pub(super) fn save(disk: &dyn Disk, dir: &Path, survey: &Survey) -> std::io::Result<()> {
    let Some((day, offset)) = survey.at else {
        return Ok(());
    };
    let Some(witness) = witness(&files::path_of(dir, day), offset) else {
        return Ok(());
    };
    let checkpoint = Checkpoint {
        v: 1,
        last_seq: survey.last_seq,
        day,
        offset,
        witness,
        open: survey
            .open
            .iter()
            .map(|(seq, (day, offset))| (*seq, *day, *offset))
            .collect(),
    };
    let body = serde_json::to_string(&checkpoint)?;
    let text = format!("{body}\n{:016x}\n", fnv(body.as_bytes()));
    let temporary = dir.join(TEMPORARY);
    let written = disk.open(&temporary, How::Anew).and_then(|file| {
        disk.append(&file, text.as_bytes())?;
        disk.sync(&file)?;
        disk.rename(&temporary, &dir.join(NAME))
    });
    if written.is_err() {
        let _ = disk.remove(&temporary);
    }
    written
}

/// The sum of the bytes before a place, which must be the end of a line.
fn witness(path: &Path, offset: u64) -> Option<u64> {
    let file = File::open(path).ok()?;
    let length = WITNESS.min(offset as usize);
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset - length as u64)
        .ok()?;
    matches!(bytes.last(), None | Some(b'\n')).then(|| fnv(&bytes))
}

/// FNV-1a: it guards against chance, not against people.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::super::disk::Real;
    use super::super::disk::faulty::{Faulty, Strikes};
    use super::super::repair::examine;
    use super::*;

    fn line(seq: u64, rest: &str) -> String {
        format!("{{\"v\":1,\"seq\":{seq},\"ts\":\"2026-11-20T13:00:00+01:00\",{rest}}}\n")
    }

    fn event(seq: u64) -> String {
        line(
            seq,
            r#""type":"x","severity":"critical","source":"s","message":"m""#,
        )
    }

    fn outcome(seq: u64, of: u64) -> String {
        line(
            seq,
            &format!(r#""type":"outcome","of":{of},"result":"delivered","reason":"""#),
        )
    }

    fn survey(dir: &Path) -> Survey {
        let days = files::days(dir).unwrap();
        Survey::default().go_on(dir, &days, None).unwrap()
    }

    /// Two days with an open event in each.
    fn journal() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let days = [
            ("2026-11-20", event(1) + &event(2) + &outcome(3, 2)),
            ("2026-11-21", event(4) + &event(5) + &outcome(6, 4)),
        ];
        for (day, text) in days {
            std::fs::write(dir.path().join(format!("{day}.jsonl")), text).unwrap();
        }
        dir
    }

    fn found(dir: &Path) -> (u64, Vec<u64>) {
        let left = examine(&Real, dir).unwrap();
        (
            left.last_seq,
            left.unresolved.iter().map(|event| event.seq).collect(),
        )
    }

    #[test]
    fn a_checkpoint_says_what_a_reading_of_all_would() {
        let dir = journal();
        assert_eq!(found(dir.path()), (6, vec![1, 5]));
        save(&Real, dir.path(), &survey(dir.path())).unwrap();
        let days = files::days(dir.path()).unwrap();
        assert_eq!(load(dir.path(), &days), Some(survey(dir.path())));
        assert_eq!(found(dir.path()), (6, vec![1, 5]));
        // What came after it counts.
        let today = dir.path().join("2026-11-21.jsonl");
        let text = std::fs::read_to_string(&today).unwrap() + &outcome(7, 1) + &event(8);
        std::fs::write(&today, text).unwrap();
        assert!(load(dir.path(), &days).is_some());
        assert_eq!(found(dir.path()), (8, vec![5, 8]));
        std::fs::write(dir.path().join("2026-11-22.jsonl"), outcome(9, 5)).unwrap();
        assert_eq!(found(dir.path()), (9, vec![8]));
    }

    #[test]
    fn a_checkpoint_that_does_not_fit_costs_only_time() {
        let dir = journal();
        let path = dir.path().join(NAME);
        let truth = survey(dir.path());
        save(&Real, dir.path(), &truth).unwrap();
        let good = std::fs::read_to_string(&path).unwrap();
        let forge = |change: &dyn Fn(&mut Checkpoint)| {
            let mut checkpoint: Checkpoint =
                serde_json::from_str(good.lines().next().unwrap()).unwrap();
            change(&mut checkpoint);
            let body = serde_json::to_string(&checkpoint).unwrap();
            format!("{body}\n{:016x}\n", fnv(body.as_bytes()))
        };
        let day = truth.at.unwrap().0;
        for lie in [
            String::new(),
            "\0\0\0\0".to_owned(),
            good[..good.len() / 2].to_owned(),
            good.replace("\"last_seq\":6", "\"last_seq\":9"),
            good.replace("[1,", "[2,"),
            forge(&|c| c.v = 2),
            forge(&|c| c.offset += 1),
            forge(&|c| c.offset += 10_000),
            forge(&|c| c.offset = 0),
            forge(&|c| c.day = day.pred_opt().unwrap()),
            forge(&|c| c.day = day.succ_opt().unwrap()),
            forge(&|c| c.witness += 1),
            forge(&|c| c.open.push((2, day.pred_opt().unwrap(), 5))),
            forge(&|c| c.open.push((4, day, 1))),
            forge(&|c| c.open.push((3, day.pred_opt().unwrap(), 0))),
        ] {
            std::fs::write(&path, &lie).unwrap();
            assert_eq!(found(dir.path()), (6, vec![1, 5]), "{lie}");
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(found(dir.path()), (6, vec![1, 5]));
        assert!(save(&Real, dir.path(), &truth).is_err());
        assert!(!dir.path().join(TEMPORARY).exists());
    }

    #[test]
    fn f05_wherever_writing_a_checkpoint_fails_the_old_one_stays() {
        let dir = journal();
        let mut old = survey(dir.path());
        old.open.clear();
        save(&Real, dir.path(), &old).unwrap();
        let days = files::days(dir.path()).unwrap();
        for at in 0..4 {
            for forever in [false, true] {
                let _ = std::fs::remove_file(dir.path().join(TEMPORARY));
                let disk = Faulty::new(Strikes::All, at, forever, Errno::NOSPC);
                let saved = save(&disk, dir.path(), &survey(dir.path()));
                assert!(saved.is_err(), "call {at}");
                assert_eq!(load(dir.path(), &days).as_ref(), Some(&old), "call {at}");
            }
        }
        save(&Real, dir.path(), &survey(dir.path())).unwrap();
        assert_eq!(load(dir.path(), &days), Some(survey(dir.path())));
    }

    #[test]
    fn a_checkpoint_of_other_files_is_not_believed() {
        let dir = journal();
        save(&Real, dir.path(), &survey(dir.path())).unwrap();
        // The files of another time were put in their place.
        let today = dir.path().join("2026-11-21.jsonl");
        std::fs::write(&today, event(4) + &outcome(5, 4)).unwrap();
        assert_eq!(found(dir.path()), (5, vec![1]));
        std::fs::write(&today, event(4) + &event(5) + &event(6)).unwrap();
        assert_eq!(found(dir.path()), (6, vec![1, 4, 5, 6]));
        std::fs::remove_file(&today).unwrap();
        assert_eq!(found(dir.path()), (3, vec![1]));
    }
}
