//! What the fuzz targets do with their input. In `fuzz/` libFuzzer drives them; `tests/corpus.rs` runs the inputs that
//! are kept in `fuzz/corpus` on stable Rust.

mod anatomy;
mod any_image;
mod c_calls;
mod checked_image;
pub mod contents;
mod edit;
pub mod fixture;
pub mod format;
mod guarded_image;
mod lives;
mod operations;
mod patched_image;
mod redo;
mod replayed_log;
mod session;

pub use any_image::run as any_image;
pub use c_calls::run as c_calls;
pub use checked_image::run as checked_image;
pub use guarded_image::run as guarded_image;
pub use operations::run as operations;
pub use patched_image::run as patched_image;
pub use replayed_log::run as replayed_log;

use arbitrary::{Arbitrary, Unstructured};
use std::fmt::Debug;
use std::sync::LazyLock;

/// A target: runs one input, and panics when a promise is broken.
pub type Target = fn(&[u8]);

/// All of them, by their names in `fuzz/`.
pub const TARGETS: [(&str, Target); 7] = [
    ("any_image", any_image),
    ("checked_image", checked_image),
    ("patched_image", patched_image),
    ("guarded_image", guarded_image),
    ("replayed_log", replayed_log),
    ("c_calls", c_calls),
    ("operations", operations),
];

/// The input that `bytes` encode.
fn decode<'a, T: Arbitrary<'a> + Debug>(bytes: &'a [u8]) -> Option<T> {
    let input = T::arbitrary_take_rest(Unstructured::new(bytes)).ok()?;
    show(&input);
    Some(input)
}

/// Shows an input, or a part of it, if `PAGESTONE_FUZZ_SHOW` is set.
fn show(input: &impl Debug) {
    static SHOW: LazyLock<bool> = LazyLock::new(|| std::env::var_os("PAGESTONE_FUZZ_SHOW").is_some());
    if *SHOW {
        println!("{input:#?}");
    }
}

/// A list as long as the input has bytes for: arbitrary's own lists end at every other element.
#[derive(Debug)]
struct Many<T>(Vec<T>);

/// The most elements of a list.
const MANY: usize = 64;

impl<'a, T: Arbitrary<'a>> Arbitrary<'a> for Many<T> {
    fn arbitrary(from: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let mut all = Vec::new();
        while all.len() < MANY && !from.is_empty() && from.ratio(7_u8, 8_u8)? {
            all.push(T::arbitrary(from)?);
        }
        Ok(Self(all))
    }
}
