//! What is known now, by applying events in their order; a cache of the journal. Knows no tmux; the session files are
//! its only disk.

mod document;
mod files;
mod run;
mod sessions;

use std::collections::BTreeMap;

pub use files::{Cursor, cursor};
pub use run::{Config, Ended, keep};

use crate::event::Event;
use crate::tmux::id::PaneId;

/// Panes whose last event is remembered; beyond it the longest silent go.
const MOST: usize = 10_000;

/// The state after some events.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Events applied.
    pub accepted: u64,
    /// The number of the last.
    pub last_seq: u64,
    /// The last event about each pane: its number and type.
    pub last_event: BTreeMap<PaneId, (u64, String)>,
}

impl State {
    /// Takes the next event.
    pub fn apply(&mut self, event: &Event) {
        self.accepted += 1;
        self.last_seq = self.last_seq.max(event.seq);
        if event.kind == "tmux_lost" {
            // The next server reuses the ids.
            self.last_event.clear();
        }
        let Some(pane) = event.pane else { return };
        self.last_event
            .insert(pane, (event.seq, event.kind.clone()));
        if self.last_event.len() > MOST
            && let Some(oldest) = self
                .last_event
                .iter()
                .min_by_key(|(_, (seq, _))| *seq)
                .map(|(pane, _)| *pane)
        {
            self.last_event.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Draft;

    #[test]
    fn the_last_event_of_a_pane_until_its_server_is_gone() {
        let mut state = State::default();
        let apply = |state: &mut State, seq, kind: &str, pane: Option<u32>| {
            let mut draft = Draft::new(kind, "t", "");
            draft.pane = pane.map(PaneId);
            state.apply(&draft.accept(seq, "2026-11-22T13:24:52+01:00".parse().unwrap()));
        };
        apply(&mut state, 1, "pane_started", Some(3));
        apply(&mut state, 2, "bell", Some(3));
        assert_eq!(state.last_event[&PaneId(3)], (2, "bell".to_owned()));
        apply(&mut state, 3, "tmux_lost", None);
        assert!(state.last_event.is_empty());
        assert_eq!((state.accepted, state.last_seq), (3, 3));
    }
}
