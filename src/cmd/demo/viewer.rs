//! What a person really sees: reads the screen of a terminal in which a tmux client shows the agents' server, each
//! time that anything is drawn there.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::stage::Stage;
use crate::tmux::Command;
use crate::tmux::client::{self, Config, Signal, Tmux};
use crate::tmux::id::PaneId;

/// Rows of the person's terminal; the last is the status line.
const ROWS: u32 = 30;
/// How a message of orch's begins.
const MESSAGE: &str = "orch: ";

pub(super) struct Viewer {
    seen: watch::Receiver<Seen>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default, Clone)]
struct Seen {
    /// Instants at which the segment first counted so many open criticals; the first entry is for one.
    criticals: Vec<Instant>,
    /// When each message came up.
    messages: Vec<Instant>,
    /// The message that stands there now.
    showing: Option<String>,
    ready: bool,
}

impl Viewer {
    pub(super) async fn attach(stage: &Stage) -> Result<Self, String> {
        let socket = stage.seat_a_person()?;
        let stop = CancellationToken::new();
        let (tmux, mut signals, connection) = client::run(
            Config {
                output: true,
                ..Config::new(socket)
            },
            stop.clone(),
        );
        let (sender, seen) = watch::channel(Seen::default());
        let looking = tokio::spawn(async move {
            while let Some(signal) = signals.recv().await {
                // Whatever was drawn meanwhile is on the same screen.
                while signals.try_recv().is_ok() {}
                if matches!(signal, Signal::Output { .. } | Signal::Attached(_)) {
                    look(&tmux, &sender).await;
                }
            }
        });
        let viewer = Self {
            seen,
            stop,
            tasks: vec![connection, looking],
        };
        let mut seen = viewer.seen.clone();
        let ready =
            tokio::time::timeout(Duration::from_secs(10), seen.wait_for(|seen| seen.ready)).await;
        ready
            .map_err(|_| "no client came up to look at the agents' server".to_owned())?
            .map_err(|e| e.to_string())?;
        Ok(viewer)
    }

    /// When the segment counted `n` criticals; `None` when it did not by the deadline.
    pub(super) async fn wait_for_criticals(&self, n: usize, deadline: Instant) -> Option<Instant> {
        let mut seen = self.seen.clone();
        let counted =
            tokio::time::timeout_at(deadline, seen.wait_for(|seen| seen.criticals.len() >= n))
                .await;
        counted.ok()?.ok().map(|seen| seen.criticals[n - 1])
    }

    pub(super) async fn wait_for_message_count(
        &self,
        n: usize,
        patience: Duration,
    ) -> Result<(), String> {
        let mut seen = self.seen.clone();
        let came =
            tokio::time::timeout(patience, seen.wait_for(|seen| seen.messages.len() >= n)).await;
        came.map_err(|_| format!("fewer than {n} messages reached the person's screen"))?
            .map_err(|e| e.to_string())?;
        Ok(())
    }

    /// Ends the look; when each message came up.
    pub(super) async fn detach(self) -> Vec<Instant> {
        self.stop.cancel();
        for task in self.tasks {
            let _ = task.await;
        }
        self.seen.borrow().messages.clone()
    }
}

async fn look(tmux: &Tmux, seen: &watch::Sender<Seen>) {
    let Ok(rows) = tmux
        .ask(Command::Capture {
            pane: PaneId(0),
            rows: ROWS,
        })
        .await
    else {
        return;
    };
    let now = Instant::now();
    let Some(last) = rows
        .last()
        .map(|row| String::from_utf8_lossy(row).into_owned())
    else {
        return;
    };
    seen.send_if_modified(|seen| {
        let before = (seen.criticals.len(), seen.messages.len(), seen.ready);
        seen.ready |= last.contains("[alpha]");
        if last.starts_with(MESSAGE) {
            if seen.showing.as_deref() != Some(&last) {
                seen.messages.push(now);
            }
            seen.showing = Some(last);
        } else {
            seen.showing = None;
            let count = counted(&last).unwrap_or(0);
            while seen.criticals.len() < count {
                seen.criticals.push(now);
            }
        }
        before != (seen.criticals.len(), seen.messages.len(), seen.ready)
    });
}

/// The number in the segment's `!N`.
fn counted(row: &str) -> Option<usize> {
    row.split_whitespace()
        .find_map(|word| word.strip_prefix('!')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read_off_the_segment() {
        assert_eq!(
            counted("[alpha] 0:sh*   \"vm\" 12:00 !12 system_failure alpha:0"),
            Some(12)
        );
        assert_eq!(counted("[alpha] 0:sh*   12:00"), None);
    }
}
