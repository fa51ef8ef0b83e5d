//! What is done to a journal before it is written again: a torn tail is copied aside and cut, the last number is
//! found, and events whose run ended before their outcome are listed. Damage in the middle is never touched.

use std::path::{Path, PathBuf};

use super::disk::{Disk, How};
use super::error::{AppendError, failed};
use super::files;
use super::mend;
use super::survey::{self, Survey};
use crate::event::{Event, Line, Received};

/// A torn tail that was cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// The day file.
    pub path: PathBuf,
    /// Where the tail began, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// Where it was copied to; None where there was no room.
    pub copy: Option<PathBuf>,
}

/// What the last run left.
#[derive(Debug, Default)]
pub(super) struct Left {
    pub(super) last_seq: u64,
    pub(super) newest: Option<chrono::NaiveDate>,
    pub(super) repair: Option<Repair>,
    pub(super) unresolved: Vec<Event>,
}

/// Looks at all days, or at what came after the checkpoint: an event may have waited for a person over a weekend, and
/// its run have died then.
pub(super) fn examine(disk: &dyn Disk, dir: &Path) -> Result<Left, AppendError> {
    let days = files::days(dir)?;
    let mut left = Left::default();
    if let Some(newest) = days.last() {
        // Nothing is added to a compressed file.
        left.newest = if newest.packed {
            newest.day.succ_opt()
        } else {
            Some(newest.day)
        };
    }
    let begun = survey::load(dir, &days).unwrap_or_default();
    let mut survey = begun.go_on(dir, &days, None)?;
    let lines = match survey.open_lines(dir, &days)? {
        Some(lines) => lines,
        // The checkpoint was not of these files.
        None => {
            survey = Survey::default().go_on(dir, &days, None)?;
            survey.open_lines(dir, &days)?.unwrap_or_default()
        }
    };
    left.last_seq = survey.last_seq;
    if let (Some(newest), Some((_, offset))) = (days.last(), survey.at)
        && !newest.packed
        && survey.torn > 0
    {
        left.repair = Some(cut(disk, &newest.path, offset, survey.torn)?);
    }
    left.unresolved = lines
        .into_iter()
        .filter_map(|line| match Received::parse(&line) {
            Ok(Received::Line(Line::Event(event))) => Some(*event),
            _ => None,
        })
        .collect();
    Ok(left)
}

/// First the copy, on disk, then the cut.
fn cut(disk: &dyn Disk, path: &Path, offset: u64, bytes: u64) -> Result<Repair, AppendError> {
    let failed = |source| failed("cut a torn line off", path, source);
    let file = disk.open(path, How::Append).map_err(failed)?;
    let copy = mend::set_aside(disk, path, &file, offset..offset + bytes);
    disk.cut(&file, offset)
        .and_then(|()| disk.sync(&file))
        .map_err(failed)?;
    Ok(Repair {
        path: path.to_owned(),
        offset,
        bytes,
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
        let left = examine(&crate::journal::disk::Real, dir.path()).unwrap();
        assert_eq!(left.last_seq, 7);
        assert_eq!(
            left.unresolved.iter().map(|e| e.seq).collect::<Vec<_>>(),
            [1]
        );
    }
}
