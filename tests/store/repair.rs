//! Repair: whatever damage one frame has, afterwards everything is there or reported as lost.

mod cut_short;
mod each_step;
mod hostile;
mod lost;
mod steps;

use pagestone::store::{Options, Repaired, Store};
use pagestone::units::PageIndex;
use pagestone::{Error, Result};
use std::collections::BTreeMap;

const FRAME: usize = 4096;
/// The beginning of each page of the region.
const PAGE: &[u8; 8] = b"a page: ";

/// The pages of the objects, by name.
type Pages = BTreeMap<String, Vec<u64>>;

fn objects() -> Pages {
    let mut objects = Pages::new();
    objects.insert("one".into(), vec![0]);
    objects.insert("two leaves".into(), (0..20).chain(600..620).collect());
    objects.insert("deep".into(), vec![0, 1, 511, 1 << 19, (1 << 19) + 7]);
    objects.insert("empty".into(), vec![]);
    objects.extend((0..24).map(|n| (format!("small {n}"), vec![0])));
    objects
}

fn page(name: &str, page: u64) -> Vec<u8> {
    let mut bytes = vec![0; FRAME];
    let text = format!("{}{name} {page}", std::str::from_utf8(PAGE).unwrap());
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    bytes[FRAME - 8..].copy_from_slice(&page.to_le_bytes());
    bytes
}

fn write(store: &Store, name: &str, pages: &[u64]) {
    let object = store.open_or_create(name).unwrap();
    pages.iter().for_each(|&n| object.write_at(n * FRAME as u64, &page(name, n)).unwrap());
}

/// The bytes of a closed region with these objects.
fn image() -> Vec<u8> {
    image_of(|store| objects().iter().for_each(|(name, pages)| write(store, name, pages)))
}

fn image_of(make: impl FnOnce(&Store)) -> Vec<u8> {
    image_by(&options(), make)
}

fn image_by(options: &Options, make: impl FnOnce(&Store)) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let store = options.clone().create(true).open(&path).unwrap();
    make(&store);
    store.close().unwrap();
    std::fs::read(path).unwrap()
}

fn options() -> Options {
    Store::options()
}

/// Frames that hold no page of an object.
fn metadata(image: &[u8]) -> Vec<usize> {
    let frames = 0..image.len() / FRAME - 1;
    frames.filter(|frame| !image[frame * FRAME..].starts_with(PAGE)).collect()
}

/// Repairs, and checks what a repair promises for any damage.
fn repaired(damaged: Vec<u8>, what: &str) -> (Repaired, Vec<u8>) {
    let (planned, _) = options().read_only(true).repair_image(damaged.clone()).unwrap();
    let (done, image) = options().repair_image(damaged).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(planned.repairs.len(), done.repairs.len(), "{what}: {planned:#?} {done:#?}");
    assert_eq!(done.left, [], "{what}: {:#?}", done.repairs);
    let (again, _) = options().repair_image(image.clone()).unwrap();
    assert_eq!((again.repairs, again.left), (vec![], vec![]), "{what}");
    (done, image)
}

/// What a region does not show of its objects.
#[derive(Default)]
struct Missing {
    /// Names that are gone.
    gone: Vec<String>,
    /// Pages that cannot be read.
    lost: u64,
    /// Pages that read as zeros.
    zeros: u64,
}

/// What is missing: names that are gone, and pages that cannot be read or are zeros.
fn missing(image: Vec<u8>, objects: &Pages, what: &str) -> (Vec<String>, u64) {
    let Missing { gone, lost, zeros } = missing_apart(image, objects, what);
    (gone, lost + zeros)
}

fn missing_apart(image: Vec<u8>, objects: &Pages, what: &str) -> Missing {
    let store = options().open_image(image).unwrap();
    let report = store.check().unwrap();
    assert!(report.is_clean(), "{what}: {:#?}", report.findings);
    shown(&store, objects, report.counts.damaged > 0, what)
}

/// Returns what is missing. All other pages must be as they were; and only where something is flagged as damaged, pages
/// that were linked after the last write of a node may have become holes.
fn shown(store: &Store, objects: &Pages, flagged: bool, what: &str) -> Missing {
    let Missing { mut gone, mut lost, mut zeros } = Missing::default();
    for (name, pages) in objects {
        let object = match store.open(name) {
            Ok(object) => object,
            Err(Error::NotFound { .. }) => {
                gone.push(name.clone());
                continue;
            }
            Err(Error::Corrupt { .. }) => {
                lost += pages.len() as u64;
                continue;
            }
            Err(error) => panic!("{what}: {name}: {error}"),
        };
        for &n in pages {
            let mut found = vec![0; FRAME];
            match read(&object, n, &mut found) {
                Ok(()) if found == page(name, n) => {}
                Err(Error::Corrupt { .. }) => lost += 1,
                Ok(()) if flagged && found.iter().all(|byte| *byte == 0) => zeros += 1,
                other => panic!("{what}: page {n} of {name}: {other:?} {:?}", &found[..40]),
            }
        }
    }
    Missing { gone, lost, zeros }
}

fn read(object: &pagestone::store::Object, n: u64, into: &mut [u8]) -> Result<()> {
    object.pin(PageIndex(n))?;
    object.read_at(n * FRAME as u64, into).map(drop)
}

/// A change of a frame's bytes. The number tells frames apart.
type Damage = fn(&mut [u8], usize);

const DAMAGES: &[(&str, Damage)] = &[
    ("zeroed", |frame, _| frame.fill(0)),
    ("all ones", |frame, _| frame.fill(0xff)),
    ("one bit", |frame, n| frame[n * 7 % 512] ^= 1 << (n % 8)),
    ("one bit further on", |frame, n| frame[512 + n * 131 % 3584] ^= 1 << (n % 8)),
];

#[test]
fn whatever_one_frame_of_metadata_has_become_all_is_there_or_said_to_be_lost() {
    let whole = image();
    let objects = objects();
    for frame in metadata(&whole) {
        for (name, damage) in DAMAGES {
            let mut image = whole.clone();
            damage(&mut image[frame * FRAME..(frame + 1) * FRAME], frame);
            if image == whole {
                continue;
            }
            let what = format!("frame {frame}, {name}");
            let (done, image) = repaired(image, &what);
            let (gone, lost) = missing(image, &objects, &what);
            let said = |what: &str| done.repairs.iter().filter(|repair| repair.what == what).count();
            assert!(gone.len() <= said("record-lost") + said("object-renamed"), "{what}: {gone:?} {done:#?}");
            assert!(lost == 0 || said("page-lost") + said("object-damaged") > 0, "{what}: {lost} {done:#?}");
        }
    }
}
