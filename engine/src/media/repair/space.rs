//! The owner of each frame, and the frames that may be taken for new structures. Not taken are frames that have an owner,
//! that held a structure that is dropped, or that are allocated by a sound bitmap.

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
    /// Frames of structures that are dropped.
    pub(super) former: Frames,
    /// Bitmaps that match their seals, by group.
    pub(super) sound: BTreeMap<u64, Bits>,
    /// Whether a frame of a group without a sound bitmap may be part of a lost object. Then the region grows rather than take one.
    pub(super) spares: bool,
    /// Most bytes that the region may have.
    room: u64,
    /// Below these no frame is left to take: by sound bitmaps, and in groups without one.
    sound_from: u64,
    any_from: u64,
}

impl Space {
    pub(super) fn new(shape: Shape, room: u64) -> Self {
        let first = FIRST_MOVABLE.0.into();
        let owned = Owned::new(shape);
        let (former, sound) = (Frames::new(), BTreeMap::new());
        Self { shape, owned, former, sound, spares: false, room, sound_from: first, any_from: first }
    }

    /// Whether the frame is allocated, by a sound bitmap. `None` if its group has no sound one.
    pub(super) fn allocated(&self, frame: u64) -> Option<bool> {
        let bits = self.sound.get(&(frame / 64 / GROUP_WORDS))?;
        Some(bits[(frame / 64 % GROUP_WORDS) as usize] >> (frame % 64) & 1 == 1)
    }

    /// Takes an unused frame: it has an owner from now on.
    ///
    /// # Errors
    /// `NoSpace` if there is none and the region cannot grow.
    pub(super) fn take(&mut self) -> Result<FrameNo> {
        let known = (self.sound_from..self.shape.frames).find(|&frame| self.is_free(frame, true));
        self.sound_from = known.map_or(self.shape.frames, |frame| frame + 1);
        let frame = match known {
            Some(frame) => frame,
            None if self.spares => self.grow().or_else(|full| self.any().ok_or(full))?,
            None => self.any().map_or_else(|| self.grow(), Ok)?,
        };
        let frame = FrameNo(frame as u32);
        self.owned.claim(frame);
        Ok(frame)
    }

    /// A frame without an owner, of a group of which nothing is known.
    fn any(&mut self) -> Option<u64> {
        let any = (self.any_from..self.shape.frames).find(|&frame| self.is_free(frame, false));
        self.any_from = any.map_or(self.shape.frames, |frame| frame + 1);
        any
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
