//! The desk under floods, absences and restarts, on a clock of its own.

use std::collections::BTreeMap;

use super::super::fingerprint::tests::event;
use super::super::*;
use super::*;
use crate::event::Event;
use crate::tmux::client::SendError;
use crate::tmux::id::ClientName;

fn client(n: usize) -> ClientName {
    ClientName(format!("/dev/pts/{n}"))
}

fn pushing_high() -> Config {
    Config {
        threshold: Severity::High,
        ..Config::default()
    }
}

/// A desk with its surroundings: shows succeed at once, digests come back as events.
struct World {
    desk: Desk,
    now: i64,
    seq: u64,
    outcomes: BTreeMap<u64, Vec<Verdict>>,
    messages: Vec<(i64, ClientName, String)>,
    digests: Vec<(i64, String)>,
    uncovered: Vec<i64>,
}

impl World {
    fn new(config: Config, clients: usize) -> Self {
        let mut desk = Desk::new(config);
        desk.set_clients((0..clients).map(client).collect(), Tick(0));
        Self {
            desk,
            now: 0,
            seq: 0,
            outcomes: BTreeMap::new(),
            messages: Vec::new(),
            digests: Vec::new(),
            uncovered: Vec::new(),
        }
    }

    fn emit(&mut self, kind: &str, severity: Severity, message: &str) -> u64 {
        self.seq += 1;
        let event = event(self.seq, kind, severity, message);
        self.accept(&event);
        event.seq
    }

    fn accept(&mut self, event: &Event) {
        let actions = self.desk.accept(event, String::new(), Tick(self.now));
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Outcome(outcome) => self
                    .outcomes
                    .entry(outcome.of)
                    .or_default()
                    .push(outcome.result),
                Action::Receipt(_) => {}
                Action::Uncover(clients) => self.uncovered.extend(clients.iter().map(|_| self.now)),
                Action::Publish(draft) => {
                    self.digests.push((self.now, draft.message.clone()));
                    self.seq += 1;
                    let event =
                        draft.accept(self.seq, "2026-11-22T13:24:52+01:00".parse().unwrap());
                    self.accept(&event);
                }
                Action::Show { clients, text } => {
                    for client in &clients {
                        self.messages
                            .push((self.now, client.clone(), text.as_str().to_owned()));
                    }
                    let results: Vec<_> =
                        clients.into_iter().map(|client| (client, None)).collect();
                    let actions = self.desk.shown(&results, Tick(self.now));
                    self.carry_out(actions);
                }
            }
        }
    }

    fn pass(&mut self, milliseconds: i64) {
        let end = self.now + milliseconds;
        while self.now < end {
            self.now = (self.now + 250).min(end);
            let actions = self.desk.tick(Tick(self.now));
            self.carry_out(actions);
        }
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.outcomes
            .values()
            .filter(|v| v[..] == [verdict])
            .count()
    }

    fn assert_promises(&self) {
        assert!(
            self.outcomes.values().all(|v| v.len() == 1),
            "one outcome each"
        );
        for (at, client, _) in &self.messages {
            let near = self
                .messages
                .iter()
                .filter(|(t, c, _)| c == client && (0..MESSAGE_GAP).contains(&(t - at)));
            assert_eq!(near.count(), 1, "at most one message per client in 10 s");
        }
        for (at, _) in &self.digests {
            let near = self
                .digests
                .iter()
                .filter(|(t, _)| (0..60_000).contains(&(t - at)));
            assert_eq!(near.count(), 1, "at most one digest in 60 s");
        }
    }
}

#[test]
fn the_flood_that_orch_exists_for() {
    let mut world = World::new(pushing_high(), 2);
    for n in 0..2600 {
        world.emit(
            "task_completed",
            Severity::High,
            "Task completed successfully",
        );
        if n % 100 == 0 {
            world.pass(1_000);
        }
    }
    world.pass(120_000);
    assert_eq!(
        (
            world.count(Verdict::Delivered),
            world.count(Verdict::Duplicate)
        ),
        (1 + world.digests.len(), 2599)
    );
    assert_eq!(world.digests.len(), 1);
    assert!(
        world.digests[0]
            .1
            .starts_with("2599 not shown: 2599 said before"),
        "{:?}",
        world.digests
    );
    world.assert_promises();
}

#[test]
fn different_texts_meet_the_lane_and_silence_is_followed_by_a_count() {
    let mut world = World::new(pushing_high(), 1);
    for n in 0..2600u32 {
        let text: String = n
            .to_string()
            .bytes()
            .map(|b| char::from(b - b'0' + b'a'))
            .collect();
        world.emit("violation", Severity::High, &text);
        world.pass(25);
    }
    let sent = world.now;
    world.pass(70_000);
    assert!(
        world.digests.iter().any(|(at, _)| *at > sent),
        "by a timer, not by the next event"
    );
    let told = world.count(Verdict::Delivered) + world.count(Verdict::Coalesced);
    assert!(told <= 22, "ten in a window of 60 s, over 135 s: {told}");
    assert!(world.count(Verdict::RateLimited) > 2500);
    world.assert_promises();
}

#[test]
fn a_critical_is_told_whatever_else_there_is() {
    let mut world = World::new(pushing_high(), 1);
    world.pass(MESSAGE_GAP);
    for n in 0..10_000 {
        world.emit(
            "violation",
            Severity::High,
            &format!("{n:b}").replace('0', "a").replace('1', "b"),
        );
    }
    let before = world.messages.len();
    let critical = world.emit("system_failure", Severity::Critical, "disk");
    assert_eq!(world.desk.status().critical, 1);
    world.pass(MESSAGE_GAP);
    assert_eq!(world.outcomes[&critical], [Verdict::Delivered]);
    assert!(
        world.messages[before].2.contains("system_failure"),
        "{:?}",
        world.messages
    );
    world.assert_promises();
}

#[test]
fn criticals_over_the_limit_are_counted_in_the_segment() {
    let mut world = World::new(Config::default(), 1);
    for n in 0..50 {
        world.emit("system_failure", Severity::Critical, &format!("unit {n}"));
    }
    assert_eq!(world.desk.status().critical, 50);
    assert_eq!(
        world.count(Verdict::RateLimited),
        46,
        "the lane's burst is four"
    );
    world.pass(60_000);
    world.assert_promises();
    world.emit("system_failure", Severity::Critical, "unit 0");
    assert_eq!(
        world.desk.status().critical,
        50,
        "said again, it still is the same"
    );
}

#[test]
fn with_nobody_attached_it_waits_and_comes_as_one() {
    let mut world = World::new(Config::default(), 0);
    for n in 0..4 {
        world.emit("system_failure", Severity::Critical, &format!("unit {n}"));
    }
    world.pass(30_000);
    assert!(world.messages.is_empty() && world.outcomes.is_empty());
    let actions = world.desk.set_clients(vec![client(7)], Tick(world.now));
    world.carry_out(actions);
    assert_eq!(world.messages.len(), 1);
    assert!(
        world.messages[0]
            .2
            .contains("(+3 more, 3 of them critical)"),
        "{:?}",
        world.messages
    );
    assert_eq!(
        (
            world.count(Verdict::Delivered),
            world.count(Verdict::Coalesced)
        ),
        (1, 3)
    );
}

#[test]
fn a_message_that_nobody_got_waits_on() {
    let mut desk = Desk::new(Config::default());
    desk.set_clients(vec![client(1)], Tick(0));
    let event = event(1, "system_failure", Severity::Critical, "x");
    let alone = desk.accept(&event, String::new(), Tick(0));
    assert!(alone.is_empty(), "the segment has it alone first");
    assert!(matches!(desk.tick(Tick(500))[..], [Action::Show { .. }]));
    let actions = desk.shown(
        &[(client(1), Some(SendError::Refused("gone".into())))],
        Tick(0),
    );
    assert!(matches!(&actions[..], [Action::Receipt(r)] if r.result == "failed"));
    assert_eq!(desk.waiting(), 1);
    desk.set_clients(vec![], Tick(501));
    let next = desk.set_clients(vec![client(2)], Tick(502));
    assert!(matches!(next[..], [Action::Show { .. }]));
}

#[test]
fn a_restart_loop_stays_under_every_limit() {
    let mut world = World::new(Config::default(), 1);
    for n in 0..60 {
        world.emit("system_failure", Severity::Critical, &format!("crash {n}"));
        let actions = world.desk.close(Tick(world.now));
        world.carry_out(actions);
        let memory = serde_json::to_string(&world.desk.memory()).unwrap();
        world.desk = Desk::new(Config::default());
        world.now += 2_000;
        world
            .desk
            .restore(serde_json::from_str(&memory).unwrap(), Tick(world.now));
        let actions = world.desk.set_clients(vec![client(0)], Tick(world.now));
        world.carry_out(actions);
        world.pass(100);
    }
    world.assert_promises();
    assert!(world.messages.len() <= 14, "{}", world.messages.len());
}

#[test]
fn what_a_run_left_over_becomes_one_digest() {
    let mut world = World::new(pushing_high(), 1);
    for seq in 1..=10_000 {
        let left = event(seq, "violation", Severity::High, &seq.to_string());
        let action = world.desk.accept_left_over(&left, Tick(0));
        world.carry_out(vec![action]);
    }
    world.seq = 10_000;
    world.pass(130_000);
    assert_eq!((world.messages.len(), world.digests.len()), (1, 1));
    assert!(world.digests[0].1.starts_with("10000 not shown"));
}

#[test]
fn repeats_come_by_timer_and_add_no_outcome() {
    let mut world = World::new(Config::default(), 1);
    world.emit("system_failure", Severity::Critical, "disk");
    world.pass(5 * 60_000 - 1_000);
    assert_eq!(world.messages.len(), 1);
    world.pass(3_000);
    assert_eq!(world.messages.len(), 2);
    assert!(
        world.messages[1].2.contains("still: system_failure"),
        "{:?}",
        world.messages[1]
    );
    world.assert_promises();
}

#[test]
fn a_message_does_not_hide_what_is_more_urgent() {
    let mut world = World::new(Config::default(), 1);
    world.emit("system_failure", Severity::Critical, "first");
    world.pass(1_000);
    assert_eq!((world.messages.len(), world.uncovered.len()), (1, 0));
    world.emit("system_failure", Severity::Critical, "first");
    assert_eq!(world.uncovered.len(), 0, "it is in the segment already");
    world.emit("system_failure", Severity::Critical, "second");
    assert_eq!(world.uncovered.len(), 1);
    world.emit("system_failure", Severity::Critical, "third");
    assert_eq!(
        world.uncovered.len(),
        1,
        "once for a message, however many come"
    );
    world.pass(1_500);
    world.emit("system_failure", Severity::Critical, "fourth");
    assert_eq!(world.uncovered.len(), 1, "the message is gone by itself");
    world.assert_promises();
}

#[test]
fn clearing_and_acknowledging() {
    let mut world = World::new(Config::default(), 0);
    let seq = world.emit("system_failure", Severity::Critical, "disk");
    let actions = world.desk.clear();
    world.carry_out(actions);
    assert_eq!(world.outcomes[&seq], [Verdict::Cleared]);
    assert_eq!(
        world.desk.status().critical,
        1,
        "what waits is dropped, what holds is not"
    );
    assert!(world.desk.acknowledge(seq) && !world.desk.acknowledge(seq));
    assert_eq!(world.desk.status(), Status::default());
    let again = world.emit("system_failure", Severity::Critical, "disk");
    assert_eq!(world.outcomes[&again], [Verdict::Acknowledged]);
    world.emit("system_failure", Severity::Critical, "another disk");
    assert_eq!(world.desk.status().critical, 1, "what differs is news");
}

#[test]
fn without_messages_the_segment_is_the_destination() {
    let mut world = World::new(
        Config {
            messages: false,
            ..pushing_high()
        },
        1,
    );
    let critical = world.emit("system_failure", Severity::Critical, "disk");
    let high = world.emit("violation", Severity::High, "x");
    assert_eq!(world.outcomes[&critical], [Verdict::Delivered]);
    assert_eq!(world.outcomes[&high], [Verdict::DestGone]);
}

#[test]
fn what_stood_open_when_a_run_died_stands_open_again() {
    let mut world = World::new(Config::default(), 0);
    let left = event(1, "system_failure", Severity::Critical, "disk");
    let action = world.desk.accept_left_over(&left, Tick(0));
    world.carry_out(vec![action]);
    assert_eq!(world.outcomes[&1], [Verdict::Coalesced]);
    assert_eq!(world.desk.status().critical, 1);
}

#[test]
fn another_tmux_server_has_other_panes() {
    let mut world = World::new(Config::default(), 1);
    let mut seq = 0;
    let mut attach = |world: &mut World, pid: u32| {
        seq += 1_000;
        let mut attached = event(seq, "tmux_attached", Severity::Medium, "");
        attached.data = Some(serde_json::json!({"server": {"pid": pid, "start": 1}}));
        world.accept(&attached);
    };
    let blocked = |seq| {
        let mut blocked = event(seq, "agent_blocked", Severity::Critical, "may I?");
        blocked.pane = Some(crate::tmux::PaneId(0));
        blocked
    };
    attach(&mut world, 7);
    world.accept(&blocked(1));
    world.pass(MESSAGE_GAP);
    attach(&mut world, 7);
    assert_eq!(
        world.desk.status().critical,
        1,
        "a mere reconnection ends nothing"
    );
    attach(&mut world, 8);
    assert_eq!(world.desk.status().critical, 0);
    world.accept(&blocked(2));
    world.pass(MESSAGE_GAP);
    assert_eq!(
        world.outcomes[&2],
        [Verdict::Delivered],
        "another pane of the same number"
    );
}

#[test]
fn what_was_dropped_unseen_is_news_when_it_comes_again() {
    let mut world = World::new(Config::default(), 0);
    let first = world.emit("system_failure", Severity::Critical, "disk");
    let actions = world.desk.clear();
    world.carry_out(actions);
    world.emit("system_failure", Severity::Critical, "disk");
    assert_eq!(
        (world.desk.waiting(), &world.outcomes[&first][..]),
        (1, &[Verdict::Cleared][..])
    );
}

#[test]
fn what_tmux_did_not_confirm_is_not_shown_twice() {
    let mut desk = Desk::new(Config::default());
    desk.set_clients(vec![client(1)], Tick(0));
    let event = event(1, "system_failure", Severity::Critical, "x");
    desk.accept(&event, String::new(), Tick(0));
    desk.tick(Tick(500));
    let actions = desk.shown(&[(client(1), Some(SendError::Timeout))], Tick(5_500));
    assert!(
        matches!(&actions[..], [Action::Receipt(r), Action::Outcome(_)] if r.result == "unconfirmed")
    );
    assert_eq!(desk.waiting(), 0);
}

#[test]
fn a_message_on_its_way_is_taken_off_once_it_is_there() {
    let mut desk = Desk::new(Config::default());
    desk.set_clients(vec![client(1)], Tick(0));
    desk.accept(
        &event(1, "system_failure", Severity::Critical, "a"),
        String::new(),
        Tick(0),
    );
    assert!(matches!(desk.tick(Tick(500))[..], [Action::Show { .. }]));
    // Before tmux has confirmed it, taking it off would come too early and leave it standing.
    let early = desk.accept(
        &event(2, "system_failure", Severity::Critical, "b"),
        String::new(),
        Tick(501),
    );
    assert!(
        !early
            .iter()
            .any(|action| matches!(action, Action::Uncover(_))),
        "{early:?}"
    );
    let actions = desk.shown(&[(client(1), None)], Tick(505));
    assert_eq!(
        actions
            .iter()
            .filter(|action| matches!(action, Action::Uncover(_)))
            .count(),
        1
    );
    let next = desk.accept(
        &event(3, "system_failure", Severity::Critical, "c"),
        String::new(),
        Tick(510),
    );
    assert!(
        !next
            .iter()
            .any(|action| matches!(action, Action::Uncover(_))),
        "{next:?}"
    );
}
