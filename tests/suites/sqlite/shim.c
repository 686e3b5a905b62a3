/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * SQL functions for shim.tcl: the files of a database as the VFS has them, by the calls that SQLite itself
 * makes of it. A path that ends in -journal or -wal is one, any other is a main database.
 *
 *   shim_size(path)                  bytes, NULL: there is no such file
 *   shim_read(path, offset, length)  as many bytes as there are of these
 *   shim_write(path, offset, blob)   makes the file where there is none
 *   shim_truncate(path, length)
 *   shim_delete(path)
 */
#include <sqlite3ext.h>
#include <string.h>
SQLITE_EXTENSION_INIT1

#define PATH_LENGTH 4096
#define WAL_STEP (256 * 1024)
#define WAL_HEAD 32
#define FRAME_HEAD 24

static int ends_in(const char *path, const char *suffix)
{
    size_t length = strlen(path), end = strlen(suffix);
    return length > end && strcmp(path + length - end, suffix) == 0;
}

/* Opens the file; NULL, and the context has the error, if it cannot be. What is returned is closed by `done`. */
static sqlite3_file *file_open(sqlite3_context *context, const char *path, int more)
{
    /* Behind the path SQLite keeps the query parameters: there are none. */
    static char full[PATH_LENGTH + 8];
    sqlite3_vfs *vfs = sqlite3_vfs_find("pagestone");
    sqlite3_file *file = sqlite3_malloc(vfs->szOsFile);
    int kind = SQLITE_OPEN_MAIN_DB;
    if (!file) return sqlite3_result_error_nomem(context), (sqlite3_file *)0;
    if (ends_in(path, "-journal")) kind = SQLITE_OPEN_MAIN_JOURNAL;
    if (ends_in(path, "-wal")) kind = SQLITE_OPEN_WAL;
    memset(full, 0, sizeof full);
    memset(file, 0, (size_t)vfs->szOsFile);
    int result = vfs->xFullPathname(vfs, path, PATH_LENGTH, full);
    if (result == SQLITE_OK) result = vfs->xOpen(vfs, full, file, kind | SQLITE_OPEN_READWRITE | more, 0);
    if (result == SQLITE_OK) return file;
    if (file->pMethods) file->pMethods->xClose(file);
    sqlite3_free(file);
    sqlite3_result_error_code(context, result);
    return 0;
}

static void done(sqlite3_context *context, sqlite3_file *file, int result)
{
    int closed = file->pMethods->xClose(file);
    sqlite3_free(file);
    if (result == SQLITE_OK) result = closed;
    if (result != SQLITE_OK) sqlite3_result_error_code(context, result);
}

/* As SQLite asks, before it opens a journal. */
static int exists(sqlite3_context *context, const char *path)
{
    static char full[PATH_LENGTH + 8];
    sqlite3_vfs *vfs = sqlite3_vfs_find("pagestone");
    int answer = 0;
    memset(full, 0, sizeof full);
    int result = vfs->xFullPathname(vfs, path, PATH_LENGTH, full);
    if (result == SQLITE_OK) result = vfs->xAccess(vfs, full, SQLITE_ACCESS_EXISTS, &answer);
    if (result != SQLITE_OK) sqlite3_result_error_code(context, result);
    return result == SQLITE_OK && answer;
}

/* A WAL grows ahead in steps of zeros: such a one is counted up to its last frame, whose head is never zero (its salts). */
static sqlite3_int64 without_zeros(sqlite3_file *file, sqlite3_int64 bytes)
{
    unsigned char head[WAL_HEAD];
    static const unsigned char none[FRAME_HEAD];
    if (bytes == 0 || bytes % WAL_STEP != 0 || file->pMethods->xRead(file, head, WAL_HEAD, 0) != SQLITE_OK) return bytes;
    sqlite3_int64 frame = FRAME_HEAD + ((head[8] << 24) | (head[9] << 16) | (head[10] << 8) | head[11]);
    if (head[0] != 0x37 || head[1] != 0x7f || frame < FRAME_HEAD) return bytes;
    for (sqlite3_int64 frames = (bytes - WAL_HEAD) / frame; frames > 0; frames--) {
        sqlite3_int64 end = WAL_HEAD + frames * frame;
        if (file->pMethods->xRead(file, head, FRAME_HEAD, end - frame) != SQLITE_OK) return bytes;
        if (memcmp(head, none, FRAME_HEAD) != 0) return end;
    }
    return WAL_HEAD;
}

static int length_of(sqlite3_file *file, const char *path, sqlite3_int64 *bytes)
{
    int result = file->pMethods->xFileSize(file, bytes);
    if (result == SQLITE_OK && ends_in(path, "-wal")) *bytes = without_zeros(file, *bytes);
    return result;
}

static void size(sqlite3_context *context, int count, sqlite3_value **values)
{
    const char *path = (const char *)sqlite3_value_text(values[0]);
    sqlite3_int64 bytes = 0;
    (void)count;
    if (!exists(context, path)) return;
    sqlite3_file *file = file_open(context, path, 0);
    if (!file) return;
    int result = length_of(file, path, &bytes);
    sqlite3_result_int64(context, bytes);
    done(context, file, result);
}

static void read_bytes(sqlite3_context *context, int count, sqlite3_value **values)
{
    sqlite3_int64 offset = sqlite3_value_int64(values[1]), length = sqlite3_value_int64(values[2]), bytes = 0;
    const char *path = (const char *)sqlite3_value_text(values[0]);
    (void)count;
    sqlite3_file *file = file_open(context, path, 0);
    if (!file) return;
    int result = length_of(file, path, &bytes);
    if (length > bytes - offset) length = bytes - offset;
    if (length < 0) length = 0;
    char *buffer = sqlite3_malloc64((sqlite3_uint64)length + 1);
    if (!buffer) result = SQLITE_NOMEM;
    if (result == SQLITE_OK && length > 0) result = file->pMethods->xRead(file, buffer, (int)length, offset);
    if (result == SQLITE_OK) sqlite3_result_blob64(context, buffer, (sqlite3_uint64)length, SQLITE_TRANSIENT);
    sqlite3_free(buffer);
    done(context, file, result);
}

static void write_bytes(sqlite3_context *context, int count, sqlite3_value **values)
{
    int length = sqlite3_value_bytes(values[2]);
    const void *bytes = sqlite3_value_blob(values[2]);
    (void)count;
    sqlite3_file *file = file_open(context, (const char *)sqlite3_value_text(values[0]), SQLITE_OPEN_CREATE);
    if (!file) return;
    int result = length == 0 ? SQLITE_OK : file->pMethods->xWrite(file, bytes, length, sqlite3_value_int64(values[1]));
    done(context, file, result);
}

static void truncate_to(sqlite3_context *context, int count, sqlite3_value **values)
{
    (void)count;
    sqlite3_file *file = file_open(context, (const char *)sqlite3_value_text(values[0]), SQLITE_OPEN_CREATE);
    if (file) done(context, file, file->pMethods->xTruncate(file, sqlite3_value_int64(values[1])));
}

static void delete_it(sqlite3_context *context, int count, sqlite3_value **values)
{
    static char full[PATH_LENGTH + 8];
    sqlite3_vfs *vfs = sqlite3_vfs_find("pagestone");
    (void)count;
    memset(full, 0, sizeof full);
    int result = vfs->xFullPathname(vfs, (const char *)sqlite3_value_text(values[0]), PATH_LENGTH, full);
    if (result == SQLITE_OK) result = vfs->xDelete(vfs, full, 0);
    if (result != SQLITE_OK && result != SQLITE_IOERR_DELETE_NOENT) sqlite3_result_error_code(context, result);
}

int sqlite3_shim_init(sqlite3 *db, char **message, const sqlite3_api_routines *api)
{
    static const struct {
        const char *name;
        int arguments;
        void (*function)(sqlite3_context *, int, sqlite3_value **);
    } functions[] = {{"shim_size", 1, size},
                     {"shim_read", 3, read_bytes},
                     {"shim_write", 3, write_bytes},
                     {"shim_truncate", 2, truncate_to},
                     {"shim_delete", 1, delete_it}};
    (void)message;
    SQLITE_EXTENSION_INIT2(api);
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        int result = sqlite3_create_function(db, functions[i].name, functions[i].arguments, SQLITE_UTF8 | SQLITE_DIRECTONLY, 0,
                                             functions[i].function, 0, 0);
        if (result != SQLITE_OK) return result;
    }
    return SQLITE_OK;
}
