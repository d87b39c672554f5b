/*
 * The walk over the pages of a database. Whatever the file says, it ends, stays
 * within its buffers, and does not take a changed index for the one it was.
 *
 * First byte even: the rest is a file. Odd: the rest are changes to an index
 * that is made at the start, four bytes each: page, offset (two), new byte.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cas/base/err.h"
#include "cas/sys.h"
#include "index/index.h"
#include "index/pagewalk.h"
#include "index/verify.h"
#include "tests/doubles/doubles.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PAGE = 4096, BASE_MAX = 256 * PAGE, CHANGES_MAX = 64 };

static uint8_t base[BASE_MAX];
static size_t base_len;
static int fd = -1;

static void
must(bool good)
{
	if (!good)
		abort();
}

static int
fill(void *context, struct index_write *write, struct larder_err *err)
{
	static uint8_t hint[20000];
	unsigned step = *(unsigned *)context;
	int rc = 0;

	for (unsigned n = 0; rc >= 0 && n < 120; n++) {
		struct larder_id id = { { (uint8_t)(n * 37), (uint8_t)step, (uint8_t)n } };
		struct index_place place = { .pack = n, .chunk_len = step };

		rc = index_chunk_put(write, &id, &place, err);
	}
	for (uint8_t n = 0; rc >= 0 && n < 4; n++) {
		uint8_t key[16] = { n };

		rc = index_seen_put(write, key, hint, n * 5000u, err);
	}
	for (uint8_t n = 0; rc >= 0 && n < 10; n++) {
		char name[2] = { (char)('a' + n), '\0' };
		struct index_version version = { .name = name, .gid = { { (uint8_t)step } } };
		uint64_t number;

		rc = index_version_put(&number, write, &version, err);
	}
	return rc < 0 ? rc : 0;
}

/* The same index in every run: its one random number is not. */
static void
make_base(void)
{
	char folder[] = "/tmp/larder-fuzz-XXXXXX";
	struct index_options options = { .dir = "index", .create = true };
	struct larder_err err = { 0 };
	struct index *index;
	int data;

	random_seeded_set(1);
	must(mkdtemp(folder) != NULL);
	options.dir_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(options.dir_fd >= 0);
	must(index_open(&index, &options, &err) == 0);
	for (unsigned step = 0; step < 5; step++)
		must(index_update(index, fill, &step, &err) == 0);
	index_close(index);
	larder_sys_set(NULL);

	data = openat(options.dir_fd, "index/data.mdb", O_RDONLY | O_CLOEXEC);
	must(data >= 0);
	base_len = (size_t)read(data, base, sizeof base);
	must(base_len >= 10 * PAGE && base_len < sizeof base);
	close(data);
	must(unlinkat(options.dir_fd, "index/data.mdb", 0) == 0);
	must(unlinkat(options.dir_fd, "index/lock.mdb", 0) == 0);
	must(unlinkat(options.dir_fd, "index/session", 0) == 0);
	must(unlinkat(options.dir_fd, "index", AT_REMOVEDIR) == 0);
	close(options.dir_fd);
	must(rmdir(folder) == 0);
	fd = memfd_create("pages", MFD_CLOEXEC);
	must(fd >= 0);
}

static void
put_file(const void *bytes, size_t len)
{
	must(ftruncate(fd, 0) == 0);
	must(len == 0 || pwrite(fd, bytes, len, 0) == (ssize_t)len);
}

/* ---- what it must still be when nothing is found ---- */

struct rows {
	uint64_t count, sum;
};

static void
add_row(void *context, const char *tree, const uint8_t *key, size_t key_len, const uint8_t *value,
    size_t value_len)
{
	struct rows *rows = context;
	uint64_t sum = tree != NULL ? (uint8_t)tree[0] : 0;

	for (size_t i = 0; i < key_len; i++)
		sum = sum * 1099511628211u + key[i];
	for (size_t i = 0; i < value_len; i++)
		sum = sum * 1099511628211u + value[i];
	rows->count++;
	rows->sum += sum;
}

static struct rows
rows_of_file(void)
{
	struct rows rows = { 0 };
	struct pagewalk_sink sink = { .context = &rows, .row = add_row, .value_max = 65536 };
	struct pagewalk_meta metas[2];

	must(pagewalk_metas(metas, fd, NULL) == 0);
	must(pagewalk(fd, &metas[0], &sink, NULL) == 0);
	return rows;
}

static void
count_sentence(void *context, const char *sentence)
{
	must(sentence[0] != '\0');
	++*(unsigned *)context;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct rows want;
	struct larder_err err = { 0 };
	unsigned found = 0;
	int rc;

	if (size < 1)
		return 0;
	if (fd < 0) {
		make_base();
		put_file(base, base_len);
		want = rows_of_file();
		must(verify_file(fd, NULL, NULL, &err) == 0);
	}
	if (data[0] % 2 == 0) {
		put_file(data + 1, size - 1);
	} else {
		put_file(base, base_len);
		for (size_t i = 1; i + 4 <= size && i < 4 * CHANGES_MAX; i += 4) {
			off_t at = (off_t)data[i] * PAGE + (data[i + 1] << 8 | data[i + 2]) % PAGE;

			must(at >= (off_t)base_len || pwrite(fd, data + i + 3, 1, at) == 1);
		}
	}
	rc = verify_file(fd, count_sentence, &found, &err);
	must(rc == 0 || rc == LARDER_ERR_CORRUPT);
	must((rc == 0) == (found == 0) && (rc == 0) == (err.message[0] == '\0'));
	if (rc == 0 && data[0] % 2 == 1) {
		struct rows have = rows_of_file();

		/* Meta pages may have led to an older state; the newest has all rows. */
		must(have.count <= want.count);
		must(have.count < want.count || have.sum == want.sum);
	}
	return 0;
}
