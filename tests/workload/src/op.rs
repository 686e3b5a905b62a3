//! Operations.

/// The number of an object in its workload. Unlike its name, it is never used again.
pub type ObjectNo = u16;

/// One operation on objects `O` and names `N`. These are the objects and names themselves, or numbers that choose among
/// them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op<O = ObjectNo, N = String> {
    /// Creates an object under a free name.
    Create(O, N),
    /// Asks whether there is such a name.
    Exists(N),
    /// Lists all names.
    List,
    /// Writes bytes of the operation: at an offset, which may lie past the end, and this many.
    Write(O, u64, u64),
    /// Appends bytes.
    Append(O, u64),
    /// Writes bytes inside one page through a pin and a latch guard.
    Touch(O, u64, u64),
    /// Reads this many bytes at an offset.
    Read(O, u64, u64),
    /// Asks for the length.
    Len(O),
    /// Cuts or grows the object.
    SetLen(O, u64),
    /// Turns a range into zeros.
    Punch(O, u64, u64),
    /// Links zeroed frames ahead.
    Allocate(O, u64, u64),
    /// Moves this many pages, from a page on, to other frames. It shows nothing.
    Move(O, u64, u64),
    /// Renames, replacing what had the new name.
    Rename(N, N),
    /// Unlinks a name; with `true` the object's handle is closed before.
    Unlink(N, bool),
    /// Pins a page and keeps it until `Unpin`.
    Pin(O, u64),
    /// Drops all pins and the handles of unlinked objects.
    Unpin,
    /// Writes to objects at these offsets, all or nothing, and durable when it returns.
    Batch(Vec<(O, u64, u64)>),
    /// Syncs one object.
    Sync(O),
    /// Syncs a range of one object.
    SyncRange(O, u64, u64),
    /// Syncs the store.
    SyncAll,
    /// Gives the blocks of free frames back.
    Compact,
}

/// An operation as it is drawn: numbers choose among the objects and names that there are. So it has a meaning whatever
/// came before.
pub type Choice = Op<u8, u8>;

impl<O, N> Op<O, N> {
    /// The same operation with its objects and names translated by `object` and `name`; `None` if one cannot be
    /// translated. From a batch, parts that cannot be translated are left out.
    pub fn meant<P, M>(
        self,
        mut object: impl FnMut(O) -> Option<P>,
        mut name: impl FnMut(N) -> Option<M>,
    ) -> Option<Op<P, M>> {
        Some(match self {
            Self::Create(o, n) => Op::Create(object(o)?, name(n)?),
            Self::Exists(n) => Op::Exists(name(n)?),
            Self::List => Op::List,
            Self::Write(o, at, len) => Op::Write(object(o)?, at, len),
            Self::Append(o, len) => Op::Append(object(o)?, len),
            Self::Touch(o, at, len) => Op::Touch(object(o)?, at, len),
            Self::Read(o, at, len) => Op::Read(object(o)?, at, len),
            Self::Len(o) => Op::Len(object(o)?),
            Self::SetLen(o, len) => Op::SetLen(object(o)?, len),
            Self::Punch(o, at, len) => Op::Punch(object(o)?, at, len),
            Self::Allocate(o, at, len) => Op::Allocate(object(o)?, at, len),
            Self::Move(o, page, pages) => Op::Move(object(o)?, page, pages),
            Self::Rename(from, to) => Op::Rename(name(from)?, name(to)?),
            Self::Unlink(n, close) => Op::Unlink(name(n)?, close),
            Self::Pin(o, page) => Op::Pin(object(o)?, page),
            Self::Unpin => Op::Unpin,
            Self::Batch(parts) => Op::Batch(
                parts.into_iter().filter_map(|(o, at, len)| object(o).map(|o| (o, at, len))).collect(),
            ),
            Self::Sync(o) => Op::Sync(object(o)?),
            Self::SyncRange(o, at, len) => Op::SyncRange(object(o)?, at, len),
            Self::SyncAll => Op::SyncAll,
            Self::Compact => Op::Compact,
        })
    }
}
