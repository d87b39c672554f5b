#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

/*
 * One line about a long call: done and total, rate, time left, new and known
 * bytes. It says nothing by itself: cli_watch() hands progress_update() to the
 * library only when stderr is a terminal, and out.c prints.
 */
#include "cas/larder.h"

void progress_begin(void);
/* For struct larder_watch. At most ten lines a second whatever the caller does. */
void progress_update(void *context, const struct larder_progress *progress);

#endif
