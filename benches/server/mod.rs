//! A private tmux server for a bench: its own socket in its own directory, ended when dropped, on a panic too.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The server; lives as long as this.
pub(crate) struct Server {
    dir: TempDir,
    pid: i32,
}

impl Server {
    /// Starts one with a session of that size whose only pane runs `program`.
    pub(crate) fn start(width: u16, height: u16, program: &str) -> Self {
        let mut server = Self {
            dir: TempDir::with_prefix("orch-bench-").expect("a temporary directory"),
            pid: 0,
        };
        let (width, height) = (width.to_string(), height.to_string());
        server.tmux(&[
            "new-session",
            "-d",
            "-s",
            "main",
            "-x",
            &width,
            "-y",
            &height,
            program,
        ]);
        let pid = server.tmux(&["display-message", "-p", "#{pid}"]);
        server.pid = pid.trim().parse().expect("the server's pid");
        server
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir().join("tmux")
    }

    /// Its process id.
    #[allow(dead_code, reason = "one of the benches has no use for it")]
    pub(crate) fn pid(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    /// `tmux -S SOCKET`, ready to be given arguments.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new("tmux");
        command
            .args(["-u", "-f", "/dev/null", "-S"])
            .arg(self.socket())
            .env_remove("TMUX")
            .env_remove("TMUX_PANE")
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::null());
        command
    }

    /// Runs one tmux command as a process and gives what it printed.
    pub(crate) fn tmux(&self, arguments: &[&str]) -> String {
        let output = self.command().args(arguments).output().expect("tmux runs");
        assert!(
            output.status.success(),
            "tmux {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn is_alive(&self) -> bool {
        let name = std::fs::read_to_string(format!("/proc/{}/comm", self.pid));
        self.pid > 0 && name.is_ok_and(|name| name.starts_with("tmux"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self
            .command()
            .arg("kill-server")
            .stderr(Stdio::null())
            .status();
        let since = Instant::now();
        while self.is_alive() && since.elapsed() < Duration::from_secs(3) {
            std::thread::sleep(Duration::from_millis(20));
        }
        // A server that waits for a client to read does not go by itself (up to 3.7c).
        if let (true, Some(pid)) = (self.is_alive(), Pid::from_raw(self.pid)) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// What `tmux -V` says.
pub(crate) fn version() -> String {
    let output = Command::new("tmux")
        .arg("-V")
        .output()
        .expect("tmux is installed");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The argument after `cargo bench --bench NAME --`; `--bench`, which cargo adds, means nothing.
pub(crate) fn quick() -> bool {
    std::env::args().any(|argument| argument == "--quick")
}

pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}
