#ifndef LARDER_LIMITS_H
#define LARDER_LIMITS_H

/* Every limit of the project: name, unit, why. What a user can meet is in the README too. */

#define KIB (1024u)
#define MIB (1024u * 1024u)
#define GIB (1024ull * 1024 * 1024)

enum {
	/* a whole file up to this is one chunk, whose id is the file's SHA-256: 93 % of
	 * cookbook files fit */
	SMALL_FILE_MAX = 64 * 1024,
	/* plain bytes of one chunk: four times the largest mean, so one id costs little to fetch */
	CHUNK_MAX = 1024 * 1024,
	/* plain bytes of one segment: what a single read may have to decode (about 4 ms) */
	PACK_PLAIN_MAX = 8 * 1024 * 1024,
	/* delta segments to decode before one chunk is plain */
	PACK_DEPTH_MAX = 8,
	/* a pack is closed at this size: one S3 PUT */
	PACK_TARGET = 16 * 1024 * 1024,
	/* a pack's file: offsets in the index are 32 bits */
	PACK_FILE_MAX = 1024 * 1024 * 1024,
	/* chunks of one pack: bounds its directory in memory */
	PACK_CHUNKS_MAX = 1024 * 1024,
	/* one name: CLI.md */
	NAME_LEN_MAX = 1024,
	/* a path inside a tree, and one component: ARCHIVES.md */
	PATH_LEN_MAX = 4096,
	COMPONENT_LEN_MAX = 255,
	PATH_DEPTH_MAX = 256,
	/* one journal entry's body; a larger one moves into a pack */
	ENTRY_LEN_MAX = 4 * 1024 * 1024,
	/* a journal segment is sealed at this size */
	JOURNAL_SEGMENT_TARGET = 16 * 1024 * 1024,
	/* tags of one version */
	TAGS_MAX = 64,
	TAG_LEN_MAX = 256,
	/* one LMDB value: TRUST.md 4.7 */
	INDEX_VALUE_MAX = 64 * 1024,
	/* changed pages of one LMDB transaction: TRUST.md 4.7 */
	INDEX_DIRTY_PAGES_MAX = 50000,
};

#endif
