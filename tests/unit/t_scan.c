/*
 * A pack without an index. The property this file stands for: whatever byte of
 * a pack is changed, wherever it is cut, whatever is put behind it or in its
 * place, reading all of it says CORRUPT, in one sentence that names the pack.
 */
#include "pack/pack.h"

#include "tests/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cas/base/bytes.h"
#include "cas/base/crc32c.h"
#include "cas/base/err.h"
#include "pack/format.h"
#include "tests/doubles/doubles.h"
#include "tests/doubles/pack_sample.h"

static struct pack_files *
open_files(int root)
{
	struct pack_files *files;
	struct larder_err err = { 0 };

	assert_ok(pack_files_open(&files, root, &err), &err);
	return files;
}

/* Writes the bytes under the pack's name. */
static void
replace(int root, const struct id16 *pack, const void *bytes, size_t len)
{
	char path[PACK_PATH_LEN];
	int fd;

	pack_path(path, pack);
	unlinkat(root, path, 0);
	fd = openat(root, path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), len);
	close(fd);
}

static uint8_t *
read_pack(void **state, const struct id16 *pack, size_t *len)
{
	char path[PACK_PATH_LEN];

	pack_path(path, pack);
	return (uint8_t *)test_read(state, path, len);
}

/* Reads all of the pack with a fresh descriptor: CORRUPT, and the sentence names it. */
static void
is_corrupt(int root, const struct id16 *pack, const char *says)
{
	struct pack_files *files = open_files(root);
	struct larder_err err = { 0 };
	char hex[ID16_HEX_LEN + 1];

	assert_status(LARDER_ERR_CORRUPT, pack_sample_check(files, pack, &err), &err);
	if (says != NULL) {
		id16_to_hex(hex, pack);
		assert_message(&err, hex);
		assert_message(&err, says);
	}
	pack_files_close(files);
}

/* ---- the property ---- */

static void
every_changed_byte_is_found(void **state)
{
	struct larder_err err = { 0 };
	struct pack_files *files;
	struct id16 pack;
	uint8_t *bytes;
	size_t len;

	pack_sample_store(test_dir(state));
	pack = pack_sample_write(test_dir(state), 1, 6);
	files = open_files(test_dir(state));
	assert_ok(pack_sample_check(files, &pack, &err), &err);
	pack_files_close(files);
	bytes = read_pack(state, &pack, &len);
	assert_in_range(len, 1500, 8000);
	for (size_t at = 0; at < len; at++) {
		static const uint8_t masks[] = { 1, 0x80, 0xff };

		for (size_t k = 0; k < test_count(masks); k++) {
			bytes[at] ^= masks[k];
			replace(test_dir(state), &pack, bytes, len);
			is_corrupt(test_dir(state), &pack, NULL);
			bytes[at] ^= masks[k];
		}
	}
	free(bytes);
}

static void
every_length_but_the_right_one_is_found(void **state)
{
	struct id16 pack;
	uint8_t *bytes;
	size_t len;

	pack_sample_store(test_dir(state));
	pack = pack_sample_write(test_dir(state), 1, 6);
	bytes = read_pack(state, &pack, &len);
	for (size_t shorter = 0; shorter < len; shorter++) {
		replace(test_dir(state), &pack, bytes, shorter);
		is_corrupt(test_dir(state), &pack, "cut short");
	}
	bytes = realloc(bytes, 3 * len);
	assert_non_null(bytes);
	memset(bytes + len, 0, 2 * len);
	for (size_t more = 1; more < 200; more++) {
		replace(test_dir(state), &pack, bytes, len + more);
		is_corrupt(test_dir(state), &pack, "does not end like a pack");
	}
	/* something before it, a part of it twice, all of it twice */
	memmove(bytes + 1, bytes, len);
	replace(test_dir(state), &pack, bytes, len + 1);
	is_corrupt(test_dir(state), &pack, NULL);
	memmove(bytes, bytes + 1, len);
	memcpy(bytes + len, bytes, len);
	replace(test_dir(state), &pack, bytes, 2 * len);
	is_corrupt(test_dir(state), &pack, "footer is of a file of");
	memmove(bytes + len, bytes + len - PACK_FOOTER_LEN, PACK_FOOTER_LEN);
	replace(test_dir(state), &pack, bytes, len + PACK_FOOTER_LEN);
	is_corrupt(test_dir(state), &pack, "footer is of a file of");
	free(bytes);
}

static void
packs_and_parts_in_each_other_s_place_are_found(void **state)
{
	struct pack_directory d = { 0 };
	struct pack_files *files;
	struct id16 a, b;
	uint8_t *bytes_a, *bytes_b, *mixed;
	size_t len_a, len_b;

	pack_sample_store(test_dir(state));
	a = pack_sample_write(test_dir(state), 1, 8);
	b = pack_sample_write(test_dir(state), 1, 8);
	files = open_files(test_dir(state));
	assert_ok(pack_directory_read(&d, files, &a, NULL), NULL);
	pack_files_close(files);
	bytes_a = read_pack(state, &a, &len_a);
	bytes_b = read_pack(state, &b, &len_b);
	assert_int_equal(len_a, len_b); /* the same content under two ids */

	replace(test_dir(state), &a, bytes_b, len_b);
	is_corrupt(test_dir(state), &a, "header is of another pack");

	mixed = malloc(len_a);
	assert_non_null(mixed);
	memcpy(mixed, bytes_b, len_a); /* b with the header of a, then with its footer */
	memcpy(mixed, bytes_a, PACK_HEADER_LEN);
	replace(test_dir(state), &a, mixed, len_a);
	is_corrupt(test_dir(state), &a, "footer is of another pack");
	memcpy(mixed, bytes_b, len_a);
	memcpy(mixed + len_a - PACK_FOOTER_LEN, bytes_a + len_a - PACK_FOOTER_LEN, PACK_FOOTER_LEN);
	replace(test_dir(state), &b, mixed, len_a);
	is_corrupt(test_dir(state), &b, "footer is of another pack");

	/* two sound segments of one length and kind: only the hashes of their chunks tell */
	assert_int_equal(d.segments[3].len, d.segments[7].len);
	memcpy(mixed, bytes_a, len_a);
	memcpy(mixed + d.segments[3].at, bytes_a + d.segments[7].at, d.segments[3].len);
	mixed[d.segments[3].at + 10] = bytes_a[d.segments[3].at + 10]; /* type */
	put_le32(mixed + d.segments[3].at + 12,
	    pack_segment_crc(
		mixed + d.segments[3].at, mixed + d.segments[3].at + 16, d.segments[3].len - 16));
	replace(test_dir(state), &a, mixed, len_a);
	files = open_files(test_dir(state));
	{
		struct larder_err err = { 0 };

		assert_status(LARDER_ERR_CORRUPT, pack_sample_check(files, &a, &err), &err);
		assert_message(&err, "another hash");
	}
	pack_files_close(files);
	pack_directory_release(&d);
	free(bytes_a);
	free(bytes_b);
	free(mixed);
}

static void
a_pack_of_a_newer_larder_is_version_and_named(void **state)
{
	/* in the header, in the footer */
	static const struct {
		bool footer;
		size_t at;
		uint8_t to;
		const char *says;
	} rows[] = {
		{ false, 4, 2, "format version 2" },
		{ false, 8, 1, "requires features 0x1" },
		{ true, 60, 2, "format version 2" },
		{ true, 56, 1, "requires features 0x1" },
	};
	char hex[ID16_HEX_LEN + 1];
	struct id16 pack;
	uint8_t *bytes;
	size_t len;

	pack_sample_store(test_dir(state));
	pack = pack_sample_write(test_dir(state), 1, 2);
	bytes = read_pack(state, &pack, &len);
	id16_to_hex(hex, &pack);
	for (size_t i = 0; i < test_count(rows); i++) {
		uint8_t *part = rows[i].footer ? bytes + len - PACK_FOOTER_LEN : bytes;
		const size_t crc_at = rows[i].footer ? 64 : 28;
		struct pack_files *files;
		struct pack_directory d = { 0 };
		struct larder_err err = { 0 };
		const uint8_t before = part[rows[i].at];

		part[rows[i].at] = rows[i].to;
		put_le32(part + crc_at, crc32c(0, part, crc_at));
		replace(test_dir(state), &pack, bytes, len);
		files = open_files(test_dir(state));
		assert_status(
		    LARDER_ERR_VERSION, pack_directory_read(&d, files, &pack, &err), &err);
		assert_message(&err, hex);
		assert_message(&err, rows[i].says);
		pack_files_close(files);
		part[rows[i].at] = before;
		put_le32(part + crc_at, crc32c(0, part, crc_at));
	}
	free(bytes);
}

static void
a_pack_that_is_not_there_is_not_found(void **state)
{
	const struct id16 nobody = { { 0xab, 0xcd } };
	struct pack_files *files;
	struct pack_directory d = { 0 };
	struct larder_err err = { 0 };

	pack_sample_store(test_dir(state));
	files = open_files(test_dir(state));
	assert_status(LARDER_ERR_NOT_FOUND, pack_directory_read(&d, files, &nobody, &err), &err);
	assert_message(&err, "pack abcd0000000000000000000000000000 is not there");
	pack_files_close(files);
}

/* A tail longer than what is read at the end at once. */
static void
a_long_directory_is_read_in_two_pieces(void **state)
{
	struct larder_err err = { 0 };
	struct pack_files *files;
	struct pack_directory d = { 0 };
	struct id16 pack;
	uint8_t *bytes;
	size_t len;

	pack_sample_store(test_dir(state));
	pack = pack_sample_write(test_dir(state), 1, 3000);
	files = open_files(test_dir(state));
	assert_ok(pack_directory_read(&d, files, &pack, &err), &err);
	assert_int_equal(d.segment_count, 3000);
	assert_int_equal(d.chunk_count, 4500);
	pack_directory_release(&d);
	assert_ok(pack_sample_check(files, &pack, &err), &err);
	pack_files_close(files);

	bytes = read_pack(state, &pack, &len);
	bytes[len - 100000] ^= 1; /* in its first piece */
	replace(test_dir(state), &pack, bytes, len);
	is_corrupt(test_dir(state), &pack, "directory does not match its digest");
	free(bytes);
}

static void
calls_that_fail_are_errors_and_leave_nothing(void **state)
{
	struct id16 pack;
	bool failed = true;

	pack_sample_store(test_dir(state));
	pack = pack_sample_write(test_dir(state), 1, 3000);
	for (long nth = 1; failed; nth++) {
		struct pack_files *files = open_files(test_dir(state));
		struct pack_directory d = { 0 }, zero = { 0 };
		struct larder_err err = { 0 };
		int rc;

		file_faulty_set(&(struct file_faulty_plan){
		    .ops = FILE_FAULTY_OPEN | FILE_FAULTY_READ, .nth = nth });
		rc = pack_directory_read(&d, files, &pack, &err);
		failed = file_faulty_failed();
		assert_status(failed ? LARDER_ERR_IO : LARDER_OK, rc, &err);
		if (failed)
			assert_memory_equal(&d, &zero, sizeof d);
		else
			assert_in_range(nth, 5, 5); /* open, header, tail, the rest of it */
		pack_directory_release(&d);
		pack_files_close(files);
		assert_int_equal(file_faulty_open(), 0);
	}
	failed = true;
	for (long nth = 1; failed; nth++) {
		struct pack_files *files = NULL;
		struct pack_directory d = { 0 };
		struct larder_err err = { 0 };
		int rc;

		mem_faulty_set(nth, false);
		rc = pack_files_open(&files, test_dir(state), &err);
		if (rc == 0)
			rc = pack_directory_read(&d, files, &pack, &err);
		failed = mem_faulty_failed();
		assert_status(failed ? LARDER_ERR_NOMEM : LARDER_OK, rc, &err);
		pack_directory_release(&d);
		pack_files_close(files);
		assert_int_equal(mem_faulty_live(), 0);
	}
}

/* Written by the first version, with zstd 1.5.4: all codecs and types. Never written again. */
static void
a_pack_that_was_written_long_ago_is_read(void **state)
{
	static uint8_t bytes[8192];
	struct larder_err err = { 0 };
	struct pack_files *files;
	struct id16 pack;
	FILE *f = fopen("tests/data/pack_v1", "rb");
	size_t len;

	if (f == NULL)
		test_skip("tests/data is seen from the top folder only");
	len = fread(bytes, 1, sizeof bytes, f);
	fclose(f);
	assert_int_equal(len, 4565);
	pack_sample_store(test_dir(state));
	memcpy(&pack, bytes + 12, sizeof pack);
	replace(test_dir(state), &pack, bytes, len);
	files = open_files(test_dir(state));
	assert_ok(pack_sample_check(files, &pack, &err), &err);
	pack_files_close(files);
}

/* ---- places ---- */

static void
places_are_the_same_whatever_the_hint(void **state)
{
	struct pack_directory d = { 0 };
	struct pack_files *files;
	uint32_t rising = 0, segment = 0, chunk = 0;
	struct id16 pack;

	pack_sample_store(test_dir(state));
	pack = pack_sample_write(test_dir(state), 1, 41);
	files = open_files(test_dir(state));
	assert_ok(pack_directory_read(&d, files, &pack, NULL), NULL);
	for (segment = 0; segment < d.segment_count; segment++) {
		const struct pack_directory_segment *s = &d.segments[segment];

		for (uint32_t k = 0, at = 0; k < s->chunk_count; k++, chunk++) {
			struct pack_place place, other;

			pack_directory_place(&place, &d, chunk, &rising);
			assert_int_equal(rising, segment);
			assert_int_equal(place.segment_at, s->at);
			assert_int_equal(place.chunk_at, at);
			assert_int_equal(place.chunk_len, d.lengths[chunk]);
			assert_int_equal(place.depth, s->depth);
			assert_int_equal(place.type, s->type);
			at += d.lengths[chunk];
			for (uint32_t i = 0; i < d.segment_count + 2; i++) {
				uint32_t hint =
				    i < d.segment_count ? i : UINT32_MAX - (i - d.segment_count);

				pack_directory_place(&other, &d, chunk, &hint);
				assert_int_equal(hint, segment);
				assert_int_equal(other.segment_at, place.segment_at);
				assert_int_equal(other.chunk_at, place.chunk_at);
			}
		}
	}
	assert_int_equal(chunk, d.chunk_count);
	pack_directory_release(&d);
	pack_files_close(files);
}

/* ---- which packs there are ---- */

struct seen {
	struct id16 ids[64];
	size_t count;
	char odd[512];
	int answer_at; /* the call that answers 5; 0 = none */
};

static int
see(void *context, const struct id16 *pack, struct larder_err *err)
{
	struct seen *seen = context;

	(void)err;
	assert_true(seen->count < test_count(seen->ids));
	seen->ids[seen->count++] = *pack;
	return (int)seen->count == seen->answer_at ? 5 : 0;
}

static void
see_odd(void *context, const char *path)
{
	struct seen *seen = context;
	const size_t len = strlen(seen->odd);

	snprintf(seen->odd + len, sizeof seen->odd - len, "%s\n", path);
}

static void
packs_are_visited_in_order_and_odd_names_reported(void **state)
{
	static const char *const names[] = {
		"packs/00/00000000000000000000000000000001",
		"packs/00/00ffffffffffffffffffffffffffffff",
		"packs/7f/7f000000000000000000000000000000",
		"packs/ff/ff000000000000000000000000000000",
		/* reserved beside a pack */
		"packs/7f/7f000000000000000000000000000000.par",
		"packs/7f/7f000000000000000000000000000000.sig",
		/* odd */
		"packs/00/000000000000000000000000000000AB",
		"packs/00/0000000000000000000000000000001",
		"packs/00/000000000000000000000000000000011",
		"packs/00/7f000000000000000000000000000000",
		"packs/7f/7f000000000000000000000000000000.tmp",
		"packs/7f/7g000000000000000000000000000000.par",
		"packs/7f/README",
		"packs/FF",
		"packs/a",
		"packs/zz",
	};
	static const char odd[] = "packs/00/000000000000000000000000000000011\n"
				  "packs/00/0000000000000000000000000000001\n"
				  "packs/00/000000000000000000000000000000AB\n"
				  "packs/00/7f000000000000000000000000000000\n"
				  "packs/7f/7f000000000000000000000000000000.tmp\n"
				  "packs/7f/7g000000000000000000000000000000.par\n"
				  "packs/7f/README\n"
				  "packs/FF\n"
				  "packs/a\n"
				  "packs/bb\n"
				  "packs/zz\n";
	struct seen seen = { 0 };
	struct larder_err err = { 0 };
	char path[PACK_PATH_LEN];

	pack_sample_store(test_dir(state));
	for (size_t i = 0; i < test_count(names); i++)
		test_write(state, names[i], "", 0);
	assert_int_equal(unlinkat(test_dir(state), "packs/bb", AT_REMOVEDIR), 0);
	test_write(state, "packs/bb", "", 0); /* a file in a folder's place */

	assert_ok(pack_each(test_dir(state), see, see_odd, &seen, &err), &err);
	assert_int_equal(seen.count, 4);
	for (size_t i = 0; i < 4; i++) {
		pack_path(path, &seen.ids[i]);
		assert_string_equal(path, names[i]);
	}
	assert_string_equal(seen.odd, odd);
	seen.count = 0;
	assert_ok(pack_each(test_dir(state), see, NULL, &seen, &err), &err);
	assert_int_equal(seen.count, 4);

	seen = (struct seen){ .answer_at = 2 };
	assert_int_equal(pack_each(test_dir(state), see, NULL, &seen, &err), 5);
	assert_int_equal(seen.count, 2);
}

static void
without_packs_or_memory_listing_is_an_error(void **state)
{
	struct seen seen = { 0 };
	struct larder_err err = { 0 };
	int rc = LARDER_ERR_NOMEM;

	assert_status(
	    LARDER_ERR_NOT_FOUND, pack_each(test_dir(state), see, NULL, &seen, &err), &err);
	pack_sample_store(test_dir(state));
	assert_ok(pack_each(test_dir(state), see, NULL, &seen, &err), &err);
	assert_int_equal(seen.count, 0);
	for (long nth = 1; rc == LARDER_ERR_NOMEM; nth += 50) {
		mem_faulty_set(nth, false);
		rc = pack_each(test_dir(state), see, NULL, &seen, &err);
		assert_true(rc == (mem_faulty_failed() ? LARDER_ERR_NOMEM : LARDER_OK));
		assert_int_equal(mem_faulty_live(), 0);
	}
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(every_changed_byte_is_found),
		test_case(every_length_but_the_right_one_is_found),
		test_case(packs_and_parts_in_each_other_s_place_are_found),
		test_case(a_pack_of_a_newer_larder_is_version_and_named),
		test_case(a_pack_that_is_not_there_is_not_found),
		test_case(a_long_directory_is_read_in_two_pieces),
		test_case(calls_that_fail_are_errors_and_leave_nothing),
		test_case(a_pack_that_was_written_long_ago_is_read),
		test_case(places_are_the_same_whatever_the_hint),
		test_case(packs_are_visited_in_order_and_odd_names_reported),
		test_case(without_packs_or_memory_listing_is_an_error),
	};

	return test_run(cases);
}
