/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The VFS "liar": the VFS "pagestone" with one thing changed, so that a test of a claimed device property
 * can be seen to fail when the claim is false. The change is chosen per thread.
 */
#include "contract.h"

#include <stdlib.h>

enum lie {
    NOTHING,        /* the VFS as it is */
    NO_BATCH,       /* batches are not offered: SQLite keeps a journal */
    BATCH_IN_PLACE, /* a batch is not atomic: its writes are made in place, one by one */
    SECTORS,        /* no batches, and a write destroys the rest of its sector for a moment */
    SAFE_APPEND,    /* no batches, and SAFE_APPEND is claimed */
    NO_SYNC         /* no batches, and a sync does nothing */
};

static _Thread_local enum lie lie;
static sqlite3_vfs liar;
static sqlite3_vfs *honest;
static const sqlite3_io_methods *true_methods;
static sqlite3_io_methods methods;

static int control(sqlite3_file *file, int operation, void *argument)
{
    bool batch = operation == SQLITE_FCNTL_BEGIN_ATOMIC_WRITE || operation == SQLITE_FCNTL_COMMIT_ATOMIC_WRITE;
    if (lie == BATCH_IN_PLACE && batch) return SQLITE_OK;
    return true_methods->xFileControl(file, operation, argument);
}

static int characteristics(sqlite3_file *file)
{
    int flags = true_methods->xDeviceCharacteristics(file);
    if (lie != NOTHING && lie != BATCH_IN_PLACE) flags &= ~SQLITE_IOCAP_BATCH_ATOMIC;
    return lie == SAFE_APPEND ? flags | SQLITE_IOCAP_SAFE_APPEND : flags;
}

/* The sector with the first byte is first zeroed, then written. */
static int write_by_sectors(sqlite3_file *file, const void *bytes, int length, sqlite3_int64 offset)
{
    static const unsigned char zeros[4096];
    unsigned char sector[4096];
    sqlite3_int64 start = offset / 4096 * 4096, size;
    int result = true_methods->xFileSize(file, &size);
    int old = size - start < 4096 ? (int)(size - start) : 4096;
    if (result != SQLITE_OK || old <= 0) return true_methods->xWrite(file, bytes, length, offset);
    if (result == SQLITE_OK) result = true_methods->xRead(file, sector, old, start);
    if (result == SQLITE_OK) result = true_methods->xWrite(file, zeros, old, start);
    if (result == SQLITE_OK) result = true_methods->xWrite(file, sector, old, start);
    return result == SQLITE_OK ? true_methods->xWrite(file, bytes, length, offset) : result;
}

static int write_bytes(sqlite3_file *file, const void *bytes, int length, sqlite3_int64 offset)
{
    if (lie == SECTORS) return write_by_sectors(file, bytes, length, offset);
    return true_methods->xWrite(file, bytes, length, offset);
}

static int synchronize(sqlite3_file *file, int flags)
{
    return lie == NO_SYNC ? SQLITE_OK : true_methods->xSync(file, flags);
}

static int open_file(sqlite3_vfs *self, const char *path, sqlite3_file *file, int flags, int *out_flags)
{
    (void)self;
    int result = honest->xOpen(honest, path, file, flags, out_flags);
    if (file->pMethods == true_methods) file->pMethods = &methods;
    return result;
}

/* Files of another VFS are left alone. Ours are recognized by the methods of a database in `directory`. */
int pagestone_vfs_contract_register_liar(const char *directory)
{
    struct opened sample;
    if (honest) return SQLITE_OK;
    honest = contract_vfs();
    int result = contract_open_main(&sample, directory, "sample.db");
    if (result != SQLITE_OK) return result;
    true_methods = sample.file->pMethods;
    contract_close(&sample);
    methods = *true_methods;
    methods.xFileControl = control;
    methods.xDeviceCharacteristics = characteristics;
    methods.xWrite = write_bytes;
    methods.xSync = synchronize;
    liar = *honest;
    liar.pNext = NULL;
    liar.zName = "liar";
    liar.xOpen = open_file;
    return sqlite3_vfs_register(&liar, 0);
}

void pagestone_vfs_contract_lie(int number)
{
    lie = (enum lie)number;
}
