/** A span as the drawing needs it. */
export interface TreeSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string | undefined;
  readonly label: string;
  /** Position among all spans, by start. */
  readonly order: number;
}

/** A span whose parent is not among them (a remote one, or one of another provider) stands at the left margin. */
export function drawTree(spans: readonly TreeSpan[]): string {
  const sorted = spans.toSorted((a, b) => a.order - b.order);
  const known = new Set(sorted.map((span) => span.spanId));
  const children = new Map<string, TreeSpan[]>();
  for (const span of sorted) {
    const parent = span.parentSpanId !== undefined && known.has(span.parentSpanId) ? span.parentSpanId : '';
    const siblings = children.get(parent);
    if (siblings === undefined) children.set(parent, [span]);
    else siblings.push(span);
  }
  const lines: string[] = [];

  function draw(span: TreeSpan, lead: string, branch: string, below: string): void {
    lines.push(lead + branch + span.label);
    const own = children.get(span.spanId) ?? [];
    own.forEach((child, index) => {
      const isLast = index === own.length - 1;
      draw(child, lead + below, isLast ? '└─ ' : '├─ ', isLast ? '   ' : '│  ');
    });
  }

  for (const root of children.get('') ?? []) draw(root, '', '', '');
  return lines.join('\n');
}
