//! Why the journal cannot take a line.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk;
use super::files::ReadError;

/// The journal cannot take a line.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// A file operation failed.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// What is there cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The group that this event was in could not be written; nothing of it is on disk.
    #[error("the journal could not be written: {0}")]
    Group(Arc<str>),
    /// So many events wait for the disk already that this one cannot.
    #[error("the journal cannot be written and no more events can wait: {0}")]
    Spilled(Arc<str>),
    /// The directory of the journal is there, and nothing can be written in it.
    #[error("cannot write in {}: {source}; make it writable for this user, or choose another root", path.display())]
    Unwritable {
        /// The directory.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The writer has ended.
    #[error("the journal is closed")]
    Closed,
}

/// Why a group is not on disk. Nothing of it stands in the file, or will be cut before anything else is written.
#[derive(Debug)]
pub(super) enum Trouble {
    /// No room.
    Full(AppendError),
    /// The disk took it, and could not say that it holds it.
    Unsynced(AppendError),
    /// Something else.
    Other(AppendError),
}

impl Trouble {
    pub(super) fn error(&self) -> &AppendError {
        match self {
            Self::Full(error) | Self::Unsynced(error) | Self::Other(error) => error,
        }
    }
}

pub(super) fn failed(what: &'static str, path: &Path, source: io::Error) -> AppendError {
    AppendError::Io {
        what,
        path: path.to_owned(),
        source,
    }
}

pub(super) fn trouble(what: &'static str, path: &Path, source: io::Error) -> Trouble {
    if disk::is_full(&source) {
        Trouble::Full(failed(what, path, source))
    } else {
        Trouble::Other(failed(what, path, source))
    }
}
