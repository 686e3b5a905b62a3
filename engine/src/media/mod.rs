//! The medium: what lies on it, and how it changes.
