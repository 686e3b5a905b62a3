//! The schedules of the log's rules that concern batches. Each runs the real store twice: as it is, where no crash may
//! break it; and with one rule switched off, where the explorer must find a crash that does.

use pagestone::media::rules::Rule;
use pagestone::persist::Event;
use pagestone::store::{Object, Store};
use pagestone::units::Durability::{self, CacheLine, Fdatasync};
use pagestone_explorer::{Crash, Judge, Plan, Report, State, explore};
use pagestone_tests::crash::life::{HOME, SEARCH, rebooted, scaled, touches_log};
use pagestone_tests::crash::run::{Live, Rig};
use std::thread;
use std::time::Duration;

const SOON: Duration = Duration::from_millis(150);
const LATER: Duration = Duration::from_secs(10);
const LINE: usize = 64;
const PAGE: usize = 4096;

const BOTH: &[(Durability, usize)] = &[(CacheLine, 64), (CacheLine, 8), (Fdatasync, 512), (Fdatasync, 8)];
const LINES: &[(Durability, usize)] = &[(CacheLine, 64), (CacheLine, 8)];

/// What a schedule works with: two objects of one page each, full of ones and synced.
struct Stage<'l> {
    live: &'l Live,
    a: Object,
    b: Object,
}

impl Stage<'_> {
    /// Marks the place from which on the checker may rely on the `n`th fact.
    fn say(&self, n: u64) {
        self.live.recorder.mark(2 * n);
    }

    /// Commits the first `lines` lines of both objects, all of one byte each.
    fn batch(&self, lines: usize, a: u8, b: u8) {
        let mut batch = self.live.store.batch();
        batch.write_at(&self.a, 0, &vec![a; lines * LINE]).unwrap();
        batch.write_at(&self.b, 0, &vec![b; lines * LINE]).unwrap();
        batch.commit().unwrap();
    }
}

/// What a recovered store shows.
struct Found<'s> {
    store: &'s Store,
    /// Marks before the crash; the first says that the schedule begins.
    said: usize,
    crash: Crash,
}

impl Found<'_> {
    fn bytes(&self, name: &str) -> Result<Vec<u8>, String> {
        let object = self.store.open(name).map_err(|e| format!("{name} is gone: {e}"))?;
        let mut bytes = vec![0; object.len() as usize];
        object.read_at(0, &mut bytes).map_err(|e| format!("{name} cannot be read: {e}"))?;
        Ok(bytes)
    }

    /// The first bytes of both objects.
    fn both(&self) -> Result<(u8, u8), String> {
        Ok((self.bytes("a")?[0], self.bytes("b")?[0]))
    }
}

struct Schedule {
    rule: Rule,
    media: &'static [(Durability, usize)],
    act: fn(&Stage<'_>),
    check: fn(&Found<'_>) -> Result<(), String>,
}

struct Checker {
    rig: Rig,
    check: fn(&Found<'_>) -> Result<(), String>,
}

impl Judge for Checker {
    fn judge(&mut self, state: &State<'_>) -> Result<(), String> {
        let identity = if state.crash == Crash::Power { rebooted(HOME) } else { HOME };
        let store = self.rig.options(identity).open_image(state.image.to_vec());
        let store = store.map_err(|e| format!("opening fails: {e}"))?;
        let report = store.check().map_err(|e| format!("it cannot be checked: {e}"))?;
        if !report.is_clean() {
            return Err(format!("{:?}", report.findings));
        }
        (self.check)(&Found { store: &store, said: state.marks, crash: state.crash })
    }
}

impl Schedule {
    fn explore(&self, class: Durability, cell: usize, broken: bool) -> Report {
        let rig = if broken { Rig::new(class).breaking(self.rule) } else { Rig::new(class) };
        let live = Live::start(&rig, 1).expect("the store opens");
        live.gated();
        let object = |name: &str| {
            let object = live.store.create(name).unwrap();
            object.write_at(0, &[1; PAGE]).unwrap();
            object
        };
        let stage = Stage { live: &live, a: object("a"), b: object("b") };
        live.store.sync().unwrap();
        stage.say(0);
        (self.act)(&stage);
        drop(stage);
        let trace = live.finish().trace;
        let from = trace.events.iter().position(|e| matches!(e, Event::Mark { .. })).expect("it was said");
        let limit = if broken { SEARCH } else { scaled(200) };
        let plan = Plan { limit, from: from + 1, between: if broken { 1 } else { 2 }, ..Plan::wide(cell, 1) };
        explore(&trace, &plan, &mut Checker { rig, check: self.check })
    }

    fn holds_only_with_its_rule(&self) {
        for broken in [false, true] {
            for &(class, cell) in self.media {
                let report = self.explore(class, cell, broken);
                println!("{:?} broken: {broken:5}, {class:10} {cell:3}: {report}", self.rule);
                match (&report.violation, broken) {
                    (Some(story), false) => panic!("{class}, cells of {cell}: {story}"),
                    (None, true) => panic!("{class}, {cell}: no crash shows {:?} broken", self.rule),
                    (story, _) => {
                        println!("    {}", story.iter().flat_map(|s| s.lines()).next().unwrap_or_default())
                    }
                }
            }
        }
    }
}

/// Only the batch puts byte 2 into `b`. If it is there, all of the batch's bytes must be in `a`.
fn b_comes_with_a(found: &Found<'_>) -> Result<(), String> {
    match found.both()? {
        (2, 2) => Ok(()),
        (a, 2) => Err(format!("half a batch: b is there, a is {a}")),
        both if found.said > 1 => Err(format!("the batch was acknowledged: {both:?}")),
        _ => Ok(()),
    }
}

/// LOG rule 5: a staged line that is equal but not durable is logged. Otherwise a power loss takes the line, and the
/// batch is torn.
#[test]
fn rule_5_an_equal_line_that_is_dirty_is_logged() {
    fn act(stage: &Stage<'_>) {
        stage.a.write_at(0, &[2; LINE]).unwrap();
        stage.batch(1, 2, 2);
        stage.say(1);
    }
    Schedule { rule: Rule::BatchOmitsDirty, media: BOTH, act, check: b_comes_with_a }
        .holds_only_with_its_rule();
}

/// LOG rule 5: a line whose dirty bit a sync has taken is not durable before that sync has ended.
#[test]
fn rule_5_an_equal_line_that_a_sync_has_taken_is_logged() {
    fn act(stage: &Stage<'_>) {
        stage.a.write_at(0, &[2; LINE]).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                stage.live.gate.stop_me_before(|e| matches!(e, Event::Flush { .. }));
                stage.a.sync().unwrap();
            });
            assert!(stage.live.gate.wait_stopped(LATER), "the sync has something to flush");
            stage.batch(1, 2, 2);
            stage.say(1);
            stage.live.gate.open();
        });
    }
    Schedule { rule: Rule::BatchOmitsTaken, media: LINES, act, check: b_comes_with_a }
        .holds_only_with_its_rule();
}

/// LOG rule 5: lines are compared under the latch, because another batch may be about to change them.
#[test]
fn rule_5_lines_are_compared_under_the_latch() {
    fn act(stage: &Stage<'_>) {
        thread::scope(|scope| {
            scope.spawn(|| {
                stage.live.gate.stop_me_before(touches_log);
                stage.batch(1, 2, 2);
            });
            assert!(stage.live.gate.wait_stopped(LATER), "the first batch comes to its commit");
            // What `a` holds now, and will not hold when the first batch is applied.
            scope.spawn(|| stage.batch(1, 1, 3));
            thread::sleep(SOON);
            stage.live.gate.open();
        });
        stage.say(1);
    }
    fn check(found: &Found<'_>) -> Result<(), String> {
        match found.both()? {
            (1, 3) => Ok(()),
            (1, 1) | (2, 2) if found.said == 1 => Ok(()),
            both => {
                Err(format!("(1, 1), then (2, 2), then (1, 3) were lawful; said {}: {both:?}", found.said))
            }
        }
    }
    Schedule { rule: Rule::BatchUnlatched, media: BOTH, act, check }.holds_only_with_its_rule();
}

/// LOG rule 10: latches are held until the cursor has moved. Otherwise another thread could store to the first home while
/// the batch stores to its second; after a kill then, the replay would overwrite that store.
#[test]
fn rule_10_no_thread_stores_between_the_homes_of_a_batch() {
    fn act(stage: &Stage<'_>) {
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut homes = 0;
                stage.live.gate.stop_me_before(move |e| {
                    let home = matches!(e, Event::Store { bytes, .. } if bytes[..] == [2; LINE]);
                    homes += u32::from(home);
                    home && homes == 2
                });
                stage.batch(1, 2, 2);
            });
            assert!(stage.live.gate.wait_stopped(LATER), "the batch comes to its second home");
            scope.spawn(|| {
                for object in [&stage.a, &stage.b] {
                    object.write_at(0, &[3; LINE]).unwrap();
                    stage.say(1);
                }
            });
            thread::sleep(SOON);
            stage.live.gate.open();
        });
    }
    fn check(found: &Found<'_>) -> Result<(), String> {
        let (a, b) = found.both()?;
        let lost = found.crash == Crash::Death && (found.said > 1 && a != 3 || found.said > 2 && b != 3);
        if lost { Err(format!("a store had returned and the process died: ({a}, {b})")) } else { Ok(()) }
    }
    Schedule { rule: Rule::BatchReleasesEarly, media: BOTH, act, check }.holds_only_with_its_rule();
}

/// LOG rule 2: the frames of a payload are not used again before the record that names them is passed.
#[test]
fn rule_2_a_payload_stays_until_its_record_is_passed() {
    fn act(stage: &Stage<'_>) {
        stage.batch(PAGE / LINE, 2, 2);
        stage.say(1);
        let c = stage.live.store.create("c").unwrap();
        c.write_at(0, &[5; 30 * PAGE]).unwrap();
        stage.live.store.sync().unwrap();
    }
    fn check(found: &Found<'_>) -> Result<(), String> {
        b_comes_with_a(found)?;
        let whole = |name| Ok::<_, String>(found.bytes(name)?.windows(2).all(|two| two[0] == two[1]));
        if whole("a")? && whole("b")? { Ok(()) } else { Err("half a page of a batch".into()) }
    }
    Schedule { rule: Rule::PayloadReuse, media: BOTH, act, check }.holds_only_with_its_rule();
}

/// LOG rule 6: before a sync returns, the tail is past records that a power loss would replay over what was synced.
#[test]
fn rule_6_a_sync_is_not_undone_by_a_replay() {
    fn act(stage: &Stage<'_>) {
        stage.batch(8, 2, 2);
        stage.a.write_at(0, &[3; LINE]).unwrap();
        // Long enough to be stored past the cache, on media where that is done.
        stage.b.write_at(0, &[3; 8 * LINE]).unwrap();
        stage.a.sync().unwrap();
        stage.b.sync().unwrap();
        stage.say(1);
    }
    fn check(found: &Found<'_>) -> Result<(), String> {
        match found.both()? {
            (3, 3) => Ok(()),
            both if found.said > 1 => Err(format!("a synced store was undone: {both:?}")),
            _ => Ok(()),
        }
    }
    Schedule { rule: Rule::SyncKeepsImages, media: BOTH, act, check }.holds_only_with_its_rule();
}

/// LOG rule 3: what was cut off does not come back under a growth, out of a record that is replayed.
#[test]
fn rule_3_growth_uncovers_nothing_that_a_replay_puts_back() {
    fn act(stage: &Stage<'_>) {
        let mut batch = stage.live.store.batch();
        batch.write_at(&stage.a, 2000, &[2; LINE]).unwrap();
        batch.commit().unwrap();
        stage.a.set_len(100).unwrap();
        stage.a.set_len(3000).unwrap();
        stage.b.sync().unwrap();
        stage.say(1);
    }
    fn check(found: &Found<'_>) -> Result<(), String> {
        let bytes = found.bytes("a")?;
        match bytes.len() {
            PAGE | 100 if found.said == 1 => Ok(()),
            3000 if bytes[100..].iter().all(|&byte| byte == 0) => Ok(()),
            len => Err(format!("{len} bytes, byte 2010 is {:?}", bytes.get(2010))),
        }
    }
    Schedule { rule: Rule::GrowthKeepsImages, media: BOTH, act, check }.holds_only_with_its_rule();
}

/// LOG rule 8: after the death of a process, bytes are replayed only beyond the cursor.
#[test]
fn rule_8_what_was_applied_is_not_replayed_after_a_death() {
    fn act(stage: &Stage<'_>) {
        stage.batch(1, 2, 2);
        stage.a.write_at(0, &[3; LINE]).unwrap();
        stage.say(1);
    }
    fn check(found: &Found<'_>) -> Result<(), String> {
        match found.both()? {
            (3, 2) => Ok(()),
            both if found.said > 1 && found.crash == Crash::Death => {
                Err(format!("a store had returned and the process died: {both:?}"))
            }
            _ => Ok(()),
        }
    }
    Schedule { rule: Rule::CursorIgnored, media: BOTH, act, check }.holds_only_with_its_rule();
}
