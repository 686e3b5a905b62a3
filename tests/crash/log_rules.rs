//! The schedules of the log's rules that need nothing but the log. Each runs the real log twice: as it is, where no crash
//! may break it; and with one rule switched off, where the explorer must find a crash that does.

use pagestone::media::rules::Rule;
use pagestone::persist::{Event, FileOperation};
use pagestone::units::Durability::{self, CacheLine, Fdatasync};
use pagestone_tests::crash::life::{Case, Found, Life, scaled, touches_log, word};
use std::thread;
use std::time::Duration;

/// Long enough for a thread to come to its gate, or to show that it waits for another thread.
pub const SOON: Duration = Duration::from_millis(150);
pub const LATER: Duration = Duration::from_secs(10);

pub const FILE: &[(Durability, usize)] = &[(Fdatasync, 512), (Fdatasync, 8)];
pub const BOTH: &[(Durability, usize)] = &[(CacheLine, 64), (CacheLine, 8), (Fdatasync, 512), (Fdatasync, 8)];

/// The code as it is has no violation on any of `media`. With `rule` switched off, there is one on each.
pub fn holds_only_with(rule: Rule, case: &Case, media: &[(Durability, usize)]) {
    holds_but_fails_without(rule, case, media, media);
}

fn holds_but_fails_without(
    rule: Rule,
    case: &Case,
    media: &[(Durability, usize)],
    fails: &[(Durability, usize)],
) {
    for &(class, cell) in media {
        let report = case.explore(class, cell, None);
        println!("{rule:?} kept,   {class:10} {cell:3}: {report}");
        if let Some(story) = report.violation {
            panic!("{class}, cells of {cell}: {story}");
        }
        assert!(report.distinct >= 4, "only {} states", report.distinct);
    }
    // Two crashes in a row make many states: the smallest cells, which make the most, are left to the long run.
    let quick = |&&(class, cell): &&(Durability, usize)| {
        case.crashes == 1
            || scaled(1) > 1
            || cell > 8
            || !fails.contains(&(class, 64)) && !fails.contains(&(class, 512))
    };
    for &(class, cell) in fails.iter().filter(quick) {
        let report = case.explore(class, cell, Some(rule));
        println!("{rule:?} broken, {class:10} {cell:3}: {report}");
        let story = report
            .violation
            .unwrap_or_else(|| panic!("{class}, {cell}: {rule:?} is broken, and the explorer found nothing"));
        println!("    {}", story.lines().next().unwrap_or_default());
    }
}

/// LOG rule 1: a log that is full of unmarked records has no room for a mark. Here another thread fills the log between the
/// leader's look at the head and its mark. Then the process dies, and recovery needs room for its own mark.
#[test]
fn rule_1_room_for_two_marks() {
    fn run(life: &Life) {
        life.fill(0, 253, 1);
        life.fill(0, 253, 2);
        let last = life.publish(0, &(0..250).map(|n| (n, 3)).collect::<Vec<_>>());
        thread::scope(|scope| {
            scope.spawn(|| {
                life.gate.stop_me_before(|e| matches!(e, Event::SyncEnd { .. }));
                life.commit(last);
            });
            assert!(life.gate.wait_stopped(LATER));
            scope.spawn(|| {
                life.fill(0, 253, 4);
                life.say("~filled");
            });
            thread::sleep(SOON);
            life.gate.open();
        });
    }
    let case = Case::once(run, |found| found.needs("~filled", 0, &[4]));
    holds_only_with(Rule::OneMark, &case, FILE);
}

/// LOG rule 3: the leader's mark does not cover a record that was appended during the leader's flush: the data that this
/// record publishes was not flushed.
#[test]
fn rule_3_the_mark_covers_the_noted_head_only() {
    fn run(life: &Life) {
        let first = life.publish(0, &[(0, 1)]);
        thread::scope(|scope| {
            scope.spawn(|| {
                life.gate.stop_me_before(|e| matches!(e, Event::SyncEnd { .. }));
                life.commit(first);
                life.say("first");
            });
            assert!(life.gate.wait_stopped(LATER));
            life.publish(1, &[(1, 1)]);
            life.gate.open();
        });
    }
    fn check(found: &Found<'_>) -> Result<(), String> {
        found.needs("first", 0, &[1])?;
        found.no_leak(0, 0)?;
        found.no_leak(1, 1)
    }
    holds_only_with(Rule::CoverLate, &Case::once(run, check), FILE);
}

/// LOG rule 3: the mark is not even stored in the log's memory before the data is durable, because the kernel may write
/// that memory by itself.
#[test]
fn rule_3_the_mark_comes_after_the_data() {
    fn run(life: &Life) {
        // The first change of a life syncs what the dead process has left, and all else that is dirty.
        life.commit(life.set(&[(1, 1)]));
        let first = life.publish(0, &[(0, 1)]);
        life.commit(first);
        life.say("first");
    }
    fn check(found: &Found<'_>) -> Result<(), String> {
        found.needs("first", 0, &[1])?;
        found.no_leak(0, 0)
    }
    holds_only_with(Rule::MarkFirst, &Case::once(run, check), FILE);
}

/// LOG rule 4: two writers change one bitmap word. The second computes it from what the first appended, not from the word's
/// home.
#[test]
fn rule_4_words_are_computed_from_the_shadow() {
    fn run(life: &Life) {
        for bit in [1, 2] {
            let at = word(0);
            life.log.append(|txn| txn.read(at).and_then(|word| txn.write(at, word | bit))).unwrap();
        }
        life.commit(life.log.head());
        life.say("both");
    }
    holds_only_with(Rule::StaleShadow, &Case::once(run, |found| found.needs("both", 0, &[3])), BOTH);
}

/// One thread commits a record and is stopped in the middle of the write. Another thread waits for the same record and says
/// when its wait has ended.
pub fn two_wait_for_one_mark(life: &Life) {
    let first = life.set(&[(0, 1)]);
    thread::scope(|scope| {
        scope.spawn(|| {
            life.gate.stop_me_before(touches_log);
            life.commit(first);
        });
        assert!(life.gate.wait_stopped(LATER));
        scope.spawn(|| {
            life.commit(first);
            life.say("first");
        });
        thread::sleep(SOON);
        life.gate.open();
    });
}

/// LOG rule 6: a sync whose record is covered by a mark in flight waits for that mark.
#[test]
fn rule_6_a_mark_in_flight_is_waited_for() {
    let case = Case::once(two_wait_for_one_mark, |found| found.needs("first", 0, &[1]));
    holds_only_with(Rule::SyncUncommitted, &case, BOTH);
}

/// Goes round the log several times with large records, each committed and acknowledged. The tail moves as needed.
pub fn laps(life: &Life) {
    const SAID: [&str; 9] = ["1", "2", "3", "4", "5", "6", "7", "8", "9"];
    for (value, fact) in (1..).zip(SAID) {
        life.fill(value % 2, 100, value);
        let last = life.fill(200, 240, value);
        life.commit(last);
        life.say(fact);
    }
}

pub fn laps_are_whole(found: &Found<'_>) -> Result<(), String> {
    let acknowledged = found.facts.iter().filter_map(|f| f.parse().ok()).max().unwrap_or(0);
    let value = found.life.word(200);
    if value < acknowledged {
        return Err(format!("commit {acknowledged} was acknowledged, the words are those of {value}"));
    }
    for n in 201..440 {
        if found.life.word(n) != value {
            return Err(format!("half a record: word 200 is {value}, word {n} is {}", found.life.word(n)));
        }
    }
    Ok(())
}

/// LOG rule 7: space is used again only when the tail beyond it is durable.
#[test]
fn rule_7_the_tail_is_durable_before_its_space_is_reused() {
    holds_only_with(Rule::TailNotDurable, &Case::once(laps, laps_are_whole), BOTH);
}

/// LOG rule 7: the homes are durable before the tail that passes their records is stored.
#[test]
fn rule_7_homes_are_flushed_before_the_tail_moves() {
    holds_only_with(Rule::TailNotFlushed, &Case::once(laps, laps_are_whole), BOTH);
}

/// LOG rule 7: the header is never torn, because the newer copy is not touched. A recovery from a tail that was passed long
/// ago would replay a word into a frame that is data by now. (A sector does not tear: the cells here are smaller.)
#[test]
fn rule_7_the_header_is_never_torn() {
    const DATA: [(&str, u64); 3] = [("data", 0), ("other data", 64), ("more data", 128)];
    fn run(life: &Life) {
        let memory = life.log.region().memory();
        for (said, n) in DATA {
            life.set(&[(n, 1)]);
            life.log.checkpoint().unwrap();
            memory.store(word(n), 77).unwrap();
            memory.flush(word(n), 8).unwrap();
            memory.fence();
            memory.sync_file().unwrap();
            life.say(said);
        }
    }
    fn check(found: &Found<'_>) -> Result<(), String> {
        DATA.into_iter().try_for_each(|(said, n)| found.needs(said, n, &[77]))
    }
    let torn = [(CacheLine, 64), (CacheLine, 8), (Fdatasync, 8)];
    holds_but_fails_without(Rule::HeaderTorn, &Case::once(run, check), BOTH, &torn);
}

/// A committed record that makes a frame all zero. After the death of a process, recovery does not repeat it if the cursor
/// has passed the record. After a power loss the cursor does not count: it may be durable where the zeros are not.
pub fn zeroed(life: &Life) {
    life.commit(life.zero(1));
    life.say("zeroed");
}

/// One record of two words that publishes a frame, appended and not committed.
fn linked(life: &Life) {
    life.publish(0, &[(0, 1), (64, 1)]);
    life.say("~linked");
}

pub fn linked_whole(found: &Found<'_>) -> Result<(), String> {
    found.no_leak(0, 0)?;
    if found.has("zeroed") && found.life.content(1) != 0 {
        return Err("a frame that was zeroed shows its former owner's bytes".into());
    }
    if found.life.word(0) != found.life.word(64) {
        return Err("half a transaction: one of its two words is there".into());
    }
    found.needs("~linked", 0, &[1])?;
    found.needs("x", 128, &[1])?;
    found.needs("y", 192, &[1])
}

pub fn y(life: &Life) {
    life.commit(life.set(&[(192, 1)]));
    life.say("y");
}

/// LOG rule 8: recovery stores homes only when their mark is durable. Otherwise it could leave half a transaction.
#[test]
fn rule_8_recovery_marks_before_it_stores_home() {
    let case = Case { after: y, crashes: 2, ..Case::once(linked, linked_whole) };
    holds_only_with(Rule::RecoveryNoMark, &case, BOTH);
}

/// LOG rule 8: recovery's own mark covers only what recovery accepts. After a power loss, a record between the noted head
/// and the mark is not accepted. If the recovery is interrupted, the next one must not find that record marked.
#[test]
fn rule_8_recovery_marks_only_what_it_accepts() {
    fn run(life: &Life) {
        life.commit(life.set(&[(128, 1)]));
        let first = life.publish(0, &[(0, 1)]);
        thread::scope(|scope| {
            scope.spawn(|| {
                life.gate.stop_me_before(|e| matches!(e, Event::SyncEnd { .. }));
                life.commit(first);
                life.say("first");
            });
            assert!(life.gate.wait_stopped(LATER));
            life.publish(1, &[(1, 1)]);
            life.gate.open();
        });
    }
    fn check(found: &Found<'_>) -> Result<(), String> {
        found.needs("first", 0, &[1])?;
        found.no_leak(0, 0)?;
        found.no_leak(1, 1)
    }
    let case = Case { crashes: 2, ..Case::once(run, check) };
    holds_only_with(Rule::RecoveryMarksAll, &case, FILE);
}

/// LOG rule 8: the lease is written last. If it were written first, it would say "same boot" of records whose data a power
/// loss has taken.
#[test]
fn rule_8_the_lease_is_written_last() {
    fn run(life: &Life) {
        zeroed(life);
        linked(life);
    }
    let case = Case { after: y, crashes: 2, ..Case::once(run, linked_whole) };
    holds_only_with(Rule::LeaseFirst, &case, BOTH);
}

/// LOG rule 8: after a crash the application repeats a lost operation byte for byte. What followed it in the dead life must
/// not join the chain.
#[test]
fn rule_8_each_life_has_an_epoch_of_its_own() {
    fn big(life: &Life) {
        life.fill(0, 100, 1);
    }
    fn run(life: &Life) {
        big(life);
        life.commit(life.set(&[(128, 1)]));
    }
    fn after(life: &Life) {
        if life.word(128) == 0 {
            life.say("x is not there");
            big(life);
        }
    }
    fn check(found: &Found<'_>) -> Result<(), String> {
        if found.has("x is not there") && found.life.word(128) != 0 {
            return Err("a record of a dead life was replayed".into());
        }
        Ok(())
    }
    let case = Case { after, crashes: 2, ..Case::once(run, check) };
    holds_only_with(Rule::SameEpoch, &case, BOTH);
}

/// LOG rule 9: a snapshot of the device, opened on the same boot, has no page cache to rely on.
#[test]
fn rule_9_a_snapshot_on_the_same_boot_is_a_power_loss() {
    fn run(life: &Life) {
        zeroed(life);
        linked(life);
    }
    holds_only_with(Rule::IgnoreIdentity, &Case::once(run, linked_whole), BOTH);
}

/// LOG rule 11: after a failed flush nothing is acknowledged any more, and the next opening trusts only the medium.
#[test]
fn rule_11_a_failed_flush_leaves_everything_in_doubt() {
    fn run(life: &Life) {
        life.commit(life.set(&[(128, 1)]));
        life.say("x");
        let lost = life.publish(0, &[(0, 1), (64, 1)]);
        life.fail(FileOperation::Sync);
        life.log.commit(lost).expect_err("the medium refused");
        life.log.commit(lost).expect_err("and it is not tried again");
        life.log.append(|txn| txn.write(word(192), 1)).expect_err("nothing follows");
    }
    holds_only_with(Rule::IgnoreFailure, &Case::once(run, linked_whole), FILE);
}

/// LOG rule 13: the valid copy of the superblock is not touched before the other copy is durable.
#[test]
fn rule_13_the_live_superblock_is_not_overwritten() {
    fn run(life: &Life) {
        life.commit(life.set(&[(128, 1)]));
        life.say("x");
        life.log.close().unwrap();
    }
    let case = Case { after: y, crashes: 2, ..Case::once(run, linked_whole) };
    let torn = [(CacheLine, 64), (CacheLine, 8), (Fdatasync, 8)];
    holds_but_fails_without(Rule::LiveSuperblock, &case, BOTH, &torn);
}
