//! What sysfs reports about devices: a devdax device's geometry, and what the platform saves when the power fails.

use super::opening;
use crate::error::{Error, Result};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys";

/// A device's directory in sysfs.
#[derive(Debug)]
pub(super) struct Node(PathBuf);

/// The geometry of a devdax device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Geometry {
    /// Its size in bytes.
    pub size: u64,
    /// The addresses, offsets and lengths of its mappings are multiples of this.
    pub align: u64,
}

impl Node {
    /// The directory of a character device.
    pub(super) fn of_character(device: u64) -> Option<Self> {
        Self::find(Path::new(ROOT), "char", device)
    }

    /// The directory of a block device.
    pub(super) fn of_block(device: u64) -> Option<Self> {
        Self::find(Path::new(ROOT), "block", device)
    }

    /// The path without links, so that its parents are the device's parents.
    fn find(root: &Path, class: &str, device: u64) -> Option<Self> {
        let (major, minor) = (libc::major(device), libc::minor(device));
        fs::canonicalize(root.join("dev").join(class).join(format!("{major}:{minor}"))).ok().map(Self)
    }

    /// The kernel's name for it.
    pub(super) fn name(&self) -> Option<String> {
        Some(self.0.file_name()?.to_str()?.to_owned())
    }

    /// The devices whose links are in this folder.
    pub(super) fn all_in(folder: &Path) -> Vec<Self> {
        let links = opening::opening(|| fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>());
        let links = links.into_iter().flatten();
        links.filter_map(|link| fs::canonicalize(link.path()).ok().map(Self)).collect()
    }

    /// The disk that it is a partition of, or itself.
    fn disk(&self) -> &Path {
        let parent = self.0.parent().filter(|_| self.0.join("partition").exists());
        parent.unwrap_or(&self.0)
    }

    /// Whether it is a disk in memory (`ram0`, `zram0`).
    pub(super) fn is_memory(&self) -> bool {
        let name = self.disk().file_name().and_then(|name| name.to_str()).unwrap_or("");
        let numbered = |kind: &str| name.strip_prefix(kind).is_some_and(|n| n.parse::<u32>().is_ok());
        numbered("ram") || numbered("zram")
    }

    /// The file behind a loop device.
    pub(super) fn backing_file(&self) -> Option<PathBuf> {
        let path = opening::text(self.disk().join("loop/backing_file")).ok()?;
        Some(path.trim_end_matches('\n').into())
    }

    /// The devices that it consists of.
    pub(super) fn parts(&self) -> Vec<Self> {
        Self::all_in(&self.disk().join("slaves"))
    }

    /// Whether it is persistent memory without a file system.
    pub(super) fn is_devdax(&self) -> bool {
        fs::read_link(self.0.join("subsystem")).is_ok_and(|link| link.ends_with("dax"))
    }

    /// A devdax device's size and alignment. Neither is ever assumed.
    pub(super) fn geometry(&self) -> Result<Geometry> {
        let found = Geometry { size: self.number("size")?, align: self.number("align")? };
        if !found.align.is_power_of_two() || found.align < 4096 || found.size % found.align != 0 {
            let path = &self.0;
            return Err(Error::Invalid(format!("{path:?} describes a device that cannot be: {found:?}")));
        }
        Ok(found)
    }

    /// Whether the contents of the processor caches survive a power loss (eADR): then stores need a fence and no
    /// flush. False if the kernel does not say so.
    pub(super) fn caches_survive(&self) -> bool {
        let said = self.0.ancestors().find_map(|at| opening::text(at.join("persistence_domain")).ok());
        said.is_some_and(|domain| domain.trim_end() == "cpu_cache")
    }

    fn number(&self, name: &str) -> Result<u64> {
        let path = self.0.join(name);
        let told = |error| Error::io(format!("reading {path:?}"), error);
        let text = opening::text(&path).map_err(told)?;
        text.trim_end().parse().map_err(|_| told(io::ErrorKind::InvalidData.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A sysfs with one devdax device, as Linux 6.12 lays it out.
    fn sysfs(align: &str, domain: &str) -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let region = root.path().join("devices/ndbus0/region0");
        let device = region.join("dax0.0/dax0.0");
        fs::create_dir_all(&device).unwrap();
        fs::create_dir_all(root.path().join("bus/dax")).unwrap();
        fs::create_dir_all(root.path().join("dev/char")).unwrap();
        fs::write(region.join("persistence_domain"), domain).unwrap();
        fs::write(device.join("size"), "1071644672\n").unwrap();
        fs::write(device.join("align"), align).unwrap();
        symlink(root.path().join("bus/dax"), device.join("subsystem")).unwrap();
        symlink(&device, root.path().join("dev/char/253:7")).unwrap();
        (root, device)
    }

    fn node(root: &Path) -> Node {
        Node::find(root, "char", libc::makedev(253, 7)).unwrap()
    }

    #[test]
    fn a_devdax_device_is_known_by_its_subsystem_and_says_its_geometry() {
        let (root, device) = sysfs("2097152\n", "memory_controller\n");
        let node = node(root.path());
        assert!(node.is_devdax());
        assert_eq!(node.geometry().unwrap(), Geometry { size: 1071644672, align: 2 << 20 });
        fs::remove_file(device.join("subsystem")).unwrap();
        symlink(root.path().join("class/tty"), device.join("subsystem")).unwrap();
        assert!(!node.is_devdax());
        assert!(Node::find(root.path(), "char", libc::makedev(253, 8)).is_none());
    }

    #[test]
    fn an_alignment_is_never_assumed() {
        for bad in ["", "0", "3145728", "512", "many"] {
            let (root, _) = sysfs(bad, "");
            assert!(node(root.path()).geometry().is_err(), "{bad:?}");
        }
        let (root, device) = sysfs("2097152", "");
        fs::remove_file(device.join("align")).unwrap();
        assert!(matches!(node(root.path()).geometry(), Err(Error::Io { .. })));
    }

    #[test]
    fn only_a_platform_that_says_so_saves_its_caches() {
        for (domain, survive) in [("cpu_cache\n", true), ("memory_controller\n", false), ("unknown\n", false)]
        {
            let (root, device) = sysfs("4096", domain);
            assert_eq!(node(root.path()).caches_survive(), survive, "{domain}");
            fs::remove_file(device.join("../../persistence_domain")).unwrap();
            assert!(!node(root.path()).caches_survive());
        }
    }
}
