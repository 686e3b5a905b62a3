use super::*;
use crate::persist::{Event, Recorder};

fn file(path: &Path) -> Source {
    Source::File { path: path.into() }
}

#[test]
fn what_is_written_to_a_file_region_is_read_by_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("r");
    let options = RegionOptions { create: true, ..Default::default() };
    let region = Region::attach(file(&path), &options).unwrap();
    region.grow_to(8192).unwrap();
    region.memory().store(4096, 7).unwrap();
    region.memory().write(8000, b"hello").unwrap();
    assert!(matches!(region.memory().load(8192), Err(Error::Corrupt { .. })));
    assert!(matches!(region.memory().load(8188), Err(Error::Corrupt { .. })));
    drop(region);
    let region = Region::attach(file(&path), &RegionOptions::default()).unwrap();
    assert_eq!(region.memory().load(4096).unwrap(), 7);
    let mut bytes = [0; 5];
    region.memory().read(8000, &mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");
    let (found, offset) = region_at(region.address(FrameNo(1))).unwrap();
    assert!(Arc::ptr_eq(&found, &region) && offset == 4096);
    assert!(Arc::ptr_eq(&region_of(region.pfn(FrameNo(1))).unwrap(), &region));
}

#[test]
fn the_recorder_hears_every_store_in_order() {
    let recorder = Recorder::new();
    let options = RegionOptions {
        assume: Some(Durability::CacheLine),
        recorder: Some(Arc::clone(&recorder)),
        ..Default::default()
    };
    let region = Region::attach(Source::Image(vec![0; 4096]), &options).unwrap();
    let memory = region.memory();
    memory.store(8, 1).unwrap();
    memory.flush(8, 8).unwrap();
    memory.fence();
    recorder.mark(5);
    assert_eq!(
        recorder.take(),
        [
            Event::Store { thread: 0, offset: 8, bytes: 1u64.to_le_bytes().into(), non_temporal: false },
            Event::Flush { thread: 0, line_offset: 0 },
            Event::Fence { thread: 0 },
            Event::Mark { thread: 0, label: 5 },
        ]
    );
}
