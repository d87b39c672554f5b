/*
 * Runs a fuzz target without a fuzzer, as a test that speaks TAP.
 *
 *	fuzz_x [-m N] FILE|DIRECTORY...
 *
 * Each file is one case: the target sees it as it is and then N damaged
 * variants of it, which are the same in every run. The empty input is always
 * among the cases. A crash names the input that it happened with.
 */
#include <dirent.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

#pragma weak LLVMFuzzerInitialize

enum { FILES_MAX = 65536, GROWTH_MAX = 64 };

static char **files;
static size_t files_count;
static char current[4352]; /* written before each run, read by the signal handler */

static void
die(const char *what)
{
	perror(what);
	exit(2);
}

static void
say_where(int number)
{
	const char *parts[] = { "\n# crashed with ", current, "\n" };

	for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
		if (write(STDERR_FILENO, parts[i], strlen(parts[i])) < 0)
			break;
	signal(number, SIG_DFL);
	raise(number);
}

static void
collect(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		die(path);
	if (S_ISDIR(st.st_mode)) {
		struct dirent **entries;
		int n = scandir(path, &entries, NULL, alphasort);

		if (n < 0)
			die(path);
		for (int i = 0; i < n; i++) {
			char child[4096];

			if (entries[i]->d_name[0] != '.') {
				snprintf(child, sizeof child, "%s/%s", path, entries[i]->d_name);
				collect(child);
			}
			free(entries[i]);
		}
		free(entries);
		return;
	}
	if (files_count == FILES_MAX)
		exit(2);
	files[files_count] = strdup(path);
	if (files[files_count++] == NULL)
		exit(2);
}

static uint64_t random_state;

static uint32_t
draw(uint32_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)((random_state >> 16) % below);
}

/* One small change: a bit, a byte, a cut, a repetition or a few more bytes. */
static size_t
damage(uint8_t *data, size_t len, size_t room)
{
	static const uint8_t edges[] = { 0, 1, 0x7f, 0x80, 0xff, 0xfe, 0x10, 0x40 };
	uint32_t at = len > 0 ? draw((uint32_t)len) : 0, n;

	switch (draw(6)) {
	case 0:
		if (len > 0)
			data[at] ^= (uint8_t)(1u << draw(8));
		return len;
	case 1:
		if (len > 0)
			data[at] = edges[draw(sizeof edges)];
		return len;
	case 2:
		return at; /* cut short */
	case 3: /* take some out of the middle */
		if (len == 0)
			return 0;
		n = 1 + draw((uint32_t)(len - at));
		memmove(data + at, data + at + n, len - at - n);
		return len - n;
	case 4: /* say some of it twice */
		if (len == 0)
			return 0;
		n = 1 + draw((uint32_t)(len - at < 16 ? len - at : 16));
		if (len + n > room)
			return len;
		memmove(data + at + n, data + at, len - at);
		return len + n;
	default:
		n = 1 + draw(8);
		while (n-- > 0 && len < room)
			data[len++] = (uint8_t)draw(256);
		return len;
	}
}

/* The target gets exactly as many bytes as the input has, so that a sanitizer sees one too many. */
static void
run(const uint8_t *data, size_t len)
{
	uint8_t *exact = malloc(len > 0 ? len : 1);

	if (exact == NULL)
		exit(2);
	if (len > 0)
		memcpy(exact, data, len);
	LLVMFuzzerTestOneInput(exact, len);
	free(exact);
}

static void
run_variants(const char *name, const uint8_t *data, size_t len, unsigned variants)
{
	uint8_t *copy = malloc(len + GROWTH_MAX);

	if (copy == NULL)
		exit(2);
	snprintf(current, sizeof current, "%s", name);
	run(data, len);
	random_state = 0x2545f4914f6cdd1du ^ len;
	for (unsigned i = 0; i < variants; i++) {
		size_t n = len;

		if (len > 0)
			memcpy(copy, data, len);
		for (uint32_t changes = 1 + draw(4); changes > 0; changes--)
			n = damage(copy, n, len + GROWTH_MAX);
		snprintf(current, sizeof current, "%s, variant %u", name, i);
		run(copy, n);
	}
	free(copy);
}

static void
run_file(const char *path, unsigned variants)
{
	FILE *f = fopen(path, "rb");
	struct stat st;
	uint8_t *data;

	if (f == NULL || fstat(fileno(f), &st) < 0)
		die(path);
	data = malloc((size_t)st.st_size + 1);
	if (data == NULL || fread(data, 1, (size_t)st.st_size, f) != (size_t)st.st_size)
		die(path);
	fclose(f);
	run_variants(path, data, (size_t)st.st_size, variants);
	free(data);
}

int
main(int argc, char *argv[])
{
	static const int deadly[] = { SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL };
	unsigned variants = 0;
	int option;

	if (LLVMFuzzerInitialize)
		LLVMFuzzerInitialize(&argc, &argv);
	while ((option = getopt(argc, argv, "m:")) != -1) {
		if (option != 'm')
			return 2;
		variants = (unsigned)strtoul(optarg, NULL, 10);
	}
	files = calloc(FILES_MAX, sizeof *files);
	if (files == NULL)
		return 2;
	for (int i = optind; i < argc; i++)
		collect(argv[i]);
	for (size_t i = 0; i < sizeof deadly / sizeof deadly[0]; i++)
		signal(deadly[i], say_where);

	printf("1..%zu\n", files_count + 1);
	run_variants("the empty input", (const uint8_t *)"", 0, variants);
	printf("ok 1 - the empty input\n");
	for (size_t i = 0; i < files_count; i++) {
		fflush(stdout);
		run_file(files[i], variants);
		printf("ok %zu - %s\n", i + 2, files[i]);
		free(files[i]);
	}
	free(files);
	return 0;
}
