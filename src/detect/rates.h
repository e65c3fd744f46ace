/* How often a model was wrong on recordings like the one at hand: measured once, on a set that it
 * was not trained on, and stored with the weights (metadata "eval_groups"; train/rates.py writes
 * it).
 *
 * A group is all clips of that set that share a class: duration, channel, codec. Which class a
 * recording belongs to is seen from the recording alone. What is said of a group is its own: short
 * recordings may fail twice as often as the whole set does. Immutable after rates_new: any thread.
 */
#ifndef SONDE_DETECT_RATES_H
#define SONDE_DETECT_RATES_H

#include <jansson.h>

#include "../base/err.h"
#include "../media/media.h"
#include "result.h"

struct rates;

/* `text`: {"<by>": [{"name", "from_s"?, "below_s"?, "human", "synthetic", "false_alarm": [rate,
 * low, high], "miss": [rate, low, high]}, …]}; by is duration, channel, codec (as media_info calls
 * it), language; NULL gives NULL. ERR_MODEL when it is something else. */
enum err_code rates_new(const char *text, struct rates **ret, struct err *err) MUST_CHECK;
struct rates *rates_free(struct rates *rates);
/* The groups that the recording belongs to, most telling first: [{by, name, human, synthetic,
 * false_alarm, false_alarm_low, false_alarm_high, miss, miss_low, miss_high}]; rates are shares of
 * decided clips with their 95 % intervals. Empty where nothing was measured. The caller owns it. */
json_t *rates_json(const struct rates *rates, const struct detection *detection,
                   const struct media_info *media);
/* "narrow band" (telephone), "wide band", or NULL: unknown. A constant. */
const char *rates_channel(const struct detection *detection);

#endif
