/* Runs every file of the given folders (or files) through a fuzz target, without libFuzzer: so that
 * the corpora are part of the normal tests, with any compiler. Prints TAP.
 *     replay FOLDER|FILE...
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int tests;

static void run_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data = NULL;
    size_t size = 0, cap = 0;
    if (!f) {
        printf("not ok %d - cannot open %s\n", ++tests, path);
        exit(1);
    }
    for (;;) {
        if (size == cap) {
            cap = cap ? 2 * cap : 65536;
            data = realloc(data, cap);
            if (!data)
                abort();
        }
        size_t n = fread(data + size, 1, cap - size, f);
        if (n == 0)
            break;
        size += n;
    }
    fclose(f);
    /* Exactly as large as the input, so that a sanitizer sees a byte read past it. */
    uint8_t *exact = malloc(size ? size : 1);
    if (!exact)
        abort();
    memcpy(exact, data, size);
    free(data);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    const char *name = strrchr(path, '/');
    printf("ok %d - %s\n", ++tests, name ? name + 1 : path);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        struct dirent **names;
        int n = scandir(argv[i], &names, NULL, alphasort);
        if (n < 0) {
            run_file(argv[i]);
            continue;
        }
        for (int k = 0; k < n; k++) {
            char path[4096];
            snprintf(path, sizeof path, "%s/%s", argv[i], names[k]->d_name);
            if (names[k]->d_name[0] != '.')
                run_file(path);
            free(names[k]);
        }
        free(names);
    }
    printf("1..%d\n", tests);
    return tests == 0;
}
