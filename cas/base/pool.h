#ifndef LARDER_POOL_H
#define LARDER_POOL_H

/*
 * Workers and a queue of tasks.
 *
 * 1. Tasks of a lower `rank` number run first; within a rank the last one
 *    submitted runs first when the rank is LIFO (walks: depth first, few open
 *    items) and the first one first when it is FIFO.
 * 2. A task may submit tasks. pool_wait() returns when nothing is queued or running.
 * 3. The first task that returns a negative status (by lowest submission time seen)
 *    stops the pool: tasks still queued are not run but handed to `drop`; the
 *    error is what pool_wait() returns.
 * 4. Bounded: pool_throttle(bytes) blocks the calling NON-worker until what is in
 *    flight is below the budget; pool_charge/pool_uncharge count bytes. Workers must
 *    not block on the budget (they would starve themselves): they look at
 *    pool_over_budget() and rather run lower-rank tasks first, which the order of
 *    ranks gives by itself.
 * 5. An idle callback, if set, is called by a worker that finds the queue empty while
 *    others still run, or while somebody is in pool_wait() or pool_throttle(); it may
 *    submit tasks; returns 1 if it did something, 0 if not, negative on error.
 *    pool_wait() returns only after every worker's idle call has answered 0 with nothing
 *    queued or running. After a failure it is not called any more.
 *
 * `worker` passed to tasks is 0 .. workers-1: for per-worker scratch.
 */
#include "cas/types.h"

struct pool;

enum pool_order { POOL_FIFO, POOL_LIFO };
enum { POOL_RANKS_MAX = 4, POOL_WORKERS_MAX = 64 };

typedef int (*pool_fn)(void *context, void *arg, unsigned worker, struct larder_err *err);
typedef void (*pool_drop_fn)(void *context, void *arg);
typedef int (*pool_idle_fn)(void *context, unsigned worker, struct larder_err *err);

struct pool_options {
	unsigned workers; /* 0 = one per processor this process may use */
	enum pool_order order[POOL_RANKS_MAX];
	size_t bytes_max; /* budget of what is in flight */
	void *context;    /* handed to every callback */
	pool_drop_fn drop;
	pool_idle_fn idle;
	const volatile int *cancel; /* non-zero: stop with CANCELLED; may be NULL */
};

LARDER_MUST_USE int pool_open(struct pool **out, const struct pool_options *options,
    struct larder_err *err);
/*
 * On NOMEM the task was not taken (drop is not called). After a failure tasks
 * are dropped at once, by the calling thread, and the answer is OK.
 */
LARDER_MUST_USE int pool_submit(struct pool *pool, unsigned rank, pool_fn fn, void *arg);
void pool_charge(struct pool *pool, size_t bytes);
void pool_uncharge(struct pool *pool, size_t bytes);
/* Returns below the budget, after a failure, and when nothing is left that could lower it. */
void pool_throttle(struct pool *pool);
bool pool_over_budget(struct pool *pool);
/* Has it failed or been cancelled? Producers ask, since submitting goes on without an error. */
bool pool_failed(struct pool *pool);
/* Stop from outside a task with this error (first wins). */
void pool_fail(struct pool *pool, int status, const struct larder_err *cause);
/* The pool can be used again afterwards, unless it failed. */
LARDER_MUST_USE int pool_wait(struct pool *pool, struct larder_err *err);
/* How many there are: fewer than asked for when the system gives no more threads. */
unsigned pool_workers(const struct pool *pool);
unsigned pool_processors(void); /* processors this process may run on */
/* Stops and joins; abandons what is queued (drop is called). NULL is fine. */
void pool_close(struct pool *pool);

#endif
