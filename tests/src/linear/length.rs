//! The length is one register.

use super::history::{Clock, judge};
use super::{Shape, on_threads, store};
use pagestone::store::Object;
use pagestone_kit::random::Random;
use pagestone_workload::{Choices, Kind, Op, PAGE, Space};
use todc_utils::specifications::Specification;

/// Several pages, so that cuts detach some.
const SPACE: Space = Space { pages: 5, far: false };
/// No append begins behind this.
const MAX: u64 = SPACE.pages * PAGE;
const KINDS: &[(u64, Kind)] =
    &[(3, Kind::Append), (1, Kind::Write), (1, Kind::SetLen), (2, Kind::Read), (1, Kind::Len)];

/// A call, with what it answered.
#[derive(Clone, Debug)]
pub enum Step {
    /// The bytes that were appended, and the place.
    Append(u64, u64),
    /// Bytes were written up to here.
    Write(u64),
    /// The length was set.
    Set(u64),
    /// The length was asked for.
    Len(u64),
    /// A read: its place, the bytes that it wanted, and the bytes that it got.
    Read(u64, u64, u64),
}

/// An object's length.
pub struct Length;

impl Specification for Length {
    type State = u64;
    type Operation = Step;

    fn init() -> u64 {
        0
    }

    fn apply(step: &Step, len: &u64) -> (bool, u64) {
        match *step {
            Step::Append(bytes, at) => (at == *len, len + bytes),
            Step::Write(end) => (true, end.max(*len)),
            Step::Set(new) => (true, new),
            Step::Len(seen) => (seen == *len, *len),
            Step::Read(at, wanted, seen) => (seen == len.saturating_sub(at).min(wanted), *len),
        }
    }
}

/// Runs and judges a history.
///
/// # Errors
/// A history that nothing explains.
pub fn run(shape: Shape, seed: u64) -> Result<(), String> {
    let store = store();
    let object = store.create("length").expect("a name");
    let clock = Clock::default();
    let done = on_threads(shape.threads, move |thread| {
        let mut random = Random::of(seed, thread as u64);
        (0..shape.operations).map(|_| clock.time(|| step(&object, &mut random))).collect()
    });
    judge::<Length>(done)
}

fn step(object: &Object, random: &mut Random) -> Step {
    match SPACE.draw(random.weighted(KINDS), random) {
        Op::Append(_, bytes) if object.len() < MAX => {
            Step::Append(bytes, object.append(&vec![1; bytes as usize]).expect("room"))
        }
        Op::Write(_, at, bytes) => {
            object.write_at(at, &vec![2; bytes as usize]).expect("room");
            // A write of no bytes makes no object longer.
            Step::Write(if bytes == 0 { 0 } else { at + bytes })
        }
        Op::SetLen(_, len) => {
            object.set_len(len).expect("room");
            Step::Set(len)
        }
        Op::Read(_, at, bytes) => {
            let mut into = vec![0; bytes as usize];
            Step::Read(at, bytes, object.read_at(at, &mut into).expect("readable") as u64)
        }
        _ => Step::Len(object.len()),
    }
}
