/*
 * How the store is: counts, sizes, the last check, what is wrong. See larder.h.
 */
#include <stdio.h>
#include <string.h>

#include "cas/base/clock.h"
#include "cas/base/err.h"
#include "cas/base/file.h"
#include "cas/base/limits.h"
#include "cas/base/trace.h"
#include "cas/checked.h"
#include "cas/journal.h"
#include "cas/lines.h"
#include "cas/store.h"
#include "index/index.h"

/* ---- the file `checked` ---- */

static const char checked_file[] = "checked";

void
checked_read(struct checked *out, int root_fd)
{
	uint64_t at_ns, read, clean;
	struct buf bytes = { 0 };
	struct lines lines;

	*out = (struct checked){ 0 };
	if (file_read_whole(&bytes, root_fd, checked_file, LINES_LEN_MAX, NULL) == LARDER_OK &&
	    lines_open(&lines, bytes.data, bytes.len) &&
	    lines_take_number(&lines, "checked", &at_ns) &&
	    lines_take_number(&lines, "read", &read) &&
	    lines_take_number(&lines, "clean", &clean) && lines_done(&lines) &&
	    at_ns <= INT64_MAX) {
		out->at_ns = (int64_t)at_ns;
		out->read = read == 1;
		out->clean = clean == 1;
	}
	buf_release(&bytes);
}

void
checked_write(const struct checked *checked, int root_fd)
{
	struct buf bytes = { 0 };
	struct checked before;

	checked_read(&before, root_fd);
	if (before.at_ns != 0 && before.read && !before.clean && checked->clean && !checked->read)
		return;
	if (lines_put_number(&bytes, "checked", (uint64_t)checked->at_ns) == LARDER_OK &&
	    lines_put_number(&bytes, "read", checked->read) == LARDER_OK &&
	    lines_put_number(&bytes, "clean", checked->clean) == LARDER_OK &&
	    lines_seal(&bytes) == LARDER_OK) {
		int rc = file_write_whole(
		    root_fd, checked_file, bytes.data, bytes.len, 0600, true, NULL);

		(void)rc; /* a hint: a store on a full or read-only disk can be checked too */
	}
	buf_release(&bytes);
}

/* ---- counts ---- */

static int
add_pack(void *context, uint32_t number, const struct index_pack *pack, struct larder_err *err)
{
	struct larder_status_info *out = context;

	(void)number;
	(void)err;
	out->packs++;
	out->stored_bytes += pack->file_len;
	return 0;
}

/* Names and versions that are there now. A handful of look-ups a version. */
static int
count_versions(struct larder_status_info *out, struct larder_store *store, struct larder_err *err)
{
	struct index_name_iter iter = { .at_ns = INT64_MAX };
	struct index_version_row latest = { 0 }, row = { 0 };
	struct index_read *read = NULL;
	int rc;

	rc = index_read_begin(&read, store->index, err);
	while (rc == LARDER_OK && (rc = index_name_next(&latest, &iter, read, err)) == 1) {
		uint64_t below = UINT64_MAX;

		out->names++;
		while ((rc = index_version_before(&row, read, latest.version.name, below, err)) ==
		       1) {
			below = row.version.number;
			if (row.version.ended_ns != 0)
				continue;
			out->versions++;
			out->bytes += row.version.bytes;
		}
		if (rc == LARDER_OK && out->names % 256 == 0)
			rc = index_read_renew(read, err);
	}
	index_read_end(read);
	index_version_release(&latest);
	index_version_release(&row);
	buf_release(&iter.last);
	return rc;
}

static int
count(struct larder_status_info *out, struct larder_store *store, struct larder_err *err)
{
	struct index_read *read = NULL;
	struct index_counts counts;
	uint64_t journal = 0;
	int rc;

	rc = index_read_begin(&read, store->index, err);
	if (rc == LARDER_OK)
		rc = index_counts_get(&counts, read, err);
	if (rc == LARDER_OK)
		rc = index_pack_each(read, add_pack, out, err);
	index_read_end(read);
	if (rc == LARDER_OK)
		rc = journal_bytes(&journal, store->root_fd, err);
	if (rc < 0)
		return rc;
	out->objects = out->chunks = counts.chunks;
	out->index_bytes = counts.bytes;
	out->stored_bytes += journal;
	return count_versions(out, store, err);
}

/* ---- health ---- */

static void
say_cause(struct larder_status_info *out, struct larder_store *store)
{
	char when[CLOCK_TEXT_LEN];
	uint64_t bad = trace_get(TRACE_index_bad_values);

	pthread_mutex_lock(&store->commit_lock);
	if (store->poison.status != LARDER_OK)
		snprintf(out->cause, sizeof out->cause, "writing failed: %.200s",
		    store->poison.message);
	pthread_mutex_unlock(&store->commit_lock);
	if (out->cause[0] != '\0')
		return;
	if (out->last_check_ns != 0 && !out->last_check_clean) {
		clock_to_text(when, out->last_check_ns);
		snprintf(out->cause, sizeof out->cause,
		    "the check of %s found damage; larder check says where", when);
	} else if (bad > 0) {
		snprintf(out->cause, sizeof out->cause,
		    "%llu damaged values in the index, which is rebuilt at the next call",
		    (unsigned long long)bad);
	}
}

int
larder_status(struct larder_status_info *out, struct larder_store *store, struct larder_err *err)
{
	struct larder_status_info info = LARDER_STATUS_INFO_INIT;
	struct checked checked;
	int rc;

	if (out == NULL || store == NULL)
		return err_set(err, LARDER_ERR_USAGE, "a store and a place for the answer are needed");
	rc = store_enter(store, err);
	if (rc == LARDER_OK)
		rc = count(&info, store, err);
	if (rc < 0)
		return rc;
	checked_read(&checked, store->root_fd);
	info.last_check_ns = checked.at_ns;
	info.last_check_clean = checked.clean;
	say_cause(&info, store);
	info.size = out->size;
	memcpy(out, &info, out->size < sizeof info ? out->size : sizeof info);
	return LARDER_OK;
}
