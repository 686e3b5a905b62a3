/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Contract tests: what others put in the way, and what users get wrong. */
#include "contract.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <unistd.h>

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

/* A process that may write to the folder knows the database's name and the process. */
static const char *link_is_made_under_a_name_that_nobody_knows(const char *directory)
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
    /* victim, planted, a.db, r.pgs: nothing else is left. */
    HOLDS(access(planted, F_OK) == 0 && entries(directory) == 4);
    HOLDS(contract_open_main(&db, directory, "a.db") == SQLITE_OK && contract_close(&db) == SQLITE_OK);
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
    /* What is nothing like ours is another program's. */
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        HOLDS(open_with(&db, directory, "a.db", others[i], "0") == SQLITE_OK);
        HOLDS(contract_close(&db) == SQLITE_OK);
    }
    return NULL;
}

/* For root, which may write anywhere: as another user, in this thread only. */
static const char *folder_that_cannot_be_written_is_what_is_told(const char *directory)
{
    struct opened db, linked;
    char elsewhere[4096], region[4200];
    HOLDS(chmod(directory, 0755) == 0 && mkdir(path_of(elsewhere, directory, "open"), 0777) == 0 && chmod(elsewhere, 0777) == 0);
    path_of(region, elsewhere, "r.pgs");
    contract_forget_log();
    setfsuid(65534);
    int result = contract_open_main(&db, directory, "new.db");
    char log[1024];
    snprintf(log, sizeof log, "%s", contract_logged());
    contract_forget_log();
    int result_of_link = open_with(&linked, directory, "linked.db", "region", region);
    setfsuid(geteuid());
    HOLDS(result == SQLITE_CANTOPEN && db.file->pMethods == NULL);
    HOLDS(strstr(log, "new.db") && strstr(log, "ermission denied") && !strstr(log, "No such file"));
    HOLDS(result_of_link == SQLITE_CANTOPEN && strstr(contract_logged(), "linked.db") && strstr(contract_logged(), "ermission denied"));
    contract_close(&db);
    contract_close(&linked);
    return NULL;
}

const struct contract contract_of_strangers[] = {
    {"link_is_made_under_a_name_that_nobody_knows", link_is_made_under_a_name_that_nobody_knows},
    {"foreign_files_that_are_closed_hold_nothing", foreign_files_that_are_closed_hold_nothing},
    {"names_that_are_misspelt_are_refused_by_name", names_that_are_misspelt_are_refused_by_name},
    {"folder_that_cannot_be_written_is_what_is_told", folder_that_cannot_be_written_is_what_is_told},
    {NULL, NULL},
};
