//! Draws operations: from a seed, or from the bytes of a fuzzer.

use crate::content::PAGE;
use crate::op::{Choice, Op};
use pagestone::store::Object;
use pagestone_kit::random::Random;

/// A source of choices.
pub trait Choices {
    /// A number below `limit`; 0 if `limit` is 0.
    fn below(&mut self, limit: u64) -> u64;

    /// True once in `n` times.
    fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// A number that chooses among a few things.
    fn choice(&mut self) -> u8 {
        self.below(256) as u8
    }

    /// One of `items`, each as often as its weight says.
    ///
    /// # Panics
    /// When there are none.
    fn weighted<T: Copy>(&mut self, items: &[(u64, T)]) -> T {
        let mut left = self.below(items.iter().map(|item| item.0).sum());
        let one = items.iter().find(|item| {
            let found = left < item.0;
            left = left.saturating_sub(item.0);
            found
        });
        one.expect("something to choose from").1
    }
}

impl Choices for Random {
    fn below(&mut self, limit: u64) -> u64 {
        Self::below(self, limit)
    }
}

/// What can be drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "as the operations")]
pub enum Kind {
    Create,
    Exists,
    List,
    Write,
    Append,
    Touch,
    Read,
    Len,
    SetLen,
    Punch,
    Allocate,
    Move,
    Rename,
    Unlink,
    Pin,
    Unpin,
    Batch,
    Sync,
    SyncRange,
    SyncAll,
    Compact,
}

/// Where operations are drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Space {
    /// Pages of an object that are mostly in play.
    pub pages: u64,
    /// Whether some offsets lie far out, up to the end of the largest object.
    pub far: bool,
}

impl Space {
    /// An operation of this kind.
    pub fn draw(self, kind: Kind, from: &mut impl Choices) -> Choice {
        let (object, name) = (from.choice(), from.choice());
        match kind {
            Kind::Create => Op::Create(object, name),
            Kind::Exists => Op::Exists(name),
            Kind::List => Op::List,
            Kind::Write => Op::Write(object, self.offset(from), length(from)),
            Kind::Append => Op::Append(object, length(from)),
            Kind::Touch => Op::Touch(object, self.offset(from), length(from)),
            Kind::Read => Op::Read(object, self.offset(from), length(from)),
            Kind::Len => Op::Len(object),
            Kind::SetLen => Op::SetLen(object, if from.once_in(4) { 0 } else { self.offset(from) }),
            Kind::Punch => Op::Punch(object, self.offset(from), self.offset(from)),
            Kind::Allocate => Op::Allocate(object, self.near(from), self.near(from)),
            Kind::Move => Op::Move(object, self.page(from), 1 + from.below(self.pages)),
            Kind::Rename => Op::Rename(name, from.choice()),
            Kind::Unlink => Op::Unlink(name, from.once_in(2)),
            Kind::Pin => Op::Pin(object, self.page(from)),
            Kind::Unpin => Op::Unpin,
            Kind::Batch => {
                let parts = 1 + from.below(4);
                Op::Batch((0..parts).map(|_| (from.choice(), self.offset(from), length(from))).collect())
            }
            Kind::Sync => Op::Sync(object),
            Kind::SyncRange => Op::SyncRange(object, self.offset(from), self.offset(from)),
            Kind::SyncAll => Op::SyncAll,
            Kind::Compact => Op::Compact,
        }
    }

    /// An offset among the pages in play.
    fn near(self, from: &mut impl Choices) -> u64 {
        let pages = if from.once_in(3) { self.pages.min(3) } else { self.pages };
        let at = from.below(pages * PAGE);
        match from.below(3) {
            0 => at,
            1 => at / 8 * 8,
            _ => at / PAGE * PAGE,
        }
    }

    /// An offset.
    pub fn offset(self, from: &mut impl Choices) -> u64 {
        match self.far.then(|| from.below(20)) {
            Some(0) => (1 << 31) + from.below(4) * 1000,
            Some(1) => Object::LEN_MAX - from.below(3) * 2000,
            _ => self.near(from),
        }
    }

    /// A page.
    pub fn page(self, from: &mut impl Choices) -> u64 {
        match self.far.then(|| from.below(22)) {
            Some(0) => Object::LEN_MAX / PAGE - 1,
            Some(1) => 1 << 36,
            _ => from.below(self.pages),
        }
    }
}

/// How much is written or read at once.
pub fn length(from: &mut impl Choices) -> u64 {
    match from.below(8) {
        0 => from.below(17),
        1 | 2 => 8 * (1 + from.below(64)),
        3 => PAGE,
        4 => from.below(2 * PAGE),
        5 => from.below(5 * PAGE),
        6 => from.below(200),
        _ => PAGE * (1 + from.below(3)),
    }
}

#[test]
fn each_comes_as_often_as_it_weighs() {
    let mut random = Random::new(1);
    let mut counts = [0; 3];
    (0..10_000).for_each(|_| counts[random.weighted(&[(1, 0), (0, 1), (3, 2)])] += 1);
    assert!((2200..2800).contains(&counts[0]) && counts[1] == 0, "{counts:?}");
}
