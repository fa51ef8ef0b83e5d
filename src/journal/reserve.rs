//! A little room on the disk that is held for the moment when there is no other: what orch itself has to say then,
//! that the disk is full above all, is written in its place.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{self, Disk, How};

/// Its size in bytes, and smaller ones where there is less room.
const SIZES: [u64; 3] = [64 << 10, 16 << 10, 4 << 10];

/// The name of its file, beside the day files.
const NAME: &str = ".reserve";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Yes,
    No,
    /// This disk gives no room in advance.
    Never,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    held: Held,
    /// What it had at first: with less it is not there again.
    size: Option<u64>,
}

impl Reserve {
    /// In a directory; what a run before has left is taken over.
    pub(super) fn new(dir: &Path, disk: Arc<dyn Disk>) -> Self {
        let mut reserve = Self {
            path: dir.join(NAME),
            disk,
            held: Held::No,
            size: None,
        };
        reserve.make();
        reserve
    }

    /// Whether there is room for it, which is held from now on. A disk that cannot tell has room.
    pub(super) fn make(&mut self) -> bool {
        if self.held == Held::No {
            self.held = self.try_sizes();
        }
        self.held != Held::No
    }

    fn try_sizes(&mut self) -> Held {
        let sizes = self.size.map_or(SIZES.to_vec(), |size| vec![size]);
        for size in sizes {
            // What a run before left may be of any size.
            let made = self.disk.open(&self.path, How::Anew);
            match made.and_then(|file| self.disk.allocate(&file, size)) {
                Ok(()) => {
                    self.size = Some(size);
                    return Held::Yes;
                }
                Err(error) if disk::is_full(&error) => {}
                Err(error) => {
                    tracing::debug!(target: "orch::journal", "no reserve at {}: {error}", self.path.display());
                    let _ = self.disk.remove(&self.path);
                    return Held::Never;
                }
            }
        }
        let _ = self.disk.remove(&self.path);
        Held::No
    }

    /// Gives the room up, for what must be written now. False when there was none.
    pub(super) fn give_up(&mut self) -> bool {
        let held = self.held == Held::Yes;
        if held {
            self.held = Held::No;
            let _ = self.disk.remove(&self.path);
        }
        held
    }
}
