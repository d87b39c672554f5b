/*
 * Decoded segments that several threads use. See segcache.h.
 *
 * 1. A segment in the table is LOADING (one thread fills it, others wait for it)
 *    or READY. One set ASIDE is in no table: its loader's own.
 * 2. READY ones that nobody holds are in the list by age, and are what makes
 *    room; held ones are not counted out before they are given back, so the bound
 *    is exceeded by what the threads hold: a few segments each.
 */
#include "cas/segcache.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>

#include "cas/base/err.h"
#include "cas/base/mem.h"

enum { BUCKETS = 4096, LOADING = 0, ASIDE = 1, READY = 2 };

struct segcache {
	pthread_mutex_t lock; /* guards everything */
	pthread_cond_t loaded;
	size_t bytes, bytes_max; /* of the READY ones in the table */
	struct segment *newest, *oldest;
	struct segment *buckets[BUCKETS];
};

int
segcache_open(struct segcache **out, size_t bytes_max, struct larder_err *err)
{
	struct segcache *cache = mem_zalloc(sizeof *cache);

	*out = NULL;
	if (cache == NULL)
		return err_nomem(err);
	pthread_mutex_init(&cache->lock, NULL);
	pthread_cond_init(&cache->loaded, NULL);
	cache->bytes_max = bytes_max;
	*out = cache;
	return LARDER_OK;
}

static void
segment_free(struct segment *s)
{
	mem_free(s->data);
	mem_free(s);
}

void
segcache_close(struct segcache *cache)
{
	if (cache == NULL)
		return;
	for (size_t i = 0; i < BUCKETS; i++) {
		struct segment *next;

		for (struct segment *s = cache->buckets[i]; s != NULL; s = next) {
			assert(s->holders == 0);
			next = s->chain;
			segment_free(s);
		}
	}
	pthread_cond_destroy(&cache->loaded);
	pthread_mutex_destroy(&cache->lock);
	mem_free(cache);
}

/* ---- table and list; all of these under the lock ---- */

static struct segment **
bucket_of(struct segcache *cache, uint32_t pack, uint32_t at)
{
	uint64_t h = ((uint64_t)pack << 32 | at) * UINT64_C(0x9e3779b97f4a7c15);

	return &cache->buckets[h >> 52];
}
static_assert(BUCKETS == 1 << (64 - 52), "12 bits of the hash");

static struct segment *
find(struct segcache *cache, uint32_t pack, uint32_t at)
{
	struct segment *s = *bucket_of(cache, pack, at);

	while (s != NULL && (s->pack != pack || s->at != at))
		s = s->chain;
	return s;
}

static void
insert(struct segcache *cache, struct segment *s)
{
	struct segment **bucket = bucket_of(cache, s->pack, s->at);

	s->chain = *bucket;
	*bucket = s;
}

static void
take_out(struct segcache *cache, struct segment *s)
{
	struct segment **p = bucket_of(cache, s->pack, s->at);

	while (*p != s)
		p = &(*p)->chain;
	*p = s->chain;
}

static void
list_add(struct segcache *cache, struct segment *s)
{
	s->newer = NULL;
	s->older = cache->newest;
	if (cache->newest != NULL)
		cache->newest->newer = s;
	else
		cache->oldest = s;
	cache->newest = s;
}

static void
list_remove(struct segcache *cache, struct segment *s)
{
	if (s->newer != NULL)
		s->newer->older = s->older;
	else
		cache->newest = s->older;
	if (s->older != NULL)
		s->older->newer = s->newer;
	else
		cache->oldest = s->newer;
}

static size_t
cost(const struct segment *s)
{
	return s->len + sizeof *s + 32; /* what the allocator adds, about */
}

/* Takes the oldest ones out until the bound is kept; they are returned, by `chain`, to be freed. */
static struct segment *
make_room(struct segcache *cache)
{
	struct segment *out = NULL;

	while (cache->bytes > cache->bytes_max && cache->oldest != NULL) {
		struct segment *s = cache->oldest;

		list_remove(cache, s);
		take_out(cache, s);
		cache->bytes -= cost(s);
		s->chain = out;
		out = s;
	}
	return out;
}

static void
free_chain(struct segment *s)
{
	while (s != NULL) {
		struct segment *next = s->chain;

		segment_free(s);
		s = next;
	}
}

/* ---- for the callers ---- */

int
segcache_take(struct segment **out, struct segcache *cache, uint32_t pack, uint32_t at,
    struct larder_err *err)
{
	struct segment *s;

	pthread_mutex_lock(&cache->lock);
	while ((s = find(cache, pack, at)) != NULL && s->state == LOADING)
		pthread_cond_wait(&cache->loaded, &cache->lock);
	if (s != NULL && s->holders++ == 0)
		list_remove(cache, s);
	if (s != NULL) {
		pthread_mutex_unlock(&cache->lock);
		*out = s;
		return 1;
	}
	s = mem_zalloc(sizeof *s);
	if (s != NULL) {
		s->pack = pack;
		s->at = at;
		s->holders = 1;
		s->state = LOADING;
		insert(cache, s);
	}
	pthread_mutex_unlock(&cache->lock);
	*out = s;
	return s != NULL ? 0 : err_nomem(err);
}

int
segcache_room(struct segment *s, uint32_t len, struct larder_err *err)
{
	assert(s->state != READY && s->data == NULL && len > 0);
	s->data = mem_alloc(len);
	if (s->data == NULL)
		return err_nomem(err);
	s->len = len;
	return LARDER_OK;
}

void
segcache_adopt(struct segment *s, uint8_t *data, uint32_t len)
{
	assert(s->state != READY && s->data == NULL && len > 0);
	s->data = data;
	s->len = len;
}

void
segcache_aside(struct segcache *cache, struct segment *s)
{
	pthread_mutex_lock(&cache->lock);
	assert(s->state == LOADING);
	take_out(cache, s);
	s->state = ASIDE;
	pthread_cond_broadcast(&cache->loaded);
	pthread_mutex_unlock(&cache->lock);
}

void
segcache_ready(struct segcache *cache, struct segment *s)
{
	struct segment *surplus = NULL;

	assert(s->data != NULL);
	pthread_mutex_lock(&cache->lock);
	if (s->state == ASIDE && find(cache, s->pack, s->at) == NULL) {
		insert(cache, s);
		s->state = LOADING;
	}
	if (s->state == LOADING) { /* else another thread was faster: it stays aside */
		s->state = READY;
		cache->bytes += cost(s);
		surplus = make_room(cache);
		pthread_cond_broadcast(&cache->loaded);
	}
	pthread_mutex_unlock(&cache->lock);
	free_chain(surplus);
}

void
segcache_drop(struct segcache *cache, struct segment *s)
{
	if (s == NULL)
		return;
	assert(s->state != READY);
	if (s->state == LOADING)
		segcache_aside(cache, s);
	segment_free(s);
}

void
segcache_give(struct segcache *cache, struct segment *s)
{
	struct segment *surplus = NULL;
	bool alone = false;

	if (s == NULL)
		return;
	pthread_mutex_lock(&cache->lock);
	assert(s->holders > 0);
	if (s->state == ASIDE) {
		alone = true;
	} else if (--s->holders == 0) {
		list_add(cache, s);
		surplus = make_room(cache);
	}
	pthread_mutex_unlock(&cache->lock);
	if (alone)
		segment_free(s);
	free_chain(surplus);
}
