//! How often orch was started lately. Pure.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::lane::Tick;

/// Starts in [`WINDOW`] that are no accident any more.
const MANY: usize = 5;
/// In milliseconds.
const WINDOW: i64 = 60_000;
/// A row of crashes is told at most this often, in milliseconds.
const TELL_EVERY: i64 = 60 * 60_000;
/// Starts that are remembered.
const MOST: usize = 100;

/// The starts of the last minute.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Starts {
    at: VecDeque<Tick>,
    told: Option<Tick>,
}

impl Starts {
    /// One more start; how many there were in the last minute, where that must be told.
    pub(crate) fn one_more(&mut self, now: Tick) -> Option<usize> {
        self.at.push_back(now);
        self.at.retain(|at| now.since(*at) <= WINDOW);
        while self.at.len() > MOST {
            self.at.pop_front();
        }
        let due = self.told.is_none_or(|at| now.since(at) >= TELL_EVERY);
        if self.at.len() < MANY || !due {
            return None;
        }
        self.told = Some(now);
        Some(self.at.len())
    }

    /// After a restart under a clock that went back.
    pub(crate) fn clamp(&mut self, now: Tick) {
        self.at.iter_mut().for_each(|at| *at = (*at).min(now));
        self.told = self.told.map(|at| at.min(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_in_a_minute_are_told_once_an_hour() {
        let mut starts = Starts::default();
        let told: Vec<Option<usize>> = (0..2_000)
            .map(|n| starts.one_more(Tick(n * 2_000)))
            .collect();
        assert_eq!(told[..4], [None; 4]);
        assert_eq!(told[4], Some(5));
        assert_eq!(
            told.iter().flatten().count(),
            2,
            "4,000 s hold one more hour"
        );
        let mut calm = Starts::default();
        assert!((0..100).all(|n| calm.one_more(Tick(n * 15_001)).is_none()));
    }
}
