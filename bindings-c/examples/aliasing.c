/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Aliasing: one page, reached by object, by frame number and by address, has one descriptor and one pin count. Its frame
 * is not reused while it is pinned, even if the page is cut off from its object meanwhile.
 *
 *   cc aliasing.c $(pkg-config --cflags --libs pagestone) -o aliasing && ./aliasing
 */
#include <pagestone.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(int status, const char *what) {
    if (status != PGS_OK) {
        fprintf(stderr, "%s: %s: %s\n", what, pgs_code_name(status), pgs_message());
        exit(1);
    }
}

static pgs_page_info look(pgs_store *store, const void *address) {
    pgs_page_info page = {.size = sizeof page};
    must(pgs_peek(store, address, &page), "look");
    return page;
}

int main(void) {
    pgs_store *store;
    pgs_object *object;
    void *by_object, *by_number;

    must(pgs_open_memory(16 << 20, &store), "open");
    must(pgs_object_open(store, "table", PGS_CREATE, &object), "open the object");
    must(pgs_object_write(object, 0, "row 1", 6), "write");

    /* Three ways to the same frame: each adds a pin to the same count. */
    must(pgs_pin(object, 0, 6, 0, &by_object), "pin by object");
    must(pgs_pin_frame(store, look(store, by_object).pfn, &by_number), "pin by number");
    must(pgs_pin_address(store, by_number, 6), "pin by address");
    printf("same address: %s, pins: %u\n", by_object == by_number ? "yes" : "no", look(store, by_object).pins);

    /* Pins do not keep a writer out, and its bytes are visible at once. */
    must(pgs_object_write(object, 0, "row 2", 6), "write again");
    printf("seen through the pin: %s\n", (const char *)by_object);

    /* After it is cut off from its object, the page keeps its bytes for its pins, and no thread may store to it. */
    must(pgs_object_resize(object, 0), "truncate");
    printf("after the truncate: %s, detached: %u\n", (const char *)by_object, look(store, by_object).detached);
    printf("a latch to write it: %s\n", pgs_code_name(pgs_latch(store, by_object, PGS_LATCH_EXCLUSIVE)));

    /* The last unpin frees the frame. */
    must(pgs_unpin(store, by_object, 6), "unpin");
    must(pgs_unpin(store, by_number, PGS_FRAME_SIZE), "unpin");
    must(pgs_unpin(store, by_number, 6), "unpin");
    pgs_object_close(object);
    must(pgs_close(store), "close");
    return 0;
}
