//! `orch status`.

use chrono::{DateTime, Local};
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
        say!("{status}");
    } else {
        say!("{}", for_people(&status).trim_end());
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
    if !status["last_error"].is_null() {
        lines.push(format!("last      {}", text(&status["last_error"])));
    }
    lines.push(String::new());
    lines.extend(components(&status["components"]));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// One row for each component, in columns.
fn components(components: &Value) -> Vec<String> {
    let since = |value: &Value| {
        let since = DateTime::parse_from_rfc3339(value.as_str()?).ok()?;
        let passed = Local::now().signed_duration_since(since).to_std();
        Some(when::short(passed.unwrap_or_default()))
    };
    let rows = components.as_array().into_iter().flatten().map(|row| {
        let word = |key: &str| {
            row[key]
                .as_str()
                .map_or_else(|| "-".to_owned(), terminal::safe)
        };
        [
            word("name"),
            word("health"),
            since(&row["since"]).unwrap_or_else(|| "-".to_owned()),
            row["restarts"].to_string(),
            row["last_error"]
                .as_str()
                .map(terminal::safe)
                .unwrap_or_default(),
        ]
    });
    let head = ["component", "health", "for", "restarts", "last error"].map(str::to_owned);
    let rows: Vec<[String; 5]> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths = [0, 1, 2, 3].map(width);
    rows.iter()
        .map(|[name, health, since, restarts, error]| {
            let [a, b, c, d] = widths;
            let line = format!("  {name:a$}  {health:b$}  {since:c$}  {restarts:>d$}  {error}");
            line.trim_end().to_owned()
        })
        .collect()
}
