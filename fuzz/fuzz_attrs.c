/*
 * Attrs and their nodes: what decodes, encodes to the same bytes; what does
 * not, is refused with a sentence.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cas/object/attrs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { XATTRS_MAX = 65536 };

static struct attrs_row rows[ATTRS_ROWS_MAX], self;
static struct attrs_xattr xattrs[XATTRS_MAX]; /* lent only until the next row: copied here */
static size_t xattrs_used;
static struct larder_id parts[65536];

static bool
keep_xattrs(struct attrs_row *row)
{
	if (row->xattr_count > XATTRS_MAX - xattrs_used)
		return false;
	if (row->xattr_count == 0)
		return true;
	memcpy(xattrs + xattrs_used, row->xattrs, row->xattr_count * sizeof *xattrs);
	row->xattrs = xattrs + xattrs_used;
	xattrs_used += row->xattr_count;
	return true;
}

/* Rows or parts read; negative: refused, or more xattrs than fit here. */
static int
read_items(struct attrs_reader *reader, struct larder_err *err)
{
	int count = 0;
	int rc;

	self = reader->self;
	if (!keep_xattrs(&self))
		return LARDER_ERR_LIMIT;
	for (;;) {
		if (reader->node) {
			rc = attrs_node_next(reader, &parts[count], err);
		} else {
			struct attrs_row row;

			rc = attrs_next(reader, &row, err);
			if (rc > 0) {
				assert(count < ATTRS_ROWS_MAX);
				if (!keep_xattrs(&row))
					return LARDER_ERR_LIMIT;
				rows[count] = row;
			}
		}
		if (rc <= 0)
			return rc < 0 ? rc : count;
		count++;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct larder_err err = { 0 };
	struct attrs_reader reader;
	struct buf out = { 0 };
	int rc;

	if (size > 256 * 1024)
		return 0;
	xattrs_used = 0;
	rc = attrs_open(&reader, data, size, &err);
	if (rc == 0)
		rc = read_items(&reader, &err);
	if (rc < 0) {
		assert(rc == LARDER_ERR_CORRUPT || rc == LARDER_ERR_VERSION ||
		    rc == LARDER_ERR_LIMIT);
		if (rc != LARDER_ERR_LIMIT)
			assert((int)err.status == rc && err.message[0] != '\0');
		attrs_close(&reader);
		return 0;
	}

	if (reader.node)
		rc = attrs_node_encode(&out, parts, (size_t)rc);
	else
		rc = attrs_encode(&out, reader.has_self ? &self : NULL, rows, (size_t)rc);
	assert(rc == 0);
	assert(out.len == size && memcmp(out.data, data, size) == 0);
	buf_release(&out);
	attrs_close(&reader);
	return 0;
}
