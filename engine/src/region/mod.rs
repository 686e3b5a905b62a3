//! Regions supply frames. A region is a file (or memory) that this process has claimed, mapped into one window of
//! addresses, and given a range of pfns.
//!
//! Rules kept here:
//! - The claim is taken before a byte is read, and released after the last byte is unmapped.
//! - Nothing is unmapped while a pin or an `Arc` of the region lives: the region map holds one `Arc` until the last
//!   pin of a closed region has dropped.
//! - The window never moves, and the file grows inside it: an address is valid for as long as its pin.
//! - A forked child has nothing of a region: no claim, no window ([`Error::Forked`]).

mod addresses;
mod below;
mod blocks;
mod bytes;
mod claim;
mod close;
mod covered;
mod extents;
mod file;
mod file_system;
mod fork;
mod growth;
mod health;
mod holder;
mod identity;
mod map;
mod mapping;
mod memory;
mod mounts;
mod opening;
mod options;
mod orphans;
mod overlay;
mod probe;
mod reaper;
mod source;
mod sysfs;
mod unsynced;
mod view_window;
mod windows;

pub use close::{Detach, LastWill, last_put};
pub use extents::Gap;
pub use identity::{Difference, Holder, Identity};
pub use map::region_of;
pub(crate) use map::{list_view, unlist_view};

pub use memory::Memory;
pub use options::{RegionOptions, Source};
pub(crate) use view_window::{Blank, ViewWindow, mappings_max};
pub use windows::{Tenant, region_at, tenant_at};

use crate::error::{Error, Result};
use crate::frame::{FrameTable, Frames};
use crate::persist::Persist;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::units::{Durability, FRAME_SIZE, FrameNo, MediumKind, Pfn};
use file::Habits;
use mapping::Mapping;
use options::REGION_MAX;
use orphans::Orphans;
use source::Bytes;
use std::path::Path;
use std::sync::{Arc, Weak};

/// The name of a region without a file.
const MEMORY: &str = "the memory region";

/// An attached supplier of frames.
#[derive(Debug)]
pub struct Region {
    memory: Memory,
    frames: Frames,
    /// The size to which the region may grow, in bytes.
    limit: u64,
    /// Whether only a lack of addresses limits it.
    limited_by_addresses: bool,
    medium: source::Medium,
    class: Durability,
    assumed: Option<Durability>,
    read_only: bool,
    assumes_power_loss: bool,
    closed: AtomicBool,
    closing: Mutex<close::Closing>,
    /// Whether stores may begin: see `blocks`.
    stores: AtomicBool,
    orphans: Orphans,
    growing: Mutex<()>,
    tenant: Mutex<Option<Weak<Tenant>>>,
}

impl Region {
    /// Claims and maps `source`, and gives it a range of pfns.
    ///
    /// # Durability
    /// A file that this creates is empty, and its name is durable where the medium is.
    pub fn attach(source: Source, options: &RegionOptions) -> Result<Arc<Self>> {
        options.validate()?;
        FrameTable::ensure_global()?;
        reaper::reap();
        let opened = source::open(source, options)?;
        let (mapping, frames) = place(&opened, options)?;
        let source::Opened { medium, class, len, bytes } = opened;
        let limited_by_addresses = matches!(bytes, Bytes::File(_)) && options.max_bytes.is_none();
        let room = if mapping.fixed() { len } else { mapping.window() };
        let limit = options.max_bytes.unwrap_or(u64::MAX).min(room);
        let as_it_is = options.assume.is_none() && !options.private;
        let protocol = if as_it_is { medium.protocol() } else { class };
        let persist = Persist::new(protocol, medium.caches_survive, options.recorder.clone());
        let name = medium.path.as_deref().map_or_else(|| MEMORY.to_owned(), |path| format!("{path:?}"));
        let claim = bytes.into_claim();
        // Memory gets its pages when it is touched, a device has all its blocks, and private stores need none.
        let stores = medium.path.is_none() || mapping.fixed() || !options.writable() || options.private;
        let habits = habits(&medium, options);
        let memory = Memory::new(mapping, claim, len, frames, persist, options, habits, name);
        memory.tell_beginning();
        let region = Arc::new(Self {
            memory,
            frames,
            limit,
            limited_by_addresses,
            medium,
            class,
            assumed: options.assume,
            read_only: options.read_only || options.private,
            assumes_power_loss: options.assume_power_loss,
            closed: AtomicBool::new(false),
            closing: Mutex::default(),
            stores: AtomicBool::new(stores),
            orphans: Orphans::default(),
            growing: Mutex::new(()),
            tenant: Mutex::new(None),
        });
        map::publish(&region);
        region.keep_file(true);
        Ok(region)
    }

    /// Sets whether a file that this attaching has created stays when the region goes. Yes at first.
    pub fn keep_file(&self, yes: bool) {
        if let Some(claim) = self.memory.claim() {
            claim.stays(yes);
        }
    }

    /// Makes the name of the region's file durable, before anything in the file says that it is a region. The name of
    /// a file that this attaching has created is durable already.
    ///
    /// # Durability
    /// The name is durable on `Ok`, where the medium is.
    pub fn sync_name(&self) -> Result {
        let is_new = self.memory.claim().is_some_and(claim::Claim::is_of_new_file);
        match (self.path(), self.memory.descriptor()?) {
            (Some(path), Some(file))
                if !is_new && !self.is_fixed() && self.medium.protocol() != Durability::Volatile =>
            {
                source::sync_name(path, file)
            }
            _ => Ok(()),
        }
    }

    /// The region's bytes.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The pfn of the region's frame 0.
    #[must_use]
    pub fn base(&self) -> Pfn {
        self.frames.pfn(FrameNo(0))
    }

    /// The region's frames, as many as its window has room for.
    #[must_use]
    pub fn frames(&self) -> Frames {
        self.frames
    }

    /// The pfn of a frame.
    #[must_use]
    pub fn pfn(&self, frame: FrameNo) -> Pfn {
        self.frames.pfn(frame)
    }

    /// The frame with this pfn, if it is this region's.
    #[must_use]
    pub fn frame_of(&self, pfn: Pfn) -> Option<FrameNo> {
        self.frames.frame(pfn)
    }

    /// The address of the frame's bytes. Beyond [`Self::len_bytes`] there are none. Only a pin makes the address
    /// valid to use.
    #[must_use]
    pub fn address(&self, frame: FrameNo) -> *mut u8 {
        self.memory.base().wrapping_add(frame.0 as usize * FRAME_SIZE)
    }

    /// The region's length in bytes: its file's length.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.memory.len()
    }

    /// The size of the window, in bytes: the most the region can have while it is attached.
    #[must_use]
    pub fn window_bytes(&self) -> u64 {
        self.memory.window()
    }

    /// The most bytes the region may have, by its options and its window.
    #[must_use]
    pub fn max_bytes(&self) -> u64 {
        self.limit
    }

    /// How durable the region's syncs are taken to be: the medium's own class, or the assumed one.
    #[must_use]
    pub fn class(&self) -> Durability {
        self.class
    }

    /// The class by whose rules the region is written: [`Self::class`], but `Fdatasync` where it is only a guess that
    /// the medium is memory.
    #[must_use]
    pub fn protocol(&self) -> Durability {
        self.memory.persist().class()
    }

    /// The class that was assumed in place of the medium's own ([`Self::medium_class`]).
    #[must_use]
    pub fn assumed(&self) -> Option<Durability> {
        self.assumed
    }

    /// How durable the medium itself is, as far as can be told.
    #[must_use]
    pub fn medium_class(&self) -> Durability {
        self.medium.class
    }

    /// The kind of medium.
    #[must_use]
    pub fn kind(&self) -> MediumKind {
        self.medium.kind
    }

    /// Whether the medium has a fixed size (a device): the region can neither grow beyond it nor be shorter.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.memory.fixed()
    }

    /// Whether this opening never writes to the medium.
    #[must_use]
    pub fn read_only(&self) -> bool {
        self.read_only
    }

    /// Whether recovery must treat the last owner's end as a power loss, whatever is known about it.
    #[must_use]
    pub fn assumes_power_loss(&self) -> bool {
        self.assumes_power_loss
    }

    /// The path of the file; `None` for memory.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.medium.path.as_deref()
    }

    /// As [`Self::path`], shared.
    #[must_use]
    pub fn shared_path(&self) -> Option<Arc<Path>> {
        self.medium.path.clone()
    }

    /// Which file this is, on which boot, in which mounting of its file system.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.medium.identity
    }

    /// This process, as a lease names it.
    #[must_use]
    pub fn holder(&self) -> Holder {
        Holder::this_process()
    }

    /// Whether this process is a forked child of the one that attached the region, and has nothing of it.
    #[must_use]
    pub(crate) fn forked(&self) -> bool {
        self.memory.forked()
    }

    /// An error in a forked child, where everything of the region is the parent's. A lock that another thread of the
    /// parent held stays locked in the child, so this is checked before any lock of the region, its pages or its
    /// store.
    #[inline]
    pub(crate) fn ensure_own(&self) -> Result {
        if self.forked() { Err(Error::Forked) } else { Ok(()) }
    }

    /// Checks that the region can be used; the error says why not.
    #[inline]
    pub fn ensure_usable(&self) -> Result {
        // ORDERING: Acquire: pairs with the Release in `refuse_pins`; the HOLD flag of the frames catches a stale
        // `false`.
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::Closed);
        }
        self.memory.ensure_usable()
    }

    /// Checks that its bytes can be used, closed or not: it has not failed, and belongs to this process.
    #[inline]
    pub fn ensure_sound(&self) -> Result {
        self.memory.ensure_usable()
    }

    /// Queues a frame whose freeing the caller has claimed
    /// ([`LastOfOrphan`](crate::frame::UnpinOutcome::LastOfOrphan)). The region may be gone when this returns.
    fn queue_orphan(&self, pfn: Pfn) {
        if let Some(frame) = self.frame_of(pfn) {
            self.orphans.push(FrameTable::global(), frame, pfn);
        }
    }

    /// Makes `tenant`, which uses the region, findable by any address of it ([`tenant_at`]); `None` removes it.
    pub fn let_to(&self, tenant: Option<Weak<Tenant>>) {
        map::let_to(self, tenant);
    }

    fn tenant(&self) -> Option<Weak<Tenant>> {
        self.tenant.lock().clone()
    }

    fn set_tenant(&self, tenant: Option<Weak<Tenant>>) {
        *self.tenant.lock() = tenant;
    }

    /// Whether orphaned frames are queued.
    #[inline]
    #[must_use]
    pub fn has_orphans(&self) -> bool {
        !self.orphans.is_empty()
    }

    /// Takes all queued frames, the last queued first. The caller frees each on the medium and ends its descriptor
    /// with [`FrameTable::retire_orphan`].
    #[must_use]
    pub fn take_orphans(&self) -> Vec<FrameNo> {
        self.orphans.take(FrameTable::global(), |frame| self.pfn(frame))
    }

    /// Marks the region as failed for good: nothing more is written before it is opened again. The first reason
    /// stays.
    pub fn poison(&self, why: impl Into<String>) {
        self.memory.poison(why.into());
    }

    /// Why the region failed.
    #[must_use]
    pub fn poisoned(&self) -> Option<String> {
        self.memory.poisoned().map(str::to_owned)
    }

    /// The window's first address.
    fn start(&self) -> usize {
        self.memory.base().addr()
    }

    /// The region's name in messages.
    pub(crate) fn name(&self) -> &str {
        self.memory.name()
    }
}

/// How the kernel treats stores to this medium.
fn habits(medium: &source::Medium, options: &RegionOptions) -> Habits {
    let file = medium.path.is_some() && medium.kind != MediumKind::DevDax;
    // Whatever class an opening that only reads works with.
    let class = options.assume.unwrap_or(medium.protocol());
    // A file sync makes the kernel detect later stores anew. A file that is never synced keeps its times.
    let synced = class == Durability::Fdatasync && medium.protocol() == Durability::Fdatasync;
    let writes = !(options.read_only || options.private);
    Habits { cached: file && class == Durability::Fdatasync, untimed: file && writes && !synced }
}

/// Maps the source into its window and gives it its range of pfns. Both are made smaller where addresses are scarce,
/// and then smaller again, to leave some for others. A region that outgrows its window gets an error.
fn place(opened: &source::Opened, options: &RegionOptions) -> Result<(Mapping, Frames)> {
    let len = opened.len;
    let mut window = match &opened.bytes {
        Bytes::Device { .. } => len.next_multiple_of(mapping::BLOCK),
        Bytes::File(_) => options.window(len, false)?,
        Bytes::Image(_) => options.window(len, true)?,
    };
    // Whole blocks, as windows are: otherwise the smallest window would still seem too wide.
    let least = len.max(mapping::BLOCK).next_multiple_of(mapping::BLOCK);
    let smaller = |window: u64, by: u64| (window / by).next_multiple_of(mapping::BLOCK).max(least);
    // Room to grow comes before leaving addresses to others: otherwise a region that fills its window would get the
    // same one again.
    let roomy = least.saturating_mul(2);
    let mut scarce = false;
    loop {
        let placed = Mapping::new(opened, window, options)
            .and_then(|mapping| Ok((mapping, Frames::take(window / FRAME_SIZE as u64)?)));
        match placed {
            Err(error) if is_shortage(&error) && options.max_bytes.is_none() && window > least => {
                (window, scarce) = (smaller(window, 2), true);
            }
            Ok((mapping, frames)) if scarce => {
                drop(mapping);
                frames.free();
                (window, scarce) = (smaller(window, 4).max(roomy.min(window)), false);
            }
            placed => return placed,
        }
    }
}

/// Whether asking for fewer addresses might succeed.
fn is_shortage(error: &Error) -> bool {
    match error {
        Error::NoAddresses { .. } => true,
        // EINVAL: valgrind's code for addresses that it does not have. EAGAIN: more than may be locked, under
        // `mlockall`.
        Error::Io { source, .. } => {
            matches!(source.raw_os_error(), Some(libc::ENOMEM | libc::EINVAL | libc::EAGAIN))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
