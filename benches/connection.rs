//! What a command costs through the one connection against spawning `tmux` for it, and what a busy pane
//! loses while orch is attached, both on a private real server: `cargo bench --bench connection [-- --quick]`.

mod server;

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use orch::tmux::client::{self, Config, Signal, Tmux};
use orch::tmux::{ClientName, Command, PaneId, TmuxText, WindowId};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use server::{Server, median, quick, version};

/// How much is measured.
struct Plan {
    /// Rounds of spawned and connected operations by turns, and how many of each in a round.
    rounds: usize,
    spawned: usize,
    connected: usize,
    /// Pairs of a busy pane with and without orch, and how much it prints each time.
    pairs: usize,
    megabytes: usize,
}

fn main() {
    let plan = if quick() {
        Plan {
            rounds: 4,
            spawned: 10,
            connected: 100,
            pairs: 3,
            megabytes: 10,
        }
    } else {
        Plan {
            rounds: 12,
            spawned: 25,
            connected: 400,
            pairs: 12,
            megabytes: 50,
        }
    };
    println!("{}", version());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    // On a worker, as everything in orch, and not on the thread that waits for it.
    let work = async move {
        costs(&plan).await;
        busy_pane(&plan).await;
    };
    runtime.block_on(async { tokio::spawn(work).await.expect("the bench") });
}

/// Orch's connection, and its end.
struct Connection {
    tmux: Tmux,
    signals: UnboundedReceiver<Signal>,
    task: JoinHandle<()>,
    shutdown: CancellationToken,
}

impl Connection {
    async fn to(server: &Server) -> Self {
        let shutdown = CancellationToken::new();
        let (tmux, signals, task) = client::run(Config::new(server.socket()), shutdown.clone());
        let mut connection = Self {
            tmux,
            signals,
            task,
            shutdown,
        };
        let attached = async {
            while !matches!(connection.signals.recv().await, Some(Signal::Attached(_))) {}
        };
        tokio::time::timeout(Duration::from_secs(10), attached)
            .await
            .expect("attached");
        connection
    }

    async fn ask(&self, command: Command) {
        self.tmux.ask(command).await.expect("a reply");
    }

    async fn end(self) {
        self.shutdown.cancel();
        let _ = self.task.await;
    }
}

/// One thing orch does, as the arguments of each process that would do it and as its own commands.
struct Operation {
    name: &'static str,
    processes: Vec<Vec<String>>,
    commands: Vec<Command>,
}

async fn costs(plan: &Plan) {
    let server = Server::start(200, 50, "cat >/dev/null");
    let page = server.dir().join("page");
    let line =
        "    let answer = tokio::time::timeout(PATIENCE, link.ask(command)).await?; // some words";
    let text: String = (0..200)
        .map(|n| format!("{n:>3} {}\n", &line[..8 + n * 31 % 75]))
        .collect();
    fs::write(&page, text).expect("the page is written");
    let show = format!("head -c 100000 {}; cat", page.display());
    let screen = server.tmux(&["new-window", "-d", "-P", "-F", "#{pane_id}", &show]);
    // Without echo, as a program with a composer of its own has it, and like the screen out of sight:
    // what a person's client draws is not the cost of a paste.
    let read = "stty raw -echo; exec cat >/dev/null";
    let sink = server.tmux(&["new-window", "-d", "-P", "-F", "#{pane_id}", read]);
    let [screen, sink]: [PaneId; 2] =
        [screen, sink].map(|id| id.trim().parse().expect("a pane id"));

    // A person's client: one that runs in a pane of another private server.
    // What bounds its row is tmux itself, which draws that whole screen again when a message goes.
    let socket = server.socket();
    let attach = format!("TMUX= exec tmux -u -S {} attach-session", socket.display());
    let _terminal = Server::start(200, 50, &attach);
    let mut person = String::new();
    for _ in 0..100 {
        person = server
            .tmux(&["list-clients", "-F", "#{client_name}"])
            .trim()
            .to_owned();
        if !person.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!person.is_empty(), "the nested client attached");

    let connection = Connection::to(&server).await;
    println!(
        "\nper operation: {} spawned and {} through the connection, by turns; medians; cpu of all processes",
        plan.rounds * plan.spawned,
        plan.rounds * plan.connected
    );
    println!(
        "{:<34}{:>11}{:>11}{:>9}{:>11}{:>11}{:>11}{:>11}",
        "", "spawn ms", "orch ms", "ratio", "pipelined", "spawn cpu", "orch cpu", "cpu ratio"
    );
    for operation in operations(screen, sink, ClientName(person)) {
        compare(&server, &connection, &operation, plan).await;
    }
    connection.end().await;
}

fn operations(screen: PaneId, sink: PaneId, person: ClientName) -> Vec<Operation> {
    let strings = |words: &[&str]| {
        words
            .iter()
            .map(|&word| word.to_owned())
            .collect::<Vec<_>>()
    };
    let format = "#{session_name} #{window_name}";
    let said = "orch: 2 agents need you (alpha:3 blocked)";
    let name = "orch-bench";
    let prompt = "Please look at the failing test in src/tmux/codec.rs, and say what you find\nbefore you change anything.\n".repeat(3);
    let (screen_id, sink_id) = (screen.to_string(), sink.to_string());
    let set = strings(&["set-buffer", "-b", name, "--", &prompt]);
    let paste = strings(&["paste-buffer", "-d", "-p", "-r", "-b", name, "-t", &sink_id]);
    let together = [set.clone(), strings(&[";"]), paste.clone()].concat();
    let commands = vec![
        Command::SetBuffer {
            name: name.to_owned(),
            text: prompt,
        },
        Command::PasteBuffer {
            name: name.to_owned(),
            pane: sink,
        },
    ];
    vec![
        Operation {
            name: "display-message -p",
            processes: vec![strings(&["display-message", "-p", format])],
            commands: vec![Command::Ask { format }],
        },
        Operation {
            name: "message to a person, 200x50",
            processes: vec![strings(&[
                "display-message",
                "-c",
                &person.0,
                "-d",
                "100",
                "--",
                said,
            ])],
            commands: vec![Command::Message {
                client: person,
                milliseconds: 100,
                text: TmuxText::expanded(said, 80),
            }],
        },
        Operation {
            name: "paste, one after the other",
            processes: vec![set, paste],
            commands: commands.clone(),
        },
        Operation {
            name: "paste, together (`;`)",
            processes: vec![together],
            commands,
        },
        Operation {
            name: "capture-pane, screen of 200x50",
            processes: vec![strings(&[
                "capture-pane",
                "-p",
                "-t",
                &screen_id,
                "-S",
                "0",
                "-E",
                "49",
            ])],
            commands: vec![Command::Capture {
                pane: screen,
                rows: 50,
            }],
        },
    ]
}

async fn compare(server: &Server, connection: &Connection, operation: &Operation, plan: &Plan) {
    let (mut spawned, mut connected, mut pipelined) = (Vec::new(), Vec::new(), Vec::new());
    let (mut spawned_cpu, mut connected_cpu) = (0.0, 0.0);
    let client = connection.tmux.status().attachment.map(|a| a.client_pid);
    let cpu = || cpu(&[Some(server.pid()), client]);
    for _ in 0..plan.rounds {
        let before = cpu();
        for _ in 0..plan.spawned {
            let start = Instant::now();
            for arguments in &operation.processes {
                let done = server
                    .command()
                    .args(arguments)
                    .output()
                    .expect("tmux runs");
                assert!(
                    done.status.success(),
                    "{}",
                    String::from_utf8_lossy(&done.stderr)
                );
            }
            spawned.push(start.elapsed().as_secs_f64() * 1e3);
        }
        let between = cpu();
        for _ in 0..plan.connected {
            let start = Instant::now();
            if operation.processes.len() == operation.commands.len() {
                for command in &operation.commands {
                    connection.ask(command.clone()).await;
                }
            } else {
                // One process does it all, so all goes out together here too.
                for reply in connection.tmux.ask_all(operation.commands.clone()).await {
                    reply.expect("a reply");
                }
            }
            connected.push(start.elapsed().as_secs_f64() * 1e3);
        }
        connected_cpu += cpu() - between;
        spawned_cpu += between - before;
        let batch = vec![operation.commands.clone(); 100].concat();
        let start = Instant::now();
        for reply in connection.tmux.ask_all(batch).await {
            reply.expect("a reply");
        }
        pipelined.push(start.elapsed().as_secs_f64() * 1e3 / 100.0);
    }
    let [spawned, connected, pipelined] =
        [spawned, connected, pipelined].map(|mut times| median(&mut times));
    let spawned_cpu = spawned_cpu / (plan.rounds * plan.spawned) as f64;
    let connected_cpu = connected_cpu / (plan.rounds * plan.connected) as f64;
    println!(
        "{:<34}{spawned:>11.3}{connected:>11.4}{:>8.1}x{pipelined:>11.4}{spawned_cpu:>11.3}{connected_cpu:>11.4}{:>10.1}x",
        operation.name,
        spawned / connected,
        spawned_cpu / connected_cpu
    );
}

/// Milliseconds of processor that this process, its ended children and those others have used so far.
fn cpu(others: &[Option<u32>]) -> f64 {
    let theirs = others.iter().flatten();
    let theirs = theirs.map(|pid| milliseconds(&pid.to_string(), 11..13));
    milliseconds("self", 11..15) + theirs.sum::<f64>()
}

/// The sum of some times in `/proc/PID/stat`, counted from the state: 11..13 are those of the process, 13..15
/// those of its ended children. They come in ticks of 10 ms, of use for many operations together only.
fn milliseconds(pid: &str, fields: std::ops::Range<usize>) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    let fields = after_name.split(' ').skip(fields.start).take(fields.len());
    10.0 * fields
        .filter_map(|field| field.parse::<f64>().ok())
        .sum::<f64>()
}

/// The seconds a pane takes to print a file, with and without orch attached, by turns.
async fn busy_pane(plan: &Plan) {
    let server = Server::start(200, 50, "cat >/dev/null");
    let file = server.dir().join("flood");
    let line = "   Compiling orch v0.1.0 \u{2013} 0123456789 abcdefghijklmnopqrstuvwxyz and some more words\n";
    fs::write(&file, line.repeat((plan.megabytes << 20) / line.len()))
        .expect("the file is written");
    let result = server.dir().join("seconds");
    let pane = format!(
        "from=$(date +%s%N); cat {}; to=$(date +%s%N); echo $((to - from)) >{}; {}",
        file.display(),
        result.display(),
        format_args!("tmux -S {} wait-for -S printed", server.socket().display()),
    );
    let used = || milliseconds(&server.pid().to_string(), 11..13);
    let print = || {
        let before = used();
        // A process of its own waits: on the connection this command would hold up all others.
        let mut waiting = server
            .command()
            .args(["wait-for", "printed"])
            .stdout(Stdio::null())
            .spawn()
            .expect("tmux runs");
        server.tmux(&["new-window", "-d", &pane]);
        let _ = waiting.wait();
        let nanoseconds = fs::read_to_string(&result).expect("the pane's time");
        let seconds = nanoseconds.trim().parse::<f64>().expect("nanoseconds") / 1e9;
        (seconds, used() - before)
    };
    print();
    let (mut alone, mut attached) = (Vec::new(), Vec::new());
    let (mut ratios, mut cpu_ratios) = (Vec::new(), Vec::new());
    for pair in 0..plan.pairs {
        let mut seen = [(0.0, 0.0); 2];
        for with_orch in [pair % 2 == 1, pair % 2 == 0] {
            let connection = if with_orch {
                let connection = Connection::to(&server).await;
                for (name, format) in orch::panes::subscriptions(1) {
                    let window = WindowId(0);
                    connection
                        .ask(Command::Subscribe {
                            name,
                            window,
                            format,
                        })
                        .await;
                }
                Some(connection)
            } else {
                None
            };
            seen[usize::from(with_orch)] = tokio::task::block_in_place(print);
            if let Some(connection) = connection {
                connection.end().await;
            }
        }
        let [(alone_s, alone_cpu), (attached_s, attached_cpu)] = seen;
        alone.push(plan.megabytes as f64 / alone_s);
        attached.push(plan.megabytes as f64 / attached_s);
        ratios.push(100.0 * alone_s / attached_s);
        cpu_ratios.push(100.0 * alone_cpu / attached_cpu);
    }
    let (low, high) = ratios.iter().fold((f64::MAX, f64::MIN), |(low, high), &r| {
        (low.min(r), high.max(r))
    });
    println!(
        "\na pane that prints {} MB, {} alternating pairs: alone {:.1} MB/s, with orch {:.1} MB/s (medians)\n\
         median of the pairs' ratios {:.1} % ({low:.1} to {high:.1}); by the server's processor time {:.1} %, \
         which a busy machine blurs less",
        plan.megabytes,
        plan.pairs,
        median(&mut alone),
        median(&mut attached),
        median(&mut ratios),
        median(&mut cpu_ratios),
    );
}
