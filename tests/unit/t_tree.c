/* tree.c: a directory has one encoding; whatever else is refused, with the place. */
#include "tests/harness.h"

#include <stdio.h>

#include "cas/object/tree.h"
#include "tests/doubles/doubles.h"

#define NAME(s) .name = (s), .name_len = sizeof(s) - 1
#define TARGET(s) .target = (s), .target_len = sizeof(s) - 1

static const struct larder_id id_a = { { 0xa0, 0xa1, [31] = 0xaf } };
static const struct larder_id id_b = { { 0xb0, 0xb1, [31] = 0xbf } };

/* One of each kind, in order. */
static const struct tree_entry sample[] = {
	{ NAME("README"), .kind = TREE_FILE, .size = 300, .id = { { 0xa0, 0xa1, [31] = 0xaf } } },
	{ NAME("big"), .kind = TREE_FILE, .list = true, .size = 1 << 20,
	    .id = { { 0xb0, 0xb1, [31] = 0xbf } } },
	{ NAME("dev"), .kind = TREE_BLOCK, .major = 8, .minor = 129 },
	{ NAME("empty"), .kind = TREE_FILE },
	{ NAME("lib"), .kind = TREE_DIR, .id = { { 0xa0, 0xa1, [31] = 0xaf } } },
	{ NAME("link"), .kind = TREE_SYMLINK, TARGET("../x/y") },
	{ NAME("pipe"), .kind = TREE_FIFO },
	{ NAME("run"), .kind = TREE_FILE, .executable = true, .size = 1,
	    .id = { { 0xb0, 0xb1, [31] = 0xbf } } },
	{ NAME("run2"), .kind = TREE_FILE, .executable = true },
	{ NAME("sock"), .kind = TREE_SOCKET },
	{ NAME("tty"), .kind = TREE_CHAR, .major = 4, .minor = UINT32_MAX },
};

static void
check_entry(const struct tree_entry *want, const struct tree_entry *got)
{
	assert_int_equal(got->name_len, want->name_len);
	assert_memory_equal(got->name, want->name, want->name_len);
	assert_int_equal(got->kind, want->kind);
	assert_int_equal(got->executable, want->executable);
	assert_int_equal(got->list, want->list);
	assert_int_equal(got->size, want->size);
	assert_memory_equal(&got->id, &want->id, sizeof want->id);
	assert_int_equal(got->target_len, want->target_len);
	if (want->target_len > 0)
		assert_memory_equal(got->target, want->target, want->target_len);
	assert_int_equal(got->major, want->major);
	assert_int_equal(got->minor, want->minor);
}

/* Read everything: 0, or the first status that is an error. */
static int
read_all(const void *data, size_t len, struct larder_err *err)
{
	struct tree_reader reader;
	struct tree_entry entry;
	struct tree_part part;
	int rc = tree_open(&reader, data, len, err);

	if (rc < 0)
		return rc;
	do
		rc = reader.node ? tree_node_next(&reader, &part, err)
		                 : tree_next(&reader, &entry, err);
	while (rc == 1);
	return rc;
}

static void
bytes_are_the_ones_in_the_document(void **state)
{
	static const uint8_t want[] = {
		'T', 1, 5, 21,                                        /* head */
		'R', 0, 'b', '/', 0x10, 'd', '/', 4, 'l', '/', 2, 'R', 0, /* names ... */
		'x', '/', 0x08, 'z', 'z', '/', 1, 0 };
	struct tree_entry entries[] = {
		{ NAME("R"), .kind = TREE_FILE, .size = 300, .id = id_a },
		{ NAME("b"), .kind = TREE_FILE, .list = true, .size = 1, .id = id_b },
		{ NAME("d"), .kind = TREE_CHAR, .major = 5, .minor = 200 },
		{ NAME("l"), .kind = TREE_SYMLINK, TARGET("R") },
		{ NAME("x"), .kind = TREE_FILE, .executable = true },
		{ NAME("zz"), .kind = TREE_DIR, .id = id_b },
	};
	uint8_t all[4 + 20 + 2 + 32 + 1 + 32 + 3 + 1 + 32];
	uint8_t *p = all;
	struct buf out = { 0 };

	(void)state;
	memcpy(p, want, 24);
	p[2] = 6;
	p[3] = 20;
	p += 24;
	*p++ = 0xac, *p++ = 0x02; /* 300 */
	memcpy(p, id_a.bytes, 32), p += 32;
	*p++ = 1;
	memcpy(p, id_b.bytes, 32), p += 32;
	*p++ = 5, *p++ = 0xc8, *p++ = 0x01; /* 5, 200 */
	*p++ = 0;                           /* size of x */
	memcpy(p, id_b.bytes, 32), p += 32;
	assert_ptr_equal(p, all + sizeof all);

	assert_ok(tree_encode(&out, entries, test_count(entries)), NULL);
	assert_int_equal(out.len, sizeof all);
	assert_memory_equal(out.data, all, sizeof all);
	buf_release(&out);
}

/* OBJECTS.md, section 16 */
static void
the_example_in_the_document_is_true(void **state)
{
	static const uint8_t head[] = { 0x54, 0x01, 0x03, 0x0a, 0x61, 0x00, 0x62, 0x2f, 0x08, 0x6c,
		0x2f, 0x02, 0x61, 0x00, 0xac, 0x02 };
	const struct tree_entry entries[] = {
		{ NAME("a"), .kind = TREE_FILE, .size = 300, .id = id_a },
		{ NAME("b"), .kind = TREE_FILE, .executable = true },
		{ NAME("l"), .kind = TREE_SYMLINK, TARGET("a") },
	};
	struct buf out = { 0 };

	(void)state;
	assert_ok(tree_encode(&out, entries, test_count(entries)), NULL);
	assert_int_equal(out.len, sizeof head + 33);
	assert_memory_equal(out.data, head, sizeof head);
	assert_memory_equal(out.data + sizeof head, id_a.bytes, 32);
	assert_int_equal(out.data[out.len - 1], 0);
	buf_release(&out);
}

static void
every_kind_comes_back(void **state)
{
	struct buf out = { 0 };
	struct tree_reader reader;
	struct tree_entry got;

	(void)state;
	assert_ok(tree_encode(&out, sample, test_count(sample)), NULL);
	assert_ok(tree_open(&reader, out.data, out.len, NULL), NULL);
	assert_false(reader.node);
	assert_int_equal(reader.left, test_count(sample));
	for (size_t i = 0; i < test_count(sample); i++) {
		assert_int_equal(tree_next(&reader, &got, NULL), 1);
		check_entry(&sample[i], &got);
	}
	assert_int_equal(tree_next(&reader, &got, NULL), 0);
	assert_int_equal(tree_next(&reader, &got, NULL), 0);
	buf_release(&out);
}

static void
an_empty_directory_has_four_bytes(void **state)
{
	static const uint8_t want[] = { 'T', 1, 0, 0 };
	struct buf out = { 0 };

	(void)state;
	assert_ok(tree_encode(&out, NULL, 0), NULL);
	assert_int_equal(out.len, sizeof want);
	assert_memory_equal(out.data, want, sizeof want);
	assert_ok(read_all(out.data, out.len, NULL), NULL);
	buf_release(&out);
}

static void
encode_appends(void **state)
{
	struct buf out = { 0 };

	(void)state;
	assert_ok(buf_append(&out, "before", 6), NULL);
	assert_ok(tree_encode(&out, sample, test_count(sample)), NULL);
	assert_memory_equal(out.data, "beforeT", 7);
	assert_ok(read_all(out.data + 6, out.len - 6, NULL), NULL);
	buf_release(&out);
}

static void
a_full_buffer_is_a_limit_and_left_as_it_was(void **state)
{
	struct buf out;

	(void)state;
	buf_init(&out, 64);
	assert_ok(buf_append(&out, "x", 1), NULL);
	assert_status(LARDER_ERR_LIMIT, tree_encode(&out, sample, test_count(sample)), NULL);
	assert_int_equal(out.len, 1);
	buf_release(&out);
}

static void
a_node_lists_its_parts(void **state)
{
	static const uint8_t head[] = { 'N', 1, 2, 5, 'a', 0, 'm', 'm', 0 };
	const struct tree_part parts[] = {
		{ .id = id_a, .first = "a", .first_len = 1 },
		{ .id = id_b, .first = "mm", .first_len = 2 },
	};
	struct buf out = { 0 };
	struct tree_reader reader;
	struct tree_part got;

	(void)state;
	assert_ok(tree_node_encode(&out, parts, 2), NULL);
	assert_int_equal(out.len, sizeof head + 64);
	assert_memory_equal(out.data, head, sizeof head);
	assert_memory_equal(out.data + sizeof head, id_a.bytes, 32);
	assert_memory_equal(out.data + sizeof head + 32, id_b.bytes, 32);

	assert_ok(tree_open(&reader, out.data, out.len, NULL), NULL);
	assert_true(reader.node);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(tree_node_next(&reader, &got, NULL), 1);
		assert_memory_equal(&got.id, &parts[i].id, 32);
		assert_int_equal(got.first_len, parts[i].first_len);
		assert_memory_equal(got.first, parts[i].first, got.first_len);
	}
	assert_int_equal(tree_node_next(&reader, &got, NULL), 0);
	buf_release(&out);
}

static void
a_node_beyond_its_length_is_a_limit(void **state)
{
	size_t count = TREE_NODE_LEN_MAX / 40 + 1; /* an id and a name of 7 bytes each */
	struct tree_part *parts = calloc(count, sizeof *parts);
	char (*names)[8] = calloc(count, sizeof *names);
	struct buf out = { 0 };

	(void)state;
	assert_non_null(parts);
	assert_non_null(names);
	for (size_t i = 0; i < count; i++) {
		snprintf(names[i], sizeof names[i], "%07zu", i);
		parts[i] = (struct tree_part) { .first = names[i], .first_len = 7 };
	}
	assert_status(LARDER_ERR_LIMIT, tree_node_encode(&out, parts, count), NULL);
	assert_status(LARDER_ERR_LIMIT, tree_node_encode(&out, parts, SIZE_MAX / 64), NULL);
	assert_int_equal(out.len, 0);
	assert_ok(tree_node_encode(&out, parts, count - 2), NULL);
	assert_true(out.len <= TREE_NODE_LEN_MAX);
	assert_ok(read_all(out.data, out.len, NULL), NULL);
	buf_release(&out);
	free(parts);
	free(names);
}

static void
names_are_ordered_bytewise_and_shorter_first(void **state)
{
	static const char *const order[] = { "!", "A", "B", "a", "a-", "a.b", "ab", "\xc3\xa4" };

	(void)state;
	for (size_t i = 0; i < test_count(order); i++)
		for (size_t j = 0; j < test_count(order); j++) {
			int got = tree_name_compare(
			    order[i], strlen(order[i]), order[j], strlen(order[j]));

			assert_int_equal((got > 0) - (got < 0), (i > j) - (i < j));
		}
}

static void
names_that_no_entry_can_have(void **state)
{
	char longest[COMPONENT_LEN_MAX + 1];

	(void)state;
	memset(longest, 'x', sizeof longest);
	assert_true(tree_name_valid(longest, COMPONENT_LEN_MAX));
	assert_false(tree_name_valid(longest, COMPONENT_LEN_MAX + 1));
	assert_true(tree_name_valid("...", 3));
	assert_true(tree_name_valid(".a", 2));
	assert_true(tree_name_valid("\x01\n\xff", 3));
	assert_false(tree_name_valid("", 0));
	assert_false(tree_name_valid(".", 1));
	assert_false(tree_name_valid("..", 2));
	assert_false(tree_name_valid("a/b", 3));
	assert_false(tree_name_valid("a\0b", 3));
}

/* ---- parts ---- */

enum { MANY = 40000 };

static struct tree_entry *
make_many(size_t name_len)
{
	struct tree_entry *entries = calloc(MANY, sizeof *entries);
	char *names = malloc((size_t)MANY * (name_len + 1));

	assert_non_null(entries);
	assert_non_null(names);
	for (size_t i = 0; i < MANY; i++) {
		char *name = names + i * (name_len + 1);

		snprintf(name, name_len + 1, "%0*zu", (int)name_len, i);
		entries[i] = (struct tree_entry) { .name = name, .name_len = name_len,
			.kind = TREE_FILE, .size = i, .id = id_a };
	}
	return entries;
}

static void
free_many(struct tree_entry *entries)
{
	free((void *)(uintptr_t)entries[0].name);
	free(entries);
}

static void
small_directories_are_one_part(void **state)
{
	struct tree_entry *entries = make_many(8);

	(void)state;
	assert_int_equal(tree_part_end(entries, 0, 0), 0);
	assert_int_equal(tree_part_end(entries, 7, 7), 7);
	assert_int_equal(
	    tree_part_end(entries, 0, TREE_PART_ENTRIES_MIN - 1), TREE_PART_ENTRIES_MIN - 1);
	free_many(entries);
}

static void
an_insertion_changes_one_part(void **state)
{
	struct tree_entry *entries = make_many(8);
	struct tree_entry *other = make_many(8);
	static size_t ends[2][64];
	size_t counts[2] = { 0 };

	(void)state;
	/* the same names but the third, as if it had been inserted */
	memmove(other + 3, other + 4, (MANY - 4) * sizeof *other);
	for (size_t at = 0; at < MANY; at = ends[0][counts[0]++])
		ends[0][counts[0]] = tree_part_end(entries, at, MANY);
	for (size_t at = 0; at < MANY - 1; at = ends[1][counts[1]++])
		ends[1][counts[1]] = tree_part_end(other, at, MANY - 1);
	assert_true(counts[0] > 5);
	assert_int_equal(counts[0], counts[1]);
	for (size_t i = 0; i < counts[0]; i++)
		assert_int_equal(ends[0][i], ends[1][i] + 1);
	free_many(entries);
	free_many(other);
}

static void
parts_have_limits_and_come_back(void **state)
{
	static const size_t lengths[] = { 8, 60, 255 };

	(void)state;
	for (size_t k = 0; k < test_count(lengths); k++) {
		struct tree_entry *entries = make_many(lengths[k]);
		size_t at = 0;

		for (size_t i = 0; i < MANY; i += 5) {
			entries[i].kind = TREE_SYMLINK;
			entries[i].target = "where";
			entries[i].target_len = 5;
		}
		while (at < MANY) {
			size_t end = tree_part_end(entries, at, MANY);
			struct buf out = { 0 };

			assert_true(end > at && end - at <= TREE_PART_ENTRIES_MAX);
			assert_ok(tree_encode(&out, entries + at, end - at), NULL);
			assert_true(out.len <= TREE_PART_LEN_MAX);
			assert_ok(read_all(out.data, out.len, NULL), NULL);
			buf_release(&out);
			at = end;
		}
		free_many(entries);
	}
}

static void
long_link_targets_end_a_part_in_time(void **state)
{
	struct tree_entry *entries = make_many(255);
	static char target[PATH_LEN_MAX];
	struct buf out = { 0 };
	size_t end;

	(void)state;
	memset(target, 't', sizeof target);
	for (size_t i = 0; i < MANY; i++) {
		entries[i].kind = TREE_SYMLINK;
		entries[i].target = target;
		entries[i].target_len = sizeof target;
	}
	end = tree_part_end(entries, 0, MANY);
	assert_true(end > 200 && end < TREE_PART_ENTRIES_MIN);
	assert_ok(tree_encode(&out, entries, end), NULL);
	assert_true(out.len <= TREE_PART_LEN_MAX);
	assert_ok(read_all(out.data, out.len, NULL), NULL);
	buf_release(&out);
	free_many(entries);
}

static void
the_names_that_end_a_part_are_these(void **state)
{
	struct tree_entry *entries = make_many(8);

	(void)state;
	/* the first one from 00001023 on whose CRC-32C ends in ten zero bits is 00002049 */
	assert_int_equal(tree_part_end(entries, 0, MANY), 2050);
	free_many(entries);
}

/* ---- what is refused ---- */

#define BYTES(s) (s), sizeof(s) - 1
#define ID "0123456789abcdef0123456789ABCDEF"

static void
what_is_no_tree_is_refused_and_says_why(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		int status;
		const char *says;
	} cases[] = {
		{ BYTES(""), LARDER_ERR_CORRUPT, "no head" },
		{ BYTES("T"), LARDER_ERR_CORRUPT, "no head" },
		{ BYTES("X\1\0\0"), LARDER_ERR_CORRUPT, "begins with 0x58" },
		{ BYTES("T\2\0\0"), LARDER_ERR_VERSION, "format 2" },
		{ BYTES("T\0\0\0"), LARDER_ERR_VERSION, "format 0" },
		{ BYTES("T\1"), LARDER_ERR_CORRUPT, "cut short" },
		{ BYTES("T\1\0"), LARDER_ERR_CORRUPT, "cut short" },
		{ BYTES("T\1\0\1"), LARDER_ERR_CORRUPT, "cut short" },
		{ BYTES("T\1\x80\0\0"), LARDER_ERR_CORRUPT, "cut short" },
		{ BYTES("T\1\1\1a"), LARDER_ERR_CORRUPT, "fewer names" },
		{ BYTES("T\1\0\0x"), LARDER_ERR_CORRUPT, "more bytes" },
		{ BYTES("T\1\0\2a\0"), LARDER_ERR_CORRUPT, "more bytes" },
		{ BYTES("T\1\1\2a\0\0x"), LARDER_ERR_CORRUPT, "more bytes" },
		{ BYTES("T\1\1\4a\0b\0\0"), LARDER_ERR_CORRUPT, "more bytes" },
		{ BYTES("T\1\1\2ab\0"), LARDER_ERR_CORRUPT, "entry at 4: cut short" },
		{ BYTES("T\1\1\2\0\0\0"), LARDER_ERR_CORRUPT, "empty name" },
		{ BYTES("T\1\1\2.\0\0"), LARDER_ERR_CORRUPT, ". or .." },
		{ BYTES("T\1\1\3..\0\0"), LARDER_ERR_CORRUPT, ". or .." },
		{ BYTES("T\1\2\4b\0a\0\0\0"), LARDER_ERR_CORRUPT, "entry at 6: not in the order" },
		{ BYTES("T\1\2\4a\0a\0\0\0"), LARDER_ERR_CORRUPT, "not in the order" },
		{ BYTES("T\1\2\5ab\0a\0\0\0"), LARDER_ERR_CORRUPT, "not in the order" },
		{ BYTES("T\1\1\2a/\0"), LARDER_ERR_CORRUPT, "cut short" },
		{ BYTES("T\1\1\3a/\7"), LARDER_ERR_CORRUPT, "unknown kind" },
		{ BYTES("T\1\1\3a/\x20\0"), LARDER_ERR_CORRUPT, "reserved bits" },
		{ BYTES("T\1\1\3a/\x83"), LARDER_ERR_CORRUPT, "reserved bits" },
		{ BYTES("T\1\1\3a/\x09" ID), LARDER_ERR_CORRUPT, "flags of a file" },
		{ BYTES("T\1\1\3a/\x13"), LARDER_ERR_CORRUPT, "flags of a file" },
		{ BYTES("T\1\1\3a/\0\0"), LARDER_ERR_CORRUPT, "plain file spelled out" },
		{ BYTES("T\1\1\3a/\x10\0"), LARDER_ERR_CORRUPT, "empty file as a list" },
		{ BYTES("T\1\1\2a\0"), LARDER_ERR_CORRUPT, "size or id cut short" },
		{ BYTES("T\1\1\2a\0\x80\0"), LARDER_ERR_CORRUPT, "size or id cut short" },
		{ BYTES("T\1\1\2a\0\1" "0123"), LARDER_ERR_CORRUPT, "size or id cut short" },
		{ BYTES("T\1\1\2a\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\1" ID), LARDER_ERR_CORRUPT,
		    "file size out of range" },
		{ BYTES("T\1\1\3a/\1" "0123"), LARDER_ERR_CORRUPT, "size or id cut short" },
		{ BYTES("T\1\1\4a/\2x"), LARDER_ERR_CORRUPT, "target of a link cut short" },
		{ BYTES("T\1\1\4a/\2\0"), LARDER_ERR_CORRUPT, "empty target" },
		{ BYTES("T\1\1\3a/\2"), LARDER_ERR_CORRUPT, "target of a link cut short" },
		{ BYTES("T\1\1\3a/\4\1"), LARDER_ERR_CORRUPT, "cut short" },
		{ BYTES("T\1\1\3a/\4\x80\x80\x80\x80\x10\0"), LARDER_ERR_CORRUPT, "device number" },
		{ BYTES("T\1\1\3a/\4\0\x80\x80\x80\x80\x10"), LARDER_ERR_CORRUPT, "device number" },
		{ BYTES("N\1\0\0"), LARDER_ERR_CORRUPT, "too few parts" },
		{ BYTES("N\1\1\2a\0" ID), LARDER_ERR_CORRUPT, "too few parts" },
		{ BYTES("N\1\2\4a\0b\0" ID), LARDER_ERR_CORRUPT, "part at 6: id cut short" },
		{ BYTES("N\1\2\4a\0b/" ID ID), LARDER_ERR_CORRUPT, "slash in a name" },
		{ BYTES("N\1\2\4b\0a\0" ID ID), LARDER_ERR_CORRUPT, "not in the order" },
		{ BYTES("N\1\2\4a\0b\0" ID ID "x"), LARDER_ERR_CORRUPT, "more bytes" },
		{ BYTES("N\2\2\4a\0b\0" ID ID), LARDER_ERR_VERSION, "format 2" },
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
lengths_beyond_a_limit_are_refused(void **state)
{
	struct buf out = { 0 };
	struct larder_err err = { 0 };

	(void)state;
	/* a name of 256 bytes */
	assert_ok(buf_append(&out, "T\1\1\x81\2", 5), NULL);
	for (int i = 0; i < 256; i++)
		assert_ok(buf_append_u8(&out, 'n'), NULL);
	assert_ok(buf_append(&out, "\0\0", 2), NULL);
	assert_status(LARDER_ERR_CORRUPT, read_all(out.data, out.len, &err), &err);
	assert_message(&err, "name too long");

	/* a target of PATH_LEN_MAX + 1 */
	buf_clear(&out);
	assert_ok(buf_append(&out, "T\1\1", 3), NULL);
	assert_ok(buf_append_varint(&out, 3 + PATH_LEN_MAX + 1 + 1), NULL);
	assert_ok(buf_append(&out, "a/\2", 3), NULL);
	for (int i = 0; i < PATH_LEN_MAX + 1; i++)
		assert_ok(buf_append_u8(&out, 't'), NULL);
	assert_ok(buf_append_u8(&out, 0), NULL);
	assert_status(LARDER_ERR_CORRUPT, read_all(out.data, out.len, &err), &err);
	assert_message(&err, "target of a link cut short or too long");

	/* more entries than a part has */
	buf_clear(&out);
	assert_ok(buf_append(&out, "T\1", 2), NULL);
	assert_ok(buf_append_varint(&out, TREE_PART_ENTRIES_MAX + 1), NULL);
	assert_ok(buf_append_varint(&out, 4 * TREE_PART_ENTRIES_MAX), NULL);
	assert_ok(buf_resize(&out, out.len + 8 * TREE_PART_ENTRIES_MAX), NULL);
	assert_status(LARDER_ERR_CORRUPT, read_all(out.data, out.len, &err), &err);
	assert_message(&err, "too many entries");

	/* more bytes than a part and a node have */
	assert_ok(buf_resize(&out, TREE_PART_LEN_MAX + 1), NULL);
	assert_status(LARDER_ERR_CORRUPT, read_all(out.data, out.len, &err), &err);
	assert_message(&err, "too long");
	assert_ok(buf_resize(&out, TREE_NODE_LEN_MAX + 1), NULL);
	out.data[0] = 'N';
	assert_status(LARDER_ERR_CORRUPT, read_all(out.data, out.len, &err), &err);
	assert_message(&err, "too long");
	buf_release(&out);
}

static void
every_cut_is_noticed(void **state)
{
	struct buf out = { 0 };
	struct larder_err err = { 0 };

	(void)state;
	assert_ok(tree_encode(&out, sample, test_count(sample)), NULL);
	for (size_t len = 0; len < out.len; len++) {
		uint8_t *copy = malloc(len + 1); /* so that a sanitizer sees a step beyond */

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
	static const char bytes[] = "T\1\2\4b\0a\0\0\0";
	struct tree_reader reader;
	struct tree_entry entry;

	(void)state;
	assert_ok(tree_open(&reader, bytes, sizeof bytes - 1, NULL), NULL);
	assert_int_equal(tree_next(&reader, &entry, NULL), 1);
	for (int i = 0; i < 3; i++)
		assert_int_equal(tree_next(&reader, &entry, NULL), LARDER_ERR_CORRUPT);
}

static void
without_memory_it_says_so_and_leaks_nothing(void **state)
{
	const struct tree_part parts[] = {
		{ .id = id_a, .first = "a", .first_len = 1 },
		{ .id = id_b, .first = "b", .first_len = 1 },
	};
	struct buf out = { 0 };

	(void)state;
	mem_faulty_set(1, true);
	assert_status(LARDER_ERR_NOMEM, tree_encode(&out, sample, test_count(sample)), NULL);
	assert_status(LARDER_ERR_NOMEM, tree_node_encode(&out, parts, 2), NULL);
	assert_int_equal(out.len, 0);
	assert_int_equal(mem_faulty_live(), 0);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(bytes_are_the_ones_in_the_document),
		test_case(the_example_in_the_document_is_true),
		test_case(every_kind_comes_back),
		test_case(an_empty_directory_has_four_bytes),
		test_case(encode_appends),
		test_case(a_full_buffer_is_a_limit_and_left_as_it_was),
		test_case(a_node_lists_its_parts),
		test_case(a_node_beyond_its_length_is_a_limit),
		test_case(names_are_ordered_bytewise_and_shorter_first),
		test_case(names_that_no_entry_can_have),
		test_case(small_directories_are_one_part),
		test_case(an_insertion_changes_one_part),
		test_case(parts_have_limits_and_come_back),
		test_case(long_link_targets_end_a_part_in_time),
		test_case(the_names_that_end_a_part_are_these),
		test_case(what_is_no_tree_is_refused_and_says_why),
		test_case(lengths_beyond_a_limit_are_refused),
		test_case(every_cut_is_noticed),
		test_case(a_reader_in_error_stays_there),
		test_case(without_memory_it_says_so_and_leaks_nothing),
	};

	return test_run(cases);
}
