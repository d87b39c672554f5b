/* cas/base/clock.c */
#include "tests/harness.h"

#include <stdio.h>
#include <time.h>

#include "cas/base/clock.h"
#include "tests/doubles/doubles.h"

static const struct {
	int64_t ns;
	const char *text;
} pairs[] = {
	{ 0, "1970-01-01T00:00:00Z" },
	{ 1, "1970-01-01T00:00:00.000000001Z" },
	{ -1, "1969-12-31T23:59:59.999999999Z" },
	{ 500000000, "1970-01-01T00:00:00.5Z" },
	{ 951782400000000000, "2000-02-29T00:00:00Z" },
	{ 1795197345123456789, "2026-11-20T17:55:45.123456789Z" },
	{ -2203891200000000000, "1900-03-01T00:00:00Z" },
	{ INT64_MAX, "2262-04-11T23:47:16.854775807Z" },
	{ INT64_MIN, "1677-09-21T00:12:43.145224192Z" },
	{ INT64_MIN + 854775808, "1677-09-21T00:12:44Z" },
};

static void
times_have_the_pinned_texts(void **state)
{
	(void)state;
	for (size_t i = 0; i < test_count(pairs); i++) {
		char text[CLOCK_TEXT_LEN];
		int64_t ns = 42;

		clock_to_text(text, pairs[i].ns);
		assert_string_equal(text, pairs[i].text);
		assert_true(clock_from_text(&ns, text));
		assert_true(ns == pairs[i].ns);
	}
}

static void
every_day_agrees_with_libc(void **state)
{
	(void)state;
	for (int64_t day = -100000; day < 100000; day += 13) {
		time_t seconds = (time_t)(day * 86400 + 86399);
		char text[CLOCK_TEXT_LEN], want[64];
		struct tm tm;
		int64_t ns;

		assert_non_null(gmtime_r(&seconds, &tm));
		snprintf(want, sizeof want, "%04d-%02d-%02dT23:59:59Z", tm.tm_year + 1900,
		    tm.tm_mon + 1, tm.tm_mday);
		clock_to_text(text, (int64_t)seconds * 1000000000);
		assert_string_equal(text, want);
		assert_true(clock_from_text(&ns, text));
		assert_true(ns == (int64_t)seconds * 1000000000);
	}
}

static void
other_ways_to_say_a_time_are_understood(void **state)
{
	static const struct {
		const char *text;
		int64_t seconds;
		int32_t ns;
	} rows[] = {
		{ "1970-01-02", 86400, 0 },
		{ "2026-11-20", 1795132800, 0 },
		{ "1970-01-01T00:00:00z", 0, 0 },
		{ "1970-01-01t00:00:00Z", 0, 0 },
		{ "1970-01-01 00:00:00Z", 0, 0 },
		{ "1970-01-01T02:30:00+02:30", 0, 0 },
		{ "1969-12-31T19:00:00-05:00", 0, 0 },
		{ "1970-01-01T00:00:00.10Z", 0, 100000000 },
		{ "1970-01-01T00:00:00.000000000Z", 0, 0 },
		{ "1969-12-31T23:59:59.25+00:00", -1, 250000000 },
		{ "2016-12-31T23:59:60Z", 1483228800, 0 }, /* a leap second */
	};

	(void)state;
	for (size_t i = 0; i < test_count(rows); i++) {
		int64_t ns = 42;

		if (!clock_from_text(&ns, rows[i].text))
			fail_msg("%s is refused", rows[i].text);
		assert_true(ns == rows[i].seconds * 1000000000 + rows[i].ns);
	}
}

static void
what_is_not_a_time_is_refused(void **state)
{
	static const char *const wrong[] = {
		"",
		"now",
		"1970",
		"1970-01",
		"1970-01-1",
		"1970-1-01",
		"70-01-01",
		"1970-00-01",
		"1970-13-01",
		"1970-01-00",
		"1970-01-32",
		"1970-04-31",
		"1900-02-29",
		"2001-02-29",
		"2100-02-29",
		"1970/01/01",
		" 1970-01-01",
		"1970-01-01 ",
		"1970-01-01T",
		"1970-01-01Z",
		"1970-01-01T00:00Z",
		"1970-01-01T00:00:00",
		"1970-01-01T24:00:00Z",
		"1970-01-01T00:60:00Z",
		"1970-01-01T00:00:61Z",
		"1970-01-01T00:00:00.Z",
		"1970-01-01T00:00:00.1234567890Z",
		"1970-01-01T00:00:00,5Z",
		"1970-01-01T00:00:00+0100",
		"1970-01-01T00:00:00+24:00",
		"1970-01-01T00:00:00+01:60",
		"1970-01-01T00:00:00+1:00",
		"1970-01-01T00:00:00Z ",
		"1970-01-01T00:00:00Zx",
		"1970-01-01T-1:00:00Z",
		"-970-01-01",
		"+1970-01-01",
		"1677-09-21T00:12:43.145224191Z", /* a nanosecond before the first */
		"2262-04-11T23:47:16.854775808Z", /* and after the last */
		"1677-09-20",
		"2262-04-12",
		"0000-01-01",
		"9999-12-31",
	};

	(void)state;
	for (size_t i = 0; i < test_count(wrong); i++) {
		int64_t ns = 42;

		if (clock_from_text(&ns, wrong[i]))
			fail_msg("%s is taken", wrong[i]);
		assert_int_equal(ns, 42);
	}
}

static void
the_clocks_run_and_the_fixed_ones_stand(void **state)
{
	int64_t a, b;

	(void)state;
	a = clock_mono_ns();
	b = clock_mono_ns();
	assert_true(b >= a);
	assert_true(clock_now_ns() > 1700000000000000000);

	clock_fixed_set(5000000000);
	a = clock_mono_ns();
	assert_int_equal(clock_now_ns(), 5000000000);
	assert_int_equal(clock_now_ns(), 5000000000);
	clock_fixed_advance(7);
	assert_int_equal(clock_now_ns(), 5000000007);
	assert_int_equal(clock_mono_ns(), a + 7);
	clock_fixed_jump(3);
	assert_int_equal(clock_now_ns(), 3);
	assert_int_equal(clock_mono_ns(), a + 7);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(times_have_the_pinned_texts),
		test_case(every_day_agrees_with_libc),
		test_case(other_ways_to_say_a_time_are_understood),
		test_case(what_is_not_a_time_is_refused),
		test_case(the_clocks_run_and_the_fixed_ones_stand),
	};

	return test_run(cases);
}
