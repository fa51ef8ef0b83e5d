//! Starts the tmux client that speaks control mode over pipes. Refuses to know what is said over them.

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
    Process::new(&config.binary)
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
