/* Output formats of `sonde detect`. One thread: the one that prints. */
#include "print.h"

#include <stdlib.h>
#include <string.h>

#include "../base/mem.h"
#include "../base/time.h"

#define PARTS_SHOWN 5 /* on a terminal; JSON has all */

static const char *color_of(enum verdict verdict)
{
    return verdict == VERDICT_SYNTHETIC ? "\033[1;31m"
           : verdict == VERDICT_HUMAN   ? "\033[32m"
                                        : "\033[33m";
}

/* Length of the valid, printable UTF-8 character at p; 0 when it is none. */
static int printable(const unsigned char *p)
{
    if (p[0] < 0x80)
        return p[0] >= 0x20 && p[0] != 0x7f;
    int n = (p[0] & 0xe0) == 0xc0 ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : (p[0] & 0xf8) == 0xf0 ? 4 : 0;
    for (int i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if (n == 2 && p[0] == 0xc2 && p[1] < 0xa0)
        return 0; /* C1 control characters */
    return n;
}

void print_clean(FILE *out, const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p;) {
        int n = printable(p);
        if (n > 0)
            fwrite(p, 1, (size_t)n, out);
        else
            fputc('?', out);
        p += n > 0 ? n : 1;
    }
}

void print_table_head(FILE *out, int color)
{
    fprintf(out, "%s%-13s %9s %7s %9s  %s%s\n", color ? "\033[1m" : "", "VERDICT", "SYNTHETIC",
            "LLR", "SPEECH", "FILE", color ? "\033[0m" : "");
}

static int has_reason(const struct detection *d, enum reason_code code)
{
    for (size_t i = 0; i < d->n_reasons; i++)
        if (d->reasons[i].code == code)
            return 1;
    return 0;
}

/* Where it sounds synthetic; worth a line only when the recording is not of one piece. Every other
 * human recording of five minutes has such a part: without the remark it says nothing. */
static void print_parts(FILE *out, const struct detection *d)
{
    if (d->verdict == VERDICT_HUMAN && !has_reason(d, REASON_SYNTHETIC_PARTS))
        return;
    if (d->n_parts == 0 || (d->n_parts == 1 && d->parts[0].start_s == 0 &&
                            d->parts[0].end_s >= d->timeline[d->n_timeline - 1].end_s))
        return;
    fprintf(out, "%14ssynthetic parts: ", "");
    size_t shown = d->n_parts > PARTS_SHOWN ? PARTS_SHOWN : d->n_parts;
    for (size_t i = 0; i < shown; i++) {
        char from[24], to[24];
        time_clock(from, sizeof from, d->parts[i].start_s);
        time_clock(to, sizeof to, d->parts[i].end_s);
        fprintf(out, "%s%s-%s", i ? ", " : "", from, to);
    }
    if (shown < d->n_parts)
        fprintf(out, " and %zu more (see --json)", d->n_parts - shown);
    fputc('\n', out);
}

/* The names of the rows for which `in` says so, one after the other. */
static void print_variants(FILE *out, const struct stability *s,
                           int (*in)(const struct stability *, size_t))
{
    for (size_t i = 1; i < s->n; i++)
        if (in(s, i))
            fprintf(out, " %s", s->rows[i].variant);
}

static int row_scored(const struct stability *s, size_t i)
{
    return s->rows[i].scored;
}

static int row_flipped(const struct stability *s, size_t i)
{
    return s->rows[i].error.code == ERR_OK && s->rows[i].verdict != s->rows[0].verdict;
}

static void print_stability(FILE *out, const struct file_report *r)
{
    const struct stability *s = r->stability;
    if (!s && r->stability_error.code == ERR_OK)
        return;
    fprintf(out, "%14sstability: ", "");
    if (!s) {
        print_clean(out, r->stability_error.text);
        fputs("\n", out);
        return;
    }
    if (s->rows[0].scored) {
        fprintf(out, "LLR %+.2f, spread %.1f over", s->rows[0].llr, s->spread);
        print_variants(out, s, row_scored);
    } else {
        fputs("no score to compare", out);
    }
    fputs(s->flips ? ", verdict flips with" : ", verdict stays", out);
    print_variants(out, s, row_flipped);
    for (size_t i = 1; i < s->n; i++)
        if (s->rows[i].error.code != ERR_OK) {
            fprintf(out, "; %s failed: ", s->rows[i].variant);
            print_clean(out, s->rows[i].error.text);
        }
    if (s->cut)
        fprintf(out, " (first %.0f s)", s->seconds);
    fputc('\n', out);
}

void print_table_row(FILE *out, const struct file_report *r, int color)
{
    const struct detection *d = &r->detection;
    if (r->error.code != ERR_OK) {
        fprintf(out, "%s%-13s%s %9s %7s %9s  ", color ? "\033[1;33m" : "", "failed",
                color ? "\033[0m" : "", "", "", "");
        print_clean(out, r->path);
        fprintf(out, "\n%14s", "");
        print_clean(out, r->error.text);
        fprintf(out, " (%s)\n", err_hint(r->error.code));
        return;
    }
    char p[16] = "-", llr[16] = "-";
    if (d->scored) {
        snprintf(p, sizeof p, "%.0f %%", 100 * d->p);
        snprintf(llr, sizeof llr, "%+.2f", d->llr);
    }
    fprintf(out, "%s%-13s%s %9s %7s %7.1f s  ", color ? color_of(d->verdict) : "",
            verdict_name(d->verdict), color ? "\033[0m" : "", p, llr, d->speech_s);
    print_clean(out, r->path);
    fputc('\n', out);
    for (size_t i = 0; i < d->n_reasons; i++) {
        char text[160];
        reason_sentence(&d->reasons[i], text, sizeof text);
        fprintf(out, "%14s%s\n", "", text);
    }
    print_parts(out, d);
    print_stability(out, r);
}

/* RFC 4180. A cell that a spreadsheet would take for a formula gets a quote mark before it. */
static void csv_cell(FILE *out, const char *text)
{
    int formula = text[0] && strchr("=+-@\t\r", text[0]) != NULL;
    if (!formula && !strpbrk(text, ",\"\r\n")) {
        fputs(text, out);
        return;
    }
    fputs(formula ? "\"'" : "\"", out);
    for (const char *p = text; *p; p++) {
        if (*p == '"')
            fputc('"', out);
        fputc(*p, out);
    }
    fputc('"', out);
}

void print_csv_head(FILE *out)
{
    fputs("file,sha256,verdict,p_synthetic,llr,threshold,duration_s,speech_s,reasons,error\r\n",
          out);
}

void print_csv_row(FILE *out, const struct file_report *r)
{
    const struct detection *d = &r->detection;
    csv_cell(out, r->path);
    fprintf(out, ",%s,", r->sha256);
    if (r->error.code != ERR_OK) {
        fprintf(out, "failed,,,,,,,%s\r\n", err_slug(r->error.code));
        return;
    }
    fprintf(out, "%s,", verdict_name(d->verdict));
    if (d->scored)
        fprintf(out, "%.4f,%.4f,", d->p, d->llr);
    else
        fputs(",,", out);
    fprintf(out, "%.4f,%.3f,%.3f,", d->threshold, d->duration_s, d->speech_s);
    for (size_t i = 0; i < d->n_reasons; i++)
        fprintf(out, "%s%s", i ? " " : "", reason_slug(d->reasons[i].code));
    fputs(",\r\n", out);
}

void print_json_line(FILE *out, const struct file_report *r, const struct detector *detector)
{
    json_t *json = file_report_json(r, detector);
    _cleanup_free_ char *text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    fputs(text ? text : "{}", out);
    fputc('\n', out);
}
