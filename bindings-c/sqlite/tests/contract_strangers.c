/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Contract tests: files that other programs put in the way, and mistakes of users. */
#include "contract.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define METHOD(opened, method, ...) ((opened).file->pMethods->method((opened).file, ##__VA_ARGS__))

static char *path_of(char *buffer, const char *directory, const char *leaf)
{
    if (snprintf(buffer, 4096, "%s/%s", directory, leaf) >= 4096) abort();
    return buffer;
}

static int open_with(struct opened *db, const char *directory, const char *leaf, const char *key, const char *value)
{
    const char *name = contract_uri_name(directory, leaf, key, value);
    return contract_open(db, name, RW_CREATE | SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_URI);
}

static bool holds_text(const char *path, const char *text)
{
    char got[256] = "";
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = read(file, got, sizeof got - 1);
    close(file);
    return length >= 0 && strcmp(got, text) == 0;
}

static bool make_file(const char *path, const char *text)
{
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    ssize_t length = write(file, text, strlen(text));
    return close(file) == 0 && length == (ssize_t)strlen(text);
}

static int entries(const char *directory)
{
    int count = 0;
    DIR *folder = opendir(directory);
    while (folder && readdir(folder)) count++;
    if (folder) closedir(folder);
    return count - 2;
}

/* Another process with write access to the folder knows the database's name and the process number. */
static const char *link_is_made_under_a_name_that_is_known_to_no_other(const char *directory)
{
    struct opened db;
    char victim[4096], planted[4200], region[4096];
    path_of(victim, directory, "victim");
    path_of(region, directory, "r.pgs");
    HOLDS(make_file(victim, "precious"));
    snprintf(planted, sizeof planted, "%s/a.db-link%ld", directory, (long)getpid());
    HOLDS(link(victim, planted) == 0);
    HOLDS(open_with(&db, directory, "a.db", "region", region) == SQLITE_OK && contract_close(&db) == SQLITE_OK);
    HOLDS(holds_text(victim, "precious"));
    /* Only victim, planted, a.db and r.pgs are left. */
    HOLDS(access(planted, F_OK) == 0 && entries(directory) == 4);
    HOLDS(contract_open_main(&db, directory, "a.db") == SQLITE_OK && contract_close(&db) == SQLITE_OK);
    return NULL;
}

/* Another owner of a region: claims are locks of the open file description. */
static int claim(const char *path)
{
    struct flock lock = {.l_type = F_WRLCK};
    int other = open(path, O_RDWR | O_CLOEXEC);
    if (other >= 0 && fcntl(other, F_OFD_SETLK, &lock) == 0) return other;
    abort();
}

static bool is_ordinary_with_rows(const char *path, int rows)
{
    sqlite3 *db;
    sqlite3_stmt *count;
    bool right = sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, "unix") == SQLITE_OK &&
                 sqlite3_prepare_v2(db, "select count(*) from t", -1, &count, NULL) == SQLITE_OK;
    if (right) {
        right = sqlite3_step(count) == SQLITE_ROW && sqlite3_column_int(count, 0) == rows;
        sqlite3_finalize(count);
    }
    sqlite3_close(db);
    return right;
}

static bool make_ordinary(const char *path)
{
    sqlite3 *db;
    bool done = sqlite3_open_v2(path, &db, RW_CREATE, "unix") == SQLITE_OK &&
                sqlite3_exec(db, "create table t(x); insert into t values(1)", 0, 0, 0) == SQLITE_OK;
    return sqlite3_close(db) == SQLITE_OK && done;
}

/* While an opening waits for the region, another opening creates the path. */
static const char *link_replaces_nothing_that_came_while_it_was_waited_for(const char *directory)
{
    static const char *const names[] = {"absent.db", "empty.db", "text.db", "same.db"};
    enum { FILES = sizeof names / sizeof *names };
    struct opened region_of, db[FILES], other;
    char path[4096], region[4096];
    path_of(region, directory, "r.pgs");
    HOLDS(contract_open_main(&region_of, directory, "r.pgs") == SQLITE_OK && contract_close(&region_of) == SQLITE_OK);
    int owner = claim(region);
    HOLDS(make_file(path_of(path, directory, "empty.db"), ""));
    for (int i = 0; i < FILES; i++) HOLDS(open_with(&db[i], directory, names[i], "region", region) == SQLITE_OK);
    for (int i = 0; i < 2; i++) HOLDS(make_ordinary(path_of(path, directory, names[i])));
    HOLDS(make_file(path_of(path, directory, "text.db"), "precious"));
    HOLDS(METHOD(db[3], xLock, SQLITE_LOCK_SHARED) == SQLITE_BUSY);
    close(owner);
    /* The link that the other opening made is used. */
    HOLDS(open_with(&other, directory, "same.db", "region", region) == SQLITE_OK);
    for (int i = 0; i < 3; i++) {
        contract_forget_log();
        HOLDS(METHOD(db[i], xLock, SQLITE_LOCK_SHARED) == SQLITE_CANTOPEN);
        HOLDS(strstr(contract_logged(), names[i]) && strstr(contract_logged(), "left alone"));
    }
    HOLDS(METHOD(db[3], xLock, SQLITE_LOCK_SHARED) == SQLITE_OK);
    for (int i = 0; i < FILES; i++) HOLDS(contract_close(&db[i]) == SQLITE_OK);
    HOLDS(contract_close(&other) == SQLITE_OK);
    for (int i = 0; i < 2; i++) HOLDS(is_ordinary_with_rows(path_of(path, directory, names[i]), 1));
    HOLDS(holds_text(path_of(path, directory, "text.db"), "precious"));
    HOLDS(entries(directory) == FILES + 1);
    return NULL;
}

/* An empty file is a new database of any kind, until a connection fills it. */
static const char *empty_file_that_another_connection_has_locked_is_not_taken(const char *directory)
{
    struct opened db;
    sqlite3 *plain;
    struct stat before, after;
    char path[4096], region[4096];
    struct flock lock = {.l_type = F_WRLCK};
    path_of(region, directory, "r.pgs");
    path_of(path, directory, "a.db");
    HOLDS(sqlite3_open_v2(path, &plain, RW_CREATE, "unix") == SQLITE_OK);
    HOLDS(sqlite3_exec(plain, "begin exclusive; create table t(x); insert into t values(1)", 0, 0, 0) == SQLITE_OK);
    int watch = open(path, O_RDWR | O_CLOEXEC); /* open until the last look: closing it would drop the lock */
    HOLDS(stat(path, &before) == 0 && before.st_size == 0);
    /* Opened as a database, by a link, and as the region of another database. */
    const char *const keys[] = {"wait", "region", "region"}, *const leaves[] = {"a.db", "a.db", "b.db"};
    const char *const values[] = {"0", region, path};
    for (int i = 0; i < 3; i++) {
        int result = open_with(&db, directory, leaves[i], keys[i], values[i]);
        if (result == SQLITE_OK) result = METHOD(db, xLock, SQLITE_LOCK_SHARED);
        HOLDS(result == SQLITE_BUSY && contract_close(&db) == SQLITE_OK);
        HOLDS(fcntl(watch, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK);
        lock = (struct flock){.l_type = F_WRLCK};
    }
    HOLDS(stat(path, &after) == 0 && after.st_ino == before.st_ino && after.st_size == 0);
    HOLDS(sqlite3_exec(plain, "commit", 0, 0, 0) == SQLITE_OK && sqlite3_close(plain) == SQLITE_OK);
    close(watch);
    HOLDS(is_ordinary_with_rows(path, 1));
    /* An empty file that is not locked is replaced by the link. */
    HOLDS(make_file(path_of(path, directory, "free.db"), ""));
    HOLDS(open_with(&db, directory, "free.db", "region", region) == SQLITE_OK && contract_close(&db) == SQLITE_OK);
    HOLDS(contract_open_main(&db, directory, "free.db") == SQLITE_OK && contract_close(&db) == SQLITE_OK);
    /* Only a.db, r.pgs and free.db are left. */
    HOLDS(entries(directory) == 3);
    return NULL;
}

/* A database that "unix" has open and locked stays locked when another connection names it as a region. */
static const char *ordinary_database_that_is_called_a_region_is_refused_and_unharmed(const char *directory)
{
    struct opened db;
    sqlite3 *plain;
    char path[4096], text[9000], leads[4096];
    path_of(path, directory, "plain.db");
    HOLDS(make_ordinary(path) && sqlite3_open_v2(path, &plain, RW_CREATE, "unix") == SQLITE_OK);
    HOLDS(sqlite3_exec(plain, "begin immediate; insert into t values(2)", 0, 0, 0) == SQLITE_OK);
    snprintf(text, sizeof text, "Pagestone link 1\n%s\n%s/link.db\n", path, directory);
    HOLDS(make_file(path_of(leads, directory, "link.db"), text));
    int watch = open(path, O_RDWR | O_CLOEXEC);
    for (int i = 0; i < 2; i++) {
        struct flock lock = {.l_type = F_WRLCK};
        contract_forget_log();
        int result = i ? contract_open_main(&db, directory, "link.db") : open_with(&db, directory, "new.db", "region", path);
        HOLDS(result == SQLITE_NOTADB && db.file->pMethods == NULL && strstr(contract_logged(), "plain.db is an ordinary"));
        contract_close(&db);
        HOLDS(fcntl(watch, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK);
    }
    HOLDS(sqlite3_exec(plain, "commit", 0, 0, 0) == SQLITE_OK && sqlite3_close(plain) == SQLITE_OK);
    close(watch);
    HOLDS(is_ordinary_with_rows(path, 2) && entries(directory) == 2);
    return NULL;
}

static _Thread_local int file_systems_synced, sync_error;

/* Replaces the C library's function in the whole program. */
int syncfs(int descriptor)
{
    file_systems_synced++;
    errno = sync_error;
    return sync_error ? -1 : (int)syscall(SYS_syncfs, descriptor);
}

/* A folder that is writable but not readable. */
static const char *link_in_a_folder_that_cannot_be_read_is_durable_or_not_there(const char *directory)
{
    struct opened db;
    char folder[4096], link[4096], region[4200], free[4096];
    HOLDS(chmod(directory, 0755) == 0 && mkdir(path_of(free, directory, "free"), 0777) == 0 && chmod(free, 0777) == 0);
    HOLDS(mkdir(path_of(folder, directory, "dark"), 0777) == 0 && chmod(folder, 0333) == 0);
    path_of(region, free, "r.pgs");
    path_of(link, folder, "a.db");
    int result[2], synced[2];
    bool there[2];
    for (int fails = 1; fails >= 0; fails--) {
        setfsuid(65534);
        /* The region comes first: it has a name too. */
        int before = open_with(&db, free, "first.db", "region", region);
        contract_close(&db);
        file_systems_synced = 0;
        sync_error = fails ? EIO : 0;
        result[fails] = open_with(&db, folder, "a.db", "region", region);
        sync_error = 0;
        synced[fails] = file_systems_synced;
        contract_close(&db);
        setfsuid(geteuid());
        HOLDS(before == SQLITE_OK);
        there[fails] = access(link, F_OK) == 0;
    }
    HOLDS(result[1] == SQLITE_IOERR_DIR_FSYNC && synced[1] == 1 && !there[1]);
    HOLDS(result[0] == SQLITE_OK && synced[0] == 1 && there[0]);
    HOLDS(chmod(folder, 0777) == 0 && entries(folder) == 1);
    return NULL;
}

/* The permissions by which files are opened count. As root, changed in this thread only. */
static const char *rights_are_those_of_the_effective_user(const char *directory)
{
    struct opened db, waits;
    char path[4096], held[4096];
    struct stat status;
    HOLDS(chmod(directory, 0755) == 0 && make_file(path_of(path, directory, "a.db"), "") && chmod(path, 0444) == 0);
    HOLDS(contract_open_main(&db, directory, "held.db") == SQLITE_OK && contract_close(&db) == SQLITE_OK);
    int owner = claim(path_of(held, directory, "held.db"));
    HOLDS(chmod(held, 0444) == 0);
    setfsuid(65534);
    int result = contract_open_main(&db, directory, "a.db");
    int result_of_waiting = contract_open_main(&waits, directory, "held.db");
    setfsuid(geteuid());
    /* An empty database for a reader. */
    HOLDS(result == SQLITE_OK && stat(path, &status) == 0 && status.st_size == 0);
    HOLDS(result_of_waiting == SQLITE_OK && (waits.out_flags & SQLITE_OPEN_READONLY));
    HOLDS(contract_close(&db) == SQLITE_OK && contract_close(&waits) == SQLITE_OK);
    close(owner);
    return NULL;
}

/* While the region belongs to another process. */
static const char *controls_of_a_file_that_waits_are_answered(const char *directory)
{
    static const int controls[] = {SQLITE_FCNTL_OVERWRITE,          SQLITE_FCNTL_COMMIT_PHASETWO,
                                   SQLITE_FCNTL_BEGIN_ATOMIC_WRITE, SQLITE_FCNTL_COMMIT_ATOMIC_WRITE,
                                   SQLITE_FCNTL_SYNC,               SQLITE_FCNTL_CKPT_DONE};
    struct opened db;
    sqlite3_int64 hint = 1 << 20;
    int number = -1;
    HOLDS(contract_open_main(&db, directory, "a.db") == SQLITE_OK && contract_close(&db) == SQLITE_OK);
    char path[4096];
    int owner = claim(path_of(path, directory, "a.db"));
    HOLDS(contract_open_main(&db, directory, "a.db") == SQLITE_OK);
    for (size_t i = 0; i < sizeof controls / sizeof *controls; i++) METHOD(db, xFileControl, controls[i], NULL);
    HOLDS(METHOD(db, xFileControl, SQLITE_FCNTL_SIZE_HINT, &hint) == SQLITE_OK);
    HOLDS(METHOD(db, xFileControl, SQLITE_FCNTL_HAS_MOVED, &number) == SQLITE_OK && number == 0);
    HOLDS(METHOD(db, xLock, SQLITE_LOCK_SHARED) == SQLITE_BUSY);
    close(owner);
    HOLDS(METHOD(db, xLock, SQLITE_LOCK_SHARED) == SQLITE_OK && contract_close(&db) == SQLITE_OK);
    return NULL;
}

/* Descriptors that lead into the directory. */
static int descriptors_in(const char *directory)
{
    char name[300], target[4096];
    int count = 0;
    struct dirent *entry;
    DIR *folder = opendir("/proc/self/fd");
    while (folder && (entry = readdir(folder)) != NULL) {
        snprintf(name, sizeof name, "/proc/self/fd/%s", entry->d_name);
        ssize_t length = readlink(name, target, sizeof target - 1);
        count += length > 0 && strncmp(target, directory, strlen(directory)) == 0;
    }
    if (folder) closedir(folder);
    return count;
}

static const char *foreign_files_that_are_closed_hold_nothing(const char *directory)
{
    enum { FILES = 100 };
    sqlite3 *db;
    char path[4096], uri[4200];
    for (int i = 0; i < FILES; i++) {
        snprintf(path, sizeof path, "%s/%d.db", directory, i);
        HOLDS(sqlite3_open_v2(path, &db, RW_CREATE, "unix") == SQLITE_OK);
        HOLDS(sqlite3_exec(db, "create table t(x)", 0, 0, 0) == SQLITE_OK && sqlite3_close(db) == SQLITE_OK);
        snprintf(uri, sizeof uri, "file:%s?foreign=pass", path);
        HOLDS(sqlite3_open_v2(uri, &db, RW_CREATE | SQLITE_OPEN_URI, "pagestone") == SQLITE_OK);
        HOLDS(sqlite3_exec(db, "insert into t values(1)", 0, 0, 0) == SQLITE_OK && sqlite3_close(db) == SQLITE_OK);
        HOLDS(unlink(path) == 0);
    }
    HOLDS(descriptors_in(directory) == 0);
    return NULL;
}

static const char *names_that_are_misspelt_are_refused_by_name(const char *directory)
{
    static const char *const wrong[][2] = {
        {"durabilty", "durability"}, {"durabillity", "durability"}, {"Durability", "durability"}, {"durable", "durability"},
        {"asume", "assume"},         {"assumes", "assume"},         {"maxsize", "max_size"},      {"max-size", "max_size"},
        {"max_szie", "max_size"},    {"forein", "foreign"},         {"regoin", "region"},         {"regio", "region"},
        {"wiat", "wait"},            {"waits", "wait"},
    };
    static const char *const others[] = {"vfs", "cache", "mode", "mork", "tonglor", "foreign_keys", "key", "hexkey", "a", "nolock"};
    struct opened db;
    char both[100];
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        contract_forget_log();
        HOLDS(open_with(&db, directory, "a.db", wrong[i][0], "fdatasync") == SQLITE_CANTOPEN && db.file->pMethods == NULL);
        snprintf(both, sizeof both, "\"%s\": \"%s\"", wrong[i][0], wrong[i][1]);
        HOLDS(strstr(contract_logged(), both));
        contract_close(&db);
    }
    HOLDS(entries(directory) == 0);
    /* A parameter that resembles none of ours belongs to another program. */
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        HOLDS(open_with(&db, directory, "a.db", others[i], "0") == SQLITE_OK);
        HOLDS(contract_close(&db) == SQLITE_OK);
    }
    return NULL;
}

/* Root may write anywhere: so this runs as another user, in this thread only. */
static const char *folder_that_cannot_be_written_is_what_is_told(const char *directory)
{
    struct opened db, linked;
    char elsewhere[4096], region[4200];
    HOLDS(mkdir(path_of(elsewhere, directory, "open"), 0777) == 0 && chmod(elsewhere, 0777) == 0 && chmod(directory, 0555) == 0);
    path_of(region, elsewhere, "r.pgs");
    contract_forget_log();
    setfsuid(65534);
    int result = contract_open_main(&db, directory, "new.db");
    char log[1024];
    snprintf(log, sizeof log, "%s", contract_logged());
    contract_forget_log();
    int result_of_link = open_with(&linked, directory, "linked.db", "region", region);
    setfsuid(geteuid());
    HOLDS(chmod(directory, 0755) == 0);
    HOLDS(result == SQLITE_CANTOPEN && db.file->pMethods == NULL);
    HOLDS(strstr(log, "new.db") && strstr(log, "ermission denied") && !strstr(log, "No such file"));
    HOLDS(result_of_link == SQLITE_CANTOPEN && strstr(contract_logged(), "linked.db") && strstr(contract_logged(), "ermission denied"));
    contract_close(&db);
    contract_close(&linked);
    return NULL;
}

/* Root has every permission: so this runs as another user, in this thread only. */
static const char *rights_that_are_missing_are_told(const char *directory)
{
    sqlite3 *dark, *plain;
    char folder[4096], hidden[4200], path[4096];
    HOLDS(chmod(directory, 0755) == 0 && mkdir(path_of(folder, directory, "dark"), 0700) == 0);
    HOLDS(sqlite3_open_v2(path_of(path, directory, "a.db"), &plain, RW_CREATE, "pagestone") == SQLITE_OK);
    HOLDS(sqlite3_exec(plain, "create table t(x)", 0, 0, 0) == SQLITE_OK && sqlite3_close(plain) == SQLITE_OK);
    HOLDS(chmod(path, 0444) == 0);
    snprintf(hidden, sizeof hidden, "%s/x.db", folder);
    char log[2][1024];
    int result[2];
    setfsuid(65534);
    contract_forget_log();
    result[0] = sqlite3_open_v2(hidden, &dark, RW_CREATE, "pagestone");
    snprintf(log[0], sizeof log[0], "%s", contract_logged());
    contract_forget_log();
    result[1] = sqlite3_open_v2(path, &plain, RW_CREATE, "pagestone");
    if (result[1] == SQLITE_OK) result[1] = sqlite3_exec(plain, "insert into t values(1)", 0, 0, 0);
    snprintf(log[1], sizeof log[1], "%s", contract_logged());
    setfsuid(geteuid());
    HOLDS(sqlite3_close(dark) == SQLITE_OK && sqlite3_close(plain) == SQLITE_OK);
    HOLDS(result[0] == SQLITE_CANTOPEN && strstr(log[0], "pagestone: ") && strstr(log[0], "x.db: Permission denied"));
    HOLDS(result[1] == SQLITE_READONLY && strstr(log[1], "a.db is open for reading only: Permission denied"));
    return NULL;
}

const struct contract contract_of_strangers[] = {
    {"link_is_made_under_a_name_that_is_known_to_no_other", link_is_made_under_a_name_that_is_known_to_no_other},
    {"link_replaces_nothing_that_came_while_it_was_waited_for", link_replaces_nothing_that_came_while_it_was_waited_for},
    {"empty_file_that_another_connection_has_locked_is_not_taken", empty_file_that_another_connection_has_locked_is_not_taken},
    {"ordinary_database_that_is_called_a_region_is_refused_and_unharmed",
     ordinary_database_that_is_called_a_region_is_refused_and_unharmed},
    {"link_in_a_folder_that_cannot_be_read_is_durable_or_not_there", link_in_a_folder_that_cannot_be_read_is_durable_or_not_there},
    {"rights_are_those_of_the_effective_user", rights_are_those_of_the_effective_user},
    {"controls_of_a_file_that_waits_are_answered", controls_of_a_file_that_waits_are_answered},
    {"foreign_files_that_are_closed_hold_nothing", foreign_files_that_are_closed_hold_nothing},
    {"names_that_are_misspelt_are_refused_by_name", names_that_are_misspelt_are_refused_by_name},
    {"folder_that_cannot_be_written_is_what_is_told", folder_that_cannot_be_written_is_what_is_told},
    {"rights_that_are_missing_are_told", rights_that_are_missing_are_told},
    {NULL, NULL},
};
