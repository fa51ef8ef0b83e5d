//! The file that diagnostics go to, and its bound: at its size it is turned over, and one earlier file is kept. Knows
//! lines, not what they say.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::fstat;
use rustix::stdio::{dup2_stderr, dup2_stdout};

/// Where lines are appended. Each is written by itself, under a lock: a writer for many threads has no other way.
#[derive(Debug)]
pub(super) struct Outfile {
    path: PathBuf,
    previous: PathBuf,
    /// In bytes.
    limit: u64,
    /// Whether standard output and standard error are this file too, and follow it.
    standard: [bool; 2],
    file: Mutex<File>,
}

impl Outfile {
    /// Opens or makes the file.
    pub(super) fn open(path: PathBuf, previous: PathBuf, limit: u64) -> std::io::Result<Self> {
        let file = create(&path)?;
        let standard = [
            is_same(std::io::stdout(), &file),
            is_same(std::io::stderr(), &file),
        ];
        Ok(Self {
            path,
            previous,
            limit,
            standard,
            file: Mutex::new(file),
        })
    }

    /// Appends a line. Where it cannot be written it is lost: diagnostics have no diagnostics.
    pub(super) fn append(&self, line: &[u8]) {
        // A panic between these steps leaves a file that can be written to.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        match length_at(&self.path, &file) {
            // Somebody has moved it away or deleted it.
            None => self.reopen(&mut file),
            Some(length) if length > 0 && length + line.len() as u64 > self.limit => {
                if std::fs::rename(&self.path, &self.previous).is_ok() {
                    self.reopen(&mut file);
                }
            }
            Some(_) => {}
        }
        let _ = file.write_all(line);
    }

    /// If there is none to be had, the one that is open goes on.
    fn reopen(&self, file: &mut MutexGuard<'_, File>) {
        let Ok(new) = create(&self.path) else { return };
        // What others print, and what the runtime says when all else fails, goes where it is looked for.
        let [stdout, stderr] = self.standard;
        if stdout {
            let _ = dup2_stdout(&new);
        }
        if stderr {
            let _ = dup2_stderr(&new);
        }
        **file = new;
    }
}

fn create(path: &Path) -> std::io::Result<File> {
    File::options()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

/// The length of the file under this name, if it is this one.
fn length_at(path: &Path, file: &File) -> Option<u64> {
    let (there, open) = (std::fs::symlink_metadata(path).ok()?, file.metadata().ok()?);
    ((there.dev(), there.ino()) == (open.dev(), open.ino())).then_some(there.len())
}

fn is_same(one: impl AsFd, other: &File) -> bool {
    let (Ok(one), Ok(other)) = (fstat(one), other.metadata()) else {
        return false;
    };
    (one.st_dev, one.st_ino) == (other.dev(), other.ino())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn lines(path: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn at_its_size_it_is_turned_over_and_no_line_is_lost() {
        let directory = tempfile::tempdir().unwrap();
        let [path, previous] = ["out", "out.1"].map(|name| directory.path().join(name));
        // 400 lines of 10 bytes: one turn.
        let out = Outfile::open(path.clone(), previous.clone(), 2500).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let out = &out;
                scope.spawn(move || {
                    (0..100).for_each(|n| out.append(format!("line {thread}{n:03}\n").as_bytes()));
                });
            }
        });
        let (old, new) = (lines(&previous), lines(&path));
        assert_eq!((old.len(), new.len()), (250, 150));
        let all: BTreeSet<String> = old.into_iter().chain(new).collect();
        assert_eq!(all.len(), 400);
        assert!(all.iter().all(|line| line.len() == 9), "{all:?}");
        // A second turn keeps the one before it.
        (0..100).for_each(|_| out.append(b"xxxxxxxxx\n"));
        out.append(b"last\n");
        assert_eq!((lines(&previous).len(), lines(&path).len()), (250, 1));
    }

    #[test]
    fn one_that_is_taken_away_is_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        let [path, previous] = ["out", "out.1"].map(|name| directory.path().join(name));
        let out = Outfile::open(path.clone(), previous, 100).unwrap();
        out.append(b"one\n");
        std::fs::rename(&path, directory.path().join("elsewhere")).unwrap();
        out.append(b"two\n");
        assert_eq!(lines(&path), ["two"]);
    }
}
