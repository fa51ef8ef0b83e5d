//! How much reaches a person: a leaky bucket for each lane, and a ring of the instants that it let through as proof.
//! Pure: the present is an argument; knows no event.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// A point on delivery's own clock, in milliseconds. It starts at the wall clock's value and then runs with the
/// monotonic one, so that a changed wall clock moves nothing, and what was saved still means something after a restart.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Tick(pub i64);

impl Tick {
    /// Milliseconds since `earlier`, 0 when it is later.
    pub fn since(self, earlier: Self) -> i64 {
        (self.0 - earlier.0).max(0)
    }

    /// That many milliseconds later.
    pub fn plus(self, milliseconds: i64) -> Self {
        Self(self.0 + milliseconds)
    }
}

/// At most `limit` in every closed window of `period` milliseconds, wherever the window begins.
///
/// A bucket that holds `burst` and drains at `(limit - burst) / period` lets through at most `limit` in any
/// such window; a quota of "limit per period" would let through twice that in its first one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Lane {
    limit: u32,
    period: i64,
    /// What is in the bucket; one delivery is `period`, so that draining is exact in whole numbers.
    level: i64,
    touched: Tick,
    ring: VecDeque<Tick>,
}

impl Lane {
    /// An empty lane. A limit of 0 lets nothing through.
    pub fn new(limit: u32, period_ms: i64) -> Self {
        Self {
            limit,
            period: period_ms.max(1),
            level: 0,
            touched: Tick::default(),
            ring: VecDeque::new(),
        }
    }

    /// Takes one place if there is one.
    pub fn take(&mut self, now: Tick) -> bool {
        if !self.has_room(now) {
            return false;
        }
        self.level = self.level_at(now) + self.period;
        self.touched = now;
        self.ring.push_back(now);
        while self.ring.len() > self.limit as usize {
            self.ring.pop_front();
        }
        true
    }

    /// Whether [`Lane::take`] would succeed.
    pub fn has_room(&self, now: Tick) -> bool {
        self.level_at(now) + self.period <= self.burst() * self.period
            && self.used(now) < self.limit
    }

    /// Places taken in the window that ends now.
    pub fn used(&self, now: Tick) -> u32 {
        self.ring
            .iter()
            .filter(|at| now.since(**at) <= self.period)
            .count() as u32
    }

    /// The limit.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// The same history under another limit, after a restart or a reload. Times ahead of `now` (the wall clock
    /// went back while nothing ran) count as now.
    pub fn adopt(&mut self, saved: &Self, now: Tick) {
        self.level = (saved.level.saturating_mul(self.period) / saved.period.max(1))
            .clamp(0, self.burst() * self.period);
        self.touched = saved.touched.min(now);
        self.ring = saved.ring.iter().map(|at| (*at).min(now)).collect();
        while self.ring.len() > self.limit as usize {
            self.ring.pop_front();
        }
    }

    /// As if everything had been taken just now: for a history that is not known.
    pub fn spend(&mut self, now: Tick) {
        self.level = self.burst() * self.period;
        self.touched = now;
        self.ring = (0..self.limit).map(|_| now).collect();
    }

    fn burst(&self) -> i64 {
        match self.limit {
            0 => 0,
            limit => i64::from(limit * 2 / 5).max(1),
        }
    }

    fn level_at(&self, now: Tick) -> i64 {
        let elapsed = now.since(self.touched);
        // A lane whose burst is its whole limit (1) drains by its ring alone.
        if i64::from(self.limit) == self.burst() && elapsed > self.period {
            return 0;
        }
        let drained = elapsed.saturating_mul(i64::from(self.limit) - self.burst());
        (self.level - drained).max(0)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use governor::clock::FakeRelativeClock;
    use governor::{Quota, RateLimiter};
    use proptest::prelude::*;

    use super::*;

    const MINUTE: i64 = 60_000;

    fn passed(lane: &mut Lane, attempts: impl IntoIterator<Item = i64>) -> Vec<i64> {
        attempts
            .into_iter()
            .filter(|at| lane.take(Tick(*at)))
            .collect()
    }

    fn most_in_a_window(instants: &[i64], window: i64) -> usize {
        (0..instants.len())
            .map(|i| {
                instants[i..]
                    .iter()
                    .take_while(|at| **at - instants[i] <= window)
                    .count()
            })
            .max()
            .unwrap_or(0)
    }

    #[test]
    fn ten_a_minute_is_ten_in_the_first_minute_too() {
        let passed = passed(&mut Lane::new(10, MINUTE), (0..600).map(|s| s * 1000));
        assert_eq!(most_in_a_window(&passed, MINUTE), 10);
        assert_eq!(
            &passed[..5],
            &[0, 1_000, 2_000, 3_000, 10_000],
            "a burst of four, then one in 10 s"
        );
        assert!(
            passed.len() >= 60,
            "about six a minute flow after the burst: {}",
            passed.len()
        );
    }

    #[test]
    fn small_limits_and_none() {
        assert!(passed(&mut Lane::new(0, MINUTE), [0, 70_000]).is_empty());
        assert_eq!(
            passed(
                &mut Lane::new(1, MINUTE),
                [0, 1, 60_000, 60_001, 120_001, 120_002]
            ),
            [0, 60_001, 120_002]
        );
    }

    #[test]
    fn what_was_saved_still_binds() {
        let mut lane = Lane::new(10, MINUTE);
        let first = passed(&mut lane, (0..100).map(|n| n * 10)).len();
        let mut next = Lane::new(10, MINUTE);
        next.adopt(&lane, Tick(1_000));
        assert_eq!(
            passed(&mut next, [1_000, 1_001]).len(),
            0,
            "{first} were let through before"
        );
        next.adopt(&lane, Tick(-5_000));
        assert_eq!(
            passed(&mut next, [-5_000]).len(),
            0,
            "a clock that went back grants nothing"
        );
    }

    proptest! {
        #[test]
        fn no_window_ever_exceeds_the_limit(
            limit in 1u32..20,
            gaps in proptest::collection::vec(0i64..9_000, 1..400),
        ) {
            let mut at = 0;
            let attempts: Vec<i64> = gaps.iter().map(|gap| { at += gap; at }).collect();
            let passed = passed(&mut Lane::new(limit, MINUTE), attempts);
            prop_assert!(most_in_a_window(&passed, MINUTE) <= limit as usize);
        }

        /// The oracle knows the bucket alone: where the ring does not bind (limits above 1, since the
        /// bucket already keeps every window), both decide the same.
        #[test]
        fn the_bucket_decides_as_governor_does(gaps in proptest::collection::vec(0i64..9_000, 1..300)) {
            let clock = FakeRelativeClock::default();
            let quota = Quota::with_period(Duration::from_secs(10)).unwrap().allow_burst(NonZeroU32::new(4).unwrap());
            let oracle = RateLimiter::direct_with_clock(quota, clock.clone());
            let mut lane = Lane::new(10, MINUTE);
            let mut at = 0;
            for gap in gaps {
                clock.advance(Duration::from_millis(gap as u64));
                at += gap;
                let ours = lane.take(Tick(at));
                let theirs = oracle.check().is_ok();
                prop_assert!(ours == theirs || lane.used(Tick(at)) >= 10, "at {} ms: {} {}", at, ours, theirs);
            }
        }
    }
}
