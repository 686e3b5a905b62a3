use super::*;
use crate::sync::atomic::AtomicBool;
use proptest::prelude::*;
use std::time::Duration;

/// Line-aligned memory, as a region's window is.
struct Arena(Vec<[u64; 8]>, usize);

impl Arena {
    fn new(fill: u8) -> Self {
        let lines = vec![[u64::from(fill) * 0x0101_0101_0101_0101; 8]; 257];
        let head = lines.as_ptr().addr().wrapping_neg() % LINE_SIZE;
        Self(lines, head)
    }
    fn base(&mut self) -> *mut u8 {
        self.0.as_mut_ptr().cast::<u8>().wrapping_add(self.1)
    }
    fn bytes(&self) -> &[u8] {
        let start = self.0.as_ptr().cast::<u8>().wrapping_add(self.1);
        // SAFETY: 256 whole lines lie in the vector from its first line boundary on.
        unsafe { std::slice::from_raw_parts(start, 256 * LINE_SIZE) }
    }
}

fn recorded(class: Durability) -> (Persist, Arc<Recorder>) {
    let recorder = Recorder::new();
    (Persist::new(class, false, Some(Arc::clone(&recorder))), recorder)
}

proptest! {
    #[test]
    fn streamed_bytes_arrive_at_every_alignment_and_touch_no_neighbour(
        offset in 0usize..300, len in 0usize..9000, shift in 0usize..64, cached in any::<bool>(),
    ) {
        let source: Vec<u8> = (0..len + shift).map(|i| (i * 7 + 3) as u8).collect();
        let class = if cached { Durability::CacheLine } else { Durability::Fdatasync };
        let (persist, recorder) = recorded(class);
        let mut arena = Arena::new(0xee);
        let mut expected = vec![0xee; 256 * LINE_SIZE];
        expected[offset..offset + len].copy_from_slice(&source[shift..]);
        // SAFETY: the range lies in the arena, which is this test's alone.
        unsafe { persist.write_nt(arena.base(), offset as u64, &source[shift..]) };
        persist.fence();
        prop_assert_eq!(arena.bytes(), &expected[..]);

        let mut replayed = vec![0xee; 256 * LINE_SIZE];
        for event in recorder.take() {
            if let Event::Store { offset, bytes, non_temporal, .. } = event {
                let whole = offset % LINE_SIZE as u64 == 0 && bytes.len() % LINE_SIZE == 0;
                prop_assert!(whole || !non_temporal);
                replayed[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
            }
        }
        prop_assert_eq!(replayed, expected);
    }

    #[test]
    fn streamed_zeros_cover_exactly_their_lines(first in 0usize..100, count in 0usize..150) {
        let persist = Persist::new(Durability::CacheLine, false, None);
        let mut arena = Arena::new(0xee);
        let mut expected = vec![0xee; 256 * LINE_SIZE];
        expected[first * LINE_SIZE..(first + count) * LINE_SIZE].fill(0);
        // SAFETY: whole lines of the arena, which is this test's alone.
        unsafe { persist.zero_nt(arena.base(), (first * LINE_SIZE) as u64, count * LINE_SIZE) };
        persist.fence();
        prop_assert_eq!(arena.bytes(), &expected[..]);
    }

    #[test]
    fn a_flush_names_each_line_of_its_range_once(offset in 0u64..4096, len in 1usize..4096) {
        let (persist, recorder) = recorded(Durability::CacheLine);
        let mut arena = Arena::new(0);
        // SAFETY: the range lies in the arena.
        unsafe { persist.flush(arena.base(), offset, len) };
        let lines: Vec<u64> = recorder.take().into_iter().map(|event| match event {
            Event::Flush { line_offset, .. } => line_offset,
            other => panic!("{other:?}"),
        }).collect();
        let (first, last) = (offset / 64, (offset + len as u64 - 1) / 64);
        prop_assert_eq!(persist.stats().lines_flushed, lines.len() as u64);
        prop_assert_eq!(lines, (first..=last).map(|line| line * 64).collect::<Vec<_>>());
    }
}

#[test]
fn a_processor_without_clwb_gets_the_next_best_instruction() {
    const CLFLUSH: u32 = 1 << 19;
    const CLFLUSHOPT: u32 = 1 << 23;
    const CLWB: u32 = 1 << 24;
    assert_eq!(FlushInstruction::choose(CLFLUSH, CLWB | CLFLUSHOPT), FlushInstruction::Clwb);
    assert_eq!(FlushInstruction::choose(CLFLUSH, CLFLUSHOPT), FlushInstruction::Clflushopt);
    // What valgrind answers.
    assert_eq!(FlushInstruction::choose(CLFLUSH, 0), FlushInstruction::Clflush);
    assert_eq!(FlushInstruction::choose(0, 0), FlushInstruction::Nothing);
}

#[test]
fn every_flush_instruction_of_this_processor_leaves_the_bytes_alone() {
    let mut arena = Arena::new(0x5a);
    let best = FlushInstruction::detect();
    // A processor that has one of them has the later ones, too.
    let all = [FlushInstruction::Clwb, FlushInstruction::Clflushopt, FlushInstruction::Clflush];
    for instruction in all.into_iter().skip_while(|one| *one != best) {
        // SAFETY: lines of the arena; the processor has the instruction.
        unsafe { instruction.flush(arena.base(), 256) };
        lines::fence();
        assert!(arena.bytes().iter().all(|byte| *byte == 0x5a));
    }
}

#[test]
fn a_class_pays_only_for_what_it_needs() {
    let mut arena = Arena::new(0);
    for class in [Durability::Volatile, Durability::Fdatasync, Durability::CacheLine] {
        let (persist, recorder) = recorded(class);
        // SAFETY: the ranges lie in the arena, which is this test's alone.
        unsafe { persist.flush(arena.base(), 0, 64) };
        persist.fence();
        persist.sync_file(None).unwrap();
        // SAFETY: as above.
        unsafe { persist.write_through(None, arena.base(), 64, 64) }.unwrap();
        let stats = persist.stats();
        let (lines, files) =
            (u64::from(class == Durability::CacheLine), u64::from(class == Durability::Fdatasync));
        assert_eq!((stats.lines_flushed, stats.fences), (lines, lines));
        assert_eq!((stats.file_syncs, stats.write_throughs), (files, files));
        assert_eq!(recorder.take().len() as u64, 2 * lines + 4 * files);
    }
}

#[test]
fn a_planned_fault_strikes_the_nth_next_operation_and_no_other() {
    let (persist, recorder) = recorded(Durability::Fdatasync);
    recorder.fail_next(FileOperation::Sync, 1);
    persist.sync_file(None).unwrap();
    assert_eq!(persist.sync_file(None).unwrap_err().raw_os_error(), Some(libc::EIO));
    persist.sync_file(None).unwrap();
    let thread = 0;
    let (begin, end) = (Event::SyncBegin { thread }, Event::SyncEnd { thread });
    assert_eq!(recorder.take(), [begin.clone(), end.clone(), begin.clone(), begin.clone(), end.clone()]);

    recorder.drop_file(FileOperation::Sync, 0);
    persist.sync_file(None).unwrap();
    persist.sync_file(None).unwrap();
    assert_eq!(recorder.take(), [begin, end]);
}

#[test]
fn a_dropped_flush_or_fence_is_missing_from_the_record() {
    let (persist, recorder) = recorded(Durability::CacheLine);
    let mut arena = Arena::new(0);
    recorder.drop_flush(2);
    recorder.drop_fence(1);
    for _ in 0..2 {
        // SAFETY: the range lies in the arena.
        unsafe { persist.flush(arena.base(), 0, 128) };
        persist.fence();
    }
    let flush = |line_offset| Event::Flush { thread: 0, line_offset };
    assert_eq!(recorder.take(), [flush(0), flush(64), Event::Fence { thread: 0 }, flush(64)]);
}

#[test]
fn threads_are_numbered_in_order_of_appearance() {
    let recorder = Recorder::new();
    recorder.mark(0);
    std::thread::scope(|scope| {
        scope.spawn(|| recorder.mark(1)).join().unwrap();
        scope.spawn(|| recorder.mark(2)).join().unwrap();
    });
    recorder.mark(3);
    let marks = recorder.take().into_iter().map(|event| match event {
        Event::Mark { thread, label } => (thread, label),
        other => panic!("{other:?}"),
    });
    assert_eq!(marks.collect::<Vec<_>>(), [(0, 0), (1, 1), (2, 2), (0, 3)]);
}

#[test]
fn nothing_is_recorded_between_a_store_and_its_record() {
    let recorder = Recorder::new();
    let marked = AtomicBool::new(false);
    std::thread::scope(|scope| {
        recorder.store(0, &[1], false, || {
            scope.spawn(|| {
                recorder.mark(1);
                marked.store(true, Ordering::SeqCst);
            });
            std::thread::sleep(Duration::from_millis(50));
            assert!(!marked.load(Ordering::SeqCst), "another event came between");
        });
    });
    assert_eq!(recorder.take().len(), 2);
}

#[test]
fn where_the_caches_survive_a_fence_is_enough() {
    let mut arena = Arena::new(0);
    let recorder = Recorder::new();
    let persist = Persist::new(Durability::CacheLine, true, Some(Arc::clone(&recorder)));
    // SAFETY: the ranges lie in the arena, which is this test's alone.
    unsafe { persist.write(arena.base(), 0, &[1; 200]) };
    // SAFETY: as above.
    unsafe { persist.flush(arena.base(), 0, 200) };
    persist.fence();
    let heard = recorder.take();
    assert!(matches!(heard[..], [Event::Store { .. }, Event::Fence { .. }]), "{heard:?}");
    assert_eq!((persist.stats().lines_flushed, persist.stats().fences), (0, 1));
}
