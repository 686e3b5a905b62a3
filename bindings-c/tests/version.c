/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Versions and layouts: the library matches the header that the program was compiled with. */
#include "check.h"

_Static_assert(PGS_VERSION_MAJOR == 0 && PGS_VERSION_MINOR == 1 && PGS_VERSION_PATCH == 0, "the release");
_Static_assert(PGS_VERSION >> 16 == PGS_VERSION_MAJOR, "major");
_Static_assert((PGS_VERSION >> 8 & 0xff) == PGS_VERSION_MINOR, "minor");
_Static_assert((PGS_VERSION & 0xff) == PGS_VERSION_PATCH, "patch");

/* The layout of the first release: a change here needs a new soname. */
_Static_assert(sizeof(pgs_options) == 64 && offsetof(pgs_options, max_bytes) == 24, "pgs_options");
_Static_assert(sizeof(pgs_page_info) == 88 && offsetof(pgs_page_info, pins) == 32, "pgs_page_info");
_Static_assert(sizeof(pgs_store_info) == 88 && offsetof(pgs_store_info, durability) == 40, "pgs_store_info");
_Static_assert(sizeof(pgs_counters) == 216 && offsetof(pgs_counters, lines_flushed) == 72, "pgs_counters");
_Static_assert(sizeof(pgs_entry) == 32 && offsetof(pgs_entry, bytes) == 24, "pgs_entry");
_Static_assert(sizeof(pgs_finding) == 32 && offsetof(pgs_finding, detail) == 24, "pgs_finding");

int main(void) {
    CHECK(pgs_version() == PGS_VERSION);
    CHECK(strcmp(pgs_message(), "") == 0);
    CHECK(strcmp(pgs_code_name(PGS_OK), "PGS_OK") == 0);
    CHECK(strcmp(pgs_code_name(PGS_E_SCATTERED), "PGS_E_SCATTERED") == 0);
    CHECK(strcmp(pgs_code_name(-ENOENT), "errno") == 0);
    CHECK(strcmp(pgs_code_name(7), "unknown") == 0);
    CHECK(strcmp(pgs_code_name(-12345), "unknown") == 0);
    return 0;
}
