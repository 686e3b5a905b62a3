//! The frame table: one descriptor for each frame of the process, in a flat array indexed by pfn, whose memory appears
//! with the first touch of a chunk and goes when the chunk is idle.
//!
//! | file | holds |
//! |---|---|
//! | `state` | the state word: picture, states, table of transitions |
//! | `descriptor` | the transitions as read-modify-writes |
//! | `table` | pin, put, peek |
//! | `pinned` | a frame that its caller has pinned: what needs a pin is a method of it |
//! | `populate` | first touch: the protocol of void increments |
//! | `reclaim` | giving chunks back |
//! | `lifecycle` | hold, orphan, retire |
//! | `latch` | latches, versions |
//! | `waiting` | the wait word: sleeping, waking, and whose turn it is |
//! | `dirty` | dirty lines |
//! | `chunk` | chunk map, stripes, order of population |
//! | `space`, `closed` | pfns handed out; ranges being detached |
//! | `version` | where versions start |
//! | `process` | the process's table; forks |
//!
//! # Invariants
//! - A descriptor has one address as long as its pfn is handed out, and no count in it is ever lost.
//! - Idle is zero pins; a zero word is an unpopulated frame; no half-built descriptor is seen.
//! - HOLD and ORPHAN admit no new pin.
//! - Of all the puts of an orphan exactly one learns that it was the last.
//! - `peek` only loads.
//! - A writer that waits is not passed for ever, and makes no reader wait for ever.

mod chunk;
mod closed;
mod descriptor;
mod dirty;
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
pub use latch::Manner;
pub use outcome::{HoldOutcome, OrphanOutcome, PinOutcome, SharedOutcome, UnpinOutcome};
pub use pinned::{Home, OfProcess, Pinned};
pub use state::{PINS_MAX, SHARED_MAX, Snapshot, Version};
pub use table::{CHUNK_BUDGET, FRAMES_MAX, FrameStats, FrameTable};
#[cfg(pagestone_loom)]
pub use waiting::model;
