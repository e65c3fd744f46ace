/* Recursive, sorted listing of a folder, with limits on depth and count. Any thread. */
#include "walk.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../base/mem.h"

enum err_code walk_list_add(struct walk_list *list, const char *path, struct err *err)
{
    if (try_grow(&list->paths, &list->cap, list->count, sizeof *list->paths, WALK_MAX_FILES) < 0)
        return err_set(err, ERR_LIMIT, "more than %d files", WALK_MAX_FILES);
    list->paths[list->count++] = xstrdup(path);
    return ERR_OK;
}

void walk_list_done(struct walk_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->paths[i]);
    free(list->paths);
    *list = (struct walk_list){0};
}

static int visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static enum err_code walk(const char *dir, int depth, walk_filter *filter, void *ctx,
                          struct walk_list *list, struct err *err);

static enum err_code visit(const char *dir, const char *name, int depth, walk_filter *filter,
                           void *ctx, struct walk_list *list, struct err *err)
{
    _cleanup_free_ char *path =
        xasprintf("%s%s%s", dir, dir[strlen(dir) - 1] == '/' ? "" : "/", name);
    struct stat st;
    if (lstat(path, &st) < 0)
        return ERR_OK; /* gone since the listing */
    if (S_ISDIR(st.st_mode))
        return walk(path, depth + 1, filter, ctx, list, err);
    if (S_ISLNK(st.st_mode) && stat(path, &st) < 0)
        return ERR_OK; /* dangling link */
    if (!S_ISREG(st.st_mode) || (filter && !filter(name, ctx)))
        return ERR_OK;
    return walk_list_add(list, path, err);
}

static enum err_code walk(const char *dir, int depth, walk_filter *filter, void *ctx,
                          struct walk_list *list, struct err *err)
{
    if (depth > WALK_MAX_DEPTH)
        return err_set(err, ERR_LIMIT, "%.150s: more than %d folders deep", dir, WALK_MAX_DEPTH);
    struct dirent **entries = NULL;
    int n = scandir(dir, &entries, visible, by_name);
    if (n < 0)
        return err_set_errno(err, err_from_errno(errno), errno, "cannot read folder %.150s", dir);
    enum err_code rc = ERR_OK;
    for (int i = 0; i < n; i++) {
        if (rc == ERR_OK)
            rc = visit(dir, entries[i]->d_name, depth, filter, ctx, list, err);
        free(entries[i]);
    }
    free(entries);
    return rc;
}

enum err_code walk_folder(const char *dir, walk_filter *filter, void *ctx, struct walk_list *list,
                          struct err *err)
{
    return walk(dir[0] ? dir : ".", 0, filter, ctx, list, err);
}
