//! One page, reached in three ways: one descriptor and one pin count.

use crate::failure::Failure;
use pagestone::store::frames_at;
use pagestone::units::PfnRange;
use pagestone::{Object, PageIndex, PageRef, Pfn, Store};

/// One page, reached by object, by pfn and by address.
#[derive(Debug)]
pub struct Identity {
    /// Its index in the object.
    pub index: u64,
    /// Its frame.
    pub pfn: Pfn,
    /// The address of its bytes.
    pub address: usize,
    /// The pin count after each of the three pins, and after all were dropped.
    pub pins: [u32; 4],
}

impl Identity {
    /// Whether the three ways led to one descriptor with one count.
    pub fn holds(&self) -> bool {
        self.pins == [1, 2, 3, 0]
    }
}

/// Pins page `index` of the object in three ways, one after the other.
pub fn three_ways(store: &Store, object: &Object, index: u64) -> Result<Identity, Failure> {
    let hole = || Failure::Other(format!("page {index} of the database has no frame"));
    let by_object = object.pin(PageIndex(index))?.ok_or_else(hole)?;
    let (pfn, address) = (by_object.pfn(), by_object.address());
    let first = by_object.info().pins;
    let by_pfn = store.frames(PfnRange::new(pfn, 1))?;
    let second = only(&by_pfn, pfn)?.info().pins;
    let by_address = frames_at(address, 1)?;
    let third = only(&by_address, pfn)?.info().pins;
    drop((by_object, by_pfn, by_address));
    // Pinned again to read the count; that pin is subtracted.
    let last = object.pin(PageIndex(index))?.ok_or_else(hole)?.info().pins - 1;
    Ok(Identity { index, pfn, address: address as usize, pins: [first, second, third, last] })
}

fn only(pages: &[PageRef], pfn: Pfn) -> Result<&PageRef, Failure> {
    match pages {
        [page] if page.pfn() == pfn => Ok(page),
        _ => Err(Failure::Other(format!("{pfn:?} was not found by another way in"))),
    }
}
