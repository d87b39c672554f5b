/* Places sorted by id: any number of runs gives the same order, and of equal ids the first. */
#include "cas/placesort.h"

#include "tests/harness.h"

#include <sys/stat.h>

#include "cas/base/id.h"
#include "tests/doubles/doubles.h"

enum { ROWS = 3000 };

static int
setup(void **state)
{
	return test_setup(state) < 0 ? -1 : mkdirat(test_dir(state), "tmp", 0700);
}

#define sort_case(fn) cmocka_unit_test_setup_teardown(fn, setup, test_teardown)

/* Ids from a small set, so that many are equal; alike: the first bytes say nothing. */
static void
make_row(struct larder_id *id, struct index_place *place, uint32_t i, bool alike)
{
	test_fill(id->bytes, sizeof id->bytes, i * 7919 % (ROWS / 2));
	if (alike)
		memset(id->bytes, 0, 8);
	*place =
	    (struct index_place) { .pack = 1 + i * 31 % 17, .segment_at = i % 5, .chunk_at = i };
}

static void
check_order(void **state, size_t rows_max, bool alike)
{
	struct placesort *sort;
	struct larder_id id, last = { { 0 } };
	struct index_place place;
	struct larder_err err = { 0 };
	size_t count = 0;
	int rc;

	assert_ok(placesort_open(&sort, test_dir(state), rows_max, &err), &err);
	for (uint32_t i = 0; i < ROWS; i++) {
		make_row(&id, &place, i, alike);
		assert_ok(placesort_add(sort, &id, &place, &err), &err);
	}
	assert_int_equal(test_entries(state, "tmp"), 0); /* no name is left behind */
	while ((rc = placesort_next(&id, &place, sort, &err)) == 1) {
		assert_true(count == 0 || id_compare(&last, &id) < 0);
		last = id;
		count++;
		for (uint32_t i = 0; i < ROWS; i++) { /* the first of its equals */
			struct larder_id other;
			struct index_place there;

			if (i * 7919 % (ROWS / 2) != place.chunk_at * 7919 % (ROWS / 2))
				continue;
			make_row(&other, &there, i, alike);
			assert_memory_equal(&other, &id, sizeof id);
			assert_true(place.pack <= there.pack);
			if (place.pack == there.pack)
				assert_true(place.segment_at <= there.segment_at);
		}
	}
	assert_ok(rc, &err);
	assert_int_equal(count, ROWS / 2);
	assert_int_equal(placesort_next(&id, &place, sort, &err), 0);
	placesort_close(sort);
}

static void
any_number_of_runs_gives_the_same_order(void **state)
{
	static const size_t sizes[] = { 1, 7, 100, 1000, ROWS - 1, ROWS, ROWS + 1, 10 * ROWS };

	for (size_t i = 0; i < test_count(sizes); i++)
		check_order(state, sizes[i], i % 2);
}

static void
nothing_is_sorted_too(void **state)
{
	struct placesort *sort;
	struct larder_id id;
	struct index_place place;

	assert_ok(placesort_open(&sort, test_dir(state), 10, NULL), NULL);
	assert_int_equal(placesort_next(&id, &place, sort, NULL), 0);
	placesort_close(sort);
	placesort_close(NULL);
}

static int
sort_some(void **state, struct larder_err *err)
{
	struct placesort *sort = NULL;
	struct larder_id id;
	struct index_place place;
	int rc;

	rc = placesort_open(&sort, test_dir(state), 100, err);
	for (uint32_t i = 0; rc == 0 && i < 350; i++) {
		make_row(&id, &place, i, false);
		rc = placesort_add(sort, &id, &place, err);
	}
	if (rc == 0)
		do
			rc = placesort_next(&id, &place, sort, err);
		while (rc == 1);
	placesort_close(sort);
	return rc;
}

static void
every_failure_is_told_and_leaves_nothing(void **state)
{
	for (int kind = 0; kind < 2; kind++)
		for (long n = 1;; n++) {
			struct file_faulty_plan plan = { .ops = FILE_FAULTY_ALL, .nth = n };
			struct larder_err err = { 0 };
			bool failed;
			int rc;

			if (kind == 0)
				file_faulty_set(&plan);
			else
				mem_faulty_set(n, false);
			rc = sort_some(state, &err);
			failed = kind == 0 ? file_faulty_failed() : mem_faulty_failed();
			if (kind == 0)
				assert_int_equal(file_faulty_open(), 0);
			else
				assert_int_equal(mem_faulty_live(), 0);
			larder_sys_set(NULL);
			if (!failed) {
				assert_ok(rc, &err);
				break;
			}
			if (rc != 0)
				assert_status(
				    kind == 0 ? LARDER_ERR_IO : LARDER_ERR_NOMEM, rc, &err);
		}
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		sort_case(any_number_of_runs_gives_the_same_order),
		sort_case(nothing_is_sorted_too),
		sort_case(every_failure_is_told_and_leaves_nothing),
	};

	return test_run(cases);
}
