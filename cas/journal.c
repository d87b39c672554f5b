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
#include "cas/journal.h"

#include <assert.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>

#include "cas/base/err.h"
#include "cas/base/file.h"
#include "cas/base/mem.h"
#include "cas/base/trace.h"
#include "cas/journal_scan.h"

struct journal {
	int folder_fd, lock_fd;
	char path[JOURNAL_FOLDER_LEN]; /* for sentences */
	struct id16 store, writer, boot;
	bool proved;
	struct journal_place proof;

	pthread_mutex_t append_lock; /* beside lock A, which threads of one process share */
	pthread_mutex_t sync_lock;   /* beside lock S */
	int fd;           /* the segment appended to, -1 = none yet; changed under both locks */
	uint64_t segment; /* the same */
	struct journal_segment_header header; /* of that segment; the same */
	struct journal_appended last; /* its last entry as this handle knows it; append_lock */
	struct buf frame;             /* append_lock */
};

static const char lock_name[] = "lock";
static const char segment_name[] = "segment"; /* in sentences; which one, the folder tells */

/* What this handle found where acknowledged entries had been. */
static int
damaged(const struct journal *journal, uint64_t at, struct larder_err *err)
{
	err_set(err, LARDER_ERR_CORRUPT, "segment %016llx is damaged at %llu",
	    (unsigned long long)journal->segment, (unsigned long long)at);
	err_hint(err, "run larder check; without the file `writer` the store begins a new journal");
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

	rc = file_open(&journal->lock_fd, journal->folder_fd, lock_name,
	    O_RDWR | O_CREAT | O_NOFOLLOW, 0600, err);
	if (rc < 0)
		return rc;
	rc = file_size(&size, journal->lock_fd, lock_name, err);
	if (rc < 0 || size >= JOURNAL_LOCK_LEN)
		return rc;
	rc = file_lock(journal->lock_fd, JOURNAL_APPEND_LOCK_AT, 1, true, true, lock_name, err);
	if (rc < 0)
		return rc;
	rc = file_size(&size, journal->lock_fd, lock_name, err);
	if (rc == 0 && size < JOURNAL_LOCK_LEN)
		rc = file_pwrite_all(journal->lock_fd, nothing, sizeof nothing, 0, lock_name, err);
	if (file_unlock(journal->lock_fd, JOURNAL_APPEND_LOCK_AT, 1, lock_name, NULL) < 0) {
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

static int
lock_append(struct journal *journal, struct larder_err *err)
{
	int rc;

	pthread_mutex_lock(&journal->append_lock);
	rc = file_lock(journal->lock_fd, JOURNAL_APPEND_LOCK_AT, 1, true, true, lock_name, err);
	if (rc < 0)
		pthread_mutex_unlock(&journal->append_lock);
	return rc;
}

static void
unlock_append(struct journal *journal)
{
	if (file_unlock(journal->lock_fd, JOURNAL_APPEND_LOCK_AT, 1, lock_name, NULL) < 0) {
		/* cannot fail for a lock that is held */
	}
	pthread_mutex_unlock(&journal->append_lock);
}

static int
lock_sync(struct journal *journal, struct larder_err *err)
{
	int rc;

	pthread_mutex_lock(&journal->sync_lock);
	rc = file_lock(journal->lock_fd, JOURNAL_SYNC_LOCK_AT, 1, true, true, lock_name, err);
	if (rc < 0)
		pthread_mutex_unlock(&journal->sync_lock);
	return rc;
}

static void
unlock_sync(struct journal *journal)
{
	if (file_unlock(journal->lock_fd, JOURNAL_SYNC_LOCK_AT, 1, lock_name, NULL) < 0) {
		/* the same */
	}
	pthread_mutex_unlock(&journal->sync_lock);
}

static int
write_synced(struct journal *journal, const struct journal_synced *synced, struct larder_err *err)
{
	uint8_t record[JOURNAL_RECORD_LEN];

	journal_synced_encode(record, synced);
	return file_pwrite_all(
	    journal->lock_fd, record, sizeof record, JOURNAL_SYNCED_AT, lock_name, err);
}

/* Only saves the next one a search; a record that could not be written matches nothing. */
static void
write_appended(struct journal *journal)
{
	uint8_t record[JOURNAL_RECORD_LEN];

	journal_appended_encode(record, &journal->last, &journal->boot);
	if (file_pwrite_all(journal->lock_fd, record, sizeof record, JOURNAL_APPENDED_AT, lock_name,
		NULL) < 0) {
		/* found by its end: journal_append() compares it with the size of the file */
	}
}

/* ---- syncing; under lock S ---- */

/*
 * fdatasync, once (3). On failure the segment is bad, as far as that can be written. On
 * success `syncing` is still set: the caller says what it means.
 */
static int
sync_segment(struct journal *journal, struct journal_synced *synced, struct larder_err *err)
{
	int rc;

	synced->syncing = true;
	rc = write_synced(journal, synced, err);
	if (rc < 0)
		return rc; /* nobody could learn how it ended, so it does not begin */
	trace_add(TRACE_syncs, 1);
	rc = file_datasync(journal->fd, segment_name, err);
	if (rc < 0) {
		synced->syncing = false;
		synced->bad = true;
		if (write_synced(journal, synced, NULL) < 0) {
			/* `syncing` stands there: the next one looks at the disk */
		}
	}
	return rc;
}

static int
sync_to(
    struct journal *journal, struct journal_synced *synced, uint64_t end, struct larder_err *err)
{
	int rc;

	rc = sync_segment(journal, synced, err);
	if (rc < 0)
		return rc;
	synced->syncing = false;
	synced->durable = end;
	return write_synced(journal, synced, err);
}

/*
 * The last whole entry before `limit` of the open segment, found by reading all of it.
 * *torn: something that is no entry stands behind it.
 */
static int
search_last(struct journal *journal, struct journal_appended *last, bool *torn, uint64_t limit,
    struct journal_walk *walk, struct larder_err *err)
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

static void
drop_cached(struct journal *journal)
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
static int
sync_inherited(
    struct journal *journal, struct journal_synced *synced, uint64_t end, struct larder_err *err)
{
	struct journal_appended last;
	struct journal_walk walk;
	bool torn;
	int rc;

	rc = sync_segment(journal, synced, err);
	if (rc < 0)
		return rc;
	drop_cached(journal);
	rc = search_last(journal, &last, &torn, end, &walk, err);
	journal_walk_release(&walk);
	if (rc < 0)
		return rc; /* `syncing` stays: nobody knows */
	if (last.end < synced->durable)
		return damaged(journal, last.end, err);
	synced->syncing = false;
	synced->bad = torn;
	synced->durable = last.end;
	return write_synced(journal, synced, err);
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
		rc = sync_inherited(journal, &synced, end_of_group(journal, place), err);
	else
		rc = sync_to(journal, &synced, end_of_group(journal, place), err);
	if (rc < 0)
		return rc;
	return synced.durable >= place->offset ? LARDER_OK : lost(place, err);
}

int
journal_sync(struct journal *journal, const struct journal_place *place, struct larder_err *err)
{
	int rc;

	rc = lock_sync(journal, err);
	if (rc == 0) {
		rc = sync_place(journal, place, err);
		unlock_sync(journal);
	}
	if (rc < 0)
		err_prefix(err, "%s", journal->path);
	return rc;
}

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

/* Durably there with this header. One that a process made and died over is as good. */
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
	if (rc == 0 && (have.len != sizeof bytes || memcmp(have.data, bytes, sizeof bytes) != 0))
		rc = LARDER_ERR_LIMIT;
	if (rc == LARDER_ERR_LIMIT)
		rc = err_set(err, LARDER_ERR_CORRUPT,
		    "%s is there already and continues something else", name);
	if (rc == 0)
		rc = file_sync_dir(journal->folder_fd, ".", err);
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
	rc = write_synced(journal, &synced, err);
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
	write_appended(journal);
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
	rc = write_synced(journal, synced, err);
	if (rc < 0)
		return rc;
	rc = search_last(journal, &last, &torn, synced->durable, &walk, err);
	journal_walk_release(&walk);
	if (rc < 0)
		return rc;
	if (torn)
		return damaged(journal, last.end, err);
	if (last.time_ns == INT64_MIN)
		rc = time_before(&last.time_ns, journal, err);
	return rc < 0 ? rc : make_segment(journal, &last, err);
}

/* The open segment is whole up to `end`; what stands behind is nothing. Sync that, and go on
 * elsewhere. */
static int
end_segment(struct journal *journal, uint64_t end, struct larder_err *err)
{
	struct journal_synced synced;
	int rc;

	rc = lock_sync(journal, err);
	if (rc < 0)
		return rc;
	rc = journal_synced_read(&synced, journal->lock_fd, &journal->boot, err);
	if (rc == 0)
		rc = err_set(err, LARDER_ERR_IO, "the shared state is gone");
	if (rc < 0)
		goto out;
	rc = LARDER_OK;
	if (end < synced.durable)
		rc = damaged(journal, end, err);
	else if (!synced.bad && synced.syncing)
		rc = sync_inherited(journal, &synced, end, err);
	else if (!synced.bad && synced.durable < end)
		rc = sync_to(journal, &synced, end, err);
	if (rc == 0)
		rc = leave_segment(journal, &synced, err);
out:
	unlock_sync(journal);
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

	rc = file_size(&size, journal->fd, segment_name, err);
	if (rc < 0)
		return rc;
	/* No state is written before this has succeeded: it would end the segment too early. */
	trace_add(TRACE_syncs, 1);
	rc = file_datasync(journal->fd, segment_name, err);
	if (rc < 0)
		return rc;
	drop_cached(journal);
	rc = search_last(journal, &last, &torn, size, &walk, err);
	if (rc == 0 && torn)
		rc = journal_walk_proof(&walk, err);
	if (rc == 1 || (rc == 0 && proof_beyond(journal, last.end)))
		rc = damaged(journal, last.end, err);
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

	rc = lock_sync(journal, err);
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
		rc = proof_beyond(journal, 0) ? damaged(journal, 0, err)
					      : make_segment(journal, &nothing, err);
		goto out;
	}
	rc = take_segment(journal, firsts[count - 1], err);
	if (rc == 0)
		rc = read_segment(journal, &synced, err);
	if (rc == 0)
		rc = write_synced(journal, &synced, err);
	if (rc == 0)
		write_appended(journal);
out:
	mem_free(firsts);
	unlock_sync(journal);
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

	rc = lock_sync(journal, err);
	if (rc < 0)
		return rc;
	rc = journal_synced_read(&synced, journal->lock_fd, &journal->boot, err);
	if (rc <= 0)
		goto out;
	rc = take_segment(journal, synced.segment, err);
	if (rc < 0)
		goto out;
	rc = file_size(&size, journal->fd, segment_name, err);
	if (rc == 0 && !synced.bad && (size > synced.durable || synced.syncing))
		rc = sync_inherited(journal, &synced, size, err);
out:
	unlock_sync(journal);
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

	rc = file_size(&size, journal->fd, segment_name, err);
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
		return damaged(journal, size, err);

	/* Somebody died while he appended: a whole entry counts, another one ends the segment. */
	rc = search_last(journal, &last, &torn, size, &walk, err);
	journal_walk_release(&walk);
	if (rc < 0)
		return rc;
	if (last.time_ns == INT64_MIN) {
		rc = time_before(&last.time_ns, journal, err);
		if (rc < 0)
			return rc;
	}
	if (torn)
		return end_segment(journal, last.end, err);
	journal->last = last;
	write_appended(journal);
	return LARDER_OK;
}

/* After this the open segment is the one to append to, and journal->last its end. */
static int
find_end(struct journal *journal, struct larder_err *err)
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
			return end_segment(journal, synced.durable, err);
		else
			return find_last(journal, err);
		if (rc < 0)
			return rc;
	}
}

/* ---- append ---- */

/* A write failed: if it left something, nothing is appended behind that. What others appended
 * before it is synced for them. */
static void
give_up(struct journal *journal)
{
	struct journal_synced synced;
	uint64_t size;

	if (file_size(&size, journal->fd, segment_name, NULL) == 0 && size == journal->last.end)
		return;
	if (lock_sync(journal, NULL) < 0)
		return;
	if (journal_synced_read(&synced, journal->lock_fd, &journal->boot, NULL) == 1 &&
	    !synced.bad && sync_to(journal, &synced, journal->last.end, NULL) == 0) {
		synced.bad = true;
		if (write_synced(journal, &synced, NULL) < 0) {
			/* the next one sees it by the size */
		}
	}
	unlock_sync(journal);
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
	    journal->fd, journal->frame.data, journal->frame.len, last->end, segment_name, err);
	if (rc < 0) {
		give_up(journal);
		return rc;
	}
	last->end += journal->frame.len;
	last->sequence = frame->sequence;
	last->time_ns = frame->time_ns;
	last->chain = frame->chain;
	write_appended(journal);
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
	return end_segment(journal, journal->last.end, err);
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
	rc = lock_append(journal, err);
	if (rc < 0)
		goto out;
	rc = find_end(journal, err);
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
	unlock_append(journal);
out:
	if (rc < 0)
		err_prefix(err, "%s", journal->path);
	return rc;
}
