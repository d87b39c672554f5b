/* cas/base/mem.c and the table behind it, cas/base/seam.c */
#include "tests/harness.h"

#include <errno.h>

#include "cas/base/mem.h"
#include "cas/base/random.h"
#include "cas/sys.h"
#include "tests/doubles/doubles.h"

static void
zeroed_memory_is_zero(void **state)
{
	(void)state;
	for (size_t size = 0; size < 5000; size += 617) {
		uint8_t *p = mem_zalloc(size), *q = mem_zarray(size, 3);

		assert_non_null(p);
		assert_non_null(q);
		for (size_t i = 0; i < size; i++)
			assert_int_equal(p[i], 0);
		for (size_t i = 0; i < 3 * size; i++)
			assert_int_equal(q[i], 0);
		mem_free(p);
		mem_free(q);
	}
}

static void
zero_bytes_are_a_pointer_all_the_same(void **state)
{
	void *p[5];

	(void)state;
	p[0] = mem_alloc(0);
	p[1] = mem_array(0, 8);
	p[2] = mem_zarray(8, 0);
	p[3] = mem_dup("", 0);
	p[4] = mem_resize(NULL, 0, 8);
	for (size_t i = 0; i < test_count(p); i++) {
		assert_non_null(p[i]);
		mem_free(p[i]);
	}
	mem_free(NULL);
}

static void
sizes_that_overflow_are_out_of_memory(void **state)
{
	static const struct {
		size_t count, size;
	} rows[] = {
		{ SIZE_MAX, 2 },
		{ 2, SIZE_MAX },
		{ SIZE_MAX / 2 + 1, 2 },
		{ (size_t)1 << 33, (size_t)1 << 33 },
	};
	char *p;

	(void)state;
	for (size_t i = 0; i < test_count(rows); i++) {
		assert_null(mem_array(rows[i].count, rows[i].size));
		assert_null(mem_zarray(rows[i].count, rows[i].size));
		p = mem_strdup("stays");
		assert_null(mem_resize(p, rows[i].count, rows[i].size));
		assert_string_equal(p, "stays");
		mem_free(p);
	}
}

static void
copies_are_equal_and_apart(void **state)
{
	char text[] = "abc";
	char *s, *d;

	(void)state;
	s = mem_strdup(text);
	d = mem_dup(text, 2);
	text[0] = 'x';
	assert_string_equal(s, "abc");
	assert_memory_equal(d, "ab", 2);
	s = mem_resize(s, 1000, 1);
	assert_string_equal(s, "abc");
	mem_free(s);
	mem_free(d);
}

static void
the_nth_allocation_fails_once_or_for_ever(void **state)
{
	void *p[4];

	(void)state;
	mem_faulty_set(2, false);
	for (size_t i = 0; i < 4; i++)
		p[i] = mem_alloc(8);
	assert_non_null(p[0]);
	assert_null(p[1]);
	assert_non_null(p[2]);
	assert_int_equal(mem_faulty_live(), 3);
	assert_int_equal(mem_faulty_calls(), 4);
	assert_true(mem_faulty_failed());
	for (size_t i = 0; i < 4; i++)
		mem_free(p[i]);
	assert_int_equal(mem_faulty_live(), 0);

	mem_faulty_set(2, true);
	p[0] = mem_zalloc(8);
	assert_non_null(p[0]);
	assert_null(mem_strdup("x"));
	assert_null(mem_dup("x", 1));
	assert_null(mem_resize(p[0], 9, 1));
	assert_null(mem_zarray(1, 1));
	mem_free(p[0]);
	assert_int_equal(mem_faulty_live(), 0);
}

static int
no_random(void *buf, size_t len)
{
	(void)buf, (void)len;
	errno = ENOSYS;
	return -1;
}

static void
a_table_replaces_only_what_it_names(void **state)
{
	struct larder_sys sys = { .size = sizeof sys, .random_bytes = no_random };
	struct larder_err err = { 0 };
	uint8_t bytes[4];
	void *p;

	(void)state;
	larder_sys_set(&sys);
	assert_status(LARDER_ERR_IO, random_bytes(bytes, sizeof bytes, &err), &err);
	assert_message(&err, "random");
	p = mem_alloc(10); /* still there */
	assert_non_null(p);
	mem_free(p);

	larder_sys_set(NULL);
	assert_ok(random_bytes(bytes, sizeof bytes, &err), &err);
}

static void
an_older_and_shorter_table_is_understood(void **state)
{
	struct larder_sys sys = { .size = offsetof(struct larder_sys, random_bytes),
		.random_bytes = no_random };
	struct larder_err err = { 0 };
	uint8_t bytes[4];

	(void)state;
	larder_sys_set(&sys);
	assert_ok(random_bytes(bytes, sizeof bytes, &err), &err);
	sys.size = 0;
	larder_sys_set(&sys);
	assert_ok(random_bytes(bytes, sizeof bytes, &err), &err);
}

static void
random_bytes_differ_and_seeded_ones_repeat(void **state)
{
	struct larder_err err = { 0 };
	uint8_t a[64] = { 0 }, b[64] = { 0 };

	(void)state;
	assert_ok(random_bytes(a, sizeof a, &err), &err);
	assert_ok(random_bytes(b, sizeof b, &err), &err);
	assert_memory_not_equal(a, b, sizeof a);
	assert_ok(random_bytes(NULL, 0, &err), &err);

	random_seeded_set(7);
	assert_ok(random_bytes(a, sizeof a, &err), &err);
	random_seeded_set(7);
	assert_ok(random_bytes(b, sizeof b, &err), &err);
	assert_memory_equal(a, b, sizeof a);
	assert_ok(random_bytes(b, sizeof b, &err), &err);
	assert_memory_not_equal(a, b, sizeof a);
	random_seeded_set(8);
	assert_ok(random_bytes(b, sizeof b, &err), &err);
	assert_memory_not_equal(a, b, sizeof a);

	random_seeded_fail_after(1);
	assert_ok(random_bytes(b, sizeof b, &err), &err);
	assert_status(LARDER_ERR_IO, random_bytes(b, sizeof b, &err), &err);
	assert_status(LARDER_ERR_IO, random_bytes(b, sizeof b, &err), &err);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(zeroed_memory_is_zero),
		test_case(zero_bytes_are_a_pointer_all_the_same),
		test_case(sizes_that_overflow_are_out_of_memory),
		test_case(copies_are_equal_and_apart),
		test_case(the_nth_allocation_fails_once_or_for_ever),
		test_case(a_table_replaces_only_what_it_names),
		test_case(an_older_and_shorter_table_is_understood),
		test_case(random_bytes_differ_and_seeded_ones_repeat),
	};

	return test_run(cases);
}
