//! The composition root: makes the parts, joins them by channels, and takes them down in order. Nobody but the
//! commands imports it.
//!
//! ```text
//! tmux client ─signals→ roster ─changes→ monitors ─drafts→ bus → journal → state, delivery → tmux client
//!                                          socket ─drafts─┘
//! ```

mod components;
mod intake;
mod keeper;
mod log;
mod monitors;
mod mutes;
mod outfile;
mod panics;
mod report;
mod restarts;
mod serving;
mod sessions;
mod signals;
mod supervise;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::bus::{Dispatcher, Severities};
use crate::config::Config;
use crate::delivery::{self, Control, Delivery};
use crate::event::Event;
use crate::journal::{self, AppendError};
use crate::panes::{self, Roster};
use crate::paths::{self, Environment, Holder, PathError, Root, Runtime, Server};
use crate::state::State;
use crate::tmux::client::{self, Tmux};
use crate::{api, bus, monitor};

use self::components::{Guard, Standing};
use self::keeper::{Keeper, Locks};
use self::monitors::Monitors;
use self::restarts::Policy;
use self::supervise::supervise;

pub use log::{COMPONENTS, init as init_log};
pub use panics::tell_panics;

/// How long all may take together to take in no more and answer what was taken.
const END: Duration = Duration::from_secs(3);
/// How long delivery may take to decide on all that waits at a stop.
const DRAIN: Duration = Duration::from_secs(5);
/// How long the connection to tmux may take to be closed, and the roster to notice.
const LEAVE: Duration = Duration::from_secs(2);
/// How long the journal may take to write what it has.
const WRITE: Duration = Duration::from_secs(3);
/// How long those who connect at a start wait for what was emitted before.
const BEGIN: Duration = Duration::from_secs(5);
/// How long small last things may take: unsetting the status variables, the session files, removing the socket.
const TIDY: Duration = Duration::from_secs(1);
/// How long threads may take that a disk holds, once all that could be written has been.
pub const THREADS: Duration = Duration::from_secs(1);

/// The longest that an end takes after it was asked for, all limits together.
pub fn longest_end() -> Duration {
    END + DRAIN + TIDY + TIDY + LEAVE + WRITE + TIDY + THREADS
}

/// Everything that is decided before a run starts.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Which tmux server.
    pub server: Server,
    /// Where the files are.
    pub root: Root,
    /// Socket and lock.
    pub runtime: Runtime,
    /// What was read from the environment.
    pub env: Environment,
    /// The configuration.
    pub config: Config,
    /// The file it came from; read again at SIGHUP.
    pub config_path: Option<PathBuf>,
}

/// A run cannot start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Another orchestrator holds the lock.
    #[error("an orchestrator runs already for this tmux server{}", .0.as_ref().map(|h| format!(": pid {}, root {}", h.pid, h.root.display())).unwrap_or_default())]
    Running(Option<Holder>),
    /// A directory or file is unusable.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The journal is unusable.
    #[error(transparent)]
    Journal(#[from] AppendError),
    /// The socket cannot be served, or a file not written.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Another server's orchestrator writes to the root.
    #[error("the files in {} are in use by the orchestrator of another tmux server{}; give this one a root of its own: --root DIR, or paths.root in its configuration", root.display(), pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    Root {
        /// The root.
        root: PathBuf,
        /// The process that writes there.
        pid: Option<u32>,
    },
    /// The lock file was taken away, and another orchestrator has started with a new one.
    #[error("the lock file was removed and another orchestrator has taken over{}; this one ends", .0.as_ref().map(|h| format!(": pid {}, root {}", h.pid, h.root.display())).unwrap_or_default())]
    Replaced(Option<Holder>),
    /// A part that must not end has ended.
    #[error("{0} ended unexpectedly; the next start goes on from the journal")]
    Part(&'static str),
    /// It ended, and not all was done in time.
    #[error("ended before all was done: {} did not end in time or failed; the next start goes on from the journal", .0.join(", "))]
    Unfinished(Vec<&'static str>),
}

/// The running parts.
struct Parts {
    tmux: Tmux,
    roster: watch::Receiver<Arc<Roster>>,
    state: watch::Receiver<Arc<State>>,
    delivery: Delivery,
    bus: bus::Bus,
    severities: watch::Sender<Severities>,
    sessions: sessions::Sessions,
    journal_health: watch::Receiver<journal::Health>,
    asks: mpsc::Receiver<api::Ask>,
    rows: Rows,
    started: chrono::DateTime<chrono::Local>,
}

/// Where components that keep their own standing are seen.
struct Rows {
    monitors: monitors::Rows,
    /// Its tasks, its socket, its accepting.
    api: [watch::Receiver<Standing>; 2],
    accepting: watch::Receiver<api::Accepting>,
    sink: Option<watch::Receiver<Standing>>,
}

/// Handles of the parts' tasks, in the order in which they are taken down.
struct Tasks {
    intake: JoinHandle<()>,
    api: JoinHandle<()>,
    monitors: JoinHandle<()>,
    delivery: JoinHandle<()>,
    tmux: JoinHandle<()>,
    roster: JoinHandle<()>,
    state: JoinHandle<()>,
    sessions: JoinHandle<()>,
    dispatcher: JoinHandle<()>,
    journal: JoinHandle<()>,
    sink: Option<JoinHandle<()>>,
    keeper: JoinHandle<Result<(), RunError>>,
}

/// What stops the parts, one after the other.
#[derive(Default)]
struct Stops {
    intake: CancellationToken,
    delivery: CancellationToken,
    sink: CancellationToken,
    tmux: CancellationToken,
    keeper: keeper::Farewell,
}

/// Runs an orchestrator until it is asked to stop or a part fails.
///
/// # Errors
/// [`RunError`].
pub async fn run(setup: Setup) -> Result<(), RunError> {
    let spools = spools(&setup);
    let locks = Locks::take(&setup)?;
    let io = |what: &str| {
        let what = what.to_owned();
        move |source| RunError::Io { what, source }
    };
    let signals = signals::Signals::new().map_err(io("listen for signals"))?;
    let started = Instant::now();

    let stops = Stops::default();
    let (parts, mut tasks) = compose(&setup, locks, spools, &stops)?;
    tracing::info!(target: "orch::app", "running for {} with root {}", setup.server.socket.display(), setup.root.0.display());

    let ended = serving::serve(&setup, parts, started, signals, &mut tasks).await;
    let unfinished = take_down(tasks, stops).await;
    tracing::info!(target: "orch::app", "ended");
    ended?;
    if unfinished.is_empty() {
        Ok(())
    } else {
        Err(RunError::Unfinished(unfinished))
    }
}

/// Where `orch emit` keeps events while nothing runs: below this root, that of the run before, and the default one.
fn spools(setup: &Setup) -> Vec<PathBuf> {
    let before = paths::last_holder(&setup.runtime.lock).map(|holder| Root(holder.root));
    let default = Root(setup.server.default_root(&setup.env));
    let mut spools = vec![setup.root.spool()];
    for other in before.into_iter().chain([default]).map(|root| root.spool()) {
        if !spools.contains(&other) {
            spools.push(other);
        }
    }
    spools
}

fn compose(
    setup: &Setup,
    locks: Locks,
    spools: Vec<PathBuf>,
    stops: &Stops,
) -> Result<(Parts, Tasks), RunError> {
    let (committed, committed_rx) = mpsc::channel(1024);
    let journal::Opened {
        journal,
        mut recovered,
        health: journal_health,
        task: journal_task,
    } = journal::open(
        &setup.root.events(),
        setup.config.retention.clone(),
        crate::state::cursor(&setup.root.sessions()).map_or(0, |cursor| cursor.seq),
        committed,
    )?;
    let (severities, severities_rx) = watch::channel(Arc::new(setup.config.severities.clone()));
    let (bus, mut dispatcher) = Dispatcher::new(journal, committed_rx, severities_rx);
    let for_state = dispatcher.subscribe();
    let for_sessions = setup
        .config
        .session_state
        .enabled
        .then(|| dispatcher.follow());
    let for_delivery = dispatcher.subscribe();
    let dispatcher = tokio::spawn(dispatcher.run());

    let (state_tx, state) = watch::channel(Arc::new(State {
        last_seq: recovered.last_seq,
        ..State::default()
    }));
    let state_task = tokio::spawn(keep_state(for_state, state_tx));

    let mut client = client::Config::new(setup.server.socket.clone());
    client.binary.clone_from(&setup.config.tmux_binary);
    let (tmux, signals, tmux_task) = client::run(client, stops.tmux.clone());
    let (roster_tx, roster) = watch::channel(Arc::new(Roster::default()));
    let (updates, updates_rx) = mpsc::channel(64);
    let roster_task = tokio::spawn(panes::run(tmux.clone(), signals, roster_tx, updates));
    let (sessions, sessions_task) = sessions::start(
        setup,
        for_sessions,
        roster.clone(),
        bus.clone(),
        recovered.last_seq,
        stops.sink.clone(),
    );
    let makers = monitor::all(&setup.config.health);
    let (monitors, monitor_rows) = Monitors::new(makers, Policy::default());
    let monitors = tokio::spawn(monitors.run(
        updates_rx,
        roster.clone(),
        bus.clone(),
        stops.intake.clone(),
    ));

    let parts = delivery::Parts {
        config: setup.config.delivery.clone(),
        events: for_delivery,
        left_over: std::mem::take(&mut recovered.unresolved),
        resumes: recovered.last_seq > 0,
        bus: bus.clone(),
        roster: roster.clone(),
        tmux: tmux.clone(),
        memory: setup.root.delivery(),
    };
    let (delivery, sink, delivery_task) = delivery::start(parts, stops.delivery.clone());
    let sink = sink.map(|sink| {
        let (guard, seen) = Guard::new("delivery.status", Policy::default());
        let stop = stops.sink.clone();
        let make = {
            let stop = stop.clone();
            move || sink.clone().run(stop.clone())
        };
        (
            tokio::spawn(supervise(guard, bus.clone(), stop, make)),
            seen,
        )
    });
    let (sink, sink_row) = sink.unzip();

    let (keeper, listener, socket_row) =
        Keeper::new(setup, locks).map_err(|source| RunError::Io {
            what: format!("listen on {}", setup.runtime.socket.display()),
            source,
        })?;
    let keeper = tokio::spawn(keeper.run(stops.intake.clone(), stops.keeper.clone()));
    let (asks, asks_rx) = mpsc::channel(64);
    let taken = CancellationToken::new();
    let intake = intake::Intake {
        bus: bus.clone(),
        journal: setup.root.events(),
        spools,
        stop: stops.intake.clone(),
    };
    let intake = tokio::spawn(intake.run(recovered.repair.take(), taken.clone()));
    let context = api::Context {
        bus: bus.clone(),
        roster: roster.clone(),
        state: state.clone(),
        asks,
    };
    let (accepting, accepting_rx) = watch::channel(api::Accepting::default());
    let (guard, api_row) = Guard::new("api", Policy::default());
    let stop = stops.intake.clone();
    let server = api::Server::new(listener, context, accepting, stop.clone());
    let api = tokio::spawn(supervise(guard, bus.clone(), stop, async move || {
        // Who connects meanwhile waits: what was emitted before goes first.
        let _ = tokio::time::timeout(BEGIN, taken.cancelled()).await;
        server.clone().run().await;
    }));

    let tasks = Tasks {
        intake,
        api,
        monitors,
        delivery: delivery_task,
        tmux: tmux_task,
        roster: roster_task,
        state: state_task,
        sessions: sessions_task,
        dispatcher,
        journal: journal_task,
        sink,
        keeper,
    };
    Ok((
        Parts {
            tmux,
            roster,
            state,
            delivery,
            bus,
            severities,
            sessions,
            journal_health,
            asks: asks_rx,
            rows: Rows {
                monitors: monitor_rows,
                api: [api_row, socket_row],
                accepting: accepting_rx,
                sink: sink_row,
            },
            started: chrono::Local::now(),
        },
        tasks,
    ))
}

/// Not started again after a panic: a state that has skipped an event answers wrongly ever after, one that is built
/// anew from the journal does not. So its end is the end of the process.
async fn keep_state(mut events: mpsc::Receiver<Arc<Event>>, state: watch::Sender<Arc<State>>) {
    let mut batch = Vec::new();
    while events.recv_many(&mut batch, 256).await > 0 {
        state.send_modify(|state| {
            let state = Arc::make_mut(state);
            batch.drain(..).for_each(|event| state.apply(&event));
        });
    }
}

/// Intake first, the journal last: what was accepted gets its outcome, what was decided gets written. Who does not
/// end in time is dropped with all it holds, so that nobody waits for it; their names.
async fn take_down(tasks: Tasks, stops: Stops) -> Vec<&'static str> {
    let mut unfinished = Vec::new();
    stops.intake.cancel();
    let limit = Instant::now() + END;
    wait("spool", limit, tasks.intake, &mut unfinished).await;
    wait("api", limit, tasks.api, &mut unfinished).await;
    wait("monitors", limit, tasks.monitors, &mut unfinished).await;
    stops.delivery.cancel();
    let limit = Instant::now() + DRAIN;
    wait("delivery", limit, tasks.delivery, &mut unfinished).await;
    stops.sink.cancel();
    if let Some(sink) = tasks.sink {
        let limit = Instant::now() + TIDY;
        wait("delivery.status", limit, sink, &mut unfinished).await;
    }
    let limit = Instant::now() + TIDY;
    wait("session_state", limit, tasks.sessions, &mut unfinished).await;
    stops.tmux.cancel();
    let limit = Instant::now() + LEAVE;
    wait("tmux", limit, tasks.tmux, &mut unfinished).await;
    wait("roster", limit, tasks.roster, &mut unfinished).await;
    // With the last handle of the bus gone the journal writes what it has and ends.
    let limit = Instant::now() + WRITE;
    wait("journal", limit, tasks.journal, &mut unfinished).await;
    wait("dispatcher", limit, tasks.dispatcher, &mut unfinished).await;
    wait("state", limit, tasks.state, &mut unfinished).await;
    stops.keeper.say(&unfinished);
    let limit = Instant::now() + TIDY;
    wait("socket", limit, tasks.keeper, &mut unfinished).await;
    unfinished
}

/// Adds its name to those that did not end as they should, if so.
async fn wait<T>(
    name: &'static str,
    limit: Instant,
    mut task: JoinHandle<T>,
    unfinished: &mut Vec<&'static str>,
) {
    // One that ended by itself was noticed then; its handle must not be asked again.
    if task.is_finished() {
        return;
    }
    match tokio::time::timeout_at(limit.into(), &mut task).await {
        Ok(Ok(_)) => return,
        Ok(Err(error)) => tracing::error!(target: "orch::app", "{name} failed: {error}"),
        Err(_) => {
            tracing::error!(target: "orch::app", "{name} did not end in time and is dropped");
            task.abort();
        }
    }
    unfinished.push(name);
}

impl Parts {
    fn configure(&self, config: &Config) {
        self.severities
            .send_replace(Arc::new(config.severities.clone()));
        self.bus.journal().retain(config.retention.clone());
        // Not in the main loop: a delivery that is stuck must not keep anybody from being heard.
        let control = self.delivery.control.clone();
        let settings = Control::Configure(config.delivery.clone());
        tokio::spawn(async move { control.send(settings).await });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Like a part that ends when it is told to.
    fn until(stop: &CancellationToken) -> JoinHandle<()> {
        tokio::spawn(stop.clone().cancelled_owned())
    }

    #[tokio::test]
    async fn one_that_never_ends_and_one_that_panicked_do_not_hold_up_the_end() {
        let stops = Stops::default();
        let (bus, mut handles) = mpsc::channel::<()>(1);
        let stuck = tokio::spawn(async move {
            let _bus = bus;
            std::future::pending::<()>().await;
        });
        let delivery = tokio::spawn(async { panic!("delivery fails") });
        // As the journal does: until nobody is left who could hand anything over.
        let journal = tokio::spawn(async move { while handles.recv().await.is_some() {} });
        let written = CancellationToken::new();
        let keeper = {
            let (stop, written) = (stops.keeper.clone(), written.clone());
            tokio::spawn(async move {
                assert_eq!(stop.said().await, ["api"]);
                written.cancel();
                Ok(())
            })
        };
        let tasks = Tasks {
            intake: until(&stops.intake),
            sessions: until(&stops.sink),
            api: stuck,
            monitors: until(&stops.intake),
            delivery,
            tmux: until(&stops.tmux),
            roster: until(&stops.tmux),
            state: until(&stops.tmux),
            dispatcher: until(&stops.tmux),
            journal,
            sink: Some(until(&stops.sink)),
            keeper,
        };
        let since = Instant::now();
        assert_eq!(take_down(tasks, stops).await, ["api"]);
        // Only the one that is stuck was waited for, and the journal ended once that was dropped.
        assert!(since.elapsed() < END * 2, "{:?}", since.elapsed());
        assert!(written.is_cancelled());
    }
}
