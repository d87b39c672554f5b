/*
 * A writer's folder, read: shared state, segments, frames.
 *
 * 1. The shared state counts only in the boot in which it was written, and only when its
 *    CRC is right: it is read while others write it.
 * 2. A frame counts when its CRC, its sequence and its chain are right. Only after damage
 *    is a frame believed by CRC alone, so that what stands behind it can still be read.
 * 3. Nothing is written here.
 */
#include "cas/journal_scan.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "cas/base/bytes.h"
#include "cas/base/crc32c.h"
#include "cas/base/err.h"
#include "cas/base/file.h"
#include "cas/base/mem.h"

/* ---- shared state ---- */

enum {
	RECORD_CRC_AT = JOURNAL_RECORD_LEN - 4,
	RECORD_VERSION = 1,

	SYNCED_BOOT_AT = 0,
	SYNCED_SEGMENT_AT = 16,
	SYNCED_DURABLE_AT = 24,
	SYNCED_SYNCING_AT = 32,
	SYNCED_BAD_AT = 33,
	SYNCED_VERSION_AT = 34,

	APPENDED_END_AT = 0,
	APPENDED_SEQUENCE_AT = 8,
	APPENDED_TIME_AT = 16,
	APPENDED_CHAIN_AT = 24,
	APPENDED_RESERVED_AT = 56,
	APPENDED_PLACE_LEN = 24, /* boot and segment: in its CRC, not in its bytes */
};

static_assert(APPENDED_CHAIN_AT + LARDER_ID_LEN == APPENDED_RESERVED_AT, "fields add up");
static_assert(APPENDED_RESERVED_AT + 4 == RECORD_CRC_AT, "fields add up to the record");

static const char lock_name[] = "lock";

void
journal_synced_encode(uint8_t out[JOURNAL_RECORD_LEN], const struct journal_synced *synced)
{
	memset(out, 0, JOURNAL_RECORD_LEN);
	memcpy(out + SYNCED_BOOT_AT, synced->boot.bytes, ID16_LEN);
	put_le64(out + SYNCED_SEGMENT_AT, synced->segment);
	put_le64(out + SYNCED_DURABLE_AT, synced->durable);
	out[SYNCED_SYNCING_AT] = synced->syncing;
	out[SYNCED_BAD_AT] = synced->bad;
	out[SYNCED_VERSION_AT] = RECORD_VERSION;
	put_le32(out + RECORD_CRC_AT, crc32c(0, out, RECORD_CRC_AT));
}

/* The CRC of an appended record begins with what it belongs to: it counts nowhere else. */
static uint32_t
appended_crc(const uint8_t *record, const struct id16 *boot, uint64_t segment)
{
	uint8_t place[APPENDED_PLACE_LEN];

	memcpy(place, boot->bytes, ID16_LEN);
	put_le64(place + ID16_LEN, segment);
	return crc32c(crc32c(0, place, sizeof place), record, RECORD_CRC_AT);
}

void
journal_appended_encode(uint8_t out[JOURNAL_RECORD_LEN], const struct journal_appended *appended,
    const struct id16 *boot)
{
	memset(out, 0, JOURNAL_RECORD_LEN);
	put_le64(out + APPENDED_END_AT, appended->end);
	put_le64(out + APPENDED_SEQUENCE_AT, appended->sequence);
	put_le64(out + APPENDED_TIME_AT, (uint64_t)appended->time_ns);
	memcpy(out + APPENDED_CHAIN_AT, appended->chain.bytes, LARDER_ID_LEN);
	put_le32(out + RECORD_CRC_AT, appended_crc(out, boot, appended->segment));
}

int
journal_boot(struct id16 *boot, struct larder_err *err)
{
	static const char path[] = "/proc/sys/kernel/random/boot_id";
	struct buf text = { 0 };
	char hex[ID16_HEX_LEN];
	size_t n = 0;
	int rc;

	rc = file_read_whole(&text, AT_FDCWD, path, 256, err);
	if (rc < 0)
		goto out;
	for (size_t i = 0; i < text.len && n < sizeof hex; i++)
		if (text.data[i] != '-')
			hex[n++] = (char)text.data[i];
	if (!id16_from_hex(boot, hex, n))
		rc = err_set(err, LARDER_ERR_IO, "%s holds no id", path);
out:
	buf_release(&text);
	if (rc < 0) {
		err_prefix(err, "which boot is this?");
		err_hint(err, "a store needs /proc to be mounted");
	}
	return rc;
}

static bool
decode_synced(struct journal_synced *out, const uint8_t *in)
{
	if (get_le32(in + RECORD_CRC_AT) != crc32c(0, in, RECORD_CRC_AT))
		return false;
	if (in[SYNCED_VERSION_AT] != RECORD_VERSION)
		return false;
	memcpy(out->boot.bytes, in + SYNCED_BOOT_AT, ID16_LEN);
	out->segment = get_le64(in + SYNCED_SEGMENT_AT);
	out->durable = get_le64(in + SYNCED_DURABLE_AT);
	out->syncing = in[SYNCED_SYNCING_AT] != 0;
	out->bad = in[SYNCED_BAD_AT] != 0;
	return true;
}

/* One look: 1 = right, 0 = not there or not right (now). */
static int
look_at_synced(struct journal_synced *out, int lock_fd, struct larder_err *err)
{
	uint8_t record[JOURNAL_RECORD_LEN];
	size_t got;
	int rc;

	rc = file_pread_some(
	    &got, lock_fd, record, sizeof record, JOURNAL_SYNCED_AT, lock_name, err);
	if (rc < 0)
		return rc;
	return got == sizeof record && decode_synced(out, record);
}

int
journal_synced_read(
    struct journal_synced *out, int lock_fd, const struct id16 *boot, struct larder_err *err)
{
	enum { LOOKS = 8 };
	int rc = 0;

	/* A read that meets a write sees half of it: the CRC tells, and the next look is right. */
	for (int i = 0; i < LOOKS && rc == 0; i++)
		rc = look_at_synced(out, lock_fd, err);
	if (rc <= 0)
		return rc;
	return memcmp(out->boot.bytes, boot->bytes, ID16_LEN) == 0;
}

int
journal_appended_read(struct journal_appended *out, int lock_fd, const struct id16 *boot,
    uint64_t segment, struct larder_err *err)
{
	uint8_t in[JOURNAL_RECORD_LEN];
	size_t got;
	int rc;

	rc = file_pread_some(&got, lock_fd, in, sizeof in, JOURNAL_APPENDED_AT, lock_name, err);
	if (rc < 0)
		return rc;
	if (got < sizeof in || get_le32(in + RECORD_CRC_AT) != appended_crc(in, boot, segment))
		return 0;
	out->segment = segment;
	out->end = get_le64(in + APPENDED_END_AT);
	out->sequence = get_le64(in + APPENDED_SEQUENCE_AT);
	out->time_ns = (int64_t)get_le64(in + APPENDED_TIME_AT);
	memcpy(out->chain.bytes, in + APPENDED_CHAIN_AT, LARDER_ID_LEN);
	return 1;
}

/* ---- the folder ---- */

void
journal_folder(char out[JOURNAL_FOLDER_LEN], const struct id16 *writer)
{
	char hex[ID16_HEX_LEN + 1];

	id16_to_hex(hex, writer);
	snprintf(out, JOURNAL_FOLDER_LEN, "journal/%s", hex);
}

void
journal_name(char out[JOURNAL_NAME_LEN], uint64_t first)
{
	snprintf(out, JOURNAL_NAME_LEN, "%016llx", (unsigned long long)first);
}

/* 16 lower-case hex digits, not 0: else no segment, but something beside them. */
static bool
parse_name(uint64_t *first, const char *name)
{
	uint8_t bytes[8];
	char again[JOURNAL_NAME_LEN];

	if (!hex_decode(bytes, sizeof bytes, name, strlen(name)))
		return false;
	*first = get_be64(bytes);
	journal_name(again, *first);
	return *first != 0 && strcmp(again, name) == 0;
}

int
journal_list(uint64_t **firsts, size_t *count, int folder_fd, struct larder_err *err)
{
	char **names;
	size_t name_count;
	int rc;

	*firsts = NULL;
	*count = 0;
	rc = file_list(&names, &name_count, folder_fd, ".", err);
	if (rc < 0)
		return rc;
	*firsts = mem_array(name_count + 1, sizeof **firsts);
	if (*firsts == NULL) {
		rc = err_nomem(err);
		goto out;
	}
	for (size_t i = 0; i < name_count; i++)
		if (parse_name(*firsts + *count, names[i]))
			(*count)++; /* sorted as names, so sorted as numbers */
out:
	mem_free(names);
	return rc;
}

int
journal_segment_open(int *fd, struct journal_segment_header *header, int folder_fd, uint64_t first,
    int flags, const struct id16 *store, const struct id16 *writer, struct larder_err *err)
{
	uint8_t bytes[JOURNAL_SEGMENT_HEADER_LEN];
	char name[JOURNAL_NAME_LEN];
	int rc;

	journal_name(name, first);
	rc = file_open(fd, folder_fd, name, flags | O_NOFOLLOW, 0, err);
	if (rc < 0)
		return rc;
	rc = file_pread_all(*fd, bytes, sizeof bytes, 0, name, err);
	if (rc < 0)
		goto out;
	rc = journal_segment_header_decode(header, bytes, sizeof bytes, err);
	if (rc < 0) {
		err_prefix(err, "%s", name);
		goto out;
	}
	if (memcmp(header->store.bytes, store->bytes, ID16_LEN) != 0)
		rc = err_set(err, LARDER_ERR_CORRUPT, "%s belongs to another store", name);
	else if (memcmp(header->writer.bytes, writer->bytes, ID16_LEN) != 0)
		rc = err_set(err, LARDER_ERR_CORRUPT, "%s belongs to another writer", name);
	else if (header->first != first)
		rc = err_set(err, LARDER_ERR_CORRUPT, "%s has the header of another segment", name);
out:
	if (rc < 0) {
		file_close(*fd);
		*fd = -1;
	}
	return rc;
}

/* ---- frames ---- */

enum {
	FRAME_MAX = ENTRY_FRAME_HEAD_LEN + ENTRY_LEN_MAX + ENTRY_FRAME_TAIL_LEN,
	/* A window holds any frame and, on the way through many, is refilled seldom. */
	WINDOW_MAX = FRAME_MAX + 1024 * 1024,
};

void
journal_walk_begin(struct journal_walk *walk, int fd, uint64_t first, uint64_t at, uint64_t limit,
    uint64_t sequence, const struct larder_id *chain)
{
	*walk = (struct journal_walk) {
		.fd = fd,
		.at = at,
		.limit = limit,
		.sequence = sequence,
		.time_ns = INT64_MIN,
		.chain = *chain,
		.window_at = at,
	};
	journal_name(walk->name, first);
	buf_init(&walk->window, WINDOW_MAX);
}

void
journal_walk_release(struct journal_walk *walk)
{
	buf_release(&walk->window);
}

/* The bytes at `at`: as many as a frame may need, or as there are before the limit. */
static int
look(const uint8_t **data, size_t *len, struct journal_walk *walk, uint64_t at,
    struct larder_err *err)
{
	struct buf *window = &walk->window;
	uint64_t left = walk->limit - at;
	size_t want = left < FRAME_MAX ? (size_t)left : FRAME_MAX, keep = 0, more, got;
	int rc;

	assert(at <= walk->limit && at >= walk->window_at);
	if (at < walk->window_at + window->len)
		keep = (size_t)(walk->window_at + window->len - at);
	if (keep < want) {
		if (keep > 0)
			memmove(window->data, window->data + (window->len - keep), keep);
		window->len = keep;
		walk->window_at = at;
		more = left < WINDOW_MAX ? (size_t)left - keep : WINDOW_MAX - keep;
		rc = buf_reserve(window, more);
		if (rc < 0)
			return buf_err(window, rc, err);
		rc = file_pread_some(
		    &got, walk->fd, window->data + keep, more, at + keep, walk->name, err);
		if (rc < 0)
			return rc;
		window->len += got;
	}
	*data = window->data != NULL ? window->data + (at - walk->window_at) : (const uint8_t *)"";
	*len = (size_t)(walk->window_at + window->len - at);
	return LARDER_OK;
}

int
journal_walk_next(struct journal_walk *walk, struct entry_frame *frame, struct larder_err *err)
{
	const uint8_t *data;
	struct larder_id chain;
	size_t len, used;
	int rc;

	if (walk->at == walk->limit)
		return 0;
	rc = look(&data, &len, walk, walk->at, err);
	if (rc < 0)
		return rc;
	rc = entry_frame_decode(frame, &used, data, len, err);
	if (rc < 0)
		goto refuse;
	if (frame->sequence != walk->sequence + 1) {
		rc = err_set(err, LARDER_ERR_CORRUPT, "journal entry %llu where %llu should stand",
		    (unsigned long long)frame->sequence, (unsigned long long)walk->sequence + 1);
		goto refuse;
	}
	entry_frame_chain(&chain, &walk->chain, data, used);
	if (!walk->believe && !id_equal(&chain, &frame->chain)) {
		rc = err_set(err, LARDER_ERR_CORRUPT,
		    "journal entry %llu does not follow from the one before: its chain differs",
		    (unsigned long long)frame->sequence);
		goto refuse;
	}
	walk->at += used;
	walk->believe = false;
	walk->sequence = frame->sequence;
	walk->time_ns = frame->time_ns;
	walk->chain = frame->chain;
	return 1;
refuse:
	err_prefix(err, "%s at %llu", walk->name, (unsigned long long)walk->at);
	return rc;
}

/* The next frame from `*at` on that is whole and of a higher sequence: 1 and its place, or 0. */
static int
search(struct entry_frame *frame, uint64_t *at, struct journal_walk *walk, struct larder_err *err)
{
	const uint8_t *data;
	size_t len, used;
	int rc;

	for (; *at < walk->limit; (*at)++) {
		rc = look(&data, &len, walk, *at, err);
		if (rc < 0)
			return rc;
		if (len == 0)
			break; /* the file is shorter than it should be */
		if (entry_frame_decode(frame, &used, data, len, NULL) == 0 &&
		    frame->sequence > walk->sequence)
			return 1;
	}
	return 0;
}

/* A search is over: the window begins again where the walk is. */
static void
rewind_window(struct journal_walk *walk)
{
	buf_clear(&walk->window);
	walk->window_at = walk->at;
}

int
journal_walk_skip(struct journal_walk *walk, struct larder_err *err)
{
	struct entry_frame frame;
	uint64_t at =
	    walk->at; /* a frame refused for its sequence or chain is whole and stands here */
	int rc;

	rc = search(&frame, &at, walk, err);
	if (rc == 1) {
		walk->at = at;
		walk->sequence = frame.sequence - 1;
		walk->believe = true;
	}
	rewind_window(walk);
	return rc;
}

int
journal_walk_proof(struct journal_walk *walk, struct larder_err *err)
{
	struct entry_frame frame;
	uint64_t at = walk->at;
	int rc;

	while ((rc = search(&frame, &at, walk, err)) == 1) {
		if (frame.durable > walk->at)
			break;
		at++;
	}
	rewind_window(walk);
	return rc;
}
