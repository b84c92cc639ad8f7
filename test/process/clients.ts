/** Organizations whose clients save, and remember what they were told. */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { GraphQLClient } from 'graphql-request';
import { expect, vi } from 'vitest';
import { both, prompt, type Side } from '../support/faulty.ts';
import { type SaveAnswer, type SaveInput, save } from '../support/operations.ts';
import { accessToken } from '../support/proxy.ts';
import { expectLockstep, type Systems, systemsOf } from '../support/systems.ts';
import { PATIENCE_MS, type Replica, type World } from './harness.ts';

export type Fate = 'committed' | 'rolled back';

const SIDES: readonly Side[] = ['Inbound', 'Outbound'];

export class Organization {
  readonly orgId = randomUUID();
  readonly #userId = randomUUID();
  readonly #world: World;
  /** Everything that was ever asked for, and how it was told to have ended. */
  readonly #told = new Map<string, { key: string; fate: Fate | null }>();
  /** Its clients give leave to make an assistant anew that turns out to be gone. */
  #recreates = false;

  private constructor(world: World) {
    this.#world = world;
  }

  static async make(world: World): Promise<Organization> {
    const organization = new Organization(world);
    await world.supabase.sql`
      insert into public.organizations (id, name) values (${organization.orgId}, 'Test Organization')`;
    return organization;
  }

  /** With both agents saved. */
  static async saved(world: World): Promise<Organization> {
    const organization = await Organization.make(world);
    expect(await organization.settled('before')).toBe('committed');
    return organization;
  }

  /** With both agents saved, and the assistant of one deleted by hand, which nobody has noticed yet. */
  static async deleted(world: World): Promise<Organization> {
    const organization = await Organization.saved(world);
    const { agents } = await organization.systems();
    world.vapi.dashboardDelete(agents[0]?.vapi_assistant_id ?? '');
    organization.#recreates = true;
    return organization;
  }

  /** One request at this replica; null where it got no answer. */
  ask(what: string, replica: Replica): Promise<SaveAnswer | null> {
    return this.#ask(what, replica).catch(() => null);
  }

  /**
   * The same save, by its key, until it is told how it ended, wherever somebody answers: what a careful client does after an
   * answer that it never got.
   */
  async settled(what: string, replicas: readonly Replica[] = this.#world.replicas): Promise<Fate> {
    let tries = 0;
    return vi.waitFor(
      async () => {
        const replica = replicas[tries % replicas.length];
        if (replica === undefined) throw new Error('nobody to ask');
        tries += 1;
        const answer = await this.#ask(what, replica);
        if (answer.__typename === 'UpdateAgentsSuccess') return this.#tell(what, 'committed');
        if (answer.__typename === 'SaveFailedError') return this.#tell(what, 'rolled back');
        const waitFor = ['SavePendingError', 'SaveInProgressError', 'UnavailableError', 'RateLimitedError'];
        expect(waitFor).toContain(answer.__typename);
        throw new Error(`${what} of ${this.orgId}: ${answer.__typename}`);
      },
      { timeout: PATIENCE_MS, interval: 100 },
    );
  }

  systems(): Promise<Systems> {
    return systemsOf(this.#world, this.orgId);
  }

  /** The promise, and that everything is as it was told. Nothing has had to be repaired, unless that is `mayBeRepaired`. */
  async expectKept({ mayBeRepaired = false } = {}): Promise<Systems> {
    const systems = await expectLockstep(this.#world, this.orgId);
    const saves = await this.#world.supabase.sql<
      { id: string; key: string | null; kind: string; status: string }[]
    >`
      select id, idempotency_key as key, kind, status from public.agent_saves where org_id = ${this.orgId}`;
    const repairs = saves.filter(({ kind }) => kind !== 'USER').map(({ id }) => id);
    if (!mayBeRepaired) expect(repairs).toEqual([]);
    const everywhere = JSON.stringify(systems);
    for (const [what, { key, fate }] of this.#told) {
      const ofKey = saves.filter((one) => one.key === key);
      // Told nothing: it may not even have begun, but it is over.
      if (fate === null) expect(ofKey.length).toBeLessThanOrEqual(1);
      else
        expect(ofKey.map(({ status }) => status)).toEqual([
          fate === 'committed' ? 'COMMITTED' : 'ROLLED_BACK',
        ]);
      const written = systems.revisions.filter((revision) => revision['save_id'] === ofKey[0]?.id);
      const prompts = written.map(({ config }) => (config as { systemPrompt: string }).systemPrompt).sort();
      if (ofKey[0]?.status === 'COMMITTED') {
        expect(prompts).toEqual(SIDES.map((side) => prompt(this.orgId, side, what)));
      } else {
        for (const side of SIDES) expect(everywhere).not.toContain(prompt(this.orgId, side, what));
      }
    }
    // One save after the other: the revisions of both agents come from the same saves.
    const savesOf = (role: string) =>
      systems.revisions
        .filter((one) => one['role'] === role && !repairs.includes(String(one['save_id'])))
        .map((one) => one['save_id']);
    expect(savesOf('INBOUND')).toEqual(savesOf('OUTBOUND'));
    return systems;
  }

  async #ask(what: string, replica: Replica): Promise<SaveAnswer> {
    const key = this.#told.get(what)?.key ?? randomUUID();
    if (!this.#told.has(what)) this.#told.set(what, { key, fate: null });
    const caller = { orgId: this.orgId, userId: this.#userId };
    const token = await accessToken(this.#world.supabase, replica.rest.url, caller);
    const client = new GraphQLClient(`${replica.origin}/graphql`, {
      headers: { authorization: `Bearer ${token}` },
      // Whoever is stopped does not answer, and does not refuse.
      fetch: (input, init) => fetch(input, { ...init, signal: AbortSignal.timeout(5_000) }),
    });
    const { inbound, outbound } = both(this.orgId, what);
    const leave = this.#recreates ? { recreateIfMissing: true } : {};
    const input: SaveInput = {
      inbound: { ...inbound, ...leave },
      outbound: { ...outbound, ...leave },
      idempotencyKey: key,
    };
    return save(client, input);
  }

  #tell(what: string, fate: Fate): Fate {
    const told = this.#told.get(what);
    if (told !== undefined) this.#told.set(what, { ...told, fate });
    return fate;
  }
}

/** An organization that is saved again and again by both replicas, until it is told to stop. */
export async function busyOrganization(
  world: World,
): Promise<{ committed: () => number; stop: () => Promise<Organization> }> {
  const organization = await Organization.saved(world);
  let told = 0;
  let committed = 0;
  let stopping = false;
  const work = (async () => {
    while (!stopping) {
      const fate = await organization.settled(`number ${told}`);
      told += 1;
      if (fate === 'committed') committed += 1;
      // A pace that leaves the machine to the others.
      await sleep(50);
    }
  })();
  // Seen by whoever stops it.
  work.catch(() => undefined);
  return {
    committed: () => committed,
    stop: async () => {
      stopping = true;
      await work;
      return organization;
    },
  };
}
