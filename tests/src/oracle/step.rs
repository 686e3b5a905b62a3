//! What a case consists of, and how cases are drawn. A step has a meaning in any state: numbers choose among the objects,
//! handles and pins that there are. So steps can be left out when a failure is shrunk.

use pagestone::media::rules::Rule;
use pagestone::units::Durability::{self, CacheLine, Fdatasync, Volatile};
use pagestone_kit::random::Random;
use pagestone_workload::draw::length;
use pagestone_workload::{Choice, Choices, Kind, PAGE, Space};

/// Where a store lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Medium {
    /// In memory of this process alone: no second life.
    Memory,
    /// In private memory that begins as an image. Each life begins with what the one before left.
    Image,
    /// In a file on tmpfs, if there is one.
    File,
}

/// The store of a case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Setup {
    /// Where it lies.
    pub medium: Medium,
    /// The class that its region is taken to have.
    pub class: Durability,
    /// Whether all that reaches the medium is recorded: then power can be lost, and file operations can fail. An image is
    /// always recorded.
    pub recorded: bool,
    /// Frames that the region may grow to.
    pub frames_max: Option<u64>,
    /// A rule of the engine that is broken, which the model must notice.
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

/// One step. `name`, `object` and `pin` are numbers that choose among the ones that there are.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the calls of the engine have these names and arguments")]
pub enum Step {
    /// An operation as any workload has it.
    Do(Choice),
    Open {
        name: u8,
    },
    OpenOrCreate {
        name: u8,
    },
    CloneHandle {
        object: u8,
    },
    DropHandle {
        object: u8,
    },
    SetLenWait {
        object: u8,
        len: u64,
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
    Reclaim {
        chunks: usize,
    },
    /// Appends one page after the other until the region is full, if it can become full.
    Fill {
        object: u8,
    },
    // The steps below are taken while no other thread works.
    /// Everything is compared, and checked.
    Compare,
    /// A close that is refused because the store is in use.
    CloseBusy,
    /// Handles and pins are dropped, and the store is closed and opened again.
    Reopen,
    /// Handles and store are dropped while pins are held. Then the pins are dropped.
    Abandon {
        seed: u8,
    },
    /// The store is opened for reading, after its process died or in order.
    ReadOnly {
        died: bool,
    },
    /// The process dies.
    Die,
    /// The machine loses power, which leaves one of the lawful images.
    LosePower {
        seed: u64,
    },
    /// The `nth` next file operation of this kind fails.
    Fault {
        sync: bool,
        nth: u64,
    },
    /// Files may not grow by more than this many bytes beyond the region's length.
    Squeeze {
        more: u64,
    },
    /// Files may grow again.
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

/// The number of a thread's names in play. Two further names are refused.
pub const NAMES: u8 = 5;

/// A thread's `n`th name. The names fall into few buckets, and one has the greatest length.
#[must_use]
pub fn name(thread: usize, n: u8) -> Vec<u8> {
    match n {
        4 => format!("{thread}{}", "n".repeat(254)).into_bytes(),
        5 => Vec::new(),
        6 => vec![b'n'; 256],
        n => format!("{thread}.{n}").into_bytes(),
    }
}

/// The number of the name that a choice stands for: one in play, or now and then one that is refused.
#[must_use]
pub fn slot(choice: u8) -> u8 {
    if choice < 248 { choice % NAMES } else { NAMES + choice % 2 }
}

/// A store of any kind.
pub fn setup(from: &mut Random) -> Setup {
    let (medium, class, recorded) = from.weighted(&[
        (3, (Medium::Image, CacheLine, true)),
        (3, (Medium::Image, Fdatasync, true)),
        (1, (Medium::File, CacheLine, true)),
        (1, (Medium::File, Fdatasync, true)),
        (3, (Medium::File, CacheLine, false)),
        (2, (Medium::File, Fdatasync, false)),
        (1, (Medium::File, Volatile, false)),
        (1, (Medium::Memory, Volatile, false)),
        (1, (Medium::Memory, CacheLine, false)),
    ]);
    let frames_max = from.once_in(4).then(|| 130 + from.below(70));
    Setup { medium, class, recorded, frames_max, broken: None }
}

const SPACE: Space = Space { pages: 24, far: true };

type Draw = fn(&mut Random) -> Step;

/// Steps that a thread takes beside others: on names, on contents, on pins, and the rest.
const OWN: &[(u64, Draw)] = &[
    (36, |from| own(Kind::Create, from)),
    (27, |from| Step::Open { name: slot(from.choice()) }),
    (36, |from| Step::OpenOrCreate { name: slot(from.choice()) }),
    (9, |from| own(Kind::Exists, from)),
    (36, |from| own(Kind::Rename, from)),
    (36, |from| own(Kind::Unlink, from)),
    (18, |from| Step::CloneHandle { object: from.choice() }),
    (45, |from| Step::DropHandle { object: from.choice() }),
    (96, |from| own(Kind::Write, from)),
    (48, |from| own(Kind::Batch, from)),
    (48, |from| own(Kind::Append, from)),
    (24, |from| own(Kind::Read, from)),
    (72, |from| own(Kind::SetLen, from)),
    (12, |from| Step::SetLenWait { object: from.choice(), len: SPACE.offset(from) }),
    (48, |from| own(Kind::Punch, from)),
    (36, |from| own(Kind::Allocate, from)),
    (36, |from| own(Kind::Move, from)),
    (54, |from| own(Kind::Pin, from)),
    (45, |from| Step::PinMut { object: from.choice(), page: SPACE.page(from) }),
    (18, |from| Step::PinRange { object: from.choice(), at: SPACE.offset(from), len: length(from) as usize }),
    (27, |from| Step::PinAgain {
        pin: from.choice(),
        way: *from.one_of(&[Way::Clone, Way::Number, Way::Address]),
    }),
    (36, |from| Step::DropPin { pin: from.choice() }),
    (72, |from| {
        let (at, len) = (from.below(PAGE) as usize, from.below(900) as usize);
        Step::Store { pin: from.choice(), at, len }
    }),
    (18, |from| Step::Latch { pin: from.choice(), exclusive: from.once_in(2) }),
    (9, |from| Step::Unlatch { pin: from.choice() }),
    (9, |from| Step::Raw { pin: from.choice() }),
    (32, |from| own(Kind::Sync, from)),
    (16, |from| own(Kind::SyncRange, from)),
    (16, |from| own(Kind::SyncAll, from)),
    (16, |from| Step::Reclaim { chunks: 1 + from.below(63) as usize }),
    (16, |from| Step::Fill { object: from.choice() }),
];

fn own(kind: Kind, from: &mut Random) -> Step {
    Step::Do(SPACE.draw(kind, from))
}

/// A step that a thread takes beside others.
pub fn own_step(from: &mut Random) -> Step {
    from.weighted(OWN)(from)
}

/// A step that ends the work of all.
pub fn common_step(from: &mut Random) -> Step {
    match from.below(20) {
        0..=2 => Step::Compare,
        3 => Step::CloseBusy,
        4 | 5 => Step::Reopen,
        6 | 7 => Step::Abandon { seed: from.choice() },
        8 => Step::ReadOnly { died: from.once_in(2) },
        9..=11 => Step::Die,
        12..=15 => Step::LosePower { seed: from.below(u64::MAX) },
        _ => Step::Fault { sync: from.once_in(2), nth: from.below(3) },
    }
}

/// A step that limits the length of files, or ends that.
fn limit_step(from: &mut Random) -> Step {
    if from.once_in(2) { Step::Relax } else { Step::Squeeze { more: from.below(64) << 10 } }
}

/// Cases of one thread.
pub fn alone(from: &mut Random) -> Case {
    let setup = setup(from);
    alone_on(setup, from)
}

/// Cases of one thread, on this store.
pub fn alone_on(setup: Setup, from: &mut Random) -> Case {
    let step = |from: &mut Random| if from.once_in(21) { common_step(from) } else { own_step(from) };
    Case::Alone(setup, some(1, 120, from, step))
}

/// Cases of one thread in which files cannot always grow.
pub fn squeezed(from: &mut Random) -> Case {
    let setup = Setup { medium: Medium::File, frames_max: None, ..setup(from) };
    let step = |from: &mut Random| match from.below(23) {
        0 => common_step(from),
        1 | 2 => limit_step(from),
        _ => own_step(from),
    };
    Case::Alone(setup, some(1, 120, from, step))
}

/// Cases of two or three threads.
pub fn together(from: &mut Random) -> Case {
    let (setup, threads) = (setup(from), 2 + from.below(2));
    let round = |from: &mut Random| Round {
        parts: some(threads, threads + 1, from, |from| some(0, 30, from, own_step)),
        then: common_step(from),
    };
    Case::Together(setup, some(1, 5, from, round))
}

/// A list of at least `least` and fewer than `most`.
fn some<T>(least: u64, most: u64, from: &mut Random, one: impl Fn(&mut Random) -> T) -> Vec<T> {
    (0..least + from.below(most - least)).map(|_| one(from)).collect()
}

/// A step of a case: its round, and the thread that takes it, or `None` if it ends the round.
pub type Taken = (usize, Option<usize>, Step);

impl Case {
    /// Its steps one by one.
    #[must_use]
    pub fn listed(&self) -> Vec<Taken> {
        let part = |round: usize, thread: usize, steps: &[Step]| {
            steps.iter().map(|step| (round, Some(thread), step.clone())).collect::<Vec<_>>()
        };
        match self {
            Self::Alone(_, steps) => part(0, 0, steps),
            Self::Together(_, rounds) => {
                let of_round = |(n, round): (usize, &Round)| {
                    let parts = round.parts.iter().enumerate();
                    let own: Vec<_> = parts.flat_map(|(thread, steps)| part(n, thread, steps)).collect();
                    own.into_iter().chain([(n, None, round.then.clone())])
                };
                rounds.iter().enumerate().flat_map(of_round).collect()
            }
        }
    }

    /// A case of these steps alone, on the same store. A round whose last step is missing ends with a comparison.
    #[must_use]
    pub fn with(&self, taken: &[Taken]) -> Self {
        match self {
            Self::Alone(setup, _) => {
                Self::Alone(*setup, taken.iter().map(|(.., step)| step.clone()).collect())
            }
            Self::Together(setup, _) => {
                let mut rounds: Vec<Round> = Vec::new();
                let mut last = None;
                for (n, thread, step) in taken {
                    if last != Some(*n) {
                        last = Some(*n);
                        rounds.push(Round { parts: vec![Vec::new(); self.threads()], then: Step::Compare });
                    }
                    if let Some(round) = rounds.last_mut() {
                        match thread {
                            Some(thread) => round.parts[*thread].push(step.clone()),
                            None => round.then = step.clone(),
                        }
                    }
                }
                Self::Together(*setup, rounds)
            }
        }
    }
}
