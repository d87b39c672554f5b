/*
 * The journal as bytes: OBJECTS.md, "Journal".
 *
 * 1. A frame that decodes was written whole: its CRC covers every byte before it.
 *    That it follows the frame before it is shown by the chain, which the caller compares.
 * 2. Operations are canonical: what decodes has one encoding.
 * 3. Nothing read is believed before it was compared with a limit.
 */
#include "cas/object/entry.h"

#include <assert.h>
#include <string.h>

#include "cas/base/crc32c.h"
#include "cas/base/err.h"
#include "cas/base/sha256.h"

static bool
all_zero(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i] != 0)
			return false;
	return true;
}

/* ---- header of a segment ---- */

static const uint8_t segment_magic[8] = { 'L', 'A', 'R', 'D', 'E', 'R', 'J', '\n' };

enum {
	SEGMENT_VERSION = 1,
	/* offsets in the header */
	SEGMENT_VERSION_AT = 8,
	SEGMENT_REQUIRED_AT = 12, /* in front of it two bytes that are unused: ignored */
	SEGMENT_STORE_AT = 16,
	SEGMENT_WRITER_AT = 32,
	SEGMENT_FIRST_AT = 48,
	SEGMENT_PREVIOUS_FIRST_AT = 56,
	SEGMENT_PREVIOUS_LEN_AT = 64,
	SEGMENT_PREVIOUS_CHAIN_AT = 72,
	SEGMENT_RESERVED_AT = 104,
	SEGMENT_CRC_AT = 124,
};

static_assert(SEGMENT_CRC_AT + 4 == JOURNAL_SEGMENT_HEADER_LEN, "fields add up to the header");

/* NULL, or what is wrong about the links between segments. */
static const char *
header_fault(const struct journal_segment_header *h)
{
	if (h->first == 0)
		return "its first sequence is 0";
	if (h->previous_first >= h->first)
		return "the previous segment begins behind it";
	if (h->previous_first == 0 &&
	    (h->previous_len != 0 || !all_zero(h->previous_chain.bytes, LARDER_ID_LEN)))
		return "no previous segment, but its length or chain";
	return NULL;
}

void
journal_segment_header_encode(
    uint8_t out[JOURNAL_SEGMENT_HEADER_LEN], const struct journal_segment_header *header)
{
	assert(header_fault(header) == NULL);

	memset(out, 0, JOURNAL_SEGMENT_HEADER_LEN);
	memcpy(out, segment_magic, sizeof segment_magic);
	put_le16(out + SEGMENT_VERSION_AT, SEGMENT_VERSION);
	memcpy(out + SEGMENT_STORE_AT, header->store.bytes, ID16_LEN);
	memcpy(out + SEGMENT_WRITER_AT, header->writer.bytes, ID16_LEN);
	put_le64(out + SEGMENT_FIRST_AT, header->first);
	put_le64(out + SEGMENT_PREVIOUS_FIRST_AT, header->previous_first);
	put_le64(out + SEGMENT_PREVIOUS_LEN_AT, header->previous_len);
	memcpy(out + SEGMENT_PREVIOUS_CHAIN_AT, header->previous_chain.bytes, LARDER_ID_LEN);
	put_le32(out + SEGMENT_CRC_AT, crc32c(0, out, SEGMENT_CRC_AT));
}

int
journal_segment_header_decode(struct journal_segment_header *out, const void *data, size_t len,
    struct larder_err *err)
{
	const uint8_t *in = data;
	struct journal_segment_header h;
	const char *fault;

	if (len < JOURNAL_SEGMENT_HEADER_LEN)
		return err_set(err, LARDER_ERR_CORRUPT,
		    "journal segment header cut short: %zu of %d bytes", len,
		    JOURNAL_SEGMENT_HEADER_LEN);
	if (memcmp(in, segment_magic, sizeof segment_magic) != 0)
		return err_set(err, LARDER_ERR_CORRUPT, "not a journal segment: wrong magic");
	/* These bytes keep their meaning in every version: newer is not damaged. */
	if (get_le32(in + SEGMENT_CRC_AT) != crc32c(0, in, SEGMENT_CRC_AT))
		return err_set(err, LARDER_ERR_CORRUPT,
		    "journal segment header: checksum differs");
	if (get_le16(in + SEGMENT_VERSION_AT) != SEGMENT_VERSION)
		return err_set(err, LARDER_ERR_VERSION,
		    "journal segment of format %u, this larder knows %d",
		    get_le16(in + SEGMENT_VERSION_AT), SEGMENT_VERSION);
	if (get_le32(in + SEGMENT_REQUIRED_AT) != 0)
		return err_set(err, LARDER_ERR_VERSION,
		    "journal segment needs features 0x%x, this larder knows none",
		    get_le32(in + SEGMENT_REQUIRED_AT));
	if (!all_zero(in + SEGMENT_RESERVED_AT, SEGMENT_CRC_AT - SEGMENT_RESERVED_AT))
		return err_set(err, LARDER_ERR_CORRUPT,
		    "journal segment header: reserved bytes not zero");

	memcpy(h.store.bytes, in + SEGMENT_STORE_AT, ID16_LEN);
	memcpy(h.writer.bytes, in + SEGMENT_WRITER_AT, ID16_LEN);
	h.first = get_le64(in + SEGMENT_FIRST_AT);
	h.previous_first = get_le64(in + SEGMENT_PREVIOUS_FIRST_AT);
	h.previous_len = get_le64(in + SEGMENT_PREVIOUS_LEN_AT);
	memcpy(h.previous_chain.bytes, in + SEGMENT_PREVIOUS_CHAIN_AT, LARDER_ID_LEN);
	fault = header_fault(&h);
	if (fault != NULL)
		return err_set(err, LARDER_ERR_CORRUPT, "journal segment header: %s", fault);
	*out = h;
	return LARDER_OK;
}

/* ---- frame of an entry ---- */

static const uint8_t frame_magic[4] = { 'L', 'J', 'E', 1 }; /* the last one is the version */

enum {
	/* offsets in the head */
	FRAME_BODY_LEN_AT = 4,
	FRAME_SEQUENCE_AT = 8,
	FRAME_DURABLE_AT = 16,
	FRAME_TIME_AT = 24,
	FRAME_INTENT_AT = 32,
};

static_assert(FRAME_INTENT_AT + ID16_LEN == ENTRY_FRAME_HEAD_LEN, "fields add up to the head");
static_assert(LARDER_ID_LEN + 4 == ENTRY_FRAME_TAIL_LEN, "chain and CRC are the tail");

void
entry_frame_chain(struct larder_id *out, const struct larder_id *previous_chain,
    const void *frame_bytes, size_t frame_len)
{
	struct sha256 hash;

	assert(frame_len >= ENTRY_FRAME_HEAD_LEN + ENTRY_FRAME_TAIL_LEN);
	sha256_init(&hash);
	sha256_update(&hash, previous_chain->bytes, LARDER_ID_LEN);
	sha256_update(&hash, frame_bytes, frame_len - ENTRY_FRAME_TAIL_LEN);
	sha256_final(&hash, out);
}

int
entry_frame_encode(
    struct buf *out, struct entry_frame *frame, const struct larder_id *previous_chain)
{
	size_t len = ENTRY_FRAME_HEAD_LEN + frame->body_len + ENTRY_FRAME_TAIL_LEN;
	uint8_t *p;
	int rc;

	assert(frame->sequence > 0);
	if (frame->body_len > ENTRY_LEN_MAX)
		return LARDER_ERR_LIMIT;
	rc = buf_reserve(out, len);
	if (rc < 0)
		return rc;

	p = out->data + out->len;
	memcpy(p, frame_magic, sizeof frame_magic);
	put_le32(p + FRAME_BODY_LEN_AT, (uint32_t)frame->body_len);
	put_le64(p + FRAME_SEQUENCE_AT, frame->sequence);
	put_le64(p + FRAME_DURABLE_AT, frame->durable);
	put_le64(p + FRAME_TIME_AT, (uint64_t)frame->time_ns);
	memcpy(p + FRAME_INTENT_AT, frame->intent.bytes, ID16_LEN);
	if (frame->body_len > 0)
		memcpy(p + ENTRY_FRAME_HEAD_LEN, frame->body, frame->body_len);
	entry_frame_chain(&frame->chain, previous_chain, p, len);
	memcpy(p + len - ENTRY_FRAME_TAIL_LEN, frame->chain.bytes, LARDER_ID_LEN);
	put_le32(p + len - 4, crc32c(0, p, len - 4));
	out->len += len;
	return LARDER_OK;
}

int
entry_frame_decode(
    struct entry_frame *out, size_t *used, const void *data, size_t len, struct larder_err *err)
{
	const uint8_t *in = data;
	struct entry_frame f;
	size_t frame_len;

	if (len < ENTRY_FRAME_HEAD_LEN + ENTRY_FRAME_TAIL_LEN)
		return err_set(err, LARDER_ERR_CORRUPT, "journal entry cut short: %zu bytes", len);
	if (memcmp(in, frame_magic, sizeof frame_magic) != 0)
		return err_set(err, LARDER_ERR_CORRUPT, "no journal entry here: wrong magic");
	f.body_len = get_le32(in + FRAME_BODY_LEN_AT);
	if (f.body_len > ENTRY_LEN_MAX)
		return err_set(err, LARDER_ERR_CORRUPT,
		    "journal entry claims a body of %zu bytes", f.body_len);
	frame_len = ENTRY_FRAME_HEAD_LEN + f.body_len + ENTRY_FRAME_TAIL_LEN;
	if (len < frame_len)
		return err_set(err, LARDER_ERR_CORRUPT,
		    "journal entry cut short: %zu of %zu bytes", len, frame_len);
	if (get_le32(in + frame_len - 4) != crc32c(0, in, frame_len - 4))
		return err_set(err, LARDER_ERR_CORRUPT, "journal entry: checksum differs");

	f.sequence = get_le64(in + FRAME_SEQUENCE_AT);
	if (f.sequence == 0)
		return err_set(err, LARDER_ERR_CORRUPT, "journal entry: its sequence is 0");
	f.durable = get_le64(in + FRAME_DURABLE_AT);
	f.time_ns = (int64_t)get_le64(in + FRAME_TIME_AT);
	memcpy(f.intent.bytes, in + FRAME_INTENT_AT, ID16_LEN);
	f.body = in + ENTRY_FRAME_HEAD_LEN;
	memcpy(f.chain.bytes, in + frame_len - ENTRY_FRAME_TAIL_LEN, LARDER_ID_LEN);
	*out = f;
	*used = frame_len;
	return LARDER_OK;
}

/* ---- operations: encode ---- */

/* First byte of a version. */
enum {
	VERSION_KIND_MASK = 0x03,
	VERSION_FLAG_LIST = 0x04,
	VERSION_FLAG_SHA256 = 0x08,
	VERSION_FLAGS_RESERVED = 0xf0,
};

/* NULL, or what is wrong: the rules that encoder and decoder share. */
static const char *
pack_fault(const struct entry_pack *pack)
{
	if (pack->file_len == 0 || pack->file_len > PACK_FILE_MAX)
		return "length of a pack out of range";
	if (pack->chunk_count == 0 || pack->chunk_count > PACK_CHUNKS_MAX)
		return "chunks of a pack out of range";
	return NULL;
}

static const char *
tag_fault(const struct entry_tag *before, const struct entry_tag *tag)
{
	size_t len;
	int order;

	if (tag->key_len == 0 || tag->key_len > TAG_LEN_MAX)
		return "length of a tag's key out of range";
	if (tag->value_len > TAG_LEN_MAX)
		return "length of a tag's value out of range";
	if (memchr(tag->key, '\0', tag->key_len) != NULL ||
	    (tag->value_len > 0 && memchr(tag->value, '\0', tag->value_len) != NULL))
		return "NUL in a tag";
	if (before == NULL)
		return NULL;
	len = before->key_len < tag->key_len ? before->key_len : tag->key_len;
	order = memcmp(before->key, tag->key, len);
	if (order > 0 || (order == 0 && before->key_len >= tag->key_len))
		return "not in the order of tags";
	return NULL;
}

static const char *
version_fault(const struct entry_version *v)
{
	const char *fault;

	if (v->kind < ENTRY_KIND_FILE || v->kind > ENTRY_KIND_ARCHIVE)
		return "unknown kind of version";
	if (v->list && v->kind != ENTRY_KIND_FILE)
		return "file list of what is no file";
	if (v->number == 0)
		return "version number 0";
	if (v->tag_count > TAGS_MAX)
		return "too many tags";
	for (size_t i = 0; i < v->tag_count; i++) {
		fault = tag_fault(i > 0 ? &v->tags[i - 1] : NULL, &v->tags[i]);
		if (fault != NULL)
			return fault;
	}
	return NULL;
}

static bool
name_valid(const char *name, size_t len)
{
	return entry_name_check(name, len, NULL) == 0;
}

static uint8_t *
put_bytes(uint8_t *p, const void *data, size_t len)
{
	if (len > 0)
		memcpy(p, data, len);
	return p + len;
}

static uint8_t *
put_lenstr(uint8_t *p, const char *s, size_t len)
{
	p += put_varint(p, len);
	return put_bytes(p, s, len);
}

/* Type, length, content: an operation as a whole or nothing. */
static int
append_op(struct buf *body, enum entry_op_type type, const uint8_t *content, size_t len)
{
	uint8_t *p;
	int rc;

	rc = buf_reserve(body, 1 + VARINT_LEN_MAX + len);
	if (rc < 0)
		return rc;
	p = body->data + body->len;
	*p++ = (uint8_t)type;
	p += put_varint(p, len);
	p = put_bytes(p, content, len);
	body->len = (size_t)(p - body->data);
	return LARDER_OK;
}

int
entry_op_pack(struct buf *body, const struct entry_pack *pack)
{
	uint8_t content[ID16_LEN + 2 * VARINT_LEN_MAX];
	uint8_t *p = content;

	assert(pack_fault(pack) == NULL);
	p = put_bytes(p, pack->id.bytes, ID16_LEN);
	p += put_varint(p, pack->file_len);
	p += put_varint(p, pack->chunk_count);
	return append_op(body, ENTRY_OP_PACK, content, (size_t)(p - content));
}

enum {
	/* a version's content beside its tags, and one tag */
	VERSION_LEN_MAX = 1 + VARINT_LEN_MAX + NAME_LEN_MAX + ID16_LEN + 3 * LARDER_ID_LEN +
	    6 * VARINT_LEN_MAX,
	TAG_BYTES_MAX = 2 * (VARINT_LEN_MAX + TAG_LEN_MAX),
};

int
entry_op_version(struct buf *body, const struct entry_version *v)
{
	uint8_t content[VERSION_LEN_MAX + TAGS_MAX * TAG_BYTES_MAX];
	uint8_t *p = content;

	assert(name_valid(v->name, v->name_len));
	assert(version_fault(v) == NULL);

	*p++ = (uint8_t)((unsigned)v->kind | (v->list ? VERSION_FLAG_LIST : 0) |
	    (v->has_sha256 ? VERSION_FLAG_SHA256 : 0));
	p = put_lenstr(p, v->name, v->name_len);
	p = put_bytes(p, v->gid.bytes, ID16_LEN);
	p += put_varint(p, v->number);
	p = put_bytes(p, v->id.bytes, LARDER_ID_LEN);
	if (v->kind == ENTRY_KIND_DIR)
		p = put_bytes(p, v->attrs.bytes, LARDER_ID_LEN);
	p += put_varint(p, v->bytes);
	p += put_varint(p, v->new_bytes);
	p += put_varint(p, v->stored_bytes);
	p += put_varint(p, v->files);
	if (v->has_sha256)
		p = put_bytes(p, v->sha256.bytes, LARDER_ID_LEN);
	p += put_varint(p, v->tag_count);
	for (size_t i = 0; i < v->tag_count; i++) {
		p = put_lenstr(p, v->tags[i].key, v->tags[i].key_len);
		p = put_lenstr(p, v->tags[i].value, v->tags[i].value_len);
	}
	return append_op(body, ENTRY_OP_VERSION, content, (size_t)(p - content));
}

int
entry_op_version_end(struct buf *body, const struct entry_version_end *e)
{
	uint8_t content[VARINT_LEN_MAX + NAME_LEN_MAX + ID16_LEN];
	uint8_t *p = content;

	assert(name_valid(e->name, e->name_len));
	p = put_lenstr(p, e->name, e->name_len);
	p = put_bytes(p, e->gid.bytes, ID16_LEN);
	return append_op(body, ENTRY_OP_VERSION_END, content, (size_t)(p - content));
}

int
entry_op_body(struct buf *body, const struct larder_id *chunk)
{
	return append_op(body, ENTRY_OP_BODY, chunk->bytes, LARDER_ID_LEN);
}

/* ---- operations: decode ---- */

/* Each get_ function reads one content and returns NULL, or what is wrong with it. */

static void
get_id16(struct cursor *c, struct id16 *out)
{
	const uint8_t *p = cursor_bytes(c, ID16_LEN);

	if (p != NULL)
		memcpy(out->bytes, p, ID16_LEN);
}

/* A length of at most len_max, then the bytes; NULL sets bad. */
static const char *
get_lenstr(struct cursor *c, size_t *len, size_t len_max)
{
	uint64_t n = cursor_varint(c);

	if (n > len_max) {
		c->bad = true;
		return NULL;
	}
	*len = (size_t)n;
	return (const char *)cursor_bytes(c, (size_t)n);
}

static const char *
get_name(struct cursor *c, const char **name, size_t *name_len)
{
	*name = get_lenstr(c, name_len, NAME_LEN_MAX);
	if (*name == NULL)
		return "name cut short or too long";
	if (!name_valid(*name, *name_len))
		return "name that cannot be one";
	return NULL;
}

static const char *
get_pack(struct cursor *c, struct entry_pack *pack)
{
	uint64_t count;

	get_id16(c, &pack->id);
	pack->file_len = cursor_varint(c);
	count = cursor_varint(c);
	if (c->bad)
		return "cut short";
	pack->chunk_count = count > UINT32_MAX ? UINT32_MAX : (uint32_t)count;
	return pack_fault(pack);
}

static const char *
get_tags(struct cursor *c, struct entry_version *v, struct entry_tag *tags)
{
	uint64_t count = cursor_varint(c);

	if (count > TAGS_MAX)
		return "too many tags";
	for (size_t i = 0; i < count; i++) {
		tags[i].key = get_lenstr(c, &tags[i].key_len, TAG_LEN_MAX);
		tags[i].value = get_lenstr(c, &tags[i].value_len, TAG_LEN_MAX);
		if (c->bad)
			return "tag cut short or too long";
	}
	v->tags = tags;
	v->tag_count = (size_t)count;
	return NULL;
}

static const char *
get_version(struct cursor *c, struct entry_version *v, struct entry_tag *tags)
{
	uint8_t flags = cursor_u8(c);
	const char *fault;

	if ((flags & VERSION_FLAGS_RESERVED) != 0)
		return "reserved bits not zero";
	v->kind = (enum entry_version_kind)(flags & VERSION_KIND_MASK);
	v->list = (flags & VERSION_FLAG_LIST) != 0;
	v->has_sha256 = (flags & VERSION_FLAG_SHA256) != 0;
	fault = get_name(c, &v->name, &v->name_len);
	if (fault != NULL)
		return fault;
	get_id16(c, &v->gid);
	v->number = cursor_varint(c);
	cursor_id(c, &v->id);
	if (v->kind == ENTRY_KIND_DIR)
		cursor_id(c, &v->attrs);
	v->bytes = cursor_varint(c);
	v->new_bytes = cursor_varint(c);
	v->stored_bytes = cursor_varint(c);
	v->files = cursor_varint(c);
	if (v->has_sha256)
		cursor_id(c, &v->sha256);
	fault = get_tags(c, v, tags);
	if (fault != NULL)
		return fault;
	if (c->bad)
		return "cut short";
	return version_fault(v);
}

static const char *
get_version_end(struct cursor *c, struct entry_version_end *e)
{
	const char *fault = get_name(c, &e->name, &e->name_len);

	if (fault != NULL)
		return fault;
	get_id16(c, &e->gid);
	return c->bad ? "cut short" : NULL;
}

static int
refuse_op(struct cursor *body, size_t at, const char *what, struct larder_err *err)
{
	body->bad = true;
	return err_set(err, LARDER_ERR_CORRUPT, "journal operation at %zu: %s", at, what);
}

int
entry_op_next(struct cursor *body, struct entry_op *op, struct larder_err *err)
{
	size_t at = cursor_offset(body);
	const char *fault = NULL;
	struct cursor content;
	const uint8_t *p;
	uint64_t len;
	uint8_t type;

	if (body->bad)
		return refuse_op(body, at, "read on after an error", err);
	if (cursor_left(body) == 0)
		return 0;
	type = cursor_u8(body);
	len = cursor_varint(body);
	if (body->bad || len > cursor_left(body))
		return refuse_op(body, at, "cut short", err);
	p = cursor_bytes(body, (size_t)len);
	content = cursor_of(p, (size_t)len);

	op->type = (enum entry_op_type)type;
	switch (type) {
	case ENTRY_OP_PACK:
		op->pack = (struct entry_pack) { 0 };
		fault = get_pack(&content, &op->pack);
		break;
	case ENTRY_OP_VERSION:
		op->version = (struct entry_version) { 0 };
		fault = get_version(&content, &op->version, op->tags);
		break;
	case ENTRY_OP_VERSION_END:
		op->version_end = (struct entry_version_end) { 0 };
		fault = get_version_end(&content, &op->version_end);
		break;
	case ENTRY_OP_BODY:
		cursor_id(&content, &op->body);
		if (content.bad)
			fault = "cut short";
		else if (at != 0 || cursor_left(body) > 0)
			fault = "a body elsewhere beside other operations";
		break;
	default:
		body->bad = true;
		return err_set(err, LARDER_ERR_VERSION,
		    "journal operation at %zu: type %d is unknown to this larder", at, type);
	}
	if (fault == NULL && !cursor_done(&content))
		fault = "bytes behind its content";
	return fault == NULL ? 1 : refuse_op(body, at, fault, err);
}

/* ---- what a user may call things ---- */

/* "backup@12": would be read as version 12 of "backup" */
static bool
ends_in_version(const char *name, size_t len)
{
	size_t digits = 0;

	while (digits < len && name[len - 1 - digits] >= '0' && name[len - 1 - digits] <= '9')
		digits++;
	return digits > 0 && digits < len && name[len - 1 - digits] == '@';
}

int
entry_name_check(const char *name, size_t name_len, struct larder_err *err)
{
	size_t from = 0;

	if (name_len == 0)
		return err_set(err, LARDER_ERR_USAGE, "a name cannot be empty");
	if (name_len > NAME_LEN_MAX)
		return err_set(err, LARDER_ERR_USAGE,
		    "a name can have %d bytes, this one has %zu", NAME_LEN_MAX, name_len);
	if (memchr(name, '\0', name_len) != NULL)
		return err_set(err, LARDER_ERR_USAGE, "a name cannot contain a NUL byte");
	if (name[0] == '/')
		return err_set(err, LARDER_ERR_USAGE, "a name cannot begin with a slash");
	if (name[name_len - 1] == '/')
		return err_set(err, LARDER_ERR_USAGE, "a name cannot end with a slash");
	for (size_t i = 0; i <= name_len; i++) {
		if (i < name_len && name[i] != '/')
			continue;
		if (i == from)
			return err_set(err, LARDER_ERR_USAGE,
			    "a name cannot contain two slashes in a row");
		if (name[from] == '.' && i - from == 1)
			return err_set(err, LARDER_ERR_USAGE,
			    "a name cannot have the component \".\"");
		if (name[from] == '.' && i - from == 2 && name[from + 1] == '.')
			return err_set(err, LARDER_ERR_USAGE,
			    "a name cannot have the component \"..\"");
		from = i + 1;
	}
	if (ends_in_version(name, name_len))
		return err_set(err, LARDER_ERR_USAGE,
		    "a name cannot end in \"@\" and digits: that means a version");
	return LARDER_OK;
}

int
entry_tags_check(const struct entry_tag *tags, size_t tag_count, struct larder_err *err)
{
	if (tag_count > TAGS_MAX)
		return err_set(err, LARDER_ERR_LIMIT, "a version can have %d tags (TAGS_MAX), not %zu",
		    TAGS_MAX, tag_count);
	for (size_t i = 0; i < tag_count; i++) {
		const char *fault = tag_fault(i > 0 ? &tags[i - 1] : NULL, &tags[i]);

		if (fault != NULL)
			return err_set(err, LARDER_ERR_USAGE, "tag %.*s: %s",
			    (int)(tags[i].key_len < TAG_LEN_MAX ? tags[i].key_len : TAG_LEN_MAX),
			    tags[i].key, fault);
	}
	return LARDER_OK;
}
