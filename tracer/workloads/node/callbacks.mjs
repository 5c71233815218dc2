// A Node program whose callbacks and awaits are known: by what it is told to do, and with `--hooks 1` by async_hooks too.
//
// One command a line: `VERB COUNT`, answered with one line when all of it is done. Nothing but `awaits` and `throws` awaits.

import { createHook } from 'node:async_hooks';
import { pbkdf2 } from 'node:crypto';
import { lookup } from 'node:dns';
import { stat } from 'node:fs';
import { stat as statPromise } from 'node:fs/promises';
import { createServer, get } from 'node:http';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { nowNs, readOptions, say } from './harness.mjs';

const SPIN_NS = 2e6;
const { hooks } = readOptions('usage: callbacks.mjs [--hooks 1]', { hooks: { value: 0, min: 0, max: 1 } });
const own = fileURLToPath(import.meta.url);

// How often a callback of a resource of each type was made.
const made = {};
if (hooks) {
  const types = new Map();
  createHook({
    init: (id, type) => types.set(id, type),
    before: (id) => {
      const type = types.get(id);
      made[type] = (made[type] ?? 0) + 1;
    },
  }).enable();
}

// How long each spin since the last answer took: longer than it is meant to where the CPU was taken away.
let spun = [];

function spin(ns) {
  const begun = nowNs();
  while (nowNs() < begun + ns);
  spun.push(nowNs() - begun);
}

async function awaits() {
  await null;
  await null;
}

async function fails() {
  throw new Error('planted');
}

async function throws() {
  try {
    await fails();
  } catch {
    // As it is meant to be.
  }
}

// Each calls `done` when it is done.
const verbs = {
  stat: (done) => stat(own, done),
  spin: (done) => stat(own, () => { spin(SPIN_NS); done(); }),
  promise: (done) => statPromise(own).then(done),
  tick: (done) => stat(own, () => process.nextTick(() => { spin(SPIN_NS); done(); })),
  pbkdf2: (done) => pbkdf2('a password', 'salt', 100, 32, 'sha256', done),
  lookup: (done) => lookup('localhost', done),
  timer: (done) => setTimeout(done, 1),
  immediate: (done) => setImmediate(done),
  request: (done) => get({ port, agent: false }, (response) => response.resume().on('end', done)),
  awaits: (done) => awaits().then(done),
  throws: (done) => throws().then(done),
};

// One after the other, so that what is done for each is done for each of them alone.
function repeat(verb, count, done) {
  if (count === 0) {
    done();
  } else {
    verb(() => repeat(verb, count - 1, done));
  }
}

const server = createServer((request, response) => response.end('planted'));
let port = 0;
server.listen(0, '127.0.0.1', () => {
  ({ port } = server.address());
  say({ event: 'ready', program: 'callbacks', pid: process.pid, node: process.versions.node });
  const input = createInterface({ input: process.stdin });
  input.on('line', (line) => {
    const [verb, count] = line.split(' ');
    const begun = nowNs();
    spun = [];
    repeat(verbs[verb], Number(count), () => say({ did: verb, count: Number(count), took_ns: nowNs() - begun, spun, made }));
  });
  input.on('close', () => server.close());
});
