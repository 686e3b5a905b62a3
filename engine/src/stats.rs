//! Counters.

/// Counters of a store at one moment. Those of the frame table are of the whole process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Objects with handles.
    pub open_objects: u64,
    /// Frames with pins. Frames that were cut off count until the next change frees them.
    pub pinned_pages: u64,
    /// Syncs, including those that found nothing to do.
    pub syncs: u64,
    /// Capacity of the table in frames.
    pub table_frames: u64,
    /// Chunks of the table with memory.
    pub table_chunks: u64,
    /// Bytes of that memory.
    pub table_bytes: u64,
    /// Descriptors populated so far.
    pub table_first_touches: u64,
    /// Chunks whose memory was given back.
    pub table_reclaims: u64,
    /// Cache lines written back by a flush instruction.
    pub lines_flushed: u64,
    /// Cache lines written by non-temporal stores.
    pub lines_streamed: u64,
    /// Store fences.
    pub fences: u64,
    /// Whole-file syncs.
    pub file_syncs: u64,
    /// Ranges written through to the medium.
    pub write_throughs: u64,
    /// Log records appended: changes of the structures on the medium, not of bytes.
    pub log_records: u64,
    /// Bytes of these records.
    pub log_bytes: u64,
    /// Marks appended: each commits all records before it.
    pub log_commits: u64,
    /// Moves of the log's tail.
    pub log_tail_moves: u64,
    /// Batches committed.
    pub batches: u64,
    /// Records replayed when the store was opened.
    pub log_recovered: u64,
    /// Things that should be freed but cannot, because the medium is damaged there; `check` names each.
    pub set_aside: u64,
}

impl Stats {
    /// Each counter with its name.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("open_objects", self.open_objects),
            ("pinned_pages", self.pinned_pages),
            ("syncs", self.syncs),
            ("table_frames", self.table_frames),
            ("table_chunks", self.table_chunks),
            ("table_bytes", self.table_bytes),
            ("table_first_touches", self.table_first_touches),
            ("table_reclaims", self.table_reclaims),
            ("lines_flushed", self.lines_flushed),
            ("lines_streamed", self.lines_streamed),
            ("fences", self.fences),
            ("file_syncs", self.file_syncs),
            ("write_throughs", self.write_throughs),
            ("log_records", self.log_records),
            ("log_bytes", self.log_bytes),
            ("log_commits", self.log_commits),
            ("log_tail_moves", self.log_tail_moves),
            ("batches", self.batches),
            ("log_recovered", self.log_recovered),
            ("set_aside", self.set_aside),
        ]
        .into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::Stats;

    #[test]
    fn no_counter_is_left_out_of_the_fields() {
        let shown = format!("{:?}", Stats::default());
        assert_eq!(Stats::default().fields().count(), shown.matches(": 0").count());
        assert!(Stats::default().fields().all(|(name, _)| shown.contains(&format!("{name}: "))));
    }
}
