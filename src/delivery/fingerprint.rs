//! When two events say the same. Pure.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde::{Deserialize, Serialize};

use crate::event::{Event, Severity};

/// Equal for events that say the same: type, severity, source, pane and message, with runs of digits replaced so
/// that counters and times do not make news. Criticals keep their digits: "exit 1" and "exit 137" differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// Of an event.
    pub fn of(event: &Event) -> Self {
        let mut hasher = DefaultHasher::new();
        (&event.kind, event.severity, &event.source, event.pane).hash(&mut hasher);
        if event.severity == Severity::Critical {
            event.message.hash(&mut hasher);
        } else {
            without_digits(&event.message).hash(&mut hasher);
        }
        Self(hasher.finish())
    }
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
