//! Every way bytes are escaped on their way from or to tmux: octal in `%output`, quotes in commands,
//! formats in displayed text. Knows no command and no notification.

use std::borrow::Cow;

use memchr::memchr;

/// Undoes the octal escapes of `%output` and `%extended-output` (`control.c`: bytes below 0x20 and the
/// backslash are sent as `\ooo`, all others raw). An escape that is cut or malformed stays as it came.
pub fn unescape(data: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr(b'\\', data) else {
        return Cow::Borrowed(data);
    };
    let mut out = Vec::with_capacity(data.len());
    let mut rest = data;
    let mut next = Some(first);
    while let Some(at) = next {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        // Runs of escapes are the rule in terminal output: stay here while they last.
        while let [b'\\', tail @ ..] = rest {
            match octal(tail) {
                Some(byte) => {
                    out.push(byte);
                    rest = &rest[4..];
                }
                None => {
                    out.push(b'\\');
                    rest = tail;
                }
            }
        }
        next = memchr(b'\\', rest);
    }
    out.extend_from_slice(rest);
    Cow::Owned(out)
}

fn octal(digits: &[u8]) -> Option<u8> {
    let [a, b, c, ..] = digits else { return None };
    let digit = |d: u8| (b'0'..=b'7').contains(&d).then(|| u16::from(d - b'0'));
    u8::try_from(digit(*a)? << 6 | digit(*b)? << 3 | digit(*c)?).ok()
}

/// Escapes bytes as tmux does in `%output`; the inverse of [`unescape`].
pub fn escape(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    for &byte in data {
        if byte < 0x20 || byte == b'\\' {
            out.extend_from_slice(format!("\\{byte:03o}").as_bytes());
        } else {
            out.push(byte);
        }
    }
    out
}

/// Undoes the vis(3) escapes that tmux 3.4 to 3.5a put into replies (`cmd-queue.c`, `cmdq_print`).
/// These versions do not double a backslash, so a text that really holds `\033` reads as ESC: replies
/// of theirs are fit for showing and comparing, not as a proof of bytes.
pub fn unvis(line: &[u8]) -> Cow<'_, [u8]> {
    if memchr(b'\\', line).is_none() {
        return Cow::Borrowed(line);
    }
    let mut out = Vec::with_capacity(line.len());
    let mut rest = line;
    while let [first, tail @ ..] = rest {
        let (byte, used) = match (first, tail) {
            (b'\\', _) if octal(tail).is_some() => (octal(tail).unwrap_or(b'\\'), 4),
            (b'\\', [b'r', ..]) => (b'\r', 2),
            (b'\\', [b'n', ..]) => (b'\n', 2),
            (b'\\', [b'a', ..]) => (0x07, 2),
            (b'\\', [b'b', ..]) => (0x08, 2),
            (b'\\', [b'v', ..]) => (0x0b, 2),
            (b'\\', [b'f', ..]) => (0x0c, 2),
            _ => (*first, 1),
        };
        out.push(byte);
        rest = &rest[used..];
    }
    Cow::Owned(out)
}

/// Quotes one argument for tmux's command parser. Passed every byte from 1 to 255 on 3.2 to master:
/// inside double quotes, a backslash before `" \ $ ~`, and octal for controls, DEL and everything above.
/// NUL cannot be said to tmux and is dropped.
pub fn quote(argument: &str) -> String {
    let mut out = String::with_capacity(argument.len() + 2);
    out.push('"');
    for byte in argument.bytes() {
        match byte {
            0 => {}
            b'"' | b'\\' | b'$' | b'~' => {
                out.push('\\');
                out.push(char::from(byte));
            }
            0x20..=0x7e => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\{byte:03o}")),
        }
    }
    out.push('"');
    out
}

/// Replaces every control character, C1 and line separators included, by a space: what is left cannot
/// move a cursor or start an escape sequence wherever it is shown.
pub fn without_controls(text: &str) -> String {
    text.chars()
        .filter(|c| !matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'))
        .map(|c| match c {
            '\u{2028}' | '\u{2029}' => ' ',
            c if c.is_control() => ' ',
            c => c,
        })
        .collect()
}

/// Text that is safe inside a tmux command: the only way for text from outside into one.
///
/// tmux runs `#(…)` that it finds in the arguments of display-message, menus and titles, and expands `%`
/// as a time (seen on 3.3a to master). Here controls are gone, the length is capped and `#` and `%` are
/// doubled; quoting is done once more by the command that carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TmuxText(String);

impl TmuxText {
    /// For an argument that tmux expands as a format with times (display-message). `limit` is in
    /// characters before escaping; what is longer ends in `…`.
    pub fn expanded(text: &str, limit: usize) -> Self {
        let clean = cap(&without_controls(text), limit);
        Self(clean.replace('#', "##").replace('%', "%%"))
    }

    /// For a value that tmux stores as it is (set-environment) but a user's format may expand once
    /// more: only letters, digits, blanks and `-_.:!$~=+/,` survive, everything else becomes `?`.
    /// Styles are added by [`TmuxText::styled`], never taken from text.
    pub fn plain(text: &str, limit: usize) -> Self {
        Self(cap_ascii(text, limit))
    }

    /// The plain text inside one of orch's own styles, e.g. `fg=red,bold`.
    pub fn styled(style: &'static str, text: &Self) -> Self {
        if text.0.is_empty() {
            return text.clone();
        }
        Self(format!("#[{style}]{}#[default]", text.0))
    }

    /// Marks of tmux's own ids, ` @1=x %3=! `: a blank before and after each, so that a format can cut one out.
    pub fn marks<'a>(marks: impl Iterator<Item = (&'a str, char)>) -> Self {
        let marks =
            marks.filter(|(id, _)| id.chars().all(|c| c.is_ascii_digit() || "@%$".contains(c)));
        let entries: String = marks
            .map(|(id, mark)| format!(" {id}={}", cap_ascii(&mark.to_string(), 1)))
            .collect();
        Self(if entries.is_empty() {
            entries
        } else {
            entries + " "
        })
    }

    /// What goes between the quotes of a command.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn cap(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(limit.saturating_sub(1)).collect();
    short.push('…');
    short
}

fn cap_ascii(text: &str, limit: usize) -> String {
    text.chars()
        .take(limit)
        .map(|c| {
            if c.is_ascii_alphanumeric() || " -_.:!$~=+/,".contains(c) {
                c
            } else {
                '?'
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn octal_escapes_and_their_broken_forms() {
        let table: &[(&[u8], &[u8])] = &[
            (b"plain", b"plain"),
            (b"a\\015\\012b", b"a\r\nb"),
            (b"\\134n", b"\\n"),
            (b"cut \\01", b"cut \\01"),
            (b"cut \\", b"cut \\"),
            (b"\\8zz", b"\\8zz"),
            (b"\\777", b"\\777"),
            (b"\\\\033", b"\\\x1b"),
            (b"\xff\\000\x80", b"\xff\x00\x80"),
        ];
        for (escaped, plain) in table {
            assert_eq!(unescape(escaped).as_ref(), *plain);
        }
    }

    #[test]
    fn displayed_text_is_inert() {
        let hostile = TmuxText::expanded(
            "#(touch F) %s #{pane_pid} ; kill-server \x1b[31m\u{9b}m\u{202e}",
            200,
        );
        assert_eq!(
            hostile.as_str(),
            "##(touch F) %%s ##{pane_pid} ; kill-server  [31m m"
        );
        assert_eq!(
            TmuxText::plain("#(touch F)%s#[x]", 99).as_str(),
            "??touch F??s??x?"
        );
        assert_eq!(TmuxText::expanded("abcdef", 4).as_str(), "abc…");
        assert_eq!(
            TmuxText::styled("fg=red", &TmuxText::plain("!2", 9)).as_str(),
            "#[fg=red]!2#[default]"
        );
    }

    #[test]
    fn escaped_replies_of_34_and_35_are_read() {
        assert_eq!(unvis(b"a\\033b\\rc\tk").as_ref(), b"a\x1bb\rc\tk");
        assert_eq!(unvis(b"tail\\").as_ref(), b"tail\\");
    }

    proptest! {
        #[test]
        fn escape_round_trip(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(unescape(&escape(&data)).into_owned(), data);
        }

        #[test]
        fn a_quoted_argument_is_one_line(text in any::<String>()) {
            let quoted = quote(&text);
            prop_assert!(quoted.bytes().all(|b| (0x20..0x7f).contains(&b)));
            prop_assert!(quoted.starts_with('"') && quoted.ends_with('"'));
        }

        #[test]
        fn no_format_survives(text in any::<String>()) {
            let safe = TmuxText::expanded(&text, 9_000);
            let left = safe.as_str().replace("##", "").replace("%%", "");
            prop_assert!(!left.contains('#') && !left.contains('%'));
        }
    }
}
