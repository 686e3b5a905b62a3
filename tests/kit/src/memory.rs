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

#[test]
fn what_is_written_to_is_resident_and_has_addresses() {
    const BYTES: u64 = 32 << 20;
    let (resident_before, addresses_before) = (resident(), addresses());
    let bytes = vec![1_u8; BYTES as usize];
    assert!(std::hint::black_box(&bytes).iter().all(|byte| *byte == 1));
    assert!(resident() >= resident_before + BYTES / 2, "{} and then {}", resident_before, resident());
    assert!(addresses() >= addresses_before + BYTES / 2, "{} and then {}", addresses_before, addresses());
}
