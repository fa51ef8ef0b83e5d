//! What is done to a journal before it is written again: a torn tail is copied aside and cut, the last number is
//! found, and events whose run ended before their outcome are listed. Damage in the middle is never touched.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::AppendError;
use super::files;
use crate::event::{Event, Line, Received};

/// A torn tail that was cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// The day file.
    pub path: PathBuf,
    /// Where the tail began, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub bytes: usize,
    /// Where it was copied to.
    pub copy: PathBuf,
}

/// What the last run left.
#[derive(Debug, Default)]
pub(super) struct Left {
    pub(super) last_seq: u64,
    pub(super) newest: Option<chrono::NaiveDate>,
    pub(super) repair: Option<Repair>,
    pub(super) unresolved: Vec<Event>,
}

/// Only what is needed to follow numbers and outcomes.
#[derive(Deserialize)]
struct Numbers {
    seq: u64,
    #[serde(default)]
    of: Option<u64>,
    #[serde(rename = "type")]
    kind: String,
}

/// Reads all days: an event may have waited for a person over a weekend, and its run have died then.
pub(super) fn examine(dir: &Path) -> Result<Left, AppendError> {
    let days = files::days(dir)?;
    let mut left = Left {
        newest: days.last().map(|(day, _)| *day),
        ..Left::default()
    };
    let mut open: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    for (day, path) in &days {
        let mut tail = None;
        files::scan_file(
            path,
            0,
            |_, line| {
                let Ok(numbers) = serde_json::from_slice::<Numbers>(line) else {
                    return;
                };
                left.last_seq = left.last_seq.max(numbers.seq);
                match (numbers.kind.as_str(), numbers.of) {
                    ("outcome", Some(of)) => drop(open.remove(&of)),
                    ("receipt", _) => {}
                    _ => drop(open.insert(numbers.seq, line.to_vec())),
                }
            },
            |place, line| tail = Some((place.offset, line.to_vec())),
        )?;
        if let (Some((offset, bytes)), true) = (tail, Some(*day) == left.newest) {
            left.repair = Some(cut(path, offset, &bytes)?);
        }
    }
    left.unresolved = open
        .into_values()
        .filter_map(|line| match Received::parse(&line) {
            Ok(Received::Line(Line::Event(event))) => Some(*event),
            _ => None,
        })
        .collect();
    Ok(left)
}

/// First the copy, on disk, then the cut.
fn cut(path: &Path, offset: u64, bytes: &[u8]) -> Result<Repair, AppendError> {
    let copy = path.with_extension(format!("jsonl.{offset}.torn"));
    let failed = |what, path: &Path, source| AppendError::Io {
        what,
        path: path.to_owned(),
        source,
    };
    std::fs::write(&copy, bytes)
        .and_then(|()| std::fs::File::open(&copy)?.sync_all())
        .map_err(|e| failed("copy a torn line to", &copy, e))?;
    OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|file| {
            file.set_len(offset)?;
            file.sync_all()
        })
        .map_err(|e| failed("cut a torn line off", path, e))?;
    Ok(Repair {
        path: path.to_owned(),
        offset,
        bytes: bytes.len(),
        copy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waited_over_a_weekend_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let line = |seq: u64, rest: &str| {
            format!("{{\"v\":1,\"seq\":{seq},\"ts\":\"2026-11-20T13:00:00+01:00\",{rest}}}\n")
        };
        let event = r#""type":"x","severity":"critical","source":"s","message":"m""#;
        let outcome =
            |of: u64| format!(r#""type":"outcome","of":{of},"result":"delivered","reason":"""#);
        let days = [
            ("2026-11-20", line(1, event)),
            ("2026-11-21", line(2, event) + &line(3, &outcome(2))),
            ("2026-11-22", line(4, event) + &line(5, &outcome(4))),
            ("2026-11-23", line(6, event) + &line(7, &outcome(6))),
        ];
        for (day, text) in days {
            std::fs::write(dir.path().join(format!("{day}.jsonl")), text).unwrap();
        }
        let left = examine(dir.path()).unwrap();
        assert_eq!(left.last_seq, 7);
        assert_eq!(
            left.unresolved.iter().map(|e| e.seq).collect::<Vec<_>>(),
            [1]
        );
    }
}
