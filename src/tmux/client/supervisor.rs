//! Keeps the connection alive: waits for a server, attaches, checks its version, chooses the host session,
//! starts again after an end. Decides what counts as lost.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::link::{self, Ended, Link};
use super::{
    Attachment, Config, LinkStatus, Request, SendError, Signal, Tmux, ask_over, host, process,
};
use crate::tmux::Command;
use crate::tmux::id::{ClientName, ServerKey, SessionId};
use crate::tmux::version::{OLDEST, Version};

/// How often a socket without a server is tried.
const SERVER_POLL: Duration = Duration::from_millis(300);
/// How long tmux may take to answer the attach.
const ATTACH: Duration = Duration::from_secs(10);
/// Without a connection for this long the server counts as lost, alive or not.
const LOST_AFTER: Duration = Duration::from_secs(5);
/// Backoff between attempts: first, largest; a connection that held this long starts again at the first.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(30));
const HEALTHY: Duration = Duration::from_secs(60);

const IDENTITY: &str = "#{version}\t#{pid}\t#{start_time}\t#{client_name}";

/// Starts the supervisor; it ends, with its tmux client gone, after `shutdown` is cancelled.
pub fn run(
    config: Config,
    shutdown: CancellationToken,
) -> (
    Tmux,
    mpsc::UnboundedReceiver<Signal>,
    tokio::task::JoinHandle<()>,
) {
    let (signals, receiver) = mpsc::unbounded_channel();
    let (link, link_rx) = watch::channel(None);
    let (status, status_rx) = watch::channel(LinkStatus {
        state: "waiting",
        ..LinkStatus::default()
    });
    let supervisor = Supervisor {
        config,
        shutdown,
        signals,
        link,
        status,
        down_since: None,
    };
    let task = tokio::spawn(supervisor.run());
    (
        Tmux {
            link: link_rx,
            status: status_rx,
        },
        receiver,
        task,
    )
}

struct Supervisor {
    config: Config,
    shutdown: CancellationToken,
    signals: mpsc::UnboundedSender<Signal>,
    link: watch::Sender<Option<mpsc::Sender<Request>>>,
    status: watch::Sender<LinkStatus>,
    /// Since when there is no connection; `None` while attached, before the first one, or once told.
    down_since: Option<Instant>,
}

impl Supervisor {
    async fn run(mut self) {
        let mut backoff = BACKOFF.0;
        while !self.shutdown.is_cancelled() {
            if !process::server_is_alive(&self.config).await {
                self.set_state("waiting");
                self.lost("no tmux server is running");
                backoff = BACKOFF.0;
                self.pause(SERVER_POLL).await;
                continue;
            }
            let since = Instant::now();
            match self.attach_once().await {
                Ok(reason) => {
                    if self.shutdown.is_cancelled() {
                        break;
                    }
                    tracing::info!(target: "orch::tmux", "connection ended: {reason}");
                    self.down_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > HEALTHY {
                        backoff = BACKOFF.0;
                    }
                }
                Err(reason) => {
                    tracing::warn!(target: "orch::tmux", "cannot attach: {reason}");
                    self.status.send_modify(|s| {
                        s.last_error = Some((chrono::Local::now(), reason.clone()));
                    });
                    self.lost_if_long(&reason);
                }
            }
            self.set_state("attaching");
            // Until the loss is told, no pause may outlast the time after which it must be.
            let limit = if self.down_since.is_some() {
                LOST_AFTER / 2
            } else {
                BACKOFF.1
            };
            self.pause(jittered(backoff.min(limit))).await;
            self.lost_if_long("every connection ends at once");
            backoff = (backoff * 2).min(BACKOFF.1);
        }
        self.set_state("stopped");
    }

    /// Waits for the end of a client that was told to leave. A server that hangs holds it, and there is never a second
    /// one beside it.
    async fn outlive(&mut self, mut task: JoinHandle<Ended>) -> Ended {
        loop {
            tokio::select! {
                ended = &mut task => return ended.unwrap_or_else(|e| panicked(&e)),
                () = tokio::time::sleep(SERVER_POLL) => self.lost_if_long("tmux does not answer"),
            }
        }
    }

    fn lost_if_long(&mut self, reason: &str) {
        if self
            .down_since
            .is_some_and(|since| since.elapsed() > LOST_AFTER)
        {
            self.lost(reason);
        }
    }

    /// One client from start to end. `Ok` when it was attached, with how it ended.
    async fn attach_once(&mut self) -> Result<String, String> {
        self.set_state("attaching");
        let child = process::spawn(&self.config).map_err(|e| {
            format!(
                "cannot start {}: {e}; is tmux installed?",
                self.config.binary.display()
            )
        })?;
        self.status.send_modify(|s| {
            s.reconnects += u64::from(s.spawned > 0);
            s.spawned += 1;
        });
        let leave = self.shutdown.child_token();
        let mut link = link::start(child, &self.config, self.signals.clone(), leave.clone())
            .map_err(|e| format!("cannot talk to the tmux client: {e}"))?;
        let greeted = tokio::time::timeout(ATTACH, greet(&mut link)).await;
        let attachment = match greeted.unwrap_or(Err(Greeting::Silent)) {
            Ok(attachment) => attachment,
            Err(greeting) => {
                leave.cancel();
                let ended = self.outlive(link.task).await;
                return Err(match greeting {
                    Greeting::Ended(_) => refusal(&ended),
                    other => other.to_string(),
                });
            }
        };
        self.down_since = None;
        self.status.send_modify(|s| {
            s.state = "attached";
            s.since = Some(chrono::Local::now());
            s.attachment = Some(attachment.clone());
            s.last_error = None;
        });
        self.link.send_replace(Some(link.requests.clone()));
        let _ = self.signals.send(Signal::Attached(attachment.clone()));
        let ended = self.stay(link, attachment, &leave).await;
        self.link.send_replace(None);
        self.status.send_modify(|s| {
            s.attachment = None;
            let reason = format!("connection ended: {}", ended.reason);
            s.last_error = Some((chrono::Local::now(), reason));
        });
        Ok(ended.reason)
    }

    /// Until the connection ends. Wherever tmux or a person moves the client, a session that may not host it is left.
    async fn stay(
        &mut self,
        mut link: Link,
        mut attachment: Attachment,
        leave: &CancellationToken,
    ) -> Ended {
        loop {
            tokio::select! {
                ended = &mut link.task => return ended.unwrap_or_else(|e| panicked(&e)),
                Ok(()) = link.session.changed() => {}
                Ok(()) = link.hung.changed() => {
                    self.link.send_replace(None);
                    self.set_state("blocked");
                    self.status.send_modify(|s| s.attachment = None);
                    self.down_since.get_or_insert_with(Instant::now);
                    return self.outlive(link.task).await;
                }
            }
            let Some(present) = *link.session.borrow_and_update() else {
                continue;
            };
            match settle(&link.requests, &attachment.client, present).await {
                Ok(session) => {
                    attachment.session = session;
                    self.status
                        .send_modify(|s| s.attachment = Some(attachment.clone()));
                }
                Err(Greeting::NoHost) => {
                    tracing::warn!(target: "orch::tmux", "leaving: {}", Greeting::NoHost);
                    leave.cancel();
                }
                // Moved again, or at its end: both are told by themselves.
                Err(_) => {}
            }
        }
    }

    fn set_state(&self, state: &'static str) {
        self.status.send_if_modified(|s| {
            let changed = std::mem::replace(&mut s.state, state) != state;
            if changed {
                s.since = Some(chrono::Local::now());
            }
            changed
        });
    }

    fn lost(&mut self, reason: &str) {
        if self.down_since.take().is_some() {
            let _ = self.signals.send(Signal::Lost {
                reason: reason.to_owned(),
            });
        }
    }

    async fn pause(&self, duration: Duration) {
        tokio::select! {
            () = tokio::time::sleep(duration) => {}
            () = self.shutdown.cancelled() => {}
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Greeting {
    #[error("tmux did not answer the attach within 10 s")]
    Silent,
    #[error("tmux {0} is too old: orch needs {major}.{minor} or newer", major = OLDEST.0, minor = OLDEST.1)]
    TooOld(Version),
    #[error(
        "every session has destroy-unattached set, so none can host orch; create one without it"
    )]
    NoHost,
    #[error("tmux says of itself what orch cannot read: {0:?}")]
    Unreadable(String),
    #[error("{0}")]
    Ended(SendError),
}

async fn greet(link: &mut Link) -> Result<Attachment, Greeting> {
    let present = link.session.wait_for(Option::is_some).await;
    let present = present.ok().and_then(|session| *session);
    let present = present.ok_or(Greeting::Ended(SendError::Closed))?;
    let identity = ask_over(&link.requests, Command::Ask { format: IDENTITY })
        .await
        .map_err(Greeting::Ended)?;
    let text = identity
        .first()
        .map(|l| String::from_utf8_lossy(l).into_owned())
        .unwrap_or_default();
    let fields: Vec<&str> = text.split('\t').collect();
    let [version, pid, start, client] = fields[..] else {
        return Err(Greeting::Unreadable(text));
    };
    let version = Version::parse(version);
    if !version.is_supported() {
        return Err(Greeting::TooOld(version));
    }
    let (Ok(pid), Ok(start)) = (pid.parse(), start.parse()) else {
        return Err(Greeting::Unreadable(text));
    };
    let client = ClientName(client.to_owned());
    let session = settle(&link.requests, &client, present).await?;
    Ok(Attachment {
        server: ServerKey { pid, start },
        version,
        client,
        session,
        client_pid: link.pid,
    })
}

/// Moves the client to a session that may host it, unless `present` is one.
async fn settle(
    requests: &mpsc::Sender<Request>,
    client: &ClientName,
    present: SessionId,
) -> Result<SessionId, Greeting> {
    let listing = Command::ListSessions {
        format: host::FORMAT,
    };
    let sessions = ask_over(requests, listing).await.map_err(Greeting::Ended)?;
    let session = host::choose(&sessions, present).ok_or(Greeting::NoHost)?;
    if session != present {
        let client = client.clone();
        ask_over(requests, Command::Host { client, session })
            .await
            .map_err(Greeting::Ended)?;
    }
    Ok(session)
}

fn refusal(ended: &Ended) -> String {
    let reason = &ended.reason;
    if ended.refused {
        format!("tmux refused to attach: {reason}")
    } else if reason.contains("usage:")
        || reason.contains("unknown option")
        || reason.contains("invalid option")
    {
        format!(
            "this tmux is too old, orch needs {}.{} or newer; it said: {reason}",
            OLDEST.0, OLDEST.1
        )
    } else {
        format!("the tmux client ended at once: {reason}")
    }
}

fn panicked(error: &tokio::task::JoinError) -> Ended {
    Ended {
        reason: format!("the connection failed inside orch: {error}"),
        refused: false,
    }
}

/// Between half and the whole of `duration`, so that several orchs do not come back in step.
fn jittered(duration: Duration) -> Duration {
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map(|d| d.subsec_nanos())
        .unwrap_or_default();
    duration.mul_f64(0.5 + f64::from(nanos % 1000) / 2000.0)
}
