//! What guards against what nobody expected: loops, sources that cry wolf, a pace that is broken.

use super::super::super::breaker::{CEILING, CUT_FOR};
use super::super::super::demotion::CLAIM_WINDOW;
use super::*;

#[test]
fn f23_an_event_that_each_message_causes_is_cut_as_an_echo() {
    let mut world = World::new(Config::default(), 1);
    world.emit("system_failure", Severity::Critical, "the first");
    let mut heard = 0;
    let mut echoes = Vec::new();
    for _ in 0..4 * 600 {
        world.pass(250);
        while heard < world.messages.len() {
            heard += 1;
            // A hook of the user's that says, with a number of its own, that something was shown.
            echoes.push(world.claim("hook", &format!("message {heard} was shown")));
        }
    }
    let results: Vec<Verdict> = echoes.iter().map(|seq| world.result(*seq)).collect();
    let cut = results
        .iter()
        .position(|r| *r == Verdict::SelfLoop)
        .unwrap();
    assert_eq!(cut, 3, "the fourth: {results:?}");
    let told = world
        .messages
        .iter()
        .filter(|m| m.2.contains("failure: message") && !m.2.contains("still"));
    assert_eq!(told.count(), 3, "{:?}", world.messages);
    assert_eq!(world.published("loop_broken").len(), 1);
    let text = world.published("loop_broken")[0].1;
    assert!(
        text.starts_with("system_failure of hook followed 4 messages"),
        "{text}"
    );
    let broken = world
        .published
        .iter()
        .find(|(_, e)| e.kind == "loop_broken");
    assert_eq!(broken.unwrap().1.cause, Some(echoes[cut]));
    assert_eq!(world.result(broken.unwrap().1.seq), Verdict::Delivered);
    world.assert_promises();
}

#[test]
fn f23_what_comes_all_the_time_is_no_echo() {
    let mut world = World::new(pushing_high(), 1);
    for n in 0..6_000 {
        world.emit("system_failure", Severity::Critical, &format!("unit {n}"));
        world.emit("violation", Severity::High, "the same");
        world.pass(100);
    }
    assert_eq!(world.count(Verdict::SelfLoop), 0);
    assert!(world.published("loop_broken").is_empty());
    world.assert_promises();
}

#[test]
fn f23_a_chain_of_causes_is_cut_once() {
    let mut world = World::new(Config::default(), 1);
    let mut cause = world.emit("system_failure", Severity::Critical, "the first");
    for _ in 0..20 {
        cause = world.emit_by("violation", Severity::Critical, "caused", |event| {
            event.cause = Some(cause);
        });
        assert_eq!(world.result(cause), Verdict::SelfLoop);
    }
    assert!(world.reason(cause).contains("in a chain of causes"));
    assert_eq!(world.published("loop_broken").len(), 1);
    assert_eq!(
        world.desk.status().critical,
        2,
        "the first, and that a loop was broken"
    );
}

#[test]
fn f23_digests_that_nobody_sees_are_no_endless_chain() {
    let mut world = World::new(pushing_high(), 1);
    world.emit("violation", Severity::High, "a");
    world.emit("violation", Severity::High, "a");
    let mut seen = 0;
    for _ in 0..8 {
        world.pass(61_000);
        let digests = world.published.iter().filter(|(_, e)| e.kind == "digest");
        let Some((_, digest)) = digests.clone().nth(seen) else {
            continue;
        };
        seen += 1;
        // As a run that was killed right after publishing it leaves it.
        let digest = digest.clone();
        let action = world.desk.accept_left_over(&digest, Tick(world.now));
        assert!(matches!(action, Action::Outcome(_)));
    }
    assert_eq!(world.published("loop_broken").len(), 1);
    let chain: Vec<bool> = world
        .published
        .iter()
        .filter(|(_, e)| e.kind == "digest")
        .map(|(_, e)| e.cause.is_some())
        .collect();
    assert_eq!(chain[..4], [false, true, true, true]);
    assert!(!chain[4], "a new chain begins: {chain:?}");
}

#[test]
fn a_source_that_cries_wolf_is_demoted_once_and_still_counted() {
    let mut world = World::new(Config::default(), 1);
    let claims: Vec<u64> = (0..100)
        .map(|n| {
            world.pass(5_000);
            world.claim("dev", &format!("unit {n}"))
        })
        .collect();
    world.pass(5_000);
    let last = claims[99];
    assert_eq!(world.result(last), Verdict::RateLimited);
    assert!(
        world
            .reason(last)
            .starts_with("dev claimed more than 20 things critical in 10 min"),
        "{}",
        world.reason(last)
    );
    assert_eq!(
        world.desk.status().critical,
        100,
        "the segment counts what is claimed"
    );
    assert_eq!(world.published("source_demoted").len(), 1);
    // Others are believed, and orch's own monitors are not counted at all.
    let other = world.claim("ops", "disk");
    for n in 0..50 {
        world.emit("agent_exited", Severity::Critical, &format!("pane {n}"));
    }
    world.pass(20_000);
    let told = |verdict| matches!(verdict, Verdict::Delivered | Verdict::Coalesced);
    assert!(told(world.result(other)), "{:?}", world.outcomes[&other]);
    assert_eq!(world.published("source_demoted").len(), 1);
    // A restart forgives nothing, a quiet time does.
    world.restart(true, 1_000);
    let again = world.claim("dev", "once more");
    assert_eq!(world.result(again), Verdict::RateLimited);
    world.pass(CLAIM_WINDOW);
    let believed = world.claim("dev", "after a while");
    world.pass(20_000);
    assert!(
        told(world.result(believed)),
        "{:?}",
        world.outcomes[&believed]
    );
    world.assert_promises();
}

#[test]
fn where_high_is_pushed_a_demoted_claim_goes_as_high() {
    let mut world = World::new(pushing_high(), 1);
    for n in 0..25 {
        world.claim("dev", &format!("unit {n}"));
    }
    world.pass(120_000);
    let before = world.desk.lanes(Tick(world.now));
    world.claim("dev", "one more");
    let after = world.desk.lanes(Tick(world.now));
    assert_eq!(after[0].0, before[0].0 + 1, "in the ordinary lane");
    assert_eq!(after[1].0, before[1].0);
}

/// A desk whose pace and lanes let everything through: only the last line is left.
fn without_pace() -> World {
    let config = Config {
        rate_limit: 100_000,
        critical_rate_limit: 100_000,
        source_critical_limit: 100_000,
        ..pushing_high()
    };
    let mut world = World::new(config, 1);
    world.desk.gap = 0;
    world
}

#[test]
fn the_breaker_holds_when_everything_else_has_failed() {
    let mut world = without_pace();
    let mut seqs = Vec::new();
    for n in 0..300 {
        seqs.push(world.emit("violation", Severity::High, &word(n)));
        world.pass(400);
    }
    assert_eq!(world.messages.len(), CEILING, "then it is cut off");
    assert_eq!(world.published("breaker_open").len(), 1);
    let last = *seqs.last().unwrap();
    assert_eq!(world.result(last), Verdict::DestGone);
    assert!(world.reason(last).contains("breaker_open"));
    let status = world.desk.status();
    assert!(status.segment.contains("breaker_open"), "{status:?}");
    let critical = world.emit("system_failure", Severity::Critical, "disk");
    assert_eq!(
        world.result(critical),
        Verdict::Delivered,
        "the segment path works"
    );
    assert_eq!(world.desk.status().newest, Some(critical));
    // A restart does not close it, an acknowledgement does.
    world.restart(false, 1_000);
    world.desk.gap = 0;
    world.emit("violation", Severity::High, "after a restart");
    world.pass(3_000);
    assert_eq!(world.messages.len(), CEILING);
    let said = world
        .published
        .iter()
        .find(|(_, e)| e.kind == "breaker_open");
    let seq = said.unwrap().1.seq;
    assert!(world.desk.acknowledge(seq).0);
    let told = world.emit("violation", Severity::High, "served again");
    world.pass(3_000);
    assert_eq!(world.result(told), Verdict::Delivered);
    world.assert_outcomes();
}

#[test]
fn the_breaker_closes_by_itself_and_cuts_only_one_client() {
    let mut world = without_pace();
    for n in 0..20 {
        world.emit("violation", Severity::High, &word(n));
        world.pass(400);
    }
    assert_eq!(world.messages.len(), CEILING);
    world.seat(2);
    let told = world.emit("violation", Severity::High, "to the other one");
    world.pass(1_000);
    assert_eq!(world.result(told), Verdict::Delivered);
    assert_eq!(world.messages.last().unwrap().1, client(1));
    world.seat(1);
    world.pass(CUT_FOR);
    assert_eq!(world.desk.status().critical, 0, "the condition has ended");
    let told = world.emit("violation", Severity::High, "served again");
    world.pass(1_000);
    assert_eq!(world.result(told), Verdict::Delivered);
    world.assert_outcomes();
}
