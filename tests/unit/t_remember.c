/* cas/remember.c */
#include "tests/harness.h"

#include "cas/remember.h"

static void
fill_id(struct larder_id *id, uint8_t with)
{
	memset(id->bytes, with, sizeof id->bytes);
}

static void
a_directory_row_comes_back_as_it_was(void **state)
{
	uint64_t prints[] = { 1, UINT64_MAX, 0 };
	struct remember row = { .names = 5, .self = 6, .files = 300, .bytes = 1ull << 40,
		.print_count = 3, .prints = prints }, got;
	struct buf b = { 0 };

	(void)state;
	fill_id(&row.tree, 1);
	fill_id(&row.attrs, 2);
	memset(row.children, 3, sizeof row.children);
	assert_ok(remember_encode(&b, &row), NULL);
	assert_ok(remember_decode(&got, b.data, b.len), NULL);
	assert_false(got.file);
	assert_memory_equal(&got.tree, &row.tree, sizeof got.tree);
	assert_memory_equal(&got.attrs, &row.attrs, sizeof got.attrs);
	assert_memory_equal(got.children, row.children, sizeof got.children);
	assert_int_equal(got.names, 5);
	assert_int_equal(got.self, 6);
	assert_int_equal(got.files, 300);
	assert_int_equal(got.bytes, 1ull << 40);
	assert_int_equal(got.print_count, 3);
	assert_memory_equal(got.prints, prints, sizeof prints);
	remember_release(&got);

	for (size_t len = 0; len < b.len; len++) { /* cut short: forgotten */
		assert_int_equal(remember_decode(&got, b.data, len), LARDER_ERR_CORRUPT);
		remember_release(&got);
	}
	b.data[0] = 9; /* a kind nobody knows */
	assert_int_equal(remember_decode(&got, b.data, b.len), LARDER_ERR_CORRUPT);
	buf_release(&b);
}

static void
a_file_row_comes_back_as_it_was(void **state)
{
	struct remember row = { .file = true, .list = true, .self = 77, .size = 12345678901 }, got;
	struct buf b = { 0 };

	(void)state;
	fill_id(&row.id, 9);
	assert_ok(remember_encode(&b, &row), NULL);
	assert_ok(remember_decode(&got, b.data, b.len), NULL);
	assert_true(got.file);
	assert_true(got.list);
	assert_int_equal(got.self, 77);
	assert_int_equal(got.size, 12345678901);
	assert_memory_equal(&got.id, &row.id, sizeof got.id);
	buf_release(&b);
}

static void
a_directory_of_very_many_entries_is_not_remembered(void **state)
{
	struct remember row = { .print_count = REMEMBER_PRINTS_MAX + 1 };
	struct buf b = { 0 };

	(void)state;
	assert_int_equal(remember_encode(&b, &row), LARDER_ERR_LIMIT);
	assert_int_equal(b.len, 0);
}

static void
the_key_depends_on_top_path_and_rules(void **state)
{
	uint8_t a[16], b[16];
	struct larder_id rules, others;

	(void)state;
	fill_id(&rules, 1);
	fill_id(&others, 2);
	remember_key(a, "/top", "x/y", &rules);
	remember_key(b, "/top", "x/y", &rules);
	assert_memory_equal(a, b, 16);
	remember_key(b, "/top/x", "y", &rules);
	assert_memory_not_equal(a, b, 16);
	remember_key(b, "/top", "x/z", &rules);
	assert_memory_not_equal(a, b, 16);
	remember_key(b, "/top", "x/y", &others);
	assert_memory_not_equal(a, b, 16);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(a_directory_row_comes_back_as_it_was),
		test_case(a_file_row_comes_back_as_it_was),
		test_case(a_directory_of_very_many_entries_is_not_remembered),
		test_case(the_key_depends_on_top_path_and_rules),
	};

	return test_run(cases);
}
