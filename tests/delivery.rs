//! What reaches a person on a real tmux server, and what never does: floods, hostile text, and nothing lost meanwhile.

mod stage;

use std::io::Read;
use std::process::{Child, ChildStdin, Stdio};
use std::time::Instant;

use serde_json::{Value, json};
use stage::Stage;

/// High is pushed too.
const PUSH_HIGH: &str = "monitoring:\n  disable_tmux_messages: false\n";

/// The segment as `orch keys` says, for everybody on the server; its log long enough to count in.
fn set_up(stage: &Stage) {
    let lines = stage.orch(&["keys"]).well();
    let path = stage.write("keys.conf", &lines);
    stage.tmux(&["source-file", &path]);
    stage.tmux(&["set-option", "-g", "message-limit", "20000"]);
}

/// More messages than this cannot have come since then: one, and one more every 10 s.
fn most_since(began: Instant) -> usize {
    1 + (began.elapsed().as_secs() / 10) as usize
}

fn emit_all(stage: &Stage, events: &[Value]) -> Vec<u64> {
    let input: String = events.iter().map(|event| format!("{event}\n")).collect();
    let said = stage.orch_reading(&["emit", "-"], &input);
    assert_eq!(said.code, 0, "{said:?}");
    let seq = |answer: &Value| answer["seq"].as_u64().expect("a number");
    said.lines().iter().map(seq).collect()
}

/// How many of a type have each outcome; `pending` for none yet.
fn outcomes(stage: &Stage, kind: &str) -> std::collections::BTreeMap<String, usize> {
    let mut counts = std::collections::BTreeMap::new();
    for event in stage.events(&["--type", kind]) {
        let result = event["outcome"]["result"].as_str().unwrap_or("pending");
        *counts.entry(result.to_owned()).or_default() += 1;
    }
    counts
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

#[test]
fn high_is_pushed_only_when_that_is_switched_on() {
    let stage = Stage::with(&["alpha"]);
    set_up(&stage);
    let client = stage.seat_a_person("alpha");
    stage.run();
    let quiet = stage.emit("violation", "the first one", &[]);
    assert_eq!(stage.outcome(quiet)["result"], "below_threshold");
    stage.stop_and_verify();
    assert_eq!(stage.messages(&client), [""; 0]);

    stage.run_configured(PUSH_HIGH);
    let told = stage.emit("violation", "the second one", &[]);
    assert_eq!(stage.outcome(told)["result"], "delivered");
    let chatter = stage.emit("task_completed", "chatter", &[]);
    assert_eq!(stage.outcome(chatter)["result"], "below_threshold");
    let messages = stage.messages(&client);
    assert!(
        messages.len() == 1 && messages[0].ends_with("violation: the second one"),
        "{messages:?}"
    );
    // It is no critical: the segment has nothing to say.
    assert_eq!(stage.variable("ORCH_CRITICAL").as_deref(), Some("0"));
    stage.stop_and_verify();
}

#[test]
fn a_critical_stands_in_the_segment_and_is_one_message() {
    let stage = Stage::with(&["alpha"]);
    set_up(&stage);
    let client = stage.seat_a_person("alpha");
    stage.run();
    let seq = stage.emit(
        "system_failure",
        "the disk of unit 7 is full",
        &["--pane", "%0"],
    );
    let segment = "!1 system_failure alpha:0";
    stage.wait_until("the segment counts it", || {
        stage.status_line().contains(segment)
    });
    let outcome = stage.outcome(seq);
    assert_eq!(outcome["result"], "delivered");
    let text = "orch: ! system_failure alpha:0: the disk of unit 7 is full";
    stage.wait_until("it was drawn", || stage.drawn().contains(text));
    stage.wait_until("the segment is back", || {
        stage.status_line().contains(segment)
    });
    let messages = stage.messages(&client);
    assert!(
        messages.len() == 1 && text.ends_with(&messages[0]),
        "{messages:?}"
    );
    // Somebody sees to it.
    stage.orch(&["ack", &seq.to_string()]).well();
    stage.wait_until("the segment is empty", || {
        let line = stage.status_line();
        line.contains("[alpha]") && !line.contains("system_failure")
    });
    stage.stop_and_verify();
}

#[test]
fn the_variables_are_there_while_it_runs() {
    let stage = Stage::with(&["alpha"]);
    stage.run();
    stage.wait_until("all are set", || stage.variables().len() == 9);
    assert_eq!(stage.variable("ORCH_STATUS").as_deref(), Some(""));
    assert_eq!(stage.variable("ORCH_CRITICAL").as_deref(), Some("0"));
    let seq = stage.emit("system_failure", "it broke", &[]);
    stage.emit("credit_exhausted", "no credit", &[]);
    stage.wait_until("both count", || {
        stage.variable("ORCH_CRITICAL").as_deref() == Some("2")
    });
    stage.wait_until("the segment names the newest", || {
        let status = stage.variable("ORCH_STATUS").unwrap_or_default();
        status == "#[fg=white,bg=red,bold]!1 $1 credit_exhausted#[default]"
    });
    for (name, value) in [
        ("ORCH_PLAIN", "!1 $1"),
        ("ORCH_NEED", "1"),
        ("ORCH_LIMIT", "1"),
        ("ORCH_DOWN", "0"),
    ] {
        assert_eq!(stage.variable(name).as_deref(), Some(value), "{name}");
    }
    // Hidden: usable in formats, not handed to what runs in panes.
    let shown = stage.tmux(&["show-environment", "-g"]);
    assert!(!shown.contains("ORCH_"), "{shown}");
    let beat = stage
        .variable("ORCH_BEAT")
        .and_then(|beat| beat.parse().ok());
    let beat: i64 = beat.expect("a number of seconds");
    assert!(beat > 1_700_000_000, "{beat}");
    stage.wait_until("the next beat", || {
        let next = stage
            .variable("ORCH_BEAT")
            .and_then(|beat| beat.parse().ok());
        next.is_some_and(|next: i64| next > beat)
    });
    stage.orch(&["ack", &seq.to_string()]).well();
    stage.wait_until("one is seen to", || {
        stage.variable("ORCH_PLAIN").as_deref() == Some("$1")
    });
    stage.stop_and_verify();
    assert_eq!(stage.variables(), [""; 0]);
}

/// A client in control mode, as other programs have them.
struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Program {
    fn attach(stage: &Stage) -> Self {
        let mut command = std::process::Command::new("tmux");
        let said = std::fs::File::create(stage.at("program")).expect("a file");
        command
            .args(["-N", "-u", "-S"])
            .arg(stage.socket())
            .args(["-C", "attach-session", "-E", "-f", "ignore-size,no-output"])
            .env_remove("TMUX")
            .stdin(Stdio::piped())
            .stdout(said);
        let mut child = command.spawn().expect("tmux");
        let stdin = child.stdin.take();
        let pid = child.id();
        let program = Self { child, stdin };
        stage.wait_until("the program is attached", || {
            stage.hosts().iter().any(|(_, client)| *client == pid)
        });
        program
    }

    /// Everything that it was told.
    fn leave(mut self, stage: &Stage) -> String {
        self.stdin.take();
        self.child.wait().expect("its end");
        let mut text = String::new();
        let mut file = std::fs::File::open(stage.at("program")).expect("a file");
        file.read_to_string(&mut text).expect("text");
        text
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.stdin.take();
        let _ = self.child.wait();
    }
}

#[test]
fn hostile_text_and_names_are_only_ever_text() {
    let stage = Stage::empty();
    let touch = |name: &str| format!("#(touch {})", stage.at(name).display());
    // tmux expands what it is given as a name, so that its job has to be masked here once.
    let name = |name: &str| format!("#{}", touch(name));
    stage.start_server(&["alpha", &name("session")]);
    let odd = "$1";
    let pane = stage.new_window(odd, &["-n", &name("window")]);
    stage.tmux(&["select-pane", "-t", &pane, "-T", &name("title")]);
    set_up(&stage);
    // What a user could write, though no line of `orch keys` does.
    stage.tmux(&["set-option", "-g", "status-right", "#{E:ORCH_STATUS}"]);
    stage.tmux(&["set-option", "-g", "status-interval", "1"]);
    let client = stage.seat_a_person("alpha");
    let server = stage.tmux(&["display-message", "-p", "#{pid}"]);
    stage.run();
    let program = Program::attach(&stage);

    let text = format!(
        "{} %s #{{pane_pid}} ; kill-server \"$HOME\" \x1b[31m\n",
        touch("message")
    );
    let literal = text.replace(['\x1b', '\n'], " ");
    let long = text + &"y".repeat(9_000);
    let seq = stage.emit("system_failure", &long, &[]);
    let event = stage.event(seq);
    assert_eq!(event["truncated"], true);
    assert_eq!(stage.outcome(seq)["result"], "delivered");
    let shown = format!("orch: ! system_failure: {literal}");
    stage.wait_until("it was drawn as it is", || stage.drawn().contains(&shown));
    let messages = stage.messages(&client);
    assert!(
        messages.len() == 1 && messages[0].contains(&literal),
        "{messages:?}"
    );
    stage.wait_until("the segment counts it", || {
        stage.status_line().contains("!1 system_failure")
    });

    // What orch says of a pane in such a session holds its name.
    stage.tmux(&["kill-pane", "-t", &pane]);
    let event = stage.event_about(&pane, "agent_exited");
    stage.wait_until("the segment names it by harmless letters", || {
        stage.status_line().contains("!1 x1 agent_exited __touch_")
    });
    let seq = event["seq"].as_u64().expect("a number");
    assert_eq!(stage.outcome(seq)["result"], "delivered");
    let named = format!("agent_exited: {}:", touch("session"));
    stage.wait_until("it was drawn as it is", || stage.drawn().contains(&named));

    // Jobs do run in this status line: what was not made by now never is.
    let job = format!("#{{E:ORCH_STATUS}} {}", touch("job"));
    stage.tmux(&["set-option", "-g", "status-right", &job]);
    stage.wait_until("a job of the user's has run", || stage.at("job").exists());
    stage.stop_and_verify();
    for name in ["message", "session", "window", "title"] {
        assert!(!stage.at(name).exists(), "{name}");
    }
    assert_eq!(stage.tmux(&["display-message", "-p", "#{pid}"]), server);
    // Nobody looks at a control-mode client, so it is told nothing.
    let told = program.leave(&stage);
    assert!(
        !told.contains("%message") && !told.contains("orch: "),
        "{told}"
    );
    let log = stage.tmux(&["show-messages"]);
    assert!(
        !log.lines()
            .any(|line| line.contains("client-") && line.contains(" message: "))
    );
}

#[test]
fn with_nobody_attached_it_waits_for_the_next_client() {
    let stage = Stage::with(&["alpha"]);
    set_up(&stage);
    stage.run();
    let texts = ["the first", "the second", "the third"];
    let seqs = texts.map(|text| stage.emit("system_failure", text, &[]));
    stage.wait_until("all wait", || {
        stage.status().expect("it runs")["waiting"] == 3
    });
    for seq in seqs {
        assert!(stage.event(seq)["outcome"].is_null());
    }
    let pending = stage.orch(&["verify", "--json"]);
    assert_eq!(pending.code, 0, "{pending:?}");
    assert_eq!(pending.lines()[0]["pending"], 3);
    let client = stage.seat_a_person("alpha");
    let results = seqs.map(|seq| stage.outcome(seq)["result"].clone());
    assert_eq!(results, ["coalesced", "coalesced", "delivered"]);
    assert_eq!(stage.outcome(seqs[2])["n"], 3);
    let messages = stage.messages(&client);
    assert!(
        messages.len() == 1 && messages[0].contains("the third (+2 more"),
        "{messages:?}"
    );
    stage.wait_until("nothing waits", || {
        stage.status().expect("it runs")["waiting"] == 0
    });
    stage.stop_and_verify();
}

#[test]
fn what_waits_can_be_dropped() {
    let stage = Stage::with(&["alpha"]);
    set_up(&stage);
    stage.run();
    let seqs = ["one", "two"].map(|text| stage.emit("system_failure", text, &[]));
    stage.wait_until("both wait", || {
        stage.status().expect("it runs")["waiting"] == 2
    });
    let said = stage.orch(&["clear-queues", "--json"]);
    assert_eq!(said.lines(), [json!({"cleared": 2})]);
    for seq in seqs {
        assert_eq!(stage.outcome(seq)["result"], "cleared");
    }
    // Whoever comes now is told of neither; the conditions still stand in the segment.
    let client = stage.seat_a_person("alpha");
    stage.wait_until("the segment counts both", || {
        stage.status_line().contains("!2")
    });
    let next = stage.emit("system_failure", "three", &[]);
    assert_eq!(stage.outcome(next)["result"], "delivered");
    let messages = stage.messages(&client);
    assert!(
        messages.len() == 1 && messages[0].ends_with("system_failure: three"),
        "{messages:?}"
    );
    stage.stop_and_verify();
}

#[test]
fn a_flood_of_the_same_is_one_message() {
    let stage = Stage::with(&["alpha"]);
    set_up(&stage);
    let client = stage.seat_a_person("alpha");
    stage.run_configured(PUSH_HIGH);
    let began = Instant::now();
    let critical = json!({"type": "system_failure", "message": "the same again", "source": "loop"});
    let high = |n: usize| json!({"type": "violation", "message": format!("step {n} of 9"), "source": "loop"});
    let events: Vec<Value> = (0..300).flat_map(|n| [critical.clone(), high(n)]).collect();
    emit_all(&stage, &events);
    stage.wait_until("all are decided", || {
        let counts = [
            outcomes(&stage, "system_failure"),
            outcomes(&stage, "violation"),
        ];
        counts.iter().all(|counts| !counts.contains_key("pending"))
    });
    let messages = stage.messages(&client);
    assert!(messages.len() <= most_since(began), "{messages:?}");
    for kind in ["system_failure", "violation"] {
        let counts = outcomes(&stage, kind);
        assert_eq!(counts.get("duplicate"), Some(&299), "{kind}: {counts:?}");
    }
    assert_eq!(stage.variable("ORCH_CRITICAL").as_deref(), Some("1"));
    stage.stop_and_verify();
}

#[test]
fn a_flood_of_different_ones_is_no_flood_of_messages() {
    let stage = Stage::with(&["alpha"]);
    set_up(&stage);
    let client = stage.seat_a_person("alpha");
    stage.run_configured(PUSH_HIGH);
    let began = Instant::now();
    let event =
        |kind: &str, n| json!({"type": kind, "message": format!("the {} part failed", word(n))});
    let events: Vec<Value> = (0..300)
        .flat_map(|n| [event("system_failure", n), event("violation", n)])
        .collect();
    let seqs = emit_all(&stage, &events);
    assert_eq!(seqs.len(), 600);
    stage.wait_until("all are decided", || {
        let counts = [
            outcomes(&stage, "system_failure"),
            outcomes(&stage, "violation"),
        ];
        counts.iter().all(|counts| !counts.contains_key("pending"))
    });
    let messages = stage.messages(&client);
    assert!(messages.len() <= most_since(began), "{messages:?}");
    assert!(
        messages[0].starts_with("! system_failure: "),
        "{messages:?}"
    );
    // Ten a minute in each lane, not more.
    let lanes = stage.status().expect("it runs")["lanes"].clone();
    let minutes = 1 + (began.elapsed().as_secs() / 60) as usize;
    for (kind, lane) in [("system_failure", "critical"), ("violation", "ordinary")] {
        let counts = outcomes(&stage, kind);
        let limited = counts.get("rate_limited").copied().unwrap_or(0);
        assert!(300 - limited <= 10 * minutes, "{kind}: {counts:?}");
        assert!(lanes[lane]["used_60s"].as_u64() <= Some(10), "{lanes}");
    }
    // What was held back is state: the segment counts every critical.
    assert_eq!(stage.variable("ORCH_CRITICAL").as_deref(), Some("300"));
    stage.stop_and_verify();
}

#[test]
fn at_a_stop_every_event_has_its_one_outcome() {
    let stage = Stage::with(&["alpha", "beta"]);
    stage.run();
    // Some wait for a person, who never comes.
    for n in 0..40 {
        let kind = [
            "system_failure",
            "violation",
            "task_completed",
            "agent_exited",
        ][n % 4];
        stage.emit(kind, &format!("the {} one", word(n)), &[]);
    }
    stage.see_a_new_pane("beta");
    assert!(stage.status().expect("it runs")["waiting"].as_u64() > Some(0));
    stage.stop_and_verify();
    // Whatever the next run says, it does not decide a second time.
    stage.run();
    stage.see_a_new_pane("beta");
    stage.stop_and_verify();
}
