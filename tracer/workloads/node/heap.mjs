// A Node program that fills its heap as it is told to, and knows how large it is.
//
// One command a line, answered with one line:
// - `truth`: nothing but the answer;
// - `keep N`: that many MiB more that are kept in the heap, then a full collection;
// - `large N`: that many MiB more that are kept in large objects;
// - `buffers N`: that many MiB more in array buffers;
// - `workers N`: as many threads, each of which keeps 4 MiB more than the one before;
// - `collect`: a full collection;
// - `spin N`: the last worker does nothing else for so many milliseconds;
// An answer has what V8 itself says of the heap of the main thread, and of each worker.

import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import v8 from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';

import { say } from './harness.mjs';

const MIB = 1 << 20;
const OF_WORKER = 4;
const own = fileURLToPath(import.meta.url);

v8.setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc');

/** So many MiB of small arrays: 64 words of 8 bytes each, and its own two objects. */
function small(mib) {
  const of = 64 * 8 + 16 + 32;
  return Array.from({ length: Math.round((mib * MIB) / of) }, (_, at) => new Array(64).fill(at));
}

/** So many MiB of arrays that are too large for a page. */
function large(mib) {
  return Array.from({ length: mib }, (_, at) => new Array(MIB / 8).fill(at));
}

function sizes() {
  const { external, arrayBuffers } = process.memoryUsage();
  const { heap_size_limit: limit } = v8.getHeapStatistics();
  return { spaces: v8.getHeapSpaceStatistics(), external, arrayBuffers, limit };
}

async function runWorker() {
  const kept = small(workerData);
  parentPort.on('message', (what) => {
    const until = performance.now() + Number(what);
    while (performance.now() < until) {
      // It has nothing else to do.
    }
    parentPort.postMessage(sizes());
    return kept;
  });
  parentPort.postMessage('ready');
}

async function runMain() {
  const kept = [];
  const workers = [];

  async function truth(event) {
    const heaps = [];
    for (const worker of workers) {
      worker.postMessage(0);
      heaps.push((await once(worker, 'message'))[0]);
    }
    heaps.unshift(sizes());
    say({ event, heaps });
  }

  const verbs = {
    keep(count) {
      kept.push(small(count));
      collect();
    },
    large(count) {
      kept.push(large(count));
    },
    buffers(count) {
      kept.push(Array.from({ length: count }, () => new ArrayBuffer(MIB)));
    },
    async workers(count) {
      for (let at = 0; at < count; at += 1) {
        const worker = new Worker(own, { workerData: OF_WORKER * (workers.length + 1) });
        await once(worker, 'message');
        workers.push(worker);
      }
    },
    collect() {
      collect();
    },
    async spin(count) {
      workers.at(-1).postMessage(count);
      await once(workers.at(-1), 'message');
    },
    truth() {},
  };

  say({ event: 'ready' });
  for await (const line of createInterface({ input: process.stdin })) {
    const [verb, count] = line.split(' ');
    await verbs[verb](Number(count));
    await truth(verb);
  }
  process.exit();
}

await (isMainThread ? runMain() : runWorker());
