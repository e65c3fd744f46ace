/* From configuration to what a server is started with: the one place where src/conf meets src/role.
 */
#ifndef SONDE_CLI_SETTINGS_H
#define SONDE_CLI_SETTINGS_H

#include "../role/app.h"
#include "commands.h"

/* Of every command that works on a server's data. */
struct settings_options {
    struct conf *conf;  /* made before options_parse */
    const char *config; /* the file that was named, or NULL */
};
/* clang-format off */
#define SETTINGS_OPTION_ROWS(type) \
    {"config", 'c', OPTION_TEXT, offsetof(type, settings.config), "FILE", "SONDE_CONFIG", 0, 0, \
     "settings from this file (default: " CONF_DEFAULT_FILE ", when it is there)", "FILE"}, \
    SETTING_ROW(type, settings.conf, SERVER_DATA)
/* All flags of `sonde serve`, but those two. */
#define SERVE_SETTING_ROWS(type) \
    SETTING_ROW(type, settings.conf, SERVER_LISTEN), \
    SETTING_ROW(type, settings.conf, SERVER_ROLE), \
    SETTING_ROW(type, settings.conf, RETENTION_AUDIO), \
    SETTING_ROW(type, settings.conf, RETENTION_RESULTS), \
    SETTING_ROW(type, settings.conf, SERVER_UPLOAD_MAX), \
    SETTING_ROW(type, settings.conf, SERVER_QUEUE_MAX), \
    SETTING_ROW(type, settings.conf, SERVER_MIN_FREE), \
    SETTING_ROW(type, settings.conf, SERVER_HOSTS), \
    SETTING_ROW(type, settings.conf, SERVER_WORKERS), \
    SETTING_ROW(type, settings.conf, SERVER_DRAIN), \
    SETTING_ROW(type, settings.conf, LOG_FORMAT), \
    SETTING_ROW(type, settings.conf, LOG_LEVEL), \
    SETTING_ROW(type, settings.conf, SERVER_WEB), \
    ENGINE_SETTING_ROWS(type, settings.conf)
/* clang-format on */

/* Flags are in already; adds file, environment and secrets. What is wrong stands in the conf. */
void settings_load(const struct settings_options *options);
/* Tells errors and warnings on standard error; 0, or EXIT_USAGE when there are errors. */
int settings_tell(const struct conf *conf);

/* Texts are borrowed from the conf. Nothing can fail: the values were checked. */
void settings_app(const struct conf *conf, struct app_settings *ret);

#endif
