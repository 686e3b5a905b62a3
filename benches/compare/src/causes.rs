//! Why we lose what we lose.

/// Of pin + read + unpin; by row and column.
pub fn of_reading(name: &str, column: usize) -> Option<&'static str> {
    const BARE: &str = "It protects nothing: the page may be another one by the time it is read, and an error of the medium \
                        is a signal. It is the floor that the others stand on.";
    const OPTIMISTIC: &str = "A reader by version counts nothing, so it writes no memory. It holds nothing either: its \
                              reads are repeated where a writer came between, and it can hand no address on.";
    const LATCHED: &str = "A page's place is its number there: no map is read before the latch, and nothing is looked at \
                           a second time behind it, since no page is ever cut off or moved. Its word has half the size of \
                           our descriptor.";
    const HOT_LATCHED: &str =
        "Two compare-exchanges of one word against our two additions; nothing is looked up.";
    const SNAPSHOT: &str = "One transaction is held through all reads. It pins everything at once: what is freed \
                            meanwhile is not used again until it ends.";
    match (name, column) {
        (name, _) if name.starts_with("bare") || name.starts_with("mmap") => Some(BARE),
        (name, _) if name.contains("optimistic") => Some(OPTIMISTIC),
        (name, 2) if name.contains("shared latch") => Some(HOT_LATCHED),
        (name, _) if name.contains("shared latch") => Some(LATCHED),
        (name, _) if name.contains("one transaction") => Some(SNAPSHOT),
        _ => None,
    }
}

/// Of durable writes on a disk.
pub fn of_disk(name: &str, _: usize) -> Option<&'static str> {
    const FILE: &str = "The disk's flush is nearly all of it. What is left is ours: marking what is dirty, and finding it \
                        again.";
    const BATCH: &str = "A batch writes its bytes to the log first: twice the bytes, for all or nothing.";
    if name.contains("batch") { Some(BATCH) } else { Some(FILE) }
}

/// Of durable writes in memory.
pub fn of_memory(name: &str, _: usize) -> Option<&'static str> {
    const COPY: &str = "It copies and fences, and does nothing else. We latch the page, mark its lines as dirty, store, and \
                        flush in a second call: the bytes are visible to others before they are durable, and many writes \
                        can share one sync.";
    const BATCH: &str = "A batch writes its bytes to the log first: twice the bytes, for all or nothing.";
    if name.contains("batch") { Some(BATCH) } else { Some(COPY) }
}
