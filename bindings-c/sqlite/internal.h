/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Declarations that the files of the VFS share.
 *
 *   register.c registration: entry points, the default VFS, forks
 *   vfs.c      the VFS: xOpen, xDelete, xAccess
 *   wishes.c   query parameters and the environment
 *   place.c    path -> region file and object names; foreign files, links
 *   region.c   the registry: open regions and databases
 *   alias.c    the registry: which database a journal or WAL name belongs to
 *   waiting.c  io methods of a database whose region another process has open
 *   file.c     io methods of an object: read, write, truncate, sync, size, fetch
 *   control.c  file controls
 *   batch.c    batch-atomic writes
 *   lock.c     the five database locks
 *   shm.c      the WAL index and its eight locks
 *   status.c   codes of Pagestone -> codes of SQLite; failures in words
 *
 * There are three kinds of mutex. A thread holds only one at a time:
 *   pgsv_registry      lists of regions, databases and names. Nothing under it opens, closes, reads or syncs a file.
 *   database.looking   opening and creating the objects of a database
 *   database.mutex     the database's locks and its WAL index
 */
#ifndef PAGESTONE_VFS_INTERNAL_H
#define PAGESTONE_VFS_INTERNAL_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "pagestone.h"
#ifdef SQLITE_CORE
#include "sqlite3.h"
#else
#include "sqlite3ext.h"
#ifndef PAGESTONE_VFS_ENTRY
SQLITE_EXTENSION_INIT3
#endif
#endif

/* The objects of one database. */
enum slot { SLOT_DB, SLOT_JOURNAL, SLOT_WAL, SLOTS };

#define SHM_LOCKS 8

/* Maximum length of an object's name without its suffix. */
#define OBJECT_PREFIX_MAX (PGS_NAME_MAX - 8)

struct file;

/* An open region of this process. There is one for each device and inode. */
struct region {
    struct region *next;
    bool under_way;   /* a thread is opening or closing it; others that want it wait for `settled` */
    const char *made; /* the path, while a missing file is being created: device and inode are not known yet */
    unsigned long turn, files_made; /* openings begun before this one; and openings that had created their file */
    dev_t device;
    ino_t inode;
    pgs_store *store;
    int refs; /* databases */
    bool read_only;
    int not_written; /* why it is read-only although a writer opened it: a code of Pagestone */
    uint32_t durability;
};

enum object_state { OBJECT_UNKNOWN, OBJECT_ABSENT, OBJECT_OPEN };

/* One object of a database. Its handle is opened when it is first needed and stays open until the database closes, so it
 * never changes under an io method. An empty journal or WAL does not exist, from the view of SQLite. */
struct object {
    pgs_object *handle;          /* valid once `state` is OBJECT_OPEN */
    _Atomic(enum object_state) state;
    _Atomic(uint64_t) reached;   /* WAL: the object is at least this long */
    _Atomic(bool) synced;        /* synced since xDelete emptied it */
};

/* An open database, shared by its connections. There is one for each region and name. */
struct database {
    struct database *next;
    struct region *region;
    int refs; /* open files */
    unsigned forks; /* value of pgsv_forks when it was opened */
    struct object objects[SLOTS];
    _Atomic(int) vacuum; /* VACUUM_*: see control.c */
    pthread_mutex_t looking, mutex;
    int shared; /* number of connections with SHARED or a higher lock */
    struct file *reserved, *pending, *exclusive;
    void **pieces; /* the WAL index */
    int piece_count, index_users;
    int index_shared[SHM_LOCKS];
    struct file *index_exclusive[SHM_LOCKS];
    char name[OBJECT_PREFIX_MAX + 1]; /* prefix of the objects' names */
};

/* An open main database, journal or WAL, as SQLite holds it. While the region belongs to another process, a main
 * database has `wanted` instead of `database` and `object`. */
struct file {
    sqlite3_file base;
    struct database *database;
    struct wanted *wanted;
    struct object *object;
    enum slot slot;
    bool read_only, delete_on_close, persist_wal, powersafe;
    pgs_batch *batch;    /* from BEGIN_ATOMIC_WRITE to its end */
    bool journal_needed; /* a batch has failed: a journal that SQLite did not sync covers its next writes */
    bool unsynced;       /* The connection gets no batches. Either it has had synchronous=OFF: SQLite then commits without
                            a batch, but keeps the journal in memory as long as the VFS offers batches, so that a death in
                            the middle of a commit would tear the database. Or it takes no locks: then the VFS cannot see
                            whether a transaction is running, in which synchronous=OFF must be refused. */
    bool journaling;     /* a transaction has a journal, in memory or in the region */
    int lock;            /* SQLITE_LOCK_* */
    int last_errno;
    /* Fetches. All pins at a time have the same length, because xUnfetch does not pass it. */
    sqlite3_int64 fetch_limit;
    int pins, pin_length;
    /* WAL index */
    bool index_used;
    unsigned index_shared, index_exclusive; /* locks held, one bit for each */
    /* Main file only. */
    const char *names[SLOTS];         /* the first as xOpen got it; SQLite keeps it, and the two behind it, until xClose */
    struct file *next_asking[SLOTS];  /* see alias.c */
    dev_t path_device;
    ino_t path_inode;
};

/* How to open a database: its query parameters, and the environment. */
struct wishes {
    const char *region; /* ?region=, or NULL */
    uint64_t max_bytes;
    uint32_t required, assume; /* PGS_DURABILITY_* */
    int64_t wait; /* milliseconds that the opening waits for another process; negative: SQLite's busy handler waits */
    bool pass_foreign, shared_reading, copy_on_write;
    bool told; /* whether "the region is in use" was logged */
};

/* The kind of file that a path leads to. */
enum place_kind {
    PLACE_REGION,  /* the database is in `region` under `object` */
    PLACE_DEFAULT, /* not a file of this VFS: the default VFS handles it */
    PLACE_FOREIGN  /* an ordinary SQLite database */
};
struct place {
    enum place_kind kind;
    bool create;  /* whether the region may be created: nothing is there, or what a creation left that did not end */
    bool empty;   /* nothing is there, or a file of no bytes */
    bool needs_link; /* whether the path needs a link file that names region and object */
    char region[PATH_MAX];
    char object[OBJECT_PREFIX_MAX + 1];
};

/* The parameters with which a waiting database will be opened. */
struct wanted {
    struct place place;
    struct wishes wishes;
    int flags;
};

#define FILE_OF(base) ((struct file *)(base))

extern sqlite3_vfs *pgsv_default; /* handles the files that this VFS does not handle */
extern sqlite3_vfs *pgsv_system;  /* SQLite's own VFS for files: it knows which locks this process has */
extern const sqlite3_io_methods pgsv_methods, pgsv_waiting_methods;
extern pthread_mutex_t pgsv_registry;

/* Number of forks between the first process and this one. A database with another number belongs to a parent. */
extern unsigned pgsv_forks;

static inline bool pgsv_is_inherited(const struct file *file)
{
    return file->database && file->database->forks != pgsv_forks;
}

/* vfs.c */
sqlite3_vfs *pgsv_vfs(const sqlite3_vfs *below);
int pgsv_open_place(struct file *file, struct place *place, const struct wishes *wishes, int flags);

/* status.c */
int pgsv_status(struct file *file, int code, int otherwise, const char *what);
int pgsv_failure(struct file *file, int code, int result, const char *what);
int pgsv_refuse(int result, const char *format, ...);
int pgsv_refuse_default(int result, const char *path);
void pgsv_notice(const char *format, ...);
void pgsv_tell(int result, const char *line);
char *pgsv_last_failure(void);
void pgsv_forget_failure(void);
void pgsv_messages_forget(void);
int pgsv_open_above(const char *path, int flags, mode_t mode);

/* wishes.c */
int pgsv_wishes(const char *uri_name, struct wishes *wishes);
int pgsv_wish_for_default(bool *wished);
int pgsv_names_are_known(const char *uri_name);
void pgsv_look_at_environment(void);
const char *pgsv_environment(const char *name);

/* place.c */
int pgsv_locate(const char *path, int flags, const struct wishes *wishes, struct place *place);
bool pgsv_is_writable(const char *path);
int pgsv_may_open(const struct place *place);
int pgsv_may_link(const char *path, struct place *place);
int pgsv_link(const char *path, struct place *place);

/* region.c */
int pgsv_database_get(const struct place *place, int flags, const struct wishes *wishes, struct database **database);
int pgsv_database_put(struct database *database);
bool pgsv_region_is_open(dev_t device, ino_t inode);
int pgsv_object_look(struct database *database, enum slot slot, bool create);
int pgsv_object_exists(struct database *database, enum slot slot, bool *exists);
void pgsv_regions_forget(void);

/* alias.c */
struct database *pgsv_alias_database(const char *name, enum slot slot);
bool pgsv_alias_answers(const char *name, enum slot slot, bool *exists);
void pgsv_alias_add(struct file *file);
void pgsv_alias_remove(struct file *file);
void pgsv_aliases_forget(void);

/* lock.c */
int pgsv_still_whole(struct file *file, int error, const char *call);
int pgsv_refuse_inherited(int result);

/* batch.c */
int pgsv_batch_begin(struct file *file);
int pgsv_batch_write(struct file *file, const void *buffer, size_t length, uint64_t offset);
int pgsv_batch_commit(struct file *file);
int pgsv_batch_rollback(struct file *file);
int pgsv_batch_replaced(struct file *file);

/* control.c */
void pgsv_space_freed(struct database *database, enum slot slot);
const char *pgsv_host_option(const char *key);
bool pgsv_host_tells(void);

/* file.c, control.c, lock.c, shm.c: io methods */
int pgsv_sector_size(sqlite3_file *base);
int pgsv_characteristics(sqlite3_file *base);
int pgsv_control(sqlite3_file *base, int operation, void *argument);
int pgsv_lock(sqlite3_file *base, int level);
int pgsv_unlock(sqlite3_file *base, int level);
int pgsv_check_reserved(sqlite3_file *base, int *held);
int pgsv_shm_map(sqlite3_file *base, int piece, int bytes, int extend, void volatile **address);
int pgsv_shm_lock(sqlite3_file *base, int first, int count, int flags);
void pgsv_shm_barrier(sqlite3_file *base);
int pgsv_shm_unmap(sqlite3_file *base, int delete_it);

#endif
