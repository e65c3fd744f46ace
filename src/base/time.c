/* Clocks, and RFC 3339 in both directions. The only state is the pair of clock readings that the
 * steady time starts from, taken before main. Any thread. */
#include "time.h"

#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <time.h>

#define LAST_MS 253402300799999 /* 9999-12-31T23:59:59.999Z */

static int64_t steady_offset_ms;

static int64_t read_ms(clockid_t clock)
{
    struct timespec ts;
    clock_gettime(clock, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

__attribute__((constructor)) static void take_offset(void)
{
    steady_offset_ms = read_ms(CLOCK_REALTIME) - read_ms(CLOCK_MONOTONIC);
}

int64_t time_now_ms(void)
{
    return read_ms(CLOCK_REALTIME);
}

int64_t time_steady_ms(void)
{
    return steady_offset_ms + read_ms(CLOCK_MONOTONIC);
}

void time_format(int64_t ms, char ret[TIME_TEXT])
{
    ms = ms < 0 ? 0 : ms > LAST_MS ? LAST_MS : ms;
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm = {0};
    gmtime_r(&seconds, &tm);
    /* The divisors tell the compiler that the widths hold. */
    snprintf(ret, TIME_TEXT, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ",
             (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)(tm.tm_mon + 1) % 100,
             (unsigned)tm.tm_mday % 100, (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100,
             (unsigned)tm.tm_sec % 100, (unsigned)(ms % 1000));
}

/* Exactly `digits` digits with a value of min..max; moves *s behind them. */
static int number(const char **s, int digits, int min, int max, int *ret)
{
    int value = 0;
    for (int i = 0; i < digits; i++) {
        if (!isdigit((unsigned char)(*s)[i]))
            return -1;
        value = value * 10 + ((*s)[i] - '0');
    }
    if (value < min || value > max)
        return -1;
    *s += digits;
    *ret = value;
    return 0;
}

static int literal(const char **s, char c)
{
    if (**s != c)
        return -1;
    (*s)++;
    return 0;
}

static int month_days(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

static int parse_date(const char **s, struct tm *tm)
{
    int year, month, day;
    if (number(s, 4, 0, 9999, &year) < 0 || literal(s, '-') < 0 ||
        number(s, 2, 1, 12, &month) < 0 || literal(s, '-') < 0 ||
        number(s, 2, 1, month_days(year, month), &day) < 0)
        return -1;
    tm->tm_year = year - 1900;
    tm->tm_mon = month - 1;
    tm->tm_mday = day;
    return 0;
}

/* ".123": milliseconds; what is finer is cut off. */
static int parse_fraction(const char **s, int *ret_ms)
{
    *ret_ms = 0;
    if (**s != '.')
        return 0;
    (*s)++;
    if (!isdigit((unsigned char)**s))
        return -1;
    for (int unit = 100; isdigit((unsigned char)**s); (*s)++, unit /= 10)
        *ret_ms += (**s - '0') * unit;
    return 0;
}

static int parse_offset(const char **s, int *ret_minutes)
{
    *ret_minutes = 0;
    char c = **s;
    if (c == 'Z' || c == 'z') {
        (*s)++;
        return 0;
    }
    int hours, minutes;
    if (c != '+' && c != '-')
        return -1;
    (*s)++;
    if (number(s, 2, 0, 23, &hours) < 0 || literal(s, ':') < 0 || number(s, 2, 0, 59, &minutes) < 0)
        return -1;
    *ret_minutes = (c == '-' ? -1 : 1) * (hours * 60 + minutes);
    return 0;
}

int time_parse(const char *text, int64_t *ret_ms)
{
    struct tm tm = {0};
    int ms = 0, offset = 0;
    const char *s = text;
    if (!s || parse_date(&s, &tm) < 0)
        return -1;
    if (*s) {
        if (*s != 'T' && *s != 't' && *s != ' ')
            return -1;
        s++;
        /* A second of 60 (a leap second) counts as the first one of the next minute. */
        if (number(&s, 2, 0, 23, &tm.tm_hour) < 0 || literal(&s, ':') < 0 ||
            number(&s, 2, 0, 59, &tm.tm_min) < 0 || literal(&s, ':') < 0 ||
            number(&s, 2, 0, 60, &tm.tm_sec) < 0 || parse_fraction(&s, &ms) < 0 ||
            parse_offset(&s, &offset) < 0 || *s)
            return -1;
    }
    *ret_ms = ((int64_t)timegm(&tm) - (int64_t)offset * 60) * 1000 + ms;
    return 0;
}

void time_clock(char *buf, size_t size, double seconds)
{
    long s = (long)(seconds + 0.5);
    if (s >= 3600)
        snprintf(buf, size, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(buf, size, "%ld:%02ld", s / 60, s % 60);
}
