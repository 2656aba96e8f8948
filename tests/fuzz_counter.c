/* SPDX-License-Identifier: MIT
 * libFuzzer target for a lane: whatever a peer sends, no batch is handed out twice, and none that
 * was handed out comes back. Six bytes make an event. */
#include "counter.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define EVENT 6

static void take_all(struct lane *lane)
{
	struct lane_batch batch;

	while (lane_take(lane, &batch)) {
		if (!batch.count || batch.missing || !lane_is_done(lane, batch.first))
			abort();
		if (lane_declare(lane, batch.first, batch.count, 1) > 0)
			abort(); /* an END that came twice would count twice */
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lane lane = {0};
	uint32_t first, count;

	for (; size >= EVENT; data += EVENT, size -= EVENT) {
		first = (data[1] | data[2] << 8 | data[3] << 16) & (LANE_PIECES - 1);
		count = data[4] | (data[0] & 0x80 ? data[5] << 8 : 0);
		switch (data[0] % 3) {
		case 0:
			lane_arrive(&lane, first);
			break;
		case 1:
			lane_declare(&lane, first, count, data[5]);
			break;
		case 2:
			lane_lose(&lane, first, count, (first + data[5]) & (LANE_PIECES - 1));
			break;
		}
		take_all(&lane);
	}
	lane_close(&lane);
	return 0;
}
