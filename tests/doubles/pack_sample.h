#ifndef TESTS_PACK_SAMPLE_H
#define TESTS_PACK_SAMPLE_H

/*
 * Small packs for tests: made from a seed, and read back by every check there
 * is. Not a double, but used by several tests and fuzz targets like one.
 */
#include "pack/pack.h"

/* tmp/ and packs/ with its folders under root_fd, without syncs. */
void pack_sample_store(int root_fd);

/*
 * Writes and seals one pack of `segments` segments: groups of text, deltas
 * against the chunk before, noise as it is, in turn and of all types. The same
 * seed gives the same content.
 */
struct id16 pack_sample_write(int root_fd, uint64_t seed, unsigned segments);

/*
 * Reads the whole pack as check would: directory, every segment, every chunk
 * decoded (bases are chunks of the same pack) and hashed. 0, or the status of the
 * first thing that is wrong, with its sentence.
 */
int pack_sample_check(struct pack_files *files, const struct id16 *pack, struct larder_err *err);

/* Lines like those of a recipe; the same seed gives the same bytes. */
void pack_sample_text(uint8_t *out, size_t len, uint64_t seed);
void pack_sample_noise(uint8_t *out, size_t len, uint64_t seed);

#endif
