//! The truth on disk: a JSONL file a day, every event, receipt and outcome a line, numbered without gaps.
//! Knows how lines are kept and found again, not what they are for.
//!
//! ```text
//! handles → writer (channels, answers) → ledger (numbers, groups, what a failing disk means) → tail (the day file)
//!                                           queue (what waits)   reserve (room for bad times)      mend
//! ```

mod disk;
mod error;
mod files;
mod housekeeping;
mod ledger;
mod mend;
mod numbers;
mod pack;
mod query;
mod queue;
mod repair;
mod reserve;
mod survey;
mod tail;
mod verify;
mod writer;

#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod writer_tests;

pub use error::AppendError;
pub use files::{DAY_FORMAT, Place, ReadError, scan};
pub use housekeeping::Retention;
pub use ledger::Health;
pub use query::{Found, Query, follow, last_seq};
pub use repair::Repair;
pub use verify::{Report, verify};
pub use writer::{Journal, Opened, Recovered, open};
