//! Diagnostics of the process: one line each, by component, to logs/orch.out. Never the journal's business.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::paths::Root;

/// Writes to the file, and to stderr when a person looks at it.
#[derive(Debug)]
struct Output {
    file: Option<File>,
    stderr: bool,
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

struct Line<'a>(&'a Output);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.stderr {
            let _ = std::io::stderr().write_all(bytes);
        }
        if let Some(mut file) = self.0.file.as_ref() {
            let _ = file.write_all(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Starts diagnostics for a run. With `detached` stderr already is the file.
///
/// # Errors
/// The file cannot be opened.
pub fn init(root: &Root, level: &str, detached: bool) -> std::io::Result<()> {
    let file = if detached {
        None
    } else {
        Some(
            File::options()
                .append(true)
                .create(true)
                .mode(0o600)
                .open(root.diagnostics())?,
        )
    };
    let stderr = detached || std::io::stderr().is_terminal();
    let level = level.to_ascii_lowercase();
    let filter =
        EnvFilter::try_new(format!("warn,orch={level}")).unwrap_or_else(|_| EnvFilter::new("info"));
    // A second call in one process keeps the first: tests run several orchestrators.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_target(true)
        .with_writer(Output { file, stderr })
        .try_init();
    Ok(())
}
