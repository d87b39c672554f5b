/*
 * Appending to a writer's journal, by any number of processes and threads.
 *
 * 1. Bytes of a segment are written once, at its end, under lock A, and never changed or
 *    cut off. Where a segment ends for good is said by the header of the next one.
 * 2. An entry is acknowledged when `durable` in the shared state has reached its end.
 *    `durable` is only moved, under lock S, behind an fdatasync that this process saw
 *    succeed on a descriptor that was open before the entry was written, or after the
 *    bytes were read again past the page cache.
 * 3. A failed sync is never tried again. It makes the segment bad: nobody acknowledges
 *    anything behind `durable` in it, the next append makes a new segment whose header
 *    ends this one at `durable`.
 * 4. A header that ends a segment is written only when everything before that end is
 *    durable: so a following header is proof.
 * 5. The shared state is believed only in the boot in which it was written. In a new boot
 *    the last segment is read and checked whole before anything is appended.
 *
 *                          append: A            sync: S
 *     state of this boot ------------> appended ---------> durable
 *            ^   |  torn tail, full,       |
 *            |   |  bad                    | fdatasync failed
 *            |   v                         v
 *          new segment <---------------- bad
 *
 * A sync serves all that was appended when it began: whoever waits for S meanwhile finds
 * his entry durable, or syncs for all behind him. Who gets S and finds `syncing` set knows
 * that its owner died in the middle; the kernel tells a failed write-back only once per
 * descriptor and then shows pages that the disk does not have, so in that case, and when a
 * segment with bytes behind `durable` is opened, those bytes are synced, dropped from the
 * page cache, read again and checked.
 *
 * Order of locks: append_lock, A, sync_lock, S. Reading is journal_read.c.
 */
#include "cas/journal_own.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "cas/base/err.h"
#include "cas/base/file.h"
#include "cas/base/mem.h"

/* What this handle found where acknowledged entries had been. */
int
journal_damaged(const struct journal *journal, uint64_t at, struct larder_err *err)
{
	err_set(err, LARDER_ERR_CORRUPT, "segment %016llx is damaged at %llu",
	    (unsigned long long)journal->segment, (unsigned long long)at);
	err_hint(err, "run larder check; behind larder reindex the store begins a new journal");
	return LARDER_ERR_CORRUPT;
}

/* ---- open and close ---- */

/* Synced even if it is there: whoever made it may have died before he did that. */
static int
make_folder(struct journal *journal, int root_fd, struct larder_err *err)
{
	int rc;

	rc = file_mkdir(root_fd, journal->path, 0700, err);
	if (rc < 0 && rc != LARDER_ERR_EXISTS)
		return rc;
	return file_sync_dir(root_fd, "journal", err);
}

/* The lock file has its full length, so that writing the state needs no room on a full disk. */
static int
open_lock(struct journal *journal, struct larder_err *err)
{
	static const uint8_t nothing[JOURNAL_LOCK_LEN];
	uint64_t size;
	int rc;

	rc = file_open(&journal->lock_fd, journal->folder_fd, JOURNAL_LOCK,
	    O_RDWR | O_CREAT | O_NOFOLLOW, 0600, err);
	if (rc < 0)
		return rc;
	rc = file_size(&size, journal->lock_fd, JOURNAL_LOCK, err);
	if (rc < 0 || size >= JOURNAL_LOCK_LEN)
		return rc;
	rc = file_lock(journal->lock_fd, JOURNAL_APPEND_LOCK_AT, 1, true, true, JOURNAL_LOCK, err);
	if (rc < 0)
		return rc;
	rc = file_size(&size, journal->lock_fd, JOURNAL_LOCK, err);
	if (rc == 0 && size < JOURNAL_LOCK_LEN)
		rc = file_pwrite_all(
		    journal->lock_fd, nothing, sizeof nothing, 0, JOURNAL_LOCK, err);
	if (file_unlock(journal->lock_fd, JOURNAL_APPEND_LOCK_AT, 1, JOURNAL_LOCK, NULL) < 0) {
		/* it goes with the descriptor */
	}
	return rc;
}

int
journal_open(struct journal **out, int root_fd, const struct id16 *store, const struct id16 *writer,
    struct larder_err *err)
{
	struct journal *journal;
	int rc;

	*out = NULL;
	journal = mem_zalloc(sizeof *journal);
	if (journal == NULL)
		return err_nomem(err);
	journal->fd = journal->folder_fd = journal->lock_fd = -1;
	journal->store = *store;
	journal->writer = *writer;
	journal_folder(journal->path, writer);
	pthread_mutex_init(&journal->append_lock, NULL);
	pthread_mutex_init(&journal->sync_lock, NULL);
	buf_init(&journal->frame, 2 * ENTRY_LEN_MAX);

	rc = journal_boot(&journal->boot, err);
	if (rc < 0)
		goto out;
	rc = make_folder(journal, root_fd, err);
	if (rc < 0)
		goto out;
	rc = file_open(&journal->folder_fd, root_fd, journal->path,
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, err);
	if (rc < 0)
		goto out;
	rc = open_lock(journal, err);
	if (rc < 0)
		goto out;
	*out = journal;
	journal = NULL;
out:
	if (journal != NULL)
		err_prefix(err, "%s", journal->path);
	journal_close(journal);
	return rc;
}

void
journal_close(struct journal *journal)
{
	if (journal == NULL)
		return;
	file_close(journal->fd);
	file_close(journal->lock_fd);
	file_close(journal->folder_fd);
	buf_release(&journal->frame);
	pthread_mutex_destroy(&journal->sync_lock);
	pthread_mutex_destroy(&journal->append_lock);
	mem_free(journal);
}

void
journal_prove(struct journal *journal, const struct journal_place *durable)
{
	journal->proved = true;
	journal->proof = *durable;
}

/* ---- locks and shared state ---- */

int
journal_lock_append(struct journal *journal, struct larder_err *err)
{
	int rc;

	pthread_mutex_lock(&journal->append_lock);
	rc = file_lock(journal->lock_fd, JOURNAL_APPEND_LOCK_AT, 1, true, true, JOURNAL_LOCK, err);
	if (rc < 0)
		pthread_mutex_unlock(&journal->append_lock);
	return rc;
}

void
journal_unlock_append(struct journal *journal)
{
	if (file_unlock(journal->lock_fd, JOURNAL_APPEND_LOCK_AT, 1, JOURNAL_LOCK, NULL) < 0) {
		/* cannot fail for a lock that is held */
	}
	pthread_mutex_unlock(&journal->append_lock);
}

int
journal_lock_sync(struct journal *journal, struct larder_err *err)
{
	int rc;

	pthread_mutex_lock(&journal->sync_lock);
	rc = file_lock(journal->lock_fd, JOURNAL_SYNC_LOCK_AT, 1, true, true, JOURNAL_LOCK, err);
	if (rc < 0)
		pthread_mutex_unlock(&journal->sync_lock);
	return rc;
}

void
journal_unlock_sync(struct journal *journal)
{
	if (file_unlock(journal->lock_fd, JOURNAL_SYNC_LOCK_AT, 1, JOURNAL_LOCK, NULL) < 0) {
		/* the same */
	}
	pthread_mutex_unlock(&journal->sync_lock);
}

int
journal_write_synced(
    struct journal *journal, const struct journal_synced *synced, struct larder_err *err)
{
	uint8_t record[JOURNAL_RECORD_LEN];

	journal_synced_encode(record, synced);
	return file_pwrite_all(
	    journal->lock_fd, record, sizeof record, JOURNAL_SYNCED_AT, JOURNAL_LOCK, err);
}

/* Only saves the next one a search; a record that could not be written matches nothing. */
void
journal_write_appended(struct journal *journal)
{
	uint8_t record[JOURNAL_RECORD_LEN];

	journal_appended_encode(record, &journal->last, &journal->boot);
	if (file_pwrite_all(journal->lock_fd, record, sizeof record, JOURNAL_APPENDED_AT,
		JOURNAL_LOCK, NULL) < 0) {
		/* found by its end: journal_append() compares it with the size of the file */
	}
}

static int
forget_end(void *context, const struct id16 *writer, struct larder_err *err)
{
	static const uint8_t nothing[JOURNAL_LOCK_LEN];
	const int *root_fd = context;
	char folder[JOURNAL_FOLDER_LEN], path[JOURNAL_FOLDER_LEN + sizeof "/" JOURNAL_LOCK];
	int fd, rc;

	journal_folder(folder, writer);
	snprintf(path, sizeof path, "%s/%s", folder, JOURNAL_LOCK);
	rc = file_open(&fd, *root_fd, path, O_RDWR | O_NOFOLLOW, 0, err);
	if (rc < 0)
		return rc == LARDER_ERR_NOT_FOUND ? LARDER_OK : rc;
	rc = file_pwrite_all(fd, nothing, sizeof nothing, 0, path, err);
	file_close(fd);
	return rc;
}

int
journal_forget_ends(int root_fd, struct larder_err *err)
{
	return journal_each_writer(root_fd, forget_end, &root_fd, err);
}

/* ---- append ---- */

/* A write failed: if it left something, nothing is appended behind that. What others appended
 * before it is synced for them. */
static void
give_up(struct journal *journal)
{
	struct journal_synced synced;
	uint64_t size;

	if (file_size(&size, journal->fd, JOURNAL_SEGMENT, NULL) == 0 && size == journal->last.end)
		return;
	if (journal_lock_sync(journal, NULL) < 0)
		return;
	if (journal_synced_read(&synced, journal->lock_fd, &journal->boot, NULL) == 1 &&
	    !synced.bad && journal_sync_to(journal, &synced, journal->last.end, NULL) == 0) {
		synced.bad = true;
		if (journal_write_synced(journal, &synced, NULL) < 0) {
			/* the next one sees it by the size */
		}
	}
	journal_unlock_sync(journal);
}

static int
write_entry(struct journal *journal, const struct journal_synced *synced, struct entry_frame *frame,
    struct larder_err *err)
{
	struct journal_appended *last = &journal->last;
	int rc;

	frame->sequence = last->sequence + 1;
	frame->durable = synced->durable;
	if (frame->time_ns <= last->time_ns)
		frame->time_ns = last->time_ns < INT64_MAX ? last->time_ns + 1 : INT64_MAX;
	buf_clear(&journal->frame);
	rc = entry_frame_encode(&journal->frame, frame, &last->chain);
	if (rc < 0)
		return buf_err(&journal->frame, rc, err);
	rc = file_pwrite_all(
	    journal->fd, journal->frame.data, journal->frame.len, last->end, JOURNAL_SEGMENT, err);
	if (rc < 0) {
		give_up(journal);
		return rc;
	}
	last->end += journal->frame.len;
	last->sequence = frame->sequence;
	last->time_ns = frame->time_ns;
	last->chain = frame->chain;
	journal_write_appended(journal);
	return LARDER_OK;
}

/* Room for one more entry in the open segment, or a new one. */
static int
make_room(struct journal *journal, size_t body_len, struct larder_err *err)
{
	size_t len = ENTRY_FRAME_HEAD_LEN + body_len + ENTRY_FRAME_TAIL_LEN;

	if (journal->last.end == JOURNAL_SEGMENT_HEADER_LEN ||
	    journal->last.end + len <= JOURNAL_SEGMENT_TARGET)
		return LARDER_OK;
	return journal_end_segment(journal, journal->last.end, err);
}

static int
check_usable(struct journal *journal, struct larder_err *err)
{
	int rc;

	pthread_mutex_lock(&journal->sync_lock);
	rc = journal_check_failure(journal, err);
	pthread_mutex_unlock(&journal->sync_lock);
	return rc;
}

bool
journal_has_failed(struct journal *journal)
{
	return check_usable(journal, NULL) < 0;
}

int
journal_append(struct journal *journal, struct journal_place *place, const void *body,
    size_t body_len, int64_t time_ns, const struct id16 *intent, struct larder_err *err)
{
	struct entry_frame frame = {
		.time_ns = time_ns,
		.intent = *intent,
		.body = body,
		.body_len = body_len,
	};
	struct journal_synced synced;
	int rc;

	if (body_len > ENTRY_LEN_MAX)
		return err_set(err, LARDER_ERR_LIMIT,
		    "a journal entry of %zu bytes: at most ENTRY_LEN_MAX (%d)", body_len,
		    ENTRY_LEN_MAX);
	rc = journal_lock_append(journal, err);
	if (rc < 0)
		goto out;
	rc = check_usable(journal, err);
	if (rc == 0)
		rc = journal_find_end(journal, err);
	if (rc == 0)
		rc = make_room(journal, body_len, err);
	if (rc == 0)
		rc = journal_synced_read(&synced, journal->lock_fd, &journal->boot, err);
	if (rc == 1)
		rc = write_entry(journal, &synced, &frame, err);
	else if (rc == 0)
		rc = err_set(err, LARDER_ERR_IO, "the shared state is gone");
	if (rc == 0)
		*place = (struct journal_place) {
			.segment = journal->segment,
			.offset = journal->last.end,
			.sequence = journal->last.sequence,
			.chain = journal->last.chain,
		};
	journal_unlock_append(journal);
out:
	if (rc < 0)
		err_prefix(err, "%s", journal->path);
	return rc;
}
