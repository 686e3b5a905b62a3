//! Steps on bytes and lengths.

use super::hands::Hands;
use super::history::Hides;
use super::objects::Uid;
use super::outcome::{Got, Kind, Verdict, ensure, kind};
use super::prelude::bytes;
use super::scene::Scene;
use pagestone::store::Object;
use pagestone::units::PageIndex;
use pagestone_workload::PAGE;
use pagestone_workload::content::pieces;
use std::time::Duration;

/// More pages than there are in a region that can become full.
const PAGES_ENOUGH: u64 = 400;

/// The error for a range that ends beyond the largest object.
pub(super) fn too_far(at: u64, len: u64) -> Option<Kind> {
    at.checked_add(len).is_none_or(|end| end > Object::LEN_MAX).then_some(Kind::OutOfRange)
}

impl Hands {
    pub(super) fn write(&mut self, scene: &Scene<'_>, h: usize, at: u64, len: usize) -> Verdict {
        let seed = self.seed();
        let (var, uid) = (self.handles[h].var.clone(), self.handles[h].uid);
        self.code.line(|| format!("{var}.write_at({at}, &bytes({seed}, {len}))"));
        let stored = bytes(seed, len);
        let expected = too_far(at, len as u64);
        let laid_out = expected.is_none() && self.model.get(uid).content.is_laid_out(at, len as u64);
        let scene = &Scene { full: scene.full && !laid_out, ..*scene };
        let got = scene.judge(&self.code, self.handles[h].object.write_at(at, &stored), expected)?;
        self.note(&got);
        match got {
            Got::Done(()) | Got::Broken if expected.is_none() => self.written(uid, at, &stored),
            Got::Full => self.half_written(scene, h, at, &stored)?,
            _ => {}
        }
        Ok(())
    }

    pub(super) fn append(&mut self, scene: &Scene<'_>, h: usize, len: usize) -> Verdict {
        let seed = self.seed();
        let (var, uid) = (self.handles[h].var.clone(), self.handles[h].uid);
        self.code.line(|| format!("{var}.append(&bytes({seed}, {len}))"));
        let (at, stored) = (self.model.get(uid).content.len, bytes(seed, len));
        let expected = too_far(at, len as u64);
        let got = scene.judge(&self.code, self.handles[h].object.append(&stored), expected)?;
        self.note(&got);
        match got {
            Got::Done(found) => {
                ensure(found == at, || format!("an append went to {found}, the end was {at}"))?;
                self.written(uid, at, &stored);
            }
            Got::Broken if expected.is_none() => self.written(uid, at, &stored),
            Got::Full => self.could_not_grow(scene, h)?,
            _ => {}
        }
        Ok(())
    }

    /// Appends until the region is full, if it can become full.
    pub(super) fn fill(&mut self, scene: &Scene<'_>, h: usize) -> Verdict {
        let uid = self.handles[h].uid;
        for _ in 0..PAGES_ENOUGH {
            let before = self.model.get(uid).content.len;
            if !scene.full || self.broken || before > PAGES_ENOUGH * PAGE {
                break;
            }
            self.append(scene, h, PAGE as usize)?;
            if self.model.get(uid).content.len == before {
                break;
            }
            self.model.passed(scene.recorded);
            self.model.op += 1;
        }
        Ok(())
    }

    /// The model after a write.
    fn written(&mut self, uid: Uid, at: u64, stored: &[u8]) {
        if stored.is_empty() {
            return;
        }
        self.lingering = 0;
        self.model.grow(uid, at + stored.len() as u64);
        let op = self.model.op;
        let object = self.model.all.entry(uid).or_default();
        object.content.store(at, stored, &mut self.tokens);
        object.history.stored(op, at, stored);
    }

    /// A write found no space: bytes inside the old length may be new where there were frames.
    fn half_written(&mut self, scene: &Scene<'_>, h: usize, at: u64, stored: &[u8]) -> Verdict {
        let uid = self.handles[h].uid;
        let content = &self.model.get(uid).content;
        let end = content.len.min(at + stored.len() as u64).max(at);
        let before = content.read(at, (end - at) as usize);
        let mut found = vec![0; before.len()];
        if let Err(error) = self.handles[h].object.read_at(at, &mut found) {
            let op = self.model.op;
            self.model.get(uid).history.stored(op, at, &stored[..before.len()]);
            return self.failed_beside(scene, &error);
        }
        let odd = (0..found.len()).find(|&i| found[i] != before[i] && found[i] != stored[i]);
        ensure(odd.is_none(), || {
            format!("a write that found no space left neither the old nor the new byte at {at} + {odd:?}")
        })?;
        let op = self.model.op;
        let object = self.model.all.entry(uid).or_default();
        let mut done = 0;
        for (page, piece) in pieces(at..end) {
            let part = &found[done..done + piece.len()];
            if object.content.frames.contains_key(&page) {
                object.content.store(page * PAGE + piece.start as u64, part, &mut self.tokens);
                object.history.stored(op, page * PAGE + piece.start as u64, part);
            }
            done += piece.len();
        }
        if at + stored.len() as u64 > object.content.len { self.could_not_grow(scene, h) } else { Ok(()) }
    }

    /// A growth found no space. It does not matter how far it came, once what it may have left behind the end is cut off.
    pub(super) fn could_not_grow(&mut self, scene: &Scene<'_>, h: usize) -> Verdict {
        let uid = self.handles[h].uid;
        let content = &self.model.get(uid).content;
        let (len, last, (inside, beyond)) = (content.len, content.pages(), content.mapped());
        let (op, tail) = (self.model.op, len..len.next_multiple_of(PAGE));
        self.model.get(uid).history.zeroed(op, tail, Hides::Nothing);
        let content = &self.model.get(uid).content;
        let ahead_known = content.ahead_known;
        let from = (len % PAGE) as usize;
        let var = self.handles[h].var.clone();
        let object = &self.handles[h].object;
        let zero_tail = || -> pagestone::Result<u64> {
            if from != 0
                && let Some(page) = object.pin(PageIndex(last - 1))?
            {
                self.code.line(|| format!("zero_tail(&{var});"));
                page.write_range(from..PAGE as usize)?.fill(0);
            }
            object.mapped()
        };
        let mapped = match zero_tail() {
            Ok(mapped) => mapped,
            Err(error) => return self.failed_beside(scene, &error),
        };
        ensure(mapped == inside || mapped == inside + beyond || !ahead_known, || {
            format!(
                "{mapped} pages have frames after a growth that found no space; before: {inside} + {beyond}"
            )
        })?;
        self.model.get(uid).content.could_not_grow(mapped == inside + beyond);
        Ok(())
    }

    /// A look at the results of a call has failed: is that because another thread has met the planned failure?
    fn failed_beside(&mut self, scene: &Scene<'_>, error: &pagestone::Error) -> Verdict {
        ensure(scene.armed && kind(error) == Kind::Poisoned, || error.to_string())?;
        self.broken = true;
        Ok(())
    }

    pub(super) fn read(&mut self, scene: &Scene<'_>, h: usize, at: u64, len: usize) -> Verdict {
        let (var, uid) = (self.handles[h].var.clone(), self.handles[h].uid);
        self.code.line(|| format!("{var}.read_at({at}, &mut [0; {len}])"));
        let mut found = vec![0xEE; len];
        let got = scene.judge(&self.code, self.handles[h].object.read_at(at, &mut found), None)?;
        if let Got::Done(count) = got {
            let expected = self.model.get(uid).content.read(at, len);
            ensure(found[..count] == expected, || {
                let byte = expected.iter().zip(&found[..count]).position(|(a, b)| a != b);
                format!(
                    "a read from {at} shows {count} bytes, {} are there; they differ at {byte:?}",
                    expected.len()
                )
            })?;
        }
        Ok(())
    }

    pub(super) fn set_len(&mut self, scene: &Scene<'_>, h: usize, len: u64, wait: bool) -> Verdict {
        let (var, uid) = (self.handles[h].var.clone(), self.handles[h].uid);
        let old = self.model.get(uid).content.len;
        let cut = |pin: &super::hands::Pin| {
            pin.uid == uid && pin.gone.is_none() && pin.index >= PageIndex::pages_for(len)
        };
        let held = wait && self.pins.iter().any(cut);
        let expected = if held { Some(Kind::TimedOut) } else { too_far(len, 0) };
        let object = &self.handles[h].object;
        let result = if wait {
            self.code.line(|| format!("{var}.set_len_wait({len}, Duration::ZERO)"));
            object.set_len_wait(len, Duration::ZERO)
        } else {
            self.code.line(|| format!("{var}.set_len({len})"));
            object.set_len(len)
        };
        let got = scene.judge(&self.code, result, expected)?;
        self.note(&got);
        match got {
            Got::Done(()) | Got::Broken if expected.is_none() => {
                self.lingering = 0;
                self.model.grow(uid, len);
                if len < old {
                    let gone = self.model.get(uid).content.cut(len);
                    self.cut_off(gone);
                }
            }
            Got::Full if len > old => self.could_not_grow(scene, h)?,
            _ => {}
        }
        Ok(())
    }

    pub(super) fn punch(&mut self, scene: &Scene<'_>, h: usize, at: u64, len: u64) -> Verdict {
        let (var, uid) = (self.handles[h].var.clone(), self.handles[h].uid);
        self.code.line(|| format!("{var}.punch_hole({at}, {len})"));
        let expected = too_far(at, len);
        let got = scene.judge(&self.code, self.handles[h].object.punch_hole(at, len), expected)?;
        self.note(&got);
        if matches!(got, Got::Done(()) | Got::Broken) && expected.is_none() {
            self.lingering = 0;
            let op = self.model.op;
            let object = self.model.get(uid);
            let whole = object.content.punched(at, len);
            object.history.zeroed(op, at..at + len, Hides::Nothing);
            object.history.zeroed(op, whole.start * PAGE..whole.end * PAGE, Hides::WhenShown);
            let gone = object.content.punch(at, len);
            self.cut_off(gone);
        }
        Ok(())
    }

    pub(super) fn allocate(&mut self, scene: &Scene<'_>, h: usize, at: u64, len: u64) -> Verdict {
        let (var, uid) = (self.handles[h].var.clone(), self.handles[h].uid);
        self.code.line(|| format!("{var}.allocate({at}, {len})"));
        let got = scene.judge(&self.code, self.handles[h].object.allocate(at, len), too_far(at, len))?;
        self.note(&got);
        let beyond = at + len > self.model.get(uid).content.len;
        match got {
            Got::Done(()) | Got::Broken if len != 0 => {
                self.lingering = 0;
                self.model.all.entry(uid).or_default().content.allocate(at..at + len, &mut self.tokens);
            }
            Got::Full if beyond => self.could_not_grow(scene, h)?,
            _ => {}
        }
        Ok(())
    }

    /// It shows nothing: pins, contents and lengths stay.
    pub(super) fn move_pages(&mut self, scene: &Scene<'_>, h: usize, page: u64, pages: u64) -> Verdict {
        let (var, end) = (self.handles[h].var.clone(), page.saturating_add(pages));
        self.code.line(|| format!("{var}.move_pages({page}..{end}, Duration::ZERO)"));
        let moved = self.handles[h].object.move_pages(page..end, Duration::ZERO);
        let got = scene.judge(&self.code, moved.map(drop), None)?;
        self.note(&got);
        Ok(())
    }

    pub(super) fn sync(&mut self, scene: &Scene<'_>, h: usize) -> Verdict {
        let (var, uid) = (self.handles[h].var.clone(), self.handles[h].uid);
        self.code.line(|| format!("{var}.sync()"));
        let got = scene.judge(&self.code, self.handles[h].object.sync(), None)?;
        self.note(&got);
        if let Got::Done(()) = got {
            self.model.passed(scene.recorded);
            self.model.committed();
            let object = self.model.get(uid);
            object.history.settle(&object.content);
            let dirty =
                self.pins.iter().find(|pin| pin.uid == uid && pin.gone.is_none() && pin.page.info().dirty);
            ensure(dirty.is_none(), || "a page of the object is dirty after its sync".into())?;
        }
        Ok(())
    }

    pub(super) fn sync_range(&mut self, scene: &Scene<'_>, h: usize, at: u64, len: u64) -> Verdict {
        let (var, uid) = (self.handles[h].var.clone(), self.handles[h].uid);
        self.code.line(|| format!("{var}.sync_range({at}, {len})"));
        let got = scene.judge(&self.code, self.handles[h].object.sync_range(at, len), None)?;
        self.note(&got);
        if let Got::Done(()) = got {
            self.model.passed(scene.recorded);
            self.model.committed();
            let op = self.model.op;
            let object = self.model.get(uid);
            for (&page, frame) in object.content.frames.range(at / PAGE..) {
                let from = at.max(page * PAGE);
                let to = (at.saturating_add(len)).min(object.content.len).min((page + 1) * PAGE);
                if from < to {
                    let inside = (from - page * PAGE) as usize..(to - page * PAGE) as usize;
                    object.history.synced(op, from, &frame.bytes[inside]);
                }
            }
        }
        Ok(())
    }

    pub(super) fn sync_all(&mut self, scene: &Scene<'_>) -> Verdict<Option<Uid>> {
        self.code.line(|| "store.sync()".into());
        let got = scene.judge(&self.code, scene.store.sync(), None)?;
        self.note(&got);
        if let Got::Done(()) = got {
            self.model.passed(scene.recorded);
            self.model.settled();
        }
        Ok(None)
    }
}
