/* Empty tasks per second through the pool: from outside, and from tasks that submit tasks. */
#include <stdio.h>
#include <stdlib.h>

#include "cas/base/clock.h"
#include "cas/base/pool.h"

enum { TASKS = 4 * 1000 * 1000 };

static struct pool *pool;

static int
nothing(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	(void)context, (void)arg, (void)worker, (void)err;
	return 0;
}

static int
spread(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	(void)context, (void)arg, (void)worker, (void)err;
	for (int i = 0; i < 1000; i++)
		if (pool_submit(pool, 1, nothing, NULL) < 0)
			return LARDER_ERR_NOMEM;
	return 0;
}

static void
measure(const char *what, unsigned workers, pool_fn fn, int count)
{
	struct pool_options options = { .workers = workers, .order = { POOL_FIFO, POOL_LIFO } };
	struct larder_err err = { 0 };
	int64_t start, ns;

	if (pool_open(&pool, &options, &err) < 0)
		exit(1);
	start = clock_mono_ns();
	for (int i = 0; i < count; i++)
		if (pool_submit(pool, 2, fn, NULL) < 0)
			exit(1);
	if (pool_wait(pool, &err) < 0)
		exit(1);
	ns = clock_mono_ns() - start;
	printf("%-14s %2u workers  %6.2f M tasks/s\n", what, workers, TASKS * 1e3 / (double)ns);
	pool_close(pool);
}

int
main(void)
{
	for (unsigned workers = 1; workers <= 8; workers *= 2) {
		measure("from outside", workers, nothing, TASKS);
		measure("from tasks", workers, spread, TASKS / 1000);
	}
	return 0;
}
