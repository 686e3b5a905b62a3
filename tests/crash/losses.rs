//! A crash together with the loss of a frame of the structures, which comes back as zeros. The explorer makes the crash
//! states of a run, and the judge destroys a frame in each of them.

use crate::store_rules::{PAGE, name, object};
use pagestone::Error;
use pagestone::media::layout::{DIRECTORY_FRAME, ROOT_FRAMES};
use pagestone::media::rules::Rule;
use pagestone::units::Durability::{self, CacheLine, Fdatasync};
use pagestone::units::FrameNo;
use pagestone_explorer::{Crash, Judge, Plan, Report, State, explore};
use pagestone_tests::crash::life::{HOME, SEARCH, rebooted, scaled};
use pagestone_tests::crash::recover::StoreJudge;
use pagestone_tests::crash::run::{Live, Rig, Run};
use pagestone_tests::crash::script::Op;
use std::collections::BTreeMap;

const MEDIA: &[(Durability, usize)] = &[(CacheLine, 64), (Fdatasync, 512)];

/// What each name shows: its object's bytes, or an error.
type Shown = BTreeMap<Vec<u8>, Result<Vec<u8>, Error>>;

/// The image with this frame zeroed.
fn without(image: &[u8], frame: FrameNo) -> Vec<u8> {
    let mut image = image.to_vec();
    let start = frame.offset() as usize;
    image[start..start + PAGE as usize].fill(0);
    image
}

/// Judges a run's states with one of the two roots destroyed: nothing may be missing.
struct OneRootLost<'a> {
    rig: Rig,
    judge: StoreJudge<'a>,
}

impl Judge for OneRootLost<'_> {
    fn judge(&mut self, state: &State<'_>) -> Result<(), String> {
        let identity = if state.crash == Crash::Power { rebooted(HOME) } else { HOME };
        for (root, which) in ROOT_FRAMES.into_iter().zip(["first", "second"]) {
            let lost = |why| format!("with the {which} root lost: {why}");
            let store = self
                .rig
                .options(identity)
                .open_image(without(state.image, root))
                .map_err(|error| lost(format!("opening fails: {error}")))?;
            self.judge.compare_with(&store, state).map_err(lost)?;
            // The first change writes the lost one anew.
            store.create("one more").map_err(|error| lost(format!("nothing can be made: {error}")))?;
            pagestone_tests::crash::recover::check(&store).map_err(lost)?;
        }
        Ok(())
    }
}

/// Judges a run's states with the directory's root destroyed: each name must show the same as before, or an error.
struct DirectoryLost {
    rig: Rig,
}

impl DirectoryLost {
    fn shown(&self, image: Vec<u8>, state: &State<'_>) -> Result<Shown, Error> {
        let identity = if state.crash == Crash::Power { rebooted(HOME) } else { HOME };
        let store = self.rig.options(identity).open_image(image)?;
        let read = |letter: &str| {
            let object = store.open(name(0, letter))?;
            let mut bytes = vec![0; object.len() as usize];
            object.read_at(0, &mut bytes)?;
            Ok(bytes)
        };
        Ok(["a", "b", "c"].map(|letter| (letter.into(), read(letter))).into())
    }
}

impl Judge for DirectoryLost {
    fn judge(&mut self, state: &State<'_>) -> Result<(), String> {
        let sound =
            self.shown(state.image.to_vec(), state).map_err(|error| format!("opening fails: {error}"))?;
        let Ok(damaged) = self.shown(without(state.image, DIRECTORY_FRAME), state) else { return Ok(()) };
        for (letter, shown) in damaged {
            match (shown, &sound[&letter]) {
                (Ok(bytes), Ok(was)) if bytes == *was => {}
                (Err(Error::Corrupt { .. }), _) => {}
                (Err(Error::NotFound { .. }), Err(Error::NotFound { .. })) => {}
                (shown, was) => {
                    let told = |shown: &Result<Vec<u8>, Error>| {
                        shown.as_ref().map(Vec::len).map_err(ToString::to_string)
                    };
                    return Err(format!("{letter:?} silently shows {:?} for {:?}", told(&shown), told(was)));
                }
            }
        }
        Ok(())
    }
}

/// Three objects that come, change and go.
fn recorded(rig: &Rig) -> Run {
    let live = Live::start(rig, 1).unwrap();
    let a = object(&live, 0, "a", 3);
    let b = object(&live, 0, "b", 600);
    live.run(0, Op::Write(a, PAGE, 2 * PAGE)).unwrap();
    live.run(0, Op::SetLen(b, 5 * PAGE)).unwrap();
    live.run(0, Op::SyncAll).unwrap();
    live.run(0, Op::Unlink(name(0, "a"), true)).unwrap();
    object(&live, 0, "c", 2);
    live.finish()
}

/// Checks that the run holds with the rule, and that without it the explorer finds a violation with these words.
fn holds_only_with(rule: Rule, said: &str, lost: impl Fn(Rig, Plan, Run) -> Report) {
    for &(class, cell) in MEDIA {
        for (rig, limit) in [(Rig::new(class), scaled(60)), (Rig::new(class).breaking(rule), SEARCH)] {
            let plan = Plan { limit, between: 4, ..Plan::wide(cell, 1) };
            let report = lost(rig, plan, recorded(&rig));
            let broken = rig.rules.broken(rule);
            println!("{rule:?} {}, {class:10}: {report}", if broken { "broken" } else { "kept" });
            match report.violation {
                Some(story) if broken => assert!(story.contains(said), "{story}"),
                other => assert_eq!((other, broken), (None, false)),
            }
        }
    }
}

/// LOG rule 13: if one root is lost in a crash, the other one stands in for it, line by line.
#[test]
fn rule_13_a_crash_and_a_lost_root_take_nothing() {
    holds_only_with(Rule::OneRoot, "root lost", |rig, plan, mut run| {
        let judge = StoreJudge::new(rig, &mut run.oracle, 0, 1);
        explore(&run.trace, &plan, &mut OneRootLost { rig, judge })
    });
}

/// LOG rule 15: a node that is lost in a crash is damage, not an empty node.
#[test]
fn rule_15_a_crash_and_a_lost_node_are_not_silent() {
    holds_only_with(Rule::EmptyZero, "silently", |rig, plan, run| {
        explore(&run.trace, &plan, &mut DirectoryLost { rig })
    });
}
