//! The access rights of a file, which are carried over to copies of it. A copy is never more readable than its
//! source, not even for a moment: it begins with [`PRIVATE`].

use crate::failure::Failure;
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;

/// The mode with which a copy begins: only its owner has access.
pub const PRIVATE: u32 = 0o600;

const RIGHTS: u32 = 0o777;
const GROUP: u32 = 0o070;
const OTHERS: u32 = 0o007;
const READ: u32 = 0o004;
/// The access control list of a file. If it has one, the group bits of its mode are the most that the list grants.
const ACL: &str = "system.posix_acl_access";
/// No file system stores a longer list.
const ACL_BYTES_MAX: usize = 64 << 10;

/// The rights of a file.
#[derive(Clone, Debug)]
pub struct Access {
    rights: u32,
    /// `None`: the file keeps the owner that created it.
    owner: Option<u32>,
    group: u32,
    particular: Particular,
}

/// An access control list.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Particular {
    None,
    List(Vec<u8>),
    /// There is a list, but it cannot be carried over.
    Unknown,
}

impl Access {
    /// The rights of the file at a path.
    pub fn of(path: &Path) -> Result<Self, Failure> {
        let found = path.metadata().map_err(Failure::file(path))?;
        let mut list = vec![0; ACL_BYTES_MAX];
        let particular = match rustix::fs::getxattr(path, ACL, &mut list[..]) {
            Ok(len) => {
                list.truncate(len);
                Particular::List(list)
            }
            Err(rustix::io::Errno::NODATA | rustix::io::Errno::NOTSUP) => Particular::None,
            Err(_) => Particular::Unknown,
        };
        Ok(Self { rights: found.mode() & RIGHTS, owner: Some(found.uid()), group: found.gid(), particular })
    }

    /// These rights, reduced to what `other` allows, too.
    #[must_use]
    pub fn narrowed(mut self, other: &Self) -> Self {
        if self.particular != Particular::None || other.particular != Particular::None {
            self.particular = Particular::Unknown;
        }
        self.rights &= other.rights;
        // For accounts outside the other file's owner and group, only the rights of everybody are known.
        let anybody = other.rights & (other.rights & GROUP) >> 3;
        if self.group != other.group {
            self.rights &= !(GROUP | OTHERS) | anybody << 3 | anybody;
        }
        // An owner can give itself all rights, so reducing the mode is not enough: the owner is dropped.
        let is_read_by_all = other.particular == Particular::None && anybody & READ != 0;
        if self.owner != other.owner && !is_read_by_all {
            self.owner = None;
        }
        self
    }

    /// Gives these rights to a file of ours. The owner and the group are kept if that is permitted. A group that
    /// cannot be kept gets no more rights than everybody.
    pub fn give(&self, file: &File) -> io::Result<()> {
        // A folder's default list may have given the file rights that its source never had. Most files have none.
        let _ = rustix::fs::fremovexattr(file, ACL);
        if fchown(file, self.owner, Some(self.group)).is_err() {
            // Only root can change the owner, but any account may choose one of its own groups.
            let _ = fchown(file, None, Some(self.group));
        }
        let is = file.metadata()?;
        let same_group = is.gid() == self.group;
        let mut rights = self.rights;
        if !same_group || self.particular != Particular::None {
            rights = rights & !GROUP | rights & (rights & OTHERS) << 3;
        }
        file.set_permissions(Permissions::from_mode(rights))?;
        if let Particular::List(list) = &self.particular
            && same_group
            && self.owner == Some(is.uid())
        {
            // Without the list the file grants less.
            let _ = rustix::fs::fsetxattr(file, ACL, list, rustix::fs::XattrFlags::empty());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_with(directory: &Path, name: &str, mode: u32) -> (std::path::PathBuf, File) {
        let path = directory.join(name);
        // One of an earlier mode may not be opened again by an account without rights.
        let _ = std::fs::remove_file(&path);
        let file = File::create(&path).expect("a file");
        file.set_permissions(Permissions::from_mode(mode)).expect("its mode");
        (path, file)
    }

    #[test]
    fn a_mode_is_carried_over_and_never_widened() {
        let directory = tempfile::tempdir().expect("a folder");
        for mode in [0o600, 0o640, 0o664, 0o644, 0o666, 0o400, 0o777] {
            let (path, _source) = file_with(directory.path(), "source", mode);
            let (_, copy) = file_with(directory.path(), "copy", PRIVATE);
            let access = Access::of(&path).expect("its access");
            access.give(&copy).expect("given");
            assert_eq!(copy.metadata().expect("there").mode() & RIGHTS, mode);
            let (other, _other) = file_with(directory.path(), "other", 0o604);
            access.narrowed(&Access::of(&other).expect("its access")).give(&copy).expect("given");
            assert_eq!(copy.metadata().expect("there").mode() & RIGHTS, mode & 0o604);
        }
    }

    #[test]
    fn a_group_that_is_not_the_sources_gets_what_everybody_gets() {
        let directory = tempfile::tempdir().expect("a folder");
        let (_, copy) = file_with(directory.path(), "copy", PRIVATE);
        let rights = |rights, particular| {
            let is = copy.metadata().expect("there");
            Access { rights, owner: Some(is.uid()), group: is.gid(), particular }.give(&copy).expect("given");
            copy.metadata().expect("there").mode() & RIGHTS
        };
        assert_eq!(rights(0o664, Particular::None), 0o664);
        assert_eq!(rights(0o664, Particular::Unknown), 0o644);
        assert_eq!(rights(0o660, Particular::Unknown), 0o600);
    }

    #[test]
    fn members_of_another_group_count_as_anybody() {
        let access =
            |rights, owner, group| Access { rights, owner: Some(owner), group, particular: Particular::None };
        let narrowed = |own: Access, other: Access| {
            let both = own.narrowed(&other);
            (both.rights, both.owner, both.group)
        };
        let own = access(0o640, 1, 10);
        assert_eq!(narrowed(own.clone(), access(0o640, 1, 10)), (0o640, Some(1), 10));
        assert_eq!(narrowed(own.clone(), access(0o640, 1, 11)), (0o600, Some(1), 10));
        assert_eq!(narrowed(own.clone(), access(0o644, 1, 11)), (0o640, Some(1), 10));
        assert_eq!(narrowed(access(0o664, 1, 10), access(0o604, 1, 11)), (0o600, Some(1), 10));
        // Permissions of another owner do not become the new owner's.
        assert_eq!(narrowed(own.clone(), access(0o600, 2, 10)), (0o600, None, 10));
        assert_eq!(narrowed(own.clone(), access(0o640, 2, 11)), (0o600, None, 10));
        assert_eq!(narrowed(own, access(0o644, 2, 10)), (0o640, Some(1), 10));
    }
}
