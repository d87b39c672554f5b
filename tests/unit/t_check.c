/*
 * Stores that no put would make: what versions refer to is missing, of another
 * type or length, or does not fit together. Nothing here is damaged on disk.
 *
 * FLAVOURS: release asan tsan
 */
#include "cas/larder.h"

#include <stdio.h>
#include <unistd.h>

#include "cas/base/sha256.h"
#include "cas/commit.h"
#include "cas/object/attrs.h"
#include "cas/object/entry.h"
#include "cas/object/filelist.h"
#include "cas/object/tree.h"
#include "cas/sys.h"
#include "tests/harness.h"

static int
no_sync(int fd)
{
	(void)fd;
	return 0;
}

/* ---- a pack of objects, and versions that refer to them ---- */

struct making {
	struct larder_store *store;
	struct pack_codec *codec;
	struct pack_writer *pack;
	struct buf operations;
	uint64_t versions;
};

static void
begin(struct making *m, void **state)
{
	struct larder_open_options options = LARDER_OPEN_OPTIONS_INIT;
	struct larder_sys sys = { .size = sizeof sys };
	struct larder_err err = { 0 };

	memset(m, 0, sizeof *m);
	sys.file_fsync = sys.file_fdatasync = no_sync;
	larder_sys_set(&sys);
	options.create = true;
	options.threads = 2;
	assert_ok(larder_store_open(&m->store, test_path(state, "store"), &options, &err), &err);
	assert_ok(pack_codec_open(&m->codec, &err), &err);
	assert_ok(pack_writer_open(&m->pack, m->store->root_fd, &err), &err);
}

static struct larder_id
id_of(const void *data, size_t len)
{
	struct larder_id id;

	sha256(&id, data, len);
	return id;
}

/* One object in a segment of its own; against `base` if that is given. */
static struct larder_id
add_against(struct making *m, enum pack_type type, const void *data, size_t len, const void *base,
    size_t base_len, unsigned base_depth)
{
	struct larder_id id = id_of(data, len), base_id = id_of(base, base_len);
	struct pack_plain plain = {
		.data = data,
		.len = (uint32_t)len,
		.type = type,
		.level = 3,
		.base_id = base != NULL ? &base_id : NULL,
		.base = base,
		.base_len = (uint32_t)base_len,
		.base_depth = base_depth,
	};
	struct buf segment = { 0 };
	struct larder_err err = { 0 };
	uint32_t length = (uint32_t)len, at;

	assert_ok(pack_encode(&segment, m->codec, &plain, 0, &err), &err);
	assert_ok(
	    pack_writer_append(m->pack, segment.data, segment.len, &id, &length, 1, &at, &err),
	    &err);
	buf_release(&segment);
	return id;
}

static struct larder_id
add(struct making *m, enum pack_type type, const void *data, size_t len)
{
	return add_against(m, type, data, len, NULL, 0, 0);
}

static struct larder_id
add_text(struct making *m, const char *text)
{
	return add(m, PACK_TYPE_DATA, text, strlen(text));
}

static struct larder_id
add_tree(struct making *m, const struct tree_entry *entries, size_t count)
{
	struct buf bytes = { 0 };
	struct larder_id id;

	assert_int_equal(tree_encode(&bytes, entries, count), 0);
	id = add(m, PACK_TYPE_TREE, bytes.data, bytes.len);
	buf_release(&bytes);
	return id;
}

static struct larder_id
add_attrs(struct making *m, const struct attrs_row *rows, size_t count)
{
	static const struct attrs_row self = { .mode = 0755 };
	struct buf bytes = { 0 };
	struct larder_id id;

	assert_int_equal(attrs_encode(&bytes, &self, rows, count), 0);
	id = add(m, PACK_TYPE_ATTRS, bytes.data, bytes.len);
	buf_release(&bytes);
	return id;
}

static struct larder_id
add_list(struct making *m, unsigned level, const struct filelist_item *items, size_t count)
{
	struct buf bytes = { 0 };
	struct larder_id id;

	assert_int_equal(filelist_encode(&bytes, level, items, count), 0);
	id = add(m, PACK_TYPE_FILELIST, bytes.data, bytes.len);
	buf_release(&bytes);
	return id;
}

static void
add_version(struct making *m, const char *name, enum entry_version_kind kind, bool list,
    const struct larder_id *id, const struct larder_id *attrs, uint64_t bytes)
{
	struct entry_version version = {
		.name = name,
		.name_len = strlen(name),
		.number = 1,
		.kind = kind,
		.list = list,
		.id = *id,
		.bytes = bytes,
		.files = 1,
	};
	struct larder_err err = { 0 };

	if (attrs != NULL)
		version.attrs = *attrs;
	assert_ok(id16_random(&version.gid, &err), &err);
	assert_int_equal(entry_op_version(&m->operations, &version), 0);
	m->versions++;
}

static void
commit(struct making *m)
{
	struct commit commit = { .packs = &m->pack, .pack_count = 1, .operations = &m->operations };
	struct larder_err err = { 0 };

	assert_ok(pack_writer_finish(m->pack, &err), &err);
	assert_ok(commit_run(m->store, &commit, &err), &err);
	pack_writer_close(m->pack);
	m->pack = NULL;
	buf_clear(&m->operations);
}

static void
begin_next(struct making *m)
{
	struct larder_err err = { 0 };

	assert_ok(pack_writer_open(&m->pack, m->store->root_fd, &err), &err);
}

/* ---- what check says ---- */

static char text[8192];

static void
take_damage(void *context, const struct larder_damage *damage)
{
	size_t len = strlen(text);

	(void)context;
	len += (size_t)snprintf(text + len, sizeof text - len, "%s;", damage->what);
	for (size_t i = 0; i < damage->name_count && len < sizeof text; i++)
		len += (size_t)snprintf(text + len, sizeof text - len, " %s", damage->names[i]);
	if (len < sizeof text)
		snprintf(text + len, sizeof text - len, "\n");
}

/* Checks, reading everything, and ends. `count` damages are expected. */
static void
expect(struct making *m, uint64_t count)
{
	struct larder_check_options options = LARDER_CHECK_OPTIONS_INIT;
	struct larder_check_result result;
	struct larder_err err = { 0 };

	text[0] = '\0';
	options.read = true;
	assert_status(count == 0 ? LARDER_OK : LARDER_ERR_CORRUPT,
	    larder_check(m->store, &options, take_damage, NULL, &result, &err), &err);
	if (result.damages != count)
		print_message("%s", text);
	assert_int_equal(result.damages, count);
	assert_int_equal(result.versions, m->versions);
	pack_codec_close(m->codec);
	buf_release(&m->operations);
	larder_store_close(m->store);
}

#define assert_says(part) assert_non_null(strstr(text, part))

static struct tree_entry
file_entry(const char *name, const struct larder_id *id, uint64_t size)
{
	return (struct tree_entry){
		.name = name,
		.name_len = strlen(name),
		.kind = TREE_FILE,
		.size = size,
		.id = *id,
	};
}

static struct tree_entry
dir_entry(const char *name, const struct larder_id *id)
{
	return (struct tree_entry){
		.name = name,
		.name_len = strlen(name),
		.kind = TREE_DIR,
		.id = *id,
	};
}

static void
what_is_referred_to_must_be_there(void **state)
{
	struct larder_id here, gone = { { 1, 2, 3 } }, sub, top;
	struct tree_entry entries[2];
	struct making m;

	begin(&m, state);
	here = add_text(&m, "here");
	entries[0] = file_entry("gone", &gone, 5);
	entries[1] = file_entry("here", &here, 4);
	sub = add_tree(&m, entries, 2);
	entries[0] = dir_entry("sub", &sub);
	entries[1] = dir_entry("too", &sub);
	top = add_tree(&m, entries, 2);
	add_version(&m, "n", ENTRY_KIND_DIR, false, &top, NULL, 9);
	add_version(&m, "single", ENTRY_KIND_FILE, false, &gone, NULL, 5);
	commit(&m);
	expect(&m, 1); /* one object is missing, wherever it is wanted */
	assert_says("object 0102030000");
	assert_says("is referred to and not in the store; n@1//sub/gone n@1//too/gone single@1\n");
}

static void
it_must_be_of_its_type_and_length(void **state)
{
	struct larder_id data, tree, top;
	struct tree_entry entries[4];
	struct making m;

	begin(&m, state);
	data = add_text(&m, "data");
	entries[0] = file_entry("x", &data, 4);
	tree = add_tree(&m, entries, 1);
	entries[0] = dir_entry("a", &data);
	entries[1] = file_entry("b", &tree, 40);
	top = add_tree(&m, entries, 2);
	add_version(&m, "types", ENTRY_KIND_DIR, false, &top, NULL, 9);
	entries[0] = file_entry("c", &data, 5);
	entries[1] = file_entry("right", &data, 4);
	top = add_tree(&m, entries, 2);
	add_version(&m, "length", ENTRY_KIND_DIR, false, &top, NULL, 9);
	add_version(&m, "tree", ENTRY_KIND_DIR, false, &data, NULL, 9);
	add_version(&m, "right", ENTRY_KIND_FILE, false, &data, NULL, 4);
	commit(&m);
	expect(&m, 3);
	assert_says("is data where a tree is referred to; types@1//a tree@1\n");
	assert_says("is a tree where data is referred to; types@1//b\n");
	assert_says("has 4 bytes where 5 are referred to; length@1//c\n");
}

static void
lists_must_add_up(void **state)
{
	struct filelist_item items[2], upper[2];
	struct larder_id a, b, good, wrong, top;
	struct tree_entry entries[2];
	struct making m;

	begin(&m, state);
	a = add_text(&m, "one piece");
	b = add_text(&m, "another");
	items[0] = (struct filelist_item){ a, 9 };
	items[1] = (struct filelist_item){ b, 7 };
	good = add_list(&m, 0, items, 2);
	upper[0] = (struct filelist_item){ good, 16 };
	upper[1] = (struct filelist_item){ good, 17 };
	wrong = add_list(&m, 1, upper, 2);
	entries[0] = file_entry("good", &good, 16);
	entries[1] = file_entry("wrong", &wrong, 33);
	entries[0].list = entries[1].list = true;
	top = add_tree(&m, entries, 2);
	add_version(&m, "n", ENTRY_KIND_DIR, false, &top, NULL, 49);
	commit(&m);
	expect(&m, 1);
	assert_says("a list of 16 bytes where 17 are referred to; n@1//wrong\n");
}

static void
a_list_in_a_list_must_be_of_the_level_below(void **state)
{
	struct filelist_item item;
	struct larder_id chunk, list;
	struct making m;

	begin(&m, state);
	chunk = add_text(&m, "piece");
	item = (struct filelist_item){ chunk, 5 };
	list = add_list(&m, 0, &item, 1);
	item = (struct filelist_item){ list, 5 };
	list = add_list(&m, 2, &item, 1);
	add_version(&m, "n", ENTRY_KIND_FILE, true, &list, NULL, 5);
	commit(&m);
	expect(&m, 1);
	assert_says("a list of level 0 where 1 belongs; n@1\n");
}

static void
attributes_must_fit_their_directory(void **state)
{
	struct attrs_row rows[2] = { { .mode = 0644 }, { .mode = 0644 } };
	struct larder_id data, tree, attrs, gone = { { 9 } };
	struct attrs_xattr xattr = { .name = "user.x", .name_len = 6, .value_len = 300 };
	struct tree_entry entries[1];
	struct making m;

	begin(&m, state);
	xattr.id = gone;
	data = add_text(&m, "data");
	entries[0] = file_entry("f", &data, 4);
	tree = add_tree(&m, entries, 1);
	attrs = add_attrs(&m, rows, 2);
	add_version(&m, "more", ENTRY_KIND_DIR, false, &tree, &attrs, 4);
	rows[0] = (struct attrs_row){ .is_dir = true, .child = data };
	attrs = add_attrs(&m, rows, 1);
	add_version(&m, "other", ENTRY_KIND_DIR, false, &tree, &attrs, 4);
	rows[0] = (struct attrs_row){ .mode = 0600, .xattrs = &xattr, .xattr_count = 1 };
	attrs = add_attrs(&m, rows, 1);
	add_version(&m, "value", ENTRY_KIND_DIR, false, &tree, &attrs, 4);
	add_version(&m, "gone", ENTRY_KIND_DIR, false, &tree, &gone, 4);
	commit(&m);
	expect(&m, 3);
	assert_says("attributes that do not belong to their directory; more@1\n");
	assert_says("attributes that do not belong to their directory; other@1\n");
	assert_says("is referred to and not in the store; value@1//f gone@1\n");
}

static void
an_object_that_is_not_what_its_type_says_is_told(void **state)
{
	struct larder_id tree, list;
	struct making m;

	begin(&m, state);
	tree = add(&m, PACK_TYPE_TREE, "this is no tree", 15);
	list = add(&m, PACK_TYPE_FILELIST, "nor is this a list", 18);
	add_version(&m, "n", ENTRY_KIND_DIR, false, &tree, NULL, 9);
	add_version(&m, "m", ENTRY_KIND_FILE, true, &list, NULL, 9);
	commit(&m);
	expect(&m, 2);
	assert_says("; n@1\n");
	assert_says("; m@1\n");
}

static void
no_bytes_have_one_id(void **state)
{
	struct larder_id empty = id_of(NULL, 0), other = { { 1 } };
	struct making m;

	begin(&m, state);
	add_text(&m, "a pack must not be empty");
	add_version(&m, "right", ENTRY_KIND_FILE, false, &empty, NULL, 0);
	add_version(&m, "wrong", ENTRY_KIND_FILE, false, &other, NULL, 0);
	commit(&m);
	expect(&m, 1);
	assert_says("is not the id of no bytes; wrong@1\n");
}

static void
two_packs_may_have_the_same_chunk(void **state)
{
	struct larder_id data, more;
	struct making m;

	begin(&m, state);
	data = add_text(&m, "twice");
	add_version(&m, "a", ENTRY_KIND_FILE, false, &data, NULL, 5);
	commit(&m);
	begin_next(&m);
	more = add_text(&m, "first");
	data = add_text(&m, "twice");
	add_version(&m, "b", ENTRY_KIND_FILE, false, &data, NULL, 5);
	add_version(&m, "c", ENTRY_KIND_FILE, false, &more, NULL, 5);
	commit(&m);
	expect(&m, 0);
}

/* Chains as deep as they may be, forks in them, over two packs. */
static void
deltas_of_deltas_are_decoded(void **state)
{
	enum { LEN = 5000, CHAIN = 8 };
	uint8_t bytes[CHAIN + 1][LEN], fork[LEN];
	struct larder_id id;
	struct making m;
	char name[16];

	begin(&m, state);
	test_fill(bytes[0], LEN, 1);
	id = add(&m, PACK_TYPE_DATA, bytes[0], LEN);
	add_version(&m, "root", ENTRY_KIND_FILE, false, &id, NULL, LEN);
	for (unsigned i = 1; i <= CHAIN; i++) {
		memcpy(bytes[i], bytes[i - 1], LEN);
		bytes[i][i * 100] ^= 1;
		id = add_against(&m, PACK_TYPE_DATA, bytes[i], LEN, bytes[i - 1], LEN, i - 1);
		snprintf(name, sizeof name, "d%u", i);
		add_version(&m, name, ENTRY_KIND_FILE, false, &id, NULL, LEN);
		if (i == 4) {
			commit(&m);
			begin_next(&m);
		}
	}
	for (unsigned i = 0; i < CHAIN; i++) {
		memcpy(fork, bytes[i], LEN);
		fork[4000] ^= 1;
		id = add_against(&m, PACK_TYPE_DATA, fork, LEN, bytes[i], LEN, i);
		snprintf(name, sizeof name, "f%u", i);
		add_version(&m, name, ENTRY_KIND_FILE, false, &id, NULL, LEN);
	}
	commit(&m);
	expect(&m, 0);
}

static void
a_delta_with_the_wrong_base_is_told(void **state)
{
	uint8_t base[3000], other[3000], bytes[3000];
	struct larder_id wrong, id, base_id;
	struct pack_plain plain;
	struct buf segment = { 0 };
	struct larder_err err = { 0 };
	uint32_t length = sizeof bytes, at;
	struct making m;

	begin(&m, state);
	test_fill(base, sizeof base, 1);
	test_fill(other, sizeof other, 2);
	memcpy(bytes, base, sizeof bytes);
	bytes[7] ^= 1;
	base_id = add(&m, PACK_TYPE_DATA, base, sizeof base);
	wrong = add(&m, PACK_TYPE_DATA, other, sizeof other);
	plain = (struct pack_plain){ .data = bytes, .len = sizeof bytes, .type = PACK_TYPE_DATA,
		.level = 3, .base_id = &wrong, .base = base, .base_len = sizeof base };
	assert_ok(pack_encode(&segment, m.codec, &plain, 0, &err), &err);
	id = id_of(bytes, sizeof bytes);
	assert_ok(
	    pack_writer_append(m.pack, segment.data, segment.len, &id, &length, 1, &at, &err),
	    &err);
	buf_release(&segment);
	add_version(&m, "base", ENTRY_KIND_FILE, false, &base_id, NULL, sizeof base);
	add_version(&m, "n", ENTRY_KIND_FILE, false, &id, NULL, sizeof bytes);
	commit(&m);
	expect(&m, 1);
	assert_says("hashes to something else; n@1\n");
}

static void
a_delta_without_its_base_is_told(void **state)
{
	uint8_t base[3000], bytes[3000];
	struct larder_id id;
	struct making m;

	begin(&m, state);
	test_fill(base, sizeof base, 1);
	memcpy(bytes, base, sizeof bytes);
	bytes[7] ^= 1;
	id = add_against(&m, PACK_TYPE_DATA, bytes, sizeof bytes, base, sizeof base, 0);
	add_version(&m, "n", ENTRY_KIND_FILE, false, &id, NULL, sizeof bytes);
	commit(&m);
	expect(&m, 1);
	assert_says("its base is not in the store; n@1\n");
}

/* Many deltas: more than one batch of hashes, more than one task. */
static void
many_deltas_are_all_decoded(void **state)
{
	enum { LEN = 300, COUNT = 5000 };
	uint8_t base[LEN], bytes[LEN];
	struct larder_id id;
	struct making m;

	begin(&m, state);
	test_fill(base, LEN, 1);
	id = add(&m, PACK_TYPE_DATA, base, LEN);
	for (unsigned i = 0; i < COUNT; i++) {
		memcpy(bytes, base, LEN);
		memcpy(bytes + 20, &i, sizeof i);
		bytes[30] ^= 1;
		add_against(&m, PACK_TYPE_DATA, bytes, LEN, base, LEN, 0);
	}
	add_version(&m, "n", ENTRY_KIND_FILE, false, &id, NULL, LEN);
	commit(&m);
	expect(&m, 0);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(what_is_referred_to_must_be_there),
		test_case(it_must_be_of_its_type_and_length),
		test_case(lists_must_add_up),
		test_case(a_list_in_a_list_must_be_of_the_level_below),
		test_case(attributes_must_fit_their_directory),
		test_case(an_object_that_is_not_what_its_type_says_is_told),
		test_case(no_bytes_have_one_id),
		test_case(two_packs_may_have_the_same_chunk),
		test_case(deltas_of_deltas_are_decoded),
		test_case(a_delta_with_the_wrong_base_is_told),
		test_case(a_delta_without_its_base_is_told),
		test_case(many_deltas_are_all_decoded),
	};

	return test_run(cases);
}
