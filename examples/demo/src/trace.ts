import type { RecordedSpan, SpanRecorder } from '@headgate/testing';
import { fineSeconds } from './screen.ts';

/** The tree of a trace, with the time that each span took and what Headgate decided in it. */
export function drawTrace(recorder: SpanRecorder, traceId: string): string {
  const spans = recorder.spans
    .filter((span) => span.traceId === traceId)
    .toSorted((a, b) => a.startTime - b.startTime);
  const rows = recorder
    .tree(traceId)
    .split('\n')
    .map((branch) => {
      const name = branch.replace(/^[│├└─ ]*/, '').replace(/ \[\w+\]$/, '');
      // Spans of one name stand in the tree in the order in which they started.
      const index = spans.findIndex((span) => span.name === name);
      return { branch, span: index === -1 ? undefined : spans.splice(index, 1)[0] };
    });
  const width = Math.max(...rows.map(({ branch }) => branch.length));
  return rows
    .map(({ branch, span }) =>
      span === undefined
        ? branch
        : `${branch.padEnd(width)}  ${fineSeconds(span.endTime - span.startTime).padStart(7)}  ${facts(span)}`.trimEnd(),
    )
    .join('\n');
}

/** The attributes worth a glance, and what they are called here. */
const SHOWN = [
  ['headgate.lane', 'lane'],
  ['headgate.decision', 'decision'],
  ['headgate.reason', 'reason'],
  ['http.response.status_code', 'status'],
  ['headgate.usage.output_tokens', 'output tokens'],
  ['headgate.cost', 'USD'],
] as const;

function facts({ attributes }: RecordedSpan): string {
  return SHOWN.flatMap(([name, label]) => {
    const value = attributes[name];
    return value === undefined ? [] : [`${label} ${value}`];
  }).join(', ');
}
