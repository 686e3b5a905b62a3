/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The open regions of this process, by device and inode, and its open databases, by region and name.
 *
 * A region is open while a database in it is open, and a database while one of its files is. The lists are read and
 * changed under pgsv_registry, but files are opened and closed outside of it. A region that is being opened or closed is
 * in the list and `under_way`. A second opener waits for that region only. It must find the region in the list, because
 * otherwise it would meet the claim of its own process.
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

pthread_mutex_t pgsv_registry = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t settled = PTHREAD_COND_INITIALIZER; /* signalled when a region is no longer under way */
static struct region *regions;
static struct database *databases;
static unsigned long turns;      /* number of openings so far */
static unsigned long files_made; /* number of openings that created their file */

/* A forked child does not own what its parent has open: the handles return errors there. The memory is not freed,
 * because a connection that the child has abandoned points to it. The mutexes are made anew, because other threads of
 * the parent may have held them. */
void pgsv_regions_forget(void)
{
    pthread_mutex_init(&pgsv_registry, NULL);
    pthread_cond_init(&settled, NULL);
    regions = NULL;
    databases = NULL;
}

/* ---- regions: the list ---- */

static struct region *region_find(dev_t device, ino_t inode)
{
    struct region *region = regions;
    while (region && (region->made || region->device != device || region->inode != inode)) region = region->next;
    return region;
}

static struct region *region_being_made(const char *path)
{
    struct region *region = regions;
    while (region && !(region->made && strcmp(region->made, path) == 0)) region = region->next;
    return region;
}

bool pgsv_region_is_open(dev_t device, ino_t inode)
{
    pthread_mutex_lock(&pgsv_registry);
    bool open = region_find(device, inode) != NULL;
    pthread_mutex_unlock(&pgsv_registry);
    return open;
}

static void region_settle(struct region *region)
{
    region->under_way = false;
    region->made = NULL;
    pthread_cond_broadcast(&settled);
}

static void region_unlist(struct region *region)
{
    struct region **link = &regions;
    while (*link != region) link = &(*link)->next;
    *link = region->next;
    region_settle(region);
}

static bool made_before(unsigned long turn)
{
    struct region *region = regions;
    while (region && !(region->made && region->turn < turn)) region = region->next;
    return region != NULL;
}

/* Whether the claim that stopped an opening may belong to this process: another opening may have been creating the file,
 * whose device and inode were not known then. Waits for the openings that have begun by now. True: the caller should
 * look at the list again. */
static bool claimed_here(const struct region *refused)
{
    pthread_mutex_lock(&pgsv_registry);
    bool waited = false;
    for (unsigned long turn = turns; made_before(turn); waited = true) pthread_cond_wait(&settled, &pgsv_registry);
    bool made = files_made != refused->files_made;
    pthread_mutex_unlock(&pgsv_registry);
    return waited || made;
}

enum entry { ENTRY_OPEN, ENTRY_FRESH, ENTRY_AGAIN };

/* Finds the region at a path and adds a reference. ENTRY_FRESH: it is `fresh`, which the caller must open and settle.
 * ENTRY_AGAIN: another thread had it under way and has settled it. */
static enum entry region_enter(const char *path, struct region *fresh, struct region **out)
{
    struct stat status;
    enum entry entry = ENTRY_OPEN;
    bool there = stat(path, &status) == 0;
    pthread_mutex_lock(&pgsv_registry);
    struct region *region = there ? region_find(status.st_dev, status.st_ino) : region_being_made(path);
    if (!region) {
        *fresh = (struct region){.next = regions, .under_way = true, .refs = 1};
        fresh->turn = turns++;
        fresh->files_made = files_made;
        if (there) fresh->device = status.st_dev, fresh->inode = status.st_ino;
        else fresh->made = path;
        regions = region = fresh;
        entry = ENTRY_FRESH;
    } else if (region->under_way) {
        pthread_cond_wait(&settled, &pgsv_registry);
        entry = ENTRY_AGAIN;
    } else {
        region->refs++;
    }
    pthread_mutex_unlock(&pgsv_registry);
    *out = region;
    return entry;
}

/* ---- regions: opening and closing ---- */

/* Whether only writing was refused: there is no permission, or the file is larger than the process may write. */
static bool is_of_writing(int code)
{
    return code == -EACCES || code == -EROFS || code == -EPERM || code == -EFBIG || code == PGS_E_READ_ONLY;
}

/* Opens the store; read-only if it must not be written, or if several readers are allowed. If the file does not exist,
 * it cannot be read either: then the failure to create it is returned. */
static int store_open(const struct place *place, int flags, const struct wishes *wishes, struct region *region)
{
    uint32_t storage = wishes->copy_on_write ? PGS_COPY_ON_WRITE : 0;
    pgs_options options = {.size = sizeof options,
                           .flags = storage | (place->create ? PGS_CREATE : 0),
                           .required = wishes->required,
                           .assume = wishes->assume,
                           .max_bytes = wishes->max_bytes};
    region->read_only = wishes->shared_reading && !(flags & SQLITE_OPEN_READWRITE);
    if (!region->read_only) {
        int code = pgs_open(place->region, &options, &region->store);
        if (place->create || !is_of_writing(code)) return code;
        region->read_only = true;
        region->not_written = code;
    }
    /* A reader stores nothing, so the durability of the region does not matter to it. */
    options.flags = PGS_READ_ONLY;
    options.required = 0;
    return pgs_open(place->region, &options, &region->store);
}

/* Opens the region and gets its device and inode. After a failure nothing is open. A code above 0 is one of SQLite. */
static int region_fill(struct region *region, const struct place *place, int flags, const struct wishes *wishes,
                       pgs_store_info *info)
{
    int code = pgsv_may_open(place);
    if (code == SQLITE_OK) code = store_open(place, flags, wishes, region);
    if (code != PGS_OK) return code;
    *info = (pgs_store_info){.size = sizeof *info};
    code = pgs_info(region->store, info);
    if (code != PGS_OK) {
        pgs_close(region->store);
        return code;
    }
    if (info->ending != PGS_ENDING_CLEAN)
        pgsv_notice("%s: recovered as after %s: %s (%llu operations replayed, %llu dropped)", place->region,
                    info->ending == PGS_ENDING_PROCESS_DEATH ? "the death of a process" : "a loss of power",
                    pgs_why_text(info->why), (unsigned long long)info->replayed, (unsigned long long)info->dropped);
    region->durability = info->durability;
    return PGS_OK;
}

/* Drops a reference; the last one closes the region. If a page is still pinned (a fetch that was never returned), the
 * region stays open and listed, and the next opening uses it. */
static int region_put(struct region *region)
{
    pthread_mutex_lock(&pgsv_registry);
    bool last = --region->refs == 0;
    region->under_way = last;
    pthread_mutex_unlock(&pgsv_registry);
    if (!last) return SQLITE_OK;
    int code = pgs_close(region->store);
    pthread_mutex_lock(&pgsv_registry);
    if (code == PGS_E_BUSY) region_settle(region);
    else region_unlist(region);
    pthread_mutex_unlock(&pgsv_registry);
    if (code != PGS_E_BUSY) free(region);
    return pgsv_status(NULL, code, SQLITE_IOERR_CLOSE, "closing a region");
}

static int region_open(struct region *fresh, const struct place *place, int flags, const struct wishes *wishes)
{
    pgs_store_info info;
    int code = region_fill(fresh, place, flags, wishes, &info);
    pthread_mutex_lock(&pgsv_registry);
    if (code == PGS_OK) fresh->device = (dev_t)info.device, fresh->inode = (ino_t)info.inode;
    files_made += code == PGS_OK && fresh->made;
    if (code == PGS_OK) region_settle(fresh);
    else region_unlist(fresh);
    pthread_mutex_unlock(&pgsv_registry);
    return code;
}

static int region_get(const struct place *place, int flags, const struct wishes *wishes, struct region **out)
{
    struct region *fresh = calloc(1, sizeof *fresh);
    enum entry entry;
    int code;
    if (!fresh) return SQLITE_NOMEM;
    /* The second look is the last: by then every file that was being created is known. */
    for (int looks = 1;; looks++) {
        code = PGS_OK;
        while ((entry = region_enter(place->region, fresh, out)) == ENTRY_AGAIN) continue;
        if (entry == ENTRY_OPEN) break;
        bool made = fresh->made != NULL; /* it did not exist when it was looked up, and may be open here by now */
        code = region_open(fresh, place, flags, wishes);
        if (code == PGS_OK) return SQLITE_OK;
        if ((code != PGS_E_IN_USE && code != SQLITE_BUSY) || looks == 2 || !(claimed_here(fresh) || made)) break;
    }
    free(fresh);
    if ((code == PGS_E_IN_USE || code == SQLITE_BUSY) && wishes->told) return SQLITE_BUSY;
    if (code == SQLITE_BUSY) return pgsv_refuse(code, "%s is empty, and another connection has it locked", place->region);
    if (code > 0) return code;
    if (code != PGS_OK) return pgsv_status(NULL, code, SQLITE_CANTOPEN, place->region);
    if ((*out)->read_only || wishes->required <= (*out)->durability) return SQLITE_OK;
    region_put(*out);
    return pgsv_refuse(SQLITE_CANTOPEN, "%s is already open, and its durability is weaker than the one required now", place->region);
}

/* ---- databases ---- */

static struct database *database_find(const struct region *region, const char *name)
{
    struct database *database = databases;
    while (database && (database->region != region || strcmp(database->name, name))) database = database->next;
    return database;
}

int pgsv_database_get(const struct place *place, int flags, const struct wishes *wishes, struct database **out)
{
    struct region *region;
    struct database *fresh = calloc(1, sizeof *fresh);
    if (!fresh) return SQLITE_NOMEM;
    int result = region_get(place, flags, wishes, &region);
    if (result != SQLITE_OK) {
        free(fresh);
        return result;
    }
    fresh->region = region;
    fresh->forks = pgsv_forks;
    pthread_mutex_init(&fresh->mutex, NULL);
    pthread_mutex_init(&fresh->looking, NULL);
    memcpy(fresh->name, place->object, sizeof fresh->name);
    pthread_mutex_lock(&pgsv_registry);
    struct database *database = database_find(region, place->object);
    if (database) {
        region->refs--; /* the database already has one */
    } else {
        fresh->next = databases;
        databases = database = fresh;
    }
    database->refs++;
    pthread_mutex_unlock(&pgsv_registry);
    if (database != fresh) free(fresh);
    *out = database;
    return SQLITE_OK;
}

int pgsv_database_put(struct database *database)
{
    pthread_mutex_lock(&pgsv_registry);
    bool last = --database->refs == 0;
    struct database **link = &databases;
    while (last && *link != database) link = &(*link)->next;
    if (last) *link = database->next;
    pthread_mutex_unlock(&pgsv_registry);
    if (!last) return SQLITE_OK;
    struct region *region = database->region;
    for (int slot = 0; slot < SLOTS; slot++)
        if (database->objects[slot].state == OBJECT_OPEN) pgs_object_close(database->objects[slot].handle);
    pthread_mutex_destroy(&database->mutex);
    pthread_mutex_destroy(&database->looking);
    free(database);
    return region_put(region);
}

/* ---- objects ---- */

static int object_open(struct database *database, enum slot slot, bool create)
{
    static const char *const suffix[SLOTS] = {"", "-journal", "-wal"};
    struct object *object = &database->objects[slot];
    char name[PGS_NAME_MAX + 1];
    sqlite3_snprintf(sizeof name, name, "%s%s", database->name, suffix[slot]);
    int code = pgs_object_open(database->region->store, name, create ? PGS_CREATE : 0, &object->handle);
    if (code == PGS_OK || code == PGS_E_NOT_FOUND)
        atomic_store_explicit(&object->state, code == PGS_OK ? OBJECT_OPEN : OBJECT_ABSENT, memory_order_release);
    return code == PGS_E_NOT_FOUND ? SQLITE_OK : pgsv_status(NULL, code, SQLITE_CANTOPEN, name);
}

/* Opens an object if it exists or is to be created. OBJECT_ABSENT afterwards: it does not exist. */
int pgsv_object_look(struct database *database, enum slot slot, bool create)
{
    struct object *object = &database->objects[slot];
    int result = SQLITE_OK;
    enum object_state state = atomic_load_explicit(&object->state, memory_order_acquire);
    if (state == OBJECT_OPEN || (state == OBJECT_ABSENT && !create)) return SQLITE_OK;
    pthread_mutex_lock(&database->looking);
    if (atomic_load_explicit(&object->state, memory_order_acquire) != OBJECT_OPEN)
        result = object_open(database, slot, create);
    pthread_mutex_unlock(&database->looking);
    return result;
}

int pgsv_object_exists(struct database *database, enum slot slot, bool *exists)
{
    uint64_t bytes = 0;
    struct object *object = &database->objects[slot];
    int result = pgsv_object_look(database, slot, false);
    if (result == SQLITE_OK && atomic_load_explicit(&object->state, memory_order_acquire) == OBJECT_OPEN)
        result = pgsv_status(NULL, pgs_object_size(object->handle, &bytes), SQLITE_IOERR_ACCESS, "the size of an object");
    *exists = bytes > 0;
    return result;
}
