//! Keeps what is emitted while no orchestrator runs: one file of JSON lines, synced before it is acknowledged,
//! taken in at the next start in the order it came. Knows nothing of events beyond their lines.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::event::Emission;

const OPEN: &str = "emitted.jsonl";
const TAKEN: &str = "taken.jsonl";

/// Appends emissions and syncs.
///
/// # Errors
/// The directory or file cannot be written; nothing of it counts as kept then.
pub fn keep(directory: &Path, emissions: &[Emission]) -> std::io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let mut bytes = Vec::new();
    for emission in emissions {
        serde_json::to_writer(&mut bytes, emission)?;
        bytes.push(b'\n');
    }
    loop {
        let path = directory.join(OPEN);
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)?;
        file.lock()?;
        // A start may have taken the file between opening and locking it.
        if !is_still(&path, &file) {
            continue;
        }
        file.write_all(&bytes)?;
        return file.sync_data();
    }
}

/// What was kept, oldest first, and what could not be read of it. Call [`forget`] once it is safe elsewhere;
/// until then it is found again.
///
/// # Errors
/// The spool cannot be read or moved.
pub fn take(directory: &Path) -> std::io::Result<(Vec<Emission>, Vec<String>)> {
    let (open, taken) = (directory.join(OPEN), directory.join(TAKEN));
    // Left over from a start that did not get to the end comes first, alone.
    if !taken.exists() {
        match File::options().read(true).write(true).open(&open) {
            Ok(file) => {
                file.lock()?;
                std::fs::rename(&open, &taken)?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok((Vec::new(), Vec::new()));
            }
            Err(error) => return Err(error),
        }
    }
    let (mut emissions, mut damaged) = (Vec::new(), Vec::new());
    for line in BufReader::new(File::open(&taken)?).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        match Emission::parse(&line) {
            _ if line.is_empty() => {}
            Ok(emission) => emissions.push(emission),
            Err(error) => damaged.push(error),
        }
    }
    Ok((emissions, damaged))
}

/// Removes what was taken. Damaged lines are kept beside it for a person to look at.
///
/// # Errors
/// The file cannot be removed.
pub fn forget(directory: &Path, damaged: bool) -> std::io::Result<()> {
    let taken = directory.join(TAKEN);
    if damaged {
        let aside: PathBuf = directory.join(format!("damaged-{}.jsonl", std::process::id()));
        return std::fs::rename(taken, aside);
    }
    match std::fs::remove_file(taken) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn is_still(path: &Path, file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (std::fs::metadata(path), file.metadata()) {
        (Ok(named), Ok(open)) => (named.dev(), named.ino()) == (open.dev(), open.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn emission(message: &str) -> Emission {
        Emission::parse(&format!(r#"{{"type":"x","message":"{message}"}}"#)).unwrap()
    }

    #[test]
    fn kept_in_order_until_it_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let spool = directory.path().join("spool");
        assert_eq!(take(&spool).unwrap().0, []);
        keep(&spool, &[emission("a"), emission("b")]).unwrap();
        keep(&spool, &[emission("c")]).unwrap();
        let all = vec![emission("a"), emission("b"), emission("c")];
        assert_eq!(take(&spool).unwrap().0, all);
        keep(&spool, &[emission("d")]).unwrap();
        assert_eq!(
            take(&spool).unwrap().0,
            all,
            "a start that died finds it again"
        );
        forget(&spool, false).unwrap();
        assert_eq!(take(&spool).unwrap().0, [emission("d")]);
    }

    #[test]
    fn a_damaged_line_costs_no_other() {
        let directory = tempfile::tempdir().unwrap();
        keep(directory.path(), &[emission("a")]).unwrap();
        let mut file = OpenOptions::new()
            .append(true)
            .open(directory.path().join(OPEN))
            .unwrap();
        file.write_all(b"{\"type\":\"x\"\n").unwrap();
        keep(directory.path(), &[emission("b")]).unwrap();
        let (emissions, damaged) = take(directory.path()).unwrap();
        assert_eq!((emissions.len(), damaged.len()), (2, 1));
        forget(directory.path(), true).unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
