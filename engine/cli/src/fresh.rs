//! A file that has no name until it is complete, so that an interrupted copy leaves nothing.

use crate::access::PRIVATE;
use rustix::fs::{AtFlags, CWD, OFlags, linkat};
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tempfile::{Builder, NamedTempFile};

/// The prefix of temporary names, for file systems where no file can be without a name, and for a moment of a
/// replacement. The rest of the name cannot be guessed.
const UNFINISHED: &str = ".pagestone-export-";
/// The folder of open files, through which a nameless file gets its name.
const OPEN: &str = "/proc/self/fd";

/// A file that is being written.
pub enum Fresh {
    Nameless(File),
    /// For file systems that do not support nameless files.
    Named(NamedTempFile),
}

impl Fresh {
    /// A new file that will get its name in `folder`. Only its owner has access.
    pub fn new(folder: &Path) -> io::Result<Self> {
        let mut how = OpenOptions::new();
        how.write(true).mode(PRIVATE).custom_flags(OFlags::TMPFILE.bits() as i32);
        match how.open(folder) {
            Ok(file) if Path::new(OPEN).exists() => Ok(Self::Nameless(file)),
            Err(e)
                if !matches!(
                    e.kind(),
                    io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput | io::ErrorKind::IsADirectory
                ) =>
            {
                Err(e)
            }
            _ => named().permissions(Permissions::from_mode(PRIVATE)).tempfile_in(folder).map(Self::Named),
        }
    }

    /// The open file.
    pub fn file(&self) -> &File {
        match self {
            Self::Nameless(file) => file,
            Self::Named(file) => file.as_file(),
        }
    }

    /// Gives the file its name, in its folder. It replaces an existing file only with `force`.
    pub fn name(self, path: &Path, force: bool) -> io::Result<()> {
        let link = |file: &File, path: &Path| {
            let open = PathBuf::from(OPEN).join(file.as_raw_fd().to_string());
            Ok(linkat(CWD, open, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
        };
        match (self, force) {
            (Self::Nameless(file), false) => link(&file, path),
            // Only a file with a name can replace another one.
            (Self::Nameless(file), true) => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                let other = named().make_in(folder.unwrap_or(Path::new(".")), |other| link(&file, other))?;
                other.persist(path).map_err(|e| e.error)
            }
            (Self::Named(file), false) => Ok(file.persist_noclobber(path).map(drop)?),
            (Self::Named(file), true) => Ok(file.persist(path).map(drop)?),
        }
    }
}

fn named() -> Builder<'static, 'static> {
    let mut named = Builder::new();
    named.prefix(UNFINISHED);
    named
}
