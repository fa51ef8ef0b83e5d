//! The stage of the whole-behaviour tests: private tmux servers, directories of their own, the built program, and a
//! person's terminal to look at. Whatever was started ends when a stage is dropped, after a panic too.
#![allow(dead_code, reason = "each test file uses its part of it")]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// How long a condition may take to hold: long, because the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Size of all terminals.
const SIZE: [&str; 4] = ["-x", "120", "-y", "40"];

pub(crate) struct Stage {
    directory: TempDir,
    runtime: PathBuf,
    orchestrator: RefCell<Option<Child>>,
}

/// What a run of the program said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// What it printed, provided that it went well.
    #[track_caller]
    pub(crate) fn well(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// What it said went wrong, provided that it ended with this code.
    #[track_caller]
    pub(crate) fn wrong(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:?}");
        self.err
    }

    /// One JSON object a line.
    #[track_caller]
    pub(crate) fn lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        self.out.lines().map(parse).collect()
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }
}

// ---- the servers -------------------------------------------------------------------------------------------------

impl Stage {
    /// Directories, and no tmux server.
    pub(crate) fn empty() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("orch-test-")
            .tempdir()
            .expect("a directory");
        let runtime = directory.path().join("run");
        for name in ["run", "home", "state"] {
            std::fs::create_dir(directory.path().join(name)).expect("a directory");
        }
        Self {
            directory,
            runtime,
            orchestrator: RefCell::default(),
        }
    }

    /// A tmux server with these sessions, a shell in each.
    pub(crate) fn with(sessions: &[&str]) -> Self {
        let stage = Self::empty();
        stage.start_server(sessions);
        stage
    }

    /// Another server of the same user: it has everything of its own but the runtime directory.
    pub(crate) fn beside(other: &Self, sessions: &[&str]) -> Self {
        let mut stage = Self::empty();
        stage.runtime.clone_from(&other.runtime);
        stage.start_server(sessions);
        stage
    }

    pub(crate) fn start_server(&self, sessions: &[&str]) {
        for session in sessions {
            // Named windows, so that no name changes by itself.
            let new = ["new-session", "-d", "-s", session, "-n", "first"];
            self.tmux(&[&new[..], &SIZE[..]].concat());
        }
    }

    /// Ends the server and waits until its process is gone.
    pub(crate) fn kill_server(&self) {
        let pid = self.tmux(&["display-message", "-p", "#{pid}"]);
        self.tmux(&["kill-server"]);
        let process = Path::new("/proc").join(&pid);
        self.wait_until("the tmux server is gone", || !process.exists());
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.at("tmux")
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.at("root")
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.at(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    }

    /// Runs a tmux command on the server; what it printed, without the last line end.
    #[track_caller]
    pub(crate) fn tmux(&self, arguments: &[&str]) -> String {
        let said = self.tmux_on("tmux", arguments);
        assert_eq!(said.code, 0, "tmux {arguments:?}: {}", said.err);
        said.out.trim_end_matches('\n').to_owned()
    }

    /// Runs a tmux command on one of the stage's servers.
    pub(crate) fn tmux_on(&self, server: &str, arguments: &[&str]) -> Said {
        let output = self
            .command("tmux")
            .args(["-u", "-f", "/dev/null", "-S"])
            .arg(self.at(server))
            .args(arguments)
            .output();
        output.expect("tmux").into()
    }

    /// A new window, not selected; the id of its pane.
    pub(crate) fn new_window(&self, target: &str, command: &[&str]) -> String {
        let new = ["new-window", "-d", "-P", "-F", "#{pane_id}", "-t", target];
        self.tmux(&[&new[..], command].concat())
    }

    /// A new pane beside another, not selected; its id.
    pub(crate) fn split_window(&self, target: &str) -> String {
        self.tmux(&["split-window", "-d", "-P", "-F", "#{pane_id}", "-t", target])
    }

    /// Every pane as tmux lists it, in the words of [`Stage::roster`].
    pub(crate) fn listed(&self) -> BTreeSet<String> {
        let format = "#{pane_id} #{window_id} #{session_id} #{session_name} #{window_index} #{window_name} \
            #{pane_index} #{pane_active} #{pane_width} #{pane_height} #{pane_dead} #{pane_current_command}";
        let listing = self.tmux(&["list-panes", "-a", "-F", format]);
        // A user's hook may print something of its own.
        let rows = listing.lines().filter(|line| line.starts_with('%'));
        rows.map(str::to_owned).collect()
    }

    /// The control client's session and process, as tmux says.
    pub(crate) fn hosts(&self) -> Vec<(String, u32)> {
        let format = "#{client_control_mode} #{session_id} #{client_pid}";
        let listing = self.tmux(&["list-clients", "-F", format]);
        listing
            .lines()
            .filter_map(|line| {
                let (session, pid) = line.strip_prefix("1 ")?.split_once(' ')?;
                Some((session.to_owned(), pid.parse().ok()?))
            })
            .collect()
    }

    pub(crate) fn session_id(&self, name: &str) -> String {
        let target = format!("={name}:");
        self.tmux(&["display-message", "-p", "-t", &target, "#{session_id}"])
    }

    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.directory.path())
            .env("HOME", self.at("home"))
            .env("XDG_RUNTIME_DIR", &self.runtime)
            .env("XDG_STATE_HOME", self.at("state"))
            .env("SHELL", "/bin/sh")
            .env("LC_ALL", "C.UTF-8");
        for name in [
            "TMUX",
            "TMUX_PANE",
            "TMUX_TMPDIR",
            "ORCH_CONFIG",
            "XDG_CONFIG_HOME",
            "ENV",
        ] {
            command.env_remove(name);
        }
        command
    }
}

// ---- the program -------------------------------------------------------------------------------------------------

impl Stage {
    /// The program for this server and root, not run yet.
    pub(crate) fn program(&self, arguments: &[&str]) -> Command {
        self.program_at(&self.root(), arguments)
    }

    /// The program for this server and another root.
    pub(crate) fn program_at(&self, root: &Path, arguments: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_orch"));
        command
            .arg("-S")
            .arg(self.socket())
            .arg("--root")
            .arg(root)
            .args(arguments);
        command
    }

    pub(crate) fn orch(&self, arguments: &[&str]) -> Said {
        let output = self.program(arguments).stdin(Stdio::null()).output();
        output.expect("orch").into()
    }

    /// Without the root that the stage has.
    pub(crate) fn bare(&self, arguments: &[&str]) -> Said {
        let mut command = self.command(env!("CARGO_BIN_EXE_orch"));
        let output = command.args(arguments).stdin(Stdio::null()).output();
        output.expect("orch").into()
    }

    pub(crate) fn orch_reading(&self, arguments: &[&str], input: &str) -> Said {
        let mut child = self
            .program(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("orch");
        let mut stdin = child.stdin.take().expect("a pipe");
        let input = input.to_owned();
        let writing = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output().expect("orch");
        let _ = writing.join();
        output.into()
    }

    /// Starts `orch run` and waits until it is attached.
    pub(crate) fn run(&self) {
        self.run_with(&[]);
    }

    /// The same with a configuration.
    pub(crate) fn run_configured(&self, yaml: &str) {
        let path = self.write("orch.yaml", yaml);
        self.run_with(&["--config", &path]);
    }

    fn run_with(&self, arguments: &[&str]) {
        self.spawn(arguments);
        self.wait_until("orch is attached", || {
            self.status().is_some_and(|status| status["ready"] == true)
        });
    }

    /// Starts `orch run` without waiting for anything.
    pub(crate) fn spawn(&self, arguments: &[&str]) {
        let said = std::fs::File::options()
            .append(true)
            .create(true)
            .open(self.at("orch.err"));
        let child = self
            .program(arguments)
            .arg("run")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said.expect("a file"))
            .spawn()
            .expect("orch");
        let before = self.orchestrator.replace(Some(child));
        assert!(before.is_none(), "an orchestrator of this stage runs");
    }

    /// The same through another program, which runs what follows its arguments.
    pub(crate) fn spawn_through(&self, wrapper: &[&str]) {
        let program = self.program(&["run"]);
        let mut command = self.command(wrapper[0]);
        command
            .args(&wrapper[1..])
            .arg(program.get_program())
            .args(program.get_args())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().expect("orch");
        let before = self.orchestrator.replace(Some(child));
        assert!(before.is_none(), "an orchestrator of this stage runs");
    }

    /// Waits for the end of the orchestrator that [`Stage::run`] started; its exit code.
    pub(crate) fn exit_code(&self) -> Option<i32> {
        let mut child = self.orchestrator.take().expect("it runs");
        let status = self.wait_for("orch has ended", || child.try_wait().ok().flatten());
        status.code()
    }

    /// Process of the orchestrator that [`Stage::run`] started.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(self.orchestrator.borrow().as_ref().expect("it runs"))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("a signal");
    }

    /// `orch stop`, and the end of the process.
    pub(crate) fn stop(&self) {
        self.orch(&["stop"]).well();
        self.ended();
    }

    /// Waits for the end of the orchestrator that [`Stage::run`] started.
    pub(crate) fn ended(&self) {
        let mut child = self.orchestrator.take().expect("it runs");
        self.wait_until("orch has ended", || {
            child.try_wait().is_ok_and(|ended| ended.is_some())
        });
    }

    /// Stops it and proves that every event has its one outcome.
    pub(crate) fn stop_and_verify(&self) {
        self.stop();
        let report = self.orch(&["verify"]);
        assert_eq!(report.code, 0, "{}", report.out);
        for event in self.events(&[]) {
            assert!(!event["outcome"].is_null(), "{event}");
        }
    }

    /// `None` while nothing answers.
    pub(crate) fn status(&self) -> Option<Value> {
        let said = self.orch(&["status", "--json"]);
        (said.code == 0).then(|| serde_json::from_str(&said.out).expect("an object"))
    }

    /// Every pane as orch knows it, in the words of [`Stage::listed`].
    pub(crate) fn roster(&self) -> BTreeSet<String> {
        let fields = [
            "pane",
            "window",
            "session",
            "session_name",
            "window_index",
            "window_name",
            "pane_index",
            "active",
            "width",
            "height",
            "dead",
            "command",
        ];
        let word = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Bool(yes) => u8::from(*yes).to_string(),
            other => other.to_string(),
        };
        let row = |pane: &Value| fields.map(|field| word(&pane[field])).join(" ");
        self.panes().iter().map(row).collect()
    }

    pub(crate) fn panes(&self) -> Vec<Value> {
        self.orch(&["panes", "--json"]).lines()
    }

    /// Waits until orch knows exactly what is there.
    #[track_caller]
    pub(crate) fn roster_agrees(&self) {
        self.wait_until("the roster is what tmux lists", || {
            self.roster() == self.listed()
        });
    }

    pub(crate) fn events(&self, filters: &[&str]) -> Vec<Value> {
        let said = self.orch(&[&["events", "--json"], filters].concat());
        assert_eq!(said.code, 0, "{said:?}");
        said.lines()
    }

    pub(crate) fn count(&self, kind: &str) -> usize {
        self.events(&["--type", kind]).len()
    }

    /// Waits for an event of this type about this pane.
    #[track_caller]
    pub(crate) fn event_about(&self, pane: &str, kind: &str) -> Value {
        self.wait_for(&format!("{kind} about {pane}"), || {
            self.events(&["--pane", pane, "--type", kind]).pop()
        })
    }

    /// Waits until a pane that is opened only now has been seen: what came before it has been seen too.
    #[track_caller]
    pub(crate) fn see_a_new_pane(&self, target: &str) -> String {
        let pane = self.new_window(target, &["-n", "new"]);
        self.event_about(&pane, "pane_started");
        pane
    }

    /// Emits; the event's number.
    #[track_caller]
    pub(crate) fn emit(&self, kind: &str, message: &str, more: &[&str]) -> u64 {
        let said = self.orch(&[&["emit", kind, message], more].concat());
        let out = said.well();
        out.trim().parse().unwrap_or_else(|e| panic!("{e}: {out}"))
    }

    pub(crate) fn event(&self, seq: u64) -> Value {
        let events = self.events(&[]);
        events
            .into_iter()
            .find(|event| event["seq"] == seq)
            .expect("the event")
    }

    /// Waits for an event's outcome.
    #[track_caller]
    pub(crate) fn outcome(&self, seq: u64) -> Value {
        self.wait_for(&format!("the outcome of {seq}"), || {
            Some(self.event(seq)["outcome"].take()).filter(|outcome| !outcome.is_null())
        })
    }
}

// ---- a person ----------------------------------------------------------------------------------------------------

impl Stage {
    /// A terminal of 120 by 40, on a server of its own, in which a person looks at a session; the client's name.
    pub(crate) fn seat_a_person(&self, session: &str) -> String {
        let conf = self.write("person.conf", "set-option -g status off\n");
        let shell = format!(
            "TMUX= exec tmux -u -S '{}' attach-session -t '{session}'",
            self.socket().display()
        );
        let new = ["-f", &conf, "new-session", "-d", "-s", "person"];
        let new = [&new[..], &SIZE[..], &[&shell]].concat();
        let said = self.tmux_on("person", &new);
        assert_eq!(said.code, 0, "{said:?}");
        // Everything that is ever drawn there, also what stands for a moment only.
        let record = format!("exec cat >>'{}'", self.at("drawn").display());
        self.tmux_on("person", &["pipe-pane", "-t", "person", &record]);
        let format = "#{client_control_mode} #{client_width}x#{client_height} #{client_name}";
        self.wait_for("a person looks", || {
            let listing = self.tmux(&["list-clients", "-F", format]);
            let row = |line: &str| Some(line.strip_prefix("0 120x40 ")?.to_owned());
            listing.lines().find_map(row)
        })
    }

    /// The person's terminal is closed.
    pub(crate) fn unseat(&self) {
        self.tmux_on("person", &["kill-server"]);
    }

    /// What stands on the person's screen, row by row.
    pub(crate) fn screen(&self) -> Vec<String> {
        let said = self.tmux_on("person", &["capture-pane", "-p", "-t", "person"]);
        said.out.lines().map(str::to_owned).collect()
    }

    /// The person's status line.
    pub(crate) fn status_line(&self) -> String {
        self.screen().pop().unwrap_or_default()
    }

    /// All text that was ever drawn on the person's screen, without the escape sequences between.
    pub(crate) fn drawn(&self) -> String {
        let bytes = std::fs::read(self.at("drawn")).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let sequences = regex::Regex::new(
            "\x1b(\\[[0-9;?]*[a-zA-Z]|[()][A-Z0-9]|[=>]|k[^\x1b]*\x1b\\\\)|\x0f|\x0e",
        );
        sequences
            .expect("a pattern")
            .replace_all(&text, "")
            .into_owned()
    }

    /// orch's messages to a client, by tmux's own log, the oldest first.
    pub(crate) fn messages(&self, client: &str) -> Vec<String> {
        let log = self.tmux(&["show-messages", "-t", client]);
        let begin = format!(": {client} message: orch:");
        let message = |line: &str| {
            let at = line.find(&begin)?;
            Some(line[at + begin.len()..].trim().to_owned())
        };
        log.lines().rev().filter_map(message).collect()
    }

    /// `NAME=VALUE` of orch's variables.
    pub(crate) fn variables(&self) -> Vec<String> {
        let hidden = self.tmux(&["show-environment", "-gh"]);
        let shown = self.tmux(&["show-environment", "-g"]);
        let own = hidden.lines().chain(shown.lines());
        own.filter(|line| line.trim_start_matches('-').starts_with("ORCH_"))
            .map(str::to_owned)
            .collect()
    }

    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        let begin = format!("{name}=");
        let variables = self.variables();
        let value = variables.iter().find_map(|line| line.strip_prefix(&begin));
        value.map(str::to_owned)
    }
}

// ---- waiting and ending ------------------------------------------------------------------------------------------

impl Stage {
    /// Waits until a condition holds, and says what did not come about otherwise.
    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        self.wait_for(what, || condition().then_some(()));
    }

    /// Waits until there is something.
    #[track_caller]
    pub(crate) fn wait_for<T>(&self, what: &str, mut find: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = find() {
                return found;
            }
            if Instant::now() > deadline {
                panic!(
                    "not within {} s: {what}\n{}",
                    PATIENCE.as_secs(),
                    self.report()
                );
            }
            std::thread::sleep(LOOK);
        }
    }

    /// What helps to see why a test failed.
    fn report(&self) -> String {
        let mut report = String::new();
        for name in ["orch.err", "root/logs/orch.out"] {
            let text = std::fs::read_to_string(self.at(name)).unwrap_or_default();
            let _ = writeln!(report, "--- {name}\n{text}");
        }
        for arguments in [
            &["status", "--json"][..],
            &["panes", "--json"],
            &["events", "-n", "30"],
        ] {
            let said = self.orch(arguments);
            let _ = writeln!(report, "--- orch {arguments:?}\n{}{}", said.out, said.err);
        }
        let said = self.tmux_on("tmux", &["list-panes", "-a"]);
        let _ = writeln!(report, "--- tmux list-panes -a\n{}{}", said.out, said.err);
        let _ = writeln!(
            report,
            "--- the person's screen\n{}",
            self.screen().join("\n")
        );
        report
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(mut child) = self.orchestrator.take() {
            let pid = Pid::from_child(&child);
            let deadline = Instant::now() + PATIENCE;
            let _ = kill_process(pid, Signal::CONT);
            let _ = kill_process(pid, Signal::TERM);
            while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::sleep(LOOK);
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        // One that `orch start` left in the background.
        let _ = self.program(&["stop"]).output();
        for server in ["person", "tmux"] {
            let pid = self
                .tmux_on(server, &["display-message", "-p", "#{pid}"])
                .out;
            let _ = self.tmux_on(server, &["kill-server"]);
            // tmux waits for ever for a control client whose reader was killed.
            let pid = pid.trim().parse().ok().and_then(Pid::from_raw);
            let there = |pid: Pid| {
                Path::new("/proc")
                    .join(pid.as_raw_nonzero().to_string())
                    .exists()
            };
            let deadline = Instant::now() + Duration::from_secs(2);
            while pid.is_some_and(there) && Instant::now() < deadline {
                std::thread::sleep(LOOK);
            }
            if let Some(pid) = pid.filter(|pid| there(*pid)) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}
