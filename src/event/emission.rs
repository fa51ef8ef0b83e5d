//! What a producer may say: one JSON object, checked field by field, before it becomes a draft.

use chrono::{DateTime, FixedOffset};
use serde::{Deserialize, Serialize};

use super::{Draft, Severity, kind};
use crate::tmux::id::PaneId;

/// An event as a producer words it. `type` and `message` must be there; unknown keys are errors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Emission {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// For people.
    pub message: String,
    /// Unless its type's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// Who says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pane: Option<PaneId>,
    /// For programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<serde_json::Value>,
    /// When it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emitted_at: Option<DateTime<FixedOffset>>,
}

/// Longest name of a source, in characters.
const MAX_SOURCE: usize = 128;

impl Emission {
    /// Reads one line and checks it.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(line: &str) -> Result<Self, String> {
        let emission: Self =
            serde_json::from_str(line).map_err(|e| format!("not an event: {e}"))?;
        emission.check()?;
        Ok(emission)
    }

    /// Checks what its types do not.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn check(&self) -> Result<(), String> {
        let name = &self.kind;
        if !kind::is_valid(name) {
            return Err(format!(
                "{name:?} is not an event type: use a lower-case letter, then lower-case letters, digits, '_', '-' or '.', 64 at most"
            ));
        }
        if kind::is_reserved(name) {
            return Err(format!(
                "the type {name} is orch's own and cannot be emitted"
            ));
        }
        if self
            .source
            .as_ref()
            .is_some_and(|s| s.is_empty() || s.chars().count() > MAX_SOURCE)
        {
            return Err(format!("source must have 1 to {MAX_SOURCE} characters"));
        }
        Ok(())
    }

    /// Becomes a draft. `severity` is that of its type, `source` who it is from, unless it says so itself.
    pub fn draft(self, severity: Severity, source: &str) -> Draft {
        let mut draft = Draft::new(
            &self.kind,
            self.source.as_deref().unwrap_or(source),
            self.message,
        );
        draft.severity = self.severity.unwrap_or(severity);
        draft.pane = self.pane;
        draft.data = self.data;
        draft.emitted_at = self.emitted_at;
        draft.bounded()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_producer_may_say() {
        let good = r#"{"type":"violations","message":"m","severity":"high","source":"dev","pane":"%3","data":{"a":1},"emitted_at":"2026-11-22T13:24:52+01:00"}"#;
        let draft = Emission::parse(good).unwrap().draft(Severity::Low, "cli");
        assert_eq!(
            (draft.kind.as_str(), draft.severity, draft.source.as_str()),
            ("violation", Severity::High, "dev")
        );
        let short = Emission::parse(r#"{"type":"x","message":""}"#)
            .unwrap()
            .draft(Severity::Low, "cli");
        assert_eq!(
            (short.severity, short.source.as_str()),
            (Severity::Low, "cli")
        );
        for (bad, why) in [
            (r#"{"type":"digest","message":"m"}"#, "orch's own"),
            (r#"{"type":"outcome","message":"m"}"#, "orch's own"),
            (r#"{"type":"tmux_whatever","message":"m"}"#, "orch's own"),
            (r#"{"type":"A b","message":"m"}"#, "not an event type"),
            (r#"{"type":"x"}"#, "missing field `message`"),
            (
                r#"{"type":"x","message":"m","seq":5}"#,
                "unknown field `seq`",
            ),
            (
                r#"{"type":"x","message":"m","severity":"urgent"}"#,
                "unknown variant `urgent`",
            ),
            (r#"{"type":"x","message":"m","pane":"3"}"#, "not a pane id"),
            (r#"{"type":"x","message":"m","source":""}"#, "1 to 128"),
            ("[1]", "not an event"),
            ("", "not an event"),
        ] {
            let error = Emission::parse(bad).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }
}
