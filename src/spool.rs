//! Keeps what is emitted while no orchestrator runs: one file of JSON lines, synced before it is acknowledged,
//! taken in at the next start in the order it came. Knows nothing of events beyond their lines.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::event::Emission;

const OPEN: &str = "emitted.jsonl";
const TAKEN: &str = "taken.jsonl";
const PROGRESS: &str = "taken.lines";

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
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)?;
        file.lock()?;
        // A start may have taken the file between opening and locking it.
        if !is_still(&path, &file) {
            continue;
        }
        let before = file.metadata()?.len();
        if before == 0 {
            // The name of a new file is as durable as what stands in it.
            File::open(directory)?.sync_all()?;
        } else if last_byte(&file, before)? != b'\n' {
            // Half a line of one that died: it costs no other.
            bytes.insert(0, b'\n');
        }
        let written = file.write_all(&bytes).and_then(|()| file.sync_data());
        if written.is_err() {
            let _ = file.set_len(before);
        }
        return written;
    }
}

fn last_byte(file: &File, length: u64) -> std::io::Result<u8> {
    let mut last = [0];
    std::os::unix::fs::FileExt::read_exact_at(file, &mut last, length - 1)?;
    Ok(last[0])
}

/// What was kept, by line.
#[derive(Debug, Default)]
pub struct Taken {
    /// Oldest first, each with the number of lines up to it.
    pub emissions: Vec<(u64, Emission)>,
    /// Why the others cannot be read.
    pub damaged: Vec<String>,
    /// A start that died had begun to take it: some of what is not known to be safe may be. None where that is not so;
    /// else when the last of it was kept.
    pub begun: Option<SystemTime>,
}

/// Whether anything waits to be taken.
pub fn waits(directory: &Path) -> bool {
    directory.join(OPEN).exists() || directory.join(TAKEN).exists()
}

/// What was kept, oldest first, without what [`reached`] says is safe already. Call [`forget`] once all of it is safe
/// elsewhere; until then it is found again.
///
/// # Errors
/// The spool cannot be read or moved; [`std::io::ErrorKind::WouldBlock`] while somebody writes to it.
pub fn take(directory: &Path) -> std::io::Result<Taken> {
    let (open, taken) = (directory.join(OPEN), directory.join(TAKEN));
    let mut found = Taken::default();
    // Left over from a start that did not get to the end comes first, alone.
    if let Ok(left) = std::fs::metadata(&taken) {
        found.begun = Some(left.modified().unwrap_or(SystemTime::UNIX_EPOCH));
    } else {
        match File::options().read(true).write(true).open(&open) {
            Ok(file) => {
                // Whoever holds it writes; nobody is waited for, since a process can be stopped there.
                file.try_lock()?;
                let _ = std::fs::remove_file(directory.join(PROGRESS));
                std::fs::rename(&open, &taken)?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Taken::default());
            }
            Err(error) => return Err(error),
        }
    }
    let progress = std::fs::read_to_string(directory.join(PROGRESS));
    let safe: u64 = progress
        .ok()
        .and_then(|n| n.trim().parse().ok())
        .unwrap_or(0);
    for (at, line) in (1..).zip(BufReader::new(File::open(&taken)?).split(b'\n')) {
        let line = String::from_utf8_lossy(&line?).into_owned();
        match Emission::parse(&line) {
            _ if line.is_empty() => {}
            Ok(emission) if at > safe => found.emissions.push((at, emission)),
            Ok(_) => {}
            Err(error) => found.damaged.push(error),
        }
    }
    Ok(found)
}

/// So many lines of what was taken are safe elsewhere: a start that dies now does not take them twice.
///
/// # Errors
/// The file cannot be written; the lines may be taken twice then.
pub fn reached(directory: &Path, lines: u64) -> std::io::Result<()> {
    let temporary = directory.join("taken.tmp");
    let mut file = File::create(&temporary)?;
    write!(file, "{lines}")?;
    file.sync_data()?;
    std::fs::rename(temporary, directory.join(PROGRESS))
}

/// Removes what was taken. Damaged lines are kept beside it for a person to look at.
///
/// # Errors
/// The file cannot be removed.
pub fn forget(directory: &Path, damaged: bool) -> std::io::Result<()> {
    let taken = directory.join(TAKEN);
    if damaged {
        let mut asides = (1u32..).map(|n| directory.join(format!("damaged-{n}.jsonl")));
        let aside: Option<PathBuf> = asides.find(|path| !path.exists());
        std::fs::rename(taken, aside.unwrap_or_default())?;
    } else if let Err(error) = std::fs::remove_file(taken)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(error);
    }
    // What is left of it is of no file now, and goes with the next one at the latest.
    let _ = std::fs::remove_file(directory.join(PROGRESS));
    Ok(())
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

    fn taken(spool: &Path) -> Vec<Emission> {
        let found = take(spool).unwrap().emissions;
        found.into_iter().map(|(_, emission)| emission).collect()
    }

    #[test]
    fn kept_in_order_until_it_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let spool = directory.path().join("spool");
        assert!(!waits(&spool));
        assert_eq!(taken(&spool), []);
        keep(&spool, &[emission("a"), emission("b")]).unwrap();
        keep(&spool, &[emission("c")]).unwrap();
        assert!(waits(&spool));
        let all = vec![emission("a"), emission("b"), emission("c")];
        assert_eq!(taken(&spool), all);
        keep(&spool, &[emission("d")]).unwrap();
        assert_eq!(taken(&spool), all, "a start that died finds it again");
        reached(&spool, 2).unwrap();
        assert_eq!(take(&spool).unwrap().emissions, [(3, emission("c"))]);
        forget(&spool, false).unwrap();
        assert!(waits(&spool));
        assert_eq!(
            taken(&spool),
            [emission("d")],
            "progress was of the other file"
        );
    }

    #[test]
    fn half_a_line_costs_no_other() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(OPEN), "{\"type\":\"x").unwrap();
        keep(directory.path(), &[emission("a")]).unwrap();
        let found = take(directory.path()).unwrap();
        assert_eq!(found.emissions, [(2, emission("a"))]);
        assert_eq!((found.damaged.len(), found.begun), (1, None));
        assert!(take(directory.path()).unwrap().begun.is_some());
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
        let found = take(directory.path()).unwrap();
        assert_eq!((found.emissions.len(), found.damaged.len()), (2, 1));
        forget(directory.path(), true).unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
