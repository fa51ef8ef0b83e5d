//! The effective configuration as a file that says the same. Refuses to show how it came about: keys that nothing
//! reads are left out.

use serde_json::json;

use super::Config;
use crate::event::Severity;

/// The configuration as YAML in the keys of the file. Parsed, it is the same configuration again, as long as the
/// values are ones that a file can say (whole seconds, ranges kept, paths in UTF-8).
pub fn show(config: &Config) -> String {
    let delivery = &config.delivery;
    let (limit, seconds) = (
        i64::from(delivery.rate_limit),
        (delivery.period_ms / 1000).max(1),
    );
    // Whatever is not below the rate that is in force; the lower of both counts.
    let minute = if seconds < 60 {
        limit * 60 / seconds + 1
    } else {
        limit
    };
    let sinks = [("message", delivery.messages), ("status", delivery.status)];
    let (critical, others): (Vec<_>, Vec<_>) = config
        .severities
        .iter()
        .partition(|(_, severity)| **severity == Severity::Critical);
    let names: Vec<_> = critical.into_iter().map(|(name, _)| name).collect();
    let others: serde_json::Map<_, _> = others
        .into_iter()
        .map(|(name, severity)| (name.clone(), json!(severity.as_str())))
        .collect();

    let mut value = json!({
        "general": {"log_level": config.log_level, "max_log_size_mb": config.max_log_size_mb},
        "monitoring": {
            "disable_tmux_messages": delivery.threshold == Severity::Critical,
            "max_messages_per_minute": minute,
            "health": {"enabled": config.health.enabled, "bells": config.health.bells},
        },
        "event_bus": {
            "rate_limit": limit,
            "rate_period": seconds,
            "queue_size": delivery.queue_size,
            "critical_types": names,
        },
        "events": {"severities": others},
        "delivery": {
            "critical_rate_limit": delivery.critical_rate_limit,
            "sinks": sinks.iter().filter(|(_, on)| *on).map(|(name, _)| name).collect::<Vec<_>>(),
        },
        "session_state": {
            "enabled": config.session_state.enabled,
            "update_interval": config.session_state.update_interval,
        },
        "tmux": {"binary": config.tmux_binary.to_string_lossy()},
    });
    if let Some(root) = &config.root {
        value["paths"] = json!({"root": root.to_string_lossy()});
    }
    serde_yaml::to_string(&value).unwrap_or_else(|error| format!("# cannot be shown: {error}\n"))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use proptest::prelude::*;

    use super::*;
    use crate::config::parse;

    fn said_again(config: &Config) -> Config {
        let text = show(config);
        let loaded =
            parse(&text, Path::new("shown")).unwrap_or_else(|wrong| panic!("{wrong}\n{text}"));
        assert_eq!(loaded.warnings, [], "{text}");
        loaded.config
    }

    #[test]
    fn the_default_shown_is_the_default() {
        assert_eq!(said_again(&Config::default()), Config::default());
    }

    fn severity() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec!["low", "medium", "high", "critical"])
    }

    proptest! {
        #[test]
        fn what_is_shown_means_the_same(
            (minute, limit, period, queue, critical) in (0..=1000, 0..=1000, 1..=86_400, 1..=10_000, 1..=10),
            (silent, enabled, bells, message, status, keep) in any::<(bool, bool, bool, bool, bool, bool)>(),
            interval in 0..=31_536_000,
            severities in prop::collection::btree_map("[a-z][a-z0-9_.-]{0,8}", severity(), 0..5),
            root in prop::option::of("(/[^/\\pC\\p{Zl}\\p{Zp}]{1,6}){1,3}"),
            binary in "[^/~\\pC\\p{Zl}\\p{Zp}]{1,8}",
            level in prop::sample::select(vec!["trace", "WARNING", "Error"]),
            size in 1..=1_000_000u32,
        ) {
            let sinks = [("message", message), ("status", status)];
            let mut written = json!({
                "general": {"log_level": level, "max_log_size_mb": size},
                "monitoring": {
                    "disable_tmux_messages": silent, "max_messages_per_minute": minute,
                    "health": {"enabled": enabled, "bells": bells},
                },
                "event_bus": {"rate_limit": limit, "rate_period": period, "queue_size": queue},
                "delivery": {
                    "critical_rate_limit": critical,
                    "sinks": sinks.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect::<Vec<_>>(),
                },
                "events": {"severities": severities},
                "session_state": {"enabled": keep, "update_interval": interval},
                "tmux": {"binary": binary},
            });
            if let Some(root) = &root {
                written["paths"] = json!({"root": root});
            }
            let config = parse(&written.to_string(), Path::new("written")).unwrap().config;
            prop_assert_eq!(&config.tmux_binary, &PathBuf::from(binary));
            prop_assert_eq!(&config.root, &root.map(PathBuf::from));
            prop_assert_eq!(said_again(&config), config);
        }
    }
}
