//! From the journal and what was seen to numbers, and from numbers to promises kept or broken.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::event::Verdict;
use crate::journal::{self, Query, Report};
use crate::paths::Root;

/// Everything that was measured.
pub(super) struct Measured {
    accepted: usize,
    journaled: usize,
    outcomes: BTreeMap<&'static str, u64>,
    max_delivered_per_60s: usize,
    max_messages_per_client_10s: usize,
    messages: usize,
    critical_visible: Vec<Duration>,
    spawned: u64,
    tmux_version: Option<String>,
    journal: Report,
}

pub(super) struct Judged {
    pub(super) json: Value,
    pub(super) text: String,
    pub(super) broken: Vec<String>,
}

impl Measured {
    /// `acknowledged`: numbers given to the agents; `criticals`: number of each and how long until it was seen;
    /// `messages`: when each came up on the person's screen.
    pub(super) fn gather(
        root: &Root,
        mut acknowledged: Vec<u64>,
        criticals: Vec<(u64, Duration)>,
        messages: Vec<Instant>,
        spawned: u64,
        status: &Value,
    ) -> Result<Self, String> {
        let (found, _) = Query::default()
            .run(&root.events())
            .map_err(|e| e.to_string())?;
        let journal = journal::verify(&root.events(), false).map_err(|e| e.to_string())?;
        acknowledged.extend(criticals.iter().map(|(seq, _)| *seq));
        let on_disk: HashSet<u64> = found.iter().map(|found| found.event.seq).collect();
        let mut outcomes: BTreeMap<&'static str, u64> =
            Verdict::ALL.iter().map(|v| (v.as_str(), 0)).collect();
        let mut delivered = Vec::new();
        for (_, ts, outcome) in found.iter().filter_map(|found| found.outcome.as_ref()) {
            *outcomes.entry(outcome.result.as_str()).or_default() += 1;
            if outcome.result == Verdict::Delivered {
                delivered.push(ts.timestamp_millis());
            }
        }
        delivered.sort_unstable();
        let first = messages.first().copied();
        let shown: Vec<i64> = messages
            .iter()
            .filter_map(|at| i64::try_from(at.duration_since(first?).as_millis()).ok())
            .collect();
        Ok(Self {
            accepted: acknowledged.len(),
            journaled: acknowledged
                .iter()
                .filter(|seq| on_disk.contains(seq))
                .count(),
            outcomes,
            max_delivered_per_60s: most_within(&delivered, 60_000),
            max_messages_per_client_10s: most_within(&shown, 10_000),
            messages: shown.len(),
            critical_visible: criticals.into_iter().map(|(_, after)| after).collect(),
            spawned,
            tmux_version: status["tmux"]["version"].as_str().map(str::to_owned),
            journal,
        })
    }

    pub(super) fn report(&self) -> Judged {
        let missing = self.accepted - self.journaled;
        let p99 = percentile(&self.critical_visible, 99).as_secs_f64() * 1_000.0;
        let p99 = (p99 * 10.0).round() / 10.0;
        let mut broken = Vec::new();
        let mut promise = |kept: bool, what: String| {
            if !kept {
                broken.push(what);
            }
        };
        promise(
            missing == 0,
            format!("{missing} accepted events are missing in the journal"),
        );
        promise(
            self.journal.faults.is_empty(),
            format!(
                "the journal is not whole: {:?}",
                self.journal.faults.first()
            ),
        );
        promise(
            self.max_delivered_per_60s <= 20,
            format!("{} notifications in 60 s", self.max_delivered_per_60s),
        );
        promise(
            self.max_messages_per_client_10s <= 1,
            format!(
                "{} messages on one client in 10 s",
                self.max_messages_per_client_10s
            ),
        );
        promise(
            p99 <= 250.0,
            format!("a critical was visible after {p99} ms (p99)"),
        );
        promise(
            self.spawned == 0,
            format!(
                "{} processes were started beside the tmux client",
                self.spawned
            ),
        );
        let json = json!({
            "accepted": self.accepted,
            "journaled": self.journaled,
            "missing": missing,
            "outcomes": self.outcomes,
            "max_delivered_per_60s": self.max_delivered_per_60s,
            "max_messages_per_client_10s": self.max_messages_per_client_10s,
            "critical_visible_p99_ms": p99,
            "spawned_processes": self.spawned,
            "tmux_version": self.tmux_version,
        });
        let median = percentile(&self.critical_visible, 50).as_secs_f64() * 1_000.0;
        let text = format!(
            "{} events emitted from tight loops in five panes, {} criticals among them\n\
             {} in the journal, {missing} missing\n\
             {} messages on the person's screen; at most {} in 10 s, {} deliveries in 60 s\n\
             a critical stood in the status line after {median:.0} ms (median), {p99:.0} ms (p99)\n\
             {} processes started beside the one tmux client\n",
            self.accepted,
            self.critical_visible.len(),
            self.journaled,
            self.messages,
            self.max_messages_per_client_10s,
            self.max_delivered_per_60s,
            self.spawned,
        );
        Judged { json, text, broken }
    }
}

/// The most instants (milliseconds, sorted) in any window of that length.
fn most_within(instants: &[i64], window: i64) -> usize {
    let within = |first: usize| {
        instants[first..]
            .iter()
            .take_while(|at| *at - instants[first] < window)
            .count()
    };
    (0..instants.len()).map(within).max().unwrap_or(0)
}

fn percentile(spans: &[Duration], percent: usize) -> Duration {
    let mut sorted = spans.to_vec();
    sorted.sort_unstable();
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_and_percentiles() {
        assert_eq!(most_within(&[0, 5_000, 10_000, 14_999], 10_000), 3);
        assert_eq!(most_within(&[], 10), 0);
        let spans: Vec<Duration> = (1..=50).map(Duration::from_millis).collect();
        assert_eq!(percentile(&spans, 99), Duration::from_millis(50));
        assert_eq!(percentile(&spans, 50), Duration::from_millis(25));
    }
}
