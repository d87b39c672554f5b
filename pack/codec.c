/*
 * The one door to zstd.
 *
 * 1. A frame leaves this file only after it was decoded and compared.
 * 2. A frame is looked at before zstd sees it: it must say that it holds exactly
 *    the bytes the segment's header promises, in one window of that size, with
 *    nothing behind it. zstd then writes into a buffer of exactly that length.
 *    No number from a pack sizes anything in zstd.
 * 3. Contexts, the copy for the comparison and the memory zstd asks for in
 *    between are kept, so that in the long run a call allocates nothing. zstd
 *    gives back and asks again when sizes change, and for every frame with a
 *    base; `spares` answers those.
 *
 * Why no tuned tables for small deltas: given both lengths, zstd picks small ones
 * by itself, and a context that is used again need not clear them. Smaller hash
 * tables were no faster and made larger frames; 4 KiB against 4 KiB goes at 190,000
 * a second with zstd's own choice at level 3 (tests/bench/b_codec.c). Set are only
 * what a large base needs: a window over base and plain together, and a hash table
 * with a slot for every eight bytes of them, since zstd loads no more of a base than
 * that. Without these a 1 MiB chunk with four small changes took 86 KB at level 1
 * instead of 0.3 KB.
 */
#define ZSTD_STATIC_LINKING_ONLY /* custom allocation, so that the seam for memory sees it */
#include "pack/codec.h"

#include <assert.h>
#include <string.h>

#include <zstd.h>
#include <zstd_errors.h>

#include "cas/base/bytes.h"
#include "cas/base/err.h"
#include "cas/base/mem.h"
#include "pack/format.h"

enum {
	PROBE_LEN = 4 * 1024,     /* bytes of a probe ... */
	PROBE_EVERY = 128 * 1024, /* ... in so many bytes of data */
	PROBE_GAIN = 32,          /* a probe that shrinks by a 32nd is worth trying */
	PROBE_LEVEL = 1,
	/* zstd gives up early when a block would nearly fill the room it has */
	GIVE_UP_SLACK = 64,
	SPARE_COUNT = 4,
	WINDOW_LOG_MIN = 10,
	BYTES_PER_SLOT_LOG = 3,
	/* up to this window zstd's own tables are always at least so large */
	HASH_FINE_WINDOW_LOG = 16,
};
static_assert(PACK_PLAIN_MAX <= 1 << 23, "base and plain together fit a window of 2^24");

struct pack_codec {
	ZSTD_CCtx *compress;
	ZSTD_DCtx *decompress;
	int level; /* what `compress` is set to; valid when it is there */
	int window_log;
	int hash_log;
	uint8_t *again; /* what a new frame decodes to; also the probe's output */
	size_t again_room;
	void *spares[SPARE_COUNT]; /* blocks that zstd gave back, NULL = none */
};

/* ---- zstd's memory ---- */

/* In front of each block that zstd gets: its size. Keeps the alignment of malloc. */
union block_head {
	size_t size;
	max_align_t align;
};

static void *
lend_block(void *opaque, size_t size)
{
	struct pack_codec *codec = opaque;
	union block_head *head;
	int best = -1;

	for (int i = 0; i < SPARE_COUNT; i++) {
		const union block_head *spare = codec->spares[i];

		if (spare == NULL || spare->size < size)
			continue;
		if (best < 0 || spare->size < ((union block_head *)codec->spares[best])->size)
			best = i;
	}
	if (best >= 0) {
		head = codec->spares[best];
		codec->spares[best] = NULL;
		return head + 1;
	}
	if (size > SIZE_MAX - sizeof *head)
		return NULL;
	head = mem_alloc(sizeof *head + size);
	if (head == NULL)
		return NULL;
	head->size = size;
	return head + 1;
}

/* Keeps the block, or if there are too many, lets the smallest go. */
static void
take_back_block(void *opaque, void *address)
{
	struct pack_codec *codec = opaque;
	union block_head *head = address;
	int least = 0;

	if (address == NULL)
		return;
	head--;
	for (int i = 0; i < SPARE_COUNT; i++) {
		if (codec->spares[i] == NULL) {
			codec->spares[i] = head;
			return;
		}
		if (((union block_head *)codec->spares[i])->size <
		    ((union block_head *)codec->spares[least])->size)
			least = i;
	}
	if (((union block_head *)codec->spares[least])->size < head->size) {
		void *smaller = codec->spares[least];

		codec->spares[least] = head;
		head = smaller;
	}
	mem_free(head);
}

int
pack_codec_open(struct pack_codec **out, struct larder_err *err)
{
	*out = mem_zalloc(sizeof **out);
	return *out == NULL ? err_nomem(err) : LARDER_OK;
}

void
pack_codec_close(struct pack_codec *codec)
{
	if (codec == NULL)
		return;
	ZSTD_freeCCtx(codec->compress);
	ZSTD_freeDCtx(codec->decompress);
	for (int i = 0; i < SPARE_COUNT; i++)
		mem_free(codec->spares[i]);
	mem_free(codec->again);
	mem_free(codec);
}

static bool
need_again(struct pack_codec *codec, size_t len)
{
	size_t room = codec->again_room < PROBE_LEN ? PROBE_LEN : codec->again_room;
	uint8_t *again;

	if (codec->again_room >= len && codec->again != NULL)
		return true;
	while (room < len)
		room *= 2;
	again = mem_alloc(room); /* nothing to copy */
	if (again == NULL)
		return false;
	mem_free(codec->again);
	codec->again = again;
	codec->again_room = room;
	return true;
}

/* ---- one frame ---- */

static int
smallest_window_log(size_t len)
{
	int log = WINDOW_LOG_MIN;

	while ((size_t)1 << log < len)
		log++;
	return log;
}

/* 0 = zstd's choice for level and sizes; else more than that. */
static int
hash_log_for(int level, int window_log, size_t plain_len, size_t base_len)
{
	const int wanted = window_log - BYTES_PER_SLOT_LOG;
	ZSTD_compressionParameters chosen;

	if (base_len == 0 || window_log <= HASH_FINE_WINDOW_LOG)
		return 0;
	chosen = ZSTD_getCParams(level, plain_len, base_len);
	return (int)chosen.hashLog >= wanted ? 0 : wanted;
}

/* Everything else stays as zstd chooses it for the sizes it is given. */
static bool
set_up_compress(struct pack_codec *codec, int level, int window_log, int hash_log)
{
	const ZSTD_customMem memory = { lend_block, take_back_block, codec };
	ZSTD_CCtx *c = codec->compress;

	if (c == NULL) {
		c = ZSTD_createCCtx_advanced(memory);
		if (c == NULL)
			return false;
		codec->compress = c;
		codec->level = 0;
		codec->window_log = 0;
		codec->hash_log = 0;
		ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 0); /* the segment has its own */
		ZSTD_CCtx_setParameter(c, ZSTD_c_dictIDFlag, 0);
		ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, 1);
	}
	ZSTD_CCtx_reset(c, ZSTD_reset_session_only); /* also after a frame that did not fit */
	if (codec->level != level)
		ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, level);
	if (codec->window_log != window_log)
		ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, window_log);
	if (codec->hash_log != hash_log)
		ZSTD_CCtx_setParameter(c, ZSTD_c_hashLog, hash_log);
	codec->level = level;
	codec->window_log = window_log;
	codec->hash_log = hash_log;
	return true;
}

/*
 * Compresses into out[0, room). Returns the frame's length; 0 when it does not
 * fit (or zstd does not want to); NOMEM.
 */
static int64_t
compress_frame(uint8_t *out, size_t room, struct pack_codec *codec, const uint8_t *plain,
    size_t plain_len, const uint8_t *base, size_t base_len, int level)
{
	const int window_log = smallest_window_log(base_len + plain_len);
	size_t n;

	if (!set_up_compress(
		codec, level, window_log, hash_log_for(level, window_log, plain_len, base_len)))
		return LARDER_ERR_NOMEM;
	n = ZSTD_CCtx_refPrefix(codec->compress, base, base_len);
	if (!ZSTD_isError(n))
		n = ZSTD_compress2(codec->compress, out, room, plain, plain_len);
	if (ZSTD_isError(n))
		return ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation ? LARDER_ERR_NOMEM : 0;
	return (int64_t)n;
}

/*
 * The head of a zstd frame (RFC 8878, 3.1.1.1) as compress_frame makes it:
 *
 *   4 bytes  magic 0xFD2FB528, little-endian
 *   1 byte   bits 7-6 size of the content size: 1, 2, 4 or 8 bytes
 *            bit 5 single segment: 1, so there is no window descriptor
 *            bit 4 unused, bit 3 reserved, bit 2 checksum, bits 1-0 dictionary id: 0
 *   n bytes  content size, little-endian; the 2-byte form counts from 256
 *
 * Anything else is refused before zstd sees it.
 */
static const char *
frame_complaint(const uint8_t *frame, size_t len, size_t plain_len)
{
	uint64_t size;
	unsigned kind;

	if (len < 6 || get_le32(frame) != ZSTD_MAGICNUMBER)
		return "not a zstd frame";
	if ((frame[4] & 0x3f) != 0x20)
		return "zstd frame with a window, checksum or dictionary of its own";
	kind = frame[4] >> 6;
	if (len < 5 + ((size_t)1 << kind))
		return "zstd frame cut short";
	switch (kind) {
	case 0:
		size = frame[5];
		break;
	case 1:
		size = 256 + (uint64_t)get_le16(frame + 5);
		break;
	case 2:
		size = get_le32(frame + 5);
		break;
	default:
		size = get_le64(frame + 5);
		break;
	}
	if (size != plain_len)
		return "zstd frame of another length";
	if (ZSTD_findFrameCompressedSize(frame, len) != len)
		return "zstd frame cut short, or with bytes behind it";
	return NULL;
}

/* 0; NOMEM; or CORRUPT with *why set. */
static int
decompress_frame(uint8_t *out, size_t plain_len, struct pack_codec *codec, const uint8_t *frame,
    size_t len, const uint8_t *base, size_t base_len, const char **why)
{
	const ZSTD_customMem memory = { lend_block, take_back_block, codec };
	size_t n;

	*why = frame_complaint(frame, len, plain_len);
	if (*why != NULL)
		return LARDER_ERR_CORRUPT;
	if (codec->decompress == NULL)
		codec->decompress = ZSTD_createDCtx_advanced(memory);
	if (codec->decompress == NULL)
		return LARDER_ERR_NOMEM;

	/* also without a base: drops what a failed call may have left */
	n = ZSTD_DCtx_refPrefix(codec->decompress, base, base_len);
	if (!ZSTD_isError(n))
		n = ZSTD_decompressDCtx(codec->decompress, out, plain_len, frame, len);
	if (ZSTD_isError(n)) {
		if (ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation)
			return LARDER_ERR_NOMEM;
		*why = ZSTD_getErrorName(n);
		return LARDER_ERR_CORRUPT;
	}
	if (n != plain_len) {
		*why = "zstd frame gave too few bytes";
		return LARDER_ERR_CORRUPT;
	}
	return LARDER_OK;
}

/*
 * A frame of at most len_max bytes that was decoded and compared, in out[0, room).
 * Returns its length; 0 when there is none; NOMEM.
 */
static int64_t
make_frame(uint8_t *out, size_t room, size_t len_max, struct pack_codec *codec,
    const uint8_t *plain, size_t plain_len, const uint8_t *base, size_t base_len, int level)
{
	const char *why;
	int64_t len;
	int rc;

	if (room > len_max && room - len_max > GIVE_UP_SLACK)
		room = len_max + GIVE_UP_SLACK;
	len = compress_frame(out, room, codec, plain, plain_len, base, base_len, level);
	if (len < 0 || (uint64_t)len > len_max)
		return len < 0 ? len : 0;
	if (len == 0)
		return 0;
	if (!need_again(codec, plain_len))
		return LARDER_ERR_NOMEM;
	rc = decompress_frame(
	    codec->again, plain_len, codec, out, (size_t)len, base, base_len, &why);
	if (rc == LARDER_ERR_NOMEM)
		return rc;
	return rc == 0 && memcmp(codec->again, plain, plain_len) == 0 ? len : 0;
}

/* ---- is it worth trying? ---- */

/*
 * Bytes that are all equally likely collide least. Random data of PROBE_LEN has
 * a sum of squared counts near n + n^2/256; twice that is text, code, anything
 * with an alphabet, and no compressor need be asked.
 */
static bool
has_an_alphabet(const uint8_t *probe)
{
	uint16_t count[4][256] = { { 0 } };
	uint64_t squares = 0;

	for (int i = 0; i < PROBE_LEN; i += 4) {
		count[0][probe[i]]++;
		count[1][probe[i + 1]]++;
		count[2][probe[i + 2]]++;
		count[3][probe[i + 3]]++;
	}
	for (int i = 0; i < 256; i++) {
		const uint64_t n = (uint64_t)count[0][i] + count[1][i] + count[2][i] + count[3][i];

		squares += n * n;
	}
	return squares > 2 * (PROBE_LEN + (uint64_t)PROBE_LEN * PROBE_LEN / 256);
}

/* 1 yes, 0 no, NOMEM. The probe lies in the middle of its piece: heads of files lie. */
static int
looks_incompressible(struct pack_codec *codec, const uint8_t *plain, size_t len)
{
	if (len <= PROBE_LEN) /* trying costs no more than asking */
		return 0;
	if (!need_again(codec, PROBE_LEN))
		return LARDER_ERR_NOMEM;
	for (size_t at = 0; at < len; at += PROBE_EVERY) {
		const size_t piece = len - at < PROBE_EVERY ? len - at : PROBE_EVERY;
		const uint8_t *probe;
		int64_t n;

		if (piece < PROBE_LEN)
			break;
		probe = plain + at + (piece - PROBE_LEN) / 2;
		if (has_an_alphabet(probe))
			return 0;
		n = compress_frame(codec->again, PROBE_LEN - PROBE_LEN / PROBE_GAIN, codec, probe,
		    PROBE_LEN, NULL, 0, PROBE_LEVEL);
		if (n != 0)
			return n < 0 ? (int)n : 0;
	}
	return 1;
}

/* ---- segments ---- */

/* Payload length into s->store_len and the rest of the header; 1 = store it as it is; NOMEM. */
static int
try_zstd(struct pack_segment *s, uint8_t *stored, size_t room, struct pack_codec *codec,
    const struct pack_plain *plain)
{
	int64_t n;
	int rc;

	rc = looks_incompressible(codec, plain->data, plain->len);
	if (rc != 0)
		return rc;
	n = make_frame(
	    stored, room, plain->len - 1, codec, plain->data, plain->len, NULL, 0, plain->level);
	if (n <= 0)
		return n < 0 ? (int)n : 1;
	s->codec = PACK_CODEC_ZSTD;
	s->store_len = (uint32_t)n;
	return LARDER_OK;
}

static int
try_base(struct pack_segment *s, uint8_t *stored, size_t room, struct pack_codec *codec,
    const struct pack_plain *plain, uint32_t store_len_max)
{
	size_t len_max;
	int64_t n;

	if (plain->len <= LARDER_ID_LEN + 1)
		return 1;
	len_max = plain->len - LARDER_ID_LEN - 1;
	if (store_len_max != 0 && store_len_max < len_max)
		len_max = store_len_max;
	n = make_frame(stored + LARDER_ID_LEN, room - LARDER_ID_LEN, len_max, codec, plain->data,
	    plain->len, plain->base, plain->base_len, plain->level);
	if (n <= 0)
		return n < 0 ? (int)n : 1;
	memcpy(stored, plain->base_id->bytes, LARDER_ID_LEN);
	s->codec = PACK_CODEC_ZSTD_BASE;
	s->depth = plain->base_depth + 1;
	s->base = *plain->base_id;
	s->store_len = (uint32_t)(LARDER_ID_LEN + n);
	return LARDER_OK;
}

int
pack_encode(struct buf *out, struct pack_codec *codec, const struct pack_plain *plain,
    uint32_t store_len_max, struct larder_err *err)
{
	const bool with_base = plain->base_id != NULL && plain->level != 0;
	const size_t room = LARDER_ID_LEN + ZSTD_compressBound(plain->len);
	struct pack_segment segment = { .plain_len = plain->len, .type = plain->type };
	uint8_t *header, *stored;
	int rc;

	assert(plain->len >= 1 && plain->len <= PACK_PLAIN_MAX && plain->level <= PACK_LEVEL_MAX);
	assert(!with_base ||
	       (plain->base_len <= PACK_PLAIN_MAX && plain->base_depth < PACK_DEPTH_MAX));

	rc = buf_reserve(out, PACK_SEGMENT_HEADER_LEN + room);
	if (rc < 0)
		return buf_err(out, rc, err);
	header = out->data + out->len;
	stored = header + PACK_SEGMENT_HEADER_LEN;

	rc = 1;
	if (with_base) {
		rc = try_base(&segment, stored, room, codec, plain, store_len_max);
		if (rc == 1 && store_len_max != 0)
			return 1;
	} else if (plain->level != 0) {
		rc = try_zstd(&segment, stored, room, codec, plain);
	}
	if (rc < 0)
		return err_nomem(err);
	if (rc == 1) {
		segment.codec = PACK_CODEC_STORED;
		segment.store_len = plain->len;
		memcpy(stored, plain->data, plain->len);
	}

	pack_segment_encode(header, &segment);
	out->len += PACK_SEGMENT_HEADER_LEN + segment.store_len;
	return LARDER_OK;
}

int
pack_decode(uint8_t *out, struct pack_codec *codec, const struct pack_segment *segment,
    const uint8_t *stored, const uint8_t *base, uint32_t base_len, struct larder_err *err)
{
	const size_t skip = segment->codec == PACK_CODEC_ZSTD_BASE ? LARDER_ID_LEN : 0;
	const char *why;
	int rc;

	if (segment->plain_len > PACK_PLAIN_MAX || segment->store_len < skip ||
	    segment->codec > PACK_CODEC_ZSTD_BASE)
		return err_set(err, LARDER_ERR_CORRUPT, "segment header was not checked");
	if (segment->codec == PACK_CODEC_STORED) {
		if (segment->store_len != segment->plain_len)
			return err_set(err, LARDER_ERR_CORRUPT,
			    "stored segment of %u bytes, not %u", segment->store_len,
			    segment->plain_len);
		memcpy(out, stored, segment->plain_len);
		return LARDER_OK;
	}
	if (skip == 0)
		base_len = 0;
	rc = decompress_frame(out, segment->plain_len, codec, stored + skip,
	    segment->store_len - skip, base_len > 0 ? base : NULL, base_len, &why);
	if (rc == LARDER_ERR_NOMEM)
		return err_nomem(err);
	if (rc < 0)
		return err_set(err, LARDER_ERR_CORRUPT, "%s", why);
	return LARDER_OK;
}

/* ---- columns ---- */

int
codec_squeeze(struct buf *out, struct pack_codec *codec, const uint8_t *in, size_t in_len,
    int level, struct larder_err *err)
{
	const size_t room = ZSTD_compressBound(in_len);
	int64_t n;
	int rc;

	rc = buf_reserve(out, room);
	if (rc < 0)
		return buf_err(out, rc, err);
	n = in_len < 1 ? 0
		       : make_frame(out->data + out->len, room, in_len - 1, codec, in, in_len, NULL,
			     0, level);
	if (n < 0)
		return err_nomem(err);
	out->len += (size_t)n;
	return n == 0 ? 1 : LARDER_OK;
}

int
codec_unsqueeze(uint8_t *out, size_t out_len, struct pack_codec *codec, const uint8_t *in,
    size_t in_len, struct larder_err *err)
{
	const char *why;
	int rc;

	rc = decompress_frame(out, out_len, codec, in, in_len, NULL, 0, &why);
	if (rc == LARDER_ERR_NOMEM)
		return err_nomem(err);
	if (rc < 0)
		return err_set(err, LARDER_ERR_CORRUPT, "%s", why);
	return LARDER_OK;
}
