//! What the desk knows from one run to the next, so that a restart grants nobody a fresh burst.

use serde::{Deserialize, Serialize};

use super::super::board::Board;
use super::super::fingerprint::Fingerprint;
use super::super::lane::{Lane, Tick};
use super::Desk;
use crate::event::Verdict;
use crate::tmux::id::ClientName;

/// What survives a restart.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Memory {
    ordinary: Lane,
    critical: Lane,
    told: Vec<(Fingerprint, Tick)>,
    board: Board,
    shown: Vec<(ClientName, Tick)>,
    digest_at: Option<Tick>,
    held: Vec<(Verdict, u64)>,
    #[serde(default)]
    server: Option<serde_json::Value>,
}

impl Desk {
    /// Takes up what the last run knew.
    pub fn restore(&mut self, memory: Memory, now: Tick) {
        self.ordinary.adopt(&memory.ordinary, now);
        self.critical.adopt(&memory.critical, now);
        self.server = memory.server;
        self.board = memory.board;
        self.board.clamp(now);
        self.told = memory
            .told
            .into_iter()
            .map(|(f, at)| (f, at.min(now)))
            .collect();
        self.shown = memory
            .shown
            .into_iter()
            .map(|(c, at)| (c, at.min(now)))
            .collect();
        self.digest_at = memory.digest_at.map(|at| at.min(now));
        for (verdict, n) in memory.held {
            self.hold(verdict, n, now);
        }
    }

    /// What the next run must know.
    pub fn memory(&self) -> Memory {
        Memory {
            ordinary: self.ordinary.clone(),
            critical: self.critical.clone(),
            told: self.told.iter().map(|(f, at)| (*f, *at)).collect(),
            board: self.board.clone(),
            shown: self.shown.iter().map(|(c, at)| (c.clone(), *at)).collect(),
            digest_at: self.digest_at,
            server: self.server.clone(),
            held: self.held.iter().map(|(v, n)| (*v, *n)).collect(),
        }
    }
}
