/*
 * How fast pack_encode and pack_decode are: deltas of small files, mixed sizes
 * in a row, segments of text, bytes that do not shrink. Encoding includes the
 * decoding and comparing of what was encoded. The last column counts how often
 * a call asked for memory after the first round: it should be 0.
 *
 *   b_codec [milliseconds per figure, default 300] [FILE...]
 *
 * The text is made up, in the manner of cookbooks; files given are used instead.
 */
#include "pack/pack.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cas/sys.h"

enum { TEXT_LEN = 16 << 20, ITEMS_MAX = 4096, EDITS = 4 };

struct item {
	size_t at;
	uint32_t len;
};

static uint8_t *text, *edited, *noise, *plain_out;
static size_t text_len;
static struct item items[ITEMS_MAX];
static size_t items_count;
static double budget_s = 0.3;
static uint64_t seed = 1;
static unsigned long asked; /* for memory */

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static uint64_t
next_random(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

static void *
counting_alloc(size_t size)
{
	asked++;
	return malloc(size);
}

static void *
counting_realloc(void *ptr, size_t size)
{
	asked++;
	return realloc(ptr, size);
}

static void
check(int rc, const struct larder_err *err)
{
	if (rc >= 0)
		return;
	fprintf(stderr, "b_codec: %s\n", err->message);
	exit(1);
}

/* --- What is compressed --------------------------------------------------- */

/* Lines of a few kinds; @ becomes a name of a few hundred, # a number. */
static void
make_up_text(void)
{
	static const char *const lines[] = {
		"package '@' do\n  action :install\n  version node['@']['version']\nend\n\n",
		"template '/etc/@/@.conf' do\n  source '@.conf.erb'\n  mode '0644'\nend\n\n",
		"default['@']['@'] = '#'\n",
		"; @: see @ for why this is # and not #\n",
		"  notifies :restart, 'service[@]', :delayed if node['@']['@'] == #\n",
		"depends '@', '>= #.#'\n",
	};
	static const char *const heads[] = { "ngi", "apa", "post", "my", "redi", "mon", "sys" };
	static const char *const tails[] = { "nx", "che", "gres", "sql", "s", "it", "log", "md" };

	while (text_len + 512 < TEXT_LEN) {
		const char *line = lines[next_random() % 6];

		for (; *line != '\0'; line++) {
			char *out = (char *)text + text_len;

			if (*line == '@')
				text_len +=
				    (size_t)snprintf(out, 64, "%s%s_%u", heads[next_random() % 7],
					tails[next_random() % 8], (unsigned)(next_random() % 8));
			else if (*line == '#')
				text_len += (size_t)snprintf(
				    out, 64, "%u", (unsigned)(next_random() % 10000));
			else
				text[text_len++] = (uint8_t)*line;
		}
	}
}

static void
read_files(int count, char *paths[])
{
	for (int i = 0; i < count; i++) {
		FILE *f = fopen(paths[i], "rb");

		if (f == NULL)
			continue;
		text_len += fread(text + text_len, 1, TEXT_LEN - text_len, f);
		fclose(f);
	}
}

/* `edited` is the next version of each item: a few small insertions. */
static void
edit(void)
{
	memcpy(edited, text, text_len);
	for (size_t i = 0; i < items_count; i++) {
		uint8_t *p = edited + items[i].at;

		for (int e = 0; e < EDITS && items[i].len > 64; e++) {
			const size_t at = next_random() % (items[i].len - 40);

			memmove(p + at + 12, p + at, items[i].len - at - 12);
			for (int k = 0; k < 12; k++)
				p[at + (size_t)k] = (uint8_t)('a' + next_random() % 26);
		}
	}
}

static void
cut(uint32_t least, uint32_t most)
{
	size_t at = 0;

	for (items_count = 0; items_count < ITEMS_MAX; items_count++) {
		const uint32_t len = least + (uint32_t)(next_random() % (most - least + 1));

		if (at + len > text_len)
			break;
		items[items_count] = (struct item){ at, len };
		at += len;
	}
}

/* --- One row ---------------------------------------------------------------- */

enum kind { DELTA, GROUP, NOISE, MIXED };

static size_t
encode(
    struct buf *out, struct pack_codec *codec, const struct item *item, enum kind kind, int level)
{
	static const struct larder_id base_id = { { 1 } };
	struct pack_plain plain = { .data = text + item->at, .len = item->len, .level = level };
	struct larder_err err = { 0 };
	const size_t before = out->len;

	if (kind == NOISE)
		plain.data = noise + item->at;
	if (kind == DELTA || (kind == MIXED && item->len <= 16384)) {
		plain.data = edited + item->at;
		plain.base_id = &base_id;
		plain.base = text + item->at;
		plain.base_len = item->len;
	}
	check(pack_encode(out, codec, &plain, plain.base_id ? item->len / 2 : 0, &err), &err);
	return out->len - before;
}

static void
decode(struct pack_codec *codec, const struct item *item, const uint8_t *bytes, size_t len)
{
	struct pack_segment segment = { 0 };
	struct larder_err err = { 0 };

	segment.plain_len = item->len;
	segment.store_len = (uint32_t)len - PACK_SEGMENT_HEADER_LEN;
	segment.codec = (enum pack_codec_kind)bytes[8];
	check(pack_decode(plain_out, codec, &segment, bytes + PACK_SEGMENT_HEADER_LEN,
		  text + item->at, item->len, &err),
	    &err);
}

static void
measure(const char *name, enum kind kind, int level)
{
	static size_t ats[ITEMS_MAX + 1];
	struct pack_codec *codec;
	struct larder_err err = { 0 };
	struct buf out = { 0 };
	double start, encode_s, decode_s;
	size_t plain = 0, calls = 0, rounds = 0;
	unsigned long asked_before;

	buf_init(&out, (size_t)2 * TEXT_LEN);
	check(pack_codec_open(&codec, &err), &err);
	edit();
	for (size_t i = 0; i < items_count; i++) {
		ats[i] = out.len;
		encode(&out, codec, &items[i], kind, level);
		plain += items[i].len;
	}
	ats[items_count] = out.len;

	asked_before = asked;
	start = now();
	do {
		struct buf one = out;

		one.len = 0;
		for (size_t i = 0; i < items_count; i++)
			encode(&one, codec, &items[i], kind, level);
		calls += items_count;
		rounds++;
		encode_s = now() - start;
	} while (encode_s < budget_s);
	printf("%-34s %2d %9.1f %9.1f %8.2f", name, level, (double)calls / encode_s / 1e3,
	    (double)(plain * rounds) / encode_s / 1e6, (double)plain / (double)out.len);

	rounds = calls = 0;
	start = now();
	do {
		for (size_t i = 0; i < items_count; i++)
			if (ats[i + 1] > ats[i]) /* it was not given up */
				decode(codec, &items[i], out.data + ats[i], ats[i + 1] - ats[i]);
		rounds++;
		decode_s = now() - start;
	} while (decode_s < budget_s);
	printf(" %9.1f %6lu\n", (double)(plain * rounds) / decode_s / 1e6, asked - asked_before);

	buf_release(&out);
	pack_codec_close(codec);
}

int
main(int argc, char *argv[])
{
	const struct larder_sys sys = {
		.size = sizeof sys,
		.mem_alloc = counting_alloc,
		.mem_realloc = counting_realloc,
	};

	larder_sys_set(&sys);
	if (argc > 1)
		budget_s = atof(argv[1]) / 1000;
	text = malloc(TEXT_LEN);
	edited = malloc(TEXT_LEN);
	noise = malloc(TEXT_LEN);
	plain_out = malloc(PACK_PLAIN_MAX);
	if (text == NULL || edited == NULL || noise == NULL || plain_out == NULL)
		return 1;
	if (argc > 2)
		read_files(argc - 2, argv + 2);
	else
		make_up_text();
	for (size_t i = 0; i < TEXT_LEN; i++)
		noise[i] = (uint8_t)(next_random() >> 32);

	printf("%-34s %2s %9s %9s %8s %9s %6s\n", "", "", "k/s", "MB/s", "ratio", "MB/s out",
	    "memory");
	cut(1024, 1024);
	measure("deltas of 1 KiB", DELTA, 3);
	cut(4096, 4096);
	measure("deltas of 4 KiB", DELTA, 1);
	measure("deltas of 4 KiB", DELTA, 3);
	measure("deltas of 4 KiB", DELTA, 9);
	cut(16384, 16384);
	measure("deltas of 16 KiB", DELTA, 3);
	cut(200, 16384);
	measure("deltas of 200 B to 16 KiB", DELTA, 3);
	cut(200, 400000);
	measure("deltas and groups up to 400 KB", MIXED, 3);
	cut(131072, 131072);
	measure("groups of 128 KiB", GROUP, 1);
	measure("groups of 128 KiB", GROUP, 3);
	measure("groups of 128 KiB", GROUP, 9);
	cut(524288, 524288);
	measure("groups of 512 KiB", GROUP, 1);
	measure("groups of 512 KiB", GROUP, 3);
	measure("groups of 512 KiB, as they are", GROUP, 0);
	measure("noise of 512 KiB", NOISE, 3);
	cut(4000, 4000);
	measure("noise of 4000 B", NOISE, 3);
	return 0;
}
