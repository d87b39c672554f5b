#ifndef LARDER_CURSOR_H
#define LARDER_CURSOR_H

/*
 * Bounded reading: a decoder built on a cursor cannot run over. The first read
 * past the end (or malformed varint) sets `bad`; from then on every read gives
 * zeros, so a decoder may read a whole record and look at `bad` once.
 * Copyable value, caller's storage, no allocation.
 */
#include <stdbool.h>
#include <string.h>

#include "cas/base/bytes.h"
#include "cas/types.h"

struct cursor {
	const uint8_t *at;
	const uint8_t *end;
	const uint8_t *start;
	bool bad;
};

static inline struct cursor
cursor_of(const void *data, size_t len)
{
	const uint8_t *p = data;

	return (struct cursor) { .at = p, .end = p + len, .start = p, .bad = false };
}

static inline size_t
cursor_left(const struct cursor *c)
{
	return (size_t)(c->end - c->at);
}

/* Bytes consumed so far: the offset for an error message. */
static inline size_t
cursor_offset(const struct cursor *c)
{
	return (size_t)(c->at - c->start);
}

/* True when everything was read and nothing was bad. */
static inline bool
cursor_done(const struct cursor *c)
{
	return !c->bad && c->at == c->end;
}

/* The next len bytes, lent for the life of the data; NULL (and bad) when there are fewer. */
static inline const uint8_t *
cursor_bytes(struct cursor *c, size_t len)
{
	const uint8_t *p = c->at;

	if (c->bad || cursor_left(c) < len) {
		c->bad = true;
		return NULL;
	}
	c->at += len;
	return p;
}

static inline uint8_t
cursor_u8(struct cursor *c)
{
	const uint8_t *p = cursor_bytes(c, 1);

	return p ? p[0] : 0;
}

static inline uint16_t
cursor_le16(struct cursor *c)
{
	const uint8_t *p = cursor_bytes(c, 2);

	return p ? get_le16(p) : 0;
}

static inline uint32_t
cursor_le32(struct cursor *c)
{
	const uint8_t *p = cursor_bytes(c, 4);

	return p ? get_le32(p) : 0;
}

static inline uint64_t
cursor_le64(struct cursor *c)
{
	const uint8_t *p = cursor_bytes(c, 8);

	return p ? get_le64(p) : 0;
}

static inline uint64_t
cursor_varint(struct cursor *c)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 64; shift += 7) {
		uint8_t b = cursor_u8(c);

		if (shift == 63 && b > 1)
			break; /* more than 64 bits */
		v |= (uint64_t)(b & 0x7f) << shift;
		if (b < 0x80) {
			if (b == 0 && shift > 0)
				break; /* not the shortest form */
			return c->bad ? 0 : v;
		}
	}
	c->bad = true;
	return 0;
}

static inline void
cursor_id(struct cursor *c, struct larder_id *out)
{
	const uint8_t *p = cursor_bytes(c, LARDER_ID_LEN);

	if (p)
		memcpy(out->bytes, p, LARDER_ID_LEN);
	else
		memset(out->bytes, 0, LARDER_ID_LEN);
}

#endif
