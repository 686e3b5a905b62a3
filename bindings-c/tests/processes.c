/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Two processes and one region: a fork with an open store, an owner in another process, an owner that is killed. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void expect_clean_exit(pid_t child) {
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void forked(const char *path) {
    pgs_store *store = open_store(path, PGS_CREATE);
    pgs_object *object = open_object(store, "o");
    OK(pgs_object_write(object, 0, "parent", 6));
    void *p = NULL, *in_child = NULL;
    OK(pgs_pin(object, 0, 6, 0, &p));
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        char back[6];
        size_t done = 0;
        pgs_object *another = NULL;
        ANSWERS(PGS_E_FORKED, pgs_object_read(object, 0, back, 6, &done));
        ANSWERS(PGS_E_FORKED, pgs_object_write(object, 0, "child!", 6));
        ANSWERS(PGS_E_FORKED, pgs_object_resize(object, 0));
        ANSWERS(PGS_E_FORKED, pgs_object_sync(object));
        ANSWERS(PGS_E_FORKED, pgs_pin(object, 0, 6, 0, &in_child));
        ANSWERS(PGS_E_FORKED, pgs_store_sync(store));
        ANSWERS(PGS_E_FORKED, pgs_object_open(store, "o", 0, &another));
        ANSWERS(PGS_E_FORKED, pgs_unlink(store, "o"));
        ANSWERS(PGS_E_FORKED, pgs_close(store));
        _exit(0);
    }
    expect_clean_exit(child);
    CHECK(memcmp(p, "parent", 6) == 0);
    CHECK(page_at(store, p).pins == 1);
    OK(pgs_unpin(store, p, 6));
    OK(pgs_object_write(object, 0, "still!", 6));
    OK(pgs_object_sync(object));
    pgs_object_close(object);
    OK(pgs_close(store));
}

/* Checks how an opening with these flags reports the last owner's end: first read-only, then for writing. */
static void expect_ending(const char *path, uint32_t flags, uint32_t ending, uint32_t why) {
    pgs_store *store = open_store(path, flags);
    pgs_store_info region = {.size = sizeof region};
    OK(pgs_info(store, &region));
    CHECK(region.ending == ending);
    CHECK(region.why == why);
    CHECK(strlen(pgs_why_text(region.why)) > 0);
    OK(pgs_close(store));
}

static void killed_owner(const char *path) {
    int ready[2];
    CHECK(pipe(ready) == 0);
    fflush(NULL);
    pid_t owner = fork();
    CHECK(owner >= 0);
    if (owner == 0) {
        pgs_store *store = open_store(path, 0);
        pgs_object *object = open_object(store, "o");
        /* The lease is written with the first log record: an owner that only stores in place leaves no trace. */
        pgs_object_close(open_object(store, "another"));
        /* Not synced: what returned survives the death of the process. */
        OK(pgs_object_write(object, 0, "killed", 6));
        CHECK(write(ready[1], "r", 1) == 1);
        for (;;)
            pause();
    }
    char byte;
    CHECK(read(ready[0], &byte, 1) == 1);
    pgs_store *store = NULL;
    ANSWERS(PGS_E_IN_USE, pgs_open(path, NULL, &store));
    CHECK(strstr(pgs_message(), "process") != NULL && store == NULL);
    CHECK(kill(owner, SIGKILL) == 0);
    CHECK(waitpid(owner, NULL, 0) == owner);
    expect_ending(path, PGS_READ_ONLY, PGS_ENDING_PROCESS_DEATH, PGS_WHY_KEPT);
    expect_ending(path, PGS_READ_ONLY | PGS_ASSUME_POWER_LOSS, PGS_ENDING_POWER_LOSS, PGS_WHY_ASSUMED);
    store = open_store(path, 0);
    pgs_object *object = open_object(store, "o");
    char back[6];
    size_t done = 0;
    OK(pgs_object_read(object, 0, back, 6, &done));
    CHECK(done == 6 && memcmp(back, "killed", 6) == 0);
    pgs_object_close(object);
    OK(pgs_close(store));
    expect_ending(path, 0, PGS_ENDING_CLEAN, PGS_WHY_CLOSED);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    forked(in(argv[1], "fork.pgs"));
    killed_owner(in(argv[1], "fork.pgs"));
    return 0;
}
