//! tmux's version as it says itself, and which features and faults come with it.

use std::fmt;

/// A version such as `3.3a`, `next-3.8` or `openbsd-7.6`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    text: String,
    number: (u16, u16),
}

/// The oldest tmux that orch works with.
pub const OLDEST: (u16, u16) = (3, 2);

impl Version {
    /// Reads what `#{version}` gives. A text without a number (OpenBSD's own, `master`) counts as the
    /// newest, since those are built from the current source.
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        let digits = text.strip_prefix("next-").unwrap_or(text);
        let mut parts = digits.splitn(2, '.');
        let major = parts.next().and_then(|p| p.parse().ok());
        let minor = parts.next().and_then(|p| {
            let end = p.find(|c: char| !c.is_ascii_digit()).unwrap_or(p.len());
            p[..end].parse().ok()
        });
        let number = match (major, minor) {
            (Some(major), Some(minor)) => (major, minor),
            (Some(major), None) => (major, 0),
            _ => (u16::MAX, 0),
        };
        Self {
            text: text.to_owned(),
            number,
        }
    }

    /// Whether orch can work with it (3.2 or newer).
    pub fn is_supported(&self) -> bool {
        self.number >= OLDEST
    }

    /// Whether command replies come vis(3)-escaped: 3.4 to 3.5a, see [`super::escape::unvis`].
    pub fn escapes_replies(&self) -> bool {
        ((3, 4)..=(3, 5)).contains(&self.number)
    }

    /// The text as tmux gave it.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_their_gates() {
        for (text, supported, escapes) in [
            ("3.1c", false, false),
            ("2.9", false, false),
            ("3.2", true, false),
            ("3.2a", true, false),
            ("3.3a", true, false),
            ("3.4", true, true),
            ("3.5a", true, true),
            ("3.6b", true, false),
            ("3.10", true, false),
            ("next-3.8", true, false),
            ("3.7-rc2", true, false),
            ("openbsd-7.6", true, false),
            ("master", true, false),
            ("4", true, false),
        ] {
            let version = Version::parse(text);
            assert_eq!(
                (version.is_supported(), version.escapes_replies()),
                (supported, escapes),
                "{text}"
            );
        }
    }
}
