//! `orch start`, `stop` and `restart`: the orchestrator in the background. The lock says whether it runs.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::whereabouts::{Settings, Whereabouts};
use super::{ANOTHER_RUNS, Done, Failure, NOT_RUNNING, asking};
use crate::api::client::Client;
use crate::api::protocol::{Request, Response};
use crate::app::{RunError, Setup};
use crate::cli::Global;
use crate::paths::{self, Holder, Runtime};

/// How long a start may take until it is attached.
const READY: Duration = Duration::from_secs(10);
/// How long a stop may take: longer than all the limits of an end together.
const STOPPED: Duration = Duration::from_secs(20);
/// How often a condition that nobody tells of is looked at.
const LOOK: Duration = Duration::from_millis(20);

pub(super) fn start(global: &Global) -> Done {
    let settings = Settings::read(global, true)?;
    settings.echo();
    let setup = Whereabouts::find(global)?.setup(global, settings)?;
    let holder = asking(ensure(&setup))?;
    say!(
        "orch runs: pid {}, root {}",
        holder.pid,
        holder.root.display()
    );
    Ok(0)
}

/// Starts the orchestrator unless it runs, and waits until it is attached. Who runs says so itself: what stands in
/// the lock file may be of the run before.
pub(super) async fn ensure(setup: &Setup) -> Result<Holder, Failure> {
    let lock = &setup.runtime.lock;
    let deadline = Instant::now() + READY;
    let mut child: Option<Child> = None;
    loop {
        if let Some((holder, ready)) = answer(&setup.runtime, deadline).await
            && child
                .as_ref()
                .is_none_or(|child| ready && child.id() == holder.pid)
        {
            return Ok(holder);
        }
        let ended = child.as_mut().and_then(|child| child.try_wait().ok()?);
        match ended {
            // Another was there before it. Until it has said so it might still take the other's place.
            Some(status) if status.code() == Some(ANOTHER_RUNS.into()) => child = None,
            Some(status) => {
                let what = format!("it ended at once ({status})");
                return Err(root_in_use(setup).unwrap_or_else(|| failed(setup, &what)));
            }
            None if child.is_none() && paths::holder(lock).is_none() => {
                child = Some(launch(setup)?);
            }
            None => {}
        }
        if Instant::now() > deadline {
            let after = READY.as_secs();
            return Err(match paths::holder(lock) {
                Some(holder) if child.is_none() => silent(&holder, after),
                _ => failed(setup, &format!("not attached after {after} s")),
            });
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn launch(setup: &Setup) -> Result<Child, Failure> {
    if std::os::unix::net::UnixStream::connect(&setup.server.socket).is_err() {
        let socket = setup.server.socket.display();
        return Err(Failure::new(format!(
            "no tmux server runs at {socket}; start tmux first, or `orch run` to wait for it"
        )));
    }
    setup.runtime.secure(&setup.env).map_err(Failure::new)?;
    setup.root.make().map_err(Failure::new)?;
    spawn(setup)
}

/// It holds the lock, and does not answer.
fn silent(holder: &Holder, after: u64) -> Failure {
    let pid = match holder.pid {
        0 => "PID".to_owned(),
        pid => pid.to_string(),
    };
    Failure::new(format!(
        "an orchestrator runs (pid {pid}), but its socket has not answered for {after} s: it is stopped or hangs. \
         `orch logs` says what it did last; `kill -CONT {pid}` wakes one that was stopped; else end it with \
         `kill -9 {pid}` and start again, which loses nothing that was accepted"
    ))
}

/// A new one has this server's lock and not the root's: another server's has that.
fn root_in_use(setup: &Setup) -> Option<Failure> {
    if paths::holder(&setup.runtime.lock).is_some() {
        return None;
    }
    let pid = setup.root.holder()?;
    let root = setup.root.0.clone();
    Some(Failure::new(RunError::Root { root, pid }))
}

fn failed(setup: &Setup, what: &str) -> Failure {
    let log = setup.root.diagnostics();
    let last = super::logs::last_lines(&log, 3).join("\n");
    Failure::new(format!("{what}; {} says:\n{last}", log.display()))
}

fn spawn(setup: &Setup) -> Result<Child, Failure> {
    let log = setup.root.diagnostics();
    let cannot = |what: &str, e: std::io::Error| Failure::new(format!("cannot {what}: {e}"));
    let out = std::fs::File::options()
        .append(true)
        .create(true)
        .open(&log);
    let out = out.map_err(|e| cannot(&format!("write {}", log.display()), e))?;
    let err = out
        .try_clone()
        .map_err(|e| cannot("use the log twice", e))?;
    let program: PathBuf = std::env::current_exe().map_err(|e| cannot("find myself", e))?;
    let mut command = Command::new(program);
    command
        .arg("-S")
        .arg(&setup.server.socket)
        .arg("--root")
        .arg(&setup.root.0);
    if let Some(config) = &setup.config_path {
        command.arg("--config").arg(config);
    }
    command
        .args(["run", "--detached"])
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err);
    command
        .spawn()
        .map_err(|e| cannot("start the orchestrator", e))
}

/// Who runs, and whether it is attached, by its own word.
async fn answer(runtime: &Runtime, deadline: Instant) -> Option<(Holder, bool)> {
    let asking = async {
        let mut client = Client::connect(&runtime.socket).await.ok()?;
        match client.ask(&Request::Status).await {
            Ok(Response::Status(status)) => Some(status),
            _ => None,
        }
    };
    let status = tokio::time::timeout_at(deadline.into(), asking)
        .await
        .ok()??;
    let ready = status["ready"] == true;
    Some((serde_json::from_value(status).ok()?, ready))
}

pub(super) fn stop(global: &Global) -> Done {
    let whereabouts = Whereabouts::find(global)?;
    asking(async {
        let Some(holder) = paths::holder(&whereabouts.runtime.lock) else {
            return Err(Failure {
                code: NOT_RUNNING,
                text: "no orchestrator is running for this tmux server".into(),
            });
        };
        let unfinished = halt(&whereabouts).await?;
        if !unfinished.is_empty() {
            return Err(Failure::new(not_all_done(&unfinished)));
        }
        say!("orch stopped: pid {}", holder.pid);
        Ok(0)
    })
}

fn not_all_done(unfinished: &[String]) -> String {
    format!(
        "orch ended before all was done: {} did not end in time or failed; `orch logs` says more. \
         What was accepted is in the journal or was reported as failed; the next start goes on from there",
        unfinished.join(", ")
    )
}

/// Asks it to stop through its socket and waits until its lock is free, or another's: no process is ever signalled
/// by number. Gives what it had to drop, by its own last word.
async fn halt(whereabouts: &Whereabouts) -> Result<Vec<String>, Failure> {
    let runtime = &whereabouts.runtime;
    let deadline = Instant::now() + STOPPED;
    let mut asked = None;
    while let Some(holder) = paths::holder(&runtime.lock) {
        if asked.is_some_and(|pid| pid != holder.pid) {
            return Ok(Vec::new());
        }
        if asked.is_none()
            && let Some((runs, _)) = answer(runtime, deadline).await
            && let Ok(mut client) = Client::connect(&runtime.socket).await
            && client.ask(&Request::Stop).await.is_ok()
        {
            asked = Some(runs.pid);
        }
        if Instant::now() > deadline {
            let after = STOPPED.as_secs();
            return Err(match asked {
                Some(pid) => Failure::new(format!(
                    "it has not ended after {after} s; `orch logs` says what it waits for, `kill -9 {pid}` ends it"
                )),
                None => silent(&holder, after),
            });
        }
        tokio::time::sleep(LOOK).await;
    }
    let last = paths::last_holder(&runtime.lock);
    Ok(last
        .filter(|last| asked.is_none_or(|pid| pid == last.pid))
        .map(|last| last.unfinished)
        .unwrap_or_default())
}

pub(super) fn restart(global: &Global) -> Done {
    let whereabouts = Whereabouts::find(global)?;
    // A bad configuration must not cost the running orchestrator.
    Settings::read(global, true)?;
    let running = paths::holder(&whereabouts.runtime.lock).is_some();
    let unfinished = asking(halt(&whereabouts))?;
    if running && !unfinished.is_empty() {
        eprintln!("orch: {}", not_all_done(&unfinished));
    }
    start(global)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_waits_longer_than_any_end_takes() {
        let longest = crate::app::longest_end();
        assert!(longest + Duration::from_secs(2) <= STOPPED, "{longest:?}");
    }
}
