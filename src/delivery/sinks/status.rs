//! Publishes the status as hidden variables of tmux: together, only what changed, at most once a second unless
//! something critical changed. Unsets them all at a clean stop.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::Local;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::super::compose::Status;
use crate::tmux::client::Tmux;
use crate::tmux::command::EnvName;
use crate::tmux::id::{ClientName, ServerKey, SessionId};
use crate::tmux::{Command, TmuxText};

/// How often the beat is set, so that a format can show a dead orchestrator.
const BEAT: Duration = Duration::from_secs(10);
/// Least time between two publications, with and without a change of what is critical.
const GAP: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

const BEAT_NAME: EnvName = EnvName("ORCH_BEAT");
/// Marks of panes and windows, in the environment of their session.
const MAP_NAME: EnvName = EnvName("ORCH_MAP");

/// What the sink is to show, and to whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) status: Status,
    pub(crate) marks: BTreeMap<SessionId, TmuxText>,
    pub(crate) clients: Vec<ClientName>,
    pub(crate) server: Option<ServerKey>,
}

struct Published {
    server: Option<ServerKey>,
    values: BTreeMap<EnvName, TmuxText>,
    marks: BTreeMap<SessionId, TmuxText>,
}

/// Runs until cancelled, then unsets everything it has set.
pub(crate) async fn run(tmux: Tmux, mut wanted: watch::Receiver<Wanted>, stop: CancellationToken) {
    let mut published = Published {
        server: None,
        values: BTreeMap::new(),
        marks: BTreeMap::new(),
    };
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // What of the present publication is critical: another count, or another newest one, is news.
    let of = |status: &Status| (status.critical, status.newest);
    let mut critical = (0, None);
    let mut last = Instant::now() - GAP.1;
    loop {
        tokio::select! {
            _ = beat.tick() => published.beat(&tmux).await,
            changed = wanted.changed() => {
                if changed.is_err() {
                    // Delivery has ended: what it said last holds until everything ends.
                    stop.cancelled().await;
                    break;
                }
                // What becomes critical while an ordinary change waits does not wait with it; between any two
                // publications there is the shorter gap, however much becomes critical.
                while !stop.is_cancelled() {
                    let news = of(&wanted.borrow_and_update().status) != critical;
                    let due = last + if news { GAP.0 } else { GAP.1 };
                    if Instant::now() >= due {
                        break;
                    }
                    tokio::select! {
                        () = tokio::time::sleep_until(due) => {}
                        () = stop.cancelled() => {}
                        changed = wanted.changed() => {
                            if changed.is_err() {
                                break;
                            }
                        }
                    }
                }
                let now = wanted.borrow_and_update().clone();
                critical = of(&now.status);
                last = Instant::now();
                published.publish(&tmux, now).await;
            }
            () = stop.cancelled() => break,
        }
    }
    published.unset(&tmux).await;
}

impl Published {
    async fn publish(&mut self, tmux: &Tmux, wanted: Wanted) {
        if wanted.server != self.server {
            // Another server knows nothing yet, and no server can be told anything.
            self.server = wanted.server;
            self.values.clear();
            self.marks.clear();
            self.beat(tmux).await;
        }
        if self.server.is_none() {
            return;
        }
        let values = values(&wanted.status);
        let changed: Vec<(EnvName, TmuxText)> = values
            .into_iter()
            .filter(|(name, value)| self.values.get(name) != Some(value))
            .collect();
        let marks = self.changed_marks(&wanted.marks);
        if changed.is_empty() && marks.is_empty() {
            return;
        }
        let set = changed.iter().map(|(name, value)| Command::SetVariable {
            name: *name,
            value: value.clone(),
        });
        let draw = wanted
            .clients
            .into_iter()
            .map(|client| Command::RefreshStatus { client });
        let results = tmux.ask_all(set.chain(marks).chain(draw).collect()).await;
        self.marks = wanted.marks;
        for ((name, value), result) in changed.into_iter().zip(results) {
            match result {
                Ok(_) => drop(self.values.insert(name, value)),
                Err(error) => {
                    tracing::warn!(target: "orch::delivery", "cannot publish {}: {error}", name.0);
                }
            }
        }
    }

    /// A session that is seen for the first time may still have the marks of an orchestrator that died.
    fn changed_marks(&self, wanted: &BTreeMap<SessionId, TmuxText>) -> Vec<Command> {
        let changed = wanted
            .iter()
            .filter(|(session, marks)| self.marks.get(session) != Some(marks));
        changed
            .map(|(session, marks)| match marks.as_str() {
                "" => unmark(*session),
                _ => Command::SetSessionVariable {
                    session: *session,
                    name: MAP_NAME,
                    value: marks.clone(),
                },
            })
            .collect()
    }

    async fn beat(&mut self, tmux: &Tmux) {
        if self.server.is_some() {
            let value = TmuxText::plain(&Local::now().timestamp().to_string(), 20);
            let _ = tmux
                .ask(Command::SetVariable {
                    name: BEAT_NAME,
                    value,
                })
                .await;
        }
    }

    async fn unset(&self, tmux: &Tmux) {
        if self.server.is_none() {
            return;
        }
        let names = values(&Status::default())
            .into_iter()
            .map(|(name, _)| name)
            .chain([BEAT_NAME]);
        let names = names.map(|name| Command::UnsetVariable { name });
        let marked = self
            .marks
            .iter()
            .filter(|(_, marks)| !marks.as_str().is_empty());
        let marks = marked.map(|(session, _)| unmark(*session));
        let results = tmux.ask_all(names.chain(marks).collect()).await;
        for error in results.into_iter().filter_map(Result::err) {
            tracing::debug!(target: "orch::delivery", "cannot unset a variable: {error}");
        }
    }
}

fn unmark(session: SessionId) -> Command {
    Command::UnsetSessionVariable {
        session,
        name: MAP_NAME,
    }
}

fn values(status: &Status) -> [(EnvName, TmuxText); 8] {
    let number = |n: usize| TmuxText::plain(&n.to_string(), 20);
    [
        (EnvName("ORCH_STATUS"), status.styled()),
        (EnvName("ORCH_PLAIN"), TmuxText::plain(&status.plain, 24)),
        (EnvName("ORCH_CRITICAL"), number(status.critical)),
        (EnvName("ORCH_NEED"), number(status.need)),
        (EnvName("ORCH_LIMIT"), number(status.limit)),
        (EnvName("ORCH_DOWN"), number(status.down)),
        (EnvName("ORCH_WORK"), number(status.work)),
        (EnvName("ORCH_IDLE"), number(status.idle)),
    ]
}
