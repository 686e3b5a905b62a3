//! What the kernel says of this process's memory.

/// A size in `/proc/self/status`, in bytes: `VmRSS`, `VmPTE`, `RssAnon` and others.
///
/// # Panics
/// When there is no such size.
#[must_use]
pub fn status(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("there is a /proc");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).expect("a size");
    kib.parse::<u64>().expect("a number") * 1024
}

/// Bytes of memory that this process has.
#[must_use]
pub fn resident() -> u64 {
    status("VmRSS")
}

/// Bytes of addresses that this process has.
#[must_use]
pub fn addresses() -> u64 {
    status("VmSize")
}

/// As many mappings as the kernel lets this process have (`vm.max_map_count`). A drop lets them go.
#[derive(Debug)]
pub struct Crowd(Vec<(*mut libc::c_void, usize)>);

impl Crowd {
    /// Takes all mappings that are left.
    ///
    /// # Panics
    /// When there is no end of them.
    #[must_use]
    pub fn take() -> Self {
        const PAGE: usize = 4096;
        let most = std::fs::read_to_string("/proc/sys/vm/max_map_count").expect("the kernel says how many");
        let len = (most.trim().parse::<usize>().expect("a number") + 2) * PAGE;
        let start = map(len, libc::PROT_NONE).expect("there are addresses");
        let mut crowd = Self(Vec::with_capacity(16));
        crowd.0.push((start, len));
        // Every other page gets another protection, so that none can be one mapping with its neighbour.
        // SAFETY: pages of the new mapping.
        let split = |at| unsafe { libc::mprotect(start.wrapping_byte_add(at), PAGE, libc::PROT_READ) } == 0;
        assert!(!(PAGE..len).step_by(2 * PAGE).all(split), "the process has as many mappings as it likes");
        // The kernel splits none any more, and adds one more.
        for access in [libc::PROT_READ, libc::PROT_NONE].into_iter().cycle().take(16) {
            match map(PAGE, access) {
                Some(start) => crowd.0.push((start, PAGE)),
                None => return crowd,
            }
        }
        panic!("the process can have as many mappings as it likes");
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for (start, len) in self.0.drain(..) {
            // SAFETY: its own mapping.
            unsafe { libc::munmap(start, len) };
        }
    }
}

/// Addresses without memory.
fn map(len: usize, access: i32) -> Option<*mut libc::c_void> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), len, access, flags, -1, 0) };
    (start != libc::MAP_FAILED).then_some(start)
}

/// The word at an address; none if a load would fault.
#[must_use]
pub fn peek(address: *const u8) -> Option<u64> {
    let mut word = 0_u64;
    let to = libc::iovec { iov_base: (&raw mut word).cast(), iov_len: 8 };
    let from = libc::iovec { iov_base: address.cast_mut().cast(), iov_len: 8 };
    let own = std::process::id() as libc::pid_t;
    // SAFETY: room for a word; the kernel checks the other address.
    let read = unsafe { libc::process_vm_readv(own, &raw const to, 1, &raw const from, 1, 0) };
    (read == 8).then_some(word)
}

/// Locks these bytes in memory; false if the process may not.
#[must_use]
pub fn lock(address: *const u8, len: usize) -> bool {
    // SAFETY: it changes no byte.
    unsafe { libc::mlock(address.cast(), len) == 0 }
}

/// Whether the kernel can make pages of a mapped file fault (`MADV_GUARD_INSTALL`).
///
/// # Panics
/// When no file can be mapped.
#[must_use]
pub fn can_fault() -> bool {
    const PAGE: usize = 4096;
    const GUARD_INSTALL: i32 = 102;
    let file = tempfile::tempfile().expect("there is room for a file");
    file.set_len(PAGE as u64).expect("there is room for a page");
    let (access, file) = (libc::PROT_READ, std::os::fd::AsRawFd::as_raw_fd(&file));
    // SAFETY: a new mapping at an address of the kernel's choice.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, access, libc::MAP_SHARED, file, 0) };
    assert_ne!(page, libc::MAP_FAILED, "a page of a file can be mapped");
    // SAFETY: its own mapping, which nothing reads.
    let can = unsafe { libc::madvise(page, PAGE, GUARD_INSTALL) == 0 };
    // SAFETY: as above.
    unsafe { libc::munmap(page, PAGE) };
    can
}

#[test]
fn what_is_written_to_is_resident_and_has_addresses() {
    const BYTES: u64 = 32 << 20;
    let (resident_before, addresses_before) = (resident(), addresses());
    let bytes = vec![1_u8; BYTES as usize];
    assert!(std::hint::black_box(&bytes).iter().all(|byte| *byte == 1));
    assert!(resident() >= resident_before + BYTES / 2, "{} and then {}", resident_before, resident());
    assert!(addresses() >= addresses_before + BYTES / 2, "{} and then {}", addresses_before, addresses());
}
