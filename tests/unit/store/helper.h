/* What the tests of src/store share: a database in a temporary folder, short forms of the calls
 * that must succeed, and a look into the tables behind the store's back. Built a second time, with
 * STORE_ON_POSTGRES, they run over PostgreSQL. */
#ifndef SONDE_TESTS_STORE_HELPER_H
#define SONDE_TESTS_STORE_HELPER_H

#include "../../support/cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/internal.h"

#define MODEL_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define MODEL_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

/* Fails the test with the error's text. */
#define OK(call)                                                                                   \
    do {                                                                                           \
        struct err err_ok_ = {0};                                                                  \
        struct err *err = &err_ok_;                                                                \
        enum err_code code_ok_ = (call);                                                           \
        if (code_ok_)                                                                              \
            fail_msg("%s: %s: %s", #call, err_slug(code_ok_), err->text);                          \
    } while (0)
#define FAILS(want, call)                                                                          \
    do {                                                                                           \
        struct err err_fails_ = {0};                                                               \
        struct err *err = &err_fails_;                                                             \
        assert_string_equal(err_slug(call), err_slug(want));                                       \
        assert_int_equal(err->code, want);                                                         \
    } while (0)

struct box {
    char folder[64], path[96];
    struct db *db;
};
/* cmocka's setup and teardown: *state is a struct box with a migrated database. */
int box_setup(void **state);
int box_teardown(void **state);
/* The same with the driver's url "<prefix>sqlite:<path>"; the schema is there already. */
struct db *box_open(const struct box *box, const char *prefix);

/* Behind the store's back: one number, one text (free it), a change. */
int64_t box_number(struct box *box, const char *sql);
char *box_text(struct box *box, const char *sql);
void box_run(struct box *box, const char *sql);
/* Writing this table fails; and no longer. verb: INSERT … */
void box_trap(struct box *box, const char *verb, const char *table);
void box_untrap(struct box *box, const char *table);
/* Every row of every table as text; free it. */
char *box_dump(struct box *box);
/* The counter of waiting analyses agrees with the table. */
void box_counted(struct box *box);

struct ids {
    char upload[ID_TEXT], analysis[ID_TEXT];
};
/* One recording; sha256 from `bytes_are` (any short text). */
struct ids add(struct db *db, const char *name, const char *bytes_are);
struct ids add_full(struct db *db, const char *name, const char *bytes_are, int fresh);
void finish(struct db *db, const char *id, double llr, const char *verdict, const char *model);
/* Without the check for reuse: start and finish. */
struct ids add_done(struct db *db, const char *name, const char *bytes_are);
struct store_analysis get(struct db *db, const char *id);
const char *status_of(struct db *db, const char *id);
struct store_result result_of(double llr, const char *verdict, const char *model);

#endif
