import { isJsonObject, type JsonObject } from '../../domain/json.ts';
import type { PartImage } from '../../domain/saga.ts';
import { shortUuid } from '../../domain/short-uuid.ts';
import { isUuid } from '../../domain/uuid.ts';
import { DatabaseError } from '../../ports/database.ts';
import {
  mapped,
  type ProviderReply,
  type RemoteFiles,
  type RemoteResource,
} from '../../ports/voice-provider.ts';
import type {
  Found,
  Inspected,
  Page,
  Part,
  SagaDefinition,
  SagaIdentity,
  SagaKind,
  Written,
} from '../saga/participant.ts';
import { EXTENSIONS } from './content.ts';

/** The kind of saga that changes one document. */
export const DOCUMENTS = 'documents';

/** The bytes of a document; null: nobody wants them any more. May throw `DatabaseError`. */
export type ContentSource = (
  orgId: string,
  documentId: string,
) => Uint8Array<ArrayBuffer> | Promise<Uint8Array<ArrayBuffer> | null>;

/** Which saga uploaded a file, for which document. Lives in the file's metadata, which nobody can change. */
export interface FileStamp {
  deployment: string;
  orgId: string;
  documentId: string;
  sagaId: string;
}

/** The stamp of a file; null: it has none of ours. */
export function fileStampOf(file: JsonObject): FileStamp | null {
  const metadata = file['metadata'];
  const stamp = isJsonObject(metadata) ? metadata['lockstep'] : undefined;
  if (!isJsonObject(stamp)) return null;
  const { deployment, orgId, documentId, sagaId } = stamp;
  return isUuid(deployment) && isUuid(orgId) && isUuid(documentId) && isUuid(sagaId)
    ? { deployment, orgId, documentId, sagaId }
    : null;
}

/** What the sagas of documents need of the provider. */
export type FileVoice = { readonly files: RemoteFiles };

export function documentDefinition(contents: ContentSource): SagaDefinition<FileVoice> {
  return {
    name: DOCUMENTS,
    about: (images) => ({
      documentId: images[0]?.resourceId,
      action: images[0]?.after.content['action'],
    }),
    open: ({ files }) => documentSaga(files, contents),
  };
}

/** How a document lives in Vapi: as a file that never changes and has the stamp of the saga that uploaded it. */
export function documentSaga(files: RemoteFiles, contents: ContentSource): SagaKind {
  return {
    words: {
      notMade: 'The knowledge base was not changed.',
      gone: 'The file was deleted in Vapi.',
      otherFailed: 'Not kept: another part failed.',
      needsAttention:
        'Vapi refuses to delete the file, or does not say what became of it. An operator must settle this operation.',
    },
    open: (saga, image) => new FilePart(files, contents, saga, image),
  };
}

class FilePart implements Part {
  readonly stage = 0;
  readonly pivot: boolean;
  readonly lookOnly = false;
  readonly removes: boolean;
  readonly timeoutMs: number;
  readonly #files: RemoteFiles;
  readonly #contents: ContentSource;
  readonly #saga: SagaIdentity;
  readonly #image: PartImage;
  #content: Uint8Array<ArrayBuffer> | null = null;

  constructor(files: RemoteFiles, contents: ContentSource, saga: SagaIdentity, image: PartImage) {
    this.removes = image.after.content['action'] === 'DELETE';
    this.pivot = this.removes;
    this.timeoutMs = this.removes ? files.timeoutMs : files.uploadTimeoutMs;
    this.#files = files;
    this.#contents = contents;
    this.#saga = saga;
    this.#image = image;
  }

  async create(): Promise<ProviderReply<Written>> {
    if (this.#content === null) {
      const loading = this.#contents(this.#saga.orgId, this.#image.resourceId);
      if (loading instanceof Promise) return this.#loaded(loading);
      this.#content = loading;
    }
    const { sagaId } = this.#saga;
    const contentType = String(this.#image.after.content['contentType']);
    const reply = await this.#files.upload({
      name: `ls1-${shortUuid(sagaId)}.${EXTENSIONS[contentType] ?? 'txt'}`,
      contentType,
      content: this.#content,
      metadata: { lockstep: { ...this.#stamp } },
    });
    return mapped(reply, (file) => this.#written(file));
  }

  /** Nothing may take time between the guard of the lease and the write. So the upload is asked for again, under a new guard. */
  async #loaded(loading: Promise<Uint8Array<ArrayBuffer> | null>): Promise<ProviderReply<never>> {
    try {
      this.#content = await loading;
    } catch (error) {
      if (!(error instanceof DatabaseError)) throw error;
      return { kind: 'not_sent', code: error.code };
    }
    return this.#content === null
      ? { kind: 'refused', status: 410, messages: ['the content of the document is not stored any more'] }
      : { kind: 'not_sent', code: 'CONTENT_LOADED' };
  }

  /** What a saga finds with its own stamp was uploaded whole: there is nothing to write into it. */
  async replace(remoteId: string): Promise<ProviderReply<Written>> {
    return mapped(await this.#files.get(remoteId), (file) => this.#written(file));
  }

  restore(): Promise<never> {
    throw new Error('a file never changes');
  }

  remove(remoteId: string): Promise<ProviderReply<unknown>> {
    return this.#files.remove(remoteId);
  }

  async look(remoteId: string): Promise<ProviderReply<Found>> {
    return mapped(await this.#files.get(remoteId), (file) => this.#found(file));
  }

  async list({ limit, createdAtGe, createdAtLe }: Page): Promise<ProviderReply<Found[]>> {
    return mapped(await this.#files.list(), (all) =>
      all
        .map((file) => this.#found(file))
        .filter(
          ({ createdAt }) =>
            createdAt >= createdAtGe && (createdAtLe === undefined || createdAt <= createdAtLe),
        )
        .sort((a, b) => (a.createdAt > b.createdAt ? -1 : 1))
        .slice(0, limit),
    );
  }

  async inspect(remoteId: string): Promise<ProviderReply<Inspected>> {
    return mapped(await this.#files.get(remoteId), (file) => ({
      remoteId: file.id,
      observed: observedForm(file),
      // Its content cannot have changed: a file that is to be deleted differs by being there.
      differsFromAfter: this.removes ? ['file'] : this.#differences(file),
      differsFromBefore: this.removes ? [] : ['file'],
    }));
  }

  get #stamp(): FileStamp {
    const { deployment, orgId, sagaId } = this.#saga;
    return { deployment, orgId, documentId: this.#image.resourceId, sagaId };
  }

  #found(file: RemoteResource): Found {
    const stamp = fileStampOf(file);
    const stamped = stamp?.sagaId === this.#saga.sagaId && stamp.documentId === this.#image.resourceId;
    return {
      ...{ remoteId: file.id, createdAt: String(file['createdAt']), stamped },
      holds: stamped ? this.#written(file) : null,
    };
  }

  #written(file: RemoteResource): Written {
    return { remoteId: file.id, observed: observedForm(file), differing: this.#differences(file) };
  }

  /** Vapi may report fewer fields than it documents: what is absent is not a difference, except for the stamp. */
  #differences(file: RemoteResource): string[] {
    const differing: string[] = [];
    const { bytes } = file;
    if (typeof bytes === 'number' && bytes !== this.#image.after.content['sizeBytes'])
      differing.push('bytes');
    const stamp = fileStampOf(file);
    const ours = Object.entries(this.#stamp);
    if (stamp === null || ours.some(([key, value]) => stamp[key as keyof FileStamp] !== value)) {
      differing.push('metadata.lockstep');
    }
    return differing;
  }
}

/** Without its address, which whoever has it can read the content by. */
function observedForm({ name, bytes, mimetype }: RemoteResource): JsonObject {
  return JSON.parse(JSON.stringify({ name, bytes, mimetype })) as JsonObject;
}
