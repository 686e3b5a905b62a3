//! Pins and latches on pages.
//!
//! A [`PageRef`] is a pin. While it lives, its frame is not given to another page and not unmapped, and its address
//! stays valid. A pin excludes no other thread. Threads access the bytes under a latch: [`ReadGuard`] (shared) or
//! [`WriteGuard`] (exclusive). All pins of a frame, however they were made, are counted by the frame's one
//! descriptor, and dropping the `PageRef` releases any of them.
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
//! While a thread holds a guard, it must not call anything that may need the latch of the same page, or that may wait
//! for a thread that does: no write, truncate, punch or read of that object, and no commit of a batch on the same
//! store. A call that would wait for its own thread's guard returns an error,
//! [`WaitsForItself`](crate::Error::WaitsForItself), as far as the guard is known: the first 16 guards of a thread
//! are. If other threads commit batches, which latch many pages in the order of their frames, a thread with a guard
//! must also not wait for another page of the store, except one with a higher pfn, and must not change an object.
//! Pins may be held across all of these.
//!
//! A writer that waits for a page keeps new readers out, except threads that already hold a guard of the region: for
//! 50 ms at a time, after which readers pass for the same time. A copy ([`read_at`](crate::store::Object::read_at))
//! does not wait for such a writer.

mod alias;
mod copy;
mod dirty;
mod drain;
mod guards;
mod held;
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
mod window;

pub use crate::frame::PINS_MAX;
pub(crate) use alias::{Alias, Listed};
pub(crate) use guards::must_hold_none;
pub(crate) use held::Held;
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
pub(crate) use window::Window;
