//! The faults of floods, by number: equal, different, critical, restarts, absences, clocks.

use super::*;

const MINUTE: i64 = 60_000;

/// Messages in the fullest window of a minute.
fn most_in_a_minute(world: &World) -> usize {
    let at: Vec<i64> = world.messages.iter().map(|(at, ..)| *at).collect();
    let within = |i: usize| at[i..].iter().take_while(|t| **t - at[i] <= MINUTE).count();
    (0..at.len()).map(within).max().unwrap_or(0)
}

#[test]
fn f12_ten_minutes_asleep_are_one_digest_and_no_burst() {
    let mut world = World::new(pushing_high(), 1);
    for n in 0..500 {
        world.emit("violation", Severity::High, &word(n));
    }
    world.emit("system_failure", Severity::Critical, "disk");
    world.pass(5_000);
    let before = world.messages.len();
    world.now += 10 * MINUTE;
    for _ in 0..50 {
        world.tick();
    }
    assert_eq!((world.digests().len(), world.messages.len()), (1, before));
    world.pass(MINUTE);
    assert_eq!(world.messages.len(), before + 1, "{:?}", world.messages);
    assert_eq!(world.digests().len(), 1);
    world.assert_promises();
}

#[test]
fn f18_equal_ones_are_one_message_and_a_count() {
    let mut world = World::new(pushing_high(), 1);
    for _ in 0..2600 {
        world.emit(
            "task_completed",
            Severity::High,
            "Task completed successfully",
        );
    }
    world.pass(3 * MINUTE);
    assert_eq!(world.count(Verdict::Duplicate), 2599);
    assert_eq!((world.messages.len(), world.digests().len()), (2, 1));
    world.assert_promises();
}

#[test]
fn f19_different_ones_stay_under_the_cap() {
    let mut world = World::new(pushing_high(), 1);
    for n in 0..2600 {
        world.emit("violation", Severity::High, &word(n));
        world.pass(100);
        assert!(world.desk.lanes(Tick(world.now))[0].0 <= 10);
    }
    world.pass(2 * MINUTE);
    assert!(most_in_a_minute(&world) <= 6, "a message in 10.3 s");
    world.assert_promises();
}

#[test]
fn f20_the_different_one_is_seen_in_a_storm_of_criticals() {
    let mut world = World::new(Config::default(), 1);
    for n in 0..500 {
        world.claim("cli", &format!("unit {n}"));
    }
    assert_eq!(world.desk.status().critical, 500);
    let other = world.emit_by(
        "credit_exhausted",
        Severity::Critical,
        "no credit",
        |event| {
            event.source = "cli".to_owned();
            event.peer_pid = Some(7);
        },
    );
    let status = world.desk.status();
    assert_eq!((status.critical, status.newest), (501, Some(other)));
    assert!(status.segment.contains("credit_exhausted"), "{status:?}");
    world.pass(2 * MINUTE);
    assert!(world.messages.len() <= 3, "{:?}", world.messages);
    world.assert_promises();
}

#[test]
fn f21_a_critical_behind_ten_thousand() {
    for severity in [Severity::Low, Severity::High] {
        let mut world = World::new(pushing_high(), 1);
        for n in 0..10_000 {
            world.emit("violation", severity, &word(n));
        }
        let critical = world.emit("system_failure", Severity::Critical, "disk");
        assert_eq!(world.desk.status().newest, Some(critical), "at once");
        world.pass(MESSAGE_GAP + 1_000);
        assert_eq!(world.result(critical), Verdict::Delivered);
        let last = &world.messages.last().unwrap().2;
        assert!(last.starts_with("orch: ! system_failure"), "{last}");
    }
}

#[test]
fn f22_after_a_burst_the_count_comes_by_itself() {
    let mut world = World::new(pushing_high(), 1);
    for n in 0..100 {
        world.emit("violation", Severity::High, &word(n));
    }
    let limited = world.count(Verdict::RateLimited);
    world.pass(MINUTE + 15_000);
    let said = format!("{limited} not shown: {limited} over the limit");
    assert!(
        world.digests()[0].1.starts_with(&said),
        "{:?}",
        world.digests()
    );
    assert!(world.messages.last().unwrap().2.contains(&said));
}

#[test]
fn f22_a_digest_has_its_place_even_in_a_flood_that_never_ends() {
    let mut world = World::new(pushing_high(), 1);
    for n in 0..6_000 {
        world.emit("violation", Severity::High, &word(n));
        world.emit("violation", Severity::High, &word(n + 10_000));
        world.pass(100);
    }
    let digests = world.published.iter().filter(|(_, e)| e.kind == "digest");
    let results: Vec<Verdict> = digests.map(|(_, e)| world.result(e.seq)).collect();
    assert!(results.len() >= 9, "one a minute: {results:?}");
    assert!(!results.contains(&Verdict::RateLimited), "{results:?}");
    world.assert_promises();
}

#[test]
fn f24_a_restart_loop_stays_under_every_limit() {
    for clean in [true, false] {
        let mut world = World::new(pushing_high(), 1);
        for n in 0..60 {
            world.emit("system_failure", Severity::Critical, &format!("crash {n}"));
            world.emit("violation", Severity::High, "the same");
            world.emit("violation", Severity::High, &word(n));
            world.restart(clean, 1_900);
            world.pass(100);
        }
        assert!(most_in_a_minute(&world) <= 6, "{:?}", world.messages);
        let about_itself: Vec<_> = world
            .published("system_failure")
            .into_iter()
            .map(|(_, text)| text)
            .collect();
        assert_eq!(
            about_itself,
            ["orch was started 5 times within a minute; `orch logs` may say why"],
            "at most once an hour"
        );
        let the_same = world.messages.iter().filter(|m| m.2.contains("the same"));
        assert!(the_same.count() <= 1, "{:?}", world.messages);
        world.restart(true, 0);
        world.assert_promises();
    }
}

#[test]
fn f25_ten_thousand_left_over_are_one_digest() {
    let mut world = World::new(pushing_high(), 1);
    for seq in 1..=10_000 {
        let left = event(seq, "violation", Severity::High, &word(seq as usize));
        world.open.insert(seq, left);
    }
    world.seq = 10_000;
    world.restart(false, 1_000);
    assert_eq!(world.count(Verdict::Coalesced), 10_000);
    world.pass(5 * MINUTE);
    assert_eq!((world.messages.len(), world.digests().len()), (1, 1));
    assert!(
        world.digests()[0]
            .1
            .starts_with("10000 not shown: 10000 grouped")
    );
    world.assert_promises();
}

#[test]
fn f25_what_was_left_over_is_judged_as_it_was_meant() {
    let mut world = World::new(Config::default(), 0);
    let mut digest = event(1, "digest", Severity::Medium, "5 not shown");
    digest.source = "delivery".to_owned();
    digest.data = Some(serde_json::json!({"held": {"duplicate": 5}, "mutes": ["type=a"]}));
    let mut caused = event(2, "system_failure", Severity::Critical, "echo");
    caused.cause = Some(1);
    for event in [digest, caused, event(3, "bell", Severity::Low, "")] {
        world.open.insert(event.seq, event);
    }
    world.seq = 3;
    world.restart(false, 0);
    assert_eq!(world.result(1), Verdict::Coalesced);
    assert_eq!(world.result(2), Verdict::SelfLoop);
    assert_eq!(world.result(3), Verdict::BelowThreshold);
    assert_eq!(world.desk.status().critical, 0);
    world.seat(1);
    world.pass(2 * MINUTE);
    assert!(
        world.digests()[0]
            .1
            .starts_with("5 not shown: 5 said before")
    );
}

#[test]
fn f29_no_clock_grants_anything_after_a_restart() {
    let hour = 60 * MINUTE;
    for jump in [-hour, -72 * hour, -1_795_353_892_000, 0] {
        let mut world = World::new(pushing_high(), 1);
        world.now = 1_795_353_892_000;
        let mut told = 0;
        for n in 0..30 {
            world.emit("violation", Severity::High, &word(n));
            world.emit("system_failure", Severity::Critical, &word(n));
            world.pass(400);
            world.restart(true, if n == 10 { jump } else { 100 });
            told = told.max(world.messages.len());
        }
        assert!(told <= 2, "15 s: {:?}", world.messages);
        let lanes = world.desk.lanes(Tick(world.now));
        assert!(lanes.iter().all(|(used, _)| *used <= 10), "{lanes:?}");
        world.pass(MINUTE);
        assert!(most_in_a_minute(&world) <= 6);
    }
}

#[test]
fn f38_clearing_during_load_drops_what_waits_and_nothing_else() {
    let mut world = World::new(pushing_high(), 1);
    world.emit("violation", Severity::High, "shown before");
    world.pass(1_000);
    let waits: Vec<u64> = (0..3)
        .map(|n| world.emit("violation", Severity::High, &word(n)))
        .collect();
    let actions = world.desk.clear();
    assert_eq!(actions.len(), 3);
    world.carry_out(actions);
    for seq in waits {
        assert_eq!(world.result(seq), Verdict::Cleared);
    }
    assert!(world.desk.clear().is_empty());
    world.pass(MESSAGE_GAP);
    assert_eq!(world.messages.len(), 1);
    world.assert_promises();
}

#[test]
fn f38_what_is_on_its_way_keeps_its_own_outcome() {
    let mut desk = Desk::new(Config::default());
    desk.set_clients(vec![client(1)], Tick(0));
    let critical = |seq| event(seq, "system_failure", Severity::Critical, &seq.to_string());
    desk.accept(&critical(1), String::new(), Tick(0));
    assert!(matches!(desk.tick(Tick(500))[..], [Action::Show { .. }]));
    desk.accept(&critical(2), String::new(), Tick(600));
    let cleared = desk.clear();
    assert!(
        matches!(&cleared[..], [Action::Outcome(o)] if (o.of, o.result) == (2, Verdict::Cleared))
    );
    let actions = desk.shown(&[(client(1), None)], Tick(700));
    let delivered = |action: &Action| matches!(action, Action::Outcome(o) if (o.of, o.result) == (1, Verdict::Delivered));
    assert_eq!(
        actions.iter().filter(|a| delivered(a)).count(),
        1,
        "{actions:?}"
    );
}

#[test]
fn f24_where_no_run_lasts_the_count_and_the_critical_come_all_the_same() {
    for clean in [true, false] {
        let mut world = World::new(pushing_high(), 1);
        for n in 0..60 {
            world.emit("violation", Severity::High, "the same");
            if n == 20 {
                world.emit("system_failure", Severity::Critical, "disk");
            }
            world.pass(1_400);
            world.restart(clean, 600);
        }
        let texts: Vec<&str> = world.messages.iter().map(|m| m.2.as_str()).collect();
        let failures = texts.iter().filter(|t| t.contains("system_failure"));
        assert!(
            failures.count() >= 2,
            "disk, and that orch starts over and over: {texts:?}"
        );
        assert!(texts.iter().any(|t| t.contains("said before")), "{texts:?}");
        let places = world.desk.lanes(Tick(world.now));
        assert!(places[1].0 <= 3, "no place is lost to a stop: {places:?}");
    }
}

#[test]
fn a_lost_memory_grants_no_burst() {
    let mut world = World::new(pushing_high(), 1);
    world.desk.assume_spent(Tick(0));
    for n in 0..20 {
        world.emit("violation", Severity::High, &word(n));
        world.emit("system_failure", Severity::Critical, &word(n));
        world.pass(3_000);
    }
    assert_eq!(world.messages, []);
    assert_eq!(world.desk.status().critical, 20, "the segment works");
    world.emit("violation", Severity::High, "later");
    world.pass(2_000);
    assert_eq!(world.messages.len(), 1);
}

#[test]
fn with_nobody_there_digests_do_not_pile_up() {
    let mut world = World::new(pushing_high(), 0);
    for n in 0..500 {
        world.emit("violation", Severity::High, "the same");
        world.emit("violation", Severity::High, &word(n));
        world.pass(MINUTE / 10);
    }
    assert!(world.digests().is_empty());
    world.seat(1);
    world.pass(2 * MINUTE);
    assert_eq!(world.digests().len(), 1, "{:?}", world.digests());
    world.assert_promises();
}

#[test]
fn a_message_that_gave_way_says_how_long_it_stood() {
    let mut world = World::new(Config::default(), 1);
    let first = world.emit("system_failure", Severity::Critical, "first");
    world.pass(500);
    assert_eq!(world.messages.len(), 1);
    world.pass(120);
    let second = world.emit("system_failure", Severity::Critical, "second");
    let said: Vec<_> = world
        .receipts
        .iter()
        .map(|r| (r.of, r.result.as_str()))
        .collect();
    assert_eq!(said, [(first, "shown"), (first, "gave_way")]);
    let reason = format!("stood for 120 ms, then gave way to {second}");
    assert_eq!(world.receipts[1].reason, reason);
    assert_eq!(world.result(first), Verdict::Delivered);
    world.assert_promises();
}
