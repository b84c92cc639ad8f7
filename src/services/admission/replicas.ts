import type { ReplicaRegistry } from '../../ports/admission.ts';
import type { Clock } from '../../ports/system.ts';

/** How often a replica says that it lives; and how long it counts after it has last done so. Milliseconds. */
export const BEAT_MS = 1_000;
export const REPLICA_TTL_MS = 3_000;

/**
 * Says that this replica lives, and takes its part of the account: what the living share evenly. Nothing, until all of them know
 * of it: they have given nothing up for it yet. Throws `DatabaseError`, and the part stays what it was, for as long as it was given.
 */
export async function takeShare(
  registry: ReplicaRegistry,
  share: (part: number, until: number) => void,
  clock: Clock,
  replica: string,
): Promise<void> {
  const from = clock.monotonic();
  const { replicas, known } = await registry.beat(replica, REPLICA_TTL_MS);
  share(known ? 1 / replicas : 0, from + REPLICA_TTL_MS);
}
