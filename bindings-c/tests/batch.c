/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Batches: all changes or none. */
#include "check.h"

static void reads(pgs_object *object, uint64_t offset, const char *expected, size_t len) {
    char back[64];
    size_t done = 0;
    CHECK(len <= sizeof back);
    OK(pgs_object_read(object, offset, back, len, &done));
    CHECK(done == len && memcmp(back, expected, len) == 0);
}

static uint64_t size_of(pgs_object *object) {
    uint64_t size = 0;
    OK(pgs_object_size(object, &size));
    return size;
}

static void together(pgs_store *store, pgs_object *a, pgs_object *b) {
    pgs_batch *batch = NULL;
    OK(pgs_batch_begin(store, &batch));
    OK(pgs_batch_write(batch, a, 0, "first", 5));
    OK(pgs_batch_write(batch, b, 5000, "second", 6));
    OK(pgs_batch_write(batch, a, 1, "IR", 2));
    OK(pgs_batch_extend(batch, a, 3 * PGS_FRAME_SIZE));
    CHECK(size_of(a) == 0 && size_of(b) == 0);
    OK(pgs_batch_commit(batch));
    CHECK(size_of(a) == 3 * PGS_FRAME_SIZE && size_of(b) == 5006);
    reads(a, 0, "fIRst\0\0", 7);
    reads(b, 4998, "\0\0second", 8);
}

static void not_at_all(pgs_store *store, pgs_object *a) {
    pgs_batch *batch = NULL;
    OK(pgs_batch_begin(store, &batch));
    OK(pgs_batch_write(batch, a, 0, "gone", 4));
    pgs_batch_cancel(batch);
    reads(a, 0, "fIRst", 5);
    ANSWERS(PGS_E_CLOSED, pgs_batch_commit(batch));
    pgs_batch_cancel(NULL);
}

static void refusals(pgs_store *store, pgs_object *a) {
    pgs_batch *batch = NULL;
    pgs_store *other = NULL;
    pgs_object *foreign = NULL;
    OK(pgs_open_memory(1 << 20, &other));
    OK(pgs_object_open(other, "foreign", PGS_CREATE, &foreign));
    ANSWERS(PGS_E_INVALID, pgs_batch_begin(NULL, &batch));
    ANSWERS(PGS_E_INVALID, pgs_batch_begin(store, NULL));
    ANSWERS(PGS_E_INVALID, pgs_batch_commit(NULL));
    OK(pgs_batch_begin(store, &batch));
    ANSWERS(PGS_E_INVALID, pgs_batch_write(NULL, a, 0, "x", 1));
    ANSWERS(PGS_E_INVALID, pgs_batch_write(batch, NULL, 0, "x", 1));
    ANSWERS(PGS_E_INVALID, pgs_batch_write(batch, a, 0, NULL, 1));
    ANSWERS(PGS_E_INVALID, pgs_batch_write(batch, foreign, 0, "x", 1));
    ANSWERS(PGS_E_INVALID, pgs_batch_extend(batch, a, 1));
    ANSWERS(PGS_E_OUT_OF_RANGE, pgs_batch_write(batch, a, UINT64_MAX, "x", 1));
    ANSWERS(PGS_E_BUSY, pgs_close(store));
    OK(pgs_batch_commit(batch));
    reads(a, 0, "fIRst", 5);
    pgs_object_close(foreign);
    OK(pgs_close(other));
}

int main(int argc, char **argv) {
    pgs_store *store;
    pgs_object *a = NULL, *b = NULL;
    CHECK(argc == 2);
    store = open_store(in(argv[1], "batch.pgs"), PGS_CREATE);
    OK(pgs_object_open(store, "a", PGS_CREATE, &a));
    OK(pgs_object_open(store, "b", PGS_CREATE, &b));
    together(store, a, b);
    not_at_all(store, a);
    refusals(store, a);
    pgs_object_close(a);
    pgs_object_close(b);
    OK(pgs_close(store));
    store = open_store(in(argv[1], "batch.pgs"), 0);
    OK(pgs_object_open(store, "b", 0, &b));
    reads(b, 5000, "second", 6);
    pgs_object_close(b);
    OK(pgs_close(store));
    return 0;
}
