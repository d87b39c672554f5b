/* How far each writer's journal is applied: changes in the transaction that applies it. */
#include <string.h>

#include "index/table.h"

static int
decode_position(struct index_position *out, struct index_read *read, const struct id16 *writer,
    const struct row *row, struct larder_err *err)
{
	if (row_position_decode(out, writer, row->data, row->len, err) < 0)
		return env_bad_value(read->env, TABLE_POSITIONS, err);
	return LARDER_OK;
}

int
index_position_get(struct index_position *out, struct index_read *read, const struct id16 *writer,
    struct larder_err *err)
{
	struct row row;
	int rc;

	rc = table_get(&row, read, TABLE_POSITIONS, writer->bytes, ID16_LEN, err);
	return rc < 0 ? rc : decode_position(out, read, writer, &row, err);
}

int
index_position_put(
    struct index_write *write, const struct index_position *position, struct larder_err *err)
{
	uint8_t value[ROW_POSITION_MAX + ROW_CHECK_LEN];

	return table_put(write, TABLE_POSITIONS, position->writer.bytes, ID16_LEN, value,
	    row_position_encode(value, position), err);
}

int
index_position_each(
    struct index_read *read, index_position_fn fn, void *context, struct larder_err *err)
{
	struct table_cursor c;
	int rc;

	rc = table_cursor_begin(&c, read, TABLE_POSITIONS, err);
	if (rc == 0)
		rc = table_cursor_seek(&c, NULL, 0, err);
	while (rc == 1) {
		struct index_position position;
		struct id16 writer;

		if (c.row.key_len != ID16_LEN) {
			rc = env_bad_value(read->env, TABLE_POSITIONS, err);
			break;
		}
		memcpy(writer.bytes, c.row.key, ID16_LEN);
		rc = decode_position(&position, read, &writer, &c.row, err);
		if (rc == 0)
			rc = fn(context, &position, err);
		if (rc != 0)
			break;
		rc = table_cursor_next(&c, err);
	}
	table_cursor_end(&c);
	return rc;
}
