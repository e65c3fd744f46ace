/* Lists the files below a folder. */
#ifndef SONDE_OS_WALK_H
#define SONDE_OS_WALK_H

#include <stddef.h>

#include "../base/err.h"

#define WALK_MAX_FILES 5000000
#define WALK_MAX_DEPTH 64

struct walk_list {
    char **paths;
    size_t count, cap;
};

/* Whether `name` (without folders) belongs into the list. */
typedef int walk_filter(const char *name, void *ctx);

/* Appends the regular files below `dir`, each folder's entries by name (byte order), as
 * dir/sub/name. Hidden entries are left out; symbolic links to files are followed, to folders not,
 * so there are no loops. A folder that cannot be read is an error that names it. */
enum err_code walk_folder(const char *dir, walk_filter *filter, void *ctx, struct walk_list *list,
                          struct err *err) MUST_CHECK;
enum err_code walk_list_add(struct walk_list *list, const char *path, struct err *err) MUST_CHECK;
void walk_list_done(struct walk_list *list);

#endif
