//! What is done to a day file that was hurt: half a line is set aside, a file is written anew from what it held, the
//! lines that only an open descriptor still holds are copied. Says what was done, for the record.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::disk::{Disk, How};
use super::error::{Trouble, failed, trouble};
use super::numbers;

use crate::event::Draft;

/// Read or copied at once, in bytes.
const CHUNK: usize = 1 << 18;

/// Numbers whose lines are not in the journal any more, first and last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) first: u64,
    pub(super) last: u64,
}

/// What was found of a day file, and what was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mended {
    /// One of `truncated`, `added to`, `unfinished`, `removed`, `renamed`, `replaced`, `unsynced`.
    pub(super) what: &'static str,
    pub(super) path: PathBuf,
    /// From where on lines are written again.
    pub(super) offset: u64,
    /// Bytes of ours that are not there any more.
    pub(super) bytes: u64,
    /// Bytes that were written again from the open descriptor.
    pub(super) brought_back: Option<u64>,
    pub(super) lost: Option<Lost>,
    /// Where half a line was copied to.
    pub(super) copy: Option<PathBuf>,
    /// The other name that a renamed file has.
    pub(super) moved_to: Option<PathBuf>,
}

impl Mended {
    pub(super) fn new(what: &'static str, path: &Path, offset: u64) -> Self {
        Self {
            what,
            path: path.to_owned(),
            offset,
            bytes: 0,
            brought_back: None,
            lost: None,
            copy: None,
            moved_to: None,
        }
    }

    /// The record of it.
    pub(super) fn draft(&self) -> Draft {
        let path = self.path.display();
        let mut text = match self.what {
            "unsynced" => format!("{path} could not be synced and was written anew"),
            "unfinished" => format!("{path} ended in half a line, which was cut off"),
            what => format!(
                "{path} was {what} by somebody, and goes on at byte {}",
                self.offset
            ),
        };
        if let Some(bytes) = self.brought_back {
            text += &format!("; {bytes} bytes were brought back");
        }
        if let Some(moved) = &self.moved_to {
            text += &format!("; what it held is {} now", moved.display());
        }
        if let Some(Lost { first, last }) = self.lost {
            text += &format!("; seq {first} to {last} are not in the journal any more");
        }
        let lost = self
            .lost
            .map(|lost| json!({"first_seq": lost.first, "last_seq": lost.last}));
        let data = json!({
            "what": self.what,
            "file": self.path,
            "offset": self.offset,
            "bytes": self.bytes,
            "brought_back": self.brought_back,
            "lost": lost,
            "copy": self.copy,
            "moved_to": self.moved_to,
        });
        Draft::new("log_repaired", "journal", text).with_data(data)
    }
}

/// Bytes after the last line end within the first `length`. Of a file that cannot be read, none.
pub(super) fn torn(file: &File, length: u64) -> u64 {
    let mut buffer = vec![0; CHUNK.min(length as usize)];
    let mut end = length;
    while end > 0 {
        let from = end.saturating_sub(buffer.len() as u64);
        let part = &mut buffer[..(end - from) as usize];
        if file.read_exact_at(part, from).is_err() {
            return 0;
        }
        if let Some(at) = memchr::memrchr(b'\n', part) {
            return length - (from + at as u64 + 1);
        }
        end = from;
    }
    length
}

/// The first and the last number in the whole lines of the first `length` bytes.
pub(super) fn numbers_in(file: &File, length: u64) -> Option<(u64, u64)> {
    let seq = |line: &[u8]| numbers::head(line).map(numbers::Head::seq);
    let first = lines(file, 0, length).find_map(|(_, line)| seq(&line))?;
    // Backwards by ever larger pieces, until one holds a line with a number.
    let mut piece = CHUNK as u64;
    loop {
        let from = length.saturating_sub(piece);
        // The first of a piece is half a line.
        let skip = usize::from(from > 0);
        let last = lines(file, from, length)
            .skip(skip)
            .filter_map(|(_, line)| seq(&line))
            .last();
        match last {
            Some(last) => return Some((first, last)),
            None if from == 0 => return Some((first, first)),
            None => piece *= 4,
        }
    }
}

/// Where the first line with a number above `seq` begins.
pub(super) fn first_after(file: &File, length: u64, seq: u64) -> Option<u64> {
    if seq == 0 {
        return (length > 0).then_some(0);
    }
    lines(file, 0, length)
        .find(|(_, line)| numbers::head(line).is_some_and(|head| head.seq() > seq))
        .map(|(offset, _)| offset)
}

/// Lines with their offsets, as long as the file can be read.
fn lines(file: &File, from: u64, to: u64) -> impl Iterator<Item = (u64, Vec<u8>)> {
    let mut reader = BufReader::with_capacity(CHUNK, Section { file, from, to });
    let mut offset = from;
    std::iter::from_fn(move || {
        let mut line = Vec::new();
        let read = reader.read_until(b'\n', &mut line).ok()?;
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        offset += read as u64;
        (read > 0).then_some((offset - read as u64, line))
    })
}

/// Reads a part of a file, whatever the place where it is written.
struct Section<'f> {
    file: &'f File,
    from: u64,
    to: u64,
}

impl io::Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min((self.to - self.from) as usize);
        let read = self.file.read_at(&mut buffer[..most], self.from)?;
        self.from += read as u64;
        Ok(read)
    }
}

/// Appends a part of one file to another.
pub(super) fn copy(disk: &dyn Disk, from: &File, part: Range<u64>, to: &File) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut at = part.start;
    while at < part.end {
        let most = CHUNK.min((part.end - at) as usize);
        from.read_exact_at(&mut buffer[..most], at)?;
        disk.append(to, &buffer[..most])?;
        at += most as u64;
    }
    Ok(())
}

/// Copies half a line to a file beside; a full disk keeps nobody from cutting it, since it never was accepted.
pub(super) fn set_aside(
    disk: &dyn Disk,
    path: &Path,
    file: &File,
    part: Range<u64>,
) -> Option<PathBuf> {
    let aside = path.with_extension(format!("jsonl.{}.torn", part.start));
    let copied = disk.open(&aside, How::Anew).and_then(|to| {
        copy(disk, file, part, &to)?;
        disk.sync(&to)
    });
    match copied {
        Ok(()) => Some(aside),
        Err(error) => {
            tracing::error!(target: "orch::journal", "cannot copy half a line to {}: {error}", aside.display());
            let _ = disk.remove(&aside);
            None
        }
    }
}

/// Writes the first `length` bytes of a file to a new one and gives it the name: a sync that failed may have cost any
/// page that was written since the last one, and a second sync would not tell. The new file, and whether its name is
/// on the disk.
pub(super) fn write_anew(
    disk: &dyn Disk,
    dir: &Path,
    path: &Path,
    file: &File,
    length: u64,
) -> Result<(File, io::Result<()>), Trouble> {
    let temporary = temporary(path);
    let unsynced = |source| Trouble::Unsynced(failed("write anew", path, source));
    let made = disk.open(&temporary, How::Anew).and_then(|new| {
        copy(disk, file, 0..length, &new)?;
        Ok(new)
    });
    let done = made
        .map_err(|error| match trouble("write anew", path, error) {
            // As grave as the sync that failed.
            Trouble::Other(error) => Trouble::Unsynced(error),
            full => full,
        })
        .and_then(|new| {
            let renamed = disk.sync(&new).and_then(|()| disk.rename(&temporary, path));
            renamed.map_err(unsynced)?;
            Ok((new, disk.sync_directory(dir)))
        });
    if done.is_err() {
        let _ = disk.remove(&temporary);
    }
    done
}

/// What a day file is called while it is written anew.
fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().and_then(|name| name.to_str());
    path.with_file_name(format!("{}.tmp", name.unwrap_or_default()))
}

/// The name that an open file has now.
pub(super) fn name_of(file: &File) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()
}
