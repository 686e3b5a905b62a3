//! A file that has no name until it is whole, so that nothing is left of one that is not finished.

use crate::access::PRIVATE;
use rustix::fs::{AtFlags, CWD, OFlags, linkat};
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tempfile::{Builder, NamedTempFile};

/// What the names begin with that files have where none can be without, or for a moment. The rest cannot be guessed.
const UNFINISHED: &str = ".pagestone-export-";
/// Where the kernel shows the open files, by which one gets its name.
const OPEN: &str = "/proc/self/fd";

/// A file on its way.
pub enum Fresh {
    Nameless(File),
    /// Where the file system knows no file without a name.
    Named(NamedTempFile),
}

impl Fresh {
    /// A new file that is to get its name in `folder`. It is its maker's alone.
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

    /// Gives the file its name, in its folder; in place of what has it only with `force`.
    pub fn name(self, path: &Path, force: bool) -> io::Result<()> {
        let link = |file: &File, path: &Path| {
            let open = PathBuf::from(OPEN).join(file.as_raw_fd().to_string());
            Ok(linkat(CWD, open, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
        };
        match (self, force) {
            (Self::Nameless(file), false) => link(&file, path),
            // Only a name is put in the place of another.
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
