//! The composition root: makes the parts, joins them by channels, and takes them down in order. Nobody but the
//! commands imports it.
//!
//! ```text
//! tmux client ─signals→ roster ─changes→ monitors ─drafts→ bus → journal → state, delivery → tmux client
//!                                          socket ─drafts─┘
//! ```

mod log;
mod mutes;
mod report;
mod serving;
mod signals;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::bus::{Dispatcher, Severities};
use crate::config::Config;
use crate::delivery::{self, Control, Delivery};
use crate::event::{Draft, Event};
use crate::journal::{self, AppendError, Recovered};
use crate::monitor::health::Health;
use crate::panes::{self, Roster, Update};
use crate::paths::{Environment, Holder, Lock, PathError, Root, Runtime, Server};
use crate::state::State;
use crate::tmux::client::{self, Tmux};
use crate::{api, bus, spool};

pub use log::init as init_log;

/// How long delivery may take to finish at a stop.
const DRAIN: Duration = Duration::from_secs(5);
/// How long the tmux client and the journal may take to end.
const END: Duration = Duration::from_secs(5);

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
    /// A part that must not end has ended.
    #[error("{0} ended unexpectedly; the next start goes on from the journal")]
    Part(&'static str),
}

/// The running parts.
struct Parts {
    tmux: Tmux,
    roster: watch::Receiver<Arc<Roster>>,
    state: watch::Receiver<Arc<State>>,
    delivery: Delivery,
    bus: bus::Bus,
    severities: watch::Sender<Severities>,
    asks: mpsc::Receiver<api::Ask>,
}

/// Handles of the parts' tasks, in the order in which they are taken down.
struct Tasks {
    api: JoinHandle<()>,
    monitors: JoinHandle<()>,
    delivery: JoinHandle<()>,
    tmux: JoinHandle<()>,
    roster: JoinHandle<()>,
    state: JoinHandle<()>,
    dispatcher: JoinHandle<()>,
    journal: JoinHandle<()>,
}

/// What stops the parts, one after the other.
#[derive(Default)]
struct Stops {
    intake: CancellationToken,
    delivery: CancellationToken,
    tmux: CancellationToken,
}

/// Runs an orchestrator until it is asked to stop or a part fails.
///
/// # Errors
/// [`RunError`].
pub async fn run(setup: Setup) -> Result<(), RunError> {
    setup.runtime.secure(&setup.env)?;
    let mut lock = Lock::take(&setup.runtime.lock)?.map_err(RunError::Running)?;
    setup.root.make()?;
    let holder = Holder {
        pid: std::process::id(),
        root: setup.root.0.clone(),
    };
    let io = |what: &str| {
        let what = what.to_owned();
        move |source| RunError::Io { what, source }
    };
    lock.name(&holder).map_err(io("write the lock file"))?;
    std::fs::write(setup.root.pid(), format!("{}\n", holder.pid))
        .map_err(io("write logs/orch.pid"))?;
    let signals = signals::Signals::new().map_err(io("listen for signals"))?;
    let started = Instant::now();

    let stops = Stops::default();
    let (parts, mut tasks, recovered) = compose(&setup, &stops)?;
    tracing::info!(target: "orch::app", "running for {} with root {}", setup.server.socket.display(), setup.root.0.display());
    take_up(&setup, &parts, recovered).await;

    let ended = serving::serve(&setup, parts, started, signals, &mut tasks).await;
    take_down(tasks, stops).await;
    let _ = std::fs::remove_file(&setup.runtime.socket);
    drop(lock);
    tracing::info!(target: "orch::app", "ended");
    ended
}

fn compose(setup: &Setup, stops: &Stops) -> Result<(Parts, Tasks, Recovered), RunError> {
    let (committed, committed_rx) = mpsc::channel(1024);
    let (journal, mut recovered, journal_task) = journal::open(&setup.root.events(), committed)?;
    let (severities, severities_rx) = watch::channel(Arc::new(setup.config.severities.clone()));
    let (bus, mut dispatcher) = Dispatcher::new(journal, committed_rx, severities_rx);
    let for_state = dispatcher.subscribe();
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
    let health = Health::new(setup.config.health.clone());
    let monitors = tokio::spawn(watch_health(
        health,
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
    let (delivery, delivery_task) = delivery::start(parts, stops.delivery.clone());

    let (asks, asks_rx) = mpsc::channel(64);
    let context = api::Context {
        bus: bus.clone(),
        roster: roster.clone(),
        state: state.clone(),
        asks,
    };
    let api =
        api::serve(&setup.runtime.socket, context, stops.intake.clone()).map_err(|source| {
            RunError::Io {
                what: format!("listen on {}", setup.runtime.socket.display()),
                source,
            }
        })?;

    let tasks = Tasks {
        api,
        monitors,
        delivery: delivery_task,
        tmux: tmux_task,
        roster: roster_task,
        state: state_task,
        dispatcher,
        journal: journal_task,
    };
    Ok((
        Parts {
            tmux,
            roster,
            state,
            delivery,
            bus,
            severities,
            asks: asks_rx,
        },
        tasks,
        recovered,
    ))
}

/// What earlier runs left: a repaired tail is told, what was emitted meanwhile is taken in.
async fn take_up(setup: &Setup, parts: &Parts, recovered: Recovered) {
    if let Some(repair) = recovered.repair {
        let text = format!(
            "cut an unfinished line of {} bytes off {}",
            repair.bytes,
            repair.path.display()
        );
        let data = json!({"offset": repair.offset, "bytes": repair.bytes, "copy": repair.copy});
        let draft = Draft::new("log_repaired", "journal", text).with_data(data);
        parts.bus.publish_or_say(draft).await;
    }
    let directory = setup.root.spool();
    // Twice: what a start that died had taken, then what came since.
    for _ in 0..2 {
        let (emissions, damaged) = match spool::take(&directory) {
            Ok(taken) => taken,
            Err(error) => {
                return tracing::error!(target: "orch::app", "cannot read the spool: {error}");
            }
        };
        if emissions.is_empty() && damaged.is_empty() {
            return;
        }
        for error in &damaged {
            tracing::warn!(target: "orch::app", "a spooled line is kept aside: {error}");
        }
        for emission in emissions {
            let draft = parts.bus.draft(emission, "cli");
            if let Err(error) = parts.bus.journal().append(draft).await {
                return tracing::error!(target: "orch::app", "the spool stays for the next start: {error}");
            }
        }
        if let Err(error) = spool::forget(&directory, !damaged.is_empty()) {
            tracing::error!(target: "orch::app", "cannot empty the spool: {error}");
        }
    }
}

async fn keep_state(mut events: mpsc::Receiver<Arc<Event>>, state: watch::Sender<Arc<State>>) {
    let mut batch = Vec::new();
    while events.recv_many(&mut batch, 256).await > 0 {
        state.send_modify(|state| {
            let state = Arc::make_mut(state);
            batch.drain(..).for_each(|event| state.apply(&event));
        });
    }
}

async fn watch_health(
    mut health: Health,
    mut updates: mpsc::Receiver<Update>,
    roster: watch::Receiver<Arc<Roster>>,
    bus: bus::Bus,
    stop: CancellationToken,
) {
    loop {
        let update = tokio::select! {
            update = updates.recv() => update,
            () = stop.cancelled() => None,
        };
        let Some(update) = update else { return };
        let drafts: Vec<Draft> = match update {
            Update::Attached {
                attachment,
                new_server,
            } => {
                let panes = roster.borrow().panes.len();
                health
                    .attached(
                        attachment.version.as_str(),
                        attachment.server,
                        panes,
                        new_server,
                    )
                    .into_iter()
                    .collect()
            }
            Update::Lost(reason) => health.lost(&reason).into_iter().collect(),
            Update::Changes(changes) => changes
                .iter()
                .filter_map(|change| health.observe(change))
                .collect(),
        };
        for draft in drafts {
            bus.publish_or_say(draft).await;
        }
    }
}

/// Intake first, the journal last: what was accepted gets its outcome, what was decided gets written.
async fn take_down(tasks: Tasks, stops: Stops) {
    stops.intake.cancel();
    wait("api", END, tasks.api).await;
    wait("monitors", END, tasks.monitors).await;
    stops.delivery.cancel();
    wait("delivery", DRAIN, tasks.delivery).await;
    stops.tmux.cancel();
    wait("tmux", END, tasks.tmux).await;
    wait("roster", END, tasks.roster).await;
    // With the last handle of the bus gone the journal writes what it has and ends.
    wait("journal", END, tasks.journal).await;
    wait("dispatcher", END, tasks.dispatcher).await;
    wait("state", END, tasks.state).await;
}

async fn wait(name: &str, limit: Duration, task: JoinHandle<()>) {
    // One that ended by itself was noticed then; its handle must not be asked again.
    if task.is_finished() {
        return;
    }
    match tokio::time::timeout(limit, task).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(target: "orch::app", "{name} failed: {error}"),
        Err(_) => {
            tracing::error!(target: "orch::app", "{name} did not end within {} s", limit.as_secs());
        }
    }
}

impl Parts {
    async fn configure(&self, config: &Config) {
        self.severities
            .send_replace(Arc::new(config.severities.clone()));
        let _ = self
            .delivery
            .control
            .send(Control::Configure(config.delivery.clone()))
            .await;
    }
}
