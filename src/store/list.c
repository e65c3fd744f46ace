/* The list of analyses: newest first, page by page.
 *
 * A page is one range of one index on (created, id), so its cost is the page's, however many rows
 * there are: the cursor names the last row seen, no OFFSET counts past what was seen before. A
 * search in file names has no index; it looks at STORE_SCAN_MAX rows at most, then hands out a
 * cursor and goes on in the next call, so that no request holds a connection for seconds.
 *
 * Rows are collected first, and given out when the snapshot has ended: the callback may ask the
 * store itself. Any thread. */
#include "internal.h"

#include <stdio.h>
#include <string.h>

#define LIMIT_MAX   1000
#define CURSOR_TEXT 64  /* "<milliseconds>:<id>" and a zero */
#define CURSOR_MAX  100 /* the same in base64url */
#define ESCAPED_MAX (2 * STORE_NAME_MAX + 3)

struct position {
    int64_t created_ms;
    char id[ID_TEXT];
};

static const char digits64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static char *write_cursor(const struct position *at)
{
    char text[CURSOR_TEXT];
    size_t size = (size_t)snprintf(text, sizeof text, "%lld:%s", (long long)at->created_ms, at->id);
    char *cursor = xalloc(CURSOR_MAX), *out = cursor;
    uint32_t bits = 0;
    int have = 0;
    for (size_t i = 0; i < size; i++) {
        bits = bits << 8 | (unsigned char)text[i];
        for (have += 8; have >= 6; have -= 6)
            *out++ = digits64[bits >> (have - 6) & 63];
    }
    if (have)
        *out = digits64[bits << (6 - have) & 63];
    return cursor;
}

/* The text behind base64url; 0, or -1 when it is none or too long. */
static int decode(const char *cursor, char ret[CURSOR_TEXT])
{
    uint32_t bits = 0;
    int have = 0;
    size_t n = 0;
    for (; *cursor; cursor++) {
        const char *digit = strchr(digits64, *cursor);
        if (!digit)
            return -1;
        bits = bits << 6 | (uint32_t)(digit - digits64);
        have += 6;
        if (have < 8)
            continue;
        have -= 8;
        if (n + 1 >= CURSOR_TEXT)
            return -1;
        ret[n++] = (char)(bits >> have);
    }
    ret[n] = '\0';
    return 0;
}

/* Only what write_cursor writes is one: it is written again and compared. */
static int read_cursor(const char *cursor, struct position *ret)
{
    char text[CURSOR_TEXT];
    if (strlen(cursor) >= CURSOR_MAX || decode(cursor, text) < 0)
        return -1;
    char *end = NULL;
    ret->created_ms = strtoll(text, &end, 10);
    if (*end != ':' || !id_valid(end + 1))
        return -1;
    store_copy_text(ret->id, sizeof ret->id, end + 1);
    _cleanup_free_ char *again = write_cursor(ret);
    return strcmp(again, cursor) == 0 ? 0 : -1;
}

/* --- one page --- */

enum order { BY_CREATED, BY_STATUS, BY_VERDICT, BY_SHA256, BY_ID, ORDERS };

/* ?1 ?2: before this position, ?3 ?4: down to this one, ?5: how many. Then what the order needs
 * (a status, a verdict; or a sha256 or id with a status and a verdict that may be ""), then, for a
 * search, the pattern of the name and the one of id and sha256. */
#define RANGE       "(a.created_ms, a.id) < (?1, ?2) AND (a.created_ms, a.id) >= (?3, ?4)"
#define NEWEST      " ORDER BY a.created_ms DESC, a.id DESC "
#define PAGE(where) "SELECT " STORE_COLUMNS " FROM " STORE_TABLES " WHERE " where NEWEST "LIMIT ?5"
#define BORDER(where)                                                                              \
    "SELECT a.created_ms, a.id FROM analyses a WHERE " where NEWEST "LIMIT 1 OFFSET ?5"
#define MATCHES(name, start)                                                                       \
    " AND (a.name_folded LIKE " name " ESCAPE '\\' OR a.id LIKE " start " ESCAPE '\\' "            \
    "OR a.sha256 LIKE " start " ESCAPE '\\')"
#define STATUS  "a.status = ?6 AND " RANGE
#define VERDICT "a.verdict = ?6 AND " RANGE
#define EITHER  " AND (?7 = '' OR a.status = ?7) AND (?8 = '' OR a.verdict = ?8)"

/* Literals, because each text is prepared once. border: the last row that a bounded scan sees. */
static const struct {
    const char *page, *search, *border;
} queries[ORDERS] = {
    [BY_CREATED] = {PAGE(RANGE), PAGE(RANGE MATCHES("?6", "?7")), BORDER(RANGE)},
    [BY_STATUS] = {PAGE(STATUS), PAGE(STATUS MATCHES("?7", "?8")), BORDER(STATUS)},
    [BY_VERDICT] = {PAGE(VERDICT), PAGE(VERDICT MATCHES("?7", "?8")), BORDER(VERDICT)},
    [BY_SHA256] = {PAGE("a.sha256 = ?6 AND " RANGE EITHER), NULL,
                   BORDER("a.sha256 = ?6 AND " RANGE)},
    [BY_ID] = {PAGE("a.id = ?6 AND " RANGE EITHER), NULL, NULL},
};

struct page {
    const struct store_filter *filter;
    enum order order;
    char key[SHA256_HEX]; /* ?6 */
    struct position before, from;
    int limit, search;
    int more; /* rows below `from` were not looked at */
    char name[ESCAPED_MAX], start[ESCAPED_MAX];
    struct store_analysis *rows; /* limit + 1: the one too many says that there is a next page */
    int n;
};

/* `before`, the text escaped, and %. */
static void like(const char *text, const char *before, char ret[ESCAPED_MAX])
{
    size_t n = strlen(before);
    memcpy(ret, before, n);
    for (; *text && n + 3 < ESCAPED_MAX; text++) {
        if (*text == '%' || *text == '_' || *text == '\\')
            ret[n++] = '\\';
        ret[n++] = *text;
    }
    ret[n++] = '%';
    ret[n] = '\0';
}

static enum err_code run_query(struct db_tx *tx, const char *sql, const struct page *page,
                               int64_t number, struct db_rows **ret, int *ret_found,
                               struct err *err)
{
    const struct store_filter *filter = page->filter;
    struct db_arg args[10] = {DB_I(page->before.created_ms), DB_T(page->before.id),
                              DB_I(page->from.created_ms), DB_T(page->from.id), DB_I(number)};
    size_t n = 5;
    if (page->order != BY_CREATED)
        args[n++] = DB_T(page->key);
    if (sql == queries[page->order].border)
        return store_first_args(tx, sql, args, n, ret, ret_found, err);
    if (page->order == BY_SHA256 || page->order == BY_ID) {
        args[n++] = DB_T(filter->status ? filter->status : "");
        args[n++] = DB_T(filter->verdict ? filter->verdict : "");
    }
    if (page->search) {
        args[n++] = DB_T(page->name);
        args[n++] = DB_T(page->start);
    }
    return store_first_args(tx, sql, args, n, ret, ret_found, err);
}

/* The one sha256 or id that begins with `text`; "" when there is none or more than one. */
static enum err_code resolve(struct db_tx *tx, const char *first, const char *last,
                             const char *text, char ret[SHA256_HEX], struct err *err)
{
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    char behind[SHA256_HEX + 1], other[SHA256_HEX] = "";
    snprintf(behind, sizeof behind, "%sg", text);
    int found = 0;
    ret[0] = '\0';
    enum err_code code = store_first(tx, first, &rows, &found, err, DB_T(text), DB_T(behind));
    if (code || !found)
        return code;
    store_copy(ret, SHA256_HEX, rows, 0);
    code = store_first(tx, last, &rows, &found, err, DB_T(text), DB_T(behind));
    if (!code && found)
        store_copy(other, sizeof other, rows, 0);
    if (strcmp(ret, other) != 0)
        ret[0] = '\0';
    return code;
}

#define FIRST_OF(column, direction)                                                                \
    "SELECT " column " FROM analyses WHERE " column " >= ?1 AND " column " < ?2 ORDER BY " column  \
    " " direction " LIMIT 1"

/* A long enough beginning of one id or sha256 names it: then its index finds it at once, where the
 * scan would reach an old one after many pages. */
static enum err_code find_by_name(struct db_tx *tx, struct page *page, const char *text,
                                  struct err *err)
{
    size_t size = strlen(text);
    if (size < STORE_NAMES_ONE || size >= SHA256_HEX || text[strspn(text, "0123456789abcdef-")])
        return ERR_OK;
    char key[SHA256_HEX];
    enum err_code code = resolve(tx, FIRST_OF("id", "ASC"), FIRST_OF("id", "DESC"), text, key, err);
    enum order order = BY_ID;
    if (!code && !key[0]) {
        code = resolve(tx, FIRST_OF("sha256", "ASC"), FIRST_OF("sha256", "DESC"), text, key, err);
        order = BY_SHA256;
    }
    if (!code && key[0]) {
        page->order = order;
        page->search = 0;
        store_copy_text(page->key, sizeof page->key, key);
    }
    return code;
}

/* A search does not look below the border. */
static enum err_code find_border(struct db_tx *tx, struct page *page, struct err *err)
{
    if (!page->search && page->order != BY_SHA256)
        return ERR_OK;
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    enum err_code code = run_query(tx, queries[page->order].border, page, STORE_SCAN_MAX - 1, &rows,
                                   &page->more, err);
    if (!code && page->more) {
        page->from.created_ms = db_int(rows, 0);
        store_copy(page->from.id, sizeof page->from.id, rows, 1);
    }
    return code;
}

static enum err_code read_page(struct db *db, struct page *page, const char *text, struct err *err)
{
    _cleanup_(db_end) struct db_tx *tx = NULL;
    _cleanup_(db_rows_done) struct db_rows *rows = NULL;
    int found = 0;
    /* A list may be a moment old: who was just told of a change of his follows its events. */
    enum err_code code = db_read_begin_stale(db, &tx, err);
    if (!code && page->search)
        code = find_by_name(tx, page, text, err);
    if (!code)
        code = find_border(tx, page, err);
    if (!code)
        code = run_query(tx, page->search ? queries[page->order].search : queries[page->order].page,
                         page, page->limit + 1, &rows, &found, err);
    while (!code && found && page->n <= page->limit) {
        store_row(rows, &page->rows[page->n++]);
        code = store_next(rows, &found, err);
    }
    return code;
}

/* 1: prepared, 0: nothing can match, -1: the cursor is none. */
static int plan(const struct store_filter *filter, struct page *page, char text[STORE_NAME_MAX])
{
    page->filter = filter;
    page->limit = filter->limit < 1 ? 1 : filter->limit > LIMIT_MAX ? LIMIT_MAX : filter->limit;
    page->from.created_ms = filter->since_ms;
    page->before.created_ms = filter->until_ms ? filter->until_ms : INT64_MAX;
    struct position at;
    if (filter->cursor) {
        if (read_cursor(filter->cursor, &at) < 0)
            return -1;
        if (at.created_ms < page->before.created_ms)
            page->before = at;
    }
    if (filter->verdict && filter->status && strcmp(filter->status, "done") != 0)
        return 0; /* only what is done has a verdict */
    page->order = filter->verdict ? BY_VERDICT : filter->status ? BY_STATUS : BY_CREATED;
    store_copy_text(page->key, sizeof page->key,
                    filter->verdict ? filter->verdict : filter->status);
    if (!filter->text || !*filter->text)
        return 1;
    if (strlen(filter->text) >= STORE_NAME_MAX)
        return 0; /* no name is that long */
    store_fold(filter->text, text, STORE_NAME_MAX);
    page->search = 1;
    like(text, "%", page->name);
    like(text, "", page->start);
    return 1;
}

static struct position position_of(const struct store_analysis *row)
{
    struct position at = {.created_ms = row->created_ms};
    store_copy_text(at.id, sizeof at.id, row->id);
    return at;
}

static char *hand_out(const struct page *page, store_each *each, void *ctx)
{
    int n = page->n > page->limit ? page->limit : page->n, i = 0;
    while (i < n && each(ctx, &page->rows[i]) == 0)
        i++;
    if (i < n) { /* stopped: go on behind the row that was given last */
        struct position at = position_of(&page->rows[i]);
        return i + 1 < page->n || page->more ? write_cursor(&at) : NULL;
    }
    if (page->n > page->limit) {
        struct position at = position_of(&page->rows[n - 1]);
        return write_cursor(&at);
    }
    return page->more ? write_cursor(&page->from) : NULL;
}

enum err_code store_list(struct db *db, const struct store_filter *filter, store_each *each,
                         void *ctx, char **ret_cursor, struct err *err)
{
    *ret_cursor = NULL;
    struct page page = {0};
    char text[STORE_NAME_MAX] = "";
    int planned = plan(filter, &page, text);
    if (planned < 0)
        return err_set(err, ERR_BAD_REQUEST, "cursor is none that a list gave");
    if (!planned)
        return ERR_OK;
    _cleanup_free_ struct store_analysis *rows = try_alloc((size_t)page.limit + 1, sizeof *rows);
    if (!rows)
        return err_set(err, ERR_NO_MEMORY, "no memory for a page of %d analyses", page.limit);
    page.rows = rows;
    enum err_code code = read_page(db, &page, text, err);
    if (!code)
        *ret_cursor = hand_out(&page, each, ctx);
    return code;
}
