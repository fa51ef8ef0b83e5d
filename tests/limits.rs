//! The limits of delivery over real processes and a real tmux server: mutes, stops of time, storms, restart loops,
//! kills, damaged memories. What a person received is counted at the person's end.

mod stage;

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use stage::Stage;

/// High is pushed too.
const PUSH_HIGH: &str = "monitoring:\n  disable_tmux_messages: false\n";

/// A stage with a person whose server's message log is long enough to count in; the client's name.
fn with_a_person() -> (Stage, String) {
    let stage = Stage::with(&["alpha"]);
    let lines = stage.orch(&["keys"]).well();
    let path = stage.write("keys.conf", &lines);
    stage.tmux(&["source-file", &path]);
    stage.tmux(&["set-option", "-g", "message-limit", "50000"]);
    let client = stage.seat_a_person("alpha");
    (stage, client)
}

/// More messages than this cannot have come since then: one, and one more every 10 s.
fn most_since(began: Instant) -> usize {
    1 + (began.elapsed().as_secs() / 10) as usize
}

/// A word without digits for each number.
fn word(mut n: usize) -> String {
    let mut word = String::new();
    for _ in 0..4 {
        word.push(char::from(b'a' + (n % 26) as u8));
        n /= 26;
    }
    word
}

fn event(kind: &str, message: &str) -> Value {
    json!({"type": kind, "message": message})
}

/// `orch emit -` with these events on its way to it.
fn emitting(stage: &Stage, events: Vec<Value>) -> Child {
    let mut child = stage
        .program(&["emit", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("orch");
    let mut stdin = child.stdin.take().expect("a pipe");
    std::thread::spawn(move || {
        for event in events {
            if writeln!(stdin, "{event}").is_err() {
                break;
            }
        }
    });
    child
}

fn emit_all(stage: &Stage, events: Vec<Value>) {
    let ended = emitting(stage, events).wait().expect("an end");
    assert!(ended.success());
}

/// How many of a type have each outcome; `pending` for none yet.
fn outcomes(stage: &Stage, kind: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for event in stage.events(&["--type", kind]) {
        let result = event["outcome"]["result"].as_str().unwrap_or("pending");
        *counts.entry(result.to_owned()).or_default() += 1;
    }
    counts
}

fn all_decided(stage: &Stage, kind: &str, count: usize) -> bool {
    let outcomes = outcomes(stage, kind);
    !outcomes.contains_key("pending") && outcomes.values().sum::<usize>() == count
}

fn criticals(stage: &Stage) -> Option<usize> {
    stage.variable("ORCH_CRITICAL")?.parse().ok()
}

#[test]
fn a_mute_from_the_command_line() {
    let (stage, client) = with_a_person();
    stage.run();
    let said = stage
        .orch(&["mute", "type=system_*", "source=cli", "--for", "2h"])
        .well();
    assert!(said.contains("type=system_* source=cli"), "{said}");
    let muted = stage.emit("system_failure", "quiet please", &[]);
    let outcome = stage.outcome(muted);
    assert_eq!(outcome["result"], "muted");
    let reason = outcome["reason"].as_str().expect("a reason");
    assert!(
        reason.starts_with("mute 1 (type=system_* source=cli) holds until 20"),
        "{reason}"
    );
    stage.wait_until("nothing is in the segment", || criticals(&stage) == Some(0));

    // Whoever asked for it stands in the journal, and it survives a restart.
    let asked = stage.events(&["--grep", "mute type=system_.* was asked for"]);
    assert!(
        asked.len() == 1 && asked[0]["peer_pid"].is_number(),
        "{asked:?}"
    );
    stage.stop();
    stage.run();
    let list = stage.orch(&["mutes", "--json"]).lines();
    assert_eq!(list.len(), 1);
    assert_eq!(list[0]["filter"], json!(["type=system_*", "source=cli"]));
    assert_eq!((&list[0]["id"], &list[0]["held"]), (&json!(1), &json!(1)));
    stage.wait_until("nothing is in the segment", || criticals(&stage) == Some(0));
    assert_eq!(stage.messages(&client), [""; 0]);

    // Once it ends, what still holds is shown and told.
    let said = stage.orch(&["unmute", "1"]).well();
    assert!(
        said.contains("held 1 event\n") && said.contains("shown again: 1"),
        "{said}"
    );
    stage.wait_until("it is in the segment", || criticals(&stage) == Some(1));
    stage.wait_until("it is told", || {
        let messages = stage.messages(&client);
        messages.len() == 1 && messages[0].contains("still: system_failure")
    });
    assert!(stage.orch(&["mutes"]).well().contains("no mute holds"));
    stage.stop_and_verify();
}

#[test]
fn mutes_that_cannot_be_are_refused_with_the_mend() {
    let stage = Stage::with(&["alpha"]);
    for (arguments, why) in [
        (
            &["mute", "*", "--for", "1h"][..],
            "is no filter: use type=GLOB",
        ),
        (
            &["mute", "typ=x", "--for", "1h"],
            "is no key: use type=GLOB",
        ),
        (&["mute", "type=x"], "--for"),
        (&["mute", "--for", "1h"], "KEY=PATTERN"),
        (&["mute", "type=x", "--for", "soon"], "is no duration"),
        (&["mute", "type=x", "--for", "31d"], "30d at most"),
        (&["mute", "pane=3", "--for", "1h"], "use pane=%N"),
        (&["unmute"], "ID|KEY=PATTERN"),
        (&["unmute", "1", "--all"], "cannot be used"),
    ] {
        let error = stage.orch(arguments).wrong(2);
        assert!(error.contains(why), "{arguments:?}: {error}");
    }
    for arguments in [
        &["mute", "type=x", "--for", "1h"][..],
        &["mutes"],
        &["unmute", "--all"],
    ] {
        stage.orch(arguments).wrong(3);
    }
    stage.run();
    let error = stage.orch(&["unmute", "7"]).wrong(1);
    assert!(
        error.contains("no mute is 7; `orch mutes` lists"),
        "{error}"
    );
    assert!(
        stage
            .orch(&["unmute", "--all"])
            .well()
            .contains("no mute holds")
    );
    stage.stop_and_verify();
}

#[test]
fn f12_asleep_for_seconds_and_no_burst_after_it() {
    let (stage, client) = with_a_person();
    stage.run_configured(PUSH_HIGH);
    let began = Instant::now();
    let events = (0..400).map(|n| event("violation", &word(n)));
    let mut emit = emitting(&stage, events.collect());
    stage.wait_until("some are accepted", || stage.count("violation") > 50);
    stage.signal(Signal::STOP);
    let asleep = Instant::now();
    stage.wait_until("it has slept", || asleep.elapsed() > Duration::from_secs(4));
    stage.signal(Signal::CONT);
    emit.wait().expect("an end");
    let told = stage.emit("system_failure", "after the sleep", &[]);
    stage.wait_until("all are decided", || all_decided(&stage, "violation", 400));
    assert_eq!(stage.outcome(told)["result"], "delivered");
    let messages = stage.messages(&client);
    assert!(messages.len() <= most_since(began), "{messages:?}");
    stage.stop_and_verify();
}

#[test]
fn f20_in_a_storm_of_criticals_the_different_one_is_seen() {
    let (stage, client) = with_a_person();
    stage.run();
    let began = Instant::now();
    let events = (0..500).map(|n| event("system_failure", &format!("unit {n}")));
    emit_all(&stage, events.collect());
    let other = stage.emit("credit_exhausted", "no credit left", &[]);
    stage.wait_until("the segment names it", || {
        stage.status_line().contains("$1 credit_exhausted")
    });
    stage.wait_until("all are counted", || criticals(&stage) == Some(501));
    // One that claims so much is demoted, once; the segment goes on counting.
    assert_eq!(stage.count("source_demoted"), 1);
    let reason = stage.outcome(other)["reason"].clone();
    let reason = reason.as_str().expect("a reason");
    assert!(
        reason.starts_with("cli claimed more than 20 things critical"),
        "{reason}"
    );
    let messages = stage.messages(&client);
    assert!(messages.len() <= most_since(began), "{messages:?}");
    // However much becomes critical, the segment is published at most twenty times a second.
    let log = stage.tmux(&["show-messages", "-t", &client]);
    let published = log
        .lines()
        .filter(|line| line.contains("ORCH_CRITICAL"))
        .count();
    let most = 2 + began.elapsed().as_millis() as usize / 50;
    assert!((2..=most).contains(&published), "{published} of {most}");
    stage.stop_and_verify();
}

/// Behind ten thousand others: how long until the segment shows a critical one, from before `orch emit` starts.
fn critical_behind_chatter(stage: &Stage, severity: &str, at: usize) -> Duration {
    let chatter = |n: usize| {
        let text = format!("{} {}", word(n), word(at));
        json!({"type": "violation", "message": text, "severity": severity})
    };
    let before = criticals(stage).unwrap_or(0);
    let mut emit = emitting(stage, (0..10_000).map(chatter).collect());
    // Only what is on its way now counts: the first of it has arrived.
    stage.wait_until("it is busy", || {
        stage
            .status()
            .is_some_and(|s| s["events"]["last_seq"].as_u64() > Some(at as u64 * 10_000 + 100))
    });
    let began = Instant::now();
    stage.emit(
        "system_failure",
        &format!("behind {severity} {at}"),
        &["--source", "person"],
    );
    stage.wait_until("the segment counts it", || criticals(stage) > Some(before));
    let took = began.elapsed();
    emit.wait().expect("an end");
    took
}

#[test]
fn f21_a_critical_is_seen_behind_ten_thousand() {
    let (stage, client) = with_a_person();
    stage.run_configured(PUSH_HIGH);
    let began = Instant::now();
    for (at, severity) in ["low", "high"].into_iter().enumerate() {
        critical_behind_chatter(&stage, severity, at);
    }
    stage.wait_until("it stands in the status line", || {
        stage.status_line().contains("!2 system_failure")
    });
    stage.wait_until("it is told", || {
        let messages = stage.messages(&client);
        messages
            .iter()
            .any(|m| m.contains("! system_failure: behind"))
    });
    assert!(stage.messages(&client).len() <= most_since(began));
    stage.stop_and_verify();
}

#[test]
#[ignore = "a measurement: cargo test --release --test limits f21 -- --ignored --nocapture"]
fn f21_how_long_a_critical_takes_behind_ten_thousand() {
    let (stage, _client) = with_a_person();
    stage.run_configured(PUSH_HIGH);
    let try_one = |at: usize| critical_behind_chatter(&stage, ["low", "high"][at % 2], at);
    let mut took: Vec<Duration> = (0..50).map(try_one).collect();
    took.sort();
    println!(
        "median {:?}, p99 {:?} of {}",
        took[25],
        took[49],
        took.len()
    );
    stage.stop_and_verify();
}

#[test]
fn f24_a_restart_loop_stays_under_every_limit() {
    let (stage, client) = with_a_person();
    let began = Instant::now();
    for n in 0..7 {
        stage.run_configured(PUSH_HIGH);
        let different = |m: usize| event("violation", &word(n * 100 + m));
        let critical = event("system_failure", &format!("crash {n}"));
        let same = event("violation", "the same again");
        emit_all(
            &stage,
            (0..50).map(different).chain([same, critical]).collect(),
        );
        // By turns: an orderly stop, and a kill.
        if n % 2 == 0 {
            stage.stop();
        } else {
            stage.signal(Signal::KILL);
            stage.ended();
        }
    }
    stage.run_configured(PUSH_HIGH);
    let told = stage.emit("violation", "at last", &[]);
    stage.outcome(told);
    let messages = stage.messages(&client);
    assert!(messages.len() <= most_since(began), "{messages:?}");
    let same = messages.iter().filter(|m| m.contains("the same again"));
    assert!(same.count() <= 1, "{messages:?}");
    let lanes = stage.status().expect("it runs")["lanes"].clone();
    for lane in ["critical", "ordinary"] {
        assert!(lanes[lane]["used_60s"].as_u64() <= Some(10), "{lanes}");
    }
    // Eight starts in a row are said once.
    if began.elapsed() < Duration::from_secs(60) {
        let said = stage.events(&["--grep", "orch was started 5 times within a minute"]);
        assert_eq!(said.len(), 1);
        assert_eq!(said[0]["severity"], "critical");
    }
    assert_eq!(stage.events(&["--grep", "orch was started"]).len(), 1);
    stage.wait_until("all that stands open is counted", || {
        criticals(&stage) >= Some(8)
    });
    stage.stop_and_verify();
}

#[test]
fn f25_ten_thousand_without_outcome_are_no_replay() {
    let (stage, client) = with_a_person();
    // The journal as a run leaves it that was killed before it decided on anything.
    let ts = chrono::Local::now();
    let line = |seq: usize| {
        json!({"v": 1, "seq": seq, "ts": ts.to_rfc3339(), "type": "violation", "severity": "high", "source": "dev",
            "message": word(seq)})
    };
    let lines: String = (1..=10_000).map(|seq| format!("{}\n", line(seq))).collect();
    let directory = stage.root().join("logs/events");
    std::fs::create_dir_all(&directory).expect("a directory");
    let day = directory.join(format!("{}.jsonl", ts.format("%Y-%m-%d")));
    std::fs::write(day, lines).expect("a file");

    let began = Instant::now();
    stage.run_configured(PUSH_HIGH);
    stage.wait_until("all have their outcome", || {
        outcomes(&stage, "violation") == [("coalesced".to_owned(), 10_000)].into()
    });
    assert_eq!(stage.messages(&client), [""; 0]);
    stage.signal(Signal::KILL);
    stage.ended();
    stage.run_configured(PUSH_HIGH);
    assert_eq!(outcomes(&stage, "violation")["coalesced"], 10_000);
    // The critical one comes through; the limits are those of one run.
    let seq = stage.emit("system_failure", "disk", &[]);
    stage.wait_until("the segment shows it", || criticals(&stage) == Some(1));
    stage.outcome(seq);
    assert!(stage.messages(&client).len() <= most_since(began));
    stage.stop_and_verify();
}

#[test]
fn f38_clearing_during_load_leaves_every_event_its_one_outcome() {
    let stage = Stage::with(&["alpha"]);
    stage.run_configured(PUSH_HIGH);
    let events = (0..3_000).map(|n| event(["violation", "bottleneck"][n % 2], &word(n)));
    let mut emit = emitting(&stage, events.collect());
    let mut cleared = 0;
    while emit.try_wait().expect("a state").is_none() {
        let said = stage.orch(&["clear-queues", "--json"]).lines();
        cleared += said[0]["cleared"].as_u64().expect("a number") as usize;
    }
    cleared += stage.orch(&["clear-queues", "--json"]).lines()[0]["cleared"]
        .as_u64()
        .expect("a number") as usize;
    stage.wait_until("all are decided", || {
        ["violation", "bottleneck"]
            .iter()
            .all(|kind| all_decided(&stage, kind, 1_500))
    });
    let found = stage.events(&["--outcome", "cleared"]).len();
    assert!(cleared > 0 && found == cleared, "{found} of {cleared}");
    stage.stop_and_verify();
}

#[test]
fn a_damaged_memory_grants_no_burst_and_is_kept_aside() {
    let (stage, client) = with_a_person();
    let memory = stage.root().join("state/delivery.json");
    stage.run_configured(PUSH_HIGH);
    stage.stop();
    let whole = std::fs::read_to_string(&memory).expect("the memory");
    let newer = whole.replacen("\"version\":1", "\"version\":9", 1);
    for (n, damaged) in [
        Some(&whole[..whole.len() / 2]),
        Some("nonsense"),
        Some(&newer),
        None,
    ]
    .into_iter()
    .enumerate()
    {
        match damaged {
            Some(text) => std::fs::write(&memory, text).expect("a file"),
            None => std::fs::remove_file(&memory).expect("no file"),
        }
        stage.run_configured(PUSH_HIGH);
        for kind in ["violation", "system_failure"] {
            let seq = stage.emit(kind, &format!("is there a burst? {}", word(n)), &[]);
            assert_eq!(stage.outcome(seq)["result"], "rate_limited", "{damaged:?}");
        }
        stage.wait_until("the segment works", || criticals(&stage) >= Some(1));
        stage.stop();
        let Some(text) = damaged else { continue };
        let aside = std::fs::read_to_string(memory.with_extension("json.unusable"));
        assert_eq!(aside.expect("a file"), text);
        let said = stage.orch(&["logs", "delivery"]).well();
        assert!(said.contains("delivery.json.unusable"), "{said}");
    }
    assert_eq!(stage.messages(&client), [""; 0]);
    let report = stage.orch(&["verify"]);
    assert_eq!(report.code, 0, "{}", report.out);
}
