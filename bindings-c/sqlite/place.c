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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINK_HEAD "Pagestone link 1\n"
#define LINK_MAX (sizeof LINK_HEAD + PATH_MAX + OBJECT_PREFIX_MAX + 3)
#define SQLITE_HEAD "SQLite format 3"
#define EMPTY_REGION_MAX (512 * 1024)

/* ---- wishes ---- */

static int durability(const char *text, const char *what, uint32_t *out)
{
    if (!text || !*text) return SQLITE_OK;
    if (strcmp(text, "volatile") == 0) *out = PGS_DURABILITY_VOLATILE;
    else if (strcmp(text, "fdatasync") == 0) *out = PGS_DURABILITY_FDATASYNC;
    else if (strcmp(text, "cacheline") == 0) *out = PGS_DURABILITY_CACHE_LINE;
    else return pgsv_refuse(SQLITE_CANTOPEN, "%s is \"%s\": it can be cacheline, fdatasync or volatile", what, text);
    return SQLITE_OK;
}

static int bytes(const char *text, uint64_t *out)
{
    static const char units[] = "KMGT";
    if (!text || !*text) return SQLITE_OK;
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    const char *unit = *end ? strchr(units, *end & ~0x20) : NULL;
    int shift = unit ? (int)(unit - units + 1) * 10 : 0;
    if (unit) end++;
    if (errno || *end || *text < '0' || *text > '9' || number > UINT64_MAX >> shift)
        return pgsv_refuse(SQLITE_CANTOPEN, "max_size is \"%s\": it is a number, with K, M, G or T behind", text);
    *out = (uint64_t)number << shift;
    return SQLITE_OK;
}

/* Query parameters; where one is missing, the environment. A wish that cannot be read is refused and never ignored: it
 * may be a demand for durability. `uri_name` is NULL when the name came without parameters. */
int pgsv_wishes(const char *uri_name, struct wishes *wishes)
{
    static const char *const keys[5][2] = {{"durability", "PGS_VFS_DURABILITY"},
                                           {"assume", "PGS_VFS_ASSUME"},
                                           {"max_size", "PGS_VFS_MAX_SIZE"},
                                           {"foreign", "PGS_VFS_FOREIGN"},
                                           {"region", NULL}};
    const char *values[5];
    memset(wishes, 0, sizeof *wishes);
    for (int i = 0; i < 5; i++) {
        values[i] = uri_name ? sqlite3_uri_parameter(uri_name, keys[i][0]) : NULL;
        if (!values[i] && keys[i][1]) values[i] = getenv(keys[i][1]);
    }
    int result = durability(values[0], "durability", &wishes->required);
    if (result == SQLITE_OK) result = durability(values[1], "assume", &wishes->assume);
    if (result == SQLITE_OK) result = bytes(values[2], &wishes->max_bytes);
    if (result != SQLITE_OK) return result;
    wishes->pass_foreign = values[3] && strcmp(values[3], "pass") == 0;
    wishes->region = values[4] && *values[4] ? values[4] : NULL;
    wishes->shared_reading = uri_name && sqlite3_uri_boolean(uri_name, "immutable", 0);
    return SQLITE_OK;
}

/* ---- what a file is ---- */

/* Descriptors of ordinary SQLite databases that were looked at. They stay open for good: closing any descriptor of a
 * file drops all POSIX locks that this process has on it, and the VFS "unix" may hold some. */
struct looked_at {
    struct looked_at *next;
    dev_t device;
    ino_t inode;
    int descriptor;
};
static struct looked_at *looked_at;

static bool is_sqlite(const char *head, ssize_t length)
{
    return length >= (ssize_t)sizeof SQLITE_HEAD && memcmp(head, SQLITE_HEAD, sizeof SQLITE_HEAD) == 0;
}

static void keep(int descriptor, const struct stat *status)
{
    struct looked_at *entry = malloc(sizeof *entry);
    if (!entry) return; /* the descriptor stays open all the same */
    *entry = (struct looked_at){looked_at, status->st_dev, status->st_ino, descriptor};
    looked_at = entry;
}

/* Reads the head of a file that is not open as a region; -1 with errno. */
static ssize_t read_head(const char *path, const struct stat *status, char *head, size_t length)
{
    for (struct looked_at *entry = looked_at; entry; entry = entry->next)
        if (entry->device == status->st_dev && entry->inode == status->st_ino)
            return pread(entry->descriptor, head, length, 0);
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (descriptor < 0) return -1;
    ssize_t got = pread(descriptor, head, length, 0);
    if (is_sqlite(head, got)) keep(descriptor, status);
    else close(descriptor);
    return got;
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
static bool unfinished(const char *head, ssize_t got, const struct stat *status)
{
    if (status->st_size > EMPTY_REGION_MAX) return false;
    for (ssize_t i = 0; i < got; i++)
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
    ssize_t got = read_head(path, status, head, LINK_MAX);
    if (got < 0) {
        int number = errno;
        pgsv_refuse(SQLITE_CANTOPEN, "%s: %s", path, strerror(number));
        errno = number;
        return SQLITE_CANTOPEN;
    }
    head[got] = 0;
    if (is_sqlite(head, got)) place->kind = PLACE_FOREIGN;
    else if (unfinished(head, got, status)) place->create = true;
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

static int write_link(int descriptor, const struct place *place)
{
    char text[LINK_MAX + 1];
    int length = snprintf(text, sizeof text, LINK_HEAD "%s\n%s\n", place->region, place->object);
    if (write(descriptor, text, (size_t)length) != length || fsync(descriptor) != 0) return -1;
    return 0;
}

/* A directory that may not be read cannot be synced and is not an error, as for SQLite's own VFS; a sync that failed
 * is. `path` is absolute. */
static int sync_directory_of(const char *path)
{
    char directory[PATH_MAX];
    strcpy(directory, path);
    char *slash = strrchr(directory, '/');
    if (!slash) return SQLITE_OK;
    slash[slash == directory] = 0;
    int descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) return SQLITE_OK;
    int number = fsync(descriptor) == 0 ? 0 : errno;
    close(descriptor);
    return number == 0 ? SQLITE_OK : pgsv_refuse(SQLITE_IOERR_DIR_FSYNC, "%s: %s", directory, strerror(number));
}

/* Puts a link at `path`, whole or not at all, durable before the database in it has anything to lose. */
int pgsv_link(const char *path, const struct place *place)
{
    char temporary[PATH_MAX];
    int length = snprintf(temporary, sizeof temporary, "%s-link%ld", path, (long)getpid());
    if (length >= (int)sizeof temporary) return SQLITE_CANTOPEN;
    int descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (descriptor < 0) return pgsv_refuse(SQLITE_CANTOPEN, "%s: %s", temporary, strerror(errno));
    int failed = write_link(descriptor, place);
    close(descriptor);
    if (failed || rename(temporary, path) != 0) {
        pgsv_refuse(SQLITE_CANTOPEN, "%s: %s", path, strerror(errno));
        unlink(temporary);
        return SQLITE_CANTOPEN;
    }
    return sync_directory_of(path);
}
