//! What a durable event costs: the journal with one and with many producers against one write and one sync for each
//! event, in the same run on the same disk: `cargo bench --bench journal [-- --quick]`.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use orch::event::{Draft, Line, Outcome, Verdict};
use orch::journal::{self, AppendError, Journal, Opened, Retention};
use tokio::sync::{mpsc, oneshot};

/// Events that one producer may have on their way.
const IN_FLIGHT: usize = 256;
/// Length of a message, in bytes.
const MESSAGE: usize = 80;

/// What becomes of an event that was handed over.
type Answer = oneshot::Receiver<Result<u64, AppendError>>;

/// How much is measured.
struct Plan {
    rounds: usize,
    /// Events in a round, by the number of producers: one event at a time is slow, many together are not.
    alone: usize,
    together: usize,
    /// Events written and synced one by one, and syncs of a file with one byte more.
    one_by_one: usize,
    syncs: usize,
    /// Lines of the journal that a start finds.
    lines: usize,
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let plan = if quick {
        Plan {
            rounds: 3,
            alone: 50_000,
            together: 100_000,
            one_by_one: 500,
            syncs: 200,
            lines: 1_000_000,
        }
    } else {
        Plan {
            rounds: 10,
            alone: 200_000,
            together: 400_000,
            one_by_one: 2_000,
            syncs: 1_000,
            lines: 1_000_000,
        }
    };
    // Beside the build, which is on a real disk where /tmp may not be.
    let place = std::env::current_dir().expect("a working directory");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut rows: Vec<(&str, Vec<f64>)> = [
        "one write and sync per event",
        "journal, 1 producer, 1 in flight",
        "journal, 1 producer, 256 in flight",
        "journal, 16 producers, 256 in flight each",
        "the same, lines/s with an outcome for each event",
    ]
    .map(|name| (name, Vec::new()))
    .into();
    let mut syncs = Vec::new();
    for _ in 0..plan.rounds {
        let directory = tempfile::tempdir_in(&place).expect("a directory");
        let at = |name: &str| directory.path().join(name);
        syncs.extend(sync_latencies(&at("syncs"), plan.syncs));
        let rates = [
            one_by_one(&at("single"), plan.one_by_one),
            runtime.block_on(rate(&at("a"), 1, 1, plan.one_by_one, false)),
            runtime.block_on(rate(&at("b"), 1, IN_FLIGHT, plan.alone, false)),
            runtime.block_on(rate(&at("c"), 16, IN_FLIGHT, plan.together, false)),
            runtime.block_on(rate(&at("d"), 16, IN_FLIGHT, plan.together, true)),
        ];
        for ((_, row), rate) in rows.iter_mut().zip(rates) {
            row.push(rate);
        }
    }
    starts(&runtime, &place, plan.lines);
    syncs.sort();
    println!(
        "write of 300 bytes + fdatasync on this disk: median {:?}, p99 {:?}",
        syncs[syncs.len() / 2],
        syncs[syncs.len() * 99 / 100]
    );
    println!("per second, median of {} rounds (least, most)", plan.rounds);
    for (name, mut rates) in rows {
        rates.sort_by(f64::total_cmp);
        println!(
            "{name:<50} {:>9.0} ({:.0}, {:.0})",
            rates[rates.len() / 2],
            rates[0],
            rates[rates.len() - 1]
        );
    }
}

fn draft(n: usize) -> Draft {
    let mut draft = Draft::new("task_completed", "dev-1", format!("{n:>MESSAGE$}"));
    draft.session = Some("alpha".into());
    draft.peer_pid = Some(4711);
    draft
}

fn sync_latencies(path: &Path, count: usize) -> Vec<Duration> {
    let mut file = File::create(path).expect("a file");
    let bytes = [b'x'; 300];
    (0..count)
        .map(|_| {
            let began = Instant::now();
            file.write_all(&bytes).expect("a write");
            file.sync_data().expect("a sync");
            began.elapsed()
        })
        .collect()
}

fn one_by_one(path: &Path, count: usize) -> f64 {
    let mut file = File::create(path).expect("a file");
    let began = Instant::now();
    for n in 0..count {
        let now = chrono::Local::now().fixed_offset();
        let mut bytes = Vec::new();
        Line::Event(Box::new(draft(n).accept(n as u64 + 1, now)))
            .write(&mut bytes)
            .expect("a line");
        file.write_all(&bytes).expect("a write");
        file.sync_data().expect("a sync");
    }
    count as f64 / began.elapsed().as_secs_f64()
}

/// Events, or with `outcomes` lines, a second, from the first that is handed over to the last that is on disk.
async fn rate(
    directory: &Path,
    producers: usize,
    in_flight: usize,
    events: usize,
    outcomes: bool,
) -> f64 {
    let (committed, mut accepted) = mpsc::channel(1024);
    let Opened { journal, task, .. } =
        journal::open(directory, Retention::default(), 0, committed).expect("a journal");
    let notes = outcomes.then(|| journal.clone());
    let reader = tokio::spawn(async move {
        for _ in 0..events {
            let event = accepted.recv().await.expect("an event");
            if let Some(journal) = &notes {
                journal.outcome(Outcome {
                    of: event.seq,
                    result: Verdict::BelowThreshold,
                    reason: "low is not pushed".into(),
                    n: None,
                });
            }
        }
    });
    let began = Instant::now();
    let each = events / producers;
    assert_eq!(each * producers, events, "every producer has as many");
    let producers: Vec<_> = (0..producers)
        .map(|_| tokio::spawn(produce(journal.clone(), in_flight, each)))
        .collect();
    for producer in producers {
        producer.await.expect("a producer");
    }
    if !outcomes {
        let elapsed = began.elapsed();
        reader.await.expect("the reader");
        drop(journal);
        task.await.expect("the writer");
        return events as f64 / elapsed.as_secs_f64();
    }
    // What was noted is on disk when the journal has ended.
    reader.await.expect("the reader");
    drop(journal);
    task.await.expect("the writer");
    let elapsed = began.elapsed();
    lines(directory) as f64 / elapsed.as_secs_f64()
}

/// How long a start takes over a long journal, without a checkpoint and with one.
fn starts(runtime: &tokio::runtime::Runtime, place: &Path, lines: usize) {
    let directory = tempfile::tempdir_in(place).expect("a directory");
    let mut text = Vec::new();
    let now = chrono::Local::now().fixed_offset();
    for n in 0..lines as u64 / 2 {
        let (of, seq) = (2 * n + 1, 2 * n + 2);
        let event = Line::Event(Box::new(draft(n as usize).accept(of, now)));
        let outcome = Outcome {
            of,
            result: Verdict::BelowThreshold,
            reason: "low is not pushed".into(),
            n: None,
        };
        for line in [event, Line::outcome(outcome, seq, now)] {
            line.write(&mut text).expect("a line");
        }
    }
    let day = now.format(journal::DAY_FORMAT);
    std::fs::write(directory.path().join(format!("{day}.jsonl")), &text).expect("a day");
    let start = || {
        runtime.block_on(async {
            let began = Instant::now();
            let (committed, _) = mpsc::channel(1);
            let opened = journal::open(directory.path(), Retention::default(), 0, committed);
            let opened = opened.expect("a journal");
            assert_eq!(opened.recovered.last_seq, lines as u64);
            let took = began.elapsed();
            // Housekeeping comes when the start is over, and writes the checkpoint.
            let checkpoint = directory.path().join(".checkpoint");
            while !checkpoint.exists() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            took
        })
    };
    let (without, with) = (start(), start());
    println!(
        "start over {lines} lines ({} MB): {without:?}, with a checkpoint {with:?}",
        text.len() >> 20
    );
}

fn lines(directory: &Path) -> usize {
    let mut lines = 0;
    journal::scan(directory, None, |_, _| lines += 1, |_, _| {}).expect("a journal");
    lines
}

async fn produce(journal: Journal, in_flight: usize, count: usize) {
    let (sent, mut waiting) = mpsc::channel::<Answer>(in_flight);
    let acknowledged = tokio::spawn(async move {
        while let Some(receiver) = waiting.recv().await {
            receiver
                .await
                .expect("an answer")
                .expect("an event on disk");
        }
    });
    for n in 0..count {
        let receiver = journal.submit(draft(n)).await.expect("a journal");
        sent.send(receiver).await.expect("a reader of answers");
    }
    drop(sent);
    acknowledged.await.expect("all answers");
}
