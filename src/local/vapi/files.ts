/** Files as Vapi keeps them: an upload is parsed later, and only its name can change (docs/vapi.md#files). */
import type { Endpoint } from './endpoint.ts';
import { isObject, type JsonObject } from './json.ts';
import { type Changes, type Resource, ResourceStore, type StoreOptions } from './resource-store.ts';
import { bodyProblems, oneOf, shape, str } from './rules.ts';
import type { Settings } from './settings.ts';

export interface StoredFile extends Resource {
  readonly status: string;
}

const MAX_NAME = 40;
const purpose = oneOf('assistant', 'composer-attachment', 'knowledge-base-v2');
const fileCreate = shape({ 'file!': { is: 'free' }, purpose, metadata: str(4096) });
/** A test compares it with Vapi's own description. */
export const fileUpdate = shape({ name: str(MAX_NAME, 1) });

export class FileStore extends ResourceStore<StoredFile> {
  readonly #settings: () => Settings;

  constructor(settings: () => Settings, options: StoreOptions = {}) {
    super(options);
    this.#settings = settings;
  }

  /** Every file with this purpose, newest first: Vapi has no pages of files. */
  withPurpose(orgId: string, wanted: string | null): StoredFile[] {
    return this.list(orgId, { limit: Number.POSITIVE_INFINITY }).filter(
      (file) => wanted === null || file['purpose'] === wanted,
    );
  }

  protected override changes(current: StoredFile | undefined, fields: JsonObject): Changes {
    const added = current ? {} : { object: 'file', status: 'processing' };
    return { ...added, ...super.changes(current, fields) };
  }

  protected override due(file: StoredFile, now: number): Changes | undefined {
    const { fileOutcome, fileProcessingMs } = this.#settings();
    const isOver = now >= Date.parse(file.createdAt) + fileProcessingMs;
    if (file.status !== 'processing' || !isOver || fileOutcome === 'never') return undefined;
    if (fileOutcome === 'failed') return { status: 'failed' };
    return { status: 'done', parsedTextUrl: `${STORAGE}/${file.id}.txt`, parsedTextBytes: file['bytes'] };
  }
}

/** Vapi's storage. Whoever has such an address can read the file (docs/vapi.md#file-urls). */
const STORAGE = 'https://storage.example.test/files';

/** `uses`: whether a tool of the organization names the file. */
export function fileEndpoint(
  store: FileStore,
  settings: () => Settings,
  uses: (orgId: string, fileId: string) => boolean,
): Endpoint<StoredFile> {
  return {
    noun: 'File',
    store,
    isForm: true,
    createProblems: (body) => {
      const problems = bodyProblems(fileCreate, body);
      if (typeof body['metadata'] === 'string' && !isObject(parsed(body['metadata']))) {
        // The wording is ours.
        problems.push('metadata must be a JSON object');
      }
      return problems;
    },
    patchProblems: (body) => bodyProblems(fileUpdate, body),
    // The wording of these refusals is ours; only the status is documented.
    refuseCreate: (_orgId, body) => {
      const { name, bytes } = uploaded(body);
      const { maxFileBytes, longFileNames } = settings();
      if (bytes === 0) return 'Invalid file: it is empty.';
      if (bytes > maxFileBytes) return `Invalid file: it has more than ${maxFileBytes} bytes.`;
      if (longFileNames === 'refused' && name.length > MAX_NAME) return 'Invalid file: its name is too long.';
      return undefined;
    },
    fields: ({ purpose: given, metadata, ...body }) => {
      const { name, type, bytes } = uploaded(body);
      const path = `${uploaded(body).sha256.slice(0, 12)}${/\.\w+$/.exec(name)?.[0] ?? ''}`;
      return {
        name: name.slice(0, MAX_NAME),
        originalName: name,
        bytes,
        mimetype: type,
        key: path,
        path,
        bucket: 'files',
        url: `${STORAGE}/${path}`,
        ...(given === undefined ? {} : { purpose: given }),
        ...(typeof metadata === 'string' ? { metadata: parsed(metadata) as JsonObject } : {}),
      };
    },
    list: (orgId, query) => {
      const wanted = query.get('purpose');
      const problems = [...query.keys()]
        .filter((name) => name !== 'purpose')
        .map((name) => `property ${name} should not exist`);
      if (wanted === null && settings().fileListWithoutPurpose === 'refused') {
        problems.push('purpose must be a string');
      }
      return problems.length > 0 ? { problems } : store.withPurpose(orgId, wanted);
    },
    refuseDelete: ({ orgId, id }) =>
      settings().fileInUse === 'refused' && uses(orgId, id)
        ? { status: 400, message: 'This file is used by a tool.' }
        : undefined,
  };
}

interface Uploaded {
  name: string;
  type: string;
  bytes: number;
  sha256: string;
}

const uploaded = ({ file }: JsonObject) => file as unknown as Uploaded;

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
