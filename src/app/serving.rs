//! The main loop of a run: answers what the socket asks, obeys signals, notices a part that ended.

use std::time::Instant;

use serde_json::json;

use super::signals::{Asked, Signals};
use super::supervise::record;
use super::{Parts, RunError, Setup, Tasks, mutes, report};
use crate::api::Ask;
use crate::config::{self, Config};
use crate::delivery::Control;
use crate::event::Draft;

pub(super) async fn serve(
    setup: &Setup,
    mut parts: Parts,
    started: Instant,
    mut signals: Signals,
    tasks: &mut Tasks,
) -> Result<(), RunError> {
    let result = loop {
        tokio::select! {
            Some(ask) = parts.asks.recv() => match ask {
                Ask::Status(reply) => {
                    let _ = reply.send(report::status(setup, &parts, started));
                }
                Ask::ClearQueues(reply) => {
                    hand_over(&parts, Control::Clear(reply));
                }
                Ask::Ack(seq, reply) => {
                    hand_over(&parts, Control::Acknowledge(seq, reply));
                }
                Ask::Mute(terms, span, reply) => mutes::begin(&parts.delivery, terms, span, reply),
                Ask::Unmute(which, reply) => mutes::end(&parts.delivery, which, reply),
                Ask::Mutes(reply) => mutes::list(&parts.delivery, reply),
                Ask::Reload => reload(setup, &parts).await,
                Ask::Stop => break Ok(()),
            },
            asked = signals.next() => match asked {
                Asked::Reload => reload(setup, &parts).await,
                Asked::Stop => break Ok(()),
            },
            error = ended(tasks) => break Err(error),
        }
    };
    signals.end_at_the_next();
    result
}

/// Without waiting: a delivery that is stuck must not keep anybody from being heard. Where it takes no more, who asked
/// learns that from the reply that is dropped.
fn hand_over(parts: &Parts, control: Control) {
    if parts.delivery.control.try_send(control).is_err() {
        tracing::warn!(target: "orch::app", "delivery takes no more requests");
    }
}

/// Resolves when a part ends that must not, with what it died of in the diagnostics.
async fn ended(tasks: &mut Tasks) -> RunError {
    let (part, result) = tokio::select! {
        result = &mut tasks.journal => ("journal", result),
        result = &mut tasks.dispatcher => ("dispatcher", result),
        result = &mut tasks.delivery => ("delivery", result),
        result = &mut tasks.tmux => ("tmux", result),
        result = &mut tasks.roster => ("roster", result),
        result = &mut tasks.monitors => ("monitors", result),
        result = &mut tasks.state => ("state", result),
        result = &mut tasks.api => ("api", result),
        result = &mut tasks.keeper => match result {
            Ok(Err(error)) => return error,
            Ok(Ok(())) => ("socket", Ok(())),
            Err(error) => ("socket", Err(error)),
        },
    };
    if let Err(error) = result {
        tracing::error!(target: "orch::app", "{part} failed: {error}");
    }
    RunError::Part(part)
}

/// A bad file leaves the old configuration in force and says so.
async fn reload(setup: &Setup, parts: &Parts) {
    let path = setup.config_path.as_ref();
    let draft = match path.map(|path| (path, config::load(path))) {
        None => {
            let text = "asked to reload, but no configuration file is in use: the defaults hold";
            Draft::new("config_reloaded", "config", text)
        }
        Some((path, Ok(loaded))) => {
            parts.configure(&loaded.config);
            let waits = needs_restart(&setup.config, &loaded.config);
            let rest = if waits.is_empty() {
                String::new()
            } else {
                format!("; {} as before until `orch restart`", waits.join(", "))
            };
            let text = format!("{} is in force{rest}", path.display());
            Draft::new("config_reloaded", "config", text)
                .with_data(json!({"ok": true, "needs_restart": waits}))
        }
        Some((_, Err(error))) => {
            tracing::error!(target: "orch::config", "{error}");
            let text = format!("the old configuration stays in force: {error}");
            Draft::new("config_reloaded", "config", text).with_data(json!({"ok": false}))
        }
    };
    // A journal that cannot be written must not keep the loop from what comes next.
    let bus = parts.bus.clone();
    tokio::spawn(async move { record(&bus, draft).await });
}

/// What a run takes up only at its start.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    [
        ("monitoring", old.health != new.health),
        ("session_state", old.session_state != new.session_state),
        ("general.log_level", old.log_level != new.log_level),
        (
            "general.max_log_size_mb",
            old.max_log_size_mb != new.max_log_size_mb,
        ),
        ("tmux.binary", old.tmux_binary != new.tmux_binary),
        ("paths.root", old.root != new.root),
        (
            "delivery.sinks: status",
            old.delivery.status != new.delivery.status,
        ),
    ]
    .into_iter()
    .filter_map(|(name, changed)| changed.then_some(name))
    .collect()
}
