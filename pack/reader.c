/*
 * Reading segments by their place, through descriptors that stay open.
 *
 * 1. At most PACK_FILES_OPEN_MAX packs are kept open; the one that was not used
 *    for longest goes first. A pack that is being read is never closed; when all
 *    are being read, another one is opened for that one reading only, so there
 *    are at most as many more as there are threads.
 * 2. The mutex guards the table and nothing else: no file is opened, read or
 *    closed under it.
 * 3. What is read is checked before it is believed: the header's bounds before
 *    its length is used, the checksum over header and stored bytes before anyone
 *    sees them.
 *
 * A pack never changes and its id is never used again, so a descriptor never
 * goes stale; one whose pack was removed still reads what it was.
 */
#include "pack/reader.h"

#include <assert.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>

#include "cas/base/err.h"
#include "cas/base/file.h"
#include "cas/base/mem.h"
#include "pack/format.h"

enum { READ_GUESS = 16 * 1024 }; /* bytes read when the caller has no hint */

struct pack_slot {
	struct id16 id;
	int fd;           /* -1 = the slot is free */
	unsigned readers; /* under the mutex of the files, like everything but a lent fd */
	bool forget;      /* who gives it back last closes it, and it is not found any more */
	bool alone;       /* not in the table: one reading's own */
	uint64_t used;    /* when, in takes */
};

struct pack_files {
	int root_fd;
	pthread_mutex_t mutex;
	uint64_t takes;
	struct pack_slot slots[PACK_FILES_OPEN_MAX];
};

int
pack_files_open(struct pack_files **out, int root_fd, struct larder_err *err)
{
	struct pack_files *files;

	*out = NULL;
	files = mem_zalloc(sizeof *files);
	if (files == NULL)
		return err_nomem(err);
	if (pthread_mutex_init(&files->mutex, NULL) != 0) {
		mem_free(files);
		return err_nomem(err);
	}
	files->root_fd = root_fd;
	for (int i = 0; i < PACK_FILES_OPEN_MAX; i++)
		files->slots[i].fd = -1;
	*out = files;
	return LARDER_OK;
}

void
pack_files_close(struct pack_files *files)
{
	if (files == NULL)
		return;
	for (int i = 0; i < PACK_FILES_OPEN_MAX; i++) {
		assert(files->slots[i].readers == 0);
		file_close(files->slots[i].fd);
	}
	pthread_mutex_destroy(&files->mutex);
	mem_free(files);
}

/* ---- the table; all of these under the mutex ---- */

static struct pack_slot *
find(struct pack_files *files, const struct id16 *pack)
{
	for (int i = 0; i < PACK_FILES_OPEN_MAX; i++) {
		struct pack_slot *slot = &files->slots[i];

		if (slot->fd >= 0 && !slot->forget && memcmp(&slot->id, pack, sizeof *pack) == 0)
			return slot;
	}
	return NULL;
}

static void
lend(struct pack_files *files, struct pack_slot *slot)
{
	slot->readers++;
	slot->used = ++files->takes;
}

/* A free slot, or the one whose pack was not used for longest; NULL when all are being read. */
static struct pack_slot *
pick(struct pack_files *files)
{
	struct pack_slot *best = NULL;

	for (int i = 0; i < PACK_FILES_OPEN_MAX; i++) {
		struct pack_slot *slot = &files->slots[i];

		if (slot->fd < 0)
			return slot;
		if (slot->readers == 0 && (best == NULL || slot->used < best->used))
			best = slot;
	}
	return best;
}

/*
 * Gives the new descriptor a slot. *close_fd gets one that is to be closed: the
 * old one of the slot, or the new one if another thread was faster.
 */
static struct pack_slot *
settle(struct pack_files *files, const struct id16 *pack, int fd, int *close_fd)
{
	struct pack_slot *slot = find(files, pack);

	*close_fd = fd;
	if (slot == NULL) {
		slot = pick(files);
		if (slot == NULL)
			return NULL;
		*close_fd = slot->fd;
		*slot = (struct pack_slot){ .id = *pack, .fd = fd };
	}
	lend(files, slot);
	return slot;
}

/* ---- taking and giving back ---- */

static int
open_pack(int *fd, struct pack_files *files, const struct id16 *pack, struct larder_err *err)
{
	char path[PACK_PATH_LEN];
	char hex[ID16_HEX_LEN + 1];
	int rc;

	pack_path(path, pack);
	rc = file_open(fd, files->root_fd, path, O_RDONLY, 0, err);
	if (rc == LARDER_ERR_NOT_FOUND) {
		id16_to_hex(hex, pack);
		return err_set(err, rc, "pack %s is not there", hex);
	}
	return rc;
}

int
pack_files_take(struct pack_slot **out, int *fd, struct pack_files *files, const struct id16 *pack,
    struct larder_err *err)
{
	struct pack_slot *slot, *alone = NULL;
	int close_fd = -1, new_fd, rc;

	pthread_mutex_lock(&files->mutex);
	slot = find(files, pack);
	if (slot != NULL)
		lend(files, slot);
	pthread_mutex_unlock(&files->mutex);
	if (slot != NULL)
		goto done;

	rc = open_pack(&new_fd, files, pack, err);
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&files->mutex);
	slot = settle(files, pack, new_fd, &close_fd);
	pthread_mutex_unlock(&files->mutex);
	if (slot == NULL) {
		alone = mem_zalloc(sizeof *alone);
		if (alone == NULL) {
			file_close(new_fd);
			return err_nomem(err);
		}
		*alone = (struct pack_slot){ .fd = new_fd, .readers = 1, .alone = true };
		slot = alone;
		close_fd = -1;
	}
	file_close(close_fd);
done:
	*out = slot;
	*fd = slot->fd;
	return LARDER_OK;
}

void
pack_files_give_back(struct pack_files *files, struct pack_slot *slot)
{
	int close_fd = -1;

	if (slot->alone) {
		file_close(slot->fd);
		mem_free(slot);
		return;
	}
	pthread_mutex_lock(&files->mutex);
	assert(slot->readers > 0);
	slot->readers--;
	if (slot->readers == 0 && slot->forget) {
		close_fd = slot->fd;
		*slot = (struct pack_slot){ .fd = -1 };
	}
	pthread_mutex_unlock(&files->mutex);
	file_close(close_fd);
}

void
pack_files_forget(struct pack_files *files, const struct id16 *pack)
{
	struct pack_slot *slot;
	int close_fd = -1;

	pthread_mutex_lock(&files->mutex);
	slot = find(files, pack);
	if (slot != NULL && slot->readers > 0) {
		slot->forget = true;
	} else if (slot != NULL) {
		close_fd = slot->fd;
		*slot = (struct pack_slot){ .fd = -1 };
	}
	pthread_mutex_unlock(&files->mutex);
	file_close(close_fd);
}

/* ---- segments ---- */

/* Header and stored bytes into `bytes`, with one read if the guess is good. */
static int
read_segment(struct pack_segment *segment, uint32_t *crc, struct buf *bytes, int fd, uint64_t at,
    size_t guess, const char *path, struct larder_err *err)
{
	size_t got, want;
	int rc;

	rc = buf_resize(bytes, guess);
	if (rc < 0)
		return buf_err(bytes, rc, err);
	rc = file_pread_some(&got, fd, bytes->data, guess, at, path, err);
	if (rc < 0)
		return rc;
	rc = pack_segment_decode(segment, crc, bytes->data, got, err);
	if (rc < 0)
		return rc;
	want = PACK_SEGMENT_HEADER_LEN + (size_t)segment->store_len;
	if (got < guess && got < want)
		return err_set(
		    err, LARDER_ERR_CORRUPT, "segment cut short: %zu of %zu bytes", got, want);
	rc = buf_resize(bytes, want);
	if (rc < 0)
		return buf_err(bytes, rc, err);
	if (got < want)
		rc = file_pread_all(fd, bytes->data + got, want - got, at + got, path, err);
	return rc;
}

int
pack_segment_read(struct pack_segment *segment, struct buf *stored, struct pack_files *files,
    const struct id16 *pack, uint32_t segment_at, uint32_t len_hint, struct larder_err *err)
{
	struct pack_segment s = { 0 };
	struct pack_slot *slot;
	char path[PACK_PATH_LEN];
	char hex[ID16_HEX_LEN + 1];
	size_t guess = len_hint == 0 ? READ_GUESS : len_hint;
	uint32_t crc = 0;
	int fd = -1, rc;

	if (guess < PACK_SEGMENT_HEADER_LEN)
		guess = PACK_SEGMENT_HEADER_LEN;
	if (guess > PACK_SEGMENT_HEADER_LEN + PACK_PLAIN_MAX)
		guess = PACK_SEGMENT_HEADER_LEN + PACK_PLAIN_MAX;

	rc = pack_files_take(&slot, &fd, files, pack, err);
	if (rc < 0)
		return rc;
	pack_path(path, pack);
	rc = read_segment(&s, &crc, stored, fd, segment_at, guess, path, err);
	pack_files_give_back(files, slot);
	if (rc < 0)
		goto out;

	if (crc !=
	    pack_segment_crc(stored->data, stored->data + PACK_SEGMENT_HEADER_LEN, s.store_len)) {
		rc = err_set(err, LARDER_ERR_CORRUPT, "segment does not match its checksum");
		goto out;
	}
	memmove(stored->data, stored->data + PACK_SEGMENT_HEADER_LEN, s.store_len);
	stored->len = s.store_len;
	if (s.codec == PACK_CODEC_ZSTD_BASE)
		memcpy(s.base.bytes, stored->data, LARDER_ID_LEN);
	*segment = s;
out:
	if (rc == LARDER_ERR_CORRUPT) {
		id16_to_hex(hex, pack);
		err_prefix(err, "pack %s: segment at %u", hex, segment_at);
	}
	return rc;
}
