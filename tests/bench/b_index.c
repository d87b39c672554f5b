/*
 * The figures of SPEED.md 4, through index.h: random 32-byte ids, places as
 * packs have them. Median and best of several runs; on a busy machine the
 * processor time says more. `b_index 10` fills ten million instead of one.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cas/base/clock.h"
#include "index/index.h"

enum { RUNS = 5, LOOKUPS = 1000000, SORTED_BATCH = 4096 };

static char folder[256];
static int folder_fd;
static uint64_t total = 1000000;

static void
must(int rc, const struct larder_err *err, const char *what)
{
	if (rc >= 0)
		return;
	fprintf(stderr, "%s: %s\n", what, err != NULL ? err->message : "failed");
	exit(1);
}

/* ---- ids ---- */

static uint64_t
mix(uint64_t n)
{
	n += 0x9e3779b97f4a7c15;
	n = (n ^ n >> 30) * 0xbf58476d1ce4e5b9;
	n = (n ^ n >> 27) * 0x94d049bb133111eb;
	return n ^ n >> 31;
}

static struct larder_id
id_of(uint64_t n)
{
	struct larder_id id;

	for (uint64_t i = 0; i < 4; i++) {
		uint64_t word = mix(n * 4 + i);

		memcpy(id.bytes + 8 * i, &word, 8);
	}
	return id;
}

static struct index_place
place_of(uint64_t n)
{
	return (struct index_place){
		.pack = (uint32_t)(n / 3000 + 1),
		.segment_at = (uint32_t)(mix(n) % (16 << 20)),
		.chunk_at = (uint32_t)(n * 4096 % (128 << 10)),
		.chunk_len = 4096,
	};
}

static int
by_id(const void *a, const void *b)
{
	return memcmp(a, b, LARDER_ID_LEN);
}

/* ---- timing ---- */

static double seconds[RUNS], best_cpu;
static int64_t started;
static clock_t cpu_started;

static void
start(void)
{
	started = clock_mono_ns();
	cpu_started = clock();
}

static double
stop(void)
{
	double cpu = (double)(clock() - cpu_started) / CLOCKS_PER_SEC;

	best_cpu = best_cpu == 0 || cpu < best_cpu ? cpu : best_cpu;
	return (double)(clock_mono_ns() - started) * 1e-9;
}

static int
by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* In thousands a second: median, best; and microseconds of processor time each, the best. */
static void
print_rate(const char *what, int runs, double count)
{
	qsort(seconds, (size_t)runs, sizeof seconds[0], by_value);
	printf("%-46s %9.1f k/s %9.1f best %10.3f us cpu\n", what, count / seconds[runs / 2] * 1e-3,
	    count / seconds[0] * 1e-3, best_cpu / count * 1e6);
	fflush(stdout);
	best_cpu = 0;
}

/* ---- filling ---- */

static struct index *
open_index(const char *dir, bool scratch)
{
	struct index_options options = {
		.dir_fd = folder_fd,
		.dir = dir,
		.create = true,
		.scratch = scratch,
	};
	struct larder_err err = { 0 };
	struct index *index = NULL;

	must(index_open(&index, &options, &err), &err, "open");
	return index;
}

static void
remove_index(const char *dir)
{
	static const char *const files[] = { "data.mdb", "lock.mdb", "session" };
	char path[64];

	for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
		snprintf(path, sizeof path, "%s/%s", dir, files[i]);
		unlinkat(folder_fd, path, 0);
	}
	unlinkat(folder_fd, dir, AT_REMOVEDIR);
}

struct batch {
	const struct larder_id *ids; /* NULL: id_of() */
	uint64_t first, count;
	bool append;
};

static int
put_batch(void *context, struct index_write *write, struct larder_err *err)
{
	const struct batch *b = context;
	int rc = 0;

	for (uint64_t n = b->first; rc >= 0 && n < b->first + b->count; n++) {
		struct larder_id id = b->ids != NULL ? b->ids[n] : id_of(n);
		struct index_place place = place_of(n);

		rc = b->append ? index_chunk_append(write, &id, &place, err)
			       : index_chunk_put(write, &id, &place, err);
	}
	return rc < 0 ? rc : 0;
}

static void
fill(struct index *index, struct batch batch, uint64_t count, uint64_t step)
{
	struct larder_err err = { 0 };

	for (batch.first = 0; batch.first < count; batch.first += step) {
		batch.count = step < count - batch.first ? step : count - batch.first;
		must(index_update(index, put_batch, &batch, &err), &err, "update");
	}
}

static uint64_t
size_of(struct index *index)
{
	struct index_read *read = NULL;
	struct index_counts counts;

	must(index_read_begin(&read, index, NULL), NULL, "begin");
	must(index_counts_get(&counts, read, NULL), NULL, "counts");
	index_read_end(read);
	return counts.bytes;
}

static void
bench_fill(
    const char *what, bool scratch, struct batch batch, uint64_t count, uint64_t step, int runs)
{
	uint64_t bytes = 0;
	char line[80];

	for (int i = 0; i < runs; i++) {
		struct index *index = open_index("fill", scratch);

		start();
		fill(index, batch, count, step);
		seconds[i] = stop();
		bytes = size_of(index);
		index_close(index);
		remove_index("fill");
	}
	snprintf(line, sizeof line, "%s, %.0f B each", what, (double)bytes / (double)count);
	print_rate(line, runs, (double)count);
}

static void
bench_filling(void)
{
	struct larder_id *ids = calloc(total, sizeof *ids);
	struct batch random = { 0 }, sorted = { 0 };

	if (ids == NULL)
		exit(1);
	for (uint64_t n = 0; n < total; n++)
		ids[n] = id_of(n);
	bench_fill("put 10 k a transaction", false, random, total, 10000, 3);
	bench_fill("put 10 k a transaction, scratch", true, random, total, 10000, 3);
	bench_fill("put 30 k a transaction, scratch", true, random, total, 30000, 3);
	sorted.ids = ids;
	qsort(ids, total, sizeof *ids, by_id);
	sorted.append = true;
	bench_fill("append 10 k a transaction, scratch", true, sorted, total, 10000, 3);
	bench_fill("append 100 k a transaction, scratch", true, sorted, total, 100000, 3);
	free(ids);
}

/* ---- looking up ---- */

static uint64_t
get_some(struct index_read *read, uint64_t first, uint64_t range, uint64_t seed)
{
	struct index_place place;
	uint64_t found = 0;

	for (uint64_t i = 0; i < LOOKUPS; i++) {
		struct larder_id id = id_of(first + mix(i + seed) % range);

		found += index_chunk_get(&place, read, &id, NULL) == 0;
	}
	return found;
}

static void
bench_get(struct index *index)
{
	struct index_read *read = NULL;

	must(index_read_begin(&read, index, NULL), NULL, "begin");
	for (int i = 0; i < RUNS; i++) {
		start();
		if (get_some(read, 0, total, (uint64_t)i * LOOKUPS) != LOOKUPS)
			exit(1);
		seconds[i] = stop();
	}
	print_rate("get, hit", RUNS, LOOKUPS);
	for (int i = 0; i < RUNS; i++) {
		start();
		if (get_some(read, total, total, (uint64_t)i * LOOKUPS) != 0)
			exit(1);
		seconds[i] = stop();
	}
	print_rate("get, miss", RUNS, LOOKUPS);
	index_read_end(read);
}

static void
bench_sorted(struct index *index)
{
	struct larder_id ids[SORTED_BATCH];
	struct index_read *read = NULL;
	struct index_place place;

	must(index_read_begin(&read, index, NULL), NULL, "begin");
	for (int run = 0; run < RUNS; run++) {
		start();
		for (uint64_t n = 0; n < LOOKUPS; n += SORTED_BATCH) {
			for (uint64_t i = 0; i < SORTED_BATCH; i++)
				ids[i] = id_of(mix(n + i) % total);
			qsort(ids, SORTED_BATCH, sizeof ids[0], by_id);
			for (uint64_t i = 0; i < SORTED_BATCH; i++)
				must(index_chunk_get(&place, read, &ids[i], NULL), NULL, "get");
		}
		seconds[run] = stop();
	}
	print_rate("get, sorted by 4096 (sorting included)", RUNS, LOOKUPS);
	index_read_end(read);
}

static void
bench_two_processes(void)
{
	for (int i = 0; i < 2; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			struct index *own = open_index("main", false);

			bench_get(own);
			index_close(own);
			_exit(0);
		}
	}
	while (wait(NULL) > 0)
		;
}

static void
bench_transactions(struct index *index)
{
	struct index_read *read = NULL;
	struct larder_id id = id_of(1);
	struct index_place place;

	for (int run = 0; run < RUNS; run++) {
		start();
		for (int i = 0; i < LOOKUPS; i++) {
			must(index_read_begin(&read, index, NULL), NULL, "begin");
			index_read_end(read);
		}
		seconds[run] = stop();
	}
	print_rate("begin and end", RUNS, LOOKUPS);
	must(index_read_begin(&read, index, NULL), NULL, "begin");
	for (int run = 0; run < RUNS; run++) {
		start();
		for (int i = 0; i < LOOKUPS; i++)
			must(index_read_renew(read, NULL), NULL, "renew");
		seconds[run] = stop();
	}
	print_rate("renew", RUNS, LOOKUPS);
	for (int run = 0; run < RUNS; run++) {
		start();
		for (int i = 0; i < LOOKUPS; i++) {
			must(index_read_renew(read, NULL), NULL, "renew");
			must(index_chunk_get(&place, read, &id, NULL), NULL, "get");
		}
		seconds[run] = stop();
	}
	print_rate("renew and get of one chunk", RUNS, LOOKUPS);
	index_read_end(read);
}

/* ---- commits, opening, walking ---- */

static void
bench_commits(const char *what, bool scratch, uint64_t rows, int commits)
{
	struct index *index = open_index("commits", scratch);
	struct batch batch = { .count = rows };
	struct larder_err err = { 0 };

	fill(index, (struct batch){ 0 }, 100000, 10000);
	for (int run = 0; run < RUNS; run++) {
		start();
		for (int i = 0; i < commits; i++) {
			batch.first = 1000000 + (uint64_t)(run * commits + i) * rows;
			must(index_update(index, put_batch, &batch, &err), &err, "update");
		}
		seconds[run] = stop();
	}
	print_rate(what, RUNS, commits);
	index_close(index);
	remove_index("commits");
}

static int
put_version(void *context, struct index_write *write, struct larder_err *err)
{
	struct index_version version = { .name = "cookbooks/nginx", .kind = 2 };
	uint64_t number;

	memcpy(version.gid.bytes, context, sizeof(uint64_t));
	version.created_ns = *(int64_t *)context;
	return index_version_put(&number, write, &version, err);
}

static void
bench_versions(void)
{
	struct index *index = open_index("versions", true);
	struct larder_err err = { 0 };
	uint64_t n = 1;

	for (int run = 0; run < RUNS; run++) {
		start();
		for (int i = 0; i < 2000; i++, n++)
			must(index_update(index, put_version, &n, &err), &err, "update");
		seconds[run] = stop();
	}
	print_rate("put a version and commit, scratch", RUNS, 2000);
	index_close(index);
	remove_index("versions");
}

static int
put_sketches(void *context, struct index_write *write, struct larder_err *err)
{
	uint64_t first = *(uint64_t *)context;
	int rc = 0;

	for (uint64_t n = first; rc >= 0 && n < first + 10000; n++)
		rc = index_sketch_put(write, mix(n), n, err);
	return rc;
}

static void
bench_sketches(void)
{
	struct larder_err err = { 0 };
	uint64_t bytes = 0;
	char line[80];

	for (int run = 0; run < 3; run++) {
		struct index *index = open_index("sketches", true);

		start();
		for (uint64_t n = 0; n < 1000000; n += 10000)
			must(index_update(index, put_sketches, &n, &err), &err, "update");
		seconds[run] = stop();
		bytes = size_of(index);
		index_close(index);
		remove_index("sketches");
	}
	snprintf(
	    line, sizeof line, "put sketches 10 k, scratch, %.0f B each", (double)bytes * 1e-6);
	print_rate(line, 3, 1000000);
}

static void
bench_opening(void)
{
	for (int run = 0; run < RUNS; run++) {
		start();
		for (int i = 0; i < 200; i++)
			index_close(open_index("main", false));
		seconds[run] = stop();
	}
	print_rate("open and close after a clean end", RUNS, 200);
}

static void
bench_walk(struct index *index)
{
	struct larder_err err = { 0 };

	for (int run = 0; run < RUNS; run++) {
		start();
		must(index_verify(index, NULL, NULL, &err), &err, "verify");
		seconds[run] = stop();
	}
	print_rate("verify, rows", RUNS, (double)total);
}

int
main(int argc, char *argv[])
{
	const char *base = getenv("BENCH_DIR") != NULL ? getenv("BENCH_DIR") : "/tmp";
	struct index *index;

	if (argc > 1)
		total = strtoull(argv[1], NULL, 10) * 1000000;
	snprintf(folder, sizeof folder, "%s/larder-b_index-XXXXXX", base);
	if (total == 0 || mkdtemp(folder) == NULL ||
	    (folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0) {
		perror(folder);
		return 1;
	}
	printf("%llu million chunks\n", (unsigned long long)(total / 1000000));
	bench_filling();

	index = open_index("main", true);
	fill(index, (struct batch){ 0 }, total, 30000);
	printf("main index: %.1f MB, %.1f B a chunk\n", (double)size_of(index) * 1e-6,
	    (double)size_of(index) / (double)total);
	bench_get(index);
	bench_sorted(index);
	bench_transactions(index);
	bench_walk(index);
	index_close(index);
	puts("two processes at a time:");
	bench_two_processes();
	bench_opening();
	remove_index("main");

	bench_commits("commit of 1 chunk", false, 1, 200);
	bench_commits("commit of 1 chunk, scratch", true, 1, 2000);
	bench_commits("commit of 1000 chunks", false, 1000, 10);
	bench_commits("commit of 1000 chunks, scratch", true, 1000, 20);
	bench_versions();
	bench_sketches();
	close(folder_fd);
	return rmdir(folder) < 0;
}
