/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* File controls. Without an answer here, SQLite would do without or ask the built-in VFS. */
#include "internal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

/* The text after `key` in the options that SQLite was built with, or NULL. A library may be built without this
 * information. */
const char *pgsv_host_option(const char *key)
{
    const char *option;
    size_t length = strlen(key);
#ifndef SQLITE_CORE
    if (!sqlite3_api->compileoption_get) return NULL;
#endif
    for (int i = 0; (option = sqlite3_compileoption_get(i)) != NULL; i++)
        if (strncmp(option, key, length) == 0) return option + length;
    return NULL;
}

/* Whether SQLite reports how it was built. */
bool pgsv_host_tells(void)
{
    return pgsv_host_option("") != NULL;
}

/* The limit of SQLite itself, which a build option can change (SQLITE_MAX_MMAP_SIZE). */
static sqlite3_int64 fetch_ceiling(void)
{
    const char *value = pgsv_host_option("MAX_MMAP_SIZE=");
    return value ? strtoll(value, NULL, 0) : 0x7fff0000;
}

/* In: the new limit, or a negative number to ask. Out: the old limit. It does not change while pages are fetched. */
static int fetch_limit(struct file *file, sqlite3_int64 *limit)
{
    sqlite3_int64 wanted = *limit;
    *limit = file->fetch_limit;
    if (wanted >= 0 && wanted != file->fetch_limit && file->pins == 0) {
        sqlite3_int64 ceiling = fetch_ceiling();
        file->fetch_limit = wanted < ceiling ? wanted : ceiling;
    }
    return SQLITE_OK;
}

/* The database will grow to this length: allocates the frames for all of it at once, in one piece if possible. The size
 * stays. */
static int size_hint(struct file *file, sqlite3_int64 wanted)
{
    uint64_t size;
    /* A batch allocates the frames itself. Frames that were linked before it would first have to be made durable. */
    if (file->read_only || file->batch || !file->object || wanted <= 0) return SQLITE_OK;
    int code = pgs_object_size(file->object->handle, &size);
    if (code == PGS_OK && (uint64_t)wanted > size)
        code = pgs_object_allocate(file->object->handle, size, (uint64_t)wanted - size);
    return pgsv_status(file, code, SQLITE_IOERR_WRITE, "SQLITE_FCNTL_SIZE_HINT");
}

/* VACUUM announces by SQLITE_FCNTL_OVERWRITE that it overwrites the whole database. The space that it frees is returned
 * to the disk: in rollback mode when the journal is gone (SQLITE_FCNTL_COMMIT_PHASETWO), with a WAL when a checkpoint
 * has cut the database, and again when the WAL is emptied. A failure to return space is not an error: it stays free
 * space. */
enum { VACUUM_NONE, VACUUM_WRITTEN, VACUUM_CUT };

static bool has_wal(struct database *database)
{
    uint64_t bytes = 0;
    struct object *wal = &database->objects[SLOT_WAL];
    return atomic_load_explicit(&wal->state, memory_order_acquire) == OBJECT_OPEN &&
           pgs_object_size(wal->handle, &bytes) == PGS_OK && bytes > 0;
}

static void give_back(struct database *database, int from, int to)
{
    int state = atomic_load_explicit(&database->vacuum, memory_order_relaxed);
    if (state < from || !atomic_compare_exchange_strong(&database->vacuum, &state, to)) return;
    int code = pgs_compact(database->region->store, NULL);
    pgsv_failure(NULL, code, SQLITE_NOTICE, "VACUUM: the free space stays in the region");
}

/* The object in `slot` was cut, or a transaction has ended (SLOT_JOURNAL). */
void pgsv_space_freed(struct database *database, enum slot slot)
{
    int state = atomic_load_explicit(&database->vacuum, memory_order_relaxed);
    if (state == VACUUM_NONE || (slot != SLOT_WAL && has_wal(database) != (slot == SLOT_DB))) return;
    if (slot != SLOT_DB) give_back(database, VACUUM_WRITTEN, VACUUM_NONE);
    else if (state == VACUUM_WRITTEN) give_back(database, VACUUM_WRITTEN, VACUUM_CUT);
}

/* Called once per transaction. It requests no times, because they cost: see `length` in engine/src/region/claim.rs. */
static int has_moved(const struct file *file)
{
    struct statx found;
    if (!file->database || file->slot != SLOT_DB) return 0;
    return statx(AT_FDCWD, file->names[SLOT_DB], 0, STATX_INO, &found) != 0 ||
           makedev(found.stx_dev_major, found.stx_dev_minor) != file->path_device ||
           found.stx_ino != file->path_inode;
}

static int flag(bool *flag, int *argument)
{
    if (*argument < 0) *argument = *flag;
    else *flag = *argument != 0;
    return SQLITE_OK;
}

static int temporary_name(char **name)
{
    sqlite3_uint64 number;
    const char *directory = pgsv_environment("SQLITE_TMPDIR");
    if (!directory) directory = pgsv_environment("TMPDIR");
    sqlite3_randomness(sizeof number, &number);
    *name = sqlite3_mprintf("%s/etilqs_%llx", directory ? directory : "/var/tmp", number);
    return *name ? SQLITE_OK : SQLITE_NOMEM;
}

static bool asks_for_syncs(const char *value)
{
    static const char *const synced[] = {"1", "2", "3", "normal", "full", "extra", "on", "yes", "true"};
    for (size_t i = 0; i < sizeof synced / sizeof *synced; i++)
        if (sqlite3_stricmp(value, synced[i]) == 0) return true;
    return false;
}

/* Watches PRAGMA synchronous: see `unsynced` of a file. A value that is not known to mean syncs is treated as OFF.
 * SQLite refuses the change after BEGIN, but not while a statement writes, when the journal may already be in memory. A
 * ROLLBACK that keeps its lock is not reported to a VFS: after it the journal is assumed to exist until the next commit. */
static int synchronous(struct file *file, char **words)
{
    if (!words[2] || file->unsynced || asks_for_syncs(words[2])) return SQLITE_NOTFOUND;
    if (file->journaling) {
        words[0] = sqlite3_mprintf("Safety level may not be changed inside a transaction, nor after a ROLLBACK with "
                                   "locking_mode=EXCLUSIVE: commit something first");
        return SQLITE_ERROR;
    }
    file->unsynced = true;
    return SQLITE_NOTFOUND;
}

/* PRAGMA pagestone_stats: the counters of the region as words name=value, in one row. Another process cannot ask for
 * them while SQLite has the region open. */
static int statistics(struct file *file, char **answer)
{
    pgs_counters c = {.size = sizeof c};
    if (!file->database) return SQLITE_BUSY;
    int code = pgs_stats(file->database->region->store, &c);
    if (code != PGS_OK) return pgsv_status(file, code, SQLITE_ERROR, "PRAGMA pagestone_stats");
#define N(name) (sqlite3_uint64)c.name
    *answer = sqlite3_mprintf(
        "open_objects=%llu pinned_pages=%llu syncs=%llu log_records=%llu log_bytes=%llu log_commits=%llu log_tail_moves=%llu "
        "log_recovered=%llu set_aside=%llu batches=%llu lines_flushed=%llu lines_streamed=%llu fences=%llu file_syncs=%llu write_throughs=%llu "
        "table_frames=%llu table_chunks=%llu table_bytes=%llu table_first_touches=%llu table_reclaims=%llu",
        N(open_objects), N(pinned_pages), N(syncs), N(log_records), N(log_bytes), N(log_commits), N(log_tail_moves),
        N(log_recovered), N(set_aside), N(batches), N(lines_flushed), N(lines_streamed), N(fences), N(file_syncs), N(write_throughs),
        N(table_frames), N(table_chunks), N(table_bytes), N(table_first_touches), N(table_reclaims));
#undef N
    return *answer ? SQLITE_OK : SQLITE_NOMEM;
}

/* PRAGMA pagestone_error: the last failure and its reason, in one row. */
static int last_failure(char **answer)
{
    *answer = pgsv_last_failure();
    return *answer ? SQLITE_OK : SQLITE_NOMEM;
}

static int pragma(struct file *file, char **words)
{
    if (!words[1]) return SQLITE_NOTFOUND;
    if (sqlite3_stricmp(words[1], "synchronous") == 0) return synchronous(file, words);
    if (sqlite3_stricmp(words[1], "pagestone_stats") == 0) return statistics(file, &words[0]);
    if (sqlite3_stricmp(words[1], "pagestone_error") == 0) return last_failure(&words[0]);
    return SQLITE_NOTFOUND;
}

int pgsv_control(sqlite3_file *base, int operation, void *argument)
{
    struct file *file = FILE_OF(base);
    switch (operation) {
    case SQLITE_FCNTL_LOCKSTATE: *(int *)argument = file->lock; return SQLITE_OK;
    case SQLITE_FCNTL_LAST_ERRNO: *(int *)argument = file->last_errno; return SQLITE_OK;
    case SQLITE_FCNTL_CHUNK_SIZE: return SQLITE_OK; /* the region chooses its own steps */
    case SQLITE_FCNTL_SIZE_HINT: return size_hint(file, *(sqlite3_int64 *)argument);
    case SQLITE_FCNTL_PERSIST_WAL: return flag(&file->persist_wal, argument);
    case SQLITE_FCNTL_POWERSAFE_OVERWRITE: return flag(&file->powersafe, argument);
    case SQLITE_FCNTL_VFSNAME: *(char **)argument = sqlite3_mprintf("pagestone"); return SQLITE_OK;
    case SQLITE_FCNTL_TEMPFILENAME: return temporary_name(argument);
    case SQLITE_FCNTL_HAS_MOVED:
        /* SQLite asks this when it opens the journal; programs may ask at other times. */
        if (file->lock >= SQLITE_LOCK_RESERVED) file->journaling = true;
        *(int *)argument = has_moved(file);
        return SQLITE_OK;
    case SQLITE_FCNTL_MMAP_SIZE: return fetch_limit(file, argument);
    case SQLITE_FCNTL_OVERWRITE:
        if (file->database) atomic_store_explicit(&file->database->vacuum, VACUUM_WRITTEN, memory_order_relaxed);
        return SQLITE_OK;
    case SQLITE_FCNTL_COMMIT_PHASETWO:
        file->journaling = false;
        if (file->database) pgsv_space_freed(file->database, SLOT_JOURNAL);
        return SQLITE_OK;
    case SQLITE_FCNTL_BEGIN_ATOMIC_WRITE: return pgsv_batch_begin(file);
    case SQLITE_FCNTL_COMMIT_ATOMIC_WRITE: return pgsv_batch_commit(file);
    case SQLITE_FCNTL_ROLLBACK_ATOMIC_WRITE: return pgsv_batch_rollback(file);
    case SQLITE_FCNTL_PRAGMA: return pragma(file, argument);
    default: return SQLITE_NOTFOUND;
    }
}
