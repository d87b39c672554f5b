/*
 * A pack from its first byte to its name: the bytes of FORMAT.md's example, the
 * order of the durable steps, and every one of them failing.
 */
#include "pack/pack.h"

#include "tests/harness.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cas/base/sha256.h"
#include "pack/format.h"
#include "tests/doubles/doubles.h"
#include "tests/doubles/pack_sample.h"

static struct pack_writer *
open_writer(int root)
{
	struct pack_writer *writer;
	struct larder_err err = { 0 };

	assert_ok(pack_writer_open(&writer, root, &err), &err);
	return writer;
}

/* A stored segment of one chunk. */
static int
append(struct pack_writer *writer, const char *plain, uint32_t *at, struct larder_err *err)
{
	const uint32_t len = (uint32_t)strlen(plain);
	struct pack_segment header = { .plain_len = len, .store_len = len };
	uint8_t segment[PACK_SEGMENT_HEADER_LEN + 100];
	struct larder_id id;

	memcpy(segment + PACK_SEGMENT_HEADER_LEN, plain, len);
	pack_segment_encode(segment, &header);
	sha256(&id, plain, len);
	return pack_writer_append(
	    writer, segment, PACK_SEGMENT_HEADER_LEN + len, &id, &len, 1, at, err);
}

static const char *
path_of(const struct pack_writer *writer)
{
	static char path[PACK_PATH_LEN];

	pack_path(path, pack_writer_id(writer));
	return path;
}

static int
counting_bytes(void *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)buf)[i] = (uint8_t)i;
	return 0;
}

/* ---- what is written ---- */

static void
the_bytes_are_the_example_of_the_format_document(void **state)
{
	/* FORMAT.md 14, from the segment's checksum on; t_format.c pins the parts */
	static const uint8_t middle[] = { 0xb3, 0x6c, 0xef, 0xd3, 'h', 'e', 'l', 'l', 'o', 1, 0, 0,
		0, 1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0x2c, 0xf2, 0x4d };
	static const uint8_t end[] = { 0x35, 0, 0, 0, 0x35, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0xde,
		0x23, 0x80, 0xfa, 'K', 'A', 'P', 'L' };
	const struct larder_sys sys = { .size = sizeof sys, .random_bytes = counting_bytes };
	struct larder_err err = { 0 };
	struct pack_writer *writer;
	const uint8_t *tail;
	uint32_t at;
	size_t len, tail_len;
	char *bytes;

	pack_sample_store(test_dir(state));
	larder_sys_set(&sys);
	writer = open_writer(test_dir(state));
	assert_ok(append(writer, "hello", &at, &err), &err);
	assert_int_equal(at, 32);
	assert_int_equal(pack_writer_size(writer), 53);
	assert_int_equal(pack_writer_chunks(writer), 1);
	assert_ok(pack_writer_finish(writer, &err), &err);
	assert_ok(pack_writer_sync(writer, &err), &err);
	tail = pack_writer_tail(writer, &tail_len);

	bytes = test_read(state, "packs/00/000102030405060708090a0b0c0d0e0f", &len);
	assert_int_equal(len, 178);
	assert_memory_equal(bytes, "LPAK\1\0\0\0\0\0\0\0\0\1\2\3", 16);
	assert_memory_equal(bytes + 44, middle, sizeof middle);
	assert_memory_equal(bytes + 178 - sizeof end, end, sizeof end);
	assert_int_equal(tail_len, 178 - 53);
	assert_memory_equal(tail, bytes + 53, tail_len);
	free(bytes);
	pack_writer_close(writer);
	assert_true(test_exists(state, "packs/00/000102030405060708090a0b0c0d0e0f"));
	assert_int_equal(test_entries(state, "tmp"), 0);
}

static void
a_large_pack_comes_back_and_is_read_only(void **state)
{
	struct larder_err err = { 0 };
	struct pack_files *files;
	struct stat st;
	char path[PACK_PATH_LEN];
	struct id16 pack;

	pack_sample_store(test_dir(state));
	pack = pack_sample_write(test_dir(state), 1, 2500); /* several writes */
	assert_ok(pack_files_open(&files, test_dir(state), &err), &err);
	assert_ok(pack_sample_check(files, &pack, &err), &err);
	pack_files_close(files);
	pack_path(path, &pack);
	assert_int_equal(fstatat(test_dir(state), path, &st, 0), 0);
	assert_true(st.st_size > 600 * 1024);
	assert_int_equal(st.st_mode & 0222, 0);
	assert_int_equal(test_entries(state, "tmp"), 0);
}

static void
the_directory_of_the_writer_is_the_one_that_is_read(void **state)
{
	struct larder_err err = { 0 };
	struct pack_directory got = { 0 }, read = { 0 };
	const struct pack_directory *d;
	struct pack_writer *writer;
	struct pack_files *files;
	struct pack_codec *codec;
	const uint8_t *tail;
	uint32_t ats[3];
	size_t tail_len;

	pack_sample_store(test_dir(state));
	writer = open_writer(test_dir(state));
	assert_ok(append(writer, "one", &ats[0], &err), &err);
	assert_ok(append(writer, "three", &ats[1], &err), &err);
	assert_ok(append(writer, "eleven", &ats[2], &err), &err);
	assert_ok(pack_writer_finish(writer, &err), &err);
	d = pack_writer_directory(writer);
	tail = pack_writer_tail(writer, &tail_len);
	assert_ok(pack_codec_open(&codec, &err), &err);
	assert_ok(pack_tail_decode(&got, codec, tail, tail_len, &err), &err);
	assert_ok(pack_writer_sync(writer, &err), &err);
	assert_ok(pack_files_open(&files, test_dir(state), &err), &err);
	assert_ok(pack_directory_read(&read, files, pack_writer_id(writer), &err), &err);

	for (int i = 0; i < 2; i++) {
		const struct pack_directory *other = i == 0 ? &got : &read;

		assert_memory_equal(&d->id, &other->id, sizeof d->id);
		assert_int_equal(d->file_len, other->file_len);
		assert_int_equal(other->segment_count, 3);
		assert_int_equal(other->chunk_count, 3);
		for (int k = 0; k < 3; k++) {
			assert_int_equal(other->segments[k].at, ats[k]);
			assert_int_equal(other->segments[k].at, d->segments[k].at);
			assert_int_equal(other->segments[k].len, d->segments[k].len);
			assert_int_equal(other->lengths[k], d->lengths[k]);
			assert_memory_equal(&other->ids[k], &d->ids[k], sizeof d->ids[k]);
		}
	}
	pack_directory_release(&got);
	pack_directory_release(&read);
	pack_files_close(files);
	pack_codec_close(codec);
	pack_writer_close(writer);
}

static void
segments_are_copied_into_another_pack_as_they_are(void **state)
{
	struct larder_err err = { 0 };
	struct pack_directory d = { 0 };
	struct pack_writer *writer;
	struct pack_files *files;
	struct buf stored = { 0 };
	struct id16 from;
	char path[PACK_PATH_LEN];
	char *a, *b;
	size_t a_len, b_len;

	pack_sample_store(test_dir(state));
	from = pack_sample_write(test_dir(state), 1, 30);
	assert_ok(pack_files_open(&files, test_dir(state), &err), &err);
	assert_ok(pack_directory_read(&d, files, &from, &err), &err);
	writer = open_writer(test_dir(state));
	for (uint32_t i = 0; i < d.segment_count; i++) {
		const struct pack_directory_segment *s = &d.segments[i];
		struct pack_segment segment;
		uint32_t at;

		assert_ok(
		    pack_segment_read(&segment, &stored, files, &from, s->at, s->len, &err), &err);
		assert_ok(
		    pack_writer_append_stored(writer, &segment, stored.data, &d.ids[s->chunk_first],
			&d.lengths[s->chunk_first], s->chunk_count, &at, &err),
		    &err);
		assert_int_equal(at, s->at);
	}
	assert_ok(pack_writer_finish(writer, &err), &err);
	assert_ok(pack_writer_sync(writer, &err), &err);
	assert_ok(pack_sample_check(files, pack_writer_id(writer), &err), &err);

	pack_path(path, &from);
	a = test_read(state, path, &a_len);
	b = test_read(state, path_of(writer), &b_len);
	assert_int_equal(a_len, b_len);
	assert_memory_equal(a + PACK_HEADER_LEN, b + PACK_HEADER_LEN,
	    a_len - PACK_HEADER_LEN - PACK_FOOTER_LEN); /* all but the id */
	free(a);
	free(b);
	buf_release(&stored);
	pack_directory_release(&d);
	pack_files_close(files);
	pack_writer_close(writer);
}

/* ---- endings that leave nothing ---- */

static void
a_writer_that_is_closed_early_leaves_nothing(void **state)
{
	struct larder_err err = { 0 };
	struct pack_writer *writer;
	uint32_t at;

	pack_sample_store(test_dir(state));
	for (int steps = 0; steps < 3; steps++) {
		writer = open_writer(test_dir(state));
		assert_int_equal(test_entries(state, "tmp"), 1);
		if (steps > 0)
			assert_ok(append(writer, "hello", &at, &err), &err);
		if (steps > 1)
			assert_ok(pack_writer_finish(writer, &err), &err);
		assert_false(test_exists(state, path_of(writer)));
		pack_writer_close(writer);
		assert_int_equal(test_entries(state, "tmp"), 0);
	}
	pack_writer_close(NULL);
}

static void
a_pack_without_segments_is_not_made(void **state)
{
	struct larder_err err = { 0 };
	struct pack_writer *writer;

	pack_sample_store(test_dir(state));
	writer = open_writer(test_dir(state));
	assert_status(LARDER_ERR_USAGE, pack_writer_finish(writer, &err), &err);
	assert_message(&err, "a pack without segments");
	pack_writer_close(writer);
	assert_int_equal(test_entries(state, "tmp"), 0);
}

static void
without_a_tmp_folder_nothing_is_opened(void **state)
{
	struct larder_err err = { 0 };
	struct pack_writer *writer;

	assert_status(LARDER_ERR_NOT_FOUND, pack_writer_open(&writer, test_dir(state), &err), &err);
	assert_message(&err, "tmp/pack-");
	assert_null(writer);
}

/* ---- limits ---- */

static void
more_chunks_than_the_limit_are_refused_and_the_pack_can_still_be_sealed(void **state)
{
	enum { COUNT = PACK_CHUNKS_MAX / 2 };
	struct larder_id *ids = calloc(COUNT, sizeof *ids);
	uint32_t *lengths = calloc(COUNT, sizeof *lengths), at;
	uint8_t *segment = calloc(1, PACK_SEGMENT_HEADER_LEN + COUNT);
	struct pack_segment header = { .plain_len = COUNT, .store_len = COUNT };
	struct pack_directory d = { 0 };
	struct larder_err err = { 0 };
	struct pack_writer *writer;
	struct pack_files *files;

	assert_non_null(segment);
	for (int i = 0; i < COUNT; i++)
		lengths[i] = 1;
	pack_segment_encode(segment, &header);
	pack_sample_store(test_dir(state));
	writer = open_writer(test_dir(state));
	for (int i = 0; i < 2; i++)
		assert_ok(pack_writer_append(writer, segment, PACK_SEGMENT_HEADER_LEN + COUNT, ids,
			      lengths, COUNT, &at, &err),
		    &err);
	assert_status(LARDER_ERR_LIMIT, append(writer, "one more", &at, &err), &err);
	assert_message(&err, "PACK_CHUNKS_MAX");
	assert_int_equal(pack_writer_chunks(writer), PACK_CHUNKS_MAX);
	assert_ok(pack_writer_finish(writer, &err), &err);
	assert_ok(pack_writer_sync(writer, &err), &err);
	assert_ok(pack_files_open(&files, test_dir(state), &err), &err);
	assert_ok(pack_directory_read(&d, files, pack_writer_id(writer), &err), &err);
	assert_int_equal(d.chunk_count, PACK_CHUNKS_MAX);
	pack_directory_release(&d);
	pack_files_close(files);
	pack_writer_close(writer);
	free(ids);
	free(lengths);
	free(segment);
}

static ssize_t
write_nowhere(int fd, const struct iovec *iov, int iov_count, off_t at)
{
	ssize_t sum = 0;

	(void)fd, (void)at;
	for (int i = 0; i < iov_count; i++)
		sum += (ssize_t)iov[i].iov_len;
	return sum;
}

static void
more_bytes_than_the_limit_are_refused_and_directory_and_footer_still_fit(void **state)
{
	const struct larder_sys sys = { .size = sizeof sys, .file_pwritev = write_nowhere };
	const size_t len = PACK_SEGMENT_HEADER_LEN + PACK_PLAIN_MAX;
	struct pack_segment header = { .plain_len = PACK_PLAIN_MAX, .store_len = PACK_PLAIN_MAX };
	const uint32_t length = PACK_PLAIN_MAX;
	const struct larder_id id = { { 1 } };
	uint8_t *segment = calloc(1, len);
	struct larder_err err = { 0 };
	struct pack_writer *writer;
	uint32_t at;
	int rc, count = 0;

	assert_non_null(segment);
	pack_segment_encode(segment, &header);
	pack_sample_store(test_dir(state));
	larder_sys_set(&sys);
	writer = open_writer(test_dir(state));
	while ((rc = pack_writer_append(writer, segment, len, &id, &length, 1, &at, &err)) == 0)
		count++;
	assert_status(LARDER_ERR_LIMIT, rc, &err);
	assert_message(&err, "PACK_FILE_MAX");
	assert_int_equal(count, 127);
	assert_ok(append(writer, "a little", &at, &err), &err);
	assert_ok(pack_writer_finish(writer, &err), &err);
	assert_true(pack_writer_size(writer) <= PACK_FILE_MAX);
	pack_writer_close(writer);
	free(segment);
}

/* ---- failing ---- */

/* Everything from open to sealed; 0 or the first error. Closes the writer. */
static int
make_pack(void **state, struct id16 *pack, struct larder_err *err)
{
	static uint8_t plain[300 * 1024], segment[PACK_SEGMENT_HEADER_LEN + sizeof plain];
	const uint32_t len = sizeof plain;
	struct pack_segment header = { .plain_len = len, .store_len = len };
	struct pack_writer *writer = NULL;
	struct larder_id id;
	uint32_t at;
	int rc;

	pack_segment_encode(segment, &header);
	sha256(&id, plain, len);
	rc = pack_writer_open(&writer, test_dir(state), err);
	if (rc == 0)
		*pack = *pack_writer_id(writer);
	for (int i = 0; i < 100 && rc == 0; i++)
		rc = append(writer, "a small one", &at, err);
	for (int i = 0; i < 8 && rc == 0; i++)
		rc = pack_writer_append(writer, segment, sizeof segment, &id, &len, 1, &at, err);
	if (rc == 0)
		rc = pack_writer_finish(writer, err);
	if (rc == 0)
		rc = pack_writer_sync(writer, err);
	pack_writer_close(writer);
	return rc;
}

static void
any_file_call_that_fails_is_an_error_and_no_pack(void **state)
{
	static const int codes[] = { EIO, ENOSPC, EDQUOT };

	pack_sample_store(test_dir(state));
	for (size_t c = 0; c < test_count(codes); c++) {
		bool failed = true;

		for (long nth = 1; failed; nth++) {
			struct file_faulty_plan plan = {
				.ops = FILE_FAULTY_OPEN | FILE_FAULTY_CLOSE | FILE_FAULTY_WRITE |
				       FILE_FAULTY_SYNC | FILE_FAULTY_RENAME,
				.nth = nth,
				.code = codes[c],
			};
			struct larder_err err = { 0 };
			struct id16 pack;
			char path[PACK_PATH_LEN];
			int rc;

			file_faulty_set(&plan);
			rc = make_pack(state, &pack, &err);
			failed = file_faulty_failed();
			assert_int_equal(file_faulty_open(), 0);
			if (failed) {
				assert_status(codes[c] == EIO ? LARDER_ERR_IO : LARDER_ERR_NO_SPACE,
				    rc, &err);
				assert_message(&err, "tmp/pack-");
				assert_int_equal(err.sys_errno, codes[c]);
			} else {
				assert_ok(rc, &err);
				assert_in_range(nth, 6, 40);
				pack_path(path, &pack);
				assert_true(test_exists(state, path));
			}
			assert_int_equal(test_entries(state, "tmp"), 0);
		}
	}
}

static void
short_writes_and_interruptions_are_completed(void **state)
{
	struct pack_files *files;
	struct larder_err err = { 0 };

	pack_sample_store(test_dir(state));
	assert_ok(pack_files_open(&files, test_dir(state), &err), &err);
	for (int i = 0; i < 2; i++) {
		const struct file_faulty_plan plan = {
			.ops = FILE_FAULTY_WRITE,
			.nth = 1,
			.for_ever = true,
			.shorten = i == 0,
			.interrupt = i == 1,
		};
		struct id16 pack;
		struct pack_directory d = { 0 };

		file_faulty_set(&plan);
		assert_ok(make_pack(state, &pack, &err), &err);
		assert_ok(pack_directory_read(&d, files, &pack, &err), &err);
		assert_int_equal(d.segment_count, 108);
		pack_directory_release(&d);
	}
	pack_files_close(files);
}

static void
a_full_disk_is_no_space_at_every_size(void **state)
{
	pack_sample_store(test_dir(state));
	for (uint64_t space = 0; space < 2400 * 1024; space += 99 * 1024) {
		const struct file_faulty_plan plan = {
			.ops = FILE_FAULTY_WRITE,
			.has_space = true,
			.space = space,
		};
		struct larder_err err = { 0 };
		struct id16 pack;

		file_faulty_set(&plan);
		assert_status(LARDER_ERR_NO_SPACE, make_pack(state, &pack, &err), &err);
		assert_int_equal(test_entries(state, "tmp"), 0);
	}
}

static void
memory_that_fails_anywhere_leaves_nothing(void **state)
{
	bool failed = true;

	pack_sample_store(test_dir(state));
	for (long nth = 1; failed; nth++) {
		struct larder_err err = { 0 };
		struct id16 pack;
		int rc;

		mem_faulty_set(nth, false);
		rc = make_pack(state, &pack, &err);
		failed = mem_faulty_failed();
		assert_status(failed ? LARDER_ERR_NOMEM : LARDER_OK, rc, &err);
		assert_int_equal(mem_faulty_live(), 0);
		assert_int_equal(test_entries(state, "tmp"), 0);
	}
}

static int
no_randomness(void *buf, size_t len)
{
	(void)buf, (void)len;
	errno = EIO;
	return -1;
}

static void
without_randomness_there_is_no_writer(void **state)
{
	const struct larder_sys sys = { .size = sizeof sys, .random_bytes = no_randomness };
	struct larder_err err = { 0 };
	struct pack_writer *writer;

	pack_sample_store(test_dir(state));
	larder_sys_set(&sys);
	assert_status(LARDER_ERR_IO, pack_writer_open(&writer, test_dir(state), &err), &err);
	assert_null(writer);
	assert_int_equal(test_entries(state, "tmp"), 0);
}

/* TRUST.md 4.5: the kernel reports a failed write-back once, so a second try would lie. */
static void
after_a_failed_sync_nothing_is_tried_again(void **state)
{
	const struct file_faulty_plan plan = { .ops = FILE_FAULTY_SYNC, .nth = 1 };
	struct larder_err err = { 0 };
	struct pack_writer *writer;
	uint32_t at;

	pack_sample_store(test_dir(state));
	writer = open_writer(test_dir(state));
	assert_ok(append(writer, "hello", &at, &err), &err);
	assert_ok(pack_writer_finish(writer, &err), &err);
	file_faulty_set(&plan);
	assert_status(LARDER_ERR_IO, pack_writer_sync(writer, &err), &err);
	assert_int_equal(file_faulty_calls(), 1);
	memset(&err, 0, sizeof err);
	assert_status(LARDER_ERR_IO, pack_writer_sync(writer, &err), &err);
	assert_message(&err, "given up after an earlier error");
	assert_int_equal(file_faulty_calls(), 1);
	assert_false(test_exists(state, path_of(writer)));
	pack_writer_close(writer);
	assert_int_equal(test_entries(state, "tmp"), 0);
}

static void
after_a_failed_write_nothing_more_is_appended_or_finished(void **state)
{
	const struct file_faulty_plan plan = { .ops = FILE_FAULTY_WRITE, .nth = 1 };
	struct larder_err err = { 0 };
	struct pack_writer *writer;
	uint32_t at;

	pack_sample_store(test_dir(state));
	writer = open_writer(test_dir(state));
	file_faulty_set(&plan);
	assert_ok(append(writer, "hello", &at, &err), &err);
	assert_status(LARDER_ERR_IO, pack_writer_finish(writer, &err), &err);
	assert_status(LARDER_ERR_IO, pack_writer_finish(writer, &err), &err);
	assert_status(LARDER_ERR_IO, append(writer, "hello", &at, &err), &err);
	assert_message(&err, "given up after an earlier error");
	assert_int_equal(file_faulty_calls(), 1);
	pack_writer_close(writer);
	assert_int_equal(test_entries(state, "tmp"), 0);
}

/* ---- order ---- */

static char journal[64]; /* one letter a call */

static void
note(char what)
{
	const size_t len = strlen(journal);

	if (len + 1 < sizeof journal)
		journal[len] = what;
}

static ssize_t
noted_write(int fd, const struct iovec *iov, int iov_count, off_t at)
{
	note('w');
	return pwritev(fd, iov, iov_count, at);
}

static int
noted_sync(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	note(S_ISDIR(st.st_mode) ? 'D' : 'S');
	return 0;
}

static int
noted_close(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	if (!S_ISDIR(st.st_mode))
		note('c');
	return close(fd);
}

static int
noted_rename(int from_dir, const char *from, int to_dir, const char *to)
{
	note('r');
	return renameat(from_dir, from, to_dir, to);
}

static void
a_pack_is_written_synced_closed_renamed_and_its_folder_synced_in_this_order(void **state)
{
	const struct larder_sys sys = {
		.size = sizeof sys,
		.file_pwritev = noted_write,
		.file_fsync = noted_sync,
		.file_close = noted_close,
		.file_renameat = noted_rename,
	};
	struct larder_err err = { 0 };
	struct pack_writer *writer;
	struct id16 ids[5];
	uint32_t at;

	pack_sample_store(test_dir(state));
	larder_sys_set(&sys);
	memset(journal, 0, sizeof journal);
	writer = open_writer(test_dir(state));
	assert_ok(append(writer, "hello", &at, &err), &err);
	assert_string_equal(journal, "");
	assert_ok(pack_writer_finish(writer, &err), &err);
	assert_string_equal(journal, "w");
	assert_ok(pack_writer_sync(writer, &err), &err);
	assert_string_equal(journal, "wScr");
	for (int i = 0; i < 5; i++)
		ids[i] = *pack_writer_id(writer);
	ids[3].bytes[0] ^= 1;
	assert_ok(pack_sync_dirs(test_dir(state), ids, 5, &err), &err);
	assert_string_equal(journal, "wScrDD"); /* two folders, each once */
	assert_ok(pack_sync_dirs(test_dir(state), ids, 0, &err), &err);
	assert_string_equal(journal, "wScrDD");
	pack_writer_close(writer);
}

/* ---- folders ---- */

static void
the_folders_are_made_synced_and_may_be_there_already(void **state)
{
	const struct file_faulty_plan count = { .ops = FILE_FAULTY_SYNC };
	struct larder_err err = { 0 };

	for (int i = 0; i < 2; i++) {
		file_faulty_set(&count);
		assert_ok(pack_make_dirs(test_dir(state), &err), &err);
		assert_int_equal(file_faulty_calls(), 258);
		assert_int_equal(file_faulty_open(), 0);
		assert_int_equal(test_entries(state, "packs"), 256);
		assert_true(test_exists(state, "packs/00"));
		assert_true(test_exists(state, "packs/ff"));
	}
}

static void
folders_that_cannot_be_made_or_synced_are_an_error(void **state)
{
	static const long nths[] = { 1, 2, 257, 258, 400, 515 };
	const struct id16 id = { { 0x12 } };
	struct larder_err err = { 0 };

	for (size_t i = 0; i < test_count(nths); i++) {
		const struct file_faulty_plan plan = {
			.ops = FILE_FAULTY_MKDIR | FILE_FAULTY_SYNC,
			.nth = nths[i],
		};

		file_faulty_set(&plan);
		assert_status(LARDER_ERR_IO, pack_make_dirs(test_dir(state), &err), &err);
	}
	file_faulty_set(&(struct file_faulty_plan){ .ops = FILE_FAULTY_SYNC, .nth = 1 });
	assert_status(LARDER_ERR_IO, pack_sync_dirs(test_dir(state), &id, 1, &err), &err);
	assert_message(&err, "packs/12");
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(the_bytes_are_the_example_of_the_format_document),
		test_case(a_large_pack_comes_back_and_is_read_only),
		test_case(the_directory_of_the_writer_is_the_one_that_is_read),
		test_case(segments_are_copied_into_another_pack_as_they_are),
		test_case(a_writer_that_is_closed_early_leaves_nothing),
		test_case(a_pack_without_segments_is_not_made),
		test_case(without_a_tmp_folder_nothing_is_opened),
		test_case(more_chunks_than_the_limit_are_refused_and_the_pack_can_still_be_sealed),
		test_case(more_bytes_than_the_limit_are_refused_and_directory_and_footer_still_fit),
		test_case(any_file_call_that_fails_is_an_error_and_no_pack),
		test_case(short_writes_and_interruptions_are_completed),
		test_case(a_full_disk_is_no_space_at_every_size),
		test_case(memory_that_fails_anywhere_leaves_nothing),
		test_case(without_randomness_there_is_no_writer),
		test_case(after_a_failed_sync_nothing_is_tried_again),
		test_case(after_a_failed_write_nothing_more_is_appended_or_finished),
		test_case(
		    a_pack_is_written_synced_closed_renamed_and_its_folder_synced_in_this_order),
		test_case(the_folders_are_made_synced_and_may_be_there_already),
		test_case(folders_that_cannot_be_made_or_synced_are_an_error),
	};

	return test_run(cases);
}
