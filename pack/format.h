#ifndef LARDER_PACK_FORMAT_H
#define LARDER_PACK_FORMAT_H

/*
 * The bytes of a pack: header, segment header, directory, footer; both
 * directions in one place. No I/O. FORMAT.md is the text; the tables here
 * repeat its offsets. All integers are little-endian.
 *
 * Decoders fill *out only when all is well; every refusal is one sentence.
 */
#include "pack/pack.h"

enum {
	PACK_HEADER_LEN = 32,
	PACK_FOOTER_LEN = 72,
	PACK_DIRECTORY_HEAD_LEN = 16,
	PACK_VERSION = 1,
	/* header bytes of a segment that its checksum covers; the rest is the checksum */
	PACK_SEGMENT_CHECKED_LEN = 12,
};

/*
 * Features that a reader must know (FORMAT.md, "Versions and features"): an
 * unknown bit is answered with LARDER_ERR_VERSION. Version 1 knows none of
 * them; bit 0 is reserved for sealing.
 */
enum { PACK_REQUIRES_SEALING = 1 << 0, PACK_REQUIRES_KNOWN = 0 };

/* FORMAT.md, "Header".
 *
 *   offset  size  field
 *        0     4  magic     "LPAK"
 *        4     2  version   1
 *        6     2  optional  unused: written as zero, a reader ignores it
 *        8     4  required  feature bits; an unknown one is refused
 *       12    16  id        the pack's own id, which is also its file name
 *       28     4  crc32c    of bytes 0 .. 27
 */
struct pack_header {
	uint16_t optional;
	uint32_t required;
	struct id16 id;
};

void pack_header_encode(uint8_t out[PACK_HEADER_LEN], const struct pack_header *header);
/* CORRUPT; VERSION for a pack of a newer larder. */
LARDER_MUST_USE int pack_header_decode(
    struct pack_header *out, const uint8_t *in, size_t in_len, struct larder_err *err);

/* FORMAT.md, "Segment".
 *
 *   offset  size  field
 *        0     4  plain_len  bytes before compression, 1 .. PACK_PLAIN_MAX
 *        4     4  store_len  bytes that follow this header; fewer than plain_len, or
 *                            with codec 0 as many
 *        8     1  codec      0 = stored, 1 = zstd, 2 = zstd against a base
 *        9     1  depth      segments to decode before this one; 0 unless codec is 2
 *       10     1  type       enum pack_type
 *       11     1  reserved   zero; a reader refuses anything else
 *       12     4  crc32c     of bytes 0 .. 11 and of all store_len bytes
 *
 * then, with codec 2, the base's id (32 bytes), then the payload.
 *
 * encode writes bytes 0 .. 11 of the header from `segment` and, behind the
 * header, finds the store_len bytes already in place: it writes the checksum
 * over both. The base id is not touched.
 */
void pack_segment_encode(uint8_t *header_and_stored, const struct pack_segment *segment);
/* The header alone, without the base id and without the checksum. *crc may be NULL. */
LARDER_MUST_USE int pack_segment_decode(struct pack_segment *out, uint32_t *crc, const uint8_t *in,
    size_t in_len, struct larder_err *err);
/* The checksum a segment should have; `stored` has store_len bytes. */
uint32_t pack_segment_crc(
    const uint8_t header[PACK_SEGMENT_CHECKED_LEN], const uint8_t *stored, size_t store_len);

/* FORMAT.md, "Directory".
 *
 *   offset  size  field
 *        0     4  segment_count  1 .. chunk_count
 *        4     4  chunk_count    1 .. PACK_CHUNKS_MAX
 *        8     4  columns_len    length of the columns before compression
 *       12     1  codec          of the columns: 0 = as they are, 1 = zstd
 *       13     3  reserved       zero; a reader refuses anything else
 *       16  32*n  ids            of the chunks, in file order
 *      ...        columns        to the end of the directory
 *
 * The columns are varints, one column behind the other: of each segment the
 * bytes behind its header, then its number of chunks, then its depth, then its
 * type; of each chunk its plain length.
 */
/* Appends the directory's bytes; compressed when that is smaller. */
LARDER_MUST_USE int pack_directory_encode(struct buf *out, struct pack_codec *codec,
    const struct pack_directory *directory, struct larder_err *err);

/* The most bytes a directory of so many segments and chunks can take. */
uint64_t pack_directory_len_max(uint64_t segment_count, uint64_t chunk_count);

/* FORMAT.md, "Footer".
 *
 *   offset  size  field
 *        0    32  digest         SHA-256 of the directory
 *       32    16  id             as in the header
 *       48     4  directory_at   where the directory starts: behind the last segment
 *       52     4  directory_len  it ends where the footer starts
 *       56     4  required       as in the header
 *       60     2  version        as in the header
 *       62     2  optional       unused: written as zero, a reader ignores it
 *       64     4  crc32c         of bytes 0 .. 63
 *       68     4  magic          "KAPL"
 */
struct pack_footer {
	struct larder_id digest;
	struct id16 id;
	uint32_t directory_at;
	uint32_t directory_len;
	uint32_t required;
	uint16_t optional;
};

void pack_footer_encode(uint8_t out[PACK_FOOTER_LEN], const struct pack_footer *footer);
/* CORRUPT; VERSION for a pack of a newer larder. */
LARDER_MUST_USE int pack_footer_decode(
    struct pack_footer *out, const uint8_t *in, size_t in_len, struct larder_err *err);

#endif
