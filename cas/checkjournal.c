/*
 * Journals: their chains, what they name, and whether the index has it. See check.h.
 *
 * The index has applied each writer's journal up to a position, which was read
 * before the journal: entries up to it must show in the index, later ones are
 * others' work meanwhile. Gids of versions and packs are random, so what an
 * entry says is found again by them.
 */
#include <stdio.h>
#include <string.h>

#include "cas/base/err.h"
#include "cas/base/id.h"
#include "cas/base/limits.h"
#include "cas/base/mem.h"
#include "cas/check.h"
#include "cas/journal.h"

struct journal_check {
	struct check *c;
	bool again; /* the second reading: damage was told already */
	check_version_fn version;
	void *context;

	/* the writer at hand */
	const struct id16 *writer;
	uint64_t applied; /* sequence up to which the index has it */
	uint64_t last;    /* sequence read last */
	uint64_t told;
	int failed; /* of the check, not of the journal */

	uint64_t versions_applied;
	struct index_version_row row;
};

static int
damage(struct journal_check *j, const char *sentence, struct larder_err *err)
{
	j->c->journal_bad = true;
	j->told++;
	return j->again ? LARDER_OK : check_damage(j->c, NULL, err, "%s", sentence);
}

static void
take_bad(void *context, const char *sentence)
{
	struct journal_check *j = context;

	if (j->failed == LARDER_OK)
		j->failed = damage(j, sentence, NULL);
}

/* ---- operations ---- */

static int
take_pack(struct journal_check *j, const struct entry_pack *op, bool applied,
    struct larder_err *err)
{
	struct check_pack *pack;
	char hex[ID16_HEX_LEN + 1];
	int rc;

	rc = check_pack_add(&pack, j->c, &op->id, err);
	if (rc < 0)
		return rc;
	id16_to_hex(hex, &op->id);
	if (pack->number != 0 &&
	    (pack->file_len != op->file_len || pack->chunk_count != op->chunk_count))
		rc = check_damage(
		    j->c, NULL, err, "index: pack %s is not what the journal says", hex);
	else if (pack->number == 0 && applied)
		rc = check_damage(j->c, NULL, err, "index: pack %s is not in it", hex);
	pack->named = true;
	pack->applied = applied;
	pack->file_len = op->file_len;
	pack->chunk_count = op->chunk_count;
	return rc;
}

/* The row with this gid: 1, 0. */
static int
find_version(struct journal_check *j, const struct entry_version *v, struct larder_err *err)
{
	uint64_t below = v->number == UINT64_MAX ? UINT64_MAX : v->number + 1;
	char name[NAME_LEN_MAX + 1];
	struct index_read *read;
	int rc;

	memcpy(name, v->name, v->name_len);
	name[v->name_len] = '\0';
	rc = index_read_begin(&read, j->c->store->index, err);
	if (rc < 0)
		return rc;
	rc = index_version_before(&j->row, read, name, below, err);
	if (rc == 1 && memcmp(&j->row.version.gid, &v->gid, ID16_LEN) == 0)
		goto out;
	/* another replica had taken the number: it has another one here */
	for (below = UINT64_MAX; rc >= 0; below = j->row.version.number) {
		rc = index_version_before(&j->row, read, name, below, err);
		if (rc != 1 || memcmp(&j->row.version.gid, &v->gid, ID16_LEN) == 0)
			break;
	}
out:
	index_read_end(read);
	return rc;
}

static bool
same_version(const struct index_version *a, const struct entry_version *b, int64_t time_ns)
{
	return a->kind == (uint8_t)b->kind && a->list == b->list && id_equal(&a->id, &b->id) &&
	       id_equal(&a->attrs, &b->attrs) && a->bytes == b->bytes &&
	       a->new_bytes == b->new_bytes && a->stored_bytes == b->stored_bytes &&
	       a->files == b->files && a->has_sha256 == b->has_sha256 &&
	       (!a->has_sha256 || id_equal(&a->sha256, &b->sha256)) &&
	       a->created_ns == time_ns && a->tag_count == b->tag_count;
}

static int
compare_version(struct journal_check *j, const struct entry_version *v, int64_t time_ns,
    struct larder_err *err)
{
	struct larder_err why = { 0 };
	int rc;

	j->versions_applied++;
	rc = find_version(j, v, &why);
	if (rc < 0)
		return check_index_failed(j->c, rc, &why, err);
	if (rc == 1 && same_version(&j->row.version, v, time_ns))
		return LARDER_OK;
	return check_damage(j->c, NULL, err, "index: %.*s@%llu is not %s", (int)v->name_len, v->name,
	    (unsigned long long)v->number, rc == 1 ? "what the journal says" : "in it");
}

/* The second reading: what the index has not applied is not there to be looked up. */
static int
take_op_again(struct journal_check *j, const struct entry_op *op, bool applied,
    struct larder_err *err)
{
	struct check_pack *pack;
	int rc;

	if (op->type == ENTRY_OP_VERSION && applied)
		return j->version(j->context, &op->version, err);
	if (op->type != ENTRY_OP_PACK)
		return LARDER_OK;
	rc = check_pack_add(&pack, j->c, &op->pack.id, err); /* named meanwhile */
	if (rc == LARDER_OK)
		pack->named = true;
	return rc;
}

static int
take_op(struct journal_check *j, const struct entry_op *op, const struct entry_frame *frame,
    struct larder_err *err)
{
	bool applied = frame->sequence <= j->applied;

	if (j->again)
		return take_op_again(j, op, applied, err);
	switch (op->type) {
	case ENTRY_OP_PACK:
		return take_pack(j, &op->pack, applied, err);
	case ENTRY_OP_VERSION:
		return applied ? compare_version(j, &op->version, frame->time_ns, err) : LARDER_OK;
	case ENTRY_OP_VERSION_END:
		return LARDER_OK; /* that it ended is under the check of the version's row */
	default:
		return err_set(err, LARDER_ERR_VERSION,
		    "journal entry %llu has its operations in a pack",
		    (unsigned long long)frame->sequence);
	}
}

static int
take_entry(void *context, const struct entry_frame *frame, const struct journal_place *place,
    struct larder_err *err)
{
	struct cursor body = cursor_of(frame->body, frame->body_len);
	struct journal_check *j = context;
	struct larder_err why = { 0 };
	char hex[ID16_HEX_LEN + 1], what[640];
	struct entry_op op;
	int rc;

	(void)place;
	j->last = frame->sequence;
	while ((rc = entry_op_next(&body, &op, &why)) == 1) {
		j->failed = take_op(j, &op, frame, err);
		if (j->failed != LARDER_OK)
			return j->failed;
	}
	if (rc == LARDER_ERR_CORRUPT) {
		id16_to_hex(hex, j->writer);
		snprintf(what, sizeof what, "journal/%s: entry %llu: %s", hex,
		    (unsigned long long)frame->sequence, why.message);
		return j->failed = damage(j, what, err);
	}
	if (rc < 0 && err != NULL)
		*err = why;
	return j->failed = rc;
}

/* ---- writers ---- */

/* What was applied had been durable: a journal that ends before it was not torn. */
static int
check_end(struct journal_check *j, struct larder_err *err)
{
	char what[160], hex[ID16_HEX_LEN + 1];

	if (j->last >= j->applied || j->told > 0)
		return LARDER_OK;
	id16_to_hex(hex, j->writer);
	snprintf(what, sizeof what,
	    "journal/%s: ends after entry %llu, but entry %llu had been committed", hex,
	    (unsigned long long)j->last, (unsigned long long)j->applied);
	return damage(j, what, err);
}

static int
read_writer(void *context, const struct id16 *writer, struct larder_err *err)
{
	struct journal_check *j = context;
	struct check *c = j->c;
	struct larder_err why = { 0 };
	uint64_t tail = 0;
	int rc;

	j->writer = writer;
	j->applied = j->last = j->told = 0;
	j->failed = LARDER_OK;
	for (size_t i = 0; i < c->position_count; i++)
		if (memcmp(&c->positions[i].writer, writer, ID16_LEN) == 0)
			j->applied = c->positions[i].sequence;
	rc = journal_read(c->store->root_fd, &c->store->config.id, writer, NULL, take_entry,
	    take_bad, j, &tail, &why);
	if (!j->again)
		c->result.journal_tail += tail;
	if (j->failed != LARDER_OK) {
		if (err != NULL)
			*err = why;
		return j->failed;
	}
	if (rc == LARDER_OK || (rc == LARDER_ERR_CORRUPT && j->told > 0)) {
		rc = check_end(j, err);
		return rc < 0 ? rc : check_progress(c, 0, 0, err);
	}
	if (check_is_damage(rc))
		return damage(j, why.message, err);
	if (err != NULL)
		*err = why;
	return rc;
}

static int
read_all(struct journal_check *j, struct larder_err *err)
{
	struct larder_err why = { 0 };
	int rc;

	rc = journal_each_writer(j->c->store->root_fd, read_writer, j, &why);
	if (rc < 0 && j->failed == LARDER_OK && check_is_damage(rc))
		return damage(j, why.message, err);
	if (rc < 0 && err != NULL)
		*err = why;
	return rc;
}

/* ---- the index against the journals ---- */

/* A writer that the index knows and that has no journal any more. */
static int
compare_writers(struct journal_check *j, struct larder_err *err)
{
	struct check *c = j->c;
	int rc = LARDER_OK;

	for (size_t i = 0; i < c->position_count && rc == LARDER_OK; i++) {
		struct journal_place from = {
			.segment = c->positions[i].segment,
			.offset = c->positions[i].offset,
			.sequence = c->positions[i].sequence,
			.chain = c->positions[i].chain,
		};
		struct larder_err why = { 0 };

		rc = journal_has_more(c->store->root_fd, &c->store->config.id,
		    &c->positions[i].writer, &from, &why);
		if (rc >= 0)
			rc = LARDER_OK;
		else if (!check_is_damage(rc))
			err_set(err, (enum larder_status)rc, "%s", why.message);
		else if (c->journal_bad) /* told already, most likely the same */
			rc = LARDER_OK;
		else
			rc = damage(j, why.message, err);
	}
	return rc;
}

static int
compare_packs(struct journal_check *j, struct larder_err *err)
{
	struct check *c = j->c;
	char hex[ID16_HEX_LEN + 1];
	int rc = LARDER_OK;

	if (c->journal_bad) /* with entries missing the index may well know more */
		return LARDER_OK;
	for (size_t i = 0; i < c->pack_count && rc == LARDER_OK; i++) {
		if (c->packs[i].named)
			continue;
		id16_to_hex(hex, &c->packs[i].id);
		rc = check_damage(
		    c, NULL, err, "index: pack %s is in it, but in no journal", hex);
	}
	if (rc == LARDER_OK && j->versions_applied != c->index_versions)
		rc = check_damage(c, NULL, err, "index: %llu versions, but %llu in the journals",
		    (unsigned long long)c->index_versions, (unsigned long long)j->versions_applied);
	return rc;
}

int
check_journals(struct check *c, struct larder_err *err)
{
	struct journal_check j = { .c = c };
	int rc;

	rc = read_all(&j, err);
	if (rc == LARDER_OK)
		rc = compare_writers(&j, err);
	if (rc == LARDER_OK && !c->index_told)
		rc = compare_packs(&j, err);
	index_version_release(&j.row);
	return rc;
}

/* ---- every version ---- */

static int
give_row(const struct index_version *v, check_version_fn fn, void *context, struct larder_err *err)
{
	struct entry_version version = {
		.name = v->name,
		.name_len = strlen(v->name),
		.gid = v->gid,
		.number = v->number,
		.kind = (enum entry_version_kind)v->kind,
		.list = v->list,
		.id = v->id,
		.attrs = v->attrs,
		.bytes = v->bytes,
		.files = v->files,
	};

	return fn(context, &version, err);
}

/* Those of the index, for when the journal has holes; without names that ended altogether. */
static int
each_in_index(struct check *c, check_version_fn fn, void *context, struct larder_err *err)
{
	struct index_name_iter iter = { .at_ns = INT64_MAX };
	struct index_version_row name = { 0 }, row = { 0 };
	struct larder_err why = { 0 };
	struct index_read *read = NULL;
	int rc, given = LARDER_OK;

	rc = index_read_begin(&read, c->store->index, &why);
	while (rc == LARDER_OK && (rc = index_name_next(&name, &iter, read, &why)) == 1) {
		uint64_t below = UINT64_MAX;

		while ((rc = index_version_before(&row, read, name.version.name, below, &why)) ==
		       1) {
			below = row.version.number;
			index_read_end(read);
			read = NULL;
			given = give_row(&row.version, fn, context, err);
			if (given != LARDER_OK)
				goto out;
			rc = index_read_begin(&read, c->store->index, &why);
			if (rc < 0)
				break;
		}
	}
	if (rc < 0)
		given = check_index_failed(c, rc, &why, err);
out:
	index_read_end(read);
	index_version_release(&name);
	index_version_release(&row);
	buf_release(&iter.last);
	return given;
}

int
check_each_version(struct check *c, check_version_fn fn, void *context, struct larder_err *err)
{
	struct journal_check j = {
		.c = c,
		.again = true,
		.version = fn,
		.context = context,
	};

	return c->journal_bad ? each_in_index(c, fn, context, err) : read_all(&j, err);
}
