/*
 * Is everything there, and is it what it was? See larder.h and check.h.
 *
 *   1 config, writer   their own checksums
 *   2 journals         chains; the packs and versions they name      checkjournal.c
 *   3 index            every page and value; against journals and packs
 *   4 packs            directories; with `read` every byte            checkpack.c
 *   5 versions         what they refer to, all the way down           checktree.c
 *
 * 1. What is wrong is written down and the check goes on: the list is complete,
 *    and every line that makes content unreadable names the names it hits.
 * 2. The index is looked at as it was at the beginning, packs and journals as
 *    they are: what others commit meanwhile is neither damage nor missed twice.
 * 3. Nothing is changed but the file `checked`, which says what came of it.
 * 4. Memory does not grow with the store: sets of ids are bounded, and when one
 *    is full it costs time, or the names of the ten-thousandth damage.
 */
#include "cas/check.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cas/base/clock.h"
#include "cas/base/err.h"
#include "cas/base/file.h"
#include "cas/base/mem.h"
#include "cas/checked.h"

enum { PROGRESS_NS = 100 * 1000 * 1000, WHAT_LEN = 800 };

/* ---- the list of damage ---- */

bool
check_is_damage(int status)
{
	return status == LARDER_ERR_CORRUPT || status == LARDER_ERR_NOT_FOUND ||
	       status == LARDER_ERR_IO || status == LARDER_ERR_VERSION ||
	       status == LARDER_ERR_LIMIT;
}

static int
write_down(struct check *c, uint64_t *number, const char *what, struct larder_err *err)
{
	struct damage *grown;

	c->result.damages++;
	*number = CHECK_DAMAGES_MAX;
	if (c->damage_count == CHECK_DAMAGES_MAX)
		return LARDER_OK;
	if (c->damage_count == c->damage_room) {
		size_t room = c->damage_room ? c->damage_room * 2 : 16;

		grown = mem_resize(c->damages, room, sizeof *grown);
		if (grown == NULL)
			return err_nomem(err);
		c->damages = grown;
		c->damage_room = room;
	}
	c->damages[c->damage_count] = (struct damage){ .what = mem_strdup(what) };
	if (c->damages[c->damage_count].what == NULL)
		return err_nomem(err);
	*number = c->damage_count++;
	return LARDER_OK;
}

int
check_damage(struct check *c, uint64_t *number, struct larder_err *err, const char *fmt, ...)
{
	char what[WHAT_LEN];
	uint64_t ignored;
	va_list args;
	int rc;

	va_start(args, fmt);
	vsnprintf(what, sizeof what, fmt, args);
	va_end(args);
	pthread_mutex_lock(&c->lock);
	rc = write_down(c, number != NULL ? number : &ignored, what, err);
	pthread_mutex_unlock(&c->lock);
	return rc;
}

/* Full: later ones have no names. */
static int
add_bad(struct check *c, const struct larder_id *id, uint64_t number, struct larder_err *err)
{
	int rc = number < CHECK_DAMAGES_MAX ? idset_add(&c->bad, id, number) : LARDER_OK;

	return rc == LARDER_ERR_NOMEM ? err_nomem(err) : LARDER_OK;
}

int
check_bad(struct check *c, const struct larder_id *id, uint64_t number, struct larder_err *err)
{
	int rc;

	pthread_mutex_lock(&c->lock);
	rc = add_bad(c, id, number, err);
	pthread_mutex_unlock(&c->lock);
	return rc;
}

int
check_index_failed(struct check *c, int status, const struct larder_err *cause,
    struct larder_err *err)
{
	bool told;

	if (!check_is_damage(status)) {
		if (err != NULL)
			*err = *cause;
		return status;
	}
	told = atomic_exchange(&c->index_told, true);
	index_mark_doubtful(c->store->index);
	return told ? LARDER_OK : check_damage(c, NULL, err, "index: %s", cause->message);
}

/* ---- deltas that came out wrong ---- */

int
check_orphan(struct check *c, const struct larder_id *id, const struct larder_id *base,
    const char *what, struct larder_err *err)
{
	struct orphan *grown;
	int rc = LARDER_OK;

	pthread_mutex_lock(&c->lock);
	if (c->orphan_count == c->orphan_room) {
		size_t room = c->orphan_room ? c->orphan_room * 2 : 64;

		grown = mem_resize(c->orphans, room, sizeof *grown);
		if (grown == NULL) {
			rc = err_nomem(err);
			goto out;
		}
		c->orphans = grown;
		c->orphan_room = room;
	}
	c->orphans[c->orphan_count] = (struct orphan){ *id, *base, mem_strdup(what) };
	if (c->orphans[c->orphan_count].what == NULL)
		rc = err_nomem(err);
	else
		c->orphan_count++;
out:
	pthread_mutex_unlock(&c->lock);
	return rc;
}

/* Those whose base is bad belong to its damage, as often as that makes more of them bad. */
static int
settle_orphans(struct check *c, struct larder_err *err)
{
	size_t left = c->orphan_count, before;
	int rc = LARDER_OK;

	do {
		before = left;
		left = 0;
		for (size_t i = 0; i < before && rc == LARDER_OK; i++) {
			struct orphan *orphan = &c->orphans[i];
			const uint64_t *cause = idset_find(&c->bad, &orphan->base);

			if (cause == NULL) {
				struct orphan kept = c->orphans[left];

				c->orphans[left++] = *orphan;
				*orphan = kept;
			} else {
				rc = add_bad(c, &orphan->id, *cause, err);
			}
		}
	} while (rc == LARDER_OK && left > 0 && left < before);
	for (size_t i = 0; i < left && rc == LARDER_OK; i++) {
		uint64_t number;

		rc = check_damage(c, &number, err, "%s", c->orphans[i].what);
		if (rc == LARDER_OK)
			rc = check_bad(c, &c->orphans[i].id, number, err);
	}
	return rc;
}

/* ---- progress ---- */

int
check_progress(struct check *c, uint64_t bytes, uint64_t packs, struct larder_err *err)
{
	const struct larder_watch *watch = &c->options.watch;
	int64_t now_ns;

	if (watch->cancel != NULL && *watch->cancel != 0)
		return err_set(err, LARDER_ERR_CANCELLED, "interrupted");
	pthread_mutex_lock(&c->lock);
	c->progress.bytes_done += bytes;
	c->progress.files_done += packs;
	if (watch->on_progress != NULL) {
		now_ns = clock_mono_ns();
		if (now_ns >= c->progress_due_ns) {
			c->progress_due_ns = now_ns + PROGRESS_NS;
			watch->on_progress(watch->context, &c->progress);
		}
	}
	pthread_mutex_unlock(&c->lock);
	return LARDER_OK;
}

/* ---- config, writer, index ---- */

static int
check_config(struct check *c, struct larder_err *err)
{
	struct larder_err why = { 0 };
	struct config config;
	int rc;

	rc = config_read(&config, c->store->root_fd, &why);
	if (rc == LARDER_OK && memcmp(&config.id, &c->store->config.id, sizeof config.id) != 0)
		rc = err_set(&why, LARDER_ERR_CORRUPT, "config: it is that of another store now");
	if (rc == LARDER_OK)
		return rc;
	return check_is_damage(rc) ? check_damage(c, NULL, err, "%s", why.message) : rc;
}

static int
check_writer(struct check *c, struct larder_err *err)
{
	struct larder_err why = { 0 };
	struct identity identity;
	uint64_t len = 0;
	int fd, rc;

	rc = file_open(&fd, c->store->root_fd, "writer", O_RDONLY | O_NOFOLLOW, 0, &why);
	if (rc == LARDER_ERR_NOT_FOUND)
		return LARDER_OK; /* nobody has written yet */
	if (rc == LARDER_OK)
		rc = file_size(&len, fd, "writer", &why);
	file_close(fd);
	if (rc == LARDER_OK && len == 0)
		return LARDER_OK; /* the first writer ended before it had a name */
	if (rc == LARDER_OK)
		rc = identity_read(&identity, c->store->root_fd, &why);
	if (rc == LARDER_OK && !identity.known)
		rc = err_set(&why, LARDER_ERR_CORRUPT,
		    "writer: damaged; the next write draws a new id for this replica");
	if (rc == LARDER_OK)
		return rc;
	return check_is_damage(rc) ? check_damage(c, NULL, err, "%s", why.message) : rc;
}

static int
take_position(void *context, const struct index_position *position, struct larder_err *err)
{
	struct check *c = context;

	if (c->position_count == c->position_room) {
		size_t room = c->position_room ? c->position_room * 2 : 4;
		void *grown = mem_resize(c->positions, room, sizeof *c->positions);

		if (grown == NULL)
			return err_nomem(err);
		c->positions = grown;
		c->position_room = room;
	}
	c->positions[c->position_count++] = *position;
	return 0;
}

static int
take_pack(void *context, uint32_t number, const struct index_pack *pack, struct larder_err *err)
{
	struct check *c = context;
	struct check_pack *p;
	int rc;

	rc = check_pack_add(&p, c, &pack->id, err);
	if (rc < 0)
		return rc;
	p->number = number;
	p->file_len = pack->file_len;
	p->chunk_count = pack->chunk_count;
	return 0;
}

/* How the index stands now: one transaction, before anything else is read. */
static int
look_at_index(struct check *c, struct larder_err *err)
{
	struct larder_err why = { 0 };
	struct index_counts counts = { 0 };
	struct index_read *read = NULL;
	int rc;

	rc = index_read_begin(&read, c->store->index, &why);
	if (rc == LARDER_OK)
		rc = index_counts_get(&counts, read, &why);
	if (rc == LARDER_OK)
		rc = index_position_each(read, take_position, c, &why);
	if (rc == LARDER_OK)
		rc = index_pack_each(read, take_pack, c, &why);
	index_read_end(read);
	c->index_versions = counts.versions;
	return rc < 0 ? check_index_failed(c, rc, &why, err) : LARDER_OK;
}

int
check_pack_add(struct check_pack **out, struct check *c, const struct id16 *id,
    struct larder_err *err)
{
	struct larder_id key = { { 0 } };
	const uint64_t *known;

	memcpy(key.bytes, id->bytes, ID16_LEN);
	known = idset_find(&c->pack_ids, &key);
	if (known != NULL) {
		*out = &c->packs[*known];
		return LARDER_OK;
	}
	if (c->pack_count == c->pack_room) {
		size_t room = c->pack_room ? c->pack_room * 2 : 64;
		void *grown = mem_resize(c->packs, room, sizeof *c->packs);

		if (grown == NULL)
			return err_nomem(err);
		c->packs = grown;
		c->pack_room = room;
	}
	if (idset_add(&c->pack_ids, &key, c->pack_count) < 0)
		return err_nomem(err);
	*out = &c->packs[c->pack_count++];
	memset(*out, 0, sizeof **out);
	(*out)->id = *id;
	return LARDER_OK;
}

/* ---- the answer ---- */

static int
all_checks(struct check *c, struct larder_err *err)
{
	int rc;

	rc = check_config(c, err);
	if (rc == LARDER_OK)
		rc = check_writer(c, err);
	if (rc == LARDER_OK)
		rc = look_at_index(c, err);
	if (rc == LARDER_OK)
		rc = check_journals(c, err);
	if (rc == LARDER_OK)
		rc = check_packs(c, err);
	if (rc == LARDER_OK)
		rc = settle_orphans(c, err);
	if (rc == LARDER_OK)
		rc = check_strays(c, err);
	if (rc == LARDER_OK)
		rc = check_trees(c, err);
	if (rc == LARDER_OK)
		check_strays_tell(c);
	return rc;
}

static void
give_damages(struct check *c)
{
	struct larder_damage damage = { 0 };
	char what[WHAT_LEN];

	for (size_t i = 0; i < c->damage_count && c->fn != NULL; i++) {
		const char *names[CHECK_NAMES_MAX];
		const struct damage *d = &c->damages[i];

		for (size_t k = 0; k < d->name_count; k++)
			names[k] = d->names[k];
		damage = (struct larder_damage){
			.what = d->what,
			.names = names,
			.name_count = d->name_count,
			.names_total = d->names_total,
		};
		c->fn(c->context, &damage);
	}
	if (c->result.damages > c->damage_count && c->fn != NULL) {
		snprintf(what, sizeof what, "%llu more, which are not listed",
		    (unsigned long long)(c->result.damages - c->damage_count));
		damage = (struct larder_damage){ .what = what };
		c->fn(c->context, &damage);
	}
}

static int
answer(struct check *c, struct larder_err *err)
{
	struct checked checked = {
		.at_ns = clock_now_ns(),
		.read = c->options.read && c->options.sample <= 0,
		.clean = c->result.damages == 0,
	};

	/* damage that a sample met was read too */
	checked.read = checked.read || (c->options.read && !checked.clean);
	checked_write(&checked, c->store->root_fd);
	give_damages(c);
	if (checked.clean)
		return LARDER_OK;
	return err_set(err, LARDER_ERR_CORRUPT, "%llu %s", (unsigned long long)c->result.damages,
	    c->result.damages == 1 ? "damage was found" : "damages were found");
}

static void
release(struct check *c)
{
	for (size_t i = 0; i < c->damage_count; i++) {
		for (size_t k = 0; k < c->damages[i].name_count; k++)
			mem_free(c->damages[i].names[k]);
		mem_free(c->damages[i].what);
	}
	for (size_t i = 0; i < c->orphan_count; i++)
		mem_free(c->orphans[i].what);
	mem_free(c->damages);
	mem_free(c->orphans);
	mem_free(c->packs);
	mem_free(c->strays);
	mem_free(c->by_number);
	mem_free(c->positions);
	idset_release(&c->bad);
	idset_release(&c->pack_ids);
	pack_files_close(c->files);
	pthread_mutex_destroy(&c->lock);
}

int
larder_check(struct larder_store *store, const struct larder_check_options *options,
    larder_damage_fn fn, void *context, struct larder_check_result *result, struct larder_err *err)
{
	struct check c = { .store = store, .fn = fn, .context = context };
	int rc;

	if (result != NULL)
		memset(result, 0, sizeof *result);
	if (store == NULL || (options != NULL && options->size < sizeof options->size))
		return err_set(err, LARDER_ERR_USAGE, "a store and initialized options are needed");
	rc = store_enter(store, err);
	if (rc < 0)
		return rc;
	if (options != NULL)
		memcpy(&c.options, options,
		    options->size < sizeof c.options ? options->size : sizeof c.options);
	if (pthread_mutex_init(&c.lock, NULL) != 0)
		return err_nomem(err);
	idset_init(&c.bad, CHECK_BAD_MAX);
	idset_init(&c.pack_ids, SIZE_MAX);
	rc = pack_files_open(&c.files, store->root_fd, err);
	if (rc == LARDER_OK)
		rc = all_checks(&c, err);
	if (rc == LARDER_OK)
		rc = answer(&c, err);
	if (result != NULL)
		*result = c.result;
	release(&c);
	return rc;
}
