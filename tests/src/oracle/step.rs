//! What a case consists of, and how cases are drawn. A step means something in any state: objects, handles and pins are
//! chosen by number among those there are, so that steps can be left out when a failure shrinks.

use super::content::PAGE;
use pagestone::media::rules::Rule;
use pagestone::store::Object;
use pagestone::units::Durability;
use proptest::prelude::*;

/// Where a store lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Medium {
    /// In memory of this process alone: no second life.
    Memory,
    /// In private memory that begins as an image; each life begins with what the former left.
    Image,
    /// In a file on tmpfs, if there is one.
    File,
}

/// What a case's store is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Setup {
    /// Where it lies.
    pub medium: Medium,
    /// The class that its region is taken to have.
    pub class: Durability,
    /// Whether everything that reaches the medium is recorded: then power can be lost, and file operations fail.
    /// An image always is.
    pub recorded: bool,
    /// Frames that the region may grow to.
    pub frames_max: Option<u64>,
    /// A rule of the engine that is broken: the model must notice.
    pub broken: Option<Rule>,
}

/// How a pin is made from another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// By the pin itself.
    Clone,
    /// By the frame's number.
    Number,
    /// By an address in it.
    Address,
}

/// A write of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "as a write's")]
pub struct Part {
    pub object: u8,
    pub at: u64,
    pub len: usize,
    pub seed: u8,
}

/// One step. `name`, `object` and `pin` are numbers that choose among those there are.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the calls of the engine have these names and arguments")]
pub enum Step {
    Create {
        name: u8,
    },
    Open {
        name: u8,
    },
    OpenOrCreate {
        name: u8,
    },
    Exists {
        name: u8,
    },
    CloneHandle {
        object: u8,
    },
    DropHandle {
        object: u8,
    },
    Write {
        object: u8,
        at: u64,
        len: usize,
        seed: u8,
    },
    /// One batch; `object` makes sure that there is one.
    Batch {
        object: u8,
        parts: Vec<Part>,
    },
    Append {
        object: u8,
        len: usize,
        seed: u8,
    },
    Read {
        object: u8,
        at: u64,
        len: usize,
    },
    SetLen {
        object: u8,
        len: u64,
    },
    SetLenWait {
        object: u8,
        len: u64,
    },
    Punch {
        object: u8,
        at: u64,
        len: u64,
    },
    Allocate {
        object: u8,
        at: u64,
        len: u64,
    },
    Pin {
        object: u8,
        page: u64,
    },
    PinMut {
        object: u8,
        page: u64,
    },
    PinRange {
        object: u8,
        at: u64,
        len: usize,
    },
    PinAgain {
        pin: u8,
        way: Way,
    },
    DropPin {
        pin: u8,
    },
    Store {
        pin: u8,
        at: usize,
        len: usize,
        seed: u8,
    },
    Latch {
        pin: u8,
        exclusive: bool,
    },
    Unlatch {
        pin: u8,
    },
    Raw {
        pin: u8,
    },
    Rename {
        from: u8,
        to: u8,
    },
    Unlink {
        name: u8,
    },
    Sync {
        object: u8,
    },
    SyncRange {
        object: u8,
        at: u64,
        len: u64,
    },
    SyncAll,
    Reclaim {
        chunks: usize,
    },
    /// Appends of a page each until a region that may be full is.
    Fill {
        object: u8,
    },
    // What follows is done while no other thread works.
    /// Everything is compared, and checked.
    Compare,
    /// A close that is refused because of what is in use.
    CloseBusy,
    /// Handles and pins go, the store is closed and opened again.
    Reopen,
    /// Handles and store are dropped while pins are held; then these.
    Abandon {
        seed: u8,
    },
    /// The store is opened for reading, after its process died or in order.
    ReadOnly {
        died: bool,
    },
    /// The process dies.
    Die,
    /// The machine loses power: some lawful image is left.
    LosePower {
        seed: u64,
    },
    /// The `nth` next file operation of this kind fails.
    Fault {
        sync: bool,
        nth: u64,
    },
    /// Files may not grow beyond what the region has and so many bytes more.
    Squeeze {
        more: u64,
    },
    /// They may again.
    Relax,
}

/// Part of a case with threads: what each does by itself, then what happens when all have ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Round {
    /// The steps of each thread.
    pub parts: Vec<Vec<Step>>,
    /// The step afterwards.
    pub then: Step,
}

/// A case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Case {
    /// One thread.
    Alone(Setup, Vec<Step>),
    /// Several threads, each with objects of its own in one directory.
    Together(Setup, Vec<Round>),
}

impl Case {
    /// Its store.
    #[must_use]
    pub fn setup(&self) -> Setup {
        match self {
            Self::Alone(setup, _) | Self::Together(setup, _) => *setup,
        }
    }

    /// Its threads.
    #[must_use]
    pub fn threads(&self) -> usize {
        match self {
            Self::Alone(..) => 1,
            Self::Together(_, rounds) => rounds.iter().map(|round| round.parts.len()).max().unwrap_or(1),
        }
    }

    /// Whether it changes a limit of the whole process.
    #[must_use]
    pub fn squeezes(&self) -> bool {
        let squeezes = |step: &Step| matches!(step, Step::Squeeze { .. });
        match self {
            Self::Alone(_, steps) => steps.iter().any(squeezes),
            Self::Together(_, rounds) => rounds.iter().any(|round| squeezes(&round.then)),
        }
    }
}

/// Names of a thread that are in play, and two that are refused.
pub const NAMES: u8 = 5;

/// A thread's `n`th name. They meet in few buckets; one is as long as names get.
#[must_use]
pub fn name(thread: usize, n: u8) -> Vec<u8> {
    match n {
        4 => format!("{thread}{}", "n".repeat(254)).into_bytes(),
        5 => Vec::new(),
        6 => vec![b'n'; 256],
        n => format!("{thread}.{n}").into_bytes(),
    }
}

/// Stores of all kinds.
pub fn setups() -> impl Strategy<Value = Setup> {
    use Durability::{CacheLine, Fdatasync, Volatile};
    let setup = |medium, class, recorded| Setup { medium, class, recorded, frames_max: None, broken: None };
    let plain = prop_oneof![
        3 => Just(setup(Medium::Image, CacheLine, true)),
        3 => Just(setup(Medium::Image, Fdatasync, true)),
        1 => Just(setup(Medium::File, CacheLine, true)),
        1 => Just(setup(Medium::File, Fdatasync, true)),
        3 => Just(setup(Medium::File, CacheLine, false)),
        2 => Just(setup(Medium::File, Fdatasync, false)),
        1 => Just(setup(Medium::File, Volatile, false)),
        1 => Just(setup(Medium::Memory, Volatile, false)),
        1 => Just(setup(Medium::Memory, CacheLine, false)),
    ];
    let most = prop_oneof![3 => Just(None), 1 => (130..200u64).prop_map(Some)];
    (plain, most).prop_map(|(setup, frames_max)| Setup { frames_max, ..setup })
}

fn offset() -> impl Strategy<Value = u64> + Clone {
    prop_oneof![
        6 => 0..PAGE * 3,
        6 => 0..PAGE * 24,
        6 => (0..24u64).prop_map(|page| page * PAGE),
        1 => (0..4u64).prop_map(|n| (1 << 31) + n * 1000),
        1 => (0..3u64).prop_map(|n| Object::LEN_MAX - n * 2000),
    ]
}

fn length() -> impl Strategy<Value = usize> + Clone {
    prop_oneof![3 => 0..200usize, 3 => 0..5 * PAGE as usize, 1 => Just(PAGE as usize)]
}

fn page() -> impl Strategy<Value = u64> + Clone {
    prop_oneof![20 => 0..24u64, 1 => Just(Object::LEN_MAX / PAGE - 1), 1 => Just(1 << 36)]
}

fn taken_name() -> impl Strategy<Value = u8> + Clone {
    prop_oneof![30 => 0..NAMES, 1 => NAMES..NAMES + 2]
}

/// A step that a thread takes beside others.
pub fn own_step() -> impl Strategy<Value = Step> {
    let (name, object, pin, seed) = (taken_name, any::<u8>(), any::<u8>(), any::<u8>());
    let object = move || object;
    let pin = move || pin;
    let names = prop_oneof![
        4 => name().prop_map(|name| Step::Create { name }),
        3 => name().prop_map(|name| Step::Open { name }),
        4 => name().prop_map(|name| Step::OpenOrCreate { name }),
        1 => name().prop_map(|name| Step::Exists { name }),
        4 => (name(), name()).prop_map(|(from, to)| Step::Rename { from, to }),
        4 => name().prop_map(|name| Step::Unlink { name }),
        2 => object().prop_map(|object| Step::CloneHandle { object }),
        5 => object().prop_map(|object| Step::DropHandle { object }),
    ];
    let part = (object(), offset(), length(), seed).prop_map(|(object, at, len, seed)| Part {
        object,
        at,
        len,
        seed,
    });
    let content = prop_oneof![
        8 => (object(), offset(), length(), seed)
            .prop_map(|(object, at, len, seed)| Step::Write { object, at, len, seed }),
        4 => (object(), prop::collection::vec(part, 1..5))
            .prop_map(|(object, parts)| Step::Batch { object, parts }),
        4 => (object(), length(), seed).prop_map(|(object, len, seed)| Step::Append { object, len, seed }),
        2 => (object(), offset(), length()).prop_map(|(object, at, len)| Step::Read { object, at, len }),
        6 => (object(), offset()).prop_map(|(object, len)| Step::SetLen { object, len }),
        1 => (object(), offset()).prop_map(|(object, len)| Step::SetLenWait { object, len }),
        4 => (object(), offset(), offset()).prop_map(|(object, at, len)| Step::Punch { object, at, len }),
        3 => (object(), 0..24 * PAGE, 0..24 * PAGE)
            .prop_map(|(object, at, len)| Step::Allocate { object, at, len }),
    ];
    let pins = prop_oneof![
        6 => (object(), page()).prop_map(|(object, page)| Step::Pin { object, page }),
        5 => (object(), page()).prop_map(|(object, page)| Step::PinMut { object, page }),
        2 => (object(), offset(), length()).prop_map(|(object, at, len)| Step::PinRange { object, at, len }),
        3 => (pin(), prop_oneof![Just(Way::Clone), Just(Way::Number), Just(Way::Address)])
            .prop_map(|(pin, way)| Step::PinAgain { pin, way }),
        4 => pin().prop_map(|pin| Step::DropPin { pin }),
        8 => (pin(), 0..PAGE as usize, 0..900usize, seed)
            .prop_map(|(pin, at, len, seed)| Step::Store { pin, at, len, seed }),
        2 => (pin(), any::<bool>()).prop_map(|(pin, exclusive)| Step::Latch { pin, exclusive }),
        1 => pin().prop_map(|pin| Step::Unlatch { pin }),
        1 => pin().prop_map(|pin| Step::Raw { pin }),
    ];
    let rest = prop_oneof![
        4 => object().prop_map(|object| Step::Sync { object }),
        2 => (object(), offset(), offset()).prop_map(|(object, at, len)| Step::SyncRange { object, at, len }),
        2 => Just(Step::SyncAll),
        2 => (1..64usize).prop_map(|chunks| Step::Reclaim { chunks }),
        2 => object().prop_map(|object| Step::Fill { object }),
    ];
    prop_oneof![5 => names, 8 => content, 6 => pins, 2 => rest]
}

/// A step that ends the work of all.
pub fn common_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Compare),
        1 => Just(Step::CloseBusy),
        2 => Just(Step::Reopen),
        2 => any::<u8>().prop_map(|seed| Step::Abandon { seed }),
        1 => any::<bool>().prop_map(|died| Step::ReadOnly { died }),
        3 => Just(Step::Die),
        4 => any::<u64>().prop_map(|seed| Step::LosePower { seed }),
        4 => (any::<bool>(), 0..3u64).prop_map(|(sync, nth)| Step::Fault { sync, nth }),
    ]
}

/// A step that makes files hit the process's limit, or ends that.
fn limit_step() -> impl Strategy<Value = Step> {
    prop_oneof![(0..64u64).prop_map(|kib| Step::Squeeze { more: kib << 10 }), Just(Step::Relax)]
}

/// Cases of one thread.
pub fn alone() -> impl Strategy<Value = Case> {
    alone_on(setups())
}

/// Cases of one thread, on these stores.
pub fn alone_on(setups: impl Strategy<Value = Setup>) -> impl Strategy<Value = Case> {
    let step = prop_oneof![20 => own_step(), 1 => common_step()];
    (setups, prop::collection::vec(step, 1..120)).prop_map(|(setup, steps)| Case::Alone(setup, steps))
}

/// Cases of one thread in which files stop growing.
pub fn squeezed() -> impl Strategy<Value = Case> {
    let step = prop_oneof![20 => own_step(), 1 => common_step(), 2 => limit_step()];
    let setup = setups().prop_map(|setup| Setup { medium: Medium::File, frames_max: None, ..setup });
    (setup, prop::collection::vec(step, 1..120)).prop_map(|(setup, steps)| Case::Alone(setup, steps))
}

/// Cases of two or three threads.
pub fn together() -> impl Strategy<Value = Case> {
    let rounds = (2..4usize).prop_flat_map(|threads| {
        let parts = prop::collection::vec(prop::collection::vec(own_step(), 0..30), threads);
        let round = (parts, common_step()).prop_map(|(parts, then)| Round { parts, then });
        prop::collection::vec(round, 1..5)
    });
    (setups(), rounds).prop_map(|(setup, rounds)| Case::Together(setup, rounds))
}
