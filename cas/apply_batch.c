/*
 * A batch: one transaction.
 *
 * 1. It first looks whether the index stands where the batch believes; if another process
 *    was faster, nothing is written. So a position never goes back, and no entry is
 *    applied twice behind a later one.
 * 2. The chunks of a large pack come before the rest of its entry, in transactions of
 *    their own: until the entry is there they are rows that say the truth and nobody
 *    needs, and applying them again changes nothing.
 * 3. It is small enough for the index (INDEX_DIRTY_PAGES_MAX): a chunk may touch a page of
 *    its own, an operation a handful.
 * 4. The index may run it again from the start: it changes nothing but what it says
 *    about itself (written, waits, stale).
 */
#include "cas/apply_batch.h"

#include <assert.h>
#include <string.h>

#include "cas/base/err.h"
#include "cas/base/mem.h"

enum {
	CHUNKS_MAX = 20000,
	OPERATIONS_MAX = 4000,
	BODIES_MAX = 8 * 1024 * 1024,
	ENTRIES_MAX = OPERATIONS_MAX,
};

/* An entry that was read: its operations are in the batch's bodies. */
struct batch_entry {
	size_t body_at, body_len;
	int64_t time_ns;
	struct journal_place place;
};

/* Chunks [from, to) of a pack; no directory: the pack's own row only. */
struct batch_rows {
	struct index_pack pack;
	const struct pack_directory *directory;
	struct pack_directory own; /* where `directory` points, unless it is lent */
	uint32_t from, to;
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
write_rows(const struct batch_rows *rows, struct index_write *write, struct larder_err *err)
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
write_entry(struct batch *b, const struct batch_entry *entry, struct index_write *write,
    struct larder_err *err)
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

/* ---- gathering ---- */

void
batch_init(struct batch *b, struct apply *apply, const struct id16 *writer)
{
	*b = (struct batch) { .apply = apply, .writer = *writer };
	buf_init(&b->bodies, BODIES_MAX + ENTRY_LEN_MAX);
}

static void
drop_rows(struct batch_rows *rows)
{
	if (rows == NULL)
		return;
	pack_directory_release(&rows->own);
	mem_free(rows);
}

void
batch_clear(struct batch *b)
{
	for (size_t i = 0; i < b->rows_count; i++)
		drop_rows(b->rows[i]);
	b->rows_count = b->entry_count = 0;
	b->chunk_count = b->operation_count = 0;
	b->stale = b->with_hints = false;
	buf_clear(&b->bodies);
}

void
batch_release(struct batch *b)
{
	batch_clear(b);
	mem_free(b->rows);
	mem_free(b->entries);
	buf_release(&b->bodies);
	buf_release(&b->text);
}

int
batch_flush(struct batch *b, struct larder_err *err)
{
	int rc;

	if (b->rows_count == 0 && b->entry_count == 0)
		return LARDER_OK;
	rc = index_update(b->apply->index, write_batch, b, err);
	if (rc < 0)
		return rc;
	if (b->stale)
		return BATCH_STALE;
	if (b->written > 0) {
		b->position = position_of(b, &b->entries[b->written - 1].place);
		b->stands = true;
		b->apply->entries += b->written;
	}
	if (b->with_hints)
		b->apply->hints = NULL; /* done */
	batch_clear(b);
	return b->waits ? BATCH_WAITS : LARDER_OK;
}

/* Takes over *own, whatever comes out. */
static int
add_rows(struct batch *b, const struct index_pack *pack, const struct pack_directory *lent,
    struct pack_directory *own, uint32_t from, uint32_t to, struct larder_err *err)
{
	struct batch_rows *rows = NULL, **bigger;
	size_t room = b->rows_room < 16 ? 16 : 2 * b->rows_room;

	if (b->rows_count == b->rows_room) {
		bigger = mem_resize(b->rows, room, sizeof(struct batch_rows *));
		if (bigger == NULL)
			goto nomem;
		b->rows = bigger;
		b->rows_room = room;
	}
	rows = mem_zalloc(sizeof *rows);
	if (rows == NULL)
		goto nomem;
	*rows = (struct batch_rows) { .pack = *pack, .directory = lent, .from = from, .to = to };
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

int
batch_add_pack(struct batch *b, const struct index_pack *pack, const struct pack_directory *lent,
    struct pack_directory *own, struct larder_err *err)
{
	const struct pack_directory *directory = own != NULL ? own : lent;
	uint32_t from = 0, count = directory != NULL ? directory->chunk_count : 0;
	int rc = LARDER_OK;

	while (rc == 0 && count - from > CHUNKS_MAX - b->chunk_count) {
		uint32_t to = from + (uint32_t)(CHUNKS_MAX - b->chunk_count);

		rc = add_rows(b, pack, directory, NULL, from, to, err);
		if (rc == 0)
			rc = batch_flush(b, err);
		from = to;
	}
	if (rc == 0)
		return add_rows(b, pack, lent, own, from, count, err);
	if (own != NULL)
		pack_directory_release(own);
	return rc;
}

int
batch_add_entry(struct batch *b, const struct entry_frame *frame, const struct journal_place *place,
    size_t operation_count, struct larder_err *err)
{
	struct batch_entry *entry;
	int rc;

	if (b->entries == NULL) {
		b->entries = mem_array(ENTRIES_MAX, sizeof *b->entries);
		if (b->entries == NULL)
			return err_nomem(err);
	}
	assert(b->entry_count < ENTRIES_MAX);
	entry = &b->entries[b->entry_count];
	*entry = (struct batch_entry) {
		.body_at = b->bodies.len,
		.body_len = frame->body_len,
		.time_ns = frame->time_ns,
		.place = *place,
	};
	rc = buf_append(&b->bodies, frame->body, frame->body_len);
	if (rc < 0)
		return buf_err(&b->bodies, rc, err);
	b->entry_count++;
	b->operation_count += operation_count;
	return LARDER_OK;
}

bool
batch_is_full(const struct batch *b, size_t body_len)
{
	return b->entry_count == ENTRIES_MAX || b->operation_count >= OPERATIONS_MAX ||
	       b->chunk_count >= CHUNKS_MAX || b->bodies.len + body_len > BODIES_MAX;
}
