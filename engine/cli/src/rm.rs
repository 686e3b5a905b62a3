//! `pagestone rm`.

use crate::args::Rm;
use crate::failure::Failure;
use crate::output;
use crate::place::{self, Place};
use pagestone::Store;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The objects to remove from one region.
struct Removal {
    /// The region as it was named first.
    region: PathBuf,
    store: Store,
    objects: Vec<OsString>,
}

pub fn run(args: &Rm) -> Result<u8, Failure> {
    let removals = plan(args)?;
    // Everything that can be checked in advance is checked by now. A later failure says what was removed.
    let mut gone = Vec::new();
    for Removal { region, store, objects } in removals {
        let before = gone.len();
        let removed = remove(&store, &region, &objects, &mut gone).and_then(|()| place::close(store));
        removed.map_err(|why| told(&why, &gone[..before], &gone[before..]))?;
    }
    output::print_done(&gone.iter().map(|name| format!("{name} removed\n")).collect::<String>())?;
    Ok(0)
}

/// Opens each region once, and looks for each object.
fn plan(args: &Rm) -> Result<Vec<Removal>, Failure> {
    // By device and inode: one region may have several names.
    let mut removals: BTreeMap<(u64, u64), Removal> = BTreeMap::new();
    for Place { region, object } in args.places.iter().map(|place| Place::parse(place)) {
        let Some(object) = object else {
            return Err(Failure::Other(format!("{}: name an object, as REGION:OBJECT", region.display())));
        };
        let found = region.metadata().map_err(Failure::file(&region))?;
        let file = (found.dev(), found.ino());
        let removal = match removals.entry(file) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(free) => {
                let store = place::change(&region, args.opening)?;
                free.insert(Removal { region, store, objects: Vec::new() })
            }
        };
        if removal.store.exists(object.as_bytes())?.is_none() {
            return Err(Failure::Other(format!(
                "{} has no object named {object:?}; nothing was removed",
                removal.region.display()
            )));
        }
        if !removal.objects.contains(&object) {
            removal.objects.push(object);
        }
    }
    Ok(removals.into_values().collect())
}

fn remove(store: &Store, region: &Path, objects: &[OsString], gone: &mut Vec<String>) -> Result<(), Failure> {
    for object in objects {
        store.unlink(object.as_bytes())?;
        gone.push(format!("{}:{}", region.display(), output::name(object.as_bytes())));
    }
    Ok(store.sync()?)
}

/// The failure, with a list of what was removed before it.
fn told(why: &Failure, synced: &[String], unlinked: &[String]) -> Failure {
    let list = |names: &[String]| if names.is_empty() { "nothing".into() } else { names.join(", ") };
    Failure::Other(format!(
        "{why}; removed before that: {}; removed, but a loss of power may bring back: {}",
        list(synced),
        list(unlinked)
    ))
}
