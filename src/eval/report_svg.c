/* The evaluation as one picture: DET curve, histogram of scores, and the figures below.
 *
 * Plain SVG 1.1 without scripts, links, fonts or style sheets, so it opens from disk, prints, and
 * may be put into a page. Colours are from Okabe and Ito's set, told apart by the colour-blind.
 * Text from outside (the title) goes through utf8_put_xml. Any thread.
 */
#include "report.h"

#include <math.h>

#include "../base/mem.h"
#include "utf8.h"

#define WIDTH      1120
#define HEIGHT     668
#define BLUE       "#0072B2" /* bona fide */
#define RED        "#D55E00" /* spoof */
#define INK        "#1f2933"
#define GREY       "#616e7c"
#define GRID       "#e4e7eb"
#define HIST_BINS  60
#define LLR_BOUND  1e9 /* the axis goes no further out */
#define AXIS_TICKS 64

struct panel {
    double x, y, w, h; /* of the plot area */
    double lo, hi;     /* of the horizontal axis; DET: of both, as probits */
};

/* Horizontal and vertical position of a DET rate, held inside the plot. */
static double det_at(const struct panel *p, double rate, int vertical)
{
    double v = metrics_probit(rate);
    v = v < p->lo ? p->lo : v > p->hi ? p->hi : v;
    double share = (v - p->lo) / (p->hi - p->lo);
    return vertical ? p->y + p->h - share * p->h : p->x + share * p->w;
}

static void put_label(FILE *f, double x, double y, int size, const char *colour, const char *anchor,
                      const char *text)
{
    fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" font-size=\"%d\" fill=\"%s\" text-anchor=\"%s\">", x, y,
            size, colour, anchor);
    utf8_put_xml(f, text, 120);
    fputs("</text>\n", f);
}

static void put_line(FILE *f, double x1, double y1, double x2, double y2, const char *style)
{
    fprintf(f, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" %s/>\n", x1, y1, x2, y2,
            style);
}

static void put_frame(FILE *f, const struct panel *p, const char *title, const char *x_axis,
                      const char *y_axis)
{
    fprintf(f,
            "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"none\" "
            "stroke=\"%s\"/>\n",
            p->x, p->y, p->w, p->h, GREY);
    fprintf(f,
            "<text x=\"%.1f\" y=\"%.1f\" font-size=\"14\" font-weight=\"bold\" fill=\"%s\">%s"
            "</text>\n",
            p->x, p->y - 14, INK, title);
    put_label(f, p->x + p->w / 2, p->y + p->h + 40, 12, INK, "middle", x_axis);
    double x = p->x - 48, y = p->y + p->h / 2;
    fprintf(f,
            "<text x=\"%.1f\" y=\"%.1f\" font-size=\"12\" fill=\"%s\" text-anchor=\"middle\" "
            "transform=\"rotate(-90 %.1f %.1f)\">%s</text>\n",
            x, y, INK, x, y, y_axis);
}

static void put_x_tick(FILE *f, const struct panel *p, double x, const char *text)
{
    put_line(f, x, p->y, x, p->y + p->h, "stroke=\"" GRID "\"");
    put_label(f, x, p->y + p->h + 18, 11, GREY, "middle", text);
}

static void put_y_tick(FILE *f, const struct panel *p, double y, const char *text)
{
    put_line(f, p->x, y, p->x + p->w, y, "stroke=\"" GRID "\"");
    put_label(f, p->x - 7, y + 4, 11, GREY, "end", text);
}

/* Down to 0.1 %, or 0.01 % where enough files make that a measurement; up to 60 %, or the whole
 * scale when a marker lies beyond 50 %. */
static void det_range(const struct eval_result *r, struct panel *p)
{
    size_t nb = r->scores.n_bona, ns = r->scores.n_spoof;
    double worst = fmax(r->all.eer, fmax(r->forced_fpr.value, r->forced_fnr.value));
    p->lo = metrics_probit((nb < ns ? nb : ns) >= 20000 ? 1e-4 : 1e-3);
    p->hi = metrics_probit(worst > 0.5 ? 0.995 : 0.6);
}

static void put_det_grid(FILE *f, const struct panel *p)
{
    static const double ticks[] = {0.01, 0.1, 0.5, 1, 2, 5, 10, 20, 40, 60, 80, 95, 99};
    for (size_t i = 0; i < ARRAY_LEN(ticks); i++) {
        double v = metrics_probit(ticks[i] / 100);
        if (v < p->lo - 1e-9 || v > p->hi + 1e-9)
            continue;
        char text[16];
        snprintf(text, sizeof text, "%g", ticks[i]);
        put_x_tick(f, p, det_at(p, ticks[i] / 100, 0), text);
        put_y_tick(f, p, det_at(p, ticks[i] / 100, 1), text);
    }
}

static void put_det_curve(FILE *f, const struct panel *p, const struct eval_result *r)
{
    fputs("<path fill=\"none\" stroke=\"" INK "\" stroke-width=\"2\" stroke-linejoin=\"round\" "
          "d=\"",
          f);
    for (size_t i = 0; i < r->n_roc; i = metrics_det_next(r->roc, r->n_roc, i, 0.005, 1e-5))
        fprintf(f, "%c%.1f %.1f", i ? 'L' : 'M', det_at(p, r->roc[i].fpr, 0),
                det_at(p, r->roc[i].fnr, 1));
    fputs("\"/>\n", f);
}

static void put_diamond(FILE *f, double x, double y)
{
    fprintf(f,
            "<path d=\"M%.1f %.1fl8 8l-8 8l-8 -8z\" fill=\"%s\" stroke=\"#ffffff\" "
            "stroke-width=\"1.5\"/>\n",
            x, y - 8, RED);
}

static void put_circle(FILE *f, double x, double y)
{
    fprintf(f,
            "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"%s\" stroke=\"#ffffff\" "
            "stroke-width=\"1.5\"/>\n",
            x, y, BLUE);
}

static void put_det_legend(FILE *f, const struct panel *p, const struct eval_result *r)
{
    /* In the corner that the curve stays away from. */
    double w = 290, x = p->x + p->w - w - 8, y = p->y + 8;
    if (r->all.eer > 0.1)
        x = p->x + 8, y = p->y + p->h - 78;
    fprintf(f,
            "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"70\" rx=\"4\" fill=\"#ffffff\" "
            "fill-opacity=\"0.9\" stroke=\"%s\"/>\n",
            x, y, w, GRID);
    char text[96];
    put_circle(f, x + 16, y + 16);
    snprintf(text, sizeof text, "EER %.2f %% at LLR %.3g", 100 * r->all.eer, r->all.eer_threshold);
    put_label(f, x + 30, y + 20, 11, INK, "start", text);
    put_diamond(f, x + 16, y + 37);
    snprintf(text, sizeof text, "threshold %.3g: FPR %.2f %%, FNR %.2f %%", r->params.threshold,
             100 * r->forced_fpr.value, 100 * r->forced_fnr.value);
    put_label(f, x + 30, y + 41, 11, INK, "start", text);
    put_line(f, x + 7, y + 58, x + 25, y + 58, "stroke=\"#9aa5b1\" stroke-dasharray=\"4 4\"");
    put_label(f, x + 30, y + 62, 11, INK, "start", "equal rates; 0 % is drawn on the edge");
}

static void put_note(FILE *f, const struct panel *p, const char *text)
{
    put_label(f, p->x + p->w / 2, p->y + p->h / 2, 14, GREY, "middle", text);
}

static void put_det(FILE *f, const struct eval_result *r)
{
    struct panel p = {90, 112, 450, 400, 0, 0};
    det_range(r, &p);
    put_det_grid(f, &p);
    put_frame(f, &p, "Errors at every threshold (DET, every scored file)",
              "FPR: bona fide called synthetic, %", "FNR: spoof called human, %");
    if (r->n_roc == 0) {
        put_note(f, &p, "needs scores of both classes");
        return;
    }
    put_line(f, p.x, p.y + p.h, p.x + p.w, p.y, "stroke=\"#9aa5b1\" stroke-dasharray=\"4 4\"");
    put_det_curve(f, &p, r);
    put_det_legend(f, &p, r);
    put_diamond(f, det_at(&p, r->forced_fpr.value, 0), det_at(&p, r->forced_fnr.value, 1));
    put_circle(f, det_at(&p, r->all.eer, 0), det_at(&p, r->all.eer, 1));
}

/* 1, 2 or 5 times a power of ten, about range / ticks. */
static double nice_step(double range, int ticks)
{
    double raw = range / ticks, power = pow(10, floor(log10(raw))), lead = raw / power;
    return power * (lead <= 1 ? 1 : lead <= 2 ? 2 : lead <= 5 ? 5 : 10);
}

static double quantile(const double *v, size_t n, double q)
{
    return v[(size_t)(q * (double)(n - 1) + 0.5)];
}

/* All but the outermost 0.2 % of either class, the threshold, and a margin. */
static void hist_range(const struct eval_result *r, struct panel *p)
{
    const struct score_set *s = &r->scores;
    double lo = r->params.threshold, hi = lo;
    if (s->n_bona) {
        lo = fmin(lo, quantile(s->bona, s->n_bona, 0.002));
        hi = fmax(hi, quantile(s->bona, s->n_bona, 0.998));
    }
    if (s->n_spoof) {
        lo = fmin(lo, quantile(s->spoof, s->n_spoof, 0.002));
        hi = fmax(hi, quantile(s->spoof, s->n_spoof, 0.998));
    }
    lo = fmax(fmin(lo, LLR_BOUND), -LLR_BOUND);
    hi = fmax(fmin(hi, LLR_BOUND), -LLR_BOUND);
    double margin = fmax(0.04 * (hi - lo), 1e-6 * fmax(fabs(lo), fabs(hi)));
    if (hi - lo < 1e-6)
        margin = fmax(margin, 1);
    p->lo = lo - margin;
    p->hi = hi + margin;
}

static double hist_at(const struct panel *p, double llr)
{
    double share = (llr - p->lo) / (p->hi - p->lo);
    return p->x + (share < 0 ? 0 : share > 1 ? 1 : share) * p->w;
}

static void put_hist_grid(FILE *f, const struct panel *p, double top)
{
    char text[32];
    double step = nice_step(p->hi - p->lo, 8), first = ceil(p->lo / step) * step;
    for (int i = 0; i < AXIS_TICKS && first + i * step <= p->hi; i++) {
        double v = first + i * step;
        snprintf(text, sizeof text, "%.5g", fabs(v) < step / 1e6 ? 0.0 : v);
        put_x_tick(f, p, hist_at(p, v), text);
    }
    step = nice_step(top, 5);
    for (int i = 0; i < AXIS_TICKS && i * step <= top; i++) {
        snprintf(text, sizeof text, "%g", 100 * i * step);
        put_y_tick(f, p, p->y + p->h - i * step / top * p->h, text);
    }
}

static double hist_peak(const size_t *counts, size_t n)
{
    size_t most = 0;
    for (int i = 0; i < HIST_BINS; i++)
        most = counts[i] > most ? counts[i] : most;
    return n ? (double)most / (double)n : 0;
}

static void put_hist_bars(FILE *f, const struct panel *p, const size_t *counts, size_t n,
                          double top, const char *colour)
{
    if (n == 0)
        return;
    double base = p->y + p->h, step = p->w / HIST_BINS;
    fprintf(f,
            "<path fill=\"%s\" fill-opacity=\"0.35\" stroke=\"%s\" stroke-width=\"1.5\" "
            "d=\"M%.1f %.1f",
            colour, colour, p->x, base);
    for (int i = 0; i < HIST_BINS; i++)
        fprintf(f, "V%.1fH%.1f", base - (double)counts[i] / (double)n / top * p->h,
                p->x + (i + 1) * step);
    fprintf(f, "V%.1fz\"/>\n", base);
}

/* One entry of the legend that ends at x; where the next one ends. */
static double put_hist_key(FILE *f, double x, double y, const char *colour, const char *name,
                           size_t n)
{
    char text[64];
    int len = snprintf(text, sizeof text, "%s (%zu)", name, n);
    put_label(f, x, y, 12, INK, "end", text);
    double left = x - 6.9 * len - 16;
    fprintf(f,
            "<rect x=\"%.1f\" y=\"%.1f\" width=\"11\" height=\"11\" fill=\"%s\" "
            "fill-opacity=\"0.35\" stroke=\"%s\"/>\n",
            left, y - 10, colour, colour);
    return left - 14;
}

static void put_threshold(FILE *f, const struct panel *p, double threshold)
{
    double x = hist_at(p, threshold);
    int right_half = x > p->x + p->w / 2;
    char text[48];
    snprintf(text, sizeof text, "threshold %.3g", threshold);
    put_line(f, x, p->y, x, p->y + p->h,
             "stroke=\"" INK "\" stroke-width=\"1.5\" stroke-dasharray=\"6 4\"");
    put_label(f, x + (right_half ? -7 : 7), p->y + 17, 12, INK, right_half ? "end" : "start", text);
}

static void put_hist(FILE *f, const struct eval_result *r)
{
    struct panel p = {650, 112, 430, 400, 0, 0};
    const struct score_set *s = &r->scores;
    size_t bona[HIST_BINS], spoof[HIST_BINS];
    hist_range(r, &p);
    metrics_histogram(s->bona, s->n_bona, p.lo, p.hi, bona, HIST_BINS);
    metrics_histogram(s->spoof, s->n_spoof, p.lo, p.hi, spoof, HIST_BINS);
    double peak = fmax(hist_peak(bona, s->n_bona), hist_peak(spoof, s->n_spoof));
    double top = peak > 0 ? 1.12 * peak : 1; /* room for the threshold's label */
    put_hist_grid(f, &p, top);
    put_hist_bars(f, &p, bona, s->n_bona, top, BLUE);
    put_hist_bars(f, &p, spoof, s->n_spoof, top, RED);
    put_frame(f, &p, "Scores", "log-likelihood ratio: human \xE2\x86\x90 0 \xE2\x86\x92 synthetic",
              "share of the class, %");
    double x = put_hist_key(f, p.x + p.w, p.y - 14, RED, "spoof", s->n_spoof);
    put_hist_key(f, x, p.y - 14, BLUE, "bona fide", s->n_bona);
    if (s->n_bona + s->n_spoof == 0)
        put_note(f, &p, "no scores");
    else
        put_threshold(f, &p, r->params.threshold);
}

static void put_card(FILE *f, int column, const char *name, const char *value, const char *line1,
                     const char *line2)
{
    double x = 40 + 178 * column, y = 584;
    put_line(f, x, y - 14, x, y + 62, "stroke=\"#cbd2d9\" stroke-width=\"2\"");
    put_label(f, x + 10, y - 2, 12, GREY, "start", name);
    fprintf(f,
            "<text x=\"%.1f\" y=\"%.1f\" font-size=\"21\" font-weight=\"bold\" fill=\"%s\">%s"
            "</text>\n",
            x + 10, y + 24, INK, value);
    put_label(f, x + 10, y + 43, 11, GREY, "start", line1);
    put_label(f, x + 10, y + 59, 11, GREY, "start", line2);
}

#define DASH "\xE2\x80\x93"

/* `format` of v, or `none` where there is no figure. */
static void format_value(char *text, size_t size, const char *format, double v, const char *none)
{
    if (isfinite(v))
        snprintf(text, size, format, v);
    else
        snprintf(text, size, "%s", none);
}

static void put_rate_card(FILE *f, int column, const char *name, struct rate rate, const char *who)
{
    char value[32], of[64], ci[64] = "";
    format_value(value, sizeof value, "%.2f %%", 100 * rate.value, DASH);
    snprintf(of, sizeof of, "%zu of %zu %s", rate.k, rate.n, who);
    if (rate.n)
        snprintf(ci, sizeof ci, "95 %%: %.2f to %.2f %%", 100 * rate.lo, 100 * rate.hi);
    put_card(f, column, name, value, of, ci);
}

static void put_cards(FILE *f, const struct eval_result *r)
{
    char value[32], line[64], note[64];
    format_value(value, sizeof value, "%.2f %%", 100 * r->all.eer, DASH);
    format_value(line, sizeof line, "at LLR %.3g", r->all.eer_threshold, "");
    put_card(f, 0, "EER", value, line, "every scored file");
    format_value(value, sizeof value, "%.4f", r->all.auc, DASH);
    put_card(f, 1, "AUC", value, "1 perfect, 0.5 chance", "every scored file");
    format_value(value, sizeof value, r->cllr < 1e4 ? "%.3f" : "%.3g", r->cllr, DASH);
    format_value(line, sizeof line, "min Cllr %.3f", r->min_cllr, "");
    put_card(f, 2, "Cllr, bits", value, line, "0 perfect, 1 no information");
    format_value(value, sizeof value, "%.3f", r->act_dcf, DASH);
    format_value(line, sizeof line, "min DCF %.3f", r->min_dcf, "");
    snprintf(note, sizeof note, "P %g, costs %g and %g", r->params.dcf.prior, r->params.dcf.cost_fp,
             r->params.dcf.cost_fn);
    put_card(f, 3, "DCF", value, line, note);
    put_rate_card(f, 4, "FPR, decided files", r->counts.fpr, "bona fide");
    put_rate_card(f, 5, "FNR, decided files", r->counts.fnr, "spoof");
}

static void put_head(FILE *f, const struct eval_result *r)
{
    const char *title = r->params.title && r->params.title[0] ? r->params.title : "Evaluation";
    const struct eval_counts *c = &r->counts;
    fprintf(f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
            "viewBox=\"0 0 %d %d\" role=\"img\" "
            "font-family=\"DejaVu Sans, Verdana, Helvetica, Arial, sans-serif\">\n<title>",
            WIDTH, HEIGHT, WIDTH, HEIGHT);
    utf8_put_xml(f, title, 200);
    fprintf(f, "</title>\n<rect width=\"%d\" height=\"%d\" fill=\"#ffffff\"/>\n", WIDTH, HEIGHT);
    fputs("<text x=\"40\" y=\"40\" font-size=\"20\" font-weight=\"bold\" fill=\"" INK "\">", f);
    utf8_put_xml(f, title, 80);
    fputs("</text>\n", f);
    char text[160];
    snprintf(text, sizeof text, "%zu files: %zu bona fide, %zu spoof; %zu inconclusive, %zu failed",
             c->n, c->n_bonafide, c->n_spoof, c->n_inconclusive, c->n_failed);
    put_label(f, 40, 62, 13, GREY, "start", text);
}

enum err_code eval_svg(const struct eval_result *r, FILE *f, struct err *err)
{
    put_head(f, r);
    put_det(f, r);
    put_hist(f, r);
    put_cards(f, r);
    fputs("</svg>\n", f);
    if (fflush(f) != 0 || ferror(f))
        return err_set(err, ERR_IO, "cannot write the picture");
    return ERR_OK;
}
