//! What the kernel reports about a mount.

use super::{file_system, opening};
use crate::error::Result;
use std::os::fd::BorrowedFd;

const MOUNTS: &str = "/proc/thread-self/mountinfo";

/// A mount, as a line of `/proc/thread-self/mountinfo` describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Mount {
    /// What was mounted: a device, a folder, or just a word.
    pub source: String,
    /// The file system's options.
    options: String,
}

impl Mount {
    /// The mount through which an open file was reached; `None` if the kernel does not show it.
    pub(super) fn of(file: BorrowedFd<'_>) -> Result<Option<Self>> {
        let Some(number) = file_system::mount_number(file)? else { return Ok(None) };
        Ok(opening::text(MOUNTS).ok().and_then(|text| Self::find(&text, number)))
    }

    /// The line of this mount. After a field `-` come kind, source and options.
    fn find(text: &str, number: u64) -> Option<Self> {
        let number = number.to_string();
        let line = text.lines().find(|line| line.split(' ').next() == Some(&number))?;
        let mut fields = line.split(' ').skip_while(|field| *field != "-").skip(2);
        Some(Self { source: plain(fields.next()?), options: fields.next()?.to_owned() })
    }

    /// Whether it has this option.
    pub(super) fn has(&self, name: &str) -> bool {
        self.options.split(',').any(|option| option == name)
    }

    /// The value of an option.
    pub(super) fn value(&self, name: &str) -> Option<String> {
        let value = |option: &str| Some(plain(option.strip_prefix(name)?.strip_prefix('=')?));
        self.options.split(',').find_map(value)
    }
}

/// Decodes text in which the kernel shows blanks and some other bytes as octal numbers. A comma comes after a
/// backslash.
fn plain(shown: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = shown.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|digits| first == b'\\' && digits.iter().all(u8::is_ascii_digit));
        let code = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
93 71 0:40 / /over rw,relatime - overlay a\\040b rw,lowerdir=lo,upperdir=/up\\040per,workdir=wk,uuid=on
9 71 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw
94 71 0:41 / /odd\\040- rw - overlay o rw,upperdir=/x/up,fsync=volatile";

    #[test]
    fn a_mount_is_found_by_its_number_and_its_options_by_their_names() {
        let mount = |number| Mount::find(TEXT, number);
        assert_eq!(mount(93).unwrap().source, "a b");
        assert_eq!(mount(93).unwrap().value("upperdir").as_deref(), Some("/up per"));
        assert_eq!(mount(93).unwrap().value("upper"), None);
        assert_eq!(mount(9).unwrap().source, "/dev/vda");
        assert_eq!(mount(94).unwrap().value("fsync").as_deref(), Some("volatile"));
        assert!(mount(9).unwrap().has("rw") && !mount(9).unwrap().has("r"));
        assert_eq!(mount(4), None);
    }
}
