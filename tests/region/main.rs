//! Regions beside other processes, forks, full disks, files that are cut, and media of absurd size.

mod child;
mod claim;
mod descriptors;
mod growth;
mod lifetime;
mod medium;
mod naming;
mod probe;
mod refusal;
mod scale;
mod waiting;

use pagestone::region::{Region, RegionOptions, Source};
use std::path::Path;
use std::sync::Arc;

/// The file `path`, created where there is none.
fn attach(path: &Path) -> pagestone::Result<Arc<Region>> {
    attach_with(path, RegionOptions { create: true, ..Default::default() })
}

fn attach_with(path: &Path, options: RegionOptions) -> pagestone::Result<Arc<Region>> {
    Region::attach(Source::File { path: path.into() }, &options)
}
