/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Contents: read, write, append, resize, allocate, punch, sync. */
#include "check.h"

static char zeros[3 * PGS_FRAME_SIZE];

static uint64_t size_of(pgs_object *object) {
    uint64_t size = 0;
    OK(pgs_object_size(object, &size));
    return size;
}

/* Checks that the object holds the `len` bytes of `expected` at `offset`. */
static void holds(pgs_object *object, uint64_t offset, const char *expected, size_t len) {
    static char back[4 * PGS_FRAME_SIZE];
    size_t done = 0;
    CHECK(len <= sizeof back);
    memset(back, '?', sizeof back);
    OK(pgs_object_read(object, offset, back, len, &done));
    CHECK(done == len && memcmp(back, expected, len) == 0);
}

static void read_and_write(pgs_object *object) {
    char back[8] = "????????";
    size_t done = 99;
    OK(pgs_object_read(object, 0, back, 8, &done));
    CHECK(done == 0 && back[0] == '?');
    OK(pgs_object_write(object, 5000, "abcdef", 6));
    CHECK(size_of(object) == 5006);
    holds(object, 0, zeros, 5000);
    OK(pgs_object_read(object, 5003, back, 8, &done));
    CHECK(done == 3 && memcmp(back, "def?????", 8) == 0);
    OK(pgs_object_read(object, 1 << 30, back, 8, &done));
    CHECK(done == 0);
    OK(pgs_object_write(object, 4094, "over a border", 13));
    holds(object, 4094, "over a border", 13);
    OK(pgs_object_write(object, 0, NULL, 0));
    OK(pgs_object_read(object, 0, NULL, 0, &done));
    CHECK(done == 0 && size_of(object) == 5006);
}

static void append(pgs_object *object) {
    uint64_t at = 0;
    OK(pgs_object_append(object, "tail", 4, &at));
    CHECK(at == 5006 && size_of(object) == 5010);
    OK(pgs_object_append(object, "!", 1, NULL));
    holds(object, 5006, "tail!", 5);
}

static void resize(pgs_object *object) {
    OK(pgs_object_resize(object, 5003));
    CHECK(size_of(object) == 5003);
    OK(pgs_object_resize(object, 3 * PGS_FRAME_SIZE));
    holds(object, 5000, "abc", 3);
    holds(object, 5003, zeros, 3 * PGS_FRAME_SIZE - 5003);
}

static void allocate_and_punch(pgs_object *object) {
    uint64_t size = size_of(object);
    OK(pgs_object_allocate(object, 0, 4 * PGS_FRAME_SIZE));
    CHECK(size_of(object) == size);
    void *address = NULL;
    OK(pgs_pin(object, 2 * PGS_FRAME_SIZE, 1, 0, &address));
    CHECK(memcmp(address, zeros, PGS_FRAME_SIZE) == 0);
    memset(zeros, 'p', sizeof zeros);
    OK(pgs_object_write(object, 0, zeros, sizeof zeros));
    memset(zeros, 0, sizeof zeros);
    OK(pgs_object_punch(object, 100, 2 * PGS_FRAME_SIZE));
    CHECK(size_of(object) == size);
    holds(object, 100, zeros, 2 * PGS_FRAME_SIZE);
    holds(object, 99, "p", 1);
    holds(object, 100 + 2 * PGS_FRAME_SIZE, "p", 1);
    void *hole = NULL;
    ANSWERS(PGS_E_HOLE, pgs_pin(object, PGS_FRAME_SIZE, 1, 0, &hole));
    CHECK(hole == NULL);
}

static void bad_arguments(pgs_object *object) {
    char byte = 0;
    size_t done = 99;
    ANSWERS(PGS_E_INVALID, pgs_object_read(NULL, 0, &byte, 1, &done));
    ANSWERS(PGS_E_INVALID, pgs_object_read(object, 0, NULL, 1, &done));
    ANSWERS(PGS_E_INVALID, pgs_object_read(object, 0, &byte, 1, NULL));
    ANSWERS(PGS_E_INVALID, pgs_object_read(object, 0, &byte, SIZE_MAX, &done));
    ANSWERS(PGS_E_INVALID, pgs_object_write(NULL, 0, &byte, 1));
    ANSWERS(PGS_E_INVALID, pgs_object_write(object, 0, NULL, 1));
    ANSWERS(PGS_E_INVALID, pgs_object_append(object, NULL, 1, NULL));
    ANSWERS(PGS_E_INVALID, pgs_object_size(object, NULL));
    ANSWERS(PGS_E_INVALID, pgs_object_size(NULL, NULL));
    ANSWERS(PGS_E_INVALID, pgs_object_sync(NULL));
    ANSWERS(PGS_E_INVALID, pgs_store_sync(NULL));
    CHECK(done == 99);
    ANSWERS(PGS_E_OUT_OF_RANGE, pgs_object_write(object, UINT64_MAX - 1, &byte, 1));
    ANSWERS(PGS_E_OUT_OF_RANGE, pgs_object_write(object, UINT64_MAX, &byte, 1));
    ANSWERS(PGS_E_OUT_OF_RANGE, pgs_object_resize(object, UINT64_MAX));
    ANSWERS(PGS_E_OUT_OF_RANGE, pgs_object_allocate(object, UINT64_MAX, 2));
    ANSWERS(PGS_E_OUT_OF_RANGE, pgs_object_punch(object, UINT64_MAX, 2));
    ANSWERS(PGS_E_INVALID, pgs_object_sync_range(NULL, 0, 1));
}

static void compact(pgs_store *store) {
    static char bytes[1 << 20];
    uint64_t given = 0;
    pgs_object *object = open_object(store, "gone");
    OK(pgs_object_write(object, 0, bytes, sizeof bytes));
    pgs_object_close(object);
    OK(pgs_unlink(store, "gone"));
    OK(pgs_compact(store, &given));
    CHECK(given >= sizeof bytes);
    OK(pgs_compact(store, NULL));
    ANSWERS(PGS_E_INVALID, pgs_compact(NULL, &given));
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    pgs_store *store = open_store(in(argv[1], "content.pgs"), PGS_CREATE);
    pgs_object *object = open_object(store, "o");
    read_and_write(object);
    append(object);
    resize(object);
    void *address = NULL;
    allocate_and_punch(object);
    OK(pgs_pin(object, 2 * PGS_FRAME_SIZE, 1, 0, &address));
    OK(pgs_unpin(store, address, 1));
    OK(pgs_unpin(store, address, 1));
    bad_arguments(object);
    OK(pgs_object_sync_range(object, 0, 100));
    OK(pgs_object_sync_range(object, UINT64_MAX, 2));
    OK(pgs_object_sync(object));
    OK(pgs_store_sync(store));
    compact(store);
    pgs_object_close(object);
    OK(pgs_close(store));

    store = open_store(in(argv[1], "content.pgs"), 0);
    object = open_object(store, "o");
    CHECK(size_of(object) == 3 * PGS_FRAME_SIZE);
    holds(object, 99, "p", 1);
    holds(object, 100, zeros, 2 * PGS_FRAME_SIZE);
    pgs_object_close(object);
    OK(pgs_close(store));
    return 0;
}
