#ifndef TESTS_UNIT_T_INDEX_H
#define TESTS_UNIT_T_INDEX_H

/* What the tests of index/ share: an index in the case's folder, ids, updates of one line. */
#include "tests/harness.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "index/env.h"

static const struct id16 test_store = { "store of a test" };

static inline struct index_options
test_index_options(void **state)
{
	return (struct index_options){
		.dir_fd = test_dir(state),
		.dir = "index",
		.store = test_store,
		.create = true,
	};
}

static inline struct index *
test_index_open(void **state)
{
	struct index_options options = test_index_options(state);
	struct larder_err err = { 0 };
	struct index *index = NULL;

	assert_ok(index_open(&index, &options, &err), &err);
	return index;
}

/* The status of opening what is there. */
static inline int
test_index_try(void **state, struct larder_err *err)
{
	struct index_options options = test_index_options(state);
	struct index *index = NULL;
	int rc;

	options.create = false;
	rc = index_open(&index, &options, err);
	if (rc == 0)
		index_close(index);
	return rc;
}

static inline struct index_read *
test_begin(struct index *index)
{
	struct larder_err err = { 0 };
	struct index_read *read = NULL;

	assert_ok(index_read_begin(&read, index, &err), &err);
	return read;
}

/* The n-th id: as good as random, the same everywhere. */
static inline struct larder_id
test_id(uint64_t n)
{
	struct larder_id id;

	test_fill(id.bytes, sizeof id.bytes, n);
	return id;
}

static inline struct id16
test_id16(uint64_t n)
{
	struct id16 id;

	test_fill(id.bytes, sizeof id.bytes, n);
	return id;
}

static inline struct index_place
test_place(uint64_t n)
{
	return (struct index_place){
		.pack = (uint32_t)(n % 1000 + 1),
		.segment_at = (uint32_t)(n * 4097 % (1u << 30)),
		.chunk_at = (uint32_t)(n * 131 % (1u << 23)),
		.chunk_len = (uint32_t)(n * 17 % (1u << 20)),
		.depth = (uint8_t)(n % 9),
		.type = (uint8_t)(n % 7),
	};
}

/* Chunks first .. first + count - 1, with their places. */
struct test_chunks {
	uint64_t first, count;
};

static inline int
test_put_chunks(void *context, struct index_write *write, struct larder_err *err)
{
	const struct test_chunks *chunks = context;

	for (uint64_t n = chunks->first; n < chunks->first + chunks->count; n++) {
		struct larder_id id = test_id(n);
		struct index_place place = test_place(n);
		int rc = index_chunk_put(write, &id, &place, err);

		if (rc < 0)
			return rc;
	}
	return 0;
}

static inline void
test_add_chunks(struct index *index, uint64_t first, uint64_t count)
{
	struct test_chunks chunks = { first, count };
	struct larder_err err = { 0 };

	assert_ok(index_update(index, test_put_chunks, &chunks, &err), &err);
}

static inline bool
is_place(const struct index_place *place, uint64_t n)
{
	struct index_place want = test_place(n);

	return place->pack == want.pack && place->segment_at == want.segment_at &&
	       place->chunk_at == want.chunk_at && place->chunk_len == want.chunk_len &&
	       place->depth == want.depth && place->type == want.type;
}

static inline void
assert_chunk(struct index_read *read, uint64_t n)
{
	struct larder_id id = test_id(n);
	struct larder_err err = { 0 };
	struct index_place place;

	assert_ok(index_chunk_get(&place, read, &id, &err), &err);
	assert_true(is_place(&place, n));
}

static inline void
assert_sound(struct index *index)
{
	struct larder_err err = { 0 };

	assert_ok(index_verify(index, NULL, NULL, &err), &err);
}

#endif
