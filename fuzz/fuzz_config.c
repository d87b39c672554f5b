/*
 * A config decodes to what encodes to the same bytes, or is refused with a sentence.
 *
 * The fuzzer cannot guess a SHA-256, so each input is also tried with the last line that it
 * should have. Notes are left out by a reader: bytes with notes need not come back.
 */
#include <assert.h>
#include <string.h>

#include "cas/config.h"
#include "cas/lines.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(const uint8_t *data, size_t size)
{
	struct larder_err err = { 0 };
	struct config config, again;
	struct buf bytes = { 0 };
	int rc;

	rc = config_decode(&config, data, size, &err);
	if (rc < 0) {
		assert(rc == LARDER_ERR_CORRUPT || rc == LARDER_ERR_VERSION);
		assert(err.message[0] != '\0');
		return;
	}
	assert(config_encode(&bytes, &config) == 0);
	assert(config_decode(&again, bytes.data, bytes.len, &err) == 0);
	assert(memcmp(&again.id, &config.id, sizeof again.id) == 0);
	assert(again.chunk_size == config.chunk_size && again.prefix == config.prefix);
	if (memmem(data, size, "\nnote", 5) == NULL)
		assert(bytes.len == size && memcmp(bytes.data, data, size) == 0);
	buf_release(&bytes);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf sealed = { 0 };

	if (size > LINES_LEN_MAX)
		return 0;
	check(data, size);
	if (buf_append(&sealed, data, size) == 0 && sealed.len > 0 && lines_seal(&sealed) == 0)
		check(sealed.data, sealed.len);
	buf_release(&sealed);
	return 0;
}
