/*
 * How fast candidates are found by each width this machine has, and how fast
 * whole buffers are cut. Median and best of several runs over bytes that do not
 * fit the caches; the bytes are those of the file named, else generated ones.
 *
 *	b_chunker [FILE]
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cas/object/chunker.h"

enum {
	DATA_LEN = 256 * 1024 * 1024,
	BLOCK_LEN = 4 * 1024 * 1024,
	RUNS = 9,
};

static const uint8_t seed[CHUNKER_SEED_LEN] = "seed of the bench";

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int
by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void
print_rate(const char *what, const char *how, double *seconds, size_t bytes, size_t found)
{
	qsort(seconds, RUNS, sizeof *seconds, by_value);
	printf("%-8s %-10s %6.2f GB/s median  %6.2f best  %zu found\n", what, how,
	    (double)bytes / seconds[RUNS / 2] * 1e-9, (double)bytes / seconds[0] * 1e-9, found);
}

static void
bench_scan(const struct chunker *chunker, const char *how, const uint8_t *data, size_t len)
{
	struct chunker_candidates candidates = { .room = CHUNKER_CELLS_MAX(BLOCK_LEN) };
	double seconds[RUNS];
	size_t found = 0;

	candidates.cells = calloc(candidates.room, sizeof *candidates.cells);
	if (candidates.cells == NULL)
		abort();
	for (int run = 0; run < RUNS; run++) {
		double begin = now();

		found = 0;
		for (size_t at = 0; at < len; at += BLOCK_LEN) {
			chunker_scan(chunker, &candidates, data + at,
			    len - at < BLOCK_LEN ? len - at : BLOCK_LEN,
			    at ? CHUNKER_WINDOW_LEN : 0, at);
			found += candidates.count;
		}
		seconds[run] = now() - begin;
	}
	print_rate("scan", how, seconds, len, found);
	free(candidates.cells);
}

static void
bench_next(const struct chunker *chunker, const char *how, const uint8_t *data, size_t len)
{
	struct chunker_candidates candidates = { .room = CHUNKER_CELLS_MAX(len) };
	double seconds[RUNS];
	size_t found = 0;

	candidates.cells = calloc(candidates.room, sizeof *candidates.cells);
	if (candidates.cells == NULL)
		abort();
	chunker_scan(chunker, &candidates, data, len, 0, 0);
	for (int run = 0; run < RUNS; run++) {
		double begin = now();
		uint64_t start = 0;
		uint32_t length;

		candidates.next = found = 0;
		while ((length = chunker_next(chunker, &candidates, start, true)) > 0) {
			start += length;
			found++;
		}
		seconds[run] = now() - begin;
	}
	print_rate("next", how, seconds, len, found);
	free(candidates.cells);
}

static void
bench_cut(const struct chunker *chunker, const char *how, const uint8_t *data, size_t len)
{
	size_t max = len / CHUNKER_MEAN_MIN + 1, found = 0;
	uint32_t *lengths = malloc(max * sizeof *lengths);
	double seconds[RUNS];

	if (lengths == NULL)
		abort();
	for (int run = 0; run < RUNS; run++) {
		double begin = now();

		found = chunker_cut(chunker, data, len, true, 0, lengths, max);
		seconds[run] = now() - begin;
	}
	print_rate("cut", how, seconds, len, found);
	free(lengths);
}

int
main(int argc, char *argv[])
{
	static const char *const names[CHUNKER_WAYS] = { "scalar", "avx2", "vnni", "neon" };
	uint8_t *data = malloc(DATA_LEN);
	size_t len = 0;

	if (data == NULL)
		return 1;
	if (argc > 1) {
		FILE *file = fopen(argv[1], "rb");

		if (file == NULL) {
			perror(argv[1]);
			return 1;
		}
		len = fread(data, 1, DATA_LEN, file);
		fclose(file);
	} else {
		uint64_t x = 1;

		for (; len < DATA_LEN; len++) {
			x = x * 6364136223846793005 + 1442695040888963407;
			data[len] = (uint8_t)(x >> 56);
		}
	}

	for (int way = 0; way < CHUNKER_WAYS; way++) {
		struct chunker chunker;

		chunker_init(&chunker, seed, CHUNKER_MEAN_DEFAULT);
		if (!chunker_with(&chunker, (enum chunker_way)way))
			continue;
		bench_scan(&chunker, names[way], data, len);
		bench_next(&chunker, names[way], data, len);
		bench_cut(&chunker, names[way], data, len);
	}
	free(data);
	return 0;
}
