//! Who cries wolf: counts the different things that each source claims to be critical. Pure; knows no lane and no
//! board, and never sees what orch's own monitors say.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::fingerprint::Fingerprint;
use super::lane::Tick;

/// The window in which claims count, and how long a demoted source must claim nothing new, in milliseconds.
pub(crate) const CLAIM_WINDOW: i64 = 10 * 60_000;
/// Sources that are counted; beyond it the longest silent is forgotten.
const SOURCES: usize = 256;

/// What a claim comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is believed.
    Believed,
    /// This one was one too many.
    Demoted,
    /// The source was demoted before.
    StillDemoted,
}

/// The sources that claimed something critical lately.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Sources(BTreeMap<String, Claims>);

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Claims {
    recent: VecDeque<(Fingerprint, Tick)>,
    demoted: bool,
}

impl Claims {
    fn last(&self) -> Option<Tick> {
        self.recent.back().map(|(_, at)| *at)
    }
}

impl Sources {
    /// Counts a claim. Saying the same again is no further claim.
    pub(crate) fn claim(
        &mut self,
        source: &str,
        fingerprint: Fingerprint,
        limit: u32,
        now: Tick,
    ) -> Standing {
        if !self.0.contains_key(source) {
            self.make_room();
        }
        let claims = self.0.entry(source.to_owned()).or_default();
        if claims.last().is_none_or(|at| now.since(at) >= CLAIM_WINDOW) {
            *claims = Claims::default();
        }
        let old = |(_, at): &(_, Tick)| now.since(*at) >= CLAIM_WINDOW;
        while claims.recent.front().is_some_and(old) {
            claims.recent.pop_front();
        }
        let standing = |demoted| match demoted {
            true => Standing::StillDemoted,
            false => Standing::Believed,
        };
        if claims.recent.iter().any(|(known, _)| *known == fingerprint) {
            return standing(claims.demoted);
        }
        claims.recent.push_back((fingerprint, now));
        if claims.recent.len() <= limit as usize {
            return standing(claims.demoted);
        }
        while claims.recent.len() > limit as usize {
            claims.recent.pop_front();
        }
        if std::mem::replace(&mut claims.demoted, true) {
            Standing::StillDemoted
        } else {
            Standing::Demoted
        }
    }

    /// After a restart under a clock that went back.
    pub(crate) fn clamp(&mut self, now: Tick) {
        let times = self.0.values_mut().flat_map(|claims| &mut claims.recent);
        times.for_each(|(_, at)| *at = (*at).min(now));
    }

    /// Sources that are counted.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    fn make_room(&mut self) {
        if self.0.len() >= SOURCES
            && let Some(silent) = self
                .0
                .iter()
                .min_by_key(|(_, claims)| (claims.demoted, claims.last()))
                .map(|(source, _)| source.clone())
        {
            self.0.remove(&silent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fingerprint::tests::event;
    use super::*;
    use crate::event::Severity;

    fn fingerprint(n: usize) -> Fingerprint {
        Fingerprint::of(&event(1, "x", Severity::Critical, &n.to_string()))
    }

    #[test]
    fn one_demotion_until_it_was_quiet() {
        let mut sources = Sources::default();
        let mut claim = |n, at| sources.claim("dev", fingerprint(n), 20, Tick(at));
        for n in 0..20 {
            assert_eq!(claim(n, n as i64), Standing::Believed);
            assert_eq!(claim(0, n as i64), Standing::Believed, "the same again");
        }
        assert_eq!(claim(20, 100), Standing::Demoted);
        assert_eq!(claim(21, 200), Standing::StillDemoted);
        assert_eq!(claim(21, 300 + CLAIM_WINDOW / 2), Standing::StillDemoted);
        let late = 200 + CLAIM_WINDOW;
        assert_eq!(claim(22, late - 1), Standing::StillDemoted, "not quiet yet");
        assert_eq!(claim(23, late - 1 + CLAIM_WINDOW), Standing::Believed);
    }

    #[test]
    fn a_steady_few_are_believed_for_ever_and_the_memory_is_bounded() {
        let mut sources = Sources::default();
        for n in 0..2_000 {
            let at = Tick(n as i64 * CLAIM_WINDOW / 20);
            assert_eq!(
                sources.claim("dev", fingerprint(n), 20, at),
                Standing::Believed
            );
        }
        for n in 0..2_000 {
            sources.claim(&format!("source {n}"), fingerprint(n), 20, Tick(n as i64));
        }
        assert_eq!(sources.len(), SOURCES);
    }
}
