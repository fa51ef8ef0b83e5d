//! Compresses a day that is closed, so that it is there whole at every instant, in one form or the other. Does not know
//! when that is due.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::disk::{Disk, How};
use super::files::{self, Day};

/// Read, compressed or compared at once, in bytes.
const CHUNK: usize = 1 << 18;
/// How hard it is compressed.
const LEVEL: i32 = 3;

/// Why a round did not do all that it had to.
#[derive(Debug, thiserror::Error)]
pub(super) enum Undone {
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(transparent)]
    Read(#[from] files::ReadError),
    #[error("the compressed form of {} is not the same; it stays as it is", .0.display())]
    Differs(PathBuf),
    #[error("stopped")]
    Stopped,
}

pub(super) fn failed<'p>(
    what: &'static str,
    path: &'p Path,
) -> impl FnOnce(io::Error) -> Undone + use<'p> {
    move |source| Undone::Io {
        what,
        path: path.to_owned(),
        source,
    }
}

/// Compresses a closed day: written under another name, synced, compared, named; only then the plain one goes.
pub(super) fn pack(
    disk: &dyn Disk,
    dir: &Path,
    day: &Day,
    stopped: &dyn Fn() -> bool,
) -> Result<(), Undone> {
    let packed = files::packed_path_of(dir, day.day);
    let temporary = packed.with_extension("zst.tmp");
    let done = pack_to(disk, dir, day, &temporary, &packed, stopped);
    if done.is_err() {
        let _ = disk.remove(&temporary);
    }
    done
}

fn pack_to(
    disk: &dyn Disk,
    dir: &Path,
    day: &Day,
    temporary: &Path,
    packed: &Path,
    stopped: &dyn Fn() -> bool,
) -> Result<(), Undone> {
    let plain = File::open(&day.path).map_err(failed("read", &day.path))?;
    let before = plain.metadata().map_err(failed("read", &day.path))?;
    let file = disk
        .open(temporary, How::Anew)
        .map_err(failed("write", temporary))?;
    let output = Output { disk, file: &file };
    let compress = || {
        let mut encoder = zstd::Encoder::new(output, LEVEL)?;
        encoder.include_checksum(true)?;
        let mut buffer = vec![0; CHUNK];
        loop {
            match (&plain).read(&mut buffer)? {
                _ if stopped() => return Ok(false),
                0 => break,
                read => io::Write::write_all(&mut encoder, &buffer[..read])?,
            }
        }
        encoder.finish()?;
        disk.sync(&file)?;
        Ok(true)
    };
    if !compress().map_err(failed("compress", &day.path))? {
        return Err(Undone::Stopped);
    }
    drop(file);
    if !same(&day.path, temporary, stopped).map_err(failed("compare", temporary))? {
        return Err(Undone::Differs(day.path.clone()));
    }
    let name = || {
        disk.rename(temporary, packed)?;
        disk.sync_directory(dir)
    };
    name().map_err(failed("name", packed))?;
    let after = std::fs::metadata(&day.path).map_err(failed("read", &day.path))?;
    let unlike =
        |there: &std::fs::Metadata| (there.ino(), there.len(), there.mtime(), there.mtime_nsec());
    if unlike(&before) != unlike(&after) {
        return Err(Undone::Differs(day.path.clone()));
    }
    disk.remove(&day.path).map_err(failed("delete", &day.path))
}

/// Whether a compressed file holds what a plain one does.
fn same(plain: &Path, packed: &Path, stopped: &dyn Fn() -> bool) -> io::Result<bool> {
    let mut plain = File::open(plain)?;
    let mut packed = zstd::Decoder::new(File::open(packed)?)?;
    let (mut ours, mut theirs) = (vec![0; CHUNK], vec![0; CHUNK]);
    loop {
        let read = plain.read(&mut ours)?;
        if stopped() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if read == 0 {
            return Ok(packed.read(&mut theirs)? == 0);
        }
        match packed.read_exact(&mut theirs[..read]) {
            Ok(()) if ours[..read] == theirs[..read] => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

/// Where compressed bytes go.
struct Output<'d> {
    disk: &'d dyn Disk,
    file: &'d File,
}

impl io::Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.disk.append(self.file, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
