//! An array that may be as long as the address space allows. Its memory appears where it is written.
//!
//! Until then it reads as zeros. A punch makes whole pages zero again and gives their memory back. The kernel's page
//! table is the only index. Its pages are not dumped with a core, and a forked child finds them all zero.
//!
//! Addresses are reserved without access and made accessible as needed: accessible memory counts under limits on
//! promised memory (`RLIMIT_DATA`, strict overcommit). It is never locked, because `mlockall` would fill it.

use super::atomic::{AtomicU32, AtomicU64, Ordering};
use std::io;
use std::ops::Range;

/// A type whose all-zero bytes are a valid value, shared by reference only.
///
/// # Safety
/// All-zero bytes are a valid `Self`, `Self` needs no destructor, and every field is an atomic: elements may become
/// zero at any time, under any number of references.
pub unsafe trait Zeroed: Sync {
    /// The all-zero value.
    fn zeroed() -> Self;
    /// What a punch does without a kernel: each word becomes zero in one step.
    fn wipe(&self);
}

// SAFETY: an atomic integer; zero bytes are zero.
unsafe impl Zeroed for AtomicU32 {
    fn zeroed() -> Self {
        Self::new(0)
    }
    fn wipe(&self) {
        // ORDERING: AcqRel swap: one point in the word's modification order, as the fault after a punch is.
        self.swap(0, Ordering::AcqRel);
    }
}

// SAFETY: as for AtomicU32.
unsafe impl Zeroed for AtomicU64 {
    fn zeroed() -> Self {
        Self::new(0)
    }
    fn wipe(&self) {
        // ORDERING: as for AtomicU32.
        self.swap(0, Ordering::AcqRel);
    }
}

/// The array. Its elements never move.
#[derive(Debug)]
pub struct LazyArray<T: Zeroed>(imp::Array<T>);

impl<T: Zeroed> LazyArray<T> {
    /// Reserves addresses for `len` elements, without memory.
    ///
    /// # Errors
    /// If the addresses cannot be reserved (`RLIMIT_AS`, strict overcommit).
    pub fn reserve(len: usize) -> io::Result<Self> {
        let array = Self::reserve_shut(len)?;
        array.open(len)?;
        Ok(array)
    }
    /// As [`reserve`](Self::reserve), but no element is accessible before it is [opened](Self::open).
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve).
    pub fn reserve_shut(len: usize) -> io::Result<Self> {
        imp::Array::reserve(len).map(Self)
    }
    /// Makes the first `len` elements accessible, for good. One caller at a time.
    ///
    /// # Errors
    /// If the kernel promises no memory for so many.
    pub fn open(&self, len: usize) -> io::Result<()> {
        self.0.open(len)
    }
    /// Element `index`, if it is accessible. Reading it costs no memory, but perhaps a page of page table.
    #[inline(always)]
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&T> {
        self.0.get(index)
    }
    /// The elements of `range`, if they are accessible.
    #[must_use]
    pub fn run(&self, range: Range<usize>) -> Option<&[T]> {
        self.0.run(range)
    }
    /// The number of elements.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// Whether the array is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Zeroes the whole pages inside `range` and gives their memory back.
    ///
    /// # Errors
    /// If the kernel refuses (memory locked by `mlockall`); nothing was lost and nothing was given back.
    pub fn punch(&self, range: Range<usize>) -> io::Result<()> {
        self.punch_many(std::slice::from_ref(&range))
    }
    /// [`punch`](Self::punch) for many ranges at little more than the cost of one: the processors of other threads
    /// are interrupted only once.
    ///
    /// # Errors
    /// As [`punch`](Self::punch); some ranges may then be punched and others not.
    pub fn punch_many(&self, ranges: &[Range<usize>]) -> io::Result<()> {
        self.0.punch_many(ranges)
    }
}

#[cfg(not(any(pagestone_loom, pagestone_shuttle, miri)))]
mod imp {
    use super::{Range, Zeroed, io};
    use crate::sync::atomic::{AtomicUsize, Ordering};
    use std::ptr::{self, NonNull};

    /// Unit in which memory appears and is given back.
    const PAGE_BYTES: usize = 4096;

    /// The calling process, for kernels from 6.14 on; earlier ones return EBADF.
    const PIDFD_SELF: libc::c_int = -10001;
    /// Maximum number of ranges that the kernel takes at once.
    const RANGES_MAX: usize = 1024;

    #[derive(Debug)]
    pub(super) struct Array<T> {
        /// Start of a private anonymous mapping of `len` elements, ours until drop.
        base: NonNull<T>,
        len: usize,
        /// Number of accessible elements: a part of the mapping that is readable and writable.
        open: AtomicUsize,
    }

    // SAFETY: the mapping belongs to no thread.
    unsafe impl<T: Zeroed> Send for Array<T> {}
    // SAFETY: only `&T` is handed out, and `Zeroed` requires `T: Sync`.
    unsafe impl<T: Zeroed> Sync for Array<T> {}

    impl<T: Zeroed> Array<T> {
        pub(super) fn reserve(len: usize) -> io::Result<Self> {
            let too_long = || io::Error::from(io::ErrorKind::OutOfMemory);
            let bytes = len.max(1).checked_mul(size_of::<T>()).ok_or_else(too_long)?;
            // SAFETY: a new mapping at an address of the kernel's choice disturbs nothing.
            let base = unsafe {
                libc::mmap(
                    ptr::null_mut(),
                    bytes,
                    libc::PROT_NONE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                    -1,
                    0,
                )
            };
            if base == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            let base_of = NonNull::new(base.cast()).ok_or_else(too_long)?;
            let array = Self { base: base_of, len, open: AtomicUsize::new(0) };
            // A huge page would make one touch cost 2 MiB. If the kernel has no huge pages, it refuses, which is as
            // good.
            // SAFETY: advice about our own mapping.
            unsafe { libc::madvise(base, bytes, libc::MADV_NOHUGEPAGE) };
            // Under `mlockall` new mappings are locked, and a locked mapping is filled when it becomes accessible.
            // SAFETY: our own mapping.
            if unsafe { libc::munlock(base, bytes) } != 0 {
                return Err(io::Error::last_os_error());
            }
            for advice in [libc::MADV_DONTDUMP, libc::MADV_WIPEONFORK] {
                // SAFETY: advice about our own mapping.
                if unsafe { libc::madvise(base, bytes, advice) } != 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(array)
        }

        pub(super) fn open(&self, len: usize) -> io::Result<()> {
            let len = len.min(self.len);
            // ORDERING: Relaxed: one caller at a time.
            let old = self.open.load(Ordering::Relaxed);
            if len <= old {
                return Ok(());
            }
            let from = old * size_of::<T>() / PAGE_BYTES * PAGE_BYTES;
            let bytes = (len * size_of::<T>()).next_multiple_of(PAGE_BYTES) - from;
            let start = self.base.as_ptr().cast::<u8>().wrapping_add(from);
            // SAFETY: whole pages of our own mapping, which the kernel rounded up to pages too.
            if unsafe { libc::mprotect(start.cast(), bytes, libc::PROT_READ | libc::PROT_WRITE) } != 0 {
                return Err(io::Error::last_os_error());
            }
            // ORDERING: Relaxed: an element's number reaches another thread by what comes after this.
            self.open.store(len, Ordering::Relaxed);
            Ok(())
        }

        #[inline(always)]
        pub(super) fn get(&self, index: usize) -> Option<&T> {
            // ORDERING: Relaxed: see `open`; it only grows.
            if index >= self.open.load(Ordering::Relaxed) {
                return None;
            }
            // SAFETY: `index` is inside the open mapping (the kernel aligned its start), which lives as long as `self`.
            let element = unsafe { self.base.add(index) };
            // SAFETY: zero bytes are a valid `T`, and all access is through its atomics (`Zeroed`).
            Some(unsafe { element.as_ref() })
        }

        pub(super) fn run(&self, range: Range<usize>) -> Option<&[T]> {
            // ORDERING: Relaxed: as `get`.
            if range.start > range.end || range.end > self.open.load(Ordering::Relaxed) {
                return None;
            }
            // SAFETY: `range` is inside the open mapping.
            let first = unsafe { self.base.add(range.start) };
            // SAFETY: as in `get`, for each element of the range.
            Some(unsafe { std::slice::from_raw_parts(first.as_ptr(), range.len()) })
        }

        pub(super) fn len(&self) -> usize {
            self.len
        }

        pub(super) fn punch_many(&self, ranges: &[Range<usize>]) -> io::Result<()> {
            for batch in ranges.chunks(RANGES_MAX) {
                let vectors: Vec<_> = batch.iter().filter_map(|range| self.whole_pages(range)).collect();
                if !vectors.is_empty() && !discard_together(&vectors) {
                    discard_one_by_one(&vectors)?;
                }
            }
            Ok(())
        }

        /// The whole pages inside `range`.
        fn whole_pages(&self, range: &Range<usize>) -> Option<libc::iovec> {
            let first = (range.start * size_of::<T>()).next_multiple_of(PAGE_BYTES);
            let end = range.end.min(self.len) * size_of::<T>() / PAGE_BYTES * PAGE_BYTES;
            (first < end).then(|| libc::iovec {
                iov_base: self.base.as_ptr().cast::<u8>().wrapping_add(first).cast(),
                iov_len: end - first,
            })
        }
    }

    impl<T> Drop for Array<T> {
        fn drop(&mut self) {
            // SAFETY: the mapping is ours, and no reference into it outlives `self`.
            unsafe { libc::munmap(self.base.as_ptr().cast(), self.len.max(1) * size_of::<T>()) };
        }
    }

    /// One call for all `vectors`; false if the kernel is too old for it (before 6.14), or did only a part.
    fn discard_together(vectors: &[libc::iovec]) -> bool {
        let bytes: usize = vectors.iter().map(|v| v.iov_len).sum();
        // SAFETY: the vectors lie in a mapping of ours whose elements may turn to zero at any time (`Zeroed`).
        let done = unsafe {
            libc::syscall(
                libc::SYS_process_madvise,
                PIDFD_SELF,
                vectors.as_ptr(),
                vectors.len(),
                libc::MADV_DONTNEED,
                0,
            )
        };
        usize::try_from(done) == Ok(bytes)
    }

    fn discard_one_by_one(vectors: &[libc::iovec]) -> io::Result<()> {
        for v in vectors {
            // SAFETY: as in `discard_together`.
            if unsafe { libc::madvise(v.iov_base, v.iov_len, libc::MADV_DONTNEED) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::sync::atomic::{AtomicU64, Ordering};

        #[test]
        fn an_older_kernel_gives_back_the_same_pages_one_by_one() {
            let array = Array::<AtomicU64>::reserve(2048).expect("address space");
            array.open(2048).expect("memory");
            let page = |i: usize| array.get(i * 512).expect("in range");
            (0..4).for_each(|i| page(i).store(1, Ordering::Release));
            let vectors: Vec<_> =
                [512..1024, 1536..2048].iter().filter_map(|r| array.whole_pages(r)).collect();
            discard_one_by_one(&vectors).expect("madvise");
            assert_eq!([0, 1, 2, 3].map(|i| page(i).load(Ordering::Acquire)), [1, 0, 1, 0]);
        }
    }
}

/// The atomics of loom and shuttle are more than memory, and Miri has no punch, so the elements are in heap memory.
#[cfg(any(pagestone_loom, pagestone_shuttle, miri))]
mod imp {
    use super::{Range, Zeroed, io};

    #[derive(Debug)]
    pub(super) struct Array<T>(Box<[T]>);

    impl<T: Zeroed> Array<T> {
        pub(super) fn reserve(len: usize) -> io::Result<Self> {
            Ok(Self((0..len).map(|_| T::zeroed()).collect()))
        }
        pub(super) fn open(&self, _len: usize) -> io::Result<()> {
            Ok(())
        }
        pub(super) fn get(&self, index: usize) -> Option<&T> {
            self.0.get(index)
        }
        pub(super) fn run(&self, range: Range<usize>) -> Option<&[T]> {
            self.0.get(range)
        }
        pub(super) fn len(&self) -> usize {
            self.0.len()
        }
        pub(super) fn punch_many(&self, ranges: &[Range<usize>]) -> io::Result<()> {
            for element in ranges.iter().flat_map(|range| &self.0[range.start..range.end.min(self.0.len())]) {
                element.wipe();
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 4096 words are eight pages of 512.
    fn filled() -> LazyArray<AtomicU64> {
        let array = LazyArray::<AtomicU64>::reserve(4096).expect("address space");
        for i in 0..4096 {
            array.get(i).expect("in range").store(1, Ordering::Release);
        }
        array
    }

    fn zeros(array: &LazyArray<AtomicU64>) -> Vec<usize> {
        (0..4096).filter(|i| array.get(*i).expect("in range").load(Ordering::Acquire) == 0).collect()
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no pages")]
    fn what_is_not_open_is_not_there_and_neighbours_share_a_page() {
        let array = LazyArray::<AtomicU64>::reserve_shut(1 << 20).expect("address space");
        assert!(array.get(0).is_none() && array.run(0..1).is_none() && array.len() == 1 << 20);
        for open in [3, 700, 700, 1 << 20, usize::MAX] {
            array.open(open).expect("memory");
            let end = open.min(1 << 20);
            array.get(end - 1).expect("open").fetch_add(1, Ordering::Relaxed);
            assert!(
                array.get(end).is_none() && array.run(0..end).is_some() && array.run(0..end + 1).is_none()
            );
        }
        assert_eq!(array.get(699).expect("open").load(Ordering::Relaxed), 2);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no pages")]
    fn punched_pages_read_as_zero_and_their_neighbours_keep_their_words() {
        let array = filled();
        // 512..1024 is the one whole page in these ranges.
        array.punch_many(&[500..1030, 2049..2050, 2560..2560]).expect("punch");
        assert_eq!(zeros(&array), (512..1024).collect::<Vec<_>>());
        assert!(array.get(4096).is_none());
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no pages")]
    fn more_ranges_than_the_kernel_takes_at_once_are_all_punched() {
        let array = filled();
        let mut ranges = vec![0..512; 2000];
        ranges.push(3584..4096);
        array.punch_many(&ranges).expect("punch");
        assert_eq!(zeros(&array), (0..512).chain(3584..4096).collect::<Vec<_>>());
    }
}
