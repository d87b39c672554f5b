#ifndef LARDER_BUF_H
#define LARDER_BUF_H

/*
 * Growable bytes with a maximum. `struct buf b = { 0 }` is a valid empty buffer
 * with the maximum BUF_MAX_DEFAULT; buf_init() sets another. Appending returns
 * NOMEM or LIMIT and leaves the content as it was. Not shareable by threads.
 */
#include "cas/types.h"

enum { BUF_MAX_DEFAULT = 64 * 1024 * 1024 }; /* the largest thing built in one piece: one batch */

struct buf {
	uint8_t *data; /* lent until the next change */
	size_t len;
	size_t room;
	size_t max; /* 0 = BUF_MAX_DEFAULT */
};

void buf_init(struct buf *b, size_t max);
void buf_release(struct buf *b); /* frees; b is empty again and keeps its maximum */
void buf_clear(struct buf *b);   /* len = 0; keeps the memory */
void buf_move(struct buf *to, struct buf *from); /* to's old content is freed; from is empty */
LARDER_MUST_USE int buf_reserve(struct buf *b, size_t more); /* room for `more` bytes behind len */
LARDER_MUST_USE int buf_append(struct buf *b, const void *data, size_t len);
LARDER_MUST_USE int buf_append_u8(struct buf *b, uint8_t v);
LARDER_MUST_USE int buf_append_le16(struct buf *b, uint16_t v);
LARDER_MUST_USE int buf_append_le32(struct buf *b, uint32_t v);
LARDER_MUST_USE int buf_append_le64(struct buf *b, uint64_t v);
LARDER_MUST_USE int buf_append_varint(struct buf *b, uint64_t v);
/* varint length, then the bytes */
LARDER_MUST_USE int buf_append_lenstr(struct buf *b, const void *data, size_t len);
LARDER_MUST_USE int buf_resize(struct buf *b, size_t len); /* new bytes are not initialised */
/* status -> sentence, for the two ways in which appending fails */
int buf_err(const struct buf *b, int status, struct larder_err *err);

#endif
