/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A batch: moves money from one object to another. No crash shows one change without the other.
 *
 *   cc batch.c $(pkg-config --cflags --libs pagestone) -o batch && ./batch /tmp/batch.pgs
 */
#include <pagestone.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static void must(int status) {
    if (status != PGS_OK) {
        fprintf(stderr, "%s: %s\n", pgs_code_name(status), pgs_message());
        exit(1);
    }
}

/* Moves `sum` from one account to the other. On PGS_OK the transfer is durable. */
static int transfer(pgs_store *store, pgs_object *from, pgs_object *to, uint64_t sum) {
    uint64_t has, gets;
    size_t done;
    must(pgs_object_read(from, 0, &has, sizeof has, &done));
    must(pgs_object_read(to, 0, &gets, sizeof gets, &done));
    has -= sum;
    gets += sum;

    pgs_batch *batch;
    must(pgs_batch_begin(store, &batch));
    must(pgs_batch_write(batch, from, 0, &has, sizeof has));
    must(pgs_batch_write(batch, to, 0, &gets, sizeof gets));
    return pgs_batch_commit(batch);
}

int main(int argc, char **argv) {
    const char *path = argc > 1 ? argv[1] : "batch.pgs";
    const uint64_t first = 100, nothing = 0;
    uint64_t left = 0, arrived = 0;
    size_t done = 0;
    pgs_object *from, *to;

    pgs_options options = {.size = sizeof options, .flags = PGS_CREATE};
    pgs_store *store;
    if (pgs_open(path, &options, &store) != PGS_OK) {
        fprintf(stderr, "%s: %s\n", path, pgs_message());
        return 1;
    }
    must(pgs_object_open(store, "from", PGS_CREATE, &from));
    must(pgs_object_open(store, "to", PGS_CREATE, &to));
    must(pgs_object_write(from, 0, &first, sizeof first));
    must(pgs_object_write(to, 0, &nothing, sizeof nothing));

    must(transfer(store, from, to, 30));
    must(pgs_object_read(from, 0, &left, sizeof left, &done));
    must(pgs_object_read(to, 0, &arrived, sizeof arrived, &done));
    printf("%" PRIu64 " left, %" PRIu64 " arrived\n", left, arrived);

    pgs_object_close(from);
    pgs_object_close(to);
    must(pgs_close(store));
    return 0;
}
