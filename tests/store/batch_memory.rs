//! The heap that batches and dirt take, counted by the allocator.

use crate::PAGE;
use pagestone::store::Store;
use pagestone::units::Durability;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, which counts what each thread has taken.
struct Counting;

#[global_allocator]
static HEAP: Counting = Counting;

thread_local! {
    static TAKEN: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    let taken = TAKEN.get() + bytes;
    TAKEN.set(taken);
    MOST.set(MOST.get().max(taken));
}

// SAFETY: every call is the system allocator's.
unsafe impl GlobalAlloc for Counting {
    /// # Safety
    /// As the system allocator's.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }
    /// # Safety
    /// As the system allocator's.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }
    /// # Safety
    /// As the system allocator's.
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
    /// # Safety
    /// As the system allocator's.
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(at, layout, size) }
    }
}

/// The most heap that `run` takes.
fn most(run: impl FnOnce()) -> isize {
    let before = TAKEN.get();
    MOST.set(before);
    run();
    MOST.get() - before
}

#[test]
fn a_large_batch_is_held_in_memory_once() {
    const STAGED: usize = 96 << 20;
    let store = Store::options().open_memory(1 << 20).unwrap();
    let object = store.create("a").unwrap();
    // The staged bytes are not a power of two of these pieces: a range that grows by doubling would take more.
    let piece = vec![7; 5 * PAGE as usize];
    // New pages, then the same pages again: by many writes, and by one.
    for whole in [false, false, true] {
        let bytes = if whole { vec![8; STAGED] } else { Vec::new() };
        let taken = most(|| {
            let mut batch = store.batch();
            if whole {
                batch.write_at(&object, 0, &bytes).unwrap();
            }
            let pieces = if whole { 0 } else { STAGED / piece.len() };
            (0..pieces).for_each(|n| batch.write_at(&object, (n * piece.len()) as u64, &piece).unwrap());
            batch.commit().unwrap();
        });
        assert!(taken as f64 <= 1.3 * STAGED as f64, "{taken} bytes for {STAGED}");
    }
    let mut last = [0];
    object.read_at(STAGED as u64 - 1, &mut last).unwrap();
    assert_eq!(last, [8]);
}

#[test]
fn what_was_dirty_once_is_not_remembered() {
    const ROUNDS: isize = 2_000;
    let store = crate::memory(Durability::CacheLine);
    let kept = crate::filled(&store, "kept", 2);
    let round = |_| {
        let object = crate::filled(&store, "gone", 2);
        object.write_at(0, b"dirty").unwrap();
        object.write_at(PAGE, b"dirty").unwrap();
        object.sync_range(0, 1).unwrap();
        drop(object);
        store.unlink("gone").unwrap();
        kept.write_at(PAGE, b"dirty").unwrap();
        kept.sync().unwrap();
    };
    (0..ROUNDS).for_each(round);
    let before = TAKEN.get();
    (0..ROUNDS).for_each(round);
    let each = (TAKEN.get() - before) / ROUNDS;
    assert!(each < 8, "{each} bytes of heap a removed object");
}
