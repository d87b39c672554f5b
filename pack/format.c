/*
 * The bytes of a pack, both directions, without I/O. FORMAT.md is the text.
 *
 * 1. What is encoded here is decoded here: a change of one is a change of both.
 * 2. Encoders assert what the caller promised; decoders believe nothing. A
 *    number from a pack is compared with a limit, or with the bytes that are
 *    there, before it sizes an allocation.
 * 3. A checksum is looked at before the version, so that a flipped bit in the
 *    version is damage and not a call for a newer larder.
 * 4. There is one encoding of each header, footer and column: what is decoded
 *    and encoded again is the same bytes, or was refused. (Compressed columns
 *    depend on zstd's version; their plain form does not.)
 */
#include "pack/format.h"

#include <assert.h>
#include <string.h>

#include "cas/base/bytes.h"
#include "cas/base/crc32c.h"
#include "cas/base/cursor.h"
#include "cas/base/err.h"
#include "cas/base/mem.h"
#include "cas/base/sha256.h"
#include "pack/codec.h"

static_assert(4 + 2 + 2 + 4 + ID16_LEN + 4 == PACK_HEADER_LEN, "header fields add up");
static_assert(4 + 4 + 1 + 1 + 1 + 1 == PACK_SEGMENT_CHECKED_LEN, "segment fields add up");
static_assert(PACK_SEGMENT_CHECKED_LEN + 4 == PACK_SEGMENT_HEADER_LEN, "and its checksum");
static_assert(4 + 4 + 4 + 1 + 3 == PACK_DIRECTORY_HEAD_LEN, "directory head fields add up");
static_assert(LARDER_ID_LEN + ID16_LEN + 4 + 4 + 4 + 2 + 2 + 4 + 4 == PACK_FOOTER_LEN,
    "footer fields add up");
static_assert(PACK_DEPTH_MAX < 0x80 && PACK_TYPE_COUNT < 0x80, "one byte as a varint");

static const uint8_t header_magic[4] = { 'L', 'P', 'A', 'K' };
static const uint8_t footer_magic[4] = { 'K', 'A', 'P', 'L' };

enum { COLUMNS_PLAIN = 0, COLUMNS_ZSTD = 1 };
enum { COLUMNS_LEVEL = 3 };
/* a varint of what is behind a segment's header, of a chunk's length, of a count */
enum { STORED_VARINT_MAX = 4, LENGTH_VARINT_MAX = 4, COUNT_VARINT_MAX = 3 };
static_assert(PACK_PLAIN_MAX < 1 << 28, "four bytes as a varint");
static_assert(PACK_CHUNKS_MAX < 1 << 21, "three bytes as a varint");

/* ---- header ---- */

void
pack_header_encode(uint8_t out[PACK_HEADER_LEN], const struct pack_header *header)
{
	memcpy(out, header_magic, 4);
	put_le16(out + 4, PACK_VERSION);
	put_le16(out + 6, header->optional);
	put_le32(out + 8, header->required);
	memcpy(out + 12, header->id.bytes, ID16_LEN);
	put_le32(out + 28, crc32c(0, out, 28));
}

static int
check_version(unsigned version, uint32_t required, struct larder_err *err)
{
	if (version == 0)
		return err_set(err, LARDER_ERR_CORRUPT, "pack format version 0");
	if (version > PACK_VERSION)
		return err_set(err, LARDER_ERR_VERSION,
		    "pack has format version %u, this larder reads %d", version, PACK_VERSION);
	if ((required & ~(uint32_t)PACK_REQUIRES_KNOWN) != 0)
		return err_set(err, LARDER_ERR_VERSION,
		    "pack requires features 0x%x that this larder does not know",
		    required & ~(uint32_t)PACK_REQUIRES_KNOWN);
	return LARDER_OK;
}

int
pack_header_decode(
    struct pack_header *out, const uint8_t *in, size_t in_len, struct larder_err *err)
{
	struct pack_header header;
	int rc;

	if (in_len < PACK_HEADER_LEN)
		return err_set(err, LARDER_ERR_CORRUPT, "pack header cut short: %zu of %d bytes",
		    in_len, PACK_HEADER_LEN);
	if (memcmp(in, header_magic, 4) != 0)
		return err_set(err, LARDER_ERR_CORRUPT, "does not start like a pack");
	if (get_le32(in + 28) != crc32c(0, in, 28))
		return err_set(err, LARDER_ERR_CORRUPT, "pack header does not match its checksum");

	header.optional = get_le16(in + 6);
	header.required = get_le32(in + 8);
	memcpy(header.id.bytes, in + 12, ID16_LEN);
	rc = check_version(get_le16(in + 4), header.required, err);
	if (rc < 0)
		return rc;
	*out = header;
	return LARDER_OK;
}

/* ---- segment ---- */

uint32_t
pack_segment_crc(
    const uint8_t header[PACK_SEGMENT_CHECKED_LEN], const uint8_t *stored, size_t store_len)
{
	return crc32c(crc32c(0, header, PACK_SEGMENT_CHECKED_LEN), stored, store_len);
}

/* NULL when a header may say this, else what is wrong, and with which number. */
static const char *
segment_complaint(uint32_t *number, const struct pack_segment *s)
{
	*number = s->plain_len;
	if (s->plain_len < 1 || s->plain_len > PACK_PLAIN_MAX)
		return "impossible number of plain bytes";
	*number = (uint32_t)s->codec;
	if (s->codec > PACK_CODEC_ZSTD_BASE)
		return "unknown codec";
	*number = (uint32_t)s->type;
	if (s->type >= PACK_TYPE_COUNT)
		return "unknown type";
	*number = s->depth;
	if (s->depth > PACK_DEPTH_MAX)
		return "depth beyond PACK_DEPTH_MAX";
	if ((s->depth > 0) != (s->codec == PACK_CODEC_ZSTD_BASE))
		return "depth does not go with the codec";

	*number = s->store_len;
	if (s->codec == PACK_CODEC_STORED)
		return s->store_len == s->plain_len ? NULL : "stored, but not at its plain length";
	if (s->store_len <= (s->codec == PACK_CODEC_ZSTD_BASE ? LARDER_ID_LEN : 0))
		return "no payload in its stored bytes";
	if (s->store_len >= s->plain_len) /* else it would have been stored */
		return "compressed, but has not shrunk: stored bytes";
	return NULL;
}

void
pack_segment_encode(uint8_t *header_and_stored, const struct pack_segment *segment)
{
	uint8_t *p = header_and_stored;
	uint32_t number;
	const char *complaint = segment_complaint(&number, segment);

	assert(complaint == NULL);

	put_le32(p, segment->plain_len);
	put_le32(p + 4, segment->store_len);
	p[8] = (uint8_t)segment->codec;
	p[9] = (uint8_t)segment->depth;
	p[10] = (uint8_t)segment->type;
	p[11] = 0;
	put_le32(p + 12, pack_segment_crc(p, p + PACK_SEGMENT_HEADER_LEN, segment->store_len));
}

int
pack_segment_decode(struct pack_segment *out, uint32_t *crc, const uint8_t *in, size_t in_len,
    struct larder_err *err)
{
	struct pack_segment s = { 0 };
	const char *complaint;
	uint32_t number;

	if (in_len < PACK_SEGMENT_HEADER_LEN)
		return err_set(err, LARDER_ERR_CORRUPT, "segment header cut short: %zu of %d bytes",
		    in_len, PACK_SEGMENT_HEADER_LEN);

	s.plain_len = get_le32(in);
	s.store_len = get_le32(in + 4);
	s.codec = (enum pack_codec_kind)in[8];
	s.depth = in[9];
	s.type = (enum pack_type)in[10];
	if (in[11] != 0)
		return err_set(
		    err, LARDER_ERR_CORRUPT, "segment header: reserved byte is not zero");
	complaint = segment_complaint(&number, &s);
	if (complaint != NULL)
		return err_set(
		    err, LARDER_ERR_CORRUPT, "segment header: %s: %u", complaint, number);

	if (crc != NULL)
		*crc = get_le32(in + 12);
	*out = s;
	return LARDER_OK;
}

/* ---- directory ---- */

static uint64_t
columns_len_max(uint64_t segment_count, uint64_t chunk_count)
{
	return segment_count * (STORED_VARINT_MAX + COUNT_VARINT_MAX + 1 + 1) +
	       chunk_count * LENGTH_VARINT_MAX;
}

uint64_t
pack_directory_len_max(uint64_t segment_count, uint64_t chunk_count)
{
	return PACK_DIRECTORY_HEAD_LEN + chunk_count * LARDER_ID_LEN +
	       columns_len_max(segment_count, chunk_count);
}

static int
encode_columns(struct buf *out, const struct pack_directory *d)
{
	int rc = LARDER_OK;

	for (uint32_t i = 0; i < d->segment_count && rc == 0; i++)
		rc = buf_append_varint(out, d->segments[i].len - PACK_SEGMENT_HEADER_LEN);
	for (uint32_t i = 0; i < d->segment_count && rc == 0; i++)
		rc = buf_append_varint(out, d->segments[i].chunk_count);
	for (uint32_t i = 0; i < d->segment_count && rc == 0; i++)
		rc = buf_append_varint(out, d->segments[i].depth);
	for (uint32_t i = 0; i < d->segment_count && rc == 0; i++)
		rc = buf_append_varint(out, d->segments[i].type);
	for (uint32_t i = 0; i < d->chunk_count && rc == 0; i++)
		rc = buf_append_varint(out, d->lengths[i]);
	return rc;
}

int
pack_directory_encode(struct buf *out, struct pack_codec *codec,
    const struct pack_directory *directory, struct larder_err *err)
{
	uint8_t head[PACK_DIRECTORY_HEAD_LEN] = { 0 };
	const size_t start = out->len;
	struct buf columns = { 0 };
	int rc;

	assert(directory->segment_count >= 1 && directory->chunk_count >= directory->segment_count);
	assert(directory->chunk_count <= PACK_CHUNKS_MAX);

	buf_init(&columns, SIZE_MAX / 2);
	rc = encode_columns(&columns, directory);
	if (rc < 0) {
		buf_err(&columns, rc, err);
		goto out;
	}

	put_le32(head, directory->segment_count);
	put_le32(head + 4, directory->chunk_count);
	put_le32(head + 8, (uint32_t)columns.len);
	rc = buf_append(out, head, sizeof head);
	if (rc == 0)
		rc =
		    buf_append(out, directory->ids, (size_t)directory->chunk_count * LARDER_ID_LEN);
	if (rc < 0) {
		buf_err(out, rc, err);
		goto out;
	}

	rc = codec_squeeze(out, codec, columns.data, columns.len, COLUMNS_LEVEL, err);
	if (rc < 0)
		goto out;
	if (rc == 0) {
		out->data[start + 12] = COLUMNS_ZSTD;
		goto out;
	}
	rc = buf_append(out, columns.data, columns.len);
	if (rc < 0)
		buf_err(out, rc, err);
out:
	if (rc < 0)
		out->len = start;
	buf_release(&columns);
	return rc;
}

/* Fills segments and chunks from the columns; the directory ends at footer->directory_at. */
static int
decode_columns(
    struct pack_directory *d, struct cursor *c, uint32_t segments_end, struct larder_err *err)
{
	uint64_t at = PACK_HEADER_LEN, chunk = 0;

	for (uint32_t i = 0; i < d->segment_count; i++) {
		const uint64_t stored = cursor_varint(c);

		if (c->bad || stored < 1 || stored > PACK_PLAIN_MAX)
			return err_set(
			    err, LARDER_ERR_CORRUPT, "directory: length of segment %u", i);
		d->segments[i].at = (uint32_t)at;
		d->segments[i].len = (uint32_t)stored + PACK_SEGMENT_HEADER_LEN;
		at += d->segments[i].len;
		if (at > segments_end)
			break;
	}
	if (at != segments_end)
		return err_set(err, LARDER_ERR_CORRUPT,
		    "directory: its segments do not end where it starts, at %u", segments_end);

	for (uint32_t i = 0; i < d->segment_count; i++) {
		const uint64_t count = cursor_varint(c);

		if (c->bad || count < 1 || count > d->chunk_count - chunk)
			return err_set(
			    err, LARDER_ERR_CORRUPT, "directory: chunks of segment %u", i);
		d->segments[i].chunk_first = (uint32_t)chunk;
		d->segments[i].chunk_count = (uint32_t)count;
		chunk += count;
	}
	if (chunk != d->chunk_count)
		return err_set(err, LARDER_ERR_CORRUPT,
		    "directory: %u chunks, of which %llu in segments", d->chunk_count,
		    (unsigned long long)chunk);

	for (uint32_t i = 0; i < d->segment_count; i++) {
		const uint64_t depth = cursor_varint(c);

		if (c->bad || depth > PACK_DEPTH_MAX ||
		    (depth > 0 && d->segments[i].chunk_count != 1))
			return err_set(
			    err, LARDER_ERR_CORRUPT, "directory: depth of segment %u", i);
		d->segments[i].depth = (uint8_t)depth;
	}
	for (uint32_t i = 0; i < d->segment_count; i++) {
		const uint64_t type = cursor_varint(c);

		if (c->bad || type >= PACK_TYPE_COUNT)
			return err_set(err, LARDER_ERR_CORRUPT, "directory: type of segment %u", i);
		d->segments[i].type = (uint8_t)type;
	}

	for (uint32_t i = 0; i < d->segment_count; i++) {
		const struct pack_directory_segment *s = &d->segments[i];
		uint32_t plain = 0;

		for (uint32_t k = s->chunk_first; k < s->chunk_first + s->chunk_count; k++) {
			const uint64_t len = cursor_varint(c);

			if (c->bad || len < 1 || len > PACK_PLAIN_MAX - plain)
				return err_set(
				    err, LARDER_ERR_CORRUPT, "directory: length of chunk %u", k);
			d->chunk_ats[k] = plain;
			d->lengths[k] = (uint32_t)len;
			plain += (uint32_t)len;
		}
		/* a segment never grows: without a base at most its plain bytes, with one less */
		if (s->len - PACK_SEGMENT_HEADER_LEN > plain)
			return err_set(err, LARDER_ERR_CORRUPT,
			    "directory: segment %u has grown to %u bytes", i, s->len);
	}
	if (!cursor_done(c))
		return err_set(
		    err, LARDER_ERR_CORRUPT, "directory: %zu bytes too many", cursor_left(c));
	return LARDER_OK;
}

static int
decode_directory(struct pack_directory *d, struct pack_codec *codec, const uint8_t *in,
    size_t in_len, uint32_t segments_end, struct larder_err *err)
{
	uint8_t *unpacked = NULL;
	const uint8_t *ids;
	uint32_t columns_len;
	struct cursor c = cursor_of(in, in_len);
	unsigned columns_codec;
	int rc;

	d->segment_count = cursor_le32(&c);
	d->chunk_count = cursor_le32(&c);
	columns_len = cursor_le32(&c);
	columns_codec = cursor_u8(&c);
	if (cursor_u8(&c) != 0 || cursor_u8(&c) != 0 || cursor_u8(&c) != 0)
		return err_set(err, LARDER_ERR_CORRUPT, "directory: reserved bytes are not zero");
	if (c.bad)
		return err_set(err, LARDER_ERR_CORRUPT, "directory cut short: %zu of %d bytes",
		    in_len, PACK_DIRECTORY_HEAD_LEN);
	if (d->chunk_count < 1 || d->chunk_count > PACK_CHUNKS_MAX || d->segment_count < 1 ||
	    d->segment_count > d->chunk_count)
		return err_set(err, LARDER_ERR_CORRUPT, "directory: %u segments, %u chunks",
		    d->segment_count, d->chunk_count);
	if (columns_codec > COLUMNS_ZSTD)
		return err_set(
		    err, LARDER_ERR_CORRUPT, "directory: unknown codec %u", columns_codec);
	ids = cursor_bytes(&c, (size_t)d->chunk_count * LARDER_ID_LEN);
	if (ids == NULL)
		return err_set(err, LARDER_ERR_CORRUPT,
		    "directory: %zu bytes are too few for %u chunks", in_len, d->chunk_count);
	if (columns_len > columns_len_max(d->segment_count, d->chunk_count))
		return err_set(
		    err, LARDER_ERR_CORRUPT, "directory: columns claim %u bytes", columns_len);

	/* Only now are the counts believed: the ids of that many chunks are really there. */
	d->segments = mem_array(d->segment_count, sizeof *d->segments);
	d->ids = mem_array(d->chunk_count, sizeof *d->ids);
	d->lengths = mem_array(d->chunk_count, sizeof *d->lengths);
	d->chunk_ats = mem_array(d->chunk_count, sizeof *d->chunk_ats);
	if (d->segments == NULL || d->ids == NULL || d->lengths == NULL || d->chunk_ats == NULL)
		return err_nomem(err);
	memcpy(d->ids, ids, (size_t)d->chunk_count * LARDER_ID_LEN);

	if (columns_codec == COLUMNS_ZSTD) {
		const size_t left = cursor_left(&c);

		if (columns_len <= left)
			return err_set(
			    err, LARDER_ERR_CORRUPT, "directory: columns claim to have grown");
		unpacked = mem_alloc(columns_len);
		if (unpacked == NULL)
			return err_nomem(err);
		rc = codec_unsqueeze(unpacked, columns_len, codec, c.at, left, err);
		if (rc < 0) {
			err_prefix(err, "directory");
			goto out;
		}
		c = cursor_of(unpacked, columns_len);
	} else if (columns_len != cursor_left(&c)) {
		rc = err_set(err, LARDER_ERR_CORRUPT, "directory: columns of %zu bytes, not %u",
		    cursor_left(&c), columns_len);
		goto out;
	}
	rc = decode_columns(d, &c, segments_end, err);
out:
	mem_free(unpacked);
	return rc;
}

void
pack_directory_release(struct pack_directory *directory)
{
	mem_free(directory->segments);
	mem_free(directory->ids);
	mem_free(directory->lengths);
	mem_free(directory->chunk_ats);
	*directory = (struct pack_directory){ 0 };
}

int
pack_tail_decode(struct pack_directory *out, struct pack_codec *codec, const uint8_t *tail,
    size_t len, struct larder_err *err)
{
	struct pack_directory directory = { 0 };
	struct pack_footer footer = { 0 };
	struct larder_id digest;
	int rc;

	if (len < PACK_FOOTER_LEN)
		return err_set(err, LARDER_ERR_CORRUPT, "pack footer cut short: %zu of %d bytes",
		    len, PACK_FOOTER_LEN);
	rc = pack_footer_decode(&footer, tail + len - PACK_FOOTER_LEN, PACK_FOOTER_LEN, err);
	if (rc < 0)
		return rc;
	if (footer.directory_len != len - PACK_FOOTER_LEN)
		return err_set(err, LARDER_ERR_CORRUPT, "directory of %zu bytes, not %u",
		    len - PACK_FOOTER_LEN, footer.directory_len);
	sha256(&digest, tail, footer.directory_len);
	if (!id_equal(&digest, &footer.digest))
		return err_set(err, LARDER_ERR_CORRUPT, "directory does not match its digest");

	rc = decode_directory(
	    &directory, codec, tail, footer.directory_len, footer.directory_at, err);
	if (rc < 0)
		goto out;
	directory.id = footer.id;
	directory.file_len = (uint64_t)footer.directory_at + footer.directory_len + PACK_FOOTER_LEN;
	*out = directory;
	directory = (struct pack_directory){ 0 };
out:
	pack_directory_release(&directory);
	return rc;
}

/* ---- footer ---- */

void
pack_footer_encode(uint8_t out[PACK_FOOTER_LEN], const struct pack_footer *footer)
{
	memcpy(out, footer->digest.bytes, LARDER_ID_LEN);
	memcpy(out + 32, footer->id.bytes, ID16_LEN);
	put_le32(out + 48, footer->directory_at);
	put_le32(out + 52, footer->directory_len);
	put_le32(out + 56, footer->required);
	put_le16(out + 60, PACK_VERSION);
	put_le16(out + 62, footer->optional);
	put_le32(out + 64, crc32c(0, out, 64));
	memcpy(out + 68, footer_magic, 4);
}

int
pack_footer_decode(
    struct pack_footer *out, const uint8_t *in, size_t in_len, struct larder_err *err)
{
	struct pack_footer f;
	int rc;

	if (in_len < PACK_FOOTER_LEN)
		return err_set(err, LARDER_ERR_CORRUPT, "pack footer cut short: %zu of %d bytes",
		    in_len, PACK_FOOTER_LEN);
	if (memcmp(in + 68, footer_magic, 4) != 0)
		return err_set(
		    err, LARDER_ERR_CORRUPT, "does not end like a pack: cut short, or damaged");
	if (get_le32(in + 64) != crc32c(0, in, 64))
		return err_set(err, LARDER_ERR_CORRUPT, "pack footer does not match its checksum");

	memcpy(f.digest.bytes, in, LARDER_ID_LEN);
	memcpy(f.id.bytes, in + 32, ID16_LEN);
	f.directory_at = get_le32(in + 48);
	f.directory_len = get_le32(in + 52);
	f.required = get_le32(in + 56);
	f.optional = get_le16(in + 62);
	rc = check_version(get_le16(in + 60), f.required, err);
	if (rc < 0)
		return rc;

	if (f.directory_at < PACK_HEADER_LEN || f.directory_len < PACK_DIRECTORY_HEAD_LEN ||
	    (uint64_t)f.directory_at + f.directory_len + PACK_FOOTER_LEN > PACK_FILE_MAX)
		return err_set(err, LARDER_ERR_CORRUPT, "pack footer: directory of %u bytes at %u",
		    f.directory_len, f.directory_at);
	*out = f;
	return LARDER_OK;
}
