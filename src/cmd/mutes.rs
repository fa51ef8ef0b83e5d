//! `orch mutes`: the mutes that hold, and how one is written for people.

use chrono::{DateTime, Local};
use serde_json::Value;

use super::whereabouts::Whereabouts;
use super::{Done, Failure, asking};
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
        println!("no mute holds");
    }
    for mute in &mutes {
        if global.json {
            println!("{mute}");
        } else {
            println!("{}", line(mute));
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
    terms.join(" ")
}

fn time(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    text.parse::<DateTime<Local>>().map_or_else(
        |_| text.to_owned(),
        |time| time.format("%Y-%m-%d %H:%M:%S").to_string(),
    )
}
