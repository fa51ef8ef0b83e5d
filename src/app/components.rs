//! How each component is, as `orch status` says it: six words, restarts and the last error. Each component has one
//! owner who writes; everybody else gets what it last wrote.

use std::time::{Duration, Instant};

use chrono::{DateTime, Local};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::restarts::{Policy, Restarts};
use crate::event::Draft;

/// How a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Health {
    /// Switched off in the configuration.
    Disabled,
    /// It works.
    Ok,
    /// It works, and waits for something outside: a tmux server.
    Waiting,
    /// It failed and is started again in a moment.
    Restarting,
    /// It runs, but what it needs does not work: tmux does not answer, the socket's directory is gone.
    Failing,
    /// It failed so often that it stays off until `orch restart`.
    Parked,
}

impl Health {
    fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Ok => "ok",
            Self::Waiting => "waiting",
            Self::Restarting => "restarting",
            Self::Failing => "failing",
            Self::Parked => "parked",
        }
    }
}

/// What is known of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) health: Health,
    /// Since when it has been so.
    pub(super) since: Option<DateTime<Local>>,
    pub(super) restarts: u64,
    pub(super) last_error: Option<(DateTime<Local>, String)>,
}

impl Standing {
    pub(super) fn new(health: Health) -> Self {
        Self {
            health,
            since: Some(Local::now()),
            restarts: 0,
            last_error: None,
        }
    }

    pub(super) fn set(&mut self, health: Health) {
        if self.health != health {
            (self.health, self.since) = (health, Some(Local::now()));
        }
    }

    pub(super) fn fail(&mut self, health: Health, error: &str) {
        self.set(health);
        self.last_error = Some((Local::now(), error.to_owned()));
    }

    /// Two that are one row: the worse health, all restarts, the newer error.
    pub(super) fn and(self, other: Self) -> Self {
        let since = match self.health.cmp(&other.health) {
            std::cmp::Ordering::Greater => self.since,
            std::cmp::Ordering::Less => other.since,
            std::cmp::Ordering::Equal => self.since.max(other.since),
        };
        Self {
            health: self.health.max(other.health),
            since,
            restarts: self.restarts + other.restarts,
            last_error: self.last_error.max(other.last_error),
        }
    }

    pub(super) fn row(&self, name: &str) -> Value {
        json!({
            "name": name,
            "health": self.health.as_str(),
            "since": self.since,
            "restarts": self.restarts,
            "last_error": self.last_error.as_ref().map(|(_, text)| text),
        })
    }
}

/// What follows a failure.
#[derive(Debug)]
pub(super) enum Failed {
    /// It is to be started again after this pause.
    Again(Duration),
    /// It is given up, and this is to be published.
    Parked(Box<Draft>),
}

/// One that is started again when it fails: counts its failures, keeps its standing, and words what is published.
#[derive(Debug)]
pub(super) struct Guard {
    name: String,
    restarts: Restarts,
    standing: watch::Sender<Standing>,
}

impl Guard {
    /// With where its standing can be seen.
    pub(super) fn new(name: &str, policy: Policy) -> (Self, watch::Receiver<Standing>) {
        let (standing, seen) = watch::channel(Standing::new(Health::Ok));
        let guard = Self {
            name: name.to_owned(),
            restarts: Restarts::new(policy, Instant::now()),
            standing,
        };
        (guard, seen)
    }

    /// It failed.
    pub(super) fn failed(&mut self, error: &str, now: Instant) -> Failed {
        let name = &self.name;
        let pause = self.restarts.failed(now);
        let health = pause.map_or(Health::Parked, |_| Health::Restarting);
        self.standing.send_modify(|s| s.fail(health, error));
        pause.map(Failed::Again).unwrap_or_else(|| {
            let failures = self.restarts.row();
            tracing::error!(target: "orch::app", "{name} is off after {failures} failures in a row: {error}");
            let text = format!(
                "{name} failed {failures} times in a row and is off until `orch restart`: {error}"
            );
            let data = json!({"component": name, "error": error, "failures": failures});
            Failed::Parked(Box::new(
                Draft::new("component_parked", "orch", text).with_data(data),
            ))
        })
    }

    /// It runs again; what is to be published.
    pub(super) fn started(&mut self, now: Instant) -> Draft {
        self.restarts.started(now);
        self.standing.send_modify(|standing| {
            standing.set(Health::Ok);
            standing.restarts += 1;
        });
        let standing = self.standing.borrow();
        let (name, restarts) = (&self.name, standing.restarts);
        let error = standing.last_error.as_ref().map_or("", |(_, text)| text);
        tracing::warn!(target: "orch::app", "{name} was started again: {error}");
        Draft::new(
            "status_update",
            "orch",
            format!("{name} was started again: {error}"),
        )
        .with_data(
            json!({"op": "restart", "component": name, "error": error, "restarts": restarts}),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_in_one_row() {
        let now = Local::now();
        let standing = |health, restarts, error: Option<&str>| Standing {
            health,
            since: Some(now),
            restarts,
            last_error: error.map(|text| (now, text.to_owned())),
        };
        let both = standing(Health::Ok, 2, Some("x")).and(standing(Health::Parked, 1, None));
        assert_eq!(both, standing(Health::Parked, 3, Some("x")));
        let off = standing(Health::Disabled, 0, None);
        assert_eq!(off.clone().and(off.clone()), off);
    }
}
