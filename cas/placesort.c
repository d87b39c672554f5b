/*
 * Sorting places by id.
 *
 * 1. A run is sorted in place: ids are hashes, so their first two bytes deal them into
 *    buckets of a few rows each, and each bucket is sorted by itself. Ids that are no
 *    hashes cost time (a bucket is sorted by qsort), never a wrong order.
 * 2. Spilled runs are files without a name: they are gone when this process is.
 * 3. The rows in a file are structs as they lie in memory: nobody else reads them.
 */
#include "cas/placesort.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "cas/base/err.h"
#include "cas/base/file.h"
#include "cas/base/id.h"
#include "cas/base/mem.h"

struct row {
	struct larder_id id;
	struct index_place place;
};

enum {
	READ_ROWS = 8 * 1024, /* ahead of one spilled run */
	BUCKETS = 65536,
};

/* One sorted run: in memory (fd -1), or in a file. */
struct run {
	int fd;
	uint64_t at, end; /* bytes of the file not read yet */
	struct row *rows;
	size_t next, count; /* in rows */
};

struct placesort {
	int root_fd;
	size_t rows_max;
	struct row *rows; /* the run that is being filled */
	size_t count;
	struct run *runs;
	size_t run_count;
	bool merging;
	size_t *heap; /* runs by their next row, the smallest on top */
	size_t heap_count;
	struct larder_id last; /* given out */
	bool any;              /* was anything given out? */
};

static const char spill_name[] = "tmp/sort";

/* ---- one run ---- */

static size_t
bucket_of(const struct row *row)
{
	return (size_t)row->id.bytes[0] << 8 | row->id.bytes[1];
}

static int
compare_rows(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	int order = id_compare(&x->id, &y->id);

	if (order != 0)
		return order;
	if (x->place.pack != y->place.pack)
		return x->place.pack < y->place.pack ? -1 : 1;
	if (x->place.segment_at != y->place.segment_at)
		return x->place.segment_at < y->place.segment_at ? -1 : 1;
	return (x->place.chunk_at > y->place.chunk_at) - (x->place.chunk_at < y->place.chunk_at);
}

static int
sort_rows(struct row *rows, size_t count, struct larder_err *err)
{
	/* where the next row of a bucket goes, and where the bucket ends */
	size_t *next = mem_zarray(2 * (BUCKETS + 1), sizeof *next), *end = next + BUCKETS + 1;

	if (next == NULL)
		return err_nomem(err);
	for (size_t i = 0; i < count; i++)
		next[bucket_of(&rows[i]) + 1]++;
	for (size_t b = 0; b < BUCKETS; b++) {
		next[b + 1] += next[b];
		end[b] = next[b + 1];
	}
	for (size_t b = 0; b < BUCKETS; b++)
		while (next[b] < end[b]) {
			size_t to = bucket_of(&rows[next[b]]);
			struct row held = rows[next[to]];

			if (to != b) {
				rows[next[to]] = rows[next[b]];
				rows[next[b]] = held;
			}
			next[to]++;
		}
	for (size_t b = 0, from = 0; b < BUCKETS; from = end[b++])
		if (end[b] - from > 1)
			qsort(rows + from, end[b] - from, sizeof *rows, compare_rows);
	mem_free(next);
	return LARDER_OK;
}

static struct run *
add_run(struct placesort *sort, struct larder_err *err)
{
	struct run *runs = mem_resize(sort->runs, sort->run_count + 1, sizeof *runs);

	if (runs == NULL) {
		err_nomem(err);
		return NULL;
	}
	sort->runs = runs;
	runs[sort->run_count] = (struct run) { .fd = -1 };
	return &runs[sort->run_count++];
}

/* ---- spilling ---- */

static int
open_spill(int *fd, const struct placesort *sort, struct larder_err *err)
{
	char name[sizeof spill_name + 1 + ID16_HEX_LEN], hex[ID16_HEX_LEN + 1];
	struct id16 id;
	int rc;

	rc = id16_random(&id, err);
	if (rc < 0)
		return rc;
	id16_to_hex(hex, &id);
	snprintf(name, sizeof name, "%s-%s", spill_name, hex);
	rc = file_open(fd, sort->root_fd, name, O_RDWR | O_CREAT | O_EXCL, 0600, err);
	if (rc < 0)
		return rc;
	rc = file_unlink(sort->root_fd, name, err);
	if (rc < 0) {
		file_close(*fd);
		*fd = -1;
	}
	return rc;
}

static int
spill(struct placesort *sort, struct larder_err *err)
{
	size_t len = sort->count * sizeof *sort->rows;
	struct run *run;
	int rc;

	rc = sort_rows(sort->rows, sort->count, err);
	if (rc < 0)
		return rc;
	run = add_run(sort, err);
	if (run == NULL)
		return LARDER_ERR_NOMEM;
	rc = open_spill(&run->fd, sort, err);
	if (rc == 0)
		rc = file_pwrite_all(run->fd, sort->rows, len, 0, spill_name, err);
	run->end = len;
	sort->count = 0;
	return rc;
}

int
placesort_open(struct placesort **out, int root_fd, size_t rows_max, struct larder_err *err)
{
	struct placesort *sort = mem_zalloc(sizeof *sort);

	assert(rows_max > 0);
	*out = NULL;
	if (sort == NULL)
		return err_nomem(err);
	sort->root_fd = root_fd;
	sort->rows_max = rows_max;
	sort->rows = mem_array(rows_max, sizeof *sort->rows);
	if (sort->rows == NULL) {
		placesort_close(sort);
		return err_nomem(err);
	}
	*out = sort;
	return LARDER_OK;
}

void
placesort_close(struct placesort *sort)
{
	if (sort == NULL)
		return;
	for (size_t i = 0; i < sort->run_count; i++) {
		file_close(sort->runs[i].fd);
		mem_free(sort->runs[i].rows);
	}
	mem_free(sort->runs);
	mem_free(sort->rows);
	mem_free(sort->heap);
	mem_free(sort);
}

int
placesort_add(struct placesort *sort, const struct larder_id *id, const struct index_place *place,
    struct larder_err *err)
{
	int rc = LARDER_OK;

	assert(!sort->merging);
	if (sort->count == sort->rows_max)
		rc = spill(sort, err);
	if (rc < 0)
		return rc;
	sort->rows[sort->count++] = (struct row) { .id = *id, .place = *place };
	return LARDER_OK;
}

/* ---- merging ---- */

/* Is there a row at run->next? 1, or 0 at the end of the run. */
static int
refill(struct run *run, struct larder_err *err)
{
	uint64_t left = run->end - run->at;
	size_t len = READ_ROWS * sizeof(struct row);
	int rc;

	if (run->next < run->count)
		return 1;
	if (run->fd < 0 || left == 0)
		return 0;
	if (run->rows == NULL) {
		run->rows = mem_array(READ_ROWS, sizeof *run->rows);
		if (run->rows == NULL)
			return err_nomem(err);
	}
	if (left < len)
		len = (size_t)left;
	rc = file_pread_all(run->fd, run->rows, len, run->at, spill_name, err);
	if (rc < 0)
		return rc;
	run->at += len;
	run->next = 0;
	run->count = len / sizeof(struct row);
	return 1;
}

static bool
run_before(const struct placesort *sort, size_t a, size_t b)
{
	const struct run *x = &sort->runs[a], *y = &sort->runs[b];

	return compare_rows(&x->rows[x->next], &y->rows[y->next]) < 0;
}

static void
sift_down(struct placesort *sort, size_t at)
{
	size_t *heap = sort->heap;

	for (;;) {
		size_t least = at, child = 2 * at + 1, held = heap[at];

		for (size_t i = child; i < child + 2 && i < sort->heap_count; i++)
			if (run_before(sort, heap[i], heap[least]))
				least = i;
		if (least == at)
			return;
		heap[at] = heap[least];
		heap[least] = held;
		at = least;
	}
}

static int
begin_merge(struct placesort *sort, struct larder_err *err)
{
	struct run *last;
	int rc;

	sort->merging = true;
	rc = sort_rows(sort->rows, sort->count, err);
	if (rc < 0)
		return rc;
	last = add_run(sort, err); /* what is in memory need not be spilled */
	if (last == NULL)
		return LARDER_ERR_NOMEM;
	last->rows = sort->rows;
	last->count = sort->count;
	sort->rows = NULL;

	sort->heap = mem_array(sort->run_count, sizeof *sort->heap);
	if (sort->heap == NULL)
		return err_nomem(err);
	for (size_t i = 0; i < sort->run_count; i++) {
		rc = refill(&sort->runs[i], err);
		if (rc < 0)
			return rc;
		if (rc == 1)
			sort->heap[sort->heap_count++] = i;
	}
	for (size_t i = sort->heap_count / 2; i-- > 0;)
		sift_down(sort, i);
	return LARDER_OK;
}

/* 1 and the next row of all runs, or 0. */
static int
next_row(struct row *out, struct placesort *sort, struct larder_err *err)
{
	struct run *run;
	int rc;

	if (sort->heap_count == 0)
		return 0;
	run = &sort->runs[sort->heap[0]];
	*out = run->rows[run->next++];
	rc = refill(run, err);
	if (rc < 0)
		return rc;
	if (rc == 0)
		sort->heap[0] = sort->heap[--sort->heap_count];
	if (sort->heap_count > 0)
		sift_down(sort, 0);
	return 1;
}

int
placesort_next(
    struct larder_id *id, struct index_place *place, struct placesort *sort, struct larder_err *err)
{
	struct row row;
	int rc = LARDER_OK;

	if (!sort->merging)
		rc = begin_merge(sort, err);
	if (rc < 0)
		return rc;
	do {
		rc = next_row(&row, sort, err);
		if (rc != 1)
			return rc;
	} while (sort->any && id_equal(&row.id, &sort->last));
	sort->any = true;
	sort->last = *id = row.id;
	*place = row.place;
	return 1;
}
