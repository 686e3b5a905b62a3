//! A snapshot shows one moment, whatever changes meanwhile.

use super::*;
use crate::media::layout::{FIRST_MOVABLE, LOG_FRAME, file_bytes};
use crate::media::words::Words;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// The frames in use, without those before the roots and those of the log, which no record changes.
fn used(ledger: &Ledger) -> Vec<FrameNo> {
    let (shape, log) = (ledger.shape(), LOG_FRAME.0..LOG_FRAME.0 + ledger.log().frames());
    let all = (FIRST_MOVABLE.0..shape.frames as u32).filter(|frame| !log.contains(frame)).map(FrameNo);
    all.filter(|&frame| shape.fixed(frame) || bitmap::allocated(&**ledger.log(), shape, frame).unwrap())
        .collect()
}

/// The words of these frames, as `words` shows them.
fn all_words(frames: &[FrameNo], words: &impl Words) -> Result<Vec<u64>> {
    let mut all = Vec::new();
    frames.iter().try_for_each(|&frame| words.frame(frame).map(|words| all.extend(words)))?;
    Ok(all)
}

fn churn(ledger: &Ledger, round: u8) {
    for n in 0..40_u8 {
        let slot = create(ledger, &[round, n + 1, 1]);
        fill(ledger, slot, (0..8).map(|page| page * 700));
        if n % 3 > 0 {
            ledger.unlink(&[round, n + 1, 1]).unwrap();
            finish(|| ledger.drop_step(slot, &mut all_free));
        }
    }
}

#[test]
fn a_snapshot_shows_the_words_of_its_moment_and_no_frame_of_it_is_used_again() {
    let ledger = fresh();
    churn(&ledger, 1);
    let (frames, log) = (used(&ledger), ledger.log());
    let (before, snapshot) = log.snapshot(|| all_words(&frames, &**log)).unwrap();
    let counts = super::check::walk(&snapshot, super::check::begin(log).unwrap()).unwrap().counts;
    assert!(counts.pages > 0);
    for round in 2..6 {
        for n in 0..40_u8 {
            if let Some(slot) = ledger.lookup(&[round - 1, n + 1, 1]).unwrap() {
                ledger.unlink(&[round - 1, n + 1, 1]).unwrap();
                finish(|| ledger.drop_step(slot, &mut all_free));
            }
        }
        churn(&ledger, round);
        log.checkpoint().unwrap();
    }
    assert!(all_words(&frames, &snapshot).unwrap() == before);
    assert!(all_words(&frames, &**log).unwrap() != before);
    let report = super::check::walk(&snapshot, super::check::begin(log).unwrap()).unwrap();
    assert_eq!(report.counts.pages, counts.pages);
    drop(snapshot);
    assert_sound(&ledger);
}

#[test]
fn a_change_that_needs_the_frames_of_a_snapshot_ends_it() {
    let ledger = fresh_with(file_bytes(400), LOG_FRAMES_SMALL);
    let slot = create(&ledger, b"a");
    let pages = fill(&ledger, slot, 0..200).len();
    let ((), snapshot) = ledger.log().snapshot(|| Ok(())).unwrap();
    ledger.unlink(b"a").unwrap();
    finish(|| ledger.drop_step(slot, &mut all_free));
    assert!(snapshot.frame(FrameNo(4)).is_ok());
    let frames = ledger.allocate(pages + 50, None).unwrap();
    assert!(matches!(snapshot.frame(FrameNo(4)), Err(Error::TimedOut { .. })));
    ledger.release(&frames).unwrap();
    drop(snapshot);
    assert_sound(&ledger);
}

/// A thread that appends waits for the second walk of a check. A leader may wait for that thread, so the check must not
/// wait for the leader then.
#[test]
fn a_check_beside_a_leader_and_changes_comes_to_its_end() {
    let ledger = Arc::new(fresh());
    create(&ledger, b"a");
    let (alive, ended) = (Arc::new(()), Duration::from_secs(60));
    let again_and_again = |step: fn(&Ledger)| {
        let (ledger, alive) = (ledger.clone(), Arc::downgrade(&alive));
        thread::spawn(move || {
            while alive.strong_count() > 0 {
                step(&ledger);
            }
        })
    };
    let others = [
        again_and_again(|ledger| {
            ledger.log().give_up_snapshot();
            ledger.log().checkpoint().unwrap();
        }),
        again_and_again(|ledger| {
            ledger.rename(b"a", b"b").unwrap();
            ledger.rename(b"b", b"a").unwrap();
        }),
    ];
    // Not a scope: if the threads wait for one another, the test must fail and not wait with them.
    let (send, checked) = mpsc::channel();
    let checks = ledger.clone();
    thread::spawn(move || (0..300).for_each(|_| send.send(checks.check().unwrap().is_clean()).unwrap()));
    for n in 0..300 {
        let clean = checked.recv_timeout(ended).unwrap_or_else(|_| panic!("check {n} hangs"));
        assert!(clean, "check {n} finds a defect");
    }
    drop(alive);
    others.into_iter().for_each(|other| other.join().unwrap());
    assert_sound(&ledger);
}
