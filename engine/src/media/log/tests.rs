//! What the log promises, tested through its own calls: append, commit, checkpoint, close, and opening again.

mod head;

use super::*;
use crate::media::ending::{Ending, Why};
use crate::media::format::{format, open};
use crate::media::layout::{CURSOR_OFFSET, LEASE_OFFSET, first_free_frame};
use crate::persist::{Event, FileOperation, Recorder};
use crate::region::{Identity, RegionOptions, Source};
use crate::units::{FRAME_SIZE, LINE_SIZE};
use proptest::prelude::*;

pub(super) const LOG_FRAMES: u32 = 4;

fn identity(boot: u8) -> Identity {
    Identity::plain([boot; 16], 1, 2, 3)
}

pub(super) fn region(image: Option<Vec<u8>>, boot: u8, recorder: Option<Arc<Recorder>>) -> Arc<Region> {
    let options = RegionOptions {
        assume: Some(Durability::Fdatasync),
        identity: Some(identity(boot)),
        recorder: Some(recorder.unwrap_or_default()),
        max_bytes: Some(1 << 22),
        ..RegionOptions::default()
    };
    Region::attach(Source::Image(image.unwrap_or_default()), &options).unwrap()
}

pub(super) fn fresh() -> Log {
    let region = region(None, 1, None);
    format(&region, LOG_FRAMES).unwrap();
    open(region, Rules::default()).unwrap().0
}

/// The bytes as they are now, which a process leaves when it dies.
pub(super) fn image(log: &Log) -> Vec<u8> {
    let mut bytes = vec![0; log.region().len_bytes() as usize];
    log.region().memory().read(0, &mut bytes).unwrap();
    bytes
}

pub(super) fn reopen(bytes: Vec<u8>, boot: u8) -> Result<(Log, Recovery)> {
    open(region(Some(bytes), boot, None), Rules::default())
}

/// Byte offset of the test's word `n`: in the first frame that may hold data.
pub(super) fn word(n: u64) -> u64 {
    first_free_frame(LOG_FRAMES).offset() + n * 8
}

pub(super) fn set(log: &Log, n: u64, value: u64) -> Sequence {
    log.append(|txn| txn.write(word(n), value)).unwrap().1
}

/// Appends a record that publishes what is stored already, and changes nothing.
pub(super) fn publish(log: &Log) -> Sequence {
    let publish = |txn: &mut Txn<'_>| {
        txn.publishes();
        Ok(())
    };
    log.append(publish).unwrap().1
}

#[test]
fn an_appended_word_is_read_before_and_after_it_is_stored_home() {
    let log = fresh();
    let sequence = set(&log, 0, 7);
    assert_eq!(log.read(word(0)).unwrap(), 7);
    assert_eq!(
        log.region().memory().load(word(0)).unwrap(),
        0,
        "a home changed before its record was committed"
    );
    log.commit(sequence).unwrap();
    assert_eq!(log.region().memory().load(word(0)).unwrap(), 7);
    assert_eq!(log.read(word(0)).unwrap(), 7);
}

#[test]
fn a_failed_operation_changes_nothing() {
    let log = fresh();
    let failed: Result<((), Sequence)> = log.append(|txn| {
        txn.write(word(0), 1)?;
        Err(Error::Closed)
    });
    assert!(failed.is_err());
    assert_eq!(log.read(word(0)).unwrap(), 0);
    assert_eq!(log.stats().records, 0);
}

#[test]
fn an_operation_reads_its_own_changes() {
    let log = fresh();
    let frame = first_free_frame(LOG_FRAMES);
    set(&log, 1, 9);
    let ((), _) = log
        .append(|txn| {
            assert_eq!(txn.read(word(1))?, 9);
            txn.write(word(1), 10)?;
            assert_eq!(txn.read(word(1))?, 10);
            txn.zero(FrameNo(frame.0 + 1))?;
            assert_eq!(txn.read(word(512))?, 0);
            txn.write(word(512), 3)?;
            assert_eq!(txn.read(word(512))?, 3);
            Ok(())
        })
        .unwrap();
    assert_eq!(log.read(word(512)).unwrap(), 3);
}

#[test]
fn an_operation_fills_a_record_to_the_last_entry_and_not_beyond() {
    let log = fresh();
    let most = log.entries_max();
    assert!(most as u64 * ENTRY_BYTES <= log.record_room());
    log.append(|txn| {
        for n in 0..most {
            assert_eq!(txn.room(), most - n);
            txn.write(word(n as u64), 1)?;
        }
        assert_eq!(txn.room(), 0);
        for refused in [txn.write(word(most as u64), 1), txn.zero(FrameNo(90))] {
            assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
        }
        txn.write(word(0), 2)
    })
    .unwrap();
    let bytes = log.stats().record_bytes;
    assert_eq!((log.stats().records, bytes), (1, MARK_BYTES + most as u64 * ENTRY_BYTES));
    assert!(bytes <= log.ring.record_bytes_max());
    // The same for lines, whose entries have any length.
    let lines = (log.record_room() - record::HEAD_BYTES as u64) as usize / LINE_SIZE;
    let append = |lines: usize| log.append(|txn| txn.lines(word(0), vec![1; lines * LINE_SIZE].into()));
    assert!(append(lines).is_ok());
    assert!(matches!(append(lines + 1), Err(Error::Invalid(_))));
    assert_eq!(log.stats().records, 2);
}

#[test]
fn an_operation_that_zeroes_a_frame_reads_zeros_there_and_only_there() {
    let log = fresh();
    let frame = first_free_frame(LOG_FRAMES).0 + 1;
    let memory = log.region().memory();
    for at in frame - 1..=frame + 1 {
        memory.write(FrameNo(at).offset(), &[1; FRAME_SIZE]).unwrap();
    }
    let read = |txn: &Txn<'_>, n: u64| txn.read(word(n)).unwrap() != 0;
    log.append(|txn| {
        txn.zero(FrameNo(frame))?;
        let around = [511, 512, 1023, 1024].map(|n| read(txn, n));
        assert_eq!(around, [true, false, false, true]);
        Ok(())
    })
    .unwrap();
}

#[test]
fn records_have_numbers_and_what_changes_nothing_has_the_last_ones() {
    let log = fresh();
    let none = log.append(|_| Ok(())).unwrap().1;
    let first = log.append(|txn| txn.write(word(0), 1).map(|()| txn.sequence())).unwrap();
    assert_eq!(first.0, first.1);
    assert_eq!(first.1, none.next());
    assert_eq!(log.append(|txn| txn.write(word(0), 1)).unwrap().1, first.1, "it is 1 already");
    assert_eq!(log.stats().records, 1);
    let published = publish(&log);
    assert_eq!((published, log.head()), (first.1.next(), first.1.next()));
    assert!(!log.is_committed(first.1));
    log.commit(first.1).unwrap();
    assert!(log.is_committed(published), "one commit serves all that is appended");
    assert!(!log.is_committed(published.next()));
    log.commit(published).unwrap();
    assert_eq!((log.stats().marks, log.stats().records), (1, 2));
    assert_eq!((log.passed(), log.stats().tail_moves), (none, 0));
    log.pass(first.1).unwrap();
    assert_eq!((log.passed(), log.stats().tail_moves), (published, 1));
    log.pass(published).unwrap();
    log.checkpoint().unwrap();
    assert_eq!((log.stats().marks, log.stats().tail_moves), (1, 1), "nothing is left to do");
    // The next record's number comes after the mark's.
    assert_eq!(set(&log, 0, 2), published.next().next());
}

#[test]
fn a_record_begins_where_the_largest_and_two_marks_have_room_and_else_room_is_made() {
    for (entries, made) in [(247, 0), (248, 1)] {
        let log = fresh();
        assert_eq!(log.frames(), LOG_FRAMES);
        let append = |value: u64, entries: u64| {
            log.append(|txn| (0..entries).try_for_each(|n| txn.write(word(n), value))).unwrap();
        };
        let most = log.entries_max() as u64;
        append(1, most);
        append(2, most);
        append(3, entries);
        let left = log.ring.bytes() - log.stats().record_bytes;
        assert_eq!(left < log.ring.record_bytes_max() + 2 * MARK_BYTES, made == 1, "{left}");
        append(4, most);
        assert_eq!(log.stats().tail_moves, made);
    }
}

#[test]
fn the_first_change_of_an_opening_comes_after_what_the_dead_have_left_is_durable() {
    let log = fresh();
    set(&log, 0, 1);
    log.close().unwrap();
    let recorder = Recorder::new();
    let region = region(Some(image(&log)), 1, Some(Arc::clone(&recorder)));
    let log = open(region, Rules::default()).unwrap().0;
    let _ = recorder.take();
    set(&log, 0, 2);
    let events = recorder.take();
    let stored = events.iter().position(|event| matches!(event, Event::Store { .. })).unwrap();
    assert!(events[..stored].iter().any(|event| matches!(event, Event::SyncEnd { .. })), "{events:?}");
}

#[test]
fn what_comes_after_a_checkpoint_is_found_behind_the_tail() {
    let log = fresh();
    set(&log, 0, 1);
    set(&log, 1, 2);
    log.checkpoint().unwrap();
    set(&log, 0, 3);
    let (after, recovery) = reopen(image(&log), 1).unwrap();
    assert_eq!((recovery.replayed, after.read(word(0)).unwrap(), after.read(word(1)).unwrap()), (1, 3, 2));
}

#[test]
fn the_first_change_names_the_owner_and_begins_an_epoch() {
    let log = fresh();
    let epoch = |log: &Log| Header::read(log.region().memory(), LOG_FRAMES).unwrap().tail.link.epoch;
    let lease = |log: &Log| Lease::read(log.region()).unwrap().whole();
    let formatted = epoch(&log);
    assert_eq!(lease(&log), None);
    log.take_lease().unwrap();
    let taken = lease(&log).unwrap();
    assert_eq!((taken.state, taken.epoch), (State::Open, epoch(&log)));
    assert_ne!(taken.epoch, formatted, "no record of a former life joins the chain");
    let before = image(&log);
    log.take_lease().unwrap();
    assert!(before == image(&log), "once is enough");
    set(&log, 0, 1);
    log.close().unwrap();
    assert_eq!(lease(&log).unwrap().state, State::Clean);
    let (after, _) = reopen(image(&log), 1).unwrap();
    assert_eq!(epoch(&after), epoch(&log));
    set(&after, 0, 2);
    assert_ne!(epoch(&after), epoch(&log));
    assert_eq!(lease(&after).unwrap().state, State::Open);
}

#[test]
fn epochs_are_odd_and_never_the_same() {
    let epochs: std::collections::HashSet<u64> = (0..64).map(|_| new_epoch().unwrap()).collect();
    assert_eq!(epochs.len(), 64);
    assert!(epochs.iter().all(|epoch| epoch % 2 == 1), "none is zero, as blank memory is");
}

#[test]
fn after_a_power_loss_the_committed_is_there_and_the_rest_is_not() {
    let log = fresh();
    let committed = set(&log, 0, 1);
    log.commit(committed).unwrap();
    set(&log, 1, 2);
    let bytes = image(&log);
    let (after, recovery) = reopen(bytes, 2).unwrap();
    assert_eq!((after.read(word(0)).unwrap(), after.read(word(1)).unwrap()), (1, 0));
    assert_eq!(recovery.ending, Ending::PowerLoss);
}

#[test]
fn after_the_death_of_the_process_everything_appended_is_there() {
    let log = fresh();
    log.commit(set(&log, 0, 1)).unwrap();
    set(&log, 1, 2);
    let (after, recovery) = reopen(image(&log), 1).unwrap();
    assert_eq!((after.read(word(0)).unwrap(), after.read(word(1)).unwrap()), (1, 2));
    assert_eq!(recovery.ending, Ending::ProcessDeath);
}

#[test]
fn what_a_caller_disowns_is_gone_for_good() {
    let log = fresh();
    log.commit(set(&log, 0, 1)).unwrap();
    log.checkpoint().unwrap();
    // All live records are without a mark.
    set(&log, 1, 2);
    let region = |bytes: Vec<u8>, assume_power_loss| {
        let options = RegionOptions {
            assume: Some(Durability::Fdatasync),
            identity: Some(identity(1)),
            assume_power_loss,
            ..RegionOptions::default()
        };
        Region::attach(Source::Image(bytes), &options).unwrap()
    };
    let (after, recovery) = open(region(image(&log), true), Rules::default()).unwrap();
    assert_eq!((recovery.ending, recovery.why), (Ending::PowerLoss, Why::Assumed));
    assert_eq!((recovery.replayed, recovery.dropped), (0, 1));
    let (again, recovery) = open(region(image(&after), false), Rules::default()).unwrap();
    assert_eq!((again.read(word(0)).unwrap(), again.read(word(1)).unwrap()), (1, 0));
    assert_eq!(recovery.ending, Ending::Clean);
}

#[test]
fn recovery_leaves_nothing_to_recover() {
    let log = fresh();
    set(&log, 1, 2);
    let (after, _) = reopen(image(&log), 1).unwrap();
    let (again, recovery) = reopen(image(&after), 2).unwrap();
    assert_eq!(again.read(word(1)).unwrap(), 2);
    assert_eq!(recovery.ending, Ending::Clean);
}

#[test]
fn a_zeroed_frame_reads_zero_at_once_and_after_recovery() {
    let log = fresh();
    let frame = first_free_frame(LOG_FRAMES);
    log.region().memory().write(frame.offset(), &[0xee; 4096]).unwrap();
    let ((), sequence) = log
        .append(|txn| {
            txn.zero(frame)?;
            txn.write(word(3), 5)
        })
        .unwrap();
    assert_eq!((log.read(word(2)).unwrap(), log.read(word(3)).unwrap()), (0, 5));
    let (after, _) = reopen(image(&log), 1).unwrap();
    assert_eq!((after.read(word(2)).unwrap(), after.read(word(3)).unwrap()), (0, 5));
    log.commit(sequence).unwrap();
    assert_eq!((log.read(word(2)).unwrap(), log.read(word(3)).unwrap()), (0, 5));
}

#[test]
fn a_store_after_a_zero_was_applied_survives_the_death_of_the_process() {
    let log = fresh();
    let frame = first_free_frame(LOG_FRAMES);
    let ((), sequence) = log.append(|txn| txn.zero(frame)).unwrap();
    log.commit(sequence).unwrap();
    log.region().memory().store(word(0), 77).unwrap();
    let (after, _) = reopen(image(&log), 1).unwrap();
    assert_eq!(after.read(word(0)).unwrap(), 77, "recovery zeroed a frame that was in use again");
}

#[test]
fn a_failed_flush_poisons_and_the_next_opening_trusts_only_the_medium() {
    let recorder = Recorder::new();
    let region = region(None, 1, Some(Arc::clone(&recorder)));
    format(&region, LOG_FRAMES).unwrap();
    let log = open(region, Rules::default()).unwrap().0;
    log.commit(set(&log, 0, 1)).unwrap();
    let lost = set(&log, 0, 2);
    recorder.fail_next(FileOperation::WriteThrough, 0);
    assert!(log.commit(lost).is_err());
    assert!(matches!(log.commit(lost), Err(Error::Poisoned { .. })));
    assert!(matches!(log.append(|txn| txn.write(word(1), 1)), Err(Error::Poisoned { .. })));
    let bytes = image(&log);
    assert_eq!(bytes[LEASE_OFFSET as usize + 8], 3, "the lease does not say failed");
    let (_, recovery) = reopen(bytes, 1).unwrap();
    assert_ne!(recovery.ending, Ending::ProcessDeath);
}

/// An opening on the same boot, after a record with these lines and, in `structure`, one word.
fn reopened(lines: u64, structure: Option<u64>) -> Result<(Log, Recovery)> {
    let log = fresh();
    set(&log, 0, 1);
    log.append(|txn| {
        structure.map_or(Ok(()), |at| txn.write(at, 9))?;
        txn.lines(lines, vec![7; LINE_SIZE].into())
    })
    .unwrap();
    reopen(image(&log), 1)
}

#[test]
fn a_record_carries_bytes_of_data_frames_and_of_no_others() {
    use crate::media::layout::{BITMAP_FRAMES, DIRECTORY_FRAME, GROUP_TABLE_FRAME, LOG_FRAME, ROOT_FRAMES};
    let data = word(512);
    let (after, _) = reopened(data, None).unwrap();
    assert_eq!(after.read(data).unwrap(), 0x0707_0707_0707_0707);
    assert!(reopened(data, Some(word(1024))).is_ok());
    let last = after.region().len_bytes() - FRAME_SIZE as u64;
    for frame in
        [LOG_FRAME, ROOT_FRAMES[0], ROOT_FRAMES[1], GROUP_TABLE_FRAME, BITMAP_FRAMES[0], DIRECTORY_FRAME]
    {
        assert!(
            matches!(reopened(frame.offset(), None), Err(Error::Corrupt { what: "log", .. })),
            "{frame:?}"
        );
    }
    for beyond in [last, last + (1 << 40)] {
        assert!(matches!(reopened(beyond, None), Err(Error::Corrupt { .. })), "{beyond:#x}");
    }
    // The same frame as a structure and as data.
    assert!(matches!(reopened(data, Some(data + 1024)), Err(Error::Corrupt { what: "log", .. })));
}

/// A log with one committed record, whose two lines lie in a payload.
fn with_payload() -> (Log, FrameNo) {
    let (log, frame) = (fresh(), FrameNo(first_free_frame(LOG_FRAMES).0 + 9));
    set(&log, 0, 1);
    let mut writer = payload::Writer::new(log.region().memory(), &[frame]);
    writer.push(word(512), &[7; 2 * LINE_SIZE]).unwrap();
    let extents = writer.finish().unwrap();
    let append = |txn: &mut Txn<'_>| extents.iter().try_for_each(|&extent| txn.payload(extent));
    let ((), sequence) = log.append(append).unwrap();
    log.commit(sequence).unwrap();
    (log, frame)
}

#[test]
fn a_payload_is_replayed_after_a_power_loss_and_a_rotten_one_is_refused() {
    let (log, frame) = with_payload();
    assert_eq!(log.read(word(512)).unwrap(), 0x0707_0707_0707_0707);
    let mut bytes = image(&log);
    bytes[word(512) as usize..][..2 * LINE_SIZE].fill(0);
    let (after, _) = reopen(bytes.clone(), 2).unwrap();
    assert_eq!(after.read(word(512 + 15)).unwrap(), 0x0707_0707_0707_0707);
    bytes[frame.offset() as usize + 40] ^= 1;
    assert!(matches!(reopen(bytes, 2), Err(Error::Corrupt { what: "payload of the log", .. })));
}

/// Otherwise each entry of a record of a few MiB could name the same MiB, and a recovery would read it for each of them.
#[test]
fn no_frame_holds_the_payload_of_two_extents() {
    let (log, frame) = with_payload();
    let line = [7; LINE_SIZE];
    let mut writer = payload::Writer::new(log.region().memory(), &[FrameNo(frame.0 + 1)]);
    writer.push(word(512), &line).unwrap();
    let extents = writer.finish().unwrap();
    let image_of = |times: usize| {
        let append = |txn: &mut Txn<'_>| (0..times).try_for_each(|_| txn.payload(extents[0]));
        let ((), sequence) = log.append(append).unwrap();
        log.commit(sequence).unwrap();
        image(&log)
    };
    reopen(image_of(1), 2).unwrap();
    log.checkpoint().unwrap();
    assert!(matches!(reopen(image_of(2), 2), Err(Error::Corrupt { what: "log", .. })));
}

/// The failure becomes known just before the first change writes the lease: at the store of the cursor.
#[test]
fn what_says_that_the_region_failed_is_not_written_over_by_its_first_change() {
    let recorder = Recorder::new();
    let region = region(None, 1, Some(Arc::clone(&recorder)));
    format(&region, LOG_FRAMES).unwrap();
    let log = Arc::new(open(region, Rules::default()).unwrap().0);
    let failing = Arc::downgrade(&log);
    recorder.on_event(move |event| {
        if let (Event::Store { offset: CURSOR_OFFSET, .. }, Some(log)) = (event, failing.upgrade()) {
            log.fail(&Error::Invalid("a flush failed".to_owned()));
        }
    });
    assert!(matches!(log.take_lease(), Err(Error::Poisoned { .. })));
    let bytes = image(&log);
    assert_eq!(bytes[LEASE_OFFSET as usize + 8], 3, "the region failed");
}

#[test]
fn concurrent_appends_and_commits_lose_nothing() {
    let log = fresh();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let log = &log;
            scope.spawn(move || {
                for value in 1..=500 {
                    let (_, sequence) = log
                        .append(|txn| {
                            let old = txn.read(word(thread))?;
                            let sum = txn.read(word(9))?;
                            txn.write(word(9), sum + 1)?;
                            txn.write(word(thread), old + 1)
                        })
                        .unwrap();
                    if value % 7 == 0 {
                        log.commit(sequence).unwrap();
                    }
                }
            });
        }
    });
    log.checkpoint().unwrap();
    for n in 0..4 {
        assert_eq!(log.region().memory().load(word(n)).unwrap(), 500);
    }
    assert_eq!(log.region().memory().load(word(9)).unwrap(), 2000);
}

#[derive(Clone, Debug)]
enum Step {
    Set(u64, u64),
    Commit,
    Checkpoint,
    Close,
    Die,
    LosePower,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        20 => (0u64..40, any::<u64>()).prop_map(|(n, v)| Step::Set(n, v)),
        3 => Just(Step::Commit),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Close),
        1 => Just(Step::Die),
        1 => Just(Step::LosePower),
    ];
    prop::collection::vec(step, 1..600)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    /// The model is a plain array: what was appended survives a process, what was committed survives a power loss.
    #[test]
    fn the_log_agrees_with_an_array_through_wraps_closes_and_crashes(steps in steps()) {
        let (mut appended, mut committed, mut boot) = ([0; 40], [0; 40], 1);
        let mut log = fresh();
        for step in steps {
            match step {
                Step::Set(n, value) => {
                    let marks = log.stats().marks;
                    set(&log, n, value);
                    if log.stats().marks != marks {
                        committed = appended; // the log made room for the record by a checkpoint
                    }
                    appended[n as usize] = value;
                }
                Step::Commit => { log.commit(log.head()).unwrap(); committed = appended; }
                Step::Checkpoint => { log.checkpoint().unwrap(); committed = appended; }
                Step::Close => { log.close().unwrap(); committed = appended; }
                Step::Die => { log = reopen(image(&log), boot).unwrap().0; committed = appended; }
                Step::LosePower => {
                    boot += 1;
                    log = reopen(image(&log), boot).unwrap().0;
                    appended = committed;
                }
            }
            for (n, value) in appended.iter().enumerate() {
                prop_assert_eq!(log.read(word(n as u64)).unwrap(), *value);
            }
        }
    }
}

/// The events of a recovery of these bytes, on the same boot (`death`) or on a later one.
fn events_of_recovery(bytes: Vec<u8>, class: Durability, death: bool) -> Vec<Event> {
    let recorder = Recorder::new();
    let options = RegionOptions {
        assume: Some(class),
        identity: Some(identity(if death { 1 } else { 2 })),
        recorder: Some(Arc::clone(&recorder)),
        max_bytes: Some(1 << 22),
        ..RegionOptions::default()
    };
    let region = Region::attach(Source::Image(bytes), &options).unwrap();
    let (_, recovery) = open(region, Rules::default()).unwrap();
    assert_eq!(recovery.ending, if death { Ending::ProcessDeath } else { Ending::PowerLoss });
    recorder.take()
}

/// A frame that the dead process zeroed is not zeroed again, since its bytes may be newer. But these zeros may still be
/// in the cache only, and the tail moves past their record.
#[test]
fn recovery_flushes_the_zeros_that_it_does_not_store() {
    let log = fresh();
    let frame = FrameNo(first_free_frame(LOG_FRAMES).0 + 3);
    let zeroed = log.append(|txn| txn.zero(frame)).unwrap().1;
    log.commit(zeroed).unwrap();
    let events = events_of_recovery(image(&log), Durability::CacheLine, true);
    let lines = frame.offset()..frame.offset() + FRAME_SIZE as u64;
    let stored = |event: &&Event| matches!(event, Event::Store { offset, .. } if lines.contains(offset));
    assert_eq!(events.iter().filter(stored).count(), 0, "what came later is not undone");
    let flush =
        |event: &&Event| matches!(event, Event::Flush { line_offset, .. } if lines.contains(line_offset));
    assert_eq!(events.iter().filter(flush).count(), FRAME_SIZE / LINE_SIZE);
    let moved = |event: &Event| matches!(event, Event::Store { offset, .. } if crate::media::layout::LOG_HEADER_OFFSETS.contains(offset));
    let last_flush = events.iter().rposition(|event| flush(&event)).unwrap();
    let tail = events.iter().position(moved).expect("the tail moves");
    assert!(events[last_flush..tail].iter().any(|event| matches!(event, Event::Fence { .. })), "{events:?}");
}

/// Where a power loss is only assumed, a mark that is read may lie in the page cache only. So the records that it covers,
/// and what they published, are made durable before their homes are stored.
#[test]
fn recovery_trusts_no_mark_before_it_has_made_it_durable() {
    let log = fresh();
    let last = set(&log, 0, 7);
    log.commit(last).unwrap();
    let home = word(0);
    let mut bytes = image(&log);
    bytes[home as usize..][..8].fill(0);
    let events = events_of_recovery(bytes, Durability::Fdatasync, false);
    let place = |wanted: &dyn Fn(&Event) -> bool| events.iter().position(wanted).expect("it happens");
    let ring = crate::media::layout::LOG_FRAME.offset();
    let synced = place(&|event| matches!(event, Event::SyncEnd { .. }));
    let through = place(&|event| matches!(event, Event::WriteThroughEnd { offset, .. } if *offset >= ring));
    let stored = place(&|event| matches!(event, Event::Store { offset, .. } if *offset == home));
    assert!(synced < through && through < stored, "{events:?}");
}
