//! The directory of an orchestrator's socket and lock, and whether it can be trusted.

use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::{Environment, PathError, Server};

/// Longest path of a Unix socket, in bytes (`sun_path` less its end).
pub(super) const SUN_PATH: usize = 107;

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
        self.check(env)
    }

    /// Refuses a directory that anybody else could meddle with; one that is not there yet is none. For those who only
    /// talk to an orchestrator, too: what stands there decides whom they talk to.
    ///
    /// # Errors
    /// [`PathError::Unsafe`] or [`PathError::Io`].
    pub fn check(&self, env: &Environment) -> Result<(), PathError> {
        let path = self.socket.parent().unwrap_or(Path::new("/")).to_owned();
        let found = match std::fs::symlink_metadata(&path) {
            Ok(found) => found,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(source) => {
                return Err(PathError::Io {
                    what: "look at",
                    path,
                    source,
                });
            }
        };
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
