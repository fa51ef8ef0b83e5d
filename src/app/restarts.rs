//! How often a part that fails is started again, and when it is given up. Pure: the present is an argument.

use std::time::{Duration, Instant};

/// When to start again, and when not any more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    /// The pause after the first failure; each further one doubles it.
    pub(super) pause: Duration,
    /// So many failures in a row, and it is not started again.
    pub(super) failures: u32,
    /// Running so long without a failure ends the row.
    pub(super) healthy: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            pause: Duration::from_millis(500),
            failures: 5,
            healthy: Duration::from_secs(60),
        }
    }
}

/// The failures of one part.
#[derive(Debug)]
pub(super) struct Restarts {
    policy: Policy,
    /// Since when it has been running.
    running: Instant,
    row: u32,
}

impl Restarts {
    pub(super) fn new(policy: Policy, now: Instant) -> Self {
        Self {
            policy,
            running: now,
            row: 0,
        }
    }

    /// It failed: after which pause to start it again; `None` to leave it.
    pub(super) fn failed(&mut self, now: Instant) -> Option<Duration> {
        if now.saturating_duration_since(self.running) >= self.policy.healthy {
            self.row = 0;
        }
        self.row += 1;
        (self.row < self.policy.failures).then(|| self.policy.pause * 2u32.pow(self.row - 1))
    }

    /// It runs again.
    pub(super) fn started(&mut self, now: Instant) {
        self.running = now;
    }

    /// Failures in a row.
    pub(super) fn row(&self) -> u32 {
        self.row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds that it ran each time, and the pause in milliseconds that follows; 0 for none.
    fn pauses(ran: &[u64]) -> Vec<u128> {
        let mut now = Instant::now();
        let mut restarts = Restarts::new(Policy::default(), now);
        ran.iter()
            .map(|seconds| {
                now += Duration::from_secs(*seconds);
                let pause = restarts.failed(now);
                now += pause.unwrap_or_default();
                restarts.started(now);
                pause.map_or(0, |pause| pause.as_millis())
            })
            .collect()
    }

    #[test]
    fn the_pause_doubles_until_it_is_given_up_and_health_is_rewarded() {
        for (ran, expected) in [
            (&[0, 0, 0, 0, 0][..], &[500, 1000, 2000, 4000, 0][..]),
            (&[59, 59, 59, 59, 59], &[500, 1000, 2000, 4000, 0]),
            (&[0, 0, 0, 60, 0, 0], &[500, 1000, 2000, 500, 1000, 2000]),
            (&[100, 100, 100, 100, 100, 100], &[500; 6]),
        ] {
            assert_eq!(pauses(ran), expected, "{ran:?}");
        }
    }
}
