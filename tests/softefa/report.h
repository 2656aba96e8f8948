/* SPDX-License-Identifier: MIT
 * What the NICs have counted. */
#ifndef SOFTEFA_REPORT_H
#define SOFTEFA_REPORT_H

#include "shm.h"
#include <stdio.h>

/* A table of the NICs that were used. */
void report_table(const struct shm *, FILE *);

/* One object of JSON, with all NICs. 0 or -1. */
int report_json(const struct shm *, FILE *);

#endif
