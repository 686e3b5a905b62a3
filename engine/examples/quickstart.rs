//! Named objects in one file, pinned pages, and what a sync makes durable.
//!
//! ```sh
//! cargo run -p pagestone --example quickstart -- /tmp/quickstart.pgs
//! ```

use pagestone::{PageIndex, Result, Store};

fn main() -> Result {
    let path = std::env::args().nth(1).unwrap_or_else(|| "quickstart.pgs".to_owned());
    visit(&path).map(drop)
}

/// Makes one visit and returns its number.
fn visit(path: &str) -> Result<u64> {
    let store = Store::options().create(true).open(path)?;
    println!("{path}: durability {}", store.info().durability);

    // An object is bytes ...
    let visits = store.open_or_create("visits")?;
    visits.append(b"somebody was here\n")?;

    // ... and pages. A pin keeps the address valid; a guard gives access to the bytes.
    let counter = store.open_or_create("counter")?;
    let page = counter.pin_mut(PageIndex(0))?;
    let count = {
        let mut bytes = page.write_range(0..8)?;
        let count = bytes.iter().rev().fold(0, |count, &byte| count << 8 | u64::from(byte)) + 1;
        bytes.copy_from_slice(&count.to_le_bytes());
        count
    };
    println!("run {count}; the counter lies at {:p}, pfn {}", page.address(), page.pfn());

    // From here on, both survive a power loss.
    store.sync()?;
    for entry in store.list()? {
        println!("{:>10} bytes  {}", entry.len, String::from_utf8_lossy(&entry.name));
    }

    drop((page, counter, visits));
    store.close()?;
    Ok(count)
}

#[test]
fn each_run_finds_what_the_last_one_left() -> Result {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("quickstart.pgs");
    let path = path.to_str().expect("UTF-8");
    assert_eq!((visit(path)?, visit(path)?, visit(path)?), (1, 2, 3));
    Ok(())
}
