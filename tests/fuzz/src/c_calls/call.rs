//! The calls a C program can make, good and bad.

use arbitrary::Arbitrary;

/// One call. Handles are named by their places in the program's memory. An empty place is NULL.
#[derive(Arbitrary, Clone, Debug)]
pub enum Call {
    Open {
        store: u8,
        path: Path,
        options: Struct<Opening>,
        no_out: bool,
    },
    OpenMemory {
        store: u8,
        room: Room,
        no_out: bool,
    },
    Close {
        store: u8,
    },
    /// All calls on a handle that has ended, is of another kind, or was never given.
    Wrong {
        object: bool,
        n: u8,
    },
    ObjectOpen {
        store: u8,
        name: Name,
        flags: Flags,
        no_out: bool,
    },
    ObjectClose {
        object: u8,
    },
    Read {
        object: u8,
        at: At,
        len: Len,
        no_buffer: bool,
        no_out: bool,
    },
    Write {
        object: u8,
        at: At,
        len: Len,
        no_buffer: bool,
    },
    Append {
        object: u8,
        len: Len,
        no_buffer: bool,
        out: bool,
    },
    Size {
        object: u8,
        no_out: bool,
    },
    Resize {
        object: u8,
        at: At,
    },
    Allocate {
        object: u8,
        at: At,
        len: Range,
    },
    Punch {
        object: u8,
        at: At,
        len: Range,
    },
    Sync {
        object: u8,
    },
    SyncRange {
        object: u8,
        at: At,
        len: Range,
    },
    Pin {
        object: u8,
        at: At,
        len: u16,
        flags: Flags,
        no_out: bool,
    },
    /// A pin that the program has.
    Unpin {
        pin: u8,
    },
    /// Any address, pinned or not.
    UnpinAt {
        store: u8,
        address: Address,
        len: Bytes,
    },
    PinFrame {
        store: u8,
        pfn: Pfn,
        no_out: bool,
    },
    PinAddress {
        store: u8,
        address: Address,
        len: Bytes,
    },
    Latch {
        store: u8,
        address: Address,
        mode: u8,
    },
    Unlatch {
        store: u8,
        address: Address,
        mode: u8,
        from: Bytes,
        len: Bytes,
    },
    PageInfo {
        store: u8,
        address: Address,
        page: Struct<()>,
    },
    StoreSync {
        store: u8,
    },
    Compact {
        store: u8,
        out: bool,
    },
    Rename {
        store: u8,
        from: Name,
        to: Name,
    },
    Unlink {
        store: u8,
        name: Name,
    },
    Exists {
        store: u8,
        name: Name,
        no_out: bool,
        size: bool,
    },
    List {
        store: u8,
        stop: u8,
        inside: Inside,
        no_visit: bool,
    },
    Info {
        store: u8,
        region: Struct<()>,
    },
    Stats {
        store: u8,
        counters: Struct<()>,
    },
    Check {
        path: Path,
        visit: bool,
    },
    CodeName {
        code: i32,
    },
    Fork {
        store: u8,
        object: u8,
        really: u8,
    },
}

/// A file's name.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Path {
    One,
    Two,
    Missing,
    Folder,
    Empty,
    Null,
}

/// A struct that begins with its size.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Struct<T> {
    Null,
    /// As it should be.
    Right(T),
    /// Another size than the library's. As many bytes are there as it says.
    Sized(u16, T),
    /// A size that was not set.
    Unset(u64),
}

/// The content of pgs_options.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Opening {
    pub flags: Flags,
    pub required: u8,
    pub assume: u8,
    pub log_frames: u16,
    pub room: Room,
    pub reserved: u8,
}

/// Flags, mostly known ones.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Flags {
    None,
    Create,
    Exclusive,
    Other(u8),
    Any(u32),
}

/// Most bytes of a region.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Room {
    Usual,
    Little(u8),
    TooMuch(u64),
}

/// A name.
#[derive(Arbitrary, Clone, Debug)]
pub enum Name {
    Short(u8),
    Long(u8),
    Bytes(Vec<u8>),
    Null,
}

/// An offset in an object.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum At {
    Near(u16),
    Page(u8),
    Far(u64),
}

/// Bytes of a buffer.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Len {
    Some(u16),
    /// More than memory.
    TooMany(u32),
}

/// Bytes that need no buffer.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Range {
    Some(u16),
    /// More than an object can have.
    TooMany(u32),
}

/// Bytes of a range of memory.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Bytes {
    Some(u16),
    Any(usize),
}

/// An address.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Address {
    /// A pin, and an offset in it.
    Pinned(u8, u16),
    /// Somewhere in the store's region: frame and byte.
    Region(u8, u16),
    Null,
    Stack,
    Any(usize),
}

/// A frame's number.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Pfn {
    /// Counted from the store's first one.
    Near(u8),
    Any(u64),
}

/// What a visitor of pgs_list() does.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Inside {
    Nothing,
    Unlink,
    Create,
    ListAgain,
    Sync,
}
