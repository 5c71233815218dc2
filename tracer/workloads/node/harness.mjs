// What both programs share: arguments, lines on stdout, and when to end. Nothing here knows about HTTP.

export const SECOND_NS = 1e9;

/** The monotonic clock, which is the one of kernel events. A number is exact for the first 104 days of uptime. */
export function nowNs() {
  return Number(process.hrtime.bigint());
}

/**
 * Reads `--name N` pairs. `options` maps a name to `{ value, min, max }`, where a missing `value` makes the option required.
 * Anything else on the command line prints `usage` and ends with 2.
 */
export function readOptions(usage, options) {
  const given = process.argv.slice(2);
  const values = {};
  for (const [name, option] of Object.entries(options)) {
    values[name] = option.value;
  }
  for (let at = 0; at < given.length; at += 2) {
    const name = given[at].replace(/^--/, '');
    const text = given[at + 1] ?? '';
    const known = given[at].startsWith('--') && Object.hasOwn(options, name);
    const number = Number(text);
    if (!known || !/^[0-9]+$/.test(text) || number < options[name].min || number > options[name].max) {
      refuse(usage, 2);
    }
    values[name] = number;
  }
  if (Object.values(values).includes(undefined)) {
    refuse(usage, 2);
  }
  return values;
}

export function refuse(why, code) {
  process.stderr.write(`${why}\n`);
  process.exit(code);
}

/** One object, one line. Writing to a pipe or a file is synchronous here, so that a last line is never lost. */
export function say(fields) {
  process.stdout.write(`${JSON.stringify(fields)}\n`);
}

/** Calls `end` once, when stdin ends; a reader of stdout who goes away ends the process on the spot. */
export function onEnd(end) {
  let ended = false;
  const once = () => {
    if (!ended) {
      ended = true;
      end();
    }
  };
  process.stdin.on('end', once).on('error', once).resume();
  process.stdout.on('error', () => process.exit(0));
}
