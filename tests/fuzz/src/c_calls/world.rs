//! What a C program knows: its handles and pins. From these follows what the library must answer.

use super::call::Address;
use pagestone_ffi::{
    Object, PGS_E_NO_SPACE, PGS_FRAME_SIZE, PGS_OK, PageInfo, Store, pgs_close, pgs_code_name, pgs_message,
    pgs_object_close, pgs_peek, pgs_unlatch, pgs_unpin,
};
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_int, c_void};
use std::mem;
use std::path::PathBuf;
use std::ptr;

/// Places for stores and objects.
pub const STORES: usize = 3;
pub const OBJECTS: usize = 5;

/// An open object, and the place of its store.
#[derive(Clone, Copy)]
pub struct OpenObject {
    pub handle: *mut Object,
    pub store: usize,
}

/// A pin as its pgs_unpin() names it.
#[derive(Clone, Copy)]
pub struct Pin {
    pub store: usize,
    pub address: usize,
    pub len: usize,
}

/// A latch that the program holds: its frame, its mode, and the store that gave it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Latch {
    pub store: usize,
    pub frame: usize,
    pub exclusive: bool,
}

/// The program.
pub struct World {
    pub folder: PathBuf,
    pub stores: [*mut Store; STORES],
    pub objects: [Option<OpenObject>; OBJECTS],
    pub pins: Vec<Pin>,
    /// Pins of each frame, by its first address. Less than in `pins` where a frame was unpinned by its address.
    pub counts: BTreeMap<usize, u32>,
    pub latches: Vec<Latch>,
    pub closed_stores: Vec<*mut Store>,
    pub closed_objects: Vec<*mut Object>,
    pub forked: bool,
}

impl World {
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            stores: [ptr::null_mut(); STORES],
            objects: [None; OBJECTS],
            pins: Vec::new(),
            counts: BTreeMap::new(),
            latches: Vec::new(),
            closed_stores: Vec::new(),
            closed_objects: Vec::new(),
            forked: false,
        }
    }

    pub fn path(&self, name: &str) -> CString {
        CString::new(self.folder.join(name).into_os_string().into_encoded_bytes()).expect("no NUL in it")
    }

    pub fn store(&self, n: u8) -> *mut Store {
        self.stores[usize::from(n) % STORES]
    }

    pub fn object(&self, n: u8) -> *mut Object {
        self.objects[usize::from(n) % OBJECTS].map_or(ptr::null_mut(), |object| object.handle)
    }

    /// The place of the object's store.
    pub fn store_of(&self, n: u8) -> usize {
        self.objects[usize::from(n) % OBJECTS].map_or(0, |object| object.store)
    }

    /// First address of the store's region. There is a store.
    fn base(&self, store: usize) -> usize {
        let mut page = PageInfo { size: mem::size_of::<PageInfo>(), ..page() };
        let any = self.pins.iter().find(|pin| pin.store == store);
        let Some(pin) = any else { return 0 };
        // SAFETY: a live store, and a struct of the size that it names.
        let status = unsafe { pgs_peek(self.stores[store], pin.address as *const c_void, &raw mut page) };
        if status == PGS_OK { frame_of(pin.address) - page.offset as usize } else { 0 }
    }

    pub fn address(&self, store: u8, address: Address) -> usize {
        let place = usize::from(store) % STORES;
        match address {
            Address::Pinned(n, byte) => match self.pins.len() {
                0 => 0,
                pins => self.pins[usize::from(n) % pins].address.wrapping_add(byte.into()),
            },
            Address::Region(frame, byte) => {
                self.base(place) + usize::from(frame) * PGS_FRAME_SIZE + usize::from(byte)
            }
            Address::Null => 0,
            Address::Stack => (&raw const place).addr(),
            Address::Any(address) => address,
        }
    }

    /// The first addresses of the frames of a range; none if it is no valid range.
    pub fn frames(address: usize, len: usize) -> Option<impl Iterator<Item = usize>> {
        let last = address.checked_add(len.checked_sub(1)?)?;
        let first = frame_of(address);
        Some((0..=(last - first) / PGS_FRAME_SIZE).map(move |n| first + n * PGS_FRAME_SIZE))
    }

    pub fn count(&self, frame: usize) -> u32 {
        self.counts.get(&frame).copied().unwrap_or(0)
    }

    pub fn pinned(&mut self, pin: Pin) {
        for frame in Self::frames(pin.address, pin.len).expect("a range that was pinned") {
            *self.counts.entry(frame).or_default() += 1;
        }
        self.pins.push(pin);
    }

    pub fn unpinned(&mut self, address: usize, len: usize) {
        for frame in Self::frames(address, len).expect("a range that was unpinned") {
            let left = self.count(frame).checked_sub(1).expect("a pin that was not there was dropped");
            self.counts.insert(frame, left);
        }
        self.counts.retain(|_, count| *count > 0);
    }

    /// Whether unpinning the range would drop the last pin of a latched frame, which no program may do.
    pub fn would_uncover_a_latch(&self, address: usize, len: usize) -> bool {
        let end = address.saturating_add(len);
        let covered = |latch: &Latch| latch.frame < end && address < latch.frame + PGS_FRAME_SIZE;
        self.latches.iter().any(covered)
    }

    /// Asserts that the library's counts are the program's.
    pub fn compare_counts(&self) {
        for pin in &self.pins {
            let mut page = PageInfo { size: mem::size_of::<PageInfo>(), ..page() };
            // SAFETY: a live store, since it has pins, and a struct of the size that it names.
            let status =
                unsafe { pgs_peek(self.stores[pin.store], pin.address as *const c_void, &raw mut page) };
            assert_eq!((status, page.pins), (PGS_OK, self.count(frame_of(pin.address))), "pins");
        }
    }

    /// Gives back every latch: calls on contents would wait for them.
    pub fn unlatch_all(&mut self) {
        for latch in mem::take(&mut self.latches) {
            let mode = if latch.exclusive { 2 } else { 1 };
            // SAFETY: a live store, a frame that is pinned, a latch that the program holds.
            let status =
                unsafe { pgs_unlatch(self.stores[latch.store], latch.frame as *const c_void, mode, 0, 0) };
            told(status);
            assert_eq!(status, PGS_OK, "giving back a latch");
        }
    }

    /// Ends the program in order, whatever it did before.
    pub fn end(mut self) {
        self.unlatch_all();
        for pin in mem::take(&mut self.pins) {
            for frame in Self::frames(pin.address, pin.len).expect("a pinned range") {
                if self.count(frame) > 0 {
                    // SAFETY: a live store, since it has pins, and a pin of ours.
                    let status = unsafe { pgs_unpin(self.stores[pin.store], frame as *const c_void, 1) };
                    assert_eq!(status, PGS_OK, "unpinning what is pinned");
                    self.unpinned(frame, 1);
                }
            }
        }
        assert!(self.counts.is_empty(), "a frame is left pinned");
        for object in mem::take(&mut self.objects).into_iter().flatten() {
            // SAFETY: a live object.
            unsafe { pgs_object_close(object.handle) };
        }
        for store in self.stores {
            // SAFETY: NULL, or a live store.
            let status = unsafe { pgs_close(store) };
            told(status);
            // A full region may have no room for what it owes.
            assert!(status == PGS_OK || status == PGS_E_NO_SPACE, "closing an idle store: {status}");
        }
    }
}

/// An empty page struct.
pub const fn page() -> PageInfo {
    PageInfo {
        size: 0,
        pfn: 0,
        offset: 0,
        version: 0,
        pins: 0,
        shared: 0,
        exclusive: 0,
        dirty: 0,
        detached: 0,
        poisoned: 0,
        reserved: [0; 4],
    }
}

pub const fn frame_of(address: usize) -> usize {
    address / PGS_FRAME_SIZE * PGS_FRAME_SIZE
}

/// Asserts that a status is in the header and is no internal error, and that a failure has a message of one line.
pub fn told(status: c_int) {
    if status == PGS_OK {
        return;
    }
    // SAFETY: both never NULL, and valid until the next failure.
    let (name, message) = unsafe { (CStr::from_ptr(pgs_code_name(status)), CStr::from_ptr(pgs_message())) };
    let words = message.to_str().expect("messages are UTF-8");
    assert_ne!(name, c"unknown", "status {status}: {words}");
    assert_ne!(name, c"PGS_E_PANIC", "{words}");
    assert_ne!(name, c"PGS_E_CORRUPT", "{words}");
    assert!(!words.is_empty() && !words.contains('\n'), "{words:?}");
}
