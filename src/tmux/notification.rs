//! The grammar of one control-mode line outside a block: `%name arguments` to a typed value, with nom, on bytes.
//! Refuses to know blocks (codec) and what a notification is good for; what it cannot read is `Unknown`, never an error.

use bytes::Bytes;
use nom::branch::alt;
use nom::bytes::complete::{tag, take_till1, take_while1};
use nom::character::complete::{char as byte, satisfy, u32 as digits, u64 as long_digits};
use nom::combinator::{all_consuming, map, peek, rest, value};
use nom::sequence::{preceded, separated_pair, terminated};
use nom::{IResult, Parser};

use super::escape;
use super::id::{PaneId, SessionId, WindowId};

/// Bytes of `%output` as they came: octal escapes for controls and the backslash, the rest raw.
/// May end in the middle of a UTF-8 character, which then goes on in the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Escaped(pub Bytes);

impl Escaped {
    /// What the pane really wrote.
    pub fn unescape(&self) -> std::borrow::Cow<'_, [u8]> {
        escape::unescape(&self.0)
    }
}

/// What tmux tells without being asked (`control.c`, `control-notify.c`; the manual's CONTROL MODE).
/// Structural ones are hints to list again, not truth: `%window-close` and `%unlinked-window-close` are
/// swapped up to 3.7c. Names are bytes, since tmux does not promise UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "the fields are the arguments that the notification is named for"
)]
pub enum Notification {
    Output {
        pane: PaneId,
        data: Escaped,
    },
    /// Replaces `Output` once pause-after is set; `age_ms` is how long tmux held it.
    ExtendedOutput {
        pane: PaneId,
        age_ms: u64,
        data: Escaped,
    },
    Pause {
        pane: PaneId,
    },
    Continue {
        pane: PaneId,
    },
    PaneModeChanged {
        pane: PaneId,
    },
    WindowPaneChanged {
        window: WindowId,
        pane: PaneId,
    },
    WindowAdd {
        window: WindowId,
    },
    WindowClose {
        window: WindowId,
    },
    UnlinkedWindowAdd {
        window: WindowId,
    },
    UnlinkedWindowClose {
        window: WindowId,
    },
    WindowRenamed {
        window: WindowId,
        name: Bytes,
    },
    UnlinkedWindowRenamed {
        window: WindowId,
        name: Bytes,
    },
    /// Layouts stay opaque: 3.7 put floating panes into them.
    LayoutChange {
        window: WindowId,
        layout: Bytes,
        visible_layout: Bytes,
        flags: Bytes,
    },
    SessionChanged {
        session: SessionId,
        name: Bytes,
    },
    SessionRenamed {
        session: SessionId,
        name: Bytes,
    },
    SessionsChanged,
    SessionWindowChanged {
        session: SessionId,
        window: WindowId,
    },
    ClientSessionChanged {
        client: Bytes,
        session: SessionId,
        name: Bytes,
    },
    ClientDetached {
        client: Bytes,
    },
    SubscriptionChanged {
        name: Bytes,
        session: SessionId,
        window: Option<WindowId>,
        index: Option<u32>,
        pane: Option<PaneId>,
        value: Bytes,
    },
    PasteBufferChanged {
        name: Bytes,
    },
    PasteBufferDeleted {
        name: Bytes,
    },
    Message {
        text: Bytes,
    },
    ConfigError {
        text: Bytes,
    },
    /// Printed by the client process; trusted only together with the end of the stream.
    Exit {
        reason: Option<Bytes>,
    },
    /// A name that is not known, or a known one whose arguments do not fit (`malformed`).
    Unknown {
        name: Bytes,
        text: Bytes,
        malformed: bool,
    },
}

impl Notification {
    /// Reads one line without its line end. `None` when the line is no notification at all: it does not
    /// start with `%` and a name, or is a block guard standing alone.
    pub fn parse(line: &Bytes) -> Option<Self> {
        Self::parse_in(line, line)
    }

    /// The same for a line inside `whole`, whose memory the values that are kept go on sharing.
    pub(super) fn parse_in(whole: &Bytes, line: &[u8]) -> Option<Self> {
        if let Ok((_, (pane, data))) = output(line) {
            return Some(Self::Output {
                pane,
                data: Escaped(whole.slice_ref(data)),
            });
        }
        let (arguments, name) = name(line).ok()?;
        if matches!(name, b"begin" | b"end" | b"error") {
            return None;
        }
        // One blank parts the name from its arguments; a name alone has none.
        let arguments = match arguments {
            [] => None,
            [b' ', arguments @ ..] => Some(arguments),
            _ => return None,
        };
        let known = arguments_of(whole, name, arguments);
        Some(known.unwrap_or_else(|malformed| Self::Unknown {
            name: whole.slice_ref(name),
            text: whole.slice_ref(arguments.unwrap_or_default()),
            malformed,
        }))
    }
}

type Input<'a> = &'a [u8];

/// Starts with a letter: `%0` is a pane that some command printed.
fn name(input: Input<'_>) -> IResult<Input<'_>, Input<'_>> {
    preceded(
        (byte('%'), peek(satisfy(|c| c.is_ascii_alphabetic()))),
        take_while1(|b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'),
    )
    .parse(input)
}

fn pane(input: Input<'_>) -> IResult<Input<'_>, PaneId> {
    map(preceded(byte('%'), digits), PaneId).parse(input)
}

fn window(input: Input<'_>) -> IResult<Input<'_>, WindowId> {
    map(preceded(byte('@'), digits), WindowId).parse(input)
}

fn session(input: Input<'_>) -> IResult<Input<'_>, SessionId> {
    map(preceded(byte('$'), digits), SessionId).parse(input)
}

fn blank(input: Input<'_>) -> IResult<Input<'_>, char> {
    byte(' ').parse(input)
}

fn word(input: Input<'_>) -> IResult<Input<'_>, Input<'_>> {
    take_till1(|b| b == b' ').parse(input)
}

fn output(input: Input<'_>) -> IResult<Input<'_>, (PaneId, Input<'_>)> {
    preceded(tag(&b"%output "[..]), separated_pair(pane, blank, rest)).parse(input)
}

/// A field that may be absent, written `-`.
fn or_dash<'a, T: Clone>(
    field: impl Parser<Input<'a>, Output = T, Error = nom::error::Error<Input<'a>>>,
) -> impl Parser<Input<'a>, Output = Option<T>, Error = nom::error::Error<Input<'a>>> {
    alt((map(field, Some), value(None, byte('-'))))
}

/// The value after ` : `, past fields that a later tmux may put before it, each with a blank.
fn after_colon(input: Input<'_>) -> IResult<Input<'_>, Input<'_>> {
    let at = memchr::memmem::find(input, b" : ");
    match at {
        Some(at) if input.starts_with(b" ") => Ok((&[], &input[at + 3..])),
        _ => Err(nom::Err::Error(nom::error::Error::new(
            input,
            nom::error::ErrorKind::TakeUntil,
        ))),
    }
}

/// `Err(malformed)`: false for a name that is not known.
fn arguments_of(
    whole: &Bytes,
    name: &[u8],
    arguments: Option<&[u8]>,
) -> Result<Notification, bool> {
    use Notification as N;
    let own = |part: &[u8]| whole.slice_ref(part);
    let a = arguments.unwrap_or_default();
    let present = arguments.is_some();

    let parsed = match name {
        b"sessions-changed" if !present => Some(N::SessionsChanged),
        b"exit" => Some(N::Exit {
            reason: arguments.map(own),
        }),
        b"message" => present.then(|| N::Message { text: own(a) }),
        b"config-error" => present.then(|| N::ConfigError { text: own(a) }),
        b"paste-buffer-changed" => present.then(|| N::PasteBufferChanged { name: own(a) }),
        b"paste-buffer-deleted" => present.then(|| N::PasteBufferDeleted { name: own(a) }),
        b"client-detached" => present.then(|| N::ClientDetached { client: own(a) }),
        b"pause" => all(pane, a).map(|pane| N::Pause { pane }),
        b"continue" => all(pane, a).map(|pane| N::Continue { pane }),
        b"pane-mode-changed" => all(pane, a).map(|pane| N::PaneModeChanged { pane }),
        b"window-add" => all(window, a).map(|window| N::WindowAdd { window }),
        b"window-close" => all(window, a).map(|window| N::WindowClose { window }),
        b"unlinked-window-add" => all(window, a).map(|window| N::UnlinkedWindowAdd { window }),
        b"unlinked-window-close" => all(window, a).map(|window| N::UnlinkedWindowClose { window }),
        b"window-renamed" => {
            all(separated_pair(window, blank, rest), a).map(|(window, name)| N::WindowRenamed {
                window,
                name: own(name),
            })
        }
        b"unlinked-window-renamed" => {
            all(separated_pair(window, blank, rest), a).map(|(window, name)| {
                N::UnlinkedWindowRenamed {
                    window,
                    name: own(name),
                }
            })
        }
        b"session-changed" => {
            all(separated_pair(session, blank, rest), a).map(|(session, name)| N::SessionChanged {
                session,
                name: own(name),
            })
        }
        b"session-renamed" => {
            all(separated_pair(session, blank, rest), a).map(|(session, name)| N::SessionRenamed {
                session,
                name: own(name),
            })
        }
        b"window-pane-changed" => all(separated_pair(window, blank, pane), a)
            .map(|(window, pane)| N::WindowPaneChanged { window, pane }),
        b"session-window-changed" => all(separated_pair(session, blank, window), a)
            .map(|(session, window)| N::SessionWindowChanged { session, window }),
        b"extended-output" => all((terminated(pane, blank), long_digits, after_colon), a).map(
            |(pane, age_ms, data)| N::ExtendedOutput {
                pane,
                age_ms,
                data: Escaped(own(data)),
            },
        ),
        b"layout-change" => {
            layout_change(a).map(|(window, layout, visible_layout, flags)| N::LayoutChange {
                window,
                layout: own(layout),
                visible_layout: own(visible_layout),
                flags: own(flags),
            })
        }
        b"client-session-changed" => {
            client_session_changed(a).map(|(client, session, name)| N::ClientSessionChanged {
                client: own(client),
                session,
                name: own(name),
            })
        }
        b"subscription-changed" => subscription_changed(whole, a),
        b"sessions-changed" | b"output" => None,
        _ => return Err(false),
    };
    parsed.ok_or(true)
}

fn all<'a, T>(
    parser: impl Parser<Input<'a>, Output = T, Error = nom::error::Error<Input<'a>>>,
    input: Input<'a>,
) -> Option<T> {
    all_consuming(parser)
        .parse(input)
        .ok()
        .map(|(_, value)| value)
}

/// `@W LAYOUT VISIBLE FLAGS`; the flags may be empty, with or without the blank before them.
fn layout_change(input: Input<'_>) -> Option<(WindowId, Input<'_>, Input<'_>, Input<'_>)> {
    let (flags, (window, layout, visible)) =
        (terminated(window, blank), terminated(word, blank), word)
            .parse(input)
            .ok()?;
    match flags {
        [] => Some((window, layout, visible, flags)),
        [b' ', flags @ ..] => Some((window, layout, visible, flags)),
        _ => None,
    }
}

/// `CLIENT $S NAME`: a client's name may hold blanks, so the first ` $N ` ends it.
fn client_session_changed(input: Input<'_>) -> Option<(Input<'_>, SessionId, Input<'_>)> {
    memchr::memmem::find_iter(input, b" $")
        .filter(|&at| at > 0)
        .find_map(|at| {
            let (name, session) = terminated(session, blank).parse(&input[at + 1..]).ok()?;
            Some((&input[..at], session, name))
        })
}

/// `NAME $S (@W|-) (IDX|-) (%P|-) [more…] : VALUE`: the name may hold blanks, so the first place where
/// the rest fits ends it.
fn subscription_changed(whole: &Bytes, input: Input<'_>) -> Option<Notification> {
    memchr::memmem::find_iter(input, b" $")
        .filter(|&at| at > 0)
        .find_map(|at| {
            let (_, (session, window, index, pane, value)) = (
                terminated(session, blank),
                terminated(or_dash(window), blank),
                terminated(or_dash(digits), blank),
                or_dash(pane),
                after_colon,
            )
                .parse(&input[at + 1..])
                .ok()?;
            Some(Notification::SubscriptionChanged {
                name: whole.slice_ref(&input[..at]),
                session,
                window,
                index,
                pane,
                value: whole.slice_ref(value),
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use Notification as N;

    fn parse(line: &'static [u8]) -> Option<N> {
        N::parse(&Bytes::from_static(line))
    }

    fn b(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn lines_that_tmux_sends() {
        let table: Vec<(&'static [u8], N)> = vec![
            (
                b"%output %1 a\\033[m\xff",
                N::Output {
                    pane: PaneId(1),
                    data: Escaped(Bytes::from_static(b"a\\033[m\xff")),
                },
            ),
            (
                b"%output %1 ",
                N::Output {
                    pane: PaneId(1),
                    data: Escaped(b("")),
                },
            ),
            (
                b"%extended-output %0 12 : x : y",
                N::ExtendedOutput {
                    pane: PaneId(0),
                    age_ms: 12,
                    data: Escaped(b("x : y")),
                },
            ),
            (
                b"%extended-output %0 12 new 3 : x",
                N::ExtendedOutput {
                    pane: PaneId(0),
                    age_ms: 12,
                    data: Escaped(b("x")),
                },
            ),
            (
                b"%session-renamed $0 a2 with space",
                N::SessionRenamed {
                    session: SessionId(0),
                    name: b("a2 with space"),
                },
            ),
            (
                b"%layout-change @0 e49e,1x1 a87d,1x1 *Z",
                N::LayoutChange {
                    window: WindowId(0),
                    layout: b("e49e,1x1"),
                    visible_layout: b("a87d,1x1"),
                    flags: b("*Z"),
                },
            ),
            (
                b"%layout-change @0 e49e,1x1 a87d,1x1 ",
                N::LayoutChange {
                    window: WindowId(0),
                    layout: b("e49e,1x1"),
                    visible_layout: b("a87d,1x1"),
                    flags: b(""),
                },
            ),
            (
                b"%client-session-changed my tty $1 b $2 c",
                N::ClientSessionChanged {
                    client: b("my tty"),
                    session: SessionId(1),
                    name: b("b $2 c"),
                },
            ),
            (
                b"%subscription-changed a b $0 @5 1 %1 : v : w",
                N::SubscriptionChanged {
                    name: b("a b"),
                    session: SessionId(0),
                    window: Some(WindowId(5)),
                    index: Some(1),
                    pane: Some(PaneId(1)),
                    value: b("v : w"),
                },
            ),
            (
                b"%subscription-changed all $0 - - - : ",
                N::SubscriptionChanged {
                    name: b("all"),
                    session: SessionId(0),
                    window: None,
                    index: None,
                    pane: None,
                    value: b(""),
                },
            ),
            (
                b"%subscription-changed x $0 - - - future 1 : v",
                N::SubscriptionChanged {
                    name: b("x"),
                    session: SessionId(0),
                    window: None,
                    index: None,
                    pane: None,
                    value: b("v"),
                },
            ),
            (b"%exit", N::Exit { reason: None }),
            (
                b"%exit too far behind",
                N::Exit {
                    reason: Some(b("too far behind")),
                },
            ),
            (b"%sessions-changed", N::SessionsChanged),
            (b"%message ", N::Message { text: b("") }),
        ];
        for (line, expected) in table {
            assert_eq!(
                parse(line),
                Some(expected),
                "{}",
                String::from_utf8_lossy(line)
            );
        }
    }

    #[test]
    fn what_does_not_fit_is_kept_as_unknown() {
        for (line, name, text, malformed) in [
            (&b"%output %x y"[..], "output", "%x y", true),
            (b"%output", "output", "", true),
            (b"%window-add 3", "window-add", "3", true),
            (
                b"%window-add @99999999999",
                "window-add",
                "@99999999999",
                true,
            ),
            (b"%pause %1 more", "pause", "%1 more", true),
            (
                b"%subscription-changed x",
                "subscription-changed",
                "x",
                true,
            ),
            (b"%sessions-changed now", "sessions-changed", "now", true),
            (
                b"%extended-output %1 5ms : x",
                "extended-output",
                "%1 5ms : x",
                true,
            ),
            (
                b"%subscription-changed n $1 @1 1 %1x : v",
                "subscription-changed",
                "n $1 @1 1 %1x : v",
                true,
            ),
            (
                b"%subscription-changed n $1 - - -x : v",
                "subscription-changed",
                "n $1 - - -x : v",
                true,
            ),
            (b"%brand-new 1 2", "brand-new", "1 2", false),
        ] {
            let line = Bytes::from_static(line);
            let expected = N::Unknown {
                name: b(name),
                text: b(text),
                malformed,
            };
            assert_eq!(N::parse(&line), Some(expected));
        }
    }

    #[test]
    fn what_is_no_notification() {
        for line in [
            &b""[..],
            b"%",
            b"%%x",
            b"% x",
            b"text",
            b"%begin 1 2 1",
            b"%end 1 2 1",
            b"%error x",
            b"%foo:bar",
            b"%0",
            b"%1 a",
            b"%-x",
        ] {
            assert_eq!(N::parse(&Bytes::copy_from_slice(line)), None);
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(line in proptest::collection::vec(proptest::num::u8::ANY, 0..80), n in 0usize..26) {
            let names = ["output %1", "extended-output", "layout-change @1", "subscription-changed", "exit",
                "client-session-changed", "session-window-changed $1", "window-pane-changed"];
            let mut with = format!("%{} ", names[n % names.len()]).into_bytes();
            with.extend_from_slice(&line);
            let _ = N::parse(&Bytes::from(with));
            let _ = N::parse(&Bytes::from(line));
        }
    }
}
