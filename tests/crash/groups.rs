//! Growth from one group of frames into the next, and back out of it, crashed everywhere.

use pagestone::Store;
use pagestone::media::layout::{GROUP_FRAMES, file_bytes};
use pagestone::media::rules::{Rule, Rules};
use pagestone::persist::{Event, Recorder};
use pagestone::region::Identity;
use pagestone::store::Options;
use pagestone::units::Durability::{self, CacheLine, Fdatasync};
use pagestone_explorer::{Crash, Judge, Plan, Report, State, Trace, explore};
use pagestone_tests::crash::life::{HOME, SEARCH, rebooted, scaled};
use pagestone_tests::crash::recover::check;
use std::sync::Arc;

const PAGE: u64 = 4096;
/// Frames that are missing to a whole group when the growth begins.
const LACKING: u64 = 40;
/// Pages of the object that makes the region grow into the next group.
const PAGES: u64 = 90;

fn options(class: Durability, rules: Rules, identity: Identity) -> Options {
    Store::options().assume(class).identity(identity).rules(rules).max_size(file_bytes(GROUP_FRAMES + 4_000))
}

/// The bytes of a region that nearly fills its first group. Most of them are zeros.
fn base() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("region");
    let options = Store::options().create(true).log_frames(4).max_size(file_bytes(GROUP_FRAMES - LACKING));
    let store = options.open(&path).unwrap();
    let object = store.create("most").unwrap();
    object.allocate(0, (GROUP_FRAMES - LACKING - 200) * PAGE).unwrap();
    drop(object);
    store.close().unwrap();
    std::fs::read(path).unwrap()
}

/// Whenever growth was interrupted, the region opens, is sound, and can grow further.
struct GrowsOn {
    class: Durability,
    rules: Rules,
}

impl Judge for GrowsOn {
    fn judge(&mut self, state: &State<'_>) -> Result<(), String> {
        let identity = if state.crash == Crash::Power { rebooted(HOME) } else { HOME };
        let store = options(self.class, self.rules, identity)
            .open_image(state.image.to_vec())
            .map_err(|error| format!("opening fails: {error}"))?;
        check(&store)?;
        let object = store.create("after").map_err(|error| format!("nothing can be made: {error}"))?;
        object
            .write_at(0, &vec![7; 700 * PAGE as usize])
            .map_err(|error| format!("it does not grow on: {error}"))?;
        check(&store)
    }
}

fn explored(base: &[u8], class: Durability, rules: Rules, limit: u64) -> Report {
    let recorder = Recorder::new();
    let store =
        options(class, rules, HOME).recorder(Arc::clone(&recorder)).open_image(base.to_vec()).unwrap();
    let object = store.create("more").unwrap();
    object.write_at(0, &vec![1; (LACKING + PAGES) as usize * PAGE as usize]).unwrap();
    for n in 0..6 {
        object.append(&vec![2 + n; 40 * PAGE as usize]).unwrap();
        object.sync().unwrap();
    }
    assert!(store.info().frames > GROUP_FRAMES, "it has grown beyond the group");
    drop((object, store));
    let trace = Trace { base: base.to_vec(), events: recorder.take(), class };
    let plan = Plan { limit, between: 1, ..Plan::wide(if class == CacheLine { 64 } else { 512 }, 1) };
    explore(&trace, &plan, &mut GrowsOn { class, rules })
}

/// A region that grew beyond its first group is emptied and compacted: the file is cut back to its former length, and
/// grows again.
fn cut_back(base: &[u8], class: Durability, rules: Rules, limit: u64) -> Report {
    let recorder = Recorder::new();
    let store =
        options(class, rules, HOME).recorder(Arc::clone(&recorder)).open_image(base.to_vec()).unwrap();
    store.create("more").unwrap().write_at(0, &vec![1; (LACKING + PAGES) as usize * PAGE as usize]).unwrap();
    store.sync().unwrap();
    store.unlink("more").unwrap();
    assert!(store.info().frames > GROUP_FRAMES, "it has grown beyond the group");
    recorder.mark(1);
    store.compact().unwrap();
    assert!(store.info().frames <= GROUP_FRAMES, "it is cut back");
    let object = store.create("again").unwrap();
    object.write_at(0, &vec![3; (LACKING + PAGES) as usize * PAGE as usize]).unwrap();
    object.sync().unwrap();
    drop((object, store));
    let events = recorder.take();
    // A broken rule is broken from here on: the events before this take too long.
    let begins = |event: &Event| match event {
        Event::Cut { .. } => true,
        Event::Mark { label: 1, .. } => !rules.broken(Rule::CutEarly),
        _ => false,
    };
    let from = events.iter().position(begins).unwrap();
    let trace = Trace { base: base.to_vec(), events, class };
    let plan = Plan { limit, between: 1, from, ..Plan::wide(if class == CacheLine { 64 } else { 512 }, 1) };
    explore(&trace, &plan, &mut GrowsOn { class, rules })
}

/// LOG rule 13: the file is cut only when no record that changes bytes beyond its new end can be replayed.
#[test]
fn rule_13_a_group_goes_with_its_frames_and_before_the_file_is_cut() {
    let base = base();
    for class in [CacheLine, Fdatasync] {
        let report = cut_back(&base, class, Rules::default(), scaled(24));
        println!("kept,   {class:10}: {report}");
        assert_eq!(report.violation, None);
    }
    let broken = Rules::default().breaking(Rule::CutEarly);
    let report = cut_back(&base, Fdatasync, broken, SEARCH);
    println!("broken, {:10}: {report}", Fdatasync);
    let story = report.violation.expect("a file that is shorter than its region");
    assert!(story.contains("opening fails"), "{story}");
}

/// LOG rule 13: the record that begins a group takes the bitmap of the group behind it.
#[test]
fn rule_13_growth_into_a_group_is_one_record() {
    let base = base();
    for class in [CacheLine, Fdatasync] {
        let report = explored(&base, class, Rules::default(), scaled(24));
        println!("kept,   {class:10}: {report}");
        assert_eq!(report.violation, None);
    }
    let broken = Rules::default().breaking(Rule::BitmapLater);
    let report = explored(&base, CacheLine, broken, SEARCH);
    println!("broken, {:10}: {report}", CacheLine);
    let story = report.violation.expect("a group without a bitmap behind it");
    assert!(story.contains("group-ahead"), "{story}");
}
