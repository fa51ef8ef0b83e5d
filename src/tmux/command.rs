//! Every command that orch may send, as a type: one line each, quoted in one place, none that waits for a person.
//! Text from outside gets in as [`TmuxText`] only.

use std::fmt;

use super::escape::{TmuxText, quote};
use super::id::{ClientName, PaneId, SessionId, WindowId};

/// Name of one of orch's own variables in tmux, `ORCH_…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EnvName(pub &'static str);

/// A command of the control connection. Displayed, it is the line without its end: never empty, never
/// with a raw newline, never a second command (an empty line would detach, a second one would shift replies).
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "the fields are the arguments that the command is documented with"
)]
pub enum Command {
    /// Expands a format of ours against the attached session.
    Ask { format: &'static str },
    /// Asks for a text back, to see whether replies still belong to their commands.
    Sentinel { number: u64 },
    /// One line per pane of the server.
    ListPanes { format: &'static str },
    /// One line per session.
    ListSessions { format: &'static str },
    /// One line per client.
    ListClients { format: &'static str },
    /// tmux's log of commands and messages, newest first (`show-messages`).
    ShowMessages,
    /// Watches a format; a value comes at most once a second, on change. It is tied to a window of the attached
    /// session and silent once that is gone. Tied to the session itself, as a subscription can be too, tmux
    /// (seen on 3.3a) crashes when the session is killed and the timer fires before the client has left: it
    /// writes the id of a session that is no more.
    Subscribe {
        name: String,
        window: WindowId,
        format: String,
    },
    /// Ends a subscription.
    Unsubscribe { name: String },
    /// Moves this control client to another session. Names the client itself, so that a user's own
    /// client can never be meant.
    Host {
        client: ClientName,
        session: SessionId,
    },
    /// Shows a line of text to one client for that long, in milliseconds; tmux freezes its screen meanwhile.
    Message {
        client: ClientName,
        milliseconds: u16,
        text: TmuxText,
    },
    /// Sets a hidden variable: usable in formats, not exported to panes (tmux 3.2).
    SetVariable { name: EnvName, value: TmuxText },
    /// Removes a hidden variable.
    UnsetVariable { name: EnvName },
    /// The same for a variable of one session.
    SetSessionVariable {
        session: SessionId,
        name: EnvName,
        value: TmuxText,
    },
    /// Removes a session's variable, so that the global one holds again.
    UnsetSessionVariable { session: SessionId, name: EnvName },
    /// Draws a client's status line again, and nothing else of it.
    RefreshStatus { client: ClientName },
    /// The visible screen of a pane; a fixed range of rows, so that the number of lines is known.
    Capture { pane: PaneId, rows: u32 },
    /// Loads text into a buffer of ours.
    SetBuffer { name: String, text: String },
    /// Pastes that buffer into a pane, bracketed if the program asked for it, and deletes it. Works in
    /// copy mode, where keys would not.
    PasteBuffer { name: String, pane: PaneId },
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ask { format } => write!(f, "display-message -p {}", quote(format)),
            Self::Sentinel { number } => write!(f, "display-message -p orch:{number}"),
            Self::ListPanes { format } => write!(f, "list-panes -a -F {}", quote(format)),
            Self::ListSessions { format } => write!(f, "list-sessions -F {}", quote(format)),
            Self::ListClients { format } => write!(f, "list-clients -F {}", quote(format)),
            Self::ShowMessages => write!(f, "show-messages"),
            Self::Subscribe {
                name,
                window,
                format,
            } => {
                write!(
                    f,
                    "refresh-client -B {}",
                    quote(&format!("{name}:{window}:{format}"))
                )
            }
            Self::Unsubscribe { name } => write!(f, "refresh-client -B {}", quote(name)),
            Self::Host { client, session } => {
                write!(
                    f,
                    "switch-client -E -c {} -t {}",
                    quote(&client.0),
                    quote(&session.to_string())
                )
            }
            Self::Message {
                client,
                milliseconds,
                text,
            } => {
                write!(
                    f,
                    "display-message -c {} -d {milliseconds} -- {}",
                    quote(&client.0),
                    quote(text.as_str())
                )
            }
            Self::SetVariable { name, value } => {
                write!(
                    f,
                    "set-environment -gh {} {}",
                    name.0,
                    quote(value.as_str())
                )
            }
            Self::UnsetVariable { name } => write!(f, "set-environment -gu {}", name.0),
            Self::SetSessionVariable {
                session,
                name,
                value,
            } => {
                let session = quote(&session.to_string());
                write!(
                    f,
                    "set-environment -h -t {session} {} {}",
                    name.0,
                    quote(value.as_str())
                )
            }
            Self::UnsetSessionVariable { session, name } => {
                write!(
                    f,
                    "set-environment -u -t {} {}",
                    quote(&session.to_string()),
                    name.0
                )
            }
            Self::RefreshStatus { client } => {
                write!(f, "refresh-client -S -t {}", quote(&client.0))
            }
            Self::Capture { pane, rows } => {
                write!(
                    f,
                    "capture-pane -p -t {pane} -S 0 -E {}",
                    rows.saturating_sub(1)
                )
            }
            Self::SetBuffer { name, text } => {
                write!(f, "set-buffer -b {} -- {}", quote(name), quote(text))
            }
            Self::PasteBuffer { name, pane } => {
                write!(f, "paste-buffer -d -p -r -b {} -t {pane}", quote(name))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_one_line_and_its_text_one_argument() {
        let client = ClientName("/dev/pts/1".into());
        let text = TmuxText::expanded("a\"b $HOME ~root ; kill-server\n#(x)", 99);
        let line = Command::Message {
            client,
            milliseconds: 1500,
            text,
        }
        .to_string();
        assert_eq!(
            line,
            r###"display-message -c "/dev/pts/1" -d 1500 -- "a\"b \$HOME \~root ; kill-server ##(x)""###
        );
        let format = "a\tb\nc";
        assert_eq!(
            Command::ListPanes { format }.to_string(),
            r#"list-panes -a -F "a\011b\012c""#
        );
    }
}
