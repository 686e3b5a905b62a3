//! The frame table: pfn to descriptor.
