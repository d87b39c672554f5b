/*
 * Bytes into an open file, and what is there compared with what should be.
 */
#include "cas/restore.h"

#include <string.h>

#include "cas/base/err.h"
#include "cas/base/file.h"

enum {
	HOLE_LEN = 4096, /* a block of zeros becomes a hole, if the file had some */
	COMPARE_LEN = 256 * 1024
};

static bool
is_zero(const uint8_t *data, size_t len)
{
	return data[0] == 0 && memcmp(data, data + 1, len - 1) == 0;
}

/* Blocks are those of the file: `at` is where data begins. Skips zeros: the file has its length. */
static int
write_around_holes(
    int fd, const uint8_t *data, size_t len, uint64_t at, const char *name, struct larder_err *err)
{
	size_t from = 0, to = 0; /* not written yet */

	while (to < len) {
		size_t block = HOLE_LEN - (size_t)((at + to) % HOLE_LEN);
		int rc;

		if (block > len - to)
			block = len - to;
		if (!is_zero(data + to, block)) {
			to += block;
			continue;
		}
		rc = file_pwrite_all(fd, data + from, to - from, at + from, name, err);
		if (rc < 0)
			return rc;
		from = to += block;
	}
	return file_pwrite_all(fd, data + from, to - from, at + from, name, err);
}

int
restore_bytes_compare(struct restore_worker *w, int fd, const uint8_t *data, size_t len,
    uint64_t at, const char *name, struct larder_err *err)
{
	size_t done = 0;
	int rc;

	rc = buf_resize(&w->scratch, COMPARE_LEN);
	if (rc < 0)
		return buf_err(&w->scratch, rc, err);
	while (done < len) {
		size_t got, want = len - done < COMPARE_LEN ? len - done : COMPARE_LEN;

		rc = file_pread_some(&got, fd, w->scratch.data, want, at + done, name, err);
		if (rc < 0)
			return rc;
		if (got < want || memcmp(w->scratch.data, data + done, want) != 0)
			return 0;
		done += want;
	}
	return 1;
}

/* Blocks that differ from what is there are written; so holes that are right stay holes. */
static int
correct_window(int fd, const uint8_t *data, const uint8_t *have, size_t len, uint64_t at,
    const char *name, struct larder_err *err)
{
	size_t from = 0, to = 0; /* differ, and are not written yet */

	while (to < len) {
		size_t block = len - to < HOLE_LEN ? len - to : HOLE_LEN;
		int rc;

		if (memcmp(data + to, have + to, block) != 0) {
			to += block;
			continue;
		}
		rc = file_pwrite_all(fd, data + from, to - from, at + from, name, err);
		if (rc < 0)
			return rc;
		from = to += block;
	}
	return file_pwrite_all(fd, data + from, to - from, at + from, name, err);
}

int
restore_bytes_correct(struct restore_worker *w, int fd, const uint8_t *data, size_t len,
    uint64_t at, const char *name, struct larder_err *err)
{
	int rc;

	rc = buf_resize(&w->scratch, COMPARE_LEN);
	if (rc < 0)
		return buf_err(&w->scratch, rc, err);
	for (size_t done = 0; done < len;) {
		size_t got, want = len - done < COMPARE_LEN ? len - done : COMPARE_LEN;

		rc = file_pread_some(&got, fd, w->scratch.data, want, at + done, name, err);
		if (rc < 0)
			return rc;
		memset(w->scratch.data + got, 0, want - got); /* the file has its length */
		rc = correct_window(fd, data + done, w->scratch.data, want, at + done, name, err);
		if (rc < 0)
			return rc;
		done += want;
	}
	return LARDER_OK;
}

int
restore_bytes_write(int fd, const struct restore_file *file, const uint8_t *data, size_t len,
    uint64_t at, struct larder_err *err)
{
	if (file->meta.sparse)
		return write_around_holes(fd, data, len, at, file->name, err);
	return file_pwrite_all(fd, data, len, at, file->name, err);
}
