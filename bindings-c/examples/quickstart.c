/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Quickstart: stores a greeting in a region, and reads it in place.
 *
 *   cc quickstart.c $(pkg-config --cflags --libs pagestone) -o quickstart && ./quickstart /tmp/quickstart.pgs
 */
#include <pagestone.h>

#include <stdio.h>
#include <string.h>

/* Prints what failed. pgs_message() says why, and what to do. */
static int failed(const char *what) {
    fprintf(stderr, "%s: %s\n", what, pgs_message());
    return 1;
}

int main(int argc, char **argv) {
    const char *path = argc > 1 ? argv[1] : "quickstart.pgs";
    const char greeting[] = "Hello from a persistent page.";
    pgs_options options = {.size = sizeof options, .flags = PGS_CREATE};
    pgs_store *store;
    pgs_object *object;
    void *page;

    /* An ordinary file is enough. On persistent memory a sync is a flush of cache lines. */
    if (pgs_open(path, &options, &store) != PGS_OK)
        return failed("open");
    if (pgs_object_open(store, "greeting", PGS_CREATE, &object) != PGS_OK)
        return failed("open the object");

    /* A write that returned survives the death of this process; after the sync, also the loss of power. */
    if (pgs_object_write(object, 0, greeting, sizeof greeting) != PGS_OK)
        return failed("write");
    if (pgs_object_sync(object) != PGS_OK)
        return failed("sync");

    /* No copy: the address is inside the region and stays valid until the unpin. */
    if (pgs_pin(object, 0, sizeof greeting, 0, &page) != PGS_OK)
        return failed("pin");
    printf("%s\n", (const char *)page);
    if (pgs_unpin(store, page, sizeof greeting) != PGS_OK)
        return failed("unpin");

    pgs_object_close(object);
    if (pgs_close(store) != PGS_OK)
        return failed("close");
    return 0;
}
