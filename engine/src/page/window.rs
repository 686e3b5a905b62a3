//! What a pin that hits computes from: where the bytes and the descriptors of a region's frames are.
//!
//! Each handle of an object has it by value. So no load stands between the handle and the cache miss of the descriptor, and
//! what one pin waits for overlaps the next one's.

use super::pages::Pages;
use super::pin::PageRef;
use crate::frame::Descriptor;
use crate::units::{FRAME_SIZE, FrameNo};
use std::ptr::NonNull;
use std::sync::Arc;

/// Where the bytes and the descriptors of a region's frames are.
#[derive(Clone, Copy)]
pub(super) struct Places {
    base: NonNull<u8>,
    /// One for each frame of the region's window.
    descriptors: &'static [Descriptor],
}

// SAFETY: `base` is an address inside a region's mapping, which any thread may use; what is behind it is only touched under
// latches or by atomic loads.
unsafe impl Send for Places {}
// SAFETY: as above.
unsafe impl Sync for Places {}

impl Places {
    /// Of a window that begins at `base` and has a frame for each of these.
    pub(super) const fn new(base: NonNull<u8>, descriptors: &'static [Descriptor]) -> Self {
        Self { base, descriptors }
    }

    /// Where the bytes of the first frame are.
    pub(super) const fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Frames of the window.
    pub(super) const fn len(&self) -> usize {
        self.descriptors.len()
    }

    /// The descriptor of a frame, if the window reaches so far.
    #[inline(always)]
    pub(super) fn descriptor(&self, frame: FrameNo) -> Option<&'static Descriptor> {
        self.descriptors.get(frame.0 as usize)
    }

    /// Bytes from the first descriptor to this one, which is of the window.
    #[inline(always)]
    fn distance(&self, descriptor: &'static Descriptor) -> usize {
        std::ptr::from_ref(descriptor).addr() - self.descriptors.as_ptr().addr()
    }

    /// The frame with this descriptor.
    #[inline(always)]
    pub(super) fn frame_of(&self, descriptor: &'static Descriptor) -> FrameNo {
        FrameNo((self.distance(descriptor) / size_of::<Descriptor>()) as u32)
    }

    /// Where the bytes of the frame with this descriptor are.
    #[inline(always)]
    pub(super) fn address_of(&self, descriptor: &'static Descriptor) -> NonNull<u8> {
        // One multiplication, where a descriptor is as large as it is outside models.
        let offset = match FRAME_SIZE % size_of::<Descriptor>() {
            0 => self.distance(descriptor) * (FRAME_SIZE / size_of::<Descriptor>()),
            _ => self.distance(descriptor) / size_of::<Descriptor>() * FRAME_SIZE,
        };
        // SAFETY: the window is mapped whole, and has a frame for each of its descriptors.
        unsafe { self.base.add(offset) }
    }
}

/// What a handle pins through: the places of its region's frames, and the pages that they are of.
#[derive(Clone)]
pub(crate) struct Window {
    places: Places,
    pages: Arc<Pages>,
}

impl Window {
    pub(super) const fn new(places: Places, pages: Arc<Pages>) -> Self {
        Self { places, pages }
    }

    /// A pin on `frame` if that takes no more than counting it. What the frame is for must be validated after the pin.
    #[inline(always)]
    pub(crate) fn try_pin(&self, frame: FrameNo) -> Option<PageRef> {
        let descriptor = self.places.descriptor(frame)?;
        let address = self.places.address_of(descriptor);
        match descriptor.pin() {
            Ok(()) => Some(PageRef::at(address, &self.pages, descriptor)),
            Err(word) => self.pages.settle_pin(descriptor, word),
        }
    }
}
