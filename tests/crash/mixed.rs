//! The mixed workload: everything a store can do, crashed everywhere. The long run is `make crash`.

use pagestone::Error;
use pagestone::media::rules::Rule;
use pagestone::persist::{FileOperation, Recorder};
use pagestone::units::Durability::{self, CacheLine, Fdatasync};
use pagestone_explorer::{Judge, Plan, Report, State, explore};
use pagestone_tests::crash::life::{HOME, rebooted, scaled};
use pagestone_tests::crash::recover::{StoreJudge, check};
use pagestone_tests::crash::run::{Live, Rig, record};
use pagestone_tests::crash::script::{Op, Script, Shape};
use pagestone_tests::crash::shrink::{shrink, tell};
use std::time::Duration;

const MEDIA: [(Durability, usize); 4] = [(CacheLine, 64), (CacheLine, 8), (Fdatasync, 512), (Fdatasync, 8)];

/// Explores one seed's workload on one medium; at most `limit` states.
fn one(shape: Shape, seed: u64, class: Durability, cell: usize, limit: u64) -> Report {
    let rig = Rig::new(class);
    let mut run = record(&rig, Script::random(shape, seed), seed).expect("the store opens");
    assert_eq!(run.failed, None, "seed {seed}");
    let mut judge = StoreJudge::new(rig, &mut run.oracle, 40, seed);
    let mut report = explore(&run.trace, &Plan { limit, ..Plan::wide(cell, seed) }, &mut judge);
    report.deeper = judge.deeper;
    report
}

/// Leaves one operation of a run out: the medium does not see it.
type Drop = fn(&Recorder, u64);

/// Whether the explorer finds that the `nth` operation is missing.
fn finds(class: Durability, cell: usize, nth: u64, drop: Drop) -> bool {
    let rig = Rig::new(class);
    let live = Live::start(&rig, 1).expect("the store opens");
    drop(&live.recorder, nth);
    for op in [
        Op::Create(0, "t0.a".into()),
        Op::Write(0, 0, 6000),
        Op::SyncAll,
        Op::Write(0, 1000, 2000),
        Op::Sync(0),
        Op::SetLen(0, 100),
        Op::SyncAll,
    ] {
        live.run(0, op).expect("the operation succeeds");
    }
    let mut run = live.finish();
    let mut judge = StoreJudge::new(rig, &mut run.oracle, 0, 1);
    explore(&run.trace, &Plan { limit: 600, ..Plan::wide(cell, 1) }, &mut judge).violation.is_some()
}

/// A test of the explorer, with the real store: it finds that an operation is missing.
#[test]
fn forgotten_flushes_fences_syncs_and_writes_are_found() {
    let kinds: [(&str, Durability, usize, u64, Drop); 4] = [
        ("fence", CacheLine, 64, 12, Recorder::drop_fence),
        ("flush", CacheLine, 64, 40, Recorder::drop_flush),
        ("fdatasync", Fdatasync, 512, 2, |r, n| r.drop_file(FileOperation::Sync, n)),
        ("write-through", Fdatasync, 512, 6, |r, n| r.drop_file(FileOperation::WriteThrough, n)),
    ];
    for (name, class, cell, count, drop) in kinds {
        let found: Vec<u64> = (0..count).filter(|&nth| finds(class, cell, nth, drop)).collect();
        println!("forgotten {name}: of the first {count}, found are {found:?}");
        // Not each one is needed by itself: a line may be flushed again, and the header has two copies.
        assert!(
            found.len() as u64 * 4 >= count,
            "of {count} forgotten operations ({name}) only {found:?} were found"
        );
    }
}

/// A format that was cut short leaves what opens as no store, or as an empty store.
struct Formatting(Rig);

impl Judge for Formatting {
    fn judge(&mut self, state: &State<'_>) -> Result<(), String> {
        let options = self.0.options(rebooted(HOME));
        match options.open_image(state.image.to_vec()) {
            Ok(store) => check(&store),
            Err(Error::NotARegion { .. }) => {
                let made =
                    options.create(true).log_frames(self.0.log_frames).open_image(state.image.to_vec());
                made.map(drop).map_err(|e| format!("it cannot be made anew: {e}"))
            }
            Err(error) => Err(format!("it is neither blank nor a store: {error}")),
        }
    }
}

#[test]
fn a_format_that_is_cut_short_is_none() {
    for (class, cell) in MEDIA {
        let rig = Rig::new(class);
        let trace = rig.format().expect("the store is made");
        let report =
            explore(&trace, &Plan { limit: scaled(300), ..Plan::wide(cell, 1) }, &mut Formatting(rig));
        println!("format {class:10} {cell:3}: {report}");
        if let Some(story) = report.violation {
            panic!("{class}, cells of {cell}: {story}");
        }
    }
}

fn explore_all(shape: Shape, seeds: std::ops::Range<u64>, limit: u64) {
    for (class, cell) in MEDIA {
        let mut sum = Report::default();
        for seed in seeds.clone() {
            let report = one(shape, seed, class, cell, limit);
            if let Some(story) = &report.violation {
                panic!("{class}, cells of {cell}, seed {seed}: {story}");
            }
            sum.absorb(report);
        }
        println!("{class:10} {cell:3}: {sum}");
        assert!(sum.distinct > 100, "only {} states", sum.distinct);
    }
}

#[test]
fn one_threads_work_survives_every_crash() {
    let shape = Shape { threads: 1, ops: 40, objects: 4, pages: 5, sync_every: 6, batch_every: 8 };
    explore_all(shape, 0..3, scaled(250));
}

#[test]
fn three_threads_work_survives_every_crash() {
    let shape = Shape { threads: 3, ops: 16, objects: 3, pages: 4, sync_every: 6, batch_every: 8 };
    explore_all(shape, 0..3, scaled(250));
}

/// A workload that fails is reduced to the few operations that the failure needs.
#[test]
fn a_failing_workload_is_shrunk_to_a_readable_story() {
    let shape = Shape { threads: 1, ops: 40, objects: 4, pages: 5, sync_every: 6, batch_every: 8 };
    let rig = Rig::new(CacheLine).breaking(Rule::GrowthTail);
    let fails = |script: &Script| {
        let mut run = record(&rig, script.clone(), 1).expect("the store opens");
        let mut judge = StoreJudge::new(rig, &mut run.oracle, 0, 1);
        explore(&run.trace, &Plan { limit: 150, ..Plan::wide(64, 1) }, &mut judge).violation
    };
    let scripts = (1..100).map(|seed| Script::random(shape, seed));
    let (script, story) = scripts
        .filter_map(|script| fails(&script).map(|story| (script, story)))
        .next()
        .expect("one of a hundred workloads grows what was cut");
    let small = shrink(&script, story, Duration::from_secs(60), fails);
    let (ops, told) = (small.list.len(), tell(&small));
    println!("{told}");
    assert!(ops <= 6, "{ops} operations are left: {told}");
    assert!(small.story.contains("its own") && small.story.contains("lawful are"), "{}", small.story);
}
