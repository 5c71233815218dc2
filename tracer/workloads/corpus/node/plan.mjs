// What the programs of the corpus share: `guilty` or `innocent`, once and again until stdin ends, then what it counted.

import { nowNs, onEnd, refuse, say } from '../../node/harness.mjs';

/** Does `once(isGuilty, truth)` again and again. */
export async function plan(id, once) {
  const [kind, more] = process.argv.slice(2);
  if (!['guilty', 'innocent'].includes(kind) || more !== undefined) {
    refuse(`usage: node ${id}.mjs guilty|innocent`, 2);
  }
  const truth = {};
  let goesOn = true;
  onEnd(() => (goesOn = false));
  say({ event: 'ready', program: id, kind, pid: process.pid, at_ns: nowNs() });
  while (goesOn) {
    await once(kind === 'guilty', truth);
  }
  say({ event: 'truth', final: true, ...truth });
  process.exit(0);
}
