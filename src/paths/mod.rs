//! Where things are: which tmux server is meant, where orch's files, socket and lock for it live. Checks what
//! it must be able to trust; knows nothing of what is in the files.

mod lock;
mod runtime;

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

pub use lock::{Holder, Lock, holder, last_holder};
pub use runtime::Runtime;
use runtime::SUN_PATH;

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

    /// What [`Root::diagnostics`] was before it was turned over at its size.
    pub fn earlier_diagnostics(&self) -> PathBuf {
        self.0.join("logs/orch.out.1")
    }

    /// The process's number, for people; who holds the lock of this file decides who writes here.
    pub fn pid(&self) -> PathBuf {
        self.0.join("logs/orch.pid")
    }

    /// The process that writes here, as far as its file says; `None` when none does.
    pub fn holder(&self) -> Option<Option<u32>> {
        let mut text = String::new();
        let _ = lock::held(&self.pid())?.take(32).read_to_string(&mut text);
        Some(text.trim().parse().ok())
    }

    /// What delivery remembers over restarts.
    pub fn delivery(&self) -> PathBuf {
        self.0.join("state/delivery.json")
    }

    /// A folder for each session, with its state.
    pub fn projects(&self) -> PathBuf {
        self.0.join("registry/projects")
    }

    /// How far the session files tell.
    pub fn sessions(&self) -> PathBuf {
        self.0.join("state/sessions.json")
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
}
