//! Serves the socket: checks who connects, bounds what each may cost, answers in order. A client that never reads or
//! never ends its line harms nobody but itself.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt, BufWriter};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf, UCred};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::codec::{FramedRead, LinesCodec};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::guests::{Guest, Guests};
use super::panes;
use super::protocol::{MAX_LINE, Request, Response};
use crate::bus::Bus;
use crate::event::{Draft, Emission, Event};
use crate::journal::AppendError;
use crate::panes::Roster;
use crate::state::State;

/// First and longest pause after nobody could be let in.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How long open answers may take to be read at the end.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Requests of one connection that may be unanswered.
const UNANSWERED: usize = 256;
/// Longest text of a refusal, in characters.
const LONGEST_ERROR: usize = 1000;
/// How long it is waited for who connected in the last moment.
const BACKLOG: Duration = Duration::from_millis(100);
/// How long a request that is to be recorded waits for the journal.
const RECORD: Duration = Duration::from_secs(1);

/// A question that the composition root answers.
#[derive(Debug)]
pub enum Ask {
    /// See [`Request::Status`].
    Status(oneshot::Sender<Value>),
    /// See [`Request::ClearQueues`].
    ClearQueues(oneshot::Sender<usize>),
    /// See [`Request::Ack`].
    Ack(u64, oneshot::Sender<bool>),
    /// See [`Request::Mute`].
    Mute(
        Vec<String>,
        Duration,
        oneshot::Sender<Result<Value, String>>,
    ),
    /// See [`Request::Unmute`].
    Unmute(Option<Vec<String>>, oneshot::Sender<Result<Value, String>>),
    /// See [`Request::Mutes`].
    Mutes(oneshot::Sender<Result<Value, String>>),
    /// See [`Request::Reload`].
    Reload,
    /// See [`Request::Stop`].
    Stop,
}

/// What the server works with.
#[derive(Debug, Clone)]
pub struct Context {
    /// Where events go and come from.
    pub bus: Bus,
    /// Who is there.
    pub roster: watch::Receiver<Arc<Roster>>,
    /// What is known.
    pub state: watch::Receiver<Arc<State>>,
    /// Everything else.
    pub asks: mpsc::Sender<Ask>,
}

impl Context {
    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(ask(reply)).await.ok()?;
        answer.await.ok()
    }

    /// Every pane as it is now.
    fn panes(&self) -> Response {
        let roster = self.roster.borrow().clone();
        let state = self.state.borrow().clone();
        let all = roster.panes.values();
        Response::Panes(all.map(|pane| panes::describe(pane, &state)).collect())
    }
}

fn ended() -> Response {
    Response::Error(
        "no answer: the orchestrator is ending, or delivery is busy; `orch status` says which"
            .to_owned(),
    )
}

/// Which socket file is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound(u64, u64);

impl Bound {
    /// Whether the file under this name is still ours.
    pub fn is_at(&self, path: &Path) -> bool {
        Self::of(path).is_ok_and(|there| there == *self)
    }

    fn of(path: &Path) -> std::io::Result<Self> {
        let found = std::fs::symlink_metadata(path)?;
        Ok(Self(found.dev(), found.ino()))
    }
}

/// Binds the socket. Only for the holder of the lock: a socket that is there is taken as left over.
///
/// # Errors
/// The socket cannot be bound.
pub fn bind(path: &Path) -> std::io::Result<(UnixListener, Bound)> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok((listener, Bound::of(path)?))
}

/// Why nobody can connect at the moment, if so.
pub type Accepting = Option<String>;

/// The server, not run yet. A clone goes on with the same socket where another stopped.
#[derive(Debug, Clone)]
pub struct Server {
    listener: watch::Receiver<Arc<UnixListener>>,
    context: Context,
    accepting: watch::Sender<Accepting>,
    stop: CancellationToken,
}

impl Server {
    /// Serves the latest `listener` until `stop`; then no new request is taken and open answers are finished.
    pub fn new(
        listener: watch::Receiver<Arc<UnixListener>>,
        context: Context,
        accepting: watch::Sender<Accepting>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            listener,
            context,
            accepting,
            stop,
        }
    }

    /// Runs until stopped.
    pub async fn run(mut self) {
        let mut guests = Guests::default();
        let connections = TaskTracker::new();
        let mut pause = PAUSE.0;
        loop {
            let listener = self.listener.borrow_and_update().clone();
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Ok(()) = self.listener.changed() => continue,
                () = self.stop.cancelled() => break,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors or memory: others need a moment to give some back.
                    let text = format!("nobody can connect: {error}");
                    if self.accepting.send_replace(Some(text.clone())).is_none() {
                        tracing::warn!(target: "orch::api", "{text}");
                    }
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = self.stop.cancelled() => break,
                    }
                    pause = (pause * 2).min(PAUSE.1);
                    continue;
                }
            };
            pause = PAUSE.0;
            if self.accepting.borrow().is_some() {
                tracing::info!(target: "orch::api", "connections are accepted again");
                self.accepting.send_replace(None);
            }
            self.welcome(stream, &mut guests, &connections).await;
        }
        // Who had connected before the socket was gone hears that nothing is taken any more.
        let until = tokio::time::Instant::now() + BACKLOG;
        let listener = self.listener.borrow().clone();
        while let Ok(Ok((stream, _))) = tokio::time::timeout_at(until, listener.accept()).await {
            self.welcome(stream, &mut guests, &connections).await;
        }
        connections.close();
        connections.wait().await;
    }

    async fn welcome(&self, stream: UnixStream, guests: &mut Guests, connections: &TaskTracker) {
        let Some(peer) = own(&stream) else { return };
        let connection = Connection {
            context: self.context.clone(),
            peer: peer.pid(),
            guest: guests.welcome().await,
        };
        let stop = self.stop.clone();
        connections.spawn(async move { connection.run(stream, stop).await });
    }
}

/// Who connects, if it is a process of the same user: the file's mode says so, and the kernel does.
fn own(stream: &UnixStream) -> Option<UCred> {
    let own = rustix::process::geteuid().as_raw();
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == own => Some(peer),
        Ok(peer) => {
            tracing::warn!(target: "orch::api", "refused a connection of user {}", peer.uid());
            None
        }
        Err(error) => {
            tracing::warn!(target: "orch::api", "refused a connection of nobody known: {error}");
            None
        }
    }
}

struct Connection {
    context: Context,
    peer: Option<i32>,
    guest: Arc<Guest>,
}

/// An answer, now or later, in the order of the requests. What may be large is only named here and made when it is
/// its turn to be written: who asks and never reads has one such answer at most.
enum Answer {
    Now(Response),
    Seq(oneshot::Receiver<Result<u64, AppendError>>),
    Panes,
    Status,
    Mutes,
    Watch(broadcast::Receiver<Arc<Event>>),
}

/// Says no, and not at such length that it costs what the request did.
fn refused(error: impl std::fmt::Display) -> Response {
    let mut error = error.to_string();
    if let Some((end, _)) = error.char_indices().nth(LONGEST_ERROR) {
        error.truncate(end);
        error.push('…');
    }
    Response::Error(error)
}

impl Connection {
    async fn run(&self, stream: UnixStream, stop: CancellationToken) {
        let (reader, writer) = stream.into_split();
        let (answers, answers_rx) = mpsc::channel(UNANSWERED);
        let gone = CancellationToken::new();
        let mut writing = tokio::spawn(write(
            self.context.clone(),
            writer,
            answers_rx,
            stop.clone(),
            gone.clone(),
        ));
        let served = async {
            tokio::select! {
                () = self.read(reader, answers, &stop) => {}
                () = gone.cancelled() => {}
            }
            let _ = (&mut writing).await;
        };
        let late = async {
            stop.cancelled().await;
            tokio::time::sleep(LAST_WORDS).await;
        };
        tokio::select! {
            () = served => return,
            () = self.guest.left() => {}
            () = late => {}
        }
        writing.abort();
        let _ = writing.await;
    }

    async fn read(
        &self,
        reader: OwnedReadHalf,
        answers: mpsc::Sender<Answer>,
        stop: &CancellationToken,
    ) {
        let mut lines = FramedRead::new(reader, LinesCodec::new_with_max_length(MAX_LINE));
        let mut ending = false;
        loop {
            let line = tokio::select! {
                line = lines.next() => line,
                () = stop.cancelled(), if !ending => {
                    // Nobody can send any more; what was sent before is still read, and answered.
                    let stream: &UnixStream = lines.get_ref().as_ref();
                    let _ = rustix::net::shutdown(stream, rustix::net::Shutdown::Read);
                    ending = true;
                    continue;
                }
            };
            let answer = match line {
                Some(Ok(line)) if line.trim().is_empty() => continue,
                Some(Ok(_)) if ending => {
                    let text = "not taken: the orchestrator is ending".to_owned();
                    Answer::Now(Response::Ending(text))
                }
                Some(Ok(line)) => self.answer(&line).await,
                Some(Err(error)) => {
                    let error = format!(
                        "the connection is closed: {error} (a line has {MAX_LINE} bytes of UTF-8 at most)"
                    );
                    let _ = answers.send(Answer::Now(Response::Error(error))).await;
                    return;
                }
                None => return,
            };
            if answers.send(answer).await.is_err() {
                return;
            }
        }
    }

    async fn answer(&self, line: &str) -> Answer {
        self.guest.asks();
        let request = match serde_json::from_str(line) {
            Ok(request) => request,
            Err(error) => return Answer::Now(refused(format!("not a request: {error}"))),
        };
        let answer = match request {
            Request::Emit { event } => return self.emit(*event).await,
            Request::Watch => return Answer::Watch(self.context.bus.tap()),
            Request::Panes => return Answer::Panes,
            Request::Status => return Answer::Status,
            Request::Mutes => return Answer::Mutes,
            Request::ClearQueues => {
                self.record("clear-queues").await;
                self.ask(Ask::ClearQueues).await.map(Response::Cleared)
            }
            Request::Ack { seq } => {
                self.record(&format!("ack {seq}")).await;
                self.ask(|reply| Ask::Ack(seq, reply))
                    .await
                    .map(Response::Acknowledged)
            }
            Request::Mute { filter, seconds } => {
                let span = Duration::from_secs(seconds);
                self.record(&format!("mute {} for {seconds} s", filter.join(" ")))
                    .await;
                self.ask(|reply| Ask::Mute(filter, span, reply))
                    .await
                    .map(|done| done.map_or_else(refused, Response::Muted))
            }
            Request::Unmute { which } => {
                let what = which.as_ref().map_or("--all".to_owned(), |w| w.join(" "));
                self.record(&format!("unmute {what}")).await;
                self.ask(|reply| Ask::Unmute(which, reply))
                    .await
                    .map(|done| done.map_or_else(refused, Response::Unmuted))
            }
            Request::Reload => self
                .context
                .asks
                .send(Ask::Reload)
                .await
                .ok()
                .map(|()| Response::Ok("reloading".into())),
            Request::Stop => {
                self.record("stop").await;
                self.context
                    .asks
                    .send(Ask::Stop)
                    .await
                    .ok()
                    .map(|()| Response::Ok("stopping".into()))
            }
        };
        Answer::Now(answer.unwrap_or_else(ended))
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Option<T> {
        self.context.ask(ask).await
    }

    /// What somebody of the same user asked for stands in the journal with the process that asked.
    async fn record(&self, what: &str) {
        let mut draft = Draft::new("status_update", "orch", format!("{what} was asked for"));
        draft.peer_pid = self.peer;
        let draft = draft.with_data(json!({"op": what}));
        // A journal that cannot be written must not keep anybody from stopping.
        match tokio::time::timeout(RECORD, self.context.bus.publish(draft)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(target: "orch::api", "cannot record {what}: {error}"),
            Err(_) => tracing::warn!(target: "orch::api", "cannot record {what} in time"),
        }
    }

    async fn emit(&self, emission: Emission) -> Answer {
        if let Err(error) = emission.check() {
            return Answer::Now(refused(error));
        }
        let roster = self.context.roster.borrow().clone();
        let pane = emission.pane.and_then(|id| roster.panes.get(&id));
        let role = pane.and_then(|pane| pane.role.as_deref());
        let mut draft = self.context.bus.draft(emission, role.unwrap_or("cli"));
        draft.peer_pid = self.peer;
        draft.session = pane.map(|pane| pane.session_name.clone());
        draft.window = pane.map(|pane| pane.window);
        match self.context.bus.journal().submit(draft).await {
            Ok(accepted) => Answer::Seq(accepted),
            Err(error) => Answer::Now(Response::Error(error.to_string())),
        }
    }
}

/// Writes answers in order; whoever does not read them fills only their own queue.
async fn write(
    context: Context,
    writer: OwnedWriteHalf,
    mut answers: mpsc::Receiver<Answer>,
    stop: CancellationToken,
    gone: CancellationToken,
) {
    let mut writer = BufWriter::with_capacity(16 << 10, writer);
    while let Some(answer) = answers.recv().await {
        let written = match answer {
            Answer::Now(response) => line(&mut writer, response).await,
            Answer::Panes => line(&mut writer, context.panes()).await,
            Answer::Status => {
                let status = context.ask(Ask::Status).await;
                line(&mut writer, status.map_or_else(ended, Response::Status)).await
            }
            Answer::Mutes => {
                let mutes = context.ask(Ask::Mutes).await;
                let mutes = mutes.map(|done| done.map_or_else(refused, Response::Mutes));
                line(&mut writer, mutes.unwrap_or_else(ended)).await
            }
            Answer::Seq(accepted) => {
                let response = match accepted.await {
                    Ok(Ok(seq)) => Response::Seq(seq),
                    Ok(Err(error)) => Response::Error(error.to_string()),
                    Err(_) => Response::Error(AppendError::Closed.to_string()),
                };
                line(&mut writer, response).await
            }
            Answer::Watch(tap) => watch_events(&mut writer, tap, &stop).await,
        };
        let flushed = match (&written, answers.is_empty()) {
            (Ok(()), true) => writer.flush().await,
            _ => Ok(()),
        };
        if written.is_err() || flushed.is_err() {
            break;
        }
    }
    let _ = writer.flush().await;
    gone.cancel();
}

async fn watch_events(
    writer: &mut BufWriter<OwnedWriteHalf>,
    mut tap: broadcast::Receiver<Arc<Event>>,
    stop: &CancellationToken,
) -> std::io::Result<()> {
    loop {
        let response = tokio::select! {
            event = tap.recv() => match event {
                Ok(event) => Response::Event(Box::new(serde_json::to_value(&*event)?)),
                Err(broadcast::error::RecvError::Lagged(n)) => Response::Lagged(n),
                Err(broadcast::error::RecvError::Closed) => return Ok(()),
            },
            () = stop.cancelled() => return Ok(()),
        };
        line(writer, response).await?;
        writer.flush().await?;
    }
}

/// The answer itself is gone before its bytes wait for somebody to read them.
async fn line(writer: &mut BufWriter<OwnedWriteHalf>, response: Response) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(&response)?;
    drop(response);
    line.push(b'\n');
    writer.write_all(&line).await
}
