/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Registers the VFS in a program: linked or loaded, as the default VFS or not. Handles forks. */
#define PAGESTONE_VFS_ENTRY
#include "internal.h"
#ifndef SQLITE_CORE
SQLITE_EXTENSION_INIT1
#endif
#include "pagestone_vfs.h"

#define EXPORT __attribute__((visibility("default")))

/* sqlite3_uri_parameter() needs names in the layout of this release. */
#define OLDEST_SQLITE 3031000

unsigned pgsv_forks;

static pthread_mutex_t registering = PTHREAD_MUTEX_INITIALIZER;

static void in_child(void)
{
    pgsv_forks++;
    pthread_mutex_init(&registering, NULL);
    pgsv_regions_forget();
    pgsv_aliases_forget();
    pgsv_messages_forget();
}

/* Without the option nothing fails: SQLite then never asks for a batch. */
static void tell_what_host_lacks(void)
{
    if (pgsv_host_tells() && !pgsv_host_option("ENABLE_BATCH_ATOMIC_WRITE"))
        pgsv_tell(SQLITE_NOTICE, "this SQLite was built without SQLITE_ENABLE_BATCH_ATOMIC_WRITE: commits in rollback mode "
                                 "write a journal and sync three times, not once");
}

/* The VFS, made by the first registration and used by all. Once it is in SQLite's list, it must not be made again, nor
 * be taken for the VFS below. */
static sqlite3_vfs *the_vfs(bool *first)
{
    static sqlite3_vfs *vfs;
    pthread_mutex_lock(&registering);
    *first = !vfs;
    sqlite3_vfs *below = vfs ? NULL : sqlite3_vfs_find(NULL);
    if (below && pthread_atfork(NULL, NULL, in_child) == 0) {
        pgsv_default = below;
        pgsv_system = sqlite3_vfs_find("unix");
        if (!pgsv_system) pgsv_system = below;
        pgsv_look_at_environment();
        vfs = pgsv_vfs(below);
    }
    sqlite3_vfs *known = vfs;
    pthread_mutex_unlock(&registering);
    return known;
}

static int register_vfs(bool make_default)
{
    bool first, wished = false;
    if (sqlite3_libversion_number() < OLDEST_SQLITE)
        return pgsv_refuse(SQLITE_ERROR, "the VFS pagestone needs SQLite 3.31 or newer");
    int result = pgsv_wish_for_default(&wished);
    if (result != SQLITE_OK) return result;
    sqlite3_vfs *vfs = the_vfs(&first);
    if (!vfs) return pgsv_refuse(SQLITE_ERROR, "the VFS pagestone needs another VFS below it: there is none, or no memory");
    if (first) tell_what_host_lacks();
    return sqlite3_vfs_register(vfs, make_default || wished);
}

#ifdef SQLITE_CORE

EXPORT int pagestone_vfs_register(int make_default)
{
    return register_vfs(make_default);
}

EXPORT int pagestone_vfs_init(const char *unused)
{
    (void)unused;
    return register_vfs(false);
}

EXPORT int pagestone_vfs_init_default(const char *unused)
{
    (void)unused;
    return register_vfs(true);
}

#else

/* SELECT pagestone_error(): for a connection of another VFS, which does not receive the PRAGMA. */
static void error_function(sqlite3_context *context, int count, sqlite3_value **values)
{
    (void)count;
    (void)values;
    char *line = pgsv_last_failure();
    if (line) sqlite3_result_text(context, line, -1, sqlite3_free);
    else sqlite3_result_error_nomem(context);
}

/* The extension stays loaded: SQLite keeps pointers into this code after the connection that loaded it has closed. */
static int load(sqlite3 *connection, char **message, const sqlite3_api_routines *api, bool make_default)
{
    SQLITE_EXTENSION_INIT2(api);
    int result = register_vfs(make_default);
    if (result != SQLITE_OK) {
        *message = pgsv_last_failure();
        return result;
    }
    result = sqlite3_create_function(connection, "pagestone_error", 0, SQLITE_UTF8, NULL, error_function, NULL, NULL);
    return result == SQLITE_OK ? SQLITE_OK_LOAD_PERMANENTLY : result;
}

EXPORT int sqlite3_pagestonevfs_init(sqlite3 *connection, char **message, const sqlite3_api_routines *api);
EXPORT int sqlite3_pagestonevfs_init(sqlite3 *connection, char **message, const sqlite3_api_routines *api)
{
    return load(connection, message, api, false);
}

EXPORT int sqlite3_pagestonevfs_default_init(sqlite3 *connection, char **message, const sqlite3_api_routines *api);
EXPORT int sqlite3_pagestonevfs_default_init(sqlite3 *connection, char **message, const sqlite3_api_routines *api)
{
    return load(connection, message, api, true);
}

/* For sqlite3_auto_extension(), which runs it in every connection and accepts only SQLITE_OK. A program that must not
 * load extensions can open this library itself and pass this function. */
EXPORT int sqlite3_pagestonevfs_auto_init(sqlite3 *connection, char **message, const sqlite3_api_routines *api);
EXPORT int sqlite3_pagestonevfs_auto_init(sqlite3 *connection, char **message, const sqlite3_api_routines *api)
{
    int result = load(connection, message, api, false);
    return result == SQLITE_OK_LOAD_PERMANENTLY ? SQLITE_OK : result;
}

#endif
