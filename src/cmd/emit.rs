//! `orch emit`: publishes an event, or one per line of standard input. Spools when nothing runs.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::json;

use super::whereabouts::Whereabouts;
use super::{Done, FAILED, Failure};
use crate::api::protocol::{MAX_LINE, Request, Response};
use crate::cli::{Emit, Global};
use crate::event::Emission;
use crate::spool;
use crate::tmux::id::PaneId;

/// How long an answer may take, and a line on its way to the orchestrator.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn emit(global: &Global, args: Emit) -> Done {
    let whereabouts = Whereabouts::find(global)?;
    let pane = args.pane.or_else(|| own_pane(&whereabouts));
    if args.kind == "-" {
        if args.message.is_some()
            || args.severity.is_some()
            || args.source.is_some()
            || args.data.is_some()
        {
            return Err(Failure::usage(
                "`orch emit -` takes everything from its lines: no message, severity, source or data beside it",
            ));
        }
        return emit_lines(global, &whereabouts, pane);
    }
    let Some(message) = args.message else {
        return Err(Failure::usage(
            "what is the message? `orch emit TYPE MESSAGE`, or `orch emit -` for JSON lines",
        ));
    };
    let data = args.data.as_deref().map(serde_json::from_str).transpose();
    let data = data.map_err(|e| Failure::usage(format!("--data is no JSON: {e}")))?;
    let emission = Emission {
        kind: args.kind,
        message,
        severity: args.severity,
        source: args.source,
        pane,
        data,
        emitted_at: None,
    };
    emission.check().map_err(Failure::usage)?;
    let open = connect(&whereabouts)?;
    // One that cannot be sent has not been taken, so it is kept as if nothing ran.
    let sent = open.filter(|stream| send(stream, &emission).is_ok());
    let answer = sent.map(|stream| receive(&mut BufReader::new(stream)));
    match answer.unwrap_or(Err(Unheard::NotTaken)) {
        Ok(seq) if global.json => say!("{}", json!({ "seq": seq })),
        Ok(seq) => say!("{seq}"),
        Err(Unheard::NotTaken) => {
            keep(global, &whereabouts, emission)?;
            eprintln!("orch: no orchestrator runs; kept for the next start");
        }
        Err(Unheard::Failed(error)) => return Err(Failure::new(error)),
    }
    Ok(0)
}

/// `$TMUX_PANE`, when `$TMUX` is the server that is meant.
fn own_pane(whereabouts: &Whereabouts) -> Option<PaneId> {
    whereabouts
        .env
        .tmux
        .as_ref()
        .filter(|tmux| whereabouts.server.is_meant_by(tmux))?;
    std::env::var("TMUX_PANE").ok()?.parse().ok()
}

/// What is known of a line, in the order of the lines.
enum Told {
    /// The orchestrator will answer; where that is that it does not take it, it is kept.
    Sent(u64, Box<Emission>),
    /// Nobody is there to send it to.
    Unsent(u64, Box<Emission>),
    /// It is known already.
    Done(serde_json::Value, bool),
}

/// Writes ahead while another thread reads the answers, so that many share one sync of the disk.
fn emit_lines(global: &Global, whereabouts: &Whereabouts, pane: Option<PaneId>) -> Done {
    let stream = connect(whereabouts)?;
    let answers = stream
        .as_ref()
        .map(UnixStream::try_clone)
        .transpose()
        .map_err(Failure::new)?;
    let (told, queue) = mpsc::channel();
    let (read, spooled, all_well) = std::thread::scope(|scope| {
        let keep = |emission| keep(global, whereabouts, emission);
        let printing = scope.spawn(move || print_answers(&queue, answers, keep));
        let read = send_lines(stream.as_ref(), pane, &told);
        drop(told);
        let printed = printing.join();
        let (spooled, all_well) = printed.unwrap_or((false, false));
        (read, spooled, all_well)
    });
    if spooled {
        eprintln!("orch: no orchestrator runs; lines are kept for the next start");
    }
    read?;
    Ok(if all_well { 0 } else { FAILED })
}

fn send_lines(
    stream: Option<&UnixStream>,
    pane: Option<PaneId>,
    told: &mpsc::Sender<Told>,
) -> Result<(), Failure> {
    let mut input = BufReader::new(std::io::stdin().lock());
    let mut line = Vec::new();
    let mut number = 0;
    let mut open = stream;
    loop {
        let length = match read_line(&mut input, &mut line) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) => return Err(Failure::new(format!("cannot read standard input: {error}"))),
        };
        number += 1;
        let known = match parse(&line, length, pane) {
            None => continue,
            Some(Err(error)) => Told::Done(json!({"line": number, "error": error}), false),
            Some(Ok(emission)) => {
                open = open.filter(|stream| send(stream, &emission).is_ok());
                match open {
                    Some(_) => Told::Sent(number, Box::new(emission)),
                    None => Told::Unsent(number, Box::new(emission)),
                }
            }
        };
        if told.send(known).is_err() {
            return Ok(());
        }
    }
}

/// The next line, or its beginning where it is longer than any may be; its length, 0 at the end.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<usize> {
    line.clear();
    let mut length = 0;
    loop {
        let chunk = match input.fill_buf() {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            chunk => chunk?,
        };
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(chunk.len(), |at| at + 1);
        line.extend_from_slice(&chunk[..taken.min(MAX_LINE.saturating_sub(line.len()))]);
        length += taken;
        input.consume(taken);
        if taken == 0 || end.is_some() {
            return Ok(length);
        }
    }
}

fn parse(line: &[u8], length: usize, pane: Option<PaneId>) -> Option<Result<Emission, String>> {
    if length > MAX_LINE {
        return Some(Err(format!(
            "the line has {length} bytes, {MAX_LINE} are possible"
        )));
    }
    let Ok(text) = std::str::from_utf8(line) else {
        return Some(Err("the line is not UTF-8".to_owned()));
    };
    if text.trim().is_empty() {
        return None;
    }
    Some(Emission::parse(text.trim_end()).map(|mut emission| {
        emission.pane = emission.pane.or(pane);
        emission
    }))
}

/// Prints what became of each line, in their order; whether any was kept for the next start, and whether all went well.
fn print_answers(
    queue: &mpsc::Receiver<Told>,
    stream: Option<UnixStream>,
    keep: impl Fn(Emission) -> Result<(), Failure>,
) -> (bool, bool) {
    let mut answers = stream.map(BufReader::new);
    let mut out = std::io::stdout().lock();
    let (mut spooled, mut all_well) = (false, true);
    for told in queue {
        let (number, heard) = match told {
            Told::Done(answer, well) => {
                all_well &= well;
                if writeln!(out, "{answer}").is_err() {
                    break;
                }
                continue;
            }
            Told::Sent(number, emission) => {
                let heard = answers.as_mut().map_or(Err(Unheard::NotTaken), receive);
                (number, heard.map_err(|unheard| (unheard, emission)))
            }
            Told::Unsent(number, emission) => (number, Err((Unheard::NotTaken, emission))),
        };
        let answer = match heard {
            Ok(seq) => json!({"line": number, "seq": seq}),
            Err((Unheard::NotTaken, emission)) => match keep(*emission) {
                Ok(()) => {
                    spooled = true;
                    json!({"line": number, "spooled": true})
                }
                Err(failure) => {
                    all_well = false;
                    json!({"line": number, "error": failure.text})
                }
            },
            Err((Unheard::Failed(error), _)) => {
                all_well = false;
                json!({"line": number, "error": error})
            }
        };
        if writeln!(out, "{answer}").is_err() {
            break;
        }
    }
    (spooled, all_well)
}

fn connect(whereabouts: &Whereabouts) -> Result<Option<UnixStream>, Failure> {
    use std::io::ErrorKind::{ConnectionRefused, NotFound};
    let socket = &whereabouts.runtime.socket;
    match UnixStream::connect(socket) {
        Ok(stream) => {
            let limit = Some(PATIENCE);
            let limited = stream
                .set_read_timeout(limit)
                .and_then(|()| stream.set_write_timeout(limit));
            limited.map_err(Failure::new)?;
            Ok(Some(stream))
        }
        Err(error) if matches!(error.kind(), NotFound | ConnectionRefused) => Ok(None),
        Err(error) => Err(Failure::new(format!(
            "cannot reach the orchestrator at {}: {error}",
            socket.display()
        ))),
    }
}

fn send(mut stream: &UnixStream, emission: &Emission) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(&Request::Emit {
        event: Box::new(emission.clone()),
    })?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// Why there is no number.
enum Unheard {
    /// Nobody took it, and nobody will.
    NotTaken,
    /// It was refused, or nobody knows.
    Failed(String),
}

fn receive(answers: &mut BufReader<UnixStream>) -> Result<u64, Unheard> {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    let unknown = |why: String| {
        Unheard::Failed(format!(
            "{why}: it is unknown whether it was accepted; `orch events` tells"
        ))
    };
    let mut line = String::new();
    match answers.read_line(&mut line) {
        Ok(0) => Err(unknown(
            "the orchestrator ended before it answered".to_owned(),
        )),
        Err(error) if matches!(error.kind(), TimedOut | WouldBlock) => {
            let seconds = PATIENCE.as_secs();
            Err(unknown(format!(
                "the orchestrator has not answered for {seconds} s"
            )))
        }
        Err(error) => Err(unknown(format!(
            "the orchestrator's socket failed: {error}"
        ))),
        Ok(_) => match serde_json::from_str(&line) {
            Ok(Response::Seq(seq)) => Ok(seq),
            Ok(Response::Ending(_)) => Err(Unheard::NotTaken),
            Ok(Response::Error(error)) => Err(Unheard::Failed(error)),
            other => Err(Unheard::Failed(format!("unexpected answer: {other:?}"))),
        },
    }
}

fn keep(global: &Global, whereabouts: &Whereabouts, mut emission: Emission) -> Result<(), Failure> {
    emission
        .emitted_at
        .get_or_insert_with(|| chrono::Local::now().fixed_offset());
    let directory = whereabouts.root(global)?.spool();
    spool::keep(&directory, &[emission]).map_err(|e| {
        Failure::new(format!(
            "cannot keep the event in {}: {e}",
            directory.display()
        ))
    })
}
