//! More planted bugs, beyond the schedules of the rules: in each, a protocol has one step left out or done too early. With
//! the step as it should be, no crash may do harm. Without it, the explorer must find a crash that does.

use crate::log_rules::{
    BOTH, FILE, LATER, SOON, holds_only_with, laps, laps_are_whole, linked_whole, two_wait_for_one_mark, y,
    zeroed,
};
use crate::store_rules::{PAGE, START, Schedule, name, object};
use pagestone::media::rules::Rule;
use pagestone::units::Durability::CacheLine;
use pagestone_explorer::{Event, Plan, explore};
use pagestone_tests::crash::life::{Case, Found, Life, NEW, touches_log, word};
use pagestone_tests::crash::recover::StoreJudge;
use pagestone_tests::crash::run::{Live, Rig};
use pagestone_tests::crash::script::Op;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::Instant;

/// A word that was committed and acknowledged.
fn x(life: &Life) {
    life.commit(life.set(&[(128, 1)]));
    life.say("x");
}

/// Group commit: a thread that waits for the leader is woken when the mark is durable, not already when it is appended.
#[test]
fn a_follower_is_not_woken_before_the_mark_is_durable() {
    let case = Case::once(two_wait_for_one_mark, |found| found.needs("first", 0, &[1]));
    holds_only_with(Rule::FollowerEarly, &case, BOTH);
}

/// LOG rule 10: the applied cursor stops at the noted head. Beyond it lies a record whose homes are not stored, and
/// after the death of the process nothing would store them.
#[test]
fn the_cursor_does_not_pass_what_is_not_applied() {
    fn run(life: &Life) {
        let first = life.set(&[(0, 1)]);
        thread::scope(|scope| {
            scope.spawn(|| {
                life.gate.stop_me_before(touches_log);
                life.commit(first);
            });
            assert!(life.gate.wait_stopped(LATER));
            life.zero(1);
            life.say("~zeroed");
            life.gate.open();
        });
    }
    fn check(found: &Found<'_>) -> Result<(), String> {
        if found.has("~zeroed") && found.life.content(1) != 0 {
            return Err("a frame that was zeroed shows its former owner's bytes".into());
        }
        Ok(())
    }
    holds_only_with(Rule::CursorPast, &Case::once(run, check), BOTH);
}

/// LOG rule 7: the tail is stored when the homes are flushed, not before and with the same flush.
#[test]
fn the_tail_is_not_stored_before_the_homes_are_flushed() {
    holds_only_with(Rule::TailThenHomes, &Case::once(laps, laps_are_whole), BOTH);
}

/// The new life's epoch is durable before its first record. Otherwise what it acknowledges belongs to another epoch after a
/// crash, and is lost.
#[test]
fn the_epoch_is_durable_before_the_first_record() {
    holds_only_with(Rule::EpochNotDurable, &Case::once(x, |found| found.needs("x", 128, &[1])), BOTH);
}

/// Recovery flushes the homes before it moves the tail. Otherwise the next power loss takes the homes, and no record of
/// them is left.
#[test]
fn recovery_flushes_homes_before_it_moves_the_tail() {
    let case = Case { after: y, crashes: 2, ..Case::once(x, linked_whole) };
    fn check(found: &Found<'_>) -> Result<(), String> {
        found.needs("x", 128, &[1])
    }
    holds_only_with(Rule::RecoveryNotFlushed, &Case { check, ..case }, BOTH);
}

/// LOG rule 10: the cursor counts only after the death of a process. A power loss may keep the cursor and lose the homes.
#[test]
fn the_cursor_is_not_believed_after_a_power_loss() {
    holds_only_with(Rule::CursorAlways, &Case::once(zeroed, linked_whole), BOTH);
}

/// LOG rule 3: a size is not published before the bytes that it uncovers are durable, nor a frame before its bytes are.
#[test]
fn a_size_is_not_published_before_its_bytes() {
    fn act(live: &Live) -> Result<(), String> {
        let a = object(live, 0, "a", 1);
        live.run(0, Op::Append(a, 3 * PAGE)).unwrap();
        live.run(0, Op::Sync(a)).unwrap();
        Ok(())
    }
    Schedule { rule: Rule::SizeFirst, media: FILE, since: START, act }.holds_only_with_its_rule();
}

/// A sync that takes dirty bits flushes the lines that they stand for.
#[test]
fn dirty_bits_that_are_taken_are_flushed() {
    fn act(live: &Live) -> Result<(), String> {
        let a = object(live, 0, "a", 1);
        live.run(0, Op::Write(a, 64, 128)).unwrap();
        live.run(0, Op::Sync(a)).unwrap();
        Ok(())
    }
    Schedule { rule: Rule::DirtForgotten, media: BOTH, since: START, act }.holds_only_with_its_rule();
}

/// LOG rule 3, where a length changes several times without a commit: a crash may show each of the lengths, and must not
/// show one with zeros below it.
#[test]
fn a_tail_below_a_length_that_a_crash_may_show_is_not_zeroed_early() {
    fn act(live: &Live) -> Result<(), String> {
        let a = object(live, 0, "a", 1);
        for len in [100, 3000, 60, 2000, 30, 1000] {
            live.run(0, Op::SetLen(a, len)).unwrap();
        }
        live.run(0, Op::Sync(a)).unwrap();
        live.run(0, Op::SetLen(a, 500)).unwrap();
        live.run(0, Op::SetLen(a, 700)).unwrap();
        live.run(0, Op::SetLen(a, 600)).unwrap();
        live.run(0, Op::SetLen(a, 650)).unwrap();
        live.run(0, Op::SetLen(a, 400)).unwrap();
        live.run(0, Op::SetLen(a, 450)).unwrap();
        Ok(())
    }
    Schedule { rule: Rule::ZeroEarly, media: BOTH, since: START, act }.holds_only_with_its_rule();
}

/// LOG rule 3: the tail of a page is zeroed when the cut that uncovered it is committed: a power loss must not find the
/// old size with zeros below it.
#[test]
fn a_tail_is_not_zeroed_before_its_cut_is_committed() {
    fn act(live: &Live) -> Result<(), String> {
        let a = object(live, 0, "a", 1);
        live.run(0, Op::SetLen(a, 100)).unwrap();
        live.run(0, Op::SetLen(a, 3000)).unwrap();
        Ok(())
    }
    Schedule { rule: Rule::ZeroEarly, media: BOTH, since: START, act }.holds_only_with_its_rule();
}

/// LOG rule 2: a frame does not take a third role while a record of its first role is live. Otherwise a replay from the
/// older tail makes a map node of it again.
#[test]
fn a_frame_has_no_third_role_while_a_record_of_its_first_is_live() {
    fn act(live: &Live) -> Result<(), String> {
        let a = live.fresh();
        live.run(0, Op::Create(a, name(0, "a"))).unwrap();
        live.run(0, Op::Write(a, 600 * PAGE, 8)).unwrap();
        live.run(0, Op::SyncAll).unwrap();
        live.run(0, Op::SetLen(a, 0)).unwrap();
        live.run(0, Op::SyncAll).unwrap();
        for letter in ["b", "c"] {
            let next = object(live, 0, letter, 8);
            if letter == "b" {
                live.run(0, Op::SetLen(next, 0)).unwrap();
                live.run(0, Op::SyncAll).unwrap();
            }
        }
        Ok(())
    }
    Schedule { rule: Rule::ReuseCommitted, media: BOTH, since: START, act }.holds_only_with_its_rule();
}

/// A rename is one record: the old name goes when the new one comes, and not before.
#[test]
fn a_rename_does_not_lose_the_old_name_before_the_new_one_is_in() {
    fn act(live: &Live) -> Result<(), String> {
        object(live, 0, "a", 1);
        live.run(0, Op::Rename(name(0, "a"), name(0, "b"))).unwrap();
        live.run(0, Op::SyncAll).unwrap();
        Ok(())
    }
    Schedule { rule: Rule::RenameSplits, media: BOTH, since: START, act }.holds_only_with_its_rule();
}

/// LOG rule 12: the record that takes an object's name also puts the object on the list of orphans. With two records, a
/// crash in between would leave an object that is never freed.
#[test]
fn the_list_of_orphans_is_not_cut_in_mid_step() {
    fn act(live: &Live) -> Result<(), String> {
        object(live, 0, "a", 3);
        live.run(0, Op::Unlink(name(0, "a"), true)).unwrap();
        live.run(0, Op::SyncAll).unwrap();
        Ok(())
    }
    Schedule { rule: Rule::UnlinkSplits, media: BOTH, since: START, act }.holds_only_with_its_rule();
}

/// LOG rule 13: the file's new length is durable before a frame of it is handed out. (Under `fdatasync` the sync of
/// published data makes the length durable as well; the cache lines of persistent memory do not.)
#[test]
fn growth_is_durable_before_its_frames_are_handed_out() {
    for forgotten in [false, true] {
        let rig = Rig::new(CacheLine);
        let live = Live::start(&rig, 1).expect("the store opens");
        object(&live, 0, "a", 90);
        object(&live, 0, "b", 60);
        let mut run = live.finish();
        let grows = run.trace.events.iter().filter(|e| matches!(e, Event::Grow { .. })).count();
        assert!(grows > 0, "the region has grown");
        if forgotten {
            run.trace.events.retain(|e| !matches!(e, Event::Grow { .. }));
        }
        let plan = Plan { limit: 60, ..Plan::wide(64, 1) };
        let mut judge = StoreJudge::new(rig, &mut run.oracle, 0, 1);
        let report = explore(&run.trace, &plan, &mut judge);
        println!("growth forgotten {forgotten}: {report}");
        match report.violation {
            Some(story) => assert!(forgotten && story.contains("opening fails"), "{story}"),
            None => assert!(!forgotten, "no judge saw that the growth was not durable"),
        }
    }
}

/// LOG rule 3: the kernel may write the mark by itself. There are images in which the mark of a commit is on the medium
/// although the write of the mark has not ended. In all of them the data that the mark covers must be there.
#[test]
fn rule_3_the_kernel_writes_the_mark_by_itself() {
    fn run(life: &Life) {
        x(life);
        let linked = life.publish(0, &[(0, 1)]);
        life.say("before");
        life.commit(linked);
        life.say("after");
    }
    fn check(found: &Found<'_>) -> Result<(), String> {
        // The word is there after a power loss, and was not acknowledged: so the mark was on the medium.
        if found.life.word(0) == 1 && !found.has("after") && found.life.content(0) != NEW {
            return Err("the mark is there, and the data that it covers is not".into());
        }
        found.needs("x", 128, &[1])?;
        found.no_leak(0, 0)
    }
    holds_only_with(Rule::MarkFirst, &Case::once(run, check), FILE);
}

/// LOG rule 8: after a power loss the application finds its operation missing and repeats it byte for byte. In the log
/// there is still what followed that operation in the dead life. It would continue the repeated record; only its epoch
/// differs.
#[test]
fn rule_8_the_application_repeats_a_torn_operation_byte_for_byte() {
    fn operation(life: &Life) {
        life.fill(0, 60, 7);
    }
    fn run(life: &Life) {
        operation(life);
        let dead = life.set(&[(200, 1), (264, 1)]);
        life.commit(dead);
    }
    fn after(life: &Life) {
        if life.word(0) == 0 && life.word(200) == 0 {
            life.say("repeated");
            operation(life);
            life.commit(life.log.head());
            life.say("whole");
        }
    }
    fn check(found: &Found<'_>) -> Result<(), String> {
        if found.has("repeated") && found.life.word(200) != 0 {
            return Err("what followed in the dead life joined the chain".into());
        }
        found.needs("whole", 0, &[7])?;
        found.needs("whole", 59, &[7])
    }
    let case = Case { after, crashes: 2, ..Case::once(run, check) };
    holds_only_with(Rule::SameEpoch, &case, BOTH);
}

/// LOG rule 1: space is reserved after the latches, never before. Otherwise a thread that holds a latch may need space,
/// while the thread that has reserved the space waits for that latch. The engine cannot get the order wrong: only `media`
/// can append, because `Log::append` is for tests alone, and `media` cannot name a latch. So an operation of this test gets
/// it wrong.
#[test]
fn rule_1_space_is_reserved_after_the_latches() {
    assert!(!stuck(false), "latch first: no thread waits for ever");
    assert!(
        stuck(true),
        "reserved first: the holder of the latch waits for the append lock, and its owner for the latch"
    );
}

/// One thread holds a latch and appends more than the log has room for. Another needs the latch, and reserves space
/// before or after it has the latch. Returns whether the second thread gave up.
fn stuck(reserved_first: bool) -> bool {
    static CASE: Mutex<Option<(bool, bool)>> = Mutex::new(None);
    fn run(life: &Life) {
        let latch = Mutex::new(());
        let (taken, reserved) = (Barrier::new(2), AtomicBool::new(false));
        let first = CASE.lock().unwrap().expect("it was chosen").0;
        thread::scope(|scope| {
            scope.spawn(|| {
                let _latched = latch.lock().unwrap();
                taken.wait();
                while first && !reserved.load(Ordering::SeqCst) {
                    thread::yield_now();
                }
                for n in 0..40 {
                    life.fill(0, 100, n);
                }
            });
            taken.wait();
            let mut gave_up = false;
            if first {
                let change = life.log.append(|txn| {
                    reserved.store(true, Ordering::SeqCst);
                    let end = Instant::now() + 2 * SOON;
                    while latch.try_lock().is_err() {
                        gave_up |= Instant::now() > end;
                        if gave_up {
                            break;
                        }
                        thread::yield_now();
                    }
                    txn.write(word(300), 1)
                });
                change.unwrap();
            } else {
                let _latched = latch.lock().unwrap();
                life.set(&[(300, 1)]);
            }
            *CASE.lock().unwrap() = Some((first, gave_up));
        });
    }
    *CASE.lock().unwrap() = Some((reserved_first, false));
    let report = Case::once(run, |_| Ok(())).explore(CacheLine, 64, None);
    assert_eq!(report.violation, None);
    CASE.lock().unwrap().is_some_and(|(_, gave_up)| gave_up)
}
