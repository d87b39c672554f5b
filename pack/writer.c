/*
 * A writer appends segments to one new pack and then seals it.
 *
 * 1. Until sealed, the pack has a name in tmp/ and nobody else reads it.
 * 2. Sealing writes directory and footer (finish), syncs the file, closes it and
 *    renames it (sync); the caller syncs the folder (pack_sync_dirs). After that
 *    the file never changes, which its mode says too.
 * 3. The first error is the last word: a writer that had one does nothing more
 *    but close, and its pack is never used. A failed sync is never tried again.
 * 4. A writer that is closed without sealing leaves nothing that matters behind.
 *
 * Writes go out in pieces of at least WRITE_MIN, one behind the other, and the
 * kernel is asked to start writing them back at once: at the time of the fsync
 * most of the pack is on its way (16 MiB packs on ext4: fsync 2 ms instead of 8,
 * 1.9 GB/s instead of 1.2). That asking is a hint, so its answer is not looked
 * at; what fails shows in the fsync.
 *
 * The bytes are described in FORMAT.md; reading them is pack/reader.c; when to
 * seal is decided by the caller (cas/commit.c).
 */
#include "pack/pack.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "cas/base/err.h"
#include "cas/base/file.h"
#include "cas/base/mem.h"
#include "cas/base/sha256.h"
#include "cas/base/trace.h"
#include "pack/format.h"

enum {
	WRITE_MIN = 256 * 1024, /* larger pieces are no faster */
	WRITE_BACK_MIN = 1024 * 1024,
	TMP_PATH_LEN = 4 + 5 + ID16_HEX_LEN + 1, /* "tmp/pack-..." */
};

enum state { OPEN, FINISHED, SEALED };

struct pack_writer {
	enum state state;
	enum larder_status failed; /* 0, or the status of the first error */
	int root_fd;
	int fd; /* -1 when closed */
	char tmp_path[TMP_PATH_LEN];
	uint64_t written;      /* bytes that the file has */
	uint64_t written_back; /* of these, asked to be written back */
	struct buf pending;    /* bytes behind `written` */
	struct pack_directory directory;
	size_t segments_room, chunks_room;
	struct buf tail;
};

void
pack_path(char out[PACK_PATH_LEN], const struct id16 *pack)
{
	char hex[ID16_HEX_LEN + 1];

	id16_to_hex(hex, pack);
	snprintf(out, PACK_PATH_LEN, "packs/%.2s/%s", hex, hex);
}

int
pack_writer_open(struct pack_writer **out, int root_fd, struct larder_err *err)
{
	struct pack_writer *writer;
	struct pack_header header = { 0 };
	uint8_t bytes[PACK_HEADER_LEN];
	char hex[ID16_HEX_LEN + 1];
	int rc;

	*out = NULL;
	writer = mem_zalloc(sizeof *writer);
	if (writer == NULL)
		return err_nomem(err);
	writer->fd = -1;
	writer->root_fd = root_fd;
	buf_init(&writer->pending, 2 * (size_t)PACK_FILE_MAX);
	buf_init(&writer->tail, PACK_FILE_MAX);

	rc = id16_random(&header.id, err);
	if (rc < 0)
		goto out;
	writer->directory.id = header.id;
	pack_header_encode(bytes, &header);
	rc = buf_append(&writer->pending, bytes, sizeof bytes);
	if (rc < 0) {
		buf_err(&writer->pending, rc, err);
		goto out;
	}

	id16_to_hex(hex, &header.id);
	snprintf(writer->tmp_path, sizeof writer->tmp_path, "tmp/pack-%s", hex);
	rc = file_open(
	    &writer->fd, root_fd, writer->tmp_path, O_WRONLY | O_CREAT | O_EXCL, 0444, err);
	if (rc < 0) {
		writer->fd = -1;
		goto out;
	}
	*out = writer;
	writer = NULL;
out:
	pack_writer_close(writer);
	return rc;
}

void
pack_writer_close(struct pack_writer *writer)
{
	if (writer == NULL)
		return;
	file_close(writer->fd);
	if (writer->state != SEALED && writer->tmp_path[0] != '\0' &&
	    file_unlink(writer->root_fd, writer->tmp_path, NULL) < 0) {
		/*
		 * tmp/ is cleared by whoever opens the store. And if it was a rename that said
		 * it failed and did not, the pack is one that no entry names: gc's.
		 */
	}
	buf_release(&writer->pending);
	buf_release(&writer->tail);
	pack_directory_release(&writer->directory);
	mem_free(writer);
}

const struct id16 *
pack_writer_id(const struct pack_writer *writer)
{
	return &writer->directory.id;
}

uint64_t
pack_writer_size(const struct pack_writer *writer)
{
	return writer->written + writer->pending.len;
}

uint32_t
pack_writer_chunks(const struct pack_writer *writer)
{
	return writer->directory.chunk_count;
}

static int
fail(struct pack_writer *writer, int rc)
{
	writer->failed = (enum larder_status)rc;
	return rc;
}

/* Nothing is done after an error; the caller sees the first one's status again. */
static int
check_usable(const struct pack_writer *writer, enum state state, struct larder_err *err)
{
	assert(writer->state == state);
	if (writer->failed == 0)
		return LARDER_OK;
	return err_set(
	    err, writer->failed, "%s: given up after an earlier error", writer->tmp_path);
}

static void
start_write_back(struct pack_writer *writer)
{
#ifdef SYNC_FILE_RANGE_WRITE
	if (sync_file_range(writer->fd, (off_t)writer->written_back,
		(off_t)(writer->written - writer->written_back), SYNC_FILE_RANGE_WRITE) < 0) {
		/* a hint: fsync tells */
	}
#endif
	writer->written_back = writer->written;
}

static int
write_out(struct pack_writer *writer, struct larder_err *err)
{
	int rc;

	rc = file_pwrite_all(writer->fd, writer->pending.data, writer->pending.len, writer->written,
	    writer->tmp_path, err);
	if (rc < 0)
		return fail(writer, rc);
	writer->written += writer->pending.len;
	buf_clear(&writer->pending);
	if (writer->written - writer->written_back >= WRITE_BACK_MIN)
		start_write_back(writer);
	return LARDER_OK;
}

/* ---- appending ---- */

/* Makes room for `more` more elements in an array that doubles. */
static void *
grow(void *array, size_t *room, size_t count, size_t more, size_t size)
{
	size_t want = *room < 64 ? 64 : *room;
	void *bigger;

	if (array != NULL && *room - count >= more)
		return array;
	while (want - count < more)
		want *= 2;
	bigger = mem_resize(array, want, size);
	if (bigger != NULL)
		*room = want;
	return bigger;
}

static bool
reserve_directory(struct pack_writer *writer, uint32_t count)
{
	struct pack_directory *d = &writer->directory;
	size_t room = writer->chunks_room;
	void *bigger;

	bigger =
	    grow(d->segments, &writer->segments_room, d->segment_count, 1, sizeof *d->segments);
	if (bigger == NULL)
		return false;
	d->segments = bigger;

	/* three arrays of one length: the room counts when all have it */
	bigger = grow(d->ids, &room, d->chunk_count, count, sizeof *d->ids);
	if (bigger == NULL)
		return false;
	d->ids = bigger;
	if (room == writer->chunks_room)
		return true;
	bigger = mem_resize(d->lengths, room, sizeof *d->lengths);
	if (bigger == NULL)
		return false;
	d->lengths = bigger;
	bigger = mem_resize(d->chunk_ats, room, sizeof *d->chunk_ats);
	if (bigger == NULL)
		return false;
	d->chunk_ats = bigger;
	writer->chunks_room = room;
	return true;
}

static void
note_segment(struct pack_directory *d, const struct pack_segment *segment, uint32_t at,
    size_t segment_len, const struct larder_id *ids, const uint32_t *lengths, uint32_t count)
{
	uint32_t plain = 0;

	d->segments[d->segment_count++] = (struct pack_directory_segment){
		.at = at,
		.len = (uint32_t)segment_len,
		.chunk_first = d->chunk_count,
		.chunk_count = count,
		.depth = (uint8_t)segment->depth,
		.type = (uint8_t)segment->type,
	};
	for (uint32_t i = 0; i < count; i++) {
		d->ids[d->chunk_count + i] = ids[i];
		d->lengths[d->chunk_count + i] = lengths[i];
		d->chunk_ats[d->chunk_count + i] = plain;
		plain += lengths[i];
	}
	d->chunk_count += count;
}

/* Whether a segment of these chunks can be appended; makes room for it in the directory. */
static int
accept_segment(struct pack_writer *writer, const struct pack_segment *header,
    const uint32_t *lengths, uint32_t count, struct larder_err *err)
{
	const struct pack_directory *d = &writer->directory;
	uint64_t plain = 0, len;
	int rc;

	rc = check_usable(writer, OPEN, err);
	if (rc < 0)
		return rc;
	assert(count >= 1 && (count == 1 || header->depth == 0));
	for (uint32_t i = 0; i < count; i++) {
		assert(lengths[i] >= 1);
		plain += lengths[i];
	}
	assert(plain == header->plain_len);

	if (count > PACK_CHUNKS_MAX - d->chunk_count)
		return err_set(err, LARDER_ERR_LIMIT,
		    "pack of more than PACK_CHUNKS_MAX (%d) chunks", PACK_CHUNKS_MAX);
	len = pack_writer_size(writer) + PACK_SEGMENT_HEADER_LEN + header->store_len +
	      pack_directory_len_max(
		  (uint64_t)d->segment_count + 1, (uint64_t)d->chunk_count + count) +
	      PACK_FOOTER_LEN;
	if (len > PACK_FILE_MAX)
		return err_set(err, LARDER_ERR_LIMIT, "pack of more than PACK_FILE_MAX (%d) bytes",
		    PACK_FILE_MAX);
	if (!reserve_directory(writer, count))
		return fail(writer, err_nomem(err));
	return LARDER_OK;
}

/* The segment's bytes are the last of `pending` now: into the directory, and out if there is
 * enough. */
static int
settle_segment(struct pack_writer *writer, const struct pack_segment *header,
    const struct larder_id *ids, const uint32_t *lengths, uint32_t count, uint32_t *segment_at,
    struct larder_err *err)
{
	const size_t len = PACK_SEGMENT_HEADER_LEN + (size_t)header->store_len;

	*segment_at = (uint32_t)(pack_writer_size(writer) - len);
	note_segment(&writer->directory, header, *segment_at, len, ids, lengths, count);
	return writer->pending.len < WRITE_MIN ? LARDER_OK : write_out(writer, err);
}

int
pack_writer_append(struct pack_writer *writer, const uint8_t *segment, size_t segment_len,
    const struct larder_id *ids, const uint32_t *lengths, uint32_t count, uint32_t *segment_at,
    struct larder_err *err)
{
	struct pack_segment header = { 0 };
	int rc;

	rc = pack_segment_decode(&header, NULL, segment, segment_len, NULL);
	assert(rc == 0 && segment_len == PACK_SEGMENT_HEADER_LEN + (size_t)header.store_len);

	rc = accept_segment(writer, &header, lengths, count, err);
	if (rc < 0)
		return rc;
	rc = buf_append(&writer->pending, segment, segment_len);
	if (rc < 0)
		return fail(writer, buf_err(&writer->pending, rc, err));
	return settle_segment(writer, &header, ids, lengths, count, segment_at, err);
}

int
pack_writer_append_stored(struct pack_writer *writer, const struct pack_segment *segment,
    const uint8_t *stored, const struct larder_id *ids, const uint32_t *lengths, uint32_t count,
    uint32_t *segment_at, struct larder_err *err)
{
	struct buf *pending = &writer->pending;
	uint8_t *header;
	int rc;

	rc = accept_segment(writer, segment, lengths, count, err);
	if (rc < 0)
		return rc;
	rc = buf_reserve(pending, PACK_SEGMENT_HEADER_LEN + (size_t)segment->store_len);
	if (rc < 0)
		return fail(writer, buf_err(pending, rc, err));
	header = pending->data + pending->len;
	memcpy(header + PACK_SEGMENT_HEADER_LEN, stored, segment->store_len);
	pack_segment_encode(header, segment);
	pending->len += PACK_SEGMENT_HEADER_LEN + (size_t)segment->store_len;
	return settle_segment(writer, segment, ids, lengths, count, segment_at, err);
}

/* ---- sealing ---- */

static int
encode_tail(struct pack_writer *writer, struct larder_err *err)
{
	struct pack_footer footer = { 0 };
	struct pack_codec *codec = NULL;
	uint8_t bytes[PACK_FOOTER_LEN];
	int rc;

	rc = pack_codec_open(&codec, err);
	if (rc < 0)
		goto out;
	rc = pack_directory_encode(&writer->tail, codec, &writer->directory, err);
	if (rc < 0)
		goto out;
	sha256(&footer.digest, writer->tail.data, writer->tail.len);
	footer.id = writer->directory.id;
	footer.directory_at = (uint32_t)pack_writer_size(writer);
	footer.directory_len = (uint32_t)writer->tail.len;
	pack_footer_encode(bytes, &footer);
	rc = buf_append(&writer->tail, bytes, sizeof bytes);
	if (rc < 0)
		buf_err(&writer->tail, rc, err);
out:
	pack_codec_close(codec);
	return rc;
}

int
pack_writer_finish(struct pack_writer *writer, struct larder_err *err)
{
	int rc;

	rc = check_usable(writer, OPEN, err);
	if (rc < 0)
		return rc;
	if (writer->directory.segment_count == 0)
		return fail(writer, err_set(err, LARDER_ERR_USAGE, "a pack without segments"));
	rc = encode_tail(writer, err);
	if (rc < 0)
		return fail(writer, rc);
	rc = buf_append(&writer->pending, writer->tail.data, writer->tail.len);
	if (rc < 0)
		return fail(writer, buf_err(&writer->pending, rc, err));
	rc = write_out(writer, err);
	if (rc < 0)
		return rc;
	start_write_back(writer);
	buf_release(&writer->pending); /* many finished packs may wait for their sync together */
	writer->directory.file_len = writer->written;
	writer->state = FINISHED;
	return LARDER_OK;
}

int
pack_writer_sync(struct pack_writer *writer, struct larder_err *err)
{
	char path[PACK_PATH_LEN];
	int fd, rc;

	rc = check_usable(writer, FINISHED, err);
	if (rc < 0)
		return rc;
	rc = file_sync(writer->fd, writer->tmp_path, err);
	if (rc < 0)
		return fail(writer, rc);
	fd = writer->fd;
	writer->fd = -1; /* closed even when closing fails */
	rc = file_close_checked(fd, writer->tmp_path, err);
	if (rc < 0)
		return fail(writer, rc);
	pack_path(path, &writer->directory.id);
	rc = file_rename(writer->root_fd, writer->tmp_path, writer->root_fd, path, err);
	if (rc < 0)
		return fail(writer, rc);
	writer->state = SEALED;
	trace_add(TRACE_packs_sealed, 1);
	return LARDER_OK;
}

const struct pack_directory *
pack_writer_directory(const struct pack_writer *writer)
{
	assert(writer->state != OPEN);
	return &writer->directory;
}

const uint8_t *
pack_writer_tail(const struct pack_writer *writer, size_t *len)
{
	assert(writer->state != OPEN);
	*len = writer->tail.len;
	return writer->tail.data;
}

/* ---- folders ---- */

int
pack_sync_dirs(int root_fd, const struct id16 *ids, size_t count, struct larder_err *err)
{
	bool dirty[256] = { false };
	char path[sizeof "packs/xx"];
	int rc = LARDER_OK;

	for (size_t i = 0; i < count; i++)
		dirty[ids[i].bytes[0]] = true;
	for (unsigned i = 0; i < 256 && rc == 0; i++) {
		if (!dirty[i])
			continue;
		snprintf(path, sizeof path, "packs/%02x", i);
		rc = file_sync_dir(root_fd, path, err);
	}
	return rc;
}

static int
make_dir(int root_fd, const char *path, struct larder_err *err)
{
	int rc = file_mkdir(root_fd, path, 0777, err);

	return rc == LARDER_ERR_EXISTS ? LARDER_OK : rc;
}

int
pack_make_dirs(int root_fd, struct larder_err *err)
{
	char path[sizeof "packs/xx"];
	int rc;

	rc = make_dir(root_fd, "packs", err);
	for (unsigned i = 0; i < 256 && rc == 0; i++) {
		snprintf(path, sizeof path, "packs/%02x", i);
		rc = make_dir(root_fd, path, err);
	}
	/* from the leaves to the root, so that no name is durable before what it names */
	for (unsigned i = 0; i < 256 && rc == 0; i++) {
		snprintf(path, sizeof path, "packs/%02x", i);
		rc = file_sync_dir(root_fd, path, err);
	}
	if (rc == 0)
		rc = file_sync_dir(root_fd, "packs", err);
	if (rc == 0)
		rc = file_sync_dir(root_fd, ".", err);
	return rc;
}
