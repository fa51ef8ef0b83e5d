//! Holds the code to the import table in `src/lib.rs`, and every file to its opening line.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The table, read from the documentation itself so that the two cannot drift.
fn table() -> BTreeMap<String, BTreeSet<String>> {
    let text = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let mut table = BTreeMap::new();
    for row in text.lines().filter_map(|line| line.strip_prefix("//! | [")) {
        let cells: Vec<&str> = row.split('|').collect();
        let names = quoted(&format!("[{}", cells[0]));
        let allowed: BTreeSet<String> = match cells[2].trim() {
            // The composition root and the command line see everything that stands above them.
            "everything above" => table.keys().cloned().collect(),
            free if free.starts_with("anything") => ["*".to_owned()].into(),
            cell => quoted(cell).into_iter().collect(),
        };
        for name in names {
            table.insert(name, allowed.clone());
        }
    }
    table
}

fn quoted(cell: &str) -> Vec<String> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("target") {
            // What the fuzz targets are built in.
        } else if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files
}

/// Modules named by `crate::NAME` in a text, also inside `use crate::{a, b::c}`.
fn imported(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        // `$crate::` and words that merely end so are no paths of ours.
        if text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &text[at + "crate::".len()..];
        let word = |text: &str| {
            text.chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect::<String>()
        };
        match rest.strip_prefix('{') {
            None => drop(names.insert(word(rest))),
            Some(list) => {
                let (mut depth, mut start) = (0, 0);
                for (at, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => {
                            names.insert(word(list[start..at].trim()));
                            break;
                        }
                        '}' => depth -= 1,
                        ',' if depth == 0 => {
                            names.insert(word(list[start..at].trim()));
                            start = at + 1;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    names.remove("");
    names
}

#[test]
fn modules_import_what_the_table_says() {
    let table = table();
    assert!(table.len() >= 15, "the table was not read: {table:?}");
    let source = root().join("src");
    for file in files(&source) {
        let relative = file.strip_prefix(&source).unwrap();
        let first = relative
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_str()
            .unwrap();
        let module = first.trim_end_matches(".rs");
        if matches!(module, "lib" | "main") {
            continue;
        }
        let allowed = table
            .get(module)
            .unwrap_or_else(|| panic!("{module} is not in the table of src/lib.rs"));
        let text = std::fs::read_to_string(&file).unwrap();
        // Tests may look anywhere.
        let code = text.split("#[cfg(test)]").next().unwrap();
        for name in imported(code) {
            let fine = name == module || allowed.contains("*") || allowed.contains(&name);
            assert!(
                fine,
                "{} imports {name}; the table allows {module}: {allowed:?}",
                relative.display()
            );
        }
    }
}

#[test]
fn nobody_imports_the_composition_root_or_the_commands() {
    for (module, allowed) in table() {
        assert!(
            !allowed.contains("app") && !allowed.contains("cmd"),
            "{module}"
        );
    }
}

#[test]
fn every_file_says_what_it_owns() {
    for directory in ["src", "tests", "benches"] {
        for file in files(&root().join(directory)) {
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(
                text.starts_with("//! "),
                "{} does not open with //!",
                file.display()
            );
        }
    }
}

#[test]
fn imports_are_found_in_every_form() {
    let text =
        "use crate::a::b; use crate::{c, d::{e, f}, g::h}; crate::i::j(); $crate::k; xcrate::l";
    let names: Vec<String> = imported(text).into_iter().collect();
    assert_eq!(names, ["a", "c", "d", "g", "i"]);
}
