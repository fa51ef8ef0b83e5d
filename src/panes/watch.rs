//! Keeps the roster: subscribes, lists when something may have changed, publishes snapshots and changes.
//! A run loop; what changes mean is for the monitors.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use super::killer;
use super::listing::{self, CLIENTS, PANES, WINDOWS};
use super::roster::{Change, Ended, Roster};
use crate::tmux::client::{Attachment, SendError, Signal, Tmux};
use crate::tmux::{Command, WindowId, escape};

/// tmux shows a pane as dead when its terminal is closed, and learns a moment later how its program ended: so often
/// it is listed again, with this pause. Longer only means that the status is told as unknown (3.2 knows no signals).
const REAPED: (u32, Duration) = (25, Duration::from_millis(40));

/// What the roster tells its reader, in order.
#[derive(Debug)]
pub enum Update {
    /// Attached; the roster that goes with it is complete. `new_server` is false after a mere reconnection.
    Attached {
        /// To what.
        attachment: Attachment,
        /// Ids mean something else now than before.
        new_server: bool,
    },
    /// The server is gone or out of reach.
    Lost(String),
    /// Panes changed.
    Changes(Vec<Change>),
}

/// How often everything is listed without a hint.
const SAFETY: Duration = Duration::from_secs(30);

struct Watch {
    tmux: Tmux,
    roster: watch::Sender<Arc<Roster>>,
    updates: mpsc::Sender<Update>,
    attachment: Option<Attachment>,
    /// Latest value of each subscription; together they are one snapshot.
    values: BTreeMap<Bytes, Bytes>,
    subscribed: usize,
    /// The window of the host session that the subscriptions are tied to.
    tied_to: Option<WindowId>,
}

/// Runs until the connection's supervisor ends. `updates` is awaited: a slow monitor delays the roster,
/// never the connection.
pub async fn run(
    tmux: Tmux,
    mut signals: mpsc::UnboundedReceiver<Signal>,
    roster: watch::Sender<Arc<Roster>>,
    updates: mpsc::Sender<Update>,
) {
    let mut watch = Watch {
        tmux,
        roster,
        updates,
        attachment: None,
        values: BTreeMap::new(),
        subscribed: 0,
        tied_to: None,
    };
    // Signals that were already waiting when the last listing was answered: a value among them may be older
    // than that listing, so it is taken as a hint only.
    let mut suspect = 0usize;
    let mut safety = tokio::time::interval(SAFETY);
    safety.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let first = tokio::select! {
            signal = signals.recv() => match signal {
                Some(signal) => signal,
                None => return,
            },
            // A hint may be missed, by us or by tmux.
            _ = safety.tick() => Signal::Clients,
        };
        // A burst of hints is one listing.
        let (mut panes, mut clients, mut values) = (false, false, false);
        let mut next = Some(first);
        while let Some(signal) = next {
            let maybe_old = suspect > 0;
            suspect = suspect.saturating_sub(1);
            match signal {
                Signal::Structure => panes = true,
                Signal::Clients => clients = true,
                Signal::Value { name, value } => {
                    watch.values.insert(name, value);
                    values = true;
                    panes |= maybe_old;
                }
                Signal::Output { .. } => {}
                Signal::Attached(attachment) => {
                    watch.attached(attachment).await;
                    (panes, clients, values) = (false, false, false);
                }
                Signal::Lost { reason } => {
                    watch.lost(reason).await;
                    (panes, clients, values) = (false, false, false);
                }
            }
            next = signals.try_recv().ok();
        }
        if watch.attachment.is_none() {
            continue;
        }
        if panes || clients {
            watch.list(clients).await;
            suspect = signals.len();
        } else if values {
            watch.take_values().await;
        }
    }
}

impl Watch {
    async fn attached(&mut self, attachment: Attachment) {
        let before = self.roster.borrow().server;
        let new_server = before != Some(attachment.server);
        self.attachment = Some(attachment.clone());
        self.values.clear();
        self.subscribed = 0;
        self.tied_to = None;
        if new_server {
            if before.is_some() {
                // Nobody found the socket without a server, yet all that was known is gone with the old one.
                let reason = "another tmux server has taken its place".to_owned();
                self.tell(Update::Lost(reason)).await;
            }
            self.roster.send_replace(Arc::new(Roster {
                server: Some(attachment.server),
                ..Roster::default()
            }));
            match self.listed(true).await {
                Ok(roster) => self.roster.send_replace(Arc::new(roster)),
                Err(error) => {
                    // Without it every pane would look new: the next attach begins anew.
                    tracing::warn!(target: "orch::roster", "first listing failed: {error}");
                    self.attachment = None;
                    self.roster.send_replace(Arc::new(Roster::default()));
                    return;
                }
            };
            self.tell(Update::Attached {
                attachment,
                new_server,
            })
            .await;
            self.subscribe().await;
        } else {
            self.tell(Update::Attached {
                attachment,
                new_server,
            })
            .await;
            self.list(true).await;
        }
    }

    async fn lost(&mut self, reason: String) {
        self.attachment = None;
        self.roster.send_replace(Arc::new(Roster::default()));
        self.tell(Update::Lost(reason)).await;
    }

    async fn list(&mut self, clients: bool) {
        match self.listed(clients).await {
            Ok(roster) => {
                self.replace(roster, 1).await;
                self.check_tie().await;
            }
            Err(SendError::Closed | SendError::NotAttached) => {}
            Err(error) => tracing::warn!(target: "orch::roster", "listing failed: {error}"),
        }
    }

    async fn listed(&self, clients: bool) -> Result<Roster, SendError> {
        let mut roster = Roster::clone(&self.roster.borrow());
        let rows = self.lines(Command::ListPanes { format: PANES }).await?;
        let (panes, bad) = listing::parse_panes(rows.iter().map(|row| &row[..]));
        if bad > 0 {
            tracing::warn!(target: "orch::roster", "{bad} of {} rows of list-panes could not be read", rows.len());
        }
        roster.panes = panes.into_iter().map(|pane| (pane.id, pane)).collect();
        if clients {
            let rows = self.lines(Command::ListClients { format: CLIENTS }).await?;
            let clients = listing::parse_clients(rows.iter().map(|row| &row[..]));
            roster.clients = clients
                .into_iter()
                .map(|client| (client.name.clone(), client))
                .collect();
        }
        Ok(roster)
    }

    /// A reply's lines, with the escapes of 3.4 to 3.5a undone.
    async fn lines(&self, command: Command) -> Result<Vec<Vec<u8>>, SendError> {
        let escaped = self
            .attachment
            .as_ref()
            .is_some_and(|a| a.version.escapes_replies());
        let lines = self.tmux.ask(command).await?;
        let plain = |line: &Bytes| {
            if escaped {
                escape::unvis(line).into_owned()
            } else {
                line.to_vec()
            }
        };
        Ok(lines.iter().map(plain).collect())
    }

    /// Subscribes, or subscribes anew when the number of panes wants another number of parts or the window is gone.
    async fn subscribe(&mut self) {
        let parts = listing::subscriptions(self.roster.borrow().panes.len());
        if parts.len() == self.subscribed && self.tied_to.is_some() {
            return;
        }
        let Some(window) = self.host_windows().await.first().copied() else {
            return;
        };
        let old = listing::names(self.subscribed).into_iter();
        let mut commands: Vec<Command> = old.map(|name| Command::Unsubscribe { name }).collect();
        (self.subscribed, self.tied_to) = (parts.len(), Some(window));
        self.values.clear();
        commands.extend(parts.into_iter().map(|(name, format)| Command::Subscribe {
            name,
            window,
            format,
        }));
        for result in self.tmux.ask_all(commands).await {
            if let Err(error) = result {
                tracing::warn!(target: "orch::roster", "subscribing failed: {error}");
                self.tied_to = None;
            }
        }
    }

    async fn host_windows(&self) -> Vec<WindowId> {
        let reply = self.lines(Command::Ask { format: WINDOWS }).await;
        listing::parse_windows(&reply.unwrap_or_default())
    }

    /// A subscription falls silent with the window that it is tied to.
    async fn check_tie(&mut self) {
        let windows = self.host_windows().await;
        self.tied_to = self.tied_to.filter(|window| windows.contains(window));
        self.subscribe().await;
    }

    /// A new snapshot by subscription, once every part of it is there.
    async fn take_values(&mut self) {
        let names = listing::names(self.subscribed);
        if self.subscribed == 0
            || !names
                .iter()
                .all(|name| self.values.contains_key(name.as_bytes()))
        {
            return;
        }
        let rows = names
            .iter()
            .filter_map(|name| self.values.get(name.as_bytes()))
            .flat_map(listing::value_rows);
        let (panes, bad) = listing::parse_panes(rows);
        if bad > 0 {
            // Cut off (3.7 ends long expansions) or something new: a listing has no such limit.
            tracing::warn!(target: "orch::roster", "{bad} rows of a subscription could not be read");
            return self.list(false).await;
        }
        let before = self.roster.borrow().clone();
        let mut roster = Roster::clone(&before);
        roster.panes = panes.into_iter().map(|pane| (pane.id, pane)).collect();
        if before.panes.keys().any(|id| !roster.panes.contains_key(id)) {
            // It may only have moved between two parts: nothing is called gone that a listing still has.
            return self.list(false).await;
        }
        self.replace(roster, 0).await;
        self.subscribe().await;
    }

    /// `listings`: how many listings of ours were made to learn of it.
    async fn replace(&mut self, mut roster: Roster, mut listings: u32) {
        let before = self.roster.borrow().clone();
        for _ in 0..REAPED.0 {
            if !dies_unexplained(&before, &roster) {
                break;
            }
            tokio::time::sleep(REAPED.1).await;
            let Ok(next) = self.listed(false).await else {
                break;
            };
            roster.panes = next.panes;
            listings += 1;
        }
        if attached_counts(&before) != attached_counts(&roster)
            && let Ok(rows) = self.lines(Command::ListClients { format: CLIENTS }).await
        {
            let clients = listing::parse_clients(rows.iter().map(|row| &row[..]));
            roster.clients = clients
                .into_iter()
                .map(|client| (client.name.clone(), client))
                .collect();
        }
        if *before == roster {
            return;
        }
        let mut changes = roster.changes_since(&before);
        self.ask_who_killed(&mut changes, &before, listings).await;
        self.roster.send_replace(Arc::new(roster));
        if !changes.is_empty() {
            self.tell(Update::Changes(changes)).await;
        }
    }

    /// tmux logs every command with the client that gave it: the entries since our last listing tell a
    /// pane that was killed from one whose program ended.
    async fn ask_who_killed(&self, changes: &mut [Change], before: &Roster, listings: u32) {
        if !changes
            .iter()
            .any(|change| matches!(change, Change::Gone(..)))
        {
            return;
        }
        let Some(own) = self.attachment.as_ref().map(|a| a.client.0.clone()) else {
            return;
        };
        let Ok(log) = self.lines(Command::ShowMessages).await else {
            return;
        };
        let log: Vec<_> = log
            .iter()
            .map(|line| String::from_utf8_lossy(line))
            .collect();
        let Some(killer) = killer::find(log.iter().map(|l| &**l), &own, before, listings) else {
            return;
        };
        // A person's kill-pane explains one pane: where more are gone, the others ended by themselves, and it is not
        // known which.
        let gone = changes
            .iter()
            .filter(|change| matches!(change, Change::Gone(..)))
            .count();
        if gone > 1 && killer.closes_one_pane() {
            return;
        }
        for change in changes {
            if let Change::Gone(_, ended) = change {
                *ended = Ended::Killed(killer.clone());
            }
        }
    }

    async fn tell(&self, update: Update) {
        let _ = self.updates.send(update).await;
    }
}

/// Whether a pane has died and nobody knows yet how.
fn dies_unexplained(before: &Roster, after: &Roster) -> bool {
    let unexplained = after
        .panes
        .values()
        .filter(|pane| pane.dead && pane.dead_status.is_none() && pane.dead_signal.is_none());
    unexplained
        .filter_map(|pane| before.panes.get(&pane.id))
        .any(|pane| !pane.dead)
}

fn attached_counts(roster: &Roster) -> BTreeMap<crate::tmux::SessionId, u32> {
    roster
        .panes
        .values()
        .map(|pane| (pane.session, pane.attached))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_is_explained_by_a_status_or_a_signal() {
        let roster = |dead, status, signal: Option<&str>| {
            let mut pane = super::super::roster_fixture::pane(1, "worker");
            (pane.dead, pane.dead_status) = (dead, status);
            pane.dead_signal = signal.map(str::to_owned);
            Roster {
                panes: [(pane.id, pane)].into(),
                ..Roster::default()
            }
        };
        let alive = roster(false, None, None);
        let unexplained = roster(true, None, None);
        assert!(dies_unexplained(&alive, &unexplained));
        assert!(!dies_unexplained(&alive, &roster(true, Some(0), None)));
        assert!(!dies_unexplained(&alive, &roster(true, None, Some("9"))));
        assert!(!dies_unexplained(&unexplained, &unexplained), "told before");
        assert!(!dies_unexplained(&alive, &alive));
    }
}
