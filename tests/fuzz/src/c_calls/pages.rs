//! Makes the calls on pins and latches. Pins are counted for each frame, whichever call made them. The program's own
//! counts say what the library must answer.

use super::call::{Address, At, Bytes, Call, Flags, Pfn, Struct};
use super::make::{UNTOUCHED, out, sized};
use super::world::{Latch, Pin, STORES, World, frame_of, told};
use pagestone_ffi::*;
use std::ffi::c_void;
use std::mem;
use std::ptr;

impl Bytes {
    const fn get(self) -> usize {
        match self {
            Self::Some(n) => n as usize,
            Self::Any(n) => n,
        }
    }
}

impl World {
    pub fn make_paged(&mut self, call: &Call) {
        match *call {
            Call::Pin { object, at, len, flags, no_out } => self.pin(object, at, len.into(), flags, no_out),
            Call::Unpin { pin } => self.unpin(pin),
            Call::UnpinAt { store, address, len } => {
                let (address, len) = (self.address(store, address), len.get());
                self.unpin_at(usize::from(store) % STORES, address, len);
            }
            Call::PinFrame { store, pfn, no_out } => self.pin_frame(store, pfn, no_out),
            Call::PinAddress { store, address, len } => self.pin_address(store, address, len.get()),
            Call::Latch { store, address, mode } => self.latch(store, address, mode),
            Call::Unlatch { store, address, mode, from, len } => {
                self.unlatch(store, address, mode, from.get(), len.get());
            }
            Call::PageInfo { store, address, page } => self.page_info(store, address, page),
            _ => unreachable!("every call is made somewhere"),
        }
    }

    fn pin(&mut self, object: u8, at: At, len: usize, flags: Flags, no_out: bool) {
        let mut address: *mut c_void = UNTOUCHED as *mut c_void;
        let handle = self.object(object);
        // SAFETY: NULL or a live object; NULL or room for a pointer.
        let status = unsafe { pgs_pin(handle, at.get(), len, flags.get(), out(&mut address, no_out)) };
        told(status);
        let wrong = handle.is_null() || no_out || len == 0 || flags.get() > 1;
        assert!(!wrong || status == PGS_E_INVALID || status == PGS_E_READ_ONLY, "{status}");
        if status == PGS_OK {
            self.pinned(Pin { store: self.store_of(object), address: address.addr(), len });
            // SAFETY: pinned, and readable so far and a little further.
            unsafe {
                let _ = address.cast::<u8>().read_volatile();
                let _ = address.cast::<u8>().add(len - 1 + PGS_PIN_SLACK).read_volatile();
            }
        } else {
            assert_eq!(address.addr(), UNTOUCHED, "an output was written by a call that failed");
        }
    }

    fn unpin(&mut self, pin: u8) {
        if self.pins.is_empty() {
            return;
        }
        let at = usize::from(pin) % self.pins.len();
        let Pin { store, address, len } = self.pins[at];
        if self.would_uncover_a_latch(address, len) {
            return;
        }
        self.pins.swap_remove(at);
        self.unpin_at(store, address, len);
    }

    fn unpin_at(&mut self, store: usize, address: usize, len: usize) {
        let ours = self.pins.iter().any(|pin| pin.store == store);
        let known = Self::frames(address, len)
            .is_some_and(|frames| frames.take(4096).all(|frame| self.count(frame) > 0));
        // Pins of another store's frames must not be dropped by this store, and latched frames stay pinned.
        let other = self.pins.iter().any(|pin| pin.store != store);
        if self.would_uncover_a_latch(address, len) || (known && ours && other) {
            return;
        }
        // SAFETY: NULL or a live store; a pin of the program's, or one that it must be told it has not.
        let status = unsafe { pgs_unpin(self.stores[store], address as *const c_void, len) };
        told(status);
        if status == PGS_OK {
            self.unpinned(address, len);
        } else {
            assert!(matches!(status, PGS_E_INVALID | PGS_E_FOREIGN), "{status}");
        }
    }

    fn pin_frame(&mut self, store: u8, pfn: Pfn, no_out: bool) {
        let mut address: *mut c_void = UNTOUCHED as *mut c_void;
        let handle = self.store(store);
        let pfn = match pfn {
            Pfn::Near(n) => self.first_pfn(handle) + u64::from(n),
            Pfn::Any(pfn) => pfn,
        };
        // SAFETY: NULL or a live store; NULL or room for a pointer.
        let status = unsafe { pgs_pin_frame(handle, pfn, out(&mut address, no_out)) };
        told(status);
        if status == PGS_OK {
            let place = usize::from(store) % STORES;
            self.pinned(Pin { store: place, address: address.addr(), len: PGS_FRAME_SIZE });
        } else {
            assert_eq!(address.addr(), UNTOUCHED, "an output was written by a call that failed");
        }
    }

    fn first_pfn(&self, store: *mut Store) -> u64 {
        let mut words = vec![0_u64; mem::size_of::<StoreInfo>() / 8];
        words[0] = mem::size_of::<StoreInfo>() as u64;
        // SAFETY: NULL or a live store; as many bytes as the struct says.
        let status = unsafe { pgs_info(store, words.as_mut_ptr().cast()) };
        if status == PGS_OK { words[4] } else { 0 }
    }

    fn pin_address(&mut self, store: u8, address: Address, len: usize) {
        let address = self.address(store, address);
        // SAFETY: NULL or a live store.
        let status = unsafe { pgs_pin_address(self.store(store), address as *const c_void, len) };
        told(status);
        if status == PGS_OK {
            self.pinned(Pin { store: usize::from(store) % STORES, address, len });
        }
    }

    /// Never waits: a program of one thread would wait for itself.
    fn latch(&mut self, store: u8, address: Address, mode: u8) {
        let place = usize::from(store) % STORES;
        let address = self.address(store, address);
        let frame = frame_of(address);
        let mode = u32::from(mode % 8) | PGS_LATCH_TRY;
        // SAFETY: NULL or a live store; a frame that the program has pinned, or that is not pinned.
        let status = unsafe { pgs_latch(self.stores[place], address as *const c_void, mode) };
        told(status);
        if status == PGS_OK {
            assert!(self.count(frame) > 0, "a frame that was not pinned was latched");
            let exclusive = mode & PGS_LATCH_EXCLUSIVE != 0;
            let taken = |latch: &&Latch| latch.frame == frame && (exclusive || latch.exclusive);
            assert!(self.latches.iter().find(taken).is_none(), "one latch was given twice");
            self.latches.push(Latch { store: place, frame, exclusive });
        }
    }

    fn unlatch(&mut self, store: u8, address: Address, mode: u8, from: usize, len: usize) {
        let place = usize::from(store) % STORES;
        let address = self.address(store, address);
        let mode = u32::from(mode % 8);
        let held = Latch { store: place, frame: frame_of(address), exclusive: mode == PGS_LATCH_EXCLUSIVE };
        let at = self.latches.iter().position(|latch| *latch == held);
        // SAFETY: NULL or a live store; a latch of the program's, or one that is not held.
        let status = unsafe { pgs_unlatch(self.stores[place], address as *const c_void, mode, from, len) };
        told(status);
        if status == PGS_OK {
            assert!(mode == PGS_LATCH_SHARED || mode == PGS_LATCH_EXCLUSIVE);
            let fits = (address % PGS_FRAME_SIZE).saturating_add(from).saturating_add(len) <= PGS_FRAME_SIZE;
            assert!(len == 0 || (fits && held.exclusive), "bytes that are not the latch's were stored");
            self.latches.swap_remove(at.expect("a latch was given back that was not held"));
        }
    }

    fn page_info(&mut self, store: u8, address: Address, page: Struct<()>) {
        let address = self.address(store, address);
        let mut words = sized(page, mem::size_of::<PageInfo>(), |(), _| ());
        let to = words.as_mut().map_or(ptr::null_mut(), |words| words.as_mut_ptr().cast());
        // SAFETY: NULL or a live store; NULL or as many bytes as the struct says.
        told(unsafe { pgs_peek(self.store(store), address as *const c_void, to) });
    }
}
