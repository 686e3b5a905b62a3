//! Homes, the places of a record's changes: storing them there, and noting which lines must be flushed before the tail
//! moves.

use super::payload;
use super::record::Entry;
use crate::error::Result;
use crate::media::layout::WORDS_PER_FRAME;
use crate::media::root::Anchor;
use crate::media::seal::{Blank, Node};
use crate::region::Memory;
use crate::units::{FRAME_SIZE, FrameNo, Lines};
use std::collections::BTreeMap;

/// The noted lines of homes, frame by frame.
pub(super) struct Homes {
    anchor: Anchor,
    lines: BTreeMap<FrameNo, Lines>,
}

impl Homes {
    /// No lines yet, of a region with this anchor.
    pub(super) fn new(anchor: Anchor) -> Self {
        Self { anchor, lines: BTreeMap::new() }
    }

    /// Takes all of them out.
    pub(super) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::new(self.anchor))
    }

    /// Stores one change home and notes its lines.
    pub(super) fn store(&mut self, memory: &Memory, entry: &Entry) -> Result {
        match entry {
            Entry::Word(offset, value) => memory.store(*offset, *value)?,
            Entry::Zero(frame) => memory.write(frame.offset(), &[0; FRAME_SIZE])?,
            Entry::Node(frame, node) => self.store_node(memory, *frame, *node)?,
            Entry::Root(offset, value) => {
                self.anchor.places(*offset).into_iter().try_for_each(|at| memory.store(at, *value))?;
            }
            Entry::Lines(offset, bytes) => memory.write(*offset, bytes)?,
            Entry::Payload(extent) => {
                for (offset, bytes) in payload::read(memory, *extent)? {
                    memory.write(offset, &bytes)?;
                    self.note_bytes(offset, bytes.len());
                }
            }
        }
        if !matches!(entry, Entry::Payload(_)) { self.note(memory, entry) } else { Ok(()) }
    }

    /// Notes the lines of a change that is stored already.
    pub(super) fn note(&mut self, memory: &Memory, entry: &Entry) -> Result {
        match entry {
            Entry::Word(offset, _) => self.note_bytes(*offset, 8),
            Entry::Zero(frame) | Entry::Node(frame, _) => self.note_bytes(frame.offset(), FRAME_SIZE),
            Entry::Root(offset, _) => {
                self.anchor.places(*offset).into_iter().for_each(|at| self.note_bytes(at, 8));
            }
            Entry::Lines(offset, bytes) => self.note_bytes(*offset, bytes.len()),
            Entry::Payload(extent) => {
                payload::read(memory, *extent)?
                    .iter()
                    .for_each(|(at, bytes)| self.note_bytes(*at, bytes.len()));
            }
        }
        Ok(())
    }

    /// Starts writing all noted lines back, and forgets them.
    ///
    /// # Durability
    /// On `CacheLine`, durable after this thread's next fence.
    pub(super) fn flush(&mut self, memory: &Memory) -> Result {
        for (frame, lines) in std::mem::take(&mut self.lines) {
            for run in lines.runs() {
                memory.flush(frame.offset() + run.start as u64, run.len())?;
            }
        }
        Ok(())
    }

    fn store_node(&self, memory: &Memory, frame: FrameNo, node: Node) -> Result {
        let mut words = [0; WORDS_PER_FRAME as usize];
        self.anchor.salt.blank(frame, Blank::Node(node), 0, &mut words);
        let mut bytes = [0; FRAME_SIZE];
        for (bytes, word) in bytes.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        memory.write(frame.offset(), &bytes)
    }

    /// Notes at least one byte, all of one frame.
    fn note_bytes(&mut self, offset: u64, len: usize) {
        let (frame, at) = ((offset / FRAME_SIZE as u64) as u32, offset as usize % FRAME_SIZE);
        let noted = self.lines.entry(FrameNo(frame)).or_default();
        *noted = noted.with(Lines::of(&(at..at + len)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::log::payload::Writer;
    use crate::media::rules::Rules;
    use crate::media::seal::Salt;
    use crate::persist::{Event, Recorder};
    use crate::region::{Region, RegionOptions, Source};
    use crate::units::{Durability, LINE_SIZE};
    use std::sync::Arc;

    const FRAMES: usize = 12;
    const ANCHOR: Anchor = Anchor { salt: Salt::new(7, Rules::KEPT), roots: [FrameNo(6), FrameNo(7)] };

    fn region() -> (Arc<Region>, Arc<Recorder>) {
        let recorder = Recorder::new();
        let options = RegionOptions {
            assume: Some(Durability::CacheLine),
            recorder: Some(Arc::clone(&recorder)),
            ..RegionOptions::default()
        };
        let image = Source::Image(vec![0xee; FRAMES * FRAME_SIZE]);
        (Region::attach(image, &options).unwrap(), recorder)
    }

    /// The lines that a flush of these homes writes back, in its order.
    fn flushed(homes: &mut Homes, region: &Region, recorder: &Recorder) -> Vec<u64> {
        let _ = recorder.take();
        homes.flush(region.memory()).unwrap();
        let line = |event| match event {
            Event::Flush { line_offset, .. } => Some(line_offset / LINE_SIZE as u64),
            _ => None,
        };
        recorder.take().into_iter().filter_map(line).collect()
    }

    /// Changes of frames 1 to 8, among them two whole frames, two runs of lines in another, and both roots. Also returns
    /// the bytes that they leave, and the lines.
    fn changes(region: &Region) -> (Vec<Entry>, Vec<u8>, Vec<u64>) {
        let (size, line) = (FRAME_SIZE as u64, LINE_SIZE as u64);
        let mut writer = Writer::new(region.memory(), &[FrameNo(FRAMES as u32 - 1)]);
        writer.push(4 * size + 63 * line, &[4; LINE_SIZE]).unwrap();
        let entries = vec![
            Entry::Word(size, 7),
            Entry::Word(size + 3 * line - 8, 8),
            Entry::Zero(FrameNo(2)),
            Entry::Lines(3 * size + 10 * line, vec![3; 3 * LINE_SIZE].into()),
            Entry::Lines(3 * size + 13 * line, vec![9; LINE_SIZE].into()),
            Entry::Payload(writer.finish().unwrap()[0]),
            Entry::Root(2 * line + 8, 5),
            Entry::Node(FrameNo(8), Node::PLACES),
        ];
        let mut bytes = vec![0; FRAMES * FRAME_SIZE];
        region.memory().read(0, &mut bytes).unwrap();
        let at = |frame: usize, line: usize| frame * FRAME_SIZE + line * LINE_SIZE;
        bytes[at(1, 0)..][..8].copy_from_slice(&7_u64.to_le_bytes());
        bytes[at(1, 3) - 8..][..8].copy_from_slice(&8_u64.to_le_bytes());
        bytes[at(2, 0)..at(3, 0)].fill(0);
        bytes[at(3, 10)..at(3, 13)].fill(3);
        bytes[at(3, 13)..at(3, 14)].fill(9);
        bytes[at(4, 63)..at(5, 0)].fill(4);
        for root in [6, 7] {
            bytes[at(root, 2) + 8..][..8].copy_from_slice(&5_u64.to_le_bytes());
        }
        for place in (at(8, 0)..at(9, 0)).step_by(8) {
            let nothing = ANCHOR.salt.place(place as u64).nothing();
            bytes[place..][..8].copy_from_slice(&nothing.to_le_bytes());
        }
        let lines = [64, 66].into_iter().chain(128..192).chain(202..206).chain([319, 386, 450]);
        let lines = lines.chain(512..576).collect();
        (entries, bytes, lines)
    }

    fn image(region: &Region) -> Vec<u8> {
        let mut bytes = vec![0; FRAMES * FRAME_SIZE];
        region.memory().read(0, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_is_stored_is_flushed_and_nothing_else_and_once() {
        let (region, recorder) = region();
        let (entries, bytes, lines) = changes(&region);
        let mut homes = Homes::new(ANCHOR);
        entries.iter().try_for_each(|entry| homes.store(region.memory(), entry)).unwrap();
        assert!(image(&region) == bytes);
        assert_eq!(flushed(&mut homes, &region, &recorder), lines);
        assert_eq!(flushed(&mut homes, &region, &recorder), [0; 0]);
    }

    #[test]
    fn what_is_noted_is_flushed_and_not_stored() {
        let (region, recorder) = region();
        let (entries, _, lines) = changes(&region);
        let before = image(&region);
        let mut homes = Homes::new(ANCHOR);
        entries.iter().try_for_each(|entry| homes.note(region.memory(), entry)).unwrap();
        assert!(image(&region) == before);
        assert_eq!(flushed(&mut homes, &region, &recorder), lines);
    }
}
