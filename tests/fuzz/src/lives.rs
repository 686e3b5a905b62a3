//! One image, opened again and again: the next life opens what a life leaves. No file is needed.

use crate::fixture;
use pagestone::Error;
use pagestone::region::{Region, region_of};
use pagestone::store::{CloseError, Options, Report, Store};
use std::sync::Arc;

/// Images stay small: a growth beyond this is `NoSpace`.
pub const BYTES_MAX: u64 = 4 << 20;

/// How the targets open an image.
pub fn options() -> Options {
    Options::new().max_size(BYTES_MAX).identity(fixture::IDENTITY)
}

/// The region of an open store.
fn region(store: &Store) -> Arc<Region> {
    region_of(store.info().pfns.start).expect("a store that is open has a region")
}

/// What a SIGKILL at this moment leaves of the store.
#[must_use]
pub fn killed(store: &Store) -> Vec<u8> {
    bytes(&region(store))
}

/// Closes the store in order. Returns what it leaves.
///
/// # Errors
/// The close was refused: the error has the store.
pub fn closed(store: Store) -> Result<Vec<u8>, CloseError> {
    let region = region(&store);
    store.close()?;
    Ok(bytes(&region))
}

fn bytes(region: &Region) -> Vec<u8> {
    let mut image = vec![0; region.len_bytes() as usize];
    region.memory().read(0, &mut image).expect("the region has that many bytes");
    image
}

/// Opens an image to read it and checks it.
pub fn examine(image: &[u8]) -> pagestone::Result<Report> {
    options().read_only(true).open_image(image.to_vec())?.check()
}

/// Whether an error says that the medium contradicts itself.
#[must_use]
pub fn blames_the_medium(error: &Error) -> bool {
    matches!(
        error,
        Error::Corrupt { .. }
            | Error::Truncated { .. }
            | Error::NotARegion { .. }
            | Error::Version { .. }
            | Error::Features { .. }
    )
}
