//! A test of the explorer: a toy protocol with planted bugs, each of which it must find.

use pagestone::units::Durability;
use pagestone_explorer::Event;
use pagestone_explorer::{Crash, Judge, Plan, Report, State, Trace, explore};

const SLOTS: u64 = 4;
const T: u32 = 0;

#[derive(Clone, Copy, PartialEq)]
enum Bug {
    None,
    NoFlush,
    NoFence,
    FenceBeforeFlush,
    AckEarly,
    ForeignFlush,
}

/// Slots of two sectors. First the payload in the second sector is made durable, then the sequence number in the first.
struct Toy {
    class: Durability,
    events: Vec<Event>,
}

impl Toy {
    fn store(&mut self, offset: u64, value: u64, thread: u32, non_temporal: bool) {
        let bytes = value.to_le_bytes().into();
        self.events.push(Event::Store { thread, offset, bytes, non_temporal });
    }
    fn flush(&mut self, offset: u64) {
        self.events.push(Event::Flush { thread: T, line_offset: offset / 64 * 64 });
    }
    fn fence(&mut self) {
        self.events.push(Event::Fence { thread: T });
    }
    fn persist(&mut self, offset: u64, bug: Bug) {
        if self.class == Durability::CacheLine {
            let steps: &[bool] = match bug {
                Bug::NoFlush => &[false],
                Bug::NoFence => &[true],
                Bug::FenceBeforeFlush => &[false, true],
                _ => &[true, false],
            };
            for &is_flush in steps {
                if is_flush { self.flush(offset) } else { self.fence() }
            }
        } else {
            match bug {
                Bug::NoFlush => self.write_through(offset ^ 512, 8),
                Bug::NoFence => {}
                _ => {
                    self.events.push(Event::SyncBegin { thread: T });
                    self.events.push(Event::SyncEnd { thread: T });
                }
            }
        }
    }
    fn write_through(&mut self, offset: u64, len: u64) {
        self.events.push(Event::WriteThroughBegin { thread: T, offset, len });
        self.events.push(Event::WriteThroughEnd { thread: T, offset, len });
    }
    fn update(&mut self, slot: u64, sequence: u64, bug: Bug) {
        let header = slot * 1024;
        let half = header + 512 + sequence % 2 * 32;
        for i in 0..4 {
            let writer = if bug == Bug::ForeignFlush { 1 } else { T };
            self.store(half + i * 8, sequence * 1000 + i, writer, bug == Bug::ForeignFlush);
        }
        if bug == Bug::FenceBeforeFlush && self.class != Durability::CacheLine {
            // The sync began before the header's payload was stored.
            let at = self.events.len() - 2;
            self.events.insert(at, Event::SyncBegin { thread: T });
            self.events.push(Event::SyncEnd { thread: T });
        } else {
            self.persist(half, bug);
        }
        self.store(header, sequence, T, false);
        if bug == Bug::AckEarly {
            self.events.push(Event::Mark { thread: T, label: slot });
        }
        if self.class == Durability::CacheLine {
            self.persist(header, Bug::None);
        } else {
            self.write_through(header, 8);
        }
        if bug != Bug::AckEarly {
            self.events.push(Event::Mark { thread: T, label: slot });
        }
    }
}

struct Slots {
    labels: Vec<u64>,
}

impl Judge for Slots {
    fn judge(&mut self, state: &State<'_>) -> Result<(), String> {
        let word = |at: u64| u64::from_le_bytes(state.image[at as usize..][..8].try_into().unwrap());
        for slot in 0..SLOTS {
            let sequence = word(slot * 1024);
            let acknowledged = self.labels[..state.marks].iter().filter(|&&l| l == slot).count() as u64;
            if sequence < acknowledged {
                return Err(format!(
                    "slot {slot}: update {acknowledged} was acknowledged, {sequence} is there"
                ));
            }
            let half = slot * 1024 + 512 + sequence % 2 * 32;
            for i in 0..4 {
                if sequence != 0 && word(half + i * 8) != sequence * 1000 + i {
                    return Err(format!("slot {slot}: update {sequence} is torn at word {i}"));
                }
            }
            if state.crash == Crash::Death && sequence < acknowledged {
                return Err(format!("slot {slot} lost an update though the page cache is intact"));
            }
        }
        Ok(())
    }
}

fn run(class: Durability, cell: usize, bug: Bug) -> Report {
    let mut toy = Toy { class, events: Vec::new() };
    for round in 1..=6 {
        for slot in 0..SLOTS {
            toy.update(slot, round, bug);
        }
    }
    let trace = Trace { base: vec![0; SLOTS as usize * 1024], events: toy.events, class };
    let labels = trace.events.iter().filter_map(|e| match e {
        Event::Mark { label, .. } => Some(*label),
        _ => None,
    });
    explore(&trace, &Plan::thorough(cell, 7), &mut Slots { labels: labels.collect() })
}

const MEDIA: [(Durability, usize); 4] = [
    (Durability::CacheLine, 64),
    (Durability::CacheLine, 8),
    (Durability::Fdatasync, 512),
    (Durability::Fdatasync, 8),
];

#[test]
fn a_correct_protocol_survives_every_crash() {
    for (class, cell) in MEDIA {
        let report = run(class, cell, Bug::None);
        assert_eq!(report.violation, None, "{class} {cell}");
        assert!(report.distinct > 100, "{class} {cell}: only {} states", report.distinct);
    }
}

fn found(bug: Bug) {
    for (class, cell) in MEDIA {
        if bug == Bug::ForeignFlush && class != Durability::CacheLine {
            continue;
        }
        let report = run(class, cell, bug);
        let story =
            report.violation.unwrap_or_else(|| panic!("{class} {cell}: the planted bug was not found"));
        assert!(story.contains("is torn") || story.contains("was acknowledged"), "{story}");
        assert!(story.contains("POWER LOSS"), "{story}");
    }
}

#[test]
fn a_missing_flush_is_found() {
    found(Bug::NoFlush);
}

#[test]
fn a_missing_fence_is_found() {
    found(Bug::NoFence);
}

#[test]
fn a_fence_that_comes_too_early_is_found() {
    found(Bug::FenceBeforeFlush);
}

#[test]
fn an_acknowledgement_that_comes_too_early_is_found() {
    found(Bug::AckEarly);
}

/// The sync of the third update fails. With `retry`, a second sync follows before the acknowledgement, without a new store.
fn failed_sync(retry: bool) -> Report {
    let mut toy = Toy { class: Durability::Fdatasync, events: Vec::new() };
    toy.update(0, 1, Bug::None);
    toy.update(1, 1, Bug::None);
    toy.update(0, 2, Bug::None);
    let end = toy.events.iter().rposition(|e| matches!(e, Event::SyncEnd { .. })).unwrap();
    toy.events.remove(end);
    if retry {
        toy.events.splice(end..end, [Event::SyncBegin { thread: T }, Event::SyncEnd { thread: T }]);
    } else {
        toy.events.truncate(end);
    }
    let labels = vec![0, 1, 0];
    let trace = Trace { base: vec![0; SLOTS as usize * 1024], events: toy.events, class: toy.class };
    explore(&trace, &Plan::thorough(512, 7), &mut Slots { labels })
}

#[test]
fn a_sync_after_a_failed_one_does_not_reach_what_failed() {
    let story = failed_sync(true).violation.expect("the retried sync proves nothing");
    assert!(story.contains("is torn"), "{story}");
    assert_eq!(failed_sync(false).violation, None);
}

#[test]
fn a_flush_does_not_reach_what_another_processor_still_buffers() {
    found(Bug::ForeignFlush);
}
