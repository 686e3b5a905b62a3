/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Names of journals and WALs, of the registry: SQLite asks for them by path.
 *
 * A path can stand for two databases at once: one whose file was unlinked or replaced while open, and one that lies there
 * since. A connection that asks for its own journal passes the name that lies behind its database's, which SQLite keeps
 * while the file is open: that pointer tells which connection asks. Any other string with the same letters asks for
 * what is at the path.
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

/* The low bits of names in two blocks of one size are often the same. */
static struct file **bucket_of(enum slot slot, const char *name)
{
    return &asking[slot][(uint64_t)(uintptr_t)name * 0x9e3779b97f4a7c15u >> 56];
}

/* The database of the connection whose own name this is, or NULL; the registry is held. */
static struct database *database_of(const char *name, enum slot slot)
{
    struct file *file = *bucket_of(slot, name);
    while (file && file->names[slot] != name) file = file->next_asking[slot];
    return file ? file->database : NULL;
}

/* The same with one more reference. */
struct database *pgsv_alias_database(const char *name, enum slot slot)
{
    pthread_mutex_lock(&pgsv_registry);
    struct database *database = database_of(name, slot);
    if (database) database->refs++;
    pthread_mutex_unlock(&pgsv_registry);
    return database;
}

/* Whether it is known without opening anything if the database has a journal or WAL. Asked by every transaction. */
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

/* The main file is open. */
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
