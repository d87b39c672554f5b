/*
 * Segments: read, decoded, hashed, compared. See checkpack.h.
 *
 * Chunks are gathered until there are enough to be hashed side by side, and
 * little enough to be in the processor's cache still.
 */
#include <stdio.h>
#include <string.h>

#include "cas/base/err.h"
#include "cas/base/id.h"
#include "cas/base/limits.h"
#include "cas/base/mem.h"
#include "cas/checkpack.h"

/* ---- workers ---- */

int
check_worker_open(struct check_worker *w, struct larder_err *err)
{
	int rc;

	if (w->batch != NULL)
		return LARDER_OK;
	rc = w->codec == NULL ? pack_codec_open(&w->codec, err) : LARDER_OK;
	if (rc < 0)
		return rc;
	for (size_t i = 0; i <= PACK_DEPTH_MAX; i++) {
		buf_init(&w->stored[i], 2 * PACK_PLAIN_MAX);
		buf_init(&w->plain[i], PACK_PLAIN_MAX);
	}
	w->pieces = mem_array(CHECK_BATCH_PIECES, sizeof *w->pieces);
	w->jobs = mem_array(CHECK_BATCH_PIECES, sizeof *w->jobs);
	w->batch = mem_alloc(CHECK_BATCH_LEN + PACK_PLAIN_MAX);
	if (w->pieces == NULL || w->jobs == NULL || w->batch == NULL)
		return err_nomem(err);
	return LARDER_OK;
}

void
check_worker_close(struct check_worker *w)
{
	pack_codec_close(w->codec);
	for (size_t i = 0; i <= PACK_DEPTH_MAX; i++) {
		buf_release(&w->stored[i]);
		buf_release(&w->plain[i]);
	}
	mem_free(w->pieces);
	mem_free(w->jobs);
	mem_free(w->batch);
	check_deltas_release(w);
}

/* ---- damage ---- */

int
check_bad_piece(struct check *c, const struct check_piece *piece, const char *why,
    struct larder_err *err)
{
	char hex[ID16_HEX_LEN + 1], id_hex[ID_HEX_LEN + 1], what[700];
	uint64_t number;
	int rc;

	id16_to_hex(hex, piece->pack);
	id_to_hex(id_hex, piece->id);
	snprintf(what, sizeof what, "pack %s: segment at %u: object %s: %s", hex, piece->segment_at,
	    id_hex, why);
	if (piece->delta)
		return check_orphan(c, piece->id, &piece->base, what, err);
	rc = check_damage(c, &number, err, "%s", what);
	return rc < 0 ? rc : check_bad(c, piece->id, number, err);
}

static int
bad_segment(struct check *c, const struct pack_directory *directory,
    const struct pack_directory_segment *s, const char *why, struct larder_err *err)
{
	char hex[ID16_HEX_LEN + 1];
	uint64_t number;
	int rc;

	id16_to_hex(hex, &directory->id);
	if (strncmp(why, "pack ", 5) == 0) /* it says itself where it is */
		rc = check_damage(c, &number, err, "%s", why);
	else
		rc = check_damage(
		    c, &number, err, "pack %s: segment at %u: %s", hex, s->at, why);
	for (uint32_t i = 0; i < s->chunk_count && rc == LARDER_OK; i++)
		rc = check_bad(c, &directory->ids[s->chunk_first + i], number, err);
	return rc;
}

/* ---- hashing ---- */

/* The bytes stay where they are. */
static int
hash_pieces(struct pack_pass *pass, struct check_worker *w, struct larder_err *err)
{
	struct check *c = pass->c;
	uint64_t bytes = 0;
	int rc = LARDER_OK;

	sha256_many(w->jobs, w->piece_count);
	for (size_t i = 0; i < w->piece_count && rc == LARDER_OK; i++) {
		bytes += w->jobs[i].len;
		if (!id_equal(&w->pieces[i].digest, w->pieces[i].id))
			rc = check_bad_piece(c, &w->pieces[i], "hashes to something else", err);
	}
	pthread_mutex_lock(&c->lock);
	c->result.bytes += bytes;
	pthread_mutex_unlock(&c->lock);
	w->piece_count = 0;
	return rc;
}

int
check_flush(struct pack_pass *pass, struct check_worker *w, struct larder_err *err)
{
	int rc = hash_pieces(pass, w, err);

	w->batch_len = 0;
	return rc;
}

static void
add_piece(struct check_worker *w, const struct check_piece *piece, uint32_t len)
{
	struct check_piece *to = &w->pieces[w->piece_count];

	*to = *piece;
	w->jobs[w->piece_count++]
	    = (struct sha256_job){ w->batch + w->batch_len, len, &to->digest };
	w->batch_len += len;
}

int
check_piece_add(struct pack_pass *pass, struct check_worker *w, const struct check_piece *piece,
    uint32_t len, struct larder_err *err)
{
	add_piece(w, piece, len);
	if (w->piece_count < CHECK_BATCH_PIECES && w->batch_len < CHECK_BATCH_LEN)
		return LARDER_OK;
	return check_flush(pass, w, err);
}

/* ---- segments ---- */

/* Does the header say what the directory says? */
static const char *
disagreement(const struct pack_directory *directory, const struct pack_directory_segment *s,
    const struct pack_segment *header)
{
	uint64_t plain_len = 0;

	for (uint32_t i = 0; i < s->chunk_count; i++)
		plain_len += directory->lengths[s->chunk_first + i];
	if (header->plain_len != plain_len)
		return "not as long as its chunks";
	if (header->store_len + PACK_SEGMENT_HEADER_LEN != s->len || header->depth != s->depth ||
	    header->type != (enum pack_type)s->type)
		return "not as the directory describes it";
	return NULL;
}

static int
read_segment(struct pack_segment *header, struct pack_pass *pass, struct check_worker *w,
    const struct pack_directory *directory, const struct pack_directory_segment *s,
    struct larder_err *err)
{
	const char *differs;
	int rc;

	rc = pack_segment_read(
	    header, &w->stored[0], pass->c->files, &directory->id, s->at, s->len, err);
	if (rc < 0)
		return rc;
	differs = disagreement(directory, s, header);
	return differs == NULL ? LARDER_OK : err_set(err, LARDER_ERR_CORRUPT, "%s", differs);
}

/* The chunks of a segment that was decoded behind the batch. */
static int
add_chunks(struct pack_pass *pass, struct check_worker *w, const struct pack_directory *directory,
    const struct pack_directory_segment *s, struct larder_err *err)
{
	struct check_piece piece = { .pack = &directory->id, .segment_at = s->at };
	int rc = LARDER_OK;

	for (uint32_t i = 0; i < s->chunk_count && rc == LARDER_OK; i++) {
		piece.id = &directory->ids[s->chunk_first + i];
		add_piece(w, &piece, directory->lengths[s->chunk_first + i]);
		if (w->piece_count == CHECK_BATCH_PIECES)
			rc = hash_pieces(pass, w, err);
	}
	if (rc == LARDER_OK && w->batch_len >= CHECK_BATCH_LEN)
		rc = check_flush(pass, w, err);
	return rc;
}

int
check_segment(struct pack_pass *pass, struct check_worker *w,
    const struct pack_directory *directory, uint32_t segment, uint32_t number,
    struct larder_err *err)
{
	const struct pack_directory_segment *s = &directory->segments[segment];
	struct larder_err why = { 0 };
	struct pack_segment header;
	int rc;

	rc = read_segment(&header, pass, w, directory, s, &why);
	if (rc == LARDER_OK && header.codec == PACK_CODEC_ZSTD_BASE) {
		struct check_piece piece = {
			.id = &directory->ids[s->chunk_first],
			.pack = &directory->id,
			.segment_at = s->at,
			.delta = true,
			.base = header.base,
		};

		return check_delta(pass, w, &piece, number, &header, err);
	}
	if (rc == LARDER_OK)
		rc = pack_decode(w->batch + w->batch_len, w->codec, &header, w->stored[0].data,
		    NULL, 0, &why);
	if (rc == LARDER_OK)
		return add_chunks(pass, w, directory, s, err);
	if (check_is_damage(rc))
		return bad_segment(pass->c, directory, s, why.message, err);
	if (err != NULL)
		*err = why;
	return rc;
}
