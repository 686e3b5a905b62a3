//! The rules that the structures keep, and what happens with each switched off: a test that passes either way
//! proves nothing.

use super::*;
use crate::media::layout::{FRAMES_INITIAL, file_bytes};
use crate::media::rules::Rule;

fn with(rules: Rules, max_bytes: u64) -> Volume {
    let region = region(Vec::new(), 1, max_bytes);
    format(&region, LOG_FRAMES_DEFAULT).unwrap();
    volume_of(region, rules).unwrap()
}

/// Whether `holds` is true with all rules kept and false with `rule` broken.
fn needs(rule: Rule, max_bytes: u64, holds: impl Fn(Volume) -> bool) {
    assert!(holds(with(Rules::default(), max_bytes)), "{rule:?} kept");
    assert!(!holds(with(Rules::default().breaking(rule), max_bytes)), "{rule:?} broken");
}

#[test]
fn a_node_that_becomes_data_is_not_overwritten_by_a_replay() {
    needs(Rule::RoleReuse, file_bytes(FRAMES_INITIAL.into()), |volume| {
        let slot = create(&volume, b"a");
        fill(&volume, slot, 0..2);
        let node = FrameNo(volume.log().read(slot.offset() + 24).unwrap() as u32);
        volume.unlink(b"a").unwrap();
        finish(|| volume.drop_step(slot, &mut all_free));
        // A commit leaves the tail where it is: all this will be replayed.
        volume.log().commit(volume.log().head()).unwrap();
        let all = volume.allocate_to_free(volume.free_frames().unwrap() as usize).unwrap();
        assert!(all.contains(&node));
        volume.log().region().memory().write(node.offset(), &[0x5a; 4096]).unwrap();
        volume.link(create(&volume, b"b"), &[(PageIndex(0), node)], None).unwrap();
        volume.log().commit(volume.log().head()).unwrap();
        let max = volume.log().region().window_bytes();
        let after = volume_of(region(image(volume.log()), 2, max), Rules::default()).unwrap();
        let mut bytes = [0; 4096];
        after.log().region().memory().read(node.offset(), &mut bytes).unwrap();
        bytes == [0x5a; 4096]
    });
}

#[test]
fn pages_that_were_linked_after_a_truncate_outlive_its_recovery() {
    needs(Rule::GrowWhileTruncating, 1 << 20, |volume| {
        let slot = create(&volume, b"a");
        fill(&volume, slot, 0..4);
        volume.set_size(slot, 4 * 4096, true).unwrap();
        volume.begin_truncate(slot, 4096).unwrap();
        let frame = volume.allocate(1, None).unwrap();
        let pairs = [(PageIndex(9), frame[0])];
        if volume.link(slot, &pairs, Some(10 * 4096)).is_err() {
            finish(|| volume.truncate_step(slot, &mut all_free));
            volume.link(slot, &pairs, Some(10 * 4096)).unwrap();
        }
        let volume = reopened(volume);
        for slot in volume.orphans().unwrap() {
            finish(|| volume.truncate_step(slot, &mut all_free));
        }
        volume.map(slot, PageIndex(9)).unwrap() == Some(frame[0])
    });
}

#[test]
fn a_pinned_frame_is_nobody_elses() {
    needs(Rule::ReuseBeforeUnpin, file_bytes(FRAMES_INITIAL.into()), |volume| {
        let slot = create(&volume, b"a");
        let pinned = fill(&volume, slot, 0..1)[0].1;
        volume.unlink(b"a").unwrap();
        finish(|| volume.drop_step(slot, &mut |_, _| Fate::Busy));
        volume.log().checkpoint().unwrap();
        let all = volume.allocate_to_free(volume.free_frames().unwrap() as usize).unwrap();
        !all.contains(&pinned)
    });
}

#[test]
fn no_record_of_a_step_leaves_a_frame_with_two_owners_or_none() {
    needs(Rule::StepSplits, 1 << 20, |volume| {
        let slot = create(&volume, b"a");
        fill(&volume, slot, 0..4);
        volume.unlink(b"a").unwrap();
        let before = volume.log().stats().records;
        finish(|| volume.drop_step(slot, &mut all_free));
        // One record: there is no state between bit and word.
        volume.log().stats().records == before + 1
    });
}
