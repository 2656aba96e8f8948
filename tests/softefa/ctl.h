/* SPDX-License-Identifier: MIT
 * softefa ctl: makes something happen to a fabric that runs, or shows what it has counted. */
#ifndef SOFTEFA_CTL_H
#define SOFTEFA_CTL_H

/* The command line from "ctl" on; the exit status. */
int ctl_main(int argc, char **argv);

#endif
