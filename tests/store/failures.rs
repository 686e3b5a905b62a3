//! What happens beside a failure, or beside work that an earlier failure left.

use crate::{PAGE, filled, pin};
use pagestone::Error;
use pagestone::media::layout::LEASE_OFFSET;
use pagestone::persist::{Event, FileOperation, Recorder};
use pagestone::store::{CloseError, Options, Store};
use pagestone::units::Durability::{self, CacheLine, Fdatasync};
use pagestone_explorer::gate::Gate;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Long enough for a thread to end, or to show that it waits for another thread.
const SOON: Duration = Duration::from_millis(100);
const LATER: Duration = Duration::from_secs(10);
/// The lease, its state, and the value of a region that failed.
const LEASE: u64 = LEASE_OFFSET;
const STATE: usize = LEASE as usize + 8;
const FAILED: u8 = 3;

struct Rig {
    _folder: tempfile::TempDir,
    path: PathBuf,
    recorder: Arc<Recorder>,
    gate: Arc<Gate>,
    options: Options,
}

impl Rig {
    fn new(class: Durability) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (recorder, gate) = (Recorder::new(), Gate::new());
        let passer = Arc::clone(&gate);
        recorder.on_event(move |event| passer.pass(event));
        let options = Store::options().create(true).assume(class).recorder(Arc::clone(&recorder));
        Self { path: folder.path().join("s"), _folder: folder, recorder, gate, options }
    }

    fn open(&self) -> Store {
        self.options.open(&self.path).unwrap()
    }

    fn lease(&self) -> u8 {
        std::fs::read(&self.path).unwrap()[STATE]
    }
}

#[test]
fn a_close_that_cannot_say_so_says_that_the_region_failed() {
    let rig = Rig::new(Fdatasync);
    let store = rig.open();
    drop(filled(&store, "a", 2));
    store.sync().unwrap();
    store.create("b").unwrap();
    let before = rig.recorder.file_operations().len();
    store.close().unwrap();
    let mut in_close = rig.recorder.file_operations().split_off(before);
    in_close.retain(|done| *done != FileOperation::Look);
    assert_eq!(in_close.last(), Some(&FileOperation::Sync), "the clean mark comes last");
    let syncs = in_close.iter().filter(|done| **done == FileOperation::Sync).count() as u64;

    let store = rig.open();
    store.sync().unwrap();
    store.create("c").unwrap();
    rig.recorder.fail_next(FileOperation::Sync, syncs - 1);
    let CloseError { store, error } = store.close().unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    assert_eq!(rig.lease(), FAILED);
    drop(store);
    let store = rig.open();
    assert_eq!(store.list().unwrap().len(), 3);
    crate::check(&store);
}

/// C gives pins back through their store, so the close of a failed store is refused while there are pins. A page whose
/// pin was given back, but whose frame could not be freed any more, does not keep the store open.
#[test]
fn a_store_that_failed_is_not_closed_before_its_pins_are_back() {
    let store = Rig::new(Fdatasync).open();
    let object = filled(&store, "a", 2);
    let (page, cut) = (pin(&object, 0), pin(&object, 1));
    object.set_len(PAGE).unwrap();
    store.poison("planted");
    drop((object, cut));
    let CloseError { store, error } = store.close().unwrap_err();
    assert!(matches!(&error, Error::Busy { why, .. } if why.contains("1 pages")), "{error}");
    drop(page);
    let CloseError { store: _store, error } = store.close().unwrap_err();
    assert!(matches!(error, Error::Poisoned { .. }), "{error}");
}

/// A sync of a range takes only the notes of its own pages. Another thread's sync finds those of other pages at every
/// moment: whether the range asks its own pages for dirt, because they are few, or looks at all that is noted.
#[test]
fn a_sync_of_a_range_hides_no_other_page_from_a_sync_meanwhile() {
    for (from, pages) in [(4, 1), (3, 6)] {
        let rig = Rig::new(CacheLine);
        let store = rig.open();
        let object = filled(&store, "a", 9);
        object.sync().unwrap();
        object.write_at(PAGE, b"x").unwrap();
        object.write_at(4 * PAGE, b"x").unwrap();
        let offset = (pin(&object, 1).pfn().get() - store.info().pfns.start.get()) * PAGE;
        let _ = rig.recorder.take();
        thread::scope(|scope| {
            scope.spawn(|| {
                rig.gate.stop_me_before(|event| matches!(event, Event::Flush { .. }));
                object.sync_range(from * PAGE, pages * PAGE).unwrap();
            });
            assert!(rig.gate.wait_stopped(LATER), "the range has something to flush");
            scope.spawn(|| object.sync().unwrap());
            thread::sleep(SOON);
            let flushed = rig.recorder.take();
            rig.gate.open();
            let is_it =
                |event: &Event| matches!(event, Event::Flush { line_offset, .. } if *line_offset == offset);
            assert!(flushed.iter().any(is_it), "{pages} pages: {flushed:?}");
        });
        assert!(!pin(&object, 1).info().dirty && !pin(&object, 4).info().dirty);
    }
}
