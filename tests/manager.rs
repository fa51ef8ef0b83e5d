//! The process as a whole against what may befall it: clients that mean harm, descriptors that run out, files that are
//! taken away, many starts at once, ends under load. One test for each fault, by its number.

mod stage;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit, setrlimit};
use serde_json::{Value, json};
use stage::{Said, Stage};

/// Resident memory that no client can make the process exceed.
const MOST_MEMORY: u64 = 64 << 20;

fn socket_of(stage: &Stage) -> PathBuf {
    let status = stage.status().expect("it runs");
    status["socket"].as_str().expect("a path").into()
}

fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).expect("a connection");
    let patience = Some(stage::PATIENCE);
    stream.set_read_timeout(patience).expect("a timeout");
    stream.set_write_timeout(patience).expect("a timeout");
    stream
}

/// A well-behaved client.
struct Good {
    stream: BufReader<UnixStream>,
    last: u64,
}

impl Good {
    fn at(path: &Path) -> Self {
        Self {
            stream: BufReader::new(connect(path)),
            last: 0,
        }
    }

    fn ask(&mut self, line: &str) -> Value {
        let stream = self.stream.get_mut();
        writeln!(stream, "{line}").expect("a connection");
        let mut answer = String::new();
        self.stream.read_line(&mut answer).expect("an answer");
        serde_json::from_str(&answer).unwrap_or_else(|e| panic!("{e}: {answer:?}"))
    }

    /// Emits and asks for the status: both are answered, and the numbers go up.
    #[track_caller]
    fn is_served(&mut self) {
        let seq = self.ask(&emit("task_completed", "good"))["seq"].as_u64();
        let seq = seq.expect("a number");
        assert!(seq > self.last);
        self.last = seq;
        assert!(self.ask(r#"{"op":"status"}"#)["status"].is_object());
    }
}

fn emit(kind: &str, message: &str) -> String {
    json!({"op": "emit", "event": {"type": kind, "message": message}}).to_string()
}

/// The most memory that the process ever had.
fn memory(pid: Pid) -> u64 {
    let path = format!("/proc/{}/status", pid.as_raw_nonzero());
    let status = std::fs::read_to_string(path).expect("its status");
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let number = line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
    number.expect("a number") << 10
}

fn pid_said(said: &Said) -> u32 {
    let rest = said.out.split("pid ").nth(1).expect("a pid");
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}

/// How the orchestrator that the stage spawned ended; what it said then stands in `orch.err`.
fn end_of(stage: &Stage) -> String {
    stage.ended();
    std::fs::read_to_string(stage.at("orch.err")).unwrap_or_default()
}

// ---- clients that mean harm --------------------------------------------------------------------------------------

#[test]
fn f13_clients_that_never_read_cost_only_themselves() {
    let stage = Stage::with(&["alpha"]);
    stage.run();
    let path = socket_of(&stage);
    let mut good = Good::at(&path);
    let mut harm = Vec::new();
    for _ in 0..4 {
        let mut watching = connect(&path);
        writeln!(watching, r#"{{"op":"watch"}}"#).expect("a connection");
        harm.push(watching);
    }
    // Writes as long as anybody takes it, and reads nothing.
    let mut writing = connect(&path);
    writing
        .set_write_timeout(Some(Duration::from_secs(1)))
        .expect("a timeout");
    let line = emit("status_update", &"x".repeat(2000)) + "\n";
    let mut taken = 0;
    while taken < 50_000 && writing.write_all(line.as_bytes()).is_ok() {
        taken += 1;
        if taken % 500 == 0 {
            good.is_served();
        }
    }
    assert!(taken < 50_000, "somebody took it all and kept the answers");
    for _ in 0..20 {
        good.is_served();
    }
    assert!(stage.status().is_some());
    assert!(memory(stage.pid()) < MOST_MEMORY, "{}", memory(stage.pid()));
    drop((harm, writing));
    good.is_served();
    stage.stop_and_verify();
}

#[test]
fn f13_clients_that_ask_for_much_and_never_read_cost_only_themselves() {
    let stage = Stage::with(&["alpha"]);
    for n in 0..20 {
        stage.new_window("alpha", &["-n", &format!("window {n}")]);
    }
    stage.run();
    stage.roster_agrees();
    let path = socket_of(&stage);
    let mut good = Good::at(&path);
    let before = memory(stage.pid());
    let asked = [
        r#"{"op":"panes"}"#.to_owned(),
        r#"{"op":"status"}"#.to_owned(),
        r#"{"op":"mutes"}"#.to_owned(),
        format!(r#"{{"op":"{}"}}"#, "x".repeat(500)),
    ];
    let harm: Vec<UnixStream> = (0..100)
        .map(|n| {
            let mut stream = connect(&path);
            let asked = format!("{}\n", asked[n % asked.len()]).repeat(400);
            // Until nobody takes any more of it.
            let _ = stream.set_write_timeout(Some(Duration::from_millis(50)));
            let _ = stream.write_all(asked.as_bytes());
            stream
        })
        .collect();
    for _ in 0..10 {
        good.is_served();
    }
    let taken = memory(stage.pid()) - before;
    assert!(taken < MOST_MEMORY, "{taken}");
    drop(harm);
    good.is_served();
    stage.stop_and_verify();
}

#[test]
fn f10_a_line_of_100_mb_is_refused_and_takes_no_memory() {
    let stage = Stage::with(&["alpha"]);
    stage.run();
    let path = socket_of(&stage);
    let mut good = Good::at(&path);
    let chunk = vec![b'x'; 1 << 20];
    let mut endless = connect(&path);
    let mut refused = false;
    for _ in 0..100 {
        refused |= endless.write_all(&chunk).is_err();
        good.is_served();
    }
    assert!(refused, "100 MB were taken for a line");
    // The same for many lines of which none is a request.
    let mut garbage = connect(&path);
    for _ in 0..100 {
        garbage.write_all(&[0; 1000]).expect("a connection");
        garbage.write_all(b"\n").expect("a connection");
    }
    let mut answer = String::new();
    BufReader::new(&garbage)
        .read_line(&mut answer)
        .expect("an answer");
    assert!(answer.contains("not a request"), "{answer}");
    assert!(memory(stage.pid()) < MOST_MEMORY, "{}", memory(stage.pid()));

    // Through the command the line alone is an error, and those around it are events.
    let mut child = stage
        .program(&["emit", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("orch");
    let mut input = child.stdin.take().expect("a pipe");
    let line = |n: u32| json!({"type": "task_completed", "message": n}).to_string();
    let line = |n: u32| line(n).replace(&format!(":{n}"), &format!(":\"{n}\"")) + "\n";
    input.write_all(line(1).as_bytes()).expect("a pipe");
    for _ in 0..100 {
        input.write_all(&chunk).expect("a pipe");
    }
    let most = memory(Pid::from_child(&child));
    input.write_all(b"\n").expect("a pipe");
    input.write_all(line(2).as_bytes()).expect("a pipe");
    drop(input);
    let said: Said = child.wait_with_output().expect("orch").into();
    let answers = said.lines();
    assert_eq!((said.code, answers.len()), (1, 3), "{said:?}");
    assert!(answers[0]["seq"].is_u64() && answers[2]["seq"].is_u64());
    let error = answers[1]["error"].as_str().expect("an error");
    assert!(error.contains("bytes"), "{error}");
    assert!(most < MOST_MEMORY, "{most}");
    good.is_served();
    stage.stop_and_verify();
}

#[test]
fn f34_a_thousand_connections_and_few_descriptors_harm_nobody() {
    let stage = Stage::with(&["alpha"]);
    stage.run();
    let path = socket_of(&stage);
    let mut good = Good::at(&path);
    // The test's own side of a thousand connections.
    let own = getrlimit(Resource::Nofile);
    let more = Rlimit {
        current: own.maximum,
        ..own
    };
    setrlimit(Resource::Nofile, more).expect("descriptors");
    let few = |current| Rlimit {
        current: Some(current),
        maximum: own.maximum,
    };
    prlimit(Some(stage.pid()), Resource::Nofile, few(64)).expect("a limit");
    let idle: Vec<UnixStream> = (0..1000)
        .map(|n| {
            if n % 50 == 0 {
                good.is_served();
            }
            connect(&path)
        })
        .collect();
    good.is_served();
    stage.emit("task_completed", "beside a thousand", &[]);
    drop(idle);

    // Not one descriptor left: who is there is served, who comes waits, and is served when there is one again.
    let pid = stage.pid().as_raw_nonzero();
    let is_open = |fd: &u64| Path::new(&format!("/proc/{pid}/fd/{fd}")).is_symlink();
    let mut waiting = Vec::new();
    stage.wait_until("it says that nobody can connect", || {
        // Up to the first number that is free; one that is given back later is taken by one who waits.
        let open = (0..).take_while(is_open).count() as u64;
        prlimit(Some(stage.pid()), Resource::Nofile, few(open)).expect("a limit");
        if waiting.len() < 4 {
            waiting.push(connect(&path));
        }
        let status = good.ask(r#"{"op":"status"}"#);
        let rows = status["status"]["components"].as_array().cloned();
        let rows = rows.expect("rows");
        rows.iter().any(|row| {
            row["name"] == "api"
                && row["health"] == "failing"
                && row["last_error"].to_string().contains("nobody can connect")
        })
    });
    good.is_served();
    prlimit(Some(stage.pid()), Resource::Nofile, own).expect("a limit");
    let mut waiting = Good {
        stream: BufReader::new(waiting.pop().expect("one waits")),
        last: 0,
    };
    waiting.is_served();
    assert_eq!(health(&stage, "api"), "ok");
    assert!(memory(stage.pid()) < MOST_MEMORY, "{}", memory(stage.pid()));
    drop((waiting, good));
    stage.stop_and_verify();
}

fn health(stage: &Stage, name: &str) -> String {
    let status = stage.status().expect("it runs");
    let rows = status["components"].as_array().expect("rows");
    let row = rows.iter().find(|row| row["name"] == name);
    let row = row.unwrap_or_else(|| panic!("no {name} in {rows:?}"));
    row["health"].as_str().expect("a word").to_owned()
}

// ---- what is taken away, and who must not come in ----------------------------------------------------------------

#[test]
fn f35_a_socket_or_directory_that_is_removed_is_made_anew() {
    let stage = Stage::with(&["alpha"]);
    stage.run();
    let path = socket_of(&stage);
    let pid = stage.status().expect("it runs")["pid"].clone();
    let directory = path.parent().expect("a directory").to_owned();
    std::fs::remove_file(&path).expect("it is removed");
    stage.wait_until("it listens again", || stage.status().is_some());
    std::fs::remove_dir_all(&directory).expect("it is removed");
    stage.wait_until("it listens again", || stage.status().is_some());
    assert_eq!(stage.status().expect("it runs")["pid"], pid);
    // And it is the only one again.
    stage.orch(&["run"]).wrong(4);
    assert_eq!(pid_said(&stage.orch(&["start"])), pid);
    assert_eq!(
        directory.metadata().expect("it is there").mode() & 0o777,
        0o700
    );
    assert_eq!(health(&stage, "api"), "ok");
    stage.stop_and_verify();
}

#[test]
fn f35_whose_lock_another_has_taken_ends_and_leaves_it_alone() {
    let stage = Stage::with(&["alpha"]);
    stage.run();
    let path = socket_of(&stage);
    stage.signal(Signal::STOP);
    std::fs::remove_dir_all(path.parent().expect("a directory")).expect("it is removed");
    let second = stage.program_at(&stage.at("other"), &["start"]).output();
    let second = pid_said(&second.expect("orch").into());
    stage.signal(Signal::CONT);
    let said = end_of(&stage);
    assert!(
        said.contains("another orchestrator has taken over") && said.contains(&second.to_string()),
        "{said}"
    );
    let status = stage.status().expect("the second runs");
    assert_eq!(status["pid"], second);
    stage.orch(&["stop"]).well();
    assert_eq!(stage.orch(&["verify"]).code, 0);
}

#[test]
fn f35_a_runtime_directory_that_others_could_use_is_refused() {
    let stage = Stage::with(&["alpha"]);
    let run = stage.at("run");
    let directory = run.join("orch");
    let refused = |why: &str| {
        for verb in ["run", "start", "status", "stop"] {
            let said = stage.orch(&[verb]).wrong(1);
            assert!(
                said.contains(why) && said.contains("XDG_RUNTIME_DIR"),
                "{said}"
            );
        }
    };
    symlink(stage.at("home"), &directory).expect("a link");
    refused("it is a symbolic link");
    std::fs::remove_file(&directory).expect("it is removed");
    std::fs::write(&directory, "").expect("a file");
    refused("it is no directory");
    std::fs::remove_file(&directory).expect("it is removed");
    std::fs::create_dir(&directory).expect("a directory");
    for mode in [0o770, 0o711, 0o707] {
        std::fs::set_permissions(&directory, PermissionsExt::from_mode(mode)).expect("a mode");
        refused("others may enter or write it");
    }
    std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o700)).expect("a mode");
    match std::os::unix::fs::chown(&directory, Some(65_534), None) {
        Ok(()) => refused("it belongs to somebody else"),
        Err(_) => eprintln!("skipped: only root can give a directory away"),
    }
    let long = stage.at(&"x".repeat(100));
    std::fs::create_dir(&long).expect("a directory");
    let said = stage
        .program(&["run"])
        .env("XDG_RUNTIME_DIR", &long)
        .output();
    let said = Said::from(said.expect("orch")).wrong(1);
    assert!(said.contains("107 are possible"), "{said}");
}

#[test]
fn f36_another_user_is_refused_by_mode_and_by_the_kernels_word() {
    if rustix::process::geteuid().as_raw() != 0 {
        eprintln!("skipped: only root can become another user");
        return;
    }
    let stage = Stage::with(&["alpha"]);
    stage.run();
    let path = socket_of(&stage);
    // As nobody, in a thread: what it gets for a status.
    let asked = || {
        let path = path.clone();
        let asking = std::thread::spawn(move || {
            let nobody = rustix::process::Uid::from_raw(65_534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody)?;
            let mut stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(stage::PATIENCE))?;
            // The other end may be closed before the question.
            let _ = writeln!(stream, r#"{{"op":"status"}}"#);
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer);
            Ok::<String, std::io::Error>(answer)
        });
        asking.join().expect("a thread")
    };
    let refused = asked().expect_err("the mode of the directory");
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
    let open = |path: &Path, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("a mode");
    };
    for directory in path.ancestors().skip(1).take(3) {
        open(directory, 0o711);
    }
    open(&path, 0o666);
    let mut own = Good::at(&path);
    assert_eq!(asked().expect("a connection"), "");
    own.is_served();
    drop(own);
    open(path.parent().expect("a directory"), 0o700);
    let told = std::fs::read_to_string(stage.root().join("logs/orch.out")).expect("diagnostics");
    assert!(
        told.contains("refused a connection of user 65534"),
        "{told}"
    );
    stage.stop_and_verify();
}

// ---- one of a kind -----------------------------------------------------------------------------------------------

fn in_background(mut command: Command) -> Child {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().expect("orch")
}

#[test]
fn f26_fifty_starts_at_once_are_one_orchestrator() {
    let stage = Stage::with(&["alpha"]);
    let starts: Vec<Child> = (0..50)
        .map(|_| in_background(stage.program(&["start"])))
        .collect();
    let said: Vec<Said> = starts
        .into_iter()
        .map(|start| start.wait_with_output().expect("orch").into())
        .collect();
    let pid = stage.status().expect("it runs")["pid"].clone();
    for said in &said {
        assert_eq!(said.code, 0, "{said:?}");
        assert_eq!(json!(pid_said(said)), pid);
    }
    assert_eq!(stage.hosts().len(), 1);
    stage.orch(&["stop"]).well();
    assert_eq!(stage.count("tmux_attached"), 1);
}

#[test]
fn f27_a_pid_file_that_names_a_stranger_harms_neither() {
    let stage = Stage::with(&["alpha"]);
    let mut stranger = Command::new("sleep").arg("600").spawn().expect("sleep");
    std::fs::create_dir_all(stage.root().join("logs")).expect("a directory");
    std::fs::write(
        stage.root().join("logs/orch.pid"),
        stranger.id().to_string(),
    )
    .expect("a file");
    stage.orch(&["stop"]).wrong(3);
    let pid = pid_said(&stage.orch(&["start"]));
    assert_ne!(pid, stranger.id());
    let written = std::fs::read_to_string(stage.root().join("logs/orch.pid")).expect("a file");
    assert_eq!(written, format!("{pid}\n"));
    // Also in the lock's own file, while it runs.
    let lock = socket_of(&stage).with_extension("lock");
    let lie = json!({"pid": stranger.id(), "root": stage.root()}).to_string();
    std::fs::write(&lock, lie).expect("a file");
    stage.orch(&["stop"]).well();
    assert!(stranger.try_wait().expect("a child").is_none());
    assert!(stage.status().is_none());
    stranger.kill().expect("a child");
    stranger.wait().expect("a child");
}

#[test]
fn two_servers_never_write_one_journal() {
    let stage = Stage::with(&["alpha"]);
    let other = Stage::beside(&stage, &["beta"]);
    stage.run();
    let root = stage.root().display().to_string();
    let pid = stage.pid().as_raw_nonzero().to_string();
    let at_that_root = |verb| {
        let said = other.program_at(&stage.root(), &[verb]).output();
        Said::from(said.expect("orch"))
    };
    for verb in ["start", "run"] {
        let said = at_that_root(verb).wrong(1);
        assert!(
            said.contains(&root) && said.contains(&pid) && said.contains("--root"),
            "{said}"
        );
    }
    // A root of its own is all it needs.
    other.run();
    other.stop_and_verify();
    // And a root that is free again.
    stage.stop();
    at_that_root("start").well();
    other.orch(&["stop"]).well();
    assert_eq!(stage.orch(&["verify"]).code, 0);
}

#[test]
fn start_says_so_when_the_one_that_runs_hangs() {
    let stage = Stage::with(&["alpha"]);
    stage.run();
    let pid = stage.pid().as_raw_nonzero().to_string();
    stage.signal(Signal::STOP);
    let since = Instant::now();
    let said = stage.orch(&["start"]).wrong(1);
    assert!(since.elapsed() >= Duration::from_secs(10), "{said}");
    for words in [&format!("pid {pid}"), "10 s", "kill -9", "orch logs"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    stage.signal(Signal::CONT);
    assert_eq!(pid_said(&stage.orch(&["start"])).to_string(), pid);
    stage.stop_and_verify();
}

// ---- ends and reloads --------------------------------------------------------------------------------------------

/// Emits without end and without waiting, until the connection is closed.
fn flood(path: &Path) -> std::thread::JoinHandle<()> {
    let stream = connect(path);
    let reading = stream.try_clone().expect("a connection");
    std::thread::spawn(move || {
        let mut reading = BufReader::new(reading);
        let drain = std::thread::spawn(move || {
            let mut line = String::new();
            while reading.read_line(&mut line).is_ok_and(|n| n > 0) {
                line.clear();
            }
        });
        let line = emit("violation", "flood") + "\n";
        let mut stream = stream;
        while stream.write_all(line.as_bytes()).is_ok() {}
        let _ = drain.join();
    })
}

#[test]
fn f28_a_stop_under_load_writes_every_outcome() {
    let stage = Stage::with(&["alpha"]);
    stage.run();
    let path = socket_of(&stage);
    let floods: Vec<_> = (0..3).map(|_| flood(&path)).collect();
    let begun = stage.emit("task_completed", "in the flood", &[]);
    let before = stage.status().expect("it runs");
    let accepted = before["events"]["accepted"].as_u64().expect("a number");
    assert!(accepted >= begun.min(1));
    stage.signal(Signal::TERM);
    let since = Instant::now();
    let code = stage.exit_code();
    assert!(since.elapsed() < Duration::from_secs(10));
    assert_eq!(code, Some(0));
    floods
        .into_iter()
        .for_each(|flood| flood.join().expect("a thread"));
    assert_eq!(stage.orch(&["verify"]).code, 0);
    let without = stage
        .events(&[])
        .into_iter()
        .find(|e| e["outcome"].is_null());
    assert_eq!(without, None);
}

/// A tmux server that does not answer: to be set going again.
struct Hung(Pid);

impl Hung {
    fn server(stage: &Stage) -> Self {
        let pid = stage.tmux(&["display-message", "-p", "#{pid}"]);
        let pid = Pid::from_raw(pid.parse().expect("a number")).expect("a pid");
        kill_process(pid, Signal::STOP).expect("a signal");
        Self(pid)
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

#[test]
fn f28_a_stop_with_a_hung_tmux_ends_in_time_and_a_second_one_at_once() {
    let stage = Stage::with(&["alpha"]);
    for second in [false, true] {
        stage.run();
        stage.emit("violation", "before the end", &[]);
        let mut guest = connect(&socket_of(&stage));
        let hung = Hung::server(&stage);
        let since = Instant::now();
        if second {
            stage.signal(Signal::TERM);
            // Whoever was connected is sent away first.
            let mut end = String::new();
            let _ = guest.read_to_string(&mut end);
            let again = Instant::now();
            stage.signal(Signal::INT);
            assert_eq!(stage.exit_code(), Some(1));
            assert!(again.elapsed() < Duration::from_secs(1));
        } else {
            // Not all was done: the connection had to be dropped.
            let said = stage.orch(&["stop"]).wrong(1);
            assert!(said.contains("before all was done"), "{said}");
            assert_eq!(stage.exit_code(), Some(1));
        }
        assert!(
            since.elapsed() < Duration::from_secs(20),
            "{:?}",
            since.elapsed()
        );
        drop(hung);
    }
    assert_eq!(stage.orch(&["verify"]).code, 0);
}

#[test]
fn a_stop_while_the_disk_takes_nothing_ends_in_time() {
    let mounts = |flags: &&str| {
        let mount = [flags, "mount", "-t", "tmpfs", "none", "/mnt"];
        let status = Command::new("unshare").args(mount).status();
        status.is_ok_and(|status| status.success())
    };
    let Some(flags) = ["-m", "-Urm"].into_iter().find(mounts) else {
        eprintln!("skipped: no mount namespace can be made here");
        return;
    };
    let stage = Stage::with(&["alpha"]);
    // A disk of its own, in a namespace of its own.
    let root = stage.root().display().to_string();
    let on_a_small_disk =
        "mkdir -p \"$0\" && mount -t tmpfs -o size=4m tmpfs \"$0\" && exec \"$@\"";
    stage.spawn_through(&["unshare", flags, "sh", "-c", on_a_small_disk, &root]);
    stage.wait_until("it is attached", || {
        stage.status().is_some_and(|status| status["ready"] == true)
    });
    let path = socket_of(&stage);
    let pid = stage.pid().as_raw_nonzero();
    let filler = format!("/proc/{pid}/root{root}/filler");
    let mut filler = std::fs::File::create(filler).expect("a file");
    let mut length = 4096;
    while length > 0 {
        // What fits is written before it fails.
        if filler.write_all(&vec![b'x'; length]).is_err() {
            length /= 2;
        }
    }
    let floods: Vec<_> = (0..2).map(|_| flood(&path)).collect();
    let mut late = connect(&path);
    writeln!(late, "{}", emit("violation", "on a full disk")).expect("a connection");
    let since = Instant::now();
    stage.orch(&["stop"]).well();
    stage.ended();
    assert!(
        since.elapsed() < Duration::from_secs(20),
        "{:?}",
        since.elapsed()
    );
    for flood in floods {
        flood.join().expect("a thread");
    }
}

#[test]
fn f32_a_bad_file_at_a_reload_is_one_event_and_changes_nothing() {
    let stage = Stage::with(&["alpha"]);
    stage.run_configured("event_bus: {queue_size: 7}\n");
    let told = |n: usize| {
        stage.wait_until("it is told", || stage.count("config_reloaded") == n);
        stage.events(&["--type", "config_reloaded"])[n - 1].clone()
    };
    for (n, text) in [
        (1, "event_bus: {queue_size: many}\n"),
        (2, "\tnot: yaml"),
        (3, "\u{0}"),
    ] {
        stage.write("orch.yaml", text);
        stage.signal(Signal::HUP);
        let event = told(n);
        assert_eq!(event["data"]["ok"], false);
        assert!(
            event["message"]
                .as_str()
                .expect("a text")
                .contains("orch.yaml:1"),
            "{event}"
        );
        assert!(stage.status().is_some());
    }
    std::fs::remove_file(stage.at("orch.yaml")).expect("it is removed");
    stage.signal(Signal::HUP);
    assert_eq!(told(4)["data"]["ok"], false);
    stage.write("orch.yaml", "event_bus: {queue_size: 8}\n");
    stage.signal(Signal::HUP);
    assert_eq!(told(5)["data"]["ok"], true);
    stage.stop_and_verify();
    assert_eq!(stage.count("config_reloaded"), 5);
}

// ---- status and diagnostics --------------------------------------------------------------------------------------

#[test]
fn status_tells_how_each_component_is() {
    let stage = Stage::with(&["alpha"]);
    stage.run_configured("monitoring: {health: {enabled: false}}\ndelivery: {sinks: [message]}\n");
    let status = stage.status().expect("it runs");
    let rows = status["components"].as_array().expect("rows");
    let rows: Vec<(&str, &str)> = rows
        .iter()
        .map(|row| {
            assert_eq!(
                (&row["restarts"], &row["last_error"]),
                (&json!(0), &Value::Null),
                "{row}"
            );
            (
                row["name"].as_str().expect("a name"),
                row["health"].as_str().expect("a word"),
            )
        })
        .collect();
    let expected = [
        ("tmux", "ok"),
        ("roster", "ok"),
        ("monitors", "disabled"),
        ("monitors.health", "disabled"),
        ("journal", "ok"),
        ("state", "ok"),
        ("delivery", "ok"),
        ("delivery.status", "disabled"),
        ("api", "ok"),
    ];
    for row in expected {
        assert!(rows.contains(&row), "{row:?} in {rows:?}");
    }
    let text = stage.orch(&["status"]).well();
    assert!(
        text.lines()
            .any(|line| line.starts_with("  monitors.health ") && line.contains(" disabled ")),
        "{text}"
    );
    stage.kill_server();
    stage.wait_until("it waits for tmux", || health(&stage, "tmux") == "waiting");
    stage.stop();
}

#[test]
fn diagnostics_are_turned_over_at_their_size_and_read_across_it() {
    let stage = Stage::with(&["alpha"]);
    let path = stage.root().join("logs/orch.out");
    let earlier = stage.root().join("logs/orch.out.1");
    std::fs::create_dir_all(stage.root().join("logs")).expect("a directory");
    // Nearly full: the start's own lines turn it over.
    let line = "2026-11-22T13:24:52.000000Z  INFO orch::journal: from before\n";
    let full = line.repeat((1 << 20) / line.len());
    std::fs::write(&path, &full).expect("a file");
    let yaml = stage.write("orch.yaml", "general: {max_log_size_mb: 1}\n");
    let pid = pid_said(&stage.orch(&["--config", &yaml, "start"]));
    assert!(
        std::fs::read_to_string(&earlier)
            .expect("a file")
            .starts_with(&full)
    );
    for fd in [1, 2] {
        let points_to = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).expect("a link");
        assert_eq!(
            points_to, path,
            "what the runtime says in need goes to the present file"
        );
    }
    assert!(path.metadata().expect("a file").len() < 1 << 20);

    // Follows over another turn, from a component's last lines that stand in the earlier file.
    let mut follow = stage
        .program(&["logs", "-n", "2", "-f"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("orch");
    let mut lines = BufReader::new(follow.stdout.take().expect("a pipe")).lines();
    for _ in 0..2 {
        lines.next().expect("a line").expect("text");
    }
    let last = stage.orch(&["logs", "journal", "-n", "3"]).well();
    assert_eq!(last, line.repeat(3));
    let refuse = |name: &str| {
        let mut file = std::fs::File::options()
            .append(true)
            .open(&path)
            .expect("a file");
        file.write_all(full.as_bytes()).expect("a file");
        writeln!(file, "the end of {name}").expect("a file");
    };
    refuse("the first");
    let spool = stage.root().join("spool");
    assert!(spool.is_dir());
    stage.orch(&["stop"]).well();
    let followed: Vec<String> = lines
        .by_ref()
        .map(|line| line.expect("text"))
        .take_while(|line| !line.ends_with("orch::app: ended"))
        .collect();
    follow.kill().expect("a child");
    follow.wait().expect("a child");
    assert!(followed.iter().any(|line| line == "the end of the first"));
    assert!(
        std::fs::read_to_string(&earlier)
            .expect("a file")
            .ends_with("the end of the first\n")
    );

    let said = stage.orch(&["logs", "nonsense"]).wrong(2);
    for name in ["nonsense", "journal", "delivery", "api"] {
        assert!(said.contains(name), "{said}");
    }
}

#[test]
fn what_is_emitted_across_restarts_is_taken_once() {
    let stage = Stage::with(&["alpha"]);
    stage.orch(&["start"]).well();
    let mut restarts: Vec<Command> = (0..6).map(|_| stage.program(&["restart"])).collect();
    let restarting = std::thread::spawn(move || {
        let ended = restarts
            .iter_mut()
            .map(|restart| restart.output().expect("orch").status.code());
        ended.collect::<Vec<_>>()
    });
    let mut sent: Vec<String> = Vec::new();
    while !restarting.is_finished() {
        let message = format!("single {}", sent.len());
        stage.orch(&["emit", "status_update", &message]).well();
        sent.push(message);
        let messages: Vec<String> = (0..200)
            .map(|n| format!("many {}", sent.len() + n))
            .collect();
        let line = |m: &String| json!({"type": "status_update", "message": m}).to_string() + "\n";
        let lines: String = messages.iter().map(line).collect();
        let said = stage.orch_reading(&["emit", "-"], &lines);
        assert_eq!((said.code, said.lines().len()), (0, 200), "{}", said.out);
        sent.extend(messages);
    }
    assert_eq!(restarting.join().expect("no failure"), [Some(0); 6]);
    let found = || {
        let events = stage.events(&["--type", "status_update", "--source", "cli"]);
        let message = |event: &Value| event["message"].as_str().expect("a text").to_owned();
        events.iter().map(message).collect::<Vec<_>>()
    };
    stage.wait_until("all are there", || found().len() >= sent.len());
    let mut found = found();
    found.sort();
    sent.sort();
    assert_eq!(found, sent);
    stage.orch(&["stop"]).well();
    let report = stage.orch(&["verify"]);
    assert_eq!(report.code, 0, "{}", report.out);
}
