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

    /// This failure, with the note that something was already `done`.
    pub fn too_late(&self, done: &str) -> Self {
        Self::Other(format!("{self}; {done}"))
    }

    /// The exit code for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Engine(Error::InUse { .. }) => IN_USE,
            _ => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The engine's advice is for programs, whose options this program does not have.
            Self::Engine(Error::TooWeak { path, required, available, .. }) => write!(
                f,
                "{}: durability {required} is required, the medium offers {available}: leave out --require, or choose a \
                 stronger medium (for cache-line persistent memory: devdax, or a file system mounted with -o dax)",
                path.display()
            ),
            Self::Engine(e @ (Error::Invalid(_) | Error::NoAddresses { .. })) => {
                f.write_str(&advice_for_the_command_line(&e.to_string()))
            }
            Self::Engine(e) => e.fmt(f),
            Self::File(path, e) => write!(f, "{}: {e}", path.display()),
            Self::Other(why) => f.write_str(why),
        }
    }
}

/// The engine's message, with the options of this program instead of those of a library.
fn advice_for_the_command_line(words: &str) -> String {
    let words = words.split(", or say with `max_size`").next().unwrap_or(words);
    words.replace("`copy_on_write`", "--copy-on-write")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_for_the_command_line() {
        let said = |error: Error| Failure::from(error).to_string();
        let limit = "no run of 9 frames left: close a region";
        let engine = format!("{limit}, or say with `max_size` how large each may become");
        assert_eq!(said(Error::NoAddresses { why: engine }), format!("no addresses: {limit}"));
        let engine = "use another file system, or allow it with `copy_on_write`";
        let here = "use another file system, or allow it with --copy-on-write";
        assert_eq!(said(Error::Invalid(engine.into())), here);
    }
}
