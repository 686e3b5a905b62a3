//! Linearizability: histories of several threads on one store, judged against what each operation promises.
//!
//! | promised | judged by |
//! |---|---|
//! | A page is one register: `write_at`, `pin_mut` + `write_range`, `punch_hole`, `read_at`, `pin` + `read` and `read_optimistic` each take effect on each page at one moment between call and return. A call over several pages is one operation for each page, and not atomic as a whole. | [`pages`] |
//! | The length is one register: `append` (which answers the old one), `set_len`, `write_at` past the end, `len`, and how many bytes `read_at` answers. | [`length`] |
//! | Beside cuts, bytes are registers of a word each, zero beyond the end: a `read_at` takes its length at one moment and each byte at another; a `write_at` that a cut overlaps may show before the cut and again after it. So nothing that was cut off by a call that returned is read again. | [`cells`] |
//! | Names are one register: `create`, `open`, `exists`, `rename`, `unlink`, `list`. | [`names`] |
//!
//! Not promised, and not judged: that the length and the bytes of a read are of one moment; that a write over several
//! pages is seen whole; what a pin shows beyond the object's end.

pub mod cells;
pub mod history;
pub mod length;
pub mod names;
pub mod pages;

use pagestone::store::Store;
#[cfg(pagestone_shuttle)]
use shuttle::thread;
#[cfg(not(pagestone_shuttle))]
use std::thread;

/// The size of a history.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Threads.
    pub threads: usize,
    /// Operations of each.
    pub operations: usize,
}

/// A kind of history: runs threads on a store of its own, and judges what they saw.
pub type Kind = fn(Shape, u64) -> Result<(), String>;

/// All kinds, by name.
pub const KINDS: [(&str, Kind); 5] = [
    ("pages", pages::run),
    ("moving", pages::run_moving),
    ("length", length::run),
    ("cells", cells::run),
    ("names", names::run),
];

/// A small store in memory.
fn store() -> Store {
    // Under shuttle a window has 4 MiB.
    Store::options().log_frames(8).open_memory(1 << 20).expect("memory")
}

/// Runs `act` on each of `threads` threads, and collects what they answer.
fn on_threads<T: Send + 'static>(
    threads: usize,
    act: impl Fn(usize) -> Vec<T> + Clone + Send + 'static,
) -> Vec<T> {
    let running: Vec<_> = (0..threads)
        .map(|thread| {
            let act = act.clone();
            thread::spawn(move || act(thread))
        })
        .collect();
    running.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
}
