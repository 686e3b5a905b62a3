/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Views: scattered pages at consecutive addresses, beside cuts; and what they refuse. */
#include "check.h"

#define FRAME PGS_FRAME_SIZE
#define PAGES 12

/* Two objects that grow in turns, so that no two pages of one are adjacent. */
static void scatter(pgs_object *one, pgs_object *two) {
    char page[FRAME];
    uint64_t at;
    for (int n = 0; n < PAGES; n++) {
        memset(page, 'a' + n, sizeof page);
        OK(pgs_object_append(one, page, sizeof page, &at));
        OK(pgs_object_append(two, page, sizeof page, &at));
    }
}

static void reads(pgs_object *object) {
    pgs_view *view = NULL;
    const void *address = NULL;
    OK(pgs_view_open(object, 10, PAGES * FRAME - 20, 0, &view, &address));
    const char *text = address;
    for (size_t n = 0; n < PAGES * FRAME - 20; n++) CHECK(text[n] == (char)('a' + (n + 10) / FRAME));
    void *bytes = NULL;
    OK(pgs_view_pin(view, FRAME, 2 * FRAME, PGS_LATCH_SHARED, &bytes));
    CHECK(bytes == text + FRAME);
    ANSWERS(PGS_E_INVALID, pgs_view_unpin(view, bytes, 2 * FRAME, PGS_LATCH_SHARED, 0, 1));
    ANSWERS(PGS_E_INVALID, pgs_view_unpin(view, bytes, FRAME, PGS_LATCH_SHARED, 0, 0));
    ANSWERS(PGS_E_INVALID, pgs_view_unpin(view, bytes, 2 * FRAME, 0, 0, 0));
    ANSWERS(PGS_E_INVALID, pgs_view_unpin(view, bytes, 2 * FRAME, 7, 0, 0));
    OK(pgs_view_unpin(view, bytes, 2 * FRAME, PGS_LATCH_SHARED, 0, 0));
    ANSWERS(PGS_E_INVALID, pgs_view_unpin(view, bytes, 2 * FRAME, PGS_LATCH_SHARED, 0, 0));
    ANSWERS(PGS_E_INVALID, pgs_view_pin(view, 0, 1, PGS_LATCH_EXCLUSIVE, &bytes));
    pgs_view_close(view);
    ANSWERS(PGS_E_CLOSED, pgs_view_pin(view, 0, 1, 0, &bytes));
    pgs_view_close(view);
    pgs_view_close(NULL);
}

static void writes(pgs_object *object) {
    pgs_view *view = NULL;
    const void *address = NULL;
    void *bytes = NULL;
    char back[FRAME + 8];
    size_t done = 0;
    OK(pgs_view_open(object, 0, PAGES * FRAME, PGS_VIEW_WRITE, &view, &address));
    OK(pgs_view_pin(view, 2 * FRAME - 4, FRAME + 8, PGS_LATCH_EXCLUSIVE, &bytes));
    memset(bytes, '!', FRAME + 8);
    /* Another pin of the same bytes, without a latch: each is ended by itself, in any order. */
    void *same = NULL;
    OK(pgs_view_pin(view, 2 * FRAME - 4, FRAME + 8, 0, &same));
    CHECK(same == bytes);
    OK(pgs_view_unpin(view, bytes, FRAME + 8, 0, 0, 0));
    ANSWERS(PGS_E_OUT_OF_RANGE, pgs_view_unpin(view, bytes, FRAME + 8, PGS_LATCH_EXCLUSIVE, 1, FRAME + 8));
    OK(pgs_view_unpin(view, bytes, FRAME + 8, PGS_LATCH_EXCLUSIVE, 0, FRAME + 8));
    OK(pgs_object_read(object, 2 * FRAME - 4, back, sizeof back, &done));
    CHECK(done == sizeof back);
    for (size_t n = 0; n < sizeof back; n++) CHECK(back[n] == '!');
    OK(pgs_object_sync(object));
    pgs_view_close(view);
}

static void cuts(pgs_object *object, pgs_object *other) {
    pgs_view *view = NULL;
    const void *address = NULL;
    void *bytes = NULL;
    uint64_t before = 0, after = 0, at;
    char page[FRAME];
    OK(pgs_view_open(object, 0, PAGES * FRAME, PGS_VIEW_WRITE, &view, &address));
    const char *text = address;
    OK(pgs_view_taken(view, &before));
    OK(pgs_view_pin(view, 5 * FRAME, FRAME, 0, &bytes));
    OK(pgs_object_resize(object, 4 * FRAME));
    OK(pgs_view_taken(view, &after));
    CHECK(after - before == PAGES - 4);
    memset(page, 'x', sizeof page);
    for (int n = 0; n < 3 * PAGES; n++) OK(pgs_object_append(other, page, sizeof page, &at));
    CHECK(text[3 * FRAME + 8] == 'd' && text[4 * FRAME] == 0 && text[6 * FRAME] == 0);
    /* What is pinned stays as it was. */
    CHECK(text[5 * FRAME] == 'f');
    OK(pgs_view_unpin(view, bytes, FRAME, 0, 0, 0));
    ANSWERS(PGS_E_HOLE, pgs_view_pin(view, 6 * FRAME, 1, 0, &bytes));
    ANSWERS(PGS_E_PAST_END, pgs_view_pin(view, 6 * FRAME, 1, PGS_LATCH_EXCLUSIVE, &bytes));
    OK(pgs_object_resize(object, PAGES * FRAME));
    OK(pgs_view_pin(view, 6 * FRAME, 1, PGS_LATCH_EXCLUSIVE, &bytes));
    *(char *)bytes = 'z';
    OK(pgs_view_unpin(view, bytes, 1, PGS_LATCH_EXCLUSIVE, 0, 1));
    CHECK(text[6 * FRAME] == 'z');
    pgs_view_close(view);
}

static void refused(pgs_store *store, pgs_object *object) {
    pgs_view *view = NULL;
    const void *address = NULL;
    void *bytes = NULL;
    uint64_t times;
    ANSWERS(PGS_E_INVALID, pgs_view_open(object, 0, 0, 0, &view, &address));
    ANSWERS(PGS_E_PAST_END, pgs_view_open(object, 0, PAGES * FRAME + 1, 0, &view, &address));
    ANSWERS(PGS_E_PAST_END, pgs_view_open(object, UINT64_MAX, 2, 0, &view, &address));
    ANSWERS(PGS_E_INVALID, pgs_view_open(object, 0, 1, 2, &view, &address));
    ANSWERS(PGS_E_INVALID, pgs_view_open(object, 0, 1, 0, NULL, &address));
    ANSWERS(PGS_E_INVALID, pgs_view_open(object, 0, 1, 0, &view, NULL));
    ANSWERS(PGS_E_INVALID, pgs_view_open(NULL, 0, 1, 0, &view, &address));
    ANSWERS(PGS_E_INVALID, pgs_view_taken((pgs_view *)object, &times));
    CHECK(view == NULL && address == NULL);
    OK(pgs_view_open(object, 0, PAGES * FRAME, 0, &view, &address));
    ANSWERS(PGS_E_INVALID, pgs_view_pin(view, 0, 0, 0, &bytes));
    ANSWERS(PGS_E_INVALID, pgs_view_pin(view, 0, 1, 7, &bytes));
    ANSWERS(PGS_E_PAST_END, pgs_view_pin(view, PAGES * FRAME, 1, 0, &bytes));
    ANSWERS(PGS_E_PAST_END, pgs_view_pin(view, UINT64_MAX, 1, 0, &bytes));
    ANSWERS(PGS_E_INVALID, pgs_view_unpin(view, NULL, 1, 0, 0, 0));
    ANSWERS(PGS_E_INVALID, pgs_view_taken(view, NULL));
    ANSWERS(PGS_E_BUSY, pgs_close(store));
    pgs_view_close(view);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    pgs_store *store = open_store(in(argv[1], "views.pgs"), PGS_CREATE);
    pgs_object *object = open_object(store, "object"), *other = open_object(store, "other");
    scatter(object, other);
    reads(object);
    writes(object);
    refused(store, object);
    cuts(object, other);
    pgs_object_close(object);
    pgs_object_close(other);
    OK(pgs_close(store));
    return 0;
}
