/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the files of the VFS share.
 *
 *   vfs.c      the VFS: registration, xOpen, xDelete, xAccess
 *   place.c    path -> region file and object names; foreign files, links, query parameters
 *   region.c   the table of open regions, databases and paths
 *   file.c     io methods of an object: read, write, truncate, sync, size, fetch
 *   control.c  file controls
 *   batch.c    batch-atomic writes
 *   lock.c     the five database locks
 *   shm.c      the WAL index and its eight locks
 *   status.c   codes of Pagestone -> codes of SQLite, and the log
 *
 * Two kinds of mutex, the registry first: pgsv_registry (everything in region.c; held by xOpen, xDelete and xAccess, and
 * of the io methods by xClose alone) and database.mutex (database locks and the WAL index).
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

/* Room for an object's name with the longest suffix taken off. */
#define OBJECT_PREFIX_MAX (PGS_NAME_MAX - 8)

struct file;

/* An open region. One for each device and inode. */
struct region {
    struct region *next;
    dev_t device;
    ino_t inode;
    pgs_store *store;
    int refs; /* databases */
    bool read_only;
    uint32_t durability;
};

/* One object of a database. Its handle is opened when first needed and kept until the database closes, so an io method
 * that runs never sees it change. An empty journal or WAL does not exist, as far as SQLite can tell. */
struct object {
    pgs_object *handle;
    bool looked_for;             /* handle is NULL because there is no such object */
    _Atomic(uint64_t) reached;   /* WAL: the object is at least this long */
    _Atomic(bool) synced;        /* since it was emptied by xDelete */
};

/* An open database: everything its connections share. One for each region and name. */
struct database {
    struct database *next;
    struct region *region;
    int refs; /* open files */
    struct object objects[SLOTS];
    pthread_mutex_t mutex;
    int shared; /* connections with SHARED or more */
    struct file *reserved, *pending, *exclusive;
    void **pieces; /* the WAL index */
    int piece_count, index_users;
    int index_shared[SHM_LOCKS];
    struct file *index_exclusive[SHM_LOCKS];
    char name[OBJECT_PREFIX_MAX + 1]; /* prefix of the objects' names */
};

/* A path under which a database is open: journals and WALs are asked for by path. */
struct alias {
    struct alias *next;
    struct database *database;
    struct file *files; /* main files opened by this path */
    char path[];
};

/* What SQLite holds: an open main database, journal or WAL. */
struct file {
    sqlite3_file base;
    struct database *database;
    struct object *object;
    enum slot slot;
    bool read_only, delete_on_close, persist_wal, powersafe;
    pgs_batch *batch;    /* between BEGIN_ATOMIC_WRITE and its end */
    bool journal_needed; /* a batch has failed: what SQLite writes next is covered by a journal that it did not sync */
    bool unsynced;       /* the connection has once had synchronous=OFF: SQLite then offers no batch to commit by, and yet keeps
                            the journal in memory wherever batches are offered, so that a death in mid-commit tears */
    bool journaling;     /* a transaction has its journal, in memory or not */
    int lock;            /* SQLITE_LOCK_* */
    int last_errno;
    /* Fetches. All pins held at a time have one length, since xUnfetch does not name it. */
    sqlite3_int64 fetch_limit;
    int pins, pin_length;
    /* WAL index */
    bool index_used;
    unsigned index_shared, index_exclusive; /* locks held, one bit each */
    /* Main file only. */
    struct alias *alias;
    struct file *alias_next;
    const char *given_name; /* as xOpen got it: only ever compared, never read */
    dev_t path_device;
    ino_t path_inode;
};

/* How a database is to be opened: its query parameters, and the environment. */
struct wishes {
    const char *region; /* ?region=, or NULL */
    uint64_t max_bytes;
    uint32_t required, assume; /* PGS_DURABILITY_* */
    bool pass_foreign, shared_reading;
};

/* What a path turned out to be. */
enum place_kind {
    PLACE_REGION,  /* the database is in `region` under `object` */
    PLACE_DEFAULT, /* nothing of ours: the default VFS answers */
    PLACE_FOREIGN  /* an ordinary SQLite database */
};
struct place {
    enum place_kind kind;
    bool create;  /* the region may be created */
    bool needs_link; /* the path needs a link file that names region and object */
    char region[PATH_MAX];
    char object[OBJECT_PREFIX_MAX + 1];
};

#define FILE_OF(base) ((struct file *)(base))

extern sqlite3_vfs *pgsv_default;
extern const sqlite3_io_methods pgsv_methods;
extern pthread_mutex_t pgsv_registry;

/* status.c */
int pgsv_status(struct file *file, int code, int otherwise, const char *what);
int pgsv_failure(struct file *file, int code, int result, const char *what);
int pgsv_refuse(int result, const char *format, ...);

/* place.c: pgsv_registry is held */
int pgsv_wishes(const char *uri_name, struct wishes *wishes);
int pgsv_locate(const char *path, int flags, const struct wishes *wishes, struct place *place);
int pgsv_link(const char *path, const struct place *place);

/* region.c: pgsv_registry is held */
int pgsv_database_get(const struct place *place, int flags, const struct wishes *wishes, struct database **database);
int pgsv_database_put(struct database *database);
bool pgsv_region_is_open(dev_t device, ino_t inode);
int pgsv_object_look(struct database *database, enum slot slot, bool create);
int pgsv_object_exists(struct database *database, enum slot slot, bool *exists);
struct database *pgsv_alias_find(const char *path, size_t length, const char *given_name);
int pgsv_alias_add(struct file *file, const char *path);
void pgsv_alias_remove(struct file *file);

/* lock.c */
int pgsv_still_whole(struct file *file, int error, const char *call);

/* batch.c */
int pgsv_batch_begin(struct file *file);
int pgsv_batch_write(struct file *file, const void *buffer, size_t length, uint64_t offset);
int pgsv_batch_commit(struct file *file);
int pgsv_batch_rollback(struct file *file);
int pgsv_batch_replaced(struct file *file);

/* control.c */
const char *pgsv_host_option(const char *key);
bool pgsv_host_tells(void);

/* file.c, control.c, lock.c, shm.c: io methods */
int pgsv_control(sqlite3_file *base, int operation, void *argument);
int pgsv_lock(sqlite3_file *base, int level);
int pgsv_unlock(sqlite3_file *base, int level);
int pgsv_check_reserved(sqlite3_file *base, int *held);
int pgsv_shm_map(sqlite3_file *base, int piece, int bytes, int extend, void volatile **address);
int pgsv_shm_lock(sqlite3_file *base, int first, int count, int flags);
void pgsv_shm_barrier(sqlite3_file *base);
int pgsv_shm_unmap(sqlite3_file *base, int delete_it);

#endif
