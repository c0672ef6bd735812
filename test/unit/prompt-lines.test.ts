/** The parts of `lutra generate -f x.jsonl` that need no model: lines, requests, and work whose results keep their order. */
import { setTimeout as sleep } from "node:timers/promises";
import t from "tap";
import { runInOrder } from "../../dist/esm/cli/prompt-lines/in-order.js";
import { type Line, readLines } from "../../dist/esm/cli/prompt-lines/read-lines.js";
import { readRequests, type Request } from "../../dist/esm/cli/prompt-lines/request.js";

async function* chunksOf(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

const requestsOf = (text: string | Buffer): Promise<Request[]> =>
  collect(readRequests(readLines(chunksOf(Buffer.from(text), 7), 1000), "x.jsonl"));

t.test("lines are the same however the bytes come", async (t) => {
  const bytes = Buffer.from("one\n\ntwo ü\r\nfour is too long\nlast");
  const expected = ["one", "", "two ü\r", null, "last"];
  for (const size of [1, 2, 3, 5, 8, 100]) {
    const lines = await collect(readLines(chunksOf(bytes, size), 8));
    t.same(
      lines.map((line) => line.bytes?.toString() ?? null),
      expected,
    );
    t.same(
      lines.map(({ number, closed }) => [number, closed]),
      expected.map((_, i) => [i + 1, i < 4]),
    );
    for (const { bytes: own, start, end, closed } of lines.filter((line): line is Line => line.bytes !== null))
      t.same(bytes.subarray(start, closed ? end - 1 : end), own);
    t.equal(lines.at(-1)?.end, bytes.length);
  }
  t.same(await collect(readLines(chunksOf(Buffer.alloc(0), 1), 8)), []);
});

t.test("requests: blank lines are none, a wrong line is one that failed", async (t) => {
  const requests = await requestsOf(
    '\ufeff"a"\n  \r\n{"id":7,"prompt":"b","seed":1}\r\n\n{"messages":[],"id":"x"}\n{\n"é"',
  );
  t.same(
    requests.map(({ index, line, id }) => [index, line, id]),
    [
      [0, 1, undefined],
      [1, 3, 7],
      [2, 5, "x"],
      [3, 6, undefined],
      [4, 7, undefined],
    ],
  );
  t.same(requests[0]?.call, { prompt: "a", options: {} });
  t.same(requests[1]?.call, { prompt: "b", options: { seed: 1 } });
  t.same(requests[2]?.call, { messages: [], options: {} });
  t.match(requests[3]?.call, { code: "INVALID_OPTION", message: /^the line: expected JSON, got "\{"$/ });
  t.equal(new Set(requests.map(({ hash }) => hash)).size, 5);
  t.match(requests[0]?.hash, /^[0-9a-f]{16}$/);
  t.equal((await requestsOf('"a"\n"a"\n'))[1]?.hash, (await requestsOf('"a"'))[0]?.hash, "of the line alone");
});

t.test("every wrong line names its field", async (t) => {
  const wrong: [string | Buffer, RegExp][] = [
    ["5", /^the line: expected an object with "prompt" or "messages", or a string, got 5$/],
    ["null", /^the line: expected .*, got null$/],
    ['["a"]', /^the line: expected .*, got an array of 1$/],
    ['{"prompt":"a"', /^the line: expected JSON, got "\{/],
    ["{}", /^prompt: expected a string \(or "messages" in its place\), got undefined$/],
    ['{"prompt":"a","messages":[]}', /^messages: expected none beside a prompt, got an array of 0$/],
    ['{"prompt":"a","id":{}}', /^id: expected a string of at most 256 characters or a whole number, got an object$/],
    ['{"prompt":"a","id":1.5}', /^id: .* got 1\.5$/],
    [`{"prompt":"a","id":"${"i".repeat(257)}"}`, /^id: .*, got "i{61}\.\.\."$/],
    ['{"prompt":"a","signal":null}', /^signal: expected no such option in a line, got null$/],
    ['{"prompt":"a","onPromptProgress":1}', /^onPromptProgress: /],
    [Buffer.from([0x22, 0xff, 0x22]), /^the line: expected UTF-8, got other bytes$/],
    [`"${"a".repeat(1000)}"`, /^the line: expected at most \d+ bytes, got more$/],
  ];
  for (const [line, message] of wrong) {
    const [, request] = await requestsOf(Buffer.concat([Buffer.from('"first"\n'), Buffer.from(line)]));
    t.match(request?.call, { code: "INVALID_OPTION", message });
  }
  for (const binary of [Buffer.from([0x47, 0, 0, 1]), Buffer.from([0xff, 0xfe, 0x22]), "G\0\n\n"])
    await t.rejects(requestsOf(binary), { code: "INVALID_OPTION", message: /x\.jsonl: expected JSON lines in UTF-8/ });
});

async function* numbers(count: number): AsyncGenerator<number> {
  for (let i = 0; i < count; i++) yield i;
}

const limits = { maxWaiting: 1000, maxWaitingLength: 1e6 };

t.test("results keep the order of their items, and no more than asked for are in work", async (t) => {
  for (const parallel of [1, 2, 7, 64]) {
    let [running, most] = [0, 0];
    const written: string[] = [];
    await runInOrder(numbers(60), {
      ...limits,
      parallel,
      work: async (n) => {
        most = Math.max(most, ++running);
        await sleep((n * 7919) % 5);
        running--;
        return { text: `${n}` };
      },
      write: async ({ text }) => {
        if (Number(text) % 3 === 0) await sleep(1);
        written.push(text);
      },
    });
    t.same(
      written,
      Array.from({ length: 60 }, (_, i) => `${i}`),
    );
    t.equal(most, Math.min(parallel, 60));
  }
  await runInOrder(numbers(0), {
    ...limits,
    parallel: 4,
    work: () => Promise.reject(new Error()),
    write: async () => {},
  });
});

t.test("a slow head holds up no more than the limit of others", async (t) => {
  for (const [limit, bound] of [
    [{ maxWaiting: 5, maxWaitingLength: 1e6 }, 5],
    [{ maxWaiting: 1000, maxWaitingLength: 30 }, 3],
  ] as const) {
    let finish = () => {};
    const head = new Promise<void>((resolve) => {
      finish = resolve;
    });
    let done = 0;
    const written: string[] = [];
    const whole = runInOrder(numbers(40), {
      ...limit,
      parallel: 2,
      work: async (n) => {
        if (n === 0) await head;
        else done++;
        return { text: `${n}`.padEnd(10) };
      },
      write: async ({ text }) => void written.push(text.trim()),
    });
    await sleep(50);
    t.equal(done, bound, "others wait for the head");
    t.same(written, []);
    finish();
    await whole;
    t.equal(written.length, 40);
  }
});

t.test("a failure ends the whole, and what was finished before it is written", async (t) => {
  const written: string[] = [];
  const failing = (where: "work" | "write" | "items") => {
    written.length = 0;
    const items = async function* () {
      yield* numbers(6);
      if (where === "items") throw new Error("items");
      yield* numbers(6);
    };
    return runInOrder(items(), {
      ...limits,
      parallel: 3,
      work: async (n) => {
        await sleep(n);
        if (where === "work" && n === 4) throw new Error("work");
        return { text: `${n}` };
      },
      write: async ({ text }) => {
        await sleep(2);
        if (where === "write" && text === "4") throw new Error("write");
        written.push(text);
      },
    });
  };
  for (const where of ["work", "write", "items"] as const) {
    await t.rejects(failing(where), { message: where });
    t.same(written, ["0", "1", "2", "3", "4", "5"].slice(0, written.length));
    t.ok(written.length >= 3, `${where}: ${written}`);
    const count = written.length;
    await sleep(30);
    t.equal(written.length, count, "nothing is written afterwards");
  }
});
