/* The evaluation as a table for a terminal, at most 100 columns wide. Any thread. */
#include "report.h"

#include <math.h>
#include <stdarg.h>

#include "groups.h"
#include "utf8.h"

#define GROUPS_SHOWN 20
#define NAME_WIDTH   24

/* A share as per cent, or "-" where there is none. */
static void put_percent(FILE *f, double share, int width)
{
    if (isfinite(share))
        fprintf(f, " %*.2f", width - 1, 100 * share);
    else
        fprintf(f, " %*s", width - 1, "-");
}

/* "   2.16 [1.7-2.9]", at most 20 columns; filled up to that unless it ends the line. */
static void put_rate(FILE *f, struct rate r, int ends_line)
{
    put_percent(f, r.value, 7);
    char ci[32] = "";
    if (isfinite(r.value))
        snprintf(ci, sizeof ci, " [%.1f-%.1f]", 100 * r.lo, 100 * r.hi);
    fprintf(f, "%-*s", ends_line ? 0 : 13, ci);
}

static void put_figure(FILE *f, const char *name, double v, const char *format,
                       const char *note_fmt, ...) __attribute__((format(printf, 5, 6)));

static void put_figure(FILE *f, const char *name, double v, const char *format,
                       const char *note_fmt, ...)
{
    char value[32] = "-";
    if (isfinite(v))
        snprintf(value, sizeof value, format, v);
    fprintf(f, "  %-10s %9s", name, value);
    if (isfinite(v)) {
        va_list ap;
        va_start(ap, note_fmt);
        fputs("   ", f);
        vfprintf(f, note_fmt, ap);
        va_end(ap);
    }
    fputc('\n', f);
}

static void put_summary(FILE *f, const struct eval_result *r)
{
    const struct eval_counts *c = &r->counts;
    fprintf(f, "%zu files: %zu bona fide, %zu spoof; %zu inconclusive, %zu failed\n\n", c->n,
            c->n_bonafide, c->n_spoof, c->n_inconclusive, c->n_failed);
    fprintf(f, "Every file with a score (%zu bona fide, %zu spoof)\n", c->n_scored_bonafide,
            c->n_scored_spoof);
    put_figure(f, "EER", 100 * r->all.eer, "%.2f %%", "at LLR %.3f", r->all.eer_threshold);
    put_figure(f, "AUC", r->all.auc, "%.4f", "1 is perfect, 0.5 chance%s", "");
    put_figure(f, "Cllr", r->cllr, r->cllr < 1e4 ? "%.4f" : "%.3g",
               "bits; %.4f after the best recalibration (min Cllr)", r->min_cllr);
    put_figure(f, "DCF", r->act_dcf, "%.4f", "min %.4f; P(spoof) %g, costs %g false alarm, %g miss",
               r->min_dcf, r->params.dcf.prior, r->params.dcf.cost_fp, r->params.dcf.cost_fn);
    put_figure(f, "ECE", r->reliability.ece, "%.4f", "at prior %g", r->params.prior);
}

static void put_share(FILE *f, const char *name, struct rate r)
{
    put_figure(f, name, 100 * r.value, "%.2f %%", "%zu of %zu, 95 %% interval %.2f to %.2f %%", r.k,
               r.n, 100 * r.lo, 100 * r.hi);
}

static void put_verdicts(FILE *f, const struct eval_result *r)
{
    fputs("\nBy verdict\n", f);
    put_share(f, "FPR", r->counts.fpr);
    put_share(f, "FNR", r->counts.fnr);
    put_figure(f, "HTER", 100 * r->hter, "%.2f %%", "half of FPR + FNR");
    fputs("  FPR: bona fide called synthetic. FNR: spoof called human. "
          "Inconclusive files are left out.\n",
          f);
    if (r->counts.n_inconclusive == 0)
        return;
    fprintf(f, "  With every scored file decided at the threshold, LLR %.3f:\n",
            r->params.threshold);
    put_share(f, "FPR", r->forced_fpr);
    put_share(f, "FNR", r->forced_fnr);
}

static void put_grouping(FILE *f, const char *name, const struct eval_grouping *by)
{
    char head[40];
    snprintf(head, sizeof head, "By %s", name);
    fputc('\n', f);
    utf8_put_cell(f, head, NAME_WIDTH);
    fprintf(f, "%8s%7s%7s%7s%7s  %-18s  %s\n", "bona f.", "spoof", "undec.", "EER %", "EERa %",
            "FPR % [95 %]", "FNR % [95 %]");
    for (size_t i = 0; i < by->count && i < GROUPS_SHOWN; i++) {
        const struct eval_group *g = &by->groups[i];
        utf8_put_cell(f, g->name, NAME_WIDTH);
        fprintf(f, "%8zu%7zu%7zu", g->counts.n_bonafide, g->counts.n_spoof,
                g->counts.n_inconclusive + g->counts.n_failed);
        put_percent(f, g->own.eer, 7);
        put_percent(f, g->vs_all_bonafide.eer, 7);
        put_rate(f, g->counts.fpr, 0);
        put_rate(f, g->counts.fnr, 1);
        fputc('\n', f);
    }
    if (by->count > GROUPS_SHOWN)
        fprintf(f, "… and %zu more\n", by->count - GROUPS_SHOWN);
}

enum err_code eval_report_text(const struct eval_result *r, FILE *f, struct err *err)
{
    if (r->params.title && r->params.title[0]) {
        utf8_put_cell(f, r->params.title, -100);
        fputc('\n', f);
    }
    put_summary(f, r);
    put_verdicts(f, r);
    int groups = 0;
    for (int i = 0; i < EVAL_BY_COUNT; i++)
        if (r->by[i].count > 0) {
            put_grouping(f, eval_by_name((enum eval_by)i), &r->by[i]);
            groups = 1;
        }
    if (groups)
        fputs("\nundec.: inconclusive and failed. EER: within the group. "
              "EERa: its spoof against all bona fide.\n",
              f);
    if (fflush(f) != 0 || ferror(f))
        return err_set(err, ERR_IO, "cannot write the report");
    return ERR_OK;
}
