/*
 * Attributes as bytes: OBJECTS.md, "Attrs".
 *
 * 1. Encoder and decoder walk the rows with the same memory of what went before
 *    (struct past); a row is written as what differs from it. A row that differs
 *    in nothing is only counted.
 * 2. Everything that can be written in two ways is refused in all ways but the
 *    one that the encoder takes.
 * 3. Memory and time are linear in the input, whatever it says.
 */
#include "cas/object/attrs.h"

#include <assert.h>
#include <string.h>

#include "cas/base/err.h"
#include "cas/base/mem.h"

/* First two bytes of an object: what it is, and the version of its format. */
enum { ATTRS_MAGIC = 'A', ATTRS_NODE_MAGIC = 'B', ATTRS_VERSION = 1, ATTRS_HEAD_LEN = 2 };

/* The first byte of a row. */
enum {
	ROW_TIME_MASK = 0x03,
	ROW_ACCESS_SHIFT = 2,
	ROW_ACCESS_MASK = 0x07,
	ROW_EXTRAS = 0x20, /* a byte of extras follows */
	ROW_DIR = 0x40,    /* alone: an id follows and nothing else */
	ROW_RUN = 0x80,    /* last comes how many rows like this one follow */
};

/* How a row's mtime is written. */
enum row_time {
	TIME_SAME = 0,    /* as in the row before */
	TIME_SECONDS = 1, /* difference in seconds; nanoseconds are 0 */
	TIME_BOTH = 2,    /* difference in seconds, nanoseconds */
	TIME_NANOS = 3,   /* the same second; difference in nanoseconds, which are not 0 */
};

/* Slots for the accesses seen last; the number behind them says that a new one follows. */
enum { ACCESS_SLOTS = 7, ACCESS_NEW = 7 };

/* The byte of extras; never zero. */
enum {
	EXTRA_SPARSE = 0x01,
	EXTRA_LINK = 0x02,
	EXTRA_XATTRS_SAME = 0x04, /* those spelled out last */
	EXTRA_XATTRS_NEW = 0x08,
	EXTRAS_RESERVED = 0xf0,
};

enum {
	NS_PER_S = 1000000000,
	MODE_MAX = 07777,
	OWNER_LEN_MAX = 4 * VARINT_LEN_MAX + 2 * ATTRS_OWNER_NAME_MAX,
	/* anything but xattrs */
	ROW_LEN_MAX = 2 + VARINT_LEN_MAX + OWNER_LEN_MAX + 5 * VARINT_LEN_MAX,
	XATTR_FIXED_MAX = 1 + VARINT_LEN_MAX + LARDER_ID_LEN,
	XATTR_LEN_MIN = 3,
};

/* Who may do what: what most rows of a directory have in common. */
struct access {
	uint32_t mode, uid, gid;
	const char *user, *group;
	size_t user_len, group_len;
};

/* What the next row is compared with. */
struct past {
	struct access slots[ACCESS_SLOTS];
	unsigned slot_count;
	unsigned slot_next; /* the next new access goes there */
	unsigned owner;     /* slot of the access made last: its owner may be repeated */
	unsigned slot;      /* of the row before */
	int64_t mtime_s;    /* of the row before */
	uint32_t mtime_ns;
	uint8_t extras; /* of the row before */
	bool adjacent;  /* the row before is a file of this directory: a run may join */
};

static bool
text_equal(const char *a, size_t a_len, const char *b, size_t b_len)
{
	return a_len == b_len && (a_len == 0 || memcmp(a, b, a_len) == 0);
}

static bool
owner_equal(const struct access *a, const struct access *b)
{
	return a->uid == b->uid && a->gid == b->gid &&
	    text_equal(a->user, a->user_len, b->user, b->user_len) &&
	    text_equal(a->group, a->group_len, b->group, b->group_len);
}

/* The slot that holds it, or ACCESS_NEW. */
static unsigned
find_access(const struct past *past, const struct access *access)
{
	for (unsigned i = 0; i < past->slot_count; i++)
		if (past->slots[i].mode == access->mode && owner_equal(&past->slots[i], access))
			return i;
	return ACCESS_NEW;
}

/* Remember a new access in place of the oldest. */
static unsigned
keep_access(struct past *past, const struct access *access)
{
	unsigned slot = past->slot_next;

	past->slots[slot] = *access;
	past->owner = slot;
	past->slot_next = (slot + 1) % ACCESS_SLOTS;
	if (past->slot_count < ACCESS_SLOTS)
		past->slot_count++;
	return slot;
}

/* Both wrap around, so that every difference has a number and leads back. */
static int64_t
time_difference(int64_t a, int64_t b)
{
	return (int64_t)((uint64_t)a - (uint64_t)b);
}

static int64_t
time_sum(int64_t a, int64_t difference)
{
	return (int64_t)((uint64_t)a + (uint64_t)difference);
}

static bool
xattr_by_id(const struct attrs_xattr *x)
{
	return x->value_len > ATTRS_XATTR_INLINE_MAX;
}

/* ---- encode ---- */

struct encoder {
	struct past past;
	const struct attrs_xattr *xattrs; /* spelled out last */
	size_t xattr_count;
	uint8_t *p; /* next byte */
};

static struct access
access_of(const struct attrs_row *row)
{
	return (struct access) {
		.mode = row->mode,
		.uid = row->uid,
		.gid = row->gid,
		.user = row->user,
		.user_len = row->user_len,
		.group = row->group,
		.group_len = row->group_len,
	};
}

static bool
xattrs_equal(const struct attrs_xattr *a, size_t a_count, const struct attrs_xattr *b,
    size_t b_count)
{
	if (a_count != b_count)
		return false;
	for (size_t i = 0; i < a_count; i++) {
		if (!text_equal(a[i].name, a[i].name_len, b[i].name, b[i].name_len) ||
		    a[i].value_len != b[i].value_len)
			return false;
		if (xattr_by_id(&a[i])) {
			if (memcmp(a[i].id.bytes, b[i].id.bytes, LARDER_ID_LEN) != 0)
				return false;
		} else if (a[i].value_len > 0 &&
		    memcmp(a[i].value, b[i].value, a[i].value_len) != 0) {
			return false;
		}
	}
	return true;
}

static bool
rows_alike(const struct attrs_row *a, const struct attrs_row *b)
{
	struct access a_access = access_of(a), b_access = access_of(b);

	return !b->is_dir && a->link == 0 && b->link == 0 && a->sparse == b->sparse &&
	    a->mtime_s == b->mtime_s && a->mtime_ns == b->mtime_ns && a->mode == b->mode &&
	    owner_equal(&a_access, &b_access) &&
	    xattrs_equal(a->xattrs, a->xattr_count, b->xattrs, b->xattr_count);
}

static void
assert_row(const struct attrs_row *row)
{
	assert(row->mode <= MODE_MAX);
	assert(row->mtime_ns < NS_PER_S);
	assert(row->user_len == 0 || memchr(row->user, '\0', row->user_len) == NULL);
	assert(row->group_len == 0 || memchr(row->group, '\0', row->group_len) == NULL);
	for (size_t i = 0; i < row->xattr_count; i++) {
		const struct attrs_xattr *x = &row->xattrs[i];
		const struct attrs_xattr *before = i > 0 ? x - 1 : NULL;
		size_t len;
		int order;

		assert(x->name_len >= 1 && x->name_len <= ATTRS_XATTR_NAME_MAX);
		assert(memchr(x->name, '\0', x->name_len) == NULL);
		assert(x->value_len <= ATTRS_XATTR_VALUE_MAX);
		assert(x->value_len == 0 || (x->value == NULL) == xattr_by_id(x));
		if (before == NULL)
			continue;
		len = before->name_len < x->name_len ? before->name_len : x->name_len;
		order = memcmp(before->name, x->name, len);
		assert(order < 0 || (order == 0 && before->name_len < x->name_len));
	}
}

static void
put_data(struct encoder *e, const void *data, size_t len)
{
	if (len > 0)
		memcpy(e->p, data, len);
	e->p += len;
}

static void
put_number(struct encoder *e, uint64_t v)
{
	e->p += put_varint(e->p, v);
}

static void
put_access(struct encoder *e, const struct access *access)
{
	struct past *past = &e->past;
	bool same = past->slot_count > 0 && owner_equal(&past->slots[past->owner], access);

	put_number(e, (uint64_t)access->mode << 1 | same);
	if (!same) {
		put_number(e, access->uid);
		put_number(e, access->gid);
		put_number(e, access->user_len);
		put_data(e, access->user, access->user_len);
		put_number(e, access->group_len);
		put_data(e, access->group, access->group_len);
	}
	past->slot = keep_access(past, access);
}

static void
put_xattrs(struct encoder *e, const struct attrs_row *row)
{
	put_number(e, row->xattr_count);
	for (size_t i = 0; i < row->xattr_count; i++) {
		const struct attrs_xattr *x = &row->xattrs[i];

		*e->p++ = (uint8_t)x->name_len;
		put_data(e, x->name, x->name_len);
		put_number(e, x->value_len);
		if (xattr_by_id(x))
			put_data(e, x->id.bytes, LARDER_ID_LEN);
		else
			put_data(e, x->value, x->value_len);
	}
	e->xattrs = row->xattrs;
	e->xattr_count = row->xattr_count;
}

static enum row_time
time_of(const struct past *past, const struct attrs_row *row)
{
	if (row->mtime_s != past->mtime_s)
		return row->mtime_ns == 0 ? TIME_SECONDS : TIME_BOTH;
	if (row->mtime_ns == past->mtime_ns)
		return TIME_SAME;
	return row->mtime_ns == 0 ? TIME_SECONDS : TIME_NANOS;
}

static uint8_t
extras_of(const struct encoder *e, const struct attrs_row *row)
{
	uint8_t extras = 0;

	if (row->sparse)
		extras |= EXTRA_SPARSE;
	if (row->link != 0)
		extras |= EXTRA_LINK;
	if (row->xattr_count > 0 &&
	    xattrs_equal(row->xattrs, row->xattr_count, e->xattrs, e->xattr_count))
		extras |= EXTRA_XATTRS_SAME;
	else if (row->xattr_count > 0)
		extras |= EXTRA_XATTRS_NEW;
	return extras;
}

/* A file's row, or the directory's own, and how many like it follow. */
static void
put_row(struct encoder *e, const struct attrs_row *row, size_t run)
{
	struct past *past = &e->past;
	struct access access = access_of(row);
	unsigned slot = find_access(past, &access);
	enum row_time time = time_of(past, row);
	uint8_t extras = extras_of(e, row);

	*e->p++ = (uint8_t)((unsigned)time | slot << ROW_ACCESS_SHIFT |
	    (extras != 0 ? ROW_EXTRAS : 0u) | (run > 0 ? ROW_RUN : 0u));
	if (extras != 0)
		*e->p++ = extras;
	if (slot == ACCESS_NEW)
		put_access(e, &access);
	if (time == TIME_SECONDS || time == TIME_BOTH)
		put_number(e, zigzag(time_difference(row->mtime_s, past->mtime_s)));
	if (time == TIME_BOTH) {
		put_le32(e->p, row->mtime_ns);
		e->p += 4;
	}
	if (time == TIME_NANOS)
		put_number(e, zigzag((int64_t)row->mtime_ns - (int64_t)past->mtime_ns));
	if ((extras & EXTRA_LINK) != 0)
		put_number(e, row->link);
	if ((extras & EXTRA_XATTRS_NEW) != 0)
		put_xattrs(e, row);
	if (run > 0)
		put_number(e, run);
	past->mtime_s = row->mtime_s;
	past->mtime_ns = row->mtime_ns;
}

static int
encode_row(struct buf *out, struct encoder *e, const struct attrs_row *row, size_t run)
{
	size_t room = ROW_LEN_MAX;
	int rc;

	if (row->user_len > ATTRS_OWNER_NAME_MAX || row->group_len > ATTRS_OWNER_NAME_MAX ||
	    row->xattr_count > ATTRS_XATTRS_MAX)
		return LARDER_ERR_LIMIT;
	assert_row(row);
	for (size_t i = 0; i < row->xattr_count; i++)
		room += XATTR_FIXED_MAX + row->xattrs[i].name_len +
		    (xattr_by_id(&row->xattrs[i]) ? 0 : row->xattrs[i].value_len);
	rc = buf_reserve(out, room);
	if (rc < 0)
		return rc;
	e->p = out->data + out->len;
	put_row(e, row, run);
	out->len = (size_t)(e->p - out->data);
	return LARDER_OK;
}

static int
encode_rows(struct buf *out, const struct attrs_row *self, const struct attrs_row *rows,
    size_t count)
{
	struct encoder e = { 0 };
	uint8_t head[ATTRS_HEAD_LEN + VARINT_LEN_MAX] = { ATTRS_MAGIC, ATTRS_VERSION };
	size_t from = out->len;
	size_t run;
	int rc;

	rc = buf_append(out, head,
	    ATTRS_HEAD_LEN +
	        put_varint(head + ATTRS_HEAD_LEN, (uint64_t)count << 1 | (self != NULL)));
	if (rc == 0 && self != NULL)
		rc = encode_row(out, &e, self, 0);
	for (size_t i = 0; i < count && rc == 0; i += 1 + run) {
		run = 0;
		if (rows[i].is_dir) {
			rc = buf_append_u8(out, ROW_DIR);
			if (rc == 0)
				rc = buf_append(out, rows[i].child.bytes, LARDER_ID_LEN);
			continue;
		}
		while (i + 1 + run < count && rows_alike(&rows[i], &rows[i + 1 + run]))
			run++;
		rc = encode_row(out, &e, &rows[i], run);
	}
	if (rc == 0 && out->len - from > ATTRS_LEN_MAX)
		rc = LARDER_ERR_LIMIT;
	return rc;
}

int
attrs_encode(struct buf *out, const struct attrs_row *self, const struct attrs_row *rows,
    size_t count)
{
	size_t from = out->len;
	int rc;

	assert(count <= ATTRS_ROWS_MAX);
	assert(self == NULL || (!self->is_dir && self->link == 0));
	rc = encode_rows(out, self, rows, count);
	if (rc < 0)
		out->len = from;
	return rc;
}

int
attrs_node_encode(struct buf *out, const struct larder_id *parts, size_t count)
{
	uint8_t *p;
	int rc;

	assert(count >= 2);
	if (count > (ATTRS_LEN_MAX - ATTRS_HEAD_LEN - VARINT_LEN_MAX) / LARDER_ID_LEN)
		return LARDER_ERR_LIMIT;
	rc = buf_reserve(out, ATTRS_HEAD_LEN + VARINT_LEN_MAX + count * LARDER_ID_LEN);
	if (rc < 0)
		return rc;
	p = out->data + out->len;
	*p++ = ATTRS_NODE_MAGIC;
	*p++ = ATTRS_VERSION;
	p += put_varint(p, count);
	for (size_t i = 0; i < count; i++, p += LARDER_ID_LEN)
		memcpy(p, parts[i].bytes, LARDER_ID_LEN);
	out->len = (size_t)(p - out->data);
	return LARDER_OK;
}

/* ---- decode ---- */

struct attrs_tables {
	struct past past;
	struct attrs_row row; /* the row before; what is alike stays in place */
	uint64_t run;         /* rows like it that are still to come */

	struct attrs_xattr *xattrs; /* spelled out last */
	size_t xattr_count, xattr_room;
	const uint8_t *xattrs_at; /* their bytes, to notice that they are spelled out twice */
	size_t xattrs_len;
};

void
attrs_close(struct attrs_reader *reader)
{
	if (reader->tables != NULL)
		mem_free(reader->tables->xattrs);
	mem_free(reader->tables);
	*reader = (struct attrs_reader) { 0 };
}

/* The get_ functions return NULL, or what is wrong. */

static const char cut_short[] = "cut short";
static const char no_memory[] = "out of memory";

static const char *
get_owner_name(struct cursor *c, const char **name, size_t *len)
{
	uint64_t n = cursor_varint(c);

	if (n > ATTRS_OWNER_NAME_MAX)
		return "owner's name too long";
	*len = (size_t)n;
	*name = (const char *)cursor_bytes(c, (size_t)n);
	if (*name == NULL)
		return cut_short;
	if (memchr(*name, '\0', (size_t)n) != NULL)
		return "NUL in an owner's name";
	return NULL;
}

static const char *
get_owner(struct cursor *c, struct access *access)
{
	uint64_t uid = cursor_varint(c);
	uint64_t gid = cursor_varint(c);
	const char *fault;

	if (uid > UINT32_MAX || gid > UINT32_MAX)
		return "owner's number out of range";
	access->uid = (uint32_t)uid;
	access->gid = (uint32_t)gid;
	fault = get_owner_name(c, &access->user, &access->user_len);
	if (fault == NULL)
		fault = get_owner_name(c, &access->group, &access->group_len);
	return fault;
}

static const char *
get_new_access(struct cursor *c, struct past *past, unsigned *slot)
{
	uint64_t word = cursor_varint(c);
	struct access access = { 0 };

	if (c->bad)
		return cut_short;
	if (word >> 1 > MODE_MAX)
		return "mode out of range";
	if ((word & 1) != 0) {
		if (past->slot_count == 0)
			return "owner of nobody before";
		access = past->slots[past->owner];
	} else {
		const char *fault = get_owner(c, &access);

		if (fault != NULL)
			return fault;
		if (past->slot_count > 0 && owner_equal(&past->slots[past->owner], &access))
			return "owner spelled out again";
	}
	access.mode = (uint32_t)(word >> 1);
	if (find_access(past, &access) != ACCESS_NEW)
		return "mode and owner spelled out again";
	*slot = keep_access(past, &access);
	return NULL;
}

static const char *
get_access(struct cursor *c, struct attrs_tables *t, unsigned slot)
{
	const struct access *access;
	const char *fault;

	if (slot == ACCESS_NEW) {
		fault = get_new_access(c, &t->past, &slot);
		if (fault != NULL)
			return fault;
	} else if (slot >= t->past.slot_count) {
		return "mode and owner of no row before";
	}
	t->past.slot = slot;
	access = &t->past.slots[slot];
	t->row.mode = access->mode;
	t->row.uid = access->uid;
	t->row.gid = access->gid;
	t->row.user = access->user;
	t->row.user_len = access->user_len;
	t->row.group = access->group;
	t->row.group_len = access->group_len;
	return NULL;
}

static const char *
get_time(struct cursor *c, struct attrs_row *row, enum row_time time)
{
	int64_t seconds = 0, ns = 0;

	if (time == TIME_SECONDS || time == TIME_BOTH)
		seconds = unzigzag(cursor_varint(c));
	if (time == TIME_BOTH)
		ns = cursor_le32(c);
	if (time == TIME_NANOS)
		ns = time_sum(row->mtime_ns, unzigzag(cursor_varint(c)));
	if (c->bad)
		return cut_short;
	if (time != TIME_SECONDS && (ns <= 0 || ns >= NS_PER_S))
		return "nanoseconds out of range";
	if (seconds == 0 && (ns == row->mtime_ns || time == TIME_BOTH))
		return "time spelled out again";
	row->mtime_s = time_sum(row->mtime_s, seconds);
	row->mtime_ns = (uint32_t)ns;
	return NULL;
}

static const char *
get_xattr(struct cursor *c, struct attrs_xattr *x, const struct attrs_xattr *before)
{
	uint64_t len;

	*x = (struct attrs_xattr) { .name_len = cursor_u8(c) };
	x->name = (const char *)cursor_bytes(c, x->name_len);
	len = cursor_varint(c);
	if (c->bad)
		return cut_short;
	if (x->name_len == 0 || memchr(x->name, '\0', x->name_len) != NULL)
		return "empty name or NUL in the name of an xattr";
	if (before != NULL) {
		size_t n = before->name_len < x->name_len ? before->name_len : x->name_len;
		int order = memcmp(before->name, x->name, n);

		if (order > 0 || (order == 0 && before->name_len >= x->name_len))
			return "not in the order of xattrs";
	}
	if (len > ATTRS_XATTR_VALUE_MAX)
		return "value of an xattr too long";
	x->value_len = (size_t)len;
	if (xattr_by_id(x))
		cursor_id(c, &x->id);
	else
		x->value = cursor_bytes(c, x->value_len);
	return c->bad ? cut_short : NULL;
}

/* Room for `count` xattrs. What they were is lost. */
static bool
make_room(struct attrs_tables *t, size_t count)
{
	struct attrs_xattr *xattrs;

	if (count <= t->xattr_room)
		return true;
	xattrs = mem_resize(t->xattrs, count, sizeof *xattrs);
	if (xattrs == NULL)
		return false;
	t->xattrs = xattrs;
	t->xattr_room = count;
	return true;
}

static const char *
get_xattrs(struct cursor *c, struct attrs_tables *t)
{
	const uint8_t *at = c->at;
	uint64_t count = cursor_varint(c);

	if (c->bad || count > cursor_left(c) / XATTR_LEN_MIN)
		return cut_short;
	if (count == 0 || count > ATTRS_XATTRS_MAX)
		return "number of xattrs out of range";
	if (!make_room(t, (size_t)count))
		return no_memory;
	for (size_t i = 0; i < count; i++) {
		const char *fault =
		    get_xattr(c, &t->xattrs[i], i > 0 ? &t->xattrs[i - 1] : NULL);

		if (fault != NULL)
			return fault;
	}
	if (t->xattrs_len == (size_t)(c->at - at) && memcmp(t->xattrs_at, at, t->xattrs_len) == 0)
		return "xattrs spelled out again";
	t->xattr_count = (size_t)count;
	t->xattrs_at = at;
	t->xattrs_len = (size_t)(c->at - at);
	return NULL;
}

static const char *
get_extras(struct cursor *c, struct attrs_tables *t, uint8_t extras)
{
	const char *fault;

	t->row.sparse = (extras & EXTRA_SPARSE) != 0;
	t->row.link = 0;
	t->row.xattrs = NULL;
	t->row.xattr_count = 0;
	if ((extras & EXTRA_LINK) != 0) {
		t->row.link = cursor_varint(c);
		if (t->row.link == 0)
			return c->bad ? cut_short : "link number 0";
	}
	if ((extras & EXTRA_XATTRS_NEW) != 0) {
		fault = get_xattrs(c, t);
		if (fault != NULL)
			return fault;
	}
	if ((extras & (EXTRA_XATTRS_NEW | EXTRA_XATTRS_SAME)) != 0) {
		if (t->xattr_count == 0)
			return "xattrs of no row before";
		t->row.xattrs = t->xattrs;
		t->row.xattr_count = t->xattr_count;
	}
	return NULL;
}

static const char *
extras_fault(uint8_t extras)
{
	const uint8_t both = EXTRA_XATTRS_NEW | EXTRA_XATTRS_SAME;

	if (extras == 0)
		return "extras of nothing";
	if ((extras & EXTRAS_RESERVED) != 0 || (extras & both) == both)
		return "reserved bits not zero";
	return NULL;
}

static unsigned
access_code(uint8_t head)
{
	return head >> ROW_ACCESS_SHIFT & ROW_ACCESS_MASK;
}

/* True when the row just read would have been written as one more of the run before it. */
static bool
joins_run(const struct past *past, uint8_t head, uint8_t extras, unsigned slot_before)
{
	const uint8_t xattrs = EXTRA_XATTRS_NEW | EXTRA_XATTRS_SAME;

	if (!past->adjacent || (head & ROW_TIME_MASK) != TIME_SAME ||
	    access_code(head) == ACCESS_NEW || past->slot != slot_before)
		return false;
	if (((extras | past->extras) & EXTRA_LINK) != 0 || (extras & EXTRA_XATTRS_NEW) != 0)
		return false;
	return (extras & EXTRA_SPARSE) == (past->extras & EXTRA_SPARSE) &&
	    ((extras & xattrs) != 0) == ((past->extras & xattrs) != 0);
}

/* What follows the first byte of a file's row, into t->row and t->run. */
static const char *
get_row(struct cursor *c, struct attrs_tables *t, uint8_t head, uint64_t run_max)
{
	unsigned slot_before = t->past.slot;
	uint8_t extras = 0;
	const char *fault = NULL;

	if ((head & ROW_EXTRAS) != 0) {
		extras = cursor_u8(c);
		fault = c->bad ? cut_short : extras_fault(extras);
	}
	if (fault == NULL)
		fault = get_access(c, t, access_code(head));
	if (fault == NULL && (head & ROW_TIME_MASK) != TIME_SAME)
		fault = get_time(c, &t->row, (enum row_time)(head & ROW_TIME_MASK));
	if (fault == NULL)
		fault = get_extras(c, t, extras);
	if (fault != NULL)
		return fault;

	if (joins_run(&t->past, head, extras, slot_before))
		return "row like the one before, not counted with it";
	t->past.extras = extras;
	t->past.adjacent = true;
	if ((head & ROW_RUN) != 0) {
		t->run = cursor_varint(c);
		if (t->run == 0 || t->run > run_max || (extras & EXTRA_LINK) != 0)
			return "run of rows out of range";
	}
	return c->bad ? cut_short : NULL;
}

static int
refuse(struct attrs_reader *reader, size_t at, const char *what, struct larder_err *err)
{
	reader->cursor.bad = true;
	if (what == no_memory)
		return err_nomem(err);
	return err_set(err, LARDER_ERR_CORRUPT, "attrs at %zu: %s", at, what);
}

static int
open_part(struct attrs_reader *reader, struct larder_err *err)
{
	struct cursor *c = &reader->cursor;
	uint64_t word = cursor_varint(c);
	size_t at = cursor_offset(c);
	const char *fault;
	uint8_t head;

	reader->left = word >> 1;
	reader->has_self = (word & 1) != 0;
	if (c->bad || reader->left > ATTRS_ROWS_MAX)
		return refuse(reader, ATTRS_HEAD_LEN, "number of rows out of range", err);
	reader->tables = mem_zalloc(sizeof *reader->tables);
	if (reader->tables == NULL)
		return refuse(reader, at, no_memory, err);
	if (!reader->has_self)
		return LARDER_OK;

	head = cursor_u8(c);
	if (c->bad)
		return refuse(reader, at, cut_short, err);
	if ((head & (ROW_DIR | ROW_RUN)) != 0)
		return refuse(reader, at, "directory's own row as another's or many", err);
	fault = get_row(c, reader->tables, head, 0);
	if (fault == NULL && reader->tables->row.link != 0)
		fault = "directory with a link number";
	if (fault != NULL)
		return refuse(reader, at, fault, err);
	reader->tables->past.adjacent = false;
	reader->self = reader->tables->row;
	return LARDER_OK;
}

static int
open_node(struct attrs_reader *reader, struct larder_err *err)
{
	struct cursor *c = &reader->cursor;

	reader->node = true;
	reader->left = cursor_varint(c);
	if (c->bad || reader->left < 2 || reader->left > cursor_left(c) / LARDER_ID_LEN)
		return refuse(reader, ATTRS_HEAD_LEN, "number of parts out of range", err);
	return LARDER_OK;
}

int
attrs_open(struct attrs_reader *reader, const void *data, size_t len, struct larder_err *err)
{
	const uint8_t *head;
	int rc;

	*reader = (struct attrs_reader) { .cursor = cursor_of(data, len) };
	head = cursor_bytes(&reader->cursor, ATTRS_HEAD_LEN);
	if (head == NULL)
		return refuse(reader, 0, "no head", err);
	if (head[0] != ATTRS_MAGIC && head[0] != ATTRS_NODE_MAGIC)
		return refuse(reader, 0, "not attrs", err);
	if (head[1] != ATTRS_VERSION) {
		reader->cursor.bad = true;
		return err_set(err, LARDER_ERR_VERSION, "attrs of format %d, this larder knows %d",
		    head[1], ATTRS_VERSION);
	}
	if (len > ATTRS_LEN_MAX)
		return refuse(reader, 0, "too long", err);
	rc = head[0] == ATTRS_MAGIC ? open_part(reader, err) : open_node(reader, err);
	if (rc < 0) {
		attrs_close(reader);
		reader->cursor.bad = true;
	}
	return rc;
}

/* 0 when everything was read and there is nothing more. */
static int
end(struct attrs_reader *reader, struct larder_err *err)
{
	if (!cursor_done(&reader->cursor))
		return refuse(reader, cursor_offset(&reader->cursor), "bytes behind the last row",
		    err);
	return 0;
}

int
attrs_next(struct attrs_reader *reader, struct attrs_row *row, struct larder_err *err)
{
	struct attrs_tables *t = reader->tables;
	struct cursor *c = &reader->cursor;
	size_t at = cursor_offset(c);
	const char *fault;
	uint8_t head;

	assert(!reader->node);
	if (reader->left == 0)
		return end(reader, err);
	if (t->run > 0 && !c->bad) {
		t->run--;
		reader->left--;
		*row = t->row;
		return 1;
	}

	head = cursor_u8(c);
	if (c->bad)
		return refuse(reader, at, cut_short, err);
	if ((head & ROW_DIR) != 0) {
		struct larder_id child;

		cursor_id(c, &child);
		if (head != ROW_DIR)
			return refuse(reader, at, "reserved bits not zero", err);
		if (c->bad)
			return refuse(reader, at, cut_short, err);
		*row = (struct attrs_row) { .is_dir = true, .child = child };
		t->past.adjacent = false;
	} else {
		fault = get_row(c, t, head, reader->left - 1);
		if (fault != NULL)
			return refuse(reader, at, fault, err);
		*row = t->row;
	}
	reader->left--;
	return 1;
}

int
attrs_node_next(struct attrs_reader *reader, struct larder_id *part, struct larder_err *err)
{
	struct larder_id id;

	assert(reader->node);
	if (reader->left == 0)
		return end(reader, err);
	cursor_id(&reader->cursor, &id);
	if (reader->cursor.bad)
		return refuse(reader, cursor_offset(&reader->cursor), cut_short, err);
	reader->left--;
	*part = id;
	return 1;
}
