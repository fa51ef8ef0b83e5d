//! What holds for every sequence of events, pauses, restarts and requests.

use proptest::prelude::*;

use super::*;

/// One thing that happens.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Emit(u8, u8, u8),
    Claim(u8, u8),
    Caused(u8),
    Pass(u16),
    Clear,
    Mute(u8, u32),
    Unmute,
    Seat(u8),
    Restart(bool, i32),
    Acknowledge,
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0u8..6, 0u8..4, any::<u8>()).prop_map(|(k, s, m)| Step::Emit(k, s, m)),
        4 => (0u8..3, any::<u8>()).prop_map(|(s, m)| Step::Claim(s, m)),
        1 => any::<u8>().prop_map(Step::Caused),
        8 => (0u16..15_000).prop_map(Step::Pass),
        1 => Just(Step::Clear),
        1 => (0u8..6, 0u32..200_000).prop_map(|(k, d)| Step::Mute(k, d)),
        1 => Just(Step::Unmute),
        1 => (0u8..3).prop_map(Step::Seat),
        2 => (any::<bool>(), -100_000i32..100_000).prop_map(|(c, d)| Step::Restart(c, d)),
        1 => Just(Step::Acknowledge),
    ];
    proptest::collection::vec(step, 1..150)
}

const KINDS: [&str; 6] = [
    "violation",
    "agent_blocked",
    "agent_working",
    "system_failure",
    "bottleneck",
    "credit_exhausted",
];
const SEVERITIES: [Severity; 4] = [
    Severity::Low,
    Severity::Medium,
    Severity::High,
    Severity::Critical,
];

impl World {
    pub(super) fn play(&mut self, step: &Step) {
        match step {
            Step::Emit(k, s, m) => {
                let (kind, severity) = (KINDS[*k as usize], SEVERITIES[*s as usize]);
                self.emit(kind, severity, &word(usize::from(*m)));
            }
            Step::Claim(s, m) => {
                self.claim(&format!("source {s}"), &m.to_string());
            }
            Step::Caused(m) => {
                let cause = Some(self.seq.max(1));
                let text = m.to_string();
                self.emit_by("system_failure", Severity::Critical, &text, |event| {
                    event.cause = cause;
                });
            }
            Step::Pass(ms) => self.pass(i64::from(*ms)),
            Step::Clear => {
                let actions = self.desk.clear();
                self.carry_out(actions);
            }
            Step::Mute(k, ms) => {
                let filter = Filter::parse(&[format!("type={}", KINDS[*k as usize])]).unwrap();
                let now = Tick(self.now);
                if let Ok((_, actions)) = self.desk.mute(filter, i64::from(*ms), now) {
                    self.carry_out(actions);
                }
            }
            Step::Unmute => {
                self.desk.unmute(&Which::All, Tick(self.now));
            }
            Step::Seat(n) => self.seat(usize::from(*n)),
            // The clock may stand or go on over a restart; delivery's never goes back by more than a wall clock.
            Step::Restart(clean, ms) => self.restart(*clean, i64::from(*ms).max(0)),
            Step::Acknowledge => {
                if let Some(seq) = self.desk.status().newest {
                    let (_, outcomes) = self.desk.acknowledge(seq);
                    self.carry_out(outcomes);
                }
            }
        }
    }

    /// What holds at every moment of every day.
    pub(super) fn assert_limits(&self) {
        self.assert_promises();
        let most = |at: Vec<i64>, window: i64| {
            let mut most = 0;
            let mut first = 0;
            for (last, t) in at.iter().enumerate() {
                while t - at[first] > window {
                    first += 1;
                }
                most = most.max(last - first + 1);
            }
            most
        };
        let of = |kind: &str| {
            self.published(kind)
                .iter()
                .map(|(at, _)| *at)
                .collect::<Vec<i64>>()
        };
        assert!(most(of("loop_broken"), 60 * 60_000 - 1) <= 1);
        assert!(
            of("breaker_open").is_empty(),
            "the pace leaves it nothing to do"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_limits_hold(steps in steps()) {
        let mut world = World::new(pushing_high(), 1);
        for step in &steps {
            world.play(step);
            let lanes = world.desk.lanes(Tick(world.now));
            prop_assert!(lanes.iter().all(|(used, limit)| used <= limit));
        }
        let end = world.desk.close(Tick(world.now));
        world.carry_out(end);
        prop_assert!(world.open.is_empty(), "an outcome for each: {:?}", world.open);
        prop_assert_eq!(world.outcomes.len() as u64, world.seq);
        world.assert_limits();
    }

    #[test]
    fn f39_the_same_twice_is_decided_the_same_twice(steps in steps()) {
        let play = || {
            let mut world = World::new(pushing_high(), 1);
            world.log = Some(Vec::new());
            for step in &steps {
                world.play(step);
            }
            world.log
        };
        prop_assert_eq!(play(), play());
    }

    /// Being killed at any point gives nobody more than going on would.
    #[test]
    fn f39_a_restart_lets_nothing_more_through(
        texts in proptest::collection::vec((any::<bool>(), 0u16..40, 0i64..4_000), 1..200),
        kills in proptest::collection::btree_set(0usize..200, 0..20),
    ) {
        let mut killed = World::new(pushing_high(), 1);
        let mut emitted = Vec::new();
        for (n, (critical, text, gap)) in texts.iter().enumerate() {
            let severity = if *critical { Severity::Critical } else { Severity::High };
            emitted.push(killed.emit("violation", severity, &word(usize::from(*text))));
            killed.pass(*gap);
            if kills.contains(&n) {
                killed.restart(false, 0);
            }
        }
        killed.assert_limits();
        prop_assert!(killed.messages.len() <= 1 + (killed.now / MESSAGE_GAP) as usize);
        // What was told once is known over every kill; what only waited was not told.
        let mut told = BTreeMap::new();
        for ((critical, text, _), seq) in texts.iter().zip(&emitted) {
            let Some((verdict, reason)) = killed.outcomes.get(seq).map(|of| &of[0]) else {
                continue;
            };
            if *verdict == Verdict::Delivered || reason.starts_with("counted in the message") {
                *told.entry((critical, text)).or_insert(0) += 1;
            }
        }
        prop_assert!(told.values().all(|n| *n == 1), "{:?}", told);
    }
}
