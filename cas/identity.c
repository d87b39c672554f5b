/*
 * The file `writer`: OBJECTS.md, "writer".
 *
 * 1. An id that this returns from identity_claim() is on disk, and belongs to this
 *    directory on this machine.
 * 2. Of several processes that find the file wrong at the same time one draws the new
 *    id and the others take it: each holds the lock of the file that stands under the
 *    name when it looks.
 */
#include "cas/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "cas/base/buf.h"
#include "cas/base/err.h"
#include "cas/base/file.h"
#include "cas/base/sha256.h"
#include "cas/lines.h"

static const char writer_path[] = "writer";
static const char first_line[] = "larder writer";

/* ---- bytes ---- */

static int
encode(struct buf *out, const struct identity *identity)
{
	int rc;

	rc = lines_put(out, first_line, NULL);
	if (rc == 0)
		rc = lines_put_hex(out, "id", identity->writer.bytes, ID16_LEN);
	if (rc == 0)
		rc = lines_put_number(out, "device", identity->dev);
	if (rc == 0)
		rc = lines_put_number(out, "inode", identity->ino);
	if (rc == 0)
		rc = lines_put_hex(out, "machine", identity->machine.bytes, LARDER_ID_LEN);
	return rc == 0 ? lines_seal(out) : rc;
}

/* False: not one that this larder understands; a new id is always right. */
static bool
decode(struct identity *out, const void *data, size_t len)
{
	struct identity id = { .known = true };
	struct lines lines;
	const char *value;
	size_t value_len;

	if (!lines_open(&lines, data, len) || !lines_take(&lines, first_line, &value, &value_len) ||
	    !lines_take_hex(&lines, "id", id.writer.bytes, ID16_LEN) ||
	    !lines_take_number(&lines, "device", &id.dev) ||
	    !lines_take_number(&lines, "inode", &id.ino) ||
	    !lines_take_hex(&lines, "machine", id.machine.bytes, LARDER_ID_LEN) ||
	    !lines_done(&lines))
		return false;
	*out = id;
	return true;
}

int
identity_read(struct identity *out, int root_fd, struct larder_err *err)
{
	struct buf bytes = { 0 };
	int rc;

	*out = (struct identity) { 0 };
	rc = file_read_whole(&bytes, root_fd, writer_path, LINES_LEN_MAX, err);
	if (rc == 0 && !decode(out, bytes.data, bytes.len))
		*out = (struct identity) { 0 };
	buf_release(&bytes);
	return rc == LARDER_ERR_NOT_FOUND || rc == LARDER_ERR_LIMIT ? LARDER_OK : rc;
}

/* ---- what this place is ---- */

/* The machine's id is not for other eyes (machine-id(5)), so a hash of it is kept. A machine
 * without one gets the hash of nothing: device and inode still tell copies apart. */
static int
hash_machine(struct larder_id *out, struct larder_err *err)
{
	static const char *const paths[] = { "/etc/machine-id", "/var/lib/dbus/machine-id" };
	static const char salt[] = "larder: machine";
	struct buf text = { 0 };
	struct sha256 hash;
	int rc = LARDER_OK;

	for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
		rc = file_read_whole(&text, AT_FDCWD, paths[i], LINES_LEN_MAX, NULL);
		if (rc == 0 || rc == LARDER_ERR_NOMEM)
			break;
	}
	while (text.len > 0 && text.data[text.len - 1] == '\n')
		text.len--;
	sha256_init(&hash);
	sha256_update(&hash, salt, sizeof salt);
	sha256_update(&hash, text.data, text.len);
	sha256_final(&hash, out);
	buf_release(&text);
	return rc == LARDER_ERR_NOMEM ? err_nomem(err) : LARDER_OK;
}

static int
look_here(struct identity *here, int root_fd, struct larder_err *err)
{
	struct stat st;

	if (fstat(root_fd, &st) < 0)
		return err_sys(err, "look at the store's directory");
	here->dev = (uint64_t)st.st_dev;
	here->ino = (uint64_t)st.st_ino;
	return hash_machine(&here->machine, err);
}

static bool
same_place(const struct identity *a, const struct identity *b)
{
	return a->dev == b->dev && a->ino == b->ino && id_equal(&a->machine, &b->machine);
}

/* ---- claiming ---- */

/* *fd: the file that stands under the name, locked. An empty one is made when there is none. */
static int
open_locked(int *fd, int root_fd, struct larder_err *err)
{
	struct stat opened, named;
	int rc;

	for (;;) {
		rc = file_open(fd, root_fd, writer_path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600, err);
		if (rc < 0)
			return rc;
		rc = file_lock(*fd, 0, 1, true, true, writer_path, err);
		if (rc < 0)
			break;
		if (fstat(*fd, &opened) < 0) {
			rc = err_sys(err, "look at %s", writer_path);
			break;
		}
		/* Whoever had the lock before may have put a new file in its place. */
		if (fstatat(root_fd, writer_path, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
		    named.st_ino == opened.st_ino && named.st_dev == opened.st_dev)
			return LARDER_OK;
		file_close(*fd);
	}
	file_close(*fd);
	*fd = -1;
	return rc;
}

static int
write_new(struct identity *id, int root_fd, struct larder_err *err)
{
	struct buf bytes = { 0 };
	int rc;

	rc = id16_random(&id->writer, err);
	if (rc < 0)
		return rc;
	rc = encode(&bytes, id);
	if (rc < 0)
		buf_err(&bytes, rc, err);
	else
		rc = file_write_whole(root_fd, writer_path, bytes.data, bytes.len, 0600, true, err);
	/* renamed, but perhaps not for good: the next try draws another, and syncs that */
	if (rc == LARDER_ERR_IO && file_unlink(root_fd, writer_path, NULL) < 0) {
		/* there is none */
	}
	buf_release(&bytes);
	return rc;
}

int
identity_claim(struct identity *out, bool *changed, int root_fd, struct larder_err *err)
{
	struct identity here = { .known = true }, have;
	int fd = -1, rc;

	*changed = false;
	rc = look_here(&here, root_fd, err);
	if (rc == 0)
		rc = open_locked(&fd, root_fd, err);
	if (rc == 0)
		rc = identity_read(&have, root_fd, err);
	if (rc < 0)
		goto out;
	if (!have.known || !same_place(&have, &here)) {
		rc = write_new(&here, root_fd, err);
		if (rc < 0)
			goto out;
		have = here;
		*changed = true;
	}
	*out = have;
out:
	file_close(fd);
	if (rc < 0)
		err_prefix(err, "writer");
	return rc;
}

int
identity_forget(struct identity *identity, int root_fd, struct larder_err *err)
{
	int rc;

	rc = file_unlink(root_fd, writer_path, err);
	if (rc == 0)
		rc = file_sync_dir(root_fd, ".", err);
	if (rc == LARDER_ERR_NOT_FOUND)
		rc = LARDER_OK;
	if (rc == 0)
		*identity = (struct identity) { 0 };
	return rc;
}
