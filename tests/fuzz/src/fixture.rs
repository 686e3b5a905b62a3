//! Regions of format 1 that are kept: this release and every later one must open them. The fuzz targets start from them
//! too.
//!
//! They are never made again. `cargo run -p pagestone-fuzzing --bin fixture` made them, and will make those of a later
//! format. It overwrites nothing.

use flate2::read::GzDecoder;
use pagestone::region::Identity;
use std::io::Read;
use std::sync::LazyLock;

/// The identity with which the fixtures were written. An image that is opened with it counts as the same file on the same
/// boot: the page cache still has what the owner stored.
pub const IDENTITY: Identity = Identity::plain(*b"fixture-format-1", 1, 2, 3);

static KILLED: LazyLock<Vec<u8>> =
    LazyLock::new(|| unpack(include_bytes!("../../fixtures/format-1.killed.gz")));
static BATCHED: LazyLock<Vec<u8>> =
    LazyLock::new(|| unpack(include_bytes!("../../fixtures/format-1.batched.gz")));
static CLOSED: LazyLock<Vec<u8>> =
    LazyLock::new(|| unpack(include_bytes!("../../fixtures/format-1.closed.gz")));

/// A region whose owner was killed. It has records in the log, some of them not marked, a half truncated object, an object
/// without a name, and a busy frame.
#[must_use]
pub fn killed() -> &'static [u8] {
    &KILLED
}

/// The same region after another owner had opened and closed it.
#[must_use]
pub fn closed() -> &'static [u8] {
    &CLOSED
}

/// The killed owner's region after a few more batches: there are lines and a payload in the log.
#[must_use]
pub fn batched() -> &'static [u8] {
    &BATCHED
}

fn unpack(packed: &[u8]) -> Vec<u8> {
    let mut image = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut image).expect("a fixture that was committed");
    image
}
