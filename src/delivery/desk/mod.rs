//! Who is told what, and when: the stages an event passes, what waits, what is held back. Pure: events, clients and
//! the present go in, actions come out; knows neither tmux nor the journal.

mod memory;
mod stages;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde_json::json;

use super::board::Board;
use super::compose::{self, Status};
use super::fingerprint::Fingerprint;
use super::lane::{Lane, Tick};
use super::{Config, Held, Waiting};
use crate::event::{Draft, Event, Outcome, Receipt, Severity, Verdict};
use crate::panes::Roster;
use crate::tmux::TmuxText;
use crate::tmux::client::SendError;
use crate::tmux::id::{ClientName, SessionId};

pub use memory::Memory;
use stages::{STAGES, Step};

/// A client is shown at most one message in this long, in milliseconds (tmux freezes its screen meanwhile): 10 s as
/// the client sees them, so a little more here.
pub const MESSAGE_GAP: i64 = 10_300;
/// How long a message stays, in milliseconds.
pub const MESSAGE_SHOWN: i64 = 1_500;
/// A message covers the status line, so what is new has this long alone in the segment; what else comes meanwhile
/// goes into the same line. Milliseconds since the latest, and at most since the oldest.
const GROUP_WAIT: (i64, i64) = (300, 2_000);
/// What is held back is told at most this often, in milliseconds.
const DIGEST_EVERY: i64 = 60_000;
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
    /// Show one line to these clients; [`Desk::shown`] must follow.
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
    told: HashMap<Fingerprint, Tick>,
    board: Board,
    waiting: VecDeque<Waiting>,
    in_flight: Vec<Waiting>,
    held: Held,
    held_since: Option<Tick>,
    digest_at: Option<Tick>,
    shown: HashMap<ClientName, Tick>,
    /// The latest message and where it was shown, until it was taken off again.
    covering: Option<(Tick, Vec<ClientName>)>,
    /// Something more urgent came while a message was on its way.
    uncover_when_shown: bool,
    clients: Vec<ClientName>,
    /// The tmux server that pane ids belong to, as its `tmux_attached` names it.
    server: Option<serde_json::Value>,
}

impl Desk {
    /// An empty desk.
    pub fn new(config: Config) -> Self {
        Self {
            ordinary: Lane::new(config.rate_limit, config.period_ms),
            critical: Lane::new(config.critical_rate_limit, 60_000),
            config,
            told: HashMap::new(),
            board: Board::default(),
            waiting: VecDeque::new(),
            in_flight: Vec::new(),
            held: Held::new(),
            held_since: None,
            digest_at: None,
            shown: HashMap::new(),
            covering: None,
            uncover_when_shown: false,
            server: None,
            clients: Vec::new(),
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
        self.meet_server(event);
        self.board.end(event);
        let fingerprint = Fingerprint::of(event);
        let critical = event.severity == Severity::Critical;
        let mut actions = Vec::new();
        if critical
            && event.cause.is_none()
            && !self.is_inhibited(event)
            && self.board.raise(fingerprint, event, place.clone(), now)
        {
            // It had ended meanwhile, so it is news again.
            self.told.remove(&fingerprint);
            actions.extend(self.uncover(now));
        }
        if critical && self.waiting.len() >= self.config.queue_size {
            actions.extend(self.make_room(now));
        }
        for stage in STAGES {
            if let Step::Stop(verdict, reason) = stage(self, event, fingerprint, now) {
                if event.kind == "digest" && verdict == Verdict::RateLimited {
                    self.hold_again(event, now);
                } else if matches!(
                    verdict,
                    Verdict::Duplicate | Verdict::RateLimited | Verdict::Coalesced
                ) {
                    self.hold(verdict, 1, now);
                }
                actions.push(outcome(event.seq, verdict, &reason, None));
                return actions;
            }
        }
        if event.kind != "digest" {
            self.remember(fingerprint, now);
        }
        let waiting = Waiting {
            seq: event.seq,
            severity: event.severity,
            fingerprint: Some(fingerprint),
            kind: event.kind.clone(),
            place,
            message: event.message.clone(),
            since: now,
            repeat: false,
        };
        self.waiting.push_back(waiting);
        actions.extend(self.flush(now));
        actions
    }

    /// An event of a run that ended before its outcome: never told one by one, counted into one digest.
    pub fn accept_left_over(&mut self, event: &Event, now: Tick) -> Action {
        self.board.end(event);
        if event.severity == Severity::Critical && event.cause.is_none() {
            let place = event.session.clone().unwrap_or_default();
            self.board.raise(Fingerprint::of(event), event, place, now);
        }
        let outcome_of = |verdict, reason: &str| outcome(event.seq, verdict, reason, None);
        if event.severity < self.config.threshold || event.kind == "digest" {
            return outcome_of(
                Verdict::BelowThreshold,
                "found without outcome at the start",
            );
        }
        self.hold(Verdict::Coalesced, 1, now);
        outcome_of(
            Verdict::Coalesced,
            "was waiting when the last run ended; counted into one digest",
        )
    }

    /// Who looks at a screen now.
    pub fn set_clients(&mut self, clients: Vec<ClientName>, now: Tick) -> Vec<Action> {
        self.shown
            .retain(|client, at| clients.contains(client) || now.since(*at) < MESSAGE_GAP);
        self.clients = clients;
        self.flush(now)
    }

    /// Time passes: digests, repeats, ends, and what had to wait for its client. Call at least every second.
    pub fn tick(&mut self, now: Tick) -> Vec<Action> {
        self.board.expire(now);
        self.told.retain(|_, at| now.since(*at) < REMEMBER);
        let mut actions = Vec::new();
        let digest_due = self
            .held_since
            .is_some_and(|since| now.since(since) >= DIGEST_EVERY)
            && self
                .digest_at
                .is_none_or(|at| now.since(at) >= DIGEST_EVERY);
        if digest_due && self.ordinary.has_room(now) {
            self.digest_at = Some(now);
            self.held_since = None;
            let held = std::mem::take(&mut self.held);
            let counts: BTreeMap<&str, u64> = held.iter().map(|(v, n)| (v.as_str(), *n)).collect();
            let draft = Draft::new("digest", "delivery", compose::digest(&held));
            actions.push(Action::Publish(draft.with_data(json!({"held": counts}))));
        }
        let due: Vec<Waiting> = self
            .board
            .due(now)
            .into_iter()
            .filter(|open| {
                !self
                    .waiting
                    .iter()
                    .chain(&self.in_flight)
                    .any(|w| w.seq == open.seq)
            })
            .map(|open| Waiting {
                seq: open.seq,
                severity: Severity::Critical,
                fingerprint: None,
                kind: open.kind.clone(),
                place: open.place.clone(),
                message: "it still holds".to_owned(),
                since: now,
                repeat: true,
            })
            .collect();
        for repeat in due {
            if self.waiting.len() < self.config.queue_size && self.critical.take(now) {
                self.waiting.push_back(repeat);
            }
        }
        actions.extend(self.flush(now));
        actions
    }

    /// What became of the last [`Action::Show`]: each client with the error it met, if any.
    pub fn shown(&mut self, results: &[(ClientName, Option<SendError>)], now: Tick) -> Vec<Action> {
        let told = std::mem::take(&mut self.in_flight);
        let mut actions = Vec::new();
        if std::mem::take(&mut self.uncover_when_shown) {
            actions.extend(self.uncover(now));
        }
        // What tmux did not confirm may stand there all the same: shown twice would be worse than said so.
        let perhaps = |error: &SendError| matches!(error, SendError::Timeout | SendError::Closed);
        let delivered = results
            .iter()
            .any(|(_, error)| error.as_ref().is_none_or(perhaps));
        let Some(named) = told.first() else {
            return actions;
        };
        for (client, error) in results {
            actions.push(Action::Receipt(Receipt {
                of: named.seq,
                dest: format!("message:{client}"),
                result: match error {
                    None if named.repeat => "repeated",
                    None => "shown",
                    Some(error) if perhaps(error) => "unconfirmed",
                    Some(_) => "failed",
                }
                .to_owned(),
                reason: error.as_ref().map(ToString::to_string).unwrap_or_default(),
            }));
        }
        if !delivered {
            // Nobody saw it: it waits on, in its place.
            for waiting in told.into_iter().rev() {
                self.waiting.push_front(waiting);
            }
            return actions;
        }
        let n = told.len() as u64;
        for (at, waiting) in told.iter().enumerate() {
            if waiting.severity == Severity::Critical {
                self.board.told(waiting.seq, now);
            }
            if waiting.repeat {
                continue;
            }
            actions.push(if at == 0 {
                outcome(
                    waiting.seq,
                    Verdict::Delivered,
                    "shown as a message",
                    (n > 1).then_some(n),
                )
            } else {
                outcome(
                    waiting.seq,
                    Verdict::Coalesced,
                    &format!("counted in the message of {}", told[0].seq),
                    None,
                )
            });
        }
        actions
    }

    /// Drops what waits.
    pub fn clear(&mut self) -> Vec<Action> {
        self.resolve_waiting(Verdict::Cleared, "dropped by clear-queues")
    }

    /// The end of the run: what still waits gets its outcome. What was held back is kept in the memory.
    pub fn close(&mut self, now: Tick) -> Vec<Action> {
        let waiting = self.waiting.len() + self.in_flight.len();
        self.waiting.extend(std::mem::take(&mut self.in_flight));
        let repeats = self.waiting.iter().filter(|w| w.repeat).count();
        if waiting > repeats {
            self.hold(Verdict::Coalesced, (waiting - repeats) as u64, now);
        }
        self.resolve_waiting(
            Verdict::Coalesced,
            "orch stopped before it could be shown; counted into the next digest",
        )
    }

    /// Somebody has seen to an event's condition.
    pub fn acknowledge(&mut self, seq: u64) -> bool {
        self.board.acknowledge(seq)
    }

    /// The status line as it should be.
    pub fn status(&self) -> Status {
        Status::of(&self.board)
    }

    /// The marks of panes and windows, a line for each session.
    pub fn marks(&self, roster: &Roster) -> BTreeMap<SessionId, TmuxText> {
        compose::marks(&self.board, roster)
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

    fn resolve_waiting(&mut self, verdict: Verdict, reason: &str) -> Vec<Action> {
        let waiting = std::mem::take(&mut self.waiting);
        if verdict != Verdict::Delivered {
            // Nobody was told, so the same is news again.
            for fingerprint in waiting.iter().filter_map(|w| w.fingerprint) {
                self.told.remove(&fingerprint);
            }
        }
        waiting
            .iter()
            .filter(|w| !w.repeat)
            .map(|w| outcome(w.seq, verdict, reason, None))
            .collect()
    }

    /// A critical goes before an ordinary one that waits: the oldest of those is counted instead.
    fn make_room(&mut self, now: Tick) -> Option<Action> {
        let at = self
            .waiting
            .iter()
            .position(|w| w.severity != Severity::Critical)?;
        let dropped = self.waiting.remove(at)?;
        self.hold(Verdict::Coalesced, 1, now);
        Some(outcome(
            dropped.seq,
            Verdict::Coalesced,
            "a critical took its place in the queue",
            None,
        ))
    }

    /// Without messages the segment is the only destination.
    fn flush_to_segment(&mut self) -> Vec<Action> {
        if self.clients.is_empty() {
            return Vec::new();
        }
        self.resolve_waiting(Verdict::Delivered, "shown in the segment")
    }

    /// Shows everything that waits as one line, if a client may be shown one now.
    fn flush(&mut self, now: Tick) -> Vec<Action> {
        if self.waiting.is_empty() || !self.in_flight.is_empty() {
            return Vec::new();
        }
        if !self.config.messages {
            return self.flush_to_segment();
        }
        let ages = || self.waiting.iter().map(|w| now.since(w.since));
        if ages().min() < Some(GROUP_WAIT.0) && ages().max() < Some(GROUP_WAIT.1) {
            return Vec::new();
        }
        let gap = |client: &&ClientName| {
            self.shown
                .get(*client)
                .is_none_or(|at| now.since(*at) >= MESSAGE_GAP)
        };
        let clients: Vec<ClientName> = self.clients.iter().filter(gap).cloned().collect();
        // Ordinary ones wait until every client may be shown one, so that one line says it to all; a critical
        // does not wait for that.
        let critical = self
            .waiting
            .iter()
            .any(|w| w.severity == Severity::Critical);
        if clients.is_empty() || clients.len() < self.clients.len() && !critical {
            return Vec::new();
        }
        let mut waiting: Vec<Waiting> = std::mem::take(&mut self.waiting).into();
        // The first is named: the newest critical, else the newest.
        waiting.sort_by_key(|w| {
            std::cmp::Reverse((w.severity == Severity::Critical, !w.repeat, w.seq))
        });
        for client in &clients {
            self.shown.insert(client.clone(), now);
        }
        let text = compose::message(&waiting);
        self.in_flight = waiting;
        self.covering = Some((now, clients.clone()));
        vec![Action::Show { clients, text }]
    }

    /// Something more urgent came: the clients on whose status line a message of ours stands, once for each message.
    /// One that is still on its way cannot be taken off before it is there: that follows when it is.
    fn uncover(&mut self, now: Tick) -> Option<Action> {
        self.uncover_when_shown = !self.in_flight.is_empty();
        if self.uncover_when_shown {
            return None;
        }
        let (at, clients) = self.covering.take()?;
        let clients: Vec<ClientName> = clients
            .into_iter()
            .filter(|client| self.clients.contains(client))
            .collect();
        (now.since(at) < MESSAGE_SHOWN && !clients.is_empty()).then_some(Action::Uncover(clients))
    }

    /// Another tmux server uses the same pane ids for other panes: what was known of them goes.
    fn meet_server(&mut self, event: &Event) {
        let server = event.data.as_ref().and_then(|data| data.get("server"));
        if event.kind != "tmux_attached" || server.is_none() || server == self.server.as_ref() {
            return;
        }
        if self.server.is_some() {
            self.board.forget_panes();
            self.told.clear();
        }
        self.server = server.cloned();
    }

    fn hold(&mut self, verdict: Verdict, n: u64, now: Tick) {
        *self.held.entry(verdict).or_default() += n;
        self.held_since.get_or_insert(now);
    }

    /// A digest whose own lane was spent: its counts go into the next one.
    fn hold_again(&mut self, digest: &Event, now: Tick) {
        let held = digest
            .data
            .as_ref()
            .and_then(|data| data.get("held")?.as_object().cloned());
        for (name, n) in held.into_iter().flatten() {
            if let (Ok(verdict), Some(n)) = (name.parse(), n.as_u64()) {
                self.hold(verdict, n, now);
            }
        }
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
}

fn outcome(of: u64, result: Verdict, reason: &str, n: Option<u64>) -> Action {
    Action::Outcome(Outcome {
        of,
        result,
        reason: reason.to_owned(),
        n,
    })
}
