//! The last line: how many messages really go to one client, whatever lanes, gaps and fingerprints have decided.
//! Pure, and independent of all of them; knows clients and instants.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::lane::Tick;
use crate::tmux::id::ClientName;

/// Messages to one client in [`WINDOW`]; the pace of the message sink leaves six at most.
pub(crate) const CEILING: usize = 12;
/// The window, in milliseconds.
pub(crate) const WINDOW: i64 = 60_000;
/// How long a client is cut off unless somebody acknowledges it, in milliseconds.
pub(crate) const CUT_FOR: i64 = 15 * 60_000;
/// Clients that are counted.
const MOST: usize = 1_000;

/// Whether a message may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    /// It goes, and is counted.
    Goes,
    /// It is one too many: from now on the client is cut off.
    Trips,
    /// The client is cut off.
    Cut,
}

/// All clients that were sent something lately.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Breaker {
    clients: BTreeMap<ClientName, Client>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Client {
    sent: VecDeque<Tick>,
    cut: Option<Tick>,
    /// The event that says so.
    told_by: Option<u64>,
}

impl Breaker {
    /// Asked for each client right before a message goes to it.
    pub(crate) fn pass(&mut self, name: &ClientName, now: Tick) -> Pass {
        if !self.clients.contains_key(name) && self.clients.len() >= MOST {
            self.forget_the_oldest();
        }
        let client = self.clients.entry(name.clone()).or_default();
        if client.cut.is_some() {
            return Pass::Cut;
        }
        client.sent.retain(|at| now.since(*at) <= WINDOW);
        if client.sent.len() >= CEILING {
            client.cut = Some(now);
            return Pass::Trips;
        }
        client.sent.push_back(now);
        Pass::Goes
    }

    /// Whether this client is cut off.
    pub(crate) fn is_cut(&self, name: &ClientName) -> bool {
        self.clients
            .get(name)
            .is_some_and(|client| client.cut.is_some())
    }

    /// The event of this number says that this client is cut off.
    pub(crate) fn told(&mut self, name: &str, seq: u64) {
        let of_name = self.clients.iter_mut().find(|(known, _)| known.0 == name);
        if let Some((_, client)) = of_name {
            client.told_by = Some(seq);
        }
    }

    /// Somebody acknowledged that event: the client is served again, its past forgotten.
    pub(crate) fn acknowledge(&mut self, seq: u64) -> bool {
        let before = self.clients.len();
        self.clients.retain(|_, client| client.told_by != Some(seq));
        self.clients.len() != before
    }

    /// Serves again who was cut off long enough; the events that said so.
    pub(crate) fn expire(&mut self, now: Tick) -> Vec<u64> {
        let mut over = Vec::new();
        self.clients.retain(|_, client| match client.cut {
            Some(at) if now.since(at) >= CUT_FOR => {
                over.extend(client.told_by);
                false
            }
            Some(_) => true,
            None => client.sent.iter().any(|at| now.since(*at) <= WINDOW),
        });
        over
    }

    /// After a restart under a clock that went back.
    pub(crate) fn clamp(&mut self, now: Tick) {
        for client in self.clients.values_mut() {
            client.sent.iter_mut().for_each(|at| *at = (*at).min(now));
            client.cut = client.cut.map(|at| at.min(now));
        }
    }

    fn forget_the_oldest(&mut self) {
        let last = |client: &Client| (client.cut, client.sent.back().copied());
        let oldest = self.clients.iter().min_by_key(|(_, client)| last(client));
        if let Some(name) = oldest.map(|(name, _)| name.clone()) {
            self.clients.remove(&name);
        }
    }

    /// Clients that are counted.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(n: usize) -> ClientName {
        ClientName(format!("/dev/pts/{n}"))
    }

    #[test]
    fn it_trips_once_and_closes_by_acknowledgement_or_by_time() {
        let mut breaker = Breaker::default();
        let at = |breaker: &mut Breaker, ms| breaker.pass(&name(1), Tick(ms));
        for n in 0..CEILING as i64 {
            assert_eq!(at(&mut breaker, n), Pass::Goes);
        }
        assert_eq!(at(&mut breaker, 100), Pass::Trips);
        assert_eq!(at(&mut breaker, 200), Pass::Cut);
        assert_eq!(
            breaker.pass(&name(2), Tick(200)),
            Pass::Goes,
            "only that one"
        );
        breaker.told("/dev/pts/1", 77);
        let text = serde_json::to_string(&breaker).unwrap();
        let mut again: Breaker = serde_json::from_str(&text).unwrap();
        assert!(again.is_cut(&name(1)), "a restart does not close it");
        assert!(!again.acknowledge(76) && again.acknowledge(77));
        assert_eq!(at(&mut again, 300), Pass::Goes);
        assert!(breaker.expire(Tick(100 + CUT_FOR - 1)).is_empty());
        assert_eq!(breaker.expire(Tick(100 + CUT_FOR)), [77]);
        assert_eq!(at(&mut breaker, 101 + CUT_FOR), Pass::Goes);
    }

    #[test]
    fn its_memory_is_bounded() {
        let mut breaker = Breaker::default();
        for n in 0..3_000 {
            breaker.pass(&name(n), Tick(n as i64));
        }
        assert_eq!(breaker.len(), MOST);
        breaker.expire(Tick(1_000_000));
        assert_eq!(breaker.len(), 0);
    }

    proptest! {
        #[test]
        fn no_window_has_more_than_the_ceiling(gaps in proptest::collection::vec(0i64..20_000, 1..500)) {
            let mut breaker = Breaker::default();
            let (mut now, mut went) = (0, Vec::new());
            for gap in gaps {
                now += gap;
                breaker.expire(Tick(now));
                if breaker.pass(&name(1), Tick(now)) == Pass::Goes {
                    went.push(now);
                }
            }
            for (at, first) in went.iter().enumerate() {
                let within = went[at..].iter().take_while(|t| **t - first <= WINDOW).count();
                prop_assert!(within <= CEILING);
            }
        }
    }
}
