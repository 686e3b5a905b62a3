//! Makes the calls on stores and objects, and checks their answers.

use super::call::{At, Call, Flags, Inside, Len, Name, Opening, Path, Range, Room, Struct};
use super::world::{OBJECTS, OpenObject, STORES, World, told};
use pagestone_ffi::*;
use pagestone_kit::fork::in_child;
use std::ffi::{CString, c_char, c_int, c_void};
use std::mem;
use std::ptr;

/// The value of an output that was not written.
pub const UNTOUCHED: usize = 0x5ead_beef;

impl Flags {
    pub const fn get(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Create => 1,
            Self::Exclusive => 3,
            Self::Other(flags) => flags as u32 % 8,
            Self::Any(flags) => flags,
        }
    }
}

impl Room {
    const fn get(self) -> u64 {
        match self {
            Self::Usual => 4 << 20,
            Self::Little(n) => n as u64 * 4096,
            // A length that no region can have, or none at all. Memory that is really taken must stay small.
            Self::TooMuch(n) => n | 1 << 45,
        }
    }
}

impl At {
    pub const fn get(self) -> u64 {
        match self {
            Self::Near(at) => at as u64,
            Self::Page(page) => page as u64 * 4096,
            Self::Far(at) => at,
        }
    }
}

impl Range {
    const fn get(self) -> u64 {
        match self {
            Self::Some(n) => n as u64,
            Self::TooMany(n) => u64::MAX - n as u64,
        }
    }
}

impl Name {
    /// A string, or NULL.
    fn get(&self) -> Option<CString> {
        let bytes = match self {
            Self::Short(n) => vec![b'a' + n % 4],
            Self::Long(n) => vec![b'x'; 200 + usize::from(*n)],
            Self::Bytes(bytes) => bytes.iter().copied().filter(|byte| *byte != 0).collect(),
            Self::Null => return None,
        };
        CString::new(bytes).ok()
    }
}

fn pointer(text: &Option<CString>) -> *const c_char {
    text.as_ref().map_or(ptr::null(), |text| text.as_ptr())
}

/// A place that an output goes to, or NULL.
pub fn out<T>(place: &mut T, none: bool) -> *mut T {
    if none { ptr::null_mut() } else { ptr::from_mut(place) }
}

/// A struct with its size in front, as words. Exactly as many bytes are there as it says.
pub fn sized<T: Copy>(how: Struct<T>, real: usize, fill: impl FnOnce(T, &mut [u64])) -> Option<Vec<u64>> {
    match how {
        Struct::Null => None,
        Struct::Right(value) => {
            let mut words = vec![0; real / 8];
            fill(value, &mut words);
            words[0] = real as u64;
            Some(words)
        }
        Struct::Sized(size, value) => {
            let size = usize::from(size % 4096).max(8);
            let mut words = vec![0; size.max(real).div_ceil(8)];
            fill(value, &mut words);
            words.truncate(size.div_ceil(8));
            words[0] = size as u64;
            Some(words)
        }
        // Larger than any struct, so that the library must not read beyond the size.
        Struct::Unset(size) => Some(vec![if size > 7 { size | 1 << 13 } else { size }]),
    }
}

fn options(opening: Struct<Opening>) -> Option<Vec<u64>> {
    sized(opening, mem::size_of::<Options>(), |opening, words| {
        words[1] = u64::from(opening.flags.get()) | u64::from(opening.required % 5) << 32;
        words[2] = u64::from(opening.assume % 5) | u64::from(opening.log_frames) << 32;
        words[3] = opening.room.get();
        // Mostly zero, as it must be.
        words[4] = u64::from(opening.reserved / 255);
    })
}

impl World {
    /// Makes one call.
    pub fn make(&mut self, call: &Call) {
        let holds = matches!(
            call,
            Call::Latch { .. }
                | Call::Unlatch { .. }
                | Call::PageInfo { .. }
                | Call::PinAddress { .. }
                | Call::PinFrame { .. }
                | Call::Unpin { .. }
                | Call::UnpinAt { .. }
                | Call::Info { .. }
        );
        if !holds {
            self.unlatch_all();
        }
        match call {
            Call::Open { store, path, options, no_out } => self.open(*store, *path, *options, *no_out),
            Call::OpenMemory { store, room, no_out } => self.open_memory(*store, *room, *no_out),
            Call::Close { store } => self.close(*store),
            Call::Wrong { object, n } => self.call_wrongly(*object, *n),
            Call::ObjectOpen { store, name, flags, no_out } => {
                self.object_open(*store, name, *flags, *no_out)
            }
            Call::ObjectClose { object } => self.object_close(*object),
            // Rarely: it takes a thousand times as long as the others.
            Call::Fork { store, object, really: 7 } => self.fork(*store, *object),
            Call::Fork { .. } => (),
            Call::Check { path, visit } => self.check(*path, *visit),
            Call::List { store, stop, inside, no_visit } => self.list(*store, *stop, *inside, *no_visit),
            Call::CodeName { code } => {
                // SAFETY: a static string.
                let name = unsafe { std::ffi::CStr::from_ptr(pgs_code_name(*code)) };
                assert!(!name.is_empty() && pgs_version() > 0);
            }
            other if self.make_content(other) || self.make_named(other) => (),
            other => self.make_paged(other),
        }
    }

    fn open(&mut self, store: u8, path: Path, how: Struct<Opening>, no_out: bool) {
        let place = usize::from(store) % STORES;
        if !self.stores[place].is_null() {
            return;
        }
        let path = self.file(path);
        let options = options(how);
        let mut opened = UNTOUCHED as *mut Store;
        let options = options.as_ref().map_or(ptr::null(), |words| words.as_ptr().cast());
        // SAFETY: NULL or a string; NULL or as many bytes as the struct says; NULL or room for a pointer.
        let status = unsafe { pgs_open(pointer(&path), options, out(&mut opened, no_out)) };
        assert!(status != PGS_OK || (path.is_some() && !no_out && !matches!(how, Struct::Unset(_))));
        self.opened(place, status, opened);
    }

    fn open_memory(&mut self, store: u8, room: Room, no_out: bool) {
        let place = usize::from(store) % STORES;
        if !self.stores[place].is_null() {
            return;
        }
        let mut opened = UNTOUCHED as *mut Store;
        // SAFETY: NULL or room for a pointer.
        let status = unsafe { pgs_open_memory(room.get(), out(&mut opened, no_out)) };
        assert!(status != PGS_OK || !no_out);
        self.opened(place, status, opened);
    }

    fn opened(&mut self, place: usize, status: c_int, opened: *mut Store) {
        told(status);
        if status == PGS_OK {
            self.stores[place] = opened;
            assert!(!self.closed_stores.contains(&opened), "a handle that has ended came back");
        } else {
            assert_eq!(opened.addr(), UNTOUCHED, "an output was written by a call that failed");
        }
    }

    fn file(&self, path: Path) -> Option<CString> {
        Some(self.path(match path {
            Path::One => "one",
            Path::Two => "two",
            Path::Missing => "no/such",
            Path::Folder => "",
            Path::Empty => return Some(CString::default()),
            Path::Null => return None,
        }))
    }

    fn close(&mut self, store: u8) {
        let place = usize::from(store) % STORES;
        let handle = self.stores[place];
        let busy = self.objects.iter().flatten().any(|object| object.store == place)
            || self.pins.iter().any(|pin| pin.store == place && self.has_pins(pin.address, pin.len));
        // SAFETY: NULL, or a live store.
        let status = unsafe { pgs_close(handle) };
        told(status);
        if handle.is_null() {
            assert_eq!(status, PGS_OK);
        } else if busy {
            assert_eq!(status, PGS_E_BUSY, "a store in use was closed");
        } else if status != PGS_E_BUSY {
            self.stores[place] = ptr::null_mut();
            self.closed_stores.push(handle);
            self.pins.retain(|pin| pin.store != place);
        } else {
            panic!("an idle store is busy");
        }
    }

    fn has_pins(&self, address: usize, len: usize) -> bool {
        Self::frames(address, len).into_iter().flatten().any(|frame| self.count(frame) > 0)
    }

    fn object_open(&mut self, store: u8, name: &Name, flags: Flags, no_out: bool) {
        let Some(place) = self.objects.iter().position(Option::is_none) else { return };
        let name = name.get();
        let mut opened = UNTOUCHED as *mut Object;
        let handle = self.store(store);
        // SAFETY: NULL or a live store; NULL or a string; NULL or room for a pointer.
        let status =
            unsafe { pgs_object_open(handle, pointer(&name), flags.get(), out(&mut opened, no_out)) };
        told(status);
        let wrong = handle.is_null() || name.is_none() || no_out || flags.get() > 3 || flags.get() == 2;
        assert!(!wrong || status == PGS_E_INVALID, "{status}");
        if status == PGS_OK {
            self.objects[place] = Some(OpenObject { handle: opened, store: usize::from(store) % STORES });
            assert!(!self.closed_objects.contains(&opened), "a handle that has ended came back");
        } else {
            assert_eq!(opened.addr(), UNTOUCHED, "an output was written by a call that failed");
        }
    }

    fn object_close(&mut self, object: u8) {
        let taken = self.objects[usize::from(object) % OBJECTS].take();
        // SAFETY: NULL, or a live object.
        unsafe { pgs_object_close(taken.map_or(ptr::null_mut(), |object| object.handle)) };
        self.closed_objects.extend(taken.map(|object| object.handle));
    }

    /// Makes a call that moves bytes. Returns false if the call is none of these.
    fn make_content(&mut self, call: &Call) -> bool {
        match *call {
            Call::Read { object, at, len, no_buffer, no_out } => {
                self.read(object, at, len, no_buffer, no_out)
            }
            Call::Write { object, at, len, no_buffer } => {
                let (bytes, len) = buffer(len);
                let from = if no_buffer { ptr::null() } else { bytes.as_ptr().cast() };
                // SAFETY: NULL or a live object; `len` bytes, or a length that is refused.
                let status = unsafe { pgs_object_write(self.object(object), at.get(), from, len) };
                told(status);
                assert!(status != PGS_OK || !self.object(object).is_null() && (len == 0 || !no_buffer));
            }
            Call::Append { object, len, no_buffer, out: wanted } => {
                let (bytes, len) = buffer(len);
                let from = if no_buffer { ptr::null() } else { bytes.as_ptr().cast() };
                let mut offset = UNTOUCHED as u64;
                // SAFETY: as above; NULL or room for a number.
                told(unsafe { pgs_object_append(self.object(object), from, len, out(&mut offset, !wanted)) });
            }
            Call::Size { object, no_out } => {
                let mut size = UNTOUCHED as u64;
                // SAFETY: NULL or a live object; NULL or room for a number.
                let status = unsafe { pgs_object_size(self.object(object), out(&mut size, no_out)) };
                told(status);
                assert_eq!(status == PGS_OK, !self.object(object).is_null() && !no_out);
            }
            Call::Resize { object, at } => {
                // SAFETY: NULL or a live object, here and below.
                told(unsafe { pgs_object_resize(self.object(object), at.get()) });
            }
            Call::Allocate { object, at, len } => {
                // SAFETY: as above.
                told(unsafe { pgs_object_allocate(self.object(object), at.get(), len.get()) });
            }
            Call::Punch { object, at, len } => {
                // SAFETY: as above.
                told(unsafe { pgs_object_punch(self.object(object), at.get(), len.get()) });
            }
            // SAFETY: as above.
            Call::Sync { object } => told(unsafe { pgs_object_sync(self.object(object)) }),
            Call::SyncRange { object, at, len } => {
                // SAFETY: as above.
                told(unsafe { pgs_object_sync_range(self.object(object), at.get(), len.get()) });
            }
            _ => return false,
        }
        true
    }

    fn read(&mut self, object: u8, at: At, len: Len, no_buffer: bool, no_out: bool) {
        let (mut bytes, len) = buffer(len);
        let to = if no_buffer { ptr::null_mut() } else { bytes.as_mut_ptr().cast() };
        let mut done = UNTOUCHED;
        // SAFETY: NULL or a live object; `len` bytes, or a length that is refused; NULL or room for a number.
        let status =
            unsafe { pgs_object_read(self.object(object), at.get(), to, len, out(&mut done, no_out)) };
        told(status);
        if status == PGS_OK {
            assert!(done <= len, "more was read than asked for");
            assert!(bytes[done..].iter().all(|byte| *byte == FILL), "bytes past the end were written");
        } else {
            assert_eq!(done, UNTOUCHED, "an output was written by a call that failed");
        }
    }

    /// Makes a call on names or on a store as a whole. Returns false if the call is none of these.
    fn make_named(&mut self, call: &Call) -> bool {
        match call {
            // SAFETY: NULL or a live store.
            Call::StoreSync { store } => told(unsafe { pgs_store_sync(self.store(*store)) }),
            Call::Compact { store, out } => {
                let mut bytes = 0;
                let out = if *out { &raw mut bytes } else { ptr::null_mut() };
                // SAFETY: NULL or a live store; NULL or room.
                told(unsafe { pgs_compact(self.store(*store), out) });
            }
            Call::Rename { store, from, to } => {
                let (from, to) = (from.get(), to.get());
                // SAFETY: NULL or a live store; NULL or strings.
                told(unsafe { pgs_rename(self.store(*store), pointer(&from), pointer(&to)) });
            }
            Call::Unlink { store, name } => {
                let name = name.get();
                // SAFETY: as above.
                told(unsafe { pgs_unlink(self.store(*store), pointer(&name)) });
            }
            Call::Exists { store, name, no_out, size } => {
                let name = name.get();
                let (mut exists, mut bytes) = (77, UNTOUCHED as u64);
                let (exists_out, bytes_out) = (out(&mut exists, *no_out), out(&mut bytes, !*size));
                // SAFETY: as above; NULL or room for numbers.
                let status = unsafe { pgs_exists(self.store(*store), pointer(&name), exists_out, bytes_out) };
                told(status);
                assert!(status != PGS_OK || exists == 0 || exists == 1);
            }
            Call::Info { store, region } => {
                let mut words = sized(*region, mem::size_of::<StoreInfo>(), |(), _| ());
                let to = words.as_mut().map_or(ptr::null_mut(), |words| words.as_mut_ptr().cast());
                // SAFETY: NULL or a live store; NULL or as many bytes as the struct says.
                told(unsafe { pgs_info(self.store(*store), to) });
            }
            Call::Stats { store, counters } => {
                let mut words = sized(*counters, mem::size_of::<Counters>(), |(), _| ());
                let to = words.as_mut().map_or(ptr::null_mut(), |words| words.as_mut_ptr().cast());
                // SAFETY: as above.
                told(unsafe { pgs_stats(self.store(*store), to) });
            }
            _ => return false,
        }
        true
    }

    fn list(&mut self, store: u8, stop: u8, inside: Inside, no_visit: bool) {
        let mut visitor = Visitor { store: self.store(store), left: stop, inside };
        let visit: Option<unsafe extern "C" fn(*mut c_void, *const Entry) -> c_int> =
            if no_visit { None } else { Some(visit) };
        let (store, arg, mut said) = (self.store(store), (&raw mut visitor).cast(), 0);
        // SAFETY: NULL or a live store; a function that takes what is given here; room for a number.
        told(unsafe { pgs_list(store, ptr::null(), visit, arg, &raw mut said) });
        assert!(said == 0 || said == STOPPED);
    }

    fn check(&mut self, path: Path, visit: bool) {
        let path = self.file(path);
        let visit: Option<unsafe extern "C" fn(*mut c_void, *const Finding) -> c_int> =
            if visit { Some(found) } else { None };
        // SAFETY: NULL or a string; a function that takes anything.
        told(unsafe { pgs_check(pointer(&path), visit, ptr::null_mut(), ptr::null_mut()) });
    }

    /// Forks a child. It gets an error for what its parent opened, and can use handles of its own. Once for each program.
    fn fork(&mut self, store: u8, object: u8) {
        let (store, object) = (self.store(store), self.object(object));
        if mem::replace(&mut self.forked, true) || store.is_null() {
            return;
        }
        let refused = || if as_a_child(store, object) { Ok(()) } else { Err("another answer".to_owned()) };
        assert_eq!(
            in_child(10, refused),
            Ok(()),
            "a forked child got another answer than PGS_E_FORKED, or died"
        );
    }
}

fn as_a_child(store: *mut Store, object: *mut Object) -> bool {
    let (mut bytes, mut done, mut own) = ([0_u8; 8], 0, ptr::null_mut());
    // SAFETY: the parent's handles, which a child may offer; buffers of ours.
    unsafe {
        let mut good = pgs_store_sync(store) == PGS_E_FORKED
            && pgs_unlink(store, c"a".as_ptr()) == PGS_E_FORKED
            && pgs_close(store) == PGS_E_FORKED;
        if !object.is_null() {
            good &= pgs_object_read(object, 0, bytes.as_mut_ptr().cast(), 8, &raw mut done) == PGS_E_FORKED
                && pgs_object_write(object, 0, bytes.as_ptr().cast(), 8) == PGS_E_FORKED
                && pgs_object_sync(object) == PGS_E_FORKED;
        }
        good && pgs_open_memory(1 << 20, &raw mut own) == PGS_OK
            && pgs_store_sync(own) == PGS_OK
            && pgs_close(own) == PGS_OK
            && pgs_close(own) == PGS_E_CLOSED
    }
}

/// What a buffer is filled with.
const FILL: u8 = 0xEE;

/// A buffer, and the length that the call is given.
fn buffer(len: Len) -> (Vec<u8>, usize) {
    match len {
        Len::Some(len) => (vec![FILL; len.into()], len.into()),
        Len::TooMany(less) => (vec![FILL; 8], usize::MAX - less as usize),
    }
}

/// The answer of a visitor that stops the listing.
const STOPPED: c_int = 4711;

struct Visitor {
    store: *mut Store,
    left: u8,
    inside: Inside,
}

/// Does something while the objects are listed.
///
/// # Safety
/// `arg` is a `Visitor`, and `entry` is valid during the call.
unsafe extern "C" fn visit(arg: *mut c_void, entry: *const Entry) -> c_int {
    let mut object = ptr::null_mut();
    // SAFETY: this function's contract; a live store, strings, and room for a pointer.
    unsafe {
        let visitor = &mut *arg.cast::<Visitor>();
        let name = (*entry).name;
        match visitor.inside {
            Inside::Nothing => (),
            Inside::Unlink => told(pgs_unlink(visitor.store, name)),
            Inside::Create => {
                let status = pgs_object_open(visitor.store, c"made inside".as_ptr(), 1, &raw mut object);
                told(status);
                pgs_object_close(object);
            }
            Inside::ListAgain => {
                let mut inner = Visitor { store: visitor.store, left: 1, inside: Inside::Nothing };
                let arg = (&raw mut inner).cast();
                let status = pgs_list(visitor.store, c"o".as_ptr(), Some(visit), arg, ptr::null_mut());
                assert_eq!(status, PGS_OK);
            }
            Inside::Sync => told(pgs_store_sync(visitor.store)),
        }
        match visitor.left.checked_sub(1) {
            Some(left) => visitor.left = left,
            None => return STOPPED,
        }
    }
    PGS_OK
}

/// The visitor of a check that must find nothing.
///
/// # Safety
/// None is needed.
unsafe extern "C" fn found(_: *mut c_void, _: *const Finding) -> c_int {
    panic!("a region that was not damaged has a defect")
}
