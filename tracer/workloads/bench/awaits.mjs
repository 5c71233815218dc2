// A Node service in which each request is a chain of awaits, for `cargo xtask bench`: twenty of them, one inside the other, at the
// end of which something is due in the loop's next turn.
//
// A line on stdin is answered with the count so far.

import { createServer } from 'node:http';

import { serve } from './count.mjs';

const DEPTH = 20;

function nextTurn() {
  return new Promise((resolve) => setImmediate(resolve));
}

async function descend(depth) {
  if (depth === 0) {
    await nextTurn();
    return 0;
  }
  return 1 + (await descend(depth - 1));
}

serve('node-awaits', (count) =>
  createServer(async (request, response) => {
    count();
    response.end(`${await descend(DEPTH - 1)}\n`);
  }),
);
