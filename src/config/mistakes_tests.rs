//! What is said about files that are wrong, written for the predecessor or for a later version, or hostile.

use std::path::Path;

use proptest::prelude::*;

use super::tree::{self, Node, Value};
use super::{Config, DEFAULT, parse};

fn mistakes(text: &str) -> String {
    match parse(text, Path::new("f")) {
        Ok(loaded) => format!("loads: {loaded:?}"),
        Err(mistakes) => mistakes.to_string(),
    }
}

#[test]
fn each_mistake_has_its_line_its_path_and_its_mend() {
    for (text, expected) in [
        (
            "monitoring:\n  check_intervall: 5",
            "f:2: monitoring.check_intervall: unknown key; did you mean check_interval?",
        ),
        (
            "monitorin: {}",
            "f:1: monitorin: unknown key; did you mean monitoring?",
        ),
        (
            "delivery: {speed: 1}",
            "f:1: delivery.speed: unknown key; use one of panes, templates, critical_rate_limit, source_critical_limit, sinks",
        ),
        (
            "monitoring:\n  health:\n    bell: true",
            "f:3: monitoring.health.bell: unknown key; did you mean bells?",
        ),
        (
            "monitoring:\n\n  enabled: \"true\"",
            "f:3: monitoring.enabled: \"true\" is not allowed; use true or false",
        ),
        (
            "monitoring: {max_messages_per_minute: 1001}",
            "f:1: monitoring.max_messages_per_minute: 1001 is not allowed; use a whole number of messages a minute from 0 to 1000",
        ),
        (
            "event_bus:\n  rate_period: soon",
            "f:2: event_bus.rate_period: \"soon\" is not allowed; use a whole number of seconds from 1 to 86400",
        ),
        (
            "event_bus:\n  queue_size: 1.5",
            "f:2: event_bus.queue_size: \"1.5\" is not allowed; use a whole number of notifications from 1 to 10000",
        ),
        (
            "delivery: {critical_rate_limit: 11}",
            "f:1: delivery.critical_rate_limit: 11 is not allowed; use a whole number of notifications a minute from 1 to 10",
        ),
        (
            "retention:\n  days: -1",
            "f:2: retention.days: -1 is not allowed; use a whole number of days from 0 to 36500",
        ),
        (
            "retention: {max_mb: 2 GB}",
            "f:1: retention.max_mb: \"2 GB\" is not allowed; use a whole number of MB from 0 to 1048576",
        ),
        (
            "retention: {compress_after: 7}",
            "f:1: retention.compress_after: unknown key; did you mean compress_after_days?",
        ),
        (
            "general:\n  log_level:",
            "f:2: general.log_level: nothing is not allowed; use one of TRACE, DEBUG, INFO, WARN, WARNING, ERROR",
        ),
        (
            "delivery:\n  sinks:\n    - status\n    - mail",
            "f:4: delivery.sinks: \"mail\" is not allowed; use message or status",
        ),
        (
            "delivery: {sinks: message}",
            "f:1: delivery.sinks: \"message\" is not allowed; use a list of message or status",
        ),
        (
            "event_bus: {critical_types: [Bad Type]}",
            "f:1: event_bus.critical_types: \"Bad Type\" is not allowed; use names of event types (a lower-case letter, then up to 63 lower-case letters, digits, _ - .)",
        ),
        (
            "events:\n  severities:\n    bell: loud",
            "f:3: events.severities.bell: \"loud\" is not allowed; use one of low, medium, high, critical",
        ),
        (
            "events: {severities: {9: low}}",
            "f:1: events.severities.9: not an event type; use names of event types (a lower-case letter, then up to 63 lower-case letters, digits, _ - .)",
        ),
        (
            "events: {severities: {violation: low, violations: high}}",
            "f:1: events.severities.violations: the same as violation, which is given too; keep one",
        ),
        (
            "git:\n  mode: local\n  parent_branch: main\n  mode: github",
            "f:4: git.mode: given twice, before in line 2; keep one",
        ),
        (
            "monitoring: on",
            "f:1: monitoring: on is not allowed; use a mapping (lines of key: value)",
        ),
        (
            "git:\n  parent_branch: [main]",
            "f:2: git.parent_branch: a list is not allowed; use a text of one line",
        ),
        (
            "roles:\n  default_team:\n    - {a: b}",
            "f:3: roles.default_team: a mapping is not allowed; use texts of one line",
        ),
        (
            "paths: {root: logs}",
            "f:1: paths.root: \"logs\" is not allowed; use an absolute path or ~/… ($HOME must be set for it)",
        ),
        (
            "paths:\n  root: ~",
            "f:2: paths.root: nothing is not allowed; use an absolute path or ~/… ($HOME must be set for it)",
        ),
        (
            "paths: {root: ~you/logs}",
            "f:1: paths.root: \"~you/logs\" is not allowed; use an absolute path or ~/… ($HOME must be set for it)",
        ),
        (
            "tmux: {binary: ./tmux}",
            "f:1: tmux.binary: \"./tmux\" is not allowed; use the name of a program, an absolute path or ~/… ($HOME must be set for it)",
        ),
        (
            "- a\n- b",
            "f:1: a list is not allowed; use a mapping (lines of key: value)",
        ),
        (
            "nonsense",
            "f:1: \"nonsense\" is not allowed; use a mapping (lines of key: value)",
        ),
        (
            "git: {}\n---\ngit: {}",
            "f:2: a second document begins here; keep one",
        ),
        (
            "general:\n  log_level: !!str INFO",
            "f:2: YAML tags (!name) are not read; write the value without one",
        ),
        (
            "git: &g {mode: local}\nroles:\n  <<: *g",
            "f:3: roles.<<: merge keys are not read; write the keys out",
        ),
        ("{a: b}: c", "f:1: a key must be a name, not a collection"),
        (
            "roles: &r [*r]",
            "f:1: an alias stands inside its own anchor",
        ),
        (
            "\"\\e[31m\": 1",
            "f:1: \\u{1b}[31m: unknown key; use one of general, monitoring, git, credit_management, \
             process_management, event_bus, roles, session_state, paths, tmux, events, delivery, retention, agents, compliance, \
             schedule, filters, web, metrics",
        ),
    ] {
        assert_eq!(mistakes(text), expected, "{text}");
    }
}

#[test]
fn what_is_not_yaml_is_said_with_its_line() {
    for (text, line) in [
        ("a: [1, 2", 1),
        ("git:\n\tmode: local", 2),
        ("git:\n  mode: \"local", 2),
        ("git:\n mode: local\n  x: y", 3),
        ("git: *nowhere", 1),
        ("a: b: c", 1),
    ] {
        let said = mistakes(text);
        assert!(
            said.starts_with(&format!("f:{line}: not YAML: ")),
            "{text:?}: {said}"
        );
        assert!(
            said.ends_with("; check the indentation and the quotes"),
            "{said}"
        );
    }
}

#[test]
fn all_mistakes_come_together_in_the_order_of_the_file() {
    let text = "event_bus:\r\n  queue_size: 0\r\nmonitoring:\r\n  enabled: 1\r\n  enabled: 2\r\n  colour: red\r\nwebb: 1\r\ngit: 3\r\n";
    let lines: Vec<_> = mistakes(text)
        .lines()
        .map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        lines,
        [
            "f:2 event_bus.queue_size",
            "f:4 monitoring.enabled",
            "f:5 monitoring.enabled",
            "f:6 monitoring.colour",
            "f:7 webb",
            "f:8 git",
        ]
    );
}

fn warnings(text: &str) -> Vec<String> {
    let loaded = parse(text, Path::new("f")).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert_eq!(loaded.config, Config::default(), "{text}");
    loaded.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn what_has_no_effect_is_said() {
    for (text, expected) in [
        (
            "monitoring: {use_file_logging: false}",
            "1: monitoring.use_file_logging: has no effect: the journal is always written",
        ),
        (
            "event_bus:\n  enabled: no",
            "2: event_bus.enabled: has no effect: the journal is always written",
        ),
        (
            "event_bus: {log_dir: /var/log}",
            "1: event_bus.log_dir: has no effect: the journal is at <root>/logs/events",
        ),
        (
            "process_management: {auto_kill_on_failure: false}",
            "1: process_management.auto_kill_on_failure: has no effect: orch never kills",
        ),
        (
            "roles: {default_team: [developer]}",
            "1: roles.default_team: has no effect: orch puts no teams together",
        ),
        (
            "general:\n  tmux_session: 0",
            "2: general.tmux_session: has no effect: all sessions of the tmux server are watched",
        ),
        (
            "git: {mode: github}",
            "1: git.mode: has no effect: this version does not look at git",
        ),
        ("\nweb: {anything: [1]}", "2: web: not read by this version"),
        (
            "delivery: {panes: []}",
            "1: delivery.panes: not read by this version",
        ),
    ] {
        assert_eq!(warnings(text), [expected], "{text}");
    }
    let two = warnings("session_state: {auto_sync: false}\ngeneral:\n  log_file: x");
    assert!(
        two[0].starts_with("1: session_state") && two[1].starts_with("3: general"),
        "{two:?}"
    );
}

const PREDECESSOR: &[(&str, &str)] = &[
    ("general", "log_level log_file max_log_size_mb tmux_session"),
    (
        "monitoring",
        "enabled check_interval max_messages_per_minute disable_tmux_messages use_file_logging log_dir \
         violation_severity_threshold",
    ),
    (
        "git",
        "mode commit_interval parent_branch use_worktrees monitor_enabled max_branch_divergence",
    ),
    (
        "credit_management",
        "enabled check_interval auto_resume fallback_cycle_hours grace_period_minutes low_credit_threshold",
    ),
    (
        "process_management",
        "max_concurrent health_check_interval timeout_seconds auto_kill_on_failure",
    ),
    (
        "event_bus",
        "enabled queue_size rate_limit rate_period critical_types log_dir",
    ),
    ("roles", "default_team system_deployment"),
    ("session_state", "update_interval auto_sync"),
];

#[test]
fn every_key_of_the_predecessor_stands_in_the_default_file() {
    let file: serde_yaml::Value = serde_yaml::from_str(DEFAULT).unwrap();
    for (section, keys) in PREDECESSOR {
        for key in keys.split_whitespace() {
            assert!(!file[section][key].is_null(), "{section}.{key}");
        }
    }
}

/// The tree against another reader of YAML.
fn same(node: &Node, value: &serde_yaml::Value) -> bool {
    match (&node.value, value) {
        (Value::List(items), serde_yaml::Value::Sequence(values)) => {
            items.len() == values.len()
                && items
                    .iter()
                    .zip(values)
                    .all(|(item, value)| same(item, value))
        }
        (Value::Mapping(entries), serde_yaml::Value::Mapping(values)) => {
            entries.len() == values.len()
                && entries.iter().zip(values).all(|(entry, (key, value))| {
                    key.as_str() == Some(&entry.key) && same(&entry.node, value)
                })
        }
        (Value::Scalar { text, .. }, serde_yaml::Value::String(value)) => text == value,
        (Value::Scalar { .. }, serde_yaml::Value::Bool(value)) => node.boolean() == Some(*value),
        (Value::Scalar { .. }, serde_yaml::Value::Number(value)) => {
            node.integer() == value.as_i64()
        }
        (Value::Scalar { .. }, serde_yaml::Value::Null) => node.is_nothing(),
        _ => false,
    }
}

#[test]
fn two_readers_of_yaml_agree() {
    let tricky = "a: 'it''s'\nb: \"x\\ty\"\nc: >-\n  one\n  two\nd: |\n  one\n  two\ne: a#b # c\nf: -5\ng: ~\nh: []\n\
                  i: {}\nj: \"5\"\nk:\n- 1\n- {l: null}\nm: http://x:1\nn: &n [1]\no: *n\n";
    for text in [DEFAULT, tricky] {
        let tree = tree::parse(text).unwrap();
        assert!(
            same(&tree, &serde_yaml::from_str(text).unwrap()),
            "{tree:?}"
        );
    }
}

#[test]
fn files_that_would_blow_up_are_refused_at_once() {
    let levels = |count: usize, of: usize| {
        let mut text = "l0: &l0 [x]\n".to_owned();
        for level in 1..count {
            let inner = vec![format!("*l{}", level - 1); of].join(",");
            text += &format!("l{level}: &l{level} [{inner}]\n");
        }
        text
    };
    let wide = format!(
        "a: &a [{}]\nb: [{}]\n",
        "x,".repeat(200_000),
        "*a,".repeat(200_000)
    );
    let repeat = "anchors and aliases repeat too much; write the values out";
    let deep = "more than 64 collections inside each other";
    let flow = "not YAML: recursion limit exceeded; check the indentation and the quotes";
    for (text, expected) in [
        (levels(40, 9), repeat),
        (wide, repeat),
        ("[".repeat(100), deep),
        ("[".repeat(1_000_000), flow),
        ("- ".repeat(500_000), deep),
        ("? ".repeat(500_000), deep),
        ("{a: ".repeat(250_000), flow),
    ] {
        let said = mistakes(&text);
        assert!(
            said.lines().count() == 1 && said.ends_with(expected),
            "{}",
            &said[..said.len().min(300)]
        );
    }
}

#[test]
fn large_files_take_no_long_time() {
    for text in [
        "x".repeat(1_000_000),
        "a: 1\n".repeat(50_000),
        (0..50_000).map(|n| format!("k{n}: 1\n")).collect(),
        format!("\"{}", "\\n".repeat(500_000)),
        format!("a: [{}]", "b,".repeat(500_000)),
        "\n".repeat(1_000_000),
        "#\n".repeat(500_000),
        format!("a: |\n{}", " x\n".repeat(300_000)),
    ] {
        let before = std::time::Instant::now();
        drop(parse(&text, Path::new("f")));
        // Quadratic work would take minutes; the bound leaves room for a busy machine.
        let took = before.elapsed();
        assert!(took.as_secs() < 20, "{:?}… took {took:?}", &text[..20]);
    }
}

proptest! {
    #[test]
    fn no_text_is_too_strange(text in "\\PC*") {
        drop(parse(&text, Path::new("f")));
    }

    #[test]
    fn no_damage_is_too_strange(
        cuts in prop::collection::vec((0..DEFAULT.len(), prop::sample::select(vec![
            "", "\n", "\t", ":", "- ", "? ", "[", "]", "{", "}", "&a ", "*a", "!x ", "|", ">", "'", "\"", "%", "---", "...", "#", "\0", "é",
        ]), 0..30_usize), 1..6),
    ) {
        let mut text = DEFAULT.to_owned();
        for (at, put, drop) in cuts {
            let inside = |at: usize| (0..=at.min(text.len())).rfind(|at| text.is_char_boundary(*at)).unwrap_or(0);
            let (from, to) = (inside(at), inside(at + drop));
            text.replace_range(from..to, put);
        }
        drop(parse(&text, Path::new("f")));
    }
}
