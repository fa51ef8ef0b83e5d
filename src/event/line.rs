//! One line of the journal, of any version and of the predecessor, to and from JSON.

use chrono::{DateTime, FixedOffset, Local, NaiveDateTime, TimeZone};
use serde::{Deserialize, Serialize};

use super::{Event, Outcome, Receipt, Severity, VERSION, kind};

/// A line with its place in the journal.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    /// Something happened.
    Event(Box<Event>),
    /// A destination was tried.
    Receipt(Numbered<Receipt>),
    /// An event's final outcome.
    Outcome(Numbered<Outcome>),
}

/// A receipt or outcome with the fields that all lines share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Numbered<T> {
    /// Version of the line.
    pub v: u8,
    /// Gap-free number, shared with events.
    pub seq: u64,
    /// When it was written.
    pub ts: DateTime<FixedOffset>,
    /// `receipt` or `outcome`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The rest.
    #[serde(flatten)]
    pub body: T,
}

/// A line as it was found.
#[derive(Debug, Clone, PartialEq)]
pub enum Received {
    /// One of ours.
    Line(Line),
    /// One of the predecessor's (`timestamp`, `type`, `data`): no seq, no outcome.
    Legacy(Box<Event>),
}

/// A line that is not a journal line.
#[derive(Debug, thiserror::Error)]
pub enum BadLine {
    /// No JSON object, or fields are missing or of the wrong type.
    #[error("not a journal line: {0}")]
    Json(#[from] serde_json::Error),
    /// Written by a newer orch in a way that this one cannot read.
    #[error("version {0} of the journal is newer than this orch reads ({VERSION})")]
    Newer(u8),
    /// A time of the predecessor that cannot be read.
    #[error("timestamp {0:?} is not a time")]
    Timestamp(String),
}

impl Line {
    /// Its number.
    pub fn seq(&self) -> u64 {
        match self {
            Self::Event(event) => event.seq,
            Self::Receipt(receipt) => receipt.seq,
            Self::Outcome(outcome) => outcome.seq,
        }
    }

    /// When it was written.
    pub fn ts(&self) -> DateTime<FixedOffset> {
        match self {
            Self::Event(event) => event.ts,
            Self::Receipt(receipt) => receipt.ts,
            Self::Outcome(outcome) => outcome.ts,
        }
    }

    /// A receipt or outcome becomes a line by its number and time.
    pub fn receipt(body: Receipt, seq: u64, ts: DateTime<FixedOffset>) -> Self {
        Self::Receipt(Numbered {
            v: VERSION,
            seq,
            ts,
            kind: "receipt".into(),
            body,
        })
    }

    /// See [`Line::receipt`].
    pub fn outcome(body: Outcome, seq: u64, ts: DateTime<FixedOffset>) -> Self {
        Self::Outcome(Numbered {
            v: VERSION,
            seq,
            ts,
            kind: "outcome".into(),
            body,
        })
    }

    /// Appends the line with its line end.
    ///
    /// # Errors
    /// When `data` holds what JSON cannot say; the buffer is then as it was.
    pub fn write(&self, buffer: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        let before = buffer.len();
        let written = match self {
            Self::Event(event) => serde_json::to_writer(&mut *buffer, event),
            Self::Receipt(receipt) => serde_json::to_writer(&mut *buffer, receipt),
            Self::Outcome(outcome) => serde_json::to_writer(&mut *buffer, outcome),
        };
        if let Err(error) = written {
            buffer.truncate(before);
            return Err(error);
        }
        buffer.push(b'\n');
        Ok(())
    }
}

/// What tells the kinds of lines apart.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(default)]
    v: Option<u8>,
    #[serde(rename = "type", borrow)]
    kind: std::borrow::Cow<'a, str>,
}

#[derive(Deserialize)]
struct Legacy {
    timestamp: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    data: serde_json::Value,
}

impl Received {
    /// Reads one line.
    ///
    /// # Errors
    /// [`BadLine`] when it is no line of the journal.
    pub fn parse(line: &[u8]) -> Result<Self, BadLine> {
        let head: Head<'_> = serde_json::from_slice(line)?;
        match head.v {
            None => {
                legacy(serde_json::from_slice(line)?).map(|event| Self::Legacy(Box::new(event)))
            }
            Some(newer) if newer > VERSION => Err(BadLine::Newer(newer)),
            Some(_) => Ok(Self::Line(match &*head.kind {
                "receipt" => Line::Receipt(serde_json::from_slice(line)?),
                "outcome" => Line::Outcome(serde_json::from_slice(line)?),
                _ => Line::Event(Box::new(serde_json::from_slice(line)?)),
            })),
        }
    }
}

/// The predecessor wrote naive local times and had no envelope: what its data says of sender, severity and
/// message is taken where it is.
fn legacy(line: Legacy) -> Result<Event, BadLine> {
    let naive: NaiveDateTime = line
        .timestamp
        .parse()
        .map_err(|_| BadLine::Timestamp(line.timestamp.clone()))?;
    let ts = Local.from_local_datetime(&naive).earliest();
    let ts = ts
        .ok_or_else(|| BadLine::Timestamp(line.timestamp.clone()))?
        .fixed_offset();
    let kind = kind::canonical(&line.kind).to_owned();
    let text = |keys: &[&str]| {
        keys.iter()
            .find_map(|k| line.data.get(k)?.as_str().map(str::to_owned))
    };
    let severity = text(&["severity"]).and_then(|s| s.parse::<Severity>().ok());
    Ok(Event {
        v: 0,
        seq: 0,
        ts,
        severity: severity.unwrap_or_else(|| kind::severity_of(&kind)),
        source: text(&["sender", "agent"]).unwrap_or_else(|| "unknown".to_owned()),
        message: text(&["message", "details", "status", "task"]).unwrap_or_default(),
        session: None,
        window: None,
        pane: None,
        data: Some(line.data).filter(|d| !d.is_null()),
        cause: None,
        emitted_at: None,
        peer_pid: None,
        truncated: false,
        kind,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Draft, Verdict};
    use super::*;

    #[test]
    fn an_event_reads_as_it_was_written() {
        let line = r#"{"v":1,"seq":7,"ts":"2026-11-22T13:24:52.123456+01:00","type":"task_completed","severity":"low","source":"dev-1","session":"alpha","window":"@1","pane":"%3","message":"…","data":{"a":1},"cause":5}"#;
        let Ok(Received::Line(line_read)) = Received::parse(line.as_bytes()) else {
            panic!()
        };
        let mut written = Vec::new();
        line_read.write(&mut written).unwrap();
        assert_eq!(String::from_utf8(written).unwrap().trim_end(), line);
    }

    #[test]
    fn receipts_and_outcomes_are_lines_of_their_own() {
        let ts = "2026-11-22T13:24:52.123456+01:00".parse().unwrap();
        let outcome = Outcome {
            of: 7,
            result: Verdict::RateLimited,
            reason: "x".into(),
            n: Some(37),
        };
        let line = Line::outcome(outcome, 8, ts);
        let mut written = Vec::new();
        line.write(&mut written).unwrap();
        let text = String::from_utf8(written).unwrap();
        assert_eq!(
            text,
            "{\"v\":1,\"seq\":8,\"ts\":\"2026-11-22T13:24:52.123456+01:00\",\"type\":\"outcome\",\"of\":7,\"result\":\"rate_limited\",\"reason\":\"x\",\"n\":37}\n"
        );
        assert_eq!(
            Received::parse(text.as_bytes()).unwrap(),
            Received::Line(line)
        );
    }

    #[test]
    fn the_predecessors_lines_are_read() {
        let line = br#"{"timestamp": "2025-08-21T22:29:43.1", "type": "violations", "data": {"sender": "dev", "severity": "high", "message": "m"}}"#;
        let Ok(Received::Legacy(event)) = Received::parse(line) else {
            panic!()
        };
        assert_eq!(
            (event.kind.as_str(), event.source.as_str(), event.severity),
            ("violation", "dev", Severity::High)
        );
    }

    #[test]
    fn what_is_no_line_is_said_to_be_none() {
        for bad in [
            &b"{"[..],
            b"[]",
            b"1",
            b"{}",
            b"\xff",
            br#"{"v":9,"type":"x"}"#,
            br#"{"timestamp":"soon","type":"x"}"#,
        ] {
            assert!(
                Received::parse(bad).is_err(),
                "{}",
                String::from_utf8_lossy(bad)
            );
        }
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        let draft = Draft::new("status_update", "cli", "ä".repeat(3000));
        assert!(
            draft.truncated
                && draft.message.len() <= 4096
                && draft.message.chars().all(|c| c == 'ä')
        );
        let big = Draft::new("status_update", "cli", "x")
            .with_data(serde_json::json!("y".repeat(70_000)));
        assert!(big.truncated && big.data.unwrap().to_string().len() <= 64 << 10);
    }
}
