//! Mixed workloads: what each thread does, drawn from a seed, and what that means for names, sizes and bytes.
//!
//! Each object belongs to one thread, so that its operations have one order. All threads share the log, the bitmaps, the
//! directory and the syncs.

use pagestone_kit::random::Random;
use pagestone_workload::{Choices, Kind, Model, PAGE, Space, pattern};
pub use pagestone_workload::{ObjectNo, Op};
use std::collections::BTreeMap;
use std::ops::Range;

/// What a byte range holds after an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fill {
    /// Zeros.
    Zero,
    /// The pattern of the thread's operation with this number.
    Pattern(u16),
    /// The bytes that were found there when this life began.
    Found,
    /// Any bytes that the object ever held there: what was found survived a process, but need not survive a power loss.
    Own,
}

/// One version of a byte range of an object.
#[derive(Clone, Debug)]
pub struct Version {
    /// The operation of the owning thread that made it.
    pub op: usize,
    /// The bytes.
    pub range: Range<u64>,
    /// Their content.
    pub fill: Fill,
    /// Whether the metadata of that operation rules out everything older: the range was freed, or was beyond the end, and
    /// its new bytes are durable before the record that shows them.
    pub floor: bool,
    /// Whether it is durable as soon as the operation has returned.
    pub durable: bool,
}

/// Name to object and size.
pub type Names = BTreeMap<String, (ObjectNo, u64)>;

/// What one thread does.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its operations.
    pub ops: Vec<Op>,
    /// Its names after each number of operations.
    pub names: Vec<Names>,
    /// The state after all of them.
    model: Model,
}

/// One object of a script.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// The thread whose operations change it.
    pub owner: usize,
    /// The versions of its bytes that these operations make.
    pub versions: Vec<Version>,
    /// Its bytes when this life began.
    pub found: Vec<u8>,
}

impl Subject {
    /// Operation `op` writes `fill`. `durable`: in a batch. Returns the size that this leaves.
    fn write(&mut self, size: u64, range: Range<u64>, op: usize, fill: Fill, durable: bool) -> u64 {
        self.grow(op, size, range.end);
        let end = range.end.max(size);
        self.versions.push(Version { op, range, fill, floor: false, durable });
        end
    }

    /// Bytes between the old and the new end are zeros, whatever lay there before.
    fn grow(&mut self, op: usize, from: u64, to: u64) {
        if from < to {
            self.zero(op, from..to, true);
        }
    }

    fn zero(&mut self, op: usize, range: Range<u64>, floor: bool) {
        self.versions.push(Version { op, range, fill: Fill::Zero, floor, durable: false });
    }
}

/// A workload with its meaning.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// One part per thread.
    pub parts: Vec<Part>,
    /// Every object, those of former lives included.
    pub objects: Vec<Subject>,
    /// The number of operations of former lives: the numbers of patterns go on from there.
    pub past: u16,
}

/// The size of a workload, and which operations it favours.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Threads.
    pub threads: usize,
    /// Operations of each.
    pub ops: usize,
    /// Live objects of each, at most.
    pub objects: usize,
    /// Pages of an object, at most.
    pub pages: u64,
    /// One operation in this many is a sync of some kind.
    pub sync_every: u64,
    /// One in this many of the others is a batch (0: none).
    pub batch_every: u64,
}

/// What is drawn besides syncs and batches.
const CHANGES: &[(u64, Kind)] = &[
    (8, Kind::Create),
    (14, Kind::Write),
    (10, Kind::Append),
    (8, Kind::Touch),
    (8, Kind::SetLen),
    (4, Kind::Punch),
    (1, Kind::Compact),
    (1, Kind::Allocate),
    (2, Kind::Move),
    (4, Kind::Rename),
    (2, Kind::Unlink),
    (4, Kind::Pin),
    (2, Kind::Unpin),
];
const SYNCS: &[(u64, Kind)] = &[(3, Kind::Sync), (1, Kind::SyncRange), (2, Kind::SyncAll)];

impl Shape {
    fn kind(&self, random: &mut Random) -> Kind {
        if random.once_in(self.sync_every) {
            random.weighted(SYNCS)
        } else if self.batch_every != 0 && random.once_in(self.batch_every) {
            Kind::Batch
        } else {
            random.weighted(CHANGES)
        }
    }
}

impl Script {
    /// An empty script of `threads` parts, for cases written by hand.
    #[must_use]
    pub fn empty(threads: usize) -> Self {
        let part = Part { ops: Vec::new(), names: vec![Names::new()], model: Model::default() };
        Self { parts: vec![part; threads], objects: Vec::new(), past: 0 }
    }

    /// The empty script of the next life, which begins with these names and bytes.
    #[must_use]
    pub fn next_life(&self, found: Vec<(String, Vec<u8>, ObjectNo)>) -> Self {
        let longest = self.parts.iter().map(|part| part.ops.len()).max().unwrap_or(0);
        let past = self.past + longest as u16;
        let mut next = Self { past, ..Self::empty(self.parts.len()) };
        next.objects =
            self.objects.iter().map(|o| Subject { owner: o.owner, ..Subject::default() }).collect();
        for (name, bytes, object) in found {
            let subject = &mut next.objects[object as usize];
            let part = &mut next.parts[subject.owner];
            part.model.found(&name, object, &bytes);
            part.names[0] = part.model.outline();
            subject.found = bytes;
        }
        next
    }

    /// Adds operations drawn from `seed` to each thread's part.
    pub fn extend(&mut self, shape: Shape, seed: u64) {
        for thread in 0..self.parts.len() {
            let mut random = Random::of(seed, thread as u64);
            for _ in 0..shape.ops {
                let op = std::iter::repeat_with(|| self.draw(thread, shape, &mut random)).flatten().next();
                self.push(thread, op.expect("there is always something to do"));
            }
        }
    }

    /// An operation that makes sense now; `None` if what was drawn does not.
    fn draw(&self, thread: usize, shape: Shape, random: &mut Random) -> Option<Op> {
        let model = &self.parts[thread].model;
        let full = model.names.len() >= shape.objects;
        let kind = if model.names.is_empty() { Kind::Create } else { shape.kind(random) };
        let space = Space { pages: shape.pages, far: false };
        let choice = Some(space.draw(kind, random)).filter(|_| kind != Kind::Create || !full)?;
        model.meaning(&choice, shape.pages, self.fresh(), |n| {
            name(thread, usize::from(n) % (shape.objects * 4))
        })
    }

    /// A workload drawn from `seed`.
    #[must_use]
    pub fn random(shape: Shape, seed: u64) -> Self {
        let mut script = Self::empty(shape.threads);
        script.extend(shape, seed);
        script
    }

    /// A script of these operations alone, from the same beginning. Objects are numbered anew. An operation that makes no
    /// sense without the missing ones is left out.
    #[must_use]
    pub fn with(&self, ops: &[(usize, Op)]) -> Self {
        let made = self.parts.iter().flat_map(|part| &part.ops).filter(|op| matches!(op, Op::Create(..)));
        let kept = self.objects.len() - made.count();
        let found = self.objects[..kept].iter().zip(0..).filter_map(|(subject, no)| {
            let names = &self.parts[subject.owner].names[0];
            let name = names.iter().find(|(_, (object, _))| *object == no)?.0;
            Some((name.clone(), subject.found.clone(), no))
        });
        let found = found.collect();
        let mut next = self.next_life(found);
        next.past = self.past;
        next.objects.truncate(kept);
        let mut numbers: BTreeMap<ObjectNo, ObjectNo> = (0..kept as ObjectNo).map(|n| (n, n)).collect();
        for (thread, op) in ops {
            if let Op::Create(old, _) = op {
                numbers.insert(*old, next.fresh());
            }
            let op = op.clone().meant(|object| numbers.get(&object).copied(), Some);
            if let Some(op) = op.and_then(|op| next.parts[*thread].model.sensible(op)) {
                next.push(*thread, op);
            }
        }
        next
    }

    /// Its operations with their threads, part by part.
    #[must_use]
    pub fn listed(&self) -> Vec<(usize, Op)> {
        let part = |(thread, part): (usize, &Part)| part.ops.clone().into_iter().map(move |op| (thread, op));
        self.parts.iter().enumerate().flat_map(part).collect()
    }

    /// The next object's number.
    #[must_use]
    pub fn fresh(&self) -> ObjectNo {
        self.objects.len() as ObjectNo
    }

    /// The name of an object after all operations so far.
    #[must_use]
    pub fn name_of(&self, object: ObjectNo) -> Option<String> {
        self.parts[self.objects.get(object as usize)?.owner].model.name_of(object).cloned()
    }

    /// Adds an operation to a thread's part and derives what it means.
    pub fn push(&mut self, thread: usize, op: Op) {
        let Self { parts, objects, past } = self;
        let part = &mut parts[thread];
        let number = part.ops.len();
        let fill = Fill::Pattern(*past + number as u16);
        let size = |object| part.model.len_of(object).unwrap_or(0);
        match &op {
            Op::Create(object, _) => {
                assert_eq!(*object as usize, objects.len(), "objects are numbered in order");
                objects.push(Subject { owner: thread, ..Subject::default() });
            }
            Op::Write(object, at, len) | Op::Touch(object, at, len) => {
                objects[*object as usize].write(size(*object), *at..at + len, number, fill, false);
            }
            Op::Append(object, len) => {
                let end = size(*object);
                objects[*object as usize].write(end, end..end + len, number, fill, false);
            }
            Op::Batch(pieces) => {
                let mut sizes = BTreeMap::new();
                for &(object, at, len) in pieces {
                    let size = sizes.entry(object).or_insert_with(|| size(object));
                    *size = objects[object as usize].write(*size, at..at + len, number, fill, true);
                }
            }
            Op::SetLen(object, new) => objects[*object as usize].grow(number, size(*object), *new),
            Op::Punch(object, offset, len) => {
                let subject = &mut objects[*object as usize];
                let (from, to) = (*offset, offset + len);
                // Parts of pages are zeroed in place, like any store. A record unlinks whole pages.
                let whole = from.next_multiple_of(PAGE)..to / PAGE * PAGE;
                subject.zero(number, from..to, false);
                if whole.start < whole.end {
                    subject.zero(number, whole, true);
                }
            }
            _ => {}
        }
        part.model.apply(&op, *past + number as u16, pattern::words);
        part.ops.push(op);
        part.names.push(part.model.outline());
    }
}

/// A thread's `n`th name. Some names are longer than a line of the record that they lie in.
fn name(thread: usize, n: usize) -> String {
    let long =
        if n % 4 == 3 { "-with-a-name-that-fills-more-than-a-line-of-the-record-it-lies-in" } else { "" };
    format!("t{thread}.{n}{long}")
}

/// The thread that a name belongs to.
#[must_use]
pub fn owner_of(name: &str) -> Option<usize> {
    name.strip_prefix('t')?.split('.').next()?.parse().ok()
}
