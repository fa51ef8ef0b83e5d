//! What a person does not want to be told for a while: filters over events, each with its end. Pure; knows neither
//! lanes nor the board, only what a filter covers.

use globset::{Glob, GlobMatcher};
use serde::{Deserialize, Serialize};

use super::lane::Tick;
use crate::event::{Event, Severity, kind};
use crate::tmux::id::PaneId;

/// The longest mute, in milliseconds: 30 days.
pub const LONGEST_MUTE: i64 = 30 * 24 * 60 * 60_000;
/// Mutes at once.
const MOST: usize = 100;
/// Longest pattern, in characters.
const MAX_PATTERN: usize = 256;
const KEYS: [&str; 4] = ["type", "session", "pane", "source"];
const FORMS: &str = "type=GLOB session=GLOB pane=%N source=GLOB, in any combination";

/// A mute that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadMute(String);

fn bad<T>(text: String) -> Result<T, BadMute> {
    Err(BadMute(text))
}

/// What a mute covers: an event must match every term that is given.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Filter {
    kind: Option<Pattern>,
    session: Option<Pattern>,
    pane: Option<PaneId>,
    source: Option<Pattern>,
}

#[derive(Debug, Clone)]
struct Pattern {
    text: String,
    glob: GlobMatcher,
}

impl Pattern {
    fn parse(key: &str, text: &str) -> Result<Self, BadMute> {
        if text.is_empty() || text.chars().count() > MAX_PATTERN {
            return bad(format!(
                "{key}= needs a pattern of 1 to {MAX_PATTERN} characters, such as {key}=agent_*"
            ));
        }
        if text.contains(char::is_control) {
            return bad(format!("{key}={text:?} has control characters: use ?"));
        }
        match Glob::new(text) {
            Ok(glob) => Ok(Self {
                text: text.to_owned(),
                glob: glob.compile_matcher(),
            }),
            Err(error) => bad(format!("{key}={text} is no glob: {error}")),
        }
    }

    fn covers(&self, text: &str) -> bool {
        self.glob.is_match(text)
    }
}

/// What an event or an open condition shows a filter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) kind: &'a str,
    pub(crate) session: Option<&'a str>,
    pub(crate) pane: Option<PaneId>,
    pub(crate) source: &'a str,
}

impl<'a> Subject<'a> {
    pub(crate) fn of(event: &'a Event) -> Self {
        Self {
            kind: &event.kind,
            session: event.session.as_deref(),
            pane: event.pane,
            source: &event.source,
        }
    }
}

impl Filter {
    /// Reads terms, each `KEY=PATTERN`; one text may hold several.
    ///
    /// # Errors
    /// [`BadMute`] names the term and what would do.
    pub fn parse<S: AsRef<str>>(terms: &[S]) -> Result<Self, BadMute> {
        let mut filter = Self {
            kind: None,
            session: None,
            pane: None,
            source: None,
        };
        let mut given: Vec<&str> = Vec::new();
        for term in terms.iter().flat_map(|term| split(term.as_ref())) {
            let Some((key, value)) = term.split_once('=') else {
                return bad(format!("{term:?} is no filter: use {FORMS}"));
            };
            if given.contains(&key) {
                return bad(format!("{key} is given twice: keep one"));
            }
            match key {
                "type" => filter.kind = Some(Pattern::parse(key, value)?),
                "session" => filter.session = Some(Pattern::parse(key, value)?),
                "source" => filter.source = Some(Pattern::parse(key, value)?),
                "pane" => match value.parse() {
                    Ok(pane) => filter.pane = Some(pane),
                    Err(_) => return bad(format!("pane={value} is no pane: use pane=%N")),
                },
                _ => return bad(format!("{key:?} in {term:?} is no key: use {FORMS}")),
            }
            given.push(key);
        }
        if given.is_empty() {
            return bad(format!("a mute says what it covers: use {FORMS}"));
        }
        Ok(filter)
    }

    /// The terms, in an order of their own.
    pub fn terms(&self) -> Vec<String> {
        let text = |pattern: &Option<Pattern>| pattern.as_ref().map(|p| p.text.clone());
        let values = [
            text(&self.kind),
            text(&self.session),
            self.pane.map(|pane| pane.to_string()),
            text(&self.source),
        ];
        KEYS.iter()
            .zip(values)
            .filter_map(|(key, value)| Some(format!("{key}={}", value?)))
            .collect()
    }

    /// What orch says of itself as critical is covered by its exact name alone: a glob that is meant for agents must
    /// not silence that nothing works any more.
    pub(crate) fn covers(&self, subject: Subject<'_>) -> bool {
        let own = kind::find(subject.kind)
            .is_some_and(|k| k.reserved && k.severity == Severity::Critical);
        let kind = self.kind.as_ref();
        let session = self.session.as_ref();
        kind.map_or(!own, |p| {
            p.text == subject.kind || !own && p.covers(subject.kind)
        }) && session.is_none_or(|p| subject.session.is_some_and(|name| p.covers(name)))
            && self.pane.is_none_or(|pane| subject.pane == Some(pane))
            && self
                .source
                .as_ref()
                .is_none_or(|p| p.covers(subject.source))
    }
}

/// Several terms in one text, as a shell hands over what stands in quotes; a pattern itself may hold spaces.
fn split(text: &str) -> Vec<&str> {
    let text = text.trim();
    let begins = |rest: &str| {
        let key = rest.split_once('=').map(|(key, _)| key);
        key.is_some_and(|key| KEYS.contains(&key))
    };
    let mut cuts: Vec<usize> = text
        .match_indices(' ')
        .map(|(at, _)| at)
        .filter(|at| begins(&text[at + 1..]))
        .collect();
    cuts.push(text.len());
    let mut from = 0;
    let mut terms = Vec::new();
    for cut in cuts {
        terms.push(text[from..cut].trim());
        from = cut;
    }
    terms.retain(|term| !term.is_empty());
    terms
}

impl std::fmt::Display for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.terms().join(" "))
    }
}

impl TryFrom<Vec<String>> for Filter {
    type Error = BadMute;
    fn try_from(terms: Vec<String>) -> Result<Self, BadMute> {
        Self::parse(&terms)
    }
}

impl From<Filter> for Vec<String> {
    fn from(filter: Filter) -> Self {
        filter.terms()
    }
}

/// One mute.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Mute {
    /// For `unmute`.
    pub id: u64,
    /// What it covers.
    pub filter: Filter,
    /// Since when.
    pub since: Tick,
    /// Until when.
    pub until: Tick,
    /// Events that it kept from a person.
    pub held: u64,
}

/// Which mutes are meant.
#[derive(Debug, Clone)]
pub enum Which {
    /// Every one.
    All,
    /// The one of this number.
    Id(u64),
    /// The one with this filter.
    Filter(Box<Filter>),
}

impl Which {
    /// A number, or the terms of a filter.
    ///
    /// # Errors
    /// [`BadMute`] when it is neither.
    pub fn parse<S: AsRef<str>>(words: &[S]) -> Result<Self, BadMute> {
        match words {
            [word] if word.as_ref().parse::<u64>().is_ok() => {
                Ok(Self::Id(word.as_ref().parse().unwrap_or_default()))
            }
            words => Ok(Self::Filter(Box::new(Filter::parse(words)?))),
        }
    }

    fn is(&self, mute: &Mute) -> bool {
        match self {
            Self::All => true,
            Self::Id(id) => mute.id == *id,
            Self::Filter(filter) => mute.filter.terms() == filter.terms(),
        }
    }
}

/// All mutes that hold.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Mutes {
    last: u64,
    list: Vec<Mute>,
}

impl Mutes {
    /// Begins a mute; one with the same filter gets the new end instead.
    pub(crate) fn begin(
        &mut self,
        filter: Filter,
        milliseconds: i64,
        now: Tick,
    ) -> Result<Mute, BadMute> {
        if !(1..=LONGEST_MUTE).contains(&milliseconds) {
            return bad("a mute lasts 30 days at most: use --for 8h, 3d, …".to_owned());
        }
        let until = now.plus(milliseconds);
        let same = Which::Filter(Box::new(filter.clone()));
        if let Some(mute) = self.list.iter_mut().find(|mute| same.is(mute)) {
            mute.until = until;
            return Ok(mute.clone());
        }
        if self.list.len() >= MOST {
            return bad(format!(
                "{MOST} mutes hold already: end some with `orch unmute`"
            ));
        }
        self.last += 1;
        let mute = Mute {
            id: self.last,
            filter,
            since: now,
            until,
            held: 0,
        };
        self.list.push(mute.clone());
        Ok(mute)
    }

    /// Ends those that are meant.
    pub(crate) fn end(&mut self, which: &Which) -> Vec<Mute> {
        self.list.extract_if(.., |mute| which.is(mute)).collect()
    }

    /// Ends those whose time has come.
    pub(crate) fn expire(&mut self, now: Tick) -> Vec<Mute> {
        self.list.extract_if(.., |mute| mute.until <= now).collect()
    }

    /// The mute that covers it, of several the one that lasts longest.
    pub(crate) fn cover(&self, subject: Subject<'_>) -> Option<&Mute> {
        let covering = self.list.iter().filter(|mute| mute.filter.covers(subject));
        covering.max_by_key(|mute| mute.until)
    }

    /// One more event that this mute kept from a person.
    pub(crate) fn count(&mut self, id: u64) {
        if let Some(mute) = self.list.iter_mut().find(|mute| mute.id == id) {
            mute.held += 1;
        }
    }

    /// All, the oldest first.
    pub(crate) fn list(&self) -> &[Mute] {
        &self.list
    }

    /// A clock that went back while nothing ran lengthens no mute.
    pub(crate) fn clamp(&mut self, now: Tick) {
        for mute in &mut self.list {
            let ahead = mute.since.since(now);
            mute.since = mute.since.plus(-ahead);
            mute.until = mute.until.plus(-ahead);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(terms: &str, kind: &str, session: Option<&str>, pane: u32, source: &str) -> bool {
        let subject = Subject {
            kind,
            session,
            pane: Some(PaneId(pane)),
            source,
        };
        Filter::parse(&[terms]).unwrap().covers(subject)
    }

    #[test]
    fn every_term_must_match() {
        let at = |terms| covers(terms, "agent_blocked", Some("al pha"), 3, "dev-1");
        for terms in [
            "type=agent_*",
            "type=agent_blocked pane=%3",
            "source=dev-?",
            "session=al pha type=*",
            "session=al* source={dev,ops}-1 pane=%3",
        ] {
            assert!(at(terms), "{terms}");
        }
        for terms in [
            "type=agent_exited",
            "type=agent_* pane=%4",
            "source=dev",
            "session=alpha",
        ] {
            assert!(!at(terms), "{terms}");
        }
        assert!(!covers("session=*", "bell", None, 3, "health"));
    }

    #[test]
    fn what_orch_says_of_itself_is_muted_by_its_name_alone() {
        for kind in [
            "tmux_lost",
            "disk_full",
            "breaker_open",
            "component_parked",
            "loop_broken",
        ] {
            for terms in ["type=*", "source=*", "pane=%3", "type=[a-z]*"] {
                assert!(!covers(terms, kind, None, 3, "delivery"), "{kind} {terms}");
            }
            assert!(covers(&format!("type={kind}"), kind, None, 3, "delivery"));
        }
    }

    #[test]
    fn refused_forms() {
        for (terms, why) in [
            (&["*"][..], "is no filter"),
            (&[], "says what it covers"),
            (&[" "], "says what it covers"),
            (&["typ=x"], "is no key"),
            (&["type="], "1 to 256"),
            (&["type=a", "type=b"], "given twice"),
            (&["type=[a"], "no glob"),
            (&["source=a\u{1b}c"], "control characters"),
            (&["pane=3"], "use pane=%N"),
        ] {
            let error = Filter::parse(terms).unwrap_err().to_string();
            assert!(error.contains(why), "{terms:?}: {error}");
        }
        let mut mutes = Mutes::default();
        let filter = || Filter::parse(&["type=a"]).unwrap();
        for span in [0, -1, LONGEST_MUTE + 1] {
            assert!(mutes.begin(filter(), span, Tick(0)).is_err());
        }
        for n in 0..MOST {
            let filter = Filter::parse(&[format!("type=a{n}")]).unwrap();
            mutes.begin(filter, 1, Tick(0)).unwrap();
        }
        assert!(mutes.begin(filter(), 1, Tick(0)).is_err());
    }

    #[test]
    fn begin_again_end_and_expire() {
        let mut mutes = Mutes::default();
        let filter = |text| Filter::parse(&[text]).unwrap();
        let first = mutes
            .begin(filter("type=a source=b"), 100, Tick(0))
            .unwrap();
        let again = mutes
            .begin(filter("source=b type=a"), 500, Tick(50))
            .unwrap();
        assert_eq!((first.id, again.id, again.until), (1, 1, Tick(550)));
        mutes.begin(filter("type=c"), 100, Tick(50)).unwrap();
        assert_eq!(mutes.expire(Tick(149)).len(), 0);
        assert_eq!(mutes.expire(Tick(150))[0].id, 2);
        assert!(mutes.end(&Which::parse(&["2"]).unwrap()).is_empty());
        assert_eq!(
            mutes
                .end(&Which::parse(&["type=a source=b"]).unwrap())
                .len(),
            1
        );
        mutes.begin(filter("type=c"), 100, Tick(1_000)).unwrap();
        mutes.clamp(Tick(400));
        assert_eq!(
            mutes.list()[0].until,
            Tick(500),
            "no longer than it was meant"
        );
        let text = serde_json::to_string(&mutes).unwrap();
        let back: Mutes = serde_json::from_str(&text).unwrap();
        assert_eq!(back.list()[0].filter.to_string(), "type=c");
    }
}
