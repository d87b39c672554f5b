/* One thread, a ring of hints. See writeback.h. */
#include "cas/writeback.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "cas/base/err.h"
#include "cas/base/mem.h"

enum { HINTS = 32 };

struct hint {
	int fd; /* our own */
	uint64_t at, len;
};

struct writeback {
	pthread_mutex_t lock; /* guards everything */
	pthread_cond_t wake;
	struct hint hints[HINTS];
	unsigned first, count;
	bool running, stop;
	pthread_t thread;
};

int
writeback_open(struct writeback **out, struct larder_err *err)
{
	struct writeback *wb = mem_zalloc(sizeof *wb);

	*out = wb;
	if (wb == NULL)
		return err_nomem(err);
	pthread_mutex_init(&wb->lock, NULL);
	pthread_cond_init(&wb->wake, NULL);
	return LARDER_OK;
}

static void
begin_writing(const struct hint *hint)
{
#ifdef SYNC_FILE_RANGE_WRITE
	(void)sync_file_range(hint->fd, (off_t)hint->at, (off_t)hint->len, SYNC_FILE_RANGE_WRITE);
#endif
	close(hint->fd);
}

static void *
work(void *arg)
{
	struct writeback *wb = arg;

	pthread_mutex_lock(&wb->lock);
	while (!wb->stop) {
		struct hint hint;

		if (wb->count == 0) {
			pthread_cond_wait(&wb->wake, &wb->lock);
			continue;
		}
		hint = wb->hints[wb->first];
		wb->first = (wb->first + 1) % HINTS;
		wb->count--;
		pthread_mutex_unlock(&wb->lock);
		begin_writing(&hint);
		pthread_mutex_lock(&wb->lock);
	}
	pthread_mutex_unlock(&wb->lock);
	return NULL;
}

/* Signals belong to the caller's threads. Under the lock. */
static bool
start(struct writeback *wb)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	wb->running = pthread_create(&wb->thread, NULL, work, wb) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return wb->running;
}

void
writeback_hint(struct writeback *wb, int fd, uint64_t at, uint64_t len)
{
	pthread_mutex_lock(&wb->lock);
	if (wb->count < HINTS && (wb->running || start(wb))) {
		struct hint *hint = &wb->hints[(wb->first + wb->count) % HINTS];

		hint->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		hint->at = at;
		hint->len = len;
		if (hint->fd >= 0) {
			wb->count++;
			pthread_cond_signal(&wb->wake);
		}
	}
	pthread_mutex_unlock(&wb->lock);
}

void
writeback_close(struct writeback *wb)
{
	if (wb == NULL)
		return;
	pthread_mutex_lock(&wb->lock);
	wb->stop = true;
	pthread_cond_signal(&wb->wake);
	pthread_mutex_unlock(&wb->lock);
	if (wb->running)
		pthread_join(wb->thread, NULL);
	for (; wb->count > 0; wb->count--, wb->first = (wb->first + 1) % HINTS)
		close(wb->hints[wb->first].fd);
	pthread_cond_destroy(&wb->wake);
	pthread_mutex_destroy(&wb->lock);
	mem_free(wb);
}
