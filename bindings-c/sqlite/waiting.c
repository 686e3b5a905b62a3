/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The io methods of a database whose region another process has open.
 *
 * At an opening, SQLite does not tell a VFS how long to wait. It asks its busy handler only when a lock is refused. So the
 * file opens, its first lock opens the region, and the lock is busy until that succeeds. Without a lock SQLite reads only
 * the size and the head of the file, sees an empty file, and reads both again once it holds a lock.
 */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

static int waiting_lock(sqlite3_file *base, int level)
{
    struct file *file = FILE_OF(base);
    struct wanted *wanted = file->wanted;
    if (level == SQLITE_LOCK_NONE) return SQLITE_OK;
    int result = pgsv_open_place(file, &wanted->place, &wanted->wishes, wanted->flags);
    if (result != SQLITE_OK) return result;
    file->wanted = NULL;
    free(wanted);
    return base->pMethods->xLock(base, level);
}

static int waiting_close(sqlite3_file *base)
{
    free(FILE_OF(base)->wanted);
    base->pMethods = NULL;
    return SQLITE_OK;
}

static int waiting_read(sqlite3_file *base, void *buffer, int length, sqlite3_int64 offset)
{
    (void)base;
    (void)offset;
    memset(buffer, 0, (size_t)length);
    return SQLITE_IOERR_SHORT_READ;
}

static int waiting_write(sqlite3_file *base, const void *buffer, int length, sqlite3_int64 offset)
{
    (void)base;
    (void)buffer;
    (void)length;
    (void)offset;
    return pgsv_refuse(SQLITE_BUSY, "a write without a lock, while another process has the region");
}

static int waiting_truncate(sqlite3_file *base, sqlite3_int64 size)
{
    return waiting_write(base, NULL, 0, size);
}

static int waiting_sync(sqlite3_file *base, int flags)
{
    (void)base;
    (void)flags;
    return SQLITE_OK;
}

static int waiting_size(sqlite3_file *base, sqlite3_int64 *size)
{
    (void)base;
    *size = 0;
    return SQLITE_OK;
}

static int waiting_unlock(sqlite3_file *base, int level)
{
    (void)base;
    (void)level;
    return SQLITE_OK;
}

static int waiting_check_reserved(sqlite3_file *base, int *held)
{
    (void)base;
    *held = 0;
    return SQLITE_OK;
}

static int waiting_shm_map(sqlite3_file *base, int piece, int bytes, int extend, void volatile **address)
{
    (void)base;
    (void)piece;
    (void)bytes;
    (void)extend;
    *address = NULL;
    return SQLITE_BUSY;
}

static int waiting_shm_lock(sqlite3_file *base, int first, int count, int flags)
{
    (void)base;
    (void)first;
    (void)count;
    return flags & SQLITE_SHM_UNLOCK ? SQLITE_OK : SQLITE_BUSY;
}

static int waiting_shm_unmap(sqlite3_file *base, int delete_it)
{
    (void)base;
    (void)delete_it;
    return SQLITE_OK;
}

static int waiting_fetch(sqlite3_file *base, sqlite3_int64 offset, int length, void **page)
{
    (void)base;
    (void)offset;
    (void)length;
    *page = NULL;
    return SQLITE_OK;
}

static int waiting_unfetch(sqlite3_file *base, sqlite3_int64 offset, void *page)
{
    (void)base;
    (void)offset;
    (void)page;
    return SQLITE_OK;
}

const sqlite3_io_methods pgsv_waiting_methods = {
    .iVersion = 3,
    .xClose = waiting_close,
    .xRead = waiting_read,
    .xWrite = waiting_write,
    .xTruncate = waiting_truncate,
    .xSync = waiting_sync,
    .xFileSize = waiting_size,
    .xLock = waiting_lock,
    .xUnlock = waiting_unlock,
    .xCheckReservedLock = waiting_check_reserved,
    .xFileControl = pgsv_control,
    .xSectorSize = pgsv_sector_size,
    .xDeviceCharacteristics = pgsv_characteristics,
    .xShmMap = waiting_shm_map,
    .xShmLock = waiting_shm_lock,
    .xShmBarrier = pgsv_shm_barrier,
    .xShmUnmap = waiting_shm_unmap,
    .xFetch = waiting_fetch,
    .xUnfetch = waiting_unfetch,
};
