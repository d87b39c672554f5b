/* Ids as hex and back; a random id. */
#include "cas/base/id.h"

#include "cas/base/random.h"

bool
id_is_zero(const struct larder_id *id)
{
	uint8_t all = 0;

	for (size_t i = 0; i < LARDER_ID_LEN; i++)
		all |= id->bytes[i];
	return all == 0;
}

void
hex_encode(char *out, const uint8_t *bytes, size_t len)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < len; i++) {
		out[2 * i] = digits[bytes[i] >> 4];
		out[2 * i + 1] = digits[bytes[i] & 15];
	}
	out[2 * len] = '\0';
}

/* 0 .. 15, or -1 */
static int
digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool
hex_decode(uint8_t *out, size_t len, const char *hex, size_t hex_len)
{
	if (hex_len / 2 != len || hex_len % 2 != 0)
		return false;
	for (size_t i = 0; i < hex_len; i++)
		if (digit(hex[i]) < 0)
			return false;
	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)(digit(hex[2 * i]) << 4 | digit(hex[2 * i + 1]));
	return true;
}

void
id_to_hex(char out[ID_HEX_LEN + 1], const struct larder_id *id)
{
	hex_encode(out, id->bytes, LARDER_ID_LEN);
}

bool
id_from_hex(struct larder_id *out, const char *hex, size_t hex_len)
{
	return hex_decode(out->bytes, LARDER_ID_LEN, hex, hex_len);
}

void
id16_to_hex(char out[ID16_HEX_LEN + 1], const struct id16 *id)
{
	hex_encode(out, id->bytes, ID16_LEN);
}

bool
id16_from_hex(struct id16 *out, const char *hex, size_t hex_len)
{
	return hex_decode(out->bytes, ID16_LEN, hex, hex_len);
}

int
id16_random(struct id16 *out, struct larder_err *err)
{
	return random_bytes(out->bytes, ID16_LEN, err);
}

bool
id_prefix_range(struct larder_id *lowest, struct larder_id *highest, const char *hex,
    size_t hex_len)
{
	struct larder_id low, high;

	if (hex_len < 1 || hex_len > ID_HEX_LEN)
		return false;
	memset(low.bytes, 0x00, LARDER_ID_LEN);
	memset(high.bytes, 0xff, LARDER_ID_LEN);
	for (size_t i = 0; i < hex_len; i++) {
		int value = digit(hex[i]);
		unsigned shift = i % 2 == 0 ? 4 : 0;

		if (value < 0)
			return false;
		low.bytes[i / 2] |= (uint8_t)(value << shift);
		high.bytes[i / 2] &= (uint8_t) ~((15 ^ value) << shift);
	}
	*lowest = low;
	*highest = high;
	return true;
}
