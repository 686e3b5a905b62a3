//! The schedules of pages that move: whatever is lost, each page shows what it showed, and no frame has two owners. They
//! work like those of `store_rules`. Moves among everything else: the mixed workload.

use crate::store_rules::{PAGE, START, Schedule, name, object};
use pagestone::media::rules::Rule;
use pagestone::units::Durability::{self, CacheLine, Fdatasync};
use pagestone_tests::crash::run::Live;
use pagestone_tests::crash::script::Op;

const BOTH: &[(Durability, usize)] = &[(CacheLine, 64), (CacheLine, 8), (Fdatasync, 512), (Fdatasync, 8)];
const LINES: &[(Durability, usize)] = &[(CacheLine, 64), (CacheLine, 8)];
const FILES: &[(Durability, usize)] = &[(Fdatasync, 512), (Fdatasync, 8)];

/// Pages of an object that are not adjacent, so that each gets the lowest free frame.
fn apart(object: u16, pages: u64) -> impl Iterator<Item = Op> {
    (0..pages).map(move |n| Op::Write(object, 2 * n * PAGE, PAGE))
}

fn all(live: &Live, ops: impl IntoIterator<Item = Op>) {
    ops.into_iter().for_each(|op| live.run(0, op).unwrap());
}

/// Synced, dirty and synced again, moved in between.
fn dirty(live: &Live) -> Result<(), String> {
    let a = object(live, 0, "a", 4);
    all(
        live,
        [
            Op::Move(a, 0, 4),
            Op::Write(a, 0, PAGE),
            Op::Move(a, 0, 2),
            Op::Sync(a),
            Op::Touch(a, 8, 80),
            Op::Touch(a, PAGE, 80),
            Op::SyncRange(a, 0, PAGE),
            Op::Move(a, 0, 4),
            Op::Sync(a),
        ],
    );
    Ok(())
}

/// A frame that a page gets holds the page before the map leads to it: a file's is synced with the record.
#[test]
fn a_page_that_moved_in_a_file_shows_what_it_showed() {
    Schedule { rule: Rule::MoveUnpublished, media: FILES, since: START, act: dirty }
        .holds_only_with_its_rule();
}

/// And one that the processor writes is fenced before the record.
#[test]
fn a_page_that_moved_in_persistent_memory_shows_what_it_showed() {
    Schedule { rule: Rule::MoveUnfenced, media: LINES, since: START, act: dirty }.holds_only_with_its_rule();
}

/// LOG rule 2: a frame that a page has left is not used again before the record of the move is passed. The bytes of a batch
/// for that frame are in the log still.
#[test]
fn a_frame_that_a_page_left_does_not_become_another_pages_too_early() {
    fn act(live: &Live) -> Result<(), String> {
        let a = object(live, 0, "a", 4);
        let b = live.fresh();
        all(
            live,
            [Op::Batch(vec![(a, 0, 64), (a, PAGE, 64)]), Op::Move(a, 0, 4), Op::Create(b, name(0, "b"))],
        );
        all(live, apart(b, 6));
        all(live, [Op::Sync(b), Op::Touch(a, 0, 80), Op::Sync(a), Op::Batch(vec![(a, 0, 64)])]);
        Ok(())
    }
    Schedule { rule: Rule::RoleReuse, media: BOTH, since: START, act }.holds_only_with_its_rule();
}

/// Moved again before the first move is committed; cut; grown and moved.
#[test]
fn pages_that_move_again_and_are_cut_show_their_own() {
    fn act(live: &Live) -> Result<(), String> {
        let a = object(live, 0, "a", 4);
        let b = live.fresh();
        all(live, [Op::Move(a, 0, 4), Op::Move(a, 1, 2), Op::Move(a, 0, 4), Op::Create(b, name(0, "b"))]);
        all(live, apart(b, 9));
        all(live, [Op::SetLen(a, 2 * PAGE + 100), Op::Move(a, 0, 4), Op::Append(a, 3 * PAGE)]);
        all(live, [Op::Move(a, 2, 2), Op::SyncAll]);
        Ok(())
    }
    Schedule { rule: Rule::RoleReuse, media: BOTH, since: START, act }.holds_only_with_its_rule();
}
