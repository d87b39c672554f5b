/*
 * Rows as bytes. Integers are varints where they are mostly small, little-endian
 * of fixed length where they are not, big-endian in keys, whose order must be
 * the numeric one. SCHEMA.md has the tables.
 */
#include "index/row.h"

#include <assert.h>
#include <string.h>

#include "cas/base/bytes.h"
#include "cas/base/crc32c.h"
#include "cas/base/cursor.h"
#include "cas/base/err.h"
#include "cas/base/sha256.h"

enum {
	DEPTH_BITS = 4,
	TIME_ALIVE = 1,
	TIME_ENDED = 0,
	CHECK_AT_ONCE = 128, /* key and value together up to this: one call */
};

static_assert(PACK_DEPTH_MAX < 1 << DEPTH_BITS, "a depth fits its bits");

static const char head_magic[8] = { 'l', 'a', 'r', 'd', 'e', 'r', '-', 'i' };

const char *
row_table_name(enum index_table table)
{
	static const char *const names[TABLE_COUNT] = {
		[TABLE_CHUNKS] = "chunks",
		[TABLE_PACKS] = "packs",
		[TABLE_PACKIDS] = "packids",
		[TABLE_NAMES] = "names",
		[TABLE_VERSIONS] = "versions",
		[TABLE_GIDS] = "gids",
		[TABLE_TIMES] = "times",
		[TABLE_SEEN] = "seen",
		[TABLE_SKETCHES] = "sketches",
		[TABLE_POSITIONS] = "positions",
	};

	return (unsigned)table < TABLE_COUNT ? names[table] : NULL;
}

uint64_t
row_check(uint64_t seed, enum index_table table, const void *key, size_t key_len, const void *value,
    size_t value_len)
{
	uint8_t both[CHECK_AT_ONCE];

	/* Lengths first: where the key ends is part of what is checked. */
	seed ^= (uint64_t)table << 56 ^ (uint64_t)key_len << 32 ^ (uint64_t)value_len;
	if (key_len + value_len > sizeof both)
		return crc32c_pair(crc32c_pair(seed, key, key_len), value, value_len);
	memcpy(both, key, key_len);
	if (value_len > 0)
		memcpy(both + key_len, value, value_len);
	return crc32c_pair(seed, both, key_len + value_len);
}

/* ---- keys ---- */

size_t
row_name_key(uint8_t out[ROW_NAME_KEY_MAX], const char *name, size_t name_len)
{
	struct larder_id hash;

	assert(name_len >= 1 && name_len <= NAME_LEN_MAX);
	if (name_len <= ROW_NAME_HEAD_LEN) {
		memcpy(out, name, name_len);
		return name_len;
	}
	sha256(&hash, name, name_len);
	memcpy(out, name, ROW_NAME_HEAD_LEN);
	memcpy(out + ROW_NAME_HEAD_LEN, hash.bytes, ROW_NAME_HASH_LEN);
	return ROW_NAME_KEY_MAX;
}

size_t
row_version_key(uint8_t key[ROW_KEY_MAX], size_t name_key_len, uint64_t number)
{
	assert(name_key_len >= 1 && name_key_len <= ROW_NAME_KEY_MAX);
	key[name_key_len] = 0;
	put_be64(key + name_key_len + 1, number);
	return name_key_len + ROW_VERSION_KEY_TAIL;
}

/* Negative times sort before positive ones. */
static uint64_t
time_to_ordered(int64_t ns)
{
	return (uint64_t)ns ^ (uint64_t)1 << 63;
}

static int64_t
time_from_ordered(uint64_t v)
{
	return (int64_t)(v ^ (uint64_t)1 << 63);
}

size_t
row_time_key(uint8_t key[ROW_KEY_MAX], size_t name_key_len, bool alive, int64_t created_ns,
    const struct id16 *gid)
{
	uint8_t *p = key + name_key_len;

	assert(name_key_len >= 1 && name_key_len <= ROW_NAME_KEY_MAX);
	p[0] = 0;
	p[1] = alive ? TIME_ALIVE : TIME_ENDED;
	put_be64(p + 2, time_to_ordered(created_ns));
	memcpy(p + 10, gid->bytes, ID16_LEN);
	return name_key_len + ROW_TIME_KEY_TAIL;
}

void
row_gid_key(uint8_t out[16], const struct id16 *gid, const char *name, size_t name_len)
{
	struct larder_id hash;
	struct sha256 stream;

	sha256_init(&stream);
	sha256_update(&stream, gid->bytes, ID16_LEN);
	sha256_update(&stream, name, name_len);
	sha256_final(&stream, &hash);
	memcpy(out, hash.bytes, 16);
}

void
row_sketch_key(uint8_t out[ROW_SKETCH_KEY_LEN], uint64_t feature)
{
	uint8_t bytes[8];

	put_be64(bytes, feature);
	memcpy(out, bytes, ROW_SKETCH_KEY_LEN);
}

static bool
starts_with(const uint8_t *key, size_t key_len, const uint8_t *head, size_t head_len, size_t tail)
{
	return key_len == head_len + tail && memcmp(key, head, head_len) == 0 && key[head_len] == 0;
}

bool
row_version_key_number(uint64_t *number, const uint8_t *key, size_t key_len,
    const uint8_t *name_key, size_t name_key_len)
{
	if (!starts_with(key, key_len, name_key, name_key_len, ROW_VERSION_KEY_TAIL))
		return false;
	*number = get_be64(key + name_key_len + 1);
	return true;
}

bool
row_time_key_split(bool *alive, int64_t *created_ns, struct id16 *gid, const uint8_t *key,
    size_t key_len, const uint8_t *name_key, size_t name_key_len)
{
	const uint8_t *p = key + name_key_len;

	if (!starts_with(key, key_len, name_key, name_key_len, ROW_TIME_KEY_TAIL))
		return false;
	if (p[1] != TIME_ALIVE && p[1] != TIME_ENDED)
		return false;
	*alive = p[1] == TIME_ALIVE;
	*created_ns = time_from_ordered(get_be64(p + 2));
	memcpy(gid->bytes, p + 10, ID16_LEN);
	return true;
}

/* ---- places and packs ---- */

/* A varint that has to fit 32 bits. */
static uint32_t
cursor_varint32(struct cursor *c)
{
	uint64_t v = cursor_varint(c);

	if (v > UINT32_MAX)
		c->bad = true;
	return (uint32_t)v;
}

int
row_bad(struct larder_err *err, const char *what, const struct cursor *c, size_t len)
{
	return err_set(err, LARDER_ERR_CORRUPT, "%s: malformed at byte %zu of %zu", what,
	    cursor_offset(c), len);
}

size_t
row_place_encode(uint8_t out[ROW_PLACE_MAX], const struct index_place *place)
{
	uint8_t *p = out;

	assert(place->depth <= PACK_DEPTH_MAX);
	p += put_varint(p, place->pack);
	p += put_varint(p, place->segment_at);
	p += put_varint(p, place->chunk_at);
	p += put_varint(p, place->chunk_len);
	p += put_varint(p, (unsigned)place->type << DEPTH_BITS | place->depth);
	return (size_t)(p - out);
}

int
row_place_decode(struct index_place *out, const uint8_t *data, size_t len, struct larder_err *err)
{
	struct cursor c = cursor_of(data, len);
	struct index_place place;
	uint32_t kind;

	place.pack = cursor_varint32(&c);
	place.segment_at = cursor_varint32(&c);
	place.chunk_at = cursor_varint32(&c);
	place.chunk_len = cursor_varint32(&c);
	kind = cursor_varint32(&c);
	if (!cursor_done(&c) || kind >> DEPTH_BITS > UINT8_MAX)
		return row_bad(err, "place of a chunk", &c, len);
	place.type = (uint8_t)(kind >> DEPTH_BITS);
	place.depth = (uint8_t)(kind & ((1 << DEPTH_BITS) - 1));
	if (place.depth > PACK_DEPTH_MAX)
		return err_set(err, LARDER_ERR_CORRUPT, "place of a chunk: depth %d", place.depth);
	*out = place;
	return LARDER_OK;
}

size_t
row_pack_encode(uint8_t out[ROW_PACK_MAX], const struct index_pack *pack)
{
	uint8_t *p = out;

	memcpy(p, pack->id.bytes, ID16_LEN);
	p += ID16_LEN;
	p += put_varint(p, pack->file_len);
	p += put_varint(p, pack->chunk_count);
	return (size_t)(p - out);
}

int
row_pack_decode(struct index_pack *out, const uint8_t *data, size_t len, struct larder_err *err)
{
	struct cursor c = cursor_of(data, len);
	const uint8_t *id = cursor_bytes(&c, ID16_LEN);
	struct index_pack pack;

	pack.file_len = cursor_varint(&c);
	pack.chunk_count = cursor_varint32(&c);
	if (!cursor_done(&c) || id == NULL)
		return row_bad(err, "row of a pack", &c, len);
	memcpy(pack.id.bytes, id, ID16_LEN);
	*out = pack;
	return LARDER_OK;
}

size_t
row_packid_encode(uint8_t out[ROW_PACKID_MAX], uint32_t number)
{
	return put_varint(out, number);
}

int
row_packid_decode(uint32_t *number, const uint8_t *data, size_t len, struct larder_err *err)
{
	struct cursor c = cursor_of(data, len);
	uint32_t v = cursor_varint32(&c);

	if (!cursor_done(&c))
		return row_bad(err, "number of a pack", &c, len);
	*number = v;
	return LARDER_OK;
}

/* ---- positions, head, sums ---- */

size_t
row_position_encode(uint8_t out[ROW_POSITION_MAX], const struct index_position *position)
{
	uint8_t *p = out;

	p += put_varint(p, position->segment);
	p += put_varint(p, position->offset);
	p += put_varint(p, position->sequence);
	memcpy(p, position->chain.bytes, LARDER_ID_LEN);
	return (size_t)(p - out) + LARDER_ID_LEN;
}

int
row_position_decode(struct index_position *out, const struct id16 *writer, const uint8_t *data,
    size_t len, struct larder_err *err)
{
	struct cursor c = cursor_of(data, len);
	struct index_position position = { .writer = *writer };

	position.segment = cursor_varint(&c);
	position.offset = cursor_varint(&c);
	position.sequence = cursor_varint(&c);
	cursor_id(&c, &position.chain);
	if (!cursor_done(&c))
		return row_bad(err, "position in a journal", &c, len);
	*out = position;
	return LARDER_OK;
}

void
row_head_encode(uint8_t out[ROW_HEAD_LEN], const struct row_head *head)
{
	memcpy(out, head_magic, sizeof head_magic);
	put_le32(out + 8, head->schema);
	memcpy(out + 12, head->store.bytes, ID16_LEN);
	put_le64(out + 28, head->seed);
}

int
row_head_decode(struct row_head *out, const uint8_t *data, size_t len, struct larder_err *err)
{
	if (len != ROW_HEAD_LEN || memcmp(data, head_magic, sizeof head_magic) != 0)
		return err_set(err, LARDER_ERR_CORRUPT, "not the head of an index");
	out->schema = get_le32(data + 8);
	memcpy(out->store.bytes, data + 12, ID16_LEN);
	out->seed = get_le64(data + 28);
	return LARDER_OK;
}

void
row_sums_encode(uint8_t out[ROW_SUMS_LEN], const struct row_sums *sums)
{
	uint8_t *p = out + 4;

	put_le32(out, sums->next_pack);
	for (size_t t = 0; t < TABLE_COUNT; t++, p += 16) {
		put_le64(p, sums->table[t].count);
		put_le64(p + 8, sums->table[t].hash);
	}
}

int
row_sums_decode(struct row_sums *out, const uint8_t *data, size_t len, struct larder_err *err)
{
	const uint8_t *p = data + 4;

	if (len != ROW_SUMS_LEN)
		return err_set(err, LARDER_ERR_CORRUPT, "sums of the tables: %zu bytes", len);
	out->next_pack = get_le32(data);
	for (size_t t = 0; t < TABLE_COUNT; t++, p += 16) {
		out->table[t].count = get_le64(p);
		out->table[t].hash = get_le64(p + 8);
	}
	return LARDER_OK;
}

/* ---- rows of any table ---- */

static bool
is_name_key(const uint8_t *key, size_t key_len, const char *name, size_t name_len)
{
	uint8_t want[ROW_NAME_KEY_MAX];

	if (name_len == 0)
		return key_len >= 1 && key_len <= ROW_NAME_HEAD_LEN &&
		       memchr(key, 0, key_len) == NULL;
	return key_len == ROW_NAME_KEY_MAX && row_name_key(want, name, name_len) == key_len &&
	       memcmp(want, key, key_len) == 0;
}

int
row_plausible(enum index_table table, const uint8_t *key, size_t key_len, const uint8_t *value,
    size_t value_len, struct larder_err *err)
{
	union {
		struct index_place place;
		struct index_pack pack;
		struct row_name name;
		struct index_position position;
		uint32_t number32;
		uint64_t number;
	} u;
	struct index_version_row version = { 0 };
	struct id16 writer = { { 0 } };
	int64_t ended_ns;
	bool key_ok = false;
	int rc = LARDER_OK;

	switch (table) {
	case TABLE_CHUNKS:
		key_ok = key_len == LARDER_ID_LEN;
		rc = row_place_decode(&u.place, value, value_len, err);
		break;
	case TABLE_PACKS:
		key_ok = key_len == 4;
		rc = row_pack_decode(&u.pack, value, value_len, err);
		break;
	case TABLE_PACKIDS:
		key_ok = key_len == ID16_LEN;
		rc = row_packid_decode(&u.number32, value, value_len, err);
		break;
	case TABLE_NAMES:
		rc = row_name_decode(&u.name, value, value_len, err);
		key_ok = rc < 0 || is_name_key(key, key_len, u.name.name, u.name.name_len);
		break;
	case TABLE_VERSIONS:
		key_ok = key_len > ROW_VERSION_KEY_TAIL &&
			 key_len <= ROW_NAME_KEY_MAX + ROW_VERSION_KEY_TAIL &&
			 key[key_len - ROW_VERSION_KEY_TAIL] == 0;
		rc = row_version_decode(&version, "", 0, 1, value, value_len, err);
		index_version_release(&version);
		break;
	case TABLE_GIDS:
		key_ok = key_len == 16;
		rc = row_gid_decode(&u.number, value, value_len, err);
		break;
	case TABLE_TIMES:
		key_ok = key_len > ROW_TIME_KEY_TAIL && key_len <= ROW_KEY_MAX &&
			 key[key_len - ROW_TIME_KEY_TAIL] == 0;
		rc = row_time_decode(&u.number, &ended_ns, value, value_len, err);
		break;
	case TABLE_SEEN:
		key_ok = key_len == 16 && value_len <= ROW_SEEN_MAX;
		break;
	case TABLE_SKETCHES:
		key_ok = key_len == ROW_SKETCH_KEY_LEN && value_len == 8;
		break;
	case TABLE_POSITIONS:
		key_ok = key_len == ID16_LEN;
		rc = row_position_decode(&u.position, &writer, value, value_len, err);
		break;
	case TABLE_COUNT:
	case TABLE_HEAD:
	case TABLE_SUMS:
		break;
	}
	if (rc < 0)
		return rc;
	if (!key_ok)
		return err_set(
		    err, LARDER_ERR_CORRUPT, "key of %zu bytes, value of %zu", key_len, value_len);
	return LARDER_OK;
}
