//! The one connection: keeps a control-mode client attached, follows when its session or server ends,
//! and hands out a handle for commands. Together with its parts the only I/O of `tmux`.
//!
//! ```text
//! waiting (no server) ──▶ attaching ──▶ attached ──(end of stream)──▶ is the server alive?
//!    ▲                        ▲                                        │ no: lost   │ yes: kicked, session ended
//!    └────────────────────────┼────────────────────────────────────────┘            │
//!                             └───────── backoff with jitter ◀──────────────────────┘
//! ```

mod host;
mod link;
mod process;
mod supervisor;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use super::Command;
use super::id::{ClientName, PaneId, ServerKey, SessionId};
use super::version::Version;

pub use supervisor::run;

/// How to attach.
#[derive(Debug, Clone)]
pub struct Config {
    /// The tmux program.
    pub binary: PathBuf,
    /// The server's socket.
    pub socket: PathBuf,
    /// Ask for `%output` too. Decided here once: toggling it on a live connection hangs tmux up to 3.6b.
    pub output: bool,
    /// How long a command may wait for its reply.
    pub patience: Duration,
}

impl Config {
    /// The usual way: no output, 5 s for a reply.
    pub fn new(socket: PathBuf) -> Self {
        Self {
            binary: "tmux".into(),
            socket,
            output: false,
            patience: Duration::from_secs(5),
        }
    }
}

/// What is known of the server once attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Which life of which server.
    pub server: ServerKey,
    /// Its version.
    pub version: Version,
    /// The control client's own name.
    pub client: ClientName,
    /// The session it is attached to.
    pub session: SessionId,
    /// Process id of the tmux client.
    pub client_pid: u32,
}

/// What the connection tells. Sent unbounded: tmux's own pace bounds it (hints are coalesced by the
/// reader, values come at most once a second), and reading tmux must never wait for anybody.
#[derive(Debug)]
pub enum Signal {
    /// Attached, for the first time or again.
    Attached(Attachment),
    /// Panes, windows or sessions may have changed: list them.
    Structure,
    /// Clients may have changed: list them.
    Clients,
    /// A subscription's new value.
    Value {
        /// The name it was subscribed under.
        name: Bytes,
        /// The expanded format, raw.
        value: Bytes,
    },
    /// A pane wrote something (only with [`Config::output`]).
    Output {
        /// Which.
        pane: PaneId,
    },
    /// The server is gone, or could not be reached for several seconds.
    Lost {
        /// What was seen, for people.
        reason: String,
    },
}

/// Where the connection stands, for status.
#[derive(Debug, Clone, Default)]
pub struct LinkStatus {
    /// `waiting`, `attaching`, `attached` or `blocked`.
    pub state: &'static str,
    /// Since when it has been in that state.
    pub since: Option<chrono::DateTime<chrono::Local>>,
    /// Present while attached.
    pub attachment: Option<Attachment>,
    /// Times that a client was started beyond the first.
    pub reconnects: u64,
    /// Processes started, all of them tmux clients.
    pub spawned: u64,
    /// What went wrong last, and when.
    pub last_error: Option<(chrono::DateTime<chrono::Local>, String)>,
}

/// Why a command has no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No server is attached at the moment.
    #[error("not attached to tmux")]
    NotAttached,
    /// The connection ended before the reply came.
    #[error("the connection to tmux ended before the reply came")]
    Closed,
    /// No reply in time.
    #[error("tmux did not answer in time")]
    Timeout,
    /// tmux answered with `%error`.
    #[error("tmux refused: {0}")]
    Refused(String),
}

/// A command on its way, and where its reply goes.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) command: Command,
    pub(crate) reply: oneshot::Sender<Result<Vec<Bytes>, SendError>>,
}

/// Handle for sending commands; cheap to clone, outlives reconnections.
#[derive(Debug, Clone)]
pub struct Tmux {
    link: watch::Receiver<Option<mpsc::Sender<Request>>>,
    status: watch::Receiver<LinkStatus>,
}

impl Tmux {
    /// Sends one command and waits for its reply, the lines of its block.
    ///
    /// # Errors
    /// [`SendError`]: not attached, connection ended, no reply in time, or refused by tmux.
    pub async fn ask(&self, command: Command) -> Result<Vec<Bytes>, SendError> {
        let link = self.link.borrow().clone().ok_or(SendError::NotAttached)?;
        ask_over(&link, command).await
    }

    /// Sends commands together, so that tmux works them off in one go, and waits for all replies.
    pub async fn ask_all(&self, commands: Vec<Command>) -> Vec<Result<Vec<Bytes>, SendError>> {
        let Some(link) = self.link.borrow().clone() else {
            return commands
                .iter()
                .map(|_| Err(SendError::NotAttached))
                .collect();
        };
        let mut replies = Vec::with_capacity(commands.len());
        for command in commands {
            let (reply, answer) = oneshot::channel();
            let sent = link.send(Request { command, reply }).await.is_ok();
            replies.push((sent, answer));
        }
        let mut results = Vec::with_capacity(replies.len());
        for (sent, answer) in replies {
            let result = if sent {
                answer.await.unwrap_or(Err(SendError::Closed))
            } else {
                Err(SendError::Closed)
            };
            results.push(result);
        }
        results
    }

    /// Where the connection stands.
    pub fn status(&self) -> LinkStatus {
        self.status.borrow().clone()
    }

    /// Follows where the connection stands.
    pub fn watch(&self) -> watch::Receiver<LinkStatus> {
        self.status.clone()
    }
}

pub(crate) async fn ask_over(
    link: &mpsc::Sender<Request>,
    command: Command,
) -> Result<Vec<Bytes>, SendError> {
    let (reply, answer) = oneshot::channel();
    link.send(Request { command, reply })
        .await
        .map_err(|_| SendError::Closed)?;
    answer.await.unwrap_or(Err(SendError::Closed))
}
