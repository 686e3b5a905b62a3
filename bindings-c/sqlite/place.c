/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Finds the region file and the names of its objects for a path that SQLite was given.
 *
 * Usually the path is a region, and the database is its objects "db", "db-journal" and "db-wal".
 *
 * With ?region=FILE the database is stored in another file, which several databases may share. At the path itself is a
 * *link*: a small text file that names region and object, for openers without the parameter. One of them is SQLite's
 * rollback of a transaction over several databases: it looks for the other databases by path alone, and if one were
 * missing, it would commit one half of the transaction. So a database has one path in the file system, whatever region
 * it is stored in, and ?region= is needed only to create it.
 *
 * One link leads to one database. A new link never leads to existing objects: their names are the path and a random
 * number, because the path may have belonged to a link that was renamed. A link also contains the identity of its own
 * file, so that a copy is recognized, while a renamed link stays valid.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define LINK_HEAD "Pagestone link 1\n"
#define IDENTITY_MAX 80
#define LINK_MAX (sizeof LINK_HEAD + PATH_MAX + OBJECT_PREFIX_MAX + IDENTITY_MAX + 4)
#define UNIQUE 17 /* bytes after the path in the names of objects */
#define SQLITE_HEAD "SQLite format 3"
#define EMPTY_REGION_MAX (1536 * 1024)

/* ---- what a file is ---- */

static bool is_sqlite(const char *head)
{
    return memcmp(head, SQLITE_HEAD, sizeof SQLITE_HEAD) == 0;
}

/* Opens a file through SQLite's own VFS, which follows no link. Closed by system_close(). */
static int system_open(const char *path, int flags, sqlite3_file **out)
{
    /* The VFS keeps the name, and SQLite looks for query parameters behind it. There are none. */
    size_t size = (size_t)pgsv_system->szOsFile, length = strlen(path);
    sqlite3_file *file = calloc(1, size + length + 4);
    if (!file) return SQLITE_NOMEM;
    char *name = memcpy((char *)file + size, path, length);
    int result = pgsv_system->xOpen(pgsv_system, name, file, flags, NULL);
    int number = errno;
    if (result == SQLITE_OK) *out = file;
    else free(file);
    errno = number;
    return result;
}

static int system_close(sqlite3_file *file)
{
    int result = file->pMethods->xClose(file);
    free(file);
    return result;
}

/* Reads the head of a file that is not open as a region; a short one is followed by zeros.
 *
 * It is read through SQLite's own VFS, because closing any descriptor of a file drops all POSIX locks that this process
 * has on it. That VFS knows whether the process has locks, and closes the descriptor when they are gone. */
static int read_head(const char *path, char *head, int length)
{
    sqlite3_file *file;
    char real[PATH_MAX];
    int result = system_open(realpath(path, real) ? real : path, SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_READONLY, &file);
    if (result == SQLITE_OK) {
        result = file->pMethods->xRead(file, head, length, 0);
        int number = errno;
        system_close(file);
        errno = number;
    }
    if (result == SQLITE_OK || result == SQLITE_IOERR_SHORT_READ) return SQLITE_OK;
    if (result == SQLITE_NOMEM || result == SQLITE_IOERR_NOMEM) return SQLITE_NOMEM;
    return pgsv_refuse(SQLITE_CANTOPEN, "%s: %s", path, strerror(errno));
}

/* The identity of a file as a line of text, which it keeps when it is renamed and does not pass to its copies: its inode
 * and its time of birth, if the file system has one. The device is left out, because its number may change when the
 * machine restarts. */
static int identity(int folder, const char *path, int flags, char *line)
{
    struct statx status;
    if (statx(folder, path, flags, STATX_INO | STATX_BTIME, &status) != 0) return -1;
    int length = snprintf(line, IDENTITY_MAX, "inode %" PRIu64, (uint64_t)status.stx_ino);
    if (status.stx_mask & STATX_BTIME)
        snprintf(line + length, (size_t)(IDENTITY_MAX - length), " made %" PRId64 ".%09" PRIu32,
                 (int64_t)status.stx_btime.tv_sec, (uint32_t)status.stx_btime.tv_nsec);
    return 0;
}

/* If one of them has no time of birth, the inode decides. */
static bool same_identity(const char *one, const char *other)
{
    const char *made = strstr(one, " made "), *made_too = strstr(other, " made ");
    size_t inode = made ? (size_t)(made - one) : strlen(one), inode_too = made_too ? (size_t)(made_too - other) : strlen(other);
    if (made && made_too) return strcmp(one, other) == 0;
    return inode == inode_too && memcmp(one, other, inode) == 0;
}

static int refuse_copy(const char *path, const struct place *place)
{
    return pgsv_refuse(SQLITE_CANTOPEN,
                       "%s is a copy of a link: the database in %s already has a path. If the link was restored or moved to "
                       "another file system, or is to be a second path, delete its fourth line; if it was copied with its region, let "
                       "its second line name the copied region as well",
                       path, place->region);
}

/* Lines after the head: region, object, and the identity of the link. A link without the last line was written by hand
 * and is accepted. */
static int parse_link(char *text, const char *path, struct place *place)
{
    char *region = text + sizeof LINK_HEAD - 1, is[IDENTITY_MAX];
    char *object = strchr(region, '\n');
    char *end = object ? strchr(object + 1, '\n') : NULL;
    if (!end || object - region >= PATH_MAX || end - object - 1 > OBJECT_PREFIX_MAX || *region != '/')
        return pgsv_refuse(SQLITE_CANTOPEN, "%s is a damaged link to a region", path);
    *object++ = 0;
    *end++ = 0;
    end[strcspn(end, "\n")] = 0;
    strcpy(place->region, region);
    if (*end && identity(AT_FDCWD, path, 0, is) != 0)
        return pgsv_refuse(SQLITE_CANTOPEN, "%s: %s", path, strerror(errno));
    if (*end && !same_identity(end, is)) return refuse_copy(path, place);
    strcpy(place->object, object);
    place->kind = PLACE_REGION;
    return SQLITE_OK;
}

/* A process that died while it created the region left a head of zeros, and nothing was stored yet. Such a file is not
 * larger than an empty region. */
static bool unfinished(const char *head, size_t length, const struct stat *status)
{
    if (status->st_size > EMPTY_REGION_MAX) return false;
    for (size_t i = 0; i < length; i++)
        if (head[i]) return false;
    return true;
}

static int examine(const char *path, const struct stat *status, struct place *place)
{
    char head[LINK_MAX + 1];
    strcpy(place->region, path);
    strcpy(place->object, "db");
    place->kind = PLACE_REGION;
    if (pgsv_region_is_open(status->st_dev, status->st_ino)) return SQLITE_OK;
    int result = read_head(path, head, LINK_MAX);
    if (result != SQLITE_OK) return result;
    head[LINK_MAX] = 0;
    place->create = unfinished(head, LINK_MAX, status);
    place->empty = status->st_size == 0;
    if (is_sqlite(head)) place->kind = PLACE_FOREIGN;
    else if (strncmp(head, LINK_HEAD, sizeof LINK_HEAD - 1) == 0) return parse_link(head, path, place);
    return SQLITE_OK;
}

/* Checked for the effective user, whose rights apply to openings. */
bool pgsv_is_writable(const char *path)
{
    return faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0;
}

/* ---- where a database is ---- */

static bool same_file(const char *one, const char *other)
{
    struct stat a, b;
    if (strcmp(one, other) == 0) return true;
    return stat(one, &a) == 0 && stat(other, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* The path does not exist yet, and the database shall be stored in `region`. */
static int place_elsewhere(const char *path, const char *region, struct place *place)
{
    place->kind = PLACE_REGION;
    place->needs_link = true;
    if (strlen(path) > OBJECT_PREFIX_MAX - UNIQUE || strchr(path, '\n') || strchr(region, '\n'))
        return pgsv_refuse(SQLITE_CANTOPEN, "%s: a database in a shared region has a path of at most %d bytes", path,
                           OBJECT_PREFIX_MAX - UNIQUE);
    uint64_t number;
    if (getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number)
        return pgsv_refuse(SQLITE_CANTOPEN, "%s: no random number: %s", path, strerror(errno));
    strcpy(place->region, region);
    snprintf(place->object, sizeof place->object, "%s#%016" PRIx64, path, number);
    return SQLITE_OK;
}

/* A head of zeros may belong to a region whose head was lost. */
static int refuse_bytes(const char *path, const struct stat *status)
{
    return pgsv_refuse(SQLITE_CANTOPEN,
                       "%s has %lld bytes but no database: a link to a region replaces only a file of no bytes. Let "
                       "`pagestone check` look at it, and remove it if nothing in it is wanted",
                       path, (long long)status->st_size);
}

static int locate_existing(const char *path, const struct stat *status, const char *region, int flags,
                           struct place *place)
{
    bool other = region && !same_file(path, region);
    if (!S_ISREG(status->st_mode)) return SQLITE_OK;
    int result = examine(path, status, place);
    if (result == SQLITE_OK && place->create) {
        /* A new database. A reader gets an empty one, which "unix" can show without a region, and creates nothing in
         * a file of some bytes: it may be a region that lost its head. */
        bool reader = !(flags & SQLITE_OPEN_READWRITE) || !pgsv_is_writable(path);
        if (reader && place->empty) place->kind = PLACE_DEFAULT;
        if (reader) place->create = false;
        if (reader || !other) return SQLITE_OK;
        return place->empty ? place_elsewhere(path, region, place) : refuse_bytes(path, status);
    }
    if (result != SQLITE_OK || place->kind != PLACE_REGION || !other) return result;
    if (same_file(place->region, path))
        return pgsv_refuse(SQLITE_CANTOPEN, "%s is a region itself and has no place in the region %s", path, region);
    if (!same_file(place->region, region))
        return pgsv_refuse(SQLITE_CANTOPEN, "%s is in the region %s, not in %s", path, place->region, region);
    return SQLITE_OK;
}

/* Finds the place where the main database of this path is, or will be. */
int pgsv_locate(const char *path, int flags, const struct wishes *wishes, struct place *place)
{
    struct stat status;
    char region[PATH_MAX] = "";
    memset(place, 0, offsetof(struct place, region));
    place->kind = PLACE_DEFAULT;
    if (strlen(path) >= PATH_MAX) return pgsv_refuse(SQLITE_CANTOPEN, "%s: %s", path, strerror(ENAMETOOLONG));
    if (wishes->region) {
        int result = pgsv_default->xFullPathname(pgsv_default, wishes->region, PATH_MAX, region);
        if (result != SQLITE_OK && result != SQLITE_OK_SYMLINK) return pgsv_refuse_default(result, wishes->region);
    }
    if (stat(path, &status) == 0) return locate_existing(path, &status, *region ? region : NULL, flags, place);
    if (errno != ENOENT && errno != ENOTDIR) return pgsv_refuse(SQLITE_CANTOPEN, "%s: %s", path, strerror(errno));
    if (!(flags & SQLITE_OPEN_CREATE)) return SQLITE_OK;
    place->create = place->empty = true;
    if (*region && !same_file(path, region)) return place_elsewhere(path, region, place);
    place->kind = PLACE_REGION;
    strcpy(place->region, path);
    strcpy(place->object, "db");
    return SQLITE_OK;
}

/* ---- before a region is opened ---- */

/* Takes SQLite's own exclusive lock on the file. If that succeeds, no connection of any process uses the file through
 * that VFS, or has begun to fill it. */
static int system_lock(sqlite3_file *file)
{
    int result = file->pMethods->xLock(file, SQLITE_LOCK_SHARED);
    if (result == SQLITE_OK) result = file->pMethods->xLock(file, SQLITE_LOCK_RESERVED);
    if (result == SQLITE_OK) result = file->pMethods->xLock(file, SQLITE_LOCK_EXCLUSIVE);
    return result;
}

/* SQLITE_BUSY if an empty file is locked. */
static int refuse_locked(const char *path)
{
    sqlite3_file *file;
    int result = system_open(path, SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_READWRITE, &file);
    if (result != SQLITE_OK) return SQLITE_OK; /* opening it as a region reports the reason */
    result = system_lock(file);
    file->pMethods->xUnlock(file, SQLITE_LOCK_NONE);
    system_close(file);
    return result == SQLITE_BUSY ? SQLITE_BUSY : SQLITE_OK;
}

/* Whether the region's file may be opened as a region. An ordinary database must not: when it is closed, this process
 * would lose its locks on it. SQLITE_NOTADB is reported. SQLITE_BUSY, for an empty file that another connection is about
 * to fill, is not. */
int pgsv_may_open(const struct place *place)
{
    char head[LINK_MAX], real[PATH_MAX];
    struct stat status;
    const char *path = realpath(place->region, real) ? real : place->region;
    if (stat(path, &status) != 0 || !S_ISREG(status.st_mode)) return SQLITE_OK;
    int result = read_head(path, head, LINK_MAX);
    if (result == SQLITE_NOMEM) return result;
    if (result != SQLITE_OK) return SQLITE_OK;
    if (is_sqlite(head)) return pgsv_refuse(SQLITE_NOTADB, "%s is an ordinary SQLite database, not a Pagestone region", path);
    return place->create && unfinished(head, LINK_MAX, &status) ? refuse_locked(path) : SQLITE_OK;
}

/* ---- links ---- */

/* A link that is being made. If the file system allows it, the file has no name before it is complete and durable, so a
 * death leaves nothing. Otherwise it has an unpredictable name, so that no other file can be there. */
struct fresh {
    int descriptor;
    char folder[PATH_MAX];
    char name[PATH_MAX]; /* empty: no name */
};

static int secret_name(struct fresh *fresh)
{
    uint64_t secret[2];
    if (getrandom(secret, sizeof secret, 0) != (ssize_t)sizeof secret) return -1;
    int length = snprintf(fresh->name, sizeof fresh->name, "%s/pagestone-link-%016" PRIx64 "%016" PRIx64, fresh->folder,
                          secret[0], secret[1]);
    if (length < (int)sizeof fresh->name) return 0;
    fresh->name[0] = 0;
    errno = ENAMETOOLONG;
    return -1;
}

static int fresh_open(struct fresh *fresh, const char *path)
{
    strcpy(fresh->folder, path);
    fresh->name[0] = 0;
    char *slash = strrchr(fresh->folder, '/');
    slash[slash == fresh->folder] = 0;
    /* A nameless file gets its name through /proc. */
    bool nameless = access("/proc/self/fd", X_OK) == 0;
    fresh->descriptor = nameless ? pgsv_open_above(fresh->folder, O_TMPFILE | O_WRONLY, 0644) : -1;
    if (fresh->descriptor >= 0) return 0;
    if (nameless && errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL) return -1;
    if (secret_name(fresh) != 0) return -1;
    fresh->descriptor = pgsv_open_above(fresh->name, O_WRONLY | O_CREAT | O_EXCL, 0644);
    if (fresh->descriptor < 0) fresh->name[0] = 0;
    return fresh->descriptor < 0 ? -1 : 0;
}

static int fresh_write(const struct fresh *fresh, const struct place *place)
{
    char text[LINK_MAX + 1], is[IDENTITY_MAX];
    ssize_t written;
    if (identity(fresh->descriptor, "", AT_EMPTY_PATH, is) != 0) return -1;
    int length = snprintf(text, sizeof text, LINK_HEAD "%s\n%s\n%s\n", place->region, place->object, is);
    /* If its descriptor was one of the lowest three for a moment, output of the program may have gone to it. */
    if (ftruncate(fresh->descriptor, 0) != 0) return -1;
    do written = pwrite(fresh->descriptor, text, (size_t)length, 0);
    while (written < 0 && errno == EINTR);
    if (written >= 0 && written != length) errno = ENOSPC;
    return written == length ? fsync(fresh->descriptor) : -1;
}

/* Gives the nameless link this name, if the name is free. */
static int name_nameless(const struct fresh *fresh, const char *path)
{
    char self[64];
    snprintf(self, sizeof self, "/proc/self/fd/%d", fresh->descriptor);
    return linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW);
}

/* Gives the link this name, if the name is free. */
static int fresh_appear(struct fresh *fresh, const char *path)
{
    if (!*fresh->name) return name_nameless(fresh, path);
    if (renameat2(AT_FDCWD, fresh->name, AT_FDCWD, path, RENAME_NOREPLACE) == 0) {
        fresh->name[0] = 0;
        return 0;
    }
    /* A file system without support for the flag supports hard links. */
    return errno == EINVAL || errno == ENOSYS ? link(fresh->name, path) : -1;
}

static void fresh_end(struct fresh *fresh)
{
    if (*fresh->name) unlink(fresh->name);
    if (fresh->descriptor >= 0) close(fresh->descriptor);
}

/* Makes the link's name durable: by a sync of its folder, or of the file system if the folder must not be read. */
static int sync_name(const struct fresh *fresh)
{
    int folder = pgsv_open_above(fresh->folder, O_RDONLY | O_DIRECTORY, 0);
    int number = folder < 0 ? errno : fsync(folder) == 0 ? 0 : errno;
    if (folder >= 0) close(folder);
    else if (number == EACCES) number = syncfs(fresh->descriptor) == 0 ? 0 : errno;
    return number == 0 ? SQLITE_OK : pgsv_refuse(SQLITE_IOERR_DIR_FSYNC, "%s: %s", fresh->folder, strerror(number));
}

/* Whether the file at the path is the link that was made here. */
static bool is_at(const struct fresh *fresh, const char *path)
{
    struct stat made, there;
    return fstat(fresh->descriptor, &made) == 0 && stat(path, &there) == 0 && made.st_dev == there.st_dev &&
           made.st_ino == there.st_ino;
}

/* Gives the link an unpredictable name, if it has none. */
static int fresh_name(struct fresh *fresh)
{
    if (*fresh->name) return 0;
    if (secret_name(fresh) != 0) return -1;
    if (name_nameless(fresh, fresh->name) == 0) return 0;
    fresh->name[0] = 0;
    return -1;
}

/* Replaces a file of no bytes, which SQLite has locked for this process, by the link. If another file came to the path
 * meanwhile, it is exchanged back: SQLITE_BUSY. fresh_end() then removes the empty file. */
static int exchange(struct fresh *fresh, const char *path, sqlite3_file *empty)
{
    struct stat before, out;
    int moved = 1;
    if (stat(path, &before) != 0 || before.st_size != 0) return SQLITE_BUSY;
    if (empty->pMethods->xFileControl(empty, SQLITE_FCNTL_HAS_MOVED, &moved) != SQLITE_OK || moved) return SQLITE_BUSY;
    if (fresh_name(fresh) != 0 || renameat2(AT_FDCWD, fresh->name, AT_FDCWD, path, RENAME_EXCHANGE) != 0)
        return pgsv_refuse(SQLITE_CANTOPEN, "%s: the link to its region cannot take the place of the empty file: %s", path,
                           strerror(errno));
    bool same = stat(fresh->name, &out) == 0 && out.st_dev == before.st_dev && out.st_ino == before.st_ino;
    if (same && out.st_size == 0) return SQLITE_OK;
    renameat2(AT_FDCWD, fresh->name, AT_FDCWD, path, RENAME_EXCHANGE);
    return SQLITE_BUSY;
}

static int replace_empty(struct fresh *fresh, const char *path)
{
    sqlite3_file *empty;
    int result = system_open(path, SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_READWRITE, &empty);
    if (result != SQLITE_OK) return pgsv_refuse(SQLITE_CANTOPEN, "%s: %s", path, strerror(errno));
    result = system_lock(empty);
    if (result == SQLITE_OK) result = exchange(fresh, path, empty);
    empty->pMethods->xUnlock(empty, SQLITE_LOCK_NONE);
    system_close(empty);
    return result;
}

enum at_path { NOTHING, EMPTY_FILE, LINKED };

/* Finds what is at the path where a link is to be. If another opening has made a link into the same region meanwhile,
 * that becomes the place. Anything else that came there is left alone. */
static int look(const char *path, struct place *place, enum at_path *there)
{
    struct stat status;
    struct place now;
    *there = NOTHING;
    if (stat(path, &status) != 0) return SQLITE_OK;
    memset(&now, 0, offsetof(struct place, region));
    now.kind = PLACE_DEFAULT;
    int result = S_ISREG(status.st_mode) ? examine(path, &status, &now) : SQLITE_OK;
    if (result != SQLITE_OK) return result;
    *there = now.empty ? EMPTY_FILE : LINKED;
    if (now.kind == PLACE_REGION && now.empty) return SQLITE_OK;
    if (now.kind == PLACE_REGION && same_file(now.region, place->region)) {
        strcpy(place->object, now.object);
        place->needs_link = false;
        return SQLITE_OK;
    }
    return pgsv_refuse(SQLITE_CANTOPEN, "%s has come to name another file since it was opened; it is left alone", path);
}

int pgsv_may_link(const char *path, struct place *place)
{
    enum at_path there;
    return look(path, place, &there);
}

/* Puts a link at `path`: complete or not at all, and durable before its database has contents. The path may have been
 * checked hours ago. SQLITE_BUSY: it is changing at this moment. If another opening has made the link, that link is the
 * place afterwards. `path` is absolute. */
int pgsv_link(const char *path, struct place *place)
{
    struct fresh fresh;
    enum at_path there;
    bool appeared = false;
    int result = SQLITE_OK;
    if (fresh_open(&fresh, path) != 0 || fresh_write(&fresh, place) != 0) {
        result = pgsv_refuse(SQLITE_CANTOPEN, "%s: the link to %s cannot be made in this folder: %s", path, place->region,
                             strerror(errno));
    } else if (fresh_appear(&fresh, path) == 0) {
        appeared = true;
    } else if (errno != EEXIST) {
        result = pgsv_refuse(SQLITE_CANTOPEN, "%s: %s", path, strerror(errno));
    } else if ((result = look(path, place, &there)) == SQLITE_OK) {
        if (there == NOTHING) result = SQLITE_BUSY;
        else if (there == EMPTY_FILE) result = replace_empty(&fresh, path);
    }
    if (result == SQLITE_OK) result = sync_name(&fresh);
    if (result != SQLITE_OK && appeared && is_at(&fresh, path)) unlink(path);
    fresh_end(&fresh);
    return result;
}
