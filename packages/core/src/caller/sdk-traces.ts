import type { TracerProvider } from '@opentelemetry/api';
import { markPlace, namesPlaces } from './place.ts';
import { placingProvider } from './traces.ts';

type Provide = (provider: TracerProvider | undefined) => TracerProvider | undefined;

/** The tracing option of a client of the SDK, with another provider of tracers; nothing where it has none. */
export function tracedBy({ openTelemetry }: { readonly openTelemetry?: unknown }, provide: Provide): object {
  if (typeof openTelemetry !== 'object' || openTelemetry === null) return {};
  const { tracerProvider: before } = openTelemetry as { tracerProvider?: TracerProvider };
  const tracerProvider = provide(before);
  return tracerProvider === before ? {} : { openTelemetry: { ...openTelemetry, tracerProvider } };
}

/** Notes in development where each call is made: the SDK asks for its span in the line that makes the call. */
export const notingPlaces: Provide = (provider) =>
  namesPlaces()
    ? placingProvider(provider, (active) => {
        markPlace();
        return { context: active };
      })
    : provider;
