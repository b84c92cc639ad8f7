import type { ReplicaRegistry } from '../../ports/admission.ts';

/** How often a replica says that it lives; and how long it counts after it has last done so. Milliseconds. */
export const BEAT_MS = 1_000;
export const REPLICA_TTL_MS = 3_000;

/**
 * Says that this replica lives, and takes its part of the account: what the living share evenly. Nothing, until all of them know
 * of it: they have given nothing up for it yet. Throws `DatabaseError`, and the part stays what it was.
 */
export async function takeShare(
  registry: ReplicaRegistry,
  pacer: { share(part: number): void },
  replica: string,
): Promise<void> {
  const { replicas, known } = await registry.beat(replica, REPLICA_TTL_MS);
  pacer.share(known ? 1 / replicas : 0);
}
