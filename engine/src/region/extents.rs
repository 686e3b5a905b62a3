//! What the file system says about a file's blocks.
//!
//! `FIEMAP` distinguishes holes from blocks that were allocated and never written, and reports shared blocks.
//! `SEEK_HOLE` does neither: it reports blocks that were never written as holes. So it is used only where `FIEMAP` is
//! missing, and only if the file has fewer blocks than bytes; or on a tmpfs with huge pages, which allocates 2 MiB at
//! a time, so that the block count does not reveal holes.

use super::file_system::FileSystem;
use super::mounts::Mount;
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `FS_IOC_FIEMAP`: `_IOWR('f', 11, struct fiemap)`.
const FIEMAP: u32 = 0xc020_660b;
const LAST: u32 = 0x1;
const UNWRITTEN: u32 = 0x800;
const SHARED: u32 = 0x2000;
/// Extents per call.
const EXTENTS: usize = 64;
/// The unit of `st_blocks`.
const SECTOR: u64 = 512;

/// A run of a file's bytes that have no blocks of their own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gap {
    /// The bytes.
    pub bytes: Range<u64>,
    /// Whether they have blocks that other files share.
    pub shared: bool,
}

/// `struct fiemap_extent`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Extent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved: [u64; 2],
    flags: u32,
    reserved_too: [u32; 3],
}

/// `struct fiemap`, with room for its extents.
#[repr(C)]
struct Question {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    count: u32,
    reserved: u32,
    extents: [Extent; EXTENTS],
}

const _: () = assert!(size_of::<Extent>() == 56 && size_of::<Question>() == 32 + EXTENTS * 56);

/// The gaps of the file in `within`, ascending. With `written`, blocks that were never written are gaps too.
pub(super) fn gaps(file: BorrowedFd<'_>, within: Range<u64>, written: bool) -> io::Result<Vec<Gap>> {
    match by_extents(file, within.clone(), written) {
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EOPNOTSUPP | libc::ENOTTY | libc::ENOSYS | libc::EINVAL | libc::EBADR)
            ) => {}
        found => return found,
    }
    let (bytes, blocks) = size(file)?;
    let has_all = blocks * SECTOR >= bytes && !gives_more_than_asked(file);
    if has_all { Ok(Vec::new()) } else { by_seeks(file, within) }
}

/// Whether a file may have more blocks than its bytes need and lack some all the same.
fn gives_more_than_asked(file: BorrowedFd<'_>) -> bool {
    // No mount shows what `shmem_enabled` forces on all of them: that setting is for tests of the kernel.
    let small = |mount: Mount| mount.value("huge").is_none_or(|huge| huge == "never");
    let is_memory = FileSystem::of(file).is_ok_and(FileSystem::is_memory);
    is_memory && !Mount::of(file).ok().flatten().is_some_and(small)
}

fn by_extents(file: BorrowedFd<'_>, within: Range<u64>, written: bool) -> io::Result<Vec<Gap>> {
    let mut question = Box::new(Question {
        start: within.start,
        length: 0,
        flags: 0,
        mapped: 0,
        count: EXTENTS as u32,
        reserved: 0,
        extents: [Extent::default(); EXTENTS],
    });
    let (mut found, mut at) = (Vec::new(), within.start);
    while at < within.end {
        (question.start, question.length, question.mapped) = (at, within.end - at, 0);
        // SAFETY: an open descriptor, and a question with room for as many extents as it says.
        let rc = unsafe { libc::ioctl(file.as_raw_fd(), FIEMAP as _, &raw mut *question) };
        if rc != 0 {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Err(error);
        }
        let extents = &question.extents[..(question.mapped as usize).min(EXTENTS)];
        let (mut last, before) = (extents.is_empty(), at);
        for extent in extents {
            let start = extent.logical.clamp(at, within.end);
            let end = extent.logical.saturating_add(extent.length).clamp(start, within.end);
            note(&mut found, at..start, false);
            if extent.flags & SHARED != 0 {
                note(&mut found, start..end, true);
            } else if written && extent.flags & UNWRITTEN != 0 {
                note(&mut found, start..end, false);
            }
            at = end;
            last |= extent.flags & LAST != 0;
        }
        if last {
            note(&mut found, at..within.end, false);
            break;
        }
        if at == before {
            // The answer would be the same forever.
            return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
        }
    }
    Ok(found)
}

fn by_seeks(file: BorrowedFd<'_>, within: Range<u64>) -> io::Result<Vec<Gap>> {
    let (mut found, mut at) = (Vec::new(), within.start);
    while at < within.end {
        let data = seek(file, at, libc::SEEK_DATA)?.unwrap_or(within.end).min(within.end);
        note(&mut found, at..data, false);
        at = seek(file, data, libc::SEEK_HOLE)?.unwrap_or(within.end).max(data);
    }
    Ok(found)
}

/// Adds bytes to the last gap if they continue it, or as a new gap.
fn note(found: &mut Vec<Gap>, bytes: Range<u64>, shared: bool) {
    if bytes.is_empty() {
        return;
    }
    match found.last_mut().filter(|last| last.bytes.end == bytes.start && last.shared == shared) {
        Some(last) => last.bytes.end = bytes.end,
        None => found.push(Gap { bytes, shared }),
    }
}

/// Where the next data or hole begins; `None` after the last.
fn seek(file: BorrowedFd<'_>, from: u64, what: libc::c_int) -> io::Result<Option<u64>> {
    // SAFETY: an open descriptor; nothing depends on its position.
    let at = unsafe { libc::lseek(file.as_raw_fd(), from as libc::off_t, what) };
    if at >= 0 {
        return Ok(Some(at as u64));
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENXIO) => Ok(None),
        // A file system without holes.
        Some(libc::EINVAL | libc::EOPNOTSUPP) => {
            Ok(Some(if what == libc::SEEK_DATA { from } else { u64::MAX }))
        }
        _ => Err(error),
    }
}

/// The file's length, and the sectors of its blocks. Asked without its times: see `claim::length`.
fn size(file: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let mut answer = MaybeUninit::<libc::statx>::zeroed();
    let what = libc::STATX_SIZE | libc::STATX_BLOCKS;
    // SAFETY: an open descriptor, an empty path that says to look at it, and room for the answer.
    let rc = unsafe {
        libc::statx(file.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH, what, answer.as_mut_ptr())
    };
    if rc != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so it filled the answer in.
    let found = unsafe { answer.assume_init() };
    Ok((found.stx_size, found.stx_blocks))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileExt;

    const FRAME: u64 = 4096;

    /// Eight pages. The second and the last three have no blocks.
    fn sparse(at: &str) -> File {
        let file = tempfile::tempfile_in(at).unwrap();
        for page in [0, 2, 3, 4] {
            file.write_all_at(&[1; FRAME as usize], page * FRAME).unwrap();
        }
        file.set_len(8 * FRAME).unwrap();
        file.sync_all().unwrap();
        file
    }

    fn hole(pages: Range<u64>) -> Gap {
        Gap { bytes: pages.start * FRAME..pages.end * FRAME, shared: false }
    }

    #[test]
    fn holes_are_found_wherever_the_file_lies() {
        for at in [std::env::temp_dir().to_str().unwrap(), "/dev/shm"] {
            let file = sparse(at);
            let found = |within: Range<u64>| {
                gaps(file.as_fd(), within.start * FRAME..within.end * FRAME, false).unwrap()
            };
            assert_eq!(found(0..8), [hole(1..2), hole(5..8)], "{at}");
            assert_eq!(found(1..6), [hole(1..2), hole(5..6)], "{at}");
            assert_eq!(found(2..5), [], "{at}");
            assert_eq!(found(6..7), [hole(6..7)], "{at}");
            assert_eq!(found(3..3), [], "{at}");
            assert_eq!(by_seeks(file.as_fd(), 0..8 * FRAME).unwrap(), [hole(1..2), hole(5..8)], "{at}");
        }
    }

    #[test]
    fn blocks_that_were_never_written_are_gaps_where_that_is_asked() {
        for at in [std::env::temp_dir().to_str().unwrap(), "/dev/shm"] {
            let file = sparse(at);
            super::super::growth::fill(file.as_fd(), 5 * FRAME..7 * FRAME).unwrap();
            let found = |written| gaps(file.as_fd(), 0..8 * FRAME, written).unwrap();
            assert_eq!(found(true), [hole(1..2), hole(5..8)], "{at}");
            // Without `FIEMAP` they cannot be told from holes.
            let told = by_extents(file.as_fd(), 0..8 * FRAME, false).is_ok();
            assert_eq!(found(false), [hole(1..2), hole(if told { 7..8 } else { 5..8 })], "{at}");
        }
    }

    #[test]
    fn many_extents_are_found_in_several_answers() {
        let file = tempfile::tempfile().unwrap();
        let pages = 3 * EXTENTS as u64;
        for page in (0..pages).step_by(2) {
            file.write_all_at(&[1; FRAME as usize], page * FRAME).unwrap();
        }
        file.set_len(pages * FRAME).unwrap();
        file.sync_all().unwrap();
        let found = gaps(file.as_fd(), 0..pages * FRAME, false).unwrap();
        assert_eq!(found.len() as u64, pages / 2);
        assert_eq!(found[7], hole(15..16));
    }
}
