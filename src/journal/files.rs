//! The day files of a journal and the lines in them, in order. Blocking reads; knows nothing of what lines mean.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use chrono::NaiveDate;

/// How a day names its file.
pub const DAY_FORMAT: &str = "%Y-%m-%d";

/// The journal cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}: {source}", path.display())]
pub struct ReadError {
    /// Which file or directory.
    pub path: PathBuf,
    /// Why.
    pub source: std::io::Error,
}

/// Where a line stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// Where the line begins, in bytes.
    pub offset: u64,
    /// Its number in the file, from 1.
    pub line: u64,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} line {} (byte {})",
            self.path.display(),
            self.line,
            self.offset
        )
    }
}

/// The file of a day.
pub(super) fn path_of(dir: &Path, day: NaiveDate) -> PathBuf {
    dir.join(format!("{}.jsonl", day.format(DAY_FORMAT)))
}

/// All day files, oldest first. Anything else in the directory is left alone.
pub(super) fn days(dir: &Path) -> Result<Vec<(NaiveDate, PathBuf)>, ReadError> {
    let failed = |source| ReadError {
        path: dir.to_owned(),
        source,
    };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut days = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let name = path
            .file_name()
            .and_then(|n| n.to_str())
            .unwrap_or_default();
        let day = name
            .strip_suffix(".jsonl")
            .and_then(|n| NaiveDate::parse_from_str(n, DAY_FORMAT).ok());
        if let Some(day) = day {
            days.push((day, path));
        }
    }
    days.sort();
    Ok(days)
}

/// Hands every whole line since a day to `each`, oldest first, without its line end. A last line without one
/// is still being written: it is not handed over, unless the caller wants it (`torn`).
///
/// # Errors
/// [`ReadError`] names the file that could not be read.
pub fn scan(
    dir: &Path,
    since: Option<NaiveDate>,
    mut each: impl FnMut(&Place, &[u8]),
    mut torn: impl FnMut(&Place, &[u8]),
) -> Result<(), ReadError> {
    for (day, path) in days(dir)? {
        if since.is_some_and(|since| day < since) {
            continue;
        }
        scan_file(&path, 0, &mut each, &mut torn)?;
    }
    Ok(())
}

/// The lines of one file from an offset on; returns the offset after the last whole line.
pub(super) fn scan_file(
    path: &Path,
    from: u64,
    mut each: impl FnMut(&Place, &[u8]),
    mut torn: impl FnMut(&Place, &[u8]),
) -> Result<u64, ReadError> {
    let failed = |source| ReadError {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(failed)?;
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(from)).map_err(failed)?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut place = Place {
        path: path.to_owned(),
        offset: from,
        line: 1,
    };
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line).map_err(failed)?;
        if read == 0 {
            return Ok(place.offset);
        }
        if line.last() == Some(&b'\n') {
            line.pop();
            each(&place, &line);
        } else {
            torn(&place, &line);
            return Ok(place.offset);
        }
        place.offset += read as u64;
        place.line += 1;
    }
}
