//! Pins, orphans, and letting regions go.

use crate::attach;
use pagestone::Error;
use pagestone::frame::{FrameTable, PinOutcome, UnpinOutcome};
use pagestone::region::{Detach, Region, RegionOptions, Source, last_put, region_at, region_of};
use pagestone::units::FrameNo;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const DRAIN: Detach = Detach::Drain { deadline: Some(Duration::from_secs(20)) };

fn image() -> Arc<Region> {
    Region::attach(Source::Image(vec![7; 1 << 20]), &RegionOptions::default()).unwrap()
}

fn pin(region: &Region, frame: u32) {
    assert!(FrameTable::global().pin(region.pfn(FrameNo(frame))).is_pinned());
}

fn unpin(region: &Region, frame: u32) -> UnpinOutcome {
    FrameTable::global().unpin(region.pfn(FrameNo(frame)))
}

#[test]
fn detach_returns_when_the_last_pin_drops_and_not_before() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("region");
    let region = attach(&path).unwrap();
    region.grow_to(1 << 20).unwrap();
    region.memory().store(3 * 4096, 99).unwrap();
    pin(&region, 3);
    pin(&region, 9);
    assert_eq!(unpin(&region, 9), UnpinOutcome::Kept);
    let pfn = region.pfn(FrameNo(3));
    let address = region.address(FrameNo(3)).addr();
    let (left, dropped) = (Arc::downgrade(&region), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(100));
            let word = std::ptr::with_exposed_provenance::<u64>(address);
            // SAFETY: the frame is pinned, so it is still mapped.
            assert_eq!(unsafe { word.read_volatile() }, 99);
            assert_eq!(FrameTable::global().pin(pfn), PinOutcome::Held, "a closing region admits no pin");
            dropped.store(true, Ordering::SeqCst);
            let _ = FrameTable::global().unpin(pfn);
        });
        region.detach(DRAIN).unwrap();
        assert!(dropped.load(Ordering::SeqCst), "returned before the pin dropped");
    });
    // Not `region_of`: the numbers of its frames may be another region's by now.
    assert_eq!(left.strong_count(), 0);
    attach(&path).unwrap();
}

#[test]
fn a_region_closed_while_pinned_keeps_its_bytes_and_claim_until_the_pin_drops() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("region");
    let region = attach(&path).unwrap();
    region.grow_to(1 << 20).unwrap();
    pin(&region, 5);
    let (pfn, address) = (region.pfn(FrameNo(5)), region.address(FrameNo(5)));
    let short = Detach::Drain { deadline: Some(Duration::from_millis(20)) };
    assert!(matches!(region.detach(short), Err(Error::TimedOut { .. })));
    assert!(matches!(attach(&path), Err(Error::InUse { by, .. }) if by == "this process"));
    // SAFETY: the frame is pinned, so it is mapped, and no other thread uses it.
    unsafe { address.write_volatile(1) };
    let (still, offset) = region_at(address).unwrap();
    assert_eq!(offset, 5 * 4096);
    assert!(matches!(still.ensure_usable(), Err(Error::Closed)));
    drop(still);
    assert_eq!(FrameTable::global().unpin(pfn), UnpinOutcome::LastOfHeld);
    attach(&path).unwrap();
}

#[test]
fn a_region_that_was_dropped_without_being_closed_is_let_go_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("region");
    for _ in 0..100 {
        let region = attach(&path).unwrap();
        pin(&region, 0);
        let _ = unpin(&region, 0);
    }
}

#[test]
fn a_pin_of_a_never_touched_frame_is_refused_once_the_region_closes() {
    let region = image();
    pin(&region, 1);
    region.close();
    assert_eq!(FrameTable::global().pin(region.pfn(FrameNo(2))), PinOutcome::Held);
    let _ = unpin(&region, 1);
    region.detach(DRAIN).unwrap();
}

#[test]
fn orphans_queued_by_many_threads_are_each_taken_once() {
    let region = image();
    let table = FrameTable::global();
    let frames: Vec<u32> = (0..200).collect();
    for &frame in &frames {
        pin(&region, frame);
        let _ = table.orphan(region.pfn(FrameNo(frame)));
    }
    std::thread::scope(|scope| {
        for part in frames.chunks(50) {
            let region = &region;
            scope.spawn(move || {
                for &frame in part {
                    assert_eq!(unpin(region, frame), UnpinOutcome::LastOfOrphan);
                    last_put(region.pfn(FrameNo(frame)), UnpinOutcome::LastOfOrphan);
                }
            });
        }
    });
    let mut taken: Vec<u32> = region.take_orphans().into_iter().map(|frame| frame.0).collect();
    taken.sort_unstable();
    assert_eq!(taken, frames);
    assert!(region.take_orphans().is_empty());
    frames.iter().for_each(|frame| table.retire_orphan(region.pfn(FrameNo(*frame))));
    region.detach(DRAIN).unwrap();
}

#[test]
fn a_frame_about_to_be_queued_keeps_its_region() {
    let region = image();
    let table = FrameTable::global();
    pin(&region, 7);
    let _ = table.orphan(region.pfn(FrameNo(7)));
    assert_eq!(unpin(&region, 7), UnpinOutcome::LastOfOrphan);
    let short = Detach::Drain { deadline: Some(Duration::from_millis(20)) };
    assert!(matches!(Arc::clone(&region).detach(short), Err(Error::TimedOut { .. })));
    last_put(region.pfn(FrameNo(7)), UnpinOutcome::LastOfOrphan);
    region.detach(DRAIN).unwrap();
}

#[test]
fn a_last_put_that_finds_the_closing_thread_at_work_lets_the_region_go() {
    for round in 0..500_u32 {
        let region = Region::attach(Source::Image(vec![7; 64 << 10]), &RegionOptions::default()).unwrap();
        pin(&region, 5);
        let (pfn, left) = (region.pfn(FrameNo(5)), Arc::downgrade(&region));
        let (start, begun) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                begun.store(true, Ordering::SeqCst);
                while !start.load(Ordering::SeqCst) {
                    std::hint::spin_loop();
                }
                (0..round % 400).for_each(|_| std::hint::spin_loop());
                last_put(pfn, FrameTable::global().unpin(pfn));
            });
            while !begun.load(Ordering::SeqCst) {
                std::hint::spin_loop();
            }
            start.store(true, Ordering::SeqCst);
            region.close();
            drop(region);
        });
        // A thread of another test may be letting it go right now. That does not take long.
        let end = Instant::now() + Duration::from_secs(5);
        while left.strong_count() != 0 {
            assert!(Instant::now() < end, "round {round}: no thread lets it go");
            std::thread::yield_now();
        }
    }
}

#[test]
fn every_pfn_and_every_address_of_a_region_leads_back_to_it() {
    let regions: Vec<_> = (0..8).map(|_| image()).collect();
    for region in &regions {
        assert_eq!(region.window_bytes() % (2 << 20), 0);
        assert_eq!(region.address(FrameNo(0)).addr() % (2 << 20), 0);
        for frame in [0, 1, 255] {
            let frame = FrameNo(frame);
            assert!(Arc::ptr_eq(&region_of(region.pfn(frame)).unwrap(), region));
            assert_eq!(region.frame_of(region.pfn(frame)), Some(frame));
            let (found, offset) = region_at(region.address(frame).wrapping_add(17)).unwrap();
            assert!(Arc::ptr_eq(&found, region));
            assert_eq!(offset, frame.offset() + 17);
        }
    }
    assert!(region_at(std::ptr::from_ref(&regions).cast()).is_none());
}
