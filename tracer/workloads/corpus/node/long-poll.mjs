// Guilty: a report is rendered in one go, 80 ms on the event loop, twice a second. Innocent: the same work in pieces of a
// millisecond, with the loop in between.

import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';

import { plan } from './plan.mjs';

const ROWS = 80;
const PAUSE_MS = 420;

function renderRow(row) {
  const end = performance.now() + 1;
  let sum = row;
  while (performance.now() < end) {
    sum = (sum * 31 + 7) % 1_000_003;
  }
  return sum;
}

function renderReport() {
  let sum = 0;
  for (let row = 0; row < ROWS; row += 1) {
    sum += renderRow(row);
  }
  return sum;
}

async function renderInPieces() {
  let sum = 0;
  for (let row = 0; row < ROWS; row += 1) {
    sum += renderRow(row);
    await nextTurn();
  }
  return sum;
}

await plan('long-poll', async (isGuilty, truth) => {
  await (isGuilty ? renderReport() : renderInPieces());
  truth.reports = (truth.reports ?? 0) + 1;
  await sleep(PAUSE_MS);
});
