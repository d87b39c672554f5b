/* Locks and the note of session.h. */
#include "index/session.h"

#include <assert.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cas/base/bytes.h"
#include "cas/base/crc32c.h"
#include "cas/base/err.h"
#include "cas/base/file.h"
#include "index/pagewalk.h"

/*
 * SCHEMA.md, "The session file".
 *
 *   offset  size  field
 *        0     8  magic
 *        8     1  doubted: 0, or anything else
 *        9     7  zero
 *       16    16  boot id
 *       32     8  inode of data.mdb
 *       40     8  its size
 *       48     8  its mtime, ns
 *       56     8  its ctime, ns
 *       64     8  check of its meta pages and of the root of its main tree
 *       72     8  check of bytes 16 .. 71
 */
enum {
	AT_DOUBT = 8,
	AT_NOTE = 16,
	AT_CHECK = 72,
	SESSION_LEN = 80,
	BOOT_LEN = 16,

	RANGE_OPENING = 0,
	RANGE_PRESENT = 1,
};

static const char path[] = "session";
static const uint8_t magic[AT_DOUBT] = { 'l', 'a', 'r', 'd', 'e', 'r', '-', 's' };

static const uint8_t forgotten[SESSION_LEN - AT_NOTE]; /* the note of session_forget(): zeros */
static uint8_t boot[BOOT_LEN]; /* zeros: unknown, then every boot looks the same */
static pthread_once_t boot_once = PTHREAD_ONCE_INIT;

static void
read_boot(void)
{
	uint8_t text[36];
	size_t got = 0;
	int fd = -1;

	if (file_open(&fd, AT_FDCWD, "/proc/sys/kernel/random/boot_id", O_RDONLY, 0, NULL) < 0)
		return;
	if (file_pread_some(&got, fd, text, sizeof text, 0, path, NULL) == 0) {
		put_le64(boot, crc32c_pair(1, text, got));
		put_le64(boot + 8, crc32c_pair(2, text, got));
	}
	file_close(fd);
}

int
session_open(struct session *session, bool *alone, int dir_fd, struct larder_err *err)
{
	int rc;

	session->fd = -1;
	session->doubt = 0;
	rc = file_open(&session->fd, dir_fd, path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600, err);
	if (rc == 0)
		rc = file_lock(session->fd, RANGE_OPENING, 1, true, true, path, err);
	if (rc == 0) {
		rc = file_lock(session->fd, RANGE_PRESENT, 1, true, false, path, err);
		*alone = rc == 0;
		if (rc == LARDER_ERR_BUSY)
			rc = LARDER_OK;
	}
	if (rc < 0)
		session_close(session);
	return rc;
}

int
session_opened(struct session *session, struct larder_err *err)
{
	int rc;

	rc = file_lock(session->fd, RANGE_PRESENT, 1, false, true, path, err);
	if (rc == 0)
		rc = file_unlock(session->fd, RANGE_OPENING, 1, path, err);
	return rc;
}

void
session_close(struct session *session)
{
	file_close(session->fd);
	session->fd = -1;
}

/* The meta pages and the root of the main tree: the pages that nothing else checks. */
static int
check_roots(uint64_t *check, int data_fd)
{
	struct pagewalk_meta metas[2];
	uint8_t page[PAGEWALK_PAGE_MIN];
	uint64_t sum = 0;
	int rc;

	rc = pagewalk_metas(metas, data_fd, NULL);
	for (unsigned i = 0; rc == 0 && i < 3; i++) {
		uint64_t number = i < 2 ? i : metas[0].main.root;
		size_t left = i < 2 ? PAGEWALK_HEADER_LEN + PAGEWALK_META_LEN : metas[0].page_size;
		uint64_t at = number * metas[0].page_size;

		if (number == PAGEWALK_NO_PAGE)
			break;
		for (; rc == 0 && left > 0; at += sizeof page) {
			size_t len = left < sizeof page ? left : sizeof page;

			rc = file_pread_all(data_fd, page, len, at, "data.mdb", NULL);
			if (rc == 0)
				sum = crc32c_pair(sum, page, len);
			left -= len;
		}
	}
	*check = sum;
	return rc;
}

/* Bytes AT_NOTE .. SESSION_LEN for data.mdb as it is. */
static int
make_note(uint8_t out[SESSION_LEN - AT_NOTE], int data_fd)
{
	struct stat st;
	uint64_t check;

	pthread_once(&boot_once, read_boot);
	if (fstat(data_fd, &st) < 0 || check_roots(&check, data_fd) < 0)
		return -1;
	memcpy(out, boot, BOOT_LEN);
	put_le64(out + 16, (uint64_t)st.st_ino);
	put_le64(out + 24, (uint64_t)st.st_size);
	put_le64(
	    out + 32, (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec);
	put_le64(
	    out + 40, (uint64_t)st.st_ctim.tv_sec * 1000000000u + (uint64_t)st.st_ctim.tv_nsec);
	put_le64(out + 48, check);
	put_le64(out + (AT_CHECK - AT_NOTE), crc32c_pair(0, out, AT_CHECK - AT_NOTE));
	return 0;
}

int
session_look(enum session_end *end, struct session *session, int data_fd, struct larder_err *err)
{
	uint8_t have[SESSION_LEN] = { 0 }, now[SESSION_LEN - AT_NOTE];
	size_t got;
	int rc;

	rc = file_pread_some(&got, session->fd, have, sizeof have, 0, path, err);
	if (rc < 0)
		return rc;
	if (have[AT_DOUBT] != 0)
		*end = SESSION_DOUBTED;
	else if (got == 0)
		*end = SESSION_NEVER;
	else if (data_fd >= 0 && got == SESSION_LEN && memcmp(have, magic, sizeof magic) == 0 &&
		 make_note(now, data_fd) == 0 && memcmp(have + AT_NOTE, now, sizeof now) == 0)
		*end = SESSION_CLEAN;
	else if (got == SESSION_LEN && memcmp(have + AT_NOTE, forgotten, sizeof forgotten) == 0)
		*end = SESSION_FAILED;
	else
		*end = SESSION_UNCLEAN;
	return LARDER_OK;
}

static bool
is_forgotten(struct session *session)
{
	uint8_t note[sizeof forgotten];
	size_t got = 0;

	return file_pread_some(&got, session->fd, note, sizeof note, AT_NOTE, path, NULL) < 0 ||
	       (got == sizeof note && memcmp(note, forgotten, sizeof note) == 0);
}

void
session_note(struct session *session, int data_fd, bool looked)
{
	uint8_t bytes[SESSION_LEN] = { 0 };

	/* A doubt that somebody has is not taken back. */
	if (session_is_doubted(session) || (!looked && is_forgotten(session)))
		return;
	memcpy(bytes, magic, sizeof magic);
	if (make_note(bytes + AT_NOTE, data_fd) < 0)
		memset(bytes + AT_NOTE, 0xff, sizeof bytes - AT_NOTE);
	if (file_pwrite_all(session->fd, bytes, AT_DOUBT, 0, path, NULL) < 0 ||
	    file_pwrite_all(
		session->fd, bytes + AT_NOTE, sizeof bytes - AT_NOTE, AT_NOTE, path, NULL) < 0)
		return; /* an incomplete note is an untrue one */
}

void
session_forget(struct session *session)
{
	if (file_pwrite_all(session->fd, forgotten, sizeof forgotten, AT_NOTE, path, NULL) < 0)
		session_doubt(session);
}

void
session_doubt(struct session *session)
{
	static const uint8_t yes = 1;

	/* No seam here: this runs in signal handlers. */
	session->doubt = 1;
	if (session->fd >= 0 && pwrite(session->fd, &yes, 1, AT_DOUBT) == 1)
		(void)fdatasync(session->fd);
}

bool
session_is_doubted(struct session *session)
{
	uint8_t doubt = 0;
	size_t got = 0;

	if (file_pread_some(&got, session->fd, &doubt, 1, AT_DOUBT, path, NULL) < 0)
		return session->doubt != 0;
	return got == 1 ? doubt != 0 : session->doubt != 0;
}
