//! Log header, lease, cursor and log, and what the log's records change.

use super::checks::{mix, sum};
use super::facts::Facts;
use super::tables::{Page, low};
use super::view::View;
use super::{Result, same};

/// What a record does to the image: bytes at a place.
struct Change {
    at: u64,
    bytes: Vec<u8>,
    /// Whether it is done even for a record that the cursor has passed: nothing but records changes words.
    always: bool,
}

/// Where the log begins.
struct Tail {
    epoch: u64,
    sequence: u64,
    predecessor: u64,
    position: u64,
}

/// Reads header, lease, cursor and log, and applies the records.
pub fn replay(page: &Page, image: &mut [u8], facts: &Facts) -> Result {
    let view = View::new(page, image)?;
    let tail = tail(&view, facts)?;
    let least = tail.sequence - 1;
    let records = records(&view, &tail)?;
    let applied = cursor(&view, &tail)?;
    same("the cursor", (least..=least + records.len() as u64).contains(&applied), true)?;
    let changes = records.iter().filter(|record| record.0 == Kind::Changes).count() as u64;
    same("operations in the log", changes, facts.operations)?;
    lease(&view, &tail, facts)?;
    let mut all = Vec::new();
    for (sequence, (_, changes)) in (tail.sequence..).zip(records) {
        all.extend(changes.into_iter().filter(|change| change.always || sequence > applied));
    }
    for change in all {
        let at = change.at as usize..change.at as usize + change.bytes.len();
        image.get_mut(at).ok_or("a change behind the end")?.copy_from_slice(&change.bytes);
    }
    Ok(())
}

fn tail(view: &View<'_>, facts: &Facts) -> Result<Tail> {
    const WHAT: &str = "Log header";
    let page = view.page;
    let headers = ["log header A", "log header B"].map(|frame| view.sector(WHAT, frame, "log header magic"));
    let [a, b] = headers;
    let bases = [a?, b?];
    let field = |base, name| view.field(WHAT, base, name);
    for base in bases {
        same("the first frame of the log", field(base, "log first")?, page.frame("log")?)?;
        same("the frames of the log", field(base, "log frames")?, facts.log_frames)?;
    }
    let counters = [field(bases[0], "counter")?, field(bases[1], "counter")?];
    same("the counters", counters[0].abs_diff(counters[1]), 1)?;
    let tails = bases.map(|base| {
        let field = |name| field(base, name).unwrap_or(u64::MAX);
        let (epoch, sequence) = (field("epoch"), field("sequence"));
        Tail { epoch, sequence, predecessor: field("predecessor"), position: field("position") }
    });
    let of = |tail: &Tail| (tail.epoch, tail.sequence, tail.predecessor, tail.position);
    if facts.closed {
        same("the tails at rest", of(&tails[0]), of(&tails[1]))?;
    }
    let [a, b] = tails;
    let tail = if counters[0] > counters[1] { a } else { b };
    // The first record has the number 1.
    same("the number of a record", tail.sequence > 0, true)?;
    Ok(tail)
}

fn lease(view: &View<'_>, tail: &Tail, facts: &Facts) -> Result {
    let base = view.sector("Lease", "lease", "lease magic")?;
    let field = |name| view.field("Lease", base, name);
    let state = if facts.closed { "lease clean" } else { "lease open" };
    same("the state of the lease", field("state")?, view.page.value(state)?)?;
    same("the epoch of the lease", field("epoch")?, tail.epoch)?;
    same("the boot", view.field_bytes("Lease", base, "boot")?, &facts.identity.boot[..])?;
    for (name, expected) in facts.lease() {
        same(name, field(name)?, expected)?;
    }
    Ok(())
}

/// The number in the cursor.
fn cursor(view: &View<'_>, tail: &Tail) -> Result<u64> {
    let page = view.page;
    let word = view.word(page.frame("cursor")? * view.frame)?;
    let (number, check) = (page.part("Cursor", "number")?, page.part("Cursor", "check")?);
    let bits = number.end - number.start;
    let least = tail.sequence - 1;
    let mut sequence = least >> bits << bits | page.bits("Cursor", word, "number")?;
    sequence += if sequence < least { 1 << bits } else { 0 };
    let expected = mix(view.salt ^ tail.epoch ^ sequence) >> (64 - (check.end - check.start));
    same("the check of the cursor", page.bits("Cursor", word, "check")?, expected)?;
    let rest = view.bytes(page.frame("cursor")? * view.frame + view.word, view.frame - view.word)?;
    same("what is behind the cursor", rest.iter().all(|byte| *byte == 0), true)?;
    Ok(sequence)
}

#[derive(PartialEq, Eq)]
enum Kind {
    Changes,
    Mark,
}

/// The records from the tail on.
fn records(view: &View<'_>, tail: &Tail) -> Result<Vec<(Kind, Vec<Change>)>> {
    const WHAT: &str = "Log records";
    let page = view.page;
    let first = page.frame("log")? * view.frame;
    let size = view.field("Superblock", view.superblock, "log frames")? * view.frame;
    let ring = view.bytes(first, size)?;
    let head: u64 = page.rows[WHAT].iter().map(|row| row.size).sum();
    let end: u64 = page.rows["Record end"].iter().map(|row| row.size).sum();
    let (mut at, mut records, mut predecessor) = (0, Vec::new(), tail.predecessor);
    // Around the end of the ring.
    let (front, back) =
        ring.split_at((tail.position.checked_rem(size).ok_or("a log of no frames")?) as usize);
    let ring = [back, front].concat();
    while at + head + end <= size {
        let bytes = &ring[at as usize..];
        let whole = View { image: bytes, ..*view };
        let field = |name| whole.field(WHAT, 0, name);
        let sequence = tail.sequence + records.len() as u64;
        let link = (field("epoch")?, field("sequence")?, field("predecessor")?);
        let len = field("bytes")?;
        if link != (tail.epoch, sequence, predecessor) || len < head + end || len > size / 4 || len % 8 != 0 {
            break;
        }
        let body = len - end;
        let found = whole.field("Record end", body, "sum")?;
        if found != sum(&[], whole.bytes(0, body)?) {
            break;
        }
        whole.reserved("Record end", body)?;
        let kind = if field("kind")? == page.value("mark")? { Kind::Mark } else { Kind::Changes };
        if kind == Kind::Changes {
            same("the kind of a record", field("kind")?, page.value("changes")?)?;
            same("what changes cover", field("covers")?, 0)?;
        } else {
            same("what a mark covers", (1..sequence).contains(&field("covers")?), true)?;
            same("entries of a mark", field("entries")?, 0)?;
        }
        let (changes, entries) = entries(view, &bytes[head as usize..body as usize])?;
        same("the entries of a record", entries, field("entries")?)?;
        records.push((kind, changes));
        (at, predecessor) = (at + len, found);
    }
    Ok(records)
}

/// The changes of these entries, and the number of entries.
fn entries(view: &View<'_>, bytes: &[u8]) -> Result<(Vec<Change>, u64)> {
    let page = view.page;
    let (mut changes, mut at, mut count) = (Vec::new(), 0, 0);
    let entry = View { image: bytes, ..*view };
    while at < bytes.len() as u64 {
        let head = entry.word(at)?;
        let (place, tag) = (page.bits("Entry head", head, "place")?, page.bits("Entry head", head, "tag")?);
        let is = |name| page.value(name).map(|value| value == tag);
        let behind = at + view.word;
        let mut add = |at, bytes: &[u8], always| changes.push(Change { at, bytes: bytes.to_vec(), always });
        let taken = if is("tag word")? {
            add(place, entry.bytes(behind, 8)?, true);
            8
        } else if is("tag root")? {
            let value = entry.bytes(behind, 8)?;
            view.roots.iter().for_each(|root| add(root + place, value, true));
            8
        } else if is("tag zero")? {
            add(place, &vec![0; view.frame as usize], false);
            0
        } else if is("tag node")? {
            let node = empty_node(view, place, entry.word(behind)?, entry.word(behind + 8)?);
            add(place, &node, false);
            16
        } else if is("tag lines")? {
            let (line, taken) = lines(view, &entry, place, behind)?;
            add(line, entry.bytes(behind, taken)?, false);
            taken
        } else if is("tag payload")? {
            let (len, said) = (entry.number(behind, 4)?, entry.number(behind + 4, 4)?);
            let payload = view.bytes(place, len)?;
            same("the sum of a payload", sum(&[], payload), said)?;
            changes.extend(entries(view, payload)?.0);
            8
        } else {
            return Err(format!("an entry with the tag {tag}"));
        };
        at = behind + taken;
        count += 1;
    }
    Ok((changes, count))
}

/// The place of an entry's lines, and the number of their bytes.
fn lines(view: &View<'_>, entry: &View<'_>, place: u64, behind: u64) -> Result<(u64, u64)> {
    let line = view.page.value("line size")?;
    let bits = u64::from(line.trailing_zeros());
    let bytes = (low(place, bits) + 1) * line;
    entry.bytes(behind, bytes)?;
    Ok((place >> bits << bits, bytes))
}

/// The bytes of an empty node.
fn empty_node(view: &View<'_>, at: u64, tree: u64, first: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for n in 0..view.frame / view.word {
        let seed = match tree {
            0 => view.seals.place(at + n * view.word),
            tree => view.seals.map(tree, (first >> 3) + n, low(first, 3)),
        };
        bytes.extend(view.seals.nothing(seed).to_le_bytes());
    }
    bytes
}
