/*
 * Segments -> packs -> commits.
 *
 * 1. `lock` guards everything here but what the committer works on, which it
 *    takes out of the queue first.
 * 2. Packs are handed to commit_run in the order in which they were filled.
 * 3. The first failure stays: `rc` and `err` are what every later call returns.
 */
#include "cas/packer.h"

#include <pthread.h>
#include <string.h>

#include "cas/base/err.h"
#include "cas/base/limits.h"
#include "cas/base/mem.h"

enum {
	QUEUE_MAX = 12,         /* packs that wait for the disk, before adders wait too */
	COMMIT_PACKS_MAX = 8,   /* in one journal entry */
	SKETCHES_MAX = 1 << 20, /* waiting: 16 MiB */
};

struct sketch_row {
	uint64_t feature, id_prefix;
};

struct sketch_list {
	struct sketch_row *rows;
	size_t count, room;
};

struct packer {
	struct larder_store *store;
	bool dry_run;

	pthread_mutex_t lock;
	pthread_cond_t wake; /* the committer: something to do, or stop */
	pthread_cond_t room; /* adders: the queue got shorter */
	struct pack_writer *open;
	struct pack_writer *queue[QUEUE_MAX + 1]; /* one more for the last, when all is over */
	size_t queued;
	struct sketch_list sketches;
	uint64_t stored; /* bytes */
	bool stop, running;
	pthread_t thread;
	int rc;
	struct larder_err err;
};

int
packer_open(struct packer **out, struct larder_store *store, bool dry_run, struct larder_err *err)
{
	struct packer *p = mem_zalloc(sizeof *p);

	*out = NULL;
	if (p == NULL)
		return err_nomem(err);
	p->store = store;
	p->dry_run = dry_run;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->wake, NULL);
	pthread_cond_init(&p->room, NULL);
	*out = p;
	return LARDER_OK;
}

struct hint_run {
	const struct sketch_list *sketches;
	int (*hints)(void *context, struct index_write *write, struct larder_err *err);
	void *context;
};

static int
write_hints(void *context, struct index_write *write, struct larder_err *err)
{
	const struct hint_run *run = context;
	int rc = LARDER_OK;

	for (size_t i = 0; i < run->sketches->count && rc == LARDER_OK; i++)
		rc = index_sketch_put(
		    write, run->sketches->rows[i].feature, run->sketches->rows[i].id_prefix, err);
	if (rc == LARDER_OK && run->hints != NULL)
		rc = run->hints(run->context, write, err);
	return rc;
}

/* Directory and footer; from now on its length is known. Without the lock: the pack is the
 * caller's. */
static int
finish(struct packer *p, struct pack_writer *pack, struct larder_err *err)
{
	int rc = pack_writer_finish(pack, err);

	if (rc < 0)
		return rc;
	pthread_mutex_lock(&p->lock);
	p->stored += pack_writer_directory(pack)->file_len;
	pthread_mutex_unlock(&p->lock);
	return LARDER_OK;
}

/* Commit these packs, which are finished. Without the lock. */
static int
commit_packs(struct packer *p, struct pack_writer **packs, size_t count,
    const struct sketch_list *sketches, const struct buf *operations,
    int (*hints)(void *context, struct index_write *write, struct larder_err *err), void *context,
    uint64_t *journal, struct larder_err *err)
{
	struct hint_run run = { .sketches = sketches, .hints = hints, .context = context };
	struct commit commit = { .packs = packs,
		.pack_count = count,
		.operations = operations,
		.hints = write_hints,
		.context = &run };
	int rc;

	if (count == 0 && (operations == NULL || operations->len == 0)) {
		if (sketches->count == 0 && hints == NULL)
			return LARDER_OK;
		return commit_hints(p->store, &commit, err);
	}
	rc = commit_run(p->store, &commit, err);
	*journal = commit.journal_bytes;
	return rc;
}

static void
close_all(struct pack_writer **packs, size_t count)
{
	for (size_t i = 0; i < count; i++)
		pack_writer_close(packs[i]);
}

static void
fail_locked(struct packer *p, int rc, const struct larder_err *err)
{
	if (p->rc == LARDER_OK) {
		p->rc = rc;
		p->err = *err;
	}
	pthread_cond_broadcast(&p->room);
}

static void *
committer(void *arg)
{
	struct packer *p = arg;

	pthread_mutex_lock(&p->lock);
	while (!p->stop) {
		struct pack_writer *packs[COMMIT_PACKS_MAX];
		struct sketch_list sketches;
		struct larder_err err = { 0 };
		uint64_t journal = 0;
		size_t count;
		int rc;

		/* whatever gathered while the last commit ran is the next one: chunks committed
		 * early can be bases of what comes later in the same put */
		if (p->queued == 0) {
			pthread_cond_wait(&p->wake, &p->lock);
			continue;
		}
		count = p->queued < COMMIT_PACKS_MAX ? p->queued : COMMIT_PACKS_MAX;
		memcpy(packs, p->queue, count * sizeof packs[0]);
		memmove(p->queue, p->queue + count, (p->queued - count) * sizeof p->queue[0]);
		p->queued -= count;
		sketches = p->sketches;
		memset(&p->sketches, 0, sizeof p->sketches);
		pthread_cond_broadcast(&p->room);
		pthread_mutex_unlock(&p->lock);

		rc = LARDER_OK;
		for (size_t i = 0; i < count && rc == LARDER_OK; i++)
			rc = finish(p, packs[i], &err);
		if (rc == LARDER_OK)
			rc = commit_packs(
			    p, packs, count, &sketches, NULL, NULL, NULL, &journal, &err);
		close_all(packs, count);
		mem_free(sketches.rows);

		pthread_mutex_lock(&p->lock);
		p->stored += journal;
		if (rc < 0)
			fail_locked(p, rc, &err);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* Would the open pack be too large, or be large enough already, with these bytes and chunks more?
 */
static bool
is_full(const struct packer *p, size_t more_len, uint32_t more_chunks)
{
	uint64_t len;

	if (p->open == NULL)
		return false;
	len = pack_writer_size(p->open);
	return len >= PACK_TARGET || len + more_len > PACK_TARGET + PACK_TARGET / 8 ||
	       pack_writer_chunks(p->open) + more_chunks > PACK_CHUNKS_MAX;
}

/* Hand the open pack over if it is full. Called with the lock, which may be let go meanwhile. */
static int
hand_over(struct packer *p, size_t more_len, uint32_t more_chunks, struct larder_err *err)
{
	if (!is_full(p, more_len, more_chunks))
		return LARDER_OK;
	if (!p->running) {
		if (pthread_create(&p->thread, NULL, committer, p) != 0)
			return err_set(err, LARDER_ERR_NOMEM, "start the committer thread");
		p->running = true;
	}
	while (p->queued == QUEUE_MAX && p->rc == LARDER_OK)
		pthread_cond_wait(&p->room, &p->lock);
	if (p->rc < 0 || !is_full(p, more_len, more_chunks))
		return LARDER_OK; /* the caller looks at rc; or somebody else did it while we waited
				   */
	p->queue[p->queued++] = p->open;
	p->open = NULL;
	pthread_cond_signal(&p->wake);
	return LARDER_OK;
}

int
packer_add(struct packer *p, const struct buf *segment, const struct larder_id *ids,
    const uint32_t *lengths, uint32_t count, struct larder_err *err)
{
	uint32_t at;
	int rc = LARDER_OK;

	pthread_mutex_lock(&p->lock);
	if (p->dry_run) {
		p->stored += segment->len;
		goto out;
	}
	rc = hand_over(p, segment->len, count, err);
	if (rc == LARDER_OK && p->rc == LARDER_OK && p->open == NULL)
		rc = pack_writer_open(&p->open, p->store->root_fd, err);
	if (rc == LARDER_OK && p->rc == LARDER_OK)
		rc = pack_writer_append(
		    p->open, segment->data, segment->len, ids, lengths, count, &at, err);
	if (rc == LARDER_OK && p->rc == LARDER_OK)
		rc = hand_over(p, 0, 0, err);
	if (rc < 0)
		fail_locked(p, rc, err ? err : &(struct larder_err){ .status = rc });
out:
	if (rc == LARDER_OK && p->rc < 0) {
		rc = p->rc;
		if (err)
			*err = p->err;
	}
	pthread_mutex_unlock(&p->lock);
	return rc;
}

void
packer_sketch(struct packer *p, uint64_t feature, uint64_t id_prefix)
{
	struct sketch_list *list = &p->sketches;

	if (p->dry_run)
		return;
	pthread_mutex_lock(&p->lock);
	if (list->count == list->room && list->room < SKETCHES_MAX) {
		size_t more = list->room ? list->room * 2 : 1024;
		void *grown = mem_resize(list->rows, more, sizeof *list->rows);

		if (grown != NULL) {
			list->rows = grown;
			list->room = more;
		}
	}
	if (list->count < list->room)
		list->rows[list->count++] = (struct sketch_row){ feature, id_prefix };
	pthread_mutex_unlock(&p->lock);
}

static void
stop_committer(struct packer *p)
{
	if (!p->running)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_signal(&p->wake);
	pthread_mutex_unlock(&p->lock);
	pthread_join(p->thread, NULL);
	p->running = false;
}

int
packer_finish(struct packer *p, struct larder_err *err)
{
	int rc = LARDER_OK;

	stop_committer(p);
	if (p->rc < 0) {
		if (err)
			*err = p->err;
		return p->rc;
	}
	if (p->open != NULL) {
		p->queue[p->queued++] = p->open;
		p->open = NULL;
	}
	for (size_t i = 0; i < p->queued && rc == LARDER_OK; i++)
		rc = finish(p, p->queue[i], err);
	return rc;
}

int
packer_end(struct packer *p, const struct buf *operations,
    int (*hints)(void *context, struct index_write *write, struct larder_err *err), void *context,
    struct larder_err *err)
{
	uint64_t journal = 0;
	int rc;

	if (p->dry_run)
		return LARDER_OK;
	rc = commit_packs(
	    p, p->queue, p->queued, &p->sketches, operations, hints, context, &journal, err);
	close_all(p->queue, p->queued);
	p->queued = 0;
	p->stored += journal;
	return rc;
}

uint64_t
packer_stored_bytes(const struct packer *p)
{
	return p->stored;
}

void
packer_close(struct packer *p)
{
	if (p == NULL)
		return;
	stop_committer(p);
	close_all(p->queue, p->queued);
	pack_writer_close(p->open);
	mem_free(p->sketches.rows);
	pthread_cond_destroy(&p->wake);
	pthread_cond_destroy(&p->room);
	pthread_mutex_destroy(&p->lock);
	mem_free(p);
}
