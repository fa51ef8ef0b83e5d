//! The session files and the cursor on disk: read, and written old or new, never half. Blocking; knows no event.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use chrono::{DateTime, FixedOffset};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Longest session file that is read, in bytes.
const MOST: u64 = 16 << 20;

/// The last event that all session files tell of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Its number.
    pub seq: u64,
    /// When it was accepted.
    pub ts: DateTime<FixedOffset>,
}

/// The cursor, `None` where none can be read: the files then tell of what comes from now on.
pub fn cursor(path: &Path) -> Option<Cursor> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// The file of a session. A name that is no plain directory name is spelled in letters, digits and `-`, and marked.
pub(super) fn path_of(projects: &Path, session: &str) -> PathBuf {
    let plain = |c: char| c.is_alphanumeric() || "-_ +=,@".contains(c);
    let directory = if session.chars().all(plain) && !session.is_empty() && session.len() <= 100 {
        session.to_owned()
    } else {
        let kept: String = session
            .chars()
            .map(|c| if plain(c) { c } else { '-' })
            .collect();
        let kept = &kept[..kept.floor_char_boundary(100)];
        format!("{kept}~{:08x}", fnv(session.as_bytes()))
    };
    projects.join(directory).join("session_state.json")
}

fn fnv(bytes: &[u8]) -> u32 {
    let step = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    bytes.iter().fold(0x811c_9dc5, step)
}

/// What a session file holds; nothing where there is none. One that cannot be understood is moved aside, not
/// overwritten.
pub(super) fn load(path: &Path) -> std::io::Result<Map<String, Value>> {
    // Agents may write where this stands: a pipe or a device must not hold anybody up.
    let open = File::options()
        .read(true)
        .custom_flags(nonblocking())
        .open(path);
    let file = match open {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Map::new()),
        opened => opened?,
    };
    if file.metadata()?.is_file() {
        let mut text = Vec::new();
        file.take(MOST + 1).read_to_end(&mut text)?;
        if text.len() as u64 <= MOST
            && let Ok(fields) = serde_json::from_slice(&text)
        {
            return Ok(fields);
        }
    }
    let aside = path.with_extension("json.damaged");
    std::fs::rename(path, &aside)?;
    tracing::warn!(target: "orch::state", "{} is no session state: kept as {}", path.display(), aside.display());
    Ok(Map::new())
}

fn nonblocking() -> i32 {
    // Its bits are small on every system.
    rustix::fs::OFlags::NONBLOCK.bits() as i32
}

/// A temporary file in the same directory, synced, then renamed.
pub(super) fn store(path: &Path, text: &[u8]) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)?;
    }
    let temporary = path.with_extension("json.tmp");
    let open = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary);
    let written = open.and_then(|mut file| {
        file.write_all(text)?;
        file.sync_data()
    });
    let stored = written.and_then(|()| std::fs::rename(&temporary, path));
    if stored.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    stored
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_session_has_a_directory_of_its_own_below_the_folder() {
        let projects = Path::new("/p");
        for plain in ["alpha", "My Project", "ä_1-2"] {
            assert_eq!(
                path_of(projects, plain),
                projects.join(plain).join("session_state.json")
            );
        }
        let odd = [
            "../x",
            "a/b",
            "a-b/",
            "..",
            ".",
            "",
            "a\nb",
            &"x".repeat(300),
        ];
        let paths = odd.map(|name| path_of(projects, name));
        for (path, name) in paths.iter().zip(odd) {
            let inside = path.strip_prefix(projects).unwrap();
            assert_eq!(inside.components().count(), 2, "{name}");
            assert!(
                !inside.starts_with("..") && !inside.starts_with("."),
                "{name}"
            );
            assert_eq!(
                paths.iter().filter(|other| *other == path).count(),
                1,
                "{name}"
            );
        }
    }

    #[test]
    fn f05_a_file_is_old_or_new_and_a_strange_one_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/session_state.json");
        assert!(load(&path).unwrap().is_empty());
        store(&path, b"{\"a\": 1}").unwrap();
        assert_eq!(load(&path).unwrap()["a"], 1);
        // Nothing can be written: what was there stays, and nothing else is left.
        std::fs::create_dir(path.with_extension("json.tmp")).unwrap();
        assert!(store(&path, b"{}").is_err());
        assert_eq!(load(&path).unwrap()["a"], 1);
        std::fs::remove_dir(path.with_extension("json.tmp")).unwrap();
        // Something that would be read for ever.
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        assert!(load(&path).unwrap().is_empty());
        assert!(!path.exists(), "it is out of the way");
        std::fs::write(&path, "[1").unwrap();
        assert!(load(&path).unwrap().is_empty());
        assert_eq!(
            std::fs::read(path.with_extension("json.damaged")).unwrap(),
            b"[1"
        );
    }
}
