//! The redo log: the only way a word of the medium changes.
//!
//! An operation *appends* one record: from then on it survives the death of the process. A record is *committed* when
//! a durable mark covers it, *applied* when its words are stored home, *passed* when the durable tail lies beyond it.
//! Between append and apply, the [shadow] shows its words to readers.
//!
//! ```text
//! append (many threads, under the append lock)        commit (one leader at a time, for all waiters)
//!   shadow + room --> record --> ring --> shadow         note head H
//!                                                        make published data up to H durable
//!                                                        append the mark "covers H"
//!                                                        make the ring durable up to the mark
//!                                                        store the homes of records up to H, move the cursor
//!                                                     checkpoint: commit, flush homes, move the tail
//! ```
//!
//! Locks: leader, then append lock, then shadow. No thread waits for the leader while it holds the append lock.
//!
//! Comments speak of `LOG rule 1` to `LOG rule 15`: `engine/docs/log.md` has each rule with the crash that it prevents.

mod ahead;
mod behind;
pub mod commit;
pub mod cursor;
pub mod header;
mod homes;
pub mod images;
pub mod payload;
pub mod record;
pub mod recovery;
pub mod ring;
pub mod shadow;
#[cfg(test)]
mod tests;
mod txn;

use crate::error::{Error, Result};
use crate::media::ending::Recovery;
use crate::media::layout::RootWord;
use crate::media::lease::{Lease, State};
use crate::media::root::{Anchor, Roots};
use crate::media::rules::{Rule, Rules};
use crate::media::seal::Salt;
use crate::media::superblock::{Copies, Drawn, Hints};
use crate::media::uses::Uses;
use crate::region::Region;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, Step};
use crate::units::{Durability, FRAME_SIZE, FrameNo};
use ahead::Ahead;
use commit::Leadership;
use header::{Header, Tail};
use images::Images;
use record::{Content, ENTRY_BYTES, Entry, Link, MARK_BYTES, Sequence, encode, encoded_bytes};
use ring::Ring;
use rustc_hash::FxHashSet;
use shadow::Shadow;
use std::collections::VecDeque;
use std::sync::Arc;
use txn::Built;
pub use txn::Txn;

/// The redo log of one open region.
pub struct Log {
    region: Arc<Region>,
    ring: Ring,
    rules: Rules,
    recovery: Recovery,
    shadow: Shadow,
    roots: Roots,
    images: Arc<Images>,
    uses: Uses,
    chain: Mutex<Chain>,
    leadership: Mutex<Leadership>,
    led: Condvar,
    ahead: Mutex<Ahead>,
    /// These three are read without a lock: bytes of live records, at how many of them the next early write-back is due,
    /// and moves of the tail.
    used: AtomicU64,
    due: AtomicU64,
    tail_moves: AtomicU64,
    /// From the superblock, also read without a lock.
    drawn: Drawn,
    generation: AtomicU64,
    /// Held while the lease is written: a lease of a failed region is never written over.
    lease: Mutex<()>,
}

/// What the append lock guards.
struct Chain {
    /// What will stand in the head of the next record.
    next: Link,
    /// Where the next record goes.
    head: u64,
    /// Where the live part begins. Space up to there may be used again.
    tail: Tail,
    /// Live records, oldest first.
    live: VecDeque<Live>,
    /// The last record that is no mark.
    last_change: Sequence,
    /// The highest record that published data.
    published: Sequence,
    /// The last head that a leader noted. Until another one is noted, no mark covers a record beyond it.
    noted: Sequence,
    /// The last change that a snapshot shows.
    kept: Option<Sequence>,
    /// Whether this opening has written its epoch and lease.
    begun: bool,
    superblock: Copies,
    header: Header,
    stats: LogStats,
}

/// How far the log had come at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    /// The last operation's number.
    pub head: Sequence,
    /// Where the last record ends.
    position: u64,
}

impl Chain {
    fn reach(&self) -> Reach {
        Reach { head: self.last_change, position: self.head }
    }
}

/// A record that is not passed yet.
struct Live {
    sequence: Sequence,
    /// Where it ends, and its checksum: both stand in the tail once it is moved past this record.
    end: u64,
    checksum: u32,
    /// Its entries until they are applied.
    entries: Vec<Entry>,
}

/// Counters of the log since it was opened.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct LogStats {
    /// Records appended.
    pub records: u64,
    /// Their bytes.
    pub record_bytes: u64,
    /// Marks appended: commits that reached the medium.
    pub marks: u64,
    /// Moves of the tail.
    pub tail_moves: u64,
    /// Records found by recovery and replayed.
    pub recovered: u64,
}

/// The medium's words as they were at one moment, whatever changes meanwhile. There is at most one at a time.
pub struct Snapshot<'l> {
    log: &'l Log,
}

impl Snapshot<'_> {
    /// The words from byte `offset` on, all of one frame.
    ///
    /// # Errors
    /// `TimedOut` if the snapshot was given up because its frames were needed.
    pub fn read_run(&self, offset: u64, into: &mut [u64]) -> Result {
        match self.log.shadow.read_kept(self.log.region.memory(), offset, into) {
            Ok(true) => Ok(()),
            // What was there then may lie behind the end of the file by now.
            Err(error) if self.log.has_snapshot() => Err(error),
            Ok(false) | Err(_) => Err(Error::TimedOut { what: "a look at one moment".to_owned() }),
        }
    }

    /// The log that keeps the words.
    pub(crate) fn log(&self) -> &Log {
        self.log
    }

    /// Which root counts for each of its lines.
    #[must_use]
    pub fn roots(&self) -> &Roots {
        &self.log.roots
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        self.log.give_up_snapshot();
    }
}

impl Log {
    /// The log of a region whose recovery is done.
    #[must_use]
    pub fn new(
        region: Arc<Region>,
        superblock: Copies,
        header: Header,
        roots: Roots,
        recovery: Recovery,
        rules: Rules,
    ) -> Self {
        let tail = header.tail;
        let before = Sequence(tail.link.sequence.0 - 1);
        let chain = Chain {
            next: tail.link,
            head: tail.position,
            tail,
            live: VecDeque::new(),
            last_change: before,
            published: before,
            noted: before,
            kept: None,
            begun: false,
            header,
            stats: LogStats { recovered: recovery.replayed, ..LogStats::default() },
            superblock,
        };
        Self {
            ring: Ring::new(chain.superblock.newest.log_frames),
            drawn: chain.superblock.newest.drawn,
            generation: AtomicU64::new(chain.superblock.newest.generation),
            uses: uses_of(&region, roots.anchor()),
            region,
            rules,
            recovery,
            shadow: Shadow::new(roots.anchor()),
            roots,
            images: Arc::default(),
            leadership: Mutex::new(Leadership::at(before, tail.position, roots.anchor())),
            chain: Mutex::new(chain),
            led: Condvar::default(),
            ahead: Mutex::default(),
            used: AtomicU64::new(0),
            due: AtomicU64::new(0),
            tail_moves: AtomicU64::new(0),
            lease: Mutex::new(()),
        }
    }

    /// The region.
    #[must_use]
    pub fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// Which rules a test has switched off.
    #[must_use]
    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// Frames of the log.
    #[must_use]
    pub fn frames(&self) -> u32 {
        self.ring.frames()
    }

    /// What the checks of the region are bound to.
    #[must_use]
    pub const fn salt(&self) -> Salt {
        self.roots.anchor().salt
    }

    /// How often words were read.
    #[cfg(test)]
    pub(crate) fn looks(&self) -> u64 {
        self.shadow.looks.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// How many changes one operation may make.
    #[must_use]
    pub fn entries_max(&self) -> usize {
        ((self.ring.record_bytes_max() - MARK_BYTES) / ENTRY_BYTES) as usize
    }

    /// Bytes of entries that one operation may have.
    #[must_use]
    pub fn record_room(&self) -> u64 {
        self.ring.record_bytes_max() - MARK_BYTES
    }

    /// Which data frames have bytes in live records.
    #[must_use]
    pub fn images(&self) -> &Arc<Images> {
        &self.images
    }

    /// The word at byte `offset` as it will be once all appended records are applied.
    pub fn read(&self, offset: u64) -> Result<u64> {
        self.shadow.read(self.region.memory(), offset)
    }

    /// The words from byte `offset` on, all of one frame; as [`read`](Self::read).
    pub fn read_run(&self, offset: u64, into: &mut [u64]) -> Result {
        self.shadow.read_run(self.region.memory(), offset, into)
    }

    /// A word of the root, as [`read`](Self::read).
    pub fn root(&self, word: RootWord) -> Result<u64> {
        self.read(self.roots.at(word))
    }

    /// The roots as the opening found them.
    #[must_use]
    pub const fn roots(&self) -> &Roots {
        &self.roots
    }

    /// As [`append_as_one`](Self::append_as_one), for tests that have a log and nothing above it. The engine's only way to
    /// append is the [`Ledger`](crate::media::Ledger).
    ///
    /// # Durability
    /// As there.
    #[cfg(any(test, feature = "internals"))]
    pub fn append<R>(&self, change: impl FnOnce(&mut Txn<'_>) -> Result<R>) -> Result<(R, Sequence)> {
        self.append_as_one(change, || ())
    }

    /// Runs one operation under the append lock and appends its record. If `change` fails, nothing has changed.
    /// An operation that changes nothing appends nothing and has the number of the last record. What `appears` returns
    /// is dropped once all changed words can be seen.
    ///
    /// When the log is low on space, it is first committed, applied and its tail moved: the caller may hold latches,
    /// but nothing that a commit needs.
    ///
    /// # Durability
    /// On return the operation survives the death of the process. It survives a power loss, whole, once a later
    /// [`commit`](Self::commit) has returned; so do the bytes that it published.
    pub(in crate::media) fn append_as_one<R, G>(
        &self,
        change: impl FnOnce(&mut Txn<'_>) -> Result<R>,
        appears: impl FnOnce() -> G,
    ) -> Result<(R, Sequence)> {
        let mut chain = self.chain_with_space()?;
        let mut txn = Txn::new(self, chain.next.sequence, chain.noted);
        let result = change(&mut txn)?;
        let Built { entries, images, of_groups, apart, publishes } = txn.built();
        if entries.is_empty() && !publishes {
            return Ok((result, chain.last_change));
        }
        self.state_uses(&entries, &images, &of_groups)?;
        if !chain.begun {
            self.begin(&mut chain)?;
        }
        let sequence = chain.next.sequence;
        let bytes = encoded_bytes(&entries);
        // Shown only once it would survive the death of the process: other threads act on what they see.
        self.push(&mut chain, Content::Changes(entries))?;
        if let Some(record) = chain.live.back() {
            let _one_moment = appears();
            self.shadow.append(self.region.memory(), sequence, &record.entries)?;
        }
        self.images.add(sequence, images);
        chain.last_change = sequence;
        if publishes {
            chain.published = sequence;
        }
        chain.stats.records += 1;
        chain.stats.record_bytes += bytes;
        if !apart.is_empty() {
            self.append_apart(&mut chain, apart)?;
        }
        Ok((result, sequence))
    }

    /// Appends changes that belong into the record before (a broken rule).
    #[cold]
    fn append_apart(&self, chain: &mut Chain, entries: Vec<Entry>) -> Result {
        let sequence = chain.next.sequence;
        self.push(chain, Content::Changes(entries))?;
        if let Some(record) = chain.live.back() {
            self.shadow.append(self.region.memory(), sequence, &record.entries)?;
        }
        chain.last_change = sequence;
        Ok(())
    }

    /// States of which frames the record changes words. Their bytes change without a latch when the record is applied, so
    /// no page may lie there.
    fn state_uses(&self, entries: &[Entry], images: &[FrameNo], of_groups: &FxHashSet<FrameNo>) -> Result {
        let data: FxHashSet<_> = images.iter().collect();
        let state = |frame| match of_groups.contains(&frame) {
            true => self.uses.of_groups(frame),
            false => self.uses.structure(frame),
        };
        entries.iter().try_for_each(|entry| match entry {
            Entry::Word(offset, _) => state(FrameNo((offset / FRAME_SIZE as u64) as u32)),
            // A batch begins a new page with zeros. Every other frame that a record zeroes is a structure.
            Entry::Zero(frame) if !data.contains(frame) => state(*frame),
            Entry::Node(frame, _) => state(*frame),
            Entry::Zero(_) | Entry::Lines(..) | Entry::Payload(_) | Entry::Root(..) => Ok(()),
        })
    }

    /// The uses of frames.
    pub(crate) fn uses(&self) -> &Uses {
        &self.uses
    }

    /// The last operation's number. A commit of it makes all that was appended so far durable.
    #[must_use]
    pub fn head(&self) -> Sequence {
        self.chain.lock().last_change
    }

    /// How far the log has come: a file sync that begins now makes all up to here durable.
    #[must_use]
    pub fn reach(&self) -> Reach {
        self.chain.lock().reach()
    }

    /// Keeps the medium's words as they are at this moment, for a [`Snapshot`], and runs `look` at the same moment. It is
    /// one at which no thread leads or appends. Frames that are freed from now on are not used again before its end.
    ///
    /// # Errors
    /// Those of `look`: then there is no snapshot.
    pub fn snapshot<R>(&self, look: impl FnOnce() -> Result<R>) -> Result<(R, Snapshot<'_>)> {
        let (_no_leader, mut chain) = self.at_rest();
        let looked = look()?;
        self.shadow.keep();
        chain.kept = Some(chain.last_change);
        Ok((looked, Snapshot { log: self }))
    }

    /// Whether there is a snapshot.
    #[must_use]
    pub fn has_snapshot(&self) -> bool {
        self.chain.lock().kept.is_some()
    }

    /// Ends a snapshot before its time: the frames that wait for it are needed.
    pub fn give_up_snapshot(&self) {
        let mut chain = self.chain.lock();
        chain.kept = None;
        self.shadow.forget();
    }

    /// Frames that were freed up to this record may be used again: the record is passed (LOG rule 2), and no snapshot
    /// shows them.
    #[must_use]
    pub fn reusable(&self) -> Sequence {
        let chain = self.chain.lock();
        let passed = Sequence(chain.tail.link.sequence.0 - 1);
        chain.kept.map_or(passed, |kept| passed.min(kept))
    }

    /// All records up to this one are passed.
    #[must_use]
    pub fn passed(&self) -> Sequence {
        Sequence(self.chain.lock().tail.link.sequence.0 - 1)
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        self.chain.lock().stats
    }

    /// The region's identity, made when it was formatted.
    #[must_use]
    pub fn uuid(&self) -> [u8; 16] {
        self.drawn.uuid
    }

    /// The hash of a name, with the region's key. With the broken rule it has no key, so that equal hashes can be made.
    pub(crate) fn name_hash(&self, name: &[u8]) -> u64 {
        if self.rules.broken(Rule::NamesUnkeyed) { name.len() as u64 } else { self.drawn.name_hash(name) }
    }

    /// How often the region was opened and changed.
    #[must_use]
    pub fn generation(&self) -> u64 {
        // ORDERING: Relaxed: a number on its own.
        self.generation.load(Ordering::Relaxed)
    }

    /// The superblock, and whether its other copy is bad.
    #[must_use]
    pub fn superblock(&self) -> Copies {
        self.chain.lock().superblock.clone()
    }

    /// What the opening found and did.
    #[must_use]
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// Commits, applies, moves the tail and writes to the lease that the region is clean. Does nothing if nothing changed.
    ///
    /// # Durability
    /// Everything appended and everything stored is durable on return.
    pub fn close(&self) -> Result {
        if !self.chain.lock().begun {
            return Ok(());
        }
        self.pass_and_settle()
    }

    /// Writes the tail to both copies of the header, and to the lease that nothing is left to do. Only the leader calls it.
    fn settle(&self) -> Result {
        let mut chain = self.chain.lock();
        let _alone = self.lease.lock();
        self.region.ensure_sound()?;
        let lease = Lease::of(&self.region, State::Clean, chain.next.epoch);
        chain.header.settle(&self.region, &lease, self.rules)?;
        Step::Settled.reach();
        chain.begun = false;
        Ok(())
    }

    /// Writes the lease, unless the region has failed: no failure can come between the look and the write.
    fn write_lease(&self, epoch: u64) -> Result {
        let _alone = self.lease.lock();
        self.region.ensure_sound()?;
        Lease::of(&self.region, State::Open, epoch).write(&self.region)?;
        Step::LeaseWritten.reach();
        Ok(())
    }

    /// The append lock, with room for the largest record and two marks behind it (LOG rule 1).
    fn chain_with_space(&self) -> Result<crate::sync::MutexGuard<'_, Chain>> {
        let marks = if self.rules.broken(Rule::OneMark) { 1 } else { 2 };
        let wanted = self.ring.record_bytes_max() + marks * MARK_BYTES;
        loop {
            self.region.ensure_sound()?;
            if self.region.read_only() {
                return Err(Error::ReadOnly);
            }
            let chain = self.chain.lock();
            if self.ring.bytes() - (chain.head - chain.tail.position) >= wanted {
                return Ok(chain);
            }
            drop(chain);
            self.checkpoint()?;
        }
    }

    /// Writes a record behind the head.
    fn push(&self, chain: &mut Chain, content: Content) -> Result {
        let (bytes, checksum) = encode(chain.next, &content);
        Step::RecordBegun.reach();
        let written = self.ring.write(self.region.memory(), chain.head, &bytes);
        if let Err(error) = written {
            self.fail(&error);
            return Err(error);
        }
        Step::RecordWritten.reach();
        chain.head += bytes.len() as u64;
        // ORDERING: Relaxed: see `keep_ahead`.
        self.used.store(chain.head - chain.tail.position, Ordering::Relaxed);
        let entries = match content {
            Content::Changes(entries) => entries,
            Content::Mark(_) => Vec::new(),
        };
        chain.live.push_back(Live { sequence: chain.next.sequence, end: chain.head, checksum, entries });
        chain.next.sequence = chain.next.sequence.next();
        chain.next.predecessor = checksum;
        Ok(())
    }

    /// Does the work of an opening's first change ahead of any change: makes this process the owner.
    ///
    /// # Durability
    /// The lease is durable on return.
    pub fn take_lease(&self) -> Result {
        let mut chain = self.chain.lock();
        if chain.begun { Ok(()) } else { self.begin(&mut chain) }
    }

    /// Makes durable what dead processes have stored, once per opening, also the header that this opening has read: a power loss
    /// may still show the one before, whose records need their payloads. So a free frame is left as it is until then.
    ///
    /// # Durability
    /// Everything stored before the opening is durable.
    pub fn own_copies(&self) -> Result {
        if self.rules.broken(Rule::DisownCopies) {
            return Ok(());
        }
        self.region.memory().sync_inherited().inspect_err(|error| self.fail(error))
    }

    /// The first change of an opening: what a dead process has left, then the superblock's generation, then a new epoch,
    /// then the lease (LOG rule 8). Each is durable before the next, and all before the first append.
    fn begin(&self, chain: &mut Chain) -> Result {
        let result = self.write_beginning(chain);
        match &result {
            Ok(()) => chain.begun = true,
            Err(error) => self.fail(error),
        }
        result
    }

    fn write_beginning(&self, chain: &mut Chain) -> Result {
        let memory = self.region.memory();
        self.own_copies()?;
        self.roots.mend(memory)?;
        Step::RootsMended.reach();
        let frame = |word| self.root(word).map(|frame| frame as u32);
        let (groups, directory) = (frame(RootWord::GroupRoot)?, frame(RootWord::Directory)?);
        let hints = Hints { frames: self.root(RootWord::Frames)?, groups, directory };
        chain.superblock.advance(&self.region, hints, self.rules)?;
        Step::GenerationWritten.reach();
        // ORDERING: Relaxed: a number on its own.
        self.generation.store(chain.superblock.newest.generation, Ordering::Relaxed);
        let mut link = chain.next;
        if !self.rules.broken(Rule::SameEpoch) {
            link.epoch = new_epoch()?;
        }
        let tail = Tail { link, position: chain.head };
        let unsafe_epoch = self.rules.broken(Rule::EpochNotDurable);
        let rules = if unsafe_epoch { self.rules.breaking(Rule::TailNotDurable) } else { self.rules };
        chain.header.advance(memory, tail, rules)?;
        Step::EpochWritten.reach();
        cursor::store(memory, self.drawn.salt, link.epoch, Sequence(link.sequence.0 - 1))?;
        Step::CursorBegun.reach();
        (chain.next, chain.tail) = (link, tail);
        chain.live.clear();
        self.write_lease(link.epoch)
    }

    /// LOG rule 11: nothing more is appended, applied or marked clean, and the next opening assumes a power loss. To be
    /// called for every failed flush of the region, whichever call wanted it.
    pub fn fail(&self, error: &Error) {
        self.region.poison(error.to_string());
        if matches!(self.region.compare_length(), Err(Error::Truncated { .. })) {
            // The lease itself may be gone, and every opening refuses a file that was cut.
            return;
        }
        let _alone = self.lease.lock();
        // Best effort: the medium has just refused a write, it may refuse this one too.
        let _ = Lease::note_failure(&self.region);
    }

    /// Whether published data needs a file sync before the mark on this medium (LOG rule 3). On the other classes its
    /// writer has fenced it before the append.
    fn syncs_published_data(&self) -> bool {
        self.region.protocol() == Durability::Fdatasync
    }
}

/// Only the use of the roots' frames is known.
fn uses_of(region: &Region, anchor: Anchor) -> Uses {
    let uses = Uses::new(region.frames().len());
    // No error: these frames were not met before.
    anchor.roots.into_iter().for_each(|root| drop(uses.structure(root)));
    uses
}

/// A random number for an epoch or an identity.
pub fn new_epoch() -> Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|e| Error::io("random number for the log's epoch", e.into()))?;
    Ok(u64::from_le_bytes(bytes) | 1)
}
