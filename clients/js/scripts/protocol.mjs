// Writes src/protocol.ts: types from the server's AsyncAPI document, which it reads from a file or from stdin.
// With --check nothing is written: it fails where the module is not current.

import { readFile, writeFile } from "node:fs/promises";
import { compile } from "json-schema-to-typescript";

const MODULE = new URL("../src/protocol.ts", import.meta.url);
const SCHEMAS = "#/components/schemas/";
const WIDTH = 120;
const HEAD = `// Generated from the server's /asyncapi.json by \`npm run protocol\`: do not edit.
`;
const BYTES = "ArrayBuffer | ArrayBufferView | Blob";
const ROOT = "Schemas"; // holds all others, and is left out
const NOTHING = "Record<string, never>";

/** Pieces of the document by reference. */
function resolve(document, { $ref }) {
  return $ref
    .slice(2)
    .split("/")
    .reduce((found, key) => found[key.replaceAll("~1", "/").replaceAll("~0", "~")], document);
}

/** A message's type: an ack is its success, for a failure rejects. */
function typeOf({ payload }) {
  return (payload.oneOf ?? [payload])[0].$ref.slice(SCHEMAS.length);
}

/** Schemas as json-schema-to-typescript wants them; `acks` say `ok` no more. */
function definitions(document, acks) {
  const found = structuredClone(document.components.schemas);
  for (const [name, schema] of Object.entries(found)) {
    if (acks.has(name)) {
      delete schema.properties.ok;
      schema.required = schema.required.filter((field) => field !== "ok");
    }
    for (const field of Object.values(schema.properties ?? {})) {
      if (field.format === "binary") {
        field.tsType = BYTES;
      }
    }
    if (schema.type === "object" && !schema.additionalProperties && Object.keys(schema.properties).length === 0) {
      schema.tsType = NOTHING;
    }
  }
  return JSON.parse(JSON.stringify(found).replaceAll(SCHEMAS, "#/definitions/"));
}

/** What each namespace's clients send, hear and are asked. */
function channels(document) {
  const found = new Map();
  for (const operation of Object.values(document.operations)) {
    const { address } = resolve(document, operation.channel);
    if (!found.has(address)) {
      found.set(address, { sends: [], hears: [], asked: [] });
    }
    const [message, reply] = [operation.messages[0], operation.reply?.messages[0]].map(
      (each) => each && resolve(document, each),
    );
    const event = { name: message.name, summary: operation.summary, payload: typeOf(message) };
    const { sends, hears, asked } = found.get(address);
    if (operation.action === "receive") {
      sends.push({ ...event, ack: typeOf(reply) });
    } else if (reply) {
      asked.push({ ...event, answer: typeOf(reply) });
    } else {
      hears.push(event);
    }
  }
  return found;
}

function comment(text, indent) {
  if (!text) {
    return [];
  }
  const one = `${indent}/** ${text} */`;
  if (one.length <= WIDTH) {
    return [one];
  }
  const lines = [`${indent} *`];
  for (const word of text.split(" ")) {
    if (lines.at(-1).length + 1 + word.length > WIDTH) {
      lines.push(`${indent} *`);
    }
    lines.push(`${lines.pop()} ${word}`);
  }
  return [`${indent}/**`, ...lines, `${indent} */`];
}

function key(name) {
  return /^[A-Za-z_$][\w$]*$/.test(name) ? name : JSON.stringify(name);
}

function members(events, type) {
  return events
    .toSorted((one, other) => (one.name < other.name ? -1 : 1))
    .flatMap((event) => [...comment(event.summary, "      "), `      ${key(event.name)}: ${type(event)};`]);
}

function eventMap(document) {
  const lines = ["/**"];
  lines.push(
    " * By namespace: what its clients send, and are answered; what they hear; what they are asked, and answer.",
  );
  lines.push(' * An event that is not among those of `hears` is `"*"`, where there is one.', " */");
  lines.push("export interface Events {");
  for (const [address, { sends, hears, asked }] of channels(document)) {
    lines.push(`  ${JSON.stringify(address)}: {`, "    sends: {");
    lines.push(...members(sends, ({ payload, ack }) => `{ payload: ${payload}; ack: ${ack} }`));
    lines.push("    };", "    hears: {", ...members(hears, ({ payload }) => payload), "    };");
    if (asked.length > 0) {
      lines.push("    asked: {");
      lines.push(...members(asked, ({ payload, answer }) => `{ payload: ${payload}; answer: ${answer} }`));
      lines.push("    };");
    } else {
      lines.push(`    asked: ${NOTHING};`);
    }
    lines.push("  };");
  }
  lines.push("}", "", "export type Namespace = keyof Events;", "");
  return lines.join("\n");
}

async function moduleText(document) {
  const acks = new Set([...channels(document).values()].flatMap(({ sends }) => sends.map((event) => event.ack)));
  const types = definitions(document, acks);
  const all = Object.fromEntries(Object.keys(types).map((name) => [name, { $ref: `#/definitions/${name}` }]));
  const schema = { type: "object", title: ROOT, properties: all, definitions: types };
  const compiled = await compile(schema, ROOT, {
    bannerComment: "",
    additionalProperties: false,
    ignoreMinAndMaxItems: true,
    style: { printWidth: WIDTH },
  });
  const named = compiled
    .replace(new RegExp(`export interface ${ROOT} \\{[^}]*\\}\n`), "")
    .replaceAll(/(^\}|;)\n(?=\/\*\*|export )/gm, "$1\n\n")
    .trim();
  return `${HEAD}\n${eventMap(document)}\n${named}\n`;
}

async function read(path) {
  if (path) {
    return readFile(path, "utf8");
  }
  const chunks = [];
  for await (const chunk of process.stdin) {
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

const [path] = process.argv.slice(2).filter((each) => each !== "--check");
const text = await moduleText(JSON.parse(await read(path)));
if (!process.argv.includes("--check")) {
  await writeFile(MODULE, text);
} else if ((await readFile(MODULE, "utf8").catch(() => "")) !== text) {
  console.error("src/protocol.ts is not what the server says: run `npm run protocol -w js`");
  process.exitCode = 1;
}
