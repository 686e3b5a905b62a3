//! Regions: suppliers of frames.
