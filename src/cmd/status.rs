//! `orch status`.

use serde_json::Value;

use super::whereabouts::Whereabouts;
use super::{Done, Failure, asking, terminal};
use crate::api::protocol::{Request, Response};
use crate::cli::Global;
use crate::when;

pub(super) fn status(global: &Global) -> Done {
    let whereabouts = Whereabouts::find(global)?;
    let status = asking(async {
        match whereabouts.connect().await?.ask(&Request::Status).await? {
            Response::Status(status) => Ok(status),
            other => Err(Failure::new(format!("unexpected answer: {other:?}"))),
        }
    })?;
    if global.json {
        println!("{status}");
    } else {
        print!("{}", for_people(&status));
    }
    Ok(0)
}

fn for_people(status: &Value) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => terminal::safe(text),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let uptime = status["uptime_s"].as_u64().unwrap_or(0);
    let tmux = &status["tmux"];
    let lane = |name: &str| {
        format!(
            "{} of {} in 60 s",
            text(&status["lanes"][name]["used_60s"]),
            text(&status["lanes"][name]["limit"])
        )
    };
    let map = |value: &Value| {
        let counts = value
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, n)| n.as_u64() != Some(0));
        let counts: Vec<String> = counts.map(|(name, n)| format!("{n} {name}")).collect();
        if counts.is_empty() {
            "none".to_owned()
        } else {
            counts.join(", ")
        }
    };
    let mut lines = vec![
        format!(
            "orch {} runs since {} (pid {}), {}",
            text(&status["version"]),
            when::short(std::time::Duration::from_secs(uptime)),
            text(&status["pid"]),
            text(&tmux["state"])
        ),
        format!(
            "tmux      {} at {}, {} reconnects",
            text(&tmux["version"]),
            text(&tmux["socket"]),
            text(&tmux["reconnects"])
        ),
        format!("root      {}", text(&status["root"])),
        format!(
            "config    {}",
            status["config"]
                .as_str()
                .map_or_else(|| "defaults".to_owned(), terminal::safe)
        ),
        format!(
            "panes     {} ({}), {} clients",
            text(&status["panes"]["total"]),
            map(&status["panes"]["by_state"]),
            text(&status["clients"])
        ),
        format!(
            "events    {} accepted, last {}; {}",
            text(&status["events"]["accepted"]),
            text(&status["events"]["last_seq"]),
            map(&status["events"]["outcomes"])
        ),
        format!(
            "lanes     ordinary {}, critical {}; {} waiting",
            lane("ordinary"),
            lane("critical"),
            text(&status["waiting"])
        ),
    ];
    let components = status["components"].as_array().into_iter().flatten();
    let components: Vec<String> = components
        .map(|c| format!("{} {}", text(&c["name"]), text(&c["health"])))
        .collect();
    lines.push(format!("parts     {}", components.join(", ")));
    if !status["last_error"].is_null() {
        lines.push(format!("last      {}", text(&status["last_error"])));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}
