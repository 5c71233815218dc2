// What libraries do that follow requests by `async_hooks`, and nothing else: `node --require hooks.cjs`.

const { createHook } = require('node:async_hooks');

createHook({ init() {}, before() {}, after() {}, destroy() {} }).enable();
