/**
 * What products took on this machine, kept from one load to the next: a file in the cache folder for each kind of CPU,
 * number of threads and version of Lutra, by type and shape, so that models of the same shapes share it. A file that is
 * missing, damaged or cannot be written costs measuring again, nothing else.
 */
import { createHash } from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { cpus } from "node:os";
import { dirname, join } from "node:path";
import { z } from "zod";
import { type Isa, packageVersion } from "../../binding/index.js";
import { replaceFile, writeAll } from "../../files/index.js";
import { cacheFolder } from "../../models/index.js";
import type { MatmulForm, MatmulInfo } from "../../types.js";
import { chooseForm, nameKind } from "../../worker/index.js";

const size = z.number().int().positive();
const micros = z.number().positive();
const schema = z.array(
  z.strictObject({
    type: z.string(),
    rows: size,
    cols: size,
    times: z.array(z.strictObject({ columns: size, dotUs: micros, lutUs: micros })).min(1),
  }),
);
/** Far more than the kinds of all models of a machine. */
const maxForms = 4096;

export interface EngineKind {
  isa: Isa;
  threads: number;
}

/** `matmul` with what was measured before. */
export async function recallForms(matmul: MatmulInfo, engine: EngineKind): Promise<MatmulInfo> {
  return matmul.type === "auto" ? { type: "auto", forms: await readForms(placeOf(engine)) } : matmul;
}

/** Keeps what the load has measured beside what was known. */
export async function rememberForms(before: MatmulInfo, after: MatmulInfo, engine: EngineKind): Promise<void> {
  if (before.type !== "auto" || after.type !== "auto") return;
  const known = new Set(before.forms.map(nameKind));
  const measured = after.forms.filter((form) => !known.has(nameKind(form)));
  if (measured.length === 0) return;
  const place = placeOf(engine);
  try {
    const names = new Set(measured.map(nameKind));
    const others = (await readForms(place)).filter((form) => !names.has(nameKind(form)));
    const kept = [...measured, ...others].slice(0, maxForms).map(({ kernel: _, ...times }) => times);
    const bytes = Buffer.from(`${JSON.stringify(kept)}\n`);
    await mkdir(dirname(place), { recursive: true });
    await replaceFile(place, { suffix: "forms", mode: 0o644 }, (file) => writeAll(file, bytes, 0));
  } catch {
    // Measured again next time.
  }
}

async function readForms(place: string): Promise<MatmulForm[]> {
  try {
    return schema.parse(JSON.parse(await readFile(place, "utf8"))).map(chooseForm);
  } catch {
    return [];
  }
}

function placeOf({ isa, threads }: EngineKind): string {
  const machine = JSON.stringify([cpus()[0]?.model, cpus().length, isa, threads, packageVersion()]);
  const name = createHash("sha256").update(machine).digest("hex").slice(0, 32);
  return join(cacheFolder(), "matmul", `${name}.json`);
}
