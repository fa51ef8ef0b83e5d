//! The truth on disk: a JSONL file a day, every event, receipt and outcome a line, numbered without gaps.
//! Knows how lines are kept and found again, not what they are for.

mod append;
mod error;
mod files;
mod query;
mod repair;
mod verify;

pub use append::{Journal, Recovered, open};
pub use error::AppendError;
pub use files::{DAY_FORMAT, Place, ReadError, scan};
pub use query::{Found, Query, follow};
pub use repair::Repair;
pub use verify::{Report, verify};
