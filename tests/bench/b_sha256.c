/*
 * How fast each way digests: GB/s, median and best of many runs, for messages
 * of one size and for sizes as the chunker makes them, with OpenSSL beside it.
 * Then what sha256_many() makes of few messages: the thresholds in
 * cas/base/sha256.c come from here.
 *
 *   b_sha256 [milliseconds per figure, default 150]
 */
#include "cas/base/sha256.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/evp.h>
#include <openssl/sha.h>

enum { TEXT_LEN = 4 << 20, JOBS_MAX = 4096, RUNS_MAX = 1000, SKEW = 192 };

static uint8_t *text;
static struct sha256_job jobs[JOBS_MAX];
static struct larder_id ids[JOBS_MAX];
static double budget_s = 0.15;

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int
compare(const void *x, const void *y)
{
	const double *a = x, *b = y;

	return (*a > *b) - (*a < *b);
}

/* --- The messages -------------------------------------------------------- */

static uint64_t seed = 1;

static uint64_t
next_random(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

/* As many messages of `len` bytes as the text holds, `gap` bytes between them. */
static size_t
jobs_of_one_size(size_t len, size_t gap, size_t most)
{
	size_t count = 0;

	for (size_t at = 0; count < most && count < JOBS_MAX && at + len <= TEXT_LEN;
	     at += len + gap) {
		jobs[count] = (struct sha256_job){ text + at, len, &ids[count] };
		count++;
	}
	return count;
}

/* Lengths from `least` to `most`, short ones more often, end to end. */
static size_t
jobs_of_mixed_sizes(size_t least, size_t mean, size_t most, size_t count_max)
{
	size_t count = 0;

	for (size_t at = 0; count < count_max && count < JOBS_MAX;) {
		size_t len = least;

		while (len < most && next_random() % (mean - least) >= 64)
			len += 64;
		len += next_random() % 64;
		if (at + len > TEXT_LEN)
			break;
		jobs[count] = (struct sha256_job){ text + at, len, &ids[count] };
		count++;
		at += len;
	}
	return count;
}

/* --- Measuring ----------------------------------------------------------- */

enum { BY_CHOICE = SHA256_WAY_COUNT, BY_ONE, BY_OPENSSL, BY_COUNT };

static const char *
name_of(unsigned by)
{
	static const char *const others[] = { "sha256_many()", "sha256()", "OpenSSL" };

	return by < SHA256_WAY_COUNT ? sha256_way_name(by) : others[by - SHA256_WAY_COUNT];
}

static int
digest_all(unsigned by, size_t count)
{
	static EVP_MD_CTX *context;
	static EVP_MD *method;

	if (by < SHA256_WAY_COUNT)
		return sha256_many_with(by, jobs, count);
	if (by == BY_CHOICE) {
		sha256_many(jobs, count);
		return 0;
	}
	if (by == BY_ONE) {
		for (size_t i = 0; i < count; i++)
			sha256(jobs[i].out, jobs[i].data, jobs[i].len);
		return 0;
	}
	if (context == NULL) {
		context = EVP_MD_CTX_new();
		method = EVP_MD_fetch(NULL, "SHA256", NULL);
	}
	for (size_t i = 0; i < count; i++) {
		EVP_DigestInit_ex2(context, method, NULL);
		EVP_DigestUpdate(context, jobs[i].data, jobs[i].len);
		EVP_DigestFinal_ex(context, jobs[i].out->bytes, NULL);
	}
	return 0;
}

/* Prints median and best GB/s; "-" if the machine does not have it. */
static void
measure(unsigned by, size_t count)
{
	double took[RUNS_MAX], start = now(), bytes = 0;
	size_t runs = 0;

	if (digest_all(by, 0) != 0) {
		printf("  %11s", "-");
		return;
	}
	for (size_t i = 0; i < count; i++)
		bytes += (double)jobs[i].len;
	while (runs < RUNS_MAX && (runs < 5 || now() - start < budget_s)) {
		size_t again = 1 + (size_t)(500000 / bytes); /* not to measure the clock */
		double begin = now();

		for (size_t i = 0; i < again; i++)
			digest_all(by, count);
		took[runs++] = (now() - begin) / (double)again;
	}
	qsort(took, runs, sizeof took[0], compare);
	printf("  %4.2f / %4.2f", bytes / took[runs / 2] / 1e9, bytes / took[0] / 1e9);
	fflush(stdout);
}

static void
print_table(void)
{
	printf("GB/s, median / best; 4 MiB of messages\n%-14s", "");
	printf("  %11s  %11s  %11s  %11s  %11s  %11s\n", "1 KiB", "4 KiB", "16 KiB", "64 KiB",
	    "64 mixed", "mixed");
	for (unsigned by = 0; by < BY_COUNT; by++) {
		printf("%-14s", name_of(by));
		for (size_t len = 1024; len <= 65536; len *= 4)
			measure(by, jobs_of_one_size(len, SKEW, JOBS_MAX));
		seed = 1;
		measure(by, jobs_of_mixed_sizes(4096, 16384, 65536, 64));
		measure(by, jobs_of_mixed_sizes(4096, 16384, 65536, JOBS_MAX));
		printf("\n");
	}
	printf("(mixed: 4 to 64 KiB, mean 16; 64 of them, or as many as there are)\n\n");
}

static void
print_small(void)
{
	printf("256 small messages of mixed sizes\n%-14s", "");
	printf("  %11s  %11s  %11s\n", "0.1..1 K", "0.3..4 K", "1..8 K");
	for (unsigned by = 0; by < BY_COUNT; by++) {
		printf("%-14s", name_of(by));
		seed = 1;
		measure(by, jobs_of_mixed_sizes(64, 512, 1024, 256));
		measure(by, jobs_of_mixed_sizes(256, 1500, 4096, 256));
		measure(by, jobs_of_mixed_sizes(1024, 4096, 8192, 256));
		printf("\n");
	}
	printf("\n");
}

static void
print_counts(void)
{
	static const unsigned columns[] = { SHA256_INSTR, SHA256_INSTR_TWO, SHA256_AVX2,
		SHA256_AVX512VL, SHA256_AVX512, BY_CHOICE };
	enum { COLUMNS = sizeof columns / sizeof columns[0] };

	for (int mixed = 0; mixed < 2; mixed++) {
		printf("few messages, %s\n%5s", mixed ? "4 to 64 KiB" : "16 KiB each", "");
		for (size_t i = 0; i < COLUMNS; i++)
			printf("  %11s", name_of(columns[i]));
		printf("\n");
		for (size_t count = 1; count <= 40; count += count < 18 ? 1 : 7) {
			printf("%5zu", count);
			for (size_t i = 0; i < COLUMNS; i++) {
				seed = 7;
				measure(columns[i],
				    mixed ? jobs_of_mixed_sizes(4096, 16384, 65536, count)
					  : jobs_of_one_size(16384, SKEW, count));
			}
			printf("\n");
		}
	}
	printf("\n");
}

/* SPEED.md 1: lanes whose messages start at like places of their pages. */
static void
print_places(void)
{
	printf("16 KiB messages, by distance of their starts: sha256_many()\n");
	for (size_t gap = 0; gap <= 256; gap = gap == 0 ? 1 : gap < 64 ? 64 : gap + 64) {
		printf("  16 KiB + %-4zu", gap);
		measure(BY_CHOICE, jobs_of_one_size(16384, gap, JOBS_MAX));
		printf("\n");
	}
	printf("  16 KiB, one byte off their pages");
	text++;
	measure(BY_CHOICE, jobs_of_one_size(16384, 0, TEXT_LEN / 16384 - 1));
	text--;
	printf("\n");
}

int
main(int argc, char *argv[])
{
	if (argc > 1)
		budget_s = atof(argv[1]) / 1000;
	text = aligned_alloc(4096, TEXT_LEN);
	if (text == NULL || sha256_self_check() != 0) {
		fprintf(stderr, "b_sha256: no memory, or a wrong digest\n");
		return 1;
	}
	for (size_t i = 0; i < TEXT_LEN; i++)
		text[i] = (uint8_t)next_random();
	printf("%s\n\n", sha256_describe());
	print_table();
	print_small();
	print_counts();
	print_places();
	free(text);
	return 0;
}
