//! The day files of a journal, plain or compressed, and the lines in them, in order. Blocking reads; knows nothing of
//! what lines mean.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Day {
    pub(super) day: NaiveDate,
    pub(super) path: PathBuf,
    /// Compressed; nothing is added to it any more.
    pub(super) packed: bool,
}

/// The file that is written on a day.
pub(super) fn path_of(dir: &Path, day: NaiveDate) -> PathBuf {
    dir.join(format!("{}.jsonl", day.format(DAY_FORMAT)))
}

/// The same, compressed.
pub(super) fn packed_path_of(dir: &Path, day: NaiveDate) -> PathBuf {
    dir.join(format!("{}.jsonl.zst", day.format(DAY_FORMAT)))
}

/// All day files, oldest first. Anything else in the directory is left alone. Of a day that is there in both forms,
/// the plain one counts: it is removed only once the other is whole.
pub(super) fn days(dir: &Path) -> Result<Vec<Day>, ReadError> {
    let failed = |source| ReadError {
        path: dir.to_owned(),
        source,
    };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut days = BTreeMap::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let Some((day, packed)) = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(named)
        else {
            continue;
        };
        if !packed || !days.contains_key(&day) {
            days.insert(day, Day { day, path, packed });
        }
    }
    Ok(days.into_values().collect())
}

/// The day that a name says, exactly as this program would write it, and whether it is compressed.
pub(super) fn named(name: &str) -> Option<(NaiveDate, bool)> {
    let (stem, packed) = match name.strip_suffix(".zst") {
        Some(stem) => (stem, true),
        None => (name, false),
    };
    let stem = stem.strip_suffix(".jsonl")?;
    let day = NaiveDate::parse_from_str(stem, DAY_FORMAT).ok()?;
    (day.format(DAY_FORMAT).to_string() == stem).then_some((day, packed))
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
    for day in days(dir)? {
        if since.is_some_and(|since| day.day < since) {
            continue;
        }
        scan_day(dir, &day, 0, &mut each, &mut torn)?;
    }
    Ok(())
}

/// The lines of one day from an offset on; returns the offset after the last whole line. Offsets of a compressed day
/// are those of the plain one. A day that was compressed meanwhile is read so, and one that was removed has no lines.
pub(super) fn scan_day(
    dir: &Path,
    day: &Day,
    from: u64,
    each: impl FnMut(&Place, &[u8]),
    torn: impl FnMut(&Place, &[u8]),
) -> Result<u64, ReadError> {
    let opened = match open(day) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !day.packed => {
            let packed = Day {
                day: day.day,
                path: packed_path_of(dir, day.day),
                packed: true,
            };
            open(&packed)
        }
        opened => opened,
    };
    let failed = |source| ReadError {
        path: day.path.clone(),
        source,
    };
    match opened {
        Ok(reader) => lines(reader, &day.path, from, each, torn).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(from),
        Err(error) => Err(failed(error)),
    }
}

/// Read at once, in bytes.
const CHUNK: usize = 1 << 20;

/// What a day holds, and how to get to a place in it.
enum Reader {
    Plain(BufReader<File>),
    Packed(BufReader<zstd::Decoder<'static, BufReader<File>>>),
}

fn open(day: &Day) -> io::Result<Reader> {
    let file = File::open(&day.path)?;
    Ok(if day.packed {
        Reader::Packed(BufReader::with_capacity(CHUNK, zstd::Decoder::new(file)?))
    } else {
        Reader::Plain(BufReader::with_capacity(CHUNK, file))
    })
}

fn lines(
    reader: Reader,
    path: &Path,
    from: u64,
    each: impl FnMut(&Place, &[u8]),
    torn: impl FnMut(&Place, &[u8]),
) -> io::Result<u64> {
    match reader {
        Reader::Plain(mut reader) => {
            reader.seek(SeekFrom::Start(from))?;
            lines_of(reader, path, from, each, torn)
        }
        Reader::Packed(mut reader) => {
            io::copy(&mut reader.by_ref().take(from), &mut io::sink())?;
            lines_of(reader, path, from, each, torn)
        }
    }
}

fn lines_of(
    mut reader: impl BufRead,
    path: &Path,
    from: u64,
    mut each: impl FnMut(&Place, &[u8]),
    mut torn: impl FnMut(&Place, &[u8]),
) -> io::Result<u64> {
    let mut place = Place {
        path: path.to_owned(),
        offset: from,
        line: 1,
    };
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_file_has_exactly_its_name() {
        for name in ["2026-11-22.jsonl", "2026-11-22.jsonl.zst"] {
            assert!(named(name).is_some(), "{name}");
        }
        for name in [
            "2026-11-22.json",
            "2026-1-2.jsonl",
            " 2026-11-22.jsonl",
            "2026-11-22.jsonl.zst.tmp",
            "2026-11-22.jsonl.5.torn",
            "2026-11-31.jsonl",
            "x2026-11-22.jsonl",
            ".reserve",
        ] {
            assert!(named(name).is_none(), "{name}");
        }
    }
}
