//! Where things lie on the medium.
//!
//! ```text
//! frame 0          superblock, copy A (first sector)
//! frame 1          superblock, copy B (first sector)
//! frame 2          log header, copy A (first sector)
//! frame 3          log header, copy B (first sector)
//! frame 4          lease (first sector)
//! frame 5          applied cursor (first word)
//! frames 6, 7      root, twice: the words everything else hangs on
//! frame 8          root of the table of groups
//! frame 9          the first frame of that table
//! frame 10         bitmap of group 0
//! frame 11         bitmap of group 1, which a region has before the group begins
//! frame 12         root node of the directory
//! frames 13 .. 15  free, as all frames behind the log
//! frames 16 ..     the log, L frames
//! frames 16 + L .. data, nodes, records, and the bitmaps and tables of later groups
//! ```
//! Frames 0 to 5 have the same places in every region. All else is found by a word, so that a structure can leave a bad
//! frame.
//!
//! No frame of a later group is at a fixed place: the table of groups says where a bitmap lies (`media/groups.rs`), so
//! that a run of data crosses from one group into the next, and a group or a block of it can be whole.
//!
//! What must survive each other lies in different frames, and what the kernel writes by itself, as it does the cursor,
//! shares none with a sector that must not tear: the kernel and many disks write 4096 bytes at a time.
//!
//! Nothing depends on the size a region may reach: a file grows group by group, and its length is one frame more than
//! the region's `frames` word says, so that what follows the last page is readable.

use crate::units::{FRAME_SIZE, FrameNo, LINE_SIZE};

/// Bytes of a sector: the unit in which a disk write is atomic.
pub const SECTOR_SIZE: usize = 512;
/// Bytes of a word: the unit in which a store is failure-atomic.
pub const WORD_SIZE: u64 = 8;
/// Words in a frame.
pub const WORDS_PER_FRAME: u64 = FRAME_SIZE as u64 / WORD_SIZE;
/// Frames in an allocation group: the bits of one bitmap frame.
pub const GROUP_FRAMES: u64 = 8 * FRAME_SIZE as u64;
/// Groups that one frame of the table of groups describes.
pub const TABLE_GROUPS: u64 = WORDS_PER_FRAME / 2;
/// Groups that a region can have.
pub const GROUPS_MAX: u64 = WORDS_PER_FRAME * TABLE_GROUPS;

/// Byte offsets of the superblock's two copies.
pub const SUPERBLOCK_OFFSETS: [u64; 2] = [0, FRAME_SIZE as u64];
/// Byte offsets of the log header's two copies.
pub const LOG_HEADER_OFFSETS: [u64; 2] = [2 * FRAME_SIZE as u64, 3 * FRAME_SIZE as u64];
/// Byte offset of the lease.
pub const LEASE_OFFSET: u64 = 4 * FRAME_SIZE as u64;
/// Byte offset of the applied cursor.
pub const CURSOR_OFFSET: u64 = 5 * FRAME_SIZE as u64;
/// The first of the frames that are found by a word.
pub const FIRST_MOVABLE: FrameNo = FrameNo(6);
/// The two roots in a fresh region.
pub const ROOT_FRAMES: [FrameNo; 2] = [FrameNo(6), FrameNo(7)];
/// The root of the table of groups in a fresh region.
pub const GROUP_ROOT_FRAME: FrameNo = FrameNo(8);
/// The frame of that table for the first groups.
pub const GROUP_TABLE_FRAME: FrameNo = FrameNo(9);
/// The bitmaps that a fresh region has: of group 0, and of the group behind it.
pub const BITMAP_FRAMES: [FrameNo; 2] = [FrameNo(10), FrameNo(11)];
/// The directory's root node in a fresh region.
pub const DIRECTORY_FRAME: FrameNo = FrameNo(12);
/// First frame of the log.
pub const LOG_FRAME: FrameNo = FrameNo(16);

/// Frames of the log by default: 1 MiB. With 256 KiB, appends that are never synced take 1.3 to 1.8 times as long, because
/// the tail moves more often (measured by `logs` of the benches). A larger log would make the smallest region larger.
pub const LOG_FRAMES_DEFAULT: u32 = 256;
/// Frames of the log by default where the region is in memory, which no sync waits for, or is [small](SMALL_REGION):
/// 256 KiB.
pub const LOG_FRAMES_SMALL: u32 = 64;
/// A region that may have at most this many bytes is small.
pub const SMALL_REGION: u64 = 16 << 20;
/// Fewest frames of a log: the largest record (a quarter) must hold one step of every operation.
pub const LOG_FRAMES_MIN: u32 = 4;
/// Most frames of a log: 128 MiB less the rest of group 0.
pub const LOG_FRAMES_MAX: u32 = 16384;
/// Frames for data and nodes that a fresh region has.
const FREE_INITIAL: u32 = 47;

/// Counters on the medium (records, bytes of the log, openings, objects) count events from 0, and none ever reaches this.
/// A larger one is refused, so that a counter that was read cannot overflow later.
pub const COUNTER_MAX: u64 = 1 << 62;

/// Lines of a root.
pub const ROOT_LINES: u64 = (FRAME_SIZE / LINE_SIZE) as u64;
/// The lines of the root that may describe an area. Lines before them that have no word are reserved.
pub const AREA_LINES: std::ops::Range<u64> = 8..ROOT_LINES;

/// Words of the root, by their numbers. Each eighth word is the sum of its line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum RootWord {
    /// Frames of the region; detects a file that was cut.
    Frames = 0,
    /// Next object number to give out; a number is never used twice.
    NextObject = 1,
    /// First free record slot, sealed.
    FreeSlots = 2,
    /// First record of the orphan list, sealed.
    Orphans = 3,
    /// First frame of the busy table, sealed.
    BusyTable = 4,
    /// Objects with a name.
    Objects = 5,
    /// Root node of the directory.
    Directory = 8,
    /// Root of the table of groups, which says where their bitmaps lie.
    GroupRoot = 9,
    /// Reserved for frames with several owners: 0.
    Shares = 10,
    /// Reserved for sums of pages: 0.
    PageSums = 11,
    /// The salt. This word and all that follow repeat the superblock, for a repair.
    Salt = 12,
    /// The key of the hash of names.
    NameKey0 = 13,
    /// Its second half.
    NameKey1 = 14,
    /// The region's identity.
    Uuid0 = 16,
    /// Its second half.
    Uuid1 = 17,
    /// Features that may be unknown.
    Compat = 18,
    /// Features that may be unknown to an opening that only reads.
    RoCompat = 19,
    /// Features that must be known.
    Incompat = 20,
}

impl RootWord {
    /// Its line.
    #[must_use]
    pub const fn line(self) -> u64 {
        self as u64 / 8
    }

    /// Its place in the line.
    #[must_use]
    pub const fn place(self) -> usize {
        self as usize % 8
    }

    /// Its byte offset in a root.
    #[must_use]
    pub const fn offset(self) -> u64 {
        self as u64 * WORD_SIZE
    }
}

/// Whether a format uses `frame` in a region with this log. Such a frame is never handed out.
#[must_use]
pub const fn is_of_format(frame: FrameNo, log_frames: u32) -> bool {
    let between = frame.0 > DIRECTORY_FRAME.0 && frame.0 < LOG_FRAME.0;
    frame.0 < first_free_frame(log_frames).0 && !between
}

/// The first frame behind all frames that a format uses.
#[must_use]
pub const fn first_free_frame(log_frames: u32) -> FrameNo {
    FrameNo(LOG_FRAME.0 + log_frames)
}

/// The bits in the `word`-th word of a bitmap for frames that a format uses.
#[must_use]
pub const fn bits_of_format(log_frames: u32, word: u64) -> u64 {
    let front = match (first_free_frame(log_frames).0 as u64).saturating_sub(word * 64) {
        0 => 0,
        front @ 1..64 => !(!0 << front),
        _ => !0,
    };
    let between = !0 << (DIRECTORY_FRAME.0 + 1) & !(!0 << LOG_FRAME.0);
    if word == 0 { front & !between } else { front }
}

/// Frames of a fresh region with this log.
#[must_use]
pub const fn initial_frames(log_frames: u32) -> u32 {
    LOG_FRAME.0 + log_frames + FREE_INITIAL
}

/// A file with fewer bytes is no region: both superblocks must be there.
pub const LEAST_BYTES: u64 = SUPERBLOCK_OFFSETS[1] + FRAME_SIZE as u64;

/// Bytes of a fresh region with this log.
#[must_use]
pub fn initial_bytes(log_frames: u32) -> u64 {
    file_bytes(u64::from(LOG_FRAME.0 + FREE_INITIAL) + u64::from(log_frames))
}

/// Bytes of the file that holds `frames` frames and the spare one behind them.
#[must_use]
pub const fn file_bytes(frames: u64) -> u64 {
    (frames + 1) * FRAME_SIZE as u64
}

const _: () = assert!(GROUP_FRAMES == 32768 && WORDS_PER_FRAME == 512);
const _: () = assert!(GROUPS_MAX * GROUP_FRAMES == 1 << u32::BITS);
const _: () = assert!(file_bytes(initial_frames(LOG_FRAMES_SMALL) as u64) <= 512 * 1024);
// The command line and the VFS take a blank file of up to this size for a region whose format was cut short.
const _: () = assert!(file_bytes(initial_frames(LOG_FRAMES_DEFAULT) as u64) <= 1536 * 1024);
const _: () = assert!((first_free_frame(LOG_FRAMES_MAX).0 as u64) < GROUP_FRAMES);
