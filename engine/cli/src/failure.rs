//! Why a command failed, and the exit code that says so.

use pagestone::Error;
use std::fmt;
use std::path::{Path, PathBuf};

/// `check` found a defect, or a proof does not hold.
pub const DEFECT: u8 = 3;
/// The region is in use.
pub const IN_USE: u8 = 4;

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The engine refused.
    Engine(Error),
    /// The operating system refused something about a plain file.
    File(PathBuf, std::io::Error),
    /// Anything else, in words.
    Other(String),
}

impl Failure {
    /// An operating-system error about `path`.
    pub fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |e| Self::File(path, e)
    }
    /// The exit code that says it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Engine(Error::Claimed { .. }) => IN_USE,
            _ => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The engine's advice is for programs: its options are no options of this one.
            Self::Engine(Error::TooWeak { path, required, available, .. }) => write!(
                f,
                "{}: durability {required} is required, the medium offers {available}: leave --require out, or choose a \
                 stronger medium (for cache-line persistent memory: devdax, or a file system mounted with -o dax)",
                path.display()
            ),
            Self::Engine(e) => e.fmt(f),
            Self::File(path, e) => write!(f, "{}: {e}", path.display()),
            Self::Other(why) => f.write_str(why),
        }
    }
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        Self::Engine(e)
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(e: rusqlite::Error) -> Self {
        Self::Other(format!("SQLite: {e}"))
    }
}
