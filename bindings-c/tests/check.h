/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Helpers of the C tests. Each test is a program that gets a scratch directory and stops at the first failed check. */
#ifndef CHECK_H
#define CHECK_H

#include <pagestone.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Stops the test unless `truth` holds. */
#define CHECK(truth)                                                                                                 \
    do {                                                                                                             \
        if (!(truth)) {                                                                                              \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #truth);                                    \
            exit(1);                                                                                                 \
        }                                                                                                            \
    } while (0)

/* Stops the test unless `call` returns `code`, and prints why it failed. */
#define ANSWERS(code, call) answers((code), (call), #call, __FILE__, __LINE__)
#define OK(call) ANSWERS(PGS_OK, call)

static inline void answers(int expected, int status, const char *call, const char *file, int line) {
    if (status != expected) {
        fprintf(stderr, "%s:%d: %s is %s (%d), not %s: %s\n", file, line, call, pgs_code_name(status), status,
                pgs_code_name(expected), pgs_message());
        exit(1);
    }
    if (status < 0 && pgs_message()[0] == '\0') {
        fprintf(stderr, "%s:%d: %s failed without words\n", file, line, call);
        exit(1);
    }
}

/* The path of `name` in the scratch directory. */
static inline const char *in(const char *directory, const char *name) {
    static char path[4096];
    int n = snprintf(path, sizeof path, "%s/%s", directory, name);
    CHECK(n > 0 && (size_t)n < sizeof path);
    return path;
}

/* Options with flags only. */
static inline pgs_options with(uint32_t flags) {
    pgs_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.flags = flags;
    return options;
}

/* Opens the store at `path`; creates it if it is missing. */
static inline pgs_store *open_store(const char *path, uint32_t flags) {
    pgs_options options = with(flags);
    pgs_store *store = NULL;
    OK(pgs_open(path, &options, &store));
    CHECK(store != NULL);
    return store;
}

/* Opens the object `name`; creates it if it is missing. */
static inline pgs_object *open_object(pgs_store *store, const char *name) {
    pgs_object *object = NULL;
    OK(pgs_object_open(store, name, PGS_CREATE, &object));
    CHECK(object != NULL);
    return object;
}

/* The state of the descriptor of `address`. */
static inline pgs_page_info page_at(pgs_store *store, const void *address) {
    pgs_page_info page;
    memset(&page, 0, sizeof page);
    page.size = sizeof page;
    OK(pgs_peek(store, address, &page));
    return page;
}

#endif
