//! Speaks tmux's control mode: bytes to typed notifications and replies, typed commands to lines.
//! Owns the protocol and the one connection; knows nothing of panes as things to watch, of events or of delivery.
//!
//! ```text
//! bytes → codec (lines, blocks) → notification | reply → pending (whose reply?) → client (the only I/O) → command → bytes
//! ```
//!
//! Protocol facts were read off tmux 3.2 to 3.7 and master (`control.c`, `control-notify.c`, `cmd-queue.c`) and
//! checked against recorded streams, see `fixtures/transcripts`.

pub mod client;
pub mod codec;
pub mod command;
pub mod escape;
pub mod id;
pub mod notification;
pub mod pending;
pub mod version;

pub use codec::{Block, ControlCodec, Frame};
pub use command::Command;
pub use escape::TmuxText;
pub use id::{ClientName, PaneId, ServerKey, SessionId, WindowId};
pub use notification::Notification;
pub use version::Version;
