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

/// Reads the last two days; a run that waits longer than that for a person is resolved by its own outcomes.
pub(super) fn examine(dir: &Path) -> Result<Left, AppendError> {
    let days = files::days(dir)?;
    let mut left = Left {
        newest: days.last().map(|(day, _)| *day),
        ..Left::default()
    };
    let mut open: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let newest = days.len().saturating_sub(1);
    // Older days matter only where the newest hold no number at all.
    for (at, (_, path)) in days.iter().enumerate().skip(newest.saturating_sub(1)) {
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
        if let (Some((offset, bytes)), true) = (tail, at == newest) {
            left.repair = Some(cut(path, offset, &bytes)?);
        }
    }
    if left.last_seq == 0 && days.len() > 2 {
        for (_, path) in days.iter().rev().skip(2) {
            let last = &mut left.last_seq;
            let each = |_: &files::Place, line: &[u8]| {
                *last = (*last).max(serde_json::from_slice::<Numbers>(line).map_or(0, |n| n.seq));
            };
            files::scan_file(path, 0, each, |_, _| {})?;
            if left.last_seq > 0 {
                break;
            }
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
