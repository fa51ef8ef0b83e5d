//! Starts the tmux client that speaks control mode over pipes. Refuses to know what is said over them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command as Process};

use super::Config;

/// Starts `tmux -N -u -C attach-session -E -f ignore-size,no-output`.
///
/// `-N` never starts a server, `-u` keeps replies in UTF-8, `-E` leaves the session's environment alone;
/// the flags keep windows at their size and spare the server from buffering output. Its own process group
/// keeps a Ctrl-C meant for orch away from it: signals to control clients have crashed tmux servers.
pub(super) fn spawn(config: &Config) -> std::io::Result<Child> {
    let flags = if config.output {
        "ignore-size"
    } else {
        "ignore-size,no-output"
    };
    Process::new(found(&config.binary, std::env::var_os("PATH").as_deref()))
        .args(["-N", "-u", "-S"])
        .arg(&config.socket)
        .args(["-C", "attach-session", "-E", "-f", flags])
        .env_remove("TMUX")
        .env_remove("TMUX_PANE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(false)
        .spawn()
}

/// Whether a server listens on the socket. A stopped or busy one counts as alive.
pub(super) async fn server_is_alive(config: &Config) -> bool {
    tokio::net::UnixStream::connect(&config.socket)
        .await
        .is_ok()
}

/// The program by its full path, so that starting it is one call and not a try in each directory of `PATH`.
fn found(program: &Path, path: Option<&std::ffi::OsStr>) -> PathBuf {
    let is_program = |candidate: &PathBuf| {
        candidate
            .metadata()
            .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    let bare = program.components().count() == 1;
    let directories = path
        .filter(|_| bare)
        .map(|path| std::env::split_paths(path).collect::<Vec<_>>());
    let mut candidates = directories
        .unwrap_or_default()
        .into_iter()
        .map(|directory| directory.join(program));
    candidates
        .find(is_program)
        .unwrap_or_else(|| program.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_looked_up_once() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("tmux");
        std::fs::write(&program, "").unwrap();
        let path = std::env::join_paths(["/no/such".into(), directory.path().to_owned()]).unwrap();
        assert_eq!(
            found(Path::new("tmux"), Some(&path)),
            Path::new("tmux"),
            "not executable"
        );
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(found(Path::new("tmux"), Some(&path)), program);
        assert_eq!(found(Path::new("./tmux"), Some(&path)), Path::new("./tmux"));
    }
}
