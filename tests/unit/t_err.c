/* cas/base/err.c */
#include "tests/harness.h"

#include <errno.h>
#include <stdio.h>

#include "cas/base/err.h"

static void
set_fills_everything_and_returns_the_status(void **state)
{
	struct larder_err err = { .sys_errno = 5, .hint = "old", .message = "old" };

	(void)state;
	assert_int_equal(err_set(&err, LARDER_ERR_CORRUPT, "segment at %d", 81920),
	    LARDER_ERR_CORRUPT);
	assert_int_equal(err.status, LARDER_ERR_CORRUPT);
	assert_int_equal(err.sys_errno, 0);
	assert_string_equal(err.message, "segment at 81920");
	assert_string_equal(err.hint, "");
}

static void
null_is_fine_everywhere(void **state)
{
	(void)state;
	assert_int_equal(err_set(NULL, LARDER_ERR_BUSY, "x"), LARDER_ERR_BUSY);
	errno = ENOSPC;
	assert_int_equal(err_sys(NULL, "x"), LARDER_ERR_NO_SPACE);
	assert_int_equal(err_nomem(NULL), LARDER_ERR_NOMEM);
	err_prefix(NULL, "x");
	err_hint(NULL, "x");
}

static void
errno_becomes_a_status_and_a_reason(void **state)
{
	static const struct {
		int code;
		int status;
		const char *says;
	} rows[] = {
		{ ENOSPC, LARDER_ERR_NO_SPACE, "No space" },
		{ EDQUOT, LARDER_ERR_NO_SPACE, "quota" },
		{ EFBIG, LARDER_ERR_NO_SPACE, "too large" },
		{ ENOMEM, LARDER_ERR_NOMEM, "memory" },
		{ ENOENT, LARDER_ERR_NOT_FOUND, "No such file" },
		{ EIO, LARDER_ERR_IO, "Input/output" },
		{ EACCES, LARDER_ERR_IO, "denied" },
		{ 99999, LARDER_ERR_IO, "99999" },
	};

	(void)state;
	for (size_t i = 0; i < test_count(rows); i++) {
		struct larder_err err = { 0 };

		errno = rows[i].code;
		assert_status(rows[i].status, err_sys(&err, "open %s", "config"), &err);
		assert_int_equal(err.sys_errno, rows[i].code);
		assert_int_equal(errno, rows[i].code);
		assert_int_equal(strncmp(err.message, "open config: ", 13), 0);
		assert_message(&err, rows[i].says);
	}
}

static void
prefixes_pile_up_in_front(void **state)
{
	struct larder_err err = { 0 };

	(void)state;
	err_set(&err, LARDER_ERR_CORRUPT, "unknown codec 9");
	err_hint(&err, "try larder repair");
	err_prefix(&err, "segment at %d", 7);
	err_prefix(&err, "pack %s", "4f09");
	assert_string_equal(err.message, "pack 4f09: segment at 7: unknown codec 9");
	assert_string_equal(err.hint, "try larder repair");
	assert_int_equal(err.status, LARDER_ERR_CORRUPT);
}

static void
a_prefix_before_nothing_stands_alone(void **state)
{
	struct larder_err err = { 0 };

	(void)state;
	err_prefix(&err, "store %s", "x");
	assert_string_equal(err.message, "store x");
}

static void
the_old_message_may_be_an_argument(void **state)
{
	struct larder_err err = { 0 };

	(void)state;
	err_set(&err, LARDER_ERR_IO, "inner");
	err_set(&err, LARDER_ERR_REMOTE, "outer (%s)", err.message);
	assert_string_equal(err.message, "outer (inner)");
	err_prefix(&err, "again %s", err.message);
	assert_string_equal(err.message, "again outer (inner): outer (inner)");
}

static void
what_is_too_long_is_cut_and_ends(void **state)
{
	struct larder_err err = { 0 };
	char text[2000];

	(void)state;
	memset(text, 'a', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	err_set(&err, LARDER_ERR_IO, "%s", text);
	assert_int_equal(strlen(err.message), sizeof err.message - 1);
	for (int i = 0; i < 3; i++)
		err_prefix(&err, "%s", text);
	assert_true(strlen(err.message) < sizeof err.message);
	err_hint(&err, "%s", text);
	assert_int_equal(strlen(err.hint), sizeof err.hint - 1);

	/* the reason is not lost behind a long path */
	errno = EACCES;
	err_sys(&err, "open %s", text);
	assert_true(strlen(err.message) < sizeof err.message);
	assert_message(&err, ": Permission denied");
	for (size_t len = 430; len < 530; len++) {
		err_sys(&err, "%.*s", (int)len, text);
		assert_message(&err, ": Permission denied");
	}
}

static void
every_status_has_a_code_and_a_text(void **state)
{
	static const int all[] = {
#define VALUE(name, value, code, text) value,
		LARDER_STATUS_LIST(VALUE)
#undef VALUE
	};

	(void)state;
	for (size_t i = 0; i < test_count(all); i++) {
		const char *code = err_code((enum larder_status)all[i]);

		assert_string_not_equal(code, "unknown");
		assert_true(strlen(err_text((enum larder_status)all[i])) > 0);
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(code, err_code((enum larder_status)all[j]));
	}
	assert_string_equal(err_code(LARDER_OK), "ok");
	assert_string_equal(err_code(LARDER_ERR_NOT_FOUND), "not_found");
	assert_string_equal(err_code((enum larder_status)-1), "unknown");
	assert_string_equal(err_code((enum larder_status)7), "unknown");
	assert_string_equal(err_text((enum larder_status)-99), "unknown status");
}

static void
the_values_are_the_promised_ones(void **state)
{
	(void)state;
	assert_int_equal(LARDER_ERR_NOT_FOUND, -2);
	assert_int_equal(LARDER_ERR_CORRUPT, -4);
	assert_int_equal(LARDER_ERR_NOMEM, -9);
	assert_int_equal(LARDER_ERR_CANCELLED, -15);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(set_fills_everything_and_returns_the_status),
		test_case(null_is_fine_everywhere),
		test_case(errno_becomes_a_status_and_a_reason),
		test_case(prefixes_pile_up_in_front),
		test_case(a_prefix_before_nothing_stands_alone),
		test_case(the_old_message_may_be_an_argument),
		test_case(what_is_too_long_is_cut_and_ends),
		test_case(every_status_has_a_code_and_a_text),
		test_case(the_values_are_the_promised_ones),
	};

	return test_run(cases);
}
