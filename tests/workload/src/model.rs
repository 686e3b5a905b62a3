//! The effect of a workload on a store, as a plain model: names, and objects with their bytes.

use crate::content::{Content, PAGE, Tokens};
use crate::op::{Choice, ObjectNo, Op};
use crate::pattern::Pattern;
use pagestone::units::PageIndex;
use std::collections::BTreeMap;

/// The most pins that are held at once.
const PINS_MAX: usize = 4;

/// Names and objects. Clones share the pages that no operation has changed since.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// Objects by name.
    pub names: BTreeMap<String, ObjectNo>,
    /// Every object that has a name, and those that may still be open without one.
    pub objects: BTreeMap<ObjectNo, Content>,
    /// Pages that are pinned.
    pub pins: usize,
    tokens: Tokens,
}

impl Model {
    /// An object's bytes, while it has a name.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<&Content> {
        self.objects.get(self.names.get(name)?)
    }

    /// The name of an object.
    #[must_use]
    pub fn name_of(&self, object: ObjectNo) -> Option<&String> {
        self.names.iter().find(|(_, no)| **no == object).map(|(name, _)| name)
    }

    /// The length of an object that has a name.
    #[must_use]
    pub fn len_of(&self, object: ObjectNo) -> Option<u64> {
        self.name_of(object).and(self.objects.get(&object)).map(|content| content.len)
    }

    /// Names with their objects and lengths.
    #[must_use]
    pub fn outline(&self) -> BTreeMap<String, (ObjectNo, u64)> {
        self.names.iter().map(|(name, no)| (name.clone(), (*no, self.objects[no].len))).collect()
    }

    /// Adds an object that is there when the work begins.
    pub fn found(&mut self, name: &str, object: ObjectNo, bytes: &[u8]) {
        self.names.insert(name.to_owned(), object);
        self.objects.insert(object, Content::new());
        self.store(object, 0, bytes);
    }

    /// Forgets the objects that have no name.
    pub fn forget_nameless(&mut self) {
        let Self { names, objects, .. } = self;
        objects.retain(|object, _| names.values().any(|named| named == object));
    }

    /// The operation as it makes sense now; none if it does not.
    #[must_use]
    pub fn sensible(&self, op: Op) -> Option<Op> {
        let len_of = |object| self.len_of(object);
        let sense = match &op {
            Op::Create(_, name) => !self.names.contains_key(name),
            Op::Touch(object, at, len) => at + len <= len_of(*object)?,
            Op::Pin(object, page) => page * PAGE < len_of(*object)?,
            Op::SyncRange(object, at, _) => *at < len_of(*object)?,
            Op::Write(object, ..) | Op::Append(object, _) | Op::Read(object, ..) | Op::SetLen(object, _) => {
                len_of(*object).is_some()
            }
            Op::Len(object) | Op::Punch(object, ..) | Op::Allocate(object, ..) | Op::Sync(object) => {
                len_of(*object).is_some()
            }
            Op::Move(object, ..) => len_of(*object).is_some(),
            Op::Rename(name, _) | Op::Unlink(name, _) => self.names.contains_key(name),
            Op::Batch(parts) => parts.iter().any(|part| len_of(part.0).is_some()),
            Op::Exists(_) | Op::List | Op::Unpin | Op::SyncAll | Op::Compact => true,
        };
        match op {
            Op::Batch(mut parts) if sense => {
                parts.retain(|part| len_of(part.0).is_some());
                Some(Op::Batch(parts))
            }
            op => sense.then_some(op),
        }
    }

    /// The operation that a choice means now, in objects of at most `pages` pages; `None` if it means nothing. `fresh` is
    /// the next object's number, `name` gives the names that may be used.
    #[must_use]
    pub fn meaning(
        &self,
        choice: &Choice,
        pages: u64,
        fresh: ObjectNo,
        name: impl Fn(u8) -> String,
    ) -> Option<Op> {
        let nth = |n: u8| self.names.iter().nth(usize::from(n).checked_rem(self.names.len())?);
        let object = |n: u8| nth(n).map(|(_, object)| *object);
        let op = match choice.clone() {
            Op::Create(_, n) => return self.sensible(Op::Create(fresh, name(n))),
            // The name that is renamed or unlinked must be there. The new name of a rename may be there.
            Op::Rename(from, to) => {
                let (from, to) = (nth(from)?.0.clone(), name(to));
                return (from != to).then_some(Op::Rename(from, to));
            }
            Op::Unlink(n, close) => return Some(Op::Unlink(nth(n)?.0.clone(), close)),
            Op::Pin(..) if self.pins >= PINS_MAX => return None,
            Op::Unpin if self.pins == 0 => return None,
            other => other.meant(object, |n| Some(name(n)))?,
        };
        let limit = pages * PAGE;
        let len = |object: ObjectNo| self.len_of(object).unwrap_or(0);
        self.sensible(match op {
            Op::Write(o, at, n) => {
                let (at, n) = within(at, n, len(o), limit);
                Op::Write(o, at, n)
            }
            Op::Append(o, n) => {
                Op::Append(o, Some(n.max(1).min(limit.saturating_sub(len(o)))).filter(|n| *n > 0)?)
            }
            Op::Touch(o, at, n) => {
                let at = at.checked_rem(len(o))?;
                Op::Touch(o, at, n.max(1).min(PAGE - at % PAGE).min(len(o) - at))
            }
            Op::SetLen(o, new) if new / PAGE % 2 == 0 => Op::SetLen(o, new % (len(o) + 1)),
            Op::SetLen(o, new) => Op::SetLen(o, new.min(limit)),
            Op::Punch(o, at, n) => {
                let at = at.checked_rem(len(o))?;
                Op::Punch(o, at, (1 + n % (3 * PAGE)).min(len(o) - at))
            }
            Op::Allocate(o, at, n) => {
                let at = at.min(limit - PAGE) / PAGE * PAGE;
                Op::Allocate(o, at, (n / PAGE * PAGE).clamp(PAGE, limit - at))
            }
            Op::Move(o, page, n) => Op::Move(o, page.checked_rem(PageIndex::pages_for(len(o)))?, n.max(1)),
            Op::Pin(o, page) => Op::Pin(o, page.checked_rem(PageIndex::pages_for(len(o)))?),
            Op::SyncRange(o, at, n) => {
                let at = at.checked_rem(len(o))?;
                Op::SyncRange(o, at, 1 + n % (len(o) - at))
            }
            Op::Batch(parts) => Op::Batch(
                parts
                    .into_iter()
                    .map(|(o, at, n)| {
                        let (at, n) = within(at, n, len(o), limit);
                        (o, at, n)
                    })
                    .collect(),
            ),
            other => other,
        })
    }

    /// The state after an operation, the workload's `number`-th, which writes `pattern`.
    pub fn apply(&mut self, op: &Op, number: u16, pattern: Pattern) {
        match op {
            Op::Create(object, name) => {
                self.names.insert(name.clone(), *object);
                self.objects.insert(*object, Content::new());
            }
            Op::Write(object, at, len) | Op::Touch(object, at, len) => {
                self.write(*object, *at, *len, number, pattern);
            }
            Op::Append(object, len) => {
                let at = self.objects.get(object).map_or(0, |content| content.len);
                self.write(*object, at, *len, number, pattern);
            }
            Op::Batch(parts) => {
                parts.iter().for_each(|&(object, at, len)| self.write(object, at, len, number, pattern));
            }
            Op::SetLen(object, new) => {
                if let Some(content) = self.objects.get_mut(object) {
                    if *new < content.len {
                        content.cut(*new);
                    }
                    content.grow(*new);
                }
            }
            Op::Punch(object, at, len) => {
                if let Some(content) = self.objects.get_mut(object) {
                    content.punch(*at, *len);
                }
            }
            Op::Rename(from, to) => {
                if let Some(object) = self.names.remove(from) {
                    self.names.insert(to.clone(), object);
                }
            }
            Op::Unlink(name, _) => drop(self.names.remove(name)),
            Op::Pin(..) => self.pins += 1,
            Op::Unpin => self.pins = 0,
            Op::Allocate(..) | Op::Exists(_) | Op::List | Op::Read(..) | Op::Len(_) | Op::Compact => (),
            Op::Move(..) | Op::Sync(_) | Op::SyncRange(..) | Op::SyncAll => (),
        }
    }

    fn write(&mut self, object: ObjectNo, at: u64, len: u64, number: u16, pattern: Pattern) {
        self.store(object, at, &pattern(object, number, at..at + len));
    }

    /// Stores bytes in an object.
    pub fn store(&mut self, object: ObjectNo, at: u64, bytes: &[u8]) {
        if let Some(content) = self.objects.get_mut(&object).filter(|_| !bytes.is_empty()) {
            content.grow(at + bytes.len() as u64);
            content.store(at, bytes, &mut self.tokens);
        }
    }
}

/// The place of a write that was drawn anywhere: in three of four cases not beyond the end.
fn within(at: u64, n: u64, len: u64, limit: u64) -> (u64, u64) {
    let at = if at > len && (at / 8 + at / PAGE) % 4 != 0 { at % (len + 1) } else { at }.min(limit - 1);
    (at, n.max(1).min(limit - at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::{Choices, Kind, Space};
    use crate::pattern::words;
    use pagestone_kit::random::Random;

    const KINDS: &[(u64, Kind)] = &[
        (2, Kind::Create),
        (6, Kind::Write),
        (3, Kind::Append),
        (3, Kind::Touch),
        (3, Kind::SetLen),
        (2, Kind::Punch),
        (1, Kind::Allocate),
        (2, Kind::Move),
        (1, Kind::Rename),
        (1, Kind::Unlink),
        (2, Kind::Pin),
        (1, Kind::Unpin),
        (2, Kind::Batch),
        (1, Kind::SyncRange),
    ];

    /// Bytes in a vector, for comparison.
    fn plainly(op: &Op, number: u16, names: &mut BTreeMap<String, Vec<u8>>, model: &Model) {
        let mut write = |object: ObjectNo, at: u64, len: u64| {
            let bytes = names.get_mut(model.name_of(object).expect("a name")).expect("known");
            bytes.resize(bytes.len().max((at + len) as usize), 0);
            bytes[at as usize..(at + len) as usize].copy_from_slice(&words(object, number, at..at + len));
        };
        match op {
            Op::Create(_, name) => drop(names.insert(name.clone(), Vec::new())),
            Op::Write(object, at, len) | Op::Touch(object, at, len) => write(*object, *at, *len),
            Op::Append(object, len) => write(*object, model.len_of(*object).expect("a length"), *len),
            Op::Batch(parts) => parts.iter().for_each(|&(object, at, len)| write(object, at, len)),
            Op::SetLen(object, len) => {
                let name = model.name_of(*object).expect("a name");
                names.get_mut(name).expect("known").resize(*len as usize, 0);
            }
            Op::Punch(object, at, len) => {
                let name = model.name_of(*object).expect("a name");
                names.get_mut(name).expect("known")[*at as usize..(at + len) as usize].fill(0);
            }
            Op::Rename(from, to) => {
                let bytes = names.remove(from).expect("known");
                names.insert(to.clone(), bytes);
            }
            Op::Unlink(name, _) => drop(names.remove(name)),
            _ => (),
        }
    }

    #[test]
    fn what_is_drawn_makes_sense_and_leaves_what_it_says() {
        const SPACE: Space = Space { pages: 5, far: false };
        for seed in 0..50 {
            let (mut random, mut model, mut plain) = (Random::new(seed), Model::default(), BTreeMap::new());
            let (mut fresh, mut number) = (0, 0);
            while number < 200 {
                let choice = SPACE.draw(random.weighted(KINDS), &mut random);
                let Some(op) = model.meaning(&choice, SPACE.pages, fresh, |n| format!("n{}", n % 4)) else {
                    continue;
                };
                assert_eq!(model.sensible(op.clone()).as_ref(), Some(&op), "seed {seed}");
                fresh += u16::from(matches!(op, Op::Create(..)));
                plainly(&op, number, &mut plain, &model);
                model.apply(&op, number, words);
                number += 1;
                let bytes = |object| {
                    let content: &Content = &model.objects[object];
                    content.read(0, content.len as usize)
                };
                let shown: BTreeMap<_, _> =
                    model.names.iter().map(|(name, object)| (name.clone(), bytes(object))).collect();
                assert!(shown == plain, "seed {seed}, {op:?}");
                assert!(shown.values().all(|bytes| bytes.len() as u64 <= SPACE.pages * PAGE));
            }
        }
    }
}
