//! What is said about a configuration file: notes at a line, all mistakes of a file together, and why a file could
//! not be loaded. Knows no key.

use std::fmt;
use std::path::{Path, PathBuf};

/// Something to say about one place in the file. Shown as `line: key: text`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The line, from 1.
    pub line: usize,
    /// The configuration path, such as `monitoring.check_interval`; empty when it is about the whole file.
    pub key: String,
    /// What is wrong, and the mend.
    pub text: String,
}

impl Note {
    pub(super) fn new(line: usize, key: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            line,
            key: key.into(),
            text: text.into(),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, key, text } = self;
        if key.is_empty() {
            write!(f, "{line}: {text}")
        } else {
            write!(f, "{line}: {key}: {text}")
        }
    }
}

/// In the order of the file.
pub(super) fn by_line(mut notes: Vec<Note>) -> Vec<Note> {
    notes.sort_by_key(|note| note.line);
    notes
}

/// Everything that is wrong with a file. Shown as one line a mistake: `path:line: key: text`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes {
    /// The file.
    pub path: PathBuf,
    /// The mistakes by line; at least one.
    pub notes: Vec<Note>,
}

impl Mistakes {
    pub(super) fn new(path: &Path, notes: Vec<Note>) -> Self {
        Self {
            path: path.to_owned(),
            notes: by_line(notes),
        }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, note) in self.notes.iter().enumerate() {
            let separator = if at == 0 { "" } else { "\n" };
            write!(f, "{separator}{}:{note}", self.path.display())?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// Why a file was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It could not be opened or read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It was read, and is wrong.
    #[error(transparent)]
    Wrong(#[from] Mistakes),
}
