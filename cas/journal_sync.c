/*
 * Syncing a journal: who waits for an entry to be durable, syncs for all (journal.c, 2 and 3).
 */
#include "cas/journal_own.h"

#include <fcntl.h>

#include "cas/base/err.h"
#include "cas/base/file.h"
#include "cas/base/mem.h"
#include "cas/base/trace.h"

int
journal_check_failure(struct journal *journal, struct larder_err *err)
{
	if (journal->failure.status != 0 && err != NULL)
		*err = journal->failure;
	return journal->failure.status;
}

/*
 * fdatasync, once (3). On failure the segment is bad, as far as that can be written. On
 * success `syncing` is still set: the caller says what it means.
 */
static int
sync_segment(struct journal *journal, struct journal_synced *synced, struct larder_err *err)
{
	int rc;

	rc = journal_check_failure(journal, err);
	if (rc < 0)
		return rc;
	synced->syncing = true;
	rc = journal_write_synced(journal, synced, err);
	if (rc < 0)
		return rc; /* nobody could learn how it ended, so it does not begin */
	trace_add(TRACE_syncs, 1);
	rc = file_datasync(journal->fd, JOURNAL_SEGMENT, &journal->failure);
	if (rc < 0) {
		if (err != NULL)
			*err = journal->failure;
		synced->syncing = false;
		synced->bad = true;
		if (journal_write_synced(journal, synced, NULL) < 0) {
			/* `syncing` stands there: the next one looks at the disk */
		}
	}
	return rc;
}

int
journal_sync_to(
    struct journal *journal, struct journal_synced *synced, uint64_t end, struct larder_err *err)
{
	int rc;

	rc = sync_segment(journal, synced, err);
	if (rc < 0)
		return rc;
	synced->syncing = false;
	synced->durable = end;
	return journal_write_synced(journal, synced, err);
}

/*
 * The last whole entry before `limit` of the open segment, found by reading all of it.
 * *torn: something that is no entry stands behind it.
 */
int
journal_search_last(struct journal *journal, struct journal_appended *last, bool *torn,
    uint64_t limit, struct journal_walk *walk, struct larder_err *err)
{
	struct entry_frame frame;
	int rc;

	journal_walk_begin(walk, journal->fd, journal->segment, JOURNAL_SEGMENT_HEADER_LEN, limit,
	    journal->header.first - 1, &journal->header.previous_chain);
	while ((rc = journal_walk_next(walk, &frame, err)) == 1)
		continue;
	*torn = rc == LARDER_ERR_CORRUPT;
	*last = (struct journal_appended) {
		.segment = journal->segment,
		.end = walk->at,
		.sequence = walk->sequence,
		.time_ns = walk->time_ns,
		.chain = walk->chain,
	};
	return *torn ? LARDER_OK : rc;
}

void
journal_drop_cached(struct journal *journal)
{
	if (posix_fadvise(journal->fd, 0, 0, POSIX_FADV_DONTNEED) != 0) {
		/* a file system without a page cache has nothing to drop */
	}
}

/*
 * The bytes in [durable, end) may have met an error that somebody else saw: sync, drop them
 * from the page cache, read what the disk has. A sync that fails is an error; bytes that
 * are not what they should be make the segment bad, and that is none.
 */
int
journal_sync_inherited(
    struct journal *journal, struct journal_synced *synced, uint64_t end, struct larder_err *err)
{
	struct journal_appended last;
	struct journal_walk walk;
	bool torn;
	int rc;

	rc = sync_segment(journal, synced, err);
	if (rc < 0)
		return rc;
	journal_drop_cached(journal);
	rc = journal_search_last(journal, &last, &torn, end, &walk, err);
	journal_walk_release(&walk);
	if (rc < 0)
		return rc; /* `syncing` stays: nobody knows */
	if (last.end < synced->durable)
		return journal_damaged(journal, last.end, err);
	synced->syncing = false;
	synced->bad = torn;
	synced->durable = last.end;
	return journal_write_synced(journal, synced, err);
}

static int
lost(const struct journal_place *place, struct larder_err *err)
{
	return err_set(err, LARDER_ERR_IO,
	    "entry %llu was cut off after a failed sync and is not committed",
	    (unsigned long long)place->sequence);
}

/* The segment of `place` was left behind: the header of the one that followed it says how far it
 * counts. */
static int
look_behind(struct journal *journal, const struct journal_place *place, struct larder_err *err)
{
	struct journal_segment_header header;
	uint64_t *firsts = NULL;
	size_t count;
	int fd, rc;

	rc = journal_list(&firsts, &count, journal->folder_fd, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < count; i++) {
		if (firsts[i] <= place->segment)
			continue;
		rc = journal_segment_open(&fd, &header, journal->folder_fd, firsts[i], O_RDONLY,
		    &journal->store, &journal->writer, err);
		if (rc < 0)
			goto out;
		file_close(fd);
		if (header.previous_first == place->segment) {
			if (place->offset > header.previous_len)
				rc = lost(place, err);
			goto out;
		}
	}
	rc = lost(place, err);
out:
	mem_free(firsts);
	return rc;
}

/* Everything that was appended whole by now is synced together; never less than `place`. */
static uint64_t
end_of_group(struct journal *journal, const struct journal_place *place)
{
	struct journal_appended last;
	int rc;

	rc = journal_appended_read(&last, journal->lock_fd, &journal->boot, place->segment, NULL);
	return rc == 1 && last.end > place->offset ? last.end : place->offset;
}

static int
sync_place(struct journal *journal, const struct journal_place *place, struct larder_err *err)
{
	struct journal_synced synced;
	int rc;

	rc = journal_synced_read(&synced, journal->lock_fd, &journal->boot, err);
	if (rc < 0)
		return rc;
	if (rc == 0)
		return err_set(err, LARDER_ERR_IO, "the shared state is gone");
	if (synced.segment != place->segment)
		return look_behind(journal, place, err);
	if (synced.durable >= place->offset)
		return LARDER_OK;
	if (synced.bad || journal->segment != place->segment)
		return lost(place, err);
	if (synced.syncing)
		rc = journal_sync_inherited(journal, &synced, end_of_group(journal, place), err);
	else
		rc = journal_sync_to(journal, &synced, end_of_group(journal, place), err);
	if (rc < 0)
		return rc;
	return synced.durable >= place->offset ? LARDER_OK : lost(place, err);
}

int
journal_sync(struct journal *journal, const struct journal_place *place, struct larder_err *err)
{
	int rc;

	rc = journal_lock_sync(journal, err);
	if (rc == 0) {
		rc = journal_check_failure(journal, err);
		if (rc == 0)
			rc = sync_place(journal, place, err);
		journal_unlock_sync(journal);
	}
	if (rc < 0)
		err_prefix(err, "%s", journal->path);
	return rc;
}
