//! Diagnostics of the process: one line each, by component, to logs/orch.out. Never the journal's business.

use std::io::{IsTerminal, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::outfile::Outfile;
use crate::paths::Root;

/// Who writes diagnostics: the targets `orch::NAME`, as `orch logs NAME` takes them.
pub const COMPONENTS: &[&str] = &[
    "api", "app", "bus", "config", "delivery", "journal", "roster", "spool", "state", "tmux",
];

/// Writes to the file, and to stderr when a person looks at it.
#[derive(Debug)]
struct Output {
    file: Outfile,
    terminal: bool,
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

struct Line<'a>(&'a Output);

impl Write for Line<'_> {
    /// Is given a whole line at once.
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        if self.0.terminal {
            let _ = std::io::stderr().write_all(line);
        }
        self.0.file.append(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Starts diagnostics for a run: from `level` up, in files of `megabytes` MiB at most.
///
/// # Errors
/// The file cannot be opened.
pub fn init(root: &Root, level: &str, megabytes: u32) -> std::io::Result<()> {
    let limit = u64::from(megabytes) << 20;
    let output = Output {
        file: Outfile::open(root.diagnostics(), root.earlier_diagnostics(), limit)?,
        terminal: std::io::stderr().is_terminal(),
    };
    let level = level.to_ascii_lowercase();
    let filter =
        EnvFilter::try_new(format!("warn,orch={level}")).unwrap_or_else(|_| EnvFilter::new("info"));
    // A second call in one process keeps the first: tests run several orchestrators.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_target(true)
        .with_writer(output)
        .try_init();
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn targets(directory: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                targets(&path, found);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let begin = concat!("target: \"", "orch::");
            for (at, _) in text.match_indices(begin) {
                let rest = &text[at + begin.len()..];
                found.insert(rest.split('"').next().unwrap().to_owned());
            }
        }
    }

    #[test]
    fn the_list_is_of_those_who_write() {
        let mut found = BTreeSet::new();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        targets(&source, &mut found);
        let listed: BTreeSet<String> = COMPONENTS.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(found, listed, "COMPONENTS names every target in src");
    }
}
