/*
 * Trees and their nodes as bytes: OBJECTS.md, "Tree" and "Tree node".
 *
 * 1. Encoder and decoder agree byte for byte: what the decoder accepts, the
 *    encoder writes, so that one directory has one id. Hence every value that
 *    could be written in two ways is refused in all ways but one.
 * 2. The decoder looks at each byte a fixed number of times and allocates nothing.
 * 3. Names stand together in front of sizes and ids, each ended by a byte that
 *    no name has: random bytes between them, or lengths in front of them, cost
 *    zstd 5 % of all tree bytes (OBJECTS.md has the figures).
 */
#include "cas/object/tree.h"

#include <assert.h>
#include <string.h>

#include "cas/base/crc32c.h"
#include "cas/base/err.h"

/* First two bytes of an object: what it is, and the version of its format. */
enum { TREE_MAGIC = 'T', TREE_NODE_MAGIC = 'N', TREE_VERSION = 1, TREE_HEAD_LEN = 2 };

/* The byte behind a name that ends in a slash. */
enum {
	TREE_KIND_MASK = 0x07,
	TREE_FLAG_EXECUTABLE = 0x08,
	TREE_FLAG_LIST = 0x10,
	TREE_FLAGS_RESERVED = 0xe0,
};

enum {
	/* magic, version, number of entries, length of the names */
	HEAD_LEN_MAX = TREE_HEAD_LEN + 2 * VARINT_LEN_MAX,
	/* slash, kind, NUL of a target; two numbers; id: more than any entry has beside its
	   name and target */
	ENTRY_FIXED_MAX = 3 + 2 * VARINT_LEN_MAX + LARDER_ID_LEN,
	/* what an entry counts in tree_part_end beside its name and target; with the head this
	   bounds a part, since no part has fewer than one entry */
	ENTRY_WEIGHT = 80,
	/* a name of one byte and its end: an empty file */
	ENTRY_NAME_LEN_MIN = 2,
	/* of the hash of a name, so that one name in 1024 may end a part */
	PART_END_MASK = 1024 - 1,
};

static_assert(ENTRY_FIXED_MAX + HEAD_LEN_MAX <= ENTRY_WEIGHT,
    "a part that is light enough is short enough");
static_assert((int)TREE_KIND_COUNT <= TREE_KIND_MASK + 1, "every kind has its number");

int
tree_name_compare(const char *a, size_t a_len, const char *b, size_t b_len)
{
	int order = memcmp(a, b, a_len < b_len ? a_len : b_len);

	if (order != 0)
		return order;
	return (a_len > b_len) - (a_len < b_len);
}

static bool
is_dot_or_dots(const char *name, size_t len)
{
	return name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.'));
}

bool
tree_name_valid(const char *name, size_t name_len)
{
	if (name_len == 0 || name_len > COMPONENT_LEN_MAX || is_dot_or_dots(name, name_len))
		return false;
	return memchr(name, '/', name_len) == NULL && memchr(name, '\0', name_len) == NULL;
}

size_t
tree_part_end(const struct tree_entry *entries, size_t from, size_t count)
{
	size_t weight = 0;
	size_t i;

	assert(from <= count);
	for (i = from; i < count; i++) {
		const struct tree_entry *entry = &entries[i];

		weight += ENTRY_WEIGHT + entry->name_len;
		if (entry->kind == TREE_SYMLINK)
			weight += entry->target_len;
		if (weight > TREE_PART_LEN_MAX)
			return i;
		if (i + 1 - from < TREE_PART_ENTRIES_MIN)
			continue;
		if (i + 1 - from == TREE_PART_ENTRIES_MAX)
			return i + 1;
		if ((crc32c(0, entry->name, entry->name_len) & PART_END_MASK) == 0)
			return i + 1;
	}
	return i;
}

/* ---- encode ---- */

static uint8_t *
put_bytes(uint8_t *p, const void *data, size_t len)
{
	memcpy(p, data, len);
	return p + len;
}

static uint8_t *
put_head(uint8_t *p, uint8_t magic, size_t count, size_t names_len)
{
	*p++ = magic;
	*p++ = TREE_VERSION;
	p += put_varint(p, count);
	p += put_varint(p, names_len);
	return p;
}

/* Most files are just that; everything else says more about itself. */
static bool
is_plain_file(const struct tree_entry *entry)
{
	return entry->kind == TREE_FILE && !entry->executable && !entry->list;
}

static uint8_t *
put_name(uint8_t *p, const struct tree_entry *entry)
{
	p = put_bytes(p, entry->name, entry->name_len);
	if (is_plain_file(entry)) {
		*p++ = '\0';
		return p;
	}
	*p++ = '/';
	*p++ = (uint8_t)((unsigned)entry->kind | (entry->executable ? TREE_FLAG_EXECUTABLE : 0u) |
	    (entry->list ? TREE_FLAG_LIST : 0u));
	if (entry->kind == TREE_SYMLINK) {
		p = put_bytes(p, entry->target, entry->target_len);
		*p++ = '\0';
	}
	return p;
}

static uint8_t *
put_content(uint8_t *p, const struct tree_entry *entry)
{
	switch (entry->kind) {
	case TREE_FILE:
		p += put_varint(p, entry->size);
		if (entry->size > 0)
			p = put_bytes(p, entry->id.bytes, LARDER_ID_LEN);
		break;
	case TREE_DIR:
		p = put_bytes(p, entry->id.bytes, LARDER_ID_LEN);
		break;
	case TREE_CHAR:
	case TREE_BLOCK:
		p += put_varint(p, entry->major);
		p += put_varint(p, entry->minor);
		break;
	case TREE_SYMLINK:
	case TREE_FIFO:
	case TREE_SOCKET:
	case TREE_KIND_COUNT:
		break;
	}
	return p;
}

/* Bytes of an entry among the names. */
static size_t
name_room(const struct tree_entry *entry)
{
	if (is_plain_file(entry))
		return entry->name_len + 1;
	return entry->name_len + 2 + (entry->kind == TREE_SYMLINK ? entry->target_len + 1 : 0);
}

static void
assert_entry(const struct tree_entry *entry)
{
	assert(tree_name_valid(entry->name, entry->name_len));
	assert(entry->kind >= TREE_FILE && entry->kind < TREE_KIND_COUNT);
	assert(entry->size <= INT64_MAX);
	assert(!entry->list || (entry->kind == TREE_FILE && entry->size > 0));
	assert(!entry->executable || entry->kind == TREE_FILE);
	if (entry->kind == TREE_SYMLINK) {
		assert(entry->target_len >= 1 && entry->target_len <= PATH_LEN_MAX);
		assert(memchr(entry->target, '\0', entry->target_len) == NULL);
	}
}

int
tree_encode(struct buf *out, const struct tree_entry *entries, size_t count)
{
	size_t names_len = 0;
	size_t room;
	uint8_t *p;
	int rc;

	assert(count <= TREE_PART_ENTRIES_MAX);
	for (size_t i = 0; i < count; i++) {
		assert_entry(&entries[i]);
		assert(i == 0 ||
		    tree_name_compare(entries[i - 1].name, entries[i - 1].name_len, entries[i].name,
		        entries[i].name_len) < 0);
		names_len += name_room(&entries[i]);
	}
	room = HEAD_LEN_MAX + names_len + count * ENTRY_FIXED_MAX;
	rc = buf_reserve(out, room);
	if (rc < 0)
		return rc;

	p = put_head(out->data + out->len, TREE_MAGIC, count, names_len);
	for (size_t i = 0; i < count; i++)
		p = put_name(p, &entries[i]);
	for (size_t i = 0; i < count; i++)
		p = put_content(p, &entries[i]);
	assert((size_t)(p - out->data) - out->len <= TREE_PART_LEN_MAX);
	out->len = (size_t)(p - out->data);
	return LARDER_OK;
}

int
tree_node_encode(struct buf *out, const struct tree_part *parts, size_t count)
{
	size_t names_len = 0;
	size_t room;
	uint8_t *p;
	int rc;

	assert(count >= 2);
	if (count > TREE_NODE_LEN_MAX / LARDER_ID_LEN)
		return LARDER_ERR_LIMIT;
	for (size_t i = 0; i < count; i++) {
		assert(tree_name_valid(parts[i].first, parts[i].first_len));
		assert(i == 0 ||
		    tree_name_compare(parts[i - 1].first, parts[i - 1].first_len, parts[i].first,
		        parts[i].first_len) < 0);
		names_len += parts[i].first_len + 1;
	}
	room = TREE_HEAD_LEN + varint_len(count) + varint_len(names_len) + names_len +
	    count * LARDER_ID_LEN;
	if (room > TREE_NODE_LEN_MAX)
		return LARDER_ERR_LIMIT;
	rc = buf_reserve(out, room);
	if (rc < 0)
		return rc;

	p = put_head(out->data + out->len, TREE_NODE_MAGIC, count, names_len);
	for (size_t i = 0; i < count; i++) {
		p = put_bytes(p, parts[i].first, parts[i].first_len);
		*p++ = '\0';
	}
	for (size_t i = 0; i < count; i++)
		p = put_bytes(p, parts[i].id.bytes, LARDER_ID_LEN);
	out->len = (size_t)(p - out->data);
	return LARDER_OK;
}

/* ---- decode ---- */

/* Head checked; the rest is two cursors. Says what is wrong. */
static const char *
open_columns(struct tree_reader *reader)
{
	struct cursor *c = &reader->cursor;
	uint64_t names_len;
	const uint8_t *names;

	reader->left = cursor_varint(c);
	names_len = cursor_varint(c);
	if (c->bad || names_len > cursor_left(c))
		return "cut short";
	names = cursor_bytes(c, (size_t)names_len);
	reader->names = (struct cursor) { .at = names, .end = c->at, .start = c->start };
	if (reader->left > names_len / ENTRY_NAME_LEN_MIN)
		return "fewer names than entries";
	if (!reader->node && reader->left > TREE_PART_ENTRIES_MAX)
		return "too many entries";
	if (reader->node && reader->left < 2)
		return "too few parts";
	return NULL;
}

int
tree_open(struct tree_reader *reader, const void *data, size_t len, struct larder_err *err)
{
	const uint8_t *head;
	const char *fault;

	*reader = (struct tree_reader) { .cursor = cursor_of(data, len) };
	head = cursor_bytes(&reader->cursor, TREE_HEAD_LEN);
	if (head == NULL)
		return err_set(err, LARDER_ERR_CORRUPT, "tree of %zu bytes has no head", len);
	if (head[0] != TREE_MAGIC && head[0] != TREE_NODE_MAGIC) {
		reader->cursor.bad = true;
		return err_set(
		    err, LARDER_ERR_CORRUPT, "not a tree: it begins with 0x%02x", head[0]);
	}
	if (head[1] != TREE_VERSION) {
		reader->cursor.bad = true;
		return err_set(err, LARDER_ERR_VERSION, "tree of format %d, this larder knows %d",
		    head[1], TREE_VERSION);
	}
	reader->node = head[0] == TREE_NODE_MAGIC;
	if (len > (reader->node ? (size_t)TREE_NODE_LEN_MAX : (size_t)TREE_PART_LEN_MAX))
		fault = "too long";
	else
		fault = open_columns(reader);
	if (fault != NULL) {
		reader->cursor.bad = true;
		reader->left = 0;
		return err_set(err, LARDER_ERR_CORRUPT, "tree of %zu bytes: %s", len, fault);
	}
	return LARDER_OK;
}

static int
refuse(struct tree_reader *reader, size_t at, const char *what, struct larder_err *err)
{
	reader->cursor.bad = true;
	return err_set(err, LARDER_ERR_CORRUPT, "%s at %zu: %s",
	    reader->node ? "tree part" : "tree entry", at, what);
}

/* 0 when everything was read and there is nothing more. */
static int
end(struct tree_reader *reader, struct larder_err *err)
{
	if (!cursor_done(&reader->cursor) || !cursor_done(&reader->names))
		return refuse(reader, cursor_offset(&reader->names),
		    "more bytes than entries", err);
	return 0;
}

/*
 * The next name, without the NUL or slash that ends it; the cursor stands on
 * that byte afterwards. Greater than the one before. NULL, or what is wrong.
 */
static const char *
next_name(struct tree_reader *reader, const char **out, size_t *out_len)
{
	const char *name = (const char *)reader->names.at;
	size_t len_max = cursor_left(&reader->names);
	size_t len = 0;

	if (len_max > COMPONENT_LEN_MAX + 1)
		len_max = COMPONENT_LEN_MAX + 1;
	while (len < len_max && name[len] != '\0' && name[len] != '/')
		len++;
	if (len == len_max)
		return len > COMPONENT_LEN_MAX ? "name too long" : "cut short";
	if (len == 0)
		return "empty name";
	if (is_dot_or_dots(name, len))
		return "name is . or ..";
	if (reader->last != NULL &&
	    tree_name_compare(reader->last, reader->last_len, name, len) >= 0)
		return "not in the order of names";
	reader->names.at += len;
	reader->last = name;
	reader->last_len = len;
	*out = name;
	*out_len = len;
	return NULL;
}

/* What may follow a name: nothing for a plain file, kind and target otherwise. */
static const char *
next_kind(struct cursor *names, struct tree_entry *entry)
{
	size_t target_max;
	const char *nul;
	uint8_t kind;

	if (cursor_u8(names) == '\0')
		return NULL;
	kind = cursor_u8(names);
	if (names->bad)
		return "cut short";
	if ((kind & TREE_FLAGS_RESERVED) != 0)
		return "reserved bits not zero";
	entry->kind = (enum tree_kind)(kind & TREE_KIND_MASK);
	entry->executable = (kind & TREE_FLAG_EXECUTABLE) != 0;
	entry->list = (kind & TREE_FLAG_LIST) != 0;
	if (entry->kind >= TREE_KIND_COUNT)
		return "unknown kind";
	if (entry->kind != TREE_FILE && (entry->executable || entry->list))
		return "flags of a file on something else";
	if (is_plain_file(entry))
		return "plain file spelled out";
	if (entry->kind != TREE_SYMLINK)
		return NULL;

	target_max = cursor_left(names);
	if (target_max > PATH_LEN_MAX + 1)
		target_max = PATH_LEN_MAX + 1;
	nul = target_max > 0 ? memchr(names->at, '\0', target_max) : NULL;
	if (nul == NULL)
		return "target of a link cut short or too long";
	entry->target = (const char *)names->at;
	entry->target_len = (size_t)(nul - entry->target);
	if (entry->target_len == 0)
		return "empty target of a link";
	names->at += entry->target_len + 1;
	return NULL;
}

/* Size, id, numbers. NULL, or what is wrong. */
static const char *
next_content(struct cursor *cursor, struct tree_entry *entry)
{
	uint64_t a, b;

	switch (entry->kind) {
	case TREE_FILE:
		entry->size = cursor_varint(cursor);
		if (entry->size > INT64_MAX)
			return "file size out of range";
		if (entry->size > 0)
			cursor_id(cursor, &entry->id);
		else if (entry->list)
			return "empty file as a list";
		break;
	case TREE_DIR:
		cursor_id(cursor, &entry->id);
		break;
	case TREE_CHAR:
	case TREE_BLOCK:
		a = cursor_varint(cursor);
		b = cursor_varint(cursor);
		if (a > UINT32_MAX || b > UINT32_MAX)
			return "device number out of range";
		entry->major = (uint32_t)a;
		entry->minor = (uint32_t)b;
		break;
	case TREE_SYMLINK:
	case TREE_FIFO:
	case TREE_SOCKET:
	case TREE_KIND_COUNT:
		break;
	}
	return cursor->bad ? "size or id cut short" : NULL;
}

int
tree_next(struct tree_reader *reader, struct tree_entry *entry, struct larder_err *err)
{
	size_t at = cursor_offset(&reader->names);
	struct tree_entry e = { 0 };
	const char *fault;

	assert(!reader->node);
	if (reader->left == 0 || reader->cursor.bad)
		return end(reader, err);

	fault = next_name(reader, &e.name, &e.name_len);
	if (fault == NULL)
		fault = next_kind(&reader->names, &e);
	if (fault == NULL)
		fault = next_content(&reader->cursor, &e);
	if (fault != NULL)
		return refuse(reader, at, fault, err);

	reader->left--;
	*entry = e;
	return 1;
}

int
tree_node_next(struct tree_reader *reader, struct tree_part *part, struct larder_err *err)
{
	size_t at = cursor_offset(&reader->names);
	struct tree_part p = { 0 };
	const char *fault;

	assert(reader->node);
	if (reader->left == 0 || reader->cursor.bad)
		return end(reader, err);

	fault = next_name(reader, &p.first, &p.first_len);
	if (fault == NULL && cursor_u8(&reader->names) != '\0')
		fault = "slash in a name";
	cursor_id(&reader->cursor, &p.id);
	if (fault == NULL && reader->cursor.bad)
		fault = "id cut short";
	if (fault != NULL)
		return refuse(reader, at, fault, err);

	reader->left--;
	*part = p;
	return 1;
}
