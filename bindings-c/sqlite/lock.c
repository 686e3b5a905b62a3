/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The five database locks. One process owns the region, so they are plain memory of the database.
 *
 *   NONE -> SHARED -> RESERVED -> (PENDING) -> EXCLUSIVE       SHARED -> EXCLUSIVE is a hot journal's rollback
 *
 * At most one file is `reserved`, `pending` or `exclusive`. A file with a higher lock also counts in `shared`.
 * PENDING keeps new readers out while the old ones leave. So a writer whose EXCLUSIVE is refused stays PENDING. But the
 * rollback of a hot journal stays SHARED: if it held more, a connection that finds the journal would take it for the
 * journal of a running transaction, and would read the database without a rollback.
 */
#include "internal.h"

static bool free_for(const struct file *holder, const struct file *file)
{
    return !holder || holder == file;
}

static int raise_to_exclusive(struct database *database, struct file *file)
{
    if (!free_for(database->reserved, file) || !free_for(database->pending, file)) return SQLITE_BUSY;
    if (file->lock >= SQLITE_LOCK_RESERVED) {
        database->pending = file;
        file->lock = SQLITE_LOCK_PENDING;
    }
    if (database->shared > 1) return SQLITE_BUSY;
    database->exclusive = file;
    file->lock = SQLITE_LOCK_EXCLUSIVE;
    return SQLITE_OK;
}

static int raise(struct database *database, struct file *file, int level)
{
    if (level == SQLITE_LOCK_EXCLUSIVE) return raise_to_exclusive(database, file);
    if (database->pending || database->exclusive) return SQLITE_BUSY;
    if (level == SQLITE_LOCK_SHARED) {
        database->shared++;
    } else {
        if (database->reserved) return SQLITE_BUSY;
        database->reserved = file;
    }
    file->lock = level;
    return SQLITE_OK;
}

/* Checks that the region's file was not cut. A page that was cut off must not be read, even if its place is still known.
 * A region whose file was found cut is poisoned from then on. */
int pgsv_still_whole(struct file *file, int error, const char *call)
{
    int code = pgs_check_length(file->database->region->store);
    if (code == PGS_OK) return SQLITE_OK;
    if (code == PGS_E_POISONED) return pgsv_refuse(error, "the region failed before: close all its databases");
    return pgsv_status(file, code, error, call);
}

int pgsv_refuse_inherited(int result)
{
    return pgsv_refuse(result, "this connection was opened before a fork, by the parent: open one of this process's own");
}

int pgsv_lock(sqlite3_file *base, int level)
{
    struct file *file = FILE_OF(base);
    /* Also for a lock that the parent already has: with an EXCLUSIVE lock SQLite would remove a WAL by its path, where
     * this process may have one. */
    if (pgsv_is_inherited(file)) return pgsv_refuse_inherited(SQLITE_IOERR_LOCK);
    if (level <= file->lock) return SQLITE_OK;
    if (level == SQLITE_LOCK_SHARED) {
        int result = pgsv_still_whole(file, SQLITE_IOERR_LOCK, "xLock");
        if (result != SQLITE_OK) return result;
    }
    pthread_mutex_lock(&file->database->mutex);
    int result = raise(file->database, file, level);
    pthread_mutex_unlock(&file->database->mutex);
    return result;
}

int pgsv_unlock(sqlite3_file *base, int level)
{
    struct file *file = FILE_OF(base);
    struct database *database = file->database;
    if (level >= file->lock) return SQLITE_OK;
    file->journaling = false;
    if (pgsv_is_inherited(file)) {
        file->lock = level;
        return SQLITE_OK;
    }
    pthread_mutex_lock(&database->mutex);
    if (database->exclusive == file) database->exclusive = NULL;
    if (database->pending == file) database->pending = NULL;
    if (database->reserved == file) database->reserved = NULL;
    if (level == SQLITE_LOCK_NONE) database->shared--;
    file->lock = level;
    pthread_mutex_unlock(&database->mutex);
    return SQLITE_OK;
}

int pgsv_check_reserved(sqlite3_file *base, int *held)
{
    struct database *database = FILE_OF(base)->database;
    *held = 0;
    if (pgsv_is_inherited(FILE_OF(base))) return pgsv_refuse_inherited(SQLITE_IOERR_CHECKRESERVEDLOCK);
    pthread_mutex_lock(&database->mutex);
    *held = database->reserved || database->pending || database->exclusive;
    pthread_mutex_unlock(&database->mutex);
    return SQLITE_OK;
}
