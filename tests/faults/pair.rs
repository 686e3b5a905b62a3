//! Several syncs fail at once. The kernel reports each failed page to only one of them, but none may succeed.

use crate::bench::{Bench, Case};
use crate::disk::{ThinDisk, store_on};
use crate::script::PAGE;
use pagestone::store::Store;
use pagestone_kit::disk::quick;
use std::thread;

pub const CASES: &[Case] =
    &[Case { name: "syncs of four threads on a disk that fails: what returned is there", run: race }];

const THREADS: usize = 4;

fn page(thread: usize, round: usize) -> [u8; PAGE as usize] {
    let mut page = [thread as u8 + 1; PAGE as usize];
    page[..8].copy_from_slice(&(round as u64 + 1).to_le_bytes());
    page
}

/// Appends pages and syncs each, until that fails. Returns the number of syncs that succeeded.
fn work(store: &Store, thread: usize) -> usize {
    let Ok(object) = store.create(format!("t{thread}")) else { return 0 };
    for round in 0.. {
        let synced = object.append(&page(thread, round)).and_then(|_| {
            // Some by a sync of the object, some by a sync of the store.
            if round % 3 == 0 { store.sync() } else { object.sync() }
        });
        if synced.is_err() {
            return round;
        }
        assert!(round < 10_000, "the disk never fails");
    }
    0
}

fn race(bench: &Bench) {
    let what = "syncs that fail at once";
    if !bench.may_mount(what) {
        return;
    }
    for n in 0..if bench.long { 60 } else { 4 } {
        let folder = quick();
        let mut disk = match ThinDisk::new(folder.path(), (150 + n * 7) * PAGE) {
            Ok(disk) => disk,
            Err(error) => return bench.skip(what, &error.to_string()),
        };
        let store = store_on(&disk).expect("there is room for the store itself");
        let acknowledged = thread::scope(|scope| {
            let workers: Vec<_> = (0..THREADS)
                .map(|t| (t, &store))
                .map(|(t, store)| scope.spawn(move || work(store, t)))
                .collect();
            workers.into_iter().map(|worker| worker.join().expect("it ends")).collect::<Vec<_>>()
        });
        assert!(store.poisoned().is_some());
        drop(store);
        disk.heal().expect("a disk that has room again can be mounted");
        let store = store_on(&disk).expect("it opens again");
        assert!(store.check().unwrap().is_clean());
        for (thread, &rounds) in acknowledged.iter().enumerate().filter(|(_, rounds)| **rounds > 0) {
            let object = store.open(format!("t{thread}")).expect("a synced object is there");
            assert!(
                object.len() >= rounds as u64 * PAGE,
                "run {n}: {rounds} pages were synced, {} bytes are there",
                object.len()
            );
            for round in 0..rounds {
                let mut found = [0; PAGE as usize];
                object.read_at(round as u64 * PAGE, &mut found).unwrap();
                assert!(
                    found == page(thread, round),
                    "run {n}, thread {thread}: page {round} of {rounds} synced ones is lost"
                );
            }
        }
        assert!(acknowledged.iter().sum::<usize>() > 0, "run {n}: nothing was synced");
        bench.state();
    }
}
