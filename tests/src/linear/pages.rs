//! Each page is one register.

use super::history::{Clock, Done, judge};
use super::{Shape, on_threads, store};
use pagestone::Error;
use pagestone::store::Object;
use pagestone::units::{FRAME_SIZE, PageIndex};
use pagestone_kit::random::Random;
use pagestone_workload::{Choices, Kind, Op, Space};
use std::ops::Range;
use todc_utils::specifications::Specification;

/// Pages in play. There are few frames: one that a page gives up goes to another page.
const PAGES: u64 = SPACE.pages;
const SPACE: Space = Space { pages: 3, far: false };
const KINDS: &[(u64, Kind)] =
    &[(3, Kind::Write), (2, Kind::Read), (3, Kind::Pin), (1, Kind::Touch), (1, Kind::Punch)];
/// Parts of a page that operations write and read.
const PARTS: usize = 4;
const PART: usize = FRAME_SIZE / PARTS;
/// The value of a part of a page whose words are not all equal.
const TORN: u64 = u64::MAX;

/// One page's part in a call.
#[derive(Clone, Debug)]
pub enum Step {
    /// A word was stored to all words of some parts.
    Store(Range<usize>, u64),
    /// Parts were read.
    Load(Range<usize>, Vec<u64>),
}

/// A page.
pub struct Page;

impl Specification for Page {
    type State = [u64; PARTS];
    type Operation = Step;

    fn init() -> Self::State {
        [0; PARTS]
    }

    fn apply(step: &Step, state: &Self::State) -> (bool, Self::State) {
        match step {
            Step::Load(parts, words) => (state[parts.clone()] == words[..], *state),
            Step::Store(parts, word) => {
                let mut next = *state;
                next[parts.clone()].fill(*word);
                (true, next)
            }
        }
    }
}

/// A call's steps, page by page.
type Steps = Vec<(u64, Step)>;

/// Runs and judges a history.
///
/// # Errors
/// A history that nothing explains.
pub fn run(shape: Shape, seed: u64) -> Result<(), String> {
    run_with(shape, seed, |_, steps| steps)
}

/// As [`run`], but one thread moves the same frame from page to page, and the others read one of them. A hit that does
/// not look twice reads a page that was punched, and shows another page's bytes.
///
/// # Errors
/// As [`run`].
pub fn run_moving(shape: Shape, seed: u64) -> Result<(), String> {
    judged(shape, seed, |_, steps| steps, moving)
}

/// As [`run`], with `spoil` between the store and the threads: a test of this test.
///
/// # Errors
/// As [`run`].
pub fn run_with(
    shape: Shape,
    seed: u64,
    spoil: impl Fn(&mut Vec<Steps>, Steps) -> Steps + Clone + Send + 'static,
) -> Result<(), String> {
    judged(shape, seed, spoil, |object, _, random, word| step(object, random, word))
}

fn judged(
    shape: Shape,
    seed: u64,
    spoil: impl Fn(&mut Vec<Steps>, Steps) -> Steps + Clone + Send + 'static,
    act: impl Fn(&Object, usize, &mut Random, u64) -> Steps + Clone + Send + 'static,
) -> Result<(), String> {
    let store = store();
    let object = store.create("pages").expect("a name");
    object.set_len(PAGES * FRAME_SIZE as u64).expect("room");
    let clock = Clock::default();
    let done = on_threads(shape.threads, {
        let object = object.clone();
        move |thread| {
            let (mut random, mut past) = (Random::of(seed, thread as u64), Vec::new());
            let words = (1..).map(|n| n * 16 + thread as u64);
            words
                .take(shape.operations)
                .map(|word| {
                    let done = clock.time(|| act(&object, thread, &mut random, word));
                    let steps = spoil(&mut past, done.what.clone());
                    done.seen_as(steps)
                })
                .collect()
        }
    });
    (0..PAGES)
        .try_for_each(|page| judge::<Page>(of_page(&done, page)).map_err(|why| format!("page {page}: {why}")))
}

fn of_page(done: &[Done<Steps>], page: u64) -> Vec<Done<Step>> {
    let of_call = |call: &Done<Steps>| {
        let steps: Vec<_> = call.what.iter().filter(|step| step.0 == page).cloned().collect();
        steps.into_iter().map(|step| call.seen_as(step.1)).collect::<Vec<_>>()
    };
    done.iter().flat_map(of_call).collect()
}

/// A step of [`run_moving`].
fn moving(object: &Object, thread: usize, _: &mut Random, word: u64) -> Steps {
    let write = |page: u64| {
        object.write_at(page * FRAME_SIZE as u64, &bytes(word, PARTS)).expect("room");
        stored(page as usize * PARTS..(page as usize + 1) * PARTS, word)
    };
    let punch = |page: u64| {
        object.punch_hole(page * FRAME_SIZE as u64, FRAME_SIZE as u64).expect("smaller");
        stored(page as usize * PARTS..(page as usize + 1) * PARTS, 0)
    };
    let read = |page: u64| {
        let pin = object.pin(PageIndex(page)).expect("readable");
        let seen = pin.map_or(vec![0; PARTS], |pin| words(&pin.read().expect("readable")));
        loaded(page as usize * PARTS, &seen)
    };
    match (thread, word / 16 % 7) {
        (0, 1) => write(0),
        (0, 3) => punch(0),
        (0, 4) => write(1),
        (0, 0) => punch(1),
        (0, 5 | 6) => read(1),
        _ => read(0),
    }
}

/// One operation, chosen by `random`.
fn step(object: &Object, random: &mut Random, word: u64) -> Steps {
    let op = SPACE.draw(random.weighted(KINDS), random);
    let (at, len) = match op {
        Op::Write(_, at, len) | Op::Touch(_, at, len) | Op::Read(_, at, len) | Op::Punch(_, at, len) => {
            (at, len)
        }
        Op::Pin(_, page) => (page * FRAME_SIZE as u64, 0),
        _ => (0, 0),
    };
    let first = at as usize / PART;
    let end = (PAGES as usize * PARTS).min(first + 1 + len as usize / PART % 6);
    let page = PageIndex::of_byte(at);
    let at = (first * PART) as u64;
    match op {
        Op::Write(..) => {
            object.write_at(at, &bytes(word, end - first)).expect("room");
            stored(first..end, word)
        }
        Op::Read(..) => {
            let mut into = vec![0; (end - first) * PART];
            assert_eq!(object.read_at(at, &mut into).expect("readable"), into.len());
            loaded(first, &words(&into))
        }
        Op::Pin(..) if !random.once_in(3) => match object.pin(page).expect("readable") {
            Some(pin) => loaded(page.0 as usize * PARTS, &words(&pin.read().expect("readable"))),
            None => loaded(page.0 as usize * PARTS, &[0; PARTS]),
        },
        Op::Pin(..) => {
            let (pin, mut copy) = (object.pin(page).expect("readable"), [0; FRAME_SIZE]);
            match pin.map(|pin| pin.read_optimistic(&mut copy).expect("readable")) {
                Some(true) => loaded(page.0 as usize * PARTS, &words(&copy)),
                Some(false) => Steps::new(),
                None => loaded(page.0 as usize * PARTS, &[0; PARTS]),
            }
        }
        Op::Touch(..) => {
            let (part, pin) = (first % PARTS, object.pin_mut(page).expect("room"));
            let guard = pin.write_range(part * PART..(part + 1) * PART);
            match guard {
                Ok(mut guard) => guard.copy_from_slice(&bytes(word, 1)),
                // The page was punched since the pin: nothing was written.
                Err(Error::Detached { .. }) => return Steps::new(),
                Err(error) => panic!("{error}"),
            }
            let first = page.0 as usize * PARTS + part;
            stored(first..first + 1, word)
        }
        _ => {
            object.punch_hole(at, ((end - first) * PART) as u64).expect("smaller");
            stored(first..end, 0)
        }
    }
}

fn bytes(word: u64, parts: usize) -> Vec<u8> {
    word.to_le_bytes().repeat(parts * PART / size_of::<u64>())
}

/// The value of each part of `bytes`.
fn words(bytes: &[u8]) -> Vec<u64> {
    let word = |part: &[u8]| {
        let mut words = part.chunks_exact(size_of::<u64>());
        let first = words.next().map_or([0; 8], |word| word.try_into().expect("eight bytes"));
        if words.all(|word| word == first) { u64::from_le_bytes(first) } else { TORN }
    };
    bytes.chunks_exact(PART).map(word).collect()
}

/// The pages of a run of parts, and the parts in each.
fn pages_of(parts: Range<usize>) -> impl Iterator<Item = (u64, Range<usize>)> {
    (parts.start / PARTS..parts.end.div_ceil(PARTS)).map(move |page| {
        let first = page * PARTS;
        (page as u64, parts.start.max(first) - first..parts.end.min(first + PARTS) - first)
    })
}

fn stored(parts: Range<usize>, word: u64) -> Steps {
    pages_of(parts).map(|(page, parts)| (page, Step::Store(parts, word))).collect()
}

fn loaded(first: usize, words: &[u64]) -> Steps {
    let mut rest = words;
    pages_of(first..first + words.len())
        .map(|(page, parts)| {
            let (here, behind) = rest.split_at(parts.len());
            rest = behind;
            (page, Step::Load(parts, here.to_vec()))
        })
        .collect()
}
