//! One life of the connection: reads frames, writes commands, matches replies, notices a blocked queue.
//! Refuses to know why it exists and what comes after it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::codec::FramedRead;
use tokio_util::sync::CancellationToken;

use super::{Request, SendError, Signal};
use crate::tmux::codec::{Block, ControlCodec, Frame};
use crate::tmux::pending::{Match, Pending};
use crate::tmux::{Command, Notification, SessionId};

/// Commands that may be in flight before new ones wait at the door.
const IN_FLIGHT: usize = 512;
/// A queue whose head is this old, while nothing at all is read, is blocked.
const BLOCKED_AFTER: Duration = Duration::from_secs(10);
/// Seconds between two sentinels.
const SENTINEL_EVERY: u32 = 30;
/// How long a client may take to leave once its stdin is closed, before its exit is no longer waited for.
const LEAVE: Duration = Duration::from_secs(5);

/// How a connection ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// What tmux or the client said last, for people.
    pub(super) reason: String,
    /// The first block was an error: tmux refused to attach.
    pub(super) refused: bool,
}

/// A running connection.
pub(super) struct Link {
    pub(super) requests: mpsc::Sender<Request>,
    /// The session that tmux has attached it to; changes when tmux or a person moves it.
    pub(super) session: watch::Receiver<Option<SessionId>>,
    /// True once the client was told to leave and does not: the server hangs.
    pub(super) hung: watch::Receiver<bool>,
    pub(super) task: JoinHandle<Ended>,
    pub(super) pid: u32,
}

enum Waiter {
    Reply(oneshot::Sender<Result<Vec<Bytes>, SendError>>),
    Sentinel(u64),
}

struct Wire {
    writer: Option<mpsc::UnboundedSender<Bytes>>,
    pending: Pending<Waiter>,
    patience: Duration,
    signals: mpsc::UnboundedSender<Signal>,
    session: watch::Sender<Option<SessionId>>,
    hung: watch::Sender<bool>,
    first_block: Option<Block>,
    exit: Option<String>,
    fault: Option<String>,
    output: bool,
}

/// Takes over a client that was just started. `leave` closes its stdin.
pub(super) fn start(
    mut child: Child,
    config: &super::Config,
    signals: mpsc::UnboundedSender<Signal>,
    leave: CancellationToken,
) -> std::io::Result<Link> {
    let missing = || std::io::Error::other("the tmux client has no pipes");
    let stdin = child.stdin.take().ok_or_else(missing)?;
    let stdout = child.stdout.take().ok_or_else(missing)?;
    let stderr = child.stderr.take().ok_or_else(missing)?;
    let pid = child.id().unwrap_or_default();
    let (requests, inbox) = mpsc::channel(IN_FLIGHT);
    let (session_tx, session) = watch::channel(None);
    let (hung_tx, hung) = watch::channel(false);
    let wire = Wire {
        writer: Some(writer(stdin)),
        pending: Pending::default(),
        patience: config.patience,
        signals,
        session: session_tx,
        hung: hung_tx,
        first_block: None,
        exit: None,
        fault: None,
        output: config.output,
    };
    let task = tokio::spawn(wire.run(child, stdout, stderr, inbox, leave));
    Ok(Link {
        requests,
        session,
        hung,
        task,
        pid,
    })
}

/// Writes in a task of its own, so that reading never waits for a full pipe. Ends, and closes the
/// client's stdin, when its sender is dropped.
fn writer(mut stdin: ChildStdin) -> mpsc::UnboundedSender<Bytes> {
    let (lines, mut inbox) = mpsc::unbounded_channel::<Bytes>();
    tokio::spawn(async move {
        while let Some(line) = inbox.recv().await {
            if stdin.write_all(&line).await.is_err() {
                return;
            }
        }
    });
    lines
}

impl Wire {
    async fn run(
        mut self,
        mut child: Child,
        stdout: ChildStdout,
        mut stderr: ChildStderr,
        mut inbox: mpsc::Receiver<Request>,
        leave: CancellationToken,
    ) -> Ended {
        let said = tokio::spawn(async move {
            let mut text = Vec::new();
            let _ = (&mut stderr).take(4096).read_to_end(&mut text).await;
            let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
            String::from_utf8_lossy(&text).trim().to_owned()
        });
        let mut frames = FramedRead::with_capacity(stdout, ControlCodec::new(), 64 << 10);
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (mut quiet, mut beats, mut closing, mut leaving) = (0u32, 0u32, 0u64, false);
        loop {
            tokio::select! {
                frame = frames.next() => match frame {
                    Some(Ok(frame)) => {
                        // Only an answer of ours shows that the queue moves: notifications come all the same.
                        if matches!(&frame, Frame::Reply(block) if block.flags & 1 == 1) {
                            quiet = 0;
                        }
                        self.read(frame);
                    }
                    Some(Err(error)) => {
                        self.fault = Some(format!("reading from tmux failed: {error}"));
                        break;
                    }
                    None => break,
                },
                Some(request) = inbox.recv(), if self.pending.len() < IN_FLIGHT && self.writer.is_some() => {
                    self.write(&request.command, Waiter::Reply(request.reply));
                }
                _ = tick.tick() => {
                    quiet += 1;
                    beats += 1;
                    let now = Instant::now();
                    for waiter in self.pending.expired(now) {
                        resolve(waiter, Err(SendError::Timeout));
                    }
                    if quiet > 2 && self.pending.oldest(now).is_some_and(|age| age > BLOCKED_AFTER) {
                        self.give_up("its queue is blocked: no reply for 10 s");
                    }
                    if self.writer.is_none() {
                        closing += 1;
                        if closing == LEAVE.as_secs() {
                            inbox.close();
                            self.hang(&mut inbox);
                        }
                    }
                    if beats.is_multiple_of(SENTINEL_EVERY) {
                        let number = u64::from(beats / SENTINEL_EVERY);
                        self.write(&Command::Sentinel { number }, Waiter::Sentinel(number));
                    }
                }
                () = leave.cancelled(), if !leaving => {
                    leaving = true;
                    self.writer = None;
                }
            }
        }
        inbox.close();
        self.resolve_all(&mut inbox);
        drop(self.writer.take());
        // Its output has ended, so it is on its way out; no signal is ever sent to it.
        let _ = tokio::time::timeout(LEAVE, child.wait()).await;
        let said = tokio::time::timeout(LEAVE, said)
            .await
            .ok()
            .and_then(Result::ok)
            .unwrap_or_default();
        let refusal = self.first_block.as_ref().filter(|b| !b.ok).map(text_of);
        let refused = refusal.is_some();
        let reason = self
            .fault
            .or(refusal)
            .or(self.exit)
            .filter(|r| !r.is_empty());
        let reason = reason
            .or(Some(said).filter(|s| !s.is_empty()))
            .unwrap_or_else(|| "detached".to_owned());
        Ended { reason, refused }
    }

    /// A server that hangs holds the client. Nobody waits for it any more, but what it says is read to its end: a
    /// client whose output nobody takes would stay for ever, and tmux could not even be killed.
    fn hang(&mut self, inbox: &mut mpsc::Receiver<Request>) {
        self.fault.get_or_insert_with(|| {
            "tmux does not answer, and does not let the client go".to_owned()
        });
        self.hung.send_replace(true);
        self.resolve_all(inbox);
    }

    fn resolve_all(&mut self, inbox: &mut mpsc::Receiver<Request>) {
        while let Ok(request) = inbox.try_recv() {
            resolve(Waiter::Reply(request.reply), Err(SendError::Closed));
        }
        for waiter in self.pending.drain() {
            resolve(waiter, Err(SendError::Closed));
        }
    }

    fn write(&mut self, command: &Command, waiter: Waiter) {
        let Some(writer) = &self.writer else {
            return resolve(waiter, Err(SendError::Closed));
        };
        let mut line = command.to_string();
        line.push('\n');
        if writer.send(line.into()).is_ok() {
            self.pending.push(waiter, Instant::now(), self.patience);
        } else {
            resolve(waiter, Err(SendError::Closed));
        }
    }

    /// The cure for a connection that can no longer be trusted: end of file, then attach anew.
    fn give_up(&mut self, why: &str) {
        if self.writer.take().is_some() {
            tracing::warn!(target: "orch::tmux", "giving the connection up: {why}");
            self.fault = Some(why.to_owned());
        }
    }

    fn read(&mut self, frame: Frame) {
        match frame {
            Frame::Reply(block) => self.answer(block),
            Frame::Notification(notification) => self.notice(notification),
            Frame::Stray(line) => {
                tracing::debug!(target: "orch::tmux", "stray line: {:?}", String::from_utf8_lossy(&line));
            }
            Frame::Truncated(block) => {
                tracing::warn!(target: "orch::tmux", "block {} was cut off", block.number);
                if block.flags & 1 == 1 {
                    self.give_up("a reply was larger than 64 MiB or was cut off");
                }
            }
        }
    }

    fn answer(&mut self, block: Block) {
        if self.first_block.is_none() {
            self.first_block = Some(block);
            return;
        }
        match self.pending.answer(block.flags) {
            Match::Waiter(Waiter::Reply(reply)) => {
                let result = if block.ok {
                    Ok(block.lines)
                } else {
                    Err(SendError::Refused(text_of(&block)))
                };
                let _ = reply.send(result);
            }
            Match::Waiter(Waiter::Sentinel(number)) => {
                if block.lines != [format!("orch:{number}").as_bytes()] {
                    self.give_up("replies no longer belong to their commands");
                }
            }
            Match::Unasked => self.give_up("a reply came that nothing had asked for"),
            Match::Abandoned | Match::Foreign => {}
        }
    }

    fn notice(&mut self, notification: Notification) {
        use Notification as N;
        let signal = match notification {
            N::Output { pane, .. } | N::ExtendedOutput { pane, .. } if self.output => {
                Signal::Output { pane }
            }
            N::SubscriptionChanged { name, value, .. } => Signal::Value { name, value },
            N::ClientSessionChanged { .. } | N::ClientDetached { .. } => Signal::Clients,
            N::SessionChanged { session, .. } => {
                self.session.send_replace(Some(session));
                Signal::Structure
            }
            N::WindowAdd { .. }
            | N::WindowClose { .. }
            | N::UnlinkedWindowAdd { .. }
            | N::UnlinkedWindowClose { .. }
            | N::WindowRenamed { .. }
            | N::UnlinkedWindowRenamed { .. }
            | N::WindowPaneChanged { .. }
            | N::LayoutChange { .. }
            | N::SessionRenamed { .. }
            | N::SessionsChanged
            | N::SessionWindowChanged { .. }
            | N::PaneModeChanged { .. } => Signal::Structure,
            N::Exit { reason } => {
                // Anybody can name a directory `%exit`: it counts only when the stream ends too.
                self.exit = Some(
                    reason
                        .map(|r| String::from_utf8_lossy(&r).into_owned())
                        .unwrap_or_default(),
                );
                return;
            }
            N::ConfigError { text } | N::Message { text } => {
                tracing::info!(target: "orch::tmux", "tmux says: {:?}", String::from_utf8_lossy(&text));
                return;
            }
            N::Unknown { name, text, .. } => {
                tracing::debug!(target: "orch::tmux", "unknown notification {name:?} {text:?}");
                return;
            }
            N::Output { .. }
            | N::ExtendedOutput { .. }
            | N::Pause { .. }
            | N::Continue { .. }
            | N::PasteBufferChanged { .. }
            | N::PasteBufferDeleted { .. } => return,
        };
        let _ = self.signals.send(signal);
    }
}

fn resolve(waiter: Waiter, result: Result<Vec<Bytes>, SendError>) {
    if let Waiter::Reply(reply) = waiter {
        let _ = reply.send(result);
    }
}

fn text_of(block: &Block) -> String {
    let lines: Vec<_> = block
        .lines
        .iter()
        .map(|l| String::from_utf8_lossy(l))
        .collect();
    crate::tmux::escape::without_controls(&lines.join(" "))
}
