/*
 * cas/base/sha256.c and its lane files: published vectors, OpenSSL's answers,
 * and the same digests whichever way they were made.
 */
#include "cas/base/sha256.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include "cas/base/cpu.h"
#include "cas/base/sha256_lanes.h"

enum { TEXT_LEN = 1 << 20, JOBS_MAX = 4200 };

static uint8_t *text; /* TEXT_LEN + 64 random bytes */
static uint64_t seed = 20;

static struct sha256_job jobs[JOBS_MAX];
static struct larder_id got[JOBS_MAX], want[JOBS_MAX];

static uint64_t
next_random(void)
{
	uint64_t z = seed += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static size_t
random_below(size_t limit)
{
	return (size_t)(next_random() % limit);
}

static int
make_text(void **state)
{
	(void)state;
	text = malloc(TEXT_LEN + 64);
	if (text == NULL)
		return -1;
	for (size_t i = 0; i < TEXT_LEN + 64; i++)
		text[i] = (uint8_t)next_random();
	return 0;
}

static int
free_text(void **state)
{
	(void)state;
	free(text);
	return 0;
}

/* Job i is `len` bytes at `data`; what OpenSSL says about it goes to want[i]. */
static void
set_job(size_t i, const uint8_t *data, size_t len)
{
	jobs[i] = (struct sha256_job){ data, len, &got[i] };
	SHA256(data, len, want[i].bytes);
}

static void
assert_digests(size_t count, const char *way)
{
	for (size_t i = 0; i < count; i++)
		if (memcmp(&got[i], &want[i], sizeof want[i]) != 0)
			fail_msg("%s: wrong digest of message %zu of %zu, %zu bytes", way, i, count,
			    jobs[i].len);
}

/* The first `count` jobs by every way this machine has, and as it would choose. */
static void
assert_jobs_by_every_way(size_t count)
{
	for (unsigned way = 0; way < SHA256_WAY_COUNT; way++) {
		memset(got, 0, count * sizeof got[0]);
		if (sha256_many_with(way, jobs, count) == 0)
			assert_digests(count, sha256_way_name(way));
	}
	memset(got, 0, count * sizeof got[0]);
	sha256_many(jobs, count);
	assert_digests(count, "many");
}

/* FIPS 180-4's examples, by every way. */
static void
published_vectors_hold(void **state)
{
	static const struct {
		const char *message;
		uint8_t digest[32];
	} vectors[] = {
		{ "", { 0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8,
			  0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c,
			  0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55 } },
		{ "abc", { 0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde,
			     0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c,
			     0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad } },
		{ "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
		    { 0x24, 0x8d, 0x6a, 0x61, 0xd2, 0x06, 0x38, 0xb8, 0xe5, 0xc0, 0x26, 0x93, 0x0c,
			0x3e, 0x60, 0x39, 0xa3, 0x3c, 0xe4, 0x59, 0x64, 0xff, 0x21, 0x67, 0xf6,
			0xec, 0xed, 0xd4, 0x19, 0xdb, 0x06, 0xc1 } },
	};
	enum { COUNT = sizeof vectors / sizeof vectors[0] };
	struct larder_id one;

	(void)state;
	for (size_t i = 0; i < COUNT; i++) {
		jobs[i] =
		    (struct sha256_job){ vectors[i].message, strlen(vectors[i].message), &got[i] };
		memcpy(want[i].bytes, vectors[i].digest, 32);
		sha256(&one, jobs[i].data, jobs[i].len);
		assert_memory_equal(one.bytes, vectors[i].digest, 32);
	}
	assert_jobs_by_every_way(COUNT);
}

static void
nothing_at_all_may_be_a_null_pointer(void **state)
{
	struct larder_id one;
	struct sha256 stream;

	(void)state;
	for (size_t i = 0; i < 20; i++) {
		set_job(i, text, 0);
		jobs[i].data = NULL;
	}
	assert_jobs_by_every_way(20);
	sha256(&one, NULL, 0);
	assert_memory_equal(&one, &want[0], sizeof one);
	sha256_init(&stream);
	sha256_update(&stream, NULL, 0);
	sha256_final(&stream, &one);
	assert_memory_equal(&one, &want[0], sizeof one);
	sha256_many(NULL, 0);
}

static void
every_length_to_4096_gives_what_openssl_gives(void **state)
{
	(void)state;
	for (size_t len = 0; len <= 4096; len++)
		set_job(len, text + len % 64, len);
	assert_jobs_by_every_way(4097);
	for (size_t len = 0; len <= 4096; len++)
		sha256(&got[len], text + len % 64, len);
	assert_digests(4097, "one");
}

static void
every_count_to_40_with_mixed_lengths_and_offsets(void **state)
{
	(void)state;
	for (size_t count = 1; count <= 40; count++)
		for (int round = 0; round < 4; round++) {
			/* lengths alike, a little apart, and far apart */
			size_t most = round == 0 ? 1 : round == 1 ? 200 : 3000;

			for (size_t i = 0; i < count; i++)
				set_job(i, text + random_below(5000),
				    random_below(most) +
					(round == 3 && i == count / 2 ? 20000 : 64));
			assert_jobs_by_every_way(count);
		}
}

static void
long_messages_of_random_lengths_to_a_mebibyte(void **state)
{
	(void)state;
	for (size_t i = 0; i < 24; i++) {
		size_t at = random_below(64);

		set_job(i, text + at, i == 0 ? TEXT_LEN : random_below((size_t)1 << (8 + i % 13)));
	}
	assert_jobs_by_every_way(24);
}

/* More than one slice of the order, with a long message in the last. */
static void
many_more_messages_than_are_put_in_order_at_once(void **state)
{
	(void)state;
	for (size_t i = 0; i < JOBS_MAX; i++)
		set_job(
		    i, text + random_below(1000), i == JOBS_MAX - 1 ? 30000 : random_below(300));
	assert_jobs_by_every_way(JOBS_MAX);
	for (size_t i = 0; i < JOBS_MAX; i++) /* the array is left as it was */
		assert_ptr_equal(jobs[i].out, &got[i]);
}

static void
poorer_machines_give_the_same_digests(void **state)
{
	unsigned sets = cpu_sets();

	(void)state;
	for (size_t i = 0; i < 70; i++)
		set_job(i, text + i, random_below(2000));
	for (unsigned mask = 0; mask <= CPU_ALL; mask++) {
		if ((mask & ~sets) != 0) /* the same as another mask */
			continue;
		cpu_narrow(mask);
		memset(got, 0, sizeof got);
		sha256_many(jobs, 70);
		assert_digests(70, sha256_describe());
		sha256(&got[0], jobs[0].data, jobs[0].len);
		assert_digests(1, sha256_describe());
	}
	cpu_narrow(CPU_ALL);
}

static void
a_way_the_machine_lacks_is_refused_and_touches_nothing(void **state)
{
	(void)state;
	cpu_narrow(0);
	set_job(0, text, 100);
	memset(got, 0x55, sizeof got[0]);
	for (unsigned way = SHA256_SCALAR + 1; way < SHA256_WAY_COUNT; way++)
		assert_int_equal(sha256_many_with(way, jobs, 1), -1);
	assert_int_equal(got[0].bytes[0], 0x55);
	assert_int_equal(sha256_many_with(SHA256_SCALAR, jobs, 0), 0);
	cpu_narrow(CPU_ALL);
}

static void
the_description_names_what_is_used(void **state)
{
	(void)state;
	cpu_narrow(0);
	assert_string_equal(sha256_describe(), "one: scalar; many: scalar from 1");
#if defined(__x86_64__)
	if (cpu_narrow(CPU_ALL), cpu_has(CPU_AVX2)) {
		cpu_narrow(CPU_AVX2);
		assert_string_equal(
		    sha256_describe(), "one: scalar; many: scalar from 1, avx2 x8 from 3");
	}
	if (cpu_narrow(CPU_ALL), cpu_has(CPU_AVX2 | CPU_SHA)) {
		cpu_narrow(CPU_AVX2 | CPU_SHA);
		assert_string_equal(
		    sha256_describe(), "one: instr; many: instr from 1, instr x2 from 2");
	}
#endif
	cpu_narrow(CPU_ALL);
}

static void
a_stream_in_random_pieces_is_the_whole(void **state)
{
	(void)state;
	for (int round = 0; round < 300; round++) {
		size_t len = random_below(round % 10 == 0 ? 100000 : 1000), done = 0;
		size_t piece_max = (size_t)1 << (1 + round % 12);
		struct sha256 stream;
		struct larder_id out;

		set_job(0, text + round % 64, len);
		sha256_init(&stream);
		while (done < len) {
			size_t piece = random_below(piece_max + 1);

			if (piece > len - done)
				piece = len - done;
			sha256_update(&stream, text + round % 64 + done, piece);
			done += piece;
		}
		sha256_final(&stream, &out);
		assert_memory_equal(&out, &want[0], sizeof out);
	}
}

static void
a_million_a_by_stream(void **state)
{
	static const uint8_t digest[32] = { 0xcd, 0xc7, 0x6e, 0x5c, 0x99, 0x14, 0xfb, 0x92, 0x81,
		0xa1, 0xc7, 0xe2, 0x84, 0xd7, 0x3e, 0x67, 0xf1, 0x80, 0x9a, 0x48, 0xa4, 0x97, 0x20,
		0x0e, 0x04, 0x6d, 0x39, 0xcc, 0xc7, 0x11, 0x2c, 0xd0 };
	struct sha256 stream;
	struct larder_id out;
	char a[1000];

	(void)state;
	memset(a, 'a', sizeof a);
	sha256_init(&stream);
	for (int i = 0; i < 1000; i++)
		sha256_update(&stream, a, sizeof a);
	sha256_final(&stream, &out);
	assert_memory_equal(out.bytes, digest, 32);
}

static void
this_machine_passes_its_self_check(void **state)
{
	(void)state;
	assert_int_equal(sha256_self_check(), 0);
	print_message("# %s\n", sha256_describe());
}

/* Last: it is for good. */
static void
after_a_failed_check_nothing_but_the_scalar_way_is_used(void **state)
{
	(void)state;
	sha256_distrust();
	assert_string_equal(sha256_describe(), "one: scalar; many: scalar from 1");
	for (unsigned way = SHA256_SCALAR + 1; way < SHA256_WAY_COUNT; way++)
		assert_int_equal(sha256_many_with(way, jobs, 0), -1);
	for (size_t i = 0; i < 20; i++)
		set_job(i, text + i, 100 * i);
	assert_jobs_by_every_way(20);
	assert_int_equal(sha256_self_check(), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(this_machine_passes_its_self_check),
		cmocka_unit_test(published_vectors_hold),
		cmocka_unit_test(nothing_at_all_may_be_a_null_pointer),
		cmocka_unit_test(every_length_to_4096_gives_what_openssl_gives),
		cmocka_unit_test(every_count_to_40_with_mixed_lengths_and_offsets),
		cmocka_unit_test(long_messages_of_random_lengths_to_a_mebibyte),
		cmocka_unit_test(many_more_messages_than_are_put_in_order_at_once),
		cmocka_unit_test(poorer_machines_give_the_same_digests),
		cmocka_unit_test(a_way_the_machine_lacks_is_refused_and_touches_nothing),
		cmocka_unit_test(the_description_names_what_is_used),
		cmocka_unit_test(a_stream_in_random_pieces_is_the_whole),
		cmocka_unit_test(a_million_a_by_stream),
		cmocka_unit_test(after_a_failed_check_nothing_but_the_scalar_way_is_used),
	};

	return cmocka_run_group_tests_name("sha256", tests, make_text, free_text);
}
