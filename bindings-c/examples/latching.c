/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Latching: change a page in place, under its latch, and say which bytes were changed.
 *
 *   cc latching.c $(pkg-config --cflags --libs pagestone) -o latching && ./latching /tmp/latching.pgs
 */
#include <pagestone.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(int status) {
    if (status != PGS_OK) {
        fprintf(stderr, "%s: %s\n", pgs_code_name(status), pgs_message());
        exit(1);
    }
}

int main(int argc, char **argv) {
    const char *path = argc > 1 ? argv[1] : "latching.pgs";
    const char row[64] = "a --- page";
    pgs_object *object;

    pgs_options options = {.size = sizeof options, .flags = PGS_CREATE};
    pgs_store *store;
    if (pgs_open(path, &options, &store) != PGS_OK) {
        fprintf(stderr, "%s: %s\n", path, pgs_message());
        return 1;
    }
    must(pgs_object_open(store, "table", PGS_CREATE, &object));
    must(pgs_object_write(object, 0, row, sizeof row));

    /* A pin keeps the address valid; the latch gives access to the bytes. */
    void *address;
    must(pgs_pin(object, 0, 64, 0, &address));
    char *p = address;
    must(pgs_latch(store, p, PGS_LATCH_EXCLUSIVE));
    memcpy(p + 2, "new", 3);
    must(pgs_unlatch(store, p, PGS_LATCH_EXCLUSIVE, 2, 3));
    puts(p);
    must(pgs_unpin(store, p, 64));

    pgs_object_close(object);
    must(pgs_close(store));
    return 0;
}
