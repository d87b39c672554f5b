/*
 * Header, segment header, footer and directory of a pack: what is accepted is
 * encoded to the same bytes again.
 *
 * The first byte chooses the part and whether its checksums are made right
 * first, so that the fuzzer gets behind them; the rest is the part's bytes (a
 * directory has, in front, four bytes that say where it starts).
 */
#include "pack/format.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cas/base/bytes.h"
#include "cas/base/crc32c.h"
#include "cas/base/sha256.h"
#include "pack/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
try_header(uint8_t *bytes, size_t len, bool repair)
{
	struct pack_header header;
	uint8_t again[PACK_HEADER_LEN];

	if (repair && len >= PACK_HEADER_LEN)
		put_le32(bytes + 28, crc32c(0, bytes, 28));
	if (pack_header_decode(&header, bytes, len, NULL) < 0)
		return;
	pack_header_encode(again, &header);
	assert(memcmp(again, bytes, sizeof again) == 0);
}

static void
try_segment(uint8_t *bytes, size_t len, bool repair)
{
	struct pack_segment segment;
	uint8_t *again;
	uint32_t crc;

	if (pack_segment_decode(&segment, &crc, bytes, len, NULL) < 0)
		return;
	if (segment.store_len != len - PACK_SEGMENT_HEADER_LEN)
		return;
	if (repair)
		put_le32(bytes + 12, pack_segment_crc(bytes, bytes + 16, segment.store_len));
	else if (crc != pack_segment_crc(bytes, bytes + 16, segment.store_len))
		return;
	again = malloc(len);
	assert(again != NULL);
	memcpy(again, bytes, len);
	memset(again, 0xaa, PACK_SEGMENT_HEADER_LEN);
	pack_segment_encode(again, &segment);
	assert(memcmp(again, bytes, len) == 0);
	free(again);
}

static void
try_footer(uint8_t *bytes, size_t len, bool repair)
{
	struct pack_footer footer;
	uint8_t again[PACK_FOOTER_LEN];

	if (repair && len >= PACK_FOOTER_LEN)
		put_le32(bytes + 64, crc32c(0, bytes, 64));
	if (pack_footer_decode(&footer, bytes, len, NULL) < 0)
		return;
	pack_footer_encode(again, &footer);
	assert(memcmp(again, bytes, sizeof again) == 0);
}

/* What a decoded directory promises to everybody who walks it. */
static void
check_promises(const struct pack_directory *d)
{
	uint64_t at = PACK_HEADER_LEN, chunk = 0;

	for (uint32_t i = 0; i < d->segment_count; i++) {
		const struct pack_directory_segment *s = &d->segments[i];
		uint64_t plain = 0;

		assert(s->at == at && s->len > PACK_SEGMENT_HEADER_LEN);
		assert(s->chunk_first == chunk && s->chunk_count >= 1);
		assert(s->depth <= PACK_DEPTH_MAX && s->type < PACK_TYPE_COUNT);
		assert(s->depth == 0 || s->chunk_count == 1);
		at += s->len;
		chunk += s->chunk_count;
		assert(chunk <= d->chunk_count);
		for (uint32_t k = s->chunk_first; k < chunk; k++) {
			assert(d->chunk_ats[k] == plain && d->lengths[k] >= 1);
			plain += d->lengths[k];
		}
		assert(plain <= PACK_PLAIN_MAX);
	}
	assert(chunk == d->chunk_count && at < d->file_len && d->file_len <= PACK_FILE_MAX);
}

/* The columns of directory bytes that were accepted, not compressed. */
static void
columns_of(struct buf *out, struct pack_codec *codec, const uint8_t *bytes, size_t len)
{
	const uint32_t columns_len = get_le32(bytes + 8);
	const size_t skip = PACK_DIRECTORY_HEAD_LEN + (size_t)get_le32(bytes + 4) * LARDER_ID_LEN;
	int rc = buf_resize(out, columns_len);

	assert(rc == 0);
	if (bytes[12] == 0) {
		assert(len - skip == columns_len);
		memcpy(out->data, bytes + skip, columns_len);
		return;
	}
	rc = codec_unsqueeze(out->data, columns_len, codec, bytes + skip, len - skip, NULL);
	assert(rc == 0);
}

static void
try_directory(const uint8_t *bytes, size_t len)
{
	struct pack_footer footer = { 0 };
	struct buf again = { 0 }, columns = { 0 }, columns_again = { 0 };
	struct pack_directory directory = { 0 };
	struct pack_codec *codec;
	uint8_t *tail;
	int rc;

	if (len < 4)
		return;
	footer.directory_at = get_le32(bytes);
	bytes += 4;
	len -= 4;
	footer.directory_len = (uint32_t)len;
	tail = malloc(len + PACK_FOOTER_LEN);
	assert(tail != NULL);
	memcpy(tail, bytes, len);
	sha256(&footer.digest, bytes, len);
	pack_footer_encode(tail + len, &footer);
	rc = pack_codec_open(&codec, NULL);
	assert(rc == 0);
	rc = pack_tail_decode(&directory, codec, tail, len + PACK_FOOTER_LEN, NULL);
	if (rc == 0) {
		check_promises(&directory);
		rc = pack_directory_encode(&again, codec, &directory, NULL);
		assert(rc == 0);
		columns_of(&columns, codec, bytes, len);
		columns_of(&columns_again, codec, again.data, again.len);
		assert(columns.len == columns_again.len);
		assert(memcmp(columns.data, columns_again.data, columns.len) == 0);
		assert(memcmp(bytes, again.data, 12) == 0);
		assert(memcmp(bytes + 16, again.data + 16, directory.chunk_count * LARDER_ID_LEN) ==
		       0);
	}
	free(tail);
	buf_release(&again);
	buf_release(&columns);
	buf_release(&columns_again);
	pack_directory_release(&directory);
	pack_codec_close(codec);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy;
	bool repair;

	if (size < 1)
		return 0;
	repair = (data[0] & 0x80) != 0;
	copy = malloc(size); /* one byte more than needed, at the front */
	assert(copy != NULL);
	memcpy(copy, data, size);
	switch (data[0] & 3) {
	case 0:
		try_header(copy + 1, size - 1, repair);
		break;
	case 1:
		try_segment(copy + 1, size - 1, repair);
		break;
	case 2:
		try_footer(copy + 1, size - 1, repair);
		break;
	default:
		try_directory(copy + 1, size - 1);
		break;
	}
	free(copy);
	return 0;
}
