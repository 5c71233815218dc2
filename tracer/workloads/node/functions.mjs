// Functions whose names and lines are known, each kept busy for as long as it is told: what a tracer should say of the samples it
// takes meanwhile. A line that ends in `// hot: NAME` is where that function spends its time.
//
// One command a line on stdin, `NAME MS`; the answer says when it began and ended.

import { createInterface } from 'node:readline';

import { nowNs, onEnd, say } from './harness.mjs';

const ROUNDS = 20_000;
const BLOCK_NS = 60e6;
const PAUSE_MS = 40;

function crunch(rounds) {
  let sum = 0;
  for (let at = 0; at < rounds; at += 1) {
    sum = (sum + at * at) % 1_000_003; // hot: crunch
  }
  return sum;
}

function square(number) {
  return (number * number + 7) % 1_000_003; // hot: square
}

function sumOfSquares(rounds) {
  let sum = 0;
  for (let at = 0; at < rounds; at += 1) {
    sum = (sum + square(at)) % 1_000_003; // hot: sumOfSquares
  }
  return sum;
}

class Parser {
  constructor() {
    this.text = JSON.stringify(Array.from({ length: 5_000 }, (_, id) => ({ id, name: `user ${id}` })));
  }

  parseHuge() {
    return JSON.parse(this.text).length; // hot: parseHuge
  }
}

function matchSlowly() {
  return /^(a+)+$/.test(`${'a'.repeat(17)}b`); // hot: matchSlowly
}

function grow() {
  const words = new Map();
  for (let at = 0; at < 2_000; at += 1) {
    words.set(`word ${at}`, { at, next: words.size }); // hot: grow
  }
  return words.size;
}

// Called once, so that only code that takes over in the middle of the loop is fast.
function spinOnce(end) {
  let sum = 0;
  for (let at = 0; ; at += 1) {
    sum = (sum + at * at) % 1_000_003; // hot: spinOnce
    if (at % 4_000_000 === 0 && nowNs() >= end) {
      return sum;
    }
  }
}

function blockLoop(end) {
  let sum = 0;
  while (nowNs() < end) {
    for (let at = 0; at < ROUNDS; at += 1) {
      sum += Math.sqrt(at) * (at % 7); // hot: blockLoop
    }
  }
  return sum;
}

const parser = new Parser();
// Nameless, so that no two functions have one name.
const repeated = new Map([
  ['crunch', () => crunch(ROUNDS)],
  ['sumOfSquares', () => sumOfSquares(ROUNDS)],
  ['parseHuge', () => parser.parseHuge()],
  ['matchSlowly', () => matchSlowly()],
  ['grow', () => grow()],
]);

// What is made of the results keeps a compiler from leaving the calls out.
function repeat(call, end) {
  let sum = 0;
  while (nowNs() < end) {
    sum += Number(call());
  }
  return sum;
}

async function run(name, length) {
  const spans = [];
  const end = nowNs() + length;
  let sum = 0;
  const span = (busy) => {
    const began = nowNs();
    sum += busy();
    spans.push([began, nowNs()]);
  };
  if (name === 'blockLoop') {
    while (nowNs() < end) {
      span(() => blockLoop(nowNs() + BLOCK_NS));
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  } else if (name === 'spinOnce') {
    span(() => spinOnce(end));
  } else if (repeated.has(name)) {
    span(() => repeat(repeated.get(name), end));
  } else {
    return { error: `no function ${name}` };
  }
  return { event: 'ran', name, sum, spans };
}

createInterface({ input: process.stdin }).on('line', async (line) => {
  const [name, length] = line.split(' ');
  say(await run(name, Number(length) * 1e6));
});
onEnd(() => say({ event: 'truth', final: true, at_ns: nowNs() }));
say({ event: 'ready', program: 'node-functions', pid: process.pid, node: process.version, at_ns: nowNs() });
