//! Who exists: the snapshot of one tmux server and the changes between two of them. Pure.

use std::collections::BTreeMap;

use crate::tmux::id::{ClientName, PaneId, ServerKey, SessionId, WindowId};

/// A pane as tmux describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is tmux's format of that name")]
pub struct Pane {
    pub id: PaneId,
    pub window: WindowId,
    pub session: SessionId,
    pub window_index: u32,
    pub pane_index: u32,
    pub active: bool,
    pub window_active: bool,
    /// Clients attached to its session, orch's own included.
    pub attached: u32,
    pub width: u32,
    pub height: u32,
    pub dead: bool,
    pub dead_status: Option<i32>,
    pub dead_signal: Option<String>,
    pub mode: Option<String>,
    pub bell: bool,
    pub pid: u32,
    pub command: String,
    pub session_name: String,
    pub window_name: String,
    pub role: Option<String>,
    pub title: String,
    pub path: String,
}

/// A client of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its name, the terminal's path for a person's.
    pub name: ClientName,
    /// False for control-mode clients: nobody looks at them.
    pub human: bool,
    /// Its process.
    pub pid: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// What it shows.
    pub session: Option<SessionId>,
}

/// All of one server at one instant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roster {
    /// Which server; `None` while none is attached.
    pub server: Option<ServerKey>,
    /// Panes by id.
    pub panes: BTreeMap<PaneId, Pane>,
    /// Clients by name.
    pub clients: BTreeMap<ClientName, Client>,
}

/// Who ended a pane by a tmux command, as far as tmux's own log tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Killer {
    /// A person's terminal client, by a key or its prompt.
    Person(String),
    /// A command from elsewhere: a script, another agent.
    Command(String),
}

impl Killer {
    /// Whether it is a person's command that closes a single pane.
    pub fn closes_one_pane(&self) -> bool {
        matches!(self, Self::Person(command) if command.starts_with("kill-pane") || command.starts_with("killp"))
    }
}

/// How a pane went away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Its program ended and the pane closed with it.
    ByItself,
    /// A kill command closed it.
    Killed(Killer),
}

/// What differs between two rosters of the same server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A pane that was not there before.
    Appeared(Pane),
    /// A pane is there no more; as it was last seen.
    Gone(Pane, Ended),
    /// A pane whose description differs.
    Changed {
        /// As it was.
        before: Box<Pane>,
        /// As it is.
        after: Box<Pane>,
    },
}

impl Roster {
    /// Clients that a person looks at.
    pub fn humans(&self) -> impl Iterator<Item = &Client> {
        self.clients.values().filter(|client| client.human)
    }

    /// What changed since `before`. Nothing when the servers differ: ids are reused by the next server, so
    /// a pane of one says nothing about a pane of the other.
    pub fn changes_since(&self, before: &Self) -> Vec<Change> {
        if self.server != before.server || self.server.is_none() {
            return Vec::new();
        }
        let gone = before
            .panes
            .values()
            .filter(|pane| !self.panes.contains_key(&pane.id));
        let gone = gone.map(|pane| Change::Gone(pane.clone(), Ended::ByItself));
        let here = self
            .panes
            .values()
            .filter_map(|pane| match before.panes.get(&pane.id) {
                None => Some(Change::Appeared(pane.clone())),
                Some(old) if old != pane => Some(Change::Changed {
                    before: Box::new(old.clone()),
                    after: Box::new(pane.clone()),
                }),
                Some(_) => None,
            });
        gone.chain(here).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn pane(id: u32, command: &str) -> Pane {
        Pane {
            id: PaneId(id),
            window: WindowId(1),
            session: SessionId(0),
            window_index: 1,
            pane_index: id,
            active: true,
            window_active: true,
            attached: 1,
            width: 80,
            height: 24,
            dead: false,
            dead_status: None,
            dead_signal: None,
            mode: None,
            bell: false,
            pid: 100 + id,
            command: command.to_owned(),
            session_name: "alpha".to_owned(),
            window_name: "w".to_owned(),
            role: None,
            title: String::new(),
            path: "/".to_owned(),
        }
    }

    fn roster(start: i64, panes: &[Pane]) -> Roster {
        Roster {
            server: Some(ServerKey { pid: 1, start }),
            panes: panes.iter().map(|p| (p.id, p.clone())).collect(),
            clients: BTreeMap::new(),
        }
    }

    #[test]
    fn changes_of_one_server() {
        let before = roster(5, &[pane(1, "bash"), pane(2, "bash"), pane(3, "bash")]);
        let after = roster(5, &[pane(1, "bash"), pane(2, "vi"), pane(4, "bash")]);
        let changes = after.changes_since(&before);
        assert_eq!(changes.len(), 3);
        assert_eq!(changes[0], Change::Gone(pane(3, "bash"), Ended::ByItself));
        assert!(matches!(&changes[1], Change::Changed { after, .. } if after.command == "vi"));
        assert_eq!(changes[2], Change::Appeared(pane(4, "bash")));
    }

    #[test]
    fn reused_ids_of_another_server_are_other_panes() {
        let before = roster(5, &[pane(1, "claude")]);
        assert_eq!(roster(6, &[pane(1, "bash")]).changes_since(&before), []);
        assert_eq!(roster(5, &[]).changes_since(&Roster::default()), []);
    }
}
