/* entry.c: the journal as bytes, and what may be a name or a tag. */
#include "tests/harness.h"

#include <stdio.h>

#include "cas/base/crc32c.h"
#include "cas/base/sha256.h"
#include "cas/object/entry.h"
#include "tests/doubles/doubles.h"

#define BYTES(s) (s), sizeof(s) - 1
#define ID16 "0123456789abcdef"
#define ID "0123456789abcdef0123456789ABCDEF"

/* ---- header of a segment ---- */

static const struct journal_segment_header header = {
	.store = { "0123456789abcde" },
	.writer = { "fedcba987654321" },
	.first = 0x1122334455667788,
	.previous_first = 258,
	.previous_len = 65536,
	.previous_chain = { { 0xaa, [31] = 0xbb } },
};

static void
seal_header(uint8_t bytes[JOURNAL_SEGMENT_HEADER_LEN])
{
	uint32_t crc = crc32c(0, bytes, JOURNAL_SEGMENT_HEADER_LEN - 4);

	for (int i = 0; i < 4; i++)
		bytes[JOURNAL_SEGMENT_HEADER_LEN - 4 + i] = (uint8_t)(crc >> (8 * i));
}

static void
header_bytes_are_the_ones_in_the_document(void **state)
{
	uint8_t want[JOURNAL_SEGMENT_HEADER_LEN] = "LARDERJ\n\1\0\0\0\0\0\0\0"
	                                           "0123456789abcde\0fedcba987654321\0"
	                                           "\x88\x77\x66\x55\x44\x33\x22\x11"
	                                           "\2\1\0\0\0\0\0\0\0\0\1\0\0\0\0\0";
	uint8_t got[JOURNAL_SEGMENT_HEADER_LEN];
	struct journal_segment_header back;

	(void)state;
	want[72] = 0xaa;
	want[103] = 0xbb;
	seal_header(want);
	journal_segment_header_encode(got, &header);
	assert_memory_equal(got, want, sizeof want);

	assert_ok(journal_segment_header_decode(&back, got, sizeof got, NULL), NULL);
	assert_memory_equal(&back.store, &header.store, 16);
	assert_memory_equal(&back.writer, &header.writer, 16);
	assert_int_equal(back.first, header.first);
	assert_int_equal(back.previous_first, header.previous_first);
	assert_int_equal(back.previous_len, header.previous_len);
	assert_memory_equal(&back.previous_chain, &header.previous_chain, 32);
}

static void
a_first_segment_has_none_before_it(void **state)
{
	const struct journal_segment_header first = { .first = 1 };
	struct journal_segment_header back;
	uint8_t bytes[JOURNAL_SEGMENT_HEADER_LEN];

	(void)state;
	journal_segment_header_encode(bytes, &first);
	assert_ok(journal_segment_header_decode(&back, bytes, sizeof bytes, NULL), NULL);
	assert_int_equal(back.first, 1);
	assert_int_equal(back.previous_first, 0);
}

/* `to`, or its neighbour where it stood already. */
static void
damage_byte(uint8_t *byte, uint8_t to)
{
	*byte = *byte == to ? to ^ 1 : to;
}

static void
every_damaged_header_is_refused_and_says_why(void **state)
{
	static const struct {
		size_t at;
		uint8_t to;
		bool seal;
		int status;
		const char *says;
	} damage[] = {
		{ 0, 'x', true, LARDER_ERR_CORRUPT, "magic" },
		{ 8, 2, true, LARDER_ERR_VERSION, "format 2" },
		{ 9, 1, true, LARDER_ERR_VERSION, "format 257" },
		{ 8, 2, false, LARDER_ERR_CORRUPT, "checksum" },
		{ 12, 1, true, LARDER_ERR_VERSION, "features 0x1," },
		{ 15, 1, true, LARDER_ERR_VERSION, "features 0x1000000," },
		{ 104, 1, true, LARDER_ERR_CORRUPT, "reserved" },
		{ 123, 1, true, LARDER_ERR_CORRUPT, "reserved" },
		{ 63, 0xff, true, LARDER_ERR_CORRUPT, "begins behind" },
		{ 20, 0, false, LARDER_ERR_CORRUPT, "checksum" },
		{ 127, 0, false, LARDER_ERR_CORRUPT, "checksum" },
	};
	struct journal_segment_header got;
	uint8_t bytes[JOURNAL_SEGMENT_HEADER_LEN];
	struct larder_err err = { 0 };

	(void)state;
	for (size_t i = 0; i < test_count(damage); i++) {
		journal_segment_header_encode(bytes, &header);
		damage_byte(&bytes[damage[i].at], damage[i].to);
		if (damage[i].seal)
			seal_header(bytes);
		assert_status(damage[i].status,
		    journal_segment_header_decode(&got, bytes, sizeof bytes, &err), &err);
		assert_message(&err, damage[i].says);
	}

	journal_segment_header_encode(bytes, &header);
	bytes[10] = bytes[11] = 0xff; /* unused, so that a later larder may use it */
	seal_header(bytes);
	assert_ok(journal_segment_header_decode(&got, bytes, sizeof bytes, &err), &err);
	for (size_t len = 0; len < sizeof bytes; len++) {
		assert_status(LARDER_ERR_CORRUPT,
		    journal_segment_header_decode(&got, bytes, len, &err), &err);
		assert_message(&err, "cut short");
	}
	memset(bytes + 48, 0, 8); /* first */
	seal_header(bytes);
	assert_status(LARDER_ERR_CORRUPT,
	    journal_segment_header_decode(&got, bytes, sizeof bytes, &err), &err);
	assert_message(&err, "sequence is 0");
	journal_segment_header_encode(bytes, &header);
	memset(bytes + 56, 0, 8); /* previous_first, but not what belongs to it */
	seal_header(bytes);
	assert_status(LARDER_ERR_CORRUPT,
	    journal_segment_header_decode(&got, bytes, sizeof bytes, &err), &err);
	assert_message(&err, "no previous segment");
}

/* ---- frame ---- */

static const struct larder_id chain_before = { "the chain of the entry before ." };

static struct entry_frame
sample_frame(void)
{
	return (struct entry_frame) {
		.sequence = 0x0102030405060708,
		.durable = 256,
		.time_ns = -2,
		.intent = { "intent of it ..." },
		.body = (const uint8_t *)"body",
		.body_len = 4,
	};
}

static void
seal_frame(uint8_t *bytes, size_t len)
{
	uint32_t crc = crc32c(0, bytes, len - 4);

	for (int i = 0; i < 4; i++)
		bytes[len - 4 + (size_t)i] = (uint8_t)(crc >> (8 * i));
}

static void
frame_bytes_are_the_ones_in_the_document(void **state)
{
	uint8_t want[48 + 4 + 36] = "LJE\1\4\0\0\0\x08\7\6\5\4\3\2\1\0\1\0\0\0\0\0\0"
	                            "\xfe\xff\xff\xff\xff\xff\xff\xff" "intent of it ..." "body";
	uint8_t hashed[32 + 48 + 4];
	struct entry_frame frame = sample_frame(), back;
	struct larder_id chain;
	struct buf out = { 0 };
	size_t used;

	(void)state;
	memcpy(hashed, &chain_before, 32);
	memcpy(hashed + 32, want, 52);
	sha256(&chain, hashed, sizeof hashed);
	memcpy(want + 52, &chain, 32);
	seal_frame(want, sizeof want);

	assert_ok(buf_append(&out, "before", 6), NULL);
	assert_ok(entry_frame_encode(&out, &frame, &chain_before), NULL);
	assert_int_equal(out.len, 6 + sizeof want);
	assert_memory_equal(out.data + 6, want, sizeof want);
	assert_memory_equal(&frame.chain, &chain, 32);

	assert_ok(buf_append(&out, "behind", 6), NULL);
	assert_ok(entry_frame_decode(&back, &used, out.data + 6, out.len - 6, NULL), NULL);
	assert_int_equal(used, sizeof want);
	assert_int_equal(back.sequence, frame.sequence);
	assert_int_equal(back.durable, 256);
	assert_int_equal(back.time_ns, -2);
	assert_memory_equal(&back.intent, &frame.intent, 16);
	assert_int_equal(back.body_len, 4);
	assert_memory_equal(back.body, "body", 4);
	assert_memory_equal(&back.chain, &chain, 32);
	entry_frame_chain(&chain, &chain_before, out.data + 6, used);
	assert_memory_equal(&chain, &back.chain, 32);
	buf_release(&out);
}

static void
every_damaged_frame_is_refused_and_says_why(void **state)
{
	static const struct {
		size_t at;
		uint8_t to;
		bool seal;
		const char *says;
	} damage[] = {
		{ 0, 'x', true, "magic" },
		{ 3, 2, true, "magic" },
		{ 4, 5, true, "cut short: 88 of 89 bytes" },
		{ 4, 3, false, "checksum" },
		{ 7, 1, true, "claims a body of" },
		{ 50, 'x', false, "checksum" },
		{ 60, 'x', false, "checksum" },
		{ 87, 'x', false, "checksum" },
	};
	struct entry_frame frame = sample_frame(), got;
	struct larder_err err = { 0 };
	struct buf out = { 0 };
	size_t used;

	(void)state;
	for (size_t i = 0; i < test_count(damage); i++) {
		buf_clear(&out);
		assert_ok(entry_frame_encode(&out, &frame, &chain_before), NULL);
		damage_byte(&out.data[damage[i].at], damage[i].to);
		if (damage[i].seal)
			seal_frame(out.data, out.len);
		assert_status(LARDER_ERR_CORRUPT,
		    entry_frame_decode(&got, &used, out.data, out.len, &err), &err);
		assert_message(&err, damage[i].says);
	}
	buf_clear(&out);
	assert_ok(entry_frame_encode(&out, &frame, &chain_before), NULL);
	for (size_t len = 0; len < out.len; len++) {
		assert_status(LARDER_ERR_CORRUPT,
		    entry_frame_decode(&got, &used, out.data, len, &err), &err);
		assert_message(&err, "cut short");
	}
	memset(out.data + 8, 0, 8);
	seal_frame(out.data, out.len);
	assert_status(LARDER_ERR_CORRUPT,
	    entry_frame_decode(&got, &used, out.data, out.len, &err), &err);
	assert_message(&err, "sequence is 0");
	buf_release(&out);
}

static void
a_body_has_a_limit_and_may_be_empty(void **state)
{
	struct entry_frame frame = sample_frame(), got;
	uint8_t *body = calloc(1, ENTRY_LEN_MAX);
	struct buf out = { 0 };
	size_t used;

	(void)state;
	assert_non_null(body);
	frame.body = body;
	frame.body_len = ENTRY_LEN_MAX + 1;
	assert_status(LARDER_ERR_LIMIT, entry_frame_encode(&out, &frame, &chain_before), NULL);
	assert_int_equal(out.len, 0);
	frame.body_len = ENTRY_LEN_MAX;
	assert_ok(entry_frame_encode(&out, &frame, &chain_before), NULL);
	assert_ok(entry_frame_decode(&got, &used, out.data, out.len, NULL), NULL);
	assert_int_equal(used, out.len);
	buf_clear(&out);
	frame.body = NULL;
	frame.body_len = 0;
	assert_ok(entry_frame_encode(&out, &frame, &chain_before), NULL);
	assert_ok(entry_frame_decode(&got, &used, out.data, out.len, NULL), NULL);
	assert_int_equal(got.body_len, 0);
	buf_release(&out);
	free(body);
}

/* ---- operations ---- */

static const struct entry_tag tags[] = {
	{ .key = "a", .key_len = 1, .value = "", .value_len = 0 },
	{ .key = "ab", .key_len = 2, .value = "x y", .value_len = 3 },
};

static struct entry_version
sample_version(void)
{
	return (struct entry_version) {
		.name = "n/m",
		.name_len = 3,
		.gid = { ID16 },
		.number = 3,
		.kind = ENTRY_KIND_FILE,
		.list = true,
		.id = { ID },
		.bytes = 300,
		.new_bytes = 2,
		.stored_bytes = 1,
		.files = 1,
		.has_sha256 = true,
		.sha256 = { "fedcba9876543210fedcba987654321" },
		.tags = tags,
		.tag_count = 2,
	};
}

static void
operation_bytes_are_the_ones_in_the_document(void **state)
{
	static const char want[] = "\1\x14" ID16 "\xac\2\x90\1"
				   "\2\x66\x0d\3n/m" ID16 "\3" ID "\xac\2\2\1\1"
				   "fedcba9876543210fedcba987654321\0" "\2\1a\0\2ab\3x y"
				   "\3\x14\3n/m" ID16;
	const struct entry_pack pack = { .id = { ID16 }, .file_len = 300, .chunk_count = 144 };
	const struct entry_version version = sample_version();
	const struct entry_version_end end = { .name = "n/m", .name_len = 3, .gid = { ID16 } };
	struct entry_op op;
	struct cursor body;
	struct buf out = { 0 };

	(void)state;
	assert_ok(entry_op_pack(&out, &pack), NULL);
	assert_ok(entry_op_version(&out, &version), NULL);
	assert_ok(entry_op_version_end(&out, &end), NULL);
	assert_int_equal(out.len, sizeof want - 1);
	assert_memory_equal(out.data, want, sizeof want - 1);

	body = cursor_of(out.data, out.len);
	assert_int_equal(entry_op_next(&body, &op, NULL), 1);
	assert_int_equal(op.type, ENTRY_OP_PACK);
	assert_memory_equal(&op.pack.id, ID16, 16);
	assert_int_equal(op.pack.file_len, 300);
	assert_int_equal(op.pack.chunk_count, 144);

	assert_int_equal(entry_op_next(&body, &op, NULL), 1);
	assert_int_equal(op.type, ENTRY_OP_VERSION);
	assert_int_equal(op.version.name_len, 3);
	assert_memory_equal(op.version.name, "n/m", 3);
	assert_memory_equal(&op.version.gid, ID16, 16);
	assert_int_equal(op.version.number, 3);
	assert_int_equal(op.version.kind, ENTRY_KIND_FILE);
	assert_true(op.version.list);
	assert_memory_equal(&op.version.id, ID, 32);
	assert_int_equal(op.version.bytes, 300);
	assert_int_equal(op.version.new_bytes, 2);
	assert_int_equal(op.version.stored_bytes, 1);
	assert_int_equal(op.version.files, 1);
	assert_true(op.version.has_sha256);
	assert_memory_equal(&op.version.sha256, &version.sha256, 32);
	assert_int_equal(op.version.tag_count, 2);
	assert_ptr_equal(op.version.tags, op.tags);
	assert_memory_equal(op.version.tags[1].key, "ab", 2);
	assert_int_equal(op.version.tags[1].value_len, 3);
	assert_memory_equal(op.version.tags[1].value, "x y", 3);

	assert_int_equal(entry_op_next(&body, &op, NULL), 1);
	assert_int_equal(op.type, ENTRY_OP_VERSION_END);
	assert_memory_equal(op.version_end.name, "n/m", 3);
	assert_memory_equal(&op.version_end.gid, ID16, 16);
	assert_int_equal(entry_op_next(&body, &op, NULL), 0);
	assert_int_equal(entry_op_next(&body, &op, NULL), 0);
	buf_release(&out);
}

static void
a_directory_has_attrs_and_a_body_stands_alone(void **state)
{
	static const char want_body[] = "\4\x20" ID;
	struct entry_version version = sample_version();
	const struct larder_id chunk = { ID };
	struct entry_op op;
	struct cursor body;
	struct buf out = { 0 };

	(void)state;
	version.kind = ENTRY_KIND_DIR;
	version.list = false;
	version.has_sha256 = false;
	version.attrs = (struct larder_id) { { 7, [31] = 8 } };
	version.tag_count = 0;
	version.files = UINT64_MAX;
	assert_ok(entry_op_version(&out, &version), NULL);
	body = cursor_of(out.data, out.len);
	assert_int_equal(entry_op_next(&body, &op, NULL), 1);
	assert_int_equal(op.version.kind, ENTRY_KIND_DIR);
	assert_memory_equal(&op.version.attrs, &version.attrs, 32);
	assert_int_equal(op.version.files, UINT64_MAX);
	assert_false(op.version.has_sha256);
	assert_int_equal(op.version.tag_count, 0);

	buf_clear(&out);
	assert_ok(entry_op_body(&out, &chunk), NULL);
	assert_int_equal(out.len, sizeof want_body - 1);
	assert_memory_equal(out.data, want_body, out.len);
	body = cursor_of(out.data, out.len);
	assert_int_equal(entry_op_next(&body, &op, NULL), 1);
	assert_int_equal(op.type, ENTRY_OP_BODY);
	assert_memory_equal(&op.body, ID, 32);
	assert_int_equal(entry_op_next(&body, &op, NULL), 0);

	assert_ok(entry_op_body(&out, &chunk), NULL);
	body = cursor_of(out.data, out.len);
	assert_int_equal(entry_op_next(&body, &op, NULL), LARDER_ERR_CORRUPT);
	buf_release(&out);
}

static void
the_largest_version_fits(void **state)
{
	static char name[NAME_LEN_MAX], keys[TAGS_MAX][TAG_LEN_MAX];
	static struct entry_tag all[TAGS_MAX];
	struct entry_version version = sample_version();
	struct entry_op op;
	struct cursor body;
	struct buf out = { 0 };

	(void)state;
	memset(name, 'n', sizeof name);
	for (size_t i = 0; i < TAGS_MAX; i++) {
		memset(keys[i], 'k', sizeof keys[i]);
		keys[i][0] = (char)(1 + i);
		all[i] = (struct entry_tag) { .key = keys[i], .key_len = TAG_LEN_MAX,
			.value = keys[0], .value_len = TAG_LEN_MAX };
	}
	version.name = name;
	version.name_len = sizeof name;
	version.kind = ENTRY_KIND_DIR;
	version.list = false;
	version.number = version.bytes = version.new_bytes = version.stored_bytes = version.files =
	    UINT64_MAX;
	version.tags = all;
	version.tag_count = TAGS_MAX;
	assert_ok(entry_op_version(&out, &version), NULL);
	body = cursor_of(out.data, out.len);
	assert_int_equal(entry_op_next(&body, &op, NULL), 1);
	assert_int_equal(op.version.tag_count, TAGS_MAX);
	assert_memory_equal(op.tags[TAGS_MAX - 1].key, keys[TAGS_MAX - 1], TAG_LEN_MAX);
	buf_release(&out);
}

static void
wrong_operations_are_refused_and_say_why(void **state)
{
#define Z ID "\0\0\0\0" /* id and four numbers of a version */
	static const struct {
		const char *bytes;
		size_t len;
		int status;
		const char *says;
	} cases[] = {
		{ BYTES("\1"), LARDER_ERR_CORRUPT, "operation at 0: cut short" },
		{ BYTES("\1\5" "0123"), LARDER_ERR_CORRUPT, "cut short" },
		{ BYTES("\0\0"), LARDER_ERR_VERSION, "type 0 is unknown" },
		{ BYTES("\5\0"), LARDER_ERR_VERSION, "at 0: type 5 is unknown" },
		{ BYTES("\xff\1x"), LARDER_ERR_VERSION, "type 255 is unknown" },
		{ BYTES("\1\x12" ID16 "\1\1" "\xff\0"), LARDER_ERR_VERSION, "at 20: type 255" },
		{ BYTES("\1\x11" ID16 "\1"), LARDER_ERR_CORRUPT, "cut short" },
		{ BYTES("\1\x12" ID16 "\0\1"), LARDER_ERR_CORRUPT, "length of a pack" },
		{ BYTES("\1\x16" ID16 "\x81\x80\x80\x80\4\1"), LARDER_ERR_CORRUPT, "length of a pack" },
		{ BYTES("\1\x12" ID16 "\1\0"), LARDER_ERR_CORRUPT, "chunks of a pack" },
		{ BYTES("\1\x14" ID16 "\1\x81\x80\x40"), LARDER_ERR_CORRUPT, "chunks of a pack" },
		{ BYTES("\1\x17" ID16 "\1\x81\x80\x80\x80\x80\1"), LARDER_ERR_CORRUPT,
		    "chunks of a pack" },
		{ BYTES("\1\x13" ID16 "\1\1x"), LARDER_ERR_CORRUPT, "bytes behind" },
		{ BYTES("\2\0"), LARDER_ERR_CORRUPT, "name cut short" },
		{ BYTES("\2\x38\1\1n" ID16 "\1" Z "\0"), LARDER_ERR_CORRUPT, "cut short" },
		{ BYTES("\2\x39\x10\1n" ID16 "\1" Z "\0"), LARDER_ERR_CORRUPT, "reserved bits" },
		{ BYTES("\2\x39\0\1n" ID16 "\1" Z "\0"), LARDER_ERR_CORRUPT, "unknown kind" },
		{ BYTES("\2\x39\7\1n" ID16 "\1" Z "\0"), LARDER_ERR_CORRUPT, "file list of what" },
		{ BYTES("\2\x39\1\1/" ID16 "\1" Z "\0"), LARDER_ERR_CORRUPT, "cannot be one" },
		{ BYTES("\2\x38\1\0" ID16 "\1" Z "\0"), LARDER_ERR_CORRUPT, "cannot be one" },
		{ BYTES("\2\x39\1\x81\10n" ID16 "\1" Z), LARDER_ERR_CORRUPT, "name cut short" },
		{ BYTES("\2\x39\1\1n" ID16 "\0" Z "\0"), LARDER_ERR_CORRUPT, "version number 0" },
		{ BYTES("\2\x39\1\1n" ID16 "\1" Z "\x41"), LARDER_ERR_CORRUPT, "too many tags" },
		{ BYTES("\2\x39\1\1n" ID16 "\1" Z "\1"), LARDER_ERR_CORRUPT, "tag cut short" },
		{ BYTES("\2\x39\x09\1n" ID16 "\1" Z "\0"), LARDER_ERR_CORRUPT, "cut short" },
		{ BYTES("\2\x39\2\1n" ID16 "\1" Z "\0"), LARDER_ERR_CORRUPT, "cut short" },
		{ BYTES("\2\x3b\1\1n" ID16 "\1" Z "\1\0\0"), LARDER_ERR_CORRUPT, "tag's key" },
		{ BYTES("\2\x3d\1\1n" ID16 "\1" Z "\1\1k\x81\2"), LARDER_ERR_CORRUPT, "tag cut" },
		{ BYTES("\2\x3c\1\1n" ID16 "\1" Z "\1\1\0\0"), LARDER_ERR_CORRUPT, "NUL in a tag" },
		{ BYTES("\2\x3d\1\1n" ID16 "\1" Z "\1\1k\1\0"), LARDER_ERR_CORRUPT, "NUL in a tag" },
		{ BYTES("\2\x3f\1\1n" ID16 "\1" Z "\2\1k\0\1k\0"), LARDER_ERR_CORRUPT, "order of tags" },
		{ BYTES("\2\x3f\1\1n" ID16 "\1" Z "\2\1l\0\1k\0"), LARDER_ERR_CORRUPT, "order of tags" },
		{ BYTES("\2\x40\1\1n" ID16 "\1" Z "\2\2kk\0\1k\0"), LARDER_ERR_CORRUPT,
		    "order of tags" },
		{ BYTES("\2\x3a\1\1n" ID16 "\1" Z "\0x"), LARDER_ERR_CORRUPT, "bytes behind" },
		{ BYTES("\3\x11\1n" "0123456789abcde"), LARDER_ERR_CORRUPT, "cut short" },
		{ BYTES("\3\x13\1n" ID16 "x"), LARDER_ERR_CORRUPT, "bytes behind" },
		{ BYTES("\3\x13\2.." ID16), LARDER_ERR_CORRUPT, "cannot be one" },
		{ BYTES("\4\x1f" "0123456789abcdef0123456789ABCDE"), LARDER_ERR_CORRUPT, "cut short" },
		{ BYTES("\4\x21" ID "x"), LARDER_ERR_CORRUPT, "bytes behind" },
		{ BYTES("\4\x20" ID "\1\x12" ID16 "\1\1"), LARDER_ERR_CORRUPT, "beside other" },
		{ BYTES("\1\x12" ID16 "\1\1" "\4\x20" ID), LARDER_ERR_CORRUPT, "beside other" },
	};

	(void)state;
	for (size_t i = 0; i < test_count(cases); i++) {
		struct cursor body = cursor_of(cases[i].bytes, cases[i].len);
		struct larder_err err = { 0 };
		struct entry_op op;
		int rc;

		do
			rc = entry_op_next(&body, &op, &err);
		while (rc == 1);
		assert_status(cases[i].status, rc, &err);
		assert_message(&err, cases[i].says);
		assert_int_equal(entry_op_next(&body, &op, &err), LARDER_ERR_CORRUPT);
	}
}

/* ---- names and tags ---- */

static void
names_that_are_allowed(void **state)
{
	static const char *const names[] = { "a", "a/b", "cookbooks/nginx/nginx-1.0.0.tar.gz", "...",
		".a/..b", "a@", "a@b", "a@1b", "@", "a/@x", "1", "a@1/b", " ", "\n", "\xff",
		"\xc3\xa4" };
	char longest[NAME_LEN_MAX];

	(void)state;
	for (size_t i = 0; i < test_count(names); i++) {
		struct larder_err err = { 0 };

		assert_ok(entry_name_check(names[i], strlen(names[i]), &err), &err);
	}
	memset(longest, 'x', sizeof longest);
	assert_ok(entry_name_check(longest, sizeof longest, NULL), NULL);
}

static void
each_name_that_is_refused_has_its_own_sentence(void **state)
{
	static const struct {
		const char *name;
		size_t len;
		const char *says;
	} cases[] = {
		{ BYTES(""), "a name cannot be empty" },
		{ BYTES("a\0b"), "a name cannot contain a NUL byte" },
		{ BYTES("/a"), "a name cannot begin with a slash" },
		{ BYTES("/"), "a name cannot begin with a slash" },
		{ BYTES("a/"), "a name cannot end with a slash" },
		{ BYTES("a//b"), "a name cannot contain two slashes in a row" },
		{ BYTES("."), "the component \".\"" },
		{ BYTES("./a"), "the component \".\"" },
		{ BYTES("a/./b"), "the component \".\"" },
		{ BYTES("a/."), "the component \".\"" },
		{ BYTES(".."), "the component \"..\"" },
		{ BYTES("../a"), "the component \"..\"" },
		{ BYTES("a/../b"), "the component \"..\"" },
		{ BYTES("a/.."), "the component \"..\"" },
		{ BYTES("a@1"), "\"@\" and digits" },
		{ BYTES("a/b@0123456789"), "\"@\" and digits" },
		{ BYTES("@3"), "\"@\" and digits" },
		{ BYTES("a/@3"), "\"@\" and digits" },
	};
	static char too_long[NAME_LEN_MAX + 1];
	struct larder_err err = { 0 };

	(void)state;
	for (size_t i = 0; i < test_count(cases); i++) {
		assert_status(LARDER_ERR_USAGE,
		    entry_name_check(cases[i].name, cases[i].len, &err), &err);
		assert_message(&err, cases[i].says);
	}
	memset(too_long, 'x', sizeof too_long);
	assert_status(
	    LARDER_ERR_USAGE, entry_name_check(too_long, sizeof too_long, &err), &err);
	assert_message(&err, "can have 1024 bytes, this one has 1025");
}

static void
tags_are_checked(void **state)
{
	static char too_long[TAG_LEN_MAX + 1];
	static struct entry_tag many[TAGS_MAX + 1];
	struct entry_tag pair[2] = { tags[1], tags[0] };
	struct larder_err err = { 0 };

	(void)state;
	assert_ok(entry_tags_check(NULL, 0, NULL), NULL);
	assert_ok(entry_tags_check(tags, 2, NULL), NULL);
	assert_status(LARDER_ERR_USAGE, entry_tags_check(pair, 2, &err), &err);
	assert_message(&err, "tag a: not in the order of tags");
	assert_status(LARDER_ERR_LIMIT, entry_tags_check(many, TAGS_MAX + 1, &err), &err);
	assert_message(&err, "64 tags (TAGS_MAX), not 65");
	memset(too_long, 'x', sizeof too_long);
	pair[0] = (struct entry_tag) { .key = too_long, .key_len = sizeof too_long };
	assert_status(LARDER_ERR_USAGE, entry_tags_check(pair, 1, &err), &err);
	assert_message(&err, "tag's key");
	pair[0] = (struct entry_tag) { .key = "", .key_len = 0 };
	assert_status(LARDER_ERR_USAGE, entry_tags_check(pair, 1, &err), &err);
	assert_message(&err, "tag's key");
	pair[0] = (struct entry_tag) { .key = "k", .key_len = 1, .value = too_long,
		.value_len = sizeof too_long };
	assert_status(LARDER_ERR_USAGE, entry_tags_check(pair, 1, &err), &err);
	assert_message(&err, "tag k: length of a tag's value");
}

static void
without_memory_it_says_so_and_leaks_nothing(void **state)
{
	const struct entry_version version = sample_version();
	struct entry_frame frame = sample_frame();
	struct buf out = { 0 };

	(void)state;
	mem_faulty_set(1, true);
	assert_status(LARDER_ERR_NOMEM, entry_op_version(&out, &version), NULL);
	assert_status(LARDER_ERR_NOMEM, entry_frame_encode(&out, &frame, &chain_before), NULL);
	assert_int_equal(out.len, 0);
	assert_int_equal(mem_faulty_live(), 0);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(header_bytes_are_the_ones_in_the_document),
		test_case(a_first_segment_has_none_before_it),
		test_case(every_damaged_header_is_refused_and_says_why),
		test_case(frame_bytes_are_the_ones_in_the_document),
		test_case(every_damaged_frame_is_refused_and_says_why),
		test_case(a_body_has_a_limit_and_may_be_empty),
		test_case(operation_bytes_are_the_ones_in_the_document),
		test_case(a_directory_has_attrs_and_a_body_stands_alone),
		test_case(the_largest_version_fits),
		test_case(wrong_operations_are_refused_and_say_why),
		test_case(names_that_are_allowed),
		test_case(each_name_that_is_refused_has_its_own_sentence),
		test_case(tags_are_checked),
		test_case(without_memory_it_says_so_and_leaks_nothing),
	};

	return test_run(cases);
}
