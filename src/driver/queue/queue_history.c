/* What became of a message, told in itself. Any thread. */
#include "queue_history.h"

#include <jansson.h>
#include <stdint.h>
#include <string.h>

#include "../../base/time.h"
#include "../../base/utf8.h"

void queue_reason_tidy(const char *reason, char ret[QUEUE_REASON_MAX + 1])
{
    size_t used = 0;
    while (*reason) {
        uint32_t c = 0;
        size_t len = utf8_char(reason, &c);
        const char *from = len && !utf8_unprintable(c) ? reason : "?";
        size_t put = from == reason ? len : 1;
        if (used + put > QUEUE_REASON_MAX)
            break;
        memcpy(ret + used, from, put);
        used += put;
        reason += len ? len : 1;
    }
    ret[used] = 0;
}

char *queue_history_add(const char *history, const char *reason)
{
    char tidy[QUEUE_REASON_MAX + 1], at[TIME_TEXT];
    queue_reason_tidy(reason, tidy);
    time_format(time_now_ms(), at);
    json_t *list = json_loads(history ? history : "[]", 0, NULL);
    if (!json_is_array(list)) { /* damaged: the message matters more */
        json_decref(list);
        list = json_array();
    }
    json_t *entry = json_object();
    char *text = NULL;
    if (!json_object_set_new(entry, "at", json_string(at)) &&
        !json_object_set_new(entry, "reason", json_string(tidy)) &&
        !json_array_append(list, entry)) {
        while (json_array_size(list) > QUEUE_HISTORY_MAX)
            json_array_remove(list, 0);
        text = json_dumps(list, JSON_COMPACT);
    }
    json_decref(entry);
    json_decref(list);
    return text;
}

int queue_history_valid(const char *history)
{
    json_t *list = json_loads(history, JSON_REJECT_DUPLICATES, NULL);
    int valid = json_is_array(list);
    json_decref(list);
    return valid;
}
