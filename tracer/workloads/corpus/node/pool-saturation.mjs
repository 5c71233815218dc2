// Guilty: 64 passwords are hashed at once, and libuv's four threads do four of them. Innocent: one at a time; each is
// done as soon, and a file that is read meanwhile does not wait.

import { pbkdf2 } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

import { plan } from './plan.mjs';

const derive = promisify(pbkdf2);
const AT_ONCE = 64;
const ROUNDS = 20_000;

const hash = (number) => derive(`password ${number}`, 'salt', ROUNDS, 64, 'sha512');

await plan('pool-saturation', async (isGuilty, truth) => {
  const began = performance.now();
  const hashed = isGuilty ? Promise.all(Array.from({ length: AT_ONCE }, (_, number) => hash(number))) : hash(0);
  await stat('.');
  truth.stat_ms = Math.max(truth.stat_ms ?? 0, performance.now() - began);
  await hashed;
  truth.hashes = (truth.hashes ?? 0) + (isGuilty ? AT_ONCE : 1);
  await sleep(isGuilty ? 0 : 20);
});
