/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Ended handles, handles of another kind, and values that are no handles: calls fail, and live handles are unaffected. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

/* Every call that takes an object, with an invalid handle. */
static void object_answers(int code, pgs_object *object) {
    char buf[8];
    size_t done = 0;
    uint64_t number = 0;
    void *address = NULL;
    ANSWERS(code, pgs_object_read(object, 0, buf, sizeof buf, &done));
    ANSWERS(code, pgs_object_write(object, 0, "x", 1));
    ANSWERS(code, pgs_object_append(object, "x", 1, &number));
    ANSWERS(code, pgs_object_size(object, &number));
    ANSWERS(code, pgs_object_resize(object, 0));
    ANSWERS(code, pgs_object_allocate(object, 0, 1));
    ANSWERS(code, pgs_object_punch(object, 0, 1));
    ANSWERS(code, pgs_object_sync(object));
    ANSWERS(code, pgs_object_sync_range(object, 0, 1));
    ANSWERS(code, pgs_pin(object, 0, 1, 0, &address));
    pgs_object_close(object);
}

static int no_visit(void *arg, const pgs_entry *entry) {
    (void)arg;
    (void)entry;
    return 1;
}

/* Every call that takes a store, with an invalid handle. */
static void store_answers(int code, pgs_store *store, const void *address) {
    pgs_object *object = NULL;
    pgs_batch *batch = NULL;
    pgs_page_info page = {.size = sizeof page};
    pgs_store_info region = {.size = sizeof region};
    pgs_counters counters = {.size = sizeof counters};
    void *pinned = NULL;
    uint64_t bytes = 0;
    int there = 0;
    ANSWERS(code, pgs_object_open(store, "o", PGS_CREATE, &object));
    ANSWERS(code, pgs_batch_begin(store, &batch));
    ANSWERS(code, pgs_store_sync(store));
    ANSWERS(code, pgs_compact(store, &bytes));
    ANSWERS(code, pgs_rename(store, "o", "p"));
    ANSWERS(code, pgs_unlink(store, "o"));
    ANSWERS(code, pgs_exists(store, "o", &there, NULL));
    ANSWERS(code, pgs_list(store, NULL, no_visit, NULL, NULL));
    ANSWERS(code, pgs_info(store, &region));
    ANSWERS(code, pgs_check_length(store));
    ANSWERS(code, pgs_stats(store, &counters));
    ANSWERS(code, pgs_peek(store, address, &page));
    ANSWERS(code, pgs_pin_frame(store, 0, &pinned));
    ANSWERS(code, pgs_pin_address(store, address, 1));
    ANSWERS(code, pgs_unpin(store, address, 1));
    ANSWERS(code, pgs_latch(store, address, PGS_LATCH_SHARED));
    ANSWERS(code, pgs_unlatch(store, address, PGS_LATCH_SHARED, 0, 0));
    ANSWERS(code, pgs_latch_range(store, address, 1, PGS_LATCH_SHARED));
    ANSWERS(code, pgs_unlatch_range(store, address, 1, PGS_LATCH_SHARED, 0, 0));
    ANSWERS(code, pgs_close(store));
}

/* Every call that takes a batch, with an invalid handle and a live object. */
static void batch_answers(int code, pgs_batch *batch, pgs_object *object) {
    ANSWERS(code, pgs_batch_write(batch, object, 0, "x", 1));
    ANSWERS(code, pgs_batch_extend(batch, object, 1));
    pgs_batch_cancel(batch);
    ANSWERS(code, pgs_batch_commit(batch));
}

static void holds(pgs_object *object, const char *expected) {
    char back[16];
    size_t done = 0;
    OK(pgs_object_read(object, 0, back, sizeof back, &done));
    CHECK(done == strlen(expected) && memcmp(back, expected, done) == 0);
}

/* An ended handle never refers to a later object in the same slot. */
static void objects(pgs_store *store) {
    pgs_object *a = open_object(store, "a");
    OK(pgs_object_write(a, 0, "of a", 4));
    pgs_object_close(a);
    object_answers(PGS_E_CLOSED, a);
    pgs_object *b = open_object(store, "b");
    OK(pgs_object_write(b, 0, "of b", 4));
    CHECK(a != b);
    object_answers(PGS_E_CLOSED, a);
    holds(b, "of b");
    for (int n = 0; n < 2000; n++) {
        pgs_object *more = open_object(store, "a");
        CHECK(more != a && more != b);
        pgs_object_close(more);
    }
    object_answers(PGS_E_CLOSED, a);
    holds(b, "of b");
    pgs_object_close(b);
}

static void batches(pgs_store *store) {
    pgs_object *object = open_object(store, "batched"), *gone = open_object(store, "gone");
    pgs_batch *ended = NULL, *batch = NULL;
    pgs_object_close(gone);
    OK(pgs_batch_begin(store, &ended));
    OK(pgs_batch_commit(ended));
    batch_answers(PGS_E_CLOSED, ended, object);
    OK(pgs_batch_begin(store, &batch));
    OK(pgs_batch_write(batch, object, 0, "staged", 6));
    batch_answers(PGS_E_CLOSED, ended, object);
    ANSWERS(PGS_E_CLOSED, pgs_batch_write(batch, gone, 0, "x", 1));
    ANSWERS(PGS_E_CLOSED, pgs_batch_extend(batch, gone, 1));
    OK(pgs_batch_commit(batch));
    holds(object, "staged");
    OK(pgs_batch_begin(store, &batch));
    pgs_batch_cancel(batch);
    batch_answers(PGS_E_CLOSED, batch, object);
    pgs_object_close(object);
}

static void stores(const char *path) {
    pgs_store *ended = open_store(path, PGS_CREATE), *next;
    char on_the_stack = 0;
    OK(pgs_close(ended));
    store_answers(PGS_E_CLOSED, ended, &on_the_stack);
    next = open_store(path, 0);
    CHECK(next != ended);
    store_answers(PGS_E_CLOSED, ended, &on_the_stack);
    OK(pgs_store_sync(next));
    OK(pgs_close(next));
}

/* A refused close leaves the handle as it was. */
static void busy(const char *path) {
    pgs_store *store = open_store(path, 0);
    pgs_object *object = open_object(store, "o");
    for (int n = 0; n < 3; n++)
        ANSWERS(PGS_E_BUSY, pgs_close(store));
    OK(pgs_object_write(object, 0, "x", 1));
    OK(pgs_store_sync(store));
    pgs_object_close(object);
    OK(pgs_close(store));
    ANSWERS(PGS_E_CLOSED, pgs_close(store));
}

struct in_use {
    pgs_store *store;
    void *address;
    volatile int *over;
    volatile unsigned rounds;
};

static void *goes_on(void *argument) {
    struct in_use *use = argument;
    do {
        pgs_store_info info = {.size = sizeof info};
        OK(pgs_info(use->store, &info));
        CHECK(page_at(use->store, use->address).pins >= 1);
        OK(pgs_pin_address(use->store, use->address, 1));
        OK(pgs_unpin(use->store, use->address, 1));
        use->rounds++;
    } while (!*use->over);
    return NULL;
}

/* Refuses closes, until the other thread has often gone on meanwhile: on a busy machine it seldom runs. */
static void refused(const struct in_use *use) {
    enum { CLOSES = 3000, TURNS = 100 };
    unsigned seen = use->rounds;
    for (int n = 0, turns = 0; n < CLOSES || turns < TURNS; n++) {
        ANSWERS(PGS_E_BUSY, pgs_close(use->store));
        turns += use->rounds != seen;
        seen = use->rounds;
    }
}

/* While a close is being refused, other threads can still use the handle. */
static void refused_beside_others(const char *path) {
    pgs_store *store = open_store(path, 0);
    pgs_object *object = open_object(store, "o");
    static volatile int over;
    struct in_use use = {.store = store, .over = &over};
    OK(pgs_object_write(object, 0, "x", 1));
    OK(pgs_pin(object, 0, 1, 0, &use.address));
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, goes_on, &use) == 0);
    refused(&use);
    pgs_object_close(object);
    refused(&use);
    over = 1;
    CHECK(pthread_join(thread, NULL) == 0);
    OK(pgs_unpin(store, use.address, 1));
    OK(pgs_close(store));
}

/* A store that has failed is closed no earlier than another: its pins can be released, and then it closes. */
static void failed_while_pinned(const char *path) {
    pgs_store *store = open_store(path, PGS_CREATE);
    pgs_object *object = open_object(store, "o");
    pgs_options options = with(0);
    void *p = NULL;
    OK(pgs_object_write(object, 0, "x", 1));
    OK(pgs_pin(object, 0, 1, 0, &p));
    pgs_object_close(object);
    pgs_store_info region = {.size = sizeof region};
    OK(pgs_info(store, &region));
    CHECK(truncate(path, (off_t)region.bytes - PGS_FRAME_SIZE) == 0);
    for (int n = 0; n < 2; n++)
        ANSWERS(PGS_E_BUSY, pgs_close(store));
    OK(pgs_unpin(store, p, 1));
    ANSWERS(PGS_E_POISONED, pgs_close(store));
    ANSWERS(PGS_E_CLOSED, pgs_close(store));
    ANSWERS(PGS_E_TRUNCATED, pgs_open(path, &options, &store));
}

/* The message names the actual and the expected kind. */
static void named(const char *is, const char *wanted) {
    CHECK(strstr(pgs_message(), is) != NULL && strstr(pgs_message(), wanted) != NULL);
}

static void kinds(pgs_store *store) {
    pgs_object *object = open_object(store, "o");
    pgs_batch *batch = NULL;
    char words[64] = {0};
    OK(pgs_batch_begin(store, &batch));
    store_answers(PGS_E_INVALID, (pgs_store *)object, words);
    named("an object", "a store");
    store_answers(PGS_E_INVALID, (pgs_store *)batch, words);
    named("a batch", "a store");
    object_answers(PGS_E_INVALID, (pgs_object *)store);
    named("a store", "an object");
    object_answers(PGS_E_INVALID, (pgs_object *)batch);
    batch_answers(PGS_E_INVALID, (pgs_batch *)store, object);
    named("a store", "a batch");
    batch_answers(PGS_E_INVALID, (pgs_batch *)object, object);
    ANSWERS(PGS_E_INVALID, pgs_batch_write(batch, (pgs_object *)store, 0, "x", 1));
    named("a store", "an object");
    /* A value that no function returned. */
    object_answers(PGS_E_INVALID, (pgs_object *)(void *)words);
    store_answers(PGS_E_INVALID, (pgs_store *)(void *)words, words);
    batch_answers(PGS_E_INVALID, (pgs_batch *)(void *)words, object);
    object_answers(PGS_E_INVALID, NULL);
    /* All three handles still work. */
    OK(pgs_batch_write(batch, object, 0, "whole", 5));
    OK(pgs_batch_commit(batch));
    holds(object, "whole");
    pgs_object_close(object);
    store_answers(PGS_E_INVALID, (pgs_store *)object, words);
    OK(pgs_store_sync(store));
}

/* Only a latch that pgs_latch() took can be released, and only once. */
static void latches(pgs_store *store) {
    pgs_object *object = open_object(store, "latched");
    void *p = NULL;
    OK(pgs_object_write(object, 0, "bytes", 5));
    OK(pgs_pin(object, 0, 5, 0, &p));
    ANSWERS(PGS_E_INVALID, pgs_unlatch(store, p, PGS_LATCH_SHARED, 0, 0));
    ANSWERS(PGS_E_INVALID, pgs_unlatch(store, p, PGS_LATCH_EXCLUSIVE, 0, 0));
    OK(pgs_latch(store, p, PGS_LATCH_SHARED));
    ANSWERS(PGS_E_INVALID, pgs_unlatch(store, p, PGS_LATCH_EXCLUSIVE, 0, 0));
    OK(pgs_latch(store, p, PGS_LATCH_SHARED));
    CHECK(page_at(store, p).shared == 2);
    OK(pgs_unlatch(store, p, PGS_LATCH_SHARED, 0, 0));
    OK(pgs_unlatch(store, p, PGS_LATCH_SHARED, 0, 0));
    ANSWERS(PGS_E_INVALID, pgs_unlatch(store, p, PGS_LATCH_SHARED, 0, 0));
    OK(pgs_latch(store, p, PGS_LATCH_EXCLUSIVE));
    ANSWERS(PGS_E_INVALID, pgs_unlatch(store, p, PGS_LATCH_SHARED, 0, 0));
    ANSWERS(PGS_E_OUT_OF_RANGE, pgs_unlatch(store, p, PGS_LATCH_EXCLUSIVE, 0, PGS_FRAME_SIZE + 1));
    CHECK(page_at(store, p).exclusive == 1);
    OK(pgs_unlatch(store, p, PGS_LATCH_EXCLUSIVE, 0, 1));
    ANSWERS(PGS_E_INVALID, pgs_unlatch(store, p, PGS_LATCH_EXCLUSIVE, 0, 0));
    OK(pgs_unpin(store, p, 5));
    pgs_object_close(object);
}

/* A latch that outlives its pin keeps the store open, and can still be released. */
static void forgotten_latch(const char *path) {
    pgs_store *store = open_store(path, PGS_CREATE);
    pgs_object *object = open_object(store, "o");
    void *p = NULL;
    OK(pgs_object_write(object, 0, "x", 1));
    OK(pgs_pin(object, 0, 1, 0, &p));
    OK(pgs_latch(store, p, PGS_LATCH_EXCLUSIVE));
    OK(pgs_unpin(store, p, 1));
    pgs_object_close(object);
    ANSWERS(PGS_E_BUSY, pgs_close(store));
    CHECK(strstr(pgs_message(), "latch") != NULL);
    OK(pgs_pin_address(store, p, 1));
    OK(pgs_unlatch(store, p, PGS_LATCH_EXCLUSIVE, 0, 0));
    OK(pgs_unpin(store, p, 1));
    OK(pgs_close(store));
    store = open_store(path, 0);
    OK(pgs_close(store));
}

/* In a child, the parent's handles are refused, ended handles stay ended, and new handles work. */
static void forked(const char *path) {
    pgs_store *store = open_store(path, 0);
    pgs_object *object = open_object(store, "o"), *ended = open_object(store, "o");
    pgs_batch *batch = NULL;
    char word = 0;
    int status = 0;
    OK(pgs_batch_begin(store, &batch));
    pgs_object_close(ended);
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        pgs_store *own = NULL;
        store_answers(PGS_E_FORKED, store, &word);
        object_answers(PGS_E_FORKED, object);
        batch_answers(PGS_E_FORKED, batch, object);
        object_answers(PGS_E_CLOSED, ended);
        store_answers(PGS_E_INVALID, (pgs_store *)object, &word);
        OK(pgs_open_memory(1 << 20, &own));
        pgs_object *new = open_object(own, "new");
        OK(pgs_object_write(new, 0, "x", 1));
        object_answers(PGS_E_FORKED, object);
        pgs_object_close(new);
        object_answers(PGS_E_CLOSED, new);
        OK(pgs_close(own));
        store_answers(PGS_E_CLOSED, own, &word);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    pgs_batch_cancel(batch);
    pgs_object_close(object);
    OK(pgs_close(store));
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    const char *path = in(argv[1], "ended.pgs");
    stores(path);
    busy(path);
    refused_beside_others(path);
    failed_while_pinned(in(argv[1], "cut.pgs"));
    path = in(argv[1], "ended.pgs");
    pgs_store *store = open_store(path, 0);
    objects(store);
    batches(store);
    kinds(store);
    latches(store);
    OK(pgs_close(store));
    forgotten_latch(path);
    forked(path);
    return 0;
}
