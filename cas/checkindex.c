/*
 * The index against the directories of the packs. See checkpack.h.
 *
 * The chunks of the index are gone through once, in id order, which gives each
 * pack a count and a sum of hashes of the places in it; its directory gives the
 * same if the index is right. Only where they differ (the index has a chunk of
 * the pack elsewhere, or is wrong) is each of the pack's chunks looked up.
 */
#include <string.h>

#include "cas/base/err.h"
#include "cas/base/id.h"
#include "cas/base/mem.h"
#include "cas/checkpack.h"
#include "cas/dirwalk.h"

enum { PARTS = 64 }; /* of the id space: tasks, and transactions that are short */

/* ---- in id order ---- */

static uint64_t
place_hash(const struct larder_id *id, uint32_t segment_at, uint32_t chunk_at, uint32_t chunk_len,
    unsigned depth, unsigned type)
{
	uint64_t h = 0;

	for (size_t i = 0; i < LARDER_ID_LEN; i += 8) {
		uint64_t word;

		memcpy(&word, id->bytes + i, 8);
		h = walk_mix(h, word);
	}
	h = walk_mix(h, (uint64_t)segment_at << 32 | chunk_at);
	return walk_mix(h, (uint64_t)chunk_len << 32 | depth << 8 | type);
}

static int
sum_row(void *context, const struct larder_id *id, const struct index_place *place,
    struct larder_err *err)
{
	struct check *c = context;
	struct check_pack *pack;

	(void)err;
	if (place->pack >= c->by_number_count || c->by_number[place->pack] == SIZE_MAX)
		return 0; /* committed after we began */
	pack = &c->packs[c->by_number[place->pack]];
	atomic_fetch_add_explicit(&pack->rows, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&pack->sum,
	    place_hash(id, place->segment_at, place->chunk_at, place->chunk_len, place->depth,
		place->type),
	    memory_order_relaxed);
	return 0;
}

/* One of PARTS parts of the id space, each in a transaction of its own. */
static int
each_chunk(struct check *c, size_t part, index_chunk_fn fn, struct larder_err *err)
{
	struct larder_id lowest, highest;
	struct larder_err why = { 0 };
	struct index_read *read = NULL;
	int rc;

	memset(&lowest, 0, sizeof lowest);
	memset(&highest, 0xff, sizeof highest);
	lowest.bytes[0] = (uint8_t)(part * (256 / PARTS));
	highest.bytes[0] = (uint8_t)(lowest.bytes[0] + 256 / PARTS - 1);
	rc = index_read_begin(&read, c->store->index, &why);
	if (rc == LARDER_OK)
		rc = index_chunk_each(read, &lowest, &highest, fn, c, &why);
	index_read_end(read);
	return rc < 0 ? check_index_failed(c, rc, &why, err) : LARDER_OK;
}

static int
sum_part(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	struct pack_pass *pass = context;
	size_t part = *(const size_t *)arg;
	int rc;

	(void)worker;
	rc = each_chunk(pass->c, part, sum_row, err);
	return rc < 0 ? rc : check_progress(pass->c, 0, 0, err);
}

static void
found_in_index(void *context, const char *sentence)
{
	struct check *c = context;
	int rc = check_damage(c, NULL, NULL, "index: %s", sentence);

	(void)rc; /* without memory for the line the verdict of index_verify still counts */
	atomic_store(&c->index_told, true);
}

static int
verify_index(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	struct pack_pass *pass = context;
	struct larder_err why = { 0 };
	int rc;

	(void)arg;
	(void)worker;
	rc = index_verify(pass->c->store->index, found_in_index, pass->c, &why);
	return rc < 0 ? check_index_failed(pass->c, rc, &why, err) : LARDER_OK;
}

static int
map_numbers(struct check *c, struct larder_err *err)
{
	uint32_t highest = 0;

	for (size_t i = 0; i < c->pack_count; i++)
		if (c->packs[i].number > highest)
			highest = c->packs[i].number;
	c->by_number_count = (size_t)highest + 1;
	c->by_number = mem_array(c->by_number_count, sizeof *c->by_number);
	if (c->by_number == NULL)
		return err_nomem(err);
	for (size_t i = 0; i < c->by_number_count; i++)
		c->by_number[i] = SIZE_MAX;
	for (size_t i = 0; i < c->pack_count; i++)
		if (c->packs[i].number != 0)
			c->by_number[c->packs[i].number] = i;
	return LARDER_OK;
}

int
check_index(struct pack_pass *pass, struct larder_err *err)
{
	size_t parts[PARTS];
	int rc;

	rc = map_numbers(pass->c, err);
	if (rc < 0)
		return rc;
	rc = pool_submit(pass->pool, CHECK_RANK_RANGE, verify_index, NULL);
	for (size_t i = 0; i < PARTS && rc == LARDER_OK; i++) {
		parts[i] = i;
		rc = pool_submit(pass->pool, CHECK_RANK_RANGE, sum_part, &parts[i]);
	}
	if (rc < 0)
		pool_fail(pass->pool, rc, NULL);
	return pool_wait(pass->pool, err);
}

/* ---- a directory against the index ---- */

static int
look_up(struct index_place *out, struct check *c, const struct larder_id *id,
    struct larder_err *err)
{
	struct larder_err why = { 0 };
	struct index_read *read = NULL;
	int rc;

	rc = index_read_begin(&read, c->store->index, &why);
	if (rc == LARDER_OK)
		rc = index_chunk_get(out, read, id, &why);
	index_read_end(read);
	if (rc == LARDER_OK)
		return 1;
	if (rc == LARDER_ERR_NOT_FOUND)
		return 0;
	return check_index_failed(c, rc, &why, err);
}

/* The sums differ: each chunk by itself. */
static int
compare_each(struct check *c, const struct check_pack *pack,
    const struct pack_directory *directory, struct larder_err *err)
{
	char hex[ID16_HEX_LEN + 1], id_hex[ID_HEX_LEN + 1];
	uint64_t sum = 0, missing = 0;
	struct larder_id first = { { 0 } };
	uint32_t segment = 0;
	int rc = LARDER_OK;

	for (uint32_t i = 0; i < directory->chunk_count; i++) {
		const struct larder_id *id = &directory->ids[i];
		struct index_place in_index;
		struct pack_place place;

		rc = look_up(&in_index, c, id, err);
		if (rc < 0)
			return rc;
		pack_directory_place(&place, directory, i, &segment);
		if (rc == 0 && missing++ == 0)
			first = *id;
		if (rc == 1 && in_index.pack == pack->number &&
		    in_index.segment_at == place.segment_at &&
		    in_index.chunk_at == place.chunk_at && in_index.chunk_len == place.chunk_len)
			sum += place_hash(id, in_index.segment_at, in_index.chunk_at,
			    in_index.chunk_len, in_index.depth, in_index.type);
	}
	id16_to_hex(hex, &pack->id);
	if (missing > 0) {
		index_mark_doubtful(c->store->index);
		id_to_hex(id_hex, &first);
		rc = check_damage(c, NULL, err,
		    "index: %llu chunks of pack %s are not in it, the first is %s",
		    (unsigned long long)missing, hex, id_hex);
	} else if (sum != atomic_load(&pack->sum)) {
		index_mark_doubtful(c->store->index);
		rc = check_damage(
		    c, NULL, err, "index: has chunks at places in pack %s where they are not", hex);
	} else {
		rc = LARDER_OK;
	}
	return rc;
}

int
check_index_pack(struct check *c, const struct check_pack *pack,
    const struct pack_directory *directory, struct larder_err *err)
{
	struct pack_place place;
	uint32_t segment = 0;
	uint64_t sum = 0;

	if (!pack->applied || c->index_told)
		return LARDER_OK;
	for (uint32_t i = 0; i < directory->chunk_count; i++) {
		pack_directory_place(&place, directory, i, &segment);
		sum += place_hash(&directory->ids[i], place.segment_at, place.chunk_at,
		    place.chunk_len, place.depth, place.type);
	}
	if (atomic_load(&pack->rows) == directory->chunk_count && atomic_load(&pack->sum) == sum)
		return LARDER_OK;
	return compare_each(c, pack, directory, err);
}

/* ---- packs that are lost ---- */

static int
take_lost(void *context, const struct larder_id *id, const struct index_place *place,
    struct larder_err *err)
{
	struct check *c = context;
	const struct check_pack *pack;

	if (place->pack >= c->by_number_count || c->by_number[place->pack] == SIZE_MAX)
		return 0;
	pack = &c->packs[c->by_number[place->pack]];
	return pack->lost ? check_bad(c, id, pack->damage, err) : 0;
}

int
check_index_lost(struct check *c, struct larder_err *err)
{
	bool any = false;
	int rc = LARDER_OK;

	for (size_t i = 0; i < c->pack_count; i++)
		any = any || c->packs[i].lost;
	for (size_t part = 0; part < PARTS && any && rc == LARDER_OK; part++)
		rc = each_chunk(c, part, take_lost, err);
	return rc;
}
