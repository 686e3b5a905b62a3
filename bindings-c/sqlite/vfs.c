/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The VFS "pagestone": main databases, their journals and their WALs are objects of regions. All other files, such as
 * nameless files and super-journals, belong to the VFS that was the default when this one was registered.
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

sqlite3_vfs *pgsv_default, *pgsv_system;

/* ---- journals and WALs ---- */

/* For a path "x-journal" or "x-wal": the length of "x"; otherwise 0. */
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

/* The database whose journal or WAL has this path, with a reference; NULL if this VFS does not handle it, because there
 * is no database or an ordinary one. If no connection asks for its own journal, it is the database at the path, and its
 * region is opened if this process does not have it open: after a crash SQLite asks for the journals of databases that
 * it was never told to open. A file that should be a region but cannot be opened is an error, also if its head is
 * damaged, because its journal may be inside. A question about a journal makes no region. */
static int companion(const char *path, enum slot *slot, struct database **database)
{
    char main_path[PATH_MAX];
    struct wishes wishes;
    struct place place;
    *database = NULL;
    size_t length = split(path, slot);
    if (length == 0 || length >= sizeof main_path) return SQLITE_OK;
    if ((*database = pgsv_alias_database(path, *slot)) != NULL) return SQLITE_OK;
    memcpy(main_path, path, length);
    main_path[length] = 0;
    int result = pgsv_wishes(NULL, &wishes);
    /* The region exists, so copy on write was allowed when it was made, by a URI that is not known here. */
    wishes.copy_on_write = true;
    if (result == SQLITE_OK) result = pgsv_locate(main_path, SQLITE_OPEN_READWRITE, &wishes, &place);
    if (result != SQLITE_OK || place.kind != PLACE_REGION || place.empty) return result;
    place.create = false;
    result = pgsv_database_get(&place, SQLITE_OPEN_READWRITE, &wishes, database);
    return result == SQLITE_NOTADB ? SQLITE_IOERR : result;
}

static int vfs_access(sqlite3_vfs *self, const char *path, int flags, int *answer)
{
    struct database *database = NULL;
    enum slot slot;
    bool exists = false;
    (void)self;
    if (split(path, &slot) && pgsv_alias_answers(path, slot, &exists)) {
        *answer = exists;
        return SQLITE_OK;
    }
    int result = companion(path, &slot, &database);
    if (database) {
        result = pgsv_object_exists(database, slot, &exists);
        int closed = pgsv_database_put(database);
        if (result == SQLITE_OK) result = closed;
    }
    /* Not "absent", because SQLite would then treat the other half of a transaction as committed. If it is busy, SQLite
     * calls its busy handler. */
    if (result != SQLITE_OK) return result == SQLITE_BUSY ? SQLITE_BUSY : SQLITE_IOERR_ACCESS;
    if (!database) return pgsv_default->xAccess(pgsv_default, path, flags, answer);
    *answer = exists;
    return SQLITE_OK;
}

/* Empties the object but keeps it. An empty object does not exist for SQLite, and the next transaction needs it again.
 *
 * If the journal was synced, its transaction is to be durable, and this is its commit. SQLite asks for a sync only with
 * synchronous=EXTRA, because syncing a directory is expensive. Here it is one write of the log. Without it the journal
 * would be back after a power loss, and in a copy of the file. */
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
    int result = companion(path, &slot, &database);
    if (database) result = pgsv_object_exists(database, slot, &exists);
    if (result != SQLITE_OK && result != SQLITE_BUSY) result = SQLITE_IOERR_DELETE;
    if (!database)
        return result == SQLITE_OK ? pgsv_default->xDelete(pgsv_default, path, sync_directory) : result;
    if (result == SQLITE_OK)
        result = exists ? empty(&database->objects[slot], sync_directory) : SQLITE_IOERR_DELETE_NOENT;
    if (result == SQLITE_OK && slot == SLOT_WAL) pgsv_space_freed(database, slot);
    int closed = pgsv_database_put(database);
    return result == SQLITE_OK ? closed : result;
}

/* If a read-only region has no WAL, it is opened as an empty one: no process can write it meanwhile. */
static int prepare_companion(struct database *database, enum slot slot, int flags)
{
    bool exists;
    if (database->region->read_only && slot == SLOT_WAL) return pgsv_object_look(database, slot, false);
    if (!database->region->read_only && (flags & SQLITE_OPEN_CREATE)) return pgsv_object_look(database, slot, true);
    int result = pgsv_object_exists(database, slot, &exists);
    return result == SQLITE_OK && !exists ? SQLITE_CANTOPEN : result;
}

static void prepare(struct file *file, enum slot slot, int flags)
{
    memset(file, 0, sizeof *file);
    file->slot = slot;
    file->powersafe = true;
    const char *synchronous = pgsv_host_option("DEFAULT_SYNCHRONOUS=");
    file->unsynced = !pgsv_host_tells() || (synchronous && *synchronous == '0');
    file->read_only = !(flags & SQLITE_OPEN_READWRITE);
    file->delete_on_close = slot != SLOT_DB && (flags & SQLITE_OPEN_DELETEONCLOSE);
}

static void attach(struct file *file, struct database *database)
{
    file->database = database;
    file->object = &database->objects[file->slot];
    if (database->region->read_only) file->read_only = true;
    file->base.pMethods = &pgsv_methods;
}

static void tell_flags(const struct file *file, int flags, int *out_flags)
{
    if (file->read_only) flags = (flags & ~(SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE)) | SQLITE_OPEN_READONLY;
    if (out_flags) *out_flags = flags;
}

static int open_companion(const char *path, sqlite3_file *base, int flags, int *out_flags)
{
    struct database *database = NULL;
    enum slot slot;
    int result = companion(path, &slot, &database);
    if (!database && result == SQLITE_OK) return pgsv_default->xOpen(pgsv_default, path, base, flags, out_flags);
    if (!database) return result;
    result = prepare_companion(database, slot, flags);
    if (result != SQLITE_OK) {
        pgsv_database_put(database);
        return result;
    }
    prepare(FILE_OF(base), slot, flags);
    attach(FILE_OF(base), database);
    tell_flags(FILE_OF(base), flags, out_flags);
    return SQLITE_OK;
}

/* ---- main databases ---- */

static int refuse_foreign(const char *path)
{
    return pgsv_refuse(SQLITE_NOTADB,
                       "%s is an ordinary SQLite database, not a Pagestone region. Make a region of it: pagestone import "
                       "%s %s.pgs; or leave it to SQLite's own VFS: foreign=pass in its URI, or PGS_VFS_FOREIGN=pass",
                       path, path, path);
}

/* Opens the database at a place, with its link. The link is made before its object: a link without an object is an empty
 * database, and no object is ever without a link. If another opening makes the link meanwhile, its database is used. */
static int linked_database(const char *path, struct place *place, const struct wishes *wishes, int flags,
                           struct database **database)
{
    int result = place->needs_link ? pgsv_may_link(path, place) : SQLITE_OK;
    if (result == SQLITE_OK) result = pgsv_database_get(place, flags, wishes, database);
    if (result != SQLITE_OK || !place->needs_link || (*database)->region->read_only) return result;
    result = pgsv_link(path, place);
    if (result == SQLITE_OK && place->needs_link) return SQLITE_OK;
    if (result == SQLITE_BUSY && !wishes->told) pgsv_refuse(result, "%s is in use and is not a link to its region yet", path);
    int closed = pgsv_database_put(*database);
    if (result == SQLITE_OK) result = closed;
    return result == SQLITE_OK ? pgsv_database_get(place, flags, wishes, database) : result;
}

/* Opens the database at a place, for a file that has been prepared and has its name. */
int pgsv_open_place(struct file *file, struct place *place, const struct wishes *wishes, int flags)
{
    struct database *database;
    struct stat status = {0};
    const char *path = file->names[SLOT_DB];
    int result = linked_database(path, place, wishes, flags, &database);
    if (result != SQLITE_OK) return result;
    result = pgsv_object_look(database, SLOT_DB, !database->region->read_only);
    if (result != SQLITE_OK) {
        pgsv_database_put(database);
        return result;
    }
    if (stat(path, &status) == 0) {
        file->path_device = status.st_dev;
        file->path_inode = status.st_ino;
    }
    attach(file, database);
    pgsv_alias_add(file);
    return SQLITE_OK;
}

/* Interval at which a waiting opening tries again. */
#define TRY_AGAIN_US 10000

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Opens the place, or waits while another process has the region. `wait` is how long the opening waits here. If it is
 * not given, the file opens and its first lock waits, as SQLite's busy handler says. If SQLite takes no locks, the
 * opening fails. */
static int open_or_wait(struct file *file, struct place *place, struct wishes *wishes, int flags, bool locks)
{
    int64_t end = wishes->wait > 0 ? now_ms() + wishes->wait : 0;
    int result = pgsv_open_place(file, place, wishes, flags);
    wishes->told = true;
    for (; result == SQLITE_BUSY && now_ms() < end; result = pgsv_open_place(file, place, wishes, flags))
        pgsv_default->xSleep(pgsv_default, TRY_AGAIN_US);
    if (result != SQLITE_BUSY || wishes->wait >= 0 || !locks) return result;
    struct wanted *wanted = malloc(sizeof *wanted);
    if (!wanted) return SQLITE_NOMEM;
    *wanted = (struct wanted){.place = *place, .wishes = *wishes, .flags = flags};
    if (!pgsv_is_writable(place->region)) file->read_only = true;
    file->wanted = wanted;
    file->base.pMethods = &pgsv_waiting_methods;
    return SQLITE_OK;
}

/* The file is not handled by this VFS. */
static int open_by_default(const char *path, sqlite3_file *base, int flags, int *out_flags)
{
    errno = 0;
    int result = pgsv_default->xOpen(pgsv_default, path, base, flags, out_flags);
    return result == SQLITE_OK ? result : pgsv_refuse_default(result, path);
}

/* Reports why a writer will get "readonly database". */
static void tell_read_only(const struct file *file, const char *path, int flags)
{
    const struct region *region = file->database ? file->database->region : NULL;
    if (!region || !region->read_only || !(flags & SQLITE_OPEN_READWRITE)) return;
    int code = region->not_written;
    const char *why = code == 0       ? "other readers have it open"
                      : code == -EFBIG ? "it is larger than the process may write (RLIMIT_FSIZE)"
                      : code < 0 && code > -4096 ? strerror(-code) : "its storage cannot be written";
    pgsv_refuse(SQLITE_READONLY, "%s is open for reading only: %s", path, why);
}

static int open_main(const char *path, sqlite3_file *base, int flags, int *out_flags)
{
    const char *uri_name = flags & SQLITE_OPEN_URI ? path : NULL;
    struct file *file = FILE_OF(base);
    struct wishes wishes;
    struct place place;
    pgsv_forget_failure();
    int result = pgsv_wishes(uri_name, &wishes);
    if (result == SQLITE_OK) result = pgsv_names_are_known(uri_name);
    if (result == SQLITE_OK) result = pgsv_locate(path, flags, &wishes, &place);
    if (result == SQLITE_OK && place.kind == PLACE_FOREIGN && !wishes.pass_foreign) result = refuse_foreign(path);
    if (result != SQLITE_OK) return result;
    if (place.kind != PLACE_REGION) return open_by_default(path, base, flags, out_flags);
    bool unlocked = uri_name && (wishes.shared_reading || sqlite3_uri_boolean(uri_name, "nolock", 0));
    prepare(file, SLOT_DB, flags);
    if (unlocked) file->unsynced = true;
    file->names[SLOT_DB] = path;
    if (uri_name) file->powersafe = sqlite3_uri_boolean(uri_name, "psow", 1);
    result = open_or_wait(file, &place, &wishes, flags, !unlocked);
    if (result != SQLITE_OK) return result;
    tell_flags(file, flags, out_flags);
    tell_read_only(file, path, flags);
    return SQLITE_OK;
}

/* The flags contain the kind of the file. There is one exception: to find out whether a super-journal is still needed,
 * SQLite opens the journals that it lists as if they were super-journals. Super-journals themselves have other names. */
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
    int result = pgsv_default->xFullPathname(pgsv_default, path, length, out);
    return result == SQLITE_OK || result == SQLITE_OK_SYMLINK ? result : pgsv_refuse_default(result, path);
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

/* ---- the VFS ---- */

/* The VFS "pagestone" over this one. */
sqlite3_vfs *pgsv_vfs(const sqlite3_vfs *below)
{
    static sqlite3_vfs vfs;
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
    return &vfs;
}
