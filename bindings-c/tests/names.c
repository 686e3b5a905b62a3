/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Names: create, exists, rename, unlink, list. */
#include "check.h"

static int exists(pgs_store *store, const char *name, uint64_t *size) {
    int found = -1;
    OK(pgs_exists(store, name, &found, size));
    return found;
}

static void create_and_open(pgs_store *store) {
    pgs_object *object = NULL, *second = NULL;
    ANSWERS(PGS_E_NOT_FOUND, pgs_object_open(store, "a", 0, &object));
    CHECK(object == NULL && exists(store, "a", NULL) == 0);
    OK(pgs_object_open(store, "a", PGS_CREATE | PGS_EXCLUSIVE, &object));
    ANSWERS(PGS_E_EXISTS, pgs_object_open(store, "a", PGS_CREATE | PGS_EXCLUSIVE, &second));
    ANSWERS(PGS_E_INVALID, pgs_object_open(store, "a", PGS_EXCLUSIVE, &second));
    ANSWERS(PGS_E_INVALID, pgs_object_open(store, "a", PGS_READ_ONLY, &second));
    ANSWERS(PGS_E_INVALID, pgs_object_open(store, NULL, 0, &second));
    ANSWERS(PGS_E_INVALID, pgs_object_open(store, "a", 0, NULL));
    ANSWERS(PGS_E_INVALID, pgs_object_open(NULL, "a", 0, &second));
    CHECK(second == NULL);
    OK(pgs_object_open(store, "a", 0, &second));
    OK(pgs_object_write(object, 0, "one", 3));
    uint64_t size = 0;
    OK(pgs_object_size(second, &size));
    CHECK(size == 3);
    size = 99;
    CHECK(exists(store, "a", &size) == 1 && size == 3);
    CHECK(exists(store, "b", &size) == 0 && size == 0);
    pgs_object_close(second);
    pgs_object_close(object);
}

static void bad_names(pgs_store *store) {
    char name[PGS_NAME_MAX + 2];
    memset(name, 'n', sizeof name);
    name[PGS_NAME_MAX + 1] = '\0';
    pgs_object *object = NULL;
    int found = -1;
    ANSWERS(PGS_E_BAD_NAME, pgs_object_open(store, name, PGS_CREATE, &object));
    ANSWERS(PGS_E_BAD_NAME, pgs_object_open(store, "", PGS_CREATE, &object));
    ANSWERS(PGS_E_BAD_NAME, pgs_exists(store, name, &found, NULL));
    ANSWERS(PGS_E_BAD_NAME, pgs_rename(store, "a", name));
    ANSWERS(PGS_E_BAD_NAME, pgs_unlink(store, name));
    CHECK(object == NULL && found == -1);
    name[PGS_NAME_MAX] = '\0';
    OK(pgs_object_open(store, name, PGS_CREATE, &object));
    pgs_object_close(object);
    OK(pgs_unlink(store, name));
    /* Names are bytes, not text. */
    OK(pgs_object_open(store, "\xff\xfe/..", PGS_CREATE, &object));
    pgs_object_close(object);
    OK(pgs_unlink(store, "\xff\xfe/.."));
}

static void rename_replaces(pgs_store *store) {
    pgs_object *a = open_object(store, "from"), *b = open_object(store, "to");
    OK(pgs_object_write(a, 0, "a", 1));
    OK(pgs_object_write(b, 0, "bb", 2));
    OK(pgs_rename(store, "from", "to"));
    ANSWERS(PGS_E_NOT_FOUND, pgs_rename(store, "from", "to"));
    uint64_t size = 0;
    CHECK(exists(store, "from", NULL) == 0 && exists(store, "to", &size) == 1 && size == 1);
    char back[2];
    size_t done = 0;
    OK(pgs_object_read(b, 0, back, 2, &done));
    CHECK(done == 2 && memcmp(back, "bb", 2) == 0);
    pgs_object_close(a);
    pgs_object_close(b);
    OK(pgs_unlink(store, "to"));
}

static void unlinked_stays_usable(pgs_store *store) {
    pgs_object *object = open_object(store, "gone");
    OK(pgs_object_write(object, 0, "here", 4));
    OK(pgs_unlink(store, "gone"));
    ANSWERS(PGS_E_NOT_FOUND, pgs_unlink(store, "gone"));
    CHECK(exists(store, "gone", NULL) == 0);
    OK(pgs_object_append(object, "!", 1, NULL));
    char back[5];
    size_t done = 0;
    OK(pgs_object_read(object, 0, back, 5, &done));
    CHECK(done == 5 && memcmp(back, "here!", 5) == 0);
    pgs_object *successor = open_object(store, "gone");
    uint64_t size = 1;
    OK(pgs_object_size(successor, &size));
    CHECK(size == 0);
    pgs_object_close(successor);
    pgs_object_close(object);
    OK(pgs_unlink(store, "gone"));
}

struct seen {
    int entries;
    int stop_at;
    char last[PGS_NAME_MAX + 1];
};

static int see(void *arg, const pgs_entry *entry) {
    struct seen *seen = arg;
    CHECK(entry->size == sizeof *entry);
    CHECK(strcmp(seen->last, entry->name) < 0);
    CHECK(entry->bytes == strlen(entry->name));
    strcpy(seen->last, entry->name);
    seen->entries++;
    return seen->entries == seen->stop_at ? 42 : 0;
}

static void listing(pgs_store *store) {
    const char *names[] = {"l3xx", "l1", "l2x"};
    for (int i = 0; i < 3; i++) {
        pgs_object *object = open_object(store, names[i]);
        OK(pgs_object_write(object, 0, names[i], strlen(names[i])));
        pgs_object_close(object);
    }
    struct seen seen = {0, 0, ""};
    int said = -1;
    OK(pgs_list(store, NULL, see, &seen, &said));
    CHECK(seen.entries == 3 && strcmp(seen.last, "l3xx") == 0 && said == 0);
    struct seen stopped = {0, 2, ""};
    OK(pgs_list(store, NULL, see, &stopped, &said));
    CHECK(stopped.entries == 2 && said == 42);
    struct seen some = {0, 0, ""};
    OK(pgs_list(store, "l2", see, &some, NULL));
    CHECK(some.entries == 1 && strcmp(some.last, "l2x") == 0);
    OK(pgs_list(store, "none", see, &some, &said));
    CHECK(some.entries == 1 && said == 0);
    ANSWERS(PGS_E_INVALID, pgs_list(store, NULL, NULL, NULL, NULL));
    ANSWERS(PGS_E_INVALID, pgs_list(NULL, NULL, see, &seen, NULL));
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    pgs_store *store = open_store(in(argv[1], "names.pgs"), PGS_CREATE);
    create_and_open(store);
    bad_names(store);
    OK(pgs_unlink(store, "a"));
    rename_replaces(store);
    unlinked_stays_usable(store);
    listing(store);
    OK(pgs_close(store));
    /* Names outlive the store. */
    store = open_store(in(argv[1], "names.pgs"), 0);
    struct seen seen = {0, 0, ""};
    OK(pgs_list(store, NULL, see, &seen, NULL));
    CHECK(seen.entries == 3);
    OK(pgs_close(store));
    return 0;
}
