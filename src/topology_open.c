/* SPDX-License-Identifier: MIT
 * The topology that this process is in, and a line of log where that is doubtful. */
#include "log.h"
#include "topology.h"
#include <stdlib.h>

struct topology *topology_open(void)
{
	const char *path = getenv("HWLOC_XMLFILE");
	char note[TOPOLOGY_NOTE];
	struct topology *t = topology_read(path && *path ? path : NULL, note);

	if (*note)
		log_warning("topology: %s", note);
	/* hwloc itself passes over a file that it cannot read, and says nothing. */
	if (!t && path && *path) {
		log_warning("topology: HWLOC_XMLFILE is passed over, this machine's own is used");
		t = topology_read(NULL, note);
	}
	if (!t)
		log_warning("hwloc cannot read this machine's topology: rails are used without "
		            "regard to NUMA nodes");
	return t;
}
