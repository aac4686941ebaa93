import type { AttemptStory, CallStory } from './types.ts';

const SILENT_ATTEMPT: AttemptStory = {
  run: (fn) => fn(),
  responded() {},
  probes() {},
  end() {},
};

/** The story of a call that nobody listens to: no OpenTelemetry SDK is registered. */
export const SILENT_CALL: CallStory = {
  admissionStarted() {},
  planned() {},
  budgetsSoft() {},
  passed() {},
  unknownModel() {},
  fellBack() {},
  retryDenied() {},
  admitted() {},
  refused() {},
  attemptStarted: () => SILENT_ATTEMPT,
  backoff: () => ({ end() {} }),
  attemptEnded() {},
  estimateSeen() {},
  end() {},
};
