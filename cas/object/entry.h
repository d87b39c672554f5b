#ifndef LARDER_ENTRY_H
#define LARDER_ENTRY_H

/*
 * The journal as bytes: the header of a segment, the frame of an entry, the
 * operations in an entry's body. Pure. Bytes: cas/OBJECTS.md, "Journal".
 * The rules (when, by whom, durable how) are in cas/journal.c.
 */
#include "cas/base/buf.h"
#include "cas/base/cursor.h"
#include "cas/base/id.h"
#include "cas/base/limits.h"
#include "cas/types.h"

struct journal_segment_header {
	struct id16 store;
	struct id16 writer;
	uint64_t first;             /* sequence of its first entry, from 1; also the file's name */
	uint64_t previous_first;    /* less than first; 0, and zeros below, when there is none */
	uint64_t previous_len;      /* valid bytes of the previous segment */
	struct larder_id previous_chain; /* chain after its last valid entry */
};
/* magic, version, features, the above, reserved, CRC-32C */
enum { JOURNAL_SEGMENT_HEADER_LEN = 128 };

void journal_segment_header_encode(uint8_t out[JOURNAL_SEGMENT_HEADER_LEN],
    const struct journal_segment_header *header);
/* CORRUPT; VERSION for a format or features of the future. */
LARDER_MUST_USE int journal_segment_header_decode(struct journal_segment_header *out,
    const void *data, size_t len, struct larder_err *err);

/* Bytes of a frame in front of its body and behind it. */
enum { ENTRY_FRAME_HEAD_LEN = 48, ENTRY_FRAME_TAIL_LEN = 36 };

/*
 * Frame: magic, body length, sequence, durable mark, time, intent id, body,
 * chain (SHA-256 of the previous chain, then the frame's head and body), CRC-32C
 * over all before it, so that entries behind a break can still be read.
 */
struct entry_frame {
	uint64_t sequence;   /* from 1 */
	uint64_t durable;    /* bytes of this segment known to be on disk when it was written */
	int64_t time_ns;     /* commit time */
	struct id16 intent;  /* zeros: none */
	const uint8_t *body; /* lent from the data when decoded */
	size_t body_len;
	struct larder_id chain;
};
/* Appends the frame; fills frame->chain from previous_chain. LIMIT: body beyond ENTRY_LEN_MAX. */
LARDER_MUST_USE int entry_frame_encode(struct buf *out, struct entry_frame *frame,
    const struct larder_id *previous_chain);
/*
 * Decode the frame at data. *used gets its length. CORRUPT with the reason when
 * it is incomplete or its CRC is wrong. The chain is given, not compared: that is
 * entry_frame_chain() against frame->chain, the caller's step.
 */
LARDER_MUST_USE int entry_frame_decode(struct entry_frame *out, size_t *used, const void *data,
    size_t len, struct larder_err *err);
/* frame_bytes: the whole frame, chain and CRC included (they are not hashed). */
void entry_frame_chain(struct larder_id *out, const struct larder_id *previous_chain,
    const void *frame_bytes, size_t frame_len);

/* ---- operations: type u8, length varint, content ---- */

enum entry_op_type {
	ENTRY_OP_PACK = 1,        /* a new pack */
	ENTRY_OP_VERSION = 2,     /* a new version of a name */
	ENTRY_OP_VERSION_END = 3, /* a version is forgotten */
	ENTRY_OP_BODY = 4,        /* the operations stand in a chunk: the only one of its entry */
	/* kept are 5 .. 31: records, cache entries, retention, adopting, deletions, checkpoints */
};

struct entry_pack {
	struct id16 id;
	uint64_t file_len;
	uint32_t chunk_count;
};

enum entry_version_kind { ENTRY_KIND_FILE = 1, ENTRY_KIND_DIR = 2, ENTRY_KIND_ARCHIVE = 3 };

struct entry_tag {
	const char *key, *value; /* not terminated */
	size_t key_len, value_len; /* key 1 .. TAG_LEN_MAX bytes, value 0 .. TAG_LEN_MAX, no NUL */
};

struct entry_version {
	const char *name; /* not terminated; lent */
	size_t name_len;
	struct id16 gid;  /* global id of the version */
	uint64_t number;  /* NAME@number in the writer's store, from 1 */
	enum entry_version_kind kind;
	bool list;        /* FILE: id is a file list */
	struct larder_id id;    /* FILE: chunk or list (size 0: SHA-256 of nothing); DIR: tree */
	struct larder_id attrs; /* DIR; zeros otherwise */
	uint64_t bytes;         /* plain bytes of the whole */
	uint64_t new_bytes, stored_bytes, files;
	bool has_sha256;
	struct larder_id sha256;
	const struct entry_tag *tags; /* sorted by key bytewise, each once; at most TAGS_MAX */
	size_t tag_count;
};

struct entry_version_end {
	const char *name;
	size_t name_len;
	struct id16 gid;
};

/* Append one operation each. They assert what the decoder checks. NOMEM, LIMIT. */
LARDER_MUST_USE int entry_op_pack(struct buf *body, const struct entry_pack *pack);
LARDER_MUST_USE int entry_op_version(struct buf *body, const struct entry_version *version);
LARDER_MUST_USE int entry_op_version_end(struct buf *body, const struct entry_version_end *end);
LARDER_MUST_USE int entry_op_body(struct buf *body, const struct larder_id *chunk);

struct entry_op {
	enum entry_op_type type;
	union {
		struct entry_pack pack;
		struct entry_version version;
		struct entry_version_end version_end;
		struct larder_id body;
	};
	struct entry_tag tags[TAGS_MAX]; /* storage behind version.tags: an op is not copied by = */
};
/*
 * `body` starts as cursor_of(frame.body, frame.body_len). 1, 0 at the end, CORRUPT
 * with the offset; VERSION for an operation this larder does not know. Everything
 * lent lives as long as the body. After an error the cursor stays in error.
 */
LARDER_MUST_USE int entry_op_next(struct cursor *body, struct entry_op *op, struct larder_err *err);

/* A key as CLI.md allows: USAGE with the reason otherwise. */
LARDER_MUST_USE int entry_name_check(const char *name, size_t name_len, struct larder_err *err);
/* Tags that a version may have, in order: USAGE with the reason otherwise, LIMIT for too many. */
LARDER_MUST_USE int entry_tags_check(
    const struct entry_tag *tags, size_t tag_count, struct larder_err *err);

#endif
