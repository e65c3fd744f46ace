/* Judges each recording named on the command line:
 *     cc detect.c $(pkg-config --cflags --libs sonde) -o detect && ./detect call.m4a
 */
#include <sonde.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    struct sonde_error error;
    sonde_detector *detector;
    if (sonde_open(NULL, &detector, &error) != SONDE_OK) {
        fprintf(stderr, "%s (%s)\n", error.text, error.hint);
        return 2;
    }
    int failed = 0;
    for (int i = 1; i < argc; i++) {
        sonde_result *result;
        if (sonde_detect_file(detector, argv[i], &result, &error) != SONDE_OK) {
            printf("%s: %s (%s)\n", argv[i], error.text, error.hint);
            failed = 1;
            continue;
        }
        printf("%s: %s", argv[i], sonde_verdict_name(sonde_result_verdict(result)));
        printf(", P(synthetic) %.2f, LLR %+.2f\n", sonde_result_p_synthetic(result),
               sonde_result_llr(result));
        const char *text;
        for (size_t r = 0; sonde_result_reason(result, r, &text); r++)
            printf("    %s\n", text);
        sonde_result_free(result);
    }
    sonde_close(detector);
    return failed;
}
