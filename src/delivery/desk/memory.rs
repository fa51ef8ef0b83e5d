//! What the desk knows from one run to the next, so that a restart grants nobody a fresh burst.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::super::board::Board;
use super::super::breaker::Breaker;
use super::super::demotion::Sources;
use super::super::fingerprint::Fingerprint;
use super::super::lane::{Lane, Tick};
use super::super::loops::Loops;
use super::super::mute::Mutes;
use super::super::starts::Starts;
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
    held_mutes: Vec<String>,
    held_since: Option<Tick>,
    mutes: Mutes,
    sources: Sources,
    loops: Loops,
    breaker: Breaker,
    starts: Starts,
    server: Option<serde_json::Value>,
    /// The last event that all this knows of.
    #[serde(default)]
    decided: u64,
}

impl Desk {
    /// Takes up what the last run knew.
    pub fn restore(&mut self, memory: Memory, now: Tick) {
        self.ordinary.adopt(&memory.ordinary, now);
        self.critical.adopt(&memory.critical, now);
        self.server = memory.server;
        self.decided = memory.decided;
        self.board = memory.board;
        self.mutes = memory.mutes;
        self.sources = memory.sources;
        self.loops = memory.loops;
        self.breaker = memory.breaker;
        self.starts = memory.starts;
        let not_ahead = |at: Tick| at.min(now);
        self.told = memory
            .told
            .into_iter()
            .map(|(f, at)| (f, not_ahead(at)))
            .collect();
        self.shown = memory
            .shown
            .into_iter()
            .map(|(c, at)| (c, not_ahead(at)))
            .collect();
        self.digest.said = memory.digest_at.map(not_ahead);
        for (verdict, n) in memory.held {
            self.digest.hold(verdict, n, now);
        }
        self.digest.mutes = memory.held_mutes;
        // Also where no run lasts as long as a digest takes to come.
        self.digest.since = memory.held_since.map(not_ahead);
        self.board.clamp(now);
        self.mutes.clamp(now);
        self.sources.clamp(now);
        self.loops.clamp(now);
        self.breaker.clamp(now);
        self.starts.clamp(now);
    }

    /// What the last run knew is lost: it may have shown as much as it was allowed to, so this one begins with
    /// nothing left.
    pub fn assume_spent(&mut self, now: Tick) {
        self.ordinary.spend(now);
        self.critical.spend(now);
    }

    /// What the next run must know. What still waits was not told; what is on its way may have been.
    pub fn memory(&self) -> Memory {
        let waits: BTreeSet<Fingerprint> = self
            .waiting
            .iter()
            .filter_map(|waiting| waiting.fingerprint)
            .collect();
        let told = self.told.iter().filter(|(f, _)| !waits.contains(f));
        Memory {
            ordinary: self.ordinary.clone(),
            critical: self.critical.clone(),
            told: told.map(|(f, at)| (*f, *at)).collect(),
            board: self.board.clone(),
            shown: self.shown.iter().map(|(c, at)| (c.clone(), *at)).collect(),
            digest_at: self.digest.said,
            held: self.digest.held.iter().map(|(v, n)| (*v, *n)).collect(),
            held_mutes: self.digest.mutes.clone(),
            held_since: self.digest.since,
            mutes: self.mutes.clone(),
            sources: self.sources.clone(),
            loops: self.loops.clone(),
            breaker: self.breaker.clone(),
            starts: self.starts.clone(),
            server: self.server.clone(),
            decided: self.decided,
        }
    }
}
