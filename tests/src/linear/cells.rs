//! Beside cuts: each word of an object is a register, zero beyond the end.

use super::history::{Clock, Done, judge};
use super::{Shape, on_threads, store};
use pagestone::store::Object;
use pagestone_kit::random::Random;
use pagestone_workload::{Choices, Kind, Op, PAGE, Space};
use std::collections::BTreeSet;
use std::ops::Range;
use todc_utils::specifications::Specification;

/// Bytes of a cell: a part of one page.
const CELL: u64 = 1024;
/// Cells in play.
const CELLS: u64 = SPACE.pages * PAGE / CELL;
const SPACE: Space = Space { pages: 3, far: false };
const KINDS: &[(u64, Kind)] = &[(2, Kind::Write), (1, Kind::Append), (2, Kind::SetLen), (3, Kind::Read)];

/// A call's part in one cell.
#[derive(Clone, Debug)]
pub enum Step {
    /// The word was stored.
    Store(u64),
    /// The word was read.
    Load(u64),
}

/// A cell.
pub struct Cell;

impl Specification for Cell {
    type State = u64;
    type Operation = Step;

    fn init() -> u64 {
        0
    }

    fn apply(step: &Step, word: &u64) -> (bool, u64) {
        match *step {
            Step::Store(new) => (true, new),
            Step::Load(seen) => (seen == *word, *word),
        }
    }
}

/// A call's steps, by cell.
type Steps = Vec<(u64, Step)>;

/// Runs and judges a history.
///
/// # Errors
/// A history that nothing explains.
pub fn run(shape: Shape, seed: u64) -> Result<(), String> {
    let store = store();
    let object = store.create("cells").expect("a name");
    let clock = Clock::default();
    let done = on_threads(shape.threads, move |thread| {
        let mut random = Random::of(seed, thread as u64);
        let words = (1..).map(|n| n * 16 + thread as u64);
        words.take(shape.operations).map(|word| clock.time(|| step(&object, &mut random, word))).collect()
    });
    let cells: BTreeSet<_> = done.iter().flat_map(|call| call.what.iter().map(|step| step.0)).collect();
    cells
        .into_iter()
        .try_for_each(|cell| judge::<Cell>(of_cell(&done, cell)).map_err(|why| format!("cell {cell}: {why}")))
}

fn of_cell(done: &[Done<Steps>], cell: u64) -> Vec<Done<Step>> {
    let of_call = |call: &Done<Steps>| {
        let steps: Vec<_> = call.what.iter().filter(|step| step.0 == cell).cloned().collect();
        steps.into_iter().map(|step| call.seen_as(step.1)).collect::<Vec<_>>()
    };
    done.iter().flat_map(of_call).collect()
}

fn step(object: &Object, random: &mut Random, word: u64) -> Steps {
    let op = SPACE.draw(random.weighted(KINDS), random);
    let (first, len) = match op {
        Op::Write(_, at, len) | Op::Read(_, at, len) => (at / CELL, len / CELL),
        Op::SetLen(_, at) => (at / CELL, 0),
        _ => (0, 0),
    };
    let cells = first..CELLS.min(first + 1 + len % 5);
    let bytes = |cells: &Range<u64>| {
        word.to_le_bytes().repeat((cells.end - cells.start) as usize * CELL as usize / size_of::<u64>())
    };
    match op {
        Op::Write(..) => {
            object.write_at(first * CELL, &bytes(&cells)).expect("room");
            // Twice: a cut that overlaps the write may come in between.
            cells.flat_map(|cell| [(cell, Step::Store(word)), (cell, Step::Store(word))]).collect()
        }
        Op::Append(..) if object.len() < CELLS * CELL => {
            let cell = object.append(&bytes(&(0..1))).expect("room") / CELL;
            vec![(cell, Step::Store(word))]
        }
        Op::SetLen(..) => {
            object.set_len(first * CELL).expect("room");
            // Far enough for the appends of all threads.
            (first..2 * CELLS).map(|cell| (cell, Step::Store(0))).collect()
        }
        _ => {
            let mut into = bytes(&cells);
            let read = object.read_at(first * CELL, &mut into).expect("readable") as u64;
            assert_eq!(read % CELL, 0, "all lengths are whole cells");
            let seen = into.chunks_exact(size_of::<u64>());
            let seen: Vec<_> = seen.map(|word| u64::from_le_bytes(word.try_into().expect("eight"))).collect();
            let of_cell = |n: u64| {
                let words = &seen[(n * CELL) as usize / 8..((n + 1) * CELL) as usize / 8];
                // The words of a cell may differ if a cut came in between: each is a register of its own. Two of them are
                // judged.
                [0, words.len() - 1].map(|at| (first + n, Step::Load(words[at])))
            };
            (0..read / CELL).flat_map(of_cell).collect()
        }
    }
}
