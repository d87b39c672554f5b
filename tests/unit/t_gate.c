/*
 * Threads: readers, writers and a map that grows under them. FLAVOURS: release asan tsan
 */
#include "tests/unit/t_index.h"

#include <pthread.h>
#include <stdatomic.h>

enum { READERS = 3, WRITERS = 2, ROUNDS = 40, BATCH = 50 };

struct team {
	struct index *index;
	atomic_uint next; /* chunks below it are promised */
	atomic_uint done; /* chunks below it are committed */
	atomic_bool stop, failed;
	pthread_mutex_t order;
};

static void
give_up(struct team *team, const char *what, const struct larder_err *err)
{
	fprintf(stderr, "# %s: %s\n", what, err->message);
	atomic_store(&team->failed, true);
}

static void *
write_batches(void *arg)
{
	struct team *team = arg;

	for (int i = 0; i < ROUNDS && !atomic_load(&team->failed); i++) {
		struct larder_err err = { 0 };
		struct test_chunks chunks = { 0, BATCH };

		/* Only so that `done` rises without gaps; updates wait for each other anyway. */
		pthread_mutex_lock(&team->order);
		chunks.first = atomic_fetch_add(&team->next, BATCH);
		if (index_update(team->index, test_put_chunks, &chunks, &err) < 0)
			give_up(team, "update", &err);
		atomic_store(&team->done, (unsigned)chunks.first + BATCH);
		pthread_mutex_unlock(&team->order);
	}
	return NULL;
}

static void
look_up(struct team *team, struct index_read *read, unsigned n)
{
	struct larder_id id = test_id(n);
	struct larder_err err = { 0 };
	struct index_place place;

	if (index_chunk_get(&place, read, &id, &err) != 0 || !is_place(&place, n))
		give_up(team, "get", &err);
}

static void *
read_batches(void *arg)
{
	struct team *team = arg;
	unsigned n = 0;

	while (!atomic_load(&team->stop) && !atomic_load(&team->failed)) {
		struct index_read *read = NULL;
		struct larder_err err = { 0 };
		unsigned done = atomic_load(&team->done);

		if (index_read_begin(&read, team->index, &err) < 0) {
			give_up(team, "begin", &err);
			break;
		}
		for (int i = 0; i < 20 && done > 0; i++)
			look_up(team, read, n++ % done);
		done = atomic_load(&team->done);
		if (index_read_renew(read, &err) < 0)
			give_up(team, "renew", &err);
		else if (done > 0)
			look_up(team, read, done - 1);
		index_read_end(read);
	}
	return NULL;
}

static void *
open_and_close(void *arg)
{
	void **state = arg;
	struct index_options options = test_index_options(state);

	for (int i = 0; i < 50; i++) {
		struct index *index = NULL;

		if (index_open(&index, &options, NULL) < 0)
			return state;
		index_close(index);
	}
	return NULL;
}

static void
threads_read_and_write_while_the_map_grows(void **state)
{
	struct team team = { .order = PTHREAD_MUTEX_INITIALIZER };
	pthread_t readers[READERS], writers[WRITERS], opener;
	struct index_read *read;
	void *answer;

	env_map_len_start = 128 * 1024;
	team.index = test_index_open(state);
	for (int i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&readers[i], NULL, read_batches, &team), 0);
	for (int i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_create(&writers[i], NULL, write_batches, &team), 0);
	assert_int_equal(pthread_create(&opener, NULL, open_and_close, state), 0);
	for (int i = 0; i < WRITERS; i++)
		pthread_join(writers[i], NULL);
	pthread_join(opener, &answer);
	assert_null(answer);
	atomic_store(&team.stop, true);
	for (int i = 0; i < READERS; i++)
		pthread_join(readers[i], NULL);
	assert_false(atomic_load(&team.failed));
	assert_true(team.index->env->map_len > 128 * 1024);

	read = test_begin(team.index);
	for (unsigned n = 0; n < WRITERS * ROUNDS * BATCH; n++)
		assert_chunk(read, n);
	index_read_end(read);
	assert_sound(team.index);
	index_close(team.index);
	env_map_len_start = 0;
}

static void
handles_that_outnumber_the_kept_ones_work(void **state)
{
	enum { MANY = ENV_IDLE_MAX + 20 };
	struct index *index = test_index_open(state);
	struct index_read *reads[MANY];

	test_add_chunks(index, 0, 1);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < MANY; i++)
			reads[i] = test_begin(index);
		for (int i = 0; i < MANY; i++)
			assert_chunk(reads[i], 0);
		for (int i = 0; i < MANY; i++)
			index_read_end(reads[i]);
	}
	assert_int_equal(index->env->idle_count, ENV_IDLE_MAX);
	index_close(index);
}

static void
too_many_readers_are_a_limit(void **state)
{
	struct index *index = test_index_open(state);
	struct index_read **reads = calloc(ENV_READERS_MAX + 1, sizeof(struct index_read *));
	struct larder_err err = { 0 };

	assert_non_null(reads);
	for (int i = 0; i < ENV_READERS_MAX; i++)
		reads[i] = test_begin(index);
	assert_status(
	    LARDER_ERR_LIMIT, index_read_begin(&reads[ENV_READERS_MAX], index, &err), &err);
	test_add_chunks(index, 0, 1);
	index_read_end(reads[0]);
	reads[0] = test_begin(index);
	assert_chunk(reads[0], 0);
	for (int i = 0; i < ENV_READERS_MAX; i++)
		index_read_end(reads[i]);
	free(reads);
	index_close(index);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(threads_read_and_write_while_the_map_grows),
		test_case(handles_that_outnumber_the_kept_ones_work),
		test_case(too_many_readers_are_a_limit),
	};

	return test_run(cases);
}
