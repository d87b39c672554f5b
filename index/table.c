/*
 * Rows, through LMDB.
 *
 * 1. Every value read is checked here, before anybody decodes it.
 * 2. A change of a row and the change of its table's sums are one.
 * 3. After the first failure inside a write transaction nothing more is written.
 *
 * Tables without checks (sketches) have no hash, and their count is LMDB's.
 */
#include "index/table.h"

#include <string.h>

#include "cas/base/bytes.h"
#include "index/lmdbcall.h"

enum {
	TOUCHED_UNIT = 64,     /* write->touched counts 64ths of a page */
	TOUCHED_APPEND = 2,    /* a row at the end of a table: some 60 fit a page */
	TOUCHED_FREE_MAX = 64, /* pages that the bookkeeping of one transaction takes */
};

static const char head_key[] = "head";
static const char sums_key[] = "sums";

static MDB_val
val_of(const void *data, size_t len)
{
	union {
		const void *in;
		void *out; /* LMDB changes no key or value that it is given */
	} u = { .in = data };

	return (MDB_val){ .mv_size = len, .mv_data = u.out };
}

/* ---- reading ---- */

static bool
is_checked(enum index_table table)
{
	return table != TABLE_SKETCHES;
}

/* Can these bytes be a value at all? Only then may they be looked at. */
static bool
is_mapped(const struct index_read *read, const MDB_val *value)
{
	const uint8_t *p = value->mv_data;

	if (value->mv_size > INDEX_VALUE_MAX)
		return false;
	if (read->write != NULL)
		return true; /* may be a changed page, which is in memory of LMDB's own */
	return p >= read->env->map && p <= read->end && value->mv_size <= (size_t)(read->end - p);
}

/* A row as LMDB gave it; false when its check says that it is not what was written. */
static bool
check_row(struct row *out, struct index_read *read, enum index_table table, const MDB_val *key,
    const MDB_val *value)
{
	struct trap trap;
	bool good = true;

	if (!is_mapped(read, value))
		return false;
	out->key = key->mv_data;
	out->key_len = key->mv_size;
	out->data = value->mv_data;
	out->len = value->mv_size;
	out->check = 0;
	if (!is_checked(table))
		return true;
	if (value->mv_size < ROW_CHECK_LEN)
		return false;
	out->len -= ROW_CHECK_LEN;
	trap_enter(&trap, read->env, false);
	out->check = get_le64(out->data + out->len);
	good = out->check ==
	       row_check(read->env->seed, table, out->key, out->key_len, out->data, out->len);
	trap_leave(&trap);
	return good;
}

static int
may_read(const struct index_read *read, struct larder_err *err)
{
	int rc = env_is_ours(read->env, err);

	if (rc == 0 && !read->begun)
		return err_set(err, LARDER_ERR_USAGE, "index: read handle without a snapshot");
	return rc;
}

int
table_get(struct row *out, struct index_read *read, enum index_table table, const void *key,
    size_t key_len, struct larder_err *err)
{
	MDB_val k = val_of(key, key_len), v;
	int rc;

	rc = may_read(read, err);
	if (rc < 0)
		return rc;
	rc = lmdb_get(read, read->env->dbi[table], &k, &v);
	if (rc != 0)
		return env_err(read->env, rc, err, row_table_name(table));
	if (!check_row(out, read, table, &k, &v))
		return env_bad_value(read->env, table, err);
	return LARDER_OK;
}

/* ---- writing ---- */

/* The transaction is lost; env.c starts it again, or gives up. */
static int
write_failed(struct index_write *write, int code, const char *what, struct larder_err *err)
{
	int rc = env_err(write->view.env, code, err, what);

	if (write->failed == 0) {
		write->failed = rc;
		write->map_full = code == MDB_MAP_FULL;
	}
	return rc;
}

/*
 * LMDB does not say how many pages a transaction has changed. While the rows
 * cannot have needed more than the limit, all is well; beyond that it is still
 * no more than there are pages.
 */
static int
check_touched(struct index_write *write, struct larder_err *err)
{
	const uint64_t most = INDEX_DIRTY_PAGES_MAX - TOUCHED_FREE_MAX;
	uint64_t pages = 0;

	if (write->touched / TOUCHED_UNIT <= most)
		return LARDER_OK;
	for (unsigned t = 0; t < TABLE_COUNT; t++) {
		MDB_stat stat;
		int rc = lmdb_stat(&write->view, write->view.env->dbi[t], &stat);

		if (rc != 0)
			return write_failed(write, rc, row_table_name((enum index_table)t), err);
		pages += stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages;
	}
	if (pages <= most) {
		/* Look again when so many rows more were written as could close the gap. */
		write->touched = pages * TOUCHED_UNIT;
		return LARDER_OK;
	}
	write->failed = LARDER_ERR_LIMIT;
	return err_set(err, LARDER_ERR_LIMIT,
	    "index: more than INDEX_DIRTY_PAGES_MAX (%d) pages in one transaction",
	    INDEX_DIRTY_PAGES_MAX);
}

static int
may_write(struct index_write *write, uint64_t touched, struct larder_err *err)
{
	int rc = may_read(&write->view, err);

	if (rc < 0)
		return rc;
	if (write->failed < 0)
		return err_set(
		    err, (enum larder_status)write->failed, "index: the transaction failed before");
	write->touched += touched;
	return check_touched(write, err);
}

/* Pages that putting or taking away a row may change, in 64ths: its own, a split's now and then. */
static uint64_t
touched_by(size_t value_len)
{
	return TOUCHED_UNIT + TOUCHED_UNIT / 8 + value_len * TOUCHED_UNIT / 4096;
}

static void
seal_value(struct index_write *write, enum index_table table, const void *key, size_t key_len,
    uint8_t *value, size_t len, uint64_t *check)
{
	*check = 0;
	if (!is_checked(table))
		return;
	*check = row_check(write->view.env->seed, table, key, key_len, value, len);
	put_le64(value + len, *check);
}

static size_t
sealed_len(enum index_table table, size_t len)
{
	return is_checked(table) ? len + ROW_CHECK_LEN : len;
}

static void
count_row(struct index_write *write, enum index_table table, uint64_t check)
{
	write->sums.table[table].count++;
	write->sums.table[table].hash += check;
	write->changed = true;
}

static void
uncount_row(struct index_write *write, enum index_table table, uint64_t check)
{
	write->sums.table[table].count--;
	write->sums.table[table].hash -= check;
	write->changed = true;
}

int
table_put(struct index_write *write, enum index_table table, const void *key, size_t key_len,
    uint8_t *value, size_t len, struct larder_err *err)
{
	MDB_val k = val_of(key, key_len), v;
	struct row old;
	uint64_t check;
	int rc, had = LARDER_ERR_NOT_FOUND;

	rc = may_write(write, touched_by(len), err);
	if (rc < 0)
		return rc;
	if (is_checked(table)) {
		had = table_get(&old, &write->view, table, key, key_len, err);
		if (had < 0 && had != LARDER_ERR_NOT_FOUND)
			return had;
	}
	seal_value(write, table, key, key_len, value, len, &check);
	v = val_of(value, sealed_len(table, len));
	rc = lmdb_put(write, write->view.env->dbi[table], &k, &v, 0);
	if (rc != 0)
		return write_failed(write, rc, row_table_name(table), err);
	if (had == 0)
		uncount_row(write, table, old.check);
	count_row(write, table, check);
	return LARDER_OK;
}

static int
insert(struct index_write *write, enum index_table table, const void *key, size_t key_len,
    uint8_t *value, size_t len, unsigned flags, struct larder_err *err)
{
	MDB_val k = val_of(key, key_len), v;
	uint64_t check;
	int rc;

	rc = may_write(write, flags & MDB_APPEND ? TOUCHED_APPEND : touched_by(len), err);
	if (rc < 0)
		return rc;
	seal_value(write, table, key, key_len, value, len, &check);
	v = val_of(value, sealed_len(table, len));
	rc = lmdb_put(write, write->view.env->dbi[table], &k, &v, flags);
	if (rc == MDB_KEYEXIST)
		return 0;
	if (rc != 0)
		return write_failed(write, rc, row_table_name(table), err);
	count_row(write, table, check);
	return 1;
}

int
table_add(struct index_write *write, enum index_table table, const void *key, size_t key_len,
    uint8_t *value, size_t len, struct larder_err *err)
{
	return insert(write, table, key, key_len, value, len, MDB_NOOVERWRITE, err);
}

int
table_append(struct index_write *write, enum index_table table, const void *key, size_t key_len,
    uint8_t *value, size_t len, struct larder_err *err)
{
	return insert(write, table, key, key_len, value, len, MDB_NOOVERWRITE | MDB_APPEND, err);
}

int
table_drop(struct index_write *write, enum index_table table, const void *key, size_t key_len,
    struct larder_err *err)
{
	MDB_val k = val_of(key, key_len);
	struct row old;
	int rc;

	rc = may_write(write, touched_by(0), err);
	if (rc == 0)
		rc = table_get(&old, &write->view, table, key, key_len, err);
	if (rc < 0)
		return rc;
	rc = lmdb_del(write, write->view.env->dbi[table], &k);
	if (rc != 0)
		return write_failed(write, rc, row_table_name(table), err);
	uncount_row(write, table, old.check);
	return LARDER_OK;
}

int
table_clear(struct index_write *write, enum index_table table, struct larder_err *err)
{
	int rc;

	rc = may_write(write, TOUCHED_UNIT, err);
	if (rc < 0)
		return rc;
	rc = lmdb_clear(write, write->view.env->dbi[table]);
	if (rc != 0)
		return write_failed(write, rc, row_table_name(table), err);
	write->sums.table[table].count = 0;
	write->sums.table[table].hash = 0;
	write->changed = true;
	return LARDER_OK;
}

/* ---- in order ---- */

int
table_cursor_begin(
    struct table_cursor *c, struct index_read *read, enum index_table table, struct larder_err *err)
{
	unsigned bit = 1u << table;
	int rc;

	c->read = read;
	c->table = table;
	c->cursor = NULL;
	c->last_len = 0;
	rc = may_read(read, err);
	if (rc < 0)
		return rc;
	rc = 0;
	if (read->write != NULL || (read->cursors_busy & bit)) {
		rc = lmdb_cursor_open(read, read->env->dbi[table], &c->cursor);
	} else {
		if (read->cursors[table] == NULL)
			rc = lmdb_cursor_open(read, read->env->dbi[table], &read->cursors[table]);
		else if (read->cursors_stale & bit)
			rc = lmdb_cursor_renew(read, read->cursors[table]);
		if (rc == 0) {
			c->cursor = read->cursors[table];
			read->cursors_busy |= bit;
			read->cursors_stale &= ~bit;
		}
	}
	return rc != 0 ? env_err(read->env, rc, err, row_table_name(table)) : LARDER_OK;
}

void
table_cursor_end(struct table_cursor *c)
{
	if (c->cursor == NULL)
		return;
	if (c->read->write == NULL && c->cursor == c->read->cursors[c->table])
		c->read->cursors_busy &= ~(1u << c->table);
	else
		mdb_cursor_close(c->cursor);
	c->cursor = NULL;
}

/* As LMDB orders keys: bytes, then length. */
static int
compare_keys(const void *a, size_t a_len, const void *b, size_t b_len)
{
	int order = memcmp(a, b, a_len < b_len ? a_len : b_len);

	return order != 0 ? order : (a_len > b_len) - (a_len < b_len);
}

/* direction +1 or -1: the row must lie on that side of the last one; 0: anywhere. */
static int
take_row(struct table_cursor *c, int code, const MDB_val *key, const MDB_val *value, int direction,
    struct larder_err *err)
{
	struct env *env = c->read->env;

	if (code == MDB_NOTFOUND) {
		c->last_len = 0;
		return 0;
	}
	if (code != 0)
		return env_err(env, code, err, row_table_name(c->table));
	if (key->mv_size < 1 || key->mv_size > sizeof c->last ||
	    !check_row(&c->row, c->read, c->table, key, value))
		return env_bad_value(env, c->table, err);
	if (direction != 0 && c->last_len > 0 &&
	    compare_keys(key->mv_data, key->mv_size, c->last, c->last_len) * direction <= 0)
		return env_bad_value(env, c->table, err);
	memcpy(c->last, key->mv_data, key->mv_size);
	c->last_len = key->mv_size;
	return 1;
}

static int
step(struct table_cursor *c, MDB_cursor_op op, int direction, struct larder_err *err)
{
	MDB_val k, v;
	int rc = may_read(c->read, err);

	if (rc < 0)
		return rc;
	rc = lmdb_cursor_get(c->read, c->cursor, &k, &v, op);
	return take_row(c, rc, &k, &v, direction, err);
}

int
table_cursor_seek(struct table_cursor *c, const void *key, size_t key_len, struct larder_err *err)
{
	MDB_val k = val_of(key, key_len), v;
	int rc;

	c->last_len = 0;
	if (key_len == 0)
		return step(c, MDB_FIRST, 0, err);
	rc = may_read(c->read, err);
	if (rc < 0)
		return rc;
	rc = lmdb_cursor_get(c->read, c->cursor, &k, &v, MDB_SET_RANGE);
	if (rc == 0 && compare_keys(k.mv_data, k.mv_size, key, key_len) < 0)
		return env_bad_value(c->read->env, c->table, err);
	return take_row(c, rc, &k, &v, 0, err);
}

int
table_cursor_below(struct table_cursor *c, const void *key, size_t key_len, struct larder_err *err)
{
	MDB_val k = val_of(key, key_len), v;
	int rc = may_read(c->read, err);

	if (rc < 0)
		return rc;
	c->last_len = 0;
	rc = lmdb_cursor_get(c->read, c->cursor, &k, &v, MDB_SET_RANGE);
	if (rc != 0 && rc != MDB_NOTFOUND)
		return env_err(c->read->env, rc, err, row_table_name(c->table));
	rc = step(c, rc == 0 ? MDB_PREV : MDB_LAST, 0, err);
	if (rc == 1 && compare_keys(c->row.key, c->row.key_len, key, key_len) >= 0)
		return env_bad_value(c->read->env, c->table, err);
	return rc;
}

int
table_cursor_next(struct table_cursor *c, struct larder_err *err)
{
	return step(c, MDB_NEXT, 1, err);
}

int
table_cursor_previous(struct table_cursor *c, struct larder_err *err)
{
	return step(c, MDB_PREV, -1, err);
}

/* ---- the two single rows ---- */

static int
read_single(uint8_t *out, size_t len, const uint8_t **lent, struct index_read *read,
    enum index_table table, uint64_t seed, const char *name, struct larder_err *err)
{
	MDB_val k = val_of(name, strlen(name)), v;
	struct trap trap;
	bool good = false;
	int rc;

	rc = lmdb_get(read, read->env->main, &k, &v);
	if (rc != 0)
		return env_err(read->env, rc, err, name);
	if (v.mv_size == len + ROW_CHECK_LEN) {
		trap_enter(&trap, read->env, false);
		memcpy(out, v.mv_data, len);
		good = get_le64((const uint8_t *)v.mv_data + len) ==
		       row_check(seed, table, name, strlen(name), out, len);
		trap_leave(&trap);
	}
	if (!good)
		return env_bad_value(read->env, table, err);
	*lent = v.mv_data;
	return LARDER_OK;
}

int
table_read_head(struct row_head *out, struct env *env, MDB_txn *txn, const uint8_t **lent,
    struct larder_err *err)
{
	struct index_read read = { .env = env, .txn = txn };
	uint8_t bytes[ROW_HEAD_LEN];
	int rc;

	rc = read_single(bytes, sizeof bytes, lent, &read, TABLE_HEAD, 0, head_key, err);
	return rc < 0 ? rc : row_head_decode(out, bytes, sizeof bytes, err);
}

int
table_write_head(struct env *env, MDB_txn *txn, const struct row_head *head, struct larder_err *err)
{
	uint8_t bytes[ROW_HEAD_LEN + ROW_CHECK_LEN];
	MDB_val k = val_of(head_key, strlen(head_key)), v = val_of(bytes, sizeof bytes);
	int rc;

	row_head_encode(bytes, head);
	put_le64(bytes + ROW_HEAD_LEN,
	    row_check(0, TABLE_HEAD, head_key, strlen(head_key), bytes, ROW_HEAD_LEN));
	rc = mdb_put(txn, env->main, &k, &v, 0);
	return rc != 0 ? env_err(env, rc, err, head_key) : LARDER_OK;
}

int
table_read_sums(struct row_sums *out, struct index_read *read, struct larder_err *err)
{
	uint8_t bytes[ROW_SUMS_LEN];
	const uint8_t *lent;
	int rc;

	rc = read_single(
	    bytes, sizeof bytes, &lent, read, TABLE_SUMS, read->env->seed, sums_key, err);
	return rc < 0 ? rc : row_sums_decode(out, bytes, sizeof bytes, err);
}

int
table_write_sums(struct index_write *write, struct larder_err *err)
{
	uint8_t bytes[ROW_SUMS_LEN + ROW_CHECK_LEN];
	MDB_val k = val_of(sums_key, strlen(sums_key)), v = val_of(bytes, sizeof bytes);
	int rc;

	for (unsigned t = 0; t < TABLE_COUNT; t++)
		if (!is_checked((enum index_table)t)) {
			rc = table_rows(
			    &write->sums.table[t].count, &write->view, (enum index_table)t, err);
			if (rc < 0)
				return rc;
		}
	row_sums_encode(bytes, &write->sums);
	put_le64(bytes + ROW_SUMS_LEN, row_check(write->view.env->seed, TABLE_SUMS, sums_key,
					   strlen(sums_key), bytes, ROW_SUMS_LEN));
	rc = lmdb_put(write, write->view.env->main, &k, &v, 0);
	return rc != 0 ? write_failed(write, rc, sums_key, err) : LARDER_OK;
}

int
table_rows(uint64_t *count, struct index_read *read, enum index_table table, struct larder_err *err)
{
	MDB_stat stat;
	int rc;

	rc = lmdb_stat(read, read->env->dbi[table], &stat);
	if (rc != 0)
		return env_err(read->env, rc, err, row_table_name(table));
	*count = stat.ms_entries;
	return LARDER_OK;
}
