//! Text on its way to a person's terminal: without anything that could move the cursor or colour what it should not.

use std::io::IsTerminal;

use crate::event::Severity;
use crate::tmux::escape::without_controls;

/// One line without control characters.
pub(super) fn safe(text: &str) -> String {
    without_controls(text.trim_end_matches(['\n', '\r']))
}

/// Whether standard output takes colours.
pub(super) fn colours(no_color: bool) -> bool {
    let unset = |name| std::env::var_os(name).is_none_or(|v| v.is_empty());
    !no_color && unset("NO_COLOR") && std::io::stdout().is_terminal()
}

/// A severity in its colour.
pub(super) fn coloured(severity: Severity, text: &str, colours: bool) -> String {
    let code = match severity {
        _ if !colours => return text.to_owned(),
        Severity::Critical => "1;31",
        Severity::High => "33",
        Severity::Medium => "36",
        Severity::Low => return text.to_owned(),
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}
