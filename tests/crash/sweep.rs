//! The sweep: in the recorded run of each protocol, every fence, flush, file sync, write-through and growth is left out,
//! one at a time. For each one, the explorer must find a crash that does harm; or the step made nothing durable that
//! another step does not; or the protocol's own rules allow the loss of what the step left open ([`excuse`]).

use crate::log_rules::BOTH;
use crate::store_rules::{PAGE, name, object};
use pagestone::media::layout::BITMAP_FRAMES;
use pagestone::region::Identity;
use pagestone::units::Durability;
use pagestone_explorer::medium::Medium;
use pagestone_explorer::{Crash, Event, Plan, Trace, explore};
use pagestone_tests::crash::life::{HOME, LOG_FRAMES, rebooted, scaled};
use pagestone_tests::crash::oracle::label;
use pagestone_tests::crash::place;
use pagestone_tests::crash::recover::{Recovered, StoreJudge};
use pagestone_tests::crash::run::{Live, Rig, Run, outcome};
use pagestone_tests::crash::script::Op;
use std::collections::{BTreeMap, BTreeSet};
use std::thread;

/// For a header that is written just before the lease.
const LEASE_FOLLOWS: &str =
    "the lease's own fence completes it before the first record; another epoch's lease is not believed";

/// For the same header, where a commit follows.
const COMMIT_FOLLOWS: &str =
    "the file sync of what the commit publishes covers it (`the_epoch_is_durable_before_the_first_record`)";

/// For the header that recovery writes.
const BEGINNING_FOLLOWS: &str = "no record is appended before the next beginning has made a header of its own durable; \
    until then a recovery from the older tail stores the same words, and the frames it zeroes are nodes, which only \
    records change (the run has no batches, whose lines a sync in place may follow)";

/// For the second header of a region at rest.
const THE_OTHER_STANDS: &str =
    "the other copy is durable and has the same tail: this one is for a frame that is destroyed at rest";

/// For a commit inside a move of the tail.
const PASSED_AT_ONCE: &str = "no caller is told before its homes are flushed and the tail is past it; torn homes are healed \
by older records of the same words, live until then";

/// How many steps of a protocol are left out, where it would take too long to leave out each.
const SAMPLED: usize = 10;

/// So many events count as following at once.
const SOON: usize = 120;

/// A protocol: what thread 0 does, and the operation at which the sweep begins.
struct Protocol {
    name: &'static str,
    since: usize,
    act: fn(&Live),
    /// A kind of step, a place that it may leave open in this protocol alone, and why.
    spared: &'static [(&'static str, &'static str, &'static str)],
}

const PROTOCOLS: &[Protocol] = &[
    Protocol {
        name: "first change (superblock, epoch, lease), and a commit that publishes",
        spared: &[
            ("fence", "log header copy 0", LEASE_FOLLOWS),
            ("fence", "log header copy 1", LEASE_FOLLOWS),
            ("write-through", "log header copy 0", COMMIT_FOLLOWS),
            ("write-through", "log header copy 1", COMMIT_FOLLOWS),
        ],
        since: 0,
        act: |live| {
            object(live, 0, "a", 2);
        },
    },
    Protocol {
        name: "sync in place, and of a size",
        spared: &[],
        since: 3,
        act: |live| {
            object(live, 0, "a", 2);
            live.run(0, Op::Write(0, 100, 200)).unwrap();
            live.run(0, Op::Touch(0, PAGE, 64)).unwrap();
            live.run(0, Op::Sync(0)).unwrap();
            live.run(0, Op::SetLen(0, 5000)).unwrap();
            live.run(0, Op::SetLen(0, 7000)).unwrap();
            live.run(0, Op::SyncAll).unwrap();
        },
    },
    Protocol {
        name: "move of the tail, and reuse of what it passed",
        spared: &[
            ("flush", "log", PASSED_AT_ONCE),
            ("fence", "log", PASSED_AT_ONCE),
            ("write-through", "log", PASSED_AT_ONCE),
        ],
        since: 4,
        act: |live| {
            object(live, 0, "a", 3);
            live.run(0, Op::SetLen(0, 0)).unwrap();
            wrap_in_many_threads(live);
            object(live, 0, "b", 4);
        },
    },
    Protocol {
        name: "growth of the region",
        spared: &[],
        since: 3,
        act: |live| {
            object(live, 0, "a", 90);
            object(live, 0, "b", 40);
        },
    },
    Protocol {
        name: "rename over another, unlink, the steps that free",
        spared: &[],
        since: 6,
        act: |live| {
            object(live, 0, "a", 2);
            object(live, 0, "b", 2);
            live.run(0, Op::Rename(name(0, "a"), name(0, "b"))).unwrap();
            live.run(0, Op::SyncAll).unwrap();
            live.run(0, Op::Unlink(name(0, "b"), true)).unwrap();
            live.run(0, Op::SyncAll).unwrap();
        },
    },
];

/// The log wraps, and each change has a thread of its own. So the thread that commits after a move of the tail is another
/// one, and its fences do not complete what the first has flushed but not fenced.
fn wrap_in_many_threads(live: &Live) {
    let long = object(live, 0, "long", 0);
    for round in 1..=240 {
        let change = || {
            live.run(0, Op::SetLen(long, round * 8)).unwrap();
            if round % 7 == 0 {
                live.run(0, Op::Sync(long)).unwrap();
            }
        };
        thread::scope(|scope| drop(scope.spawn(change)));
    }
    live.run(0, Op::SyncAll).unwrap();
}

/// Why the protocol's own rules allow the loss of what a step left open at a place. `then` is the region at that step.
fn excuse(place: &str, then: &[u8]) -> Option<&'static str> {
    let free = |frame: usize| {
        let word = BITMAP_FRAMES[0].offset() as usize + frame / 64 * 8;
        then[word + frame % 64 / 8] >> (frame % 8) & 1 == 0
    };
    let frame = place.strip_prefix("frame ").and_then(|n| n.parse().ok());
    Some(match place {
        _ if frame.is_some_and(free) => "the frame is free by then, and its next owner stores it whole",
        "lease" => "an older lease makes the next opening assume a power loss, which it was",
        "cursor" => "the cursor counts only after the death of a process, and then it is in the cache",
        p if p.starts_with("superblock") => {
            "the older copy differs in its generation; recovery does not need it"
        }
        _ => return None,
    })
}

/// The trace without event `at`. A file operation is removed together with its end.
fn without(events: &[Event], at: usize) -> Vec<Event> {
    let mut left = events.to_vec();
    let end = |e: &Event| match (&events[at], e) {
        (Event::SyncBegin { thread: a }, Event::SyncEnd { thread: b }) => a == b,
        (Event::WriteThroughBegin { thread: a, .. }, Event::WriteThroughEnd { thread: b, .. }) => a == b,
        _ => false,
    };
    if let Some(n) = events[at..].iter().position(end) {
        left.remove(at + n);
    }
    left.remove(at);
    left
}

/// What is open at each store and each mark of a run: the cells, and for each the number of open stores.
fn open_cells(trace: &Trace) -> Vec<BTreeSet<(u64, usize)>> {
    let mut medium = Medium::new(&trace.base, trace.class, 64);
    let mut seen = Vec::new();
    for event in &trace.events {
        medium.step(event);
        if matches!(event, Event::Mark { .. } | Event::Store { .. }) {
            seen.push(medium.pending().map(|(offset, history)| (offset, history.len())).collect());
        }
    }
    seen
}

/// Where the run without a step leaves something open that the whole run does not.
fn left_open(whole: &[BTreeSet<(u64, usize)>], less: &Trace) -> BTreeSet<String> {
    let mut open = BTreeSet::new();
    for (whole, less) in whole.iter().zip(open_cells(less)) {
        let more = less.difference(whole).map(|&(offset, _)| place::name(offset, LOG_FRAMES));
        open.extend(more.map(|name| if name.starts_with("log byte") { "log".into() } else { name }));
    }
    open
}

fn drops(class: Durability, event: &Event) -> Option<&'static str> {
    Some(match (class, event) {
        (Durability::CacheLine, Event::Fence { .. }) => "fence",
        (Durability::CacheLine, Event::Flush { .. }) => "flush",
        (_, Event::SyncBegin { .. }) => "file sync",
        (Durability::Fdatasync, Event::WriteThroughBegin { .. }) => "write-through",
        (Durability::CacheLine, Event::Grow { .. }) => "growth",
        _ => return None,
    })
}

#[derive(Default)]
struct Sums {
    found: u64,
    redundant: u64,
    excused: BTreeMap<&'static str, u64>,
}

/// Leaves out one step after another of the recorded run, from event `from` on.
fn sweep(
    Protocol { spared, .. }: &Protocol,
    run: &mut Run,
    from: usize,
    rig: Rig,
    identity: Identity,
    cell: usize,
    sums: &mut BTreeMap<&'static str, Sums>,
) -> Vec<String> {
    let step = if scaled(1) > 1 { 1 } else { 7 };
    // There are many flushes, and neighbours are alike.
    let kept = |i: &usize| match drops(rig.class, &run.trace.events[*i]) {
        Some(kind) => kind != "flush" || i % step == 0,
        None => false,
    };
    let mut swept: Vec<usize> = (from..run.trace.events.len()).filter(kept).collect();
    if step > 1 {
        let every = swept.len().div_ceil(SAMPLED);
        swept = swept.into_iter().step_by(every.max(1)).collect();
    }
    let whole = open_cells(&run.trace);
    let mut unexplained = Vec::new();
    for at in swept {
        let kind = drops(rig.class, &run.trace.events[at]).expect("it was asked before");
        let events = without(&run.trace.events, at);
        let less = Trace { base: run.trace.base.clone(), events, class: rig.class };
        let sum = sums.entry(kind).or_default();
        let open = left_open(&whole, &less);
        if open.is_empty() && kind != "growth" {
            sum.redundant += 1;
            continue;
        }
        // First the events that follow at once, then all that follow.
        let mut found = false;
        for events in [less.events.len().min(at + SOON), less.events.len()] {
            let less =
                Trace { base: less.base.clone(), events: less.events[..events].to_vec(), class: rig.class };
            let mut judge = StoreJudge { identity, ..StoreJudge::new(rig, &mut run.oracle, 0, 1) };
            let plan = Plan { from: at, limit: scaled(250), between: 2, ..Plan::wide(cell, 1) };
            found = found || explore(&less, &plan, &mut judge).violation.is_some();
        }
        if found {
            sum.found += 1;
            continue;
        }
        let story = format!("{kind} at event {at}, left out, leaves {open:?} open, and no judge saw it");
        let before = Trace { base: less.base, events: less.events[..at].to_vec(), class: rig.class };
        let then = outcome(&before);
        for place in open {
            let spared = spared.iter().find(|s| s.0 == kind && s.1 == place).map(|s| s.2);
            match spared.or_else(|| excuse(&place, &then)) {
                Some(why) => *sum.excused.entry(why).or_default() += 1,
                None => unexplained.push(story.clone()),
            }
        }
    }
    unexplained
}

/// A life that begins with a recovery. A power loss has left only what was durable of the life before.
fn recovery(rig: &Rig) -> Run {
    let live = Live::start(rig, 1).expect("the store opens");
    object(&live, 0, "a", 3);
    live.run(0, Op::Rename(name(0, "a"), name(0, "b"))).unwrap();
    live.run(0, Op::SetLen(0, 5000)).unwrap();
    live.run(0, Op::SyncAll).unwrap();
    let mut run = live.finish();
    let mut medium = Medium::new(&run.trace.base, rig.class, 64);
    run.trace.events.iter().for_each(|event| medium.step(event));
    let (left, marks) = (medium.durable().0.to_vec(), 2 * 6);
    let identity = rebooted(HOME);
    let store = rig.options(identity).open_image(left.clone()).expect("the store opens");
    let prefix = run.oracle.check(marks, Crash::Power, &mut Recovered(&store)).expect("nothing is lost");
    let (script, ids) =
        run.oracle.next_life(&prefix.expect("it is known"), &mut Recovered(&store)).expect("it can be read");
    drop(store);
    let live = Live::resume(rig, identity, left, script, ids, true).expect("the store opens again");
    live.run(0, Op::Write(0, 100, 50)).unwrap();
    live.run(0, Op::SetLen(0, 4000)).unwrap();
    live.run(0, Op::SyncAll).unwrap();
    live.finish()
}

#[test]
fn every_step_of_recovery_is_needed_or_explained() {
    for &(class, cell) in BOTH.iter().filter(|(_, cell)| *cell != 8) {
        let rig = Rig::new(class);
        let mut run = recovery(&rig);
        let mut sums = BTreeMap::new();
        let protocol = Protocol {
            name: "recovery",
            since: 0,
            act: |_| (),
            spared: &[
                ("fence", "log header copy 0", LEASE_FOLLOWS),
                ("fence", "log header copy 1", LEASE_FOLLOWS),
                ("write-through", "log header copy 0", BEGINNING_FOLLOWS),
                ("write-through", "log header copy 1", BEGINNING_FOLLOWS),
                ("file sync", "log header copy 0", THE_OTHER_STANDS),
                ("file sync", "log header copy 1", THE_OTHER_STANDS),
                ("fence", "frame 20", "the fence of the commit in the same sync completes it"),
            ],
        };
        let left = sweep(&protocol, &mut run, 0, rig, rebooted(HOME), cell, &mut sums);
        tell(protocol.name, class, &sums);
        assert!(left.is_empty(), "unexplained:\n{}", left.join("\n"));
    }
}

#[test]
fn every_step_of_every_protocol_is_needed_or_explained() {
    let mut left: Vec<String> = Vec::new();
    for &(class, cell) in BOTH.iter().filter(|(_, cell)| *cell != 8) {
        for protocol in PROTOCOLS {
            let rig = Rig::new(class);
            let live = Live::start(&rig, 1).expect("the store opens");
            (protocol.act)(&live);
            let mut run = live.finish();
            let first = label(0, protocol.since, false);
            let begins = |e: &Event| matches!(e, Event::Mark { label, .. } if *label == first);
            let from = run.trace.events.iter().position(begins).expect("the protocol gets there");
            let mut sums = BTreeMap::new();
            let unexplained = sweep(protocol, &mut run, from, rig, HOME, cell, &mut sums);
            tell(protocol.name, class, &sums);
            left.extend(unexplained.into_iter().map(|story| format!("{class} {}: {story}", protocol.name)));
        }
    }
    assert!(left.is_empty(), "unexplained:\n{}", left.join("\n"));
}

fn tell(name: &str, class: Durability, sums: &BTreeMap<&'static str, Sums>) {
    for (kind, Sums { found, redundant, excused }) in sums {
        println!("{class:10} {name}: {kind}: {found} found, {redundant} redundant, excused {excused:?}");
    }
    assert!(sums.values().any(|sum| sum.found > 0), "{class} {name}: nothing was found");
}
