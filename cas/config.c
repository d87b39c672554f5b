/*
 * The config file: OBJECTS.md, "config".
 *
 * 1. Its presence makes a directory a store: init writes it last, and durably.
 * 2. It is never changed.
 * 3. What this larder does not know and would have to know is refused as VERSION,
 *    what is damaged as CORRUPT. First line, `format` and last line stay the same in
 *    all formats, so that the two can be told apart for ever.
 */
#include "cas/config.h"

#include <assert.h>
#include <string.h>

#include "cas/base/err.h"
#include "cas/base/file.h"
#include "cas/base/sha256.h"
#include "cas/lines.h"
#include "cas/object/chunker.h"

static_assert((int)CONFIG_SEED_LEN == (int)CHUNKER_SEED_LEN, "the seed is the chunker's");
static_assert((int)CONFIG_SEED_LEN == (int)LARDER_ID_LEN, "the constant seed is a digest");

static const char config_path[] = "config";
static const char first_line[] = "larder store";
/* Chunks of two stores are only alike if both cut alike, so plain stores have no seed of
 * their own: theirs is the SHA-256 of this. */
static const char plain_seed_text[] = "larder: where plain stores cut, 1";

static bool
chunk_size_valid(uint64_t size)
{
	return size >= CHUNKER_MEAN_MIN && size <= CHUNKER_MEAN_MAX && (size & (size - 1)) == 0;
}

/* ---- bytes ---- */

int
config_encode(struct buf *out, const struct config *config)
{
	int rc;

	assert(config->format == CONFIG_FORMAT && chunk_size_valid(config->chunk_size));
	rc = lines_put(out, first_line, NULL);
	if (rc == 0)
		rc = lines_put_number(out, "format", config->format);
	if (rc == 0)
		rc = lines_put_hex(out, "id", config->id.bytes, ID16_LEN);
	if (rc == 0)
		rc = lines_put(out, "mode", "plain");
	if (rc == 0)
		rc = lines_put(out, "protocol", config->prefix ? "prefix" : "local");
	if (rc == 0)
		rc = lines_put_number(out, "chunk-size", config->chunk_size);
	if (rc == 0)
		rc = lines_put_hex(out, "chunker-seed", config->seed, CONFIG_SEED_LEN);
	return rc == 0 ? lines_seal(out) : rc;
}

static bool
value_is(const char *value, size_t len, const char *want)
{
	return len == strlen(want) && memcmp(value, want, len) == 0;
}

static int
damaged(struct larder_err *err, const char *what)
{
	return err_set(err, LARDER_ERR_CORRUPT, "config: %s", what);
}

static int
too_new(struct larder_err *err, const char *what, const char *value, size_t value_len)
{
	err_set(err, LARDER_ERR_VERSION, "config: %s \"%.*s\" is unknown to this larder", what,
	    (int)(value_len < 64 ? value_len : 64), value);
	err_hint(err, "this store needs a newer larder");
	return LARDER_ERR_VERSION;
}

/* The lines behind "format 1". */
static int
decode_format_1(struct config *c, struct lines *lines, struct larder_err *err)
{
	const char *value;
	uint64_t number;
	size_t len;

	if (!lines_take_hex(lines, "id", c->id.bytes, ID16_LEN))
		return damaged(err, "no id of the store");
	if (!lines_take(lines, "mode", &value, &len))
		return damaged(err, "no mode");
	if (!value_is(value, len, "plain"))
		return too_new(err, "mode", value, len);
	if (!lines_take(lines, "protocol", &value, &len))
		return damaged(err, "no protocol");
	c->prefix = value_is(value, len, "prefix");
	if (!c->prefix && !value_is(value, len, "local"))
		return too_new(err, "protocol", value, len);
	if (!lines_take_number(lines, "chunk-size", &number) || !chunk_size_valid(number))
		return damaged(err, "no chunk size that can be");
	c->chunk_size = (uint32_t)number;
	if (!lines_take_hex(lines, "chunker-seed", c->seed, CONFIG_SEED_LEN))
		return damaged(err, "no seed of the chunker");

	/* Room for what comes: features that a reader must know, and notes that it need not. */
	if (lines_take(lines, "requires", &value, &len))
		return too_new(err, "required feature", value, len);
	while (lines_take(lines, "note", &value, &len))
		continue;
	return lines_done(lines) ? LARDER_OK : damaged(err, "a line that has no place there");
}

int
config_decode(struct config *out, const void *data, size_t len, struct larder_err *err)
{
	struct config c = { 0 };
	struct lines lines;
	const char *value;
	size_t value_len;
	uint64_t format;
	int rc;

	if (!lines_open(&lines, data, len))
		return damaged(err, "cut short or changed: its checksum differs");
	if (!lines_take(&lines, first_line, &value, &value_len) || value_len > 0)
		return damaged(err, "its first line is not that of a store");
	if (!lines_take_number(&lines, "format", &format) || format == 0)
		return damaged(err, "no format");
	if (format != CONFIG_FORMAT) {
		err_set(err, LARDER_ERR_VERSION, "config: format %llu, this larder knows %d",
		    (unsigned long long)format, CONFIG_FORMAT);
		err_hint(err, "this store needs a newer larder");
		return LARDER_ERR_VERSION;
	}
	c.format = (unsigned)format;
	rc = decode_format_1(&c, &lines, err);
	if (rc < 0)
		return rc;
	*out = c;
	return LARDER_OK;
}

/* ---- the file ---- */

int
config_read(struct config *out, int root_fd, struct larder_err *err)
{
	struct buf bytes = { 0 };
	int rc;

	rc = file_read_whole(&bytes, root_fd, config_path, LINES_LEN_MAX, err);
	if (rc == LARDER_ERR_LIMIT)
		rc = damaged(err, "longer than any config");
	if (rc == 0)
		rc = config_decode(out, bytes.data, bytes.len, err);
	buf_release(&bytes);
	return rc;
}

int
config_create(struct config *out, int root_fd, uint32_t chunk_size, struct larder_err *err)
{
	struct config c = { .format = CONFIG_FORMAT, .chunk_size = chunk_size };
	struct buf bytes = { 0 };
	struct larder_id seed;
	int rc;

	if (!chunk_size_valid(chunk_size))
		return err_set(err, LARDER_ERR_USAGE,
		    "chunk size %u: it must be a power of two from %d to %d", chunk_size,
		    CHUNKER_MEAN_MIN, CHUNKER_MEAN_MAX);
	rc = id16_random(&c.id, err);
	if (rc < 0)
		return rc;
	sha256(&seed, plain_seed_text, strlen(plain_seed_text));
	memcpy(c.seed, seed.bytes, CONFIG_SEED_LEN);

	rc = config_encode(&bytes, &c);
	if (rc < 0) {
		buf_err(&bytes, rc, err);
		goto out;
	}
	rc = file_write_whole(root_fd, config_path, bytes.data, bytes.len, 0600, false, err);
	/* renamed, but perhaps not for good: the next try makes another, and syncs that */
	if (rc < 0 && rc != LARDER_ERR_EXISTS && file_unlink(root_fd, config_path, NULL) < 0) {
		/* there is none */
	}
	if (rc < 0)
		goto out;
	*out = c;
out:
	buf_release(&bytes);
	return rc;
}
