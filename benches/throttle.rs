//! What a decision costs: the desk with different loads, beside governor's bare check in the same run:
//! `cargo bench --bench throttle [-- --quick]`.
//!
//! governor counts one key and says yes or no. The desk also fingerprints, keeps what stands open, looks for loops,
//! and words the outcome with its reason, which is most of what it costs.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::time::Instant;

use governor::{Quota, RateLimiter};
use orch::delivery::{Config, Desk, Tick};
use orch::event::{Draft, Event, Severity};
use orch::tmux::id::ClientName;

/// Events of one load, made before the clock runs.
type Load = fn(u64) -> Vec<Event>;

const LOADS: [(&str, Load); 5] = [
    ("low, below the threshold", |n| {
        events(n, Severity::Low, |_| 0)
    }),
    ("high, the same", |n| events(n, Severity::High, |_| 0)),
    ("high, all different", |n| events(n, Severity::High, |n| n)),
    ("critical, the same", |n| {
        events(n, Severity::Critical, |_| 0)
    }),
    ("critical, all different", |n| {
        events(n, Severity::Critical, |n| n)
    }),
];

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (count, rounds) = if quick { (20_000, 5) } else { (200_000, 15) };
    println!("ns per decision, medians of {rounds} alternating rounds of {count} events");
    let mut desk = [const { Vec::new() }; LOADS.len()];
    let mut governor = Vec::new();
    for _ in 0..rounds {
        for (times, (_, load)) in desk.iter_mut().zip(LOADS) {
            times.push(decide(load(count)));
        }
        governor.push(check(count));
    }
    for (times, (name, _)) in desk.iter_mut().zip(LOADS) {
        println!("{name:<28}{:>8.0}", median(times));
    }
    println!(
        "{:<28}{:>8.0}",
        "governor, check alone",
        median(&mut governor)
    );
}

fn decide(events: Vec<Event>) -> f64 {
    let mut desk = Desk::new(Config {
        threshold: Severity::High,
        ..Config::default()
    });
    desk.set_clients(vec![ClientName("/dev/pts/1".to_owned())], Tick(0));
    let count = events.len() as f64;
    let began = Instant::now();
    for (n, event) in events.iter().enumerate() {
        // A thousand a second.
        black_box(desk.accept(event, String::new(), Tick(n as i64)));
    }
    began.elapsed().as_nanos() as f64 / count
}

fn check(count: u64) -> f64 {
    let ten = NonZeroU32::new(10).unwrap_or(NonZeroU32::MIN);
    let limiter = RateLimiter::direct(Quota::per_minute(ten));
    let began = Instant::now();
    for _ in 0..count {
        let _ = black_box(limiter.check());
    }
    began.elapsed().as_nanos() as f64 / count as f64
}

fn events(count: u64, severity: Severity, text: fn(u64) -> u64) -> Vec<Event> {
    let ts = chrono::Local::now().fixed_offset();
    let event = |n| {
        let draft = Draft::new(
            "violation",
            "dev-1",
            format!("the part {} failed", word(text(n))),
        );
        let mut event = draft.with_severity(severity).accept(n + 1, ts);
        event.peer_pid = Some(7);
        event
    };
    (0..count).map(event).collect()
}

/// A number in letters: digits would make no difference to what is not critical.
fn word(mut n: u64) -> String {
    let mut word = String::new();
    while n > 0 {
        word.push(char::from(b'a' + (n % 26) as u8));
        n /= 26;
    }
    word
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
