//! A line before it has its number and time: everything that its producer knows, as JSON already, so that the one who
//! numbers lines has only to put the head before it.

use std::io::Write;

use chrono::{DateTime, FixedOffset};
use serde::Serialize;

use super::{Draft, Outcome, Receipt, VERSION};

/// The end of a line, from its type on, line end included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body(Vec<u8>);

/// A time as it stands in lines, in quotes.
pub fn stamp(ts: DateTime<FixedOffset>) -> String {
    // A time of this range can always be written.
    serde_json::to_string(&ts).unwrap_or_else(|_| "null".to_owned())
}

impl Body {
    /// Of an event.
    ///
    /// # Errors
    /// When its data holds what JSON cannot say.
    pub fn event(draft: &Draft) -> Result<Self, serde_json::Error> {
        Self::after(Vec::with_capacity(192 + draft.message.len()), draft)
    }

    /// Of a receipt.
    ///
    /// # Errors
    /// See [`Body::event`].
    pub fn receipt(receipt: &Receipt) -> Result<Self, serde_json::Error> {
        Self::after(b"\"type\":\"receipt\"".to_vec(), receipt)
    }

    /// Of an outcome.
    ///
    /// # Errors
    /// See [`Body::event`].
    pub fn outcome(outcome: &Outcome) -> Result<Self, serde_json::Error> {
        Self::after(b"\"type\":\"outcome\"".to_vec(), outcome)
    }

    fn after(mut bytes: Vec<u8>, rest: &impl Serialize) -> Result<Self, serde_json::Error> {
        let brace = bytes.len();
        serde_json::to_writer(&mut bytes, rest)?;
        // The fields go on where those before them ended, or stand alone after the head's comma.
        if brace == 0 {
            bytes[0] = b' ';
        } else {
            bytes[brace] = b',';
        }
        bytes.push(b'\n');
        Ok(Self(bytes))
    }

    /// Its length in bytes, without the head.
    #[allow(clippy::len_without_is_empty, reason = "there is no empty one")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Appends the whole line. `stamp` is a time by [`stamp`].
    pub fn write(&self, seq: u64, stamp: &str, buffer: &mut Vec<u8>) {
        let rest = self.0.strip_prefix(b" ").unwrap_or(&self.0);
        // Writing to memory does not fail.
        let _ = write!(buffer, "{{\"v\":{VERSION},\"seq\":{seq},\"ts\":{stamp},");
        buffer.extend_from_slice(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Line, Verdict};
    use super::*;
    use crate::tmux::id::{PaneId, WindowId};

    #[test]
    fn a_body_with_its_head_is_the_line() {
        let ts = "2026-11-22T13:24:52.123456+01:00".parse().unwrap();
        let bare = Draft::new("bell", "s", "m");
        let mut full = bare.clone().with_data(serde_json::json!({"a": [1, "\n"]}));
        full.session = Some("alpha".into());
        full.window = Some(WindowId(1));
        full.pane = Some(PaneId(3));
        full.cause = Some(5);
        full.emitted_at = Some("2026-11-22T12:24:52Z".parse().unwrap());
        full.peer_pid = Some(7);
        full.truncated = true;
        let outcome = Outcome {
            of: 7,
            result: Verdict::RateLimited,
            reason: "x".into(),
            n: Some(37),
        };
        let receipt = Receipt {
            of: 7,
            dest: "status".into(),
            result: "shown".into(),
            reason: String::new(),
        };
        let events = [bare, full].map(|draft| {
            let line = Line::Event(Box::new(draft.clone().accept(9, ts)));
            (Body::event(&draft).unwrap(), line)
        });
        let notes = [
            (
                Body::outcome(&outcome).unwrap(),
                Line::outcome(outcome, 9, ts),
            ),
            (
                Body::receipt(&receipt).unwrap(),
                Line::receipt(receipt, 9, ts),
            ),
        ];
        for (body, line) in events.into_iter().chain(notes) {
            let (mut ours, mut whole) = (Vec::new(), Vec::new());
            body.write(9, &stamp(ts), &mut ours);
            line.write(&mut whole).unwrap();
            assert_eq!(String::from_utf8(ours), String::from_utf8(whole));
        }
    }
}
