//! The Unix socket: JSON lines in, JSON lines out. Owns who may connect and how much a client may cost; what is asked
//! for is done elsewhere.

pub mod client;
mod guests;
mod panes;
pub mod protocol;
mod server;

pub use panes::describe;
pub use server::{Accepting, Ask, Bound, Context, Server, bind};
