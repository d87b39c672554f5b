/*
 * Every page and every row: pagewalk.c gives the rows, here they are held
 * against their checks, the sums of their table, and the other tables.
 */
#include "index/verify.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cas/base/bytes.h"
#include "cas/base/err.h"
#include "cas/base/file.h"
#include "index/pagewalk.h"
#include "index/table.h"

enum { FETCH_LEN = 512 * 1024 }; /* the kernel takes no more of one wish */

struct verify {
	index_found_fn found;
	void *context;
	struct larder_err *err;
	bool decode; /* look at what rows say, too */
	int failed;  /* what ended the looking and is nobody's damage: NOMEM */
	uint64_t bad;
	uint64_t bad_rows[TABLE_COUNT];
	bool has_head, has_sums;
	struct row_head head;
	struct row_sums sums, counted;
};

static void tell(struct verify *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void
tell(struct verify *v, const char *fmt, ...)
{
	char sentence[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(sentence, sizeof sentence, fmt, args);
	va_end(args);
	if (v->bad++ == 0)
		err_set(v->err, LARDER_ERR_CORRUPT, "%s", sentence);
	if (v->found != NULL)
		v->found(v->context, sentence);
}

/* The value without its check, if that is right. */
static bool
checked(uint64_t *check, uint64_t seed, enum index_table table, const uint8_t *key, size_t key_len,
    const uint8_t *value, size_t *value_len)
{
	if (*value_len < ROW_CHECK_LEN)
		return false;
	*value_len -= ROW_CHECK_LEN;
	*check = get_le64(value + *value_len);
	return *check == row_check(seed, table, key, key_len, value, *value_len);
}

static bool
key_is(const char *name, const uint8_t *key, size_t key_len)
{
	return strlen(name) == key_len && memcmp(name, key, key_len) == 0;
}

/* Head sorts before sums, and both before any table is walked. */
static void
take_single(struct verify *v, const uint8_t *key, size_t key_len, const uint8_t *value, size_t len)
{
	uint64_t check;

	if (key_is("head", key, key_len)) {
		v->has_head = checked(&check, 0, TABLE_HEAD, key, key_len, value, &len) &&
			      row_head_decode(&v->head, value, len, NULL) == 0;
		if (!v->has_head)
			tell(v, "the head is damaged");
	} else if (key_is("sums", key, key_len)) {
		v->has_sums =
		    v->has_head &&
		    checked(&check, v->head.seed, TABLE_SUMS, key, key_len, value, &len) &&
		    row_sums_decode(&v->sums, value, len, NULL) == 0;
		if (!v->has_sums)
			tell(v, "the sums are damaged");
	} else {
		tell(v, "a row that does not belong to an index");
	}
}

static enum index_table
table_of(const char *name)
{
	unsigned t = 0;

	while (t < TABLE_COUNT && strcmp(row_table_name((enum index_table)t), name) != 0)
		t++;
	return (enum index_table)t;
}

static void
bad_row(
    struct verify *v, enum index_table table, const uint8_t *key, size_t key_len, const char *why)
{
	char hex[2 * 16 + 1] = "";

	/* Every one counts, but a thousand sentences say no more than a few. */
	if (v->bad_rows[table]++ >= 16) {
		v->bad++;
		return;
	}
	for (size_t i = 0; i < key_len && i < 16; i++)
		snprintf(hex + 2 * i, 3, "%02x", key[i]);
	tell(v, "%s: row %s%s: %s", row_table_name(table), hex, key_len > 16 ? "..." : "", why);
}

static void
take_row(void *context, const char *tree, const uint8_t *key, size_t key_len, const uint8_t *value,
    size_t len)
{
	struct verify *v = context;
	struct larder_err err = { 0 };
	enum index_table table;
	uint64_t check = 0;
	int rc = LARDER_OK;

	if (tree == NULL) {
		take_single(v, key, key_len, value, len);
		return;
	}
	table = table_of(tree);
	if (table == TABLE_COUNT) {
		tell(v, "%s: not a table of an index", tree);
		return;
	}
	if (table != TABLE_SKETCHES &&
	    !checked(&check, v->head.seed, table, key, key_len, value, &len))
		bad_row(v, table, key, key_len, "its check is wrong");
	else if (v->decode)
		rc = row_plausible(table, key, key_len, value, len, &err);
	if (rc == LARDER_ERR_NOMEM)
		v->failed = rc;
	else if (rc < 0)
		bad_row(v, table, key, key_len, err.message);
	v->counted.table[table].count++;
	v->counted.table[table].hash += check;
}

static void
compare_sums(struct verify *v)
{
	for (unsigned t = 0; t < TABLE_COUNT; t++) {
		const char *name = row_table_name((enum index_table)t);

		if (v->sums.table[t].count != v->counted.table[t].count)
			tell(v, "%s: %" PRIu64 " rows, but %" PRIu64 " were written", name,
			    v->counted.table[t].count, v->sums.table[t].count);
		else if (v->sums.table[t].hash != v->counted.table[t].hash)
			tell(v, "%s: not the rows that were written", name);
	}
}

/* What one table has, another has too. */
static void
compare_tables(struct verify *v)
{
	static const enum index_table same[][2] = {
		{ TABLE_PACKS, TABLE_PACKIDS },
		{ TABLE_VERSIONS, TABLE_GIDS },
		{ TABLE_VERSIONS, TABLE_TIMES },
	};

	for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
		uint64_t a = v->counted.table[same[i][0]].count;
		uint64_t b = v->counted.table[same[i][1]].count;

		if (a != b)
			tell(v, "%s has %" PRIu64 " rows, %s has %" PRIu64,
			    row_table_name(same[i][0]), a, row_table_name(same[i][1]), b);
	}
}

static void
forward(void *context, const char *sentence)
{
	struct verify *v = context;

	tell(v, "%s", sentence);
}

static int
verify(struct verify *v, int data_fd, const struct pagewalk_meta *meta)
{
	struct pagewalk_sink sink = {
		.context = v,
		.found = forward,
		.row = take_row,
		.value_max = INDEX_VALUE_MAX,
	};
	struct larder_err err = { 0 };
	int rc;

	rc = pagewalk(data_fd, meta, &sink, &err);
	if (rc < 0 && rc != LARDER_ERR_CORRUPT) {
		if (v->err != NULL)
			*v->err = err;
		return rc;
	}
	if (v->failed == LARDER_ERR_NOMEM)
		return err_nomem(v->err);
	if (v->bad == 0) {
		if (!v->has_head || !v->has_sums)
			tell(v, "head or sums are missing");
		else {
			compare_sums(v);
			compare_tables(v);
		}
	}
	return v->bad > 0 ? LARDER_ERR_CORRUPT : LARDER_OK;
}

/* Trees jump about in their file; a disk would rather read it from one end to the other. */
static void
fetch_ahead(int data_fd)
{
	long pages = sysconf(_SC_PHYS_PAGES), page_size = sysconf(_SC_PAGESIZE);
	struct stat st;

	if (fstat(data_fd, &st) < 0 || pages < 0 || page_size <= 0 ||
	    st.st_size / page_size > pages / 2)
		return;
	for (off_t at = 0; at < st.st_size; at += FETCH_LEN)
		(void)posix_fadvise(data_fd, at, FETCH_LEN, POSIX_FADV_WILLNEED);
}

int
verify_file(int data_fd, index_found_fn found, void *context, struct larder_err *err)
{
	struct verify v = { .found = found, .context = context, .err = err };
	struct pagewalk_meta metas[2];
	int rc;

	fetch_ahead(data_fd);
	rc = pagewalk_metas(metas, data_fd, err);
	if (rc < 0) {
		if (rc == LARDER_ERR_CORRUPT && found != NULL)
			found(context, err != NULL ? err->message : "damaged meta pages");
		return rc;
	}
	return verify(&v, data_fd, &metas[0]);
}

/* ---- an index in use ---- */

/* The meta page that the read transaction began from; writers have two turns until it is gone. */
static int
meta_of(struct pagewalk_meta *out, int fd, uint64_t txn, size_t page_size, struct larder_err *err)
{
	uint8_t page[PAGEWALK_HEADER_LEN + PAGEWALK_META_LEN];
	uint64_t number = txn & 1, file_len;
	size_t got;
	int rc;

	rc = file_size(&file_len, fd, "data.mdb", err);
	if (rc == 0)
		rc = file_pread_some(
		    &got, fd, page, sizeof page, number * page_size, "data.mdb", err);
	if (rc == 0)
		rc = pagewalk_meta_decode(out, page, got, number, file_len, err);
	if (rc == 0 && out->txn != txn)
		rc = LARDER_ERR_BUSY;
	return rc;
}

int
index_verify(struct index *index, index_found_fn found, void *context, struct larder_err *err)
{
	struct verify v = { .found = found, .context = context, .err = err, .decode = true };
	struct index_read *read = NULL;
	struct env *env = index->env;
	struct pagewalk_meta meta;
	int fd, rc;

	rc = index_read_begin(&read, index, err);
	if (rc < 0)
		return rc;
	mdb_env_get_fd(env->lmdb, &fd);
	rc = meta_of(&meta, fd, mdb_txn_id(read->txn), env->page_size, err);
	for (int tries = 0; rc == LARDER_ERR_BUSY && tries < 1000; tries++) {
		rc = index_read_renew(read, err);
		if (rc == 0)
			rc = meta_of(&meta, fd, mdb_txn_id(read->txn), env->page_size, err);
	}
	if (rc == LARDER_ERR_BUSY)
		err_set(err, rc, "index: writers are faster than the walk can begin");
	else if (rc == LARDER_ERR_CORRUPT)
		tell(&v, "a meta page is damaged");
	else if (rc == 0)
		rc = verify(&v, fd, &meta);
	if (rc == LARDER_ERR_CORRUPT)
		index_mark_doubtful(index);
	index_read_end(read);
	return rc;
}

int
index_counts_get(struct index_counts *out, struct index_read *read, struct larder_err *err)
{
	struct row_sums sums;
	uint64_t sketches;
	struct stat st;
	int fd, rc = LARDER_OK;

	if (read->write != NULL)
		sums = read->write->sums;
	else
		rc = table_read_sums(&sums, read, err);
	if (rc == 0) /* of the rows without checks nobody keeps a count but LMDB */
		rc = table_rows(&sketches, read, TABLE_SKETCHES, err);
	if (rc < 0)
		return rc;
	mdb_env_get_fd(read->env->lmdb, &fd);
	if (fstat(fd, &st) < 0)
		return err_sys(err, "index: data.mdb");
	*out = (struct index_counts){
		.chunks = sums.table[TABLE_CHUNKS].count,
		.packs = sums.table[TABLE_PACKS].count,
		.names = sums.table[TABLE_NAMES].count,
		.versions = sums.table[TABLE_VERSIONS].count,
		.seen = sums.table[TABLE_SEEN].count,
		.sketches = sketches,
		.bytes = (uint64_t)st.st_size,
	};
	return LARDER_OK;
}
