//! The one seam to `std` or loom.
