/* The decoders that may be used: what recordings of speech are kept in, and no codecs of video
 * games. Every codec left out is code that a hostile file cannot reach. Where FFmpeg has several
 * decoders the table may name one: libspeex comes closer to the original than FFmpeg's own
 * (correlation 0.96 against 0.92). Filled before fork, read-only after. */
#include "codecs.h"

#include <libavutil/bprint.h>
#include <libavutil/mem.h>

#include "../../base/mem.h"

static const struct {
    enum AVCodecID id;
    const char *name; /* NULL: FFmpeg's first choice */
} codecs[] = {
    {AV_CODEC_ID_PCM_S16LE, NULL},
    {AV_CODEC_ID_PCM_S16BE, NULL},
    {AV_CODEC_ID_PCM_U16LE, NULL},
    {AV_CODEC_ID_PCM_U16BE, NULL},
    {AV_CODEC_ID_PCM_S8, NULL},
    {AV_CODEC_ID_PCM_U8, NULL},
    {AV_CODEC_ID_PCM_MULAW, NULL},
    {AV_CODEC_ID_PCM_ALAW, NULL},
    {AV_CODEC_ID_PCM_S32LE, NULL},
    {AV_CODEC_ID_PCM_S32BE, NULL},
    {AV_CODEC_ID_PCM_U32LE, NULL},
    {AV_CODEC_ID_PCM_U32BE, NULL},
    {AV_CODEC_ID_PCM_S24LE, NULL},
    {AV_CODEC_ID_PCM_S24BE, NULL},
    {AV_CODEC_ID_PCM_U24LE, NULL},
    {AV_CODEC_ID_PCM_U24BE, NULL},
    {AV_CODEC_ID_PCM_F32LE, NULL},
    {AV_CODEC_ID_PCM_F32BE, NULL},
    {AV_CODEC_ID_PCM_F64LE, NULL},
    {AV_CODEC_ID_PCM_F64BE, NULL},
    {AV_CODEC_ID_PCM_S64LE, NULL},
    {AV_CODEC_ID_PCM_S64BE, NULL},
    {AV_CODEC_ID_PCM_S16LE_PLANAR, NULL},
    {AV_CODEC_ID_PCM_S24LE_PLANAR, NULL},
    {AV_CODEC_ID_PCM_S32LE_PLANAR, NULL},
    {AV_CODEC_ID_PCM_S16BE_PLANAR, NULL},
    {AV_CODEC_ID_PCM_BLURAY, NULL},
    {AV_CODEC_ID_PCM_DVD, NULL},
    {AV_CODEC_ID_ADPCM_IMA_WAV, NULL},
    {AV_CODEC_ID_ADPCM_IMA_QT, NULL},
    {AV_CODEC_ID_ADPCM_MS, NULL},
    {AV_CODEC_ID_ADPCM_SWF, NULL},
    {AV_CODEC_ID_ADPCM_YAMAHA, NULL},
    {AV_CODEC_ID_ADPCM_G722, NULL},
    {AV_CODEC_ID_ADPCM_G726, NULL},
    {AV_CODEC_ID_ADPCM_G726LE, NULL},
    {AV_CODEC_ID_ADPCM_CT, NULL},
    {AV_CODEC_ID_ADPCM_SBPRO_2, NULL},
    {AV_CODEC_ID_ADPCM_SBPRO_3, NULL},
    {AV_CODEC_ID_ADPCM_SBPRO_4, NULL},
    {AV_CODEC_ID_GSM, NULL},
    {AV_CODEC_ID_GSM_MS, NULL},
    {AV_CODEC_ID_AMR_NB, NULL},
    {AV_CODEC_ID_AMR_WB, NULL},
    {AV_CODEC_ID_G729, NULL},
    {AV_CODEC_ID_G723_1, NULL},
    {AV_CODEC_ID_QCELP, NULL},
    {AV_CODEC_ID_EVRC, NULL},
    {AV_CODEC_ID_SPEEX, "libspeex"},
    {AV_CODEC_ID_ILBC, NULL},
    {AV_CODEC_ID_TRUESPEECH, NULL},
    {AV_CODEC_ID_DSS_SP, NULL},
    {AV_CODEC_ID_NELLYMOSER, NULL},
    {AV_CODEC_ID_MP1, NULL},
    {AV_CODEC_ID_MP2, NULL},
    {AV_CODEC_ID_MP3, NULL},
    {AV_CODEC_ID_AAC, NULL},
    {AV_CODEC_ID_AAC_LATM, NULL},
    {AV_CODEC_ID_AC3, NULL},
    {AV_CODEC_ID_EAC3, NULL},
    {AV_CODEC_ID_DTS, NULL},
    {AV_CODEC_ID_OPUS, NULL},
    {AV_CODEC_ID_VORBIS, NULL},
    {AV_CODEC_ID_FLAC, NULL},
    {AV_CODEC_ID_ALAC, NULL},
    {AV_CODEC_ID_APE, NULL},
    {AV_CODEC_ID_WAVPACK, NULL},
    {AV_CODEC_ID_TTA, NULL},
    {AV_CODEC_ID_TAK, NULL},
    {AV_CODEC_ID_MUSEPACK7, NULL},
    {AV_CODEC_ID_MUSEPACK8, NULL},
    {AV_CODEC_ID_WMAV1, NULL},
    {AV_CODEC_ID_WMAV2, NULL},
    {AV_CODEC_ID_WMAPRO, NULL},
    {AV_CODEC_ID_WMALOSSLESS, NULL},
    {AV_CODEC_ID_WMAVOICE, NULL},
    {AV_CODEC_ID_COOK, NULL},
    {AV_CODEC_ID_RA_144, NULL},
    {AV_CODEC_ID_RA_288, NULL},
    {AV_CODEC_ID_SIPR, NULL},
    {AV_CODEC_ID_SHORTEN, NULL},
};

const AVCodec *codecs_find(enum AVCodecID id)
{
    for (size_t i = 0; i < ARRAY_LEN(codecs); i++) {
        if (codecs[i].id != id)
            continue;
        const AVCodec *named = codecs[i].name ? avcodec_find_decoder_by_name(codecs[i].name) : NULL;
        return named ? named : avcodec_find_decoder(id);
    }
    return NULL;
}

const char *codecs_list(void)
{
    static char *list;
    if (list)
        return list;
    AVBPrint text;
    av_bprint_init(&text, 0, AV_BPRINT_SIZE_UNLIMITED);
    for (size_t i = 0; i < ARRAY_LEN(codecs); i++) {
        const AVCodec *codec = codecs_find(codecs[i].id);
        if (codec)
            av_bprintf(&text, "%s%s", text.len ? "," : "", codec->name);
    }
    if (av_bprint_finalize(&text, &list) < 0)
        list = NULL;
    return list;
}

void codecs_warm_up(void)
{
    static const enum AVCodecID common[] = {AV_CODEC_ID_MP3, AV_CODEC_ID_AAC, AV_CODEC_ID_OPUS,
                                            AV_CODEC_ID_FLAC};
    for (size_t i = 0; i < ARRAY_LEN(common); i++) {
        const AVCodec *codec = codecs_find(common[i]);
        AVCodecContext *context = codec ? avcodec_alloc_context3(codec) : NULL;
        if (!context)
            continue;
        context->thread_count = 1;
        context->sample_rate = 48000;
        av_channel_layout_default(&context->ch_layout, 2);
        int failed = avcodec_open2(context, codec, NULL);
        (void)failed; /* some want extradata; the tables are made all the same */
        avcodec_free_context(&context);
    }
}
