//! A pane as the socket describes it.

use serde_json::{Value, json};

use crate::agents::{Program, identify};
use crate::panes::Pane;
use crate::state::State;

/// One object of `orch panes --json`; null where unknown. Without screens read, an agent's state is not known, and
/// is said to be unknown.
pub fn describe(pane: &Pane, state: &State) -> Value {
    let program = identify(&pane.command);
    let agent = match program {
        Program::Agent(name) => Some(name),
        Program::Shell => Some("shell"),
        Program::Interactive => Some("none"),
        Program::Other => None,
    };
    json!({
        "pane": pane.id,
        "window": pane.window,
        "session": pane.session,
        "session_name": pane.session_name,
        "window_index": pane.window_index,
        "window_name": pane.window_name,
        "pane_index": pane.pane_index,
        "active": pane.active,
        "command": pane.command,
        "title": pane.title,
        "path": pane.path,
        "width": pane.width,
        "height": pane.height,
        "dead": pane.dead,
        "dead_status": pane.dead_status,
        "mode": pane.mode,
        "agent": agent,
        "role": pane.role,
        "state": state_of(pane),
        "since": null,
        "rule": null,
        "reset_at": null,
        "last_event": state.last_event.get(&pane.id).map(|(seq, kind)| json!({"seq": seq, "type": kind})),
    })
}

/// What is known of a pane's state from tmux alone.
pub(super) fn state_of(pane: &Pane) -> &'static str {
    match identify(&pane.command) {
        _ if pane.dead => "exited",
        Program::Shell => "shell",
        _ => "unknown",
    }
}
