//! The names are one register.

use super::history::{Clock, judge};
use super::{Shape, on_threads, store};
use pagestone::Error;
use pagestone::store::Store;
use pagestone_kit::random::Random;
use pagestone_workload::{Choices, Kind, Op, Space};
use std::collections::BTreeMap;
use todc_utils::specifications::Specification;

/// Names in play.
const NAMES: u64 = 3;
const SPACE: Space = Space { pages: 1, far: false };
const KINDS: &[(u64, Kind)] =
    &[(4, Kind::Create), (4, Kind::Exists), (3, Kind::Rename), (2, Kind::Unlink), (1, Kind::List)];

/// A call with its answer. Objects are named by their numbers, which are never used twice.
#[derive(Clone, Debug)]
pub enum Step {
    /// Makes an object, unless the name is taken.
    Create(u64, Option<u64>),
    /// Opens the object, if there is one.
    Open(u64, Option<u64>),
    /// Whether there is one.
    Exists(u64, bool),
    /// Renames the object, if there is one. It may replace another.
    Rename(u64, u64, bool),
    /// Unlinks the object, if there is one.
    Unlink(u64, bool),
    /// All of them.
    List(BTreeMap<u64, u64>),
}

/// A directory.
pub struct Directory;

impl Specification for Directory {
    type State = BTreeMap<u64, u64>;
    type Operation = Step;

    fn init() -> Self::State {
        BTreeMap::new()
    }

    fn apply(step: &Step, names: &Self::State) -> (bool, Self::State) {
        let mut next = names.clone();
        let valid = match step {
            Step::Create(name, Some(id)) => next.insert(*name, *id).is_none(),
            Step::Create(name, None) => names.contains_key(name),
            Step::Open(name, id) => names.get(name) == id.as_ref(),
            Step::Exists(name, found) => names.contains_key(name) == *found,
            Step::Unlink(name, found) => next.remove(name).is_some() == *found,
            Step::Rename(from, to, found) => match next.remove(from) {
                Some(id) => {
                    next.insert(*to, id);
                    *found
                }
                None => !found,
            },
            Step::List(seen) => seen == names,
        };
        (valid, next)
    }
}

/// Runs and judges a history.
///
/// # Errors
/// A history that nothing explains.
pub fn run(shape: Shape, seed: u64) -> Result<(), String> {
    let store = store();
    let clock = Clock::default();
    let done = on_threads(shape.threads, move |thread| {
        let mut random = Random::of(seed, thread as u64);
        (0..shape.operations).map(|_| clock.time(|| step(&store, &mut random))).collect()
    });
    judge::<Directory>(done)
}

fn step(store: &Store, random: &mut Random) -> Step {
    let text = |name: u64| format!("name {name}");
    let op = SPACE.draw(random.weighted(KINDS), random);
    let named = op.meant(|_| Some(()), |choice| Some(u64::from(choice) % NAMES));
    match named.expect("each choice is a name") {
        Op::Create(_, name) => Step::Create(
            name,
            match store.create(text(name)) {
                Ok(object) => Some(object.id()),
                Err(Error::Exists { .. }) => None,
                Err(error) => panic!("{error}"),
            },
        ),
        Op::Exists(name) if random.once_in(2) => {
            Step::Open(name, found(store.open(text(name))).map(|object| object.id()))
        }
        Op::Exists(name) => Step::Exists(name, store.exists(text(name)).expect("readable").is_some()),
        Op::Rename(name, to) if name != to => {
            Step::Rename(name, to, found(store.rename(text(name), text(to))).is_some())
        }
        Op::Unlink(name, _) => Step::Unlink(name, found(store.unlink(text(name))).is_some()),
        _ => {
            let number = |name: &[u8]| u64::from(name.last().expect("not empty") - b'0');
            let entries = store.list().expect("readable");
            Step::List(entries.iter().map(|entry| (number(&entry.name), entry.id)).collect())
        }
    }
}

/// The result, or none if the object was not found.
fn found<T>(result: pagestone::Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(Error::NotFound { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}
