//! Panes that start, exit, die or fall back to a shell, bells, and the tmux server itself. What a person or a
//! clean end explains is told apart from what needs a look.

use serde_json::json;

use super::{Monitor, Observation};
use crate::agents::{Program, identify};
use crate::event::{Draft, Severity};
use crate::panes::{Change, Ended, Killer, Pane};
use crate::tmux::id::ServerKey;

const SOURCE: &str = "health";

/// How the health monitor is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Off: it is not run.
    pub enabled: bool,
    /// Whether a bell is an event.
    pub bells: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            bells: true,
        }
    }
}

/// The monitor. Its only memory is whether tmux was reported as lost.
#[derive(Debug)]
pub struct Health {
    config: Config,
    lost: bool,
    attached_before: bool,
}

impl Health {
    /// A monitor that has seen nothing yet.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            lost: false,
            attached_before: false,
        }
    }

    /// Silent after a mere reconnection that nobody was told of.
    fn attached(
        &mut self,
        version: &str,
        server: ServerKey,
        panes: usize,
        new_server: bool,
    ) -> Option<Draft> {
        let first = !std::mem::replace(&mut self.attached_before, true);
        let was_lost = std::mem::take(&mut self.lost);
        (first || was_lost || new_server).then(|| {
            Draft::new(
                "tmux_attached",
                SOURCE,
                format!("attached to tmux {version}, {panes} panes"),
            )
            .with_data(json!({"version": version, "server": server, "panes": panes, "new_server": new_server}))
        })
    }

    /// The server is gone. Its panes went with it and are no news of their own.
    fn lost(&mut self, reason: &str) -> Option<Draft> {
        let known = std::mem::replace(&mut self.lost, true);
        (!known).then(|| Draft::new("tmux_lost", SOURCE, format!("tmux is gone: {reason}")))
    }

    /// What a change of panes means.
    fn change(&self, change: &Change) -> Option<Draft> {
        match change {
            Change::Appeared(pane) => Some(started(pane)),
            // It was dead on the screen before (remain-on-exit), and that was told then.
            Change::Gone(pane, _) if pane.dead => Some(about(
                pane,
                "pane_exited",
                "closed after its program had ended",
            )),
            Change::Gone(pane, ended) => Some(gone(pane, ended)),
            Change::Changed { before, after } => self.changed(before, after),
        }
    }

    fn changed(&self, before: &Pane, after: &Pane) -> Option<Draft> {
        if after.dead && !before.dead {
            return Some(died(before, after));
        }
        if before.dead && !after.dead || before.pid != after.pid {
            return Some(started(after));
        }
        let (was, is) = (identify(&before.command), identify(&after.command));
        match (was, is) {
            (Program::Agent(agent), Program::Shell) => Some(
                about(
                    after,
                    "agent_exited",
                    &format!("{agent} ended, the shell is back"),
                )
                .with_severity(Severity::Medium)
                .with_data(json!({"agent": agent, "expected": true, "how": "back_to_shell"})),
            ),
            (_, Program::Agent(agent)) if was != is => Some(
                about(after, "agent_started", &format!("{agent} started"))
                    .with_data(json!({"agent": agent})),
            ),
            _ if after.bell && !before.bell && self.config.bells => {
                Some(about(after, "bell", "the bell rang in its window"))
            }
            _ => None,
        }
    }
}

impl Monitor for Health {
    fn observe(&mut self, seen: &Observation<'_>) -> Vec<Draft> {
        let draft = match *seen {
            Observation::Attached {
                version,
                server,
                panes,
                new_server,
            } => self.attached(version, server, panes, new_server),
            Observation::Lost(reason) => self.lost(reason),
            Observation::Changed(change) => self.change(change),
        };
        draft.into_iter().collect()
    }
}

fn started(pane: &Pane) -> Draft {
    match identify(&pane.command) {
        Program::Agent(agent) => about(
            pane,
            "agent_started",
            &format!("{agent} started in a new pane"),
        )
        .with_data(json!({"agent": agent})),
        _ => about(
            pane,
            "pane_started",
            &format!("pane started, running {}", pane.command),
        ),
    }
}

/// A pane that closed. Nobody can ask a closed pane for its exit status, so what is known is who closed it
/// and what ran in it.
fn gone(pane: &Pane, ended: &Ended) -> Draft {
    let program = identify(&pane.command);
    let agent = matches!(program, Program::Agent(_)) || pane.role.is_some();
    let command = &pane.command;
    match ended {
        Ended::Killed(Killer::Person(by)) => exited(pane, agent, "a person closed its pane", by),
        Ended::Killed(Killer::Command(by)) => {
            unexpected(pane, &format!("{command}: its pane was killed"), by)
        }
        Ended::ByItself => match program {
            Program::Shell | Program::Interactive if pane.role.is_none() => about(
                pane,
                "pane_exited",
                &format!("{command} ended and its pane closed"),
            ),
            _ => unexpected(pane, &format!("{command} ended and its pane closed"), ""),
        },
    }
}

fn died(before: &Pane, after: &Pane) -> Draft {
    let command = &before.command;
    let how = match (after.dead_status, &after.dead_signal) {
        (_, Some(signal)) => format!("killed by signal {signal}"),
        (Some(status), None) => format!("exit status {status}"),
        (None, None) => "exit status unknown".to_owned(),
    };
    let clean = after.dead_status == Some(0) && after.dead_signal.is_none();
    let shell = matches!(identify(command), Program::Shell)
        && before.role.is_none()
        && after.dead_signal.is_none();
    let draft = if clean || shell {
        exited(before, !shell, &format!("{command} ended"), &how)
    } else {
        unexpected(before, &format!("{command} died"), &how)
    };
    draft.with_data(json!({"command": command, "status": after.dead_status, "signal": after.dead_signal, "expected": clean || shell}))
}

fn exited(pane: &Pane, agent: bool, what: &str, detail: &str) -> Draft {
    let kind = if agent { "agent_exited" } else { "pane_exited" };
    let draft = about(pane, kind, &with(what, detail))
        .with_data(json!({"command": pane.command, "expected": true, "how": detail}));
    if agent {
        draft.with_severity(Severity::Medium)
    } else {
        draft
    }
}

fn unexpected(pane: &Pane, what: &str, detail: &str) -> Draft {
    let data = json!({"command": pane.command, "expected": false, "how": detail});
    about(pane, "agent_exited", &with(what, detail)).with_data(data)
}

fn with(what: &str, detail: &str) -> String {
    if detail.is_empty() {
        what.to_owned()
    } else {
        format!("{what} ({detail})")
    }
}

fn about(pane: &Pane, kind: &str, what: &str) -> Draft {
    let place = format!(
        "{}:{}.{}",
        pane.session_name, pane.window_index, pane.pane_index
    );
    let mut draft = Draft::new(kind, SOURCE, format!("{place} {what}"));
    draft.session = Some(pane.session_name.clone());
    draft.window = Some(pane.window);
    draft.pane = Some(pane.id);
    draft
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::panes::roster_fixture::pane;

    const KEY: ServerKey = ServerKey { pid: 1, start: 1 };

    fn health() -> Health {
        Health::new(Config::default())
    }

    fn said(change: Change) -> Option<(String, Severity)> {
        health()
            .change(&change)
            .map(|draft| (draft.kind, draft.severity))
    }

    fn expect(kind: &str, severity: Severity) -> Option<(String, Severity)> {
        Some((kind.to_owned(), severity))
    }

    #[test]
    fn how_a_pane_goes_decides_whether_somebody_must_look() {
        let script = || Ended::Killed(Killer::Command("kill-pane".into()));
        let person = || Ended::Killed(Killer::Person("kill-pane".into()));
        let critical = || expect("agent_exited", Severity::Critical);
        for (command, ended, expected) in [
            ("claude", Ended::ByItself, critical()),
            ("node", Ended::ByItself, critical()),
            (
                "bash",
                Ended::ByItself,
                expect("pane_exited", Severity::Low),
            ),
            (
                "nvim",
                Ended::ByItself,
                expect("pane_exited", Severity::Low),
            ),
            ("bash", script(), critical()),
            ("claude", script(), critical()),
            ("bash", person(), expect("pane_exited", Severity::Low)),
            ("claude", person(), expect("agent_exited", Severity::Medium)),
        ] {
            assert_eq!(
                said(Change::Gone(pane(1, command), ended.clone())),
                expected,
                "{command} {ended:?}"
            );
        }
    }

    #[test]
    fn a_program_that_dies_on_screen_says_its_status() {
        let dead = |command: &str, status: Option<i32>, signal: Option<&str>| {
            let before = pane(1, command);
            let mut after = before.clone();
            (after.dead, after.dead_status, after.dead_signal) =
                (true, status, signal.map(str::to_owned));
            said(Change::Changed {
                before: Box::new(before),
                after: Box::new(after),
            })
        };
        assert_eq!(
            dead("claude", Some(0), None),
            expect("agent_exited", Severity::Medium)
        );
        assert_eq!(
            dead("claude", Some(1), None),
            expect("agent_exited", Severity::Critical)
        );
        assert_eq!(
            dead("bash", Some(1), None),
            expect("pane_exited", Severity::Low)
        );
        assert_eq!(
            dead("bash", None, Some("9")),
            expect("agent_exited", Severity::Critical)
        );
    }

    #[test]
    fn changes_that_matter_and_those_that_do_not() {
        let changed = |from: &str, to: &str| {
            said(Change::Changed {
                before: Box::new(pane(1, from)),
                after: Box::new(pane(1, to)),
            })
        };
        assert_eq!(
            changed("claude", "bash"),
            expect("agent_exited", Severity::Medium)
        );
        assert_eq!(
            changed("bash", "claude"),
            expect("agent_started", Severity::Low)
        );
        assert_eq!(changed("bash", "cargo"), None);
        assert_eq!(changed("cargo", "bash"), None);
        let mut rang = pane(1, "bash");
        rang.bell = true;
        let bell = Change::Changed {
            before: Box::new(pane(1, "bash")),
            after: Box::new(rang),
        };
        assert_eq!(said(bell), expect("bell", Severity::Low));
    }

    #[test]
    fn tmux_is_lost_once_and_comes_back_once() {
        let mut health = health();
        assert!(health.attached("3.3a", KEY, 1, true).is_some());
        assert!(health.attached("3.3a", KEY, 1, false).is_none());
        assert!(health.lost("gone").is_some());
        assert!(health.lost("gone").is_none());
        assert!(health.attached("3.3a", KEY, 1, true).is_some());
    }
}
