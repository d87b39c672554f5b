/*
 * Workers and a queue of tasks.
 *
 * 1. Everything but the counter of bytes belongs to `lock`. It is never held
 *    while a callback of the caller runs.
 * 2. `queued` counts the tasks in the lists, `running` the workers that are
 *    inside a callback (task, idle or drop). With both zero nothing moves.
 * 3. `generation` grows when a task has run or an idle call has done something.
 *    A worker whose idle call answered 0 remembers the generation in which it
 *    was made; when all of them remember the present one, with nothing queued
 *    or running, nobody has anything left to do and the pool is settled.
 * 4. At most one wake-up is on its way (`waking`): the woken worker wakes the
 *    next one if there is work left. So a stream of small tasks costs a few
 *    wake-ups, not one each.
 * 5. Once `error.status` is set, tasks are handed to `drop` and none is run.
 */
#include "cas/base/pool.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "cas/base/err.h"
#include "cas/base/mem.h"

enum { TASKS_PER_BLOCK = 256 };

struct task {
	struct task *next;
	pool_fn fn;
	void *arg;
	uint64_t seq; /* order of submission */
};

struct block {
	struct block *next;
	struct task tasks[TASKS_PER_BLOCK];
};

struct list {
	struct task *first;
	struct task *last;
};

struct worker {
	struct pool *pool;
	pthread_t thread;
	unsigned number;
	uint64_t clean_at; /* generation in which the idle call had nothing to do */
};

struct pool {
	struct pool_options options; /* constant after pool_open() */
	unsigned workers_count;      /* constant after pool_open() */
	atomic_size_t bytes;

	pthread_mutex_t lock;
	pthread_cond_t work;    /* workers sleep here */
	pthread_cond_t settled; /* pool_wait() and pool_throttle() sleep here */
	struct list queue[POOL_RANKS_MAX];
	struct task *spare;
	struct block *blocks;
	uint64_t seq;
	uint64_t generation;
	uint64_t error_seq;
	size_t queued;
	unsigned running;
	unsigned sleeping;
	unsigned clean_count; /* workers with clean_at == generation */
	unsigned waiters;     /* in pool_wait() */
	unsigned throttled;   /* in pool_throttle() */
	bool waking;
	bool stop;
	struct larder_err error;
	struct worker workers[POOL_WORKERS_MAX];
};

/* ------------------------------------------------------------------------------------------
 * Tasks and lists; under the lock
 */

static struct task *
new_task(struct pool *pool)
{
	struct task *task;

	if (pool->spare == NULL) {
		struct block *block = mem_alloc(sizeof *block);

		if (block == NULL)
			return NULL;
		block->next = pool->blocks;
		pool->blocks = block;
		for (size_t i = 0; i < TASKS_PER_BLOCK; i++) {
			block->tasks[i].next = pool->spare;
			pool->spare = &block->tasks[i];
		}
	}
	task = pool->spare;
	pool->spare = task->next;
	return task;
}

static void
recycle(struct pool *pool, struct task *task)
{
	task->next = pool->spare;
	pool->spare = task;
}

static void
enqueue(struct pool *pool, unsigned rank, struct task *task)
{
	struct list *list = &pool->queue[rank];

	if (pool->options.order[rank] == POOL_LIFO || list->first == NULL) {
		task->next = list->first;
		list->first = task;
		if (task->next == NULL)
			list->last = task;
	} else {
		task->next = NULL;
		list->last->next = task;
		list->last = task;
	}
	pool->queued++;
}

static struct task *
dequeue(struct pool *pool)
{
	for (unsigned rank = 0; rank < POOL_RANKS_MAX; rank++) {
		struct list *list = &pool->queue[rank];
		struct task *task = list->first;

		if (task != NULL) {
			list->first = task->next;
			pool->queued--;
			return task;
		}
	}
	return NULL;
}

/* ------------------------------------------------------------------------------------------
 * State; under the lock
 */

static bool
failed(const struct pool *pool)
{
	return pool->error.status != LARDER_OK;
}

static bool
is_settled(const struct pool *pool)
{
	if (pool->queued > 0 || pool->running > 0)
		return false;
	return pool->options.idle == NULL || failed(pool)
	    || pool->clean_count == pool->workers_count;
}

static void
wake_one(struct pool *pool)
{
	if (pool->sleeping > 0 && !pool->waking) {
		pool->waking = true;
		pthread_cond_signal(&pool->work);
	}
}

/* Something changed that those outside, or sleeping workers' idle calls, may be waiting for. */
static void
look_whether_settled(struct pool *pool)
{
	if (pool->queued > 0 || pool->running > 0 || pool->waiters + pool->throttled == 0)
		return;
	if (is_settled(pool))
		pthread_cond_broadcast(&pool->settled);
	else if (pool->sleeping > 0)
		pthread_cond_broadcast(&pool->work); /* each is asked whether it has more */
}

static void
advance(struct pool *pool)
{
	pool->generation++;
	pool->clean_count = 0;
}

static void
fail(struct pool *pool, uint64_t seq, int status, const struct larder_err *cause)
{
	if (failed(pool) && pool->error_seq <= seq)
		return;
	if (cause != NULL)
		pool->error = *cause;
	else
		memset(&pool->error, 0, sizeof pool->error);
	pool->error.status = (enum larder_status)status;
	pool->error_seq = seq;
	if (pool->throttled + pool->waiters > 0)
		pthread_cond_broadcast(&pool->settled);
}

static void
look_at_cancel(struct pool *pool)
{
	struct larder_err cause = { 0 };

	if (pool->options.cancel == NULL || failed(pool)
	    || __atomic_load_n(pool->options.cancel, __ATOMIC_RELAXED) == 0)
		return;
	err_set(&cause, LARDER_ERR_CANCELLED, "interrupted");
	fail(pool, 0, LARDER_ERR_CANCELLED, &cause);
}

/* ------------------------------------------------------------------------------------------
 * The worker. The three steps below are called with the lock held, let it go
 * around the callback and hold it again when they return.
 */

static void
run_task(struct pool *pool, struct worker *worker, struct task *task, struct larder_err *err)
{
	struct task copy = *task;
	int rc;

	recycle(pool, task);
	pool->running++;
	if (pool->queued > 0)
		wake_one(pool);
	pthread_mutex_unlock(&pool->lock);

	err->status = LARDER_OK;
	err->sys_errno = 0;
	err->message[0] = err->hint[0] = '\0';
	rc = copy.fn(pool->options.context, copy.arg, worker->number, err);

	pthread_mutex_lock(&pool->lock);
	pool->running--;
	advance(pool);
	if (rc < 0)
		fail(pool, copy.seq, rc, err);
}

/* After a failure: everything that waits is given back to who made it. */
static void
drop_queue(struct pool *pool)
{
	struct list lists[POOL_RANKS_MAX];
	pool_drop_fn drop = pool->options.drop;

	memcpy(lists, pool->queue, sizeof lists);
	memset(pool->queue, 0, sizeof pool->queue);
	pool->queued = 0;
	pool->running++;
	pthread_mutex_unlock(&pool->lock);

	if (drop != NULL)
		for (unsigned rank = 0; rank < POOL_RANKS_MAX; rank++)
			for (struct task *t = lists[rank].first; t != NULL; t = t->next)
				drop(pool->options.context, t->arg);

	pthread_mutex_lock(&pool->lock);
	pool->running--;
	for (unsigned rank = 0; rank < POOL_RANKS_MAX; rank++)
		while (lists[rank].first != NULL) {
			struct task *task = lists[rank].first;

			lists[rank].first = task->next;
			recycle(pool, task);
		}
}

static void
run_idle(struct pool *pool, struct worker *worker, struct larder_err *err)
{
	uint64_t generation = pool->generation;
	int rc;

	pool->running++;
	pthread_mutex_unlock(&pool->lock);

	err->status = LARDER_OK;
	err->sys_errno = 0;
	err->message[0] = err->hint[0] = '\0';
	rc = pool->options.idle(pool->options.context, worker->number, err);

	pthread_mutex_lock(&pool->lock);
	pool->running--;
	if (rc < 0) {
		fail(pool, UINT64_MAX, rc, err); /* the error of a task says more */
	} else if (rc > 0) {
		advance(pool);
	} else {
		worker->clean_at = generation;
		if (generation == pool->generation)
			pool->clean_count++;
	}
}

static bool
wants_idle(const struct pool *pool, const struct worker *worker)
{
	return pool->options.idle != NULL && !failed(pool) && worker->clean_at != pool->generation
	    && pool->running + pool->waiters + pool->throttled > 0;
}

static void *
work(void *arg)
{
	struct worker *worker = arg;
	struct pool *pool = worker->pool;
	struct larder_err err = { 0 };
	bool moved = false; /* since the last sleep; who did not move need not tell anybody */

	pthread_mutex_lock(&pool->lock);
	while (!pool->stop) {
		struct task *task;

		look_at_cancel(pool);
		if (failed(pool) && pool->queued > 0) {
			drop_queue(pool);
			moved = true;
		} else if ((task = dequeue(pool)) != NULL) {
			run_task(pool, worker, task, &err);
			moved = true;
		} else if (wants_idle(pool, worker)) {
			run_idle(pool, worker, &err);
			moved = true;
		} else {
			if (moved)
				look_whether_settled(pool);
			moved = false;
			pool->sleeping++;
			pthread_cond_wait(&pool->work, &pool->lock);
			pool->sleeping--;
			pool->waking = false;
		}
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

/* ------------------------------------------------------------------------------------------
 * The outside
 */

unsigned
pool_processors(void)
{
	cpu_set_t set;
	int count;

	if (sched_getaffinity(0, sizeof set, &set) < 0)
		return 1;
	count = CPU_COUNT(&set);
	if (count < 1)
		return 1;
	return count > POOL_WORKERS_MAX ? POOL_WORKERS_MAX : (unsigned)count;
}

/* Signals belong to the caller's threads: workers start with all of them blocked. */
static int
start_workers(struct pool *pool, unsigned wanted, struct larder_err *err)
{
	sigset_t all, before;
	int code = 0;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_mutex_lock(&pool->lock); /* nobody starts before all are counted */
	while (code == 0 && pool->workers_count < wanted) {
		struct worker *worker = &pool->workers[pool->workers_count];

		worker->pool = pool;
		worker->number = pool->workers_count;
		worker->clean_at = UINT64_MAX;
		code = pthread_create(&worker->thread, NULL, work, worker);
		if (code == 0)
			pool->workers_count++;
	}
	pthread_mutex_unlock(&pool->lock);
	pthread_sigmask(SIG_SETMASK, &before, NULL);

	if (pool->workers_count == 0) {
		errno = code;
		return err_sys(err, "start a thread");
	}
	return LARDER_OK; /* fewer than wanted will do */
}

int
pool_open(struct pool **out, const struct pool_options *options, struct larder_err *err)
{
	unsigned wanted = options->workers > 0 ? options->workers : pool_processors();
	pthread_mutexattr_t attr;
	struct pool *pool;
	int rc;

	*out = NULL;
	pool = mem_zalloc(sizeof *pool);
	if (pool == NULL)
		return err_nomem(err);
	pool->options = *options;
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP);
	pthread_mutex_init(&pool->lock, &attr);
	pthread_mutexattr_destroy(&attr);
	pthread_cond_init(&pool->work, NULL);
	pthread_cond_init(&pool->settled, NULL);

	rc = start_workers(pool, wanted > POOL_WORKERS_MAX ? POOL_WORKERS_MAX : wanted, err);
	if (rc < 0) {
		pool_close(pool);
		return rc;
	}
	*out = pool;
	return LARDER_OK;
}

int
pool_submit(struct pool *pool, unsigned rank, pool_fn fn, void *arg)
{
	struct task *task;
	int rc = LARDER_OK;
	bool dropped;

	assert(rank < POOL_RANKS_MAX);
	pthread_mutex_lock(&pool->lock);
	dropped = failed(pool);
	if (!dropped) {
		task = new_task(pool);
		if (task == NULL) {
			rc = LARDER_ERR_NOMEM;
		} else {
			task->fn = fn;
			task->arg = arg;
			task->seq = ++pool->seq;
			enqueue(pool, rank, task);
			wake_one(pool);
		}
	}
	pthread_mutex_unlock(&pool->lock);

	if (dropped && pool->options.drop != NULL)
		pool->options.drop(pool->options.context, arg);
	return rc;
}

void
pool_charge(struct pool *pool, size_t bytes)
{
	atomic_fetch_add(&pool->bytes, bytes);
}

void
pool_uncharge(struct pool *pool, size_t bytes)
{
	size_t before = atomic_fetch_sub(&pool->bytes, bytes), max = pool->options.bytes_max;

	assert(before >= bytes);
	/* Exactly one call crosses the budget downwards, and it must find the lock free: who checks
	 * the counter before sleeping holds it. */
	if (max > 0 && before >= max && before - bytes < max) {
		pthread_mutex_lock(&pool->lock);
		if (pool->throttled > 0)
			pthread_cond_broadcast(&pool->settled);
		pthread_mutex_unlock(&pool->lock);
	}
}

bool
pool_over_budget(struct pool *pool)
{
	return pool->options.bytes_max > 0
	    && atomic_load(&pool->bytes) >= pool->options.bytes_max;
}

/* Lets go as well when the pool is settled: then nobody is left who could lower the count. */
void
pool_throttle(struct pool *pool)
{
	if (!pool_over_budget(pool))
		return;
	pthread_mutex_lock(&pool->lock);
	pool->throttled++;
	if (pool->options.idle != NULL && pool->sleeping > 0)
		pthread_cond_broadcast(&pool->work); /* idle calls may give back what is held */
	for (;;) {
		look_at_cancel(pool);
		if (!pool_over_budget(pool) || failed(pool) || is_settled(pool))
			break;
		pthread_cond_wait(&pool->settled, &pool->lock);
	}
	pool->throttled--;
	pthread_mutex_unlock(&pool->lock);
}

bool
pool_failed(struct pool *pool)
{
	bool answer;

	pthread_mutex_lock(&pool->lock);
	look_at_cancel(pool);
	answer = failed(pool);
	pthread_mutex_unlock(&pool->lock);
	return answer;
}

void
pool_fail(struct pool *pool, int status, const struct larder_err *cause)
{
	assert(status < 0);
	pthread_mutex_lock(&pool->lock);
	if (!failed(pool))
		fail(pool, 0, status, cause);
	pthread_mutex_unlock(&pool->lock);
}

int
pool_wait(struct pool *pool, struct larder_err *err)
{
	int rc;

	pthread_mutex_lock(&pool->lock);
	pool->waiters++;
	if (pool->options.idle != NULL && pool->sleeping > 0)
		pthread_cond_broadcast(&pool->work);
	while (!is_settled(pool))
		pthread_cond_wait(&pool->settled, &pool->lock);
	pool->waiters--;
	look_at_cancel(pool);
	rc = pool->error.status;
	if (rc < 0 && err != NULL)
		*err = pool->error;
	pthread_mutex_unlock(&pool->lock);
	return rc;
}

unsigned
pool_workers(const struct pool *pool)
{
	return pool->workers_count;
}

void
pool_close(struct pool *pool)
{
	if (pool == NULL)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->stop = true;
	pthread_cond_broadcast(&pool->work);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->workers_count; i++)
		pthread_join(pool->workers[i].thread, NULL);

	pthread_mutex_lock(&pool->lock);
	drop_queue(pool);
	pthread_mutex_unlock(&pool->lock);
	while (pool->blocks != NULL) {
		struct block *block = pool->blocks;

		pool->blocks = block->next;
		mem_free(block);
	}
	pthread_cond_destroy(&pool->settled);
	pthread_cond_destroy(&pool->work);
	pthread_mutex_destroy(&pool->lock);
	mem_free(pool);
}
