//! Pins and latches on pages.
