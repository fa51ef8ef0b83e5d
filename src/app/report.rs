//! `orch status`: how everything is, gathered from the parts' own snapshots.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::{Value, json};

use super::components::{Health, Standing};
use super::{Parts, Setup};
use crate::api::describe;
use crate::event::Verdict;
use crate::journal;
use crate::tmux::client::LinkStatus;

/// Version of the object.
const SCHEMA: u32 = 1;

pub(super) fn status(setup: &Setup, parts: &Parts, started: Instant) -> Value {
    let link = parts.tmux.status();
    let roster = parts.roster.borrow().clone();
    let state = parts.state.borrow().clone();
    let delivery = parts.delivery.snapshot.borrow().clone();
    let attachment = link.attachment.as_ref();
    let mut by_state: BTreeMap<String, usize> = BTreeMap::new();
    for pane in roster.panes.values() {
        let name = describe(pane, &state)["state"]
            .as_str()
            .unwrap_or("unknown")
            .to_owned();
        *by_state.entry(name).or_default() += 1;
    }
    let outcomes: BTreeMap<&str, u64> = Verdict::ALL
        .iter()
        .map(|v| (v.as_str(), delivery.outcomes.get(v).copied().unwrap_or(0)))
        .collect();
    let ready = attachment.is_some() && roster.server.is_some();
    let lane = |(used, limit): (u32, u32)| json!({"used_60s": used, "limit": limit});
    let components = components(parts, &link, ready);
    let newest = components
        .iter()
        .filter_map(|(_, standing)| standing.last_error.as_ref())
        .max_by_key(|(at, _)| *at);
    json!({
        "schema": SCHEMA,
        "pid": std::process::id(),
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_s": started.elapsed().as_secs(),
        "root": setup.root.0,
        "socket": setup.runtime.socket,
        "config": setup.config_path,
        "ready": ready,
        "tmux": {
            "socket": setup.server.socket,
            "version": attachment.map(|a| a.version.as_str()),
            "pid": attachment.map(|a| a.server.pid),
            "session": attachment.map(|a| a.session),
            "state": link.state,
            "since": link.since,
            "reconnects": link.reconnects,
            "client_pid": attachment.map(|a| a.client_pid),
            "spawned": link.spawned,
        },
        "components": components.iter().map(|(name, standing)| standing.row(name)).collect::<Vec<_>>(),
        "panes": {"total": roster.panes.len(), "by_state": by_state},
        "clients": roster.humans().count(),
        "events": {"accepted": state.accepted, "last_seq": state.last_seq, "outcomes": outcomes},
        "lanes": {"ordinary": lane(delivery.lanes[0]), "critical": lane(delivery.lanes[1])},
        "waiting": delivery.waiting,
        "last_error": newest.map(|(_, text)| text),
    })
}

/// A row for each component, by its own word where it keeps one.
fn components(parts: &Parts, link: &LinkStatus, ready: bool) -> Vec<(String, Standing)> {
    let since = link.since;
    let tmux = match link.state {
        _ if ready => Health::Ok,
        "blocked" => Health::Failing,
        _ => Health::Waiting,
    };
    let mut rows = vec![
        (
            "tmux",
            Standing {
                health: tmux,
                since,
                restarts: link.reconnects,
                last_error: link.last_error.clone(),
            },
        ),
        (
            "roster",
            Standing {
                since,
                ..Standing::new(if ready { Health::Ok } else { Health::Waiting })
            },
        ),
    ];
    let started = |on: bool| Standing {
        since: Some(parts.started),
        ..Standing::new(if on { Health::Ok } else { Health::Disabled })
    };
    let monitors = parts.rows.monitors.iter();
    let monitors: Vec<(&str, Standing)> = monitors
        .map(|(name, standing)| (name.as_str(), standing.borrow().clone()))
        .collect();
    let all = monitors.iter().map(|(_, standing)| standing.clone());
    rows.push((
        "monitors",
        all.reduce(Standing::and).unwrap_or_else(|| started(false)),
    ));
    rows.extend(monitors);
    let sinks = parts.delivery.snapshot.borrow().sinks;
    rows.push((
        "journal",
        journal(&parts.journal_health.borrow(), started(true)),
    ));
    rows.push(("state", started(true)));
    rows.push(("session_state", parts.sessions.standing()));
    rows.push(("delivery", started(sinks.contains(&true))));
    let sink = parts.rows.sink.as_ref();
    let sink = sink.map_or_else(|| started(false), |sink| sink.borrow().clone());
    rows.push(("delivery.status", sink));
    let [api, socket] = parts.rows.api.each_ref().map(|row| row.borrow().clone());
    let mut api = api.and(socket);
    if let Some(error) = &*parts.rows.accepting.borrow() {
        api.fail(Health::Failing, error);
    }
    rows.push(("api", api));
    rows.into_iter()
        .map(|(name, standing)| (name.to_owned(), standing))
        .collect()
}

/// What cannot be written waits in memory: that belongs to the error.
fn journal(health: &journal::Health, mut standing: Standing) -> Standing {
    if let Some(error) = &health.failing {
        let (waiting, refused) = (health.spilled, health.refused);
        let text = format!("{error}; {waiting} events wait in memory, {refused} were refused");
        standing.fail(Health::Failing, &text);
    } else if let (Some(error), Some(since)) = (&health.last_error, standing.since) {
        standing.last_error = Some((since, error.clone()));
    }
    standing
}
