//! What the journal does to files, as a seam: the real disk, and in tests one that fails at the call that is asked
//! for. Knows neither lines nor days; reading is not its business.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// How a file is opened. What is written goes to its end; it can be read too, and is the owner's alone when made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// Made if missing.
    Append,
    /// From nothing, whatever was there.
    Anew,
}

/// Every change to the disk that the journal makes.
pub(super) trait Disk: Send + Sync + std::fmt::Debug {
    fn open(&self, path: &Path, how: How) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).mode(0o600);
        match how {
            How::Append => options.create(true),
            How::Anew => match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => options.create_new(true),
            },
        };
        options.open(path)
    }

    /// All of it, or an error after which a part may stand there.
    fn append(&self, mut file: &File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    /// What was written is on the disk.
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    /// The names in a directory are on the disk.
    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn cut(&self, file: &File, length: u64) -> io::Result<()> {
        file.set_len(length)
    }

    /// Takes room on the disk, which is really there then.
    fn allocate(&self, file: &File, length: u64) -> io::Result<()> {
        let flags = rustix::fs::FallocateFlags::empty();
        Ok(rustix::fs::fallocate(file, flags, 0, length)?)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)
    }
}

/// The disk itself.
#[derive(Debug)]
pub(super) struct Real;

impl Disk for Real {}

/// Whether an error says that there is no room left.
pub(super) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull, WriteZero};
    matches!(error.kind(), StorageFull | QuotaExceeded | WriteZero)
}

/// A disk that fails.
#[cfg(test)]
pub(super) mod faulty {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

    use super::*;

    /// Which calls a fault strikes.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(in crate::journal) enum Strikes {
        /// Everything that a disk does.
        All,
        /// What needs room.
        Growth,
        /// Syncs of files.
        Syncs,
    }

    /// Counts the calls of a kind and fails at the n-th, once or from then on, with an error of the system.
    #[derive(Debug)]
    pub(in crate::journal) struct Faulty {
        pub(in crate::journal) calls: AtomicUsize,
        pub(in crate::journal) mended: AtomicBool,
        pub(in crate::journal) fails: AtomicUsize,
        strikes: Strikes,
        at: usize,
        forever: bool,
        error: i32,
    }

    impl Faulty {
        pub(in crate::journal) fn new(
            strikes: Strikes,
            at: usize,
            forever: bool,
            error: rustix::io::Errno,
        ) -> Self {
            Self {
                calls: AtomicUsize::new(0),
                mended: AtomicBool::new(false),
                fails: AtomicUsize::new(0),
                strikes,
                at,
                forever,
                error: error.raw_os_error(),
            }
        }

        /// Never fails; counts.
        pub(in crate::journal) fn sound(strikes: Strikes) -> Self {
            Self::new(strikes, usize::MAX, false, rustix::io::Errno::IO)
        }

        fn strike(&self, kind: Strikes) -> io::Result<()> {
            if self.strikes != Strikes::All && self.strikes != kind {
                return Ok(());
            }
            let call = self.calls.fetch_add(1, SeqCst);
            let fails = call == self.at || self.forever && call > self.at;
            if fails && !self.mended.load(SeqCst) {
                self.fails.fetch_add(1, SeqCst);
                return Err(io::Error::from_raw_os_error(self.error));
            }
            Ok(())
        }
    }

    impl Disk for Faulty {
        fn open(&self, path: &Path, how: How) -> io::Result<File> {
            if !path.exists() {
                self.strike(Strikes::Growth)?;
            }
            Real.open(path, how)
        }

        fn append(&self, mut file: &File, bytes: &[u8]) -> io::Result<()> {
            if let Err(error) = self.strike(Strikes::Growth) {
                // A short write: what fits stands there.
                file.write_all(&bytes[..bytes.len() / 2])?;
                return Err(error);
            }
            Real.append(file, bytes)
        }

        fn sync(&self, file: &File) -> io::Result<()> {
            self.strike(Strikes::Syncs)?;
            Real.sync(file)
        }

        fn sync_directory(&self, path: &Path) -> io::Result<()> {
            self.strike(Strikes::All)?;
            Real.sync_directory(path)
        }

        fn cut(&self, file: &File, length: u64) -> io::Result<()> {
            self.strike(Strikes::All)?;
            Real.cut(file, length)
        }

        fn allocate(&self, file: &File, length: u64) -> io::Result<()> {
            self.strike(Strikes::Growth)?;
            Real.allocate(file, length)
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.strike(Strikes::All)?;
            Real.rename(from, to)
        }

        fn remove(&self, path: &Path) -> io::Result<()> {
            self.strike(Strikes::All)?;
            Real.remove(path)
        }

        fn make_directory(&self, path: &Path) -> io::Result<()> {
            self.strike(Strikes::All)?;
            Real.make_directory(path)
        }
    }
}
