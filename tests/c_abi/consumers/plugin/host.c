/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A program that loads the library at run time, closes it, and loads it again: host LIBRARY REGION. */
#include <pagestone.h>

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *load(const char *path) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    return library;
}

/* ISO C has no cast from dlsym's pointer to a function's. */
static void find(void *library, const char *name, void *function) {
    void *found = dlsym(library, name);
    if (found == NULL)
        exit(2);
    memcpy(function, &found, sizeof found);
}

int main(int argc, char **argv) {
    int (*open_store)(const char *, const pgs_options *, pgs_store **);
    int (*sync_store)(pgs_store *);
    int (*close_store)(pgs_store *);
    pgs_options options = {.size = sizeof options, .flags = PGS_CREATE};
    pgs_store *store;
    void *library;

    if (argc != 3)
        return 3;
    library = load(argv[1]);
    find(library, "pgs_open", &open_store);
    find(library, "pgs_store_sync", &sync_store);
    find(library, "pgs_close", &close_store);
    if (open_store(argv[2], &options, &store) != PGS_OK)
        return 4;

    /* The last dlclose() unmaps nothing: the store and its functions go on. */
    if (dlclose(library) != 0 || sync_store(store) != PGS_OK)
        return 5;
    if (dlopen(argv[1], RTLD_NOW | RTLD_NOLOAD) == NULL)
        return 6;
    library = load(argv[1]);
    find(library, "pgs_close", &close_store);
    return close_store(store) == PGS_OK ? 0 : 7;
}
