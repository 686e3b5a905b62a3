//! Pins and latches on pages.
//!
//! A [`PageRef`] is a pin: while it lives, its frame is not given to another page, not unmapped, and its address stays.
//! It keeps no other thread out. Bytes are reached through a latch: [`ReadGuard`] (shared) or [`WriteGuard`]
//! (exclusive). All pins of a frame, however they were made, count on the frame's one descriptor, and dropping a
//! `PageRef` is the one way to release any of them.
//!
//! ```
//! use pagestone::{PageIndex, Store};
//!
//! # fn main() -> pagestone::Result {
//! let store = Store::options().open_memory(1 << 20)?;
//! let object = store.create("greeting")?;
//! let page = object.pin_mut(PageIndex(0))?;
//! page.write_range(0..5)?.copy_from_slice(b"hello");
//!
//! let same = object.pin(PageIndex(0))?.expect("no hole");
//! assert_eq!(same.address(), page.address());
//! assert_eq!(&same.read()?[..5], b"hello");
//! # Ok(())
//! # }
//! ```
//!
//! While a thread holds a guard, it calls nothing that may want the latch of the same page or wait for a thread that
//! does: no write, truncate, punch or read of that object, and no commit of a batch on the same store. What would wait
//! for a guard of its own thread is an error, [`WaitsForItself`](crate::Error::WaitsForItself), as far as it is known:
//! a thread's first 16 guards are. Where others commit batches, which latch many pages in the order of their frames, it
//! waits for no other page of the store either, but one of a higher pfn, and changes no object. Pins may be held across
//! all of them.
//!
//! A writer that waits for a page lets no new reader in, but threads that hold a guard of the region: for 50 ms at a time,
//! after which readers pass for as long. A copy ([`read_at`](crate::store::Object::read_at)) does not wait for it.

mod copy;
mod dirty;
mod drain;
mod guards;
mod kept;
mod latch;
mod latched;
mod owned;
mod pages;
mod pin;
mod pin_result;
mod raw;
mod registry;
mod roles;
mod run;
mod sync;

pub use crate::frame::PINS_MAX;
pub(crate) use guards::must_hold_none;
pub use latch::{READERS_MAX, ReadGuard, WriteGuard};
pub(crate) use latched::Latched;
pub use owned::{OwnedReadGuard, OwnedWriteGuard};
pub use pages::Pages;
pub use pin::{PageInfo, PageOwner, PageRef};
pub(crate) use pin_result::PinResult;
pub use registry::frames_at;
pub(crate) use roles::{Detached, Roles};
pub use run::{PinnedRange, ReadRange};
pub(crate) use sync::Dirt;
