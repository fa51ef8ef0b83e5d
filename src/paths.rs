//! Where things are: which tmux server is meant, where orch's files, socket and lock for it live. Checks what
//! it must be able to trust; knows nothing of what is in the files.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Longest path of a Unix socket, in bytes (`sun_path` less its end).
const SUN_PATH: usize = 107;

/// A place that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// The runtime directory could be written by others.
    #[error("{} is not safe: {why}; remove it or set XDG_RUNTIME_DIR to a directory of your own", path.display())]
    Unsafe {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The socket's path does not fit.
    #[error("the socket path {} has {} bytes, {SUN_PATH} are possible; set XDG_RUNTIME_DIR to a shorter directory", path.display(), path.as_os_str().len())]
    TooLong {
        /// The path.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A socket name that is a path.
    #[error("-L takes a name without '/', -S takes a path; {0:?} is no name")]
    NotAName(String),
}

/// What is read from the environment, so that tests can say it.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `$TMUX`, `SOCKET,PID,SESSION` inside tmux.
    pub tmux: Option<OsString>,
    /// `$TMUX_TMPDIR`.
    pub tmux_tmpdir: Option<PathBuf>,
    /// `$XDG_RUNTIME_DIR`.
    pub runtime: Option<PathBuf>,
    /// `$XDG_STATE_HOME`.
    pub state: Option<PathBuf>,
    /// `$HOME`.
    pub home: Option<PathBuf>,
    /// The effective user.
    pub uid: u32,
}

impl Environment {
    /// The present one. Empty variables count as unset.
    pub fn present() -> Self {
        let var = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let path = |name| var(name).map(PathBuf::from);
        Self {
            tmux: var("TMUX"),
            tmux_tmpdir: path("TMUX_TMPDIR"),
            runtime: path("XDG_RUNTIME_DIR"),
            state: path("XDG_STATE_HOME"),
            home: path("HOME"),
            uid: rustix::process::geteuid().as_raw(),
        }
    }
}

/// A tmux server, by its socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The socket's real path.
    pub socket: PathBuf,
    /// Its base name and a short hash of its real path: one name for one server.
    pub name: String,
}

impl Server {
    /// As tmux finds it: `-S PATH`, else `-L NAME`, else `$TMUX`, else the default socket.
    ///
    /// # Errors
    /// [`PathError::NotAName`] for a `-L` that is a path.
    pub fn find(
        name: Option<&str>,
        path: Option<&Path>,
        env: &Environment,
    ) -> Result<Self, PathError> {
        let in_default_directory = |name: &str| {
            let base = env.tmux_tmpdir.clone().unwrap_or_else(|| "/tmp".into());
            base.join(format!("tmux-{}", env.uid)).join(name)
        };
        let socket = match (path, name, &env.tmux) {
            (Some(path), ..) => path.to_owned(),
            (None, Some(name), _) if name.is_empty() || name.contains('/') => {
                return Err(PathError::NotAName(name.to_owned()));
            }
            (None, Some(name), _) => in_default_directory(name),
            (None, None, Some(tmux)) => {
                let bytes = tmux.as_bytes();
                // The path itself may hold commas: the last two parts are numbers.
                let end = bytes
                    .iter()
                    .enumerate()
                    .filter(|(_, b)| **b == b',')
                    .map(|(at, _)| at)
                    .rev()
                    .nth(1);
                PathBuf::from(std::ffi::OsStr::from_bytes(
                    &bytes[..end.unwrap_or(bytes.len())],
                ))
            }
            (None, None, None) => in_default_directory("default"),
        };
        let socket = real(&socket);
        let base = socket
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        let base: String = base
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || "-_".contains(c) {
                    c
                } else {
                    '_'
                }
            })
            .take(32)
            .collect();
        let name = format!("{base}-{:08x}", fnv(socket.as_os_str().as_bytes()));
        Ok(Self { socket, name })
    }

    /// Whether a value of `$TMUX` means this server.
    pub fn is_meant_by(&self, tmux: &OsString) -> bool {
        let env = Environment {
            tmux: Some(tmux.clone()),
            ..Environment::default()
        };
        Self::find(None, None, &env).is_ok_and(|other| other.socket == self.socket)
    }

    /// `$XDG_STATE_HOME/orch/<server>`, for when nothing else says where the root is.
    pub fn default_root(&self, env: &Environment) -> PathBuf {
        let state = env.state.clone().filter(|path| path.is_absolute());
        let state = state.or_else(|| env.home.clone().map(|home| home.join(".local/state")));
        state
            .unwrap_or_else(|| format!("/tmp/orch-{}", env.uid).into())
            .join("orch")
            .join(&self.name)
    }
}

/// The real path, also of a socket that does not exist yet.
fn real(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    let parent = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    match (parent.canonicalize(), path.file_name()) {
        (Ok(parent), Some(name)) => parent.join(name),
        _ => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
    }
}

/// FNV-1a: the same on every machine and in every version, which a name on disk needs.
fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

/// The files below a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root(pub PathBuf);

impl Root {
    /// The journal's day files.
    pub fn events(&self) -> PathBuf {
        self.0.join("logs/events")
    }

    /// Diagnostics of the process.
    pub fn diagnostics(&self) -> PathBuf {
        self.0.join("logs/orch.out")
    }

    /// The process's number, for people; the lock decides.
    pub fn pid(&self) -> PathBuf {
        self.0.join("logs/orch.pid")
    }

    /// What delivery remembers over restarts.
    pub fn delivery(&self) -> PathBuf {
        self.0.join("state/delivery.json")
    }

    /// What was emitted while nothing ran.
    pub fn spool(&self) -> PathBuf {
        self.0.join("spool")
    }

    /// Makes the directories, for the owner only.
    ///
    /// # Errors
    /// [`PathError::Io`] names the directory.
    pub fn make(&self) -> Result<(), PathError> {
        for path in [self.events(), self.0.join("state"), self.spool()] {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .map_err(|source| PathError::Io {
                    what: "make",
                    path,
                    source,
                })?;
        }
        Ok(())
    }
}

/// Socket and lock of one server's orchestrator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// Where it listens.
    pub socket: PathBuf,
    /// Held as long as it lives.
    pub lock: PathBuf,
}

impl Runtime {
    /// Below `$XDG_RUNTIME_DIR/orch`, else `/tmp/orch-<uid>`; makes nothing.
    ///
    /// # Errors
    /// [`PathError::TooLong`].
    pub fn of(server: &Server, env: &Environment) -> Result<Self, PathError> {
        let usable = env
            .runtime
            .clone()
            .filter(|path| path.is_absolute() && path.is_dir());
        let directory = match usable {
            Some(runtime) => runtime.join("orch"),
            None => format!("/tmp/orch-{}", env.uid).into(),
        };
        let socket = directory.join(format!("{}.sock", server.name));
        if socket.as_os_str().len() > SUN_PATH {
            return Err(PathError::TooLong { path: socket });
        }
        Ok(Self {
            lock: socket.with_extension("lock"),
            socket,
        })
    }

    /// Makes the directory if it is missing and refuses it if anybody else could meddle with it.
    ///
    /// # Errors
    /// [`PathError::Unsafe`] or [`PathError::Io`].
    pub fn secure(&self, env: &Environment) -> Result<(), PathError> {
        let path = self.socket.parent().unwrap_or(Path::new("/")).to_owned();
        match std::fs::DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(PathError::Io {
                    what: "make",
                    path,
                    source: error,
                });
            }
            _ => {}
        }
        let found = std::fs::symlink_metadata(&path).map_err(|source| PathError::Io {
            what: "look at",
            path: path.clone(),
            source,
        })?;
        let why = if found.is_symlink() {
            "it is a symbolic link"
        } else if !found.is_dir() {
            "it is no directory"
        } else if found.uid() != env.uid {
            "it belongs to somebody else"
        } else if found.mode() & 0o077 != 0 {
            "others may enter or write it (its mode must be 0700)"
        } else {
            return Ok(());
        };
        Err(PathError::Unsafe { path, why })
    }
}

/// What the lock file says of the run that holds it, or held it last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process.
    pub pid: u32,
    /// Its root.
    pub root: PathBuf,
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
        self.0.set_len(0)?;
        self.0.rewind()?;
        serde_json::to_writer(&mut self.0, holder)?;
        self.0.write_all(b"\n")
    }
}

/// Who holds the lock now; `None` when nobody does.
pub fn holder(path: &Path) -> Option<Holder> {
    let mut file = File::open(path).ok()?;
    match file.try_lock_shared() {
        Err(std::fs::TryLockError::WouldBlock) => Some(read_holder(&mut file).unwrap_or(Holder {
            pid: 0,
            root: PathBuf::new(),
        })),
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

    fn env() -> Environment {
        Environment {
            uid: 7,
            home: Some("/home/u".into()),
            ..Environment::default()
        }
    }

    #[test]
    fn a_server_is_found_as_tmux_finds_it() {
        let inside = Environment {
            tmux: Some("/no/such,dir/sock,123,0".into()),
            ..env()
        };
        for (name, path, env, socket) in [
            (None, None, env(), "/tmp/tmux-7/default"),
            (Some("x"), None, env(), "/tmp/tmux-7/x"),
            (None, None, inside.clone(), "/no/such,dir/sock"),
            (Some("x"), None, inside, "/tmp/tmux-7/x"),
            (Some("x"), Some("/no/such/y"), env(), "/no/such/y"),
        ] {
            let server = Server::find(name, path.map(Path::new), &env).unwrap();
            assert_eq!(server.socket, Path::new(socket));
        }
        assert!(Server::find(Some("a/b"), None, &env()).is_err());
    }

    #[test]
    fn one_name_for_one_server() {
        let directory = tempfile::tempdir().unwrap();
        let (real, link) = (directory.path().join("sock"), directory.path().join("link"));
        std::fs::write(&real, "").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let name = |path: &Path| Server::find(None, Some(path), &env()).unwrap().name;
        assert_eq!(name(&real), name(&link));
        assert_ne!(name(&real), name(Path::new("/elsewhere/sock")));
        let server = Server::find(Some("x"), None, &env()).unwrap();
        assert_eq!(
            server.default_root(&env()),
            PathBuf::from(format!("/home/u/.local/state/orch/{}", server.name))
        );
    }

    #[test]
    fn a_runtime_directory_that_others_could_use_is_refused() {
        let base = tempfile::tempdir().unwrap();
        let mut env = Environment::present();
        env.runtime = Some(base.path().to_owned());
        let server = Server::find(Some("x"), None, &env).unwrap();
        let runtime = Runtime::of(&server, &env).unwrap();
        runtime.secure(&env).unwrap();
        runtime.secure(&env).unwrap();
        let directory = base.path().join("orch");
        std::fs::set_permissions(
            &directory,
            std::os::unix::fs::PermissionsExt::from_mode(0o770),
        )
        .unwrap();
        assert!(matches!(
            runtime.secure(&env),
            Err(PathError::Unsafe { .. })
        ));
        std::fs::remove_dir(&directory).unwrap();
        std::os::unix::fs::symlink(base.path(), &directory).unwrap();
        assert!(matches!(
            runtime.secure(&env),
            Err(PathError::Unsafe {
                why: "it is a symbolic link",
                ..
            })
        ));
        env.runtime = Some(base.path().join("x".repeat(100)));
        std::fs::create_dir(env.runtime.clone().unwrap()).unwrap();
        assert!(matches!(
            Runtime::of(&server, &env),
            Err(PathError::TooLong { .. })
        ));
    }

    #[test]
    fn the_lock_decides() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.lock");
        let me = Holder {
            pid: 42,
            root: "/r".into(),
        };
        let mut lock = Lock::take(&path).unwrap().unwrap();
        lock.name(&me).unwrap();
        assert_eq!(holder(&path), Some(me.clone()));
        assert_eq!(Lock::take(&path).unwrap().unwrap_err(), Some(me.clone()));
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
