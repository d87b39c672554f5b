/*
 * Whole files up to SMALL_FILE_MAX: read into the worker's batch, hashed many at
 * once, looked up, and handed to the group when they are new.
 *
 * A batch spans directories, since most directories hold too few files to fill
 * the lanes of the hash.
 */
#include "cas/ingest.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cas/base/err.h"
#include "cas/base/limits.h"
#include "cas/base/trace.h"

/* Equal starts within a page make the hash lanes compete for one cache set: skew them. */
enum { SKEW = 64 };

static int
add_job(struct ingest *in, unsigned worker, struct ingest_node *node, size_t slot, size_t len,
    struct larder_err *err)
{
	struct ingest_worker *w = &in->workers[worker];
	int rc;

	node->files[slot].size = len;
	atomic_fetch_add_explicit(&in->files, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&in->bytes, len, memory_order_relaxed);
	trace_add(TRACE_files_read, 1);
	trace_add(TRACE_bytes_read, len);
	if (len == 0)
		return LARDER_OK;
	atomic_fetch_add(&node->pending, 1);
	w->jobs[w->job_count++] = (struct small_job){
		.node = node, .slot = slot, .at = w->batch_len, .len = (uint32_t)len
	};
	w->batch_len = (w->batch_len + len + SKEW + 63) & ~(size_t)63;
	if (w->job_count < BATCH_JOBS && w->batch_len < BATCH_LEN)
		return LARDER_OK;
	rc = small_flush(in, worker, err);
	return rc < 0 ? rc : LARDER_OK;
}

int
small_read(struct ingest *in, unsigned worker, struct ingest_node *node, size_t slot, int fd,
    int64_t looked_ns, struct larder_err *err)
{
	struct ingest_worker *w = &in->workers[worker];
	const struct walk_stat st = node->dir.entries[slot].st;
	uint8_t *to = w->batch + w->batch_len;
	size_t len = 0;
	ssize_t n;

	/* one read of the size and a byte more says in one call that this was all */
	for (;;) {
		n = read(fd, to + len, SMALL_FILE_MAX + 1 - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len += (size_t)n;
		if (len > SMALL_FILE_MAX)
			return 1;
		if (len == st.size)
			break;
	}
	if (n < 0) {
		ingest_item(in, node, node->dir.entries[slot].name, LARDER_ERR_IO, strerror(errno));
		node->files[slot].left_out = true;
		return LARDER_OK;
	}
	ingest_file_read(in, node, slot, &st, fd, looked_ns, len);
	return add_job(in, worker, node, slot, len, err);
}

int
small_add(struct ingest *in, unsigned worker, struct ingest_node *node, size_t slot,
    const void *data, size_t len, struct larder_err *err)
{
	struct ingest_worker *w = &in->workers[worker];

	memcpy(w->batch + w->batch_len, data, len);
	return add_job(in, worker, node, slot, len, err);
}

int
small_flush(struct ingest *in, unsigned worker, struct larder_err *err)
{
	struct ingest_worker *w = &in->workers[worker];
	struct small_job jobs[BATCH_JOBS];
	struct sha256_job hashes[BATCH_JOBS];
	size_t count = w->job_count;
	int rc;

	if (count == 0)
		return 0;
	for (size_t i = 0; i < count; i++) {
		jobs[i] = w->jobs[i];
		hashes[i] = (struct sha256_job){ .data = w->batch + jobs[i].at,
			.len = jobs[i].len,
			.out = &jobs[i].node->files[jobs[i].slot].id };
	}
	sha256_many(hashes, count);
	rc = index_read_renew(w->read, err);
	for (size_t i = 0; i < count && rc >= 0; i++) {
		struct ingest_node *node = jobs[i].node;
		const struct walk_entry *entry = &node->dir.entries[jobs[i].slot];
		const struct larder_id *id = &node->files[jobs[i].slot].id;

		rc = ingest_admit(in, worker, id, err);
		if (rc == 1) {
			struct group_chunk chunk = { .type = PACK_TYPE_DATA,
				.id = id,
				.data = w->batch + jobs[i].at,
				.len = jobs[i].len,
				.name = entry->name,
				.name_len = entry->name_len,
				.base = ingest_base(in, worker, node, jobs[i].slot),
				.sketch = true };

			atomic_fetch_add_explicit(
			    &in->new_bytes, jobs[i].len, memory_order_relaxed);
			rc = group_add(in->group, &chunk, err);
		} else if (rc == 0) {
			atomic_fetch_add_explicit(
			    &in->known_bytes, jobs[i].len, memory_order_relaxed);
		}
	}
	/* completing a node encodes trees, which uses neither batch nor jobs */
	w->job_count = 0;
	w->batch_len = 0;
	for (size_t i = 0; i < count && rc >= 0; i++)
		rc = ingest_node_done(in, worker, jobs[i].node, err);
	ingest_progress(in);
	return rc < 0 ? rc : 1;
}
