/* How `sonde detect` shows its reports: a table for people, CSV, JSON lines. */
#ifndef SONDE_CLI_PRINT_H
#define SONDE_CLI_PRINT_H

#include <stdio.h>

#include "../detect/report.h"

void print_table_head(FILE *out, int color);
void print_table_row(FILE *out, const struct file_report *report, int color);
void print_csv_head(FILE *out);
void print_csv_row(FILE *out, const struct file_report *report);
void print_json_line(FILE *out, const struct file_report *report, const struct detector *detector);

/* Text from outside, safe for a terminal: control bytes and broken UTF-8 become '?'. */
void print_clean(FILE *out, const char *text);

#endif
