/*
 * Growable bytes with a maximum.
 *
 * 1. len <= room, and len never exceeds the maximum.
 * 2. What fails changes nothing.
 */
#include "cas/base/buf.h"

#include <assert.h>
#include <string.h>

#include "cas/base/bytes.h"
#include "cas/base/err.h"
#include "cas/base/mem.h"

enum { ROOM_MIN = 64 };

static size_t
max_of(const struct buf *b)
{
	return b->max > 0 ? b->max : BUF_MAX_DEFAULT;
}

void
buf_init(struct buf *b, size_t max)
{
	*b = (struct buf) { .max = max };
}

void
buf_release(struct buf *b)
{
	mem_free(b->data);
	buf_init(b, b->max);
}

void
buf_clear(struct buf *b)
{
	b->len = 0;
}

void
buf_move(struct buf *to, struct buf *from)
{
	assert(to != from);
	mem_free(to->data);
	*to = *from;
	buf_init(from, from->max);
}

int
buf_reserve(struct buf *b, size_t more)
{
	size_t max = max_of(b), need, room;
	uint8_t *data;

	if (more <= b->room - b->len)
		return LARDER_OK;
	if (b->len > max || more > max - b->len)
		return LARDER_ERR_LIMIT;
	need = b->len + more;

	room = b->room < ROOM_MIN ? ROOM_MIN : b->room;
	while (room < need)
		room = room > max / 2 ? max : room * 2;
	if (room > max)
		room = max;
	data = mem_resize(b->data, room, 1);
	if (data == NULL)
		return LARDER_ERR_NOMEM;
	b->data = data;
	b->room = room;
	return LARDER_OK;
}

int
buf_append(struct buf *b, const void *data, size_t len)
{
	int rc = buf_reserve(b, len);

	if (rc < 0 || len == 0)
		return rc;
	memcpy(b->data + b->len, data, len);
	b->len += len;
	return LARDER_OK;
}

int
buf_append_u8(struct buf *b, uint8_t v)
{
	return buf_append(b, &v, 1);
}

int
buf_append_le16(struct buf *b, uint16_t v)
{
	uint8_t bytes[2];

	put_le16(bytes, v);
	return buf_append(b, bytes, sizeof bytes);
}

int
buf_append_le32(struct buf *b, uint32_t v)
{
	uint8_t bytes[4];

	put_le32(bytes, v);
	return buf_append(b, bytes, sizeof bytes);
}

int
buf_append_le64(struct buf *b, uint64_t v)
{
	uint8_t bytes[8];

	put_le64(bytes, v);
	return buf_append(b, bytes, sizeof bytes);
}

int
buf_append_varint(struct buf *b, uint64_t v)
{
	uint8_t bytes[VARINT_LEN_MAX];

	return buf_append(b, bytes, put_varint(bytes, v));
}

int
buf_append_lenstr(struct buf *b, const void *data, size_t len)
{
	uint8_t bytes[VARINT_LEN_MAX];
	size_t n = put_varint(bytes, len);
	int rc;

	if (len > SIZE_MAX - n)
		return LARDER_ERR_LIMIT;
	rc = buf_reserve(b, n + len); /* both or neither */
	if (rc < 0)
		return rc;
	memcpy(b->data + b->len, bytes, n);
	b->len += n;
	return buf_append(b, data, len);
}

int
buf_resize(struct buf *b, size_t len)
{
	if (len > b->len) {
		int rc = buf_reserve(b, len - b->len);

		if (rc < 0)
			return rc;
	}
	b->len = len;
	return LARDER_OK;
}

int
buf_err(const struct buf *b, int status, struct larder_err *err)
{
	if (status == LARDER_ERR_LIMIT)
		return err_set(err, LARDER_ERR_LIMIT, "more than %zu bytes", max_of(b));
	if (status == LARDER_ERR_NOMEM)
		return err_nomem(err);
	return status;
}
