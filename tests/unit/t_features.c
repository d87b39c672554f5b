/* features.c: equal for equal bytes, mostly equal for similar ones, different for others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cas/object/features.h"

enum { KIB = 1024, DATA_LEN = 256 * KIB };

static uint8_t data[DATA_LEN], other[DATA_LEN];

static uint32_t
next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*state >> 32);
}

static void
fill_random(uint8_t *bytes, size_t len, uint64_t from)
{
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(next_random(&from) >> 24);
}

static int
common(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
	uint64_t x[FEATURES_COUNT], y[FEATURES_COUNT];
	int n = 0;

	features_of(x, a, a_len);
	features_of(y, b, b_len);
	for (int i = 0; i < FEATURES_COUNT; i++)
		n += x[i] != 0 && x[i] == y[i];
	return n;
}

static void
short_inputs_have_none_and_all_others_have_all(void **state)
{
	(void)state;
	fill_random(data, 2000, 1);
	for (size_t len = 0; len < 2000; len++) {
		uint8_t *exact = malloc(len + 1); /* so that the sanitizer sees one byte too far */
		uint64_t features[FEATURES_COUNT];

		assert_non_null(exact);
		memcpy(exact + 1, data, len);
		features_of(features, exact + 1, len);
		for (int i = 0; i < FEATURES_COUNT; i++)
			assert_int_equal(features[i] != 0, len >= FEATURES_INPUT_MIN);
		free(exact);
	}
}

static void
runs_and_periods_have_features_too(void **state)
{
	uint64_t features[FEATURES_COUNT];

	(void)state;
	for (int value = 0; value < 256; value++) {
		memset(data, value, 10 * KIB);
		features_of(features, data, 10 * KIB);
		for (int i = 0; i < FEATURES_COUNT; i++)
			assert_int_not_equal(features[i], 0);
	}
	memset(data, 0, 10 * KIB);
	assert_int_equal(common(data, 5 * KIB, data, 10 * KIB), FEATURES_COUNT);
}

static void
similar_inputs_share_features_and_others_do_not(void **state)
{
	/* Of 200 inputs of 16 KiB with so many places changed, how many share a feature. */
	static const struct {
		int edits, least, most;
	} rows[] = { { 0, 200, 200 }, { 1, 190, 200 }, { 8, 190, 200 }, { 32, 170, 200 },
		{ 128, 60, 190 }, { 4000, 0, 2 } };
	uint64_t random = 5;

	(void)state;
	for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
		int hits = 0;

		for (int trial = 0; trial < 200; trial++) {
			fill_random(data, 16 * KIB, next_random(&random));
			memcpy(other, data, 16 * KIB);
			for (int i = 0; i < rows[r].edits; i++)
				other[next_random(&random) % (16 * KIB)] ^= 1;
			hits += common(data, 16 * KIB, other, 16 * KIB) > 0;
		}
		assert_in_range(hits, rows[r].least, rows[r].most);
	}
}

static void
bytes_that_move_keep_their_features(void **state)
{
	int hits = 0;

	(void)state;
	for (uint64_t trial = 0; trial < 100; trial++) {
		size_t by = (size_t)trial % 37 + 1;

		fill_random(data, 16 * KIB, trial);
		fill_random(other, by, trial + 1000);
		memcpy(other + by, data, 16 * KIB);
		hits += common(data, 16 * KIB, other, 16 * KIB + by) > 0;
	}
	assert_true(hits > 90);
}

static void
small_inputs_find_each_other(void **state)
{
	int hits = 0;

	(void)state;
	for (uint64_t trial = 0; trial < 200; trial++) {
		size_t len = trial % 2 ? 200 : 1000;

		fill_random(data, len, trial);
		memcpy(other, data, len);
		other[(size_t)trial % len] ^= 1;
		hits += common(data, len, other, len) > 0;
	}
	assert_true(hits > 150);
}

static void
unrelated_inputs_share_nothing(void **state)
{
	(void)state;
	for (uint64_t trial = 0; trial < 500; trial++) {
		size_t len = 40 + (size_t)trial * 37;

		fill_random(data, len, 2 * trial);
		fill_random(other, len, 2 * trial + 1);
		assert_int_equal(common(data, len, other, len), 0);
	}
}

/* The head comment once more, slowly: no tables, no batches. */
static uint64_t
number(uint64_t n)
{
	uint64_t x = (n + 1) * 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static uint64_t
mixed(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static void
plain_features(uint64_t out[FEATURES_COUNT], const uint8_t *bytes, size_t len, int sampled)
{
	uint64_t maxima[12] = { 0 };
	size_t count = 0;

	for (size_t i = 32; i <= len; i++) {
		uint64_t hash = 0;

		for (size_t k = i - 32; k < i; k++)
			hash = hash * 4 + number(bytes[k]);
		if (sampled && hash >> 59 != 0)
			continue;
		count++;
		for (uint64_t t = 0; t < 12; t++) {
			uint64_t value = hash * (number(256 + 2 * t) | 1) + number(257 + 2 * t);

			if (value > maxima[t])
				maxima[t] = value;
		}
	}
	if (count == 0) {
		plain_features(out, bytes, len, 0);
		return;
	}
	for (int f = 0; f < FEATURES_COUNT; f++) {
		out[f] = 0;
		for (int i = 0; i < 4; i++)
			out[f] = mixed(out[f] + maxima[4 * f + i]);
	}
}

static void
features_are_those_of_the_description(void **state)
{
	static const size_t lens[] = { 32, 33, 255, 256, 257, 1000, 4096, 20000, 70001 };

	(void)state;
	for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++)
		for (int kind = 0; kind < 3; kind++) {
			uint64_t want[FEATURES_COUNT], got[FEATURES_COUNT];

			fill_random(data, lens[i], i);
			if (kind == 1)
				memset(data, 'a', lens[i]); /* every hash of this one is sampled */
			if (kind == 2)
				memset(data, 0, lens[i]); /* and none of this one */
			plain_features(want, data, lens[i], lens[i] >= 256);
			features_of(got, data, lens[i]);
			assert_memory_equal(want, got, sizeof want);
		}
}

/* Features are kept in stores and compared with new ones: these never change. */
static void
features_are_the_ones_of_the_first_version(void **state)
{
	static const uint64_t want[2][FEATURES_COUNT] = { { 0xb03855e4f26c3ba8, 0xf982ce2523d2589a,
							      0xcd999660355bdb52 },
		{ 0xa659b149e34932d4, 0x5a7fbbdd51a9c9ad, 0x98a311ff5f30c955 } };
	uint64_t got[FEATURES_COUNT];

	(void)state;
	for (size_t i = 0; i < 10 * KIB; i++)
		data[i] = (uint8_t)(i * i / 7);
	features_of(got, data, 100);
	assert_memory_equal(got, want[0], sizeof got);
	features_of(got, data, 10 * KIB);
	assert_memory_equal(got, want[1], sizeof got);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		cmocka_unit_test(short_inputs_have_none_and_all_others_have_all),
		cmocka_unit_test(runs_and_periods_have_features_too),
		cmocka_unit_test(similar_inputs_share_features_and_others_do_not),
		cmocka_unit_test(bytes_that_move_keep_their_features),
		cmocka_unit_test(small_inputs_find_each_other),
		cmocka_unit_test(unrelated_inputs_share_nothing),
		cmocka_unit_test(features_are_those_of_the_description),
		cmocka_unit_test(features_are_the_ones_of_the_first_version),
	};

	return cmocka_run_group_tests(cases, NULL, NULL);
}
