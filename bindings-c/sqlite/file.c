/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The io methods of an object. The handle stays the same while the file is open, so only xClose takes the registry, and
 * only a write of a batch allocates. On a parent's file in a forked child, the calls on the handles return the error.
 *
 * An object without a handle is the WAL of a read-only region that has no WAL. It is empty.
 */
#include "internal.h"

#include <assert.h>
#include <string.h>

/* A WAL grows in zeroed steps with frames. A step is one commit of sizes and maps; the appends within it are stores in
 * place, which publish nothing. SQLite's salts and checksums tell valid WAL frames from the zeros behind them. */
#define WAL_STEP ((uint64_t)256 * 1024)

static int grow_ahead(struct object *object, uint64_t end)
{
    uint64_t size;
    int code = pgs_object_size(object->handle, &size);
    if (code != PGS_OK) return code;
    if (end > size) {
        uint64_t target = (end + WAL_STEP - 1) / WAL_STEP * WAL_STEP;
        code = pgs_object_allocate(object->handle, size, target - size);
        if (code == PGS_OK) code = pgs_object_resize(object->handle, target);
        if (code == PGS_E_NO_SPACE || code == PGS_E_NO_ADDRESSES || code == PGS_E_OUT_OF_RANGE) return PGS_OK; /* the write itself may still fit */
        if (code != PGS_OK) return code;
        size = target;
    }
    atomic_store_explicit(&object->reached, size, memory_order_relaxed);
    return PGS_OK;
}

static int file_read(sqlite3_file *base, void *buffer, int length, sqlite3_int64 offset)
{
    struct file *file = FILE_OF(base);
    size_t done = 0;
    if (file->object->handle) {
        int code = pgs_object_read(file->object->handle, (uint64_t)offset, buffer, (size_t)length, &done);
        if (code != PGS_OK) return pgsv_status(file, code, SQLITE_IOERR_READ, "xRead");
    }
    if (done == (size_t)length) return SQLITE_OK;
    memset((char *)buffer + done, 0, (size_t)length - done);
    return SQLITE_IOERR_SHORT_READ;
}

static int file_write(sqlite3_file *base, const void *buffer, int length, sqlite3_int64 offset)
{
    struct file *file = FILE_OF(base);
    struct object *object = file->object;
    uint64_t end = (uint64_t)offset + (uint64_t)length;
    int code = PGS_OK;
    if (file->read_only) return SQLITE_READONLY;
    if (file->batch) return pgsv_batch_write(file, buffer, (size_t)length, (uint64_t)offset);
    if (file->journal_needed) {
        int result = pgsv_batch_replaced(file);
        if (result != SQLITE_OK) return result;
    }
    if (file->slot == SLOT_WAL && end > atomic_load_explicit(&object->reached, memory_order_relaxed))
        code = grow_ahead(object, end);
    if (code == PGS_OK) code = pgs_object_write(object->handle, (uint64_t)offset, buffer, (size_t)length);
    return pgsv_status(file, code, SQLITE_IOERR_WRITE, "xWrite");
}

static int file_truncate(sqlite3_file *base, sqlite3_int64 size)
{
    struct file *file = FILE_OF(base);
    if (file->read_only) return SQLITE_READONLY;
    /* Before the cut, so that a concurrent write checks the size again. */
    atomic_store_explicit(&file->object->reached, 0, memory_order_relaxed);
    int code = pgs_object_resize(file->object->handle, (uint64_t)size);
    if (code == PGS_OK && (file->slot == SLOT_DB || (file->slot == SLOT_WAL && size == 0)))
        pgsv_space_freed(file->database, file->slot);
    return pgsv_status(file, code, SQLITE_IOERR_TRUNCATE, "xTruncate");
}

static int file_sync(sqlite3_file *base, int flags)
{
    struct file *file = FILE_OF(base);
    (void)flags; /* sizes are always synced, too */
    if (!file->object->handle) return SQLITE_OK;
    atomic_store_explicit(&file->object->synced, true, memory_order_relaxed);
    return pgsv_status(file, pgs_object_sync(file->object->handle), SQLITE_IOERR_FSYNC, "xSync");
}

static int file_size(sqlite3_file *base, sqlite3_int64 *size)
{
    struct file *file = FILE_OF(base);
    uint64_t bytes = 0;
    if (file->object->handle) {
        int code = pgs_object_size(file->object->handle, &bytes);
        if (code != PGS_OK) return pgsv_status(file, code, SQLITE_IOERR_FSTAT, "xFileSize");
    }
    *size = (sqlite3_int64)bytes;
    return SQLITE_OK;
}

/* A fetch is a pin. If the pin fails for any reason, no page is returned, and SQLite reads instead. */
static int file_fetch(sqlite3_file *base, sqlite3_int64 offset, int length, void **page)
{
    struct file *file = FILE_OF(base);
    void *address;
    *page = NULL;
    if (offset < 0 || length <= 0 || length > file->fetch_limit || offset > file->fetch_limit - length) return SQLITE_OK;
    if (!file->object->handle || (file->pins > 0 && file->pin_length != length)) return SQLITE_OK;
    if (pgs_pin(file->object->handle, (uint64_t)offset, (size_t)length, 0, &address) != PGS_OK) return SQLITE_OK;
    file->pins++;
    file->pin_length = length;
    *page = address;
    return SQLITE_OK;
}

/* Without a page, SQLite asks to drop cached pages: there are none. */
static int file_unfetch(sqlite3_file *base, sqlite3_int64 offset, void *page)
{
    struct file *file = FILE_OF(base);
    (void)offset;
    if (!page) return SQLITE_OK;
    file->pins--;
    int code = pgs_unpin(file->database->region->store, page, (size_t)file->pin_length);
    return pgsv_status(file, code, SQLITE_IOERR_MMAP, "xUnfetch");
}

static int file_close(sqlite3_file *base)
{
    struct file *file = FILE_OF(base);
    int result = SQLITE_OK;
    base->pMethods = NULL;
    /* The file of a parent is not this process's to close, and threads that do not exist here may hold its locks. */
    if (pgsv_is_inherited(file)) return SQLITE_OK;
    assert(file->pins == 0);
    pgs_batch_cancel(file->batch);
    pgsv_shm_unmap(base, 0);
    pgsv_unlock(base, SQLITE_LOCK_NONE);
    if (file->delete_on_close && !file->read_only) result = file_truncate(base, 0);
    if (file->slot == SLOT_DB) pgsv_alias_remove(file);
    int closed = pgsv_database_put(file->database);
    return result == SQLITE_OK ? closed : result;
}

/* Without POWERSAFE_OVERWRITE, SQLite assumes that a write may disturb its whole frame. */
int pgsv_sector_size(sqlite3_file *base)
{
    (void)base;
    return PGS_FRAME_SIZE;
}

/* For each flag a test cuts the power and fails if the flag is false (README.md, "Device characteristics"). */
int pgsv_characteristics(sqlite3_file *base)
{
    const struct file *file = FILE_OF(base);
    int flags = 0;
    if (file->powersafe) flags |= SQLITE_IOCAP_POWERSAFE_OVERWRITE;
    if (file->slot == SLOT_DB && !file->read_only && !file->unsynced) flags |= SQLITE_IOCAP_BATCH_ATOMIC;
    return flags;
}

const sqlite3_io_methods pgsv_methods = {
    .iVersion = 3,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = pgsv_lock,
    .xUnlock = pgsv_unlock,
    .xCheckReservedLock = pgsv_check_reserved,
    .xFileControl = pgsv_control,
    .xSectorSize = pgsv_sector_size,
    .xDeviceCharacteristics = pgsv_characteristics,
    .xShmMap = pgsv_shm_map,
    .xShmLock = pgsv_shm_lock,
    .xShmBarrier = pgsv_shm_barrier,
    .xShmUnmap = pgsv_shm_unmap,
    .xFetch = file_fetch,
    .xUnfetch = file_unfetch,
};
