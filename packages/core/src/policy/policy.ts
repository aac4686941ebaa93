import { ANONYMOUS } from '../caller/caller.ts';
import type { ResolvedCaller } from '../caller/scope.ts';
import type { CapConfig, Config, PriceConfig, QuotaConfig } from '../config/schema.ts';
import { CapRefusedError } from '../errors.ts';
import { type Call, thinkingBudget } from '../request/read.ts';
import { compileGlob, compileWhen, type Matcher, type Subject } from './match.ts';
import { MODELS, type Model, type Price, type PriceTag } from './models.ts';
import type { Plan } from './plan.ts';

/** The rules of a configuration, compiled. */
export interface Policy {
  /** Pure. @throws CapRefusedError when a cap refuses the call. */
  plan(call: Call, caller: ResolvedCaller | undefined): Plan;
  model(id: string): Model | undefined;
}

interface Compiled<R> {
  readonly rule: R;
  readonly matches: Matcher;
}

/** Model ids remembered with what the tables say of them. */
const MAX_KNOWN_MODELS = 512;

export function compilePolicy(config: Config): Policy {
  const quotas: Compiled<QuotaConfig>[] = config.quotas.map((rule) => ({
    rule: config.shadow ? { ...rule, shadow: true } : rule,
    matches: compileWhen(rule.when),
  }));
  const caps: Compiled<CapConfig>[] = config.caps.map((rule) => ({
    rule,
    matches: compileWhen(rule.when),
  }));
  const models = compileModels(config.prices);
  const defaultLane = config.defaultLane ?? Object.keys(config.lanes)[0] ?? '';

  return {
    model: (id) => models(id).model,
    plan(call, scoped) {
      const caller = scoped ?? NOBODY;
      const lane =
        caller.lane !== undefined && Object.hasOwn(config.lanes, caller.lane) ? caller.lane : defaultLane;
      const subject: Subject = {
        user: caller.user ?? ANONYMOUS,
        tenant: caller.tenant,
        tier: caller.tier,
        lane,
        route: caller.route,
        model: call.model,
      };
      const { model, price } = models(call.model);
      const maxTokens = applyCaps(call, subject, caps, config.shadow);
      return {
        caller,
        isAnonymous: scoped === undefined,
        lane,
        flowKey: caller.tenant === undefined ? subject.user : `${caller.tenant}\n${subject.user}`,
        purpose: caller.route ?? lane,
        model,
        price,
        maxTokens,
        clampedFrom: maxTokens === call.maxTokens ? undefined : call.maxTokens,
        quotas: quotas
          .filter(({ matches }) => matches(subject))
          .map(({ rule }) => ({
            rule,
            key: keyOf(rule.per, subject, caller.tenant),
          })),
        isShadow: config.shadow,
      };
    },
  };
}

const NOBODY: ResolvedCaller = { signals: [] };

/** Whose share of a quota a call draws on. Users of two tenants are two users, though they have one name. */
function keyOf(per: QuotaConfig['per'], subject: Subject, tenant: string | undefined): string {
  switch (per) {
    case 'user':
      return `${tenant ?? ''}\n${subject.user}`;
    case 'tenant':
      return tenant ?? '';
    case 'route':
      return subject.route ?? '';
    case 'model':
      return subject.model;
    case 'all':
      return '';
  }
}

/** The lowest matching cap holds. A clamp never goes under the thinking budget: the API would refuse the request. */
function applyCaps(
  call: Call,
  subject: Subject,
  caps: readonly Compiled<CapConfig>[],
  isShadow: boolean,
): number | undefined {
  const asked = call.maxTokens;
  if (asked === undefined || call.kind !== 'messages') return asked;
  let granted = asked;
  for (const { rule, matches } of caps) {
    if (asked <= rule.maxTokens || !matches(subject) || isShadow) continue;
    if (rule.onExceed === 'refuse') {
      throw new CapRefusedError(`max_tokens is ${asked}, and a cap allows ${rule.maxTokens}`, {
        reason: 'cap',
        lane: subject.lane,
      });
    }
    granted = Math.min(granted, rule.maxTokens);
  }
  const budget = thinkingBudget(call.body);
  if (granted < asked && budget !== undefined && granted <= budget) {
    throw new CapRefusedError(
      `a cap allows max_tokens of ${granted}, which must be above the thinking budget of ${budget}`,
      { reason: 'cap', lane: subject.lane },
    );
  }
  return granted;
}

interface KnownModel {
  readonly model: Model | undefined;
  readonly price: PriceTag | undefined;
}

function compileModels(prices: Readonly<Record<string, PriceConfig>>): (id: string) => KnownModel {
  const table = MODELS.map((model) => ({
    model,
    matches: compileGlob(model.match),
  }));
  const overrides = Object.entries(prices).map(([pattern, price]) => ({
    price,
    matches: compileGlob(pattern),
  }));
  const known = new Map<string, KnownModel>();
  return (id) => {
    const before = known.get(id);
    if (before !== undefined) return before;
    const model = table.find(({ matches }) => matches(id))?.model;
    const override = overrides.find(({ matches }) => matches(id))?.price;
    const found = { model, price: priceTag(model, override) };
    if (known.size < MAX_KNOWN_MODELS) known.set(id, found);
    return found;
  };
}

function priceTag(model: Model | undefined, override: PriceConfig | undefined): PriceTag | undefined {
  if (override !== undefined) return { price: completePrice(override), steps: [] };
  return model?.price === undefined ? undefined : { price: model.price, steps: model.steps ?? [] };
}

/** Cache prices that are left out are taken at the usual multiples of the input price. */
function completePrice({ input, output, cacheWrite5m, cacheWrite1h, cacheRead }: PriceConfig): Price {
  return {
    input,
    output,
    cacheWrite5m: cacheWrite5m ?? input * 1.25,
    cacheWrite1h: cacheWrite1h ?? input * 2,
    cacheRead: cacheRead ?? input * 0.1,
  };
}
