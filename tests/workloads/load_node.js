// A program as programs are: collections, closures, text, promises, garbage. Prints "ready" at once.
"use strict";

const items = (seed) =>
  Array.from({ length: 500 }, (_, i) => ({ name: `item-${seed * 31 + i}`, price: (i * 7) % 100, tags: [`a${i % 5}`] }));

function total(list, discount) {
  const sums = new Map();
  for (const item of list) {
    for (const tag of item.tags) sums.set(tag, (sums.get(tag) || 0) + item.price - discount(item));
  }
  return [...sums.values()].reduce((a, b) => a + b, 0);
}

function report(list) {
  const sorted = [...list].sort((a, b) => b.price - a.price || a.name.localeCompare(b.name));
  return JSON.parse(JSON.stringify(sorted)).map((item) => item.name.toUpperCase()).join("\n");
}

const matches = (list) => list.filter((item) => /^([a-z]+)-(\d+)$/.test(item.name)).length;

async function work(end) {
  let sink = 0;
  for (let round = 0; Date.now() < end; round++) {
    const list = items(round);
    sink += total(list, round % 2 ? (item) => item.price / 10 : (item) => item.tags.length);
    sink += report(list).length + matches(list);
    await new Promise((resolve) => setImmediate(resolve));
  }
  return sink;
}

process.stdout.write("ready\n");
work(Date.now() + 1000 * Number(process.argv[2] || 1));
