//! Acknowledgements: when a sync returns, what it promised must be durable.

use super::Findings;
use super::chain::Chain;
use super::frames::Frames;
use super::lines::{Lines, OpId, Open};
use crate::crash::oracle::{Oracle, parts_of};
use crate::crash::script::{ObjectNo, Op, Script};
use pagestone::media::layout::{CURSOR_OFFSET, FIRST_MOVABLE, LOG_FRAME, is_of_format};
use pagestone::units::{FRAME_SIZE, FrameNo};
use pagestone_explorer::Event;
use std::collections::{BTreeSet, HashMap};

/// What is known about the medium when an operation returns.
pub struct Run<'a> {
    /// What is not durable.
    pub lines: &'a Lines,
    /// What is free.
    pub frames: &'a Frames,
    /// What is not committed.
    pub chain: &'a mut Chain,
}

/// The operations that run, and when operations began and returned.
pub struct Promises<'a> {
    oracle: Option<&'a Oracle>,
    log_frames: u32,
    running: HashMap<u32, OpId>,
    begun: HashMap<OpId, usize>,
    ended: HashMap<OpId, usize>,
}

impl<'a> Promises<'a> {
    /// No operation has begun.
    pub fn new(oracle: Option<&'a Oracle>, log_frames: u32) -> Self {
        let (running, begun, ended) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { oracle, log_frames, running, begun, ended }
    }

    /// The operation of the thread that stores.
    pub fn running(&self, event: &Event) -> Option<OpId> {
        match event {
            Event::Store { thread, .. } => self.running.get(thread).copied(),
            _ => None,
        }
    }

    /// An operation begins or returns.
    pub fn mark(&mut self, thread: u32, label: u64, run: &mut Run<'_>, findings: &mut Findings) {
        let Some(oracle) = self.oracle else { return };
        let (part, number, ended) = parts_of(label);
        let id = (part, number);
        if !ended {
            self.running.insert(thread, id);
            self.begun.insert(id, findings.at);
            return;
        }
        self.running.remove(&thread);
        self.ended.insert(id, findings.at);
        let script = oracle.script();
        let op = &script.parts[part].ops[number];
        if matches!(op, Op::Sync(_) | Op::SyncRange(..) | Op::SyncAll) {
            self.check(op, self.begun[&id], script, run, findings);
        }
    }

    fn check(&self, sync: &Op, begun: usize, script: &Script, run: &mut Run<'_>, findings: &mut Findings) {
        for (sequence, op) in run.chain.uncommitted(run.lines) {
            if self.ended.get(&op).is_some_and(|&ended| ended < begun) {
                let why = format!("{sync:?} returned, and record {} is under no durable mark", sequence.0);
                findings.add("unfenced-publish", LOG_FRAME.offset(), why);
            }
        }
        let mut told = BTreeSet::new();
        for (offset, open) in run.lines.open() {
            let promised = self.is_promised(sync, begun, script, offset, open, run.frames);
            if promised && told.insert(offset / FRAME_SIZE as u64) {
                let why = format!("{sync:?} returned, and the store of event {} is not durable", open.at);
                findings.add("unfenced-publish", offset, why);
            }
        }
    }

    /// Whether a sync that began at an event covers a store. It always covers the log. It covers bytes of the objects
    /// that it names, if their operations had returned. It need not cover homes, which their records cover, nor the
    /// cursor, which is for process deaths.
    fn is_promised(
        &self,
        sync: &Op,
        begun: usize,
        script: &Script,
        offset: u64,
        open: &Open,
        frames: &Frames,
    ) -> bool {
        let Some(id) = open.op.filter(|id| self.ended.get(id).is_some_and(|&ended| ended < begun)) else {
            return false;
        };
        let frame = (offset / FRAME_SIZE as u64) as u32;
        if is_of_format(FrameNo(frame), self.log_frames) {
            let own = frame >= FIRST_MOVABLE.0 && !self.in_log(frame);
            return !own && offset / 64 != CURSOR_OFFSET / 64;
        }
        let Some(object) = object_of(&script.parts[id.0].ops[id.1]) else { return false };
        let named = match sync {
            Op::Sync(synced) => *synced == object,
            Op::SyncAll => true,
            _ => false,
        };
        let of_now = frames.is_data(frame) && !frames.was_freed_since(frame, open.at);
        named && of_now && self.has_a_name(script, object)
    }

    fn in_log(&self, frame: u32) -> bool {
        let log = crate::crash::place::log_range(self.log_frames);
        log.contains(&(u64::from(frame) * FRAME_SIZE as u64))
    }

    /// Whether the object could have a name after a crash.
    fn has_a_name(&self, script: &Script, object: ObjectNo) -> bool {
        let owner = script.objects[object as usize].owner;
        let ended = self.ended.keys().filter(|id| id.0 == owner).count();
        script.parts[owner].names[ended].values().any(|(o, _)| *o == object)
    }
}

/// The object whose bytes an operation stores.
fn object_of(op: &Op) -> Option<ObjectNo> {
    match op {
        Op::Write(object, ..) | Op::Append(object, ..) | Op::Touch(object, ..) => Some(*object),
        Op::SetLen(object, _) | Op::Punch(object, ..) | Op::Allocate(object, ..) => Some(*object),
        _ => None,
    }
}
