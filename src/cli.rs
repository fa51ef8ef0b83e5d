//! The command line's grammar, and nothing else: what each word means is the commands' business.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};

use crate::app::COMPONENTS;
use crate::event::{Severity, Verdict};
use crate::tmux::id::PaneId;

/// Watches every coding agent in tmux over one control-mode connection: tells you the few things that matter, never
/// floods you, never loses an event.
#[derive(Debug, Parser)]
#[command(name = "orch", version, propagate_version = true, max_term_width = 100)]
#[command(
    after_help = "Times (T): RFC 3339, HH:MM, YYYY-MM-DD[ HH:MM], or a duration back such as 15m, 2h, 3d.\n\
    Exit codes: 0 done, 1 it failed, 2 bad usage or configuration, 3 not running, 4 another one runs."
)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The tmux server by the name of its socket (as tmux -L)
    #[arg(
        short = 'L',
        value_name = "NAME",
        global = true,
        conflicts_with = "socket_path"
    )]
    pub socket_name: Option<String>,
    /// The tmux server by the path of its socket (as tmux -S) [default: $TMUX, else tmux's default]
    #[arg(short = 'S', value_name = "PATH", global = true)]
    pub socket_path: Option<PathBuf>,
    /// The configuration file
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Where orch keeps its files
    #[arg(long, value_name = "DIR", global = true)]
    pub root: Option<PathBuf>,
    /// Data as JSON: one object, or one a line for lists
    #[arg(long, global = true)]
    pub json: bool,
    /// No colours (also: NO_COLOR)
    #[arg(long, global = true)]
    pub no_color: bool,
}

/// The verbs. Adding one costs a variant here, a file in `cmd` and a line in its list.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Live view in this terminal; starts the orchestrator if none runs
    Attach(Attach),
    /// The orchestrator in the foreground; waits for a tmux server if there is none
    Run(Run),
    /// Start the orchestrator in the background; done when it is attached
    Start,
    /// Stop it, with everything that waits seen to
    Stop,
    /// Stop it if it runs, and start it
    Restart,
    /// How everything is, component by component
    #[command(
        after_help = "Health: ok; waiting (for a tmux server); failing (it runs, what it needs does not work); \
        restarting (it failed and is started again in a moment); parked (it failed five times in a row and is off \
        until `orch restart`); disabled (in the configuration)."
    )]
    Status,
    /// Diagnostics of the process
    Logs(Logs),
    /// Drop the notifications that wait
    ClearQueues,
    /// Publish an event, or many from standard input
    Emit(Emit),
    /// Query the journal
    Events(Events),
    /// Prove that the journal lost nothing
    Verify,
    /// All panes
    Panes,
    /// Take an open critical out of the segment: somebody has seen to it
    Ack(Ack),
    /// Do not tell what a filter covers for a while; the journal keeps it
    Mute(Mute),
    /// End a mute; what it held comes as a count
    Unmute(Unmute),
    /// The mutes that hold
    Mutes,
    /// Control-mode bytes to JSON, one object a line
    Decode(Decode),
    /// Print the lines for tmux.conf: keys and segment
    Keys(Keys),
    /// Check, show or print the configuration
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Show on a server of its own that a flood stays out and a critical comes through
    Demo(Demo),
}

/// `orch attach`.
#[derive(Debug, Args)]
pub struct Attach {
    /// Show this session first
    #[arg(short = 't', value_name = "SESSION")]
    pub session: Option<String>,
}

/// `orch run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Started by `orch start`: no terminal
    #[arg(long, hide = true)]
    pub detached: bool,
}

/// `orch logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// Only this component
    #[arg(value_parser = PossibleValuesParser::new(COMPONENTS))]
    pub component: Option<String>,
    /// The last N lines
    #[arg(short = 'n', value_name = "N", default_value_t = 50)]
    pub lines: usize,
    /// Go on with what comes
    #[arg(short = 'f')]
    pub follow: bool,
}

/// `orch emit`.
#[derive(Debug, Args)]
pub struct Emit {
    /// The type, or `-` to read JSON lines: type, message, and severity, source, pane, data, emitted_at
    #[arg(value_name = "TYPE")]
    pub kind: String,
    /// What happened
    pub message: Option<String>,
    /// low, medium, high or critical [default: the type's]
    #[arg(long)]
    pub severity: Option<Severity>,
    /// Who says so [default: the pane's role, else cli]
    #[arg(long)]
    pub source: Option<String>,
    /// Where [default: $TMUX_PANE]
    #[arg(long, value_name = "%N")]
    pub pane: Option<PaneId>,
    /// More, for programs
    #[arg(long, value_name = "JSON")]
    pub data: Option<String>,
}

/// `orch events`.
#[derive(Debug, Args)]
pub struct Events {
    /// Not before
    #[arg(long, value_name = "T")]
    pub since: Option<String>,
    /// Not after
    #[arg(long, value_name = "T")]
    pub until: Option<String>,
    /// Of these types
    #[arg(long = "type", value_name = "GLOB")]
    pub kind: Option<String>,
    /// At least this severe
    #[arg(long, value_name = "MIN")]
    pub severity: Option<Severity>,
    /// From these sources
    #[arg(long, value_name = "GLOB")]
    pub source: Option<String>,
    /// In these sessions
    #[arg(long, value_name = "GLOB")]
    pub session: Option<String>,
    /// About this pane
    #[arg(long, value_name = "%N")]
    pub pane: Option<PaneId>,
    /// With this final outcome
    #[arg(long, value_name = "RESULT")]
    pub outcome: Option<Verdict>,
    /// Whose text matches
    #[arg(long, value_name = "REGEX")]
    pub grep: Option<String>,
    /// Only the last N
    #[arg(short = 'n', value_name = "N")]
    pub last: Option<usize>,
    /// Raw lines with a higher number, for other programs
    #[arg(long, value_name = "SEQ")]
    pub after: Option<u64>,
    /// Raw lines as they come
    #[arg(short = 'f')]
    pub follow: bool,
}

/// `orch ack`.
#[derive(Debug, Args)]
pub struct Ack {
    /// The number of the event that opened it
    pub seq: u64,
}

/// `orch mute`.
#[derive(Debug, Args)]
#[command(
    after_help = "What orch says of itself as critical (tmux_lost, disk_full, breaker_open, component_parked, loop_broken) \
    is muted by its exact type alone: no glob silences that orch itself does not work.\n\
    While a mute holds, what it covers is neither shown as a message nor in the status line. When it ends, what it \
    held comes as one count, and conditions that still hold are shown again.\n\
    Example: orch mute type='agent_*' session=lab --for 2h"
)]
pub struct Mute {
    /// What it covers: type=GLOB session=GLOB pane=%N source=GLOB, in any combination, all of them must match
    #[arg(value_name = "KEY=PATTERN", required = true)]
    pub filter: Vec<String>,
    /// For how long: 90s, 15m, 8h, 3d …, 30d at most
    #[arg(long = "for", value_name = "D")]
    pub span: String,
}

/// `orch unmute`.
#[derive(Debug, Args)]
pub struct Unmute {
    /// The number of a mute, or its filter
    #[arg(
        value_name = "ID|KEY=PATTERN",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    pub which: Vec<String>,
    /// Every mute
    #[arg(long)]
    pub all: bool,
}

/// `orch decode`.
#[derive(Debug, Args)]
pub struct Decode {
    /// The recording [default: standard input]
    pub file: Option<PathBuf>,
    /// The data of %output as hexadecimal
    #[arg(long)]
    pub hex: bool,
    /// Count instead of printing, and time the parsing
    #[arg(long)]
    pub stats: bool,
}

/// `orch keys`.
#[derive(Debug, Args)]
pub struct Keys {
    /// Say which of the keys are bound already
    #[arg(long)]
    pub check: bool,
}

/// `orch config`.
#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Check the file in use: every mistake, with its line and the mend
    Check,
    /// What holds, with the file it comes from
    Show,
    /// The commented default file
    Default,
}

/// `orch demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// No view: one JSON object at the end, exit 1 if a promise was broken
    #[arg(long)]
    pub headless: bool,
}
