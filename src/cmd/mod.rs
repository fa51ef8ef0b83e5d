//! The verbs of the command line, one file each. Nobody imports them.

/// Prints a line for whoever reads it; nobody does any more once a pager or `head` has ended.
macro_rules! say {
    ($($words:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{}\n", format_args!($($words)*)));
    }};
}

mod ack;
mod attach;
mod clear_queues;
mod config;
mod decode;
mod demo;
mod emit;
mod events;
mod keys;
mod logs;
mod mute;
mod mutes;
mod panes;
mod run;
mod start;
mod status;
mod terminal;
mod verify;
mod whereabouts;

use std::process::ExitCode;

use crate::api::client::ClientError;
use crate::cli::{Cli, Verb};

/// It failed.
const FAILED: u8 = 1;
/// Bad usage or configuration.
const USAGE: u8 = 2;
/// No orchestrator runs.
const NOT_RUNNING: u8 = 3;
/// `run` found another running.
const ANOTHER_RUNS: u8 = 4;

/// Why a command failed: what to say, and the exit code.
#[derive(Debug)]
struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    fn new(text: impl std::fmt::Display) -> Self {
        Self {
            code: FAILED,
            text: text.to_string(),
        }
    }

    fn usage(text: impl std::fmt::Display) -> Self {
        Self {
            code: USAGE,
            text: text.to_string(),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let code = if matches!(error, ClientError::NotRunning) {
            NOT_RUNNING
        } else {
            FAILED
        };
        Self {
            code,
            text: error.to_string(),
        }
    }
}

type Done = Result<u8, Failure>;

/// Carries out what was typed.
pub fn call(cli: Cli) -> ExitCode {
    // Files and sockets are the owner's alone.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let global = &cli.global;
    let done = match cli.verb {
        Verb::Attach(args) => attach::attach(global, args),
        Verb::Run(args) => run::run(global, args),
        Verb::Start => start::start(global),
        Verb::Stop => start::stop(global),
        Verb::Restart => start::restart(global),
        Verb::Status => status::status(global),
        Verb::Logs(args) => logs::logs(global, args),
        Verb::ClearQueues => clear_queues::clear_queues(global),
        Verb::Emit(args) => emit::emit(global, args),
        Verb::Events(args) => events::events(global, args),
        Verb::Verify => verify::verify(global),
        Verb::Panes => panes::panes(global),
        Verb::Ack(args) => ack::ack(global, &args),
        Verb::Mute(args) => mute::mute(global, args),
        Verb::Unmute(args) => mute::unmute(global, args),
        Verb::Mutes => mutes::mutes(global),
        Verb::Decode(args) => decode::decode(&args),
        Verb::Keys(args) => keys::keys(global, &args),
        Verb::Config(verb) => config::config(global, &verb),
        Verb::Demo(args) => demo::demo(global, &args),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(Failure { code, text }) => {
            // A text may hold what somebody else said; its own lines stay lines.
            for (n, line) in text.trim_end().lines().enumerate() {
                let head = if n == 0 { "orch: " } else { "" };
                eprintln!("{head}{}", terminal::safe(line));
            }
            ExitCode::from(code)
        }
    }
}

/// A runtime for commands that ask and print.
fn asking<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime
        .map_err(|e| Failure::new(format!("cannot start: {e}")))?
        .block_on(work)
}
