//! The directory: a hash trie from names to records.
//!
//! Each level resolves 9 bits of the name's hash. A word of a node is empty, or names the first record of a chain or a
//! node of the next level. A chain that would grow beyond eight records is spread over a new node in the same
//! transaction, if there is a frame for it. If there is none, or below the last level, the chain grows up to 64 records.
//! Nodes that become empty are freed.
//!
//! The hash has a key in the file. Without the file, names that meet on the last level cannot be made on purpose. With
//! the file they can: then the 65th is refused, and a lookup of the others reads at most 64 records.

use super::bitmap;
use super::layout::{DIRECTORY_FRAME, RootWord};
use super::log::{Log, Txn};
use super::record::{Head, ObjectSlot};
use super::rules::Rule;
use super::seal::{Node, Salt};
use super::words::{Shape, WORDS, Words, unsealed};
use crate::error::{Error, Result};
use crate::units::FrameNo;

const WHAT: &str = "directory";
/// Records in a chain before it is spread.
pub(crate) const CHAIN: usize = 8;
/// The longest chain that is made or followed.
pub(crate) const CHAIN_MAX: usize = 64;
/// Changes for each record that is spread: its link, its checksum, the word of the node.
const SPREAD: usize = 3;
const SPREAD_BESIDES: usize = 32;
/// The most changes in the same record before these: a name, a frame of free slots.
const BEFORE_SPREAD: usize = 80;
const BITS: u32 = 9;
/// Levels of nodes: 63 bits of the hash.
pub(crate) const LEVELS: u32 = 7;

const TAG_SHIFT: u32 = 40;
const TAG_RECORD: u64 = 1;
const TAG_NODE: u64 = 2;

/// The content of a word of a directory node.
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
        let word = words.word(at)?;
        let value = words.salt().place(at).open(word).ok_or_else(|| unsealed(WHAT, at, word))?;
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
        t.write(at, self.word(t.salt(), at))
    }

    /// As a word at byte `at`.
    pub(crate) fn word(self, salt: Salt, at: u64) -> u64 {
        let value = match self {
            Self::Empty => 0,
            Self::Chain(slot) => TAG_RECORD << TAG_SHIFT | slot.0,
            Self::Node(frame) => TAG_NODE << TAG_SHIFT | u64::from(frame.0),
        };
        salt.place(at).close(value)
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

/// The place to which a hash leads.
#[derive(Debug)]
struct Bucket {
    /// Byte offset of its word.
    at: u64,
    /// The chain's first record.
    first: Option<ObjectSlot>,
    /// The nodes on the way below the root, each with the offset of the word that names it.
    path: Vec<(u64, FrameNo)>,
}

/// The root node.
pub(crate) fn root(words: &impl Words, shape: Shape) -> Result<FrameNo> {
    let value = words.root(RootWord::Directory)?;
    if value == u64::from(DIRECTORY_FRAME.0) {
        return Ok(DIRECTORY_FRAME);
    }
    shape.frame(value, WHAT, words.roots().at(RootWord::Directory))
}

/// The bucket of `hash`.
fn bucket(words: &impl Words, shape: Shape, hash: u64) -> Result<Bucket> {
    let mut at = word_at(root(words, shape)?, hash, 0);
    let mut path = Vec::new();
    for level in 1..=LEVELS {
        match Slot::read(words, shape, at)? {
            Slot::Node(node) if level < LEVELS => {
                path.push((at, node));
                at = word_at(node, hash, level);
            }
            Slot::Node(_) => break,
            slot => return Ok(Bucket { at, first: slot.first(), path }),
        }
    }
    Err(Error::corrupt(WHAT, at, "more levels than the hash has bits"))
}

/// The records of a chain.
fn chain(words: &impl Words, shape: Shape, first: Option<ObjectSlot>) -> Result<Vec<Head>> {
    let (mut found, mut next) = (Vec::new(), first);
    while let Some(slot) = next {
        if found.len() == CHAIN_MAX {
            return Err(Error::corrupt(WHAT, slot.offset(), "a chain of more records than one may have"));
        }
        let head = Head::live(words, slot)?;
        next = head.chain(shape)?;
        found.push(head);
    }
    Ok(found)
}

/// The record named `name`.
pub(crate) fn find(words: &impl Words, shape: Shape, name: &[u8]) -> Result<Option<Head>> {
    let hash = words.hash(name);
    for head in chain(words, shape, bucket(words, shape, hash)?.first)? {
        if head.hash() == hash && head.name(words)? == name {
            return Ok(Some(head));
        }
    }
    Ok(None)
}

/// How many spare frames `insert` can use for a record with this hash.
pub(crate) fn wants(words: &impl Words, shape: Shape, hash: u64) -> Result<usize> {
    let bucket = bucket(words, shape, hash)?;
    let full = chain(words, shape, bucket.first)?.len() >= CHAIN;
    Ok(usize::from(full && (bucket.path.len() as u32) < LEVELS - 1))
}

/// The nodes that may become free when a record with this hash is removed.
pub(crate) fn nodes_towards(words: &impl Words, shape: Shape, hash: u64) -> Result<Vec<FrameNo>> {
    Ok(bucket(words, shape, hash)?.path.into_iter().map(|(_, node)| node).collect())
}

/// Puts the record, whose name is `name`, into the bucket of its hash. The caller writes its head. With a frame of
/// `spare`, a full chain is spread over a new node. A chain of the greatest length takes no further record, so that all
/// that is put into the directory can be read back.
///
/// # Errors
/// `NameCollision` on the last level; `NoSpace` if there is no frame for a node.
pub(crate) fn insert(
    t: &mut Txn<'_>,
    shape: Shape,
    head: &mut Head,
    name: &[u8],
    spare: &mut Vec<FrameNo>,
) -> Result {
    let bucket = bucket(t, shape, head.hash())?;
    let mut level = bucket.path.len() as u32 + 1;
    let mut at = bucket.at;
    let chain = chain(t, shape, bucket.first)?;
    let mut beside = chain.len();
    if chain.len() >= CHAIN && level < LEVELS && SPREAD * chain.len() + SPREAD_BESIDES <= t.room() {
        if let Some(node) = add_node(t, shape, at, spare)? {
            at = word_at(node, head.hash(), level);
            level += 1;
            beside = chain.iter().filter(|other| word_at(node, other.hash(), level - 1) == at).count();
            for mut head in chain {
                add_to_chain(t, shape, word_at(node, head.hash(), level - 1), &mut head)?;
                head.write(t)?;
            }
        }
    }
    if beside >= longest(t.log()) && !t.log().rules().broken(Rule::ChainUnbounded) {
        return Err(if level < LEVELS {
            let why =
                format!("{beside} names lie where this one belongs, and no frame is left to spread them");
            Error::NoSpace { why }
        } else {
            Error::NameCollision { name: String::from_utf8_lossy(name).into_owned(), names: beside }
        });
    }
    add_to_chain(t, shape, at, head)
}

/// The longest chain that is made in a region with this log: one log record must be able to spread it.
pub(crate) fn longest(log: &Log) -> usize {
    (log.entries_max().saturating_sub(BEFORE_SPREAD + SPREAD_BESIDES) / SPREAD).clamp(CHAIN, CHAIN_MAX)
}

/// Puts the record in front of the chain at `at`.
fn add_to_chain(t: &mut Txn<'_>, shape: Shape, at: u64, head: &mut Head) -> Result {
    head.set_chain(Slot::read(t, shape, at)?.first());
    Slot::Chain(head.slot).write(t, at)
}

/// Makes one of the `spare` frames a node, which the word at `at` names.
fn add_node(t: &mut Txn<'_>, shape: Shape, at: u64, spare: &mut Vec<FrameNo>) -> Result<Option<FrameNo>> {
    let Some(node) = spare.pop() else { return Ok(None) };
    bitmap::set(t, shape, [node].into_iter())?;
    t.node(node, Node::PLACES)?;
    Slot::Node(node).write(t, at)?;
    Ok(Some(node))
}

/// Takes the record out of its bucket. The caller writes its head. Returns the nodes that became free.
pub(crate) fn remove(t: &mut Txn<'_>, shape: Shape, head: &mut Head) -> Result<Vec<FrameNo>> {
    let missing = || Error::corrupt(WHAT, head.slot.offset(), "the record is not in the bucket of its hash");
    let bucket = bucket(t, shape, head.hash())?;
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
        for &(at, node) in bucket.path.iter().rev() {
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
    Ok(used_words(t, node)?.next().is_none())
}

/// The words of a node that are not empty, by their numbers. Damaged words are among them.
pub(crate) fn used_words<W: Words>(words: &W, node: FrameNo) -> Result<impl Iterator<Item = u64> + use<W>> {
    let (salt, found) = (words.salt(), words.frame(node)?);
    let used = (0..).zip(found).filter(move |&(n, word)| word != salt.place(node.offset() + n * 8).nothing());
    Ok(used.map(|(n, _)| n))
}

/// A place in the directory: the digits of a hash, with that of the first level as the highest. Names are walked in this
/// order. A change of other names does not move it: a bucket is a range of places, whether it is a chain or spread over
/// nodes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub(crate) struct Place(u64);

impl Place {
    /// Behind all hashes.
    const END: u64 = 1 << (BITS * LEVELS);

    fn of(hash: u64) -> Self {
        Self((0..LEVELS).fold(0, |place, level| (place << BITS) | ((hash >> (BITS * level)) % WORDS)))
    }

    /// The digit that selects the word in a node of `level`.
    const fn digit(self, level: u32) -> u64 {
        (self.0 >> (BITS * (LEVELS - 1 - level))) % WORDS
    }

    /// How many places a word in a node of `level` covers.
    const fn span(level: u32) -> u64 {
        1 << (BITS * (LEVELS - 1 - level))
    }
}

/// The names of about `limit` records from `from` on, and the place to go on from (`None` at the end). The lock of name
/// changes keeps the directory as it is. `one_moment` runs each look at one chain.
pub(crate) fn portion(
    words: &impl Words,
    shape: Shape,
    from: Place,
    limit: usize,
    one_moment: impl Fn(&dyn Fn() -> Result<Vec<Head>>) -> Result<Vec<Head>>,
) -> Result<(Vec<Head>, Option<Place>)> {
    let (mut found, mut place) = (Vec::new(), from);
    for _ in 0..limit {
        if place.0 >= Place::END || found.len() >= limit {
            break;
        }
        let (mut node, mut level) = (root(words, shape)?, 0);
        let first = loop {
            let at = node.offset() + place.digit(level) * 8;
            match Slot::read(words, shape, at)? {
                Slot::Node(_) if level + 1 >= LEVELS => {
                    return Err(Error::corrupt(WHAT, at, "more levels than the hash has bits"));
                }
                Slot::Node(below) => (node, level) = (below, level + 1),
                slot => break slot.first(),
            }
        };
        let span = Place::span(level);
        if let Some(first) = first {
            let heads = one_moment(&|| chain(words, shape, Some(first)))?;
            // Otherwise a node that many words name would be walked again and again.
            if let Some(head) = heads.iter().find(|head| Place::of(head.hash()).0 / span != place.0 / span) {
                let why = "the record is in the bucket of another hash";
                return Err(Error::corrupt(WHAT, head.slot.offset(), why));
            }
            found.extend(heads.into_iter().filter(|head| Place::of(head.hash()) >= place));
        }
        // Go on behind this word and the empty words that follow it.
        let mut used = used_words(words, node)?.peekable();
        if level > 0 && used.peek().is_none() {
            return Err(Error::corrupt(WHAT, node.offset(), "a node without a record"));
        }
        let next = used.find(|&digit| digit > place.digit(level)).unwrap_or(WORDS);
        let skipped = next - place.digit(level);
        place = Place((place.0 / span + skipped) * span);
    }
    Ok((found, Some(place).filter(|place| place.0 < Place::END)))
}
