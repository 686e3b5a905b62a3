//! The directory: a hash trie from names to records.
//!
//! Each level resolves 9 bits of the name's hash. A word of a node is nothing, the first record of a chain, or a
//! node of the next level. A chain that would grow beyond eight records is spread over a new node in the same
//! transaction, if a frame is to be had; if not, or below the last level, it grows. Nodes that become empty go.

use super::bitmap;
use super::layout;
use super::log::Txn;
use super::record::{Head, ObjectSlot};
use super::words::{Seal, Shape, WORDS, Words};
use crate::error::{Error, Result};
use crate::units::FrameNo;

const WHAT: &str = "directory";
/// Records in a chain before it is spread.
const CHAIN: usize = 8;
/// Longest chain that is followed: names with equal hashes do not occur by chance.
pub(crate) const CHAIN_MAX: usize = 1 << 16;
const BITS: u32 = 9;
/// Levels of nodes: 63 bits of the hash.
pub(crate) const LEVELS: u32 = 7;

const TAG_SHIFT: u32 = 46;
const TAG_RECORD: u64 = 1;
const TAG_NODE: u64 = 2;

/// What a word of a directory node holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Slot {
    /// Nothing.
    Empty,
    /// A chain that begins with this record.
    Chain(ObjectSlot),
    /// A node of the next level.
    Node(FrameNo),
}

impl Slot {
    /// Reads the word at `at`.
    pub(crate) fn read(words: &impl Words, shape: Shape, at: u64) -> Result<Self> {
        let value = Seal::Place { at }.open(words.word(at)?);
        let value = value.ok_or_else(|| Error::corrupt(WHAT, at, "check bits do not match"))?;
        let bare = value & ((1 << TAG_SHIFT) - 1);
        match value >> TAG_SHIFT {
            0 if value == 0 => Ok(Self::Empty),
            TAG_NODE => shape.frame(bare, WHAT, at).map(Self::Node),
            TAG_RECORD if bare != 0 => {
                Ok(ObjectSlot::read(shape, bare, WHAT, at)?.map_or(Self::Empty, Self::Chain))
            }
            _ => Err(Error::corrupt(WHAT, at, "neither record nor node")),
        }
    }

    fn write(self, t: &mut Txn<'_>, at: u64) -> Result {
        let value = match self {
            Self::Empty => 0,
            Self::Chain(slot) => TAG_RECORD << TAG_SHIFT | slot.0,
            Self::Node(frame) => TAG_NODE << TAG_SHIFT | u64::from(frame.0),
        };
        t.write(at, Seal::Place { at }.close(value))
    }

    fn first(self) -> Option<ObjectSlot> {
        match self {
            Self::Chain(slot) => Some(slot),
            Self::Empty | Self::Node(_) => None,
        }
    }
}

/// Byte offset of the word for `hash` in a node of `level`.
pub(crate) const fn word_at(node: FrameNo, hash: u64, level: u32) -> u64 {
    node.offset() + (hash >> (BITS * level)) % WORDS * 8
}

/// Where a hash leads.
#[derive(Debug)]
struct Bucket {
    /// Byte offset of its word.
    at: u64,
    /// The chain's first record.
    first: Option<ObjectSlot>,
    /// The nodes on the way, the root first, each with the offset of the word that names it.
    path: Vec<(u64, FrameNo)>,
}

/// The bucket of `hash`; `None` while there is no directory.
fn bucket(words: &impl Words, shape: Shape, hash: u64) -> Result<Option<Bucket>> {
    let (mut at, mut path) = (layout::ROOT_DIRECTORY, Vec::new());
    for level in 0..=LEVELS {
        match Slot::read(words, shape, at)? {
            Slot::Node(node) if level < LEVELS => {
                path.push((at, node));
                at = word_at(node, hash, level);
            }
            Slot::Node(_) => return Err(Error::corrupt(WHAT, at, "more levels than the hash has bits")),
            _ if path.is_empty() => return Ok(None),
            slot => return Ok(Some(Bucket { at, first: slot.first(), path })),
        }
    }
    Err(Error::corrupt(WHAT, at, "more levels than the hash has bits"))
}

/// The records of a chain.
fn chain(words: &impl Words, shape: Shape, first: Option<ObjectSlot>) -> Result<Vec<Head>> {
    let (mut found, mut next) = (Vec::new(), first);
    while let Some(slot) = next {
        if found.len() == CHAIN_MAX {
            return Err(Error::corrupt(WHAT, slot.offset(), "a chain does not end"));
        }
        let head = Head::live(words, slot)?;
        next = head.chain(shape)?;
        found.push(head);
    }
    Ok(found)
}

/// The record named `name`.
pub(crate) fn find(words: &impl Words, shape: Shape, name: &[u8]) -> Result<Option<Head>> {
    let hash = super::record::name_hash(name);
    let Some(bucket) = bucket(words, shape, hash)? else { return Ok(None) };
    for head in chain(words, shape, bucket.first)? {
        if head.hash() == hash && head.name(words)? == name {
            return Ok(Some(head));
        }
    }
    Ok(None)
}

/// How many frames `insert` needs for a record with this hash, and how many more are welcome.
pub(crate) fn wants(words: &impl Words, shape: Shape, hash: u64) -> Result<(usize, usize)> {
    Ok(match bucket(words, shape, hash)? {
        None => (1, 0),
        Some(bucket) => (0, usize::from(chain(words, shape, bucket.first)?.len() >= CHAIN)),
    })
}

/// The nodes that removing a record with this hash may free.
pub(crate) fn nodes_towards(words: &impl Words, shape: Shape, hash: u64) -> Result<Vec<FrameNo>> {
    let path = bucket(words, shape, hash)?.map(|bucket| bucket.path).unwrap_or_default();
    Ok(path.into_iter().map(|(_, node)| node).collect())
}

/// Puts the record into the bucket of its hash; the caller writes its head. A frame of `spare` is used for a new
/// node: needed for the first one, welcome when a chain is full.
pub(crate) fn insert(t: &mut Txn<'_>, shape: Shape, head: &mut Head, spare: &mut Vec<FrameNo>) -> Result {
    let hash = head.hash();
    let (at, first) = match bucket(t, shape, hash)? {
        None => {
            let root = add_node(t, shape, layout::ROOT_DIRECTORY, spare)?
                .ok_or_else(|| Error::NoSpace { why: "no frame for the directory".into() })?;
            (word_at(root, hash, 0), None)
        }
        Some(bucket) => {
            let full = chain(t, shape, bucket.first)?;
            let level = bucket.path.len() as u32;
            let spread = full.len() >= CHAIN && level < LEVELS;
            match if spread { add_node(t, shape, bucket.at, spare)? } else { None } {
                None => (bucket.at, bucket.first),
                Some(node) => {
                    for mut head in full {
                        let at = word_at(node, head.hash(), level);
                        head.set_chain(Slot::read(t, shape, at)?.first());
                        head.write(t)?;
                        Slot::Chain(head.slot).write(t, at)?;
                    }
                    let at = word_at(node, hash, level);
                    (at, Slot::read(t, shape, at)?.first())
                }
            }
        }
    };
    head.set_chain(first);
    Slot::Chain(head.slot).write(t, at)
}

/// Makes a `spare` frame a node that the word at `at` names.
fn add_node(t: &mut Txn<'_>, shape: Shape, at: u64, spare: &mut Vec<FrameNo>) -> Result<Option<FrameNo>> {
    let Some(node) = spare.pop() else { return Ok(None) };
    bitmap::set(t, shape, [node].into_iter())?;
    t.zero(node)?;
    Slot::Node(node).write(t, at)?;
    Ok(Some(node))
}

/// Takes the record out of its bucket; the caller writes its head. Returns the nodes that became free.
pub(crate) fn remove(t: &mut Txn<'_>, shape: Shape, head: &mut Head) -> Result<Vec<FrameNo>> {
    let missing = || Error::corrupt(WHAT, head.slot.offset(), "the record is not in the bucket of its hash");
    let bucket = bucket(t, shape, head.hash())?.ok_or_else(missing)?;
    let next = head.chain(shape)?;
    let mut chain = chain(t, shape, bucket.first)?;
    let place = chain.iter().position(|other| other.slot == head.slot).ok_or_else(missing)?;
    head.set_chain(None);
    if place > 0 {
        chain[place - 1].set_chain(next);
        chain[place - 1].write(t)?;
        return Ok(Vec::new());
    }
    next.map_or(Slot::Empty, Slot::Chain).write(t, bucket.at)?;
    let mut freed = Vec::new();
    if next.is_none() {
        // The root stays, so that a directory that has had names needs no frame for the next one.
        for &(at, node) in bucket.path[1..].iter().rev() {
            if !is_empty(t, node)? {
                break;
            }
            Slot::Empty.write(t, at)?;
            freed.push(node);
        }
        bitmap::clear(t, shape, freed.iter().copied())?;
    }
    Ok(freed)
}

fn is_empty(t: &Txn<'_>, node: FrameNo) -> Result<bool> {
    for i in 0..WORDS {
        if t.read(node.offset() + i * 8)? != 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Every record that has a name. `one_moment` runs each look at one bucket or node.
pub(crate) fn list(
    words: &impl Words,
    shape: Shape,
    one_moment: impl Fn(&dyn Fn() -> Result<Vec<super::ObjectRecord>>) -> Result<Vec<super::ObjectRecord>>,
) -> Result<Vec<super::ObjectRecord>> {
    let mut found = Vec::new();
    let mut open = vec![(layout::ROOT_DIRECTORY, 0)];
    while let Some((at, level)) = open.pop() {
        match Slot::read(words, shape, at)? {
            Slot::Empty => {}
            Slot::Node(_) if level >= LEVELS => {
                return Err(Error::corrupt(WHAT, at, "more levels than the hash has bits"));
            }
            Slot::Node(node) => open.extend((0..WORDS).rev().map(|i| (node.offset() + i * 8, level + 1))),
            Slot::Chain(first) => found.extend(one_moment(&|| {
                chain(words, shape, Some(first))?.iter().map(|head| head.show(words)).collect()
            })?),
        }
    }
    Ok(found)
}
