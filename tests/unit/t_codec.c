/*
 * Segments made and undone: what comes back, what is not compressed, what is
 * given up, and which frames are refused before or while they are decoded.
 */
#include "pack/pack.h"

#include "tests/harness.h"

#include <zstd.h>

#include "cas/base/bytes.h"
#include "pack/codec.h"
#include "pack/format.h"
#include "tests/doubles/doubles.h"
#include "tests/doubles/pack_sample.h"

static const struct larder_id base_id = { { 0xba, 0x5e } };

static struct pack_codec *
open_codec(void)
{
	struct pack_codec *codec;
	struct larder_err err = { 0 };

	assert_ok(pack_codec_open(&codec, &err), &err);
	return codec;
}

/* Header of the segment at the start of `bytes`, with its checksum compared. */
static struct pack_segment
header_of(const uint8_t *bytes, size_t len)
{
	struct pack_segment segment;
	struct larder_err err = { 0 };
	uint32_t crc;

	assert_ok(pack_segment_decode(&segment, &crc, bytes, len, &err), &err);
	assert_int_equal(len, PACK_SEGMENT_HEADER_LEN + (size_t)segment.store_len);
	assert_int_equal(
	    crc, pack_segment_crc(bytes, bytes + PACK_SEGMENT_HEADER_LEN, segment.store_len));
	if (segment.codec == PACK_CODEC_ZSTD_BASE)
		memcpy(segment.base.bytes, bytes + PACK_SEGMENT_HEADER_LEN, LARDER_ID_LEN);
	return segment;
}

/* Encodes, decodes into a block of exactly that length, compares. */
static struct pack_segment
round_trip(struct pack_codec *codec, const struct pack_plain *plain)
{
	struct larder_err err = { 0 };
	struct pack_segment segment;
	struct buf out = { 0 };
	uint8_t *back = malloc(plain->len);

	assert_non_null(back);
	assert_ok(buf_append(&out, "before", 6), NULL);
	assert_ok(pack_encode(&out, codec, plain, 0, &err), &err);
	assert_memory_equal(out.data, "before", 6);
	segment = header_of(out.data + 6, out.len - 6);
	assert_int_equal(segment.plain_len, plain->len);
	assert_int_equal(segment.type, plain->type);
	assert_ok(pack_decode(back, codec, &segment, out.data + 6 + PACK_SEGMENT_HEADER_LEN,
		      plain->base, plain->base_len, &err),
	    &err);
	assert_memory_equal(back, plain->data, plain->len);
	buf_release(&out);
	free(back);
	return segment;
}

static uint8_t *
text(size_t len, uint64_t seed)
{
	uint8_t *bytes = malloc(len + 1);

	assert_non_null(bytes);
	pack_sample_text(bytes, len, seed);
	return bytes;
}

static uint8_t *
noise(size_t len, uint64_t seed)
{
	uint8_t *bytes = malloc(len + 1);

	assert_non_null(bytes);
	pack_sample_noise(bytes, len, seed);
	return bytes;
}

/* ---- what comes back ---- */

static void
text_of_every_length_comes_back_at_every_level(void **state)
{
	static const uint32_t lengths[] = { 1, 2, 15, 16, 33, 34, 100, 255, 256, 257, 4095, 4096,
		4097, 65535, 65536, 65791, 65792, 131072, 131073, 300000 };
	static const int levels[] = { -5, 0, 1, 3, 9, 19 };
	struct pack_codec *codec = open_codec();
	uint8_t *bytes = text(300000, 1);

	(void)state;
	for (size_t i = 0; i < test_count(lengths); i++) {
		for (size_t k = 0; k < test_count(levels); k++) {
			const struct pack_plain plain = {
				.data = bytes,
				.len = lengths[i],
				.type = (enum pack_type)(i % PACK_TYPE_COUNT),
				.level = levels[k],
			};
			const struct pack_segment s = round_trip(codec, &plain);

			if (levels[k] == 0 || lengths[i] < 16)
				assert_int_equal(s.codec, PACK_CODEC_STORED);
			if (levels[k] != 0 && lengths[i] > 255)
				assert_int_equal(s.codec, PACK_CODEC_ZSTD);
			assert_int_equal(s.depth, 0);
		}
	}
	free(bytes);
	pack_codec_close(codec);
}

static void
the_longest_segment_comes_back(void **state)
{
	struct pack_codec *codec = open_codec();
	uint8_t *bytes = text(PACK_PLAIN_MAX, 2), *base = noise(PACK_PLAIN_MAX, 2);
	struct pack_plain plain = { .data = bytes, .len = PACK_PLAIN_MAX, .level = 1 };

	(void)state;
	assert_int_equal(round_trip(codec, &plain).codec, PACK_CODEC_ZSTD);
	memcpy(bytes, base, PACK_PLAIN_MAX); /* noise: only the base can help */
	memcpy(bytes + PACK_PLAIN_MAX / 2, "changed", 7);
	plain.base = base;
	plain.base_len = PACK_PLAIN_MAX;
	plain.base_id = &base_id;
	assert_in_range(round_trip(codec, &plain).store_len, 33, 4000);
	free(bytes);
	free(base);
	pack_codec_close(codec);
}

static void
a_small_change_of_the_base_takes_few_bytes_and_names_the_base(void **state)
{
	static const uint32_t lengths[] = { 200, 1000, 4096, 16384, 65536, 1000000 };
	struct pack_codec *codec = open_codec();

	(void)state;
	for (size_t i = 0; i < test_count(lengths); i++) {
		uint8_t *base = text(lengths[i], 3), *bytes = text(lengths[i], 3);
		struct pack_plain plain = { .data = bytes, .len = lengths[i], .level = 3 };
		struct pack_segment s;

		memcpy(bytes + lengths[i] / 2, "changed", 7);
		plain.base = base;
		plain.base_len = lengths[i];
		plain.base_id = &base_id;
		plain.base_depth = (unsigned)i;
		s = round_trip(codec, &plain);
		assert_int_equal(s.codec, PACK_CODEC_ZSTD_BASE);
		assert_int_equal(s.depth, i + 1);
		assert_memory_equal(&s.base, &base_id, sizeof base_id);
		assert_in_range(
		    s.store_len, LARDER_ID_LEN + 8, LARDER_ID_LEN + 40 + lengths[i] / 2000);
		free(base);
		free(bytes);
	}
	pack_codec_close(codec);
}

/* Noise can only come from the base, so this sees whether the window reaches its start. */
static void
the_start_of_a_long_base_is_in_reach_at_level_1(void **state)
{
	enum { BASE_LEN = 6 * 1024 * 1024, LEN = 100000 };
	struct pack_codec *codec = open_codec();
	uint8_t *base = noise(BASE_LEN, 4), *start = noise(LEN, 4);
	const struct pack_plain plain = {
		.data = start,
		.len = LEN,
		.level = 1,
		.base = base,
		.base_len = BASE_LEN,
		.base_id = &base_id,
	};
	uint8_t *end = noise(LEN, 5);
	struct pack_plain at_end = plain;

	(void)state;
	assert_in_range(round_trip(codec, &plain).store_len, 33, 20000);
	memcpy(end + LEN / 2, base + BASE_LEN - LEN / 2, LEN / 2);
	at_end.data = end;
	assert_in_range(round_trip(codec, &at_end).store_len, LEN / 2, LEN / 2 + 1000);
	free(base);
	free(start);
	free(end);
	pack_codec_close(codec);
}

/* A dictionary file is a file like others: as a base it must not be taken for zstd's own kind. */
static void
a_base_that_looks_like_a_zstd_dictionary_is_plain_bytes(void **state)
{
	struct pack_codec *codec = open_codec();
	uint8_t *base = text(5000, 6), *bytes = text(5000, 6);
	struct pack_plain plain = { .data = bytes, .len = 5000, .level = 3 };

	(void)state;
	put_le32(base, ZSTD_MAGIC_DICTIONARY);
	put_le32(bytes, ZSTD_MAGIC_DICTIONARY);
	bytes[2000] ^= 1;
	plain.base = base;
	plain.base_len = 5000;
	plain.base_id = &base_id;
	assert_in_range(round_trip(codec, &plain).store_len, 33, 100);
	free(base);
	free(bytes);
	pack_codec_close(codec);
}

/* ---- what is not compressed ---- */

static void
noise_is_stored_as_it_is(void **state)
{
	static const uint32_t lengths[] = { 1, 100, 4096, 4097, 8192, 131072, 131073, 135167,
		135168, 600000 };
	struct pack_codec *codec = open_codec();
	uint8_t *bytes = noise(600000, 7);

	(void)state;
	for (size_t i = 0; i < test_count(lengths); i++) {
		struct pack_plain plain = { .data = bytes, .len = lengths[i], .level = 3 };

		assert_int_equal(round_trip(codec, &plain).codec, PACK_CODEC_STORED);
		plain.base = bytes + 1;
		plain.base_len = 1;
		plain.base_id = &base_id;
		assert_int_equal(round_trip(codec, &plain).codec, PACK_CODEC_STORED);
	}
	free(bytes);
	pack_codec_close(codec);
}

/* One probe that shrinks is enough to try; it is the same bytes wherever they stand. */
static void
noise_with_text_in_a_probed_place_is_tried(void **state)
{
	enum { LEN = 5 * 128 * 1024 };
	struct pack_codec *codec = open_codec();

	(void)state;
	for (uint32_t piece = 0; piece < 5; piece++) {
		uint8_t *bytes = noise(LEN, 8);
		const struct pack_plain plain = { .data = bytes, .len = LEN, .level = 1 };

		pack_sample_text(bytes + piece * 128 * 1024 + 50 * 1024, 30 * 1024, 9);
		assert_int_equal(round_trip(codec, &plain).codec, PACK_CODEC_ZSTD);
		free(bytes);
	}
	pack_codec_close(codec);
}

/* Not text, but six bits a byte: only the second look of a probe sees it. */
static void
bytes_with_a_slight_alphabet_are_tried(void **state)
{
	struct pack_codec *codec = open_codec();
	uint8_t *bytes = noise(200000, 10);
	const struct pack_plain plain = { .data = bytes, .len = 200000, .level = 1 };

	(void)state;
	for (size_t i = 0; i < 200000; i++)
		bytes[i] &= 0x7f;
	assert_int_equal(round_trip(codec, &plain).codec, PACK_CODEC_ZSTD);
	free(bytes);
	pack_codec_close(codec);
}

static void
level_0_stores_also_with_a_base(void **state)
{
	struct pack_codec *codec = open_codec();
	uint8_t *bytes = text(1000, 11);
	struct pack_plain plain = { .data = bytes, .len = 1000, .level = 0 };
	struct larder_err err = { 0 };
	struct buf out = { 0 };

	(void)state;
	plain.base = bytes;
	plain.base_len = 1000;
	plain.base_id = &base_id;
	assert_ok(pack_encode(&out, codec, &plain, 10, &err), &err);
	assert_int_equal(header_of(out.data, out.len).codec, PACK_CODEC_STORED);
	buf_release(&out);
	free(bytes);
	pack_codec_close(codec);
}

/* ---- giving up ---- */

static void
a_delta_over_the_limit_is_given_up_and_one_at_it_is_not(void **state)
{
	struct pack_codec *codec = open_codec();
	uint8_t *base = text(4096, 12), *bytes = text(4096, 12);
	struct pack_plain plain = { .data = bytes, .len = 4096, .level = 3 };
	struct larder_err err = { 0 };
	struct buf out = { 0 };
	uint32_t payload;

	(void)state;
	pack_sample_noise(bytes + 1000, 500, 13);
	plain.base = base;
	plain.base_len = 4096;
	plain.base_id = &base_id;
	payload = round_trip(codec, &plain).store_len - LARDER_ID_LEN;
	assert_in_range(payload, 500, 600);

	assert_ok(buf_append(&out, "before", 6), NULL);
	for (uint32_t max = 1; max < payload; max++) {
		assert_int_equal(pack_encode(&out, codec, &plain, max, &err), 1);
		assert_int_equal(out.len, 6);
	}
	for (uint32_t max = payload; max < payload + 200; max++) {
		assert_ok(pack_encode(&out, codec, &plain, max, &err), &err);
		assert_int_equal(
		    header_of(out.data + 6, out.len - 6).store_len, LARDER_ID_LEN + payload);
		out.len = 6;
	}

	/* a base of no use, and something too short for any base */
	plain.base = bytes;
	plain.base_len = 1;
	assert_int_equal(pack_encode(&out, codec, &plain, 100, &err), 1);
	plain.len = 33;
	plain.base_len = 4096;
	assert_int_equal(pack_encode(&out, codec, &plain, 100, &err), 1);
	assert_int_equal(out.len, 6);
	assert_memory_equal(out.data, "before", 6);
	buf_release(&out);
	free(base);
	free(bytes);
	pack_codec_close(codec);
}

static void
after_giving_up_the_next_segment_is_right(void **state)
{
	struct pack_codec *codec = open_codec();
	uint8_t *bytes = text(100000, 14), *base = noise(100000, 15);
	struct pack_plain plain = { .data = bytes, .len = 100000, .level = 3 };
	struct buf out = { 0 };

	(void)state;
	for (int i = 0; i < 20; i++) {
		struct pack_plain delta = plain;

		delta.base = base;
		delta.base_len = 100000;
		delta.base_id = &base_id;
		assert_int_equal(
		    pack_encode(&out, codec, &delta, (uint32_t)(50 + i * 100), NULL), 1);
		plain.len = 100000 - (uint32_t)i * 4999;
		assert_int_equal(round_trip(codec, &plain).codec, PACK_CODEC_ZSTD);
	}
	buf_release(&out);
	free(bytes);
	free(base);
	pack_codec_close(codec);
}

/* ---- frames ---- */

static void
frames_say_their_length_in_few_bytes_and_nothing_else(void **state)
{
	/* length, first byte behind the magic: size of the content size, single segment */
	static const struct {
		uint32_t len;
		uint8_t descriptor;
	} rows[] = { { 100, 0x20 }, { 255, 0x20 }, { 256, 0x60 }, { 65791, 0x60 }, { 65792, 0xa0 },
		{ 1000000, 0xa0 } };
	struct pack_codec *codec = open_codec();
	uint8_t *bytes = text(1000000, 16);
	struct larder_err err = { 0 };
	struct buf out = { 0 };

	(void)state;
	memset(bytes, 'x', 100); /* so that the shortest shrinks */
	for (size_t i = 0; i < test_count(rows); i++) {
		struct pack_plain plain = { .data = bytes, .len = rows[i].len, .level = 1 };

		for (int with_base = 0; with_base < 2; with_base++) {
			const size_t skip =
			    PACK_SEGMENT_HEADER_LEN + (with_base ? LARDER_ID_LEN : 0);

			plain.base = bytes;
			plain.base_len = 1000000;
			plain.base_id = with_base ? &base_id : NULL;
			buf_clear(&out);
			assert_ok(pack_encode(&out, codec, &plain, 0, &err), &err);
			assert_int_equal(
			    out.data[8], with_base ? PACK_CODEC_ZSTD_BASE : PACK_CODEC_ZSTD);
			assert_int_equal(get_le32(out.data + skip), 0xfd2fb528);
			assert_int_equal(out.data[skip + 4], rows[i].descriptor);
		}
	}
	buf_release(&out);
	free(bytes);
	pack_codec_close(codec);
}

/* A frame by zstd itself, with this parameter; decoded as a segment of 1000 bytes. */
static int
decode_foreign(struct pack_codec *codec, const uint8_t *plain, ZSTD_cParameter what, int value,
    struct larder_err *err)
{
	uint8_t frame[2000], back[1000];
	struct pack_segment s = { .plain_len = 1000, .codec = PACK_CODEC_ZSTD };
	ZSTD_CCtx *c = ZSTD_createCCtx();
	size_t n;

	ZSTD_CCtx_setParameter(c, what, value);
	n = ZSTD_compress2(c, frame, sizeof frame, plain, sizeof back);
	assert_false(ZSTD_isError(n));
	ZSTD_freeCCtx(c);
	s.store_len = (uint32_t)n;
	return pack_decode(back, codec, &s, frame, NULL, 0, err);
}

static void
frames_of_another_make_are_refused(void **state)
{
	struct pack_codec *codec = open_codec();
	uint8_t *bytes = text(1000, 17), *back = malloc(1000);
	struct larder_err err = { 0 };

	(void)state;
	assert_ok(decode_foreign(codec, bytes, ZSTD_c_compressionLevel, 5, &err), &err);
	assert_status(
	    LARDER_ERR_CORRUPT, decode_foreign(codec, bytes, ZSTD_c_checksumFlag, 1, &err), &err);
	assert_message(&err, "zstd frame with a window, checksum or dictionary of its own");
	memset(&err, 0, sizeof err);
	assert_status(LARDER_ERR_CORRUPT,
	    decode_foreign(codec, bytes, ZSTD_c_contentSizeFlag, 0, &err), &err);
	assert_message(&err, "zstd frame with a window");
	free(bytes);
	free(back);
	pack_codec_close(codec);
}

static void
frames_that_claim_something_else_are_refused_and_say_why(void **state)
{
	static const struct {
		const char *says;
		size_t len;
		uint8_t frame[20];
	} rows[] = {
		{ "not a zstd frame", 0, { 0 } },
		{ "not a zstd frame", 5, { 0x28, 0xb5, 0x2f, 0xfd, 0x20 } },
		{ "not a zstd frame", 9, { 0x27, 0xb5, 0x2f, 0xfd, 0x20, 5, 0x29, 0, 0 } },
		/* skippable frame */
		{ "not a zstd frame", 8, { 0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0 } },
		/* window descriptor, dictionary id, checksum, reserved, unused */
		{ "of its own", 9, { 0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xff, 1, 0, 0 } },
		{ "of its own", 9, { 0x28, 0xb5, 0x2f, 0xfd, 0x21, 5, 1, 0, 0 } },
		{ "of its own", 9, { 0x28, 0xb5, 0x2f, 0xfd, 0x24, 5, 1, 0, 0 } },
		{ "of its own", 9, { 0x28, 0xb5, 0x2f, 0xfd, 0x28, 5, 1, 0, 0 } },
		{ "of its own", 9, { 0x28, 0xb5, 0x2f, 0xfd, 0x30, 5, 1, 0, 0 } },
		/* other lengths, in each form */
		{ "of another length", 9, { 0x28, 0xb5, 0x2f, 0xfd, 0x20, 4, 1, 0, 0 } },
		{ "of another length", 10, { 0x28, 0xb5, 0x2f, 0xfd, 0x60, 5, 0, 1, 0, 0 } },
		{ "of another length", 12, { 0x28, 0xb5, 0x2f, 0xfd, 0xa0, 6, 0, 0, 0, 1, 0, 0 } },
		{ "of another length", 16,
		    { 0x28, 0xb5, 0x2f, 0xfd, 0xe0, 5, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0 } },
		{ "cut short", 6, { 0x28, 0xb5, 0x2f, 0xfd, 0x60, 5 } },
		{ "cut short", 8, { 0x28, 0xb5, 0x2f, 0xfd, 0xa0, 5, 0, 0 } },
		{ "cut short", 12, { 0x28, 0xb5, 0x2f, 0xfd, 0xe0, 5, 0, 0, 0, 0, 0, 0 } },
		{ "cut short", 6, { 0x28, 0xb5, 0x2f, 0xfd, 0x20, 5 } },
		/* a raw block of five bytes, and one byte or a skippable frame behind it */
		{ "bytes behind it", 15,
		    { 0x28, 0xb5, 0x2f, 0xfd, 0x20, 5, 0x29, 0, 0, 'h', 'e', 'l', 'l', 'o', 0 } },
		{ "bytes behind it", 14,
		    { 0x28, 0xb5, 0x2f, 0xfd, 0x20, 5, 0x21, 0, 0, 'h', 'e', 'l', 'l', 'o' } },
		/* frames whose blocks give fewer or more bytes */
		{ "", 13, { 0x28, 0xb5, 0x2f, 0xfd, 0x20, 5, 0x21, 0, 0, 'h', 'e', 'l', 'l' } },
		{ "", 15,
		    { 0x28, 0xb5, 0x2f, 0xfd, 0x20, 5, 0x31, 0, 0, 'h', 'e', 'l', 'l', 'o', '!' } },
		/* a block that repeats one byte two million times */
		{ "", 10, { 0x28, 0xb5, 0x2f, 0xfd, 0x20, 5, 0x03, 0, 0xf0, 'x' } },
		{ NULL, 14,
		    { 0x28, 0xb5, 0x2f, 0xfd, 0x20, 5, 0x29, 0, 0, 'h', 'e', 'l', 'l', 'o' } },
		{ NULL, 10, { 0x28, 0xb5, 0x2f, 0xfd, 0x20, 5, 0x2b, 0, 0, 'x' } },
	};
	struct pack_codec *codec = open_codec();

	(void)state;
	for (size_t i = 0; i < test_count(rows); i++) {
		const struct pack_segment s = {
			.plain_len = 5,
			.store_len = (uint32_t)rows[i].len,
			.codec = PACK_CODEC_ZSTD,
		};
		struct larder_err err = { 0 };
		uint8_t *exact = malloc(rows[i].len + 1), *back = malloc(5);
		int rc;

		assert_non_null(exact);
		memcpy(exact, rows[i].frame, rows[i].len);
		exact = realloc(exact, rows[i].len == 0 ? 1 : rows[i].len);
		rc = pack_decode(back, codec, &s, exact, NULL, 0, &err);
		assert_status(rows[i].says == NULL ? LARDER_OK : LARDER_ERR_CORRUPT, rc, &err);
		if (rows[i].says != NULL)
			assert_message(&err, rows[i].says);
		free(exact);
		free(back);
	}
	pack_codec_close(codec);
}

static void
a_frame_cut_anywhere_is_refused_and_a_changed_one_never_writes_outside(void **state)
{
	enum { LEN = 3000 };
	struct pack_codec *codec = open_codec();
	uint8_t *base = text(LEN, 18), *bytes = text(LEN, 19), *back = malloc(LEN);
	struct pack_plain plain = { .data = bytes, .len = LEN, .level = 3 };

	(void)state;
	for (int with_base = 0; with_base < 2; with_base++) {
		struct larder_err err = { 0 };
		struct pack_segment s;
		struct buf out = { 0 };

		plain.base = base;
		plain.base_len = LEN;
		plain.base_id = with_base ? &base_id : NULL;
		assert_ok(pack_encode(&out, codec, &plain, 0, &err), &err);
		s = header_of(out.data, out.len);
		for (uint32_t len = with_base ? LARDER_ID_LEN : 0; len < s.store_len; len++) {
			struct pack_segment cut = s;
			uint8_t *exact = malloc(len + 1); /* the sanitizer watches its end */

			memcpy(exact, out.data + PACK_SEGMENT_HEADER_LEN, len);
			exact = realloc(exact, len == 0 ? 1 : len);
			cut.store_len = len;
			assert_status(LARDER_ERR_CORRUPT,
			    pack_decode(back, codec, &cut, exact, base, LEN, &err), &err);
			free(exact);
		}
		for (uint32_t at = with_base ? LARDER_ID_LEN : 0; at < s.store_len; at++) {
			uint8_t *stored = out.data + PACK_SEGMENT_HEADER_LEN;
			int rc;

			stored[at] ^= 0x10;
			rc = pack_decode(back, codec, &s, stored, base, LEN, &err);
			/* it may even give the same bytes: seeing that is up to the segment's
			 * checksum */
			assert_true(rc == 0 || rc == LARDER_ERR_CORRUPT);
			stored[at] ^= 0x10;
		}
		/* and after all of this the same codec still decodes it */
		assert_ok(pack_decode(
			      back, codec, &s, out.data + PACK_SEGMENT_HEADER_LEN, base, LEN, &err),
		    &err);
		assert_memory_equal(back, bytes, LEN);
		buf_release(&out);
	}
	free(base);
	free(bytes);
	free(back);
	pack_codec_close(codec);
}

static void
another_base_never_gives_the_same_bytes(void **state)
{
	enum { LEN = 3000 };
	struct pack_codec *codec = open_codec();
	uint8_t *base = text(LEN, 20), *bytes = text(LEN, 20), *back = malloc(LEN);
	struct pack_plain plain = { .data = bytes, .len = LEN, .level = 3 };
	struct larder_err err = { 0 };
	struct pack_segment s;
	struct buf out = { 0 };
	const uint8_t *stored;

	(void)state;
	bytes[1500] ^= 1;
	plain.base = base;
	plain.base_len = LEN;
	plain.base_id = &base_id;
	assert_ok(pack_encode(&out, codec, &plain, 0, &err), &err);
	s = header_of(out.data, out.len);
	stored = out.data + PACK_SEGMENT_HEADER_LEN;
	for (uint32_t len = 0; len < LEN; len += 97) { /* a shorter one, none at all */
		int rc = pack_decode(back, codec, &s, stored, base, len, &err);

		assert_true(rc == LARDER_ERR_CORRUPT || memcmp(back, bytes, LEN) != 0);
	}
	base[100] ^= 1;
	assert_ok(pack_decode(back, codec, &s, stored, base, LEN, &err), &err);
	assert_memory_not_equal(back, bytes, LEN);
	buf_release(&out);
	free(base);
	free(bytes);
	free(back);
	pack_codec_close(codec);
}

static void
headers_that_nobody_checked_are_refused(void **state)
{
	static const struct pack_segment rows[] = {
		{ PACK_PLAIN_MAX + 1, 10, PACK_CODEC_ZSTD, 0, PACK_TYPE_DATA, { { 0 } } },
		{ 100, 31, PACK_CODEC_ZSTD_BASE, 1, PACK_TYPE_DATA, { { 0 } } },
		{ 10, 10, (enum pack_codec_kind)3, 0, PACK_TYPE_DATA, { { 0 } } },
		{ 10, 9, PACK_CODEC_STORED, 0, PACK_TYPE_DATA, { { 0 } } },
		{ 9, 10, PACK_CODEC_STORED, 0, PACK_TYPE_DATA, { { 0 } } },
	};
	struct pack_codec *codec = open_codec();
	uint8_t stored[64] = { 0 }, back[64];

	(void)state;
	for (size_t i = 0; i < test_count(rows); i++)
		assert_status(LARDER_ERR_CORRUPT,
		    pack_decode(back, codec, &rows[i], stored, NULL, 0, NULL), NULL);
	pack_codec_close(codec);
}

/* ---- columns ---- */

static void
columns_are_squeezed_only_when_that_helps(void **state)
{
	struct pack_codec *codec = open_codec();
	uint8_t *bytes = text(1000, 21), *random = noise(1000, 22), back[1000];
	struct larder_err err = { 0 };
	struct buf out = { 0 };

	(void)state;
	assert_ok(codec_squeeze(&out, codec, bytes, 1000, 3, &err), &err);
	assert_in_range(out.len, 1, 999);
	assert_ok(codec_unsqueeze(back, 1000, codec, out.data, out.len, &err), &err);
	assert_memory_equal(back, bytes, 1000);
	assert_status(
	    LARDER_ERR_CORRUPT, codec_unsqueeze(back, 999, codec, out.data, out.len, NULL), NULL);
	buf_clear(&out);
	assert_int_equal(codec_squeeze(&out, codec, random, 1000, 3, &err), 1);
	assert_int_equal(codec_squeeze(&out, codec, bytes, 5, 3, &err), 1);
	assert_int_equal(codec_squeeze(&out, codec, bytes, 0, 3, &err), 1);
	assert_int_equal(out.len, 0);
	buf_release(&out);
	free(bytes);
	free(random);
	pack_codec_close(codec);
}

/* ---- memory ---- */

/* Deltas, groups and noise of growing and shrinking sizes, encoded and decoded. */
static int
work(struct pack_codec *codec, struct buf *out, const uint8_t *bytes, const uint8_t *base,
    uint8_t *back, struct larder_err *err)
{
	int rc = 0;

	for (uint32_t i = 0; i < 300 && rc == 0; i++) {
		struct pack_plain plain = { .data = bytes, .len = 300 + i * 37, .level = 3 };
		struct pack_segment s;

		if (i % 3 != 0 || i % 150 > 5) {
			plain.base = base;
			plain.base_len = plain.len + 11;
			plain.base_id = &base_id;
		} else {
			plain.len = 100000 + i * 500;
			plain.level = 1 + (int)i % 2 * 2;
		}
		buf_clear(out);
		rc = pack_encode(out, codec, &plain, 0, err);
		if (rc != 0)
			break;
		s = header_of(out->data, out->len);
		rc = pack_decode(back, codec, &s, out->data + PACK_SEGMENT_HEADER_LEN, plain.base,
		    plain.base_len, err);
		if (rc == 0)
			assert_memory_equal(back, bytes, plain.len);
	}
	return rc;
}

static void
in_the_long_run_a_call_allocates_nothing(void **state)
{
	uint8_t *bytes = text(300000, 23), *base = text(300000, 23), *back = malloc(300000);
	struct pack_codec *codec;
	struct larder_err err = { 0 };
	struct buf out = { 0 };
	long before;

	(void)state;
	bytes[200] ^= 1;
	mem_faulty_set(0, false);
	codec = open_codec();
	for (int i = 0; i < 3; i++)
		assert_ok(work(codec, &out, bytes, base, back, &err), &err);
	before = mem_faulty_calls();
	for (int i = 0; i < 3; i++)
		assert_ok(work(codec, &out, bytes, base, back, &err), &err);
	assert_int_equal(mem_faulty_calls(), before);
	pack_codec_close(codec);
	buf_release(&out);
	assert_int_equal(mem_faulty_live(), 0);
	free(bytes);
	free(base);
	free(back);
}

static void
memory_that_fails_anywhere_is_an_error_and_the_next_try_works(void **state)
{
	uint8_t *bytes = text(300000, 24), *base = text(300000, 24), *back = malloc(300000);
	long nth = 1;
	bool failed = true;

	(void)state;
	bytes[200] ^= 1;
	for (; failed; nth++) {
		struct pack_codec *codec = NULL;
		struct larder_err err = { 0 };
		struct buf out = { 0 };
		int rc;

		mem_faulty_set(nth, false);
		rc = pack_codec_open(&codec, &err);
		if (rc == 0)
			rc = work(codec, &out, bytes, base, back, &err);
		failed = mem_faulty_failed();
		assert_status(failed ? LARDER_ERR_NOMEM : LARDER_OK, rc, &err);
		if (failed)
			assert_int_equal(out.len, 0);
		if (codec != NULL)
			assert_ok(work(codec, &out, bytes, base, back, &err), &err);
		buf_release(&out);
		pack_codec_close(codec);
		assert_int_equal(mem_faulty_live(), 0);
	}
	assert_in_range(nth, 6, 100);
	pack_codec_close(NULL);
	free(bytes);
	free(base);
	free(back);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(text_of_every_length_comes_back_at_every_level),
		test_case(the_longest_segment_comes_back),
		test_case(a_small_change_of_the_base_takes_few_bytes_and_names_the_base),
		test_case(the_start_of_a_long_base_is_in_reach_at_level_1),
		test_case(a_base_that_looks_like_a_zstd_dictionary_is_plain_bytes),
		test_case(noise_is_stored_as_it_is),
		test_case(noise_with_text_in_a_probed_place_is_tried),
		test_case(bytes_with_a_slight_alphabet_are_tried),
		test_case(level_0_stores_also_with_a_base),
		test_case(a_delta_over_the_limit_is_given_up_and_one_at_it_is_not),
		test_case(after_giving_up_the_next_segment_is_right),
		test_case(frames_say_their_length_in_few_bytes_and_nothing_else),
		test_case(frames_of_another_make_are_refused),
		test_case(frames_that_claim_something_else_are_refused_and_say_why),
		test_case(a_frame_cut_anywhere_is_refused_and_a_changed_one_never_writes_outside),
		test_case(another_base_never_gives_the_same_bytes),
		test_case(headers_that_nobody_checked_are_refused),
		test_case(columns_are_squeezed_only_when_that_helps),
		test_case(in_the_long_run_a_call_allocates_nothing),
		test_case(memory_that_fails_anywhere_is_an_error_and_the_next_try_works),
	};

	return test_run(cases);
}
