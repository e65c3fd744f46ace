/* The data folder, for the commands that work on one. */
#ifndef SONDE_CLI_DATA_OPTIONS_H
#define SONDE_CLI_DATA_OPTIONS_H

/* Where sonde keeps its data when nobody says: /var/lib/sonde for root, else
 * $XDG_DATA_HOME/sonde or ~/.local/share/sonde. Valid for the life of the process. */
const char *data_folder(const char *given);

#define DATA_OPTION_ROW(type)                                                                      \
    {                                                                                              \
        "data", 'd', OPTION_TEXT, offsetof(type, data), "DIR", "SONDE_DATA", 0, 0,                 \
            "the data folder (default: /var/lib/sonde for root, else ~/.local/share/sonde)",       \
            "FILE"                                                                                 \
    }

#endif
