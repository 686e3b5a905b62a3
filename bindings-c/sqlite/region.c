/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What is open in this process: regions by device and inode, databases by region and name, paths by text.
 *
 * A region is open while a database in it is, a database while a file of it is. Everything here runs under
 * pgsv_registry, the opening and closing of a region too: a second opener must find the first one's region and not its
 * claim.
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 256

pthread_mutex_t pgsv_registry = PTHREAD_MUTEX_INITIALIZER;
static struct region *regions;
static struct database *databases;
static struct alias *aliases[BUCKETS];

/* ---- regions ---- */

static struct region *region_find(dev_t device, ino_t inode)
{
    struct region *region = regions;
    while (region && (region->device != device || region->inode != inode)) region = region->next;
    return region;
}

bool pgsv_region_is_open(dev_t device, ino_t inode)
{
    return region_find(device, inode) != NULL;
}

/* Opens the store; without permission to write, or when many readers are wished for, read-only. */
static int store_open(const struct place *place, int flags, const struct wishes *wishes, pgs_store **store,
                      bool *read_only)
{
    pgs_options options = {.size = sizeof options,
                           .flags = place->create ? PGS_CREATE : 0,
                           .required = wishes->required,
                           .assume = wishes->assume,
                           .max_bytes = wishes->max_bytes};
    *read_only = wishes->shared_reading && !(flags & SQLITE_OPEN_READWRITE);
    if (!*read_only) {
        int code = pgs_open(place->region, &options, store);
        if (code != -EACCES && code != -EROFS && code != -EPERM && code != PGS_E_READ_ONLY) return code;
        *read_only = true;
    }
    options.flags = PGS_READ_ONLY;
    return pgs_open(place->region, &options, store);
}

static int region_open(const struct place *place, int flags, const struct wishes *wishes, struct region **out)
{
    struct region *region = calloc(1, sizeof *region);
    if (!region) return SQLITE_NOMEM;
    int code = store_open(place, flags, wishes, &region->store, &region->read_only);
    if (code != PGS_OK) {
        free(region);
        return pgsv_status(NULL, code, SQLITE_CANTOPEN, place->region);
    }
    pgs_region info = {.size = sizeof info};
    code = pgs_info(region->store, &info);
    if (code != PGS_OK) {
        pgs_close(region->store);
        free(region);
        return pgsv_status(NULL, code, SQLITE_CANTOPEN, place->region);
    }
    region->device = (dev_t)info.device;
    region->inode = (ino_t)info.inode;
    region->durability = info.durability;
    region->next = regions;
    regions = region;
    *out = region;
    return SQLITE_OK;
}

static int region_get(const struct place *place, int flags, const struct wishes *wishes, struct region **out)
{
    struct stat status;
    struct region *region = stat(place->region, &status) == 0 ? region_find(status.st_dev, status.st_ino) : NULL;
    if (!region) {
        int result = region_open(place, flags, wishes, &region);
        if (result != SQLITE_OK) return result;
    } else if (wishes->required > region->durability) {
        return pgsv_refuse(SQLITE_CANTOPEN, "%s is open already, and weaker than the durability asked for now",
                           place->region);
    }
    region->refs++;
    *out = region;
    return SQLITE_OK;
}

/* A page that is still pinned (a fetch that was never given back) keeps the region open and known: whoever opens it
 * again gets it as it is. */
static int region_put(struct region *region)
{
    if (--region->refs > 0) return SQLITE_OK;
    int code = pgs_close(region->store);
    if (code == PGS_E_BUSY) return pgsv_status(NULL, code, SQLITE_IOERR_CLOSE, "closing a region");
    struct region **link = &regions;
    while (*link != region) link = &(*link)->next;
    *link = region->next;
    free(region);
    return pgsv_status(NULL, code, SQLITE_IOERR_CLOSE, "closing a region");
}

/* ---- databases ---- */

static void database_free(struct database *database)
{
    for (int slot = 0; slot < SLOTS; slot++) pgs_object_close(database->objects[slot].handle);
    pthread_mutex_destroy(&database->mutex);
    free(database);
}

int pgsv_database_get(const struct place *place, int flags, const struct wishes *wishes, struct database **out)
{
    struct region *region = NULL;
    int result = region_get(place, flags, wishes, &region);
    if (result != SQLITE_OK) return result;
    struct database *database = databases;
    while (database && (database->region != region || strcmp(database->name, place->object))) database = database->next;
    if (database) {
        region->refs--; /* the database has one already */
    } else {
        database = calloc(1, sizeof *database);
        if (!database) {
            region_put(region);
            return SQLITE_NOMEM;
        }
        pthread_mutex_init(&database->mutex, NULL);
        database->region = region;
        memcpy(database->name, place->object, sizeof database->name);
        database->next = databases;
        databases = database;
    }
    database->refs++;
    *out = database;
    return SQLITE_OK;
}

int pgsv_database_put(struct database *database)
{
    if (--database->refs > 0) return SQLITE_OK;
    struct database **link = &databases;
    while (*link != database) link = &(*link)->next;
    *link = database->next;
    struct region *region = database->region;
    database_free(database);
    return region_put(region);
}

/* ---- objects ---- */

/* Opens the handle of an object that is there, or is to be made. No handle afterwards: there is none. */
int pgsv_object_look(struct database *database, enum slot slot, bool create)
{
    static const char *const suffix[SLOTS] = {"", "-journal", "-wal"};
    struct object *object = &database->objects[slot];
    char name[PGS_NAME_MAX + 1];
    if (object->handle || (object->looked_for && !create)) return SQLITE_OK;
    sqlite3_snprintf(sizeof name, name, "%s%s", database->name, suffix[slot]);
    int code = pgs_object_open(database->region->store, name, create ? PGS_CREATE : 0, &object->handle);
    object->looked_for = true;
    if (code == PGS_E_NOT_FOUND) return SQLITE_OK;
    if (code != PGS_OK) object->looked_for = false;
    return pgsv_status(NULL, code, SQLITE_CANTOPEN, name);
}

int pgsv_object_exists(struct database *database, enum slot slot, bool *exists)
{
    uint64_t bytes = 0;
    int result = pgsv_object_look(database, slot, false);
    if (result == SQLITE_OK && database->objects[slot].handle) {
        int code = pgs_object_size(database->objects[slot].handle, &bytes);
        result = pgsv_status(NULL, code, SQLITE_IOERR_ACCESS, "the size of an object");
    }
    *exists = bytes > 0;
    return result;
}

/* ---- paths ---- */

static struct alias **bucket_of(const char *path, size_t length)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < length; i++) hash = (hash ^ (unsigned char)path[i]) * 16777619u;
    return &aliases[hash % BUCKETS];
}

static bool names(const struct alias *alias, const char *path, size_t length)
{
    return strncmp(alias->path, path, length) == 0 && alias->path[length] == 0;
}

/* Names of one connection lie no further apart than this. */
#define NAMES_SPAN ((uintptr_t)1 << 20)

/* The alias with the database name that lies closest before `given_name`; else the latest. */
static struct alias *closest(struct alias *first, const char *path, size_t length, const char *given_name)
{
    struct alias *best = first;
    uintptr_t best_distance = NAMES_SPAN;
    for (struct alias *alias = first; alias; alias = alias->next) {
        if (!names(alias, path, length)) continue;
        for (struct file *file = alias->files; file; file = file->alias_next) {
            uintptr_t distance = (uintptr_t)given_name - (uintptr_t)file->given_name;
            if (distance >= best_distance) continue;
            best = alias;
            best_distance = distance;
        }
    }
    return best;
}

/* The database open under this path, or NULL.
 *
 * A path can stand for two at once: one whose file was unlinked or renamed while open, and one opened there since. Then
 * `given_name` decides. SQLite keeps the names of a connection's database, journal and WAL in one block of memory and
 * passes pointers into it, so the connection that asks is the one whose database name lies closest before. */
struct database *pgsv_alias_find(const char *path, size_t length, const char *given_name)
{
    struct alias *first = *bucket_of(path, length);
    while (first && !names(first, path, length)) first = first->next;
    if (!first) return NULL;
    struct alias *second = first->next;
    while (second && !names(second, path, length)) second = second->next;
    return second ? closest(first, path, length, given_name)->database : first->database;
}

int pgsv_alias_add(struct file *file, const char *path)
{
    size_t length = strlen(path);
    struct alias **bucket = bucket_of(path, length), *alias = *bucket;
    while (alias && (alias->database != file->database || !names(alias, path, length))) alias = alias->next;
    if (!alias) {
        alias = calloc(1, sizeof *alias + length + 1);
        if (!alias) return SQLITE_NOMEM;
        alias->database = file->database;
        memcpy(alias->path, path, length + 1);
        alias->next = *bucket;
        *bucket = alias;
    }
    file->alias = alias;
    file->alias_next = alias->files;
    alias->files = file;
    return SQLITE_OK;
}

void pgsv_alias_remove(struct file *file)
{
    struct alias *alias = file->alias;
    struct file **member = &alias->files;
    while (*member != file) member = &(*member)->alias_next;
    *member = file->alias_next;
    if (alias->files) return;
    struct alias **link = bucket_of(alias->path, strlen(alias->path));
    while (*link != alias) link = &(*link)->next;
    *link = alias->next;
    free(alias);
}
