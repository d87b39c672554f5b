/*
 * Packs: their directories, and with `read` every segment. See checkpack.h.
 *
 *   round 1   the index: pages, values, and what it says about each pack
 *   round 2   the packs, in the order in which they were written: the directory,
 *             compared with the index; with `read` the segments, some MiB a task
 *   between   whenever enough deltas wait: those
 */
#include <string.h>

#include "cas/base/err.h"
#include "cas/base/id.h"
#include "cas/base/mem.h"
#include "cas/base/random.h"
#include "cas/checkpack.h"

enum {
	RANGE_LEN = 4 * 1024 * 1024,      /* bytes of a pack that one task reads */
	IN_FLIGHT_LEN = 48 * 1024 * 1024, /* bytes of packs that are begun and not ended */
	BASES_LEN = 32 * 1024 * 1024,     /* decoded segments kept for deltas */
};

/* A directory that several tasks share. */
struct shared {
	struct pack_directory directory;
	uint32_t number; /* of the pack in the index, or 0 */
	size_t charge;   /* what it counts among the bytes in flight */
	atomic_uint holders;
};

struct range {
	struct range *next, **link; /* where the one before points to us */
	struct shared *shared;
	uint32_t first, end; /* segments */
	uint64_t bytes;
};

/* ---- segments ---- */

static void
drop_shared(struct pack_pass *pass, struct shared *shared)
{
	if (atomic_fetch_sub(&shared->holders, 1) != 1)
		return;
	pool_uncharge(pass->pool, shared->charge);
	pack_directory_release(&shared->directory);
	mem_free(shared);
}

static int
read_range(struct pack_pass *pass, const struct shared *shared, uint32_t first, uint32_t end,
    unsigned worker, struct larder_err *err)
{
	struct check_worker *w = &pass->workers[worker];
	int rc = check_worker_open(w, err);

	for (uint32_t i = first; i < end && rc == LARDER_OK; i++)
		rc = check_segment(pass, w, &shared->directory, i, shared->number, err);
	if (rc == LARDER_OK)
		rc = check_flush(pass, w, err);
	w->batch_len = w->piece_count = 0;
	return rc;
}

/* Takes the range out of the list and ends it. */
static void
drop_range(struct pack_pass *pass, struct range *range)
{
	pthread_mutex_lock(&pass->c->lock);
	*range->link = range->next;
	if (range->next != NULL)
		range->next->link = range->link;
	pthread_mutex_unlock(&pass->c->lock);
	drop_shared(pass, range->shared);
	mem_free(range);
}

static int
run_range(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	struct pack_pass *pass = context;
	struct range *range = arg;
	int rc;

	rc = read_range(pass, range->shared, range->first, range->end, worker, err);
	if (rc == LARDER_OK)
		rc = check_progress(pass->c, range->bytes, 0, err);
	drop_range(pass, range);
	return rc;
}

/* ---- packs ---- */

static int
submit_range(struct pack_pass *pass, struct shared *shared, uint32_t first, uint32_t end,
    uint64_t bytes, struct larder_err *err)
{
	struct range *range = mem_alloc(sizeof *range);

	if (range == NULL)
		return err_nomem(err);
	*range = (struct range){
		.link = &pass->ranges,
		.shared = shared,
		.first = first,
		.end = end,
		.bytes = bytes,
	};
	atomic_fetch_add(&shared->holders, 1);
	pthread_mutex_lock(&pass->c->lock);
	range->next = pass->ranges;
	if (range->next != NULL)
		range->next->link = &range->next;
	pass->ranges = range;
	pthread_mutex_unlock(&pass->c->lock);
	if (pool_submit(pass->pool, CHECK_RANK_RANGE, run_range, range) < 0)
		return err_nomem(err); /* the list has it */
	return LARDER_OK;
}

static int
submit_ranges(struct pack_pass *pass, struct shared *shared, struct larder_err *err)
{
	const struct pack_directory *directory = &shared->directory;
	uint32_t first = 0;
	uint64_t bytes = 0;
	int rc = LARDER_OK;

	for (uint32_t i = 0; i < directory->segment_count && rc == LARDER_OK; i++) {
		bytes += directory->segments[i].len;
		if (bytes < RANGE_LEN && i + 1 < directory->segment_count)
			continue;
		rc = submit_range(pass, shared, first, i + 1, bytes, err);
		first = i + 1;
		bytes = 0;
	}
	return rc;
}

/* The pack as a whole cannot be read: what was in it is what the index had there. */
static int
lose_pack(struct check *c, struct check_pack *pack, const char *why, struct larder_err *err)
{
	char hex[ID16_HEX_LEN + 1];

	id16_to_hex(hex, &pack->id);
	pack->lost = true;
	if (strstr(why, hex) != NULL)
		return check_damage(c, &pack->damage, err, "%s", why);
	return check_damage(c, &pack->damage, err, "pack %s: %s", hex, why);
}

static int
check_directory(struct pack_pass *pass, struct check_pack *pack, struct shared *shared,
    struct larder_err *err)
{
	struct pack_directory *directory = &shared->directory;
	struct check *c = pass->c;
	struct larder_err why = { 0 };
	int rc;

	rc = pack_directory_read(directory, c->files, &pack->id, &why);
	if (rc == LARDER_OK && (directory->file_len != pack->file_len ||
				   directory->chunk_count != pack->chunk_count))
		rc = err_set(&why, LARDER_ERR_CORRUPT,
		    "%llu bytes and %u chunks, not the %llu and %u that were committed",
		    (unsigned long long)directory->file_len, directory->chunk_count,
		    (unsigned long long)pack->file_len, pack->chunk_count);
	if (rc < 0) {
		if (check_is_damage(rc))
			return lose_pack(c, pack, why.message, err);
		if (err != NULL)
			*err = why;
		return rc;
	}
	pthread_mutex_lock(&c->lock);
	c->result.segments += directory->segment_count;
	c->result.chunks += directory->chunk_count;
	pthread_mutex_unlock(&c->lock);
	return check_index_pack(c, pack, directory, err);
}

/* Bytes that count as in flight. */
static size_t
charge_of(const struct check *c, const struct check_pack *pack)
{
	uint64_t len = c->options.read && pack->chosen ? pack->file_len : 0;

	return len > IN_FLIGHT_LEN ? IN_FLIGHT_LEN : (size_t)len;
}

static int
run_pack(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	struct pack_pass *pass = context;
	struct check_pack *pack = arg;
	struct shared *shared = mem_zalloc(sizeof *shared);
	uint64_t bytes = 0;
	int rc;

	if (shared == NULL)
		return err_nomem(err);
	shared->number = pack->number;
	shared->charge = charge_of(pass->c, pack);
	atomic_store(&shared->holders, 1);
	rc = check_directory(pass, pack, shared, err);
	if (rc == LARDER_OK && pack->chosen && !pack->lost) {
		if (pack->file_len < 2 * RANGE_LEN) {
			rc = read_range(
			    pass, shared, 0, shared->directory.segment_count, worker, err);
			bytes = pack->file_len;
		} else {
			rc = submit_ranges(pass, shared, err);
		}
	}
	if (rc == LARDER_OK)
		rc = check_progress(pass->c, bytes, pack->chosen || !pass->c->options.read, err);
	drop_shared(pass, shared);
	return rc;
}

static int
choose(struct check *c, struct larder_err *err)
{
	bool all = c->options.sample <= 0 || c->options.sample >= 100;
	size_t chosen = 0;

	if (!c->options.read || c->pack_count == 0)
		return LARDER_OK;
	for (size_t i = 0; i < c->pack_count; i++) {
		uint32_t dice = 0;
		int rc = all ? LARDER_OK : random_bytes(&dice, sizeof dice, err);

		if (rc < 0)
			return rc;
		c->packs[i].chosen = all || dice < c->options.sample / 100 * UINT32_MAX;
		chosen += c->packs[i].chosen;
	}
	if (chosen == 0) { /* a sample is at least one */
		uint32_t dice;
		int rc = random_bytes(&dice, sizeof dice, err);

		if (rc < 0)
			return rc;
		c->packs[dice % c->pack_count].chosen = true;
	}
	return LARDER_OK;
}

static int
read_packs(struct pack_pass *pass, struct larder_err *err)
{
	struct check *c = pass->c;
	int rc = choose(c, err);

	for (size_t i = 0; i < c->pack_count; i++) {
		if (!c->packs[i].chosen && c->options.read)
			continue;
		c->progress.files_total++;
		c->progress.bytes_total += c->options.read ? c->packs[i].file_len : 0;
	}
	c->result.packs = c->pack_count;
	for (size_t i = 0; i < c->pack_count && rc == LARDER_OK; i++) {
		pool_throttle(pass->pool);
		if (atomic_load(&pass->deltas_len) >= CHECK_DELTAS_LEN) {
			rc = pool_wait(pass->pool, err);
			if (rc == LARDER_OK)
				rc = check_deltas(pass, err);
			if (rc < 0)
				return rc;
		}
		pool_charge(pass->pool, charge_of(c, &c->packs[i]));
		rc = pool_submit(pass->pool, CHECK_RANK_PACK, run_pack, &c->packs[i]);
	}
	if (rc < 0)
		pool_fail(pass->pool, rc, NULL);
	rc = pool_wait(pass->pool, err);
	return rc < 0 ? rc : check_deltas(pass, err);
}

/* ---- the passes ---- */

/* Ranges that are not run are in the list; nothing else is anybody's to free. */
static void
drop_task(void *context, void *arg)
{
	(void)context;
	(void)arg;
}

int
check_packs(struct check *c, struct larder_err *err)
{
	struct pack_pass pass = { .c = c };
	struct pool_options options = {
		.workers = c->store->threads,
		.order = { [CHECK_RANK_RANGE] = POOL_FIFO, [CHECK_RANK_PACK] = POOL_FIFO },
		.bytes_max = IN_FLIGHT_LEN,
		.context = &pass,
		.drop = drop_task,
		.cancel = c->options.watch.cancel,
	};
	int rc;

	rc = segcache_open(&pass.bases, BASES_LEN, err);
	if (rc == LARDER_OK)
		rc = pool_open(&pass.pool, &options, err);
	if (rc < 0)
		goto out;
	pass.worker_count = pool_workers(pass.pool);
	pass.workers = mem_zarray(pass.worker_count, sizeof *pass.workers);
	if (pass.workers == NULL) {
		rc = err_nomem(err);
		goto out;
	}
	rc = check_index(&pass, err);
	if (rc == LARDER_OK)
		rc = read_packs(&pass, err);
	if (rc == LARDER_OK)
		rc = check_index_lost(c, err);
out:
	while (pass.ranges != NULL)
		drop_range(&pass, pass.ranges);
	pool_close(pass.pool);
	for (unsigned i = 0; i < pass.worker_count && pass.workers != NULL; i++)
		check_worker_close(&pass.workers[i]);
	mem_free(pass.workers);
	segcache_close(pass.bases);
	return rc;
}

/* ---- strays ---- */

static void
tell(struct check *c, const char *path, const char *message)
{
	struct larder_item item = { .path = path, .status = LARDER_OK, .message = message };

	c->options.watch.on_item(c->options.watch.context, &item);
}

static bool
is_named(const struct check *c, const struct id16 *id)
{
	struct larder_id key = { { 0 } };

	memcpy(key.bytes, id->bytes, ID16_LEN);
	return idset_find(&c->pack_ids, &key) != NULL;
}

static int
take_stray(void *context, const struct id16 *id, struct larder_err *err)
{
	struct check *c = context;

	if (is_named(c, id))
		return 0;
	if (c->stray_count == c->stray_room) {
		size_t room = c->stray_room ? c->stray_room * 2 : 16;
		void *grown = mem_resize(c->strays, room, sizeof *c->strays);

		if (grown == NULL)
			return err_nomem(err);
		c->strays = grown;
		c->stray_room = room;
	}
	c->strays[c->stray_count++] = *id;
	return 0;
}

static void
tell_odd(void *context, const char *path)
{
	tell(context, path, "not the name of a pack: garbage");
}

int
check_strays(struct check *c, struct larder_err *err)
{
	struct larder_err why = { 0 };
	int rc;

	if (c->options.watch.on_item == NULL)
		return LARDER_OK;
	rc = pack_each(c->store->root_fd, take_stray, tell_odd, c, &why);
	if (rc == LARDER_OK)
		return rc;
	return check_is_damage(rc) ? check_damage(c, NULL, err, "packs: %s", why.message)
				   : err_set(err, (enum larder_status)rc, "%s", why.message);
}

void
check_strays_tell(struct check *c)
{
	char path[PACK_PATH_LEN];

	for (size_t i = 0; i < c->stray_count; i++) {
		if (is_named(c, &c->strays[i]))
			continue;
		pack_path(path, &c->strays[i]);
		tell(c, path, "no journal entry names this pack: garbage, or a write under way");
	}
}
