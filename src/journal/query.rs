//! Finds events in the journal and joins them with their outcomes; follows it as it grows. Blocking reads.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, FixedOffset, NaiveDate};
use globset::GlobMatcher;
use regex::Regex;
use serde::Deserialize;

use super::files::{self, ReadError};
use super::{mend, numbers};
use crate::event::{Event, Line, Outcome, Received, Severity, Verdict};
use crate::tmux::id::PaneId;

/// What to look for; an empty query finds everything.
#[derive(Debug, Default, Clone)]
pub struct Query {
    /// Only with higher numbers.
    pub after: u64,
    /// Not before.
    pub since: Option<DateTime<FixedOffset>>,
    /// Not after.
    pub until: Option<DateTime<FixedOffset>>,
    /// Types.
    pub kind: Option<GlobMatcher>,
    /// At least this severe.
    pub severity: Option<Severity>,
    /// Sources.
    pub source: Option<GlobMatcher>,
    /// Names of sessions.
    pub session: Option<GlobMatcher>,
    /// One pane.
    pub pane: Option<PaneId>,
    /// A final outcome; pending ones have none and are not found.
    pub outcome: Option<Verdict>,
    /// In the message or the data, as they stand in the journal.
    pub grep: Option<Regex>,
    /// Only the last of what is found.
    pub last: Option<usize>,
}

/// An event with what became of it.
#[derive(Debug, Clone)]
pub struct Found {
    /// The line as it stands in the journal.
    pub raw: Vec<u8>,
    /// The event.
    pub event: Event,
    /// Its outcome; `None` while pending and for lines of the predecessor.
    pub outcome: Option<(u64, DateTime<FixedOffset>, Outcome)>,
}

/// The fields that decide, borrowed: most lines of a large journal are looked at and passed over.
#[derive(Deserialize)]
struct Glance<'a> {
    #[serde(default)]
    v: Option<u8>,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    of: u64,
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default)]
    severity: Option<Severity>,
    #[serde(default, borrow)]
    source: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    session: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    pane: Option<Cow<'a, str>>,
}

impl Query {
    /// Runs over a journal directory.
    ///
    /// # Errors
    /// [`ReadError`] names what could not be read. Damaged lines are passed over and counted in the result.
    pub fn run(&self, dir: &Path) -> Result<(Vec<Found>, u64), ReadError> {
        let mut damaged = 0;
        let mut found: Vec<Found> = Vec::new();
        let mut at: HashMap<u64, usize> = HashMap::new();
        let each = |_: &files::Place, raw: &[u8]| {
            let Ok(glance) = serde_json::from_slice::<Glance<'_>>(raw) else {
                damaged += 1;
                return;
            };
            match (glance.v, &*glance.kind) {
                (Some(_), "receipt") => {}
                (Some(_), "outcome") => {
                    let Some(&index) = at.get(&glance.of) else {
                        return;
                    };
                    if let Ok(Received::Line(Line::Outcome(line))) = Received::parse(raw) {
                        found[index].outcome = Some((line.seq, line.ts, line.body));
                    }
                }
                _ if !self.may_match(&glance) => {}
                (version, _) => match Received::parse(raw) {
                    Ok(Received::Line(Line::Event(event))) | Ok(Received::Legacy(event)) => {
                        if self.matches(&event) {
                            if version.is_some() {
                                at.insert(glance.seq, found.len());
                            }
                            found.push(Found {
                                raw: raw.to_vec(),
                                event: *event,
                                outcome: None,
                            });
                        }
                    }
                    _ => damaged += 1,
                },
            }
        };
        // A file may have been named in a zone to the west of this one.
        let since = self.since.map(|since| {
            let day = since.with_timezone(&chrono::Local).date_naive();
            day.pred_opt().unwrap_or(day)
        });
        let mut each = each;
        let mut unreadable = 0;
        for day in files::days(dir)? {
            if since.is_some_and(|since| day.day < since) {
                continue;
            }
            match files::scan_day(dir, &day, 0, &mut each, |_, _| {}) {
                // Of a damaged compressed file nobody knows how many lines it had.
                Err(_) if day.packed => unreadable += 1,
                read => drop(read?),
            }
        }
        damaged += unreadable;
        if let Some(wanted) = self.outcome {
            found.retain(|f| {
                f.outcome
                    .as_ref()
                    .is_some_and(|(_, _, outcome)| outcome.result == wanted)
            });
        }
        if let Some(last) = self.last {
            found.drain(..found.len().saturating_sub(last));
        }
        Ok((found, damaged))
    }

    /// What can be decided without reading the whole line. Lines of the predecessor have no envelope.
    fn may_match(&self, glance: &Glance<'_>) -> bool {
        let glob = |glob: &Option<GlobMatcher>, text: Option<&str>| {
            glob.as_ref()
                .is_none_or(|glob| text.is_some_and(|text| glob.is_match(text)))
        };
        glance.v.is_none()
            || glob(&self.kind, Some(&glance.kind))
                && glob(&self.source, glance.source.as_deref())
                && glob(&self.session, glance.session.as_deref())
                && self
                    .severity
                    .is_none_or(|min| glance.severity.is_some_and(|s| s >= min))
                && self
                    .pane
                    .is_none_or(|pane| glance.pane.as_deref() == Some(&pane.to_string()))
    }

    fn matches(&self, event: &Event) -> bool {
        let glob = |glob: &Option<GlobMatcher>, text: Option<&str>| {
            glob.as_ref()
                .is_none_or(|glob| text.is_some_and(|text| glob.is_match(text)))
        };
        let text = |event: &Event| {
            let data = event
                .data
                .as_ref()
                .map(serde_json::Value::to_string)
                .unwrap_or_default();
            format!("{} {data}", event.message)
        };
        (self.after == 0 || event.seq > self.after)
            && self.since.is_none_or(|since| event.ts >= since)
            && self.until.is_none_or(|until| event.ts <= until)
            && glob(&self.kind, Some(&event.kind))
            && glob(&self.source, Some(&event.source))
            && glob(&self.session, event.session.as_deref())
            && self.severity.is_none_or(|min| event.severity >= min)
            && self.pane.is_none_or(|pane| event.pane == Some(pane))
            && self
                .grep
                .as_ref()
                .is_none_or(|re| re.is_match(&text(event)))
    }
}

/// The last number in the journal, 0 for none, from its end.
///
/// # Errors
/// [`ReadError`] names what could not be read.
pub fn last_seq(dir: &Path) -> Result<u64, ReadError> {
    for day in files::days(dir)?.iter().rev() {
        let mut last = None;
        if day.packed {
            let each = |_: &files::Place, line: &[u8]| {
                last = numbers::head(line).map(numbers::Head::seq).or(last);
            };
            let _ = files::scan_day(dir, day, 0, each, |_, _| {});
        } else if let Ok(file) = File::open(&day.path) {
            let length = file.metadata().map_or(0, |there| there.len());
            last = mend::numbers_in(&file, length).map(|(_, last)| last);
        }
        if let Some(last) = last {
            return Ok(last);
        }
    }
    Ok(0)
}

/// Prints nothing itself: hands every raw line whose number is above `after` to `each`, and with `forever`
/// goes on with what is appended, over midnight too. `each` returns false to end.
///
/// # Errors
/// [`ReadError`] names what could not be read.
pub fn follow(
    dir: &Path,
    after: u64,
    forever: bool,
    mut each: impl FnMut(&[u8]) -> bool,
) -> Result<(), ReadError> {
    const POLL: Duration = Duration::from_millis(50);
    let mut at: Option<(NaiveDate, u64)> = None;
    let mut last = after;
    let mut going = true;
    loop {
        for day in files::days(dir)? {
            let offset = match at {
                Some((present, _)) if day.day < present => continue,
                Some((present, offset)) if day.day == present => {
                    match std::fs::metadata(&day.path) {
                        // Nothing is added to a compressed day, and what was read of it before it was compressed
                        // has been read to its end.
                        _ if day.packed => continue,
                        // Somebody has cut or replaced it: by the numbers, nothing comes twice.
                        Ok(there) if there.len() < offset => 0,
                        _ => offset,
                    }
                }
                _ => 0,
            };
            let each = |_: &files::Place, line: &[u8]| {
                let seq = serde_json::from_slice::<Glance<'_>>(line).map_or(0, |glance| glance.seq);
                if going && seq > last {
                    last = seq;
                    going = each(line);
                }
            };
            let end = match files::scan_day(dir, &day, offset, each, |_, _| {}) {
                // A reader sees by the numbers that some are missing.
                Err(_) if day.packed => offset,
                read => read?,
            };
            at = Some((day.day, end));
        }
        if !forever || !going {
            return Ok(());
        }
        std::thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_held_against_the_text_not_against_its_json() {
        let dir = tempfile::tempdir().unwrap();
        let line = r#"{"v":1,"seq":1,"ts":"2026-11-22T13:24:52+01:00","type":"x","severity":"low","source":"s","message":"unit \"seven\" failed"}"#;
        std::fs::write(dir.path().join("2026-11-22.jsonl"), format!("{line}\n")).unwrap();
        for (pattern, found) in [
            ("^unit", 1),
            ("unit \"seven\"", 1),
            ("failed $", 1),
            ("severity", 0),
        ] {
            let query = Query {
                grep: Some(Regex::new(pattern).unwrap()),
                ..Query::default()
            };
            assert_eq!(query.run(dir.path()).unwrap().0.len(), found, "{pattern}");
        }
    }
}
