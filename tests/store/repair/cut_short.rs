//! A repair that is cut short by the death of its process or a power loss: nothing wrong is shown, and another repair
//! completes it.

use super::{FRAME, Missing, Pages, image_by, missing_apart, objects, options, repaired, shown, write};
use crate::damaged::{leaf, record};
use pagestone::persist::Recorder;
use pagestone::region::Identity;
use pagestone::store::Options;
use pagestone::units::Durability;
use pagestone_explorer::explore::{Crash, Judge, Plan, State, Trace, explore};
use pagestone_explorer::pick::Effort;
use std::sync::Arc;

/// The boot after a crash.
fn boot(crash: Crash) -> u8 {
    if crash == Crash::Power { 2 } else { 1 }
}

fn on(class: Durability, boot: u8) -> Options {
    options().assume(class).identity(Identity::plain([boot; 16], 1, 2, 3))
}

/// Compares each state that a crash leaves with the result of a whole repair.
struct Again {
    class: Durability,
    objects: Pages,
    missing: Missing,
    /// All pages of objects, including those of `lost+found-N`.
    pages: u64,
}

fn pages(image: &[u8]) -> u64 {
    options().open_image(image.to_vec()).unwrap().check().unwrap().counts.pages
}

impl Judge for Again {
    fn judge(&mut self, state: &State<'_>) -> Result<(), String> {
        let options = on(self.class, boot(state.crash));
        // Before another repair, all content that is shown is right, and no name that exists seems to be free.
        if let Ok(store) = options.open_image(state.image.to_vec()) {
            let gone = shown(&store, &self.objects, false, "before").gone;
            if gone.iter().any(|name| !self.missing.gone.contains(name)) {
                return Err(format!("{gone:?} seem not to exist"));
            }
        }
        let (done, image) = options.repair_image(state.image.to_vec()).map_err(|error| error.to_string())?;
        if !done.left.is_empty() {
            return Err(format!("left: {:#?}", done.left));
        }
        let (again, _) = options.repair_image(image.clone()).map_err(|error| error.to_string())?;
        if !again.repairs.is_empty() {
            return Err(format!("once more: {:#?}", again.repairs));
        }
        // Frames that the first repair took in vain may become pages of `lost+found-N`, too.
        let pages = pages(&image);
        let Missing { gone, lost, zeros } = missing_apart(image, &self.objects, "after");
        let whole = &self.missing;
        let as_many = lost + zeros == whole.lost + whole.zeros && zeros <= whole.zeros;
        if gone == whole.gone && as_many && pages >= self.pages {
            Ok(())
        } else {
            Err(format!("gone {gone:?}, lost {lost}, zeros {zeros}, {pages} pages of {}", self.pages))
        }
    }
}

/// A region with the smallest log: a repair takes many records, and a crash may come between any two.
fn image(objects: &Pages) -> Vec<u8> {
    image_by(&options().log_frames(4), |store| {
        objects.iter().for_each(|(name, pages)| write(store, name, pages));
    })
}

/// Objects with so many names that most chains of the directory have several records.
fn crowd() -> Pages {
    let crowd = (0..900).map(|n| (format!("crowd {n}"), vec![]));
    objects().into_iter().chain(crowd).collect()
}

fn explored(what: &str, damage: impl Fn(&mut [u8])) {
    explored_with(&objects(), what, damage);
}

fn explored_with(objects: &Pages, what: &str, damage: impl Fn(&mut [u8])) {
    for (class, cell) in [(Durability::Fdatasync, 512), (Durability::CacheLine, 64)] {
        let mut base = image(objects);
        damage(&mut base);
        let (_, whole) = repaired(base.clone(), what);
        let pages = pages(&whole);
        let missing = missing_apart(whole, objects, what);
        let recorder = Recorder::new();
        let (_, after) = on(class, 1).recorder(Arc::clone(&recorder)).repair_image(base.clone()).unwrap();
        assert_eq!(after.len(), base.len(), "{what}: the region grows, which this test does not follow");
        let trace = Trace { base, events: recorder.take(), class };
        let effort = Effort { exhaustive: 4, adversarial: 4, random: 2 };
        let plan = Plan { effort, between: 40, limit: 60, ..Plan::wide(cell, 7) };
        let mut judge = Again { class, objects: objects.clone(), missing, pages };
        let report = explore(&trace, &plan, &mut judge);
        assert!(report.violation.is_none(), "{what}, {class:?}: {}", report.violation.unwrap_or_default());
        assert!(report.distinct > 10, "{what}, {class:?}: {report}");
    }
}

fn frame(image: &mut [u8], frame: usize) -> &mut [u8] {
    &mut image[frame * FRAME..(frame + 1) * FRAME]
}

#[test]
fn a_directory_that_is_made_anew_hides_no_name_before_it_is_whole() {
    explored("directory", |image| frame(image, 12).fill(0));
}

#[test]
fn frames_of_records_bitmaps_and_tables_are_made_anew_in_an_order() {
    explored_with(&crowd(), "records", |image| {
        let at = record(image, "small 3") / FRAME;
        frame(image, at)[..512].fill(0x5a);
    });
    explored("bitmap", |image| frame(image, 10).fill(0));
    explored("table of groups", |image| frame(image, 9).fill(0));
    explored("root of the groups", |image| frame(image, 8).fill(0xff));
}

#[test]
fn a_map_that_lost_a_node_and_what_it_named_are_kept() {
    explored("a node of a map", |image| {
        let at = leaf(image, "two leaves").1 / FRAME;
        frame(image, at).fill(0);
    });
}

#[test]
fn lines_of_both_roots_and_the_superblock_are_rebuilt() {
    explored("superblock", |image| (0..2).for_each(|n| frame(image, n).fill(0)));
    explored("roots", |image| (6..8).for_each(|n| frame(image, n).fill(0)));
    explored("log header", |image| (2..4).for_each(|n| frame(image, n).fill(0)));
}
