//! Counters.

/// Counters of a store at one moment. Those of the frame table are of the whole process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Objects that have handles.
    pub open_objects: u64,
    /// Frames that have pins; cut off ones count until the next change frees them.
    pub pinned_pages: u64,
    /// Syncs that looked for something to do.
    pub syncs: u64,
    /// Frames the table has room for.
    pub table_frames: u64,
    /// Chunks of the table that have memory.
    pub table_chunks: u64,
    /// Bytes of that memory.
    pub table_bytes: u64,
    /// Descriptors populated so far.
    pub first_touches: u64,
    /// Chunks whose memory was given back.
    pub reclaimed_chunks: u64,
    /// Cache lines written back by a flush instruction.
    pub lines_flushed: u64,
    /// Cache lines written past the cache.
    pub lines_streamed: u64,
    /// Store fences.
    pub fences: u64,
    /// Whole-file syncs.
    pub file_syncs: u64,
    /// Ranges written through to the medium.
    pub write_throughs: u64,
    /// Log records appended: changes of what lies on the medium, except of bytes.
    pub records: u64,
    /// Their bytes.
    pub record_bytes: u64,
    /// Marks appended: commits that reached the medium.
    pub marks: u64,
    /// Moves of the log's tail.
    pub tail_moves: u64,
    /// Records replayed when the store was opened.
    pub recovered: u64,
}
