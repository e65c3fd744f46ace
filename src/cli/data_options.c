/* See data_options.h. Main thread, at the start of a command. */
#include "data_options.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const char *data_folder(const char *given)
{
    static char path[4096];
    const char *home = getenv("XDG_DATA_HOME");
    if (given && *given)
        return given;
    if (geteuid() == 0)
        return "/var/lib/sonde";
    if (home && *home == '/') {
        snprintf(path, sizeof path, "%s/sonde", home);
        return path;
    }
    home = getenv("HOME");
    snprintf(path, sizeof path, "%s/.local/share/sonde", home && *home ? home : ".");
    return path;
}
