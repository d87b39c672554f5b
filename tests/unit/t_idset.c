/* cas/base/idset.c */
#include "tests/harness.h"

#include "cas/base/bytes.h"
#include "cas/base/idset.h"
#include "tests/doubles/doubles.h"

static struct larder_id
numbered(uint64_t n)
{
	struct larder_id id;

	test_fill(id.bytes, sizeof id.bytes, n + 1);
	put_le64(id.bytes + 24, n); /* certainly different */
	return id;
}

static void
what_was_added_is_found_with_its_value(void **state)
{
	enum { COUNT = 20000 };
	struct idset set;

	(void)state;
	idset_init(&set, COUNT);
	for (uint64_t i = 0; i < COUNT; i++) {
		struct larder_id id = numbered(i);

		assert_int_equal(idset_add(&set, &id, i * 3), 1);
	}
	assert_int_equal(set.count, COUNT);
	for (uint64_t i = 0; i < 2 * COUNT; i++) {
		struct larder_id id = numbered(i);
		uint64_t *value = idset_find(&set, &id);

		if (i >= COUNT) {
			assert_null(value);
		} else {
			assert_non_null(value);
			assert_int_equal(*value, i * 3);
		}
	}
	idset_release(&set);
}

static void
adding_again_keeps_the_first_value(void **state)
{
	struct larder_id id = numbered(1);
	struct idset set;

	(void)state;
	idset_init(&set, 10);
	assert_int_equal(idset_add(&set, &id, 5), 1);
	assert_int_equal(idset_add(&set, &id, 6), 0);
	assert_int_equal(set.count, 1);
	assert_int_equal(*idset_find(&set, &id), 5);
	*idset_find(&set, &id) = 9; /* values may be changed in place */
	assert_int_equal(*idset_find(&set, &id), 9);
	idset_release(&set);
}

static void
the_zero_id_is_an_id_like_others(void **state)
{
	struct larder_id zero = { { 0 } };
	struct idset set;

	(void)state;
	idset_init(&set, 10);
	assert_null(idset_find(&set, &zero));
	assert_int_equal(idset_add(&set, &zero, 0), 1);
	assert_int_equal(idset_add(&set, &zero, 0), 0);
	assert_non_null(idset_find(&set, &zero));
	idset_release(&set);
}

static void
beyond_the_limit_nothing_is_added(void **state)
{
	struct larder_id first = numbered(0), more = numbered(100);
	struct idset set;

	(void)state;
	idset_init(&set, 3);
	for (uint64_t i = 0; i < 3; i++) {
		struct larder_id id = numbered(i);

		assert_int_equal(idset_add(&set, &id, i), 1);
	}
	assert_int_equal(idset_add(&set, &more, 0), LARDER_ERR_LIMIT);
	assert_int_equal(idset_add(&set, &first, 0), 0); /* was there: no error */
	assert_null(idset_find(&set, &more));
	assert_int_equal(set.count, 3);
	idset_release(&set);
	assert_int_equal(set.count_max, 3);

	idset_init(&set, 0);
	assert_int_equal(idset_add(&set, &first, 0), LARDER_ERR_LIMIT);
	assert_null(idset_find(&set, &first));
	idset_release(&set);
}

static void
equal_beginnings_do_not_disturb(void **state)
{
	struct idset set;

	(void)state;
	idset_init(&set, 2000);
	for (unsigned i = 0; i < 2000; i++) {
		struct larder_id id = { { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } };

		put_le32(id.bytes + 28, i);
		assert_int_equal(idset_add(&set, &id, i), 1);
	}
	for (unsigned i = 0; i < 2000; i++) {
		struct larder_id id = { { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } };

		put_le32(id.bytes + 28, i);
		assert_int_equal(*idset_find(&set, &id), i);
	}
	idset_release(&set);
}

static void
clearing_empties_and_keeps_the_room(void **state)
{
	struct larder_id id = numbered(1);
	struct idset set;
	size_t room;

	(void)state;
	idset_init(&set, 10);
	idset_clear(&set);
	assert_int_equal(idset_add(&set, &id, 5), 1);
	room = set.room;
	idset_clear(&set);
	assert_null(idset_find(&set, &id));
	assert_int_equal(set.count, 0);
	assert_int_equal(set.room, room);
	assert_int_equal(idset_add(&set, &id, 6), 1);
	assert_int_equal(*idset_find(&set, &id), 6);
	idset_release(&set);
}

static void
every_failing_allocation_changes_nothing(void **state)
{
	(void)state;
	for (long nth = 1; nth <= 9; nth++) {
		struct idset set;
		uint64_t added = 0;
		int failures = 0;

		mem_faulty_set(nth, false);
		idset_init(&set, 1000);
		while (added < 150) {
			struct larder_id id = numbered(added);
			size_t count = set.count;
			int rc = idset_add(&set, &id, added);

			if (rc == 1) {
				added++;
				continue;
			}
			assert_int_equal(rc, LARDER_ERR_NOMEM);
			assert_int_equal(set.count, count);
			assert_null(idset_find(&set, &id));
			failures++;
		}
		assert_int_equal(failures, 1);
		for (uint64_t i = 0; i < added; i++) {
			struct larder_id id = numbered(i);

			assert_int_equal(*idset_find(&set, &id), i);
		}
		idset_release(&set);
		assert_int_equal(mem_faulty_live(), 0);
	}
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(what_was_added_is_found_with_its_value),
		test_case(adding_again_keeps_the_first_value),
		test_case(the_zero_id_is_an_id_like_others),
		test_case(beyond_the_limit_nothing_is_added),
		test_case(equal_beginnings_do_not_disturb),
		test_case(clearing_empties_and_keeps_the_room),
		test_case(every_failing_allocation_changes_nothing),
	};

	return test_run(cases);
}
