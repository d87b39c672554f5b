/*
 * Segments: what is encoded comes back, with and without a base, at any level;
 * and whatever stands where a payload should be, decoding it writes exactly
 * plain_len bytes or is CORRUPT.
 *
 * Bytes 0 to 7 are: what to do, level, length of the base (2), plain length when
 * decoding (3), how much a delta may take. Then the base, then the plain bytes
 * or the payload.
 */
#include "pack/pack.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cas/base/bytes.h"
#include "pack/format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEAD_LEN = 8, PLAIN_MAX = 256 * 1024 };

static struct pack_codec *codec; /* kept, so that calls may disturb each other */

static uint8_t *
copy_exactly(const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len == 0 ? 1 : len);

	assert(copy != NULL);
	if (len > 0)
		memcpy(copy, data, len);
	return copy;
}

static void
try_encode(
    const uint8_t *head, const uint8_t *base, uint32_t base_len, const uint8_t *data, size_t len)
{
	static const struct larder_id base_id = { { 1, 2, 3 } };
	struct pack_plain plain = {
		.data = data,
		.len = (uint32_t)len,
		.type = (enum pack_type)(head[0] % PACK_TYPE_COUNT),
		.level = (int)(head[1] % 24) - 3,
	};
	struct pack_segment segment;
	struct buf out = { 0 };
	uint8_t *back;
	uint32_t crc;
	int rc;

	if (len < 1 || len > PLAIN_MAX)
		return;
	if (base_len > 0) {
		plain.base = base;
		plain.base_len = base_len;
		plain.base_id = &base_id;
		plain.base_depth = head[0] % PACK_DEPTH_MAX;
	}
	rc = pack_encode(&out, codec, &plain, head[7], NULL);
	assert(rc == 0 || (rc == 1 && out.len == 0 && base_len > 0 && head[7] > 0));
	if (rc == 0) {
		rc = pack_segment_decode(&segment, &crc, out.data, out.len, NULL);
		assert(rc == 0 && segment.store_len == out.len - PACK_SEGMENT_HEADER_LEN);
		assert(crc == pack_segment_crc(out.data, out.data + 16, segment.store_len));
		assert(segment.plain_len == len && segment.type == plain.type);
		assert(segment.codec != PACK_CODEC_ZSTD_BASE ||
		       (segment.depth == plain.base_depth + 1 &&
			   memcmp(out.data + 16, base_id.bytes, LARDER_ID_LEN) == 0));
		back = copy_exactly(data, len);
		memset(back, 0, len);
		rc = pack_decode(back, codec, &segment, out.data + 16, base, base_len, NULL);
		assert(rc == 0 && memcmp(back, data, len) == 0);
		free(back);
	}
	buf_release(&out);
}

static void
try_decode(
    const uint8_t *head, const uint8_t *base, uint32_t base_len, const uint8_t *data, size_t len)
{
	struct pack_segment segment = {
		.plain_len =
		    1 + (head[4] | (uint32_t)head[5] << 8 | (uint32_t)head[6] << 16) % PLAIN_MAX,
		.store_len = (uint32_t)len,
		.codec = (enum pack_codec_kind)(head[0] / 2 % 3),
	};
	uint8_t *once = malloc(segment.plain_len), *twice = malloc(segment.plain_len);
	int rc;

	assert(once != NULL && twice != NULL);
	rc = pack_decode(once, codec, &segment, data, base, base_len, NULL);
	assert(rc == 0 || rc == LARDER_ERR_CORRUPT);
	if (rc == 0) {
		rc = pack_decode(twice, codec, &segment, data, base, base_len, NULL);
		assert(rc == 0 && memcmp(once, twice, segment.plain_len) == 0);
	}
	free(once);
	free(twice);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *base, *rest;
	size_t base_len;

	if (size < HEAD_LEN)
		return 0;
	if (codec == NULL && pack_codec_open(&codec, NULL) < 0)
		abort();
	base_len = get_le16(data + 2);
	if (base_len > size - HEAD_LEN)
		base_len = size - HEAD_LEN;
	base = copy_exactly(data + HEAD_LEN, base_len); /* exact, for the sanitizer */
	rest = copy_exactly(data + HEAD_LEN + base_len, size - HEAD_LEN - base_len);
	if (data[0] % 2 == 0)
		try_encode(data, base, (uint32_t)base_len, rest, size - HEAD_LEN - base_len);
	else
		try_decode(data, base, (uint32_t)base_len, rest, size - HEAD_LEN - base_len);
	free(base);
	free(rest);
	return 0;
}
