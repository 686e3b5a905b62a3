//! The cases, and the rules that each of them needs.

use super::case::Case;
use crate::crash::script::Op::{self, *};
use crate::crash::script::{ObjectNo, Script, Shape};
use pagestone::media::rules::Rule;
use pagestone::units::Durability::{self, CacheLine, Fdatasync};

/// A rule that is switched off, and the case that must notice.
pub struct Planted {
    /// The rule.
    pub rule: Rule,
    /// The class of the medium.
    pub class: Durability,
    /// The case.
    pub case: Case,
}

const PAGE: u64 = 4096;

/// The operations that make an object of a thread, with `pages` pages.
fn made(thread: usize, object: ObjectNo, pages: u64) -> [(usize, Op); 2] {
    [(thread, Create(object, name(thread, object))), (thread, Write(object, 0, pages * PAGE))]
}

fn name(thread: usize, object: ObjectNo) -> String {
    format!("t{thread}.{object}")
}

/// Each thread makes, fills and syncs an object of its own.
fn own_objects() -> Case {
    let own = |t: usize, len| {
        vec![Create(t as ObjectNo, name(t, t as ObjectNo)), Write(t as ObjectNo, 0, len), SyncAll]
    };
    Case { name: "own objects", before: Vec::new(), threads: vec![own(0, 100), own(1, 5000)] }
}

/// Three commits at once: one leads, the others wait for it.
fn group_commit() -> Case {
    let before = [made(0, 0, 1), made(1, 1, 1), made(2, 2, 1)].into_iter().flatten().collect();
    let threads = vec![
        vec![SetLen(0, 300), Sync(0)],
        vec![SetLen(1, 200), Sync(1)],
        vec![Rename(name(2, 2), "t2.other".into()), SyncAll],
    ];
    Case { name: "group commit", before, threads }
}

/// One thread writes and syncs, the other syncs what the first has written.
fn syncs_of_one_object() -> Case {
    let mut before: Vec<_> = made(0, 0, 2).into();
    before.push((0, SyncAll));
    let threads = vec![
        vec![Write(0, 40, 8), Write(0, PAGE + 64, 16), Sync(0), Write(0, 48, 8), Sync(0)],
        vec![Sync(0), Sync(0), SyncAll],
    ];
    Case { name: "syncs of one object", before, threads }
}

/// The log is full: one thread's append moves its tail, while another appends and commits.
fn tail_moves() -> Case {
    let mut before: Vec<_> = [made(0, 0, 1), made(1, 1, 1)].into_iter().flatten().collect();
    before.extend((0..100).map(|n| (0, SetLen(0, 100 + n))));
    let lengths = |object, from: u64, count| (from..from + count).map(move |n| SetLen(object, n));
    let threads = vec![
        lengths(0, 1000, 4).chain([SyncAll]).chain(lengths(0, 2000, 30)).collect(),
        lengths(1, 500, 6).chain([Append(1, 5000), Sync(1)]).collect(),
    ];
    Case { name: "tail moves", before, threads }
}

/// One thread cuts and grows, the other syncs everything.
fn cuts() -> Case {
    let mut before: Vec<_> = [made(0, 0, 3), made(1, 1, 1)].into_iter().flatten().collect();
    before.push((0, SyncAll));
    let threads = vec![
        vec![SetLen(0, 100), SetLen(0, 3000), Write(0, 2 * PAGE, 100)],
        vec![Write(1, 0, 64), SyncAll, SyncAll],
    ];
    Case { name: "cuts beside syncs", before, threads }
}

/// One thread unlinks, the other makes and fills: frames change hands.
fn frames_change_hands() -> Case {
    let mut before: Vec<_> = [made(0, 0, 3), made(1, 1, 1)].into_iter().flatten().collect();
    before.push((0, SyncAll));
    let threads = vec![
        vec![Unlink(name(0, 0), true), Create(2, name(0, 2)), Write(2, 0, 2 * PAGE), SyncAll],
        vec![Create(3, name(1, 3)), Write(3, 0, 2 * PAGE), Sync(3), SetLen(3, 10)],
    ];
    Case { name: "frames change hands", before, threads }
}

/// One thread cuts off pages that it has pinned and unpins them, the other needs frames.
fn pinned_cuts() -> Case {
    let mut before: Vec<_> = [made(0, 0, 2), made(1, 1, 1)].into_iter().flatten().collect();
    before.push((0, SyncAll));
    let threads = vec![
        vec![Pin(0, 0), Pin(0, 1), SetLen(0, 0), Unpin, Write(0, 0, PAGE), Sync(0)],
        vec![Append(1, 2 * PAGE), Sync(1)],
    ];
    Case { name: "pinned cuts", before, threads }
}

/// One thread changes two objects in a batch, and then one of them in place. The other syncs them beside a batch of its
/// own.
fn batches() -> Case {
    let mut before: Vec<_> = [made(0, 0, 2), made(0, 1, 1), made(1, 2, 1)].into_iter().flatten().collect();
    before.push((0, SyncAll));
    let threads = vec![
        vec![Batch(vec![(0, 0, 100), (1, 40, 200), (0, PAGE, 64)]), Write(0, 10, 50), Sync(0)],
        vec![Sync(0), Batch(vec![(2, 0, 300)]), SyncAll],
    ];
    Case { name: "batches", before, threads }
}

/// One thread writes, cuts and grows an object, the other moves its pages and needs the frames that they leave.
fn moves() -> Case {
    let mut before: Vec<_> = [made(0, 0, 3), made(1, 1, 1)].into_iter().flatten().collect();
    before.push((0, SyncAll));
    let threads = vec![
        vec![
            Touch(0, 40, 8),
            Write(0, PAGE, 2 * PAGE),
            Sync(0),
            SetLen(0, PAGE + 100),
            Append(0, PAGE),
            Sync(0),
        ],
        vec![Move(0, 0, 3), Append(1, 2 * PAGE), Move(0, 0, 3), Write(1, 8 * PAGE, PAGE), Sync(1)],
    ];
    Case { name: "moves", before, threads }
}

/// Three threads do what the seed draws.
fn anything(seed: u64) -> Case {
    let shape = Shape { threads: 3, ops: 6, objects: 2, pages: 3, sync_every: 4, batch_every: 4 };
    let threads = Script::random(shape, seed).parts.into_iter().map(|part| part.ops).collect();
    Case { name: "anything", before: Vec::new(), threads }
}

/// All cases.
#[must_use]
pub fn cases(seed: u64) -> Vec<Case> {
    let mut cases = vec![
        own_objects(),
        group_commit(),
        syncs_of_one_object(),
        tail_moves(),
        cuts(),
        frames_change_hands(),
        batches(),
    ];
    cases.extend([pinned_cuts(), moves()]);
    cases.extend((0..3).map(|n| anything(seed * 3 + n)));
    cases
}

/// Cases with one rule broken each, which must be noticed.
#[must_use]
pub fn planted() -> Vec<Planted> {
    let planted = |rule, class, case| Planted { rule, class, case };
    vec![
        planted(Rule::SyncUncommitted, CacheLine, group_commit()),
        planted(Rule::SyncUncommitted, Fdatasync, group_commit()),
        planted(Rule::SyncEarlier, CacheLine, syncs_of_one_object()),
        planted(Rule::SyncEarlier, Fdatasync, syncs_of_one_object()),
        planted(Rule::TailNotFlushed, CacheLine, tail_moves()),
        planted(Rule::NtFence, CacheLine, own_objects()),
        planted(Rule::MarkFirst, Fdatasync, own_objects()),
        planted(Rule::StaleShadow, CacheLine, group_commit()),
        planted(Rule::MoveUnfenced, CacheLine, moves()),
        planted(Rule::MoveUnpublished, Fdatasync, moves()),
        planted(Rule::SyncKeepsImages, CacheLine, batches()),
        planted(Rule::SyncKeepsImages, Fdatasync, batches()),
    ]
}
