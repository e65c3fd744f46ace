/* Not a test: writes AMR, which Debian's ffmpeg can read but not write.
 *     amr_encode nb|wb IN.s16 OUT.amr      IN: raw 16-bit mono at 8 kHz (nb) or 16 kHz (wb)
 * File format: RFC 4867, section 5 (magic line, then one frame after the other). */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <opencore-amrnb/interf_enc.h>
#include <vo-amrwbenc/enc_if.h>

#define NB_FRAME 160 /* samples in 20 ms */
#define WB_FRAME 320

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    int wide = strcmp(argv[1], "wb") == 0;
    FILE *in = fopen(argv[2], "rb"), *out = fopen(argv[3], "wb");
    void *encoder = wide ? E_IF_init() : Encoder_Interface_init(0);
    if (!in || !out || !encoder)
        return 1;
    fputs(wide ? "#!AMR-WB\n" : "#!AMR\n", out);
    int16_t pcm[WB_FRAME];
    uint8_t frame[128];
    size_t n = wide ? WB_FRAME : NB_FRAME;
    while (fread(pcm, sizeof *pcm, n, in) == n) {
        int bytes = wide ? E_IF_encode(encoder, 8, pcm, frame, 0)
                         : Encoder_Interface_Encode(encoder, MR122, pcm, frame, 0);
        if (bytes <= 0 || fwrite(frame, 1, (size_t)bytes, out) != (size_t)bytes)
            return 1;
    }
    if (wide)
        E_IF_exit(encoder);
    else
        Encoder_Interface_exit(encoder);
    fclose(in);
    return fclose(out) ? 1 : 0;
}
