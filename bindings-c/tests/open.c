/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Opening and closing: each documented result of pgs_open() and pgs_close(). */
#define _GNU_SOURCE
#include "check.h"

#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void create_and_reopen(const char *path) {
    pgs_store *store = NULL;
    ANSWERS(-ENOENT, pgs_open(path, NULL, &store));
    CHECK(store == NULL);
    pgs_options options = with(PGS_CREATE | PGS_EXCLUSIVE);
    OK(pgs_open(path, &options, &store));
    OK(pgs_close(store));
    ANSWERS(PGS_E_EXISTS, pgs_open(path, &options, &store));
    OK(pgs_open(path, NULL, &store));
    OK(pgs_close(store));
    OK(pgs_close(NULL));
}

static void bad_arguments(const char *path) {
    pgs_store *store = NULL;
    ANSWERS(PGS_E_INVALID, pgs_open(NULL, NULL, &store));
    ANSWERS(PGS_E_INVALID, pgs_open(path, NULL, NULL));
    pgs_options options = with(0x100);
    ANSWERS(PGS_E_INVALID, pgs_open(path, &options, &store));
    options = with(PGS_EXCLUSIVE);
    ANSWERS(PGS_E_INVALID, pgs_open(path, &options, &store));
    options = with(PGS_CREATE | PGS_READ_ONLY);
    ANSWERS(PGS_E_INVALID, pgs_open(path, &options, &store));
    options = with(0);
    options.required = 9;
    ANSWERS(PGS_E_INVALID, pgs_open(path, &options, &store));
    options = with(0);
    options.reserved[2] = 1;
    ANSWERS(PGS_E_INVALID, pgs_open(path, &options, &store));
    options = with(0);
    options.size = 8;
    ANSWERS(PGS_E_INVALID, pgs_open(path, &options, &store));
    CHECK(store == NULL);

    /* A caller compiled with a later header works if it asks for nothing that this release lacks. */
    struct {
        pgs_options known;
        uint64_t future;
    } newer = {with(0), 0};
    newer.known.size = sizeof newer;
    OK(pgs_open(path, &newer.known, &store));
    OK(pgs_close(store));
    store = NULL;
    newer.future = 1;
    ANSWERS(PGS_E_INVALID, pgs_open(path, &newer.known, &store));
    CHECK(store == NULL);
}

static void in_use(const char *path, const char *link_path) {
    pgs_store *store = open_store(path, 0);
    pgs_store *second = NULL;
    ANSWERS(PGS_E_IN_USE, pgs_open(path, NULL, &second));
    pgs_options patient = with(0);
    struct timespec from, to;
    patient.wait_ms = 50;
    clock_gettime(CLOCK_MONOTONIC, &from);
    ANSWERS(PGS_E_IN_USE, pgs_open(path, &patient, &second));
    clock_gettime(CLOCK_MONOTONIC, &to);
    CHECK((to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000 >= 50);
    CHECK(strstr(pgs_message(), "this process") != NULL);
    CHECK(link(path, link_path) == 0);
    ANSWERS(PGS_E_IN_USE, pgs_open(link_path, NULL, &second));
    CHECK(second == NULL);
    OK(pgs_close(store));
    OK(pgs_open(link_path, NULL, &second));
    OK(pgs_close(second));
}

static void too_weak(const char *path) {
    pgs_options options = with(0);
    options.required = PGS_DURABILITY_CACHE_LINE;
    pgs_store *store = NULL;
    ANSWERS(PGS_E_TOO_WEAK, pgs_open(path, &options, &store));
    CHECK(strstr(pgs_message(), "cache-line") != NULL);
    CHECK(store == NULL);
}

static void not_a_region(const char *path) {
    FILE *file = fopen(path, "wb");
    CHECK(file != NULL);
    char page[8192] = "SQLite format 3";
    CHECK(fwrite(page, sizeof page, 1, file) == 1);
    CHECK(fclose(file) == 0);
    pgs_store *store = NULL;
    ANSWERS(PGS_E_NOT_A_REGION, pgs_open(path, NULL, &store));
    CHECK(strstr(pgs_message(), "SQLite") != NULL);
    CHECK(strstr(pgs_message(), "import") != NULL);
    pgs_options options = with(PGS_CREATE);
    ANSWERS(PGS_E_NOT_A_REGION, pgs_open(path, &options, &store));
    CHECK(store == NULL);
    struct stat after;
    CHECK(stat(path, &after) == 0 && after.st_size == sizeof page);
}

static void read_only(const char *path) {
    pgs_store *store = open_store(path, PGS_CREATE);
    pgs_object *object = open_object(store, "kept");
    OK(pgs_object_write(object, 0, "kept", 4));
    pgs_object_close(object);
    OK(pgs_close(store));
    CHECK(chmod(path, 0444) == 0);
    store = open_store(path, PGS_READ_ONLY);
    ANSWERS(PGS_E_READ_ONLY, pgs_object_open(store, "new", PGS_CREATE, &object));
    ANSWERS(PGS_E_READ_ONLY, pgs_unlink(store, "kept"));
    ANSWERS(PGS_E_READ_ONLY, pgs_rename(store, "kept", "moved"));
    object = open_object(store, "kept");
    ANSWERS(PGS_E_READ_ONLY, pgs_object_write(object, 0, "x", 1));
    ANSWERS(PGS_E_READ_ONLY, pgs_object_append(object, "x", 1, NULL));
    ANSWERS(PGS_E_READ_ONLY, pgs_object_resize(object, 0));
    ANSWERS(PGS_E_READ_ONLY, pgs_object_allocate(object, 0, 1));
    ANSWERS(PGS_E_READ_ONLY, pgs_object_punch(object, 0, 1));
    void *address = NULL;
    ANSWERS(PGS_E_READ_ONLY, pgs_pin(object, 0, 4, PGS_PIN_WRITE, &address));
    OK(pgs_pin(object, 0, 4, 0, &address));
    CHECK(memcmp(address, "kept", 4) == 0);
    ANSWERS(PGS_E_READ_ONLY, pgs_latch(store, address, PGS_LATCH_EXCLUSIVE));
    OK(pgs_unpin(store, address, 4));
    OK(pgs_store_sync(store));
    OK(pgs_object_sync(object));
    pgs_store_info region = {.size = sizeof region};
    OK(pgs_info(store, &region));
    CHECK(region.read_only == 1);
    pgs_object_close(object);
    OK(pgs_close(store));
    CHECK(chmod(path, 0644) == 0);
}

static void closing(const char *path) {
    pgs_store *store = open_store(path, PGS_CREATE);
    pgs_object *object = open_object(store, "open");
    ANSWERS(PGS_E_BUSY, pgs_close(store));
    OK(pgs_object_write(object, 0, "still works", 11));
    void *address = NULL;
    OK(pgs_pin(object, 0, 11, 0, &address));
    pgs_object_close(object);
    pgs_object_close(object);
    pgs_object_close(NULL);
    ANSWERS(PGS_E_BUSY, pgs_close(store));
    CHECK(memcmp(address, "still works", 11) == 0);
    OK(pgs_unpin(store, address, 11));
    OK(pgs_close(store));
    ANSWERS(PGS_E_CLOSED, pgs_close(store));
}

static void memory(void) {
    pgs_store *store = NULL;
    OK(pgs_open_memory(1 << 24, &store));
    pgs_store_info region = {.size = sizeof region};
    OK(pgs_info(store, &region));
    CHECK(region.durability == PGS_DURABILITY_VOLATILE && region.assumed == 0 && region.inode == 0);
    pgs_object *object = open_object(store, "o");
    OK(pgs_object_append(object, "abc", 3, NULL));
    char *large = calloc(1, 1 << 20);
    CHECK(large != NULL);
    int status = PGS_OK;
    for (int i = 0; i < 32 && status == PGS_OK; i++)
        status = pgs_object_append(object, large, 1 << 20, NULL);
    ANSWERS(PGS_E_NO_SPACE, status);
    char back[3];
    size_t done = 0;
    OK(pgs_object_read(object, 0, back, 3, &done));
    CHECK(done == 3 && memcmp(back, "abc", 3) == 0);
    free(large);
    pgs_object_close(object);
    OK(pgs_close(store));
}

static void cut(const char *path) {
    pgs_store *store = open_store(path, PGS_CREATE);
    OK(pgs_check_length(store));
    struct stat file;
    CHECK(stat(path, &file) == 0 && truncate(path, file.st_size / 2) == 0);
    ANSWERS(PGS_E_TRUNCATED, pgs_check_length(store));
    ANSWERS(PGS_E_POISONED, pgs_check_length(store));
    pgs_store_info region = {.size = sizeof region};
    OK(pgs_info(store, &region));
    CHECK(region.poisoned == 1);
    pgs_close(store);
}

static void told(const char *path) {
    pgs_store *store = NULL;
    pgs_options options = with(PGS_CREATE);
    options.assume = PGS_DURABILITY_CACHE_LINE;
    OK(pgs_open(path, &options, &store));
    struct stat file;
    CHECK(stat(path, &file) == 0);
    pgs_store_info region = {.size = sizeof region};
    OK(pgs_info(store, &region));
    CHECK(region.device == file.st_dev && region.inode == file.st_ino);
    CHECK(region.durability == PGS_DURABILITY_CACHE_LINE && region.assumed == 1);
    CHECK(region.bytes > 0 && region.read_only == 0 && region.poisoned == 0);
    region.size = 8;
    ANSWERS(PGS_E_INVALID, pgs_info(store, &region));
    pgs_counters before = {.size = sizeof before}, after = {.size = sizeof after};
    OK(pgs_stats(store, &before));
    pgs_object *object = open_object(store, "o");
    OK(pgs_object_write(object, 0, "x", 1));
    OK(pgs_object_sync(object));
    OK(pgs_stats(store, &after));
    CHECK(after.lines_flushed > before.lines_flushed && after.fences > before.fences);
    CHECK(after.log_records > before.log_records && after.log_commits > before.log_commits);
    CHECK(before.open_objects == 0 && after.open_objects == 1 && after.table_frames > 0 && after.syncs > before.syncs);
    pgs_object_close(object);
    OK(pgs_close(store));
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    const char *d = argv[1];
    char link_path[4096];
    CHECK(snprintf(link_path, sizeof link_path, "%s/%s", d, "link.pgs") > 0);
    create_and_reopen(in(d, "a.pgs"));
    bad_arguments(in(d, "a.pgs"));
    in_use(in(d, "a.pgs"), link_path);
    too_weak(in(d, "a.pgs"));
    not_a_region(in(d, "sqlite.db"));
    read_only(in(d, "b.pgs"));
    closing(in(d, "c.pgs"));
    memory();
    told(in(d, "d.pgs"));
    cut(in(d, "e.pgs"));
    return 0;
}
