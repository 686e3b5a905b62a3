//! `REGION:OBJECT`, and the opening of regions for looking and for changing.

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
/// The mode of a region that was made and did not get its rights yet. Its sticky bit, which means nothing of a plain file, tells
/// it from one that was made private by intention.
const UNFINISHED: u32 = PRIVATE | 0o1000;
const ALL_BITS: u32 = 0o7777;
/// No empty region is larger.
const EMPTY_REGION_MAX: u64 = 512 << 10;

/// A region, and perhaps an object in it.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// The region's file.
    pub region: PathBuf,
    /// The object's name.
    pub object: Option<OsString>,
}

impl Place {
    /// Splits at the first colon before which a region is named: a file that is there or, without one, a name that ends in
    /// `.pgs`. What stands behind it is the object's name, whatever it holds. A file that has the whole text as its name is
    /// that file, and a colon in the name of a folder that is there separates nothing. Any other name with colons is a
    /// region's, as for `create`: the time of a backup, for instance.
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

/// How long each opening waits, and whether storage that copies on write will do.
static WISHES: OnceLock<(Duration, bool)> = OnceLock::new();

/// Has each opening wait at most so long for a region that is in use, and allows storage that copies on write.
pub fn open_as(wait: Duration, copy_on_write: bool) {
    WISHES.get_or_init(|| (wait, copy_on_write));
}

/// How regions are opened.
pub fn options() -> Options {
    let (wait, copy_on_write) = WISHES.get().copied().unwrap_or_default();
    Store::options().wait(wait).copy_on_write(copy_on_write)
}

/// Opens a region that will not be changed: its log is replayed in private memory, the file stays as it is.
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

/// A region that was made, and is its maker's alone until it gets the rights that it is to have.
pub struct Made {
    /// Device and inode: the path may lead to another file by then.
    file: FileId,
}

/// Opens a region to change it, and makes it if there is none. One counts as made that such a process has left which was killed:
/// it holds nothing, or only what is named as `unfinished`.
pub fn change_or_create(
    region: &Path,
    how: Opening,
    unfinished: &[u8],
) -> Result<(Store, Option<Made>), Failure> {
    let options = options_for(how).create(true).mode(UNFINISHED);
    if std::fs::metadata(region).is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
        match options.clone().create_new(true).open(region) {
            // Another process has made one meanwhile.
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
    /// Gives the region, which is closed, its rights.
    pub fn give(&self, region: &Path, access: &Access) -> Result<(), Failure> {
        let file = File::open(region).map_err(Failure::file(region))?;
        if !self.is(&file.metadata().map_err(Failure::file(region))?) {
            return Err(Failure::Other(format!("{} was replaced by another file", region.display())));
        }
        access.give(&file).and_then(|()| file.sync_all()).map_err(Failure::file(region))
    }

    /// Removes the region while it is open: nothing of another process can be in it.
    pub fn remove(&self, region: &Path, _open: &Store) {
        if self.is_at(region) {
            // The failure to report is the one for which the region goes.
            drop(std::fs::remove_file(region));
        }
    }

    /// Whether the path leads to it still.
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

/// Whether the name ends as names of regions do.
fn has_ending(region: &Path) -> bool {
    region.extension().is_some_and(|ending| ending == "pgs")
}

/// Whether it is persistent memory without a file system, or some other device that is no disk: nothing that can be
/// read like a file.
pub fn is_device(region: &Path) -> bool {
    std::fs::metadata(region).is_ok_and(|found| found.file_type().is_char_device())
}

/// Whether it is a plain file in which nothing was ever stored: empty, or left by a process that died while it made a region.
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
