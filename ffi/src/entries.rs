//! The entries behind handles: a two-level array that never moves and is never freed, so that any handle, however
//! old, can be looked up without a lock.
//!
//! An entry serves one handle after another, each with the next generation. While a handle is alive, the entry's word
//! is that handle. Otherwise it is the next generation, without a kind. So an ended handle never equals the word
//! again. All changes are atomic steps, and a fork cannot leave one half done.

use crate::fork;
use crate::value::{Kind, Value};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// Entries that are allocated together: 32 KiB.
const CHUNK: u32 = 1024;
type Chunk = [Entry; CHUNK as usize];

/// The first level. Its untouched pages take no memory.
static CHUNKS: [AtomicPtr<Chunk>; (Value::INDEXES / CHUNK) as usize] =
    [const { AtomicPtr::new(ptr::null_mut()) }; (Value::INDEXES / CHUNK) as usize];
/// Entries from here on were never used.
static NEVER_USED: AtomicU32 = AtomicU32::new(1);
/// The first free entry, and a number that each step changes. So a step fails if another one came between.
static FREE: AtomicU64 = AtomicU64::new(0);

/// An entry. All zero is an entry that was never used.
#[repr(align(32))]
pub(crate) struct Entry {
    /// The handle, or the next generation ([`Value::unused`]).
    word: AtomicU64,
    /// The value behind the handle.
    pointer: AtomicPtr<()>,
    /// The process that made the handle.
    process: AtomicU32,
    /// While the entry is free: the next free one; 0 at the end.
    next: AtomicU32,
    /// Whether a call has the turn to end the handle.
    taken: AtomicBool,
}

/// Why there is no live handle with a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Absent {
    /// No handle ever had this value.
    Never,
    /// The handle has ended.
    Ended,
    /// The handle belongs to a process that forked this one.
    Parents,
}

/// The entry of a handle that a call is ending. When this is dropped, the entry is free for another handle.
pub(crate) struct Vacated {
    entry: &'static Entry,
    value: Value,
}

/// Makes a handle for `pointer`. `None`: the maximum number of handles is reached, or there is no memory.
pub(crate) fn enter(kind: Kind, pointer: NonNull<()>) -> Option<Value> {
    fork::watch();
    let (index, entry) = pop_free().map_or_else(first_use, Some)?;
    // ORDERING: Relaxed: the entry is this thread's alone, by the exchange that took it from the free ones.
    let value = Value::of(kind, Value(entry.word.load(Ordering::Relaxed)).generation(), index);
    entry.pointer.store(pointer.as_ptr(), Ordering::Relaxed);
    entry.process.store(fork::process(), Ordering::Relaxed);
    // ORDERING: Release: a thread that finds the word finds what it stands for.
    entry.word.store(value.0, Ordering::Release);
    Some(value)
}

/// The value behind the handle, if the handle is of this kind and process, and alive.
#[inline]
pub(crate) fn find(kind: Kind, value: Value) -> Option<NonNull<()>> {
    // The word of an unused entry has no kind.
    if !value.is_of(kind) {
        return None;
    }
    let entry = entry(value.index())?;
    // ORDERING: Acquire: pairs with the publication in `enter`; the loads that follow are of the same use.
    if entry.word.load(Ordering::Acquire) != value.0
        || entry.process.load(Ordering::Relaxed) != fork::process()
    {
        return None;
    }
    // SAFETY: a word that has a kind is published after a pointer that is not null.
    Some(unsafe { NonNull::new_unchecked(entry.pointer.load(Ordering::Relaxed)) })
}

/// Why [`find`] finds nothing.
pub(crate) fn why_absent(value: Value) -> Absent {
    let Some(entry) = entry(value.index()) else { return Absent::Never };
    let now = Value(entry.word.load(Ordering::Acquire));
    // ORDERING: Relaxed: it changes with the generation, which is above.
    let is_ours = entry.process.load(Ordering::Relaxed) == fork::process();
    match () {
        () if now == value && !is_ours => Absent::Parents,
        // It is alive again: when it was looked up, a call was ending it.
        () if now == value || value.generation() < now.generation() => Absent::Ended,
        () => Absent::Never,
    }
}

/// The turn to end a handle, for a call that first uses its value.
pub(crate) struct Turn(&'static Entry);

impl Drop for Turn {
    fn drop(&mut self) {
        // ORDERING: Release: pairs with `turn`.
        self.0.taken.store(false, Ordering::Release);
    }
}

/// Repeats [`find`] after it found nothing: a call that has the turn may have vacated the entry and may
/// restore it. Waits until that is decided.
#[cold]
pub(crate) fn find_settled(kind: Kind, value: Value) -> Option<NonNull<()>> {
    let entry = Some(value).filter(|value| value.is_of(kind)).and_then(|value| entry(value.index()))?;
    let next = Value::unused(value.generation() + 1, value.index());
    loop {
        // ORDERING: Acquire: pairs with the end of a turn, which comes after the entry was given back.
        let taken = entry.taken.load(Ordering::Acquire);
        let word = entry.word.load(Ordering::Acquire);
        // ORDERING: Relaxed: it changes with the generation. A parent's turn ends never, in the child.
        if entry.process.load(Ordering::Relaxed) != fork::process() {
            return None;
        }
        match find(kind, value) {
            None if word == next.0 && taken => thread::sleep(Duration::from_millis(1)),
            None if word == value.0 => {}
            found => return found,
        }
    }
}

/// Waits for the turn to end the handle. `None`: the handle has ended meanwhile.
pub(crate) fn turn(kind: Kind, value: Value) -> Option<Turn> {
    loop {
        find_settled(kind, value)?;
        let entry = entry(value.index())?;
        // ORDERING: Acquire: pairs with the drop of a turn. A parent's turn is of a parent's handle, which is not found.
        if !entry.taken.swap(true, Ordering::Acquire) {
            let turn = Turn(entry);
            return find(kind, value).map(|_| turn);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Ends a handle of this process, once. If several threads try, one of them gets the value.
pub(crate) fn vacate(kind: Kind, value: Value) -> Option<(NonNull<()>, Vacated)> {
    let pointer = find(kind, value)?;
    let entry = entry(value.index())?;
    let next = Value::unused(value.generation() + 1, value.index());
    // ORDERING: Acquire: what other threads did through the handle is done. A failure needs no ordering.
    let ended = entry.word.compare_exchange(value.0, next.0, Ordering::Acquire, Ordering::Relaxed);
    ended.is_ok().then_some((pointer, Vacated { entry, value }))
}

impl Vacated {
    /// Makes the handle live again, for `pointer`.
    pub(crate) fn restore(self, pointer: NonNull<()>) {
        // ORDERING: as in `enter`.
        self.entry.pointer.store(pointer.as_ptr(), Ordering::Relaxed);
        self.entry.word.store(self.value.0, Ordering::Release);
        std::mem::forget(self);
    }
}

impl Drop for Vacated {
    fn drop(&mut self) {
        // An entry without a further generation is not used again, so that no handle value occurs twice.
        if self.value.generation() + 1 < Value::LAST {
            push_free(self.entry, self.value.index());
        }
    }
}

/// The entry with this number, if its chunk has memory.
#[inline]
fn entry(index: u32) -> Option<&'static Entry> {
    // ORDERING: Acquire: pairs with the publication in `chunk`.
    let chunk = CHUNKS[(index / CHUNK) as usize].load(Ordering::Acquire);
    // SAFETY: null, or published whole by `chunk` and never freed.
    Some(&unsafe { chunk.as_ref() }?[(index % CHUNK) as usize])
}

/// Allocates the chunk's memory, if it has none.
fn chunk(number: u32) -> Option<()> {
    let place = &CHUNKS[number as usize];
    // ORDERING: Acquire, Release: the memory is zeroed before it is found.
    if !place.load(Ordering::Acquire).is_null() {
        return Some(());
    }
    let layout = Layout::new::<Chunk>();
    // SAFETY: a chunk has a size. All zero is a chunk of entries that were never used.
    let new = NonNull::new(unsafe { alloc_zeroed(layout) }.cast::<Chunk>())?;
    if place.compare_exchange(ptr::null_mut(), new.as_ptr(), Ordering::Release, Ordering::Relaxed).is_err() {
        // SAFETY: it was not published: ours alone.
        unsafe { dealloc(new.as_ptr().cast(), layout) };
    }
    Some(())
}

/// The next entry that was never used.
fn first_use() -> Option<(u32, &'static Entry)> {
    let more = |index| (index < Value::INDEXES).then_some(index + 1);
    // ORDERING: Relaxed: each number is given once, and the entry is empty.
    let index = NEVER_USED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
    chunk(index / CHUNK)?;
    entry(index).map(|entry| (index, entry))
}

/// The value of [`FREE`] after a step: the number that every step changes, and the index.
fn stepped(head: u64, index: u32) -> u64 {
    (head & !u64::from(Value::INDEXES - 1)).wrapping_add(Value::INDEXES.into()) | u64::from(index)
}

fn pop_free() -> Option<(u32, &'static Entry)> {
    // ORDERING: Acquire: `next`, and all that the entry's last user did with it, is there.
    let mut head = FREE.load(Ordering::Acquire);
    loop {
        let index = Value(head).index();
        let found = (index != 0).then(|| entry(index)).flatten()?;
        let next = found.next.load(Ordering::Relaxed);
        match FREE.compare_exchange_weak(head, stepped(head, next), Ordering::Acquire, Ordering::Acquire) {
            Ok(_) => return Some((index, found)),
            Err(now) => head = now,
        }
    }
}

fn push_free(entry: &Entry, index: u32) {
    // ORDERING: Relaxed: only the number is used. Release, below: pairs with `pop_free`.
    let mut head = FREE.load(Ordering::Relaxed);
    loop {
        entry.next.store(Value(head).index(), Ordering::Relaxed);
        match FREE.compare_exchange_weak(head, stepped(head, index), Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return,
            Err(now) => head = now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::thread;

    fn somewhere() -> NonNull<()> {
        NonNull::<u64>::dangling().cast()
    }

    #[test]
    fn an_entry_that_has_used_up_its_generations_is_used_no_more() {
        let value = enter(Kind::Batch, somewhere()).expect("a handle");
        let last = Value::of(Kind::Batch, Value::LAST - 1, value.index());
        entry(value.index()).expect("its entry").word.store(last.0, Ordering::Relaxed);
        let (_, vacated) = vacate(Kind::Batch, last).expect("alive");
        drop(vacated);
        assert_eq!((find(Kind::Batch, last), why_absent(last)), (None, Absent::Ended));
        let more: Vec<_> = (0..100).map(|_| enter(Kind::Batch, somewhere()).expect("a handle")).collect();
        assert!(more.iter().all(|other| other.index() != value.index()));
        more.into_iter().for_each(|value| drop(vacate(Kind::Batch, value)));
    }

    #[test]
    fn what_was_never_given_is_no_handle() {
        let value = enter(Kind::Store, somewhere()).expect("a handle");
        let later = Value::of(Kind::Store, value.generation() + 1, value.index());
        assert_eq!((find(Kind::Store, later), why_absent(later)), (None, Absent::Never));
        let beyond = Value::of(Kind::Store, 0, Value::INDEXES - 1);
        assert_eq!((find(Kind::Store, beyond), why_absent(beyond)), (None, Absent::Never));
        assert!(vacate(Kind::Object, value).is_none());
        assert!(vacate(Kind::Store, value).is_some());
        assert_eq!((find(Kind::Store, value), why_absent(value)), (None, Absent::Ended));
        assert!(vacate(Kind::Store, value).is_none());
        // The content of an unused entry is never a handle.
        assert_eq!(find(Kind::Store, Value::unused(value.generation() + 1, value.index())), None);
    }

    #[test]
    fn threads_that_enter_and_vacate_never_share_a_handle() {
        let all: Vec<Vec<u64>> = thread::scope(|scope| {
            let work = || {
                let mut seen = Vec::new();
                for n in 0..2000 {
                    let kept: Vec<_> =
                        (0..n % 5).map(|_| enter(Kind::Object, somewhere()).expect("a handle")).collect();
                    for value in kept {
                        seen.push(value.0);
                        assert!(find(Kind::Object, value).is_some());
                        assert!(vacate(Kind::Object, value).is_some());
                    }
                }
                seen
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let all: Vec<u64> = all.into_iter().flatten().collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    }
}
