//! Committing a batch.
//!
//! ```text
//! layouts of the objects, in the order of their numbers
//!   holes get frames; the room of one record is known
//!   pins and exclusive latches, in the order of the frames
//!     dirty bits, then running syncs: which equal lines are durable
//!     compare, log what differs      (large: first into payload frames, durable)
//!     append one record
//!   layouts are dropped, where nothing grew
//!     commit: the log's leader stores home and moves the cursor
//!   lengths are published, latches released
//! ```
//! A thread that holds a latch of a batch waits only for the log, and no thread that the log waits for needs a latch
//! (LOG rule 5).
//!
//! A kept range may stay locked for seconds. A batch that meets one gives back everything it holds, waits without
//! holding anything, and begins again.

use super::object::{Layout, OpenObject, PAGE, Tail};
use super::stage::{Stage, listed, room};
use super::write::{CHUNK_PAGES, pieces};
use super::{Change, Engine};
use crate::error::{Error, Result};
use crate::media::log::record::{ENTRY_BYTES, HEAD_BYTES, Sequence};
use crate::media::rules::Rule;
use crate::media::{BatchPart, Images};
use crate::page::{Detached, Latched, PageRef};
use crate::space::PageId;
use crate::sync::MutexGuard;
use crate::sync::atomic::Ordering;
use crate::units::{FRAME_SIZE, FrameNo, LINE_SIZE, LINES_PER_FRAME, Lines, PageIndex};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The staged changes of one object.
pub(crate) struct Target {
    pub(crate) shared: Arc<OpenObject>,
    pub(crate) stage: Stage,
    /// The requested length.
    pub(crate) len: u64,
}

/// How often a batch begins again. Each time another range was kept meanwhile; after the last time, it waits with
/// what it holds.
const RETREATS: u32 = 16;

/// Writes what is staged: all or nothing.
///
/// # Durability
/// Durable on return.
pub(crate) fn commit(engine: &Arc<Engine>, change: &Change<'_>, targets: &mut [Target]) -> Result {
    for _ in 0..RETREATS {
        match commit_unless(engine, change, targets, Latched::take_unless_kept)? {
            None => return Ok(()),
            Some(kept) => kept.wait_for_keepers()?,
        }
    }
    commit_unless(engine, change, targets, |page| Latched::take(page).map(Ok)).map(drop)
}

/// Commits the batch, or returns the page whose latch was refused: then nothing has changed.
///
/// # Durability
/// Durable if it returns `None`.
fn commit_unless(
    engine: &Arc<Engine>,
    change: &Change<'_>,
    targets: &mut [Target],
    take: Take,
) -> Result<Option<PageRef>> {
    let objects: Vec<_> = targets.iter().map(|target| Arc::clone(&target.shared)).collect();
    let members = objects.iter().map(|object| Member::new(change, object)).collect();
    let mut commit = Commit { engine, change, members, payload: Vec::new(), appended: false };
    let (pages, sequence) = match commit.append(targets, take)? {
        Ok(appended) => appended,
        Err(refused) => return Ok(Some(refused)),
    };
    // The log has the bytes now. They are dropped here, so that a large batch does not take memory twice.
    targets.iter_mut().for_each(|target| target.stage = Stage::default());
    commit.finish(pages, sequence)?;
    Ok(None)
}

/// Takes the latch of a page, or gives the page back.
type Take = fn(PageRef) -> Result<Unless<Latched>>;
/// A value, or the page whose latch was refused.
type Unless<T> = std::result::Result<T, PageRef>;

/// What a batch stores to one page: zeros from `zero_from` on, then pieces.
#[derive(Default)]
struct Edit<'b> {
    zero_from: Option<usize>,
    pieces: Vec<(usize, &'b [u8])>,
}

impl Edit<'_> {
    /// Changes `page` as the batch does. Returns the lines that the batch names.
    fn apply(&self, page: &mut [u8; FRAME_SIZE]) -> Lines {
        let mut lines = Lines::NONE;
        if let Some(from) = self.zero_from {
            page[from..].fill(0);
            lines = lines.with(Lines::of(&(from..FRAME_SIZE)));
        }
        for &(at, bytes) in &self.pieces {
            page[at..at + bytes.len()].copy_from_slice(bytes);
            lines = lines.with(Lines::of(&(at..at + bytes.len())));
        }
        lines
    }

    /// The new content of the page, if the batch names all of it.
    fn whole(&self) -> Option<&[u8; FRAME_SIZE]> {
        match self.pieces[..] {
            [(0, bytes)] => bytes.try_into().ok(),
            _ => None,
        }
    }

    /// The lines of `old` that the batch names, and those that it changes.
    fn compare(&self, old: &[u8; FRAME_SIZE]) -> (Lines, Lines) {
        if let Some(new) = self.whole() {
            return (Lines::ALL, differences(old, new));
        }
        let mut new = *old;
        let named = self.apply(&mut new);
        (named, differences(old, &new))
    }
}

/// An object of a batch that is being committed.
struct Member<'b> {
    change: &'b Change<'b>,
    shared: &'b Arc<OpenObject>,
    layout: Option<MutexGuard<'b, Layout>>,
    /// The new length, if the object grows.
    len: Option<u64>,
    /// Pages that have frames, and their frames.
    found: Vec<(PageIndex, FrameNo)>,
    /// Holes, and the frames they get.
    fresh: Vec<(PageIndex, FrameNo)>,
    /// Pages beyond the end that were linked before the record.
    ahead: Vec<u64>,
}

/// What a batch stores to the pages of one object.
type Edits<'e> = BTreeMap<PageIndex, Edit<'e>>;

impl<'b> Member<'b> {
    /// Waits for the object's layout: from here on no other thread cuts it, grows it or changes its map.
    fn new(change: &'b Change<'b>, shared: &'b Arc<OpenObject>) -> Self {
        let layout = Some(shared.layout.lock());
        Self { change, shared, layout, len: None, found: Vec::new(), fresh: Vec::new(), ahead: Vec::new() }
    }

    /// Splits what is staged into pages.
    fn edits<'e>(&mut self, target: &'e Target) -> Edits<'e> {
        let end = target.stage.end().max(target.len);
        self.len = (end > self.shared.len()).then_some(end);
        let mut edits = Edits::new();
        for piece in target.stage.ranges().flat_map(|(offset, bytes)| pieces(offset, bytes)) {
            edits.entry(piece.index).or_default().pieces.push((piece.at, piece.bytes));
        }
        edits
    }

    /// Finds the pages, and takes frames for holes.
    fn locate(&mut self, edits: &mut Edits<'_>) -> Result {
        if let (Some(_), Some(layout)) = (self.len, self.layout.as_deref_mut()) {
            if layout.tail == Tail::Unknown {
                self.shared.finish_former_life(self.change, layout)?;
            }
            let (old, rules) = (self.shared.len(), self.shared.engine.rules);
            let (index, from) = (PageIndex::of_byte(old), (old % PAGE) as usize);
            // The last page still has bytes that were cut off: the record puts zeros over them.
            if layout.tail == Tail::Stale
                && from != 0
                && self.shared.locate_last(index)?.is_some()
                && !rules.broken(Rule::GrowthTail)
            {
                edits.entry(index).or_default().zero_from = Some(from);
            }
        }
        let indexes = listed(edits.keys().map(|index| index.0))?;
        self.found = room(indexes.len())?;
        for run in indexes.chunk_by(|a, b| a + 1 == *b).flat_map(|run| run.chunks(CHUNK_PAGES as usize)) {
            let first = PageIndex(run[0]);
            let frames = self.shared.locate_run(first, run.len() as u64)?;
            self.fresh.extend(self.shared.take_frames(self.change, first, &frames)?);
            let found = frames.iter().enumerate();
            self.found.extend(
                found.filter_map(|(n, frame)| frame.map(|frame| (PageIndex(first.0 + n as u64), frame))),
            );
        }
        Ok(())
    }

    /// Links the holes' frames before the batch, filled with zeros: a reader cannot tell a hole from a page of zeros,
    /// and one record cannot link so many.
    fn link_ahead(&mut self) -> Result {
        let Some(layout) = self.layout.as_deref_mut() else { return Ok(()) };
        let inside = PageIndex::pages_for(self.shared.len());
        while !self.fresh.is_empty() {
            let now: Vec<_> = self.fresh.drain(..self.fresh.len().min(CHUNK_PAGES as usize)).collect();
            if let Err(error) = now.iter().try_for_each(|f| self.shared.fill_frame(f.1, 0, &[])) {
                self.shared.give_back(&now);
                return Err(error);
            }
            // Noted before they are linked: a link takes several records, and the first ones stay when a later one
            // fails.
            self.ahead.extend(now.iter().map(|f| f.0.0).filter(|&page| page >= inside));
            self.shared.link(self.change, layout, &now, None)?;
            self.shared.remember_all(&now);
            self.shared.engine.between_steps()?;
            self.found.extend(now);
        }
        Ok(())
    }

    /// The changes of the record are in place: makes them visible to readers.
    fn committed(&mut self) {
        let Some(layout) = self.layout.as_deref_mut() else { return };
        let inside = self.shared.page_count();
        if let Some(len) = self.len {
            (layout.tail, layout.unpublished) = (Tail::Zero, false);
            layout.lengths.committed(len);
            self.shared.entry.publish_len(len);
        }
        // Only now: before, the frames held bytes of their former owners.
        self.shared.show_in_views(&self.fresh, inside);
        self.fresh.drain(..).for_each(|(index, frame)| self.shared.remember(index, frame));
    }

    /// The batch failed: gives its frames back. They were pinned as pages of no object, so their next owners begin
    /// with new descriptors. A frame that another thread is looking at by its number goes back a little later.
    fn give_back(&mut self) {
        if let Some(layout) = self.layout.as_deref_mut() {
            if self.shared.take_back(self.change, &self.ahead).is_err() {
                // The next growth of the object removes what is left of them.
                layout.tail = Tail::Unknown;
            }
        }
        if self.fresh.is_empty() {
            return;
        }
        let mut roles = self.shared.engine.pages.roles();
        let fresh = self.fresh.drain(..);
        let (idle, busy): (Vec<_>, Vec<_>) =
            fresh.partition(|&(_, frame)| roles.detach(frame) == Detached::Idle);
        self.shared.give_back(&idle);
        self.shared.engine.ledger.release_when_unpinned(busy.iter().map(|f| f.1));
    }

    fn part(&self) -> BatchPart {
        let unpublished = self.layout.as_deref().is_some_and(|layout| layout.unpublished);
        BatchPart {
            slot: self.shared.slot,
            links: self.fresh.clone(),
            size: self.len,
            publishes: unpublished && self.len.is_some(),
        }
    }
}

/// A page under the batch's latch.
struct Page<'b> {
    latched: Latched,
    edit: Edit<'b>,
    owner: PageId,
    /// Whether the batch allocates the frame. Then its old content is arbitrary.
    fresh: bool,
    /// Lines that are not durable, as far as is known.
    dirty: Lines,
    /// Lines to be logged.
    logged: Lines,
    /// The same, decided too early: for a broken rule.
    hasty: Option<Lines>,
}

impl Page<'_> {
    /// Decides which lines are logged. A line that does not change is left out only if it is durable.
    fn compare(&mut self, trusted: bool) {
        let mut old = [0; FRAME_SIZE];
        if !self.fresh {
            self.latched.copy(&mut old);
        }
        let (named, changed) = self.edit.compare(&old);
        self.logged = match (self.fresh, trusted) {
            // The record makes the frame zero first.
            (true, _) => changed,
            (false, true) => changed.with(named.among(self.dirty)),
            (false, false) => named,
        };
        self.logged = self.hasty.unwrap_or(self.logged);
    }

    /// Whether the record zeroes the frame before it stores lines.
    fn zeroed(&self) -> bool {
        self.fresh && self.logged != Lines::ALL
    }

    /// Bytes of the entries for its lines.
    fn bytes(&self) -> usize {
        self.logged.runs().map(|run| HEAD_BYTES + run.len()).sum()
    }

    /// Calls `take` with each run of logged lines, as it will be.
    fn images(&self, mut take: impl FnMut(u64, &[u8]) -> Result) -> Result {
        let mut built;
        let page = match self.edit.whole() {
            Some(whole) => whole,
            None => {
                built = [0; FRAME_SIZE];
                if !self.fresh {
                    self.latched.copy(&mut built);
                }
                self.edit.apply(&mut built);
                &built
            }
        };
        for bytes in self.logged.runs() {
            take(self.latched.frame().offset() + bytes.start as u64, &page[bytes])?;
        }
        Ok(())
    }
}

/// A batch that is being committed.
struct Commit<'b> {
    engine: &'b Arc<Engine>,
    change: &'b Change<'b>,
    members: Vec<Member<'b>>,
    /// Frames taken for the payload and not yet named by a record.
    payload: Vec<FrameNo>,
    /// The record is in the log: the frames it links belong to the objects.
    appended: bool,
}

/// A latched page whose bytes are in the log.
struct Logged {
    latched: Latched,
    /// The page that a new frame holds.
    owner: Option<PageId>,
}

impl Commit<'_> {
    /// Appends the record; the pages stay latched.
    fn append(&mut self, targets: &[Target], take: Take) -> Result<Unless<(Vec<Logged>, Sequence)>> {
        let mut edits: Vec<_> = self.members.iter_mut().zip(targets).map(|(m, t)| m.edits(t)).collect();
        self.members.iter_mut().zip(&mut edits).try_for_each(|(member, edits)| member.locate(edits))?;
        let (engine, change) = (self.engine, self.change);
        let mut parts: Vec<_> = self.members.iter().map(Member::part).collect();
        let growing = parts.iter().filter(|part| part.size.is_some()).count() as u64;
        let limit = change.batch_growing_max();
        if growing > limit {
            return Err(Error::OutOfRange {
                what: "objects that one batch lets grow",
                value: growing,
                limit,
            });
        }
        let fresh: usize = parts.iter().map(|part| part.links.len()).sum();
        if change.batch_room(&parts, fresh)?.is_none() {
            self.members.iter_mut().try_for_each(Member::link_ahead)?;
            parts = self.members.iter().map(Member::part).collect();
        }
        let mut pages = match latch(engine, &self.members, edits, take)? {
            Ok(pages) => pages,
            Err(refused) => return Ok(Err(refused)),
        };
        compare(engine, &mut pages);
        let images = images(engine, change, &parts, &pages, &mut self.payload)?;
        let zeros = listed(pages.iter().filter(|p| p.zeroed()).map(|p| p.latched.frame()))?;
        let touched = pages.iter().filter(|p| p.fresh || !p.logged.is_empty());
        let data = listed(touched.map(|p| p.latched.frame()))?;
        let mut all_logged = room(pages.len())?;
        let links =
            || parts.iter().map(|part| (part.slot, &part.links[..])).filter(|part| !part.1.is_empty());
        let sequence = engine.linking(links, || change.append_batch(&parts, &zeros, images, &data))?;
        self.appended = true;
        change.retire_payload(sequence, std::mem::take(&mut self.payload));
        let logged =
            |page: Page<'_>| Logged { latched: page.latched, owner: Some(page.owner).filter(|_| page.fresh) };
        all_logged.extend(pages.into_iter().map(logged));
        Ok(Ok((all_logged, sequence)))
    }

    /// Commits the appended record, and makes growth visible.
    fn finish(&mut self, mut pages: Vec<Logged>, sequence: Sequence) -> Result {
        for page in &pages {
            page.owner.into_iter().for_each(|owner| page.latched.set_owner(owner));
        }
        if self.engine.rules.broken(Rule::BatchReleasesEarly) {
            pages.clear();
        }
        if self.members.iter().all(|member| member.len.is_none() && member.fresh.is_empty()) {
            self.members.iter_mut().for_each(|member| member.layout = None);
        }
        self.engine.log.commit(sequence)?;
        // ORDERING: Relaxed: a counter.
        self.engine.batches.fetch_add(1, Ordering::Relaxed);
        self.members.iter_mut().for_each(Member::committed);
        drop(pages);
        Ok(())
    }
}

impl Drop for Commit<'_> {
    fn drop(&mut self) {
        if !self.appended {
            self.members.iter_mut().for_each(Member::give_back);
        }
        // Whatever cannot be given back is unusable until the next opening.
        let _ = self.engine.ledger.release(&self.payload);
    }
}

/// Pins and latches all pages in frame order, or none.
fn latch<'e>(
    engine: &Engine,
    members: &[Member<'_>],
    edits: Vec<Edits<'e>>,
    take: Take,
) -> Result<Unless<Vec<Page<'e>>>> {
    let count = members.iter().map(|member| member.found.len() + member.fresh.len()).sum();
    let mut wanted = room(count)?;
    for (member, mut edits) in members.iter().zip(edits) {
        for &(index, frame) in &member.found {
            let edit = edits.remove(&index).unwrap_or_default();
            wanted.push((
                member.shared.pin_located_short(index, frame)?,
                edit,
                member.shared.page_id(index),
                false,
            ));
        }
        for &(index, frame) in &member.fresh {
            let edit = edits.remove(&index).unwrap_or_default();
            // It has no owner before it is linked.
            let page = engine.pages.past_holds(|| engine.pages.pin_short(frame))?;
            wanted.push((page, edit, member.shared.page_id(index), true));
        }
    }
    wanted.sort_unstable_by_key(|(page, ..)| page.frame());
    if let Some(twice) = wanted.windows(2).find(|two| two[0].0.frame() == two[1].0.frame()) {
        // The second latch would wait for the first one forever.
        let (frame, [one, other]) = (twice[0].0.frame(), [0, 1].map(|n| twice[n].2));
        let why = format!("pages {} and {} lie in one frame", one.index().0, other.index().0);
        return Err(Error::corrupt("object map", frame.offset(), why));
    }
    let mut pages = room(count)?;
    for (page_ref, edit, owner, fresh) in wanted {
        let hasty = hasty(engine, &page_ref, &edit)?.filter(|_| !fresh);
        match take(page_ref)? {
            Ok(latched) => pages.push(Page {
                latched,
                edit,
                owner,
                fresh,
                dirty: Lines::NONE,
                logged: Lines::NONE,
                hasty,
            }),
            Err(refused) => return Ok(Err(refused)),
        }
    }
    Ok(Ok(pages))
}

/// The result of a comparison that does not wait for the latch: a pending batch may be about to change the page.
fn hasty(engine: &Engine, page: &PageRef, edit: &Edit<'_>) -> Result<Option<Lines>> {
    if !engine.rules.broken(Rule::BatchUnlatched) {
        return Ok(None);
    }
    let mut old = [0; FRAME_SIZE];
    engine.pages.region().memory().read(page.frame().offset(), &mut old)?;
    Ok(Some(edit.compare(&old).1))
}

/// Decides for each page which lines are logged.
fn compare(engine: &Engine, pages: &mut [Page<'_>]) {
    let rules = engine.rules;
    let ((), durable) = engine.syncs.look(|| {
        for page in pages.iter_mut().filter(|_| !rules.broken(Rule::BatchOmitsDirty)) {
            page.dirty = page.latched.dirty_lines();
        }
    });
    let trusted = durable || rules.broken(Rule::BatchOmitsTaken);
    pages.iter_mut().for_each(|page| page.compare(trusted));
}

/// What the record carries: the lines, or the place of the lines.
fn images(
    engine: &Engine,
    change: &Change<'_>,
    parts: &[BatchPart],
    pages: &[Page<'_>],
    payload: &mut Vec<FrameNo>,
) -> Result<Images> {
    let zeros = pages.iter().filter(|page| page.zeroed()).count();
    let room = change.batch_room(parts, zeros)?.unwrap_or(0) as usize;
    let bytes = pages.iter().map(Page::bytes).sum();
    if bytes <= room {
        let mut lines = Vec::new();
        for page in pages {
            page.images(|at, bytes| {
                lines.push((at, bytes.into()));
                Ok(())
            })?;
        }
        return Ok(Images::Inline(lines));
    }
    engine.ensure_whole()?;
    *payload = change.payload_frames(bytes, room as u64 / ENTRY_BYTES)?;
    let mut writer = change.payload(payload);
    pages.iter().try_for_each(|page| page.images(|at, bytes| writer.push(at, bytes)))?;
    Ok(Images::Payload(writer.finish()?))
}

/// The lines in which the two differ.
fn differences(old: &[u8; FRAME_SIZE], new: &[u8; FRAME_SIZE]) -> Lines {
    // An array has a length known at compile time, so comparing needs no call.
    fn line(page: &[u8; FRAME_SIZE], n: usize) -> Option<&[u8; LINE_SIZE]> {
        page[n * LINE_SIZE..].first_chunk()
    }
    let differ = |n: usize| u64::from(line(old, n) != line(new, n)) << n;
    Lines::new((0..LINES_PER_FRAME).fold(0, |lines, n| lines | differ(n)))
}
