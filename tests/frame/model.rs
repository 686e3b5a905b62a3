//! Random transitions, one thread: the table does what a plain record of each frame does.

use pagestone::frame::{
    FrameTable, HoldOutcome, Manner, OrphanOutcome, PINS_MAX, PinOutcome, SHARED_MAX, UnpinOutcome,
};
use pagestone::units::{Lines, Pfn, PfnRange};
use proptest::prelude::*;

/// Frames under test: two in one chunk, one in the next, one far off.
const FRAMES: [u64; 4] = [0, 1, 256, 5000];
/// Which chunk each is in.
const CHUNK_OF: [usize; 4] = [0, 0, 1, 2];

#[derive(Clone, Copy, Debug)]
enum Op {
    Pin,
    PinAgain,
    Unpin,
    LatchShared,
    ReleaseShared,
    LatchExclusive,
    ReleaseExclusive,
    MarkDirty(u64),
    TakeDirty,
    Hold,
    Unhold,
    Orphan,
    RetireOrphan,
    Poison,
    BeginWriteback,
    EndWriteback,
    SetOwner(u64),
    Fade,
    Reclaim,
    RetireRange,
}

#[derive(Clone, Copy, Default, Debug)]
struct Frame {
    live: bool,
    pins: u32,
    shared: u32,
    exclusive: bool,
    held: bool,
    orphan: bool,
    claimed: bool,
    poisoned: bool,
    writeback: bool,
    lines: Option<u64>,
    referenced: u32,
    owner: u64,
    writes: u64,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => Just(Op::Pin),
        1 => Just(Op::PinAgain),
        6 => Just(Op::Unpin),
        2 => Just(Op::LatchShared),
        2 => Just(Op::ReleaseShared),
        2 => Just(Op::LatchExclusive),
        2 => Just(Op::ReleaseExclusive),
        2 => any::<u64>().prop_map(Op::MarkDirty),
        2 => Just(Op::TakeDirty),
        1 => Just(Op::Hold),
        2 => Just(Op::Unhold),
        1 => Just(Op::Orphan),
        2 => Just(Op::RetireOrphan),
        1 => Just(Op::Poison),
        1 => Just(Op::BeginWriteback),
        1 => Just(Op::EndWriteback),
        1 => any::<u64>().prop_map(Op::SetOwner),
        1 => Just(Op::Fade),
        2 => Just(Op::Reclaim),
        1 => Just(Op::RetireRange),
    ]
}

/// The frames, and which of their three chunks have memory.
#[derive(Default)]
struct Model {
    frames: [Frame; 4],
    memory: [bool; 3],
}

/// Applies `op` to both and compares the answers. Operations that callers must not make are left out.
fn step(table: &FrameTable, model: &mut Model, at: usize, op: Op) {
    let pfn = Pfn::new(FRAMES[at]);
    let frame = &mut model.frames[at];
    let pinned = frame.pins > 0;
    match op {
        Op::Pin => {
            assert_eq!(table.pin(pfn), frame.pin());
            model.memory[CHUNK_OF[at]] = true;
        }
        Op::PinAgain if pinned => {
            assert_eq!(table.pinned(pfn).pin_again(), PinOutcome::Pinned);
            frame.pins += 1;
        }
        Op::Unpin if frame.pins > frame.shared + u32::from(frame.exclusive) => {
            assert_eq!(table.unpin(pfn), frame.unpin());
        }
        Op::LatchShared if pinned => {
            let free = !frame.exclusive;
            assert_eq!(table.pinned(pfn).try_latch_shared(Manner::GivesWay), free);
            frame.shared += u32::from(free);
        }
        Op::ReleaseShared if frame.shared > 0 => {
            table.pinned(pfn).release_shared();
            frame.shared -= 1;
        }
        Op::LatchExclusive if pinned => {
            let free = !frame.exclusive && frame.shared == 0;
            assert_eq!(table.pinned(pfn).try_latch_exclusive(), free);
            frame.exclusive |= free;
        }
        Op::ReleaseExclusive if frame.exclusive => {
            let version = table.pinned(pfn).version();
            table.pinned(pfn).release_exclusive();
            assert_ne!(table.pinned(pfn).version(), version);
            frame.exclusive = false;
            frame.writes += 1;
        }
        Op::MarkDirty(lines) if pinned => {
            assert_eq!(table.pinned(pfn).mark_dirty(Lines::new(lines)), frame.lines.is_none());
            *frame.lines.get_or_insert(0) |= lines;
        }
        Op::TakeDirty => assert_eq!(table.take_dirty(pfn).get(), frame.lines.take().unwrap_or(0)),
        Op::Hold => assert_eq!(table.hold(pfn), frame.hold()),
        Op::Unhold => {
            table.unhold(pfn);
            frame.held = false;
        }
        Op::Orphan if !frame.orphan => assert_eq!(table.orphan(pfn), frame.orphan()),
        Op::RetireOrphan if frame.claimed => {
            table.retire_orphan(pfn);
            *frame = Frame::default();
        }
        Op::Poison if pinned => {
            table.pinned(pfn).poison();
            frame.poisoned = true;
        }
        Op::BeginWriteback if pinned => {
            assert_eq!(table.pinned(pfn).begin_writeback(), !frame.writeback);
            frame.writeback = true;
        }
        Op::EndWriteback if pinned => {
            table.pinned(pfn).end_writeback();
            frame.writeback = false;
        }
        Op::SetOwner(owner) if pinned => {
            assert_eq!(table.pinned(pfn).set_owner_if_unset(owner), frame.owner == 0);
            frame.owner = if frame.owner == 0 { owner } else { frame.owner };
            assert_eq!(table.owner(pfn), frame.owner);
        }
        Op::Fade => {
            assert_eq!(table.fade(pfn), frame.referenced);
            frame.referenced /= 2;
        }
        Op::Reclaim => assert_eq!(table.reclaim(usize::MAX), model.give_back(Frame::is_reclaimable)),
        Op::RetireRange => {
            let retired = table.retire_range(PfnRange::new(Pfn::new(0), 1 << 13));
            model.give_back(|frame| frame.pins == 0 && !frame.claimed);
            let left = (0..4).find(|i| model.frames[*i].live).map(|i| Pfn::new(FRAMES[i]));
            assert_eq!(retired, left.map_or(Ok(()), Err));
        }
        _ => {}
    }
}

impl Model {
    /// Takes the memory of the chunks in which every live frame may go. Returns their number.
    fn give_back(&mut self, may_go: impl Fn(&Frame) -> bool) -> usize {
        let before = self.memory;
        for chunk in 0..3 {
            let mut of_chunk: Vec<_> =
                self.frames.iter_mut().zip(CHUNK_OF).filter(|(_, c)| *c == chunk).map(|(f, _)| f).collect();
            if of_chunk.iter().all(|frame| !frame.live || may_go(frame)) {
                of_chunk.iter_mut().for_each(|frame| **frame = Frame::default());
                self.memory[chunk] = false;
            }
        }
        before.iter().zip(self.memory).filter(|(before, after)| **before && !after).count()
    }
}

impl Frame {
    fn pin(&mut self) -> PinOutcome {
        match *self {
            Self { live: false, .. } => {
                *self = Self { live: true, pins: 1, ..Self::default() };
                return PinOutcome::Populated;
            }
            // An orphan without pins is one whose freeing was claimed: a pin of it is in vain.
            Self { orphan: true, .. } => return PinOutcome::Orphan,
            Self { held: true, .. } => return PinOutcome::Held,
            Self { poisoned: true, .. } => return PinOutcome::Poisoned,
            _ => {}
        }
        self.pins += 1;
        self.referenced = 3;
        PinOutcome::Pinned
    }

    fn unpin(&mut self) -> UnpinOutcome {
        self.pins -= 1;
        match *self {
            Self { pins: 0, orphan: true, .. } => {
                self.claimed = true;
                UnpinOutcome::LastOfOrphan
            }
            Self { pins: 0, held: true, .. } => UnpinOutcome::LastOfHeld,
            _ => UnpinOutcome::Kept,
        }
    }

    fn hold(&mut self) -> HoldOutcome {
        let before = std::mem::replace(&mut self.held, self.live);
        match (self.live, self.pins) {
            (false, _) => HoldOutcome::Unpopulated,
            (true, _) if before => HoldOutcome::AlreadyHeld,
            (true, 0) => HoldOutcome::Idle,
            (true, _) => HoldOutcome::Pinned,
        }
    }

    fn orphan(&mut self) -> OrphanOutcome {
        if self.pins == 0 {
            *self = Self::default();
            return OrphanOutcome::Idle;
        }
        self.orphan = true;
        OrphanOutcome::Busy
    }

    fn is_reclaimable(&self) -> bool {
        self.pins == 0
            && !(self.held || self.orphan || self.poisoned || self.writeback)
            && self.lines.is_none()
    }
}

fn compare(table: &FrameTable, model: &Model) {
    for (frame, number) in model.frames.iter().zip(FRAMES) {
        let Some(state) = table.peek(Pfn::new(number)) else {
            assert!(!frame.live, "{number}: {frame:?}");
            continue;
        };
        assert!(frame.live, "{number}: {state:?}");
        assert_eq!((state.pins(), state.claimed()), (frame.pins, frame.claimed));
        assert_eq!(state.in_use(), frame.pins > 0 || frame.claimed);
        assert_eq!((state.held(), state.orphan()), (frame.held, frame.orphan));
        assert_eq!((state.dirty(), state.writeback()), (frame.lines.is_some(), frame.writeback));
        assert_eq!((state.poisoned(), state.referenced()), (frame.poisoned, frame.referenced));
        if !frame.claimed {
            assert_eq!((state.shared(), state.exclusive()), (frame.shared, frame.exclusive));
        }
    }
    let memory = model.memory.iter().filter(|memory| **memory).count() as u64;
    assert_eq!(table.stats().populated_chunks, memory);
    let live =
        FRAMES.iter().zip(model.frames).filter(|(_, frame)| frame.live).map(|(number, _)| Pfn::new(*number));
    let all = PfnRange::new(Pfn::new(0), 1 << 13);
    assert_eq!(table.populated(all).collect::<Vec<_>>(), live.collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn transitions_do_what_a_plain_record_does(ops in prop::collection::vec((0..4usize, op()), 1..120)) {
        let table = FrameTable::with_capacity(1 << 13, 1 << 10).expect("address space");
        let mut model = Model::default();
        for (at, op) in ops {
            step(&table, &mut model, at, op);
            compare(&table, &model);
        }
    }
}

#[test]
fn pins_saturate_with_an_outcome_and_never_wrap() {
    let table = FrameTable::with_capacity(512, 8).expect("address space");
    let pfn = Pfn::new(3);
    assert_eq!(table.pin(pfn), PinOutcome::Populated);
    for _ in 1..PINS_MAX {
        assert_eq!(table.pin(pfn), PinOutcome::Pinned);
    }
    assert_eq!([table.pin(pfn), table.pinned(pfn).pin_again()], [PinOutcome::Saturated; 2]);
    assert_eq!(table.peek(pfn).expect("live").pins(), PINS_MAX);
    assert_eq!(table.unpin(pfn), UnpinOutcome::Kept);
    assert_eq!(table.pinned(pfn).pin_again(), PinOutcome::Pinned);
}

#[test]
fn shared_latches_saturate_and_a_waiter_gets_the_next_free_one() {
    let table = FrameTable::with_capacity(512, 8).expect("address space");
    let pfn = Pfn::new(3);
    assert!(table.pin(pfn).is_pinned());
    for _ in 0..SHARED_MAX {
        assert!(table.pinned(pfn).try_latch_shared(Manner::GivesWay));
    }
    assert!(!table.pinned(pfn).try_latch_shared(Manner::GivesWay));
    assert_eq!(table.peek(pfn).expect("live").shared(), SHARED_MAX);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| table.pinned(pfn).latch_shared(Manner::GivesWay));
        while !table.peek(pfn).expect("live").waiters() {
            std::thread::yield_now();
        }
        table.pinned(pfn).release_shared();
        waiter.join().expect("no panic");
    });
    assert_eq!(table.peek(pfn).expect("live").shared(), SHARED_MAX);
}
