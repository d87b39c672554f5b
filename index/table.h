#ifndef LARDER_INDEX_TABLE_H
#define LARDER_INDEX_TABLE_H

/*
 * The one door to rows: whatever is read was checked, whatever is written gets
 * its check, and the sums of its table follow. Keys and values as row.h has
 * them. Nobody outside this room includes this.
 *
 * Values are lent: until the next change in the same write transaction, or
 * until the read handle ends or is renewed.
 */
#include "index/env.h"

struct row {
	const uint8_t *key;
	size_t key_len;
	const uint8_t *data; /* without the check */
	size_t len;
	uint64_t check;
};

/* NOT_FOUND leaves err alone. */
LARDER_MUST_USE int table_get(struct row *out, struct index_read *read, enum index_table table,
    const void *key, size_t key_len, struct larder_err *err);

/*
 * `value` has room for ROW_CHECK_LEN more bytes behind `len`, which are filled.
 * put: insert or replace. add: 1 = inserted, 0 = there already, and *out, if
 * given, is what is there. append: like add, for keys in rising order into the
 * end of the table.
 */
LARDER_MUST_USE int table_put(struct index_write *write, enum index_table table, const void *key,
    size_t key_len, uint8_t *value, size_t len, struct larder_err *err);
LARDER_MUST_USE int table_add(struct index_write *write, enum index_table table, const void *key,
    size_t key_len, uint8_t *value, size_t len, struct larder_err *err);
LARDER_MUST_USE int table_append(struct index_write *write, enum index_table table, const void *key,
    size_t key_len, uint8_t *value, size_t len, struct larder_err *err);
LARDER_MUST_USE int table_drop(struct index_write *write, enum index_table table, const void *key,
    size_t key_len, struct larder_err *err);
LARDER_MUST_USE int table_clear(
    struct index_write *write, enum index_table table, struct larder_err *err);

/*
 * Rows in key order. Each step answers 1 with `row`, 0 at the end, or an error;
 * rows that do not rise are CORRUPT, so that no walk is endless. Not to be used
 * across changes of the table.
 */
struct table_cursor {
	struct row row;
	struct index_read *read;
	enum index_table table;
	MDB_cursor *cursor;
	size_t last_len; /* of the key given last; 0: none */
	uint8_t last[ROW_KEY_MAX];
};
LARDER_MUST_USE int table_cursor_begin(struct table_cursor *c, struct index_read *read,
    enum index_table table, struct larder_err *err);
void table_cursor_end(struct table_cursor *c); /* also after begin failed */
/* The first row whose key is not below this one; key_len 0: the first of all. */
LARDER_MUST_USE int table_cursor_seek(
    struct table_cursor *c, const void *key, size_t key_len, struct larder_err *err);
/* The last row whose key is below this one. */
LARDER_MUST_USE int table_cursor_below(
    struct table_cursor *c, const void *key, size_t key_len, struct larder_err *err);
LARDER_MUST_USE int table_cursor_next(struct table_cursor *c, struct larder_err *err);
LARDER_MUST_USE int table_cursor_previous(struct table_cursor *c, struct larder_err *err);

/* The rows `head` and `sums` of the main tree. */
LARDER_MUST_USE int table_read_head(struct row_head *out, struct env *env, MDB_txn *txn,
    const uint8_t **lent, struct larder_err *err);
LARDER_MUST_USE int table_write_head(
    struct env *env, MDB_txn *txn, const struct row_head *head, struct larder_err *err);
LARDER_MUST_USE int table_read_sums(
    struct row_sums *out, struct index_read *read, struct larder_err *err);
LARDER_MUST_USE int table_write_sums(struct index_write *write, struct larder_err *err);

/* How many rows LMDB itself believes a table to have. */
LARDER_MUST_USE int table_rows(
    uint64_t *count, struct index_read *read, enum index_table table, struct larder_err *err);

#endif
