//! The memory that first touches cost when each is the only one in its chunk. This test is alone in its process, because it
//! measures the process.

use pagestone::frame::{FrameTable, PinOutcome, UnpinOutcome};
use pagestone::units::Pfn;
use pagestone_kit::memory::{resident, status};
use pagestone_kit::random::Random;
use std::collections::HashSet;

const TOUCHES: usize = 10_000;
/// The bytes that a chunk may cost besides its page: its places in the set of populated chunks and in the queue.
const BOOKS: u64 = 24;
const FRAMES: u64 = 1 << 32;
const PAGE: u64 = 4096;

#[test]
fn ten_thousand_lonely_first_touches_cost_a_page_each_and_give_it_back() {
    let table = FrameTable::with_capacity(FRAMES, 1 << 20).expect("address space");
    let mut random = Random::new(1);
    let mut chunks = HashSet::with_capacity(2 * TOUCHES);
    let mut touches = Vec::with_capacity(TOUCHES);
    while touches.len() < TOUCHES {
        let pfn = random.below(FRAMES);
        if chunks.insert(pfn / 256) {
            touches.push(Pfn::new(pfn));
        }
    }
    let (rss, tables) = (resident(), status("VmPTE"));
    for pfn in &touches {
        assert_eq!(table.pin(*pfn), PinOutcome::Populated);
    }
    let touched = resident() - rss;
    println!(
        "{TOUCHES} touches: {} bytes resident and {} of page table each; {BOOKS} of them may be bookkeeping",
        touched / TOUCHES as u64,
        (status("VmPTE") - tables) / TOUCHES as u64,
    );
    let books = BOOKS * TOUCHES as u64;
    assert!(touched <= TOUCHES as u64 * PAGE + books, "{touched} bytes");
    assert_eq!(table.stats().populated_chunks, TOUCHES as u64);

    for pfn in &touches {
        assert_eq!(table.unpin(*pfn), UnpinOutcome::Kept);
    }
    assert_eq!(table.reclaim(usize::MAX), TOUCHES);
    let left = resident().saturating_sub(rss);
    println!("after reclaim: {left} bytes resident");
    assert!(left <= books, "{left} bytes");

    let rss = resident();
    assert!(touches.iter().all(|pfn| table.peek(*pfn).is_none()));
    assert!(resident() - rss <= 16 * PAGE, "peek costs nothing");
}
