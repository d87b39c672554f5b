/* attrs.c: rows come back, cost next to nothing when they are alike, have one encoding. */
#include "tests/harness.h"

#include <stdio.h>

#include "cas/object/attrs.h"
#include "tests/doubles/doubles.h"

#define OWNER(u, g) .user = (u), .user_len = sizeof(u) - 1, .group = (g), .group_len = sizeof(g) - 1
#define XATTR(n, v) { .name = (n), .name_len = sizeof(n) - 1, .value = (const uint8_t *)(v), \
		      .value_len = sizeof(v) - 1 }
#define BYTES(s) (s), sizeof(s) - 1
#define ID "0123456789abcdef0123456789ABCDEF"

static const struct attrs_xattr xattrs_a[] = { XATTR("user.a", "1"), XATTR("user.b", "") };
static const struct attrs_xattr xattrs_b[] = {
	{ .name = "user.big", .name_len = 8, .value_len = 300, .id = { { 1, 2, [31] = 3 } } },
};

static const struct attrs_row self_row = {
	.mode = 0755,
	OWNER("root", "wheel"),
	.mtime_s = 1700000000,
};

/* What has to be told apart, one row each. */
static const struct attrs_row sample[] = {
	{ .mode = 0644, OWNER("root", "wheel"), .mtime_s = 1700000000 },
	{ .mode = 0644, OWNER("root", "wheel"), .mtime_s = 1700000000 },
	{ .mode = 0644, OWNER("root", "wheel"), .mtime_s = 1700000000, .mtime_ns = 5 },
	{ .mode = 0644, OWNER("root", "wheel"), .mtime_s = 1700000000, .mtime_ns = 999999999 },
	{ .mode = 0755, OWNER("root", "wheel"), .mtime_s = 1700000000, .mtime_ns = 999999999 },
	{ .mode = 04755, .uid = UINT32_MAX, .gid = 100, OWNER("", "users"), .mtime_s = -1,
	    .mtime_ns = 1 },
	{ .is_dir = true, .child = { { 9, 8, [31] = 7 } } },
	{ .mode = 04755, .uid = UINT32_MAX, .gid = 100, OWNER("", "users"), .mtime_s = -1,
	    .mtime_ns = 1 },
	{ .mode = 0644, .uid = 1, .gid = 1, .mtime_s = INT64_MIN, .sparse = true },
	{ .mode = 0644, .uid = 1, .gid = 1, .mtime_s = INT64_MAX, .link = 1 },
	{ .mode = 0644, .uid = 1, .gid = 1, .mtime_s = INT64_MAX, .link = 1 },
	{ .mode = 0644, .uid = 1, .gid = 1, .mtime_s = INT64_MAX, .link = UINT64_MAX },
	{ .mode = 0, .uid = 1, .gid = 1, .mtime_s = 0, .xattrs = xattrs_a, .xattr_count = 2 },
	{ .mode = 0, .uid = 1, .gid = 1, .mtime_s = 0, .xattrs = xattrs_a, .xattr_count = 2 },
	{ .mode = 0, .uid = 1, .gid = 1, .mtime_s = 0 },
	{ .mode = 0, .uid = 1, .gid = 1, .mtime_s = 0, .xattrs = xattrs_a, .xattr_count = 2,
	    .sparse = true },
	{ .mode = 0, .uid = 1, .gid = 1, .mtime_s = 0, .xattrs = xattrs_b, .xattr_count = 1 },
	{ .mode = 0, .uid = 1, .gid = 1, .mtime_s = 0, .xattrs = xattrs_a, .xattr_count = 1 },
};

static void
check_row(const struct attrs_row *want, const struct attrs_row *got)
{
	assert_int_equal(got->is_dir, want->is_dir);
	assert_memory_equal(&got->child, &want->child, sizeof want->child);
	if (want->is_dir)
		return;
	assert_int_equal(got->mode, want->mode);
	assert_int_equal(got->uid, want->uid);
	assert_int_equal(got->gid, want->gid);
	assert_int_equal(got->user_len, want->user_len);
	if (want->user_len > 0)
		assert_memory_equal(got->user, want->user, want->user_len);
	assert_int_equal(got->group_len, want->group_len);
	if (want->group_len > 0)
		assert_memory_equal(got->group, want->group, want->group_len);
	assert_int_equal(got->mtime_s, want->mtime_s);
	assert_int_equal(got->mtime_ns, want->mtime_ns);
	assert_int_equal(got->sparse, want->sparse);
	assert_int_equal(got->link, want->link);
	assert_int_equal(got->xattr_count, want->xattr_count);
	for (size_t i = 0; i < want->xattr_count; i++) {
		const struct attrs_xattr *w = &want->xattrs[i], *g = &got->xattrs[i];

		assert_int_equal(g->name_len, w->name_len);
		assert_memory_equal(g->name, w->name, w->name_len);
		assert_int_equal(g->value_len, w->value_len);
		assert_int_equal(g->value == NULL, w->value == NULL);
		if (w->value != NULL && w->value_len > 0)
			assert_memory_equal(g->value, w->value, w->value_len);
		assert_memory_equal(&g->id, &w->id, sizeof w->id);
	}
}

/* Read everything: 0, or the first status that is an error. */
static int
read_all(const void *data, size_t len, struct larder_err *err)
{
	struct attrs_reader reader;
	struct larder_id part;
	struct attrs_row row;
	int rc = attrs_open(&reader, data, len, err);

	if (rc < 0)
		return rc;
	do
		rc = reader.node ? attrs_node_next(&reader, &part, err)
		                 : attrs_next(&reader, &row, err);
	while (rc == 1);
	attrs_close(&reader);
	return rc;
}

static void
comes_back(const struct attrs_row *self, const struct attrs_row *rows, size_t count)
{
	struct buf out = { 0 };
	struct attrs_reader reader;
	struct attrs_row got;

	assert_ok(attrs_encode(&out, self, rows, count), NULL);
	assert_ok(attrs_open(&reader, out.data, out.len, NULL), NULL);
	assert_false(reader.node);
	assert_int_equal(reader.has_self, self != NULL);
	assert_int_equal(reader.left, count);
	if (self != NULL)
		check_row(self, &reader.self);
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(attrs_next(&reader, &got, NULL), 1);
		check_row(&rows[i], &got);
	}
	assert_int_equal(attrs_next(&reader, &got, NULL), 0);
	assert_int_equal(attrs_next(&reader, &got, NULL), 0);
	attrs_close(&reader);
	attrs_close(&reader);
	buf_release(&out);
}

static void
bytes_are_the_ones_in_the_document(void **state)
{
	static const struct attrs_xattr xattrs[] = { XATTR("user.x", "yes") };
	const struct attrs_row self = {
		.mode = 0755, .uid = 1000, .gid = 300, OWNER("ann", ""), .mtime_s = 1000
	};
	const struct attrs_row rows[] = {
		{ .mode = 0644, .uid = 1000, .gid = 300, OWNER("ann", ""), .mtime_s = 1000 },
		{ .mode = 0644, .uid = 1000, .gid = 300, OWNER("ann", ""), .mtime_s = 1000 },
		{ .mode = 0644, .uid = 1000, .gid = 300, OWNER("ann", ""), .mtime_s = 1000 },
		{ .is_dir = true, .child = { "0123456789abcdef0123456789ABCDE" } },
		{ .mode = 0755, .uid = 1000, .gid = 300, OWNER("ann", ""), .mtime_s = 997,
		    .mtime_ns = 258 },
		{ .mode = 0755, .uid = 1000, .gid = 300, OWNER("ann", ""), .mtime_s = 997,
		    .mtime_ns = 257, .link = 7, .sparse = true, .xattrs = xattrs,
		    .xattr_count = 1 },
	};
	static const char want[] =
	    "A\1\x0d"                                 /* 6 rows and its own */
	    "\x1d\xda\x07\xe8\x07\xac\x02\3ann\0"     /* new access: 0755 << 1, owner */
	    "\xd0\x0f"                                /* 1000 s later than 0 */
	    "\x9c\xc9\x06\2"                          /* 0644, owner as before; two more */
	    "\x40" "0123456789abcdef0123456789ABCDE\0" /* a subdirectory */
	    "\x02\5\2\1\0\0"                          /* slot 0; 3 s earlier, 258 ns */
	    "\x23\x0b\1\7"                            /* 1 ns less; sparse, link 7, xattrs: */
	    "\1\6user.x\3yes";
	struct buf out = { 0 };

	(void)state;
	assert_ok(attrs_encode(&out, &self, rows, test_count(rows)), NULL);
	assert_int_equal(out.len, sizeof want - 1);
	assert_memory_equal(out.data, want, sizeof want - 1);
	assert_ok(read_all(out.data, out.len, NULL), NULL);
	buf_release(&out);
	comes_back(&self, rows, test_count(rows));
}

/* OBJECTS.md, section 16 */
static void
the_example_in_the_document_is_true(void **state)
{
	static const uint8_t want[] = { 0x41, 0x01, 0x07, 0x1d, 0xda, 0x07, 0xe8, 0x07, 0xac, 0x02,
		0x03, 0x61, 0x6e, 0x6e, 0x00, 0xd0, 0x0f, 0x1f, 0xc9, 0x06, 0x84, 0x04, 0x81, 0x00,
		0x01 };
	const struct attrs_row self = {
		.mode = 0755, .uid = 1000, .gid = 300, OWNER("ann", ""), .mtime_s = 1000
	};
	struct attrs_row rows[3] = { self, self, self };
	struct buf out = { 0 };

	(void)state;
	rows[0].mode = 0644;
	rows[0].mtime_ns = 258;
	assert_ok(attrs_encode(&out, &self, rows, 3), NULL);
	assert_int_equal(out.len, sizeof want);
	assert_memory_equal(out.data, want, sizeof want);
	buf_release(&out);
}

static void
every_kind_of_row_comes_back(void **state)
{
	(void)state;
	comes_back(&self_row, sample, test_count(sample));
	comes_back(NULL, sample, test_count(sample));
	comes_back(&self_row, NULL, 0);
	comes_back(NULL, NULL, 0);
	for (size_t i = 0; i < test_count(sample); i++)
		for (size_t n = 0; n <= test_count(sample) - i; n++)
			comes_back(NULL, sample + i, n);
}

static void
the_directory_itself_may_have_xattrs(void **state)
{
	struct attrs_row self = self_row;
	struct attrs_row file = self_row;

	(void)state;
	self.xattrs = xattrs_a;
	self.xattr_count = 2;
	file.xattrs = xattrs_a;
	file.xattr_count = 2;
	comes_back(&self, &file, 1);
}

static void
rows_that_are_alike_are_only_counted(void **state)
{
	enum { COUNT = ATTRS_ROWS_MAX };
	struct attrs_row *rows = calloc(COUNT, sizeof *rows);
	struct buf out = { 0 };

	(void)state;
	assert_non_null(rows);
	for (size_t i = 0; i < COUNT; i++)
		rows[i] = sample[0];
	assert_ok(attrs_encode(&out, &self_row, rows, COUNT), NULL);
	assert_in_range(out.len, 20, 40);
	comes_back(&self_row, rows, COUNT);

	/* every other one executable: a byte each */
	for (size_t i = 0; i < COUNT; i += 2)
		rows[i].mode = 0755;
	buf_clear(&out);
	assert_ok(attrs_encode(&out, &self_row, rows, COUNT), NULL);
	assert_in_range(out.len, COUNT, COUNT + 40);
	comes_back(&self_row, rows, COUNT);
	buf_release(&out);
	free(rows);
}

/* More accesses than slots: the oldest makes room, nothing is mistaken for a neighbour. */
static void
many_modes_and_owners_come_back(void **state)
{
	enum { COUNT = 400 };
	static struct attrs_row rows[COUNT];
	static char users[COUNT][8];

	(void)state;
	for (size_t kinds = 1; kinds < 20; kinds++) {
		uint64_t random = kinds;

		for (size_t i = 0; i < COUNT; i++) {
			size_t kind;

			random = random * 6364136223846793005u + 1442695040888963407u;
			kind = (size_t)(random >> 33) % kinds;
			users[i][0] = (char)('a' + kind % 3);
			rows[i] = (struct attrs_row) { .mode = (uint32_t)(0600 + kind / 3),
				.uid = (uint32_t)(kind % 3), .user = users[i], .user_len = 1 };
		}
		comes_back(NULL, rows, COUNT);
	}
}

static void
a_node_lists_its_parts(void **state)
{
	static const char want[] = "B\1\2" ID "fedcba9876543210FEDCBA9876543210";
	struct larder_id parts[2];
	struct buf out = { 0 };
	struct attrs_reader reader;
	struct larder_id got;

	(void)state;
	memcpy(parts, want + 3, sizeof parts);
	assert_ok(attrs_node_encode(&out, parts, 2), NULL);
	assert_int_equal(out.len, sizeof want - 1);
	assert_memory_equal(out.data, want, out.len);
	assert_ok(attrs_open(&reader, out.data, out.len, NULL), NULL);
	assert_true(reader.node);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(attrs_node_next(&reader, &got, NULL), 1);
		assert_memory_equal(&got, &parts[i], sizeof got);
	}
	assert_int_equal(attrs_node_next(&reader, &got, NULL), 0);
	attrs_close(&reader);
	assert_status(LARDER_ERR_LIMIT, attrs_node_encode(&out, parts, SIZE_MAX / 64), NULL);
	buf_release(&out);
}

static void
beyond_a_limit_nothing_is_written(void **state)
{
	static char long_name[ATTRS_OWNER_NAME_MAX + 1];
	static struct attrs_xattr xattrs[ATTRS_XATTRS_MAX];
	static char names[ATTRS_XATTRS_MAX][7];
	static uint8_t value[ATTRS_XATTR_INLINE_MAX];
	struct attrs_row row = self_row;
	struct buf out;

	(void)state;
	buf_init(&out, 16 * 1024 * 1024);
	assert_ok(buf_append(&out, "before", 6), NULL);
	memset(long_name, 'u', sizeof long_name);
	row.user = long_name;
	row.user_len = ATTRS_OWNER_NAME_MAX;
	comes_back(NULL, &row, 1);
	row.user_len++;
	assert_status(LARDER_ERR_LIMIT, attrs_encode(&out, NULL, &row, 1), NULL);

	row = self_row;
	row.xattrs = xattrs;
	for (size_t i = 0; i < ATTRS_XATTRS_MAX; i++) {
		snprintf(names[i], sizeof names[i], "%06zu", i);
		xattrs[i] = (struct attrs_xattr) { .name = names[i], .name_len = 6,
			.value = value, .value_len = i % 2 };
	}
	row.xattr_count = ATTRS_XATTRS_MAX;
	comes_back(NULL, &row, 1);
	row.xattr_count = ATTRS_XATTRS_MAX + 1;
	assert_status(LARDER_ERR_LIMIT, attrs_encode(&out, NULL, &row, 1), NULL);

	/* 16384 * (1 + 6 + 2 + 256) bytes is just beyond 4 MiB */
	for (size_t i = 0; i < ATTRS_XATTRS_MAX; i++)
		xattrs[i].value_len = sizeof value;
	row.xattr_count = ATTRS_XATTRS_MAX;
	assert_status(LARDER_ERR_LIMIT, attrs_encode(&out, &self_row, &row, 1), NULL);
	row.xattr_count = ATTRS_XATTRS_MAX - 600;
	comes_back(NULL, &row, 1);

	assert_int_equal(out.len, 6);
	assert_memory_equal(out.data, "before", 6);
	buf_release(&out);
}

#define ROW "\x1d\xc8\x06\0\0\0\0" /* new access: 0644, nobody known; time as given behind it */

static void
what_is_not_canonical_or_damaged_is_refused_and_says_why(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		int status;
		const char *says;
	} cases[] = {
		{ BYTES(""), LARDER_ERR_CORRUPT, "at 0: no head" },
		{ BYTES("A"), LARDER_ERR_CORRUPT, "no head" },
		{ BYTES("X\1\0"), LARDER_ERR_CORRUPT, "not attrs" },
		{ BYTES("A\2\0"), LARDER_ERR_VERSION, "format 2" },
		{ BYTES("A\1"), LARDER_ERR_CORRUPT, "number of rows" },
		{ BYTES("A\1\x82\x80\1"), LARDER_ERR_CORRUPT, "number of rows" }, /* 8193 */
		{ BYTES("A\1\0x"), LARDER_ERR_CORRUPT, "bytes behind" },
		{ BYTES("A\1\1"), LARDER_ERR_CORRUPT, "cut short" },
		{ BYTES("A\1\1\x40" ID), LARDER_ERR_CORRUPT, "own row as another's" },
		{ BYTES("A\1\1\x9c\xc8\6\0\0\0\0\1"), LARDER_ERR_CORRUPT, "own row as another's" },
		{ BYTES("A\1\1\x3c\2\xc8\6\0\0\0\0\5"), LARDER_ERR_CORRUPT, "directory with a link" },
		{ BYTES("A\1\2"), LARDER_ERR_CORRUPT, "at 3: cut short" },
		{ BYTES("A\1\2\x40" "0123"), LARDER_ERR_CORRUPT, "cut short" },
		{ BYTES("A\1\2\xc0" ID), LARDER_ERR_CORRUPT, "reserved bits" },
		{ BYTES("A\1\2\x41" ID), LARDER_ERR_CORRUPT, "reserved bits" },
		{ BYTES("A\1\2\0"), LARDER_ERR_CORRUPT, "mode and owner of no row" },
		{ BYTES("A\1\2\x1c"), LARDER_ERR_CORRUPT, "cut short" },
		{ BYTES("A\1\2\x1c\xc8"), LARDER_ERR_CORRUPT, "cut short" },
		{ BYTES("A\1\2\x1c\x80\x40\0\0\0\0"), LARDER_ERR_CORRUPT, "mode out of range" },
		{ BYTES("A\1\2\x1c\xc9\6"), LARDER_ERR_CORRUPT, "owner of nobody" },
		{ BYTES("A\1\2\x1c\xc8\6\x80\x80\x80\x80\x10\0\0\0"), LARDER_ERR_CORRUPT,
		    "owner's number" },
		{ BYTES("A\1\2\x1c\xc8\6\0\x80\x80\x80\x80\x10\0\0"), LARDER_ERR_CORRUPT,
		    "owner's number" },
		{ BYTES("A\1\2\x1c\xc8\6\0\0\x80\2"), LARDER_ERR_CORRUPT, "owner's name too long" },
		{ BYTES("A\1\2\x1c\xc8\6\0\0\2u"), LARDER_ERR_CORRUPT, "cut short" },
		{ BYTES("A\1\2\x1c\xc8\6\0\0\1\0\0"), LARDER_ERR_CORRUPT, "NUL in an owner" },
		{ BYTES("A\1\2\x1c\xc8\6\0\0\0\1\0"), LARDER_ERR_CORRUPT, "NUL in an owner" },
		{ BYTES("A\1\4" ROW "\2" "\x1c\xc8\6\0\0\0\0"), LARDER_ERR_CORRUPT,
		    "owner spelled out again" },
		{ BYTES("A\1\4" ROW "\2" "\x1c\xc9\6"), LARDER_ERR_CORRUPT,
		    "mode and owner spelled out again" },
		{ BYTES("A\1\4" ROW "\2" "\4"), LARDER_ERR_CORRUPT, "mode and owner of no row" },
		/* times */
		{ BYTES("A\1\2" ROW), LARDER_ERR_CORRUPT, "cut short" },
		{ BYTES("A\1\2" ROW "\0"), LARDER_ERR_CORRUPT, "time spelled out again" },
		{ BYTES("A\1\2\x1e\xc8\6\0\0\0\0\2\0\0\0\0"), LARDER_ERR_CORRUPT, "nanoseconds" },
		{ BYTES("A\1\2\x1e\xc8\6\0\0\0\0\2\0\xca\x9a\x3b"), LARDER_ERR_CORRUPT,
		    "nanoseconds" }, /* 1000000000 */
		{ BYTES("A\1\2\x1e\xc8\6\0\0\0\0\0\1\0\0\0"), LARDER_ERR_CORRUPT,
		    "time spelled out again" },
		{ BYTES("A\1\2\x1e\xc8\6\0\0\0\0\2\1\0\0"), LARDER_ERR_CORRUPT, "cut short" },
		{ BYTES("A\1\2\x1f\xc8\6\0\0\0\0\0"), LARDER_ERR_CORRUPT, "nanoseconds" },
		{ BYTES("A\1\2\x1f\xc8\6\0\0\0\0\1"), LARDER_ERR_CORRUPT, "nanoseconds" },
		{ BYTES("A\1\2\x1f\xc8\6\0\0\0\0\x80\xa8\xd6\xb9\7"), LARDER_ERR_CORRUPT,
		    "nanoseconds" }, /* 1000000000 */
		{ BYTES("A\1\2\x1f\xc8\6\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\1"),
		    LARDER_ERR_CORRUPT, "nanoseconds" },
		{ BYTES("A\1\4\x1f\xc8\6\0\0\0\0\2\3\0"), LARDER_ERR_CORRUPT, "time spelled out" },
		/* runs */
		{ BYTES("A\1\4" ROW "\2" "\0"), LARDER_ERR_CORRUPT, "not counted with it" },
		{ BYTES("A\1\6\x9d\xc8\6\0\0\0\0\2\1\0"), LARDER_ERR_CORRUPT, "not counted" },
		{ BYTES("A\1\2\x9d\xc8\6\0\0\0\0\2\0"), LARDER_ERR_CORRUPT, "run of rows" },
		{ BYTES("A\1\2\x9d\xc8\6\0\0\0\0\2\1"), LARDER_ERR_CORRUPT, "run of rows" },
		{ BYTES("A\1\4\x9d\xc8\6\0\0\0\0\2\2"), LARDER_ERR_CORRUPT, "run of rows" },
		{ BYTES("A\1\4\x9d\xc8\6\0\0\0\0\2"), LARDER_ERR_CORRUPT, "run of rows" },
		{ BYTES("A\1\4\xbd\2\xc8\6\0\0\0\0\2\5\1"), LARDER_ERR_CORRUPT, "run of rows" },
		/* extras */
		{ BYTES("A\1\2\x3c"), LARDER_ERR_CORRUPT, "cut short" },
		{ BYTES("A\1\2\x3c\0\xc8\6\0\0\0\0"), LARDER_ERR_CORRUPT, "extras of nothing" },
		{ BYTES("A\1\2\x3c\x10\xc8\6\0\0\0\0"), LARDER_ERR_CORRUPT, "reserved bits" },
		{ BYTES("A\1\2\x3c\x0c\xc8\6\0\0\0\0"), LARDER_ERR_CORRUPT, "reserved bits" },
		{ BYTES("A\1\2\x3c\2\xc8\6\0\0\0\0\0"), LARDER_ERR_CORRUPT, "link number 0" },
		{ BYTES("A\1\2\x3c\2\xc8\6\0\0\0\0"), LARDER_ERR_CORRUPT, "cut short" },
		{ BYTES("A\1\2\x3c\4\xc8\6\0\0\0\0"), LARDER_ERR_CORRUPT, "xattrs of no row" },
#define X "A\1\2\x3c\x08\xc8\6\0\0\0\0"
		{ BYTES(X), LARDER_ERR_CORRUPT, "cut short" },
		{ BYTES(X "\1"), LARDER_ERR_CORRUPT, "cut short" },
		{ BYTES(X "\0"), LARDER_ERR_CORRUPT, "number of xattrs" },
		{ BYTES(X "\1\1n\5abc"), LARDER_ERR_CORRUPT, "cut short" },
		{ BYTES(X "\1\0\1a"), LARDER_ERR_CORRUPT, "empty name or NUL" },
		{ BYTES(X "\1\1\0\0"), LARDER_ERR_CORRUPT, "empty name or NUL" },
		{ BYTES(X "\1\1n\x81\x80\4"), LARDER_ERR_CORRUPT, "value of an xattr too long" },
		{ BYTES(X "\1\1n\x81\2" "0123"), LARDER_ERR_CORRUPT, "cut short" },
		{ BYTES(X "\2\1b\0\1a\0"), LARDER_ERR_CORRUPT, "order of xattrs" },
		{ BYTES(X "\2\1b\0\1b\0"), LARDER_ERR_CORRUPT, "order of xattrs" },
		{ BYTES(X "\2\2bb\0\1b\0"), LARDER_ERR_CORRUPT, "order of xattrs" },
		{ BYTES("A\1\4\x3c\x08\xc8\6\0\0\0\0\1\1a\0\x20\x08\1\1a\0"), LARDER_ERR_CORRUPT,
		    "xattrs spelled out again" },
		{ BYTES("A\1\4\x3c\x08\xc8\6\0\0\0\0\1\1a\0\x20\x04"), LARDER_ERR_CORRUPT,
		    "not counted" },
		/* nodes */
		{ BYTES("B\1\0"), LARDER_ERR_CORRUPT, "number of parts" },
		{ BYTES("B\1\1" ID), LARDER_ERR_CORRUPT, "number of parts" },
		{ BYTES("B\1\2" ID), LARDER_ERR_CORRUPT, "number of parts" },
		{ BYTES("B\1\2" ID ID "x"), LARDER_ERR_CORRUPT, "bytes behind" },
		{ BYTES("B\2\2" ID ID), LARDER_ERR_VERSION, "format 2" },
	};

	(void)state;
	for (size_t i = 0; i < test_count(cases); i++) {
		struct larder_err err = { 0 };

		assert_status(
		    cases[i].status, read_all(cases[i].bytes, cases[i].len, &err), &err);
		assert_message(&err, cases[i].says);
	}
}

static void
more_bytes_than_attrs_have_are_refused(void **state)
{
	struct larder_err err = { 0 };
	uint8_t *bytes = calloc(1, ATTRS_LEN_MAX + 1);

	(void)state;
	assert_non_null(bytes);
	memcpy(bytes, "A\1", 3);
	assert_status(LARDER_ERR_CORRUPT, read_all(bytes, ATTRS_LEN_MAX + 1, &err), &err);
	assert_message(&err, "too long");
	free(bytes);
}

static void
every_cut_is_noticed(void **state)
{
	struct buf out = { 0 };
	struct larder_err err = { 0 };

	(void)state;
	assert_ok(attrs_encode(&out, &self_row, sample, test_count(sample)), NULL);
	for (size_t len = 0; len < out.len; len++) {
		uint8_t *copy = malloc(len + 1);

		assert_non_null(copy);
		memcpy(copy, out.data, len);
		assert_status(LARDER_ERR_CORRUPT, read_all(copy, len, &err), &err);
		free(copy);
	}
	buf_release(&out);
}

static void
a_reader_in_error_stays_there(void **state)
{
	static const char bytes[] = "A\1\6" ROW "\2" "\4";
	struct attrs_reader reader = { 0 };
	struct attrs_row row;

	(void)state;
	attrs_close(&reader);
	assert_ok(attrs_open(&reader, bytes, sizeof bytes - 1, NULL), NULL);
	assert_int_equal(attrs_next(&reader, &row, NULL), 1);
	for (int i = 0; i < 3; i++)
		assert_int_equal(attrs_next(&reader, &row, NULL), LARDER_ERR_CORRUPT);
	attrs_close(&reader);
	assert_status(LARDER_ERR_CORRUPT, attrs_open(&reader, "X\1\0", 3, NULL), NULL);
	assert_int_equal(attrs_next(&reader, &row, NULL), LARDER_ERR_CORRUPT);
}

static int
write_and_read(struct larder_err *err)
{
	struct buf out = { 0 };
	int rc = attrs_encode(&out, &self_row, sample, test_count(sample));

	if (rc == 0)
		rc = read_all(out.data, out.len, err);
	else
		rc = buf_err(&out, rc, err);
	buf_release(&out);
	return rc;
}

static void
without_memory_it_says_so_and_leaks_nothing(void **state)
{
	bool failed = true;

	(void)state;
	for (long n = 1; failed; n++) {
		struct larder_err err = { 0 };
		int rc;

		mem_faulty_set(n, false);
		rc = write_and_read(&err);
		failed = mem_faulty_failed();
		assert_status(failed ? LARDER_ERR_NOMEM : LARDER_OK, rc, &err);
		assert_int_equal(mem_faulty_live(), 0);
		assert_true(n < 100);
	}
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(bytes_are_the_ones_in_the_document),
		test_case(the_example_in_the_document_is_true),
		test_case(every_kind_of_row_comes_back),
		test_case(the_directory_itself_may_have_xattrs),
		test_case(rows_that_are_alike_are_only_counted),
		test_case(many_modes_and_owners_come_back),
		test_case(a_node_lists_its_parts),
		test_case(beyond_a_limit_nothing_is_written),
		test_case(what_is_not_canonical_or_damaged_is_refused_and_says_why),
		test_case(more_bytes_than_attrs_have_are_refused),
		test_case(every_cut_is_noticed),
		test_case(a_reader_in_error_stays_there),
		test_case(without_memory_it_says_so_and_leaks_nothing),
	};

	return test_run(cases);
}
