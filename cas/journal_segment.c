/*
 * Which segment is appended to, where it ends, and how the next one begins (journal.c, 4 and 5).
 *
 * The order in which a segment is left: everything in it that counts is durable; the shared
 * state says `bad`, so that nobody appends to it any more, whatever happens now; the next one
 * is there, durably, with a header that says where this one ends; the state names the next
 * one. Who dies in between leaves one way to go on: the header that the next process would
 * write is the one that is there.
 */
#include "cas/journal_own.h"

#include <fcntl.h>
#include <string.h>

#include "cas/base/err.h"
#include "cas/base/file.h"
#include "cas/base/mem.h"
#include "cas/base/trace.h"

/* ---- segments; under lock A and lock S ---- */

/* The descriptor that is kept: opened before anything is appended through it. */
static int
take_segment(struct journal *journal, uint64_t first, struct larder_err *err)
{
	struct journal_segment_header header;
	int fd, rc;

	rc = journal_segment_open(&fd, &header, journal->folder_fd, first, O_RDWR, &journal->store,
	    &journal->writer, err);
	if (rc < 0)
		return rc;
	file_close(journal->fd);
	journal->fd = fd;
	journal->segment = first;
	journal->header = header;
	return LARDER_OK;
}

/*
 * Durably there with this header. One that a process made and died over, or whose name it could
 * not sync, is made again: only what is new to the folder is surely written by its next sync.
 */
static int
place_header(
    struct journal *journal, const struct journal_segment_header *header, struct larder_err *err)
{
	uint8_t bytes[JOURNAL_SEGMENT_HEADER_LEN];
	struct buf have = { 0 };
	char name[JOURNAL_NAME_LEN];
	int rc;

	journal_segment_header_encode(bytes, header);
	journal_name(name, header->first);
	rc = file_write_whole(journal->folder_fd, name, bytes, sizeof bytes, 0600, false, err);
	if (rc != LARDER_ERR_EXISTS)
		return rc;
	rc = file_read_whole(&have, journal->folder_fd, name, sizeof bytes, err);
	if (rc == LARDER_ERR_LIMIT ||
	    (rc == 0 && (have.len != sizeof bytes || memcmp(have.data, bytes, sizeof bytes) != 0)))
		rc = err_set(err, LARDER_ERR_CORRUPT,
		    "%s is there already and continues something else", name);
	if (rc == 0)
		rc = file_write_whole(
		    journal->folder_fd, name, bytes, sizeof bytes, 0600, true, err);
	buf_release(&have);
	return rc;
}

/*
 * A new segment behind the open one, which ends at `last` and is durable up to there; behind
 * nothing when none is open. Its name is fresh: also an empty segment keeps its own.
 */
static int
make_segment(struct journal *journal, const struct journal_appended *last, struct larder_err *err)
{
	struct journal_segment_header header = {
		.store = journal->store,
		.writer = journal->writer,
		.first = last->sequence + 1,
	};
	struct journal_synced synced = { .boot = journal->boot };
	int64_t time_ns = last->time_ns;
	int rc;

	if (journal->fd >= 0) {
		header.previous_first = journal->segment;
		header.previous_len = last->end;
		header.previous_chain = last->chain;
		if (header.first <= header.previous_first)
			header.first = header.previous_first + 1;
	}
	rc = place_header(journal, &header, err);
	if (rc < 0)
		return rc;
	synced.segment = header.first;
	synced.durable = JOURNAL_SEGMENT_HEADER_LEN;
	rc = journal_write_synced(journal, &synced, err);
	if (rc < 0)
		return rc;
	rc = take_segment(journal, header.first, err);
	if (rc < 0)
		return rc;
	journal->last = (struct journal_appended) {
		.segment = header.first,
		.end = JOURNAL_SEGMENT_HEADER_LEN,
		.sequence = header.first - 1,
		.time_ns = time_ns,
		.chain = header.previous_chain,
	};
	journal_write_appended(journal);
	return LARDER_OK;
}

/* The time of the last entry before the open segment, which has none: times rise over its edge. */
static int
time_before(int64_t *time_ns, struct journal *journal, struct larder_err *err)
{
	struct journal_segment_header header = journal->header, before;
	struct journal_walk walk;
	struct entry_frame frame;
	int fd, rc = LARDER_OK;

	*time_ns = INT64_MIN;
	while (rc == 0 && *time_ns == INT64_MIN && header.previous_first != 0) {
		rc = journal_segment_open(&fd, &before, journal->folder_fd, header.previous_first,
		    O_RDONLY, &journal->store, &journal->writer, err);
		if (rc < 0)
			return rc;
		journal_walk_begin(&walk, fd, before.first, JOURNAL_SEGMENT_HEADER_LEN,
		    header.previous_len, before.first - 1, &before.previous_chain);
		while ((rc = journal_walk_next(&walk, &frame, err)) == 1)
			*time_ns = frame.time_ns;
		journal_walk_release(&walk);
		file_close(fd);
		header = before;
	}
	return rc;
}

/*
 * Nothing more is appended to the open segment: `synced` says how far it is durable, that is
 * its end, and a new one follows. `bad` is written first: who dies in between leaves a
 * segment that nobody appends to, whatever has become of the next one.
 */
static int
leave_segment(struct journal *journal, struct journal_synced *synced, struct larder_err *err)
{
	struct journal_appended last;
	struct journal_walk walk;
	bool torn;
	int rc;

	synced->bad = true;
	rc = journal_write_synced(journal, synced, err);
	if (rc < 0)
		return rc;
	rc = journal_search_last(journal, &last, &torn, synced->durable, &walk, err);
	journal_walk_release(&walk);
	if (rc < 0)
		return rc;
	if (torn)
		return journal_damaged(journal, last.end, err);
	if (last.time_ns == INT64_MIN)
		rc = time_before(&last.time_ns, journal, err);
	return rc < 0 ? rc : make_segment(journal, &last, err);
}

/* The open segment is whole up to `end`; what stands behind is nothing. Sync that, and go on
 * elsewhere. */
int
journal_end_segment(struct journal *journal, uint64_t end, struct larder_err *err)
{
	struct journal_synced synced;
	int rc;

	rc = journal_lock_sync(journal, err);
	if (rc < 0)
		return rc;
	rc = journal_synced_read(&synced, journal->lock_fd, &journal->boot, err);
	if (rc == 0)
		rc = err_set(err, LARDER_ERR_IO, "the shared state is gone");
	if (rc < 0)
		goto out;
	rc = LARDER_OK;
	if (end < synced.durable)
		rc = journal_damaged(journal, end, err);
	else if (!synced.bad && synced.syncing)
		rc = journal_sync_inherited(journal, &synced, end, err);
	else if (!synced.bad && synced.durable < end)
		rc = journal_sync_to(journal, &synced, end, err);
	if (rc == 0)
		rc = leave_segment(journal, &synced, err);
out:
	journal_unlock_sync(journal);
	return rc;
}

/* ---- where the end is; under lock A ---- */

/* Names that a process left which died while it made a segment. */
static void
clear_folder(struct journal *journal)
{
	char **names;
	size_t count;

	if (file_list(&names, &count, journal->folder_fd, ".", NULL) < 0)
		return;
	for (size_t i = 0; i < count; i++)
		if (strstr(names[i], ".tmp-") != NULL &&
		    file_unlink(journal->folder_fd, names[i], NULL) < 0) {
			/* the next boot tries again */
		}
	mem_free(names);
}

/* Is it proven that the last segment, whole up to `end`, had been longer? */
static bool
proof_beyond(const struct journal *journal, uint64_t end)
{
	if (!journal->proved)
		return false;
	return journal->proof.segment > journal->segment ||
	       (journal->proof.segment == journal->segment && journal->proof.offset > end);
}

/* What the last segment of an earlier boot (or of nobody knows when) holds, from the disk. */
static int
read_segment(struct journal *journal, struct journal_synced *synced, struct larder_err *err)
{
	struct journal_appended last;
	struct journal_walk walk = { 0 };
	uint64_t size;
	bool torn;
	int rc;

	rc = file_size(&size, journal->fd, JOURNAL_SEGMENT, err);
	if (rc < 0)
		return rc;
	/* No state is written before this has succeeded: it would end the segment too early. */
	trace_add(TRACE_syncs, 1);
	rc = file_datasync(journal->fd, JOURNAL_SEGMENT, err);
	if (rc < 0)
		return rc;
	journal_drop_cached(journal);
	rc = journal_search_last(journal, &last, &torn, size, &walk, err);
	if (rc == 0 && torn)
		rc = journal_walk_proof(&walk, err);
	if (rc == 1 || (rc == 0 && proof_beyond(journal, last.end)))
		rc = journal_damaged(journal, last.end, err);
	if (rc == 0 && last.time_ns == INT64_MIN)
		rc = time_before(&last.time_ns, journal, err);
	if (rc == 0) {
		journal->last = last;
		synced->segment = journal->segment;
		synced->durable = last.end;
		synced->bad = torn;
	}
	journal_walk_release(&walk);
	return rc;
}

/* The first append in this boot. */
static int
begin_boot(struct journal *journal, struct larder_err *err)
{
	const struct journal_appended nothing = { .time_ns = INT64_MIN };
	struct journal_synced synced = { .boot = journal->boot };
	uint64_t *firsts = NULL;
	size_t count;
	int rc;

	rc = journal_lock_sync(journal, err);
	if (rc < 0)
		return rc;
	clear_folder(journal);
	rc = journal_list(&firsts, &count, journal->folder_fd, err);
	if (rc < 0)
		goto out;
	if (count == 0) {
		file_close(journal->fd);
		journal->fd = -1;
		journal->segment = 0;
		rc = proof_beyond(journal, 0) ? journal_damaged(journal, 0, err)
					      : make_segment(journal, &nothing, err);
		goto out;
	}
	rc = take_segment(journal, firsts[count - 1], err);
	if (rc == 0)
		rc = read_segment(journal, &synced, err);
	if (rc == 0)
		rc = journal_write_synced(journal, &synced, err);
	if (rc == 0)
		journal_write_appended(journal);
out:
	mem_free(firsts);
	journal_unlock_sync(journal);
	return rc;
}

/* Another segment is appended to than the one this handle has: open it. Bytes in it that are not
 * durable may have met an error before. */
static int
follow(struct journal *journal, struct larder_err *err)
{
	struct journal_synced synced;
	uint64_t size;
	int rc;

	rc = journal_lock_sync(journal, err);
	if (rc < 0)
		return rc;
	rc = journal_synced_read(&synced, journal->lock_fd, &journal->boot, err);
	if (rc <= 0)
		goto out;
	rc = take_segment(journal, synced.segment, err);
	if (rc < 0)
		goto out;
	rc = file_size(&size, journal->fd, JOURNAL_SEGMENT, err);
	if (rc == 0 && !synced.bad && (size > synced.durable || synced.syncing))
		rc = journal_sync_inherited(journal, &synced, size, err);
out:
	journal_unlock_sync(journal);
	return rc;
}

/* The last entry of the open segment into journal->last. */
static int
find_last(struct journal *journal, struct larder_err *err)
{
	struct journal_appended last;
	struct journal_walk walk;
	uint64_t size;
	bool torn;
	int rc;

	rc = file_size(&size, journal->fd, JOURNAL_SEGMENT, err);
	if (rc < 0)
		return rc;
	rc = journal_appended_read(&last, journal->lock_fd, &journal->boot, journal->segment, err);
	if (rc < 0)
		return rc;
	if (rc == 1 && last.end == size) {
		journal->last = last;
		return LARDER_OK;
	}
	if (rc == 1 && last.end > size)
		return journal_damaged(journal, size, err);

	/* Somebody died while he appended: a whole entry counts, another one ends the segment. */
	rc = journal_search_last(journal, &last, &torn, size, &walk, err);
	journal_walk_release(&walk);
	if (rc < 0)
		return rc;
	if (last.time_ns == INT64_MIN) {
		rc = time_before(&last.time_ns, journal, err);
		if (rc < 0)
			return rc;
	}
	if (torn)
		return journal_end_segment(journal, last.end, err);
	journal->last = last;
	journal_write_appended(journal);
	return LARDER_OK;
}

/* After this the open segment is the one to append to, and journal->last its end. */
int
journal_find_end(struct journal *journal, struct larder_err *err)
{
	struct journal_synced synced;
	int rc;

	for (;;) {
		rc = journal_synced_read(&synced, journal->lock_fd, &journal->boot, err);
		if (rc < 0)
			return rc;
		if (rc == 0)
			rc = begin_boot(journal, err);
		else if (journal->fd < 0 || journal->segment != synced.segment)
			rc = follow(journal, err);
		else if (synced.bad)
			return journal_end_segment(journal, synced.durable, err);
		else
			return find_last(journal, err);
		if (rc < 0)
			return rc;
	}
}
