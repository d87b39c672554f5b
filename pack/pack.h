#ifndef LARDER_PACK_H
#define LARDER_PACK_H

/*
 * The room's interface: immutable files of compressed segments.
 *
 * A pack is a file packs/<2 hex>/<32 hex> with a fresh random id. It holds
 * segments; a segment holds one or more chunks, compressed together as one zstd
 * frame, stored as it is, or (exactly one chunk) compressed against the plain
 * bytes of one *base* chunk. Its directory at the end lists every segment and
 * every chunk in order. Bytes: FORMAT.md.
 *
 * This room knows no names, no journal, no database: a base is found by the
 * caller (cas/fetch.c), who asks for a segment, sees the base's id in its
 * header, gets that chunk's plain bytes and then decodes.
 *
 * Every byte of a pack is covered by a check that this room makes, so whatever
 * was changed, cut or exchanged is CORRUPT here and never a wrong answer. What
 * is *not* checked here is that a chunk's bytes hash to its id: whoever decodes
 * does that, since hashing many at once is faster (cas/base/sha256.h).
 */
#include "cas/base/buf.h"
#include "cas/base/id.h"
#include "cas/base/limits.h"
#include "cas/types.h"

/* What the chunks of a segment are. On disk: never renumber. */
enum pack_type {
	PACK_TYPE_DATA = 0,     /* bytes of files */
	PACK_TYPE_TREE = 1,     /* cas/object/tree.h */
	PACK_TYPE_ATTRS = 2,    /* cas/object/attrs.h */
	PACK_TYPE_FILELIST = 3, /* cas/object/filelist.h */
	PACK_TYPE_RECIPE = 4,   /* archives taken apart */
	PACK_TYPE_ENTRY = 5,    /* body of a journal entry that is too large for the journal */
	PACK_TYPE_RECORD = 6,   /* data of a record */
	PACK_TYPE_COUNT
};

enum {
	PACK_LEVEL_MAX = 22, /* zstd's highest level; below zero = faster than 1 */
	PACK_FILES_OPEN_MAX = 128, /* descriptors that one struct pack_files keeps open */
};

enum pack_codec_kind { PACK_CODEC_STORED = 0, PACK_CODEC_ZSTD = 1, PACK_CODEC_ZSTD_BASE = 2 };

enum { PACK_SEGMENT_HEADER_LEN = 16 }; /* a base id follows it when the codec is ZSTD_BASE */

/* The header of one segment, decoded. */
struct pack_segment {
	uint32_t plain_len; /* 1 .. PACK_PLAIN_MAX */
	uint32_t store_len; /* bytes behind the header: base id, then payload */
	enum pack_codec_kind codec;
	unsigned depth; /* delta segments to decode before this one: base's depth + 1, else 0 */
	enum pack_type type;
	struct larder_id base; /* codec ZSTD_BASE only */
};

/* Where a chunk's bytes are inside a pack. */
struct pack_place {
	uint32_t segment_at; /* offset of the segment's header in the pack */
	uint32_t chunk_at;   /* offset in the segment's plain bytes */
	uint32_t chunk_len;
	uint8_t depth;
	uint8_t type; /* enum pack_type */
};

/* ---- codec.c: compress and decompress; the one door to zstd ---- */

/*
 * Per-thread contexts and scratch, made at first use and kept: after the first
 * calls neither encoding nor decoding allocates. Not shareable by threads.
 */
struct pack_codec;
LARDER_MUST_USE int pack_codec_open(struct pack_codec **out, struct larder_err *err);
void pack_codec_close(struct pack_codec *codec); /* NULL is fine */

struct pack_plain {
	const uint8_t *data; /* plain bytes of all chunks, one behind the other */
	uint32_t len;
	enum pack_type type;
	int level; /* zstd level, at most PACK_LEVEL_MAX; 0 = store as it is, base or not */
	/* a base: its plain bytes, not overlapping data; base_id NULL = none; and its depth,
	 * below PACK_DEPTH_MAX */
	const struct larder_id *base_id;
	const uint8_t *base;
	uint32_t base_len;
	unsigned base_depth;
};

/*
 * Appends one complete segment (header, base id, payload) to `out`. What does
 * not shrink is stored as it is; data that looks incompressible (a probe of
 * 4 KiB in every 128 KiB) is not even tried. The frame is decoded again and
 * compared with the plain bytes before it is returned: a frame that does not
 * come back is replaced by the stored form.
 * `store_len_max` (0 = none): give up (returns 1, nothing appended) when a
 * segment against a base would take more payload bytes than this. With a base
 * and a store_len_max, 0 therefore means that it became a delta; with a base
 * and no store_len_max it may also have become the stored form. Giving up is
 * noticed while compressing, so a small store_len_max also saves time.
 */
LARDER_MUST_USE int pack_encode(struct buf *out, struct pack_codec *codec,
    const struct pack_plain *plain, uint32_t store_len_max, struct larder_err *err);

/*
 * `stored` are the header's store_len bytes (with the base id in front when
 * there is one); base/base_len the plain bytes of that base, NULL and 0 for the
 * other codecs. Writes exactly segment->plain_len bytes to `out`, never more;
 * CORRUPT when the payload does not give exactly those.
 */
LARDER_MUST_USE int pack_decode(uint8_t *out, struct pack_codec *codec,
    const struct pack_segment *segment, const uint8_t *stored, const uint8_t *base,
    uint32_t base_len, struct larder_err *err);

/* ---- writer.c ---- */

struct pack_writer;

/* A new pack under tmp/ of the store directory `root_fd` (lent for the writer's life). */
LARDER_MUST_USE int pack_writer_open(struct pack_writer **out, int root_fd, struct larder_err *err);
const struct id16 *pack_writer_id(const struct pack_writer *writer);
/* Bytes the file has now, without directory; chunks in it. */
uint64_t pack_writer_size(const struct pack_writer *writer);
uint32_t pack_writer_chunks(const struct pack_writer *writer);
/*
 * Append one segment made by pack_encode, holding `count` chunks with these ids
 * and lengths (each at least 1, together plain_len; one chunk only in a segment
 * against a base). *segment_at gets its place. LIMIT (PACK_FILE_MAX,
 * PACK_CHUNKS_MAX) changes nothing: the writer can still be finished.
 */
LARDER_MUST_USE int pack_writer_append(struct pack_writer *writer, const uint8_t *segment,
    size_t segment_len, const struct larder_id *ids, const uint32_t *lengths, uint32_t count,
    uint32_t *segment_at, struct larder_err *err);
/*
 * The same for a segment as pack_segment_read gives it: repacking without
 * decoding. A segment against a base stays one, so its base must stay too.
 */
LARDER_MUST_USE int pack_writer_append_stored(struct pack_writer *writer,
    const struct pack_segment *segment, const uint8_t *stored, const struct larder_id *ids,
    const uint32_t *lengths, uint32_t count, uint32_t *segment_at, struct larder_err *err);
/*
 * Seal in two steps, so that several packs share the wait:
 * finish: directory, footer, start of write-back. sync: fsync, close (its error
 * counts), rename to packs/xx/. The caller then syncs the directories once with
 * pack_sync_dirs(). After any error the writer is only good for close, and the
 * pack is not used: what was in it is written anew, under a new id. A writer
 * without segments cannot be finished (USAGE).
 */
LARDER_MUST_USE int pack_writer_finish(struct pack_writer *writer, struct larder_err *err);
LARDER_MUST_USE int pack_writer_sync(struct pack_writer *writer, struct larder_err *err);
/* fsyncs the packs/xx directories of these packs, each once. */
LARDER_MUST_USE int pack_sync_dirs(int root_fd, const struct id16 *ids, size_t count,
    struct larder_err *err);
/* The directory as it was written; lent until close. Valid after finish. */
struct pack_directory;
const struct pack_directory *pack_writer_directory(const struct pack_writer *writer);
/*
 * The pack's *tail*, directory and footer as bytes: what a journal segment in a
 * prefix carries, for pack_tail_decode(). Lent until close. Valid after finish.
 */
const uint8_t *pack_writer_tail(const struct pack_writer *writer, size_t *len);
/* Unsealed: leaves nothing that matters (the temporary file is removed). NULL is fine. */
void pack_writer_close(struct pack_writer *writer);

/* Makes packs/ and its 256 directories, synced. For init. */
LARDER_MUST_USE int pack_make_dirs(int root_fd, struct larder_err *err);

/* ---- reader.c ---- */

/*
 * Open pack files of one store, shared by threads; at most a bounded number of
 * descriptors (PACK_FILES_OPEN_MAX), the least recently used is closed first.
 */
struct pack_files;
LARDER_MUST_USE int pack_files_open(struct pack_files **out, int root_fd, struct larder_err *err);
void pack_files_close(struct pack_files *files);
/*
 * Closes the pack's descriptor, or lets the thread that is reading through it
 * close it. For gc, before the pack's space is to be free; nothing else needs
 * it: an id is never used again, so an old descriptor cannot show wrong bytes.
 */
void pack_files_forget(struct pack_files *files, const struct id16 *pack);

/*
 * Read one segment: checks header and checksum. `stored` gets the store_len
 * bytes behind the header (its old content goes, its memory is used again).
 * len_hint: bytes that probably suffice, header included (0 = unknown), saves a
 * second read. NOT_FOUND when the pack is not there; CORRUPT with pack and
 * offset in the sentence.
 */
LARDER_MUST_USE int pack_segment_read(struct pack_segment *segment, struct buf *stored,
    struct pack_files *files, const struct id16 *pack, uint32_t segment_at, uint32_t len_hint,
    struct larder_err *err);

/* ---- scan.c: a pack without an index ---- */

/* All arrays belong to the directory. Segments and chunks in file order. */
struct pack_directory {
	struct id16 id;
	uint64_t file_len;
	uint32_t segment_count;
	uint32_t chunk_count;
	struct pack_directory_segment {
		uint32_t at;        /* offset of its header */
		uint32_t len;       /* header and stored bytes */
		uint32_t chunk_first; /* index of its first chunk */
		uint32_t chunk_count;
		uint8_t depth;
		uint8_t type;
	} *segments;
	struct larder_id *ids;
	uint32_t *lengths;   /* plain length of each chunk */
	uint32_t *chunk_ats; /* offset of each chunk in its segment's plain bytes */
};

/*
 * Header, footer and directory of a pack: every checksum, every bound; lengths
 * must tile the file. NOT_FOUND, CORRUPT (cut short, damaged), VERSION.
 * pack_directory_release() frees; a zeroed struct is fine.
 */
LARDER_MUST_USE int pack_directory_read(struct pack_directory *out, struct pack_files *files,
    const struct id16 *pack, struct larder_err *err);
void pack_directory_release(struct pack_directory *directory);
/*
 * The same from the tail's bytes, without the file: only what comes before the
 * directory (header, segments) is not checked. Caller owns *out.
 */
LARDER_MUST_USE int pack_tail_decode(struct pack_directory *out, struct pack_codec *codec,
    const uint8_t *tail, size_t len, struct larder_err *err);
/*
 * Place of chunk number `chunk` (< chunk_count). *segment is a hint and gets the
 * segment's number: start with 0 and leave it alone; constant time for rising
 * numbers, a binary search otherwise.
 */
void pack_directory_place(struct pack_place *out, const struct pack_directory *directory,
    uint32_t chunk, uint32_t *segment);

/*
 * Calls fn for each pack id found under packs/ in ascending order; a non-zero
 * answer stops and is returned. Files with other names are passed to `odd` (may
 * be NULL), except the names that FORMAT.md reserves for sidecars of a pack.
 */
typedef int (*pack_each_fn)(void *context, const struct id16 *pack, struct larder_err *err);
typedef void (*pack_odd_fn)(void *context, const char *path);
LARDER_MUST_USE int pack_each(int root_fd, pack_each_fn fn, pack_odd_fn odd, void *context,
    struct larder_err *err);

/* "packs/ab/abcdef..." */
enum { PACK_PATH_LEN = 6 + 3 + 32 + 1 };
void pack_path(char out[PACK_PATH_LEN], const struct id16 *pack);

#endif
