//! What stands on disk beside the journal: session files in the predecessor's words, and the spool.

mod stage;

use rustix::process::Signal;
use serde_json::Value;
use stage::Stage;

fn state_of(stage: &Stage, session: &str) -> Option<Value> {
    let path = stage
        .root()
        .join("registry/projects")
        .join(session)
        .join("session_state.json");
    let text = std::fs::read_to_string(path).ok()?;
    Some(serde_json::from_str(&text).expect("old or new, never half"))
}

fn pane_of(stage: &Stage, session: &str) -> String {
    stage.tmux(&[
        "display-message",
        "-p",
        "-t",
        &format!("={session}:"),
        "#{pane_id}",
    ])
}

#[test]
fn session_files_follow_what_is_urgent_at_once_and_the_rest_in_time() {
    let stage = Stage::with(&["alpha", "beta"]);
    stage.run();
    let (a, b) = (pane_of(&stage, "alpha"), pane_of(&stage, "beta"));
    stage.emit("task_completed", "beta did it", &["--pane", &b]);
    let data = r#"{"agent": "alpha:0", "reset_time": "18:00"}"#;
    stage.emit("credit_exhausted", "out of credit", &["--data", data]);
    let alpha = stage.wait_for("the state of alpha", || state_of(&stage, "alpha"));
    let agent = &alpha["agents"]["first"];
    assert_eq!(
        (&agent["is_exhausted"], &agent["credit_reset_time"]),
        (&true.into(), &"18:00".into())
    );
    assert_eq!(alpha["session_name"], "alpha");
    assert!(
        state_of(&stage, "beta").is_none(),
        "chatter waits for its interval"
    );
    stage.emit(
        "credit_reset",
        "again",
        &["--pane", &a, "--severity", "high"],
    );
    stage.wait_until("the credit is back", || {
        let state = state_of(&stage, "alpha").expect("it was there");
        let agent = &state["agents"]["first"];
        agent["is_exhausted"] == false && agent["credit_reset_time"].is_null()
    });

    // What waited when the process was killed is told by the next run.
    stage.signal(Signal::KILL);
    stage.ended();
    assert!(state_of(&stage, "beta").is_none());
    stage.run();
    stage.stop_and_verify();
    let beta = state_of(&stage, "beta").expect("the state of beta");
    let report = &beta["status_reports"]["cli"];
    assert_eq!(
        (&report["topic"], &report["details"]),
        (&"task_completion".into(), &"beta did it".into())
    );
    assert_eq!(report["status"], "COMPLETE");
}

#[test]
fn session_files_can_be_switched_off_and_their_interval_set() {
    let stage = Stage::with(&["alpha"]);
    let pane = pane_of(&stage, "alpha");
    stage.run_configured("session_state: {enabled: false}");
    let status = stage.status().expect("it runs");
    let row = status["components"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|row| row["name"] == "session_state");
    assert_eq!(row.expect("a row")["health"], "disabled");
    stage.emit("critical_violation", "m", &["--pane", &pane]);
    stage.stop();
    assert!(!stage.root().join("registry").exists());
    stage.run_configured("session_state: {update_interval: 1}");
    stage.emit("task_completed", "m", &["--pane", &pane]);
    stage.wait_until("chatter is written in time", || {
        state_of(&stage, "alpha").is_some()
    });
}

#[test]
fn what_was_spooled_comes_in_order_and_before_what_comes_later() {
    let stage = Stage::with(&["alpha"]);
    let lines: String = (0..600)
        .map(|n| {
            let severity = if n % 300 == 7 { "critical" } else { "low" };
            format!("{{\"type\":\"spooled\",\"message\":\"{n}\",\"severity\":\"{severity}\"}}\n")
        })
        .collect();
    let said = stage.orch_reading(&["emit", "-"], &lines);
    assert!(said.lines().iter().all(|line| line["spooled"] == true));
    stage.spawn(&[]);
    // As early as its socket answers.
    stage.wait_until("it takes an event", || {
        stage
            .orch(&["emit", "live", "m"])
            .out
            .trim()
            .parse::<u64>()
            .is_ok()
    });
    let live = stage.events(&["--type", "live"]).remove(0);
    let spooled = stage.events(&["--type", "spooled"]);
    let messages: Vec<u64> = spooled
        .iter()
        .map(|event| event["message"].as_str().unwrap().parse().unwrap())
        .collect();
    assert_eq!(messages, (0..600).collect::<Vec<_>>());
    for event in &spooled {
        assert!(event["seq"].as_u64() < live["seq"].as_u64());
        assert!(
            event["emitted_at"]
                .as_str()
                .is_some_and(|at| at < event["ts"].as_str().unwrap()),
            "{event}"
        );
    }
    // One who does not find the socket of an orchestrator that runs: it looks again.
    let elsewhere = stage.at("elsewhere");
    std::fs::create_dir(&elsewhere).expect("a directory");
    let late = stage
        .program(&["emit", "late", "m"])
        .env("XDG_RUNTIME_DIR", &elsewhere)
        .output()
        .expect("orch");
    assert!(
        String::from_utf8_lossy(&late.stderr).contains("no orchestrator"),
        "{late:?}"
    );
    stage.wait_until("it is found", || stage.count("late") == 1);
    stage.wait_until("orch is attached", || {
        stage.status().is_some_and(|status| status["ready"] == true)
    });
    stage.stop_and_verify();
}

#[test]
fn what_a_killed_start_had_taken_from_the_spool_is_not_taken_twice() {
    let stage = Stage::with(&["alpha"]);
    let lines: String = (0..5000)
        .map(|n| format!("{{\"type\":\"spooled\",\"message\":\"{n}\"}}\n"))
        .collect();
    stage.orch_reading(&["emit", "-"], &lines).well();
    let events = stage.root().join("logs/events");
    let size = || -> u64 {
        let files = std::fs::read_dir(&events).into_iter().flatten().flatten();
        files
            .filter_map(|file| Some(file.metadata().ok()?.len()))
            .sum()
    };
    // Killed in the middle of it, several times.
    for _ in 0..4 {
        let before = size();
        stage.spawn(&[]);
        stage.wait_until("it takes some in", || {
            size() > before + 20_000 || stage.count("spooled") >= 5000
        });
        stage.signal(Signal::KILL);
        stage.ended();
    }
    stage.run();
    stage.wait_until("all is taken", || stage.count("spooled") >= 5000);
    stage.stop_and_verify();
    let spooled = stage.events(&["--type", "spooled"]);
    let messages: Vec<u64> = spooled
        .iter()
        .map(|event| {
            event["message"]
                .as_str()
                .expect("a text")
                .parse()
                .expect("a number")
        })
        .collect();
    assert_eq!(messages, (0..5000).collect::<Vec<_>>());
}

#[test]
fn what_was_spooled_for_the_default_root_is_found_from_another() {
    let stage = Stage::with(&["alpha"]);
    // As a script does that knows nothing of roots.
    let socket = stage.socket().display().to_string();
    let said = stage.bare(&["-S", &socket, "emit", "early", "m"]);
    assert!(
        said.code == 0 && said.err.contains("no orchestrator"),
        "{said:?}"
    );
    stage.run();
    stage.wait_until("it is found", || stage.count("early") == 1);
    stage.stop_and_verify();
}

#[test]
fn a_session_file_that_cannot_be_read_holds_up_nobody() {
    let stage = Stage::with(&["alpha"]);
    let pane = pane_of(&stage, "alpha");
    let folder = stage.root().join("registry/projects/alpha");
    std::fs::create_dir_all(&folder).expect("a directory");
    let path = folder.join("session_state.json");
    let pipe = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(pipe.expect("mkfifo").success());
    stage.run();
    stage.emit("violation", "m", &["--pane", &pane]);
    let many = "{\"type\":\"x\",\"message\":\"m\"}\n".repeat(12_000);
    stage.orch_reading(&["emit", "-"], &many).well();
    stage.wait_until("a file of its own stands there", || {
        path.is_file() && state_of(&stage, "alpha").is_some()
    });
    stage.stop_and_verify();
}
