//! How many events a second the socket takes, each acknowledged once it is on disk and given its outcome, from many
//! producers at once, with a private real tmux server beside it: `cargo bench --bench socket [-- --quick]`.

mod server;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use server::{Server, median, quick, version};

const PRODUCERS: usize = 16;
/// Events of one producer that are not acknowledged yet.
const IN_FLIGHT: usize = 256;
const EVENT: &[u8] =
    b"{\"op\":\"emit\",\"event\":{\"type\":\"task_completed\",\"message\":\"tests pass\",\"source\":\"dev-1\"}}\n";

fn main() {
    let (rounds, each) = if quick() { (3, 4_000) } else { (10, 5_000) };
    println!("{}", version());
    let server = Server::start(120, 40, "cat >/dev/null");
    let orch = Orchestrator::start(&server);
    let mut rates = Vec::new();
    let (mut cpu, mut sent) = (0.0, 0);
    for _ in 0..rounds {
        let before = orch.milliseconds();
        let since = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..PRODUCERS {
                scope.spawn(|| produce(&orch.socket, each));
            }
        });
        let events = PRODUCERS * each;
        rates.push(events as f64 / since.elapsed().as_secs_f64());
        cpu += orch.milliseconds() - before;
        sent += events;
    }
    let syncs = syncs(server.dir());
    let lowest = rates.iter().copied().fold(f64::INFINITY, f64::min);
    println!(
        "{PRODUCERS} producers, {IN_FLIGHT} in flight each, {sent} events in {rounds} rounds: {:.0} a second (median; lowest {lowest:.0})",
        median(&mut rates)
    );
    println!(
        "orch: {:.1} µs of CPU an event; {}",
        1000.0 * cpu / sent as f64,
        orch.memory()
    );
    println!("this disk: {syncs:.2} ms to append 128 KiB and fdatasync (median of 50)");
    let told = orch.stop();
    println!("{told}");
}

/// Sends, never more than may be in flight, until all are acknowledged.
fn produce(socket: &Path, events: usize) {
    let mut stream = UnixStream::connect(socket).expect("a connection");
    let lines = EVENT.repeat(IN_FLIGHT);
    let (mut sent, mut acknowledged) = (0, 0);
    let mut answers = vec![0; 16 << 10];
    while acknowledged < events {
        let more = (events - sent).min(IN_FLIGHT - (sent - acknowledged));
        stream
            .write_all(&lines[..more * EVENT.len()])
            .expect("it is taken");
        sent += more;
        let length = stream.read(&mut answers).expect("answers");
        let told = answers[..length]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        assert!(told > 0 || length > 0, "the connection ended");
        acknowledged += told;
    }
    assert!(!answers.starts_with(b"{\"error"), "an event was refused");
}

struct Orchestrator {
    child: Child,
    socket: PathBuf,
    directory: PathBuf,
}

impl Orchestrator {
    fn command(server: &Server) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orch"));
        command
            .env("XDG_RUNTIME_DIR", server.dir())
            .env_remove("ORCH_CONFIG")
            .env_remove("TMUX")
            .current_dir(server.dir())
            .arg("-S")
            .arg(server.socket())
            .arg("--root")
            .arg(server.dir().join("root"));
        command
    }

    fn start(server: &Server) -> Self {
        let child = Self::command(server)
            .arg("run")
            .stdin(Stdio::null())
            .spawn();
        let mut orch = Self {
            child: child.expect("orch"),
            socket: PathBuf::new(),
            directory: server.dir().to_owned(),
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        while !orch.socket.exists() {
            assert!(Instant::now() < deadline, "orch did not start");
            std::thread::sleep(Duration::from_millis(20));
            let names = fs::read_dir(server.dir().join("orch"))
                .into_iter()
                .flatten();
            let paths = names.flatten().map(|entry| entry.path());
            if let Some(socket) = paths
                .into_iter()
                .find(|p| p.extension().is_some_and(|e| e == "sock"))
            {
                orch.socket = socket;
            }
        }
        orch
    }

    /// CPU time of the process so far.
    fn milliseconds(&self) -> f64 {
        let stat =
            fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let after_name = stat.rsplit(") ").next().unwrap_or_default();
        let ticks = after_name.split(' ').skip(11).take(2);
        10.0 * ticks
            .filter_map(|field| field.parse::<f64>().ok())
            .sum::<f64>()
    }

    /// The most memory it had.
    fn memory(&self) -> String {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmHWM"));
        line.unwrap_or("VmHWM: unknown").replace('\t', " ")
    }

    /// Ends it; what the journal is worth then.
    fn stop(mut self) -> String {
        if let Some(pid) = Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(0)) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let status = self.child.wait().expect("orch");
        let (mut events, mut outcomes) = (0, 0);
        for entry in fs::read_dir(self.directory.join("root/logs/events"))
            .expect("the journal")
            .flatten()
        {
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            let count = |what: &str| text.lines().filter(|line| line.contains(what)).count();
            events += count("\"type\":\"task_completed\"");
            outcomes += count("\"type\":\"outcome\"");
        }
        format!("{status}; on disk: {events} of the events, {outcomes} outcomes")
    }
}

impl Drop for Orchestrator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Milliseconds to append what a group of events takes and to have it on disk.
fn syncs(directory: &Path) -> f64 {
    let mut file = File::create(directory.join("sync")).expect("a file");
    let bytes = vec![b'x'; 128 << 10];
    let mut times: Vec<f64> = (0..50)
        .map(|_| {
            let since = Instant::now();
            file.write_all(&bytes).expect("a file");
            file.sync_data().expect("a file");
            1000.0 * since.elapsed().as_secs_f64()
        })
        .collect();
    median(&mut times)
}
