//! Checks that files which are copied one after the other are of the same moment.

use crate::failure::Failure;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Device, inode, length, and time of modification.
type Stamp = (u64, u64, u64, (i64, i64));

/// The state of some files at a moment, including missing ones.
#[derive(Debug)]
pub struct Moment(Vec<(PathBuf, Option<Stamp>)>);

impl Moment {
    /// Now.
    pub fn of(files: impl IntoIterator<Item = PathBuf>) -> Result<Self, Failure> {
        let stamped = |file: PathBuf| stamp(&file).map(|stamp| (file, stamp));
        files.into_iter().map(stamped).collect::<Result<_, _>>().map(Self)
    }

    /// Fails if a file was written to, came, went or was replaced since.
    pub fn lasts(&self) -> Result<(), Failure> {
        for (file, then) in &self.0 {
            if stamp(file)? != *then {
                return Err(changed(file));
            }
        }
        Ok(())
    }
}

/// The failure for a file that changed.
pub fn changed(file: &Path) -> Failure {
    Failure::Other(format!(
        "{} changed while it was copied: close the program that writes it",
        file.display()
    ))
}

fn stamp(file: &Path) -> Result<Option<Stamp>, Failure> {
    match file.metadata() {
        Ok(m) => Ok(Some((m.dev(), m.ino(), m.len(), (m.mtime(), m.mtime_nsec())))),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Failure::File(file.to_owned(), e)),
    }
}
