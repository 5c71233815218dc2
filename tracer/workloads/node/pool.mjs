// A Node program that gives work to libuv's pool and makes garbage when it is told to, and knows both.
//
// One command a line: `VERB COUNT`, answered with one line when all of it is done. The last word comes when stdin ends.

import { pbkdf2 } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { stat } from 'node:fs/promises';
import { PerformanceObserver, constants } from 'node:perf_hooks';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { deflate } from 'node:zlib';

import { nowNs, say } from './harness.mjs';

const ROUNDS = 20_000;
const own = fileURLToPath(import.meta.url);
const bytes = Buffer.alloc(64 * 1024, 'what is deflated');

const verbs = {
  pbkdf2: () => promisify(pbkdf2)('a password', 'salt', ROUNDS, 32, 'sha256'),
  deflate: () => promisify(deflate)(bytes),
  stat: () => stat(own),
  lookup: () => lookup('localhost'),
};

const kinds = {
  [constants.NODE_PERFORMANCE_GC_MINOR]: 'scavenge',
  [constants.NODE_PERFORMANCE_GC_MAJOR]: 'mark-compact',
};
const collections = {};
const observer = new PerformanceObserver((list) => list.getEntries().forEach(note));
observer.observe({ entryTypes: ['gc'] });

function note(entry) {
  const kind = kinds[entry.detail.kind] ?? 'other';
  const known = (collections[kind] ??= { count: 0, sum_ms: 0, max_ms: 0 });
  known.count += 1;
  known.sum_ms += entry.duration;
  known.max_ms = Math.max(known.max_ms, entry.duration);
}

// What lives long enough to be moved, and what does not.
let kept = [];

function litter(count) {
  for (let at = 0; at < count; at += 1) {
    kept.push({ at, text: `object ${at}` });
    if (kept.length > 100_000) {
      kept = [];
    }
  }
}

async function obey(line) {
  const [verb, count] = line.split(' ');
  const begun = nowNs();
  if (verb === 'litter') {
    litter(Number(count));
  } else if (verb !== 'truth') {
    await Promise.all(Array.from({ length: Number(count) }, verbs[verb]));
  }
  // Entries are handed out in a task of their own.
  await new Promise((done) => setImmediate(done));
  observer.takeRecords().forEach(note);
  say({ did: verb, count: Number(count ?? 0), took_ns: nowNs() - begun, collections });
}

say({ event: 'ready', program: 'pool', pid: process.pid, node: process.versions.node });
let before = Promise.resolve();
createInterface({ input: process.stdin })
  .on('line', (line) => {
    before = before.then(() => obey(line));
  })
  .on('close', () => before.then(() => say({ event: 'truth', final: true, collections })));
