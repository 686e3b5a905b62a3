//! The last line of `make bench-hit`: the cost of a frame's first pin. It is measured on a frame table by itself,
//! which needs the feature `internals`; `hit` measures the engine as users get it.

use pagestone::frame::FrameTable;
use pagestone_benches::clock::thread_time;
use pagestone_benches::medians;
use std::hint::black_box;

/// Frames, unless the first argument says otherwise.
const FRAMES: u64 = 1 << 20;
const BURSTS: usize = 5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let frames = match std::env::args().nth(1) {
        Some(n) => n.parse()?,
        None => FRAMES,
    };
    let touch = first_touches(frames)?;
    println!(
        "sequential first touch         {touch:>7.1} ns   (descriptor made by pinning, the page table's faults included)"
    );
    Ok(())
}

/// Time to pin each frame for the first time, in order, in a new table.
fn first_touches(frames: u64) -> Result<f64, Box<dyn std::error::Error>> {
    let mut bursts = Vec::new();
    for _ in 0..BURSTS {
        let table = FrameTable::with_capacity(frames.next_multiple_of(512) * 2, usize::MAX)?;
        let range = table.allocate(frames)?;
        let start = thread_time();
        for pfn in range.iter() {
            if !table.pin(pfn).is_pinned() {
                return Err(format!("{pfn:?} cannot be pinned").into());
            }
        }
        bursts.push((thread_time() - start).as_nanos() as f64 / frames as f64);
        for pfn in range.iter() {
            let _ = black_box(table.unpin(pfn));
        }
    }
    Ok(medians::median(&mut bursts))
}
