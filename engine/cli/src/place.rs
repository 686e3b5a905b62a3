//! `REGION:OBJECT`, and the opening of regions for looking and for changing.

use crate::access::{Access, PRIVATE};
use crate::args::{Assume, Opening};
use crate::failure::Failure;
use crate::sqlite;
use pagestone::Error;
use pagestone::store::{Options, Store};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

/// The head of a region that was never formatted is all zero.
const BLANK_HEAD: u64 = 8192;
/// No empty region is larger.
const EMPTY_REGION_MAX: u64 = 512 << 10;

/// A region, and perhaps an object in it.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// The region's file.
    pub region: PathBuf,
    /// The object's name.
    pub object: Option<String>,
}

impl Place {
    /// Splits at the last colon if what stands before it is a region: a file that is there, or a name that ends in
    /// `.pgs`. A file that has the whole text as its name is that file. Any other name with colons is a region's, as for
    /// `create`: the time of a backup, for instance.
    pub fn parse(text: &str) -> Self {
        let whole = Self { region: text.into(), object: None };
        let Some((region, object)) = text.rsplit_once(':') else { return whole };
        let is_object = !object.is_empty() && !object.contains('/') && !Path::new(text).exists();
        if is_object && (Path::new(region).metadata().is_ok_and(|m| !m.is_dir()) || has_ending(region)) {
            return Self { region: region.into(), object: Some(object.into()) };
        }
        whole
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
    file: (u64, u64),
}

/// Opens a region to change it, and makes it if there is none.
pub fn change_or_create(region: &Path, how: Opening) -> Result<(Store, Option<Made>), Failure> {
    let options = options_for(how).create(true).mode(PRIVATE);
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
    Ok((options.open(region)?, None))
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
        if region.metadata().is_ok_and(|found| self.is(&found)) {
            // The failure to report is the one for which the region goes.
            drop(std::fs::remove_file(region));
        }
    }

    fn is(&self, found: &Metadata) -> bool {
        (found.dev(), found.ino()) == self.file
    }
}

fn options_for(how: Opening) -> Options {
    options().assume_power_loss(how.assume == Some(Assume::PowerLoss))
}

/// Whether the name ends as names of regions do.
fn has_ending(region: &str) -> bool {
    Path::new(region).extension().is_some_and(|ending| ending == "pgs")
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
    path.metadata().is_ok_and(|found| (found.dev(), found.ino()) == store.info().file)
}

/// Closes a store whose objects are all closed.
pub fn close(store: Store) -> Result<(), Failure> {
    store.close().map_err(|(_, e)| Failure::Engine(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_colon_separates_region_and_object() {
        let p = |r: &str, o: Option<&str>| Place { region: r.into(), object: o.map(str::to_owned) };
        assert_eq!(Place::parse("a.pgs"), p("a.pgs", None));
        assert_eq!(Place::parse("a.pgs:db"), p("a.pgs", Some("db")));
        assert_eq!(Place::parse("c:a.pgs:db"), p("c:a.pgs", Some("db")));
        assert_eq!(Place::parse("x:/tmp/a.pgs"), p("x:/tmp/a.pgs", None));
        assert_eq!(Place::parse("a.pgs:"), p("a.pgs:", None));
        let backup = "backup-2026-01-02T10:20:30.pgs";
        assert_eq!(Place::parse(backup), p(backup, None));
        assert_eq!(Place::parse(&format!("{backup}:db")), p(backup, Some("db")));
        assert_eq!(Place::parse("10:20"), p("10:20", None));
        // The manifest is a file that is there, and its folder is none.
        let there = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert_eq!(Place::parse(&format!("{there}:db")), p(there, Some("db")));
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), ":db");
        assert_eq!(Place::parse(folder), p(folder, None));
    }
}
