//! `orch logs`: the diagnostics of the process, by component, over the turn of their file.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::whereabouts::Whereabouts;
use super::{Done, Failure, terminal};
use crate::cli::{Global, Logs};

/// How often it is looked for more.
const LOOK: Duration = Duration::from_millis(200);

pub(super) fn logs(global: &Global, args: Logs) -> Done {
    let root = Whereabouts::find(global)?.root(global)?;
    let cannot = |what: &str, path: &Path, e: std::io::Error| {
        Failure::new(format!("cannot {what} {}: {e}", path.display()))
    };
    let path = root.diagnostics();
    let mut log = Log::open(path.clone()).map_err(|e| {
        let nothing = if e.kind() == std::io::ErrorKind::NotFound {
            "; nothing has run with this root"
        } else {
            ""
        };
        Failure::new(format!("cannot read {}: {e}{nothing}", path.display()))
    })?;
    let wanted = |line: &str| {
        let component = args.component.as_deref();
        component.is_none_or(|name| is_of(line, name))
    };
    let mut last = last(&mut log, args.lines, wanted).map_err(|e| cannot("read", &path, e))?;
    if last.len() < args.lines {
        let earlier = root.earlier_diagnostics();
        let before = match Log::open(earlier.clone()) {
            // It was turned over since it was opened: that one has been read.
            Ok(before) if before.is(&log.reader) => Ok(VecDeque::new()),
            Ok(mut before) => self::last(&mut before, args.lines - last.len(), wanted),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(VecDeque::new()),
            Err(e) => Err(e),
        };
        let mut before = before.map_err(|e| cannot("read", &earlier, e))?;
        before.append(&mut last);
        last = before;
    }
    let mut out = std::io::stdout().lock();
    for line in &last {
        if writeln!(out, "{line}").is_err() {
            return Ok(0);
        }
    }
    if !args.follow {
        return Ok(0);
    }
    loop {
        let more = log.next().map_err(|e| cannot("read", &path, e))?;
        match more {
            Some(line) if !wanted(&line) => {}
            Some(line) => {
                if writeln!(out, "{line}").is_err() || out.flush().is_err() {
                    return Ok(0);
                }
            }
            None if log.turn().map_err(|e| cannot("read", &path, e))? => {}
            None => std::thread::sleep(LOOK),
        }
    }
}

/// The last lines of those that are wanted.
fn last(
    log: &mut Log,
    n: usize,
    wanted: impl Fn(&str) -> bool,
) -> std::io::Result<VecDeque<String>> {
    let mut last = VecDeque::new();
    while let Some(line) = log.next()? {
        if wanted(&line) {
            last.push_back(line);
            if last.len() > n {
                last.pop_front();
            }
        }
    }
    Ok(last)
}

/// A file that grows, is cut, or is replaced by the next one.
struct Log {
    path: PathBuf,
    reader: BufReader<File>,
    /// A line that is still being written.
    begun: Vec<u8>,
    /// Another file has this name now; what was last written to the one that is open has been read.
    replaced: bool,
}

impl Log {
    fn open(path: PathBuf) -> std::io::Result<Self> {
        let reader = BufReader::new(File::open(&path)?);
        Ok(Self {
            path,
            reader,
            begun: Vec::new(),
            replaced: false,
        })
    }

    /// The next whole line; `None` at the end.
    fn next(&mut self) -> std::io::Result<Option<String>> {
        self.reader.read_until(b'\n', &mut self.begun)?;
        if self.begun.last() != Some(&b'\n') {
            return Ok(None);
        }
        let line = terminal::safe(&String::from_utf8_lossy(&self.begun));
        self.begun.clear();
        Ok(Some(line))
    }

    /// At the end: whether there is more to read, since the file has been cut or replaced.
    fn turn(&mut self) -> std::io::Result<bool> {
        let Ok(there) = std::fs::metadata(&self.path) else {
            return Ok(false);
        };
        let open = self.reader.get_ref().metadata()?;
        if (there.dev(), there.ino()) != (open.dev(), open.ino()) {
            // Something may have been written between the last look and the turn: it is read to its end once more.
            if std::mem::replace(&mut self.replaced, true) {
                *self = Self::open(self.path.clone())?;
            }
            return Ok(true);
        }
        if open.len() < self.reader.stream_position()? {
            self.reader.rewind()?;
            self.begun.clear();
            return Ok(true);
        }
        Ok(false)
    }

    fn is(&self, other: &BufReader<File>) -> bool {
        let id = |reader: &BufReader<File>| {
            let found = reader.get_ref().metadata().ok()?;
            Some((found.dev(), found.ino()))
        };
        id(&self.reader) == id(other)
    }
}

/// `2026-… LEVEL orch::NAME: text`
fn is_of(line: &str, component: &str) -> bool {
    line.split_whitespace()
        .nth(2)
        .and_then(|target| target.strip_prefix("orch::"))
        .is_some_and(|target| target.trim_end_matches(':') == component)
}

/// The last lines of a log, for an error message.
pub(super) fn last_lines(path: &Path, n: usize) -> Vec<String> {
    let read = Log::open(path.to_owned()).and_then(|mut log| last(&mut log, n, |_| true));
    read.unwrap_or_default().into()
}
