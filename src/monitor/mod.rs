//! Observations in, events out: one file per monitor, all of them pure. Knows neither tmux nor delivery, nor how
//! monitors are run.
//!
//! Adding one costs a file with a [`Monitor`] and a line in [`all`]. What is observed grows by variants of
//! [`Observation`]: a monitor that waits for something gets a variant that says the time, and says itself when it
//! wants to be told. One that has to wait for a disk or a program is a task of its own, supervised as the faces are,
//! and only what it found comes here.

pub mod health;

use crate::event::Draft;
use crate::panes::Change;
use crate::tmux::id::ServerKey;

use self::health::Health;

/// What a monitor is shown.
#[derive(Debug)]
pub enum Observation<'a> {
    /// The connection stands (again).
    Attached {
        /// tmux's version.
        version: &'a str,
        /// Which life of which server.
        server: ServerKey,
        /// How many panes there are.
        panes: usize,
        /// Ids mean something else now than before; false after a mere reconnection.
        new_server: bool,
    },
    /// The server is gone or out of reach, for this reason.
    Lost(&'a str),
    /// A pane changed.
    Changed(&'a Change),
}

/// Turns what is observed into events. It may keep a memory, which is lost when it panics: it is then made anew.
pub trait Monitor: Send {
    /// Looks at the next observation; what is to be published, in order.
    fn observe(&mut self, seen: &Observation<'_>) -> Vec<Draft>;
}

/// How to make a monitor, now and after a panic.
pub struct Maker {
    /// Its name; its row in `orch status` is `monitors.NAME`.
    pub name: &'static str,
    /// Whether the configuration wants it.
    pub enabled: bool,
    /// Makes one that has seen nothing yet.
    pub make: Box<dyn Fn() -> Box<dyn Monitor> + Send>,
}

impl std::fmt::Debug for Maker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Maker({}, enabled: {})", self.name, self.enabled)
    }
}

/// All monitors.
pub fn all(health: &health::Config) -> Vec<Maker> {
    let health = health.clone();
    vec![Maker {
        name: "health",
        enabled: health.enabled,
        make: Box::new(move || Box::new(Health::new(health.clone()))),
    }]
}
