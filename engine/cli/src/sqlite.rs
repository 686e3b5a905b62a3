//! SQLite databases as plain files: how to recognize them, and the files beside them.

use crate::failure::Failure;
use crate::moment::Moment;
use crate::output;
use rustix::fs::{FlockOperation, OFlags, fcntl_lock};
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The object that is the main database of a region for the SQLite VFS.
pub const MAIN: &str = "db";
/// The suffixes of journals and WALs, as files and as objects.
pub const JOURNAL: &str = "-journal";
/// See [`JOURNAL`].
pub const WAL: &str = "-wal";

const DATABASE_MAGIC: &[u8] = b"SQLite format 3\0";
const JOURNAL_MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
const WAL_MAGIC: [[u8; 4]; 2] = [[0x37, 0x7f, 0x06, 0x82], [0x37, 0x7f, 0x06, 0x83]];
const WAL_HEADER_BYTES: u64 = 32;
/// The head of a link, which the SQLite VFS puts at the path of a database in a shared region. It is followed by a
/// line with the region, a line with the object, and possibly a line with the identity of the link.
const LINK_HEAD: &[u8] = b"Pagestone link 1\n";
/// The maximum length of a link.
const LINK_MAX: u64 = 16 << 10;

/// Whether the file has the head of a SQLite database.
pub fn is_database(path: &Path) -> Result<bool, Failure> {
    Ok(head(path, DATABASE_MAGIC.len())?.as_deref() == Some(DATABASE_MAGIC))
}

/// Refuses a link to a database in a shared region, because it is not the database.
pub fn refuse_link(path: &Path) -> Result<(), Failure> {
    if head(path, LINK_HEAD.len())?.as_deref() != Some(LINK_HEAD) {
        return Ok(());
    }
    let mut text = Vec::new();
    open(path).and_then(|f| f.take(LINK_MAX).read_to_end(&mut text)).map_err(Failure::file(path))?;
    let mut lines = text.split(|byte| *byte == b'\n').skip(1);
    let path = path.display();
    Err(Failure::Other(match (lines.next(), lines.next(), lines.next()) {
        (Some(region), Some(object), Some(_)) => {
            let (region, object) = (output::name(region), output::name(object));
            format!(
                "{path} is a link to the object {object} of the region {region}: name that, as {region}:{object}"
            )
        }
        _ => format!("{path} is a damaged link to a region"),
    }))
}

/// If a region is expected, a database or a link to a region is a mistake that can be explained.
pub fn refuse_database(region: &Path) -> Result<(), Failure> {
    refuse_link(region)?;
    if !is_database(region)? {
        return Ok(());
    }
    let path = region.display();
    Err(Failure::Other(format!(
        "{path} is a SQLite database, not a Pagestone region; make a region of it: pagestone import {path} {path}.pgs"
    )))
}

/// The first `len` bytes; `None` if the file has fewer or is not a plain file. Opening a pipe might block, and
/// reading it would consume its data.
fn head(path: &Path, len: usize) -> Result<Option<Vec<u8>>, Failure> {
    if !path.metadata().map_err(Failure::file(path))?.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(len);
    open(path).and_then(|f| f.take(len as u64).read_to_end(&mut bytes)).map_err(Failure::file(path))?;
    Ok((bytes.len() == len).then_some(bytes))
}

/// Opens a plain file for reading. If a pipe has replaced it meanwhile, the opening does not block.
pub fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)
}

/// A database with the files that belong to its state.
#[derive(Debug)]
pub struct Database {
    /// The database itself.
    pub main: PathBuf,
    /// A journal that must be rolled back.
    pub journal: Option<PathBuf>,
    /// A WAL with frames that are not in the database yet.
    pub wal: Option<PathBuf>,
    /// The state of all three files when this was found out, including those that do not count.
    pub moment: Moment,
    /// Locks that keep writers out while these live.
    _locks: Vec<File>,
}

impl Database {
    /// Finds the files beside the database, and locks writers out.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        // SQLite names journal and WAL after the file that a symbolic link leads to.
        let main = path.canonicalize().map_err(Failure::file(path))?;
        let mut locks = vec![lock(&main)?];
        let shm = beside(&main, "-shm");
        // A file that is not a plain file is not SQLite's either.
        if shm.is_file() {
            locks.push(lock(&shm)?);
        }
        let (journal, wal) = (beside(&main, JOURNAL), beside(&main, WAL));
        // Without a `-shm` to lock, a writer may come at any time.
        let moment = Moment::of([main.clone(), journal.clone(), wal.clone()])?;
        let journal = match Some(journal).filter(|p| p.exists()) {
            Some(p) if is_hot(&p)? => Some(p),
            _ => None,
        };
        let wal = match Some(wal).filter(|p| p.exists()) {
            Some(p) if has_frames(&p)? => Some(p),
            _ => None,
        };
        Ok(Self { main, journal, wal, moment, _locks: locks })
    }
}

/// The path with `suffix` appended.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    with_suffix(path.as_os_str(), suffix).into()
}

/// The name with `suffix` appended.
pub fn with_suffix(name: &OsStr, suffix: &str) -> OsString {
    let mut name = name.to_owned();
    name.push(suffix);
    name
}

/// Takes a shared lock on the whole file, which conflicts with every lock under which SQLite writes.
fn lock(path: &Path) -> Result<File, Failure> {
    let file = open(path).map_err(Failure::file(path))?;
    match fcntl_lock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => Err(Failure::Other(format!(
            "{} is being written by another process: wait for it, or close it there",
            path.display()
        ))),
        Err(e) => Err(Failure::File(path.to_owned(), e.into())),
    }
}

/// Whether SQLite would roll this journal back. A journal of a transaction over several databases is refused: another
/// file, which cannot be copied along, decides whether it must be rolled back.
fn is_hot(journal: &Path) -> Result<bool, Failure> {
    if !head(journal, JOURNAL_MAGIC.len())?.is_some_and(|head| begins_a_journal(&head)) {
        return Ok(false);
    }
    let mut tail = [0; JOURNAL_MAGIC.len()];
    open(journal)
        .and_then(|mut f| {
            f.seek(SeekFrom::End(-(JOURNAL_MAGIC.len() as i64))).and_then(|_| f.read_exact(&mut tail))
        })
        .map_err(Failure::file(journal))?;
    if tail == JOURNAL_MAGIC && journal.metadata().map_err(Failure::file(journal))?.len() > 512 {
        return Err(Failure::Other(format!(
            "{} belongs to a transaction over several databases: open the database with sqlite3 once, \
             which completes or undoes it, then import",
            journal.display()
        )));
    }
    Ok(true)
}

/// Whether the bytes are the head of a journal that may be hot. `journal_mode=PERSIST` overwrites it at the end of a
/// transaction.
pub fn begins_a_journal(bytes: &[u8]) -> bool {
    bytes.starts_with(&JOURNAL_MAGIC)
}

/// Whether the WAL has frames.
fn has_frames(wal: &Path) -> Result<bool, Failure> {
    let magic = head(wal, 4)?;
    let len = wal.metadata().map_err(Failure::file(wal))?.len();
    Ok(len > WAL_HEADER_BYTES && magic.is_some_and(|m| WAL_MAGIC.iter().any(|w| w[..] == m[..])))
}
