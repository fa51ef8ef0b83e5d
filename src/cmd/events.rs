//! `orch events`: the journal for people and programs, running or not.

use std::io::Write;

use chrono::{DateTime, FixedOffset, Local};
use globset::{Glob, GlobMatcher};
use serde_json::json;

use super::whereabouts::Whereabouts;
use super::{Done, Failure, terminal};
use crate::cli::{Events, Global};
use crate::journal::{Found, Query, follow, last_seq};
use crate::when;

/// Longest pattern, compiled, in bytes: a filter must not cost more than what it filters.
const REGEX_SIZE: usize = 1 << 20;

pub(super) fn events(global: &Global, args: Events) -> Done {
    let directory = Whereabouts::find(global)?.root(global)?.events();
    if args.follow || args.after.is_some() {
        return raw(&directory, &args);
    }
    let (found, damaged) = query(&args)?.run(&directory).map_err(Failure::new)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let colours = terminal::colours(global.no_color);
    for found in &found {
        let line = if global.json {
            joined(found)?
        } else {
            for_people(found, colours).into_bytes()
        };
        // A reader that has seen enough, such as head, is no error.
        if out
            .write_all(&line)
            .and_then(|()| out.write_all(b"\n"))
            .is_err()
        {
            return Ok(0);
        }
    }
    let _ = out.flush();
    if damaged > 0 {
        let lines = if damaged == 1 { "line" } else { "lines" };
        eprintln!("orch: {damaged} {lines} could not be read; see `orch verify`");
    }
    Ok(0)
}

/// Raw lines, gap-free: what another program resumes from by the last number it has seen.
fn raw(directory: &std::path::Path, args: &Events) -> Done {
    let filters = [
        &args.since,
        &args.until,
        &args.kind,
        &args.source,
        &args.session,
        &args.grep,
    ];
    if filters.iter().any(|f| f.is_some())
        || args.severity.is_some()
        || args.pane.is_some()
        || args.outcome.is_some()
        || args.last.is_some()
    {
        return Err(Failure::usage(
            "--after and -f print every line, receipts and outcomes too: filters do not go with them",
        ));
    }
    let mut out = std::io::stdout().lock();
    // Without a number, following begins with what comes.
    let after = match args.after {
        Some(after) => after,
        None => last_seq(directory).map_err(Failure::new)?,
    };
    follow(directory, after, args.follow, |line| {
        out.write_all(line)
            .and_then(|()| out.write_all(b"\n"))
            .and_then(|()| out.flush())
            .is_ok()
    })
    .map_err(Failure::new)?;
    Ok(0)
}

fn query(args: &Events) -> Result<Query, Failure> {
    let now = Local::now();
    let time = |text: &Option<String>| -> Result<Option<DateTime<FixedOffset>>, Failure> {
        text.as_deref()
            .map(|t| {
                when::past(t, now)
                    .map(|t| t.fixed_offset())
                    .map_err(Failure::usage)
            })
            .transpose()
    };
    let glob = |option: &str, text: &Option<String>| -> Result<Option<GlobMatcher>, Failure> {
        let compile = |t: &str| {
            Glob::new(t)
                .map(|g| g.compile_matcher())
                .map_err(|e| Failure::usage(format!("{option}: {t:?} is no glob: {e}")))
        };
        text.as_deref().map(compile).transpose()
    };
    let grep = args.grep.as_deref().map(|t| {
        regex::RegexBuilder::new(t)
            .size_limit(REGEX_SIZE)
            .build()
            .map_err(|e| Failure::usage(format!("--grep: {e}")))
    });
    Ok(Query {
        after: 0,
        since: time(&args.since)?,
        until: time(&args.until)?,
        kind: glob("--type", &args.kind)?,
        severity: args.severity,
        source: glob("--source", &args.source)?,
        session: glob("--session", &args.session)?,
        pane: args.pane,
        outcome: args.outcome,
        grep: grep.transpose()?,
        last: args.last,
    })
}

/// The line as it stands, with its outcome as the last field.
fn joined(found: &Found) -> Result<Vec<u8>, Failure> {
    let outcome = found.outcome.as_ref().map(|(seq, ts, outcome)| {
        json!({"seq": seq, "ts": ts, "result": outcome.result, "reason": outcome.reason, "n": outcome.n})
    });
    let mut line = found.raw.clone();
    // It was read as an object, so it ends in a brace.
    line.truncate(line.trim_ascii_end().len().saturating_sub(1));
    line.extend_from_slice(b",\"outcome\":");
    serde_json::to_writer(&mut line, &outcome).map_err(Failure::new)?;
    line.push(b'}');
    Ok(line)
}

fn for_people(found: &Found, colours: bool) -> String {
    let event = &found.event;
    let outcome = found
        .outcome
        .as_ref()
        .map_or("pending", |(_, _, outcome)| outcome.result.as_str());
    let outcome = if event.v == 0 { "-" } else { outcome };
    let place = event
        .pane
        .map(|p| p.to_string())
        .or_else(|| event.session.clone())
        .unwrap_or_default();
    let head = format!(
        "{:>6} {} {:<8} {:<18} {:<12} {:<5}",
        event.seq,
        event.ts.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S"),
        event.severity,
        terminal::safe(&event.kind),
        terminal::safe(&event.source),
        terminal::safe(&place),
    );
    format!(
        "{} {}  [{outcome}]",
        terminal::coloured(event.severity, &head, colours),
        terminal::safe(&event.message)
    )
}
