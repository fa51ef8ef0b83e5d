//! Days in seconds: random load, restarts, kills, clocks that are set, mutes and bursts, on the desk's own time.

use super::properties::Step;
use super::*;

const HOUR: i64 = 60 * 60_000;

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn step(&mut self) -> Step {
        let byte = |dice: &mut Self, n| dice.below(n) as u8;
        match self.below(100) {
            0..60 => Step::Emit(byte(self, 6), byte(self, 4), byte(self, 256)),
            60..85 => Step::Claim(byte(self, 3), byte(self, 256)),
            85..90 => Step::Caused(byte(self, 256)),
            90..92 => Step::Clear,
            92..94 => Step::Mute(byte(self, 6), self.below(8 * 3_600_000) as u32),
            94 => Step::Unmute,
            95..97 => Step::Seat(byte(self, 3)),
            97..99 => Step::Acknowledge,
            _ => Step::Restart(self.below(2) == 0, self.below(20_000) as i32),
        }
    }
}

/// Runs so many hours, and checks each of them.
fn hours(hours: u64, seed: u64) {
    let mut world = World::new(pushing_high(), 1);
    let mut dice = Dice(seed);
    let mut largest = 0;
    let mut told = 0;
    for hour in 0..hours {
        let end = world.now + HOUR;
        // Quiet hours, busy ones, and a storm now and then.
        let (busy, storm) = ([2, 20, 200][dice.below(3) as usize], dice.below(24) == 0);
        while world.now < end {
            for _ in 0..dice.below(busy) {
                world.play(&dice.step());
            }
            if storm && dice.below(100) == 0 {
                for n in 0..500 {
                    world.claim("storm", &n.to_string());
                    world.emit("violation", Severity::High, &word(n));
                }
            }
            match dice.below(3) {
                0 => world.pass(250),
                1 => world.pass(1_000),
                // A quiet minute, looked at as seldom as the desk allows.
                _ => (0..60).for_each(|_| {
                    world.now += 1_000;
                    world.tick();
                }),
            }
        }
        if hour % 24 == 2 {
            // A clock that is set, or a machine that was off: delivery's own clock stands or goes on, never back.
            world.restart(true, [0, HOUR][dice.below(2) as usize]);
        }
        world.assert_limits();
        told += world.messages.len();
        largest = largest.max(serde_json::to_vec(&world.desk.memory()).unwrap().len());
        // What lies further back than any window.
        let now = world.now;
        world.messages.retain(|(at, ..)| now - at <= 120_000);
        world.published.retain(|(at, _)| now - at <= 2 * HOUR);
        world.outcomes.clear();
        world.receipts.clear();
        world.uncovered.clear();
    }
    let end = world.desk.close(Tick(world.now));
    world.carry_out(end);
    assert!(world.open.is_empty(), "{:?}", world.open);
    assert!(largest < 1 << 20, "the memory grew to {largest} bytes");
    assert!(
        told > 0 && world.seq > 100 * hours,
        "{told} of {}",
        world.seq
    );
    println!(
        "{hours} h: {} events, {told} messages, memory {largest} bytes at most",
        world.seq
    );
}

#[test]
fn f40_three_hours() {
    hours(3, 0x9e37_79b9_7f4a_7c15);
}

#[test]
#[ignore = "a soak: cargo test --release --lib f40 -- --ignored --nocapture"]
fn f40_thirty_days() {
    for seed in [1, 2, 3] {
        hours(24, seed);
    }
    hours(30 * 24, 0x2545_f491_4f6c_dd1d);
}
