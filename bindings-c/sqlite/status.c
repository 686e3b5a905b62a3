/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Translates codes of Pagestone into codes of SQLite, and keeps the reason in words. */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

/* Maximum length of a line; longer ones are cut. */
#define LINE 1024

static int translate(int code, int otherwise)
{
    switch (code) {
    case PGS_OK: return SQLITE_OK;
    case PGS_E_NO_SPACE:
    case PGS_E_NO_ADDRESSES:
    case -ENOSPC:
    case -EDQUOT: return SQLITE_FULL;
    case PGS_E_READ_ONLY: return SQLITE_READONLY;
    case PGS_E_IN_USE: return SQLITE_BUSY;
    case PGS_E_NOT_A_REGION: return SQLITE_NOTADB;
    case PGS_E_CORRUPT: return SQLITE_IOERR_CORRUPTFS;
    case -ENOMEM: return SQLITE_IOERR_NOMEM;
    default: return otherwise;
    }
}

/* The SQLite result for `code`. `otherwise` is the caller's general failure. */
int pgsv_status(struct file *file, int code, int otherwise, const char *what)
{
    return pgsv_failure(file, code, translate(code, otherwise), what);
}

/* Returns `result`, or SQLITE_OK if `code` is success. Reports the failure, and remembers errno for
 * SQLITE_FCNTL_LAST_ERRNO and sqlite3_system_errno(). */
int pgsv_failure(struct file *file, int code, int result, const char *what)
{
    char line[LINE];
    if (code == PGS_OK) return SQLITE_OK;
    int number = code < 0 && code > -4096 ? -code : 0;
    if (code == PGS_E_NO_SPACE) number = ENOSPC;
    if (file) file->last_errno = number;
    sqlite3_snprintf(sizeof line, line, "%s: %s", what, pgs_message());
    pgsv_tell(result, line);
    errno = number;
    return result;
}

/* Reports a refusal by the VFS itself. */
int pgsv_refuse(int result, const char *format, ...)
{
    char line[LINE];
    int number = errno;
    va_list arguments;
    va_start(arguments, format);
    sqlite3_vsnprintf(sizeof line, line, format, arguments);
    va_end(arguments);
    pgsv_tell(result, line);
    errno = number;
    return result;
}

/* Reports a refusal by the VFS that was the default before, whose only reason is errno. */
int pgsv_refuse_default(int result, const char *path)
{
    struct stat status;
    int number = errno;
    if (stat(path, &status) != 0) number = errno;
    errno = number;
    return pgsv_refuse(result, "%s: %s", path, number ? strerror(number) : "it cannot be opened");
}

/* Reports something worth knowing that is not a failure. */
void pgsv_notice(const char *format, ...)
{
    char line[LINE];
    va_list arguments;
    va_start(arguments, format);
    sqlite3_vsnprintf(sizeof line, line, format, arguments);
    va_end(arguments);
    pgsv_tell(SQLITE_NOTICE, line);
}

/* ---- where failures are kept and reported ---- */

static _Thread_local char last_here[LINE];
static char last_anywhere[LINE];
static pthread_mutex_t last_mutex = PTHREAD_MUTEX_INITIALIZER;

/* The last failure of this thread, or, if it had none, of any thread. Freed by sqlite3_free(). */
char *pgsv_last_failure(void)
{
    if (*last_here) return sqlite3_mprintf("%s", last_here);
    pthread_mutex_lock(&last_mutex);
    char *line = sqlite3_mprintf("%s", last_anywhere);
    pthread_mutex_unlock(&last_mutex);
    return line;
}

/* Called when an opening begins, so that an older failure of this thread is not taken for a failure of the opening. */
void pgsv_forget_failure(void)
{
    pthread_mutex_lock(&last_mutex);
    if (strcmp(last_here, last_anywhere) == 0) *last_anywhere = 0;
    pthread_mutex_unlock(&last_mutex);
    *last_here = 0;
}

void pgsv_messages_forget(void)
{
    pthread_mutex_init(&last_mutex, NULL);
}

static int open_nothing(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Fills the free ones of the lowest three descriptors, for good, as SQLite's own VFS does. They are not freed again: an
 * opening of the engine in another thread may have found one filled and rely on it. */
static void fill_lowest(void)
{
    for (int number = 0; number <= 2; number++) {
        if (fcntl(number, F_GETFD) != -1) continue;
        int descriptor = open_nothing();
        if (descriptor > 2) close(descriptor);
    }
}

/* Replaces a descriptor that is one of the lowest three by a higher one; the low number stays filled. */
static int move_above(int descriptor)
{
    int higher = fcntl(descriptor, F_DUPFD_CLOEXEC, 3), number = errno;
    int nothing = open_nothing();
    if (nothing < 0 || dup3(nothing, descriptor, O_CLOEXEC) < 0) close(descriptor);
    if (nothing > 2) close(nothing);
    errno = number;
    return higher;
}

/* Opens a file with a descriptor above the lowest three. Those belong to the program, open or not, and its output must
 * not end in the file. The file may have one of them for a moment only if its filler is closed at this very moment. */
int pgsv_open_above(const char *path, int flags, mode_t mode)
{
    fill_lowest();
    int descriptor = open(path, flags | O_CLOEXEC | O_NOCTTY, mode);
    return descriptor < 0 || descriptor > 2 ? descriptor : move_above(descriptor);
}

/* Opens the log if it is a regular file of this user with one name: it may be in a folder where other users can create
 * files. */
static int open_log(const char *path)
{
    struct stat status;
    int descriptor = pgsv_open_above(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (descriptor < 0) return -1;
    if (fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == geteuid() && status.st_nlink == 1)
        return descriptor;
    close(descriptor);
    return -1;
}

/* Writes to PGS_VFS_LOG=stderr, or to a file, one line by one write. A failure to write is ignored. */
static void write_to_log(const char *line)
{
    char text[LINE + 64];
    const char *path = pgsv_environment("PGS_VFS_LOG");
    if (!path || !*path) return;
    sqlite3_snprintf(sizeof text, text, "pagestone[%d]: %s\n", (int)getpid(), line);
    int descriptor = strcmp(path, "stderr") == 0 ? STDERR_FILENO : open_log(path);
    if (descriptor < 0) return;
    ssize_t written = write(descriptor, text, strlen(text));
    (void)written;
    if (descriptor != STDERR_FILENO) close(descriptor);
}

/* Reports a line to SQLite's log and to PGS_VFS_LOG. Unless it is a notice, it becomes the last failure. */
void pgsv_tell(int result, const char *line)
{
    if (result != SQLITE_NOTICE) {
        sqlite3_snprintf(sizeof last_here, last_here, "%s", line);
        pthread_mutex_lock(&last_mutex);
        memcpy(last_anywhere, last_here, sizeof last_anywhere);
        pthread_mutex_unlock(&last_mutex);
    }
    write_to_log(line);
    sqlite3_log(result, "pagestone: %s", line);
}
