/*
 * FLAVOURS: release asan tsan
 *
 * The journal: what was acknowledged is there, in order, whoever dies, fails or
 * tears; what is damaged is said; what was never acknowledged may go.
 */
#include "cas/journal.h"

#include "tests/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cas/base/limits.h"
#include "cas/journal_scan.h"
#include "cas/sys.h"
#include "tests/doubles/doubles.h"

static const struct id16 store = { "the store's id.." };
static const struct id16 writer = { { 0x77 } };
static const struct id16 no_intent;

#define FOLDER "journal/77000000000000000000000000000000"

/* ---- doubles of this test: another boot, death at a call, a disk that shows other bytes ---- */

static const char *boot_path; /* read instead of the kernel's; NULL = the kernel's */
static long calls_to_live =
    -1;                       /* changes of the disk before this process kills itself; -1 = none */
static bool die_half_way;     /* the write at which it dies is done by half */
static int room_left = -1;    /* bytes that one more write to a segment finds room for */
static int bad_fd_after = -1; /* bytes from here on read as zeros in files longer than that */

static bool
last_call(void)
{
	return calls_to_live >= 0 && calls_to_live-- == 0;
}

static int
open_here(int dirfd, const char *path, int flags, mode_t mode)
{
	if (boot_path != NULL && strcmp(path, "/proc/sys/kernel/random/boot_id") == 0)
		path = boot_path;
	return openat(dirfd, path, flags, mode);
}

static ssize_t
write_here(int fd, const struct iovec *iov, int count, off_t at)
{
	if (last_call()) {
		if (die_half_way && pwrite(fd, iov[0].iov_base, iov[0].iov_len / 2, at) < 0)
			_exit(1);
		raise(SIGKILL);
	}
	if (room_left >= 0 && at >= JOURNAL_LOCK_LEN) {
		ssize_t len =
		    (ssize_t)iov[0].iov_len < room_left ? (ssize_t)iov[0].iov_len : room_left;

		room_left -= (int)len;
		errno = ENOSPC;
		return len > 0 ? pwrite(fd, iov[0].iov_base, (size_t)len, at) : -1;
	}
	return pwritev(fd, iov, count, at);
}

static int
datasync_here(int fd)
{
	if (last_call())
		raise(SIGKILL);
	return fdatasync(fd);
}

static int
sync_here(int fd)
{
	if (last_call())
		raise(SIGKILL);
	return fsync(fd);
}

static int
rename_here(int from_dir, const char *from, int to_dir, const char *to)
{
	if (last_call())
		raise(SIGKILL);
	return renameat(from_dir, from, to_dir, to);
}

static ssize_t
read_here(int fd, void *buf, size_t len, off_t at)
{
	ssize_t got = pread(fd, buf, len, at);
	uint8_t *bytes = buf;
	struct stat st;

	if (bad_fd_after >= 0 && fstat(fd, &st) == 0 && st.st_size > JOURNAL_LOCK_LEN)
		for (ssize_t i = 0; i < got; i++)
			if (at + i >= bad_fd_after)
				bytes[i] = 0;
	return got;
}

static void
set_doubles(void)
{
	static const struct larder_sys sys = {
		.size = sizeof sys,
		.file_openat = open_here,
		.file_pwritev = write_here,
		.file_fdatasync = datasync_here,
		.file_fsync = sync_here,
		.file_renameat = rename_here,
		.file_pread = read_here,
	};

	larder_sys_set(&sys);
}

static void
new_boot(void **state)
{
	static char path[4096];
	static unsigned number;
	char text[64];

	snprintf(text, sizeof text, "d97060b2-d706-49f9-b7a2-%012x\n", ++number);
	test_write(state, "boot", text, strlen(text));
	snprintf(path, sizeof path, "%s", test_path(state, "boot"));
	boot_path = path;
	set_doubles();
}

static int
setup(void **state)
{
	boot_path = NULL;
	calls_to_live = -1;
	die_half_way = false;
	bad_fd_after = -1;
	room_left = -1;
	return test_setup(state) < 0 ? -1 : mkdirat(test_dir(state), "journal", 0700);
}

#define journal_case(fn) cmocka_unit_test_setup_teardown(fn, setup, test_teardown)

/* ---- helpers ---- */

static struct journal *
open_journal(void **state)
{
	struct journal *journal;
	struct larder_err err = { 0 };

	assert_ok(journal_open(&journal, test_dir(state), &store, &writer, &err), &err);
	return journal;
}

static int
append_text(
    struct journal *journal, struct journal_place *place, const char *text, struct larder_err *err)
{
	return journal_append(journal, place, text, strlen(text), 1000, &no_intent, err);
}

static struct journal_place
append(struct journal *journal, const char *text)
{
	struct journal_place place;
	struct larder_err err = { 0 };

	assert_ok(append_text(journal, &place, text, &err), &err);
	return place;
}

static struct journal_place
commit(struct journal *journal, const char *text)
{
	struct journal_place place = append(journal, text);
	struct larder_err err = { 0 };

	assert_ok(journal_sync(journal, &place, &err), &err);
	return place;
}

/* What a reading gave: bodies with a comma behind each, and the rest. */
struct story {
	char text[8192];
	size_t count, sentences;
	char sentence[512];
	struct journal_place last;
	int64_t last_time;
	uint64_t tail;
	struct larder_err err;
	int rc;
};

static int
tell(void *context, const struct entry_frame *frame, const struct journal_place *place,
    struct larder_err *err)
{
	struct story *s = context;
	size_t len = strlen(s->text);

	(void)err;
	if (frame->body_len < 100)
		snprintf(s->text + len, sizeof s->text - len, "%.*s,", (int)frame->body_len,
		    (const char *)frame->body);
	assert_true(s->count == 0 || frame->time_ns > s->last_time);
	assert_true(s->count == 0 || frame->sequence > s->last.sequence);
	assert_int_equal(frame->sequence, place->sequence);
	s->last = *place;
	s->last_time = frame->time_ns;
	s->count++;
	return 0;
}

static void
tell_bad(void *context, const char *sentence)
{
	struct story *s = context;

	s->sentences++;
	snprintf(s->sentence, sizeof s->sentence, "%s", sentence);
}

static struct story *
read_from(void **state, const struct journal_place *from, bool with_bad)
{
	static struct story s;

	s = (struct story) { .rc = 0 };
	s.rc = journal_read(test_dir(state), &store, &writer, from, tell,
	    with_bad ? tell_bad : NULL, &s, &s.tail, &s.err);
	return &s;
}

static struct story *
read_all(void **state)
{
	return read_from(state, NULL, false);
}

static int
has_more(void **state, const struct journal_place *from)
{
	return journal_has_more(test_dir(state), &store, &writer, from, NULL);
}

static const char *
segment_path(uint64_t first)
{
	static char paths[4][100];
	static unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, 100, FOLDER "/%016llx", (unsigned long long)first);
	return path;
}

static void
flip(void **state, const char *name, off_t at)
{
	int fd = openat(test_dir(state), name, O_RDWR | O_CLOEXEC);
	uint8_t byte;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 0x10;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

static void
cut(void **state, const char *name, off_t len)
{
	assert_int_equal(truncate(test_path(state, name), len), 0);
}

static off_t
size_of(void **state, const char *name)
{
	struct stat st;

	assert_int_equal(fstatat(test_dir(state), name, &st, 0), 0);
	return st.st_size;
}

/* ---- order, segments, times ---- */

static void
entries_come_back_in_order_when_they_are_synced(void **state)
{
	struct journal *journal = open_journal(state);
	struct journal_place two, three;
	struct story *s;

	assert_int_equal(has_more(state, NULL), 0);
	commit(journal, "one");
	two = commit(journal, "two");
	assert_int_equal(has_more(state, NULL), 1);
	assert_int_equal(has_more(state, &two), 0);
	s = read_all(state);
	assert_ok(s->rc, &s->err);
	assert_string_equal(s->text, "one,two,");
	assert_int_equal(s->tail, 0);
	assert_memory_equal(&s->last, &two, sizeof two);

	three = append(journal, "three");
	assert_int_equal(has_more(state, &two), 0);
	s = read_all(state);
	assert_string_equal(s->text, "one,two,"); /* three is not durable */
	assert_int_equal(s->tail, three.offset - two.offset);

	assert_ok(journal_sync(journal, &three, NULL), NULL);
	assert_int_equal(has_more(state, &two), 1);
	s = read_from(state, &two, false);
	assert_string_equal(s->text, "three,");
	assert_string_equal(read_from(state, &three, false)->text, "");
	journal_close(journal);
}

static void
one_sync_serves_everybody_who_appended_before_it(void **state)
{
	struct file_faulty_plan count = { .ops = FILE_FAULTY_SYNC };
	struct journal *a = open_journal(state), *b = open_journal(state);
	struct journal_place first, second;

	commit(a, "warm");
	commit(b, "up");
	first = append(a, "first");
	second = append(b, "second");
	file_faulty_set(&count);
	assert_ok(journal_sync(b, &second, NULL), NULL);
	assert_int_equal(file_faulty_calls(), 1);
	assert_ok(journal_sync(a, &first, NULL), NULL);
	assert_int_equal(file_faulty_calls(), 1);
	larder_sys_set(NULL);
	assert_string_equal(read_all(state)->text, "warm,up,first,second,");
	journal_close(a);
	journal_close(b);
}

static void
a_sync_covers_what_others_appended_meanwhile(void **state)
{
	struct file_faulty_plan count = { .ops = FILE_FAULTY_SYNC };
	struct journal *a = open_journal(state), *b = open_journal(state);
	struct journal_place first, second;

	commit(a, "warm");
	commit(b, "up");
	first = append(a, "first");
	second = append(b, "second");
	file_faulty_set(&count);
	assert_ok(journal_sync(a, &first, NULL), NULL); /* the earlier one, and yet: */
	assert_ok(journal_sync(b, &second, NULL), NULL);
	assert_int_equal(file_faulty_calls(), 1);
	journal_close(a);
	journal_close(b);
}

static void
segments_end_at_their_target_and_are_chained(void **state)
{
	enum { COUNT = 9 };
	struct journal *journal = open_journal(state);
	char *body = calloc(1, ENTRY_LEN_MAX);
	struct journal_place place;
	struct larder_err err = { 0 };
	struct story *s;

	for (int i = 0; i < COUNT; i++) {
		assert_ok(journal_append(journal, &place, body, ENTRY_LEN_MAX, i, &no_intent, &err),
		    &err);
		assert_ok(journal_sync(journal, &place, &err), &err);
	}
	assert_int_equal(place.segment, 7); /* three in each: a fourth would go beyond 16 MiB */
	assert_true(size_of(state, segment_path(1)) <= JOURNAL_SEGMENT_TARGET);
	assert_true(test_exists(state, segment_path(4)));
	s = read_all(state);
	assert_ok(s->rc, &s->err);
	assert_int_equal(s->count, COUNT);
	assert_memory_equal(&s->last, &place, sizeof place);

	/* from the end of the first segment it goes on in the second */
	journal_close(journal);
	assert_status(LARDER_ERR_LIMIT,
	    journal_append(journal = open_journal(state), &place, body, ENTRY_LEN_MAX + 1, 0,
		&no_intent, &err),
	    &err);
	assert_message(&err, "ENTRY_LEN_MAX");
	journal_close(journal);
	free(body);
}

static void
times_rise_though_the_clock_falls(void **state)
{
	struct journal *journal = open_journal(state);
	struct journal_place place;
	struct story *s;

	assert_ok(journal_append(journal, &place, "a", 1, 5000, &no_intent, NULL), NULL);
	assert_ok(journal_append(journal, &place, "b", 1, 4000, &no_intent, NULL), NULL);
	assert_ok(journal_sync(journal, &place, NULL), NULL);
	journal_close(journal);
	s = read_all(state);
	assert_int_equal(s->last_time, 5001);

	/* also into a new segment that nobody has written to yet, and over a boot */
	new_boot(state);
	cut(state, segment_path(1), size_of(state, segment_path(1)) - 1); /* b is torn */
	journal = open_journal(state);
	assert_ok(journal_append(journal, &place, "c", 1, -7, &no_intent, NULL), NULL);
	assert_ok(journal_sync(journal, &place, NULL), NULL);
	assert_int_equal(place.segment, 2);
	assert_int_equal(read_all(state)->last_time, 5001);
	journal_close(journal);

	new_boot(state);
	cut(state, segment_path(2), JOURNAL_SEGMENT_HEADER_LEN);
	journal = open_journal(state);
	assert_ok(journal_append(journal, &place, "d", 1, -7, &no_intent, NULL), NULL);
	assert_ok(journal_sync(journal, &place, NULL), NULL);
	s = read_all(state);
	assert_string_equal(s->text, "a,d,");
	assert_int_equal(s->last_time, 5001);
	journal_close(journal);
}

static void
is_there_more_is_answered_for_every_place(void **state)
{
	struct journal *journal = open_journal(state);
	struct journal_place places[3], wrong;
	struct larder_err err = { 0 };

	for (int i = 0; i < 3; i++)
		places[i] = commit(journal, "x");
	for (int boot = 0; boot < 2; boot++) {
		assert_int_equal(has_more(state, &places[0]), 1);
		assert_int_equal(has_more(state, &places[1]), 1);
		assert_int_equal(has_more(state, &places[2]), 0);
		wrong = places[1];
		wrong.chain.bytes[5] ^= 1;
		assert_int_equal(has_more(state, &wrong), LARDER_ERR_NOT_FOUND);
		assert_int_equal(read_from(state, &wrong, false)->rc, LARDER_ERR_NOT_FOUND);
		wrong = places[2];
		wrong.offset += 100;
		assert_status(LARDER_ERR_CORRUPT,
		    journal_has_more(test_dir(state), &store, &writer, &wrong, &err), &err);
		assert_message(&err, "ends before entry 3");
		assert_int_equal(read_from(state, &wrong, false)->rc, LARDER_ERR_CORRUPT);
		wrong.segment = 77;
		assert_int_equal(has_more(state, &wrong), LARDER_ERR_CORRUPT);
		assert_int_equal(read_from(state, &wrong, false)->rc, LARDER_ERR_CORRUPT);
		wrong = places[0];
		wrong.offset = 3;
		assert_int_equal(has_more(state, &wrong), LARDER_ERR_NOT_FOUND);
		new_boot(state);
	}
	/* a whole journal that is gone */
	assert_int_equal(renameat(test_dir(state), FOLDER, test_dir(state), "elsewhere"), 0);
	assert_int_equal(has_more(state, &places[0]), LARDER_ERR_CORRUPT);
	assert_int_equal(read_from(state, &places[0], false)->rc, LARDER_ERR_CORRUPT);
	journal_close(journal);
}

/* ---- torn tails and damage ---- */

static void
a_tail_torn_at_any_length_is_the_end_and_the_next_entry_goes_elsewhere(void **state)
{
	char *bytes;
	size_t len, ends[4] = { JOURNAL_SEGMENT_HEADER_LEN };
	struct journal *journal = open_journal(state);

	for (int i = 1; i < 4; i++)
		ends[i] = append(journal, i == 1 ? "one" : i == 2 ? "two" : "three").offset;
	journal_close(journal);
	bytes = test_read(state, segment_path(1), &len);
	assert_int_equal(len, ends[3]);

	for (size_t at = JOURNAL_SEGMENT_HEADER_LEN; at <= len; at++) {
		static const char *const texts[] = { "", "one,", "one,two,", "one,two,three," };
		size_t whole = at == len ? 3 : at >= ends[2] ? 2 : at >= ends[1] ? 1 : 0;
		char want[100];
		struct story *s;
		struct journal_place place;

		new_boot(state);
		test_write(state, segment_path(1), bytes, at);
		s = read_all(state);
		assert_ok(s->rc, &s->err);
		assert_string_equal(s->text, texts[whole]);
		assert_int_equal(s->tail, at - ends[whole]);

		journal = open_journal(state);
		place = commit(journal, "next");
		assert_int_equal(place.segment, at == ends[whole] ? 1 : whole == 0 ? 2 : whole + 1);
		snprintf(want, sizeof want, "%snext,", texts[whole]);
		s = read_all(state);
		assert_ok(s->rc, &s->err);
		assert_string_equal(s->text, want);
		journal_close(journal);

		new_boot(state); /* and the next boot sees the same */
		s = read_all(state);
		assert_ok(s->rc, &s->err);
		assert_string_equal(s->text, want);
		if (place.segment != 1)
			unlinkat(test_dir(state), segment_path(place.segment), 0);
	}
	free(bytes);
}

static void
a_flipped_byte_is_damage_when_a_later_entry_says_that_it_was_durable(void **state)
{
	struct journal *journal = open_journal(state);
	off_t one = (off_t)commit(journal, "one").offset,
	      two = (off_t)commit(journal, "two").offset,
	      end = (off_t)commit(journal, "three").offset;

	journal_close(journal);
	for (off_t at = JOURNAL_SEGMENT_HEADER_LEN; at < end; at++) {
		struct journal_place place;
		struct larder_err err = { 0 };
		struct story *s;

		new_boot(state);
		flip(state, segment_path(1), at);
		s = read_all(state);
		if (at >= two) { /* nothing proves the last one: it may be a torn tail */
			assert_ok(s->rc, &s->err);
			assert_string_equal(s->text, "one,two,");
			assert_int_equal(s->tail, end - two);
		} else {
			assert_status(LARDER_ERR_CORRUPT, s->rc, &s->err);
			assert_message(&s->err, FOLDER);
			s = read_from(state, NULL, true);
			assert_int_equal(s->rc, LARDER_ERR_CORRUPT);
			assert_int_equal(s->sentences, 1);
			assert_string_equal(s->text, at < one ? "two,three," : "one,three,");

			/* nobody writes behind damage */
			journal = open_journal(state);
			assert_status(
			    LARDER_ERR_CORRUPT, append_text(journal, &place, "x", &err), &err);
			assert_message(&err, "damaged at");
			journal_close(journal);
		}
		flip(state, segment_path(1), at);
	}
	new_boot(state);
	assert_string_equal(read_all(state)->text, "one,two,three,");
}

static void
what_an_index_has_applied_proves_the_last_entry(void **state)
{
	struct journal *journal = open_journal(state);
	struct journal_place one = commit(journal, "one"), two = commit(journal, "two"), place;
	struct larder_err err = { 0 };

	journal_close(journal);
	new_boot(state);
	flip(state, segment_path(1), (off_t)one.offset + 3);
	journal = open_journal(state);
	journal_prove(journal, &two);
	assert_status(LARDER_ERR_CORRUPT, append_text(journal, &place, "x", &err), &err);
	assert_message(&err, "begins a new journal");
	journal_close(journal);

	/* an index that has less proves nothing */
	journal = open_journal(state);
	journal_prove(journal, &one);
	assert_ok(append_text(journal, &place, "x", &err), &err);
	assert_int_equal(place.segment, 2);
	journal_close(journal);
}

static void
in_this_boot_everything_durable_must_be_there(void **state)
{
	struct journal *journal = open_journal(state);
	struct journal_place one = commit(journal, "one");
	struct story *s;

	commit(journal, "two");
	journal_close(journal);
	flip(state, segment_path(1), (off_t)one.offset + 3);
	s = read_all(state);
	assert_status(LARDER_ERR_CORRUPT, s->rc, &s->err);
	flip(state, segment_path(1), (off_t)one.offset + 3);
	cut(state, segment_path(1), (off_t)one.offset);
	s = read_all(state);
	assert_status(LARDER_ERR_CORRUPT, s->rc, &s->err);
	assert_message(&s->err, "cut short");
	assert_string_equal(s->text, "one,");
}

/* Three segments: entries 1, then 2, then 3; each new one made because the tail was torn. */
static void
make_three_segments(void **state)
{
	static const char *const texts[] = { "one", "two", "three" };

	for (uint64_t i = 1; i <= 3; i++) {
		struct journal *journal = open_journal(state);
		struct journal_place place;

		new_boot(state);
		place = commit(journal, texts[i - 1]);
		assert_int_equal(place.segment, i);
		append(journal, "torn");
		journal_close(journal);
		if (i < 3)
			cut(state, segment_path(i), size_of(state, segment_path(i)) - 1);
		new_boot(state);
	}
}

static void
the_header_of_the_next_segment_proves_the_one_before(void **state)
{
	struct story *s;

	make_three_segments(state);
	s = read_all(state);
	assert_ok(s->rc, &s->err);
	assert_string_equal(s->text, "one,two,three,torn,"); /* whole in the end */
	flip(state, segment_path(2), JOURNAL_SEGMENT_HEADER_LEN + 10);
	s = read_from(state, NULL, true);
	assert_int_equal(s->rc, LARDER_ERR_CORRUPT);
	assert_int_equal(s->sentences, 1);
	assert_string_equal(s->text, "one,three,torn,");
}

static void
a_missing_segment_is_damage_and_not_the_end(void **state)
{
	for (uint64_t first = 1; first <= 2; first++) {
		struct story *s;

		make_three_segments(state);
		assert_int_equal(unlinkat(test_dir(state), segment_path(first), 0), 0);
		s = read_all(state);
		assert_status(LARDER_ERR_CORRUPT, s->rc, &s->err);
		assert_message(&s->err, "is missing");
		s = read_from(state, NULL, true);
		assert_int_equal(s->rc, LARDER_ERR_CORRUPT);
		assert_string_equal(s->text, first == 1 ? "two,three,torn," : "one,three,torn,");
		for (uint64_t i = 1; i <= 4; i++)
			unlinkat(test_dir(state), segment_path(i), 0);
	}
}

static void
the_last_segment_of_this_boot_cannot_go_unnoticed(void **state)
{
	struct journal *journal;
	struct story *s;

	make_three_segments(state);
	journal = open_journal(state);
	commit(journal, "four");
	journal_close(journal);
	assert_int_equal(unlinkat(test_dir(state), segment_path(3), 0), 0);
	s = read_all(state);
	assert_status(LARDER_ERR_CORRUPT, s->rc, &s->err);
	assert_message(&s->err, "missing");
	s = read_from(state, NULL, true); /* what there is can be read */
	assert_int_equal(s->rc, LARDER_ERR_CORRUPT);
	assert_int_equal(s->sentences, 1);
	assert_string_equal(s->text, "one,two,");
}

static void
ends_can_be_forgotten_by_who_takes_a_journal_as_it_is(void **state)
{
	struct journal *journal = open_journal(state);
	struct journal_place one = commit(journal, "one");
	struct larder_err err = { 0 };
	struct story *s;

	commit(journal, "two");
	journal_close(journal);
	cut(state, segment_path(1), (off_t)one.offset + 5);
	assert_int_equal(read_all(state)->rc, LARDER_ERR_CORRUPT);
	assert_ok(journal_forget_ends(test_dir(state), &err), &err);
	s = read_all(state);
	assert_ok(s->rc, &s->err);
	assert_string_equal(s->text, "one,");
	assert_int_equal(has_more(state, &one), 1); /* perhaps */
	journal = open_journal(state);
	commit(journal, "three");
	s = read_all(state);
	assert_ok(s->rc, &s->err);
	assert_string_equal(s->text, "one,three,");
	journal_close(journal);
}

static void
every_damaged_header_is_damage_and_says_why(void **state)
{
	make_three_segments(state);
	for (off_t at = 0; at < JOURNAL_SEGMENT_HEADER_LEN; at++)
		for (uint64_t first = 1; first <= 3; first++) {
			struct story *s;

			flip(state, segment_path(first), at);
			s = read_all(state);
			assert_status(LARDER_ERR_CORRUPT, s->rc, &s->err);
			s = read_from(state, NULL, true);
			assert_int_equal(s->rc, LARDER_ERR_CORRUPT);
			assert_string_equal(s->text, "one,two,three,torn,");
			flip(state, segment_path(first), at);
		}
}

static void
a_segment_of_another_place_is_refused(void **state)
{
	static const struct {
		struct journal_segment_header header;
		const char *says;
	} rows[] = {
		{ { .store = { { 9 } }, .writer = { { 0x77 } }, .first = 1 }, "another store" },
		{ { .store = { "the store's id.." }, .writer = { { 0x78 } }, .first = 1 },
		    "another writer" },
		{ { .store = { "the store's id.." }, .writer = { { 0x77 } }, .first = 2 },
		    "another segment" },
	};
	uint8_t bytes[JOURNAL_SEGMENT_HEADER_LEN];
	struct journal *journal = open_journal(state);

	for (size_t i = 0; i < test_count(rows); i++) {
		struct journal_place place;
		struct larder_err err = { 0 };
		struct story *s;

		journal_segment_header_encode(bytes, &rows[i].header);
		test_write(state, segment_path(1), bytes, sizeof bytes);
		s = read_all(state);
		assert_status(LARDER_ERR_CORRUPT, s->rc, &s->err);
		assert_message(&s->err, rows[i].says);
		assert_status(LARDER_ERR_CORRUPT, append_text(journal, &place, "x", &err), &err);
		assert_message(&err, rows[i].says);
	}
	journal_close(journal);
}

static void
other_names_in_the_folder_are_left_alone(void **state)
{
	struct journal *journal = open_journal(state);

	commit(journal, "one");
	test_write(state, FOLDER "/0000000000000001.tmp-0123456789abcdef", "x", 1);
	test_write(state, FOLDER "/0000000000000000", "x", 1);
	test_write(state, FOLDER "/000000000000000A", "x", 1);
	test_write(state, FOLDER "/README", "x", 1);
	assert_string_equal(read_all(state)->text, "one,");
	journal_close(journal);

	new_boot(state); /* what a dead process left goes with the next boot's first entry */
	journal = open_journal(state);
	commit(journal, "two");
	assert_string_equal(read_all(state)->text, "one,two,");
	assert_false(test_exists(state, FOLDER "/0000000000000001.tmp-0123456789abcdef"));
	assert_true(test_exists(state, FOLDER "/README"));
	journal_close(journal);
}

/* A segment with these frames, whatever their sequences and chains are. */
static void
write_frames(void **state, const struct entry_frame *frames, size_t count, bool own_chain)
{
	const struct journal_segment_header header = {
		.store = store, .writer = writer, .first = 1
	};
	struct larder_id chain = { { 0 } };
	struct buf bytes = { 0 };

	assert_ok(buf_resize(&bytes, JOURNAL_SEGMENT_HEADER_LEN), NULL);
	journal_segment_header_encode(bytes.data, &header);
	for (size_t i = 0; i < count; i++) {
		struct entry_frame frame = frames[i];

		assert_ok(entry_frame_encode(&bytes, &frame, &chain), NULL);
		if (own_chain)
			chain = frame.chain;
	}
	new_boot(state);
	assert_true(mkdirat(test_dir(state), FOLDER, 0700) == 0 || errno == EEXIST);
	test_write(state, segment_path(1), bytes.data, bytes.len);
	buf_release(&bytes);
}

static void
whole_entries_out_of_order_or_from_elsewhere_are_damage(void **state)
{
	const uint8_t *a = (const uint8_t *)"a", *b = (const uint8_t *)"b";
	const struct entry_frame good[] = {
		{ .sequence = 1, .time_ns = 1, .body = a, .body_len = 1 },
		{ .sequence = 2, .time_ns = 2, .body = b, .body_len = 1, .durable = 200 },
		{ .sequence = 3, .time_ns = 3, .body = b, .body_len = 1, .durable = 300 },
	}, gap[] = { good[0], good[2] }, twice[] = { good[0], good[0], good[1], good[2] };
	struct story *s;

	write_frames(state, good, 3, true);
	assert_string_equal(read_all(state)->text, "a,b,b,");

	write_frames(state, gap, 2, true);
	s = read_all(state);
	assert_status(LARDER_ERR_CORRUPT, s->rc, &s->err);
	assert_message(&s->err, "entry 3 where 2 should stand");
	s = read_from(state, NULL, true);
	assert_string_equal(s->text, "a,b,");

	write_frames(state, twice, 4, true);
	s = read_from(state, NULL, true);
	assert_status(LARDER_ERR_CORRUPT, s->rc, &s->err);
	assert_string_equal(s->text, "a,b,b,"); /* not twice */

	write_frames(state, good, 3, false);
	s = read_all(state);
	assert_status(LARDER_ERR_CORRUPT, s->rc, &s->err);
	assert_message(&s->err, "its chain differs");
}

static void
a_segment_that_continues_another_one_is_damage(void **state)
{
	struct journal_segment_header header = { .store = store, .writer = writer, .first = 3 };
	uint8_t bytes[JOURNAL_SEGMENT_HEADER_LEN];
	struct journal *journal = open_journal(state);
	struct story *s;

	commit(journal, "one");
	header.previous_len = commit(journal, "two").offset;
	header.previous_first = 1; /* and a chain that is not that of two */
	journal_segment_header_encode(bytes, &header);
	new_boot(state);
	test_write(state, segment_path(3), bytes, sizeof bytes);
	s = read_all(state);
	assert_status(LARDER_ERR_CORRUPT, s->rc, &s->err);
	assert_message(&s->err, "continues another one");
	s = read_from(state, NULL, true);
	assert_string_equal(s->text, "one,two,");
	assert_int_equal(s->sentences, 1);
	journal_close(journal);
}

static void
a_segment_that_got_shorter_in_this_boot_is_damage_for_who_appends(void **state)
{
	struct journal *journal = open_journal(state), *other;
	struct journal_place place;
	struct larder_err err = { 0 };

	commit(journal, "one");
	place = commit(journal, "two");
	cut(state, segment_path(1), (off_t)place.offset - 1);
	assert_status(LARDER_ERR_CORRUPT, append_text(journal, &place, "x", &err), &err);
	assert_message(&err, "damaged at");
	other = open_journal(state);
	assert_status(LARDER_ERR_CORRUPT, append_text(other, &place, "x", &err), &err);
	journal_close(other);
	journal_close(journal);
}

/* ---- full disks ---- */

static void
an_entry_that_finds_half_its_room_is_told_and_ends_the_segment(void **state)
{
	for (int room = 0; room < 80; room += 13) {
		struct journal *a = open_journal(state), *b = open_journal(state);
		struct journal_place waits, place;
		struct larder_err err = { 0 };
		struct story *s;

		commit(a, "one");
		commit(b, "two");
		waits =
		    append(b, "waits"); /* of another handle, before the one that finds no room */
		set_doubles();
		room_left = room;
		assert_status(LARDER_ERR_NO_SPACE, append_text(a, &place, "too much", &err), &err);
		room_left = -1;
		assert_false(journal_has_failed(a)); /* no sync failed: it may go on */
		assert_ok(journal_sync(b, &waits, &err), &err);
		commit(a, "three");
		commit(b, "four");
		s = read_all(state);
		assert_ok(s->rc, &s->err);
		assert_string_equal(s->text, "one,two,waits,three,four,");
		assert_int_equal(s->last.segment, room == 0 ? 1 : 4);
		journal_close(a);
		journal_close(b);
		for (uint64_t i = 0; i < 10; i++)
			unlinkat(test_dir(state), segment_path(i), 0);
		unlinkat(test_dir(state), FOLDER "/lock", 0);
	}
}

/* ---- failing syncs ---- */

static void
a_failed_sync_acknowledges_nothing_and_ends_the_segment(void **state)
{
	struct file_faulty_plan plan = { .ops = FILE_FAULTY_SYNC, .nth = 1 };
	struct journal *a = open_journal(state), *b = open_journal(state), *c;
	struct journal_place lost, waits, next;
	struct larder_err err = { 0 };
	struct story *s;

	commit(a, "one");
	commit(b, "two");
	lost = append(a, "lost");
	waits = append(b, "waits"); /* of another handle, behind the failing one */
	file_faulty_set(&plan);
	assert_status(LARDER_ERR_IO, journal_sync(a, &lost, &err), &err);
	larder_sys_set(NULL);

	/* never again: not by this handle, not by another one, though fdatasync would now succeed
	 */
	assert_status(LARDER_ERR_IO, journal_sync(a, &lost, &err), &err);
	assert_status(LARDER_ERR_IO, journal_sync(b, &waits, &err), &err);
	assert_message(&err, "cut off");
	assert_string_equal(read_all(state)->text, "one,two,");

	c = open_journal(state);
	next = commit(c, "next");
	assert_int_equal(next.segment, 3);
	s = read_all(state);
	assert_ok(s->rc, &s->err);
	assert_string_equal(s->text, "one,two,next,");
	/* and those who waited learn it from the header that followed */
	assert_status(LARDER_ERR_IO, journal_sync(b, &waits, &err), &err);
	assert_status(LARDER_ERR_IO, journal_sync(a, &lost, &err), &err);
	new_boot(state);
	assert_string_equal(read_all(state)->text, "one,two,next,");
	journal_close(a);
	journal_close(b);
	journal_close(c);
}

static void
what_was_durable_when_the_segment_was_left_stays_acknowledged(void **state)
{
	struct journal *a = open_journal(state), *b = open_journal(state);
	struct journal_place one;
	char *large = calloc(1, ENTRY_LEN_MAX);
	struct journal_place place;

	one = append(a, "one");
	for (int i = 0; i < 4;
	     i++) /* fills the segment: the next one is begun, the old one synced */
		assert_ok(
		    journal_append(b, &place, large, ENTRY_LEN_MAX, 0, &no_intent, NULL), NULL);
	assert_int_not_equal(place.segment, one.segment);
	assert_ok(journal_sync(a, &one, NULL), NULL);
	free(large);
	journal_close(a);
	journal_close(b);
}

static void
a_segment_is_synced_before_the_next_one_vouches_for_it(void **state)
{
	struct file_faulty_plan plan = { .ops = FILE_FAULTY_SYNC, .nth = 1 };
	struct journal *journal = open_journal(state);
	uint8_t *large = calloc(1, ENTRY_LEN_MAX);
	struct journal_place place, first = commit(journal, "first");
	struct larder_err err = { 0 };
	struct story *s;

	for (int i = 0; i < 3; i++) /* appended, not synced */
		assert_ok(
		    journal_append(journal, &place, large, ENTRY_LEN_MAX, 0, &no_intent, &err),
		    &err);
	file_faulty_set(&plan);
	assert_status(LARDER_ERR_IO,
	    journal_append(journal, &place, large, ENTRY_LEN_MAX, 0, &no_intent, &err), &err);
	larder_sys_set(NULL);
	assert_false(test_exists(state, segment_path(5)));
	assert_true(journal_has_failed(journal));
	assert_status(LARDER_ERR_IO, append_text(journal, &place, "x", &err), &err);

	/* the next handle ends it where it is durable */
	journal_close(journal);
	journal = open_journal(state);
	assert_false(journal_has_failed(journal));
	commit(journal, "next");
	s = read_all(state);
	assert_ok(s->rc, &s->err);
	assert_string_equal(s->text, "first,next,");
	assert_int_equal(s->count, 2);
	assert_int_equal(s->last.sequence, first.sequence + 1);
	free(large);
	journal_close(journal);
}

/* ---- death ---- */

/* Runs fn in a child; true when it was killed. */
static bool
in_child(void **state, void (*fn)(void **state, int report), char *report, size_t report_len)
{
	int ends[2], status;
	pid_t pid;
	ssize_t got;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(ends[0]);
		fn(state, ends[1]);
		_exit(0);
	}
	close(ends[1]);
	memset(report, 0, report_len);
	for (size_t len = 0; (got = read(ends[0], report + len, report_len - 1 - len)) > 0;)
		len += (size_t)got;
	close(ends[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
	return WIFSIGNALED(status);
}

/* Commits three entries and reports each when it is acknowledged; no assertions in a child. */
static void
commit_three(void **state, int report)
{
	static const char *const texts[] = { "a", "b", "c" };
	struct journal *journal;
	struct journal_place place;

	if (journal_open(&journal, test_dir(state), &store, &writer, NULL) < 0)
		return;
	for (int i = 0; i < 3; i++) {
		if (append_text(journal, &place, texts[i], NULL) < 0 ||
		    journal_sync(journal, &place, NULL) < 0)
			_exit(1);
		if (write(report, texts[i], 1) != 1 || write(report, ",", 1) != 1)
			_exit(1);
	}
}

/* What the dead one was told is in the journal; at most the entry it was at is there besides. */
static void
check_after_death(void **state, const char *before, const char *told)
{
	struct journal *journal = open_journal(state);
	char want[2][100];
	struct story *s;

	commit(journal, "z");
	journal_close(journal);
	snprintf(want[0], sizeof want[0], "%s%sz,", before, told);
	snprintf(want[1], sizeof want[1], "%s%s%c,z,", before, told, "abc"[strlen(told) / 2 % 3]);
	s = read_all(state);
	assert_ok(s->rc, &s->err);
	if (strcmp(s->text, want[0]) != 0)
		assert_string_equal(s->text, want[1]);
}

static void
clear_folder(void **state)
{
	for (uint64_t i = 0; i < 20; i++)
		unlinkat(test_dir(state), segment_path(i), 0);
	unlinkat(test_dir(state), FOLDER "/lock", 0);
}

/* begin: nothing, a journal, one with a torn tail, one left bad. */
static void
begin_journal(void **state, int begin)
{
	struct journal *journal;

	clear_folder(state);
	if (begin == 0)
		return;
	journal = open_journal(state);
	commit(journal, "old");
	if (begin == 2) {
		append(journal, "torn");
		cut(state, segment_path(1), size_of(state, segment_path(1)) - 1);
		new_boot(state);
	}
	if (begin == 3) {
		struct file_faulty_plan plan = { .ops = FILE_FAULTY_SYNC, .nth = 1 };
		struct journal_place place = append(journal, "bad");

		file_faulty_set(&plan);
		assert_int_equal(journal_sync(journal, &place, NULL), LARDER_ERR_IO);
		larder_sys_set(NULL);
	}
	journal_close(journal);
}

static void
death_at_any_call_loses_nothing_that_was_acknowledged(void **state)
{
	char told[100];

	for (int begin = 0; begin < 4; begin++)
		for (int half = 0; half < 2; half++)
			for (long live = 0;; live++) {
				bool killed;

				boot_path = NULL;
				larder_sys_set(NULL);
				begin_journal(state, begin);
				set_doubles();
				calls_to_live = live;
				die_half_way = half;
				killed = in_child(state, commit_three, told, sizeof told);
				calls_to_live = -1;
				check_after_death(state, begin > 0 ? "old," : "", told);
				new_boot(state); /* the same from the disk alone */
				check_after_death(state, read_all(state)->text, "");
				if (!killed) {
					assert_string_equal(told, "a,b,c,");
					assert_true(live > 10);
					break;
				}
			}
}

/* An entry that does not fit into the segment any more. */
static void
begin_another_segment(void **state, int report)
{
	struct journal *journal;
	struct journal_place place;
	uint8_t *large = calloc(1, ENTRY_LEN_MAX);

	(void)report;
	if (large == NULL || journal_open(&journal, test_dir(state), &store, &writer, NULL) < 0 ||
	    journal_append(journal, &place, large, ENTRY_LEN_MAX, 0, &no_intent, NULL) < 0 ||
	    journal_sync(journal, &place, NULL) < 0)
		_exit(1);
}

static void
die_half_way_in_a_write(void **state, int report)
{
	struct journal *journal;
	struct journal_place place;

	(void)report;
	if (journal_open(&journal, test_dir(state), &store, &writer, NULL) < 0 ||
	    append_text(journal, &place, "dead", NULL) < 0 ||
	    journal_sync(journal, &place, NULL) < 0)
		_exit(1);
	calls_to_live = 0;
	die_half_way = true;
	if (append_text(journal, &place, "torn", NULL) == 0)
		_exit(1);
}

static void
who_lives_goes_on_behind_a_write_that_ended_half_way(void **state)
{
	struct journal *journal = open_journal(state);
	struct journal_place waits;
	struct larder_err err = { 0 };
	struct story *s;
	char told[10];

	commit(journal, "one");
	waits = append(journal, "waits");
	set_doubles();
	assert_true(in_child(state, die_half_way_in_a_write, told, sizeof told));
	calls_to_live = -1;
	assert_int_equal(commit(journal, "next").segment, 4);
	assert_ok(journal_sync(journal, &waits, &err), &err);
	s = read_all(state);
	assert_ok(s->rc, &s->err);
	assert_string_equal(s->text, "one,waits,dead,next,");
	journal_close(journal);
}

static void
death_between_two_segments_leaves_one_way_to_go_on(void **state)
{
	uint8_t *large = calloc(1, ENTRY_LEN_MAX);
	char told[10];

	for (long live = 0;; live++) {
		struct journal *journal;
		struct journal_place place;
		struct story *s;
		bool killed;

		clear_folder(state);
		journal = open_journal(state);
		for (int i = 0; i < 3; i++)
			assert_ok(journal_append(
				      journal, &place, large, ENTRY_LEN_MAX, 0, &no_intent, NULL),
			    NULL);
		assert_ok(journal_sync(journal, &place, NULL), NULL);
		set_doubles();
		calls_to_live = live;
		killed = in_child(state, begin_another_segment, told, sizeof told);
		calls_to_live = -1;

		s = read_all(state); /* a segment that is just made holds nothing */
		assert_ok(s->rc, &s->err);
		commit(journal, "small"); /* would fit into the old one */
		s = read_all(state);
		assert_ok(s->rc, &s->err);
		assert_string_equal(s->text, "small,");
		assert_true(s->count == 4 || s->count == 5);
		new_boot(state);
		s = read_all(state);
		assert_ok(s->rc, &s->err);
		assert_string_equal(s->text, "small,");
		journal_close(journal);
		boot_path = NULL;
		if (!killed) {
			assert_int_equal(s->count, 5);
			break;
		}
	}
	free(large);
}

static void
die_in_sync(void **state, int report)
{
	struct journal *journal;
	struct journal_place place;

	(void)report;
	if (journal_open(&journal, test_dir(state), &store, &writer, NULL) < 0 ||
	    append_text(journal, &place, "dead", NULL) < 0)
		_exit(1);
	calls_to_live = 1; /* the state is written, the sync not done */
	if (journal_sync(journal, &place, NULL) == 0)
		_exit(1);
}

static void
a_dead_syncers_bytes_are_read_from_the_disk_and_count_when_they_are_there(void **state)
{
	struct journal *journal = open_journal(state);
	struct story *s;
	char told[10];

	commit(journal, "one");
	set_doubles();
	assert_true(in_child(state, die_in_sync, told, sizeof told));
	calls_to_live = -1;
	commit(journal, "two");
	s = read_all(state);
	assert_ok(s->rc, &s->err);
	assert_string_equal(s->text, "one,dead,two,");
	journal_close(journal);
}

static void
a_dead_syncers_bytes_that_the_disk_does_not_have_are_cut_off(void **state)
{
	struct journal *journal = open_journal(state), *other;
	struct journal_place one = commit(journal, "one"), two;
	struct larder_err err = { 0 };
	struct story *s;
	char told[10];

	set_doubles();
	assert_true(in_child(state, die_in_sync, told, sizeof told));
	calls_to_live = -1;
	two = append(journal, "two"); /* behind what the dead one wrote, in the page cache */
	bad_fd_after = (int)one.offset;
	assert_status(LARDER_ERR_IO, journal_sync(journal, &two, &err), &err);
	bad_fd_after = -1;

	/* a new handle finds the segment bad and leaves it */
	other = open_journal(state);
	commit(other, "three");
	s = read_all(state);
	assert_ok(s->rc, &s->err);
	assert_string_equal(s->text, "one,three,");
	journal_close(other);
	journal_close(journal);
}

static void
who_opens_a_segment_with_bytes_behind_durable_looks_at_the_disk_first(void **state)
{
	struct journal *journal = open_journal(state), *other;
	struct journal_place one = commit(journal, "one"), place;
	struct story *s;

	append(journal, "two"); /* nobody syncs it */
	set_doubles();
	bad_fd_after = (int)one.offset;
	other = open_journal(state);
	assert_ok(append_text(other, &place, "three", NULL), NULL);
	bad_fd_after = -1;
	assert_int_equal(place.segment, 2);
	assert_ok(journal_sync(other, &place, NULL), NULL);
	s = read_all(state);
	assert_ok(s->rc, &s->err);
	assert_string_equal(s->text, "one,three,");
	journal_close(other);
	journal_close(journal);
}

/* ---- many at once ---- */

enum { PROCESSES = 4, EACH = 40 };

static void
commit_many(void **state, int report)
{
	struct journal *journal;
	struct journal_place place;
	char text[32];

	(void)report;
	if (journal_open(&journal, test_dir(state), &store, &writer, NULL) < 0)
		_exit(1);
	for (int i = 0; i < EACH; i++) {
		snprintf(text, sizeof text, "%d.%d", (int)getpid(), i);
		if (append_text(journal, &place, text, NULL) < 0 ||
		    journal_sync(journal, &place, NULL) < 0)
			_exit(1);
	}
	journal_close(journal);
}

static void
processes_append_to_one_journal_at_the_same_time(void **state)
{
	pid_t pids[PROCESSES];
	struct story *s;
	int status;

	for (int i = 0; i < PROCESSES; i++) {
		pids[i] = fork();
		assert_true(pids[i] >= 0);
		if (pids[i] == 0) {
			commit_many(state, -1);
			_exit(0);
		}
	}
	for (int i = 0; i < PROCESSES; i++) {
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_int_equal(status, 0);
	}
	s = read_all(state);
	assert_ok(s->rc, &s->err);
	assert_int_equal(s->count, PROCESSES * EACH);
	assert_int_equal(s->last.sequence, PROCESSES * EACH);
	assert_int_equal(s->last.segment, 1);
	assert_int_equal(s->tail, 0);
	for (int i = 0; i < PROCESSES; i++) /* each one's own in its order */
		for (int j = 1; j < EACH; j++) {
			char a[40], b[40];

			snprintf(a, sizeof a, "%d.%d,", (int)pids[i], j - 1);
			snprintf(b, sizeof b, "%d.%d,", (int)pids[i], j);
			assert_true(strstr(s->text, a) < strstr(s->text, b));
		}
}

struct thread {
	pthread_t thread;
	struct journal *journal;
	int failed;
};

static void *
commit_in_thread(void *context)
{
	struct thread *t = context;
	struct journal_place place;
	char *large = calloc(1, ENTRY_LEN_MAX);

	for (int i = 0; i < EACH; i++) {
		size_t len = i % 20 == 7 ? ENTRY_LEN_MAX : 10; /* some make new segments */

		if (journal_append(t->journal, &place, large, len, 0, &no_intent, NULL) < 0 ||
		    journal_sync(t->journal, &place, NULL) < 0)
			t->failed = 1;
	}
	free(large);
	return NULL;
}

static void
threads_share_a_handle(void **state)
{
	struct journal *journal = open_journal(state);
	struct thread threads[PROCESSES] = { 0 };
	struct story *s;

	for (int i = 0; i < PROCESSES; i++) {
		threads[i].journal = journal;
		assert_int_equal(
		    pthread_create(&threads[i].thread, NULL, commit_in_thread, &threads[i]), 0);
	}
	for (int i = 0; i < PROCESSES; i++) {
		pthread_join(threads[i].thread, NULL);
		assert_int_equal(threads[i].failed, 0);
	}
	s = read_all(state);
	assert_ok(s->rc, &s->err);
	assert_int_equal(s->count, PROCESSES * EACH);
	assert_true(s->last.segment > 1);
	journal_close(journal);
}

static void
killed_and_living_writers_share_a_journal(void **state)
{
	struct story *s;
	char told[100];
	unsigned acknowledged = 0;
	int killed = 0, status;
	pid_t pid;

	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		commit_many(state, -1);
		_exit(0);
	}
	set_doubles();
	for (int i = 0; i < 60; i++) {
		calls_to_live = i % 23;
		die_half_way = i % 2;
		killed += in_child(state, commit_three, told, sizeof told);
		acknowledged += (unsigned)strlen(told) / 2;
	}
	calls_to_live = -1;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0); /* the living one's entries were all acknowledged */
	assert_true(killed > 30);
	s = read_all(state);
	assert_ok(s->rc, &s->err);
	assert_true(s->count >= acknowledged + EACH);
	for (int j = 0; j < EACH; j++) {
		char text[40];

		snprintf(text, sizeof text, "%d.%d,", (int)pid, j);
		assert_non_null(strstr(s->text, text));
	}
}

/* ---- every call fails ---- */

/* Commits "x" and then "y"; what was acknowledged, as text. */
static int
commit_two(void **state, char told[10], struct larder_err *err)
{
	struct journal *journal = NULL;
	struct journal_place place;
	int rc;

	told[0] = '\0';
	rc = journal_open(&journal, test_dir(state), &store, &writer, err);
	for (int i = 0; rc == 0 && i < 2; i++) {
		rc = append_text(journal, &place, i == 0 ? "x" : "y", err);
		if (rc == 0)
			rc = journal_sync(journal, &place, err);
		if (rc == 0)
			snprintf(told, 10, "%s", i == 0 ? "x," : "x,y,");
	}
	journal_close(journal);
	return rc;
}

static void
every_call_that_fails_is_told_and_costs_nothing_acknowledged(void **state)
{
	static const struct {
		unsigned ops;
		int code;
		int status;
		bool shorten;
	} rows[] = {
		{ FILE_FAULTY_ALL, EIO, LARDER_ERR_IO, false },
		{ FILE_FAULTY_WRITE | FILE_FAULTY_OPEN | FILE_FAULTY_MKDIR, ENOSPC,
		    LARDER_ERR_NO_SPACE, false },
		{ FILE_FAULTY_WRITE | FILE_FAULTY_READ, 0, LARDER_OK, true },
	};

	for (size_t row = 0; row < test_count(rows); row++)
		for (int begin = 0; begin < 4; begin++)
			for (int for_ever = 0; for_ever < 2; for_ever++)
				for (long n = 1;; n++) {
					struct file_faulty_plan plan = {
						.ops = rows[row].ops,
						.code = rows[row].code,
						.shorten = rows[row].shorten,
						.nth = n,
						.for_ever = for_ever,
					};
					struct larder_err err = { 0 };
					char told[10], again[10], want[100];
					const char *old = begin > 0 ? "old," : "";
					struct story *s;
					bool failed;
					long open;
					int rc;

					boot_path = NULL;
					begin_journal(state, begin);
					file_faulty_set(&plan);
					rc = commit_two(state, told, &err);
					failed = file_faulty_failed();
					open = file_faulty_open();
					larder_sys_set(NULL);
					assert_int_equal(open, 0);
					if (rc != 0) {
						if (rc != rows[row].status)
							assert_status(LARDER_ERR_IO, rc, &err);
						assert_true(err.message[0] != '\0');
					}
					assert_ok(commit_two(state, again, &err), &err);
					s = read_all(state);
					assert_ok(s->rc, &s->err);
					/* an entry that was not acknowledged may be there */
					snprintf(want, sizeof want, "%s%s%s", old, told, again);
					if (strcmp(s->text, want) != 0) {
						snprintf(want, sizeof want, "%s%s%s,%s", old, told,
						    told[0] == '\0' ? "x" : "y", again);
						assert_string_equal(s->text, want);
						assert_int_not_equal(rc, 0);
					}
					if (!failed) {
						assert_ok(rc, &err);
						break;
					}
				}
}

static void
memory_that_is_missing_is_told(void **state)
{
	for (long n = 1;; n++) {
		struct larder_err err = { 0 };
		struct story *s;
		char told[10];
		bool failed;
		long live;
		int rc;

		begin_journal(state, 1);
		mem_faulty_set(n, false);
		rc = commit_two(state, told, &err);
		s = rc == 0 ? read_all(state) : NULL;
		failed = mem_faulty_failed();
		live = mem_faulty_live();
		larder_sys_set(NULL);
		assert_int_equal(live, 0);
		if (!failed) {
			assert_ok(rc, &err);
			break;
		}
		if (rc != 0)
			assert_status(LARDER_ERR_NOMEM, rc, &err);
		else if (s->rc != 0)
			assert_status(LARDER_ERR_NOMEM, s->rc, &s->err);
		s = read_all(state);
		assert_ok(s->rc, &s->err);
		assert_non_null(strstr(s->text, told));
	}
}

/* ---- the folder of all journals ---- */

static int
count_writer(void *context, const struct id16 *id, struct larder_err *err)
{
	struct id16 *last = context;

	(void)err;
	assert_true(memcmp(last->bytes, id->bytes, ID16_LEN) < 0);
	*last = *id;
	return id->bytes[0] == 0xee ? 42 : 0;
}

static void
writers_are_given_in_ascending_order(void **state)
{
	struct id16 last = { { 0 } };
	struct journal *journal = open_journal(state);
	struct larder_err err = { 0 };
	uint64_t bytes;

	commit(journal, "one");
	assert_int_equal(
	    mkdirat(test_dir(state), "journal/11000000000000000000000000000000", 0700), 0);
	assert_int_equal(
	    mkdirat(test_dir(state), "journal/FF000000000000000000000000000000", 0700), 0);
	assert_int_equal(mkdirat(test_dir(state), "journal/other", 0700), 0);
	assert_ok(journal_each_writer(test_dir(state), count_writer, &last, &err), &err);
	assert_int_equal(last.bytes[0], 0x77);
	assert_ok(journal_bytes(&bytes, test_dir(state), &err), &err);
	assert_int_equal(bytes, size_of(state, segment_path(1)));

	last = (struct id16) { { 0 } };
	assert_int_equal(
	    mkdirat(test_dir(state), "journal/ee000000000000000000000000000000", 0700), 0);
	assert_int_equal(journal_each_writer(test_dir(state), count_writer, &last, &err), 42);

	assert_int_equal(renameat(test_dir(state), "journal", test_dir(state), "elsewhere"), 0);
	assert_status(LARDER_ERR_CORRUPT,
	    journal_each_writer(test_dir(state), count_writer, &last, &err), &err);
	assert_message(&err, "journal is missing");
	journal_close(journal);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		journal_case(entries_come_back_in_order_when_they_are_synced),
		journal_case(one_sync_serves_everybody_who_appended_before_it),
		journal_case(a_sync_covers_what_others_appended_meanwhile),
		journal_case(segments_end_at_their_target_and_are_chained),
		journal_case(times_rise_though_the_clock_falls),
		journal_case(is_there_more_is_answered_for_every_place),
		journal_case(
		    a_tail_torn_at_any_length_is_the_end_and_the_next_entry_goes_elsewhere),
		journal_case(a_flipped_byte_is_damage_when_a_later_entry_says_that_it_was_durable),
		journal_case(what_an_index_has_applied_proves_the_last_entry),
		journal_case(in_this_boot_everything_durable_must_be_there),
		journal_case(the_header_of_the_next_segment_proves_the_one_before),
		journal_case(a_missing_segment_is_damage_and_not_the_end),
		journal_case(the_last_segment_of_this_boot_cannot_go_unnoticed),
		journal_case(ends_can_be_forgotten_by_who_takes_a_journal_as_it_is),
		journal_case(every_damaged_header_is_damage_and_says_why),
		journal_case(a_segment_of_another_place_is_refused),
		journal_case(other_names_in_the_folder_are_left_alone),
		journal_case(whole_entries_out_of_order_or_from_elsewhere_are_damage),
		journal_case(a_segment_that_continues_another_one_is_damage),
		journal_case(a_segment_that_got_shorter_in_this_boot_is_damage_for_who_appends),
		journal_case(an_entry_that_finds_half_its_room_is_told_and_ends_the_segment),
		journal_case(a_failed_sync_acknowledges_nothing_and_ends_the_segment),
		journal_case(what_was_durable_when_the_segment_was_left_stays_acknowledged),
		journal_case(a_segment_is_synced_before_the_next_one_vouches_for_it),
		journal_case(death_at_any_call_loses_nothing_that_was_acknowledged),
		journal_case(who_lives_goes_on_behind_a_write_that_ended_half_way),
		journal_case(death_between_two_segments_leaves_one_way_to_go_on),
		journal_case(
		    a_dead_syncers_bytes_are_read_from_the_disk_and_count_when_they_are_there),
		journal_case(a_dead_syncers_bytes_that_the_disk_does_not_have_are_cut_off),
		journal_case(who_opens_a_segment_with_bytes_behind_durable_looks_at_the_disk_first),
		journal_case(processes_append_to_one_journal_at_the_same_time),
		journal_case(threads_share_a_handle),
		journal_case(killed_and_living_writers_share_a_journal),
		journal_case(every_call_that_fails_is_told_and_costs_nothing_acknowledged),
		journal_case(memory_that_is_missing_is_told),
		journal_case(writers_are_given_in_ascending_order),
	};

	return test_run(cases);
}
