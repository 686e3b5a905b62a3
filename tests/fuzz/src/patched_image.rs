//! A valid region is damaged, and then used at length as if nothing had happened.

use crate::edit::{Base, Edit, edited};
use crate::lives;
use crate::session::{Act, Session};
use crate::{Many, decode};
use arbitrary::Arbitrary;

#[derive(Arbitrary, Debug)]
struct Input {
    base: Base,
    edits: Many<Edit>,
    acts: Many<Act>,
}

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let Some(input) = decode::<Input>(bytes) else { return };
    let image = edited(input.base, &input.edits.0);
    if let Ok(store) = lives::options().open_image(image) {
        Session::new(store, input.edits.0.is_empty()).run(&input.acts.0);
    }
}
