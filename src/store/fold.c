/* Folding of file names for searching: lower case, without accents, for Latin, Greek and Cyrillic.
 *
 * A table of our own instead of towlower and a locale: the folded copy is stored, so it must be the
 * same on every machine and after every update of libc. Accents go as well, because a Mac sends й
 * as и and a combining breve, and because people type е for ё and e for é. Pure, any thread. */
#include "internal.h"

#include <string.h>

#include "../base/utf8.h"

/* What the letters from U+00C0 on are without accent, in order; '.' keeps the letter as it is. */
static const char latin[] =
    "aaaaaa.ceeeeiiii.nooooo.ouuuuy..aaaaaa.ceeeeiiii.nooooo.ouuuuy.y"                   /* 00C0 */
    "aaaaaaccccccccddddeeeeeeeeeegggggggghhhhiiiiiiiiii..jjkk.llllllllllnnnnnn...oooooo" /* 0100 */
    "..rrrrrrssssssssttttttuuuuuuuuuuuuwwyyyzzzzzzs";                                    /* 0152 */

/* Runs of capitals: the small letter stands `by` behind; step 2: capital and small alternate. */
static const struct {
    uint16_t first, last, by, step;
} runs[] = {
    {0x00C6, 0x00C6, 32, 1}, {0x00D0, 0x00D0, 32, 1}, {0x00DE, 0x00DE, 32, 1},
    {0x0132, 0x0132, 1, 1},  {0x014A, 0x014A, 1, 1},  {0x0152, 0x0152, 1, 1},
    {0x0391, 0x03A1, 32, 1}, {0x03A3, 0x03A9, 32, 1}, {0x0402, 0x0402, 80, 1},
    {0x0404, 0x0406, 80, 1}, {0x0408, 0x040B, 80, 1}, {0x040F, 0x040F, 80, 1},
    {0x0410, 0x042F, 32, 1}, {0x0460, 0x0480, 1, 2},  {0x048A, 0x04BE, 1, 2},
    {0x04C0, 0x04C0, 15, 1}, {0x04C1, 0x04CD, 1, 2},  {0x04D0, 0x052E, 1, 2},
    {0x1E00, 0x1E94, 1, 2},  {0x1EA0, 0x1EFE, 1, 2},
};

/* Letters with an accent, and the letter without. */
static const struct {
    uint16_t from, to;
} pairs[] = {
    {0x0386, 0x03B1}, {0x0388, 0x03B5}, {0x0389, 0x03B7}, {0x038A, 0x03B9}, {0x038C, 0x03BF},
    {0x038E, 0x03C5}, {0x038F, 0x03C9}, {0x0390, 0x03B9}, {0x03AA, 0x03B9}, {0x03AB, 0x03C5},
    {0x03AC, 0x03B1}, {0x03AD, 0x03B5}, {0x03AE, 0x03B7}, {0x03AF, 0x03B9}, {0x03B0, 0x03C5},
    {0x03C2, 0x03C3}, {0x03CA, 0x03B9}, {0x03CB, 0x03C5}, {0x03CC, 0x03BF}, {0x03CD, 0x03C5},
    {0x03CE, 0x03C9}, {0x0400, 0x0435}, {0x0401, 0x0435}, {0x0403, 0x0433}, {0x0407, 0x0456},
    {0x040C, 0x043A}, {0x040D, 0x0438}, {0x040E, 0x0443}, {0x0419, 0x0438}, {0x0439, 0x0438},
    {0x0450, 0x0435}, {0x0451, 0x0435}, {0x0453, 0x0433}, {0x0457, 0x0456}, {0x045C, 0x043A},
    {0x045D, 0x0438}, {0x045E, 0x0443}, {0x1E9E, 0x00DF},
};

static uint32_t fold_char(uint32_t c)
{
    if (c < 0x80)
        return c >= 'A' && c <= 'Z' ? c + 32 : c;
    if (c >= 0xC0 && c < 0xC0 + sizeof latin - 1 && latin[c - 0xC0] != '.')
        return (uint32_t)latin[c - 0xC0];
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
        if (c == pairs[i].from)
            return pairs[i].to;
    for (size_t i = 0; i < ARRAY_LEN(runs); i++)
        if (c >= runs[i].first && c <= runs[i].last && (c - runs[i].first) % runs[i].step == 0)
            return c + runs[i].by;
    return c;
}

static int is_accent(uint32_t c)
{
    return c >= 0x300 && c <= 0x36F;
}

static size_t put_char(char ret[4], uint32_t c)
{
    if (c < 0x80)
        return ret[0] = (char)c, 1;
    if (c < 0x800) {
        ret[0] = (char)(0xC0 | c >> 6);
        ret[1] = (char)(0x80 | (c & 0x3F));
        return 2;
    }
    ret[0] = (char)(0xE0 | c >> 12);
    ret[1] = (char)(0x80 | (c >> 6 & 0x3F));
    ret[2] = (char)(0x80 | (c & 0x3F));
    return 3;
}

void store_fold(const char *text, char *ret, size_t size)
{
    size_t n = 0;
    while (*text) {
        char folded[4];
        uint32_t c = 0;
        size_t in = utf8_char(text, &c), out;
        if (in && c < 0x10000) {
            out = is_accent(c) ? 0 : put_char(folded, fold_char(c));
        } else { /* no letters that have a case are there; a bad byte stays as it is */
            in = out = in ? in : 1;
            memcpy(folded, text, out);
        }
        if (n + out >= size)
            break;
        memcpy(ret + n, folded, out);
        n += out;
        text += in;
    }
    ret[n] = '\0';
}
