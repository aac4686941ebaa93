import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import protobuf from 'protobufjs';
import { onTestFinished } from 'vitest';

/** A span as it came over the wire. */
export interface WireSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string | undefined;
  readonly name: string;
  readonly kind: number;
  /** Nanoseconds of the epoch. */
  readonly start: bigint;
  readonly end: bigint;
  readonly statusCode: number;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly scope: string;
  readonly service: unknown;
  readonly links: readonly string[];
}

export interface OtlpReceiver {
  readonly url: string;
  /** Every body received, by content type. */
  readonly bodies: readonly { readonly path: string; readonly type: string; readonly bytes: Buffer }[];
  spans(type: 'json' | 'protobuf'): WireSpan[];
  /** Names of the metrics received. */
  metricNames(type: 'json' | 'protobuf'): string[];
}

/** An OTLP receiver over HTTP on loopback, which keeps all that it gets. */
export async function startOtlpReceiver(): Promise<OtlpReceiver> {
  const bodies: { path: string; type: string; bytes: Buffer }[] = [];
  const server = createServer(async (req, res) => {
    const bytes = Buffer.concat(await req.toArray());
    bodies.push({ path: req.url ?? '', type: req.headers['content-type'] ?? '', bytes });
    res.writeHead(200, { 'content-type': req.headers['content-type'] });
    // An empty message says that all was taken, in either encoding.
    res.end(req.headers['content-type'] === 'application/json' ? '{}' : '');
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const of = (type: string, path: string) =>
    bodies.filter((body) => body.type.endsWith(type) && body.path === path).map(({ bytes }) => bytes);
  const decode = (type: 'json' | 'protobuf', path: string, message: string) =>
    of(type, path).map((bytes): unknown =>
      type === 'json' ? JSON.parse(bytes.toString()) : plain(OTLP.lookupType(message), bytes),
    );
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    bodies,
    spans: (type) => decode(type, '/v1/traces', 'Traces').flatMap((traces) => readSpans(traces as Traces)),
    metricNames: (type) => {
      const all = decode(type, '/v1/metrics', 'Metrics').flatMap((metrics) =>
        ((metrics as Metrics).resourceMetrics ?? []).flatMap(({ scopeMetrics }) =>
          scopeMetrics.flatMap((scope) => scope.metrics.map(({ name }) => name)),
        ),
      );
      return [...new Set(all)].toSorted();
    },
  };
}

interface KeyValue {
  readonly key: string;
  readonly value: Readonly<Record<string, unknown>>;
}
interface Traces {
  readonly resourceSpans?: readonly {
    readonly resource: { readonly attributes: readonly KeyValue[] };
    readonly scopeSpans: readonly {
      readonly scope: { readonly name: string };
      readonly spans: readonly RawSpan[];
    }[];
  }[];
}
interface Metrics {
  readonly resourceMetrics?: readonly {
    readonly scopeMetrics: readonly { readonly metrics: readonly { readonly name: string }[] }[];
  }[];
}
/** Hex in JSON, bytes in protobuf. */
type Id = string | Uint8Array;
const hex = (id: Id) => (typeof id === 'string' ? id : Buffer.from(id).toString('hex'));

interface RawSpan {
  readonly traceId: Id;
  readonly spanId: Id;
  readonly parentSpanId?: Id;
  readonly name: string;
  readonly kind: number;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly status?: { readonly code?: number };
  readonly attributes?: readonly KeyValue[];
  readonly links?: readonly { readonly spanId: Id }[];
}

function readSpans({ resourceSpans = [] }: Traces): WireSpan[] {
  return resourceSpans.flatMap(({ resource, scopeSpans }) =>
    scopeSpans.flatMap(({ scope, spans }) =>
      spans.map((span) => ({
        traceId: hex(span.traceId),
        spanId: hex(span.spanId),
        parentSpanId: hex(span.parentSpanId ?? '') || undefined,
        name: span.name,
        kind: span.kind,
        start: BigInt(span.startTimeUnixNano),
        end: BigInt(span.endTimeUnixNano),
        statusCode: span.status?.code ?? 0,
        attributes: toRecord(span.attributes ?? []),
        scope: scope.name,
        service: toRecord(resource.attributes)['service.name'],
        links: (span.links ?? []).map(({ spanId }) => hex(spanId)),
      })),
    ),
  );
}

const toRecord = (pairs: readonly KeyValue[]) =>
  Object.fromEntries(pairs.map(({ key, value }) => [key, unwrap(value)]));

/** The one field of a value. 64-bit numbers come as text in JSON and as text out of protobuf. */
function unwrap(value: Readonly<Record<string, unknown>>): unknown {
  const [kind, content] = Object.entries(value)[0] ?? [];
  if (kind === 'intValue') return Number(content);
  if (kind === 'arrayValue') return ((content as { values?: KeyValue['value'][] }).values ?? []).map(unwrap);
  return content;
}

/** As the JSON encoding has it, but that ids are bytes. */
function plain(type: protobuf.Type, bytes: Uint8Array): unknown {
  return type.toObject(type.decode(bytes), { longs: String, arrays: true }) as unknown;
}

const field = (type: string, id: number) => ({ type, id });
const many = (type: string, id: number) => ({ rule: 'repeated', type, id });

/** The fields of OTLP that are read here, by their numbers; what is not named is skipped. */
const OTLP = protobuf.Root.fromJSON({
  nested: {
    Traces: { fields: { resourceSpans: many('ResourceSpans', 1) } },
    ResourceSpans: { fields: { resource: field('Resource', 1), scopeSpans: many('ScopeSpans', 2) } },
    Resource: { fields: { attributes: many('KeyValue', 1) } },
    ScopeSpans: { fields: { scope: field('Scope', 1), spans: many('Span', 2) } },
    Scope: { fields: { name: field('string', 1) } },
    Span: {
      fields: {
        traceId: field('bytes', 1),
        spanId: field('bytes', 2),
        parentSpanId: field('bytes', 4),
        name: field('string', 5),
        kind: field('int32', 6),
        startTimeUnixNano: field('fixed64', 7),
        endTimeUnixNano: field('fixed64', 8),
        attributes: many('KeyValue', 9),
        links: many('Link', 13),
        status: field('Status', 15),
      },
    },
    Link: { fields: { spanId: field('bytes', 2) } },
    Status: { fields: { code: field('int32', 3) } },
    KeyValue: { fields: { key: field('string', 1), value: field('AnyValue', 2) } },
    AnyValue: {
      oneofs: { value: { oneof: ['stringValue', 'boolValue', 'intValue', 'doubleValue', 'arrayValue'] } },
      fields: {
        stringValue: field('string', 1),
        boolValue: field('bool', 2),
        intValue: field('int64', 3),
        doubleValue: field('double', 4),
        arrayValue: field('ArrayValue', 5),
      },
    },
    ArrayValue: { fields: { values: many('AnyValue', 1) } },
    Metrics: { fields: { resourceMetrics: many('ResourceMetrics', 1) } },
    ResourceMetrics: { fields: { scopeMetrics: many('ScopeMetrics', 2) } },
    ScopeMetrics: { fields: { metrics: many('Metric', 2) } },
    Metric: { fields: { name: field('string', 1) } },
  },
});

/** What is wrong with the trees of these spans, for whoever shows them: nothing, as a rule. */
export function faultsOf(
  spans: readonly WireSpan[],
  mayOutlast: (span: WireSpan, parent: WireSpan) => boolean = () => false,
): string[] {
  const faults: string[] = [];
  const byId = new Map(spans.map((span) => [span.spanId, span]));
  const roots = new Map<string, number>();
  for (const span of spans) {
    const wrong = (what: string) => faults.push(`${span.name}: ${what}`);
    if (!/^[0-9a-f]{32}$/.test(span.traceId)) wrong(`trace id ${span.traceId}`);
    if (!/^[0-9a-f]{16}$/.test(span.spanId)) wrong(`span id ${span.spanId}`);
    if (typeof span.service !== 'string' || span.service === '') wrong('no service.name');
    if (span.end < span.start) wrong('ends before it starts');
    for (const [key, value] of Object.entries(span.attributes)) {
      const isFlat = (each: unknown) => ['string', 'number', 'boolean'].includes(typeof each);
      if (!isFlat(value) && !(Array.isArray(value) && value.every(isFlat))) wrong(`${key} is no plain value`);
    }
    // 2 is ERROR. A server span's own status is the app's affair.
    if (span.statusCode === 2 && span.kind !== 2 && span.attributes['error.type'] === undefined)
      wrong('an error without a type');
    if (span.parentSpanId === undefined) roots.set(span.traceId, (roots.get(span.traceId) ?? 0) + 1);
    else {
      const parent = byId.get(span.parentSpanId);
      if (parent === undefined) wrong('its parent is missing');
      else if (parent.traceId !== span.traceId) wrong('its parent is in another trace');
      else if (span.start < parent.start - SLACK) wrong(`starts before its parent ${parent.name}`);
      else if (span.end > parent.end + SLACK && !mayOutlast(span, parent))
        wrong(`ends ${Number(span.end - parent.end) / 1e6} ms after its parent ${parent.name}`);
    }
  }
  for (const { traceId } of spans) {
    const count = roots.get(traceId) ?? 0;
    if (count !== 1) faults.push(`trace ${traceId} has ${count} roots`);
    roots.set(traceId, 1);
  }
  return faults;
}

/** Two clocks of one process, the one of the epoch and the one that only rises, differ by less than this: 2 ms. */
const SLACK = 2_000_000n;
