#include "cli/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILE_LEN_MAX = 64 * 1024, PATH_CAP = 4096 };

/* Texts that struct cli points to, for the life of the process. */
static struct {
	char file[FILE_LEN_MAX + 1];
	char store[PATH_CAP], index_dir[PATH_CAP];
} kept;

static const char *
variable(const char *name)
{
	const char *text = getenv(name);

	return text == NULL || text[strspn(text, " \t")] == '\0' ? NULL : text; /* blank: unset */
}

/* "~/x" means the home folder here too, where no shell has been. */
static int
keep_path(char kept_path[PATH_CAP], const char *text, struct larder_err *err)
{
	const char *home = text[0] == '~' && text[1] == '/' ? variable("HOME") : NULL;
	int len;

	if (home != NULL)
		len = snprintf(kept_path, PATH_CAP, "%s%s", home, text + 1);
	else
		len = snprintf(kept_path, PATH_CAP, "%s", text);
	if (len < 0 || len >= PATH_CAP)
		return usage_set(err, "the path is longer than %d bytes", PATH_CAP - 1);
	return LARDER_OK;
}

static int
apply_store(struct cli *cli, const char *text, struct larder_err *err)
{
	cli->store_path = kept.store;
	return keep_path(kept.store, text, err);
}

static int
apply_index_dir(struct cli *cli, const char *text, struct larder_err *err)
{
	cli->index_dir = kept.index_dir;
	return keep_path(kept.index_dir, text, err);
}

static int
apply_jobs(struct cli *cli, const char *text, struct larder_err *err)
{
	uint64_t n;
	int rc = opt_parse_count(&n, text, err);

	if (rc == LARDER_OK)
		cli->jobs = (unsigned)n;
	return rc;
}

static int
apply_color(struct cli *cli, const char *text, struct larder_err *err)
{
	int rc = opt_parse_choice(text, "auto|always|never", err);

	if (rc == LARDER_OK)
		cli->color = text;
	return rc;
}

static int
apply_progress(struct cli *cli, const char *text, struct larder_err *err)
{
	int rc = opt_parse_choice(text, "yes|no", err);

	if (rc == LARDER_OK)
		cli->no_progress = text[0] == 'n';
	return rc;
}

const struct setting settings[] = {
	{ "store", "LARDER_STORE", "store", "DIR", "the store", apply_store },
	{ "index_dir", "LARDER_INDEX_DIR", "index-dir", "DIR", "where its index is",
	    apply_index_dir },
	{ "jobs", "LARDER_JOBS", "jobs", "N", "workers of put, get and check", apply_jobs },
	{ "threads", "LARDER_THREADS", "jobs", "N", "the same", apply_jobs },
	{ "color", "LARDER_COLOR", "color", "auto|always|never", "colour of the output",
	    apply_color },
	{ "progress", "LARDER_PROGRESS", "no-progress", "yes|no", "progress on a terminal",
	    apply_progress },
	{ 0 },
};

/* ---- the file ---- */

/* Whether a setting was given where it wins over the file. */
static bool
is_settled(const struct cli *cli, const struct setting *setting)
{
	if (opts_has(&cli->opts, setting->option))
		return true;
	for (const struct setting *s = settings; s->key != NULL; s++)
		if (strcmp(s->option, setting->option) == 0 && variable(s->variable) != NULL)
			return true;
	return false;
}

static char *
trim(char *text)
{
	size_t len;

	text += strspn(text, " \t\r");
	len = strlen(text);
	while (len > 0 && strchr(" \t\r", text[len - 1]) != NULL)
		len--;
	text[len] = '\0';
	return text;
}

static const struct setting *
setting_named(const char *key)
{
	for (const struct setting *s = settings; s->key != NULL; s++)
		if (strcmp(s->key, key) == 0)
			return s;
	return NULL;
}

static int
unknown_setting(const char *key, struct larder_err *err)
{
	usage_set(err, "unknown setting '%.60s'", key);
	for (const struct setting *s = settings; s->key != NULL; s++)
		if (opt_distance(key, s->key) < 3)
			usage_hint(err, "did you mean '%s'?", s->key);
	return LARDER_ERR_USAGE;
}

static int
apply_line(struct cli *cli, char *line, struct larder_err *err)
{
	const struct setting *setting;
	char *equals, *key, *value;

	line = trim(line);
	if (line[0] == '\0' || line[0] == '#')
		return LARDER_OK;
	equals = strchr(line, '=');
	if (equals == NULL)
		return usage_set(err, "not of the form 'key = value'");
	*equals = '\0';
	key = trim(line);
	value = trim(equals + 1);
	setting = setting_named(key);
	if (setting == NULL)
		return unknown_setting(key, err);
	if (value[0] == '\0' || is_settled(cli, setting))
		return LARDER_OK;
	return setting->apply(cli, value, err);
}

static int
apply_file(struct cli *cli, const char *path, char *text, struct larder_err *err)
{
	unsigned number = 0;

	while (text != NULL) {
		char *end = strchr(text, '\n');
		struct larder_err why = { 0 };

		number++;
		if (end != NULL)
			*end++ = '\0';
		if (apply_line(cli, text, &why) < 0) {
			usage_set(err, "%.200s:%u: %.200s", path, number, why.message);
			usage_hint(err, "%s",
			    why.hint[0] != '\0' ? why.hint : "mend the line or remove it");
			return LARDER_ERR_USAGE;
		}
		text = end;
	}
	return LARDER_OK;
}

/* The whole file into kept.file. A missing one is empty unless it was asked for. */
static int
read_file(const char *path, bool must_exist, struct larder_err *err)
{
	size_t len = 0;
	ssize_t n = 1;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	kept.file[0] = '\0';
	if (fd < 0) {
		if ((errno == ENOENT || errno == ENOTDIR) && !must_exist)
			return LARDER_OK;
		usage_set(err, "settings %.200s: %s", path, strerror(errno));
		usage_hint(err, "make it readable, or name another by LARDER_CONFIG");
		return LARDER_ERR_USAGE;
	}
	while (n > 0 && len <= FILE_LEN_MAX) {
		n = read(fd, kept.file + len, FILE_LEN_MAX + 1 - len);
		if (n < 0 && errno == EINTR)
			n = 1;
		else if (n > 0)
			len += (size_t)n;
	}
	if (n < 0)
		usage_set(err, "settings %.200s: %s", path, strerror(errno));
	close(fd);
	if (n < 0)
		return LARDER_ERR_USAGE;
	if (len > FILE_LEN_MAX || memchr(kept.file, '\0', len) != NULL)
		return usage_set(
		    err, "settings %.200s: not a text of at most %d bytes", path, FILE_LEN_MAX);
	kept.file[len] = '\0';
	return LARDER_OK;
}

/* A folder of the XDG rules: the variable when absolute, else below the home folder. */
static bool
xdg_path(char path[PATH_CAP], const char *name, const char *below_home, const char *rest)
{
	const char *folder = variable(name), *home = variable("HOME");
	int len;

	if (folder != NULL && folder[0] == '/')
		len = snprintf(path, PATH_CAP, "%s/%s", folder, rest);
	else if (home != NULL)
		len = snprintf(path, PATH_CAP, "%s/%s/%s", home, below_home, rest);
	else
		return false;
	return len > 0 && len < PATH_CAP;
}

/* ---- the environment ---- */

static int
apply_environment(struct cli *cli, struct larder_err *err)
{
	for (const struct setting *s = settings; s->key != NULL; s++) {
		struct larder_err why = { 0 };
		const char *text = variable(s->variable);

		if (text == NULL || opts_has(&cli->opts, s->option))
			continue;
		if (s->apply(cli, text, &why) < 0)
			return usage_set(err, "variable %s: %.200s", s->variable, why.message);
	}
	return LARDER_OK;
}

static int
settle_store(struct cli *cli, struct larder_err *err)
{
	if (cli->store_path == NULL) {
		if (!xdg_path(kept.store, "XDG_DATA_HOME", ".local/share", "larder")) {
			usage_set(err, "no store is named, and HOME is not set");
			usage_hint(err, "name one with -S STORE or LARDER_STORE");
			return LARDER_ERR_USAGE;
		}
		cli->store_path = kept.store;
		cli->store_is_default = true;
	}
	if (strstr(cli->store_path, "://") != NULL) {
		usage_set(err, "store %.200s: a store behind a URL is not in this version",
		    cli->store_path);
		usage_hint(err, "name a directory");
		return LARDER_ERR_USAGE;
	}
	return LARDER_OK;
}

int
settings_load(struct cli *cli, struct larder_err *err)
{
	const char *named = variable("LARDER_CONFIG");
	char path[PATH_CAP];
	int rc = LARDER_OK;

	if (named != NULL)
		snprintf(path, sizeof path, "%s", named);
	if (named != NULL || xdg_path(path, "XDG_CONFIG_HOME", ".config", "larder/config")) {
		rc = read_file(path, named != NULL, err);
		if (rc == LARDER_OK)
			rc = apply_file(cli, path, kept.file, err);
	}
	if (rc == LARDER_OK)
		rc = apply_environment(cli, err);
	if (rc == LARDER_OK)
		rc = settle_store(cli, err);
	return rc;
}
