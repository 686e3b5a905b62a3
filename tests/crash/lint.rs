//! What can be seen in a recorded run without crashing it: stores that do not go through `persist`, and flushes and fences
//! that are needless or too late. A store that does not go through `persist` is called "past the door".

use pagestone::media::layout::{ROOT_FRAMES, RootWord};
use pagestone::media::rules::{Rule, Rules};
use pagestone::persist::{Event, Recorder};
use pagestone::units::Durability::{CacheLine, Fdatasync};
use pagestone::units::{Durability, FRAME_SIZE, PageIndex};
use pagestone_explorer::medium::Medium;
use pagestone_explorer::{Plan, Trace, explore};
use pagestone_kit::random::mix;
use pagestone_tests::crash::life::{HOME, rebooted, scaled};
use pagestone_tests::crash::place::log_range;
use pagestone_tests::crash::recover::StoreJudge;
use pagestone_tests::crash::run::{Live, Rig};
use pagestone_tests::crash::script::{Op, Script, Shape};
use pagestone_tests::lint::known::{Kind, explanation, unexplained};
use pagestone_tests::lint::{Finding, Setting, lint};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A store with one object of two pages, and the object.
fn with_an_object(class: Durability) -> (Live, pagestone::store::Object) {
    let live = Live::start(&Rig::new(class), 1).expect("the store opens");
    let write = Op::Write(0, 0, 2 * FRAME_SIZE as u64);
    for op in [Op::Create(0, "t0.a".into()), write, Op::SyncAll] {
        live.run(0, op).expect("the operation succeeds");
    }
    let object = live.store.open("t0.a").expect("it was made");
    (live, object)
}

fn bypasses(live: &Live) -> Vec<(u64, u64)> {
    let events = live.recorder.take().into_iter();
    let bypass = |event| match event {
        Event::Bypass { offset, len, .. } => Some((offset, len)),
        _ => None,
    };
    events.filter_map(bypass).collect()
}

/// Stores one word at `at` of a page, without a latch and past the door.
fn past_the_door(page: &pagestone::page::PageRef, at: usize) -> u64 {
    let word = page.address().wrapping_add(at).cast_mut().cast::<u64>();
    // SAFETY: the page is pinned, the word lies in it, and this test has the store for itself.
    unsafe { word.write_volatile(0x5713) };
    let (_, offset) = pagestone::region::region_at(page.address()).expect("a page of an open region");
    offset + at as u64
}

/// At each sync the recorder's image is compared with the real bytes. So a store past the door is found.
#[test]
fn a_store_past_the_door_is_found_at_the_next_sync_by_its_place() {
    for class in [CacheLine, Fdatasync] {
        let (live, object) = with_an_object(class);
        assert_eq!(bypasses(&live), [], "{class}: the engine itself has one");
        let page = object.pin(PageIndex(1)).expect("a pin").expect("the page is there");
        let offset = past_the_door(&page, 640);
        drop(page);
        live.run(0, Op::Write(0, 0, 8)).expect("the operation succeeds");
        live.run(0, Op::SyncAll).expect("the operation succeeds");
        assert_eq!(bypasses(&live), [(offset, 8)], "{class}");
        live.run(0, Op::Write(0, 8, 8)).expect("the operation succeeds");
        live.run(0, Op::SyncAll).expect("the operation succeeds");
        assert_eq!(bypasses(&live), [], "{class}: it is told once");
    }
}

/// The explorer refuses a run with stores that it does not know.
#[test]
fn a_run_with_a_store_past_the_door_is_a_violation() {
    let (live, object) = with_an_object(CacheLine);
    let page = object.pin(PageIndex(0)).expect("a pin").expect("the page is there");
    let offset = past_the_door(&page, 8);
    drop((page, object));
    live.run(0, Op::Write(0, 4096, 8)).expect("the operation succeeds");
    live.run(0, Op::SyncAll).expect("the operation succeeds");
    let mut run = live.finish();
    let mut judge = StoreJudge::new(Rig::new(CacheLine), &mut run.oracle, 0, 1);
    let story = explore(&run.trace, &Plan::wide(64, 1), &mut judge).violation.expect("it is seen");
    assert!(story.contains("PAST THE DOOR") && story.contains(&format!("{offset:#x}")), "{story}");
}

/// The recorder learns of stores through a guard when the guard ends. Until then their absence is no finding.
#[test]
fn a_guard_that_is_still_held_is_no_store_past_the_door() {
    for class in [CacheLine, Fdatasync] {
        let (live, object) = with_an_object(class);
        let page = object.pin_mut(PageIndex(0)).expect("a pin");
        let mut guard = page.write().expect("the latch");
        guard[100..200].fill(0x77);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                live.run(0, Op::Write(0, 4096, 100)).expect("the operation succeeds");
                live.run(0, Op::SyncAll).expect("the operation succeeds");
            });
        });
        assert_eq!(bypasses(&live), [], "{class}: in the middle of the guard's life");
        drop(guard);
        live.run(0, Op::SyncAll).expect("the operation succeeds");
        assert_eq!(bypasses(&live), [], "{class}: after it");
    }
}

/// Shapes of workloads: mixed, with a log that wraps, with several threads.
const SHAPES: [Shape; 3] = [
    Shape { threads: 1, ops: 60, objects: 5, pages: 6, sync_every: 6, batch_every: 0 },
    Shape { threads: 1, ops: 260, objects: 6, pages: 3, sync_every: 12, batch_every: 0 },
    Shape { threads: 3, ops: 30, objects: 3, pages: 4, sync_every: 6, batch_every: 0 },
];

/// A run that ends with a close in order.
fn setting(rig: &Rig) -> Setting<'static> {
    Setting { log_frames: rig.log_frames, closed: true, inherited: false, oracle: None }
}

/// A whole life that ends in order, and what is to be found in it.
fn life(rig: &Rig, shape: Shape, seed: u64) -> (Trace, Vec<Finding>) {
    let live = Live::start(rig, shape.threads).expect("the store opens");
    if shape.threads > 1 {
        live.shaken(seed);
    }
    live.play(Script::random(shape, seed)).expect("all operations succeed");
    let run = live.close().expect("the store closes");
    let setting = Setting { oracle: Some(&run.oracle), ..setting(rig) };
    let found = lint(&run.trace, setting);
    (run.trace, found)
}

/// What is to be found in the life after a crash.
fn afterlife(trace: &Trace, rig: &Rig) -> Vec<Finding> {
    lint(trace, Setting { log_frames: rig.log_frames, closed: true, inherited: true, oracle: None })
}

/// The bytes after a crash at an event: all that was stored (the death of the process), or only what is certain to be
/// durable (a power loss).
fn left(trace: &Trace, upto: usize, death: bool) -> Vec<u8> {
    let mut medium = Medium::new(&trace.base, trace.class, 8);
    trace.events[..upto].iter().for_each(|event| medium.step(event));
    if death { medium.current().0.to_vec() } else { medium.durable().0.to_vec() }
}

/// The life after a crash: recovered, changed, closed.
fn next_life(rig: &Rig, image: Vec<u8>, death: bool) -> Trace {
    let recorder = Recorder::new();
    let identity = if death { HOME } else { rebooted(HOME) };
    let options = rig.options(identity).recorder(Arc::clone(&recorder));
    let store = options.open_image(image.clone()).expect("it is recovered");
    let object = store.create("probe").expect("it can be changed");
    object.write_at(100, &[0x5a; 9000]).expect("it can be written");
    drop(object);
    store.close().unwrap_or_else(|error| panic!("it closes: {error}"));
    Trace { base: image, events: recorder.take(), class: rig.class }
}

/// Findings that the list of known ones does not explain. Counts those that it does.
fn defects(found: Vec<Finding>, kind: Kind, known: &mut Counts) -> Vec<Finding> {
    for finding in found.iter().filter(|finding| explanation(finding, kind).is_some()) {
        *known.entry((finding.name, finding.place.clone())).or_default() += 1;
    }
    unexplained(found, kind)
}

type Counts = BTreeMap<(&'static str, String), u64>;

/// In every life of the mixed workloads, with formats and recoveries, the rules of the log hold, and no flush or fence is
/// needless, except for what the list of known findings explains.
#[test]
fn nothing_is_found_that_the_list_does_not_explain() {
    for class in [CacheLine, Fdatasync] {
        let rig = Rig::new(class);
        let mut known = Counts::new();
        let alone = Kind { class, threads: 1, recovery: false, batches: false };
        let mut rest = defects(lint(&rig.format().expect("a format"), setting(&rig)), alone, &mut known);
        for shape in SHAPES {
            for seed in 0..scaled(6) {
                let (trace, found) = life(&rig, shape, seed);
                rest.extend(defects(found, Kind { threads: shape.threads, ..alone }, &mut known));
                for death in [false, true] {
                    let upto = (mix(seed) % trace.events.len() as u64) as usize;
                    let next = next_life(&rig, left(&trace, upto, death), death);
                    rest.extend(defects(
                        afterlife(&next, &rig),
                        Kind { recovery: true, ..alone },
                        &mut known,
                    ));
                }
                assert!(rest.is_empty(), "{class}, {shape:?}, seed {seed}: {rest:#?}");
            }
        }
        println!("{class}: explained findings {known:?}");
    }
}

/// Findings in the record of a life after `break_it` has changed the record. The life has one thread, small and large
/// stores, syncs and a truncate.
fn broken(class: Durability, rules: Rules, break_it: impl Fn(&mut Vec<Event>)) -> Vec<&'static str> {
    let rig = Rig { rules, ..Rig::new(class) };
    let live = Live::start(&rig, 1).expect("the store opens");
    for n in 0..12 {
        let name = format!("t0.{n}");
        for op in [Op::Create(n, name.clone()), Op::Write(n, 0, 9000), Op::SyncAll, Op::Write(n, 40, 8)] {
            live.run(0, op).expect("the operation succeeds");
        }
        for op in [Op::Sync(n), Op::SetLen(n, 100), Op::SyncAll, Op::Unlink(name, true)] {
            live.run(0, op).expect("the operation succeeds");
        }
    }
    let mut run = live.close().expect("the store closes");
    break_it(&mut run.trace.events);
    let setting = Setting { oracle: Some(&run.oracle), ..setting(&rig) };
    let found =
        unexplained(lint(&run.trace, setting), Kind { class, threads: 1, recovery: false, batches: false });
    let names: BTreeSet<_> = found.iter().map(|finding| finding.name).collect();
    names.into_iter().collect()
}

fn edited(class: Durability, break_it: impl Fn(&mut Vec<Event>)) -> Vec<&'static str> {
    broken(class, Rules::default(), break_it)
}

fn without(class: Durability, rule: Rule) -> Vec<&'static str> {
    broken(class, Rules::default().breaking(rule), |_| ())
}

/// The place of the `n`th event of a kind.
fn nth(events: &[Event], n: usize, kind: impl Fn(&Event) -> bool) -> usize {
    let mut places = events.iter().enumerate().filter(|(_, event)| kind(event)).map(|(at, _)| at);
    places.nth(n).expect("the run has so many")
}

fn is_fence(event: &Event) -> bool {
    matches!(event, Event::Fence { .. })
}

fn is_flush(event: &Event) -> bool {
    matches!(event, Event::Flush { .. })
}

/// Page-sized stores past the cache: the bytes of fresh frames.
fn is_fresh(event: &Event) -> bool {
    matches!(event, Event::Store { bytes, non_temporal: true, .. } if bytes.len() == FRAME_SIZE)
}

/// Stores of one word in the medium's own frames: homes.
fn is_home(event: &Event) -> bool {
    matches!(event, Event::Store { offset, bytes, .. } if bytes.len() == 8 && *offset == ROOT_FRAMES[0].offset() + RootWord::Objects.offset())
}

#[test]
fn the_life_that_is_broken_below_has_no_finding_by_itself() {
    for class in [CacheLine, Fdatasync] {
        assert_eq!(edited(class, |_| ()), [""; 0], "{class}");
    }
}

#[test]
fn a_publication_without_its_fence_is_found() {
    assert!(without(CacheLine, Rule::NtFence).contains(&"unfenced-publish"));
    assert!(without(Fdatasync, Rule::MarkFirst).contains(&"unfenced-publish"));
}

#[test]
fn a_promise_without_its_flush_is_found() {
    // Only the sync that follows flushes and fences the small store of `Write(n, 40, 8)`.
    let forget = |events: &mut Vec<Event>| {
        let small = |event: &Event| matches!(event, Event::Store { offset, bytes, .. } if bytes.len() == 8 && offset % 4096 == 40);
        let small = nth(events, 0, small);
        let flush = small + nth(&events[small..], 0, is_flush);
        events.remove(flush);
    };
    assert!(edited(CacheLine, forget).contains(&"unfenced-publish"));
    let forget = |events: &mut Vec<Event>| {
        let end = nth(events, 1, |event| matches!(event, Event::SyncEnd { .. }));
        events.drain(end - 1..=end);
    };
    assert!(edited(Fdatasync, forget).contains(&"unfenced-publish"));
    // Without the write-through of the mark, what the mark covers is durable but not committed.
    let forget = |events: &mut Vec<Event>| {
        let log =
            |event: &Event| matches!(event, Event::WriteThroughEnd { offset, .. } if touches_log_at(*offset));
        let end = nth(events, 0, log);
        events.drain(end - 1..=end);
    };
    assert!(edited(Fdatasync, forget).contains(&"unfenced-publish"));
}

fn touches_log_at(offset: u64) -> bool {
    log_range(Rig::new(Fdatasync).log_frames).contains(&offset)
}

#[test]
fn a_frame_that_is_linked_unwritten_is_found() {
    for class in [CacheLine, Fdatasync] {
        let forget = |events: &mut Vec<Event>| drop(events.remove(nth(events, 1, is_fresh)));
        assert!(edited(class, forget).contains(&"unwritten-publish"), "{class}");
    }
}

#[test]
fn a_home_that_is_stored_before_its_mark_is_found() {
    for class in [CacheLine, Fdatasync] {
        let hurry = |events: &mut Vec<Event>| {
            let home = nth(events, 0, is_home);
            let durable = |event: &Event| is_fence(event) || matches!(event, Event::WriteThroughBegin { .. });
            let before = (0..home).rev().find(|at| durable(&events[*at])).expect("the mark became durable");
            let home = events.remove(home);
            events.insert(before, home);
        };
        assert!(edited(class, hurry).contains(&"early-home"), "{class}");
    }
}

#[test]
fn a_tail_that_passes_homes_too_early_is_found() {
    for class in [CacheLine, Fdatasync] {
        assert!(without(class, Rule::TailNotFlushed).contains(&"early-tail"), "{class}");
    }
}

#[test]
fn a_store_over_a_live_copy_is_found() {
    for class in [CacheLine, Fdatasync] {
        for rule in [Rule::HeaderTorn, Rule::LiveSuperblock] {
            assert!(without(class, rule).contains(&"live-copy-written"), "{class}, {rule:?}");
        }
    }
}

#[test]
fn what_a_close_leaves_unflushed_is_found() {
    let last = |kind: fn(&Event) -> bool| {
        move |events: &mut Vec<Event>| {
            let at = events.iter().rposition(kind).expect("the close makes something durable");
            events.remove(at);
        }
    };
    assert!(edited(CacheLine, last(is_fence)).contains(&"unflushed-at-close"));
    assert!(edited(CacheLine, last(is_flush)).contains(&"unflushed-at-close"));
    let synced = |event: &Event| matches!(event, Event::SyncEnd { .. });
    // An operation without its end counts as failed, so its beginning is removed too.
    let whole = |events: &mut Vec<Event>| {
        let at = events.iter().rposition(synced).expect("the lease is written last");
        events.drain(at - 1..=at);
    };
    assert!(edited(Fdatasync, whole).contains(&"unflushed-at-close"));
}

#[test]
fn what_is_done_twice_is_found() {
    let twice = |kind: fn(&Event) -> bool, events: usize| {
        move |all: &mut Vec<Event>| {
            let at = nth(all, 3, kind);
            let again: Vec<_> = all[at + 1 - events..=at].to_vec();
            all.splice(at + 1..at + 1, again);
        }
    };
    assert_eq!(edited(CacheLine, twice(is_flush, 1)), ["redundant-flush"]);
    assert_eq!(edited(CacheLine, twice(is_fence, 1)), ["idle-fence"]);
    let through = |event: &Event| matches!(event, Event::WriteThroughEnd { .. });
    assert_eq!(edited(Fdatasync, twice(through, 2)), ["redundant-flush"]);
}

#[test]
fn an_idle_file_sync_is_told_and_is_explained() {
    let live = Live::start(&Rig::new(Fdatasync), 1).expect("the store opens");
    for op in [
        Op::Create(0, "t0.a".into()),
        Op::Write(0, 0, 100),
        Op::Create(1, "t0.b".into()),
        Op::Write(1, 0, 100),
    ] {
        live.run(0, op).expect("the operation succeeds");
    }
    for op in [Op::SyncAll, Op::Write(0, 0, 8), Op::Write(1, 0, 8), Op::Sync(0), Op::Sync(1)] {
        live.run(0, op).expect("the operation succeeds");
    }
    let trace = live.finish().trace;
    let found = lint(&trace, Setting { closed: false, ..setting(&Rig::new(Fdatasync)) });
    assert_eq!(found.iter().map(|finding| finding.name).collect::<Vec<_>>(), ["idle-fence"]);
    assert!(
        explanation(&found[0], Kind { class: Fdatasync, threads: 1, recovery: false, batches: false })
            .is_some()
    );
}

#[test]
fn a_store_between_flush_and_fence_is_found() {
    let again = |events: &mut Vec<Event>| {
        let at = nth(events, 3, is_flush);
        let Event::Flush { thread, line_offset } = events[at] else { panic!("a flush") };
        let store = Event::Store { thread, offset: line_offset, bytes: [0; 8].into(), non_temporal: false };
        events.splice(at + 1..at + 1, [store, Event::Flush { thread, line_offset }]);
    };
    assert!(edited(CacheLine, again).contains(&"wasted-flush"));
}
