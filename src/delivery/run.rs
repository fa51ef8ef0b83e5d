//! Delivery's run loop: feeds the desk with events, clients and time, and carries out its actions. Decides nothing
//! itself.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Local, TimeDelta};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::sinks::{message, status};
use super::store::{self, Found, Saved};
use super::{Action, BadMute, Config, Desk, Filter, Mute, Status, Which};
use crate::bus::Bus;
use crate::event::{Event, Severity, Verdict};
use crate::panes::Roster;
use crate::tmux::client::{SendError, Tmux};
use crate::tmux::id::ClientName;

/// How often time is looked at.
const TICK: Duration = Duration::from_millis(100);
/// Events that are decided on before anything else gets its turn.
const BATCH: usize = 1024;
/// The memory is saved at most this often, besides before each message.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// What delivery can be asked.
#[derive(Debug)]
pub enum Control {
    /// Drop what waits; answers how many.
    Clear(oneshot::Sender<usize>),
    /// Somebody has seen to the condition of this event; answers whether one was open.
    Acknowledge(u64, oneshot::Sender<bool>),
    /// Do not tell what this filter covers, for so long.
    Mute(
        Vec<String>,
        Duration,
        oneshot::Sender<Result<MuteState, BadMute>>,
    ),
    /// End the mute of this number or filter, or every one.
    Unmute(Option<Vec<String>>, oneshot::Sender<Result<Ended, BadMute>>),
    /// The mutes that hold.
    Mutes(oneshot::Sender<Vec<MuteState>>),
    /// Other limits from now on.
    Configure(Config),
}

/// A mute as people see it, by the wall clock.
#[derive(Debug, Clone, Serialize)]
pub struct MuteState {
    /// For `unmute`.
    pub id: u64,
    /// The terms of its filter.
    pub filter: Vec<String>,
    /// Since when.
    pub since: DateTime<Local>,
    /// Until when.
    pub until: DateTime<Local>,
    /// Events that it kept from a person.
    pub held: u64,
}

/// What ending mutes came to.
#[derive(Debug, Clone, Serialize)]
pub struct Ended {
    /// Those that ended.
    pub ended: Vec<MuteState>,
    /// Conditions that are shown again.
    pub shown_again: usize,
}

/// Delivery at a glance.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Used and limit of the ordinary and of the critical lane.
    pub lanes: [(u32, u32); 2],
    /// Whether messages and status variables are switched on.
    pub sinks: [bool; 2],
    /// Notifications that wait.
    pub waiting: usize,
    /// Outcomes of this run.
    pub outcomes: BTreeMap<Verdict, u64>,
    /// The status line.
    pub status: Status,
}

/// Handle of the running delivery.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// For questions.
    pub control: mpsc::Sender<Control>,
    /// For looks.
    pub snapshot: watch::Receiver<Snapshot>,
}

/// What delivery works with.
pub struct Parts {
    /// Limits and sinks.
    pub config: Config,
    /// Every accepted event.
    pub events: mpsc::Receiver<Arc<Event>>,
    /// Events that the last run left without an outcome.
    pub left_over: Vec<Event>,
    /// Whether there was a run before this one.
    pub resumes: bool,
    /// For receipts, outcomes and digests.
    pub bus: Bus,
    /// Who is there.
    pub roster: watch::Receiver<Arc<Roster>>,
    /// The way to people.
    pub tmux: Tmux,
    /// Where the memory is kept.
    pub memory: PathBuf,
}

struct Running {
    desk: Desk,
    clock: Clock,
    bus: Bus,
    tmux: Tmux,
    memory: PathBuf,
    saved: Instant,
    unsaved: bool,
    outcomes: BTreeMap<Verdict, u64>,
    shown: mpsc::Sender<Vec<(ClientName, Option<SendError>)>>,
    /// Events of delivery's own on their way to the journal.
    publishing: JoinSet<()>,
    /// The latest rosters: an event about a pane may come after the pane has left.
    rosters: VecDeque<Arc<Roster>>,
    snapshot: watch::Sender<Snapshot>,
    wanted: watch::Sender<status::Wanted>,
}

/// The sink of the status variables, to be run beside delivery, and again should it fail.
#[derive(Debug, Clone)]
pub struct StatusSink {
    tmux: Tmux,
    wanted: watch::Receiver<status::Wanted>,
}

impl StatusSink {
    /// Publishes until `stop`, then unsets everything it has set.
    pub async fn run(self, stop: CancellationToken) {
        status::run(self.tmux, self.wanted, stop).await;
    }
}

/// Starts delivery; the sink of the status variables, if it is wanted, is the caller's to run. After `stop` it gives
/// everything that waits its outcome and ends.
pub fn start(
    parts: Parts,
    stop: CancellationToken,
) -> (Delivery, Option<StatusSink>, tokio::task::JoinHandle<()>) {
    let (control, control_rx) = mpsc::channel(64);
    let (snapshot, snapshot_rx) = watch::channel(Snapshot::default());
    let (wanted, wanted_rx) = watch::channel(status::Wanted::default());
    let (shown, shown_rx) = mpsc::channel(4);
    let (desk, clock) = take_up(&parts);
    let sink = parts.config.status.then(|| StatusSink {
        tmux: parts.tmux.clone(),
        wanted: wanted_rx,
    });
    let running = Running {
        desk,
        clock,
        bus: parts.bus,
        tmux: parts.tmux,
        memory: parts.memory,
        saved: Instant::now(),
        unsaved: false,
        outcomes: BTreeMap::new(),
        shown,
        publishing: JoinSet::new(),
        rosters: VecDeque::new(),
        snapshot,
        wanted,
    };
    let task = tokio::spawn(running.run(
        parts.events,
        parts.left_over,
        parts.roster,
        control_rx,
        shown_rx,
        stop,
    ));
    let delivery = Delivery {
        control,
        snapshot: snapshot_rx,
    };
    (delivery, sink, task)
}

impl Running {
    async fn run(
        mut self,
        mut events: mpsc::Receiver<Arc<Event>>,
        left_over: Vec<Event>,
        mut roster: watch::Receiver<Arc<Roster>>,
        mut control: mpsc::Receiver<Control>,
        mut shown: mpsc::Receiver<Vec<(ClientName, Option<SendError>)>>,
        stop: CancellationToken,
    ) {
        let now = self.clock.now();
        let mut actions: Vec<Action> = left_over
            .iter()
            .map(|event| self.desk.accept_left_over(event, now))
            .collect();
        actions.extend(self.desk.started(now));
        // This start is remembered even if nothing else of the run is.
        self.save(true).await;
        self.carry_out(actions).await;
        let first = roster.borrow_and_update().clone();
        self.see(first).await;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut batch = Vec::with_capacity(BATCH);
        let mut ticks = 0u32;
        loop {
            tokio::select! {
                Some(results) = shown.recv() => {
                    let actions = self.desk.shown(&results, self.clock.now());
                    self.carry_out(actions).await;
                }
                Ok(()) = roster.changed() => {
                    let latest = roster.borrow_and_update().clone();
                    self.see(latest).await;
                }
                Some(asked) = control.recv() => self.answer(asked).await,
                _ = tick.tick() => {
                    ticks = ticks.wrapping_add(1);
                    let actions = self.desk.tick(self.clock.now());
                    // Lanes drain and conditions end without an event: a look a second is enough for those.
                    let look = !actions.is_empty() || ticks.is_multiple_of(10);
                    self.carry_out(actions).await;
                    if look {
                        self.publish();
                    }
                    self.save(false).await;
                }
                read = events.recv_many(&mut batch, BATCH), if !stop.is_cancelled() => {
                    if read == 0 {
                        break;
                    }
                    self.decide(&batch).await;
                    batch.clear();
                }
                () = stop.cancelled() => break,
            }
        }
        self.drain(&mut events).await;
        // A message on its way has a moment to arrive, so that its outcome is the true one.
        if self.desk.is_showing()
            && let Ok(Some(results)) =
                tokio::time::timeout(Duration::from_secs(1), shown.recv()).await
        {
            let actions = self.desk.shown(&results, self.clock.now());
            self.carry_out(actions).await;
        }
        let actions = self.desk.close(self.clock.now());
        self.carry_out(actions).await;
        self.save(true).await;
    }

    /// What is accepted already and still on its way here is decided on too. Nobody else publishes any more.
    async fn drain(&mut self, events: &mut mpsc::Receiver<Arc<Event>>) {
        let journal = self.bus.journal().clone();
        let mut publishing = std::mem::take(&mut self.publishing);
        let settled = async move {
            while publishing.join_next().await.is_some() {}
            journal.settled().await.unwrap_or(0)
        };
        tokio::pin!(settled);
        let mut last = None;
        let mut batch = Vec::with_capacity(BATCH);
        while last.is_none_or(|last| self.desk.decided() < last) {
            tokio::select! {
                settled = &mut settled, if last.is_none() => last = Some(settled),
                read = events.recv_many(&mut batch, BATCH) => {
                    if read == 0 {
                        return;
                    }
                    self.decide(&batch).await;
                    batch.clear();
                }
            }
        }
    }

    async fn decide(&mut self, events: &[Arc<Event>]) {
        let mut actions = Vec::new();
        for event in events {
            let place = self.place_of(event);
            actions.extend(self.desk.accept(event, place, self.clock.now()));
        }
        // The segment first. What stands open may have changed, also where nothing has its outcome yet; and an outcome
        // is the last word: what a critical has opened and what another event has ended is on disk before it.
        self.publish();
        self.unsaved = true;
        if self.desk.take_ended() || events.iter().any(|e| e.severity == Severity::Critical) {
            self.save(true).await;
        }
        self.carry_out(actions).await;
        self.publish();
    }

    /// `session:window` as orch knows it, never as a producer says.
    fn place_of(&self, event: &Event) -> String {
        let Some(session) = &event.session else {
            return String::new();
        };
        let index = event.window.and_then(|window| {
            let panes = self.rosters.iter().flat_map(|roster| roster.panes.values());
            panes
                .filter(|pane| pane.window == window)
                .map(|pane| pane.window_index)
                .next()
        });
        match index {
            Some(index) => format!("{session}:{index}"),
            None => session.clone(),
        }
    }

    async fn see(&mut self, roster: Arc<Roster>) {
        let clients = roster.humans().map(|client| client.name.clone()).collect();
        // While no server is attached nobody knows of any pane.
        if roster.server.is_some() {
            self.desk.set_panes(roster.panes.keys().copied().collect());
        }
        self.rosters.push_front(roster);
        self.rosters.truncate(3);
        let actions = self.desk.set_clients(clients, self.clock.now());
        self.carry_out(actions).await;
        self.publish();
    }

    async fn answer(&mut self, asked: Control) {
        match asked {
            Control::Clear(reply) => {
                let actions = self.desk.clear();
                let _ = reply.send(actions.len());
                self.carry_out(actions).await;
            }
            Control::Acknowledge(seq, reply) => {
                let (known, outcomes) = self.desk.acknowledge(seq);
                self.save(true).await;
                self.carry_out(outcomes).await;
                let _ = reply.send(known);
            }
            Control::Mute(terms, span, reply) => {
                let _ = reply.send(self.mute(&terms, span).await);
                self.save(true).await;
            }
            Control::Unmute(which, reply) => {
                let _ = reply.send(self.unmute(which));
                self.save(true).await;
            }
            Control::Mutes(reply) => {
                let mutes = self.desk.mutes().iter();
                let _ = reply.send(mutes.map(|mute| self.state_of(mute)).collect());
            }
            Control::Configure(config) => self.desk.configure(config, self.clock.now()),
        }
        self.publish();
    }

    async fn mute(&mut self, terms: &[String], span: Duration) -> Result<MuteState, BadMute> {
        let milliseconds = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        let filter = Filter::parse(terms)?;
        let (mute, actions) = self.desk.mute(filter, milliseconds, self.clock.now())?;
        self.carry_out(actions).await;
        Ok(self.state_of(&mute))
    }

    fn unmute(&mut self, which: Option<Vec<String>>) -> Result<Ended, BadMute> {
        let which = which.map_or(Ok(Which::All), |words| Which::parse(&words))?;
        let (ended, shown_again) = self.desk.unmute(&which, self.clock.now());
        Ok(Ended {
            ended: ended.iter().map(|mute| self.state_of(mute)).collect(),
            shown_again,
        })
    }

    fn state_of(&self, mute: &Mute) -> MuteState {
        let (wall, now) = (Local::now(), self.clock.now());
        MuteState {
            id: mute.id,
            filter: mute.filter.terms(),
            since: wall - TimeDelta::milliseconds(now.since(mute.since)),
            until: wall + TimeDelta::milliseconds(mute.until.since(now)),
            held: mute.held,
        }
    }

    async fn carry_out(&mut self, actions: Vec<Action>) {
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Outcome(outcome) => {
                    *self.outcomes.entry(outcome.result).or_default() += 1;
                    self.bus.journal().outcome(outcome);
                    self.unsaved = true;
                }
                Action::Receipt(receipt) => self.bus.journal().receipt(receipt),
                Action::Publish(draft) => {
                    let bus = self.bus.clone();
                    self.publishing
                        .spawn(async move { bus.publish_or_say(draft).await });
                    while self.publishing.try_join_next().is_some() {}
                }
                Action::Uncover(clients) => {
                    let tmux = self.tmux.clone();
                    tokio::spawn(async move { message::uncover(&tmux, clients).await });
                }
                Action::Show { clients, text } => {
                    let (clients, refused) = self.desk.let_out(clients, self.clock.now());
                    actions.extend(refused);
                    if clients.is_empty() {
                        continue;
                    }
                    // On disk first: a restart right after must know that this client was shown something.
                    self.save(true).await;
                    let (tmux, shown) = (self.tmux.clone(), self.shown.clone());
                    tokio::spawn(async move {
                        let results = message::show(&tmux, clients, text).await;
                        let _ = shown.send(results).await;
                    });
                }
            }
        }
    }

    fn publish(&mut self) {
        let status = self.desk.status();
        self.wanted.send_if_modified(|wanted| {
            let roster = self.rosters.front();
            let next = status::Wanted {
                status: status.clone(),
                marks: roster
                    .map(|roster| self.desk.marks(roster))
                    .unwrap_or_default(),
                clients: roster
                    .map(|r| r.humans().map(|c| c.name.clone()).collect())
                    .unwrap_or_default(),
                server: roster.and_then(|r| r.server),
            };
            let changed = *wanted != next;
            *wanted = next;
            changed
        });
        self.snapshot.send_replace(Snapshot {
            lanes: self.desk.lanes(self.clock.now()),
            sinks: self.desk.sinks(),
            waiting: self.desk.waiting(),
            outcomes: self.outcomes.clone(),
            status,
        });
    }

    async fn save(&mut self, now: bool) {
        if !now && (!self.unsaved || self.saved.elapsed() < SAVE_EVERY) {
            return;
        }
        (self.unsaved, self.saved) = (false, Instant::now());
        let memory = Saved::new(self.clock.stamp(), self.desk.memory());
        let path = self.memory.clone();
        let saved = tokio::task::spawn_blocking(move || store::store(&path, &memory)).await;
        if let Ok(Err(error)) = saved {
            tracing::warn!(target: "orch::delivery", "cannot save {}: {error}", self.memory.display());
        }
    }
}

/// A desk that knows what the last run knew. Where that is lost it begins with its limits spent: nobody gets a fresh
/// burst by a damaged file.
fn take_up(parts: &Parts) -> (Desk, Clock) {
    let path = &parts.memory;
    let mut desk = Desk::new(parts.config.clone());
    match store::load(path) {
        Found::Saved(saved) => {
            let clock = Clock::start(Some(&saved.stamp));
            desk.restore(saved.memory, clock.now());
            if !parts.resumes {
                desk.renumber();
            }
            return (desk, clock);
        }
        Found::Nothing if !parts.resumes => return (desk, Clock::start(None)),
        Found::Nothing => {
            tracing::warn!(target: "orch::delivery", "{} is missing: beginning with all limits spent, and no mutes", path.display());
        }
        Found::Unusable(why) => {
            let aside = match store::put_aside(path) {
                Ok(aside) => format!("it is now {}", aside.display()),
                Err(error) => format!("it stays there: {error}"),
            };
            tracing::warn!(target: "orch::delivery", "{} cannot be used: {why}; {aside}; beginning with all limits spent, and no mutes", path.display());
        }
    }
    let clock = Clock::start(None);
    desk.assume_spent(clock.now());
    (desk, clock)
}
