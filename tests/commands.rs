//! The commands as a person and as programs use them: what they answer, what they exit with, what survives.

mod stage;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::{Value, json};
use stage::{PATIENCE, Stage};

/// The journal's only day file; a test that runs over midnight has two and takes the first.
fn day_file(stage: &Stage) -> PathBuf {
    let days = std::fs::read_dir(stage.root().join("logs/events")).expect("a journal");
    let mut days: Vec<PathBuf> = days
        .map(|day| day.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "jsonl"))
        .collect();
    days.sort();
    days.swap_remove(0)
}

fn messages(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .filter_map(|event| event["message"].as_str())
        .collect()
}

/// `orch runs: pid N, root DIR`
fn pid_and_root(said: &str) -> (u32, String) {
    let said = said.strip_prefix("orch runs: pid ").expect("a sentence");
    let (pid, root) = said.split_once(", root ").expect("a sentence");
    (pid.parse().expect("a number"), root.trim_end().to_owned())
}

fn socket(stage: &Stage) -> UnixStream {
    let status = stage.status().expect("it runs");
    let path = status["socket"].as_str().expect("a path");
    let stream = UnixStream::connect(path).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    stream
}

#[test]
fn exit_codes_say_what_is_wrong() {
    let stage = Stage::with(&["alpha"]);
    for usage in [
        &["frobnicate"][..],
        &[],
        &["emit"],
        &["emit", "task_completed"],
        &["emit", "Bad Type", "m"],
        &["emit", "tmux_lost", "m"],
        &["emit", "x", "m", "--severity", "urgent"],
        &["emit", "x", "m", "--data", "{"],
        &["events", "--outcome", "lost"],
        &["events", "--since", "whenever"],
        &["events", "--grep", "("],
        &["events", "--after", "0", "--type", "x"],
        &["run", "--config", "/no/such/file"],
        &["-L", "a/b", "status"],
    ] {
        assert_eq!(stage.orch(usage).code, 2, "{usage:?}");
    }
    for asks in ["status", "stop", "panes", "clear-queues"] {
        stage.orch(&[asks]).wrong(3);
    }
    stage.orch(&["ack", "1"]).wrong(3);
    stage.run();
    let said = stage.orch(&["run"]).wrong(4);
    assert!(
        said.contains(&format!("pid {}", stage.pid().as_raw_nonzero())),
        "{said}"
    );
    stage.orch(&["ack", "99"]).wrong(1);
    stage.orch(&["status"]).well();
    stage.stop();
    stage.orch(&["status"]).wrong(3);
    // Without a tmux server there is nothing to start for.
    let bare = Stage::empty();
    let said = bare.orch(&["start"]).wrong(1);
    assert!(said.contains("no tmux server"), "{said}");
    bare.orch(&["status"]).wrong(3);
    assert!(!bare.socket().exists(), "no server is started unasked");
}

#[test]
fn run_waits_for_a_tmux_server() {
    let stage = Stage::empty();
    stage.spawn(&[]);
    stage.wait_until("it answers", || {
        stage
            .status()
            .is_some_and(|status| status["tmux"]["state"] == "waiting")
    });
    assert!(!stage.socket().exists());
    stage.start_server(&["alpha"]);
    stage.wait_until("it is attached", || {
        stage.status().expect("it runs")["ready"] == true
    });
    assert_eq!(stage.count("tmux_lost"), 0);
    stage.stop_and_verify();
}

#[test]
fn start_stop_and_restart() {
    let stage = Stage::with(&["alpha"]);
    let (pid, root) = pid_and_root(&stage.orch(&["start"]).well());
    assert_eq!(root, stage.root().display().to_string());
    let status = stage.status().expect("it runs");
    assert_eq!(
        (&status["pid"], &status["ready"]),
        (&json!(pid), &json!(true))
    );
    assert_eq!(stage.hosts().len(), 1);
    // Once more is no second one.
    assert_eq!(pid_and_root(&stage.orch(&["start"]).well()).0, pid);
    let (next, _) = pid_and_root(
        stage
            .orch(&["restart"])
            .well()
            .lines()
            .last()
            .expect("a line"),
    );
    assert_ne!(next, pid);
    assert_eq!(stage.status().expect("it runs")["pid"], next);
    stage.orch(&["stop"]).well();
    assert_eq!(stage.hosts(), []);
    stage.orch(&["stop"]).wrong(3);
    // It starts what does not run.
    let (last, _) = pid_and_root(
        stage
            .orch(&["restart"])
            .well()
            .lines()
            .last()
            .expect("a line"),
    );
    assert_eq!(stage.status().expect("it runs")["pid"], last);
    stage.orch(&["stop"]).well();
    assert_eq!(stage.orch(&["verify"]).code, 0);
}

#[test]
fn many_starts_at_once_are_one_orchestrator() {
    let stage = Stage::with(&["alpha"]);
    // The second round finds the traces of the first.
    for round in 0..2 {
        let start = || {
            let mut command = stage.program(&["start"]);
            command
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            command.spawn().expect("orch")
        };
        let starts: Vec<_> = (0..10).map(|_| start()).collect();
        let said: Vec<stage::Said> = starts
            .into_iter()
            .map(|start| start.wait_with_output().expect("orch").into())
            .collect();
        assert!(said.iter().all(|said| said.code == 0), "{said:#?}");
        let pid = stage.status().expect("it runs")["pid"].clone();
        for said in &said {
            let (told, root) = pid_and_root(&said.out);
            assert_eq!(json!(told), pid, "round {round}");
            assert_eq!(root, stage.root().display().to_string());
        }
        assert_eq!(stage.hosts().len(), 1);
        stage.orch(&["stop"]).well();
        assert_eq!(stage.hosts(), []);
    }
    let attached = stage.count("tmux_attached");
    assert_eq!(attached, 2, "one orchestrator in each round");
}

#[test]
fn emit_prints_the_number_under_which_it_is_on_disk() {
    let stage = Stage::with(&["alpha"]);
    stage.run();
    let more = [
        "--severity",
        "high",
        "--source",
        "dev-1",
        "--pane",
        "%0",
        "--data",
        "{\"a\":1}",
    ];
    let seq = stage.emit("my_own.type", "hello there", &more);
    let event = stage.event(seq);
    for (field, value) in [
        ("v", json!(1)),
        ("type", json!("my_own.type")),
        ("severity", json!("high")),
        ("source", json!("dev-1")),
        ("session", json!("alpha")),
        ("pane", json!("%0")),
        ("window", json!("@0")),
        ("message", json!("hello there")),
        ("data", json!({"a": 1})),
    ] {
        assert_eq!(event[field], value, "{field}");
    }
    let said = stage.orch(&["--json", "emit", "violations", "as the predecessor says"]);
    let next = &said.lines()[0]["seq"];
    let event = stage.event(next.as_u64().expect("a number"));
    assert_eq!(
        (&event["type"], &event["severity"]),
        (&json!("violation"), &json!("high"))
    );
    stage.stop_and_verify();
}

#[test]
fn emit_answers_each_line_of_its_input() {
    let stage = Stage::with(&["alpha"]);
    stage.run();
    let good = |n| json!({"type": "task_completed", "message": format!("task {n}")}).to_string();
    let input = [
        good(1),
        r#"{"type":"tmux_lost","message":"m"}"#.to_owned(),
        r#"{"type":"x","message":"m","urgency":1}"#.to_owned(),
        "{\"type\":".to_owned(),
        String::new(),
        good(2),
        r#"{"message":"no type"}"#.to_owned(),
        good(3),
    ]
    .join("\n");
    let said = stage.orch_reading(&["emit", "-"], &input);
    assert_eq!(said.code, 1, "{said:?}");
    let answers = said.lines();
    let lines: Vec<u64> = answers
        .iter()
        .filter_map(|answer| answer["line"].as_u64())
        .collect();
    assert_eq!(lines, [1, 2, 3, 4, 6, 7, 8]);
    for (line, error) in [
        (2, "orch's own"),
        (3, "unknown field `urgency`"),
        (4, "not an event"),
        (7, "missing field `type`"),
    ] {
        let answer = answers.iter().find(|answer| answer["line"] == line);
        let text = answer.and_then(|answer| answer["error"].as_str());
        assert!(text.is_some_and(|text| text.contains(error)), "{answer:?}");
    }
    let seqs: Vec<u64> = answers
        .iter()
        .filter_map(|answer| answer["seq"].as_u64())
        .collect();
    let tasks = seqs.iter().map(|seq| stage.event(*seq)["message"].clone());
    assert_eq!(tasks.collect::<Vec<_>>(), ["task 1", "task 2", "task 3"]);
    assert_eq!(stage.count("task_completed"), 3);
    assert_eq!(stage.count("x"), 0);
    stage.orch_reading(&["emit", "-"], &good(4)).well();
    stage.stop_and_verify();
}

#[test]
fn what_is_emitted_while_nothing_runs_is_kept_for_the_next_start() {
    let stage = Stage::with(&["alpha"]);
    for n in 0..3 {
        let said = stage.orch(&["emit", "task_completed", &format!("kept {n}")]);
        assert!(
            said.code == 0 && said.out.is_empty() && said.err.contains("next start"),
            "{said:?}"
        );
    }
    let lines: String = (3..6)
        .map(|n| {
            format!(
                "{}\n",
                json!({"type": "task_completed", "message": format!("kept {n}")})
            )
        })
        .collect();
    let said = stage.orch_reading(&["emit", "-"], &lines);
    let spooled = |line| json!({"line": line, "spooled": true});
    assert_eq!(said.lines(), [spooled(1), spooled(2), spooled(3)]);
    assert_eq!(said.code, 0);
    assert_eq!(stage.events(&[]).len(), 0);
    stage.run();
    stage.emit("task_completed", "said live", &[]);
    stage.wait_until("all are in the journal", || {
        stage.count("task_completed") == 7
    });
    let mut events = stage.events(&["--type", "task_completed"]);
    let kept: Vec<Value> = events
        .iter()
        .filter(|e| !e["emitted_at"].is_null())
        .cloned()
        .collect();
    let texts = ["kept 0", "kept 1", "kept 2", "kept 3", "kept 4", "kept 5"];
    assert_eq!(messages(&kept), texts);
    let time = |value: &Value| {
        let text = value.as_str().expect("a time");
        chrono::DateTime::parse_from_rfc3339(text).expect("a time")
    };
    assert!(
        kept.iter()
            .all(|e| time(&e["emitted_at"]) <= time(&e["ts"]))
    );
    events.retain(|e| e["emitted_at"].is_null());
    assert_eq!(messages(&events), ["said live"]);
    stage.stop_and_verify();
    // Taken in once.
    stage.run();
    assert_eq!(stage.count("task_completed"), 7);
    stage.stop_and_verify();
}

#[test]
fn the_journal_is_queried_running_or_not() {
    let stage = Stage::with(&["alpha", "beta"]);
    stage.run();
    stage.roster_agrees();
    let beta = stage.tmux(&["list-panes", "-t", "beta", "-F", "#{pane_id}"]);
    let a = stage.emit("task_completed", "ate an apple", &["--source", "dev-1"]);
    let b = stage.emit(
        "task_started",
        "built a boat",
        &["--source", "dev-2", "--pane", &beta],
    );
    let c = stage.emit("violation", "caught a cold", &["--source", "qa"]);
    let d = stage.emit("system_failure", "dropped a dish", &["--source", "dev-1"]);
    for seq in [a, b, c] {
        assert_eq!(stage.outcome(seq)["result"], "below_threshold");
    }
    let ask = |filters: &[&str]| -> Vec<u64> {
        let events = stage.events(filters);
        let seqs = events.iter().filter_map(|event| event["seq"].as_u64());
        seqs.filter(|seq| [a, b, c, d].contains(seq)).collect()
    };
    let check = || {
        assert_eq!(ask(&[]), [a, b, c, d]);
        assert_eq!(ask(&["--type", "task_*"]), [a, b]);
        assert_eq!(ask(&["--type", "{violation,system_*}"]), [c, d]);
        assert_eq!(ask(&["--severity", "high"]), [c, d]);
        assert_eq!(ask(&["--severity", "critical"]), [d]);
        assert_eq!(ask(&["--source", "dev-*"]), [a, b, d]);
        assert_eq!(ask(&["--session", "beta"]), [b]);
        assert_eq!(ask(&["--pane", &beta]), [b]);
        assert_eq!(ask(&["--grep", "an? (apple|boat)"]), [a, b]);
        assert_eq!(ask(&["--since", "1h"]), [a, b, c, d]);
        assert_eq!(ask(&["--until", "1h"]), [0; 0]);
        assert_eq!(ask(&["--source", "qa", "--type", "task_*"]), [0; 0]);
        assert_eq!(ask(&["--outcome", "below_threshold"]), [a, b, c]);
        assert_eq!(stage.events(&["-n", "2"]).len(), 2);
        let people = stage.orch(&["events", "--grep", "apple"]).well();
        assert!(
            people.contains("ate an apple") && people.contains("[below_threshold]"),
            "{people}"
        );
    };
    // `-n` counts the events that match.
    assert_eq!(ask(&["--source", "dev-*", "-n", "2"]), [b, d]);
    check();
    // The critical waits for somebody to look, and says so.
    assert!(stage.event(d)["outcome"].is_null());
    let outcome = stage.event(c)["outcome"].clone();
    assert!(
        outcome["seq"].as_u64() > Some(c) && outcome["reason"].is_string(),
        "{outcome}"
    );
    stage.stop();
    check();
    assert_eq!(ask(&["--outcome", "coalesced"]), [d]);

    // Raw lines, without a gap, for programs.
    let raw = stage.orch(&["events", "--after", &b.to_string()]);
    let seqs: Vec<u64> = raw
        .lines()
        .iter()
        .filter_map(|line| line["seq"].as_u64())
        .collect();
    let last = *seqs.last().expect("a line");
    assert_eq!(seqs, (b + 1..=last).collect::<Vec<_>>());
    let text = std::fs::read_to_string(day_file(&stage)).expect("a journal");
    assert!(text.ends_with(&raw.out));
}

#[test]
fn a_torn_tail_is_cut_and_recorded() {
    let stage = Stage::with(&["alpha"]);
    stage.run();
    let seq = stage.emit("task_completed", "before", &[]);
    stage.stop_and_verify();
    let path = day_file(&stage);
    let whole = std::fs::read(&path).expect("a journal");
    let torn = b"{\"v\":1,\"seq\":99,\"ts\":\"2026-";
    std::fs::write(&path, [&whole[..], torn].concat()).expect("a journal");
    let said = stage.orch(&["verify"]);
    assert!(
        said.code == 1 && said.out.contains("unfinished line"),
        "{said:?}"
    );
    stage.run();
    let repairs = stage.events(&["--type", "log_repaired"]);
    assert_eq!(repairs.len(), 1);
    assert_eq!(repairs[0]["severity"], "high");
    assert_eq!(repairs[0]["data"]["bytes"], torn.len());
    let copy = repairs[0]["data"]["copy"].as_str().expect("a path");
    assert_eq!(std::fs::read(copy).expect("the copy"), torn);
    assert_eq!(stage.event(seq)["message"], "before");
    assert!(std::fs::read(&path).expect("a journal").starts_with(&whole));
    stage.stop_and_verify();
}

#[test]
fn verify_finds_a_line_that_is_missing() {
    let stage = Stage::with(&["alpha"]);
    stage.run();
    for n in 0..5 {
        stage.emit("task_completed", &format!("task {n}"), &[]);
    }
    stage.stop_and_verify();
    let path = day_file(&stage);
    let whole = std::fs::read_to_string(&path).expect("a journal");
    let lines: Vec<&str> = whole.lines().collect();
    let event = lines
        .iter()
        .position(|line| line.contains("task 2"))
        .expect("the line");
    let mut less = lines.clone();
    less.remove(event);
    std::fs::write(&path, less.join("\n") + "\n").expect("a journal");
    let said = stage.orch(&["verify"]);
    assert!(said.code == 1 && said.out.contains("1 missing"), "{said:?}");
    let report = stage.orch(&["verify", "--json"]);
    assert_eq!(report.code, 1);
    assert!(
        report.lines()[0]["faults"]
            .as_array()
            .is_some_and(|faults| !faults.is_empty())
    );
    std::fs::write(&path, whole).expect("a journal");
    stage.orch(&["verify"]).well();
}

#[test]
fn two_servers_have_an_orchestrator_each() {
    let one = Stage::with(&["alpha"]);
    let two = Stage::beside(&one, &["beta", "gamma"]);
    one.run();
    two.run();
    let first = one.emit("task_completed", "of the first", &[]);
    two.emit("task_completed", "of the second", &[]);
    one.roster_agrees();
    two.roster_agrees();
    assert_eq!(
        messages(&one.events(&["--type", "task_*"])),
        ["of the first"]
    );
    assert_eq!(
        messages(&two.events(&["--type", "task_*"])),
        ["of the second"]
    );
    assert_eq!(two.count("pane_exited"), 0);
    two.stop_and_verify();
    assert_eq!(one.event(first)["message"], "of the first");
    one.see_a_new_pane("alpha");
    one.stop_and_verify();
}

#[test]
fn every_mistake_in_a_configuration_is_told_with_its_line() {
    let stage = Stage::with(&["alpha"]);
    let path = stage.write(
        "wrong.yaml",
        "monitoring:\n  check_intervall: 5\n  enabled: maybe\nevent_bus:\n  queue_size: 0\n\
         deliveries: {}\nevents:\n  severities:\n    bell: loud\n",
    );
    let said = stage.orch(&["config", "check", "--config", &path]).wrong(2);
    for mistake in [
        ":2: monitoring.check_intervall: unknown key; did you mean check_interval?",
        ":3: monitoring.enabled: ",
        ":5: event_bus.queue_size: 0 is not allowed",
        ":6: deliveries: unknown key",
        ":9: events.severities.bell: ",
    ] {
        assert!(said.contains(mistake), "{mistake}\n{said}");
    }
    // Nothing is started on it.
    stage.orch(&["start", "--config", &path]).wrong(2);
    stage.orch(&["run", "--config", &path]).wrong(2);
    stage.orch(&["status"]).wrong(3);
    let default = stage.orch(&["config", "default"]).well();
    let path = stage.write("right.yaml", &default);
    stage.orch(&["config", "check", "--config", &path]).well();
}

#[test]
fn a_bad_file_at_a_reload_leaves_the_old_configuration_in_force() {
    let stage = Stage::with(&["alpha"]);
    stage.seat_a_person("alpha");
    stage.run_configured("monitoring:\n  disable_tmux_messages: false\n");
    let reload = |yaml: &str, ok: bool| {
        let before = stage.count("config_reloaded");
        stage.write("orch.yaml", yaml);
        stage.signal(Signal::HUP);
        stage.wait_until("it is reloaded", || {
            stage.count("config_reloaded") == before + 1
        });
        let events = stage.events(&["--type", "config_reloaded"]);
        assert_eq!(events[before]["data"]["ok"], ok, "{events:?}");
        events[before]["message"]
            .as_str()
            .expect("a text")
            .to_owned()
    };
    let said = reload("monitoring:\n  disable_tmux_messages: perhaps\n", false);
    assert!(
        said.contains("disable_tmux_messages") && said.contains("stays in force"),
        "{said}"
    );
    let told = stage.emit("violation", "still pushed", &[]);
    assert_eq!(stage.outcome(told)["result"], "delivered");
    reload("monitoring:\n  disable_tmux_messages: true\n", true);
    let quiet = stage.emit("violation", "pushed no more", &[]);
    assert_eq!(stage.outcome(quiet)["result"], "below_threshold");
    stage.stop_and_verify();
}

#[test]
fn nothing_that_was_accepted_is_missing_after_kill_9() {
    let stage = Stage::with(&["alpha"]);
    stage.run();
    let mut emit = stage
        .program(&["emit", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("orch");
    let mut stdin = emit.stdin.take().expect("a pipe");
    let feeding = std::thread::spawn(move || {
        for n in 0..5_000 {
            let kind = if n % 50 == 0 {
                "system_failure"
            } else {
                "task_completed"
            };
            let event = json!({"type": kind, "message": format!("part {n}")});
            if writeln!(stdin, "{event}").is_err() {
                break;
            }
        }
    });
    let mut answers = BufReader::new(emit.stdout.take().expect("a pipe"));
    let mut lines = Vec::new();
    let mut line = String::new();
    for _ in 0..200 {
        line.clear();
        answers.read_line(&mut line).expect("an answer");
        lines.push(line.clone());
    }
    stage.signal(Signal::KILL);
    let mut rest = String::new();
    answers.read_to_string(&mut rest).expect("answers");
    lines.extend(rest.lines().map(str::to_owned));
    feeding.join().expect("an end");
    emit.wait().expect("an end");
    stage.ended();
    let answers: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).expect("an answer"))
        .collect();
    let accepted: Vec<(u64, String)> = answers
        .iter()
        .filter_map(|answer| {
            let line = answer["line"].as_u64()?;
            Some((answer["seq"].as_u64()?, format!("part {}", line - 1)))
        })
        .collect();
    assert!(accepted.len() >= 200);
    let spooled = answers.iter().filter(|answer| answer["spooled"] == true);
    let spooled: Vec<String> = spooled
        .filter_map(|answer| Some(format!("part {}", answer["line"].as_u64()? - 1)))
        .collect();
    assert_eq!(answers.len(), 5_000, "each line has its answer");

    stage.run();
    stage.orch(&["verify"]).well();
    let events = stage.events(&[]);
    let texts: std::collections::HashMap<u64, &str> = events
        .iter()
        .filter_map(|event| Some((event["seq"].as_u64()?, event["message"].as_str()?)))
        .collect();
    for (seq, message) in &accepted {
        assert_eq!(texts.get(seq), Some(&message.as_str()), "{seq}");
    }
    let found: std::collections::HashSet<&str> = texts.values().copied().collect();
    for message in &spooled {
        assert!(found.contains(message.as_str()), "{message} was to be kept");
    }
    stage.stop_and_verify();
}

/// Asks over a connection of the test's own.
fn ask(stream: &UnixStream, line: &str) -> Value {
    let mut stream = stream;
    stream.write_all(line.as_bytes()).expect("a connection");
    stream.write_all(b"\n").expect("a connection");
    let mut answer = String::new();
    BufReader::new(stream)
        .read_line(&mut answer)
        .expect("an answer");
    serde_json::from_str(&answer).unwrap_or_else(|e| panic!("{e}: {answer:?}"))
}

#[test]
fn garbage_on_the_socket_harms_nobody_else() {
    let stage = Stage::with(&["alpha"]);
    stage.run();
    let good = socket(&stage);
    let garbage = socket(&stage);
    for line in [
        "garbage",
        "{}",
        "{\"op\":\"explode\"}",
        "[1,2]",
        "\"",
        "\u{1}\u{2}",
    ] {
        assert!(ask(&garbage, line)["error"].is_string(), "{line}");
    }
    assert!(ask(&garbage, "{\"op\":\"status\"}")["status"].is_object());
    // No UTF-8: this connection is over, with a word.
    (&garbage).write_all(b"\xff\xfe\n").expect("a connection");
    let mut answer = String::new();
    BufReader::new(&garbage)
        .read_line(&mut answer)
        .expect("an answer");
    assert!(answer.contains("closed"), "{answer}");
    // A line that never ends is refused long before it fills anything.
    let mut endless = socket(&stage);
    let chunk = vec![b'x'; 1 << 20];
    let _ = endless.write_all(&chunk);
    let mut answer = String::new();
    let _ = endless.read_to_string(&mut answer);
    assert!(answer.is_empty() || answer.contains("closed"), "{answer}");
    // A half line, and then nothing.
    let mut half = socket(&stage);
    half.write_all(b"{\"op\":").expect("a connection");

    assert!(ask(&good, "{\"op\":\"status\"}")["status"].is_object());
    stage.emit("task_completed", "still served", &[]);
    stage.stop_and_verify();
}

#[test]
fn hundreds_of_connections_that_say_nothing_keep_nobody_out() {
    let stage = Stage::with(&["alpha"]);
    stage.run();
    let good = socket(&stage);
    assert!(ask(&good, "{\"op\":\"status\"}")["status"].is_object());
    let path = stage.status().expect("it runs")["socket"].clone();
    let path = path.as_str().expect("a path");
    let idle: Vec<UnixStream> = (0..300)
        .map(|_| UnixStream::connect(path).expect("a connection"))
        .collect();
    stage.emit("task_completed", "served beside them", &[]);
    assert!(stage.status().is_some());
    drop(idle);
    stage.emit("task_completed", "served after them", &[]);
    assert!(ask(&good, "{\"op\":\"status\"}")["status"].is_object());
    stage.stop_and_verify();
}

#[test]
fn f33_a_hostile_pattern_is_refused_at_once() {
    let stage = Stage::empty();
    let huge = format!("({}){{1000}}", "a{1000}".repeat(100));
    for (option, pattern) in [
        ("--grep", huge.as_str()),
        ("--grep", "("),
        ("--type", "{a,"),
        ("--source", "["),
    ] {
        let said = stage.orch(&["events", option, pattern]).wrong(2);
        assert!(said.contains(option), "{said}");
    }
    // A pattern that takes other engines for ever.
    let day = stage.root().join("logs/events");
    std::fs::create_dir_all(&day).expect("a directory");
    let line = json!({"v": 1, "seq": 1, "ts": "2026-11-22T13:24:52+01:00", "type": "x", "severity": "low",
        "source": "s", "message": format!("{}!", "a".repeat(4000))});
    std::fs::write(day.join("2026-11-22.jsonl"), format!("{line}\n")).expect("a file");
    assert!(stage.events(&["--grep", "^(a+)+$"]).is_empty());
    assert_eq!(stage.events(&["--grep", "^(a+)+!"]).len(), 1);
}
