//! Who owns a frame, and which one may be taken for what is made anew: none that anything owns, that held a structure which
//! goes, or that a bitmap which is sound calls allocated.

use super::super::bitmap::GROUP_WORDS;
use super::super::layout::{FIRST_MOVABLE, file_bytes};
use super::super::owned::Owned;
use super::super::words::{Shape, WORDS};
use super::plan::Frames;
use crate::error::{Error, Result};
use crate::units::{FrameNo, REGION_FRAMES_MAX};
use std::collections::BTreeMap;

/// Bits of a group.
pub(super) type Bits = Box<[u64; WORDS as usize]>;

/// The frames of a region.
pub(super) struct Space {
    pub(super) shape: Shape,
    pub(super) owned: Owned,
    /// Frames of structures that go.
    pub(super) former: Frames,
    /// Bitmaps that are what their seals say, by group.
    pub(super) sound: BTreeMap<u64, Bits>,
    /// Bytes that the region may have.
    room: u64,
    /// Frames below are not to be had: of sound groups, and of any.
    sound_from: u64,
    any_from: u64,
}

impl Space {
    pub(super) fn new(shape: Shape, room: u64) -> Self {
        let first = FIRST_MOVABLE.0.into();
        let owned = Owned::new(shape);
        let (former, sound) = (Frames::new(), BTreeMap::new());
        Self { shape, owned, former, sound, room, sound_from: first, any_from: first }
    }

    /// Whether a bitmap that is sound calls the frame allocated; `None` where none is.
    pub(super) fn allocated(&self, frame: u64) -> Option<bool> {
        let bits = self.sound.get(&(frame / 64 / GROUP_WORDS))?;
        Some(bits[(frame / 64 % GROUP_WORDS) as usize] >> (frame % 64) & 1 == 1)
    }

    /// A frame that nothing uses: it has an owner from now on.
    ///
    /// # Errors
    /// `NoSpace` when there is none and the region cannot grow.
    pub(super) fn take(&mut self) -> Result<FrameNo> {
        let known = (self.sound_from..self.shape.frames).find(|&frame| self.is_free(frame, true));
        self.sound_from = known.map_or(self.shape.frames, |frame| frame + 1);
        let any = known.or_else(|| {
            let any = (self.any_from..self.shape.frames).find(|&frame| self.is_free(frame, false));
            self.any_from = any.map_or(self.shape.frames, |frame| frame + 1);
            any
        });
        let frame = match any {
            Some(frame) => frame,
            None => self.grow()?,
        };
        let frame = FrameNo(frame as u32);
        self.owned.claim(frame);
        Ok(frame)
    }

    fn is_free(&self, frame: u64, known: bool) -> bool {
        let number = FrameNo(frame as u32);
        let allocated = self.allocated(frame).unwrap_or(known);
        self.shape.ordinary(number) && !allocated && !self.owned.has(number) && !self.former.contains(&number)
    }

    fn grow(&mut self) -> Result<u64> {
        let frame = self.shape.frames;
        if frame + 1 >= REGION_FRAMES_MAX || file_bytes(frame + 1) > self.room {
            let why = "the repair needs frames for what it makes anew, and none is free".to_owned();
            return Err(Error::NoSpace { why });
        }
        self.shape.frames += 1;
        Ok(frame)
    }
}
