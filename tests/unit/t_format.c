/*
 * The bytes of a pack: pinned by hand (the example of FORMAT.md was computed by
 * another program in another language), and every damaged header, directory and
 * footer refused with a sentence.
 */
#include "pack/format.h"

#include "tests/harness.h"

#include "cas/base/bytes.h"
#include "cas/base/crc32c.h"
#include "cas/base/sha256.h"

/* FORMAT.md 14. */
static const uint8_t example[] = {
	0x4c,
	0x50,
	0x41,
	0x4b,
	0x01,
	0x00,
	0x00,
	0x00,
	0x00,
	0x00,
	0x00,
	0x00,
	0x00,
	0x01,
	0x02,
	0x03,
	0x04,
	0x05,
	0x06,
	0x07,
	0x08,
	0x09,
	0x0a,
	0x0b,
	0x0c,
	0x0d,
	0x0e,
	0x0f,
	0x2a,
	0x10,
	0xb7,
	0xb4,
	0x05,
	0x00,
	0x00,
	0x00,
	0x05,
	0x00,
	0x00,
	0x00,
	0x00,
	0x00,
	0x00,
	0x00,
	0xb3,
	0x6c,
	0xef,
	0xd3,
	0x68,
	0x65,
	0x6c,
	0x6c,
	0x6f,
	0x01,
	0x00,
	0x00,
	0x00,
	0x01,
	0x00,
	0x00,
	0x00,
	0x05,
	0x00,
	0x00,
	0x00,
	0x00,
	0x00,
	0x00,
	0x00,
	0x2c,
	0xf2,
	0x4d,
	0xba,
	0x5f,
	0xb0,
	0xa3,
	0x0e,
	0x26,
	0xe8,
	0x3b,
	0x2a,
	0xc5,
	0xb9,
	0xe2,
	0x9e,
	0x1b,
	0x16,
	0x1e,
	0x5c,
	0x1f,
	0xa7,
	0x42,
	0x5e,
	0x73,
	0x04,
	0x33,
	0x62,
	0x93,
	0x8b,
	0x98,
	0x24,
	0x05,
	0x01,
	0x00,
	0x00,
	0x05,
	0xd7,
	0x13,
	0x9d,
	0x4c,
	0xc5,
	0x70,
	0xc3,
	0x3d,
	0x01,
	0x6c,
	0xa3,
	0xef,
	0x10,
	0xa0,
	0xa9,
	0xfe,
	0xe0,
	0x1e,
	0x01,
	0xb4,
	0xeb,
	0xb8,
	0x01,
	0x4f,
	0x73,
	0xaf,
	0x29,
	0x7c,
	0xcf,
	0xa9,
	0x10,
	0xf5,
	0x00,
	0x01,
	0x02,
	0x03,
	0x04,
	0x05,
	0x06,
	0x07,
	0x08,
	0x09,
	0x0a,
	0x0b,
	0x0c,
	0x0d,
	0x0e,
	0x0f,
	0x35,
	0x00,
	0x00,
	0x00,
	0x35,
	0x00,
	0x00,
	0x00,
	0x00,
	0x00,
	0x00,
	0x00,
	0x01,
	0x00,
	0x00,
	0x00,
	0xde,
	0x23,
	0x80,
	0xfa,
	0x4b,
	0x41,
	0x50,
	0x4c,
};
enum { EXAMPLE_DIRECTORY = 53, EXAMPLE_DIRECTORY_LEN = 53 };

static const struct id16 example_id = { { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 } };

/* ---- header ---- */

static void
header_bytes_are_the_ones_in_the_format_document(void **state)
{
	const struct pack_header header = { .id = example_id };
	struct pack_header got = { .optional = 7, .required = 7 };
	uint8_t bytes[PACK_HEADER_LEN];
	struct larder_err err = { 0 };

	(void)state;
	pack_header_encode(bytes, &header);
	assert_memory_equal(bytes, example, sizeof bytes);
	assert_ok(pack_header_decode(&got, example, sizeof example, &err), &err);
	assert_memory_equal(&got.id, &example_id, sizeof got.id);
	assert_int_equal(got.optional, 0);
	assert_int_equal(got.required, 0);
}

static void
any_changed_bit_of_a_header_is_damage_and_never_a_newer_version(void **state)
{
	(void)state;
	for (unsigned bit = 0; bit < 8 * PACK_HEADER_LEN; bit++) {
		struct pack_header got, before = { .required = 77 };
		struct larder_err err = { 0 };
		uint8_t bytes[PACK_HEADER_LEN];

		got = before;
		memcpy(bytes, example, sizeof bytes);
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_status(
		    LARDER_ERR_CORRUPT, pack_header_decode(&got, bytes, sizeof bytes, &err), &err);
		assert_message(&err, bit < 32 ? "does not start like a pack" : "checksum");
		assert_memory_equal(&got, &before, sizeof got);
	}
}

static void
a_header_cut_short_is_refused(void **state)
{
	(void)state;
	for (size_t len = 0; len < PACK_HEADER_LEN; len++) {
		struct pack_header got;
		struct larder_err err = { 0 };

		assert_status(
		    LARDER_ERR_CORRUPT, pack_header_decode(&got, example, len, &err), &err);
		assert_message(&err, "pack header cut short");
	}
}

static void
versions_and_required_features_ask_for_a_newer_larder_and_optional_ones_do_not(void **state)
{
	static const struct {
		size_t at;
		uint8_t to;
		int status;
		const char *says;
	} rows[] = {
		{ 4, 0, LARDER_ERR_CORRUPT, "format version 0" },
		{ 4, 2, LARDER_ERR_VERSION, "format version 2, this larder reads 1" },
		{ 5, 1, LARDER_ERR_VERSION, "format version 257" },
		{ 6, 0xff, LARDER_OK, "" },
		{ 7, 0xff, LARDER_OK, "" },
		{ 8, PACK_REQUIRES_SEALING, LARDER_ERR_VERSION, "features 0x1 " },
		{ 11, 0x80, LARDER_ERR_VERSION, "features 0x80000000 " },
	};

	(void)state;
	for (size_t i = 0; i < test_count(rows); i++) {
		struct pack_header got;
		struct larder_err err = { 0 };
		uint8_t bytes[PACK_HEADER_LEN];

		memcpy(bytes, example, sizeof bytes);
		bytes[rows[i].at] = rows[i].to;
		put_le32(bytes + 28, crc32c(0, bytes, 28));
		assert_status(
		    rows[i].status, pack_header_decode(&got, bytes, sizeof bytes, &err), &err);
		assert_message(&err, rows[i].says);
	}
}

/* ---- segment ---- */

static const struct pack_segment sample = {
	.plain_len = 65536,
	.store_len = 40,
	.codec = PACK_CODEC_ZSTD_BASE,
	.depth = 3,
	.type = PACK_TYPE_TREE,
};

static void
segment_bytes_are_the_ones_in_the_format_document(void **state)
{
	static const uint8_t want[PACK_SEGMENT_HEADER_LEN] = { 0, 0, 1, 0, 40, 0, 0, 0, 2, 3, 1, 0,
		0xc2, 0x2c, 0xa0, 0x2a };
	uint8_t bytes[PACK_SEGMENT_HEADER_LEN + 40], stored[40];
	struct pack_segment got;
	struct larder_err err = { 0 };
	uint32_t crc;

	(void)state;
	for (size_t i = 0; i < sizeof stored; i++)
		stored[i] = bytes[PACK_SEGMENT_HEADER_LEN + i] = (uint8_t)i;
	pack_segment_encode(bytes, &sample);
	assert_memory_equal(bytes, want, sizeof want);
	assert_memory_equal(bytes + PACK_SEGMENT_HEADER_LEN, stored, sizeof stored);

	assert_ok(pack_segment_decode(&got, &crc, bytes, sizeof bytes, &err), &err);
	assert_int_equal(crc, 0x2aa02cc2);
	assert_int_equal(crc, pack_segment_crc(bytes, stored, sizeof stored));
	assert_int_equal(got.plain_len, 65536);
	assert_int_equal(got.store_len, 40);
	assert_int_equal(got.codec, PACK_CODEC_ZSTD_BASE);
	assert_int_equal(got.depth, 3);
	assert_int_equal(got.type, PACK_TYPE_TREE);
}

static void
every_damaged_segment_header_is_refused_and_says_why(void **state)
{
	/* plain_len, store_len, codec, depth, type, reserved */
	static const struct {
		uint32_t plain_len, store_len;
		uint8_t codec, depth, type, reserved;
		const char *says;
	} rows[] = {
		{ 0, 0, 0, 0, 0, 0, "number of plain bytes: 0" },
		{ PACK_PLAIN_MAX + 1, 100, 1, 0, 0, 0, "number of plain bytes: 8388609" },
		{ UINT32_MAX, UINT32_MAX, 0, 0, 0, 0, "number of plain bytes" },
		{ 9, 8, 3, 0, 0, 0, "unknown codec: 3" },
		{ 9, 8, 255, 0, 0, 0, "unknown codec: 255" },
		{ 9, 8, 1, 0, PACK_TYPE_COUNT, 0, "unknown type: 7" },
		{ 100, 40, 2, PACK_DEPTH_MAX + 1, 0, 0, "depth beyond PACK_DEPTH_MAX: 9" },
		{ 100, 40, 2, 0, 0, 0, "depth does not go with the codec: 0" },
		{ 9, 8, 1, 1, 0, 0, "depth does not go with the codec: 1" },
		{ 9, 9, 0, 1, 0, 0, "depth does not go with the codec: 1" },
		{ 9, 8, 0, 0, 0, 0, "not at its plain length: 8" },
		{ 9, 10, 0, 0, 0, 0, "not at its plain length: 10" },
		{ 9, 0, 1, 0, 0, 0, "no payload in its stored bytes: 0" },
		{ 100, 32, 2, 1, 0, 0, "no payload in its stored bytes: 32" },
		{ 9, 9, 1, 0, 0, 0, "has not shrunk: stored bytes: 9" },
		{ 9, UINT32_MAX, 1, 0, 0, 0, "has not shrunk" },
		{ 40, 40, 2, 1, 0, 0, "has not shrunk" },
		{ 9, 8, 1, 0, 0, 1, "reserved byte is not zero" },
	};

	(void)state;
	for (size_t i = 0; i < test_count(rows); i++) {
		const struct pack_segment before = { .depth = 77 };
		struct pack_segment got = before;
		struct larder_err err = { 0 };
		uint8_t bytes[PACK_SEGMENT_HEADER_LEN] = { 0 };

		put_le32(bytes, rows[i].plain_len);
		put_le32(bytes + 4, rows[i].store_len);
		bytes[8] = rows[i].codec;
		bytes[9] = rows[i].depth;
		bytes[10] = rows[i].type;
		bytes[11] = rows[i].reserved;
		assert_status(LARDER_ERR_CORRUPT,
		    pack_segment_decode(&got, NULL, bytes, sizeof bytes, &err), &err);
		assert_message(&err, "segment header: ");
		assert_message(&err, rows[i].says);
		assert_memory_equal(&got, &before, sizeof got);
	}
}

static void
segment_headers_at_the_limits_are_read(void **state)
{
	static const struct pack_segment rows[] = {
		{ 1, 1, PACK_CODEC_STORED, 0, PACK_TYPE_DATA, { { 0 } } },
		{ PACK_PLAIN_MAX, PACK_PLAIN_MAX, PACK_CODEC_STORED, 0, PACK_TYPE_RECORD,
		    { { 0 } } },
		{ PACK_PLAIN_MAX, PACK_PLAIN_MAX - 1, PACK_CODEC_ZSTD, 0, PACK_TYPE_ENTRY,
		    { { 0 } } },
		{ 2, 1, PACK_CODEC_ZSTD, 0, PACK_TYPE_ATTRS, { { 0 } } },
		{ 34, 33, PACK_CODEC_ZSTD_BASE, 1, PACK_TYPE_FILELIST, { { 0 } } },
		{ 100, 99, PACK_CODEC_ZSTD_BASE, PACK_DEPTH_MAX, PACK_TYPE_RECIPE, { { 0 } } },
	};
	uint8_t *bytes = calloc(1, PACK_SEGMENT_HEADER_LEN + PACK_PLAIN_MAX);

	(void)state;
	assert_non_null(bytes);
	for (size_t i = 0; i < test_count(rows); i++) {
		struct pack_segment got;
		struct larder_err err = { 0 };

		pack_segment_encode(bytes, &rows[i]);
		assert_ok(
		    pack_segment_decode(&got, NULL, bytes, PACK_SEGMENT_HEADER_LEN, &err), &err);
		assert_int_equal(got.plain_len, rows[i].plain_len);
		assert_int_equal(got.store_len, rows[i].store_len);
		assert_int_equal(got.codec, rows[i].codec);
		assert_int_equal(got.depth, rows[i].depth);
		assert_int_equal(got.type, rows[i].type);
	}
	for (size_t len = 0; len < PACK_SEGMENT_HEADER_LEN; len++) {
		struct pack_segment got;
		struct larder_err err = { 0 };

		assert_status(
		    LARDER_ERR_CORRUPT, pack_segment_decode(&got, NULL, bytes, len, &err), &err);
		assert_message(&err, "segment header cut short");
	}
	free(bytes);
}

/* ---- footer ---- */

static void
footer_bytes_are_the_ones_in_the_format_document(void **state)
{
	const uint8_t *want = example + sizeof example - PACK_FOOTER_LEN;
	struct pack_footer footer = { .id = example_id, .directory_at = 53, .directory_len = 53 };
	struct pack_footer got;
	struct larder_err err = { 0 };
	uint8_t bytes[PACK_FOOTER_LEN];

	(void)state;
	sha256(&footer.digest, example + EXAMPLE_DIRECTORY, EXAMPLE_DIRECTORY_LEN);
	pack_footer_encode(bytes, &footer);
	assert_memory_equal(bytes, want, sizeof bytes);
	assert_ok(pack_footer_decode(&got, want, PACK_FOOTER_LEN, &err), &err);
	assert_memory_equal(&got.digest, &footer.digest, sizeof got.digest);
	assert_memory_equal(&got.id, &example_id, sizeof got.id);
	assert_int_equal(got.directory_at, 53);
	assert_int_equal(got.directory_len, 53);
}

static void
every_damaged_footer_is_refused_and_says_why(void **state)
{
	static const struct {
		size_t at;
		uint32_t to;
		int status;
		const char *says;
	} rows[] = {
		{ 48, 31, LARDER_ERR_CORRUPT, "directory of 53 bytes at 31" },
		{ 52, 15, LARDER_ERR_CORRUPT, "directory of 15 bytes at 53" },
		{ 48, PACK_FILE_MAX, LARDER_ERR_CORRUPT, "directory of 53 bytes at 1073741824" },
		{ 52, UINT32_MAX, LARDER_ERR_CORRUPT, "directory of 4294967295 bytes" },
		{ 56, 1, LARDER_ERR_VERSION, "requires features 0x1" },
		{ 60, 2, LARDER_ERR_VERSION, "format version 2" },
		{ 60, 0, LARDER_ERR_CORRUPT, "format version 0" },
		{ 60, 0xffff0001, LARDER_OK, "" }, /* optional features */
	};
	const uint8_t *good = example + sizeof example - PACK_FOOTER_LEN;
	struct pack_footer got;

	(void)state;
	for (size_t i = 0; i < test_count(rows); i++) {
		struct larder_err err = { 0 };
		uint8_t bytes[PACK_FOOTER_LEN];

		memcpy(bytes, good, sizeof bytes);
		put_le32(bytes + rows[i].at, rows[i].to);
		put_le32(bytes + 64, crc32c(0, bytes, 64));
		assert_status(
		    rows[i].status, pack_footer_decode(&got, bytes, sizeof bytes, &err), &err);
		assert_message(&err, rows[i].says);
	}
	for (unsigned bit = 0; bit < 8 * PACK_FOOTER_LEN; bit++) {
		struct larder_err err = { 0 };
		uint8_t bytes[PACK_FOOTER_LEN];

		memcpy(bytes, good, sizeof bytes);
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_status(
		    LARDER_ERR_CORRUPT, pack_footer_decode(&got, bytes, sizeof bytes, &err), &err);
		assert_message(&err, bit / 8 >= 68 ? "does not end like a pack" : "checksum");
	}
	for (size_t len = 0; len < PACK_FOOTER_LEN; len++)
		assert_status(LARDER_ERR_CORRUPT, pack_footer_decode(&got, good, len, NULL), NULL);
}

/* ---- directory ---- */

static struct pack_codec *
open_codec(void)
{
	struct pack_codec *codec;
	struct larder_err err = { 0 };

	assert_ok(pack_codec_open(&codec, &err), &err);
	return codec;
}

static void
the_example_s_tail_says_what_is_in_it(void **state)
{
	struct pack_codec *codec = open_codec();
	struct pack_directory d = { 0 };
	struct larder_err err = { 0 };
	struct larder_id hello;
	struct buf again = { 0 };

	(void)state;
	assert_ok(pack_tail_decode(&d, codec, example + EXAMPLE_DIRECTORY,
		      sizeof example - EXAMPLE_DIRECTORY, &err),
	    &err);
	sha256(&hello, "hello", 5);
	assert_memory_equal(&d.id, &example_id, sizeof d.id);
	assert_int_equal(d.file_len, sizeof example);
	assert_int_equal(d.segment_count, 1);
	assert_int_equal(d.chunk_count, 1);
	assert_int_equal(d.segments[0].at, 32);
	assert_int_equal(d.segments[0].len, 21);
	assert_int_equal(d.segments[0].chunk_first, 0);
	assert_int_equal(d.segments[0].chunk_count, 1);
	assert_int_equal(d.lengths[0], 5);
	assert_int_equal(d.chunk_ats[0], 0);
	assert_memory_equal(&d.ids[0], &hello, sizeof hello);

	assert_ok(pack_directory_encode(&again, codec, &d, &err), &err);
	assert_int_equal(again.len, EXAMPLE_DIRECTORY_LEN);
	assert_memory_equal(again.data, example + EXAMPLE_DIRECTORY, again.len);
	buf_release(&again);
	pack_directory_release(&d);
	pack_directory_release(&d); /* a zeroed one is fine */
	pack_codec_close(codec);
}

/* A tail around these directory bytes whose checksums are right. */
static size_t
seal(uint8_t *tail, const uint8_t *directory, size_t len, uint32_t directory_at)
{
	struct pack_footer footer = { .id = example_id, .directory_at = directory_at };

	memmove(tail, directory, len);
	footer.directory_len = (uint32_t)len;
	sha256(&footer.digest, tail, len);
	pack_footer_encode(tail + len, &footer);
	return len + PACK_FOOTER_LEN;
}

/* Head, ids (all zero) and columns as they are. */
static size_t
lay_out(
    uint8_t *out, uint32_t segments, uint32_t chunks, const uint8_t *columns, size_t columns_len)
{
	memset(out, 0, PACK_DIRECTORY_HEAD_LEN + (size_t)chunks * LARDER_ID_LEN);
	put_le32(out, segments);
	put_le32(out + 4, chunks);
	put_le32(out + 8, (uint32_t)columns_len);
	memcpy(
	    out + PACK_DIRECTORY_HEAD_LEN + (size_t)chunks * LARDER_ID_LEN, columns, columns_len);
	return PACK_DIRECTORY_HEAD_LEN + (size_t)chunks * LARDER_ID_LEN + columns_len;
}

static void
columns_that_cannot_be_are_refused_and_say_why(void **state)
{
	/* two segments of 10 and 20 stored bytes, with 2 and 1 chunks: ends at 32 + 26 + 36 = 94 */
	static const struct {
		uint32_t segments, chunks, ends;
		size_t len;
		uint8_t columns[16];
		const char *says; /* NULL = fine */
	} rows[] = {
		{ 2, 3, 94, 11, { 10, 20, 2, 1, 0, 1, 0, 6, 7, 8, 30 }, NULL },
		{ 2, 3, 95, 11, { 10, 20, 2, 1, 0, 1, 0, 6, 7, 8, 30 },
		    "do not end where it starts, at 95" },
		{ 2, 3, 93, 11, { 10, 20, 2, 1, 0, 1, 0, 6, 7, 8, 30 },
		    "do not end where it starts, at 93" },
		{ 2, 3, 84, 11, { 0, 20, 2, 1, 0, 1, 0, 6, 7, 8, 30 }, "length of segment 0" },
		{ 2, 3, 94, 11, { 10, 20, 0, 3, 0, 0, 0, 6, 7, 8, 30 }, "chunks of segment 0" },
		{ 2, 3, 94, 11, { 10, 20, 3, 1, 0, 1, 0, 6, 7, 8, 30 }, "chunks of segment 1" },
		{ 2, 3, 94, 11, { 10, 20, 1, 1, 0, 1, 0, 6, 7, 8, 30 }, "3 chunks, of which 2" },
		{ 2, 3, 94, 11, { 10, 20, 2, 1, 1, 1, 0, 6, 7, 8, 30 }, "depth of segment 0" },
		{ 2, 3, 94, 11, { 10, 20, 2, 1, 0, 9, 0, 6, 7, 8, 30 }, "depth of segment 1" },
		{ 2, 3, 94, 11, { 10, 20, 2, 1, 0, 1, 7, 6, 7, 8, 30 }, "type of segment 0" },
		{ 2, 3, 94, 11, { 10, 20, 2, 1, 0, 1, 0, 6, 0, 15, 30 }, "length of chunk 0" },
		{ 2, 3, 94, 14, { 10, 20, 2, 1, 0, 1, 0, 6, 7, 8, 0x81, 0x80, 0x80, 4 },
		    "length of chunk 2" },
		{ 2, 3, 94, 14, { 10, 20, 2, 1, 0, 1, 0, 6, 7, 8, 0x80, 0x80, 0x80, 4 }, NULL },
		{ 2, 3, 94, 11, { 10, 20, 2, 1, 0, 1, 0, 6, 7, 2, 30 }, "segment 0 has grown" },
		{ 2, 3, 94, 11, { 10, 20, 2, 1, 0, 1, 0, 6, 7, 8, 19 }, "segment 1 has grown" },
		{ 2, 3, 94, 12, { 10, 20, 2, 1, 0, 1, 0, 6, 7, 8, 30, 0 }, "1 bytes too many" },
		{ 2, 3, 94, 12, { 10, 20, 2, 1, 0, 1, 0, 6, 7, 8, 0x9e, 0 }, "length of chunk 2" },
		{ 2, 3, 94, 10, { 10, 20, 2, 1, 0, 1, 0, 6, 7, 8 }, "length of chunk 2" },
		{ 2, 3, 94, 6, { 10, 20, 2, 1, 0, 1 }, "type of segment 0" },
		{ 2, 3, 94, 1, { 10 }, "length of segment 1" },
		{ 2, 3, 94, 0, { 0 }, "length of segment 0" },
		{ 0, 3, 32, 0, { 0 }, "0 segments, 3 chunks" },
		{ 4, 3, 94, 11, { 10, 20, 2, 1, 0, 1, 0, 6, 7, 8, 30 }, "4 segments, 3 chunks" },
		{ 0, 0, 32, 0, { 0 }, "0 segments, 0 chunks" },
	};
	struct pack_codec *codec = open_codec();

	(void)state;
	for (size_t i = 0; i < test_count(rows); i++) {
		struct pack_directory d = { 0 }, zero = { 0 };
		struct larder_err err = { 0 };
		uint8_t directory[256], tail[256 + PACK_FOOTER_LEN];
		size_t len;

		len = lay_out(
		    directory, rows[i].segments, rows[i].chunks, rows[i].columns, rows[i].len);
		len = seal(tail, directory, len, rows[i].ends);
		if (rows[i].says == NULL) {
			assert_ok(pack_tail_decode(&d, codec, tail, len, &err), &err);
			pack_directory_release(&d);
			continue;
		}
		assert_status(
		    LARDER_ERR_CORRUPT, pack_tail_decode(&d, codec, tail, len, &err), &err);
		assert_message(&err, "directory: ");
		assert_message(&err, rows[i].says);
		assert_memory_equal(&d, &zero, sizeof d);
	}
	pack_codec_close(codec);
}

static void
directory_heads_that_cannot_be_are_refused_and_say_why(void **state)
{
	static const struct {
		size_t at;
		uint32_t to;
		const char *says;
	} rows[] = {
		{ 4, 2, "too few for 2 chunks" },
		{ 4, PACK_CHUNKS_MAX, "too few for 1048576 chunks" },
		{ 4, PACK_CHUNKS_MAX + 1, "1 segments, 1048577 chunks" },
		{ 4, UINT32_MAX, "1 segments, 4294967295 chunks" },
		{ 0, UINT32_MAX, "4294967295 segments" },
		{ 8, 4, "columns of 5 bytes, not 4" },
		{ 8, 6, "columns of 5 bytes, not 6" },
		{ 8, 9 + 4 + 1, "columns claim 14 bytes" },
		{ 8, UINT32_MAX, "columns claim 4294967295 bytes" },
		{ 12, 1, "columns claim to have grown" },
		{ 12, 2, "unknown codec 2" },
		{ 12, 0x100, "reserved bytes are not zero" },
		{ 12, 0x80000000, "reserved bytes are not zero" },
	};
	struct pack_codec *codec = open_codec();
	uint8_t directory[EXAMPLE_DIRECTORY_LEN], tail[256];
	struct pack_directory d = { 0 };
	size_t len;

	(void)state;
	for (size_t i = 0; i < test_count(rows); i++) {
		struct larder_err err = { 0 };

		memcpy(directory, example + EXAMPLE_DIRECTORY, sizeof directory);
		put_le32(directory + rows[i].at, rows[i].to);
		len = seal(tail, directory, sizeof directory, EXAMPLE_DIRECTORY);
		assert_status(
		    LARDER_ERR_CORRUPT, pack_tail_decode(&d, codec, tail, len, &err), &err);
		assert_message(&err, rows[i].says);
	}

	/* columns that say they are a frame and are none */
	memcpy(directory, example + EXAMPLE_DIRECTORY, sizeof directory);
	put_le32(directory + 8, 6);
	directory[12] = 1;
	len = seal(tail, directory, sizeof directory, EXAMPLE_DIRECTORY);
	{
		struct larder_err err = { 0 };

		assert_status(
		    LARDER_ERR_CORRUPT, pack_tail_decode(&d, codec, tail, len, &err), &err);
		assert_message(&err, "directory: not a zstd frame");
	}
	pack_codec_close(codec);
}

static void
a_tail_with_any_changed_byte_or_other_length_is_refused(void **state)
{
	const uint8_t *good = example + EXAMPLE_DIRECTORY;
	enum { LEN = sizeof example - EXAMPLE_DIRECTORY };
	struct pack_codec *codec = open_codec();
	struct pack_directory d = { 0 };
	uint8_t tail[LEN + 1];

	(void)state;
	for (size_t at = 0; at < LEN; at++) {
		struct larder_err err = { 0 };

		memcpy(tail, good, LEN);
		tail[at] ^= 0x40;
		assert_status(
		    LARDER_ERR_CORRUPT, pack_tail_decode(&d, codec, tail, LEN, &err), &err);
		if (at < EXAMPLE_DIRECTORY_LEN)
			assert_message(&err, "directory does not match its digest");
	}
	for (size_t len = 0; len < LEN; len++) {
		assert_status(
		    LARDER_ERR_CORRUPT, pack_tail_decode(&d, codec, good, len, NULL), NULL);
		assert_status(LARDER_ERR_CORRUPT,
		    pack_tail_decode(&d, codec, good + LEN - len, len, NULL), NULL);
	}
	tail[0] = 0;
	memcpy(tail + 1, good, LEN);
	{
		struct larder_err err = { 0 };

		assert_status(
		    LARDER_ERR_CORRUPT, pack_tail_decode(&d, codec, tail, LEN + 1, &err), &err);
		assert_message(&err, "directory of 54 bytes, not 53");
	}
	pack_codec_close(codec);
}

/* A directory of `segments` segments with 1 to 5 chunks each, everything made up. */
static void
make_up(struct pack_directory *d, uint32_t segments)
{
	uint32_t at = PACK_HEADER_LEN;

	*d = (struct pack_directory){ .id = example_id, .segment_count = segments };
	d->segments = malloc(segments * sizeof *d->segments);
	d->ids = malloc((size_t)5 * segments * sizeof *d->ids);
	d->lengths = malloc((size_t)5 * segments * sizeof *d->lengths);
	d->chunk_ats = malloc((size_t)5 * segments * sizeof *d->chunk_ats);
	assert_non_null(d->segments);
	test_fill(d->ids, (size_t)5 * segments * sizeof *d->ids, 1);
	for (uint32_t i = 0; i < segments; i++) {
		const uint32_t count = i % 3 == 1 ? 1 : 1 + i % 5;
		uint32_t plain = 0;

		d->segments[i] = (struct pack_directory_segment){
			.at = at,
			.len = PACK_SEGMENT_HEADER_LEN + 1 + i * 7 % 900,
			.chunk_first = d->chunk_count,
			.chunk_count = count,
			.depth = i % 3 == 1 ? (uint8_t)(1 + i % 8) : 0,
			.type = (uint8_t)(i % PACK_TYPE_COUNT),
		};
		at += d->segments[i].len;
		for (uint32_t k = 0; k < count; k++) {
			d->chunk_ats[d->chunk_count] = plain;
			d->lengths[d->chunk_count] = 900 + i % 3000;
			plain += d->lengths[d->chunk_count++];
		}
	}
	d->file_len = at; /* where the directory goes */
}

static void
a_directory_comes_back_as_it_was_and_is_smaller_compressed(void **state)
{
	struct pack_codec *codec = open_codec();

	(void)state;
	for (uint32_t segments = 1; segments <= 4000; segments = segments * 3 + 1) {
		struct pack_directory d, got = { 0 };
		struct larder_err err = { 0 };
		struct buf bytes = { 0 };
		uint8_t *tail;
		size_t len;

		make_up(&d, segments);
		assert_ok(pack_directory_encode(&bytes, codec, &d, &err), &err);
		assert_true(bytes.len <= pack_directory_len_max(segments, d.chunk_count));
		if (segments > 100)
			assert_true(bytes.len < (size_t)d.chunk_count * (LARDER_ID_LEN + 2));
		tail = malloc(bytes.len + PACK_FOOTER_LEN);
		assert_non_null(tail);
		len = seal(tail, bytes.data, bytes.len, (uint32_t)d.file_len);
		assert_ok(pack_tail_decode(&got, codec, tail, len, &err), &err);

		assert_int_equal(got.segment_count, d.segment_count);
		assert_int_equal(got.chunk_count, d.chunk_count);
		assert_int_equal(got.file_len, d.file_len + len);
		for (uint32_t i = 0; i < segments; i++) {
			assert_int_equal(got.segments[i].at, d.segments[i].at);
			assert_int_equal(got.segments[i].len, d.segments[i].len);
			assert_int_equal(got.segments[i].chunk_first, d.segments[i].chunk_first);
			assert_int_equal(got.segments[i].chunk_count, d.segments[i].chunk_count);
			assert_int_equal(got.segments[i].depth, d.segments[i].depth);
			assert_int_equal(got.segments[i].type, d.segments[i].type);
		}
		assert_memory_equal(got.ids, d.ids, d.chunk_count * sizeof *d.ids);
		assert_memory_equal(got.lengths, d.lengths, d.chunk_count * sizeof *d.lengths);
		assert_memory_equal(got.chunk_ats, d.chunk_ats, d.chunk_count * sizeof *d.lengths);

		free(tail);
		free(d.segments);
		free(d.ids);
		free(d.lengths);
		free(d.chunk_ats);
		buf_release(&bytes);
		pack_directory_release(&got);
	}
	pack_codec_close(codec);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(header_bytes_are_the_ones_in_the_format_document),
		test_case(any_changed_bit_of_a_header_is_damage_and_never_a_newer_version),
		test_case(a_header_cut_short_is_refused),
		test_case(
		    versions_and_required_features_ask_for_a_newer_larder_and_optional_ones_do_not),
		test_case(segment_bytes_are_the_ones_in_the_format_document),
		test_case(every_damaged_segment_header_is_refused_and_says_why),
		test_case(segment_headers_at_the_limits_are_read),
		test_case(footer_bytes_are_the_ones_in_the_format_document),
		test_case(every_damaged_footer_is_refused_and_says_why),
		test_case(the_example_s_tail_says_what_is_in_it),
		test_case(columns_that_cannot_be_are_refused_and_say_why),
		test_case(directory_heads_that_cannot_be_are_refused_and_say_why),
		test_case(a_tail_with_any_changed_byte_or_other_length_is_refused),
		test_case(a_directory_comes_back_as_it_was_and_is_smaller_compressed),
	};

	return test_run(cases);
}
