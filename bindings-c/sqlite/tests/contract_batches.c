/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Contract tests: batch-atomic writes. */
#include "contract.h"

#include <stdio.h>
#include <stdlib.h>

#define METHOD(opened, method, ...) ((opened).file->pMethods->method((opened).file, ##__VA_ARGS__))
#define BEGIN(opened) METHOD(opened, xFileControl, SQLITE_FCNTL_BEGIN_ATOMIC_WRITE, NULL)
#define COMMIT(opened) METHOD(opened, xFileControl, SQLITE_FCNTL_COMMIT_ATOMIC_WRITE, NULL)
#define ROLLBACK(opened) METHOD(opened, xFileControl, SQLITE_FCNTL_ROLLBACK_ATOMIC_WRITE, NULL)

static int write_pages(struct opened *opened, unsigned char value, int first, int pages)
{
    unsigned char page[4096];
    memset(page, value, sizeof page);
    for (int n = first; n < first + pages; n++) {
        int result = METHOD(*opened, xWrite, page, 4096, (sqlite3_int64)n * 4096);
        if (result != SQLITE_OK) return result;
    }
    return SQLITE_OK;
}

static bool page_is(struct opened *opened, int number, unsigned char value)
{
    unsigned char page[4096];
    return METHOD(*opened, xRead, page, 4096, (sqlite3_int64)number * 4096) == SQLITE_OK &&
           contract_all(page, value, 4096);
}

static sqlite3_int64 size_of(struct opened *opened)
{
    sqlite3_int64 size = -1;
    return METHOD(*opened, xFileSize, &size) == SQLITE_OK ? size : -1;
}

/* A counter of the region, from PRAGMA pagestone_stats. */
static long long counter(struct opened *opened, const char *name)
{
    char *words[] = {NULL, "pagestone_stats", NULL, NULL};
    char key[64];
    if (METHOD(*opened, xFileControl, SQLITE_FCNTL_PRAGMA, words) != SQLITE_OK) return -1;
    snprintf(key, sizeof key, "%s=", name);
    const char *found = strstr(words[0], key);
    long long value = found ? atoll(found + strlen(key)) : -1;
    sqlite3_free(words[0]);
    return value;
}

static const char *batch_shows_all_or_nothing(const char *directory)
{
    struct opened a, b;
    sqlite3_int64 hint = 1 << 20;
    HOLDS(contract_open_main(&a, directory, "a.db") == SQLITE_OK);
    HOLDS(contract_open_main(&b, directory, "a.db") == SQLITE_OK);
    HOLDS(write_pages(&a, 1, 0, 4) == SQLITE_OK);
    HOLDS(BEGIN(a) == SQLITE_OK);
    HOLDS(METHOD(a, xFileControl, SQLITE_FCNTL_SIZE_HINT, &hint) == SQLITE_OK);
    HOLDS(write_pages(&a, 2, 1, 6) == SQLITE_OK);
    HOLDS(size_of(&b) == 4 * 4096 && page_is(&b, 1, 1) && page_is(&b, 3, 1));
    /* Another connection's writes do not belong to the batch. */
    HOLDS(write_pages(&b, 3, 0, 1) == SQLITE_OK && page_is(&a, 0, 3));
    HOLDS(COMMIT(a) == SQLITE_OK);
    HOLDS(size_of(&b) == 7 * 4096 && page_is(&b, 0, 3) && page_is(&b, 1, 2) && page_is(&b, 6, 2));
    HOLDS(BEGIN(a) == SQLITE_OK && write_pages(&a, 4, 2, 9) == SQLITE_OK && ROLLBACK(a) == SQLITE_OK);
    HOLDS(size_of(&b) == 7 * 4096 && page_is(&b, 2, 2));
    /* Writes after the end of a batch belong to no batch. */
    HOLDS(write_pages(&a, 5, 2, 1) == SQLITE_OK && page_is(&b, 2, 5));
    HOLDS(BEGIN(a) == SQLITE_OK && write_pages(&a, 6, 2, 1) == SQLITE_OK);
    HOLDS(contract_close(&a) == SQLITE_OK && page_is(&b, 2, 5));
    HOLDS(contract_close(&b) == SQLITE_OK);
    return NULL;
}

/* The cost in class `fdatasync`: one write of the log for the commit, and nothing for the sync that follows. */
static const char *sync_behind_a_batch_costs_nothing(const char *directory)
{
    struct opened db;
    HOLDS(contract_open_main(&db, directory, "a.db") == SQLITE_OK);
    HOLDS(write_pages(&db, 1, 0, 4) == SQLITE_OK && METHOD(db, xSync, SQLITE_SYNC_NORMAL) == SQLITE_OK);
    HOLDS(BEGIN(db) == SQLITE_OK && write_pages(&db, 2, 0, 1) == SQLITE_OK && COMMIT(db) == SQLITE_OK);
    for (int round = 0; round < 3; round++) {
        long long batches = counter(&db, "batches"), writes = counter(&db, "write_throughs");
        long long syncs = counter(&db, "file_syncs"), moves = counter(&db, "log_tail_moves");
        HOLDS(batches == round + 1 && writes > 0);
        /* Existing pages and new pages. */
        HOLDS(BEGIN(db) == SQLITE_OK && write_pages(&db, (unsigned char)(3 + round), round * 3, 3) == SQLITE_OK);
        HOLDS(COMMIT(db) == SQLITE_OK && METHOD(db, xSync, SQLITE_SYNC_NORMAL) == SQLITE_OK);
        HOLDS(counter(&db, "batches") == batches + 1 && counter(&db, "write_throughs") == writes + 1);
        HOLDS(counter(&db, "file_syncs") == syncs && counter(&db, "log_tail_moves") == moves);
    }
    HOLDS(contract_close(&db) == SQLITE_OK);
    return NULL;
}

/* On any other error the transaction fails; on these SQLite writes a journal and tries again. */
static bool asks_for_a_journal(int result)
{
    return (result & 0xff) == SQLITE_IOERR && result != SQLITE_IOERR_NOMEM;
}

static const char *batch_that_fails_asks_for_a_journal(const char *directory)
{
    struct opened db, journal;
    const char *name = contract_uri_name(directory, "full.db", "max_size", "1M");
    HOLDS(contract_open(&db, name, RW_CREATE | SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_URI) == SQLITE_OK);
    HOLDS(contract_open(&journal, sqlite3_filename_journal(name), RW_CREATE | SQLITE_OPEN_MAIN_JOURNAL) == SQLITE_OK);
    HOLDS(write_pages(&db, 1, 0, 4) == SQLITE_OK);
    HOLDS(BEGIN(db) == SQLITE_OK);
    HOLDS(write_pages(&db, 2, 0, 400) == SQLITE_OK);
    HOLDS(COMMIT(db) == SQLITE_IOERR_COMMIT_ATOMIC);
    HOLDS(strstr(contract_logged(), "SQLITE_FCNTL_COMMIT_ATOMIC_WRITE"));
    HOLDS(ROLLBACK(db) == SQLITE_OK);
    HOLDS(size_of(&db) == 4 * 4096 && page_is(&db, 0, 1));
    /* A batch cannot begin twice, end twice, or be for a journal. */
    HOLDS(BEGIN(db) == SQLITE_OK && asks_for_a_journal(BEGIN(db)) && COMMIT(db) == SQLITE_OK);
    HOLDS(asks_for_a_journal(COMMIT(db)) && asks_for_a_journal(BEGIN(journal)));
    HOLDS(contract_close(&journal) == SQLITE_OK && contract_close(&db) == SQLITE_OK);
    return NULL;
}

/* SQLite needs that journal but does not sync it: then the pages are written one by one. */
static const char *journal_of_a_failed_batch_is_durable_first(const char *directory)
{
    struct opened db, journal;
    unsigned char bytes[100];
    memset(bytes, 7, sizeof bytes);
    HOLDS(contract_open_main(&db, directory, "a.db") == SQLITE_OK);
    HOLDS(contract_open(&journal, sqlite3_filename_journal(db.name), RW_CREATE | SQLITE_OPEN_MAIN_JOURNAL) == SQLITE_OK);
    HOLDS(write_pages(&db, 1, 0, 2) == SQLITE_OK && METHOD(db, xSync, SQLITE_SYNC_NORMAL) == SQLITE_OK);
    HOLDS(BEGIN(db) == SQLITE_OK && write_pages(&db, 2, 0, 1) == SQLITE_OK && ROLLBACK(db) == SQLITE_OK);
    HOLDS(METHOD(journal, xWrite, bytes, sizeof bytes, 0) == SQLITE_OK);
    long long syncs = counter(&db, "file_syncs");
    HOLDS(write_pages(&db, 3, 0, 1) == SQLITE_OK && counter(&db, "file_syncs") == syncs + 1);
    HOLDS(write_pages(&db, 3, 1, 1) == SQLITE_OK && counter(&db, "file_syncs") == syncs + 1);
    HOLDS(contract_close(&journal) == SQLITE_OK && contract_close(&db) == SQLITE_OK);
    return NULL;
}

const struct contract contract_of_batches[] = {
    {"batch_shows_all_or_nothing", batch_shows_all_or_nothing},
    {"sync_behind_a_batch_costs_nothing", sync_behind_a_batch_costs_nothing},
    {"batch_that_fails_asks_for_a_journal", batch_that_fails_asks_for_a_journal},
    {"journal_of_a_failed_batch_is_durable_first", journal_of_a_failed_batch_is_durable_first},
    {NULL, NULL},
};
