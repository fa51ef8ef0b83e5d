//! The table of event types: which severity each has by itself, which only orch may publish, what ends what.

use super::Severity;

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// The type's name, as in the journal.
    pub name: &'static str,
    /// Its severity unless the publisher or the configuration says otherwise.
    pub severity: Severity,
    /// Only orch itself may publish it.
    pub reserved: bool,
    /// Types of open conditions that this one ends, for the same pane or, without one, the same source.
    pub ends: &'static [&'static str],
}

const fn kind(name: &'static str, severity: Severity) -> Kind {
    Kind {
        name,
        severity,
        reserved: false,
        ends: &[],
    }
}

const fn own(name: &'static str, severity: Severity) -> Kind {
    Kind {
        reserved: true,
        ..kind(name, severity)
    }
}

const fn ending(kind: Kind, ends: &'static [&'static str]) -> Kind {
    Kind { ends, ..kind }
}

const AGENT_TROUBLE: &[&str] = &[
    "agent_blocked",
    "agent_error",
    "agent_exited",
    "agent_stuck",
    "credit_exhausted",
];

/// What is true only of an agent that runs.
const AT_WORK: &[&str] = &[
    "agent_blocked",
    "agent_error",
    "agent_stuck",
    "credit_exhausted",
];

/// Every type that has a meaning of its own. Others may be published too; they are `low`.
pub const KINDS: &[Kind] = &[
    kind("agent_blocked", Severity::Critical),
    kind("agent_error", Severity::Critical),
    ending(kind("agent_exited", Severity::Critical), AT_WORK),
    kind("credit_exhausted", Severity::Critical),
    kind("critical_violation", Severity::Critical),
    kind("credit_critical", Severity::Critical),
    kind("system_failure", Severity::Critical),
    own("tmux_lost", Severity::Critical),
    own("loop_broken", Severity::Critical),
    own("breaker_open", Severity::Critical),
    own("component_parked", Severity::Critical),
    own("disk_full", Severity::Critical),
    kind("violation", Severity::High),
    kind("git_violation", Severity::High),
    kind("agent_stuck", Severity::High),
    kind("credit_warning", Severity::High),
    kind("bottleneck", Severity::High),
    own("source_demoted", Severity::High),
    own("gap", Severity::High),
    own("log_repaired", Severity::High),
    ending(
        kind("agent_idle", Severity::Medium),
        &["agent_blocked", "agent_error", "agent_stuck"],
    ),
    ending(
        kind("credit_reset", Severity::Medium),
        &["credit_exhausted", "credit_critical", "credit_warning"],
    ),
    ending(
        kind("credit_resumed", Severity::Medium),
        &["credit_exhausted", "credit_critical", "credit_warning"],
    ),
    own("schedule_due", Severity::Medium),
    ending(own("tmux_attached", Severity::Medium), &["tmux_lost"]),
    ending(own("disk_freed", Severity::Medium), &["disk_full"]),
    own("digest", Severity::Medium),
    kind("task_completed", Severity::Low),
    kind("status_update", Severity::Low),
    ending(kind("agent_started", Severity::Low), AGENT_TROUBLE),
    ending(kind("agent_working", Severity::Low), AGENT_TROUBLE),
    kind("pane_started", Severity::Low),
    ending(kind("pane_exited", Severity::Low), AT_WORK),
    kind("bell", Severity::Low),
    own("config_reloaded", Severity::Low),
];

/// Names that are line types of the journal, not events.
const LINE_TYPES: &[&str] = &["outcome", "receipt"];

/// The row of a type.
pub fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

/// Whether some event ends conditions of this type.
pub fn has_end(name: &str) -> bool {
    KINDS.iter().any(|kind| kind.ends.contains(&name))
}

/// The severity that a type has by itself.
pub fn severity_of(name: &str) -> Severity {
    find(name).map_or(Severity::Low, |kind| kind.severity)
}

/// Whether only orch may publish it: the reserved rows, the journal's line types, everything `tmux_…`.
pub fn is_reserved(name: &str) -> bool {
    find(name).is_some_and(|kind| kind.reserved)
        || LINE_TYPES.contains(&name)
        || name.starts_with("tmux_")
}

/// The name under which a type is kept: the predecessor's `violations` is `violation`.
pub fn canonical(name: &str) -> &str {
    if name == "violations" {
        "violation"
    } else {
        name
    }
}

/// Whether a text can be a type: a lower-case letter, then up to 63 lower-case letters, digits, `_`, `-` or `.`.
pub fn is_valid(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= 64
        && bytes.next().is_some_and(|b| b.is_ascii_lowercase())
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_consistent() {
        for (at, kind) in KINDS.iter().enumerate() {
            assert!(is_valid(kind.name), "{}", kind.name);
            assert!(
                KINDS[at + 1..].iter().all(|other| other.name != kind.name),
                "{} twice",
                kind.name
            );
            for ended in kind.ends {
                assert!(find(ended).is_some(), "{} ends unknown {ended}", kind.name);
            }
        }
    }

    #[test]
    fn who_may_publish_what() {
        for name in [
            "outcome",
            "receipt",
            "digest",
            "tmux_lost",
            "tmux_anything",
            "gap",
            "disk_full",
            "disk_freed",
        ] {
            assert!(is_reserved(name), "{name}");
        }
        for name in ["task_completed", "agent_blocked", "my_own.type-2"] {
            assert!(!is_reserved(name) && is_valid(name), "{name}");
        }
        for name in ["", "A", "1x", "a b", "a\n", "ä", "#(x)"] {
            assert!(!is_valid(name), "{name}");
        }
        assert_eq!(severity_of("never_heard_of"), Severity::Low);
    }
}
