// The smallest Node service, for `cargo xtask bench`: it answers every request with a word and counts them.
//
// A line on stdin is answered with the count so far.

import { createServer } from 'node:http';

import { serve } from './count.mjs';

serve('node-hello', (count) =>
  createServer((request, response) => {
    count();
    response.end('hello\n');
  }),
);
