/* Group commit.
 *
 * A commit that survives a power cut waits for the disk (milliseconds), and perhaps for a network;
 * its statements take microseconds. So callers queue up, and whoever finds nobody leading leads: it
 * takes all that wait, has the driver run them in one transaction, wakes the others and hands the
 * lead to the next that waits. While one group waits for the disk the next one gathers.
 *
 * Threads: any. `run` and `after` belong to the leader. */
#include "db_group.h"

#include <assert.h>

void db_group_init(struct db_group *group, void *impl,
                   void (*run)(void *impl, struct db_write **list, size_t n),
                   void (*after)(void *impl))
{
    *group = (struct db_group){.impl = impl, .run = run, .after = after};
    pthread_mutex_init(&group->lock, NULL);
    pthread_cond_init(&group->idle, NULL);
}

void db_group_free(struct db_group *group)
{
    pthread_cond_destroy(&group->idle);
    pthread_mutex_destroy(&group->lock);
}

void db_group_drain(struct db_group *group)
{
    pthread_mutex_lock(&group->lock);
    while (group->leading || group->first)
        pthread_cond_wait(&group->idle, &group->lock);
    pthread_mutex_unlock(&group->lock);
}

void db_group_settle(struct db_write **list, size_t n, enum err_code code, const struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        list[i]->code = code;
        list[i]->err = *err;
    }
}

/* Takes and leaves with the lock held. `me` is the first in the queue. */
static void lead(struct db_group *group, struct db_write *me)
{
    struct db_write *list[DB_GROUP_MAX];
    size_t n = 0;
    while (group->first && n < DB_GROUP_MAX) {
        list[n++] = group->first;
        group->first = group->first->next;
    }
    if (!group->first)
        group->last = NULL;
    assert(list[0] == me);
    pthread_mutex_unlock(&group->lock);
    group->run(group->impl, list, n);
    pthread_mutex_lock(&group->lock);
    me->state = DB_WRITE_DONE;
    for (size_t i = 1; i < n; i++) { /* afterwards it may be gone: it lives on its own stack */
        list[i]->state = DB_WRITE_DONE;
        pthread_cond_signal(&list[i]->wake);
    }
    if (group->after) {
        pthread_mutex_unlock(&group->lock);
        group->after(group->impl);
        pthread_mutex_lock(&group->lock);
    }
    if (group->first) {
        group->first->state = DB_WRITE_LEADS;
        pthread_cond_signal(&group->first->wake);
    } else {
        group->leading = 0;
        pthread_cond_broadcast(&group->idle);
    }
}

enum err_code db_group_transact(struct db_group *group, enum db_durability durability,
                                db_work *work, void *ctx, struct err *err)
{
    struct db_write me = {.work = work, .ctx = ctx, .durability = durability};
    pthread_cond_init(&me.wake, NULL);
    pthread_mutex_lock(&group->lock);
    if (group->last)
        group->last->next = &me;
    else
        group->first = &me;
    group->last = &me;
    if (!group->leading) {
        group->leading = 1;
        me.state = DB_WRITE_LEADS;
    }
    while (me.state == DB_WRITE_WAITS)
        pthread_cond_wait(&me.wake, &group->lock);
    if (me.state == DB_WRITE_LEADS)
        lead(group, &me);
    pthread_mutex_unlock(&group->lock);
    pthread_cond_destroy(&me.wake);
    if (me.code && err)
        *err = me.err;
    return me.code;
}
