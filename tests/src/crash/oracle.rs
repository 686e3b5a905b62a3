//! What must hold after a crash of a scripted workload.
//!
//! The log is one sequence, and a commit covers a prefix of it. So the names and sizes that are found must be those after
//! some number of operations of each thread. The numbers are not smaller than the last acknowledged sync covers. If an
//! operation is among them, so is each one that had returned before it began. A byte shows a version that its object
//! wrote there: not older than the last acknowledged sync of the object, and not older than the metadata that was found
//! allows. After the death of the process everything that had returned is there. A batch that had returned is there, and
//! one that had not is there whole or not at all.

use super::script::{Fill, Names, ObjectNo, Op, Script, Subject, owner_of};
use pagestone_explorer::Crash;
use pagestone_workload::pattern;
use std::collections::HashMap;
use std::ops::Range;

/// A recovered store, as the oracle looks at it.
pub trait View {
    /// Every name with its object's size and identity.
    ///
    /// # Errors
    /// The store's.
    fn list(&mut self) -> Result<Vec<(String, u64, u64)>, String>;
    /// All bytes of an object.
    ///
    /// # Errors
    /// The store's.
    fn read(&mut self, name: &str, size: u64) -> Result<Vec<u8>, String>;
}

/// Labels of marks: the thread, the operation's number, and whether it begins or has returned.
#[must_use]
pub fn label(thread: usize, op: usize, ended: bool) -> u64 {
    (thread as u64) << 32 | (op as u64) << 1 | u64::from(ended)
}

/// The thread, the operation's number, and whether it has returned.
pub(crate) fn parts_of(label: u64) -> (usize, usize, bool) {
    ((label >> 32) as usize, (label as u32 >> 1) as usize, label & 1 == 1)
}

/// What is known after a number of marks. All numbers count operations of a thread.
#[derive(Clone, Debug, Default)]
struct Known {
    begun: Vec<usize>,
    ended: Vec<usize>,
    /// What an acknowledged sync covers: metadata of each thread, and bytes of each object.
    committed: Vec<usize>,
    synced: Vec<usize>,
    /// Whether what this life found is durable: the metadata, and each object's bytes.
    grounded: bool,
    fixed: Vec<bool>,
}

/// The oracle of one recorded run.
pub struct Oracle {
    script: Script,
    known: Vec<Known>,
    /// For each thread and operation: how many operations of each thread had returned when it began.
    before: Vec<Vec<Vec<usize>>>,
    /// The identities that the store gave to the run's objects.
    ids: HashMap<ObjectNo, u64>,
    allowed: HashMap<(ObjectNo, Place), Vec<Segment>>,
}

/// Which contents of an object are lawful: the first `synced` operations are durable, `ended` have returned, the metadata
/// shows `count`, and what was found is durable or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    synced: usize,
    ended: usize,
    count: usize,
    fixed: bool,
}

/// A range of bytes and the contents it may have.
#[derive(Clone, Debug)]
struct Segment {
    range: Range<u64>,
    fills: Vec<Fill>,
}

impl Oracle {
    /// The oracle of a run whose marks came in this order. `durable`: what the script begins with would survive a power
    /// loss. Otherwise only the death of a process has left it.
    #[must_use]
    pub fn new(script: Script, marks: &[u64], ids: HashMap<ObjectNo, u64>, durable: bool) -> Self {
        let threads = script.parts.len();
        let zeros = vec![0; threads];
        let mut now = Known {
            begun: zeros.clone(),
            ended: zeros.clone(),
            committed: zeros,
            synced: vec![0; script.objects.len()],
            grounded: durable,
            fixed: vec![durable; script.objects.len()],
        };
        let mut known = vec![now.clone()];
        let mut before: Vec<Vec<Vec<usize>>> = vec![Vec::new(); threads];
        for &mark in marks {
            let (thread, number, ended) = parts_of(mark);
            if ended {
                now.ended[thread] = number + 1;
                let covered = before[thread][number].clone();
                let op = &script.parts[thread].ops[number];
                acknowledge(&script, op, &covered, &mut now);
                if matches!(op, Op::Batch(_)) {
                    now.committed[thread] = number + 1;
                }
            } else {
                now.begun[thread] = number + 1;
                before[thread].push(now.ended.clone());
            }
            known.push(now.clone());
        }
        Self { script, known, before, ids, allowed: HashMap::new() }
    }

    /// What was run.
    #[must_use]
    pub fn script(&self) -> &Script {
        &self.script
    }

    /// What a mark stands for.
    #[must_use]
    pub fn tell(&self, mark: u64) -> String {
        let (thread, number, ended) = parts_of(mark);
        let verb = if ended { "returned" } else { "begins" };
        format!("t{thread} op {number} {verb}: {:?}", self.script.parts[thread].ops[number])
    }

    /// Compares a recovered store with what must hold after `marks` marks. Returns how many operations of each thread the
    /// store shows; `None` if that is unknown, because what this life found need not be durable yet.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn check(
        &mut self,
        marks: usize,
        crash: Crash,
        view: &mut dyn View,
    ) -> Result<Option<Vec<usize>>, String> {
        let known = self.known[marks].clone();
        let listing = view.list()?;
        let power = crash != Crash::Death;
        if power && !known.grounded {
            return Ok(None);
        }
        let prefix = self.prefix(&known, crash, &listing)?;
        let mut shown = HashMap::new();
        for (name, size, _) in &listing {
            let thread = owner_of(name).expect("foreign names were refused before");
            let (object, _) = self.script.parts[thread].names[prefix[thread]][name];
            let (synced, fixed) = match power {
                true => (known.synced[object as usize], known.fixed[object as usize]),
                false => (known.ended[thread], true),
            };
            let bytes = view.read(name, *size)?;
            if bytes.len() as u64 != *size {
                return Err(format!("{name:?}: {size} bytes by its record, {} read", bytes.len()));
            }
            let place = Place { synced, ended: known.ended[thread], count: prefix[thread], fixed };
            self.compare(object, place, &bytes)
                .map_err(|why| format!("{name:?} (object {object}, metadata after {prefix:?} ops): {why}"))?;
            shown.insert(object, bytes);
        }
        for thread in 0..known.begun.len() {
            self.whole_batch(thread, &known, &shown)?;
        }
        Ok(Some(prefix))
    }

    /// The script with which the next life begins on a store that shows `prefix`, and the identities of its objects.
    ///
    /// # Errors
    /// The store's.
    pub fn next_life(
        &self,
        prefix: &[usize],
        view: &mut dyn View,
    ) -> Result<(Script, HashMap<ObjectNo, u64>), String> {
        let (mut found, mut ids) = (Vec::new(), HashMap::new());
        for (name, size, id) in view.list()? {
            let thread = owner_of(&name).expect("foreign names were refused before");
            let (object, _) = self.script.parts[thread].names[prefix[thread]][&name];
            let bytes = view.read(&name, size)?;
            ids.insert(object, id);
            found.push((name, bytes, object));
        }
        Ok((self.script.next_life(found), ids))
    }

    /// How many operations of each thread the metadata shows.
    fn prefix(
        &self,
        known: &Known,
        crash: Crash,
        listing: &[(String, u64, u64)],
    ) -> Result<Vec<usize>, String> {
        let threads = self.script.parts.len();
        if let Some((name, ..)) = listing.iter().find(|l| owner_of(&l.0).is_none_or(|t| t >= threads)) {
            return Err(format!("no operation made an object named {name:?}"));
        }
        let fits = |thread: usize, count: usize| {
            let names = &self.script.parts[thread].names[count];
            let mine = listing.iter().filter(|l| owner_of(&l.0) == Some(thread));
            let mut n = 0;
            let same = mine.clone().all(|(name, size, id)| {
                n += 1;
                names.get(name).is_some_and(|(object, expected)| {
                    expected == size && self.ids.get(object).is_none_or(|known| known == id)
                })
            });
            same && n == names.len()
        };
        let mut prefix = match crash {
            Crash::Power | Crash::Dropped => known.committed.clone(),
            Crash::Death => known.ended.clone(),
        };
        // The least fixpoint: what one thread shows can only demand more of the others.
        loop {
            let start = prefix.clone();
            for thread in 0..threads {
                let from = prefix[thread];
                let Some(count) = (from..=known.begun[thread]).find(|&count| fits(thread, count)) else {
                    return Err(self.misfit(thread, from, known.begun[thread], listing));
                };
                prefix[thread] = count;
                if let Some(last) = count.checked_sub(1) {
                    for (p, &needed) in prefix.iter_mut().zip(&self.before[thread][last]) {
                        *p = needed.max(*p);
                    }
                }
            }
            if start == prefix {
                return Ok(prefix);
            }
        }
    }

    fn misfit(&self, thread: usize, from: usize, to: usize, listing: &[(String, u64, u64)]) -> String {
        let mine: Vec<_> = listing.iter().filter(|l| owner_of(&l.0) == Some(thread)).collect();
        let named = |names: &Names| -> Vec<_> {
            names.iter().map(|(n, (o, size))| (n.clone(), *size, self.ids.get(o).copied())).collect()
        };
        let states = &self.script.parts[thread].names;
        let mut choices: Vec<_> = states[from..=to].iter().map(named).collect();
        choices.dedup();
        format!(
            "names and sizes of thread {thread} fit no state after {from} to {to} operations\n  found {mine:?}\n  \
             lawful {choices:?}"
        )
    }

    /// A batch that has begun and not returned: each of its words is there, or none is.
    fn whole_batch(
        &self,
        thread: usize,
        known: &Known,
        shown: &HashMap<ObjectNo, Vec<u8>>,
    ) -> Result<(), String> {
        let number = known.ended[thread];
        if known.begun[thread] == number {
            return Ok(());
        }
        let Op::Batch(pieces) = &self.script.parts[thread].ops[number] else { return Ok(()) };
        let mark = (self.script.past + number as u16 + 1).to_le_bytes();
        let (mut there, mut missing) = (None, None);
        for &(object, offset, len) in pieces {
            let bytes = shown.get(&object).map_or(&[][..], Vec::as_slice);
            // Bytes 4 and 5 of a word name its operation.
            for at in (offset / 8 * 8..offset + len)
                .step_by(8)
                .filter(|at| at + 4 >= offset && at + 6 <= offset + len)
            {
                let found = bytes.get(at as usize + 4..at as usize + 6);
                *(if found == Some(&mark) { &mut there } else { &mut missing }) = Some((object, at));
            }
        }
        match (there, missing) {
            (Some(there), Some(missing)) => Err(format!(
                "half a batch: op {number} of thread {thread} shows at (object, byte) {there:x?} and not at {missing:x?}"
            )),
            _ => Ok(()),
        }
    }

    fn compare(&mut self, object: ObjectNo, place: Place, bytes: &[u8]) -> Result<(), String> {
        let script = &self.script;
        let segments = self
            .allowed
            .entry((object, place))
            .or_insert_with(|| segments(&script.objects[object as usize], place));
        let found = &script.objects[object as usize].found;
        for segment in segments.iter() {
            let end = segment.range.end.min(bytes.len() as u64);
            let mut at = segment.range.start;
            while at < end {
                let next = (at / 8 * 8 + 8).min(end);
                let (word, mask) = word_of(bytes, at, next);
                if !segment.fills.iter().any(|&fill| fits(fill, object, at / 8, word, mask, found)) {
                    return Err(stranger(object, at, bytes, &segment.fills));
                }
                at = next;
            }
        }
        Ok(())
    }
}

/// An acknowledged sync covers what had returned when it began.
fn acknowledge(script: &Script, op: &Op, covered: &[usize], now: &mut Known) {
    let objects = match op {
        Op::Sync(object) => *object as usize..*object as usize + 1,
        Op::SyncAll => 0..script.objects.len(),
        // The range covers names and sizes, and too few bytes to keep account of.
        Op::SyncRange(..) => 0..0,
        // The bytes of a batch are accounted for as those of a batch.
        Op::Batch(_) => 0..0,
        _ => return,
    };
    for (committed, &c) in now.committed.iter_mut().zip(covered) {
        *committed = c.max(*committed);
    }
    now.grounded = true;
    for object in objects {
        let owner = script.objects[object].owner;
        now.fixed[object] = true;
        now.synced[object] = covered[owner].max(now.synced[object]);
    }
}

/// The contents that each range of an object may show.
fn segments(subject: &Subject, place: Place) -> Vec<Segment> {
    let Place { synced, ended, count, fixed } = place;
    let (versions, found) = (&subject.versions, subject.found.len() as u64);
    let mut cuts: Vec<u64> = versions.iter().flat_map(|v| [v.range.start, v.range.end]).collect();
    cuts.extend([0, found, u64::MAX]);
    cuts.sort_unstable();
    cuts.dedup();
    let between = cuts.windows(2).map(|w| w[0]..w[1]);
    between
        .map(|range| {
            let mut fills = match (range.end <= found, fixed) {
                (false, _) => vec![Fill::Zero],
                (true, true) => vec![Fill::Found],
                (true, false) => vec![Fill::Own],
            };
            for v in versions.iter().filter(|v| v.range.start <= range.start && range.end <= v.range.end) {
                if v.op < synced || v.floor && v.op < count || v.durable && v.op < ended {
                    fills.clear();
                }
                fills.push(v.fill);
            }
            fills.sort_unstable();
            fills.dedup();
            Segment { range, fills }
        })
        .collect()
}

/// The word that holds the bytes from `at` to `next`, and which of its bits they are.
fn word_of(bytes: &[u8], at: u64, next: u64) -> (u64, u64) {
    let start = (at / 8 * 8) as usize;
    if let (8, Some(whole)) = (next - at, bytes[start..].first_chunk()) {
        return (u64::from_le_bytes(*whole), u64::MAX);
    }
    let mut word = [0; 8];
    let piece = &bytes[start..bytes.len().min(start + 8)];
    word[..piece.len()].copy_from_slice(piece);
    let ones = u64::MAX >> (64 - 8 * (next - at));
    (u64::from_le_bytes(word), ones << (at % 8 * 8))
}

/// Whether the bits `mask` of word `index` may be what `fill` says.
fn fits(fill: Fill, object: ObjectNo, index: u64, word: u64, mask: u64, found: &[u8]) -> bool {
    let expected = match fill {
        Fill::Zero => 0,
        Fill::Pattern(op) => pattern::word(object, op, index),
        Fill::Found => word_of(found, index * 8, index * 8 + 8).0,
        // Each byte is zero, or what any operation has written there.
        Fill::Own => {
            let own = pattern::word(object, 0, index).to_le_bytes();
            let is_own = |(i, &byte): (usize, &u8)| byte == 0 || matches!(i, 4 | 5) || byte == own[i];
            return (word & mask).to_le_bytes().iter().enumerate().all(is_own);
        }
    };
    (word ^ expected) & mask == 0
}

fn stranger(object: ObjectNo, at: u64, bytes: &[u8], lawful: &[Fill]) -> String {
    let start = (at / 8 * 8) as usize;
    let mut word = [0; 8];
    let piece = &bytes[start..bytes.len().min(start + 8)];
    word[..piece.len()].copy_from_slice(piece);
    let word = u64::from_le_bytes(word);
    if word == 0 {
        return format!("byte {at:#x} shows zeros, lawful are {lawful:?}");
    }
    let (from, op, index) = ((word >> 48) as i64 - 1, (word >> 32 & 0xffff) as i64 - 1, word & 0xffff_ffff);
    let owner = if from == i64::from(object) { "its own" } else { "FOREIGN" };
    format!(
        "byte {at:#x} shows {word:#018x} ({owner}: object {from}, op {op}, byte {:#x}), lawful are {lawful:?}",
        index * 8
    )
}
