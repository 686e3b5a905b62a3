//! What a thread sees, compared with the model.

use super::hands::{Hands, Latch, Pin};
use super::objects::Uid;
use super::outcome::{Verdict, ensure};
use super::scene::Scene;
use pagestone::page::PageOwner;
use pagestone::store::Object;
use pagestone::units::PageIndex;
use pagestone_workload::PAGE;
use pagestone_workload::content::pieces;
use std::collections::{BTreeMap, BTreeSet};

/// Objects of at most this many pages are read whole.
const WHOLE_MAX: u64 = 64;

impl Hands {
    /// Compares what a step may have changed: one object, all pins, the counters.
    ///
    /// # Errors
    /// The first difference.
    pub fn look(&mut self, scene: &Scene<'_>, touched: Option<Uid>) -> Verdict {
        let touched = touched.and_then(|uid| self.handles.iter().find(|handle| handle.uid == uid));
        if let Some(handle) = touched {
            self.compare_object(&handle.var, &handle.object, handle.uid)?;
        }
        self.compare_pins()?;
        if scene.alone { self.compare_counters(scene) } else { Ok(()) }
    }

    /// Compares all bytes of an object, where no latch keeps readers out.
    ///
    /// # Errors
    /// The first difference.
    pub fn compare_object(&self, var: &str, object: &Object, uid: Uid) -> Verdict {
        let known = &self.model.all[&uid];
        let content = &known.content;
        ensure(object.len() == content.len, || {
            format!("assert_eq!({var}.len(), {}); // it is {}", content.len, object.len())
        })?;
        ensure(object.is_unlinked() != known.named, || {
            format!("assert_eq!({var}.is_unlinked(), {});", !known.named)
        })?;
        ensure(known.id.is_none_or(|id| id == object.id()), || {
            format!("assert_eq!({var}.id(), {:?}); // it is {}", known.id, object.id())
        })?;
        let mapped = object.mapped().map_err(|e| e.to_string())?;
        let (inside, beyond) = content.mapped();
        let fits = if content.ahead_known { mapped == inside + beyond } else { mapped >= inside };
        ensure(fits, || {
            format!("assert_eq!({var}.mapped().unwrap(), {inside} + {beyond}); // it is {mapped}")
        })?;
        let writer = |pin: &Pin| pin.uid == uid && pin.latch == Some(Latch::Exclusive);
        if self.pins.iter().any(writer) {
            return Ok(());
        }
        if content.pages() <= WHOLE_MAX {
            return self.compare_range(var, object, uid, 0, content.len as usize + 9);
        }
        let near = |&page: &u64| [page.saturating_sub(1), page, page + 1];
        let pages: BTreeSet<u64> =
            content.frames.keys().flat_map(near).chain([content.pages() - 1]).collect();
        for page in pages.into_iter().filter(|&page| page < content.pages()) {
            self.compare_range(var, object, uid, page * PAGE, PAGE as usize)?;
        }
        Ok(())
    }

    fn compare_range(&self, var: &str, object: &Object, uid: Uid, at: u64, len: usize) -> Verdict {
        let expected = self.model.all[&uid].content.read(at, len);
        let mut found = vec![0xEE; len];
        let count =
            object.read_at(at, &mut found).map_err(|e| format!("{var}.read_at({at}, ..) failed: {e}"))?;
        ensure(count == expected.len(), || {
            format!(
                "assert_eq!({var}.read_at({at}, &mut [0; {len}]).unwrap(), {}); // it is {count}",
                expected.len()
            )
        })?;
        if found[..count] == expected {
            return Ok(());
        }
        let n = (0..count).find(|&n| found[n] != expected[n]).unwrap_or(0);
        let mut run = n;
        while run < count && found[run] != expected[run] {
            run += 1;
        }
        Err(format!(
            "assert_eq!(byte(&{var}, {}), {:#04x}); // it shows {:#04x}; {} bytes in a row differ",
            at + n as u64,
            expected[n],
            found[n],
            run - n
        ))
    }

    pub(super) fn compare_pins(&self) -> Verdict {
        let mut frames = BTreeMap::new();
        for pin in &self.pins {
            self.compare_pin(pin)?;
            let place = (pin.page.pfn().get(), pin.page.address().addr());
            if let Some(other) = frames.insert(pin.token, place) {
                ensure(other == place, || {
                    format!("{} is at {place:x?}, another pin of its page at {other:x?}", pin.var)
                })?;
            }
        }
        let distinct: BTreeSet<_> = frames.values().collect();
        ensure(distinct.len() == frames.len(), || format!("two pages have one frame: {frames:x?}"))
    }

    fn compare_pin(&self, pin: &Pin) -> Verdict {
        let (var, info) = (&pin.var, pin.page.info());
        let same = || self.pins.iter().filter(|other| other.token == pin.token);
        let latched = |kind| same().filter(|other| other.latch == Some(kind)).count() as u32;
        ensure(info.pins == same().count() as u32, || {
            format!("assert_eq!({var}.info().pins, {}); // it is {}", same().count(), info.pins)
        })?;
        let (readers, writers) = (latched(Latch::Shared), latched(Latch::Exclusive));
        ensure(info.shared == readers && info.exclusive == (writers == 1), || {
            format!("{var} is latched by {readers} readers and {writers} writers: {info:?}")
        })?;
        let gone = !self.model.holds(pin.uid, pin.index, pin.token);
        ensure(gone == pin.gone.is_some(), || format!("the model contradicts itself about {var}"))?;
        ensure(info.detached == gone && pin.page.is_detached() == gone, || {
            format!("assert_eq!({var}.is_detached(), {gone});")
        })?;
        // An object that is gone for good is no longer in the model.
        let object = self.model.all.get(&pin.uid).filter(|_| !gone);
        let owner = object
            .and_then(|o| o.id)
            .map(|id| PageOwner { object: (id & 0xFFF_FFFF) as u32, index: PageIndex(pin.index) });
        ensure(info.owner == owner, || {
            format!("assert_eq!({var}.info().owner, {owner:?}); // it is {:?}", info.owner)
        })?;
        if writers != 0 {
            let mut copy = [0; PAGE as usize];
            let whole = pin.page.read_optimistic(&mut copy).map_err(|e| e.to_string())?;
            return ensure(!whole, || format!("{var} was copied without a latch beside a writer"));
        }
        let expected = match (&pin.gone, object) {
            (None, Some(object)) => &object.content.frames[&pin.index].bytes,
            (Some(bytes), _) => bytes,
            (None, None) => return Err(format!("the model has lost the object of {var}")),
        };
        let shown = pin.page.read().map_err(|e| e.to_string())?;
        let n = shown.iter().zip(expected.iter()).position(|(a, b)| a != b);
        ensure(n.is_none(), || {
            let n = n.unwrap_or(0);
            format!(
                "assert_eq!({var}.read().unwrap()[{n}], {:#04x}); // it shows {:#04x}",
                expected[n], shown[n]
            )
        })
    }

    fn compare_counters(&self, scene: &Scene<'_>) -> Verdict {
        let stats = scene.store.stats();
        let open = self.model.all.values().filter(|object| object.handles != 0).count() as u64;
        ensure(stats.open_objects == open, || {
            format!("assert_eq!(store.stats().open_objects, {open}); // it is {}", stats.open_objects)
        })?;
        let pinned = self.pinned();
        let most = pinned + self.lingering as u64;
        ensure((pinned..=most).contains(&stats.pinned_pages), || {
            format!("store.stats().pinned_pages is {}, {pinned} pages are pinned", stats.pinned_pages)
        })
    }

    /// The number of frames that this thread pins.
    #[must_use]
    pub fn pinned(&self) -> u64 {
        self.pins.iter().map(|pin| pin.token).collect::<BTreeSet<_>>().len() as u64
    }

    /// Compares everything: each object that has a name or a handle.
    ///
    /// # Errors
    /// The first difference.
    pub fn compare_all(&mut self, scene: &Scene<'_>) -> Verdict {
        let open: Vec<_> = self.handles.iter().map(|handle| handle.uid).collect();
        for handle in &self.handles {
            self.compare_object(&handle.var, &handle.object, handle.uid)?;
        }
        let closed: Vec<_> = self
            .model
            .names
            .iter()
            .filter(|(_, uid)| !open.contains(uid))
            .map(|(&n, &uid)| (n, uid))
            .collect();
        for (n, uid) in closed {
            if self.pins.iter().any(|pin| pin.uid == uid && pin.latch == Some(Latch::Exclusive)) {
                continue;
            }
            let var = format!("store.open({}).unwrap()", self.spell(n));
            let object = scene.store.open(self.name(n)).map_err(|e| format!("{var} failed: {e}"))?;
            self.model.get(uid).id.get_or_insert(object.id());
            self.compare_object(&var, &object, uid)?;
        }
        self.compare_pins()
    }
}

/// The pages of an object inside its length, as far as they can be read.
///
/// # Errors
/// The store's.
pub fn shown_pages(
    object: &Object,
    pages: impl Iterator<Item = u64>,
) -> Verdict<BTreeMap<u64, (bool, Vec<u8>)>> {
    let mut shown = BTreeMap::new();
    for page in pages {
        let pin = object.pin(PageIndex(page)).map_err(|e| format!("pinning page {page} fails: {e}"))?;
        let bytes = match &pin {
            Some(pin) => pin.read().map_err(|e| format!("reading page {page} fails: {e}"))?.to_vec(),
            None => vec![0; PAGE as usize],
        };
        let inside =
            pieces(page * PAGE..object.len().min((page + 1) * PAGE)).map(|(_, piece)| piece.len()).sum();
        let mut read = vec![0xEE; inside];
        let count =
            object.read_at(page * PAGE, &mut read).map_err(|e| format!("reading page {page} fails: {e}"))?;
        ensure(count == inside && read == bytes[..inside], || {
            format!("page {page} is read otherwise than its pin shows it")
        })?;
        shown.insert(page, (pin.is_some(), bytes));
    }
    Ok(shown)
}
