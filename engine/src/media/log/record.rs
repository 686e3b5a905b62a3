//! Records: what the log consists of.
//!
//! ```text
//!  0 epoch u64           random, new for each opening that writes, so that no record of a former life joins the chain
//!  8 sequence u64        one more than the predecessor's: detects a gap
//! 16 predecessor u32     the predecessor's checksum: detects a record of another history
//! 20 bytes u32           of the whole record, a multiple of 8
//! 24 kind u32            1 changes, 2 mark
//! 28 entries u32
//! 32 covers u64          of a mark: the highest sequence it commits; else 0
//! 40 entries             a head word {tag: top 8 bits, byte offset in the region: the rest}
//!                        1 word     followed by the word's value
//!                        2 zero     the whole frame becomes zero
//!                        3 lines    whole cache lines of one frame; the low 6 bits of the offset, which are free, hold
//!                                   their number less one; followed by their bytes
//!                        4 payload  a run of frames that holds only entries of tag 3; followed by their
//!                                   bytes u32 and crc32c u32
//!                        5 node     the frame becomes a node in which nothing is; followed by the tree u64 (0: its words
//!                                   are bound to their places), and the first word's prefix << 3 | level u64
//!                        6 root     the word at this byte offset in both roots; followed by its value
//! .. checksum u32        crc32c of all before it: detects a torn or rotten record
//! .. padding u32
//! ```

use crate::media::seal::Node;
use crate::units::{FRAME_SIZE, FrameNo, LINE_SIZE, LINES_PER_FRAME};

const HEADER_BYTES: usize = 40;
const TRAILER_BYTES: usize = 8;
/// Bytes of a mark.
pub const MARK_BYTES: u64 = (HEADER_BYTES + TRAILER_BYTES) as u64;
/// Bytes of a word's entry: a record's room is counted in these. A node takes as much as [`NODE_ENTRIES`] words.
pub const ENTRY_BYTES: u64 = 16;
/// See [`ENTRY_BYTES`].
pub const NODE_ENTRIES: usize = 2;
/// Bytes of an entry's head.
pub const HEAD_BYTES: usize = 8;

const TAG_WORD: u64 = 1;
const TAG_ZERO: u64 = 2;
const TAG_LINES: u64 = 3;
const TAG_PAYLOAD: u64 = 4;
const TAG_NODE: u64 = 5;
const TAG_ROOT: u64 = 6;
const TAG_SHIFT: u32 = 56;

/// Number of a record. It grows by one with each record, over the whole life of the region.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The record after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// One change that a record carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// The word at this byte offset gets this value.
    Word(u64, u64),
    /// The frame becomes all zero.
    Zero(FrameNo),
    /// The lines from this byte offset on, all of one frame, get these bytes.
    Lines(u64, Box<[u8]>),
    /// The lines in this payload.
    Payload(Extent),
    /// The frame becomes a node in which nothing is.
    Node(FrameNo, Node),
    /// The word at this byte offset in both roots gets this value.
    Root(u64, u64),
}

/// Why bytes are not taken as a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// Their checksum is wrong, or they hold what no record may hold.
    NoRecord,
    /// They are a record with an entry of this tag, which this release does not know.
    Unknown(u8),
}

/// Frames with lines of a record that is too large for the ring. They were durable before the record was appended, so the
/// checksum detects damage, not a crash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// The first frame.
    pub frame: FrameNo,
    /// Bytes used, from the first on.
    pub bytes: u32,
    /// Their crc32c.
    pub checksum: u32,
}

impl Entry {
    /// Its bytes in a record.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Zero(_) => HEAD_BYTES,
            Self::Word(..) | Self::Payload(_) | Self::Root(..) => 2 * HEAD_BYTES,
            Self::Node(..) => 3 * HEAD_BYTES,
            Self::Lines(_, lines) => HEAD_BYTES + lines.len(),
        }
    }
}

/// Where a record stands in the chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Link {
    /// Epoch of the opening that wrote it.
    pub epoch: u64,
    /// Its number.
    pub sequence: Sequence,
    /// Checksum of the record before it.
    pub predecessor: u32,
}

/// A record's content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// One operation.
    Changes(Vec<Entry>),
    /// Commits all records up to this one.
    Mark(Sequence),
}

/// Bytes of a record with these entries.
#[must_use]
pub fn encoded_bytes(entries: &[Entry]) -> u64 {
    let entries: usize = entries.iter().map(Entry::bytes).sum();
    (HEADER_BYTES + entries + TRAILER_BYTES) as u64
}

/// A record's bytes and its checksum.
#[must_use]
pub fn encode(link: Link, content: &Content) -> (Vec<u8>, u32) {
    let (kind, covers, entries): (u32, u64, &[Entry]) = match content {
        Content::Changes(entries) => (1, 0, entries),
        Content::Mark(covers) => (2, covers.0, &[]),
    };
    let bytes = encoded_bytes(entries);
    let mut out = Vec::with_capacity(bytes as usize);
    out.extend_from_slice(&link.epoch.to_le_bytes());
    out.extend_from_slice(&link.sequence.0.to_le_bytes());
    out.extend_from_slice(&link.predecessor.to_le_bytes());
    out.extend_from_slice(&(bytes as u32).to_le_bytes());
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&(entries.len() as u32).to_le_bytes());
    out.extend_from_slice(&covers.to_le_bytes());
    entries.iter().for_each(|entry| encode_entry(&mut out, entry));
    let checksum = crc32c::crc32c(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    (out, checksum)
}

fn encode_entry(out: &mut Vec<u8>, entry: &Entry) {
    match entry {
        Entry::Word(offset, value) => {
            out.extend_from_slice(&(TAG_WORD << TAG_SHIFT | offset).to_le_bytes());
            out.extend_from_slice(&value.to_le_bytes());
        }
        Entry::Zero(frame) => {
            out.extend_from_slice(&(TAG_ZERO << TAG_SHIFT | frame.offset()).to_le_bytes());
        }
        Entry::Lines(offset, bytes) => encode_lines(out, *offset, bytes),
        Entry::Payload(extent) => {
            out.extend_from_slice(&(TAG_PAYLOAD << TAG_SHIFT | extent.frame.offset()).to_le_bytes());
            out.extend_from_slice(&extent.bytes.to_le_bytes());
            out.extend_from_slice(&extent.checksum.to_le_bytes());
        }
        Entry::Node(frame, node) => {
            out.extend_from_slice(&(TAG_NODE << TAG_SHIFT | frame.offset()).to_le_bytes());
            out.extend_from_slice(&node.tree.to_le_bytes());
            out.extend_from_slice(&node.first.to_le_bytes());
        }
        Entry::Root(offset, value) => {
            out.extend_from_slice(&(TAG_ROOT << TAG_SHIFT | offset).to_le_bytes());
            out.extend_from_slice(&value.to_le_bytes());
        }
    }
}

/// Appends an entry of lines: `bytes` are whole lines of the frame in which `offset` is the first.
pub(super) fn encode_lines(out: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    debug_assert!(offset % LINE_SIZE as u64 == 0 && bytes.len() % LINE_SIZE == 0 && !bytes.is_empty());
    let count = (bytes.len() / LINE_SIZE) as u64 - 1;
    out.extend_from_slice(&(TAG_LINES << TAG_SHIFT | offset | count).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// The length that the record with these first 24 bytes claims, if the record can follow `link`.
#[must_use]
pub fn claimed_bytes(head: &[u8; 24], link: Link) -> Option<u64> {
    let bytes = u32_at(head, 20)?;
    let follows = u64_at(head, 0)? == link.epoch
        && u64_at(head, 8)? == link.sequence.0
        && u32_at(head, 16)? == link.predecessor;
    (follows && bytes >= MARK_BYTES as u32 && bytes % 8 == 0).then_some(bytes.into())
}

/// Reads a whole record.
pub fn decode(bytes: &[u8]) -> Result<(Content, u32), Refused> {
    let (kind, count, checksum) = decode_frame(bytes).ok_or(Refused::NoRecord)?;
    let body = bytes.len() - TRAILER_BYTES;
    let content = match kind {
        1 => Content::Changes(decode_entries(&bytes[HEADER_BYTES..body], count as usize)?),
        2 if count == 0 && body == HEADER_BYTES => {
            Content::Mark(Sequence(u64_at(bytes, 32).ok_or(Refused::NoRecord)?))
        }
        _ => return Err(Refused::NoRecord),
    };
    Ok((content, checksum))
}

/// Kind, number of entries and checksum, if the checksum is right.
fn decode_frame(bytes: &[u8]) -> Option<(u32, u32, u32)> {
    let body = bytes.len().checked_sub(TRAILER_BYTES).filter(|&body| body >= HEADER_BYTES)?;
    let checksum = u32_at(bytes, body)?;
    (crc32c::crc32c(&bytes[..body]) == checksum).then_some((u32_at(bytes, 24)?, u32_at(bytes, 28)?, checksum))
}

fn decode_entries(bytes: &[u8], count: usize) -> Result<Vec<Entry>, Refused> {
    let mut entries = Vec::with_capacity(count.min(bytes.len() / 8));
    let mut at = 0;
    while at < bytes.len() {
        let tag = u64_at(bytes, at).map_or(0, |head| head >> TAG_SHIFT);
        if !(TAG_WORD..=TAG_ROOT).contains(&tag) {
            return Err(Refused::Unknown(tag as u8));
        }
        let entry = decode_entry(bytes, at).ok_or(Refused::NoRecord)?;
        at += entry.bytes();
        entries.push(entry);
    }
    if entries.len() == count { Ok(entries) } else { Err(Refused::NoRecord) }
}

fn decode_entry(bytes: &[u8], at: usize) -> Option<Entry> {
    let head = u64_at(bytes, at)?;
    let offset = head & ((1 << TAG_SHIFT) - 1);
    let behind = at + HEAD_BYTES;
    let frame = || {
        let whole = offset % FRAME_SIZE as u64 == 0;
        u32::try_from(offset / FRAME_SIZE as u64).ok().filter(|_| whole).map(FrameNo)
    };
    match head >> TAG_SHIFT {
        TAG_WORD if offset % 8 == 0 => Some(Entry::Word(offset, u64_at(bytes, behind)?)),
        TAG_ZERO => frame().map(Entry::Zero),
        TAG_LINES => {
            let (first, count) = (offset & !(LINE_SIZE as u64 - 1), (offset % LINE_SIZE as u64) as usize + 1);
            let lines = bytes.get(behind..behind + count * LINE_SIZE)?;
            let inside = first as usize % FRAME_SIZE / LINE_SIZE + count <= LINES_PER_FRAME;
            inside.then(|| Entry::Lines(first, lines.into()))
        }
        TAG_PAYLOAD => {
            let (bytes, checksum) = (u32_at(bytes, behind)?, u32_at(bytes, behind + 4)?);
            frame().map(|frame| Entry::Payload(Extent { frame, bytes, checksum }))
        }
        TAG_NODE => {
            let node = Node { tree: u64_at(bytes, behind)?, first: u64_at(bytes, behind + HEAD_BYTES)? };
            frame().filter(|_| node.is_possible()).map(|frame| Entry::Node(frame, node))
        }
        TAG_ROOT if offset % 8 == 0 && offset < FRAME_SIZE as u64 => {
            Some(Entry::Root(offset, u64_at(bytes, behind)?))
        }
        _ => None,
    }
}

/// The lines in the bytes of a payload; `None` when there is anything else.
pub(super) fn decode_lines(bytes: &[u8]) -> Option<Vec<(u64, Box<[u8]>)>> {
    let (mut lines, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        match decode_entry(bytes, at)? {
            Entry::Lines(offset, image) => {
                at += HEAD_BYTES + image.len();
                lines.push((offset, image));
            }
            _ => return None,
        }
    }
    Some(lines)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entries() -> impl Strategy<Value = Vec<Entry>> {
        let word = (0u64..1 << 41, any::<u64>()).prop_map(|(o, v)| Entry::Word(o * 8, v));
        let lines =
            (any::<u32>(), 0usize..64, 1usize..64, any::<u8>()).prop_map(|(frame, first, count, byte)| {
                let count = count.min(LINES_PER_FRAME - first);
                let offset = FrameNo(frame).offset() + (first * LINE_SIZE) as u64;
                Entry::Lines(offset, vec![byte; count * LINE_SIZE].into())
            });
        let payload = (any::<u32>(), any::<u32>(), any::<u32>()).prop_map(|(frame, bytes, checksum)| {
            Entry::Payload(Extent { frame: FrameNo(frame), bytes, checksum })
        });
        let zero = any::<u32>().prop_map(|f| Entry::Zero(FrameNo(f)));
        let node =
            (any::<u32>(), any::<u64>(), 0u64..1 << 27, 0u32..4).prop_map(|(frame, tree, n, level)| {
                let node = if tree == 0 { Node::PLACES } else { Node::map(tree, n << 9, level) };
                Entry::Node(FrameNo(frame), node)
            });
        let root = (0u64..512, any::<u64>()).prop_map(|(n, value)| Entry::Root(n * 8, value));
        let any = prop_oneof![4 => word, 2 => zero, 1 => lines, 1 => payload, 1 => node, 1 => root];
        prop::collection::vec(any, 0..40)
    }

    /// A forgery: the record's bytes after `change`, with a checksum that is right for them.
    fn forged(content: &Content, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let (mut bytes, _) = encode(Link::default(), content);
        bytes.truncate(bytes.len() - TRAILER_BYTES);
        change(&mut bytes);
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes
    }

    #[test]
    fn a_record_that_says_what_none_may_say_is_refused_whatever_its_checksum() {
        let one = |entry| Content::Changes(vec![entry]);
        let put = |at: usize, value: u64| {
            move |bytes: &mut Vec<u8>| bytes[at..at + 8].copy_from_slice(&value.to_le_bytes())
        };
        let head = |tag: u64, offset: u64| put(HEADER_BYTES, tag << TAG_SHIFT | offset);
        let (frame, line) = (FRAME_SIZE as u64, LINE_SIZE as u64);
        let (word, zero) = (one(Entry::Word(frame, 1)), one(Entry::Zero(FrameNo(1))));
        let lines = one(Entry::Lines(frame, vec![1; 2 * LINE_SIZE].into()));
        let payload = one(Entry::Payload(Extent { frame: FrameNo(1), bytes: 8, checksum: 9 }));
        let mark = Content::Mark(Sequence(4));
        let node = one(Entry::Node(FrameNo(1), Node::map(5, 512, 2)));
        let root = one(Entry::Root(8, 1));
        let whole: &[(&Content, u64, u64)] = &[
            (&word, TAG_WORD, frame + 8),
            (&zero, TAG_ZERO, u64::from(u32::MAX) * frame),
            (&lines, TAG_LINES, 2 * frame - 2 * line + 1),
            (&payload, TAG_PAYLOAD, 5 * frame),
            (&node, TAG_NODE, 5 * frame),
            (&root, TAG_ROOT, frame - 8),
        ];
        for &(content, tag, offset) in whole {
            assert!(decode(&forged(content, head(tag, offset))).is_ok(), "tag {tag}, {offset:#x}");
        }
        let refused: &[(&Content, u64, u64, &str)] = &[
            (&word, TAG_WORD, frame + 4, "a word that is not aligned"),
            (&zero, TAG_ZERO, frame + 8, "a zero of a part"),
            (&zero, TAG_ZERO, (u64::from(u32::MAX) + 1) * frame, "a frame beyond all"),
            (&lines, TAG_LINES, 2 * frame - line + 1, "lines of two frames"),
            (&lines, TAG_LINES, frame + 2, "a line more than there is"),
            (&lines, TAG_LINES, frame, "a line less: what follows is no entry"),
            (&payload, TAG_PAYLOAD, frame + line, "a payload that begins within a frame"),
            (&payload, TAG_ZERO, frame, "what follows is no entry"),
            (&node, TAG_NODE, frame + 8, "a node that begins within a frame"),
            (&root, TAG_ROOT, frame, "a word behind the root"),
            (&root, TAG_ROOT, 4, "a word of the root that is not aligned"),
        ];
        for &(content, tag, offset, why) in refused {
            let refused = decode(&forged(content, head(tag, offset)));
            assert!(matches!(refused, Err(Refused::NoRecord | Refused::Unknown(0))), "{why}: {refused:?}");
        }
        let impossible = forged(&node, put(HEADER_BYTES + 16, 512 << 3 | 4));
        assert_eq!(decode(&impossible), Err(Refused::NoRecord), "a node of no level");
        for tag in [0, TAG_ROOT + 1, 0xff] {
            let unknown = Err(Refused::Unknown(tag as u8));
            assert_eq!(decode(&forged(&word, head(tag, frame))), unknown, "{tag}");
        }
        for (content, kind, count) in
            [(&word, 1, 2), (&word, 1, 0), (&word, 3, 1), (&word, 2, 0), (&mark, 2, 1), (&mark, 0, 0)]
        {
            let bytes = forged(content, put(24, kind | count << 32));
            assert_eq!(decode(&bytes), Err(Refused::NoRecord), "kind {kind} with {count} entries");
        }
        assert!(decode(&forged(&word, put(24, 1 | 1 << 32))).is_ok());
        assert!(decode(&forged(&mark, put(24, 2))).is_ok());
    }

    #[test]
    fn a_record_follows_its_predecessor_of_this_life_and_no_other() {
        let link = Link { epoch: 7, sequence: Sequence(8), predecessor: 9 };
        let (bytes, _) = encode(link, &Content::Mark(Sequence(3)));
        let head: [u8; 24] = bytes[..24].try_into().unwrap();
        assert_eq!(claimed_bytes(&head, link), Some(MARK_BYTES));
        for other in [
            Link { epoch: 6, ..link },
            Link { sequence: Sequence(7), ..link },
            Link { predecessor: 8, ..link },
        ] {
            assert_eq!(claimed_bytes(&head, other), None, "{other:?}");
        }
        for (size, claimed) in [(40, None), (47, None), (52, None), (56, Some(56))] {
            let mut head = head;
            head[20] = size;
            assert_eq!(claimed_bytes(&head, link), claimed, "{size} bytes");
        }
    }

    proptest! {
        #[test]
        fn a_record_reads_back_as_written(entries in entries(), epoch: u64, sequence: u64, predecessor: u32) {
            let link = Link { epoch, sequence: Sequence(sequence), predecessor };
            let content = Content::Changes(entries);
            let (bytes, checksum) = encode(link, &content);
            prop_assert_eq!(claimed_bytes(bytes[..24].try_into().unwrap(), link), Some(bytes.len() as u64));
            prop_assert_eq!(decode(&bytes), Ok((content, checksum)));
        }

        #[test]
        fn a_record_with_any_bit_flipped_is_refused(entries in entries(), at: prop::sample::Index, bit in 0u8..8) {
            let (mut bytes, _) = encode(Link::default(), &Content::Changes(entries));
            let padding = bytes.len() - 4;
            let i = at.index(padding);
            bytes[i] ^= 1 << bit;
            prop_assert_eq!(decode(&bytes), Err(Refused::NoRecord));
        }

        #[test]
        fn a_payload_holds_lines_and_nothing_else(entries in entries()) {
            let mut bytes = Vec::new();
            entries.iter().for_each(|entry| encode_entry(&mut bytes, entry));
            let lines = |e: &Entry| match e { Entry::Lines(at, b) => Some((*at, b.clone())), _ => None };
            let expected: Option<Vec<_>> = entries.iter().map(lines).collect();
            prop_assert_eq!(decode_lines(&bytes), expected);
        }

        #[test]
        fn garbage_is_refused_and_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(decode(&bytes), Err(Refused::NoRecord));
        }
    }
}
