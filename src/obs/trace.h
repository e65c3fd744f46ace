/* W3C trace context: the ids that tie a request, its jobs and its log lines together. */
#ifndef SONDE_OBS_TRACE_H
#define SONDE_OBS_TRACE_H

#define TRACE_ID_TEXT     33
#define TRACE_SPAN_TEXT   17
#define TRACE_PARENT_TEXT 56

struct trace {
    char trace_id[TRACE_ID_TEXT]; /* 32 lower-case hex digits, not all zero */
    char span_id[TRACE_SPAN_TEXT];
    int sampled;
};

/* From a traceparent header: same trace id, new span. NULL or an invalid one starts a new trace
 * (invalid: wrong length for version 00, upper case, all zeros, version ff). Versions above 00: the
 * first 55 characters count. */
void trace_begin(const char *traceparent, struct trace *ret);
/* "00-<trace>-<span>-01" */
void trace_format(const struct trace *trace, char ret[TRACE_PARENT_TEXT]);

#endif
