//! The lock that makes one orchestrator of a tmux server: who holds it decides, never a process's number.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::PathError;

/// What the lock file says of the run that holds it, or held it last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process.
    pub pid: u32,
    /// Its root.
    pub root: PathBuf,
    /// What it had to drop when it ended, by name; nothing while it runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unfinished: Vec<String>,
}

impl Holder {
    /// One that runs.
    pub fn new(pid: u32, root: PathBuf) -> Self {
        Self {
            pid,
            root,
            unfinished: Vec::new(),
        }
    }
}

/// A look at who holds the lock ([`holder`]) holds it too, for an instant: only who is refused each time is refused.
const TRIES: u32 = 20;
const BETWEEN_TRIES: Duration = Duration::from_millis(5);

/// The lock, held until dropped. The file is never removed: a second one under the same name would be a second lock.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Takes the lock. `Ok(Err(holder))` when another process holds it.
    ///
    /// # Errors
    /// [`PathError::Io`].
    pub fn take(path: &Path) -> Result<Result<Self, Option<Holder>>, PathError> {
        let failed = |what, source| PathError::Io {
            what,
            path: path.to_owned(),
            source,
        };
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|e| failed("open", e))?;
        for _ in 0..TRIES {
            match file.try_lock() {
                Ok(()) => return Ok(Ok(Self(file))),
                Err(std::fs::TryLockError::WouldBlock) => std::thread::sleep(BETWEEN_TRIES),
                Err(std::fs::TryLockError::Error(error)) => return Err(failed("lock", error)),
            }
        }
        Ok(Err(read_holder(&mut file)))
    }

    /// Says who holds it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn name(&mut self, holder: &Holder) -> std::io::Result<()> {
        self.write(&format!("{}\n", serde_json::to_string(holder)?))
    }

    /// Says this in the file, and nothing else.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&mut self, text: &str) -> std::io::Result<()> {
        self.0.set_len(0)?;
        self.0.rewind()?;
        self.0.write_all(text.as_bytes())
    }

    /// Whether the file under this name is still the one that is locked. If not, another may hold that one.
    pub fn is_at(&self, path: &Path) -> bool {
        let (Ok(held), Ok(there)) = (self.0.metadata(), std::fs::symlink_metadata(path)) else {
            return false;
        };
        (held.dev(), held.ino()) == (there.dev(), there.ino())
    }
}

/// Who holds the lock now; `None` when nobody does.
pub fn holder(path: &Path) -> Option<Holder> {
    let mut file = held(path)?;
    Some(read_holder(&mut file).unwrap_or_else(|| Holder::new(0, PathBuf::new())))
}

/// The file, provided that somebody holds its lock.
pub(super) fn held(path: &Path) -> Option<File> {
    let file = File::open(path).ok()?;
    match file.try_lock_shared() {
        Err(std::fs::TryLockError::WouldBlock) => Some(file),
        _ => None,
    }
}

/// Whoever held the lock last, running or not.
pub fn last_holder(path: &Path) -> Option<Holder> {
    read_holder(&mut File::open(path).ok()?)
}

fn read_holder(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.take(64 << 10).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_decides() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.lock");
        let mut me = Holder::new(42, "/r".into());
        let mut lock = Lock::take(&path).unwrap().unwrap();
        lock.name(&me).unwrap();
        assert_eq!(holder(&path), Some(me.clone()));
        assert_eq!(Lock::take(&path).unwrap().unwrap_err(), Some(me.clone()));
        assert!(lock.is_at(&path));
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "{\"pid\":42,\"root\":\"/r\"}\n"
        );
        me.unfinished = vec!["delivery".into()];
        lock.name(&me).unwrap();
        std::fs::rename(&path, directory.path().join("y")).unwrap();
        assert!(!lock.is_at(&path));
        std::fs::write(&path, "").unwrap();
        assert!(!lock.is_at(&path));
        std::fs::rename(directory.path().join("y"), &path).unwrap();
        drop(lock);
        assert_eq!(holder(&path), None);
        assert_eq!(last_holder(&path), Some(me));
        assert!(Lock::take(&path).unwrap().is_ok());
    }

    #[test]
    fn a_look_never_costs_a_start_its_lock() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.lock");
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let _ = holder(&path);
                    std::thread::sleep(Duration::from_micros(100));
                }
            });
            let taken = (0..100)
                .filter(|_| Lock::take(&path).unwrap().is_ok())
                .count();
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            assert_eq!(taken, 100);
        });
    }
}
