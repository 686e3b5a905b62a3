//! Mixed workloads: what each thread does, drawn from a seed, and what that means for names, sizes and bytes.
//!
//! Each object belongs to one thread, so that its operations have one order; log, bitmap, directory and syncs are
//! shared by all.

use pagestone_kit::random::Random;
use std::collections::BTreeMap;
use std::ops::Range;

/// Number of an object in its script; never reused, unlike its name.
pub type ObjectNo = u16;

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Creates an object under a free name.
    Create(ObjectNo, String),
    /// Writes the object's pattern at an offset, perhaps past the end.
    Write(ObjectNo, u64, u64),
    /// Writes the object's pattern at its end.
    Append(ObjectNo, u64, u64),
    /// Writes the object's pattern inside one page through a pin and a latch guard.
    Touch(ObjectNo, u64, u64),
    /// Cuts or grows the object.
    SetLen(ObjectNo, u64),
    /// Turns a range into zeros.
    Punch(ObjectNo, u64, u64),
    /// Links zeroed frames ahead.
    Allocate(ObjectNo, u64, u64),
    /// Renames, replacing what had the new name.
    Rename(String, String),
    /// Unlinks a name; with `true` the object's handle is closed before.
    Unlink(String, ObjectNo, bool),
    /// Pins a page and keeps it until `Unpin`.
    Pin(ObjectNo, u64),
    /// Drops all pins and the handles of unlinked objects.
    Unpin,
    /// Writes the objects' patterns at these offsets, all or nothing, and durable when it returns.
    Batch(Vec<(ObjectNo, u64, u64)>),
    /// Syncs one object.
    Sync(ObjectNo),
    /// Syncs a range of one object.
    SyncRange(ObjectNo, u64, u64),
    /// Syncs the store.
    SyncAll,
    /// Gives the blocks of free frames back.
    Compact,
}

impl Op {
    /// The same operation on the object's new number; `None` if it has none.
    fn renumbered(&self, numbers: &BTreeMap<ObjectNo, ObjectNo>) -> Option<Self> {
        let mut op = self.clone();
        match &mut op {
            Self::Create(object, _) | Self::Unlink(_, object, _) | Self::Pin(object, _) => {
                *object = *numbers.get(object)?;
            }
            Self::Write(object, ..) | Self::Append(object, ..) | Self::Touch(object, ..) => {
                *object = *numbers.get(object)?;
            }
            Self::SetLen(object, _) | Self::Punch(object, ..) | Self::Allocate(object, ..) => {
                *object = *numbers.get(object)?;
            }
            Self::Sync(object) | Self::SyncRange(object, ..) => *object = *numbers.get(object)?,
            Self::Batch(pieces) => {
                pieces.retain_mut(|piece| {
                    let number = numbers.get(&piece.0);
                    piece.0 = number.copied().unwrap_or(piece.0);
                    number.is_some()
                });
            }
            Self::Rename(..) | Self::Unpin | Self::SyncAll | Self::Compact => {}
        }
        Some(op)
    }
}

/// What a byte range holds after an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fill {
    /// Zeros.
    Zero,
    /// The pattern of the thread's operation with this number.
    Pattern(u16),
    /// What was found there when this life began.
    Found,
    /// Whatever the object ever held there: what was found survived a process, and perhaps not a loss of power.
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
    /// Whether the metadata of that operation rules out everything older: the range was freed or not yet covered,
    /// and what it shows afterwards is durable before the record that shows it.
    pub floor: bool,
    /// Whether it is durable as soon as the operation has returned.
    pub durable: bool,
}

/// Name to object and size.
pub type Names = BTreeMap<String, (ObjectNo, u64)>;

/// What one thread does.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// Its operations.
    pub ops: Vec<Op>,
    /// Its names after so many operations.
    pub names: Vec<Names>,
}

/// One object of a script.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// The thread whose operations change it.
    pub owner: usize,
    /// What these operations make of its bytes.
    pub versions: Vec<Version>,
    /// Its bytes when this life began.
    pub found: Vec<u8>,
}

impl Subject {
    /// Operation `op` writes its pattern; `durable`: in a batch.
    fn write(
        &mut self,
        names: &mut Names,
        no: ObjectNo,
        range: Range<u64>,
        op: usize,
        past: u16,
        durable: bool,
    ) {
        if let Some(size) = size_of(names, no) {
            grow(&mut self.versions, op, *size, range.end);
            *size = range.end.max(*size);
        }
        let fill = Fill::Pattern(past + op as u16);
        self.versions.push(Version { op, range, fill, floor: false, durable });
    }
}

/// A workload with its meaning.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// One part per thread.
    pub parts: Vec<Part>,
    /// Every object, those of former lives included.
    pub objects: Vec<Subject>,
    /// Operations of former lives: patterns are numbered on from there.
    pub past: u16,
}

/// The word that operation `op` writes at the object's word `index`.
#[must_use]
pub fn pattern_word(object: ObjectNo, op: u16, index: u64) -> u64 {
    u64::from(object + 1) << 48 | u64::from(op + 1) << 32 | (index & 0xffff_ffff)
}

/// The bytes that operation `op` writes at `range`.
#[must_use]
pub fn pattern(object: ObjectNo, op: u16, range: Range<u64>) -> Vec<u8> {
    range.map(|at| pattern_word(object, op, at / 8).to_le_bytes()[(at % 8) as usize]).collect()
}

/// How large a workload is, and how it leans.
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
    /// One operation in so many is a sync of some kind.
    pub sync_every: u64,
    /// One of the others in so many is a batch (0: none).
    pub batch_every: u64,
}

const PAGE: u64 = 4096;

impl Script {
    /// An empty script of `threads` parts, for cases written by hand.
    #[must_use]
    pub fn empty(threads: usize) -> Self {
        let part = Part { ops: Vec::new(), names: vec![Names::new()] };
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
            next.parts[subject.owner].names[0].insert(name, (object, bytes.len() as u64));
            subject.found = bytes;
        }
        next
    }

    /// Adds operations drawn from `seed` to each thread's part.
    pub fn extend(&mut self, shape: Shape, seed: u64) {
        for thread in 0..self.parts.len() {
            let mut author = Author::new(thread, shape, seed);
            for _ in 0..shape.ops {
                let op = author.next_op(self);
                self.push(thread, op);
            }
        }
    }

    /// A workload drawn from `seed`.
    #[must_use]
    pub fn random(shape: Shape, seed: u64) -> Self {
        let mut script = Self::empty(shape.threads);
        script.extend(shape, seed);
        script
    }

    /// The script of these operations and no others, from the same beginning: objects are numbered anew, and an
    /// operation that makes no sense without those that are missing is left out.
    #[must_use]
    pub fn with(&self, ops: &[(usize, Op)]) -> Self {
        let made = self.parts.iter().flat_map(|part| &part.ops).filter(|op| matches!(op, Op::Create(..)));
        let kept = self.objects.len() - made.count();
        let mut next = Self { past: self.past, ..Self::empty(self.parts.len()) };
        next.objects =
            self.objects[..kept].iter().map(|o| Subject { versions: Vec::new(), ..o.clone() }).collect();
        for (part, old) in next.parts.iter_mut().zip(&self.parts) {
            part.names[0] = old.names[0].clone();
        }
        let mut numbers: BTreeMap<ObjectNo, ObjectNo> = (0..kept as ObjectNo).map(|n| (n, n)).collect();
        for (thread, op) in ops {
            if let Op::Create(old, _) = op {
                numbers.insert(*old, next.fresh());
            }
            if let Some(op) = op.renumbered(&numbers).and_then(|op| next.sensible(*thread, op)) {
                next.push(*thread, op);
            }
        }
        next
    }

    /// The operation as it makes sense now, if it does.
    fn sensible(&self, thread: usize, op: Op) -> Option<Op> {
        let names = self.parts[thread].names.last()?;
        let size = |object: ObjectNo| names.values().find(|(o, _)| *o == object).map(|&(_, size)| size);
        match op {
            Op::Create(_, ref name) => (!names.contains_key(name)).then_some(op),
            Op::Append(object, _, len) => Some(Op::Append(object, size(object)?, len)),
            Op::Touch(object, offset, len) => (offset + len <= size(object)?).then_some(op),
            Op::Pin(object, page) => (page * PAGE < size(object)?).then_some(op),
            Op::Write(object, ..) | Op::SetLen(object, _) | Op::Punch(object, ..) => size(object).map(|_| op),
            Op::Allocate(object, ..) | Op::Sync(object) => size(object).map(|_| op),
            Op::Batch(mut pieces) => {
                pieces.retain(|piece| size(piece.0).is_some());
                (!pieces.is_empty()).then_some(Op::Batch(pieces))
            }
            Op::SyncRange(object, offset, _) => (offset < size(object)?).then_some(op),
            Op::Rename(ref from, _) => names.contains_key(from).then_some(op),
            Op::Unlink(ref name, object, _) => (names.get(name)?.0 == object).then_some(op),
            Op::Unpin | Op::SyncAll | Op::Compact => Some(op),
        }
    }

    /// The next object's number.
    #[must_use]
    pub fn fresh(&self) -> ObjectNo {
        self.objects.len() as ObjectNo
    }

    /// The name of an object after all operations so far.
    #[must_use]
    pub fn name_of(&self, object: ObjectNo) -> Option<String> {
        let owner = self.objects.get(object as usize)?.owner;
        let names = self.parts[owner].names.last()?;
        names.iter().find(|(_, (o, _))| *o == object).map(|(name, _)| name.clone())
    }

    /// Adds an operation to a thread's part and derives what it means.
    pub fn push(&mut self, thread: usize, op: Op) {
        let part = &mut self.parts[thread];
        let number = part.ops.len();
        let mut names = part.names.last().expect("the empty state is always there").clone();
        match &op {
            Op::Create(object, name) => {
                assert_eq!(*object as usize, self.objects.len(), "objects are numbered in order");
                self.objects.push(Subject { owner: thread, ..Subject::default() });
                names.insert(name.clone(), (*object, 0));
            }
            Op::Write(object, offset, len)
            | Op::Append(object, offset, len)
            | Op::Touch(object, offset, len) => {
                self.objects[*object as usize].write(
                    &mut names,
                    *object,
                    *offset..offset + len,
                    number,
                    self.past,
                    false,
                );
            }
            Op::Batch(pieces) => {
                for (object, offset, len) in pieces {
                    self.objects[*object as usize].write(
                        &mut names,
                        *object,
                        *offset..offset + len,
                        number,
                        self.past,
                        true,
                    );
                }
            }
            Op::SetLen(object, new) => {
                let size = size_of(&mut names, *object).expect("only named objects are resized");
                grow(&mut self.objects[*object as usize].versions, number, *size, *new);
                *size = *new;
            }
            Op::Punch(object, offset, len) => {
                let versions = &mut self.objects[*object as usize].versions;
                let (from, to) = (*offset, offset + len);
                // Pieces of pages are zeroed in place, like any store; whole pages are unlinked by a record.
                let whole = from.next_multiple_of(PAGE)..to / PAGE * PAGE;
                let zero =
                    |range, floor| Version { op: number, range, fill: Fill::Zero, floor, durable: false };
                versions.push(zero(from..to, false));
                if whole.start < whole.end {
                    versions.push(zero(whole, true));
                }
            }
            Op::Rename(from, to) => {
                let moved = names.remove(from).expect("only taken names are renamed");
                names.insert(to.clone(), moved);
            }
            Op::Unlink(name, ..) => {
                names.remove(name).expect("only taken names are unlinked");
            }
            _ => {}
        }
        part.ops.push(op);
        part.names.push(names);
    }
}

fn size_of(names: &mut Names, object: ObjectNo) -> Option<&mut u64> {
    names.values_mut().find(|(o, _)| *o == object).map(|(_, size)| size)
}

/// Bytes between the old and the new end are zeros, whatever lay there before.
fn grow(versions: &mut Vec<Version>, op: usize, from: u64, to: u64) {
    if from < to {
        versions.push(Version { op, range: from..to, fill: Fill::Zero, floor: true, durable: false });
    }
}

/// Draws one thread's operations.
struct Author {
    thread: usize,
    shape: Shape,
    dice: Random,
    pins: usize,
}

impl Author {
    fn new(thread: usize, shape: Shape, seed: u64) -> Self {
        Self { thread, shape, dice: Random::of(seed, thread as u64), pins: 0 }
    }

    fn next_op(&mut self, script: &mut Script) -> Op {
        let names = script.parts[self.thread].names.last().expect("never empty").clone();
        let taken: Vec<(&String, &(ObjectNo, u64))> = names.iter().collect();
        if taken.is_empty() {
            return Op::Create(script.fresh(), self.free_name(&names));
        }
        let (name, &(object, size)) = *self.dice.one_of(&taken);
        if self.dice.once_in(self.shape.sync_every) {
            return self.sync(object, size);
        }
        if self.shape.batch_every != 0 && self.dice.once_in(self.shape.batch_every) {
            return self.batch(&taken);
        }
        let room = (self.shape.pages * PAGE).saturating_sub(size);
        match self.dice.below(32) {
            0..=3 if taken.len() < self.shape.objects => Op::Create(script.fresh(), self.free_name(&names)),
            0..=9 => self.write(object, size),
            10..=14 if room > 0 => {
                let len = self.length().min(room);
                Op::Append(object, size, len)
            }
            15..=18 if size > 0 => {
                let offset = self.dice.below(size);
                let room = (PAGE - offset % PAGE).min(size - offset);
                Op::Touch(object, offset, self.length().min(room))
            }
            19..=22 => Op::SetLen(object, self.new_length(size)),
            23..=24 if size > 0 => {
                let offset = self.offset(size);
                Op::Punch(object, offset, 1 + self.dice.below((size - offset).min(3 * PAGE)))
            }
            25 if self.dice.once_in(2) => Op::Compact,
            25 => {
                let first = self.dice.below(self.shape.pages);
                Op::Allocate(object, first * PAGE, PAGE * (1 + self.dice.below(self.shape.pages - first)))
            }
            26..=27 => {
                let to = if self.dice.once_in(2) { self.free_name(&names) } else { self.other_name(&taken) };
                if *name == to { self.sync(object, size) } else { Op::Rename(name.clone(), to) }
            }
            28 => Op::Unlink(name.clone(), object, self.dice.once_in(2)),
            29..=30 if size > 0 && self.pins < 4 => {
                self.pins += 1;
                Op::Pin(object, self.dice.below(size.div_ceil(PAGE)))
            }
            31 if self.pins > 0 => {
                self.pins = 0;
                Op::Unpin
            }
            _ => self.write(object, size),
        }
    }

    fn write(&mut self, object: ObjectNo, size: u64) -> Op {
        let limit = self.shape.pages * PAGE;
        let past = self.dice.once_in(4);
        let offset = self.offset(if past { limit } else { size + 1 }).min(limit - 1);
        Op::Write(object, offset, self.length().min(limit - offset))
    }

    fn batch(&mut self, taken: &[(&String, &(ObjectNo, u64))]) -> Op {
        let mut pieces = Vec::new();
        for _ in 0..1 + self.dice.below(4) {
            let &(object, size) = self.dice.one_of(taken).1;
            if let Op::Write(object, offset, len) = self.write(object, size) {
                pieces.push((object, offset, len));
            }
        }
        Op::Batch(pieces)
    }

    fn sync(&mut self, object: ObjectNo, size: u64) -> Op {
        match self.dice.below(6) {
            0..=2 => Op::Sync(object),
            3 if size > 0 => {
                let offset = self.dice.below(size);
                Op::SyncRange(object, offset, 1 + self.dice.below(size - offset))
            }
            _ => Op::SyncAll,
        }
    }

    fn length(&mut self) -> u64 {
        match self.dice.below(6) {
            0 => 1 + self.dice.below(16),
            1 | 2 => 8 * (1 + self.dice.below(64)),
            3 => PAGE,
            4 => 1 + self.dice.below(2 * PAGE),
            _ => PAGE * (1 + self.dice.below(3)),
        }
    }

    fn offset(&mut self, below: u64) -> u64 {
        let at = self.dice.below(below.max(1));
        match self.dice.below(3) {
            0 => at,
            1 => at / 8 * 8,
            _ => at / PAGE * PAGE,
        }
    }

    fn new_length(&mut self, size: u64) -> u64 {
        match self.dice.below(4) {
            0 => 0,
            1 => self.offset(self.shape.pages * PAGE),
            _ => self.offset(size),
        }
    }

    fn free_name(&mut self, names: &Names) -> String {
        loop {
            let n = self.dice.below(self.shape.objects as u64 * 4);
            let long = if n % 4 == 3 {
                "-with-a-name-that-fills-more-than-a-line-of-the-record-it-lies-in"
            } else {
                ""
            };
            let name = format!("t{}.{n}{long}", self.thread);
            if !names.contains_key(&name) {
                return name;
            }
        }
    }

    fn other_name(&mut self, taken: &[(&String, &(ObjectNo, u64))]) -> String {
        self.dice.one_of(taken).0.clone()
    }
}

/// The thread that a name belongs to.
#[must_use]
pub fn owner_of(name: &str) -> Option<usize> {
    name.strip_prefix('t')?.split('.').next()?.parse().ok()
}
