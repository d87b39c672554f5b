#ifndef LARDER_INDEX_ROW_H
#define LARDER_INDEX_ROW_H

/*
 * Keys and values of every table as bytes, and back (SCHEMA.md). Pure: no
 * database, no files. Decoders check everything and fill `out` only when all is
 * well; each value has exactly one encoding. A value in the database is what
 * is encoded here and then the 8 bytes of row_check().
 *
 * Encoders assert what the decoders check: the limits of what comes from
 * callers are checked where it comes in (names.c, seen.c).
 */
#include <assert.h>

#include "cas/base/buf.h"
#include "cas/base/id.h"
#include "cas/base/limits.h"
#include "cas/types.h"
#include "index/index.h"

/* On disk as part of every check: never renumber. */
enum index_table {
	TABLE_CHUNKS,
	TABLE_PACKS,
	TABLE_PACKIDS,
	TABLE_NAMES,
	TABLE_VERSIONS,
	TABLE_GIDS,
	TABLE_TIMES,
	TABLE_SEEN,
	TABLE_SKETCHES,
	TABLE_POSITIONS,
	TABLE_COUNT,
	/* two single rows in the database of the databases */
	TABLE_HEAD = 62,
	TABLE_SUMS = 63,
};

const char *row_table_name(enum index_table table); /* "chunks"; NULL beyond TABLE_COUNT */

/*
 * A name of up to ROW_NAME_HEAD_LEN bytes is its own key. A longer one is
 * represented by that many bytes and the first 16 bytes of its SHA-256; the name
 * itself then stands in the value of its row in `names`.
 */
enum {
	ROW_CHECK_LEN = 8,
	ROW_NAME_HEAD_LEN = 448,
	ROW_NAME_HASH_LEN = 16,
	ROW_NAME_KEY_MAX = ROW_NAME_HEAD_LEN + ROW_NAME_HASH_LEN,
	ROW_VERSION_KEY_TAIL = 1 + 8,
	ROW_TIME_KEY_TAIL = 1 + 1 + 8 + ID16_LEN,
	ROW_KEY_MAX = ROW_NAME_KEY_MAX + ROW_TIME_KEY_TAIL,

	ROW_PLACE_MAX = 4 * 5 + 2,
	ROW_PACK_MAX = ID16_LEN + 10 + 5,
	ROW_PACKID_MAX = 5,
	ROW_GID_MAX = 10,
	ROW_TIME_MAX = 10 + 10,
	ROW_NAME_MAX = 4 * 10 + NAME_LEN_MAX,
	ROW_POSITION_MAX = 3 * 10 + LARDER_ID_LEN,
	ROW_HEAD_LEN = 8 + 4 + ID16_LEN + 8,
	ROW_SUMS_LEN = 4 + TABLE_COUNT * 16,
	/* data of a seen row; with the check it stays below INDEX_VALUE_MAX */
	ROW_SEEN_MAX = 60 * 1024,
	ROW_SKETCH_KEY_LEN = 6,
	ROW_SCHEMA = 1,
};

static_assert(ROW_KEY_MAX <= 511, "LMDB's keys end at 511 bytes");
static_assert(ROW_NAME_MAX + ROW_CHECK_LEN <= INDEX_VALUE_MAX, "a name fits a value");
static_assert(ROW_SEEN_MAX + ROW_CHECK_LEN <= INDEX_VALUE_MAX, "a hint fits a value");

/* The check of a row: over table, lengths, key and value; seeded per index. */
uint64_t row_check(uint64_t seed, enum index_table table, const void *key, size_t key_len,
    const void *value, size_t value_len);

/* ---- keys ---- */

/* How many bytes went to out. The name is 1 .. NAME_LEN_MAX bytes. */
size_t row_name_key(uint8_t out[ROW_NAME_KEY_MAX], const char *name, size_t name_len);
/* Behind a name's key, in place: how long the whole is. */
size_t row_version_key(uint8_t key[ROW_KEY_MAX], size_t name_key_len, uint64_t number);
size_t row_time_key(uint8_t key[ROW_KEY_MAX], size_t name_key_len, bool alive, int64_t created_ns,
    const struct id16 *gid);
void row_gid_key(uint8_t out[16], const struct id16 *gid, const char *name, size_t name_len);
void row_sketch_key(uint8_t out[ROW_SKETCH_KEY_LEN], uint64_t feature);

/* The number in a version's key that starts with this name's key; false when it is another's. */
bool row_version_key_number(uint64_t *number, const uint8_t *key, size_t key_len,
    const uint8_t *name_key, size_t name_key_len);
bool row_time_key_split(bool *alive, int64_t *created_ns, struct id16 *gid, const uint8_t *key,
    size_t key_len, const uint8_t *name_key, size_t name_key_len);

/* ---- values ---- */

size_t row_place_encode(uint8_t out[ROW_PLACE_MAX], const struct index_place *place);
LARDER_MUST_USE int row_place_decode(
    struct index_place *out, const uint8_t *data, size_t len, struct larder_err *err);

size_t row_pack_encode(uint8_t out[ROW_PACK_MAX], const struct index_pack *pack);
LARDER_MUST_USE int row_pack_decode(
    struct index_pack *out, const uint8_t *data, size_t len, struct larder_err *err);

size_t row_packid_encode(uint8_t out[ROW_PACKID_MAX], uint32_t number);
LARDER_MUST_USE int row_packid_decode(
    uint32_t *number, const uint8_t *data, size_t len, struct larder_err *err);

/* A row of `names`. `name` is lent: the caller's when encoding, from `data` or NULL when decoding.
 */
struct row_name {
	uint64_t next; /* number of the next version: greater than all there were */
	uint64_t
	    latest; /* number of the latest one alive by (created_ns, gid); 0 = none is alive */
	uint64_t versions; /* all, ended ones too; at least 1 */
	uint64_t alive;
	const char
	    *name; /* not terminated; the full name, only when longer than ROW_NAME_HEAD_LEN */
	size_t name_len;
};
size_t row_name_encode(uint8_t out[ROW_NAME_MAX], const struct row_name *row);
LARDER_MUST_USE int row_name_decode(
    struct row_name *out, const uint8_t *data, size_t len, struct larder_err *err);

/* Everything of a version but name and number, which are in its key. Appends; NOMEM, LIMIT. */
LARDER_MUST_USE int row_version_encode(struct buf *out, const struct index_version *version);
/* The strings of `out` live in out->storage, `name` (not terminated) among them. */
LARDER_MUST_USE int row_version_decode(struct index_version_row *out, const char *name,
    size_t name_len, uint64_t number, const uint8_t *data, size_t len, struct larder_err *err);

size_t row_gid_encode(uint8_t out[ROW_GID_MAX], uint64_t number);
LARDER_MUST_USE int row_gid_decode(
    uint64_t *number, const uint8_t *data, size_t len, struct larder_err *err);

size_t row_time_encode(uint8_t out[ROW_TIME_MAX], uint64_t number, int64_t ended_ns);
LARDER_MUST_USE int row_time_decode(
    uint64_t *number, int64_t *ended_ns, const uint8_t *data, size_t len, struct larder_err *err);

/* The writer is the key. */
size_t row_position_encode(uint8_t out[ROW_POSITION_MAX], const struct index_position *position);
LARDER_MUST_USE int row_position_decode(struct index_position *out, const struct id16 *writer,
    const uint8_t *data, size_t len, struct larder_err *err);

/* ---- the two single rows ---- */

struct row_head {
	uint32_t schema;
	struct id16 store;
	uint64_t seed; /* of every check but this row's own, which is seeded with 0 */
};
void row_head_encode(uint8_t out[ROW_HEAD_LEN], const struct row_head *head);
LARDER_MUST_USE int row_head_decode(
    struct row_head *out, const uint8_t *data, size_t len, struct larder_err *err);

/* Per table how many rows there are and the sum of their checks, mod 2^64. */
struct row_sums {
	uint32_t next_pack;
	struct {
		uint64_t count, hash;
	} table[TABLE_COUNT];
};
void row_sums_encode(uint8_t out[ROW_SUMS_LEN], const struct row_sums *sums);
LARDER_MUST_USE int row_sums_decode(
    struct row_sums *out, const uint8_t *data, size_t len, struct larder_err *err);

/*
 * Is this the shape that rows of the table have? For walks that see rows without knowing what they
 * are for: key and value (without check) decode. CORRUPT with the reason.
 */
LARDER_MUST_USE int row_plausible(enum index_table table, const uint8_t *key, size_t key_len,
    const uint8_t *value, size_t value_len, struct larder_err *err);

/* For the decoders: CORRUPT at the cursor's place. */
struct cursor;
int row_bad(struct larder_err *err, const char *what, const struct cursor *c, size_t len);

#endif
