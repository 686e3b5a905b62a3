//! The one door to durability: flush and fence.
