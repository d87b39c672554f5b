/* Chunks: id -> place. The largest table: nothing here allocates. */
#include <assert.h>
#include <string.h>

#include "cas/base/bytes.h"
#include "cas/base/err.h"
#include "index/table.h"

static int
decode_place(
    struct index_place *out, struct index_read *read, const struct row *row, struct larder_err *err)
{
	if (row_place_decode(out, row->data, row->len, err) < 0)
		return env_bad_value(read->env, TABLE_CHUNKS, err);
	return LARDER_OK;
}

int
index_chunk_get(struct index_place *out, struct index_read *read, const struct larder_id *id,
    struct larder_err *err)
{
	struct row row;
	int rc;

	rc = table_get(&row, read, TABLE_CHUNKS, id->bytes, LARDER_ID_LEN, err);
	return rc < 0 ? rc : decode_place(out, read, &row, err);
}

int
index_chunk_put(struct index_write *write, const struct larder_id *id,
    const struct index_place *place, struct larder_err *err)
{
	uint8_t value[ROW_PLACE_MAX + ROW_CHECK_LEN];

	return table_add(write, TABLE_CHUNKS, id->bytes, LARDER_ID_LEN, value,
	    row_place_encode(value, place), err);
}

int
index_chunk_append(struct index_write *write, const struct larder_id *id,
    const struct index_place *place, struct larder_err *err)
{
	uint8_t value[ROW_PLACE_MAX + ROW_CHECK_LEN];
	struct row row;
	int rc;

	rc = table_append(write, TABLE_CHUNKS, id->bytes, LARDER_ID_LEN, value,
	    row_place_encode(value, place), err);
	if (rc != 0)
		return rc;
	/* Not above the last one: equal to it, or out of order. */
	rc = table_get(&row, &write->view, TABLE_CHUNKS, id->bytes, LARDER_ID_LEN, err);
	if (rc == LARDER_ERR_NOT_FOUND)
		return err_set(err, LARDER_ERR_USAGE, "index: chunks appended out of order");
	return rc;
}

int
index_chunk_drop(
    struct index_write *write, const struct larder_id *id, uint32_t pack, struct larder_err *err)
{
	struct index_place place;
	int rc;

	rc = index_chunk_get(&place, &write->view, id, err);
	if (rc < 0)
		return rc;
	if (place.pack != pack)
		return LARDER_ERR_NOT_FOUND;
	return table_drop(write, TABLE_CHUNKS, id->bytes, LARDER_ID_LEN, err);
}

/* The row's id and place. */
static int
take(struct larder_id *id, struct index_place *place, const struct table_cursor *c,
    struct larder_err *err)
{
	if (c->row.key_len != LARDER_ID_LEN)
		return env_bad_value(c->read->env, TABLE_CHUNKS, err);
	memcpy(id->bytes, c->row.key, LARDER_ID_LEN);
	return decode_place(place, c->read, &c->row, err);
}

int
index_chunk_each(struct index_read *read, const struct larder_id *lowest,
    const struct larder_id *highest, index_chunk_fn fn, void *context, struct larder_err *err)
{
	struct table_cursor c;
	int rc;

	rc = table_cursor_begin(&c, read, TABLE_CHUNKS, err);
	if (rc == 0)
		rc = table_cursor_seek(&c, lowest->bytes, LARDER_ID_LEN, err);
	while (rc == 1) {
		struct index_place place;
		struct larder_id id;

		rc = take(&id, &place, &c, err);
		if (rc < 0 || id_compare(&id, highest) > 0)
			break;
		rc = fn(context, &id, &place, err);
		if (rc != 0)
			break;
		rc = table_cursor_next(&c, err);
	}
	table_cursor_end(&c);
	return rc;
}

int
index_chunk_by_prefix(struct larder_id *id, struct index_place *place, struct index_read *read,
    uint64_t prefix, struct larder_err *err)
{
	struct larder_id lowest = { { 0 } };
	struct table_cursor c;
	int rc;

	put_be64(lowest.bytes, prefix);
	rc = table_cursor_begin(&c, read, TABLE_CHUNKS, err);
	if (rc == 0)
		rc = table_cursor_seek(&c, lowest.bytes, LARDER_ID_LEN, err);
	if (rc == 1)
		rc = take(id, place, &c, err);
	else if (rc == 0)
		rc = LARDER_ERR_NOT_FOUND;
	table_cursor_end(&c);
	if (rc == 0 && get_be64(id->bytes) != prefix)
		rc = LARDER_ERR_NOT_FOUND;
	return rc;
}
