//! The desk under floods, absences and restarts, on a clock of its own.

mod limits;
mod mutes;
mod properties;
mod soak;
mod trouble;

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

/// A number in words without digits.
fn word(n: usize) -> String {
    let letter = |b: u8| char::from(b - b'0' + b'a');
    n.to_string().bytes().map(letter).collect()
}

/// A desk with its surroundings: shows succeed at once, what it publishes comes back as events.
struct World {
    desk: Desk,
    config: Config,
    clients: usize,
    now: i64,
    seq: u64,
    /// Events without an outcome yet.
    open: BTreeMap<u64, Event>,
    outcomes: BTreeMap<u64, Vec<(Verdict, String)>>,
    messages: Vec<(i64, ClientName, String)>,
    published: Vec<(i64, Event)>,
    receipts: Vec<Receipt>,
    uncovered: Vec<i64>,
    /// Every action, for comparisons.
    log: Option<Vec<Action>>,
}

impl World {
    fn new(config: Config, clients: usize) -> Self {
        let mut desk = Desk::new(config.clone());
        desk.set_clients((0..clients).map(client).collect(), Tick(0));
        Self {
            desk,
            config,
            clients,
            now: 0,
            seq: 0,
            open: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            messages: Vec::new(),
            published: Vec::new(),
            receipts: Vec::new(),
            uncovered: Vec::new(),
            log: None,
        }
    }

    fn emit(&mut self, kind: &str, severity: Severity, message: &str) -> u64 {
        self.emit_by(kind, severity, message, |_| {})
    }

    /// What a producer claims over the socket.
    fn claim(&mut self, source: &str, message: &str) -> u64 {
        self.emit_by("system_failure", Severity::Critical, message, |event| {
            event.source = source.to_owned();
            event.peer_pid = Some(7);
        })
    }

    fn emit_by(
        &mut self,
        kind: &str,
        severity: Severity,
        message: &str,
        more: impl Fn(&mut Event),
    ) -> u64 {
        self.seq += 1;
        let mut event = event(self.seq, kind, severity, message);
        more(&mut event);
        self.accept(&event);
        event.seq
    }

    fn accept(&mut self, event: &Event) {
        self.open.insert(event.seq, event.clone());
        let actions = self.desk.accept(event, String::new(), Tick(self.now));
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            if let Some(log) = &mut self.log {
                log.push(action.clone());
            }
            match action {
                Action::Outcome(outcome) => {
                    let open = self.open.remove(&outcome.of);
                    assert!(open.is_some(), "one outcome each: {outcome:?}");
                    let of = self.outcomes.entry(outcome.of).or_default();
                    of.push((outcome.result, outcome.reason));
                }
                Action::Receipt(receipt) => self.receipts.push(receipt),
                Action::Uncover(clients) => self.uncovered.extend(clients.iter().map(|_| self.now)),
                Action::Publish(draft) => {
                    self.seq += 1;
                    let event =
                        draft.accept(self.seq, "2026-11-22T13:24:52+01:00".parse().unwrap());
                    self.published.push((self.now, event.clone()));
                    self.accept(&event);
                }
                Action::Show { clients, text } => {
                    let (clients, refused) = self.desk.let_out(clients, Tick(self.now));
                    self.carry_out(refused);
                    if clients.is_empty() {
                        continue;
                    }
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
            self.tick();
        }
    }

    fn tick(&mut self) {
        let actions = self.desk.tick(Tick(self.now));
        self.carry_out(actions);
    }

    fn seat(&mut self, clients: usize) {
        self.clients = clients;
        let names = (0..clients).map(client).collect();
        let actions = self.desk.set_clients(names, Tick(self.now));
        self.carry_out(actions);
    }

    /// A stop, or a kill, and the next run `absent` ms later on the clock (which may have gone back).
    fn restart(&mut self, clean: bool, absent: i64) {
        if clean {
            let actions = self.desk.close(Tick(self.now));
            self.carry_out(actions);
        }
        let memory = serde_json::to_string(&self.desk.memory()).unwrap();
        self.now += absent;
        self.desk = Desk::new(self.config.clone());
        let memory = serde_json::from_str(&memory).unwrap();
        self.desk.restore(memory, Tick(self.now));
        for event in self.open.clone().into_values() {
            let action = self.desk.accept_left_over(&event, Tick(self.now));
            self.carry_out(vec![action]);
        }
        let actions = self.desk.started(Tick(self.now));
        self.carry_out(actions);
        self.seat(self.clients);
    }

    fn result(&self, seq: u64) -> Verdict {
        self.outcomes[&seq][0].0
    }

    fn reason(&self, seq: u64) -> &str {
        &self.outcomes[&seq][0].1
    }

    fn count(&self, verdict: Verdict) -> usize {
        let is_it = |of: &&Vec<(Verdict, String)>| of.iter().map(|o| o.0).eq([verdict]);
        self.outcomes.values().filter(is_it).count()
    }

    fn published(&self, kind: &str) -> Vec<(i64, &str)> {
        let of_kind = self.published.iter().filter(|(_, e)| e.kind == kind);
        of_kind.map(|(at, e)| (*at, e.message.as_str())).collect()
    }

    fn digests(&self) -> Vec<(i64, &str)> {
        self.published("digest")
    }

    fn assert_outcomes(&self) {
        for (seq, outcomes) in &self.outcomes {
            assert!(
                outcomes.len() == 1 && outcomes[0].1.len() > 10,
                "{seq}: {outcomes:?}"
            );
        }
    }

    fn assert_promises(&self) {
        self.assert_outcomes();
        for (at, client, _) in &self.messages {
            let near = self
                .messages
                .iter()
                .filter(|(t, c, _)| c == client && (0..MESSAGE_GAP).contains(&(t - at)));
            assert_eq!(near.count(), 1, "at most one message per client in 10 s");
        }
        let digests = self.digests();
        for (at, _) in &digests {
            let near = digests
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
        (1 + world.digests().len(), 2599)
    );
    assert_eq!(world.digests().len(), 1);
    assert!(
        world.digests()[0]
            .1
            .starts_with("2599 not shown: 2599 said before"),
        "{:?}",
        world.digests()
    );
    world.assert_promises();
}

#[test]
fn different_texts_meet_the_lane_and_silence_is_followed_by_a_count() {
    let mut world = World::new(pushing_high(), 1);
    for n in 0..2600 {
        world.emit("violation", Severity::High, &word(n));
        world.pass(25);
    }
    let sent = world.now;
    world.pass(70_000);
    assert!(
        world.digests().iter().any(|(at, _)| *at > sent),
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
    assert_eq!(world.result(critical), Verdict::Delivered);
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
fn repeats_come_by_timer_and_add_no_outcome() {
    let mut world = World::new(Config::default(), 1);
    world.emit("system_failure", Severity::Critical, "disk");
    world.pass(5 * 60_000 - 1_000);
    assert_eq!(world.messages.len(), 1);
    world.pass(3_000);
    assert_eq!(world.messages.len(), 2);
    assert!(
        world.messages[1].2.contains("still: system_failure: disk"),
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
    assert_eq!(world.result(seq), Verdict::Cleared);
    assert_eq!(
        world.desk.status().critical,
        1,
        "what waits is dropped, what holds is not"
    );
    assert!(world.desk.acknowledge(seq).0 && !world.desk.acknowledge(seq).0);
    assert_eq!(world.desk.status(), Status::default());
    let again = world.emit("system_failure", Severity::Critical, "disk");
    assert_eq!(world.result(again), Verdict::Acknowledged);
    world.emit("system_failure", Severity::Critical, "another disk");
    assert_eq!(world.desk.status().critical, 1, "what differs is news");
}

#[test]
fn what_somebody_has_seen_to_is_not_shown_any_more() {
    let mut world = World::new(Config::default(), 0);
    let seq = world.emit("system_failure", Severity::Critical, "disk");
    let other = world.emit("system_failure", Severity::Critical, "other disk");
    let (known, actions) = world.desk.acknowledge(seq);
    world.carry_out(actions);
    assert!(known);
    assert_eq!(world.result(seq), Verdict::Acknowledged);
    let client = ClientName("/dev/pts/1".to_owned());
    let actions = world.desk.set_clients(vec![client], Tick(world.now));
    world.carry_out(actions);
    world.pass(1_000);
    assert_eq!(world.result(other), Verdict::Delivered);
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
    assert_eq!(world.result(critical), Verdict::Delivered);
    assert_eq!(world.result(high), Verdict::DestGone);
}

#[test]
fn what_stood_open_when_a_run_died_stands_open_again() {
    let mut world = World::new(Config::default(), 0);
    let left = event(1, "system_failure", Severity::Critical, "disk");
    world.open.insert(1, left);
    world.seq = 1;
    world.restart(false, 0);
    assert_eq!(world.result(1), Verdict::Coalesced);
    assert_eq!(world.desk.status().critical, 1);
}

fn in_pane(seq: u64, kind: &str, severity: Severity) -> Event {
    let mut event = event(seq, kind, severity, "may I?");
    event.pane = Some(crate::tmux::PaneId(0));
    event
}

#[test]
fn what_ended_before_a_run_died_does_not_stand_open_again() {
    let mut world = World::new(Config::default(), 0);
    world.accept(&in_pane(1, "agent_blocked", Severity::Critical));
    assert!(!world.desk.take_ended());
    world.accept(&in_pane(2, "agent_working", Severity::Low));
    assert!(
        world.desk.take_ended(),
        "to be saved before its outcome, which keeps it from the next run"
    );
    world.accept(&in_pane(3, "agent_working", Severity::Low));
    assert!(!world.desk.take_ended(), "nothing was left to end");
    world.seq = 3;
    // Only what waits is left over, as the events that ended it have their outcomes.
    world.restart(false, 0);
    assert_eq!(world.desk.status().critical, 0);
    assert_eq!(world.result(1), Verdict::Coalesced);

    // What came after the memory was saved was never met.
    let late = in_pane(4, "agent_blocked", Severity::Critical);
    world.open.insert(4, late);
    world.restart(false, 0);
    assert_eq!(world.desk.status().critical, 1);
    // And one that ended something before another began does not end that one.
    let mut world = World::new(Config::default(), 0);
    world.accept(&in_pane(1, "agent_working", Severity::Low));
    world.accept(&in_pane(2, "agent_blocked", Severity::Critical));
    world
        .open
        .insert(1, in_pane(1, "agent_working", Severity::Low));
    world.outcomes.remove(&1);
    world.restart(false, 0);
    assert_eq!(world.desk.status().critical, 1);
}

#[test]
fn a_new_journal_numbers_anew() {
    let mut world = World::new(Config::default(), 0);
    world.accept(&in_pane(900, "agent_blocked", Severity::Critical));
    world.desk.renumber();
    assert_eq!(world.desk.decided(), 0);
    let left = event(1, "system_failure", Severity::Critical, "disk");
    world.open.insert(1, left);
    world.restart(false, 0);
    assert_eq!(world.desk.status().critical, 2);
}

#[test]
fn what_still_holds_is_shown_and_repeated_as_long_as_it_does() {
    let mut world = World::new(Config::default(), 1);
    world.desk.set_panes([crate::tmux::PaneId(0)].into());
    world.accept(&in_pane(1, "agent_blocked", Severity::Critical));
    world.pass(201 * 60_000);
    assert_eq!(world.desk.status().critical, 1);
    assert_eq!(
        world.messages.len(),
        6,
        "at once, after 5, 20, 80, 140 and 200 minutes: {:?}",
        world.messages
    );
    world.accept(&in_pane(2, "agent_exited", Severity::Medium));
    assert_eq!(
        world.desk.status().critical,
        0,
        "it is not blocked any more"
    );
    world.accept(&in_pane(3, "agent_exited", Severity::Critical));
    world.pass(61 * 60_000);
    assert_eq!(world.desk.status().critical, 1);
    world.desk.set_panes([].into());
    world.tick();
    assert_eq!(world.desk.status().critical, 0, "its pane is gone");
}

#[test]
fn what_orch_says_of_itself_ends_with_its_cure() {
    let mut world = World::new(Config::default(), 0);
    let own = |world: &mut World, kind: &str, source: &str| {
        world.emit_by(kind, Severity::Critical, "m", |event| {
            event.source = source.to_owned();
        })
    };
    own(&mut world, "disk_full", "journal");
    assert_eq!(world.desk.status().critical, 1);
    world.emit_by("disk_freed", Severity::Medium, "m", |event| {
        event.source = "journal".to_owned();
    });
    assert_eq!(world.desk.status().critical, 0);
    own(&mut world, "disk_full", "journal");
    own(&mut world, "component_parked", "orch");
    let stays = own(&mut world, "tmux_lost", "tmux");
    world.restart(false, 0);
    let status = world.desk.status();
    assert_eq!((status.critical, status.newest), (1, Some(stays)));
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
        world.result(2),
        Verdict::Delivered,
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
        (world.desk.waiting(), world.result(first)),
        (1, Verdict::Cleared)
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
