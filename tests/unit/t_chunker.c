/* chunker.c and its lane files: the same stream is cut the same, whatever does it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cas/base/cpu.h"
#include "cas/object/chunker.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum {
	KIB = 1024,
	MIB = 1024 * 1024,
	LENGTHS_MAX = 64 * KIB,
	FRONT = 64, /* bytes in front of the data, so that `before` can be had */
};

static const uint8_t seed[CHUNKER_SEED_LEN] = "0123456789abcdef0123456789abcde";

/* Numbers for test data, not the product's. */
static uint32_t
next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*state >> 32);
}

struct stream {
	uint8_t *all, *data;
	size_t len;
};

static struct stream
stream_new(size_t len)
{
	struct stream s = { .all = calloc(1, FRONT + len), .len = len };

	assert_non_null(s.all);
	s.data = s.all + FRONT;
	return s;
}

static void
fill_random(struct stream *s, uint64_t from)
{
	for (size_t i = 0; i < s->len; i++)
		s->data[i] = (uint8_t)(next_random(&from) >> 24);
}

/* Words from a small vocabulary: like text, windows come again and again. */
static void
fill_text(struct stream *s, uint64_t from)
{
	static const char *const words[] = { "the ", "larder ", "keeps ", "what ", "was ", "put ",
		"into ", "it, ", "and\n", "\treturn 0;\n", "}\n\n", "0x00, " };
	size_t i = 0;

	while (i < s->len)
		for (const char *w = words[next_random(&from) % COUNT(words)]; *w && i < s->len;
		     w++)
			s->data[i++] = (uint8_t)*w;
}

static void
fill_period(struct stream *s, size_t period, uint64_t from)
{
	fill_random(s, from);
	for (size_t i = period; i < s->len; i++)
		s->data[i] = s->data[i - period];
}

/* The definition in the comment of chunker.c once more, place by place and with no code of the
 * product. */
static uint32_t
plain_hash(const struct chunker *chunker, const uint8_t *place)
{
	uint32_t half[2];

	for (int h = 0; h < 2; h++) {
		half[h] = chunker->constant;
		for (int k = 0; k < 8; k++) {
			const uint8_t *p = place - 16 * (h + 1) + 2 * k;
			int64_t word = p[0] + 256 * p[1];

			if (word >= 32768)
				word -= 65536;
			half[h] += (uint32_t)(uint64_t)(word * chunker->keys[k]);
		}
	}
	return (half[0] + (half[1] << 16 | half[1] >> 16)) & 0x3ffffff;
}

static size_t
plain_cut(const struct chunker *chunker, const struct stream *s, uint64_t offset, uint32_t *lengths)
{
	size_t count = 0;

	for (size_t start = 0; start < s->len; start += lengths[count++]) {
		const struct chunker_class *limits =
		    &chunker->classes[offset + start >= CHUNKER_SECOND_AT];
		size_t i = start + limits->least;

		for (; i < s->len && i < start + limits->most; i++) {
			const struct chunker_class *rates =
			    &chunker->classes[offset + i > CHUNKER_SECOND_AT];

			if (plain_hash(chunker, s->data + i) <
			    (i < start + limits->turn ? rates->strict : rates->loose))
				break;
		}
		lengths[count] = (uint32_t)((i < s->len ? i : s->len) - start);
	}
	return count;
}

/* Blocks of random lengths, each searched on its own; every chunk chosen with the blocks it
 * touches. */
static size_t
cut_in_blocks(const struct chunker *chunker, const struct stream *s, uint64_t offset,
    size_t block_max, uint64_t random, uint32_t *lengths)
{
	struct chunker_candidates candidates = { .room = CHUNKER_CELLS_MAX(block_max) };
	uint64_t start = offset;
	size_t count = 0;

	candidates.cells = calloc(candidates.room, sizeof *candidates.cells);
	assert_non_null(candidates.cells);
	for (size_t at = 0, len; at < s->len; at += len) {
		uint32_t length;

		len = 1 + next_random(&random) % block_max;
		if (len > s->len - at)
			len = s->len - at;
		chunker_scan(chunker, &candidates, s->data + at, len, at < 32 ? at : 31 + at % 2,
		    offset + at);
		assert_true(candidates.count <= CHUNKER_CELLS_MAX(len));
		assert_int_equal(candidates.end, offset + at + len);
		while (
		    (length = chunker_next(chunker, &candidates, start, at + len == s->len)) > 0) {
			lengths[count++] = length;
			start += length;
		}
	}
	free(candidates.cells);
	assert_int_equal(start, offset + s->len);
	return count;
}

static void
assert_same(const uint32_t *a, size_t a_count, const uint32_t *b, size_t b_count)
{
	assert_int_equal(a_count, b_count);
	assert_memory_equal(a, b, a_count * sizeof *a);
}

/* Every width, one call, a call per piece and many blocks: all like the plain definition. */
static void
assert_all_agree(const struct stream *s, uint64_t offset, uint32_t mean)
{
	uint32_t *want = calloc(LENGTHS_MAX, sizeof *want), *got = calloc(LENGTHS_MAX, sizeof *got);
	struct chunker chunker;
	size_t count;

	assert_non_null(want);
	assert_non_null(got);
	chunker_init(&chunker, seed, mean);
	count = plain_cut(&chunker, s, offset, want);
	for (enum chunker_way way = CHUNKER_SCALAR; way < CHUNKER_WAYS; way++) {
		if (!chunker_with(&chunker, way))
			continue;
		assert_same(want, count, got,
		    chunker_cut(&chunker, s->data, s->len, true, offset, got, LENGTHS_MAX));
		assert_same(want, count, got, cut_in_blocks(&chunker, s, offset, 40, way, got));
		assert_same(want, count, got, cut_in_blocks(&chunker, s, offset, 5000, way, got));
		assert_same(want, count, got, cut_in_blocks(&chunker, s, offset, 700000, way, got));
	}
	free(want);
	free(got);
}

static void
every_width_cuts_like_the_definition_in_one_block_and_in_many(void **state)
{
	struct stream s = stream_new(3 * MIB + 777);

	(void)state;
	fill_random(&s, 1);
	assert_all_agree(&s, 0, 16 * KIB);
	assert_all_agree(&s, 0, 4 * KIB);
	fill_text(&s, 2);
	assert_all_agree(&s, 0, 64 * KIB);
	assert_all_agree(&s, (uint64_t)1 << 40, 16 * KIB);
	free(s.all);
}

static void
every_width_finds_the_candidates_of_the_definition_at_any_alignment(void **state)
{
	struct stream s = stream_new(20000);
	struct chunker_cell cells[CHUNKER_CELLS_MAX(20000)];
	struct chunker_candidates found = { .cells = cells, .room = COUNT(cells) };
	struct chunker chunker;

	(void)state;
	fill_random(&s, 9);
	chunker_init(&chunker, seed, 4 * KIB);
	chunker.classes[0].loose = 1 << 22; /* one place in 16, so that there is much to see */
	chunker.classes[0].strict = 1 << 20;
	for (size_t from = 0; from < 200; from += 7)
		for (enum chunker_way way = CHUNKER_SCALAR; way < CHUNKER_WAYS; way++) {
			size_t cell = 0;

			if (!chunker_with(&chunker, way))
				continue;
			chunker_scan(&chunker, &found, s.data + from, s.len - 2 * from, from, from);
			for (size_t i = from < 32 ? 32 : from + 1; i <= s.len - from; i++) {
				uint32_t hash = plain_hash(&chunker, s.data + i);
				uint64_t bit;

				while (cell < found.count && cells[cell].at + 64 <= i)
					cell++;
				bit = cell < found.count && cells[cell].at <= i
					  ? (uint64_t)1 << (i - cells[cell].at)
					  : 0;
				assert_int_equal(
				    hash < 1 << 22, bit && (cells[cell].loose & bit) != 0);
				assert_int_equal(
				    hash < 1 << 20, bit && (cells[cell].strict & bit) != 0);
			}
		}
	free(s.all);
}

static void
the_greatest_words_wrap_around_alike(void **state)
{
	struct stream s = stream_new(300 * KIB);
	struct chunker chunker;

	(void)state;
	for (size_t i = 0; i < s.len; i++) /* words of -32768 at one alignment, 128 at the other */
		s.data[i] = i % 2 && i % 4099 ? 0x80 : 0;
	assert_all_agree(&s, 0, 4 * KIB);

	/* PMADDWD's one overflow: two products of -32768 * -32768. */
	chunker_init(&chunker, seed, 4 * KIB);
	for (int k = 0; k < CHUNKER_KEYS; k++)
		chunker.keys[k] = INT16_MIN;
	chunker.constant = 0;
	memset(s.data, 0, s.len);
	for (size_t i = 0; i < s.len; i += 2)
		s.data[i + 1] = 0x80;
	assert_int_equal(chunker_hash(&chunker, s.data), 0);
	for (enum chunker_way way = CHUNKER_SCALAR; way < CHUNKER_WAYS; way++) {
		uint32_t want[300], got[300];

		if (chunker_with(&chunker, way))
			assert_same(want, plain_cut(&chunker, &s, 0, want), got,
			    chunker_cut(&chunker, s.data, s.len, true, 0, got, 300));
	}
	free(s.all);
}

static void
a_run_of_one_byte_value_is_cut_at_the_greatest_length(void **state)
{
	struct stream s = stream_new(1 * MIB);
	uint8_t other[CHUNKER_SEED_LEN] = { 0 };

	(void)state;
	for (int trial = 0; trial < 40; trial++) {
		struct chunker chunker;
		uint32_t lengths[300];

		other[31] = (uint8_t)trial;
		chunker_init(&chunker, other, 4 * KIB);
		for (int value = 0; value < 256; value += trial == 0 ? 1 : 51) {
			memset(s.data, value, s.len);
			assert_int_equal(
			    chunker_cut(&chunker, s.data, s.len, true, 0, lengths, 300), 64);
			for (int i = 0; i < 64; i++)
				assert_int_equal(lengths[i], 16 * KIB);
		}
	}
	free(s.all);
}

static void
degenerate_patterns_are_cut_alike(void **state)
{
	static const size_t periods[] = { 1, 2, 3, 4, 5, 8, 16, 31, 32, 33, 48, 64, 100, 512,
		4096 };
	struct stream s = stream_new(400 * KIB + 13);

	(void)state;
	for (size_t i = 0; i < COUNT(periods); i++) {
		fill_period(&s, periods[i], i);
		assert_all_agree(&s, 0, 4 * KIB);
	}
	free(s.all);
}

static void
data_of_nothing_but_candidates_fits_and_is_cut_at_the_least_length(void **state)
{
	struct stream s = stream_new(256 * KIB + 5);
	struct chunker chunker;
	uint32_t want[300], got[300];
	size_t count;

	(void)state;
	fill_random(&s, 4);
	chunker_init(&chunker, seed, 4 * KIB);
	for (int i = 0; i < CHUNKER_CLASSES; i++)
		chunker.classes[i].strict = chunker.classes[i].loose = 1 << 26;
	count = plain_cut(&chunker, &s, 0, want);
	assert_int_equal(count, 257);
	assert_int_equal(want[0], 1 * KIB);
	for (enum chunker_way way = CHUNKER_SCALAR; way < CHUNKER_WAYS; way++)
		if (chunker_with(&chunker, way)) {
			assert_same(want, count, got,
			    chunker_cut(&chunker, s.data, s.len, true, 0, got, 300));
			assert_same(
			    want, count, got, cut_in_blocks(&chunker, &s, 0, 999, way, got));
		}
	free(s.all);
}

static void
tiny_inputs_are_one_chunk_and_nothing_is_none(void **state)
{
	struct chunker chunker;
	uint32_t lengths[2];

	(void)state;
	chunker_init(&chunker, seed, 16 * KIB);
	for (enum chunker_way way = CHUNKER_SCALAR; way < CHUNKER_WAYS; way++) {
		if (!chunker_with(&chunker, way))
			continue;
		assert_int_equal(chunker_cut(&chunker, NULL, 0, true, 0, lengths, 2), 0);
		for (size_t len = 1; len < 300; len++) {
			uint8_t *exact =
			    malloc(len); /* so that the sanitizer sees one byte too far */

			assert_non_null(exact);
			memset(exact, 'x', len);
			assert_int_equal(chunker_cut(&chunker, exact, len, true, 0, lengths, 2), 1);
			assert_int_equal(lengths[0], len);
			assert_int_equal(
			    chunker_cut(&chunker, exact, len, false, 0, lengths, 2), 0);
			free(exact);
		}
	}
}

static void
nothing_outside_the_data_is_read(void **state)
{
	struct chunker chunker;
	struct chunker_cell cells[CHUNKER_CELLS_MAX(1000)];
	struct chunker_candidates found = { .cells = cells, .room = COUNT(cells) };

	(void)state;
	chunker_init(&chunker, seed, 4 * KIB);
	for (enum chunker_way way = CHUNKER_SCALAR; way < CHUNKER_WAYS; way++)
		for (size_t len = 0; chunker_with(&chunker, way) && len < 1000; len++) {
			uint8_t *exact = calloc(1, 31 + len);

			assert_non_null(exact);
			chunker_scan(&chunker, &found, exact + 31, len, 31, 4 * MIB);
			free(exact);
		}
}

static void
without_the_end_only_certain_chunks_are_given(void **state)
{
	struct stream s = stream_new(600 * KIB);
	struct chunker chunker;
	uint32_t whole[400], part[400];
	size_t whole_count;

	(void)state;
	fill_random(&s, 6);
	chunker_init(&chunker, seed, 4 * KIB);
	whole_count = chunker_cut(&chunker, s.data, s.len, true, 0, whole, 400);
	for (size_t len = 0; len < s.len; len += 4999) {
		size_t count = chunker_cut(&chunker, s.data, len, false, 0, part, 400);
		size_t sum = 0;

		assert_true(count <= whole_count);
		assert_memory_equal(part, whole, count * sizeof *part);
		for (size_t i = 0; i < count; i++)
			sum += part[i];
		assert_true(sum <= len);
		assert_true(
		    sum + chunker_most(&chunker, sum) > len); /* else one more was certain */
	}
	assert_int_equal(chunker_cut(&chunker, s.data, s.len, true, 0, part, 7), 7);
	assert_memory_equal(part, whole, 7 * sizeof *part);
	free(s.all);
}

static void
an_end_at_a_cut_adds_no_empty_chunk(void **state)
{
	struct stream s = stream_new(200 * KIB);
	struct chunker chunker;
	uint32_t whole[200], part[200];

	(void)state;
	fill_random(&s, 6);
	chunker_init(&chunker, seed, 4 * KIB);
	assert_true(chunker_cut(&chunker, s.data, s.len, true, 0, whole, 200) > 3);
	assert_int_equal(chunker_cut(&chunker, s.data, whole[0] + whole[1], true, 0, part, 200), 2);
	assert_int_equal(
	    chunker_cut(&chunker, s.data, whole[0] + whole[1], false, 0, part, 200), 2);
	free(s.all);
}

static void
chunks_keep_the_limits_and_the_mean(void **state)
{
	static const uint32_t means[] = { 4 * KIB, 8 * KIB, 16 * KIB, 32 * KIB, 64 * KIB };
	struct stream s = stream_new(24 * MIB);

	(void)state;
	fill_random(&s, 3);
	for (size_t m = 0; m < COUNT(means); m++)
		for (int class = 0; class < CHUNKER_CLASSES; class ++) {
			uint32_t *lengths = calloc(LENGTHS_MAX, sizeof *lengths);
			uint32_t mean = means[m] << 2 * class;
			struct chunker chunker;
			size_t count, longest = 0;

			assert_non_null(lengths);
			chunker_init(&chunker, seed, means[m]);
			assert_int_equal(chunker.classes[class].least, mean / 4);
			assert_int_equal(chunker.classes[class].most, mean * 4);
			count = chunker_cut(&chunker, s.data, s.len, true,
			    class ? CHUNKER_SECOND_AT : 0, lengths, LENGTHS_MAX);
			assert_in_range(s.len / count, mean / 100 * 88, mean / 100 * 112);
			for (size_t i = 0; i + 1 < count; i++) {
				assert_in_range(lengths[i], mean / 4, mean * 4);
				longest += lengths[i] == mean * 4;
			}
			assert_true(longest <= count / 200);
			free(lengths);
		}
	free(s.all);
}

static void
classes_change_at_64_mib_whatever_the_blocks(void **state)
{
	struct stream s = stream_new(2 * MIB);
	uint64_t offset = CHUNKER_SECOND_AT - 1 * MIB;
	struct chunker chunker;
	uint32_t lengths[600];
	uint64_t start = offset;
	size_t count, small = 0, large = 0;

	(void)state;
	fill_random(&s, 5);
	for (uint64_t shift = 0; shift < 200; shift += 33)
		assert_all_agree(&s, offset + shift, 4 * KIB);

	chunker_init(&chunker, seed, 4 * KIB);
	assert_int_equal(chunker_most(&chunker, CHUNKER_SECOND_AT - 1), 16 * KIB);
	assert_int_equal(chunker_most(&chunker, CHUNKER_SECOND_AT), 64 * KIB);
	count = chunker_cut(&chunker, s.data, s.len, true, offset, lengths, 600);
	for (size_t i = 0; i < count; start += lengths[i++]) {
		if (start < CHUNKER_SECOND_AT)
			small++;
		else
			large++;
		if (i + 1 < count)
			assert_in_range(lengths[i], start < CHUNKER_SECOND_AT ? KIB : 4 * KIB,
			    chunker_most(&chunker, start));
	}
	assert_in_range(small, 200, 320);
	assert_in_range(large, 45, 90);
	free(s.all);
}

static void
a_shifted_stream_is_cut_the_same_again_soon(void **state)
{
	struct stream s = stream_new(1 * MIB), shifted = stream_new(1 * MIB + 17);
	uint32_t a[400], b[400];
	struct chunker chunker;
	size_t a_count, b_count, common = 0;

	(void)state;
	fill_text(&s, 7);
	fill_random(&shifted, 8);
	memcpy(shifted.data + 17, s.data, s.len);
	chunker_init(&chunker, seed, 8 * KIB);
	a_count = chunker_cut(&chunker, s.data, s.len, true, 0, a, 400);
	b_count = chunker_cut(&chunker, shifted.data, shifted.len, true, 0, b, 400);
	while (common < a_count && common < b_count &&
	       a[a_count - 1 - common] == b[b_count - 1 - common])
		common++;
	assert_true(a_count - common < 12);
	free(s.all);
	free(shifted.all);
}

static void
another_seed_cuts_elsewhere(void **state)
{
	struct stream s = stream_new(1 * MIB);
	uint8_t other[CHUNKER_SEED_LEN];
	struct chunker a, b;

	(void)state;
	fill_random(&s, 2);
	chunker_init(&a, seed, 16 * KIB);
	for (size_t byte = 0; byte < CHUNKER_SEED_LEN; byte++) {
		uint32_t one[200], two[200];

		memcpy(other, seed, sizeof other);
		other[byte] ^= 1;
		chunker_init(&b, other, 16 * KIB);
		for (int k = 0; k < CHUNKER_KEYS; k++) {
			assert_true(b.keys[k] & 1);
			assert_int_not_equal(a.keys[k], b.keys[k]);
		}
		chunker_cut(&a, s.data, s.len, true, 0, one, 200);
		chunker_cut(&b, s.data, s.len, true, 0, two, 200);
		assert_memory_not_equal(one, two, 8 * sizeof *one);
	}
	free(s.all);
}

/* A store made by one version is added to by the next: these numbers never change. */
static void
keys_and_cuts_are_the_ones_of_the_first_version(void **state)
{
	static const int16_t keys[CHUNKER_KEYS] = { -20763, -20129, -26807, 30231, 22681, 21657,
		30811, 16883 };
	static const uint32_t random_cuts[] = { 19680, 13271, 15925, 23952, 11550, 22185, 16134,
		12510, 13071, 13128, 2434 };
	static const uint32_t text_cuts[] = { 14417, 23961, 15357, 12342, 14280, 18639, 18693,
		13127, 11102, 15440, 6482 };
	struct stream s = stream_new(160 * KIB);
	struct chunker chunker;
	uint32_t lengths[100];

	(void)state;
	chunker_init(&chunker, seed, 16 * KIB);
	assert_memory_equal(chunker.keys, keys, sizeof keys);
	assert_int_equal(chunker.constant, 0x8805a9b6);
	fill_random(&s, 1);
	assert_same(random_cuts, COUNT(random_cuts), lengths,
	    chunker_cut(&chunker, s.data, s.len, true, 0, lengths, 100));
	fill_text(&s, 1);
	assert_same(text_cuts, COUNT(text_cuts), lengths,
	    chunker_cut(&chunker, s.data, s.len, true, 0, lengths, 100));
	free(s.all);
}

static void
a_poorer_machine_takes_a_narrower_way(void **state)
{
	struct chunker chunker;
	chunker_lanes *scalar;

	(void)state;
	cpu_narrow(0);
	chunker_init(&chunker, seed, 16 * KIB);
	scalar = chunker.lanes;
	assert_false(chunker_with(&chunker, CHUNKER_AVX2));
	assert_false(chunker_with(&chunker, CHUNKER_VNNI));
	assert_false(chunker_with(&chunker, CHUNKER_NEON));
	assert_true(chunker.lanes == scalar);
	cpu_narrow(CPU_ALL);
	assert_true(chunker_with(&chunker, CHUNKER_SCALAR));
	assert_true(chunker.lanes == scalar);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		cmocka_unit_test(every_width_cuts_like_the_definition_in_one_block_and_in_many),
		cmocka_unit_test(
		    every_width_finds_the_candidates_of_the_definition_at_any_alignment),
		cmocka_unit_test(the_greatest_words_wrap_around_alike),
		cmocka_unit_test(a_run_of_one_byte_value_is_cut_at_the_greatest_length),
		cmocka_unit_test(degenerate_patterns_are_cut_alike),
		cmocka_unit_test(
		    data_of_nothing_but_candidates_fits_and_is_cut_at_the_least_length),
		cmocka_unit_test(tiny_inputs_are_one_chunk_and_nothing_is_none),
		cmocka_unit_test(nothing_outside_the_data_is_read),
		cmocka_unit_test(without_the_end_only_certain_chunks_are_given),
		cmocka_unit_test(an_end_at_a_cut_adds_no_empty_chunk),
		cmocka_unit_test(chunks_keep_the_limits_and_the_mean),
		cmocka_unit_test(classes_change_at_64_mib_whatever_the_blocks),
		cmocka_unit_test(a_shifted_stream_is_cut_the_same_again_soon),
		cmocka_unit_test(another_seed_cuts_elsewhere),
		cmocka_unit_test(keys_and_cuts_are_the_ones_of_the_first_version),
		cmocka_unit_test(a_poorer_machine_takes_a_narrower_way),
	};

	return cmocka_run_group_tests(cases, NULL, NULL);
}
