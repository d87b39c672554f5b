#include "cli/opt.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cmd.h"

/* ---- values ---- */

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Leading digits as a number; *end is what follows. False: none, or too many. */
static bool
read_digits(uint64_t *out, const char *text, const char **end)
{
	uint64_t n = 0;

	if (!is_digit(*text))
		return false;
	for (; is_digit(*text); text++) {
		uint64_t digit = (uint64_t)(*text - '0');

		if (n > (UINT64_MAX - digit) / 10)
			return false;
		n = n * 10 + digit;
	}
	*out = n;
	*end = text;
	return true;
}

int
opt_parse_count(uint64_t *out, const char *text, struct larder_err *err)
{
	const char *end;

	if (!read_digits(out, text, &end) || *end != '\0' || *out == 0 || *out > UINT_MAX)
		return usage_set(err, "'%s' is not a count from 1 on", text);
	return LARDER_OK;
}

int
opt_parse_size(uint64_t *out, const char *text, struct larder_err *err)
{
	static const char letters[] = "KMGT";
	const char *end, *letter;
	uint64_t n;
	unsigned shift = 0;

	if (!read_digits(&n, text, &end))
		goto wrong;
	if (*end != '\0') {
		letter = strchr(letters, *end);
		if (letter == NULL || end[1] != '\0')
			goto wrong;
		shift = 10 * (unsigned)(letter - letters + 1);
	}
	if (n > UINT64_MAX >> shift)
		goto wrong;
	*out = n << shift;
	return LARDER_OK;
wrong:
	return usage_set(err, "'%s' is not a SIZE such as 4096, 16K or 2G", text);
}

int
opt_parse_age(int64_t *out_ns, const char *text, struct larder_err *err)
{
	static const struct {
		char letter;
		uint64_t seconds;
	} units[] = {
		{ 's', 1 },
		{ 'm', 60 },
		{ 'h', 3600 },
		{ 'd', 86400 },
		{ 'w', 7 * 86400 },
		{ 'y', 365 * 86400 },
	};
	const char *end;
	uint64_t n;

	if (read_digits(&n, text, &end) && *end != '\0' && end[1] == '\0') {
		for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
			if (*end != units[i].letter)
				continue;
			if (n > INT64_MAX / 1000000000 / units[i].seconds)
				break;
			*out_ns = (int64_t)(n * units[i].seconds * 1000000000);
			return LARDER_OK;
		}
	}
	return usage_set(err, "'%s' is not an AGE such as 90d, 12h or 0s", text);
}

/* Exactly `count` digits. */
static bool
read_fixed(int *out, const char **text, int count)
{
	int n = 0;

	for (int i = 0; i < count; i++, (*text)++) {
		if (!is_digit(**text))
			return false;
		n = n * 10 + (**text - '0');
	}
	*out = n;
	return true;
}

static bool
read_char(const char **text, const char *one_of)
{
	if (**text == '\0' || strchr(one_of, **text) == NULL)
		return false;
	(*text)++;
	return true;
}

/* "Z" or "+hh:mm", as seconds east of Greenwich. */
static bool
read_zone(int *out_s, const char **text)
{
	int hours, minutes, sign;

	*out_s = 0;
	if (read_char(text, "Zz"))
		return true;
	sign = **text == '-' ? -1 : 1;
	if (!read_char(text, "+-") || !read_fixed(&hours, text, 2) || !read_char(text, ":") ||
	    !read_fixed(&minutes, text, 2) || hours > 23 || minutes > 59)
		return false;
	*out_s = sign * (hours * 3600 + minutes * 60);
	return true;
}

/* "T18:00:00.5+01:00" */
static bool
read_clock(struct tm *tm, int64_t *fraction_ns, int *zone_s, const char **text)
{
	if (!read_char(text, "Tt ") || !read_fixed(&tm->tm_hour, text, 2) ||
	    !read_char(text, ":") || !read_fixed(&tm->tm_min, text, 2) || !read_char(text, ":") ||
	    !read_fixed(&tm->tm_sec, text, 2))
		return false;
	if (tm->tm_hour > 23 || tm->tm_min > 59 || tm->tm_sec > 60)
		return false;
	if (read_char(text, ".")) {
		int64_t unit = 100000000;

		if (!is_digit(**text))
			return false;
		for (; is_digit(**text); (*text)++, unit /= 10)
			*fraction_ns += unit * (**text - '0');
	}
	return read_zone(zone_s, text);
}

static bool
read_time(int64_t *out_ns, const char *text)
{
	struct tm tm = { 0 }, back;
	int64_t fraction_ns = 0;
	int zone_s = 0;
	time_t seconds;

	if (!read_fixed(&tm.tm_year, &text, 4) || !read_char(&text, "-") ||
	    !read_fixed(&tm.tm_mon, &text, 2) || !read_char(&text, "-") ||
	    !read_fixed(&tm.tm_mday, &text, 2))
		return false;
	if (*text != '\0' && !read_clock(&tm, &fraction_ns, &zone_s, &text))
		return false;
	/* What 64 bits of nanoseconds hold. */
	if (*text != '\0' || tm.tm_year < 1678 || tm.tm_year > 2261)
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	back = tm;
	seconds = timegm(&back);
	/* The 30th of February would come back as a day in March; a leap second may. */
	if (tm.tm_sec < 60 && (back.tm_mday != tm.tm_mday || back.tm_mon != tm.tm_mon))
		return false;
	*out_ns = ((int64_t)seconds - zone_s) * 1000000000 + fraction_ns;
	return true;
}

int
opt_parse_time(int64_t *out_ns, const char *text, int64_t now_ns, struct larder_err *err)
{
	int64_t age_ns;

	if (read_time(out_ns, text))
		return LARDER_OK;
	if (opt_parse_age(&age_ns, text, NULL) < 0)
		return usage_set(err,
		    "'%s' is not a TIME such as 2026-11-20, 2026-11-20T18:00:00Z or 90d (before "
		    "now)",
		    text);
	*out_ns = now_ns - age_ns;
	return LARDER_OK;
}

int
opt_parse_percent(double *out, const char *text, struct larder_err *err)
{
	char *end;

	if (is_digit(*text)) {
		*out = strtod(text, &end);
		if (*end == '%')
			end++;
		if (*end == '\0' && *out > 0 && *out <= 100)
			return LARDER_OK;
	}
	return usage_set(err, "'%s' is not a PERCENT above 0 and up to 100", text);
}

static int
hex_digit(char c)
{
	if (is_digit(c))
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int
opt_parse_id(struct larder_id *out, const char *text, struct larder_err *err)
{
	if (strlen(text) != 2 * LARDER_ID_LEN)
		goto wrong;
	for (size_t i = 0; i < LARDER_ID_LEN; i++) {
		int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			goto wrong;
		out->bytes[i] = (uint8_t)(high * 16 + low);
	}
	return LARDER_OK;
wrong:
	return usage_set(err, "'%s' is not an id of %d hex digits", text, 2 * LARDER_ID_LEN);
}

int
opt_parse_choice(const char *text, const char *choices, struct larder_err *err)
{
	size_t len = strlen(text);

	for (const char *word = choices; len > 0 && *word != '\0';) {
		size_t word_len = strcspn(word, "|");

		if (word_len == len && memcmp(word, text, len) == 0)
			return LARDER_OK;
		word += word_len + (word[word_len] == '|');
	}
	return usage_set(err, "'%s' is not one of %s", text, choices);
}

/* A name's last component ends in '@' and digits: it would read as a version. */
static bool
ends_in_version(const char *name)
{
	const char *at = strrchr(name, '@');

	return at != NULL && at[1] != '\0' && at[1 + strspn(at + 1, "0123456789")] == '\0';
}

int
opt_check_name(const char *name, struct larder_err *err)
{
	enum { NAME_LEN_MAX = 1024 }; /* CLI.md; the library has it in limits.h */
	size_t len = strlen(name);
	const char *wrong = NULL;

	if (len == 0)
		wrong = "is empty";
	else if (len > NAME_LEN_MAX)
		wrong = "is longer than 1,024 bytes";
	else if (name[0] == '/' || name[len - 1] == '/')
		wrong = "begins or ends with '/'";
	else if (strncmp(name, "id:", 3) == 0)
		wrong = "begins with 'id:', which means an object";
	else if (ends_in_version(name))
		wrong = "ends in '@' and digits, which means a version";

	for (const char *part = name; wrong == NULL && *part != '\0';) {
		size_t part_len = strcspn(part, "/");

		if (part_len == 0)
			wrong = "has an empty component ('//' means a path inside)";
		else if ((part_len == 1 && part[0] == '.') ||
			 (part_len == 2 && memcmp(part, "..", 2) == 0))
			wrong = "has a component '.' or '..'";
		part += part_len + (part[part_len] == '/');
	}
	if (wrong == NULL)
		return LARDER_OK;
	usage_set(err, "name '%.200s': %s", name, wrong);
	usage_hint(err, "a NAME is a key such as backups/home");
	return LARDER_ERR_USAGE;
}

/* ---- the command line ---- */

unsigned
opt_distance(const char *a, const char *b)
{
	enum { MOST = 32 };
	unsigned row[MOST + 1], above[MOST + 1];
	size_t a_len = strlen(a), b_len = strlen(b);

	if (a_len > MOST || b_len > MOST)
		return UINT_MAX;
	for (size_t j = 0; j <= b_len; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; i <= a_len; i++) {
		memcpy(above, row, sizeof above);
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= b_len; j++) {
			unsigned best = above[j - 1] + (a[i - 1] != b[j - 1]);

			if (above[j] + 1 < best)
				best = above[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[b_len];
}

static const struct opt *
find_long(const struct opt *table, const char *name, size_t len)
{
	for (; table != NULL && table->name != NULL; table++)
		if (strlen(table->name) == len && memcmp(table->name, name, len) == 0)
			return table;
	return NULL;
}

static const struct opt *
find_letter(const struct opt *table, char letter)
{
	for (; table != NULL && table->name != NULL; table++)
		if (table->letter == letter)
			return table;
	return NULL;
}

static int
unknown_long(const char *word, size_t len, const struct opt *globals, const struct opt *options,
    struct larder_err *err)
{
	const struct opt *tables[] = { options, globals };
	const char *nearest = NULL;
	unsigned best = 4; /* three edits are still a slip */
	char name[100];

	snprintf(name, sizeof name, "%.*s", (int)(len < sizeof name ? len : sizeof name - 1), word);
	for (size_t i = 0; i < 2; i++) {
		for (const struct opt *o = tables[i]; o != NULL && o->name != NULL; o++) {
			unsigned d = o->help == NULL ? UINT_MAX : opt_distance(name, o->name);

			if (d < best && d < strlen(o->name)) {
				best = d;
				nearest = o->name;
			}
		}
	}
	usage_set(err, "unknown option '--%s'", name);
	if (nearest != NULL)
		usage_hint(err, "did you mean --%s?", nearest);
	return LARDER_ERR_USAGE;
}

static int64_t
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int
read_value(struct opt_given *given, struct larder_err *err)
{
	const struct opt *opt = given->opt;
	struct larder_err why = { 0 };
	const char *equals;
	int rc = LARDER_OK;

	if (opt->kind == OPT_FLAG || opt->kind == OPT_LATER)
		return LARDER_OK;
	assert(given->text != NULL);
	switch (opt->kind) {
	case OPT_COUNT:
		rc = opt_parse_count(&given->value.number, given->text, &why);
		break;
	case OPT_SIZE:
		rc = opt_parse_size(&given->value.number, given->text, &why);
		break;
	case OPT_TIME:
		rc = opt_parse_time(&given->value.time_ns, given->text, now_ns(), &why);
		break;
	case OPT_PERCENT:
		rc = opt_parse_percent(&given->value.percent, given->text, &why);
		break;
	case OPT_ID:
		rc = opt_parse_id(&given->value.id, given->text, &why);
		break;
	case OPT_CHOICE:
		rc = opt_parse_choice(given->text, opt->value, &why);
		break;
	case OPT_PAIR:
		equals = strchr(given->text, '=');
		if (equals == NULL || equals == given->text)
			rc = usage_set(&why, "'%s' is not %s", given->text, opt->value);
		break;
	case OPT_TEXT:
	case OPT_FILE:
		if (given->text[0] == '\0')
			rc = usage_set(&why, "the value is empty");
		break;
	case OPT_FLAG:
	case OPT_LATER:
		break;
	}
	if (rc < 0)
		return usage_set(err, "option --%s: %s", opt->name, why.message);
	return LARDER_OK;
}

static int
no_memory(struct larder_err *err)
{
	usage_set(err, "out of memory");
	if (err != NULL)
		err->status = LARDER_ERR_NOMEM;
	return LARDER_ERR_NOMEM;
}

/* One option. `value` is NULL, or stands in the same word. */
static int
take(struct opts *out, const struct opt *opt, const char *value, int argc, char *argv[], int *at,
    struct larder_err *err)
{
	struct opt_given *given;

	if (opt->kind == OPT_LATER) {
		usage_set(err, "option --%s: not in this version", opt->name);
		usage_hint(err, "leave it out");
		return LARDER_ERR_USAGE;
	}
	if (opt->kind == OPT_FLAG) {
		if (value != NULL)
			return usage_set(err, "option --%s takes no value", opt->name);
	} else if (value == NULL) {
		if (*at + 1 >= argc)
			return usage_set(
			    err, "option --%s needs a value: %s", opt->name, opt->value);
		value = argv[++*at];
	}
	/* Room for one more, doubled whenever the count is a power of two. */
	if ((out->count & (out->count - 1)) == 0) {
		given = realloc(out->given, (out->count * 2 + 1) * sizeof *given);
		if (given == NULL)
			return no_memory(err);
		out->given = given;
	}
	given = &out->given[out->count];
	given->opt = opt;
	given->text = value;
	if (read_value(given, err) < 0)
		return LARDER_ERR_USAGE;
	out->count++;
	return LARDER_OK;
}

static int
take_long(struct opts *out, const char *word, int argc, char *argv[], int *at,
    const struct opt *globals, const struct opt *options, struct larder_err *err)
{
	size_t len = strcspn(word, "=");
	const struct opt *opt = find_long(options, word, len);

	if (opt == NULL)
		opt = find_long(globals, word, len);
	if (opt == NULL)
		return unknown_long(word, len, globals, options, err);
	return take(out, opt, word[len] == '=' ? word + len + 1 : NULL, argc, argv, at, err);
}

/* "-lR", "-j4", "-j 4" */
static int
take_letters(struct opts *out, const char *letters, int argc, char *argv[], int *at,
    const struct opt *globals, const struct opt *options, struct larder_err *err)
{
	for (; *letters != '\0'; letters++) {
		const struct opt *opt = find_letter(options, *letters);
		const char *value = NULL;
		int rc;

		if (opt == NULL)
			opt = find_letter(globals, *letters);
		if (opt == NULL)
			return usage_set(err, "unknown option '-%c'", *letters);
		if (opt->kind != OPT_FLAG && letters[1] != '\0') {
			value = letters + 1;
			letters += strlen(letters) - 1;
		}
		rc = take(out, opt, value, argc, argv, at, err);
		if (rc < 0)
			return rc;
	}
	return LARDER_OK;
}

int
opts_parse(struct opts *out, int argc, char *argv[], int *at, bool first_only,
    const struct opt *globals, const struct opt *options, struct larder_err *err)
{
	bool words_only = false;

	if (out->operands == NULL) {
		out->operands = calloc((size_t)argc + 1, sizeof *out->operands);
		if (out->operands == NULL)
			return no_memory(err);
	}

	for (; *at < argc; (*at)++) {
		char *word = argv[*at];
		int rc = LARDER_OK;

		if (words_only || word[0] != '-' || word[1] == '\0') {
			if (first_only)
				return LARDER_OK;
			out->operands[out->operand_count++] = word;
		} else if (strcmp(word, "--") == 0) {
			words_only = true;
		} else if (word[1] == '-') {
			rc = take_long(out, word + 2, argc, argv, at, globals, options, err);
		} else {
			rc = take_letters(out, word + 1, argc, argv, at, globals, options, err);
		}
		if (rc < 0)
			return rc;
	}
	return LARDER_OK;
}

void
opts_release(struct opts *opts)
{
	free(opts->given);
	free(opts->operands);
	memset(opts, 0, sizeof *opts);
}

const struct opt_given *
opts_find(const struct opts *opts, const char *name)
{
	for (size_t i = opts->count; i > 0; i--)
		if (strcmp(opts->given[i - 1].opt->name, name) == 0)
			return &opts->given[i - 1];
	return NULL;
}

bool
opts_has(const struct opts *opts, const char *name)
{
	return opts_find(opts, name) != NULL;
}

const char *
opts_text(const struct opts *opts, const char *name)
{
	const struct opt_given *given = opts_find(opts, name);

	return given == NULL ? NULL : given->text;
}

size_t
opts_count(const struct opts *opts, const char *name)
{
	size_t n = 0;

	for (size_t i = 0; i < opts->count; i++)
		n += strcmp(opts->given[i].opt->name, name) == 0;
	return n;
}
