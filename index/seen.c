/* Hints about files that need no reading: any 16 bytes -> up to 60 KiB. */
#include <string.h>

#include "cas/base/err.h"
#include "index/table.h"

enum { SEEN_KEY_LEN = 16 };

int
index_seen_get(
    struct buf *out, struct index_read *read, const uint8_t key[16], struct larder_err *err)
{
	struct row row;
	int rc;

	rc = table_get(&row, read, TABLE_SEEN, key, SEEN_KEY_LEN, err);
	if (rc < 0)
		return rc;
	rc = buf_resize(out, row.len);
	if (rc < 0)
		return buf_err(out, rc, err);
	if (row.len > 0)
		memcpy(out->data, row.data, row.len);
	return LARDER_OK;
}

int
index_seen_put(struct index_write *write, const uint8_t key[16], const void *data, size_t len,
    struct larder_err *err)
{
	int rc;

	if (len > ROW_SEEN_MAX)
		return err_set(err, LARDER_ERR_LIMIT, "index: a hint of %zu bytes, more than %d",
		    len, ROW_SEEN_MAX);
	rc = buf_resize(&write->value, len + ROW_CHECK_LEN);
	if (rc < 0)
		return buf_err(&write->value, rc, err);
	if (len > 0)
		memcpy(write->value.data, data, len);
	return table_put(write, TABLE_SEEN, key, SEEN_KEY_LEN, write->value.data, len, err);
}

int
index_seen_clear(struct index_write *write, struct larder_err *err)
{
	return table_clear(write, TABLE_SEEN, err);
}
