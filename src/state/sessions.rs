//! The documents of all sessions in memory: which events belong to which, what has changed and how urgently. Pure;
//! who reads and writes the files is the run loop's business.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::document::{Document, text};
use crate::event::{Event, Severity};
use crate::panes::{Pane, Roster};

/// All sessions that something was said of.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    known: BTreeMap<String, Session>,
}

#[derive(Debug)]
struct Session {
    document: Document,
    /// What its file holds.
    written: String,
    urgent: bool,
}

impl Sessions {
    /// The session that an event is about: orch's own knowledge first, then what its data says, provided that such a
    /// session is there. `None` for what is about no session.
    pub(super) fn session_of(event: &Event, roster: &Roster) -> Option<String> {
        if let Some(session) = &event.session {
            return Some(session.clone());
        }
        let agent = text(event, "agent");
        let of_agent = agent
            .as_deref()
            .and_then(|agent| Some(agent.rsplit_once(':')?.0));
        let project = text(event, "project_name");
        let mut names = of_agent.into_iter().chain(project.as_deref());
        names.find_map(|name| {
            // The predecessor called a project by its name in lower case with hyphens.
            let same = |pane: &&Pane| hyphened(&pane.session_name) == hyphened(name);
            Some(roster.panes.values().find(same)?.session_name.clone())
        })
    }

    /// Whether a session's document is here, or has to be read first.
    pub(super) fn knows(&self, session: &str) -> bool {
        self.known.contains_key(session)
    }

    /// What the file of a session holds.
    pub(super) fn learn(&mut self, session: &str, fields: Map<String, Value>, now: &str) {
        let document = Document::new(fields, session, now);
        let written = document.text();
        self.known.insert(
            session.to_owned(),
            Session {
                document,
                written,
                urgent: false,
            },
        );
    }

    /// Takes an event of a session that is known.
    pub(super) fn apply(&mut self, session: &str, event: &Event, roster: &Roster) {
        let Some(known) = self.known.get_mut(session) else {
            return;
        };
        let panes = panes_of(session, roster);
        let document = &mut known.document;
        document.see(&panes);
        let agent = text(event, "agent");
        let window = agent
            .as_deref()
            .map(|agent| agent.rsplit_once(':').map_or(agent, |(_, window)| window));
        let there = |pane: &&&Pane| match (event.pane, window) {
            (Some(id), _) => pane.id == id,
            (None, Some(window)) => {
                pane.window_name == window || pane.window_index.to_string() == window
            }
            (None, None) => false,
        };
        let who = match (panes.iter().find(there), event.pane) {
            (Some(pane), _)
                if event.kind.starts_with("agent_") || event.kind.starts_with("credit_") =>
            {
                Some(document.meet(pane))
            }
            (Some(pane), _) => document.agent_of(pane.id),
            (None, Some(pane)) => document.agent_of(pane),
            (None, None) => window.map(str::to_owned),
        };
        document.apply(event, who);
        known.urgent |= event.severity >= Severity::High;
    }

    /// Takes over who is there now, and forgets the sessions that are not, once they are written.
    pub(super) fn see(&mut self, roster: &Roster) {
        if roster.server.is_none() {
            return;
        }
        for (session, known) in &mut self.known {
            known.document.see(&panes_of(session, roster));
        }
    }

    /// What differs from its file: session and text. With `urgent`, only what cannot wait.
    pub(super) fn changed(&self, urgent: bool) -> Vec<(String, String)> {
        let wanted = self
            .known
            .iter()
            .filter(|(_, known)| known.urgent || !urgent);
        wanted
            .filter(|(_, known)| !known.document.is_empty())
            .map(|(session, known)| (session.clone(), known.document.text(), &known.written))
            .filter(|(_, text, written)| text != *written)
            .map(|(session, text, _)| (session, text))
            .collect()
    }

    /// Whether anything was said that cannot wait.
    pub(super) fn is_urgent(&self) -> bool {
        self.known.values().any(|known| known.urgent)
    }

    /// All that could not wait is written.
    pub(super) fn calm(&mut self) {
        self.known
            .values_mut()
            .for_each(|known| known.urgent = false);
    }

    /// A session's file holds this text now.
    pub(super) fn written(&mut self, session: &str, text: String) {
        if let Some(known) = self.known.get_mut(session) {
            known.written = text;
        }
    }

    /// Sessions that are not there any more need no memory: their files are read again when they come back.
    pub(super) fn forget_gone(&mut self, roster: &Roster) {
        if roster.server.is_some() {
            self.known.retain(|session, known| {
                !panes_of(session, roster).is_empty() || known.document.text() != known.written
            });
        }
    }
}

fn panes_of<'a>(session: &str, roster: &'a Roster) -> Vec<&'a Pane> {
    let of = |pane: &&Pane| pane.session_name == session;
    roster.panes.values().filter(of).collect()
}

fn hyphened(name: &str) -> String {
    name.to_lowercase().replace([' ', '_'], "-")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::event::Draft;
    use crate::panes::roster_fixture::pane;
    use crate::tmux::id::{PaneId, ServerKey};

    fn roster() -> Roster {
        let mut dev = pane(3, "claude");
        (dev.window_name, dev.window_index) = ("Developer".into(), 2);
        let mut lead = pane(4, "node");
        (lead.role, lead.window_index) = (Some("orchestrator".into()), 0);
        let shell = pane(5, "bash");
        let mut roster = Roster {
            server: Some(ServerKey { pid: 1, start: 1 }),
            ..Roster::default()
        };
        for mut pane in [dev, lead, shell] {
            pane.session_name = "My Project".into();
            roster.panes.insert(pane.id, pane);
        }
        roster
    }

    struct Run(Sessions, Roster, u64);

    impl Run {
        fn event(&mut self, kind: &str, pane: Option<u32>, data: Value) -> Option<String> {
            let mut draft = Draft::new(kind, "cli", "words").with_data(data);
            draft.pane = pane.map(PaneId);
            draft.session = pane.map(|_| "My Project".into());
            self.2 += 1;
            let event = draft.accept(self.2, "2026-11-22T13:24:52+01:00".parse().unwrap());
            let session = Sessions::session_of(&event, &self.1)?;
            if !self.0.knows(&session) {
                self.0
                    .learn(&session, Map::new(), "2026-11-22T13:00:00+01:00");
            }
            self.0.apply(&session, &event, &self.1);
            Some(session)
        }

        fn state(&self) -> Value {
            let changed = self.0.changed(false);
            serde_json::from_str(&changed[0].1).unwrap()
        }
    }

    #[test]
    fn each_event_leaves_what_the_predecessor_wrote_of_it() {
        let mut run = Run(Sessions::default(), roster(), 0);
        let session = Some("My Project".to_owned());
        assert_eq!(
            run.event("task_completed", Some(3), json!({"task": "tests"})),
            session
        );
        assert!(run.0.changed(true).is_empty(), "a low one can wait");
        let state = run.state();
        assert_eq!(
            state["status_reports"]["Developer"]["topic"],
            "task_completion"
        );
        assert_eq!(state["status_reports"]["Developer"]["status"], "COMPLETE");
        assert_eq!(state["status_reports"]["Developer"]["details"], "tests");
        assert_eq!(state["agents"]["Developer"]["window_index"], 2);
        assert_eq!(state["agents"]["orchestrator"]["is_alive"], true);
        assert_eq!(
            state["agents"].as_object().unwrap().len(),
            2,
            "a shell is no agent"
        );
        for (kind, data, who, topic, status) in [
            (
                "violations",
                json!({"sender": "pm", "project_name": "my-project"}),
                "pm",
                "compliance",
                "VIOLATION",
            ),
            (
                "git_violation",
                json!({"agent": "My Project:2"}),
                "Developer",
                "git_compliance",
                "VIOLATION",
            ),
            (
                "status_update",
                json!({"agent": "my project:0", "status": "BUSY"}),
                "orchestrator",
                "status_update",
                "BUSY",
            ),
        ] {
            assert_eq!(run.event(kind, None, data), session, "{kind}");
            let report = run.state()["status_reports"][who].take();
            assert_eq!(
                (&report["topic"], &report["status"]),
                (&json!(topic), &json!(status)),
                "{kind}"
            );
        }
        assert_eq!(run.0.changed(true).len(), 1, "a violation cannot wait");
        for nobody in [
            json!({}),
            json!({"project_name": "other"}),
            json!({"agent": "../x:1"}),
            json!(7),
        ] {
            assert_eq!(run.event("status_update", None, nobody), None);
        }
    }

    #[test]
    fn credit_comes_and_goes() {
        let mut run = Run(Sessions::default(), roster(), 0);
        run.event(
            "credit_exhausted",
            None,
            json!({"agent": "My Project:2", "reset_time": "18:00"}),
        );
        let agent = run.state()["agents"]["Developer"].take();
        assert_eq!(
            (&agent["is_exhausted"], &agent["credit_reset_time"]),
            (&json!(true), &json!("18:00"))
        );
        run.event("credit_exhausted", Some(4), json!({}));
        run.event("credit_reset", Some(3), json!({}));
        let agents = run.state()["agents"].take();
        assert_eq!(agents["Developer"]["is_exhausted"], false);
        assert_eq!(agents["Developer"]["credit_reset_time"], Value::Null);
        assert_eq!(agents["orchestrator"]["is_exhausted"], true);
        run.event(
            "credit_resumed",
            None,
            json!({"project_name": "my-project"}),
        );
        assert_eq!(run.state()["agents"]["orchestrator"]["is_exhausted"], false);
    }

    #[test]
    fn an_agent_that_left_is_not_alive_and_what_others_wrote_stays() {
        let mut run = Run(Sessions::default(), roster(), 0);
        let theirs = json!({"batch_id": "b7", "theirs": [1], "agents": {"tester": {"role": "tester", "is_alive": true}}});
        let Value::Object(theirs) = theirs else {
            panic!()
        };
        run.0.learn("My Project", theirs, "now");
        run.event("task_completed", Some(3), json!({}));
        run.1.panes.remove(&PaneId(3));
        run.0.see(&run.1);
        run.event("agent_exited", Some(3), json!({}));
        let state = run.state();
        assert_eq!(
            (&state["batch_id"], &state["theirs"]),
            (&json!("b7"), &json!([1]))
        );
        assert_eq!(state["agents"]["tester"]["is_alive"], true);
        assert_eq!(state["agents"]["Developer"]["is_alive"], false);
        for (session, text) in run.0.changed(false) {
            run.0.written(&session, text);
        }
        assert!(run.0.changed(false).is_empty());
        run.1.panes.clear();
        run.0.see(&run.1);
        for (session, text) in run.0.changed(false) {
            run.0.written(&session, text);
        }
        run.0.forget_gone(&run.1);
        assert!(!run.0.knows("My Project"));
    }
}
