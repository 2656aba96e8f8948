/* SPDX-License-Identifier: MIT
 * kvrail replay --plot: each request a dot, its latency against its size, both logarithmic, beside
 * what the rails would need for it. */
#include "replay_summary.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>

#define WIDTH  800
#define HEIGHT 500
#define MARGIN 60

/* From a value to its place along an axis; in decades, so that those are full. */
struct axis {
	double low, high; /* powers of ten */
	int from, to;     /* pixels */
};

struct plot {
	FILE *file;
	struct axis x, y;
};

static void widen(struct axis *axis, double value)
{
	if (value <= 0)
		return;
	if (axis->low > axis->high)
		axis->low = axis->high = log10(value);
	axis->low = fmin(axis->low, log10(value));
	axis->high = fmax(axis->high, log10(value));
}

static void round_out(struct axis *axis)
{
	if (axis->low > axis->high)
		axis->low = axis->high = 0;
	axis->low = floor(axis->low);
	axis->high = ceil(axis->high);
	if (axis->high <= axis->low)
		axis->high = axis->low + 1;
}

static double place(const struct axis *axis, double decade)
{
	return axis->from +
	       (decade - axis->low) / (axis->high - axis->low) * (axis->to - axis->from);
}

static void draw_x(const struct plot *p)
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};

	for (double d = p->x.low; d <= p->x.high; d++) {
		double x = place(&p->x, d);

		fprintf(p->file, "<path d=\"M%.1f %d V%d\"/>\n", x, p->y.from, p->y.to);
		fprintf(p->file, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%g %s</text>\n",
		        x, p->y.from + 20, pow(10, fmod(d, 3)), units[(int)d / 3]);
	}
}

static void draw_y(const struct plot *p)
{
	for (double d = p->y.low; d <= p->y.high; d++) {
		double y = place(&p->y, d);

		fprintf(p->file, "<path d=\"M%d %.1f H%d\"/>\n", p->x.from, y, p->x.to);
		fprintf(p->file, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%g ms</text>\n",
		        p->x.from - 6, y + 4, pow(10, d));
	}
}

static void draw_dot(const struct plot *p, uint64_t bytes, double ms, const char *kind)
{
	if (bytes && ms > 0)
		fprintf(p->file, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"2.5\"/>\n", kind,
		        place(&p->x, log10((double)bytes)), place(&p->y, log10(ms)));
}

static void draw(struct plot *p, const struct latency *all, size_t count)
{
	fprintf(p->file,
	        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
	        "viewBox=\"0 0 %d %d\">\n<style>\n"
	        "text { font-family: sans-serif; font-size: 12px; fill: #1d2733 }\n"
	        "path { stroke: #d4d9df }\nrect { fill: #ffffff }\n"
	        ".request { fill: #2f6db3; fill-opacity: 0.5 }\n.ideal { fill: #d0702c }\n"
	        "</style>\n<rect width=\"%d\" height=\"%d\"/>\n"
	        "<text x=\"%d\" y=\"24\">Latency of each request against its KV; orange: the "
	        "rails' time for it</text>\n",
	        WIDTH, HEIGHT, WIDTH, HEIGHT, WIDTH, HEIGHT, MARGIN);
	draw_x(p);
	draw_y(p);
	for (size_t i = 0; i < count; i++) {
		draw_dot(p, all[i].bytes, all[i].ideal_ms, "ideal");
		draw_dot(p, all[i].bytes, all[i].ms, "request");
	}
	fputs("</svg>\n", p->file);
}

int replay_plot(const struct latency *all, size_t count, const char *path)
{
	struct plot p = {
		.x = {1, 0, MARGIN, WIDTH - MARGIN / 2},
		.y = {1, 0, HEIGHT - MARGIN, MARGIN},
	};
	int rc = 0;

	for (size_t i = 0; i < count; i++) {
		widen(&p.x, (double)all[i].bytes);
		widen(&p.y, all[i].ms);
		widen(&p.y, all[i].ideal_ms);
	}
	round_out(&p.x);
	round_out(&p.y);
	p.file = fopen(path, "w");
	if (!p.file)
		return -errno;
	draw(&p, all, count);
	if (ferror(p.file))
		rc = -EIO;
	if (fclose(p.file) && !rc)
		rc = -errno;
	return rc;
}
