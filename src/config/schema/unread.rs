//! The predecessor's keys that nothing reads in this version: their types, their defaults, and what holds instead.
//! They are checked all the same, so that its file loads as it stands and a slip in it is still found.

use std::ops::RangeInclusive;

use crate::config::read::Shape::{Boolean, Integer, OneOf, Text, Texts};
use crate::config::read::{Shape, Unread};

const YEAR: RangeInclusive<i64> = 0..=31_536_000;
const MANY: RangeInclusive<i64> = 0..=1_000_000;

const JOURNAL: &str = "the journal is always written";
const JOURNAL_PLACE: &str = "the journal is at <root>/logs/events";
const NO_INTERVAL: &str = "this version checks nothing at intervals";
const NO_GIT: &str = "this version does not look at git";
const NO_CREDIT: &str = "this version does not look at credit";
const NO_PROCESSES: &str = "orch starts and stops no processes of others";
const NO_TEAMS: &str = "orch puts no teams together";
const NO_SYNC: &str = "git is not read into session files";

const fn key(key: &'static str, shape: Shape, holds: &'static str) -> Unread {
    Unread { key, shape, holds }
}

pub(super) const GENERAL: &[Unread] = &[
    key(
        "log_file",
        Text("logs/orchestrator.log"),
        "diagnostics are at <root>/logs/orch.out",
    ),
    key(
        "tmux_session",
        Text("<session name>"),
        "all sessions of the tmux server are watched",
    ),
];

pub(super) const MONITORING: &[Unread] = &[
    key("check_interval", Integer(300, YEAR, "seconds"), NO_INTERVAL),
    key("use_file_logging", Boolean(true), JOURNAL),
    key("log_dir", Text("logs/monitoring"), JOURNAL_PLACE),
    key(
        "violation_severity_threshold",
        OneOf("high", &["low", "medium", "high", "critical"]),
        "what is pushed is set by disable_tmux_messages",
    ),
];

pub(super) const GIT: &[Unread] = &[
    key("mode", OneOf("local", &["local", "github"]), NO_GIT),
    key("commit_interval", Integer(1800, YEAR, "seconds"), NO_GIT),
    key("parent_branch", Text("main"), NO_GIT),
    key("use_worktrees", Boolean(true), NO_GIT),
    key("monitor_enabled", Boolean(true), NO_GIT),
    key(
        "max_branch_divergence",
        Integer(20, MANY, "commits"),
        NO_GIT,
    ),
];

pub(super) const CREDIT: &[Unread] = &[
    key("enabled", Boolean(true), NO_CREDIT),
    key("check_interval", Integer(300, YEAR, "seconds"), NO_CREDIT),
    key("auto_resume", Boolean(true), NO_CREDIT),
    key(
        "fallback_cycle_hours",
        Integer(5, 0..=8760, "hours"),
        NO_CREDIT,
    ),
    key(
        "grace_period_minutes",
        Integer(2, 0..=525_600, "minutes"),
        NO_CREDIT,
    ),
    key(
        "low_credit_threshold",
        Integer(20, 0..=100, "percent"),
        NO_CREDIT,
    ),
];

pub(super) const PROCESS: &[Unread] = &[
    key(
        "max_concurrent",
        Integer(5, MANY, "processes"),
        NO_PROCESSES,
    ),
    key(
        "health_check_interval",
        Integer(60, YEAR, "seconds"),
        "health is seen at once, not at intervals",
    ),
    key(
        "timeout_seconds",
        Integer(3600, YEAR, "seconds"),
        NO_PROCESSES,
    ),
    key("auto_kill_on_failure", Boolean(true), "orch never kills"),
];

pub(super) const EVENT_BUS: &[Unread] = &[
    key("enabled", Boolean(true), JOURNAL),
    key("log_dir", Text("logs/events"), JOURNAL_PLACE),
];

pub(super) const ROLES: &[Unread] = &[
    key(
        "default_team",
        Texts(&["orchestrator", "project_manager", "developer", "tester"]),
        NO_TEAMS,
    ),
    key(
        "system_deployment",
        Texts(&["orchestrator", "sysadmin", "devops", "securityops"]),
        NO_TEAMS,
    ),
];

pub(super) const SESSION_STATE: &[Unread] = &[key("auto_sync", Boolean(true), NO_SYNC)];
