/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Pagestone: an embeddable persistent-memory page cache engine.
 * Made by cbindgen from ffi/src; `make header` writes it, the test c_abi compares it.
 *
 * Conventions, true of every function unless it says otherwise:
 *  - The receiver comes first, then inputs, then outputs. Outputs are written only on success. Nothing is in/out,
 *    but for the `size` of a struct that the library fills.
 *  - A function that returns `int` returns PGS_OK (0), one of the PGS_E_* codes (-10001 and below), or a negated
 *    errno of the operating system (-EACCES). pgs_message() then tells in words what failed and what to do.
 *  - Any function may be called by any thread at any time, on the same handle too.
 *  - pgs_close(), pgs_object_close(), pgs_batch_commit() and pgs_batch_cancel() end a handle. From then on it is
 *    PGS_E_CLOSED for every function, as long as the process lives: no other handle ever has its value. Undefined is
 *    only a call that has begun and not returned when another thread ends its handle.
 *  - A handle is a number in the place of a pointer: it is compared and copied, and points nowhere. NULL, a handle of
 *    another kind, what no function gave, a NULL output, an unknown flag, a struct of a wrong `size` or with a reserved
 *    field that is not 0 is PGS_E_INVALID. Optional pointers say so.
 *  - A child made by fork() has no part in the stores of its parent: they answer PGS_E_FORKED there, and their pages
 *    are not mapped.
 *  - No function raises a signal or lets a panic out; PGS_E_PANIC means a defect in the library, and the store
 *    answers PGS_E_POISONED from then on. Two things end the process: SIGBUS where a page is touched whose file was
 *    cut (see pgs_check_length()), and a small allocation of the library's own that fails. Without memory for what
 *    a batch holds the answer is -ENOMEM.
 *  - PGS_E_INVALID, PGS_E_CLOSED, PGS_E_PANIC, PGS_E_POISONED (an earlier failure; close and open again), PGS_E_FORKED,
 *    PGS_E_CORRUPT, PGS_E_INTERNAL, PGS_E_TRUNCATED (the file was cut) and -errno can come from every function on a
 *    store or an object and are not repeated below. Nor is PGS_E_NO_ADDRESSES, which can come wherever PGS_E_NO_SPACE can: the
 *    region grows there.
 *  - Durability: what a call that returned PGS_OK has changed survives the death of the process. It survives a
 *    loss of power after a sync of the object or of the store that began after the change.
 */

#ifndef PAGESTONE_H
#define PAGESTONE_H

#include <stddef.h>
#include <stdint.h>

/// Major version: the ABI changed when it did.
#define PGS_VERSION_MAJOR 0

/// Minor version: functions were added; below 1.0 the ABI may have changed.
#define PGS_VERSION_MINOR 1

/// Patch version: defects were mended.
#define PGS_VERSION_PATCH 0

/// The header's version in one number, to be compared with pgs_version().
#define PGS_VERSION (((PGS_VERSION_MAJOR << 16) | (PGS_VERSION_MINOR << 8)) | PGS_VERSION_PATCH)

/// Done.
#define PGS_OK 0

/// The library panicked: a defect in it. The store is poisoned.
#define PGS_E_PANIC (-10001)

/// An argument makes no sense: NULL, a handle of another kind, an unknown flag, a bad struct, an unpin of what is not
/// pinned.
#define PGS_E_INVALID (-10002)

/// The file is no region; the message says what it seems to be.
#define PGS_E_NOT_A_REGION (-10003)

/// The region's format version is newer than this release.
#define PGS_E_VERSION (-10004)

/// The region uses features that this release does not know.
#define PGS_E_FEATURES (-10005)

/// The file is shorter than the region: it was cut.
#define PGS_E_TRUNCATED (-10006)

/// A structure on the medium contradicts itself.
#define PGS_E_CORRUPT (-10007)

/// The region is open already, in this process or another; the message names the holder as far as it can be known.
#define PGS_E_IN_USE (-10008)

/// The medium is weaker than the durability required; the message names both.
#define PGS_E_TOO_WEAK (-10009)

/// The region or the disk is full. Names and sizes are as before; bytes of a pgs_object_write() inside the old size may be
/// new, and pages that were given a frame keep it.
#define PGS_E_NO_SPACE (-10010)

/// No object has this name. (A region file that does not exist is -ENOENT.)
#define PGS_E_NOT_FOUND (-10011)

/// An object, or a region file, of this name exists.
#define PGS_E_EXISTS (-10012)

/// Names are 1 to PGS_NAME_MAX bytes.
#define PGS_E_BAD_NAME (-10013)

/// A number is out of its range; the message names the limit.
#define PGS_E_OUT_OF_RANGE (-10014)

/// The frame has PGS_PINS_MAX pins.
#define PGS_E_TOO_MANY_PINS (-10015)

/// The frame admits no new pin for now: try again.
#define PGS_E_HELD (-10016)

/// The page was cut off from its object; a write to it would be lost. Pin the page again.
#define PGS_E_DETACHED (-10017)

/// Something is still in use: objects open, pages pinned, a latch taken.
#define PGS_E_BUSY (-10018)

/// The time allowed was not enough.
#define PGS_E_TIMED_OUT (-10019)

/// The address or pfn belongs to no frame of this store.
#define PGS_E_FOREIGN (-10020)

/// An earlier commit failed; nothing more is written until the region is opened again.
#define PGS_E_POISONED (-10021)

/// The medium of this frame failed.
#define PGS_E_POISONED_FRAME (-10022)

/// The store was opened before a fork, by the parent.
#define PGS_E_FORKED (-10023)

/// The store is open read-only.
#define PGS_E_READ_ONLY (-10024)

/// The handle has ended: it was closed, committed or cancelled.
#define PGS_E_CLOSED (-10025)

/// The range holds a page that was never written: read it, or pin it with PGS_PIN_WRITE.
#define PGS_E_HOLE (-10026)

/// The range's frames do not lie side by side in memory: pin less, or read it.
#define PGS_E_SCATTERED (-10027)

/// The range reaches past the end of the object.
#define PGS_E_PAST_END (-10028)

/// The frame has PGS_READERS_MAX shared latches: give one back, or read a copy by pgs_object_read().
#define PGS_E_TOO_MANY_READERS (-10029)

/// The process has no addresses for so large a region, or for so many; the message says what to do. Of what was changed, as
/// PGS_E_NO_SPACE.
#define PGS_E_NO_ADDRESSES (-10030)

/// The library has found its own state to be other than it must be: a defect in it. Close the store and open it again.
#define PGS_E_INTERNAL (-10031)

/// As many names as the directory takes have the hash of this one: choose another name.
#define PGS_E_NAME_COLLISION (-10032)

/// A failure that this header has no name for; the message tells.
#define PGS_E_OTHER (-10099)

/// pgs_open(): create the region if the file is missing, empty or never formatted. pgs_object_open(): create
/// the object if it is missing.
#define PGS_CREATE 1

/// With PGS_CREATE: PGS_E_EXISTS if it is there already.
#define PGS_EXCLUSIVE 2

/// pgs_open(): change nothing, not even the file's bytes; several readers may have the region open at once.
#define PGS_READ_ONLY 4

/// pgs_open(): recover as after a loss of power, whatever can be told of the last owner's end. For a region file whose
/// bytes were put back to earlier ones under the same inode.
#define PGS_ASSUME_POWER_LOSS 8

/// pgs_open(): allow storage that writes elsewhere when it is overwritten (btrfs, bcachefs, zfs), where a full disk can
/// end the process with SIGBUS although space was allocated.
#define PGS_COPY_ON_WRITE 16

/// No demand; or: the medium is taken for what it says it is.
#define PGS_DURABILITY_ANY 0

/// Lost with the machine (DRAM, tmpfs).
#define PGS_DURABILITY_VOLATILE 1

/// Durable by fdatasync (an ordinary file).
#define PGS_DURABILITY_FDATASYNC 2

/// Durable by cache-line flush and fence (persistent memory).
#define PGS_DURABILITY_CACHE_LINE 3

/// Most bytes of an object's name.
#define PGS_NAME_MAX 255

/// Bytes of a frame, and of a page.
#define PGS_FRAME_SIZE 4096

/// Most pins one frame can have at a time.
#define PGS_PINS_MAX 32767

/// Bytes behind a pinned range that may be read as well; what they hold is undefined.
#define PGS_PIN_SLACK 256

/// pgs_pin(): give pages that have no frame a zeroed one.
#define PGS_PIN_WRITE 1

/// pgs_latch(): with other readers.
#define PGS_LATCH_SHARED 1

/// pgs_latch(): alone.
#define PGS_LATCH_EXCLUSIVE 2

/// pgs_latch(), with either: PGS_E_BUSY instead of waiting.
#define PGS_LATCH_TRY 4

/// Most shared latches one frame can have at a time.
#define PGS_READERS_MAX 511

/// pgs_store_info.ending: the last owner closed the region, or there was none.
#define PGS_ENDING_CLEAN 0

/// The last owner's process died, and all that it had changed is there.
#define PGS_ENDING_PROCESS_DEATH 1

/// The power failed, or that cannot be ruled out: what was synced is there.
#define PGS_ENDING_POWER_LOSS 2

/// pgs_store_info.why: the region is new, or was closed in order.
#define PGS_WHY_CLOSED 0

/// It is the same file, and its file system was mounted all the time.
#define PGS_WHY_KEPT 1

/// The machine was booted since, or this boot cannot be told (no /proc).
#define PGS_WHY_OTHER_BOOT 2

/// It is another file than the owner's: a copy, a snapshot.
#define PGS_WHY_OTHER_FILE 3

/// The file system was unmounted since, or that cannot be ruled out.
#define PGS_WHY_OTHER_MOUNTING 4

/// A flush of the owner had failed.
#define PGS_WHY_FAILED_FLUSH 5

/// What the owner had stored could not all be written to the medium after its death.
#define PGS_WHY_FAILED_WRITEBACK 6

/// What says how the owner left is damaged.
#define PGS_WHY_UNREADABLE 7

/// PGS_ASSUME_POWER_LOSS said so.
#define PGS_WHY_ASSUMED 8

/// Writes to objects of one store that happen together or not at all. Made by pgs_batch_begin(), ended by
/// pgs_batch_commit() or pgs_batch_cancel(). Until then no reader sees them, and the store cannot be closed.
typedef struct pgs_batch pgs_batch;

/// A handle on an object of a store. Made by pgs_object_open(), ended by pgs_object_close().
typedef struct pgs_object pgs_object;

/// A region that is open, with its objects. Made by pgs_open(), ended by pgs_close().
typedef struct pgs_store pgs_store;

/// How to open a store. All zero but `size` is the default.
typedef struct pgs_options {
    /// sizeof(pgs_options).
    size_t size;
    /// PGS_CREATE, PGS_EXCLUSIVE, PGS_READ_ONLY, PGS_ASSUME_POWER_LOSS, PGS_COPY_ON_WRITE.
    uint32_t flags;
    /// The weakest durability that will do (PGS_DURABILITY_*); a weaker medium is PGS_E_TOO_WEAK.
    uint32_t required;
    /// Take the medium for this class whatever it is (tests, a known platform); pgs_info() shows it.
    uint32_t assume;
    /// Frames of the log of a region that is created; 0: the default.
    uint32_t log_frames;
    /// The region never grows beyond this many bytes; 0: as large as the medium and the address window allow.
    uint64_t max_bytes;
    /// Milliseconds that pgs_open() waits while another process, or this one, has the region open; 0: an owner that was
    /// killed and is still being cleared away is waited for, and for a moment one that reads.
    uint64_t wait_ms;
    /// Must be 0.
    uint64_t reserved[3];
} pgs_options;

/// What the descriptor of a frame says: one descriptor a frame, whatever way the frame was reached.
typedef struct pgs_page_info {
    /// In: sizeof(pgs_page_info).
    size_t size;
    /// Number of the frame in this process.
    uint64_t pfn;
    /// Byte offset of the frame in the region.
    uint64_t offset;
    /// Changes whenever the bytes may have changed.
    uint64_t version;
    /// Pins of all holders.
    uint32_t pins;
    /// Shared latches.
    uint32_t shared;
    /// 1 while it is latched exclusively.
    uint32_t exclusive;
    /// 1 while bytes stored await a sync.
    uint32_t dirty;
    /// 1 after the page was cut off from its object.
    uint32_t detached;
    /// 1 after its medium failed.
    uint32_t poisoned;
    /// 0.
    uint64_t reserved[4];
} pgs_page_info;

/// One object, as pgs_list() shows it.
typedef struct pgs_entry {
    /// sizeof(pgs_entry) of the library: newer ones have more fields behind.
    size_t size;
    /// The object's name, valid during the call.
    const char *name;
    /// Its number: never used again in this region.
    uint64_t id;
    /// Its size in bytes.
    uint64_t bytes;
} pgs_entry;

/// What an open region is.
typedef struct pgs_store_info {
    /// In: sizeof(pgs_store_info).
    size_t size;
    /// Device of the region's file, as stat() says.
    uint64_t device;
    /// Inode of the region's file; both are 0 for anonymous memory.
    uint64_t inode;
    /// Bytes of the region now.
    uint64_t bytes;
    /// Number of its first frame in this process.
    uint64_t first_pfn;
    /// What syncs rely on: PGS_DURABILITY_*.
    uint32_t durability;
    /// 1 if that is an assumption of pgs_options and not what the medium says.
    uint32_t assumed;
    /// 1 if it is open read-only.
    uint32_t read_only;
    /// 1 after a failed commit: it must be closed and opened again.
    uint32_t poisoned;
    /// How the last owner's life ended, as this opening found it: PGS_ENDING_*.
    uint32_t ending;
    /// What that was told by: PGS_WHY_*.
    uint32_t why;
    /// Operations of the log that were replayed.
    uint64_t replayed;
    /// Operations that were found whole in the log and not replayed: nothing had made them durable.
    uint64_t dropped;
    /// 0.
    uint64_t reserved;
} pgs_store_info;

/// What a store has done since it was opened, and the table of descriptors that all stores of the process
/// share.
typedef struct pgs_counters {
    /// In: sizeof(pgs_counters).
    size_t size;
    /// Objects that have handles.
    uint64_t open_objects;
    /// Frames that have pins.
    uint64_t pinned_pages;
    /// Syncs that looked for something to do.
    uint64_t syncs;
    /// Records appended to the log.
    uint64_t log_records;
    /// Their bytes.
    uint64_t log_bytes;
    /// Marks made durable: each commits all records before it.
    uint64_t log_commits;
    /// Moves of the log's tail.
    uint64_t log_tail_moves;
    /// Records replayed when the store was opened.
    uint64_t log_recovered;
    /// Cache lines written back by a flush instruction.
    uint64_t lines_flushed;
    /// Cache lines written past the cache.
    uint64_t lines_streamed;
    /// Fences.
    uint64_t fences;
    /// fdatasync calls.
    uint64_t file_syncs;
    /// Ranges of the log written through (pwritev2 with RWF_DSYNC).
    uint64_t write_throughs;
    /// Process-wide: descriptors that fit the table.
    uint64_t table_frames;
    /// Process-wide: chunks of the table that have memory.
    uint64_t table_chunks;
    /// Process-wide: bytes of that memory.
    uint64_t table_bytes;
    /// Process-wide: descriptors made by a first touch.
    uint64_t table_first_touches;
    /// Process-wide: chunks whose memory was given back.
    uint64_t table_reclaims;
    /// Batches committed.
    uint64_t batches;
    /// What is to be freed and cannot be, since the medium is damaged there; pgs_check() names each.
    uint64_t set_aside;
    /// 0.
    uint64_t reserved[6];
} pgs_counters;

/// One defect of a region.
typedef struct pgs_finding {
    /// sizeof(pgs_finding) of the library: newer ones have more fields behind.
    size_t size;
    /// The kind of defect: a word that stays the same from release to release.
    const char *name;
    /// Where: byte offset in the region.
    uint64_t at;
    /// The particulars, for people.
    const char *detail;
} pgs_finding;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/// The library's version, in the form of PGS_VERSION.
uint32_t pgs_version(void);

/// Why the calling thread's last failed call failed: one line of UTF-8, never NULL, empty when none has
/// failed.
///
/// Valid until the next pgs_* call of this thread fails, or the thread ends. Calls that succeed keep it.
const char *pgs_message(void);

/// The name of a status code: "PGS_E_BUSY"; "errno" for a negated errno, "unknown" for anything else. Static.
const char *pgs_code_name(int code);

/// Opens the region in the file `path`, recovering what a crash left.
///
/// `options` may be NULL: an existing region, for reading and writing. An opening that changes nothing later
/// writes nothing. Opened twice at once, also by this process or through another path, the second is
/// PGS_E_IN_USE.
///
/// Errors: -ENOENT, -EACCES, ...; PGS_E_EXISTS; PGS_E_NOT_A_REGION; PGS_E_VERSION; PGS_E_FEATURES;
/// PGS_E_IN_USE; PGS_E_TOO_WEAK; PGS_E_NO_SPACE; PGS_E_OUT_OF_RANGE (an option).
///
/// Durability: a region that was created is durable before the call returns.
int pgs_open(const char *path, const struct pgs_options *options, struct pgs_store **store);

/// Opens an empty store of at most `max_bytes` bytes in anonymous memory; its durability is volatile.
///
/// Errors: PGS_E_NO_SPACE; PGS_E_OUT_OF_RANGE.
int pgs_open_memory(uint64_t max_bytes, struct pgs_store **store);

/// Syncs and closes the store; NULL is PGS_OK. After PGS_E_BUSY the store is open as before; after any other
/// answer the handle has ended, and a failed sync is told (what was not synced is what a crash would have
/// cost).
///
/// Errors: PGS_E_BUSY (objects or batches are open, pages pinned, or latches held).
///
/// Durability: everything written is durable when it returns PGS_OK.
int pgs_close(struct pgs_store *store);

/// Makes everything durable that was changed before the call: contents, sizes and names.
///
/// Errors: PGS_E_READ_ONLY never: there, it has nothing to do.
int pgs_store_sync(struct pgs_store *store);

/// Gives free space back to the file system; `bytes` (may be NULL) is how many. The file keeps its length and gets
/// holes; what is stored later takes its space from the disk again. Some of this happens by itself, where more
/// than 16 MiB and an eighth of the region is free.
///
/// Errors: PGS_E_READ_ONLY; -EOPNOTSUPP (a file system without holes).
///
/// Durability: names and sizes that were changed before are durable when it returns PGS_OK.
int pgs_compact(struct pgs_store *store,
                uint64_t *bytes);

/// Gives the object `from` the name `to`, at once for every caller. An object that was named `to` loses its
/// name, as by pgs_unlink(). Open handles stay with their object.
///
/// Errors: PGS_E_NOT_FOUND; PGS_E_BAD_NAME; PGS_E_READ_ONLY; PGS_E_NO_SPACE; PGS_E_NAME_COLLISION.
///
/// Durability: after pgs_store_sync(), or a sync of either object.
int pgs_rename(struct pgs_store *store, const char *from, const char *to);

/// Takes the name away. An object that is open stays usable through its handles, as in POSIX; its space is
/// free after the last pgs_object_close() and the last unpin.
///
/// Errors: PGS_E_NOT_FOUND; PGS_E_BAD_NAME; PGS_E_READ_ONLY.
///
/// Durability: after pgs_store_sync().
int pgs_unlink(struct pgs_store *store, const char *name);

/// Whether an object has this name (1 or 0), and its size in bytes (0 if there is none); `size` may be NULL.
///
/// Errors: PGS_E_BAD_NAME.
int pgs_exists(const struct pgs_store *store, const char *name, int *exists, uint64_t *size);

/// Opens the object `name`; `flags`: PGS_CREATE, PGS_EXCLUSIVE. Several handles on one object are one object.
///
/// Errors: PGS_E_NOT_FOUND; PGS_E_EXISTS; PGS_E_BAD_NAME; PGS_E_READ_ONLY (it would have to be created);
/// PGS_E_NO_SPACE; PGS_E_NAME_COLLISION.
///
/// Durability: a new name is durable after a sync of the object or of the store.
int pgs_object_open(struct pgs_store *store, const char *name, uint32_t flags, struct pgs_object **object);

/// Ends the handle. Syncs nothing, and leaves pins as they are. NULL, and what is no live handle of an object, is a
/// no-op.
void pgs_object_close(struct pgs_object *object);

/// Copies up to `len` bytes from `offset` to `buf`. `done` is how many: fewer than `len` only where the
/// object ends. What was never written reads as zeros. Each frame is copied under its latch: no torn page,
/// though a range of several pages is not one instant. `buf` lies in no region: what is stored there past the
/// library is lost by the next loss of power.
///
/// Errors: PGS_E_POISONED_FRAME.
int pgs_object_read(const struct pgs_object *object, uint64_t offset, void *buf, size_t len, size_t *done);

/// Copies `len` bytes from `buf` to `offset`: all of them, or an error. Past the end the object grows; a gap
/// reads as zeros. Every reader, every holder of a pin and every mapping sees the bytes at once. Never waits
/// for a pin. `buf` may lie in a pinned page, but not in one that the call changes.
///
/// Errors: PGS_E_NO_SPACE (bytes inside the old size may be new); PGS_E_READ_ONLY; PGS_E_OUT_OF_RANGE
/// (the object would be too large); PGS_E_POISONED_FRAME.
///
/// Durability: after pgs_object_sync(), or pgs_object_sync_range() of these bytes, or pgs_store_sync().
int pgs_object_write(struct pgs_object *object, uint64_t offset, const void *buf, size_t len);

/// Writes `len` bytes at the end, wherever that is at the moment; `offset` (may be NULL) tells where they
/// went. Appends of several threads never overlap. `buf` may lie in a pinned page, but not in one that the
/// call changes.
///
/// Errors and durability: as pgs_object_write().
int pgs_object_append(struct pgs_object *object, const void *buf, size_t len, uint64_t *offset);

/// The object's size in bytes.
int pgs_object_size(const struct pgs_object *object, uint64_t *size);

/// Makes the object `size` bytes long. Bytes cut off are gone: grown again, they read as zeros. A page that
/// is pinned keeps its bytes for the holders of its pins, and its frame is not used again until the last unpin.
///
/// Errors: PGS_E_READ_ONLY; PGS_E_OUT_OF_RANGE; PGS_E_NO_SPACE.
///
/// Durability: after pgs_object_sync() or pgs_store_sync().
int pgs_object_resize(struct pgs_object *object,
                      uint64_t size);

/// Gives every page that holds a byte of [offset, offset + len) a frame of its own, zeroed where it had none.
/// The size stays: writes there later cannot fail for want of space, and cost less to sync.
///
/// Errors: PGS_E_NO_SPACE (pages that got a frame keep it); PGS_E_READ_ONLY; PGS_E_OUT_OF_RANGE.
///
/// Durability: after pgs_object_sync() or pgs_store_sync().
int pgs_object_allocate(struct pgs_object *object, uint64_t offset, uint64_t len);

/// Makes [offset, offset + len) read as zeros and gives back the frames of whole pages in it. The size stays.
///
/// Errors: PGS_E_NO_SPACE (thousands of pages are pinned: some may be zeros already); PGS_E_READ_ONLY;
/// PGS_E_OUT_OF_RANGE.
///
/// Durability: after pgs_object_sync() or pgs_store_sync().
int pgs_object_punch(struct pgs_object *object, uint64_t offset, uint64_t len);

/// Makes durable what was written to the object, its size and its name before the call. Costs what is dirty,
/// not what is large.
int pgs_object_sync(struct pgs_object *object);

/// As pgs_object_sync(), for the bytes of [offset, offset + len) and everything needed to read them back. Bytes past
/// the end are none.
int pgs_object_sync_range(struct pgs_object *object,
                          uint64_t offset,
                          uint64_t len);

/// Begins an empty batch.
int pgs_batch_begin(struct pgs_store *store, struct pgs_batch **batch);

/// Stages `len` bytes from `buf` for `offset` of the object; what the batch had staged there is replaced. Past the end
/// the object will grow. `buf` is copied.
///
/// Errors: PGS_E_OUT_OF_RANGE (the object, or the batch, would be too large); PGS_E_INVALID (an object of another
/// store); -ENOMEM (no memory for the bytes). The batch is as before.
///
/// Durability: none before pgs_batch_commit().
int pgs_batch_write(struct pgs_batch *batch,
                    struct pgs_object *object,
                    uint64_t offset,
                    const void *buf,
                    size_t len);

/// Stages that the object is at least `size` bytes long; what no write covers will read as zeros.
///
/// Errors: PGS_E_INVALID (the object is longer already: a batch does not cut; or it is of another store);
/// PGS_E_OUT_OF_RANGE. The batch is as before.
///
/// Durability: none before pgs_batch_commit().
int pgs_batch_extend(struct pgs_batch *batch, struct pgs_object *object, uint64_t size);

/// Writes everything that is staged, all or nothing, whatever the moment of a crash; and ends the batch, whatever the
/// answer. Each page shows its old bytes or its new ones, never a mix. The calling thread holds no latch on a page of
/// the store.
///
/// Errors: PGS_E_NO_SPACE and PGS_E_OUT_OF_RANGE (more objects grow than a record of the log holds, 255 with the
/// usual log): nothing has changed; -ENOMEM (no memory for its pages): nor has it then; PGS_E_READ_ONLY. After
/// PGS_E_POISONED or another -errno what has changed is known only when the store is opened again.
///
/// Durability: all of it survives a loss of power when it returns PGS_OK.
int pgs_batch_commit(struct pgs_batch *batch);

/// Forgets everything that is staged, and ends the batch. NULL, and what is no live handle of a batch, is a no-op.
void pgs_batch_cancel(struct pgs_batch *batch);

/// Pins every frame that holds a byte of [offset, offset + len) and gives the address of the byte at
/// `offset`; `flags`: 0 or PGS_PIN_WRITE. The range is contiguous in memory, and PGS_PIN_SLACK bytes behind
/// it are readable.
///
/// A pin is no latch: others go on reading and writing the page, and the bytes show it at once. While pinned,
/// the address stays valid, and no frame is given to another page even if this one is cut off. Take a latch
/// (pgs_latch()) to read or store several bytes as one. Each pgs_pin() wants its own pgs_unpin(); the object
/// may be closed before.
///
/// Errors: PGS_E_PAST_END; PGS_E_HOLE (without PGS_PIN_WRITE); PGS_E_SCATTERED; PGS_E_TOO_MANY_PINS;
/// PGS_E_HELD; PGS_E_POISONED_FRAME; PGS_E_INVALID (`len` is 0); PGS_E_NO_SPACE and PGS_E_READ_ONLY
/// (PGS_PIN_WRITE). On an error nothing stays pinned; pages to which PGS_PIN_WRITE gave a frame keep it.
int pgs_pin(struct pgs_object *object, uint64_t offset, size_t len, uint32_t flags, void **address);

/// Drops one pin of every frame that holds a byte of [address, address + len): the `address` and `len` of the
/// pin. Any thread may drop it. Never waits.
///
/// Errors: PGS_E_INVALID (a frame has no pin: none is dropped, unless another thread unpins at the same time; of two
/// that drop one pin, one is told); PGS_E_FOREIGN.
int pgs_unpin(struct pgs_store *store,
              const void *address,
              size_t len);

/// Pins the frame with this number and gives the address of its first byte; dropped by
/// pgs_unpin(store, address, PGS_FRAME_SIZE).
///
/// Errors: PGS_E_FOREIGN (no frame of this store); PGS_E_TOO_MANY_PINS; PGS_E_HELD; PGS_E_DETACHED;
/// PGS_E_POISONED_FRAME.
int pgs_pin_frame(struct pgs_store *store, uint64_t pfn, void **address);

/// Pins every frame that holds a byte of [address, address + len), whichever way the address was
/// found: by another pin, an alias, a pfn. Dropped by pgs_unpin() of the same range. On an error nothing stays
/// pinned.
///
/// Errors: as pgs_pin_frame(), and PGS_E_INVALID (`len` is 0).
int pgs_pin_address(struct pgs_store *store,
                    const void *address,
                    size_t len);

/// Latches the frame that holds `address`, which the caller has pinned: PGS_LATCH_SHARED or
/// PGS_LATCH_EXCLUSIVE, with PGS_LATCH_TRY to not wait. Hold it briefly. Not recursive: a thread that holds
/// any latch on the frame and asks for an exclusive one, or writes it by pgs_object_write(), waits for
/// itself. While an exclusive latch is waited for, new shared ones wait behind it, for 50 ms at a time.
///
/// Errors: PGS_E_FOREIGN; PGS_E_INVALID (the frame is not pinned; an unknown mode); PGS_E_BUSY
/// (PGS_LATCH_TRY); shared: PGS_E_TOO_MANY_READERS (PGS_READERS_MAX have it); exclusive: PGS_E_READ_ONLY,
/// PGS_E_DETACHED (the page no longer belongs to its object; what would be stored is lost).
int pgs_latch(struct pgs_store *store, const void *address, uint32_t mode);

/// Gives back a latch that pgs_latch() took on this store: `mode` as taken, without PGS_LATCH_TRY, by the same
/// `address`. The caller stored to
/// the `dirty_len` bytes from `address + dirty_from`; 0 if it changed nothing, and for a shared latch. A
/// store to bytes not named may not become durable.
///
/// Errors: PGS_E_INVALID (pgs_latch() took no such latch, or it was given back; dirty bytes under a shared latch; an unknown mode);
/// PGS_E_FOREIGN; PGS_E_OUT_OF_RANGE (the dirty bytes leave the frame). The latch is still held then.
///
/// Durability: the bytes named are durable after the next sync of the object or of the store.
int pgs_unlatch(struct pgs_store *store,
                const void *address,
                uint32_t mode,
                size_t dirty_from,
                size_t dirty_len);

/// Latches every frame that holds a byte of [address, address + len), which the caller has pinned, in the order of their
/// addresses: `mode` as for pgs_latch(). On an error no latch is left.
///
/// Errors: as pgs_latch(), and PGS_E_INVALID (`len` is 0).
int pgs_latch_range(struct pgs_store *store,
                    const void *address,
                    size_t len,
                    uint32_t mode);

/// Gives back the latches on the frames of [address, address + len): `mode` as taken, without PGS_LATCH_TRY. The caller
/// stored to the `dirty_len` bytes from `address + dirty_from`; 0 if it changed nothing, and for shared latches. A
/// store to bytes not named may not become durable.
///
/// Errors: as pgs_unlatch(); PGS_E_OUT_OF_RANGE (the dirty bytes leave the range); PGS_E_INVALID (`len` is 0). The latches
/// are still held then, unless another thread gives them back at the same time.
///
/// Durability: as pgs_unlatch().
int pgs_unlatch_range(struct pgs_store *store,
                      const void *address,
                      size_t len,
                      uint32_t mode,
                      size_t dirty_from,
                      size_t dirty_len);

/// Looks at the descriptor of the frame that holds `address`, without touching it: no pin is needed, none is
/// taken, and a frame that was not used yet is all zero. A snapshot: it may be past when the call returns.
///
/// Set `info->size` before the call.
///
/// Errors: PGS_E_FOREIGN.
int pgs_peek(const struct pgs_store *store, const void *address, struct pgs_page_info *info);

/// Calls `visit` with each object whose name begins with `prefix` (NULL: with each that has a name), in the order of names,
/// until there are no more or `visit` returns anything but 0; `stopped` (may be NULL) tells what it returned last. `visit`
/// may call any function but pgs_close(); objects created or unlinked meanwhile may be missing or shown.
int pgs_list(const struct pgs_store *store,
             const char *prefix,
             int (*visit)(void *arg, const struct pgs_entry *entry),
             void *arg,
             int *stopped);

/// A PGS_WHY_* in words, in English; never NULL.
const char *pgs_why_text(uint32_t why);

/// What the store is. Set `info->size` before the call. Works on a poisoned store. PGS_E_TRUNCATED, once: the
/// file has been cut since the last look, and the store is poisoned from now on.
int pgs_info(const struct pgs_store *store, struct pgs_store_info *info);

/// Whether the store's file is still as long as it was: what a server asks before each piece of work, since a touch of a
/// page that has been cut off ends the process (SIGBUS). One system call. PGS_E_TRUNCATED, once: it has been cut since
/// the last look; PGS_E_POISONED from then on, and after a failed commit.
int pgs_check_length(const struct pgs_store *store);

/// Counts. Set `counters->size` before the call. Each number is right, all together are no instant.
int pgs_stats(const struct pgs_store *store, struct pgs_counters *counters);

/// Reads the whole region in the file `path`, changes nothing, and calls `visit` (may be NULL) with each
/// defect; what it is shown is valid during the call. Anything but 0 from `visit` ends that. `stopped` (may be
/// NULL) tells what `visit` returned last; it is written with PGS_E_CORRUPT too.
///
/// Errors: PGS_E_CORRUPT (there are defects; all were shown, unless `visit` ended that); those of pgs_open().
int pgs_check(const char *path,
              int (*visit)(void *arg, const struct pgs_finding *finding),
              void *arg,
              int *stopped);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* PAGESTONE_H */
