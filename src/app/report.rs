//! `orch status`: how everything is, gathered from the parts' own snapshots.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::{Value, json};

use super::{Parts, Setup};
use crate::api::describe;
use crate::event::Verdict;

/// Version of the object.
const SCHEMA: u32 = 1;

pub(super) fn status(setup: &Setup, parts: &Parts, started: Instant) -> Value {
    let link = parts.tmux.status();
    let roster = parts.roster.borrow().clone();
    let state = parts.state.borrow().clone();
    let delivery = parts.delivery.snapshot.borrow().clone();
    let journal = parts.journal_health.borrow().clone();
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
    let health = |name: &str, health: &str, error: Option<&String>| json!({"name": name, "health": health, "restarts": 0, "last_error": error});
    let switched = |on: bool| if on { "ok" } else { "disabled" };
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
        "components": [
            health("tmux", if ready { "ok" } else { "waiting" }, link.last_error.as_ref()),
            health("roster", if ready { "ok" } else { "waiting" }, None),
            health("monitors", switched(setup.config.health.enabled), None),
            health("journal", if journal.failing.is_none() { "ok" } else { "failing" }, journal.last_error.as_ref()),
            health("state", "ok", None),
            health("delivery", switched(setup.config.delivery.messages || setup.config.delivery.status), None),
            health("api", "ok", None),
        ],
        "panes": {"total": roster.panes.len(), "by_state": by_state},
        "clients": roster.humans().count(),
        "events": {"accepted": state.accepted, "last_seq": state.last_seq, "outcomes": outcomes},
        "lanes": {"ordinary": lane(delivery.lanes[0]), "critical": lane(delivery.lanes[1])},
        "waiting": delivery.waiting,
        "last_error": link.last_error,
    })
}
