/*
 * The end of a put: the version, the last commit, what is remembered.
 */
#include "cas/ingest.h"

#include <stdlib.h>
#include <string.h>

#include "cas/base/bytes.h"
#include "cas/base/err.h"
#include "cas/base/file.h"
#include "cas/base/limits.h"
#include "cas/base/mem.h"
#include "cas/object/entry.h"

enum { SPILL_ROWS = 20000 /* remembered rows in one index transaction */ };

/* ---- the end: version, commit, result ---- */

/* Rows from..: as many as one transaction should change. */
struct spill_reader {
	struct ingest *in;
	uint64_t at;
	uint64_t taken; /* bytes of the rows of one run; set anew by each, since a transaction may
			   be run again */
};

static int
write_spill(void *context, struct index_write *write, struct larder_err *err)
{
	struct spill_reader *r = context;
	uint64_t at = r->at;
	struct buf bytes = { 0 };
	uint8_t head[4 + REMEMBER_KEY_LEN];
	unsigned rows = 0;
	int rc = LARDER_OK;

	buf_init(&bytes, 64 * KIB);
	while (rc == LARDER_OK && at < r->in->spill_len && rows < SPILL_ROWS) {
		uint32_t len;

		rc = file_pread_all(r->in->spill_fd, head, sizeof head, at, "tmp/", err);
		if (rc < 0)
			break;
		len = get_le32(head);
		rc = buf_resize(&bytes, len);
		rc = rc < 0 ? buf_err(&bytes, rc, err)
			    : file_pread_all(
				  r->in->spill_fd, bytes.data, len, at + sizeof head, "tmp/", err);
		if (rc == LARDER_OK)
			rc = index_seen_put(write, head + 4, bytes.data, len, err);
		at += sizeof head + len;
		rows++;
	}
	buf_release(&bytes);
	r->taken = at - r->at;
	return rc;
}

static int
compare_tags(const void *a, const void *b)
{
	const struct entry_tag *x = a, *y = b;

	return tree_name_compare(x->key, x->key_len, y->key, y->key_len);
}

/* The VERSION operation; tags sorted, each key once. */
static int
version_operation(struct buf *body, const struct ingest *in, const char *name, uint64_t number,
    const struct id16 *gid, struct larder_err *err)
{
	const struct larder_put_options *o = in->options;
	struct entry_tag tags[TAGS_MAX];
	struct entry_version v = { .name = name,
		.name_len = strlen(name),
		.gid = *gid,
		.number = number,
		.kind = in->is_dir ? ENTRY_KIND_DIR : ENTRY_KIND_FILE,
		.list = in->list,
		.id = in->id,
		.attrs = in->attrs,
		.bytes = in->total_bytes,
		.new_bytes = atomic_load(&in->new_bytes),
		.stored_bytes = packer_stored_bytes(in->packer),
		.files = in->total_files,
		.has_sha256 = in->has_sha256,
		.sha256 = in->sha256,
		.tags = tags,
		.tag_count = o->tag_count };
	int rc;

	for (size_t i = 0; i < o->tag_count; i++)
		tags[i] = (struct entry_tag){ .key = o->tags[i].key,
			.value = o->tags[i].value,
			.key_len = strlen(o->tags[i].key),
			.value_len = strlen(o->tags[i].value) };
	qsort(tags, o->tag_count, sizeof tags[0], compare_tags);
	rc = entry_op_version(body, &v);
	return rc < 0 ? buf_err(body, rc, err) : LARDER_OK;
}

/* Is this what the name's latest version says already? Fills the version's number then; else the
 * next one. */
static int
compare_with_latest(
    struct ingest *in, const char *name, struct larder_put_result *result, struct larder_err *err)
{
	struct index_version_row row = { 0 };
	struct index_read *read = NULL;
	int rc;

	rc = index_read_begin(&read, in->store->index, err);
	if (rc < 0)
		return rc;
	rc = index_version_get(&row, read, name, 0, INT64_MAX, err);
	if (rc == LARDER_OK) {
		const struct index_version *v = &row.version;

		result->unchanged = id_equal(&v->id, &in->id) &&
				    v->kind == (in->is_dir ? ENTRY_KIND_DIR : ENTRY_KIND_FILE) &&
				    (!in->is_dir || id_equal(&v->attrs, &in->attrs));
		result->version = v->number;
	}
	if ((rc == LARDER_OK && !result->unchanged) || rc == LARDER_ERR_NOT_FOUND) {
		rc = index_version_before(&row, read, name, UINT64_MAX, err);
		result->version = rc == 1 ? row.version.number + 1 : 1;
	}
	index_version_release(&row);
	index_read_end(read);
	return rc < 0 ? rc : LARDER_OK;
}

/* Two puts of one name at once may have wanted one number: ask which one ours got. */
static int
number_given(struct ingest *in, const char *name, const struct id16 *gid, uint64_t *number,
    struct larder_err *err)
{
	struct index_version_row row = { 0 };
	struct index_read *read = NULL;
	uint64_t below = UINT64_MAX;
	int rc;

	rc = index_read_begin(&read, in->store->index, err);
	if (rc == LARDER_OK)
		while ((rc = index_version_before(&row, read, name, below, err)) == 1) {
			below = row.version.number;
			if (memcmp(&row.version.gid, gid, sizeof *gid) == 0) {
				*number = below;
				break;
			}
		}
	index_version_release(&row);
	index_read_end(read);
	return rc < 0 ? rc : LARDER_OK;
}

static int
write_all_spill(struct ingest *in, uint64_t from, struct larder_err *err)
{
	struct spill_reader reader = { .in = in, .at = from };
	struct commit commit = { .hints = write_spill, .context = &reader };
	int rc = LARDER_OK;

	while (rc == LARDER_OK && reader.at < in->spill_len) {
		rc = commit_hints(in->store, &commit, err);
		reader.at += reader.taken;
	}
	return rc;
}

int
ingest_end(
    struct ingest *in, const char *name, struct larder_put_result *result, struct larder_err *err)
{
	struct spill_reader first = { .in = in };
	struct buf body = { 0 };
	struct id16 gid;
	int rc;

	rc = compare_with_latest(in, name, result, err);
	if (rc == LARDER_OK && !in->options->dry_run)
		rc = ingest_spill_flush(in, err);
	if (rc == LARDER_OK)
		rc = packer_finish(in->packer, err);
	if (rc == LARDER_OK && !result->unchanged && !in->options->dry_run) {
		rc = id16_random(&gid, err);
		if (rc == LARDER_OK)
			rc = version_operation(&body, in, name, result->version, &gid, err);
	}
	if (rc == LARDER_OK)
		rc = packer_end(
		    in->packer, &body, in->spill_len > 0 ? write_spill : NULL, &first, err);
	if (rc == LARDER_OK)
		rc = write_all_spill(in, first.taken, err);
	if (rc == LARDER_OK && !result->unchanged && !in->options->dry_run)
		rc = number_given(in, name, &gid, &result->version, err);
	buf_release(&body);
	if (rc < 0)
		return rc;

	result->kind = in->is_dir ? LARDER_KIND_DIR : LARDER_KIND_FILE;
	result->id = in->id;
	result->bytes = in->total_bytes;
	result->new_bytes = atomic_load(&in->new_bytes);
	result->stored_bytes = packer_stored_bytes(in->packer);
	result->files = in->total_files;
	result->has_sha256 = in->has_sha256;
	result->sha256 = in->sha256;
	result->skipped = atomic_load(&in->skipped);
	if (result->skipped > 0)
		return err_set(err, LARDER_ERR_PARTIAL,
		    "%llu inputs were left out or changed while they were read",
		    (unsigned long long)result->skipped);
	return LARDER_OK;
}
