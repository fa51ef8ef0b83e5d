//! `orch panes`.

use serde_json::Value;

use super::whereabouts::Whereabouts;
use super::{Done, Failure, asking, terminal};
use crate::api::protocol::{Request, Response};
use crate::cli::Global;

pub(super) fn panes(global: &Global) -> Done {
    let whereabouts = Whereabouts::find(global)?;
    let panes = asking(async {
        match whereabouts.connect().await?.ask(&Request::Panes).await? {
            Response::Panes(Value::Array(panes)) => Ok(panes),
            other => Err(Failure::new(format!("unexpected answer: {other:?}"))),
        }
    })?;
    if global.json {
        for pane in &panes {
            say!("{pane}");
        }
        return Ok(0);
    }
    let text = |value: &Value| match value {
        Value::String(text) => terminal::safe(text),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    say!(
        "{:<6} {:<20} {:<10} {:<9} {:<12} {:<10} PATH",
        "PANE",
        "WHERE",
        "AGENT",
        "STATE",
        "COMMAND",
        "ROLE"
    );
    for pane in &panes {
        let place = format!(
            "{}:{}.{}",
            text(&pane["session_name"]),
            pane["window_index"],
            pane["pane_index"]
        );
        say!(
            "{:<6} {:<20} {:<10} {:<9} {:<12} {:<10} {}",
            text(&pane["pane"]),
            place,
            text(&pane["agent"]),
            text(&pane["state"]),
            text(&pane["command"]),
            text(&pane["role"]),
            text(&pane["path"])
        );
    }
    Ok(0)
}
