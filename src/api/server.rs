//! Serves the socket: checks who connects, bounds what each may cost, answers in order. A client that never reads or
//! never ends its line harms nobody but itself.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt, BufWriter};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::codec::{FramedRead, LinesCodec};
use tokio_util::sync::CancellationToken;

use super::panes;
use super::protocol::{MAX_LINE, Request, Response};
use crate::bus::Bus;
use crate::event::{Draft, Emission, Event};
use crate::journal::AppendError;
use crate::panes::Roster;
use crate::state::State;

/// Connections at once; for one more, the one that has asked nothing for the longest is closed.
const CONNECTIONS: usize = 256;
/// Requests of one connection that may be unanswered.
const UNANSWERED: usize = 256;

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

/// Binds the socket and serves it until `stop`; then no new request is taken and open answers are finished.
///
/// # Errors
/// The socket cannot be bound.
pub fn serve(
    path: &Path,
    context: Context,
    stop: CancellationToken,
) -> std::io::Result<tokio::task::JoinHandle<()>> {
    // The lock is held, so a socket that is there is left over.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(tokio::spawn(accept(listener, context, stop)))
}

async fn accept(listener: UnixListener, context: Context, stop: CancellationToken) {
    let mut guests = Guests::default();
    let connections = tokio_util::task::TaskTracker::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors or memory: others need a moment to give some back.
                    tracing::warn!(target: "orch::api", "accept failed: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = stop.cancelled() => break,
        };
        let own = rustix::process::geteuid().as_raw();
        let peer = match stream.peer_cred() {
            Ok(peer) if peer.uid() == own => peer.pid(),
            Ok(peer) => {
                tracing::warn!(target: "orch::api", "refused a connection of user {}", peer.uid());
                continue;
            }
            Err(error) => {
                tracing::warn!(target: "orch::api", "refused a connection of nobody known: {error}");
                continue;
            }
        };
        let connection = Connection {
            context: context.clone(),
            peer,
            guest: guests.welcome(),
        };
        let stop = stop.clone();
        connections.spawn(async move { connection.run(stream, stop).await });
    }
    connections.close();
    let _ = tokio::time::timeout(Duration::from_secs(2), connections.wait()).await;
}

/// Who is connected, in the order they came.
#[derive(Default)]
struct Guests(Vec<Weak<Guest>>);

/// One that is connected.
struct Guest {
    came: Instant,
    /// Milliseconds from then to its last request, 0 before the first.
    asked: AtomicU64,
    leave: CancellationToken,
}

impl Guests {
    /// A place for one more. Somebody who opens connections and leaves them keeps nobody else out.
    fn welcome(&mut self) -> Arc<Guest> {
        let here = |guest: &Weak<Guest>| guest.upgrade().filter(|g| !g.leave.is_cancelled());
        self.0.retain(|guest| here(guest).is_some());
        if self.0.len() >= CONNECTIONS
            && let Some(idle) = self
                .0
                .iter()
                .filter_map(here)
                .min_by_key(|g| g.last_asked())
        {
            tracing::warn!(target: "orch::api", "{CONNECTIONS} connections are open: an idle one is closed");
            idle.leave.cancel();
        }
        let guest = Arc::new(Guest {
            came: Instant::now(),
            asked: AtomicU64::new(0),
            leave: CancellationToken::new(),
        });
        self.0.push(Arc::downgrade(&guest));
        guest
    }
}

impl Guest {
    fn asks(&self) {
        let since = u64::try_from(self.came.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.asked.store(since.max(1), Ordering::Relaxed);
    }

    /// Those that never asked come first.
    fn last_asked(&self) -> (bool, Instant) {
        let asked = self.asked.load(Ordering::Relaxed);
        (asked > 0, self.came + Duration::from_millis(asked))
    }
}

struct Connection {
    context: Context,
    peer: Option<i32>,
    guest: Arc<Guest>,
}

/// An answer, now or later, in the order of the requests.
enum Answer {
    Now(Response),
    Seq(oneshot::Receiver<Result<u64, AppendError>>),
    Watch(broadcast::Receiver<Arc<Event>>),
}

impl Connection {
    async fn run(&self, stream: UnixStream, stop: CancellationToken) {
        let (reader, writer) = stream.into_split();
        let (answers, answers_rx) = mpsc::channel(UNANSWERED);
        let gone = CancellationToken::new();
        let mut writing = tokio::spawn(write(writer, answers_rx, stop.clone(), gone.clone()));
        let served = async {
            tokio::select! {
                () = self.read(reader, answers, &stop) => {}
                () = gone.cancelled() => {}
            }
            let _ = (&mut writing).await;
        };
        tokio::select! {
            () = served => return,
            () = self.guest.leave.cancelled() => {}
        }
        writing.abort();
    }

    async fn read(
        &self,
        reader: OwnedReadHalf,
        answers: mpsc::Sender<Answer>,
        stop: &CancellationToken,
    ) {
        let mut lines = FramedRead::new(reader, LinesCodec::new_with_max_length(MAX_LINE));
        loop {
            let line = tokio::select! {
                line = lines.next() => line,
                () = stop.cancelled() => return,
            };
            let answer = match line {
                Some(Ok(line)) if line.trim().is_empty() => continue,
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
            Err(error) => return Answer::Now(Response::Error(format!("not a request: {error}"))),
        };
        let ended = || Response::Error("the orchestrator is ending".to_owned());
        let answer = match request {
            Request::Emit { event } => return self.emit(*event).await,
            Request::Watch => return Answer::Watch(self.context.bus.tap()),
            Request::Panes => {
                let (roster, state) = (
                    self.context.roster.borrow().clone(),
                    self.context.state.borrow().clone(),
                );
                Some(Response::Panes(
                    roster
                        .panes
                        .values()
                        .map(|pane| panes::describe(pane, &state))
                        .collect(),
                ))
            }
            Request::Status => self.ask(Ask::Status).await.map(Response::Status),
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
                    .map(|done| done.map_or_else(Response::Error, Response::Muted))
            }
            Request::Unmute { which } => {
                let what = which.as_ref().map_or("--all".to_owned(), |w| w.join(" "));
                self.record(&format!("unmute {what}")).await;
                self.ask(|reply| Ask::Unmute(which, reply))
                    .await
                    .map(|done| done.map_or_else(Response::Error, Response::Unmuted))
            }
            Request::Mutes => self
                .ask(Ask::Mutes)
                .await
                .map(|done| done.map_or_else(Response::Error, Response::Mutes)),
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
        let (reply, answer) = oneshot::channel();
        self.context.asks.send(ask(reply)).await.ok()?;
        answer.await.ok()
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
            return Answer::Now(Response::Error(error));
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
    writer: OwnedWriteHalf,
    mut answers: mpsc::Receiver<Answer>,
    stop: CancellationToken,
    gone: CancellationToken,
) {
    let mut writer = BufWriter::with_capacity(16 << 10, writer);
    while let Some(answer) = answers.recv().await {
        let written = match answer {
            Answer::Now(response) => line(&mut writer, &response).await,
            Answer::Seq(accepted) => {
                let response = match accepted.await {
                    Ok(Ok(seq)) => Response::Seq(seq),
                    Ok(Err(error)) => Response::Error(error.to_string()),
                    Err(_) => Response::Error(AppendError::Closed.to_string()),
                };
                line(&mut writer, &response).await
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
        line(writer, &response).await?;
        writer.flush().await?;
    }
}

async fn line(writer: &mut BufWriter<OwnedWriteHalf>, response: &Response) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(response)?;
    line.push(b'\n');
    writer.write_all(&line).await
}
