//! Makes the fixtures of a format, once, in the folder that is named. It overwrites nothing.

use flate2::{Compression, GzBuilder};
use pagestone::media::superblock::VERSION;
use pagestone::store::{Options, Store};
use pagestone::units::{Durability, PageIndex};
use pagestone_fuzzing::{contents, fixture, format};
use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

const NAMES: [&str; 3] = ["killed", "batched", "closed"];

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from).ok_or("usage: fixture FOLDER")?;
    let region = folder.join("region");
    let options =
        Store::options().create(true).log_frames(4).assume(Durability::CacheLine).identity(fixture::IDENTITY);
    killed(&options, &region, &folder)?;
    fs::copy(folder.join("killed"), folder.join("closed"))?;
    options.open(folder.join("closed"))?.close()?;
    for name in NAMES {
        let image = fs::read(folder.join(name))?;
        let packed = folder.join(format!("format-{VERSION}.{name}.gz"));
        if packed.exists() {
            println!("{}: stays as it is", packed.display());
        } else {
            let file = fs::OpenOptions::new().write(true).create_new(true).open(&packed)?;
            let mut gz = GzBuilder::new().write(file, Compression::best());
            gz.write_all(&image)?;
            gz.finish()?.sync_all()?;
            println!("{}: {} bytes, crc32c {:#010x}", packed.display(), image.len(), crc32c::crc32c(&image));
        }
        fs::remove_file(folder.join(name))?;
    }
    Ok(fs::remove_file(region)?)
}

/// Writes a region and copies what a SIGKILL would leave of it: once before the batches and once after them.
fn killed(options: &Options, region: &Path, folder: &Path) -> Result<(), Box<dyn Error>> {
    let store = options.open(region)?;
    for (name, pieces) in contents::synced() {
        let object = store.create(name)?;
        for (at, bytes) in pieces {
            object.write_at(at, &bytes)?;
        }
    }
    // More names in one bucket of the directory than a chain takes: a node below the root.
    let key = format::name_key(&fs::read(region)?);
    for name in contents::crowd(&key) {
        store.create(&name)?.write_at(0, &name)?;
    }
    let (cut, gone) = (store.create("cut")?, store.create("gone")?);
    for page in 0..3 {
        cut.write_at(page * 4096, &[7; 4096])?;
        gone.write_at(page * 4096, &[8; 4096])?;
    }
    store.sync()?;
    // Everything from here on was never synced: only the death of a process leaves it.
    let pin = cut.pin(PageIndex(2))?;
    cut.set_len(4096 + 100)?;
    store.unlink("gone")?;
    store.rename("before", "after")?;
    store.create("unsynced")?.append(b"not synced, and yet it survives the death of the process")?;
    fs::copy(region, folder.join("killed"))?;
    for writes in contents::batches() {
        let mut batch = store.batch();
        for (name, at, bytes) in writes {
            batch.write_at(&store.open(name)?, at, &bytes)?;
        }
        batch.commit()?;
    }
    let (name, at, bytes) = contents::LAST;
    store.open(name)?.write_at(at, bytes)?;
    fs::copy(region, folder.join("batched"))?;
    drop((pin, gone));
    Ok(())
}
