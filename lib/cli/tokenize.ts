/** `lutra tokenize`: text to token ids, with the vocabulary only. */
import type { Command } from "commander";
import { findModel, readText, type TextFlags } from "./input.js";
import { addModel, type ModelFlags, option } from "./options.js";
import { print, printJson, runCommand } from "./terminal.js";

interface TokenizeFlags extends ModelFlags, TextFlags {
  ids?: boolean;
  special: boolean;
  parseSpecial?: boolean;
}

export function registerTokenize(program: Command): void {
  const command = program
    .command("tokenize")
    .description("turn text into token ids: one id and piece a line; works on a vocabulary-only GGUF")
    .argument("[text]", "the text (else -f or stdin)")
    .addOption(option("-p, --prompt <text>", "the text"))
    .addOption(option("-f, --file <file>", "file with the text (-: stdin)"))
    .addOption(option("--ids", "a JSON array of ids on stdout"))
    .addOption(option("--no-special", "do not add the tokens that begin or end a sequence"))
    .addOption(option("--parse-special", "text that spells a control token becomes that token"));
  addModel(command).action((text: string | undefined, flags: TokenizeFlags) =>
    runCommand((signal) => tokenize(text, flags, command, signal)),
  );
}

async function tokenize(
  argument: string | undefined,
  flags: TokenizeFlags,
  command: Command,
  signal: AbortSignal,
): Promise<void> {
  const { text } = await readText(argument, flags, command);
  const path = await findModel(flags, signal);
  const { binding } = await import("../binding/index.js");
  const tokenizer = binding.tokenizerAcquire(path);
  try {
    const ids = Array.from(binding.encode(tokenizer, text, flags.special, flags.parseSpecial ?? false));
    if (flags.ids) return await print(`${JSON.stringify(ids)}\n`);
    const tokens = ids.map((id) => ({
      id,
      piece: Buffer.from(binding.tokenBytes(tokenizer, id, true)).toString("utf8"),
    }));
    if (flags.json) return await printJson({ tokens, count: ids.length });
    await print(tokens.map(({ id, piece }) => `${String(id).padStart(7)}  ${JSON.stringify(piece)}\n`).join(""));
  } finally {
    binding.tokenizerRelease(tokenizer);
  }
}
