//! `orch logs`: the diagnostics of the process, by component.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::time::Duration;

use super::whereabouts::Whereabouts;
use super::{Done, Failure, terminal};
use crate::cli::{Global, Logs};

pub(super) fn logs(global: &Global, args: Logs) -> Done {
    let path = Whereabouts::find(global)?.root(global)?.diagnostics();
    let file = std::fs::File::open(&path).map_err(|e| {
        Failure::new(format!(
            "cannot read {}: {e}; nothing has run with this root",
            path.display()
        ))
    })?;
    let mut reader = BufReader::new(file);
    let wanted = |line: &str| {
        args.component
            .as_deref()
            .is_none_or(|name| is_of(line, name))
    };
    let mut last = VecDeque::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => break,
            Ok(_) => {
                let text = terminal::safe(&String::from_utf8_lossy(&line));
                if wanted(&text) {
                    last.push_back(text);
                    if last.len() > args.lines {
                        last.pop_front();
                    }
                }
            }
            Err(e) => return Err(Failure::new(format!("cannot read {}: {e}", path.display()))),
        }
    }
    let mut out = std::io::stdout().lock();
    for line in &last {
        if writeln!(out, "{line}").is_err() {
            return Ok(0);
        }
    }
    if !args.follow {
        return Ok(0);
    }
    line.clear();
    loop {
        match reader.read_until(b'\n', &mut line) {
            // Nothing new, or a line that is still being written.
            Ok(_) if line.last() != Some(&b'\n') => std::thread::sleep(Duration::from_millis(200)),
            Ok(_) => {
                let text = terminal::safe(&String::from_utf8_lossy(&line));
                if wanted(&text) && (writeln!(out, "{text}").is_err() || out.flush().is_err()) {
                    return Ok(0);
                }
                line.clear();
            }
            Err(e) => return Err(Failure::new(format!("cannot read {}: {e}", path.display()))),
        }
    }
}

/// `2026-… LEVEL orch::NAME: text`
fn is_of(line: &str, component: &str) -> bool {
    line.split_whitespace()
        .nth(2)
        .is_some_and(|target| target.trim_end_matches(':') == format!("orch::{component}"))
}

/// The last lines of a log, for an error message.
pub(super) fn last_lines(path: &Path, n: usize) -> Vec<String> {
    let text = std::fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(n)..]
        .iter()
        .map(|line| terminal::safe(line))
        .collect()
}
