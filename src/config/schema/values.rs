//! Values that need more than a type and a range: rates, event types, places. Knows no key.

use std::path::{Path, PathBuf};

use crate::config::tree::Node;
use crate::event::kind;

pub(super) const EVENT_TYPE: &str =
    "names of event types (a lower-case letter, then up to 63 lower-case letters, digits, _ - .)";

pub(super) const PLACE: &str = "an absolute path or ~/… ($HOME must be set for it)";
pub(super) const PROGRAM: &str =
    "the name of a program, an absolute path or ~/… ($HOME must be set for it)";

/// Notifications in some seconds.
#[derive(Clone, Copy)]
pub(super) struct Rate {
    pub(super) count: i64,
    pub(super) seconds: i64,
}

/// The lower of both rates. When the bus wins with the larger count (100 an hour against 10 a minute), its rate is
/// kept with the count of a minute (10 in 6 minutes): a lane spends part of its limit at once, and no minute may see
/// more than `minute` allows.
pub(super) fn lower(minute: Rate, bus: Rate) -> Rate {
    if minute.count * bus.seconds <= bus.count * minute.seconds {
        minute
    } else if bus.count == 0 {
        Rate { count: 0, ..minute }
    } else if bus.count <= minute.count {
        bus
    } else {
        Rate {
            count: minute.count,
            seconds: (minute.count * bus.seconds + bus.count - 1) / bus.count,
        }
    }
}

pub(super) fn event_type(text: &str) -> Option<String> {
    kind::is_valid(text).then(|| kind::canonical(text).to_owned())
}

/// A relative path would mean another place for each way to start orch.
pub(super) fn place(node: &Node, home: Option<&Path>) -> Option<PathBuf> {
    let text = node.text()?;
    let path = match text.strip_prefix('~') {
        Some("") => home?.to_owned(),
        Some(rest) => home?.join(rest.strip_prefix('/')?.trim_start_matches('/')),
        None => PathBuf::from(text),
    };
    (path.is_absolute() && path.to_str().is_some()).then_some(path)
}

/// A relative path would run what lies in the working directory, where agents write.
pub(super) fn program(node: &Node, home: Option<&Path>) -> Option<PathBuf> {
    let text = node.text()?;
    if text.contains('/') || text.starts_with('~') {
        place(node, home)
    } else {
        Some(PathBuf::from(text))
    }
}
