//! One session's state as the predecessor kept it: a JSON object with its field names, of which orch sets what it
//! knows and leaves everything else as it is. Pure; knows no file.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::agents::{self, Program};
use crate::event::Event;
use crate::panes::Pane;
use crate::tmux::id::PaneId;

/// Reports and agents that are kept for one session; a producer may name as many as it likes.
const MOST: usize = 256;
/// Longest text that is taken over from an event's data, in bytes.
const MAX_TEXT: usize = 4 << 10;

/// The state of one session.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Document {
    fields: Fields,
    agents: BTreeMap<String, Fields>,
    reports: BTreeMap<String, Fields>,
}

type Fields = Map<String, Value>;

impl Document {
    /// What a file held, completed by the fields that it lacks.
    pub(super) fn new(mut fields: Fields, session: &str, now: &str) -> Self {
        let (agents, reports) = (
            entries(&mut fields, "agents"),
            entries(&mut fields, "status_reports"),
        );
        let defaults = fields_of(json!({
            "session_name": session, "project_name": session, "project_path": null, "implementation_spec_path": null,
            "created_at": now, "updated_at": now, "orchestrator_window": 0, "project_size": "medium",
            "parent_branch": null, "completion_status": "pending", "completion_time": null, "failure_reason": null,
            "phases_completed": [], "spec_path": null, "dependencies": {}, "worktree_base_path": null,
            "batch_id": null, "worktrees": {},
        }));
        for (name, value) in defaults {
            fields.entry(name).or_insert(value);
        }
        Self {
            fields,
            agents,
            reports,
        }
    }

    /// Whether there is anything to say of the session.
    pub(super) fn is_empty(&self) -> bool {
        self.agents.is_empty() && self.reports.is_empty()
    }

    /// As it is written.
    pub(super) fn text(&self) -> String {
        let mut all = self.fields.clone();
        all.insert("agents".to_owned(), json!(self.agents));
        all.insert("status_reports".to_owned(), json!(self.reports));
        format!("{:#}\n", Value::Object(all))
    }

    /// Takes an event of this session. `who` is the agent that it is about, as [`Document::agent_in`] names it.
    pub(super) fn apply(&mut self, event: &Event, who: Option<String>) {
        let ts = event.ts.to_rfc3339();
        if let Some((topic, status)) = report(event) {
            let mut entry = fields_of(json!({
                "topic": topic, "status": status, "details": details(event), "timestamp": ts,
                "severity": event.severity.as_str(),
            }));
            if let Some(violations) = event.data.as_ref().and_then(|data| data.get("violations")) {
                entry.insert("violations".into(), bounded(violations));
            }
            let from = text(event, "sender").or_else(|| who.clone());
            let from = from.or_else(|| text(event, "agent"));
            let from = from.unwrap_or_else(|| event.source.clone());
            make_room(&mut self.reports, &from);
            self.reports.insert(from, entry);
        }
        match event.kind.as_str() {
            "credit_exhausted" => {
                let reset = event.data.as_ref().and_then(|data| data.get("reset_time"));
                let reset = reset.map_or(Value::Null, bounded);
                let agent = self.agent(who.as_deref().unwrap_or(&event.source));
                agent.insert("is_exhausted".into(), json!(true));
                agent.insert("credit_reset_time".into(), reset);
            }
            "credit_reset" | "credit_resumed" => {
                // One that names no agent of ours is about all of the session.
                let about = who.filter(|who| self.agents.contains_key(who));
                for (name, agent) in &mut self.agents {
                    if about.as_ref().is_none_or(|about| about == name) {
                        agent.insert("is_exhausted".into(), json!(false));
                        agent.insert("credit_reset_time".into(), Value::Null);
                    }
                }
            }
            "agent_exited" | "agent_started" | "agent_working" => {
                if let Some(agent) = who.and_then(|who| self.agents.get_mut(&who)) {
                    agent.insert("is_alive".into(), json!(event.kind != "agent_exited"));
                }
            }
            "task_completed" | "status_update" => {
                if let Some(agent) = who.and_then(|who| self.agents.get_mut(&who)) {
                    agent.insert("last_check_in_time".into(), json!(ts));
                }
            }
            _ => {}
        }
        self.fields.insert("updated_at".into(), json!(ts));
    }

    /// Takes over who is there, of this session: agents and panes with a role, as tmux lists them.
    pub(super) fn see(&mut self, panes: &[&Pane]) {
        for pane in panes {
            if self.fields["project_path"].is_null() {
                self.fields.insert("project_path".into(), json!(pane.path));
            }
            let runs = matches!(agents::identify(&pane.command), Program::Agent(_));
            if !runs && pane.role.is_none() && self.agent_of(pane.id).is_none() {
                continue;
            }
            self.meet(pane);
        }
        // A pane that is there no more takes its agent with it; agents that never had a pane are not ours to judge.
        for agent in self.agents.values_mut() {
            let of = |pane: &&&Pane| agent.get("pane") == Some(&json!(pane.id));
            if agent.get("pane").is_some_and(|id| !id.is_null()) && !panes.iter().any(|p| of(&p)) {
                agent.insert("is_alive".into(), json!(false));
                agent.insert("pane".into(), Value::Null);
            }
        }
    }

    /// The name of the agent that is, or was last, in a pane.
    pub(super) fn agent_of(&self, pane: PaneId) -> Option<String> {
        let of = |agent: &Fields| agent.get("pane") == Some(&json!(pane));
        let found = self.agents.iter().find(|(_, agent)| of(agent));
        found.map(|(name, _)| name.clone())
    }

    /// What there is to know of the agent in a pane; its name.
    pub(super) fn meet(&mut self, pane: &Pane) -> String {
        let name = self
            .agent_of(pane.id)
            .unwrap_or_else(|| self.free_name(pane));
        let alive = !pane.dead && agents::identify(&pane.command) != Program::Shell;
        let agent = self.agent(&name);
        agent.insert("window_index".into(), json!(pane.window_index));
        agent.insert("window_name".into(), json!(pane.window_name));
        agent.insert("worktree_path".into(), json!(pane.path));
        agent.insert("pane".into(), json!(pane.id));
        agent.insert("is_alive".into(), json!(alive));
        name
    }

    /// An agent is called by its role, else by its window, as the predecessor did. A second one of that name gets its
    /// pane's number.
    fn free_name(&self, pane: &Pane) -> String {
        let name = pane.role.as_deref().unwrap_or(&pane.window_name);
        let taken = self.agents.get(name).and_then(|agent| agent.get("pane"));
        if name.is_empty() || taken.is_some_and(|pane| !pane.is_null()) {
            format!("{name}-{}", pane.id.0)
        } else {
            name.to_owned()
        }
    }

    fn agent(&mut self, name: &str) -> &mut Fields {
        make_room(&mut self.agents, name);
        let agent = self.agents.entry(name.to_owned()).or_default();
        let defaults = fields_of(json!({
            "role": name, "window_index": null, "window_name": null, "worktree_path": null,
            "last_briefing_time": null, "last_check_in_time": null, "is_alive": true, "is_exhausted": false,
            "credit_reset_time": null, "current_branch": null, "commit_hash": null, "waiting_for": null,
        }));
        for (field, value) in defaults {
            agent.entry(field).or_insert(value);
        }
        agent
    }
}

/// The objects under a name, taken out. What is no object was not written by the predecessor and means nothing.
fn entries(fields: &mut Fields, name: &str) -> BTreeMap<String, Fields> {
    let of = |value| match value {
        Value::Object(entry) => entry,
        _ => Fields::new(),
    };
    let entries = of(fields.remove(name).unwrap_or_default());
    entries
        .into_iter()
        .map(|(name, entry)| (name, of(entry)))
        .collect()
}

fn fields_of(value: Value) -> Fields {
    match value {
        Value::Object(fields) => fields,
        _ => Fields::new(),
    }
}

/// The entry that was silent for the longest makes room for one more.
fn make_room(entries: &mut BTreeMap<String, Fields>, name: &str) {
    if entries.len() < MOST || entries.contains_key(name) {
        return;
    }
    let last = |fields: &Fields| {
        let times = ["timestamp", "last_check_in_time"].map(|name| fields.get(name)?.as_str());
        times
            .into_iter()
            .flatten()
            .max()
            .unwrap_or_default()
            .to_owned()
    };
    let oldest = entries.iter().min_by_key(|(_, fields)| last(fields));
    if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
        entries.remove(&oldest);
    }
}

/// Topic and status of the report that an event is, `None` where it reports nothing.
fn report(event: &Event) -> Option<(&'static str, String)> {
    let given = |other: &str| text(event, "status").unwrap_or_else(|| other.to_owned());
    Some(match event.kind.as_str() {
        "violation" | "critical_violation" => ("compliance", "VIOLATION".to_owned()),
        "git_violation" => ("git_compliance", "VIOLATION".to_owned()),
        "task_completed" => ("task_completion", "COMPLETE".to_owned()),
        // What orch notes of itself is no report of an agent.
        "status_update" if event.source != "orch" => ("status_update", given("UPDATE")),
        kind => {
            let (topic, state) = match kind.split_once('_')? {
                ("agent", state) => ("agent_state", state),
                ("credit", state) => ("credit", state),
                _ => return None,
            };
            (topic, state.to_ascii_uppercase())
        }
    })
}

fn details(event: &Event) -> Value {
    let data = event.data.as_ref();
    let named = |name: &&str| {
        data.and_then(|data| data.get(*name))
            .filter(|v| !v.is_null())
    };
    let given = ["details", "task", "analysis"].iter().find_map(named);
    given.map_or_else(|| json!(event.message), bounded)
}

/// A short text in an event's data.
pub(super) fn text(event: &Event, name: &str) -> Option<String> {
    let text = event.data.as_ref()?.get(name)?.as_str()?;
    let text = &text[..text.floor_char_boundary(128)];
    (!text.is_empty()).then(|| text.to_owned())
}

fn bounded(value: &Value) -> Value {
    match value {
        Value::String(text) => json!(text[..text.floor_char_boundary(MAX_TEXT)]),
        small if small.to_string().len() <= MAX_TEXT => small.clone(),
        large => {
            let text = large.to_string();
            json!(text[..text.floor_char_boundary(MAX_TEXT)])
        }
    }
}
