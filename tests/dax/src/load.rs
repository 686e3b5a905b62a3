//! Work until the power is cut: two writers on one store. Each operation is synced and then acknowledged on another disk,
//! which keeps its bytes.

use crate::judge::journal;
use crate::pattern::{self, KEPT, Ledger, PAGES, ROTATION, WRITERS};
use crate::together;
use pagestone::Error;
use pagestone::store::Store;
use pagestone::units::{Durability, PageIndex};
use std::path::Path;

/// Printed at the beginning and after each acknowledgement. The host counts these to choose the moment of the cut.
pub const WORKED: &str = "@@worked";

/// Works until the power is cut. Returns only with an error.
pub fn until_the_power_goes(region: &Path, class: Durability) -> Result<(), String> {
    let store = open(region, class).map_err(|error| error.to_string())?;
    let ledger = Ledger::open().map_err(|error| format!("the ledger: {error}"))?;
    println!("{WORKED}");
    std::thread::scope(|scope| {
        let (store, ledger) = (&store, &ledger);
        let writers: Vec<_> =
            (0..WRITERS).map(|writer| scope.spawn(move || write(store, ledger, writer))).collect();
        writers.into_iter().try_for_each(|writer| match writer.join() {
            Ok(result) => result,
            Err(_) => Err("a writer panicked".to_owned()),
        })
    })
}

/// The store, made if there is none.
fn open(region: &Path, class: Durability) -> pagestone::Result<Store> {
    Store::options().create(true).require(class).open(region)
}

fn write(store: &Store, ledger: &Ledger, writer: u64) -> Result<(), String> {
    let told = |error: Error| format!("writer {writer}: {error}");
    let mut n = ledger.acknowledged(writer).map_err(|error| format!("the ledger: {error}"))?;
    tidy_up(store, writer, n).map_err(told)?;
    loop {
        n += 1;
        operate(store, writer, n).map_err(told)?;
        store.sync().map_err(told)?;
        ledger.acknowledge(writer, n).map_err(|error| format!("the ledger: {error}"))?;
        println!("{WORKED}");
    }
}

/// Removes what the life before left of the operation after `n`.
fn tidy_up(store: &Store, writer: u64, n: u64) -> pagestone::Result {
    let object = store.open_or_create(pattern::journal_name(writer))?;
    let found = journal(&object, writer)?;
    object.set_len(found.end_of(n))
}

/// One operation: a record, a file, the removal of the oldest file, and a page by a batch or through a pin.
fn operate(store: &Store, writer: u64, n: u64) -> pagestone::Result {
    let name = pattern::journal_name(writer);
    if n.is_multiple_of(ROTATION) {
        let fresh = format!("{name}.new");
        let object = store.open_or_create(&fresh)?;
        object.set_len(0)?;
        object.write_at(0, &pattern::record(writer, n))?;
        store.rename(&fresh, &name)?;
    } else {
        store.open(&name)?.append(&pattern::record(writer, n))?;
    }
    let file = store.open_or_create(pattern::file_name(writer, n))?;
    file.set_len(0)?;
    file.write_at(0, &pattern::file(writer, n))?;
    if n > KEPT {
        match store.unlink(pattern::file_name(writer, n - KEPT)) {
            Ok(()) | Err(Error::NotFound { .. }) => (),
            Err(error) => return Err(error),
        }
    }
    if n % 20 == 7 {
        // Something large that comes and goes, so that frames change their roles.
        let large = store.open_or_create(format!("large-{writer}"))?;
        large.write_at(n % 3 * 1000, &pattern::bytes(writer, n, 4, 1 << 20))?;
        large.punch_hole(100_000, 500_000)?;
        large.set_len(n % 5 * 10_000)?;
    }
    // Last: anything that is published after a store to a page makes the store durable too, and would hide a missing sync.
    if together::has_batch(n) {
        together::commit(store, writer, n)?;
    } else {
        let pages = store.open_or_create(pattern::pages_name(writer))?;
        let page = pages.pin_mut(PageIndex(n % PAGES))?;
        page.write()?.copy_from_slice(&pattern::page(writer, n));
    }
    Ok(())
}
