//! Parsing of `REGION:OBJECT`, and opening of regions, read-only or for changes.

use crate::access::{Access, PRIVATE};
use crate::args::{Assume, Opening};
use crate::failure::Failure;
use crate::sqlite;
use pagestone::store::FileId;
use pagestone::{Error, Options, Store};
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

/// The head of a region that was never formatted is all zero.
const BLANK_HEAD: u64 = 8192;
/// The mode of a region that was created and has not got its final rights yet. Its sticky bit, which has no meaning
/// for a plain file, distinguishes it from a region that was made private on purpose.
const UNFINISHED: u32 = PRIVATE | 0o1000;
const ALL_BITS: u32 = 0o7777;
/// The maximum size of an empty region with the default log.
const EMPTY_REGION_MAX: u64 = 1536 << 10;

/// A region, and perhaps an object in it.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// The region's file.
    pub region: PathBuf,
    /// The object's name.
    pub object: Option<OsString>,
}

impl Place {
    /// Splits at the first colon after the name of a region: an existing file or, if there is none, a name that ends
    /// in `.pgs`. The rest is the object's name, whatever it contains. If a file has the whole text as its name, it
    /// is that file, and a colon in the name of an existing folder does not separate. Any other name with colons is a
    /// region, as for `create`: for instance a name with the time of a backup.
    pub fn parse(text: &OsStr) -> Self {
        let whole = Self { region: text.into(), object: None };
        if Path::new(text).exists() {
            return whole;
        }
        let bytes = text.as_bytes();
        let folders = Path::new(text).ancestors().skip(1).find(|folder| folder.is_dir());
        let from = folders.map_or(0, |folder| folder.as_os_str().len());
        let colons = (from..bytes.len().saturating_sub(1)).filter(|&at| bytes[at] == b':');
        let split =
            |at: usize| (Path::new(OsStr::from_bytes(&bytes[..at])), OsStr::from_bytes(&bytes[at + 1..]));
        let is_there = |region: &Path| region.metadata().is_ok_and(|found| !found.is_dir());
        let found = colons.clone().map(split).find(|(region, _)| is_there(region));
        match found.or_else(|| colons.map(split).find(|(region, _)| has_ending(region))) {
            Some((region, object)) => Self { region: region.into(), object: Some(object.into()) },
            None => whole,
        }
    }
}

/// How long each opening waits, and whether copy-on-write storage is allowed.
static WISHES: OnceLock<(Duration, bool)> = OnceLock::new();

/// Sets how long each opening waits for a region that is in use, and whether copy-on-write storage is allowed.
pub fn open_as(wait: Duration, copy_on_write: bool) {
    WISHES.get_or_init(|| (wait, copy_on_write));
}

/// The options of every opening.
pub fn options() -> Options {
    let (wait, copy_on_write) = WISHES.get().copied().unwrap_or_default();
    Store::options().wait(wait).copy_on_write(copy_on_write)
}

/// Opens a region read-only: its log is replayed in private memory, and the file is not changed.
pub fn look(region: &Path, how: Opening) -> Result<Store, Failure> {
    must_exist(region)?;
    sqlite::refuse_database(region)?;
    Ok(options_for(how).read_only(true).open(region)?)
}

/// Opens a region to change it.
pub fn change(region: &Path, how: Opening) -> Result<Store, Failure> {
    must_exist(region)?;
    sqlite::refuse_database(region)?;
    Ok(options_for(how).open(region)?)
}

/// The options to repair a region.
pub fn repairing(region: &Path, how: Opening) -> Result<Options, Failure> {
    must_exist(region)?;
    sqlite::refuse_database(region)?;
    Ok(options_for(how))
}

/// A region that this program created. Only its owner has access until it gets its final rights.
pub struct Made {
    /// Device and inode, because the path may lead to another file by then.
    file: FileId,
}

/// Opens a region to change it, and creates it if it is missing. A region that a killed process of this kind has left
/// counts as created, if it holds nothing, or only objects whose names begin with `unfinished`.
pub fn change_or_create(
    region: &Path,
    how: Opening,
    unfinished: &[u8],
) -> Result<(Store, Option<Made>), Failure> {
    let options = options_for(how).create(true).mode(UNFINISHED);
    if std::fs::metadata(region).is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
        match options.clone().create_new(true).open(region) {
            // Another process has created one meanwhile.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {}
            made => {
                let store = made?;
                let made = Made { file: store.info().file };
                return Ok((store, Some(made)));
            }
        }
    }
    sqlite::refuse_database(region)?;
    let store = options.open(region)?;
    let left = Made { file: store.info().file };
    let found = region.metadata().map_err(Failure::file(region))?;
    let is_left = left.is(&found)
        && found.is_file()
        && found.mode() & ALL_BITS == UNFINISHED
        && found.uid() == rustix::process::geteuid().as_raw()
        && store.list()?.iter().all(|object| object.name.starts_with(unfinished));
    Ok((store, is_left.then_some(left)))
}

impl Made {
    /// Gives the region its final rights. It must be closed.
    pub fn give(&self, region: &Path, access: &Access) -> Result<(), Failure> {
        let file = File::open(region).map_err(Failure::file(region))?;
        if !self.is(&file.metadata().map_err(Failure::file(region))?) {
            return Err(Failure::Other(format!("{} was replaced by another file", region.display())));
        }
        access.give(&file).and_then(|()| file.sync_all()).map_err(Failure::file(region))
    }

    /// Removes the region while it is open, so that no other process can have stored anything in it.
    pub fn remove(&self, region: &Path, _open: &Store) {
        if self.is_at(region) {
            // Only the failure that caused the removal is reported.
            drop(std::fs::remove_file(region));
        }
    }

    /// Whether the path still leads to it.
    pub fn is_at(&self, region: &Path) -> bool {
        region.metadata().is_ok_and(|found| self.is(&found))
    }

    fn is(&self, found: &Metadata) -> bool {
        id(found) == self.file
    }
}

fn options_for(how: Opening) -> Options {
    options().assume_power_loss(how.assume == Some(Assume::PowerLoss))
}

/// Whether the name has the ending of regions.
fn has_ending(region: &Path) -> bool {
    region.extension().is_some_and(|ending| ending == "pgs")
}

/// Whether it is a character device, such as persistent memory without a file system, which cannot be read like a
/// file.
pub fn is_device(region: &Path) -> bool {
    std::fs::metadata(region).is_ok_and(|found| found.file_type().is_char_device())
}

/// Whether it is a plain file in which nothing was ever stored: empty, or left by a process that died while it
/// created a region.
pub fn is_blank(region: &Path) -> bool {
    if !region.metadata().is_ok_and(|found| found.is_file() && found.len() <= EMPTY_REGION_MAX) {
        return false;
    }
    let mut head = Vec::new();
    let read = File::open(region).and_then(|f| f.take(BLANK_HEAD).read_to_end(&mut head));
    read.is_ok() && head.iter().all(|b| *b == 0)
}

fn must_exist(region: &Path) -> Result<(), Failure> {
    std::fs::metadata(region).map(drop).map_err(Failure::file(region))
}

/// Whether the path leads to the file of an open region.
pub fn leads_to(path: &Path, store: &Store) -> bool {
    path.metadata().is_ok_and(|found| id(&found) == store.info().file)
}

fn id(found: &Metadata) -> FileId {
    FileId { device: found.dev(), inode: found.ino() }
}

/// Closes a store whose objects are all closed.
pub fn close(store: Store) -> Result<(), Failure> {
    store.close().map_err(|e| Failure::Engine(e.error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_colon_behind_a_region_separates_it_from_the_object() {
        let p = |r: &str, o: Option<&str>| Place { region: r.into(), object: o.map(Into::into) };
        let parse = |text: &str| Place::parse(text.as_ref());
        assert_eq!(parse("a.pgs"), p("a.pgs", None));
        assert_eq!(parse("a.pgs:db"), p("a.pgs", Some("db")));
        assert_eq!(parse("c:a.pgs:db"), p("c:a.pgs", Some("db")));
        assert_eq!(parse("x:/tmp/a.pgs"), p("x:/tmp/a.pgs", None));
        assert_eq!(parse("a.pgs:"), p("a.pgs:", None));
        let backup = "backup-2026-01-02T10:20:30.pgs";
        assert_eq!(parse(backup), p(backup, None));
        assert_eq!(parse(&format!("{backup}:db")), p(backup, Some("db")));
        assert_eq!(parse("10:20"), p("10:20", None));
        // The manifest is a file that is there, and its folder is none.
        assert_eq!(parse("a.pgs:t:10:20.txt"), p("a.pgs", Some("t:10:20.txt")));
        assert_eq!(parse("a.pgs:/srv/b.pgs:db"), p("a.pgs", Some("/srv/b.pgs:db")));
        let there = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert_eq!(parse(&format!("{there}:db")), p(there, Some("db")));
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), ":db");
        assert_eq!(parse(folder), p(folder, None));
        let object = format!("{there}:/srv/a.db:c.pgs:db");
        assert_eq!(parse(&object), p(there, Some("/srv/a.db:c.pgs:db")));
    }
}
