/*
 * A file as the list of its chunks: OBJECTS.md, "File list".
 *
 * 1. Where a list ends depends on the ids in it only, so that two versions of a
 *    file share the lists that hold none of the changes.
 * 2. Canonical: what decodes has one encoding. Where lists end is *not* checked
 *    when reading: the rule may be tuned without a new format.
 */
#include "cas/object/filelist.h"

#include <assert.h>
#include <string.h>

#include "cas/base/err.h"
#include "cas/base/mem.h"

enum {
	FILELIST_MAGIC = 'F',
	FILELIST_VERSION = 1,
	/* magic, version, level */
	FILELIST_HEAD_LEN = 3,
	ITEM_LEN_MIN = 1 + LARDER_ID_LEN,
	ITEM_LEN_MAX = VARINT_LEN_MAX + LARDER_ID_LEN,
	/* items for which a new level has room at first; doubled as needed */
	ITEMS_ROOM = 64,
};

/* Of 64 items one may end a list: 16 + 64 items on average, 2.7 KiB; OBJECTS.md says why. */
enum { END_MASK = 64 - 1 };

bool
filelist_ends(size_t count, const struct filelist_item *item)
{
	if (count < FILELIST_ITEMS_MIN)
		return false;
	/* The last byte: the first ones place an id in tables, and tables pick ids. */
	return count >= FILELIST_ITEMS_MAX || (item->id.bytes[LARDER_ID_LEN - 1] & END_MASK) == 0;
}

int
filelist_encode(struct buf *out, unsigned level, const struct filelist_item *items, size_t count)
{
	uint8_t *p;
	int rc;

	assert(level < FILELIST_LEVEL_MAX);
	assert(count >= 1 && count <= FILELIST_ITEMS_MAX);
	rc = buf_reserve(out, FILELIST_HEAD_LEN + VARINT_LEN_MAX + count * ITEM_LEN_MAX);
	if (rc < 0)
		return rc;

	p = out->data + out->len;
	*p++ = FILELIST_MAGIC;
	*p++ = FILELIST_VERSION;
	*p++ = (uint8_t)level;
	p += put_varint(p, count);
	for (size_t i = 0; i < count; i++) {
		assert(items[i].len > 0);
		p += put_varint(p, items[i].len);
		memcpy(p, items[i].id.bytes, LARDER_ID_LEN);
		p += LARDER_ID_LEN;
	}
	out->len = (size_t)(p - out->data);
	return LARDER_OK;
}

static int
refuse(struct filelist_reader *reader, size_t at, const char *what, struct larder_err *err)
{
	reader->cursor.bad = true;
	return err_set(err, LARDER_ERR_CORRUPT, "file list at %zu: %s", at, what);
}

int
filelist_open(struct filelist_reader *reader, const void *data, size_t len, struct larder_err *err)
{
	const uint8_t *head;

	*reader = (struct filelist_reader) { .cursor = cursor_of(data, len) };
	head = cursor_bytes(&reader->cursor, FILELIST_HEAD_LEN);
	if (head == NULL)
		return refuse(reader, 0, "no head", err);
	if (head[0] != FILELIST_MAGIC)
		return refuse(reader, 0, "not a file list", err);
	if (head[1] != FILELIST_VERSION) {
		reader->cursor.bad = true;
		return err_set(err, LARDER_ERR_VERSION,
		    "file list of format %d, this larder knows %d", head[1], FILELIST_VERSION);
	}
	if (head[2] >= FILELIST_LEVEL_MAX)
		return refuse(reader, 2, "level out of range", err);
	reader->level = head[2];
	reader->left = cursor_varint(&reader->cursor);
	if (reader->cursor.bad || reader->left == 0 || reader->left > FILELIST_ITEMS_MAX ||
	    reader->left > cursor_left(&reader->cursor) / ITEM_LEN_MIN)
		return refuse(reader, FILELIST_HEAD_LEN, "number of items out of range", err);
	return LARDER_OK;
}

int
filelist_next(struct filelist_reader *reader, struct filelist_item *item, struct larder_err *err)
{
	size_t at = cursor_offset(&reader->cursor);
	struct filelist_item i;

	if (reader->left == 0) {
		if (!cursor_done(&reader->cursor))
			return refuse(reader, at, "bytes behind the last item", err);
		return 0;
	}
	i.len = cursor_varint(&reader->cursor);
	cursor_id(&reader->cursor, &i.id);
	if (reader->cursor.bad)
		return refuse(reader, at, "cut short", err);
	if (i.len == 0)
		return refuse(reader, at, "item of no bytes", err);
	if (i.len > (uint64_t)INT64_MAX - reader->size)
		return refuse(reader, at, "more bytes than a file can have", err);

	reader->size += i.len;
	reader->left--;
	*item = i;
	return 1;
}

/* ---- builder ---- */

void
filelist_builder_init(struct filelist_builder *b, filelist_emit_fn emit, void *context)
{
	*b = (struct filelist_builder) { .emit = emit, .context = context };
}

void
filelist_builder_release(struct filelist_builder *b)
{
	for (unsigned i = 0; i < FILELIST_LEVEL_MAX; i++)
		mem_free(b->level[i].items);
	*b = (struct filelist_builder) { 0 };
}

/* Encode and emit the open list of `level` and empty it; *item is what stands for it above. */
static int
emit_level(struct filelist_builder *b, unsigned level, struct filelist_item *item,
    struct larder_err *err)
{
	struct buf bytes = { 0 };
	int rc;

	item->len = 0;
	for (size_t i = 0; i < b->level[level].count; i++)
		item->len += b->level[level].items[i].len;
	rc = filelist_encode(&bytes, level, b->level[level].items, b->level[level].count);
	if (rc < 0)
		rc = buf_err(&bytes, rc, err);
	else
		rc = b->emit(b->context, &item->id, bytes.data, bytes.len, err);
	mem_free(b->level[level].items);
	b->level[level].items = NULL;
	b->level[level].count = 0;
	buf_release(&bytes);
	return rc;
}

/* Room for one more; grows by doubling from ITEMS_ROOM. */
static int
make_room(struct filelist_builder *b, unsigned level, struct larder_err *err)
{
	size_t count = b->level[level].count;
	struct filelist_item *items;

	if (count > 0 && (count < ITEMS_ROOM || (count & (count - 1)) != 0))
		return LARDER_OK;
	items = mem_resize(b->level[level].items, count < ITEMS_ROOM ? ITEMS_ROOM : 2 * count,
	    sizeof *items);
	if (items == NULL)
		return err_nomem(err);
	b->level[level].items = items;
	return LARDER_OK;
}

/* Append to `level`, and to those above as long as lists end by it. */
static int
append(struct filelist_builder *b, unsigned level, struct filelist_item item,
    struct larder_err *err)
{
	for (;; level++) {
		int rc;

		if (level == FILELIST_LEVEL_MAX)
			return err_set(err, LARDER_ERR_LIMIT,
			    "file needs more than %d levels of lists", FILELIST_LEVEL_MAX);
		rc = make_room(b, level, err);
		if (rc < 0)
			return rc;
		if (b->levels <= level)
			b->levels = level + 1;
		b->level[level].items[b->level[level].count++] = item;
		if (!filelist_ends(b->level[level].count, &item))
			return LARDER_OK;
		rc = emit_level(b, level, &item, err);
		if (rc < 0)
			return rc;
	}
}

int
filelist_builder_add(struct filelist_builder *b, const struct larder_id *chunk, uint64_t len,
    struct larder_err *err)
{
	assert(len > 0);
	if (len > (uint64_t)INT64_MAX - b->size)
		return err_set(err, LARDER_ERR_LIMIT, "file of more than 2^63 - 1 bytes");
	b->size += len;
	return append(b, 0, (struct filelist_item) { .id = *chunk, .len = len }, err);
}

int
filelist_builder_end(struct filelist_builder *b, struct larder_id *id, struct larder_err *err)
{
	struct filelist_item item;

	assert(b->levels > 0);
	for (unsigned level = 0;; level++) {
		int rc;

		/* One list alone on the highest level needs no list of its own above it. */
		if (level > 0 && level + 1 == b->levels && b->level[level].count == 1) {
			*id = b->level[level].items[0].id;
			return LARDER_OK;
		}
		if (b->level[level].count == 0)
			continue;
		rc = emit_level(b, level, &item, err);
		if (rc < 0)
			return rc;
		if (level + 1 == b->levels) {
			*id = item.id;
			return LARDER_OK;
		}
		rc = append(b, level + 1, item, err);
		if (rc < 0)
			return rc;
	}
}
