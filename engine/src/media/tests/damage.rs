//! `check` names what is wrong, and nothing panics or loops on a damaged region.

use super::*;
use crate::media::check::DEFECTS;
use crate::media::directory::{self, Slot};
use crate::media::layout::*;
use crate::media::log::Txn;
use crate::media::record::Head;
use crate::media::seal::{self, Node, Seal};
use crate::media::words::Words;
use proptest::prelude::*;

/// The bit from which on a word of the directory holds the kind of what it names.
const TAG: u32 = 40;

/// A region with some of everything.
struct Fixture {
    ledger: Ledger,
    /// Objects: with page 0 only; with pages 0 to 599; being truncated; unlinked.
    one: ObjectSlot,
    many: ObjectSlot,
    cut: ObjectSlot,
    gone: ObjectSlot,
    frames: Vec<FrameNo>,
}

impl Fixture {
    fn new() -> Self {
        let ledger = fresh();
        let [one, many, cut, gone, pinned] =
            [&b"one"[..], b"many", b"cut", b"gone", b"pinned"].map(|name| create(&ledger, name));
        fill(&ledger, one, 0..1);
        let frames = fill(&ledger, many, 0..600).into_iter().map(|(_, frame)| frame).collect();
        fill(&ledger, cut, 0..20);
        ledger.set_size(cut, 20 * 4096, true).unwrap();
        ledger.begin_truncate(cut, 5).unwrap();
        fill(&ledger, gone, 0..3);
        ledger.unlink(b"gone").unwrap();
        fill(&ledger, pinned, 0..2);
        finish(|| ledger.punch_step(pinned, PageIndex(0)..PageIndex(9), &mut each(|_, _| Fate::Busy)));
        ledger.log().checkpoint().unwrap();
        assert_sound(&ledger);
        Self { ledger, one, many, cut, gone, frames }
    }

    fn word(&self, at: u64) -> u64 {
        self.ledger.log().read(at).unwrap()
    }
    fn poke(&self, at: u64, value: u64) {
        self.ledger.log().append(|t| t.write(at, value)).unwrap();
    }
    /// A word of the root, and another value for it.
    fn root(&self, word: RootWord) -> u64 {
        self.ledger.log().root(word).unwrap()
    }
    fn poke_root(&self, word: RootWord, value: u64) {
        self.ledger.log().append(|t| t.set_root(word, value)).unwrap();
    }
    fn flip_root(&self, word: RootWord) {
        self.poke_root(word, self.root(word) ^ 1);
    }
    /// Overwrites a word of these roots without the log.
    fn wear_root(&self, roots: &[usize], word: RootWord) {
        let log = self.ledger.log();
        let places = log.roots().anchor().places(word.offset());
        for &root in roots {
            log.region().memory().store(places[root], 0x5a5a).unwrap();
        }
    }
    /// The value of a sealed word, unverified.
    fn value(word: u64) -> u64 {
        word & seal::VALUE_MASK
    }
    fn flip(&self, at: u64) {
        self.poke(at, self.word(at) ^ 1);
    }
    /// Rewrites a head with a right checksum.
    fn edit(&self, slot: ObjectSlot, edit: impl FnOnce(&mut Txn<'_>, &mut Head)) {
        let edit = |t: &mut Txn<'_>| {
            let mut head = Head::read(t, slot)?;
            edit(t, &mut head);
            head.write(t)
        };
        self.ledger.log().append(edit).unwrap();
    }
    /// Changes a word of a record, with right checksums.
    fn put(&self, slot: ObjectSlot, word: usize, value: u64) {
        let (at, log) = (slot.offset(), self.ledger.log());
        self.poke(at + word as u64 * 8, value);
        for (first, sum) in [(0, 15), (16, 63)] {
            let words: Vec<_> = (first..sum).map(|i| self.word(at + i * 8)).collect();
            self.poke(at + sum * 8, log.salt().head_sum(slot.0, &words));
        }
    }
    fn flip_seal(&self) {
        self.put(self.one, 10, self.word(self.one.offset() + 80) ^ 1);
    }
    /// Makes a leaf of `many` as it was before its last pages were linked, as a lost write leaves it.
    fn stale_leaf(&self) {
        self.ledger.log().checkpoint().unwrap();
        let memory = self.ledger.log().region().memory();
        // The leaf of pages 512 to 599.
        let root = FrameNo(self.word(self.many.offset() + 24) as u32);
        let leaf = FrameNo(self.word(root.offset() + 8) as u32);
        let mut old = [0; 4096];
        memory.read(leaf.offset(), &mut old).unwrap();
        fill(&self.ledger, self.many, 600..610);
        self.ledger.log().checkpoint().unwrap();
        memory.write(leaf.offset(), &old).unwrap();
    }
    /// Lets the word of the first page of `many` say that others have its frame, too.
    fn share(&self) {
        let at = self.leaf().1;
        self.poke(at, self.seal_of_many(0).close(Self::value(self.word(at)) | 1 << 32));
    }
    fn seal(&self, at: u64, value: u64) {
        self.poke(at, self.ledger.log().salt().place(at).close(value));
    }
    /// The seal of a page's word in the map of `many`.
    fn seal_of_many(&self, page: u64) -> Seal {
        self.ledger.log().salt().map(self.ledger.record(self.many).unwrap().id, page, 0)
    }
    fn smash(&self, at: u64) {
        self.ledger.log().region().memory().write(at, &[0x5a; 512]).unwrap();
    }
    /// Changes a byte in both copies of the superblock, with right checksums.
    fn edit_superblocks(&self, at: u64, byte: u8) {
        let memory = self.ledger.log().region().memory();
        for offset in SUPERBLOCK_OFFSETS {
            let mut sector = [0; SECTOR_SIZE];
            memory.read(offset, &mut sector).unwrap();
            sector[at as usize] = byte;
            let sum =
                crc32c::crc32c_append(crc32c::crc32c(&offset.to_le_bytes()), &sector[..SECTOR_SIZE - 4]);
            sector[SECTOR_SIZE - 4..].copy_from_slice(&sum.to_le_bytes());
            memory.write(offset, &sector).unwrap();
        }
    }
    /// An allocated frame without an owner: an empty node of the directory.
    fn frame(&self) -> FrameNo {
        let frame = self.ledger.allocate(1, None).unwrap()[0];
        let set = |t: &mut Txn<'_>| {
            bitmap::set(t, self.ledger.shape(), [frame].into_iter())?;
            t.node(frame, Node::PLACES)
        };
        self.ledger.log().append(set).unwrap();
        frame
    }
    /// The word of the directory's root that leads to `name`, and an empty one.
    fn bucket(&self, name: &[u8]) -> u64 {
        directory::word_at(DIRECTORY_FRAME, self.ledger.log().name_hash(name), 0)
    }
    fn empty_bucket(&self) -> u64 {
        let root = DIRECTORY_FRAME.offset();
        (0..512).map(|i| root + i * 8).find(|&at| Self::value(self.word(at)) == 0).unwrap()
    }
    /// The map of `many`, its leaf of page 0, and the word of its first page.
    fn leaf(&self) -> (FrameNo, u64) {
        let root = FrameNo(self.word(self.many.offset() + 24) as u32);
        let leaf = FrameNo(self.word(root.offset()) as u32);
        (leaf, leaf.offset())
    }
    /// Makes all words of the leaf of page 0 say "nothing".
    fn empty_leaf(&self, t: &mut Txn<'_>) -> Result {
        (0..512).try_for_each(|i| t.write(self.leaf().1 + i * 8, self.seal_of_many(i).close(0)))
    }
    fn busy_entry(&self) -> u64 {
        let table = FrameNo(self.root(RootWord::BusyTable) as u32);
        (1..512).map(|i| table.offset() + i * 8).find(|&at| Self::value(self.word(at)) != 0).unwrap()
    }
    /// Changes a word of the bitmap together with the group's tally, as a fault of the engine would.
    fn bits(&self, place: u64, flip: u64) {
        let change = |t: &mut Txn<'_>| {
            let mut entry = groups::find(t, self.ledger.shape(), 0)?;
            let at = entry.word(place);
            let old = t.read(at)?;
            t.write_of_groups(at, old ^ flip)?;
            entry.change(t, place, old, old ^ flip);
            entry.write(t)
        };
        self.ledger.log().append(change).unwrap();
    }
    fn bit(&self, frame: FrameNo) {
        self.bits(u64::from(frame.0) / 64, 1 << (frame.0 % 64));
    }
    /// Changes a word of a bitmap or of the table of groups.
    fn poke_groups(&self, at: u64, value: u64) {
        self.ledger.log().append(|t| t.write_of_groups(at, value)).unwrap();
    }
    fn flip_groups(&self, at: u64) {
        self.poke_groups(at, self.word(at) ^ 1);
    }
}

type Plant = fn(&Fixture);

/// How to make each defect.
const PLANTS: &[(&str, Plant)] = &[
    ("superblock-copy", |f| f.smash(SUPERBLOCK_OFFSETS[1])),
    ("superblock-field", |f| f.edit_superblocks(200, 1)),
    ("unknown-features", |f| f.edit_superblocks(24, 4)),
    ("unknown-features", |f| f.edit_superblocks(32, 4)),
    ("lease", |f| f.smash(LEASE_OFFSET)),
    ("log-header-copy", |f| f.smash(LOG_HEADER_OFFSETS[0])),
    ("head-rest", |f| f.smash(SUPERBLOCK_OFFSETS[1] + 4096 - 512)),
    ("head-rest", |f| f.smash(CURSOR_OFFSET + 8)),
    ("cursor", |f| {
        let memory = f.ledger.log().region().memory();
        memory.store(CURSOR_OFFSET, memory.load(CURSOR_OFFSET).unwrap() ^ 1 << 63).unwrap();
    }),
    ("group-table", |f| f.flip_groups(GROUP_ROOT_FRAME.offset() + 511 * 8)),
    ("group-table", |f| f.flip_groups(groups::entry_at(GROUP_TABLE_FRAME, 2))),
    ("group-table", |f| f.flip_groups(groups::entry_at(GROUP_TABLE_FRAME, 255) + 8)),
    ("group-table", |f| f.flip_groups(GROUP_ROOT_FRAME.offset())),
    ("group-table", |f| f.flip_groups(groups::entry_at(GROUP_TABLE_FRAME, 0))),
    ("group-table", |f| f.poke_groups(groups::entry_at(GROUP_TABLE_FRAME, 0), 0)),
    ("group-table", |f| f.poke_root(RootWord::GroupRoot, 3)),
    ("group-table", |f| {
        let at = groups::entry_at(GROUP_TABLE_FRAME, 0);
        f.poke_groups(at, f.ledger.log().salt().place(at).close(7));
    }),
    ("group-tally", |f| f.flip_groups(groups::entry_at(GROUP_TABLE_FRAME, 0) + 8)),
    ("group-tally", |f| f.flip_groups(BITMAP_FRAMES[0].offset() + 64)),
    ("group-tally", |f| f.flip_groups(BITMAP_FRAMES[1].offset())),
    ("group-ahead", |f| {
        let at = groups::entry_at(GROUP_TABLE_FRAME, 1);
        f.poke_groups(at, f.ledger.log().salt().place(at).close(0));
    }),
    ("bitmap-fixed", |f| f.bits(0, 1)),
    ("bitmap-beyond-end", |f| f.bits(511, 1 << 63)),
    ("frames-word", |f| f.poke_root(RootWord::Frames, 1 << 40)),
    ("frames-word", |f| f.poke_root(RootWord::Frames, 3)),
    ("root-word", |f| f.poke_root(RootWord::Shares, 1)),
    ("root-word", |f| f.poke_root(RootWord::NextObject, COUNTER_MAX)),
    ("root-word", |f| f.flip_root(RootWord::NameKey1)),
    ("root-copy", |f| f.wear_root(&[0], RootWord::Objects)),
    ("root-copy", |f| f.wear_root(&[1], RootWord::Incompat)),
    ("root-line", |f| f.wear_root(&[0, 1], RootWord::Objects)),
    ("frame-owned-twice", |f| {
        f.poke(f.leaf().1 + 8, f.seal_of_many(1).close(u64::from(f.frames[0].0)));
    }),
    ("frame-used-but-free", |f| f.bit(f.frames[9])),
    ("frame-leaked", |f| {
        f.frame();
    }),
    ("directory-word", |f| f.poke(f.empty_bucket(), 99)),
    ("directory-word", |f| f.poke_root(RootWord::Directory, 1 << 33)),
    ("directory-word", |f| f.seal(f.empty_bucket(), 3 << TAG | 5)),
    ("directory-depth", |f| {
        let mut at = f.bucket(b"one");
        for _ in 0..7 {
            let frame = f.frame();
            f.seal(at, 2 << TAG | u64::from(frame.0));
            at = frame.offset();
        }
    }),
    ("directory-empty-node", |f| f.seal(f.empty_bucket(), 2 << TAG | u64::from(f.frame().0))),
    ("directory-chain", |f| f.edit(f.one, |_, head| head.set_chain(Some(head.slot)))),
    ("directory-chain", |f| {
        let free = record_free(&f.ledger);
        f.edit(f.one, |_, head| head.set_chain(Some(free)));
    }),
    ("directory-chain", |f| {
        // More records than a chain takes. That they are in the wrong place is another defect.
        let slots: Vec<_> = (0..65_u8).map(|i| create(&f.ledger, &[b'#', i + 1])).collect();
        slots.windows(2).for_each(|two| f.edit(two[0], |_, head| head.set_chain(Some(two[1]))));
        f.edit(slots[64], |_, head| head.set_chain(None));
        f.seal(f.empty_bucket(), 1 << TAG | slots[0].0);
    }),
    ("record-checksum", |f| f.flip(f.one.offset() + 16)),
    ("record-checksum", |f| f.flip(f.gone.offset() + 120)),
    ("record-name", |f| f.flip(f.one.offset() + 128)),
    ("record-field", |f| f.put(f.one, 12, 1)),
    ("record-field", |f| f.put(f.one, 49, 1)),
    ("record-field", |f| f.put(f.one, 47, 1)),
    ("record-field", |f| f.put(f.one, 1, f.word(f.one.offset() + 8) | 1 << 40)),
    ("record-field", |f| f.put(f.one, 1, f.word(f.one.offset() + 8) | 1 << 15)),
    ("record-field", |f| f.put(f.one, 1, f.word(f.one.offset() + 8) | 2)),
    ("record-field", |f| f.put(record_free(&f.ledger), 2, 1)),
    ("record-bucket", |f| {
        let (from, to) = (f.bucket(b"one"), f.empty_bucket());
        let Slot::Chain(slot) = Slot::read(&**f.ledger.log(), f.ledger.shape(), from).unwrap() else {
            panic!()
        };
        f.seal(from, 0);
        f.seal(to, 1 << TAG | slot.0);
    }),
    ("record-lost", |f| f.seal(f.bucket(b"one"), 0)),
    ("record-lost", |f| {
        f.ledger.log().append(|t| t.set_head(RootWord::FreeSlots, 0)).unwrap();
    }),
    ("name-twice", |f| {
        let twin = create(&f.ledger, b"twin");
        f.ledger
            .log()
            .append(|t| {
                let shape = f.ledger.shape();
                let mut head = Head::read(t, twin)?;
                directory::remove(t, shape, &mut head)?;
                head.set_name(t, b"one")?;
                directory::insert(t, shape, &mut head, b"one", &mut Vec::new())?;
                head.write(t)
            })
            .unwrap();
    }),
    ("name-unlinked", |f| f.edit(f.one, |_, head| head.set_unlinked())),
    ("object-number", |f| f.poke_root(RootWord::NextObject, 2)),
    ("object-size", |f| f.edit(f.one, |_, head| head.set_size(SIZE_MAX + 1))),
    ("object-count", |f| f.flip_root(RootWord::Objects)),
    ("orphan-list", |f| f.flip_root(RootWord::Orphans)),
    ("orphan-list", |f| f.edit(f.gone, |_, head| head.set_next(Some(head.slot)))),
    ("orphan-list", |f| f.edit(f.cut, |_, head| head.set_previous(None))),
    ("orphan-list", |f| f.edit(f.cut, |_, head| head.set_next(Some(ObjectSlot(1 << 40))))),
    ("orphan-without-work", |f| f.edit(f.cut, |_, head| head.set_cut(None))),
    ("truncate-mark", |f| f.edit(f.one, |_, head| head.set_cut(Some(3)))),
    ("free-slot-list", |f| f.flip_root(RootWord::FreeSlots)),
    ("free-slot-list", |f| {
        let free = record_free(&f.ledger);
        f.edit(free, |_, head| head.set_next(Some(free)));
    }),
    ("free-slot-list", |f| f.edit(record_free(&f.ledger), |_, head| head.set_previous(Some(f.one)))),
    ("map-seal", |f| f.flip_seal()),
    ("map-seal", |f| f.stale_leaf()),
    ("map-check", |f| f.flip(f.leaf().1)),
    ("map-check", |f| f.edit(f.one, |_, head| head.set_root(head.root() ^ 1 << 50))),
    ("map-frame", |f| {
        f.poke(f.leaf().1, f.seal_of_many(0).close(3));
    }),
    ("map-frame", |f| f.share()),
    ("map-empty-node", |f| {
        f.ledger.log().append(|t| f.empty_leaf(t)).unwrap();
    }),
    ("busy-table", |f| f.flip(f.busy_entry())),
    ("busy-table", |f| {
        let table = f.root(RootWord::BusyTable) & 0xffff_ffff;
        f.seal(table * 4096, table);
    }),
];

fn record_free(ledger: &Ledger) -> ObjectSlot {
    slots::first_free(&**ledger.log(), ledger.shape()).unwrap().unwrap()
}

#[test]
fn every_defect_is_found_by_its_name() {
    for (name, plant) in PLANTS {
        let fixture = Fixture::new();
        plant(&fixture);
        let report = fixture.ledger.check().unwrap();
        let found = |list: &[check::Finding]| list.iter().any(|finding| finding.name == *name);
        assert!(found(&report.findings) || found(&report.repairable), "{name}: {report:#?}");
    }
}

/// A power loss may tear one copy of each of these. That is no defect as long as a whole copy is left.
#[test]
fn what_a_crash_may_tear_is_repairable() {
    let torn = [
        ("superblock-copy", SUPERBLOCK_OFFSETS[0]),
        ("superblock-copy", SUPERBLOCK_OFFSETS[1]),
        ("lease", LEASE_OFFSET),
        ("log-header-copy", LOG_HEADER_OFFSETS[0]),
        ("log-header-copy", LOG_HEADER_OFFSETS[1]),
    ];
    for (name, offset) in torn {
        let fixture = Fixture::new();
        fixture.smash(offset);
        let report = fixture.ledger.check().unwrap();
        assert!(report.is_clean() && report.repairable.len() == 1, "{report:#?}");
        assert_eq!(report.repairable[0].name, name);
        for other in torn.iter().filter(|other| other.0 == name && other.1 != offset) {
            fixture.smash(other.1);
            assert!(!fixture.ledger.check().unwrap().is_clean(), "no copy of {name} is whole");
        }
    }
}

#[test]
fn every_defect_has_a_plant() {
    // What is set aside is no defect of its own; it is what a store makes of one, and tested there.
    let here = DEFECTS.iter().filter(|(name, _)| *name != "set-aside");
    let never: Vec<_> = here.filter(|(name, _)| PLANTS.iter().all(|(planted, _)| planted != name)).collect();
    assert!(never.is_empty(), "{never:?}");
    assert!(DEFECTS.len() >= 16);
}

#[test]
fn attributes_that_a_newer_release_gave_an_object_are_no_defect() {
    let fixture = Fixture::new();
    fixture.poke_root(RootWord::Compat, 1);
    fixture.put(fixture.one, 49, 1);
    let report = fixture.ledger.check().unwrap();
    assert!(report.findings.iter().all(|finding| finding.name != "record-field"), "{report:#?}");
}

/// A later release may clone objects: one that does not know of that can read them.
#[test]
fn a_page_that_others_have_too_can_be_read() {
    let fixture = Fixture::new();
    let read = || fixture.ledger.map(fixture.many, PageIndex(0)).unwrap();
    let before = read();
    fixture.share();
    assert_eq!(read(), before);
    assert!(before.is_some());
}

#[test]
fn reading_a_damaged_map_is_an_error_with_the_place() {
    let fixture = Fixture::new();
    let (_, at) = fixture.leaf();
    fixture.flip(at);
    let found = fixture.ledger.map(fixture.many, PageIndex(0));
    assert!(matches!(found, Err(Error::Corrupt { at: found, .. }) if found == at), "{found:?}");
    assert!(fixture.ledger.map(fixture.many, PageIndex(1)).unwrap().is_some(), "its neighbours are fine");
}

/// Calls everything; results do not matter.
fn exercise(ledger: &Ledger) {
    let _ = ledger.list();
    for slot in ledger.orphans().unwrap_or_default() {
        let step = |done: Result<bool>| done.unwrap_or(true);
        for _ in 0..20 {
            if step(ledger.drop_step(slot, &mut all_free)) && step(ledger.truncate_step(slot, &mut all_free))
            {
                break;
            }
        }
    }
    for name in [&b"one"[..], b"many", b"cut", b"gone", b"pinned"] {
        if let Ok(Some(slot)) = ledger.lookup(name) {
            let _ = ledger.record(slot);
            let _ = ledger.map_range(slot, PageIndex(0), 1024);
            if let Ok(frames) = ledger.allocate(2, None) {
                let _ = ledger.link(
                    slot,
                    &[(PageIndex(700), frames[0]), (PageIndex(70_000), frames[1])],
                    Some(9),
                );
                let _ = ledger.release(&frames);
            }
            let _ = ledger.punch_step(slot, PageIndex(3)..PageIndex(40), &mut each(|_, _| Fate::Busy));
            let _ = ledger.begin_truncate(slot, 0);
            let _ = ledger.truncate_step(slot, &mut all_free);
        }
    }
    let _ = ledger.busy_frames().and_then(|frames| ledger.free_busy(&frames));
    let _ = ledger.rename(b"one", b"many");
    let _ = ledger.create_object(b"new", ObjectKind::PLAIN);
    let _ = ledger.unlink(b"cut");
    let _ = ledger.free_frames();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Words of metadata replaced by garbage, by each other, or with a bit flipped.
    #[test]
    fn a_damaged_region_gives_errors_and_never_panics_or_hangs(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..3u8, any::<u64>()), 1..12)
    ) {
        let fixture = Fixture::new();
        let log = fixture.ledger.log();
        let places: Vec<u64> = (FIRST_MOVABLE.offset()..fixture.ledger.frames() * 4096)
            .step_by(8)
            .filter(|at| !(LOG_FRAME.offset()..first_free_frame(LOG_FRAMES_SMALL).offset()).contains(at))
            .filter(|&at| log.word(at).unwrap() != 0)
            .collect();
        for (place, other, how, garbage) in damage {
            let at = places[place.index(places.len())];
            let value = match how {
                0 => garbage,
                1 => fixture.word(places[other.index(places.len())]),
                _ => fixture.word(at) ^ 1 << (garbage % 64),
            };
            log.region().memory().store(at, value).unwrap();
        }
        let bytes = image(log);
        if let Ok(ledger) = ledger_of(region(bytes, 1, 16 << 20), Rules::default()) {
            let _ = ledger.check();
            exercise(&ledger);
            let _ = ledger.check();
        }
    }
}

/// The pages that were linked since then read as holes. Use does not notice it, but `check` does; if their frames have
/// other owners, only by the seal of the map.
#[test]
fn a_stale_node_is_noticed_by_the_seal_of_the_map_alone() {
    let f = Fixture::new();
    f.stale_leaf();
    assert_eq!(f.ledger.map(f.many, PageIndex(605)).unwrap(), None);
    assert!(f.ledger.map(f.many, PageIndex(599)).unwrap().is_some());
    let report = f.ledger.check().unwrap();
    let names: Vec<_> = report.findings.iter().map(|finding| finding.name).collect();
    assert_eq!(names, ["map-seal", "frame-leaked"], "{report:#?}");
    // The frames get other owners.
    let leaked: Vec<_> = report.findings[1].detail.split(' ').filter_map(|word| word.parse().ok()).collect();
    let frames: Vec<_> = (leaked[0]..=leaked[1]).map(FrameNo).collect();
    assert_eq!(frames.len(), 10);
    frames.iter().for_each(|&frame| f.bit(frame));
    let pages: Vec<_> = (1000..).map(PageIndex).zip(frames.iter().copied()).collect();
    frames.iter().for_each(|&frame| _ = f.ledger.log().uses().free(frame));
    f.ledger.link(f.one, &pages, None).unwrap();
    let report = f.ledger.check().unwrap();
    let names: Vec<_> = report.findings.iter().map(|finding| finding.name).collect();
    assert_eq!(names, ["map-seal"], "{report:#?}");
    assert!(
        report.findings[0].detail.contains("it has 600 pages")
            && report.findings[0].detail.contains("says 610")
    );
}

#[test]
fn a_list_of_a_directory_whose_nodes_are_named_again_and_again_has_an_end() {
    for with_a_record in [false, true] {
        let fixture = Fixture::new();
        let (above, below) = (fixture.frame(), fixture.frame());
        let node = |at: u64, frame: FrameNo| fixture.seal(at, 2 << TAG | u64::from(frame.0));
        let at = fixture.empty_bucket();
        node(at, above);
        (0..512).for_each(|i| node(above.offset() + i * 8, below));
        if with_a_record {
            fixture.seal(below.offset() + 8, 1 << TAG | fixture.one.0);
        }
        let listed = fixture.ledger.list().map(|all| all.len());
        assert!(matches!(listed, Err(Error::Corrupt { what: "directory", .. })), "{listed:?}");
    }
}

#[test]
fn a_node_without_a_page_is_not_freed_as_one() {
    let fixture = Fixture::new();
    let leaf = fixture.leaf().1;
    fixture.ledger.log().append(|t| fixture.empty_leaf(t)).unwrap();
    fixture.ledger.unlink(b"many").unwrap();
    let freed = fixture.ledger.drop_step(fixture.many, &mut all_free);
    assert!(matches!(freed, Err(Error::Corrupt { at, .. }) if at == leaf), "{freed:?}");
}
