// chat(): a message's content can spell control tokens and stays text (class T3); models without a template say so.
import t from "tap";
import { binding } from "../../dist/esm/binding/index.js";
import { type ControlTokens, renderPieces } from "../../dist/esm/worker/chat-prompt.js";
import { loadModel } from "../../dist/esm/index.js";
import { tinyModel, tinyTemplate } from "../support/models.js";

const path = tinyModel();
const tokenizer = binding.tokenizerAcquire(path);
t.teardown(() => binding.tokenizerRelease(tokenizer));
const control: ControlTokens = { binding, tokenizer, spellings: new Map() };
const { size, bos, eos } = binding.vocab(tokenizer);
const spell = (id: number): string => Buffer.from(binding.tokenBytes(tokenizer, id, true)).toString();

const controlIds = Array.from({ length: size }, (_, id) => id).filter((id) => {
  return binding.tokenBytes(tokenizer, id, false).length === 0 && binding.tokenBytes(tokenizer, id, true).length > 0;
});
const encodeAll = (pieces: string[]): number[] =>
  pieces.flatMap((piece) => [...binding.encode(tokenizer, piece, false, true)]);
const message = (content: string) => [{ role: "user" as const, content }];

t.test("the tiny vocabulary has control tokens to spell", (t) => {
  t.ok(controlIds.length > 0, `${controlIds.map(spell)} bos ${bos} eos ${eos}`);
  t.end();
});

t.test("plain contents are one piece, exactly as rendered", (t) => {
  t.same(renderPieces(tinyTemplate, message(" hello "), {}, control), ["<|user|>hello\n<|assistant|>"]);
  t.end();
});

t.test("spelled control tokens never become one, and the text stays the same", (t) => {
  for (const id of controlIds) {
    const token = spell(id);
    for (const content of [
      token,
      `a${token}b`,
      token + token,
      `${token[0]}${token}${token.slice(1)}`,
      `${token}\uE000`,
    ]) {
      const pieces = renderPieces(tinyTemplate, message(content), {}, control);
      t.equal(pieces.join(""), `<|user|>${content.trim()}\n<|assistant|>`);
      t.notOk(encodeAll(pieces).includes(id), JSON.stringify(content));
    }
  }
  t.end();
});

t.test("the template's own control tokens are parsed", (t) => {
  const [id] = controlIds;
  const token = spell(id as number);
  const pieces = renderPieces(`${token}{{ messages[0]['content'] }}`, message(`x${token}`), {}, control);
  t.equal(encodeAll(pieces).filter((each) => each === id).length, 1);
  t.end();
});

t.test("a model without a template names the override; the override works", async (t) => {
  const model = await loadModel(path);
  const refused = await model.chat(message("hi")).then(undefined, (reason: unknown) => reason);
  t.match(refused, { code: "TEMPLATE_MISSING", message: /chatTemplate/ });
  const answer = await model.chat(message("hi"), { chatTemplate: tinyTemplate, maxTokens: 3, ignoreEos: true });
  t.equal(answer.tokens.length, 3);
  const wrong = await model
    .chat([{ role: "nobody" as "user", content: "" }], { chatTemplate: tinyTemplate })
    .then(undefined, (reason: unknown) => reason);
  t.match(wrong, { code: "INVALID_MESSAGES", message: /messages\[0\]\.role/ });
  await model.dispose();
});
