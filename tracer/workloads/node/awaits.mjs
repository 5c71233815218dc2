// Async functions that wait in ways that are known: how many, who awaits whom, on which line. A line that ends in `// await: NAME`
// is where that function waits.
//
// One command a line on stdin, `NAME COUNT`; the answer comes when all that it starts waits, or has ended.

import { spawnSync } from 'node:child_process';
import { promises as fs } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker, isMainThread } from 'node:worker_threads';

import { onEnd, say } from './harness.mjs';

const LONG_MS = 1e8;
// Opened when somebody writes into it: nobody does.
const PIPE = process.env.AWAITS_PIPE;

const gate = new Promise(() => {});
const kept = [];

async function queryDb(of) {
  await of; // await: queryDb
}

async function loadUser(of) {
  const user = {
    name: 'anybody',
    orders: await queryDb(of), // await: loadUser
  };
  return user;
}

async function renderPage(of) {
  return `${await loadUser(of)}`; // await: renderPage
}

async function plain(of) {
  await renderPage(of); // await: plain
}

async function part(of) {
  await of; // await: part
}

async function all(of) {
  await Promise.all([part(of), part(of), part(of)]); // await: all
}

async function allSettled(of) {
  await Promise.allSettled([part(of), part(of)]); // await: allSettled
}

async function any(of) {
  await Promise.any([part(of), part(of)]); // await: any
}

async function race(of) {
  await Promise.race([part(of), of]); // await: race
}

async function handOn(of) {
  // Not awaited: it ends at once, and its promise follows the other.
  return part(of);
}

async function handedOn(of) {
  await handOn(of); // await: handedOn
}

function onValue(value) {
  return value;
}

async function then(of) {
  await part(of).then(onValue); // await: then
}

async function last(of) {
  await part(of).finally(onValue); // await: last
}

async function* numbers(of) {
  yield 1;
  await of; // await: numbers
  yield 2;
}

async function sum(of) {
  let sum = 0;
  for await (const number of numbers(of)) { // await: sum
    sum += number;
  }
  return sum;
}

async function timer() {
  await sleep(LONG_MS, undefined, { ref: false }); // await: timer
}

async function file() {
  await fs.open(PIPE, 'r'); // await: file
}

async function deep(of, left) {
  if (left > 1) {
    await deep(of, left - 1); // await: deep
  } else {
    await of; // await: deepest
  }
}

const inCircle = [];

async function circle(other) {
  await null;
  await inCircle[other]; // await: circle
}

async function ends() {
  await null;
  await new Promise((resolve) => { setImmediate(resolve); });
}

async function lost() {
  await new Promise(() => {}); // await: lost
}

class Session {
  #of;

  constructor(of) {
    this.#of = of;
  }

  async receive() {
    await this.#of; // await: receive
  }
}

function spin() {
  for (let at = 0; ; at += 1) {
    kept.length = at % 2 === 0 ? kept.length : kept.length; // hot: spin
  }
}

function hang() {
  spin(); // calls: hang
}

function hangWithReady(count) {
  for (let at = 0; at < count; at += 1) {
    kept.push(plain(null));
  }
  spin(); // calls: hangWithReady
}

function block() {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0); // calls: block
}

function runOther() {
  spawnSync('sleep', ['1000']); // calls: runOther
}

function churn(mebibytes) {
  let some = [];
  for (let at = 0; at < mebibytes * 1_024; at += 1) {
    some.push(new Array(127).fill(at));
    if (some.length > 64) {
      some = [];
    }
  }
}

const many = (start) => (count) => {
  for (let at = 0; at < count; at += 1) {
    kept.push(start(gate));
  }
};

const settled = () => new Promise((resolve) => { setTimeout(resolve, 20); });

const commands = {
  plain: many(plain),
  all: many(all),
  allSettled: many(allSettled),
  any: many(any),
  race: many(race),
  handedOn: many(handedOn),
  then: many(then),
  last: many(last),
  sum: many(sum),
  timer: many(timer),
  file: many(file),
  receive: many((of) => new Session(of).receive()),
  deep: (count) => kept.push(deep(gate, count)),
  circle() {
    inCircle.push(circle(1), circle(0));
  },
  async ends(count) {
    for (let at = 0; at < count; at += 100) {
      await Promise.all(Array.from({ length: 100 }, ends));
    }
  },
  lost(count) {
    for (let at = 0; at < count; at += 1) {
      lost();
    }
  },
  churn,
  // Goes on for ever: objects move all the time.
  churnOn() {
    setInterval(() => churn(2), 1);
  },
  async worker() {
    const worker = new Worker(new URL(import.meta.url));
    await new Promise((resolve) => { worker.once('message', resolve); });
  },
};

// What never comes back: the answer is given before.
const stuck = { hang, hangWithReady, block, runOther };

if (isMainThread) {
  createInterface({ input: process.stdin }).on('line', async (line) => {
    const [name, count] = line.split(' ');
    if (Object.hasOwn(stuck, name)) {
      say({ event: 'stuck' });
      stuck[name](Number(count));
    }
    await commands[name](Number(count));
    await settled();
    say({ event: 'done' });
  });
  say({ event: 'ready', pid: process.pid });
  onEnd(() => process.exit());
} else {
  const { parentPort } = await import('node:worker_threads');
  kept.push(plain(gate));
  await settled();
  parentPort.postMessage('waits');
  parentPort.on('message', () => {});
}
