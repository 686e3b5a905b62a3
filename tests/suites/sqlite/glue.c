/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Appended to SQLite's amalgamation, and called by SQLite itself at the end of every sqlite3_initialize()
 * (SQLITE_EXTRA_INIT): makes the VFS of an extension the default one. So one build of SQLite's programs is the stock
 * one and ours:
 *
 *   PGS_TEST_VFS   the extension pagestone_vfs.so; not set: nothing happens, the program is the stock one
 *
 * An extension that cannot be loaded ends the process: no run falls back to the built-in VFS unseen.
 */
#include <stdio.h>
#include <stdlib.h>

/* Loads the extension as a program of its user would. The connection is closed: the extension stays. */
static sqlite3_vfs *pagestone_suite_load(const char *extension)
{
    sqlite3 *connection = 0;
    char *why = 0;
    int result = sqlite3_open(":memory:", &connection);
    if (result == SQLITE_OK) result = sqlite3_db_config(connection, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 1, 0);
    if (result == SQLITE_OK) result = sqlite3_load_extension(connection, extension, 0, &why);
    sqlite3_close(connection);
    sqlite3_vfs *vfs = sqlite3_vfs_find("pagestone");
    if (result != SQLITE_OK || !vfs) {
        fprintf(stderr, "glue: no VFS pagestone in %s: %s\n", extension, why ? why : sqlite3_errstr(result));
        exit(70);
    }
    return vfs;
}

int pagestone_suite_start(const char *unused)
{
    static sqlite3_vfs *vfs; /* survives sqlite3_shutdown(), which only forgets which one is the default */
    const char *extension = getenv("PGS_TEST_VFS");
    (void)unused;
    if (!extension || !*extension) return SQLITE_OK;
    if (!vfs) vfs = pagestone_suite_load(extension);
    return sqlite3_vfs_register(vfs, 1);
}
