//! The demo's surroundings: a directory, two private tmux servers, an orchestrator. All of it goes when this is dropped.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::api::client::Client;
use crate::api::protocol::{Request, Response};
use crate::cmd::keys;
use crate::paths::{Environment, Runtime, Server};

/// How long tmux and orch may take to be ready.
const READY: Duration = Duration::from_secs(15);

/// Size of the person's terminal.
const SIZE: [&str; 4] = ["-x", "120", "-y", "30"];

pub(super) struct Stage {
    directory: TempDir,
    program: PathBuf,
    runtime: Runtime,
}

impl Stage {
    /// Makes the directory and starts the server in which the agents will live.
    pub(super) fn build() -> Result<Self, String> {
        let directory = tempfile::Builder::new()
            .prefix("orch-demo-")
            .tempdir()
            .map_err(|e| format!("cannot make a directory: {e}"))?;
        let at = |name: &str| directory.path().join(name);
        let write = |name: &str, text: &str| {
            std::fs::write(at(name), text).map_err(|e| format!("cannot write {name}: {e}"))
        };
        std::fs::create_dir(at("run")).map_err(|e| format!("cannot make a directory: {e}"))?;
        write(
            "tmux.conf",
            &keys::lines().map_err(|failure| failure.text)?.join("\n"),
        )?;
        let root = at("root").display().to_string();
        let root = serde_json::to_string(&root).map_err(|e| e.to_string())?;
        write(
            "orch.yaml",
            &format!("monitoring:\n  disable_tmux_messages: false\npaths:\n  root: {root}\n"),
        )?;
        let mut env = Environment::present();
        env.runtime = Some(at("run"));
        let server = Server::find(None, Some(&at("agents")), &env).map_err(|e| e.to_string())?;
        let runtime = Runtime::of(&server, &env).map_err(|e| e.to_string())?;
        let program = std::env::current_exe().map_err(|e| format!("cannot find myself: {e}"))?;
        let stage = Self {
            directory,
            program,
            runtime,
        };
        let config = stage.at("tmux.conf").display().to_string();
        stage.tmux(
            "agents",
            &[
                &["-f", &config, "new-session", "-d", "-s", "alpha"],
                &SIZE[..],
            ]
            .concat(),
        )?;
        Ok(stage)
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn root(&self) -> PathBuf {
        self.at("root")
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.runtime.socket.clone()
    }

    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// Runs one tmux command on a server of the stage.
    pub(super) fn tmux(&self, server: &str, arguments: &[&str]) -> Result<String, String> {
        let output = self
            .command("tmux")
            .arg("-S")
            .arg(self.at(server))
            .args(arguments)
            .output()
            .map_err(|e| format!("cannot start tmux: {e}; is it installed?"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!(
                "tmux {} failed: {}",
                arguments.join(" "),
                said.trim()
            ));
        }
        Ok(String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned())
    }

    /// A second server whose only window is a terminal in which a person looks at the first.
    pub(super) fn seat_a_person(&self) -> Result<PathBuf, String> {
        let shell = format!(
            "TMUX= exec tmux -S '{}' attach-session -t alpha",
            self.at("agents").display()
        );
        let first = ["-f", "/dev/null", "new-session", "-d", "-s", "person"];
        self.tmux("person", &[&first[..], &SIZE[..], &[&shell]].concat())?;
        self.tmux("person", &["set-option", "-g", "status", "off"])?;
        Ok(self.at("person"))
    }

    /// Starts `orch run` on the agents' server and waits until it is attached.
    pub(super) async fn start_orchestrator(&self) -> Result<Orchestrator, String> {
        let log = std::fs::File::create(self.at("orch.out"))
            .map_err(|e| format!("cannot write a log: {e}"))?;
        let child = self
            .command(self.program())
            .arg("-S")
            .arg(self.at("agents"))
            .arg("--config")
            .arg(self.at("orch.yaml"))
            .args(["run", "--detached"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|e| format!("cannot start the orchestrator: {e}"))?;
        let mut orchestrator = Orchestrator {
            pid: child.id(),
            child,
            socket: self.socket(),
        };
        let deadline = Instant::now() + READY;
        loop {
            if orchestrator
                .status()
                .await
                .is_ok_and(|status| status["ready"] == true)
            {
                return Ok(orchestrator);
            }
            let ended = orchestrator.child.try_wait().ok().flatten();
            if ended.is_some() || Instant::now() > deadline {
                let said = std::fs::read_to_string(self.at("orch.out")).unwrap_or_default();
                return Err(format!("the orchestrator did not attach: {}", said.trim()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env("XDG_RUNTIME_DIR", self.at("run"))
            .env_remove("TMUX")
            .env_remove("TMUX_PANE")
            .env_remove("ORCH_CONFIG");
        command
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // By their own sockets, which nobody else has.
        for server in ["person", "agents"] {
            let _ = self.tmux(server, &["kill-server"]);
        }
    }
}

/// The orchestrator under test; stopped when dropped.
pub(super) struct Orchestrator {
    pub(super) pid: u32,
    child: Child,
    socket: PathBuf,
}

impl Orchestrator {
    pub(super) async fn status(&self) -> Result<Value, String> {
        let mut client = Client::connect(&self.socket)
            .await
            .map_err(|e| e.to_string())?;
        match client.ask(&Request::Status).await {
            Ok(Response::Status(status)) => Ok(status),
            other => Err(format!("unexpected answer: {other:?}")),
        }
    }

    /// Drains it, so that every event has its outcome.
    pub(super) async fn stop(&mut self) -> Result<(), String> {
        let mut client = Client::connect(&self.socket)
            .await
            .map_err(|e| e.to_string())?;
        client
            .ask(&Request::Stop)
            .await
            .map_err(|e| e.to_string())?;
        let deadline = Instant::now() + READY;
        while self.child.try_wait().map_err(|e| e.to_string())?.is_none() {
            if Instant::now() > deadline {
                return Err("the orchestrator did not stop".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

impl Drop for Orchestrator {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let pid = rustix::process::Pid::from_child(&self.child);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let _ = self.child.wait();
        }
    }
}

/// Looks, all the time, which processes the orchestrator has started.
pub(super) struct ChildWatcher {
    ended: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<HashSet<u32>>,
}

impl ChildWatcher {
    pub(super) fn start(pid: u32) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let flag = ended.clone();
        let thread = std::thread::spawn(move || {
            let mut seen = HashSet::new();
            while !flag.load(Ordering::Relaxed) {
                seen.extend(children(pid));
                std::thread::sleep(Duration::from_millis(5));
            }
            seen
        });
        Self { ended, thread }
    }

    /// Processes beyond the one tmux client: what was seen, or what the orchestrator itself has counted.
    pub(super) fn stop(self, status: &Value) -> u64 {
        self.ended.store(true, Ordering::Relaxed);
        let seen = self.thread.join().unwrap_or_default();
        let client = status["tmux"]["client_pid"].as_u64();
        let others = seen
            .iter()
            .filter(|pid| Some(u64::from(**pid)) != client)
            .count() as u64;
        others.max(
            status["tmux"]["spawned"]
                .as_u64()
                .unwrap_or(0)
                .saturating_sub(1),
        )
    }
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect()
}
