/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Viewing: scan an object in place, as one array, wherever its pages are.
 *
 *   cc viewing.c $(pkg-config --cflags --libs pagestone) -o viewing && ./viewing /tmp/viewing.pgs
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
    const char *path = argc > 1 ? argv[1] : "viewing.pgs";
    pgs_options options = {.size = sizeof options, .flags = PGS_CREATE};
    pgs_store *store;
    pgs_object *log, *index;
    uint64_t at, size;

    if (pgs_open(path, &options, &store) != PGS_OK) {
        fprintf(stderr, "%s: %s\n", path, pgs_message());
        return 1;
    }
    must(pgs_object_open(store, "log", PGS_CREATE, &log));
    must(pgs_object_open(store, "index", PGS_CREATE, &index));

    must(pgs_object_resize(log, 0));
    must(pgs_object_resize(index, 0));
    /* The two objects grow in turns, so the pages of the log lie between those of the index. */
    for (int n = 0; n < 20000; n++) {
        must(pgs_object_append(log, "one line\n", 9, &at));
        must(pgs_object_append(index, &at, sizeof at, &at));
    }
    must(pgs_object_size(log, &size));

    /* The view shows them in order. The pin keeps the bytes as they are while they are counted. */
    pgs_view *view;
    const void *address;
    void *bytes;
    must(pgs_view_open(log, 0, size, 0, &view, &address));
    must(pgs_view_pin(view, 0, size, PGS_LATCH_SHARED, &bytes));
    size_t lines = 0;
    for (const char *line = bytes, *end = line + size; (line = memchr(line, '\n', (size_t)(end - line))); line++) lines++;
    must(pgs_view_unpin(view, bytes, size, PGS_LATCH_SHARED, 0, 0));
    printf("%zu lines\n", lines);

    pgs_view_close(view);
    pgs_object_close(log);
    pgs_object_close(index);
    must(pgs_close(store));
    return 0;
}
