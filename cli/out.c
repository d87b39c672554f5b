#include "cli/out.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

/* Whole lines on their way to a descriptor. */
struct sink {
	int fd;
	int error; /* errno of the first failure; later output is dropped */
	char *data;
	size_t len, cap;
};

enum { SINK_ENOUGH = 64 * 1024 };

/* The process has one stdout and one stderr, so this is one thing too. */
static struct {
	struct sink out, err;
	struct sink *json; /* where JSON goes */
	bool is_json, color;
	enum out_paint painted;
	bool first;          /* no field in this object yet */
	bool progress_is_up; /* a progress line stands on the terminal */
} io = { .out = { .fd = 1 }, .err = { .fd = 2 }, .json = &io.out };

/* ---- bytes ---- */

static void
sink_flush(struct sink *sink)
{
	size_t at = 0;

	while (at < sink->len && sink->error == 0) {
		ssize_t n = write(sink->fd, sink->data + at, sink->len - at);

		if (n >= 0)
			at += (size_t)n;
		else if (errno != EINTR)
			sink->error = errno;
	}
	sink->len = 0;
}

static void
sink_put(struct sink *sink, const char *bytes, size_t len)
{
	if (sink->error != 0)
		return;
	if (len > sink->cap - sink->len) {
		size_t cap = (sink->len + len) * 2 + SINK_ENOUGH;
		char *data = realloc(sink->data, cap);

		if (data == NULL) {
			sink->error = ENOMEM;
			return;
		}
		sink->data = data;
		sink->cap = cap;
	}
	memcpy(sink->data + sink->len, bytes, len);
	sink->len += len;
}

static void
sink_text(struct sink *sink, const char *text)
{
	sink_put(sink, text, strlen(text));
}

static void LARDER_PRINTF(2, 3) sink_format(struct sink *sink, const char *fmt, ...)
{
	char text[512];
	va_list args;
	int len;

	va_start(args, fmt);
	len = vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	assert(len >= 0 && (size_t)len < sizeof text); /* strings from outside go another way */
	sink_put(sink, text, (size_t)len);
}

static void
sink_line_end(struct sink *sink)
{
	sink_put(sink, "\n", 1);
	if (sink->len >= SINK_ENOUGH)
		sink_flush(sink);
}

/* ---- characters ---- */

/* How many bytes the UTF-8 character at `s` has, and which it is; 0 = it is none. */
static size_t
utf8_next(const char *s, uint32_t *out)
{
	static const struct {
		uint8_t mask, lead;
		size_t len;
		uint32_t least;
	} forms[] = {
		{ 0x80, 0x00, 1, 0 },
		{ 0xe0, 0xc0, 2, 0x80 },
		{ 0xf0, 0xe0, 3, 0x800 },
		{ 0xf8, 0xf0, 4, 0x10000 },
	};
	const unsigned char *p = (const unsigned char *)s;

	for (size_t f = 0; f < sizeof forms / sizeof forms[0]; f++) {
		uint32_t c = (uint32_t)(p[0] & (uint8_t)~forms[f].mask);

		if ((p[0] & forms[f].mask) != forms[f].lead)
			continue;
		for (size_t i = 1; i < forms[f].len; i++) {
			if ((p[i] & 0xc0) != 0x80) /* the NUL at the end stops this too */
				return 0;
			c = c << 6 | (p[i] & 0x3f);
		}
		if (c < forms[f].least || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
			return 0;
		*out = c;
		return forms[f].len;
	}
	return 0;
}

static bool
is_utf8(const char *s)
{
	uint32_t c;

	while (*s != '\0') {
		size_t len = utf8_next(s, &c);

		if (len == 0)
			return false;
		s += len;
	}
	return true;
}

/* What moves the cursor, changes the terminal or turns the direction of reading. */
static bool
drives_terminal(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0x200e || c == 0x200f ||
	       (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

/* Text from outside for people's eyes. */
static void
sink_escaped(struct sink *sink, const char *s, bool backslash_too)
{
	while (*s != '\0') {
		uint32_t c = 0;
		size_t len = utf8_next(s, &c);

		if (len == 0 || drives_terminal(c)) {
			if (len == 0)
				len = 1;
			for (size_t i = 0; i < len; i++)
				sink_format(sink, "\\x%02x", (unsigned char)s[i]);
		} else if (c == '\\' && backslash_too) {
			sink_text(sink, "\\\\");
		} else {
			sink_put(sink, s, len);
		}
		s += len;
	}
}

static void
sink_json_string(struct sink *sink, const char *s)
{
	sink_put(sink, "\"", 1);
	while (*s != '\0') {
		uint32_t c = 0;
		size_t len = utf8_next(s, &c);

		if (len == 0) {
			sink_text(sink, "\xef\xbf\xbd"); /* U+FFFD */
			len = 1;
		} else if (c == '"' || c == '\\') {
			sink_format(sink, "\\%c", (int)c);
		} else if (c < 0x20 || c == 0x7f) {
			sink_format(sink, "\\u%04x", (unsigned)c);
		} else {
			sink_put(sink, s, len);
		}
		s += len;
	}
	sink_put(sink, "\"", 1);
}

static void
sink_hex(struct sink *sink, const char *s)
{
	sink_put(sink, "\"", 1);
	for (; *s != '\0'; s++)
		sink_format(sink, "%02x", (unsigned char)*s);
	sink_put(sink, "\"", 1);
}

/* ---- setting up ---- */

void
out_setup(bool json, const char *color)
{
	const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");

	io.is_json = json;
	io.color = false;
	if (json || strcmp(color, "never") == 0)
		return;
	if (strcmp(color, "always") == 0)
		io.color = true;
	else
		io.color = (no_color == NULL || no_color[0] == '\0') && isatty(1) == 1 &&
			   (term == NULL || strcmp(term, "dumb") != 0);
}

bool
out_is_json(void)
{
	return io.is_json;
}

void
out_json_to_stderr(void)
{
	io.json = &io.err;
}

bool
out_json_on_stderr(void)
{
	return io.is_json && io.json == &io.err;
}

/* ---- JSON ---- */

/* The key of the next field; false in text mode. */
static bool
json_key(const char *key, const char *suffix)
{
	if (!io.is_json)
		return false;
	sink_format(io.json, "%s\"%s%s\":", io.first ? "" : ",", key, suffix);
	io.first = false;
	return true;
}

void
out_begin(void)
{
	if (!io.is_json)
		return;
	sink_put(io.json, "{", 1);
	io.first = true;
}

void
out_text(const char *key, const char *value)
{
	if (!json_key(key, ""))
		return;
	if (value == NULL) {
		sink_text(io.json, "null");
		return;
	}
	sink_json_string(io.json, value);
	if (!is_utf8(value)) {
		json_key(key, "_hex");
		sink_hex(io.json, value);
	}
}

void
out_number(const char *key, uint64_t value)
{
	if (json_key(key, ""))
		sink_format(io.json, "%" PRIu64, value);
}

void
out_signed(const char *key, int64_t value)
{
	if (json_key(key, ""))
		sink_format(io.json, "%" PRId64, value);
}

void
out_real(const char *key, double value)
{
	if (json_key(key, ""))
		sink_format(io.json, "%.3f", value);
}

void
out_bool(const char *key, bool value)
{
	if (json_key(key, ""))
		sink_text(io.json, value ? "true" : "false");
}

static bool
is_zero(const struct larder_id *id)
{
	static const struct larder_id zero;

	return memcmp(id, &zero, sizeof zero) == 0;
}

void
out_id(const char *key, const struct larder_id *id)
{
	if (!json_key(key, ""))
		return;
	if (id == NULL || is_zero(id)) {
		sink_text(io.json, "null");
		return;
	}
	sink_put(io.json, "\"", 1);
	for (size_t i = 0; i < LARDER_ID_LEN; i++)
		sink_format(io.json, "%02x", id->bytes[i]);
	sink_put(io.json, "\"", 1);
}

/* Seconds and the nanoseconds after them, also before 1970. */
static int64_t
split_ns(int64_t ns, int64_t *rest)
{
	int64_t seconds = ns / 1000000000;

	*rest = ns % 1000000000;
	if (*rest < 0) {
		*rest += 1000000000;
		seconds--;
	}
	return seconds;
}

void
out_time(const char *key, int64_t ns)
{
	char word[OUT_WORD];
	int64_t rest;

	if (!json_key(key, ""))
		return;
	if (ns == 0) {
		sink_text(io.json, "null");
		return;
	}
	split_ns(ns, &rest);
	out_word_time(word, ns);
	word[strlen(word) - 1] = '\0'; /* the Z comes after the fraction */
	sink_format(io.json, "\"%s.%09" PRId64 "Z\"", word, rest);
}

void
out_list(const char *key, const char *const *values, size_t count)
{
	bool clean = true;

	if (!json_key(key, ""))
		return;
	sink_put(io.json, "[", 1);
	for (size_t i = 0; i < count; i++) {
		if (i > 0)
			sink_put(io.json, ",", 1);
		sink_json_string(io.json, values[i]);
		clean = clean && is_utf8(values[i]);
	}
	sink_put(io.json, "]", 1);
	if (clean)
		return;
	json_key(key, "_hex");
	sink_put(io.json, "[", 1);
	for (size_t i = 0; i < count; i++) {
		if (i > 0)
			sink_put(io.json, ",", 1);
		sink_hex(io.json, values[i]);
	}
	sink_put(io.json, "]", 1);
}

void
out_tags(const char *key, const struct larder_tag *tags, size_t count)
{
	if (!json_key(key, ""))
		return;
	sink_put(io.json, "{", 1);
	for (size_t i = 0; i < count; i++) {
		if (i > 0)
			sink_put(io.json, ",", 1);
		sink_json_string(io.json, tags[i].key);
		sink_put(io.json, ":", 1);
		sink_json_string(io.json, tags[i].value);
	}
	sink_put(io.json, "}", 1);
}

void
out_options(const char *key, const struct opt *options)
{
	bool first = true;

	if (!json_key(key, ""))
		return;
	sink_put(io.json, "[", 1);
	for (const struct opt *o = options; o != NULL && o->name != NULL; o++) {
		char letter[2] = { o->letter, '\0' };

		if (o->help == NULL)
			continue;
		sink_text(io.json, first ? "{" : ",{");
		first = false;
		io.first = true;
		out_text("option", o->name);
		out_text("letter", o->letter == 0 ? NULL : letter);
		out_text("value", o->value);
		out_text("help", o->help);
		sink_put(io.json, "}", 1);
	}
	sink_put(io.json, "]", 1);
	io.first = false;
}

void
out_end(void)
{
	if (!io.is_json)
		return;
	sink_put(io.json, "}", 1);
	sink_line_end(io.json);
	if (io.json == &io.err)
		sink_flush(io.json);
}

void
out_done(enum cli_exit code)
{
	out_begin();
	out_bool("done", true);
	out_signed("exit", (int64_t)code);
}

/* ---- text ---- */

void
out_print(const char *fmt, ...)
{
	char text[1024];
	va_list args;
	int len;

	if (io.is_json)
		return;
	va_start(args, fmt);
	len = vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	assert(len >= 0 && (size_t)len < sizeof text);
	sink_put(&io.out, text, (size_t)len);
	if (len > 0 && text[len - 1] == '\n' && io.out.len >= SINK_ENOUGH)
		sink_flush(&io.out);
}

void
out_name(const char *name)
{
	if (!io.is_json)
		sink_escaped(&io.out, name, true);
}

void
out_message(const char *text)
{
	if (!io.is_json)
		sink_escaped(&io.out, text, false);
}

void
out_paint(enum out_paint paint)
{
	static const char *const codes[] = {
		[OUT_PLAIN] = "0",
		[OUT_BOLD] = "1",
		[OUT_RED] = "31",
		[OUT_GREEN] = "32",
		[OUT_YELLOW] = "33",
		[OUT_BLUE] = "1;34",
		[OUT_CYAN] = "36",
	};

	if (!io.color || paint == io.painted)
		return;
	sink_format(&io.out, "\x1b[%sm", codes[paint]);
	io.painted = paint;
}

void
out_verbatim(const char *text)
{
	sink_text(&io.out, text);
}

void
out_flush(void)
{
	out_progress(NULL);
	sink_flush(&io.out);
}

bool
out_broken(void)
{
	return io.out.error != 0;
}

enum cli_exit
out_finish(const struct cli *cli, enum cli_exit code)
{
	int error;

	out_flush();
	error = io.out.error;
	io.out.error = 0;
	/* Who closed the pipe has seen enough; everybody else must hear of it. */
	if (error != 0 && error != EPIPE) {
		char message[128];

		snprintf(
		    message, sizeof message, "writing to standard output: %s", strerror(error));
		io.is_json = false; /* there is no stdout to put an object on */
		out_error(cli->cmd, LARDER_ERR_IO, CLI_FAILED, message, "");
	}
	free(io.out.data);
	free(io.err.data);
	io.out = (struct sink){ .fd = 1 };
	io.err = (struct sink){ .fd = 2 };
	return error != 0 && code == CLI_DONE ? CLI_FAILED : code;
}

/* ---- stderr ---- */

static void
error_object(
    const struct cmd *cmd, int status, enum cli_exit code, const char *message, const char *hint)
{
	out_begin();
	if (json_key("error", "")) {
		out_begin();
		out_text("code", larder_status_code(status));
		out_text("message", message);
		if (hint[0] != '\0')
			out_text("hint", hint);
		if (cmd != NULL)
			out_text("command", cmd->name);
		sink_put(io.json, "}", 1);
		io.first = false;
	}
	out_signed("exit", (int64_t)code);
	out_end();
}

void
out_error(
    const struct cmd *cmd, int status, enum cli_exit code, const char *message, const char *hint)
{
	out_progress(NULL);
	if (io.is_json)
		error_object(cmd, status, code, message, hint);
	/* A program that reads JSON from stderr shall not meet a line that is none. */
	if (out_json_on_stderr())
		return;
	sink_text(&io.err, "larder: ");
	if (cmd != NULL)
		sink_format(&io.err, "%s: ", cmd->name);
	sink_escaped(&io.err, message, false);
	if (hint[0] != '\0') {
		sink_text(&io.err, "; ");
		sink_escaped(&io.err, hint, false);
	}
	sink_line_end(&io.err);
	sink_flush(&io.err);
}

void
out_item(const struct cmd *cmd, const char *path, const char *message)
{
	out_progress(NULL);
	sink_format(&io.err, "larder: %s: ", cmd->name);
	sink_escaped(&io.err, path, true);
	sink_text(&io.err, ": ");
	sink_escaped(&io.err, message, false);
	sink_line_end(&io.err);
	sink_flush(&io.err);
}

void
out_notice(const char *line)
{
	out_progress(NULL);
	sink_text(&io.err, "larder: ");
	sink_escaped(&io.err, line, false);
	sink_line_end(&io.err);
	sink_flush(&io.err);
}

void
out_progress(const char *line)
{
	if (line == NULL && !io.progress_is_up)
		return;
	sink_text(&io.err, "\r");
	if (line != NULL)
		sink_escaped(&io.err, line, false);
	sink_text(&io.err, "\x1b[K"); /* to the end of the line */
	sink_flush(&io.err);
	io.progress_is_up = line != NULL;
}

bool
out_stderr_is_terminal(void)
{
	const char *term = getenv("TERM");

	return isatty(2) == 1 && (term == NULL || strcmp(term, "dumb") != 0);
}

unsigned
out_stderr_columns(void)
{
	struct winsize size;

	if (ioctl(2, TIOCGWINSZ, &size) < 0 || size.ws_col < 20)
		return 80;
	return size.ws_col;
}

/* ---- words ---- */

const char *
out_word_bytes(char word[OUT_WORD], uint64_t bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double n = (double)bytes;
	size_t unit = 0;

	while (n >= 1023.95 && unit + 1 < sizeof units / sizeof units[0]) {
		n /= 1024;
		unit++;
	}
	snprintf(word, OUT_WORD, unit == 0 ? "%.0f %s" : "%.1f %s", n, units[unit]);
	return word;
}

const char *
out_word_count(char word[OUT_WORD], uint64_t count)
{
	char digits[24];
	size_t len = (size_t)snprintf(digits, sizeof digits, "%" PRIu64, count), at = 0;

	for (size_t i = 0; i < len; i++) {
		if (i > 0 && (len - i) % 3 == 0)
			word[at++] = ',';
		word[at++] = digits[i];
	}
	word[at] = '\0';
	return word;
}

const char *
out_word_rate(char word[OUT_WORD], uint64_t bytes, double seconds)
{
	double rate = seconds > 0 ? (double)bytes / seconds : 0;
	char amount[OUT_WORD - 2];

	out_word_bytes(word, rate < 1e18 ? (uint64_t)rate : 0);
	snprintf(amount, sizeof amount, "%s", word);
	snprintf(word, OUT_WORD, "%s/s", amount);
	return word;
}

const char *
out_word_time(char word[OUT_WORD], int64_t ns)
{
	struct tm tm;
	int64_t rest;
	time_t seconds = (time_t)split_ns(ns, &rest);

	if (gmtime_r(&seconds, &tm) == NULL ||
	    strftime(word, OUT_WORD, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		snprintf(word, OUT_WORD, "?");
	return word;
}

const char *
out_word_id(char word[OUT_WORD], const struct larder_id *id)
{
	enum { SHOWN = 6 }; /* 12 digits: enough for id:HEX in any store one can look at */

	snprintf(word, OUT_WORD, "-");
	for (size_t i = 0; i < SHOWN && !is_zero(id); i++)
		snprintf(word + 2 * i, 3, "%02x", id->bytes[i]);
	return word;
}
