//! The journal of a real orchestrator under what happens to disks and processes: killed, full, taken away, hurt. Tests
//! that need a disk of their own run again in a mount namespace of their own, where that is allowed.

mod stage;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use rustix::process::Signal;
use serde_json::{Value, json};
use stage::Stage;

/// How often an orchestrator is killed under load.
const KILLS: usize = 5;
/// Producers at a time, and events that each has to tell.
const PRODUCERS: usize = 8;
const TOLD: usize = 4_000;

/// Set for a test that runs in a namespace of its own.
const INSIDE: &str = "ORCH_TEST_INSIDE";

fn directory(stage: &Stage) -> PathBuf {
    stage.root().join("logs/events")
}

/// The newest day file.
fn today(stage: &Stage) -> PathBuf {
    let mut days: Vec<PathBuf> = std::fs::read_dir(directory(stage))
        .expect("a journal")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "jsonl"))
        .collect();
    days.sort();
    days.pop().expect("a day file")
}

/// `orch emit -` that tells these messages.
fn producer(stage: &Stage, messages: impl Iterator<Item = String> + Send + 'static) -> Child {
    let mut child = stage
        .program(&["emit", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("orch emit");
    let mut stdin = child.stdin.take().expect("a pipe");
    std::thread::spawn(move || {
        for message in messages {
            let line = json!({"type": "task_completed", "message": message, "source": "t"});
            if writeln!(stdin, "{line}").is_err() {
                return;
            }
        }
    });
    child
}

/// Reads what a producer is answered, as it comes: numbers by the lines that it told, from 1.
fn reading(child: &mut Child) -> JoinHandle<Vec<(usize, u64)>> {
    let output = child.stdout.take().expect("a pipe");
    std::thread::spawn(move || {
        BufReader::new(output)
            .lines()
            .filter_map(|line| {
                let answer: Value = serde_json::from_str(&line.ok()?).ok()?;
                Some((answer["line"].as_u64()? as usize, answer["seq"].as_u64()?))
            })
            .collect()
    })
}

/// The same until its end.
fn answers(mut child: Child) -> Vec<(usize, u64)> {
    let answers = reading(&mut child).join().expect("answers");
    child.wait().expect("its end");
    answers
}

fn told(round: usize, producer: usize, line: usize) -> String {
    format!("round {round} producer {producer} line {line}")
}

#[test]
fn f01_killed_under_load_every_acknowledged_event_is_there_once() {
    let stage = Stage::with(&["alpha"]);
    let mut acknowledged: BTreeMap<u64, String> = BTreeMap::new();
    for round in 0..KILLS {
        stage.run();
        let mut producers: Vec<Child> = (0..PRODUCERS)
            .map(|p| producer(&stage, (1..=TOLD).map(move |line| told(round, p, line))))
            .collect();
        let answers: Vec<_> = producers.iter_mut().map(reading).collect();
        // Each time a little later.
        let events = directory(&stage);
        let size = || -> u64 {
            let files = std::fs::read_dir(&events).into_iter().flatten().flatten();
            files
                .filter_map(|file| file.metadata().ok())
                .map(|m| m.len())
                .sum()
        };
        let before = size();
        stage.wait_until("it is under load", || {
            size() > before + 1_000_000 * (round as u64 + 1)
        });
        stage.signal(Signal::KILL);
        stage.ended();
        // What they could not tell any more is kept for the next start, one by one: not all of it is needed.
        for mut producer in producers {
            producer.kill().expect("a producer");
            producer.wait().expect("its end");
        }
        for (p, answers) in answers.into_iter().enumerate() {
            for (line, seq) in answers.join().expect("answers") {
                let twice = acknowledged.insert(seq, told(round, p, line));
                assert!(twice.is_none(), "seq {seq} was given twice");
            }
        }
    }
    stage.run();
    stage.wait_until("what was spooled is taken in", || {
        let spool = std::fs::read_dir(stage.root().join("spool"));
        spool
            .expect("a spool")
            .flatten()
            .all(|file| file.metadata().is_ok_and(|m| m.len() == 0))
    });
    assert!(acknowledged.len() > KILLS * 100, "{}", acknowledged.len());
    stage.stop();
    let report = stage.orch(&["verify"]);
    assert_eq!(report.code, 0, "{}", report.out);
    let mut found: BTreeMap<u64, String> = BTreeMap::new();
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for event in stage.events(&["--source", "t"]) {
        assert!(!event["outcome"].is_null(), "{event}");
        let message = event["message"].as_str().expect("a message").to_owned();
        *times.entry(message.clone()).or_default() += 1;
        found.insert(event["seq"].as_u64().expect("a number"), message);
    }
    for (seq, message) in &acknowledged {
        assert_eq!(found.get(seq), Some(message));
        assert_eq!(times[message], 1, "{message}");
    }
}

/// Runs the test of this name again as root of a user and mount namespace of its own. False where that is not allowed.
fn inside(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let program = std::env::current_exe().expect("this program");
    for flags in ["-Urm", "-m"] {
        let probe = Command::new("unshare")
            .args([flags, "mount", "-t", "tmpfs", "none", "/mnt"])
            .stderr(Stdio::null())
            .status();
        if !probe.is_ok_and(|status| status.success()) {
            continue;
        }
        let status = Command::new("unshare")
            .arg(flags)
            .arg(program)
            .args(["--exact", name, "--nocapture"])
            .env(INSIDE, "1")
            .status()
            .expect("unshare");
        assert!(status.success(), "{name} failed in its namespace");
        return false;
    }
    println!("SKIPPED {name}: no mount namespace can be made here");
    false
}

fn mount(arguments: &[&str]) {
    let status = Command::new("mount")
        .args(arguments)
        .status()
        .expect("mount");
    assert!(status.success(), "mount {arguments:?}");
}

/// Takes all the room that is left on the root's disk.
fn fill(stage: &Stage) -> PathBuf {
    let path = stage.root().join("fill");
    let mut file = std::fs::File::create(&path).expect("a file");
    while file.write_all(&[0; 4096]).is_ok() {}
    while file.write_all(&[0]).is_ok() {}
    path
}

#[test]
fn f04_a_full_disk_is_told_once_and_outlived_without_a_restart() {
    if !inside("f04_a_full_disk_is_told_once_and_outlived_without_a_restart") {
        return;
    }
    let stage = Stage::with(&["alpha"]);
    let root = stage.root();
    std::fs::create_dir(&root).expect("a directory");
    mount(&[
        "-t",
        "tmpfs",
        "-o",
        "size=1m",
        "tmpfs",
        &root.display().to_string(),
    ]);
    stage.run();
    // Somebody to be told.
    stage.seat_a_person("alpha");
    stage.emit("task_completed", "before", &[]);
    for round in 0..3 {
        let filled = fill(&stage);
        let child = producer(
            &stage,
            (0..300).map(move |n| format!("round {round} event {n}")),
        );
        stage.wait_until("the status says so", || {
            stage.status().is_some_and(|status| {
                let components = status["components"].as_array().expect("a list");
                let journal = components.iter().find(|c| c["name"] == "journal");
                let journal = journal.expect("the journal");
                journal["health"] == "failing"
                    && journal["last_error"]
                        .as_str()
                        .is_some_and(|e| e.contains("No space left"))
            })
        });
        // It is in the journal, and decided on, while there is no room for anything else.
        let critical = stage.wait_for("the disk is said to be full", || {
            stage
                .events(&["--type", "disk_full"])
                .into_iter()
                .find(|e| !e["outcome"].is_null())
        });
        assert_eq!(critical["severity"], "critical");
        std::fs::remove_file(filled).expect("room");
        let answers = answers(child);
        assert_eq!(answers.len(), 300, "round {round}");
        let seqs: Vec<u64> = answers.iter().map(|(_, seq)| *seq).collect();
        assert!(seqs.is_sorted(), "{seqs:?}");
    }
    assert_eq!(stage.count("disk_full"), 1);
    assert_eq!(stage.count("gap"), 0);
    stage.stop_and_verify();
    assert_eq!(stage.events(&["--source", "t"]).len(), 900);
}

#[test]
fn f07_a_journal_that_cannot_be_written_is_refused_at_the_start() {
    if !inside("f07_a_journal_that_cannot_be_written_is_refused_at_the_start") {
        return;
    }
    let stage = Stage::with(&["alpha"]);
    let events = directory(&stage);
    std::fs::create_dir_all(&events).expect("a directory");
    let place = events.display().to_string();
    mount(&["-t", "tmpfs", "-o", "ro", "tmpfs", &place]);
    let said = stage.orch(&["run"]).wrong(1);
    assert!(
        said.contains(&place) && said.contains("make it writable"),
        "{said}"
    );
    mount(&["-o", "remount,rw", &place]);
    stage.run();
    stage.emit("task_completed", "now", &[]);
    stage.stop_and_verify();
}

#[test]
fn f07_a_journal_that_is_taken_away_is_there_again() {
    let stage = Stage::with(&["alpha"]);
    stage.run();
    let first = stage.emit("task_completed", "before", &[]);
    std::fs::remove_dir_all(directory(&stage)).expect("no directory");
    let second = stage.emit("task_completed", "after", &[]);
    assert!(second > first);
    assert_eq!(stage.event(first)["message"], "before");
    let repaired = stage.wait_for("it is recorded", || {
        stage.events(&["--type", "log_repaired"]).pop()
    });
    assert_eq!(repaired["data"]["what"], "removed");
    stage.stop_and_verify();
}

#[test]
fn f08_what_is_cut_off_the_journal_is_recorded_and_named() {
    let stage = Stage::with(&["alpha"]);
    stage.run();
    let first = stage.emit("task_completed", "first", &[]);
    stage.outcome(first);
    let kept = std::fs::metadata(today(&stage)).expect("a file").len();
    let lost = stage.emit("task_completed", "lost", &[]);
    stage.outcome(lost);
    let file = std::fs::File::options().write(true).open(today(&stage));
    file.expect("a file").set_len(kept + 20).expect("a cut");
    let after = stage.emit("task_completed", "after", &[]);
    stage.outcome(after);
    let repaired = stage.wait_for("it is recorded", || {
        stage.events(&["--type", "log_repaired"]).pop()
    });
    assert_eq!(repaired["data"]["what"], "truncated");
    assert_eq!(repaired["data"]["lost"]["first_seq"], lost);
    assert_eq!(stage.event(after)["message"], "after");
    stage.stop();
    let said = stage.orch(&["verify"]);
    assert_eq!(said.code, 1, "{}", said.out);
    let gap = format!("follows {}, ", lost - 1);
    assert!(said.out.contains(&gap), "{}", said.out);
}

#[test]
fn f09_a_damaged_line_in_the_middle_is_counted_and_left_alone() {
    let stage = Stage::with(&["alpha"]);
    stage.run();
    let seqs: Vec<u64> = (0..3)
        .map(|n| stage.emit("bell", &format!("m{n}"), &[]))
        .collect();
    stage.stop_and_verify();
    let path = today(&stage);
    let mut bytes = std::fs::read(&path).expect("a journal");
    let at = bytes
        .windows(4)
        .position(|four| four == b"\"m1\"")
        .expect("the line");
    bytes[at] = 0xff;
    std::fs::write(&path, &bytes).expect("a journal");
    let said = stage.orch(&["verify"]);
    assert_eq!(said.code, 1);
    assert!(
        said.out.contains("not a journal line") && said.out.contains("1 missing"),
        "{}",
        said.out
    );
    stage.run();
    stage.emit("bell", "later", &[]);
    let said = stage.orch(&["events", "--type", "bell", "--json"]);
    assert_eq!((said.code, said.lines().len()), (0, seqs.len()), "{said:?}");
    assert!(
        said.err.contains("1 line could not be read"),
        "{}",
        said.err
    );
    stage.stop();
    let now = std::fs::read(&path).expect("a journal");
    assert!(now.starts_with(&bytes), "it was changed");
}

/// A journal of the days before today, whole, with so many events each.
fn past(stage: &Stage, days: i64, events: u64) -> u64 {
    let directory = directory(stage);
    std::fs::create_dir_all(&directory).expect("a directory");
    let mut seq = 0;
    for back in (1..=days).rev() {
        let at = chrono::Local::now() - chrono::Duration::days(back);
        let ts = at.to_rfc3339();
        let mut text = String::new();
        for _ in 0..events {
            seq += 2;
            let of = seq - 1;
            let event = json!({"v": 1, "seq": of, "ts": ts, "type": "bell", "severity": "low", "source": "t", "message": format!("past {of}")});
            let outcome = json!({"v": 1, "seq": seq, "ts": ts, "type": "outcome", "of": of, "result": "delivered", "reason": ""});
            // As the journal has them: number and time first.
            for line in [event, outcome] {
                text += &line.to_string();
                text.push('\n');
            }
        }
        let name = format!("{}.jsonl", at.format("%Y-%m-%d"));
        std::fs::write(directory.join(name), text).expect("a day");
    }
    seq
}

#[test]
fn f03_old_days_are_compressed_and_deleted_behind_a_running_orchestrator() {
    let stage = Stage::with(&["alpha"]);
    let last = past(&stage, 20, 40);
    let names = || {
        let entries = std::fs::read_dir(directory(&stage))
            .expect("a journal")
            .flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort();
        names
    };
    stage.run_configured("retention: {days: 0, max_mb: 0, compress_after_days: 0}");
    stage.wait_until("housekeeping has been here", || {
        directory(&stage).join(".checkpoint").exists()
    });
    assert_eq!(names().len(), 21);
    // In force at once.
    stage.write(
        "orch.yaml",
        "retention: {days: 15, compress_after_days: 10}",
    );
    stage.signal(Signal::HUP);
    stage.wait_until("all is compressed and deleted", || {
        let names = names();
        names.iter().filter(|name| name.ends_with(".zst")).count() == 5
            && names.iter().filter(|name| name.ends_with(".jsonl")).count() == 11
    });
    let records = stage.events(&["--source", "journal", "--type", "status_update"]);
    let deleted: Vec<&Value> = records
        .iter()
        .map(|e| &e["data"])
        .filter(|d| d["op"] == "retention")
        .collect();
    assert_eq!(deleted.len(), 5);
    assert_eq!(
        (&deleted[0]["first_seq"], &deleted[0]["last_seq"]),
        (&json!(1), &json!(80))
    );
    // Compressed or not, they are read alike.
    let after = (last - 10).to_string();
    let raw = stage.orch(&["events", "--after", &after]).well();
    assert!(raw.lines().count() >= 10, "{raw}");
    assert_eq!(stage.events(&["--source", "t"]).len(), 15 * 40);
    let raw = stage.orch(&["events", "--after", "500"]);
    assert_eq!(raw.lines()[0]["seq"], 501);
    stage.stop_and_verify();
}

#[test]
fn f02_what_was_not_synced_is_gone_and_nothing_else() {
    let stage = Stage::with(&["alpha"]);
    stage.run();
    for n in 0..20 {
        stage.emit("bell", &format!("m{n}"), &[]);
    }
    stage.signal(Signal::KILL);
    stage.ended();
    let path = today(&stage);
    let whole = std::fs::read(&path).expect("a journal");
    for lost in [1, 30, 200] {
        // As after a power cut: the last bytes are not there, or are zeros.
        let mut bytes = whole.clone();
        bytes.truncate(whole.len() - lost);
        if lost == 30 {
            bytes.resize(whole.len(), 0);
        }
        let kept = bytes.iter().rposition(|b| *b == b'\n').expect("a line") + 1;
        let kept_lines = bytes[..kept].iter().filter(|b| **b == b'\n').count() as u64;
        std::fs::write(&path, &bytes).expect("a journal");
        // Nor is anything that the runs since have remembered.
        std::fs::remove_dir_all(stage.root().join("state")).expect("a directory");
        let _ = std::fs::remove_file(directory(&stage).join(".checkpoint"));
        stage.run();
        let repaired = stage.wait_for("it is recorded", || {
            stage.events(&["--type", "log_repaired"]).pop()
        });
        assert_eq!(repaired["data"]["offset"], kept);
        assert!(repaired["seq"].as_u64() > Some(kept_lines));
        stage.stop_and_verify();
        let mut now = Vec::new();
        std::fs::File::open(&path)
            .expect("a file")
            .read_to_end(&mut now)
            .expect("a journal");
        assert!(now.starts_with(&bytes[..kept]));
    }
}
