//! What one life owes to the next. A process dies with stores in the caches, the next one works on, and then the power
//! fails. Each case runs with its rule kept and with its rule broken.

use pagestone::media::rules::Rule;
use pagestone::units::Durability::{self, CacheLine, Fdatasync};
use pagestone_explorer::{Plan, Report, explore};
use pagestone_tests::crash::life::scaled;
use pagestone_tests::crash::recover::StoreJudge;
use pagestone_tests::crash::run::{Live, Rig};
use pagestone_tests::crash::script::Op;

const BOTH: &[(Durability, usize)] = &[(CacheLine, 64), (CacheLine, 8), (Fdatasync, 512), (Fdatasync, 8)];
/// Media whose sectors may be torn.
const TORN: &[(Durability, usize)] = &[(CacheLine, 64), (CacheLine, 8), (Fdatasync, 8)];

/// Runs the first life's operations. The process may die anywhere in them: from each state that this leaves, a second life
/// begins, and is crashed everywhere too.
fn lives(rig: Rig, cell: usize, seed: u64, limit: u64) -> Report {
    let live = Live::start(&rig, 1).expect("the store opens");
    for op in [
        Op::Create(0, "t0.a".into()),
        Op::Write(0, 0, 8000),
        Op::SyncAll,
        Op::Write(0, 1000, 80),
        Op::Touch(0, 5000, 100),
        Op::SetLen(0, 6000),
        Op::Append(0, 300),
    ] {
        live.run(0, op).expect("the operation succeeds");
    }
    let mut run = live.finish();
    let mut judge = StoreJudge::new(rig, &mut run.oracle, 1, seed);
    let plan = Plan { power: false, between: 1, limit, ..Plan::wide(cell, seed) };
    let mut report = explore(&run.trace, &plan, &mut judge);
    report.deeper = judge.deeper;
    report
}

fn holds_only_with(rule: Rule, media: &[(Durability, usize)], fails: &[(Durability, usize)]) {
    for &(class, cell) in media {
        let report = lives(Rig::new(class), cell, 1, scaled(4));
        println!("{rule:?} kept,   {class:10} {cell:3}: {report}");
        assert_eq!(report.violation, None, "{class} {cell}");
        assert!(report.deeper > 50, "only {} states of later lives", report.deeper);
    }
    for &(class, cell) in fails {
        let found = (1..20).find_map(|seed| lives(Rig::new(class).breaking(rule), cell, seed, 200).violation);
        let story = found.unwrap_or_else(|| panic!("{class}, {cell}: no crash shows {rule:?} broken"));
        assert!(story.contains("IN THE NEXT LIFE"), "{story}");
        println!("{rule:?} broken, {class:10} {cell:3}: {}", story.lines().next().unwrap_or_default());
    }
}

/// A sync makes durable what was written before it, even by a process that has died since. Its dirty bits died with it; its
/// stores did not.
#[test]
fn a_sync_covers_what_a_dead_process_stored() {
    holds_only_with(Rule::DisownStores, BOTH, BOTH);
}

/// A new life overwrites one of two copies and leaves the other alone. That one may have been stored by the dead process
/// and not be durable: it is made durable before the first is touched.
#[test]
fn of_two_copies_the_one_that_stands_is_durable_whichever_life_wrote_it() {
    holds_only_with(Rule::DisownCopies, BOTH, TORN);
}
