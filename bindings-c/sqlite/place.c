/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * From the path that SQLite was given to a region file and the names of the objects in it.
 *
 * The path is a region: the database is its objects "db", "db-journal" and "db-wal".
 *
 * With ?region=FILE the database lives in another file, which many databases may share. Its objects are named by its
 * absolute path, and at the path itself stands a *link*: a small text file that names region and object. The link is
 * what other openers find: SQLite's rollback of a transaction over several databases asks for the others by path alone,
 * with no query parameters, and an answer "not there" would commit one half of the transaction. So a database has one
 * path in the file system, whatever region it lives in, and needs ?region= only when it is created.
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
#define LINK_MAX (sizeof LINK_HEAD + PATH_MAX + OBJECT_PREFIX_MAX + 3)
#define SQLITE_HEAD "SQLite format 3"
#define EMPTY_REGION_MAX (512 * 1024)

/* ---- what a file is ---- */

static bool is_sqlite(const char *head)
{
    return memcmp(head, SQLITE_HEAD, sizeof SQLITE_HEAD) == 0;
}

/* Opens a file of SQLite's own VFS, which follows no link. Closed by system_close(). */
static int system_open(const char *path, int flags, sqlite3_file **out)
{
    /* The VFS keeps the name; behind it SQLite looks for query parameters: there are none. */
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

/* The head of a file that is not open as a region; zeros behind a short one.
 *
 * Read through SQLite's own VFS: closing any descriptor of a file drops all POSIX locks that this process has on it. That
 * VFS knows whether it holds some, and closes such a descriptor when they are gone. */
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

/* Two lines after the head: region, object. */
static int parse_link(char *text, const char *path, struct place *place)
{
    char *region = text + sizeof LINK_HEAD - 1;
    char *object = strchr(region, '\n');
    char *end = object ? strchr(object + 1, '\n') : NULL;
    if (!end || object - region >= PATH_MAX || end - object - 1 > OBJECT_PREFIX_MAX || *region != '/')
        return pgsv_refuse(SQLITE_CANTOPEN, "%s is a damaged link to a region", path);
    *object++ = 0;
    *end = 0;
    strcpy(place->region, region);
    strcpy(place->object, object);
    place->kind = PLACE_REGION;
    return SQLITE_OK;
}

/* A process that died while it made the region left it with a head of zeros: nobody has stored anything in it yet. No
 * such file is larger than an empty region. */
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
    if (is_sqlite(head)) place->kind = PLACE_FOREIGN;
    else if (unfinished(head, LINK_MAX, status)) place->create = true;
    else if (strncmp(head, LINK_HEAD, sizeof LINK_HEAD - 1) == 0) return parse_link(head, path, place);
    return SQLITE_OK;
}

/* ---- where a database is ---- */

static bool same_file(const char *one, const char *other)
{
    struct stat a, b;
    if (strcmp(one, other) == 0) return true;
    return stat(one, &a) == 0 && stat(other, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* The path stands for nothing yet, and the database is to live in `region`. */
static int place_elsewhere(const char *path, const char *region, struct place *place)
{
    place->kind = PLACE_REGION;
    place->needs_link = true;
    if (strlen(path) > OBJECT_PREFIX_MAX || strchr(path, '\n') || strchr(region, '\n'))
        return pgsv_refuse(SQLITE_CANTOPEN, "%s: a database in a shared region has a path of at most %d bytes", path,
                           OBJECT_PREFIX_MAX);
    strcpy(place->region, region);
    strcpy(place->object, path);
    return SQLITE_OK;
}

static int locate_existing(const char *path, const struct stat *status, const char *region, int flags,
                           struct place *place)
{
    bool other = region && !same_file(path, region);
    if (!S_ISREG(status->st_mode)) return SQLITE_OK;
    int result = examine(path, status, place);
    if (result == SQLITE_OK && place->create) {
        /* A new database; for a reader, an empty one, which "unix" can show without a region. */
        bool reader = !(flags & SQLITE_OPEN_READWRITE) || access(path, W_OK) != 0;
        if (reader) place->kind = PLACE_DEFAULT;
        if (reader) place->create = false;
        return other && !reader ? place_elsewhere(path, region, place) : SQLITE_OK;
    }
    if (result != SQLITE_OK || place->kind != PLACE_REGION || !other) return result;
    if (same_file(place->region, path))
        return pgsv_refuse(SQLITE_CANTOPEN, "%s is a region itself and has no place in %s", path, region);
    if (!same_file(place->region, region))
        return pgsv_refuse(SQLITE_CANTOPEN, "%s is in the region %s, not in %s", path, place->region, region);
    return SQLITE_OK;
}

/* Finds where the main database of this path is, or is to be. */
int pgsv_locate(const char *path, int flags, const struct wishes *wishes, struct place *place)
{
    struct stat status;
    char region[PATH_MAX] = "";
    memset(place, 0, offsetof(struct place, region));
    place->kind = PLACE_DEFAULT;
    if (strlen(path) >= PATH_MAX) return SQLITE_CANTOPEN;
    if (wishes->region) {
        int result = pgsv_default->xFullPathname(pgsv_default, wishes->region, PATH_MAX, region);
        if (result != SQLITE_OK && result != SQLITE_OK_SYMLINK) return result;
    }
    if (stat(path, &status) == 0) return locate_existing(path, &status, *region ? region : NULL, flags, place);
    if (errno != ENOENT && errno != ENOTDIR) return pgsv_refuse(SQLITE_CANTOPEN, "%s: %s", path, strerror(errno));
    if (!(flags & SQLITE_OPEN_CREATE)) return SQLITE_OK;
    place->create = true;
    if (*region && !same_file(path, region)) return place_elsewhere(path, region, place);
    place->kind = PLACE_REGION;
    strcpy(place->region, path);
    strcpy(place->object, "db");
    return SQLITE_OK;
}

/* ---- links ---- */

/* A directory that may not be read cannot be synced and is not an error, as for SQLite's own VFS; a sync that failed
 * is. */
static int sync_directory(const char *directory)
{
    int descriptor = pgsv_open_above(directory, O_RDONLY | O_DIRECTORY, 0);
    if (descriptor < 0) return SQLITE_OK;
    int number = fsync(descriptor) == 0 ? 0 : errno;
    close(descriptor);
    return number == 0 ? SQLITE_OK : pgsv_refuse(SQLITE_IOERR_DIR_FSYNC, "%s: %s", directory, strerror(number));
}

/* Makes a file with the link's text at `path`, where nothing may be; a link that lies there is not followed. */
static int write_link(const char *path, const struct place *place)
{
    const int fresh = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_EXCLUSIVE | SQLITE_OPEN_SUPER_JOURNAL;
    char text[LINK_MAX + 1];
    sqlite3_file *file;
    int length = snprintf(text, sizeof text, LINK_HEAD "%s\n%s\n", place->region, place->object);
    int result = system_open(path, fresh, &file);
    if (result != SQLITE_OK) return result;
    result = file->pMethods->xWrite(file, text, length, 0);
    if (result == SQLITE_OK) result = file->pMethods->xSync(file, SQLITE_SYNC_FULL);
    int number = errno, closed = system_close(file);
    if (result != SQLITE_OK) unlink(path);
    errno = number;
    return result == SQLITE_OK ? closed : result;
}

/* Puts a link at `path`, whole or not at all, durable before the database in it has anything to lose. Until it has its
 * name it has one that cannot be known before, so that nothing can lie there. `path` is absolute. */
int pgsv_link(const char *path, const struct place *place)
{
    char directory[PATH_MAX], temporary[PATH_MAX];
    uint64_t secret[2];
    strcpy(directory, path);
    char *slash = strrchr(directory, '/');
    if (!slash || getrandom(secret, sizeof secret, 0) != (ssize_t)sizeof secret) return SQLITE_CANTOPEN;
    slash[slash == directory] = 0;
    int length = snprintf(temporary, sizeof temporary, "%s/pagestone-link-%016" PRIx64 "%016" PRIx64, directory, secret[0], secret[1]);
    if (length >= (int)sizeof temporary) return SQLITE_CANTOPEN;
    int result = write_link(temporary, place), number = errno;
    if (result != SQLITE_OK) {
        /* SQLite has asked more of the system since. */
        if (faccessat(AT_FDCWD, directory, W_OK | X_OK, AT_EACCESS) != 0) number = errno;
        return pgsv_refuse(SQLITE_CANTOPEN, "%s: the link to %s cannot be made in this folder: %s", path, place->region,
                           strerror(number));
    }
    if (rename(temporary, path) == 0) return sync_directory(directory);
    pgsv_refuse(SQLITE_CANTOPEN, "%s: %s", path, strerror(errno));
    unlink(temporary);
    return SQLITE_CANTOPEN;
}
