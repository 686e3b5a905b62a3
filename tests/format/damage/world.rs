//! A region with a bit of everything, as it was at three moments.

use pagestone::media::format;
use pagestone::media::rules::Rules;
use pagestone::region::{Identity, Region, RegionOptions, Source};
use pagestone::store::{Options, Repaired, Store};
use pagestone::units::Durability;
use pagestone_fuzzing::contents::crowd;
use pagestone_fuzzing::format::name_key;
use pagestone_workload::{Hands, Model, ObjectNo, Op, PAGE, pattern};
use std::path::Path;
use std::sync::Arc;

const IDENTITY: Identity = Identity::plain([7; 16], 1, 2, 3);
/// Objects, so many that each frame of records has some.
pub const SMALL: u16 = 12;

/// Images of one region.
pub struct World {
    /// At an earlier moment: every structure was there, in the same frame, with other content.
    pub old: Vec<u8>,
    /// At rest, after a process died and its region was recovered: its pinned pages are in the busy table, and an object
    /// without a name waits to be dropped.
    pub new: Vec<u8>,
    /// The expected content of the objects with a name at that moment.
    pub model: Model,
    /// After a process died that had made the objects `late 0` to `late 2` and had synced nothing.
    pub killed: Vec<u8>,
}

/// Does operations and notes the expected content.
struct Life {
    store: Store,
    hands: Hands,
    model: Model,
    done: u16,
}

impl Life {
    fn act(&mut self, op: Op) {
        self.hands.act(&self.store, &op, self.done).unwrap();
        self.model.apply(&op, self.done, pattern::bytes);
        self.done += 1;
    }

    fn make(&mut self, name: &str, bytes: u64) -> ObjectNo {
        let object = self.done;
        self.act(Op::Create(object, name.to_owned()));
        if bytes > 0 {
            self.act(Op::Append(object, bytes));
        }
        object
    }

    /// Cuts an object's last page off while it is pinned.
    fn cut_pinned(&mut self, object: ObjectNo, page: u64) {
        self.act(Op::Pin(object, page));
        self.act(Op::SetLen(object, page * PAGE));
    }

    /// Closes the region and opens it again, twice with a change: both superblocks are written.
    fn reopen(mut self, path: &Path) -> Self {
        for _ in 0..2 {
            let knows: Vec<_> =
                self.model.names.iter().map(|(name, object)| (name.clone(), *object)).collect();
            self.hands.let_go();
            self.store.close().unwrap();
            self.store = options().open(path).unwrap();
            knows.iter().for_each(|(name, object)| self.hands.find(&self.store, name, *object).unwrap());
            self.act(Op::Append(knows[0].1, 1));
        }
        self
    }

    /// Makes the log pass all records.
    fn pass(&mut self) {
        let moves = self.store.stats().log_tail_moves;
        while self.store.stats().log_tail_moves < moves + 2 {
            self.make("for a moment", 9);
            self.act(Op::Unlink("for a moment".to_owned(), true));
            self.act(Op::SyncAll);
        }
    }
}

impl World {
    /// Makes the images.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("region");
        let store = options().create(true).log_frames(4).open(&path).unwrap();
        let hands = Hands::new(pattern::bytes, true);
        let mut life = Life { store, hands, model: Model::default(), done: 0 };
        let one = life.make("one", 100);
        let many = life.make("many", 600 * PAGE);
        let far = life.make("far", 5);
        life.act(Op::Write(far, 300_000 * PAGE, 2 * PAGE));
        let names = crowd(&name_key(&std::fs::read(&path).unwrap()));
        names.iter().for_each(|name| _ = life.make(&String::from_utf8_lossy(name), 9));
        let small: Vec<_> = (0..SMALL).map(|n| life.make(&format!("small {n}"), 3 * PAGE)).collect();
        life.cut_pinned(small[0], 2);
        life.act(Op::SyncAll);
        life.pass();
        let old = recovered(&path);
        let mut life = life.reopen(&path);
        life.act(Op::Append(one, 5 * PAGE));
        life.act(Op::Append(many, 8 * PAGE));
        life.act(Op::Append(far, PAGE));
        small[1..].iter().for_each(|object| life.act(Op::Append(*object, PAGE)));
        (0..3).for_each(|n| _ = life.make(&format!("young {n}"), 2 * PAGE));
        life.cut_pinned(small[1], 3);
        life.act(Op::Unlink("small 2".to_owned(), false));
        life.act(Op::SyncAll);
        life.pass();
        let (new, model) = (recovered(&path), life.model.clone());
        (0..3).for_each(|n| _ = life.make(&format!("late {n}"), 0));
        let killed = std::fs::read(&path).unwrap();
        life.hands.let_go();
        Self { old, new, model, killed }
    }
}

fn options() -> Options {
    Store::options().assume(Durability::CacheLine).identity(IDENTITY)
}

/// Opens a region whose process has died.
pub fn open(image: &[u8]) -> pagestone::Result<Store> {
    options().open_image(image.to_vec())
}

/// Repairs a region. Returns how many repairs were done, what is left, and the bytes afterwards.
pub fn repair(image: &[u8], read_only: bool) -> pagestone::Result<(Repaired, Vec<u8>)> {
    options().read_only(read_only).repair_image(image.to_vec())
}

/// Attaches a region.
pub fn attach(image: Vec<u8>) -> Arc<Region> {
    let options = RegionOptions { identity: Some(IDENTITY), ..RegionOptions::default() };
    Region::attach(Source::Image(image), &options).unwrap()
}

/// Its bytes.
pub fn bytes(region: &Region) -> Vec<u8> {
    let mut bytes = vec![0; region.len_bytes() as usize];
    region.memory().read(0, &mut bytes).unwrap();
    bytes
}

/// The bytes after the region's process died and only the log was recovered.
fn recovered(path: &Path) -> Vec<u8> {
    let region = attach(std::fs::read(path).unwrap());
    drop(format::open(Arc::clone(&region), Rules::default()).unwrap());
    bytes(&region)
}
