//! Parse, call, exit code.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    orch::cmd::call(orch::cli::Cli::parse())
}
