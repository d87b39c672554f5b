#ifndef LARDER_PACK_CODEC_H
#define LARDER_PACK_CODEC_H

/*
 * What the room itself asks of the door to zstd, beyond pack_encode and
 * pack_decode: the columns of a directory.
 */
#include "pack/pack.h"

/*
 * Appends the zstd frame of in[0, in_len) if it is smaller and comes back equal:
 * 0. Returns 1 and appends nothing if not.
 */
LARDER_MUST_USE int codec_squeeze(struct buf *out, struct pack_codec *codec, const uint8_t *in,
    size_t in_len, int level, struct larder_err *err);
/* The frame's exactly out_len plain bytes; CORRUPT otherwise. */
LARDER_MUST_USE int codec_unsqueeze(uint8_t *out, size_t out_len, struct pack_codec *codec,
    const uint8_t *in, size_t in_len, struct larder_err *err);

#endif
