/*
 * What a store costs beside its data: opening it, one commit, rebuilding its index.
 *
 *	b_store [DIRECTORY]        default: $TMPDIR or /tmp
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cas/apply.h"
#include "cas/base/clock.h"
#include "cas/journal.h"
#include "tests/unit/t_store.h"

enum { COMMITS = 300, CHUNKS = 1000000, PER_PACK = 50000, LARGE_MIB = 200, OPENS = 50 };

static char path[4096];

static struct larder_store *
open_here(void)
{
	struct larder_open_options options = LARDER_OPEN_OPTIONS_INIT;
	struct larder_store *store;
	struct larder_err err = { 0 };

	options.create = true;
	if (larder_store_open(&store, path, &options, &err) < 0) {
		fprintf(stderr, "b_store: %s\n", err.message);
		exit(1);
	}
	return store;
}

static void
check(int rc)
{
	if (rc < 0) {
		fprintf(stderr, "b_store: status %d\n", rc);
		exit(1);
	}
}

static double
seconds_since(int64_t start)
{
	return (double)(clock_mono_ns() - start) / 1e9;
}

/* What the machine was busy with for us, whatever else it did meanwhile. */
static double
processor_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
time_open(const char *what)
{
	double best = 1e9, sum = 0;

	for (int i = 0; i < OPENS; i++) {
		int64_t start = clock_mono_ns();
		struct larder_store *store = open_here();
		double s = seconds_since(start);

		larder_store_close(store);
		best = s < best ? s : best;
		sum += s;
	}
	printf("%-44s %8.2f ms  (best %.2f)\n", what, sum / OPENS * 1e3, best * 1e3);
}

static void
grow_journal(struct larder_store *store)
{
	const struct id16 none = { { 0 } };
	struct buf body = { 0 };
	struct journal *journal;
	struct journal_place place;

	while (body.len < 1000 * 1000)
		check(test_add_end(&body, "a/name/that/was/never/there", (unsigned)body.len));
	check(journal_open(
	    &journal, store->root_fd, &store->config.id, &store->identity.writer, NULL));
	for (int i = 0; i < LARGE_MIB; i++)
		check(journal_append(journal, &place, body.data, body.len, 0, &none, NULL));
	check(journal_sync(journal, &place, NULL));
	journal_close(journal);
	buf_release(&body);
	check(apply_pending(store, NULL, 0, NULL));
}

int
main(int argc, char *argv[])
{
	const char *base = argc > 1 ? argv[1] : getenv("TMPDIR");
	struct larder_reindex_result result;
	struct larder_store *store;
	char command[5000];
	int64_t start;
	double s, busy;

	snprintf(path, sizeof path, "%s/larder-bench-XXXXXX", base != NULL ? base : "/tmp");
	if (mkdtemp(path) == NULL)
		return 1;
	start = clock_mono_ns();
	store = open_here();
	printf("%-44s %8.2f ms\n", "make a store", seconds_since(start) * 1e3);

	start = clock_mono_ns();
	for (unsigned i = 0; i < COMMITS; i++)
		check(test_commit_try(store, 0, 0, 0, "name", i + 1, NULL));
	s = seconds_since(start);
	printf("%-44s %8.2f ms\n", "commit of one version, no pack", s / COMMITS * 1e3);
	start = clock_mono_ns();
	for (unsigned i = 0; i < COMMITS; i++)
		check(test_commit_try(store, 1, i, i + 1, "name", i + 1, NULL));
	s = seconds_since(start);
	printf("%-44s %8.2f ms\n", "commit of one version with a pack", s / COMMITS * 1e3);
	larder_store_close(store);
	time_open("open");

	store = open_here();
	start = clock_mono_ns();
	for (unsigned i = 0; i < CHUNKS; i += PER_PACK)
		check(test_commit_try(store, 2, i, i + PER_PACK, NULL, 0, NULL));
	s = seconds_since(start);
	printf("%-44s %8.0f /s\n", "chunks committed, packs of 50,000", CHUNKS / s);
	start = clock_mono_ns();
	busy = processor_seconds();
	check(larder_reindex(store, NULL, &result, NULL));
	s = seconds_since(start);
	busy = processor_seconds() - busy;
	printf("%-44s %8.0f /s  (%.2f s, %.2f s busy)\n", "chunks reindexed",
	    (double)result.chunks / s, s, busy);

	start = clock_mono_ns();
	grow_journal(store);
	printf("%-44s %8.0f MB/s\n", "journal appended, synced and applied",
	    LARGE_MIB / seconds_since(start));
	larder_store_close(store);
	time_open("open, journal of 200 MiB, a million chunks");

	snprintf(command, sizeof command, "rm -rf '%s'", path);
	return system(command) == 0 ? 0 : 1;
}
