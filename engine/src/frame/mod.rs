//! The frame table: one descriptor for each frame of the process, in a flat array indexed by pfn. The memory of a
//! descriptor appears when its chunk is first touched, and goes when the chunk is idle. A *put* is the end of a pin.
//!
//! | file | contents |
//! |---|---|
//! | `state` | the state word: layout, states, table of transitions |
//! | `descriptor` | the transitions as read-modify-writes |
//! | `table` | pin, put, peek |
//! | `pinned` | a frame that its caller has pinned, with all operations that need a pin |
//! | `frames` | the frames of one region, for callers without a pin |
//! | `populate` | first touch: the protocol of void increments |
//! | `reclaim` | giving chunks back |
//! | `lifecycle` | hold, orphan, retire |
//! | `latch` | latches, versions |
//! | `waiting` | the wait word: sleeping, waking, and the order of waiters |
//! | `dirty` | dirty lines |
//! | `chunk` | chunk map, stripes, order of population |
//! | `space`, `closed` | pfns handed out; ranges being detached |
//! | `version` | where versions start |
//! | `process` | the process's table; forks |
//!
//! # Invariants
//! - A descriptor has one address as long as its pfn is in use, and no count in it is ever lost.
//! - An idle frame has zero pins; a zero word is an unpopulated frame; a descriptor is never seen half made.
//! - HOLD and ORPHAN admit no new pin, except another pin of a caller that already has one.
//! - Exactly one put of an orphan learns that it was the last.
//! - `peek` only loads.
//! - A waiting writer is not passed for ever, and does not make a reader wait for ever.

mod chunk;
mod closed;
mod descriptor;
mod dirty;
#[cfg(not(pagestone_loom))]
mod frames;
mod latch;
mod lifecycle;
mod outcome;
mod pinned;
mod populate;
#[cfg_attr(pagestone_shuttle, allow(dead_code, reason = "each schedule has a table of its own"))]
mod process;
mod reclaim;
mod space;
mod state;
mod table;
mod version;
mod waiting;

pub use descriptor::{Descriptor, before_stores_under_latches_of_another};
#[cfg(not(pagestone_loom))]
pub use frames::Frames;
pub use latch::Manner;
pub use outcome::{HoldOutcome, OrphanOutcome, PinOutcome, SharedOutcome, UnpinOutcome};
pub use pinned::{Home, OfProcess, Pinned};
pub use state::{PINS_MAX, SHARED_MAX, Snapshot, Version};
pub use table::{CHUNK_BUDGET, FRAMES_MAX, FrameStats, FrameTable};
#[cfg(pagestone_loom)]
pub use waiting::model;
