//! Steps on pins and latches.

use super::hands::{Hands, Latch, Pin};
use super::objects::{Object, Uid};
use super::outcome::{Got, Kind, Verdict, ensure};
use super::prelude::bytes;
use super::prelude::{around_by_address, unlatch_exclusive, unlatch_shared};
use super::scene::Scene;
use super::step::Way;
use super::tally::Event;
use pagestone::page::PageRef;
use pagestone::store::{PinRange, frames_at};
use pagestone::units::{PageIndex, PfnRange};
use pagestone_workload::PAGE;
use pagestone_workload::content::Tail;
use std::ops::Range;

const LEN_MAX: u64 = pagestone::store::Object::LEN_MAX;
const PAGES_MAX: u64 = LEN_MAX / PAGE;

impl Hands {
    pub(super) fn pin(&mut self, scene: &Scene<'_>, h: usize, page: u64) -> Verdict {
        let (handle, uid) = (self.handles[h].var.clone(), self.handles[h].uid);
        let var = self.code.variable('p');
        self.code.line(|| format!("let {var} = {handle}.pin(PageIndex({page}))"));
        let got = scene.judge(&self.code, self.handles[h].object.pin(PageIndex(page)), None)?;
        self.note(&got);
        let content = &self.model.get(uid).content;
        let frame = content.frames.get(&page).filter(|_| page < content.pages()).cloned();
        match (got, frame) {
            (Got::Done(Some(pinned)), Some(frame)) => {
                self.code.line(|| format!("let {var} = {var}.unwrap();"));
                self.keep_pin(var, pinned, uid, page, frame.token);
                Ok(())
            }
            (Got::Done(Some(_)), None) => {
                Err(format!("page {page} is a hole, or past the end, and was pinned"))
            }
            (Got::Done(None), Some(_)) => {
                Err(format!("page {page} has a frame, and the pin says it is a hole"))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn pin_mut(&mut self, scene: &Scene<'_>, h: usize, page: u64) -> Verdict {
        let (handle, uid) = (self.handles[h].var.clone(), self.handles[h].uid);
        let var = self.code.variable('p');
        self.code.line(|| format!("let {var} = {handle}.pin_mut(PageIndex({page}))"));
        let expected = (page >= PAGES_MAX).then_some(Kind::OutOfRange);
        let got = scene.judge(&self.code, self.handles[h].object.pin_mut(PageIndex(page)), expected)?;
        self.note(&got);
        let grows = page >= self.model.get(uid).content.pages();
        if expected.is_some() {
            return Ok(());
        }
        match got {
            Got::Full if grows => self.could_not_grow(scene, h)?,
            Got::Done(_) | Got::Broken => {
                if grows {
                    self.model.grow(uid, (page + 1) * PAGE);
                }
                let content = &mut self.model.all.entry(uid).or_default().content;
                // The last page may be partly inside the length: the object does not grow.
                let inside = page * PAGE..((page + 1) * PAGE).min(content.len);
                content.allocate(inside, &mut self.tokens);
                let token = self.model.get(uid).content.frames[&page].token;
                if let Got::Done(pinned) = got {
                    self.keep_pin(var, pinned, uid, page, token);
                }
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn pin_range(&mut self, scene: &Scene<'_>, h: usize, at: u64, len: usize) -> Verdict {
        let (handle, uid) = (self.handles[h].var.clone(), self.handles[h].uid);
        self.code.line(|| format!("{handle}.pin_range({at}, {len})"));
        let far = at.checked_add(len as u64).is_none_or(|end| end > LEN_MAX);
        let expected = far.then_some(Kind::OutOfRange);
        let got = scene.judge(&self.code, self.handles[h].object.pin_range(at, len), expected)?;
        self.note(&got);
        let content = &self.model.get(uid).content;
        let Got::Done(found) = got else { return Ok(()) };
        let end = at + len as u64;
        let pages = at / PAGE..PageIndex::pages_for(end).max(at / PAGE + 1);
        let whole = pages.clone().all(|page| content.frames.contains_key(&page));
        let range = match found {
            PinRange::Pinned(range) => range,
            PinRange::PastEnd => {
                return ensure(end > content.len || !whole, || "a range inside is past the end".into());
            }
            PinRange::Hole => {
                return ensure(end <= content.len && !whole, || "a range is called a hole".into());
            }
            PinRange::Scattered => {
                return ensure(end <= content.len && whole, || "a range is called scattered".into());
            }
        };
        ensure(end <= content.len, || "a range past the end was pinned".into())?;
        ensure(whole, || "a range with holes was pinned".into())?;
        let same = range.frames() as u64 == pages.end - pages.start && range.len() == len;
        ensure(same, || {
            format!("{} frames and {} bytes are pinned of {pages:?}", range.frames(), range.len())
        })?;
        ensure(range.address().addr() as u64 % PAGE == at % PAGE, || "a range begins elsewhere".into())?;
        let bytes = range.into_raw();
        // SAFETY: the pins left the line above, taken back once.
        let range = unsafe { scene.store.pages().adopt_range(bytes) }.map_err(|e| e.to_string())?;
        let pins = self.pins.iter().filter(|pin| pin.token == content.frames[&pages.start].token).count();
        let counted = range.first().info().pins as usize;
        ensure(counted == pins + 1, || {
            format!("{counted} pins are counted, there are {pins} and the range's")
        })
    }

    pub(super) fn pin_again(&mut self, scene: &Scene<'_>, n: usize, way: Way) -> Verdict<Option<Uid>> {
        if self.pins.is_empty() {
            return Ok(None);
        }
        let n = n % self.pins.len();
        let pin = &self.pins[n];
        let (from, uid, index, token) = (pin.var.clone(), pin.uid, pin.index, pin.token);
        let expected = (pin.gone.is_some() && way != Way::Clone).then_some(Kind::Detached);
        let var = self.code.variable('p');
        let result: pagestone::Result<Option<PageRef>> = match way {
            Way::Clone => {
                self.code.line(|| format!("let {var} = {from}.try_clone()"));
                pin.page.try_clone().map(Some)
            }
            Way::Number => {
                self.code.line(|| format!("let {var} = store.frames(PfnRange::new({from}.pfn(), 1))"));
                scene.store.frames(PfnRange::new(pin.page.pfn(), 1)).map(|mut pins| pins.pop())
            }
            Way::Address => {
                self.code.line(|| format!("let {var} = frames_at({from}.address().wrapping_add(77), 9)"));
                frames_at(pin.page.address().wrapping_add(77), 9).map(|mut pins| pins.pop())
            }
        };
        let gone = pin.gone.clone();
        let got = scene.judge(&self.code, result, expected)?;
        self.note(&got);
        if let Got::Done(page) = got {
            let page = page.ok_or("no pin came back")?;
            if way != Way::Clone {
                self.code.line(|| format!("let {var} = {var}.pop().unwrap();"));
            }
            self.keep_pin(var, page, uid, index, token);
            if let Some(kept) = self.pins.last_mut() {
                kept.gone = gone;
            }
        }
        Ok(None)
    }

    pub(super) fn store(
        &mut self,
        scene: &Scene<'_>,
        n: usize,
        at: usize,
        len: usize,
    ) -> Verdict<Option<Uid>> {
        let seed = self.seed();
        if self.pins.is_empty() {
            return Ok(None);
        }
        let n = n % self.pins.len();
        self.unlatch_object(self.pins[n].uid);
        let pin = &self.pins[n];
        let (var, uid, index) = (pin.var.clone(), pin.uid, pin.index);
        let Range { start, end } = self.writable(uid, index, at..(at + len).min(PAGE as usize));
        let pin = &self.pins[n];
        let stored = bytes(seed, end - start);
        self.code.line(|| {
            format!(
                "{var}.write_range({start}..{end}).map(|mut b| b.copy_from_slice(&bytes({seed}, {})))",
                end - start
            )
        });
        let expected = pin.gone.is_some().then_some(Kind::Detached);
        let result = pin.page.write_range(start..end).map(|mut guard| guard.copy_from_slice(&stored));
        let got = scene.judge(&self.code, result, expected)?;
        self.note(&got);
        if let Got::Done(()) = got {
            self.stored(uid, index * PAGE + start as u64, &stored);
            return Ok(Some(uid));
        }
        Ok(None)
    }

    /// The model after a store through a pin of a page that belongs to its object.
    pub fn stored(&mut self, uid: Uid, at: u64, stored: &[u8]) {
        let op = self.model.op;
        let object = self.model.all.entry(uid).or_default();
        object.content.store(at, stored, &mut self.tokens);
        object.history.stored(op, at, stored);
    }

    /// The part of a range in a page that may be written through a pin: all of it, except bytes of which the model does
    /// not know
    /// whether they will show.
    #[must_use]
    pub fn writable(&self, uid: Uid, index: u64, range: Range<usize>) -> Range<usize> {
        let Some(Object { content, .. }) = self.model.all.get(&uid) else { return range };
        if !matches!(content.tail, Tail::Doubt | Tail::Unknown) {
            return range;
        }
        let inside = content.len.saturating_sub(index * PAGE).min(PAGE) as usize;
        range.start.min(inside)..range.end.min(inside)
    }

    pub(super) fn latch(&mut self, n: usize, exclusive: bool) -> Verdict<Option<Uid>> {
        if self.pins.is_empty() {
            return Ok(None);
        }
        let n = n % self.pins.len();
        let token = self.pins[n].token;
        let held: Vec<_> = self.pins.iter().filter(|p| p.token == token).filter_map(|p| p.latch).collect();
        let pin = &mut self.pins[n];
        let var = &pin.var;
        if exclusive {
            self.code.line(|| format!("{var}.try_write().unwrap().unwrap().into_raw();"));
            match pin.page.try_write() {
                Ok(Some(guard)) => {
                    guard.into_raw();
                    ensure(held.is_empty() && pin.gone.is_none(), || {
                        format!(
                            "the exclusive latch was given beside {held:?}, detached: {:?}",
                            pin.gone.is_some()
                        )
                    })?;
                    pin.latch = Some(Latch::Exclusive);
                    Event::LatchesHeld.happened();
                    Ok(None)
                }
                Ok(None) if !held.is_empty() => Ok(None),
                Err(pagestone::Error::Detached { .. }) if pin.gone.is_some() => Ok(None),
                other => {
                    Err(format!("the exclusive latch: {:?}, held are {held:?}", other.map(|g| g.is_some())))
                }
            }
        } else {
            if pin.latch.is_some() {
                return Ok(None);
            }
            self.code.line(|| format!("{var}.try_read().unwrap().unwrap().into_raw();"));
            let guard = pin.page.try_read().map_err(|e| e.to_string())?;
            let free = !held.contains(&Latch::Exclusive);
            ensure(guard.is_some() == free, || {
                format!("a shared latch beside {held:?}: {}", guard.is_some())
            })?;
            if let Some(guard) = guard {
                guard.into_raw();
                pin.latch = Some(Latch::Shared);
                Event::LatchesHeld.happened();
            }
            Ok(None)
        }
    }

    pub(super) fn unlatch_chosen(&mut self, n: usize) -> Verdict<Option<Uid>> {
        if !self.pins.is_empty() {
            self.unlatch(n % self.pins.len());
        }
        Ok(None)
    }

    /// Gives the latch back that is held through a pin.
    pub(super) fn unlatch(&mut self, n: usize) {
        let pin = &mut self.pins[n];
        let var = &pin.var;
        match pin.latch.take() {
            None => {}
            Some(Latch::Shared) => {
                self.code.line(|| format!("unlatch_shared(&{var});"));
                unlatch_shared(&pin.page);
            }
            Some(Latch::Exclusive) => {
                self.code.line(|| format!("unlatch_exclusive(&{var});"));
                unlatch_exclusive(&pin.page);
            }
        }
    }

    /// Gives back all latches on pages of an object: the next operation may need them.
    pub(super) fn unlatch_object(&mut self, uid: Uid) {
        (0..self.pins.len())
            .filter(|&n| self.pins[n].uid == uid)
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|n| self.unlatch(n));
    }

    /// Gives back all latches.
    pub fn unlatch_all(&mut self) {
        (0..self.pins.len()).for_each(|n| self.unlatch(n));
    }

    /// A pin is given away by address and taken back.
    pub(super) fn raw(&mut self, scene: &Scene<'_>, n: usize) -> Verdict<Option<Uid>> {
        if self.pins.is_empty() {
            return Ok(None);
        }
        let n = n % self.pins.len();
        self.unlatch(n);
        let pin = self.pins.remove(n);
        let (var, before) = (&pin.var, pin.page.info());
        self.code.line(|| format!("let {var} = around_by_address(&store, {var}).unwrap();"));
        let page = around_by_address(scene.store, pin.page).map_err(|e| e.to_string())?;
        let after = page.info();
        let Pin { var, uid, index, token, gone, latch, .. } = pin;
        self.pins.insert(n, Pin { var, page, uid, index, token, gone, latch });
        ensure(before == after, || format!("given away and taken back: {before:?} became {after:?}"))?;
        Ok(None)
    }
}
