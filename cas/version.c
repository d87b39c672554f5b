/*
 * Names and their versions: list, log, forget. See larder.h.
 *
 * Every step looks up one version in a transaction of its own, so that none is
 * open while the caller's function runs.
 */
#include <string.h>

#include "cas/base/err.h"
#include "cas/base/id.h"
#include "cas/base/limits.h"
#include "cas/base/mem.h"
#include "cas/commit.h"
#include "cas/object/entry.h"
#include "cas/spec.h"
#include "cas/store.h"
#include "index/index.h"

/* ---- giving out ---- */

static int
give(const struct index_version *v, larder_version_fn fn, void *context, struct larder_err *err)
{
	struct larder_version_info info = {
		.name = v->name,
		.version = v->number,
		.kind = (enum larder_kind)v->kind,
		.id = v->id,
		.created_ns = v->created_ns,
		.bytes = v->bytes,
		.new_bytes = v->new_bytes,
		.stored_bytes = v->stored_bytes,
		.files = v->files,
		.has_sha256 = v->has_sha256,
		.sha256 = v->sha256,
		.tag_count = v->tag_count,
	};
	struct larder_tag *tags = NULL;
	int rc;

	if (v->tag_count > 0) {
		tags = mem_array(v->tag_count, sizeof *tags);
		if (tags == NULL)
			return err_nomem(err);
		for (size_t i = 0; i < v->tag_count; i++)
			tags[i] = (struct larder_tag){ v->tags[i].key, v->tags[i].value };
		info.tags = tags;
	}
	id16_to_hex(info.gid, &v->gid);
	rc = fn(context, &info);
	mem_free(tags);
	return rc;
}

/* Was it there at this time? INT64_MAX: is it there now? */
static bool
alive_at(const struct index_version *v, int64_t at_ns)
{
	if (at_ns == INT64_MAX)
		return v->ended_ns == 0;
	return v->created_ns <= at_ns && (v->ended_ns == 0 || at_ns < v->ended_ns);
}

int
larder_names(struct larder_store *store, const char *prefix, int64_t at_ns, larder_version_fn fn,
    void *context, struct larder_err *err)
{
	struct index_name_iter iter = { .prefix = prefix, .at_ns = at_ns == 0 ? INT64_MAX : at_ns };
	struct index_version_row row = { 0 };
	struct index_read *read;
	int rc;

	if (store == NULL || fn == NULL)
		return err_set(err, LARDER_ERR_USAGE, "a store and a function are needed");
	rc = store_enter(store, err);
	while (rc == LARDER_OK) {
		rc = index_read_begin(&read, store->index, err);
		if (rc < 0)
			break;
		rc = index_name_next(&row, &iter, read, err);
		index_read_end(read);
		if (rc != 1)
			break;
		rc = give(&row.version, fn, context, err);
	}
	index_version_release(&row);
	buf_release(&iter.last);
	return rc;
}

/* The next older version that was there at this time: 1, 0. */
static int
older(struct index_version_row *row, struct larder_store *store, const char *name, uint64_t *below,
    int64_t at_ns, struct larder_err *err)
{
	struct index_read *read;
	int rc;

	rc = index_read_begin(&read, store->index, err);
	if (rc < 0)
		return rc;
	do {
		rc = index_version_before(row, read, name, *below, err);
		if (rc == 1)
			*below = row->version.number;
	} while (rc == 1 && !alive_at(&row->version, at_ns));
	index_read_end(read);
	return rc;
}

int
larder_log(struct larder_store *store, const char *name, int64_t at_ns, larder_version_fn fn,
    void *context, struct larder_err *err)
{
	struct index_version_row row = { 0 };
	uint64_t below = UINT64_MAX, count = 0;
	int rc;

	if (store == NULL || name == NULL || fn == NULL)
		return err_set(err, LARDER_ERR_USAGE, "a store, a name and a function are needed");
	rc = store_enter(store, err);
	if (rc == LARDER_OK) {
		rc = entry_name_check(name, strlen(name), err);
		if (rc < 0)
			err_prefix(err, "%s", *name != '\0' ? name : "(empty)");
	}
	while (rc == LARDER_OK) {
		rc = older(&row, store, name, &below, at_ns == 0 ? INT64_MAX : at_ns, err);
		if (rc != 1)
			break;
		count++;
		rc = give(&row.version, fn, context, err);
	}
	index_version_release(&row);
	if (rc == LARDER_OK && count == 0)
		rc = err_set(err, LARDER_ERR_NOT_FOUND, "%s: no such name%s", name,
		    at_ns == 0 || at_ns == INT64_MAX ? "" : " at that time");
	return rc;
}

/* ---- forgetting ---- */

enum { OPERATIONS_LEN = 1024 * 1024 }; /* of one entry: a name's versions may be many */

static int
commit_ends(struct larder_store *store, struct buf *operations, struct larder_err *err)
{
	struct commit commit = { .operations = operations };
	int rc;

	if (operations->len == 0)
		return LARDER_OK;
	rc = commit_run(store, &commit, err);
	buf_clear(operations);
	return rc;
}

static int
end_version(struct buf *operations, const struct index_version *v, struct larder_err *err)
{
	struct entry_version_end end = {
		.name = v->name,
		.name_len = strlen(v->name),
		.gid = v->gid,
	};
	int rc = entry_op_version_end(operations, &end);

	return rc < 0 ? buf_err(operations, rc, err) : LARDER_OK;
}

/* All versions of the name that are there, or the one that is asked for. */
static int
end_versions(struct larder_store *store, const char *name, uint64_t number, bool dry_run,
    uint64_t *count, struct larder_err *err)
{
	struct index_version_row row = { 0 };
	struct buf operations = { 0 };
	uint64_t below = number == 0 || number == UINT64_MAX ? UINT64_MAX : number + 1;
	int rc;

	for (;;) {
		rc = older(&row, store, name, &below, INT64_MAX, err);
		if (rc != 1 || (number != 0 && row.version.number != number))
			break;
		if (!dry_run) {
			rc = end_version(&operations, &row.version, err);
			if (rc == LARDER_OK && operations.len >= OPERATIONS_LEN)
				rc = commit_ends(store, &operations, err);
			if (rc < 0)
				break;
		}
		++*count;
		if (number != 0)
			break;
	}
	if (rc >= 0)
		rc = commit_ends(store, &operations, err);
	index_version_release(&row);
	buf_release(&operations);
	return rc;
}

int
larder_rm(struct larder_store *store, const char *spec, bool dry_run, uint64_t *count,
    struct larder_err *err)
{
	char name[NAME_LEN_MAX + 1];
	struct spec_text text;
	uint64_t ended = 0;
	int rc;

	if (count != NULL)
		*count = 0;
	if (store == NULL || spec == NULL)
		return err_set(err, LARDER_ERR_USAGE, "a store and a name are needed");
	rc = store_enter(store, err);
	if (rc == LARDER_OK)
		rc = spec_parse(&text, spec, err);
	if (rc < 0)
		return rc;
	if (text.is_id)
		return err_set(err, LARDER_ERR_USAGE, "%s: names are forgotten, not objects", spec);
	if (text.path[0] != '\0')
		return err_set(err, LARDER_ERR_USAGE,
		    "%s: a name is forgotten as a whole, or one version of it", spec);
	memcpy(name, text.name, text.name_len);
	name[text.name_len] = '\0';

	rc = end_versions(store, name, text.version, dry_run, &ended, err);
	if (rc == LARDER_OK && ended == 0)
		rc = err_set(err, LARDER_ERR_NOT_FOUND, "%.*s: no such %s", (int)text.head_len,
		    text.head, text.version != 0 ? "version" : "name");
	if (count != NULL)
		*count = ended;
	return rc;
}
