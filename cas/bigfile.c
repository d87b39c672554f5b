/*
 * Files of more than SMALL_FILE_MAX bytes, and streams: in blocks, by several
 * workers at once.
 *
 * A block is BLOCK_LEN bytes of its own and an overlap in which the chunks that
 * begin in it end. Its life: read and searched (by any worker, in parallel) ->
 * cut (in the order of the blocks, under the file's lock; costs next to nothing)
 * -> hashed, looked up, compressed (in parallel) -> listed (in order). No worker
 * waits for another: whoever finishes the block that others depend on cuts those
 * too and hands them to the pool.
 */
#include "cas/ingest.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cas/base/err.h"
#include "cas/base/limits.h"
#include "cas/base/mem.h"
#include "cas/base/trace.h"
#include "cas/object/filelist.h"

enum {
	BLOCK_LEN = 4 * 1024 * 1024,
	HISTORY = CHUNKER_WINDOW_LEN,
	ROOMS_KEPT = 8,
	/* chunks of files up to this are treated like small files: many are texts that come in
	   versions */
	SKETCH_FILE_MAX = 256 * 1024,
};

struct big;

/* Memory for a block's bytes and candidates: kept and used again, since fresh pages cost more than
 * reading. */
struct big_room {
	struct big_room *next;
	uint8_t *bytes; /* HISTORY, BLOCK_LEN, overlap */
	struct chunker_cell *cells;
};

struct block {
	struct pool_task task;
	struct big *big;
	struct block *next; /* in one of the file's lists */
	uint64_t number;
	struct big_room *room; /* while its bytes are in memory */
	uint8_t *bytes;        /* room->bytes */
	size_t len;            /* own and overlap, as far as the file goes */
	bool last;             /* the file ends in it or its overlap */
	struct chunker_candidates candidates;
	/* chosen: */
	size_t first; /* where the first chunk begins */
	uint32_t count;
	uint32_t *lengths;
	struct larder_id *ids;
};

struct big {
	struct big *next, *previous; /* all there are: in->bigs */
	struct ingest *in;
	struct ingest_node *node;
	size_t slot;
	int fd; /* -1: a stream */
	int64_t looked_ns;
	uint64_t blocks; /* of a file; of a stream: known at its end */

	pthread_mutex_t lock; /* guards all below */
	uint64_t next_read;
	uint64_t next_cut;
	uint64_t start; /* stream offset of the next chunk */
	bool cut_all;
	struct block *searched; /* waiting to be cut */
	uint64_t next_list;
	struct block *hashed; /* waiting to be listed */
	bool listing;         /* a worker is at it */
	struct filelist_builder builder;
	unsigned list_worker;
	uint64_t single_len;
	struct larder_id single;
	uint64_t chunk_count;
	bool failed; /* could not be read to its end */
	bool with_sha256;
	struct sha256 sha256;
	unsigned references; /* blocks alive, and one for the beginner */
};

static void
big_free(struct big *big)
{
	struct ingest *in = big->in;

	pthread_mutex_lock(&in->bigs_lock);
	if (big->previous != NULL)
		big->previous->next = big->next;
	else
		in->bigs = big->next;
	if (big->next != NULL)
		big->next->previous = big->previous;
	pthread_mutex_unlock(&in->bigs_lock);
	if (big->fd >= 0)
		close(big->fd);
	filelist_builder_release(&big->builder);
	pthread_mutex_destroy(&big->lock);
	mem_free(big);
}

static void
big_unref(struct big *big)
{
	bool last;

	pthread_mutex_lock(&big->lock);
	last = --big->references == 0;
	pthread_mutex_unlock(&big->lock);
	if (last)
		big_free(big);
}

static void
room_free(struct big_room *room)
{
	if (room == NULL)
		return;
	mem_free(room->bytes);
	mem_free(room->cells);
	mem_free(room);
}

static void
leave_room(struct block *block)
{
	struct ingest *in = block->big->in;
	struct big_room *room = block->room;

	block->room = NULL;
	block->bytes = NULL;
	if (room == NULL)
		return;
	pthread_mutex_lock(&in->bigs_lock);
	if (in->rooms_count < ROOMS_KEPT) {
		room->next = in->rooms;
		in->rooms = room;
		in->rooms_count++;
		room = NULL;
	}
	pthread_mutex_unlock(&in->bigs_lock);
	room_free(room);
}

static void
block_free(struct block *block)
{
	struct big *big = block->big;

	pool_uncharge(big->in->pool, BLOCK_LEN);
	leave_room(block);
	mem_free(block->lengths);
	mem_free(block->ids);
	mem_free(block);
	big_unref(big);
}

static void
block_drop(struct pool_task *task)
{
	block_free((struct block *)task);
}

static struct block *
block_new(struct big *big, uint64_t number)
{
	struct block *block = mem_zalloc(sizeof *block);

	if (block == NULL)
		return NULL;
	block->task.drop = block_drop;
	block->big = big;
	block->number = number;
	pthread_mutex_lock(&big->lock);
	big->references++;
	pthread_mutex_unlock(&big->lock);
	pool_charge(big->in->pool, BLOCK_LEN);
	return block;
}

/* Room for the bytes, when they are about to be read and not before: queued blocks cost nothing. */
static int
take_room(struct block *block, struct larder_err *err)
{
	struct ingest *in = block->big->in;
	size_t len = BLOCK_LEN + in->overlap;
	struct big_room *room;

	pthread_mutex_lock(&in->bigs_lock);
	room = in->rooms;
	if (room != NULL) {
		in->rooms = room->next;
		in->rooms_count--;
	}
	pthread_mutex_unlock(&in->bigs_lock);
	if (room == NULL) {
		room = mem_zalloc(sizeof *room);
		if (room != NULL) {
			room->bytes = mem_alloc(HISTORY + len);
			room->cells = mem_array(CHUNKER_CELLS_MAX(len), sizeof *room->cells);
		}
		if (room == NULL || room->bytes == NULL || room->cells == NULL) {
			room_free(room);
			return err_nomem(err);
		}
	}
	block->room = room;
	block->bytes = room->bytes;
	block->candidates.cells = room->cells;
	block->candidates.room = CHUNKER_CELLS_MAX(len);
	return LARDER_OK;
}

/* Lists that were finished on the way become objects. */
static int
emit_list(void *context, struct larder_id *id, const void *data, size_t len, struct larder_err *err)
{
	struct big *big = context;

	return ingest_object(
	    big->in, big->list_worker, id, PACK_TYPE_FILELIST, data, len, NULL, err);
}

static struct big *
big_new(struct ingest *in, struct ingest_node *node, size_t slot, int fd, int64_t looked_ns)
{
	struct big *big = mem_zalloc(sizeof *big);

	if (big == NULL)
		return NULL;
	big->in = in;
	big->node = node;
	big->slot = slot;
	big->fd = fd;
	big->looked_ns = looked_ns;
	big->references = 1;
	big->with_sha256 = in->options->sha256 && node->lone_file;
	sha256_init(&big->sha256);
	pthread_mutex_init(&big->lock, NULL);
	filelist_builder_init(&big->builder, emit_list, big);
	pthread_mutex_lock(&in->bigs_lock);
	big->next = in->bigs;
	if (big->next != NULL)
		big->next->previous = big;
	in->bigs = big;
	pthread_mutex_unlock(&in->bigs_lock);
	return big;
}

/* ---- the end ---- */

static int
finish(struct big *big, unsigned worker, struct larder_err *err)
{
	struct ingest *in = big->in;
	struct ingest_node *node = big->node;
	struct ingest_file *file = &node->files[big->slot];
	const struct walk_stat st = node->dir.entries[big->slot].st;
	int rc = LARDER_OK;

	big->list_worker = worker;
	file->size = big->builder.size;
	if (big->chunk_count == 1) {
		file->id = big->single;
	} else if (big->chunk_count > 1) {
		rc = filelist_builder_end(&big->builder, &file->id, err);
		file->list = true;
	}
	if (rc < 0)
		return rc;
	if (big->chunk_count == 1)
		file->size = big->single_len;
	if (big->with_sha256) {
		in->has_sha256 = true;
		sha256_final(&big->sha256, &in->sha256);
	}
	file->left_out = big->failed;
	if (big->fd >= 0)
		ingest_file_read(in, node, big->slot, &st, big->fd, big->looked_ns, file->size);
	atomic_fetch_add_explicit(&in->files, 1, memory_order_relaxed);
	trace_add(TRACE_files_read, 1);
	return ingest_node_done(in, worker, node, err);
}

/* The first chunk of a file is kept back: a file of one chunk needs no list. */
static int
list_chunk(struct big *big, const struct larder_id *id, uint32_t len, struct larder_err *err)
{
	int rc = LARDER_OK;

	if (big->chunk_count == 1)
		rc = filelist_builder_add(&big->builder, &big->single, big->single_len, err);
	if (rc == LARDER_OK && big->chunk_count >= 1)
		rc = filelist_builder_add(&big->builder, id, len, err);
	if (big->chunk_count == 0) {
		big->single = *id;
		big->single_len = len;
	}
	big->chunk_count++;
	return rc;
}

/* Put the block among those hashed; list all that are next in order. One worker lists at a time. */
static int
list_blocks(struct big *big, struct block *mine, unsigned worker, struct larder_err *err)
{
	bool ended = false;
	int rc = LARDER_OK;

	pthread_mutex_lock(&big->lock);
	big->references++; /* the last block may go while we are here */
	mine->next = big->hashed;
	big->hashed = mine;
	while (!big->listing && rc == LARDER_OK) {
		struct block **link = &big->hashed, *block;

		while (*link != NULL && (*link)->number != big->next_list)
			link = &(*link)->next;
		block = *link;
		if (block == NULL)
			break;
		*link = block->next;
		big->listing = true;
		pthread_mutex_unlock(&big->lock);

		big->list_worker = worker;
		for (uint32_t i = 0; i < block->count && rc == LARDER_OK; i++)
			rc = list_chunk(big, &block->ids[i], block->lengths[i], err);
		block_free(block);

		pthread_mutex_lock(&big->lock);
		big->listing = false;
		big->next_list++;
		ended = big->cut_all && big->next_list == big->blocks;
	}
	pthread_mutex_unlock(&big->lock);
	if (rc == LARDER_OK && ended)
		rc = finish(big, worker, err);
	big_unref(big);
	return rc;
}

/* ---- hashed ---- */

/* New chunks from..to, which stand side by side in the block. */
static int
store_new(struct block *block, unsigned worker, uint32_t from, uint32_t to, const uint8_t *data,
    size_t len, struct larder_err *err)
{
	struct big *big = block->big;
	const struct walk_entry *entry = &big->node->dir.entries[big->slot];
	bool sketch = entry->st.size <= SKETCH_FILE_MAX;
	int rc = LARDER_OK;

	atomic_fetch_add_explicit(&big->in->new_bytes, len, memory_order_relaxed);
	if (len >= GROUP_RUN_MIN && !sketch)
		return group_run(big->in->group, worker, data, block->ids + from,
		    block->lengths + from, to - from, err);
	for (uint32_t i = from; i < to && rc == LARDER_OK; i++) {
		struct group_chunk chunk = { .type = PACK_TYPE_DATA,
			.id = &block->ids[i],
			.data = data,
			.len = block->lengths[i],
			.name = entry->name,
			.name_len = entry->name_len,
			.sketch = sketch };

		rc = group_add(big->in->group, &chunk, err);
		data += block->lengths[i];
	}
	return rc;
}

static int
hash_and_store(struct block *block, unsigned worker, struct larder_err *err)
{
	struct ingest *in = block->big->in;
	struct sha256_job *jobs = mem_array(block->count ? block->count : 1, sizeof *jobs);
	const uint8_t *data = block->bytes + HISTORY + block->first, *run = data;
	uint32_t run_from = 0;
	size_t known = 0;
	int rc;

	if (jobs == NULL)
		return err_nomem(err);
	for (uint32_t i = 0; i < block->count; i++) {
		jobs[i] = (struct sha256_job){ data, block->lengths[i], &block->ids[i] };
		data += block->lengths[i];
	}
	sha256_many(jobs, block->count);
	mem_free(jobs);

	rc = index_read_renew(in->workers[worker].read, err);
	data = run;
	for (uint32_t i = 0; i < block->count && rc >= 0; i++) {
		rc = ingest_admit(in, worker, &block->ids[i], err);
		if (rc == 0) {
			if (data > run)
				rc = store_new(
				    block, worker, run_from, i, run, (size_t)(data - run), err);
			run = data + block->lengths[i];
			run_from = i + 1;
			known += block->lengths[i];
		}
		data += block->lengths[i];
	}
	if (rc >= 0 && data > run)
		rc = store_new(
		    block, worker, run_from, block->count, run, (size_t)(data - run), err);
	atomic_fetch_add_explicit(&in->known_bytes, known, memory_order_relaxed);
	ingest_progress(in);
	return rc < 0 ? rc : LARDER_OK;
}

static int read_task(void *context, void *arg, unsigned worker, struct larder_err *err);

/* One block is through: the next one may come into memory. */
static int
read_next(struct big *big, struct larder_err *err)
{
	struct block *block;
	uint64_t number;
	bool more;

	pthread_mutex_lock(&big->lock);
	more = big->fd >= 0 && big->next_read < big->blocks;
	number = big->next_read;
	if (more)
		big->next_read++;
	pthread_mutex_unlock(&big->lock);
	if (!more)
		return LARDER_OK;
	block = block_new(big, number);
	if (block == NULL)
		return err_nomem(err);
	if (pool_submit(big->in->pool, RANK_BLOCK, read_task, block) < 0) {
		block_free(block);
		return err_nomem(err);
	}
	return LARDER_OK;
}

static int
store_block(struct block *block, unsigned worker, struct larder_err *err)
{
	struct big *big = block->big;
	int rc = hash_and_store(block, worker, err);

	if (rc < 0) {
		block_free(block);
		return rc;
	}
	leave_room(block); /* its bytes are not needed while it waits for its turn in the list */
	rc = read_next(big, err);
	if (rc < 0) {
		block_free(block);
		return rc;
	}
	return list_blocks(big, block, worker, err);
}

static int
store_task(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	(void)context;
	return store_block(arg, worker, err);
}

/* ---- cut ---- */

/* Choose the chunks that begin in this block. Called with the file's lock, in the order of the
 * blocks. */
static int
cut(struct big *big, struct block *block, struct larder_err *err)
{
	const struct chunker *chunker = &big->in->store->chunker;
	uint64_t own_at = block->number * BLOCK_LEN, own_end = own_at + BLOCK_LEN;
	size_t room = 0;
	uint32_t len;

	if (big->with_sha256) {
		size_t own = block->len < BLOCK_LEN ? block->len : BLOCK_LEN;

		sha256_update(&big->sha256, block->bytes + HISTORY, own);
		atomic_fetch_add_explicit(&big->in->bytes, own, memory_order_relaxed);
	} else {
		atomic_fetch_add_explicit(&big->in->bytes,
		    block->len < BLOCK_LEN ? block->len : BLOCK_LEN, memory_order_relaxed);
	}
	block->first = (size_t)(big->start - own_at);
	while (big->start < own_end && big->start < own_at + block->len) {
		len = chunker_next(chunker, &block->candidates, big->start, block->last);
		if (len == 0)
			return err_set(err, LARDER_ERR_IO, "no cut within a block and its overlap");
		if (block->count == room) {
			size_t more = room ? room * 2 : 512;
			void *grown = mem_resize(block->lengths, more, sizeof *block->lengths);

			if (grown == NULL)
				return err_nomem(err);
			block->lengths = grown;
			room = more;
		}
		block->lengths[block->count++] = len;
		big->start += len;
	}
	block->ids = mem_array(block->count ? block->count : 1, sizeof *block->ids);
	if (block->ids == NULL)
		return err_nomem(err);
	big->next_cut++;
	if (block->number + 1 == big->blocks)
		big->cut_all = true;
	return LARDER_OK;
}

/* A block was searched: cut what is next in order. Ours goes on here, the others go to the pool. */
static int
search_done(struct block *mine, unsigned worker, struct larder_err *err)
{
	struct big *big = mine->big;
	struct block *ready = NULL, *block;
	bool mine_ready = false;
	int rc = LARDER_OK;

	pthread_mutex_lock(&big->lock);
	mine->next = big->searched;
	big->searched = mine;
	while (rc == LARDER_OK) {
		struct block **link = &big->searched;

		while (*link != NULL && (*link)->number != big->next_cut)
			link = &(*link)->next;
		block = *link;
		if (block == NULL)
			break;
		*link = block->next;
		rc = cut(big, block, err);
		if (block == mine) {
			mine_ready = true;
		} else {
			block->next = ready;
			ready = block;
		}
	}
	pthread_mutex_unlock(&big->lock);

	while ((block = ready) != NULL) {
		ready = block->next;
		if (rc == LARDER_OK &&
		    pool_submit(big->in->pool, RANK_COMPRESS, store_task, block) == LARDER_OK)
			continue;
		block_free(block);
		if (rc == LARDER_OK)
			rc = err_nomem(err);
	}
	if (!mine_ready)
		return rc;
	if (rc < 0) {
		block_free(mine);
		return rc;
	}
	return store_block(mine, worker, err);
}

static void
search(struct block *block)
{
	uint64_t at = block->number * BLOCK_LEN;

	chunker_scan(&block->big->in->store->chunker, &block->candidates, block->bytes + HISTORY,
	    block->len, at >= HISTORY ? HISTORY : 0, at);
}

static int
search_task(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	struct block *block = arg;

	(void)context;
	search(block);
	return search_done(block, worker, err);
}

/* ---- read ---- */

/* A file that cannot be read to its end is left out; its other blocks go on to where they are
 * dropped. */
static void
read_failed(struct big *big, int sys_errno)
{
	bool first;

	pthread_mutex_lock(&big->lock);
	first = !big->failed;
	big->failed = true;
	pthread_mutex_unlock(&big->lock);
	if (first)
		ingest_item(big->in, big->node, big->node->dir.entries[big->slot].name,
		    LARDER_ERR_IO, strerror(sys_errno));
}

static int
read_task(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	struct block *block = arg;
	struct big *big = block->big;
	const struct walk_entry *entry = &big->node->dir.entries[big->slot];
	uint64_t at = block->number * BLOCK_LEN, end = entry->st.size;
	uint64_t from = at >= HISTORY ? at - HISTORY : 0;
	uint64_t to =
	    at + BLOCK_LEN + big->in->overlap < end ? at + BLOCK_LEN + big->in->overlap : end;
	size_t got = 0;
	uint8_t *bytes;
	int rc;

	(void)context;
	rc = take_room(block, err);
	if (rc < 0) {
		block_free(block);
		return rc;
	}
	bytes = block->bytes + (at >= HISTORY ? 0 : HISTORY);
	while (from + got < to) {
		ssize_t n =
		    pread(big->fd, bytes + got, (size_t)(to - from) - got, (off_t)(from + got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			read_failed(big, errno);
		if (n <= 0)
			break;
		got += (size_t)n;
	}
	block->last = from + got < to || to == end;
	block->len = from + got > at ? (size_t)(from + got - at) : 0;
	trace_add(TRACE_bytes_read, got);
	search(block);
	return search_done(block, worker, err);
}

int
big_start(struct ingest *in, struct ingest_node *node, size_t slot, int fd, int64_t looked_ns,
    struct larder_err *err)
{
	struct big *big = big_new(in, node, slot, fd, looked_ns);
	uint64_t size = node->dir.entries[slot].st.size;
	int rc = LARDER_OK;

	if (big == NULL) {
		close(fd);
		return err_nomem(err);
	}
	big->blocks = (size + BLOCK_LEN - 1) / BLOCK_LEN;
	atomic_fetch_add(&node->pending, 1);
	for (unsigned i = 0; i < in->worker_count && rc == LARDER_OK; i++)
		rc = read_next(big, err);
	big_unref(big);
	return rc;
}

/* ---- streams ---- */

int
stream_read(struct ingest *in, int fd, uint8_t *to, size_t *have, size_t want, bool *ended,
    struct larder_err *err)
{
	while (*have < want && !*ended) {
		ssize_t n;

		if (pool_failed(in->pool)) /* the first error is the pool's to report */
			return err_set(err, LARDER_ERR_CANCELLED, "stopped");
		n = read(fd, to + *have, want - *have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(err, "read the input");
		if (n == 0)
			*ended = true;
		*have += (size_t)n;
	}
	return LARDER_OK;
}

int
big_stream(struct ingest *in, struct ingest_node *node, size_t slot, int fd, const void *head,
    size_t head_len, struct larder_err *err)
{
	struct big *big = big_new(in, node, slot, -1, 0);
	struct block *block = NULL;
	uint8_t *carry = mem_alloc(HISTORY + in->overlap); /* what two blocks share */
	size_t carry_len = 0;
	bool ended = false;
	int rc = LARDER_OK;

	if (big == NULL || carry == NULL) {
		rc = err_nomem(err);
		goto out;
	}
	big->blocks = UINT64_MAX;
	atomic_fetch_add(&node->pending, 1);
	for (uint64_t number = 0; rc == LARDER_OK; number++) {
		size_t have;

		pool_throttle(in->pool);
		block = block_new(big, number);
		rc = block == NULL ? err_nomem(err) : take_room(block, err);
		if (rc < 0)
			break;
		if (number == 0) {
			memcpy(block->bytes + HISTORY, head, head_len);
			have = head_len;
		} else {
			memcpy(block->bytes, carry, HISTORY + carry_len);
			have = carry_len;
		}
		rc = stream_read(
		    in, fd, block->bytes + HISTORY, &have, BLOCK_LEN + in->overlap, &ended, err);
		if (rc < 0)
			break;
		block->len = have;
		/* more than a block of its own: the rest is for the next one too */
		block->last = ended;
		if (have > BLOCK_LEN) {
			carry_len = have - BLOCK_LEN;
			memcpy(carry, block->bytes + BLOCK_LEN, HISTORY + carry_len);
		} else {
			carry_len = 0;
		}
		if (ended && have <= BLOCK_LEN) {
			pthread_mutex_lock(&big->lock);
			big->blocks = number + 1;
			pthread_mutex_unlock(&big->lock);
		}
		if (pool_submit(in->pool, RANK_BLOCK, search_task, block) < 0) {
			rc = err_nomem(err);
			break;
		}
		block = NULL;
		if (ended && have <= BLOCK_LEN)
			break;
	}
out:
	if (block != NULL)
		block_free(block);
	mem_free(carry);
	if (big != NULL)
		big_unref(big);
	return rc;
}

void
big_abandon(struct ingest *in)
{
	struct big_room *room;
	struct block *block;

	while (in->bigs != NULL) {
		struct big *big = in->bigs;

		big->references++;
		while ((block = big->searched) != NULL) {
			big->searched = block->next;
			block_free(block);
		}
		while ((block = big->hashed) != NULL) {
			big->hashed = block->next;
			block_free(block);
		}
		big_free(big);
	}
	while ((room = in->rooms) != NULL) {
		in->rooms = room->next;
		room_free(room);
	}
}
