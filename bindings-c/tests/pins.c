/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Pins and latches: by object, by pfn, by address; and what they refuse. */
#include "check.h"

#define FRAME PGS_FRAME_SIZE

static void one_descriptor(pgs_store *store, pgs_object *object) {
    void *a = NULL, *b = NULL;
    OK(pgs_pin(object, 10, 20, 0, &a));
    CHECK(memcmp(a, "0123456789", 10) == 0);
    pgs_page_info page = page_at(store, a);
    CHECK(page.pins == 1 && page.shared == 0 && page.exclusive == 0 && page.detached == 0 && page.poisoned == 0);
    OK(pgs_pin_frame(store, page.pfn, &b));
    CHECK((char *)b + 10 == (char *)a);
    OK(pgs_pin_address(store, (char *)b + 4000, 50));
    CHECK(page_at(store, a).pins == 3 && page_at(store, b).pfn == page.pfn);
    OK(pgs_unpin(store, b, FRAME));
    OK(pgs_unpin(store, a, 20));
    CHECK(page_at(store, b).pins == 1);
    OK(pgs_unpin(store, (char *)b + 4000, 50));
    CHECK(page_at(store, b).pins == 0);
    ANSWERS(PGS_E_INVALID, pgs_unpin(store, b, FRAME));
    CHECK(page_at(store, b).pins == 0);
}

static void refused(pgs_store *store, pgs_object *object) {
    void *address = NULL;
    char stack;
    ANSWERS(PGS_E_PAST_END, pgs_pin(object, 3 * FRAME, 1, 0, &address));
    ANSWERS(PGS_E_PAST_END, pgs_pin(object, 2 * FRAME, FRAME + 1, 0, &address));
    ANSWERS(PGS_E_PAST_END, pgs_pin(object, UINT64_MAX, 2, 0, &address));
    ANSWERS(PGS_E_PAST_END, pgs_pin(object, 3 * FRAME, 1, PGS_PIN_WRITE, &address));
    ANSWERS(PGS_E_HOLE, pgs_pin(object, FRAME, 1, 0, &address));
    ANSWERS(PGS_E_HOLE, pgs_pin(object, 0, 3 * FRAME, 0, &address));
    ANSWERS(PGS_E_INVALID, pgs_pin(object, 0, 0, 0, &address));
    ANSWERS(PGS_E_INVALID, pgs_pin(object, 0, 1, 2, &address));
    ANSWERS(PGS_E_INVALID, pgs_pin(object, 0, 1, 0, NULL));
    ANSWERS(PGS_E_INVALID, pgs_pin(NULL, 0, 1, 0, &address));
    ANSWERS(PGS_E_FOREIGN, pgs_pin_frame(store, UINT64_MAX, &address));
    /* After the end of the file there are addresses and frame numbers, but no frames. */
    pgs_store_info region = {.size = sizeof region};
    OK(pgs_info(store, &region));
    OK(pgs_pin(object, 0, 1, 0, &address));
    char *beyond = (char *)address - page_at(store, address).offset + region.bytes;
    OK(pgs_unpin(store, address, 1));
    address = NULL;
    ANSWERS(PGS_E_FOREIGN, pgs_pin_frame(store, region.first_pfn + region.bytes / FRAME, &address));
    ANSWERS(PGS_E_FOREIGN, pgs_pin_address(store, beyond, 1));
    ANSWERS(PGS_E_FOREIGN, pgs_pin_address(store, beyond - FRAME, FRAME + 1));
    ANSWERS(PGS_E_FOREIGN, pgs_pin_address(store, &stack, 1));
    ANSWERS(PGS_E_INVALID, pgs_pin_address(store, &stack, 0));
    ANSWERS(PGS_E_FOREIGN, pgs_unpin(store, &stack, 1));
    ANSWERS(PGS_E_FOREIGN, pgs_unpin(store, NULL, 1));
    ANSWERS(PGS_E_FOREIGN, pgs_latch(store, &stack, PGS_LATCH_SHARED));
    pgs_page_info page = {.size = sizeof page};
    ANSWERS(PGS_E_FOREIGN, pgs_peek(store, &stack, &page));
    CHECK(address == NULL);

    /* A range is refused if only its beginning is pinned. */
    OK(pgs_pin(object, 0, 1, 0, &address));
    ANSWERS(PGS_E_INVALID, pgs_unpin(store, address, FRAME + 1));
    CHECK(page_at(store, address).pins == 1);
    OK(pgs_unpin(store, address, 1));

    /* An address of another store is foreign to this one. */
    pgs_store *other = NULL;
    OK(pgs_open_memory(1 << 24, &other));
    OK(pgs_pin(object, 0, 1, 0, &address));
    ANSWERS(PGS_E_FOREIGN, pgs_unpin(other, address, 1));
    ANSWERS(PGS_E_FOREIGN, pgs_pin_address(other, address, 1));
    ANSWERS(PGS_E_FOREIGN, pgs_peek(other, address, &page));
    OK(pgs_unpin(store, address, 1));
    OK(pgs_close(other));
}

static void holes_are_filled_for_writing(pgs_store *store, pgs_object *object) {
    void *address = NULL;
    OK(pgs_pin(object, FRAME, FRAME, PGS_PIN_WRITE, &address));
    for (int i = 0; i < FRAME; i++)
        CHECK(((char *)address)[i] == 0);
    /* The bytes after the range can be read. */
    volatile const char *behind = (const char *)address + FRAME;
    for (int i = 0; i < PGS_PIN_SLACK; i++)
        (void)behind[i];
    OK(pgs_unpin(store, address, FRAME));
}

static void scattered(pgs_store *store) {
    pgs_object *a = open_object(store, "a"), *b = open_object(store, "b");
    static char frame[FRAME];
    void *address = NULL;
    /* The last page is written first, with another object's page between: the frames cannot be in order. */
    for (int i = 7; i >= 0; i--) {
        OK(pgs_object_write(a, (uint64_t)i * 2 * FRAME, frame, FRAME));
        OK(pgs_object_write(b, (uint64_t)i * FRAME, frame, FRAME));
    }
    for (int i = 7; i >= 0; i--)
        OK(pgs_object_write(a, ((uint64_t)i * 2 + 1) * FRAME, frame, FRAME));
    ANSWERS(PGS_E_SCATTERED, pgs_pin(a, 0, 16 * FRAME, 0, &address));
    CHECK(address == NULL);
    for (int i = 0; i < 16; i++) {
        OK(pgs_pin(a, (uint64_t)i * FRAME, FRAME, 0, &address));
        CHECK(page_at(store, address).pins == 1);
        OK(pgs_unpin(store, address, FRAME));
    }
    pgs_object_close(a);
    pgs_object_close(b);
}

static void too_many(pgs_store *store, pgs_object *object) {
    void *address = NULL, *extra = NULL;
    for (uint32_t i = 0; i < PGS_PINS_MAX; i++)
        OK(pgs_pin(object, 0, 1, 0, &address));
    CHECK(page_at(store, address).pins == PGS_PINS_MAX);
    ANSWERS(PGS_E_TOO_MANY_PINS, pgs_pin(object, 0, 1, 0, &extra));
    ANSWERS(PGS_E_TOO_MANY_PINS, pgs_pin_address(store, address, 1));
    CHECK(extra == NULL);
    for (uint32_t i = 0; i < PGS_PINS_MAX; i++)
        OK(pgs_unpin(store, address, 1));
    CHECK(page_at(store, address).pins == 0);
}

static void too_many_readers(pgs_store *store, pgs_object *object) {
    void *p = NULL;
    char bytes[10];
    size_t got = 0;
    OK(pgs_pin(object, 0, 1, 0, &p));
    for (uint32_t i = 0; i < PGS_READERS_MAX; i++)
        OK(pgs_latch(store, p, PGS_LATCH_SHARED));
    ANSWERS(PGS_E_TOO_MANY_READERS, pgs_latch(store, p, PGS_LATCH_SHARED));
    ANSWERS(PGS_E_BUSY, pgs_latch(store, p, PGS_LATCH_SHARED | PGS_LATCH_TRY));
    OK(pgs_object_read(object, 0, bytes, sizeof bytes, &got));
    CHECK(got == sizeof bytes && page_at(store, p).shared == PGS_READERS_MAX);
    for (uint32_t i = 0; i < PGS_READERS_MAX; i++)
        OK(pgs_unlatch(store, p, PGS_LATCH_SHARED, 0, 0));
    OK(pgs_unpin(store, p, 1));
}

static void latches(pgs_store *store, pgs_object *object) {
    void *p = NULL;
    OK(pgs_pin(object, 100, 100, 0, &p));
    OK(pgs_latch(store, p, PGS_LATCH_SHARED));
    OK(pgs_latch(store, p, PGS_LATCH_SHARED | PGS_LATCH_TRY));
    CHECK(page_at(store, p).shared == 2);
    ANSWERS(PGS_E_BUSY, pgs_latch(store, p, PGS_LATCH_EXCLUSIVE | PGS_LATCH_TRY));
    ANSWERS(PGS_E_INVALID, pgs_unlatch(store, p, PGS_LATCH_EXCLUSIVE, 0, 0));
    ANSWERS(PGS_E_INVALID, pgs_unlatch(store, p, PGS_LATCH_SHARED, 0, 1));
    OK(pgs_unlatch(store, p, PGS_LATCH_SHARED, 0, 0));
    OK(pgs_unlatch(store, p, PGS_LATCH_SHARED, 0, 0));
    ANSWERS(PGS_E_INVALID, pgs_unlatch(store, p, PGS_LATCH_SHARED, 0, 0));
    ANSWERS(PGS_E_INVALID, pgs_latch(store, p, 0));
    ANSWERS(PGS_E_INVALID, pgs_latch(store, p, PGS_LATCH_SHARED | PGS_LATCH_EXCLUSIVE));

    OK(pgs_object_sync(object));
    CHECK(page_at(store, p).dirty == 0);
    uint64_t version = page_at(store, p).version;
    OK(pgs_latch(store, p, PGS_LATCH_EXCLUSIVE));
    CHECK(page_at(store, p).exclusive == 1);
    ANSWERS(PGS_E_BUSY, pgs_latch(store, p, PGS_LATCH_SHARED | PGS_LATCH_TRY));
    memcpy((char *)p + 5, "stored", 6);
    ANSWERS(PGS_E_OUT_OF_RANGE, pgs_unlatch(store, p, PGS_LATCH_EXCLUSIVE, 5, FRAME));
    ANSWERS(PGS_E_OUT_OF_RANGE, pgs_unlatch(store, p, PGS_LATCH_EXCLUSIVE, SIZE_MAX, 2));
    OK(pgs_unlatch(store, p, PGS_LATCH_EXCLUSIVE, 5, 6));
    pgs_page_info page = page_at(store, p);
    CHECK(page.exclusive == 0 && page.dirty == 1 && page.version != version);
    char back[6];
    size_t done = 0;
    OK(pgs_object_read(object, 105, back, 6, &done));
    CHECK(done == 6 && memcmp(back, "stored", 6) == 0);
    OK(pgs_object_sync(object));
    OK(pgs_latch(store, p, PGS_LATCH_EXCLUSIVE));
    OK(pgs_unlatch(store, p, PGS_LATCH_EXCLUSIVE, 0, 0));
    CHECK(page_at(store, p).dirty == 0);
    OK(pgs_unpin(store, p, 100));
    ANSWERS(PGS_E_INVALID, pgs_latch(store, p, PGS_LATCH_SHARED));
}

/* All frames of a range are latched, or none. A store across two frames is dirty in both. */
static void latched_ranges(pgs_store *store) {
    pgs_object *object = open_object(store, "range");
    void *p = NULL;
    OK(pgs_object_resize(object, 3 * FRAME));
    OK(pgs_pin(object, 100, 2 * FRAME, PGS_PIN_WRITE, &p));
    char *bytes = p;
    OK(pgs_object_sync(object));
    OK(pgs_latch_range(store, p, 2 * FRAME, PGS_LATCH_EXCLUSIVE));
    for (int n = 0; n < 3; n++)
        CHECK(page_at(store, bytes + n * FRAME - 100).exclusive == 1);
    ANSWERS(PGS_E_BUSY, pgs_latch_range(store, p, 2 * FRAME, PGS_LATCH_SHARED | PGS_LATCH_TRY));
    memcpy(bytes + FRAME - 103, "border", 6);
    ANSWERS(PGS_E_OUT_OF_RANGE, pgs_unlatch_range(store, p, 2 * FRAME, PGS_LATCH_EXCLUSIVE, FRAME, FRAME + 1));
    ANSWERS(PGS_E_OUT_OF_RANGE, pgs_unlatch_range(store, p, 2 * FRAME, PGS_LATCH_EXCLUSIVE, SIZE_MAX, 2));
    ANSWERS(PGS_E_INVALID, pgs_unlatch_range(store, p, 2 * FRAME, PGS_LATCH_SHARED, 0, 0));
    OK(pgs_unlatch_range(store, p, 2 * FRAME, PGS_LATCH_EXCLUSIVE, FRAME - 103, 6));
    for (int n = 0; n < 3; n++) {
        pgs_page_info page = page_at(store, bytes + n * FRAME - 100);
        CHECK(page.exclusive == 0 && page.dirty == (n < 2));
    }
    /* One frame's latch is taken: the latches of the frames before it are released. */
    OK(pgs_latch(store, bytes + 2 * FRAME - 100, PGS_LATCH_EXCLUSIVE));
    ANSWERS(PGS_E_BUSY, pgs_latch_range(store, p, 2 * FRAME, PGS_LATCH_EXCLUSIVE | PGS_LATCH_TRY));
    CHECK(page_at(store, p).exclusive == 0 && page_at(store, bytes + FRAME - 100).exclusive == 0);
    OK(pgs_unlatch(store, bytes + 2 * FRAME - 100, PGS_LATCH_EXCLUSIVE, 0, 0));
    OK(pgs_latch_range(store, p, 2 * FRAME, PGS_LATCH_SHARED));
    ANSWERS(PGS_E_INVALID, pgs_unlatch_range(store, p, 2 * FRAME, PGS_LATCH_SHARED, 0, 1));
    OK(pgs_unlatch(store, bytes + FRAME, PGS_LATCH_SHARED, 0, 0));
    ANSWERS(PGS_E_INVALID, pgs_unlatch_range(store, p, 2 * FRAME, PGS_LATCH_SHARED, 0, 0));
    CHECK(page_at(store, p).shared == 1);
    OK(pgs_unlatch_range(store, p, 1, PGS_LATCH_SHARED, SIZE_MAX, 0));
    OK(pgs_unlatch(store, bytes + 2 * FRAME - 100, PGS_LATCH_SHARED, 0, 0));
    ANSWERS(PGS_E_INVALID, pgs_latch_range(store, p, 0, PGS_LATCH_SHARED));
    ANSWERS(PGS_E_INVALID, pgs_unlatch_range(store, p, 0, PGS_LATCH_SHARED, 0, 0));
    OK(pgs_unpin(store, p, 2 * FRAME));
    ANSWERS(PGS_E_INVALID, pgs_latch_range(store, p, 2 * FRAME, PGS_LATCH_SHARED));
    pgs_object_close(object);
    OK(pgs_unlink(store, "range"));
}

/* The resident memory of the process, in bytes. */
static uint64_t resident(void) {
    unsigned long all = 0, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file != NULL && fscanf(file, "%lu %lu", &all, &pages) == 2 && fclose(file) == 0);
    return (uint64_t)pages * 4096;
}

/* A latch costs the memory of one latch, however many addresses its store has. */
static void a_latch_is_small(const char *path) {
    pgs_options options = with(PGS_CREATE);
    pgs_store *store = NULL;
    void *p = NULL;
    options.max_bytes = (uint64_t)8 << 40;
    int status = pgs_open(path, &options, &store);
    if (status == PGS_E_NO_ADDRESSES) return; /* a checker such as valgrind leaves too few */
    OK(status);
    pgs_object *object = open_object(store, "o");
    OK(pgs_object_write(object, 0, "x", 1));
    OK(pgs_pin(object, 0, 1, 0, &p));
    uint64_t before = resident();
    OK(pgs_latch(store, p, PGS_LATCH_SHARED));
    OK(pgs_unlatch(store, p, PGS_LATCH_SHARED, 0, 0));
    CHECK(resident() < before + (4 << 20));
    OK(pgs_unpin(store, p, 1));
    pgs_object_close(object);
    OK(pgs_close(store));
}

static void pins_outlive_names(pgs_store *store) {
    pgs_object *object = open_object(store, "short");
    OK(pgs_object_write(object, 0, "bytes", 5));
    void *p = NULL, *again = NULL;
    OK(pgs_pin(object, 0, 5, 0, &p));
    uint64_t pfn = page_at(store, p).pfn;
    /* A pin does not keep a writer out. */
    OK(pgs_object_write(object, 0, "BYTES", 5));
    CHECK(memcmp(p, "BYTES", 5) == 0);
    OK(pgs_object_resize(object, 0));
    CHECK(memcmp(p, "BYTES", 5) == 0 && page_at(store, p).detached == 1);
    ANSWERS(PGS_E_DETACHED, pgs_latch(store, p, PGS_LATCH_EXCLUSIVE));
    ANSWERS(PGS_E_PAST_END, pgs_pin(object, 0, 5, 0, &again));
    OK(pgs_object_write(object, 0, "other", 5));
    OK(pgs_pin(object, 0, 5, 0, &again));
    CHECK(again != p && page_at(store, again).pfn != pfn && memcmp(p, "BYTES", 5) == 0);
    OK(pgs_unpin(store, again, 5));
    pgs_object_close(object);
    OK(pgs_unlink(store, "short"));
    CHECK(memcmp(p, "BYTES", 5) == 0);
    OK(pgs_unpin(store, p, 5));
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    a_latch_is_small(in(argv[1], "large.pgs"));
    pgs_store *store = open_store(in(argv[1], "pins.pgs"), PGS_CREATE);
    pgs_object *object = open_object(store, "o");
    OK(pgs_object_write(object, 10, "0123456789", 10));
    OK(pgs_object_resize(object, 3 * FRAME));
    OK(pgs_object_write(object, 3 * FRAME - 1, "z", 1));
    one_descriptor(store, object);
    refused(store, object);
    holes_are_filled_for_writing(store, object);
    scattered(store);
    too_many(store, object);
    too_many_readers(store, object);
    latches(store, object);
    latched_ranges(store);
    pins_outlive_names(store);
    pgs_object_close(object);
    OK(pgs_close(store));
    return 0;
}
