/*
 * Packs: number <-> id. A number is never given twice, so that a place which
 * names a pack that is gone can be told from one that names another.
 */
#include "cas/base/bytes.h"
#include "cas/base/err.h"
#include "index/table.h"

enum { NUMBER_KEY_LEN = 4 };

/* Big-endian: in number order. */
static void
number_key(uint8_t out[NUMBER_KEY_LEN], uint32_t number)
{
	for (int i = 0; i < NUMBER_KEY_LEN; i++)
		out[i] = (uint8_t)(number >> (8 * (NUMBER_KEY_LEN - 1 - i)));
}

static uint32_t
number_of(const uint8_t key[NUMBER_KEY_LEN])
{
	return (uint32_t)key[0] << 24 | (uint32_t)key[1] << 16 | (uint32_t)key[2] << 8 | key[3];
}

static int
decode_pack(
    struct index_pack *out, struct index_read *read, const struct row *row, struct larder_err *err)
{
	if (row_pack_decode(out, row->data, row->len, err) < 0)
		return env_bad_value(read->env, TABLE_PACKS, err);
	return LARDER_OK;
}

int
index_pack_get(
    struct index_pack *out, struct index_read *read, uint32_t number, struct larder_err *err)
{
	uint8_t key[NUMBER_KEY_LEN];
	struct row row;
	int rc;

	number_key(key, number);
	rc = table_get(&row, read, TABLE_PACKS, key, sizeof key, err);
	return rc < 0 ? rc : decode_pack(out, read, &row, err);
}

int
index_pack_find(
    uint32_t *number, struct index_read *read, const struct id16 *id, struct larder_err *err)
{
	struct row row;
	int rc;

	rc = table_get(&row, read, TABLE_PACKIDS, id->bytes, ID16_LEN, err);
	if (rc < 0)
		return rc;
	if (row_packid_decode(number, row.data, row.len, err) < 0)
		return env_bad_value(read->env, TABLE_PACKIDS, err);
	return LARDER_OK;
}

static int
put_pack(struct index_write *write, uint32_t number, const struct index_pack *pack,
    struct larder_err *err)
{
	uint8_t key[NUMBER_KEY_LEN], value[ROW_PACK_MAX + ROW_CHECK_LEN];

	number_key(key, number);
	return table_put(
	    write, TABLE_PACKS, key, sizeof key, value, row_pack_encode(value, pack), err);
}

int
index_pack_put(uint32_t *number, struct index_write *write, const struct index_pack *pack,
    struct larder_err *err)
{
	uint8_t value[ROW_PACKID_MAX + ROW_CHECK_LEN];
	int rc;

	rc = index_pack_find(number, &write->view, &pack->id, err);
	if (rc == LARDER_ERR_NOT_FOUND) {
		if (write->sums.next_pack == 0)
			return err_set(err, LARDER_ERR_LIMIT, "index: all pack numbers are used");
		*number = write->sums.next_pack++;
		rc = table_put(write, TABLE_PACKIDS, pack->id.bytes, ID16_LEN, value,
		    row_packid_encode(value, *number), err);
	}
	return rc < 0 ? rc : put_pack(write, *number, pack, err);
}

int
index_pack_drop(struct index_write *write, uint32_t number, struct larder_err *err)
{
	uint8_t key[NUMBER_KEY_LEN];
	struct index_pack pack;
	int rc;

	rc = index_pack_get(&pack, &write->view, number, err);
	if (rc < 0)
		return rc;
	number_key(key, number);
	rc = table_drop(write, TABLE_PACKS, key, sizeof key, err);
	if (rc == 0)
		rc = table_drop(write, TABLE_PACKIDS, pack.id.bytes, ID16_LEN, err);
	/* The two tables say the same, or are damaged. */
	return rc == LARDER_ERR_NOT_FOUND ? env_bad_value(write->view.env, TABLE_PACKIDS, err) : rc;
}

int
index_pack_each(struct index_read *read, index_pack_fn fn, void *context, struct larder_err *err)
{
	struct table_cursor c;
	int rc;

	rc = table_cursor_begin(&c, read, TABLE_PACKS, err);
	if (rc == 0)
		rc = table_cursor_seek(&c, NULL, 0, err);
	while (rc == 1) {
		struct index_pack pack;

		rc = c.row.key_len == NUMBER_KEY_LEN ? decode_pack(&pack, read, &c.row, err)
						     : env_bad_value(read->env, TABLE_PACKS, err);
		if (rc == 0)
			rc = fn(context, number_of(c.row.key), &pack, err);
		if (rc != 0)
			break;
		rc = table_cursor_next(&c, err);
	}
	table_cursor_end(&c);
	return rc;
}
