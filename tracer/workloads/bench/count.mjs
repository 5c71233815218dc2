// What the Node services of `cargo xtask bench` share: they count what they do, and a line on stdin is answered with the count.

import { nowNs, onEnd, readOptions, refuse, say } from '../node/harness.mjs';

const HOST = '127.0.0.1';

/** Starts the server that `create` makes of a function to call for each operation. */
export function serve(program, create) {
  const { port } = readOptions(`usage: node ${process.argv[1]} [--port N]`, {
    port: { value: 0, min: 0, max: 65_535 },
  });
  let operations = 0;

  function tell(final) {
    const cpu = process.cpuUsage();
    say({ event: 'truth', final, operations, cpu_ns: (cpu.user + cpu.system) * 1000, at_ns: nowNs() });
  }

  const server = create(() => {
    operations += 1;
  });
  server.on('error', (why) => refuse(`listen on port ${port}: ${why.code}`, 1));
  server.listen(port, HOST, () => {
    say({ event: 'ready', program, pid: process.pid, port: server.address().port, at_ns: nowNs() });
    process.stdin.setEncoding('utf8').on('data', (text) => {
      for (const _line of text.matchAll(/\n/g)) {
        tell(false);
      }
    });
    onEnd(() => {
      tell(true);
      server.close();
      server.closeAllConnections();
    });
  });
}
