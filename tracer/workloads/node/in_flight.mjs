// A Node program that starts what does not finish until it is told to, and knows how much of what it has started.
//
// One command a line, answered with one line:
// - `workers N`: as many threads, with a server and connections each;
// - `plant`: the same, and files that are opened and addresses that are looked up, which wait for the pool; files in all
//   threads. The pool is full then, and nothing that needs it goes on: workers come before;
// - `release`: all files open, all lookups end, all connections close, all threads end;
// - `files N`: that many files more that are opened;
// - `churn N`: that many files are looked at at any time from now on, in turns;
// - `spin`: the answer comes first, then some immediates are to run, and then nothing comes any more;
// - `truth`: nothing but the answer.
// An answer has what Node itself says is active, by type, of all threads.

import { execFileSync } from 'node:child_process';
import { lookup } from 'node:dns';
import { once } from 'node:events';
import { closeSync, constants, mkdtempSync, open, openSync, rmSync, stat } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';

import { say } from './harness.mjs';

const FILES = 25;
const NAMES = 7;
const TIMERS = 11;
const IMMEDIATES = 5;
const LATER = 1e9;
const CONNECTIONS = 20;
const FILES_OF_WORKER = 3;
const CONNECTIONS_OF_WORKER = 2;
const own = fileURLToPath(import.meta.url);

/** What Node says is active, by the name that `async_hooks` has for it. */
function active() {
  const others = { TCPSOCKETWRAP: 'TCPWRAP' };
  const counts = {};
  for (const info of process.getActiveResourcesInfo()) {
    const name = info.toUpperCase();
    const kind = others[name] ?? name;
    counts[kind] = (counts[kind] ?? 0) + 1;
  }
  return counts;
}

/** Opening a pipe that nobody writes to waits for somebody who does, in the pool; what else is for the pool waits too. */
function openFiles(fifo, count) {
  return Array.from({ length: count }, () => new Promise((resolve) => {
    open(fifo, 'r', (error, fd) => resolve(error ?? closeSync(fd)));
  }));
}

async function serve(count) {
  const sockets = [];
  const server = createServer((socket) => sockets.push(socket));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const clients = Array.from({ length: count }, () => connect(server.address().port, '127.0.0.1'));
  await Promise.all(clients.map((client) => once(client, 'connect')));
  while (sockets.length < count) {
    await once(server, 'connection');
  }
  return () => {
    [...sockets, ...clients].forEach((socket) => socket.destroy());
    return new Promise((resolve) => server.close(resolve));
  };
}

async function runWorker() {
  const close = await serve(CONNECTIONS_OF_WORKER);
  const files = [];
  parentPort.on('message', async (what) => {
    if (what === 'truth') {
      parentPort.postMessage(active());
    } else if (what === 'plant') {
      files.push(...openFiles(workerData, FILES_OF_WORKER));
    } else {
      await Promise.all([...files, close()]);
      process.exit();
    }
  });
  parentPort.postMessage('ready');
}

async function runMain() {
  const folder = mkdtempSync(join(tmpdir(), 'in-flight-'));
  const fifo = join(folder, 'fifo');
  execFileSync('mkfifo', [fifo]);
  // The end waits for the pool, so nothing may be left there.
  process.on('exit', () => {
    openSync(fifo, constants.O_RDWR);
    rmSync(folder, { recursive: true });
  });
  let pending = [];
  let closing = [];
  let workers = [];
  let timers = [];

  async function truth(event) {
    const counts = active();
    for (const worker of workers) {
      worker.postMessage('truth');
      const [of] = await once(worker, 'message');
      for (const [kind, count] of Object.entries(of)) {
        counts[kind] = (counts[kind] ?? 0) + count;
      }
    }
    say({ event, threads: 1 + workers.length, active: counts });
  }

  const verbs = {
    async plant() {
      closing.push(await serve(CONNECTIONS));
      workers.forEach((worker) => worker.postMessage('plant'));
      timers = Array.from({ length: TIMERS }, () => setTimeout(() => {}, LATER));
      // Not active to Node: it does not keep the process alive.
      timers.push(setTimeout(() => {}, LATER).unref());
      pending.push(...openFiles(fifo, FILES));
      pending.push(...Array.from({ length: NAMES }, () => new Promise((resolve) => {
        lookup('localhost', resolve);
      })));
    },
    async workers(count) {
      for (let at = 0; at < count; at += 1) {
        const worker = new Worker(own, { workerData: fifo });
        await once(worker, 'message');
        workers.push(worker);
      }
    },
    files(count) {
      pending = pending.concat(openFiles(fifo, count));
    },
    async release() {
      // Opens at once, and lets all others.
      const fd = openSync(fifo, constants.O_RDWR);
      const ends = workers.map((worker) => once(worker, 'exit'));
      workers.forEach((worker) => worker.postMessage('end'));
      await Promise.all([...ends, ...pending, ...closing.map((close) => close())]);
      closeSync(fd);
      timers.forEach(clearTimeout);
      [pending, closing, workers, timers] = [[], [], [], []];
    },
    churn(count) {
      const again = () => stat(own, again);
      Array.from({ length: count }, again);
    },
    spin() {},
    truth() {},
  };

  say({ event: 'ready' });
  for await (const line of createInterface({ input: process.stdin })) {
    const [verb, count] = line.split(' ');
    await verbs[verb](Number(count));
    // What called back last is closed after that.
    await nextTurn();
    await truth(verb);
    if (verb === 'spin') {
      Array.from({ length: IMMEDIATES }, () => setImmediate(() => {}));
    }
    while (verb === 'spin') {
      // Nothing comes back here.
    }
  }
  process.exit();
}

await (isMainThread ? runMain() : runWorker());
