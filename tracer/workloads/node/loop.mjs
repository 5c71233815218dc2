// An event loop that does what it is told, and says what `perf_hooks` and libuv's own counters make of it.
//
// One command a line on stdin, one answer a line on stdout. Each command is over before its answer.

import { execFileSync } from 'node:child_process';
import { readlinkSync } from 'node:fs';
import { createServer, get } from 'node:http';
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { createInterface } from 'node:readline';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';

import { nowNs, say } from './harness.mjs';

const HOST = '127.0.0.1';
const RESOLUTION_MS = 1;

const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });

/** What is known of this thread's loop, since it began. `uv_` are libuv's own counters, in versions that tell them. */
function mark() {
  const { active, idle } = performance.eventLoopUtilization();
  const uv = performance.nodeTiming.uvMetricsInfo;
  return {
    at_ns: nowNs(),
    tid: Number(readlinkSync('/proc/thread-self').split('/').at(-1)),
    active_ns: Math.round(active * 1e6),
    idle_ns: Math.round(idle * 1e6),
    uv_iterations: uv?.loopCount ?? null,
    uv_events: uv?.events ?? null,
    delay: { count: delay.count, p50_ns: delay.percentile(50), p99_ns: delay.percentile(99), max_ns: delay.max },
  };
}

/** Holds the loop, on the CPU. */
function blockLoop(ms) {
  const startNs = nowNs();
  let endNs = startNs;
  while (endNs - startNs < ms * 1e6) {
    endNs = nowNs();
  }
  return { start_ns: startNs, end_ns: endNs };
}

async function block(ms, count, everyMs) {
  const blocks = [];
  for (let done = 0; done < count; done += 1) {
    // The one before, and whatever else is due, is not to be in the same iteration.
    await sleep(everyMs);
    await nextTurn();
    blocks.push(blockLoop(ms));
    await nextTurn();
  }
  return { blocks };
}

/** Holds the loop while it waits for a child: libuv runs a second loop on this thread for that. */
async function execute(ms) {
  await nextTurn();
  const startNs = nowNs();
  execFileSync('sleep', [String(ms / 1e3)]);
  const endNs = nowNs();
  await nextTurn();
  return { blocks: [{ start_ns: startNs, end_ns: endNs }] };
}

/** Iterations that have something to do at once, so that none of them sleeps. */
async function turns(count) {
  for (let done = 0; done < count; done += 1) {
    await nextTurn();
  }
  return { count };
}

async function serve(requests) {
  const server = createServer((_, response) => response.end('hello\n'));
  await new Promise((resolve) => server.listen(0, HOST, resolve));
  const { port } = server.address();
  let ok = 0;
  for (let sent = 0; sent < requests; sent += 1) {
    await new Promise((resolve, reject) => {
      get({ host: HOST, port }, (response) => {
        response.on('end', resolve).resume();
        ok += 1;
      }).on('error', reject);
    });
  }
  server.close();
  return { ok };
}

/** The same from a worker thread, whose loop is its own. It lives until the program ends. */
function inWorker(command) {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL(import.meta.url));
    worker.on('error', reject).once('message', (answer) => {
      worker.unref();
      resolve(answer);
    });
    worker.postMessage(command);
  });
}

async function obey(command) {
  const [name, ...words] = command.trim().split(/\s+/);
  const numbers = words.map(Number);
  switch (name) {
    case 'mark':
      return {};
    case 'reset-delay':
      delay.enable();
      delay.reset();
      return {};
    case 'block':
      return block(...numbers);
    case 'execute':
      return execute(...numbers);
    case 'turns':
      return turns(...numbers);
    case 'serve':
      return serve(...numbers);
    case 'idle':
      await sleep(...numbers);
      return {};
    case 'worker':
      return inWorker(words.join(' '));
    default:
      return { error: `unknown command: ${name}` };
  }
}

/** An answer, with the marks before and after. */
async function answer(command) {
  const before = mark();
  const said = await obey(command);
  return { ...said, before, after: mark(), command };
}

if (isMainThread) {
  say({ event: 'ready', program: 'node-loop', pid: process.pid, node: process.version, at_ns: nowNs() });
  for await (const line of createInterface({ input: process.stdin })) {
    say(await answer(line));
  }
  say({ event: 'truth', final: true, ...mark() });
  process.exit(0);
} else {
  parentPort.once('message', async (command) => {
    parentPort.postMessage({ worker: await answer(command) });
    // It goes on to wait for messages until it is not needed any more.
    parentPort.on('message', () => {});
  });
}
