/* Which of FFmpeg's decoders may be used. */
#ifndef SONDE_MEDIA_DECODER_CODECS_H
#define SONDE_MEDIA_DECODER_CODECS_H

#include <libavcodec/avcodec.h>

/* The decoder for a codec, NULL when sonde does not read it. */
const AVCodec *codecs_find(enum AVCodecID id);
/* Their names, comma-separated, for AVFormatContext.codec_whitelist; NULL when memory is gone.
 * Made once, never freed. */
const char *codecs_list(void);
/* Opens and closes the common ones once, so that their tables exist before fork. */
void codecs_warm_up(void);

#endif
