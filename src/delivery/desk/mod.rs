//! Who is told what, and when: the stages an event passes, what waits, what is held back. Pure: events, clients and
//! the present go in, actions come out; knows neither tmux nor the journal.

mod digest;
mod memory;
mod notices;
mod queue;
mod requests;
mod showing;
mod stages;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::board::{self, Board};
use super::breaker::Breaker;
use super::compose::{self, Status};
use super::demotion::{Sources, Standing};
use super::fingerprint::{Fingerprint, Shape};
use super::lane::{Lane, Tick};
use super::loops::Loops;
use super::mute::{Mutes, Subject};
use super::starts::Starts;
use super::{Config, Waiting};
use crate::event::{Draft, Event, Outcome, Receipt, Severity, Verdict};
use crate::panes::Roster;
use crate::tmux::TmuxText;
use crate::tmux::id::{ClientName, PaneId, SessionId};

use digest::Digest;
pub use memory::Memory;
use showing::Covering;
use stages::{Case, STAGES, Step};

/// A client is shown at most one message in this long, in milliseconds (tmux freezes its screen meanwhile): 10 s as
/// the client sees them, so a little more here.
pub const MESSAGE_GAP: i64 = 10_300;
/// How long a message stays, in milliseconds.
pub const MESSAGE_SHOWN: i64 = 1_500;
/// An ordinary event that was told is not told again for this long.
const REMEMBER: i64 = 60 * 60_000;
/// Fingerprints that are remembered.
const MEMORY: usize = 10_000;

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Record an outcome.
    Outcome(Outcome),
    /// Record a receipt.
    Receipt(Receipt),
    /// Publish an event of delivery's own.
    Publish(Draft),
    /// Take our message off these clients' screens: the segment under it has something more urgent to say.
    Uncover(Vec<ClientName>),
    /// Show one line to those of these clients that [`Desk::let_out`] lets through; if any, [`Desk::shown`] must
    /// follow.
    Show {
        /// To whom.
        clients: Vec<ClientName>,
        /// What.
        text: TmuxText,
    },
}

/// The desk.
#[derive(Debug)]
pub struct Desk {
    config: Config,
    ordinary: Lane,
    critical: Lane,
    told: BTreeMap<Fingerprint, Tick>,
    board: Board,
    mutes: Mutes,
    sources: Sources,
    loops: Loops,
    breaker: Breaker,
    starts: Starts,
    digest: Digest,
    waiting: VecDeque<Waiting>,
    in_flight: Vec<Waiting>,
    shown: BTreeMap<ClientName, Tick>,
    /// The pace of messages to one client; only tests have another.
    gap: i64,
    covering: Option<Covering>,
    /// The event that is more urgent than a message that was still on its way when it came.
    uncover_when_shown: Option<u64>,
    clients: Vec<ClientName>,
    /// The panes that there are, once that is known.
    panes: Option<BTreeSet<PaneId>>,
    /// The tmux server that pane ids belong to, as its `tmux_attached` names it.
    server: Option<serde_json::Value>,
    /// The last event that was decided on, of this run or of the one before.
    decided: u64,
    /// A condition ended by an event whose outcome must not be on disk before the memory knows that.
    ended: bool,
}

impl Desk {
    /// An empty desk.
    pub fn new(config: Config) -> Self {
        Self {
            ordinary: Lane::new(config.rate_limit, config.period_ms),
            critical: Lane::new(config.critical_rate_limit, 60_000),
            config,
            told: BTreeMap::new(),
            board: Board::default(),
            mutes: Mutes::default(),
            sources: Sources::default(),
            loops: Loops::default(),
            breaker: Breaker::default(),
            starts: Starts::default(),
            digest: Digest::default(),
            waiting: VecDeque::new(),
            in_flight: Vec::new(),
            shown: BTreeMap::new(),
            gap: MESSAGE_GAP,
            covering: None,
            uncover_when_shown: None,
            clients: Vec::new(),
            panes: None,
            server: None,
            decided: 0,
            ended: false,
        }
    }

    /// Another configuration from now on; what is known stays.
    pub fn configure(&mut self, config: Config, now: Tick) {
        let mut next = Self::new(config);
        next.ordinary.adopt(&self.ordinary, now);
        next.critical.adopt(&self.critical, now);
        self.ordinary = next.ordinary;
        self.critical = next.critical;
        self.config = next.config;
    }

    /// Takes an accepted event. `place` is where it happened, by orch's own knowledge.
    pub fn accept(&mut self, event: &Event, place: String, now: Tick) -> Vec<Action> {
        self.decided = event.seq;
        self.meet(event);
        let mut actions = Vec::new();
        let case = self.look_at(event, now, &mut actions);
        if self.raises(&case) {
            let muted = case.mute.is_some();
            let fingerprint = case.fingerprint;
            if self
                .board
                .raise(fingerprint, event, place.clone(), muted, now)
            {
                // It had ended meanwhile, so it is news again.
                self.told.remove(&fingerprint);
                if !muted {
                    actions.extend(self.uncover(event.seq, now));
                }
            }
        }
        for stage in STAGES {
            if let Step::Stop(verdict, reason) = stage(self, &case) {
                self.digest.stopped(event, verdict, now);
                actions.push(outcome(event.seq, verdict, &reason, None));
                return actions;
            }
        }
        if self.waiting.len() >= self.config.queue_size {
            actions.extend(self.make_room(now));
        }
        if event.kind != "digest" {
            self.remember(case.fingerprint, now);
        }
        self.waiting.push_back(Waiting {
            seq: event.seq,
            severity: case.weight,
            fingerprint: Some(case.fingerprint),
            kind: event.kind.clone(),
            session: event.session.clone(),
            pane: event.pane,
            source: event.source.clone(),
            place,
            message: event.message.clone(),
            since: now,
            repeat: false,
        });
        actions.extend(self.flush(now));
        actions
    }

    /// An event of a run that ended before its outcome: never told one by one, counted into one digest. What it did to
    /// the conditions is known where that run remembered it: it may have ended since, by an event that is not left over.
    pub fn accept_left_over(&mut self, event: &Event, now: Tick) -> Action {
        let is_news = event.seq > self.decided;
        if is_news {
            self.decided = event.seq;
            self.meet(event);
        }
        let own = notices::is_own(event);
        let muted = self.mutes.cover(Subject::of(event)).map(|mute| mute.id);
        if is_news && event.severity == Severity::Critical && (event.cause.is_none() || own) {
            let place = event.session.clone().unwrap_or_default();
            let fingerprint = Fingerprint::of(event);
            self.board
                .raise(fingerprint, event, place, muted.is_some(), now);
        }
        let (verdict, reason) = if let (Some(cause), false) = (event.cause, own) {
            (Verdict::SelfLoop, stages::caused_by(cause))
        } else if event.kind != "digest" && event.severity < self.config.threshold {
            (Verdict::BelowThreshold, self.not_pushed(event))
        } else if let Some(mute) = muted {
            self.mutes.count(mute);
            (
                Verdict::Muted,
                "a mute covered it when orch came back".to_owned(),
            )
        } else {
            self.board.owe(Fingerprint::of(event));
            let reason = "was waiting when the last run ended; counted into one digest";
            (Verdict::Coalesced, reason.to_owned())
        };
        self.digest.stopped(event, verdict, now);
        outcome(event.seq, verdict, &reason, None)
    }

    /// The last event that was decided on.
    pub fn decided(&self) -> u64 {
        self.decided
    }

    /// Numbers begin anew: no event was decided on yet.
    pub fn renumber(&mut self) {
        self.decided = 0;
    }

    /// Whether a condition ended by an event since this was last asked: the memory is to be on disk before the event's
    /// outcome, since no later run is shown an event that has one.
    pub fn take_ended(&mut self) -> bool {
        std::mem::take(&mut self.ended)
    }

    /// Who looks at a screen now.
    pub fn set_clients(&mut self, clients: Vec<ClientName>, now: Tick) -> Vec<Action> {
        let gap = self.gap;
        self.shown
            .retain(|client, at| clients.contains(client) || now.since(*at) < gap);
        self.clients = clients;
        self.flush(now)
    }

    /// The panes that there are now.
    pub fn set_panes(&mut self, panes: BTreeSet<PaneId>) {
        self.panes = Some(panes);
    }

    /// Time passes: digests, repeats, ends, and what had to wait for its client. Call at least every second.
    pub fn tick(&mut self, now: Tick) -> Vec<Action> {
        let panes = self.panes.as_ref();
        let is_gone = |pane| panes.is_some_and(|panes| !panes.contains(&pane));
        self.board.expire(is_gone, now);
        for seq in self.breaker.expire(now) {
            self.board.close(seq);
        }
        let over = self.mutes.expire(now);
        if !over.is_empty() {
            self.unmuted(&over, now);
        }
        self.told.retain(|_, at| now.since(*at) < REMEMBER);
        let mut actions = self.say_digest(now);
        self.queue_repeats(now);
        actions.extend(self.flush(now));
        actions
    }

    /// The status line as it should be.
    pub fn status(&self) -> Status {
        Status::of(&self.board)
    }

    /// The marks of panes and windows, a line for each session.
    pub fn marks(&self, roster: &Roster) -> BTreeMap<SessionId, TmuxText> {
        compose::marks(&self.board, roster)
    }

    /// Whether messages and status variables are switched on.
    pub fn sinks(&self) -> [bool; 2] {
        [self.config.messages, self.config.status]
    }

    /// Notifications that wait for a client.
    pub fn waiting(&self) -> usize {
        self.waiting.len() + self.in_flight.len()
    }

    /// Whether a message is on its way.
    pub fn is_showing(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Used and limit of the ordinary and of the critical lane.
    pub fn lanes(&self, now: Tick) -> [(u32, u32); 2] {
        [&self.ordinary, &self.critical].map(|lane| (lane.used(now), lane.limit()))
    }

    /// What must be known of an event before the stages: where it comes from, and what it weighs here.
    fn look_at<'a>(&mut self, event: &'a Event, now: Tick, actions: &mut Vec<Action>) -> Case<'a> {
        let fingerprint = Fingerprint::of(event);
        let ours = self.our_doing(event, now, actions);
        let claimed = board::is_claimed(event);
        let mut demoted = false;
        if event.severity == Severity::Critical && claimed && ours.is_none() {
            let limit = self.config.source_critical_limit;
            let standing = self.sources.claim(&event.source, fingerprint, limit, now);
            demoted = standing != Standing::Believed;
            if standing == Standing::Demoted {
                actions.extend(self.say_demoted(event, now));
            }
        }
        let covering = self.mutes.cover(Subject::of(event));
        Case {
            event,
            fingerprint,
            now,
            ours,
            demoted,
            weight: if demoted {
                Severity::High
            } else {
                event.severity
            },
            mute: covering.map(|mute| (mute.id, mute.until, mute.filter.to_string())),
        }
    }

    /// Whether an event is of our own making, and why. Notices of delivery's own are not: they are what is to be told.
    fn our_doing(&mut self, event: &Event, now: Tick, actions: &mut Vec<Action>) -> Option<String> {
        let depth = self.loops.depth(event);
        if event.kind == "loop_broken" {
            return None;
        }
        if depth > super::loops::DEPTH {
            actions.extend(self.say_chain(event, now));
            return Some(format!("it is the {depth}th in a chain of causes: cut"));
        }
        if notices::is_own(event) {
            return None;
        }
        if let Some(cause) = event.cause {
            return Some(stages::caused_by(cause));
        }
        if event.severity >= self.config.threshold && self.loops.is_echo(Shape::of(event), now) {
            actions.extend(self.say_echo(event, now));
            return Some(
                "it follows each of our messages within a second: an echo of them".to_owned(),
            );
        }
        None
    }

    /// Whether it opens a condition, where none stands.
    fn raises(&self, case: &Case<'_>) -> bool {
        case.event.severity == Severity::Critical
            && case.ours.is_none()
            && !self.is_inhibited(case.event)
    }

    /// What an event says beside what is to be told of it.
    fn meet(&mut self, event: &Event) {
        let data = |name| event.data.as_ref().and_then(|data| data.get(name));
        let server = data("server");
        // Another tmux server uses the same pane ids for other panes: what was known of them goes.
        if event.kind == "tmux_attached" && server.is_some() && server != self.server.as_ref() {
            if self.server.is_some() {
                self.board.forget_panes();
                self.told.clear();
                self.ended = true;
            }
            self.server = server.cloned();
        }
        if event.kind == "breaker_open"
            && let Some(client) = data("client").and_then(|client| client.as_str())
        {
            self.breaker.told(client, event.seq);
        }
        self.ended |= self.board.end(event);
    }

    fn remember(&mut self, fingerprint: Fingerprint, now: Tick) {
        if self.told.len() >= MEMORY
            && let Some(oldest) = self.told.iter().min_by_key(|(_, at)| **at).map(|(f, _)| *f)
        {
            self.told.remove(&oldest);
        }
        self.told.insert(fingerprint, now);
    }

    fn is_inhibited(&self, event: &Event) -> bool {
        event.pane.is_some() && event.kind.starts_with("agent_") && self.board.holds("tmux_lost")
    }

    fn not_pushed(&self, event: &Event) -> String {
        format!(
            "{} is not pushed, {} is",
            event.severity, self.config.threshold
        )
    }
}

fn outcome(of: u64, result: Verdict, reason: &str, n: Option<u64>) -> Action {
    Action::Outcome(Outcome {
        of,
        result,
        reason: reason.to_owned(),
        n,
    })
}
