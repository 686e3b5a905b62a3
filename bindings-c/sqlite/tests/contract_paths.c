/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Contract tests: paths that open, files found by path alone, paths that are refused. */
#include "contract.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define METHOD(opened, method, ...) ((opened).file->pMethods->method((opened).file, ##__VA_ARGS__))
#define JOURNAL_OF(opened) sqlite3_filename_journal((opened).name)

static int exists(const char *path)
{
    sqlite3_vfs *vfs = contract_vfs();
    int answer = -1, result = vfs->xAccess(vfs, path, SQLITE_ACCESS_EXISTS, &answer);
    return result == SQLITE_OK ? answer : -result;
}

static int open_with(struct opened *db, const char *directory, const char *leaf, const char *key, const char *value)
{
    const char *name = contract_uri_name(directory, leaf, key, value);
    return contract_open(db, name, RW_CREATE | SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_URI);
}

static int delete(const char *path, int sync)
{
    sqlite3_vfs *vfs = contract_vfs();
    return vfs->xDelete(vfs, path, sync);
}

static char *path_of(char *buffer, const char *directory, const char *leaf)
{
    snprintf(buffer, 4096, "%s/%s", directory, leaf);
    return buffer;
}

static bool write_file(const char *path, const char *text, size_t length)
{
    FILE *file = fopen(path, "w");
    bool done = file && fwrite(text, 1, length, file) == length;
    return file && fclose(file) == 0 && done;
}

static const char *journal_comes_and_goes(const char *directory)
{
    struct opened db, journal, again;
    int flags = SQLITE_OPEN_MAIN_JOURNAL;
    HOLDS(contract_open_main(&db, directory, "a.db") == SQLITE_OK);
    HOLDS(exists(JOURNAL_OF(db)) == 0 && delete(JOURNAL_OF(db), 0) == SQLITE_IOERR_DELETE_NOENT);
    HOLDS(contract_open(&journal, JOURNAL_OF(db), flags | SQLITE_OPEN_READWRITE) == SQLITE_CANTOPEN);
    HOLDS(journal.file->pMethods == NULL);
    contract_close(&journal);
    HOLDS(contract_open(&journal, JOURNAL_OF(db), flags | RW_CREATE) == SQLITE_OK);
    /* An empty journal counts as missing. */
    HOLDS(exists(JOURNAL_OF(db)) == 0);
    HOLDS(METHOD(journal, xWrite, "journal", 7, 0) == SQLITE_OK && exists(JOURNAL_OF(db)) == 1);
    /* It is deleted even if it is open: SQLITE_IOCAP_UNDELETABLE_WHEN_OPEN is not claimed. */
    HOLDS(delete(JOURNAL_OF(db), 1) == SQLITE_OK && exists(JOURNAL_OF(db)) == 0);
    HOLDS(METHOD(journal, xWrite, "journal", 7, 0) == SQLITE_OK && exists(JOURNAL_OF(db)) == 1);
    HOLDS(contract_open(&again, JOURNAL_OF(db), flags | SQLITE_OPEN_READONLY) == SQLITE_OK);
    HOLDS(again.out_flags & SQLITE_OPEN_READONLY && METHOD(again, xWrite, "x", 1, 0) == SQLITE_READONLY);
    HOLDS(contract_close(&again) == SQLITE_OK && contract_close(&journal) == SQLITE_OK);
    HOLDS(exists(JOURNAL_OF(db)) == 1 && delete(JOURNAL_OF(db), 1) == SQLITE_OK && exists(JOURNAL_OF(db)) == 0);
    HOLDS(delete(JOURNAL_OF(db), 1) == SQLITE_IOERR_DELETE_NOENT);
    HOLDS(contract_close(&db) == SQLITE_OK);
    return NULL;
}

/* After a crash SQLite asks for the journals of databases it never opened, by path, as if they were super-journals. */
static const char *journal_is_found_by_path_alone(const char *directory)
{
    struct opened db, journal;
    char path[4096], got[7];
    path_of(path, directory, "a.db-journal");
    HOLDS(contract_open_main(&db, directory, "a.db") == SQLITE_OK);
    HOLDS(contract_open(&journal, JOURNAL_OF(db), SQLITE_OPEN_MAIN_JOURNAL | RW_CREATE) == SQLITE_OK);
    HOLDS(METHOD(journal, xWrite, "journal", 7, 0) == SQLITE_OK);
    HOLDS(contract_close(&journal) == SQLITE_OK && contract_close(&db) == SQLITE_OK);
    HOLDS(exists(path) == 1 && access(path, F_OK) != 0);
    HOLDS(contract_open(&journal, path, SQLITE_OPEN_SUPER_JOURNAL | SQLITE_OPEN_READONLY) == SQLITE_OK);
    HOLDS(METHOD(journal, xRead, got, 7, 0) == SQLITE_OK && memcmp(got, "journal", 7) == 0);
    HOLDS(contract_close(&journal) == SQLITE_OK);
    HOLDS(delete(path, 1) == SQLITE_OK && exists(path) == 0);
    return NULL;
}

/* SQLite asks without the URI that allowed it. Run once more on a copy-on-write file system (`space`). */
static const char *journal_is_found_by_path_alone_where_copy_on_write_was_allowed(const char *directory)
{
    struct opened db, journal;
    char path[4096];
    path_of(path, directory, "a.db-journal");
    HOLDS(open_with(&db, directory, "a.db", "copy_on_write", "1") == SQLITE_OK);
    HOLDS(contract_open(&journal, JOURNAL_OF(db), SQLITE_OPEN_MAIN_JOURNAL | RW_CREATE) == SQLITE_OK);
    HOLDS(METHOD(journal, xWrite, "journal", 7, 0) == SQLITE_OK);
    HOLDS(contract_close(&journal) == SQLITE_OK && contract_close(&db) == SQLITE_OK);
    HOLDS(exists(path) == 1 && delete(path, 1) == SQLITE_OK && exists(path) == 0);
    return NULL;
}

/* If the answer were "absent", SQLite would count half of a transaction over two databases as committed. */
static const char *region_that_cannot_be_opened_is_not_absent(const char *directory)
{
    struct opened db;
    char path[4096];
    struct flock lock = {.l_type = F_WRLCK};
    HOLDS(contract_open_main(&db, directory, "a.db") == SQLITE_OK);
    HOLDS(contract_close(&db) == SQLITE_OK);
    /* Another owner: claims are locks of the open file description. */
    int other = open(path_of(path, directory, "a.db"), O_RDWR | O_CLOEXEC);
    HOLDS(other >= 0 && fcntl(other, F_OFD_SETLK, &lock) == 0);
    path_of(path, directory, "a.db-journal");
    /* SQLite waits for it. */
    HOLDS(exists(path) == -SQLITE_BUSY && delete(path, 0) == SQLITE_BUSY);
    contract_forget_log();
    HOLDS(open_with(&db, directory, "a.db", "wait", "0") == SQLITE_BUSY && db.file->pMethods == NULL);
    HOLDS(strstr(contract_logged(), "in use by"));
    contract_close(&db);
    close(other);
    HOLDS(exists(path) == 0);
    return NULL;
}

/* A damaged region may contain a journal: every call is an error, and is not passed to the default VFS. A head of zeros
 * is no creation that was cut short, if data lie behind it. */
static const char *region_without_its_head_is_not_absent(const char *directory)
{
    static const char *const leaves[] = {"garbage.db", "zeros.db"};
    struct opened db, journal;
    char path[4096], head[8192];
    for (int zeros = 0; zeros < 2; zeros++) {
        memset(head, zeros ? 0 : 0xa5, sizeof head);
        HOLDS(contract_open_main(&db, directory, leaves[zeros]) == SQLITE_OK);
        HOLDS(METHOD(db, xWrite, "data", 4, 5000) == SQLITE_OK && contract_close(&db) == SQLITE_OK);
        int file = open(path_of(path, directory, leaves[zeros]), O_RDWR | O_CLOEXEC);
        HOLDS(file >= 0 && pwrite(file, head, sizeof head, 0) == (ssize_t)sizeof head && close(file) == 0);
        strcat(path, "-journal");
        HOLDS(exists(path) == -SQLITE_IOERR_ACCESS);
        HOLDS(delete(path, 1) == SQLITE_IOERR_DELETE);
        int result = contract_open(&journal, path, SQLITE_OPEN_SUPER_JOURNAL | SQLITE_OPEN_READONLY);
        HOLDS((result & 0xff) == SQLITE_IOERR && journal.file->pMethods == NULL);
        contract_close(&journal);
        /* A reader is told too, and at once: the lock of a connection that waits here would be its own. */
        path[strlen(path) - 8] = 0;
        HOLDS(contract_open(&db, path, SQLITE_OPEN_READONLY | SQLITE_OPEN_MAIN_DB) != SQLITE_OK);
        contract_close(&db);
    }
    return NULL;
}

/* A file of zeros may be a creation that was cut short, which the next connection that writes makes a region. */
static const char *question_about_a_journal_makes_no_region(const char *directory)
{
    struct opened journal;
    struct stat status;
    char path[4096];
    const off_t size = 1 << 20;
    HOLDS(write_file(path_of(path, directory, "zeros"), "", 0) && truncate(path, size) == 0);
    path_of(path, directory, "zeros-journal");
    HOLDS(exists(path) == -SQLITE_IOERR_ACCESS && delete(path, 1) == SQLITE_IOERR_DELETE);
    int result = contract_open(&journal, path, SQLITE_OPEN_SUPER_JOURNAL | SQLITE_OPEN_READONLY);
    HOLDS((result & 0xff) == SQLITE_IOERR && journal.file->pMethods == NULL);
    contract_close(&journal);
    HOLDS(stat(path_of(path, directory, "zeros"), &status) == 0 && status.st_size == size);
    return NULL;
}

static const char *others_belong_to_the_default_vfs(const char *directory)
{
    struct opened file;
    char path[4096];
    HOLDS(contract_open(&file, NULL, RW_CREATE | SQLITE_OPEN_TEMP_DB | SQLITE_OPEN_DELETEONCLOSE) == SQLITE_OK);
    HOLDS(METHOD(file, xWrite, "temporary", 9, 100000) == SQLITE_OK && contract_close(&file) == SQLITE_OK);
    path_of(path, directory, "a.db-mj0A1B2C9D3");
    HOLDS(contract_open(&file, path, RW_CREATE | SQLITE_OPEN_SUPER_JOURNAL | SQLITE_OPEN_EXCLUSIVE) == SQLITE_OK);
    HOLDS(METHOD(file, xWrite, "super", 5, 0) == SQLITE_OK && contract_close(&file) == SQLITE_OK);
    HOLDS(access(path, F_OK) == 0 && exists(path) == 1 && delete(path, 1) == SQLITE_OK && access(path, F_OK) != 0);
    /* Beside no database, and beside an empty file, there is no journal. */
    HOLDS(exists(path_of(path, directory, "none-journal")) == 0);
    HOLDS(write_file(path_of(path, directory, "empty"), "", 0));
    HOLDS(exists(path_of(path, directory, "empty-wal")) == 0);
    HOLDS(delete(path, 0) == SQLITE_IOERR_DELETE_NOENT);
    return NULL;
}

static const char *open_follows_its_flags(const char *directory)
{
    struct opened db;
    const char *name = contract_name(directory, "a.db");
    HOLDS(contract_open(&db, name, SQLITE_OPEN_READWRITE | SQLITE_OPEN_MAIN_DB) == SQLITE_CANTOPEN);
    HOLDS(db.file->pMethods == NULL && access(name, F_OK) != 0);
    contract_close(&db);
    HOLDS(contract_open(&db, contract_name(directory, "."), RW_CREATE | SQLITE_OPEN_MAIN_DB) != SQLITE_OK);
    contract_close(&db);
    /* An empty file is a new database: readers see one without making it a region. */
    HOLDS(write_file(name, "", 0));
    HOLDS(contract_open(&db, name, SQLITE_OPEN_READONLY | SQLITE_OPEN_MAIN_DB) == SQLITE_OK);
    sqlite3_int64 size = -1;
    struct stat status;
    HOLDS(METHOD(db, xFileSize, &size) == SQLITE_OK && size == 0 && contract_close(&db) == SQLITE_OK);
    HOLDS(stat(name, &status) == 0 && status.st_size == 0);
    HOLDS(contract_open(&db, name, SQLITE_OPEN_READWRITE | SQLITE_OPEN_MAIN_DB) == SQLITE_OK);
    HOLDS(METHOD(db, xWrite, "x", 1, 0) == SQLITE_OK && contract_close(&db) == SQLITE_OK);
    HOLDS(contract_open(&db, name, SQLITE_OPEN_READONLY | SQLITE_OPEN_MAIN_DB) == SQLITE_OK);
    HOLDS(METHOD(db, xWrite, "x", 1, 0) == SQLITE_READONLY && METHOD(db, xTruncate, 0) == SQLITE_READONLY);
    HOLDS(db.out_flags & SQLITE_OPEN_READONLY && contract_close(&db) == SQLITE_OK);
    return NULL;
}

static const char *file_without_write_permission_opens_read_only(const char *directory)
{
    struct opened db, wal;
    char got[5];
    sqlite3_int64 size = -1;
    HOLDS(contract_open_main(&db, directory, "a.db") == SQLITE_OK);
    HOLDS(METHOD(db, xWrite, "bytes", 5, 0) == SQLITE_OK && contract_close(&db) == SQLITE_OK);
    HOLDS(chmod(directory, 0755) == 0 && chmod(contract_name(directory, "a.db"), 0444) == 0);
    setfsuid(65534); /* not as root, which may write anything; of this thread only */
    int result = contract_open_main(&db, directory, "a.db");
    int result_of_wal = contract_open(&wal, sqlite3_filename_wal(db.name), RW_CREATE | SQLITE_OPEN_WAL);
    setfsuid(geteuid());
    HOLDS(result == SQLITE_OK && (db.out_flags & SQLITE_OPEN_READONLY) && !(db.out_flags & SQLITE_OPEN_READWRITE));
    HOLDS(METHOD(db, xRead, got, 5, 0) == SQLITE_OK && memcmp(got, "bytes", 5) == 0);
    HOLDS(METHOD(db, xWrite, "other", 5, 0) == SQLITE_READONLY);
    /* There is no WAL and none can be created: an empty one is enough. */
    HOLDS(result_of_wal == SQLITE_OK && METHOD(wal, xFileSize, &size) == SQLITE_OK && size == 0);
    HOLDS(METHOD(wal, xRead, got, 5, 0) == SQLITE_IOERR_SHORT_READ && contract_all(got, 0, 5));
    HOLDS(METHOD(wal, xSync, SQLITE_SYNC_NORMAL) == SQLITE_OK);
    HOLDS(contract_close(&wal) == SQLITE_OK && contract_close(&db) == SQLITE_OK);
    return NULL;
}

/* `durability=` applies to writers only. As root, run as another user. */
static const char *reader_is_refused_for_no_durability(const char *directory)
{
    struct opened db, again;
    HOLDS(contract_open_main(&db, directory, "a.db") == SQLITE_OK && METHOD(db, xWrite, "bytes", 5, 0) == SQLITE_OK);
    HOLDS(contract_close(&db) == SQLITE_OK);
    HOLDS(chmod(directory, 0755) == 0 && chmod(contract_name(directory, "a.db"), 0444) == 0);
    setfsuid(65534);
    int result = open_with(&db, directory, "a.db", "durability", "fdatasync");
    int result_again = open_with(&again, directory, "a.db", "durability", "fdatasync");
    setfsuid(geteuid());
    HOLDS(result == SQLITE_OK && result_again == SQLITE_OK && (again.out_flags & SQLITE_OPEN_READONLY));
    HOLDS(contract_close(&db) == SQLITE_OK && contract_close(&again) == SQLITE_OK);
    return NULL;
}

static const char *unlinked_database_keeps_its_journal(const char *directory)
{
    struct opened old, fresh, journal;
    int moved = -1;
    HOLDS(contract_open_main(&old, directory, "a.db") == SQLITE_OK);
    HOLDS(METHOD(old, xFileControl, SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK && moved == 0);
    HOLDS(unlink(old.name) == 0);
    HOLDS(METHOD(old, xFileControl, SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK && moved == 1);
    HOLDS(contract_open(&journal, JOURNAL_OF(old), SQLITE_OPEN_MAIN_JOURNAL | RW_CREATE) == SQLITE_OK);
    HOLDS(METHOD(journal, xWrite, "old", 3, 0) == SQLITE_OK && contract_close(&journal) == SQLITE_OK);
    /* Another database at the same path: each connection goes on seeing its own journal. */
    HOLDS(contract_open_main(&fresh, directory, "a.db") == SQLITE_OK);
    HOLDS(METHOD(old, xFileControl, SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK && moved == 1);
    HOLDS(METHOD(fresh, xFileControl, SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK && moved == 0);
    HOLDS(exists(JOURNAL_OF(old)) == 1 && exists(JOURNAL_OF(fresh)) == 0);
    HOLDS(delete(JOURNAL_OF(fresh), 0) == SQLITE_IOERR_DELETE_NOENT && delete(JOURNAL_OF(old), 0) == SQLITE_OK);
    HOLDS(contract_close(&old) == SQLITE_OK && contract_close(&fresh) == SQLITE_OK);
    return NULL;
}

/* A journal's name belongs to a connection only if the string lies after its database's name. SQLite passes other strings for the
 * journals that a super-journal names. */
static const char *name_of_a_journal_leads_to_the_database_that_is_at_the_path(const char *directory)
{
    struct opened old, fresh, journal;
    char path[4096], other[4096], got[5];
    path_of(path, directory, "a.db-journal");
    HOLDS(contract_open_main(&fresh, directory, "b.db") == SQLITE_OK);
    HOLDS(contract_open(&journal, JOURNAL_OF(fresh), SQLITE_OPEN_MAIN_JOURNAL | RW_CREATE) == SQLITE_OK);
    HOLDS(METHOD(journal, xWrite, "fresh", 5, 0) == SQLITE_OK && contract_close(&journal) == SQLITE_OK);
    HOLDS(contract_close(&fresh) == SQLITE_OK);
    HOLDS(contract_open_main(&old, directory, "a.db") == SQLITE_OK);
    HOLDS(exists(path) == 0 && exists(JOURNAL_OF(old)) == 0);
    HOLDS(rename(path_of(other, directory, "b.db"), old.name) == 0);
    HOLDS(exists(path) == 1 && exists(JOURNAL_OF(old)) == 0);
    HOLDS(contract_open(&journal, path, SQLITE_OPEN_SUPER_JOURNAL | SQLITE_OPEN_READONLY) == SQLITE_OK);
    HOLDS(METHOD(journal, xRead, got, 5, 0) == SQLITE_OK && memcmp(got, "fresh", 5) == 0);
    HOLDS(contract_close(&journal) == SQLITE_OK);
    HOLDS(contract_open(&journal, JOURNAL_OF(old), SQLITE_OPEN_MAIN_JOURNAL | RW_CREATE) == SQLITE_OK);
    HOLDS(METHOD(journal, xWrite, "old", 3, 0) == SQLITE_OK && contract_close(&journal) == SQLITE_OK);
    HOLDS(delete(path, 0) == SQLITE_OK && exists(path) == 0 && exists(JOURNAL_OF(old)) == 1);
    HOLDS(contract_close(&old) == SQLITE_OK);
    return NULL;
}

/* Two paths, one region: links and symbolic links lead to the same locks. */
static const char *database_is_known_by_device_and_inode(const char *directory)
{
    struct opened a, b;
    char path[4096];
    HOLDS(contract_open_main(&a, directory, "a.db") == SQLITE_OK);
    HOLDS(link(a.name, path_of(path, directory, "b.db")) == 0);
    HOLDS(contract_open_main(&b, directory, "b.db") == SQLITE_OK);
    HOLDS(METHOD(a, xLock, SQLITE_LOCK_SHARED) == SQLITE_OK && METHOD(a, xLock, SQLITE_LOCK_EXCLUSIVE) == SQLITE_OK);
    HOLDS(METHOD(b, xLock, SQLITE_LOCK_SHARED) == SQLITE_BUSY);
    HOLDS(contract_close(&a) == SQLITE_OK && contract_close(&b) == SQLITE_OK);
    return NULL;
}

/* A file that "unix" has open and locked stays locked: examining a file must not drop this process's POSIX locks. */
static const char *foreign_file_is_refused_and_unharmed(const char *directory)
{
    char path[4096];
    struct opened db;
    sqlite3 *plain;
    struct flock lock = {.l_type = F_WRLCK};
    HOLDS(sqlite3_open_v2(path_of(path, directory, "plain.db"), &plain, RW_CREATE, "unix") == SQLITE_OK);
    HOLDS(sqlite3_exec(plain, "create table t(x); begin immediate", 0, 0, 0) == SQLITE_OK);
    int watch = open(path, O_RDWR | O_CLOEXEC); /* open until the last look: closing it would drop the lock */
    for (int round = 0; round < 3; round++) {
        contract_forget_log();
        HOLDS(contract_open_main(&db, directory, "plain.db") == SQLITE_NOTADB && db.file->pMethods == NULL);
        HOLDS(strstr(contract_logged(), "pagestone import"));
        contract_close(&db);
    }
    HOLDS(fcntl(watch, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK);
    HOLDS(exists(path_of(path, directory, "plain.db-journal")) == 0);
    HOLDS(sqlite3_exec(plain, "insert into t values(1); commit", 0, 0, 0) == SQLITE_OK);
    HOLDS(sqlite3_close(plain) == SQLITE_OK);
    close(watch);
    return NULL;
}

static const char *foreign_file_passes_when_told(const char *directory)
{
    sqlite3 *db;
    char path[4096], uri[4200];
    HOLDS(sqlite3_open_v2(path_of(path, directory, "plain.db"), &db, RW_CREATE, "unix") == SQLITE_OK);
    HOLDS(sqlite3_exec(db, "create table t(x)", 0, 0, 0) == SQLITE_OK && sqlite3_close(db) == SQLITE_OK);
    snprintf(uri, sizeof uri, "file:%s?foreign=pass", path);
    HOLDS(sqlite3_open_v2(uri, &db, RW_CREATE | SQLITE_OPEN_URI, "pagestone") == SQLITE_OK);
    HOLDS(sqlite3_exec(db, "insert into t values(1)", 0, 0, 0) == SQLITE_OK && sqlite3_close(db) == SQLITE_OK);
    /* Neither a region nor a database: refused in both cases. */
    HOLDS(write_file(path_of(path, directory, "text"), "no database, some text that is long enough\n", 43));
    HOLDS(sqlite3_open_v2(path, &db, RW_CREATE, "pagestone") == SQLITE_NOTADB);
    sqlite3_close(db);
    return NULL;
}

static const char *wishes_are_met_or_refused(const char *directory)
{
    static const char *const wrong[][2] = {{"durability", "fast"},    {"durability", "cacheline"}, {"assume", "nothing"},
                                           {"max_size", "-1"},        {"max_size", "12Q"},         {"max_size", "1 M"},
                                           {"max_size", "99999999T"}, {"max_size", "4GG"},
                                           {"max_size", "100 "},      {"max_size", "0 "}};
    struct opened db;
    static char megabyte[1 << 20];
    int result = SQLITE_OK;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        contract_forget_log();
        HOLDS(open_with(&db, directory, "w.db", wrong[i][0], wrong[i][1]) == SQLITE_CANTOPEN && db.file->pMethods == NULL);
        HOLDS(strstr(contract_logged(), "pagestone: "));
        HOLDS(strcmp(wrong[i][0], "max_size") != 0 || strstr(contract_logged(), wrong[i][1]));
        contract_close(&db);
    }
    HOLDS(open_with(&db, directory, "w.db", "max_size", "8m") == SQLITE_OK);
    for (int i = 0; i < 16 && result == SQLITE_OK; i++)
        result = METHOD(db, xWrite, megabyte, sizeof megabyte, (sqlite3_int64)i << 20);
    HOLDS(result == SQLITE_FULL);
    int number = 0;
    HOLDS(METHOD(db, xFileControl, SQLITE_FCNTL_LAST_ERRNO, &number) == SQLITE_OK && number == ENOSPC);
    /* A full region is not a permanent failure. */
    HOLDS(METHOD(db, xTruncate, 0) == SQLITE_OK && METHOD(db, xWrite, megabyte, sizeof megabyte, 0) == SQLITE_OK);
    HOLDS(contract_close(&db) == SQLITE_OK);
    HOLDS(open_with(&db, directory, "w.db", "durability", "volatile") == SQLITE_OK && contract_close(&db) == SQLITE_OK);
    return NULL;
}

/* A parameter without a value (from an unset variable, for instance) is refused, not ignored. */
static const char *parameter_with_nothing_behind_it_is_refused_by_name(const char *directory)
{
    static const char *const keys[] = {"region", "durability", "max_size", "assume", "foreign", "wait", "copy_on_write"};
    struct opened db;
    char words[100];
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        contract_forget_log();
        HOLDS(open_with(&db, directory, "a.db", keys[i], "") == SQLITE_CANTOPEN && db.file->pMethods == NULL);
        snprintf(words, sizeof words, "%s= ", keys[i]);
        HOLDS(strstr(contract_logged(), words));
        contract_close(&db);
    }
    HOLDS(access(contract_name(directory, "a.db"), F_OK) != 0);
    return NULL;
}

/* An opening in another thread may hold the registry's lock. A child that is forked meanwhile must still work. */
static const char *fork_while_a_region_opens_leaves_the_child_able(const char *directory)
{
    extern pthread_mutex_t pgsv_registry;
    char path[4096];
    int status = 0;
    path_of(path, directory, "none-journal");
    pthread_mutex_lock(&pgsv_registry);
    pid_t child = fork();
    if (child == 0) {
        alarm(10);
        _exit(exists(path) == 0 ? 0 : 1);
    }
    pthread_mutex_unlock(&pgsv_registry);
    HOLDS(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    return NULL;
}

/* SQLite's tests make 1.2 million such calls, some with memory made scarce: a failure must not look like "none". */
static const char *access_takes_no_memory_of_sqlite(const char *directory)
{
    struct opened db;
    HOLDS(contract_open_main(&db, directory, "a.db") == SQLITE_OK);
    long before = contract_allocations();
    for (int i = 0; i < 1000; i++) HOLDS(exists(JOURNAL_OF(db)) == 0);
    HOLDS(contract_allocations() == before);
    HOLDS(contract_close(&db) == SQLITE_OK);
    return NULL;
}

const struct contract contract_of_paths[] = {
    {"journal_comes_and_goes", journal_comes_and_goes},
    {"journal_is_found_by_path_alone", journal_is_found_by_path_alone},
    {"journal_is_found_by_path_alone_where_copy_on_write_was_allowed",
     journal_is_found_by_path_alone_where_copy_on_write_was_allowed},
    {"region_that_cannot_be_opened_is_not_absent", region_that_cannot_be_opened_is_not_absent},
    {"others_belong_to_the_default_vfs", others_belong_to_the_default_vfs},
    {"open_follows_its_flags", open_follows_its_flags},
    {"file_without_write_permission_opens_read_only", file_without_write_permission_opens_read_only},
    {"reader_is_refused_for_no_durability", reader_is_refused_for_no_durability},
    {"unlinked_database_keeps_its_journal", unlinked_database_keeps_its_journal},
    {"name_of_a_journal_leads_to_the_database_that_is_at_the_path",
     name_of_a_journal_leads_to_the_database_that_is_at_the_path},
    {"database_is_known_by_device_and_inode", database_is_known_by_device_and_inode},
    {"region_without_its_head_is_not_absent", region_without_its_head_is_not_absent},
    {"question_about_a_journal_makes_no_region", question_about_a_journal_makes_no_region},
    {"foreign_file_is_refused_and_unharmed", foreign_file_is_refused_and_unharmed},
    {"foreign_file_passes_when_told", foreign_file_passes_when_told},
    {"wishes_are_met_or_refused", wishes_are_met_or_refused},
    {"parameter_with_nothing_behind_it_is_refused_by_name", parameter_with_nothing_behind_it_is_refused_by_name},
    {"fork_while_a_region_opens_leaves_the_child_able", fork_while_a_region_opens_leaves_the_child_able},
    {"access_takes_no_memory_of_sqlite", access_takes_no_memory_of_sqlite},
    {NULL, NULL},
};
