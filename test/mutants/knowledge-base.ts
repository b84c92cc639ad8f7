import { type Mutant, plant } from './plant.ts';

/** Planted bugs of the knowledge base. */

const SQL = 'supabase/migrations/20261123000011_create_knowledge_base.sql';
const DATABASE = ['test/database/knowledge-base.test.ts'];
const CONTENT = ['src/services/knowledge-base/content.test.ts'];
const E2E = ['test/e2e/knowledge-base.test.ts'];

export const KNOWLEDGE_BASE: readonly Mutant[] = [
  ...plant(SQL, DATABASE, [
    [
      'documents-one-more',
      'An organization stores one document more than it may.',
      'if v_documents >= v_allowance.documents then',
      'if v_documents > v_allowance.documents then',
    ],
    [
      'documents-byte-more',
      'An organization stores one byte less than it may.',
      'if v_bytes + octet_length(v_content) > v_allowance.bytes then',
      'if v_bytes + octet_length(v_content) >= v_allowance.bytes then',
    ],
    [
      'documents-failed-free',
      'A failed document whose file is still in Vapi does not count.',
      "(d.state not in ('FAILED', 'REMOVED') or d.vapi_file_id is not null)",
      "d.state not in ('FAILED', 'REMOVED')",
    ],
    [
      'document-deleted-while-listed',
      'A file is deleted while the tool still lists it.',
      "    and not exists (select from lockstep.query_tools t where t.org_id = d.org_id and d.vapi_file_id = any (t.file_ids))\n    and not lockstep.is_busy(d.org_id, 'tool');",
      "    and not lockstep.is_busy(d.org_id, 'tool');",
    ],
    [
      'document-deleted-while-published',
      'A file is deleted while a saga may still publish a list that names it.',
      "any (t.file_ids))\n    and not lockstep.is_busy(d.org_id, 'tool');",
      'any (t.file_ids));',
    ],
    [
      'removal-keeps-content',
      'The bytes of a removed document are kept, and the same content cannot be uploaded again.',
      '        delete from lockstep.document_contents where org_id = p_org_id and document_id = v_id;\n        perform lockstep.list_changed(p_org_id);',
      '        perform lockstep.list_changed(p_org_id);',
    ],
    [
      'removal-unpublished',
      'The tool still lists a document that was removed.',
      'where org_id = p_org_id and document_id = v_id;\n        perform lockstep.list_changed(p_org_id);',
      'where org_id = p_org_id and document_id = v_id;',
    ],
    [
      'list-with-unread-files',
      'The tool lists files that Vapi has not read.',
      "where d.org_id = p_org_id and d.state = 'READY' and d.vapi_file_id is not null;",
      'where d.org_id = p_org_id and d.vapi_file_id is not null;',
    ],
    [
      'list-change-lost',
      'A document that becomes READY during a publication is never published.',
      'dirty = lockstep.ready_files(s.org_id) <> v_files, check_at',
      'dirty = false, check_at',
    ],
    [
      'tool-removed-while-named',
      'A tool is deleted while an agent names it.',
      "\n      or exists (select from public.agents a where a.org_id = p_org_id and a.context ->> 'toolId' = v_tool.tool_id))",
      ')',
    ],
    [
      'file-missing-while-busy',
      'A file is called missing while a saga of its document is open.',
      "\n        and not lockstep.is_busy(v_org, 'document:' || id);",
      ';',
    ],
    [
      'file-orphan-of-committed',
      'The sweep deletes a second file of any closed saga, also one that has made nothing twice.',
      "and (s.status = 'ROLLED_BACK' or s.ambiguous)\n          and p.resource = 'file'",
      "and p.resource = 'file'",
    ],
    [
      'tool-orphan-at-once',
      'The sweep deletes a tool that a late request may still make into the right one.',
      "s.kind = 'query_tool'\n      and s.finished_at < clock_timestamp() - lockstep.ms(p_age_ms) and",
      "s.kind = 'query_tool' and",
    ],
  ]),
  ...plant('src/services/knowledge-base/file.ts', DATABASE, [
    [
      'file-of-any-document',
      'Recovery adopts the file of another document.',
      'stamp?.sagaId === this.#saga.sagaId && stamp.documentId === this.#image.resourceId',
      'stamp?.sagaId !== undefined',
    ],
  ]),
  ...plant('src/services/knowledge-base/query-tool.ts', DATABASE, [
    [
      'tool-undone-to-nothing',
      'A publication that fails leaves its own list.',
      'return renderQueryTool(before.mappingVersion, filesOf(before.content), before.sagaId);',
      'return renderQueryTool(before.mappingVersion, filesOf(this.#image.after.content), before.sagaId);',
    ],
  ]),
  ...plant('src/services/knowledge-base/sweep.ts', DATABASE, [
    [
      'sweep-believes-the-list',
      'A file that a list leaves out is called missing without a second look.',
      "if (reply.kind !== 'gone') {\n    readable(reply);\n    return 0;\n  }",
      '',
    ],
    [
      'sweep-believes-an-empty-account',
      'A key of another Vapi organization makes every file again.',
      'if (seen === 0 && unseen > FEW)',
      'if (seen === 0 && unseen > FEW * 1_000)',
    ],
  ]),
  ...plant('src/services/knowledge-base/sweep.ts', E2E, [
    [
      'sweep-looks-at-each-tool',
      'The sweep asks for every tool by its id, although the list shows it.',
      'if (tool.busy || (listed !== undefined && holds(tool, listed))) continue;',
      'if (tool.busy) continue;',
    ],
  ]),
  ...plant('src/services/knowledge-base/content.ts', CONTENT, [
    [
      'content-believed-by-name',
      'A file is what its name says, whatever is in it.',
      "if (found !== 'text') return { contentType: found };",
      "if (found !== 'text') return { contentType: wanted };",
    ],
  ]),
];
