/* Packs: numbers are given once, and lead both ways. */
#include "tests/unit/t_index.h"

static struct index_pack
a_pack(uint64_t n)
{
	return (struct index_pack){
		.id = test_id16(n),
		.file_len = n * 1000,
		.chunk_count = (uint32_t)n,
	};
}

struct put {
	uint64_t n;
	uint64_t file_len;
	uint32_t number;
};

static int
put_pack(void *context, struct index_write *write, struct larder_err *err)
{
	struct put *put = context;
	struct index_pack pack = a_pack(put->n);

	if (put->file_len > 0)
		pack.file_len = put->file_len;
	return index_pack_put(&put->number, write, &pack, err);
}

static uint32_t
add_pack(struct index *index, uint64_t n)
{
	struct larder_err err = { 0 };
	struct put put = { .n = n };

	assert_ok(index_update(index, put_pack, &put, &err), &err);
	return put.number;
}

static int
drop_pack(void *context, struct index_write *write, struct larder_err *err)
{
	return index_pack_drop(write, *(uint32_t *)context, err);
}

static void
numbers_rise_from_one_and_lead_both_ways(void **state)
{
	struct index *index = test_index_open(state);
	struct index_counts counts;
	struct index_pack pack;
	struct index_read *read;

	for (uint64_t n = 1; n <= 300; n++)
		assert_int_equal(add_pack(index, n), n);
	read = test_begin(index);
	for (uint64_t n = 1; n <= 300; n++) {
		struct id16 id = test_id16(n);
		uint32_t number;

		assert_ok(index_pack_get(&pack, read, (uint32_t)n, NULL), NULL);
		assert_memory_equal(&pack.id, &id, sizeof id);
		assert_int_equal(pack.file_len, n * 1000);
		assert_int_equal(pack.chunk_count, n);
		assert_ok(index_pack_find(&number, read, &id, NULL), NULL);
		assert_int_equal(number, n);
	}
	assert_ok(index_counts_get(&counts, read, NULL), NULL);
	assert_int_equal(counts.packs, 300);
	index_read_end(read);
	assert_sound(index);
	index_close(index);
}

static void
a_pack_that_is_not_there_is_not_found(void **state)
{
	struct index *index = test_index_open(state);
	struct id16 id = test_id16(2);
	struct index_pack pack;
	struct index_read *read;
	uint32_t number = 0;

	add_pack(index, 1);
	read = test_begin(index);
	assert_status(LARDER_ERR_NOT_FOUND, index_pack_get(&pack, read, 0, NULL), NULL);
	assert_status(LARDER_ERR_NOT_FOUND, index_pack_get(&pack, read, 2, NULL), NULL);
	assert_status(LARDER_ERR_NOT_FOUND, index_pack_get(&pack, read, UINT32_MAX, NULL), NULL);
	assert_status(LARDER_ERR_NOT_FOUND, index_pack_find(&number, read, &id, NULL), NULL);
	index_read_end(read);
	assert_status(LARDER_ERR_NOT_FOUND, index_update(index, drop_pack, &number, NULL), NULL);
	index_close(index);
}

static void
putting_a_pack_again_keeps_its_number(void **state)
{
	struct index *index = test_index_open(state);
	struct put put = { .n = 1, .file_len = 5 };
	struct index_counts counts;
	struct index_pack pack;
	struct index_read *read;

	assert_int_equal(add_pack(index, 1), 1);
	assert_int_equal(add_pack(index, 2), 2);
	assert_ok(index_update(index, put_pack, &put, NULL), NULL);
	assert_int_equal(put.number, 1);
	read = test_begin(index);
	assert_ok(index_pack_get(&pack, read, 1, NULL), NULL);
	assert_int_equal(pack.file_len, 5);
	assert_ok(index_counts_get(&counts, read, NULL), NULL);
	assert_int_equal(counts.packs, 2);
	index_read_end(read);
	assert_sound(index);
	index_close(index);
}

static void
a_number_is_never_given_again(void **state)
{
	struct index *index = test_index_open(state);
	struct id16 id = test_id16(3);
	struct index_read *read;
	uint32_t number;

	for (uint64_t n = 1; n <= 3; n++)
		add_pack(index, n);
	number = 3;
	assert_ok(index_update(index, drop_pack, &number, NULL), NULL);
	assert_status(LARDER_ERR_NOT_FOUND, index_update(index, drop_pack, &number, NULL), NULL);
	read = test_begin(index);
	assert_status(LARDER_ERR_NOT_FOUND, index_pack_find(&number, read, &id, NULL), NULL);
	index_read_end(read);
	index_close(index);

	index = test_index_open(state);
	assert_int_equal(add_pack(index, 3), 4);
	assert_int_equal(add_pack(index, 4), 5);
	assert_sound(index);
	index_close(index);
}

struct walk {
	uint32_t last, count, stop_at;
};

static int
visit(void *context, uint32_t number, const struct index_pack *pack, struct larder_err *err)
{
	struct walk *walk = context;

	(void)err;
	if (number <= walk->last || pack->chunk_count == 0)
		return LARDER_ERR_USAGE;
	walk->last = number;
	walk->count++;
	return number == walk->stop_at ? 5 : 0;
}

static void
packs_come_in_number_order(void **state)
{
	struct index *index = test_index_open(state);
	struct index_read *read = test_begin(index);
	struct walk walk = { 0 };
	uint32_t number = 4;

	assert_ok(index_pack_each(read, visit, &walk, NULL), NULL);
	assert_int_equal(walk.count, 0);
	for (uint64_t n = 1; n <= 600; n++)
		add_pack(index, n);
	assert_ok(index_update(index, drop_pack, &number, NULL), NULL);
	assert_ok(index_read_renew(read, NULL), NULL);
	assert_ok(index_pack_each(read, visit, &walk, NULL), NULL);
	assert_int_equal(walk.count, 599);
	assert_int_equal(walk.last, 600);
	walk = (struct walk){ .stop_at = 7 };
	assert_int_equal(index_pack_each(read, visit, &walk, NULL), 5);
	assert_int_equal(walk.count, 6);
	index_read_end(read);
	index_close(index);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(numbers_rise_from_one_and_lead_both_ways),
		test_case(a_pack_that_is_not_there_is_not_found),
		test_case(putting_a_pack_again_keeps_its_number),
		test_case(a_number_is_never_given_again),
		test_case(packs_come_in_number_order),
	};

	return test_run(cases);
}
