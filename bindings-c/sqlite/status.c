/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Codes of Pagestone become codes of SQLite; what SQLite's codes cannot say goes to SQLite's log. */
#include "internal.h"

#include <errno.h>
#include <stdarg.h>

static int translate(int code, int otherwise)
{
    switch (code) {
    case PGS_OK: return SQLITE_OK;
    case PGS_E_NO_SPACE:
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

/* The result for `code`: `otherwise` is the general failure of the caller. */
int pgsv_status(struct file *file, int code, int otherwise, const char *what)
{
    return pgsv_failure(file, code, translate(code, otherwise), what);
}

/* `result`, unless `code` says that nothing failed. Logs, and remembers errno for SQLITE_FCNTL_LAST_ERRNO and
 * sqlite3_system_errno(). */
int pgsv_failure(struct file *file, int code, int result, const char *what)
{
    if (code == PGS_OK) return SQLITE_OK;
    int number = code < 0 && code > -4096 ? -code : 0;
    if (code == PGS_E_NO_SPACE) number = ENOSPC;
    if (file) file->last_errno = number;
    sqlite3_log(result, "pagestone: %s: %s", what, pgs_message());
    errno = number;
    return result;
}

/* Logs a refusal of the VFS itself. */
int pgsv_refuse(int result, const char *format, ...)
{
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    sqlite3_vsnprintf(sizeof line, line, format, arguments);
    va_end(arguments);
    sqlite3_log(result, "pagestone: %s", line);
    return result;
}
