/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The testable CAVEATS of pagestone(7): threads, signals, forks, copies. */
#define _GNU_SOURCE
#include "check.h"

#include <dirent.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static int threads(void) {
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    CHECK(tasks != NULL);
    for (struct dirent *task = readdir(tasks); task != NULL; task = readdir(tasks))
        count += task->d_name[0] != '.';
    closedir(tasks);
    return count;
}

/* The signal handlers are unchanged. */
static void handlers(struct sigaction *found) {
    for (int number = 1; number < NSIG; number++) {
        memset(&found[number], 0, sizeof found[number]);
        sigaction(number, NULL, &found[number]);
    }
}

static volatile sig_atomic_t alarms;

static void on_alarm(int number) {
    (void)number;
    alarms = alarms + 1;
}

/* Signals without SA_RESTART come all the time, and no call fails because of them. */
static void interrupted(pgs_object *object) {
    struct sigaction action, before;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_alarm;
    CHECK(sigaction(SIGALRM, &action, &before) == 0);
    struct itimerval often = {{0, 200}, {0, 200}}, never = {{0, 0}, {0, 0}};
    CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
    for (int i = 0; i < 2000 && (alarms < 20 || i < 50); i++) {
        OK(pgs_object_append(object, "0123456789", 10, NULL));
        OK(pgs_object_sync(object));
    }
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
    /* A signal may still be pending (valgrind's last one), and must be caught. */
    usleep(10000);
    CHECK(sigaction(SIGALRM, &before, NULL) == 0);
    CHECK(alarms > 0);
}

/* A surviving child, forked or started, does not keep the next owner from the region. */
static pgs_store *without_the_child(pgs_store *store, const char *path, int starts_a_program) {
    int end[2];
    char byte;
    CHECK(pipe(end) == 0);
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        close(end[1]);
        if (starts_a_program) {
            dup2(end[0], 0);
            execlp("cat", "cat", (char *)NULL);
            _exit(1);
        }
        _exit(read(end[0], &byte, 1) == 0 ? 0 : 1);
    }
    close(end[0]);
    OK(pgs_close(store));
    pgs_store *next = open_store(path, 0);
    int status = 0;
    CHECK(waitpid(child, &status, WNOHANG) == 0);
    close(end[1]);
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return next;
}

/* A copy of a closed region's file is a second region, usable beside the first. */
static void copied(const char *path, const char *copy, pgs_store *store) {
    static char bytes[1 << 20];
    OK(pgs_close(store));
    FILE *from = fopen(path, "rb"), *to = fopen(copy, "wb");
    CHECK(from != NULL && to != NULL);
    for (size_t n = fread(bytes, 1, sizeof bytes, from); n != 0; n = fread(bytes, 1, sizeof bytes, from))
        CHECK(fwrite(bytes, 1, n, to) == n);
    CHECK(fclose(from) == 0 && fclose(to) == 0);
    pgs_store *first = open_store(path, 0), *second = open_store(copy, 0);
    int there = 0;
    uint64_t size = 0;
    OK(pgs_exists(second, "o", &there, &size));
    CHECK(there == 1 && size >= 500);
    OK(pgs_close(first));
    OK(pgs_close(second));
}

int main(int argc, char **argv) {
    static struct sigaction before[NSIG], after[NSIG];
    static char path[4096], copy[4096];
    CHECK(argc == 2);
    strcpy(path, in(argv[1], "caveats.pgs"));
    strcpy(copy, in(argv[1], "copy.pgs"));
    int of_before = threads();
    handlers(before);
    pgs_store *store = open_store(path, PGS_CREATE);
    pgs_object *object = open_object(store, "o");
    interrupted(object);
    CHECK(threads() == of_before);
    handlers(after);
    for (int number = 1; number < NSIG; number++)
        CHECK(before[number].sa_handler == after[number].sa_handler);
    pgs_object_close(object);
    store = without_the_child(store, path, 0);
    store = without_the_child(store, path, 1);
    copied(path, copy, store);
    return 0;
}
