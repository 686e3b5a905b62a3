//! What the recorder saw, in one total order.

/// placeholder until persist lands
#[allow(missing_docs)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Store { thread: u32, offset: u64, bytes: Box<[u8]>, non_temporal: bool },
    Flush { thread: u32, line_offset: u64 },
    Fence { thread: u32 },
    SyncBegin { thread: u32 },
    SyncEnd { thread: u32 },
    WriteThroughBegin { thread: u32, offset: u64, len: u64 },
    WriteThroughEnd { thread: u32, offset: u64, len: u64 },
    Grow { bytes: u64 },
    Mark { thread: u32, label: u64 },
}
