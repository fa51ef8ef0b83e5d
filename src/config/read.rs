//! Typed reading of one mapping: each key is asked for by name, type and range; mistakes are collected, and what
//! nobody asked for is unknown. Knows no key by itself.

use std::ops::RangeInclusive;

use super::note::Note;
use super::tree::{Entry, Node, Value};
use super::wording::{duplicates, found, joined, unknown};

/// What there is to say so far.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) mistakes: Vec<Note>,
    pub(super) warnings: Vec<Note>,
}

/// One mapping of the file while it is read. An absent or empty one reads as its defaults.
pub(super) struct Section<'t> {
    path: String,
    entries: &'t [Entry],
    asked: Vec<&'static str>,
    notes: Notes,
}

/// A key that is accepted and checked, but that nothing reads.
pub(super) struct Unread {
    pub(super) key: &'static str,
    pub(super) shape: Shape,
    /// What is so, whatever the value says.
    pub(super) holds: &'static str,
}

/// What an unread value may be, and its default.
pub(super) enum Shape {
    Boolean(bool),
    Integer(i64, RangeInclusive<i64>, &'static str),
    Text(&'static str),
    OneOf(&'static str, &'static [&'static str]),
    Texts(&'static [&'static str]),
}

/// Reads a whole document with `read`; what is said about it comes beside the result, unsorted.
pub(super) fn document<T>(node: &Node, read: impl FnOnce(&mut Section<'_>) -> T) -> (T, Notes) {
    let mut notes = Notes::default();
    duplicates(node, "", &mut notes.mistakes);
    let mut root = Section::new(String::new(), node, node.line, notes);
    let result = read(&mut root);
    (result, root.finish())
}

impl<'t> Section<'t> {
    fn new(path: String, node: &'t Node, line: usize, notes: Notes) -> Self {
        let mut section = Self {
            path,
            entries: &[],
            asked: Vec::new(),
            notes,
        };
        match &node.value {
            Value::Mapping(entries) => section.entries = entries,
            _ if node.is_nothing() => {}
            _ => {
                let path = section.path.clone();
                section.wrong(line, path, node, "a mapping (lines of key: value)");
            }
        }
        section
    }

    /// Reads the mapping under `key`.
    pub(super) fn section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'t>) -> T,
    ) -> T {
        let mut inner = match self.ask(key) {
            Some(Entry { node, line, .. }) => Section::new(
                self.path_of(key),
                node,
                *line,
                std::mem::take(&mut self.notes),
            ),
            None => Section {
                path: self.path_of(key),
                entries: &[],
                asked: Vec::new(),
                notes: std::mem::take(&mut self.notes),
            },
        };
        let result = read(&mut inner);
        self.notes = inner.finish();
        result
    }

    /// True or false.
    pub(super) fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        self.value(key, "true or false", Node::boolean)
            .unwrap_or(default)
    }

    /// A whole number of `unit`.
    pub(super) fn integer(
        &mut self,
        key: &'static str,
        default: i64,
        range: &RangeInclusive<i64>,
        unit: &str,
    ) -> i64 {
        let allowed = format!(
            "a whole number of {unit} from {} to {}",
            range.start(),
            range.end()
        );
        self.value(key, &allowed, |node| {
            node.integer().filter(|number| range.contains(number))
        })
        .unwrap_or(default)
    }

    /// One of some names, told apart by case or not.
    pub(super) fn one_of(
        &mut self,
        key: &'static str,
        default: &'static str,
        names: &'static [&'static str],
        same: fn(&str, &str) -> bool,
    ) -> &'static str {
        self.value(key, &format!("one of {}", names.join(", ")), |node| {
            let text = node.text()?;
            names.iter().copied().find(|name| same(name, text))
        })
        .unwrap_or(default)
    }

    /// What `read` makes of the value; `allowed` says what that can be. None when it is absent or wrong.
    pub(super) fn value<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        read: impl FnOnce(&'t Node) -> Option<T>,
    ) -> Option<T> {
        let Entry { node, line, .. } = self.ask(key)?;
        let value = read(node);
        if value.is_none() {
            self.wrong(*line, self.path_of(key), node, allowed);
        }
        value
    }

    /// A list of what `read` makes of each item. None when the list is absent or not a list; wrong items are left out.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        read: impl Fn(&'t Node) -> Option<T>,
    ) -> Option<Vec<T>> {
        let items = self.value(key, &format!("a list of {allowed}"), |node| {
            match &node.value {
                Value::List(items) => Some(items),
                _ => None,
            }
        })?;
        let mut values = Vec::new();
        for item in items {
            match read(item) {
                Some(value) => values.push(value),
                None => self.wrong(item.line, self.path_of(key), item, allowed),
            }
        }
        Some(values)
    }

    /// The entries of this mapping whose keys are names of the user's own; nothing is unknown then.
    pub(super) fn own_names(&mut self) -> &'t [Entry] {
        std::mem::take(&mut self.entries)
    }

    /// Checks keys that nothing reads, and warns of each whose value is not its default.
    pub(super) fn unread(&mut self, keys: &[Unread]) {
        for Unread { key, shape, holds } in keys {
            let differs = match shape {
                Shape::Boolean(default) => self.boolean(key, *default) != *default,
                Shape::Integer(default, range, unit) => {
                    self.integer(key, *default, range, unit) != *default
                }
                Shape::Text(default) => self
                    .value(key, "a text of one line", Node::text)
                    .is_some_and(|text| text != *default),
                Shape::OneOf(default, names) => {
                    self.one_of(key, default, names, str::eq) != *default
                }
                Shape::Texts(default) => self
                    .list(key, "texts of one line", Node::text)
                    .is_some_and(|texts| texts != *default),
            };
            if differs {
                self.warn(key, format!("has no effect: {holds}"));
            }
        }
    }

    /// Accepts a key that a later version reads, whatever its value.
    pub(super) fn later(&mut self, key: &'static str) {
        if self.ask(key).is_some() {
            self.warn(key, "not read by this version".to_owned());
        }
    }

    /// A mistake about a value, in the words that all of them share.
    pub(super) fn wrong(&mut self, line: usize, path: String, node: &Node, allowed: &str) {
        let text = format!("{} is not allowed; use {allowed}", found(node));
        self.mistake(line, path, text);
    }

    /// A mistake.
    pub(super) fn mistake(&mut self, line: usize, path: String, text: String) {
        self.notes.mistakes.push(Note::new(line, path, text));
    }

    /// The configuration path of a key in this section.
    pub(super) fn path_of(&self, key: &str) -> String {
        joined(&self.path, key)
    }

    fn warn(&mut self, key: &'static str, text: String) {
        if let Some(Entry { line, .. }) = self.entries.iter().find(|entry| entry.key == key) {
            self.notes
                .warnings
                .push(Note::new(*line, self.path_of(key), text));
        }
    }

    fn ask(&mut self, key: &'static str) -> Option<&'t Entry> {
        self.asked.push(key);
        self.entries.iter().find(|entry| entry.key == key)
    }

    fn finish(mut self) -> Notes {
        for Entry { key, line, .. } in self.entries {
            if !self.asked.contains(&key.as_str()) {
                let text = unknown(key, &self.asked);
                self.mistake(*line, self.path_of(key), text);
            }
        }
        self.notes
    }
}
