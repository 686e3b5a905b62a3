/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Extreme numbers, in every call that takes one: each gets a result or an error, and stored data does not change. */
#include "check.h"

#define FRAME PGS_FRAME_SIZE

static const uint64_t far[] = {UINT64_MAX,     UINT64_MAX - 1,     UINT64_MAX - FRAME, (uint64_t)INT64_MAX,
                               (uint64_t)1 << 63, (uint64_t)1 << 62};
enum { FAR = sizeof far / sizeof *far };

/* The call returns one of these codes. */
static void one_of(int status, const int *codes, int line) {
    for (; *codes != PGS_OK; codes++)
        if (status == *codes) return;
    fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, line, pgs_code_name(status), status ? pgs_message() : "");
    exit(1);
}
#define REFUSED(call, ...) one_of((call), (const int[]){__VA_ARGS__, PGS_OK}, __LINE__)

static void objects(pgs_store *store, pgs_object *object) {
    char bytes[16];
    size_t done = 0;
    uint64_t size = 0;
    pgs_object *another = NULL;
    for (int i = 0; i < FAR; i++) {
        OK(pgs_object_read(object, far[i], bytes, sizeof bytes, &done));
        CHECK(done == 0);
        REFUSED(pgs_object_write(object, far[i], "0123456789", 10), PGS_E_OUT_OF_RANGE);
        REFUSED(pgs_object_resize(object, far[i]), PGS_E_OUT_OF_RANGE);
        REFUSED(pgs_object_allocate(object, far[i], 1), PGS_E_OUT_OF_RANGE);
        REFUSED(pgs_object_allocate(object, 0, far[i]), PGS_E_OUT_OF_RANGE, PGS_E_NO_SPACE, PGS_E_NO_ADDRESSES);
        REFUSED(pgs_object_allocate(object, far[i], far[i]), PGS_E_OUT_OF_RANGE);
        OK(pgs_object_sync_range(object, far[i], far[i]));
        OK(pgs_object_sync_range(object, 0, far[i]));
    }
    REFUSED(pgs_object_punch(object, UINT64_MAX, 2), PGS_E_OUT_OF_RANGE);
    REFUSED(pgs_object_punch(object, 1, UINT64_MAX), PGS_E_OUT_OF_RANGE);
    for (size_t len = SIZE_MAX; len > SIZE_MAX / 2; len = len / 4 * 3) {
        REFUSED(pgs_object_read(object, 0, bytes, len, &done), PGS_E_INVALID);
        REFUSED(pgs_object_write(object, 0, bytes, len), PGS_E_INVALID);
        REFUSED(pgs_object_append(object, bytes, len, &size), PGS_E_INVALID);
    }
    REFUSED(pgs_object_open(store, "o", UINT32_MAX, &another), PGS_E_INVALID);
    REFUSED(pgs_object_open(store, "o", PGS_EXCLUSIVE, &another), PGS_E_INVALID);
    CHECK(another == NULL);
}

static void pins(pgs_store *store, pgs_object *object) {
    void *p = NULL, *none = NULL;
    OK(pgs_pin(object, 0, 1, 0, &p));
    for (int i = 0; i < FAR; i++) {
        REFUSED(pgs_pin(object, far[i], 1, 0, &none), PGS_E_PAST_END);
        REFUSED(pgs_pin(object, 0, (size_t)far[i], 0, &none), PGS_E_PAST_END);
        REFUSED(pgs_pin(object, far[i], (size_t)far[i], PGS_PIN_WRITE, &none), PGS_E_PAST_END);
        REFUSED(pgs_pin_frame(store, far[i], &none), PGS_E_FOREIGN);
        REFUSED(pgs_pin_address(store, p, (size_t)far[i]), PGS_E_FOREIGN, PGS_E_INVALID);
        REFUSED(pgs_unpin(store, p, (size_t)far[i]), PGS_E_FOREIGN, PGS_E_INVALID);
    }
    REFUSED(pgs_pin(object, 0, 1, UINT32_MAX, &none), PGS_E_INVALID);
    REFUSED(pgs_pin_address(store, (void *)UINTPTR_MAX, 2), PGS_E_FOREIGN, PGS_E_INVALID);
    REFUSED(pgs_latch(store, p, UINT32_MAX), PGS_E_INVALID);
    REFUSED(pgs_latch(store, (void *)UINTPTR_MAX, PGS_LATCH_SHARED), PGS_E_FOREIGN);
    OK(pgs_latch(store, p, PGS_LATCH_EXCLUSIVE));
    REFUSED(pgs_unlatch(store, p, UINT32_MAX, 0, 0), PGS_E_INVALID);
    REFUSED(pgs_unlatch(store, p, PGS_LATCH_EXCLUSIVE, SIZE_MAX, SIZE_MAX), PGS_E_OUT_OF_RANGE);
    REFUSED(pgs_unlatch(store, p, PGS_LATCH_EXCLUSIVE, 0, SIZE_MAX), PGS_E_OUT_OF_RANGE);
    OK(pgs_unlatch(store, p, PGS_LATCH_EXCLUSIVE, SIZE_MAX, 0));
    for (int i = 0; i < 2; i++) {
        const void *at = i == 0 ? p : (void *)UINTPTR_MAX;
        REFUSED(pgs_latch_range(store, at, SIZE_MAX, PGS_LATCH_SHARED), PGS_E_FOREIGN, PGS_E_INVALID);
        REFUSED(pgs_unlatch_range(store, at, SIZE_MAX, PGS_LATCH_SHARED, 0, 0), PGS_E_FOREIGN, PGS_E_INVALID);
    }
    REFUSED(pgs_latch_range(store, p, 1, UINT32_MAX), PGS_E_INVALID);
    REFUSED(pgs_unlatch_range(store, p, 1, PGS_LATCH_EXCLUSIVE, SIZE_MAX, SIZE_MAX), PGS_E_OUT_OF_RANGE);
    CHECK(none == NULL && page_at(store, p).pins == 1);
    OK(pgs_unpin(store, p, 1));
}

static void batches(pgs_store *store, pgs_object *object) {
    pgs_batch *batch = NULL;
    OK(pgs_batch_begin(store, &batch));
    for (int i = 0; i < FAR; i++) {
        REFUSED(pgs_batch_write(batch, object, far[i], "0123456789", 10), PGS_E_OUT_OF_RANGE);
        REFUSED(pgs_batch_extend(batch, object, far[i]), PGS_E_OUT_OF_RANGE);
    }
    REFUSED(pgs_batch_write(batch, object, 0, "x", SIZE_MAX), PGS_E_INVALID);
    /* The batch is as before. */
    OK(pgs_batch_write(batch, object, 4, "s", 1));
    OK(pgs_batch_commit(batch));
}

static void openings(const char *path) {
    pgs_store *store = NULL;
    pgs_options options = with(UINT32_MAX);
    REFUSED(pgs_open(path, &options, &store), PGS_E_INVALID);
    for (int field = 0; field < 4; field++) {
        options = with(PGS_CREATE);
        if (field == 0) options.required = UINT32_MAX;
        if (field == 1) options.assume = UINT32_MAX;
        if (field == 2) options.log_frames = UINT32_MAX;
        if (field == 3) options.reserved[2] = UINT64_MAX;
        REFUSED(pgs_open(path, &options, &store), PGS_E_INVALID, PGS_E_OUT_OF_RANGE);
    }
    for (int i = 0; i < FAR; i++)
        REFUSED(pgs_open_memory(far[i], &store), PGS_E_OUT_OF_RANGE, PGS_E_NO_SPACE, PGS_E_NO_ADDRESSES);
    REFUSED(pgs_open_memory(0, &store), PGS_E_INVALID);
    CHECK(store == NULL);
    /* The refused openings left no file. The region is not in use, so an opening with an endless wait does not wait. */
    options = with(PGS_CREATE | PGS_EXCLUSIVE);
    options.wait_ms = UINT64_MAX;
    OK(pgs_open(path, &options, &store));
    OK(pgs_close(store));
    CHECK(strcmp(pgs_code_name(INT32_MIN), "unknown") == 0 && strcmp(pgs_code_name(INT32_MAX), "unknown") == 0);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    openings(in(argv[1], "opened.pgs"));
    pgs_store *store = open_store(in(argv[1], "extremes.pgs"), PGS_CREATE);
    pgs_object *object = open_object(store, "o");
    OK(pgs_object_write(object, 0, "as before", 9));
    objects(store, object);
    pins(store, object);
    batches(store, object);
    char back[16];
    size_t done = 0;
    OK(pgs_object_read(object, 0, back, sizeof back, &done));
    CHECK(done == 9 && memcmp(back, "as bsfore", 9) == 0);
    pgs_object_close(object);
    OK(pgs_close(store));
    return 0;
}
