/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The VFS "pagestone": main databases, their journals and their WALs are objects of regions. Everything else, nameless
 * files and super-journals first of all, belongs to the VFS that was the default when this one was registered.
 */
#define PAGESTONE_VFS_ENTRY
#include "internal.h"
#ifndef SQLITE_CORE
SQLITE_EXTENSION_INIT1
#endif
#include "pagestone_vfs.h"

#include <errno.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

/* sqlite3_uri_parameter() needs names as this release lays them out. */
#define OLDEST_SQLITE 3031000

sqlite3_vfs *pgsv_default;
static sqlite3_vfs vfs;

/* ---- journals and WALs ---- */

/* "x-journal" and "x-wal" are asked for by path: the length of "x", or 0. */
static size_t split(const char *path, enum slot *slot)
{
    size_t length = strlen(path);
    if (length > 8 && memcmp(path + length - 8, "-journal", 8) == 0) {
        *slot = SLOT_JOURNAL;
        return length - 8;
    }
    if (length > 4 && memcmp(path + length - 4, "-wal", 4) == 0) {
        *slot = SLOT_WAL;
        return length - 4;
    }
    return 0;
}

/* The database whose journal or WAL has this path, to be put back; NULL if it is none of ours: beside nothing, or beside
 * an ordinary database. Opens the region if nobody has it open: after a crash SQLite asks for the journals of databases
 * that it was never told to open. A file that should be a region and cannot be opened is an error, also when it has lost
 * its head: its journal may be in it. */
static int companion(const char *path, enum slot *slot, struct database **database)
{
    char main_path[PATH_MAX];
    struct wishes wishes;
    struct place place;
    *database = NULL;
    size_t length = split(path, slot);
    if (length == 0 || length >= sizeof main_path) return SQLITE_OK;
    if ((*database = pgsv_alias_find(path, length, path)) != NULL) {
        (*database)->refs++;
        return SQLITE_OK;
    }
    memcpy(main_path, path, length);
    main_path[length] = 0;
    int result = pgsv_wishes(NULL, &wishes);
    if (result == SQLITE_OK) result = pgsv_locate(main_path, SQLITE_OPEN_READWRITE, &wishes, &place);
    if (result != SQLITE_OK || place.kind != PLACE_REGION || place.create) return result;
    result = pgsv_database_get(&place, SQLITE_OPEN_READWRITE, &wishes, database);
    return result == SQLITE_NOTADB ? SQLITE_IOERR : result;
}

static int vfs_access(sqlite3_vfs *self, const char *path, int flags, int *answer)
{
    struct database *database = NULL;
    enum slot slot;
    bool exists = false;
    (void)self;
    pthread_mutex_lock(&pgsv_registry);
    int result = companion(path, &slot, &database);
    if (database) {
        result = pgsv_object_exists(database, slot, &exists);
        int closed = pgsv_database_put(database);
        if (result == SQLITE_OK) result = closed;
    }
    pthread_mutex_unlock(&pgsv_registry);
    /* Not "absent": SQLite would take the other half of a transaction for committed. */
    if (result != SQLITE_OK) return SQLITE_IOERR_ACCESS;
    if (!database) return pgsv_default->xAccess(pgsv_default, path, flags, answer);
    *answer = exists;
    return SQLITE_OK;
}

/* Empties the object and keeps it: empty, it does not exist for SQLite, and the next transaction needs it again. The
 * registry is free meanwhile: the cut of a large journal takes its time, and a sync too.
 *
 * A journal that was synced is of a transaction that is to be durable, and this is its commit. SQLite asks for a sync
 * only with synchronous=EXTRA, because a directory is dear to sync; here it is one write of the log, and without it the
 * journal would be back after a power loss, and in a copy of the file. */
static int empty(struct object *object, bool sync)
{
    atomic_store_explicit(&object->reached, 0, memory_order_relaxed);
    if (atomic_exchange_explicit(&object->synced, false, memory_order_relaxed)) sync = true;
    int code = pgs_object_resize(object->handle, 0);
    if (code == PGS_OK && sync) code = pgs_object_sync(object->handle);
    return pgsv_status(NULL, code, SQLITE_IOERR_DELETE, "xDelete");
}

static int vfs_delete(sqlite3_vfs *self, const char *path, int sync_directory)
{
    struct database *database = NULL;
    enum slot slot;
    bool exists = false;
    (void)self;
    pthread_mutex_lock(&pgsv_registry);
    int result = companion(path, &slot, &database);
    if (database) result = pgsv_object_exists(database, slot, &exists);
    pthread_mutex_unlock(&pgsv_registry);
    if (result != SQLITE_OK) result = SQLITE_IOERR_DELETE;
    if (!database)
        return result == SQLITE_OK ? pgsv_default->xDelete(pgsv_default, path, sync_directory) : result;
    if (result == SQLITE_OK)
        result = exists ? empty(&database->objects[slot], sync_directory) : SQLITE_IOERR_DELETE_NOENT;
    pthread_mutex_lock(&pgsv_registry);
    int closed = pgsv_database_put(database);
    pthread_mutex_unlock(&pgsv_registry);
    return result == SQLITE_OK ? closed : result;
}

/* A WAL that a read-only region lacks is opened all the same, as an empty one: nobody can write it meanwhile. */
static int prepare_companion(struct database *database, enum slot slot, int flags)
{
    bool exists;
    if (database->region->read_only && slot == SLOT_WAL) return pgsv_object_look(database, slot, false);
    if (!database->region->read_only && (flags & SQLITE_OPEN_CREATE)) return pgsv_object_look(database, slot, true);
    int result = pgsv_object_exists(database, slot, &exists);
    return result == SQLITE_OK && !exists ? SQLITE_CANTOPEN : result;
}

static void fill(struct file *file, struct database *database, enum slot slot, int flags, int *out_flags)
{
    memset(file, 0, sizeof *file);
    file->database = database;
    file->object = &database->objects[slot];
    file->slot = slot;
    file->powersafe = true;
    const char *synchronous = pgsv_host_option("DEFAULT_SYNCHRONOUS=");
    file->unsynced = !pgsv_host_tells() || (synchronous && *synchronous == '0');
    file->read_only = database->region->read_only || !(flags & SQLITE_OPEN_READWRITE);
    file->delete_on_close = slot != SLOT_DB && (flags & SQLITE_OPEN_DELETEONCLOSE);
    if (file->read_only) flags = (flags & ~(SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE)) | SQLITE_OPEN_READONLY;
    if (out_flags) *out_flags = flags;
}

static int open_companion(const char *path, sqlite3_file *base, int flags, int *out_flags)
{
    struct database *database = NULL;
    enum slot slot;
    pthread_mutex_lock(&pgsv_registry);
    int result = companion(path, &slot, &database);
    if (database) {
        result = prepare_companion(database, slot, flags);
        if (result == SQLITE_OK) {
            fill(FILE_OF(base), database, slot, flags, out_flags);
            base->pMethods = &pgsv_methods;
        } else {
            pgsv_database_put(database);
        }
    }
    pthread_mutex_unlock(&pgsv_registry);
    if (!database && result == SQLITE_OK) return pgsv_default->xOpen(pgsv_default, path, base, flags, out_flags);
    return result;
}

/* ---- main databases ---- */

static int refuse_foreign(const char *path)
{
    return pgsv_refuse(SQLITE_NOTADB,
                       "%s is an ordinary SQLite database and no Pagestone region. Make a region of it: "
                       "pagestone import %s %s.pgs",
                       path, path, path);
}

static int open_place(const char *path, const struct place *place, const struct wishes *wishes, struct file *file,
                      int flags, int *out_flags)
{
    struct database *database;
    struct stat status = {0};
    int result = pgsv_database_get(place, flags, wishes, &database);
    if (result != SQLITE_OK) return result;
    result = pgsv_object_look(database, SLOT_DB, !database->region->read_only);
    if (result == SQLITE_OK && place->needs_link && !database->region->read_only) result = pgsv_link(path, place);
    if (result == SQLITE_OK) {
        fill(file, database, SLOT_DB, flags, out_flags);
        file->given_name = path;
        if (stat(path, &status) == 0) {
            file->path_device = status.st_dev;
            file->path_inode = status.st_ino;
        }
        result = pgsv_alias_add(file, path);
    }
    if (result != SQLITE_OK) pgsv_database_put(database);
    return result;
}

static int open_main(const char *path, sqlite3_file *base, int flags, int *out_flags)
{
    const char *uri_name = flags & SQLITE_OPEN_URI ? path : NULL;
    struct wishes wishes;
    struct place place;
    pthread_mutex_lock(&pgsv_registry);
    int result = pgsv_wishes(uri_name, &wishes);
    if (result == SQLITE_OK) result = pgsv_locate(path, flags, &wishes, &place);
    if (result == SQLITE_OK && place.kind == PLACE_FOREIGN && !wishes.pass_foreign) result = refuse_foreign(path);
    if (result == SQLITE_OK && place.kind == PLACE_REGION)
        result = open_place(path, &place, &wishes, FILE_OF(base), flags, out_flags);
    pthread_mutex_unlock(&pgsv_registry);
    if (result != SQLITE_OK) return result;
    if (place.kind != PLACE_REGION) return pgsv_default->xOpen(pgsv_default, path, base, flags, out_flags);
    if (uri_name) FILE_OF(base)->powersafe = sqlite3_uri_boolean(uri_name, "psow", 1);
    base->pMethods = &pgsv_methods;
    return SQLITE_OK;
}

/* The kind of the file is in the flags. One exception: to learn whether a super-journal is still needed, SQLite opens
 * the journals it lists as if they were super-journals; super-journals themselves end otherwise. */
static int vfs_open(sqlite3_vfs *self, const char *path, sqlite3_file *base, int flags, int *out_flags)
{
    const int ours = SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_WAL | SQLITE_OPEN_SUPER_JOURNAL;
    (void)self;
    base->pMethods = NULL;
    if (path && *path && (flags & SQLITE_OPEN_MAIN_DB)) return open_main(path, base, flags, out_flags);
    if (path && *path && (flags & ours)) return open_companion(path, base, flags, out_flags);
    return pgsv_default->xOpen(pgsv_default, path, base, flags, out_flags);
}

/* ---- delegation ---- */

static int vfs_full_pathname(sqlite3_vfs *self, const char *path, int length, char *out)
{
    (void)self;
    return pgsv_default->xFullPathname(pgsv_default, path, length, out);
}

static void *vfs_dl_open(sqlite3_vfs *self, const char *path)
{
    (void)self;
    return pgsv_default->xDlOpen(pgsv_default, path);
}

static void vfs_dl_error(sqlite3_vfs *self, int length, char *message)
{
    (void)self;
    pgsv_default->xDlError(pgsv_default, length, message);
}

static void (*vfs_dl_sym(sqlite3_vfs *self, void *library, const char *symbol))(void)
{
    (void)self;
    return pgsv_default->xDlSym(pgsv_default, library, symbol);
}

static void vfs_dl_close(sqlite3_vfs *self, void *library)
{
    (void)self;
    pgsv_default->xDlClose(pgsv_default, library);
}

static int vfs_randomness(sqlite3_vfs *self, int length, char *out)
{
    (void)self;
    return pgsv_default->xRandomness(pgsv_default, length, out);
}

static int vfs_sleep(sqlite3_vfs *self, int microseconds)
{
    (void)self;
    return pgsv_default->xSleep(pgsv_default, microseconds);
}

static int vfs_current_time(sqlite3_vfs *self, double *now)
{
    (void)self;
    return pgsv_default->xCurrentTime(pgsv_default, now);
}

static int vfs_last_error(sqlite3_vfs *self, int length, char *message)
{
    (void)self;
    return pgsv_default->xGetLastError ? pgsv_default->xGetLastError(pgsv_default, length, message) : errno;
}

static int vfs_current_time_int64(sqlite3_vfs *self, sqlite3_int64 *now)
{
    (void)self;
    return pgsv_default->xCurrentTimeInt64(pgsv_default, now);
}

static int vfs_set_system_call(sqlite3_vfs *self, const char *name, sqlite3_syscall_ptr call)
{
    (void)self;
    return pgsv_default->xSetSystemCall(pgsv_default, name, call);
}

static sqlite3_syscall_ptr vfs_get_system_call(sqlite3_vfs *self, const char *name)
{
    (void)self;
    return pgsv_default->xGetSystemCall(pgsv_default, name);
}

static const char *vfs_next_system_call(sqlite3_vfs *self, const char *name)
{
    (void)self;
    return pgsv_default->xNextSystemCall(pgsv_default, name);
}

/* ---- registration ---- */

static void fill_vfs(const sqlite3_vfs *below)
{
    bool clock = below->iVersion >= 2 && below->xCurrentTimeInt64;
    bool calls = below->iVersion >= 3 && below->xSetSystemCall && below->xGetSystemCall && below->xNextSystemCall;
    vfs = (sqlite3_vfs){
        .iVersion = calls ? 3 : clock ? 2 : 1,
        .szOsFile = below->szOsFile > (int)sizeof(struct file) ? below->szOsFile : (int)sizeof(struct file),
        .mxPathname = below->mxPathname,
        .zName = "pagestone",
        .xOpen = vfs_open,
        .xDelete = vfs_delete,
        .xAccess = vfs_access,
        .xFullPathname = vfs_full_pathname,
        .xDlOpen = vfs_dl_open,
        .xDlError = vfs_dl_error,
        .xDlSym = vfs_dl_sym,
        .xDlClose = vfs_dl_close,
        .xRandomness = vfs_randomness,
        .xSleep = vfs_sleep,
        .xCurrentTime = vfs_current_time,
        .xGetLastError = vfs_last_error,
        .xCurrentTimeInt64 = clock ? vfs_current_time_int64 : NULL,
        .xSetSystemCall = vfs_set_system_call,
        .xGetSystemCall = vfs_get_system_call,
        .xNextSystemCall = vfs_next_system_call,
    };
}

/* Another thread may have held the registry, and is not there in the child to give it back. */
static void in_child(void)
{
    pthread_mutex_init(&pgsv_registry, NULL);
}

/* Nothing fails without it: SQLite then never asks for a batch. */
static void tell_what_host_lacks(void)
{
    if (pgsv_host_tells() && !pgsv_host_option("ENABLE_BATCH_ATOMIC_WRITE"))
        sqlite3_log(SQLITE_NOTICE, "pagestone: this SQLite was built without SQLITE_ENABLE_BATCH_ATOMIC_WRITE: commits "
                                   "in rollback mode write a journal and sync three times, not once");
}

static int register_vfs(int make_default)
{
    if (sqlite3_libversion_number() < OLDEST_SQLITE) return SQLITE_ERROR;
    if (!pgsv_default) {
        sqlite3_vfs *below = sqlite3_vfs_find(NULL);
        if (!below || pthread_atfork(NULL, NULL, in_child) != 0) return SQLITE_ERROR;
        fill_vfs(below);
        pgsv_default = below;
        tell_what_host_lacks();
    }
    return sqlite3_vfs_register(&vfs, make_default);
}

#ifdef SQLITE_CORE

EXPORT int pagestone_vfs_register(int make_default)
{
    return register_vfs(make_default);
}

#else

/* Loaded for good: SQLite keeps pointers into this code after the connection that loaded it has closed. */
EXPORT int sqlite3_pagestonevfs_init(sqlite3 *connection, char **message, const sqlite3_api_routines *api);
EXPORT int sqlite3_pagestonevfs_init(sqlite3 *connection, char **message, const sqlite3_api_routines *api)
{
    (void)connection;
    SQLITE_EXTENSION_INIT2(api);
    int result = register_vfs(0);
    if (result == SQLITE_OK) return SQLITE_OK_LOAD_PERMANENTLY;
    *message = sqlite3_mprintf("the VFS pagestone needs SQLite 3.31 or newer");
    return result;
}

#endif
