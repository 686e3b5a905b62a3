//! `check` of mutated images: it ends, finds the same twice, changes nothing, and finds every defect that using the
//! region would meet.

use crate::edit::{Base, Edit, edited};
use crate::lives::{self, blames_the_medium};
use crate::session::{Act, Session};
use crate::{Many, decode};
use arbitrary::Arbitrary;

#[derive(Arbitrary, Debug)]
struct Input {
    base: Base,
    /// The image's length changes by so many pages.
    longer: i8,
    /// Look twice.
    twice: bool,
    edits: Many<Edit>,
    acts: Many<Act>,
}

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let Some(input) = decode::<Input>(bytes) else { return };
    let mut image = edited(input.base, &input.edits.0);
    if input.longer != 0 {
        image.resize(image.len().saturating_add_signed(isize::from(input.longer) * 4096), 0);
    }
    let examined = lives::examine(&image);
    if let (true, Ok(first)) = (input.twice, &examined) {
        let again = lives::examine(&image).expect("it was opened before");
        assert_eq!(*first, again, "two looks, two reports");
    }
    match (lives::options().open_image(image), examined) {
        (Err(error), Ok(report)) => {
            assert!(!report.is_clean(), "opening refuses what check finds clean: {error}")
        }
        (Err(error), Err(_)) => assert!(blames_the_medium(&error), "{error}"),
        (Ok(_), Err(error)) => panic!("a writer opens what a reader cannot: {error}"),
        (Ok(store), Ok(report)) => {
            let trusted = report.is_clean();
            if trusted {
                assert!(store.check().is_ok_and(|report| report.is_clean()), "a writer sees another region");
            }
            Session::new(store, trusted).run(&input.acts.0);
        }
    }
}
