use super::*;
use crate::persist::{Event, FileOperation, Recorder};

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

fn recorded(class: Durability, bytes: usize) -> (Arc<Region>, Arc<Recorder>) {
    let recorder = Recorder::new();
    let options =
        RegionOptions { assume: Some(class), recorder: Some(Arc::clone(&recorder)), ..Default::default() };
    (Region::attach(Source::Image(vec![0; bytes]), &options).unwrap(), recorder)
}

fn stored(thread: u32, offset: u64, bytes: &[u8], non_temporal: bool) -> Event {
    Event::Store { thread, offset, bytes: bytes.into(), non_temporal }
}

#[test]
fn the_recorder_hears_every_store_in_order() {
    let (region, recorder) = recorded(Durability::CacheLine, 8192);
    let memory = region.memory();
    memory.store(8, 1).unwrap();
    memory.flush(8, 8).unwrap();
    memory.fence();
    recorder.mark(5);
    memory.write(100, b"abc").unwrap();
    memory.write_nt(4096, &[9; 64]).unwrap();
    memory.zero_nt(4160, 64).unwrap();
    // SAFETY: mapped, and no other thread knows it.
    unsafe { region.address(FrameNo(1)).wrapping_add(200).write(77) };
    memory.wrote(4096 + 200, 1).unwrap();
    region.grow_to(16384).unwrap();
    let thread = 0;
    let expected = [
        stored(thread, 8, &1u64.to_le_bytes(), false),
        Event::Flush { thread, line_offset: 0 },
        Event::Fence { thread },
        Event::Mark { thread, label: 5 },
        stored(thread, 100, b"abc", false),
        stored(thread, 4096, &[9; 64], true),
        stored(thread, 4160, &[0; 64], true),
        stored(thread, 4296, &[77], false),
        Event::Grow { bytes: 16384 },
    ];
    assert_eq!(recorder.take(), expected);
}

#[test]
fn recorded_order_is_memory_order_whatever_the_threads_do() {
    let (region, recorder) = recorded(Durability::CacheLine, 4096);
    let (region, recorder) = (&region, &recorder);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            scope.spawn(move || {
                for n in 0..500 {
                    region.memory().store(n % 4 * 8, thread << 32 | n).unwrap();
                    recorder.mark(thread);
                }
            });
        }
    });
    let mut image = vec![0; 4096];
    let mut names = std::collections::HashMap::new();
    for event in recorder.take() {
        match event {
            Event::Store { offset, bytes, thread, .. } => {
                let value = u64::from_le_bytes((*bytes).try_into().unwrap());
                assert_eq!(
                    *names.entry(thread).or_insert(value >> 32),
                    value >> 32,
                    "a thread has one number"
                );
                image[offset as usize..][..8].copy_from_slice(&bytes);
            }
            Event::Mark { thread, label } => assert_eq!(names[&thread], label),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(names.len(), 4);
    let mut real = vec![0; 4096];
    region.memory().read(0, &mut real).unwrap();
    assert_eq!(image, real);
}

#[test]
fn a_failed_sync_poisons_the_region_with_its_first_reason() {
    let (region, recorder) = recorded(Durability::Fdatasync, 4096);
    recorder.fail_next(FileOperation::WriteThrough, 0);
    region.memory().sync_file().unwrap();
    assert!(matches!(region.memory().write_through(0, 512), Err(Error::Io { .. })));
    region.poison("something later");
    let why = region.poisoned().unwrap();
    assert!(why.starts_with("writing 512 bytes at 0x0 to the memory region"), "{why}");
    assert!(matches!(region.ensure_usable(), Err(Error::Poisoned { why: told }) if told == why));
    assert!(matches!(region.grow_to(8192), Err(Error::Poisoned { .. })));
}

#[test]
fn no_offset_reaches_past_the_region() {
    let (region, _) = recorded(Durability::Fdatasync, 4096);
    let memory = region.memory();
    for offset in [4090u64, 4096, 4097, 1 << 40, u64::MAX - 7, u64::MAX] {
        let refused = [
            memory.load(offset).map(drop),
            memory.store(offset, 1),
            memory.read(offset, &mut [0; 8]),
            memory.write(offset, &[0; 8]),
            memory.write_nt(offset, &[0; 8]),
            memory.zero_nt(offset, 64),
            memory.flush(offset, 8),
            memory.wrote(offset, 8),
            memory.write_through(offset, 8),
        ];
        for outcome in refused {
            assert!(matches!(outcome, Err(Error::Corrupt { .. })), "{offset:#x}: {outcome:?}");
        }
    }
    assert!(matches!(memory.load(4), Err(Error::Corrupt { .. })), "words are aligned");
    assert!(matches!(memory.zero_nt(8, 64), Err(Error::Invalid(_))), "lines are whole");
    memory.read(4096, &mut []).unwrap();
    memory.load(4088).unwrap();
}

#[test]
fn an_image_grows_in_its_window() {
    let region = Region::attach(Source::Image(vec![3; 100]), &RegionOptions::default()).unwrap();
    assert_eq!(region.len_bytes(), 100);
    region.grow_to(1 << 20).unwrap();
    let mut bytes = [1; 200];
    region.memory().read(0, &mut bytes).unwrap();
    assert!(bytes[..100] == [3; 100] && bytes[100..] == [0; 100]);
    assert!(matches!(region.grow_to(1 << 40), Err(Error::NoSpace { .. })));
}

#[test]
fn an_identity_names_file_and_boot() {
    let directory = tempfile::tempdir().unwrap();
    let create = RegionOptions { create: true, ..Default::default() };
    let identity =
        |name: &str| Region::attach(file(&directory.path().join(name)), &create).unwrap().identity();
    let (a, b, again) = (identity("a"), identity("b"), identity("a"));
    assert_eq!(a, again);
    assert_eq!((a.boot, a.device, a.mount), (b.boot, b.device, b.mount));
    assert_ne!(a.inode, b.inode);
    assert_ne!(a.boot, [0; 16]);
    let holder = Holder::this_process();
    assert_eq!(holder.pid, std::process::id());
    assert_ne!(holder.start_time, 0);
}

/// Starts a file sync that fails, stops it midway, and runs `other` meanwhile.
fn while_a_sync_fails(other: impl Fn(&Memory) -> Result + Send + Sync) -> Result {
    use std::sync::mpsc::channel;
    let (region, recorder) = recorded(Durability::Fdatasync, 8192);
    let (inside, is_inside) = channel();
    let (go_on, may_go_on) = channel::<()>();
    let hook = std::sync::Mutex::new(Some((inside, may_go_on)));
    recorder.on_event(move |event| {
        let first = matches!(event, Event::SyncBegin { .. }).then(|| hook.lock().unwrap().take()).flatten();
        if let Some((inside, may_go_on)) = first {
            inside.send(()).unwrap();
            may_go_on.recv().unwrap();
        }
    });
    recorder.fail_next(FileOperation::Sync, 0);
    std::thread::scope(|scope| {
        let failing = scope.spawn(|| region.memory().sync_file());
        is_inside.recv().unwrap();
        let other = scope.spawn(|| other(region.memory()));
        std::thread::sleep(std::time::Duration::from_millis(50));
        go_on.send(()).unwrap();
        assert!(matches!(failing.join().unwrap(), Err(Error::Io { .. })));
        other.join().unwrap()
    })
}

/// The kernel reports a write-back error once: to the sync that failed, or to one that ran beside it.
#[test]
fn no_file_operation_succeeds_beside_one_that_fails() {
    let sync = while_a_sync_fails(Memory::sync_file);
    assert!(matches!(sync, Err(Error::Poisoned { .. })), "{sync:?}");
    let write = while_a_sync_fails(|memory| memory.write_through(0, 512));
    assert!(matches!(write, Err(Error::Poisoned { .. })), "{write:?}");
}

#[test]
fn a_failed_file_operation_says_what_where_and_what_next() {
    let directory = tempfile::tempdir().unwrap();
    let recorder = Recorder::new();
    let path = directory.path().join("the-region");
    let options = RegionOptions {
        create: true,
        assume: Some(Durability::Fdatasync),
        recorder: Some(Arc::clone(&recorder)),
        ..Default::default()
    };
    let region = Region::attach(file(&path), &options).unwrap();
    region.grow_to(8192).unwrap();
    recorder.break_down(recorder.file_operations().len(), libc::ENOSPC, false);
    let error = region.memory().write_through(4096, 512).unwrap_err().to_string();
    for part in ["writing 512 bytes at 0x1000", "the-region", "open it again", "No space left"] {
        assert!(error.contains(part), "{error}");
    }
    let error = region.grow_to(16384).unwrap_err().to_string();
    assert!(error.contains("writing 512 bytes at 0x1000") && error.contains("open it again"), "{error}");
}

#[test]
fn the_recorder_fails_any_file_operation_by_its_number() {
    use FileOperation::{Allocate, Length, Look, Sync, WriteThrough};
    let directory = tempfile::tempdir().unwrap();
    let run = |name: &str, after: usize, lasting: bool| {
        let recorder = Recorder::new();
        recorder.break_down(after, libc::EIO, lasting);
        let options = RegionOptions {
            create: true,
            assume: Some(Durability::Fdatasync),
            recorder: Some(Arc::clone(&recorder)),
            ..Default::default()
        };
        let region = Region::attach(file(&directory.path().join(name)), &options).unwrap();
        let done = [
            region.grow_to(8192),
            region.memory().sync_file(),
            region.memory().write_through(0, 512),
            region.check_length(),
        ];
        (done.map(|result| result.is_ok()), recorder.file_operations())
    };
    let all = [Look, Allocate, Length, Sync, WriteThrough, Look];
    assert_eq!(run("none", all.len(), true), ([true; 4], all.to_vec()));
    assert_eq!(run("growth", 1, false).0, [false, true, false, true], "a growth that failed changes nothing");
    assert_eq!(run("last", 5, false).0, [true, true, true, false]);
    assert_eq!(run("sync", 3, false).0, [true, false, false, false], "a failed sync is for good");
    assert_eq!(run("all", 0, true).0, [false; 4]);
}

#[test]
fn a_look_at_the_length_beside_a_cut_finds_no_loss() {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    let directory = tempfile::tempdir().unwrap();
    let options = RegionOptions { create: true, assume: Some(Durability::Volatile), ..Default::default() };
    let region = Region::attach(file(&directory.path().join("r")), &options).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Relaxed) {
                    region.check_length().unwrap();
                }
            });
        }
        for _ in 0..if cfg!(miri) { 0 } else { 2000 } {
            region.grow_to(16384).and_then(|()| region.cut_to(8192)).unwrap_or_else(|error| {
                done.store(true, Relaxed);
                panic!("{error}")
            });
        }
        done.store(true, Relaxed);
    });
}

#[test]
fn what_a_file_was_cut_by_reads_as_zeros_and_grows_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("r");
    let region = Region::attach(file(&path), &RegionOptions { create: true, ..Default::default() }).unwrap();
    for round in 1..4 {
        region.grow_to(1 << 20).unwrap();
        for frame in 0..256 {
            region.memory().store(frame * 4096, round).unwrap();
        }
        // A thread that looked there before the cut still has the address.
        let (kept, gone) = (region.address(FrameNo(2)), region.address(FrameNo(200)));
        region.cut_to(5 * 4096).unwrap();
        region.cut_to(3 * 4096).unwrap();
        assert_eq!((region.len_bytes(), std::fs::metadata(&path).unwrap().len()), (3 * 4096, 3 * 4096));
        // SAFETY: mapped, and nothing stores there.
        let seen = [kept, gone].map(|at| unsafe { at.cast::<u64>().read_volatile() });
        assert_eq!(seen, [round, 0]);
        assert!(matches!(region.memory().load(3 * 4096), Err(Error::Corrupt { .. })));
        region.grow_to(4 * 4096).unwrap();
        region.memory().store(3 * 4096, 7).unwrap();
    }
    region.grow_to(1 << 20).unwrap();
    assert!((4..256).all(|frame| region.memory().load(frame * 4096).unwrap() == 0));
    region.memory().sync_file().unwrap();
    drop(region);
    assert_eq!(std::fs::read(&path).unwrap()[3 * 4096], 7);
}
