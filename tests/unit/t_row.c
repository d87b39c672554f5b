/* Keys and values as bytes: pinned by hand, both ways, and everything malformed refused. */
#include "tests/harness.h"

#include "cas/base/bytes.h"
#include "index/row.h"

/* ---- places ---- */

static void
a_place_has_the_bytes_of_the_document(void **state)
{
	static const struct index_place place = {
		.pack = 300,
		.segment_at = 1,
		.chunk_at = 0,
		.chunk_len = 65536,
		.depth = 3,
		.type = 2,
	};
	static const uint8_t want[] = { 0xac, 2, 1, 0, 0x80, 0x80, 4, 0x23 };
	struct index_place got;
	uint8_t bytes[ROW_PLACE_MAX];

	(void)state;
	assert_int_equal(row_place_encode(bytes, &place), sizeof want);
	assert_memory_equal(bytes, want, sizeof want);
	assert_ok(row_place_decode(&got, want, sizeof want, NULL), NULL);
	assert_int_equal(got.pack, 300);
	assert_int_equal(got.segment_at, 1);
	assert_int_equal(got.chunk_len, 65536);
	assert_int_equal(got.depth, 3);
	assert_int_equal(got.type, 2);
}

static void
the_largest_place_fits_its_room(void **state)
{
	static const struct index_place place = {
		.pack = UINT32_MAX,
		.segment_at = UINT32_MAX,
		.chunk_at = UINT32_MAX,
		.chunk_len = UINT32_MAX,
		.depth = PACK_DEPTH_MAX,
		.type = UINT8_MAX,
	};
	struct index_place got;
	uint8_t bytes[ROW_PLACE_MAX];

	(void)state;
	assert_int_equal(row_place_encode(bytes, &place), ROW_PLACE_MAX);
	assert_ok(row_place_decode(&got, bytes, sizeof bytes, NULL), NULL);
	assert_int_equal(got.pack, UINT32_MAX);
	assert_int_equal(got.type, UINT8_MAX);
	assert_int_equal(got.depth, PACK_DEPTH_MAX);
}

static void
a_malformed_place_is_refused(void **state)
{
	static const struct {
		size_t len;
		uint8_t bytes[12];
		const char *says;
	} bad[] = {
		{ 0, { 0 }, "malformed" }, { 4, { 1, 1, 1, 1 }, "malformed" },    /* cut short */
		{ 6, { 1, 1, 1, 1, 0, 0 }, "malformed" },                         /* too long */
		{ 6, { 0x81, 0, 1, 1, 1, 0 }, "malformed" },                      /* two forms */
		{ 9, { 0x80, 0x80, 0x80, 0x80, 0x10, 1, 1, 1, 0 }, "malformed" }, /* 33 bits */
		{ 5, { 1, 1, 1, 1, 0x0f }, "depth 15" }, { 5, { 1, 1, 1, 1, 9 }, "depth 9" },
		{ 6, { 1, 1, 1, 1, 0x80, 0x20 }, "malformed" }, /* type 256 */
	};

	(void)state;
	for (size_t i = 0; i < test_count(bad); i++) {
		struct index_place place = { .pack = 77 };
		struct larder_err err = { 0 };

		assert_status(LARDER_ERR_CORRUPT,
		    row_place_decode(&place, bad[i].bytes, bad[i].len, &err), &err);
		assert_message(&err, bad[i].says);
		assert_int_equal(place.pack, 77);
	}
}

/* ---- packs ---- */

static void
a_pack_has_the_bytes_of_the_document(void **state)
{
	static const struct index_pack pack = {
		.id = { "0123456789abcde" },
		.file_len = 16777216,
		.chunk_count = 5,
	};
	static const uint8_t want[] = { '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b',
		'c', 'd', 'e', 0, 0x80, 0x80, 0x80, 8, 5 };
	uint8_t bytes[ROW_PACK_MAX];
	struct index_pack got;
	uint32_t number;

	(void)state;
	assert_int_equal(row_pack_encode(bytes, &pack), sizeof want);
	assert_memory_equal(bytes, want, sizeof want);
	assert_ok(row_pack_decode(&got, want, sizeof want, NULL), NULL);
	assert_memory_equal(&got.id, &pack.id, sizeof got.id);
	assert_int_equal(got.file_len, 16777216);
	assert_int_equal(got.chunk_count, 5);
	for (size_t len = 0; len < sizeof want; len++)
		assert_status(LARDER_ERR_CORRUPT, row_pack_decode(&got, want, len, NULL), NULL);

	assert_int_equal(row_packid_encode(bytes, UINT32_MAX), 5);
	assert_ok(row_packid_decode(&number, bytes, 5, NULL), NULL);
	assert_int_equal(number, UINT32_MAX);
	assert_status(LARDER_ERR_CORRUPT, row_packid_decode(&number, bytes, 4, NULL), NULL);
	assert_status(LARDER_ERR_CORRUPT, row_packid_decode(&number, want, 2, NULL), NULL);
}

/* ---- names ---- */

static void
a_short_name_is_its_own_key(void **state)
{
	uint8_t key[ROW_KEY_MAX];
	char name[ROW_NAME_HEAD_LEN + 1];

	(void)state;
	assert_int_equal(row_name_key(key, "a/b", 3), 3);
	assert_memory_equal(key, "a/b", 3);
	memset(name, 'x', sizeof name);
	assert_int_equal(row_name_key(key, name, ROW_NAME_HEAD_LEN), ROW_NAME_HEAD_LEN);
	assert_memory_equal(key, name, ROW_NAME_HEAD_LEN);
	assert_int_equal(row_name_key(key, name, ROW_NAME_HEAD_LEN + 1), ROW_NAME_KEY_MAX);
	assert_memory_equal(key, name, ROW_NAME_HEAD_LEN);
}

static void
long_names_that_begin_alike_have_different_keys(void **state)
{
	uint8_t a[ROW_NAME_KEY_MAX], b[ROW_NAME_KEY_MAX];
	char name[NAME_LEN_MAX];

	(void)state;
	memset(name, 'x', sizeof name);
	assert_int_equal(row_name_key(a, name, sizeof name), ROW_NAME_KEY_MAX);
	assert_int_equal(row_name_key(b, name, sizeof name - 1), ROW_NAME_KEY_MAX);
	assert_memory_not_equal(a, b, sizeof a);
	assert_memory_equal(a, b, ROW_NAME_HEAD_LEN);
}

static void
keys_of_versions_sort_by_name_then_number(void **state)
{
	uint8_t a[ROW_KEY_MAX] = "n", b[ROW_KEY_MAX] = "n", c[ROW_KEY_MAX] = "n/";
	uint64_t number;
	size_t len;

	(void)state;
	len = row_version_key(a, 1, 255);
	assert_int_equal(len, 1 + ROW_VERSION_KEY_TAIL);
	assert_memory_equal(a, "n\0\0\0\0\0\0\0\0\xff", len);
	assert_int_equal(row_version_key(b, 1, 256), len);
	assert_int_equal(row_version_key(c, 2, 1), len + 1);
	assert_true(memcmp(a, b, len) < 0);
	assert_true(memcmp(b, c, len) < 0);

	assert_true(row_version_key_number(&number, b, len, (const uint8_t *)"n", 1));
	assert_int_equal(number, 256);
	assert_false(row_version_key_number(&number, c, len + 1, (const uint8_t *)"n", 1));
	assert_false(row_version_key_number(&number, b, len - 1, (const uint8_t *)"n", 1));
	assert_false(row_version_key_number(&number, b, len, (const uint8_t *)"m", 1));
}

static void
keys_of_times_sort_by_time_and_the_living_last(void **state)
{
	static const struct id16 low = { { 1 } }, high = { { 2 } };
	static const struct {
		bool alive;
		int64_t created_ns;
		const struct id16 *gid;
	} order[] = {
		{ false, INT64_MIN, &low },
		{ false, -1, &low },
		{ false, 0, &low },
		{ false, INT64_MAX, &high },
		{ true, -5, &high },
		{ true, 5, &low },
		{ true, 5, &high },
		{ true, 6, &low },
	};
	uint8_t last[ROW_KEY_MAX] = { 0 };

	(void)state;
	for (size_t i = 0; i < test_count(order); i++) {
		uint8_t key[ROW_KEY_MAX] = "name";
		int64_t created_ns;
		struct id16 gid;
		size_t len;
		bool alive;

		len = row_time_key(key, 4, order[i].alive, order[i].created_ns, order[i].gid);
		assert_int_equal(len, 4 + ROW_TIME_KEY_TAIL);
		assert_true(memcmp(last, key, len) < 0);
		memcpy(last, key, len);
		assert_true(row_time_key_split(
		    &alive, &created_ns, &gid, key, len, (const uint8_t *)"name", 4));
		assert_int_equal(alive, order[i].alive);
		assert_true(created_ns == order[i].created_ns);
		assert_memory_equal(&gid, order[i].gid, sizeof gid);
		key[5] = 2;
		assert_false(row_time_key_split(
		    &alive, &created_ns, &gid, key, len, (const uint8_t *)"name", 4));
	}
}

static void
a_gid_belongs_to_a_name(void **state)
{
	static const struct id16 gid = { { 9 } };
	uint8_t a[16], b[16], c[16];

	(void)state;
	row_gid_key(a, &gid, "a", 1);
	row_gid_key(b, &gid, "b", 1);
	row_gid_key(c, &gid, "a", 1);
	assert_memory_not_equal(a, b, sizeof a);
	assert_memory_equal(a, c, sizeof a);
}

static void
a_row_of_a_name_has_the_bytes_of_the_document(void **state)
{
	static const uint8_t want[] = { 4, 3, 2, 1 };
	struct row_name row = {
		.next = 4, .latest = 3, .versions = 2, .alive = 1, .name = "x", .name_len = 1
	};
	uint8_t bytes[ROW_NAME_MAX];
	char name[NAME_LEN_MAX];
	struct row_name got;
	size_t len;

	(void)state;
	assert_int_equal(row_name_encode(bytes, &row), sizeof want);
	assert_memory_equal(bytes, want, sizeof want);
	assert_ok(row_name_decode(&got, want, sizeof want, NULL), NULL);
	assert_int_equal(got.next, 4);
	assert_int_equal(got.latest, 3);
	assert_int_equal(got.name_len, 0);

	memset(name, 'n', sizeof name);
	row.name = name;
	row.name_len = sizeof name;
	len = row_name_encode(bytes, &row);
	assert_int_equal(len, sizeof want + sizeof name);
	assert_ok(row_name_decode(&got, bytes, len, NULL), NULL);
	assert_int_equal(got.name_len, sizeof name);
	assert_memory_equal(got.name, name, sizeof name);
}

static void
a_row_of_a_name_that_contradicts_itself_is_refused(void **state)
{
	static const struct {
		uint8_t bytes[8];
		size_t len;
		const char *says;
	} bad[] = {
		{ { 4, 3, 2 }, 3, "malformed" },
		{ { 4, 0, 0, 0 }, 4, "contradict" },     /* no version */
		{ { 2, 1, 2, 1 }, 4, "contradict" },     /* more versions than numbers */
		{ { 4, 3, 2, 3 }, 4, "contradict" },     /* more alive than there are */
		{ { 4, 4, 2, 1 }, 4, "contradict" },     /* latest not given yet */
		{ { 4, 0, 2, 1 }, 4, "contradict" },     /* alive, but none is the latest */
		{ { 4, 3, 2, 0 }, 4, "contradict" },     /* a latest, but none alive */
		{ { 4, 3, 2, 1, 'x' }, 5, "name of 1" }, /* a short name stands in the key */
	};
	uint8_t longer[4 + NAME_LEN_MAX + 1] = { 4, 3, 2, 1 };
	struct row_name row;

	(void)state;
	for (size_t i = 0; i < test_count(bad); i++) {
		struct larder_err err = { 0 };

		assert_status(LARDER_ERR_CORRUPT,
		    row_name_decode(&row, bad[i].bytes, bad[i].len, &err), &err);
		assert_message(&err, bad[i].says);
	}
	memset(longer + 4, 'x', sizeof longer - 4);
	assert_status(LARDER_ERR_CORRUPT, row_name_decode(&row, longer, sizeof longer, NULL), NULL);
	assert_ok(row_name_decode(&row, longer, sizeof longer - 1, NULL), NULL);
	longer[600] = 0;
	assert_status(
	    LARDER_ERR_CORRUPT, row_name_decode(&row, longer, sizeof longer - 1, NULL), NULL);
}

/* ---- versions ---- */

static const struct index_tag some_tags[] = { { "a", "" }, { "branch", "main" } };

static struct index_version
sample(void)
{
	struct index_version version = {
		.name = "n",
		.gid = { "gid of a versio" },
		.created_ns = -2,
		.ended_ns = 3,
		.kind = 2,
		.list = true,
		.bytes = 300,
		.new_bytes = 2,
		.stored_bytes = 1,
		.files = 7,
		.has_sha256 = true,
		.tags = some_tags,
		.tag_count = 2,
	};

	memset(version.id.bytes, 0x11, sizeof version.id);
	memset(version.attrs.bytes, 0x22, sizeof version.attrs);
	memset(version.sha256.bytes, 0x33, sizeof version.sha256);
	return version;
}

static void
a_version_has_the_bytes_of_the_document(void **state)
{
	struct index_version version = sample();
	struct index_version_row got = { 0 };
	struct buf bytes = { 0 };
	uint8_t want[16 + 8 + 3 + 96 + 5 + 1 + 3 + 12], *p = want;

	(void)state;
	memcpy(p, "gid of a versio", 16), p += 16;
	memcpy(p, "\xfe\xff\xff\xff\xff\xff\xff\xff", 8), p += 8;
	*p++ = 6, *p++ = 2, *p++ = 7;
	memset(p, 0x11, 32), p += 32;
	memset(p, 0x22, 32), p += 32;
	memcpy(p, "\xac\2\2\1\7", 5), p += 5;
	memset(p, 0x33, 32), p += 32;
	memcpy(p, "\2\1a\0\6branch\4main", 16), p += 16;
	assert_ok(row_version_encode(&bytes, &version), NULL);
	assert_int_equal(p - want, sizeof want);
	assert_int_equal(bytes.len, sizeof want);
	assert_memory_equal(bytes.data, want, sizeof want);

	assert_ok(row_version_decode(&got, "nx", 1, 9, want, sizeof want, NULL), NULL);
	assert_string_equal(got.version.name, "n");
	assert_int_equal(got.version.number, 9);
	assert_true(got.version.created_ns == -2 && got.version.ended_ns == 3);
	assert_true(got.version.list && got.version.has_sha256);
	assert_memory_equal(&got.version.attrs, &version.attrs, sizeof version.attrs);
	assert_memory_equal(&got.version.sha256, &version.sha256, sizeof version.sha256);
	assert_int_equal(got.version.bytes, 300);
	assert_int_equal(got.version.files, 7);
	assert_int_equal(got.version.tag_count, 2);
	assert_string_equal(got.version.tags[0].value, "");
	assert_string_equal(got.version.tags[1].key, "branch");
	assert_string_equal(got.version.tags[1].value, "main");
	index_version_release(&got);
	buf_release(&bytes);
}

static void
a_version_cut_short_or_extended_is_refused(void **state)
{
	struct index_version version = sample();
	struct index_version_row got = { 0 };
	struct buf bytes = { 0 };

	(void)state;
	assert_ok(row_version_encode(&bytes, &version), NULL);
	for (size_t len = 0; len < bytes.len; len++)
		assert_status(LARDER_ERR_CORRUPT,
		    row_version_decode(&got, "n", 1, 1, bytes.data, len, NULL), NULL);
	assert_ok(buf_append_u8(&bytes, 0), NULL);
	assert_status(LARDER_ERR_CORRUPT,
	    row_version_decode(&got, "n", 1, 1, bytes.data, bytes.len, NULL), NULL);
	assert_null(got.version.name);
	index_version_release(&got);
	buf_release(&bytes);
}

static void
a_version_in_a_second_form_is_refused(void **state)
{
	struct index_version version = sample();
	struct index_version_row got = { 0 };
	struct buf bytes = { 0 };
	size_t flags_at = 16 + 8 + 1 + 1, attrs_at = flags_at + 1 + 32, tags_at;

	(void)state;
	assert_ok(row_version_encode(&bytes, &version), NULL);
	tags_at = bytes.len - 16;
	for (int bit = 3; bit < 8; bit++) {
		bytes.data[flags_at] ^= (uint8_t)(1 << bit);
		assert_status(LARDER_ERR_CORRUPT,
		    row_version_decode(&got, "n", 1, 1, bytes.data, bytes.len, NULL), NULL);
		bytes.data[flags_at] ^= (uint8_t)(1 << bit);
	}
	/* attrs that are there, but zero */
	memset(bytes.data + attrs_at, 0, 32);
	assert_status(LARDER_ERR_CORRUPT,
	    row_version_decode(&got, "n", 1, 1, bytes.data, bytes.len, NULL), NULL);
	memset(bytes.data + attrs_at, 0x22, 32);
	/* a NUL inside a tag; more tags than there may be */
	bytes.data[tags_at + 2] = 0;
	assert_status(LARDER_ERR_CORRUPT,
	    row_version_decode(&got, "n", 1, 1, bytes.data, bytes.len, NULL), NULL);
	bytes.data[tags_at + 2] = 'a';
	bytes.data[tags_at] = TAGS_MAX + 1;
	assert_status(LARDER_ERR_CORRUPT,
	    row_version_decode(&got, "n", 1, 1, bytes.data, bytes.len, NULL), NULL);
	index_version_release(&got);
	buf_release(&bytes);
}

static void
times_and_numbers_are_what_was_written(void **state)
{
	uint8_t bytes[ROW_TIME_MAX];
	uint64_t number;
	int64_t ended_ns;
	size_t len;

	(void)state;
	len = row_time_encode(bytes, 5, -1);
	assert_int_equal(len, 2);
	assert_memory_equal(bytes, "\5\1", 2);
	assert_ok(row_time_decode(&number, &ended_ns, bytes, len, NULL), NULL);
	assert_true(number == 5 && ended_ns == -1);
	assert_status(LARDER_ERR_CORRUPT,
	    row_time_decode(&number, &ended_ns, (const uint8_t *)"\0\1", 2, NULL), NULL);
	assert_status(
	    LARDER_ERR_CORRUPT, row_time_decode(&number, &ended_ns, bytes, 1, NULL), NULL);

	len = row_gid_encode(bytes, UINT64_MAX);
	assert_int_equal(len, ROW_GID_MAX);
	assert_ok(row_gid_decode(&number, bytes, len, NULL), NULL);
	assert_true(number == UINT64_MAX);
	assert_status(
	    LARDER_ERR_CORRUPT, row_gid_decode(&number, (const uint8_t *)"\0", 1, NULL), NULL);
	assert_status(LARDER_ERR_CORRUPT, row_gid_decode(&number, bytes, 9, NULL), NULL);
}

/* ---- the rest ---- */

static void
a_position_has_the_bytes_of_the_document(void **state)
{
	struct index_position position = { .segment = 1, .offset = 128, .sequence = 2 }, got;
	uint8_t bytes[ROW_POSITION_MAX], want[4 + 32] = { 1, 0x80, 1, 2 };
	static const struct id16 writer = { { 5 } };
	size_t len;

	(void)state;
	memset(position.chain.bytes, 0x44, 32);
	memset(want + 4, 0x44, 32);
	len = row_position_encode(bytes, &position);
	assert_int_equal(len, sizeof want);
	assert_memory_equal(bytes, want, len);
	assert_ok(row_position_decode(&got, &writer, bytes, len, NULL), NULL);
	assert_memory_equal(&got.writer, &writer, sizeof writer);
	assert_int_equal(got.offset, 128);
	for (size_t n = 0; n < len; n++)
		assert_status(
		    LARDER_ERR_CORRUPT, row_position_decode(&got, &writer, bytes, n, NULL), NULL);
}

static void
head_and_sums_have_the_bytes_of_the_document(void **state)
{
	static const struct row_head head = {
		.schema = 1,
		.store = { "0123456789abcde" },
		.seed = 0x0807060504030201,
	};
	static const char want[] = "larder-i\1\0\0\0"
				   "0123456789abcde\0\1\2\3\4\5\6\7\10";
	uint8_t bytes[ROW_HEAD_LEN], sums_bytes[ROW_SUMS_LEN];
	struct row_sums sums = { .next_pack = 3 }, back;
	struct row_head got;

	(void)state;
	row_head_encode(bytes, &head);
	assert_int_equal(sizeof want - 1, ROW_HEAD_LEN);
	assert_memory_equal(bytes, want, ROW_HEAD_LEN);
	assert_ok(row_head_decode(&got, bytes, sizeof bytes, NULL), NULL);
	assert_true(got.seed == head.seed && got.schema == 1);
	bytes[0] ^= 1;
	assert_status(LARDER_ERR_CORRUPT, row_head_decode(&got, bytes, sizeof bytes, NULL), NULL);
	assert_status(
	    LARDER_ERR_CORRUPT, row_head_decode(&got, bytes, sizeof bytes - 1, NULL), NULL);

	sums.table[TABLE_CHUNKS].count = 1;
	sums.table[TABLE_POSITIONS].hash = 2;
	row_sums_encode(sums_bytes, &sums);
	assert_int_equal(get_le32(sums_bytes), 3);
	assert_int_equal(get_le64(sums_bytes + 4), 1);
	assert_int_equal(get_le64(sums_bytes + ROW_SUMS_LEN - 8), 2);
	assert_ok(row_sums_decode(&back, sums_bytes, sizeof sums_bytes, NULL), NULL);
	assert_int_equal(back.next_pack, 3);
	assert_memory_equal(back.table, sums.table, sizeof sums.table);
	assert_status(LARDER_ERR_CORRUPT,
	    row_sums_decode(&back, sums_bytes, sizeof sums_bytes - 1, NULL), NULL);
}

static void
the_check_depends_on_everything(void **state)
{
	uint8_t key[40], value[200];
	uint64_t check;

	(void)state;
	test_fill(key, sizeof key, 1);
	test_fill(value, sizeof value, 2);
	for (size_t len = 0; len <= sizeof value; len += 50) {
		check = row_check(7, TABLE_NAMES, key, sizeof key, value, len);
		assert_true(check == row_check(7, TABLE_NAMES, key, sizeof key, value, len));
		assert_true(check != row_check(8, TABLE_NAMES, key, sizeof key, value, len));
		assert_true(check != row_check(7, TABLE_SEEN, key, sizeof key, value, len));
		assert_true(check != row_check(7, TABLE_NAMES, key, sizeof key - 1, value, len));
		for (size_t i = 0; i < sizeof key; i++) {
			key[i] ^= 0x10;
			assert_true(
			    check != row_check(7, TABLE_NAMES, key, sizeof key, value, len));
			key[i] ^= 0x10;
		}
		for (size_t i = 0; i < len; i++) {
			value[i] ^= 1;
			assert_true(
			    check != row_check(7, TABLE_NAMES, key, sizeof key, value, len));
			value[i] ^= 1;
		}
	}
	/* where the key ends is part of it */
	assert_true(row_check(7, TABLE_NAMES, "ab", 2, "c", 1) !=
		    row_check(7, TABLE_NAMES, "a", 1, "bc", 2));
}

static void
rows_of_a_wrong_shape_are_not_plausible(void **state)
{
	static const struct {
		enum index_table table;
		size_t key_len;
		const char *value;
		size_t value_len;
		int want;
	} rows[] = {
		{ TABLE_CHUNKS, 32, "\1\1\1\1\0", 5, 0 },
		{ TABLE_CHUNKS, 31, "\1\1\1\1\0", 5, LARDER_ERR_CORRUPT },
		{ TABLE_CHUNKS, 32, "\1\1\1\1", 4, LARDER_ERR_CORRUPT },
		{ TABLE_PACKS, 4, "0123456789abcdef\1\1", 18, 0 },
		{ TABLE_PACKS, 5, "0123456789abcdef\1\1", 18, LARDER_ERR_CORRUPT },
		{ TABLE_PACKIDS, 16, "\1", 1, 0 },
		{ TABLE_PACKIDS, 17, "\1", 1, LARDER_ERR_CORRUPT },
		{ TABLE_NAMES, 5, "\2\1\1\1", 4, 0 },
		{ TABLE_NAMES, 449, "\2\1\1\1", 4, LARDER_ERR_CORRUPT },
		{ TABLE_GIDS, 16, "\1", 1, 0 },
		{ TABLE_GIDS, 16, "\0", 1, LARDER_ERR_CORRUPT },
		{ TABLE_SEEN, 16, "", 0, 0 },
		{ TABLE_SEEN, 15, "", 0, LARDER_ERR_CORRUPT },
		{ TABLE_SKETCHES, 6, "01234567", 8, 0 },
		{ TABLE_SKETCHES, 6, "0123456", 7, LARDER_ERR_CORRUPT },
		{ TABLE_POSITIONS, 16, "\1\1\1", 3, LARDER_ERR_CORRUPT },
		{ TABLE_COUNT, 16, "", 0, LARDER_ERR_CORRUPT },
	};
	uint8_t key[512];

	(void)state;
	memset(key, 'k', sizeof key);
	for (size_t i = 0; i < test_count(rows); i++)
		assert_status(rows[i].want,
		    row_plausible(rows[i].table, key, rows[i].key_len,
			(const uint8_t *)rows[i].value, rows[i].value_len, NULL),
		    NULL);
	/* separators of the compound keys */
	assert_status(LARDER_ERR_CORRUPT,
	    row_plausible(TABLE_TIMES, key, 30, (const uint8_t *)"\1\0", 2, NULL), NULL);
	key[30 - ROW_TIME_KEY_TAIL] = 0;
	assert_ok(row_plausible(TABLE_TIMES, key, 30, (const uint8_t *)"\1\0", 2, NULL), NULL);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(a_place_has_the_bytes_of_the_document),
		test_case(the_largest_place_fits_its_room),
		test_case(a_malformed_place_is_refused),
		test_case(a_pack_has_the_bytes_of_the_document),
		test_case(a_short_name_is_its_own_key),
		test_case(long_names_that_begin_alike_have_different_keys),
		test_case(keys_of_versions_sort_by_name_then_number),
		test_case(keys_of_times_sort_by_time_and_the_living_last),
		test_case(a_gid_belongs_to_a_name),
		test_case(a_row_of_a_name_has_the_bytes_of_the_document),
		test_case(a_row_of_a_name_that_contradicts_itself_is_refused),
		test_case(a_version_has_the_bytes_of_the_document),
		test_case(a_version_cut_short_or_extended_is_refused),
		test_case(a_version_in_a_second_form_is_refused),
		test_case(times_and_numbers_are_what_was_written),
		test_case(a_position_has_the_bytes_of_the_document),
		test_case(head_and_sums_have_the_bytes_of_the_document),
		test_case(the_check_depends_on_everything),
		test_case(rows_of_a_wrong_shape_are_not_plausible),
	};

	return test_run(cases);
}
