/* SPDX-License-Identifier: MIT
 * Writes that the target carries out: where a provider imitates writes by messages but reads with
 * the device, the initiator sends a batch as lists of ops and the target reads them.
 *
 * A batch is one or more lists (PULL); the last says how many there are, for messages have no
 * order. Each is read like a kvr_read of the target's own, with all that this implies: rails, late
 * pieces, fences. When the last byte of the last list is there, and nothing of them can land any
 * more, the target moves the counter and says PULLED. STOP asks it to end a batch early; it is said
 * until PULLED comes, as one that is not known yet is not stopped. */
#ifndef KVR_PULL_H
#define KVR_PULL_H

#include "transfer.h"

/* Initiator: sends lists of what peers' writes have not listed yet, as far as messages may wait. */
void pull_list(struct kvr *, struct peer *);

/* Initiator: no more will be listed. */
void pull_end(struct kvr *, struct transfer *);

/* Initiator: asks for the end of one that was cancelled. */
void pull_stop(struct kvr *, struct transfer *);

/* Target: messages of the initiator's; its death; a list has been read, or could not be. */
void pull_on_list(struct kvr *, struct peer *, const struct wire_message *);
void pull_on_stop(struct kvr *, struct peer *, const struct wire_message *);
void pull_on_death(struct kvr *, struct peer *);
void pull_on_finished(struct kvr *, struct kvr_request *);

/* Target: whether the first one's batch was begun later than the second's. */
bool pull_is_later(const struct pull *, const struct pull *);

#endif
