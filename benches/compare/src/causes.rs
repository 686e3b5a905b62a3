//! Why Pagestone is slower where it is.

/// Causes for pin + read + unpin, by row and column.
pub fn of_reading(name: &str, column: usize) -> Option<&'static str> {
    const BARE: &str = "It protects nothing: the page may have been replaced by the time it is read, and an error of the \
        medium raises a signal. It is the lower limit for the other rows.";
    const OPTIMISTIC: &str = "An optimistic reader counts nothing, so it writes no memory. It also holds nothing: it repeats \
        its read if a writer interfered, and it cannot pass an address on.";
    const LATCHED: &str = "The number of a page gives its place in the pool: no map is read before the latch, and nothing \
        is checked again after it, because no page is ever cut off or moved. Its state word is half as \
        large as our descriptor.";
    const HOT_LATCHED: &str =
        "Two compare-exchanges of one word instead of our two additions; there is no look-up.";
    const SNAPSHOT: &str = "One transaction stays open for all reads. It pins everything at once: what is freed meanwhile is \
        not reused until it ends.";
    match (name, column) {
        (name, _) if name.starts_with("bare") || name.starts_with("mmap") => Some(BARE),
        (name, _) if name.contains("optimistic") => Some(OPTIMISTIC),
        (name, 2) if name.contains("shared latch") => Some(HOT_LATCHED),
        (name, _) if name.contains("shared latch") => Some(LATCHED),
        (name, _) if name.contains("one transaction") => Some(SNAPSHOT),
        _ => None,
    }
}

/// Causes for durable writes on a disk.
pub fn of_disk(name: &str, _: usize) -> Option<&'static str> {
    const FILE: &str = "The flush of the disk takes nearly all of the time. The rest is our bookkeeping: marking dirty \
        lines and finding them again.";
    const BATCH: &str = "A batch first writes its bytes to the log: twice the bytes, but all or nothing.";
    if name.contains("batch") { Some(BATCH) } else { Some(FILE) }
}

/// Causes for durable writes in memory.
pub fn of_memory(name: &str, _: usize) -> Option<&'static str> {
    const COPY: &str = "It copies and fences, and does nothing else. We latch the page, mark its lines as dirty, store, \
        and flush in a second call: other threads see the bytes before they are durable, and many writes \
        can share one sync.";
    const BATCH: &str = "A batch first writes its bytes to the log: twice the bytes, but all or nothing.";
    if name.contains("batch") { Some(BATCH) } else { Some(COPY) }
}
