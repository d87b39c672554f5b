/*
 * The journal: segment headers, frames, operations and names. What decodes,
 * encodes to the same bytes. Checksums are set right first, since no fuzzer
 * would hit them; wrong ones are the business of the unit test.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cas/base/bytes.h"
#include "cas/base/crc32c.h"
#include "cas/object/entry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_status(int rc, const struct larder_err *err)
{
	assert(rc == LARDER_ERR_CORRUPT || rc == LARDER_ERR_VERSION || rc == LARDER_ERR_USAGE);
	assert((int)err->status == rc && err->message[0] != '\0');
}

static void
check_header(const uint8_t *data, size_t size)
{
	uint8_t bytes[JOURNAL_SEGMENT_HEADER_LEN], again[JOURNAL_SEGMENT_HEADER_LEN];
	struct journal_segment_header header;
	struct larder_err err = { 0 };
	int rc;

	if (size < sizeof bytes)
		return;
	memcpy(bytes, data, sizeof bytes);
	put_le16(bytes + 10, 0); /* unused: not kept */
	put_le32(bytes + sizeof bytes - 4, crc32c(0, bytes, sizeof bytes - 4));
	rc = journal_segment_header_decode(&header, bytes, sizeof bytes, &err);
	if (rc < 0) {
		check_status(rc, &err);
		return;
	}
	journal_segment_header_encode(again, &header);
	assert(memcmp(bytes, again, sizeof bytes) == 0);
}

static void
encode_op(struct buf *out, const struct entry_op *op)
{
	int rc = -1;

	switch (op->type) {
	case ENTRY_OP_PACK:
		rc = entry_op_pack(out, &op->pack);
		break;
	case ENTRY_OP_VERSION:
		rc = entry_op_version(out, &op->version);
		break;
	case ENTRY_OP_VERSION_END:
		rc = entry_op_version_end(out, &op->version_end);
		break;
	case ENTRY_OP_BODY:
		rc = entry_op_body(out, &op->body);
		break;
	}
	assert(rc == 0);
}

static void
check_body(const uint8_t *data, size_t size)
{
	struct cursor body = cursor_of(data, size);
	struct larder_err err = { 0 };
	struct buf out = { 0 };
	struct entry_op op;
	int rc;

	while ((rc = entry_op_next(&body, &op, &err)) == 1) {
		encode_op(&out, &op);
		assert(out.len == cursor_offset(&body));
		assert(memcmp(out.data, data, out.len) == 0);
	}
	if (rc < 0)
		check_status(rc, &err);
	else
		assert(out.len == size);
	buf_release(&out);
}

/* The input as a frame: with length and checksum set right. */
static void
check_frame(const uint8_t *data, size_t size)
{
	static const struct larder_id before = { { 1, 2, 3 } };
	struct larder_err err = { 0 };
	struct entry_frame frame;
	struct larder_id chain;
	struct buf out = { 0 };
	uint8_t *bytes;
	size_t used;
	int rc;

	if (size < ENTRY_FRAME_HEAD_LEN + ENTRY_FRAME_TAIL_LEN)
		return;
	bytes = malloc(size);
	assert(bytes != NULL);
	memcpy(bytes, data, size);
	put_le32(bytes + 4, (uint32_t)(size - ENTRY_FRAME_HEAD_LEN - ENTRY_FRAME_TAIL_LEN));
	entry_frame_chain(&chain, &before, bytes, size);
	memcpy(bytes + size - ENTRY_FRAME_TAIL_LEN, chain.bytes, LARDER_ID_LEN);
	put_le32(bytes + size - 4, crc32c(0, bytes, size - 4));

	rc = entry_frame_decode(&frame, &used, bytes, size, &err);
	if (rc == 0) {
		assert(used == size);
		check_body(frame.body, frame.body_len);
		rc = entry_frame_encode(&out, &frame, &before);
		assert(rc == 0);
		assert(out.len == size && memcmp(out.data, bytes, size) == 0);
	} else {
		check_status(rc, &err);
	}
	buf_release(&out);
	free(bytes);
}

static void
check_name(const uint8_t *data, size_t size)
{
	struct larder_err err = { 0 };
	struct entry_version_end end = { .name = (const char *)data, .name_len = size };
	int rc = entry_name_check(end.name, size, &err);

	if (rc < 0) {
		assert(rc == LARDER_ERR_USAGE && err.message[0] != '\0');
		return;
	}
	assert(size >= 1 && size <= NAME_LEN_MAX && data[0] != '/' && data[size - 1] != '/');
	assert(memchr(data, 0, size) == NULL && memmem(data, size, "//", 2) == NULL);
	assert(memmem(data, size, "/../", 4) == NULL && memmem(data, size, "/./", 3) == NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct larder_err err = { 0 };
	struct entry_frame frame;
	size_t used;
	int rc;

	check_header(data, size);
	check_frame(data, size);
	check_body(data, size);
	check_name(data, size);
	rc = entry_frame_decode(&frame, &used, data, size, &err);
	if (rc < 0)
		check_status(rc, &err);
	return 0;
}
