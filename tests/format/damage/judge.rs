//! What a damaged region reports, and what it shows.

use super::world::open;
use pagestone::Error;
use pagestone::store::{Object, Store};
use pagestone_workload::content::Content;
use pagestone_workload::{Model, PAGE};
use std::collections::BTreeMap;

/// Results of opening, `check` and use of a region.
#[derive(Debug, Default)]
pub struct Said {
    /// The structure and the place, if the opening was refused.
    pub refused: Option<(&'static str, u64)>,
    /// Findings and remarks of `check`: names and places.
    pub found: Vec<(&'static str, u64)>,
    /// Errors of use: the structure and the place.
    pub uses: Vec<(&'static str, u64)>,
    /// Pages that could not be read.
    pub failed: Vec<(String, u64)>,
    /// Objects that could not be opened.
    pub unopened: Vec<String>,
    /// How much was set aside.
    pub aside: u64,
    /// Wrong content that a use showed.
    pub wrong: Vec<String>,
}

impl Said {
    /// Whether there is any sign of damage.
    pub fn anything(&self) -> bool {
        self.refused.is_some() || !self.found.is_empty()
    }
}

/// Opens, checks and uses a region.
pub fn ask(image: &[u8], model: &Model) -> Said {
    let mut said = Said::default();
    let store = match open(image) {
        Ok(store) => store,
        Err(error) => {
            said.refused = Some(blamed(&error));
            return said;
        }
    };
    said.found = findings(&store);
    let changes = read(&store, model, &mut said);
    if changes {
        change(&store, &mut said);
    }
    said.aside = store.stats().set_aside;
    said
}

/// The structure and the place in the text of an error.
fn blamed(error: &Error) -> (&'static str, u64) {
    let Error::Corrupt { what, at, .. } = error else { panic!("{error}") };
    let text = error.to_string();
    assert!(text.contains(what) && text.contains(&format!("{at:#x}")), "{text}");
    (*what, *at)
}

/// Runs `check` and notes findings and remarks.
pub fn findings(store: &Store) -> Vec<(&'static str, u64)> {
    let report = store.check().unwrap();
    report.findings.iter().chain(&report.repairable).map(|finding| (finding.name, finding.at)).collect()
}

/// Reads everything. Returns whether all names could be found.
pub fn read(store: &Store, model: &Model, said: &mut Said) -> bool {
    let mut all = true;
    for name in model.names.keys() {
        let expected = model.of(name).expect("a name has an object");
        match store.open(name) {
            Ok(object) => compare(&object, expected, name, said),
            Err(Error::NotFound { .. }) => said.wrong.push(format!("{name} is not there")),
            Err(error) => {
                all = false;
                said.unopened.push(name.clone());
                said.uses.push(blamed(&error));
            }
        }
    }
    match store.list() {
        Ok(entries) => {
            let known = |name: &[u8]| model.names.contains_key(&*String::from_utf8_lossy(name));
            let strange = entries.iter().filter(|entry| !known(&entry.name));
            said.wrong
                .extend(strange.map(|entry| format!("{} is there", String::from_utf8_lossy(&entry.name))));
        }
        Err(error) => said.uses.push(blamed(&error)),
    }
    all
}

/// Compares an object with its expected content, page by page.
fn compare(object: &Object, expected: &Content, name: &str, said: &mut Said) {
    if object.len() != expected.len {
        said.wrong.push(format!("{name} has {} bytes", object.len()));
    }
    for (page, result) in pages(object, expected) {
        match result {
            Ok(true) => {}
            Ok(false) => said.wrong.push(format!("page {page} of {name}")),
            Err(error) => {
                said.failed.push((name.to_owned(), page));
                said.uses.push(blamed(&error));
            }
        }
    }
}

/// Whether each page of an object that may be mapped has its expected content.
pub fn pages(object: &Object, expected: &Content) -> BTreeMap<u64, pagestone::Result<bool>> {
    // Pages that have a frame, and some holes.
    let some = expected.frames.keys().flat_map(|page| [*page, page + 1]).chain([0, 1, 511, 513]);
    let mut results = BTreeMap::new();
    for page in some.filter(|page| page * PAGE < expected.len) {
        let mut bytes = vec![0xEE; PAGE as usize];
        let wanted = expected.read(page * PAGE, PAGE as usize);
        let result = object.read_at(page * PAGE, &mut bytes);
        results.insert(page, result.map(|read| bytes[..read] == wanted));
    }
    results
}

/// Makes changes of every kind to new objects. Damage that they meet is an error or is set aside, and they change nothing
/// that was there.
pub fn change(store: &Store, said: &mut Said) {
    let changes = || -> pagestone::Result {
        for n in 0..10 {
            store.create(format!("made {n}"))?.append(&[9; 3 * PAGE as usize + 5])?;
        }
        store.rename("made 0", "made again")?;
        let object = store.open("made 1")?;
        object.set_len(PAGE)?;
        let mut batch = store.batch();
        batch.write_at(&object, 7, b"batch")?;
        batch.commit()?;
        (2..10).try_for_each(|n| store.unlink(format!("made {n}")))?;
        store.sync()
    };
    match changes() {
        Ok(()) | Err(Error::NoSpace { .. }) => {}
        Err(error) => said.uses.push(blamed(&error)),
    }
}
