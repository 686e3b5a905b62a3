//! The regions of format 1 that were kept: what this and every later release must open. They are also what the fuzz
//! targets start from.
//!
//! They are never made again. `cargo run -p pagestone-fuzzing --bin fixture` made them, and makes those of a later
//! format; it overwrites nothing.

use flate2::read::GzDecoder;
use pagestone::region::Identity;
use std::io::Read;
use std::sync::LazyLock;

/// Where the fixtures were written: an image that is opened with this identity is the file that its owner left, and
/// the page cache still has what that owner stored.
pub const IDENTITY: Identity = Identity::plain(*b"fixture-format-1", 1, 2, 3);

static KILLED: LazyLock<Vec<u8>> =
    LazyLock::new(|| unpack(include_bytes!("../../fixtures/format-1.killed.gz")));
static BATCHED: LazyLock<Vec<u8>> =
    LazyLock::new(|| unpack(include_bytes!("../../fixtures/format-1.batched.gz")));
static CLOSED: LazyLock<Vec<u8>> =
    LazyLock::new(|| unpack(include_bytes!("../../fixtures/format-1.closed.gz")));

/// A region whose owner was killed: records in the log, some of them under no mark, an object half truncated, one
/// without a name, a busy frame.
#[must_use]
pub fn killed() -> &'static [u8] {
    &KILLED
}

/// The same region after another owner had opened and closed it.
#[must_use]
pub fn closed() -> &'static [u8] {
    &CLOSED
}

/// The first region after a few batches more of the killed owner: lines and a payload in the log.
#[must_use]
pub fn batched() -> &'static [u8] {
    &BATCHED
}

fn unpack(packed: &[u8]) -> Vec<u8> {
    let mut image = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut image).expect("a fixture that was committed");
    image
}
