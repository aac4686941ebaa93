/** Where every copy of the API of major version 1 in a process looks for what is registered. */
const REGISTRY = Symbol.for('opentelemetry.js.api.1');

/**
 * The version of the API through which an OpenTelemetry SDK is registered, if one is. A copy of the API does not take
 * what an older one has registered, and says nothing: asked while nothing is heard, this tells whether that is why.
 */
export function registeredApi(): string | undefined {
  const registry = (globalThis as { [REGISTRY]?: { version?: unknown; trace?: unknown; metrics?: unknown } })[
    REGISTRY
  ];
  if (registry?.trace === undefined && registry?.metrics === undefined) return undefined;
  return typeof registry.version === 'string' ? registry.version : 'of unknown version';
}
