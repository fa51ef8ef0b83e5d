//! When two events say the same. Pure.

use serde::{Deserialize, Serialize};

use crate::event::{Event, Severity};

/// Equal for events that say the same: type, severity, source, pane and message, with runs of digits replaced so
/// that counters and times do not make news. Criticals keep their digits: "exit 1" and "exit 137" differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(u64);

/// Equal for events that look alike: as [`Fingerprint`], and the digits of criticals are replaced too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Shape(u64);

impl Fingerprint {
    /// Of an event.
    pub fn of(event: &Event) -> Self {
        match event.severity {
            Severity::Critical => Self(hash(event, &event.message)),
            _ => Self(hash(event, &without_digits(&event.message))),
        }
    }
}

impl Shape {
    /// Of an event.
    pub(crate) fn of(event: &Event) -> Self {
        Self(hash(event, &without_digits(&event.message)))
    }
}

/// FNV-1a: the same in every version of orch, since fingerprints are kept on disk.
fn hash(event: &Event, message: &str) -> u64 {
    let pane = event.pane.map(|pane| pane.to_string()).unwrap_or_default();
    let severity = event.severity.as_str();
    let parts = [&event.kind, severity, &event.source, &pane, message];
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0xff]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn without_digits(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_digits = false;
    for c in text.chars() {
        let digit = c.is_ascii_digit();
        if !digit {
            out.push(c);
        } else if !in_digits {
            out.push('0');
        }
        in_digits = digit;
    }
    out
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::event::Draft;

    pub(crate) fn event(seq: u64, kind: &str, severity: Severity, message: &str) -> Event {
        let ts = "2026-11-22T13:24:52+01:00".parse().unwrap();
        Draft::new(kind, "dev", message)
            .with_severity(severity)
            .accept(seq, ts)
    }

    #[test]
    fn numbers_make_news_only_for_criticals() {
        let same = |severity, a, b| {
            Fingerprint::of(&event(1, "x", severity, a))
                == Fingerprint::of(&event(2, "x", severity, b))
        };
        assert!(same(
            Severity::High,
            "step 7 of 10 at 12:01",
            "step 812 of 10 at 12:02"
        ));
        assert!(!same(Severity::High, "step 7", "step"));
        assert!(!same(Severity::Critical, "exit 1", "exit 137"));
        assert!(same(Severity::Critical, "exit 1", "exit 1"));
        let [a, b] = ["exit 1", "exit 137"].map(|text| event(1, "x", Severity::Critical, text));
        assert!(Shape::of(&a) == Shape::of(&b));
        assert_eq!(
            Fingerprint::of(&a).0,
            0x441e_c744_0977_34d9,
            "what is on disk means the same in every version"
        );
    }

    #[test]
    fn the_source_and_the_pane_tell_events_apart() {
        let a = event(1, "x", Severity::High, "m");
        let mut b = a.clone();
        b.source = "other".into();
        let mut c = a.clone();
        c.pane = Some(crate::tmux::PaneId(1));
        assert!(
            Fingerprint::of(&a) != Fingerprint::of(&b)
                && Fingerprint::of(&a) != Fingerprint::of(&c)
        );
    }
}
