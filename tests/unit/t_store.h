#ifndef TESTS_UNIT_T_STORE_H
#define TESTS_UNIT_T_STORE_H

/*
 * What the tests of commit, apply and reindex share: a store in the case's
 * folder, commits of one line, and what the index says as text.
 */
#include "tests/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cas/base/sha256.h"
#include "cas/commit.h"
#include "cas/object/entry.h"
#include "cas/store.h"
#include "cas/sys.h"
#include "pack/format.h"

/* ---- stores ---- */

/* Notices of the stores of this process, one behind the other. */
static char test_notices[16384];

static inline void
test_notice(void *context, const char *line)
{
	size_t len = strlen(test_notices);

	(void)context;
	snprintf(test_notices + len, sizeof test_notices - len, "%s\n", line);
}

static inline int
test_store_try(struct larder_store **out, void **state, const char *name, struct larder_err *err)
{
	struct larder_open_options options = LARDER_OPEN_OPTIONS_INIT;

	options.create = true;
	options.on_notice = test_notice;
	return larder_store_open(out, test_path(state, name), &options, err);
}

static inline struct larder_store *
test_store_open(void **state, const char *name)
{
	struct larder_store *store;
	struct larder_err err = { 0 };

	assert_ok(test_store_try(&store, state, name, &err), &err);
	return store;
}

/* ---- packs ---- */

/* Chunk number i of seed: "seed.i", padded by dots to len. */
static inline struct larder_id
test_chunk(char text[64], unsigned seed, unsigned i)
{
	struct larder_id id;

	snprintf(text, 64, "%u.%u", seed, i);
	sha256(&id, text, strlen(text));
	return id;
}

/* A finished pack with chunks [from, to) of `seed`, up to 500 in a segment; NULL on failure. */
static inline struct pack_writer *
test_pack(int root_fd, unsigned seed, unsigned from, unsigned to, struct larder_err *err)
{
	enum { EACH = 500 };
	static struct larder_id ids[EACH];
	static uint32_t lengths[EACH];
	static uint8_t segment[PACK_SEGMENT_HEADER_LEN + EACH * 64];
	struct pack_writer *writer;
	uint32_t at;

	if (pack_writer_open(&writer, root_fd, err) < 0)
		return NULL;
	while (from < to) {
		struct pack_segment header = { 0 };
		uint32_t count = 0;

		for (; count < EACH && from < to; count++, from++) {
			char text[64];

			ids[count] = test_chunk(text, seed, from);
			lengths[count] = (uint32_t)strlen(text);
			memcpy(segment + PACK_SEGMENT_HEADER_LEN + header.plain_len, text,
			    lengths[count]);
			header.plain_len += lengths[count];
		}
		header.store_len = header.plain_len;
		pack_segment_encode(segment, &header);
		if (pack_writer_append(writer, segment, PACK_SEGMENT_HEADER_LEN + header.plain_len,
			ids, lengths, count, &at, err) < 0)
			goto fail;
	}
	if (pack_writer_finish(writer, err) == 0)
		return writer;
fail:
	pack_writer_close(writer);
	return NULL;
}

/* ---- operations ---- */

static inline struct id16
test_gid(unsigned number)
{
	struct id16 gid = { { 0x60, (uint8_t)(number >> 8), (uint8_t)number } };

	return gid;
}

/* `number`: what it will be, if nobody else is faster. */
static inline int
test_add_numbered(struct buf *operations, const char *name, unsigned gid, uint64_t number)
{
	static const struct entry_tag tags[] = { { "k", "v", 1, 1 }, { "kk", "", 2, 0 } };
	const struct entry_version version = {
		.name = name,
		.name_len = strlen(name),
		.gid = test_gid(gid),
		.number = number,
		.kind = ENTRY_KIND_FILE,
		.bytes = gid,
		.files = 1,
		.tags = tags,
		.tag_count = gid % 3,
	};

	return entry_op_version(operations, &version);
}

static inline int
test_add_version(struct buf *operations, const char *name, unsigned gid)
{
	return test_add_numbered(operations, name, gid, 1);
}

static inline uint64_t
test_next_number(struct larder_store *store, const char *name)
{
	struct index_version_row row = { 0 };
	struct index_read *read;
	uint64_t number = 1;

	if (index_read_begin(&read, store->index, NULL) < 0)
		return number;
	if (index_version_before(&row, read, name, UINT64_MAX, NULL) == 1)
		number = row.version.number + 1;
	index_version_release(&row);
	index_read_end(read);
	return number;
}

static inline int
test_add_end(struct buf *operations, const char *name, unsigned gid)
{
	const struct entry_version_end end = {
		.name = name,
		.name_len = strlen(name),
		.gid = test_gid(gid),
	};

	return entry_op_version_end(operations, &end);
}

/* A pack of chunks [from, to) of `seed` (none when equal), and a version of `name` (NULL: none). */
static inline int
test_commit_try(struct larder_store *store, unsigned seed, unsigned from, unsigned to,
    const char *name, unsigned gid, struct larder_err *err)
{
	struct pack_writer *packs[1] = { NULL };
	struct buf operations = { 0 };
	struct commit commit = { .packs = packs, .operations = &operations };
	int rc = LARDER_OK;

	if (from < to) {
		packs[0] = test_pack(store->root_fd, seed, from, to, err);
		commit.pack_count = 1;
		if (packs[0] == NULL)
			return err != NULL && err->status != 0 ? (int)err->status : LARDER_ERR_IO;
	}
	if (name != NULL)
		rc = test_add_numbered(&operations, name, gid, test_next_number(store, name));
	if (rc == 0)
		rc = commit_run(store, &commit, err);
	pack_writer_close(packs[0]);
	buf_release(&operations);
	return rc;
}

static inline void
test_commit(struct larder_store *store, unsigned seed, unsigned from, unsigned to, const char *name,
    unsigned gid)
{
	struct larder_err err = { 0 };

	assert_ok(test_commit_try(store, seed, from, to, name, gid, &err), &err);
}

static inline void
test_forget(struct larder_store *store, const char *name, unsigned gid)
{
	struct buf operations = { 0 };
	struct commit commit = { .operations = &operations };
	struct larder_err err = { 0 };

	assert_int_equal(test_add_end(&operations, name, gid), 0);
	assert_ok(commit_run(store, &commit, &err), &err);
	buf_release(&operations);
}

/* ---- what the index says ---- */

static inline bool
test_knows_chunk(struct larder_store *store, unsigned seed, unsigned i)
{
	struct index_place place;
	struct index_read *read;
	struct larder_id id;
	char text[64];
	int rc;

	id = test_chunk(text, seed, i);
	assert_ok(index_read_begin(&read, store->index, NULL), NULL);
	rc = index_chunk_get(&place, read, &id, NULL);
	index_read_end(read);
	assert_true(rc == 0 || rc == LARDER_ERR_NOT_FOUND);
	return rc == 0;
}

/* Is there a version of `name` that has not ended? Its gid. */
static inline unsigned
test_find_name(struct larder_store *store, const char *name)
{
	struct index_version_row row = { 0 };
	struct index_read *read;
	unsigned gid = 0;
	int rc;

	assert_ok(index_read_begin(&read, store->index, NULL), NULL);
	rc = index_version_get(&row, read, name, 0, INT64_MAX, NULL);
	assert_true(rc == 0 || rc == LARDER_ERR_NOT_FOUND);
	if (rc == 0)
		gid = (unsigned)(row.version.gid.bytes[1] << 8 | row.version.gid.bytes[2]);
	index_version_release(&row);
	index_read_end(read);
	return gid;
}

struct test_dump {
	struct buf text;
	bool places; /* with numbers of packs and places of chunks, which depend on the order of
			writers */
};

static inline void
test_dump_hex(struct test_dump *dump, const char *what, const void *bytes, size_t len)
{
	char hex[2 * LARDER_ID_LEN + 1];

	hex_encode(hex, bytes, len);
	assert_int_equal(buf_append(&dump->text, what, strlen(what)), 0);
	assert_int_equal(buf_append(&dump->text, hex, 2 * len), 0);
}

static inline void
test_dump_number(struct test_dump *dump, const char *what, long long number)
{
	char text[100];

	snprintf(text, sizeof text, "%s%lld", what, number);
	assert_int_equal(buf_append(&dump->text, text, strlen(text)), 0);
}

static inline int
test_dump_chunk(void *context, const struct larder_id *id, const struct index_place *place,
    struct larder_err *err)
{
	struct test_dump *dump = context;

	(void)err;
	test_dump_hex(dump, "\nchunk ", id->bytes, LARDER_ID_LEN);
	test_dump_number(dump, " ", place->chunk_len);
	if (dump->places) {
		test_dump_number(dump, " ", place->pack);
		test_dump_number(dump, " ", place->segment_at);
		test_dump_number(dump, " ", place->chunk_at);
	}
	return 0;
}

static inline int
test_dump_pack(
    void *context, uint32_t number, const struct index_pack *pack, struct larder_err *err)
{
	struct test_dump *dump = context;

	(void)err;
	if (!dump->places)
		return 0;
	test_dump_number(dump, "\npack ", number);
	test_dump_hex(dump, " ", pack->id.bytes, ID16_LEN);
	test_dump_number(dump, " ", (long long)pack->file_len);
	test_dump_number(dump, " ", pack->chunk_count);
	return 0;
}

static inline int
test_dump_position(void *context, const struct index_position *position, struct larder_err *err)
{
	struct test_dump *dump = context;

	(void)err;
	test_dump_hex(dump, "\nwriter ", position->writer.bytes, ID16_LEN);
	test_dump_number(dump, " ", (long long)position->segment);
	test_dump_number(dump, " ", (long long)position->offset);
	test_dump_number(dump, " ", (long long)position->sequence);
	test_dump_hex(dump, " ", position->chain.bytes, LARDER_ID_LEN);
	return 0;
}

static inline void
test_dump_versions(struct test_dump *dump, struct index_read *read)
{
	struct index_version_row name = { 0 }, row = { 0 };
	struct index_name_iter iter = { .at_ns = INT64_MAX };

	/* names that are alive; of these all versions */
	while (index_name_next(&name, &iter, read, NULL) == 1) {
		uint64_t below = UINT64_MAX;

		while (index_version_before(&row, read, name.version.name, below, NULL) == 1) {
			test_dump_hex(dump, "\nversion ", row.version.gid.bytes, ID16_LEN);
			test_dump_number(dump, " ", (long long)row.version.number);
			test_dump_number(dump, " ", row.version.created_ns);
			test_dump_number(dump, " ", row.version.ended_ns);
			test_dump_number(dump, " ", (long long)row.version.bytes);
			test_dump_number(dump, " ", (long long)row.version.tag_count);
			below = row.version.number;
		}
	}
	buf_release(&iter.last);
	index_version_release(&name);
	index_version_release(&row);
}

/* Everything but hints; caller frees with free(). */
static inline char *
test_dump(struct larder_store *store, bool places)
{
	struct test_dump dump = { .places = places };
	struct larder_id low, high;
	struct index_counts counts;
	struct index_read *read;
	char *text;

	memset(low.bytes, 0, sizeof low.bytes);
	memset(high.bytes, 0xff, sizeof high.bytes);
	assert_ok(index_read_begin(&read, store->index, NULL), NULL);
	assert_ok(index_counts_get(&counts, read, NULL), NULL);
	test_dump_number(&dump, "chunks ", (long long)counts.chunks);
	test_dump_number(&dump, " packs ", (long long)counts.packs);
	test_dump_number(&dump, " names ", (long long)counts.names);
	test_dump_number(&dump, " versions ", (long long)counts.versions);
	assert_ok(index_chunk_each(read, &low, &high, test_dump_chunk, &dump, NULL), NULL);
	assert_ok(index_pack_each(read, test_dump_pack, &dump, NULL), NULL);
	assert_ok(index_position_each(read, test_dump_position, &dump, NULL), NULL);
	test_dump_versions(&dump, read);
	index_read_end(read);
	text = malloc(dump.text.len + 1);
	assert_non_null(text);
	memcpy(text, dump.text.data, dump.text.len);
	text[dump.text.len] = '\0';
	buf_release(&dump.text);
	return text;
}

/* The index of the (closed) store removed and rebuilt says the same as before. */
static inline void
test_same_when_rebuilt(void **state, const char *name, bool places)
{
	struct larder_store *store = test_store_open(state, name);
	char *before = test_dump(store, places), *after;
	struct larder_err err = { 0 };

	assert_ok(larder_reindex(store, NULL, NULL, &err), &err);
	after = test_dump(store, places);
	assert_string_equal(before, after);
	larder_store_close(store);
	free(before);
	free(after);
}

/* ---- children ---- */

/* Runs fn in a child; true when it was killed. What fn writes to `report` is in text. */
static inline bool
test_in_child(void **state, void (*fn)(void **state, int report), char *text, size_t len)
{
	int ends[2], status;
	size_t have = 0;
	ssize_t got;
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(ends[0]);
		fn(state, ends[1]);
		_exit(0);
	}
	close(ends[1]);
	memset(text, 0, len);
	while ((got = read(ends[0], text + have, len - 1 - have)) > 0)
		have += (size_t)got;
	close(ends[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFSIGNALED(status))
		assert_int_equal(status, 0);
	return WIFSIGNALED(status);
}

/* Changes of the disk that this process makes before it kills itself; -1 = all it wants. */
static long test_calls_to_live = -1;

static inline void
test_count_down(void)
{
	if (test_calls_to_live >= 0 && test_calls_to_live-- == 0)
		raise(SIGKILL);
}

static inline ssize_t
test_mortal_write(int fd, const struct iovec *iov, int count, off_t at)
{
	test_count_down();
	return pwritev(fd, iov, count, at);
}

static inline int
test_mortal_fsync(int fd)
{
	test_count_down();
	return fsync(fd);
}

static inline int
test_mortal_fdatasync(int fd)
{
	test_count_down();
	return fdatasync(fd);
}

static inline int
test_mortal_rename(int from_dir, const char *from, int to_dir, const char *to)
{
	test_count_down();
	return renameat(from_dir, from, to_dir, to);
}

static inline int
test_mortal_unlink(int dir, const char *path, int flags)
{
	test_count_down();
	return unlinkat(dir, path, flags);
}

static inline int
test_mortal_mkdir(int dir, const char *path, mode_t mode)
{
	test_count_down();
	return mkdirat(dir, path, mode);
}

static inline void
test_set_mortal(void)
{
	static const struct larder_sys sys = {
		.size = sizeof sys,
		.file_pwritev = test_mortal_write,
		.file_fsync = test_mortal_fsync,
		.file_fdatasync = test_mortal_fdatasync,
		.file_renameat = test_mortal_rename,
		.file_unlinkat = test_mortal_unlink,
		.file_mkdirat = test_mortal_mkdir,
	};

	larder_sys_set(&sys);
}

#endif
