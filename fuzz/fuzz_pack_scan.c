/*
 * A whole pack file, read as check reads it: directory, every segment, every
 * chunk decoded and hashed. It is sound, or CORRUPT or VERSION with a sentence.
 *
 * The first byte says which checksums are made right first, so that the fuzzer
 * gets behind them; the rest is the file.
 */
#include "pack/format.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cas/base/bytes.h"
#include "cas/base/crc32c.h"
#include "cas/base/sha256.h"
#include "cas/sys.h"
#include "tests/doubles/pack_sample.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { REPAIR_ENDS = 1, REPAIR_SEGMENTS = 2 };

static int file = -1; /* in memory; every path leads to it */

static int
open_the_file(int dirfd, const char *path, int flags, mode_t mode)
{
	char name[64];

	(void)dirfd, (void)path, (void)flags, (void)mode;
	snprintf(name, sizeof name, "/proc/self/fd/%d", file);
	return open(name, O_RDONLY | O_CLOEXEC);
}

static void
repair_segments(uint8_t *pack, size_t end)
{
	size_t at = PACK_HEADER_LEN;

	while (end - at >= PACK_SEGMENT_HEADER_LEN) {
		const size_t store_len = get_le32(pack + at + 4);

		if (store_len > end - at - PACK_SEGMENT_HEADER_LEN)
			return;
		put_le32(pack + at + 12, pack_segment_crc(pack + at, pack + at + 16, store_len));
		at += PACK_SEGMENT_HEADER_LEN + store_len;
	}
}

static void
repair(uint8_t *pack, size_t size, unsigned what)
{
	uint8_t *footer = pack + size - PACK_FOOTER_LEN;
	const size_t directory_at = get_le32(footer + 48);
	struct larder_id digest;

	if (directory_at < PACK_HEADER_LEN || directory_at > size - PACK_FOOTER_LEN)
		return;
	if (what & REPAIR_SEGMENTS)
		repair_segments(pack, directory_at);
	if (!(what & REPAIR_ENDS))
		return;
	put_le32(pack + 28, crc32c(0, pack, 28));
	sha256(&digest, pack + directory_at, size - PACK_FOOTER_LEN - directory_at);
	memcpy(footer, digest.bytes, sizeof digest.bytes);
	memcpy(footer + 32, pack + 12, ID16_LEN);
	put_le32(footer + 52, (uint32_t)(size - PACK_FOOTER_LEN - directory_at));
	put_le32(footer + 64, crc32c(0, footer, 64));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct larder_sys sys = { .size = sizeof sys, .file_openat = open_the_file };
	struct larder_err err = { 0 };
	struct pack_files *files;
	struct id16 id = { { 0 } };
	uint8_t *pack;
	int rc;

	if (size < 1)
		return 0;
	if (file < 0) {
		file = memfd_create("pack", MFD_CLOEXEC);
		assert(file >= 0);
		larder_sys_set(&sys);
	}
	pack = malloc(size);
	assert(pack != NULL);
	memcpy(pack, data + 1, size - 1);
	if (size - 1 >= PACK_HEADER_LEN + PACK_FOOTER_LEN)
		repair(pack, size - 1, data[0]);
	if (size - 1 >= PACK_HEADER_LEN)
		memcpy(id.bytes, pack + 12, sizeof id.bytes);
	rc = ftruncate(file, 0) < 0 || pwrite(file, pack, size - 1, 0) != (ssize_t)size - 1;
	assert(rc == 0);

	rc = pack_files_open(&files, AT_FDCWD, &err);
	assert(rc == 0);
	rc = pack_sample_check(files, &id, &err);
	assert(rc == 0 || rc == LARDER_ERR_CORRUPT || rc == LARDER_ERR_VERSION);
	assert((rc == 0) == (err.message[0] == '\0'));
	pack_files_close(files);
	free(pack);
	return 0;
}
