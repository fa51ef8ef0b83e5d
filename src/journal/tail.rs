//! The end of the journal: the file of the present day, to which whole groups are added or nothing. What somebody did
//! to that file meanwhile is noticed before each group and mended; what could not be synced is written anew.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::NaiveDate;

use super::disk::{self, Disk, How};
use super::error::{AppendError, Trouble, failed, trouble};
use super::files;
use super::mend::{self, Lost, Mended};

/// The file of a day, open.
#[derive(Debug)]
pub(super) struct Sheet {
    pub(super) day: NaiveDate,
    pub(super) path: PathBuf,
    pub(super) file: File,
    /// Up to here it holds whole lines, and they are on the disk.
    pub(super) length: u64,
    /// The first and the last number in it.
    pub(super) numbers: Option<(u64, u64)>,
    /// More than `length` may stand there: it is cut before anything else is written.
    spoiled: bool,
    /// A sync failed: the file is not trusted any more, and written anew from what it held before.
    suspect: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Tail {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    open: Option<Sheet>,
    newest: Option<NaiveDate>,
    /// What was mended and is not told yet.
    mended: Vec<Mended>,
}

impl Tail {
    /// `newest` is the last day that has a file.
    pub(super) fn new(dir: &Path, disk: Arc<dyn Disk>, newest: Option<NaiveDate>) -> Self {
        Self {
            dir: dir.to_owned(),
            disk,
            open: None,
            newest,
            mended: Vec::new(),
        }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The day whose file is written.
    pub(super) fn day(&self) -> Option<NaiveDate> {
        self.newest
    }

    /// The day whose file is open, and up to where it is on the disk.
    pub(super) fn end(&self) -> Option<(NaiveDate, u64)> {
        self.open.as_ref().map(|sheet| (sheet.day, sheet.length))
    }

    /// What was mended since this was asked.
    pub(super) fn take_mended(&mut self) -> Vec<Mended> {
        std::mem::take(&mut self.mended)
    }

    /// Writes and syncs whole lines with these numbers, first and last, or leaves the file as it was.
    pub(super) fn write(
        &mut self,
        day: NaiveDate,
        bytes: &[u8],
        numbers: (u64, u64),
    ) -> Result<(), Trouble> {
        self.look_after()?;
        // Under a clock that went back, the newest file goes on: the order of files is the order of numbers.
        let day = day.max(self.newest.unwrap_or(day));
        if self.open.as_ref().is_none_or(|sheet| sheet.day != day) {
            let (sheet, found) = self.open(day)?;
            self.newest = Some(day);
            self.open = Some(sheet);
            self.mended.extend(found);
        }
        let Some(sheet) = &mut self.open else {
            return Err(Trouble::Other(AppendError::Closed));
        };
        if let Err(error) = self.disk.append(&sheet.file, bytes) {
            sheet.cut_back(&*self.disk);
            return Err(trouble("append to", &sheet.path, error));
        }
        if let Err(error) = self.disk.sync(&sheet.file) {
            sheet.cut_back(&*self.disk);
            // Where there is no room the pages are gone with the cut, and those before were on the disk already.
            // Of any other error nobody knows what it has cost.
            return Err(if disk::is_full(&error) {
                trouble("sync", &sheet.path, error)
            } else {
                sheet.suspect = true;
                Trouble::Unsynced(failed("sync", &sheet.path, error))
            });
        }
        sheet.length += bytes.len() as u64;
        sheet.numbers = Some((
            sheet.numbers.map_or(numbers.0, |(first, _)| first),
            numbers.1,
        ));
        Ok(())
    }

    /// Brings the open file to where it was left: whole lines, under its name.
    fn look_after(&mut self) -> Result<(), Trouble> {
        let Some(sheet) = &mut self.open else {
            return Ok(());
        };
        let there = match std::fs::metadata(&sheet.path) {
            Ok(there) => Some(there),
            Err(error) if is_missing(&error) => None,
            Err(error) => return Err(trouble("look at", &sheet.path, error)),
        };
        let ours = sheet.file.metadata();
        let ours = ours.map_err(|e| trouble("look at", &sheet.path, e))?;
        let same =
            |there: &std::fs::Metadata| (there.dev(), there.ino()) == (ours.dev(), ours.ino());
        if !there.as_ref().is_some_and(same) {
            let what = match (&there, ours.nlink()) {
                (Some(_), _) => "replaced",
                (None, 0) => "removed",
                (None, _) => "renamed",
            };
            return self.take_back(what);
        }
        if sheet.spoiled {
            self.disk
                .cut(&sheet.file, sheet.length)
                .map_err(|e| trouble("cut a half-written group off", &sheet.path, e))?;
            sheet.spoiled = false;
        } else if ours.len() != sheet.length {
            let what = if ours.len() < sheet.length {
                "truncated"
            } else {
                "added to"
            };
            let mended = sheet.settle(&*self.disk, what, ours.len())?;
            self.mended.push(mended);
        }
        if sheet.suspect {
            let (file, named) = mend::write_anew(
                &*self.disk,
                &self.dir,
                &sheet.path,
                &sheet.file,
                sheet.length,
            )?;
            sheet.file = file;
            named.map_err(|e| Trouble::Unsynced(failed("sync the name of", &sheet.path, e)))?;
            sheet.suspect = false;
            self.mended
                .push(Mended::new("unsynced", &sheet.path, sheet.length));
        }
        Ok(())
    }

    /// The file is not under its name any more. What only this process still holds of it is written again; where it
    /// has merely another name, it is left there.
    fn take_back(&mut self, what: &'static str) -> Result<(), Trouble> {
        let Some(old) = &self.open else {
            return Ok(());
        };
        let (day, held, length) = (old.day, old.numbers, old.length);
        let mut mended = Mended::new(what, &old.path, old.length);
        mended.moved_to = mend::name_of(&old.file).filter(|_| what == "renamed");
        let (mut sheet, found) = self.open(day)?;
        mended.offset = sheet.length;
        let from = match what {
            "renamed" => None,
            _ => mend::first_after(&old.file, length, sheet.numbers.map_or(0, |(_, last)| last)),
        };
        let mut whole = what != "renamed";
        if let Some(from) = from {
            let carried = mend::copy(&*self.disk, &old.file, from..length, &sheet.file)
                .and_then(|()| self.disk.sync(&sheet.file));
            match carried {
                Ok(()) => {
                    sheet.length += length - from;
                    let first = sheet.numbers.or(held).map_or(0, |(first, _)| first);
                    sheet.numbers = held.map(|(_, last)| (first, last));
                }
                Err(error) => {
                    sheet.cut_back(&*self.disk);
                    // Whoever takes a file away from a full disk wants the room, which is theirs once this process
                    // lets go of it.
                    if !disk::is_full(&error) || sheet.spoiled {
                        return Err(trouble("bring back what was in", &sheet.path, error));
                    }
                    whole = false;
                }
            }
        }
        mended.brought_back = from.filter(|_| whole).map(|from| length - from);
        if !whole && let Some((first, last)) = held {
            let first = sheet.numbers.map_or(first, |(_, kept)| kept + 1);
            mended.lost = (first <= last).then_some(Lost { first, last });
        }
        self.open = Some(sheet);
        self.mended.extend(found);
        self.mended.push(mended);
        Ok(())
    }

    /// Opens the file of a day, and its directory where that is gone too, for whole lines.
    fn open(&self, day: NaiveDate) -> Result<(Sheet, Option<Mended>), Trouble> {
        let path = files::path_of(&self.dir, day);
        let opened = match self.disk.open(&path, How::Append) {
            Err(error) if is_missing(&error) => self
                .disk
                .make_directory(&self.dir)
                .and_then(|()| self.disk.open(&path, How::Append)),
            opened => opened,
        };
        let file = opened.map_err(|e| trouble("open", &path, e))?;
        // The name of a new file is as durable as what stands in it.
        match self.disk.sync_directory(&self.dir) {
            // There are file systems that know of no such thing.
            Err(error) if !is_unknown(&error) => return Err(trouble("sync", &self.dir, error)),
            _ => {}
        }
        let length = file
            .metadata()
            .map_err(|e| trouble("look at", &path, e))?
            .len();
        let mut sheet = Sheet {
            day,
            numbers: mend::numbers_in(&file, length),
            path,
            file,
            length,
            spoiled: false,
            suspect: false,
        };
        let mut mended = None;
        if mend::torn(&sheet.file, length) > 0 {
            mended = Some(sheet.settle(&*self.disk, "unfinished", length)?);
        }
        Ok((sheet, mended))
    }
}

impl Sheet {
    /// After a write that failed: nothing of it may stay.
    fn cut_back(&mut self, disk: &dyn Disk) {
        self.spoiled = disk.cut(&self.file, self.length).is_err();
    }

    /// The file has `now` bytes, and not those that were left there. Half a line at its end is kept aside and cut.
    fn settle(&mut self, disk: &dyn Disk, what: &'static str, now: u64) -> Result<Mended, Trouble> {
        let mut mended = Mended::new(what, &self.path, self.length);
        let torn = mend::torn(&self.file, now);
        let whole = now - torn;
        if torn > 0 {
            mended.copy = mend::set_aside(disk, &self.path, &self.file, whole..now);
            disk.cut(&self.file, whole)
                .and_then(|()| disk.sync(&self.file))
                .map_err(|e| trouble("cut half a line off", &self.path, e))?;
        }
        mended.offset = whole;
        mended.bytes = self.length.saturating_sub(whole);
        let before = self.numbers;
        self.numbers = mend::numbers_in(&self.file, whole);
        self.length = whole;
        if let Some((first, last)) = before {
            let first = self.numbers.map_or(first, |(_, kept)| kept + 1);
            mended.lost = (first <= last).then_some(Lost { first, last });
        }
        Ok(mended)
    }
}

fn is_unknown(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, Unsupported};
    matches!(error.kind(), InvalidInput | Unsupported)
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}
