/*
 * Decoded segments shared by threads: what is found, what goes when room is
 * needed, and who waits for whom.
 * FLAVOURS: release asan tsan
 */
#include "cas/segcache.h"

#include "tests/harness.h"

#include <pthread.h>
#include <stdatomic.h>

#include "tests/doubles/doubles.h"

static struct segcache *
open_cache(size_t bytes_max)
{
	struct segcache *cache;
	struct larder_err err = { 0 };

	assert_ok(segcache_open(&cache, bytes_max, &err), &err);
	return cache;
}

/* Takes it, loading it if it is not there: the bytes are all `at`. 1 = it was there. */
static int
take(struct segment **out, struct segcache *cache, uint32_t at, uint32_t len)
{
	int rc = segcache_take(out, cache, 1, at, NULL);

	if (rc != 0)
		return rc;
	if (segcache_room(*out, len, NULL) < 0)
		return -1;
	memset((*out)->data, (int)at, len);
	segcache_ready(cache, *out);
	return 0;
}

static void
what_was_loaded_is_there(void **state)
{
	struct segcache *cache = open_cache(1 << 20);
	struct segment *a, *b;

	(void)state;
	assert_int_equal(take(&a, cache, 5, 100), 0);
	assert_int_equal(take(&b, cache, 5, 100), 1); /* also while it is held */
	assert_ptr_equal(a, b);
	segcache_give(cache, a);
	segcache_give(cache, b);
	assert_int_equal(take(&a, cache, 5, 100), 1);
	assert_int_equal(a->data[99], 5);
	assert_int_equal(take(&b, cache, 6, 100), 0);
	segcache_give(cache, a);
	segcache_give(cache, b);
	segcache_give(cache, NULL);
	segcache_drop(cache, NULL);
	segcache_close(cache);
	segcache_close(NULL);
}

static void
the_one_not_used_for_longest_makes_room(void **state)
{
	struct segcache *cache = open_cache(3500);
	struct segment *s, *held;

	(void)state;
	for (uint32_t at = 1; at <= 3; at++) {
		assert_int_equal(take(&s, cache, at, 1000), 0);
		segcache_give(cache, s);
	}
	assert_int_equal(take(&held, cache, 1, 1000), 1); /* now 2 is the oldest, and 1 is held */
	assert_int_equal(take(&s, cache, 4, 1000), 0);
	segcache_give(cache, s);
	assert_int_equal(take(&s, cache, 2, 1000), 0);
	segcache_give(cache, s);
	assert_int_equal(take(&s, cache, 3, 1000), 0);
	segcache_give(cache, s);
	assert_int_equal(take(&s, cache, 1, 1000), 1);
	segcache_give(cache, s);
	segcache_give(cache, held);
	segcache_close(cache);
}

static void
what_is_held_stays_even_beyond_the_bound(void **state)
{
	struct segcache *cache = open_cache(100);
	struct segment *a, *b;

	(void)state;
	assert_int_equal(take(&a, cache, 1, 5000), 0);
	assert_int_equal(take(&b, cache, 2, 5000), 0);
	assert_int_equal(a->data[4999], 1);
	segcache_give(cache, b);
	segcache_give(cache, a);
	assert_int_equal(take(&a, cache, 1, 5000), 0); /* nothing above the bound is kept */
	segcache_give(cache, a);
	segcache_close(cache);
}

static void
who_gives_up_leaves_nothing(void **state)
{
	struct segcache *cache = open_cache(1 << 20);
	struct segment *s;

	(void)state;
	assert_int_equal(segcache_take(&s, cache, 1, 1, NULL), 0);
	segcache_drop(cache, s);
	assert_int_equal(segcache_take(&s, cache, 1, 1, NULL), 0);
	segcache_aside(cache, s);
	segcache_drop(cache, s);
	assert_int_equal(take(&s, cache, 1, 10), 0);
	segcache_give(cache, s);
	segcache_close(cache);
}

static void
two_may_load_what_was_set_aside_and_one_is_kept(void **state)
{
	struct segcache *cache = open_cache(1 << 20);
	struct segment *a, *b, *c;

	(void)state;
	assert_int_equal(segcache_take(&a, cache, 1, 1, NULL), 0);
	segcache_aside(cache, a);
	assert_int_equal(segcache_take(&b, cache, 1, 1, NULL), 0);
	segcache_aside(cache, b);
	assert_ok(segcache_room(a, 10, NULL), NULL);
	assert_ok(segcache_room(b, 10, NULL), NULL);
	segcache_ready(cache, b);
	segcache_ready(cache, a); /* too late: stays its loader's own */
	assert_int_equal(take(&c, cache, 1, 10), 1);
	assert_ptr_equal(c, b);
	segcache_give(cache, a);
	segcache_give(cache, b);
	segcache_give(cache, c);
	segcache_close(cache);
}

/* ---- threads ---- */

enum { THREADS = 6, ROUNDS = 3000, PLACES = 24 };

struct run {
	struct segcache *cache;
	atomic_int wrong, loads;
};

static void *
use(void *arg)
{
	struct run *run = arg;
	uint32_t seed = (uint32_t)(uintptr_t)pthread_self();

	for (int i = 0; i < ROUNDS; i++) {
		struct segment *s;
		uint32_t at, len;
		int rc;

		seed = seed * 1664525 + 1013904223;
		at = (seed >> 16) % PLACES + 1;
		len = 100 * at;
		rc = segcache_take(&s, run->cache, 1, at, NULL);
		if (rc == 0) {
			atomic_fetch_add(&run->loads, 1);
			if (seed % 7 == 0)
				segcache_aside(run->cache, s);
			if (seed % 11 == 0) {
				segcache_drop(run->cache, s);
				continue;
			}
			if (segcache_room(s, len, NULL) < 0)
				atomic_fetch_add(&run->wrong, 1);
			memset(s->data, (int)at, len);
			segcache_ready(run->cache, s);
		}
		if (rc < 0 || s->len != len || s->data[0] != at || s->data[len - 1] != at)
			atomic_fetch_add(&run->wrong, 1);
		segcache_give(run->cache, s);
	}
	return NULL;
}

static void
threads_see_whole_segments(void **state)
{
	struct run run = { .cache = open_cache(8000) };
	pthread_t threads[THREADS];

	(void)state;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, use, &run), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&run.wrong), 0);
	assert_true(atomic_load(&run.loads) >= PLACES);
	segcache_close(run.cache);
}

static void
memory_that_is_not_there_is_reported(void **state)
{
	struct larder_sys sys = { .size = sizeof sys };
	struct segcache *cache;
	struct segment *s;
	struct larder_err err = { 0 };

	(void)state;
	mem_faulty_into(&sys, 1, false);
	larder_sys_set(&sys);
	assert_status(LARDER_ERR_NOMEM, segcache_open(&cache, 1000, &err), &err);
	assert_null(cache);
	cache = open_cache(1000);
	mem_faulty_set(1, false);
	assert_status(LARDER_ERR_NOMEM, segcache_take(&s, cache, 1, 1, &err), &err);
	mem_faulty_set(2, false);
	assert_int_equal(segcache_take(&s, cache, 1, 1, &err), 0);
	assert_status(LARDER_ERR_NOMEM, segcache_room(s, 10, &err), &err);
	segcache_drop(cache, s);
	segcache_close(cache);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(what_was_loaded_is_there),
		test_case(the_one_not_used_for_longest_makes_room),
		test_case(what_is_held_stays_even_beyond_the_bound),
		test_case(who_gives_up_leaves_nothing),
		test_case(two_may_load_what_was_set_aside_and_one_is_kept),
		test_case(threads_see_whole_segments),
		test_case(memory_that_is_not_there_is_reported),
	};

	return test_run(cases);
}
