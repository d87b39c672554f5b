/*
 * The walk over pages: sound files of every shape pass, and each kind of damage
 * is found and named. Files are made by LMDB itself, then changed by hand.
 */
#include "tests/unit/t_index.h"

#include "index/pagewalk.h"
#include "index/verify.h"

enum { PAGE = 4096 };

/* A data.mdb in memory. */
struct file {
	uint8_t *bytes;
	size_t len;
	struct pagewalk_meta meta;
	size_t meta_at; /* of the newest meta page */
};

/* ---- files ---- */

struct values {
	uint64_t first, count;
	size_t len;
};

static int
put_values(void *context, struct index_write *write, struct larder_err *err)
{
	const struct values *values = context;
	static uint8_t value[ROW_SEEN_MAX];
	int rc = 0;

	for (uint64_t n = values->first; rc == 0 && n < values->first + values->count; n++) {
		struct larder_id key = test_id(n);

		test_fill(value, 64, n);
		rc = index_seen_put(write, key.bytes, value, values->len, err);
	}
	return rc;
}

static int
drop_chunks(void *context, struct index_write *write, struct larder_err *err)
{
	const struct test_chunks *chunks = context;
	int rc = 0;

	for (uint64_t n = chunks->first; rc == 0 && n < chunks->first + chunks->count; n++) {
		struct larder_id id = test_id(n);

		rc = index_chunk_drop(write, &id, test_place(n).pack, err);
	}
	return rc;
}

static void
update(struct index *index, index_write_fn fn, void *context)
{
	struct larder_err err = { 0 };

	assert_ok(index_update(index, fn, context, &err), &err);
}

static int
check_file(void **state, struct larder_err *err)
{
	int fd = open(test_path(state, "index/data.mdb"), O_RDONLY | O_CLOEXEC), rc;

	assert_true(fd >= 0);
	rc = verify_file(fd, NULL, NULL, err);
	close(fd);
	return rc;
}

static void
assert_file_sound(void **state)
{
	struct larder_err err = { 0 };

	assert_ok(check_file(state, &err), &err);
}

static void
load(void **state, struct file *file)
{
	int fd = open(test_path(state, "index/data.mdb"), O_RDONLY | O_CLOEXEC);
	struct pagewalk_meta metas[2];

	assert_true(fd >= 0);
	assert_ok(pagewalk_metas(metas, fd, NULL), NULL);
	close(fd);
	file->meta = metas[0];
	file->meta_at = (metas[0].txn & 1) * PAGE;
	assert_int_equal(file->meta.page_size, PAGE);
	file->bytes = (uint8_t *)test_read(state, "index/data.mdb", &file->len);
}

/* 2,000 chunks: a branch page above some forty leaves; hints in overflow pages; free pages. */
static void
make_file(void **state, struct file *file)
{
	struct index *index = test_index_open(state);
	struct values values = { 0, 3, 9000 };

	for (uint64_t n = 0; n < 2000; n += 500)
		test_add_chunks(index, n, 500);
	update(index, put_values, &values);
	update(index, put_values, &values);
	index_close(index);
	load(state, file);
}

static uint16_t
get16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof v);
	return v;
}

static uint64_t
get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof v);
	return v;
}

static void
set16(uint8_t *p, unsigned v)
{
	uint16_t v16 = (uint16_t)v;

	memcpy(p, &v16, sizeof v16);
}

static void
set64(uint8_t *p, uint64_t v)
{
	memcpy(p, &v, sizeof v);
}

static uint8_t *
page_at(const struct file *file, uint64_t number)
{
	assert_true((number + 1) * PAGE <= file->len);
	return file->bytes + number * PAGE;
}

static uint8_t *
node_at(uint8_t *page, unsigned i)
{
	return page + get16(page + 16 + 2 * i);
}

static uint64_t
child_of(uint8_t *branch, unsigned i)
{
	uint8_t *node = node_at(branch, i);

	return get16(node) | (uint64_t)get16(node + 2) << 16 | (uint64_t)get16(node + 4) << 32;
}

/* The 48 bytes that describe a table. */
static uint8_t *
record_of(const struct file *file, const char *table)
{
	uint8_t *main = page_at(file, file->meta.main.root);

	for (unsigned i = 0; i < (get16(main + 12) - 16u) / 2; i++) {
		uint8_t *node = node_at(main, i);

		if (get16(node + 6) == strlen(table) && memcmp(node + 8, table, strlen(table)) == 0)
			return node + 8 + strlen(table);
	}
	fail_msg("no table %s", table);
	return NULL;
}

static uint8_t *
root_of(const struct file *file, const char *table)
{
	return page_at(file, get64(record_of(file, table) + 40));
}

/* ---- sound ---- */

static void
a_new_index_is_sound(void **state)
{
	index_close(test_index_open(state));
	assert_file_sound(state);
}

static void
large_values_and_deep_trees_are_sound(void **state)
{
	struct index *index = test_index_open(state);
	struct values values = { 0, 40, 0 };

	for (uint64_t n = 0; n < 20000; n += 4000)
		test_add_chunks(index, n, 4000);
	for (size_t len = 0; len <= ROW_SEEN_MAX; len += 4001) {
		values.len = len;
		values.first = len;
		update(index, put_values, &values);
	}
	assert_sound(index);
	index_close(index);
	assert_file_sound(state);
}

static void
what_was_taken_away_leaves_a_sound_file(void **state)
{
	struct index *index = test_index_open(state);

	test_add_chunks(index, 0, 5000);
	for (uint64_t n = 0; n < 5000; n += 250) {
		struct test_chunks chunks = { n, 250 };
		struct values values = { n / 500, 5, (size_t)(n * 10) };

		update(index, drop_chunks, &chunks);
		update(index, put_values, &values);
		assert_sound(index);
	}
	index_close(index);
	assert_file_sound(state);
}

/* Shorter and longer values in turn, so that overflow pages are reused. */
static void
values_that_change_their_length_leave_a_sound_file(void **state)
{
	static const size_t lengths[] = { 20000, 9000, 100, 30000, 29000, 0, 60000, 3000, 12000 };
	struct index *index = test_index_open(state);

	for (size_t i = 0; i < 4 * test_count(lengths); i++) {
		struct values values = { i % 3, 10, lengths[i % test_count(lengths)] };

		update(index, put_values, &values);
		assert_sound(index);
	}
	index_close(index);
	assert_file_sound(state);
}

static void
the_rows_come_with_their_tables(void **state)
{
	struct index *index = test_index_open(state);
	struct larder_err err = { 0 };

	test_add_chunks(index, 0, 100);
	index_close(index);
	/* verify_file holds every count against the sums: none of the rows was left out */
	assert_ok(check_file(state, &err), &err);
}

/* ---- damage ---- */

static void
number_of_page(struct file *f)
{
	set64(root_of(f, "chunks"), 7);
}

static void
kind_of_page(struct file *f)
{
	set16(root_of(f, "chunks") + 10, 2);
}

static void
dirty_page(struct file *f)
{
	set16(page_at(f, child_of(root_of(f, "chunks"), 3)) + 10, 0x12);
}

static void
lower_too_low(struct file *f)
{
	set16(page_at(f, child_of(root_of(f, "chunks"), 3)) + 12, 14);
}

static void
lower_odd(struct file *f)
{
	set16(page_at(f, child_of(root_of(f, "chunks"), 3)) + 12, 33);
}

static void
upper_beyond(struct file *f)
{
	set16(page_at(f, child_of(root_of(f, "chunks"), 3)) + 14, PAGE + 2);
}

static void
one_row_less(struct file *f)
{
	uint8_t *leaf = page_at(f, child_of(root_of(f, "chunks"), 3));

	set16(leaf + 12, get16(leaf + 12) - 2u);
}

static void
pointer_beyond(struct file *f)
{
	set16(page_at(f, child_of(root_of(f, "chunks"), 3)) + 18, PAGE - 4);
}

static void
pointer_twice(struct file *f)
{
	uint8_t *leaf = page_at(f, child_of(root_of(f, "chunks"), 3));

	set16(leaf + 18, get16(leaf + 20));
}

static void
key_too_long(struct file *f)
{
	set16(node_at(page_at(f, child_of(root_of(f, "chunks"), 3)), 2) + 6, 600);
}

static void
key_empty(struct file *f)
{
	set16(node_at(page_at(f, child_of(root_of(f, "chunks"), 3)), 2) + 6, 0);
}

static void
value_too_long(struct file *f)
{
	set16(node_at(page_at(f, child_of(root_of(f, "chunks"), 3)), 2) + 2, 0xffff);
}

static void
keys_exchanged(struct file *f)
{
	uint8_t *leaf = page_at(f, child_of(root_of(f, "chunks"), 3));
	unsigned first = get16(leaf + 16);

	set16(leaf + 16, get16(leaf + 18));
	set16(leaf + 18, first);
}

static void
separator_raised(struct file *f)
{
	/* All keys of the leaf before it still belong there, its own first ones do not. */
	node_at(root_of(f, "chunks"), 5)[8 + 1] = 0xff;
}

static void
separator_lowered(struct file *f)
{
	uint8_t *key = node_at(root_of(f, "chunks"), 5) + 8;

	key[0] = (uint8_t)(key[0] - 1);
}

static void
child_twice(struct file *f)
{
	uint8_t *branch = root_of(f, "chunks");

	set16(node_at(branch, 5), (unsigned)child_of(branch, 3));
}

static void
child_is_itself(struct file *f)
{
	uint8_t *record = record_of(f, "chunks");

	set16(node_at(root_of(f, "chunks"), 5), (unsigned)get64(record + 40));
}

static void
child_beyond(struct file *f)
{
	set16(node_at(root_of(f, "chunks"), 5) + 4, 0x4000);
}

static void
child_is_meta(struct file *f)
{
	set16(node_at(root_of(f, "chunks"), 5), 1);
}

static void
flags_of_row(struct file *f)
{
	set16(node_at(page_at(f, child_of(root_of(f, "chunks"), 3)), 2) + 4, 4);
}

static void
row_as_tree(struct file *f)
{
	set16(node_at(page_at(f, child_of(root_of(f, "chunks"), 3)), 2) + 4, 2);
}

static void
overflow_header(struct file *f)
{
	uint8_t *node = node_at(root_of(f, "seen"), 1);

	set16(page_at(f, get64(node + 8 + 16)) + 10, 2);
}

static void
overflow_shorter(struct file *f)
{
	uint8_t *node = node_at(root_of(f, "seen"), 1);

	set16(page_at(f, get64(node + 8 + 16)) + 12, 1);
}

static void
overflow_longer(struct file *f)
{
	uint8_t *node = node_at(root_of(f, "seen"), 1);

	set16(page_at(f, get64(node + 8 + 16)) + 12, 5);
}

static void
overflow_beyond(struct file *f)
{
	set64(node_at(root_of(f, "seen"), 1) + 8 + 16, 1u << 20);
}

static void
overflow_byte(struct file *f)
{
	uint8_t *node = node_at(root_of(f, "seen"), 1);

	page_at(f, get64(node + 8 + 16))[16 + 5000] ^= 1;
}

static void
value_of_row(struct file *f)
{
	node_at(page_at(f, child_of(root_of(f, "chunks"), 3)), 2)[8 + 32] ^= 1;
}

static void
entries_of_tree(struct file *f)
{
	set64(record_of(f, "chunks") + 32, 1999);
}

static void
pages_of_tree(struct file *f)
{
	set64(record_of(f, "chunks") + 16, 3);
}

static void
depth_of_tree(struct file *f)
{
	set16(record_of(f, "chunks") + 6, 3);
}

static void
depth_impossible(struct file *f)
{
	set16(record_of(f, "chunks") + 6, 33);
}

static void
flags_of_tree(struct file *f)
{
	set16(record_of(f, "chunks") + 4, 4);
}

static void
root_is_another(struct file *f)
{
	set64(record_of(f, "packs") + 40, get64(record_of(f, "chunks") + 40));
}

static void
name_of_tree(struct file *f)
{
	record_of(f, "chunks")[-1] = 'z';
}

static void
free_list_has_a_used_page(struct file *f)
{
	uint8_t *leaf = page_at(f, f->meta.free_pages.root);
	uint8_t *node = node_at(leaf, 0), *list = node + 8 + 8;

	/* the highest of the list becomes a page that no transaction ever gave back */
	set64(list + 8, f->meta.main.root);
	set64(list, 1);
}

static void
free_list_unsorted(struct file *f)
{
	uint8_t *leaf = page_at(f, f->meta.free_pages.root);
	uint8_t *list = node_at(leaf, 0) + 8 + 8;

	assert_true(get64(list) >= 2);
	set64(list + 8, get64(list + 16));
}

static void
free_list_too_long(struct file *f)
{
	uint8_t *leaf = page_at(f, f->meta.free_pages.root);

	set64(node_at(leaf, 0) + 8 + 8, 1u << 30);
}

static void
free_list_of_the_future(struct file *f)
{
	uint8_t *leaf = page_at(f, f->meta.free_pages.root);
	unsigned last = (get16(leaf + 12) - 16u) / 2 - 1;

	set64(node_at(leaf, last) + 8, f->meta.txn + 1);
}

static void
sums_of_tables(struct file *f)
{
	record_of(f, "sums")[9] ^= 1;
}

static void
head_of_index(struct file *f)
{
	record_of(f, "head")[9] ^= 1;
}

static void
every_kind_of_damage_is_found_and_named(void **state)
{
	static const struct {
		void (*damage)(struct file *);
		const char *says;
	} cases[] = {
		{ number_of_page, "chunks: page" },
		{ kind_of_page, "not the page it should be" },
		{ dirty_page, "not the page it should be" },
		{ lower_too_low, "impossible bounds" },
		{ lower_odd, "impossible bounds" },
		{ upper_beyond, "impossible bounds" },
		{ one_row_less, "nodes of" },
		{ pointer_beyond, "node 1 lies outside" },
		{ pointer_twice, "key 2 is out of order" },
		{ key_too_long, "lies outside" },
		{ key_empty, "key of 0 bytes" },
		{ value_too_long, "node 2 lies outside" },
		{ keys_exchanged, "key 1 is out of order" },
		{ separator_raised, "chunks: page" },
		{ separator_lowered, "chunks: page" },
		{ child_twice, "chunks: page" },
		{ child_is_itself, "in use elsewhere" },
		{ child_beyond, "leads to page" },
		{ child_is_meta, "leads to page 1" },
		{ flags_of_row, "a row of unknown kind" },
		{ row_as_tree, "a row of unknown kind" },
		{ overflow_header, "not the overflow page" },
		{ overflow_shorter, "not the overflow page" },
		{ overflow_longer, "seen: page" },
		{ overflow_beyond, "leads to page 1048576" },
		{ overflow_byte, "seen: row" },
		{ value_of_row, "its check is wrong" },
		{ entries_of_tree, "not what its figures say" },
		{ pages_of_tree, "not what its figures say" },
		{ depth_of_tree, "not the page it should be" },
		{ depth_impossible, "tree chunks cannot be" },
		{ flags_of_tree, "tree chunks cannot be" },
		{ root_is_another, "cannot be" },
		{ name_of_tree, "not a table of an index" },
		{ free_list_has_a_used_page, "is free and in use" },
		{ free_list_unsorted, "cannot be free" },
		{ free_list_too_long, "a list of free pages that cannot be" },
		{ free_list_of_the_future, "a list of free pages that cannot be" },
		{ sums_of_tables, "the sums are damaged" },
		{ head_of_index, "the head is damaged" },
	};
	struct file file;

	make_file(state, &file);
	assert_file_sound(state);
	for (size_t i = 0; i < test_count(cases); i++) {
		struct larder_err err = { 0 };
		uint8_t *kept = malloc(file.len);

		assert_non_null(kept);
		memcpy(kept, file.bytes, file.len);
		cases[i].damage(&file);
		test_write(state, "index/data.mdb", file.bytes, file.len);
		if (check_file(state, &err) != LARDER_ERR_CORRUPT ||
		    strstr(err.message, cases[i].says) == NULL)
			fail_msg("case %d: \"%s\" should say \"%s\"", (int)i, err.message,
			    cases[i].says);
		free(file.bytes);
		file.bytes = kept;
	}
	test_write(state, "index/data.mdb", file.bytes, file.len);
	assert_file_sound(state);
	free(file.bytes);
}

static void
a_page_that_is_free_cannot_be_a_child(void **state)
{
	struct larder_err err = { 0 };
	struct file file;
	uint8_t *list;

	make_file(state, &file);
	list = node_at(page_at(&file, file.meta.free_pages.root), 0) + 8 + 8;
	assert_true(get64(list) >= 1);
	/* an old copy of a leaf, perhaps: right in itself, and no longer in use */
	set16(node_at(root_of(&file, "chunks"), 5), (unsigned)get64(list + 8));
	test_write(state, "index/data.mdb", file.bytes, file.len);
	assert_status(LARDER_ERR_CORRUPT, check_file(state, &err), &err);
	free(file.bytes);
}

/* ---- meta pages ---- */

static void
meta_pages_are_held_against_themselves_and_each_other(void **state)
{
	static const struct {
		size_t at; /* in meta page 0 or, beyond PAGE, 1 */
		uint8_t flip;
		const char *says;
	} cases[] = {
		{ 0, 1, "damaged" },     /* its number */
		{ 10, 1, "damaged" },    /* its kind */
		{ 16, 1, "not LMDB's" }, /* magic */
		{ 20, 1, "not LMDB's" }, /* version */
		{ 24, 1, "damaged" },    /* a fixed address */
		{ 40, 1, "pages of 4097 bytes" },
		{ 41, 0x30, "pages of 8192 bytes" }, /* and the other is not where it says */
		{ 41, 0x11, "pages of 256 bytes" },
		{ 44, 1, "impossible trees" },    /* flags of the tree of free pages */
		{ 46, 0xff, "impossible trees" }, /* its depth */
		{ 85, 0xff, "impossible trees" }, /* entries, root .. */
		{ 92, 4, "impossible trees" },    /* flags of the main tree */
		{ 94, 0xff, "impossible trees" },
		{ 135, 0xff, "impossible trees" }, /* root of the main tree */
		{ 139, 1, "last page" },
		{ 143, 1, "last page" },
		{ 144, 2, "contradict" }, /* transactions */
		{ 151, 1, "contradict" },
		{ PAGE + 0, 2, "meta page 1" },
		{ PAGE + 16, 1, "meta page 1" },
		{ PAGE + 144, 4, "contradict" },
	};
	struct larder_err err = { 0 };
	struct file file;

	make_file(state, &file);
	for (size_t i = 0; i < test_count(cases); i++) {
		file.bytes[cases[i].at] ^= cases[i].flip;
		test_write(state, "index/data.mdb", file.bytes, file.len);
		if (i == 6 || i == 10) {
			/* named differently, according to what lies where the other should be */
			assert_status(LARDER_ERR_CORRUPT, check_file(state, &err), &err);
		} else if (check_file(state, &err) != LARDER_ERR_CORRUPT ||
			   strstr(err.message, cases[i].says) == NULL) {
			fail_msg("case %d: \"%s\" should say \"%s\"", (int)i, err.message,
			    cases[i].says);
		}
		file.bytes[cases[i].at] ^= cases[i].flip;
	}
	for (size_t len = 0; len < 3 * PAGE; len += 100) {
		test_write(state, "index/data.mdb", file.bytes, len);
		assert_status(LARDER_ERR_CORRUPT, check_file(state, &err), &err);
	}
	free(file.bytes);
}

static void
a_meta_page_cut_short_is_refused(void **state)
{
	uint8_t page[PAGEWALK_HEADER_LEN + PAGEWALK_META_LEN] = { 0 };
	struct larder_err err = { 0 };
	struct pagewalk_meta meta;

	(void)state;
	for (size_t len = 0; len < sizeof page; len++) {
		assert_status(LARDER_ERR_CORRUPT,
		    pagewalk_meta_decode(&meta, page, len, 0, 8192, &err), &err);
		assert_message(&err, "cut short");
	}
}

/* ---- chaos ---- */

static void
random_damage_never_escapes_the_walk(void **state)
{
	enum { ROUNDS = 400 };
	struct file file;
	size_t found = 0;

	make_file(state, &file);
	for (uint64_t round = 0; round < ROUNDS; round++) {
		uint8_t *bytes = malloc(file.len);
		uint32_t draws[64];
		size_t count;

		assert_non_null(bytes);
		test_fill(draws, sizeof draws, round);
		memcpy(bytes, file.bytes, file.len);
		count = 1 + draws[0] % 20;
		for (size_t i = 0; i < count; i++) {
			/* mostly headers and pointers */
			size_t at = draws[1 + i] % file.len;

			if (draws[30 + i] % 4 != 0)
				at = at / PAGE * PAGE + at % 64;
			bytes[at] = (uint8_t)(draws[30 + i] >> 8);
		}
		test_write(state, "index/data.mdb", bytes, file.len);
		free(bytes);
		found += check_file(state, NULL) == LARDER_ERR_CORRUPT;
	}
	assert_true(found > ROUNDS / 2);
	free(file.bytes);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(a_new_index_is_sound),
		test_case(large_values_and_deep_trees_are_sound),
		test_case(what_was_taken_away_leaves_a_sound_file),
		test_case(values_that_change_their_length_leave_a_sound_file),
		test_case(the_rows_come_with_their_tables),
		test_case(every_kind_of_damage_is_found_and_named),
		test_case(a_page_that_is_free_cannot_be_a_child),
		test_case(meta_pages_are_held_against_themselves_and_each_other),
		test_case(a_meta_page_cut_short_is_refused),
		test_case(random_damage_never_escapes_the_walk),
	};

	return test_run(cases);
}
