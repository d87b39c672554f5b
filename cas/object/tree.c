/*
 * Trees and their nodes as bytes: OBJECTS.md, "Tree" and "Tree node".
 *
 * 1. Encoder and decoder agree byte for byte: what the decoder accepts, the
 *    encoder writes, so that one directory has one id. Hence every value that
 *    could be written in two ways is refused in all ways but one.
 * 2. The decoder looks at each byte a fixed number of times and allocates nothing.
 * 3. Entries are rows, not columns, and names are whole: measured in OBJECTS.md.
 */
#include "cas/object/tree.h"

#include <assert.h>
#include <string.h>

#include "cas/base/crc32c.h"
#include "cas/base/err.h"

/* First two bytes of an object: what it is, and the version of its format. */
enum { TREE_MAGIC = 'T', TREE_NODE_MAGIC = 'N', TREE_VERSION = 1, TREE_HEAD_LEN = 2 };

/* The byte in front of every name. */
enum {
	TREE_KIND_MASK = 0x07,
	TREE_FLAG_EXECUTABLE = 0x08,
	TREE_FLAG_LIST = 0x10,
	TREE_FLAGS_RESERVED = 0xe0,
};

enum {
	/* kind, length of the name, size, id: more than any entry has beside its name and target */
	ENTRY_FIXED_MAX = 1 + 1 + VARINT_LEN_MAX + LARDER_ID_LEN,
	/* what an entry counts in tree_part_end beside its name and target */
	ENTRY_WEIGHT = 64,
	/* kind, length of the name, a name of one byte: a FIFO */
	ENTRY_LEN_MIN = 3,
	PART_LEN_MIN = 1 + 1 + LARDER_ID_LEN,
	/* of the hash of a name, so that one name in 1024 may end a part */
	PART_END_MASK = 1024 - 1,
};

static_assert(ENTRY_FIXED_MAX + TREE_HEAD_LEN + VARINT_LEN_MAX <= ENTRY_WEIGHT,
    "a part that is light enough is short enough");
static_assert((int)TREE_KIND_COUNT <= TREE_KIND_MASK + 1, "every kind has its number");
static_assert(COMPONENT_LEN_MAX <= UINT8_MAX, "the length of a name is one byte");

int
tree_name_compare(const char *a, size_t a_len, const char *b, size_t b_len)
{
	int order = memcmp(a, b, a_len < b_len ? a_len : b_len);

	if (order != 0)
		return order;
	return (a_len > b_len) - (a_len < b_len);
}

/* NULL, or what is wrong with it. */
static const char *
name_fault(const char *name, size_t len)
{
	if (len == 0)
		return "empty name";
	if (len > COMPONENT_LEN_MAX)
		return "name too long";
	if (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')))
		return "name is . or ..";
	for (size_t i = 0; i < len; i++)
		if (name[i] == '/' || name[i] == '\0')
			return "slash or NUL in a name";
	return NULL;
}

bool
tree_name_valid(const char *name, size_t name_len)
{
	return name_fault(name, name_len) == NULL;
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
put_entry(uint8_t *p, const struct tree_entry *entry)
{
	uint8_t kind = (uint8_t)entry->kind;

	if (entry->kind == TREE_FILE && entry->executable)
		kind |= TREE_FLAG_EXECUTABLE;
	if (entry->kind == TREE_FILE && entry->list)
		kind |= TREE_FLAG_LIST;
	*p++ = kind;
	*p++ = (uint8_t)entry->name_len;
	p = put_bytes(p, entry->name, entry->name_len);

	switch (entry->kind) {
	case TREE_FILE:
		p += put_varint(p, entry->size);
		if (entry->size > 0)
			p = put_bytes(p, entry->id.bytes, LARDER_ID_LEN);
		break;
	case TREE_DIR:
		p = put_bytes(p, entry->id.bytes, LARDER_ID_LEN);
		break;
	case TREE_SYMLINK:
		p += put_varint(p, entry->target_len);
		p = put_bytes(p, entry->target, entry->target_len);
		break;
	case TREE_CHAR:
	case TREE_BLOCK:
		p += put_varint(p, entry->major);
		p += put_varint(p, entry->minor);
		break;
	case TREE_FIFO:
	case TREE_SOCKET:
	case TREE_KIND_COUNT:
		break;
	}
	return p;
}

static void
assert_entry(const struct tree_entry *entry)
{
	assert(tree_name_valid(entry->name, entry->name_len));
	assert(entry->kind >= TREE_FILE && entry->kind < TREE_KIND_COUNT);
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
	size_t room = TREE_HEAD_LEN + VARINT_LEN_MAX;
	uint8_t *p;
	int rc;

	assert(count <= TREE_PART_ENTRIES_MAX);
	for (size_t i = 0; i < count; i++) {
		assert_entry(&entries[i]);
		assert(i == 0 ||
		    tree_name_compare(entries[i - 1].name, entries[i - 1].name_len, entries[i].name,
		        entries[i].name_len) < 0);
		room += ENTRY_FIXED_MAX + entries[i].name_len;
		if (entries[i].kind == TREE_SYMLINK)
			room += entries[i].target_len;
	}
	assert(room <= TREE_PART_LEN_MAX);
	rc = buf_reserve(out, room);
	if (rc < 0)
		return rc;

	p = out->data + out->len;
	*p++ = TREE_MAGIC;
	*p++ = TREE_VERSION;
	p += put_varint(p, count);
	for (size_t i = 0; i < count; i++)
		p = put_entry(p, &entries[i]);
	out->len = (size_t)(p - out->data);
	return LARDER_OK;
}

int
tree_node_encode(struct buf *out, const struct tree_part *parts, size_t count)
{
	size_t room = TREE_HEAD_LEN + VARINT_LEN_MAX;
	uint8_t *p;
	int rc;

	assert(count >= 2);
	for (size_t i = 0; i < count; i++) {
		assert(tree_name_valid(parts[i].first, parts[i].first_len));
		assert(i == 0 ||
		    tree_name_compare(parts[i - 1].first, parts[i - 1].first_len, parts[i].first,
		        parts[i].first_len) < 0);
		room += 1 + parts[i].first_len + LARDER_ID_LEN;
		if (room > TREE_NODE_LEN_MAX)
			return LARDER_ERR_LIMIT;
	}
	rc = buf_reserve(out, room);
	if (rc < 0)
		return rc;

	p = out->data + out->len;
	*p++ = TREE_NODE_MAGIC;
	*p++ = TREE_VERSION;
	p += put_varint(p, count);
	for (size_t i = 0; i < count; i++) {
		*p++ = (uint8_t)parts[i].first_len;
		p = put_bytes(p, parts[i].first, parts[i].first_len);
		p = put_bytes(p, parts[i].id.bytes, LARDER_ID_LEN);
	}
	out->len = (size_t)(p - out->data);
	return LARDER_OK;
}

/* ---- decode ---- */

int
tree_open(struct tree_reader *reader, const void *data, size_t len, struct larder_err *err)
{
	const uint8_t *head;
	size_t count_max;

	*reader = (struct tree_reader) { .cursor = cursor_of(data, len) };
	head = cursor_bytes(&reader->cursor, TREE_HEAD_LEN);
	if (head == NULL)
		return err_set(err, LARDER_ERR_CORRUPT, "tree of %zu bytes has no head", len);
	if (head[0] != TREE_MAGIC && head[0] != TREE_NODE_MAGIC) {
		reader->cursor.bad = true;
		return err_set(err, LARDER_ERR_CORRUPT, "not a tree: it begins with 0x%02x",
		    head[0]);
	}
	if (head[1] != TREE_VERSION) {
		reader->cursor.bad = true;
		return err_set(err, LARDER_ERR_VERSION, "tree of format %d, this larder knows %d",
		    head[1], TREE_VERSION);
	}

	reader->node = head[0] == TREE_NODE_MAGIC;
	reader->left = cursor_varint(&reader->cursor);
	if (len > (reader->node ? (size_t)TREE_NODE_LEN_MAX : (size_t)TREE_PART_LEN_MAX)) {
		reader->cursor.bad = true;
		return err_set(err, LARDER_ERR_CORRUPT, "tree of %zu bytes is too long", len);
	}
	count_max = cursor_left(&reader->cursor) / (reader->node ? PART_LEN_MIN : ENTRY_LEN_MIN);
	if (!reader->node && count_max > TREE_PART_ENTRIES_MAX)
		count_max = TREE_PART_ENTRIES_MAX;
	if (reader->cursor.bad || reader->left > count_max ||
	    (reader->node && reader->left < 2)) {
		reader->cursor.bad = true;
		return err_set(err, LARDER_ERR_CORRUPT, "tree of %zu bytes claims %llu %s", len,
		    (unsigned long long)reader->left, reader->node ? "parts" : "entries");
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
	if (!cursor_done(&reader->cursor))
		return refuse(reader, cursor_offset(&reader->cursor), "bytes behind the last one",
		    err);
	return 0;
}

/* The next name: length, bytes; greater than the one before. NULL and *fault otherwise. */
static const char *
next_name(struct tree_reader *reader, size_t *name_len, const char **fault)
{
	size_t len = cursor_u8(&reader->cursor);
	const char *name = (const char *)cursor_bytes(&reader->cursor, len);

	if (name == NULL) {
		*fault = "cut short";
		return NULL;
	}
	*fault = name_fault(name, len);
	if (*fault == NULL && reader->last_len > 0 &&
	    tree_name_compare(reader->last, reader->last_len, name, len) >= 0)
		*fault = "not in the order of names";
	if (*fault != NULL)
		return NULL;
	reader->last = name;
	reader->last_len = len;
	*name_len = len;
	return name;
}

/* What follows the name. NULL, or what is wrong. */
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
	case TREE_SYMLINK:
		a = cursor_varint(cursor);
		if (a > PATH_LEN_MAX || (a == 0 && !cursor->bad))
			return "length of a link's target out of range";
		entry->target_len = (size_t)a;
		entry->target = (const char *)cursor_bytes(cursor, (size_t)a);
		if (entry->target != NULL && memchr(entry->target, '\0', (size_t)a) != NULL)
			return "NUL in a link's target";
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
	case TREE_FIFO:
	case TREE_SOCKET:
	case TREE_KIND_COUNT:
		break;
	}
	return cursor->bad ? "cut short" : NULL;
}

int
tree_next(struct tree_reader *reader, struct tree_entry *entry, struct larder_err *err)
{
	size_t at = cursor_offset(&reader->cursor);
	struct tree_entry e = { 0 };
	const char *fault;
	uint8_t kind;

	assert(!reader->node);
	if (reader->left == 0)
		return end(reader, err);

	kind = cursor_u8(&reader->cursor);
	e.kind = (enum tree_kind)(kind & TREE_KIND_MASK);
	e.executable = (kind & TREE_FLAG_EXECUTABLE) != 0;
	e.list = (kind & TREE_FLAG_LIST) != 0;
	if (e.kind >= TREE_KIND_COUNT)
		return refuse(reader, at, "unknown kind", err);
	if ((kind & TREE_FLAGS_RESERVED) != 0)
		return refuse(reader, at, "reserved bits not zero", err);
	if (e.kind != TREE_FILE && (e.executable || e.list))
		return refuse(reader, at, "flags of a file on something else", err);

	e.name = next_name(reader, &e.name_len, &fault);
	if (e.name == NULL)
		return refuse(reader, at, fault, err);
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
	size_t at = cursor_offset(&reader->cursor);
	struct tree_part p = { 0 };
	const char *fault;

	assert(reader->node);
	if (reader->left == 0)
		return end(reader, err);

	p.first = next_name(reader, &p.first_len, &fault);
	if (p.first == NULL)
		return refuse(reader, at, fault, err);
	cursor_id(&reader->cursor, &p.id);
	if (reader->cursor.bad)
		return refuse(reader, at, "cut short", err);

	reader->left--;
	*part = p;
	return 1;
}
