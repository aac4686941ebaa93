import { isRecord } from '../json.ts';
import type { MessageBody } from '../request/read.ts';
import { addContent, type InputFeatures, jsonLength, noFeatures } from './content.ts';
import { clearedBy, type PromptMessage } from './context-edits.ts';
import { loadedTools } from './tools.ts';

/** Pure. Cost is linear in the request, with long texts sampled. */
export function readFeatures(body: MessageBody): InputFeatures {
  const features = noFeatures();
  addContent(body.system, features);
  const messages = promptMessages(body.messages);
  features.messages = messages.length;
  const cleared = clearedBy(body, messages, features);
  for (const { content, cut } of messages) addContent(content, features, cut, cleared);
  for (const tool of loadedTools(body)) {
    features.tools++;
    features.json += jsonLength(tool);
  }
  for (const format of [
    body.output_format,
    isRecord(body.output_config) ? body.output_config.format : undefined,
  ])
    if (isRecord(format)) features.json += jsonLength(format.schema);
  return features;
}

/** The messages that the model is shown: all that stands before the last summary is gone. */
function promptMessages(messages: unknown): PromptMessage[] {
  if (!Array.isArray(messages)) return [];
  for (let at = messages.length - 1; at >= 0; at--) {
    const content = isRecord(messages[at]) ? messages[at].content : undefined;
    const cut = Array.isArray(content) ? content.findLastIndex(isSummary) : -1;
    if (cut >= 0)
      return messages
        .slice(at)
        .filter(isRecord)
        .map((message, n) => messageOf(message, n === 0 ? cut : 0));
  }
  return messages.filter(isRecord).map((message) => messageOf(message, 0));
}

const messageOf = ({ role, content }: Record<string, unknown>, cut: number): PromptMessage => ({
  role,
  content,
  cut,
});

/** A summary that failed is no summary: the API passes it over. */
const isSummary = (block: unknown): boolean =>
  isRecord(block) && block.type === 'compaction' && typeof block.content === 'string';
