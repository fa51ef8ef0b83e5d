//! How mistakes are put into words, with text of the file made safe to show; and keys that are given twice. Knows no
//! key by itself.

use std::collections::HashMap;

use super::note::Note;
use super::tree::{Entry, Node, Value};

/// Every key that is given twice, at any depth, also where nothing reads.
pub(super) fn duplicates(node: &Node, path: &str, mistakes: &mut Vec<Note>) {
    match &node.value {
        Value::Scalar { .. } => {}
        Value::List(items) => {
            for item in items {
                duplicates(item, path, mistakes);
            }
        }
        Value::Mapping(entries) => {
            let mut first = HashMap::new();
            for Entry { key, line, node } in entries {
                let path = joined(path, key);
                if let Some(before) = first.insert(key, line) {
                    let text = format!("given twice, before in line {before}; keep one");
                    mistakes.push(Note::new(*line, path.as_str(), text));
                }
                duplicates(node, &path, mistakes);
            }
        }
    }
}

/// What is said about a key that is none of `names`.
pub(super) fn unknown(key: &str, names: &[&'static str]) -> String {
    if key == "<<" {
        return "merge keys are not read; write the keys out".to_owned();
    }
    let key = short(key);
    let near = names
        .iter()
        .map(|name| (name, 1 + name.len() / 4))
        // The difference in length is the least distance; most names need no more than that.
        .filter(|(name, limit)| name.len().abs_diff(key.len()) <= *limit)
        .map(|(name, limit)| (strsim::damerau_levenshtein(&key, name), limit, name))
        .filter(|(distance, limit, _)| distance <= limit)
        .min_by_key(|(distance, ..)| *distance);
    match near {
        Some((.., name)) => format!("unknown key; did you mean {name}?"),
        None => format!("unknown key; use one of {}", names.join(", ")),
    }
}

/// A value as it is named in a message.
pub(super) fn found(node: &Node) -> String {
    match &node.value {
        Value::List(_) => "a list".to_owned(),
        Value::Mapping(_) => "a mapping".to_owned(),
        _ if node.is_nothing() => "nothing".to_owned(),
        Value::Scalar { text, plain: true }
            if node.integer().is_some() || node.boolean().is_some() =>
        {
            short(text)
        }
        Value::Scalar { text, .. } => format!("\"{}\"", short(text)),
    }
}

/// The path of a key below a path.
pub(super) fn joined(path: &str, key: &str) -> String {
    let key = short(key);
    if path.is_empty() {
        key
    } else {
        format!("{path}.{key}")
    }
}

/// Text of the file, safe to show: escaped, and cut after 60 characters.
fn short(text: &str) -> String {
    let mut chars = text.chars();
    let mut shown: String = chars
        .by_ref()
        .take(60)
        .flat_map(char::escape_debug)
        .collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}
