/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Runs the contract tests; also has their helpers. */
#include "contract.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- SQLite's log, per thread: tests run in parallel ---- */

static _Thread_local char logged[2048];

static void take_log(void *unused, int code, const char *message)
{
    (void)unused;
    (void)code;
    size_t used = strlen(logged);
    snprintf(logged + used, sizeof logged - used, "%s\n", message);
}

const char *contract_logged(void)
{
    return logged;
}

void contract_forget_log(void)
{
    logged[0] = 0;
}

/* ---- SQLite's memory, per thread ---- */

static sqlite3_mem_methods below;
static _Thread_local long allocations;

static void *counted_malloc(int bytes)
{
    allocations++;
    return below.xMalloc(bytes);
}

static void *counted_realloc(void *memory, int bytes)
{
    allocations++;
    return below.xRealloc(memory, bytes);
}

long contract_allocations(void)
{
    return allocations;
}

int pagestone_vfs_contract_start(void)
{
    int result = sqlite3_config(SQLITE_CONFIG_LOG, take_log, NULL);
    if (result == SQLITE_OK) result = sqlite3_config(SQLITE_CONFIG_GETMALLOC, &below);
    if (result != SQLITE_OK) return result;
    sqlite3_mem_methods counting = below;
    counting.xMalloc = counted_malloc;
    counting.xRealloc = counted_realloc;
    return sqlite3_config(SQLITE_CONFIG_MALLOC, &counting);
}

/* ---- files ---- */

sqlite3_vfs *contract_vfs(void)
{
    return sqlite3_vfs_find("pagestone");
}

const char *contract_uri_name(const char *directory, const char *leaf, const char *key, const char *value)
{
    char path[3][4096];
    const char *parameter[2] = {key, value};
    snprintf(path[0], sizeof path[0], "%s/%s", directory, leaf);
    snprintf(path[1], sizeof path[1], "%s/%s-journal", directory, leaf);
    snprintf(path[2], sizeof path[2], "%s/%s-wal", directory, leaf);
    return sqlite3_create_filename(path[0], path[1], path[2], key ? 1 : 0, parameter);
}

const char *contract_name(const char *directory, const char *leaf)
{
    return contract_uri_name(directory, leaf, NULL, NULL);
}

int contract_open(struct opened *opened, const char *name, int flags)
{
    sqlite3_vfs *vfs = contract_vfs();
    opened->name = name;
    opened->out_flags = 0;
    opened->file = calloc(1, (size_t)vfs->szOsFile);
    opened->file->pMethods = (const sqlite3_io_methods *)opened; /* a failed open must clear it */
    return vfs->xOpen(vfs, name, opened->file, flags, &opened->out_flags);
}

int contract_open_main(struct opened *opened, const char *directory, const char *leaf)
{
    return contract_open(opened, contract_name(directory, leaf), RW_CREATE | SQLITE_OPEN_MAIN_DB);
}

/* The name stays: names of other files may lie in the same block. */
int contract_close(struct opened *opened)
{
    int result = opened->file->pMethods ? opened->file->pMethods->xClose(opened->file) : SQLITE_OK;
    free(opened->file);
    opened->file = NULL;
    return result;
}

bool contract_all(const void *bytes, unsigned char value, size_t length)
{
    const unsigned char *p = bytes;
    for (size_t i = 0; i < length; i++)
        if (p[i] != value) return false;
    return true;
}

/* ---- death at the moment of a commit ---- */

static int die_after;

static int unlink_and_die(const char *path)
{
    if (die_after) unlink(path);
    _exit(9);
}

void pagestone_vfs_contract_die_at_unlink(int after)
{
    sqlite3_vfs *system = sqlite3_vfs_find("unix");
    die_after = after;
    system->xSetSystemCall(system, "unlink", (sqlite3_syscall_ptr)unlink_and_die);
}

/* ---- the list ---- */

static const struct contract *number(int index)
{
    static const struct contract *const lists[] = {contract_of_files, contract_of_paths, contract_of_batches,
                                                   contract_of_strangers};
    for (size_t list = 0; list < sizeof lists / sizeof *lists; list++)
        for (const struct contract *test = lists[list]; test->name; test++)
            if (index-- == 0) return test;
    return NULL;
}

const char *pagestone_vfs_contract_name(int index)
{
    const struct contract *test = number(index);
    return test ? test->name : NULL;
}

const char *pagestone_vfs_contract(const char *name, const char *directory)
{
    const struct contract *test;
    contract_forget_log();
    for (int i = 0; (test = number(i)) != NULL; i++)
        if (strcmp(test->name, name) == 0) return test->run(directory);
    return "no test has this name";
}
