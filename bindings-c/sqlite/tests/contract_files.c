/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Contract tests: reads, writes, sizes, fetches, locks and the WAL index of open files. */
#include "contract.h"

#include <stdlib.h>

#define METHOD(opened, method, ...) ((opened).file->pMethods->method((opened).file, ##__VA_ARGS__))
#define READ(opened, buffer, length, offset) METHOD(opened, xRead, buffer, length, offset)
#define WRITE(opened, buffer, length, offset) METHOD(opened, xWrite, buffer, length, offset)

static unsigned char *fresh(unsigned char value, size_t length)
{
    static _Thread_local unsigned char bytes[1 << 20];
    memset(bytes, value, length);
    return bytes;
}

static sqlite3_int64 size_of(struct opened *opened)
{
    sqlite3_int64 size = -1;
    return METHOD(*opened, xFileSize, &size) == SQLITE_OK ? size : -1;
}

static void set_limit(struct opened *opened, sqlite3_int64 limit)
{
    METHOD(*opened, xFileControl, SQLITE_FCNTL_MMAP_SIZE, &limit);
}

static const char *short_read_is_zero_filled(const char *directory)
{
    struct opened db;
    unsigned char got[600];
    HOLDS(contract_open_main(&db, directory, "a.db") == SQLITE_OK);
    memset(got, 0xee, sizeof got);
    HOLDS(READ(db, got, 600, 0) == SQLITE_IOERR_SHORT_READ);
    HOLDS(contract_all(got, 0, 600));
    HOLDS(WRITE(db, fresh(7, 100), 100, 0) == SQLITE_OK);
    memset(got, 0xee, sizeof got);
    HOLDS(READ(db, got, 600, 0) == SQLITE_IOERR_SHORT_READ);
    HOLDS(contract_all(got, 7, 100) && contract_all(got + 100, 0, 500));
    HOLDS(READ(db, got, 100, 0) == SQLITE_OK);
    HOLDS(contract_close(&db) == SQLITE_OK);
    return NULL;
}

static const char *gap_reads_as_zeros(const char *directory)
{
    struct opened db;
    unsigned char got[20000];
    HOLDS(contract_open_main(&db, directory, "a.db") == SQLITE_OK);
    HOLDS(WRITE(db, fresh(1, 10), 10, 0) == SQLITE_OK);
    HOLDS(WRITE(db, fresh(2, 10), 10, 19990) == SQLITE_OK);
    HOLDS(size_of(&db) == 20000);
    HOLDS(READ(db, got, 20000, 0) == SQLITE_OK);
    HOLDS(contract_all(got, 1, 10) && contract_all(got + 10, 0, 19980) && contract_all(got + 19990, 2, 10));
    HOLDS(contract_close(&db) == SQLITE_OK);
    return NULL;
}

/* Sizes inside a frame, at its edge and across many. */
static const char *bytes_cut_off_never_come_back(const char *directory)
{
    static const int cuts[] = {0, 1, 100, 4095, 4096, 4097, 8192, 30001};
    struct opened db;
    unsigned char got[40000];
    HOLDS(contract_open_main(&db, directory, "a.db") == SQLITE_OK);
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        int cut = cuts[i];
        HOLDS(WRITE(db, fresh(0x5a, 40000), 40000, 0) == SQLITE_OK);
        HOLDS(METHOD(db, xTruncate, cut) == SQLITE_OK && size_of(&db) == cut);
        /* Grown by a truncate, and by a write after the end. */
        if (i % 2) HOLDS(METHOD(db, xTruncate, 40000) == SQLITE_OK);
        else HOLDS(WRITE(db, fresh(0, 1), 1, 39999) == SQLITE_OK);
        HOLDS(size_of(&db) == 40000);
        HOLDS(READ(db, got, 40000, 0) == SQLITE_OK);
        HOLDS(contract_all(got, 0x5a, (size_t)cut) && contract_all(got + cut, 0, (size_t)(40000 - cut)));
    }
    HOLDS(contract_close(&db) == SQLITE_OK);
    return NULL;
}

static const char *fetch_follows_limit_and_end(const char *directory)
{
    struct opened db;
    void *page = &db;
    sqlite3_int64 limit = -1;
    HOLDS(contract_open_main(&db, directory, "a.db") == SQLITE_OK);
    HOLDS(WRITE(db, fresh(3, 16384), 16384, 0) == SQLITE_OK);
    /* The limit is 0 until SQLite sets it: no fetch. -1 only asks. */
    HOLDS(METHOD(db, xFetch, 4096, 4096, &page) == SQLITE_OK && page == NULL);
    HOLDS(METHOD(db, xFileControl, SQLITE_FCNTL_MMAP_SIZE, &limit) == SQLITE_OK && limit == 0);
    limit = 12288;
    HOLDS(METHOD(db, xFileControl, SQLITE_FCNTL_MMAP_SIZE, &limit) == SQLITE_OK && limit == 0);
    limit = -1;
    HOLDS(METHOD(db, xFileControl, SQLITE_FCNTL_MMAP_SIZE, &limit) == SQLITE_OK && limit == 12288);
    HOLDS(METHOD(db, xFetch, 12288, 4096, &page) == SQLITE_OK && page == NULL);
    HOLDS(METHOD(db, xFetch, 8192, 4096, &page) == SQLITE_OK && page != NULL);
    HOLDS(contract_all(page, 3, 4096));
    /* A limit does not change under a fetched page. */
    limit = 0;
    HOLDS(METHOD(db, xFileControl, SQLITE_FCNTL_MMAP_SIZE, &limit) == SQLITE_OK && limit == 12288);
    HOLDS(METHOD(db, xUnfetch, 8192, page) == SQLITE_OK);
    HOLDS(METHOD(db, xUnfetch, 0, NULL) == SQLITE_OK);
    limit = -1;
    HOLDS(METHOD(db, xFileControl, SQLITE_FCNTL_MMAP_SIZE, &limit) == SQLITE_OK && limit == 12288);
    set_limit(&db, 1 << 30);
    HOLDS(METHOD(db, xFetch, 16384, 4096, &page) == SQLITE_OK && page == NULL);
    HOLDS(METHOD(db, xFetch, 14336, 4096, &page) == SQLITE_OK && page == NULL);
    HOLDS(METHOD(db, xFetch, 12288, 4096, &page) == SQLITE_OK && page != NULL);
    HOLDS(METHOD(db, xUnfetch, 12288, page) == SQLITE_OK);
    HOLDS(contract_close(&db) == SQLITE_OK);
    return NULL;
}

/* SQLite may read up to 256 bytes after a page; after the very last page there could be nothing. */
static const char *bytes_behind_a_fetched_page_are_readable(const char *directory)
{
    struct opened db;
    void *page;
    HOLDS(contract_open_main(&db, directory, "a.db") == SQLITE_OK);
    set_limit(&db, 1 << 30);
    for (int n = 1; n <= 64; n++) {
        HOLDS(WRITE(db, fresh(9, 4096), 4096, (sqlite3_int64)(n - 1) * 4096) == SQLITE_OK);
        HOLDS(METHOD(db, xFetch, (sqlite3_int64)(n - 1) * 4096, 4096, &page) == SQLITE_OK);
        if (!page) continue;
        volatile const unsigned char *behind = (unsigned char *)page + 4096;
        unsigned sum = 0;
        for (int i = 0; i < 256; i++) sum += behind[i];
        HOLDS(sum <= 256 * 255);
        HOLDS(METHOD(db, xUnfetch, (sqlite3_int64)(n - 1) * 4096, page) == SQLITE_OK);
    }
    HOLDS(contract_close(&db) == SQLITE_OK);
    return NULL;
}

/* Pages below 4 KiB share a frame. The same thread writes the neighbour, and the pinned page itself: a write that waited
 * for the pin would hang here. The pin shows the new bytes at once. */
static const char *pinned_frame_stays_writable(const char *directory)
{
    static const int sizes[] = {512, 1024, 2048, 4096};
    struct opened db;
    void *page;
    HOLDS(contract_open_main(&db, directory, "a.db") == SQLITE_OK);
    set_limit(&db, 1 << 30);
    for (size_t i = 0; i < 4; i++) {
        int n = sizes[i];
        HOLDS(WRITE(db, fresh(1, 16384), 16384, 0) == SQLITE_OK);
        HOLDS(METHOD(db, xFetch, 4096, n, &page) == SQLITE_OK && page != NULL);
        HOLDS(WRITE(db, fresh(2, 4096), n, 4096 + n) == SQLITE_OK);
        HOLDS(contract_all(page, 1, (size_t)n));
        HOLDS(WRITE(db, fresh(3, 4096), n, 4096) == SQLITE_OK);
        HOLDS(contract_all(page, 3, (size_t)n));
        HOLDS(METHOD(db, xUnfetch, 4096, page) == SQLITE_OK);
    }
    HOLDS(contract_close(&db) == SQLITE_OK);
    return NULL;
}

/* The old frame keeps its bytes for its pin and is not reused meanwhile; a fetch never returns it again. */
static const char *truncate_leaves_no_stale_page(const char *directory)
{
    struct opened db;
    void *old, *page;
    HOLDS(contract_open_main(&db, directory, "a.db") == SQLITE_OK);
    set_limit(&db, 1 << 30);
    HOLDS(WRITE(db, fresh(1, 16384), 16384, 0) == SQLITE_OK);
    HOLDS(METHOD(db, xFetch, 12288, 4096, &old) == SQLITE_OK && old != NULL);
    HOLDS(METHOD(db, xTruncate, 8192) == SQLITE_OK);
    HOLDS(METHOD(db, xFetch, 12288, 4096, &page) == SQLITE_OK && page == NULL);
    HOLDS(WRITE(db, fresh(2, 131072), 131072, 8192) == SQLITE_OK);
    HOLDS(METHOD(db, xSync, SQLITE_SYNC_NORMAL) == SQLITE_OK);
    HOLDS(METHOD(db, xFetch, 12288, 4096, &page) == SQLITE_OK && page != NULL);
    HOLDS(page != old && contract_all(page, 2, 4096));
    HOLDS(contract_all(old, 1, 4096));
    HOLDS(METHOD(db, xUnfetch, 12288, page) == SQLITE_OK);
    HOLDS(METHOD(db, xUnfetch, 12288, old) == SQLITE_OK);
    HOLDS(contract_close(&db) == SQLITE_OK);
    return NULL;
}

static const char *controls_are_answered(const char *directory)
{
    struct opened db;
    sqlite3_int64 hint = 1 << 20;
    int number = 65536;
    char *text = NULL;
    HOLDS(contract_open_main(&db, directory, "a.db") == SQLITE_OK);
    HOLDS(WRITE(db, fresh(1, 4096), 4096, 0) == SQLITE_OK);
    HOLDS(METHOD(db, xFileControl, SQLITE_FCNTL_SIZE_HINT, &hint) == SQLITE_OK && size_of(&db) == 4096);
    HOLDS(METHOD(db, xFileControl, SQLITE_FCNTL_CHUNK_SIZE, &number) == SQLITE_OK && size_of(&db) == 4096);
    HOLDS(METHOD(db, xFileControl, SQLITE_FCNTL_VFSNAME, &text) == SQLITE_OK && !strcmp(text, "pagestone"));
    sqlite3_free(text);
    HOLDS(METHOD(db, xFileControl, SQLITE_FCNTL_TEMPFILENAME, &text) == SQLITE_OK && text);
    sqlite3_free(text);
    number = -1;
    HOLDS(METHOD(db, xFileControl, SQLITE_FCNTL_PERSIST_WAL, &number) == SQLITE_OK && number == 0);
    number = 1;
    HOLDS(METHOD(db, xFileControl, SQLITE_FCNTL_PERSIST_WAL, &number) == SQLITE_OK);
    number = -1;
    HOLDS(METHOD(db, xFileControl, SQLITE_FCNTL_PERSIST_WAL, &number) == SQLITE_OK && number == 1);
    HOLDS(METHOD(db, xFileControl, SQLITE_FCNTL_LAST_ERRNO, &number) == SQLITE_OK && number == 0);
    HOLDS(METHOD(db, xFileControl, 987654, NULL) == SQLITE_NOTFOUND);
    /* Only flags that power-cut tests confirm are claimed; psow=0 withdraws one. */
    HOLDS(METHOD(db, xDeviceCharacteristics) == (SQLITE_IOCAP_POWERSAFE_OVERWRITE | SQLITE_IOCAP_BATCH_ATOMIC));
    number = 0;
    HOLDS(METHOD(db, xFileControl, SQLITE_FCNTL_POWERSAFE_OVERWRITE, &number) == SQLITE_OK);
    HOLDS(METHOD(db, xDeviceCharacteristics) == SQLITE_IOCAP_BATCH_ATOMIC && METHOD(db, xSectorSize) == 4096);
    HOLDS(contract_close(&db) == SQLITE_OK);
    return NULL;
}

static int synchronous_off(struct opened *opened)
{
    char *words[] = {NULL, "synchronous", "off", NULL};
    int result = METHOD(*opened, xFileControl, SQLITE_FCNTL_PRAGMA, words);
    sqlite3_free(words[0]);
    return result;
}

/* SQLite asks this when it is about to open a journal; the setting does not change. */
static const char *question_whether_a_file_has_moved_begins_no_transaction(const char *directory)
{
    struct opened db;
    int moved = -1;
    HOLDS(contract_open_main(&db, directory, "a.db") == SQLITE_OK);
    HOLDS(METHOD(db, xLock, SQLITE_LOCK_SHARED) == SQLITE_OK && METHOD(db, xLock, SQLITE_LOCK_RESERVED) == SQLITE_OK);
    HOLDS(METHOD(db, xFileControl, SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK && moved == 0);
    HOLDS(synchronous_off(&db) == SQLITE_ERROR);
    HOLDS(METHOD(db, xUnlock, SQLITE_LOCK_NONE) == SQLITE_OK);
    HOLDS(METHOD(db, xFileControl, SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK && moved == 0);
    HOLDS(synchronous_off(&db) == SQLITE_NOTFOUND);
    HOLDS(contract_close(&db) == SQLITE_OK);
    return NULL;
}

static int lock_state(struct opened *opened)
{
    int state = -1;
    METHOD(*opened, xFileControl, SQLITE_FCNTL_LOCKSTATE, &state);
    return state;
}

static const char *locks_of_three_connections(const char *directory)
{
    struct opened a, b, c;
    int reserved;
    HOLDS(contract_open_main(&a, directory, "a.db") == SQLITE_OK);
    HOLDS(contract_open_main(&b, directory, "a.db") == SQLITE_OK);
    HOLDS(contract_open_main(&c, directory, "a.db") == SQLITE_OK);
    HOLDS(METHOD(a, xLock, SQLITE_LOCK_SHARED) == SQLITE_OK && METHOD(b, xLock, SQLITE_LOCK_SHARED) == SQLITE_OK);
    HOLDS(METHOD(a, xLock, SQLITE_LOCK_RESERVED) == SQLITE_OK);
    HOLDS(METHOD(b, xLock, SQLITE_LOCK_RESERVED) == SQLITE_BUSY);
    /* Every holder counts, also the caller. */
    HOLDS(METHOD(b, xCheckReservedLock, &reserved) == SQLITE_OK && reserved == 1);
    HOLDS(METHOD(a, xCheckReservedLock, &reserved) == SQLITE_OK && reserved == 1);
    /* A refused EXCLUSIVE stays PENDING and keeps new readers out. */
    HOLDS(METHOD(a, xLock, SQLITE_LOCK_EXCLUSIVE) == SQLITE_BUSY && lock_state(&a) == SQLITE_LOCK_PENDING);
    HOLDS(METHOD(c, xLock, SQLITE_LOCK_SHARED) == SQLITE_BUSY && lock_state(&c) == SQLITE_LOCK_NONE);
    HOLDS(METHOD(b, xUnlock, SQLITE_LOCK_NONE) == SQLITE_OK);
    HOLDS(METHOD(a, xLock, SQLITE_LOCK_EXCLUSIVE) == SQLITE_OK && lock_state(&a) == SQLITE_LOCK_EXCLUSIVE);
    HOLDS(METHOD(b, xLock, SQLITE_LOCK_SHARED) == SQLITE_BUSY);
    /* Back in SHARED, the connection admits readers and holds nothing else. */
    HOLDS(METHOD(a, xUnlock, SQLITE_LOCK_SHARED) == SQLITE_OK && lock_state(&a) == SQLITE_LOCK_SHARED);
    HOLDS(METHOD(b, xLock, SQLITE_LOCK_SHARED) == SQLITE_OK);
    HOLDS(METHOD(b, xCheckReservedLock, &reserved) == SQLITE_OK && reserved == 0);
    /* SHARED to EXCLUSIVE in one step: the rollback of a hot journal. A refusal changes nothing. */
    HOLDS(METHOD(b, xLock, SQLITE_LOCK_EXCLUSIVE) == SQLITE_BUSY && lock_state(&b) == SQLITE_LOCK_SHARED);
    HOLDS(METHOD(a, xCheckReservedLock, &reserved) == SQLITE_OK && reserved == 0);
    HOLDS(METHOD(c, xLock, SQLITE_LOCK_SHARED) == SQLITE_OK && METHOD(c, xUnlock, SQLITE_LOCK_NONE) == SQLITE_OK);
    HOLDS(METHOD(a, xUnlock, SQLITE_LOCK_NONE) == SQLITE_OK);
    HOLDS(METHOD(b, xLock, SQLITE_LOCK_EXCLUSIVE) == SQLITE_OK);
    /* Closing releases everything. */
    HOLDS(contract_close(&b) == SQLITE_OK);
    HOLDS(METHOD(c, xLock, SQLITE_LOCK_SHARED) == SQLITE_OK);
    HOLDS(contract_close(&a) == SQLITE_OK && contract_close(&c) == SQLITE_OK);
    return NULL;
}

static const char *wal_index_is_shared_zeroed_and_still(const char *directory)
{
    struct opened a, b;
    void volatile *first, *again, *other;
    HOLDS(contract_open_main(&a, directory, "a.db") == SQLITE_OK);
    HOLDS(contract_open_main(&b, directory, "a.db") == SQLITE_OK);
    HOLDS(METHOD(a, xShmMap, 0, 32768, 0, &first) == SQLITE_OK && first == NULL);
    HOLDS(METHOD(a, xShmMap, 0, 32768, 1, &first) == SQLITE_OK && first != NULL);
    HOLDS(contract_all((void *)first, 0, 32768));
    memset((void *)first, 0x77, 32768);
    for (int piece = 1; piece < 200; piece++) HOLDS(METHOD(a, xShmMap, piece, 32768, 1, &other) == SQLITE_OK && other);
    HOLDS(METHOD(b, xShmMap, 0, 32768, 0, &again) == SQLITE_OK && again == first);
    METHOD(b, xShmBarrier);
    /* It is removed with its last user, not before. */
    HOLDS(METHOD(a, xShmUnmap, 1) == SQLITE_OK);
    HOLDS(METHOD(b, xShmMap, 0, 32768, 0, &again) == SQLITE_OK && again == first);
    HOLDS(METHOD(b, xShmUnmap, 0) == SQLITE_OK);
    HOLDS(METHOD(b, xShmMap, 0, 32768, 0, &again) == SQLITE_OK && again == NULL);
    HOLDS(METHOD(b, xShmMap, 0, 32768, 1, &again) == SQLITE_OK && contract_all((void *)again, 0, 32768));
    HOLDS(contract_close(&a) == SQLITE_OK && contract_close(&b) == SQLITE_OK);
    return NULL;
}

#define SHM(opened, first, count, action, kind) \
    METHOD(opened, xShmLock, first, count, SQLITE_SHM_##action | SQLITE_SHM_##kind)

static const char *wal_index_locks_are_all_or_none(const char *directory)
{
    struct opened a, b;
    void volatile *piece;
    HOLDS(contract_open_main(&a, directory, "a.db") == SQLITE_OK);
    HOLDS(contract_open_main(&b, directory, "a.db") == SQLITE_OK);
    HOLDS(METHOD(a, xShmMap, 0, 32768, 1, &piece) == SQLITE_OK && METHOD(b, xShmMap, 0, 32768, 1, &piece) == SQLITE_OK);
    HOLDS(SHM(a, 5, 1, LOCK, SHARED) == SQLITE_OK && SHM(b, 5, 1, LOCK, SHARED) == SQLITE_OK);
    /* The run 3..7 conflicts with a's shared lock on 5: no lock of it is taken. */
    HOLDS(SHM(b, 3, 5, LOCK, EXCLUSIVE) == SQLITE_BUSY);
    HOLDS(SHM(a, 3, 2, LOCK, EXCLUSIVE) == SQLITE_OK && SHM(a, 3, 2, UNLOCK, EXCLUSIVE) == SQLITE_OK);
    /* Releasing the other kind releases nothing. */
    HOLDS(SHM(a, 5, 1, UNLOCK, EXCLUSIVE) == SQLITE_OK);
    HOLDS(SHM(b, 5, 1, UNLOCK, SHARED) == SQLITE_OK && SHM(b, 5, 1, LOCK, EXCLUSIVE) == SQLITE_BUSY);
    HOLDS(SHM(a, 5, 1, UNLOCK, SHARED) == SQLITE_OK && SHM(b, 3, 5, LOCK, EXCLUSIVE) == SQLITE_OK);
    HOLDS(SHM(b, 7, 1, UNLOCK, SHARED) == SQLITE_OK && SHM(a, 7, 1, LOCK, SHARED) == SQLITE_BUSY);
    HOLDS(contract_close(&b) == SQLITE_OK);
    HOLDS(SHM(a, 0, 8, LOCK, EXCLUSIVE) == SQLITE_OK);
    HOLDS(contract_close(&a) == SQLITE_OK);
    return NULL;
}

/* It grows in steps of zeros, and is removed when it is emptied. */
static const char *wal_grows_ahead_in_zeros(const char *directory)
{
    struct opened db, wal;
    unsigned char got[4096];
    int exists;
    sqlite3_vfs *vfs = contract_vfs();
    HOLDS(contract_open_main(&db, directory, "a.db") == SQLITE_OK);
    const char *name = sqlite3_filename_wal(db.name);
    HOLDS(contract_open(&wal, name, RW_CREATE | SQLITE_OPEN_WAL) == SQLITE_OK);
    HOLDS(size_of(&wal) == 0);
    for (int round = 0; round < 2; round++) {
        HOLDS(WRITE(wal, fresh(0xcc, 32), 32, 0) == SQLITE_OK);
        HOLDS(size_of(&wal) == 262144);
        HOLDS(READ(wal, got, 4096, 262144 - 4096) == SQLITE_OK && contract_all(got, 0, 4096));
        HOLDS(WRITE(wal, fresh(0xcc, 4120), 4120, 262144 - 100) == SQLITE_OK && size_of(&wal) == 524288);
        HOLDS(READ(wal, got, 4096, 524288 - 4096) == SQLITE_OK && contract_all(got, 0, 4096));
        HOLDS(METHOD(wal, xTruncate, 0) == SQLITE_OK && size_of(&wal) == 0);
        HOLDS(vfs->xAccess(vfs, name, SQLITE_ACCESS_EXISTS, &exists) == SQLITE_OK && exists == 0);
    }
    HOLDS(contract_close(&wal) == SQLITE_OK && contract_close(&db) == SQLITE_OK);
    return NULL;
}

const struct contract contract_of_files[] = {
    {"short_read_is_zero_filled", short_read_is_zero_filled},
    {"gap_reads_as_zeros", gap_reads_as_zeros},
    {"bytes_cut_off_never_come_back", bytes_cut_off_never_come_back},
    {"fetch_follows_limit_and_end", fetch_follows_limit_and_end},
    {"bytes_behind_a_fetched_page_are_readable", bytes_behind_a_fetched_page_are_readable},
    {"pinned_frame_stays_writable", pinned_frame_stays_writable},
    {"truncate_leaves_no_stale_page", truncate_leaves_no_stale_page},
    {"controls_are_answered", controls_are_answered},
    {"question_whether_a_file_has_moved_begins_no_transaction", question_whether_a_file_has_moved_begins_no_transaction},
    {"locks_of_three_connections", locks_of_three_connections},
    {"wal_index_is_shared_zeroed_and_still", wal_index_is_shared_zeroed_and_still},
    {"wal_index_locks_are_all_or_none", wal_index_locks_are_all_or_none},
    {"wal_grows_ahead_in_zeros", wal_grows_ahead_in_zeros},
    {NULL, NULL},
};
