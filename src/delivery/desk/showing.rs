//! When a line goes to whom, what became of it, and when it gives way to something more urgent.

use super::super::breaker::{CEILING, Pass};
use super::super::compose;
use super::super::lane::Tick;
use super::{Action, Desk, MESSAGE_SHOWN, outcome};
use crate::delivery::Waiting;
use crate::event::{Receipt, Severity, Verdict};
use crate::tmux::client::SendError;
use crate::tmux::id::ClientName;

/// A message covers the status line, so what is new has this long alone in the segment; what else comes meanwhile
/// goes into the same line. Milliseconds since the latest, and at most since the oldest.
const GROUP_WAIT: (i64, i64) = (300, 2_000);

/// The latest message, until it was taken off again.
#[derive(Debug)]
pub(super) struct Covering {
    /// When it was sent, later when it was confirmed.
    at: Tick,
    clients: Vec<ClientName>,
    /// The event that it names.
    named: u64,
}

impl Desk {
    /// Asked right before a message goes out: those of the clients that it may go to. This is the last line, and
    /// knows nothing of lanes and gaps; a client that got too many is cut off, and that is said.
    pub fn let_out(
        &mut self,
        clients: Vec<ClientName>,
        now: Tick,
    ) -> (Vec<ClientName>, Vec<Action>) {
        let (mut through, mut actions) = (Vec::new(), Vec::new());
        let named = self.in_flight.first().map(|waiting| waiting.seq);
        for client in clients {
            let pass = self.breaker.pass(&client, now);
            if pass == Pass::Goes {
                through.push(client);
                continue;
            }
            if pass == Pass::Trips {
                actions.push(self.say_cut(&client));
            }
            actions.extend(named.map(|of| {
                let reason = format!("cut off: {CEILING} messages went to it within a minute");
                receipt(of, &client, "refused", reason)
            }));
        }
        if through.is_empty() {
            self.take_back();
            actions.extend(self.flush(now));
        }
        (through, actions)
    }

    /// What became of the last [`Action::Show`]: each client with the error it met, if any.
    pub fn shown(&mut self, results: &[(ClientName, Option<SendError>)], now: Tick) -> Vec<Action> {
        let mut actions = Vec::new();
        if let Some(covering) = &mut self.covering {
            covering.at = now;
        }
        // What tmux did not confirm may stand there all the same: shown twice would be worse than said so.
        let perhaps = |error: &SendError| matches!(error, SendError::Timeout | SendError::Closed);
        let delivered = results
            .iter()
            .any(|(_, error)| error.as_ref().is_none_or(perhaps));
        let Some(named) = self.in_flight.first() else {
            return actions;
        };
        for (client, error) in results {
            let result = match error {
                None if named.repeat => "repeated",
                None => "shown",
                Some(error) if perhaps(error) => "unconfirmed",
                Some(_) => "failed",
            };
            let reason = error.as_ref().map(ToString::to_string);
            actions.push(receipt(
                named.seq,
                client,
                result,
                reason.unwrap_or_default(),
            ));
        }
        if !delivered {
            self.take_back();
            return actions;
        }
        let told = std::mem::take(&mut self.in_flight);
        let n = told.len() as u64;
        for (at, waiting) in told.iter().enumerate() {
            self.board.told(waiting.seq, now);
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
        if let Some(by) = self.uncover_when_shown.take() {
            actions.extend(self.uncover_now(by, now));
        }
        actions
    }

    /// Shows everything that waits as one line, if a client may be shown one now.
    pub(super) fn flush(&mut self, now: Tick) -> Vec<Action> {
        if self.waiting.is_empty() || !self.in_flight.is_empty() {
            return Vec::new();
        }
        let open = self.uncut_clients().count();
        if !self.clients.is_empty() && (!self.config.messages || open == 0) {
            return self.flush_to_segment();
        }
        let ages = || self.waiting.iter().map(|w| now.since(w.since));
        if ages().min() < Some(GROUP_WAIT.0) && ages().max() < Some(GROUP_WAIT.1) {
            return Vec::new();
        }
        let clients = self.free_clients(now);
        // Ordinary ones wait until every client may be shown one, so that one line says it to all; a critical
        // does not wait for that.
        let critical = self
            .waiting
            .iter()
            .any(|w| w.severity == Severity::Critical);
        if clients.is_empty() || clients.len() < open && !critical {
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
        self.loops.shows(now);
        let text = compose::message(&waiting);
        self.covering = waiting.first().map(|named| Covering {
            at: now,
            clients: clients.clone(),
            named: named.seq,
        });
        self.in_flight = waiting;
        vec![Action::Show { clients, text }]
    }

    /// Clients that the breaker has not cut off.
    pub(super) fn uncut_clients(&self) -> impl Iterator<Item = &ClientName> {
        let clients = self.clients.iter();
        clients.filter(|client| !self.breaker.is_cut(client))
    }

    /// Clients that may be shown something now.
    pub(super) fn free_clients(&self, now: Tick) -> Vec<ClientName> {
        let is_free = |client: &&ClientName| {
            let shown = self.shown.get(*client);
            shown.is_none_or(|at| now.since(*at) >= self.gap)
        };
        self.uncut_clients().filter(is_free).cloned().collect()
    }

    /// Something more urgent came: the clients on whose status line a message of ours stands, once for each message.
    /// One that is still on its way cannot be taken off before it is there: that follows when it is.
    pub(super) fn uncover(&mut self, by: u64, now: Tick) -> Vec<Action> {
        if !self.in_flight.is_empty() {
            self.uncover_when_shown = Some(by);
            return Vec::new();
        }
        self.uncover_now(by, now)
    }

    fn uncover_now(&mut self, by: u64, now: Tick) -> Vec<Action> {
        let Some(covering) = self.covering.take() else {
            return Vec::new();
        };
        let stood = now.since(covering.at);
        let mut clients = covering.clients;
        clients.retain(|client| self.clients.contains(client));
        if stood >= MESSAGE_SHOWN || clients.is_empty() {
            return Vec::new();
        }
        let gave_way = |client: &ClientName| {
            let reason = format!("stood for {stood} ms, then gave way to {by}");
            receipt(covering.named, client, "gave_way", reason)
        };
        let mut actions: Vec<Action> = clients.iter().map(gave_way).collect();
        actions.push(Action::Uncover(clients));
        actions
    }

    /// Nobody saw it: it waits on, in its place.
    fn take_back(&mut self) {
        self.covering = None;
        self.uncover_when_shown = None;
        for waiting in std::mem::take(&mut self.in_flight).into_iter().rev() {
            self.waiting.push_front(waiting);
        }
    }

    /// Where no message goes out, the segment is the only destination, and it has room for criticals alone.
    fn flush_to_segment(&mut self) -> Vec<Action> {
        let (cut, status) = (self.config.messages, self.config.status);
        self.resolve(
            |_| true,
            |waiting| match (waiting.severity == Severity::Critical && status, cut) {
                (true, false) => (Verdict::Delivered, "shown in the segment"),
                (true, true) => (
                    Verdict::Delivered,
                    "shown in the segment; messages are cut off, see the event breaker_open",
                ),
                (false, false) => (
                    Verdict::DestGone,
                    "no sink is switched on that would take it",
                ),
                (false, true) => (
                    Verdict::DestGone,
                    "every client is cut off from messages, see the event breaker_open",
                ),
            },
        )
    }
}

fn receipt(of: u64, client: &ClientName, result: &str, reason: String) -> Action {
    Action::Receipt(Receipt {
        of,
        dest: format!("message:{client}"),
        result: result.to_owned(),
        reason,
    })
}
