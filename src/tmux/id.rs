//! The identifiers tmux hands out, as types that cannot be confused or forged from text.
//! Refuses to know what they point at.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Text that is not an identifier of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {kind} id: it has the form {sigil}N, e.g. {sigil}3")]
pub struct BadId {
    text: String,
    kind: &'static str,
    sigil: char,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $sigil:literal, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub u32);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($sigil, "{}"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                text.strip_prefix($sigil)
                    .filter(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
                    .and_then(|n| n.parse().ok())
                    .map(Self)
                    .ok_or_else(|| BadId { text: text.to_owned(), kind: $kind, sigil: $sigil })
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadId;
            fn try_from(text: String) -> Result<Self, BadId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
    };
}

id!(
    /// A pane, `%3`. Unique for the life of one tmux server, reused by the next.
    PaneId, '%', "pane"
);
id!(
    /// A window, `@3`.
    WindowId, '@', "window"
);
id!(
    /// A session, `$3`. Its name may change, this does not.
    SessionId, '$', "session"
);

/// A client's name as tmux gives it: the path of its terminal, or `client-PID` for one without.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientName(pub String);

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One life of a tmux server. Pane, window and session ids start again with each, so nothing that is
/// kept by id may outlive a change of this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ServerKey {
    /// Process id of the server, `#{pid}`.
    pub pid: u32,
    /// When it started, in seconds since 1970, `#{start_time}`.
    pub start: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_a_sigil_and_digits() {
        assert_eq!("%12".parse(), Ok(PaneId(12)));
        assert_eq!(SessionId(0).to_string(), "$0");
        for bad in ["", "%", "12", "@1", "%-1", "%+1", "%1x", "%99999999999"] {
            assert!(bad.parse::<PaneId>().is_err(), "{bad}");
        }
    }
}
