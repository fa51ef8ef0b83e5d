//! Mutes at the desk: what they cover, what they hold back, what comes after them.

use super::*;

const HOUR: i64 = 60 * 60_000;

fn mute(world: &mut World, terms: &str, milliseconds: i64) -> u64 {
    let filter = Filter::parse(&[terms]).unwrap();
    let (mute, actions) = world
        .desk
        .mute(filter, milliseconds, Tick(world.now))
        .unwrap();
    world.carry_out(actions);
    mute.id
}

#[test]
fn a_muted_event_says_by_what_and_until_when() {
    let mut world = World::new(pushing_high(), 1);
    mute(&mut world, "type=violation source=de*", 2 * HOUR);
    let seq = world.emit("violation", Severity::High, "x");
    assert_eq!(world.result(seq), Verdict::Muted);
    assert_eq!(
        world.reason(seq),
        "mute 1 (type=violation source=de*) holds until 2026-11-22 15:24:52"
    );
    let below = world.emit("violation", Severity::Low, "x");
    assert_eq!(
        world.result(below),
        Verdict::BelowThreshold,
        "it would not be told anyway"
    );
    let other = world.emit("git_violation", Severity::High, "x");
    world.pass(3_000);
    assert_eq!(world.result(other), Verdict::Delivered);
    assert_eq!(world.desk.mutes()[0].held, 1);
    world.assert_promises();
}

#[test]
fn a_muted_critical_is_not_in_the_segment_until_the_mute_ends() {
    let mut world = World::new(Config::default(), 1);
    let before = world.emit("agent_blocked", Severity::Critical, "before");
    world.pass(30_000);
    mute(&mut world, "type=agent_*", 10 * 60_000);
    assert_eq!(
        world.desk.status(),
        Status::default(),
        "what stood is hidden too"
    );
    let held = world.emit("agent_blocked", Severity::Critical, "meanwhile");
    let failed = world.emit("agent_error", Severity::Critical, "gone");
    assert_eq!(world.result(held), Verdict::Muted);
    assert_eq!(world.desk.status(), Status::default());
    world.pass(9 * 60_000);
    assert_eq!(
        world.messages.len(),
        1,
        "no repeat either: {:?}",
        world.messages
    );
    world.pass(60_000);
    let status = world.desk.status();
    assert_eq!((status.critical, status.newest), (3, Some(failed)));
    world.pass(2 * 60_000);
    let texts: Vec<&str> = world.messages.iter().map(|m| m.2.as_str()).collect();
    assert!(texts[1].contains("still: agent_error"), "{texts:?}");
    assert!(
        texts[1].contains("(+2 more, 2 of them critical)"),
        "{texts:?}"
    );
    assert!(
        texts[2].contains("2 not shown: 2 muted (type=agent_*)"),
        "{texts:?}"
    );
    assert_eq!(texts.len(), 3, "{texts:?}");
    let again = world.emit("agent_blocked", Severity::Critical, "meanwhile");
    assert_eq!(
        world.result(again),
        Verdict::Duplicate,
        "{before} and it were told by now"
    );
    world.assert_promises();
}

#[test]
fn many_conditions_under_a_mute_do_not_become_many_messages() {
    let mut world = World::new(Config::default(), 1);
    let id = mute(&mut world, "type=*", HOUR);
    for n in 0..1_000 {
        world.emit("system_failure", Severity::Critical, &n.to_string());
    }
    world.pass(60_000);
    let (ended, shown_again) = world.desk.unmute(&Which::Id(id), Tick(world.now));
    assert_eq!((ended[0].held, shown_again), (1_000, 1_000));
    assert_eq!(world.desk.status().critical, 1_000);
    world.pass(4 * 60_000);
    assert_eq!(
        world.messages.len(),
        2,
        "the newest three in one, and the count: {:?}",
        world.messages
    );
    world.assert_promises();
}

#[test]
fn what_waits_is_muted_too() {
    let mut world = World::new(pushing_high(), 0);
    let waits = world.emit("violation", Severity::High, "x");
    let other = world.emit("git_violation", Severity::High, "x");
    mute(&mut world, "type=violation", HOUR);
    assert_eq!(world.result(waits), Verdict::Muted);
    assert_eq!(world.desk.mutes()[0].held, 1);
    assert!(world.open.contains_key(&other));
}

#[test]
fn mutes_survive_restarts_and_end_on_time() {
    let mut world = World::new(pushing_high(), 1);
    mute(&mut world, "type=violation", 60_000);
    world.emit("violation", Severity::High, "a");
    for clean in [true, false] {
        world.restart(clean, 10_000);
        let seq = world.emit("violation", Severity::High, "b");
        assert_eq!(world.result(seq), Verdict::Muted);
    }
    world.restart(false, 41_000);
    world.tick();
    assert!(world.desk.mutes().is_empty());
    let told = world.emit("violation", Severity::High, "b");
    world.pass(2 * 60_000);
    assert_eq!(world.result(told), Verdict::Delivered);
    assert!(
        world.digests()[0].1.contains("3 muted (type=violation)"),
        "{:?}",
        world.digests()
    );
}

#[test]
fn what_orch_says_of_itself_needs_its_exact_name() {
    let mut world = World::new(Config::default(), 1);
    mute(&mut world, "type=*", HOUR);
    let lost = world.emit("tmux_lost", Severity::Critical, "gone");
    world.pass(3_000);
    assert_eq!(world.result(lost), Verdict::Delivered);
    mute(&mut world, "type=disk_full", HOUR);
    let full = world.emit("disk_full", Severity::Critical, "full");
    assert_eq!(world.result(full), Verdict::Muted);
}
