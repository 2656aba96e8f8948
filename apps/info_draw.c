/* SPDX-License-Identifier: MIT
 * kvrail info --svg: a machine as a picture. A box for each NUMA node, in it one for each switch or
 * host bridge, in that one for each device. */
#include "info.h"
#include <errno.h>
#include <string.h>

/* All in pixels. */
#define MARGIN     16
#define GAP        10
#define LINE       18 /* of text */
#define DEVICE_W   132
#define DEVICE_H   64
#define ROW        4    /* devices */
#define PAGE_W     1400 /* before a box goes below the others; one may be wider */
#define TITLE      30
#define COLOUR_BOX "#f4f5f7"

struct branch {
	unsigned int first, count; /* leaves */
	int x, y, w, h, lines;     /* of text */
};

struct section {
	unsigned int first, count; /* branches */
	int y, w, h;
	uint64_t nodes;
};

struct drawing {
	const struct machine *machine;
	struct info_leaf leaf[INFO_DEVICES];
	struct branch branch[INFO_DEVICES];
	struct section section[INFO_SECTIONS];
	unsigned int leaves, branches, sections;
	int w, h;
	FILE *file;
};

static int max(int a, int b)
{
	return a > b ? a : b;
}

static unsigned int rows(unsigned int devices)
{
	return (devices + ROW - 1) / ROW;
}

/* GPUs and rails each begin a row. */
static unsigned int count_gpus(const struct drawing *d, const struct branch *b)
{
	unsigned int n = 0;

	while (n < b->count && d->leaf[b->first + n].gpu)
		n++;
	return n;
}

static void measure_branch(struct drawing *d, struct branch *b)
{
	const struct machine_device *device = d->leaf[b->first].device;
	unsigned int gpus = count_gpus(d, b), rails = b->count - gpus;
	unsigned int widest = gpus > rails ? gpus : rails;
	int columns = (int)(widest < ROW ? widest : ROW);

	b->lines = !!*device->root + !!*device->bridge;
	b->w = GAP + max(columns, 2) * (DEVICE_W + GAP);
	b->h = GAP + b->lines * LINE + (int)(rows(gpus) + rows(rails)) * (DEVICE_H + GAP);
}

/* Finds the section's branches among the leaves and puts them side by side, then below. */
static void place_section(struct drawing *d, struct section *s)
{
	int x = MARGIN + GAP, y = s->y + TITLE, below = y;

	s->first = d->branches;
	s->w = PAGE_W / 4;
	for (unsigned int i = 0; i < d->leaves; i++) {
		struct branch *b = &d->branch[d->branches];

		if (d->leaf[i].device->nodes != s->nodes || !d->leaf[i].other_branch)
			continue;
		b->first = i;
		for (b->count = 1; i + b->count < d->leaves; b->count++)
			if (d->leaf[i + b->count].other_branch)
				break;
		measure_branch(d, b);
		if (x > MARGIN + GAP && x + b->w > PAGE_W) {
			x = MARGIN + GAP;
			y = below;
		}
		b->x = x;
		b->y = y;
		x += b->w + GAP;
		below = max(below, y + b->h + GAP);
		s->w = max(s->w, x - MARGIN);
		d->branches++;
	}
	s->count = d->branches - s->first;
	s->h = below - s->y + (s->count ? 0 : GAP);
}

static void place(struct drawing *d)
{
	uint64_t nodes[INFO_SECTIONS];

	d->leaves = info_leaves(d->machine, d->leaf);
	d->sections = info_sections(d->machine, d->leaf, d->leaves, nodes);
	d->w = PAGE_W / 4;
	d->h = MARGIN + TITLE;
	for (unsigned int i = 0; i < d->sections; i++) {
		d->section[i].nodes = nodes[i];
		d->section[i].y = d->h;
		place_section(d, &d->section[i]);
		d->w = max(d->w, d->section[i].w);
		d->h += d->section[i].h + GAP;
	}
	/* All as wide as the widest. */
	for (unsigned int i = 0; i < d->sections; i++)
		d->section[i].w = d->w;
	d->w += 2 * MARGIN;
	d->h += MARGIN - GAP;
}

/* A file's name may be in any encoding, or cut within a letter: only ASCII is sure to be one. */
static void draw_text(const struct drawing *d, int x, int y, const char *style, const char *text)
{
	static const char special[] = "&<>\"";
	static const char *const escaped[] = {"&amp;", "&lt;", "&gt;", "&quot;"};

	fprintf(d->file, "<text x=\"%d\" y=\"%d\" class=\"%s\">", x, y, style);
	for (const char *at; *text; text++) {
		at = strchr(special, *text);
		if (at)
			fputs(escaped[at - special], d->file);
		else
			fputc(*text >= ' ' && *text < 0x7f ? *text : '?', d->file);
	}
	fputs("</text>\n", d->file);
}

static void draw_box(const struct drawing *d, const int box[4], const char *style)
{
	fprintf(d->file,
	        "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"4\" class=\"%s\"/>\n",
	        box[0], box[1], box[2], box[3], style);
}

static void draw_leaf(const struct drawing *d, const struct info_leaf *leaf, int x, int y)
{
	const struct machine_device *device = leaf->device;
	const char *model = strchr(device->name, '[');
	char speed[32], text[24];

	draw_box(d, (int[]){x, y, DEVICE_W, DEVICE_H}, leaf->gpu ? "gpu" : "rail");
	draw_text(d, x + 8, y + 18, "name", leaf->label);
	draw_text(d, x + 8, y + 36, "small", *device->pci ? device->pci : "PCI not known");
	/* Of a GPU the model too: what is in brackets, without the chip's name. */
	info_speed(device->link, speed);
	draw_text(d, x + 8, y + 53, "small", speed);
	if (!leaf->gpu)
		return;
	snprintf(text, sizeof(text), "%.*s", model ? (int)strcspn(model + 1, " ]") : 8,
	         model ? model + 1 : device->name);
	draw_text(d, x + 76, y + 18, "small", text);
}

static void draw_branch(const struct drawing *d, const struct branch *b)
{
	const struct machine_device *device = d->leaf[b->first].device;
	unsigned int gpus = count_gpus(d, b), column, row;
	int y = b->y + LINE;
	char text[80], speed[32];

	draw_box(d, (int[]){b->x, b->y, b->w, b->h}, *device->bridge ? "switch" : "root");
	if (*device->root) {
		snprintf(text, sizeof(text), "host bridge %s", device->root);
		draw_text(d, b->x + GAP, y, "small", text);
		y += LINE;
	}
	if (*device->bridge) {
		info_speed(device->uplink, speed);
		snprintf(text, sizeof(text), "PCIe switch %s%s%s", device->bridge,
		         *speed ? ", uplink " : "", speed);
		draw_text(d, b->x + GAP, y, "small", text);
	}
	for (unsigned int i = 0; i < b->count; i++) {
		column = (i < gpus ? i : i - gpus) % ROW;
		row = i < gpus ? i / ROW : rows(gpus) + (i - gpus) / ROW;
		draw_leaf(d, &d->leaf[b->first + i], b->x + GAP + (int)column * (DEVICE_W + GAP),
		          b->y + GAP + b->lines * LINE + (int)row * (DEVICE_H + GAP));
	}
}

static void draw(const struct drawing *d, const char *title)
{
	char text[128];

	fprintf(d->file,
	        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
	        "viewBox=\"0 0 %d %d\">\n<style>\n"
	        "text { font-family: sans-serif; font-size: 13px; fill: #1d2733 }\n"
	        ".title, .name { font-weight: bold }\n"
	        ".small { font-size: 12px }\n"
	        "rect { stroke: #5b6673; fill: " COLOUR_BOX " }\n"
	        "rect.page { stroke: none; fill: #ffffff }\n"
	        "rect.switch { fill: #dde6f2 }\nrect.root { fill: #e6e8ec }\n"
	        "rect.gpu { fill: #cfe8c6 }\nrect.rail { fill: #ffe3b8 }\n</style>\n",
	        d->w, d->h, d->w, d->h);
	draw_box(d, (int[]){0, 0, d->w, d->h}, "page");
	draw_text(d, MARGIN, MARGIN + 14, "title", title);
	for (unsigned int i = 0; i < d->sections; i++) {
		const struct section *s = &d->section[i];

		draw_box(d, (int[]){MARGIN, s->y, s->w, s->h}, "node");
		draw_text(d, MARGIN + GAP, s->y + 20, "title",
		          info_nodes(d->machine, s->nodes, text));
		for (unsigned int b = 0; b < s->count; b++)
			draw_branch(d, &d->branch[s->first + b]);
	}
	fputs("</svg>\n", d->file);
}

int info_draw(const struct machine *m, const char *title, const char *path)
{
	struct drawing d = {.machine = m};
	int rc = 0;

	place(&d);
	d.file = fopen(path, "w");
	if (!d.file)
		return -errno;
	draw(&d, title);
	if (ferror(d.file))
		rc = -EIO;
	if (fclose(d.file) && !rc)
		rc = -errno;
	return rc;
}
