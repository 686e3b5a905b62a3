//! The length is one register.

use super::history::{Clock, judge};
use super::{Shape, on_threads, store};
use pagestone::store::Object;
use pagestone_kit::random::Random;
use todc_utils::specifications::Specification;

/// Lengths stay below; several pages, so that cuts detach some.
const MAX: u64 = 5 * 4096;

/// A call, with what it answered.
#[derive(Clone, Debug)]
pub enum Step {
    /// So many bytes were appended, here.
    Append(u64, u64),
    /// Bytes were written up to here.
    Write(u64),
    /// The length was set.
    Set(u64),
    /// The length was asked for.
    Len(u64),
    /// From here on, so many bytes were wanted, and so many answered.
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
    let (at, bytes) = (random.below(MAX), random.below(5000));
    match random.below(8) {
        0..3 if object.len() < MAX => {
            Step::Append(bytes, object.append(&vec![1; bytes as usize]).expect("room"))
        }
        3 => {
            object.write_at(at, &vec![2; bytes as usize]).expect("room");
            // Writing nothing makes nothing longer.
            Step::Write(if bytes == 0 { 0 } else { at + bytes })
        }
        4 => {
            object.set_len(at).expect("room");
            Step::Set(at)
        }
        5..7 => {
            let mut into = vec![0; bytes as usize];
            Step::Read(at, bytes, object.read_at(at, &mut into).expect("readable") as u64)
        }
        _ => Step::Len(object.len()),
    }
}
