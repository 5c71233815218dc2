// Guilty: each request makes an array of a hundred thousand objects that live until the next one, so that each
// collection has much to copy. Innocent: the same sums without an object for each number.

import { setTimeout as sleep } from 'node:timers/promises';

import { plan } from './plan.mjs';

const ROWS = 100_000;
let kept = [];

function withObjects() {
  kept = Array.from({ length: ROWS }, (_, id) => ({ id, name: `user ${id}`, tags: [id, id + 1] }));
  return kept.reduce((sum, row) => sum + row.id, 0);
}

function withNumbers() {
  let sum = 0;
  for (let id = 0; id < ROWS; id += 1) {
    sum += id;
  }
  return sum;
}

await plan('gc-pressure', async (isGuilty, truth) => {
  truth.sum = isGuilty ? withObjects() : withNumbers();
  truth.requests = (truth.requests ?? 0) + 1;
  await sleep(5);
});
