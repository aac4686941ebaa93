import { CORPUS } from './corpus.ts';
import { field, isObject, listOf, textOf } from './json.ts';
import type { MessageRequest, ModelSpec, OutputPlan } from './options.ts';
import { countText } from './tokens.ts';

/** One block of the answer, and how many of the output tokens it takes. */
export type AnswerBlock =
  | {
      readonly kind: 'thinking';
      readonly tokens: number;
      readonly text: readonly string[];
      readonly signature: string;
    }
  | { readonly kind: 'text'; readonly tokens: number; readonly text: readonly string[] }
  | {
      readonly kind: 'tool_use';
      readonly tokens: number;
      readonly text: readonly string[];
      readonly id: string;
      readonly name: string;
    };

/** Everything the model will write. `text` of a block is an array of characters, so that no cut splits one. */
export interface Answer {
  readonly blocks: readonly AnswerBlock[];
  readonly outputTokens: number;
  readonly thinkingTokens: number;
  readonly stopReason: 'end_turn' | 'max_tokens' | 'tool_use';
}

/** Characters per token of the older tokenizer. */
const CHARS_PER_TOKEN = 3.9;
const ADAPTIVE_SHARE = 0.3;

export function planAnswer(
  request: MessageRequest,
  model: ModelSpec,
  wanted: number | OutputPlan,
  createId: (prefix: string) => string,
): Answer {
  const plan: OutputPlan = typeof wanted === 'number' ? { tokens: wanted } : wanted;
  const tool = plan.toolUse ?? toolAsked(request);
  const thinkingTokens = thinkingOf(request, plan);
  const spoken =
    tool === undefined ? (plan.text ?? structuredText(request)) : JSON.stringify(tool.input ?? {});
  const spokenTokens =
    spoken === undefined ? undefined : countText(spoken, model) + (tool === undefined ? 0 : 12);
  const all = Math.max(1, Math.round(plan.tokens ?? thinkingTokens + (spokenTokens ?? 1)));
  if (!Number.isFinite(all))
    throw new RangeError(`Output tokens must be a finite number, got ${plan.tokens}.`);
  const whole = tool === undefined ? all : Math.max(all, thinkingTokens + (spokenTokens ?? 1));
  const isCut = whole > request.max_tokens;
  const outputTokens = Math.min(whole, request.max_tokens);

  const thinking = Math.min(thinkingTokens, outputTokens);
  const rest = outputTokens - thinking;
  // What is cut off is missing from the end of the text, in proportion.
  const share = whole > thinkingTokens ? rest / (whole - thinkingTokens) : 1;
  const perToken = CHARS_PER_TOKEN / (model.tokenFactor ?? 1);
  const blocks: AnswerBlock[] = [];
  if (thinking > 0) {
    const isOmitted = field(field(request, 'thinking'), 'display') === 'omitted';
    const text = isOmitted ? [] : filler(thinking * perToken, 31);
    blocks.push({ kind: 'thinking', tokens: thinking, text, signature: createId('sig') });
  }
  if (rest > 0) {
    const text =
      spoken === undefined ? filler(rest * perToken, outputTokens) : cut([...spoken], isCut ? share : 1);
    if (tool === undefined) blocks.push({ kind: 'text', tokens: rest, text });
    else blocks.push({ kind: 'tool_use', tokens: rest, text, id: createId('toolu'), name: tool.name });
  }
  const stopReason = isCut ? 'max_tokens' : tool === undefined ? 'end_turn' : 'tool_use';
  return { blocks, outputTokens, thinkingTokens: thinking, stopReason };
}

function thinkingOf(request: MessageRequest, plan: OutputPlan): number {
  if (plan.thinkingTokens !== undefined) return plan.thinkingTokens;
  const thinking = field(request, 'thinking');
  const type = field(thinking, 'type');
  const isOn =
    type === 'enabled' || type === 'adaptive' || (type === 'between_tools' && isToolResult(request));
  if (!isOn) return 0;
  const budget = field(thinking, 'budget_tokens');
  const share = Math.floor((plan.tokens ?? 200) * ADAPTIVE_SHARE);
  return typeof budget === 'number' ? Math.min(budget, share) : share;
}

function filler(characters: number, offset: number): readonly string[] {
  const length = Math.max(1, Math.round(characters));
  const start = offset % CORPUS.length;
  const text = CORPUS.slice(start, start + length);
  while (text.length < length) text.push(...CORPUS.slice(0, length - text.length));
  return text;
}

function cut(characters: readonly string[], share: number): readonly string[] {
  return share >= 1 ? characters : characters.slice(0, Math.floor(characters.length * share));
}

/**
 * Which tool the answer calls. A forced `tool_choice` calls one, and so does `[use:NAME]` in the last
 * message; after a `tool_result` the answer is text, so that a loop of tools comes to an end.
 */
function toolAsked(request: MessageRequest): { name: string; input: unknown } | undefined {
  const choice = field(request, 'tool_choice');
  const choiceType = field(choice, 'type');
  const tools = listOf(field(request, 'tools')).filter((tool) => isObject(field(tool, 'input_schema')));
  if (tools.length === 0 || choiceType === 'none' || isToolResult(request)) return undefined;

  const asked = /\[use:([\w-]+)(?:\s+(\{.*\}))?\]/s.exec(lastText(request));
  const name = choiceType === 'tool' ? textOf(field(choice, 'name')) : asked?.[1];
  const tool =
    tools.find((each) => field(each, 'name') === name) ?? (choiceType === 'any' ? tools[0] : undefined);
  if (tool === undefined) return undefined;
  const given = asked?.[2] === undefined ? undefined : parse(asked[2]);
  return { name: textOf(field(tool, 'name')), input: given ?? example(field(tool, 'input_schema')) };
}

function structuredText(request: MessageRequest): string | undefined {
  const format = field(field(request, 'output_config'), 'format');
  return field(format, 'type') === 'json_schema'
    ? JSON.stringify(example(field(format, 'schema')))
    : undefined;
}

function isToolResult(request: MessageRequest): boolean {
  return listOf(field(request.messages.at(-1), 'content')).some(
    (block) => field(block, 'type') === 'tool_result',
  );
}

function lastText(request: MessageRequest): string {
  const content = field(request.messages.at(-1), 'content');
  if (typeof content === 'string') return content;
  return listOf(content)
    .map((block) => textOf(field(block, 'text')))
    .join('\n');
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** A value that fits a JSON schema of the simple kind that tools use. */
function example(schema: unknown, depth = 0): unknown {
  const choices = listOf(field(schema, 'enum'));
  if (choices.length > 0) return choices[0];
  if (field(schema, 'const') !== undefined) return field(schema, 'const');
  const variants = [...listOf(field(schema, 'anyOf')), ...listOf(field(schema, 'oneOf'))];
  if (variants.length > 0 && depth < 8) return example(variants[0], depth + 1);
  const type = field(schema, 'type');
  switch (Array.isArray(type) ? type[0] : type) {
    case 'string':
      return 'Zürich 🌤';
    case 'integer':
    case 'number':
      return typeof field(schema, 'minimum') === 'number' ? field(schema, 'minimum') : 1;
    case 'boolean':
      return true;
    case 'null':
      return null;
    case 'array':
      return depth < 8 ? [example(field(schema, 'items'), depth + 1)] : [];
    default:
      return exampleObject(schema, depth);
  }
}

function exampleObject(schema: unknown, depth: number): unknown {
  const properties = field(schema, 'properties');
  if (!isObject(properties) || depth >= 8) return {};
  const required = listOf(field(schema, 'required'));
  const names = Object.keys(properties).filter((name) => required.length === 0 || required.includes(name));
  return Object.fromEntries(names.map((name) => [name, example(properties[name], depth + 1)]));
}
