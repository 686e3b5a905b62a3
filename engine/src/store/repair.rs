//! Repair of a region that is damaged.

use super::Options;
use crate::engine::let_go;
use crate::error::Result;
use crate::media::lease::Lease;
use crate::media::repair::{self, Repaired};
use crate::region::{Region, Source};
use std::path::Path;
use std::sync::Arc;

impl Options {
    /// Repairs the region in a file, or on a devdax device, as far as that is possible, and says what it did. With
    /// [`read_only`](Self::read_only) it says what it would do, and writes nothing: repair a second time, without it,
    /// if that is what you want.
    ///
    /// No page is replaced by zeros: what cannot be read any more is *lost*, and reading it stays an error until a hole
    /// is made there or the object is removed. Writing it is an error too, even a whole page: make the hole first. Pages that
    /// were lost with one part of the map need one hole over all of them, up to the object's end; the error of any such call
    /// says how far they reach. An object that is not all there is flagged, which
    /// [`Store::check`](super::Store::check) counts. What was allocated and belongs to no object any more
    /// becomes an object `lost+found-N`, where anything was lost.
    ///
    /// A region that [`Store::check`](super::Store::check) finds clean is left as it is. Keep a copy of a damaged file
    /// before you repair it.
    ///
    /// ```
    /// # use pagestone::Store;
    /// # fn main() -> pagestone::Result {
    /// # let folder = tempfile::tempdir().map_err(|e| pagestone::Error::Invalid(e.to_string()))?;
    /// # let path = folder.path().join("data.pgs");
    /// # Store::options().create(true).open(&path)?.close()?;
    /// for repair in Store::options().read_only(true).repair(&path)?.repairs {
    ///     println!("{} at byte {:#x}: {}", repair.what, repair.at, repair.detail);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Durability
    /// Durable on return. If it is cut short, by a loss of power too, it can be repeated.
    ///
    /// # Errors
    /// As [`open`](Self::open); `Features` also for features that only a writer must know; `NoSpace` where there is no
    /// room for what has to be made anew.
    pub fn repair(&self, path: impl AsRef<Path>) -> Result<Repaired> {
        let source = Source::File { path: path.as_ref().to_path_buf() };
        let mut options = self.clone();
        (options.region.create, options.region.create_new) = (false, false);
        let region = Region::attach(source, &options.region)?;
        let repaired = options.repair_region(&region, usize::MAX);
        let _ = let_go(region);
        repaired.map(|(repaired, _)| repaired)
    }

    /// Repairs a region with these bytes: what was done, and the bytes then (for damaged regions).
    ///
    /// # Errors
    /// As [`repair`](Self::repair).
    #[cfg(any(test, feature = "internals"))]
    #[doc(hidden)]
    pub fn repair_image(&self, image: Vec<u8>) -> Result<(Repaired, Vec<u8>)> {
        self.begin_repair_of_image(image, usize::MAX).map(|(repaired, image, _)| (repaired, image))
    }

    /// As [`repair_image`](Self::repair_image), cut short behind so many of the steps that no crash divides. Whether these were
    /// all.
    ///
    /// # Errors
    /// As [`repair`](Self::repair).
    #[cfg(any(test, feature = "internals"))]
    #[doc(hidden)]
    pub fn begin_repair_of_image(&self, image: Vec<u8>, steps: usize) -> Result<(Repaired, Vec<u8>, bool)> {
        let region = Region::attach(Source::Image(image), &self.region)?;
        let repaired = self.repair_region(&region, steps).and_then(|(repaired, all)| {
            let mut image = vec![0; region.len_bytes() as usize];
            region.memory().read(0, &mut image)?;
            Ok((repaired, image, all))
        });
        let _ = let_go(region);
        repaired
    }

    fn repair_region(&self, region: &Arc<Region>, steps: usize) -> Result<(Repaired, bool)> {
        Lease::refuse_living_owner(region)?;
        repair::repair(region, self.rules, steps)
    }
}
