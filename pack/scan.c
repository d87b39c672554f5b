/*
 * A pack without an index: its directory, and which packs there are.
 *
 * Reindex, check, repair, gc and pull come this way. A directory that is
 * returned was checked against its digest, its lengths tile the file from the
 * header to the directory, the file ends where the footer says, and header,
 * footer and file name agree on the id. So what a pack cannot be after this is
 * cut short, extended or exchanged; whether its segments are sound is seen when
 * they are read.
 */
#include "pack/pack.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cas/base/err.h"
#include "cas/base/file.h"
#include "cas/base/mem.h"
#include "pack/format.h"
#include "pack/reader.h"

enum { TAIL_GUESS = 64 * 1024 }; /* read at the end at once: most directories fit */

/* The pack's tail (directory and footer) into *tail; *len gets the file's length. */
static int
read_tail(struct buf *tail, uint64_t *len, int fd, const char *path, struct larder_err *err)
{
	struct pack_footer footer;
	uint64_t size;
	size_t first, want;
	int rc;

	rc = file_size(&size, fd, path, err);
	if (rc < 0)
		return rc;
	*len = size;
	if (size < PACK_HEADER_LEN + PACK_FOOTER_LEN)
		return err_set(
		    err, LARDER_ERR_CORRUPT, "cut short: %llu bytes", (unsigned long long)size);
	if (size > PACK_FILE_MAX)
		return err_set(err, LARDER_ERR_CORRUPT, "%llu bytes, beyond PACK_FILE_MAX",
		    (unsigned long long)size);

	first = size < TAIL_GUESS ? (size_t)size : TAIL_GUESS;
	rc = buf_resize(tail, first);
	if (rc < 0)
		return buf_err(tail, rc, err);
	rc = file_pread_all(fd, tail->data, first, size - first, path, err);
	if (rc < 0)
		return rc;
	rc =
	    pack_footer_decode(&footer, tail->data + first - PACK_FOOTER_LEN, PACK_FOOTER_LEN, err);
	if (rc < 0)
		return rc;
	if ((uint64_t)footer.directory_at + footer.directory_len + PACK_FOOTER_LEN != size)
		return err_set(err, LARDER_ERR_CORRUPT,
		    "footer is of a file of %llu bytes, not %llu",
		    (unsigned long long)footer.directory_at + footer.directory_len +
			PACK_FOOTER_LEN,
		    (unsigned long long)size);

	want = (size_t)footer.directory_len + PACK_FOOTER_LEN;
	if (want <= first) {
		memmove(tail->data, tail->data + first - want, want);
		tail->len = want;
		return LARDER_OK;
	}
	rc = buf_resize(tail, want);
	if (rc < 0)
		return buf_err(tail, rc, err);
	return file_pread_all(fd, tail->data, want, size - want, path, err);
}

static int
check_header(int fd, const struct id16 *pack, const char *path, struct larder_err *err)
{
	struct pack_header header;
	uint8_t bytes[PACK_HEADER_LEN];
	int rc;

	rc = file_pread_all(fd, bytes, sizeof bytes, 0, path, err);
	if (rc < 0)
		return rc;
	rc = pack_header_decode(&header, bytes, sizeof bytes, err);
	if (rc < 0)
		return rc;
	if (memcmp(&header.id, pack, sizeof *pack) != 0)
		return err_set(err, LARDER_ERR_CORRUPT, "header is of another pack");
	return LARDER_OK;
}

static int
read_directory(struct pack_directory *out, int fd, const struct id16 *pack, const char *path,
    struct larder_err *err)
{
	struct pack_directory directory = { 0 };
	struct pack_codec *codec = NULL;
	struct buf tail = { 0 };
	uint64_t size;
	int rc;

	buf_init(&tail, PACK_FILE_MAX);
	rc = pack_codec_open(&codec, err);
	if (rc < 0)
		goto out;
	rc = check_header(fd, pack, path, err);
	if (rc < 0)
		goto out;
	rc = read_tail(&tail, &size, fd, path, err);
	if (rc < 0)
		goto out;
	rc = pack_tail_decode(&directory, codec, tail.data, tail.len, err);
	if (rc < 0)
		goto out;
	if (memcmp(&directory.id, pack, sizeof *pack) != 0) {
		rc = err_set(err, LARDER_ERR_CORRUPT, "footer is of another pack");
		goto out;
	}
	*out = directory;
	directory = (struct pack_directory){ 0 };
out:
	pack_directory_release(&directory);
	buf_release(&tail);
	pack_codec_close(codec);
	return rc;
}

int
pack_directory_read(struct pack_directory *out, struct pack_files *files, const struct id16 *pack,
    struct larder_err *err)
{
	struct pack_slot *slot;
	char path[PACK_PATH_LEN];
	char hex[ID16_HEX_LEN + 1];
	int fd, rc;

	rc = pack_files_take(&slot, &fd, files, pack, err);
	if (rc < 0)
		return rc;
	pack_path(path, pack);
	rc = read_directory(out, fd, pack, path, err);
	pack_files_give_back(files, slot);
	if (rc == LARDER_ERR_CORRUPT || rc == LARDER_ERR_VERSION) {
		id16_to_hex(hex, pack);
		err_prefix(err, "pack %s", hex);
	}
	return rc;
}

/* ---- places ---- */

static uint32_t
search_segment(const struct pack_directory *d, uint32_t chunk)
{
	uint32_t low = 0, high = d->segment_count; /* the answer is in [low, high) */

	while (high - low > 1) {
		const uint32_t middle = low + (high - low) / 2;

		if (d->segments[middle].chunk_first <= chunk)
			low = middle;
		else
			high = middle;
	}
	return low;
}

static bool
holds(const struct pack_directory *d, uint32_t segment, uint32_t chunk)
{
	return segment < d->segment_count && chunk >= d->segments[segment].chunk_first &&
	       chunk - d->segments[segment].chunk_first < d->segments[segment].chunk_count;
}

void
pack_directory_place(struct pack_place *out, const struct pack_directory *directory, uint32_t chunk,
    uint32_t *segment)
{
	const struct pack_directory_segment *s;

	if (!holds(directory, *segment, chunk)) {
		if (holds(directory, *segment + 1, chunk))
			++*segment;
		else
			*segment = search_segment(directory, chunk);
	}
	s = &directory->segments[*segment];
	*out = (struct pack_place){
		.segment_at = s->at,
		.chunk_at = directory->chunk_ats[chunk],
		.chunk_len = directory->lengths[chunk],
		.depth = s->depth,
		.type = s->type,
	};
}

/* ---- which packs there are ---- */

/* The names that FORMAT.md reserves beside a pack: parity and signature. */
static bool
is_sidecar(const char *name)
{
	struct id16 id;

	return strlen(name) == ID16_HEX_LEN + 4 && id16_from_hex(&id, name, ID16_HEX_LEN) &&
	       (strcmp(name + ID16_HEX_LEN, ".par") == 0 ||
		   strcmp(name + ID16_HEX_LEN, ".sig") == 0);
}

/* Exactly the name that pack_path makes: lower-case digits, in the folder of its first two. */
static bool
is_pack(struct id16 *id, const char *path, const char *name)
{
	char canonical[PACK_PATH_LEN];

	if (!id16_from_hex(id, name, strlen(name)))
		return false;
	pack_path(canonical, id);
	return strcmp(canonical, path) == 0;
}

static void
tell_odd(pack_odd_fn odd, void *context, const char *path)
{
	if (odd != NULL)
		odd(context, path);
}

static int
each_in_folder(int root_fd, const char *folder, pack_each_fn fn, pack_odd_fn odd, void *context,
    struct larder_err *err)
{
	struct larder_err list_err = { 0 };
	char **names = NULL;
	size_t count = 0;
	int rc;

	rc = file_list(&names, &count, root_fd, folder, &list_err);
	if (rc < 0 && list_err.sys_errno == ENOTDIR) {
		tell_odd(odd, context, folder);
		return LARDER_OK;
	}
	if (rc < 0 && err != NULL)
		*err = list_err;
	for (size_t i = 0; i < count && rc == 0; i++) {
		char path[sizeof "packs/xx/" + 255];
		struct id16 id;

		snprintf(path, sizeof path, "%s/%s", folder, names[i]);
		if (is_pack(&id, path, names[i]))
			rc = fn(context, &id, err);
		else if (!is_sidecar(names[i]))
			tell_odd(odd, context, path);
	}
	mem_free(names);
	return rc;
}

static bool
is_folder(const char *name)
{
	uint8_t byte;

	return strlen(name) == 2 && hex_decode(&byte, 1, name, 2) &&
	       strpbrk(name, "ABCDEF") == NULL;
}

int
pack_each(int root_fd, pack_each_fn fn, pack_odd_fn odd, void *context, struct larder_err *err)
{
	char **names = NULL;
	size_t count = 0;
	int rc;

	rc = file_list(&names, &count, root_fd, "packs", err);
	for (size_t i = 0; i < count && rc == 0; i++) {
		char path[sizeof "packs/" + 255];

		snprintf(path, sizeof path, "packs/%s", names[i]);
		if (is_folder(names[i]))
			rc = each_in_folder(root_fd, path, fn, odd, context, err);
		else
			tell_odd(odd, context, path);
	}
	mem_free(names);
	return rc;
}
