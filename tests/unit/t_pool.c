/*
 * cas/base/pool.c
 * FLAVOURS: release asan tsan
 */
#include "tests/harness.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "cas/base/err.h"
#include "cas/base/pool.h"
#include "tests/doubles/doubles.h"

/* What the callbacks of a case share; workers count here and the main thread asserts. */
struct scene {
	struct pool *pool;
	atomic_long run, dropped, idled, wrong;
	atomic_long held, flushed; /* for idle callbacks that give something back */
	atomic_bool gate;          /* tasks that wait for it */
	int fail_at;               /* tasks whose argument is at least this fail */
	pthread_mutex_t lock;
	long order[100];    /* lock */
	size_t order_count; /* lock */
	atomic_long per_worker[POOL_WORKERS_MAX];
};

static void
scene_start(struct scene *scene)
{
	memset(scene, 0, sizeof *scene);
	pthread_mutex_init(&scene->lock, NULL);
	scene->fail_at = 1 << 30;
}

static void *
argument(long n)
{
	return (void *)(intptr_t)n;
}

static void
count_drop(void *context, void *arg)
{
	struct scene *scene = context;

	(void)arg;
	atomic_fetch_add(&scene->dropped, 1);
}

static void
open_pool(struct scene *scene, struct pool_options options)
{
	struct larder_err err = { 0 };

	options.context = scene;
	options.drop = count_drop;
	assert_ok(pool_open(&scene->pool, &options, &err), &err);
}

static void
wait_for(atomic_bool *gate)
{
	while (!atomic_load(gate))
		sched_yield();
}

static int
count(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	struct scene *scene = context;

	atomic_fetch_add(&scene->run, 1);
	if (worker >= pool_workers(scene->pool))
		atomic_fetch_add(&scene->wrong, 1);
	atomic_fetch_add(&scene->per_worker[worker], 1);
	if ((intptr_t)arg >= scene->fail_at)
		return err_set(err, LARDER_ERR_CORRUPT, "task %ld", (long)(intptr_t)arg);
	return 0;
}

static int
spread(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	struct scene *scene = context;
	intptr_t depth = (intptr_t)arg;

	(void)worker, (void)err;
	atomic_fetch_add(&scene->run, 1);
	for (int i = 0; i < 3 && depth > 0; i++)
		if (pool_submit(scene->pool, (unsigned)depth % POOL_RANKS_MAX, spread,
			argument(depth - 1)) < 0)
			return LARDER_ERR_NOMEM;
	return 0;
}

static int
note_order(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	struct scene *scene = context;

	(void)worker, (void)err;
	pthread_mutex_lock(&scene->lock);
	scene->order[scene->order_count++] = (long)(intptr_t)arg;
	pthread_mutex_unlock(&scene->lock);
	return 0;
}

static int
hold_gate(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	struct scene *scene = context;

	(void)worker;
	atomic_fetch_add(&scene->run, 1);
	wait_for(&scene->gate);
	if ((intptr_t)arg >= scene->fail_at)
		return err_set(err, LARDER_ERR_CORRUPT, "gate %ld", (long)(intptr_t)arg);
	return 0;
}

static void
every_task_runs_once(void **state)
{
	(void)state;
	for (unsigned workers = 1; workers <= 8; workers *= 2) {
		struct scene scene;
		struct larder_err err = { 0 };

		scene_start(&scene);
		open_pool(&scene, (struct pool_options){ .workers = workers });
		assert_int_equal(pool_workers(scene.pool), workers);
		for (int round = 1; round <= 3; round++) { /* a pool can be waited for again */
			for (long i = 0; i < 5000; i++)
				assert_ok(
				    pool_submit(scene.pool, (unsigned)i % 4, count, argument(i)),
				    NULL);
			assert_ok(pool_wait(scene.pool, &err), &err);
			assert_int_equal(scene.run, 5000 * round);
		}
		assert_int_equal(scene.wrong, 0);
		assert_ok(pool_wait(scene.pool, &err), &err); /* with nothing to do */
		pool_close(scene.pool);
		assert_int_equal(scene.dropped, 0);
	}
}

static void
tasks_may_submit_tasks(void **state)
{
	struct larder_err err = { 0 };
	struct scene scene;

	(void)state;
	scene_start(&scene);
	open_pool(&scene, (struct pool_options){ .workers = 4, .order = { POOL_LIFO, POOL_FIFO } });
	assert_ok(pool_submit(scene.pool, 0, spread, argument(8)), NULL);
	assert_ok(pool_wait(scene.pool, &err), &err);
	assert_int_equal(scene.run, (6561 * 3 - 1) / 2); /* 1 + 3 + 9 + ... + 3^8 */
	pool_close(scene.pool);
}

static void
ranks_and_orders_decide_what_runs_next(void **state)
{
	static const long want[] = { 3, 2, 1, 11, 12, 13, 23, 22, 21, 31, 32, 33 };
	struct larder_err err = { 0 };
	struct scene scene;

	(void)state;
	scene_start(&scene);
	open_pool(&scene, (struct pool_options){ .workers = 1,
			      .order = { POOL_LIFO, POOL_FIFO, POOL_LIFO, POOL_FIFO } });
	assert_ok(pool_submit(scene.pool, 0, hold_gate, NULL), NULL);
	while (atomic_load(&scene.run) == 0)
		sched_yield();
	for (long i = 1; i <= 3; i++)
		for (unsigned rank = POOL_RANKS_MAX; rank-- > 0;)
			assert_ok(pool_submit(
				      scene.pool, rank, note_order, argument((long)rank * 10 + i)),
			    NULL);
	atomic_store(&scene.gate, true);
	assert_ok(pool_wait(scene.pool, &err), &err);
	assert_int_equal(scene.order_count, test_count(want));
	for (size_t i = 0; i < test_count(want); i++)
		assert_int_equal(scene.order[i], want[i]);
	pool_close(scene.pool);
}

static void
the_first_error_wins_and_the_rest_is_dropped(void **state)
{
	struct larder_err err = { 0 };
	struct scene scene;

	(void)state;
	scene_start(&scene);
	scene.fail_at = 100;
	open_pool(&scene, (struct pool_options){ .workers = 1 });
	assert_ok(pool_submit(scene.pool, 0, hold_gate, NULL), NULL);
	for (long i = 0; i < 1000; i++)
		assert_ok(pool_submit(scene.pool, 1, count, argument(i)), NULL);
	atomic_store(&scene.gate, true);
	assert_status(LARDER_ERR_CORRUPT, pool_wait(scene.pool, &err), &err);
	assert_string_equal(err.message, "task 100");
	assert_int_equal(scene.run, 1 + 101);
	assert_int_equal(scene.dropped, 1000 - 101);

	/* from now on tasks are dropped at once, and the error stays */
	assert_ok(pool_submit(scene.pool, 0, count, argument(0)), NULL);
	assert_int_equal(scene.dropped, 1000 - 101 + 1);
	assert_status(LARDER_ERR_CORRUPT, pool_wait(scene.pool, NULL), NULL);
	assert_int_equal(scene.run, 1 + 101);
	pool_close(scene.pool);
	assert_int_equal(scene.dropped, 1000 - 101 + 1);
}

/* Two tasks fail; the one that was submitted first is reported, although it fails last. */
static int
fail_in_turn(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	struct scene *scene = context;

	(void)worker;
	atomic_fetch_add(&scene->run, 1);
	if (arg == NULL) {
		while (atomic_load(&scene->dropped) == 0) /* the other one failed */
			sched_yield();
		return err_set(err, LARDER_ERR_IO, "early");
	}
	while (atomic_load(&scene->run) < 2)
		sched_yield();
	return err_set(err, LARDER_ERR_REMOTE, "late");
}

static void
among_errors_the_first_submitted_is_reported(void **state)
{
	struct larder_err err = { 0 };
	struct scene scene;

	(void)state;
	scene_start(&scene);
	open_pool(&scene, (struct pool_options){ .workers = 2 });
	assert_ok(pool_submit(scene.pool, 0, fail_in_turn, argument(0)), NULL);
	while (atomic_load(&scene.run) < 1)
		sched_yield();
	assert_ok(pool_submit(scene.pool, 0, fail_in_turn, argument(1)), NULL);
	while (atomic_load(&scene.dropped) == 0) {
		assert_ok(pool_submit(scene.pool, 3, count, NULL), NULL); /* until one is dropped */
		sched_yield();
	}
	assert_status(LARDER_ERR_IO, pool_wait(scene.pool, &err), &err);
	assert_string_equal(err.message, "early");
	pool_close(scene.pool);
}

static void
a_task_that_names_no_error_still_fails(void **state)
{
	struct larder_err err = { .message = "stale" };
	struct scene scene;

	(void)state;
	scene_start(&scene);
	open_pool(&scene, (struct pool_options){ .workers = 2 });
	pool_fail(scene.pool, LARDER_ERR_BUSY, NULL);
	assert_status(LARDER_ERR_BUSY, pool_wait(scene.pool, &err), &err);
	assert_int_equal(err.status, LARDER_ERR_BUSY);
	assert_string_equal(err.message, "");
	pool_close(scene.pool);
}

static void
failing_from_outside_stops_and_the_first_wins(void **state)
{
	struct larder_err cause = { 0 }, other = { 0 }, err = { 0 };
	struct scene scene;

	(void)state;
	scene_start(&scene);
	scene.fail_at = 0;
	open_pool(&scene, (struct pool_options){ .workers = 1 });
	assert_ok(pool_submit(scene.pool, 0, hold_gate, argument(7)), NULL);
	while (atomic_load(&scene.run) == 0)
		sched_yield();
	assert_ok(pool_submit(scene.pool, 0, count, NULL), NULL);
	err_set(&cause, LARDER_ERR_NO_SPACE, "committer: full");
	err_set(&other, LARDER_ERR_IO, "second");
	pool_fail(scene.pool, LARDER_ERR_NO_SPACE, &cause);
	pool_fail(scene.pool, LARDER_ERR_IO, &other);
	atomic_store(&scene.gate, true); /* the task that runs fails too, but later */
	assert_status(LARDER_ERR_NO_SPACE, pool_wait(scene.pool, &err), &err);
	assert_string_equal(err.message, "committer: full");
	assert_int_equal(scene.run, 1);
	assert_int_equal(scene.dropped, 1);
	pool_close(scene.pool);
}

static void
the_cancel_flag_is_looked_at(void **state)
{
	struct larder_err err = { 0 };
	struct scene scene;
	int flag = 0;

	(void)state;
	scene_start(&scene);
	open_pool(&scene, (struct pool_options){ .workers = 2, .cancel = &flag });
	assert_ok(pool_submit(scene.pool, 0, hold_gate, NULL), NULL);
	assert_ok(pool_submit(scene.pool, 0, hold_gate, NULL), NULL);
	while (atomic_load(&scene.run) < 2)
		sched_yield();
	for (int i = 0; i < 100; i++)
		assert_ok(pool_submit(scene.pool, 0, count, NULL), NULL);
	__atomic_store_n(&flag, 1, __ATOMIC_RELAXED);
	atomic_store(&scene.gate, true);
	assert_status(LARDER_ERR_CANCELLED, pool_wait(scene.pool, &err), &err);
	assert_message(&err, "interrupted");
	assert_int_equal(scene.run, 2);
	assert_int_equal(scene.dropped, 100);
	pool_close(scene.pool);

	/* set before anything happens */
	scene_start(&scene);
	open_pool(&scene, (struct pool_options){ .workers = 2, .cancel = &flag });
	assert_status(LARDER_ERR_CANCELLED, pool_wait(scene.pool, &err), &err);
	pool_close(scene.pool);
}

/* Idle calls: each worker keeps some of its tasks back and lets them go when asked. */
static int
keep_back(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	struct scene *scene = context;

	(void)arg, (void)err;
	atomic_fetch_add(&scene->run, 1);
	atomic_fetch_add(&scene->held, 1);
	atomic_fetch_add(&scene->per_worker[worker], 1);
	return 0;
}

static int
let_go(void *context, unsigned worker, struct larder_err *err)
{
	struct scene *scene = context;
	long n = atomic_exchange(&scene->per_worker[worker], 0);

	(void)err;
	atomic_fetch_add(&scene->idled, 1);
	atomic_fetch_sub(&scene->held, n);
	return n > 0;
}

static void
waiting_asks_every_worker_for_what_it_keeps(void **state)
{
	struct larder_err err = { 0 };
	struct scene scene;

	(void)state;
	scene_start(&scene);
	open_pool(&scene, (struct pool_options){ .workers = 4, .idle = let_go });
	for (int round = 0; round < 200; round++) {
		for (int i = 0; i < 1 + round % 20; i++)
			assert_ok(pool_submit(scene.pool, 0, keep_back, NULL), NULL);
		assert_ok(pool_wait(scene.pool, &err), &err);
		assert_int_equal(scene.held, 0);
	}
	pool_close(scene.pool);
}

static int
answer_nothing(void *context, unsigned worker, struct larder_err *err)
{
	struct scene *scene = context;

	(void)err;
	atomic_fetch_add(&scene->per_worker[worker], 1);
	return 0;
}

static void
every_worker_is_asked_even_when_nothing_was_done(void **state)
{
	struct larder_err err = { 0 };
	struct scene scene;

	(void)state;
	scene_start(&scene);
	open_pool(&scene, (struct pool_options){ .workers = 8, .idle = answer_nothing });
	assert_ok(pool_wait(scene.pool, &err), &err);
	for (unsigned i = 0; i < 8; i++)
		assert_true(atomic_load(&scene.per_worker[i]) >= 1);
	pool_close(scene.pool);
}

/* The idle call makes tasks out of nothing, a limited number of times. */
static int
make_tasks(void *context, unsigned worker, struct larder_err *err)
{
	struct scene *scene = context;

	(void)worker, (void)err;
	if (atomic_fetch_add(&scene->idled, 1) >= 50)
		return 0;
	for (int i = 0; i < 10; i++)
		if (pool_submit(scene->pool, 2, count, NULL) < 0)
			return LARDER_ERR_NOMEM;
	return 1;
}

static void
idle_calls_may_submit_tasks(void **state)
{
	struct larder_err err = { 0 };
	struct scene scene;

	(void)state;
	scene_start(&scene);
	open_pool(&scene, (struct pool_options){ .workers = 3, .idle = make_tasks });
	assert_ok(pool_submit(scene.pool, 0, count, NULL), NULL);
	assert_ok(pool_wait(scene.pool, &err), &err);
	assert_int_equal(scene.run, 501);
	pool_close(scene.pool);
}

static int
idle_fails(void *context, unsigned worker, struct larder_err *err)
{
	(void)context, (void)worker;
	return err_set(err, LARDER_ERR_IO, "cannot flush");
}

static void
an_idle_call_that_fails_stops_the_pool(void **state)
{
	struct larder_err err = { 0 };
	struct scene scene;

	(void)state;
	scene_start(&scene);
	open_pool(&scene, (struct pool_options){ .workers = 2, .idle = idle_fails });
	assert_status(LARDER_ERR_IO, pool_wait(scene.pool, &err), &err);
	assert_string_equal(err.message, "cannot flush");
	pool_close(scene.pool);
}

static int
give_back(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	struct scene *scene = context;

	(void)worker, (void)err;
	atomic_fetch_add(&scene->run, 1);
	pool_uncharge(scene->pool, (size_t)(intptr_t)arg);
	return 0;
}

static void
the_budget_holds_the_producer(void **state)
{
	struct larder_err err = { 0 };
	struct scene scene;

	(void)state;
	scene_start(&scene);
	open_pool(&scene, (struct pool_options){ .workers = 2, .bytes_max = 1000 });
	assert_false(pool_over_budget(scene.pool));
	for (int i = 0; i < 5000; i++) {
		pool_throttle(scene.pool);
		assert_false(pool_over_budget(scene.pool));
		pool_charge(scene.pool, 300);
		assert_ok(pool_submit(scene.pool, 0, give_back, argument(300)), NULL);
	}
	assert_ok(pool_wait(scene.pool, &err), &err);
	assert_int_equal(scene.run, 5000);
	pool_charge(scene.pool, 1000);
	assert_true(pool_over_budget(scene.pool));
	pool_throttle(scene.pool); /* nobody could lower it: does not wait for ever */
	pool_uncharge(scene.pool, 1);
	assert_false(pool_over_budget(scene.pool));
	pool_close(scene.pool);
}

static void
without_a_budget_nobody_waits(void **state)
{
	struct scene scene;

	(void)state;
	scene_start(&scene);
	open_pool(&scene, (struct pool_options){ .workers = 1 });
	pool_charge(scene.pool, SIZE_MAX / 2);
	assert_false(pool_over_budget(scene.pool));
	pool_throttle(scene.pool);
	pool_close(scene.pool);
}

/* What is in flight lies in the workers' hands, and only the idle call lets it go. */
static int
pocket(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	struct scene *scene = context;

	(void)err;
	atomic_fetch_add(&scene->per_worker[worker], (long)(intptr_t)arg);
	return 0;
}

static int
empty_pocket(void *context, unsigned worker, struct larder_err *err)
{
	struct scene *scene = context;
	long n = atomic_exchange(&scene->per_worker[worker], 0);

	(void)err;
	if (n == 0)
		return 0;
	pool_uncharge(scene->pool, (size_t)n);
	return 1;
}

static void
a_waiting_producer_gets_the_pockets_emptied(void **state)
{
	struct larder_err err = { 0 };
	struct scene scene;

	(void)state;
	scene_start(&scene);
	open_pool(
	    &scene, (struct pool_options){ .workers = 3, .bytes_max = 1000, .idle = empty_pocket });
	for (int i = 0; i < 2000; i++) {
		pool_throttle(scene.pool);
		assert_false(pool_over_budget(scene.pool));
		pool_charge(scene.pool, 400);
		assert_ok(pool_submit(scene.pool, 0, pocket, argument(400)), NULL);
	}
	assert_ok(pool_wait(scene.pool, &err), &err);
	pool_close(scene.pool);
}

static int
fail_now(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	(void)context, (void)arg, (void)worker;
	return err_set(err, LARDER_ERR_CORRUPT, "now");
}

static void
a_failure_frees_the_producer(void **state)
{
	struct larder_err err = { 0 };
	struct scene scene;

	(void)state;
	for (int round = 0; round < 50; round++) {
		scene_start(&scene);
		open_pool(&scene, (struct pool_options){ .workers = 2, .bytes_max = 10 });
		pool_charge(scene.pool, 10); /* and never given back */
		assert_ok(pool_submit(scene.pool, 0, fail_now, NULL), NULL);
		pool_throttle(scene.pool);
		assert_status(LARDER_ERR_CORRUPT, pool_wait(scene.pool, &err), &err);
		pool_close(scene.pool);
	}
}

static void
closing_drops_what_was_not_run(void **state)
{
	struct scene scene;

	(void)state;
	pool_close(NULL);
	for (int round = 0; round < 20; round++) {
		scene_start(&scene);
		open_pool(&scene, (struct pool_options){ .workers = 2 });
		for (int i = 0; i < 500; i++)
			assert_ok(pool_submit(scene.pool, 3, count, NULL), NULL);
		pool_close(scene.pool);
		assert_int_equal(scene.run + scene.dropped, 500);
	}
}

/* Everything at once: tasks that submit, fail now and then, idle calls, a cancelled end. */
static int
stormy(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	struct scene *scene = context;
	intptr_t n = (intptr_t)arg;

	(void)worker;
	atomic_fetch_add(&scene->run, 1);
	for (intptr_t i = 0; i < n % 3; i++) {
		atomic_fetch_add(&scene->held, 1);
		if (pool_submit(scene->pool, (unsigned)i, stormy, argument(n / 2)) < 0)
			return LARDER_ERR_NOMEM;
	}
	if (n == scene->fail_at)
		return err_set(err, LARDER_ERR_REMOTE, "storm");
	return 0;
}

static void
nothing_is_lost_in_a_storm(void **state)
{
	(void)state;
	for (int round = 0; round < 100; round++) {
		struct larder_err err = { 0 };
		struct scene scene;
		int rc;

		scene_start(&scene);
		if (round % 2)
			scene.fail_at = 300 + round;
		open_pool(&scene, (struct pool_options){ .workers = 1 + (unsigned)round % 5,
				      .order = { POOL_LIFO, POOL_FIFO, POOL_LIFO },
				      .idle = answer_nothing });
		for (long i = 0; i < 500; i++) {
			atomic_fetch_add(&scene.held, 1);
			assert_ok(pool_submit(scene.pool, 3, stormy, argument(i)), NULL);
		}
		rc = pool_wait(scene.pool, &err);
		assert_status(round % 2 ? LARDER_ERR_REMOTE : LARDER_OK, rc, &err);
		assert_int_equal(scene.run + scene.dropped, scene.held);
		pool_close(scene.pool);
		assert_int_equal(scene.run + scene.dropped, scene.held);
	}
}

static void
out_of_memory_takes_nothing(void **state)
{
	struct larder_err err = { 0 };
	struct pool_options options = { .workers = 2 };
	struct scene scene;
	long taken = 0;

	(void)state;
	mem_faulty_set(1, false);
	assert_status(LARDER_ERR_NOMEM, pool_open(&scene.pool, &options, &err), &err);
	assert_null(scene.pool);

	scene_start(&scene);
	mem_faulty_set(3, true); /* the pool and one block of tasks */
	open_pool(&scene, (struct pool_options){ .workers = 1 });
	assert_ok(pool_submit(scene.pool, 0, hold_gate, NULL), NULL);
	while (atomic_load(&scene.run) == 0)
		sched_yield();
	while (pool_submit(scene.pool, 0, count, NULL) == LARDER_OK)
		taken++;
	assert_true(mem_faulty_failed());
	assert_int_equal(scene.dropped, 0);
	atomic_store(&scene.gate, true);
	assert_ok(pool_wait(scene.pool, &err), &err); /* the pool itself is well */
	assert_int_equal(scene.run, taken + 1);
	pool_close(scene.pool);
	assert_int_equal(mem_faulty_live(), 0);
}

static void
the_number_of_workers_is_bounded(void **state)
{
	struct scene scene;

	(void)state;
	assert_true(pool_processors() >= 1 && pool_processors() <= POOL_WORKERS_MAX);
	scene_start(&scene);
	open_pool(&scene, (struct pool_options){ .workers = 0 });
	assert_int_equal(pool_workers(scene.pool), pool_processors());
	pool_close(scene.pool);
	scene_start(&scene);
	open_pool(&scene, (struct pool_options){ .workers = 1000 });
	assert_true(pool_workers(scene.pool) <= POOL_WORKERS_MAX);
	pool_close(scene.pool);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(every_task_runs_once),
		test_case(tasks_may_submit_tasks),
		test_case(ranks_and_orders_decide_what_runs_next),
		test_case(the_first_error_wins_and_the_rest_is_dropped),
		test_case(among_errors_the_first_submitted_is_reported),
		test_case(a_task_that_names_no_error_still_fails),
		test_case(failing_from_outside_stops_and_the_first_wins),
		test_case(the_cancel_flag_is_looked_at),
		test_case(waiting_asks_every_worker_for_what_it_keeps),
		test_case(every_worker_is_asked_even_when_nothing_was_done),
		test_case(idle_calls_may_submit_tasks),
		test_case(an_idle_call_that_fails_stops_the_pool),
		test_case(the_budget_holds_the_producer),
		test_case(without_a_budget_nobody_waits),
		test_case(a_waiting_producer_gets_the_pockets_emptied),
		test_case(a_failure_frees_the_producer),
		test_case(closing_drops_what_was_not_run),
		test_case(nothing_is_lost_in_a_storm),
		test_case(out_of_memory_takes_nothing),
		test_case(the_number_of_workers_is_bounded),
	};

	return test_run(cases);
}
