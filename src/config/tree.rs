//! YAML text → a tree whose nodes know their lines. Scalars stay as written: what a value may be is for its reader
//! to say. Refuses what could blow up: depth, repeated copies, a second document.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::note::Note;

/// Collections inside each other; the configuration needs four.
const DEPTH_LIMIT: usize = 64;
/// Nodes that anchors and aliases may copy, together. Without it, a few lines of aliases to aliases fill the memory.
const COPY_LIMIT: usize = 10_000;

/// A value and its line.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) value: Value,
}

/// A value as written.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// `plain`: not in quotes, so that it may be a number, a boolean or nothing.
    Scalar { text: String, plain: bool },
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the file, with keys that are given twice.
    Mapping(Vec<Entry>),
}

/// A key with its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    /// The line of the key.
    pub(super) line: usize,
    pub(super) node: Node,
}

impl Node {
    fn new(line: usize, value: Value) -> Self {
        Self { line, value }
    }

    fn nothing() -> Self {
        let (text, plain) = (String::new(), true);
        Self::new(1, Value::Scalar { text, plain })
    }

    fn plain(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, plain: true } => Some(text),
            _ => None,
        }
    }

    /// Nothing is written here: an empty value, `~` or `null`.
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self.plain(), Some("" | "~" | "null" | "Null" | "NULL"))
    }

    /// True or false, in each of the spellings that the predecessor's YAML 1.1 reader took.
    pub(super) fn boolean(&self) -> Option<bool> {
        match self.plain()? {
            "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
            "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
            _ => None,
        }
    }

    /// A decimal whole number. `010` is none: it is 8 to YAML 1.1 and 10 to YAML 1.2.
    pub(super) fn integer(&self) -> Option<i64> {
        let text = self.plain()?;
        let digits = text.trim_start_matches(['+', '-']);
        let ambiguous = digits.len() > 1 && digits.starts_with('0');
        if ambiguous { None } else { text.parse().ok() }
    }

    /// A text of one line, not empty; quotes are not needed, not even around a number.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } if !self.is_nothing() => {
                let one_line =
                    !text.contains(|c: char| c.is_control() || "\u{2028}\u{2029}".contains(c));
                (one_line && !text.is_empty()).then_some(text)
            }
            _ => None,
        }
    }

    fn size(&self) -> usize {
        1 + match &self.value {
            Value::Scalar { .. } => 0,
            Value::List(items) => items.iter().map(Self::size).sum(),
            Value::Mapping(entries) => entries.iter().map(|entry| entry.node.size()).sum(),
        }
    }
}

/// Reads one document. An empty text is a node that holds nothing.
///
/// # Errors
/// The first thing that is not YAML, or not YAML of the kind that a configuration needs.
pub(super) fn parse(text: &str) -> Result<Node, Note> {
    // A byte order mark is no content; some editors write one.
    let mut parser = Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    let last_line = text.lines().count().max(1);
    let mut builder = Builder::default();
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| {
            let text = format!(
                "not YAML: {}; check the indentation and the quotes",
                error.info()
            );
            // What is missing at the end is reported in the line after it.
            Note::new(error.marker().line().min(last_line), "", text)
        })?;
        builder.take(event, span)?;
    }
    Ok(builder.root.unwrap_or_else(Node::nothing))
}

#[derive(Default)]
struct Builder {
    root: Option<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    copied: usize,
}

/// A collection whose end has not come yet.
struct Open {
    node: Node,
    anchor: usize,
    /// The key whose value comes next.
    key: Option<(String, usize)>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Note> {
        let line = span.start.line();
        let refuse = |text: &str| Err(Note::new(line, "", text));
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                return refuse("a second document begins here; keep one");
            }
            Event::Scalar(.., Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => {
                return refuse("YAML tags (!name) are not read; write the value without one");
            }
            Event::Scalar(text, style, anchor, None) => {
                let (text, plain) = (text.into_owned(), style == ScalarStyle::Plain);
                self.attach(Node::new(line, Value::Scalar { text, plain }), anchor)?;
            }
            Event::SequenceStart(..) | Event::MappingStart(..)
                if self.open.len() == DEPTH_LIMIT =>
            {
                return refuse("more than 64 collections inside each other");
            }
            Event::SequenceStart(anchor, None) => {
                self.open(Node::new(line, Value::List(vec![])), anchor);
            }
            Event::MappingStart(anchor, None) => {
                self.open(Node::new(line, Value::Mapping(vec![])), anchor);
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(Open { node, anchor, .. }) = self.open.pop() {
                    self.attach(node, anchor)?;
                }
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor).cloned() {
                Some(node) => {
                    self.count(&node)?;
                    self.attach(node, 0)?;
                }
                None => return refuse("an alias stands inside its own anchor"),
            },
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn open(&mut self, node: Node, anchor: usize) {
        let key = None;
        self.open.push(Open { node, anchor, key });
    }

    /// Puts a finished node where it belongs. Anchors are numbered from 1; 0 is none.
    fn attach(&mut self, node: Node, anchor: usize) -> Result<(), Note> {
        if anchor != 0 {
            self.count(&node)?;
            self.anchors.insert(anchor, node.clone());
        }
        let Some(Open {
            node: outer, key, ..
        }) = self.open.last_mut()
        else {
            self.root = Some(node);
            return Ok(());
        };
        match (&mut outer.value, key.take(), node) {
            (Value::List(items), _, node) => items.push(node),
            (Value::Mapping(entries), Some((key, line)), node) => {
                entries.push(Entry { key, line, node });
            }
            (
                _,
                _,
                Node {
                    line,
                    value: Value::Scalar { text, .. },
                },
            ) => *key = Some((text, line)),
            (_, _, Node { line, .. }) => {
                return Err(Note::new(
                    line,
                    "",
                    "a key must be a name, not a collection",
                ));
            }
        }
        Ok(())
    }

    fn count(&mut self, node: &Node) -> Result<(), Note> {
        self.copied += node.size();
        if self.copied > COPY_LIMIT {
            return Err(Note::new(
                node.line,
                "",
                "anchors and aliases repeat too much; write the values out",
            ));
        }
        Ok(())
    }
}
