/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Batch-atomic writes: SQLite's commit of a rollback-mode transaction without a journal.
 *
 *   BEGIN_ATOMIC_WRITE, xWrite..., COMMIT_ATOMIC_WRITE, xSync        between them SQLite calls only SIZE_HINT
 *
 * The commit is durable when it returns, so the following xSync has nothing to do. Every failure is returned as an
 * SQLITE_IOERR other than SQLITE_IOERR_NOMEM: on these SQLite writes a journal and repeats the transaction, while on
 * all other codes the transaction fails.
 */
#include "internal.h"

int pgsv_batch_begin(struct file *file)
{
    if (file->slot != SLOT_DB || file->read_only || file->batch || !file->database)
        return pgsv_refuse(SQLITE_IOERR_BEGIN_ATOMIC, "a batch cannot begin here");
    int code = pgs_batch_begin(file->database->region->store, &file->batch);
    /* SQLite calls a rollback if a later step fails, but not if the begin fails. */
    if (code != PGS_OK) file->journal_needed = true;
    return pgsv_failure(file, code, SQLITE_IOERR_BEGIN_ATOMIC, "SQLITE_FCNTL_BEGIN_ATOMIC_WRITE");
}

int pgsv_batch_write(struct file *file, const void *buffer, size_t length, uint64_t offset)
{
    int code = pgs_batch_write(file->batch, file->object->handle, offset, buffer, length);
    return pgsv_failure(file, code, SQLITE_IOERR_WRITE, "xWrite of a batch");
}

int pgsv_batch_commit(struct file *file)
{
    pgs_batch *batch = file->batch;
    if (!batch) return pgsv_refuse(SQLITE_IOERR_COMMIT_ATOMIC, "a commit without a batch");
    file->batch = NULL;
    int code = pgs_batch_commit(batch);
    return pgsv_failure(file, code, SQLITE_IOERR_COMMIT_ATOMIC, "SQLITE_FCNTL_COMMIT_ATOMIC_WRITE");
}

int pgsv_batch_rollback(struct file *file)
{
    pgs_batch_cancel(file->batch);
    file->batch = NULL;
    file->journal_needed = true;
    return SQLITE_OK;
}

/* SQLite does not sync the journal that it writes after a failed batch, before it writes the database. So it is synced
 * here. */
int pgsv_batch_replaced(struct file *file)
{
    struct object *journal = &file->database->objects[SLOT_JOURNAL];
    file->journal_needed = false;
    if (atomic_load_explicit(&journal->state, memory_order_acquire) != OBJECT_OPEN) return SQLITE_OK;
    atomic_store_explicit(&journal->synced, true, memory_order_relaxed);
    return pgsv_status(file, pgs_object_sync(journal->handle), SQLITE_IOERR_FSYNC, "the journal after a batch");
}
