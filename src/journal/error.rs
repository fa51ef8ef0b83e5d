//! Why the journal cannot take a line.

use std::path::PathBuf;
use std::sync::Arc;

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
    /// The writer has ended.
    #[error("the journal is closed")]
    Closed,
}
