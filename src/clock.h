/* SPDX-License-Identifier: MIT
 * The time, as all of kvrail sees it. A simulation puts its own in place before it opens anything.
 */
#ifndef KVR_CLOCK_H
#define KVR_CLOCK_H

#include <stdint.h>

/* ns since some moment; never goes back. */
extern int64_t (*clock_now)(void);

/* Gives the core away: for so many ns, or at 0 to whoever else wants it. */
extern void (*clock_rest)(int64_t ns);

#endif
