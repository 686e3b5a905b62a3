/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The WAL index: pieces of zeroed heap memory and eight locks. No other process can see the database, and SQLite rebuilds
 * the index from the WAL, so it need not outlive the process and is not stored in an object.
 */
#include "internal.h"

#include <stdlib.h>

/* Appends zeroed pieces up to `piece`. Pieces never move, because SQLite keeps their addresses. It does not use
 * sqlite3_malloc(): SQLite's memory limits do not count a mapped file, which this memory replaces. */
static int extend_to(struct database *database, int piece, int bytes)
{
    if (piece < database->piece_count) return SQLITE_OK;
    void **grown = realloc(database->pieces, ((size_t)piece + 1) * sizeof *grown);
    if (!grown) return SQLITE_IOERR_NOMEM;
    database->pieces = grown;
    while (database->piece_count <= piece) {
        void *memory = calloc(1, (size_t)bytes);
        if (!memory) return SQLITE_IOERR_NOMEM;
        grown[database->piece_count++] = memory;
    }
    return SQLITE_OK;
}

int pgsv_shm_map(sqlite3_file *base, int piece, int bytes, int extend, void volatile **address)
{
    struct file *file = FILE_OF(base);
    struct database *database = file->database;
    int result = SQLITE_OK;
    *address = NULL;
    if (pgsv_is_inherited(file)) return pgsv_refuse_inherited(SQLITE_IOERR_SHMMAP);
    pthread_mutex_lock(&database->mutex);
    if (!file->index_used) {
        file->index_used = true;
        database->index_users++;
    }
    if (extend) result = extend_to(database, piece, bytes);
    if (result == SQLITE_OK && piece < database->piece_count) *address = database->pieces[piece];
    pthread_mutex_unlock(&database->mutex);
    return result;
}

static bool grantable(const struct database *database, const struct file *file, int lock, bool exclusive)
{
    if (database->index_exclusive[lock] && database->index_exclusive[lock] != file) return false;
    int own = (file->index_shared >> lock) & 1;
    return !exclusive || database->index_shared[lock] == own;
}

static void take(struct database *database, struct file *file, int lock, bool exclusive)
{
    unsigned bit = 1u << lock;
    if (exclusive) {
        database->index_exclusive[lock] = file;
        file->index_exclusive |= bit;
    } else if (!(file->index_shared & bit)) {
        database->index_shared[lock]++;
        file->index_shared |= bit;
    }
}

static void give_back(struct database *database, struct file *file, int lock, bool exclusive)
{
    unsigned bit = 1u << lock;
    if (exclusive && (file->index_exclusive & bit)) {
        database->index_exclusive[lock] = NULL;
        file->index_exclusive &= ~bit;
    } else if (!exclusive && (file->index_shared & bit)) {
        database->index_shared[lock]--;
        file->index_shared &= ~bit;
    }
}

/* Takes all locks of the run, or none. */
int pgsv_shm_lock(sqlite3_file *base, int first, int count, int flags)
{
    struct file *file = FILE_OF(base);
    struct database *database = file->database;
    bool exclusive = (flags & SQLITE_SHM_EXCLUSIVE) != 0;
    int result = SQLITE_OK;
    if (first < 0 || count < 1 || first + count > SHM_LOCKS) return SQLITE_IOERR_SHMLOCK;
    if (pgsv_is_inherited(file)) return flags & SQLITE_SHM_UNLOCK ? SQLITE_OK : pgsv_refuse_inherited(SQLITE_IOERR_SHMLOCK);
    if (flags & SQLITE_SHM_LOCK) {
        /* In WAL mode a transaction begins here, because the database's own lock stays SHARED. */
        result = pgsv_still_whole(file, SQLITE_IOERR_SHMLOCK, "xShmLock");
        if (result != SQLITE_OK) return result;
    }
    pthread_mutex_lock(&database->mutex);
    if (flags & SQLITE_SHM_UNLOCK) {
        for (int lock = first; lock < first + count; lock++) give_back(database, file, lock, exclusive);
    } else {
        for (int lock = first; lock < first + count; lock++)
            if (!grantable(database, file, lock, exclusive)) result = SQLITE_BUSY;
        if (result == SQLITE_OK)
            for (int lock = first; lock < first + count; lock++) take(database, file, lock, exclusive);
    }
    pthread_mutex_unlock(&database->mutex);
    return result;
}

void pgsv_shm_barrier(sqlite3_file *base)
{
    (void)base;
    atomic_thread_fence(memory_order_seq_cst);
}

int pgsv_shm_unmap(sqlite3_file *base, int delete_it)
{
    struct file *file = FILE_OF(base);
    struct database *database = file->database;
    (void)delete_it; /* it is deleted when its last user leaves */
    if (!file->index_used || pgsv_is_inherited(file)) return SQLITE_OK;
    pthread_mutex_lock(&database->mutex);
    for (int lock = 0; lock < SHM_LOCKS; lock++) {
        give_back(database, file, lock, true);
        give_back(database, file, lock, false);
    }
    file->index_used = false;
    if (--database->index_users == 0) {
        while (database->piece_count > 0) free(database->pieces[--database->piece_count]);
        free(database->pieces);
        database->pieces = NULL;
    }
    pthread_mutex_unlock(&database->mutex);
    return SQLITE_OK;
}
