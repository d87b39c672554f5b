/*
 * Applying the journal to the index.
 *
 * 1. Only what is durable is applied (journal_read.c), each writer's entries in order, each
 *    entry together with the position behind it in one transaction.
 * 2. A transaction first looks whether the index stands where this process believes; if
 *    another one was faster, nothing is written and the journal is read again from there.
 *    So a position never goes back, and no entry is applied twice behind a later one.
 * 3. The chunks of a large pack come before the rest of its entry, in transactions of
 *    their own: until the entry is there they are rows that say the truth and nobody
 *    needs, and applying them again changes nothing.
 * 4. Writers are applied one after the other, so a version may be forgotten by one before
 *    the other one's entry that made it was applied. Such an entry waits, and its writer
 *    with it, until the others are through; only if that does not help, the version is
 *    one that was lost, and there is nothing to forget.
 * 5. A batch has at most ROWS_MAX chunks, so that no transaction outgrows the index.
 */
#include "cas/apply.h"

#include <assert.h>
#include <string.h>

#include "cas/base/err.h"
#include "cas/base/mem.h"
#include "cas/journal.h"

enum {
	ROWS_MAX = 20000,
	ENTRIES_MAX = 4000, /* a version touches a handful of pages */
	BODIES_MAX = 8 * 1024 * 1024,
};

/* An entry that was read: its operations are in the batch's bodies. */
struct entry {
	size_t body_at, body_len;
	int64_t time_ns;
	struct journal_place place;
};

/* Chunks [from, to) of a pack; no directory: the pack's own row only. */
struct rows {
	struct index_pack pack;
	const struct pack_directory *directory;
	struct pack_directory own; /* where `directory` points, unless it is lent */
	uint32_t from, to;
};

/* One writer's journal on its way into the index. */
struct batch {
	struct apply *apply;
	struct id16 writer;
	bool stands; /* the index has applied something of this writer, namely up to: */
	struct index_position position;
	struct buf bodies;
	struct entry *entries;
	size_t entry_count;
	struct rows **rows; /* each on its own: a directory that is pointed to does not move */
	size_t rows_count, rows_room;
	size_t chunk_count;
	size_t written;  /* entries that the transaction wrote */
	bool waits;      /* the entry behind them waits for another writer */
	bool with_hints; /* this transaction takes them along */
	bool stale;      /* another process was faster */
	bool failed;     /* taking an entry failed, not reading it */
	struct buf text; /* strings with their NUL, for one operation */
};

/* ---- one transaction ---- */

static int
check_position(struct batch *b, struct index_write *write, struct larder_err *err)
{
	struct index_position now;
	int rc;

	rc = index_position_get(&now, index_write_view(write), &b->writer, err);
	if (rc < 0 && rc != LARDER_ERR_NOT_FOUND)
		return rc;
	b->stale =
	    (rc == 0) != b->stands ||
	    (b->stands && (now.segment != b->position.segment || now.offset != b->position.offset ||
			      !id_equal(&now.chain, &b->position.chain)));
	return LARDER_OK;
}

static int
write_rows(const struct rows *rows, struct index_write *write, struct larder_err *err)
{
	struct index_place place = { 0 };
	struct pack_place at;
	uint32_t segment = 0;
	int rc;

	rc = index_pack_put(&place.pack, write, &rows->pack, err);
	for (uint32_t i = rows->from; rc >= 0 && i < rows->to; i++) {
		pack_directory_place(&at, rows->directory, i, &segment);
		place.segment_at = at.segment_at;
		place.chunk_at = at.chunk_at;
		place.chunk_len = at.chunk_len;
		place.depth = at.depth;
		place.type = at.type;
		rc = index_chunk_put(write, &rows->directory->ids[i], &place, err);
	}
	return rc < 0 ? rc : LARDER_OK;
}

/* Copies a string behind the others and says where; the buffer has its room already. */
static const char *
keep_text(struct buf *text, const char *s, size_t len)
{
	char *at = (char *)text->data + text->len;

	if (len > 0)
		memcpy(at, s, len);
	at[len] = '\0';
	text->len += len + 1;
	return at;
}

static int
write_version(struct batch *b, const struct entry_version *v, int64_t time_ns,
    struct index_write *write, struct larder_err *err)
{
	struct index_tag tags[TAGS_MAX];
	struct index_version row = {
		.number = v->number,
		.gid = v->gid,
		.created_ns = time_ns,
		.kind = (uint8_t)v->kind,
		.list = v->list,
		.id = v->id,
		.attrs = v->attrs,
		.bytes = v->bytes,
		.new_bytes = v->new_bytes,
		.stored_bytes = v->stored_bytes,
		.files = v->files,
		.has_sha256 = v->has_sha256,
		.sha256 = v->sha256,
		.tags = tags,
		.tag_count = v->tag_count,
	};
	size_t room = v->name_len + 1;
	uint64_t number;
	int rc;

	for (size_t i = 0; i < v->tag_count; i++)
		room += v->tags[i].key_len + v->tags[i].value_len + 2;
	buf_clear(&b->text);
	rc = buf_reserve(&b->text, room);
	if (rc < 0)
		return buf_err(&b->text, rc, err);
	row.name = keep_text(&b->text, v->name, v->name_len);
	for (size_t i = 0; i < v->tag_count; i++) {
		tags[i].key = keep_text(&b->text, v->tags[i].key, v->tags[i].key_len);
		tags[i].value = keep_text(&b->text, v->tags[i].value, v->tags[i].value_len);
	}
	return index_version_put(&number, write, &row, err);
}

/* 1: there is no such version (yet). */
static int
write_version_end(struct batch *b, const struct entry_version_end *end, int64_t time_ns,
    struct index_write *write, struct larder_err *err)
{
	const char *name;
	int rc;

	buf_clear(&b->text);
	rc = buf_reserve(&b->text, end->name_len + 1);
	if (rc < 0)
		return buf_err(&b->text, rc, err);
	name = keep_text(&b->text, end->name, end->name_len);
	rc = index_version_end(write, name, &end->gid, time_ns, err);
	if (rc == LARDER_ERR_NOT_FOUND)
		return b->apply->waits_for_none ? LARDER_OK : 1;
	return rc;
}

/*
 * 1: it waits (4). What was written of it until then is not taken back: it is durable and true,
 * and will be written again.
 */
static int
write_entry(
    struct batch *b, const struct entry *entry, struct index_write *write, struct larder_err *err)
{
	struct cursor body = cursor_of(b->bodies.data + entry->body_at, entry->body_len);
	struct entry_op op;
	int rc;

	while ((rc = entry_op_next(&body, &op, err)) == 1) {
		if (op.type == ENTRY_OP_VERSION)
			rc = write_version(b, &op.version, entry->time_ns, write, err);
		else if (op.type == ENTRY_OP_VERSION_END)
			rc = write_version_end(b, &op.version_end, entry->time_ns, write, err);
		else
			rc = LARDER_OK;
		if (rc != 0)
			break;
	}
	return rc;
}

static struct index_position
position_of(const struct batch *b, const struct journal_place *place)
{
	return (struct index_position) {
		.writer = b->writer,
		.segment = place->segment,
		.offset = place->offset,
		.sequence = place->sequence,
		.chain = place->chain,
	};
}

static int
write_batch(void *context, struct index_write *write, struct larder_err *err)
{
	struct batch *b = context;
	struct index_position position;
	int rc;

	rc = check_position(b, write, err);
	if (rc < 0 || b->stale)
		return rc;
	for (size_t i = 0; rc == 0 && i < b->rows_count; i++)
		rc = write_rows(b->rows[i], write, err);
	b->written = 0;
	while (rc == 0 && b->written < b->entry_count) {
		rc = write_entry(b, &b->entries[b->written], write, err);
		b->written += rc == 0;
	}
	b->waits = rc == 1;
	if (rc >= 0 && b->written > 0) {
		position = position_of(b, &b->entries[b->written - 1].place);
		rc = index_position_put(write, &position, err);
	}
	if (rc >= 0 && b->with_hints)
		rc = b->apply->hints(b->apply->context, write, err);
	return rc < 0 ? rc : LARDER_OK;
}

/* ---- a batch ---- */

static void
drop_rows(struct rows *rows)
{
	if (rows == NULL)
		return;
	pack_directory_release(&rows->own);
	mem_free(rows);
}

static void
clear_batch(struct batch *b)
{
	for (size_t i = 0; i < b->rows_count; i++)
		drop_rows(b->rows[i]);
	b->rows_count = b->chunk_count = b->entry_count = 0;
	b->stale = b->with_hints = false;
	buf_clear(&b->bodies);
}

static void
release_batch(struct batch *b)
{
	clear_batch(b);
	mem_free(b->rows);
	mem_free(b->entries);
	buf_release(&b->bodies);
	buf_release(&b->text);
}

/* Reasons to stop reading this writer's journal, which are no failures. */
enum stop {
	STOP_STALE = 1, /* another process was faster: read again from where it is */
	STOP_WAITS = 2, /* go on with the other writers */
};

static int
flush(struct batch *b, struct larder_err *err)
{
	int rc;

	if (b->rows_count == 0 && b->entry_count == 0)
		return LARDER_OK;
	rc = index_update(b->apply->index, write_batch, b, err);
	if (rc < 0)
		return rc;
	if (b->stale)
		return STOP_STALE;
	if (b->written > 0) {
		b->position = position_of(b, &b->entries[b->written - 1].place);
		b->stands = true;
		b->apply->entries += b->written;
	}
	if (b->with_hints)
		b->apply->hints = NULL; /* done */
	clear_batch(b);
	return b->waits ? STOP_WAITS : LARDER_OK;
}

/* Takes over *own, whatever comes out. */
static int
add_rows(struct batch *b, const struct index_pack *pack, const struct pack_directory *lent,
    struct pack_directory *own, uint32_t from, uint32_t to, struct larder_err *err)
{
	struct rows *rows = NULL, **bigger;
	size_t room = b->rows_room < 16 ? 16 : 2 * b->rows_room;

	if (b->rows_count == b->rows_room) {
		bigger = mem_resize(b->rows, room, sizeof(struct rows *));
		if (bigger == NULL)
			goto nomem;
		b->rows = bigger;
		b->rows_room = room;
	}
	rows = mem_zalloc(sizeof *rows);
	if (rows == NULL)
		goto nomem;
	*rows = (struct rows) { .pack = *pack, .directory = lent, .from = from, .to = to };
	if (own != NULL) {
		rows->own = *own;
		rows->directory = &rows->own;
		*own = (struct pack_directory) { 0 };
	}
	b->rows[b->rows_count++] = rows;
	b->chunk_count += to - from;
	return LARDER_OK;
nomem:
	if (own != NULL)
		pack_directory_release(own);
	return err_nomem(err);
}

/* All chunks of the pack, in as many batches as they need; the last one stays open. */
static int
add_pack(struct batch *b, const struct index_pack *pack, const struct pack_directory *lent,
    struct pack_directory *own, struct larder_err *err)
{
	const struct pack_directory *directory = own != NULL ? own : lent;
	uint32_t from = 0, count = directory->chunk_count;
	int rc = LARDER_OK;

	while (rc == 0 && count - from > ROWS_MAX - b->chunk_count) {
		uint32_t to = from + (uint32_t)(ROWS_MAX - b->chunk_count);

		rc = add_rows(b, pack, directory, NULL, from, to, err);
		if (rc == 0)
			rc = flush(b, err);
		from = to;
	}
	if (rc == 0)
		return add_rows(b, pack, lent, own, from, count, err);
	if (own != NULL)
		pack_directory_release(own);
	return rc;
}

/* ---- packs ---- */

static const struct pack_directory *
find_fresh(const struct apply *apply, const struct id16 *id)
{
	for (size_t i = 0; i < apply->fresh_count; i++)
		if (memcmp(apply->fresh[i]->id.bytes, id->bytes, ID16_LEN) == 0)
			return apply->fresh[i];
	return NULL;
}

static void
tell_bad_pack(struct apply *apply, const struct larder_err *why)
{
	apply->damages++;
	store_notice(
	    apply->store, "%s: its chunks are not in the index; run larder check", why->message);
}

int
apply_read_directory(struct pack_directory *out, struct larder_store *store,
    const struct index_pack *pack, struct larder_err *err)
{
	char path[PACK_PATH_LEN];
	int rc;

	rc = pack_directory_read(out, store->packs, &pack->id, err);
	if (rc < 0)
		return rc;
	if (out->file_len == pack->file_len && out->chunk_count == pack->chunk_count)
		return LARDER_OK;
	pack_path(path, &pack->id);
	rc = err_set(err, LARDER_ERR_CORRUPT,
	    "%s: %llu bytes with %u chunks, but %llu with %u were committed", path,
	    (unsigned long long)out->file_len, out->chunk_count, (unsigned long long)pack->file_len,
	    pack->chunk_count);
	pack_directory_release(out);
	return rc;
}

static int
take_pack(struct batch *b, const struct entry_pack *op, struct larder_err *err)
{
	const struct index_pack pack = {
		.id = op->id,
		.file_len = op->file_len,
		.chunk_count = op->chunk_count,
	};
	const struct pack_directory *lent = find_fresh(b->apply, &op->id);
	struct pack_directory own = { 0 };
	struct larder_err why = { 0 };
	int rc;

	if (b->apply->without_chunks)
		return add_rows(b, &pack, NULL, NULL, 0, 0, err);
	if (lent != NULL)
		return add_pack(b, &pack, lent, NULL, err);
	rc = apply_read_directory(&own, b->apply->store, &pack, &why);
	if (rc == 0)
		return add_pack(b, &pack, NULL, &own, err);
	if (rc != LARDER_ERR_CORRUPT && rc != LARDER_ERR_NOT_FOUND) {
		if (err != NULL)
			*err = why;
		return rc;
	}
	tell_bad_pack(b->apply, &why);
	return add_rows(b, &pack, NULL, NULL, 0, 0, err);
}

/* ---- entries ---- */

/* All operations decode, so that writing them cannot fail for their sake. */
static int
check_operations(struct apply *apply, const struct entry_frame *frame, struct larder_err *err)
{
	struct cursor body = cursor_of(frame->body, frame->body_len);
	struct entry_op op;
	int rc;

	while ((rc = entry_op_next(&body, &op, err)) == 1) {
		if (op.type == ENTRY_OP_BODY)
			return err_set(err, LARDER_ERR_VERSION,
			    "an entry whose operations are in a pack needs a newer larder");
		apply->versions += op.type == ENTRY_OP_VERSION;
	}
	return rc;
}

static int
take_packs(struct batch *b, const struct entry_frame *frame, struct larder_err *err)
{
	struct cursor body = cursor_of(frame->body, frame->body_len);
	struct entry_op op;
	int rc;

	while ((rc = entry_op_next(&body, &op, err)) == 1) {
		if (op.type != ENTRY_OP_PACK)
			continue;
		rc = take_pack(b, &op.pack, err);
		if (rc != 0)
			return rc;
	}
	return rc;
}

static int
take_operations(struct batch *b, const struct entry_frame *frame, const struct journal_place *place,
    struct larder_err *err)
{
	struct entry *entry;
	int rc;

	if (b->entries == NULL) {
		b->entries = mem_array(ENTRIES_MAX, sizeof *b->entries);
		if (b->entries == NULL)
			return err_nomem(err);
	}
	assert(b->entry_count < ENTRIES_MAX);
	entry = &b->entries[b->entry_count];
	*entry = (struct entry) {
		.body_at = b->bodies.len,
		.body_len = frame->body_len,
		.time_ns = frame->time_ns,
		.place = *place,
	};
	rc = buf_append(&b->bodies, frame->body, frame->body_len);
	if (rc < 0)
		return buf_err(&b->bodies, rc, err);
	b->entry_count++;
	return LARDER_OK;
}

static int
take_entry(void *context, const struct entry_frame *frame, const struct journal_place *place,
    struct larder_err *err)
{
	struct batch *b = context;
	int rc;

	if (b->entry_count == ENTRIES_MAX || b->chunk_count >= ROWS_MAX ||
	    b->bodies.len + frame->body_len > BODIES_MAX) {
		rc = flush(b, err);
		if (rc != 0)
			goto out;
	}
	rc = check_operations(b->apply, frame, err);
	if (rc == LARDER_ERR_CORRUPT && b->apply->tolerant) {
		store_notice(b->apply->store, "journal entry %llu is damaged and left out",
		    (unsigned long long)frame->sequence);
		b->apply->damages++;
		return LARDER_OK;
	}
	if (rc == 0)
		rc = take_packs(b, frame, err);
	if (rc == 0)
		rc = take_operations(b, frame, place, err);
out:
	if (rc < 0) {
		b->failed = true;
		err_prefix(err, "journal entry %llu", (unsigned long long)frame->sequence);
	}
	return rc;
}

static void
tell_bad_journal(void *context, const char *sentence)
{
	struct batch *b = context;

	b->apply->damages++;
	store_notice(b->apply->store, "%s", sentence);
}

/* ---- all writers ---- */

static int
read_position(struct index_position *out, struct index *index, const struct id16 *writer,
    struct larder_err *err)
{
	struct index_read *read;
	int rc;

	rc = index_read_begin(&read, index, err);
	if (rc < 0)
		return rc;
	rc = index_position_get(out, read, writer, err);
	index_read_end(read);
	return rc;
}

static struct journal_place
place_of(const struct index_position *position)
{
	return (struct journal_place) {
		.segment = position->segment,
		.offset = position->offset,
		.sequence = position->sequence,
		.chain = position->chain,
	};
}

/* 1 there is more than the index has, 0 not; *stands and *position: where it is. */
static int
look_at(struct index_position *position, bool *stands, struct larder_store *store,
    struct index *index, const struct id16 *writer, struct larder_err *err)
{
	struct journal_place from;
	int rc;

	rc = read_position(position, index, writer, err);
	if (rc < 0 && rc != LARDER_ERR_NOT_FOUND)
		return rc;
	*stands = rc == 0;
	if (*stands)
		from = place_of(position);
	return journal_has_more(
	    store->root_fd, &store->config.id, writer, *stands ? &from : NULL, err);
}

/* One reading of the journal from where the index is, to its end or to a reason to stop. */
static int
read_on(struct batch *b, struct larder_err *err)
{
	struct larder_store *store = b->apply->store;
	struct journal_place from;
	bool own = memcmp(b->writer.bytes, store->identity.writer.bytes, ID16_LEN) == 0;
	int rc;

	if (b->stands)
		from = place_of(&b->position);
	b->failed = false;
	rc = journal_read(store->root_fd, &store->config.id, &b->writer, b->stands ? &from : NULL,
	    take_entry, b->apply->tolerant ? tell_bad_journal : NULL, b, NULL, err);
	if (rc == LARDER_ERR_CORRUPT && b->apply->tolerant && !b->failed)
		rc = LARDER_OK; /* told */
	if (rc != 0)
		return rc;
	b->with_hints = own && b->apply->hints != NULL && b->entry_count > 0;
	return flush(b, err);
}

static int
apply_writer(void *context, const struct id16 *writer, struct larder_err *err)
{
	struct apply *apply = context;
	struct batch b = { .apply = apply, .writer = *writer };
	int rc;

	buf_init(&b.bodies, BODIES_MAX + ENTRY_LEN_MAX);
	do {
		rc = look_at(&b.position, &b.stands, apply->store, apply->index, writer, err);
		if (rc == 1) {
			clear_batch(&b);
			rc = read_on(&b, err);
		}
	} while (rc == STOP_STALE);
	release_batch(&b);
	if (rc == STOP_WAITS) {
		apply->waiting++;
		rc = LARDER_OK;
	}
	return rc;
}

/* Also a writer whose journal is not there any more had one. */
static int
check_position_there(void *context, const struct index_position *position, struct larder_err *err)
{
	const struct larder_store *store = context;
	struct journal_place from = place_of(position);
	int rc;

	rc = journal_has_more(store->root_fd, &store->config.id, &position->writer, &from, err);
	return rc < 0 ? rc : LARDER_OK;
}

static int
check_positions(struct larder_store *store, struct index *index, struct larder_err *err)
{
	struct index_read *read;
	int rc;

	rc = index_read_begin(&read, index, err);
	if (rc < 0)
		return rc;
	rc = index_position_each(read, check_position_there, store, err);
	index_read_end(read);
	return rc;
}

static int
write_hints(void *context, struct index_write *write, struct larder_err *err)
{
	struct apply *apply = context;

	return apply->hints(apply->context, write, err);
}

/* All writers, in rounds, as long as some wait for others (4). */
static int
apply_writers(struct apply *apply, struct larder_err *err)
{
	uint64_t before;
	int rc;

	do {
		before = apply->entries;
		apply->waiting = 0;
		rc = journal_each_writer(apply->store->root_fd, apply_writer, apply, err);
	} while (rc == 0 && apply->waiting > 0 && apply->entries > before);
	if (rc == 0 && apply->waiting > 0) {
		apply->waits_for_none = true;
		rc = journal_each_writer(apply->store->root_fd, apply_writer, apply, err);
	}
	return rc;
}

int
apply_run(struct apply *apply, struct larder_err *err)
{
	int rc;

	rc = apply_writers(apply, err);
	if (rc == 0 && apply->hints != NULL)
		rc = index_update(apply->index, write_hints, apply, err);
	return rc;
}

int
apply_pending(struct larder_store *store, const struct pack_directory *const *fresh,
    size_t fresh_count, struct larder_err *err)
{
	struct apply apply = {
		.store = store,
		.index = store->index,
		.fresh = fresh,
		.fresh_count = fresh_count,
	};

	return apply_run(&apply, err);
}

static int
writer_needs(void *context, const struct id16 *writer, struct larder_err *err)
{
	struct larder_store *store = context;
	struct index_position position;
	bool stands;

	return look_at(&position, &stands, store, store->index, writer, err);
}

int
apply_needed(struct larder_store *store, struct larder_err *err)
{
	int rc;

	rc = check_positions(store, store->index, err);
	if (rc < 0)
		return rc;
	return journal_each_writer(store->root_fd, writer_needs, store, err);
}
