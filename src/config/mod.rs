//! The configuration file: YAML as a person wrote it → one typed [`Config`], with every mistake at its line.
//! Composes what the leaves ask for; refuses to know what they do with it, and no leaf imports it.

pub mod find;
mod note;
mod read;
mod schema;
mod show;
mod tree;
mod wording;

#[cfg(test)]
mod mistakes_tests;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

pub use note::{LoadError, Mistakes, Note};
pub use show::show;

use crate::event::Severity;
use crate::{delivery, journal, monitor::health, state};

/// The commented default file. It says what [`Config::default`] holds.
pub const DEFAULT: &str = include_str!("../../config/orchestrator_config.yaml");

/// The largest file that is read, in bytes.
pub const SIZE_LIMIT: usize = 1 << 20;

/// Event types that `event_bus.critical_types` names when it is not given.
const CRITICAL_TYPES: &[&str] = &["critical_violation", "system_failure", "credit_critical"];

/// All that can be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How delivery is set up.
    pub delivery: delivery::Config,
    /// How the health monitor is set up.
    pub health: health::Config,
    /// How session files are kept.
    pub session_state: state::Config,
    /// What is kept of the journal.
    pub retention: journal::Retention,
    /// The severity of an event type, whatever its publisher or the table says. Names are canonical.
    pub severities: BTreeMap<String, Severity>,
    /// The folder that holds logs and state; absolute. None: the caller's rule applies.
    pub root: Option<PathBuf>,
    /// The tmux program: a name to look up in `PATH`, or an absolute path.
    pub tmux_binary: PathBuf,
    /// Least level of diagnostics: `TRACE`, `DEBUG`, `INFO`, `WARN` or `ERROR`.
    pub log_level: String,
    /// The size at which the file of diagnostics is turned over, in MiB, 1 or more.
    pub max_log_size_mb: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            delivery: delivery::Config::default(),
            health: health::Config::default(),
            session_state: state::Config::default(),
            retention: journal::Retention::default(),
            severities: CRITICAL_TYPES
                .iter()
                .map(|name| ((*name).to_owned(), Severity::Critical))
                .collect(),
            root: None,
            tmux_binary: PathBuf::from("tmux"),
            log_level: "INFO".to_owned(),
            max_log_size_mb: 100,
        }
    }
}

/// A file that could be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// What it says in vain, by line.
    pub warnings: Vec<Note>,
}

/// Reads a configuration. `path` only names the file in messages. A `~` in the text means `$HOME`.
///
/// # Errors
/// [`Mistakes`] lists everything that is wrong, by line.
pub fn parse(text: &str, path: &Path) -> Result<Loaded, Mistakes> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    parse_at_home(text, path, home.as_deref())
}

fn parse_at_home(text: &str, path: &Path, home: Option<&Path>) -> Result<Loaded, Mistakes> {
    let tree = if text.len() > SIZE_LIMIT {
        Err(too_large())
    } else {
        tree::parse(text)
    };
    let tree = tree.map_err(|note| Mistakes::new(path, vec![note]))?;
    let (config, notes) = read::document(&tree, |root| schema::read(root, home));
    if notes.mistakes.is_empty() {
        let warnings = note::by_line(notes.warnings);
        Ok(Loaded { config, warnings })
    } else {
        Err(Mistakes::new(path, notes.mistakes))
    }
}

/// Reads a configuration file.
///
/// # Errors
/// [`LoadError::Unreadable`] when the file cannot be opened or read, [`LoadError::Wrong`] for what stands in it:
/// mistakes, more than [`SIZE_LIMIT`] bytes, or bytes that are not UTF-8.
pub fn load(path: &Path) -> Result<Loaded, LoadError> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| {
            file.take(SIZE_LIMIT as u64 + 1)
                .read_to_end(&mut bytes)
                .map(drop)
        })
        .map_err(|source| LoadError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
    if bytes.len() > SIZE_LIMIT {
        return Err(Mistakes::new(path, vec![too_large()]).into());
    }
    let text = std::str::from_utf8(&bytes)
        .map_err(|error| Mistakes::new(path, vec![not_utf8(&bytes, error)]))?;
    Ok(parse(text, path)?)
}

fn too_large() -> Note {
    Note::new(1, "", "the file is larger than 1 MiB; no configuration is")
}

fn not_utf8(bytes: &[u8], error: std::str::Utf8Error) -> Note {
    let good = &bytes[..error.valid_up_to()];
    let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
    Note::new(line, "", "not UTF-8 text; save the file as UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_file_is_the_built_in_default() {
        let loaded = parse(DEFAULT, Path::new("default")).unwrap();
        assert_eq!(loaded.config, Config::default());
        assert_eq!(loaded.warnings, []);
    }

    #[test]
    fn nothing_written_is_the_default() {
        for text in [
            "",
            "\n",
            "# only words\n",
            "---\n",
            "~",
            "{}",
            "git:\nroles: {}\n",
            "\u{feff}git: {}\n",
        ] {
            let loaded =
                parse(text, Path::new("f")).unwrap_or_else(|wrong| panic!("{text:?}: {wrong}"));
            assert_eq!(
                (loaded.config, loaded.warnings),
                (Config::default(), vec![]),
                "{text:?}"
            );
        }
    }

    #[test]
    fn files_that_cannot_be_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.yaml");
        let said = |path: &Path| load(path).unwrap_err().to_string();

        assert!(matches!(load(&path), Err(LoadError::Unreadable { .. })));
        assert!(said(&path).starts_with(&format!("cannot read {}: ", path.display())));
        assert!(said(folder.path()).starts_with("cannot read "));

        std::fs::write(&path, b"general:\n  log_level: INFO\n# caf\xe9\n").unwrap();
        let expected = format!(
            "{}:3: not UTF-8 text; save the file as UTF-8",
            path.display()
        );
        assert_eq!(said(&path), expected);

        std::fs::write(&path, "#".repeat(SIZE_LIMIT + 1)).unwrap();
        assert!(said(&path).ends_with(":1: the file is larger than 1 MiB; no configuration is"));
        std::fs::write(&path, "#".repeat(SIZE_LIMIT)).unwrap();
        assert_eq!(load(&path).unwrap().config, Config::default());
    }
}
