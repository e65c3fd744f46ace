/* See ini.h. Each line is copied into a buffer on the stack and cut there; what is wrong with it is
 * told, and the next line read, so that one look finds everything. Any thread. */
#include "ini.h"

#include <stdio.h>
#include <string.h>

#include "../base/utf8.h"
#include "conf.h"

#define BLANK " \t"

struct reading {
    ini_row *row;
    ini_wrong *wrong;
    void *ctx;
    unsigned line;
    int skipping; /* the section's own line was wrong: what follows is in no known section */
    char section[CONF_VALUE_MAX + 1];
};

static char *trim(char *text)
{
    text += strspn(text, BLANK);
    size_t len = strlen(text);
    while (len > 0 && strchr(BLANK, text[len - 1]))
        text[--len] = 0;
    return text;
}

static void wrong(struct reading *r, const char *text)
{
    r->wrong(r->ctx, r->line, text);
}

static int is_clean(const char *text)
{
    uint32_t c;
    for (size_t n; *text; text += n) {
        n = utf8_char(text, &c);
        if (n == 0 || (utf8_unprintable(c) && c != '\t'))
            return 0;
    }
    return 1;
}

static void read_section(struct reading *r, char *line)
{
    size_t len = strlen(line);
    r->skipping = 1;
    if (line[len - 1] != ']') {
        wrong(r, "a section's line is [name], with nothing behind it");
        return;
    }
    line[len - 1] = 0;
    char *name = trim(line + 1);
    if (!*name) {
        wrong(r, "a section has no name");
        return;
    }
    r->skipping = 0;
    snprintf(r->section, sizeof r->section, "%s", name);
    r->row(r->ctx, r->line, r->section, NULL, NULL);
}

static void read_line(struct reading *r, char *buffer)
{
    if (!is_clean(buffer)) {
        wrong(r, "not readable as UTF-8 text: save the file as UTF-8, without control characters");
        return;
    }
    char *line = trim(buffer);
    if (!*line || *line == '#' || *line == ';')
        return;
    if (*line == '[') {
        read_section(r, line);
        return;
    }
    char *equals = strchr(line, '=');
    if (!equals) {
        wrong(r, "neither [section], nor key = value, nor a comment");
        return;
    }
    *equals = 0;
    char *key = trim(line), *value = trim(equals + 1);
    if (!*key)
        wrong(r, "there is no key before the =");
    else if (r->skipping)
        return; /* told at the section's line */
    else if (!*r->section)
        wrong(r, "a setting stands in a section: write a line such as [server] before it");
    else
        r->row(r->ctx, r->line, r->section, key, value);
}

void ini_read(const char *data, size_t size, ini_row *row, ini_wrong *told, void *ctx)
{
    struct reading r = {.row = row, .wrong = told, .ctx = ctx};
    char buffer[CONF_VALUE_MAX + 1];
    if (size >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0) {
        data += 3;
        size -= 3;
    }
    for (const char *p = data, *end = data + size; p < end;) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        size_t len = (size_t)((newline ? newline : end) - p);
        const char *start = p;
        p = newline ? newline + 1 : end;
        r.line++;
        if (len > 0 && start[len - 1] == '\r')
            len--;
        if (len > CONF_VALUE_MAX) {
            wrong(&r, "the line is longer than 4096 bytes");
            continue;
        }
        if (memchr(start, 0, len)) {
            wrong(&r, "there is a zero byte: this is no text file in UTF-8");
            return; /* and the rest is none, either */
        }
        memcpy(buffer, start, len);
        buffer[len] = 0;
        read_line(&r, buffer);
    }
}
