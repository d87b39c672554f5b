/*
 * FLAVOURS: release asan tsan
 *
 * Segments by their place: hints, damage, descriptors that stay bounded, and
 * threads that share them.
 */
#include "pack/reader.h"

#include "tests/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

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

static int
open_for_damage(int root, const struct id16 *pack)
{
	char path[PACK_PATH_LEN];
	int fd;

	pack_path(path, pack);
	assert_int_equal(fchmodat(root, path, 0600, 0), 0);
	fd = openat(root, path, O_RDWR);
	assert_true(fd >= 0);
	return fd;
}

static void
flip(int fd, off_t at)
{
	uint8_t byte;

	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 4;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
}

/* ---- reading ---- */

static void
any_hint_gives_the_same_segment(void **state)
{
	struct pack_directory d = { 0 };
	struct larder_err err = { 0 };
	struct pack_files *files;
	struct buf first = { 0 }, stored = { 0 };
	struct id16 pack;

	pack_sample_store(test_dir(state));
	pack = pack_sample_write(test_dir(state), 1, 9);
	files = open_files(test_dir(state));
	assert_ok(pack_directory_read(&d, files, &pack, &err), &err);
	for (uint32_t i = 0; i < d.segment_count; i++) {
		const uint32_t hints[] = { 0, 1, 15, 16, 17, 48, d.segments[i].len - 1,
			d.segments[i].len, d.segments[i].len + 1, 100000, UINT32_MAX };
		struct pack_segment a, b;

		assert_ok(pack_segment_read(
			      &a, &first, files, &pack, d.segments[i].at, d.segments[i].len, &err),
		    &err);
		assert_int_equal(first.len, a.store_len);
		assert_int_equal(PACK_SEGMENT_HEADER_LEN + a.store_len, d.segments[i].len);
		assert_int_equal(a.depth, d.segments[i].depth);
		assert_int_equal(a.type, d.segments[i].type);
		if (a.codec == PACK_CODEC_ZSTD_BASE)
			assert_memory_equal(&a.base,
			    &d.ids[d.segments[i].chunk_first - (i % 4 == 1 ? 3 : 1)],
			    sizeof a.base);
		for (size_t k = 0; k < test_count(hints); k++) {
			assert_ok(pack_segment_read(
				      &b, &stored, files, &pack, d.segments[i].at, hints[k], &err),
			    &err);
			assert_memory_equal(&a, &b, sizeof a);
			assert_int_equal(stored.len, first.len);
			assert_memory_equal(stored.data, first.data, first.len);
		}
	}
	buf_release(&first);
	buf_release(&stored);
	pack_directory_release(&d);
	pack_files_close(files);
	pack_files_close(NULL);
}

static void
a_good_hint_is_one_read_and_a_bad_one_two(void **state)
{
	const struct file_faulty_plan reads = { .ops = FILE_FAULTY_READ };
	struct larder_err err = { 0 };
	struct pack_files *files;
	struct pack_segment s;
	struct buf stored = { 0 };
	struct id16 pack;

	pack_sample_store(test_dir(state));
	pack = pack_sample_write(test_dir(state), 1, 50);
	files = open_files(test_dir(state));
	assert_ok(pack_segment_read(&s, &stored, files, &pack, 32, 0, &err), &err);
	file_faulty_set(&reads);
	assert_ok(pack_segment_read(&s, &stored, files, &pack, 32, 16 + s.store_len, &err), &err);
	assert_int_equal(file_faulty_calls(), 1);
	assert_ok(pack_segment_read(&s, &stored, files, &pack, 32, 0, &err), &err);
	assert_int_equal(file_faulty_calls(), 2);
	assert_ok(pack_segment_read(&s, &stored, files, &pack, 32, 20, &err), &err);
	assert_int_equal(file_faulty_calls(), 4);
	buf_release(&stored);
	pack_files_close(files);
}

static void
a_pack_that_is_not_there_is_not_found_and_named(void **state)
{
	const struct id16 nobody = { { 0xab, 0xcd } };
	struct larder_err err = { 0 };
	struct pack_files *files;
	struct pack_segment s;
	struct buf stored = { 0 };

	pack_sample_store(test_dir(state));
	files = open_files(test_dir(state));
	assert_status(LARDER_ERR_NOT_FOUND,
	    pack_segment_read(&s, &stored, files, &nobody, 32, 0, &err), &err);
	assert_message(&err, "pack abcd0000000000000000000000000000 is not there");
	buf_release(&stored);
	pack_files_close(files);
}

/* ---- damage ---- */

static void
every_changed_byte_of_a_segment_is_found_and_its_place_named(void **state)
{
	struct pack_directory d = { 0 };
	struct pack_files *files;
	struct buf stored = { 0 };
	struct id16 pack;
	char hex[ID16_HEX_LEN + 1], says[100];
	int fd;

	pack_sample_store(test_dir(state));
	pack = pack_sample_write(test_dir(state), 1, 4);
	files = open_files(test_dir(state));
	assert_ok(pack_directory_read(&d, files, &pack, NULL), NULL);
	id16_to_hex(hex, &pack);
	fd = open_for_damage(test_dir(state), &pack);
	for (uint32_t i = 0; i < d.segment_count; i++) {
		snprintf(says, sizeof says, "pack %s: segment at %u: ", hex, d.segments[i].at);
		for (uint32_t k = 0; k < d.segments[i].len; k++) {
			const struct pack_segment before = { .depth = 77 };
			struct pack_segment s = before;
			struct larder_err err = { 0 };

			flip(fd, (off_t)d.segments[i].at + k);
			assert_status(LARDER_ERR_CORRUPT,
			    pack_segment_read(&s, &stored, files, &pack, d.segments[i].at,
				d.segments[i].len, &err),
			    &err);
			assert_message(&err, says);
			assert_memory_equal(&s, &before, sizeof s);
			flip(fd, (off_t)d.segments[i].at + k);
		}
	}
	close(fd);
	buf_release(&stored);
	pack_directory_release(&d);
	pack_files_close(files);
}

static void
places_where_no_segment_is_are_refused(void **state)
{
	struct pack_directory d = { 0 };
	struct pack_files *files;
	struct buf stored = { 0 };
	struct id16 pack;

	pack_sample_store(test_dir(state));
	pack = pack_sample_write(test_dir(state), 1, 6);
	files = open_files(test_dir(state));
	assert_ok(pack_directory_read(&d, files, &pack, NULL), NULL);
	for (uint32_t at = 0, i = 0; at < d.file_len + 100; at++) {
		struct larder_err err = { 0 };
		struct pack_segment s;
		const bool right = i < d.segment_count && at == d.segments[i].at;

		if (right)
			i++;
		assert_status(right ? LARDER_OK : LARDER_ERR_CORRUPT,
		    pack_segment_read(&s, &stored, files, &pack, at, 0, &err), &err);
	}
	{
		struct larder_err err = { 0 };
		struct pack_segment s;

		assert_status(LARDER_ERR_CORRUPT,
		    pack_segment_read(&s, &stored, files, &pack, UINT32_MAX, 0, &err), &err);
		assert_message(&err, "segment at 4294967295: segment header cut short: 0 of 16");
	}
	buf_release(&stored);
	pack_directory_release(&d);
	pack_files_close(files);
}

static void
a_segment_cut_short_at_any_length_is_refused(void **state)
{
	struct pack_directory d = { 0 };
	struct pack_files *files;
	struct buf stored = { 0 };
	struct id16 pack;
	int fd;

	pack_sample_store(test_dir(state));
	pack = pack_sample_write(test_dir(state), 1, 2);
	files = open_files(test_dir(state));
	assert_ok(pack_directory_read(&d, files, &pack, NULL), NULL);
	fd = open_for_damage(test_dir(state), &pack);
	for (uint32_t len = d.segments[0].len; len-- > 0;) {
		static const uint32_t hints[] = { 0, 16, 40, 5000 };

		assert_int_equal(ftruncate(fd, 32 + (off_t)len), 0);
		for (size_t k = 0; k < test_count(hints); k++) {
			struct larder_err err = { 0 };
			struct pack_segment s;

			assert_status(LARDER_ERR_CORRUPT,
			    pack_segment_read(&s, &stored, files, &pack, 32, hints[k], &err), &err);
			assert_message(&err, "cut short");
		}
	}
	close(fd);
	buf_release(&stored);
	pack_directory_release(&d);
	pack_files_close(files);
}

static void
calls_that_fail_are_errors_and_leave_nothing(void **state)
{
	struct id16 pack;
	bool failed = true;

	pack_sample_store(test_dir(state));
	pack = pack_sample_write(test_dir(state), 1, 6);
	for (long nth = 1; failed; nth++) {
		const struct file_faulty_plan plan = { .ops = FILE_FAULTY_OPEN | FILE_FAULTY_READ,
			.nth = nth };
		struct larder_err err = { 0 };
		struct pack_files *files = open_files(test_dir(state));
		struct pack_segment s;
		struct buf stored = { 0 };
		int rc;

		file_faulty_set(&plan);
		rc = pack_segment_read(&s, &stored, files, &pack, 32, 20, &err);
		failed = file_faulty_failed();
		assert_status(failed ? LARDER_ERR_IO : LARDER_OK, rc, &err);
		if (failed) /* the next try works */
			assert_ok(pack_segment_read(&s, &stored, files, &pack, 32, 20, &err), &err);
		buf_release(&stored);
		pack_files_close(files);
		assert_int_equal(file_faulty_open(), 0);
	}
	for (long nth = 1; nth <= 4; nth++) {
		struct pack_files *files = NULL;
		struct larder_err err = { 0 };
		struct pack_segment s;
		struct buf stored = { 0 };
		int rc;

		mem_faulty_set(nth, false);
		rc = pack_files_open(&files, test_dir(state), &err);
		if (rc == 0)
			rc = pack_segment_read(&s, &stored, files, &pack, 32, 20, &err);
		assert_status(mem_faulty_failed() ? LARDER_ERR_NOMEM : LARDER_OK, rc, &err);
		buf_release(&stored);
		pack_files_close(files);
		assert_int_equal(mem_faulty_live(), 0);
	}
}

static void
short_reads_and_interruptions_are_completed(void **state)
{
	struct larder_err err = { 0 };
	struct id16 pack;

	pack_sample_store(test_dir(state));
	pack = pack_sample_write(test_dir(state), 1, 40);
	for (int i = 0; i < 2; i++) {
		const struct file_faulty_plan plan = {
			.ops = FILE_FAULTY_READ,
			.nth = 1,
			.for_ever = true,
			.shorten = i == 0,
			.interrupt = i == 1,
		};
		struct pack_files *files = open_files(test_dir(state));

		file_faulty_set(&plan);
		assert_ok(pack_sample_check(files, &pack, &err), &err);
		pack_files_close(files);
	}
}

/* ---- descriptors ---- */

enum { MANY = PACK_FILES_OPEN_MAX + 60 };

static struct id16 *
write_many(int root)
{
	struct id16 *packs = calloc(MANY, sizeof *packs);

	assert_non_null(packs);
	pack_sample_store(root);
	for (int i = 0; i < MANY; i++)
		packs[i] = pack_sample_write(root, (uint64_t)i, 3);
	return packs;
}

static void
read_first(struct pack_files *files, const struct id16 *pack)
{
	struct larder_err err = { 0 };
	struct pack_segment s;
	struct buf stored = { 0 };

	assert_ok(pack_segment_read(&s, &stored, files, pack, 32, 0, &err), &err);
	buf_release(&stored);
}

static void
no_more_than_the_limit_stay_open_and_the_least_recently_used_goes_first(void **state)
{
	const struct file_faulty_plan opens = { .ops = FILE_FAULTY_OPEN };
	struct id16 *packs = write_many(test_dir(state));
	struct pack_files *files;

	file_faulty_set(&opens);
	files = open_files(test_dir(state));
	for (int i = 0; i < MANY; i++) {
		read_first(files, &packs[i]);
		read_first(files, &packs[0]); /* used all the time: stays */
		assert_true(file_faulty_open() <= PACK_FILES_OPEN_MAX);
	}
	assert_int_equal(file_faulty_open(), PACK_FILES_OPEN_MAX);
	assert_int_equal(file_faulty_calls(), MANY);
	read_first(files, &packs[MANY - 1]);
	read_first(files, &packs[MANY - PACK_FILES_OPEN_MAX + 1]);
	assert_int_equal(file_faulty_calls(), MANY); /* still open */
	read_first(files, &packs[MANY - PACK_FILES_OPEN_MAX]);
	assert_int_equal(file_faulty_calls(), MANY + 1); /* was not */
	pack_files_close(files);
	assert_int_equal(file_faulty_open(), 0);
	free(packs);
}

static void
packs_that_are_being_read_stay_open_whatever_else_is_read(void **state)
{
	const struct file_faulty_plan none = { 0 };
	struct id16 *packs = write_many(test_dir(state));
	struct pack_slot *slots[MANY];
	struct larder_err err = { 0 };
	struct pack_files *files;
	int fds[MANY];

	file_faulty_set(&none);
	files = open_files(test_dir(state));
	for (int i = 0; i < MANY; i++) /* more than there are slots for, all at once */
		assert_ok(pack_files_take(&slots[i], &fds[i], files, &packs[i], &err), &err);
	assert_int_equal(file_faulty_open(), MANY);
	for (int i = 0; i < MANY; i++) {
		uint8_t header[PACK_HEADER_LEN];

		assert_int_equal(pread(fds[i], header, sizeof header, 0), sizeof header);
		assert_memory_equal(header + 12, &packs[i], sizeof packs[i]);
	}
	for (int i = 0; i < MANY; i++)
		pack_files_give_back(files, slots[i]);
	assert_int_equal(file_faulty_open(), PACK_FILES_OPEN_MAX);
	pack_files_close(files);
	assert_int_equal(file_faulty_open(), 0);
	free(packs);
}

static void
a_removed_pack_is_read_until_it_is_forgotten(void **state)
{
	struct larder_err err = { 0 };
	struct pack_files *files;
	struct pack_slot *slot;
	struct pack_segment s;
	struct buf stored = { 0 };
	struct id16 pack;
	char path[PACK_PATH_LEN];
	int fd;

	pack_sample_store(test_dir(state));
	pack = pack_sample_write(test_dir(state), 1, 6);
	file_faulty_set(&(struct file_faulty_plan){ 0 });
	files = open_files(test_dir(state));
	pack_files_forget(files, &pack); /* was never open: fine */
	read_first(files, &pack);
	pack_path(path, &pack);
	assert_int_equal(unlinkat(test_dir(state), path, 0), 0);
	read_first(files, &pack);

	/* forgotten while somebody reads: closed by him, and not found by others */
	assert_ok(pack_files_take(&slot, &fd, files, &pack, &err), &err);
	pack_files_forget(files, &pack);
	assert_int_equal(file_faulty_open(), 1);
	assert_status(
	    LARDER_ERR_NOT_FOUND, pack_segment_read(&s, &stored, files, &pack, 32, 0, &err), &err);
	pack_files_forget(files, &pack);
	pack_files_give_back(files, slot);
	assert_int_equal(file_faulty_open(), 0);

	pack = pack_sample_write(test_dir(state), 1, 6);
	read_first(files, &pack);
	pack_files_forget(files, &pack); /* while nobody reads: closed at once */
	assert_int_equal(file_faulty_open(), 0);
	read_first(files, &pack);
	pack_files_close(files);
	assert_int_equal(file_faulty_open(), 0);
}

/* ---- threads ---- */

struct crowd {
	struct pack_files *files;
	const struct id16 *packs;
	uint64_t seed;
	int rc;
	struct larder_err err;
};

static void *
read_in_a_crowd(void *argument)
{
	struct crowd *c = argument;
	struct pack_segment s;
	struct buf stored = { 0 };

	for (int i = 0; i < 2000 && c->rc == 0; i++) {
		c->seed = c->seed * 6364136223846793005u + 1442695040888963407u;
		c->rc = pack_segment_read(
		    &s, &stored, c->files, &c->packs[(c->seed >> 33) % MANY], 32, 0, &c->err);
		if (i % 50 == 0)
			pack_files_forget(c->files, &c->packs[(c->seed >> 40) % MANY]);
	}
	buf_release(&stored);
	return NULL;
}

static void
threads_share_the_descriptors(void **state)
{
	struct id16 *packs = write_many(test_dir(state));
	struct crowd crowd[6] = { 0 };
	pthread_t threads[6];
	struct pack_files *files;

	file_faulty_set(&(struct file_faulty_plan){ 0 });
	files = open_files(test_dir(state));
	for (int i = 0; i < 6; i++) {
		crowd[i] = (struct crowd){ .files = files, .packs = packs, .seed = (uint64_t)i };
		assert_int_equal(pthread_create(&threads[i], NULL, read_in_a_crowd, &crowd[i]), 0);
	}
	for (int i = 0; i < 6; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < 6; i++)
		assert_ok(crowd[i].rc, &crowd[i].err);
	assert_true(file_faulty_open() <= PACK_FILES_OPEN_MAX);
	pack_files_close(files);
	assert_int_equal(file_faulty_open(), 0);
	free(packs);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(any_hint_gives_the_same_segment),
		test_case(a_good_hint_is_one_read_and_a_bad_one_two),
		test_case(a_pack_that_is_not_there_is_not_found_and_named),
		test_case(every_changed_byte_of_a_segment_is_found_and_its_place_named),
		test_case(places_where_no_segment_is_are_refused),
		test_case(a_segment_cut_short_at_any_length_is_refused),
		test_case(calls_that_fail_are_errors_and_leave_nothing),
		test_case(short_reads_and_interruptions_are_completed),
		test_case(no_more_than_the_limit_stay_open_and_the_least_recently_used_goes_first),
		test_case(packs_that_are_being_read_stay_open_whatever_else_is_read),
		test_case(a_removed_pack_is_read_until_it_is_forgotten),
		test_case(threads_share_the_descriptors),
	};

	return test_run(cases);
}
