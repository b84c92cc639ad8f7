/**
 * `npm run audit`: known vulnerabilities of what is locked. Fails on high and critical ones, and where
 * nothing could be checked: some registries (mirrors, proxies) have no audit endpoint.
 */
import { spawnSync } from 'node:child_process';

export interface Verdict {
  ok: boolean;
  text: string;
}

interface Report {
  metadata?: { vulnerabilities?: Partial<Record<Severity, number>> };
  vulnerabilities?: Record<string, { severity?: string; via?: unknown[] }>;
  statusCode?: number;
  message?: string;
  uri?: string;
}
type Severity = 'info' | 'low' | 'moderate' | 'high' | 'critical';

/** How a registry says that it has no such endpoint. A 5xx or no answer at all is trouble, not an answer. */
const NOT_OFFERED = new Set([404, 405, 410, 501]);
const FATAL = new Set(['high', 'critical']);

/** What `npm audit --json` printed, judged. */
export function auditVerdict(output: string): Verdict {
  let report: Report;
  try {
    report = JSON.parse(output) as Report;
  } catch {
    return { ok: false, text: `npm audit gave no report: ${output.trim().slice(0, 300) || 'no output'}` };
  }
  if (report.statusCode !== undefined && NOT_OFFERED.has(report.statusCode)) {
    const registry = report.uri === undefined ? 'The registry' : new URL(report.uri).origin;
    return {
      ok: false,
      text: `${registry} offers no audit endpoint (HTTP ${report.statusCode}): nothing was checked. Run it against a registry that does (npm_config_registry=<address>).`,
    };
  }
  const counts = report.metadata?.vulnerabilities;
  if (counts === undefined) {
    return { ok: false, text: `npm audit failed: ${report.message ?? output.trim().slice(0, 300)}` };
  }
  const summary = Object.entries(counts)
    .filter(([severity]) => severity !== 'total')
    .map(([severity, count]) => `${count} ${severity}`)
    .join(', ');
  const fatal = Object.entries(report.vulnerabilities ?? {}).filter(([, { severity }]) =>
    FATAL.has(severity ?? ''),
  );
  const names = fatal.map(([name, { severity }]) => `\n  ${severity}: ${name}`).join('');
  return {
    ok: (counts.high ?? 0) + (counts.critical ?? 0) === 0,
    text: `Known vulnerabilities: ${summary}.${names}`,
  };
}

if (import.meta.main) {
  const { stdout, error } = spawnSync('npm', ['audit', '--json'], {
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
  const verdict =
    error === undefined ? auditVerdict(stdout) : { ok: false, text: `npm cannot be run: ${error.message}` };
  (verdict.ok ? console.log : console.error)(verdict.text);
  if (!verdict.ok) process.exitCode = 1;
}
