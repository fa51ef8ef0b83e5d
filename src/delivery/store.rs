//! Delivery's memory on disk: written whole or not at all, and never believed blindly. Knows no limit itself.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Memory;
use super::clock::Stamp;

/// Version of the file. A later one may mean what this version would get wrong.
const VERSION: u32 = 1;

/// The file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Saved {
    version: u32,
    pub(crate) stamp: Stamp,
    pub(crate) memory: Memory,
}

impl Saved {
    pub(crate) fn new(stamp: Stamp, memory: Memory) -> Self {
        Self {
            version: VERSION,
            stamp,
            memory,
        }
    }
}

/// What was found.
#[derive(Debug)]
pub(crate) enum Found {
    /// What the last run knew.
    Saved(Box<Saved>),
    /// No file.
    Nothing,
    /// A file that cannot be used, and why.
    Unusable(String),
}

/// Only the version: a later file may differ in everything else.
#[derive(Deserialize)]
struct Head {
    version: u32,
}

pub(crate) fn load(path: &Path) -> Found {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Found::Nothing,
        Err(error) => return Found::Unusable(error.to_string()),
    };
    let saved = serde_json::from_slice::<Head>(&bytes).map_err(|error| error.to_string());
    let saved = saved.and_then(|head| match head.version {
        VERSION => serde_json::from_slice(&bytes).map_err(|error| error.to_string()),
        later => Err(format!("version {later} is not known here")),
    });
    saved.map_or_else(Found::Unusable, |saved| Found::Saved(Box::new(saved)))
}

/// Puts a file that cannot be used out of the way, for a person to look at; where it is now.
pub(crate) fn put_aside(path: &Path) -> std::io::Result<std::path::PathBuf> {
    let aside = path.with_extension("json.unusable");
    std::fs::rename(path, &aside)?;
    Ok(aside)
}

/// Old or new, never half, after a power cut too: a temporary file in the same directory, synced, then a rename.
pub(crate) fn store(path: &Path, saved: &Saved) -> std::io::Result<()> {
    let bytes = serde_json::to_vec(saved)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(&bytes)?;
    file.sync_data()?;
    std::fs::rename(&temporary, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::super::clock::Clock;
    use super::super::{Config, Desk};
    use super::*;

    #[test]
    fn what_is_stored_is_found_and_what_is_damaged_is_not_believed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state/delivery.json");
        assert!(matches!(load(&path), Found::Nothing));
        let stamp = Clock::start(None).stamp();
        let saved = Saved::new(stamp.clone(), Desk::new(Config::default()).memory());
        store(&path, &saved).unwrap();
        assert!(matches!(load(&path), Found::Saved(found) if found.stamp == stamp));

        let whole = std::fs::read_to_string(&path).unwrap();
        let more = whole.replacen('{', "{\"later\":{\"x\":1},", 1);
        std::fs::write(&path, more).unwrap();
        assert!(
            matches!(load(&path), Found::Saved(_)),
            "unknown fields are fine"
        );
        let newer = whole.replacen("\"version\":1", "\"version\":2", 1);
        for damaged in ["", "{}", "[1]", "\0\0", &whole[..whole.len() / 2], &newer] {
            std::fs::write(&path, damaged).unwrap();
            let Found::Unusable(_) = load(&path) else {
                panic!("{damaged:?} was believed");
            };
            let aside = put_aside(&path).unwrap();
            assert!(aside.ends_with("delivery.json.unusable") && !path.exists());
        }
        // Something that is no file at all does not stop a start either.
        std::fs::create_dir(&path).unwrap();
        assert!(matches!(load(&path), Found::Unusable(_)));
        assert!(store(&path, &saved).is_err());
    }
}
