/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Damaged files: pgs_check() names defects, an opening refuses the file, and nothing crashes. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <unistd.h>

static int count(void *arg, const pgs_finding *finding) {
    CHECK(finding->size == sizeof *finding);
    CHECK(finding->name[0] != '\0' && finding->detail[0] != '\0');
    ++*(int *)arg;
    return 0;
}

static int stop(void *arg, const pgs_finding *finding) {
    (void)arg;
    (void)finding;
    return 42;
}

static void make(const char *path) {
    pgs_store *store = open_store(path, PGS_CREATE);
    pgs_object *object = open_object(store, "easy-to-find");
    OK(pgs_object_write(object, 0, "contents", 8));
    pgs_object_close(object);
    OK(pgs_close(store));
}

/* Changes one letter of each copy of the object's name on the medium: its record contradicts its checksum. */
static void damage(const char *path) {
    FILE *file = fopen(path, "r+b");
    CHECK(file != NULL);
    static char bytes[1 << 22];
    size_t n = fread(bytes, 1, sizeof bytes, file), found = 0;
    for (size_t i = 0; i + 12 <= n; i++) {
        if (memcmp(bytes + i, "easy-to-find", 12) == 0) {
            CHECK(fseek(file, (long)i, SEEK_SET) == 0 && fputc('E', file) == 'E');
            found++;
        }
    }
    CHECK(found > 0);
    CHECK(fclose(file) == 0);
}

static void checking(const char *path) {
    int findings = 0, said = -1;
    ANSWERS(-ENOENT, pgs_check(path, count, &findings, &said));
    CHECK(said == -1);
    make(path);
    OK(pgs_check(path, count, &findings, &said));
    CHECK(findings == 0 && said == 0);
    ANSWERS(PGS_E_INVALID, pgs_check(NULL, count, &findings, NULL));
    damage(path);
    ANSWERS(PGS_E_CORRUPT, pgs_check(path, count, &findings, NULL));
    CHECK(findings > 0);
    ANSWERS(PGS_E_CORRUPT, pgs_check(path, NULL, NULL, NULL));
    ANSWERS(PGS_E_CORRUPT, pgs_check(path, stop, NULL, &said));
    CHECK(said == 42);
}

static void cut(const char *path) {
    make(path);
    CHECK(truncate(path, 50 * PGS_FRAME_SIZE) == 0);
    pgs_store *store = NULL;
    ANSWERS(PGS_E_TRUNCATED, pgs_open(path, NULL, &store));
    CHECK(store == NULL);
}

static void empty_is_new(const char *path) {
    FILE *file = fopen(path, "wb");
    CHECK(file != NULL && fclose(file) == 0);
    pgs_store *store = NULL;
    ANSWERS(PGS_E_NOT_A_REGION, pgs_open(path, NULL, &store));
    store = open_store(path, PGS_CREATE);
    OK(pgs_close(store));
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    checking(in(argv[1], "damaged.pgs"));
    cut(in(argv[1], "cut.pgs"));
    empty_is_new(in(argv[1], "empty.pgs"));
    return 0;
}
