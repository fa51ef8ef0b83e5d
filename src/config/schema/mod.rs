//! What each key means: the sections that are read, in the order of the file. The only place that knows the names.

mod unread;
mod values;

use std::collections::BTreeMap;
use std::path::Path;

use self::values::{EVENT_TYPE, PLACE, PROGRAM, Rate, event_type, lower, place, program};
use super::read::Section;
use super::{CRITICAL_TYPES, Config};
use crate::event::Severity;
use crate::{delivery, journal, monitor::health, state};

const LEVELS: &[&str] = &["TRACE", "DEBUG", "INFO", "WARN", "WARNING", "ERROR"];
const SEVERITY: &str = "one of low, medium, high, critical";

/// Sections of ours that a later version reads.
const LATER: &[&str] = &[
    "agents",
    "compliance",
    "schedule",
    "filters",
    "web",
    "metrics",
];

/// Reads the whole file.
pub(super) fn read(root: &mut Section<'_>, home: Option<&Path>) -> Config {
    let defaults = Config::default();
    let (log_level, log_size) = root.section("general", |general| {
        general.unread(unread::GENERAL);
        let level = match general.one_of("log_level", "INFO", LEVELS, str::eq_ignore_ascii_case) {
            "WARNING" => "WARN",
            level => level,
        };
        let size = general.integer("max_log_size_mb", 100, &(1..=1_000_000), "MB");
        (level, size)
    });
    let (monitoring, health) = root.section("monitoring", monitoring);
    root.section("git", |git| git.unread(unread::GIT));
    root.section("credit_management", |credit| credit.unread(unread::CREDIT));
    root.section("process_management", |process| {
        process.unread(unread::PROCESS);
    });
    let (bus, critical_types) = root.section("event_bus", event_bus);
    root.section("roles", |roles| roles.unread(unread::ROLES));
    let session_state = root.section("session_state", |state| {
        state.unread(unread::SESSION_STATE);
        state::Config {
            enabled: state.boolean("enabled", true),
            update_interval: state.integer("update_interval", 300, &(0..=31_536_000), "seconds")
                as u64,
        }
    });

    let place = root.section("paths", |paths| {
        paths.value("root", PLACE, |node| place(node, home))
    });
    let binary = root.section("tmux", |tmux| {
        tmux.value("binary", PROGRAM, |node| program(node, home))
    });
    let severities = root.section("events", |events| {
        events.section("severities", |own| severities(own, critical_types))
    });
    let delivery = root.section("delivery", |section| delivery(section, monitoring, bus));
    let retention = root.section("retention", retention);
    for key in LATER {
        root.later(key);
    }
    Config {
        delivery,
        health,
        session_state,
        retention,
        severities,
        root: place,
        tmux_binary: binary.unwrap_or(defaults.tmux_binary),
        log_level: log_level.to_owned(),
        max_log_size_mb: log_size as u32,
    }
}

/// What `monitoring` says about delivery.
struct Monitoring {
    threshold: Severity,
    rate: Rate,
}

fn monitoring(section: &mut Section<'_>) -> (Monitoring, health::Config) {
    section.unread(unread::MONITORING);
    let silent = section.boolean("disable_tmux_messages", true);
    let count = section.integer(
        "max_messages_per_minute",
        10,
        &(0..=1000),
        "messages a minute",
    );
    let monitoring = Monitoring {
        threshold: if silent {
            Severity::Critical
        } else {
            Severity::High
        },
        rate: Rate { count, seconds: 60 },
    };
    let enabled = section.boolean("enabled", true);
    let health = section.section("health", |health| health::Config {
        enabled: health.boolean("enabled", true) && enabled,
        bells: health.boolean("bells", true),
    });
    (monitoring, health)
}

/// What `event_bus` says about delivery.
struct Bus {
    rate: Rate,
    queue_size: i64,
}

fn event_bus(section: &mut Section<'_>) -> (Bus, Vec<String>) {
    section.unread(unread::EVENT_BUS);
    let bus = Bus {
        rate: Rate {
            count: section.integer("rate_limit", 10, &(0..=1000), "notifications"),
            seconds: section.integer("rate_period", 60, &(1..=86_400), "seconds"),
        },
        queue_size: section.integer("queue_size", 100, &(1..=10_000), "notifications"),
    };
    let critical = section
        .list("critical_types", EVENT_TYPE, |node| {
            node.text().and_then(event_type)
        })
        .unwrap_or_else(|| {
            CRITICAL_TYPES
                .iter()
                .map(|name| (*name).to_owned())
                .collect()
        });
    (bus, critical)
}

fn delivery(section: &mut Section<'_>, monitoring: Monitoring, bus: Bus) -> delivery::Config {
    section.later("panes");
    section.later("templates");
    let rate = lower(monitoring.rate, bus.rate);
    // Promised to be a limit of limits: it can be lowered, never raised.
    let critical = section.integer(
        "critical_rate_limit",
        10,
        &(1..=10),
        "notifications a minute",
    );
    let claims = section.integer(
        "source_critical_limit",
        20,
        &(1..=1000),
        "different things a source may claim critical in 10 minutes",
    );
    let sinks = section.list("sinks", "message or status", |node| {
        ["message", "status"]
            .into_iter()
            .find(|name| node.text() == Some(name))
    });
    let on = |name| sinks.as_ref().is_none_or(|sinks| sinks.contains(&name));
    // The ranges above keep every number far inside its type.
    delivery::Config {
        threshold: monitoring.threshold,
        rate_limit: rate.count as u32,
        period_ms: rate.seconds * 1000,
        critical_rate_limit: critical as u32,
        source_critical_limit: claims as u32,
        queue_size: bus.queue_size as usize,
        messages: on("message"),
        status: on("status"),
    }
}

fn retention(section: &mut Section<'_>) -> journal::Retention {
    // The ranges keep every number far inside its type.
    let days = section.integer("days", 90, &(0..=36_500), "days");
    let megabytes = section.integer("max_mb", 2048, &(0..=1_048_576), "MB");
    let packed = section.integer("compress_after_days", 7, &(0..=36_500), "days");
    journal::Retention {
        days: days as u32,
        max_bytes: (megabytes as u64) << 20,
        compress_after_days: packed as u32,
    }
}

/// Severities set one by one go before the list of critical types.
fn severities(section: &mut Section<'_>, critical: Vec<String>) -> BTreeMap<String, Severity> {
    let mut own = BTreeMap::new();
    for entry in section.own_names() {
        let path = section.path_of(&entry.key);
        let Some(name) = event_type(&entry.key) else {
            section.mistake(
                entry.line,
                path,
                format!("not an event type; use {EVENT_TYPE}"),
            );
            continue;
        };
        match entry.node.text().and_then(|text| text.parse().ok()) {
            // A key that is given twice is reported as such; this is its other spelling.
            Some(_) if name != entry.key && own.contains_key(&name) => {
                section.mistake(
                    entry.line,
                    path,
                    format!("the same as {name}, which is given too; keep one"),
                );
            }
            Some(severity) => drop(own.insert(name, severity)),
            None => section.wrong(entry.line, path, &entry.node, SEVERITY),
        }
    }
    for name in critical {
        own.entry(name).or_insert(Severity::Critical);
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_at_home;

    fn config(text: &str) -> Config {
        let home = Some(Path::new("/home/me"));
        let loaded =
            parse_at_home(text, Path::new("f"), home).unwrap_or_else(|wrong| panic!("{wrong}"));
        assert_eq!(loaded.warnings, [], "{text}");
        loaded.config
    }

    #[test]
    fn the_lower_rate_counts_and_no_minute_sees_more() {
        for (minute, count, seconds, expected) in [
            (10, 10, 60, (10, 60)),
            (5, 10, 60, (5, 60)),
            (10, 3, 60, (3, 60)),
            (10, 10, 120, (10, 120)),
            (10, 1, 10, (1, 10)),
            (10, 5, 10, (10, 60)),
            (10, 20, 120, (10, 60)),
            (10, 100, 3600, (10, 360)),
            (30, 100, 3600, (30, 1080)),
            (7, 100, 3600, (7, 252)),
            (10, 0, 3600, (0, 60)),
            (0, 10, 3600, (0, 60)),
        ] {
            let text = format!(
                "monitoring: {{max_messages_per_minute: {minute}}}\nevent_bus: {{rate_limit: {count}, rate_period: {seconds}}}"
            );
            let delivery = config(&text).delivery;
            let (limit, period) = (delivery.rate_limit, delivery.period_ms / 1000);
            assert_eq!((limit, period), expected, "{text}");
        }
    }

    #[test]
    fn what_the_keys_mean() {
        let default = Config::default();
        let pushed = config("monitoring: {disable_tmux_messages: no}").delivery;
        assert_eq!(pushed.threshold, Severity::High);

        for (text, enabled, bells) in [
            ("monitoring: {enabled: false}", false, true),
            ("monitoring: {health: {enabled: false}}", false, true),
            (
                "monitoring: {enabled: off, health: {enabled: on, bells: FALSE}}",
                false,
                false,
            ),
        ] {
            assert_eq!(
                config(text).health,
                health::Config { enabled, bells },
                "{text}"
            );
        }

        let delivery = config(
            "delivery: {critical_rate_limit: 3, source_critical_limit: 5, sinks: [status]}\nevent_bus: {queue_size: 7}",
        )
        .delivery;
        let expected = delivery::Config {
            critical_rate_limit: 3,
            source_critical_limit: 5,
            queue_size: 7,
            messages: false,
            ..default.delivery
        };
        assert_eq!(delivery, expected);

        let retention =
            config("retention: {days: 0, max_mb: 3, compress_after_days: 30}").retention;
        let expected = journal::Retention {
            days: 0,
            max_bytes: 3 << 20,
            compress_after_days: 30,
        };
        assert_eq!(retention, expected);

        let own = config(
            "event_bus: {critical_types: [violations, my_type]}\nevents: {severities: {my_type: low, bell: high}}",
        );
        let expected = [
            ("bell", Severity::High),
            ("my_type", Severity::Low),
            ("violation", Severity::Critical),
        ];
        assert_eq!(
            own.severities,
            expected
                .map(|(name, severity)| (name.to_owned(), severity))
                .into()
        );

        for (written, meant) in [
            ("info", "INFO"),
            ("Warning", "WARN"),
            ("warn", "WARN"),
            ("TRACE", "TRACE"),
        ] {
            assert_eq!(
                config(&format!("general: {{log_level: {written}}}")).log_level,
                meant
            );
        }
        for (written, meant) in [
            ("/srv/orch", "/srv/orch"),
            ("\"~\"", "/home/me"),
            ("~//x", "/home/me/x"),
            ("~/a b", "/home/me/a b"),
        ] {
            let root = config(&format!("paths:\n  root: {written}")).root;
            assert_eq!(root.as_deref(), Some(Path::new(meant)));
        }
        for (written, meant) in [
            ("tmux-3.5", "tmux-3.5"),
            ("~/bin/tmux", "/home/me/bin/tmux"),
        ] {
            assert_eq!(
                config(&format!("tmux: {{binary: {written}}}")).tmux_binary,
                Path::new(meant)
            );
        }
    }

    #[test]
    fn the_size_of_the_diagnostics_has_a_lower_bound() {
        assert_eq!(config("general: {max_log_size_mb: 1}").max_log_size_mb, 1);
        let none = parse_at_home("general: {max_log_size_mb: 0}", Path::new("f"), None);
        assert!(none.unwrap_err().to_string().contains("max_log_size_mb"));
    }

    #[test]
    fn anchors_are_followed() {
        let text = "git: {commit_interval: &t 1800}\nsession_state: {update_interval: &five 300}\nmonitoring: {check_interval: *five}";
        assert_eq!(config(text), Config::default());
    }
}
