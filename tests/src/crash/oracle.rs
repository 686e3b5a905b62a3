//! What must hold after a crash of a scripted workload.
//!
//! The log is one sequence and a commit covers a prefix of it. So the names and sizes found must be those after
//! some number of operations of each thread, no fewer than the last acknowledged sync covers, and closed under
//! "returned before the other began". A byte shows a version that its object wrote there: no older than the last
//! acknowledged sync of it, no older than what the metadata found rules out. After the death of the process
//! everything that returned is there.

use super::explore::Crash;
use super::script::{Fill, Names, ObjectNo, Op, Script, owner_of, pattern_word};
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

fn parts_of(label: u64) -> (usize, usize, bool) {
    ((label >> 32) as usize, (label as u32 >> 1) as usize, label & 1 == 1)
}

/// What is known after so many marks. All numbers count operations of a thread.
#[derive(Clone, Debug, Default)]
struct Known {
    begun: Vec<usize>,
    ended: Vec<usize>,
    /// Covered by an acknowledged sync: metadata of each thread, and bytes of each object.
    committed: Vec<usize>,
    synced: Vec<usize>,
}

/// The oracle of one recorded run.
pub struct Oracle {
    script: Script,
    known: Vec<Known>,
    /// For each thread and operation: what had returned, per thread, when it began.
    before: Vec<Vec<Vec<usize>>>,
    /// Identities that the run was given for its objects.
    ids: HashMap<ObjectNo, u64>,
    allowed: HashMap<(ObjectNo, usize, usize), Vec<Segment>>,
}

/// A range of bytes and the contents it may have.
#[derive(Clone, Debug)]
struct Segment {
    range: Range<u64>,
    fills: Vec<Fill>,
}

impl Oracle {
    /// The oracle of a run whose marks came in this order.
    #[must_use]
    pub fn new(script: Script, marks: &[u64], ids: HashMap<ObjectNo, u64>) -> Self {
        let threads = script.parts.len();
        let zeros = vec![0; threads];
        let mut now = Known {
            begun: zeros.clone(),
            ended: zeros.clone(),
            committed: zeros,
            synced: vec![0; script.objects.len()],
        };
        let mut known = vec![now.clone()];
        let mut before: Vec<Vec<Vec<usize>>> = vec![Vec::new(); threads];
        for &mark in marks {
            let (thread, number, ended) = parts_of(mark);
            if ended {
                now.ended[thread] = number + 1;
                let covered = before[thread][number].clone();
                acknowledge(&script, &script.parts[thread].ops[number], &covered, &mut now);
            } else {
                now.begun[thread] = number + 1;
                before[thread].push(now.ended.clone());
            }
            known.push(now.clone());
        }
        Self { script, known, before, ids, allowed: HashMap::new() }
    }

    /// What a mark stands for.
    #[must_use]
    pub fn tell(&self, mark: u64) -> String {
        let (thread, number, ended) = parts_of(mark);
        let verb = if ended { "returned" } else { "begins" };
        format!("t{thread} op {number} {verb}: {:?}", self.script.parts[thread].ops[number])
    }

    /// Compares a recovered store with what must hold after `marks` marks.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn check(&mut self, marks: usize, crash: Crash, view: &mut dyn View) -> Result<(), String> {
        let known = self.known[marks].clone();
        let listing = view.list()?;
        let prefix = self.prefix(&known, crash, &listing)?;
        for (name, size, _) in &listing {
            let thread = owner_of(name).expect("foreign names were refused before");
            let (object, _) = self.script.parts[thread].names[prefix[thread]][name];
            let synced = match crash {
                Crash::Power | Crash::Dropped => known.synced[object as usize],
                Crash::Death => known.ended[thread],
            };
            let bytes = view.read(name, *size)?;
            if bytes.len() as u64 != *size {
                return Err(format!("{name:?}: {size} bytes by its record, {} read", bytes.len()));
            }
            self.compare(object, synced, prefix[thread], &bytes)
                .map_err(|why| format!("{name:?} (object {object}, metadata after {prefix:?} ops): {why}"))?;
        }
        Ok(())
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
            return Err(format!("nobody ever made an object named {name:?}"));
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
        // The least fixpoint: what one thread shows can only ask for more of the others.
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

    fn compare(&mut self, object: ObjectNo, synced: usize, count: usize, bytes: &[u8]) -> Result<(), String> {
        let script = &self.script;
        let segments = self
            .allowed
            .entry((object, synced, count))
            .or_insert_with(|| segments(script, object, synced, count));
        for segment in segments.iter() {
            let end = segment.range.end.min(bytes.len() as u64);
            let mut at = segment.range.start;
            while at < end {
                let next = (at / 8 * 8 + 8).min(end);
                let piece = &bytes[at as usize..next as usize];
                if !segment.fills.iter().any(|&fill| piece == &fill_bytes(fill, object, at)[..piece.len()]) {
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
        // A range covers names and sizes, and too few bytes to be worth keeping account of.
        Op::SyncRange(..) => 0..0,
        _ => return,
    };
    for (committed, &c) in now.committed.iter_mut().zip(covered) {
        *committed = c.max(*committed);
    }
    for object in objects {
        let owner = script.objects[object].0;
        now.synced[object] = covered[owner].max(now.synced[object]);
    }
}

/// The contents that each range of an object may show when `synced` operations are durable and the metadata shows
/// `count` of them.
fn segments(script: &Script, object: ObjectNo, synced: usize, count: usize) -> Vec<Segment> {
    let versions = &script.objects[object as usize].1;
    let mut cuts: Vec<u64> = versions.iter().flat_map(|v| [v.range.start, v.range.end]).collect();
    cuts.extend([0, u64::MAX]);
    cuts.sort_unstable();
    cuts.dedup();
    let between = cuts.windows(2).map(|w| w[0]..w[1]);
    between
        .map(|range| {
            let mut fills = vec![Fill::Zero];
            for v in versions.iter().filter(|v| v.range.start <= range.start && range.end <= v.range.end) {
                if v.op < synced || v.floor && v.op < count {
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

/// The bytes from `at` to the end of its word, and then whatever.
fn fill_bytes(fill: Fill, object: ObjectNo, at: u64) -> [u8; 8] {
    match fill {
        Fill::Zero => [0; 8],
        Fill::Pattern(op) => (pattern_word(object, op, at / 8) >> (at % 8 * 8)).to_le_bytes(),
    }
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
