#!/usr/bin/env node
/** The `lutra` command. */
import { Command } from "commander";
import { packageVersion } from "../binding/index.js";
import { registerBench } from "./bench.js";
import { registerCalibrate } from "./calibrate.js";
import { registerDoctor } from "./doctor.js";
import { registerGenerate } from "./generate.js";
import { registerInspect } from "./inspect.js";
import { registerModels } from "./models.js";
import { registerPerplexity } from "./perplexity.js";
import { registerPull } from "./pull.js";
import { registerQuantize } from "./quantize.js";
import { endQuietlyOnClosedStdout, reportFailure, usageLine } from "./terminal.js";
import { registerTokenize } from "./tokenize.js";

function createProgram(): Command {
  const program = new Command("lutra")
    .description("language models on the CPU")
    .version(packageVersion(), "-V, --version")
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(`${usageLine(text)}\n`) })
    .showSuggestionAfterError()
    .addHelpText(
      "after",
      "\nEvery flag has an environment variable: LUTRA_ and its long name (--top-k: LUTRA_TOP_K); the flag wins.",
    );
  for (const register of [
    registerGenerate,
    registerTokenize,
    registerPerplexity,
    registerBench,
    registerCalibrate,
    registerQuantize,
    registerInspect,
    registerPull,
    registerModels,
    registerDoctor,
  ]) {
    register(program);
  }
  return program;
}

endQuietlyOnClosedStdout();
createProgram().parseAsync().catch(reportFailure);
