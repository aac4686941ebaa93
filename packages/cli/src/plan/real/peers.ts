import type * as sdk from '@anthropic-ai/sdk';
import type * as testing from '@headgate/testing';

/** A package that `--real` needs and that is not there. */
export class MissingPeerError extends Error {
  override readonly name = 'MissingPeerError';
}

export interface Peers {
  readonly Anthropic: typeof sdk.default;
  readonly testing: typeof testing;
}

/** What only `--real` needs, loaded when it is asked for. @throws MissingPeerError saying what to install. */
export async function loadPeers(): Promise<Peers> {
  const load = async <T>(name: string, loading: () => Promise<T>): Promise<T> => {
    try {
      return await loading();
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      // What is missing may be something that the package itself needs.
      if (code !== 'ERR_MODULE_NOT_FOUND' || !message.includes(`'${name}'`)) throw error;
      throw new MissingPeerError(
        `--real: expected the package ${name} to be installed, received none (npm install --save-dev ${name})`,
      );
    }
  };
  const [{ default: Anthropic }, api] = await Promise.all([
    load('@anthropic-ai/sdk', () => import('@anthropic-ai/sdk')),
    load('@headgate/testing', () => import('@headgate/testing')),
  ]);
  return { Anthropic, testing: api };
}
