import { printable } from '@moniepoint/api/bin';
import type { Finding } from '@moniepoint/core/doctor';
import { wrapped } from './text.ts';

const LABELS: Record<Finding['status'], string> = { ok: 'ok', warn: 'warn', fail: 'FAIL', skip: 'skip' };
const LABEL_WIDTH = 6;
/** Below this, what was found stands under the name of its check. */
const MIN_WIDTH = 60;

/**
 * One line a check where nothing is to be broken into lines, so that grep finds all of it; else what to do next stands on
 * lines of its own. Checks that were skipped for one reason share a line.
 *
 * @param width of the terminal; Infinity where there is none
 */
export function renderFindings(findings: readonly Finding[], width: number): string {
  const shown = joinSkipped(findings);
  const isNarrow = width < MIN_WIDTH;
  const nameWidth = Math.max(...shown.map(({ check }) => check.length)) + 2;
  const indent = isNarrow ? LABEL_WIDTH : LABEL_WIDTH + nameWidth;
  const margin = `\n${' '.repeat(indent)}`;
  const lines = shown.map(({ check, status, found, advice }) => {
    const name = isNarrow ? `${check}${margin}` : check.padEnd(nameWidth);
    const texts = (advice === null ? [found] : [found, `-> ${advice}`]).map(printable);
    const text = texts
      .map((one) => wrapped(one, indent, width))
      .join(width === Number.POSITIVE_INFINITY ? ' ' : margin);
    return `${LABELS[status].padEnd(LABEL_WIDTH)}${name}${text}\n`;
  });
  return lines.join('');
}

function joinSkipped(findings: readonly Finding[]): Finding[] {
  const alike = (finding: Finding) =>
    findings.filter(({ status, found }) => finding.status === 'skip' && status === 'skip' && found === finding.found);
  return findings.flatMap((finding) => {
    const group = alike(finding);
    if (group.length < 2) return [finding];
    const names = group.map(({ check }) => check).join(', ');
    return finding === group[0] ? [{ ...finding, check: 'others', found: `${finding.found}: ${names}` }] : [];
  });
}
