//! The main loop of a run: answers what the socket asks, obeys signals, notices a part that ended.

use std::time::Instant;

use serde_json::json;

use super::signals::{Asked, Signals};
use super::{Parts, RunError, Setup, Tasks, report};
use crate::api::Ask;
use crate::config;
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
                    let _ = parts.delivery.control.send(Control::Clear(reply)).await;
                }
                Ask::Ack(seq, reply) => {
                    let _ = parts.delivery.control.send(Control::Acknowledge(seq, reply)).await;
                }
                Ask::Reload => reload(setup, &parts).await,
                Ask::Stop => break Ok(()),
            },
            asked = signals.next() => match asked {
                Asked::Reload => reload(setup, &parts).await,
                Asked::Stop => break Ok(()),
            },
            part = ended(tasks) => break Err(RunError::Part(part)),
        }
    };
    signals.end_at_the_next();
    result
}

/// Resolves when a part ends that must not, with what it died of in the diagnostics.
async fn ended(tasks: &mut Tasks) -> &'static str {
    let (part, result) = tokio::select! {
        result = &mut tasks.journal => ("journal", result),
        result = &mut tasks.dispatcher => ("dispatcher", result),
        result = &mut tasks.delivery => ("delivery", result),
        result = &mut tasks.tmux => ("tmux", result),
        result = &mut tasks.roster => ("roster", result),
        result = &mut tasks.monitors => ("monitors", result),
        result = &mut tasks.state => ("state", result),
        result = &mut tasks.api => ("api", result),
    };
    if let Err(error) = result {
        tracing::error!(target: "orch::app", "{part} failed: {error}");
    }
    part
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
            parts.configure(&loaded.config).await;
            let text = format!("{} is in force", path.display());
            Draft::new("config_reloaded", "config", text).with_data(json!({"ok": true}))
        }
        Some((_, Err(error))) => {
            tracing::error!(target: "orch::config", "{error}");
            let text = format!("the old configuration stays in force: {error}");
            Draft::new("config_reloaded", "config", text).with_data(json!({"ok": false}))
        }
    };
    parts.bus.publish_or_say(draft).await;
}
