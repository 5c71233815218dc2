// Guilty: eight worker threads for each CPU, all busy. Innocent: half as many as CPUs.

import { availableParallelism } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { isMainThread, Worker } from 'node:worker_threads';

import { plan } from './plan.mjs';

function count() {
  let sum = 0;
  for (let at = 0; at < 1e8; at += 1) {
    sum = (sum + at * at) % 1_000_003;
  }
  return sum;
}

if (isMainThread) {
  let workers = [];
  await plan('cpu-oversubscription', async (isGuilty, truth) => {
    const cpus = availableParallelism();
    const wanted = isGuilty ? 8 * cpus : Math.max(1, cpus >> 1);
    while (workers.length < wanted) {
      workers.push(new Worker(new URL(import.meta.url)));
    }
    truth.workers = workers.length;
    await sleep(50);
  });
} else {
  while (true) {
    count();
  }
}
