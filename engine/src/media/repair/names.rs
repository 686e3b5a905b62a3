//! Names, directory and lists, made anew from the records.

use super::super::directory::{CHAIN, CHAIN_MAX, LEVELS, Slot, word_at};
use super::super::layout::{COUNTER_MAX, RootWord};
use super::super::orphans;
use super::super::record::ObjectSlot;
use super::super::seal::Node;
use super::super::words::{WORDS, Words};
use super::lines::NUMBERS_LEFT_OUT;
use super::plan::Work;
use super::records::readable;
use super::script::Step;
use crate::error::Result;
use crate::units::FrameNo;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Bits of a hash that a level of the directory tells apart.
const BITS: u32 = 9;

/// Makes all words anew that lead to records.
pub(super) fn renew<W: Words>(work: &mut Work<'_, W>) -> Result {
    let at = work.words.roots().at(RootWord::Directory);
    numbers(work)?;
    names(work)?;
    let named: Vec<(u64, u64)> =
        work.live().filter(|(_, head)| !head.unlinked()).map(|(slot, head)| (head.hash(), slot)).collect();
    let objects = named.len() as u64;
    let root = node(work, 0, named)?;
    // Until the directory is whole, looking up a name is an error.
    work.script.turn.push(Step::Root(RootWord::Directory, 0));
    work.script.ways.push(Step::Root(RootWord::Directory, root.0.into()));
    work.script.ways.push(Step::Root(RootWord::Objects, objects));
    work.repairs.say("directory", at, format!("made anew, with {objects} names"));
    let orphans: Vec<u64> =
        work.live().filter(|(_, head)| orphans::belongs(head)).map(|(slot, _)| slot).collect();
    let free: Vec<u64> =
        work.heads.iter().filter(|(_, head)| head.kind().is_none()).map(|(slot, _)| *slot).collect();
    for (slot, head) in &mut work.heads {
        if head.kind().is_some() && !orphans::belongs(head) {
            head.set_next(None);
            head.set_previous(None);
        }
        if head.unlinked() || head.kind().is_none() {
            head.set_chain(None);
        }
        debug_assert_eq!(*slot, head.slot.0);
    }
    list(work, RootWord::Orphans, "orphan-list", &orphans);
    list(work, RootWord::FreeSlots, "free-slot-list", &free);
    Ok(())
}

/// Makes sure that no two objects have the same number, and that the next new number is higher than all.
fn numbers<W: Words>(work: &mut Work<'_, W>) -> Result {
    let (mut next, mut met) = (work.next, HashSet::new());
    let slots: Vec<u64> = work.live().map(|(slot, _)| slot).collect();
    for slot in slots {
        let head = work.heads.get_mut(&slot).expect("it is live");
        if !is_number(head.id()) || !met.insert(head.id()) {
            let detail = format!(
                "object {} gets the number {next}: another one has its own, or none can have it",
                head.id()
            );
            work.repairs.say("object-number", head.slot.offset(), detail);
            head.set_id(next);
            met.insert(next);
            next += 1;
        }
    }
    work.next = next;
    if work.words.root(RootWord::NextObject)? != next {
        let at = work.words.roots().at(RootWord::NextObject);
        work.repairs.say("next-number", at, format!("the next new object gets the number {next}"));
        work.script.turn.push(Step::Root(RootWord::NextObject, next));
    }
    Ok(())
}

/// A number that no object has.
pub(super) fn next_number<W: Words>(work: &Work<'_, W>) -> Result<u64> {
    let highest = work.live().map(|(_, head)| head.id()).filter(|id| is_number(*id)).max().unwrap_or(0);
    let next = work.words.root(RootWord::NextObject)?;
    Ok(if is_number(next) && next > highest { next } else { highest + NUMBERS_LEFT_OUT })
}

/// Whether an object can have this number. Behind the highest there is room for those that are left out.
pub(super) const fn is_number(number: u64) -> bool {
    0 < number && number < COUNTER_MAX - NUMBERS_LEFT_OUT
}

/// Makes sure that every object that should have a name has a readable one of its own.
fn names<W: Words>(work: &mut Work<'_, W>) -> Result {
    // Of two objects with the same name the complete one keeps it; of two complete ones the newer.
    let mut slots: Vec<_> = work.live().filter(|(_, head)| !head.unlinked()).collect();
    slots.sort_by_key(|(_, head)| (head.damaged(), u64::MAX - head.id()));
    let slots: Vec<u64> = slots.into_iter().map(|(slot, _)| slot).collect();
    let (mut taken, mut beside) = (HashSet::new(), HashMap::<u64, usize>::new());
    let mut nameless = Vec::new();
    for slot in slots {
        let head = &work.heads[&slot];
        let collides = beside.entry(last_level(head.hash())).or_default();
        match new_or_own_name(work, slot)? {
            Some(name) if *collides < CHAIN_MAX && taken.insert(name.clone()) => *collides += 1,
            _ => nameless.push(slot),
        }
    }
    let mut n = 0;
    for slot in nameless {
        let name = loop {
            n += 1;
            let name = found_name(n);
            if taken.insert(name.clone()) {
                break name;
            }
        };
        let mut head = work.heads.remove(&slot).expect("it is live");
        let words = head.renamed(work.words, &name, None)?;
        work.names.insert(slot, words);
        let detail = format!(
            "object {} gets the name {:?}: its own cannot be read, or another object has it",
            head.id(),
            String::from_utf8_lossy(&name)
        );
        work.repairs.say("object-renamed", head.slot.offset(), detail);
        work.heads.insert(slot, head);
    }
    Ok(())
}

/// The name of a record: the one that this repair gives it, or the one on the medium.
fn new_or_own_name<W: Words>(work: &Work<'_, W>, slot: u64) -> Result<Option<Vec<u8>>> {
    match &work.found {
        Some((found, name)) if *found == slot => Ok(Some(name.clone())),
        _ => readable(work.heads[&slot].name(work.words)),
    }
}

/// The bits of a hash that the directory uses. Names that have the same ones are on one chain of the last level.
const fn last_level(hash: u64) -> u64 {
    hash & ((1 << (BITS * LEVELS)) - 1)
}

fn found_name(n: u64) -> Vec<u8> {
    format!("lost+found-{n}").into_bytes()
}

/// The first name `lost+found-N` that no object has.
pub(super) fn free_name<W: Words>(work: &Work<'_, W>) -> Result<Vec<u8>> {
    let mut taken = BTreeSet::new();
    for (_, head) in work.live() {
        taken.extend(readable(head.name(work.words))?);
    }
    let free = (1..).map(found_name).find(|name| !taken.contains(name));
    Ok(free.unwrap_or_default())
}

/// A node of `level` with these records, each a hash and a slot.
fn node<W: Words>(work: &mut Work<'_, W>, level: u32, records: Vec<(u64, u64)>) -> Result<FrameNo> {
    let node = work.space.take()?;
    work.script.built.push(Step::Node(node, Node::PLACES));
    let mut buckets: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
    for (hash, slot) in records {
        buckets.entry((hash >> (BITS * level)) % WORDS).or_default().push((hash, slot));
    }
    for bucket in buckets.into_values() {
        let at = word_at(node, bucket[0].0, level);
        let below = if bucket.len() > CHAIN && level + 1 < LEVELS {
            Slot::Node(self::node(work, level + 1, bucket)?)
        } else {
            Slot::Chain(chain(work, &bucket))
        };
        let word = below.word(work.words.salt(), at);
        work.script.built.push(Step::Word(at, word));
    }
    Ok(node)
}

/// Makes a chain of these records and returns its first.
fn chain<W: Words>(work: &mut Work<'_, W>, records: &[(u64, u64)]) -> ObjectSlot {
    let mut next = None;
    for (_, slot) in records.iter().rev() {
        let head = work.heads.get_mut(slot).expect("it is live");
        head.set_chain(next);
        next = Some(head.slot);
    }
    ObjectSlot(records[0].1)
}

/// Makes a list of these records, and its head.
fn list<W: Words>(work: &mut Work<'_, W>, word: RootWord, what: &'static str, slots: &[u64]) {
    let slot = |n: Option<usize>| n.and_then(|n| slots.get(n)).map(|slot| ObjectSlot(*slot));
    for (n, own) in slots.iter().enumerate() {
        let head = work.heads.get_mut(own).expect("it is a slot");
        head.set_previous(slot(n.checked_sub(1)));
        head.set_next(slot(Some(n + 1)));
    }
    work.script.turn.push(Step::Head(word, 0));
    work.script.ways.push(Step::Head(word, ObjectSlot::stored(slot(Some(0)))));
    let at = work.words.roots().at(word);
    work.repairs.say(what, at, format!("made anew, with {} records", slots.len()));
}
