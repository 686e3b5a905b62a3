/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Contract tests of the VFS: properties that SQLite relies on and its own test suite does not check. */
#ifndef PAGESTONE_VFS_CONTRACT_H
#define PAGESTONE_VFS_CONTRACT_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdbool.h>
#include <string.h>

#include "sqlite3.h"

/* A test gets a new empty directory. It returns NULL, or the check that failed. */
typedef const char *contract_test(const char *directory);
struct contract {
    const char *name;
    contract_test *run;
};
extern const struct contract contract_of_files[], contract_of_paths[], contract_of_batches[], contract_of_strangers[];

#define CONTRACT_TEXT_(x) #x
#define CONTRACT_TEXT(x) CONTRACT_TEXT_(x)
#define HOLDS(condition)                                                                                             \
    do {                                                                                                             \
        if (!(condition)) return __FILE__ ":" CONTRACT_TEXT(__LINE__) ": " #condition;                               \
    } while (0)
/* The first failure inside a helper that makes checks. */
#define PASSES(call)                                                                                                 \
    do {                                                                                                             \
        const char *failure_ = (call);                                                                               \
        if (failure_) return failure_;                                                                               \
    } while (0)

/* Files as SQLite opens them: names of database, journal and WAL in one block, as a VFS may expect. */
struct opened {
    const char *name;
    sqlite3_file *file;
    int out_flags;
};
#define RW_CREATE (SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE)

sqlite3_vfs *contract_vfs(void);
const char *contract_name(const char *directory, const char *leaf);
const char *contract_uri_name(const char *directory, const char *leaf, const char *key, const char *value);
int contract_open(struct opened *opened, const char *name, int flags);
int contract_open_main(struct opened *opened, const char *directory, const char *leaf);
int contract_close(struct opened *opened);
bool contract_all(const void *bytes, unsigned char value, size_t length);
const char *contract_logged(void);
void contract_forget_log(void);
long contract_allocations(void); /* made by this thread through SQLite */

/* Prepares SQLite (its log, its memory), which has not started yet. Returns SQLite's result code. */
int pagestone_vfs_contract_start(void);
/* Runs one test by name; NULL if it passes. */
const char *pagestone_vfs_contract(const char *name, const char *directory);
/* Ends the process when the VFS "unix" is about to remove a file, or has just done so: the moment when a transaction
 * over several databases commits. */
void pagestone_vfs_contract_die_at_unlink(int after);
/* Registers the VFS "liar" (liar.c), using a database in `directory`. Returns SQLite's result code. */
int pagestone_vfs_contract_register_liar(const char *directory);
/* Sets what the VFS "liar" changes in this thread: an `enum lie`. */
void pagestone_vfs_contract_lie(int number);
/* The name of test number `index`; NULL after the last. */
const char *pagestone_vfs_contract_name(int index);

#endif
