/*
 * Features -> the start of a chunk's id. A hint that is wrong costs one useless
 * look, since whoever follows it compares; so rows have no check, and of the
 * feature only as much is kept as tells features of a store apart.
 */
#include "cas/base/bytes.h"
#include "index/table.h"

int
index_sketch_get(
    uint64_t *id_prefix, struct index_read *read, uint64_t feature, struct larder_err *err)
{
	uint8_t key[ROW_SKETCH_KEY_LEN];
	struct row row;
	int rc;

	row_sketch_key(key, feature);
	rc = table_get(&row, read, TABLE_SKETCHES, key, sizeof key, err);
	if (rc < 0)
		return rc;
	if (row.len != 8)
		return env_bad_value(read->env, TABLE_SKETCHES, err);
	*id_prefix = get_le64(row.data);
	return LARDER_OK;
}

int
index_sketch_put(
    struct index_write *write, uint64_t feature, uint64_t id_prefix, struct larder_err *err)
{
	uint8_t key[ROW_SKETCH_KEY_LEN], value[8 + ROW_CHECK_LEN];

	row_sketch_key(key, feature);
	put_le64(value, id_prefix);
	return table_put(write, TABLE_SKETCHES, key, sizeof key, value, 8, err);
}
