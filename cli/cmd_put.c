#include "cli/cmd.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/out.h"

enum { GLOB_FILE_MAX = 1024 * 1024, GLOBS_MAX = 64 * 1024 };

/* Lists that larder_put() borrows. */
struct lists {
	const char **globs;
	size_t glob_count, glob_cap;
	struct larder_tag *tags;
	char **texts; /* what the two point into */
	size_t text_count, text_cap;
};

static void
lists_release(struct lists *lists)
{
	for (size_t i = 0; i < lists->text_count; i++)
		free(lists->texts[i]);
	free(lists->texts);
	free(lists->globs);
	free(lists->tags);
}

/* Room for one more in an array of pointers. */
static bool
grow(void **array, size_t count, size_t *cap, size_t each)
{
	void *bigger;

	if (count < *cap)
		return true;
	*cap = *cap * 2 + 16;
	bigger = realloc(*array, *cap * each);
	if (bigger != NULL)
		*array = bigger;
	return bigger != NULL;
}

static bool
keep_text(struct lists *lists, char *text)
{
	void *array = lists->texts;

	if (text == NULL ||
	    !grow(&array, lists->text_count, &lists->text_cap, sizeof *lists->texts)) {
		free(text);
		return false;
	}
	lists->texts = array;
	lists->texts[lists->text_count++] = text;
	return true;
}

static int
add_glob(struct lists *lists, const char *glob, struct larder_err *err)
{
	void *array = lists->globs;

	if (lists->glob_count == GLOBS_MAX)
		return usage_set(err, "more than %d globs to exclude", GLOBS_MAX);
	if (!grow(&array, lists->glob_count, &lists->glob_cap, sizeof *lists->globs))
		return usage_set(err, "out of memory");
	lists->globs = array;
	lists->globs[lists->glob_count++] = glob;
	return LARDER_OK;
}

static int
read_globs(struct lists *lists, const char *path, struct larder_err *err)
{
	FILE *file = fopen(path, "re");
	char *text = NULL;
	size_t len = 0;
	int rc = LARDER_OK;

	if (file == NULL)
		return usage_set(err, "option --exclude-from: %.200s: %s", path, strerror(errno));
	text = malloc(GLOB_FILE_MAX + 1);
	if (text != NULL) {
		len = fread(text, 1, GLOB_FILE_MAX + 1, file);
		if (ferror(file))
			rc = usage_set(
			    err, "option --exclude-from: %.200s: %s", path, strerror(errno));
		else if (len > GLOB_FILE_MAX)
			rc = usage_set(
			    err, "option --exclude-from: %.200s: longer than 1 MiB", path);
		else
			text[len] = '\0';
	}
	fclose(file);
	if (rc < 0) {
		free(text);
		return rc;
	}
	if (!keep_text(lists, text))
		return usage_set(err, "out of memory");

	while (text != NULL && rc == LARDER_OK) {
		char *line = text;

		text = strchr(text, '\n');
		if (text != NULL)
			*text++ = '\0';
		line[strcspn(line, "\r")] = '\0';
		if (line[0] != '\0' && line[0] != '#')
			rc = add_glob(lists, line, err);
	}
	return rc;
}

static int
add_tag(struct lists *lists, const char *pair, struct larder_tag *tag, struct larder_err *err)
{
	char *copy = strdup(pair), *equals;

	if (copy == NULL || !keep_text(lists, copy))
		return usage_set(err, "out of memory");
	equals = strchr(copy, '=');
	assert(equals != NULL); /* opt.c has seen to it */
	*equals = '\0';
	tag->key = copy;
	tag->value = equals + 1;
	return LARDER_OK;
}

/* The options as the library wants them. */
static int
gather(struct larder_put_options *out, struct lists *lists, const struct opts *opts,
    struct larder_err *err)
{
	int rc = LARDER_OK;

	lists->tags = calloc(opts->count + 1, sizeof *lists->tags);
	if (lists->tags == NULL)
		return usage_set(err, "out of memory");
	for (size_t i = 0; i < opts->count && rc == LARDER_OK; i++) {
		const struct opt_given *given = &opts->given[i];

		if (strcmp(given->opt->name, "exclude") == 0)
			rc = add_glob(lists, given->text, err);
		else if (strcmp(given->opt->name, "exclude-from") == 0)
			rc = read_globs(lists, given->text, err);
		else if (strcmp(given->opt->name, "tag") == 0)
			rc = add_tag(lists, given->text, &lists->tags[out->tag_count++], err);
	}
	out->exclude = lists->globs;
	out->exclude_count = lists->glob_count;
	out->tags = lists->tags;
	out->one_file_system = opts_has(opts, "one-file-system");
	out->opaque = opts_has(opts, "opaque");
	out->sha256 = opts_has(opts, "sha256");
	out->dry_run = opts_has(opts, "dry-run");
	return rc;
}

/*
 * What would fail anyway must fail before a store is made for it: a mistake
 * changes nothing.
 */
static int
look_first(const char *name, const char *path, struct larder_err *err)
{
	struct stat st;
	int error;

	if (opt_check_name(name, err) < 0)
		return LARDER_ERR_USAGE;
	if (strcmp(path, "-") == 0 || lstat(path, &st) == 0)
		return LARDER_OK;
	error = errno;
	usage_set(err, "%.200s: %s", path, strerror(error));
	usage_hint(err, "nothing was stored");
	err->sys_errno = error;
	if (error == ENOENT || error == ENOTDIR)
		return LARDER_ERR_NOT_FOUND;
	return error == EACCES ? LARDER_ERR_REFUSED : LARDER_ERR_IO;
}

static void
print_json(const struct cli *cli, const char *name, const struct larder_put_result *r,
    double took_s, enum cli_exit code)
{
	out_done(code);
	out_text("name", name);
	out_number("version", r->version);
	out_id("id", &r->id);
	out_text("kind", cli_kind_name(r->kind));
	out_number("bytes", r->bytes);
	out_number("new_bytes", r->new_bytes);
	out_number("stored_bytes", r->stored_bytes);
	out_number("files", r->files);
	out_bool("unchanged", r->unchanged);
	out_id("sha256", r->has_sha256 ? &r->sha256 : NULL);
	out_real("seconds", took_s);
	out_number("skipped", r->skipped);
	if (opts_has(&cli->opts, "dry-run"))
		out_bool("dry_run", true);
	out_end();
}

static void
print_text(
    const struct cli *cli, const char *name, const struct larder_put_result *r, double took_s)
{
	char a[OUT_WORD], b[OUT_WORD], c[OUT_WORD], d[OUT_WORD], e[OUT_WORD];
	bool dry_run = opts_has(&cli->opts, "dry-run");

	if (cli->quiet)
		return;
	out_name(name);
	out_print("@%llu: ", (unsigned long long)r->version);
	if (r->unchanged)
		out_print("unchanged, ");
	else if (dry_run)
		out_print("would be new, ");
	out_print("%s in %s %s", out_word_bytes(a, r->bytes), out_word_count(b, r->files),
	    r->files == 1 ? "file" : "files");
	if (!r->unchanged)
		out_print(", new %s, %s %s", out_word_bytes(c, r->new_bytes),
		    dry_run ? "to store" : "stored", out_word_bytes(d, r->stored_bytes));
	out_print(", %.2f s (%s)\n", took_s, out_word_rate(e, r->bytes, took_s));
}

enum cli_exit
cmd_put(struct cli *cli, int argc, char *argv[])
{
	struct larder_open_options open = LARDER_OPEN_OPTIONS_INIT;
	struct larder_put_options options = LARDER_PUT_OPTIONS_INIT;
	struct larder_put_result result = { 0 };
	struct lists lists = { 0 };
	const char *name = argv[0], *path = argv[1];
	double begun_s = cli_seconds(), took_s;
	enum cli_exit code;
	int rc;

	(void)argc;
	rc = gather(&options, &lists, &cli->opts, &cli->err);
	if (rc == LARDER_OK)
		rc = look_first(name, path, &cli->err);
	if (rc < 0)
		goto out;
	open.create = !options.dry_run;
	rc = cli_open(cli, &open);
	if (rc < 0)
		goto out;

	options.watch = cli_watch(cli);
	if (strcmp(path, "-") == 0)
		rc = larder_put_fd(cli->store, name, 0, &options, &result, &cli->err);
	else
		rc = larder_put(cli->store, name, path, &options, &result, &cli->err);
	took_s = cli_seconds() - begun_s;
	out_progress(NULL);
	if (rc == LARDER_OK || rc == LARDER_ERR_PARTIAL) {
		code = cli_exit_of(rc);
		print_json(cli, name, &result, took_s, code);
		print_text(cli, name, &result, took_s);
		lists_release(&lists);
		return code;
	}
out:
	lists_release(&lists);
	/* An input beyond a limit is an input that was refused (CLI.md, exit 5). */
	return cli_fail_as(cli, rc, rc == LARDER_ERR_LIMIT ? CLI_PARTIAL : cli_exit_of(rc));
}
