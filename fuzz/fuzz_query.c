/* Arbitrary bytes as a query: what is read is valid UTF-8 without zeros, and its parameters are
 * what a simple second reading finds. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "http/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Names and values without escapes must come through as they are. */
static void check_plain(const struct target *target, const char *query)
{
    size_t pair = 0;
    for (const char *at = query;;) {
        size_t len = strcspn(at, "&");
        if (len) {
            size_t name = 0;
            while (name < len && at[name] != '=')
                name++;
            const char *value = name < len ? at + name + 1 : at + len;
            if (pair >= target->n_pairs || strlen(target->pairs[pair].name) != name ||
                memcmp(target->pairs[pair].name, at, name) != 0 ||
                strlen(target->pairs[pair].value) != (size_t)(at + len - value) ||
                memcmp(target->pairs[pair].value, value, (size_t)(at + len - value)) != 0)
                abort();
            pair++;
        }
        if (!at[len])
            break;
        at += len + 1;
    }
    if (pair != target->n_pairs)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = {0};
    struct target target = {0};
    if (size > HTTP_TARGET_MAX)
        return 0;
    _cleanup_free_ char *text = malloc(size + 4);
    memcpy(text, "/q?", 3);
    memcpy(text + 3, data, size);
    text[3 + size] = 0;
    if (target_parse(&target, text, &err) == ERR_OK) {
        for (size_t i = 0; i < target.n_pairs; i++)
            if (!utf8_valid(target.pairs[i].name) || !utf8_valid(target.pairs[i].value))
                abort();
        if (!strpbrk(text + 3, "%+"))
            check_plain(&target, text + 3);
    } else if (!err.text[0]) {
        abort();
    }
    target_free(&target);
    return 0;
}
