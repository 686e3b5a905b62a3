/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Paths under which databases are open, of the registry: journals and WALs are asked for by path. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

#define BUCKETS 256

static struct alias *aliases[BUCKETS];

void pgsv_aliases_forget(void)
{
    memset(aliases, 0, sizeof aliases);
}

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

/* The database open under this path, or NULL; the registry is held.
 *
 * A path can stand for two at once: one whose file was unlinked or renamed while open, and one opened there since. Then
 * `given_name` decides. SQLite keeps the names of a connection's database, journal and WAL in one block of memory and
 * passes pointers into it, so the connection that asks is the one whose database name lies closest before. */
static struct database *alias_find(const char *path, size_t length, const char *given_name)
{
    struct alias *first = *bucket_of(path, length);
    while (first && !names(first, path, length)) first = first->next;
    if (!first) return NULL;
    struct alias *second = first->next;
    while (second && !names(second, path, length)) second = second->next;
    return second ? closest(first, path, length, given_name)->database : first->database;
}

/* The same with one more reference. */
struct database *pgsv_alias_database(const char *path, size_t length, const char *given_name)
{
    pthread_mutex_lock(&pgsv_registry);
    struct database *database = alias_find(path, length, given_name);
    if (database) database->refs++;
    pthread_mutex_unlock(&pgsv_registry);
    return database;
}

/* Whether it is known without opening anything if the database has a journal or WAL. Asked by every transaction. */
bool pgsv_alias_answers(const char *path, size_t length, enum slot slot, bool *exists)
{
    uint64_t bytes = 0;
    pthread_mutex_lock(&pgsv_registry);
    struct database *database = alias_find(path, length, path);
    struct object *object = database ? &database->objects[slot] : NULL;
    enum object_state state = object ? atomic_load_explicit(&object->state, memory_order_acquire) : OBJECT_UNKNOWN;
    bool answers = state == OBJECT_ABSENT || (state == OBJECT_OPEN && pgs_object_size(object->handle, &bytes) == PGS_OK);
    pthread_mutex_unlock(&pgsv_registry);
    *exists = bytes > 0;
    return answers;
}

/* The file is open under this path. */
int pgsv_alias_add(struct file *file, const char *path)
{
    size_t length = strlen(path);
    struct alias *fresh = calloc(1, sizeof *fresh + length + 1);
    if (!fresh) return SQLITE_NOMEM;
    fresh->database = file->database;
    memcpy(fresh->path, path, length + 1);
    pthread_mutex_lock(&pgsv_registry);
    struct alias **bucket = bucket_of(path, length), *alias = *bucket;
    while (alias && (alias->database != file->database || !names(alias, path, length))) alias = alias->next;
    if (!alias) {
        fresh->next = *bucket;
        *bucket = alias = fresh;
    }
    file->alias = alias;
    file->alias_next = alias->files;
    alias->files = file;
    pthread_mutex_unlock(&pgsv_registry);
    if (alias != fresh) free(fresh);
    return SQLITE_OK;
}

void pgsv_alias_remove(struct file *file)
{
    struct alias *alias = file->alias;
    struct file **member = &alias->files;
    pthread_mutex_lock(&pgsv_registry);
    while (*member != file) member = &(*member)->alias_next;
    *member = file->alias_next;
    bool last = !alias->files;
    struct alias **link = bucket_of(alias->path, strlen(alias->path));
    while (last && *link != alias) link = &(*link)->next;
    if (last) *link = alias->next;
    pthread_mutex_unlock(&pgsv_registry);
    if (last) free(alias);
}
