/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The options of an opening: query parameters, or the environment if a parameter is missing.
 *
 * A value that cannot be understood is refused and never ignored, because it may demand durability. So is a name that is
 * nearly one of these. Other parameters are ignored: for SQLite an unknown parameter is not an error.
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#define ENVIRONMENT "PGS_VFS_"

enum key { KEY_DURABILITY, KEY_ASSUME, KEY_MAX_SIZE, KEY_FOREIGN, KEY_REGION, KEY_WAIT, KEY_COPY_ON_WRITE, KEYS };
static const struct {
    const char *parameter, *variable; /* NULL: the environment has none */
} keys[KEYS] = {
    [KEY_DURABILITY] = {"durability", ENVIRONMENT "DURABILITY"}, [KEY_ASSUME] = {"assume", ENVIRONMENT "ASSUME"},
    [KEY_MAX_SIZE] = {"max_size", ENVIRONMENT "MAX_SIZE"},       [KEY_FOREIGN] = {"foreign", ENVIRONMENT "FOREIGN"},
    [KEY_REGION] = {"region", NULL},                             [KEY_WAIT] = {"wait", ENVIRONMENT "WAIT"},
    [KEY_COPY_ON_WRITE] = {"copy_on_write", ENVIRONMENT "COPY_ON_WRITE"},
};
/* Variables that are not options of an opening. */
static const char *const variables[] = {ENVIRONMENT "DEFAULT", ENVIRONMENT "LOG"};

/* NULL in a program with more rights than its caller, because the caller controls the environment. */
const char *pgsv_environment(const char *name)
{
    return secure_getenv(name);
}

/* ---- values ---- */

static int durability(const char *text, const char *what, uint32_t *out)
{
    if (!text || !*text) return SQLITE_OK;
    if (strcmp(text, "volatile") == 0) *out = PGS_DURABILITY_VOLATILE;
    else if (strcmp(text, "fdatasync") == 0) *out = PGS_DURABILITY_FDATASYNC;
    else if (strcmp(text, "cacheline") == 0) *out = PGS_DURABILITY_CACHE_LINE;
    else return pgsv_refuse(SQLITE_CANTOPEN, "%s is \"%s\": it must be cacheline, fdatasync or volatile", what, text);
    return SQLITE_OK;
}

static int bytes(const char *text, uint64_t *out)
{
    static const char units[] = "KMGT";
    if (!text || !*text) return SQLITE_OK;
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    /* Without the NUL at the end of `units`, which a space would match. */
    const char *unit = memchr(units, *end & ~0x20, sizeof units - 1);
    int shift = unit ? (int)(unit - units + 1) * 10 : 0;
    if (unit) end++;
    if (errno || *end || *text < '0' || *text > '9' || number > UINT64_MAX >> shift)
        return pgsv_refuse(SQLITE_CANTOPEN, "max_size is \"%s\": it must be a number, optionally followed by K, M, G or T", text);
    *out = (uint64_t)number << shift;
    return SQLITE_OK;
}

static int milliseconds(const char *text, int64_t *out)
{
    *out = -1;
    if (!text || !*text) return SQLITE_OK;
    char *end;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (errno || *end || *text < '0' || *text > '9' || number > INT32_MAX)
        return pgsv_refuse(SQLITE_CANTOPEN, "wait is \"%s\": it must be a number of milliseconds", text);
    *out = number;
    return SQLITE_OK;
}

static int yes_or_no(const char *text, const char *what, bool *out)
{
    static const char *const words[] = {"0", "off", "no", "false", "1", "on", "yes", "true"};
    const size_t count = sizeof words / sizeof *words;
    if (!text || !*text) return SQLITE_OK;
    size_t word = 0;
    while (word < count && sqlite3_stricmp(text, words[word]) != 0) word++;
    *out = word >= count / 2;
    return word < count ? SQLITE_OK : pgsv_refuse(SQLITE_CANTOPEN, "%s is \"%s\": it must be 1 or 0", what, text);
}

static int passing(const char *text, bool *out)
{
    if (!text || !*text) return SQLITE_OK;
    *out = strcmp(text, "pass") == 0;
    return *out ? SQLITE_OK : pgsv_refuse(SQLITE_CANTOPEN, "foreign is \"%s\": it must be pass", text);
}

/* PGS_VFS_DEFAULT: register as the default VFS, whatever the program asked for. */
int pgsv_wish_for_default(bool *wished)
{
    return yes_or_no(pgsv_environment(ENVIRONMENT "DEFAULT"), ENVIRONMENT "DEFAULT", wished);
}

/* A parameter without a value is refused: a demand was probably lost. An empty variable counts as not set. */
static int refuse_empty(const char *uri_name)
{
    for (int key = 0; uri_name && key < KEYS; key++) {
        const char *value = sqlite3_uri_parameter(uri_name, keys[key].parameter);
        if (value && !*value)
            return pgsv_refuse(SQLITE_CANTOPEN, "%s= has no value: give it one, or leave the parameter out", keys[key].parameter);
    }
    return SQLITE_OK;
}

/* `uri_name` is NULL if the name has no parameters. */
int pgsv_wishes(const char *uri_name, struct wishes *wishes)
{
    const char *values[KEYS];
    memset(wishes, 0, sizeof *wishes);
    for (int key = 0; key < KEYS; key++) {
        values[key] = uri_name ? sqlite3_uri_parameter(uri_name, keys[key].parameter) : NULL;
        if (!values[key] && keys[key].variable) values[key] = pgsv_environment(keys[key].variable);
    }
    int result = refuse_empty(uri_name);
    if (result == SQLITE_OK) result = durability(values[KEY_DURABILITY], "durability", &wishes->required);
    if (result == SQLITE_OK) result = durability(values[KEY_ASSUME], "assume", &wishes->assume);
    if (result == SQLITE_OK) result = bytes(values[KEY_MAX_SIZE], &wishes->max_bytes);
    if (result == SQLITE_OK) result = milliseconds(values[KEY_WAIT], &wishes->wait);
    if (result == SQLITE_OK) result = passing(values[KEY_FOREIGN], &wishes->pass_foreign);
    if (result == SQLITE_OK) result = yes_or_no(values[KEY_COPY_ON_WRITE], "copy_on_write", &wishes->copy_on_write);
    wishes->region = values[KEY_REGION];
    wishes->shared_reading = uri_name && sqlite3_uri_boolean(uri_name, "immutable", 0);
    return result;
}

/* ---- names ---- */

/* Copies letters and digits of a name in lower case, at most LETTERS of them. */
#define LETTERS 16

static int letters(const char *name, char *out)
{
    int count = 0;
    for (; *name && count < LETTERS; name++) {
        char small = *name >= 'A' && *name <= 'Z' ? *name | 0x20 : *name;
        if ((small >= 'a' && small <= 'z') || (small >= '0' && small <= '9')) out[count++] = small;
    }
    return count;
}

/* The edit distance of two names: how many letters must be inserted, removed, replaced or swapped with their neighbour. */
static int distance(const char *one, int ones, const char *other, int others)
{
    int table[LETTERS + 1][LETTERS + 1];
    for (int i = 0; i <= ones; i++) {
        for (int j = 0; j <= others; j++) {
            if (i == 0 || j == 0) {
                table[i][j] = i + j;
                continue;
            }
            int least = table[i - 1][j - 1] + (one[i - 1] != other[j - 1]);
            if (table[i - 1][j] + 1 < least) least = table[i - 1][j] + 1;
            if (table[i][j - 1] + 1 < least) least = table[i][j - 1] + 1;
            bool exchanged = i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1];
            if (exchanged && table[i - 2][j - 2] + 1 < least) least = table[i - 2][j - 2] + 1;
            table[i][j] = least;
        }
    }
    return table[ones][others];
}

/* Whether a name is probably a misspelling. A name of six letters or more may have two mistakes, a shorter one has one.
 * A name that begins like a known one and differs at its end counts, too, except longer words that begin with it
 * ("foreign_keys"). */
static bool nearly(const char *name, const char *known)
{
    char one[LETTERS], other[LETTERS];
    int ones = letters(name, one), others = letters(known, other), same = 0;
    while (same < ones && same < others && one[same] == other[same]) same++;
    if ((same >= 4 && same == ones) || (same >= 5 && ones <= others + 3)) return true;
    return distance(one, ones, other, others) <= (others >= 6 ? 2 : 1);
}

static int parameter_is_known(const char *name)
{
    const char *meant = NULL;
    for (int key = 0; key < KEYS; key++) {
        if (strcmp(name, keys[key].parameter) == 0) return SQLITE_OK;
        if (nearly(name, keys[key].parameter)) meant = keys[key].parameter;
    }
    if (!meant) return SQLITE_OK;
    return pgsv_refuse(SQLITE_CANTOPEN, "there is no parameter \"%s\": \"%s\" is probably meant", name, meant);
}

static bool variable_is_known(const char *entry, size_t length)
{
    for (int key = 0; key < KEYS; key++) {
        const char *known = keys[key].variable;
        if (known && strncmp(entry, known, length) == 0 && !known[length]) return true;
    }
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
        if (strncmp(entry, variables[i], length) == 0 && !variables[i][length]) return true;
    return false;
}

/* The name of an unknown variable with our prefix; empty: there is none. */
static char unknown_variable[256];

/* Looks for such a variable, only once, because another thread may change the environment later. */
void pgsv_look_at_environment(void)
{
    for (char **entry = environ; entry && *entry && !*unknown_variable; entry++) {
        size_t length = strcspn(*entry, "=");
        bool similar = strncmp(*entry, ENVIRONMENT, sizeof ENVIRONMENT - 1) == 0;
        if (similar && !getauxval(AT_SECURE) && !variable_is_known(*entry, length))
            sqlite3_snprintf(sizeof unknown_variable, unknown_variable, "%.*s", (int)length, *entry);
    }
}

/* Refuses misspelt names: parameters that are nearly one of ours, and unknown variables with our prefix. */
int pgsv_names_are_known(const char *uri_name)
{
    int result = SQLITE_OK;
    const char *name;
    for (int i = 0; uri_name && result == SQLITE_OK && (name = sqlite3_uri_key(uri_name, i)) != NULL; i++)
        result = parameter_is_known(name);
    if (result == SQLITE_OK && *unknown_variable)
        result = pgsv_refuse(SQLITE_CANTOPEN, "the environment has %s: there is no such variable", unknown_variable);
    return result;
}
