/**
 * The calibration file of activation sparsity, version 1: one JSON object. Arrays go by layer, then by site (the inputs of q, k
 * and v; of the output projection; of gate and up; of down); a site that the method does not mask is empty.
 *
 * | field | |
 * |---|---|
 * | kind, version | `lutra-sparsity`, 1 |
 * | fingerprint | of the model file |
 * | type, attention, norms | how channels were ranked, and where |
 * | tokens, window, textSha256 | of the text's token ids, int32 |
 * | channels | [4] of each site; 0: not masked |
 * | quantiles | 65 scores: those that 0, 1/64, … 1 of all scores stay below |
 * | frequencies | base64, a byte a channel: tokens that have it among their best half, in 255ths |
 * | allocation | rows: share of the masked weights that is left out, then the shares kept at the sites |
 * | checksum | SHA-256 of the object without this field |
 *
 * The checksum finds accidents, not attackers: everything that native code is told is checked by itself. Scores are right for
 * the method alone, allocations for the model.
 */
import { createHash } from "node:crypto";
import { createError, describeValue } from "../errors.js";

const version = 1;
const kind = "lutra-sparsity";
const sites = 4;
const knots = 65;
const maxLayers = 4096;
const maxRows = 1024;

/** How channels are ranked, and where they are left out. */
export interface SparsityMethod {
  type: string;
  attention: boolean;
  norms: "none" | "stacked" | "own" | "published";
  /** Sites that are masked, [4]. */
  masked: readonly boolean[];
}

export interface ExpectedSparsity {
  /** Of the model file: 64 hex digits. */
  fingerprint: string;
  method: SparsityMethod;
}

/** What is used of a calibration. */
export interface SparsityTables {
  /** [layers * 4 * 65] */
  quantiles: Float32Array;
  /** A layer's rows of 5, ascending: share left out, shares kept. */
  allocation: Float32Array[];
}

export interface SparsityImage extends ExpectedSparsity, SparsityTables {
  /** SHA-256 of the text's token ids, 64 hex digits. */
  textSha256: string;
  tokens: number;
  /** Tokens that saw each other. */
  window: number;
  /** [layers * 4], a byte a channel */
  frequencies: Uint8Array[];
}

export function encodeSparsity(image: SparsityImage): string {
  const { fingerprint, method, textSha256, tokens, window, quantiles, frequencies, allocation } = image;
  const { type, attention, norms, masked } = method;
  const bySite = <T>(each: (at: number, site: number) => T): T[][] =>
    allocation.map((_, layer) => Array.from({ length: sites }, (_, site) => each(layer * sites + site, site)));
  const body = {
    ...{ kind, version, fingerprint, type, attention, norms, tokens, window, textSha256 },
    channels: Array.from({ length: sites }, (_, site) => frequencies[site]?.length),
    quantiles: bySite((at, site) => (masked[site] ? brief(quantiles.subarray(at * knots, (at + 1) * knots)) : [])),
    frequencies: bySite((at) => Buffer.from(frequencies[at] as Uint8Array).toString("base64")),
    allocation: allocation.map((rows) =>
      Array.from({ length: rows.length / (sites + 1) }, (_, i) =>
        brief(rows.subarray(i * (sites + 1), (i + 1) * (sites + 1))),
      ),
    ),
  };
  return `${JSON.stringify({ ...body, checksum: checksumOf(body) })}\n`;
}

/** Nine digits are those of a float32. */
function brief(values: Float32Array): number[] {
  return Array.from(values, (value) => Number(value.toPrecision(9)));
}

function checksumOf(body: object): string {
  return createHash("sha256").update(JSON.stringify(body)).digest("hex");
}

/** Believes a file's text. @throws InvalidOptionError that names the field of the file */
export function decodeSparsity(text: string, expected: ExpectedSparsity): SparsityImage {
  const file = parse(text);
  for (const [field, wanted] of Object.entries({ kind, version })) same(field, wanted, file[field]);
  const { fingerprint, method } = expected;
  string("fingerprint", file["fingerprint"], /^[0-9a-f]{64}$/, "64 hex digits");
  same("fingerprint", fingerprint, file["fingerprint"], "; it belongs to another model file");
  for (const field of ["type", "attention", "norms"] as const) same(field, method[field], file[field]);
  const textSha256 = string("textSha256", file["textSha256"], /^[0-9a-f]{64}$/, "64 hex digits");
  const tokens = number("tokens", file["tokens"], 1, 2 ** 31, true);
  const window = number("window", file["window"], 1, tokens, true);
  const channels = list("channels", file["channels"], sites).map((value, site) =>
    method.masked[site]
      ? number(`channels[${site}]`, value, 1, 2 ** 24, true)
      : number(`channels[${site}]`, value, 0, 0, true),
  );
  const allocation = list("allocation", file["allocation"]).map((rows, layer) => readRows(rows, layer, channels));
  if (allocation.length === 0 || allocation.length > maxLayers)
    fail("allocation", `1 to ${maxLayers} layers`, allocation.length);
  const layers = allocation.length;
  const quantiles = new Float32Array(layers * sites * knots);
  for (const [at, field, value] of entries("quantiles", file["quantiles"], layers)) {
    const values = readQuantiles(field, value, (channels[at % sites] as number) > 0);
    quantiles.set(values, at * knots);
  }
  const frequencies = entries("frequencies", file["frequencies"], layers).map(([at, field, value]) =>
    readFrequencies(field, value, channels[at % sites] as number),
  );
  const { checksum, ...body } = file;
  if (checksum !== checksumOf(body)) fail("checksum", "that of the other fields", checksum);
  return { fingerprint, method, textSha256, tokens, window, quantiles, frequencies, allocation };
}

function readQuantiles(field: string, value: unknown, isMasked: boolean): number[] {
  let least = 0;
  return list(field, value, isMasked ? knots : 0).map((each, knot) => {
    least = number(`${field}[${knot}]`, each, least, 3.4e38);
    return least;
  });
}

function readFrequencies(field: string, value: unknown, channels: number): Uint8Array {
  const bytes = Buffer.from(typeof value === "string" ? value : "", "base64");
  if (typeof value !== "string" || bytes.toString("base64") !== value) fail(field, "base64", value);
  if (bytes.length !== channels) fail(field, `${channels} bytes`, bytes.length);
  return Uint8Array.from(bytes);
}

/** From everything kept on, each row leaves out more, and gives nothing back. */
function readRows(value: unknown, layer: number, channels: readonly number[]): Float32Array {
  const rows = list(`allocation[${layer}]`, value);
  if (rows.length === 0 || rows.length > maxRows) fail(`allocation[${layer}]`, `1 to ${maxRows} rows`, rows.length);
  let before: readonly number[] = [0, 1, 1, 1, 1];
  const all = rows.flatMap((row, i) => {
    const field = `allocation[${layer}][${i}]`;
    const [share, ...keeps] = list(field, row, sites + 1);
    const sparsity = number(`${field}[0]`, share, before[0] as number, i === 0 ? 0 : 1);
    if (i > 0 && sparsity === before[0]) fail(`${field}[0]`, `more than ${before[0]}`, sparsity);
    const kept = keeps.map((keep, site) => {
      const most = before[site + 1] as number;
      const least = i === 0 || channels[site] === 0 ? 1 : 1e-3;
      return number(`${field}[${site + 1}]`, keep, least, most);
    });
    before = [sparsity, ...kept];
    return before;
  });
  return Float32Array.from(all);
}

function parse(text: string): Record<string, unknown> {
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch {
    found = undefined;
  }
  if (typeof found === "object" && found !== null && !Array.isArray(found)) return found as Record<string, unknown>;
  throw createError("INVALID_OPTION", "expected a JSON object as lutra calibrate --ffn-sparsity writes it");
}

/** [entry of the flat array, its name, its value] of all layers and sites. */
function entries(field: string, value: unknown, layers: number): [number, string, unknown][] {
  return list(field, value, layers).flatMap((each, layer) =>
    list(`${field}[${layer}]`, each, sites).map((entry, site): [number, string, unknown] => [
      layer * sites + site,
      `${field}[${layer}][${site}]`,
      entry,
    ]),
  );
}

function same(field: string, wanted: unknown, found: unknown, hint = ""): void {
  if (found !== wanted) fail(field, describeValue(wanted), found, hint);
}

function string(field: string, value: unknown, pattern: RegExp, expected: string): string {
  if (typeof value === "string" && pattern.test(value)) return value;
  return fail(field, expected, value);
}

function number(field: string, value: unknown, least: number, most: number, isWhole = false): number {
  const isNumber = typeof value === "number" && value >= least && value <= most;
  if (isNumber && (!isWhole || Number.isInteger(value))) return value;
  return fail(field, `${isWhole ? "an integer" : "a number"} in [${least}, ${most}]`, value);
}

function list(field: string, value: unknown, length?: number): unknown[] {
  if (Array.isArray(value) && (length === undefined || value.length === length)) return value;
  const found = Array.isArray(value) ? `${value.length} entries` : value;
  return fail(field, length === undefined ? "an array" : `${length} entries`, found);
}

function fail(field: string, expected: string, found: unknown, hint = ""): never {
  throw createError("INVALID_OPTION", `${field}: expected ${expected}, got ${describeValue(found)}${hint}`);
}
