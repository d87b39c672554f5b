/*
 * Reading a writer's journal.
 *
 * 1. Only what is durable is given out. How far that is, is said by the header of the
 *    next segment; for the last segment by the shared state of this boot; and if nobody
 *    has appended since the boot, by the file itself, because then all that can be read
 *    came from the disk.
 * 2. What should be there by proof and is not is damage; what fails without proof is a
 *    torn tail, which was never acknowledged, and the end.
 * 3. Each frame's CRC, sequence and chain are right, and so are the links between the
 *    segments; or damage was told before it.
 * 4. Reading takes no lock and writes nothing.
 */
#include "cas/journal.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cas/base/err.h"
#include "cas/base/file.h"
#include "cas/base/mem.h"
#include "cas/journal_scan.h"

/* A writer's folder at one moment. */
struct folder {
	int fd, lock_fd;
	const struct id16 *store, *writer;
	uint64_t *firsts; /* of its segments, ascending */
	size_t count;
	bool known;   /* the state below is of this boot */
	bool missing; /* it names a segment that is not there, and is not known then */
	struct journal_synced synced;
	uint64_t last_size; /* of the last segment, looked at before the state */
};

static void
folder_release(struct folder *folder)
{
	mem_free(folder->firsts);
	folder->firsts = NULL;
	folder->count = 0;
	file_close(folder->lock_fd);
	file_close(folder->fd);
	folder->lock_fd = folder->fd = -1;
}

static int
size_of_last(struct folder *folder, struct larder_err *err)
{
	char name[JOURNAL_NAME_LEN];
	struct stat st;

	folder->last_size = 0;
	if (folder->count == 0)
		return LARDER_OK;
	journal_name(name, folder->firsts[folder->count - 1]);
	if (fstatat(folder->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(err, "look at %s", name);
	folder->last_size = (uint64_t)st.st_size;
	return LARDER_OK;
}

/*
 * List, size, state, in this order: a state of an earlier boot then says that nobody had
 * appended in this one when the size was taken.
 */
static int
look_once(struct folder *folder, const struct id16 *boot, struct larder_err *err)
{
	int rc;

	mem_free(folder->firsts);
	folder->firsts = NULL;
	rc = journal_list(&folder->firsts, &folder->count, folder->fd, err);
	if (rc < 0)
		return rc;
	rc = size_of_last(folder, err);
	if (rc < 0)
		return rc;
	folder->known = false;
	if (folder->lock_fd < 0)
		return LARDER_OK;
	rc = journal_synced_read(&folder->synced, folder->lock_fd, boot, err);
	folder->known = rc == 1;
	return rc < 0 ? rc : LARDER_OK;
}

/* A segment that was made between list and state is in the next list. */
static bool
is_complete(const struct folder *folder)
{
	uint64_t first = folder->synced.segment;

	return !folder->known || first == 0 ||
	       (folder->count > 0 && first <= folder->firsts[folder->count - 1]);
}

static int
say_missing(const struct folder *folder, struct larder_err *err)
{
	return err_set(err, LARDER_ERR_CORRUPT, "segment %016llx, the last one, is missing",
	    (unsigned long long)folder->synced.segment);
}

static int
folder_open(struct folder *folder, int root_fd, const struct id16 *store, const struct id16 *writer,
    struct larder_err *err)
{
	enum { LOOKS = 100 };
	char path[JOURNAL_FOLDER_LEN];
	struct id16 boot;
	int rc;

	*folder = (struct folder) { .fd = -1, .lock_fd = -1, .store = store, .writer = writer };
	journal_folder(path, writer);
	rc = journal_boot(&boot, err);
	if (rc < 0)
		return rc;
	rc = file_open(&folder->fd, root_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, err);
	if (rc < 0)
		return rc;
	rc = file_open(&folder->lock_fd, folder->fd, "lock", O_RDONLY | O_NOFOLLOW, 0, NULL);
	if (rc < 0 && rc != LARDER_ERR_NOT_FOUND) {
		rc = err_set(err, rc, "%s/lock cannot be opened", path);
		goto out;
	}
	rc = look_once(folder, &boot, err);
	for (int i = 1; i < LOOKS && rc == 0 && !is_complete(folder); i++)
		rc = look_once(folder, &boot, err);
	if (rc == 0 && !is_complete(folder)) {
		folder->missing = true;
		folder->known = false;
	}
out:
	if (rc < 0) {
		err_prefix(err, "%s", path);
		folder_release(folder);
	}
	return rc;
}

static bool
find_segment(const struct folder *folder, uint64_t first, size_t *at)
{
	for (size_t i = folder->count; i-- > 0;)
		if (folder->firsts[i] == first) {
			*at = i;
			return true;
		}
	return false;
}

/* How far a segment goes. */
struct extent {
	uint64_t limit;
	bool proven; /* everything before the limit had been on disk */
	bool linked; /* the next segment continues it: from this chain */
	struct larder_id chain;
};

/* The last segment: see 1. */
static struct extent
extent_of_last(const struct folder *folder)
{
	uint64_t first = folder->firsts[folder->count - 1];

	if (!folder->known)
		return (struct extent) { .limit = folder->last_size };
	if (folder->synced.segment != first) /* just made */
		return (struct extent) { .limit = JOURNAL_SEGMENT_HEADER_LEN, .proven = true };
	return (struct extent) { .limit = folder->synced.durable, .proven = true };
}

/* CORRUPT: the next segment is damaged or does not continue this one. */
static int
extent_of(struct extent *out, const struct folder *folder, size_t i, struct larder_err *err)
{
	struct journal_segment_header next;
	int fd, rc;

	if (i + 1 == folder->count) {
		*out = extent_of_last(folder);
		return LARDER_OK;
	}
	rc = journal_segment_open(&fd, &next, folder->fd, folder->firsts[i + 1], O_RDONLY,
	    folder->store, folder->writer, err);
	if (rc < 0)
		return rc;
	file_close(fd);
	if (next.previous_first != folder->firsts[i])
		return err_set(err, LARDER_ERR_CORRUPT,
		    "segment %016llx, which comes before %016llx, is missing",
		    (unsigned long long)next.previous_first,
		    (unsigned long long)folder->firsts[i + 1]);
	*out = (struct extent) {
		.limit = next.previous_len,
		.proven = true,
		.linked = true,
		.chain = next.previous_chain,
	};
	return LARDER_OK;
}

/* ---- is there more ---- */

static int
ends_before(const struct journal_place *from, struct larder_err *err)
{
	err_set(err, LARDER_ERR_CORRUPT,
	    "the journal ends before entry %llu (segment %016llx at %llu), which had been "
	    "committed",
	    (unsigned long long)from->sequence, (unsigned long long)from->segment,
	    (unsigned long long)from->offset);
	err_hint(err, "larder reindex takes the journal as it is; entries are missing");
	return LARDER_ERR_CORRUPT;
}

static int
another_history(const struct journal_place *from, struct larder_err *err)
{
	return err_set(err, LARDER_ERR_NOT_FOUND,
	    "the journal has another entry %llu than the index",
	    (unsigned long long)from->sequence);
}

/*
 * Finds `from` in the folder: *at is its segment, *extent how far that goes; with `lenient`, as
 * far as its neighbour can tell.
 */
static int
stand_at(size_t *at, struct extent *extent, const struct folder *folder,
    const struct journal_place *from, bool lenient, struct larder_err *err)
{
	const uint64_t least =
	    JOURNAL_SEGMENT_HEADER_LEN + ENTRY_FRAME_HEAD_LEN + ENTRY_FRAME_TAIL_LEN;
	char name[JOURNAL_NAME_LEN];
	struct larder_id chain;
	uint64_t size;
	int fd, rc;

	if (!find_segment(folder, from->segment, at))
		return ends_before(from, err);
	journal_name(name, from->segment);
	rc = file_open(&fd, folder->fd, name, O_RDONLY | O_NOFOLLOW, 0, err);
	if (rc < 0)
		return rc;
	rc = file_size(&size, fd, name, err);
	if (rc < 0)
		goto out;
	rc = extent_of(extent, folder, *at, err);
	if (rc == LARDER_ERR_CORRUPT && lenient) {
		*extent = (struct extent) { .limit = size };
		rc = LARDER_OK;
	}
	if (rc < 0)
		goto out;
	if (from->offset > size) {
		rc = ends_before(from, err);
		goto out;
	}
	if (from->offset > extent->limit || from->offset < least) {
		rc = another_history(from, err);
		goto out;
	}
	rc = file_pread_all(
	    fd, chain.bytes, LARDER_ID_LEN, from->offset - ENTRY_FRAME_TAIL_LEN, name, err);
	if (rc == 0 && !id_equal(&chain, &from->chain))
		rc = another_history(from, err);
out:
	file_close(fd);
	return rc;
}

int
journal_has_more(int root_fd, const struct id16 *store, const struct id16 *writer,
    const struct journal_place *from, struct larder_err *err)
{
	struct folder folder;
	struct extent extent;
	size_t i = 0;
	uint64_t offset = JOURNAL_SEGMENT_HEADER_LEN;
	int rc;

	rc = folder_open(&folder, root_fd, store, writer, err);
	if (rc < 0)
		return rc == LARDER_ERR_NOT_FOUND && from != NULL ? ends_before(from, err) : rc;
	if (folder.missing) {
		rc = say_missing(&folder, err);
		goto out;
	}
	if (folder.count == 0) {
		rc = from != NULL ? ends_before(from, err) : 0;
		goto out;
	}
	if (from != NULL) {
		rc = stand_at(&i, &extent, &folder, from, false, err);
		offset = from->offset;
	} else {
		rc = extent_of(&extent, &folder, i, err);
	}
	/* Segments without an entry are rare, but they are. */
	while (rc == 0 && extent.limit <= offset && ++i < folder.count) {
		offset = JOURNAL_SEGMENT_HEADER_LEN;
		rc = extent_of(&extent, &folder, i, err);
	}
	if (rc == 0)
		rc = i < folder.count;
out:
	folder_release(&folder);
	return rc;
}

/* ---- entries ---- */

/* One journal_read(). */
struct reading {
	struct folder folder;
	const struct journal_place *from;
	journal_entry_fn fn;
	journal_bad_fn bad;
	void *context;
	uint64_t sequence; /* of the last entry given out */
	int damaged;       /* CORRUPT once something was told to `bad` */
	uint64_t tail;
};

/* Damage was found: OK when it was told and reading goes on, else CORRUPT. */
static int
tell(struct reading *r, struct larder_err *err)
{
	struct larder_err none = { .message = "the journal is damaged" };

	if (r->bad == NULL)
		return LARDER_ERR_CORRUPT;
	r->bad(r->context, err != NULL ? err->message : none.message);
	r->damaged = LARDER_ERR_CORRUPT;
	return LARDER_OK;
}

static int
tell_folder(struct reading *r, struct larder_err *err)
{
	char path[JOURNAL_FOLDER_LEN];

	journal_folder(path, r->folder.writer);
	err_prefix(err, "%s", path);
	return tell(r, err);
}

/*
 * The frame at walk->at failed. 1 = told, and there is another one behind it; 0 = the end,
 * torn or told.
 */
static int
pass_break(struct reading *r, struct journal_walk *walk, bool proven, struct larder_err *err)
{
	int rc;

	if (!proven) {
		rc = journal_walk_proof(walk, NULL);
		if (rc < 0)
			return err_set(err, rc, "%s cannot be read on", walk->name);
		if (rc == 0)
			return 0;
	}
	rc = tell_folder(r, err);
	return rc < 0 ? rc : journal_walk_skip(walk, err);
}

static int
give_entries(struct reading *r, struct journal_walk *walk, uint64_t first, bool proven,
    struct larder_err *err)
{
	struct entry_frame frame;
	struct journal_place place;
	int rc;

	for (;;) {
		rc = journal_walk_next(walk, &frame, err);
		if (rc == LARDER_ERR_CORRUPT) {
			rc = pass_break(r, walk, proven, err);
			if (rc == 1)
				continue;
		}
		if (rc <= 0)
			return rc;
		place = (struct journal_place) {
			.segment = first,
			.offset = walk->at,
			.sequence = frame.sequence,
			.chain = frame.chain,
		};
		r->sequence = frame.sequence;
		rc = r->fn(r->context, &frame, &place, err);
		if (rc != 0)
			return rc;
	}
}

/* Where reading begins in a segment whose header is lost: at the first frame that there is. */
static int
begin_blind(struct journal_walk *walk, struct larder_err *err)
{
	int rc = journal_walk_skip(walk, err);

	return rc < 0 ? rc : LARDER_OK;
}

/* Opens segment i; with a damaged header, and somebody to tell it, *header is of zeros. */
static int
open_segment(int *fd, struct journal_segment_header *header, struct reading *r, size_t i,
    struct larder_err *err)
{
	const struct folder *folder = &r->folder;
	uint64_t first = folder->firsts[i];
	char name[JOURNAL_NAME_LEN];
	int rc;

	rc = journal_segment_open(
	    fd, header, folder->fd, first, O_RDONLY, folder->store, folder->writer, err);
	if (rc != LARDER_ERR_CORRUPT)
		return rc;
	rc = tell_folder(r, err);
	if (rc < 0)
		return rc;
	*header = (struct journal_segment_header) { 0 };
	journal_name(name, first);
	return file_open(fd, folder->fd, name, O_RDONLY | O_NOFOLLOW, 0, err);
}

/* How far to read, and whether that is proven; what cannot be known from a damaged neighbour is
 * not. Damage that this finds is told when the neighbour is opened. */
static struct extent
extent_or_size(struct reading *r, size_t i, uint64_t size)
{
	struct extent extent;

	if (extent_of(&extent, &r->folder, i, NULL) < 0)
		extent = (struct extent) { .limit = size };
	return extent;
}

static int
check_first(struct reading *r, size_t i, const struct journal_segment_header *header,
    struct larder_err *err)
{
	uint64_t before = i > 0 ? r->folder.firsts[i - 1] : 0;

	if (header->first == 0 || header->previous_first == before)
		return LARDER_OK;
	err_set(err, LARDER_ERR_CORRUPT, "segment %016llx, which comes before %016llx, is missing",
	    (unsigned long long)header->previous_first, (unsigned long long)header->first);
	return tell_folder(r, err);
}

static int
check_end(struct reading *r, const struct journal_walk *walk, const struct extent *extent,
    uint64_t size, struct larder_err *err)
{
	if (extent->proven && size < extent->limit)
		err_set(err, LARDER_ERR_CORRUPT, "%s is cut short: %llu of %llu bytes", walk->name,
		    (unsigned long long)size, (unsigned long long)extent->limit);
	else if (extent->linked && r->damaged == 0 && !id_equal(&walk->chain, &extent->chain))
		err_set(err, LARDER_ERR_CORRUPT, "%s: the next segment continues another one",
		    walk->name);
	else
		return LARDER_OK;
	return tell_folder(r, err);
}

static int
read_segment(struct reading *r, size_t i, const struct journal_place *from, struct larder_err *err)
{
	struct journal_walk walk = { 0 };
	struct journal_segment_header header;
	struct larder_err scratch = { 0 };
	struct extent extent;
	uint64_t size, limit;
	int fd, rc;

	if (err == NULL)
		err = &scratch; /* sentences are told, wanted by the caller or not */
	rc = open_segment(&fd, &header, r, i, err);
	if (rc < 0)
		return rc;
	rc = file_size(&size, fd, "segment", err);
	if (rc < 0)
		goto out;
	extent = extent_or_size(r, i, size);
	limit = extent.limit < size ? extent.limit : size;
	if (limit < JOURNAL_SEGMENT_HEADER_LEN)
		limit = JOURNAL_SEGMENT_HEADER_LEN;
	rc = from == NULL ? check_first(r, i, &header, err) : LARDER_OK;
	if (rc < 0)
		goto out;

	if (from != NULL)
		journal_walk_begin(
		    &walk, fd, from->segment, from->offset, limit, from->sequence, &from->chain);
	else
		journal_walk_begin(&walk, fd, r->folder.firsts[i], JOURNAL_SEGMENT_HEADER_LEN,
		    limit, r->folder.firsts[i] - 1, &header.previous_chain);
	if (header.first == 0)
		rc = begin_blind(&walk, err);
	if (rc == 0)
		rc = give_entries(r, &walk, r->folder.firsts[i], extent.proven, err);
	if (rc == 0)
		rc = check_end(r, &walk, &extent, size, err);
	r->tail = i + 1 == r->folder.count && size > walk.at ? size - walk.at : 0;
out:
	journal_walk_release(&walk);
	file_close(fd);
	return rc;
}

int
journal_read(int root_fd, const struct id16 *store, const struct id16 *writer,
    const struct journal_place *from, journal_entry_fn fn, journal_bad_fn bad, void *context,
    uint64_t *tail, struct larder_err *err)
{
	struct reading r = { .from = from, .fn = fn, .bad = bad, .context = context };
	struct larder_err scratch = { 0 }; /* sentences are told, wanted by the caller or not */
	struct extent extent;
	size_t i = 0;
	int rc;

	if (tail != NULL)
		*tail = 0;
	rc = folder_open(&r.folder, root_fd, store, writer, err);
	if (rc < 0)
		return rc == LARDER_ERR_NOT_FOUND && from != NULL ? ends_before(from, err) : rc;
	if (r.folder.missing) {
		say_missing(&r.folder, err != NULL ? err : &scratch);
		rc = tell_folder(&r, err != NULL ? err : &scratch);
		if (rc < 0)
			goto out;
	}
	if (from != NULL) {
		rc = r.folder.count == 0 ? ends_before(from, err)
					 : stand_at(&i, &extent, &r.folder, from, bad != NULL, err);
		if (rc < 0)
			goto out;
	}
	for (; rc == 0 && i < r.folder.count; i++, from = NULL)
		rc = read_segment(&r, i, from, err);
	if (rc == 0)
		rc = r.damaged;
	if (tail != NULL)
		*tail = r.tail;
out:
	folder_release(&r.folder);
	return rc;
}

/* ---- all journals ---- */

static int
list_journals(char ***names, size_t *count, int root_fd, struct larder_err *err)
{
	int rc = file_list(names, count, root_fd, "journal", err);

	if (rc == LARDER_ERR_NOT_FOUND)
		rc = err_set(err, LARDER_ERR_CORRUPT, "the folder journal is missing");
	return rc;
}

/* Lower-case hex only: names as larder makes them. */
static bool
parse_writer(struct id16 *writer, const char *name)
{
	char again[ID16_HEX_LEN + 1];

	if (!id16_from_hex(writer, name, strlen(name)))
		return false;
	id16_to_hex(again, writer);
	return strcmp(again, name) == 0;
}

int
journal_each_writer(int root_fd, journal_writer_fn fn, void *context, struct larder_err *err)
{
	struct id16 writer;
	char **names;
	size_t count;
	int rc;

	rc = list_journals(&names, &count, root_fd, err);
	for (size_t i = 0; rc == 0 && i < count; i++)
		if (parse_writer(&writer, names[i]))
			rc = fn(context, &writer, err);
	mem_free(names);
	return rc;
}

struct byte_sum {
	int root_fd;
	uint64_t bytes;
};

static int
add_bytes(void *context, const struct id16 *writer, struct larder_err *err)
{
	struct byte_sum *sum = context;
	char folder[JOURNAL_FOLDER_LEN], path[JOURNAL_FOLDER_LEN + JOURNAL_NAME_LEN];
	uint64_t *firsts = NULL;
	size_t count;
	int fd, rc;

	journal_folder(folder, writer);
	rc = file_open(&fd, sum->root_fd, folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, err);
	if (rc < 0)
		return rc;
	rc = journal_list(&firsts, &count, fd, err);
	for (size_t i = 0; rc == 0 && i < count; i++) {
		char name[JOURNAL_NAME_LEN];
		struct stat st;

		journal_name(name, firsts[i]);
		snprintf(path, sizeof path, "%s/%s", folder, name);
		if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			rc = err_sys(err, "look at %s", path);
		else
			sum->bytes += (uint64_t)st.st_size;
	}
	mem_free(firsts);
	file_close(fd);
	return rc;
}

int
journal_bytes(uint64_t *bytes, int root_fd, struct larder_err *err)
{
	struct byte_sum sum = { .root_fd = root_fd };
	int rc;

	rc = journal_each_writer(root_fd, add_bytes, &sum, err);
	*bytes = sum.bytes;
	return rc;
}
