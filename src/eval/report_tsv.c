/* One row per recording: what was said of it, next to what the manifest knew. Any thread. */
#include "report.h"

#include <math.h>

static void put_text(FILE *f, const char *s)
{
    for (; s && *s; s++)
        if (*s == '\t')
            fputs("\\t", f);
        else if (*s == '\n')
            fputs("\\n", f);
        else if (*s == '\r')
            fputs("\\r", f);
        else if (*s == '\\')
            fputs("\\\\", f);
        else
            fputc(*s, f);
}

static void put_number(FILE *f, const char *format, double v)
{
    fputc('\t', f);
    if (isfinite(v))
        fprintf(f, format, v);
}

static void put_row(FILE *f, const struct manifest *m, const struct eval_item *item)
{
    int scored = item->has_score && item->verdict != EVAL_FAILED;
    put_text(f, item->row->path);
    fprintf(f, "\t%s", eval_label_name(item->row->label));
    put_number(f, "%.9g", scored ? item->llr : NAN);
    put_number(f, "%.9g", scored ? item->p : NAN);
    fprintf(f, "\t%s", eval_verdict_name(item->verdict));
    put_number(f, "%.3f", item->duration_s > 0 ? item->duration_s : item->row->duration_s);
    put_number(f, "%.3f", item->speech_s);
    fputc('\t', f);
    put_text(f, item->reasons);
    fputc('\t', f);
    put_text(f, item->error);
    for (int c = 0; c < MANIFEST_TEXT_COLUMNS; c++)
        if (m->has[c]) {
            fputc('\t', f);
            put_text(f, item->row->text[c]);
        }
    fputc('\n', f);
}

enum err_code eval_scores_tsv(const struct manifest *m, const struct eval_item *items, size_t n,
                              FILE *f, struct err *err)
{
    fputs("path\tlabel\tllr\tp_synthetic\tverdict\tduration_s\tspeech_s\treasons\terror", f);
    for (int c = 0; c < MANIFEST_TEXT_COLUMNS; c++)
        if (m->has[c])
            fprintf(f, "\t%s", manifest_column_name((enum manifest_column)c));
    fputc('\n', f);
    for (size_t i = 0; i < n && !ferror(f); i++)
        put_row(f, m, &items[i]);
    if (fflush(f) != 0 || ferror(f))
        return err_set(err, ERR_IO, "cannot write the scores");
    return ERR_OK;
}
