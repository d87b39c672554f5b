/*
 * Small text files with their own SHA-256 in the last line.
 *
 * 1. What lines_open() accepts was written whole and is unchanged.
 * 2. A line is taken whole or not at all; nothing is skipped, so that what is
 *    read has one form.
 */
#include "cas/lines.h"

#include <stdio.h>
#include <string.h>

#include "cas/base/id.h"
#include "cas/base/sha256.h"

static const char seal_key[] = "sha256 ";

enum { SEAL_LEN = sizeof seal_key - 1 + ID_HEX_LEN + 1 };

/* Lower-case digits only: what is read has one form. */
static bool
decode_hex(uint8_t *out, size_t len, const char *hex, size_t hex_len)
{
	for (size_t i = 0; i < hex_len; i++)
		if (hex[i] >= 'A' && hex[i] <= 'F')
			return false;
	return hex_decode(out, len, hex, hex_len);
}

bool
lines_open(struct lines *out, const void *data, size_t len)
{
	const char *text = data, *seal;
	struct larder_id want, have;

	if (len < SEAL_LEN || len > LINES_LEN_MAX || text[len - 1] != '\n')
		return false;
	seal = text + len - SEAL_LEN;
	if (seal > text && seal[-1] != '\n')
		return false;
	if (memcmp(seal, seal_key, sizeof seal_key - 1) != 0)
		return false;
	if (!decode_hex(want.bytes, LARDER_ID_LEN, seal + sizeof seal_key - 1, ID_HEX_LEN))
		return false;
	sha256(&have, text, len - SEAL_LEN);
	if (!id_equal(&want, &have))
		return false;
	out->at = text;
	out->end = seal;
	return true;
}

bool
lines_take(struct lines *lines, const char *key, const char **value, size_t *value_len)
{
	size_t left = (size_t)(lines->end - lines->at), key_len = strlen(key);
	const char *stop = memchr(lines->at, '\n', left), *after = lines->at + key_len;

	if (stop == NULL || (size_t)(stop - lines->at) < key_len)
		return false;
	if (memcmp(lines->at, key, key_len) != 0)
		return false;
	if (after < stop && *after != ' ')
		return false; /* a longer key */
	*value = after < stop ? after + 1 : stop;
	*value_len = (size_t)(stop - *value);
	lines->at = stop + 1;
	return true;
}

bool
lines_take_number(struct lines *lines, const char *key, uint64_t *out)
{
	struct lines before = *lines;
	const char *digits;
	uint64_t n = 0;
	size_t len;

	if (!lines_take(lines, key, &digits, &len))
		return false;
	if (len == 0 || (digits[0] == '0' && len > 1))
		goto refuse;
	for (size_t i = 0; i < len; i++) {
		if (digits[i] < '0' || digits[i] > '9')
			goto refuse;
		if (__builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(digits[i] - '0'), &n))
			goto refuse;
	}
	*out = n;
	return true;
refuse:
	*lines = before;
	return false;
}

bool
lines_take_hex(struct lines *lines, const char *key, uint8_t *out, size_t len)
{
	struct lines before = *lines;
	const char *hex;
	size_t hex_len;

	if (lines_take(lines, key, &hex, &hex_len) && decode_hex(out, len, hex, hex_len))
		return true;
	*lines = before;
	return false;
}

bool
lines_done(const struct lines *lines)
{
	return lines->at == lines->end;
}

int
lines_put(struct buf *out, const char *key, const char *value)
{
	size_t key_len = strlen(key), value_len = value != NULL ? strlen(value) : 0;
	int rc;

	rc = buf_reserve(out, key_len + value_len + 2);
	if (rc < 0)
		return rc;
	/* the room is there: from here on nothing fails */
	rc = buf_append(out, key, key_len);
	if (rc == 0 && value != NULL) {
		rc = buf_append_u8(out, ' ');
		if (rc == 0)
			rc = buf_append(out, value, value_len);
	}
	return rc == 0 ? buf_append_u8(out, '\n') : rc;
}

int
lines_put_number(struct buf *out, const char *key, uint64_t value)
{
	char digits[24];

	snprintf(digits, sizeof digits, "%llu", (unsigned long long)value);
	return lines_put(out, key, digits);
}

int
lines_put_hex(struct buf *out, const char *key, const uint8_t *bytes, size_t len)
{
	char hex[2 * LARDER_ID_LEN + 1];

	if (len > LARDER_ID_LEN)
		return LARDER_ERR_LIMIT;
	hex_encode(hex, bytes, len);
	return lines_put(out, key, hex);
}

int
lines_seal(struct buf *out)
{
	struct larder_id digest;

	sha256(&digest, out->data, out->len);
	return lines_put_hex(out, "sha256", digest.bytes, sizeof digest.bytes);
}
