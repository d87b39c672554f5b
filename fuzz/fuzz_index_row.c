/*
 * Rows of the index: what decodes encodes to the same bytes again, so that no
 * row has two forms. The first byte is the table, the second the key's length.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cas/base/bytes.h"
#include "index/row.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must_equal(const void *a, size_t a_len, const void *b, size_t b_len)
{
	if (a_len != b_len || (a_len > 0 && memcmp(a, b, a_len) != 0))
		abort();
}

static void
try_place(const uint8_t *value, size_t len)
{
	uint8_t again[ROW_PLACE_MAX];
	struct index_place place;

	if (row_place_decode(&place, value, len, NULL) == 0)
		must_equal(value, len, again, row_place_encode(again, &place));
}

static void
try_pack(const uint8_t *value, size_t len)
{
	uint8_t again[ROW_PACK_MAX];
	struct index_pack pack;
	uint32_t number;

	if (row_pack_decode(&pack, value, len, NULL) == 0)
		must_equal(value, len, again, row_pack_encode(again, &pack));
	if (row_packid_decode(&number, value, len, NULL) == 0)
		must_equal(value, len, again, row_packid_encode(again, number));
}

static void
try_name(const uint8_t *value, size_t len)
{
	uint8_t again[ROW_NAME_MAX];
	struct row_name row;

	if (row_name_decode(&row, value, len, NULL) == 0)
		must_equal(value, len, again, row_name_encode(again, &row));
}

static void
try_version(const uint8_t *value, size_t len)
{
	struct index_version_row row = { 0 };
	struct buf again = { 0 };

	if (row_version_decode(&row, "name", 4, 1, value, len, NULL) == 0) {
		if (strcmp(row.version.name, "name") != 0 ||
		    row_version_encode(&again, &row.version) != 0)
			abort();
		must_equal(value, len, again.data, again.len);
	}
	buf_release(&again);
	index_version_release(&row);
}

static void
try_numbers(const uint8_t *value, size_t len)
{
	uint8_t again[ROW_TIME_MAX];
	uint64_t number;
	int64_t ended_ns;

	if (row_gid_decode(&number, value, len, NULL) == 0)
		must_equal(value, len, again, row_gid_encode(again, number));
	if (row_time_decode(&number, &ended_ns, value, len, NULL) == 0)
		must_equal(value, len, again, row_time_encode(again, number, ended_ns));
}

static void
try_position(const uint8_t *value, size_t len)
{
	static const struct id16 writer = { { 1 } };
	uint8_t again[ROW_POSITION_MAX];
	struct index_position position;

	if (row_position_decode(&position, &writer, value, len, NULL) == 0)
		must_equal(value, len, again, row_position_encode(again, &position));
}

static void
try_single(const uint8_t *value, size_t len)
{
	uint8_t head_again[ROW_HEAD_LEN], sums_again[ROW_SUMS_LEN];
	struct row_head head;
	struct row_sums sums;

	if (row_head_decode(&head, value, len, NULL) == 0) {
		row_head_encode(head_again, &head);
		must_equal(value, len, head_again, sizeof head_again);
	}
	if (row_sums_decode(&sums, value, len, NULL) == 0) {
		row_sums_encode(sums_again, &sums);
		must_equal(value, len, sums_again, sizeof sums_again);
	}
}

/* Keys split into what they were made of. */
static void
try_keys(const uint8_t *key, size_t key_len)
{
	uint8_t again[ROW_KEY_MAX];
	uint64_t number;
	int64_t created_ns;
	struct id16 gid;
	bool alive;

	for (size_t n = 1; n < key_len && n <= ROW_NAME_KEY_MAX; n++) {
		memcpy(again, key, n);
		if (row_version_key_number(&number, key, key_len, key, n))
			must_equal(key, key_len, again, row_version_key(again, n, number));
		if (row_time_key_split(&alive, &created_ns, &gid, key, key_len, key, n))
			must_equal(
			    key, key_len, again, row_time_key(again, n, alive, created_ns, &gid));
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *key, *value;
	size_t key_len, len;

	if (size < 2)
		return 0;
	key = data + 2;
	key_len = data[1] <= size - 2 ? data[1] : size - 2;
	value = key + key_len;
	len = size - 2 - key_len;

	try_place(value, len);
	try_pack(value, len);
	try_name(value, len);
	try_version(value, len);
	try_numbers(value, len);
	try_position(value, len);
	try_single(value, len);
	try_keys(key, key_len);
	(void)!row_plausible(
	    (enum index_table)(data[0] % (TABLE_COUNT + 1)), key, key_len, value, len, NULL);
	return 0;
}
