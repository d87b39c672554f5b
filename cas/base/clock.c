/* Time through the seam, and RFC 3339 both ways with integers only. */
#include "cas/base/clock.h"

#include <stdio.h>
#include <string.h>

#include "cas/base/seam.h"

#define SECOND_NS 1000000000

int64_t
clock_now_ns(void)
{
	return seam.clock_now_ns();
}

int64_t
clock_mono_ns(void)
{
	return seam.clock_mono_ns();
}

/*
 * Days and dates. Years are counted from March, so that the leap day is the
 * last day of its year, and in eras of 400 years, which are all equally long.
 */
enum { ERA_DAYS = 146097, EPOCH_DAYS = 719468 /* 0000-03-01 .. 1970-01-01 */ };

static int64_t
days_of_date(int year, int month, int day)
{
	int y = month <= 2 ? year - 1 : year;
	int era = (y >= 0 ? y : y - 399) / 400;
	int year_of_era = y - era * 400;
	int month_from_march = (month + 9) % 12;
	int day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
	int day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;

	return (int64_t)era * ERA_DAYS + day_of_era - EPOCH_DAYS;
}

static void
date_of_days(int *year, int *month, int *day, int64_t days)
{
	int64_t shifted = days + EPOCH_DAYS;
	int era = (int)((shifted >= 0 ? shifted : shifted - (ERA_DAYS - 1)) / ERA_DAYS);
	int day_of_era = (int)(shifted - (int64_t)era * ERA_DAYS);
	int year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524
			      - day_of_era / (ERA_DAYS - 1))
	    / 365;
	int day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	int month_from_march = (5 * day_of_year + 2) / 153;

	*day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
	*month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
	*year = year_of_era + era * 400 + (*month <= 2);
}

void
clock_to_text(char out[CLOCK_TEXT_LEN], int64_t ns)
{
	int64_t seconds = ns / SECOND_NS, days;
	int fraction = (int)(ns % SECOND_NS), second, year, month, day, n;

	if (fraction < 0) {
		fraction += SECOND_NS;
		seconds--;
	}
	days = seconds / 86400;
	second = (int)(seconds % 86400);
	if (second < 0) {
		second += 86400;
		days--;
	}
	date_of_days(&year, &month, &day, days);

	n = snprintf(out, CLOCK_TEXT_LEN, "%04d-%02d-%02dT%02d:%02d:%02d", year, month, day,
	    second / 3600, second / 60 % 60, second % 60);
	if (fraction > 0) {
		n += snprintf(out + n, (size_t)(CLOCK_TEXT_LEN - n), ".%09d", fraction);
		while (out[n - 1] == '0')
			n--;
	}
	memcpy(out + n, "Z", 2);
}

/* Exactly `count` digits at *at, which moves behind them; -1 when there are fewer. */
static int
number(const char **at, int count)
{
	int v = 0;

	for (int i = 0; i < count; i++, (*at)++) {
		if (**at < '0' || **at > '9')
			return -1;
		v = v * 10 + (**at - '0');
	}
	return v;
}

static bool
literal(const char **at, char c)
{
	if (**at != c)
		return false;
	(*at)++;
	return true;
}

static int
days_in_month(int year, int month)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

	return days[month - 1] + (month == 2 && leap);
}

static bool
parse_date(int64_t *days, const char **at)
{
	int year, month, day;

	year = number(at, 4);
	if (year < 0 || !literal(at, '-'))
		return false;
	month = number(at, 2);
	if (month < 1 || month > 12 || !literal(at, '-'))
		return false;
	day = number(at, 2);
	if (day < 1 || day > days_in_month(year, month))
		return false;
	*days = days_of_date(year, month, day);
	return true;
}

/* HH:MM:SS[.fraction]; second 60 is a leap second and means the next one. */
static bool
parse_time(int64_t *seconds, int *fraction, const char **at)
{
	int hour, minute, second, scale = SECOND_NS / 10;

	hour = number(at, 2);
	if (hour < 0 || hour > 23 || !literal(at, ':'))
		return false;
	minute = number(at, 2);
	if (minute < 0 || minute > 59 || !literal(at, ':'))
		return false;
	second = number(at, 2);
	if (second < 0 || second > 60)
		return false;
	*seconds = hour * 3600 + minute * 60 + second;

	*fraction = 0;
	if (!literal(at, '.'))
		return true;
	if (**at < '0' || **at > '9')
		return false;
	for (; **at >= '0' && **at <= '9'; (*at)++, scale /= 10) {
		if (scale == 0)
			return false; /* finer than a nanosecond */
		*fraction += (**at - '0') * scale;
	}
	return true;
}

/* Z or +HH:MM or -HH:MM */
static bool
parse_offset(int64_t *seconds, const char **at)
{
	int sign, hour, minute;

	*seconds = 0;
	if (literal(at, 'Z') || literal(at, 'z'))
		return true;
	if (literal(at, '+'))
		sign = 1;
	else if (literal(at, '-'))
		sign = -1;
	else
		return false;
	hour = number(at, 2);
	if (hour < 0 || hour > 23 || !literal(at, ':'))
		return false;
	minute = number(at, 2);
	if (minute < 0 || minute > 59)
		return false;
	*seconds = sign * (hour * 3600 + minute * 60);
	return true;
}

bool
clock_from_text(int64_t *ns, const char *text)
{
	const char *at = text;
	int64_t days, seconds = 0, offset = 0, total;
	int fraction = 0;

	if (!parse_date(&days, &at))
		return false;
	if (*at != '\0') {
		if (!literal(&at, 'T') && !literal(&at, 't') && !literal(&at, ' '))
			return false;
		if (!parse_time(&seconds, &fraction, &at) || !parse_offset(&offset, &at))
			return false;
		if (*at != '\0')
			return false;
	}
	/* Below zero, take the fraction from the second above: the product would not fit for the
	 * first fraction of a second that 64 bits can say. */
	total = days * 86400 + seconds - offset;
	if (total < 0 && fraction > 0) {
		total++;
		fraction -= SECOND_NS;
	}
	if (__builtin_mul_overflow(total, (int64_t)SECOND_NS, &total)
	    || __builtin_add_overflow(total, (int64_t)fraction, &total))
		return false;
	*ns = total;
	return true;
}
