/* Rows of the seen table as bytes. index/SCHEMA.md leaves their content to us; see remember.h. */
#include "cas/remember.h"

#include <string.h>

#include "cas/base/cursor.h"
#include "cas/base/mem.h"
#include "cas/base/sha256.h"

enum { ROW_DIR = 1, ROW_FILE = 2 };

void
remember_release(struct remember *row)
{
	mem_free(row->prints);
	memset(row, 0, sizeof *row);
}

void
remember_key(
    uint8_t key[REMEMBER_KEY_LEN], const char *top, const char *path, const struct larder_id *rules)
{
	struct larder_id digest;
	struct sha256 stream;

	sha256_init(&stream);
	sha256_update(&stream, rules->bytes, LARDER_ID_LEN);
	sha256_update(&stream, top, strlen(top) + 1);
	sha256_update(&stream, path, strlen(path));
	sha256_final(&stream, &digest);
	memcpy(key, digest.bytes, REMEMBER_KEY_LEN);
}

int
remember_encode(struct buf *out, const struct remember *row)
{
	uint8_t head[2 + 3 * LARDER_ID_LEN + 64];
	size_t n = 0;
	int rc;

	if (row->print_count > REMEMBER_PRINTS_MAX)
		return LARDER_ERR_LIMIT;
	head[n++] = row->file ? ROW_FILE : ROW_DIR;
	put_le64(head + n, row->self);
	n += 8;
	if (row->file) {
		head[n++] = row->list;
		memcpy(head + n, row->id.bytes, LARDER_ID_LEN);
		n += LARDER_ID_LEN;
		n += put_varint(head + n, row->size);
		return buf_append(out, head, n);
	}
	memcpy(head + n, row->tree.bytes, LARDER_ID_LEN);
	n += LARDER_ID_LEN;
	memcpy(head + n, row->attrs.bytes, LARDER_ID_LEN);
	n += LARDER_ID_LEN;
	memcpy(head + n, row->children, sizeof row->children);
	n += sizeof row->children;
	put_le64(head + n, row->names);
	n += 8;
	n += put_varint(head + n, row->files);
	n += put_varint(head + n, row->bytes);
	n += put_varint(head + n, row->print_count);
	rc = buf_append(out, head, n);
	for (size_t i = 0; i < row->print_count && rc == LARDER_OK; i++)
		rc = buf_append_le64(out, row->prints[i]);
	return rc;
}

int
remember_decode(struct remember *out, const void *data, size_t len)
{
	struct cursor c = cursor_of(data, len);
	const uint8_t *children;
	uint8_t kind;

	memset(out, 0, sizeof *out);
	kind = cursor_u8(&c);
	out->self = cursor_le64(&c);
	if (kind == ROW_FILE) {
		out->file = true;
		out->list = cursor_u8(&c) != 0;
		cursor_id(&c, &out->id);
		out->size = cursor_varint(&c);
		return cursor_done(&c) ? LARDER_OK : LARDER_ERR_CORRUPT;
	}
	if (kind != ROW_DIR)
		return LARDER_ERR_CORRUPT;
	cursor_id(&c, &out->tree);
	cursor_id(&c, &out->attrs);
	children = cursor_bytes(&c, sizeof out->children);
	if (children != NULL)
		memcpy(out->children, children, sizeof out->children);
	out->names = cursor_le64(&c);
	out->files = cursor_varint(&c);
	out->bytes = cursor_varint(&c);
	out->print_count = cursor_varint(&c);
	if (c.bad || out->print_count > REMEMBER_PRINTS_MAX ||
	    cursor_left(&c) != out->print_count * 8)
		return LARDER_ERR_CORRUPT;
	if (out->print_count > 0) {
		out->prints = mem_array(out->print_count, sizeof *out->prints);
		if (out->prints == NULL)
			return LARDER_ERR_NOMEM;
		for (size_t i = 0; i < out->print_count; i++)
			out->prints[i] = cursor_le64(&c);
	}
	return LARDER_OK;
}
