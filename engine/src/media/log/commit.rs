//! Commit and checkpoint: the work of the leader. One thread at a time leads, for all threads that wait (LOG rules 3, 7
//! and 10).

use super::cursor;
use super::header::Tail;
use super::homes::Homes;
use super::record::{Content, Entry, Link, Sequence};
use super::{Chain, Log, Reach};
use crate::error::{Error, Result};
use crate::frame::before_stores_under_latches_of_another;
use crate::media::root::Anchor;
use crate::media::rules::Rule;
use crate::sync::atomic::Ordering;
use crate::sync::{MutexGuard, Step};
use std::cell::Cell;

/// Whether a thread leads, and how far the log has come.
pub(super) struct Leadership {
    /// Whether a thread leads. The leader alone changes the fields below, except that a file sync of another thread may
    /// make more durable.
    led: bool,
    /// Threads that wait for a moment without a leader. They come before the next leader.
    resting: u32,
    /// Records up to here are committed and applied.
    applied: Sequence,
    /// The ring is durable up to this position.
    durable: u64,
    /// Published data of records up to here is durable.
    data: Sequence,
    /// Lines of homes that were stored since the last move of the tail. They are flushed before it moves again.
    homes: Homes,
}

impl Leadership {
    /// The state of a log in which everything before `position` is applied.
    pub(super) fn at(applied: Sequence, position: u64, anchor: Anchor) -> Self {
        Self { led: false, resting: 0, applied, durable: position, data: applied, homes: Homes::new(anchor) }
    }
}

/// The leader's own state, taken out of the lock while the leader works.
struct Progress {
    applied: Sequence,
    durable: u64,
    data: Sequence,
    homes: Homes,
}

impl Progress {
    /// Notes the end of a file sync that began when the log had come to `reach`.
    fn synced(&mut self, reach: Reach) {
        self.data = self.data.max(reach.head);
        self.durable = self.durable.max(reach.position);
    }
}

impl Log {
    /// Commits all records up to `upto` and stores them home. One durable write serves all threads that wait.
    ///
    /// # Durability
    /// On return the operations of these records, and what they published, survive a power loss.
    ///
    /// # Errors
    /// A failed flush poisons the region: this and every later call fails until it is opened again.
    pub fn commit(&self, upto: Sequence) -> Result {
        let unsure = self.rules.broken(Rule::SyncUncommitted);
        self.lead_until(|l| l.applied >= upto || (unsure && l.led), Self::commit_to_head)
    }

    /// Whether all records up to this one are committed: [`commit`](Self::commit) would have nothing to do.
    #[must_use]
    pub fn is_committed(&self, upto: Sequence) -> bool {
        self.leadership.lock().applied >= upto
    }

    /// Commits everything and moves the tail behind it: all records that were appended before are passed.
    ///
    /// # Durability
    /// On return everything appended before the call is durable in its home.
    pub fn checkpoint(&self) -> Result {
        self.pass(self.head())
    }

    /// Commits all records up to `upto`, applies them and moves the tail past them: a power loss replays none of them.
    ///
    /// # Durability
    /// On return everything that these records changed is durable in its home.
    pub fn pass(&self, upto: Sequence) -> Result {
        self.lead_until(
            |l| l.applied >= upto && self.passed() >= upto,
            |log, progress| {
                log.commit_to_head(progress)?;
                log.move_tail(progress)
            },
        )
    }

    /// As [`checkpoint`](Self::checkpoint), and then writes that the region is clean.
    ///
    /// # Durability
    /// As [`checkpoint`](Self::checkpoint). The clean lease is durable too.
    pub(super) fn pass_and_settle(&self) -> Result {
        let settled = Cell::new(false);
        self.lead_until(
            |_| settled.get(),
            |log, progress| {
                log.commit_to_head(progress)?;
                log.move_tail(progress)?;
                log.settle().map(|()| settled.set(true))
            },
        )
    }

    /// Notes the end of a file sync that began when the log had come to `reach`. It has made all published data and the
    /// ring durable up to there, so that a commit need not do that again.
    pub fn note_file_sync(&self, reach: Reach) {
        let mut leadership = self.leadership.lock();
        leadership.data = leadership.data.max(reach.head);
        leadership.durable = leadership.durable.max(reach.position);
    }

    /// Waits until no thread leads or appends, and keeps it so until the guards are dropped. Meanwhile nothing is stored
    /// home, and of the fixed frames nothing is written but the lease, when a flush fails. Works on a poisoned region too.
    pub(super) fn at_rest(&self) -> (MutexGuard<'_, Leadership>, MutexGuard<'_, Chain>) {
        let mut leadership = self.leadership.lock();
        leadership.resting += 1;
        while leadership.led {
            leadership = self.led.wait(leadership);
        }
        leadership.resting -= 1;
        // For the threads that let this one go first.
        self.led.notify_all();
        let chain = self.chain.lock();
        (leadership, chain)
    }

    /// Runs `look` while no thread leads or appends. `look` may take locks that come after the append lock.
    pub fn look_at_rest<R>(&self, look: impl FnOnce() -> R) -> R {
        let _rest = self.at_rest();
        look()
    }

    /// Becomes the leader, or waits for it, until `done`.
    fn lead_until(
        &self,
        done: impl Fn(&Leadership) -> bool,
        lead: impl Fn(&Self, &mut Progress) -> Result,
    ) -> Result {
        let mut leadership = self.leadership.lock();
        loop {
            self.region.ensure_sound()?;
            if done(&leadership) {
                return Ok(());
            }
            if leadership.led || leadership.resting > 0 {
                leadership = self.led.wait(leadership);
                continue;
            }
            leadership.led = true;
            let mut progress = Progress {
                applied: leadership.applied,
                durable: leadership.durable,
                data: leadership.data,
                homes: leadership.homes.take(),
            };
            drop(leadership);
            let result = lead(self, &mut progress);
            if let Err(error) = &result {
                self.fail(error);
            }
            leadership = self.leadership.lock();
            leadership.led = false;
            leadership.applied = progress.applied;
            leadership.durable = leadership.durable.max(progress.durable);
            leadership.data = leadership.data.max(progress.data);
            leadership.homes = progress.homes;
            self.led.notify_all();
            result?;
        }
    }

    /// LOG rule 3, step by step.
    fn commit_to_head(&self, progress: &mut Progress) -> Result {
        let (reach, published, begun_at) = {
            let mut chain = self.chain.lock();
            chain.noted = chain.last_change;
            (chain.reach(), chain.published, chain.tail.position)
        };
        let head = reach.head;
        progress.durable = progress.durable.max(begun_at);
        if head <= progress.applied {
            return Ok(());
        }
        if self.rules.broken(Rule::MarkFirst) {
            self.append_mark(head)?;
        }
        if self.syncs_published_data() && published > progress.data {
            self.region.memory().sync_file()?;
            progress.synced(reach);
        }
        let end = self.append_mark(head)?;
        if self.rules.broken(Rule::FollowerEarly) {
            self.leadership.lock().applied = head;
            self.led.notify_all();
        }
        let ring = self.ring;
        ring.persist(self.region.memory(), progress.durable, end)?;
        Step::Committed.reach();
        progress.durable = end;
        self.apply(head, progress)
    }

    /// Appends the mark over records up to `head`; returns where it ends.
    fn append_mark(&self, head: Sequence) -> Result<u64> {
        let mut chain = self.chain.lock();
        let covers =
            if self.rules.broken(Rule::CoverLate) { Sequence(chain.next.sequence.0 - 1) } else { head };
        self.push(&mut chain, Content::Mark(covers))?;
        chain.stats.marks += 1;
        Ok(chain.head)
    }

    /// Stores the homes of committed records, in order, then moves the cursor (never onto the mark: LOG rule 10).
    fn apply(&self, head: Sequence, progress: &mut Progress) -> Result {
        let memory = self.region.memory();
        let (epoch, records): (u64, Vec<(Sequence, Vec<Entry>)>) = {
            let mut chain = self.chain.lock();
            let epoch = chain.next.epoch;
            let applied = chain.live.partition_point(|r| r.sequence <= progress.applied);
            let committed = chain.live.range_mut(applied..).take_while(|r| r.sequence <= head);
            (epoch, committed.map(|r| (r.sequence, std::mem::take(&mut r.entries))).collect())
        };
        // For a batch, these are pages that the batch's own thread has latched before it appended the record.
        before_stores_under_latches_of_another();
        for (sequence, entries) in &records {
            for entry in entries {
                progress.homes.store(memory, entry)?;
                Step::HomeStored.reach();
            }
            self.shadow.applied(*sequence, entries);
        }
        let past =
            self.rules.broken(Rule::CursorPast).then(|| Sequence(self.chain.lock().next.sequence.0 - 1));
        cursor::store(memory, self.drawn.salt, epoch, past.unwrap_or(head))?;
        Step::CursorMoved.reach();
        progress.applied = head;
        Ok(())
    }

    /// LOG rule 7: all homes are flushed, then the tail is stored, then the tail is made durable. Only then are records
    /// passed.
    fn move_tail(&self, progress: &mut Progress) -> Result {
        let memory = self.region.memory();
        let mut header = {
            let chain = self.chain.lock();
            if chain.tail.link.sequence > progress.applied {
                return Ok(());
            }
            chain.header
        };
        if !self.rules.broken(Rule::TailNotFlushed) && !self.rules.broken(Rule::TailThenHomes) {
            self.flush_homes(progress)?;
        }
        let tail = self.tail_after(progress.applied)?;
        Step::HomesFlushed.reach();
        header.advance(memory, tail, self.rules)?;
        Step::TailMoved.reach();
        if self.rules.broken(Rule::TailThenHomes) {
            self.flush_homes(progress)?;
        }
        let mut chain = self.chain.lock();
        chain.header = header;
        chain.tail = tail;
        while chain.live.front().is_some_and(|r| r.sequence < tail.link.sequence) {
            chain.live.pop_front();
        }
        chain.stats.tail_moves += 1;
        // ORDERING: Relaxed: see `keep_ahead`.
        self.tail_moves.store(chain.stats.tail_moves, Ordering::Relaxed);
        self.used.store(chain.head - tail.position, Ordering::Relaxed);
        self.rearm();
        self.images.pass(tail.link.sequence);
        Ok(())
    }

    fn flush_homes(&self, progress: &mut Progress) -> Result {
        let memory = self.region.memory();
        let reach = self.reach();
        progress.homes.flush(memory)?;
        memory.fence();
        memory.sync_file()?;
        if self.syncs_published_data() {
            progress.synced(reach);
        }
        Ok(())
    }

    /// The tail that follows an applied record.
    fn tail_after(&self, applied: Sequence) -> Result<Tail> {
        let chain = self.chain.lock();
        let Ok(place) = chain.live.binary_search_by_key(&applied, |r| r.sequence) else {
            return Err(Error::internal("the log lost sight of its last applied record"));
        };
        let record = &chain.live[place];
        let link = Link { epoch: chain.next.epoch, sequence: applied.next(), predecessor: record.checksum };
        Ok(Tail { link, position: record.end })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Txn;
    use super::super::record::MARK_BYTES;
    use super::super::tests::{LOG_FRAMES, fresh, publish, set, word};
    use super::*;
    use crate::media::format::{format, open};
    use crate::media::layout::{CURSOR_OFFSET, LOG_FRAME, LOG_HEADER_OFFSETS};
    use crate::media::rules::Rules;
    use crate::persist::{Event, Recorder};
    use crate::region::{Region, RegionOptions, Source};
    use crate::units::{Durability, FRAME_SIZE, FrameNo, LINE_SIZE};
    use std::collections::HashSet;
    use std::sync::{Arc, mpsc};
    use std::time::Duration;

    #[test]
    fn nothing_behind_the_noted_head_is_stored_home() {
        let log = fresh();
        let (first, _) = (set(&log, 0, 1), set(&log, 1, 2));
        let applied = log.leadership.lock().applied;
        let homes = Homes::new(log.roots.anchor());
        let mut progress = Progress { applied, durable: 0, data: applied, homes };
        log.apply(first, &mut progress).unwrap();
        let home = |n| log.region().memory().load(word(n)).unwrap();
        assert_eq!((home(0), home(1)), (1, 0));
        assert_eq!((log.read(word(0)).unwrap(), log.read(word(1)).unwrap()), (1, 2));
        let cursor = cursor::word(log.drawn.salt, log.chain.lock().next.epoch, first);
        assert_eq!(log.region().memory().load(CURSOR_OFFSET).unwrap(), cursor);
        assert_eq!(progress.applied, first);
    }

    #[test]
    fn the_tail_passes_what_is_applied_and_forgets_nothing_else() {
        let log = fresh();
        let (first, second) = (set(&log, 0, 1), set(&log, 1, 2));
        let applied = log.leadership.lock().applied;
        let homes = Homes::new(log.roots.anchor());
        let mut progress = Progress { applied, durable: 0, data: applied, homes };
        log.apply(first, &mut progress).unwrap();
        log.move_tail(&mut progress).unwrap();
        assert_eq!(log.passed(), first);
        let live: Vec<Sequence> = log.chain.lock().live.iter().map(|record| record.sequence).collect();
        assert_eq!(live, [second]);
        log.leadership.lock().applied = first;
        log.commit(second).unwrap();
        assert_eq!(log.region().memory().load(word(1)).unwrap(), 2);
    }

    #[test]
    fn a_commit_beside_a_leader_waits_until_that_is_done() {
        let log = fresh();
        let sequence = set(&log, 0, 1);
        log.leadership.lock().led = true;
        std::thread::scope(|scope| {
            let (send, done) = mpsc::channel();
            let log = &log;
            scope.spawn(move || send.send(log.commit(sequence)).unwrap());
            let early = done.recv_timeout(Duration::from_millis(50));
            log.leadership.lock().led = false;
            log.led.notify_all();
            assert!(early.is_err(), "{early:?}");
            done.recv().unwrap().unwrap();
        });
        assert!(log.is_committed(sequence));
    }

    /// A leader would otherwise be followed by the next one: a thread that syncs again and again gets the lock first.
    #[test]
    fn a_look_at_rest_waits_for_the_leader_and_comes_before_the_next() {
        let log = &fresh();
        for round in 0..50 {
            let sequence = set(log, 0, round + 1);
            log.leadership.lock().led = true;
            std::thread::scope(|scope| {
                let (send, order) = mpsc::channel();
                let (committed, looked) = (send.clone(), send);
                scope.spawn(move || {
                    log.commit(sequence).unwrap();
                    committed.send("committed").unwrap();
                });
                scope.spawn(move || log.look_at_rest(|| looked.send("looked").unwrap()));
                let waits = || log.leadership.lock().resting > 0;
                let early = std::iter::repeat_with(|| order.recv_timeout(Duration::from_millis(1)))
                    .find(|early| early.is_ok() || waits())
                    .expect("it waits, or does not");
                log.leadership.lock().led = false;
                log.led.notify_all();
                assert!(early.is_err(), "{early:?}");
                assert_eq!(order.iter().collect::<Vec<_>>(), ["looked", "committed"]);
            });
        }
    }

    #[test]
    fn a_frame_with_bytes_in_a_record_is_known_until_the_record_is_passed() {
        let log = fresh();
        let frame = FrameNo((word(0) / FRAME_SIZE as u64) as u32);
        let write = |txn: &mut Txn<'_>| {
            txn.images(frame);
            txn.lines(word(0), vec![1; LINE_SIZE].into())
        };
        let ((), sequence) = log.append(write).unwrap();
        let last = || log.images().last([frame].into_iter());
        assert_eq!(last(), Some(sequence));
        log.commit(sequence).unwrap();
        assert_eq!(last(), Some(sequence), "a replay would store them again");
        log.pass(sequence).unwrap();
        assert_eq!(last(), None);
    }

    /// A fresh log of this class, and its recorder.
    fn recorded(class: Durability) -> (Log, Arc<Recorder>) {
        let recorder = Recorder::new();
        let options = RegionOptions {
            assume: Some(class),
            recorder: Some(Arc::clone(&recorder)),
            max_bytes: Some(1 << 22),
            ..RegionOptions::default()
        };
        let region = Region::attach(Source::Image(Vec::new()), &options).unwrap();
        format(&region, LOG_FRAMES).unwrap();
        (open(region, Rules::default()).unwrap().0, recorder)
    }

    #[test]
    fn homes_are_on_the_medium_before_the_tail_leaves_their_records() {
        let (log, recorder) = recorded(Durability::CacheLine);
        let sequence = set(&log, 0, 1);
        let _ = recorder.take();
        log.pass(sequence).unwrap();
        let events = recorder.take();
        let first = |wanted: &dyn Fn(&Event) -> bool| events.iter().position(wanted).expect("it happens");
        let home = first(&|event| matches!(event, Event::Store { offset, .. } if *offset == word(0)));
        let flushed =
            first(&|event| matches!(event, Event::Flush { line_offset, .. } if *line_offset == word(0)));
        let tail = first(
            &|event| matches!(event, Event::Store { offset, .. } if LOG_HEADER_OFFSETS.contains(offset)),
        );
        assert!(home < flushed && flushed < tail, "{events:?}");
        assert!(events[flushed..tail].iter().any(|event| matches!(event, Event::Fence { .. })), "{events:?}");
    }

    #[test]
    fn published_data_is_synced_once_before_its_mark_and_only_where_a_kernel_has_it() {
        for (class, wanted) in [(Durability::Fdatasync, [1, 0, 0]), (Durability::CacheLine, [0; 3])] {
            let (log, recorder) = recorded(class);
            set(&log, 0, 1);
            // Where no kernel writes the log, each of its lines is flushed.
            let mut persisted = 0;
            let flushed = |event: &Event| match event {
                Event::Flush { line_offset, .. } => Some(*line_offset),
                _ => None,
            };
            let syncs = |publishes: bool| {
                let change = |txn: &mut Txn<'_>| {
                    if publishes {
                        txn.publishes();
                    }
                    txn.write(word(0), txn.sequence().0)
                };
                let (_, sequence) = log.append(change).unwrap();
                let _ = recorder.take();
                log.commit(sequence).unwrap();
                let events = recorder.take();
                if class == Durability::CacheLine {
                    let lines: HashSet<u64> = events.iter().filter_map(flushed).collect();
                    let records = (log.stats().record_bytes + log.stats().marks * MARK_BYTES) as usize;
                    let written =
                        LOG_FRAME.offset() as usize + persisted..LOG_FRAME.offset() as usize + records;
                    let missed = |at: &usize| !lines.contains(&((at / LINE_SIZE * LINE_SIZE) as u64));
                    assert_eq!(written.clone().find(missed), None, "of {written:?}");
                    persisted = records;
                }
                events.iter().filter(|event| matches!(event, Event::SyncEnd { .. })).count()
            };
            assert_eq!([true, false, false].map(syncs), wanted, "{class:?}");
            let noted = publish(&log);
            log.note_file_sync(log.reach());
            let _ = recorder.take();
            log.commit(noted).unwrap();
            let synced = |event: &Event| matches!(event, Event::SyncEnd { .. });
            assert!(!recorder.take().iter().any(synced), "another sync has made it durable");
        }
    }
}
