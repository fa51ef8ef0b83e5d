//! `orch mutes`: the mutes that hold, and how one is written for people.

use chrono::{DateTime, Local};
use serde_json::Value;

use super::whereabouts::Whereabouts;
use super::{Done, Failure, asking, terminal};
use crate::api::protocol::{Request, Response};
use crate::cli::Global;

pub(super) fn mutes(global: &Global) -> Done {
    let whereabouts = Whereabouts::find(global)?;
    let mutes = asking(async {
        match whereabouts.connect().await?.ask(&Request::Mutes).await? {
            Response::Mutes(mutes) => Ok(mutes),
            other => Err(Failure::new(format!("unexpected answer: {other:?}"))),
        }
    })?;
    let mutes = mutes.as_array().cloned().unwrap_or_default();
    if mutes.is_empty() && !global.json {
        say!("no mute holds");
    }
    for mute in &mutes {
        if global.json {
            say!("{mute}");
        } else {
            say!("{}", line(mute));
        }
    }
    Ok(0)
}

/// One mute in one line.
pub(super) fn line(mute: &Value) -> String {
    format!(
        "{:>3}  until {}  held {:<5} {}",
        mute["id"].to_string(),
        time(&mute["until"]),
        mute["held"].to_string(),
        text(mute)
    )
}

/// Its filter.
pub(super) fn text(mute: &Value) -> String {
    let terms = mute["filter"].as_array().into_iter().flatten();
    let terms: Vec<&str> = terms.filter_map(Value::as_str).collect();
    terminal::safe(&terms.join(" "))
}

fn time(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    text.parse::<DateTime<Local>>().map_or_else(
        |_| terminal::safe(text),
        |time| time.format("%Y-%m-%d %H:%M:%S").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_never_reaches_the_terminal_raw() {
        let mute = serde_json::json!({
            "id": 1, "until": "\u{1b}c", "held": 0, "filter": ["source=\u{1b}]0;x\u{7}"],
        });
        assert!(!line(&mute).contains(char::is_control), "{:?}", line(&mute));
    }
}
