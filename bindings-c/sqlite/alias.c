/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The part of the registry that finds databases by the names of their journals and WALs, which SQLite passes as paths.
 *
 * A path can mean two databases at once: one whose file was unlinked or replaced while it was open, and one that is there
 * now. A connection that asks for its own journal passes the name behind its database's name, which SQLite keeps as long
 * as the file is open. So the pointer identifies the connection. Any other string with the same letters means the
 * database that is at the path now.
 */
#include "internal.h"

#include <string.h>

#define BUCKETS 256

/* Main files, by the names of their journals and of their WALs. */
static struct file *asking[SLOTS][BUCKETS];

void pgsv_aliases_forget(void)
{
    memset(asking, 0, sizeof asking);
}

/* Multiplied, because the low bits of names in blocks of one size are often the same. */
static struct file **bucket_of(enum slot slot, const char *name)
{
    return &asking[slot][(uint64_t)(uintptr_t)name * 0x9e3779b97f4a7c15u >> 56];
}

/* The database of the connection that owns this name pointer, or NULL. The registry is held. */
static struct database *database_of(const char *name, enum slot slot)
{
    struct file *file = *bucket_of(slot, name);
    while (file && file->names[slot] != name) file = file->next_asking[slot];
    return file ? file->database : NULL;
}

/* The same, with one more reference. */
struct database *pgsv_alias_database(const char *name, enum slot slot)
{
    pthread_mutex_lock(&pgsv_registry);
    struct database *database = database_of(name, slot);
    if (database) database->refs++;
    pthread_mutex_unlock(&pgsv_registry);
    return database;
}

/* Whether the registry alone knows if the database has a journal or WAL. Every transaction asks this. */
bool pgsv_alias_answers(const char *name, enum slot slot, bool *exists)
{
    uint64_t bytes = 0;
    pthread_mutex_lock(&pgsv_registry);
    struct database *database = database_of(name, slot);
    struct object *object = database ? &database->objects[slot] : NULL;
    enum object_state state = object ? atomic_load_explicit(&object->state, memory_order_acquire) : OBJECT_UNKNOWN;
    bool answers = state == OBJECT_ABSENT || (state == OBJECT_OPEN && pgs_object_size(object->handle, &bytes) == PGS_OK);
    pthread_mutex_unlock(&pgsv_registry);
    *exists = bytes > 0;
    return answers;
}

/* Registers an open main file. */
void pgsv_alias_add(struct file *file)
{
    file->names[SLOT_JOURNAL] = sqlite3_filename_journal(file->names[SLOT_DB]);
    file->names[SLOT_WAL] = sqlite3_filename_wal(file->names[SLOT_DB]);
    pthread_mutex_lock(&pgsv_registry);
    for (int slot = SLOT_JOURNAL; slot < SLOTS; slot++) {
        struct file **bucket = bucket_of(slot, file->names[slot]);
        file->next_asking[slot] = *bucket;
        *bucket = file;
    }
    pthread_mutex_unlock(&pgsv_registry);
}

void pgsv_alias_remove(struct file *file)
{
    pthread_mutex_lock(&pgsv_registry);
    for (int slot = SLOT_JOURNAL; slot < SLOTS; slot++) {
        struct file **link = bucket_of(slot, file->names[slot]);
        while (*link != file) link = &(*link)->next_asking[slot];
        *link = file->next_asking[slot];
    }
    pthread_mutex_unlock(&pgsv_registry);
}
