//! Parser throughput on three streams that a real tmux writes when the bench starts, against the crate
//! `libtmux` and a bare memchr loop: `cargo bench --bench parser [-- --quick]`.
//!
//! The crate's one public way into its parser takes a single line, so it gets whole lines cut from one
//! slice, where orch is fed chunks of 64 KiB and also copies them, frames blocks and keeps their lines.
//! The crate undoes the escapes of `%output` while parsing; `orch+text` does so too.

mod server;

use std::hint::black_box;
use std::io::{Read, Write};
use std::process::{ChildStdin, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use orch::tmux::{Command, ControlCodec, Frame, Notification, WindowId};
use tokio_util::codec::Decoder;

use server::{Server, median, quick, version};

const CHUNK: usize = 64 << 10;

/// Where and how long it is measured.
struct Plan {
    /// What tmux is made to write of each mix, at least; a notification costs tmux more than its bytes tell.
    recorded: [usize; 3],
    /// What is parsed in a round: the recording, repeated as a whole as often as it takes.
    parsed: usize,
    rounds: usize,
}

type Recorder = fn(usize) -> Vec<u8>;
type Contender = (&'static str, fn(&[u8]));

const CONTENDERS: [Contender; 4] = [
    ("orch", orch),
    ("orch+text", orch_with_text),
    ("libtmux", libtmux),
    ("memchr", lines_only),
];

fn main() {
    let plan = if quick() {
        Plan {
            recorded: [2 << 20, 128 << 10, 2 << 20],
            parsed: 4 << 20,
            rounds: 10,
        }
    } else {
        Plan {
            recorded: [16 << 20, 1 << 20, 16 << 20],
            parsed: 16 << 20,
            rounds: 15,
        }
    };
    let mixes: [(&str, Recorder); 3] = [
        ("output", output),
        ("notifications", notifications),
        ("replies", replies),
    ];
    println!(
        "{}; medians of {} alternating rounds; MB/s, in brackets the ratio to libtmux",
        version(),
        plan.rounds
    );
    print!(
        "{:<14}{:>9}{:>10}{:>8}",
        "mix", "recorded", "repeated", "line"
    );
    CONTENDERS.iter().for_each(|(name, _)| print!("{name:>16}"));
    println!();
    for ((name, record), wanted) in mixes.into_iter().zip(plan.recorded) {
        let recording = record(wanted);
        let times = plan.parsed.div_ceil(recording.len()).max(1);
        let lines = memchr::memchr_iter(b'\n', &recording).count();
        print!(
            "{name:<14}{:>6.1} MB{:>9}x{:>6} B",
            recording.len() as f64 / 1e6,
            times,
            recording.len() / lines.max(1)
        );
        let speeds = measure(&recording.repeat(times), plan.rounds);
        for speed in speeds {
            print!("{:>16}", format!("{speed:.0} ({:.2})", speed / speeds[2]));
        }
        println!();
    }
}

fn measure(bytes: &[u8], rounds: usize) -> [f64; CONTENDERS.len()] {
    let mut seen = [const { Vec::new() }; CONTENDERS.len()];
    for round in 0..=rounds {
        for turn in 0..CONTENDERS.len() {
            let which = (turn + round) % CONTENDERS.len();
            let start = Instant::now();
            CONTENDERS[which].1(black_box(bytes));
            let speed = bytes.len() as f64 / 1e6 / start.elapsed().as_secs_f64();
            // The first round only warms up.
            if round > 0 {
                seen[which].push(speed);
            }
        }
    }
    seen.map(|mut speeds| median(&mut speeds))
}

fn decode(bytes: &[u8], mut each: impl FnMut(Frame)) {
    let mut codec = ControlCodec::new();
    let mut buffer = BytesMut::with_capacity(CHUNK);
    for chunk in bytes.chunks(CHUNK) {
        buffer.extend_from_slice(chunk);
        while let Ok(Some(frame)) = codec.decode(&mut buffer) {
            each(frame);
        }
    }
}

fn orch(bytes: &[u8]) {
    decode(bytes, |frame| drop(black_box(frame)));
}

fn orch_with_text(bytes: &[u8]) {
    decode(bytes, |frame| {
        if let Frame::Notification(Notification::Output { data, .. }) = &frame {
            black_box(data.unescape());
        }
        drop(black_box(frame));
    });
}

fn libtmux(bytes: &[u8]) {
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', bytes) {
        libtmux::control::__fuzz_parse_control_line(black_box(&bytes[start..end]));
        start = end + 1;
    }
}

fn lines_only(bytes: &[u8]) {
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', bytes) {
        black_box(&bytes[start..end]);
        start = end + 1;
    }
}

/// Attaches a control client and keeps all it prints until its stdin is closed, which `drive` decides:
/// it gets that stdin and the number of bytes read so far.
fn record(
    server: &Server,
    flags: &str,
    wanted: usize,
    drive: impl FnOnce(&mut ChildStdin, &AtomicUsize),
) -> Vec<u8> {
    let mut client = server
        .command()
        .args(["-C", "attach-session", "-E", "-f", flags])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a control client");
    let mut stdin = client.stdin.take().expect("its stdin");
    let mut stdout = client.stdout.take().expect("its stdout");
    let read = AtomicUsize::new(0);
    let recording = std::thread::scope(|scope| {
        // Reads whatever happens: tmux must never wait for a client with output.
        let reader = scope.spawn(|| {
            let (mut recording, mut chunk) = (Vec::new(), vec![0; CHUNK]);
            while let Ok(n @ 1..) = stdout.read(&mut chunk) {
                recording.extend_from_slice(&chunk[..n]);
                read.store(recording.len(), Relaxed);
            }
            // Ends every wait, should tmux have gone early.
            read.store(usize::MAX, Relaxed);
            recording
        });
        wait_for(&read, 1);
        drive(&mut stdin, &read);
        drop(stdin);
        reader.join().expect("the reader")
    });
    let _ = client.wait();
    assert!(
        recording.len() >= wanted,
        "tmux wrote {} bytes only, at last {:?}",
        recording.len(),
        String::from_utf8_lossy(&recording[recording.len().saturating_sub(200)..])
    );
    recording
}

fn wait_for(read: &AtomicUsize, bytes: usize) {
    let since = Instant::now();
    while read.load(Relaxed) < bytes {
        assert!(
            since.elapsed() < Duration::from_secs(60),
            "tmux fell silent"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until nothing more comes, so that no reply is cut off; gives what came.
fn quiet(read: &AtomicUsize) -> usize {
    loop {
        let before = read.load(Relaxed);
        std::thread::sleep(Duration::from_millis(300));
        if before > 0 && read.load(Relaxed) == before {
            return before;
        }
    }
}

/// A pane that floods with coloured text and some binary, beside one that writes little at a time.
fn output(wanted: usize) -> Vec<u8> {
    let server = Server::start(200, 50, "cat");
    let mut text = Vec::new();
    for n in 0..4_000u32 {
        let colour = 31 + n % 7;
        text.extend_from_slice(
            format!("\x1b[1;{colour}m{n:>5}\x1b[0m \x1b[38;5;{}msrc/tmux/file_{n}.rs\x1b[0m:{n}: warning: unused \u{2018}value\u{2019} in this expression \x1b[2m(12 ms)\x1b[0m\r\n", n % 256).as_bytes(),
        );
        if n % 40 == 0 {
            text.extend((0..200u32).map(|k| (k.wrapping_mul(97) ^ n) as u8));
            text.extend_from_slice(b"\x1b[0m\r\n");
        }
    }
    let file = server.dir().join("text");
    std::fs::write(&file, text).expect("the text is written");
    let flood = format!("while cat {}; do :; done", file.display());
    let drip =
        "while printf '\\033[2K\\r\\033[36m*\\033[0m thinking (%s s)' \"$((n += 1))\"; do :; done";
    server.tmux(&["split-window", "-d", drip]);
    server.tmux(&["split-window", "-d", &flood]);
    record(&server, "ignore-size", wanted, |_, read| {
        wait_for(read, wanted);
    })
}

/// Another client makes, renames, selects and kills in the session of this one and in others, so that
/// few blocks stand between; subscriptions come once a second.
fn notifications(wanted: usize) -> Vec<u8> {
    let server = Server::start(200, 50, "cat");
    let (mut script, mut ends) = (String::new(), String::new());
    for n in 0..20 {
        script.push_str(&format!(
            "new-session -d -s s{n} -n shell -x 100 -y 30 cat\nrename-session -t s{n} agent-{n}\n\
             new-window -d -t agent-{n}: -n logs cat\nrename-window -t agent-{n}:logs 'logs of agent {n}'\n\
             select-window -t agent-{n}:1\nselect-window -t agent-{n}:0\n\
             new-window -t main: -n w{n} cat\nsplit-window -t main:w{n} cat\n"
        ));
        for (command, arguments) in [
            ("select-pane -t", ".0"),
            ("resize-pane -D -t", ".0 3"),
            ("rename-window -t", " 'tests of the parser'"),
            ("rename-window -t", &format!(" w{n}")),
            ("copy-mode -t", ".1"),
            ("copy-mode -q -t", ".1"),
            ("select-pane -t", ".1"),
            ("swap-pane -U -t", ".1"),
            ("resize-pane -Z -t", ".0"),
            ("resize-pane -Z -t", ".0"),
            ("next-layout -t", ""),
            ("previous-layout -t", ""),
        ] {
            // Windows are renamed in between, so the current one is meant: it was made last.
            script.push_str(&format!("{command} main:{arguments}\n"));
        }
        script.push_str(&format!("last-window -t main:\nkill-window -t main:w{n}\n"));
        ends.push_str(&format!("kill-session -t agent-{n}\n"));
    }
    // In a file of their own: tmux 3.3a crashes when a session goes before the notification of a
    // `select-window` in it was sent.
    let files = [("script", script), ("ends", ends)].map(|(name, text)| {
        let file = server.dir().join(name);
        std::fs::write(&file, text).expect("the script is written");
        file.to_string_lossy().into_owned()
    });
    record(&server, "ignore-size,no-output", wanted, |stdin, read| {
        for part in 0..3 {
            for (name, format) in orch::panes::subscriptions(50) {
                let name = format!("{name}-{part}");
                let _ = writeln!(
                    stdin,
                    "{}",
                    Command::Subscribe {
                        name,
                        window: WindowId(0),
                        format
                    }
                );
            }
        }
        while read.load(Relaxed) < wanted {
            for file in &files {
                server.tmux(&["source-file", file]);
            }
        }
    })
}

/// Three commands over and over, many in flight.
fn replies(wanted: usize) -> Vec<u8> {
    let server = Server::start(200, 50, "cat");
    for n in 0..8 {
        let print =
            format!("seq -f 'line %g of pane {n}: some words, a number and a path /tmp/x' 99; cat");
        server.tmux(&["new-window", "-d", &print]);
    }
    std::thread::sleep(Duration::from_millis(300));
    let panes = server.tmux(&["list-panes", "-a", "-F", "#{pane_id}"]);
    let mut batch = Vec::new();
    for pane in panes.lines() {
        let pane = pane.parse().expect("a pane id");
        let ask = Command::Ask {
            format: "#{session_name}\t#{window_name}\t#{pane_id}\t#{pane_title}",
        };
        for _ in 0..8 {
            let _ = writeln!(batch, "{ask}");
        }
        let format = orch::panes::PANES;
        let _ = writeln!(batch, "{}", Command::ListPanes { format });
        let _ = writeln!(batch, "{}", Command::Capture { pane, rows: 50 });
    }
    record(&server, "ignore-size,no-output", wanted, |stdin, read| {
        let mut sent = 0usize;
        let mut size = 0;
        while read.load(Relaxed) < wanted {
            let _ = stdin.write_all(&batch);
            sent += 1;
            if sent == 1 {
                size = quiet(read);
            }
            // Enough in flight that tmux never waits, not so much that it has to hoard.
            wait_for(read, size * sent.saturating_sub(4) / 10 * 9);
        }
        quiet(read);
    })
}
