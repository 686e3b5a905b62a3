//! All that printed cases call: `use pagestone_tests::oracle::prelude::*;`.

pub use libc::RLIMIT_FSIZE;

pub use super::ground::Ground;
pub use super::run::replay;
pub use super::step::{Case, Medium, Round, Setup, Step, Way, name};
pub use super::world::check;
pub use pagestone::frame::FrameTable;
pub use pagestone::media::rules::Rule;
pub use pagestone::page::PageRef;
pub use pagestone::store::{Object, Store, frames_at};
pub use pagestone::units::{Durability, PageIndex, PfnRange};
pub use pagestone_kit::limit::Limit;
pub use pagestone_workload::Op;
pub use std::time::Duration;

/// The bytes that a test stores: none is zero, and neighbours differ.
#[must_use]
pub fn bytes(seed: u8, len: usize) -> Vec<u8> {
    pagestone_workload::pattern::bytes(0, seed.into(), 0..len as u64)
}

/// One byte of an object.
///
/// # Panics
/// When the object has none there.
#[must_use]
pub fn byte(object: &Object, at: u64) -> u8 {
    let mut byte = [0];
    assert_eq!(object.read_at(at, &mut byte).ok(), Some(1), "byte {at} is past the end");
    byte[0]
}

/// Stores zeros between an object's end and the end of its last page.
///
/// # Errors
/// The store's.
pub fn zero_tail(object: &Object) -> pagestone::Result {
    let in_page = (object.len() % 4096) as usize;
    if in_page != 0
        && let Some(page) = object.pin(PageIndex::of_byte(object.len()))?
    {
        page.write_range(in_page..4096)?.fill(0);
    }
    Ok(())
}

/// Gives back the shared latch that a guard left.
pub fn unlatch_shared(page: &PageRef) {
    // SAFETY: the calling test has left one latch for each of these calls.
    unsafe { page.release_read() }
}

/// Gives back the exclusive latch that a guard left; nothing was stored under it.
///
/// # Panics
/// Never: an empty range lies in a page.
pub fn unlatch_exclusive(page: &PageRef) {
    // SAFETY: as above.
    let released = unsafe { page.release_write(0..0) };
    released.expect("an empty range lies in a page");
}

/// Gives a pin away by address and takes it back.
///
/// # Errors
/// The store's.
pub fn around_by_address(store: &Store, page: PageRef) -> pagestone::Result<PageRef> {
    let address = page.into_raw();
    // SAFETY: the pin left the line above, taken back once.
    unsafe { store.pages().adopt(address) }
}
